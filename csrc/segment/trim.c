/* SPDX-License-Identifier: Apache-2.0 */
/* Giving memory back: the pages of free chunks, whether at the end or within.
 *
 * A reader takes no lock: stopped in the middle of a copy, it may look at bytes
 * that were freed long ago, and a look at a page without memory takes memory,
 * or is SIGBUS where there is none left.  So pages go only while no other
 * member has the segment open: who opens it after that finds no way to what
 * was free before it came.  The caller sees to it that no thread of this
 * process reads meanwhile.
 *
 * Order: the chunks are marked HOLE, in transactions of their own; then, under
 * the lock, the pages of those so marked go.  Death in between leaves a mark
 * whose only effect is that memory is asked for which is there. */
#include "os/clock.h"
#include "segment/heap.h"

#define MARKS 200      /* of one transaction */
#define STORES 4
#define LEAST 8192u    /* bytes of a chunk worth a look: it holds a whole page */

static bool
next_free(const ips_segment *segment, uint64_t *offset, ips_chunk *out)
{
    while (*offset < segment->size && ips_chunk_at(segment, *offset, out)) {
        *offset += out->size;
        if (out->state == IPS_CHUNK_FREE && out->size >= LEAST) {
            return true;
        }
    }
    return false;
}

/* Does nobody but this member have it open?  Asked under the lock. */
static int
is_alone(ips_segment *segment, bool *alone)
{
    uint64_t users;
    int status = ips_object_users(segment->object, &users);
    *alone = status == 0 && users == 1;
    return status;
}

/* Mark up to MARKS chunks from *offset on. */
static int
mark_some(ips_segment *segment, uint64_t *offset)
{
    ips_chunk chunk;
    for (int marks = 0; marks < MARKS && next_free(segment, offset, &chunk);) {
        if (chunk.hole) {
            continue;
        }
        int status = ips_journal_reserve(&segment->journal, STORES);
        if (status < 0) {
            return status;
        }
        chunk.hole = true;
        ips_set(segment, &chunk.shm->size, ips_chunk_free_word(&chunk));
        marks++;
    }
    return IPS_OK;
}

int
ips_segment_trim_mark(ips_segment *segment, int64_t deadline)
{
    uint64_t offset = segment->heap_start;
    bool first = true;
    bool alone = true;
    if (segment->read_only) {
        return ips_fail(IPS_EREADONLY, "trim() of '%s', opened with readonly=True",
                        ips_segment_title(segment));
    }
    if (ips_tx_is_mine(segment)) {
        return ips_fail(IPS_ETX, "trim() of '%s' inside a transaction",
                        ips_segment_title(segment));
    }
    do {
        int status = ips_tx_begin(segment, deadline);
        if (status < 0) {
            return status;
        }
        status = is_alone(segment, &alone);
        if (status == 0 && first && alone) {
            status = ips_heap_release_runs(segment);
        }
        status = status < 0 || !alone ? status : mark_some(segment, &offset);
        if (status < 0) {
            ips_tx_abort(segment);
            return status;
        }
        status = ips_tx_commit(segment);
        if (status < 0) {
            return status;
        }
        first = false;
    } while (alone && offset < segment->size);
    return IPS_OK;
}

int
ips_segment_trim_punch(ips_segment *segment, uint64_t *given_back)
{
    uint64_t offset = segment->heap_start;
    uint64_t before = 0, after = 0;
    bool alone;
    ips_chunk chunk;
    *given_back = 0;
    int status = ips_tx_begin(segment, IPS_AT_ONCE);
    if (status < 0) {
        return status == IPS_ETIMEOUT || status == IPS_EINTR ? IPS_OK : status;
    }
    status = is_alone(segment, &alone);
    status = status < 0 ? status : ips_object_memory(segment->object, &before);
    while (status == 0 && alone && next_free(segment, &offset, &chunk)) {
        if (chunk.hole) {
            status = ips_object_punch(segment->object, chunk.offset + sizeof *chunk.shm,
                                      chunk.offset + chunk.size);
        }
    }
    ips_tx_abort(segment);
    status = status < 0 ? status : ips_object_memory(segment->object, &after);
    *given_back = status == 0 && before > after ? before - after : 0;
    return status;
}
