/* SPDX-License-Identifier: Apache-2.0 */
/* Runs of small blocks, from the inside; the byte map heads heap.h.  All but
 * the looks inside a transaction, with room for STORES reserved. */
#ifndef IPS_SEGMENT_RUN_H
#define IPS_SEGMENT_RUN_H

#include "segment/heap.h"

static inline bool
ips_run_is_full(const ips_run *run)
{
    return run->head == 0 && run->given == run->capacity;
}

static inline uint64_t *
ips_run_tag(const ips_run *run, uint64_t index)
{
    return (uint64_t *)((uint8_t *)run->chunk.shm + IPS_RUN_BLOCKS + index * run->total);
}

static inline void
ips_run_write(ips_segment *segment, const ips_run *run)
{
    ips_set(segment, &ips_run_of(&run->chunk)->word,
            run->head | run->given << 16 | run->live << 32 | (uint64_t)run->mark << 48);
}

/* Where the runs with room of that class begin, of the heap (owner 0) or of a
 * region; NULL: the region makes no sense. */
static inline uint64_t *
ips_run_list(const ips_segment *segment, uint64_t owner, unsigned class)
{
    if (owner == 0) {
        return &ips_heap_of(segment)->runs[class];
    }
    ips_region_shm *region = ips_region_at(segment, owner);
    return region == NULL ? NULL : &region->runs[class];
}

/* The region has so much more of blocks in use, and of the heap. */
static inline void
ips_region_credit(ips_segment *segment, uint64_t owner, int64_t blocks, int64_t bytes)
{
    ips_region_shm *region = owner == 0 ? NULL : ips_region_at(segment, owner);
    if (region != NULL && blocks != 0) {
        ips_set(segment, &region->live, region->live + (uint64_t)blocks);
    }
    if (region != NULL && bytes != 0) {
        ips_set(segment, &region->bytes, region->bytes + (uint64_t)bytes);
    }
}

/* run->chunk becomes a run with nothing given out, in its list; charged where
 * the segment has quotas. */
IPS_MUST_CHECK int ips_run_begin(ips_segment *segment, uint64_t owner, unsigned class,
    uint64_t capacity, ips_run *run);

/* The tag of the run's next block, and its index; NULL where the run is
 * damaged.  `run` is changed, and yet to be written. */
static inline uint64_t *
ips_run_take(ips_run *run, uint64_t *index)
{
    if (run->head == 0) {
        *index = run->given++;
        run->live++;
        return *index < run->capacity ? ips_run_tag(run, *index) : NULL;
    }
    *index = run->head - 1;
    uint64_t *tag = ips_run_tag(run, *index);
    uint64_t seen = ips_peek(tag);
    run->head = ips_tag_link(seen);
    run->live++;
    bool sound = ips_tag_status(seen) == IPS_TAG_FREE && ips_tag_class(seen) == run->class &&
                 ips_tag_index(seen) == *index && run->head <= run->given &&
                 run->live <= run->given;
    return sound ? tag : NULL;
}

/* The block becomes free.  An empty run is as new: none was given out, so no tag
 * in it means anything, and it may become other memory and, undone, a run again. */
static inline void
ips_run_put(ips_segment *segment, const ips_block *block, ips_run *run)
{
    uint64_t index = ips_tag_index(block->seen);
    run->live--;
    if (run->live == 0) {
        run->head = run->given = 0;
    } else if (index + 1 == run->given) {
        run->given = index;
    } else {
        ips_set(segment, block->tag, ips_tag_make(IPS_TAG_FREE, run->class, index, run->head));
        run->head = index + 1;
    }
    ips_run_write(segment, run);
}

/* An empty one goes back to the chunks. */
IPS_MUST_CHECK int ips_run_release(ips_segment *segment, const ips_run *run);

#endif
