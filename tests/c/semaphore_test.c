/* SPDX-License-Identifier: Apache-2.0 */
/* The semaphore without Python: counting, threads, deaths with claims, deaths
 * in the middle, a table without room. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/clock.h"
#include "sync/semaphore.h"

#define CHECK(condition)                                                             \
    do {                                                                             \
        if (!(condition)) {                                                          \
            fprintf(stderr, "%s:%d: failed: %s (note: %s)\n", __FILE__, __LINE__,    \
                    #condition, ips_last_note()->detail);                            \
            exit(1);                                                                 \
        }                                                                            \
    } while (0)

#define SOON (ips_now() + INT64_C(10000000000))

static ips_space *space;

static void
report(const char *line, void *context)
{
    (void)context;
    fprintf(stderr, "%s\n", line);
}

static int
extend(ips_wide *wide, uint64_t bytes)
{
    ips_wide_reached(wide, bytes);
    return 0;
}

/* A semaphore in memory that forked children share. */
typedef struct {
    _Atomic uint64_t words[2];
    ips_wide wide;
    ips_semaphore semaphore;
    _Atomic int inside, most, rounds;
} place;

static place *
new_place(int64_t value, uint64_t flags, bool bounded, uint32_t seats)
{
    uint64_t body = sizeof(ips_semaphore_shm) + seats * sizeof(ips_semaphore_seat_shm);
    uint8_t *memory = mmap(NULL, 4096 + body, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                           -1, 0);
    CHECK(memory != MAP_FAILED);
    place *at = (place *)memory;
    /* relaxed: nobody else knows it yet. */
    atomic_store_explicit(&at->words[0], (uint64_t)value, memory_order_relaxed);
    atomic_store_explicit(&at->words[1], flags, memory_order_relaxed);
    at->wide.shm = memory + 4096;
    at->wide.capacity = body;
    at->wide.name = "test";
    at->wide.extend = extend;
    CHECK(ips_semaphore_open(&at->semaphore, at->words, &at->wide, space, bounded) == 0);
    return at;
}

static void
end_place(place *at)
{
    CHECK(ips_semaphore_check(&at->semaphore, IPS_FOREVER, report, NULL) == 0);
    CHECK(munmap(at, 4096 + at->wide.capacity) == 0);
}

static int64_t
value_of(place *at)
{
    CHECK(ips_semaphore_check(&at->semaphore, IPS_FOREVER, report, NULL) == 0);
    return ips_semaphore_value(&at->semaphore);
}

static int
take(place *at)
{
    return ips_semaphore_try(&at->semaphore, true);
}

static int
give(place *at, int64_t n)
{
    return ips_semaphore_release(&at->semaphore, ips_space_self(space), n, SOON);
}

static void
counting(void)
{
    place *at = new_place(2, 0, false, 8);
    CHECK(take(at) == 0 && take(at) == 0 && take(at) == IPS_EAGAIN && value_of(at) == 0);
    CHECK(ips_semaphore_acquire(&at->semaphore, ips_now() + 2000000) == IPS_ETIMEOUT);
    CHECK(give(at, 5) == 1 && value_of(at) == 5);
    for (int i = 0; i < 5; i++) {
        CHECK(ips_semaphore_quick(&at->semaphore, ips_space_self(space)) == 1);
    }
    CHECK(ips_semaphore_quick(&at->semaphore, ips_space_self(space)) == 0);
    CHECK(give(at, IPS_SEMAPHORE_MAX) == 1 && give(at, 1) == 0);
    CHECK(value_of(at) == IPS_SEMAPHORE_MAX);
    end_place(at);
    at = new_place(2, IPS_SEMAPHORE_UNOWNED, true, 8);
    CHECK(give(at, 1) == 0 && take(at) == 0 && give(at, 2) == 0 && give(at, 1) == 1);
    CHECK(value_of(at) == 2);
    end_place(at);
    printf("ok permits are counted, and bounded where they are to be\n");
}

static void *
go_through(void *context)
{
    place *at = context;
    for (int i = 0; i < 300; i++) {
        int status;
        do {
            status = ips_semaphore_acquire(&at->semaphore, SOON);
        } while (status == IPS_EINTR);
        CHECK(status == 0);
        /* relaxed, here and below: counts, of which only the bound matters. */
        int inside = 1 + atomic_fetch_add_explicit(&at->inside, 1, memory_order_relaxed);
        int most = atomic_load_explicit(&at->most, memory_order_relaxed);
        while (inside > most && !atomic_compare_exchange_weak_explicit(
                                    &at->most, &most, inside, memory_order_relaxed,
                                    memory_order_relaxed)) {
        }
        (void)atomic_fetch_sub_explicit(&at->inside, 1, memory_order_relaxed);
        CHECK(give(at, 1) == 1);
    }
    return NULL;
}

static void
threads(void)
{
    place *at = new_place(2, 0, true, 8);
    pthread_t thread[4];
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_create(&thread[i], NULL, go_through, at) == 0);
    }
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_join(thread[i], NULL) == 0);
    }
    CHECK(value_of(at) == 2);
    CHECK(atomic_load_explicit(&at->most, memory_order_relaxed) <= 2);
    end_place(at);
    printf("ok no more threads inside than permits\n");
}

/* A child that calls and then dies without a word. */
static void
in_child(place *at, void (*act)(place *at))
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        act(at);
        (void)kill(getpid(), SIGKILL);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
}

static void
take_two(place *at)
{
    CHECK(take(at) == 0 && take(at) == 0);
}

static void
give_three(place *at)
{
    CHECK(give(at, 3) == 1);
}

static void
claims_of_the_dead(void)
{
    place *guard = new_place(2, 0, false, 8);
    for (int i = 0; i < 3; i++) {
        in_child(guard, take_two);
        CHECK(value_of(guard) == 0 && take(guard) == 0 && value_of(guard) == 1);
        CHECK(give(guard, 1) == 1);
    }
    end_place(guard);
    place *counter = new_place(0, 0, false, 8);
    in_child(counter, give_three);
    CHECK(value_of(counter) == 3);
    in_child(counter, take_two);
    CHECK(value_of(counter) == 1 && take(counter) == 0 && take(counter) == IPS_EAGAIN);
    CHECK(value_of(counter) == 0);
    in_child(counter, give_three); /* cancels our claim */
    CHECK(value_of(counter) == 3);
    end_place(counter);
    place *both = new_place(3, 0, false, 8);
    in_child(both, take_two);
    CHECK(give(both, 1) == 1 && value_of(both) == 2); /* one of the dead one's is cancelled */
    CHECK(take(both) == 0 && take(both) == 0 && take(both) == 0 && take(both) == IPS_EAGAIN);
    CHECK(give(both, 3) == 1 && value_of(both) == 3);
    end_place(both);
    printf("ok a dead member's claims come back, as far as permits are missing\n");
}

/* The extra permits above the initial value stay out of what the dead had. */
static void
surplus(void)
{
    place *at = new_place(1, 0, false, 8);
    in_child(at, give_three);
    CHECK(value_of(at) == 4);
    in_child(at, take_two); /* value 2, two claims, none of the initial one is missing */
    CHECK(take(at) == 0 && take(at) == 0 && value_of(at) == 0);
    CHECK(take(at) == 0); /* min(2, 1 - 0) came back */
    CHECK(take(at) == IPS_EAGAIN && value_of(at) == 0);
    end_place(at);
    printf("ok what was above the initial value does not come back\n");
}

static void
take_one(place *at)
{
    CHECK(take(at) == 0);
}

static void
find_no_seat(place *at)
{
    CHECK(take(at) == IPS_ENOSPACE);
    CHECK(strstr(ips_last_note()->detail, "'test'") != NULL);
}

static void
few_seats(void)
{
    place *at = new_place(9, 0, false, 2);
    for (int i = 0; i < 5; i++) {
        in_child(at, take_one); /* seats of the dead are given on */
    }
    CHECK(take(at) == 0);
    int alive[2];
    CHECK(pipe(alive) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        take_one(at);
        CHECK(write(alive[1], "1", 1) == 1);
        (void)pause();
    }
    char byte;
    CHECK(read(alive[0], &byte, 1) == 1);
    in_child(at, find_no_seat);
    CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
    in_child(at, take_one);
    end_place(at);
    (void)close(alive[0]);
    (void)close(alive[1]);
    printf("ok where no seat is left it says so, and seats of the dead are given on\n");
}

static void
churn(place *at)
{
    for (;;) {
        int status = ips_semaphore_acquire(&at->semaphore, SOON);
        CHECK(status == 0 && give(at, 1) == 1);
        if (take(at) == 0) {
            CHECK(give(at, 1) == 1);
        }
    }
}

static void
kills(void)
{
    place *at = new_place(2, 0, true, 64);
    pid_t pids[3];
    for (unsigned round = 0; round < 25; round++) {
        for (int i = 0; i < 3; i++) {
            pids[i] = fork();
            CHECK(pids[i] >= 0);
            if (pids[i] == 0) {
                churn(at);
            }
        }
        ips_sleep_until(ips_now() + 500000 + round * 200000);
        for (int i = 0; i < 3; i++) {
            CHECK(kill(pids[i], SIGKILL) == 0);
        }
        for (int i = 0; i < 3; i++) {
            CHECK(waitpid(pids[i], NULL, 0) == pids[i]);
        }
        CHECK(take(at) == 0 && take(at) == 0 && take(at) == IPS_EAGAIN);
        CHECK(give(at, 2) == 1 && value_of(at) == 2);
    }
    end_place(at);
    printf("ok wherever processes are killed, every permit comes back once\n");
}

/* A child that is inside the word's lock, and stays there. */
static pid_t
stand_inside(place *at)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        CHECK(take(at) == 0);
        /* relaxed: it only has to be there. */
        atomic_fetch_or_explicit(&at->semaphore.shm->word, at->semaphore.mine + UINT64_C(1),
                                 memory_order_relaxed);
        atomic_store_explicit(&at->inside, 1, memory_order_release);
        for (;;) {
            (void)pause();
        }
    }
    while (atomic_load_explicit(&at->inside, memory_order_acquire) == 0) {
        (void)usleep(100);
    }
    return pid;
}

static void
another_life(void)
{
    place *at = new_place(2, 0, false, 8);
    CHECK(take(at) == 0 && give(at, 1) == 1); /* the old handle knows its seat */
    ips_semaphore old = at->semaphore;
    pid_t pid = stand_inside(at);
    CHECK(!ips_semaphore_renew(old.shm, at->wide.capacity, space));
    CHECK(kill(pid, SIGSTOP) == 0 && !ips_semaphore_renew(old.shm, at->wide.capacity, space));
    int status;
    CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid);
    int64_t end = SOON;
    while (!ips_semaphore_renew(old.shm, at->wide.capacity, space)) {
        CHECK(ips_space_sweep(space) == 0 && ips_now() < end);
    }
    CHECK(ips_semaphore_open(&at->semaphore, at->words, &at->wide, space, false) == 0);
    ips_owner me = ips_space_self(space);
    CHECK(take(at) == 0 && value_of(at) == 1);
    CHECK(ips_semaphore_quick(&old, me) == IPS_EGONE);
    CHECK(ips_semaphore_release(&old, me, 1, SOON) == IPS_EGONE);
    CHECK(ips_semaphore_acquire(&old, SOON) == IPS_EGONE);
    CHECK(ips_semaphore_try(&old, true) == IPS_EGONE);
    old.mine = IPS_NO_SEAT; /* and of one that never was inside */
    atomic_store_explicit(&old.owner, IPS_NOBODY, memory_order_relaxed);
    CHECK(ips_semaphore_acquire(&old, SOON) == IPS_EGONE);
    CHECK(ips_semaphore_release(&old, me, 1, SOON) == IPS_EGONE);
    CHECK(value_of(at) == 1 && give(at, 1) == 1);
    end_place(at);
    printf("ok the next life of the bytes begins when nobody is inside, and no old handle reaches it\n");
}

static void
damage(void)
{
    place *at = new_place(2, 0, false, 8);
    ips_semaphore_shm *shm = at->semaphore.shm;
    for (int i = 0; i < 2000; i++) {
        for (size_t at_byte = 8; at_byte < sizeof *shm + 8 * sizeof *shm->seats; at_byte++) {
            if (rand() % 3 == 0) {
                ((uint8_t *)shm)[at_byte] = (uint8_t)rand();
            }
        }
        int status = take(at) + give(at, 1 + rand() % 3);
        status += ips_semaphore_acquire(&at->semaphore, ips_now() + 1000);
        CHECK(status < 1000 + ips_semaphore_arm(&at->semaphore, true));
    }
    CHECK(munmap(at, 4096 + at->wide.capacity) == 0);
    /* relaxed: a value that no creator writes. */
    place *other = new_place(2, 0, false, 8);
    atomic_store_explicit(&other->words[0], UINT64_MAX, memory_order_relaxed);
    CHECK(ips_semaphore_open(&other->semaphore, other->words, &other->wide, space, false) ==
          IPS_ECORRUPT);
    CHECK(munmap(other, 4096 + other->wide.capacity) == 0);
    printf("ok damaged bytes lead nowhere bad\n");
}

int
main(void)
{
    char folder[256];
    const char *root = getenv("IPCSYS_DIR");
    (void)snprintf(folder, sizeof folder, "%s/semaphore-%d", root == NULL ? "/dev/shm" : root,
                   (int)getpid());
    (void)alarm(100);
    CHECK(ips_space_join(folder, &space) == 0);
    counting();
    threads();
    claims_of_the_dead();
    surplus();
    few_seats();
    kills();
    another_life();
    damage();
    ips_space_leave_all();
    return 0;
}
