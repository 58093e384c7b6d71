/* SPDX-License-Identifier: Apache-2.0 */
/* Getting: look at the first message without a lock, prepare memory for it,
 * then take the lock, copy and move the head, if it is still where the look
 * saw it.  A run's bytes may be copied before the lock as well.
 *
 * The head only grows, and what lies at or above it is never overwritten: so
 * an unmoved head makes a look true, and a look that was wrong is found out.
 * Memory is there and failures are known before the head moves. */
#include <limits.h>

#include "message/queue.h"
#include "os/clock.h"

/* Bytes beyond the record at hand that a run asks for in advance: they come
 * from another CPU's cache, which takes as long as dozens of messages do here. */
#define READ_AHEAD 4096u

/* Looks that others may spoil before the caller is told. */
#define LOOK_ATTEMPTS 4

static uint32_t
shutdown_of(const ips_queue *queue)
{
    /* acquire: pairs with the release in ips_queue_shut_down. */
    return atomic_load_explicit(&queue->ring.shm->waits.shutdown, memory_order_acquire);
}

static int
nothing_there(const ips_queue *queue)
{
    return shutdown_of(queue) == IPS_SHUTDOWN_NO
               ? IPS_EEMPTY
               : ips_fail(IPS_ESHUTDOWN, "queue '%s'", ips_ring_name(&queue->ring));
}

/* Where head and tail are, as far as they matter: 0 if something lies there. */
static int
find_ends(ips_queue *queue, ips_look *out)
{
    ips_queue_shm *shm = queue->ring.shm;
    /* acquire: a tail looked at later is no smaller; pairs with the release in
     * move_head. */
    out->head = atomic_load_explicit(&shm->consumers.head, memory_order_acquire);
    /* acquire: whoever stored it had seen that tail; pairs with the release in
     * move_head. */
    out->tail = atomic_load_explicit(&shm->consumers.tail_seen, memory_order_acquire);
    if (out->tail <= out->head) {
        /* acquire: the records below it; pairs with ips_ring_publish. */
        out->tail = atomic_load_explicit(&shm->producers.tail, memory_order_acquire);
    }
    bool any = out->tail != out->head && shutdown_of(queue) != IPS_SHUTDOWN_ALL;
    return any ? IPS_OK : nothing_there(queue);
}

int
ips_queue_look(ips_queue *queue, ips_look *out)
{
    out->large = false;
    for (int attempt = 0; attempt < LOOK_ATTEMPTS; attempt++) {
        int status = find_ends(queue, out);
        if (status < 0) {
            return status;
        }
        status = ips_ring_read(&queue->ring, out->head, out->tail, &out->record);
        out->size = out->record.size;
        if (status == 0) {
            return (out->record.flags & IPS_RECORD_LARGE) == 0 ? IPS_OK : IPS_EAGAIN;
        }
        /* acquire: the loads above come before; pairs with the release in
         * move_head.  Damaged only if the head is where it was. */
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&queue->ring.shm->consumers.head, memory_order_relaxed) ==
            out->head) {
            return status;
        }
    }
    return IPS_EAGAIN;
}

int
ips_queue_look_locked(ips_queue *queue, int64_t deadline, ips_look *out)
{
    int status = ips_queue_lock_consumers(queue, deadline);
    if (status < 0) {
        return status;
    }
    status = find_ends(queue, out);
    if (status == 0) {
        status = ips_ring_read(&queue->ring, out->head, out->tail, &out->record);
        out->size = out->record.size;
        out->large = status == 0 && (out->record.flags & IPS_RECORD_LARGE) != 0;
    }
    if (status == 0 && out->large) {
        ips_extents extents = {.size = 0};
        status = ips_extents_find(&queue->ring, &out->record, &extents);
        out->size = extents.size;
    }
    (void)ips_lock_leave(&queue->ring.shm->consumers.lock);
    return status;
}

/* Of what a run may still hold. */
typedef struct {
    uint32_t count;
    uint64_t bytes;
    uint8_t kind_most;
} run_limits;

/* The records behind `record` in the same block that need no second thought;
 * how many.  A look without the lock, as ips_ring_read. */
__attribute__((no_sanitize("thread"))) static inline uint32_t
look_within_block(uint64_t tail, run_limits *limits, ips_record *record, ips_copy *copies)
{
    uint64_t offset = record->next % IPS_BLOCK;
    if (offset == 0 || record->next >= tail) {
        return 0;
    }
    uint64_t left = tail - record->next < IPS_BLOCK - offset ? tail - record->next
                                                             : IPS_BLOCK - offset;
    const uint8_t *at = record->payload + (record->next - record->position) -
                        sizeof(ips_record_shm);
    uint64_t next = record->next, bytes = limits->bytes;
    ips_copy *copy = copies;
    const ips_copy *end = copies + limits->count;
    for (; copy < end && left != 0; copy++) {
        /* relaxed: ordered by the tail; see ips_record_fill. */
        uint64_t word = atomic_load_explicit(&((const ips_record_shm *)at)->word,
                                             memory_order_relaxed);
        uint64_t need = ips_record_need((uint32_t)word);
        if (word >> 32 > limits->kind_most || need > left || (uint32_t)word > bytes) {
            break; /* another kind, or with flags or a priority; the last of the room */
        }
        if (left > READ_AHEAD) { /* else a producer may be writing there */
            __builtin_prefetch(at + READ_AHEAD);
        }
        next += need;
        left -= need;
        bytes -= (uint32_t)word;
        copy->from = at + sizeof(ips_record_shm);
        copy->next = next;
        copy->size = (uint32_t)word;
        copy->kind = (uint8_t)(word >> 32);
        at += need;
    }
    uint32_t count = (uint32_t)(copy - copies);
    if (count != 0) { /* `record` is the last of them, as far as it matters */
        record->payload = copies[count - 1].from;
        record->position = next - ips_record_need(copies[count - 1].size);
        record->next = next;
    }
    limits->count -= count;
    limits->bytes = bytes;
    return count;
}

/* The first record beyond a block, or beyond the tail as it was known. */
static bool
step_further(ips_queue *queue, ips_look *look)
{
    ips_record next;
    if (look->record.next >= look->tail) {
        /* acquire: pairs with ips_ring_publish. */
        look->tail = atomic_load_explicit(&queue->ring.shm->producers.tail, memory_order_acquire);
    }
    if (look->record.next >= look->tail ||
        ips_ring_read(&queue->ring, look->record.next, look->tail, &next) < 0 ||
        (next.flags & IPS_RECORD_LARGE) != 0) {
        return false; /* whatever it is, it will be the first one some time */
    }
    look->record = next;
    return true;
}

uint32_t
ips_queue_look_run(ips_queue *queue, const ips_look *first, uint32_t most, uint64_t bytes,
                   uint8_t kind_most, ips_copy *copies, ips_look *last)
{
    ips_look look = *first;
    ips_record *record = &look.record;
    run_limits limits = {most, bytes, kind_most};
    uint32_t count = 0;
    if (look.large || record->kind > kind_most) {
        return 0;
    }
    do {
        copies[count++] = (ips_copy){.from = record->payload, .next = record->next,
                                     .size = record->size, .kind = record->kind};
        limits.count--;
        limits.bytes -= record->size < limits.bytes ? record->size : limits.bytes;
        count += look_within_block(look.tail, &limits, record, copies + count);
    } while (limits.count != 0 && step_further(queue, &look) && record->kind <= kind_most &&
             record->size <= limits.bytes);
    *last = *first;
    last->tail = look.tail;
    ips_look_cut(first, copies, count, last);
    return count;
}

/* --- taking --------------------------------------------------------------- */

/* The commit: all up to `last` is taken.  Call with the lock. */
static inline void
move_head(ips_consumers_shm *consumers, const ips_look *last)
{
    /* relaxed: under the lock. */
    if (atomic_load_explicit(&consumers->tail_seen, memory_order_relaxed) < last->tail) {
        /* release: pairs with the acquire in find_ends. */
        atomic_store_explicit(&consumers->tail_seen, last->tail, memory_order_release);
    }
    /* release: our copying comes before producers overwrite; pairs with the
     * acquire loads of the head in message/ring.c and message/units.c. */
    atomic_store_explicit(&consumers->head, last->record.next, memory_order_release);
    /* release: pairs with the acquire in ips_queue_size. */
    atomic_store_explicit(&consumers->head_sequence, last->record.sequence + 1,
                          memory_order_release);
}

static inline void
leave(ips_queue *queue, const ips_look *first, const ips_look *last)
{
    ips_queue_shm *shm = queue->ring.shm;
    (void)ips_lock_leave(&shm->consumers.lock);
    ips_fence_after_rmw(); /* pairs with the fence in ips_eventcount_prepare */
    if (first->head / IPS_BLOCK != last->record.next / IPS_BLOCK) {
        /* Room of a block's size: some wait for a little of it, some for more
         * than that, so let all of them look. */
        ips_eventcount_notify(&shm->waits.not_full, INT_MAX);
    } else if (queue->ring.maxsize != 0) {
        uint64_t taken = last->record.sequence - first->record.sequence + 1;
        ips_eventcount_notify(&shm->waits.not_full, taken < INT_MAX ? (int)taken : INT_MAX);
    }
}

static int
take_held(ips_queue *queue, const ips_take *take)
{
    ips_consumers_shm *consumers = &queue->ring.shm->consumers;
    /* acquire: what the caller copied from a look comes before we look at the
     * head; pairs with the release in move_head. */
    atomic_thread_fence(memory_order_acquire);
    /* relaxed: under the lock. */
    if (atomic_load_explicit(&consumers->head, memory_order_relaxed) != take->first->head) {
        (void)ips_lock_leave(&consumers->lock);
        return IPS_EMISMATCH;
    }
    for (uint32_t i = 0; i < take->count; i++) {
        ips_payload_copy(take->copies[i].to, take->copies[i].from, take->copies[i].size);
    }
    if (take->keep) {
        (void)ips_lock_leave(&consumers->lock);
        return IPS_OK;
    }
    move_head(consumers, take->last);
    leave(queue, take->first, take->last);
    return IPS_OK;
}

int
ips_queue_try_take(ips_queue *queue, const ips_take *take)
{
    ips_owner me = ips_space_self(queue->ring.space);
    if (me == IPS_NOBODY || !ips_lock_try(&queue->ring.shm->consumers.lock, me)) {
        return IPS_EAGAIN;
    }
    return take_held(queue, take);
}

int
ips_queue_take(ips_queue *queue, const ips_take *take, int64_t deadline)
{
    int status = ips_queue_lock_consumers(queue, deadline);
    return status < 0 ? status : take_held(queue, take);
}

/* Lock, and find the large message that was looked at; locked only if 0. */
static int
find_large(ips_queue *queue, const ips_look *look, int64_t deadline, ips_extents *extents)
{
    ips_queue_shm *shm = queue->ring.shm;
    int status = ips_queue_lock_consumers(queue, deadline);
    if (status < 0) {
        return status;
    }
    /* relaxed: under the lock. */
    if (atomic_load_explicit(&shm->consumers.head, memory_order_relaxed) != look->head) {
        status = IPS_EMISMATCH;
    } else {
        status = ips_extents_find(&queue->ring, &look->record, extents);
    }
    if (status == 0 && extents->size != look->size) {
        status = IPS_EMISMATCH; /* damaged bytes; the next look will tell */
    }
    if (status < 0) {
        (void)ips_lock_leave(&shm->consumers.lock);
    }
    return status;
}

int
ips_queue_peek_large(ips_queue *queue, const ips_look *look, ips_room room, int64_t deadline)
{
    ips_extents extents;
    int status = find_large(queue, look, deadline, &extents);
    if (status == 0) {
        ips_extents_copy(&queue->ring, &extents, &room, 1);
        (void)ips_lock_leave(&queue->ring.shm->consumers.lock);
    }
    return status;
}

int
ips_queue_take_large(ips_queue *queue, const ips_look *look, const ips_room *rooms, uint32_t count,
                     int64_t deadline)
{
    ips_queue_shm *shm = queue->ring.shm;
    ips_extents extents;
    int status = find_large(queue, look, deadline, &extents);
    if (status < 0) {
        return status;
    }
    ips_extents_adopt(&queue->ring, &extents, ips_space_self(queue->ring.space));
    move_head(&shm->consumers, look);
    leave(queue, look, look);
    ips_extents_copy(&queue->ring, &extents, rooms, count);
    ips_extents_let_go(&queue->ring, &extents);
    atomic_thread_fence(memory_order_seq_cst); /* pairs with ips_eventcount_prepare */
    ips_eventcount_notify(&shm->waits.not_full, INT_MAX);
    return status;
}

/* --- waiting -------------------------------------------------------------- */

static bool
has_news(const ips_queue *queue)
{
    const ips_queue_shm *shm = queue->ring.shm;
    /* relaxed: hints; whoever goes on looks again. */
    return atomic_load_explicit(&shm->producers.tail, memory_order_relaxed) !=
               atomic_load_explicit(&shm->consumers.head, memory_order_relaxed) ||
           atomic_load_explicit(&shm->waits.shutdown, memory_order_relaxed) != IPS_SHUTDOWN_NO;
}

/* A consumer that polls the tail without rest takes its line from a producer
 * at every store: the right rest depends on the other side.  A stream is best
 * let run ahead (LONG_REST: 1.3 us).  An answer that we wait for is best looked
 * for more often (SHORT_REST: round trips of 0.85 us with 8 to 15 pauses, of
 * 1.1 us with 1 or 2, of 1.0 us with 20).  So every PROBE_EVERY-th wait rests
 * long, and a stream shows itself by how much then lies there. */
#define SHORT_REST 10u
#define LONG_REST 50u
#define PROBE_EVERY 32u
#define STREAM_BYTES 256u
#define GLANCES 4u /* looks between two at the clock: about a microsecond */

static void
rest_for(uint32_t pauses)
{
    for (uint32_t i = 0; i < pauses; i++) {
        ips_pause();
    }
}

static void
learn(ips_queue *queue)
{
    const ips_queue_shm *shm = queue->ring.shm;
    /* relaxed: hints. */
    uint64_t waiting = atomic_load_explicit(&shm->producers.tail, memory_order_relaxed) -
                       atomic_load_explicit(&shm->consumers.head, memory_order_relaxed);
    atomic_store_explicit(&queue->rest, waiting >= STREAM_BYTES ? LONG_REST : SHORT_REST,
                          memory_order_relaxed);
}

/* Is the next wait to rest long?  relaxed, here and below: hints of this
 * process, which any of its threads may overwrite. */
static bool
probes(const ips_queue *queue)
{
    return atomic_load_explicit(&queue->rest, memory_order_relaxed) == LONG_REST ||
           atomic_load_explicit(&queue->waits, memory_order_relaxed) % PROBE_EVERY == 0;
}

static void
count_wait(ips_queue *queue)
{
    /* relaxed: as above. */
    uint32_t waits = atomic_load_explicit(&queue->waits, memory_order_relaxed);
    atomic_store_explicit(&queue->waits, waits + 1, memory_order_relaxed);
}

/* Look a few times; true if there is something. */
static bool
look_on(const ips_queue *queue, uint32_t rest, uint32_t looks)
{
    for (uint32_t i = 0; i < looks; i++) {
        rest_for(rest);
        if (has_news(queue)) {
            return true;
        }
    }
    return false;
}

bool
ips_queue_glance(ips_queue *queue)
{
    if (probes(queue) || ips_spin_budget() == 0 || !look_on(queue, SHORT_REST, GLANCES)) {
        return false;
    }
    count_wait(queue);
    return true;
}

bool
ips_queue_spin(ips_queue *queue, int64_t deadline)
{
    int64_t budget = ips_spin_budget();
    if (has_news(queue) || deadline == IPS_AT_ONCE || budget == 0) {
        return has_news(queue);
    }
    bool probing = probes(queue);
    count_wait(queue);
    int64_t now = ips_now();
    int64_t until = deadline - now < budget ? deadline : now + budget;
    do {
        if (probing ? look_on(queue, LONG_REST, 1) : look_on(queue, SHORT_REST, GLANCES)) {
            if (probing) {
                learn(queue);
            }
            return true;
        }
    } while (ips_now() < until);
    return false;
}

int
ips_queue_park(ips_queue *queue, int64_t deadline)
{
    ips_eventcount_shm *event = &queue->ring.shm->waits.not_empty;
    for (;;) {
        uint32_t key = ips_eventcount_prepare(event);
        if (has_news(queue)) {
            return IPS_OK;
        }
        int status = ips_eventcount_wait(event, key, queue->ring.space, IPS_NOBODY, deadline);
        if (status < 0) {
            /* Hand on a wake-up that may have been ours. */
            ips_eventcount_notify(event, 1);
            return status;
        }
        if (has_news(queue)) {
            return IPS_OK;
        }
    }
}

int
ips_queue_await(ips_queue *queue, int64_t deadline)
{
    return ips_queue_spin(queue, deadline) ? IPS_OK : ips_queue_park(queue, deadline);
}
