/* SPDX-License-Identifier: Apache-2.0 */
/* A lock that its holder may take again: threading.RLock.
 *
 *   0   lock     8  the lock word of sync/lock.h: which member holds it
 *   8   thread   8  which thread (or task) of the member: any number that no
 *                   other one of its process has meanwhile; with the lock word
 *                   an ips_traced_lock_shm
 *   16  holder   8  the member again, once `thread` and `count` are its own; 0
 *                   while the lock is free or in passing
 *   24  count    8  how often it was taken, from 1
 *
 * Who writes: `lock` anyone, as in sync/lock.h; the rest only the member that
 * holds the lock.  Taking: the lock word, then count and thread, then holder
 * with release.  Leaving: holder 0, then the lock word.  So whoever reads its
 * own member in `holder` reads a thread stored after that, and no thread takes
 * another's lock for its own, whatever a dead one has left behind.
 *
 * Death: the lock word goes on naming the dead; the next one takes it over,
 * ABANDONED, and stores its own holder, thread and count: recursion begins
 * anew.  A forked child is another member, and so not the holder. */
#ifndef IPS_SYNC_RLOCK_H
#define IPS_SYNC_RLOCK_H

#include <stddef.h>

#include "sync/lock.h"

typedef struct {
    ips_lock_shm lock;
    _Atomic uint64_t thread;
    _Atomic uint64_t holder;
    _Atomic uint64_t count;
} ips_rlock_shm;

_Static_assert(sizeof(ips_rlock_shm) == 32, "byte map above");
_Static_assert(offsetof(ips_rlock_shm, thread) == offsetof(ips_traced_lock_shm, thread),
               "whoever reads a traced lock reads an rlock");
_Static_assert(offsetof(ips_rlock_shm, holder) == 16, "byte map above");
_Static_assert(offsetof(ips_rlock_shm, count) == 24, "byte map above");

/* Does `thread` of member `me` hold it? */
static inline bool
ips_rlock_is_mine(const ips_rlock_shm *rlock, ips_owner me, uint64_t thread)
{
    /* acquire: thread is as new as holder; pairs with ips_rlock_settle. */
    return atomic_load_explicit(&rlock->holder, memory_order_acquire) == me &&
           atomic_load_explicit(&rlock->thread, memory_order_relaxed) == thread;
}

/* How often its holder has taken it.  relaxed: exact for the holder alone. */
static inline uint64_t
ips_rlock_count(const ips_rlock_shm *rlock)
{
    return atomic_load_explicit(&rlock->count, memory_order_relaxed);
}

/* `me` has just taken the lock word for `thread`, `count` times. */
static inline void
ips_rlock_settle(ips_rlock_shm *rlock, ips_owner me, uint64_t thread, uint64_t count)
{
    /* relaxed, both: published by the next store. */
    atomic_store_explicit(&rlock->count, count, memory_order_relaxed);
    atomic_store_explicit(&rlock->thread, thread, memory_order_relaxed);
    /* release: pairs with the acquire in ips_rlock_is_mine. */
    atomic_store_explicit(&rlock->holder, me, memory_order_release);
}

/* At once and without a system call: true if taken, for the first time or
 * again.  False: held by another, or (never in practice) 2^63 times by us. */
static inline bool
ips_rlock_try(ips_rlock_shm *rlock, ips_owner me, uint64_t thread)
{
    if (ips_rlock_is_mine(rlock, me, thread)) {
        uint64_t count = ips_rlock_count(rlock);
        /* relaxed: only the holder, which is the caller, reads or writes it. */
        atomic_store_explicit(&rlock->count, count + 1, memory_order_relaxed);
        return true;
    }
    if (!ips_lock_try(&rlock->lock, me)) {
        return false;
    }
    ips_rlock_settle(rlock, me, thread, 1);
    return true;
}

/* The holder gives up all its takings at once; a waiter is woken. */
static inline void
ips_rlock_leave(ips_rlock_shm *rlock)
{
    /* release: before the lock word says free; pairs with ips_rlock_is_mine. */
    atomic_store_explicit(&rlock->holder, IPS_NOBODY, memory_order_release);
    (void)ips_lock_leave(&rlock->lock);
}

/* The holder gives up one taking. */
static inline void
ips_rlock_release(ips_rlock_shm *rlock)
{
    uint64_t count = ips_rlock_count(rlock);
    if (count > 1) {
        /* relaxed: as in ips_rlock_try. */
        atomic_store_explicit(&rlock->count, count - 1, memory_order_relaxed);
        return;
    }
    ips_rlock_leave(rlock);
}

/* Take it `count` times, for a thread that does not hold it; otherwise as
 * ips_lock_acquire: 0, IPS_ABANDONED, IPS_ETIMEOUT, IPS_EINTR.  May park. */
IPS_MUST_CHECK int ips_rlock_acquire(ips_rlock_shm *rlock, ips_space *space, uint64_t thread,
                                     uint64_t count, int64_t deadline);

/* Once, never parks, takes over from the dead, for a thread that does not hold
 * it; asynchronous waiters use it: 0, IPS_ABANDONED or IPS_EAGAIN. */
IPS_MUST_CHECK int ips_rlock_try_or_take_over(ips_rlock_shm *rlock, ips_space *space,
                                              uint64_t thread);

#endif
