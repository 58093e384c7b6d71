/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for a lock word, and the one door for its owner's death.  The
 * word's states are drawn in sync/lock.h. */
#include "sync/lock.h"

#include "base/atomics.h"
#include "member/postbox.h"
#include "member/waits.h"
#include "os/clock.h"
#include "os/futex.h"

/* A bell gives speed, the bound gives liveness: every park ends by itself. */
#define SHORTEST_BOUND_NS INT64_C(10000000)
#define LONGEST_BOUND_NS INT64_C(100000000)
/* Once the bell rang, the kernel is on its way to drop the byte lock: ask
 * again soon, but never spin (two spinning probers kept a niced victim alive
 * for half a second). */
#define FIRST_PROBE_NS INT64_C(50000)
/* Most holders leave within a microsecond or two. */
#define LONGEST_SPIN_NS INT64_C(10000)
#define PAUSES_A_LOOK 16

static const _Atomic uint32_t *
futex_of(const ips_lock_shm *lock)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return (const _Atomic uint32_t *)&lock->word;
#else
    return (const _Atomic uint32_t *)&lock->word + 1;
#endif
}

/* Two: one takes the lock and keeps the bit, the other parks again, now
 * watching the present owner.  With one, nobody hears the next owner's death
 * before the bound.  Event loops look themselves, and set ASYNC anew where
 * they come too late. */
void
ips_lock_wake(ips_lock_shm *lock, uint64_t left)
{
    if ((left & IPS_LOCK_WAITERS) != 0) {
        (void)ips_futex_wake(futex_of(lock), 2);
    }
    if ((left & IPS_LOCK_ASYNC) != 0) {
        ips_postbox_ring();
    }
}

/* The door: `seen` names an owner proven dead; become its heir. */
static bool
take_over(ips_lock_shm *lock, uint64_t seen, uint64_t heir)
{
    /* acquire: pairs with whatever swap put `seen` there; the dead one's own
     * stores are fenced by the proof, in member/proof.c. */
    if (!atomic_compare_exchange_strong_explicit(
            &lock->word, &seen, heir | IPS_LOCK_ABANDONED | (seen & IPS_LOCK_WANTED),
            memory_order_acquire, memory_order_relaxed)) {
        return false;
    }
    if ((seen & IPS_LOCK_WAITERS) != 0) {
        (void)ips_futex_wake(futex_of(lock), 1); /* somebody must watch the heir */
    }
    return true;
}

typedef struct {
    ips_lock_shm *lock;
    ips_space *space;
    ips_owner me;
    int64_t deadline;
    int64_t bound;      /* of the next park */
    int64_t probe_nap;  /* of the next park while a bell rang unproven */
    bool parked;        /* we may have taken a wake-up, and others may sleep */
    bool thorough;      /* ask for proof although no bell rang */
    ips_bell heard;     /* rang during a park, and no death is proven yet */
    ips_owner heard_of;
} waiter;

/* 0, IPS_ABANDONED, or IPS_EAGAIN with the word in *seen. */
static int
try_all(waiter *w, uint64_t *seen)
{
    uint64_t mine = w->me | (w->parked ? IPS_LOCK_WAITERS : 0);
    /* relaxed: the swaps below decide. */
    uint64_t word = atomic_load_explicit(&w->lock->word, memory_order_relaxed);
    while ((word & ~IPS_OWNER_FLAGS) == IPS_NOBODY) {
        /* acquire: pairs with the release in ips_lock_leave. */
        if (atomic_compare_exchange_weak_explicit(&w->lock->word, &word,
                                                  mine | (word & IPS_LOCK_WANTED),
                                                  memory_order_acquire, memory_order_relaxed)) {
            return IPS_OK;
        }
    }
    *seen = word;
    if (!ips_member_lives(w->space, word & ~IPS_OWNER_FLAGS, w->thorough) &&
        take_over(w->lock, word, mine)) {
        return IPS_ABANDONED;
    }
    return IPS_EAGAIN;
}

static bool
spin(waiter *w)
{
    int64_t budget = ips_spin_budget();
    budget = budget < LONGEST_SPIN_NS ? budget : LONGEST_SPIN_NS;
    if (budget == 0) {
        return false;
    }
    int64_t until = ips_now() + budget;
    do {
        for (int i = 0; i < PAUSES_A_LOOK; i++) {
            ips_pause();
        }
        /* relaxed: a look before the swap. */
        if (atomic_load_explicit(&w->lock->word, memory_order_relaxed) == 0 &&
            ips_lock_try(w->lock, w->me)) {
            return true;
        }
    } while (ips_now() < until);
    return false;
}

static int64_t
next_nap(waiter *w, bool unproven)
{
    int64_t *nap = unproven ? &w->probe_nap : &w->bound;
    int64_t now = *nap;
    *nap = now * 2 < LONGEST_BOUND_NS ? now * 2 : LONGEST_BOUND_NS;
    return now;
}

/* Park on the word `seen` (with the waiters bit) and on its owner's bell. */
static int
park(waiter *w, uint64_t seen)
{
    ips_owner owner = seen & ~IPS_OWNER_FLAGS;
    ips_bell bell = {NULL, 0};
    if (owner != w->me) {
        bell = ips_member_bell(w->space, owner);
    }
    bool unproven = bell.word == NULL && ips_member_rang(w->space, owner);
    int64_t until = ips_now() + next_nap(w, unproven);
    until = until < w->deadline ? until : w->deadline;
    ips_waiting_park(w->space, owner);
    w->parked = true;
    int status = bell.word == NULL
                     ? ips_futex_wait(futex_of(w->lock), (uint32_t)seen, until)
                     : ips_futex_wait_two(futex_of(w->lock), (uint32_t)seen, bell.word,
                                          bell.expected, until);
    if (ips_bell_has_rung(bell)) {
        w->heard = bell;
        w->heard_of = owner;
    }
    w->thorough = status == IPS_ETIMEOUT;
    return status == IPS_ETIMEOUT ? IPS_OK : status;
}

/* From now on `owner` is whom we wait for.  Where another's bell was heard,
 * somebody else must go after that. */
static void
hand_on_bell(waiter *w, ips_owner owner)
{
    if (w->heard.word != NULL && w->heard_of != owner) {
        (void)ips_futex_wake(w->heard.word, 1);
        w->heard.word = NULL;
    }
}

/* Leaving without the lock: hand on the wake-up that may have been ours. */
static int
leave_without(waiter *w, int status)
{
    hand_on_bell(w, IPS_NOBODY);
    if (w->parked) {
        (void)ips_futex_wake(futex_of(w->lock), 1);
    }
    return status;
}

static int
wait_for(waiter *w)
{
    for (;;) {
        uint64_t seen;
        int status = try_all(w, &seen);
        hand_on_bell(w, status == IPS_OK ? IPS_NOBODY : seen & ~IPS_OWNER_FLAGS);
        if (status != IPS_EAGAIN) {
            return status;
        }
        if (ips_now() >= w->deadline) {
            return leave_without(w, IPS_ETIMEOUT);
        }
        /* relaxed: the kernel compares again under its own lock; pairs with
         * the exchange in ips_lock_leave. */
        if ((seen & IPS_LOCK_WAITERS) == 0 &&
            !atomic_compare_exchange_strong_explicit(&w->lock->word, &seen,
                                                     seen | IPS_LOCK_WAITERS,
                                                     memory_order_relaxed,
                                                     memory_order_relaxed)) {
            continue;
        }
        status = park(w, seen | IPS_LOCK_WAITERS);
        if (status < 0) {
            return leave_without(w, status);
        }
    }
}

static int
start_waiter(ips_lock_shm *lock, ips_space *space, int64_t deadline, waiter *w)
{
    *w = (waiter){
        .lock = lock,
        .space = space,
        .me = ips_space_self(space),
        .deadline = deadline,
        .bound = SHORTEST_BOUND_NS,
        .probe_nap = FIRST_PROBE_NS,
    };
    return w->me == IPS_NOBODY ? ips_last_note()->status : IPS_OK;
}

int
ips_lock_acquire(ips_lock_shm *lock, ips_space *space, int64_t deadline)
{
    waiter w;
    int status = start_waiter(lock, space, deadline, &w);
    if (status < 0) {
        return status;
    }
    if (ips_lock_try(lock, w.me) || (deadline != IPS_AT_ONCE && spin(&w))) {
        return IPS_OK;
    }
    ips_space_tend(space);
    return wait_for(&w);
}

int
ips_lock_try_or_take_over(ips_lock_shm *lock, ips_space *space)
{
    waiter w;
    int status = start_waiter(lock, space, IPS_AT_ONCE, &w);
    if (status < 0) {
        return status;
    }
    if (ips_lock_try(lock, w.me)) {
        return IPS_OK;
    }
    uint64_t seen;
    w.thorough = true;
    return try_all(&w, &seen);
}

bool
ips_lock_arm(ips_lock_shm *lock, ips_space *space, bool thorough)
{
    ips_postbox_want(space);
    /* relaxed: after the fence in ips_postbox_want, which pairs with the one
     * in ips_postbox_ring: an ASYNC found here is told to us too. */
    uint64_t word = atomic_load_explicit(&lock->word, memory_order_relaxed);
    do {
        if ((word & ~IPS_OWNER_FLAGS) == IPS_NOBODY) {
            return true;
        }
        /* seq_cst: our bit in the table comes first; pairs with the exchange
         * in ips_lock_leave. */
    } while ((word & IPS_LOCK_ASYNC) == 0 &&
             !atomic_compare_exchange_weak_explicit(&lock->word, &word, word | IPS_LOCK_ASYNC,
                                                    memory_order_seq_cst, memory_order_relaxed));
    return !ips_member_lives(space, word & ~IPS_OWNER_FLAGS, thorough);
}
