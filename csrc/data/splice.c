/* SPDX-License-Identifier: Apache-2.0 */
/* Changes in the middle of a deque or vector: a few slots are moved through
 * the journal, many are laid out anew in a fresh ring. */
#include <string.h>

#include "data/shape.h"

/* relaxed: the caller holds the segment's lock. */
#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

/* A journaled slot costs about ten times one copied into a fresh ring. */
static bool
is_cheaper_moved(uint64_t moved, uint64_t length)
{
    return moved <= 32 + length / 10;
}

static int
move_slot(const ips_deque *deque, const ips_ring *ring, uint64_t from, uint64_t to)
{
    uint64_t image[4];
    memcpy(image, &ring->shm->slot[from & ring->mask], sizeof image);
    return ips_tx_write(deque->segment, ips_ring_slot_offset(ring, to), image, sizeof image);
}

/* `count` slots from `start` on, `distance` to the right, or to the left where
 * negative; those nearest to the target first. */
static int
move_slots(const ips_deque *deque, const ips_ring *ring, uint64_t start, uint64_t count,
    int64_t distance)
{
    int status = 0;
    for (uint64_t i = 0; status == 0 && i < count; i++) {
        uint64_t from = start + (distance < 0 ? i : count - 1 - i);
        status = move_slot(deque, ring, from, from + (uint64_t)distance);
    }
    return status;
}

/* A place in the row where `removed` values become `added` others. */
typedef struct {
    uint64_t index, removed, added;
} cut;

/* Make the gap where it stands, by moving the shorter side. */
static int
move_aside(const ips_deque *deque, const cut *at, ips_deque_shape *now, const ips_ring *ring)
{
    const int64_t growth = (int64_t)(at->added - at->removed);
    const uint64_t right = now->length - at->index - at->removed;
    int status;
    if (at->index < right) {
        status = move_slots(deque, ring, now->head, at->index, -growth);
        now->head = (now->head - (uint64_t)growth) & ring->mask;
    } else {
        status = move_slots(deque, ring, now->head + at->index + at->removed, right, growth);
    }
    now->length += (uint64_t)growth;
    return status;
}

/* Go on in `fresh`, which has `length` values from slot 0 on. */
static int
change_rings(const ips_deque *deque, const ips_ring *fresh, uint64_t length,
    ips_deque_shape *now, ips_ring *ring)
{
    int status = ips_tx_free(deque->segment, ring->offset);
    now->ring = fresh->offset;
    now->length = length;
    return status < 0 ? status : ips_deque_enter_fresh(deque, now, ring);
}

/* Make the gap in a fresh ring. */
static int
lay_out(const ips_deque *deque, const cut *at, ips_deque_shape *now, ips_ring *ring)
{
    const uint64_t kept = now->length - at->removed;
    ips_ring fresh;
    int status = ips_ring_create_for(deque->segment, kept + at->added, &fresh);
    if (status < 0) {
        return status;
    }
    ips_ring_copy(ring, now->head, at->index, &fresh, 0);
    ips_ring_copy(ring, now->head + at->index + at->removed, kept - at->index, &fresh,
        at->index + at->added);
    return change_rings(deque, &fresh, kept + at->added, now, ring);
}

static int
make_gap(const ips_deque *deque, const cut *at, ips_deque_shape *now, ips_ring *ring)
{
    const uint64_t right = now->length - at->index - at->removed;
    const uint64_t moved = at->index < right ? at->index : right;
    if (at->added == at->removed) {
        return 0;
    }
    return now->length - at->removed + at->added <= ring->mask + 1 &&
            is_cheaper_moved(moved, now->length)
        ? move_aside(deque, at, now, ring) : lay_out(deque, at, now, ring);
}

/* The values of the cut go, the records come. */
static int
replace(const ips_deque *deque, const cut *at, const ips_snapshot *values, ips_deque_shape *now,
    ips_ring *ring)
{
    int status = 0;
    for (uint64_t i = 0; status == 0 && i < at->removed; i++) {
        status = ips_ring_drop(deque->segment, ring, now->head + at->index + i);
    }
    if (status == 0) {
        status = make_gap(deque, at, now, ring);
    }
    size_t read = 0;
    ips_value value;
    for (uint64_t i = 0; status == 0 && i < at->added && ips_snapshot_next(values, &read, &value);
        i++) {
        status = ips_ring_put(deque->segment, ring, now->head + at->index + i, &value);
    }
    ips_fresh_ready();
    return status < 0 ? status : ips_deque_store_shape(deque, now);
}

int
ips_deque_splice(const ips_deque *deque, ips_span span, const ips_snapshot *values)
{
    ips_deque_shape now;
    ips_ring ring;
    int status = ips_deque_begin_changing(deque, &now, &ring);
    if (status < 0) {
        return status;
    }
    const ips_picked picked = ips_span_resolve(span, now.length);
    const cut at = {picked.first, picked.count, values->records};
    if (now.length - at.removed + at.added > deque->maxlen) {
        return IPS_ROW_FULL;
    }
    return replace(deque, &at, values, &now, &ring);
}

int
ips_deque_assign(const ips_deque *deque, ips_span span, const ips_snapshot *values,
    uint64_t *count)
{
    ips_deque_shape now;
    ips_ring ring;
    int status = ips_deque_begin_changing(deque, &now, &ring);
    if (status < 0) {
        return status;
    }
    const ips_picked picked = ips_span_resolve(span, now.length);
    *count = picked.count;
    if (picked.count != values->records) {
        return IPS_ROW_RANGE;
    }
    size_t read = 0;
    ips_value value;
    uint64_t place = now.head + picked.first;
    while (status == 0 && ips_snapshot_next(values, &read, &value)) {
        status = ips_ring_drop(deque->segment, &ring, place);
        if (status == 0) {
            status = ips_ring_put(deque->segment, &ring, place, &value);
        }
        place += (uint64_t)picked.step;
    }
    return status;
}

/* What is between the picked values, into a fresh ring. */
static int
keep_others(const ips_deque *deque, const ips_picked *picked, ips_deque_shape *now,
    ips_ring *ring)
{
    ips_ring fresh;
    int status = ips_ring_create_for(deque->segment, now->length - picked->count, &fresh);
    uint64_t from = 0;
    uint64_t to = 0;
    for (uint64_t i = 0; status == 0 && i < picked->count; i++) {
        const uint64_t place = picked->first + i * (uint64_t)picked->step;
        ips_ring_copy(ring, now->head + from, place - from, &fresh, to);
        to += place - from;
        from = place + 1;
        status = ips_ring_drop(deque->segment, ring, now->head + place);
    }
    if (status < 0) {
        return status;
    }
    ips_ring_copy(ring, now->head + from, now->length - from, &fresh, to);
    status = change_rings(deque, &fresh, now->length - picked->count, now, ring);
    ips_fresh_ready();
    return status < 0 ? status : ips_deque_store_shape(deque, now);
}

int
ips_deque_erase(const ips_deque *deque, ips_span span)
{
    ips_deque_shape now;
    ips_ring ring;
    int status = ips_deque_begin_changing(deque, &now, &ring);
    if (status < 0) {
        return status;
    }
    const ips_picked picked = ips_picked_upwards(ips_span_resolve(span, now.length));
    if (picked.step != 1) {
        return keep_others(deque, &picked, &now, &ring);
    }
    const cut at = {picked.first, picked.count, 0};
    return picked.count == 0 ? 0 : replace(deque, &at, NULL, &now, &ring);
}

/* Is it the version that the caller has seen?  Before the first change. */
static bool
is_as_seen(const ips_deque *deque, uint64_t expected)
{
    return expected == IPS_ROW_ANY || LOAD(deque->shm->root.version) == expected;
}

int
ips_deque_take(const ips_deque *deque, int64_t index, uint64_t expected, ips_value_copy *out)
{
    ips_deque_shape now;
    ips_ring ring;
    if (!is_as_seen(deque, expected)) {
        return IPS_ROW_CHANGED;
    }
    int status = out == NULL ? 0 : ips_deque_get_locked(deque, index, out);
    if (status == 0 && out != NULL && out->kind == IPS_VALUE_REFERENCE) {
        return IPS_ROW_NESTED;
    }
    if (status == 0) {
        status = ips_deque_begin_changing(deque, &now, &ring);
    }
    cut at = {0, 1, 0};
    if (status == 0 && !ips_row_index(index, now.length, &at.index)) {
        status = IPS_ROW_RANGE;
    }
    return status != 0 ? status : replace(deque, &at, NULL, &now, &ring);
}

int
ips_deque_reorder(const ips_deque *deque, const uint64_t *order, uint64_t length,
    uint64_t expected)
{
    ips_deque_shape now;
    ips_ring ring;
    ips_ring fresh;
    if (!is_as_seen(deque, expected)) {
        return IPS_ROW_CHANGED;
    }
    int status = ips_deque_begin_changing(deque, &now, &ring);
    if (status == 0 && now.length != length) {
        return IPS_ROW_CHANGED;
    }
    if (status == 0) {
        status = ips_ring_create_for(deque->segment, length, &fresh);
    }
    for (uint64_t i = 0; status == 0 && i < length; i++) {
        memcpy(&fresh.shm->slot[i], &ring.shm->slot[(now.head + order[i]) & ring.mask],
            sizeof fresh.shm->slot[i]);
    }
    if (status == 0) {
        status = change_rings(deque, &fresh, length, &now, &ring);
    }
    ips_fresh_ready();
    return status < 0 ? status : ips_deque_store_shape(deque, &now);
}

/* The `steps` last values come first, in a fresh ring. */
static int
rotate_anew(const ips_deque *deque, uint64_t steps, ips_deque_shape *now, ips_ring *ring)
{
    ips_ring fresh;
    int status = ips_ring_create_for(deque->segment, now->length, &fresh);
    if (status < 0) {
        return status;
    }
    ips_ring_copy(ring, now->head + now->length - steps, steps, &fresh, 0);
    ips_ring_copy(ring, now->head, now->length - steps, &fresh, steps);
    status = change_rings(deque, &fresh, now->length, now, ring);
    ips_fresh_ready();
    return status;
}

int
ips_deque_rotate(const ips_deque *deque, int64_t steps)
{
    ips_deque_shape now;
    ips_ring ring;
    int status = ips_deque_begin_changing(deque, &now, &ring);
    if (status < 0 || now.length < 2) {
        return status;
    }
    steps %= (int64_t)now.length;
    const uint64_t rightward = (uint64_t)(steps < 0 ? steps + (int64_t)now.length : steps);
    const bool leftward = rightward > now.length / 2;
    const uint64_t moved = leftward ? now.length - rightward : rightward;
    /* Of a full ring only the head moves: its ends are neighbours. */
    const bool is_round = now.length == ring.mask + 1;
    if (!is_round && !is_cheaper_moved(moved, now.length)) {
        status = rotate_anew(deque, rightward, &now, &ring);
        return status < 0 ? status : ips_deque_store_shape(deque, &now);
    }
    for (uint64_t i = 0; status == 0 && !is_round && i < moved; i++) {
        const uint64_t from = leftward ? now.head + i : now.head + now.length - 1 - i;
        status = move_slot(deque, &ring, from, leftward ? from + now.length : from - now.length);
    }
    now.head = (leftward ? now.head + moved : now.head - moved) & ring.mask;
    return status < 0 ? status : ips_deque_store_shape(deque, &now);
}
