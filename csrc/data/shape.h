/* SPDX-License-Identifier: Apache-2.0 */
/* What the files that change a deque share: its three words that change
 * together, and the way in and out of a change.  Byte map: deque.h. */
#ifndef IPS_DATA_SHAPE_H
#define IPS_DATA_SHAPE_H

#include "data/deque.h"
#include "data/ring.h"

/* What a change changes of the root.  `head` is any number: only modulo the
 * ring's size does it mean a slot. */
typedef struct {
    uint64_t ring, head, length;
} ips_deque_shape;

_Static_assert(offsetof(ips_deque_shm, maxlen) - offsetof(ips_deque_shm, ring) == 24,
    "written to the root in one piece");

static inline ips_deque_shape
ips_deque_shape_of(const ips_deque *deque)
{
    const ips_deque_shm *shm = deque->shm;
    /* relaxed: a reader validates the deque's version, a writer holds the
     * segment's lock. */
    const uint64_t head = atomic_load_explicit(&shm->head, memory_order_relaxed);
    return (ips_deque_shape){atomic_load_explicit(&shm->ring, memory_order_relaxed), head,
        atomic_load_explicit(&shm->end, memory_order_relaxed) - head};
}

/* The ring that goes with `now`; false where they do not fit together. */
static inline bool
ips_deque_open_ring(const ips_deque *deque, const ips_deque_shape *now, ips_ring *out)
{
    return ips_ring_open(deque->segment, now->ring, out) && now->length <= out->mask + 1;
}

/* IPS_ECORRUPT, noted with the type and the offset. */
int ips_deque_corrupt(const ips_deque *deque, const char *what);

/* --- inside a transaction */

/* 0, or IPS_EGONE. */
IPS_MUST_CHECK int ips_deque_alive(const ips_deque *deque);
/* The deque to change: alive, its version raised, its ring open. */
IPS_MUST_CHECK int ips_deque_begin_changing(const ips_deque *deque, ips_deque_shape *now,
    ips_ring *ring);
/* The last store of a change. */
IPS_MUST_CHECK int ips_deque_store_shape(const ips_deque *deque, const ips_deque_shape *now);
/* Go on in the fresh ring now->ring, whose first value is in slot 0; the next
 * store of the shape publishes it. */
IPS_MUST_CHECK int ips_deque_enter_fresh(const ips_deque *deque, ips_deque_shape *now,
    ips_ring *ring);

#endif
