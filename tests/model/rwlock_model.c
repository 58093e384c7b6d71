/* SPDX-License-Identifier: Apache-2.0 */
/* The readers-writer lock: a writer is alone, readers see whole writes, a
 * writer's death inside is told to the next, and nobody sleeps in vain. */
#include <stdatomic.h>
#include <string.h>

#include "model.h"
#include "os/clock.h"
#include "sync/rwlock.h"
#include "wide.h"

typedef struct {
    _Atomic uint64_t left, right; /* equal, except while somebody writes */
} pair;

#define PAIR ((pair *)(void *)(model_arena + MODEL_WIDE))

enum { NOBODY = -1 };
static ips_rwlock handles[MODEL_ACTORS];
static int readers[MODEL_ACTORS]; /* reads that each holds for certain */
static int writer;
static bool died_inside; /* and no writer has left since */
static uint64_t written; /* pairs written whole */
static bool torn;        /* a dead one may have left them unequal */
static bool excused;

static void
prepare(void)
{
    memset(readers, 0, sizeof readers);
    writer = NOBODY;
    died_inside = torn = excused = false;
    written = 0;
    for (int i = 0; i < 3; i++) {
        model_act_as(i);
        ips_rwlock_start(&handles[i], model_wide(i), model_space());
        model_check(ips_rwlock_meet(&handles[i], IPS_FOREVER) == 0, "no line");
    }
}

static void
died(int who)
{
    uint64_t gate = handles[0].shm->gate;
    died_inside = died_inside || gate == (model_owner(who) | IPS_RWLOCK_INSIDE);
    torn = torn || writer == who;
    excused = model_deaths() > 1;
}

static bool
may_need_bound(void)
{
    return excused;
}

static bool
reads(int who)
{
    return readers[who] != 0 && !model_is_dead(who);
}

static void
now_reads(int me)
{
    model_check(writer == NOBODY || model_is_dead(writer), "%c reads while %c writes", 'A' + me,
                'A' + writer);
    readers[me]++;
    /* relaxed, both: the lock orders them. */
    uint64_t left = atomic_load_explicit(&PAIR->left, memory_order_relaxed);
    uint64_t right = atomic_load_explicit(&PAIR->right, memory_order_relaxed);
    model_check(left == right || torn, "%c reads half a write", 'A' + me);
    model_check(left >= written, "%c does not see the last write", 'A' + me);
}

static void
now_writes(int me, int status)
{
    model_check(status >= 0, "%c: write fails with %d", 'A' + me, status);
    model_check(writer == NOBODY || model_is_dead(writer), "%c and %c write", 'A' + me,
                'A' + writer);
    for (int i = 0; i < 3; i++) {
        model_check(!reads(i), "%c writes while %c reads", 'A' + me, 'A' + i);
    }
    model_check((status == IPS_ABANDONED) == died_inside, "abandoned: told %d, is %d",
                status == IPS_ABANDONED, died_inside);
    writer = me;
    /* relaxed, all: the lock orders them. */
    uint64_t left = atomic_load_explicit(&PAIR->left, memory_order_relaxed);
    uint64_t right = atomic_load_explicit(&PAIR->right, memory_order_relaxed);
    model_check(left == right || torn, "%c finds half a write", 'A' + me);
    model_check(left >= written, "%c does not see the last write", 'A' + me);
    atomic_store_explicit(&PAIR->left, left + 1, memory_order_relaxed);
    atomic_store_explicit(&PAIR->right, left + 1, memory_order_relaxed);
    written = left + 1;
    torn = false;
}

static void
stop_reading(int me)
{
    readers[me]--;
    model_check(ips_rwlock_leave_read(&handles[me]) == 0, "%c: leaving a read fails", 'A' + me);
}

static void
stop_writing(int me)
{
    writer = NOBODY;
    died_inside = false;
    model_check(ips_rwlock_leave_write(&handles[me]) == 0, "%c: leaving a write fails", 'A' + me);
}

static void
read_once(int me)
{
    int status = ips_rwlock_read(&handles[me], IPS_FOREVER);
    model_check(status == 0, "%c: read fails with %d", 'A' + me, status);
    now_reads(me);
    stop_reading(me);
}

static void
write_once(int me)
{
    now_writes(me, ips_rwlock_write(&handles[me], IPS_FOREVER));
    stop_writing(me);
}

static void
one_writes(int me)
{
    (me == 0 ? write_once : read_once)(me);
}

static void
two_write(int me)
{
    (me < 2 ? write_once : read_once)(me);
}

/* B reads again while it reads; a writer may be waiting by then. */
static void
read_again(int me)
{
    if (me != 1) {
        one_writes(me);
        return;
    }
    int status = ips_rwlock_read(&handles[me], IPS_FOREVER);
    model_check(status == 0, "read fails with %d", status);
    now_reads(me);
    read_once(me);
    stop_reading(me);
}

static void
upgrade(int me)
{
    if (me != 1) {
        one_writes(me);
        return;
    }
    int status = ips_rwlock_read(&handles[me], IPS_FOREVER);
    model_check(status == 0, "read fails with %d", status);
    now_reads(me);
    uint64_t before = written;
    status = ips_rwlock_upgrade(&handles[me], IPS_FOREVER);
    model_check(written == before, "somebody wrote between the read and its upgrade");
    readers[me]--;
    now_writes(me, status);
    stop_writing(me);
}

static void
downgrade(int me)
{
    if (me != 1) {
        one_writes(me);
        return;
    }
    now_writes(me, ips_rwlock_write(&handles[me], IPS_FOREVER));
    uint64_t before = written;
    writer = NOBODY;
    died_inside = false;
    model_check(ips_rwlock_downgrade(&handles[me], IPS_FOREVER) == 0, "downgrade fails");
    now_reads(me);
    model_check(written == before, "somebody wrote between the write and its downgrade");
    stop_reading(me);
}

/* A has little time to write in, C to read in. */
static void
in_time(int me)
{
    if (me == 1) {
        write_once(me);
        return;
    }
    int64_t deadline = model_time() + 1000;
    int status = me == 0 ? ips_rwlock_write(&handles[me], deadline)
                         : ips_rwlock_read(&handles[me], deadline);
    if (status >= 0 && me == 0) {
        now_writes(me, status);
        stop_writing(me);
    } else if (status >= 0) {
        now_reads(me);
        stop_reading(me);
    }
}

static void
complain(const char *line, void *context)
{
    (void)context;
    model_violated("%s", line);
}

/* Whatever was left behind, the next writer gets in. */
static void
finish(void)
{
    for (int i = 0; i < model_scene_actors(); i++) {
        if (!model_is_dead(i)) {
            model_act_as(i);
            model_check(ips_rwlock_check(&handles[i], complain, NULL) == 0, "check fails");
            ips_rwlock_probe(&handles[i]);
            int status = ips_rwlock_write(&handles[i], IPS_AT_ONCE);
            model_check(status >= 0, "the next write fails with %d", status);
            model_check((status == IPS_ABANDONED) == died_inside, "abandoned: told %d, is %d",
                        status == IPS_ABANDONED, died_inside);
            return;
        }
    }
}

#define RWLOCK(what, count, does, ...)                                                    \
    {.name = "rwlock: " what, .actors = count, .prepare = prepare, .act = does,           \
     .died = died, .may_need_bound = may_need_bound, .finish = finish, __VA_ARGS__}

const model_scene model_scenes[] = {
    RWLOCK("one writes, one reads", 2, one_writes, .bounds = {2, 0, 2, 0, 0, 0}),
    RWLOCK("one writes, one reads, one is killed", 2, one_writes, .bounds = {2, 1, 0, 0, 0, 0}),
    RWLOCK("one writes, two read", 3, one_writes, .bounds = {2, 0, 0, 0, 0, 0}),
    RWLOCK("one writes, two read, one is killed", 3, one_writes, .bounds = {1, 1, 0, 0, 0, 0},
           .immortal = 4),
    RWLOCK("two write, one reads", 3, two_write, .bounds = {1, 0, 1, 0, 0, 0}),
    RWLOCK("two write, one reads, one is killed", 3, two_write, .bounds = {1, 1, 0, 0, 0, 0},
           .immortal = 6),
    RWLOCK("one reads twice", 2, read_again, .bounds = {3, 0, 0, 0, 0, 0}),
    RWLOCK("one reads twice, one is killed", 2, read_again, .bounds = {1, 1, 0, 0, 0, 0}),
    RWLOCK("an upgrade", 3, upgrade, .bounds = {1, 0, 0, 0, 0, 0}),
    RWLOCK("an upgrade, one is killed", 2, upgrade, .bounds = {1, 1, 0, 0, 0, 0}),
    RWLOCK("a downgrade", 3, downgrade, .bounds = {1, 0, 0, 0, 0, 0}),
    RWLOCK("a downgrade, one is killed", 2, downgrade, .bounds = {1, 1, 0, 0, 0, 0}),
    RWLOCK("two give up", 3, in_time, .bounds = {1, 0, 0, 1, 0, 0}),
};
const int model_scene_count = sizeof model_scenes / sizeof *model_scenes;
