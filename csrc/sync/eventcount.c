/* SPDX-License-Identifier: Apache-2.0 */
/* Parking and waking on an event count.  The word is drawn in its header. */
#include "sync/eventcount.h"

#include <limits.h>

#include "member/postbox.h"
#include "member/waits.h"
#include "os/clock.h"
#include "os/futex.h"

/* A waker killed between its change and its wake leaves sleepers behind; they
 * look again by themselves. */
#define BOUND_NS INT64_C(100000000)
/* Whoever waits for less is not kept for finding out what a park costs. */
#define TIME_TO_MEASURE_NS INT64_C(2000000)
/* An empty side that polls without rest takes the cache line from the other
 * at every store: 14 M messages a second against 23-39 M. */
#define PAUSES_A_LOOK 50

uint32_t
ips_eventcount_prepare(ips_eventcount_shm *event)
{
    /* seq_cst, then the fence: the bit is visible before the caller re-checks
     * its condition; pairs with the fence before ips_eventcount_notify. */
    uint32_t old = atomic_fetch_or_explicit(&event->word, IPS_EC_SLEEPERS, memory_order_seq_cst);
    ips_fence_after_rmw();
    return old | IPS_EC_SLEEPERS;
}

uint32_t
ips_eventcount_prepare_async(ips_eventcount_shm *event, ips_space *space)
{
    ips_postbox_want(space);
    /* seq_cst: the bit in the table comes first; pairs with the swap in
     * ring_async.  With the fence, it is visible before the caller re-checks,
     * as in ips_eventcount_prepare. */
    uint32_t old = atomic_fetch_or_explicit(&event->word, IPS_EC_ASYNC, memory_order_seq_cst);
    ips_fence_after_rmw();
    return old | IPS_EC_ASYNC;
}

int
ips_eventcount_wait(ips_eventcount_shm *event, uint32_t key, ips_space *space, ips_owner watched,
                    int64_t deadline)
{
    int64_t now = ips_now();
    if (now >= deadline) {
        return IPS_ETIMEOUT;
    }
    if (__builtin_expect(ips_spin_is_open(), 0) && deadline - now > TIME_TO_MEASURE_NS) {
        ips_space_measure_park(space);
    }
    ips_space_tend(space);
    ips_waiting_park(space, watched);
    int64_t until = deadline - now < BOUND_NS ? deadline : now + BOUND_NS;
    ips_bell bell = {NULL, 0};
    if (watched != IPS_NOBODY) {
        bell = ips_member_bell(space, watched);
    }
    int status = bell.word == NULL
                     ? ips_futex_wait(&event->word, key, until)
                     : ips_futex_wait_two(&event->word, key, bell.word, bell.expected, until);
    if (ips_bell_has_rung(bell)) {
        (void)ips_futex_wake(bell.word, 1); /* our caller may leave without a proof */
    }
    return status == IPS_ETIMEOUT ? IPS_OK : status;
}

/* Take the bit down, and tell all event loops in the table: each puts it up
 * again if it has to go on waiting. */
static void
ring_async(ips_eventcount_shm *event)
{
    /* seq_cst: pairs with the fetch-or in ips_eventcount_prepare_async. */
    uint32_t old = atomic_fetch_and_explicit(&event->word, ~IPS_EC_ASYNC, memory_order_seq_cst);
    if ((old & IPS_EC_ASYNC) != 0) {
        ips_postbox_ring();
    }
}

/* Wake up to `count` that park; `now` is the word with the raised epoch. */
static void
wake_sleepers(ips_eventcount_shm *event, uint32_t now, int count)
{
    if (ips_futex_wake(&event->word, count) >= count) {
        return;
    }
    /* Fewer slept than were to be woken: nobody is left, so the bit can go,
     * unless something changed since.  Whoever prepared in between compares
     * the word with its key and does not park; whoever parked between our
     * wake and this swap is woken by the second wake.  acq_rel: pairs with the
     * fetch-or in prepare. */
    if (atomic_compare_exchange_strong_explicit(&event->word, &now, now & ~IPS_EC_SLEEPERS,
                                                memory_order_acq_rel, memory_order_relaxed)) {
        (void)ips_futex_wake(&event->word, INT_MAX);
    }
}

void
ips_eventcount_notify_slow(ips_eventcount_shm *event, int count)
{
    /* acq_rel: epochs follow one another; the order against the caller's
     * change is the caller's fence, which pairs with the one in prepare. */
    uint32_t now = IPS_EC_EPOCH + atomic_fetch_add_explicit(&event->word, IPS_EC_EPOCH,
                                                            memory_order_acq_rel);
    if ((now & IPS_EC_ASYNC) != 0) {
        ring_async(event);
        now &= ~IPS_EC_ASYNC;
    }
    if ((now & IPS_EC_SLEEPERS) != 0) {
        wake_sleepers(event, now, count);
    }
}

bool
ips_spin_until(bool (*ready)(void *context), void *context, int64_t deadline)
{
    if (ready(context)) {
        return true;
    }
    int64_t budget = ips_spin_budget();
    int64_t now = ips_now();
    if (budget == 0 || deadline <= now) {
        return false;
    }
    int64_t until = deadline - now < budget ? deadline : now + budget;
    while (ips_now() < until) {
        for (int i = 0; i < PAUSES_A_LOOK; i++) {
            ips_pause();
        }
        if (ready(context)) {
            return true;
        }
    }
    return false;
}
