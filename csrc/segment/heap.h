/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks: what ips_tx_alloc gives out.  Small ones lie in runs of one class,
 * large ones are chunks of their own (segment/chunk.h).
 *
 * Each block has a tag, the word in front of its payload:
 *
 *   bits 0-1    0 none, 1 ALLOCATED, 2 FREE, 3 PENDING
 *   bits 2-7    class; STABLE for a cell, BIG for a chunk of its own
 *   bits 8-23   index in its run or cell chunk
 *   bits 24-63  FREE in a run: index + 1 of the next free block, 0 the last;
 *               FREE cell and PENDING: offset / 16 of the next payload;
 *               else leftovers
 *
 * Byte map of a run (a chunk with state RUN):
 *
 *   0   chunk head 32
 *   32  word        8  index + 1 of the first free block (bits 0-15), number
 *                      of blocks ever given out (16-31), of blocks allocated
 *                      (32-47), class (48-55), whether it has charges (56)
 *   40  capacity    8  blocks that fit
 *   48  owner       8  the region it is of (segment/region.h); 0: the heap
 *   56  blocks         each its tag and, 16-aligned, its payload
 *   ... charges        where the word says so: for each block a byte, the row of
 *                      whoever allocated it (segment/quota.h)
 *
 * Blocks beyond "ever given out" have no tag yet.  A run stands in its class's
 * list while it has room; an empty one goes back to the chunks unless it is
 * the last in its list.
 *
 * Freeing: the transaction only chains the block into heap.deferred and makes
 * its tag PENDING.  These two words are what is not simply undone: before the
 * journal is, the chain is walked and each tag made ALLOCATED again (the chain
 * is kept, so the walk can be repeated).  `deferring` names the block between
 * its tag's change and its place in the chain.  After the commit store the
 * chain is worked off in journaled steps.  So memory freed in a transaction is
 * never handed out in it, freeing needs no room in the journal, and a
 * survivor either walks and undoes or works off the rest. */
#ifndef IPS_SEGMENT_HEAP_H
#define IPS_SEGMENT_HEAP_H

#include <stdint.h>

#include "segment/chunk.h"

enum { IPS_TAG_ALLOCATED = 1, IPS_TAG_FREE = 2, IPS_TAG_PENDING = 3 };
enum { IPS_CLASS_STABLE = 62, IPS_CLASS_BIG = 63 };

#define IPS_RUN_BLOCKS 56u /* offset of the first tag in a run */
#define IPS_BIG_PAYLOAD 32u

static inline unsigned
ips_tag_status(uint64_t tag)
{
    return (unsigned)(tag & 3);
}

static inline unsigned
ips_tag_class(uint64_t tag)
{
    return (unsigned)(tag >> 2 & 63);
}

static inline uint64_t
ips_tag_index(uint64_t tag)
{
    return tag >> 8 & 0xffff;
}

static inline uint64_t
ips_tag_link(uint64_t tag)
{
    return tag >> 24;
}

static inline uint64_t
ips_tag_make(unsigned status, unsigned class, uint64_t index, uint64_t link)
{
    return status | (uint64_t)class << 2 | index << 8 | link << 24;
}

/* Bytes of a class's blocks, tag included; 0 for a number that is no class. */
extern const uint16_t ips_class_sizes[IPS_CLASSES];

static inline uint64_t
ips_class_size(unsigned class)
{
    return class < IPS_CLASSES ? ips_class_sizes[class] : 0;
}

/* Behind a run's chunk head. */
typedef struct {
    uint64_t word;
    uint64_t capacity;
    uint64_t owner;
} ips_run_shm;

_Static_assert(sizeof(ips_run_shm) == 24, "byte map above");
_Static_assert(sizeof(ips_chunk_shm) + sizeof(ips_run_shm) == IPS_RUN_BLOCKS, "byte map above");

static inline ips_run_shm *
ips_run_of(const ips_chunk *chunk)
{
    return (ips_run_shm *)(chunk->shm + 1);
}

/* A run's parts, read once and checked: class and capacity fit the chunk, the
 * counts the capacity. */
typedef struct {
    ips_chunk chunk;
    uint64_t head, given, live;
    uint64_t capacity;
    uint64_t total; /* bytes of each block */
    uint64_t owner;
    unsigned class;
    unsigned mark; /* class, and whether it has charges */
} ips_run;

#define IPS_RUN_CHARGED 0x100u /* of the mark */

static inline bool
ips_run_at(const ips_segment *segment, uint64_t offset, ips_run *out)
{
    if (!ips_chunk_at(segment, offset, &out->chunk) || out->chunk.state != IPS_CHUNK_RUN) {
        return false;
    }
    const ips_run_shm *run = ips_run_of(&out->chunk);
    uint64_t word = ips_peek(&run->word);
    out->head = word & 0xffff;
    out->given = word >> 16 & 0xffff;
    out->live = word >> 32 & 0xffff;
    out->mark = (unsigned)(word >> 48);
    out->class = out->mark & 0xff;
    out->capacity = ips_peek(&run->capacity);
    out->owner = ips_peek(&run->owner);
    out->total = ips_class_size(out->class);
    return out->total != 0 && out->capacity < 0xffff &&
           out->capacity * out->total <= out->chunk.size - IPS_RUN_BLOCKS &&
           out->given <= out->capacity && out->live <= out->given && out->head <= out->given;
}

static inline bool
ips_run_is_charged(const ips_run *run)
{
    return __builtin_expect(run->mark >= IPS_RUN_CHARGED, 0);
}

/* Where a charged run says whose the block is; NULL: there is no room for it. */
static inline uint8_t *
ips_run_row(const ips_run *run, uint64_t index)
{
    uint64_t at = IPS_RUN_BLOCKS + run->capacity * run->total + index;
    return at < run->chunk.size ? (uint8_t *)run->chunk.shm + at : NULL;
}

/* The same of a large chunk, in the word `next` of its head: the region in the
 * low 48 bits, the row above them. */
static inline uint64_t
ips_big_owner(uint64_t region, uint8_t row)
{
    return region | (uint64_t)row << 48;
}

static inline uint64_t
ips_big_region(uint64_t word)
{
    return word & ((UINT64_C(1) << 48) - 1);
}

static inline uint8_t
ips_big_row(uint64_t word)
{
    return (uint8_t)(word >> 48);
}

/* The allocated (or pending) block with payload at `offset`, checked. */
typedef struct {
    uint64_t *tag;
    uint64_t seen;  /* the tag as read */
    uint64_t total; /* bytes with the tag; of a big one, the chunk */
    ips_run run;    /* of a small one; run.chunk is what any block lies in */
} ips_block;
bool ips_block_at(const ips_segment *segment, uint64_t offset, ips_block *out);

/* The region it is of; 0: the heap.  A large chunk says so in `next`. */
static inline uint64_t
ips_block_owner(const ips_block *block)
{
    unsigned class = ips_tag_class(block->seen);
    return class == IPS_CLASS_STABLE ? 0
        : class == IPS_CLASS_BIG ? ips_big_region(ips_peek(&block->run.chunk.shm->next))
                                 : block->run.owner;
}

/* segment/region.h has the byte map. */
typedef struct {
    uint64_t seal;
    uint64_t generation;
    uint64_t next;
    uint64_t slot, slots;
    uint64_t live, bytes;
    uint64_t closing;
    uint64_t runs[IPS_CLASSES];
} ips_region_shm;

_Static_assert(sizeof(ips_region_shm) == 64 + 8 * IPS_CLASSES, "byte map of segment/region.h");

#define IPS_REGION_SEAL UINT64_C(0x5e91a7c0de00f00d)

/* The region at `offset`, or NULL where none can be there. */
static inline ips_region_shm *
ips_region_at(const ips_segment *segment, uint64_t offset)
{
    if (offset % 16 != 0 || offset < segment->heap_start ||
        !ips_within(offset, sizeof(ips_region_shm), segment->size)) {
        return NULL;
    }
    ips_region_shm *region = (ips_region_shm *)(segment->base + offset);
    return ips_peek(&region->seal) == (offset ^ IPS_REGION_SEAL) ? region : NULL;
}

/* For segment/region.c: one run of `count` blocks of `size` bytes for the region;
 * give back the first of its runs of the class, which is empty. */
IPS_MUST_CHECK int ips_heap_add_run(ips_segment *segment, uint64_t region, uint64_t size,
    uint64_t count);
IPS_MUST_CHECK int ips_heap_drop_run(ips_segment *segment, uint64_t region, unsigned class);

/* Make the pending blocks from heap.deferred up to `stop` ALLOCATED again,
 * for the undoing that follows.  Bounded; stops at what makes no sense. */
void ips_heap_recall(ips_segment *segment, uint64_t stop);

/* The sums that this transaction has changed, into the heap's words; the
 * journal keeps room for it.  Before each commit. */
void ips_heap_store_sums(ips_segment *segment);

/* After the commit: give the pending blocks back, in steps. */
void ips_heap_work_off(ips_segment *segment);

/* Give the empty runs back that their classes keep: 1 if there were any. */
IPS_MUST_CHECK int ips_heap_release_runs(ips_segment *segment);

/* The heap's invariants and its sums against a walk; call in a transaction. */
IPS_MUST_CHECK int ips_heap_check(ips_segment *segment,
    void (*report)(const char *line, void *context), void *context);

#endif
