/* SPDX-License-Identifier: Apache-2.0 */
/* The lock word: 64 bits that hold the owner's member id (base/owner.h).
 *
 *   0                    free
 *   owner                held
 *   owner | WAITERS      held, and somebody may be parked on the low half
 *   owner | ASYNC        held, and event loops wait to be told of its release
 *                        (member/postbox.h)
 *   owner | ABANDONED    held by one who found it in the hands of a dead owner
 *
 * Who writes: anyone, by compare-and-swap or exchange, acquire on taking and
 * release on leaving.  Bits 29 to 31 belong to the word's state, so the
 * futex is the low half (little-endian: at the word's address).
 *
 * If the owner dies, the word still names it; the next one to want it proves
 * the death and swaps itself in with ABANDONED set: ips_lock_take_over in
 * sync/lock.c is the only place where that happens.  Owners are members
 * (processes): a second thread of the same process waits like a stranger. */
#ifndef IPS_SYNC_LOCK_H
#define IPS_SYNC_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/owner.h"
#include "base/status.h"
#include "member/space.h"

typedef struct {
    _Atomic uint64_t word;
} ips_lock_shm;

_Static_assert(sizeof(ips_lock_shm) == 8, "the futex is the low half of one word");

/* A lock of the public kind: beside the word, for people who look, the thread
 * that took it last (ips_thread_ident; stored after the word, so it may be the
 * former holder's for an instant, or for ever after a death in between). */
typedef struct {
    ips_lock_shm lock;
    _Atomic uint64_t thread;
} ips_traced_lock_shm;

_Static_assert(sizeof(ips_traced_lock_shm) == 16, "the thread stands behind the word");

#define IPS_LOCK_ASYNC (UINT64_C(1) << 29)
#define IPS_LOCK_ABANDONED (UINT64_C(1) << 30)
#define IPS_LOCK_WAITERS (UINT64_C(1) << 31)
#define IPS_LOCK_WANTED (IPS_LOCK_WAITERS | IPS_LOCK_ASYNC)

/* Free or not, at once: true if taken.  Never a system call. */
static inline bool
ips_lock_try(ips_lock_shm *lock, ips_owner me)
{
    uint64_t expected = 0;
    /* acquire: pairs with the release exchange in ips_lock_leave. */
    return atomic_compare_exchange_strong_explicit(
        &lock->word, &expected, me, memory_order_acquire, memory_order_relaxed);
}

/* Tell those that the word `left` says are waiting; sync/lock.c. */
void ips_lock_wake(ips_lock_shm *lock, uint64_t left);

/* Give it up, whoever holds it: true if it was held. */
static inline bool
ips_lock_leave(ips_lock_shm *lock)
{
    /* release: pairs with the acquire in ips_lock_try and ips_lock_acquire;
     * seq_cst so that a later look at sleepers bits is ordered after it
     * (ips_fence_after_rmw). */
    uint64_t old = atomic_exchange_explicit(&lock->word, 0, memory_order_seq_cst);
    if (__builtin_expect((old & IPS_LOCK_WANTED) != 0, 0)) {
        ips_lock_wake(lock, old);
    }
    return old != 0;
}

/* Take it, waiting until `deadline`.  Returns 0, IPS_ABANDONED (taken; the
 * previous owner died holding it: repair what it guards, the caller owns it),
 * IPS_ETIMEOUT or IPS_EINTR (a signal handler ran: look at signals and call
 * again).  Call it without the GIL; it may park. */
IPS_MUST_CHECK int ips_lock_acquire(ips_lock_shm *lock, ips_space *space, int64_t deadline);

/* As ips_lock_acquire with IPS_AT_ONCE, but also takes over from the dead:
 * 0, IPS_ABANDONED or IPS_EAGAIN.  Never parks; may probe. */
IPS_MUST_CHECK int ips_lock_try_or_take_over(ips_lock_shm *lock, ips_space *space);

/* For those who must not park.  After a try in vain: true where it can be had
 * now, from a dead owner too; else the next release rings this process's
 * postbox.  `thorough` asks for proof although no bell rang. */
bool ips_lock_arm(ips_lock_shm *lock, ips_space *space, bool thorough);

/* Did it change hands at a death?  relaxed: asked by the holder, whose taking
 * was the acquire. */
static inline bool
ips_lock_is_abandoned(const ips_lock_shm *lock)
{
    return (atomic_load_explicit(&lock->word, memory_order_relaxed) & IPS_LOCK_ABANDONED) != 0;
}

/* Who holds it; IPS_NOBODY if free.  May be dead.  relaxed: news for people
 * and probers, nothing is read on the strength of it. */
static inline ips_owner
ips_lock_owner(const ips_lock_shm *lock)
{
    return atomic_load_explicit(&lock->word, memory_order_relaxed) & ~IPS_OWNER_FLAGS;
}

#endif
