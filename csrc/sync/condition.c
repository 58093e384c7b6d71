/* SPDX-License-Identifier: Apache-2.0 */
/* Seats, notifications, the dead.  Words and rules stand in the header. */
#include "sync/condition.h"

#include "base/atomics.h"
#include "member/waits.h"
#include "os/clock.h"
#include "os/futex.h"

/* As in sync/lock.c, and for the same reasons. */
#define SHORTEST_BOUND_NS INT64_C(10000000)
#define LONGEST_BOUND_NS INT64_C(100000000)
#define FIRST_PROBE_NS INT64_C(50000)
/* Two: one takes the lock, the other is on its way meanwhile. */
#define WAKES 2

static const _Atomic uint32_t *
futex_of(const ips_seat_shm *seat)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return (const _Atomic uint32_t *)&seat->word;
#else
    return (const _Atomic uint32_t *)&seat->word + 1;
#endif
}

/* NULL where the body is not that long (a damaged bit), or memory is full. */
static ips_seat_shm *
seat_at(ips_condition c, uint32_t index)
{
    uint64_t end = sizeof *c.shm + (index + UINT64_C(1)) * sizeof(ips_seat_shm);
    return index < IPS_SEATS_MOST && ips_wide_back(c.wide, end) == IPS_OK ? &c.shm->seats[index]
                                                                        : NULL;
}

static uint64_t
word_of(const ips_seat_shm *seat)
{
    /* acquire: the ticket is as new as the word; pairs with the release stores
     * of sit_down and the swaps of notifiers. */
    return atomic_load_explicit(&seat->word, memory_order_acquire);
}

static uint64_t
ticket_of(const ips_seat_shm *seat)
{
    /* relaxed: after word_of. */
    return atomic_load_explicit(&seat->ticket, memory_order_relaxed);
}

static bool
swap_word(ips_seat_shm *seat, uint64_t *seen, uint64_t next)
{
    /* seq_cst: pairs with word_of; and it is ordered before the look at who
     * sleeps (ips_fence_after_rmw), or at all_before in fall_asleep. */
    return atomic_compare_exchange_strong_explicit(&seat->word, seen, next, memory_order_seq_cst,
                                                   memory_order_relaxed);
}

static uint64_t
all_before(ips_condition c)
{
    /* acquire: pairs with the swap in ips_condition_notify_all. */
    return atomic_load_explicit(&c.shm->all_before, memory_order_acquire);
}

/* --- walking the seats --------------------------------------------------- */

typedef struct {
    ips_condition c;
    uint32_t group, groups;
    uint64_t bits;
    /* the seat stood at */
    ips_seat_shm *seat;
    uint32_t index;
    uint64_t word, ticket;
} walk;

static walk
walk_from_start(ips_condition c)
{
    /* acquire: pairs with raise_top, so that a waiter told of before is seen. */
    uint32_t top = atomic_load_explicit(&c.shm->top, memory_order_acquire);
    top = top < IPS_SEATS_MOST ? top : IPS_SEATS_MOST;
    return (walk){.c = c, .groups = (top + 63) / 64};
}

/* To the next seat that is taken. */
static bool
walk_on(walk *w)
{
    for (;;) {
        while (w->bits == 0) {
            if (w->group == w->groups) {
                return false;
            }
            /* acquire: pairs with the fetch-or in sit_down. */
            w->bits = atomic_load_explicit(&w->c.shm->taken[w->group++], memory_order_acquire);
        }
        w->index = (w->group - 1) * 64 + (uint32_t)__builtin_ctzll(w->bits);
        w->bits &= w->bits - 1;
        w->seat = seat_at(w->c, w->index);
        w->word = w->seat == NULL ? 0 : word_of(w->seat);
        if (w->word != 0) { /* else it was left meanwhile */
            w->ticket = ticket_of(w->seat);
            return true;
        }
    }
}

static bool
waits(const walk *w, uint64_t before)
{
    return (w->word & IPS_SEAT_WAITING) != 0 && w->ticket >= before;
}

/* Notified, and not woken yet. */
static bool
oversleeps(const walk *w, uint64_t before)
{
    return (w->word & IPS_SEAT_ASLEEP) != 0 &&
           ((w->word & IPS_SEAT_NOTIFIED) != 0 || w->ticket < before);
}

/* The one with the lowest ticket of those that `wanted` wants, and how many
 * these are. */
static uint64_t
oldest(ips_condition c, bool (*wanted)(const walk *w, uint64_t before), walk *out)
{
    uint64_t before = all_before(c);
    uint64_t found = 0;
    for (walk w = walk_from_start(c); walk_on(&w);) {
        if (wanted(&w, before) && (found++ == 0 || w.ticket < out->ticket)) {
            *out = w;
        }
    }
    return found;
}

/* --- coming and going ---------------------------------------------------- */

static void
raise_top(ips_condition c, uint32_t count)
{
    /* relaxed: the swap decides. */
    uint32_t top = atomic_load_explicit(&c.shm->top, memory_order_relaxed);
    while (top < count &&
           /* release: pairs with walk_from_start. */
           !atomic_compare_exchange_weak_explicit(&c.shm->top, &top, count, memory_order_release,
                                                  memory_order_relaxed)) {
    }
}

/* A seat without a bit is free, or its owner comes or goes, or died at it. */
static bool
claim(ips_condition c, ips_owner me, uint32_t index)
{
    ips_seat_shm *seat = seat_at(c, index);
    if (seat == NULL) {
        return false;
    }
    /* relaxed: the swap decides. */
    uint64_t word = atomic_load_explicit(&seat->word, memory_order_relaxed);
    if (word != 0 && ips_member_lives(c.space, word & ~IPS_OWNER_FLAGS, false)) {
        return false;
    }
    return swap_word(seat, &word, me);
}

static bool
find_seat(ips_condition c, ips_owner me, uint32_t *index)
{
    for (uint32_t group = 0; group < IPS_SEATS_MOST / 64; group++) {
        /* relaxed: a hint; claim decides. */
        uint64_t free = ~atomic_load_explicit(&c.shm->taken[group], memory_order_relaxed);
        for (; free != 0; free &= free - 1) {
            *index = group * 64 + (uint32_t)__builtin_ctzll(free);
            if (claim(c, me, *index)) {
                return true;
            }
            if (seat_at(c, *index) == NULL) {
                return false; /* the body ends here */
            }
        }
    }
    return false;
}

static void
sit_down(ips_condition c, ips_seat *seat)
{
    ips_seat_shm *shm = &c.shm->seats[seat->index];
    /* relaxed: a number of one's own; the caller's lock makes it an order. */
    seat->ticket = atomic_fetch_add_explicit(&c.shm->next_ticket, 1, memory_order_relaxed);
    /* relaxed: published by the word. */
    atomic_store_explicit(&shm->ticket, seat->ticket, memory_order_relaxed);
    raise_top(c, seat->index + 1);
    /* release: pairs with walk_on, which finds the seat's owner. */
    (void)atomic_fetch_or_explicit(&c.shm->taken[seat->index / 64],
                                   UINT64_C(1) << seat->index % 64, memory_order_release);
    /* release: pairs with word_of. */
    atomic_store_explicit(&shm->word, seat->owner | IPS_SEAT_WAITING, memory_order_release);
}

/* The seat's word names this process, and no longer matters. */
static void
stand_up(ips_condition c, uint32_t index, ips_owner me)
{
    ips_seat_shm *shm = &c.shm->seats[index];
    /* release, each: the three in this order for whoever comes after a death
     * in between; pairs with word_of and walk_on. */
    atomic_store_explicit(&shm->word, me, memory_order_release);
    (void)atomic_fetch_and_explicit(&c.shm->taken[index / 64], ~(UINT64_C(1) << index % 64),
                                    memory_order_release);
    atomic_store_explicit(&shm->word, 0, memory_order_release);
}

int
ips_condition_enter(ips_condition c, ips_seat *seat)
{
    *seat = (ips_seat){.owner = ips_space_self(c.space)};
    if (seat->owner == IPS_NOBODY) {
        return ips_last_note()->status;
    }
    if (!find_seat(c, seat->owner, &seat->index)) {
        ips_condition_tend(c, true); /* the dead may have kept some */
        if (!find_seat(c, seat->owner, &seat->index)) {
            *seat = (ips_seat){.owner = IPS_NOBODY};
            return ips_fail(IPS_ENOSPACE, "a condition has no seat for one more waiter");
        }
    }
    sit_down(c, seat);
    return IPS_OK;
}

/* --- the dead ------------------------------------------------------------ */

static void give(ips_condition c);

/* Was the seat notified, and does that go to another if it is not used? */
static bool
is_owed(ips_condition c, const ips_seat_shm *seat, uint64_t word, uint64_t ticket)
{
    /* relaxed: after word_of, whose swap published it. */
    return (word & IPS_SEAT_NOTIFIED) != 0 && ticket >= all_before(c) &&
           atomic_load_explicit(&seat->alone, memory_order_relaxed) == 0;
}

/* The owner of the seat that `w` stands at is dead: free it. */
static void
bury(const walk *w)
{
    ips_owner me = ips_space_self(w->c.space);
    bool owed = is_owed(w->c, w->seat, w->word, w->ticket);
    uint64_t seen = w->word;
    if (me == IPS_NOBODY || !swap_word(w->seat, &seen, me | (owed ? IPS_SEAT_NOTIFIED : 0))) {
        return;
    }
    if (owed) {
        give(w->c);
    }
    stand_up(w->c, w->index, me);
}

/* True where the seat's owner lives; else it is buried. */
static bool
lives(const walk *w, bool thorough)
{
    if (ips_member_lives(w->c.space, w->word & ~IPS_OWNER_FLAGS, thorough)) {
        return true;
    }
    bury(w);
    return false;
}

void
ips_condition_tend(ips_condition c, bool thorough)
{
    for (walk w = walk_from_start(c); walk_on(&w);) {
        (void)lives(&w, thorough);
    }
}

/* --- notifying ----------------------------------------------------------- */

static void
wake(const ips_seat_shm *seat)
{
    (void)ips_futex_wake(futex_of(seat), 1);
}

/* Event loops look themselves.  Pairs with ips_eventcount_prepare_async; after
 * the seq_cst swap of what was changed. */
static void
tell_loops(ips_condition c)
{
    ips_fence_after_rmw();
    ips_eventcount_notify(&c.shm->changed, 1);
}

/* Wake the oldest of those that were notified and sleep. */
static void
wake_next(ips_condition c)
{
    walk w;
    for (uint32_t tries = 0; tries < IPS_SEATS_MOST && oldest(c, oversleeps, &w); tries++) {
        if (lives(&w, false) && swap_word(w.seat, &w.word, w.word & ~IPS_SEAT_ASLEEP)) {
            wake(w.seat);
            return;
        }
    }
}

/* The oldest who waits is notified, the first of `count`; false where nobody
 * does.  `rouse`: and woken, if it sleeps. */
static bool
notify_oldest(ips_condition c, uint64_t count, bool rouse)
{
    walk w;
    uint64_t waiting;
    for (uint32_t tries = 0; tries < IPS_SEATS_MOST; tries++) {
        waiting = oldest(c, waits, &w);
        if (waiting == 0) {
            return false;
        }
        /* relaxed: published by the swap, pairs with is_owed. */
        atomic_store_explicit(&w.seat->alone, waiting <= count, memory_order_relaxed);
        uint64_t seen = w.word;
        uint64_t next = (seen & ~IPS_SEAT_STANDING) | IPS_SEAT_NOTIFIED;
        next = rouse ? next & ~IPS_SEAT_ASLEEP : next;
        if (lives(&w, false) && swap_word(w.seat, &seen, next)) {
            if ((seen & IPS_SEAT_ASLEEP) != 0 && rouse) {
                wake(w.seat);
            }
            return true;
        }
    }
    return false;
}

/* Once more, what a dead one or one that raises did not use. */
static void
give(ips_condition c)
{
    if (notify_oldest(c, 1, true)) {
        tell_loops(c);
    }
}

void
ips_condition_notify(ips_condition c, uint64_t count)
{
    uint64_t told = 0;
    if (count > WAKES && count >= ips_condition_waiters(c)) {
        ips_condition_notify_all(c);
        return;
    }
    while (told < count && notify_oldest(c, count - told, told < WAKES)) {
        told++;
    }
    if (told != 0) {
        tell_loops(c);
    }
}

void
ips_condition_notify_all(ips_condition c)
{
    walk w = walk_from_start(c);
    if (!walk_on(&w)) {
        return;
    }
    /* relaxed: the caller's lock orders it after the waiters' coming. */
    uint64_t ticket = atomic_load_explicit(&c.shm->next_ticket, memory_order_relaxed);
    uint64_t before = all_before(c);
    while (before < ticket &&
           /* seq_cst: pairs with all_before, and with the swap in fall_asleep:
            * either it sees this or we see it asleep. */
           !atomic_compare_exchange_weak_explicit(&c.shm->all_before, &before, ticket,
                                                  memory_order_seq_cst, memory_order_relaxed)) {
    }
    ips_fence_after_rmw();
    for (int i = 0; i < WAKES; i++) {
        wake_next(c);
    }
    tell_loops(c);
}

/* --- waiting ------------------------------------------------------------- */

typedef struct {
    ips_condition c;
    const ips_seat *seat;
    ips_seat_shm *shm;
} waiter;

static waiter
waiter_of(ips_condition c, const ips_seat *seat)
{
    bool mine = seat->owner != IPS_NOBODY && seat->owner == ips_space_self(c.space);
    return (waiter){c, seat, mine ? seat_at(c, seat->index) : NULL};
}

static bool
is_notified(void *context)
{
    const waiter *w = (const waiter *)context;
    return (word_of(w->shm) & IPS_SEAT_NOTIFIED) != 0 || w->seat->ticket < all_before(w->c);
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
    for (walk w = walk_from_start(me->c); walk_on(&w);) {
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
    if (!swap_word(w->shm, &seen, asleep) && seen != asleep) {
        return 0;
    }
    ips_fence_after_rmw(); /* pairs with the swap in ips_condition_notify_all */
    return w->seat->ticket < all_before(w->c) ? 0 : asleep;
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
    bool passed; /* the bound of the last park */
} patience;

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
                     ? ips_futex_wait(futex_of(w->shm), (uint32_t)asleep, until)
                     : ips_futex_wait_two(futex_of(w->shm), (uint32_t)asleep, bell.word,
                                          bell.expected, until);
    p->passed = status == IPS_ETIMEOUT;
    return p->passed ? IPS_OK : status;
}

/* Nothing was heard: is one dead that was notified?  Those who merely wait are
 * found by whoever notifies them. */
static void
look_around(const waiter *me, bool thorough)
{
    for (walk w = walk_from_start(me->c); walk_on(&w);) {
        bool owes = (w.word & IPS_SEAT_NOTIFIED) != 0;
        (void)lives(&w, thorough && owes);
    }
}

static int
wait_on(const waiter *w, int64_t deadline)
{
    patience p = {SHORTEST_BOUND_NS, FIRST_PROBE_NS, false};
    for (;;) {
        if (is_notified((void *)(uintptr_t)w)) {
            return IPS_OK;
        }
        if ((word_of(w->shm) & ~IPS_OWNER_FLAGS) != w->seat->owner) {
            return ips_fail(IPS_ECORRUPT, "a condition: somebody took a waiter's seat");
        }
        if (ips_now() >= deadline) {
            return IPS_ETIMEOUT;
        }
        int status = park(w, &p, deadline);
        if (is_notified((void *)(uintptr_t)w)) {
            return IPS_OK;
        }
        if (status < 0) {
            return status;
        }
        look_around(w, p.passed);
    }
}

/* Notified, and awake: nobody needs to wake us. */
static void
wake_up(const waiter *w)
{
    uint64_t seen = word_of(w->shm);
    while ((seen & IPS_SEAT_ASLEEP) != 0 && !swap_word(w->shm, &seen, seen & ~IPS_SEAT_ASLEEP)) {
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
    if (is_notified(&w) || ips_spin_until(is_notified, &w, deadline)) {
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
    uint64_t seen = word_of(w.shm);
    while ((seen & IPS_SEAT_WAITING) != 0) {
        if (swap_word(w.shm, &seen, seat->owner)) {
            break;
        }
    }
    return is_notified(&w);
}

void
ips_condition_leave(ips_condition c, ips_seat *seat, bool used)
{
    waiter w = waiter_of(c, seat);
    if (w.shm == NULL) {
        return;
    }
    bool notified = is_notified(&w);
    if (!used && is_owed(c, w.shm, word_of(w.shm), seat->ticket)) {
        give(c);
    }
    stand_up(c, seat->index, seat->owner);
    seat->owner = IPS_NOBODY;
    if (notified) {
        wake_next(c);
    }
}

/* --- looking ------------------------------------------------------------- */

bool
ips_condition_suits(ips_condition c, enum ips_condition_lock kind)
{
    uint32_t found = 0;
    /* relaxed: the word alone is news. */
    return atomic_compare_exchange_strong_explicit(&c.shm->lock_kind, &found, kind,
                                                   memory_order_relaxed, memory_order_relaxed) ||
           found == (uint32_t)kind;
}

uint32_t
ips_condition_waiters(ips_condition c)
{
    uint32_t count = 0;
    uint64_t before = all_before(c);
    for (walk w = walk_from_start(c); walk_on(&w);) {
        count += waits(&w, before) &&
                 ips_member_lives(c.space, w.word & ~IPS_OWNER_FLAGS, false);
    }
    return count;
}
