/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/quota.h"

#include <string.h>

#include "segment/heap.h"

#define SEAL UINT64_C(0x9107a5ea1ed0b0ed)

ips_quota_shm *
ips_quota_table(const ips_segment *segment)
{
    uint64_t offset = ips_anchor_load(segment, IPS_ANCHOR_QUOTAS);
    if (offset % 16 != 0 || offset < segment->heap_start ||
        !ips_within(offset, sizeof(ips_quota_shm), segment->size)) {
        return NULL;
    }
    ips_quota_shm *table = (ips_quota_shm *)(segment->base + offset);
    return ips_peek(&table->seal) == (offset ^ SEAL) ? table : NULL;
}

static int
damaged(const ips_segment *segment)
{
    return ips_heap_damaged(segment, "no table of quotas",
                            ips_anchor_load(segment, IPS_ANCHOR_QUOTAS));
}

static uint64_t
limit_of(const ips_quota_shm *table, const ips_quota_row_shm *row)
{
    uint64_t own = ips_peek(&row->limit);
    return own != 0 ? own : ips_peek(&table->limit);
}

/* The member's row, 0 where it has none. */
static unsigned
find(const ips_quota_shm *table, uint64_t owner)
{
    for (unsigned i = 0; i < IPS_QUOTA_ROWS; i++) {
        if (ips_peek(&table->rows[i].owner) == owner) {
            return i + 1;
        }
    }
    return 0;
}

static int
write_row(ips_segment *segment, ips_quota_row_shm *row, uint64_t owner)
{
    int status = ips_journal_reserve(&segment->journal, 3);
    if (status == 0) {
        ips_set(segment, &row->owner, owner);
        ips_set(segment, &row->limit, 0);
        ips_set(segment, &row->bytes, 0);
    }
    return status;
}

/* The rows of the dead are GONE: a plain store, because it is true whatever
 * becomes of this transaction, and forget_the_gone relies on that. */
static void
bury(const ips_segment *segment, ips_quota_shm *table)
{
    for (unsigned i = 0; i < IPS_QUOTA_ROWS; i++) {
        uint64_t owner = ips_peek(&table->rows[i].owner);
        if (owner != IPS_NOBODY && owner != IPS_QUOTA_GONE &&
            !ips_member_lives(segment->object->space, owner, false)) {
            table->rows[i].owner = IPS_QUOTA_GONE;
        }
    }
    /* Before the first block of such a row loses it. */
    atomic_signal_fence(memory_order_seq_cst);
}

/* --- rows used again ------------------------------------------------------ */

static bool
is_gone(const ips_quota_shm *table, unsigned row)
{
    return row != 0 && ips_peek(&table->rows[row - 1].owner) == IPS_QUOTA_GONE;
}

/* Plain stores: row 0 and a row that is GONE are the same to everybody, also
 * if this transaction is undone. */
static void
disown(const ips_segment *segment, const ips_quota_shm *table, const ips_chunk *chunk)
{
    ips_run run;
    if (chunk->state == IPS_CHUNK_BIG) {
        uint64_t word = ips_peek(&chunk->shm->next);
        if (is_gone(table, ips_big_row(word))) {
            chunk->shm->next = ips_big_region(word);
        }
        return;
    }
    if (chunk->state != IPS_CHUNK_RUN || !ips_run_at(segment, chunk->offset, &run) ||
        !ips_run_is_charged(&run)) {
        return;
    }
    for (uint64_t i = 0; i < run.given; i++) {
        uint8_t *row = ips_run_row(&run, i);
        if (row != NULL && is_gone(table, *row)) {
            *row = 0;
        }
    }
}

static int
forget_the_gone(ips_segment *segment, ips_quota_shm *table)
{
    ips_chunk chunk;
    uint64_t offset = segment->heap_start;
    for (; offset < segment->size; offset += chunk.size) {
        if (!ips_chunk_at(segment, offset, &chunk)) {
            return ips_heap_damaged(segment, "no chunk", offset);
        }
        disown(segment, table, &chunk);
    }
    /* All of them before the first row can be another member's. */
    atomic_signal_fence(memory_order_seq_cst);
    int status = IPS_OK;
    for (unsigned i = 0; i < IPS_QUOTA_ROWS && status == 0; i++) {
        if (is_gone(table, i + 1)) {
            status = write_row(segment, &table->rows[i], IPS_NOBODY);
        }
    }
    return status;
}

/* A row for the member, its own or a new one. */
static int
take_row(ips_segment *segment, ips_quota_shm *table, ips_owner member, unsigned *out)
{
    *out = find(table, member);
    if (*out != 0) {
        return IPS_OK;
    }
    unsigned free_row = find(table, IPS_NOBODY);
    if (free_row == 0) {
        bury(segment, table);
        int status = forget_the_gone(segment, table);
        if (status < 0) {
            return status;
        }
        free_row = find(table, IPS_NOBODY);
    }
    if (free_row == 0) {
        return ips_fail(IPS_EMEMBERS, "segment '%s' has quotas, and %u members that use it",
                        ips_segment_title(segment), IPS_QUOTA_ROWS);
    }
    *out = free_row;
    return write_row(segment, &table->rows[free_row - 1], member);
}

/* --- for the heap ---------------------------------------------------------- */

int
ips_quota_admit(ips_segment *segment, uint64_t bytes, uint8_t *row)
{
    ips_quota_shm *table = ips_quota_table(segment);
    unsigned mine = segment->quota_row;
    int status = table == NULL ? damaged(segment) : IPS_OK;
    if (status == 0 && (mine == 0 || ips_peek(&table->rows[mine - 1].owner) != segment->owner)) {
        status = take_row(segment, table, segment->owner, &mine);
        segment->quota_row = status < 0 ? 0 : mine;
    }
    status = status < 0 ? status : ips_journal_reserve(&segment->journal, 1);
    if (status < 0) {
        return status;
    }
    const ips_quota_row_shm *at = &table->rows[mine - 1];
    uint64_t limit = limit_of(table, at), has = ips_peek(&at->bytes);
    if (!segment->quota_eased && (has > limit || bytes > limit - has)) {
        return ips_fail(IPS_EQUOTA, "this process may have %llu bytes of '%s', has %llu and wants "
                        "%llu more: free some of them, or raise it with set_quota()",
                        (unsigned long long)limit, ips_segment_title(segment),
                        (unsigned long long)has, (unsigned long long)bytes);
    }
    *row = (uint8_t)mine;
    return IPS_OK;
}

bool
ips_quota_ease(ips_segment *segment, bool eased)
{
    bool before = segment->quota_eased;
    segment->quota_eased = eased;
    return before;
}

void
ips_quota_count(ips_segment *segment, uint8_t row, int64_t bytes)
{
    ips_quota_shm *table = row == 0 ? NULL : ips_quota_table(segment);
    if (table == NULL || is_gone(table, row)) {
        return;
    }
    uint64_t *sum = &table->rows[row - 1].bytes;
    ips_set(segment, sum, ips_peek(sum) + (uint64_t)bytes);
}

/* --- set and asked ---------------------------------------------------------- */

/* The blocks that empty runs of before would give out are nobody's: they go. */
static int
make_table(ips_segment *segment, ips_quota_shm **out)
{
    ips_offset offset;
    int status = ips_heap_release_runs(segment);
    status = status < 0 ? status : ips_tx_alloc(segment, sizeof **out, &offset);
    if (status < 0) {
        return status;
    }
    *out = ips_segment_at(segment, offset, sizeof **out);
    if (*out == NULL) {
        return ips_heap_damaged(segment, "a new block", offset);
    }
    memset(*out, 0, sizeof **out);
    (*out)->seal = offset ^ SEAL;
    (*out)->limit = IPS_QUOTA_NONE;
    return ips_tx_anchor(segment, IPS_ANCHOR_QUOTAS, offset);
}

int
ips_quota_set(ips_segment *segment, ips_owner member, uint64_t limit)
{
    ips_quota_shm *table = ips_quota_table(segment);
    unsigned row = 0;
    int status = ips_tx_require(segment);
    if (status == 0 && table == NULL) {
        status = ips_quota_is_on(segment) ? damaged(segment) : make_table(segment, &table);
    }
    if (status == 0 && member != IPS_NOBODY) {
        status = take_row(segment, table, member, &row);
    }
    status = status < 0 ? status : ips_journal_reserve(&segment->journal, 1);
    if (status == 0) {
        ips_set(segment, row == 0 ? &table->limit : &table->rows[row - 1].limit, limit);
    }
    return status;
}

int
ips_quota_list(ips_segment *segment, ips_quota out[IPS_QUOTA_ROWS], unsigned *count)
{
    ips_quota_shm *table = ips_quota_table(segment);
    *count = 0;
    int status = ips_tx_require(segment);
    if (status < 0 || table == NULL) {
        return status == 0 && ips_quota_is_on(segment) ? damaged(segment) : status;
    }
    bury(segment, table);
    for (unsigned i = 0; i < IPS_QUOTA_ROWS; i++) {
        const ips_quota_row_shm *row = &table->rows[i];
        if (row->owner != IPS_NOBODY && row->owner != IPS_QUOTA_GONE) {
            out[(*count)++] = (ips_quota){row->owner, limit_of(table, row), row->bytes};
        }
    }
    return status;
}

void
ips_quota_of_mine(const ips_segment *segment, uint64_t *limit, uint64_t *bytes)
{
    const ips_quota_shm *table = ips_quota_table(segment);
    *limit = *bytes = 0;
    if (table == NULL) {
        return;
    }
    unsigned row = find(table, ips_space_self(segment->object->space));
    *limit = row == 0 ? ips_peek(&table->limit) : limit_of(table, &table->rows[row - 1]);
    *limit = *limit == IPS_QUOTA_NONE ? 0 : *limit;
    *bytes = row == 0 ? 0 : ips_peek(&table->rows[row - 1].bytes);
}

void
ips_quota_orphan(ips_segment *segment)
{
    ips_quota_shm *table = ips_quota_table(segment);
    for (unsigned i = 0; table != NULL && i < IPS_QUOTA_ROWS; i++) {
        if (table->rows[i].owner != IPS_NOBODY) {
            table->rows[i] = (ips_quota_row_shm){.owner = IPS_QUOTA_GONE};
        }
    }
}

const char *
ips_quota_check(const ips_segment *segment, const uint64_t sums[IPS_QUOTA_ROWS + 1])
{
    const ips_quota_shm *table = ips_quota_table(segment);
    if (table == NULL && ips_quota_is_on(segment)) {
        return "no table of quotas";
    }
    for (unsigned row = 1; row <= IPS_QUOTA_ROWS; row++) {
        const ips_quota_row_shm *at = table == NULL ? NULL : &table->rows[row - 1];
        if (at == NULL ? sums[row] != 0
                       : at->owner != IPS_QUOTA_GONE && sums[row] != ips_peek(&at->bytes)) {
            return "a member's quota disagrees with its blocks; the table is";
        }
    }
    return NULL;
}
