/* SPDX-License-Identifier: Apache-2.0 */
#include "data/deque.h"

#include <string.h>

#include "base/atomics.h"
#include "base/checked.h"
#include "data/ring.h"

/* relaxed: a reader validates the deque's version, a writer holds the
 * segment's lock. */
#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

#define OPTIMISM 16          /* lock-free tries before a reader gives up */
#define FREED_BY_CLEAR 64u   /* a longer deque leaves its ring to be reaped */
#define REAPED_PER_GROWTH 64u
#define SHRINK_ABOVE 1024u   /* slots; a smaller ring is never worth it */

/* What a transaction changes of the root, in the root's order. */
typedef struct {
    uint64_t ring, head, length;
} shape;

_Static_assert(sizeof(shape) == offsetof(ips_deque_shm, maxlen) - offsetof(ips_deque_shm, ring),
    "written to the root in one piece");

static int
corrupt(const ips_deque *deque, const char *what)
{
    return ips_fail(IPS_ECORRUPT, "SharedDeque at offset %llu: %s",
        (unsigned long long)deque->offset, what);
}

static shape
shape_of(const ips_deque *deque)
{
    const ips_deque_shm *shm = deque->shm;
    return (shape){LOAD(shm->ring), LOAD(shm->head), LOAD(shm->length)};
}

/* The ring that goes with `now`; false where they do not fit together. */
static bool
open_ring(const ips_deque *deque, const shape *now, ips_ring *out)
{
    return ips_ring_open(deque->segment, now->ring, out) && now->head <= out->mask &&
           now->length <= out->mask + 1;
}

int
ips_deque_open(ips_segment *segment, ips_offset offset, uint64_t generation, ips_deque *out)
{
    ips_root_shm *root = ips_root_at(segment, offset, IPS_TYPE_DEQUE, sizeof(ips_deque_shm));
    if (root == NULL) {
        return ips_fail(IPS_ECORRUPT, "no SharedDeque at offset %llu",
            (unsigned long long)offset);
    }
    ips_offset events = LOAD(((ips_deque_shm *)(void *)root)->events);
    out->events = ips_segment_at(segment, events, IPS_STABLE_SIZE);
    if (out->events == NULL || ips_stable_generation(segment, events, IPS_TYPE_DEQUE) == 0) {
        return ips_fail(IPS_ECORRUPT, "SharedDeque at offset %llu: its event counts are damaged",
            (unsigned long long)offset);
    }
    out->segment = segment;
    out->shm = (ips_deque_shm *)(void *)root;
    out->offset = offset;
    out->generation = generation;
    out->maxlen = LOAD(out->shm->maxlen);
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
    shape now = shape_of(deque);
    ips_ring ring;
    ips_slot_value value;
    if (index < 0) {
        index += (int64_t)now.length;
    }
    if (index < 0 || (uint64_t)index >= now.length) {
        return RANGE;
    }
    if (!open_ring(deque, &now, &ring) ||
        !ips_ring_value(deque->segment, &ring, now.head + (uint64_t)index, &value) ||
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
walk(const ips_deque *deque, const look *at, ips_snapshot *out)
{
    shape now = shape_of(deque);
    ips_ring ring;
    out->size = 0;
    out->records = 0;
    if (!open_ring(deque, &now, &ring)) {
        return BROKEN;
    }
    for (uint64_t i = 0; i < now.length; i++) {
        ips_slot_value value;
        if (!ips_ring_value(deque->segment, &ring, now.head + i, &value) || !steady(deque, at) ||
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
 * 1: look again.  IPS_DEQUE_BUSY, IPS_EGONE. */
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
    return lives ? 1 : ips_root_gone(IPS_TYPE_DEQUE);
}

/* The even version; else IPS_DEQUE_BUSY (our own transaction) or 1. */
static int
begin_reading(const ips_deque *deque, uint64_t *seen)
{
    *seen = ips_read_begin(deque->segment, deque->offset);
    if ((*seen & 1) == 0) {
        return 0;
    }
    if (ips_tx_is_mine(deque->segment)) {
        return IPS_DEQUE_BUSY;
    }
    ips_pause();
    return 1;
}

static int
outcome(const ips_deque *deque, int found)
{
    if (found == BROKEN) {
        return corrupt(deque, "its ring or a value is damaged");
    }
    return found == RANGE ? IPS_DEQUE_RANGE : found;
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
    return IPS_DEQUE_BUSY;
}

int
ips_deque_length(const ips_deque *deque, uint64_t *out)
{
    for (int attempt = 0; attempt < OPTIMISM; attempt++) {
        uint64_t seen;
        int now = begin_reading(deque, &seen);
        if (now == 0) {
            *out = LOAD(deque->shm->length);
            now = verdict(deque, seen);
        }
        if (now == 0 && !ips_count_possible(deque->segment, *out)) {
            return corrupt(deque, "its length cannot be");
        }
        if (now != 1) {
            return now;
        }
    }
    return IPS_DEQUE_BUSY;
}

int
ips_deque_snapshot(const ips_deque *deque, ips_snapshot *out)
{
    for (int attempt = 0; attempt < 3; attempt++) {
        look at = {.locked = false};
        int now = begin_reading(deque, &at.seen);
        if (now == 0) {
            int found = walk(deque, &at, out);
            now = found < 0 ? found : verdict(deque, at.seen);
            if (now == 0) {
                return outcome(deque, found);
            }
        }
        if (now != 1) {
            return now;
        }
    }
    return IPS_DEQUE_BUSY;
}

/* --- inside a transaction */

static int
alive(const ips_deque *deque)
{
    return ips_root_lives(&deque->shm->root, deque->generation)
        ? 0 : ips_root_gone(IPS_TYPE_DEQUE);
}

int
ips_deque_get_locked(const ips_deque *deque, int64_t index, ips_value_copy *out)
{
    int status = alive(deque);
    return status < 0 ? status : outcome(deque, find(deque, index, &(look){.locked = true}, out));
}

int
ips_deque_length_locked(const ips_deque *deque, uint64_t *out)
{
    *out = LOAD(deque->shm->length);
    int status = alive(deque);
    return status == 0 && !ips_count_possible(deque->segment, *out)
        ? corrupt(deque, "its length cannot be") : status;
}

int
ips_deque_snapshot_locked(const ips_deque *deque, ips_snapshot *out)
{
    int status = alive(deque);
    return status < 0 ? status : outcome(deque, walk(deque, &(look){.locked = true}, out));
}

/* The deque to change: alive, its version raised, its ring open. */
static int
begin_changing(const ips_deque *deque, shape *now, ips_ring *ring)
{
    int status = alive(deque);
    *now = shape_of(deque);
    if (status == 0 && !open_ring(deque, now, ring)) {
        status = corrupt(deque, "its ring is damaged");
    }
    return status < 0 ? status : ips_tx_touch(deque->segment, deque->offset);
}

static int
store_shape(const ips_deque *deque, const shape *now)
{
    return ips_tx_write(deque->segment, deque->offset + offsetof(ips_deque_shm, ring), now,
        sizeof *now);
}

/* A ring with place for `more`; published with the next store_shape. */
static int
resize(const ips_deque *deque, uint64_t more, shape *now, ips_ring *ring)
{
    int status = ips_ring_rebuild(deque->segment, ring, now->head, now->length, more,
        &now->ring);
    if (status < 0) {
        return status;
    }
    now->head = 0;
    if (!open_ring(deque, now, ring)) {
        return corrupt(deque, "a ring just made cannot be opened");
    }
    ring->fresh = true;
    status = ips_deque_reap(deque, REAPED_PER_GROWTH);
    return status < 0 ? status : 0;
}

/* Take a value off an end of `now`. */
static int
take(const ips_deque *deque, int end, shape *now, const ips_ring *ring)
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
put(const ips_deque *deque, int end, const ips_value *value, shape *now, ips_ring *ring)
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
    shape now;
    ips_ring ring;
    int status = alive(deque);
    if (status < 0) {
        return status;
    }
    if (LOAD(deque->shm->length) >= deque->maxlen) {
        return IPS_DEQUE_FULL;
    }
    status = begin_changing(deque, &now, &ring);
    if (status == 0) {
        status = put(deque, end, value, &now, &ring);
    }
    return status < 0 ? status : store_shape(deque, &now);
}

/* Put a value at an end of `now`; at the limit the one at the other end goes. */
static int
push_out(const ips_deque *deque, int end, const ips_value *value, shape *now, ips_ring *ring)
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
    shape now;
    ips_ring ring;
    int status = begin_changing(deque, &now, &ring);
    if (status < 0 || deque->maxlen == 0) {
        return status;
    }
    status = push_out(deque, end, value, &now, &ring);
    return status < 0 ? status : store_shape(deque, &now);
}

int
ips_deque_extend(const ips_deque *deque, int end, const ips_snapshot *values)
{
    shape now;
    ips_ring ring;
    int status = begin_changing(deque, &now, &ring);
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
    return status < 0 ? status : store_shape(deque, &now);
}

int
ips_deque_pop(const ips_deque *deque, int end, ips_value_copy *out)
{
    shape now;
    ips_ring ring;
    if (out != NULL) {
        int found = ips_deque_get_locked(deque, end == IPS_LEFT ? 0 : -1, out);
        if (found != 0) {
            return found == IPS_DEQUE_RANGE ? IPS_DEQUE_EMPTY : found;
        }
    }
    int status = begin_changing(deque, &now, &ring);
    if (status < 0) {
        return status;
    }
    if (now.length == 0) {
        return IPS_DEQUE_EMPTY;
    }
    status = take(deque, end, &now, &ring);
    if (status == 0 && ring.mask >= SHRINK_ABOVE && now.length < ring.mask / 8) {
        status = resize(deque, 0, &now, &ring);
    }
    return status < 0 ? status : store_shape(deque, &now);
}

int
ips_deque_set(const ips_deque *deque, int64_t index, const ips_value *value)
{
    shape now;
    ips_ring ring;
    int status = begin_changing(deque, &now, &ring);
    if (status < 0) {
        return status;
    }
    if (index < 0) {
        index += (int64_t)now.length;
    }
    if (index < 0 || (uint64_t)index >= now.length) {
        return IPS_DEQUE_RANGE;
    }
    uint64_t slot = now.head + (uint64_t)index;
    status = ips_ring_drop(deque->segment, &ring, slot);
    return status < 0 ? status : ips_ring_put(deque->segment, &ring, slot, value);
}

/* --- the whole */

int
ips_deque_create(ips_segment *segment, uint64_t maxlen, ips_offset *out)
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
    if (status == 0) {
        status = ips_stable_alloc(segment, IPS_TYPE_DEQUE, &events);
    }
    if (status < 0) {
        return status;
    }
    /* relaxed: nobody else knows the block until it has its name. */
    atomic_store_explicit(&shm->root.type, IPS_TYPE_DEQUE, memory_order_relaxed);
    atomic_store_explicit(&shm->ring, ring, memory_order_relaxed);
    atomic_store_explicit(&shm->maxlen, maxlen, memory_order_relaxed);
    atomic_store_explicit(&shm->events, events, memory_order_relaxed);
    ips_fresh_ready();
    return 0;
}

/* Leave the ring to be freed bit by bit. */
static int
bury(const ips_deque *deque, const shape *now)
{
    const uint64_t words[3] = {LOAD(deque->shm->graves), now->head, now->length};
    int status = ips_tx_write(deque->segment, now->ring + offsetof(ips_deque_ring_shm, next),
        words, sizeof words);
    return status < 0 ? status : ips_tx_store(deque->segment,
        deque->offset + offsetof(ips_deque_shm, graves), now->ring);
}

int
ips_deque_clear(const ips_deque *deque)
{
    shape now;
    ips_ring ring;
    int status = begin_changing(deque, &now, &ring);
    if (status < 0 || (now.length == 0 && ring.mask < IPS_RING_LEAST)) {
        return status;
    }
    const uint64_t length = now.length;
    if (length > FREED_BY_CLEAR) {
        status = bury(deque, &now);
    }
    while (status == 0 && length <= FREED_BY_CLEAR && now.length > 0) {
        status = take(deque, IPS_LEFT, &now, &ring);
    }
    if (status == 0 && length <= FREED_BY_CLEAR) {
        status = ips_tx_free(deque->segment, ring.offset);
    }
    if (status == 0) {
        status = ips_ring_create(deque->segment, IPS_RING_LEAST, &now.ring);
    }
    ips_fresh_ready();
    now.head = now.length = 0;
    return status < 0 ? status : store_shape(deque, &now);
}

int
ips_deque_reap(const ips_deque *deque, unsigned budget)
{
    ips_offset grave = LOAD(deque->shm->graves);
    int status = 0;
    while (status == 0 && grave != 0 && budget > 0) {
        shape left = {.ring = grave};
        ips_ring ring;
        if (!ips_ring_open(deque->segment, grave, &ring)) {
            return corrupt(deque, "a ring that clear() left is damaged");
        }
        left.head = LOAD(ring.shm->head) & ring.mask;
        left.length = LOAD(ring.shm->length);
        if (left.length > ring.mask + 1) {
            return corrupt(deque, "a ring that clear() left is damaged");
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
    if (status == 0) {
        status = ips_stable_free(deque->segment, LOAD(deque->shm->events));
    }
    if (status == 0) {
        status = ips_root_retire(deque->segment, deque->offset);
    }
    return status < 0 ? status : ips_tx_free(deque->segment, deque->offset);
}
