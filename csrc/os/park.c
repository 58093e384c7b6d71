/* SPDX-License-Identifier: Apache-2.0 */
#include "os/park.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "os/clock.h"
#include "os/futex.h"

#define TRIPS 6u
#define LONGEST_NS INT64_C(700000)

/* Words of both, and theirs alone; the last one to leave frees it, so that
 * nobody waits for a partner that gets no CPU. */
typedef struct {
    _Atomic uint32_t ping; /* trips begun, by the one who asks */
    _Atomic uint32_t pong; /* trips answered, by the partner */
    _Atomic uint32_t users;
    int64_t deadline;
    int cpu; /* where the partner is to run, or -1 */
} court;

static void
leave(court *it)
{
    /* acq_rel: all use by the other comes before the freeing; pairs with itself. */
    if (atomic_fetch_sub_explicit(&it->users, 1, memory_order_acq_rel) == 1) {
        free(it);
    }
}

/* Park until *word reaches `count`; false at the deadline. */
static bool
await(const _Atomic uint32_t *word, uint32_t count, int64_t deadline)
{
    /* acquire: pairs with the release in answer(). */
    while (atomic_load_explicit(word, memory_order_acquire) != count) {
        if (ips_now() >= deadline) {
            return false;
        }
        (void)ips_futex_wait(word, count - 1, deadline);
    }
    return true;
}

static void
answer(_Atomic uint32_t *word, uint32_t count)
{
    /* release: pairs with the acquire in await(). */
    atomic_store_explicit(word, count, memory_order_release);
    (void)ips_futex_wake(word, 1);
}

static void *
partner(void *context)
{
    court *it = (court *)context;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    if (it->cpu >= 0) {
        CPU_SET(it->cpu, &cpus);
        (void)pthread_setaffinity_np(pthread_self(), sizeof cpus, &cpus);
    }
    for (uint32_t trip = 1; trip <= TRIPS && await(&it->ping, trip, it->deadline); trip++) {
        answer(&it->pong, trip);
    }
    leave(it);
    return NULL;
}

/* Another CPU than ours that we may use, or -1. */
static int
other_cpu(void)
{
    cpu_set_t cpus;
    int here = sched_getcpu();
    if (sched_getaffinity(0, sizeof cpus, &cpus) != 0) {
        return -1;
    }
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (cpu != here && CPU_ISSET(cpu, &cpus)) {
            return cpu;
        }
    }
    return -1;
}

static bool
start_partner(court *it)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    (void)sigfillset(&all);
    if (pthread_attr_init(&attributes) != 0) {
        return false;
    }
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attributes, 64u * 1024);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* the partner takes no signals */
    bool started = pthread_create(&thread, &attributes, partner, it) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attributes);
    return started;
}

int64_t
ips_park_measure(void)
{
    court *it = (court *)calloc(1, sizeof *it);
    if (it == NULL) {
        return 0;
    }
    int64_t best = 0;
    it->cpu = other_cpu();
    it->deadline = ips_now() + LONGEST_NS;
    atomic_init(&it->users, 2);
    if (it->cpu < 0 || !start_partner(it)) {
        free(it);
        return 0;
    }
    for (uint32_t trip = 1; trip <= TRIPS; trip++) {
        int64_t begun = ips_now();
        answer(&it->ping, trip);
        if (!await(&it->pong, trip, it->deadline)) {
            break;
        }
        int64_t ended = ips_now();
        if (ended > it->deadline) { /* one of us stood aside: that is no cost of parking */
            break;
        }
        int64_t took = ended - begun;
        /* The first one waits for the thread to come up. */
        best = trip > 1 && (best == 0 || took < best) ? took : best;
    }
    leave(it);
    return best / 2;
}
