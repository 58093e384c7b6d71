/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/heap.h"

#include "segment/extent.h"
#include "segment/quota.h"
#include "segment/region.h"
#include "segment/run.h"
#include "segment/stable.h"

#define FINE_CLASSES 15u    /* those up to 256 bytes; then four to each doubling */
#define LARGEST_SMALL UINT64_C(2048)
#define STORES 16           /* more than any one operation makes, chunks aside */
#define STEP_ROOM 160       /* stores for which a step of working off has room */

const uint16_t ips_class_sizes[IPS_CLASSES] = {
    32,  48,  64,  80,  96,  112, 128, 144, 160, 176, 192,  208,  224,  240,
    256, 320, 384, 448, 512, 640, 768, 896, 1024, 1280, 1536, 1792, 2048,
};

static unsigned
class_of(uint64_t total)
{
    if (total <= 256) {
        return total <= 32 ? 0 : (unsigned)((total + 15) / 16 - 2);
    }
    unsigned log = 63u - (unsigned)__builtin_clzll(total - 1); /* 8: 257..512 */
    return FINE_CLASSES + (log - 8) * 4 + (unsigned)((total - 1) >> (log - 2) & 3);
}

void
ips_heap_store_sums(ips_segment *segment)
{
    ips_heap_shm *heap = ips_heap_of(segment);
    if (segment->sums.bytes == 0 && segment->sums.blocks == 0) {
        return;
    }
    ips_set(segment, &heap->used, heap->used + (uint64_t)segment->sums.bytes);
    ips_set(segment, &heap->blocks, heap->blocks + (uint64_t)segment->sums.blocks);
    segment->sums = (ips_sums){0, 0};
}

/* --- finding blocks */

static bool
small_block_at(const ips_segment *segment, uint64_t offset, ips_block *out)
{
    unsigned class = ips_tag_class(out->seen);
    uint64_t index = ips_tag_index(out->seen);
    out->total = ips_class_size(class);
    uint64_t distance = IPS_RUN_BLOCKS + 8 + index * out->total;
    return out->total != 0 && distance <= offset &&
           ips_run_at(segment, offset - distance, &out->run) && out->run.class == class &&
           index < out->run.given;
}

bool
ips_block_at(const ips_segment *segment, uint64_t offset, ips_block *out)
{
    if (offset % 16 != 0 || offset < segment->heap_start + IPS_BIG_PAYLOAD ||
        offset >= segment->size) {
        return false;
    }
    out->tag = (uint64_t *)(segment->base + offset - 8);
    out->seen = ips_peek(out->tag);
    unsigned status = ips_tag_status(out->seen);
    if (status != IPS_TAG_ALLOCATED && status != IPS_TAG_PENDING) {
        return false;
    }
    if (ips_tag_class(out->seen) == IPS_CLASS_BIG) {
        bool found = ips_chunk_at(segment, offset - IPS_BIG_PAYLOAD, &out->run.chunk) &&
                     out->run.chunk.state == IPS_CHUNK_BIG;
        out->total = out->run.chunk.size;
        return found;
    }
    if (ips_tag_class(out->seen) == IPS_CLASS_STABLE) {
        return ips_stable_at(segment, offset, out);
    }
    return small_block_at(segment, offset, out);
}

size_t
ips_block_size(ips_segment *segment, ips_offset offset)
{
    ips_block block;
    if (!ips_block_at(segment, offset, &block) ||
        ips_tag_status(block.seen) != IPS_TAG_ALLOCATED) {
        return 0;
    }
    if (ips_tag_class(block.seen) == IPS_CLASS_BIG) {
        return block.total - IPS_BIG_PAYLOAD;
    }
    return ips_tag_class(block.seen) == IPS_CLASS_STABLE ? IPS_STABLE_SIZE : block.total - 8;
}

/* --- allocation */

static int
run_of_class(const ips_segment *segment, uint64_t offset, uint64_t owner, unsigned class,
             ips_run *out)
{
    if (ips_run_at(segment, offset, out) && out->class == class && out->owner == owner) {
        return IPS_OK;
    }
    return ips_heap_damaged(segment, "a run", offset);
}

/* They were empty before this transaction, whose frees are still to come. */
int
ips_heap_release_runs(ips_segment *segment)
{
    int found = 0;
    uint64_t steps = segment->size / IPS_CHUNK_UNIT;
    for (unsigned class = 0; class < IPS_CLASSES; class++) {
        uint64_t offset = ips_heap_of(segment)->runs[class];
        for (; offset != 0 && steps > 0; steps--) {
            ips_run run;
            int status = run_of_class(segment, offset, 0, class, &run);
            if (status < 0) {
                return status;
            }
            offset = run.chunk.shm->next;
            if (run.live != 0) {
                continue;
            }
            status = ips_journal_reserve(&segment->journal, STORES);
            status = status < 0 ? status : ips_run_release(segment, &run);
            if (status < 0) {
                return status;
            }
            found = 1;
        }
    }
    return found;
}

/* A chunk, by all means. */
static int
chunk_by_force(ips_segment *segment, uint64_t size, unsigned state, ips_chunk *out)
{
    int status = ips_chunk_alloc(segment, size, state, out);
    if (status == IPS_ESEGFULL || status == IPS_ENOSPACE) {
        int released = ips_heap_release_runs(segment);
        if (released < 0) {
            return released;
        }
        status = released == 1 ? ips_chunk_alloc(segment, size, state, out) : status;
    }
    return status;
}

int
ips_heap_add_run(ips_segment *segment, uint64_t region, uint64_t size, uint64_t count)
{
    ips_run run;
    unsigned class = class_of(size + 8);
    uint64_t total = ips_class_size(class) + ips_quota_is_on(segment);
    uint64_t bytes = ips_align_up(IPS_RUN_BLOCKS + count * total, IPS_CHUNK_UNIT);
    int status = chunk_by_force(segment, bytes, IPS_CHUNK_RUN, &run.chunk);
    return status < 0 ? status : ips_run_begin(segment, region, class, count, &run);
}

int
ips_heap_drop_run(ips_segment *segment, uint64_t region, unsigned class)
{
    ips_run run;
    const uint64_t *list = ips_run_list(segment, region, class);
    int status = list == NULL ? ips_heap_damaged(segment, "no pool or arena", region)
                              : run_of_class(segment, *list, region, class, &run);
    if (status == 0 && run.live != 0) {
        status = ips_heap_damaged(segment, "the count of the pool or arena", region);
    }
    if (status == 0) {
        status = ips_journal_reserve(&segment->journal, STORES);
    }
    return status < 0 ? status : ips_run_release(segment, &run);
}

static int
new_run(ips_segment *segment, uint64_t owner, unsigned class, ips_run *out)
{
    uint64_t total = ips_class_size(class);
    uint64_t size = segment->run_size;
    int status = chunk_by_force(segment, size, IPS_CHUNK_RUN, &out->chunk);
    while (status == IPS_ESEGFULL && size / 2 >= IPS_RUN_BLOCKS + total) {
        size = ips_align_up(size / 2, IPS_CHUNK_UNIT);
        status = ips_chunk_alloc(segment, size, IPS_CHUNK_RUN, &out->chunk);
    }
    total += ips_quota_is_on(segment); /* a charge for each block */
    return status < 0 ? status
        : ips_run_begin(segment, owner, class, (size - IPS_RUN_BLOCKS) / total, out);
}

/* Nobody's block yet: its row needs no entry. */
static void
charge(ips_segment *segment, const ips_run *run, uint64_t index, uint8_t row)
{
    uint8_t *at = ips_run_row(run, index);
    if (at != NULL) {
        *at = row;
        ips_quota_count(segment, row, (int64_t)run->total);
    }
}

static int
alloc_small(ips_segment *segment, unsigned class, ips_offset *out)
{
    ips_run run;
    uint64_t owner = segment->region;
    uint64_t *list = ips_run_list(segment, owner, class);
    int status = list != NULL ? ips_journal_reserve(&segment->journal, STORES)
                              : ips_heap_damaged(segment, "no pool or arena", owner);
    if (status == 0) {
        uint64_t first = ips_peek(list);
        status = first == 0 ? new_run(segment, owner, class, &run)
                            : run_of_class(segment, first, owner, class, &run);
    }
    if (status < 0) {
        return status;
    }
    uint8_t row = 0;
    if (ips_run_is_charged(&run) && (status = ips_quota_admit(segment, run.total, &row)) < 0) {
        return status;
    }
    bool fresh = run.head == 0;
    uint64_t index;
    uint64_t *tag = ips_run_take(&run, &index);
    if (tag == NULL) {
        return ips_heap_damaged(segment, "the free blocks of the run", run.chunk.offset);
    }
    uint64_t value = ips_tag_make(IPS_TAG_ALLOCATED, class, index, 0);
    if (fresh) {
        *tag = value; /* no tag was there: "given" makes it one */
    } else {
        ips_set(segment, tag, value);
    }
    ips_run_write(segment, &run);
    ips_count(segment, (int64_t)run.total, 1);
    ips_region_credit(segment, owner, 1, 0);
    if (ips_run_is_charged(&run)) {
        charge(segment, &run, index, row);
    }
    *out = (uint64_t)((uint8_t *)(tag + 1) - segment->base);
    ips_made_note(segment, *out);
    return ips_run_is_full(&run) ? ips_chunk_unlink(segment, list, &run.chunk) : IPS_OK;
}

static int
alloc_big(ips_segment *segment, uint64_t size, ips_offset *out)
{
    ips_chunk chunk;
    uint64_t total = ips_align_up(size + IPS_BIG_PAYLOAD, IPS_CHUNK_UNIT);
    uint8_t row = 0;
    if (ips_quota_is_on(segment)) {
        int admitted = ips_quota_admit(segment, total, &row);
        if (admitted < 0) {
            return admitted;
        }
    }
    int status = chunk_by_force(segment, total, IPS_CHUNK_BIG, &chunk);
    if (status == 0) {
        status = ips_journal_reserve(&segment->journal, STORES);
    }
    if (status < 0) {
        return status;
    }
    ips_set(segment, &chunk.shm->previous, ips_tag_make(IPS_TAG_ALLOCATED, IPS_CLASS_BIG, 0, 0));
    if (segment->region != 0 || row != 0) {
        ips_set(segment, &chunk.shm->next, ips_big_owner(segment->region, row));
        ips_region_credit(segment, segment->region, 1, (int64_t)total);
        ips_quota_count(segment, row, (int64_t)total);
    }
    ips_count(segment, (int64_t)total, 1);
    *out = chunk.offset + IPS_BIG_PAYLOAD;
    ips_made_note(segment, *out);
    return IPS_OK;
}

/* A block of the pool, which takes no more memory. */
static int
alloc_slot(ips_segment *segment, const ips_region_shm *pool, size_t size, ips_offset *out)
{
    if (size > pool->slot || pool->slot > IPS_REGION_SLOT_MOST) {
        return ips_fail(IPS_EPOOLFULL, "its blocks of %llu bytes cannot hold %llu; what grows "
                        "needs an arena", (unsigned long long)pool->slot,
                        (unsigned long long)size);
    }
    unsigned class = class_of(pool->slot + 8);
    if (ips_peek(&pool->runs[class]) == 0) {
        return ips_fail(IPS_EPOOLFULL, "all %llu blocks of the pool of %llu bytes each in '%s' "
                        "are in use; destroy objects that it holds, or make a larger one",
                        (unsigned long long)pool->slots, (unsigned long long)pool->slot,
                        ips_segment_title(segment));
    }
    return alloc_small(segment, class, out);
}

int
ips_tx_alloc(ips_segment *segment, size_t size, ips_offset *out)
{
    int status = ips_tx_inside(segment);
    if (status < 0) {
        return status;
    }
    if (__builtin_expect(segment->region != 0, 0)) {
        const ips_region_shm *region = ips_region_at(segment, segment->region);
        if (region == NULL) {
            return ips_heap_damaged(segment, "no pool or arena", segment->region);
        }
        if (region->slots != 0) {
            return alloc_slot(segment, region, size, out);
        }
    }
    if (size <= LARGEST_SMALL - 8 && size + 8 <= segment->run_size / 8) {
        return alloc_small(segment, class_of(size + 8), out);
    }
    if (size > segment->max_size) {
        return ips_fail(IPS_ESEGFULL, "'%s' can never hold %llu bytes; its limit is %llu",
                        ips_segment_title(segment), (unsigned long long)size,
                        (unsigned long long)segment->max_size);
    }
    return alloc_big(segment, size, out);
}

/* --- freeing */

static int
give_back_small(ips_segment *segment, ips_block *block)
{
    ips_run *run = &block->run;
    bool was_full = ips_run_is_full(run);
    if (run->live == 0) {
        return ips_heap_damaged(segment, "the count of the run", run->chunk.offset);
    }
    uint64_t *list = ips_run_list(segment, run->owner, run->class);
    if (list == NULL) {
        return ips_heap_damaged(segment, "the owner of the run", run->chunk.offset);
    }
    if (ips_run_is_charged(run)) {
        const uint8_t *row = ips_run_row(run, ips_tag_index(block->seen));
        ips_quota_count(segment, row == NULL ? 0 : *row, -(int64_t)block->total);
    }
    ips_run_put(segment, block, run);
    ips_count(segment, -(int64_t)block->total, -1);
    ips_region_credit(segment, run->owner, -1, 0);
    if (was_full) {
        return ips_chunk_push(segment, list, &run->chunk);
    }
    const ips_region_shm *owner = run->owner == 0 ? NULL : ips_region_at(segment, run->owner);
    bool kept = owner != NULL && owner->slots != 0; /* a pool's */
    bool alone = kept || (run->chunk.shm->next == 0 && run->chunk.shm->previous == 0);
    return run->live == 0 && !alone ? ips_run_release(segment, run) : IPS_OK;
}

static int
give_back_big(ips_segment *segment, const ips_block *block)
{
    ips_count(segment, -(int64_t)block->total, -1);
    ips_region_credit(segment, ips_block_owner(block), -1, -(int64_t)block->total);
    ips_quota_count(segment, ips_big_row(ips_peek(&block->run.chunk.shm->next)),
                    -(int64_t)block->total);
    return ips_chunk_free(segment, &block->run.chunk);
}

/* A block that this very transaction has made, and that no savepoint could bring
 * back: nobody else ever knew it, so it need not wait for the commit.  What is
 * written over and over in one transaction takes memory once. */
static int
free_at_once(ips_segment *segment, ips_block *block)
{
    int status = ips_journal_reserve(&segment->journal, STORES * 2);
    if (status < 0) {
        return status;
    }
    return ips_tag_class(block->seen) != IPS_CLASS_BIG ? give_back_small(segment, block)
                                                       : give_back_big(segment, block);
}

int
ips_tx_free(ips_segment *segment, ips_offset offset)
{
    ips_heap_shm *heap = ips_heap_of(segment);
    ips_block block;
    int status = ips_tx_inside(segment);
    if (status == 0) {
        status = ips_journal_reserve(&segment->journal, 1);
    }
    if (status < 0) {
        return status;
    }
    if (!ips_block_at(segment, offset, &block) ||
        ips_tag_status(block.seen) != IPS_TAG_ALLOCATED) {
        return ips_heap_damaged(segment, "freeing what is no allocated block", offset);
    }
    if (segment->depth == 1 && ips_made_forget(segment, offset)) {
        return free_at_once(segment, &block);
    }
    /* deferring; tag; chain: see ips_heap_recall for each gap between them.
     * relaxed: only the order in which this thread may die matters. */
    _Atomic uint64_t *deferring = (_Atomic uint64_t *)&segment->shm->deferring;
    atomic_store_explicit(deferring, offset, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    uint64_t pending = ips_tag_make(IPS_TAG_PENDING, ips_tag_class(block.seen),
                                    ips_tag_index(block.seen), heap->deferred / 16);
    atomic_store_explicit((_Atomic uint64_t *)block.tag, pending, memory_order_relaxed);
    ips_set(segment, &heap->deferred, offset);
    return IPS_OK;
}

/* ALLOCATED again, the link kept so that a walk cut short can be repeated.
 * relaxed: under the lock. */
static bool
recall(const ips_segment *segment, uint64_t offset, uint64_t *next)
{
    ips_block block;
    if (!ips_block_at(segment, offset, &block)) {
        return false;
    }
    *next = ips_tag_link(block.seen) * 16;
    uint64_t tag = (block.seen & ~UINT64_C(3)) | IPS_TAG_ALLOCATED;
    atomic_store_explicit((_Atomic uint64_t *)block.tag, tag, memory_order_relaxed);
    return true;
}

void
ips_heap_recall(ips_segment *segment, uint64_t stop)
{
    uint64_t offset = ips_heap_of(segment)->deferred;
    uint64_t next = segment->shm->deferring;
    /* The block whose tag may have changed without being chained: being
     * ALLOCATED again is right for it, chained or not. */
    if (next != 0 && stop == 0) {
        (void)recall(segment, next, &next);
    }
    for (uint64_t steps = segment->size / 32; offset != stop && offset != 0 && steps > 0; steps--) {
        if (!recall(segment, offset, &next)) {
            return; /* damage: check() will find the rest of the chain */
        }
        offset = next;
    }
}

static int
give_back(ips_segment *segment, uint64_t offset)
{
    ips_block block;
    int status = ips_journal_reserve(&segment->journal, STORES);
    if (status < 0) {
        return status;
    }
    if (!ips_block_at(segment, offset, &block) || ips_tag_status(block.seen) != IPS_TAG_PENDING) {
        return ips_heap_damaged(segment, "a block to be freed", offset);
    }
    ips_set(segment, &ips_heap_of(segment)->deferred, ips_tag_link(block.seen) * 16);
    if (ips_tag_class(block.seen) == IPS_CLASS_BIG) {
        return give_back_big(segment, &block);
    }
    if (ips_tag_class(block.seen) == IPS_CLASS_STABLE) {
        ips_count(segment, -(int64_t)block.total, -1);
        ips_stable_give_back(segment, &block);
        return IPS_OK;
    }
    return give_back_small(segment, &block);
}

void
ips_heap_work_off(ips_segment *segment)
{
    ips_heap_shm *heap = ips_heap_of(segment);
    if (heap->deferred == 0 && heap->extents[0] == 0) {
        return; /* and the sums are stored */
    }
    uint64_t steps = segment->size / 32;
    for (; heap->deferred != 0 && steps > 0; steps--) {
        if (segment->journal.soft_end - segment->journal.used < STEP_ROOM) {
            ips_heap_store_sums(segment);
            ips_journal_commit(&segment->journal);
        }
        if (give_back(segment, heap->deferred) < 0) {
            ips_journal_undo(&segment->journal);
            segment->sums = (ips_sums){0, 0};
            ips_journal_commit(&segment->journal);
            break;
        }
    }
    ips_heap_store_sums(segment);
    ips_extents_give_back(segment);
    if (heap->deferred != 0) {
        /* Damage.  The transaction stands; these blocks are lost to use until
         * somebody repairs the segment: check() names them. */
        ips_journal_commit(&segment->journal);
        heap->deferred = 0;
    }
}
