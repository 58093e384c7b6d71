/* SPDX-License-Identifier: Apache-2.0 */
/* Postboxes, the table async_wanted and the async bits of lock word and event
 * count: with threads (also under the thread sanitizer) and processes.  Prints
 * "ok <promise>" lines. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/atomics.h"
#include "member/object.h"
#include "member/postbox.h"
#include "member/space.h"
#include "member/table.h"
#include "os/clock.h"
#include "sync/event.h"
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

/* Long enough that only a lost wake-up takes it: no bound helps here. */
#define LOST_MS 5000
#define ROUNDS 6000
#define STEP 3 /* changes that a waiter waits for */

static char folder[256];
static ips_space *space;

typedef struct {
    ips_header_shm header;
    ips_lock_shm lock;
    ips_event_shm event;
    ips_eventcount_shm changed;
    _Atomic uint32_t value;
} scene_shm;

static const ips_object_spec scene_spec = {
    .kind = IPS_KIND_CELL, .format = 1, .layout = 8, .size = 4096, .max_size = 4096};

static scene_shm *
open_scene(const char *name, ips_object **object)
{
    bool created;
    CHECK(ips_object_open(space, name, IPS_OPEN_OR_CREATE, &scene_spec, object, &created) == 0);
    return (scene_shm *)(*object)->base;
}

static bool
is_readable(int fd, int milliseconds)
{
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    return poll(&entry, 1, milliseconds) == 1;
}

static void
reap(pid_t child, int expected_signal)
{
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(expected_signal == 0 ? WIFEXITED(status) && WEXITSTATUS(status) == 0
                               : WIFSIGNALED(status) && WTERMSIG(status) == expected_signal);
}

static bool
wants(ips_owner owner)
{
    uint32_t slot = ips_owner_slot(owner);
    /* relaxed: nobody else is about. */
    uint64_t word = atomic_load_explicit(&ips_members_of(space)->async_wanted[slot / 64],
                                         memory_order_relaxed);
    return (word >> slot % 64 & 1) != 0;
}

static void
test_a_byte_comes_once_for_each_wish(void)
{
    ips_fifo box, again;
    CHECK(ips_postbox_open(space, &box) == 0);
    CHECK(ips_postbox_open(space, &again) == 0 && again.fd == box.fd);
    ips_postbox_ring();
    CHECK(!is_readable(box.fd, 0));
    ips_postbox_want(space);
    CHECK(wants(ips_space_self(space)));
    ips_postbox_ring();
    CHECK(!wants(ips_space_self(space)) && is_readable(box.fd, 0));
    CHECK(ips_fifo_drain(&box) == 0 && !is_readable(box.fd, 0));
    ips_postbox_ring();
    CHECK(!is_readable(box.fd, 0));
    puts("ok a byte comes once for each wish");
}

static void
test_a_full_postbox_is_fine(void)
{
    ips_fifo box;
    CHECK(ips_postbox_open(space, &box) == 0);
    for (int i = 0; i < 70000; i++) {
        ips_postbox_want(space);
        ips_postbox_ring();
    }
    while (is_readable(box.fd, 0)) {
        CHECK(ips_fifo_drain(&box) == 0);
    }
    ips_postbox_want(space);
    ips_postbox_ring();
    CHECK(is_readable(box.fd, 0) && ips_fifo_drain(&box) == 0);
    puts("ok a full postbox is fine");
}

static void
test_a_closed_descriptor_is_told_from_ours(void)
{
    ips_fifo box, other;
    CHECK(ips_postbox_open(space, &box) == 0);
    CHECK(close(box.fd) == 0);
    int ends[2];
    CHECK(pipe(ends) == 0 && write(ends[1], "mine", 4) == 4); /* takes its number */
    CHECK(ends[0] == box.fd || ends[1] == box.fd);
    CHECK(ips_fifo_drain(&box) == IPS_EGONE);
    char kept[8];
    CHECK(read(ends[0], kept, sizeof kept) == 4);
    CHECK(ips_postbox_open(space, &other) == 0 && other.fd != box.fd);
    ips_postbox_want(space);
    ips_postbox_ring();
    CHECK(is_readable(other.fd, 0) && ips_fifo_drain(&other) == 0);
    close(ends[0]);
    close(ends[1]);
    puts("ok a descriptor closed by others is told from ours");
}

static void
test_lock_rings_on_release(void)
{
    ips_object *object;
    ips_fifo box;
    scene_shm *scene = open_scene("lock", &object);
    CHECK(ips_postbox_open(space, &box) == 0);
    CHECK(ips_lock_arm(&scene->lock, space, false)); /* free: try at once */
    CHECK(ips_lock_try(&scene->lock, ips_space_self(space)));
    CHECK(!ips_lock_arm(&scene->lock, space, true));
    CHECK(ips_lock_owner(&scene->lock) == ips_space_self(space));
    CHECK(ips_lock_leave(&scene->lock) && is_readable(box.fd, 0));
    CHECK(ips_fifo_drain(&box) == 0);
    CHECK(ips_lock_try(&scene->lock, ips_space_self(space)) && ips_lock_leave(&scene->lock));
    CHECK(!is_readable(box.fd, 0));
    ips_object_release(object);
    puts("ok a release rings once, and only where somebody armed");
}

static void
test_heir_keeps_the_async_bit(void)
{
    ips_object *object;
    ips_fifo box;
    scene_shm *scene = open_scene("heir", &object);
    CHECK(ips_postbox_open(space, &box) == 0);
    pid_t child = fork();
    if (child == 0) {
        CHECK(ips_lock_try(&scene->lock, ips_space_self(space)));
        raise(SIGKILL);
    }
    reap(child, SIGKILL);
    int64_t deadline = ips_now() + INT64_C(10000000000);
    while (!ips_lock_arm(&scene->lock, space, true)) {
        CHECK(ips_now() < deadline);
    }
    CHECK(ips_lock_try_or_take_over(&scene->lock, space) == IPS_ABANDONED);
    CHECK(ips_lock_leave(&scene->lock) && is_readable(box.fd, 0));
    CHECK(ips_fifo_drain(&box) == 0);
    ips_object_release(object);
    puts("ok a dead owner's lock can be had, and its heir's release rings");
}

/* The wishes of the dead, of strangers' slots and beyond the table's end. */
static void
test_wishes_of_the_dead_cost_nothing(void)
{
    ips_fifo box;
    CHECK(ips_postbox_open(space, &box) == 0);
    char path[512];
    int pipes[2];
    CHECK(pipe(pipes) == 0);
    pid_t child = fork();
    if (child == 0) {
        ips_fifo own;
        CHECK(ips_postbox_open(space, &own) == 0);
        ips_postbox_want(space);
        char name[32];
        ips_folder_name(ips_space_self(space), name);
        snprintf(path, sizeof path, "%s/.m/%s/post", folder, name);
        CHECK(write(pipes[1], path, sizeof path) == sizeof path);
        raise(SIGKILL);
    }
    CHECK(read(pipes[0], path, sizeof path) == sizeof path);
    reap(child, SIGKILL);
    struct stat facts;
    CHECK(stat(path, &facts) == 0 && S_ISFIFO(facts.st_mode));
    for (uint32_t i = 0; i < IPS_MAX_SLOTS / 64; i++) {
        /* relaxed: nobody else is about. */
        atomic_store_explicit(&ips_members_of(space)->async_wanted[i], ~UINT64_C(0),
                              memory_order_relaxed);
    }
    ips_postbox_ring();
    CHECK(is_readable(box.fd, 0) && ips_fifo_drain(&box) == 0);
    CHECK(!wants(ips_space_self(space)));
    CHECK(ips_space_sweep(space) == 0 && stat(path, &facts) != 0);
    close(pipes[0]);
    close(pipes[1]);
    puts("ok wishes of the dead cost a look, and their FIFO goes with them");
}

static void
test_a_child_has_no_postbox_of_its_own_at_first(void)
{
    ips_fifo box;
    CHECK(ips_postbox_open(space, &box) == 0);
    pid_t child = fork();
    if (child == 0) {
        ips_fifo own;
        struct stat facts;
        CHECK(fstat(box.fd, &facts) != 0 || (uint64_t)facts.st_ino != box.inode);
        CHECK(ips_postbox_open(space, &own) == 0 && own.inode != box.inode);
        ips_postbox_want(space);
        ips_postbox_ring();
        CHECK(is_readable(own.fd, 0));
        _exit(0);
    }
    reap(child, 0);
    CHECK(!is_readable(box.fd, 0));
    puts("ok a child has no postbox until it asks, and then its own");
}

/* --- no wake-up is lost ------------------------------------------------------ */

/* Two notifiers raise `value`; a waiter sleeps on its postbox alone, without
 * any bound, whenever it has seen all there is. */
static void *
raise_value(void *context)
{
    scene_shm *scene = context;
    for (int i = 0; i < ROUNDS; i++) {
        /* seq_cst: pairs with the fence in ips_eventcount_prepare_async. */
        atomic_fetch_add_explicit(&scene->value, 1, memory_order_seq_cst);
        ips_fence_after_rmw();
        ips_eventcount_notify(&scene->changed, 1);
        if (i % 64 == 0) {
            ips_sleep_until(ips_now() + 20000);
        }
    }
    return NULL;
}

/* Rings for others all the time, and so takes the waiter's wish away. */
static void *
ring_about(void *context)
{
    const _Atomic uint32_t *stop = context;
    /* relaxed: only when to end. */
    while (atomic_load_explicit(stop, memory_order_relaxed) == 0) {
        ips_postbox_ring();
    }
    return NULL;
}

/* With or without one who rings for others and so, in passing, for us. */
static void
let_it_be_told(bool others)
{
    ips_object *object;
    ips_fifo box;
    _Atomic uint32_t stop;
    atomic_init(&stop, 0);
    scene_shm *scene = open_scene(others ? "count" : "alone", &object);
    CHECK(ips_postbox_open(space, &box) == 0);
    pthread_t threads[3];
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_create(&threads[i], NULL, raise_value, scene) == 0);
    }
    CHECK(!others || pthread_create(&threads[2], NULL, ring_about, &stop) == 0);
    uint32_t seen = 0, slept = 0;
    while (seen < 2 * ROUNDS) {
        (void)ips_eventcount_prepare_async(&scene->changed, space);
        /* relaxed: after the fence in prepare, which pairs with the notifier's. */
        uint32_t now = atomic_load_explicit(&scene->value, memory_order_relaxed);
        /* Not every change is enough: then only the bits set anew tell of the
         * next, and the one in the table has to come first. */
        if (now < seen + STEP && now < 2 * ROUNDS) {
            slept++;
            CHECK(is_readable(box.fd, LOST_MS));
            CHECK(ips_fifo_drain(&box) == 0);
        } else {
            seen = now;
        }
    }
    CHECK(slept > 0);
    /* relaxed: only when to end. */
    atomic_store_explicit(&stop, 1, memory_order_relaxed);
    for (int i = 0; i < (others ? 3 : 2); i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    ips_object_release(object);
}

static void
test_no_notification_is_lost(void)
{
    let_it_be_told(false);
    let_it_be_told(true);
    puts("ok no notification is lost, whoever takes the wish");
}

static void *
hold_and_leave(void *context)
{
    scene_shm *scene = context;
    for (int i = 0; i < ROUNDS; i++) {
        CHECK(ips_lock_acquire(&scene->lock, space, IPS_FOREVER) == 0);
        CHECK(ips_lock_leave(&scene->lock));
    }
    return NULL;
}

static void
test_no_release_is_lost(void)
{
    ips_object *object;
    ips_fifo box;
    scene_shm *scene = open_scene("release", &object);
    CHECK(ips_postbox_open(space, &box) == 0);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_create(&threads[i], NULL, hold_and_leave, scene) == 0);
    }
    for (int i = 0; i < ROUNDS / 4; i++) {
        while (!ips_lock_try(&scene->lock, ips_space_self(space))) {
            if (!ips_lock_arm(&scene->lock, space, false)) {
                CHECK(is_readable(box.fd, LOST_MS));
                CHECK(ips_fifo_drain(&box) == 0);
            }
        }
        CHECK(ips_lock_leave(&scene->lock));
    }
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    ips_object_release(object);
    puts("ok no release is lost on one who must not park");
}

/* Two processes wait for one event; a third sets it. */
static void
test_one_change_reaches_every_process(void)
{
    ips_object *object;
    scene_shm *scene = open_scene("event", &object);
    pid_t children[2];
    int ready[2];
    CHECK(pipe(ready) == 0);
    for (int i = 0; i < 2; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            ips_fifo box;
            CHECK(ips_postbox_open(space, &box) == 0);
            (void)ips_eventcount_prepare_async(&scene->event.changed, space);
            CHECK(!ips_event_is_set(&scene->event));
            CHECK(write(ready[1], "", 1) == 1);
            _exit(is_readable(box.fd, LOST_MS) && ips_event_is_set(&scene->event) ? 0 : 1);
        }
    }
    char said[1];
    for (int i = 0; i < 2; i++) {
        CHECK(read(ready[0], said, 1) == 1);
    }
    ips_event_set(&scene->event);
    for (int i = 0; i < 2; i++) {
        reap(children[i], 0);
    }
    close(ready[0]);
    close(ready[1]);
    ips_object_release(object);
    puts("ok one change reaches every process that waits");
}

int
main(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const char *root = getenv("IPCSYS_DIR");
    (void)snprintf(folder, sizeof folder, "%s/postbox-%d", root == NULL ? "/dev/shm" : root,
                   (int)getpid());
    CHECK(ips_space_join(folder, &space) == 0);
    test_a_byte_comes_once_for_each_wish();
    test_a_full_postbox_is_fine();
    test_a_closed_descriptor_is_told_from_ours();
    test_lock_rings_on_release();
    test_heir_keeps_the_async_bit();
    test_wishes_of_the_dead_cost_nothing();
    test_a_child_has_no_postbox_of_its_own_at_first();
    test_no_notification_is_lost();
    test_no_release_is_lost();
    test_one_change_reaches_every_process();
    return 0;
}
