/* SPDX-License-Identifier: Apache-2.0 */
/* The barrier's word and those who wait for it; drawn in sync/barrier.h. */
#include "sync/barrier.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/atomics.h"
#include "os/clock.h"
#include "sync/watch.h"

/* The last one wakes a few, and each of them a few more. */
#define WAKE_AT_END 4
#define WAKE_AT_WAKING 2

#define COUNT_MASK UINT64_C(0xffff)
#define BROKEN (UINT64_C(1) << 16)
#define ACTING (UINT64_C(1) << 17)
#define NOTES_SHIFT 18
#define NOTES 14u
#define NOTES_MASK ((UINT64_C(1) << NOTES) - 1)

static uint32_t
round_of(uint64_t state)
{
    return (uint32_t)(state >> 32);
}

/* The next round, empty; this one ended well or not. */
static uint64_t
ended(uint64_t state, bool well)
{
    uint64_t notes = ((state >> NOTES_SHIFT << 1) | !well) & NOTES_MASK;
    return (uint64_t)(round_of(state) + 1) << 32 | notes << NOTES_SHIFT;
}

/* 0 or IPS_EBROKEN for a round that is over, IPS_EAGAIN for the present one. */
static int
outcome(uint64_t state, uint32_t round)
{
    uint32_t late = round_of(state) - round;
    if (late == 0) {
        return IPS_EAGAIN;
    }
    late = late <= NOTES ? late : NOTES;
    return (state >> (NOTES_SHIFT + late - 1) & 1) != 0 ? IPS_EBROKEN : IPS_OK;
}

static uint64_t
load(const ips_barrier *barrier)
{
    /* acquire: what the others did before they came; pairs with swap. */
    return atomic_load_explicit(&barrier->shm->state, memory_order_acquire);
}

static bool
swap(ips_barrier *barrier, uint64_t *state, uint64_t next)
{
    /* seq_cst: pairs with the acquire in load, both ways, and is ordered
     * before the look at the sleepers bit. */
    return atomic_compare_exchange_strong_explicit(&barrier->shm->state, state, next,
                                                   memory_order_seq_cst, memory_order_acquire);
}

/* After the swap that ended the round. */
static void
tell(ips_barrier *barrier, uint32_t round)
{
    ips_fence_after_rmw();
    ips_eventcount_notify(ips_barrier_event(barrier, round), WAKE_AT_END);
}

/* As every swap leaves it; whatever else it says was written by a stray hand,
 * and waiting for it might never end. */
static bool
is_sound(const ips_barrier *barrier, uint64_t state)
{
    uint64_t count = state & COUNT_MASK;
    bool acts = (state & ACTING) != 0;
    return count <= barrier->parties && (count == barrier->parties) == acts &&
           ((state & BROKEN) == 0 || count == 0);
}

static int
fail_unsound(const ips_barrier *barrier, uint64_t state)
{
    return ips_fail(IPS_ECORRUPT, "the state of %s, a Barrier of %" PRIu32 ": %" PRIx64,
                    *barrier->seats.wide->name == '\0' ? "an unnamed object"
                                                       : barrier->seats.wide->name,
                    barrier->parties, state);
}

void
ips_barrier_start(ips_barrier *barrier, ips_wide *wide, uint32_t parties, ips_space *space)
{
    barrier->shm = (ips_barrier_shm *)(void *)wide->shm;
    barrier->space = space;
    barrier->parties = parties;
    barrier->spin = (ips_spin){0};
    ips_lines_start(&barrier->seats, &barrier->shm->seats, wide, sizeof(ips_barrier_shm));
}

/* --- seats --------------------------------------------------------------- */

/* Our seat, if it is still ours: another handle may have given it back. */
static ips_line_shm *
seat_of(ips_barrier *barrier)
{
    ips_owner me = ips_space_self(barrier->space);
    ips_line_shm *seat = ips_lines_mine(&barrier->seats, me);
    /* relaxed: only this process takes its name off. */
    return seat != NULL && atomic_load_explicit(&seat->owner, memory_order_relaxed) == me ? seat
                                                                                          : NULL;
}

bool
ips_barrier_sits(ips_barrier *barrier)
{
    return seat_of(barrier) != NULL;
}

int
ips_barrier_sit(ips_barrier *barrier, int64_t deadline)
{
    ips_line_shm *seat = seat_of(barrier);
    return seat != NULL
               ? IPS_OK
               : ips_lines_claim(&barrier->seats, barrier->space, false, deadline, &seat);
}

void
ips_barrier_stand_up(ips_barrier *barrier)
{
    ips_line_shm *seat = seat_of(barrier);
    /* relaxed: threads of this process, which its binding keeps from closing
     * what they are inside of. */
    if (seat != NULL && atomic_load_explicit(&seat->active, memory_order_relaxed) == 0) {
        /* release: pairs with the acquire of the next claimer. */
        atomic_store_explicit(&seat->owner, IPS_NOBODY, memory_order_release);
    }
}

/* Somebody with a seat is dead.  Fills the watch with the living, beginning
 * behind our own seat: where there are more than one can watch, each waiter
 * watches others. */
static bool
has_dead(ips_barrier *barrier, ips_watch *watch)
{
    uint32_t used = ips_lines_used(&barrier->seats);
    const ips_line_shm *mine = seat_of(barrier);
    uint32_t first = mine == NULL ? 0 : (uint32_t)(mine - barrier->seats.line) + 1;
    ips_watch_clear(watch);
    for (uint32_t i = 0; i < used; i++) {
        uint32_t at = first + i < used ? first + i : first + i - used;
        /* acquire: pairs with the claimer's store. */
        ips_owner owner = atomic_load_explicit(&barrier->seats.line[at].owner,
                                               memory_order_acquire);
        if (owner == IPS_NOBODY) {
            continue;
        }
        if (!ips_watch_lives(watch, barrier->space, owner)) {
            return true;
        }
        ips_watch_add(watch, owner);
    }
    return false;
}

/* One look, by the last to come: who has no bell is asked for proof. */
static bool
finds_dead(ips_barrier *barrier)
{
    ips_watch watch;
    ips_watch_start(&watch);
    if (has_dead(barrier, &watch)) {
        return true;
    }
    for (uint32_t i = 0; i < watch.count; i++) {
        if (ips_member_bell(barrier->space, watch.owners[i]).word == NULL &&
            !ips_member_lives(barrier->space, watch.owners[i], true)) {
            return true;
        }
    }
    return false;
}

/* --- coming and going ---------------------------------------------------- */

/* End the round badly and stay broken, if it is still `round`. */
static void
break_round(ips_barrier *barrier, uint32_t round)
{
    uint64_t state = load(barrier);
    while (round_of(state) == round && (state & BROKEN) == 0) {
        if (swap(barrier, &state, ended(state, false) | BROKEN)) {
            tell(barrier, round);
            return;
        }
    }
}

static int
arrive_as_last(ips_barrier *barrier, uint64_t state, bool acts, ips_barrier_visit *visit)
{
    if (finds_dead(barrier)) {
        break_round(barrier, visit->round);
        return IPS_EBROKEN;
    }
    visit->last = true;
    if (!swap(barrier, &state, acts ? (state + 1) | ACTING : ended(state, true))) {
        return IPS_EAGAIN;
    }
    if (!acts) {
        tell(barrier, visit->round);
    }
    return IPS_OK;
}

/* Once; IPS_EAGAIN where the word changed meanwhile, or somebody acts. */
static int
try_to_arrive(ips_barrier *barrier, uint64_t state, bool acts, ips_barrier_visit *visit)
{
    *visit = (ips_barrier_visit){round_of(state), (uint32_t)(state & COUNT_MASK), false};
    if (!is_sound(barrier, state)) {
        return fail_unsound(barrier, state);
    }
    if ((state & BROKEN) != 0) {
        return IPS_EBROKEN;
    }
    if ((state & ACTING) != 0) {
        return IPS_EAGAIN;
    }
    if (visit->index + 1 == barrier->parties) {
        return arrive_as_last(barrier, state, acts, visit);
    }
    return swap(barrier, &state, state + 1) ? IPS_OK : IPS_EAGAIN;
}

int
ips_barrier_arrive(ips_barrier *barrier, bool acts, ips_barrier_visit *visit)
{
    ips_line_shm *seat = seat_of(barrier);
    if (seat == NULL) {
        return ips_fail(IPS_EAGAIN, "this process has no seat");
    }
    /* relaxed: a count of this process's own threads. */
    (void)atomic_fetch_add_explicit(&seat->active, 1, memory_order_relaxed);
    int status;
    uint64_t state;
    do {
        state = load(barrier);
        status = try_to_arrive(barrier, state, acts, visit);
    } while (status == IPS_EAGAIN && (state & ACTING) == 0);
    if (status < 0) {
        ips_barrier_depart(barrier);
    }
    return status;
}

void
ips_barrier_depart(ips_barrier *barrier)
{
    ips_line_shm *seat = seat_of(barrier);
    if (seat != NULL) {
        /* relaxed: as in ips_barrier_arrive. */
        (void)atomic_fetch_sub_explicit(&seat->active, 1, memory_order_relaxed);
    }
}

int
ips_barrier_outcome(ips_barrier *barrier, const ips_barrier_visit *visit)
{
    return outcome(load(barrier), visit->round);
}

int
ips_barrier_release(ips_barrier *barrier, const ips_barrier_visit *visit)
{
    uint64_t state = load(barrier);
    while (round_of(state) == visit->round) {
        if (swap(barrier, &state, ended(state, true))) {
            tell(barrier, visit->round);
            return IPS_OK;
        }
    }
    return IPS_EBROKEN;
}

int
ips_barrier_give_up(ips_barrier *barrier, const ips_barrier_visit *visit)
{
    uint64_t state = load(barrier);
    while (round_of(state) == visit->round && (state & ACTING) == 0) {
        if (swap(barrier, &state, ended(state, false) | BROKEN)) {
            tell(barrier, visit->round);
            return IPS_EBROKEN;
        }
    }
    return outcome(state, visit->round);
}

bool
ips_barrier_leave(ips_barrier *barrier, const ips_barrier_visit *visit)
{
    uint64_t state = load(barrier);
    while (round_of(state) == visit->round && (state & ACTING) == 0 &&
           (state & COUNT_MASK) != 0) {
        if (swap(barrier, &state, state - 1)) {
            return true;
        }
    }
    return false;
}

void
ips_barrier_break(ips_barrier *barrier, const ips_barrier_visit *visit)
{
    break_round(barrier, visit->round);
}

static void
tell_all(ips_barrier *barrier)
{
    tell(barrier, 0);
    tell(barrier, 1);
}

void
ips_barrier_abort(ips_barrier *barrier)
{
    uint64_t state = load(barrier);
    while ((state & BROKEN) == 0 && !swap(barrier, &state, ended(state, false) | BROKEN)) {
    }
    tell_all(barrier); /* also where it was broken by one who died before its wake */
}

static void
forget_dead(ips_barrier *barrier)
{
    uint32_t used = ips_lines_used(&barrier->seats);
    for (uint32_t i = 0; i < used; i++) {
        ips_line_shm *seat = &barrier->seats.line[i];
        /* acquire: pairs with the claimer's store. */
        ips_owner owner = atomic_load_explicit(&seat->owner, memory_order_acquire);
        if (owner != IPS_NOBODY && !ips_member_lives(barrier->space, owner, true)) {
            /* release: pairs with the acquire of the next claimer. */
            atomic_store_explicit(&seat->owner, IPS_NOBODY, memory_order_release);
        }
    }
}

int
ips_barrier_reset(ips_barrier *barrier, int64_t deadline)
{
    int status = ips_lock_acquire(&barrier->shm->seats.claims, barrier->space, deadline);
    if (status < 0) {
        return status;
    }
    forget_dead(barrier);
    (void)ips_lock_leave(&barrier->shm->seats.claims);
    uint64_t state = load(barrier);
    while ((state & (BROKEN | ACTING | COUNT_MASK)) != 0 &&
           !swap(barrier, &state, ended(state, false))) {
    }
    tell_all(barrier);
    return IPS_OK;
}

/* --- waiting ------------------------------------------------------------- */

typedef struct {
    ips_barrier *barrier;
    uint32_t round;
} waiter;

static bool
is_over(void *context)
{
    const waiter *self = (const waiter *)context;
    return round_of(load(self->barrier)) != self->round;
}

/* Those who are missing may all be running this moment. */
static bool
is_worth_spinning(ips_barrier *barrier)
{
    uint32_t come = (uint32_t)(load(barrier) & COUNT_MASK);
    return barrier->parties - come < ips_cpu_count();
}

int
ips_barrier_wait(ips_barrier *barrier, const ips_barrier_visit *visit, int64_t deadline)
{
    waiter self = {barrier, visit->round};
    if (is_worth_spinning(barrier) &&
        ips_spin_learning(&barrier->spin, is_over, &self, deadline)) {
        return ips_barrier_outcome(barrier, visit);
    }
    ips_watch watch;
    ips_watch_start(&watch);
    ips_eventcount_shm *event = ips_barrier_event(barrier, visit->round);
    while (!is_over(&self)) {
        uint32_t key = ips_eventcount_prepare(event);
        if (is_over(&self)) {
            break;
        }
        uint64_t state = load(barrier);
        if (round_of(state) == visit->round && !is_sound(barrier, state)) {
            return fail_unsound(barrier, state);
        }
        if (has_dead(barrier, &watch)) {
            break_round(barrier, visit->round);
            break;
        }
        int status = ips_watch_wait(event, key, barrier->space, &watch, deadline);
        if (status < 0 && !is_over(&self)) {
            return status;
        }
    }
    ips_eventcount_notify(event, WAKE_AT_WAKING);
    return ips_barrier_outcome(barrier, visit);
}

int
ips_barrier_wait_action(ips_barrier *barrier, int64_t deadline)
{
    ips_watch watch;
    ips_watch_start(&watch);
    for (;;) {
        uint32_t round = round_of(load(barrier));
        ips_eventcount_shm *event = ips_barrier_event(barrier, round);
        uint32_t key = ips_eventcount_prepare(event);
        uint64_t state = load(barrier);
        if (!is_sound(barrier, state)) {
            return fail_unsound(barrier, state);
        }
        if (round_of(state) != round || (state & ACTING) == 0) {
            return IPS_OK;
        }
        if (has_dead(barrier, &watch)) {
            break_round(barrier, round);
            return IPS_OK;
        }
        int status = ips_watch_wait(event, key, barrier->space, &watch, deadline);
        if (status < 0) {
            return status;
        }
    }
}

/* --- looking ------------------------------------------------------------- */

bool
ips_barrier_is_broken(const ips_barrier *barrier)
{
    return (load(barrier) & BROKEN) != 0;
}

uint32_t
ips_barrier_waiting(const ips_barrier *barrier)
{
    return (uint32_t)(load(barrier) & COUNT_MASK);
}

int
ips_barrier_check(ips_barrier *barrier, void (*report)(const char *line, void *context),
                  void *context)
{
    char line[160];
    uint64_t state = load(barrier);
    /* relaxed: a look from outside. */
    uint32_t used = atomic_load_explicit(&barrier->shm->seats.used, memory_order_relaxed);
    if (!is_sound(barrier, state)) {
        (void)snprintf(line, sizeof line, "%u of %" PRIu32 " have come, %s, %s",
                       (unsigned)(state & COUNT_MASK), barrier->parties,
                       (state & BROKEN) != 0 ? "it is broken" : "it is whole",
                       (state & ACTING) != 0 ? "the last acts" : "nobody acts");
    } else if (used > barrier->seats.capacity) {
        (void)snprintf(line, sizeof line, "%" PRIu32 " seats of %" PRIu32 " are in use", used,
                       barrier->seats.capacity);
    } else {
        return IPS_OK;
    }
    report(line, context);
    return ips_fail(IPS_ECORRUPT, "a Barrier");
}
