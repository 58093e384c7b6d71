/* SPDX-License-Identifier: Apache-2.0 */
/* A condition: waiters in the order of their coming, and notifications for the
 * oldest of them.  It lies in the body of a wide cell (sync/wide.h); the lock
 * it goes with is the caller's matter.
 *
 * ips_condition_shm
 *   0    next_ticket  8  of the next waiter
 *   8    all_before   8  whoever waits with a ticket below this is notified: a
 *                        notify_all() is this one store
 *   16   top          4  seats below it have been used; only grows
 *   20   changed      4  event count of those who must not park (asyncio)
 *   24   lock_kind    4  enum ips_condition_lock; stored once
 *   28   due          4  wake-ups put off until the lock is free, 2 at most;
 *                       only the holder of the condition's own lock changes it
 *   32   reserved    32
 *   64   taken      512  a bit for each seat that may be taken
 *   576  seats           24 bytes each, as many as fit the body, 4096 at most
 * ips_seat_shm
 *   0    word         8  0 free, else its owner (base/owner.h) and flags:
 *          -                    coming or leaving
 *          WAITING              not notified, unless by all_before
 *          NOTIFIED             and has not left: the notification is not used
 *                               up before its waiter has the lock again
 *          ASLEEP               besides either: parked on the word's low half,
 *                               and to be woken by a wake
 *   8    ticket       8
 *   16   alone        8  1: there was nobody else to notify
 *
 * Who writes a seat's word: its owner; a notifier (after `alone`) WAITING to
 * NOTIFIED and, with the wake that it then makes, ASLEEP away; each by
 * compare-and-swap.  Coming:
 * word, ticket, bit, WAITING.  Leaving: flags away, bit, word 0.  So a seat
 * that waits or was notified has its bit, and a notification is given and
 * withdrawn from (at a timeout) by swaps of one word: one of them wins.
 *
 * Death.  Of a waiter: whoever comes by puts its own id in place of the dead
 * one's, and frees the seat; was it NOTIFIED, then first the notification goes
 * to the oldest who waits, so that a second death between may double it but
 * never lose it.  (Not where a notify_all followed, which told everybody, or
 * where it was alone: as if it had never come, the notification is nobody's.)  A
 * waiter parks on its seat and on the bell of the one before it, so that is
 * heard at once where the dead had no other business; else at the bound of a
 * park.  Of a notifier: notify(1) is one swap, notify_all() one store, and the
 * wake that did not follow is made good by the bound.
 *
 * Waking: a notifier wakes two at most.  Each of them, once it has had the lock,
 * wakes the next that was notified and sleeps, so that a notify_all of many
 * costs its caller little, and they do not all run for one lock.
 *
 * Who holds the condition's own lock puts the wake-ups off until it has released
 * it (ips_condition_take_due, then ips_condition_wake): one that is woken before
 * runs into the lock, and on one CPU takes the notifier's place to do so.  Killed
 * between, it leaves them to the next release, or to the bound.
 *
 * All of it holds also where callers do without the lock; then "oldest" is as
 * it looked at the moment.
 *
 * For asyncio: enter; release the lock; before each look prepare_async(&shm->
 * changed) and tend, then is_notified; at the end, cancelled or not, withdraw,
 * take the lock, leave.  Every notification notifies `changed`. */
#ifndef IPS_SYNC_CONDITION_H
#define IPS_SYNC_CONDITION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sync/eventcount.h"
#include "sync/wide.h"

#define IPS_SEATS_MOST 4096u
#define IPS_SEAT_WAITING (UINT64_C(1) << 29)
#define IPS_SEAT_NOTIFIED (UINT64_C(1) << 30)
#define IPS_SEAT_ASLEEP (UINT64_C(1) << 31)
#define IPS_SEAT_STANDING (IPS_SEAT_WAITING | IPS_SEAT_NOTIFIED) /* never both */

/* What lock goes with it: its own, or one that each user brings along. */
enum ips_condition_lock { IPS_CONDITION_OWN = 1, IPS_CONDITION_GIVEN = 2 };

typedef struct {
    _Atomic uint64_t word;
    _Atomic uint64_t ticket;
    _Atomic uint64_t alone;
} ips_seat_shm;

typedef struct {
    _Atomic uint64_t next_ticket;
    _Atomic uint64_t all_before;
    _Atomic uint32_t top;
    ips_eventcount_shm changed;
    _Atomic uint32_t lock_kind;
    _Atomic uint32_t due;
    uint32_t reserved[8];
    _Atomic uint64_t taken[IPS_SEATS_MOST / 64];
    ips_seat_shm seats[];
} ips_condition_shm;

_Static_assert(offsetof(ips_condition_shm, changed) == 20, "byte map above");
_Static_assert(offsetof(ips_condition_shm, taken) == 64, "byte map above");
_Static_assert(offsetof(ips_condition_shm, seats) == 576, "byte map above");
_Static_assert(sizeof(ips_seat_shm) == 24, "byte map above");
_Static_assert(sizeof(ips_condition_shm) < IPS_WIDE_FIRST, "the head has memory from the beginning");

/* The condition in a body: process-local, made where it is needed. */
typedef struct {
    ips_condition_shm *shm;
    ips_wide *wide;
    ips_space *space;
} ips_condition;

static inline ips_condition
ips_condition_of(ips_wide *wide, ips_space *space)
{
    return (ips_condition){(ips_condition_shm *)(void *)wide->shm, wide, space};
}

/* A waiter's own note of its seat. */
typedef struct {
    ips_owner owner; /* a forked child finds its parent here, and has no seat */
    uint64_t ticket;
    uint32_t index;
} ips_seat;

/* Does it go with a lock of this kind?  The first to ask decides. */
bool ips_condition_suits(ips_condition condition, enum ips_condition_lock kind);

/* Take a seat, before releasing the lock.  IPS_ENOSPACE where all are taken. */
IPS_MUST_CHECK int ips_condition_enter(ips_condition condition, ips_seat *seat);

/* Notified since it took the seat?  One look, never waits. */
bool ips_condition_is_notified(ips_condition condition, const ips_seat *seat);

/* Wait until notified: 0, IPS_ETIMEOUT or IPS_EINTR, with the seat kept.  May
 * park.  In a forked child that has no seat it takes one. */
IPS_MUST_CHECK int ips_condition_wait(ips_condition condition, ips_seat *seat, int64_t deadline);

/* No longer to be notified: after a wait that ended otherwise.  True where a
 * notification came first, and is the caller's. */
bool ips_condition_withdraw(ips_condition condition, const ips_seat *seat);

/* Give up the seat, with the lock held again; wakes the next of many that were
 * notified.  `used` false: the notification, if there was one, goes to another
 * waiter that there was (the caller raises and will not act on it). */
void ips_condition_leave(ips_condition condition, ips_seat *seat, bool used);

/* Notify the `count` oldest, or as many as wait.  One or two loads where nobody
 * does; no system call unless somebody sleeps. */
void ips_condition_notify(ips_condition condition, uint64_t count);
void ips_condition_notify_all(ips_condition condition);

/* These and ips_condition_leave with the wake-ups put off. */
void ips_condition_leave_later(ips_condition condition, ips_seat *seat, bool used);
void ips_condition_notify_later(ips_condition condition, uint64_t count);
void ips_condition_notify_all_later(ips_condition condition);
/* relaxed: exact for the lock's holder. */
static inline bool
ips_condition_has_due(ips_condition condition)
{
    return atomic_load_explicit(&condition.shm->due, memory_order_relaxed) != 0;
}

/* Before releasing the lock: how many wake-ups are due after it. */
static inline uint32_t
ips_condition_take_due(ips_condition condition)
{
    /* relaxed, both: under the lock. */
    uint32_t due = atomic_load_explicit(&condition.shm->due, memory_order_relaxed);
    if (due != 0) {
        atomic_store_explicit(&condition.shm->due, 0, memory_order_relaxed);
    }
    return due;
}
/* After it: wake so many of those that were notified and sleep. */
void ips_condition_wake(ips_condition condition, uint32_t due);

/* Find the dead among the waiters; ips_condition_wait does it by itself.
 * `thorough`: with system calls, also those whose bell cannot ring. */
void ips_condition_tend(ips_condition condition, bool thorough);

/* How many wait and are not notified, the dead not counted. */
uint32_t ips_condition_waiters(ips_condition condition);

/* Invariants, while nobody uses it: one line per problem, or IPS_ECORRUPT. */
IPS_MUST_CHECK int ips_condition_check(ips_condition condition,
    void (*report)(const char *line, void *context), void *context);

#endif
