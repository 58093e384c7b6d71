/* SPDX-License-Identifier: Apache-2.0 */
/* One small value more or less at an end of a row, or in the place of another.
 * What concerns the ends needs no journal: it is a change of one word of the root
 * (ips_single_* of segment/segment.h).
 *
 * Order of stores: lock; to add, the slot, which means nothing while it lies
 * outside [head, end); version + 2; `head` or `end`; unlock.  Death before the
 * word leaves the row as it was, after it as it is to be, and nothing to undo
 * for whoever takes the lock over.
 *
 * Readers: the new word beside the old version is looked at again.  Whoever
 * sees the new version sees the slot too, and either word is one state.  A
 * reader under an older version, for whom the slot held a value that went since,
 * may see it change: it then sees that version grown as well (the fence). */
#include <string.h>

#include "data/shape.h"

/* The row as it is, with the lock taken; or false. */
static bool
begin(const ips_deque *deque, ips_deque_shape *now, ips_ring *ring)
{
    if (!ips_single_begin(deque->segment)) {
        return false;
    }
    *now = ips_deque_shape_of(deque);
    if (ips_root_lives(&deque->shm->root, deque->generation) &&
        ips_deque_open_ring(deque, now, ring)) {
        return true;
    }
    ips_single_end(deque->segment); /* the other way says what is wrong */
    return false;
}

/* Neither has a block, nor is it a container. */
static bool
is_small(const ips_slot_value *value)
{
    return value->block == 0 && value->kind != IPS_VALUE_REFERENCE;
}

static void
fill(ips_deque_slot_shm *slot, const ips_value *value)
{
    uint64_t payload[3] = {0, 0, 0};
    if (value->size != 0) {
        memcpy(payload, value->bytes, value->size);
    }
    /* Pairs with the acquire fence in ips_read_ok; relaxed after it. */
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&slot->word, ips_value_word(value->size, value->kind),
        memory_order_relaxed);
    for (size_t i = 0; i * 8 < value->size; i++) {
        atomic_store_explicit(&slot->payload[i], payload[i], memory_order_relaxed);
    }
}

bool
ips_deque_add_single(const ips_deque *deque, int end, const ips_value *value)
{
    ips_deque_shape now;
    ips_ring ring;
    if (value->size > IPS_SLOT_INLINE || !begin(deque, &now, &ring)) {
        return false;
    }
    bool done = now.length <= ring.mask && now.length < deque->maxlen;
    if (done) {
        ips_deque_shm *shm = deque->shm;
        const bool left = end == IPS_LEFT;
        const uint64_t index = left ? now.head - 1 : now.head + now.length;
        fill(&ring.shm->slot[index & ring.mask], value);
        done = ips_single_store(&shm->root.version, left ? &shm->head : &shm->end,
            left ? index : index + 1);
    }
    ips_single_end(deque->segment);
    return done;
}

bool
ips_deque_take_single(const ips_deque *deque, int end, ips_value_copy *out)
{
    ips_deque_shape now;
    ips_ring ring;
    ips_slot_value value;
    if (!begin(deque, &now, &ring)) {
        return false;
    }
    ips_deque_shm *shm = deque->shm;
    const bool left = end == IPS_LEFT;
    const uint64_t index = left ? now.head : now.head + now.length - 1;
    bool done = now.length != 0 && !ips_ring_is_loose(&ring, now.length - 1) &&
                ips_ring_value(deque->segment, &ring, index, &value) && is_small(&value);
    if (done) {
        ips_value_copy_init(out);
        out->size = value.size;
        out->kind = value.kind;
        memcpy(out->room, value.bytes, value.size); /* nobody changes it: the lock is ours */
        done = ips_single_store(&shm->root.version, left ? &shm->head : &shm->end,
            left ? index + 1 : index);
    }
    ips_single_end(deque->segment);
    return done;
}

/* A slot is more than a word, and it counts: so not without the journal. */
static bool
change_slot(const ips_deque *deque, int64_t index, const ips_value *value)
{
    ips_deque_shape now = ips_deque_shape_of(deque);
    ips_ring ring;
    ips_slot_value old;
    uint64_t place;
    uint64_t words[4] = {ips_value_word(value->size, value->kind), 0, 0, 0};
    if (!ips_root_lives(&deque->shm->root, deque->generation) ||
        !ips_deque_open_ring(deque, &now, &ring) || !ips_row_index(index, now.length, &place) ||
        !ips_ring_value(deque->segment, &ring, now.head + place, &old) || !is_small(&old)) {
        return false;
    }
    if (value->size != 0) {
        memcpy(&words[1], value->bytes, value->size);
    }
    const ips_patch patch = {ips_ring_slot_offset(&ring, now.head + place), words, 4};
    return ips_brief_change(deque->segment, deque->offset, &patch, 1);
}

bool
ips_deque_set_brief(const ips_deque *deque, int64_t index, const ips_value *value)
{
    if (value->size > IPS_SLOT_INLINE || !ips_brief_begin(deque->segment)) {
        return false;
    }
    bool done = change_slot(deque, index, value);
    ips_brief_end(deque->segment);
    return done;
}
