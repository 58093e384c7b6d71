/* SPDX-License-Identifier: Apache-2.0 */
/* Namespaces of this process: joining, forking, leaving. */
#include "member/space.h"

#include <stdlib.h>
#include <string.h>

#include "member/table.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/park.h"

static pthread_mutex_t room; /* recursive; made by the first to enter */
static pthread_once_t room_once = PTHREAD_ONCE_INIT;
static _Atomic(ips_space *) spaces; /* changed inside the room; a space itself is never freed */
static _Atomic uint32_t watchers;   /* threads that walk the list outside the room */
static _Atomic uint64_t leavings;
static ips_leave_hook leave_hooks[4];
/* Of a space that was left: nobody, for ever. */
static ips_identity nobody;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const ips_fork_hook *fork_hooks[4];
static ips_birth_pipe birth;      /* between prepare and the two sides of a fork */
static bool birth_is_watched;

/* How long a forking parent waits for its child to record what it inherits.
 * Only a child that is stopped at birth takes longer. */
#define BIRTH_PATIENCE_NS INT64_C(2000000000)

/* By hand: a static initializer for it is glibc's alone. */
static void
make_room(void)
{
    pthread_mutexattr_t kind;
    (void)pthread_mutexattr_init(&kind);
    (void)pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_RECURSIVE);
    (void)pthread_mutex_init(&room, &kind);
    (void)pthread_mutexattr_destroy(&kind);
}

void
ips_room_enter(void)
{
    (void)pthread_once(&room_once, make_room);
    (void)pthread_mutex_lock(&room);
}

void
ips_room_leave(void)
{
    (void)pthread_mutex_unlock(&room);
}

ips_space *
ips_room_spaces(void)
{
    /* seq_cst: pairs with the stores in put_in and take_out. */
    return atomic_load_explicit(&spaces, memory_order_seq_cst);
}

ips_space *
ips_spaces_watch(void)
{
    /* seq_cst: before the look at the list; pairs with await_watchers, which looks
     * here after it has taken a space out. */
    atomic_fetch_add_explicit(&watchers, 1, memory_order_seq_cst);
    return ips_room_spaces();
}

void
ips_spaces_watched(void)
{
    /* release: what was looked at is looked at; pairs with await_watchers. */
    atomic_fetch_sub_explicit(&watchers, 1, memory_order_release);
}

void
ips_space_on_fork(const ips_fork_hook *hook)
{
    ips_room_enter();
    for (size_t i = 0; i < sizeof fork_hooks / sizeof *fork_hooks; i++) {
        if (fork_hooks[i] == hook || fork_hooks[i] == NULL) {
            fork_hooks[i] = hook;
            break;
        }
    }
    ips_room_leave();
}

static bool
has_heirlooms(ips_space *space)
{
    if (space->objects != NULL) {
        return true;
    }
    for (size_t i = 0; i < sizeof fork_hooks / sizeof *fork_hooks; i++) {
        if (fork_hooks[i] != NULL && fork_hooks[i]->wanted(space)) {
            return true;
        }
    }
    return false;
}

static void
before_fork(void)
{
    ips_room_enter();
    bool wanted = false;
    for (ips_space *space = ips_room_spaces(); space != NULL; space = ips_space_next(space)) {
        /* relaxed: changed only inside the room. */
        space->parent = atomic_load_explicit(&space->identity->owner, memory_order_relaxed);
        if (space->parent != IPS_NOBODY && !has_heirlooms(space)) {
            space->parent = IPS_NOBODY; /* nothing to hand over: join on first use */
        }
        if (space->parent != IPS_NOBODY) {
            ips_birth_announce(space, space->parent);
            wanted = true;
        }
    }
    birth_is_watched = wanted && ips_birth_pipe_open(&birth) == 0;
}

static void
after_fork_in_parent(void)
{
    if (birth_is_watched) {
        ips_birth_pipe_await(&birth, ips_now() + BIRTH_PATIENCE_NS);
    }
    for (ips_space *space = ips_room_spaces(); space != NULL; space = ips_space_next(space)) {
        ips_birth_conclude(space);
    }
    ips_room_leave();
}

static int join_again_inside(ips_space *space);

/* In the child: become a member and record what the parent held. */
static void
take_over_from(ips_space *space, ips_owner parent)
{
    if (parent == IPS_NOBODY || join_again_inside(space) < 0) {
        return;
    }
    /* relaxed: only this thread exists. */
    ips_owner child = atomic_load_explicit(&space->identity->owner, memory_order_relaxed);
    ips_folder_inherit(space, parent, child);
    for (size_t i = 0; i < sizeof fork_hooks / sizeof *fork_hooks; i++) {
        if (fork_hooks[i] != NULL) {
            fork_hooks[i]->inherit(space, parent, child);
        }
    }
}

static void
after_fork_in_child(void)
{
    /* A recursive mutex remembers its owner's thread id, which was the
     * parent's; the one thread here starts with a fresh one. */
    make_room();
    /* relaxed: this thread is alone, and does not watch. */
    atomic_store_explicit(&watchers, 0, memory_order_relaxed);
    ips_room_enter();
    for (ips_space *space = ips_room_spaces(); space != NULL; space = ips_space_next(space)) {
        ips_owner parent = space->parent;
        space->parent = IPS_NOBODY;
        ips_postbox_forget(space);
        take_over_from(space, parent);
        ips_birth_conclude(space);
    }
    if (birth_is_watched) {
        ips_birth_pipe_post(&birth);
        birth_is_watched = false;
    }
    ips_room_leave();
}

static void
install_handlers(void)
{
    (void)pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    (void)atexit(ips_space_leave_all);
}

/* Everything that it has of the system and of memory. */
static void
strip_space(ips_space *space)
{
    if (space->table != NULL) {
        ips_unmap(space->table, (uint64_t)IPS_SLOT_PAGE * (1 + IPS_MAX_SLOTS));
    }
    if (space->own_page != NULL) {
        ips_unmap(space->own_page, (uint64_t)2 * IPS_SLOT_PAGE);
    }
    if (space->identity != NULL) {
        ips_unmap(space->identity, ips_page_size());
    }
    const int descriptors[] = {space->dir, space->members_dir, space->locks};
    for (size_t i = 0; i < sizeof descriptors / sizeof *descriptors; i++) {
        if (descriptors[i] >= 0) {
            ips_file_close(descriptors[i]);
        }
    }
    space->dir = space->members_dir = space->locks = -1;
    space->table = NULL;
    space->own_page = NULL;
    space->identity = NULL;
}

static void
destroy_space(ips_space *space)
{
    strip_space(space);
    free(space->folder);
    free(space);
}

static int
open_space(ips_space *space, const char *folder)
{
    space->folder = strdup(folder);
    if (space->folder == NULL) {
        return ips_fail(IPS_ENOMEM, "joining '%s'", folder);
    }
    void *page;
    int status = ips_wiped_on_fork(ips_page_size(), &page);
    if (status < 0) {
        return status;
    }
    space->identity = page;
    status = ips_dir_open(folder, true, &space->dir);
    if (status < 0) {
        return status;
    }
    status = ips_dir_open_at(space->dir, ".m", true, &space->members_dir);
    return status < 0 ? status : ips_slots_open(space);
}

/* Become a member, or a new one in a forked child.  Inside the room. */
static int
join_again_inside(ips_space *space)
{
    if (space->identity == &nobody) {
        return ips_fail(IPS_ECLOSED, "this process has left its namespace");
    }
    /* relaxed: changed only inside the room. */
    if (atomic_load_explicit(&space->identity->owner, memory_order_relaxed) != IPS_NOBODY) {
        return IPS_OK;
    }
    int32_t before = space->self.pid;
    ips_process_self(&space->self);
    if (space->own_page != NULL && space->self.pid != before) {
        /* Our parent's page: its bell hangs in a list that is not ours. */
        ips_unmap(space->own_page, (uint64_t)2 * IPS_SLOT_PAGE);
        space->own_page = NULL;
    }
    ips_locks_tend(space);
    ips_owner me;
    int status = ips_slot_claim(space, &me);
    if (status < 0) {
        return status;
    }
    /* release: pairs with the acquire load in ips_space_self. */
    atomic_store_explicit(&space->identity->owner, me, memory_order_release);
    ips_slots_sweep(space);
    return IPS_OK;
}

static ips_space *
find_inside(const char *folder)
{
    for (ips_space *space = ips_room_spaces(); space != NULL; space = ips_space_next(space)) {
        if (strcmp(space->folder, folder) == 0) {
            return space;
        }
    }
    return NULL;
}

/* The folder may have been removed and made anew (tests, `rm -r`): then the
 * open descriptors lead nowhere and the space is joined from scratch. */
static bool
is_current(const ips_space *space)
{
    ips_file_facts now, then;
    return ips_file_facts_of(space->dir, &then) == 0 && then.links > 0 &&
           ips_file_facts_at(space->dir, space->folder, &now) == 0 && now.dev == then.dev &&
           now.inode == then.inode;
}

static void
put_in(ips_space *space)
{
    /* relaxed: nobody else knows it yet. */
    atomic_store_explicit(&space->next, ips_room_spaces(), memory_order_relaxed);
    /* seq_cst: the entry is complete; pairs with ips_room_spaces. */
    atomic_store_explicit(&spaces, space, memory_order_seq_cst);
}

static int
join_inside(const char *folder, ips_space **out)
{
    ips_space *space = find_inside(folder);
    if (space != NULL && !is_current(space)) {
        space->folder[0] = '\0'; /* keeps serving its holders, found by nobody */
        space = NULL;
    }
    if (space == NULL) {
        space = calloc(1, sizeof *space);
        if (space == NULL) {
            return ips_fail(IPS_ENOMEM, "joining '%s'", folder);
        }
        space->dir = space->members_dir = space->locks = space->birth = -1;
        int status = open_space(space, folder);
        if (status == 0) {
            status = join_again_inside(space);
        }
        if (status < 0) {
            destroy_space(space);
            return status;
        }
        put_in(space);
    }
    *out = space;
    return join_again_inside(space);
}

int
ips_space_join(const char *folder, ips_space **out)
{
    (void)pthread_once(&once, install_handlers);
    ips_room_enter();
    int status = join_inside(folder, out);
    ips_room_leave();
    return status;
}

/* Out of line, so that the usual path saves no registers. */
static ips_owner __attribute__((noinline, cold))
join_again(ips_space *space)
{
    ips_room_enter();
    int status = join_again_inside(space);
    /* relaxed: written by this thread just now, or inside the room. */
    ips_owner me = atomic_load_explicit(&space->identity->owner, memory_order_relaxed);
    ips_room_leave();
    return status < 0 ? IPS_NOBODY : me;
}

ips_owner
ips_space_self(ips_space *space)
{
    /* acquire: pairs with the release store in join_again_inside. */
    ips_owner me = atomic_load_explicit(&space->identity->owner, memory_order_acquire);
    return __builtin_expect(me != IPS_NOBODY, 1) ? me : join_again(space);
}

void
ips_space_tend(ips_space *space)
{
    ips_slot_tend_bell(space);
}

const char *
ips_space_folder(const ips_space *space)
{
    return space->folder;
}

int
ips_space_dir(const ips_space *space)
{
    return space->dir;
}

int
ips_space_sweep(ips_space *space)
{
    if (ips_space_self(space) == IPS_NOBODY) {
        return ips_last_note()->status;
    }
    ips_slots_sweep(space);
    return IPS_OK;
}

void
ips_space_measure_park(ips_space *space)
{
    static _Atomic bool begun;
    (void)ips_spin_budget(); /* settles what is given */
    /* relaxed, here and below: whoever is first does it, and the result is a hint. */
    if (!ips_spin_is_open() || atomic_exchange_explicit(&begun, true, memory_order_relaxed)) {
        return;
    }
    int64_t cost = ips_park_measure();
    ips_spin_settle(cost);
    uint64_t unknown = 0;
    if (cost > 0) {
        /* relaxed: as above. */
        (void)atomic_compare_exchange_strong_explicit(&ips_members_of(space)->park_ns, &unknown,
                                                      (uint64_t)cost, memory_order_relaxed,
                                                      memory_order_relaxed);
    }
}

/* --- leaving ------------------------------------------------------------- */

uint64_t
ips_space_leavings(void)
{
    /* acquire: who sees the count sees that the space was left; pairs with
     * leave_inside. */
    return atomic_load_explicit(&leavings, memory_order_acquire);
}

void
ips_space_on_leave(ips_leave_hook hook)
{
    ips_room_enter();
    for (size_t i = 0; i < sizeof leave_hooks / sizeof *leave_hooks; i++) {
        if (leave_hooks[i] == hook || leave_hooks[i] == NULL) {
            leave_hooks[i] = hook;
            break;
        }
    }
    ips_room_leave();
}

static void
take_out(ips_space *space)
{
    _Atomic(ips_space *) *link = &spaces;
    ips_space *here = ips_room_spaces();
    while (here != space) {
        link = &here->next;
        here = ips_space_next(here);
    }
    /* seq_cst: before the look at the watchers; pairs with ips_spaces_watch. */
    atomic_store_explicit(link, ips_space_next(space), memory_order_seq_cst);
}

/* Whoever walks the list may stand at the space that was taken out.  They ring
 * some FIFOs, and wait for nothing. */
static void
await_watchers(void)
{
    /* seq_cst: pairs with ips_spaces_watch; it is also an acquire, which pairs with
     * the release in ips_spaces_watched. */
    while (atomic_load_explicit(&watchers, memory_order_seq_cst) != 0) {
        ips_sleep_until(ips_now() + 20000);
    }
}

static bool
may_leave(const ips_space *space)
{
    /* relaxed: changed by the main thread. */
    bool hangs = atomic_load_explicit(&space->identity->bell_hung, memory_order_relaxed) != 0;
    return space->objects == NULL && (!hangs || ips_on_main_thread());
}

static int
leave_inside(ips_space *space)
{
    /* relaxed: changed only inside the room. */
    ips_owner me = atomic_load_explicit(&space->identity->owner, memory_order_relaxed);
    if (!may_leave(space) || (me != IPS_NOBODY && ips_slot_clear_uses(space, me) != 0)) {
        return ips_fail(IPS_EINUSE, "namespace '%s': this process has something open there",
                        space->folder);
    }
    ips_slot_leave(space);
    for (size_t i = 0; i < sizeof leave_hooks / sizeof *leave_hooks; i++) {
        if (leave_hooks[i] != NULL) {
            leave_hooks[i](space);
        }
    }
    ips_postbox_forget(space);
    take_out(space);
    await_watchers();
    strip_space(space);
    space->identity = &nobody;
    space->folder[0] = '\0';
    /* release: pairs with ips_space_leavings. */
    atomic_fetch_add_explicit(&leavings, 1, memory_order_release);
    return IPS_OK;
}

int
ips_space_leave(const char *folder)
{
    ips_room_enter();
    ips_space *space = find_inside(folder);
    int status = space == NULL ? IPS_ENOENT : leave_inside(space);
    ips_room_leave();
    return status;
}

void
ips_space_leave_all(void)
{
    ips_room_enter();
    for (ips_space *space = ips_room_spaces(); space != NULL; space = ips_space_next(space)) {
        /* relaxed: changed only inside the room. */
        ips_owner me = atomic_load_explicit(&space->identity->owner, memory_order_relaxed);
        if (me != IPS_NOBODY && ips_slot_clear_uses(space, me) == 0) {
            ips_slot_leave(space);
        }
    }
    ips_room_leave();
}
