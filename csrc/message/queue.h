/* SPDX-License-Identifier: Apache-2.0 */
/* A queue of messages between any number of producers and consumers.
 *
 * What a put returned from is there for the next get, whoever dies.  A killed
 * consumer loses at most the messages it was taking in that very call.
 *
 * Functions named try_ never wait, never call the system and never do what
 * takes long: they say IPS_EAGAIN instead, and may be called with the GIL.
 * The others may park and are called without it. */
#ifndef IPS_MESSAGE_QUEUE_H
#define IPS_MESSAGE_QUEUE_H

#include "message/extent.h"
#include "message/ring.h"

typedef struct {
    ips_ring ring;
    /* How long an empty consumer rests between looks at the tail; adapted to
     * what it finds (see ips_queue_await).  Hints of this process. */
    _Atomic uint32_t rest;
    _Atomic uint32_t waits;
} ips_queue;

typedef struct {
    uint64_t maxsize;     /* messages; 0: any number */
    uint64_t max_bytes;   /* of the file's area; 0: half of what tmpfs has free */
    uint64_t max_message; /* bytes of one message; 0: no limit of its own */
    bool cleanup_last;
} ips_queue_options;

typedef struct {
    const void *bytes;
    uint64_t size;
    uint8_t kind; /* the caller's; given back with the bytes */
    /* A large one may lie in pieces instead, `size` bytes together. */
    const ips_piece *pieces;
    uint32_t piece_count;
} ips_message;

/* Create or open.  Limits are the creator's. */
IPS_MUST_CHECK int ips_queue_open(ips_space *space, const char *name, ips_open_mode mode,
    const ips_queue_options *options, ips_queue *out);
/* From a ticket of ips_object_ticket(queue->ring.object). */
IPS_MUST_CHECK int ips_queue_redeem(ips_space *space, const char *ticket, ips_queue *out);
/* The named queue that had this identity when it was pickled, else IPS_EGONE. */
IPS_MUST_CHECK int ips_queue_reopen(ips_space *space, const char *name, const uint8_t identity[16],
    ips_queue *out);
const uint8_t *ips_queue_identity(const ips_queue *queue);
/* Give up this handle; nobody may be inside a call. */
void ips_queue_close(ips_queue *queue);

/* --- putting --- */

/* Put messages in order, `*done` first: raises *done as they go in.  0 when
 * all are in; else IPS_EFULL (nothing noted), IPS_EAGAIN, IPS_ESHUTDOWN, ... */
IPS_MUST_CHECK int ips_queue_try_put(ips_queue *queue, const ips_message *messages, uint32_t count,
    uint32_t *done);
/* The same, waiting for room until `deadline` (IPS_ETIMEOUT, IPS_EINTR).  Where
 * tmpfs is full it waits for room in the memory it has, as long as something
 * is in the queue; else, and with IPS_AT_ONCE, it says IPS_ENOSPACE. */
IPS_MUST_CHECK int ips_queue_put(ips_queue *queue, const ips_message *messages, uint32_t count,
    int64_t deadline, uint32_t *done);
/* Can a message of `size` bytes ever be put?  0 or IPS_ETOOBIG. */
IPS_MUST_CHECK int ips_queue_admits(const ips_queue *queue, uint64_t size);

/* --- getting: look, prepare memory, take --- */

typedef struct {
    uint64_t head;     /* where the head was, to be found there again */
    uint64_t tail;     /* a tail it lay below */
    uint64_t size;     /* of the message */
    ips_record record;
    bool large;
} ips_look;

/* Look at the first message without taking it.  0, IPS_EEMPTY, IPS_ESHUTDOWN
 * (empty, and nothing comes), or IPS_EAGAIN: look with the lock, because
 * others took it under our eyes, or because it is a large one. */
IPS_MUST_CHECK int ips_queue_look(ips_queue *queue, ips_look *out);
/* The same with the consumers' lock for a moment: never IPS_EAGAIN. */
IPS_MUST_CHECK int ips_queue_look_locked(ips_queue *queue, int64_t deadline, ips_look *out);
/* One message that is not large, on its way. */
typedef struct {
    const uint8_t *from; /* the look's record.payload; true if a take of it succeeds later */
    void *to;            /* where the bytes are to go; the caller's to say */
    uint64_t next;       /* position behind it */
    uint32_t size;
    uint8_t kind;
} ips_copy;

/* Messages from `first` on, as far as they are published, not large and of
 * kinds up to `kind_most`: at most `most` and, but for the first, no more than
 * `bytes` bytes.  How many; none if the first one is not such a message.
 * *last is good for a take. */
uint32_t ips_queue_look_run(ips_queue *queue, const ips_look *first, uint32_t most,
    uint64_t bytes, uint8_t kind_most, ips_copy *copies, ips_look *last);

/* Let `last` be the look of the last of the first `count`. */
static inline void
ips_look_cut(const ips_look *first, const ips_copy *copies, uint32_t count, ips_look *last)
{
    last->record.next = copies[count - 1].next;
    last->record.sequence = first->record.sequence + count - 1;
}

/* Copies, and the taking of all messages from `first` to `last`; all or
 * nothing, and only if the head is still where `first` saw it. */
typedef struct {
    const ips_look *first;
    const ips_look *last;
    const ips_copy *copies;
    uint32_t count;
    bool keep; /* copy only: the messages stay */
} ips_take;

/* 0; IPS_EMISMATCH (nothing noted) where others took some; IPS_EAGAIN. */
IPS_MUST_CHECK int ips_queue_try_take(ips_queue *queue, const ips_take *take);
IPS_MUST_CHECK int ips_queue_take(ips_queue *queue, const ips_take *take, int64_t deadline);
/* Take a large message and copy it into rooms of its size together;
 * IPS_EMISMATCH as above. */
IPS_MUST_CHECK int ips_queue_take_large(ips_queue *queue, const ips_look *look,
    const ips_room *rooms, uint32_t count, int64_t deadline);
/* Copy the first bytes of a large message, no more than a few thousand, and
 * let it stay; IPS_EMISMATCH as above. */
IPS_MUST_CHECK int ips_queue_peek_large(ips_queue *queue, const ips_look *look, ips_room room,
    int64_t deadline);

/* Wait until there is something to look at, or the queue was shut down: 0,
 * IPS_ETIMEOUT or IPS_EINTR. */
IPS_MUST_CHECK int ips_queue_await(ips_queue *queue, int64_t deadline);
/* Look again for a microsecond, which is no longer than dropping the GIL takes
 * where others want it; not where messages come in a stream. */
bool ips_queue_glance(ips_queue *queue);
/* The two halves of it: spin (true if there is something), and park. */
bool ips_queue_spin(ips_queue *queue, int64_t deadline);
IPS_MUST_CHECK int ips_queue_park(ips_queue *queue, int64_t deadline);

/* --- the rest --- */

/* Mend what holders of the two locks left at their death; true if any had.
 * `thorough` as in ips_member_lives. */
bool ips_queue_heal(ips_queue *queue, bool thorough);

/* Take a lock and mend what its dead holder left; with IPS_AT_ONCE, wait for
 * a living one a moment all the same. */
IPS_MUST_CHECK int ips_queue_lock_producers(ips_queue *queue, int64_t deadline);
IPS_MUST_CHECK int ips_queue_lock_consumers(ips_queue *queue, int64_t deadline);

uint64_t ips_queue_size(ips_queue *queue); /* messages in it */
/* Messages got so far: a hint whether anybody takes any.  relaxed: as such. */
static inline uint64_t
ips_queue_taken(const ips_queue *queue)
{
    return atomic_load_explicit(&queue->ring.shm->consumers.head_sequence, memory_order_relaxed);
}

/* Messages put and not yet declared done: a count for people.  relaxed: such. */
static inline uint64_t
ips_queue_unfinished(const ips_queue *queue)
{
    const ips_queue_shm *shm = queue->ring.shm;
    uint64_t done = atomic_load_explicit(&shm->done, memory_order_relaxed);
    uint64_t put = atomic_load_explicit(&shm->producers.tail_sequence, memory_order_relaxed);
    return put > done ? put - done : 0;
}

static inline bool
ips_queue_is_shut_down(const ips_queue *queue)
{
    /* acquire: pairs with the store in ips_queue_shut_down. */
    return atomic_load_explicit(&queue->ring.shm->waits.shutdown, memory_order_acquire) !=
           IPS_SHUTDOWN_NO;
}

/* Would the smallest message have to wait? */
IPS_MUST_CHECK int ips_queue_is_full(ips_queue *queue, int64_t deadline, bool *full);
/* One message more is done; IPS_EMISMATCH where all were already. */
IPS_MUST_CHECK int ips_queue_task_done(ips_queue *queue);
/* Wait until all messages put so far and meanwhile are done. */
IPS_MUST_CHECK int ips_queue_join(ips_queue *queue, int64_t deadline);
/* No more puts; gets until it is empty, or none (`immediately`: what is there
 * is dropped and counts as done).  IPS_EAGAIN by `deadline`: drop again. */
IPS_MUST_CHECK int ips_queue_shut_down(ips_queue *queue, bool immediately, int64_t deadline);

/* Invariants, one report for each that does not hold; IPS_ECORRUPT if any, or
 * IPS_ETIMEOUT where a lock was not to be had. */
IPS_MUST_CHECK int ips_queue_check(ips_queue *queue, int64_t deadline,
    void (*report)(const char *line, void *context), void *context);

#endif
