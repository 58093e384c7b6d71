/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting on a seat: until notified, or one before it dies that was. */
#include "base/atomics.h"
#include "member/waits.h"
#include "os/clock.h"
#include "os/futex.h"
#include "sync/seats.h"

/* As in sync/lock.c, and for the same reasons. */
#define SHORTEST_BOUND_NS INT64_C(10000000)
#define LONGEST_BOUND_NS INT64_C(100000000)
#define FIRST_PROBE_NS INT64_C(50000)
/* In a row, after which only one wait in 64 spins. */
#define MOST_FAILURES 6u

typedef struct {
    ips_condition c;
    const ips_seat *seat;
    ips_seat_shm *shm;
} waiter;

static waiter
waiter_of(ips_condition c, const ips_seat *seat)
{
    bool mine = seat->owner != IPS_NOBODY && seat->owner == ips_space_self(c.space);
    return (waiter){c, seat, mine ? ips_seat_at(c, seat->index) : NULL};
}

static bool
is_notified(void *context)
{
    const waiter *w = (const waiter *)context;
    return (ips_seat_word(w->shm) & IPS_SEAT_NOTIFIED) != 0 || w->seat->ticket < ips_all_before(w->c);
}

bool
ips_condition_is_notified(ips_condition c, const ips_seat *seat)
{
    waiter w = waiter_of(c, seat);
    return w.shm != NULL && is_notified(&w);
}

/* Whose death may bring us a notification: the one that is notified before us. */
static ips_owner
one_before(const waiter *me)
{
    ips_owner found = IPS_NOBODY;
    uint64_t latest = 0;
    for (ips_seat_walk w = ips_walk_start(me->c); ips_walk_on(&w);) {
        ips_owner owner = w.word & ~IPS_OWNER_FLAGS;
        if ((w.word & IPS_SEAT_STANDING) != 0 && w.ticket < me->seat->ticket && w.ticket >= latest &&
            owner != me->seat->owner) {
            found = owner;
            latest = w.ticket;
        }
    }
    return found;
}

/* Say that we sleep: the word to park on, or 0 where we were notified. */
static uint64_t
fall_asleep(const waiter *w)
{
    uint64_t asleep = w->seat->owner | IPS_SEAT_WAITING | IPS_SEAT_ASLEEP;
    uint64_t seen = w->seat->owner | IPS_SEAT_WAITING;
    if (!ips_seat_swap(w->shm, &seen, asleep) && seen != asleep) {
        return 0;
    }
    ips_fence_after_rmw(); /* pairs with the swap in ips_condition_notify_all */
    return w->seat->ticket < ips_all_before(w->c) ? 0 : asleep;
}

static int64_t
take_and_double(int64_t *nap)
{
    int64_t now = *nap;
    *nap = now * 2 < LONGEST_BOUND_NS ? now * 2 : LONGEST_BOUND_NS;
    return now;
}

/* How long, and on what, a thread parks. */
typedef struct {
    int64_t bound, nap;
    bool passed;    /* the bound of the last park */
    ips_bell heard; /* the kernel rings for one of those who watch; or none */
} patience;

/* We no longer go after a bell that we heard: somebody else must. */
static void
hand_on_bell(patience *p, const _Atomic uint32_t *watched)
{
    if (p->heard.word != NULL && p->heard.word != watched) {
        (void)ips_futex_wake(p->heard.word, 1);
        p->heard.word = NULL;
    }
}

static int
park(const waiter *w, patience *p, int64_t deadline)
{
    uint64_t asleep = fall_asleep(w);
    if (asleep == 0) {
        return IPS_OK;
    }
    ips_owner before = one_before(w);
    ips_bell bell = ips_member_bell(w->c.space, before);
    bool unproven = bell.word == NULL && ips_member_rang(w->c.space, before);
    int64_t until = ips_now() + take_and_double(unproven ? &p->nap : &p->bound);
    until = until < deadline ? until : deadline;
    ips_waiting_park(w->c.space, IPS_NOBODY);
    int status = bell.word == NULL
                     ? ips_futex_wait(ips_seat_futex(w->shm), (uint32_t)asleep, until)
                     : ips_futex_wait_two(ips_seat_futex(w->shm), (uint32_t)asleep, bell.word,
                                          bell.expected, until);
    if (ips_bell_has_rung(bell)) {
        hand_on_bell(p, bell.word);
        p->heard = bell;
    }
    p->passed = status == IPS_ETIMEOUT;
    return p->passed ? IPS_OK : status;
}

/* Nothing was heard: is one dead that was notified?  Those who merely wait are
 * found by whoever notifies them. */
static void
look_around(const waiter *me, bool thorough)
{
    for (ips_seat_walk w = ips_walk_start(me->c); ips_walk_on(&w);) {
        bool owes = (w.word & IPS_SEAT_NOTIFIED) != 0;
        (void)ips_walk_lives(&w, thorough && owes);
    }
}

static int
wait_patiently(const waiter *w, patience *p, int64_t deadline)
{
    for (;;) {
        if (is_notified((void *)(uintptr_t)w)) {
            return IPS_OK;
        }
        if ((ips_seat_word(w->shm) & ~IPS_OWNER_FLAGS) != w->seat->owner) {
            return ips_fail(IPS_ECORRUPT, "a condition: somebody took a waiter's seat");
        }
        if (ips_now() >= deadline) {
            return IPS_ETIMEOUT;
        }
        int status = park(w, p, deadline);
        if (is_notified((void *)(uintptr_t)w)) {
            return IPS_OK;
        }
        if (status < 0) {
            return status;
        }
        look_around(w, p->passed);
    }
}

static int
wait_on(const waiter *w, int64_t deadline)
{
    patience p = {.bound = SHORTEST_BOUND_NS, .nap = FIRST_PROBE_NS};
    int status = wait_patiently(w, &p, deadline);
    hand_on_bell(&p, NULL);
    return status;
}

/* Spin only where that has paid lately: on a machine with more to do than CPUs,
 * or behind a notifier that takes its time, a spin costs the slice that the
 * notifier needs (a ping-pong under load 14 on 2 CPUs: 500 us a round with 50 us
 * of spinning at each wait, 60 us without). */
static bool
spin(waiter *w, int64_t deadline)
{
    static _Thread_local uint32_t failures, pause;
    if (ips_spin_budget() == 0) {
        return false;
    }
    if (pause > 0) {
        pause--;
        return is_notified(w);
    }
    int64_t start = ips_now();
    bool notified = ips_spin_until(is_notified, w, deadline);
    if (notified && ips_now() - start <= ips_spin_budget()) {
        failures = 0;
        return true;
    }
    failures = failures < MOST_FAILURES ? failures + 1 : failures;
    pause = (UINT32_C(1) << failures) - 1;
    return notified;
}

/* Notified, and awake: nobody needs to wake us. */
static void
wake_up(const waiter *w)
{
    uint64_t seen = ips_seat_word(w->shm);
    while ((seen & IPS_SEAT_ASLEEP) != 0 && !ips_seat_swap(w->shm, &seen, seen & ~IPS_SEAT_ASLEEP)) {
    }
}

int
ips_condition_wait(ips_condition c, ips_seat *seat, int64_t deadline)
{
    waiter w = waiter_of(c, seat);
    if (w.shm == NULL) {
        int status = ips_condition_enter(c, seat);
        if (status < 0) {
            return status;
        }
        w = waiter_of(c, seat);
    }
    if (is_notified(&w) || spin(&w, deadline)) {
        return IPS_OK;
    }
    ips_space_tend(c.space);
    int status = wait_on(&w, deadline);
    if (status == IPS_OK) {
        wake_up(&w);
    }
    return status;
}

bool
ips_condition_withdraw(ips_condition c, const ips_seat *seat)
{
    waiter w = waiter_of(c, seat);
    if (w.shm == NULL) {
        return false;
    }
    uint64_t seen = ips_seat_word(w.shm);
    while ((seen & IPS_SEAT_WAITING) != 0) {
        if (ips_seat_swap(w.shm, &seen, seat->owner)) {
            break;
        }
    }
    return is_notified(&w);
}
