/* SPDX-License-Identifier: Apache-2.0 */
/* Putting.  One store of the tail publishes; what comes before it is undone
 * by being forgotten (message/layout.h). */
#include <limits.h>
#include <string.h>

#include "message/queue.h"
#include "os/clock.h"

#define CACHE_LINE 64u
#define PREFETCH_BYTES (3 * CACHE_LINE)

/* Bytes that one hold of the lock may copy. */
#define HOLD_BYTES 65536u

/* Spins for room, one after the other while messages are being taken. */
#define SPINS_MOST 5

int
ips_queue_admits(const ips_queue *queue, uint64_t size)
{
    const ips_ring *ring = &queue->ring;
    uint64_t limit = ips_largest_message(ring);
    if (ring->max_message != 0 && ring->max_message < limit) {
        limit = ring->max_message;
    }
    return size <= limit ? IPS_OK
                         : ips_fail(IPS_ETOOBIG, "a message of %llu bytes; queue '%s' takes at "
                                    "most %llu: make it with a larger %s",
                                    (unsigned long long)size, ips_ring_name(ring),
                                    (unsigned long long)limit,
                                    limit == ring->max_message ? "max_message" : "max_bytes");
}

/* Is there room for message number `sequence`?  Asks the consumers' line only
 * where the last answer no longer will do. */
static bool
within_maxsize(ips_ring *ring, uint64_t sequence)
{
    ips_producers_shm *producers = &ring->shm->producers;
    /* relaxed: a cache, under the lock. */
    uint64_t got = atomic_load_explicit(&producers->head_seen, memory_order_relaxed);
    if (sequence - got < ring->maxsize) {
        return true;
    }
    /* relaxed: only the count; blocks are given away by the head alone. */
    got = atomic_load_explicit(&ring->shm->consumers.head_sequence, memory_order_relaxed);
    atomic_store_explicit(&producers->head_seen, got, memory_order_relaxed);
    return sequence - got < ring->maxsize;
}

static inline int
admit(ips_ring *ring, uint64_t sequence)
{
    /* relaxed: changed under the lock we hold. */
    if (__builtin_expect(atomic_load_explicit(&ring->shm->waits.shutdown, memory_order_relaxed) !=
                             IPS_SHUTDOWN_NO, 0)) {
        return ips_fail(IPS_ESHUTDOWN, "queue '%s'", ips_ring_name(ring));
    }
    return ring->maxsize == 0 || within_maxsize(ring, sequence) ? IPS_OK : IPS_EFULL;
}

/* The lines that the next record will fill were read by a consumer a round
 * ago: ask for them now, so that the next put need not wait for them. */
static inline void
prefetch(const uint8_t *at, uint64_t room)
{
    for (uint64_t ahead = 0; ahead < PREFETCH_BYTES && ahead < room; ahead += CACHE_LINE) {
        ips_prefetch_to_write(at + ahead);
    }
}

/* Put what goes in now; call with the lock. */
static int
put_held(ips_ring *ring, const ips_message *messages, uint32_t count, bool patient, uint32_t *done)
{
    ips_producers_shm *producers = &ring->shm->producers;
    /* relaxed: under the lock. */
    uint64_t tail = atomic_load_explicit(&producers->tail, memory_order_relaxed);
    uint64_t sequence = atomic_load_explicit(&producers->tail_sequence, memory_order_relaxed);
    const uint64_t start = tail;
    uint64_t published = tail;
    ips_spot spot = {tail, NULL}; /* valid once `at` is set: the tail's block */
    int status = IPS_OK;
    while (*done < count) {
        const ips_message *message = &messages[*done];
        if (message->size > IPS_INLINE_MAX || tail - start > HOLD_BYTES) {
            status = IPS_EAGAIN;
            break;
        }
        uint64_t need = ips_record_need(message->size);
        status = admit(ring, sequence);
        if (status < 0) {
            break;
        }
        uint64_t offset = tail % IPS_BLOCK;
        if (spot.at == NULL || offset == 0 || offset + need > IPS_BLOCK) {
            if (published != tail) { /* a block is opened from the published tail */
                ips_ring_publish(ring, tail, sequence);
                published = tail;
            }
            status = ips_ring_reserve(ring, tail, need, patient, &spot);
            if (status < 0) {
                break;
            }
        }
        ips_record_fill(spot.at,
                        ips_record_word((uint32_t)message->size, message->kind, 0), sequence);
        ips_payload_copy(spot.at + sizeof(ips_record_shm), message->bytes, message->size);
        tail = spot.position + need;
        spot = (ips_spot){tail, spot.at + need};
        sequence++;
        ++*done;
    }
    if (published != tail) {
        ips_ring_publish(ring, tail, sequence);
        prefetch(spot.at, IPS_BLOCK - tail % IPS_BLOCK);
    }
    return status;
}

static inline void
leave(ips_queue *queue, uint32_t put)
{
    ips_queue_shm *shm = queue->ring.shm;
    (void)ips_lock_leave(&shm->producers.lock);
    if (put != 0) {
        ips_fence_after_rmw(); /* pairs with the fence in ips_eventcount_prepare */
        ips_eventcount_notify(&shm->waits.not_empty, put < INT_MAX ? (int)put : INT_MAX);
    }
}

int
ips_queue_try_put(ips_queue *queue, const ips_message *messages, uint32_t count, uint32_t *done)
{
    ips_owner me = ips_space_self(queue->ring.space);
    if (me == IPS_NOBODY || !ips_lock_try(&queue->ring.shm->producers.lock, me)) {
        return IPS_EAGAIN;
    }
    uint32_t before = *done;
    int status = put_held(&queue->ring, messages, count, false, done);
    leave(queue, *done - before);
    return status;
}

/* --- waiting for room ----------------------------------------------------- */

typedef struct {
    ips_queue *queue;
    uint64_t head; /* as it was before there was no room */
    uint32_t key;
    bool spun, armed, parked;
} room_wait;

static uint64_t
head_of(const ips_queue *queue)
{
    /* relaxed: a hint to try again. */
    return atomic_load_explicit(&queue->ring.shm->consumers.head, memory_order_relaxed);
}

/* Is it worth trying again?  Each message taken makes room in a queue that
 * counts them, or whose large ones hold blocks; else only a whole block does. */
static bool
room_was_made(void *context)
{
    const room_wait *wait = context;
    const ips_ring *ring = &wait->queue->ring;
    uint64_t head = head_of(wait->queue);
    /* relaxed: as above. */
    bool each = ring->maxsize != 0 ||
                atomic_load_explicit(&ring->shm->producers.backed_extents, memory_order_relaxed) != 0;
    return each ? head != wait->head : head / IPS_BLOCK != wait->head / IPS_BLOCK;
}

/* Spin, and go on with it while somebody is taking messages: to wake us costs
 * them what they need for a hundred messages (18 us on a virtual machine). */
static bool
spin_for_room(room_wait *wait, int64_t deadline)
{
    for (int turn = 0; turn < SPINS_MOST; turn++) {
        uint64_t head = head_of(wait->queue);
        if (ips_spin_until(room_was_made, wait, deadline)) {
            return true;
        }
        if (head_of(wait->queue) == head) {
            break;
        }
    }
    return false;
}

/* One step: mend, or spin, or announce ourselves, or park; then try again. */
static int
await_room(room_wait *wait, int64_t deadline)
{
    ips_queue_shm *shm = wait->queue->ring.shm;
    if (ips_queue_heal(wait->queue, wait->parked)) {
        return IPS_OK; /* a dead consumer's count made it look full */
    }
    if (deadline == IPS_AT_ONCE) {
        return IPS_ETIMEOUT;
    }
    if (!wait->spun) {
        wait->spun = true;
        if (spin_for_room(wait, deadline)) {
            return IPS_OK;
        }
    }
    if (!wait->armed) {
        wait->armed = true;
        wait->key = ips_eventcount_prepare(&shm->waits.not_full);
        return IPS_OK;
    }
    wait->armed = false;
    wait->parked = true;
    return ips_eventcount_wait(&shm->waits.not_full, wait->key, wait->queue->ring.space,
                               ips_lock_owner(&shm->consumers.lock), deadline);
}

/* Does the queue hold what, once taken, makes room in memory it has?  Then
 * tmpfs being full is no more than a smaller max_bytes. */
static bool
holds_any(const ips_queue *queue)
{
    const ips_queue_shm *shm = queue->ring.shm;
    /* relaxed, both: whoever waits on the strength of it looks again. */
    return atomic_load_explicit(&shm->consumers.head, memory_order_relaxed) !=
           atomic_load_explicit(&shm->producers.tail, memory_order_relaxed);
}

/* What to do after a put came to `status`: 0 to try again, or a status to end
 * with.  Waits for room where there is to be some. */
static int
after(room_wait *wait, int status, int64_t deadline)
{
    if (status == 0 || status == IPS_EAGAIN) {
        return IPS_OK;
    }
    bool waits = status == IPS_EFULL ||
                 (status == IPS_ENOSPACE && deadline != IPS_AT_ONCE && holds_any(wait->queue));
    return waits ? await_room(wait, deadline) : status;
}

/* --- large messages ------------------------------------------------------- */

static int
claim_large(ips_queue *queue, uint64_t size, int64_t deadline, ips_extents *out)
{
    ips_ring *ring = &queue->ring;
    ips_producers_shm *producers = &ring->shm->producers;
    int status = ips_queue_lock_producers(queue, deadline);
    if (status < 0) {
        return status;
    }
    /* relaxed: under the lock. */
    uint64_t tail = atomic_load_explicit(&producers->tail, memory_order_relaxed);
    uint64_t sequence = atomic_load_explicit(&producers->tail_sequence, memory_order_relaxed);
    status = admit(ring, sequence);
    if (status == 0) {
        status = ips_extents_claim(ring, tail, size, ips_space_self(ring->space), out);
    }
    leave(queue, 0);
    return status;
}

static int
publish_large_held(ips_ring *ring, const ips_extents *extents, uint8_t kind)
{
    ips_producers_shm *producers = &ring->shm->producers;
    ips_large_shm large;
    uint32_t size = ips_extents_describe(extents, &large);
    uint64_t need = ips_record_need(size);
    /* relaxed: under the lock. */
    uint64_t tail = atomic_load_explicit(&producers->tail, memory_order_relaxed);
    uint64_t sequence = atomic_load_explicit(&producers->tail_sequence, memory_order_relaxed);
    ips_spot spot;
    int status = admit(ring, sequence);
    if (status == 0) {
        status = ips_ring_reserve(ring, tail, need, true, &spot);
    }
    if (status == 0) {
        ips_record_fill(spot.at, ips_record_word(size, kind, IPS_RECORD_LARGE), sequence);
        memcpy(spot.at + sizeof(ips_record_shm), &large, size);
        ips_extents_place(ring, extents, spot.position);
        ips_ring_publish(ring, spot.position + need, sequence + 1);
        ips_extents_disown(ring, extents);
    }
    return status;
}

/* Publish what was filled, or give its units up. */
static int
publish_large(room_wait *wait, const ips_extents *extents, uint8_t kind, int64_t deadline)
{
    ips_queue *queue = wait->queue;
    int status;
    do {
        status = ips_queue_lock_producers(queue, deadline);
        if (status < 0) {
            break;
        }
        status = publish_large_held(&queue->ring, extents, kind);
        leave(queue, status == 0 ? 1 : 0);
        if (status != 0) {
            status = after(wait, status, deadline);
            status = status == 0 ? IPS_EAGAIN : status;
        }
    } while (status == IPS_EAGAIN);
    if (status < 0) {
        ips_extents_disown(&queue->ring, extents);
        atomic_thread_fence(memory_order_seq_cst); /* pairs with ips_eventcount_prepare */
        ips_eventcount_notify(&queue->ring.shm->waits.not_full, INT_MAX);
    }
    return status;
}

static int
put_large(room_wait *wait, const ips_message *message, int64_t deadline)
{
    ips_extents extents;
    int status = claim_large(wait->queue, message->size, deadline, &extents);
    if (status < 0) {
        return status;
    }
    const ips_piece whole = {message->bytes, message->size};
    bool in_pieces = message->pieces != NULL;
    ips_extents_fill(&wait->queue->ring, &extents, in_pieces ? message->pieces : &whole,
                     in_pieces ? message->piece_count : 1);
    return publish_large(wait, &extents, message->kind, deadline);
}

/* --- the blocking put ----------------------------------------------------- */

static int
put_once(room_wait *wait, const ips_message *messages, uint32_t count, int64_t deadline,
         uint32_t *done)
{
    ips_queue *queue = wait->queue;
    if (messages[*done].size > IPS_INLINE_MAX) {
        int status = put_large(wait, &messages[*done], deadline);
        *done += status == 0;
        return status;
    }
    int status = ips_queue_lock_producers(queue, deadline);
    if (status < 0) {
        return status;
    }
    uint32_t before = *done;
    status = put_held(&queue->ring, messages, count, true, done);
    leave(queue, *done - before);
    return status;
}

int
ips_queue_put(ips_queue *queue, const ips_message *messages, uint32_t count, int64_t deadline,
              uint32_t *done)
{
    room_wait wait = {.queue = queue};
    int status = IPS_OK;
    while (*done < count) {
        uint32_t before = *done;
        wait.head = head_of(queue);
        status = put_once(&wait, messages, count, deadline, done);
        if (*done != before) {
            wait.spun = wait.armed = wait.parked = false;
        }
        status = after(&wait, status, deadline);
        if (status < 0) {
            break;
        }
    }
    if (*done < count && wait.parked) { /* hand on a wake-up that may have been ours */
        ips_eventcount_notify(&queue->ring.shm->waits.not_full, 1);
    }
    return *done == count ? IPS_OK : status;
}
