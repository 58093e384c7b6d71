/* SPDX-License-Identifier: Apache-2.0 */
/* Cells for words that change without the lock: memory that keeps its type.
 *
 * Byte map of a cell chunk (state STABLE): head 32 with the type in `next`;
 * from 64 on cells of one cache line each, which in a chunk of a wide type is
 * followed by the cell's body, IPS_STABLE_BODY bytes:
 *
 *   0   generation  8  of the cell's present use, 0 while it is free
 *   8   tag         8  segment/heap.h
 *   16  payload    48  what its type makes of it
 *
 * Who writes: the tag the lock's holder, through the journal.  The generation
 * the lock's holder, plainly: a new number at allocation, 0 when a committed
 * transaction destroyed the cell or a rolled back one had made it.  The
 * payload (and the body) anybody; no journal entry ever covers it.
 *
 * A free cell that is a semaphore's serves again once nobody is inside its lock:
 * until then the next one does.  Any free cell serves its own type only, and the chunk is never given back: a
 * late compare-and-swap through an old handle meets a word of its own kind.
 * (A chunk made in a transaction that is rolled back does become plain memory
 * again; no other process has ever seen its cells, and this process's handles
 * are told apart by the generation.)  A survivor of a dead transaction finds
 * cells free whose generation nobody holds. */
#ifndef IPS_SEGMENT_STABLE_H
#define IPS_SEGMENT_STABLE_H

#include "os/futex.h"
#include "segment/heap.h"

typedef struct {
    _Atomic uint64_t generation;
    uint64_t tag;
    _Atomic uint64_t payload[IPS_STABLE_SIZE / 8];
} ips_stable_shm;

_Static_assert(sizeof(ips_stable_shm) == 64, "byte map above");
_Static_assert(offsetof(ips_stable_shm, payload) == 16, "byte map above");

/* Bytes from one cell to the next in a chunk of the type. */
static inline uint64_t
ips_stable_stride(uint64_t type)
{
    return sizeof(ips_stable_shm) +
           (type < IPS_STABLE_TYPES && ips_stable_is_wide((uint32_t)type) ? IPS_STABLE_BODY : 0);
}

/* The part of ips_block_at for a tag that says STABLE. */
bool ips_stable_at(const ips_segment *segment, uint64_t offset, ips_block *out);
/* A pending cell becomes free; room for its stores is reserved. */
void ips_stable_give_back(ips_segment *segment, const ips_block *block);
/* What a waiter on the words of the cell with this payload heeds, to hear at
 * once that the cell was destroyed: half of its generation, as it is now. */
ips_futex_look ips_stable_fate(const void *payload);
/* Cells of this transaction from number `from` on were never made. */
void ips_stable_disown(ips_segment *segment, uint64_t from);

#endif
