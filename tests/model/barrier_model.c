/* SPDX-License-Identifier: Apache-2.0 */
/* The barrier: nobody is through before all have come, and then sees what they
 * did before; all hear the same about a round; a death breaks it at once. */
#include <stdatomic.h>
#include <string.h>

#include "model.h"
#include "os/clock.h"
#include "sync/barrier.h"
#include "wide.h"

#define ROUNDS 2

typedef struct {
    _Atomic uint64_t brought; /* what each brings before it comes */
    uint8_t apart[56];
} place;

#define PLACES ((place *)(void *)(model_arena + MODEL_WIDE))

static ips_barrier handles[MODEL_ACTORS];
static int parties;
static int come[ROUNDS];                 /* may be ahead of the word by those about to come */
static int heard[ROUNDS][MODEL_ACTORS];  /* 1: well, 2: broken */
static bool given_up;

static void
prepare_for(int count)
{
    parties = count;
    given_up = false;
    memset(come, 0, sizeof come);
    memset(heard, 0, sizeof heard);
    for (int i = 0; i < count; i++) {
        model_act_as(i);
        ips_barrier_start(&handles[i], model_wide(i), (uint32_t)count, model_space());
        model_check(ips_barrier_sit(&handles[i], IPS_FOREVER) == 0, "no seat");
    }
}

static void
prepare_two(void)
{
    prepare_for(2);
}

static void
prepare_three(void)
{
    prepare_for(3);
}

static void
died(int who)
{
    (void)who;
}

/* All who come out of a round well have come, and so has what they brought. */
static void
came_through(int me, int round)
{
    model_check(come[round] == parties, "%c is through when %d of %d have come", 'A' + me,
                come[round], parties);
    for (int i = 0; i < parties; i++) {
        /* relaxed: the barrier is what orders it. */
        uint64_t brought = atomic_load_explicit(&PLACES[i].brought, memory_order_relaxed);
        model_check(brought > (uint64_t)round, "%c does not see what %c brought", 'A' + me,
                    'A' + i);
    }
}

static int
wait_for_others(ips_barrier *barrier, ips_barrier_visit *visit, int64_t deadline)
{
    for (;;) {
        int status = ips_barrier_wait(barrier, visit, deadline);
        if (status == IPS_ETIMEOUT) {
            given_up = true;
            status = ips_barrier_give_up(barrier, visit);
        }
        if (status != IPS_EINTR && status != IPS_EAGAIN) {
            return status;
        }
        deadline = IPS_FOREVER;
    }
}

static int
arrive(ips_barrier *barrier, bool acts, ips_barrier_visit *visit)
{
    for (;;) {
        int status = ips_barrier_arrive(barrier, acts, visit);
        if (status != IPS_EAGAIN) {
            return status;
        }
        status = ips_barrier_wait_action(barrier, IPS_FOREVER);
        model_check(status == 0 || status == IPS_EINTR, "waiting for an action fails: %d", status);
    }
}

/* One round; false where it is broken. */
static bool
meet(int me, int round, bool acts, int64_t deadline)
{
    ips_barrier *barrier = &handles[me];
    /* relaxed: see came_through. */
    atomic_store_explicit(&PLACES[me].brought, (uint64_t)round + 1, memory_order_relaxed);
    come[round]++;
    ips_barrier_visit visit;
    int status = arrive(barrier, acts, &visit);
    if (status == 0) {
        if (!visit.last) {
            status = wait_for_others(barrier, &visit, deadline);
        } else if (acts) {
            status = ips_barrier_release(barrier, &visit);
        }
        ips_barrier_depart(barrier);
    }
    model_check(status == 0 || status == IPS_EBROKEN, "%c: wait fails with %d", 'A' + me, status);
    heard[round][me] = status == 0 ? 1 : 2;
    if (status == 0) {
        came_through(me, round);
    }
    return status == 0;
}

static void
meet_once(int me)
{
    (void)meet(me, 0, false, IPS_FOREVER);
}

static void
meet_twice(int me)
{
    if (meet(me, 0, false, IPS_FOREVER)) {
        (void)meet(me, 1, false, IPS_FOREVER);
    }
}

static void
meet_and_act(int me)
{
    if (meet(me, 0, true, IPS_FOREVER)) {
        (void)meet(me, 1, true, IPS_FOREVER);
    }
}

static void
meet_in_time(int me)
{
    (void)meet(me, 0, false, me == 0 ? model_time() + 1000 : IPS_FOREVER);
}

/* C does not come, but aborts. */
static void
meet_or_abort(int me)
{
    if (me == 2) {
        ips_barrier_abort(&handles[me]);
    } else {
        (void)meet(me, 0, false, IPS_FOREVER);
    }
}

static void
finish(void)
{
    for (int round = 0; round < ROUNDS; round++) {
        int told = 0;
        for (int i = 0; i < parties; i++) {
            told |= model_is_dead(i) ? 0 : heard[round][i];
        }
        model_check(told != 3, "round %d was broken for some and not for others", round);
        model_check(told != 2 || model_deaths() != 0 || given_up ||
                    ips_barrier_is_broken(&handles[0]), "broken without a reason");
    }
}

#define BARRIER(what, count, before, does, ...)                                       \
    {.name = "barrier: " what, .actors = count, .prepare = before, .act = does,       \
     .died = died, .finish = finish, __VA_ARGS__}

const model_scene model_scenes[] = {
    BARRIER("two, two rounds", 2, prepare_two, meet_twice, .bounds = {2, 0, 1, 0, 0, 0}),
    BARRIER("two, two rounds, one killed", 2, prepare_two, meet_twice,
            .bounds = {1, 1, 0, 0, 0, 0}, .immortal = 2),
    BARRIER("three", 3, prepare_three, meet_once, .bounds = {1, 0, 1, 0, 0, 0}),
    BARRIER("three, one killed", 3, prepare_three, meet_once, .bounds = {0, 1, 0, 0, 0, 0}),
    BARRIER("three, two rounds", 3, prepare_three, meet_twice, .bounds = {1, 0, 0, 0, 0, 0}),
    BARRIER("two act, one killed", 2, prepare_two, meet_and_act, .bounds = {1, 1, 0, 0, 0, 0}),
    BARRIER("one gives up", 3, prepare_three, meet_in_time, .bounds = {1, 0, 0, 1, 0, 0}),
    BARRIER("one aborts", 3, prepare_three, meet_or_abort, .bounds = {2, 0, 0, 0, 0, 0}),
};
const int model_scene_count = sizeof model_scenes / sizeof *model_scenes;
