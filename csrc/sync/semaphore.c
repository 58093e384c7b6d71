/* SPDX-License-Identifier: Apache-2.0 */
/* Taking and giving permits: the rules stand in sync/semaphore.h. */
#include "sync/semaphore.h"

#include <limits.h>

#include "os/clock.h"
#include "sync/watch.h"

/* Inside the lock are a few stores.  Who may not park waits this long for one
 * that was preempted there. */
#define LOCK_WAIT_NS INT64_C(100000000)

#define SEATS_AT sizeof(ips_semaphore_shm)
#define SEAT_SIZE sizeof(ips_semaphore_seat_shm)

/* relaxed: written under the lock, which is held, or a look without it. */
#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define STORE(field, value) atomic_store_explicit(&(field), value, memory_order_relaxed)

int
ips_semaphore_damaged(const ips_semaphore *semaphore, const char *what)
{
    return ips_fail(IPS_ECORRUPT, "semaphore '%s': %s", semaphore->wide->name, what);
}

static uint32_t
most_seats(const ips_semaphore *semaphore)
{
    return (uint32_t)((semaphore->wide->capacity - SEATS_AT) / SEAT_SIZE);
}

static int64_t
most_permits(const ips_semaphore *semaphore)
{
    return semaphore->bounded ? semaphore->initial : IPS_SEMAPHORE_MAX;
}

/* Seats [0, count) may be touched. */
static int
back_seats(const ips_semaphore *semaphore, uint32_t count)
{
    return ips_wide_back(semaphore->wide, SEATS_AT + (uint64_t)count * SEAT_SIZE);
}

/* How many seats were ever used: a peer's word, so it is checked. */
int
ips_semaphore_used(const ips_semaphore *semaphore, uint32_t *out)
{
    uint32_t used = LOAD(semaphore->shm->used);
    *out = used < most_seats(semaphore) ? used : most_seats(semaphore);
    return back_seats(semaphore, *out);
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
    STORE(semaphore->hint, 0);
    return initial > (uint64_t)IPS_SEMAPHORE_MAX || flags > IPS_SEMAPHORE_UNOWNED
               ? ips_semaphore_damaged(semaphore, "its initial value makes no sense")
               : IPS_OK;
}

/* --- changes: the lock is held --------------------------------------------- */

/* A permit for `me` in a seat of its own or a free one, which has memory. */
static inline void
claim(ips_semaphore_shm *shm, uint32_t index, ips_owner me)
{
    ips_semaphore_seat_shm *seat = &shm->seats[index];
    uint64_t count = LOAD(seat->count);
    if (count == 0) {
        seat->since = ++shm->serial;
        STORE(seat->owner, me);
        if (LOAD(shm->used) <= index) {
            STORE(shm->used, index + 1);
        }
    }
    /* release: the seat's owner comes first, whoever dies here; pairs with the
     * acquire in ips_semaphore_look.  Then the sum, which repair() sets right. */
    atomic_store_explicit(&seat->count, count + 1, memory_order_release);
    STORE(shm->claims, LOAD(shm->claims) + 1);
}

/* `permits` claims fewer in the seat. */
static inline void
unclaim(ips_semaphore_shm *shm, uint32_t index, uint64_t permits)
{
    ips_semaphore_seat_shm *seat = &shm->seats[index];
    /* release: as in claim(), pairs with the acquire in ips_semaphore_look. */
    atomic_store_explicit(&seat->count, LOAD(seat->count) - permits, memory_order_release);
    STORE(shm->claims, LOAD(shm->claims) - permits);
}

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
add_up(ips_semaphore *semaphore)
{
    uint32_t used;
    uint64_t claims = 0;
    int status = ips_semaphore_used(semaphore, &used);
    for (uint32_t i = 0; i < used && status == IPS_OK; i++) {
        claims += LOAD(semaphore->shm->seats[i].count);
    }
    STORE(semaphore->shm->claims, claims);
    return status;
}

/* The lock of a dead holder is ours: finish what it had begun. */
static int
repair(ips_semaphore *semaphore)
{
    ips_semaphore_shm *shm = semaphore->shm;
    /* acquire: pairs with the release stores of the dead in forget(). */
    if (atomic_load_explicit(&shm->armed, memory_order_acquire) != 0) {
        uint32_t seat = shm->seat;
        int status = seat < most_seats(semaphore)
                         ? back_seats(semaphore, seat + 1)
                         : ips_semaphore_damaged(semaphore, "an unfinished change makes no sense");
        if (status < 0) {
            return status;
        }
        carry_out(shm);
    }
    return add_up(semaphore);
}

void
ips_semaphore_leave(ips_semaphore *semaphore)
{
    (void)ips_lock_leave(&semaphore->shm->lock);
}

/* Take the lock; what it guards is whole. */
int
ips_semaphore_enter(ips_semaphore *semaphore, ips_owner me, int64_t deadline)
{
    if (__builtin_expect(ips_lock_try(&semaphore->shm->lock, me), 1)) {
        return IPS_OK;
    }
    if (deadline == IPS_AT_ONCE) {
        return IPS_EAGAIN;
    }
    int status = ips_lock_acquire(&semaphore->shm->lock, semaphore->space, deadline);
    if (status == IPS_ABANDONED) {
        status = repair(semaphore);
        if (status < 0) {
            ips_semaphore_leave(semaphore);
        }
    }
    return status;
}

/* --- seats: the lock is held ----------------------------------------------- */

/* One more than there are permits: it parks again, and then watches those who
 * hold them now.  Else nobody would hear of their deaths before the bound.  A
 * counter has no permits to give back. */
static void
wake(ips_semaphore *semaphore, uint64_t permits)
{
    permits += semaphore->owned && semaphore->initial > 0 ? 1 : 0;
    ips_eventcount_notify(&semaphore->shm->freed, permits < INT_MAX ? (int)permits : INT_MAX);
}

/* The seat's owner is dead: what it held comes back, but no more than are
 * missing.  The number of permits that came free. */
static uint64_t
forget(ips_semaphore *semaphore, uint32_t index)
{
    ips_semaphore_shm *shm = semaphore->shm;
    uint64_t count = LOAD(shm->seats[index].count);
    int64_t value = ips_semaphore_value(semaphore);
    uint64_t missing = value < 0 || value > semaphore->initial
                           ? 0
                           : (uint64_t)(semaphore->initial - value);
    if (count <= missing) {
        unclaim(shm, index, count);
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
    STORE(shm->claims, LOAD(shm->claims) - count);
    return missing;
}

/* No seat is free: those of the dead are, if there are any. */
static int
vacate(ips_semaphore *semaphore, uint32_t used, uint32_t *out)
{
    for (uint32_t i = 0; i < used; i++) {
        if (!ips_member_lives(semaphore->space, LOAD(semaphore->shm->seats[i].owner), false)) {
            uint64_t permits = forget(semaphore, i);
            /* The change before the look at sleepers; pairs with prepare(). */
            atomic_thread_fence(memory_order_seq_cst);
            wake(semaphore, permits);
            *out = i;
            return IPS_OK;
        }
    }
    return back_seats(semaphore, most_seats(semaphore) + 1); /* says so */
}

/* Is the seat free, or ours? */
static inline bool
is_usable(const ips_semaphore_seat_shm *seat, ips_owner me)
{
    return LOAD(seat->owner) == me || LOAD(seat->count) == 0;
}

static int
find_seat_slowly(ips_semaphore *semaphore, ips_owner me, uint32_t used, uint32_t *out)
{
    int status = IPS_OK;
    uint32_t found = IPS_NO_SEAT;
    for (uint32_t i = used; i-- > 0;) { /* the lowest, so that the table stays short */
        found = is_usable(&semaphore->shm->seats[i], me) ? i : found;
    }
    if (found == IPS_NO_SEAT && used < most_seats(semaphore)) {
        found = used;
        status = back_seats(semaphore, used + 1);
    } else if (found == IPS_NO_SEAT) {
        status = vacate(semaphore, used, &found);
    }
    if (status == IPS_OK) {
        STORE(semaphore->hint, found);
        *out = found;
    }
    return status;
}

/* A seat of ours, or a free one. */
static inline int
find_seat(ips_semaphore *semaphore, ips_owner me, uint32_t *out)
{
    uint32_t used;
    int status = ips_semaphore_used(semaphore, &used);
    *out = LOAD(semaphore->hint);
    if (status == IPS_OK &&
        !(*out < used && is_usable(&semaphore->shm->seats[*out], me))) {
        status = find_seat_slowly(semaphore, me, used, out);
    }
    return status;
}

/* Whose claims a release by `me` gives up: ours, else the oldest; IPS_NO_SEAT
 * where there are none. */
static uint32_t
find_claim_slowly(ips_semaphore *semaphore, ips_owner me, uint32_t used)
{
    const ips_semaphore_seat_shm *seats = semaphore->shm->seats;
    uint32_t oldest = IPS_NO_SEAT;
    for (uint32_t i = 0; i < used; i++) {
        if (LOAD(seats[i].count) == 0) {
            continue;
        }
        if (LOAD(seats[i].owner) == me) {
            STORE(semaphore->hint, i);
            return i;
        }
        if (oldest == IPS_NO_SEAT || seats[i].since < seats[oldest].since) {
            oldest = i;
        }
    }
    return oldest;
}

static inline int
find_claim(ips_semaphore *semaphore, ips_owner me, uint32_t *out)
{
    uint32_t used;
    int status = ips_semaphore_used(semaphore, &used);
    *out = LOAD(semaphore->hint);
    if (status == IPS_OK &&
        !(*out < used && LOAD(semaphore->shm->seats[*out].owner) == me &&
          LOAD(semaphore->shm->seats[*out].count) != 0)) {
        *out = find_claim_slowly(semaphore, me, used);
    }
    return status;
}

/* --- taking ---------------------------------------------------------------- */

/* 1 taken, 0 there is none.  The lock is held. */
static int
take(ips_semaphore *semaphore, ips_owner me)
{
    ips_semaphore_shm *shm = semaphore->shm;
    if (ips_semaphore_value(semaphore) <= 0) {
        return 0;
    }
    uint32_t seat;
    int status = find_seat(semaphore, me, &seat);
    if (status < 0) {
        return status;
    }
    claim(shm, seat, me);
    return 1;
}

/* Nobody's claims are kept: the value is one word, and needs no lock. */
static int
take_unowned(ips_semaphore *semaphore)
{
    _Atomic uint64_t *extra = &semaphore->shm->extra;
    uint64_t now = LOAD(*extra);
    while ((int64_t)((uint64_t)semaphore->initial + now) > 0) {
        /* acquire: pairs with the release in give_unowned. */
        if (atomic_compare_exchange_weak_explicit(extra, &now, now - 1, memory_order_acquire,
                                                  memory_order_relaxed)) {
            return 1;
        }
    }
    return 0;
}

static int
give_unowned(ips_semaphore *semaphore, uint64_t n)
{
    _Atomic uint64_t *extra = &semaphore->shm->extra;
    uint64_t now = LOAD(*extra), most = (uint64_t)most_permits(semaphore);
    for (;;) {
        uint64_t value = (uint64_t)semaphore->initial + now;
        if (value > most) {
            return ips_semaphore_damaged(semaphore, "its value makes no sense");
        }
        if (n > most - value) {
            return 0;
        }
        /* seq_cst: pairs with the acquire in take_unowned, and is ordered
         * before the look at sleepers. */
        if (atomic_compare_exchange_weak_explicit(extra, &now, now + n, memory_order_seq_cst,
                                                  memory_order_relaxed)) {
            return 1;
        }
    }
}

static int
take_once(ips_semaphore *semaphore, ips_owner me, int64_t deadline)
{
    if (!semaphore->owned) {
        return take_unowned(semaphore);
    }
    int status = ips_semaphore_enter(semaphore, me, deadline);
    if (__builtin_expect(status < 0, 0)) {
        return status;
    }
    status = take(semaphore, me);
    ips_semaphore_leave(semaphore);
    return status;
}

int
ips_semaphore_quick(ips_semaphore *semaphore, ips_owner me)
{
    return take_once(semaphore, me, IPS_AT_ONCE);
}

/* The seat's owner was proven dead. */
static int
take_back(ips_semaphore *semaphore, uint32_t index, ips_owner dead, int64_t deadline)
{
    ips_owner me = ips_space_self(semaphore->space);
    int status = me == IPS_NOBODY ? ips_last_note()->status
                                  : ips_semaphore_enter(semaphore, me, deadline);
    if (status < 0) {
        return status;
    }
    const ips_semaphore_seat_shm *seat = &semaphore->shm->seats[index];
    bool is_there = LOAD(seat->owner) == dead && LOAD(seat->count) != 0;
    uint64_t permits = is_there ? forget(semaphore, index) : 0;
    ips_semaphore_leave(semaphore);
    if (permits > 0) {
        ips_fence_after_rmw(); /* leave() ended with an exchange; pairs with prepare() */
        wake(semaphore, permits);
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
    if (status < 0 || used == 0 || LOAD(semaphore->shm->claims) == 0) {
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

/* Whoever holds the lock may have given up its last claim and not yet said so
 * in the sum: it is in no seat, but missed.  After the look at the seats, whose
 * acquire shows who had the lock for such a change.  False: it is dead. */
static bool
watch_lock(ips_semaphore *semaphore, ips_watch *watch)
{
    ips_owner owner = ips_lock_owner(&semaphore->shm->lock);
    if (owner != IPS_NOBODY && !ips_watch_lives(watch, semaphore->space, owner)) {
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
    return tend_claims(semaphore, &watch, ips_now() + LOCK_WAIT_NS) < 0 ||
           ips_semaphore_value(semaphore) > 0;
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
        if (status == IPS_OK && !has_permit(semaphore) && watch_lock(semaphore, &watch)) {
            status = ips_watch_wait(&semaphore->shm->freed, key, semaphore->space, &watch,
                                    deadline);
        }
        if (status < 0) {
            return leave_without(semaphore, status);
        }
    }
}

/* --- giving ---------------------------------------------------------------- */

/* 1 done, 0 too many.  The lock is held. */
static int
give(ips_semaphore *semaphore, ips_owner me, uint64_t n)
{
    ips_semaphore_shm *shm = semaphore->shm;
    int64_t most = most_permits(semaphore);
    int64_t value = ips_semaphore_value(semaphore);
    if (value < 0 || value > most) {
        return ips_semaphore_damaged(semaphore, "its value makes no sense");
    }
    if (n > (uint64_t)(most - value)) {
        return 0;
    }
    uint32_t seats = most_seats(semaphore); /* each is emptied once, or the last */
    while (n > 0) {
        uint32_t seat = IPS_NO_SEAT;
        if (LOAD(shm->claims) != 0 && seats-- > 0) {
            int status = find_claim(semaphore, me, &seat);
            if (status < 0) {
                return status;
            }
        }
        if (seat == IPS_NO_SEAT) {
            STORE(shm->extra, LOAD(shm->extra) + n);
            return 1;
        }
        uint64_t count = LOAD(shm->seats[seat].count);
        uint64_t permits = count < n ? count : n;
        unclaim(shm, seat, permits);
        n -= permits;
    }
    return 1;
}

int
ips_semaphore_release(ips_semaphore *semaphore, ips_owner me, int64_t n, int64_t deadline)
{
    int status;
    if (semaphore->owned) {
        status = ips_semaphore_enter(semaphore, me, deadline);
        if (__builtin_expect(status < 0, 0)) {
            return status;
        }
        status = give(semaphore, me, (uint64_t)n);
        ips_semaphore_leave(semaphore);
    } else {
        status = give_unowned(semaphore, (uint64_t)n);
    }
    if (status == 1) {
        ips_fence_after_rmw(); /* both ended with an exchange; pairs with prepare() */
        wake(semaphore, (uint64_t)n);
    }
    return status;
}
