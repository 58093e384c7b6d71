/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/spin.h"

#include "base/atomics.h"
#include "os/clock.h"

#define SHORTEST_NS INT64_C(1000)
#define WHOLE_EVERY 64u
#define PAUSES_A_LOOK 8

static int64_t
budget_of(ips_spin *spin, int64_t whole)
{
    /* relaxed, all: a hint. */
    uint32_t waits = atomic_fetch_add_explicit(&spin->waits, 1, memory_order_relaxed);
    int64_t budget = atomic_load_explicit(&spin->budget, memory_order_relaxed);
    return budget == 0 || budget > whole || waits % WHOLE_EVERY == 0 ? whole : budget;
}

static bool
spin_until(bool (*ready)(void *context), void *context, int64_t until)
{
    do {
        for (int i = 0; i < PAUSES_A_LOOK; i++) {
            ips_pause();
        }
        if (ready(context)) {
            return true;
        }
    } while (ips_now() < until);
    return false;
}

bool
ips_spin_learning(ips_spin *spin, bool (*ready)(void *context), void *context, int64_t deadline)
{
    if (ready(context)) {
        return true;
    }
    int64_t whole = ips_spin_budget();
    int64_t now = ips_now();
    if (whole == 0 || deadline <= now) {
        return false;
    }
    int64_t budget = budget_of(spin, whole);
    bool helped = spin_until(ready, context, deadline - now < budget ? deadline : now + budget);
    int64_t next = helped ? budget * 2 : budget / 4;
    next = next < SHORTEST_NS ? SHORTEST_NS : next < whole ? next : whole;
    /* relaxed: a hint. */
    atomic_store_explicit(&spin->budget, next, memory_order_relaxed);
    return helped;
}
