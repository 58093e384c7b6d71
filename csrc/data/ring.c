/* SPDX-License-Identifier: Apache-2.0 */
#include "data/ring.h"

#include <string.h>

#include "base/checked.h"
#include "data/nest.h"

/* relaxed: a reader validates the deque's version, a writer holds the
 * segment's lock. */
#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

int
ips_ring_create(ips_segment *segment, uint64_t slots, ips_offset *out)
{
    void *at;
    size_t size = sizeof(ips_deque_ring_shm) + slots * sizeof(ips_deque_slot_shm);
    int status = ips_fresh_block(segment, size, out, &at);
    if (status < 0) {
        return status;
    }
    memset(at, 0, sizeof(ips_deque_ring_shm));
    ips_deque_ring_shm *shm = at;
    /* relaxed: nobody else knows the block until ips_fresh_ready. */
    atomic_store_explicit(&shm->slots, slots, memory_order_relaxed);
    return 0;
}

static uint64_t
slots_for(uint64_t values)
{
    uint64_t slots = IPS_RING_LEAST;
    while (slots < values * 2 && slots < IPS_RING_MOST) {
        slots *= 2;
    }
    return slots;
}

int
ips_ring_create_for(ips_segment *segment, uint64_t values, ips_ring *out)
{
    ips_offset offset;
    int status = ips_ring_create(segment, slots_for(values), &offset);
    if (status == 0 && !ips_ring_open(segment, offset, out)) {
        status = ips_fail(IPS_ECORRUPT, "a ring just made cannot be opened");
    }
    out->fresh = true;
    return status;
}

void
ips_ring_copy(const ips_ring *from, uint64_t start, uint64_t count, const ips_ring *to,
    uint64_t at)
{
    start &= from->mask;
    uint64_t first = from->mask + 1 - start; /* slots up to the wrap */
    first = first < count ? first : count;
    memcpy(to->shm->slot + at, from->shm->slot + start, first * sizeof(ips_deque_slot_shm));
    memcpy(to->shm->slot + at + first, from->shm->slot,
        (count - first) * sizeof(ips_deque_slot_shm));
}

int
ips_ring_rebuild(ips_segment *segment, const ips_ring *old, uint64_t head, uint64_t length,
    uint64_t more, ips_offset *out)
{
    ips_ring fresh;
    int status = ips_ring_create_for(segment, length + more, &fresh);
    if (status < 0) {
        return status;
    }
    ips_ring_copy(old, head, length, &fresh, 0);
    ips_fresh_ready();
    *out = fresh.offset;
    return ips_tx_free(segment, old->offset);
}

int
ips_ring_put(ips_segment *segment, const ips_ring *ring, uint64_t index, const ips_value *value)
{
    uint64_t image[4] = {ips_value_word(value->size, value->kind), 0, 0, 0};
    if (value->size > IPS_VALUE_MAX) {
        return ips_fail(IPS_ETOOBIG, "a value of %zu bytes", value->size);
    }
    if (value->size > IPS_SLOT_INLINE) {
        void *at;
        int status = ips_fresh_block(segment, ips_align_up(value->size, 8), &image[1], &at);
        if (status < 0) {
            return status;
        }
        memcpy(at, value->bytes, value->size);
        ips_fresh_ready();
    } else if (value->size != 0) {
        memcpy(&image[1], value->bytes, value->size);
    }
    if (ring->fresh) {
        memcpy(&ring->shm->slot[index & ring->mask], image, sizeof image);
        return 0;
    }
    return ips_tx_write(segment, ips_ring_slot_offset(ring, index), image, sizeof image);
}

int
ips_ring_drop(ips_segment *segment, const ips_ring *ring, uint64_t index)
{
    const ips_deque_slot_shm *slot = &ring->shm->slot[index & ring->mask];
    const uint64_t word = LOAD(slot->word);
    if (__builtin_expect(ips_value_word_kind(word) == IPS_VALUE_REFERENCE, 0)) {
        return ips_nest_drop(segment, slot->payload, ips_value_word_size(word));
    }
    if (ips_value_word_size(word) <= IPS_SLOT_INLINE) {
        return 0;
    }
    return ips_tx_free(segment, LOAD(slot->payload[0]));
}
