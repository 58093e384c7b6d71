/* SPDX-License-Identifier: Apache-2.0 */
/* The lock word: one holder, what it wrote is seen by the next, an owner's
 * death is told exactly once, and nobody sleeps while the lock is free. */
#include <stdatomic.h>
#include <string.h>

#include "model.h"
#include "os/clock.h"
#include "sync/lock.h"

typedef struct {
    ips_lock_shm lock;
    uint8_t apart[56];
    ips_lock_shm other;
    uint8_t further[56];
    _Atomic uint64_t sum; /* guarded by the lock */
} shared;

#define S ((shared *)(void *)model_arena)

enum { FREE = -1 };
static int holder;     /* between having taken and being about to leave */
static bool orphaned;  /* the word names a dead owner */
static uint64_t added;
static bool waiter_killed;
static bool excused;

static void
prepare(void)
{
    holder = FREE;
    orphaned = waiter_killed = excused = false;
    added = 0;
}

static void
died(int who)
{
    bool held = ips_lock_owner(&S->lock) == model_owner(who);
    orphaned = orphaned || held;
    /* Of two deaths one may have been that of the waiter who was to watch, or
     * of an heir about to wake one who does. */
    waiter_killed = waiter_killed || !held || strcmp(model_last_words(who), "wake") == 0;
    excused = model_deaths() > 1 && waiter_killed;
}

static bool
may_need_bound(void)
{
    return excused;
}

static void
taken(int me, int status)
{
    model_check(holder == FREE || model_is_dead(holder), "%c takes what %c holds", 'A' + me,
                'A' + holder);
    model_check((status == IPS_ABANDONED) == orphaned, "abandoned: told %d, is %d",
                status == IPS_ABANDONED, orphaned);
    model_check(ips_lock_owner(&S->lock) == model_owner(me), "the word names another");
    holder = me;
    orphaned = false;
}

static void
work(void)
{
    /* relaxed: the lock is what makes the last holder's store visible. */
    uint64_t sum = atomic_load_explicit(&S->sum, memory_order_relaxed);
    atomic_store_explicit(&S->sum, sum + 1, memory_order_relaxed);
    added++;
}

static void
leave(void)
{
    holder = FREE;
    (void)ips_lock_leave(&S->lock);
}

static void
hold(int me)
{
    int status;
    do {
        status = ips_lock_acquire(&S->lock, model_space(), IPS_FOREVER);
    } while (status == IPS_EINTR);
    model_check(status >= 0, "acquire fails with %d", status);
    taken(me, status);
    work();
    leave();
}

static void
hold_twice(int me)
{
    hold(me);
    hold(me);
}

/* Has a deadline, and gives up when a signal comes. */
static void
hold_in_time(int me)
{
    int status = ips_lock_acquire(&S->lock, model_space(), model_time() + 1000);
    if (status >= 0) {
        taken(me, status);
        work();
        leave();
    }
}

static void
hold_or_give_up(int me)
{
    (me == 1 ? hold_in_time : hold)(me);
}

/* A has had it from the beginning: the others can park before it moves. */
static void
prepare_held(void)
{
    prepare();
    model_act_as(0);
    model_check(ips_lock_try(&S->lock, model_owner(0)), "a free lock is not to be had");
    taken(0, IPS_OK);
}

static void
leave_or_hold(int me)
{
    if (me == 0) {
        leave();
    } else {
        hold(me);
    }
}

/* A comes back at once; B and C give up. */
static void
come_back_or_give_up(int me)
{
    if (me == 0) {
        leave();
    }
    (me == 1 || me == 2 ? hold_in_time : hold)(me);
}

/* B only tries. */
static void
hold_or_try(int me)
{
    if (me != 1) {
        hold(me);
        return;
    }
    int status = ips_lock_try_or_take_over(&S->lock, model_space());
    if (status >= 0) {
        taken(me, status);
        work();
        leave();
    }
}

/* B waits for one lock of A's and C for the other, but there is one bell. */
static void
hold_two(int me)
{
    if (me == 2) {
        int status = ips_lock_acquire(&S->other, model_space(), IPS_FOREVER);
        model_check(status >= 0, "acquire fails with %d", status);
        (void)ips_lock_leave(&S->other);
        return;
    }
    if (me == 0) {
        int status = ips_lock_acquire(&S->other, model_space(), IPS_FOREVER);
        model_check(status >= 0, "acquire fails with %d", status);
    }
    hold(me);
    if (me == 0) {
        (void)ips_lock_leave(&S->other);
    }
}

static void
finish(void)
{
    uint64_t word, sum;
    memcpy(&word, &S->lock, 8);
    memcpy(&sum, (void *)&S->sum, 8);
    model_check(sum == added, "%d stores under the lock, %d of them seen", (int)added, (int)sum);
    model_check(holder == FREE || model_is_dead(holder), "still held");
    model_check((word & ~IPS_OWNER_FLAGS) == 0 || orphaned, "the word is %#llx",
                (unsigned long long)word);
}

#define SCENE(what, count, before, does, ...)                                            \
    {.name = "lock: " what, .actors = count, .prepare = before, .act = does, .died = died, \
     .may_need_bound = may_need_bound, .finish = finish, __VA_ARGS__}
#define LOCK(what, count, does, ...) SCENE(what, count, prepare, does, __VA_ARGS__)
#define HELD(what, count, does, ...) SCENE(what, count, prepare_held, does, __VA_ARGS__)

const model_scene model_scenes[] = {
    LOCK("two, twice each", 2, hold_twice, .bounds = {2, 1, 1, 0, 0, 0}),
    LOCK("three", 3, hold, .bounds = {2, 0, 2, 0, 0, 0}),
    LOCK("three, one killed", 3, hold, .bounds = {2, 1, 0, 0, 0, 0}),
    LOCK("three, two killed", 3, hold, .bounds = {0, 2, 0, 0, 0, 0}),
    LOCK("two locks of one owner", 3, hold_two, .bounds = {2, 1, 0, 0, 0, 0}, .immortal = 6),
    LOCK("four", 4, hold, .bounds = {1, 0, 0, 0, 0, 0}),
    LOCK("four, one killed", 4, hold, .bounds = {0, 1, 0, 0, 0, 0}),
    LOCK("three, one gives up", 3, hold_or_give_up, .bounds = {2, 0, 0, 1, 0, 1}),
    LOCK("three, one gives up and one is killed", 3, hold_or_give_up,
         .bounds = {1, 1, 0, 1, 0, 0}),
    LOCK("three, one gives up, a park for no time", 3, hold_or_give_up,
         .bounds = {1, 0, 0, 1, 1, 0}),
    HELD("four, two heirs killed", 4, leave_or_hold, .bounds = {0, 2, 0, 0, 0, 0}, .immortal = 9),
    HELD("four, two give up", 4, come_back_or_give_up, .bounds = {1, 0, 0, 1, 0, 0}),
    LOCK("three, one only tries", 3, hold_or_try, .bounds = {2, 1, 0, 0, 0, 0}),
    LOCK("two threads of one member and another", 3, hold, .bounds = {2, 1, 0, 0, 0, 0},
         .together = 3),
};
const int model_scene_count = sizeof model_scenes / sizeof *model_scenes;
