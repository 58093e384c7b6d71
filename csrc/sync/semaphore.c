/* SPDX-License-Identifier: Apache-2.0 */
/* Taking and giving permits: the rules stand in sync/semaphore.h. */
#include "sync/semaphore_inside.h"

#include "os/clock.h"
#include "sync/watch.h"

/* Inside the lock are a few stores.  Who may not park waits this long for one
 * that was preempted there. */
#define LOCK_WAIT_NS INT64_C(100000000)

/* relaxed: written under the lock, which is held, or a look without it. */
#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define STORE(field, value) atomic_store_explicit(&(field), value, memory_order_relaxed)

static int64_t
most_permits(const ips_semaphore *semaphore)
{
    return semaphore->bounded ? semaphore->initial : IPS_SEMAPHORE_MAX;
}

int
ips_semaphore_open(ips_semaphore *semaphore, const _Atomic uint64_t *words, ips_wide *wide,
                   ips_space *space, bool bounded)
{
    uint64_t initial = LOAD(words[0]), flags = LOAD(words[1]);
    semaphore->shm = (ips_semaphore_shm *)wide->shm;
    semaphore->wide = wide;
    semaphore->space = space;
    semaphore->initial = (int64_t)(initial & (2 * (uint64_t)IPS_SEMAPHORE_MAX - 1));
    semaphore->bounded = bounded;
    semaphore->owned = (flags & IPS_SEMAPHORE_UNOWNED) == 0;
    semaphore->mine = IPS_NO_SEAT;
    semaphore->life = LOAD(semaphore->shm->word) & IPS_SEMAPHORE_LIFE;
    STORE(semaphore->owner, IPS_NOBODY);
    return initial > (uint64_t)IPS_SEMAPHORE_MAX || flags > IPS_SEMAPHORE_UNOWNED
               ? ips_semaphore_damaged(semaphore, "its initial value makes no sense")
               : IPS_OK;
}

/* --- changes: the lock is held --------------------------------------------- */

/* A permit for the seat's owner. */
static inline void
claim(ips_semaphore_shm *shm, uint32_t index)
{
    ips_semaphore_seat_shm *seat = &shm->seats[index];
    uint64_t count = LOAD(seat->count);
    if (count == 0) {
        seat->since = ++shm->serial;
    }
    ips_trace_take(&seat->trace);
    /* release: `since` comes first, whoever dies here; pairs with the acquire in
     * ips_semaphore_look. */
    atomic_store_explicit(&seat->count, count + 1, memory_order_release);
}

/* Whose claims a release gives up whose own seat, if it has one, is empty: those
 * of the member that has had some for longest; IPS_NO_SEAT where there are none. */
static int
find_oldest(const ips_semaphore *semaphore, uint32_t *out)
{
    const ips_semaphore_seat_shm *seats = semaphore->shm->seats;
    uint32_t used;
    int status = ips_semaphore_used(semaphore, &used);
    *out = IPS_NO_SEAT;
    for (uint32_t i = 0; i < used && status == IPS_OK; i++) {
        if (LOAD(seats[i].count) != 0 &&
            (*out == IPS_NO_SEAT || seats[i].since < seats[*out].since)) {
            *out = i;
        }
    }
    return status;
}

/* Give n permits back, those of `seat` (or IPS_NO_SEAT) first.  How many were, in
 * *given: all, but at an error. */
static inline int
give(ips_semaphore *semaphore, uint32_t seat, uint64_t n, uint64_t word, uint64_t *given)
{
    ips_semaphore_shm *shm = semaphore->shm;
    uint32_t seats = ips_semaphore_most_seats(semaphore); /* each is emptied once, or the last */
    for (*given = 0; *given < n;) {
        uint64_t left = n - *given;
        /* extra less the value that the word says: the claims that are left. */
        bool are_claims =
            ips_semaphore_word_of(word, LOAD(shm->extra)) != word + *given * IPS_SEMAPHORE_ONE;
        if (seat == IPS_NO_SEAT || LOAD(shm->seats[seat].count) == 0) {
            int status = are_claims && seats-- > 0 ? find_oldest(semaphore, &seat) : IPS_OK;
            if (status < 0) {
                return status;
            }
            if (!are_claims || seat == IPS_NO_SEAT || LOAD(shm->seats[seat].count) == 0) {
                STORE(shm->extra, LOAD(shm->extra) + left);
                *given = n;
                return IPS_OK;
            }
        }
        uint64_t count = LOAD(shm->seats[seat].count);
        uint64_t permits = count < left ? count : left;
        ips_semaphore_unclaim(&shm->seats[seat], permits);
        *given += permits;
    }
    return IPS_OK;
}

/* May n more be released?  1, 0, IPS_ECORRUPT. */
static inline int
may_give(const ips_semaphore *semaphore, uint64_t word, uint64_t n)
{
    int64_t most = most_permits(semaphore);
    int64_t value = ips_semaphore_value_in(semaphore, word);
    if (__builtin_expect(value < 0 || value > most, 0)) {
        return ips_semaphore_damaged(semaphore, "its value makes no sense");
    }
    return n <= (uint64_t)(most - value);
}

/* --- taking ---------------------------------------------------------------- */

/* The lock was ours: leave it, with another value. */
static inline void
leave_quickly(ips_semaphore *semaphore, uint64_t word)
{
    /* release: the seats' counts come first; pairs with the acquire of the next to
     * take the lock, and the one in ips_semaphore_value. */
    atomic_store_explicit(&semaphore->shm->word, word, memory_order_release);
}

/* Nobody's claims are kept: the value is one word, and needs no lock. */
static int
take_unowned(ips_semaphore *semaphore)
{
    _Atomic uint64_t *word = &semaphore->shm->word;
    uint64_t now = LOAD(*word);
    while (ips_semaphore_value_in(semaphore, now) > 0) {
        if (ips_semaphore_is_over(semaphore, now)) {
            return ips_semaphore_gone(semaphore);
        }
        /* acquire: pairs with the release in give_unowned. */
        if (atomic_compare_exchange_weak_explicit(word, &now, now - IPS_SEMAPHORE_ONE,
                                                  memory_order_acquire, memory_order_relaxed)) {
            return 1;
        }
    }
    return 0;
}

static int
give_unowned(ips_semaphore *semaphore, uint64_t n)
{
    _Atomic uint64_t *word = &semaphore->shm->word;
    uint64_t now = LOAD(*word);
    for (;;) {
        int status = ips_semaphore_is_over(semaphore, now) ? ips_semaphore_gone(semaphore)
                                                           : may_give(semaphore, now, n);
        if (status != 1) {
            return status;
        }
        /* seq_cst: pairs with the acquire in take_unowned, and is ordered
         * before the look at sleepers. */
        if (atomic_compare_exchange_weak_explicit(word, &now, now + n * IPS_SEMAPHORE_ONE,
                                                  memory_order_seq_cst, memory_order_relaxed)) {
            return 1;
        }
    }
}

int
ips_semaphore_quick(ips_semaphore *semaphore, ips_owner me)
{
    if (__builtin_expect(!semaphore->owned, 0)) {
        return take_unowned(semaphore);
    }
    uint32_t seat = ips_semaphore_mine(semaphore, me);
    uint64_t word = LOAD(semaphore->shm->word);
    if (__builtin_expect(seat == IPS_NO_SEAT || (word & IPS_SEMAPHORE_LOCK) != 0, 0)) {
        return IPS_EAGAIN;
    }
    if (ips_semaphore_is_over(semaphore, word)) {
        return ips_semaphore_gone(semaphore);
    }
    if (ips_semaphore_value_in(semaphore, word) <= 0) {
        return 0;
    }
    uint64_t seen = word;
    /* acquire: pairs with the release store of a free word.  release: so that who
     * finds it locked finds our seat signed. */
    if (!atomic_compare_exchange_strong_explicit(&semaphore->shm->word, &seen, word | (seat + 1),
                                                 memory_order_acq_rel, memory_order_relaxed)) {
        return IPS_EAGAIN;
    }
    claim(semaphore->shm, seat);
    leave_quickly(semaphore, word - IPS_SEMAPHORE_ONE);
    return 1;
}

void
ips_semaphore_sign(ips_semaphore *semaphore, uint64_t trace)
{
    uint32_t seat = ips_semaphore_mine(semaphore, ips_space_self(semaphore->space));
    if (seat != IPS_NO_SEAT && trace != 0) {
        ips_trace_sign(&semaphore->shm->seats[seat].trace, trace);
    }
}

/* 1 taken, 0 there is none, or the lock was not to be had in time, ... */
static int
take_once(ips_semaphore *semaphore, ips_owner me, int64_t deadline)
{
    int status = ips_semaphore_quick(semaphore, me);
    if (status != IPS_EAGAIN) {
        return status;
    }
    ips_semaphore_hold hold;
    status = ips_semaphore_enter(semaphore, me, deadline, &hold);
    if (status < 0) {
        return status;
    }
    status = ips_semaphore_value_in(semaphore, hold.word) > 0;
    if (status == 1 && hold.seating) { /* no seat is left: says so */
        status = ips_semaphore_back(semaphore, ips_semaphore_most_seats(semaphore) + 1);
    } else if (status == 1) {
        claim(semaphore->shm, ips_semaphore_mine(semaphore, me));
        hold.word -= IPS_SEMAPHORE_ONE;
    }
    ips_semaphore_leave(semaphore, &hold);
    return status;
}

/* The seat's owner was proven dead. */
static int
take_back(ips_semaphore *semaphore, uint32_t index, ips_owner dead, int64_t deadline)
{
    ips_owner me = ips_space_self(semaphore->space);
    ips_semaphore_hold hold;
    int status = me == IPS_NOBODY ? ips_last_note()->status
                                  : ips_semaphore_enter(semaphore, me, deadline, &hold);
    if (status < 0) {
        return status;
    }
    const ips_semaphore_seat_shm *seat = &semaphore->shm->seats[index];
    bool is_there = LOAD(seat->owner) == dead && LOAD(seat->count) != 0;
    uint64_t permits = is_there ? ips_semaphore_forget(semaphore, index, &hold) : 0;
    ips_semaphore_leave(semaphore, &hold);
    if (permits > 0) {
        atomic_thread_fence(memory_order_seq_cst); /* pairs with prepare() */
        ips_semaphore_wake(semaphore, permits);
    }
    return IPS_OK;
}

/* Take back what the dead hold, and watch the living.  Every waiter begins at
 * another seat, so that together they watch more than one of them can. */
static int
tend_claims(ips_semaphore *semaphore, ips_watch *watch, int64_t deadline)
{
    uint32_t used;
    int status = ips_semaphore_used(semaphore, &used);
    ips_watch_clear(watch);
    if (status < 0 || used == 0) {
        return status;
    }
    uint32_t start = ips_owner_slot(ips_space_self(semaphore->space)) % used;
    for (uint32_t i = 0; i < used; i++) {
        uint32_t index = (start + i) % used;
        uint64_t count;
        ips_owner owner = ips_semaphore_look(&semaphore->shm->seats[index], &count);
        if (count == 0) {
            continue;
        }
        if (ips_watch_lives(watch, semaphore->space, owner)) {
            ips_watch_add(watch, owner);
            continue;
        }
        status = take_back(semaphore, index, owner, deadline);
        if (status < 0) {
            return status;
        }
    }
    return IPS_OK;
}

/* Whoever holds the lock may have taken back what a dead one had, or given up its
 * last claim, and not yet said so in the word: it is in no seat, but missed.  After
 * the look at the seats, whose acquire shows who had the lock for such a change.
 * False: it is dead. */
static bool
watch_lock(ips_semaphore *semaphore, ips_watch *watch)
{
    ips_owner owner;
    /* acquire: the seat it names has its owner; pairs with the swaps of who locks. */
    uint64_t word = atomic_load_explicit(&semaphore->shm->word, memory_order_acquire);
    if (ips_semaphore_holder(semaphore, word, &owner) < 0 ||
        (owner != IPS_NOBODY && !ips_watch_lives(watch, semaphore->space, owner))) {
        return false;
    }
    ips_watch_add(watch, owner);
    return true;
}

int
ips_semaphore_try(ips_semaphore *semaphore, bool thorough)
{
    ips_watch watch;
    ips_owner me = ips_space_self(semaphore->space);
    if (me == IPS_NOBODY) {
        return ips_last_note()->status;
    }
    int64_t deadline = ips_now() + LOCK_WAIT_NS;
    int status = take_once(semaphore, me, deadline);
    if (status == 0) {
        ips_watch_start(&watch);
        watch.thorough = thorough;
        status = tend_claims(semaphore, &watch, deadline);
        if (status == IPS_OK && !watch_lock(semaphore, &watch)) {
            status = ips_semaphore_heal(semaphore, deadline);
        }
        status = status < 0 ? status : take_once(semaphore, me, deadline);
    }
    return status == 1 ? IPS_OK : status == 0 || status == IPS_ETIMEOUT ? IPS_EAGAIN : status;
}

bool
ips_semaphore_arm(ips_semaphore *semaphore, bool thorough)
{
    ips_watch watch;
    ips_watch_start(&watch);
    watch.thorough = thorough;
    (void)ips_eventcount_prepare_async(&semaphore->shm->freed, semaphore->space);
    if (ips_semaphore_value(semaphore) > 0) {
        return true;
    }
    int64_t deadline = ips_now() + LOCK_WAIT_NS;
    int status = tend_claims(semaphore, &watch, deadline);
    if (status == IPS_OK && !watch_lock(semaphore, &watch)) {
        status = ips_semaphore_heal(semaphore, deadline);
    }
    return status < 0 || ips_semaphore_value(semaphore) > 0;
}

static bool
has_permit(void *context)
{
    return ips_semaphore_value((const ips_semaphore *)context) > 0;
}

/* Leaving without a permit: hand on the wake-up that may have been ours. */
static int
leave_without(ips_semaphore *semaphore, int status)
{
    if (ips_semaphore_value(semaphore) > 0) {
        ips_eventcount_notify(&semaphore->shm->freed, 1);
    }
    return status;
}

int
ips_semaphore_acquire(ips_semaphore *semaphore, int64_t deadline)
{
    ips_watch watch;
    ips_watch_start(&watch);
    ips_owner me = ips_space_self(semaphore->space);
    if (me == IPS_NOBODY) {
        return ips_last_note()->status;
    }
    (void)ips_spin_until(has_permit, semaphore, deadline);
    for (;;) {
        int status = take_once(semaphore, me, deadline);
        if (status != 0) {
            return status == 1 ? IPS_OK : leave_without(semaphore, status);
        }
        uint32_t key = ips_eventcount_prepare(&semaphore->shm->freed);
        if (has_permit(semaphore)) {
            continue;
        }
        status = tend_claims(semaphore, &watch, deadline);
        if (status == IPS_OK && !has_permit(semaphore)) {
            status = watch_lock(semaphore, &watch)
                         ? ips_watch_wait(&semaphore->shm->freed, key, semaphore->space, &watch,
                                          deadline)
                         : ips_semaphore_heal(semaphore, deadline);
        }
        if (status < 0) {
            return leave_without(semaphore, status);
        }
    }
}

/* --- giving ---------------------------------------------------------------- */

/* 1 done, 0 too many, IPS_EAGAIN as ips_semaphore_quick. */
static inline int
give_quickly(ips_semaphore *semaphore, ips_owner me, uint64_t n)
{
    uint32_t seat = ips_semaphore_mine(semaphore, me);
    uint64_t word = LOAD(semaphore->shm->word);
    if (__builtin_expect(seat == IPS_NO_SEAT || (word & IPS_SEMAPHORE_LOCK) != 0, 0)) {
        return IPS_EAGAIN;
    }
    if (ips_semaphore_is_over(semaphore, word)) {
        return ips_semaphore_gone(semaphore);
    }
    int status = may_give(semaphore, word, n);
    if (status != 1) {
        return status;
    }
    uint64_t seen = word, given;
    /* acquire: pairs with the release store of a free word.  seq_cst: the new value is
     * seen before we look at who sleeps; pairs with prepare(). */
    if (!atomic_compare_exchange_strong_explicit(
            &semaphore->shm->word, &seen, (word + n * IPS_SEMAPHORE_ONE) | (seat + 1),
            memory_order_seq_cst, memory_order_relaxed)) {
        return IPS_EAGAIN;
    }
    ips_semaphore_seat_shm *own = &semaphore->shm->seats[seat];
    if (__builtin_expect(LOAD(own->count) >= n, 1)) {
        ips_semaphore_unclaim(own, n);
        given = n;
    } else {
        status = give(semaphore, seat, n, word, &given);
    }
    leave_quickly(semaphore, word + given * IPS_SEMAPHORE_ONE);
    return status < 0 ? status : 1;
}

static int
give_slowly(ips_semaphore *semaphore, ips_owner me, uint64_t n, int64_t deadline)
{
    ips_semaphore_hold hold;
    uint64_t given;
    int status = ips_semaphore_enter(semaphore, me, deadline, &hold);
    if (status < 0) {
        return status;
    }
    status = may_give(semaphore, hold.word, n);
    if (status == 1) {
        int done = give(semaphore, ips_semaphore_mine(semaphore, me), n, hold.word, &given);
        hold.word += given * IPS_SEMAPHORE_ONE;
        status = done < 0 ? done : 1;
    }
    ips_semaphore_leave(semaphore, &hold);
    atomic_thread_fence(memory_order_seq_cst); /* pairs with prepare() */
    return status;
}

int
ips_semaphore_release(ips_semaphore *semaphore, ips_owner me, int64_t n, int64_t deadline)
{
    int status;
    if (__builtin_expect(!semaphore->owned, 0)) {
        status = give_unowned(semaphore, (uint64_t)n);
    } else {
        status = give_quickly(semaphore, me, (uint64_t)n);
        if (status == IPS_EAGAIN && deadline != IPS_AT_ONCE) {
            status = give_slowly(semaphore, me, (uint64_t)n, deadline);
        }
    }
    if (status == 1) {
        ips_fence_after_rmw(); /* the quick ways published with an exchange; pairs with prepare() */
        ips_semaphore_wake(semaphore, (uint64_t)n);
    }
    return status;
}
