/* SPDX-License-Identifier: Apache-2.0 */
/* The condition: notifications are neither lost nor made up, those of the dead
 * go to others, and nobody who was notified sleeps on.
 *
 * Waiters have their seats before the scene begins, as a lock would see to it. */
#include <stdatomic.h>
#include <string.h>

#include "model.h"
#include "os/clock.h"
#include "sync/condition.h"
#include "wide.h"

static ips_seat seats[MODEL_ACTORS];
static int told[MODEL_ACTORS];
static bool excused;

static ips_condition
condition_of(int me)
{
    return ips_condition_of(model_wide(me), model_space());
}

/* A notifies; the others wait, in their order. */
static void
prepare(void)
{
    excused = false;
    memset(told, 0, sizeof told);
    for (int i = 1; i < model_scene_actors(); i++) {
        model_act_as(i);
        model_check(ips_condition_enter(condition_of(i), &seats[i]) == IPS_OK, "no seat");
    }
}

/* A notifier may die before it wakes whom it has notified. */
static void
died(int who)
{
    excused = excused || who == 0;
}

/* So may one that is to wake the next. */
static void
died_in_chain(int who)
{
    (void)who;
    excused = true;
}

static bool
may_need_bound(void)
{
    return excused;
}

/* `patience` 0: for ever, whatever signals come.  `used`: or it raises, and another is told instead. */
static void
wait(int me, int64_t patience, bool used)
{
    ips_condition condition = condition_of(me);
    int64_t deadline = patience == 0 ? IPS_FOREVER : model_time() + patience;
    int status;
    do {
        status = ips_condition_wait(condition, &seats[me], deadline);
    } while (status == IPS_EINTR && patience == 0);
    model_check(status == IPS_OK || patience != 0, "%c: wait fails with %d", 'A' + me, status);
    bool notified = status == IPS_OK || ips_condition_withdraw(condition, &seats[me]);
    told[me] = notified && used;
    ips_condition_leave(condition, &seats[me], used);
}

static void
complain(const char *line, void *context)
{
    (void)context;
    model_violated("%s", line);
}

static void
check_seats(void)
{
    int survivor = 0;
    while (survivor < model_scene_actors() - 1 && model_is_dead(survivor)) {
        survivor++;
    }
    model_act_as(survivor);
    ips_condition condition = condition_of(survivor);
    ips_condition_tend(condition, true);
    model_check(ips_condition_check(condition, complain, NULL) == IPS_OK, "check fails");
    model_check(ips_condition_waiters(condition) == 0, "somebody is still waited for");
}

/* --- one notification, which B does not use ---------------------------------------- */

static void
pass_on(int me)
{
    if (me == 0) {
        ips_condition_notify(condition_of(0), 1);
    } else {
        wait(me, me == 1 ? 1000 : 0, me != 1);
    }
}

/* Whoever is dead, B or A, C hears of it, unless it was A before it said so. */
static void
finish_passed(void)
{
    model_check(model_is_dead(0) || model_is_dead(2) || told[2], "C was not told");
    check_seats();
}


/* --- two notifications, three waiters, of which C is interrupted ------------------- */

static void
interrupt(int me)
{
    if (me == 0) {
        ips_condition_notify(condition_of(0), 1);
        ips_condition_notify(condition_of(0), 1);
    } else {
        wait(me, me == 2 ? 1000 : 0, me != 2);
    }
}

static void
finish_interrupted(void)
{
    model_check(told[1] && told[3], "B: %d, D: %d", told[1], told[3]);
    check_seats();
}

/* --- all --------------------------------------------------------------------------- */

static void
all(int me)
{
    if (me == 0) {
        ips_condition_notify_all(condition_of(0));
    } else {
        wait(me, 0, true);
    }
}

static void
all_later(int me)
{
    if (me == 0) {
        ips_condition_notify_all_later(condition_of(0));
        ips_condition_wake(condition_of(0), ips_condition_take_due(condition_of(0)));
    } else {
        wait(me, 0, true);
    }
}

static void
finish_all(void)
{
    for (int i = 1; i < model_scene_actors(); i++) {
        model_check(model_is_dead(i) || told[i], "%c was not told", 'A' + i);
    }
    check_seats();
}

const model_scene model_scenes[] = {
    {.name = "condition: what one does not use goes to the next", .actors = 3,
     .bounds = {.preemptions = 2, .early = 1},
     .prepare = prepare, .act = pass_on, .may_need_bound = may_need_bound,
     .finish = finish_passed},
    {.name = "condition: what a dead one did not use goes to the next", .actors = 3,
     .bounds = {.preemptions = 1, .deaths = 1}, .immortal = 1 | 1 << 2,
     .prepare = prepare, .act = pass_on, .died = died, .may_need_bound = may_need_bound,
     .finish = finish_passed},
    {.name = "condition: one is interrupted", .actors = 4,
     .bounds = {.preemptions = 1, .signals = 1},
     .prepare = prepare, .act = interrupt, .may_need_bound = may_need_bound,
     .finish = finish_interrupted},
    {.name = "condition: one is all", .actors = 2,
     .bounds = {.preemptions = 2, .stale = 2},
     .prepare = prepare, .act = all, .may_need_bound = may_need_bound, .finish = finish_all},
    {.name = "condition: all are told", .actors = 4,
     .bounds = {.preemptions = 1},
     .prepare = prepare, .act = all, .may_need_bound = may_need_bound, .finish = finish_all},
    {.name = "condition: all are told, the wakes put off", .actors = 4,
     .bounds = {.deaths = 1}, .immortal = 1,
     .prepare = prepare, .act = all_later, .died = died_in_chain,
     .may_need_bound = may_need_bound, .finish = finish_all},
};
const int model_scene_count = sizeof model_scenes / sizeof model_scenes[0];
