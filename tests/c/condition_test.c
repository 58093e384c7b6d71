/* SPDX-License-Identifier: Apache-2.0 */
/* Recursive locks and conditions, without Python, by threads and processes.
 * Prints "ok <promise>" lines. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "member/space.h"
#include "os/clock.h"
#include "sync/condition.h"
#include "sync/rlock.h"

#define CHECK(condition)                                                             \
    do {                                                                             \
        if (!(condition)) {                                                          \
            fprintf(stderr, "%s:%d: failed: %s (note: %s)\n", __FILE__, __LINE__,    \
                    #condition, ips_last_note()->detail);                            \
            exit(1);                                                                 \
        }                                                                            \
    } while (0)

#define SECOND INT64_C(1000000000)

static ips_space *space;

/* In shared memory: a lock, a condition, and what the threads agree about. */
typedef struct {
    ips_rlock_shm rlock;
    _Atomic uint64_t waiting, told, stage;
    _Alignas(64) uint8_t body[IPS_WIDE_FIRST];
} scene_shm;

static scene_shm *scene;
static ips_wide wide;
static ips_condition condition;

static int
no_more(ips_wide *body, uint64_t bytes)
{
    (void)body;
    return ips_fail(IPS_ENOSPACE, "%llu bytes", (unsigned long long)bytes);
}

static void
clear_scene(void)
{
    memset(scene, 0, sizeof *scene);
    wide = (ips_wide){.shm = scene->body, .capacity = sizeof scene->body, .name = "",
                      .extend = no_more};
    ips_wide_reached(&wide, sizeof scene->body);
    condition = ips_condition_of(&wide, space);
}

static void
complain(const char *line, void *context)
{
    (void)context;
    fprintf(stderr, "%s\n", line);
}

static void
check_sound(void)
{
    CHECK(ips_condition_check(condition, complain, NULL) == IPS_OK);
    CHECK(ips_condition_waiters(condition) == 0);
}

static uint64_t
number_of(_Atomic uint64_t *number)
{
    return atomic_load_explicit(number, memory_order_seq_cst);
}

static void
add_one(_Atomic uint64_t *number)
{
    (void)atomic_fetch_add_explicit(number, 1, memory_order_seq_cst);
}

static void
await(_Atomic uint64_t *number, uint64_t least)
{
    int64_t limit = ips_now() + 20 * SECOND;
    while (number_of(number) < least) {
        CHECK(ips_now() < limit);
        ips_sleep_until(ips_now() + 100000);
    }
}

/* --- rlock --------------------------------------------------------------- */

static void
recursion(void)
{
    clear_scene();
    ips_owner me = ips_space_self(space);
    CHECK(ips_rlock_try(&scene->rlock, me, 7) && ips_rlock_try(&scene->rlock, me, 7));
    CHECK(ips_rlock_is_mine(&scene->rlock, me, 7) && !ips_rlock_is_mine(&scene->rlock, me, 8));
    CHECK(!ips_rlock_try(&scene->rlock, me, 8) && ips_rlock_count(&scene->rlock) == 2);
    CHECK(ips_rlock_acquire(&scene->rlock, space, 8, 1, ips_now() + 2000000) == IPS_ETIMEOUT);
    ips_rlock_release(&scene->rlock);
    CHECK(ips_rlock_try_or_take_over(&scene->rlock, space, 8) == IPS_EAGAIN);
    ips_rlock_release(&scene->rlock);
    CHECK(!ips_rlock_is_mine(&scene->rlock, me, 7));
    CHECK(ips_rlock_acquire(&scene->rlock, space, 8, 3, IPS_FOREVER) == IPS_OK);
    CHECK(ips_rlock_is_mine(&scene->rlock, me, 8) && ips_rlock_count(&scene->rlock) == 3);
    ips_rlock_leave(&scene->rlock);
    CHECK(ips_lock_owner(&scene->rlock.lock) == IPS_NOBODY);
    printf("ok an rlock belongs to one thread, as often as it took it\n");
}

static void
inheritance(void)
{
    clear_scene();
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        ips_owner me = ips_space_self(space);
        for (int i = 0; i < 5; i++) {
            CHECK(ips_rlock_try(&scene->rlock, me, 7));
        }
        (void)raise(SIGKILL);
    }
    CHECK(waitpid(pid, NULL, 0) == pid);
    ips_owner me = ips_space_self(space);
    CHECK(!ips_rlock_is_mine(&scene->rlock, me, 7));
    CHECK(ips_rlock_acquire(&scene->rlock, space, 7, 1, ips_now() + 5 * SECOND) == IPS_ABANDONED);
    CHECK(ips_rlock_is_mine(&scene->rlock, me, 7) && ips_rlock_count(&scene->rlock) == 1);
    CHECK(ips_lock_is_abandoned(&scene->rlock.lock));
    ips_rlock_release(&scene->rlock);
    printf("ok the heir of an rlock begins at one\n");
}

static uint64_t guarded;

static void *
count_up(void *context)
{
    uint64_t thread = (uint64_t)(uintptr_t)context;
    for (int i = 0; i < 2000; i++) {
        CHECK(ips_rlock_acquire(&scene->rlock, space, thread, 1, IPS_FOREVER) == IPS_OK);
        CHECK(ips_rlock_try(&scene->rlock, ips_space_self(space), thread));
        guarded++;
        ips_rlock_release(&scene->rlock);
        ips_rlock_release(&scene->rlock);
    }
    return NULL;
}

static void
exclusion(void)
{
    clear_scene();
    pthread_t thread[4];
    for (uintptr_t i = 0; i < 4; i++) {
        CHECK(pthread_create(&thread[i], NULL, count_up, (void *)(i + 1)) == 0);
    }
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_join(thread[i], NULL) == 0);
    }
    CHECK(guarded == 8000);
    printf("ok threads that take an rlock exclude one another\n");
}

/* --- condition ----------------------------------------------------------- */

static void
order(void)
{
    clear_scene();
    ips_seat seats[5];
    for (int i = 0; i < 5; i++) {
        CHECK(ips_condition_enter(condition, &seats[i]) == IPS_OK);
    }
    ips_condition_notify(condition, 2);
    CHECK(ips_condition_waiters(condition) == 3);
    CHECK(ips_condition_is_notified(condition, &seats[0]));
    CHECK(ips_condition_is_notified(condition, &seats[1]));
    CHECK(!ips_condition_is_notified(condition, &seats[2]));
    CHECK(!ips_condition_withdraw(condition, &seats[2]));
    ips_condition_leave(condition, &seats[2], true);
    ips_condition_leave(condition, &seats[0], false); /* it raises: the next one's now */
    CHECK(ips_condition_is_notified(condition, &seats[3]));
    CHECK(ips_condition_wait(condition, &seats[4], ips_now() + 3000000) == IPS_ETIMEOUT);
    ips_condition_notify_all(condition);
    CHECK(ips_condition_wait(condition, &seats[4], IPS_AT_ONCE) == IPS_OK);
    CHECK(ips_condition_withdraw(condition, &seats[4]));
    for (int i = 1; i < 5; i++) {
        ips_condition_leave(condition, &seats[i], false);
    }
    check_sound();
    CHECK(ips_condition_enter(condition, &seats[0]) == IPS_OK);
    CHECK(!ips_condition_is_notified(condition, &seats[0]));
    CHECK(!ips_condition_withdraw(condition, &seats[0]));
    ips_condition_leave(condition, &seats[0], true);
    check_sound();
    printf("ok the oldest are notified, and what one does not use goes to the next\n");
}

static void
fullness(void)
{
    clear_scene();
    enum { MOST = (IPS_WIDE_FIRST - sizeof(ips_condition_shm)) / sizeof(ips_seat_shm) };
    static ips_seat seats[MOST + 1];
    for (int i = 0; i < MOST; i++) {
        CHECK(ips_condition_enter(condition, &seats[i]) == IPS_OK);
    }
    CHECK(ips_condition_enter(condition, &seats[MOST]) == IPS_ENOSPACE);
    CHECK(ips_condition_withdraw(condition, &seats[MOST]) == false);
    CHECK(ips_condition_waiters(condition) == MOST);
    ips_condition_notify(condition, MOST - 1);
    CHECK(ips_condition_waiters(condition) == 1);
    for (int i = 0; i < MOST; i++) {
        CHECK(ips_condition_withdraw(condition, &seats[i]) == (i < MOST - 1));
        ips_condition_leave(condition, &seats[i], true);
    }
    check_sound();
    CHECK(ips_condition_enter(condition, &seats[0]) == IPS_OK);
    ips_condition_leave(condition, &seats[0], true);
    printf("ok a waiter more than there are seats is refused\n");
}

/* The whole of a wait, as bind/condition.c does it. */
static int
wait_like_python(uint64_t thread, int64_t deadline)
{
    ips_seat seat;
    CHECK(ips_condition_enter(condition, &seat) == IPS_OK);
    uint64_t count = ips_rlock_count(&scene->rlock);
    ips_rlock_leave(&scene->rlock);
    int status = ips_condition_wait(condition, &seat, deadline);
    if (status != IPS_OK && ips_condition_withdraw(condition, &seat)) {
        status = IPS_OK;
    }
    CHECK(ips_rlock_acquire(&scene->rlock, space, thread, count, IPS_FOREVER) >= 0);
    ips_condition_leave(condition, &seat, true);
    return status;
}

static uint64_t jobs, taken;

static void *
consume(void *context)
{
    uint64_t thread = (uint64_t)(uintptr_t)context;
    CHECK(ips_rlock_acquire(&scene->rlock, space, thread, 1, IPS_FOREVER) == IPS_OK);
    while (taken < 1500) {
        if (jobs == 0) {
            (void)wait_like_python(thread, ips_now() + (thread % 2 == 0 ? 10 * SECOND : 300000));
            continue;
        }
        jobs--;
        if (++taken == 1500) {
            ips_condition_notify_all(condition);
        }
    }
    ips_rlock_leave(&scene->rlock);
    return NULL;
}

static void *
produce(void *context)
{
    uint64_t thread = (uint64_t)(uintptr_t)context;
    for (int i = 0; i < 750; i++) {
        CHECK(ips_rlock_acquire(&scene->rlock, space, thread, 1, IPS_FOREVER) == IPS_OK);
        jobs++;
        ips_condition_notify(condition, 1);
        ips_rlock_leave(&scene->rlock);
    }
    return NULL;
}

static void
work(void)
{
    clear_scene();
    pthread_t thread[6];
    int64_t start = ips_now();
    for (uintptr_t i = 0; i < 6; i++) {
        CHECK(pthread_create(&thread[i], NULL, i < 4 ? consume : produce, (void *)(i + 1)) == 0);
    }
    for (int i = 0; i < 6; i++) {
        CHECK(pthread_join(thread[i], NULL) == 0);
    }
    CHECK(jobs == 0 && taken == 1500 && ips_now() - start < 20 * SECOND);
    check_sound();
    printf("ok no job waits for a consumer that was not told\n");
}

static void *
wait_once(void *context)
{
    uint64_t thread = (uint64_t)(uintptr_t)context;
    CHECK(ips_rlock_acquire(&scene->rlock, space, thread, 1, IPS_FOREVER) == IPS_OK);
    add_one(&scene->waiting);
    CHECK(wait_like_python(thread, ips_now() + 30 * SECOND) == IPS_OK);
    add_one(&scene->told);
    ips_rlock_leave(&scene->rlock);
    return NULL;
}

static void
crowd(void)
{
    enum { MANY = 64 };
    clear_scene();
    pthread_t thread[MANY];
    for (uintptr_t i = 0; i < MANY; i++) {
        CHECK(pthread_create(&thread[i], NULL, wait_once, (void *)(i + 2)) == 0);
    }
    await(&scene->waiting, MANY);
    CHECK(ips_rlock_acquire(&scene->rlock, space, 1, 1, IPS_FOREVER) == IPS_OK);
    ips_sleep_until(ips_now() + 30000000); /* until they are parked */
    ips_condition_notify_all(condition);
    CHECK(number_of(&scene->told) == 0);
    ips_rlock_leave(&scene->rlock);
    for (int i = 0; i < MANY; i++) {
        CHECK(pthread_join(thread[i], NULL) == 0);
    }
    check_sound();
    printf("ok notify_all reaches all, two being woken and each waking the next\n");
}

static void *
disorder(void *context)
{
    unsigned seed = (unsigned)(uintptr_t)context;
    for (int i = 0; i < 1500; i++) {
        ips_seat seat;
        if (rand_r(&seed) % 3 == 0) {
            ips_condition_notify(condition, (uint64_t)(rand_r(&seed) % 3));
        } else if (rand_r(&seed) % 8 == 0) {
            ips_condition_notify_all(condition);
        } else {
            CHECK(ips_condition_enter(condition, &seat) == IPS_OK);
            int status = ips_condition_wait(condition, &seat, ips_now() + rand_r(&seed) % 50000);
            bool told = status == IPS_OK || ips_condition_withdraw(condition, &seat);
            ips_condition_leave(condition, &seat, told && rand_r(&seed) % 2 == 0);
        }
    }
    return NULL;
}

static void
lawlessness(void)
{
    clear_scene();
    pthread_t thread[5];
    for (uintptr_t i = 0; i < 5; i++) {
        CHECK(pthread_create(&thread[i], NULL, disorder, (void *)(i + 1)) == 0);
    }
    for (int i = 0; i < 5; i++) {
        CHECK(pthread_join(thread[i], NULL) == 0);
    }
    check_sound();
    printf("ok seats stay sound where callers do without the lock\n");
}

/* --- deaths -------------------------------------------------------------- */

/* A child that waits, and tells when it was notified. */
static pid_t
start_waiter(uint64_t number)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)wait_once((void *)(uintptr_t)7);
        _exit(0);
    }
    await(&scene->waiting, number);
    /* It had the lock then; once we have it, it waits. */
    CHECK(ips_rlock_acquire(&scene->rlock, space, 1, 1, IPS_FOREVER) == IPS_OK);
    ips_rlock_leave(&scene->rlock);
    return pid;
}

static void
succession(int deaths)
{
    enum { CROWD = 5 };
    clear_scene();
    pid_t pid[CROWD];
    for (int i = 0; i < CROWD; i++) {
        pid[i] = start_waiter((uint64_t)i + 1);
    }
    CHECK(ips_rlock_acquire(&scene->rlock, space, 1, 1, IPS_FOREVER) == IPS_OK);
    ips_condition_notify(condition, (uint64_t)deaths);
    for (int i = 0; i < deaths; i++) {
        CHECK(kill(pid[i], SIGKILL) == 0);
    }
    for (int i = 0; i < deaths; i++) {
        CHECK(waitpid(pid[i], NULL, 0) == pid[i]);
    }
    int64_t limit = ips_now() + 5 * SECOND;
    while (ips_condition_waiters(condition) > (uint32_t)(CROWD - 2 * deaths)) {
        CHECK(ips_now() < limit);
        ips_sleep_until(ips_now() + 100000);
    }
    ips_rlock_leave(&scene->rlock);
    await(&scene->told, (uint64_t)deaths);
    ips_sleep_until(ips_now() + 30000000);
    CHECK(number_of(&scene->told) == (uint64_t)deaths);
    CHECK(ips_rlock_acquire(&scene->rlock, space, 1, 1, IPS_FOREVER) == IPS_OK);
    ips_condition_notify_all(condition);
    ips_rlock_leave(&scene->rlock);
    for (int i = deaths; i < CROWD; i++) {
        int status;
        CHECK(waitpid(pid[i], &status, 0) == pid[i] && status == 0);
    }
    check_sound();
    printf("ok what %d dead waiters did not use goes to the next, once\n", deaths);
}

static void
ghosts(void)
{
    clear_scene();
    for (int i = 0; i < 4; i++) {
        pid_t pid = start_waiter((uint64_t)i + 1);
        CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
    }
    ips_seat seat;
    CHECK(ips_condition_enter(condition, &seat) == IPS_OK);
    CHECK(ips_condition_waiters(condition) == 1);
    ips_condition_notify(condition, 1);
    CHECK(ips_condition_is_notified(condition, &seat));
    ips_condition_leave(condition, &seat, true);
    ips_condition_tend(condition, true);
    check_sound();
    printf("ok the dead are not notified, and keep no seats\n");
}

/* --- damage -------------------------------------------------------------- */

static void
damage(void)
{
    unsigned seed = 20;
    for (int round = 0; round < 3000; round++) {
        clear_scene();
        ips_seat seats[3];
        for (int i = 0; i < 3; i++) {
            CHECK(ips_condition_enter(condition, &seats[i]) == IPS_OK);
        }
        for (int i = 0; i < 1 + round % 8; i++) {
            size_t at = (size_t)rand_r(&seed) % (round % 2 == 0 ? 700 : sizeof scene->body);
            scene->body[at] = (uint8_t)rand_r(&seed);
        }
        ips_condition_notify(condition, (uint64_t)(rand_r(&seed) % 4));
        int status = ips_condition_wait(condition, &seats[0], IPS_AT_ONCE);
        CHECK(status == IPS_OK || status == IPS_ETIMEOUT || status == IPS_ECORRUPT);
        ips_condition_notify_all(condition);
        (void)ips_condition_waiters(condition);
        for (int i = 0; i < 3; i++) {
            (void)ips_condition_withdraw(condition, &seats[i]);
            ips_condition_leave(condition, &seats[i], false);
        }
    }
    printf("ok damaged bytes neither crash nor hang\n");
}

int
main(void)
{
    char folder[256];
    const char *root = getenv("IPCSYS_DIR");
    (void)snprintf(folder, sizeof folder, "%s/condition-%d", root == NULL ? "/dev/shm" : root,
                   (int)getpid());
    (void)alarm(100);
    CHECK(ips_space_join(folder, &space) == 0);
    scene = mmap(NULL, sizeof *scene, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(scene != MAP_FAILED);
    recursion();
    inheritance();
    order();
    fullness();
    ghosts();
    succession(1);
    succession(2);
    damage();
    exclusion();
    work();
    crowd();
    lawlessness();
    ips_space_leave_all();
    return 0;
}
