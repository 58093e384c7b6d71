/* SPDX-License-Identifier: Apache-2.0 */
/* The ring of a deque's slots, as its reading and its writing half see it;
 * the byte map heads deque.h. */
#ifndef IPS_DATA_RING_H
#define IPS_DATA_RING_H

#include "base/checked.h"
#include "data/deque.h"

#define IPS_RING_LEAST 16u
#define IPS_RING_MOST (UINT64_C(1) << 40)
#define IPS_SLOT_INLINE 24u

/* A ring, checked: every index <= mask is inside backed memory. */
typedef struct {
    ips_deque_ring_shm *shm;
    uint64_t mask;
    ips_offset offset;
    bool fresh; /* made by this transaction: plain stores will do */
} ips_ring;

/* False where no ring can be at `offset`.
 * relaxed: constant in a ring; in anything else the deque's version tells. */
static inline bool
ips_ring_open(ips_segment *segment, ips_offset offset, ips_ring *out)
{
    ips_deque_ring_shm *shm =
        (ips_deque_ring_shm *)ips_segment_at(segment, offset, sizeof(ips_deque_ring_shm));
    if (shm == NULL || offset % 16 != 0) {
        return false;
    }
    uint64_t slots = atomic_load_explicit(&shm->slots, memory_order_relaxed);
    uint64_t size = sizeof(ips_deque_ring_shm) + slots * sizeof(ips_deque_slot_shm);
    if (!ips_is_power_of_two(slots) || slots > IPS_RING_MOST ||
        ips_segment_at(segment, offset, size) == NULL) {
        return false;
    }
    *out = (ips_ring){shm, slots - 1, offset, false};
    return true;
}

#define IPS_RING_SHRINK_ABOVE 1024u /* slots; a smaller ring is never worth it */

/* So few values that a smaller ring would do? */
static inline bool
ips_ring_is_loose(const ips_ring *ring, uint64_t length)
{
    return ring->mask >= IPS_RING_SHRINK_ABOVE && length < ring->mask / 8;
}

static inline ips_offset
ips_ring_slot_offset(const ips_ring *ring, uint64_t index)
{
    return ring->offset + sizeof(ips_deque_ring_shm) +
           (index & ring->mask) * sizeof(ips_deque_slot_shm);
}

/* Where the value of a slot lies, as far as the geometry allows.  False:
 * damaged, or a writer is inside. */
typedef struct {
    const uint8_t *bytes; /* shared; 8-aligned */
    uint64_t size;
    ips_offset block; /* 0: in the slot */
    uint8_t kind;
} ips_slot_value;
static inline bool
ips_ring_value(ips_segment *segment, const ips_ring *ring, uint64_t index, ips_slot_value *out)
{
    const ips_deque_slot_shm *slot = &ring->shm->slot[index & ring->mask];
    /* relaxed, both: as in ips_ring_open. */
    uint64_t word = atomic_load_explicit(&slot->word, memory_order_relaxed);
    out->size = ips_value_word_size(word);
    out->kind = ips_value_word_kind(word);
    if (out->size <= IPS_SLOT_INLINE) {
        out->block = 0;
        out->bytes = (const uint8_t *)(const void *)slot->payload;
        return true;
    }
    /* relaxed: as above. */
    out->block = atomic_load_explicit(&slot->payload[0], memory_order_relaxed);
    if (out->block % 16 != 0 || out->size > IPS_VALUE_MAX) {
        return false;
    }
    out->bytes = (const uint8_t *)ips_segment_at(segment, out->block, ips_align_up(out->size, 8));
    return out->bytes != NULL;
}

/* --- inside a transaction */

IPS_MUST_CHECK int ips_ring_create(ips_segment *segment, uint64_t slots, ips_offset *out);
/* A fresh ring with place for so many values. */
IPS_MUST_CHECK int ips_ring_create_for(ips_segment *segment, uint64_t values, ips_ring *out);
/* Slots of one ring into a fresh one, whose slots from `at` on do not wrap; both
 * have them all. */
void ips_ring_copy(const ips_ring *from, uint64_t start, uint64_t count, const ips_ring *to,
    uint64_t at);
/* A fresh ring with the `length` values of `old` from `head` on, the first in
 * slot 0, and place for `more`; the old one is freed at commit.  The caller
 * publishes `out`. */
IPS_MUST_CHECK int ips_ring_rebuild(ips_segment *segment, const ips_ring *old, uint64_t head,
    uint64_t length, uint64_t more, ips_offset *out);
/* Through the journal, unless this transaction has made the ring. */
IPS_MUST_CHECK int ips_ring_put(ips_segment *segment, const ips_ring *ring, uint64_t index,
    const ips_value *value);
/* Free the block of a large value, or the container that it is, at commit. */
IPS_MUST_CHECK int ips_ring_drop(ips_segment *segment, const ips_ring *ring, uint64_t index);

#endif
