/* SPDX-License-Identifier: Apache-2.0 */
/* Seats, notifications, the dead.  Words and rules stand in the header; waiting
 * is the matter of sync/condition_wait.c. */
#include "base/atomics.h"
#include "os/futex.h"
#include "sync/seats.h"

/* Two: one takes the lock, the other is on its way meanwhile. */
#define WAKES 2u

static bool
waits(const ips_seat_walk *w, uint64_t before)
{
    return (w->word & IPS_SEAT_WAITING) != 0 && w->ticket >= before;
}

/* Notified, and not woken yet. */
static bool
oversleeps(const ips_seat_walk *w, uint64_t before)
{
    return (w->word & IPS_SEAT_ASLEEP) != 0 &&
           ((w->word & IPS_SEAT_NOTIFIED) != 0 || w->ticket < before);
}

/* The one with the lowest ticket of those that `wanted` wants, and how many
 * these are. */
static uint64_t
oldest(ips_condition c, bool (*wanted)(const ips_seat_walk *w, uint64_t before),
       ips_seat_walk *out)
{
    uint64_t before = ips_all_before(c);
    uint64_t found = 0;
    for (ips_seat_walk w = ips_walk_start(c); ips_walk_on(&w);) {
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
           /* release: pairs with ips_walk_start. */
           !atomic_compare_exchange_weak_explicit(&c.shm->top, &top, count, memory_order_release,
                                                  memory_order_relaxed)) {
    }
}

/* A seat without a bit is free, or its owner comes or goes, or died at it. */
static bool
claim(ips_condition c, ips_owner me, uint32_t index)
{
    ips_seat_shm *seat = ips_seat_at(c, index);
    if (seat == NULL) {
        return false;
    }
    /* relaxed: the swap decides. */
    uint64_t word = atomic_load_explicit(&seat->word, memory_order_relaxed);
    if (word != 0 && ips_member_lives(c.space, word & ~IPS_OWNER_FLAGS, false)) {
        return false;
    }
    return ips_seat_swap(seat, &word, me);
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
            if (ips_seat_at(c, *index) == NULL) {
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
    /* release: pairs with ips_walk_on, which finds the seat's owner. */
    (void)atomic_fetch_or_explicit(&c.shm->taken[seat->index / 64],
                                   UINT64_C(1) << seat->index % 64, memory_order_release);
    /* release: pairs with ips_seat_word. */
    atomic_store_explicit(&shm->word, seat->owner | IPS_SEAT_WAITING, memory_order_release);
}

/* The seat's word names this process, and no longer matters. */
static void
stand_up(ips_condition c, uint32_t index, ips_owner me)
{
    ips_seat_shm *shm = &c.shm->seats[index];
    /* release, each: the three in this order for whoever comes after a death
     * in between; pairs with ips_seat_word and ips_walk_on. */
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
    /* relaxed: after ips_seat_word, whose swap published it. */
    return (word & IPS_SEAT_NOTIFIED) != 0 && ticket >= ips_all_before(c) &&
           atomic_load_explicit(&seat->alone, memory_order_relaxed) == 0;
}

/* The owner of the seat that `w` stands at is dead: free it. */
static void
bury(const ips_seat_walk *w)
{
    ips_owner me = ips_space_self(w->c.space);
    bool owed = is_owed(w->c, w->seat, w->word, w->ticket);
    uint64_t seen = w->word;
    if (me == IPS_NOBODY || !ips_seat_swap(w->seat, &seen, me | (owed ? IPS_SEAT_NOTIFIED : 0))) {
        return;
    }
    if (owed) {
        give(w->c);
    }
    stand_up(w->c, w->index, me);
}

bool
ips_walk_lives(const ips_seat_walk *w, bool thorough)
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
    for (ips_seat_walk w = ips_walk_start(c); ips_walk_on(&w);) {
        (void)ips_walk_lives(&w, thorough);
    }
}

/* --- notifying ----------------------------------------------------------- */

static void
wake(const ips_seat_shm *seat)
{
    (void)ips_futex_wake(ips_seat_futex(seat), 1);
}

/* Event loops look themselves.  Pairs with ips_eventcount_prepare_async; after
 * the seq_cst swap of what was changed. */
static void
tell_loops(ips_condition c)
{
    ips_fence_after_rmw();
    ips_eventcount_notify(&c.shm->changed, 1);
}

/* The `most` oldest of those that were notified and sleep, the oldest first: how
 * many there are, in one walk. */
static uint32_t
oldest_sleepers(ips_condition c, ips_seat_walk found[WAKES], uint32_t most)
{
    uint64_t before = ips_all_before(c);
    uint32_t count = 0;
    for (ips_seat_walk w = ips_walk_start(c); ips_walk_on(&w);) {
        if (!oversleeps(&w, before) || (count == most && w.ticket >= found[most - 1].ticket)) {
            continue;
        }
        count += count < most;
        uint32_t at = count - 1;
        for (; at > 0 && found[at - 1].ticket > w.ticket; at--) {
            found[at] = found[at - 1];
        }
        found[at] = w;
    }
    return count;
}

/* Wake the oldest of those that were notified and sleep, so many of them. */
static void
wake_next(ips_condition c, uint32_t most)
{
    ips_seat_walk found[WAKES];
    for (uint32_t tries = 0; most > 0 && tries < IPS_SEATS_MOST; tries++) {
        uint32_t count = oldest_sleepers(c, found, most);
        bool are_all = count < most;
        for (uint32_t i = 0; i < count; i++) {
            ips_seat_walk *w = &found[i];
            if (ips_walk_lives(w, false) &&
                ips_seat_swap(w->seat, &w->word, w->word & ~IPS_SEAT_ASLEEP)) {
                wake(w->seat);
                most--;
            } else {
                are_all = false; /* a death or another's wake: look again */
            }
        }
        if (are_all) {
            return;
        }
    }
}

/* The oldest who waits is notified, the first of `count`; false where nobody
 * does.  `rouse`: and woken, if it sleeps. */
static bool
notify_oldest(ips_condition c, uint64_t count, bool rouse)
{
    ips_seat_walk w;
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
        if (ips_walk_lives(&w, false) && ips_seat_swap(w.seat, &seen, next)) {
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

/* How many were told; the first of them are woken unless that is put off. */
static uint64_t
tell(ips_condition c, uint64_t count, bool later)
{
    uint64_t told = 0;
    while (told < count && notify_oldest(c, count - told, !later && told < WAKES)) {
        told++;
    }
    if (told != 0) {
        tell_loops(c);
    }
    return told;
}

/* False where nobody waits. */
static bool
tell_all(ips_condition c)
{
    ips_seat_walk w = ips_walk_start(c);
    if (!ips_walk_on(&w)) {
        return false;
    }
    /* relaxed: the caller's lock orders it after the waiters' coming. */
    uint64_t ticket = atomic_load_explicit(&c.shm->next_ticket, memory_order_relaxed);
    uint64_t before = ips_all_before(c);
    while (before < ticket &&
           /* seq_cst: pairs with ips_all_before, and with the swap in
            * fall_asleep: either it sees this or we see it asleep. */
           !atomic_compare_exchange_weak_explicit(&c.shm->all_before, &before, ticket,
                                                  memory_order_seq_cst, memory_order_relaxed)) {
    }
    tell_loops(c);
    return true;
}

/* So many that it is the same as all, and quicker. */
static bool
means_all(ips_condition c, uint64_t count)
{
    return count > WAKES && count >= ips_condition_waiters(c);
}

void
ips_condition_wake(ips_condition c, uint32_t due)
{
    wake_next(c, due < WAKES ? due : WAKES);
}

void
ips_condition_notify(ips_condition c, uint64_t count)
{
    if (means_all(c, count)) {
        ips_condition_notify_all(c);
    } else {
        (void)tell(c, count, false);
    }
}

void
ips_condition_notify_all(ips_condition c)
{
    if (tell_all(c)) {
        ips_condition_wake(c, WAKES);
    }
}

static void
put_off(ips_condition c, uint64_t wakes)
{
    /* relaxed, both: under the lock. */
    uint64_t due = wakes + atomic_load_explicit(&c.shm->due, memory_order_relaxed);
    atomic_store_explicit(&c.shm->due, (uint32_t)(due < WAKES ? due : WAKES),
                          memory_order_relaxed);
}

void
ips_condition_notify_later(ips_condition c, uint64_t count)
{
    if (means_all(c, count)) {
        ips_condition_notify_all_later(c);
        return;
    }
    uint64_t told = tell(c, count, true);
    if (told != 0) {
        put_off(c, told);
    }
}

void
ips_condition_notify_all_later(ips_condition c)
{
    if (tell_all(c)) {
        put_off(c, WAKES);
    }
}

/* --- leaving ------------------------------------------------------------- */

/* True where the next one may have to be woken. */
static bool
depart(ips_condition c, ips_seat *seat, bool used)
{
    if (seat->owner == IPS_NOBODY || seat->owner != ips_space_self(c.space)) {
        return false; /* a forked child, which has none */
    }
    const ips_seat_shm *shm = &c.shm->seats[seat->index];
    bool notified = ips_condition_is_notified(c, seat);
    if (!used && is_owed(c, shm, ips_seat_word(shm), seat->ticket)) {
        give(c);
    }
    stand_up(c, seat->index, seat->owner);
    seat->owner = IPS_NOBODY;
    return notified;
}

void
ips_condition_leave(ips_condition c, ips_seat *seat, bool used)
{
    if (depart(c, seat, used)) {
        wake_next(c, 1);
    }
}

void
ips_condition_leave_later(ips_condition c, ips_seat *seat, bool used)
{
    ips_seat_walk next;
    if (depart(c, seat, used) && oldest(c, oversleeps, &next) != 0) {
        put_off(c, 1);
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
    uint64_t before = ips_all_before(c);
    for (ips_seat_walk w = ips_walk_start(c); ips_walk_on(&w);) {
        count += waits(&w, before) &&
                 ips_member_lives(c.space, w.word & ~IPS_OWNER_FLAGS, false);
    }
    return count;
}
