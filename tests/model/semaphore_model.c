/* SPDX-License-Identifier: Apache-2.0 */
/* The semaphore: never more holders than permits, none lost and none made up,
 * the dead give back what they held, and nobody sleeps while one is free. */
#include <stdatomic.h>
#include <string.h>

#include "model.h"
#include "os/clock.h"
#include "sync/semaphore.h"
#include "wide.h"

static ips_semaphore handles[MODEL_ACTORS];
static _Atomic uint64_t words[2]; /* of the cell; constant */
static int initial;
static int holds[MODEL_ACTORS];
static int taken_by_dead;
static bool excused;


static void
prepare_with(int permits)
{
    initial = permits;
    taken_by_dead = 0;
    excused = false;
    memset(holds, 0, sizeof holds);
    atomic_store_explicit(&words[0], (uint64_t)permits, memory_order_relaxed);
    for (int i = 0; i < model_scene_actors(); i++) {
        model_check(ips_semaphore_open(&handles[i], words, model_wide(i), model_space(), false) ==
                    0, "open fails");
    }
}

static void
prepare_none(void)
{
    prepare_with(0);
}

static void
prepare_one(void)
{
    prepare_with(1);
}

static void
prepare_two(void)
{
    prepare_with(2);
}

static void
died(int who)
{
    (void)who;
    excused = model_deaths() > 1;
}

/* What is handed on by one who is killed may have been the only wake. */
static void
died_counting(int who)
{
    const ips_semaphore_shm *shm = handles[0].shm;
    for (int i = 0; i < model_scene_actors(); i++) {
        if (shm->seats[i].owner == model_owner(who)) {
            taken_by_dead += (int)shm->seats[i].count;
        }
    }
    excused = true;
}

static bool
may_need_bound(void)
{
    /* Whoever finds the word locked naps on it, and nobody wakes it. */
    return excused || model_parks_on(&handles[0].shm->word);
}

static void
take(int me)
{
    int status;
    do {
        status = ips_semaphore_acquire(&handles[me], IPS_FOREVER);
    } while (status == IPS_EINTR);
    model_check(status == 0, "%c: acquire fails with %d", 'A' + me, status);
    holds[me]++;
    int held = 0;
    for (int i = 0; i < model_scene_actors(); i++) {
        held += model_is_dead(i) ? 0 : holds[i];
    }
    model_check(held <= initial, "%d hold %d permits", held, initial);
}

static void
give(int me)
{
    holds[me]--;
    int status = ips_semaphore_release(&handles[me], model_owner(me), 1, IPS_FOREVER);
    model_check(status == 1, "%c: release fails with %d", 'A' + me, status);
}

static void
use(int me)
{
    take(me);
    give(me);
}

/* The second time, everybody knows its seat: one swap each way. */
static void
use_twice(int me)
{
    use(me);
    use(me);
}

/* B takes two, so that its death gives back two. */
static void
use_two(int me)
{
    if (me == 1) {
        take(me);
        take(me);
        give(me);
        give(me);
    } else {
        use(me);
    }
}

static void
use_in_time(int me)
{
    if (me != 1) {
        use(me);
        return;
    }
    int status = ips_semaphore_acquire(&handles[me], model_time() + 1000);
    if (status == 0) {
        holds[me]++;
        give(me);
    }
}

/* A Semaphore(0): A hands two on, B and C take them and never release. */
static void
count(int me)
{
    int status;
    if (me != 0) {
        status = ips_semaphore_acquire(&handles[me], IPS_FOREVER);
        model_check(status == 0, "%c: acquire fails with %d", 'A' + me, status);
        return;
    }
    for (int i = 0; i < 2; i++) {
        status = ips_semaphore_release(&handles[me], model_owner(me), 1, IPS_FOREVER);
        model_check(status == 1, "release fails with %d", status);
    }
}

static void
complain(const char *line, void *context)
{
    (void)context;
    model_violated("%s", line);
}

static int
living(void)
{
    int who = 0;
    while (who < model_scene_actors() && model_is_dead(who)) {
        who++;
    }
    return who;
}

/* All permits are there again, one after the other. */
static void
finish_guarding(void)
{
    int who = living();
    if (who == model_scene_actors()) {
        return;
    }
    model_act_as(who);
    model_check(ips_semaphore_check(&handles[who], IPS_FOREVER, complain, NULL) == 0,
                "check fails");
    for (int i = 0; i < initial; i++) {
        model_check(ips_semaphore_try(&handles[who], true) == 0, "%d of %d permits are gone",
                    initial - i, initial);
    }
    model_check(ips_semaphore_try(&handles[who], true) == IPS_EAGAIN, "more permits than %d",
                initial);
}

/* No permit comes back from the dead, for none was there. */
static void
finish_counting(void)
{
    int who = living();
    model_act_as(who);
    model_check(ips_semaphore_check(&handles[who], IPS_FOREVER, complain, NULL) == 0,
                "check fails");
    int left = 0;
    while (left < 3 && ips_semaphore_try(&handles[who], true) == 0) {
        left++;
    }
    int taken = taken_by_dead;
    for (int i = 1; i < model_scene_actors(); i++) {
        taken += model_has_ended(i);
    }
    model_check(left + taken == 2, "2 were handed on, %d taken, %d left", taken, left);
}

/* --- another life of the same bytes ------------------------------------------ */

static bool is_renewed;

static void
prepare_life(void)
{
    prepare_with(1);
    is_renewed = false;
}

/* Twice, until it hears that the life has ended. */
static void
use_an_old_handle(void)
{
    for (int status = 1, i = 0; status == 1 && i < 2; i++) {
        status = ips_semaphore_acquire(&handles[0], IPS_FOREVER);
        if (status == 0) {
            status = ips_semaphore_release(&handles[0], model_owner(0), 1, IPS_FOREVER);
        }
        model_check(status == 1 || status == IPS_EGONE, "an old handle: %d", status);
    }
}

/* A has a handle.  B destroys what it leads to, and makes another of the bytes, as
 * segment/stable.c does. */
static void
live_on(int me)
{
    if (me == 0) {
        use_an_old_handle();
        return;
    }
    uint64_t size = sizeof(ips_semaphore_shm) + 2 * sizeof(ips_semaphore_seat_shm);
    if (!ips_semaphore_renew(model_arena, size, model_space())) {
        return;
    }
    is_renewed = true;
    model_check(ips_semaphore_open(&handles[1], words, model_wide(1), model_space(), false) == 0,
                "open fails");
    use(1);
}

/* The new life is whole, and its one permit is there. */
static void
finish_life(void)
{
    if (is_renewed) {
        model_act_as(1);
        model_check(ips_semaphore_check(&handles[1], IPS_FOREVER, complain, NULL) == 0,
                    "check fails");
        model_check(ips_semaphore_value(&handles[1]) == 1, "there are %lld permits",
                    (long long)ips_semaphore_value(&handles[1]));
    }
}

#define GUARD(what, count, before, does, ...)                                            \
    {.name = "semaphore: " what, .actors = count, .prepare = before, .act = does,        \
     .died = died, .may_need_bound = may_need_bound, .finish = finish_guarding, __VA_ARGS__}

const model_scene model_scenes[] = {
    GUARD("one permit, two users", 2, prepare_one, use, .bounds = {2, 0, 1, 0, 0, 0}),
    GUARD("one permit, two users, one killed", 2, prepare_one, use, .bounds = {2, 1, 0, 0, 0, 0},
          .immortal = 2),
    GUARD("one permit, three users", 3, prepare_one, use, .bounds = {1, 0, 0, 0, 0, 0}),
    GUARD("one permit, three users, one killed", 3, prepare_one, use,
          .bounds = {1, 1, 0, 0, 0, 0}, .immortal = 5),
    GUARD("two permits, one takes both, one killed", 2, prepare_two, use_two,
          .bounds = {1, 1, 0, 0, 0, 0}),
    GUARD("one permit, two users, twice", 2, prepare_one, use_twice, .bounds = {2, 0, 1, 0, 0, 0}),
    GUARD("one permit, two users, twice, one killed", 2, prepare_one, use_twice,
          .bounds = {1, 1, 0, 0, 0, 0}, .immortal = 1),
    GUARD("two permits, three users", 3, prepare_two, use, .bounds = {1, 0, 0, 0, 0, 0}),
    GUARD("one gives up", 3, prepare_one, use_in_time, .bounds = {0, 0, 0, 1, 0, 0}),
    {.name = "semaphore: another life", .actors = 2, .prepare = prepare_life, .act = live_on,
     .died = died, .may_need_bound = may_need_bound, .finish = finish_life,
     .bounds = {2, 0, 1, 0, 0, 0}},
    {.name = "semaphore: another life, the old user is killed", .actors = 2,
     .prepare = prepare_life, .act = live_on, .died = died, .may_need_bound = may_need_bound,
     .finish = finish_life, .bounds = {1, 1, 0, 0, 0, 0}, .immortal = 2},
    {.name = "semaphore: as a counter", .actors = 3, .prepare = prepare_none, .act = count,
     .died = died_counting, .may_need_bound = may_need_bound, .finish = finish_counting,
     .bounds = {1, 0, 0, 0, 0, 0}},
    {.name = "semaphore: as a counter, a taker is killed", .actors = 3, .prepare = prepare_none,
     .act = count, .died = died_counting, .may_need_bound = may_need_bound,
     .finish = finish_counting, .bounds = {0, 1, 0, 0, 0, 0}, .immortal = 1},
};
const int model_scene_count = sizeof model_scenes / sizeof *model_scenes;
