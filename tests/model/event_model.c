/* SPDX-License-Identifier: Apache-2.0 */
/* The event and the event count under it: who waits for what happened goes
 * on, and sees what was done before; nobody is left asleep. */
#include <stdatomic.h>
#include <string.h>

#include "base/atomics.h"
#include "model.h"
#include "os/clock.h"
#include "sync/event.h"
#include "sync/watch.h"

typedef struct {
    ips_event_shm event;
    uint8_t apart[56];
    _Atomic uint64_t letter; /* written before set() */
    uint8_t further[56];
    ips_eventcount_shm posted;
    uint8_t furthest[60];
    _Atomic uint64_t tokens;
} shared;

#define S ((shared *)(void *)model_arena)

static bool excused;

static void
prepare(void)
{
    excused = false;
}

static bool
may_need_bound(void)
{
    return excused;
}

/* --- the event ------------------------------------------------------------------ */

/* A setter killed in set() after its swap may not have woken anybody, and the
 * next one finds it set.  A waiter's death is no excuse. */
static void
died_at_event(int who)
{
    bool sets = who == 0;
    excused = excused || (sets && ips_event_is_set(&S->event));
}

static void
set(void)
{
    /* relaxed: set() is what makes it visible to those who waited. */
    atomic_store_explicit(&S->letter, 1, memory_order_relaxed);
    ips_event_set(&S->event);
}

static void
await(int me)
{
    uint32_t since = ips_event_state(&S->event);
    int status;
    do {
        status = ips_event_wait(&S->event, model_space(), since, IPS_FOREVER);
    } while (status == IPS_EINTR);
    model_check(status == IPS_OK, "%c: wait fails with %d", 'A' + me, status);
    /* relaxed: wait() was the acquire. */
    model_check(atomic_load_explicit(&S->letter, memory_order_relaxed) == 1,
                "%c was let go but does not see what the setter did", 'A' + me);
}

static void
set_and_await(int me)
{
    if (me == 0) {
        set();
    } else {
        await(me);
    }
}

/* Whoever began to wait while it was clear is let go by the first set() also
 * where it runs only after the clear(), and whoever begins later by the second. */
static void
set_clear_and_await(int me)
{
    if (me == 0) {
        set();
        ips_event_clear(&S->event);
        set();
    } else {
        await(me);
    }
}

static void
two_set_and_await(int me)
{
    if (me < 2) {
        set();
    } else {
        await(me);
    }
}

/* B gives up at a signal or when its time is over. */
static void
set_and_await_a_while(int me)
{
    if (me != 1) {
        set_and_await(me);
        return;
    }
    uint32_t since = ips_event_state(&S->event);
    int status = ips_event_wait(&S->event, model_space(), since, model_time() + 1000);
    model_check(status == IPS_OK || status == IPS_ETIMEOUT || status == IPS_EINTR,
                "wait fails with %d", status);
}

static void
finish_set(void)
{
    model_check(model_is_dead(0) || ips_event_is_set(&S->event), "not set at the end");
}

/* --- the event count: a mailbox of tokens ------------------------------------------ */

static void
died_at_tokens(int who)
{
    (void)who;
    excused = true; /* a poster before its notify, or a taker with the wake of another */
}

static void
post(void)
{
    /* relaxed: the fence orders it before the look at the sleepers bit. */
    atomic_fetch_add_explicit(&S->tokens, 1, memory_order_relaxed);
    /* pairs with the fence in ips_eventcount_prepare */
    atomic_thread_fence(memory_order_seq_cst);
    ips_eventcount_notify(&S->posted, 1);
}

static bool
take(void)
{
    /* relaxed: the swap decides; a token carries nothing. */
    uint64_t tokens = atomic_load_explicit(&S->tokens, memory_order_relaxed);
    while (tokens != 0) {
        if (atomic_compare_exchange_strong_explicit(&S->tokens, &tokens, tokens - 1,
                                                    memory_order_relaxed, memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

static void
take_or_park(void)
{
    while (!take()) {
        uint32_t key = ips_eventcount_prepare(&S->posted);
        if (take()) {
            return;
        }
        int status = ips_eventcount_wait(&S->posted, key, model_space(), IPS_NOBODY, IPS_FOREVER);
        model_check(status == IPS_OK || status == IPS_EINTR, "wait fails with %d", status);
    }
}

static void
post_each_and_take(int me)
{
    if (me == 0) {
        post();
        post();
    } else {
        take_or_park();
    }
}

static void
post_and_take(int me)
{
    if (me < 2) {
        post();
    } else {
        take_or_park();
    }
}

static void
died_watched(int who)
{
    (void)who; /* no excuse: the bell is heard, whenever it rings */
}

/* As service/answer.c waits: the server's death ends it. */
static void
take_from_the_living(void)
{
    ips_space *space = model_space();
    ips_watch watch;
    ips_watch_start(&watch);
    ips_watch_add(&watch, model_owner(0));
    while (!take()) {
        uint32_t key = ips_eventcount_prepare(&S->posted);
        if (take() || !ips_watch_lives(&watch, space, model_owner(0))) {
            return;
        }
        int status = ips_watch_wait(&S->posted, key, space, &watch, IPS_FOREVER);
        model_check(status == IPS_OK, "wait fails with %d", status);
    }
}

static void
post_to_watchers(int me)
{
    if (me == 0) {
        post();
        post();
    } else {
        take_from_the_living();
    }
}

static void
finish_tokens(void)
{
    uint64_t left;
    memcpy(&left, (void *)&S->tokens, 8);
    model_check(model_deaths() != 0 || left == 0, "%d tokens lie about", (int)left);
}

#define EVENT(what, count, does, ...)                                                    \
    {.name = "event: " what, .actors = count, .prepare = prepare, .act = does,           \
     .died = died_at_event, .may_need_bound = may_need_bound, .finish = finish_set, __VA_ARGS__}
#define COUNT(what, count, does, ...)                                                    \
    {.name = "event count: " what, .actors = count, .prepare = prepare, .act = does,     \
     .died = died_at_tokens, .may_need_bound = may_need_bound, .finish = finish_tokens,  \
     __VA_ARGS__}

const model_scene model_scenes[] = {
    EVENT("one waits", 2, set_and_await, .bounds = {4, 0, 2, 0, 0, 0}),
    EVENT("two wait", 3, set_and_await, .bounds = {2, 0, 1, 0, 0, 0}),
    EVENT("two wait, a waiter is killed", 3, set_and_await, .bounds = {2, 1, 0, 0, 0, 0},
          .immortal = 1),
    EVENT("two wait, two set, a setter is killed", 4, two_set_and_await,
          .bounds = {1, 1, 0, 0, 0, 0}, .immortal = 14),
    EVENT("five wait", 6, set_and_await, .bounds = {0, 0, 0, 0, 0, 0}),
    EVENT("set, cleared and set again", 3, set_clear_and_await, .bounds = {2, 0, 1, 0, 0, 0}),
    EVENT("one gives up", 3, set_and_await_a_while, .bounds = {2, 0, 0, 1, 0, 1}),
    COUNT("one posts two, two take", 3, post_each_and_take, .bounds = {2, 0, 1, 0, 0, 0}),
    COUNT("two post, two take", 4, post_and_take, .bounds = {2, 0, 0, 0, 0, 0}),
    COUNT("one posts two, early and spurious returns", 3, post_each_and_take,
          .bounds = {2, 0, 0, 1, 1, 0}),
    {.name = "event count: a poster is watched", .actors = 3, .prepare = prepare,
     .act = post_to_watchers, .died = died_watched, .may_need_bound = may_need_bound,
     .finish = finish_tokens, .bounds = {2, 1, 0, 0, 0, 0}, .immortal = 6},
};
const int model_scene_count = sizeof model_scenes / sizeof *model_scenes;
