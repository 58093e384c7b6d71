/* SPDX-License-Identifier: Apache-2.0 */
#include "data/deque.h"

#include <string.h>

#include "base/atomics.h"
#include "base/checked.h"
#include "data/nest.h"
#include "data/shape.h"
#include "segment/quota.h"

/* relaxed: a reader validates the deque's version, a writer holds the
 * segment's lock. */
#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

#define OPTIMISM 16          /* lock-free tries before a reader gives up */
#define FREED_BY_CLEAR 64u   /* a longer deque leaves its ring to be reaped */

int
ips_deque_open(ips_segment *segment, uint32_t type, ips_offset offset, uint64_t generation,
    ips_deque *out)
{
    ips_root_shm *root = ips_root_at(segment, offset, type, sizeof(ips_deque_shm));
    if (root == NULL) {
        return ips_fail(IPS_ECORRUPT, "no %s at offset %llu", ips_type_name(type),
            (unsigned long long)offset);
    }
    ips_offset events = LOAD(((ips_deque_shm *)(void *)root)->events);
    out->events = type == IPS_TYPE_DEQUE ? ips_segment_at(segment, events, IPS_STABLE_SIZE) : NULL;
    if (type == IPS_TYPE_DEQUE &&
        (out->events == NULL || ips_stable_generation(segment, events, type) == 0)) {
        return ips_fail(IPS_ECORRUPT, "SharedDeque at offset %llu: its event counts are damaged",
            (unsigned long long)offset);
    }
    const uint64_t maxlen = LOAD(((ips_deque_shm *)(void *)root)->maxlen);
    if (maxlen != IPS_UNBOUNDED && maxlen > INT64_MAX) {
        return ips_fail(IPS_ECORRUPT, "%s at offset %llu: its maxlen cannot be",
            ips_type_name(type), (unsigned long long)offset);
    }
    out->type = type;
    out->segment = segment;
    out->shm = (ips_deque_shm *)(void *)root;
    out->offset = offset;
    out->generation = generation;
    out->maxlen = maxlen;
    return 0;
}

/* --- reading, with the lock (version 0) or without */

enum { FOUND, RANGE, BROKEN };

typedef struct {
    bool locked;
    uint64_t seen;
} look;

/* Sizes are believed only while the version holds. */
static bool
steady(const ips_deque *deque, const look *at)
{
    return at->locked || ips_read_ok(deque->segment, deque->offset, at->seen);
}

static int
find(const ips_deque *deque, int64_t index, const look *at, ips_value_copy *out)
{
    ips_deque_shape now = ips_deque_shape_of(deque);
    ips_ring ring;
    ips_slot_value value;
    uint64_t place;
    if (!ips_row_index(index, now.length, &place)) {
        return RANGE;
    }
    if (!ips_deque_open_ring(deque, &now, &ring) ||
        !ips_ring_value(deque->segment, &ring, now.head + place, &value) ||
        (value.size > sizeof out->room && !steady(deque, at))) {
        return BROKEN;
    }
    int status = ips_value_copy_reserve(out, value.size);
    if (status < 0) {
        return status;
    }
    ips_copy_racing(out->bytes, value.bytes, value.size);
    out->kind = value.kind;
    return FOUND;
}

static int
walk(const ips_deque *deque, ips_span span, const look *at, ips_snapshot *out)
{
    ips_deque_shape now = ips_deque_shape_of(deque);
    ips_ring ring;
    out->size = 0;
    out->records = 0;
    if (!ips_deque_open_ring(deque, &now, &ring)) {
        return BROKEN;
    }
    const ips_picked picked = ips_span_resolve(span, now.length);
    uint64_t place = now.head + picked.first;
    for (uint64_t i = 0; i < picked.count; i++, place += (uint64_t)picked.step) {
        ips_slot_value value;
        if (!ips_ring_value(deque->segment, &ring, place, &value) || !steady(deque, at) ||
            !ips_snapshot_is_sane(out, deque->segment)) {
            return BROKEN;
        }
        int status = ips_snapshot_add(out, value.bytes, value.size, value.kind);
        if (status < 0) {
            return status;
        }
    }
    return FOUND;
}

/* After a lock-free look: was it one state of this very deque?  0: yes.
 * 1: look again.  IPS_ROW_BUSY, IPS_EGONE. */
static int
verdict(const ips_deque *deque, uint64_t seen)
{
    /* The generation before the version: a transaction that destroys and is
     * undone changes both, one that is still open has an odd version. */
    bool lives = ips_root_lives(&deque->shm->root, deque->generation);
    if (!ips_read_ok(deque->segment, deque->offset, seen)) {
        return 1;
    }
    /* And after the fence in ips_read_ok: garbage from a block in its next
     * life is never taken for the deque's. */
    if (ips_root_lives(&deque->shm->root, deque->generation)) {
        return 0;
    }
    return lives ? 1 : ips_root_gone(deque->type);
}

/* The even version; else IPS_ROW_BUSY (our own transaction) or 1. */
static int
begin_reading(const ips_deque *deque, uint64_t *seen)
{
    *seen = ips_read_begin(deque->segment, deque->offset);
    if ((*seen & 1) == 0) {
        return 0;
    }
    if (ips_tx_is_mine(deque->segment)) {
        return IPS_ROW_BUSY;
    }
    ips_pause();
    return 1;
}

static int
outcome(const ips_deque *deque, int found)
{
    if (found == BROKEN) {
        return ips_deque_corrupt(deque, "its ring or a value is damaged");
    }
    return found == RANGE ? IPS_ROW_RANGE : found;
}

int
ips_deque_get(const ips_deque *deque, int64_t index, ips_value_copy *out)
{
    for (int attempt = 0; attempt < OPTIMISM; attempt++) {
        look at = {.locked = false};
        int now = begin_reading(deque, &at.seen);
        if (now == 0) {
            int found = find(deque, index, &at, out);
            now = found < 0 ? found : verdict(deque, at.seen);
            if (now == 0) {
                return outcome(deque, found);
            }
        }
        if (now != 1) {
            return now;
        }
    }
    return IPS_ROW_BUSY;
}

int
ips_deque_length(const ips_deque *deque, uint64_t *out)
{
    for (int attempt = 0; attempt < OPTIMISM; attempt++) {
        uint64_t seen;
        int now = begin_reading(deque, &seen);
        if (now == 0) {
            *out = ips_deque_shape_of(deque).length;
            now = verdict(deque, seen);
        }
        if (now == 0 && !ips_count_possible(deque->segment, *out)) {
            return ips_deque_corrupt(deque, "its length cannot be");
        }
        if (now != 1) {
            return now;
        }
    }
    return IPS_ROW_BUSY;
}

int
ips_deque_snapshot(const ips_deque *deque, ips_span span, ips_snapshot *out)
{
    for (int attempt = 0; attempt < 3; attempt++) {
        look at = {.locked = false};
        int now = begin_reading(deque, &at.seen);
        if (now == 0) {
            int found = walk(deque, span, &at, out);
            out->version = at.seen;
            now = found < 0 ? found : verdict(deque, at.seen);
            if (now == 0) {
                return outcome(deque, found);
            }
        }
        if (now != 1) {
            return now;
        }
    }
    return IPS_ROW_BUSY;
}

/* --- inside a transaction */

int
ips_deque_get_locked(const ips_deque *deque, int64_t index, ips_value_copy *out)
{
    int status = ips_deque_alive(deque);
    return status < 0 ? status : outcome(deque, find(deque, index, &(look){.locked = true}, out));
}

int
ips_deque_length_locked(const ips_deque *deque, uint64_t *out)
{
    *out = ips_deque_shape_of(deque).length;
    int status = ips_deque_alive(deque);
    return status == 0 && !ips_count_possible(deque->segment, *out)
        ? ips_deque_corrupt(deque, "its length cannot be") : status;
}

int
ips_deque_snapshot_locked(const ips_deque *deque, ips_span span, ips_snapshot *out)
{
    int status = ips_deque_alive(deque);
    out->version = LOAD(deque->shm->root.version);
    return status < 0 ? status : outcome(deque, walk(deque, span, &(look){.locked = true}, out));
}

/* A ring with place for `more`; published with the next store of the shape. */
static int
resize(const ips_deque *deque, uint64_t more, ips_deque_shape *now, ips_ring *ring)
{
    int status = ips_ring_rebuild(deque->segment, ring, now->head, now->length, more,
        &now->ring);
    return status < 0 ? status : ips_deque_enter_fresh(deque, now, ring);
}

/* Take a value off an end of `now`. */
static int
take(const ips_deque *deque, int end, ips_deque_shape *now, const ips_ring *ring)
{
    uint64_t index = end == IPS_LEFT ? now->head : now->head + now->length - 1;
    int status = ips_ring_drop(deque->segment, ring, index);
    if (end == IPS_LEFT) {
        now->head = (now->head + 1) & ring->mask;
    }
    now->length--;
    return status;
}

/* Put a value at an end of `now`, which is below its limit. */
static int
put(const ips_deque *deque, int end, const ips_value *value, ips_deque_shape *now, ips_ring *ring)
{
    if (now->length > ring->mask) {
        int status = resize(deque, 1, now, ring);
        if (status < 0) {
            return status;
        }
    }
    uint64_t index = now->head + now->length;
    if (end == IPS_LEFT) {
        now->head = (now->head - 1) & ring->mask;
        index = now->head;
    }
    now->length++;
    return ips_ring_put(deque->segment, ring, index, value);
}

int
ips_deque_push(const ips_deque *deque, int end, const ips_value *value)
{
    ips_deque_shape now;
    ips_ring ring;
    int status = ips_deque_alive(deque);
    if (status < 0) {
        return status;
    }
    if (ips_deque_shape_of(deque).length >= deque->maxlen) {
        return IPS_ROW_FULL;
    }
    status = ips_deque_begin_changing(deque, &now, &ring);
    if (status == 0) {
        status = put(deque, end, value, &now, &ring);
    }
    return status < 0 ? status : ips_deque_store_shape(deque, &now);
}

/* Put a value at an end of `now`; at the limit the one at the other end goes. */
static int
push_out(const ips_deque *deque, int end, const ips_value *value, ips_deque_shape *now, ips_ring *ring)
{
    int status = 0;
    if (now->length >= deque->maxlen) {
        status = take(deque, end == IPS_LEFT ? IPS_RIGHT : IPS_LEFT, now, ring);
    }
    return status < 0 ? status : put(deque, end, value, now, ring);
}

int
ips_deque_append(const ips_deque *deque, int end, const ips_value *value)
{
    ips_deque_shape now;
    ips_ring ring;
    int status = ips_deque_begin_changing(deque, &now, &ring);
    if (status < 0 || deque->maxlen == 0) {
        return status;
    }
    status = push_out(deque, end, value, &now, &ring);
    return status < 0 ? status : ips_deque_store_shape(deque, &now);
}

int
ips_deque_extend(const ips_deque *deque, int end, const ips_snapshot *values)
{
    ips_deque_shape now;
    ips_ring ring;
    int status = ips_deque_begin_changing(deque, &now, &ring);
    if (status < 0 || deque->maxlen == 0) {
        return status;
    }
    /* At the limit only the last maxlen of them will stay. */
    uint64_t more = values->records < deque->maxlen ? values->records : deque->maxlen;
    if (more > now.length / 8 + 8) {
        status = resize(deque, more, &now, &ring);
    }
    size_t at = 0;
    ips_value value;
    while (status == 0 && ips_snapshot_next(values, &at, &value)) {
        status = push_out(deque, end, &value, &now, &ring);
    }
    ips_fresh_ready();
    return status < 0 ? status : ips_deque_store_shape(deque, &now);
}

int
ips_deque_pop(const ips_deque *deque, int end, ips_value_copy *out)
{
    ips_deque_shape now;
    ips_ring ring;
    if (out != NULL) {
        int found = ips_deque_get_locked(deque, end == IPS_LEFT ? 0 : -1, out);
        if (found != 0) {
            return found == IPS_ROW_RANGE ? IPS_ROW_EMPTY : found;
        }
        if (out->kind == IPS_VALUE_REFERENCE) {
            return IPS_ROW_NESTED;
        }
    }
    int status = ips_deque_begin_changing(deque, &now, &ring);
    if (status < 0) {
        return status;
    }
    if (now.length == 0) {
        return IPS_ROW_EMPTY;
    }
    status = take(deque, end, &now, &ring);
    if (status == 0 && ips_ring_is_loose(&ring, now.length)) {
        status = resize(deque, 0, &now, &ring);
    }
    return status < 0 ? status : ips_deque_store_shape(deque, &now);
}

int
ips_deque_set(const ips_deque *deque, int64_t index, const ips_value *value)
{
    ips_deque_shape now;
    ips_ring ring;
    int status = ips_deque_begin_changing(deque, &now, &ring);
    if (status < 0) {
        return status;
    }
    uint64_t slot;
    if (!ips_row_index(index, now.length, &slot)) {
        return IPS_ROW_RANGE;
    }
    slot += now.head;
    status = ips_ring_drop(deque->segment, &ring, slot);
    return status < 0 ? status : ips_ring_put(deque->segment, &ring, slot, value);
}

/* --- the whole */

int
ips_deque_create(ips_segment *segment, uint32_t type, uint64_t maxlen, ips_offset *out)
{
    void *at;
    int status = ips_fresh_block(segment, sizeof(ips_deque_shm), out, &at);
    if (status < 0) {
        return status;
    }
    ips_deque_shm *shm = at;
    memset(shm, 0, sizeof *shm);
    ips_offset ring;
    ips_offset events = 0;
    status = ips_ring_create(segment, IPS_RING_LEAST, &ring);
    if (status == 0 && type == IPS_TYPE_DEQUE) {
        status = ips_stable_alloc(segment, type, &events);
    }
    if (status < 0) {
        return status;
    }
    /* relaxed: nobody else knows the block until it has its name. */
    atomic_store_explicit(&shm->root.type, type, memory_order_relaxed);
    atomic_store_explicit(&shm->ring, ring, memory_order_relaxed);
    atomic_store_explicit(&shm->maxlen, maxlen, memory_order_relaxed);
    atomic_store_explicit(&shm->events, events, memory_order_relaxed);
    ips_fresh_ready();
    return 0;
}

/* Leave the ring to be freed bit by bit. */
static int
bury(const ips_deque *deque, const ips_deque_shape *now)
{
    const uint64_t words[3] = {LOAD(deque->shm->graves), now->head, now->length};
    int status = ips_tx_write(deque->segment, now->ring + offsetof(ips_deque_ring_shm, next),
        words, sizeof words);
    return status < 0 ? status : ips_tx_store(deque->segment,
        deque->offset + offsetof(ips_deque_shm, graves), now->ring);
}

/* Containers that stand in it go at once, not only with their slots. */
static int
disown(const ips_deque *deque, const ips_deque_shape *now, const ips_ring *ring)
{
    const uint64_t nest = LOAD(deque->shm->nest);
    int status = 0;
    if ((nest & IPS_NEST_HOLDS) == 0) {
        return 0;
    }
    for (uint64_t i = now->head; status == 0 && i != now->head + now->length; i++) {
        if (ips_value_word_kind(LOAD(ring->shm->slot[i & ring->mask].word)) ==
            IPS_VALUE_REFERENCE) {
            status = ips_ring_drop(deque->segment, ring, i);
            status = status < 0 ? status
                : ips_tx_store(deque->segment, ips_ring_slot_offset(ring, i), 0);
        }
    }
    return status < 0 ? status : ips_tx_store(deque->segment,
        deque->offset + offsetof(ips_deque_shm, nest), nest & ~IPS_NEST_HOLDS);
}

int
ips_deque_clear(const ips_deque *deque)
{
    ips_deque_shape now;
    ips_ring ring;
    int status = ips_deque_begin_changing(deque, &now, &ring);
    if (status < 0 || (now.length == 0 && ring.mask < IPS_RING_LEAST)) {
        return status;
    }
    const uint64_t length = now.length;
    status = disown(deque, &now, &ring);
    if (status == 0 && length > FREED_BY_CLEAR) {
        status = bury(deque, &now);
    }
    while (status == 0 && length <= FREED_BY_CLEAR && now.length > 0) {
        status = take(deque, IPS_LEFT, &now, &ring);
    }
    if (status == 0 && length <= FREED_BY_CLEAR) {
        status = ips_tx_free(deque->segment, ring.offset);
    }
    if (status == 0) {
        bool eased = ips_quota_ease(deque->segment, true);
        status = ips_ring_create(deque->segment, IPS_RING_LEAST, &now.ring);
        (void)ips_quota_ease(deque->segment, eased);
    }
    ips_fresh_ready();
    now.head = now.length = 0;
    return status < 0 ? status : ips_deque_store_shape(deque, &now);
}

int
ips_deque_reap(const ips_deque *deque, unsigned budget)
{
    ips_offset grave = LOAD(deque->shm->graves);
    int status = 0;
    while (status == 0 && grave != 0 && budget > 0) {
        ips_deque_shape left = {.ring = grave};
        ips_ring ring;
        if (!ips_ring_open(deque->segment, grave, &ring)) {
            return ips_deque_corrupt(deque, "a ring that clear() left is damaged");
        }
        left.head = LOAD(ring.shm->head) & ring.mask;
        left.length = LOAD(ring.shm->length);
        if (left.length > ring.mask + 1) {
            return ips_deque_corrupt(deque, "a ring that clear() left is damaged");
        }
        for (; status == 0 && left.length > 0 && budget > 0; budget--) {
            status = take(deque, IPS_LEFT, &left, &ring);
        }
        if (status == 0 && left.length > 0) {
            status = ips_tx_write(deque->segment, grave + offsetof(ips_deque_ring_shm, head),
                &left.head, 2 * sizeof left.head);
        } else if (status == 0) {
            grave = LOAD(ring.shm->next);
            status = ips_tx_store(deque->segment,
                deque->offset + offsetof(ips_deque_shm, graves), grave);
        }
        if (status == 0 && left.length == 0) {
            status = ips_tx_free(deque->segment, ring.offset);
        }
    }
    return status < 0 ? status : grave != 0;
}

int
ips_deque_destroy(const ips_deque *deque)
{
    int status = ips_deque_clear(deque);
    for (int more = 1; status == 0 && more == 1;) {
        more = ips_deque_reap(deque, 1024);
        status = more < 0 ? more : 0;
    }
    if (status == 0) {
        status = ips_tx_free(deque->segment, LOAD(deque->shm->ring));
    }
    if (status == 0 && deque->type == IPS_TYPE_DEQUE) {
        status = ips_stable_free(deque->segment, LOAD(deque->shm->events));
    }
    if (status == 0) {
        status = ips_root_retire(deque->segment, deque->offset);
    }
    return status < 0 ? status : ips_tx_free(deque->segment, deque->offset);
}

int
ips_deque_wither(const ips_deque *deque, unsigned budget)
{
    const ips_deque_shape now = ips_deque_shape_of(deque);
    ips_ring ring;
    int status = ips_deque_alive(deque);
    if (status == 0 && now.ring != 0) {
        if (!ips_deque_open_ring(deque, &now, &ring)) {
            return ips_deque_corrupt(deque, "its ring is damaged");
        }
        status = bury(deque, &now);
        if (status == 0) {
            status = ips_deque_store_shape(deque, &(ips_deque_shape){0, 0, 0});
        }
    }
    status = status < 0 ? status : ips_deque_reap(deque, budget);
    return status != 0 || deque->type != IPS_TYPE_DEQUE
        ? status : ips_stable_free(deque->segment, LOAD(deque->shm->events));
}
