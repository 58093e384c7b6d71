/* SPDX-License-Identifier: Apache-2.0 */
/* Making and opening queues, their locks, and the counts of what was done. */
#include "message/queue.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "os/clock.h"
#include "os/file.h"

/* How long somebody who does not want to wait waits for a lock that is held:
 * a living holder leaves in microseconds unless it is stopped. */
#define LOCK_PATIENCE_NS INT64_C(100000000)

/* --- geometry ------------------------------------------------------------- */

static uint32_t
layout_stamp(void)
{
    const uint32_t sizes[] = {
        sizeof(ips_queue_shm), sizeof(ips_extent_shm), sizeof(ips_large_shm),
        sizeof(ips_record_shm), offsetof(ips_queue_shm, producers),
        offsetof(ips_queue_shm, consumers), offsetof(ips_queue_shm, waits),
        offsetof(ips_queue_shm, done), IPS_BLOCK, IPS_INLINE_MAX, IPS_RECORD_ALIGN, IPS_FRAGMENTS,
    };
    return (uint32_t)ips_hash(sizes, sizeof sizes);
}

/* All offsets follow from the number of units. */
static void
set_geometry(ips_ring *ring, uint32_t units)
{
    ring->units = units;
    ring->slots = IPS_TABLE_PAGE / 8;
    while (ring->slots < units) {
        ring->slots *= 2;
    }
    ring->extents_offset = IPS_QUEUE_TABLES + (uint64_t)ring->slots * 8;
    ring->area_offset = ips_align_up(
        ring->extents_offset + ips_align_up((uint64_t)units * sizeof(ips_extent_shm), IPS_TABLE_PAGE),
        IPS_BLOCK);
}

static int
check_limits(ips_space *space, const ips_queue_options *options, uint32_t *units)
{
    uint64_t max_bytes = options->max_bytes;
    if (max_bytes == 0) {
        int status = ips_dir_free_space(ips_space_dir(space), &max_bytes);
        if (status < 0) {
            return status;
        }
        max_bytes = max_bytes / 2 / IPS_BLOCK * IPS_BLOCK;
    }
    uint64_t wanted = max_bytes / IPS_BLOCK + (max_bytes % IPS_BLOCK != 0);
    if (wanted > IPS_UNITS_MAX) {
        return ips_fail(IPS_ETOOBIG, "a queue of %llu bytes; at most %llu",
                        (unsigned long long)max_bytes,
                        (unsigned long long)IPS_UNITS_MAX * IPS_BLOCK);
    }
    *units = wanted < IPS_UNITS_MIN ? IPS_UNITS_MIN : (uint32_t)wanted;
    return IPS_OK;
}

static int
init_queue(ips_object *object, void *context)
{
    const ips_queue_options *options = context;
    ips_queue_shm *shm = (ips_queue_shm *)object->base;
    ips_ring ring;
    uint32_t units;
    int status = check_limits(object->space, options, &units);
    if (status < 0) {
        return status;
    }
    set_geometry(&ring, units);
    shm->maxsize = options->maxsize;
    shm->max_message = options->max_message;
    shm->units = ring.units;
    shm->slots = ring.slots;
    shm->extents_offset = ring.extents_offset;
    shm->area_offset = ring.area_offset;
    /* relaxed: nobody else has the file yet. */
    atomic_store_explicit(&shm->producers.backed_slots, IPS_TABLE_PAGE / 8, memory_order_relaxed);
    return IPS_OK;
}

/* --- opening -------------------------------------------------------------- */

static int
attach(ips_object *object, ips_queue *out)
{
    ips_queue_shm *shm = (ips_queue_shm *)object->base;
    *out = (ips_queue){
        .ring = {
            .object = object,
            .space = object->space,
            .shm = shm,
            .maxsize = shm->maxsize,
            .max_message = shm->max_message,
        },
    };
    ips_ring *ring = &out->ring;
    uint32_t units = shm->units;
    /* relaxed: only grows, and is checked again where it matters. */
    uint32_t backed = atomic_load_explicit(&shm->producers.backed_units, memory_order_relaxed);
    if (!ips_object_backs(object, 0, IPS_QUEUE_TABLES + IPS_TABLE_PAGE) ||
        units < IPS_UNITS_MIN || units > IPS_UNITS_MAX) {
        return ips_fail(IPS_ECORRUPT, "queue '%s' has a senseless size", ips_ring_name(ring));
    }
    set_geometry(ring, units);
    if (shm->slots != ring->slots || shm->extents_offset != ring->extents_offset ||
        shm->area_offset != ring->area_offset || backed > units ||
        object->max_size != ring->area_offset + (uint64_t)units * IPS_BLOCK ||
        (backed != 0 && !ips_ring_backs(ring, ring->area_offset, (uint64_t)backed * IPS_BLOCK))) {
        return ips_fail(IPS_ECORRUPT, "queue '%s' has a senseless geometry", ips_ring_name(ring));
    }
    ring->directory = (_Atomic uint64_t *)(object->base + IPS_QUEUE_TABLES);
    ring->extents = (ips_extent_shm *)(object->base + ring->extents_offset);
    ring->area = object->base + ring->area_offset;
    ring->owned = calloc(IPS_OWNED_BYTES(units), 1);
    return ring->owned == NULL ? ips_fail(IPS_ENOMEM, "opening queue '%s'", ips_ring_name(ring))
                               : IPS_OK;
}

static int
attach_or_release(ips_object *object, ips_queue *out)
{
    int status = attach(object, out);
    if (status < 0) {
        ips_object_release(object);
    }
    return status;
}

static ips_object_spec
spec_of(const ips_queue_options *options)
{
    return (ips_object_spec){
        .kind = IPS_KIND_QUEUE,
        .format = IPS_QUEUE_FORMAT,
        .layout = layout_stamp(),
        .size = IPS_QUEUE_TABLES + IPS_TABLE_PAGE,
        .cleanup_last = options->cleanup_last,
        .init = init_queue,
    };
}

int
ips_queue_open(ips_space *space, const char *name, ips_open_mode mode,
               const ips_queue_options *options, ips_queue *out)
{
    ips_ring ring;
    uint32_t units;
    int status = check_limits(space, options, &units);
    if (status < 0) {
        return status;
    }
    set_geometry(&ring, units);
    ips_queue_options settled = *options;
    settled.max_bytes = (uint64_t)units * IPS_BLOCK;
    ips_object_spec spec = spec_of(options);
    spec.max_size = ring.area_offset + settled.max_bytes;
    spec.context = &settled;
    ips_object *object;
    bool created;
    status = ips_object_open(space, name, mode, &spec, &object, &created);
    return status < 0 ? status : attach_or_release(object, out);
}

int
ips_queue_redeem(ips_space *space, const char *ticket, ips_queue *out)
{
    ips_queue_options none = {0};
    ips_object_spec spec = spec_of(&none);
    ips_object *object;
    int status = ips_object_redeem(space, ticket, &spec, &object);
    return status < 0 ? status : attach_or_release(object, out);
}

const uint8_t *
ips_queue_identity(const ips_queue *queue)
{
    return queue->ring.shm->header.identity;
}

int
ips_queue_reopen(ips_space *space, const char *name, const uint8_t identity[16], ips_queue *out)
{
    ips_queue_options none = {0};
    int status = ips_queue_open(space, name, IPS_OPEN_ONLY, &none, out);
    if (status == IPS_ENOENT) {
        return ips_fail(IPS_EGONE, "queue '%.100s' was removed", name);
    }
    if (status == 0 && memcmp(ips_queue_identity(out), identity, 16) != 0) {
        ips_queue_close(out);
        return ips_fail(IPS_EGONE, "queue '%.100s' was removed; the name is another's now", name);
    }
    return status;
}

void
ips_queue_close(ips_queue *queue)
{
    free(queue->ring.owned);
    ips_object_release(queue->ring.object);
    *queue = (ips_queue){0};
}

/* --- locks ---------------------------------------------------------------- */

static int
lock_side(ips_queue *queue, ips_lock_shm *lock, int (*mend)(ips_ring *ring), int64_t deadline)
{
    if (deadline == IPS_AT_ONCE) {
        deadline = ips_now() + LOCK_PATIENCE_NS;
    }
    int status = ips_lock_acquire(lock, queue->ring.space, deadline);
    if (status != IPS_ABANDONED) {
        return status;
    }
    status = mend(&queue->ring);
    if (status < 0) {
        (void)ips_lock_leave(lock);
    }
    return status;
}

int
ips_queue_lock_producers(ips_queue *queue, int64_t deadline)
{
    return lock_side(queue, &queue->ring.shm->producers.lock, ips_ring_mend_producers, deadline);
}

int
ips_queue_lock_consumers(ips_queue *queue, int64_t deadline)
{
    return lock_side(queue, &queue->ring.shm->consumers.lock, ips_ring_mend_consumers, deadline);
}

static bool
heal_side(ips_queue *queue, ips_lock_shm *lock, int (*mend)(ips_ring *ring), bool thorough)
{
    ips_owner owner = ips_lock_owner(lock);
    if (owner == IPS_NOBODY || ips_member_lives(queue->ring.space, owner, thorough)) {
        return false;
    }
    int status = ips_lock_try_or_take_over(lock, queue->ring.space);
    if (status < 0) {
        return false;
    }
    bool mended = status == IPS_ABANDONED && mend(&queue->ring) == 0;
    (void)ips_lock_leave(lock);
    return mended;
}

bool
ips_queue_heal(ips_queue *queue, bool thorough)
{
    ips_queue_shm *shm = queue->ring.shm;
    bool one = heal_side(queue, &shm->producers.lock, ips_ring_mend_producers, thorough);
    return heal_side(queue, &shm->consumers.lock, ips_ring_mend_consumers, thorough) || one;
}

/* --- counts --------------------------------------------------------------- */

uint64_t
ips_queue_size(ips_queue *queue)
{
    ips_queue_shm *shm = queue->ring.shm;
    (void)ips_queue_heal(queue, false);
    /* acquire: the tail's count is looked at later, and is never behind the
     * head's; pairs with the release in message/consumer.c. */
    uint64_t got = atomic_load_explicit(&shm->consumers.head_sequence, memory_order_acquire);
    /* relaxed: exact while nobody puts. */
    uint64_t put = atomic_load_explicit(&shm->producers.tail_sequence, memory_order_relaxed);
    return put > got ? put - got : 0;
}

int
ips_queue_is_full(ips_queue *queue, int64_t deadline, bool *full)
{
    if (queue->ring.maxsize != 0) {
        *full = ips_queue_size(queue) >= queue->ring.maxsize;
        return IPS_OK;
    }
    int status = ips_queue_lock_producers(queue, deadline);
    if (status < 0) {
        return status;
    }
    ips_spot spot;
    ips_producers_shm *producers = &queue->ring.shm->producers;
    /* relaxed: under the lock. */
    uint64_t tail = atomic_load_explicit(&producers->tail, memory_order_relaxed);
    status = ips_ring_reserve(&queue->ring, tail, ips_record_need(0), true, &spot);
    (void)ips_lock_leave(&producers->lock);
    *full = status == IPS_EFULL || status == IPS_ENOSPACE;
    return *full || status == IPS_EAGAIN ? IPS_OK : status;
}

/* Declare `count` more messages done: true if that many were still open. */
static bool
add_done(ips_queue *queue, uint64_t count)
{
    ips_queue_shm *shm = queue->ring.shm;
    /* relaxed: a count; join looks at both after its own fence. */
    uint64_t done = atomic_load_explicit(&shm->done, memory_order_relaxed);
    uint64_t put;
    do {
        put = atomic_load_explicit(&shm->producers.tail_sequence, memory_order_relaxed);
        if (done >= put || put - done < count) {
            return false;
        }
        /* seq_cst: with the fence below, before the look at sleepers; pairs
         * with ips_eventcount_prepare in ips_queue_join. */
    } while (!atomic_compare_exchange_weak_explicit(&shm->done, &done, done + count,
                                                    memory_order_seq_cst, memory_order_relaxed));
    ips_fence_after_rmw();
    if (done + count == put) {
        ips_eventcount_notify(&shm->waits.all_done, INT_MAX);
    }
    return true;
}

int
ips_queue_task_done(ips_queue *queue)
{
    (void)ips_queue_heal(queue, false);
    return add_done(queue, 1) ? IPS_OK : IPS_EMISMATCH;
}

int
ips_queue_join(ips_queue *queue, int64_t deadline)
{
    ips_queue_shm *shm = queue->ring.shm;
    for (bool slept = false;; slept = true) {
        (void)ips_queue_heal(queue, slept);
        uint32_t key = ips_eventcount_prepare(&shm->waits.all_done);
        /* relaxed: after the fence in prepare, which pairs with add_done. */
        uint64_t done = atomic_load_explicit(&shm->done, memory_order_relaxed);
        if (done >= atomic_load_explicit(&shm->producers.tail_sequence, memory_order_relaxed)) {
            return IPS_OK;
        }
        int status = ips_eventcount_wait(&shm->waits.all_done, key, queue->ring.space, IPS_NOBODY,
                                         deadline);
        if (status < 0) {
            return status;
        }
    }
}

/* --- the end of a queue --------------------------------------------------- */

static int
drop_all(ips_queue *queue, int64_t deadline)
{
    ips_queue_shm *shm = queue->ring.shm;
    int status = ips_queue_lock_consumers(queue, deadline);
    if (status < 0) {
        return status;
    }
    /* acquire: pairs with ips_ring_publish.  No put can follow any more. */
    uint64_t tail = atomic_load_explicit(&shm->producers.tail, memory_order_acquire);
    /* relaxed: nobody puts, and our lock guards the rest. */
    uint64_t put = atomic_load_explicit(&shm->producers.tail_sequence, memory_order_relaxed);
    uint64_t got = atomic_load_explicit(&shm->consumers.head_sequence, memory_order_relaxed);
    /* release: pairs with the acquire loads of the head by producers. */
    atomic_store_explicit(&shm->consumers.head, tail, memory_order_release);
    atomic_store_explicit(&shm->consumers.head_sequence, put, memory_order_release);
    (void)ips_lock_leave(&shm->consumers.lock);
    (void)add_done(queue, put > got ? put - got : 0);
    return IPS_OK;
}

int
ips_queue_shut_down(ips_queue *queue, bool immediately, int64_t deadline)
{
    ips_waits_shm *waits = &queue->ring.shm->waits;
    int status = ips_queue_lock_producers(queue, deadline);
    if (status < 0) {
        return status;
    }
    uint32_t wanted = immediately ? IPS_SHUTDOWN_ALL : IPS_SHUTDOWN_PUTS;
    /* relaxed: changed under the lock we hold. */
    if (atomic_load_explicit(&waits->shutdown, memory_order_relaxed) < wanted) {
        /* release: pairs with the acquire looks of consumers. */
        atomic_store_explicit(&waits->shutdown, wanted, memory_order_release);
    }
    (void)ips_lock_leave(&queue->ring.shm->producers.lock);
    if (immediately) {
        status = drop_all(queue, deadline);
    }
    atomic_thread_fence(memory_order_seq_cst); /* pairs with ips_eventcount_prepare */
    ips_eventcount_notify(&waits->not_empty, INT_MAX);
    ips_eventcount_notify(&waits->not_full, INT_MAX);
    ips_eventcount_notify(&waits->all_done, INT_MAX);
    return status;
}
