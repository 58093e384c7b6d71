/* SPDX-License-Identifier: Apache-2.0 */
#include "os/clock.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/sysinfo.h>
#include <time.h>

/* Until it was measured (os/park.h), and the bounds of what may come of that:
 * a busy machine or a damaged file must make nobody spin for ever. */
#define SPIN_BUDGET_NS 50000
#define LEAST_BUDGET_NS 10000
#define LARGEST_BUDGET_NS 100000
#define SPIN_BUDGET_UNKNOWN INT64_C(-1)

static _Atomic int64_t spin_budget = SPIN_BUDGET_UNKNOWN;
static _Atomic bool spin_is_settled;

static int64_t
read_clock(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t
ips_now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t
ips_wall_clock(void)
{
    return read_clock(CLOCK_REALTIME);
}

/* What the user or the machine leaves no choice about, or -1. */
static int64_t
given_spin_budget(void)
{
    const char *wish = getenv("IPCSYS_SPIN_NS");
    if (wish != NULL && *wish != '\0') {
        char *end;
        long long budget = strtoll(wish, &end, 10);
        if (*end == '\0' && budget >= 0 && budget <= 1000000000) {
            return budget;
        }
    }
    cpu_set_t cpus;
    if (sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) == 1) {
        /* The one we wait for may need this very CPU. Being pinned alone while
         * peers run elsewhere looks the same from here, so ask for the machine. */
        return get_nprocs() > 1 ? SPIN_BUDGET_NS : 0;
    }
    return SPIN_BUDGET_UNKNOWN;
}

static int64_t
choose_spin_budget(void)
{
    int64_t given = given_spin_budget();
    if (given == SPIN_BUDGET_UNKNOWN) {
        return SPIN_BUDGET_NS;
    }
    /* relaxed: a plain fact, and every thread finds the same. */
    atomic_store_explicit(&spin_is_settled, true, memory_order_relaxed);
    return given;
}

uint32_t
ips_cpu_count(void)
{
    static _Atomic uint32_t known;
    /* relaxed: every thread finds the same. */
    uint32_t count = atomic_load_explicit(&known, memory_order_relaxed);
    if (count == 0) {
        cpu_set_t cpus;
        int found = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : get_nprocs();
        count = found > 0 ? (uint32_t)found : 1;
        atomic_store_explicit(&known, count, memory_order_relaxed);
    }
    return count;
}

int64_t
ips_spin_budget(void)
{
    /* relaxed: a plain number, and any that was ever stored will do. */
    int64_t budget = atomic_load_explicit(&spin_budget, memory_order_relaxed);
    if (budget == SPIN_BUDGET_UNKNOWN) {
        budget = choose_spin_budget();
        atomic_store_explicit(&spin_budget, budget, memory_order_relaxed);
    }
    return budget;
}

bool
ips_spin_is_open(void)
{
    /* relaxed: a late reader only asks once more. */
    return !atomic_load_explicit(&spin_is_settled, memory_order_relaxed);
}

void
ips_spin_settle(int64_t park_ns)
{
    (void)ips_spin_budget(); /* settles what is given */
    if (!ips_spin_is_open()) {
        return;
    }
    if (park_ns > 0) {
        int64_t budget = park_ns < LEAST_BUDGET_NS     ? LEAST_BUDGET_NS
                         : park_ns > LARGEST_BUDGET_NS ? LARGEST_BUDGET_NS
                                                       : park_ns;
        /* relaxed, both: as in the two functions above. */
        atomic_store_explicit(&spin_budget, budget, memory_order_relaxed);
    }
    /* relaxed: as above. */
    atomic_store_explicit(&spin_is_settled, true, memory_order_relaxed);
}
