/* SPDX-License-Identifier: Apache-2.0 */
#include "os/clock.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/sysinfo.h>
#include <time.h>

/* Parking and being woken costs 25-60 us on a virtual machine, where an idle
 * CPU halts and the wake-up is an exit to the hypervisor, and 5-7 us on bare
 * metal.  Spinning longer than that can only lose. */
#define SPIN_BUDGET_NS 50000
#define SPIN_BUDGET_UNKNOWN INT64_C(-1)

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

static int64_t
choose_spin_budget(void)
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
    return SPIN_BUDGET_NS;
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
    static _Atomic int64_t chosen = SPIN_BUDGET_UNKNOWN;
    /* relaxed: every thread computes the same value. */
    int64_t budget = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (budget == SPIN_BUDGET_UNKNOWN) {
        budget = choose_spin_budget();
        atomic_store_explicit(&chosen, budget, memory_order_relaxed);
    }
    return budget;
}
