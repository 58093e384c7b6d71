/* SPDX-License-Identifier: Apache-2.0 */
/* Members, object files and the lock word, without Python: each scene forks
 * real processes.  Prints "ok <promise>" lines. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/owner.h"
#include "member/object.h"
#include "member/space.h"
#include "os/clock.h"
#include "sync/eventcount.h"
#include "sync/lock.h"

#define CHECK(condition)                                                             \
    do {                                                                             \
        if (!(condition)) {                                                          \
            fprintf(stderr, "%s:%d: failed: %s (note: %s)\n", __FILE__, __LINE__,    \
                    #condition, ips_last_note()->detail);                            \
            exit(1);                                                                 \
        }                                                                            \
    } while (0)

static char folder[256];
static ips_space *space;

typedef struct {
    ips_header_shm header;
    ips_lock_shm lock;
    ips_eventcount_shm event;
    _Atomic uint32_t stage;
} scene_shm;

static const ips_object_spec scene_spec = {
    .kind = IPS_KIND_CELL, .format = 1, .layout = 7, .size = 4096, .max_size = 65536};

static scene_shm *
open_scene(const char *name, ips_object **object)
{
    bool created;
    CHECK(ips_object_open(space, name, IPS_OPEN_OR_CREATE, &scene_spec, object, &created) == 0);
    return (scene_shm *)(*object)->base;
}

static void
await_stage(scene_shm *scene, uint32_t stage)
{
    int64_t deadline = ips_now() + INT64_C(10000000000);
    while (atomic_load_explicit(&scene->stage, memory_order_acquire) != stage) {
        CHECK(ips_now() < deadline);
        ips_sleep_until(ips_now() + 100000);
    }
}

static void
reap(pid_t child, int expected_signal)
{
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(expected_signal == 0 ? WIFEXITED(status) && WEXITSTATUS(status) == 0
                               : WIFSIGNALED(status) && WTERMSIG(status) == expected_signal);
}

static _Noreturn void
hold_and_sleep(scene_shm *scene)
{
    CHECK(ips_lock_acquire(&scene->lock, space, IPS_FOREVER) >= 0);
    atomic_store_explicit(&scene->stage, 1, memory_order_release);
    for (;;) {
        pause();
    }
}

static void
test_child_is_a_new_member(void)
{
    ips_owner mine = ips_space_self(space);
    pid_t child = fork();
    if (child == 0) {
        _exit(ips_space_self(space) != mine && ips_space_self(space) != IPS_NOBODY ? 0 : 1);
    }
    reap(child, 0);
    CHECK(ips_space_self(space) == mine);
    puts("ok a forked child is a new member");
}

static void
test_killed_holder_is_inherited(void)
{
    ips_object *object;
    scene_shm *scene = open_scene("killed", &object);
    int64_t worst = 0;
    for (int round = 0; round < 20; round++) {
        atomic_store_explicit(&scene->stage, 0, memory_order_release);
        pid_t child = fork();
        if (child == 0) {
            hold_and_sleep(scene);
        }
        await_stage(scene, 1);
        int64_t killed = ips_now();
        CHECK(kill(child, SIGKILL) == 0);
        CHECK(ips_lock_acquire(&scene->lock, space, killed + INT64_C(5000000000)) ==
              IPS_ABANDONED);
        int64_t took = ips_now() - killed;
        worst = took > worst ? took : worst;
        CHECK(ips_lock_is_abandoned(&scene->lock));
        CHECK(ips_lock_leave(&scene->lock));
        CHECK(ips_lock_owner(&scene->lock) == IPS_NOBODY);
        reap(child, SIGKILL);
    }
    printf("   worst of 20: %lld us\n", (long long)(worst / 1000));
    ips_object_release(object);
    puts("ok a killed holder's lock goes to the waiter, marked abandoned");
}

static void
test_stopped_holder_is_never_robbed(void)
{
    ips_object *object;
    scene_shm *scene = open_scene("stopped", &object);
    pid_t child = fork();
    if (child == 0) {
        hold_and_sleep(scene);
    }
    await_stage(scene, 1);
    CHECK(kill(child, SIGSTOP) == 0);
    CHECK(ips_lock_acquire(&scene->lock, space, ips_now() + 400000000) == IPS_ETIMEOUT);
    CHECK(kill(child, SIGKILL) == 0);
    CHECK(ips_lock_acquire(&scene->lock, space, ips_now() + INT64_C(5000000000)) ==
          IPS_ABANDONED);
    reap(child, SIGKILL);
    CHECK(ips_lock_leave(&scene->lock));
    ips_object_release(object);
    puts("ok a stopped holder is waited for, a killed one is not");
}

static void *
sleep_for_ever(void *unused)
{
    (void)unused;
    for (;;) {
        pause();
    }
    return NULL;
}

static void
test_holder_without_main_thread_is_never_robbed(void)
{
    ips_object *object;
    scene_shm *scene = open_scene("leaderless", &object);
    pid_t child = fork();
    if (child == 0) {
        pthread_t other;
        CHECK(ips_lock_acquire(&scene->lock, space, IPS_FOREVER) >= 0);
        CHECK(pthread_create(&other, NULL, sleep_for_ever, NULL) == 0);
        atomic_store_explicit(&scene->stage, 1, memory_order_release);
        pthread_exit(NULL);
    }
    await_stage(scene, 1);
    CHECK(ips_lock_acquire(&scene->lock, space, ips_now() + 400000000) == IPS_ETIMEOUT);
    CHECK(kill(child, SIGKILL) == 0);
    CHECK(ips_lock_acquire(&scene->lock, space, ips_now() + INT64_C(5000000000)) ==
          IPS_ABANDONED);
    reap(child, SIGKILL);
    ips_object_release(object);
    puts("ok a process whose main thread ended keeps its lock");
}

static void
test_exec_gives_the_lock_up(void)
{
    ips_object *object;
    scene_shm *scene = open_scene("exec", &object);
    pid_t child = fork();
    if (child == 0) {
        CHECK(ips_lock_acquire(&scene->lock, space, IPS_FOREVER) >= 0);
        execl("/bin/sleep", "sleep", "30", (char *)NULL);
        _exit(9);
    }
    int64_t deadline = ips_now() + INT64_C(5000000000);
    while (ips_lock_owner(&scene->lock) == IPS_NOBODY && ips_now() < deadline) {
        ips_sleep_until(ips_now() + 100000);
    }
    CHECK(ips_lock_acquire(&scene->lock, space, deadline) == IPS_ABANDONED);
    CHECK(kill(child, SIGKILL) == 0);
    reap(child, SIGKILL);
    ips_object_release(object);
    puts("ok a program that was replaced by exec holds nothing");
}

static void
test_pid_namespaces(void)
{
    ips_object *object;
    scene_shm *scene = open_scene("foreign", &object);
    pid_t outer = fork();
    if (outer == 0) {
        if (unshare(CLONE_NEWPID) != 0) {
            _exit(7);
        }
        pid_t inner = fork();
        if (inner == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            hold_and_sleep(scene);
        }
        int status;
        (void)waitpid(inner, &status, 0);
        _exit(0);
    }
    int64_t deadline = ips_now() + INT64_C(5000000000);
    int status;
    while (atomic_load_explicit(&scene->stage, memory_order_acquire) != 1) {
        if (waitpid(outer, &status, WNOHANG) == outer) {
            CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
            ips_object_release(object);
            puts("ok (no right to make pid namespaces here; nothing to prove)");
            return;
        }
        CHECK(ips_now() < deadline);
        ips_sleep_until(ips_now() + 100000);
    }
    CHECK(ips_lock_acquire(&scene->lock, space, ips_now() + 400000000) == IPS_ETIMEOUT);
    CHECK(kill(outer, SIGKILL) == 0);
    CHECK(ips_lock_acquire(&scene->lock, space, ips_now() + INT64_C(5000000000)) ==
          IPS_ABANDONED);
    reap(outer, SIGKILL);
    ips_object_release(object);
    puts("ok across pid namespaces the living keep and the dead lose");
}

static int
count_member(const ips_member_facts *facts, void *context)
{
    (void)facts;
    ++*(int *)context;
    return 0;
}

static void
test_slots_of_the_dead_are_reused(void)
{
    for (int round = 0; round < 200; round++) {
        pid_t child = fork();
        if (child == 0) {
            _exit(ips_owner_slot(ips_space_self(space)) < 16 ? 0 : 1);
        }
        reap(child, 0);
    }
    int members = 0;
    CHECK(ips_space_each_member(space, count_member, &members) == 0);
    CHECK(members == 1);
    puts("ok slots of the dead are reused");
}

static void
test_names(void)
{
    ips_object *one, *two;
    bool created;
    CHECK(ips_object_open(space, "n", IPS_OPEN_ONLY, &scene_spec, &one, &created) == IPS_ENOENT);
    CHECK(ips_object_open(space, "n", IPS_CREATE_ONLY, &scene_spec, &one, &created) == 0);
    CHECK(ips_object_open(space, "n", IPS_CREATE_ONLY, &scene_spec, &two, &created) ==
          IPS_EEXIST);
    CHECK(ips_object_open(space, "n", IPS_CREATE_NEW, &scene_spec, &two, &created) == IPS_EINUSE);
    CHECK(ips_object_remove(space, "n", false) == IPS_EINUSE);
    CHECK(ips_object_open(space, "n", IPS_OPEN_ONLY, &scene_spec, &two, &created) == 0);
    CHECK(!created && two->inode == one->inode);
    CHECK(ips_object_remove(space, "n", true) == 0);
    CHECK(ips_object_removed(one) && ips_object_removed(two));
    ips_object_release(one);
    ips_object_release(two);
    CHECK(ips_object_remove(space, "n", false) == IPS_ENOENT);
    ips_object_spec other = scene_spec;
    other.kind = IPS_KIND_QUEUE;
    CHECK(ips_object_open(space, "n", IPS_CREATE_ONLY, &other, &one, &created) == 0);
    CHECK(ips_object_open(space, "n", IPS_OPEN_ONLY, &scene_spec, &two, &created) ==
          IPS_EMISMATCH);
    ips_object_release(one);
    CHECK(ips_object_remove(space, "n", false) == 0);
    static const char *const bad[] = {"", ".", "..", ".x", "a/b", "\xed\xa0\x80", "\xff", "a\nb"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK(ips_name_check(bad[i], strlen(bad[i])) == IPS_ENAME);
    }
    puts("ok names are made, shared, refused and removed");
}

static void
test_last_user_removes_the_name(void)
{
    ips_object_spec spec = scene_spec;
    spec.cleanup_last = true;
    ips_object *object;
    bool created;
    CHECK(ips_object_open(space, "last", IPS_CREATE_ONLY, &spec, &object, &created) == 0);
    pid_t child = fork();
    if (child == 0) {
        for (;;) {
            pause();
        }
    }
    ips_object_release(object);
    CHECK(ips_object_open(space, "last", IPS_OPEN_ONLY, &spec, &object, &created) == 0);
    ips_object_release(object);
    CHECK(kill(child, SIGKILL) == 0);
    reap(child, SIGKILL);
    CHECK(ips_space_sweep(space) == 0);
    CHECK(ips_object_open(space, "last", IPS_OPEN_ONLY, &spec, &object, &created) == IPS_ENOENT);
    puts("ok a forked child holds what it inherited; the last user takes the name along");
}

static void
test_tickets(void)
{
    ips_object *object, *again;
    bool created;
    char ticket[IPS_TICKET_MAX];
    CHECK(ips_object_open(space, NULL, IPS_CREATE_ONLY, &scene_spec, &object, &created) == 0);
    uint64_t inode = object->inode;
    CHECK(ips_object_ticket(object, ticket) == 0);
    ips_object_release(object);
    CHECK(ips_object_redeem(space, ticket, &scene_spec, &again) == 0);
    CHECK(again->inode == inode);
    CHECK(ips_object_redeem(space, ticket, &scene_spec, &object) == 0);
    ips_object_release(object);
    ips_object_release(again);
    CHECK(ips_object_redeem(space, ticket, &scene_spec, &object) == IPS_EGONE);
    CHECK(ips_object_redeem(space, "0.1/../../x", &scene_spec, &object) == IPS_EGONE);
    puts("ok a ticket keeps its object until it is used");
}

static void
test_growth(void)
{
    ips_object *object;
    scene_shm *scene = open_scene("grown", &object);
    (void)scene;
    CHECK(!ips_object_backs(object, 4096, 1));
    pid_t child = fork();
    if (child == 0) {
        _exit(ips_object_grow(object, 65536) == 0 ? 0 : 1);
    }
    reap(child, 0);
    CHECK(ips_object_backs(object, 65535, 1));
    object->base[65535] = 7;
    CHECK(!ips_object_backs(object, 65536, 1));
    CHECK(ips_object_grow(object, 65537) == IPS_ENOSPACE);
    ips_object_release(object);
    puts("ok a file grown by one member is found grown by another");
}

static void
test_event_count(void)
{
    ips_object *object;
    scene_shm *scene = open_scene("event", &object);
    pid_t child = fork();
    if (child == 0) {
        for (uint32_t i = 1; i <= 2000; i++) {
            atomic_store_explicit(&scene->stage, i, memory_order_release);
            atomic_thread_fence(memory_order_seq_cst);
            ips_eventcount_notify(&scene->event, 1);
        }
        _exit(0);
    }
    int64_t deadline = ips_now() + INT64_C(10000000000);
    uint32_t seen = 0;
    while (seen != 2000) {
        uint32_t key = ips_eventcount_prepare(&scene->event);
        uint32_t stage = atomic_load_explicit(&scene->stage, memory_order_acquire);
        if (stage == seen) {
            CHECK(ips_eventcount_wait(&scene->event, key, space, IPS_NOBODY, deadline) == 0);
        }
        seen = stage;
    }
    reap(child, 0);
    ips_object_release(object);
    puts("ok a waiter on the event count hears the last change");
}

static void
test_contended_counter(void)
{
    ips_object *object;
    scene_shm *scene = open_scene("contended", &object);
    pid_t children[4];
    for (int c = 0; c < 4; c++) {
        children[c] = fork();
        if (children[c] == 0) {
            for (int i = 0; i < 20000; i++) {
                CHECK(ips_lock_acquire(&scene->lock, space, IPS_FOREVER) == 0);
                uint32_t old = atomic_load_explicit(&scene->stage, memory_order_relaxed);
                atomic_store_explicit(&scene->stage, old + 1, memory_order_relaxed);
                CHECK(ips_lock_leave(&scene->lock));
            }
            _exit(0);
        }
    }
    for (int c = 0; c < 4; c++) {
        reap(children[c], 0);
    }
    CHECK(atomic_load_explicit(&scene->stage, memory_order_relaxed) == 80000);
    ips_object_release(object);
    puts("ok four processes count under one lock");
}

int
main(void)
{
    snprintf(folder, sizeof folder, "/dev/shm/ipcsys-c-test-%d/space", (int)getpid());
    CHECK(ips_space_join(folder, &space) == 0);
    test_child_is_a_new_member();
    test_killed_holder_is_inherited();
    test_stopped_holder_is_never_robbed();
    test_holder_without_main_thread_is_never_robbed();
    test_exec_gives_the_lock_up();
    test_pid_namespaces();
    test_slots_of_the_dead_are_reused();
    test_names();
    test_last_user_removes_the_name();
    test_tickets();
    test_growth();
    test_event_count();
    test_contended_counter();
    char command[300];
    *strrchr(folder, '/') = '\0';
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command) == 0 ? 0 : 1;
}
