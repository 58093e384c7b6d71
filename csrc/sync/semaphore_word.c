/* SPDX-License-Identifier: Apache-2.0 */
/* The lock in a semaphore's word, its one door for a holder's death, and the
 * seats: the rules stand in sync/semaphore.h. */
#include "sync/semaphore_inside.h"

#include <limits.h>

#include "os/clock.h"
#include "os/futex.h"

/* Holders leave after a few stores, unless they were preempted there. */
#define LONGEST_SPIN_NS INT64_C(5000)
#define PAUSES_A_LOOK 4
#define FIRST_NAP_NS INT64_C(50000)
#define LONGEST_NAP_NS INT64_C(10000000)

/* relaxed: written under the lock, which is held. */
#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define STORE(field, value) atomic_store_explicit(&(field), value, memory_order_relaxed)

int
ips_semaphore_damaged(const ips_semaphore *semaphore, const char *what)
{
    return ips_fail(IPS_ECORRUPT, "semaphore '%s': %s", semaphore->wide->name, what);
}

/* How many seats were ever used: a peer's word, so it is checked. */
int
ips_semaphore_used(const ips_semaphore *semaphore, uint32_t *out)
{
    /* acquire: pairs with the release in sign(). */
    uint32_t used = atomic_load_explicit(&semaphore->shm->used, memory_order_acquire);
    uint32_t most = ips_semaphore_most_seats(semaphore);
    *out = used < most ? used : most;
    return ips_semaphore_back(semaphore, *out);
}

static uint64_t
word_of(const ips_semaphore *semaphore)
{
    /* acquire: the seat it names has its owner; pairs with the swap in try_lock and
     * with those in sync/semaphore.c. */
    return atomic_load_explicit(&semaphore->shm->word, memory_order_acquire);
}

/* The lock is ours, or its dead holder's while we have `seating`. */
static void
free_word(ips_semaphore *semaphore, uint64_t word)
{
    /* release: all changes come first; pairs with the acquire of the next to
     * take the lock, and of those who look at the value. */
    atomic_store_explicit(&semaphore->shm->word, word, memory_order_release);
}

int
ips_semaphore_holder(const ips_semaphore *semaphore, uint64_t word, ips_owner *out)
{
    uint32_t lock = (uint32_t)(word & IPS_SEMAPHORE_LOCK);
    *out = IPS_NOBODY;
    if (lock == 0) {
        return IPS_OK;
    }
    if (lock == IPS_SEMAPHORE_OTHER) {
        *out = ips_lock_owner(&semaphore->shm->seating);
        return IPS_OK;
    }
    if (lock > ips_semaphore_most_seats(semaphore)) {
        return ips_semaphore_damaged(semaphore, "its lock names no seat");
    }
    int status = ips_semaphore_back(semaphore, lock);
    if (status == IPS_OK) {
        *out = LOAD(semaphore->shm->seats[lock - 1].owner); /* after word_of's acquire */
    }
    return status;
}

/* --- after a death: `seating` is held -------------------------------------- */

/* What the entry says; may be done any number of times. */
static void
carry_out(ips_semaphore_shm *shm)
{
    STORE(shm->extra, shm->after);
    STORE(shm->seats[shm->seat].count, 0);
    /* release: both stores are made before the entry stops counting; pairs
     * with the acquire in repair(). */
    atomic_store_explicit(&shm->armed, 0, memory_order_release);
}

static int
add_up(ips_semaphore *semaphore, uint64_t *claims)
{
    uint32_t used;
    int status = ips_semaphore_used(semaphore, &used);
    *claims = 0;
    for (uint32_t i = 0; i < used && status == IPS_OK; i++) {
        *claims += LOAD(semaphore->shm->seats[i].count);
    }
    return status;
}

/* The lock is a dead holder's: finish what it had begun. */
static int
repair(ips_semaphore *semaphore)
{
    ips_semaphore_shm *shm = semaphore->shm;
    int status = IPS_OK;
    /* acquire: pairs with the release stores of the dead in forget(). */
    if (atomic_load_explicit(&shm->armed, memory_order_acquire) != 0) {
        uint32_t seat = shm->seat;
        status = seat < ips_semaphore_most_seats(semaphore)
                     ? ips_semaphore_back(semaphore, seat + 1)
                     : ips_semaphore_damaged(semaphore, "an unfinished change makes no sense");
        if (status < 0) {
            return status;
        }
        carry_out(shm);
    }
    uint64_t claims;
    status = add_up(semaphore, &claims);
    if (status == IPS_OK) {
        free_word(semaphore, ips_semaphore_word_of(word_of(semaphore), LOAD(shm->extra) - claims));
    }
    return status;
}

/* `seating` is held, and the word is not locked with it by us. */
static int
settle(ips_semaphore *semaphore)
{
    uint64_t word = word_of(semaphore);
    ips_owner owner;
    if ((word & IPS_SEMAPHORE_LOCK) == 0) {
        return IPS_OK;
    }
    int status = ips_semaphore_holder(semaphore, word, &owner);
    if (status < 0) {
        return status;
    }
    /* Who had locked it with `seating` is dead, since we have that. */
    bool lives = (word & IPS_SEMAPHORE_LOCK) != IPS_SEMAPHORE_OTHER &&
                 ips_member_lives(semaphore->space, owner, true);
    /* It may have left the lock before it died.  If not, the word stays as it is: no
     * seat changes hands now. */
    return lives || (word_of(semaphore) & IPS_SEMAPHORE_LOCK) != (word & IPS_SEMAPHORE_LOCK)
               ? IPS_OK
               : repair(semaphore);
}

static int
take_seating(ips_semaphore *semaphore, int64_t deadline)
{
    int status = ips_lock_acquire(&semaphore->shm->seating, semaphore->space, deadline);
    if (status == IPS_ABANDONED) {
        status = settle(semaphore);
        if (status < 0) {
            (void)ips_lock_leave(&semaphore->shm->seating);
        }
    }
    return status;
}

int
ips_semaphore_heal(ips_semaphore *semaphore, int64_t deadline)
{
    int status = take_seating(semaphore, deadline);
    if (status == IPS_OK) {
        status = settle(semaphore);
        (void)ips_lock_leave(&semaphore->shm->seating);
    }
    return status;
}

/* --- waiting for the word's lock ------------------------------------------- */

static bool
spin(const ips_semaphore *semaphore)
{
    int64_t budget = ips_spin_budget();
    if (budget == 0) {
        return false;
    }
    int64_t until = ips_now() + (budget < LONGEST_SPIN_NS ? budget : LONGEST_SPIN_NS);
    do {
        for (int i = 0; i < PAUSES_A_LOOK; i++) {
            ips_pause();
        }
        if ((word_of(semaphore) & IPS_SEMAPHORE_LOCK) == 0) {
            return true;
        }
    } while (ips_now() < until);
    return false;
}

typedef struct {
    int64_t length; /* of the next one */
    bool thorough;  /* the last one passed: ask for proof although no bell rang */
} napping;

static const _Atomic uint32_t *
futex_of(const ips_semaphore *semaphore)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return (const _Atomic uint32_t *)&semaphore->shm->word;
#else
    return (const _Atomic uint32_t *)&semaphore->shm->word + 1;
#endif
}

/* Nobody wakes who naps on the word: it ends by itself, at the word's change if
 * that comes first, or at the bell of the lock's holder. */
static int
nap(const ips_semaphore *semaphore, napping *how, uint64_t word, ips_owner owner,
    int64_t deadline)
{
    int64_t until = ips_now() + how->length;
    how->length = how->length * 2 < LONGEST_NAP_NS ? how->length * 2 : LONGEST_NAP_NS;
    until = until < deadline ? until : deadline;
    ips_bell bell = {NULL, 0};
    if (owner != ips_space_self(semaphore->space)) {
        bell = ips_member_bell(semaphore->space, owner);
    }
    int status = bell.word == NULL
                     ? ips_futex_wait(futex_of(semaphore), (uint32_t)word, until)
                     : ips_futex_wait_two(futex_of(semaphore), (uint32_t)word, bell.word,
                                          bell.expected, until);
    if (ips_bell_has_rung(bell)) {
        (void)ips_futex_wake(bell.word, 1); /* we may leave without a proof */
        how->length = FIRST_NAP_NS;
    }
    how->thorough = status == IPS_ETIMEOUT;
    return status == IPS_ETIMEOUT ? IPS_OK : status;
}

/* Until the word's lock is free; it may be taken again at once.  `seating`: we
 * hold that. */
static int
wait_free(ips_semaphore *semaphore, bool seating, int64_t deadline)
{
    napping how = {FIRST_NAP_NS, false};
    if (spin(semaphore)) {
        return IPS_OK;
    }
    for (;;) {
        uint64_t word = word_of(semaphore);
        ips_owner owner;
        if ((word & IPS_SEMAPHORE_LOCK) == 0) {
            return IPS_OK;
        }
        int status = ips_semaphore_holder(semaphore, word, &owner);
        if (status == IPS_OK && !ips_member_lives(semaphore->space, owner, how.thorough)) {
            status = seating ? settle(semaphore) : ips_semaphore_heal(semaphore, deadline);
            if (status == IPS_OK) {
                continue;
            }
        }
        if (status == IPS_OK) {
            status = ips_now() >= deadline ? IPS_ETIMEOUT
                                           : nap(semaphore, &how, word, owner, deadline);
        }
        if (status < 0) {
            return status;
        }
    }
}

int
ips_semaphore_gone(const ips_semaphore *semaphore)
{
    return ips_fail(IPS_EGONE, "semaphore '%s' was destroyed", semaphore->wide->name);
}

/* 0, IPS_EAGAIN, IPS_EGONE. */
static int
try_lock(ips_semaphore *semaphore, uint64_t lock, ips_semaphore_hold *hold)
{
    uint64_t word = LOAD(semaphore->shm->word);
    hold->word = word;
    hold->seating = lock == IPS_SEMAPHORE_OTHER;
    if (ips_semaphore_is_over(semaphore, word)) {
        return ips_semaphore_gone(semaphore);
    }
    /* acquire: pairs with the release store of a free word.  release: so that who
     * finds it locked finds our seat signed. */
    return (word & IPS_SEMAPHORE_LOCK) == 0 &&
           atomic_compare_exchange_strong_explicit(&semaphore->shm->word, &word, word | lock,
                                                   memory_order_acq_rel, memory_order_relaxed)
               ? IPS_OK : IPS_EAGAIN;
}

static int
lock_word(ips_semaphore *semaphore, uint64_t lock, int64_t deadline, ips_semaphore_hold *hold)
{
    int status;
    while ((status = try_lock(semaphore, lock, hold)) == IPS_EAGAIN) {
        status = wait_free(semaphore, hold->seating, deadline);
        if (status < 0) {
            break;
        }
    }
    return status;
}

/* --- another life ----------------------------------------------------------- */

/* Lock the word, `seating` being held; false where a living thread has it. */
static bool
seize(ips_semaphore *semaphore)
{
    uint64_t word = word_of(semaphore);
    uint64_t lock = word & IPS_SEMAPHORE_LOCK;
    ips_owner owner = IPS_NOBODY;
    /* One that names no seat is damage; one that held `seating` is dead. */
    if (lock != 0 && lock != IPS_SEMAPHORE_OTHER &&
        ips_semaphore_holder(semaphore, word, &owner) == IPS_OK && owner != IPS_NOBODY &&
        ips_member_lives(semaphore->space, owner, false)) {
        return false;
    }
    /* acquire: pairs with the release store of a free word. */
    return atomic_compare_exchange_strong_explicit(&semaphore->shm->word, &word,
                                                   word | IPS_SEMAPHORE_OTHER,
                                                   memory_order_acquire, memory_order_relaxed);
}

/* All but the two locks, which are held. */
static void
wipe(const ips_semaphore *semaphore)
{
    ips_semaphore_shm *shm = semaphore->shm;
    STORE(shm->extra, 0);
    shm->serial = 0;
    STORE(shm->used, 0);
    STORE(shm->freed.word, 0);
    STORE(shm->armed, 0);
    shm->seat = 0;
    shm->after = 0;
    shm->reserved = 0;
    uint32_t most = ips_semaphore_most_seats(semaphore);
    for (uint32_t i = 0; i < most; i++) {
        STORE(shm->seats[i].owner, IPS_NOBODY);
        STORE(shm->seats[i].count, 0);
        shm->seats[i].since = 0;
        ips_trace_sign(&shm->seats[i].trace, 0);
    }
}

bool
ips_semaphore_renew(void *body, uint64_t size, ips_space *space)
{
    ips_wide wide = {.shm = body, .capacity = size, .name = ""};
    ips_semaphore semaphore = {.shm = (ips_semaphore_shm *)body, .wide = &wide, .space = space};
    ips_semaphore_shm *shm = semaphore.shm;
    ips_wide_reached(&wide, size);
    if (ips_lock_try_or_take_over(&shm->seating, space) < 0) {
        return false;
    }
    bool seized = seize(&semaphore);
    if (seized) {
        wipe(&semaphore);
        free_word(&semaphore, ips_semaphore_word_of(word_of(&semaphore) + IPS_SEMAPHORE_NEXT_LIFE, 0));
    }
    (void)ips_lock_leave(&shm->seating);
    return seized;
}

/* --- seats: `seating` is held ---------------------------------------------- */

uint64_t
ips_semaphore_forget(ips_semaphore *semaphore, uint32_t index, ips_semaphore_hold *hold)
{
    ips_semaphore_shm *shm = semaphore->shm;
    uint64_t count = LOAD(shm->seats[index].count);
    int64_t value = ips_semaphore_value_in(semaphore, hold->word);
    uint64_t missing = value < 0 || value > semaphore->initial
                           ? 0
                           : (uint64_t)(semaphore->initial - value);
    if (count <= missing) {
        ips_semaphore_unclaim(&shm->seats[index], count);
        hold->word += count * IPS_SEMAPHORE_ONE;
        return count;
    }
    shm->seat = index;
    shm->after = LOAD(shm->extra) - (count - missing);
    /* release: the entry is whole before it counts; pairs with the acquire in
     * repair() of whoever finds us dead.  The fence keeps what follows behind
     * it. */
    atomic_store_explicit(&shm->armed, 1, memory_order_release);
    atomic_signal_fence(memory_order_seq_cst);
    carry_out(shm);
    hold->word += missing * IPS_SEMAPHORE_ONE;
    return missing;
}

void
ips_semaphore_wake(ips_semaphore *semaphore, uint64_t permits)
{
    /* One more than there are permits: it parks again, and then watches those who
     * hold them now.  Else nobody would hear of their deaths before the bound.  A
     * counter has no permits to give back. */
    permits += semaphore->owned && semaphore->initial > 0 ? 1 : 0;
    ips_eventcount_notify(&semaphore->shm->freed, permits < INT_MAX ? (int)permits : INT_MAX);
}

/* May the seat have another owner?  Not while a dead one's lock names it. */
static bool
is_vacant(const ips_semaphore *semaphore, uint32_t index)
{
    const ips_semaphore_seat_shm *seat = &semaphore->shm->seats[index];
    ips_owner owner = LOAD(seat->owner);
    return LOAD(seat->count) == 0 &&
           (owner == IPS_NOBODY ||
            (!ips_member_lives(semaphore->space, owner, false) &&
             (word_of(semaphore) & IPS_SEMAPHORE_LOCK) != index + UINT64_C(1)));
}

/* No seat is free: those of the dead are, if there are any. */
static int
vacate(ips_semaphore *semaphore, uint32_t used, int64_t deadline, uint32_t *out)
{
    for (uint32_t i = 0; i < used; i++) {
        if (ips_member_lives(semaphore->space, LOAD(semaphore->shm->seats[i].owner), true)) {
            continue;
        }
        ips_semaphore_hold hold;
        int status = lock_word(semaphore, IPS_SEMAPHORE_OTHER, deadline, &hold);
        if (status < 0) {
            return status;
        }
        uint64_t permits = ips_semaphore_forget(semaphore, i, &hold);
        free_word(semaphore, hold.word);
        /* The change before the look at sleepers; pairs with prepare(). */
        atomic_thread_fence(memory_order_seq_cst);
        ips_semaphore_wake(semaphore, permits);
        *out = i;
        return IPS_OK;
    }
    return ips_semaphore_back(semaphore, ips_semaphore_most_seats(semaphore) + 1); /* says so */
}

/* A seat of ours, or the lowest that can be had, so that the table stays short. */
static int
find_seat(ips_semaphore *semaphore, ips_owner me, int64_t deadline, uint32_t *out)
{
    uint32_t used, found = IPS_NO_SEAT;
    int status = ips_semaphore_used(semaphore, &used);
    for (uint32_t i = 0; i < used && status == IPS_OK; i++) {
        if (LOAD(semaphore->shm->seats[i].owner) == me) {
            *out = i;
            return IPS_OK;
        }
        found = found == IPS_NO_SEAT && is_vacant(semaphore, i) ? i : found;
    }
    if (status == IPS_OK && found == IPS_NO_SEAT) {
        if (used == ips_semaphore_most_seats(semaphore)) {
            return vacate(semaphore, used, deadline, out);
        }
        found = used;
        status = ips_semaphore_back(semaphore, used + 1);
    }
    *out = found;
    return status;
}

static void
sign(ips_semaphore *semaphore, ips_owner me, uint32_t index)
{
    ips_semaphore_shm *shm = semaphore->shm;
    /* release: pairs with the acquires in word_of and ips_semaphore_look, which find
     * it by way of the lock or a count. */
    atomic_store_explicit(&shm->seats[index].owner, me, memory_order_release);
    if (LOAD(shm->used) <= index) {
        /* release: pairs with the acquire in ips_semaphore_used. */
        atomic_store_explicit(&shm->used, index + 1, memory_order_release);
    }
    if (LOAD(semaphore->owner) != me) {
        semaphore->mine = index;
        /* release: pairs with the acquire in ips_semaphore_mine. */
        atomic_store_explicit(&semaphore->owner, me, memory_order_release);
    }
}

static int
claim_seat(ips_semaphore *semaphore, ips_owner me, int64_t deadline, uint32_t *out)
{
    int status = take_seating(semaphore, deadline);
    if (status < 0) {
        return status;
    }
    /* A word that names a seat without a living owner (the dead's, or damage) is set
     * right before that seat may become ours. */
    status = settle(semaphore);
    if (status == IPS_OK) {
        status = find_seat(semaphore, me, deadline, out);
    }
    if (status == IPS_OK) {
        sign(semaphore, me, *out);
    }
    (void)ips_lock_leave(&semaphore->shm->seating);
    return status;
}

/* --- in and out ------------------------------------------------------------ */

static int
enter_without_seat(ips_semaphore *semaphore, int64_t deadline, ips_semaphore_hold *hold)
{
    int status = take_seating(semaphore, deadline);
    if (status < 0) {
        return status;
    }
    status = lock_word(semaphore, IPS_SEMAPHORE_OTHER, deadline, hold);
    if (status < 0) {
        (void)ips_lock_leave(&semaphore->shm->seating);
    }
    return status;
}

int
ips_semaphore_enter(ips_semaphore *semaphore, ips_owner me, int64_t deadline,
                    ips_semaphore_hold *hold)
{
    uint32_t seat = ips_semaphore_mine(semaphore, me);
    int status = seat == IPS_NO_SEAT ? claim_seat(semaphore, me, deadline, &seat) : IPS_OK;
    return status == IPS_ENOSPACE ? enter_without_seat(semaphore, deadline, hold)
           : status < 0           ? status
                                  : lock_word(semaphore, seat + UINT64_C(1), deadline, hold);
}

void
ips_semaphore_leave(ips_semaphore *semaphore, const ips_semaphore_hold *hold)
{
    free_word(semaphore, hold->word);
    if (hold->seating) {
        (void)ips_lock_leave(&semaphore->shm->seating);
    }
}
