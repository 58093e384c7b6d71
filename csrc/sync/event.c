/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/event.h"

#include "os/futex.h"

/* set() wakes a few and each of them wakes a few more: hundreds of waiters
 * spread over all CPUs instead of standing in line behind one system call. */
#define WAKE_AT_SET 4
#define WAKE_AT_WAKING 2

void
ips_event_set(ips_event_shm *event)
{
    /* relaxed: the swap decides. */
    uint32_t state = atomic_load_explicit(&event->state, memory_order_relaxed);
    uint32_t next;
    do {
        next = (state & 1) != 0 ? state : state + 3;
        /* seq_cst: pairs with the waiters' acquire loads (also where it was
         * set already: what this caller did shall be visible too), and ordered
         * before the look at the sleepers bit. */
    } while (!atomic_compare_exchange_weak_explicit(&event->state, &state, next,
                                                    memory_order_seq_cst, memory_order_relaxed));
    if (next == state) {
        return;
    }
    ips_fence_after_rmw();
    ips_eventcount_notify(&event->changed, WAKE_AT_SET);
}

void
ips_event_clear(ips_event_shm *event)
{
    /* release: pairs with the acquire loads of those who see it clear. */
    (void)atomic_fetch_and_explicit(&event->state, ~UINT32_C(1), memory_order_release);
}

typedef struct {
    const ips_event_shm *event;
    uint32_t since;
} waiter;

static bool
is_done(void *context)
{
    const waiter *self = (const waiter *)context;
    uint32_t state = ips_event_state(self->event);
    return (state & 1) != 0 || state != self->since;
}

int
ips_event_wait(ips_event_shm *event, ips_space *space, uint32_t since, int64_t deadline)
{
    waiter self = {event, since};
    if (is_done(&self) || ips_spin_until(is_done, &self, deadline)) {
        return IPS_OK;
    }
    for (;;) {
        uint32_t key = ips_eventcount_prepare(&event->changed);
        if (is_done(&self)) {
            return IPS_OK;
        }
        int status = ips_eventcount_wait(&event->changed, key, space, IPS_NOBODY, deadline);
        if (is_done(&self)) {
            (void)ips_futex_wake(&event->changed.word, WAKE_AT_WAKING);
            return IPS_OK;
        }
        if (status != IPS_OK) {
            return status;
        }
    }
}
