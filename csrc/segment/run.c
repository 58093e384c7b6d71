/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/run.h"

#include "segment/quota.h"

#define STORES 16 /* more than any one operation makes, chunks aside */

static uint64_t
overhead_of(const ips_run *run)
{
    return run->chunk.size - run->capacity * run->total;
}

int
ips_run_begin(ips_segment *segment, uint64_t owner, unsigned class, uint64_t capacity,
              ips_run *run)
{
    ips_heap_shm *heap = ips_heap_of(segment);
    uint64_t *list = ips_run_list(segment, owner, class);
    if (list == NULL) {
        return ips_heap_damaged(segment, "no pool or arena", owner);
    }
    int status = ips_journal_reserve(&segment->journal, STORES);
    if (status < 0) {
        return status;
    }
    run->head = run->given = run->live = 0;
    run->class = class;
    run->mark = class | (ips_quota_is_on(segment) ? IPS_RUN_CHARGED : 0u);
    run->total = ips_class_size(class);
    run->capacity = capacity;
    run->owner = owner;
    ips_run_write(segment, run);
    ips_set(segment, &ips_run_of(&run->chunk)->capacity, capacity);
    ips_set(segment, &ips_run_of(&run->chunk)->owner, owner);
    ips_set(segment, &heap->overhead, heap->overhead + overhead_of(run));
    ips_region_credit(segment, owner, 0, (int64_t)run->chunk.size);
    return ips_chunk_push(segment, list, &run->chunk);
}

int
ips_run_release(ips_segment *segment, const ips_run *run)
{
    ips_heap_shm *heap = ips_heap_of(segment);
    uint64_t *list = ips_run_list(segment, run->owner, run->class);
    int status = list == NULL ? ips_heap_damaged(segment, "the owner of the run", run->chunk.offset)
                              : ips_chunk_unlink(segment, list, &run->chunk);
    if (status < 0) {
        return status;
    }
    ips_set(segment, &heap->overhead, heap->overhead - overhead_of(run));
    ips_region_credit(segment, run->owner, 0, -(int64_t)run->chunk.size);
    /* The words that make it a run may soon be somebody's bytes; its blocks
     * have no tags that matter (see ips_run_put). */
    ips_set(segment, &ips_run_of(&run->chunk)->word, 0);
    ips_set(segment, &ips_run_of(&run->chunk)->capacity, 0);
    ips_set(segment, &ips_run_of(&run->chunk)->owner, 0);
    return ips_chunk_free(segment, &run->chunk);
}
