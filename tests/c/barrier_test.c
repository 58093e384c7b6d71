/* SPDX-License-Identifier: Apache-2.0 */
/* The Barrier's core without Python: threads, forks and kills. */
#include "sync/barrier.h"

#include "sync_scene.h" /* its statics would be shadowed */

enum { THREADS = 5, ROUNDS = 800 };

static ips_barrier barrier;

static void
begin(uint32_t parties)
{
    clear_stage();
    ips_barrier_start(&barrier, &wide, parties, space);
}

/* One wait as the binding does it; the index, or the failure. */
static int
meet(bool acts, int64_t deadline)
{
    ips_barrier_visit visit;
    CHECK(ips_barrier_sit(&barrier, ips_now() + SOON) == 0);
    int status = ips_barrier_arrive(&barrier, acts, &visit);
    while (status == IPS_EAGAIN) {
        CHECK(ips_barrier_wait_action(&barrier, ips_now() + SOON) == 0);
        status = ips_barrier_arrive(&barrier, acts, &visit);
    }
    if (status < 0) {
        return status;
    }
    if (!visit.last) {
        status = ips_barrier_wait(&barrier, &visit, deadline);
        if (status == IPS_ETIMEOUT) {
            status = ips_barrier_give_up(&barrier, &visit);
        }
        if (status == IPS_EAGAIN) {
            status = ips_barrier_wait(&barrier, &visit, ips_now() + SOON);
        }
    } else if (acts) {
        status = ips_barrier_release(&barrier, &visit);
    }
    ips_barrier_depart(&barrier);
    return status < 0 ? status : (int)visit.index;
}

static void
check_whole(void)
{
    CHECK(ips_barrier_check(&barrier, report, NULL) == 0);
    CHECK(!ips_barrier_is_broken(&barrier) && ips_barrier_waiting(&barrier) == 0);
}

static void
alone(void)
{
    begin(1);
    for (int i = 0; i < 20; i++) {
        CHECK(meet(i % 2 == 0, IPS_AT_ONCE) == 0);
    }
    check_whole();
    begin(2);
    CHECK(meet(false, in_ms(10)) == IPS_EBROKEN);
    CHECK(ips_barrier_is_broken(&barrier) && meet(false, IPS_FOREVER) == IPS_EBROKEN);
    CHECK(ips_barrier_reset(&barrier, IPS_FOREVER) == 0);
    check_whole();
    ips_barrier_visit visit;
    CHECK(ips_barrier_arrive(&barrier, false, &visit) == 0 && !visit.last && visit.index == 0);
    CHECK(ips_barrier_waiting(&barrier) == 1);
    CHECK(ips_barrier_outcome(&barrier, &visit) == IPS_EAGAIN);
    CHECK(ips_barrier_leave(&barrier, &visit) && ips_barrier_waiting(&barrier) == 0);
    ips_barrier_depart(&barrier);
    check_whole();
    CHECK(ips_barrier_arrive(&barrier, false, &visit) == 0);
    CHECK(ips_barrier_reset(&barrier, IPS_FOREVER) == 0);
    CHECK(ips_barrier_outcome(&barrier, &visit) == IPS_EBROKEN && !ips_barrier_leave(&barrier, &visit));
    ips_barrier_depart(&barrier);
    check_whole();
    ips_barrier_abort(&barrier);
    ips_barrier_abort(&barrier);
    CHECK(ips_barrier_is_broken(&barrier));
    puts("ok one thread comes, leaves, gives up, breaks and resets");
}

/* Whoever is late by many rounds still learns how its own ended. */
static void
late(void)
{
    for (int well = 0; well < 2; well++) {
        begin(2);
        ips_barrier_visit mine, other;
        CHECK(ips_barrier_sit(&barrier, IPS_FOREVER) == 0);
        CHECK(ips_barrier_arrive(&barrier, false, &mine) == 0);
        if (well) {
            CHECK(ips_barrier_arrive(&barrier, false, &other) == 0 && other.last);
        } else {
            CHECK(ips_barrier_reset(&barrier, IPS_FOREVER) == 0);
        }
        for (int i = 0; i < 13; i++) {
            CHECK(ips_barrier_outcome(&barrier, &mine) == (well ? 0 : IPS_EBROKEN));
            CHECK(ips_barrier_arrive(&barrier, false, &other) == 0);
            if (well) {
                CHECK(ips_barrier_reset(&barrier, IPS_FOREVER) == 0);
            } else {
                CHECK(ips_barrier_arrive(&barrier, false, &other) == 0 && other.last);
            }
        }
        CHECK(ips_barrier_outcome(&barrier, &mine) == (well ? 0 : IPS_EBROKEN));
    }
    puts("ok a late waiter learns how its own round ended");
}

/* --- threads ------------------------------------------------------------- */

static uint32_t seen[THREADS]; /* plain: the barrier is all that orders it */
static _Atomic uint32_t taken[ROUNDS];

static void *
go_round(void *context)
{
    uintptr_t self = (uintptr_t)context;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        seen[self] = i;
        int index = meet(i % 3 == 0, ips_now() + SOON);
        CHECK(index >= 0);
        /* relaxed: looked at after the joins. */
        atomic_fetch_or_explicit(&taken[i], UINT32_C(1) << index, memory_order_relaxed);
        for (int k = 0; k < THREADS; k++) {
            CHECK(seen[k] == i);
        }
        CHECK(meet(false, ips_now() + SOON) >= 0);
    }
    return NULL;
}

static void
threads(void)
{
    begin(THREADS);
    pthread_t thread[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&thread[i], NULL, go_round, (void *)i) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(thread[i], NULL) == 0);
    }
    for (int i = 0; i < ROUNDS; i++) {
        /* relaxed: after the joins. */
        CHECK(atomic_load_explicit(&taken[i], memory_order_relaxed) == (1u << THREADS) - 1);
    }
    check_whole();
    puts("ok threads meet round by round, each with an index of its own");
}

static void *
wait_in_vain(void *unused)
{
    CHECK(meet(false, ips_now() + SOON) == IPS_EBROKEN);
    return unused;
}

static void
broken(void)
{
    pthread_t thread[THREADS];
    for (int how = 0; how < 2; how++) {
        begin(THREADS + 1);
        for (int i = 0; i < THREADS; i++) {
            CHECK(pthread_create(&thread[i], NULL, wait_in_vain, NULL) == 0);
        }
        while (ips_barrier_waiting(&barrier) < THREADS) {
            ips_sleep_until(in_ms(1));
        }
        if (how == 0) {
            ips_barrier_abort(&barrier);
        } else {
            CHECK(ips_barrier_reset(&barrier, IPS_FOREVER) == 0);
        }
        for (int i = 0; i < THREADS; i++) {
            CHECK(pthread_join(thread[i], NULL) == 0);
        }
        CHECK(ips_barrier_is_broken(&barrier) == (how == 0));
        CHECK(ips_barrier_check(&barrier, report, NULL) == 0);
    }
    puts("ok abort and reset end all waits");
}

/* --- processes ----------------------------------------------------------- */

/* A process that goes so many rounds with us, and then waits or stands still. */
static pid_t
party(int rounds, bool waits)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        for (int i = 0; i < rounds && meet(false, ips_now() + SOON) >= 0; i++) {
        }
        if (waits) {
            (void)meet(false, IPS_FOREVER);
        }
        for (;;) {
            (void)pause();
        }
    }
    return pid;
}

static void
await(uint32_t count)
{
    int64_t deadline = ips_now() + SOON;
    while (ips_barrier_waiting(&barrier) != count) {
        CHECK(ips_now() < deadline);
        ips_sleep_until(in_ms(1));
    }
}

static void
check_breaks_at_death(pid_t pid)
{
    pthread_t killer;
    CHECK(pthread_create(&killer, NULL, kill_soon, (void *)(intptr_t)pid) == 0);
    CHECK(meet(false, ips_now() + SOON) == IPS_EBROKEN);
    CHECK(pthread_join(killer, NULL) == 0 && waitpid(pid, NULL, 0) == pid);
    CHECK(ips_barrier_is_broken(&barrier));
    CHECK(ips_barrier_reset(&barrier, IPS_FOREVER) == 0);
    check_whole();
}

static void
deaths(void)
{
    begin(3);
    pid_t pid = party(0, true);
    await(1);
    check_breaks_at_death(pid);
    puts("ok a party that dies waiting breaks it for those who wait");

    begin(2);
    pid = party(0, true);
    await(1);
    finish(pid);
    CHECK(meet(false, ips_now() + SOON) == IPS_EBROKEN);
    CHECK(ips_barrier_reset(&barrier, IPS_FOREVER) == 0);
    check_whole();
    puts("ok it breaks for the one who comes after the death, too");

    begin(2);
    pid = party(3, false);
    for (int i = 0; i < 3; i++) {
        CHECK(meet(false, ips_now() + SOON) >= 0);
    }
    check_breaks_at_death(pid);
    pid = party(2, true);
    CHECK(meet(true, ips_now() + SOON) >= 0 && meet(false, ips_now() + SOON) >= 0);
    await(1);
    CHECK(meet(false, ips_now() + SOON) == 1);
    finish(pid);
    puts("ok one that went rounds and dies breaks it; after a reset others go on");

    begin(2);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        CHECK(meet(false, ips_now() + SOON) >= 0);
        ips_barrier_stand_up(&barrier);
        _exit(0);
    }
    CHECK(meet(false, ips_now() + SOON) >= 0);
    CHECK(waitpid(pid, NULL, 0) == pid);
    pid = party(1, false);
    CHECK(meet(false, ips_now() + SOON) >= 0);
    finish(pid);
    puts("ok one that leaves its seat may die");
}

static void
actor_dies(void)
{
    begin(2);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        ips_barrier_visit visit;
        CHECK(ips_barrier_sit(&barrier, IPS_FOREVER) == 0);
        await(1);
        CHECK(ips_barrier_arrive(&barrier, true, &visit) == 0 && visit.last);
        for (;;) {
            (void)pause();
        }
    }
    check_breaks_at_death(pid);
    puts("ok the last one dies acting: it breaks");
}

static void
stopped(void)
{
    begin(2);
    pid_t pid = party(1, true);
    CHECK(meet(false, ips_now() + SOON) >= 0);
    CHECK(kill(pid, SIGSTOP) == 0 && waitpid(pid, NULL, WUNTRACED) == pid);
    ips_barrier_visit visit;
    CHECK(ips_barrier_sit(&barrier, IPS_FOREVER) == 0);
    if (ips_barrier_waiting(&barrier) == 0) { /* it stands still outside */
        CHECK(ips_barrier_arrive(&barrier, false, &visit) == 0);
        CHECK(ips_barrier_wait(&barrier, &visit, in_ms(250)) == IPS_ETIMEOUT);
        CHECK(!ips_barrier_is_broken(&barrier) && kill(pid, SIGCONT) == 0);
        CHECK(ips_barrier_wait(&barrier, &visit, ips_now() + SOON) == 0);
        ips_barrier_depart(&barrier);
    } else {
        CHECK(meet(false, ips_now() + SOON) == 1 && kill(pid, SIGCONT) == 0);
    }
    finish(pid);
    puts("ok a party that stands still is waited for");
}

/* Parties are killed at random; a round ends well or breaks, and never hangs. */
static void
storm(void)
{
    begin(3);
    int well = 0, badly = 0;
    pid_t other = party(1 << 30, false);
    for (unsigned round = 0; round < 40; round++) {
        pid_t pid = party(1 << 30, false);
        pthread_t killer;
        CHECK(pthread_create(&killer, NULL, kill_soon, (void *)(intptr_t)pid) == 0);
        int index;
        while ((index = meet(round % 2 == 0, ips_now() + SOON)) >= 0) {
            well++;
        }
        CHECK(index == IPS_EBROKEN);
        badly++;
        CHECK(pthread_join(killer, NULL) == 0 && waitpid(pid, NULL, 0) == pid);
        finish(other);
        CHECK(ips_barrier_check(&barrier, report, NULL) == 0);
        CHECK(ips_barrier_reset(&barrier, IPS_FOREVER) == 0);
        check_whole();
        other = party(1 << 30, false);
    }
    finish(other);
    CHECK(well > 40 && badly == 40);
    puts("ok wherever a party is killed, the round breaks and nobody hangs");
}

int
main(void)
{
    open_stage("barrier");
    alone();
    late();
    threads();
    broken();
    deaths();
    actor_dies();
    stopped();
    storm();
    ips_space_leave_all();
    return 0;
}
