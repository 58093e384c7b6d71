/* SPDX-License-Identifier: Apache-2.0 */
/* The desk: threads that take turns at one inbox. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "os/clock.h"
#include "service/desk.h"

#define CHECK(condition)                                                             \
    do {                                                                             \
        if (!(condition)) {                                                          \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);  \
            exit(1);                                                                 \
        }                                                                            \
    } while (0)

enum { THREADS = 4, ROUNDS = 3000, BURSTS = 300, SLOW_NS = 90000000 };

static ips_space *space;
static ips_eventcount_shm event;
static ips_desk desk;
static _Atomic int64_t items;
static _Atomic int64_t taken;
static _Atomic uint32_t stop;
static _Atomic uint32_t busy;   /* threads inside a handler */
static _Atomic uint32_t meet;   /* a handler waits until so many are inside */

static bool
has_items(void *context)
{
    (void)context;
    return atomic_load_explicit(&items, memory_order_seq_cst) > 0
        || atomic_load_explicit(&stop, memory_order_seq_cst) != 0;
}

static bool
take(void)
{
    int64_t count = atomic_load_explicit(&items, memory_order_seq_cst);
    while (count > 0) {
        if (atomic_compare_exchange_weak_explicit(&items, &count, count - 1, memory_order_seq_cst,
                                                  memory_order_seq_cst)) {
            return true;
        }
    }
    return false;
}

static void
put(int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        atomic_fetch_add_explicit(&items, 1, memory_order_seq_cst);
        ips_fence_after_rmw();
        ips_eventcount_notify(&event, 1);
    }
}

static void
handle(void)
{
    uint32_t wanted = atomic_load_explicit(&meet, memory_order_seq_cst);
    atomic_fetch_add_explicit(&busy, 1, memory_order_seq_cst);
    int64_t deadline = ips_now() + INT64_C(20000000000);
    while (atomic_load_explicit(&busy, memory_order_seq_cst) < wanted) {
        CHECK(ips_now() < deadline); /* a handler kept the others from their messages */
        ips_sleep_until(ips_now() + 50000);
    }
    atomic_fetch_add_explicit(&taken, 1, memory_order_seq_cst);
}

static int
await(ips_desk *at, int64_t deadline)
{
    return ips_desk_spin(at, deadline) ? IPS_OK : ips_desk_park(at, deadline);
}

static void *
work(void *unused)
{
    for (;;) {
        if (take()) {
            ips_desk_took(&desk);
            handle();
        } else if (atomic_load_explicit(&stop, memory_order_seq_cst) != 0) {
            return unused;
        } else {
            CHECK(await(&desk, IPS_FOREVER) == 0);
        }
    }
}

static void
await_taken(int64_t count)
{
    int64_t deadline = ips_now() + INT64_C(20000000000);
    while (atomic_load_explicit(&taken, memory_order_seq_cst) < count) {
        CHECK(ips_now() < deadline);
        ips_pause();
    }
}

static void
run(int threads, void (*scene)(void))
{
    pthread_t ids[THREADS];
    ips_desk_init(&desk, space, &event, has_items, NULL);
    atomic_store_explicit(&taken, 0, memory_order_seq_cst);
    atomic_store_explicit(&stop, 0, memory_order_seq_cst);
    for (int i = 0; i < threads; i++) {
        CHECK(pthread_create(&ids[i], NULL, work, NULL) == 0);
    }
    scene();
    atomic_store_explicit(&stop, 1, memory_order_seq_cst);
    ips_eventcount_notify(&event, THREADS);
    for (int i = 0; i < threads; i++) {
        CHECK(pthread_join(ids[i], NULL) == 0);
    }
    CHECK(atomic_load_explicit(&desk.parked, memory_order_seq_cst) == 0);
    CHECK(atomic_load_explicit(&desk.spinning, memory_order_seq_cst) == 0);
}

/* A lost wake-up would be made good only by the park's bound of 100 ms. */
static void
one_by_one(void)
{
    int slow = 0;
    for (int64_t i = 1; i <= ROUNDS; i++) {
        if (i % 50 == 0) { /* now and then all of them are asleep */
            ips_sleep_until(ips_now() + 300000);
        }
        int64_t started = ips_now();
        put(1);
        await_taken(i);
        slow += ips_now() - started > SLOW_NS;
    }
    CHECK(slow <= 2);
}

static void
bursts(void)
{
    atomic_store_explicit(&meet, THREADS, memory_order_seq_cst);
    int slow = 0;
    for (int64_t i = 1; i <= BURSTS; i++) {
        atomic_store_explicit(&busy, 0, memory_order_seq_cst);
        int64_t started = ips_now();
        if (i % 2 == 0) {
            put(THREADS);
        } else {
            for (int k = 0; k < THREADS; k++) {
                put(1);
                ips_sleep_until(ips_now() + 20000 * (i % 7));
            }
        }
        await_taken(i * THREADS);
        slow += ips_now() - started > SLOW_NS;
    }
    CHECK(slow <= 3);
    atomic_store_explicit(&meet, 0, memory_order_seq_cst);
}

static void
timeouts(void)
{
    ips_desk lonely;
    ips_desk_init(&lonely, space, &event, has_items, NULL);
    int64_t started = ips_now();
    CHECK(await(&lonely, started + 20000000) == IPS_ETIMEOUT);
    int64_t took = ips_now() - started;
    CHECK(took >= 20000000 && took < INT64_C(5000000000));
    CHECK(await(&lonely, IPS_AT_ONCE) == IPS_ETIMEOUT);
}

int
main(void)
{
    char folder[300];
    snprintf(folder, sizeof folder, "%s/desk", getenv("IPCSYS_DIR"));
    CHECK(ips_space_join(folder, &space) == 0);
    timeouts();
    puts("ok a wait ends at its deadline");
    run(1, one_by_one);
    run(THREADS, one_by_one);
    puts("ok no wake-up is lost between one that spins and those that sleep");
    run(THREADS, bursts);
    puts("ok while one is busy the others get what comes");
    ips_space_leave_all();
    return 0;
}
