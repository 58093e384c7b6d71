/* SPDX-License-Identifier: Apache-2.0 */
/* The invariants of a whole segment as code: the oracle of the crash tests.
 * Every byte of the heap is counted once as owned, free or overhead, by a walk
 * that believes no count and no list; then the lists and the sums that the
 * heap keeps are compared with it. */
#include <stdio.h>
#include <stdlib.h>

#include "segment/heap.h"
#include "segment/quota.h"
#include "segment/stable.h"

#define MOST_LINES 100 /* of a report: a ruin has one for every block */

typedef struct {
    ips_segment *segment;
    void (*report)(const char *line, void *context);
    void *context;
    int lines;
    uint8_t *starts; /* a bit for each unit: a chunk begins there */
    uint64_t owned, free, overhead, blocks, pending;
    uint64_t free_chunks;
    uint64_t runs_with_room[IPS_CLASSES];
    uint64_t free_cells[IPS_STABLE_TYPES];
    uint64_t region_runs, region_bytes, region_blocks; /* what says it is of one */
    uint64_t charged[IPS_QUOTA_ROWS + 1]; /* bytes of blocks by the row they name */
} walk;

static void
complain(walk *at, const char *what, uint64_t offset)
{
    if (at->lines++ < MOST_LINES) {
        char line[128];
        (void)snprintf(line, sizeof line, "heap: %s at offset %llu", what,
                       (unsigned long long)offset);
        at->report(line, at->context);
    }
}

static uint64_t
unit_of(const walk *at, uint64_t offset)
{
    return (offset - at->segment->heap_start) / IPS_CHUNK_UNIT;
}

static bool
is_start(const walk *at, uint64_t offset)
{
    ips_chunk chunk;
    return ips_chunk_at(at->segment, offset, &chunk) &&
           (at->starts[unit_of(at, offset) / 8] >> unit_of(at, offset) % 8 & 1) != 0;
}

/* A tag of one of `class`: true where it counts as owned. */
static bool
count_tag(walk *at, uint64_t tag, unsigned class, uint64_t index, uint64_t offset)
{
    unsigned status = ips_tag_status(tag);
    if (status == 0 || ips_tag_class(tag) != class || ips_tag_index(tag) != index) {
        complain(at, "a block's tag makes no sense", offset);
    }
    at->pending += status == IPS_TAG_PENDING;
    if (status == IPS_TAG_FREE) {
        return false;
    }
    at->blocks++;
    return true;
}

static void
check_run(walk *at, const ips_chunk *chunk)
{
    ips_run run;
    if (!ips_run_at(at->segment, chunk->offset, &run)) {
        complain(at, "a run that makes no sense", chunk->offset);
        return;
    }
    const uint8_t *blocks = (const uint8_t *)chunk->shm + IPS_RUN_BLOCKS;
    uint64_t live = 0;
    for (uint64_t i = 0; i < run.given; i++) {
        const uint64_t *tag = (const uint64_t *)(blocks + i * run.total);
        bool owned = count_tag(at, *tag, run.class, i, chunk->offset);
        live += owned;
        const uint8_t *row = owned && ips_run_is_charged(&run) ? ips_run_row(&run, i) : NULL;
        at->charged[row == NULL ? 0 : *row] += run.total;
    }
    if (run.mark > (IPS_RUN_CHARGED | run.class) ||
        (ips_run_is_charged(&run) && ips_run_row(&run, run.capacity - 1) == NULL)) {
        complain(at, "a run has no room to say whose its blocks are", chunk->offset);
    }
    uint64_t listed = 0;
    uint64_t head = run.head;
    for (; head != 0 && head <= run.given && listed <= run.given; listed++) {
        uint64_t tag = *(const uint64_t *)(blocks + (head - 1) * run.total);
        if (ips_tag_status(tag) != IPS_TAG_FREE) {
            break;
        }
        head = ips_tag_link(tag);
    }
    if (live != run.live || head != 0 || listed != run.given - live) {
        complain(at, "a run's free blocks and its counts disagree", chunk->offset);
    }
    at->owned += live * run.total;
    at->free += (run.capacity - live) * run.total;
    at->overhead += chunk->size - run.capacity * run.total;
    if (run.owner == 0) {
        at->runs_with_room[run.class] += live < run.capacity;
    } else {
        at->region_runs += live < run.capacity;
        at->region_blocks += live;
        at->region_bytes += chunk->size;
    }
}

static void
check_cells(walk *at, const ips_chunk *chunk)
{
    uint64_t type = chunk->shm->next;
    uint64_t stride = ips_stable_stride(type);
    uint64_t count = (chunk->size - IPS_CHUNK_UNIT) / stride;
    const uint8_t *first = (const uint8_t *)chunk->shm + IPS_CHUNK_UNIT;
    if (type >= IPS_STABLE_TYPES) {
        complain(at, "cells of no type", chunk->offset);
        return;
    }
    for (uint64_t i = 0; i < count; i++) {
        const ips_stable_shm *cell = (const ips_stable_shm *)(first + i * stride);
        bool owned = count_tag(at, cell->tag, IPS_CLASS_STABLE, i, chunk->offset);
        /* relaxed: stored under the lock that we hold. */
        uint64_t generation = atomic_load_explicit(&cell->generation, memory_order_relaxed);
        if (owned && generation == 0) {
            complain(at, "a cell in use without a generation", chunk->offset);
        }
        at->free_cells[type] += !owned;
        at->owned += owned ? stride : 0;
        at->free += owned ? 0 : stride;
    }
    at->overhead += chunk->size - count * stride;
}

static void
check_extent(walk *at, const ips_chunk *chunk)
{
    const uint64_t *extents = ips_heap_of(at->segment)->extents;
    unsigned i = 0;
    while (i < IPS_JOURNAL_EXTENTS && extents[i] != chunk->offset) {
        i++;
    }
    if (i == IPS_JOURNAL_EXTENTS) {
        complain(at, "a part of the journal that nothing leads to", chunk->offset);
    }
    at->overhead += chunk->size;
}

static void
check_chunk(walk *at, const ips_chunk *chunk)
{
    switch (chunk->state) {
    case IPS_CHUNK_FREE:
        at->free += chunk->size;
        at->free_chunks++;
        break;
    case IPS_CHUNK_BIG:
        if (!count_tag(at, chunk->shm->previous, IPS_CLASS_BIG, 0, chunk->offset)) {
            complain(at, "a large block that is free", chunk->offset);
        }
        at->owned += chunk->size;
        at->region_bytes += ips_big_region(chunk->shm->next) != 0 ? chunk->size : 0;
        at->region_blocks += ips_big_region(chunk->shm->next) != 0;
        at->charged[ips_big_row(chunk->shm->next)] += chunk->size;
        break;
    case IPS_CHUNK_RUN:
        check_run(at, chunk);
        break;
    case IPS_CHUNK_JOURNAL:
        check_extent(at, chunk);
        break;
    default:
        check_cells(at, chunk);
    }
}

/* All chunks in order; false where the walk could not reach the end. */
static bool
walk_chunks(walk *at)
{
    ips_segment *segment = at->segment;
    uint64_t offset = segment->heap_start;
    ips_chunk chunk = {.size = 0}, before = {.size = 0};
    while (offset < segment->size) {
        if (!ips_chunk_at(segment, offset, &chunk)) {
            complain(at, "no chunk", offset);
            return false;
        }
        if (chunk.shm->before != before.size) {
            complain(at, "a chunk that does not know the one before it", offset);
        }
        if (chunk.state == IPS_CHUNK_FREE && before.state == IPS_CHUNK_FREE) {
            complain(at, "two free chunks side by side", offset);
        }
        at->starts[unit_of(at, offset) / 8] |= (uint8_t)(1 << unit_of(at, offset) % 8);
        check_chunk(at, &chunk);
        before = chunk;
        offset += chunk.size;
    }
    if (ips_heap_of(segment)->last != before.offset) {
        complain(at, "the last chunk is not the one noted", before.offset);
    }
    return true;
}

/* Length of a list of chunks in `state`, each accepted by its bin or class. */
static uint64_t
walk_list(walk *at, uint64_t head, unsigned state, unsigned number)
{
    uint64_t length = 0;
    uint64_t before = 0;
    uint64_t limit = at->segment->size / IPS_CHUNK_UNIT;
    for (uint64_t offset = head; offset != 0 && length < limit; length++) {
        ips_chunk chunk;
        if (!is_start(at, offset) || !ips_chunk_at(at->segment, offset, &chunk) ||
            chunk.state != state || chunk.shm->previous != before) {
            complain(at, "a list leads astray", offset);
            return length;
        }
        ips_run run = {.class = IPS_CLASSES};
        bool fits = state == IPS_CHUNK_FREE
            ? ips_chunk_bin(chunk.size) == number
            : ips_run_at(at->segment, offset, &run) && run.class == number;
        if (!fits) {
            complain(at, "a chunk in the wrong list", offset);
        }
        before = offset;
        offset = chunk.shm->next;
    }
    return length;
}

static void
check_lists(walk *at)
{
    const ips_heap_shm *heap = ips_heap_of(at->segment);
    uint64_t free_chunks = 0;
    for (unsigned bin = 0; bin < IPS_BINS; bin++) {
        bool mapped = (heap->bin_map[bin / 64] >> bin % 64 & 1) != 0;
        if (mapped != (heap->bins[bin] != 0)) {
            complain(at, "the map of bins is wrong for the bin", bin);
        }
        free_chunks += walk_list(at, heap->bins[bin], IPS_CHUNK_FREE, bin);
    }
    if (free_chunks != at->free_chunks) {
        complain(at, "free chunks are missing in the bins", at->segment->heap_start);
    }
    for (unsigned class = 0; class < IPS_CLASSES; class++) {
        if (walk_list(at, heap->runs[class], IPS_CHUNK_RUN, class) != at->runs_with_room[class]) {
            complain(at, "runs with room are missing in the list of the class", class);
        }
    }
}

/* Each of a region's runs is in the list of its class, and the regions know
 * all that says it is of one of them. */
static void
check_regions(walk *at)
{
    uint64_t link = ips_anchor_load(at->segment, IPS_ANCHOR_REGIONS);
    uint64_t runs = 0, bytes = 0, blocks = 0;
    for (uint64_t steps = at->segment->size / IPS_CHUNK_UNIT; link != 0 && steps > 0; steps--) {
        const ips_region_shm *region = ips_region_at(at->segment, link);
        ips_block block;
        if (region == NULL || !ips_block_at(at->segment, link, &block)) {
            complain(at, "the list of pools and arenas leads astray", link);
            return;
        }
        for (unsigned class = 0; class < IPS_CLASSES; class++) {
            ips_run run;
            runs += walk_list(at, region->runs[class], IPS_CHUNK_RUN, class);
            if (region->runs[class] != 0 &&
                (!ips_run_at(at->segment, region->runs[class], &run) || run.owner != link)) {
                complain(at, "a run in the list of another pool or arena", region->runs[class]);
            }
        }
        bytes += region->bytes;
        blocks += region->live;
        link = region->next;
    }
    if (link != 0) {
        complain(at, "the list of pools and arenas has no end", link);
    } else if (runs != at->region_runs || bytes != at->region_bytes || blocks != at->region_blocks) {
        complain(at, "pools and arenas disagree with what is theirs; bytes", at->region_bytes);
    }
}

static void
check_free_cells(walk *at)
{
    const ips_heap_shm *heap = ips_heap_of(at->segment);
    for (unsigned type = 0; type < IPS_STABLE_TYPES; type++) {
        uint64_t length = 0;
        uint64_t offset = heap->stable[type];
        while (offset != 0 && length <= at->free_cells[type]) {
            ips_block cell = {.tag = NULL};
            const uint64_t *tag = ips_segment_at(at->segment, offset - 8, 8);
            cell.seen = tag != NULL ? *tag : 0;
            if (ips_tag_status(cell.seen) != IPS_TAG_FREE ||
                ips_tag_class(cell.seen) != IPS_CLASS_STABLE ||
                !ips_stable_at(at->segment, offset, &cell) || cell.run.chunk.shm->next != type) {
                complain(at, "a list of free cells leads astray", offset);
                break;
            }
            offset = ips_tag_link(cell.seen) * 16;
            length++;
        }
        if (length != at->free_cells[type]) {
            complain(at, "free cells are missing in the list of the type", type);
        }
    }
}

/* Blocks that this very transaction has freed: the chain's length. */
static uint64_t
chain_length(const walk *at)
{
    uint64_t length = 0;
    uint64_t offset = ips_heap_of(at->segment)->deferred;
    ips_block block;
    while (offset != 0 && length <= at->pending && ips_block_at(at->segment, offset, &block)) {
        offset = ips_tag_link(block.seen) * 16;
        length++;
    }
    return length;
}

static void
check_sums(walk *at)
{
    const ips_heap_shm *heap = ips_heap_of(at->segment);
    uint64_t bytes = at->segment->size - at->segment->heap_start;
    if (at->owned + at->free + at->overhead != bytes) {
        complain(at, "bytes that are neither owned nor free nor overhead",
                 at->owned + at->free + at->overhead);
    }
    const ips_sums *sums = &at->segment->sums; /* inside a transaction */
    if (heap->used + (uint64_t)sums->bytes != at->owned || heap->overhead != at->overhead) {
        complain(at, "the sums of bytes disagree; owned", at->owned);
    }
    if (heap->blocks + (uint64_t)sums->blocks != at->blocks) {
        complain(at, "the number of blocks is wrong; counted", at->blocks);
    }
    const char *quotas = ips_quota_check(at->segment, at->charged);
    if (quotas != NULL) {
        complain(at, quotas, ips_anchor_load(at->segment, IPS_ANCHOR_QUOTAS));
    }
    if (at->pending != chain_length(at)) {
        complain(at, "blocks freed and never given back; counted", at->pending);
    }
}

int
ips_heap_check(ips_segment *segment, void (*report)(const char *line, void *context),
               void *context)
{
    walk at = {.segment = segment, .report = report, .context = context};
    at.starts = calloc((segment->size - segment->heap_start) / IPS_CHUNK_UNIT / 8 + 1, 1);
    if (at.starts == NULL) {
        return ips_fail(IPS_ENOMEM, "checking segment '%s'", ips_segment_title(segment));
    }
    if (walk_chunks(&at)) {
        check_lists(&at);
        check_free_cells(&at);
        check_regions(&at);
        check_sums(&at);
    }
    free(at.starts);
    return at.lines == 0 ? IPS_OK : IPS_ECORRUPT;
}

int
ips_segment_check(ips_segment *segment, int64_t deadline,
                  void (*report)(const char *line, void *context), void *context)
{
    int status = ips_tx_begin(segment, deadline);
    if (status == IPS_ECORRUPT) {
        report(ips_last_note()->detail, context);
    }
    if (status < 0) {
        return status;
    }
    int heap = ips_heap_check(segment, report, context);
    int names = ips_catalogue_check(segment, report, context);
    ips_tx_abort(segment);
    if (heap < 0 || names < 0) {
        return heap == IPS_ENOMEM ? heap
            : ips_fail(IPS_ECORRUPT, "segment '%s' has problems", ips_segment_title(segment));
    }
    return IPS_OK;
}
