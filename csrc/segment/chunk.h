/* SPDX-License-Identifier: Apache-2.0 */
/* The heap's ground floor: chunks, which cover it without gaps.
 *
 * Byte map of a chunk (64-aligned, a multiple of 64 bytes long):
 *
 *   0   size      8  bytes | state: the word that makes the heap walkable
 *   8   before    8  bytes of the chunk in front of it, 0 for the first
 *   16  next      8  FREE: next of its bin; RUN: next run of its class with
 *                    room; STABLE: the cells' type
 *   24  previous  8  FREE, RUN: the way back; BIG: the block's tag (heap.h)
 *   32  payload      BIG: 16-aligned bytes of the user; RUN: see heap.h;
 *                    STABLE: nothing up to 64, then cells (stable.h);
 *                    JOURNAL: entries of the open transaction
 *
 * Free chunks stand in bins by size: 1..31 units of 64 bytes exactly, then
 * four bins for each doubling.  Neighbours that are both free become one, so
 * no two free chunks touch.
 *
 * A free chunk marked HOLE may have pages without memory behind its head
 * (segment/trim.c).  Whoever takes such a chunk backs what it takes, and the
 * head of the rest, first; united with others it stays one.
 *
 * Who writes: the holder of the segment's lock, in a transaction.  Every word
 * of a chunk that exists is journaled.  Bytes inside a free chunk's payload
 * mean nothing, so a head written there (the rest of a split) needs no entry.
 * A survivor undoes the journal and finds the chunks as they were. */
#ifndef IPS_SEGMENT_CHUNK_H
#define IPS_SEGMENT_CHUNK_H

#include <stddef.h>
#include <stdint.h>

#include "base/atomics.h"
#include "segment/handle.h"

enum {
    IPS_CHUNK_FREE = 1,
    IPS_CHUNK_BIG = 2,
    IPS_CHUNK_RUN = 3,
    IPS_CHUNK_STABLE = 4,
    IPS_CHUNK_JOURNAL = 5,
    IPS_CHUNK_HOLE = 32, /* beside FREE */
    IPS_CHUNK_STATE = 63,
    IPS_CHUNK_UNIT = 64,
};

typedef struct {
    uint64_t size;
    uint64_t before;
    uint64_t next;
    uint64_t previous;
} ips_chunk_shm;

_Static_assert(sizeof(ips_chunk_shm) == 32, "byte map above");
_Static_assert(offsetof(ips_chunk_shm, previous) == 24, "byte map above");

/* The chunk at `offset` with its size and state, read once and checked to lie
 * in the heap; NULL where none can be there. */
typedef struct {
    ips_chunk_shm *shm;
    uint64_t offset;
    uint64_t size;
    unsigned state;
    bool hole; /* of a free one: pages behind its head may have no memory */
} ips_chunk;
static inline bool
ips_chunk_at(const ips_segment *segment, uint64_t offset, ips_chunk *out)
{
    if (offset % IPS_CHUNK_UNIT != 0 || offset < segment->heap_start ||
        !ips_within(offset, IPS_CHUNK_UNIT, segment->size)) {
        return false;
    }
    ips_chunk_shm *shm = (ips_chunk_shm *)(segment->base + offset);
    uint64_t word = ips_peek(&shm->size);
    out->shm = shm;
    out->offset = offset;
    out->size = word & ~(uint64_t)IPS_CHUNK_STATE;
    out->state = (unsigned)(word & (IPS_CHUNK_STATE & ~IPS_CHUNK_HOLE));
    out->hole = (word & IPS_CHUNK_HOLE) != 0;
    return out->size != 0 && out->size <= segment->size - offset &&
           out->state >= IPS_CHUNK_FREE && out->state <= IPS_CHUNK_JOURNAL &&
           (!out->hole || out->state == IPS_CHUNK_FREE);
}

/* A chunk of exactly `size` bytes (a multiple of the unit) in `state`; next
 * and previous are 0.  Grows the heap where it may.  IPS_ESEGFULL. */
IPS_MUST_CHECK int ips_chunk_alloc(ips_segment *segment, uint64_t size, unsigned state,
    ips_chunk *out);
IPS_MUST_CHECK int ips_chunk_free(ips_segment *segment, const ips_chunk *chunk);

/* The first word of a free chunk's head. */
static inline uint64_t
ips_chunk_free_word(const ips_chunk *chunk)
{
    return chunk->size | IPS_CHUNK_FREE | (chunk->hole ? IPS_CHUNK_HOLE : 0u);
}

/* Which bin a chunk of `size` bytes stands in. */
unsigned ips_chunk_bin(uint64_t size);

/* Fill the heap of a new segment: one free chunk. */
void ips_chunk_init(ips_segment *segment);

/* IPS_ECORRUPT, naming the segment and where. */
int ips_heap_damaged(const ips_segment *segment, const char *what, uint64_t offset)
    __attribute__((cold));

/* As the C name says, for lists through next and previous: put in front. */
IPS_MUST_CHECK int ips_chunk_push(ips_segment *segment, uint64_t *head, const ips_chunk *chunk);
IPS_MUST_CHECK int ips_chunk_unlink(ips_segment *segment, uint64_t *head, const ips_chunk *chunk);

#endif
