/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/extent.h"

#define STORES 48 /* more than giving one back makes */

static uint64_t
words_so_far(const ips_journal *journal)
{
    const ips_journal_extent *last = &journal->extents[journal->last];
    return last->split + last->words;
}

/* The first size that the heap has, of those worth having. */
static int
alloc_chunk(ips_segment *segment, uint64_t need, ips_chunk *out)
{
    uint64_t least = ips_align_up((need + IPS_JOURNAL_KEPT) * 8 + sizeof(ips_chunk_shm),
                                  IPS_CHUNK_UNIT);
    uint64_t size = ips_align_up(words_so_far(&segment->journal) * 8 * 3, IPS_CHUNK_UNIT);
    size = size < least ? least : size;
    int status = ips_chunk_alloc(segment, size, IPS_CHUNK_JOURNAL, out);
    while ((status == IPS_ESEGFULL || status == IPS_ENOSPACE) && size > least) {
        size = ips_align_up(size / 3, IPS_CHUNK_UNIT);
        size = size < least ? least : size;
        status = ips_chunk_alloc(segment, size, IPS_CHUNK_JOURNAL, out);
    }
    return status;
}

static int
extend(void *owner, uint64_t need)
{
    ips_segment *segment = owner;
    ips_journal *journal = &segment->journal;
    ips_heap_shm *heap = ips_heap_of(segment);
    ips_chunk chunk;
    if (journal->last == IPS_JOURNAL_EXTENTS || journal->phase != IPS_PHASE_ACTIVE ||
        need > segment->max_size / 8) {
        return ips_journal_too_large(journal);
    }
    journal->extending = true;
    int status = alloc_chunk(segment, need, &chunk);
    journal->extending = false;
    if (status == IPS_ESEGFULL || status == IPS_ENOSPACE) {
        return ips_journal_too_large(journal);
    }
    if (status < 0) {
        return status;
    }
    ips_set(segment, &heap->overhead, heap->overhead + chunk.size);
    ips_set(segment, &heap->extents[journal->last], chunk.offset); /* the last entry before it */
    ips_journal_enter_extent(journal, (uint64_t *)(chunk.shm + 1),
                             (chunk.size - sizeof *chunk.shm) / 8);
    return IPS_OK;
}

static bool
find_extent(void *owner, unsigned number, ips_journal_extent *out)
{
    const ips_segment *segment = owner;
    ips_chunk chunk;
    uint64_t offset = ips_peek(&ips_heap_of(segment)->extents[number]);
    if (offset == 0) {
        return false;
    }
    bool sound = ips_chunk_at(segment, offset, &chunk) && chunk.state == IPS_CHUNK_JOURNAL;
    out->area = sound ? (uint64_t *)(chunk.shm + 1) : NULL;
    out->words = sound ? (chunk.size - sizeof *chunk.shm) / 8 : 0;
    return true;
}

void
ips_extents_provide(ips_segment *segment)
{
    segment->journal.owner = segment;
    segment->journal.extend = extend;
    segment->journal.find_extent = find_extent;
}

static int
give_back(ips_segment *segment, unsigned number)
{
    ips_heap_shm *heap = ips_heap_of(segment);
    ips_chunk chunk;
    int status = ips_journal_reserve(&segment->journal, STORES);
    if (status < 0) {
        return status;
    }
    if (!ips_chunk_at(segment, heap->extents[number], &chunk) ||
        chunk.state != IPS_CHUNK_JOURNAL) {
        return ips_heap_damaged(segment, "a part of the journal", heap->extents[number]);
    }
    ips_set(segment, &heap->extents[number], 0);
    ips_set(segment, &heap->overhead, heap->overhead - chunk.size);
    return ips_chunk_free(segment, &chunk);
}

void
ips_extents_give_back(ips_segment *segment)
{
    ips_heap_shm *heap = ips_heap_of(segment);
    for (unsigned i = 0; i < IPS_JOURNAL_EXTENTS && heap->extents[i] != 0; i++) {
        ips_journal_commit(&segment->journal); /* a step of its own */
        if (give_back(segment, i) < 0) {
            ips_journal_undo(&segment->journal);
            ips_journal_commit(&segment->journal);
            heap->extents[i] = 0; /* damage: check() names the chunk */
        }
    }
}
