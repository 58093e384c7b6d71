/* SPDX-License-Identifier: Apache-2.0 */
/* Entering, waiting, leaving.  Words and rules are drawn in sync/rwlock.h. */
#include "sync/rwlock.h"

#include "base/atomics.h"
#include "os/clock.h"
#include "sync/watch.h"

/* An opened gate wakes a few, and each of them a few more. */
#define WAKE_AT_OPENING 4
#define WAKE_AT_WAKING 2
/* How long a writer lets those in first whom an earlier writer kept waiting.
 * A courtesy and no more: a reader that stands still loses its turn. */
#define COURTESY_NS INT64_C(2000000)

/* Reads that this thread holds, of whichever lock: only a thread that holds
 * one may pass a shut gate.  Too high where another thread gave a read up for
 * this one: then it may pass where it need not, which is safe. */
static _Thread_local uint32_t reads_held;

/* --- the reader's own line ----------------------------------------------- */

/* One less, never below none: also where a thread gave up a read it did not
 * hold while another was about to step back. */
static bool
count_down(ips_rwlock *lock, ips_line_shm *line)
{
    /* relaxed: the swap decides. */
    uint32_t active = atomic_load_explicit(&line->active, memory_order_relaxed);
    do {
        if (active == 0) {
            return false;
        }
        /* seq_cst: what was read is read; pairs with the acquire in is_clear,
         * and is ordered before the look at the sleepers bit. */
    } while (!atomic_compare_exchange_weak_explicit(&line->active, &active, active - 1,
                                                    memory_order_seq_cst, memory_order_relaxed));
    ips_fence_after_rmw();
    ips_eventcount_notify(&lock->shm->drained, 1);
    return true;
}

static bool
may_pass(uint64_t gate, uint32_t held)
{
    return gate == 0 || (held != 0 && (gate & IPS_RWLOCK_INSIDE) == 0);
}

static bool
enter(ips_rwlock *lock, ips_line_shm *line)
{
    /* relaxed: only keeps us from counting in vain. */
    uint64_t gate = atomic_load_explicit(&lock->shm->gate, memory_order_relaxed);
    if (gate != 0 && !may_pass(gate, reads_held)) {
        return false;
    }
    /* seq_cst, then the fence: the count is visible before we look at the
     * gate; pairs with set_gate, which does it the other way round. */
    uint32_t others = atomic_fetch_add_explicit(&line->active, 1, memory_order_seq_cst);
    ips_fence_after_rmw();
    /* acquire: what the last writer wrote; pairs with the release in
     * open_gate. */
    gate = atomic_load_explicit(&lock->shm->gate, memory_order_acquire);
    if (gate == 0 || (others != 0 && may_pass(gate, reads_held))) {
        reads_held++;
        return true;
    }
    (void)count_down(lock, line);
    return false;
}

bool
ips_rwlock_try_read(ips_rwlock *lock, ips_owner me)
{
    ips_line_shm *line = ips_lines_mine(&lock->lines, me);
    return line != NULL && enter(lock, line);
}

static int
own_line(ips_rwlock *lock, int64_t deadline, ips_line_shm **line)
{
    ips_owner me = ips_space_self(lock->space);
    if (me == IPS_NOBODY) {
        return ips_last_note()->status;
    }
    *line = ips_lines_mine(&lock->lines, me);
    return *line != NULL ? IPS_OK
                         : ips_lines_claim(&lock->lines, lock->space, true, deadline, line);
}

int
ips_rwlock_meet(ips_rwlock *lock, int64_t deadline)
{
    ips_line_shm *line;
    return own_line(lock, deadline, &line);
}

int
ips_rwlock_leave_read(ips_rwlock *lock)
{
    ips_line_shm *line = ips_lines_mine(&lock->lines, ips_space_self(lock->space));
    if (line == NULL || !count_down(lock, line)) {
        return IPS_ENOTHELD;
    }
    reads_held -= reads_held != 0;
    return IPS_OK;
}

/* --- the gate; the turn is held ------------------------------------------ */

static void
set_gate(ips_rwlock *lock, uint64_t gate)
{
    /* seq_cst, then the fence: the gate is shut before we look at the lines;
     * pairs with enter. */
    (void)atomic_exchange_explicit(&lock->shm->gate, gate, memory_order_seq_cst);
    ips_fence_after_rmw();
}

static void
open_gate(ips_rwlock *lock)
{
    /* seq_cst: what we wrote is visible to whoever enters, pairs with the
     * acquire in enter; and is ordered before the look at the sleepers bit. */
    (void)atomic_exchange_explicit(&lock->shm->gate, 0, memory_order_seq_cst);
    ips_fence_after_rmw();
    ips_eventcount_notify(&lock->shm->opened, WAKE_AT_OPENING);
}

/* With the turn comes whatever a dead writer left at the gate. */
static void
inherit(ips_rwlock *lock)
{
    /* relaxed: whoever holds the turn is the only one to change it. */
    uint64_t gate = atomic_load_explicit(&lock->shm->gate, memory_order_relaxed);
    if (gate == 0) {
        return;
    }
    if ((gate & IPS_RWLOCK_INSIDE) != 0) {
        /* release: before the gate opens; pairs with the acquire in enter. */
        (void)atomic_fetch_or_explicit(&lock->shm->state, IPS_RWLOCK_ABANDONED,
                                       memory_order_release);
    }
    open_gate(lock);
}

/* The member at the gate is dead: open it, unless somebody alive has the turn
 * and will see to it. */
static bool
heal(ips_rwlock *lock)
{
    if (ips_lock_try_or_take_over(&lock->shm->turn, lock->space) < 0) {
        return false;
    }
    inherit(lock);
    (void)ips_lock_leave(&lock->shm->turn);
    return true;
}

/* Opens the gate where its owner is dead; false with whom to watch added. */
static bool
heals(ips_rwlock *lock, ips_watch *watch)
{
    /* relaxed: proof of death has its own fence. */
    ips_owner owner = atomic_load_explicit(&lock->shm->gate, memory_order_relaxed) &
                      ~IPS_OWNER_FLAGS;
    if (owner == IPS_NOBODY) {
        return true;
    }
    if (ips_watch_lives(watch, lock->space, owner)) {
        ips_watch_add(watch, owner);
        return false;
    }
    if (heal(lock)) {
        return true;
    }
    ips_watch_add(watch, ips_lock_owner(&lock->shm->turn));
    return false;
}

/* --- reading ------------------------------------------------------------- */

static bool
is_open(void *context)
{
    const ips_rwlock *lock = (const ips_rwlock *)context;
    /* relaxed: a look; enter does the ordering. */
    return atomic_load_explicit(&lock->shm->gate, memory_order_relaxed) == 0;
}

static int
wait_for_gate(ips_rwlock *lock, ips_line_shm *line, ips_watch *watch, int64_t deadline)
{
    for (;;) {
        uint32_t key = ips_eventcount_prepare(&lock->shm->opened);
        if (enter(lock, line)) {
            return IPS_OK;
        }
        ips_watch_clear(watch);
        if (heals(lock, watch)) {
            continue;
        }
        int status = ips_watch_wait(&lock->shm->opened, key, lock->space, watch, deadline);
        if (status < 0) {
            return enter(lock, line) ? IPS_OK : status;
        }
    }
}

/* Counted as waiting meanwhile, so that the next writer lets us in first. */
static int
read_late(ips_rwlock *lock, ips_line_shm *line, ips_watch *watch, int64_t deadline)
{
    /* relaxed, all: they serve courtesy alone, and a death or a late look at
     * them costs no more than that. */
    (void)atomic_fetch_add_explicit(&line->waiting, 1, memory_order_relaxed);
    if ((atomic_load_explicit(&lock->shm->state, memory_order_relaxed) & IPS_RWLOCK_BLOCKED) == 0) {
        (void)atomic_fetch_or_explicit(&lock->shm->state, IPS_RWLOCK_BLOCKED,
                                       memory_order_relaxed);
    }
    int status = wait_for_gate(lock, line, watch, deadline);
    /* seq_cst: before the look at the sleepers bit; pairs with prepare() in
     * be_courteous. */
    (void)atomic_fetch_sub_explicit(&line->waiting, 1, memory_order_seq_cst);
    ips_fence_after_rmw();
    ips_eventcount_notify(&lock->shm->drained, 1);
    /* Ours, or one we swallowed by giving up: hand it on. */
    if (is_open(lock)) {
        ips_eventcount_notify(&lock->shm->opened, WAKE_AT_WAKING);
    }
    return status;
}

int
ips_rwlock_read(ips_rwlock *lock, int64_t deadline)
{
    ips_line_shm *line;
    int status = own_line(lock, deadline, &line);
    if (status < 0) {
        return status;
    }
    if (enter(lock, line)) {
        return IPS_OK;
    }
    ips_watch watch;
    ips_watch_start(&watch);
    if (deadline == IPS_AT_ONCE) {
        return heals(lock, &watch) && enter(lock, line) ? IPS_OK : IPS_ETIMEOUT;
    }
    if (ips_spin_until(is_open, lock, deadline) && enter(lock, line)) {
        return IPS_OK;
    }
    return read_late(lock, line, &watch, deadline);
}

/* --- writing ------------------------------------------------------------- */

typedef struct {
    ips_rwlock *lock;
    ips_owner me;
    uint32_t own;      /* reads of ours that may stay: 1 when upgrading */
    int64_t deadline;
    ips_watch watch;
} writer;

static int
start_writer(writer *w, ips_rwlock *lock, uint32_t own, int64_t deadline)
{
    w->lock = lock;
    w->me = ips_space_self(lock->space);
    w->own = own;
    w->deadline = deadline;
    ips_watch_start(&w->watch);
    return w->me == IPS_NOBODY ? ips_last_note()->status : IPS_OK;
}

/* No living member reads.  Otherwise those who do are on the watch. */
static bool
is_clear(void *context)
{
    writer *w = (writer *)context;
    uint32_t used = ips_lines_used(&w->lock->lines);
    bool clear = true;
    ips_watch_clear(&w->watch);
    for (uint32_t i = 0; i < used; i++) {
        ips_line_shm *line = &w->lock->lines.line[i];
        /* acquire: what was read before it left comes before what we write;
         * pairs with count_down.  Count first, owner second: see lines.h. */
        uint32_t active = atomic_load_explicit(&line->active, memory_order_acquire);
        if (active == 0) {
            continue;
        }
        /* acquire: pairs with the claimer's store. */
        ips_owner owner = atomic_load_explicit(&line->owner, memory_order_acquire);
        if (owner == w->me ? active <= w->own : !ips_watch_lives(&w->watch, w->lock->space, owner)) {
            continue;
        }
        clear = false;
        ips_watch_add(&w->watch, owner);
    }
    return clear;
}

/* A living member that upgrades, or IPS_NOBODY; a dead one is forgotten. */
static ips_owner
upgrader_of(writer *w)
{
    /* relaxed: the swap compares, and nothing is read on the strength of it. */
    ips_owner other = atomic_load_explicit(&w->lock->shm->upgrader, memory_order_relaxed);
    if (other == IPS_NOBODY || ips_watch_lives(&w->watch, w->lock->space, other)) {
        return other;
    }
    (void)atomic_compare_exchange_strong_explicit(&w->lock->shm->upgrader, &other, IPS_NOBODY,
                                                  memory_order_relaxed, memory_order_relaxed);
    return IPS_NOBODY;
}

static bool
must_give_way(writer *w)
{
    return w->own == 0 && upgrader_of(w) != IPS_NOBODY;
}

/* Before the turn: whoever upgrades goes first. */
static int
give_way(writer *w)
{
    while (must_give_way(w)) {
        if (w->deadline == IPS_AT_ONCE) {
            return IPS_ETIMEOUT;
        }
        uint32_t key = ips_eventcount_prepare(&w->lock->shm->opened);
        ips_watch_clear(&w->watch);
        ips_owner other = upgrader_of(w);
        if (other == IPS_NOBODY) {
            break;
        }
        ips_watch_add(&w->watch, other);
        int status = ips_watch_wait(&w->lock->shm->opened, key, w->lock->space, &w->watch, w->deadline);
        if (status < 0) {
            return status;
        }
    }
    return IPS_OK;
}

static bool
nobody_waits(void *context)
{
    writer *w = (writer *)context;
    uint32_t used = ips_lines_used(&w->lock->lines);
    for (uint32_t i = 0; i < used; i++) {
        ips_line_shm *line = &w->lock->lines.line[i];
        /* relaxed count, acquire owner: pairs with the claimer's store, as in
         * is_clear; the count is a courtesy. */
        if (atomic_load_explicit(&line->waiting, memory_order_relaxed) != 0 &&
            ips_watch_lives(&w->watch, w->lock->space, atomic_load_explicit(&line->owner, memory_order_acquire))) {
            return false;
        }
    }
    return true;
}

/* With the turn, the gate still open: those who waited for the last writer. */
static void
be_courteous(writer *w)
{
    ips_rwlock_shm *shm = w->lock->shm;
    /* relaxed, here and below: a hint. */
    if ((atomic_load_explicit(&shm->state, memory_order_relaxed) & IPS_RWLOCK_BLOCKED) == 0) {
        return;
    }
    (void)atomic_fetch_and_explicit(&shm->state, ~IPS_RWLOCK_BLOCKED, memory_order_relaxed);
    int64_t until = ips_now() + COURTESY_NS;
    until = until < w->deadline ? until : w->deadline;
    ips_watch_clear(&w->watch);
    while (!nobody_waits(w)) {
        uint32_t key = ips_eventcount_prepare(&shm->drained);
        if (!nobody_waits(w) && ips_watch_wait(&shm->drained, key, w->lock->space, &w->watch, until) < 0) {
            /* relaxed: as above; some may be waiting still. */
            (void)atomic_fetch_or_explicit(&shm->state, IPS_RWLOCK_BLOCKED, memory_order_relaxed);
            return;
        }
    }
}

/* The gate is shut: inside, if no reader is. */
static bool
go_inside(writer *w)
{
    if (!is_clear(w)) {
        return false;
    }
    set_gate(w->lock, w->me | IPS_RWLOCK_INSIDE);
    if (is_clear(w)) {
        return true;
    }
    set_gate(w->lock, w->me);
    return false;
}

/* 0, IPS_EAGAIN to give way, or why we give up. */
static int
drain(writer *w)
{
    bool at_once = w->deadline == IPS_AT_ONCE;
    if (at_once && !is_clear(w)) {
        return IPS_ETIMEOUT; /* without a shut gate in the readers' way */
    }
    set_gate(w->lock, w->me);
    if (go_inside(w)) {
        return IPS_OK;
    }
    if (at_once || must_give_way(w)) {
        return at_once ? IPS_ETIMEOUT : IPS_EAGAIN;
    }
    (void)ips_spin_until(is_clear, w, w->deadline);
    for (;;) {
        uint32_t key = ips_eventcount_prepare(&w->lock->shm->drained);
        if (go_inside(w)) {
            return IPS_OK;
        }
        if (must_give_way(w)) {
            return IPS_EAGAIN;
        }
        (void)is_clear(w); /* whom to watch */
        int status = ips_watch_wait(&w->lock->shm->drained, key, w->lock->space, &w->watch, w->deadline);
        if (status < 0) {
            return go_inside(w) ? IPS_OK : status;
        }
    }
}

/* One attempt: the turn, the courtesy, the gate.  As drain. */
static int
write_once(writer *w)
{
    ips_rwlock *lock = w->lock;
    int status = ips_lock_acquire(&lock->shm->turn, lock->space, w->deadline);
    if (status < 0) {
        return status;
    }
    inherit(lock);
    if (w->own == 0 && w->deadline != IPS_AT_ONCE) {
        be_courteous(w);
    }
    status = drain(w);
    if (status == IPS_OK) {
        return ips_rwlock_is_abandoned(lock) ? IPS_ABANDONED : IPS_OK;
    }
    open_gate(lock);
    (void)ips_lock_leave(&lock->shm->turn);
    return status;
}

int
ips_rwlock_write(ips_rwlock *lock, int64_t deadline)
{
    writer w;
    int status = start_writer(&w, lock, 0, deadline);
    if (status < 0) {
        return status;
    }
    do {
        status = give_way(&w);
        if (status == IPS_OK) {
            status = write_once(&w);
        }
    } while (status == IPS_EAGAIN);
    return status;
}

/* Whoever gets the gate from INSIDE to 0 has left. */
int
ips_rwlock_leave_write(ips_rwlock *lock)
{
    uint64_t inside = ips_space_self(lock->space) | IPS_RWLOCK_INSIDE;
    /* relaxed: the swap below decides. */
    if (atomic_load_explicit(&lock->shm->gate, memory_order_relaxed) != inside) {
        return IPS_ENOTHELD;
    }
    /* release: before the gate opens; a death in between is marked again by
     * the heir.  Pairs with the acquire in enter. */
    (void)atomic_fetch_and_explicit(&lock->shm->state, ~IPS_RWLOCK_ABANDONED,
                                    memory_order_release);
    /* seq_cst: as in open_gate, pairs with the acquire in enter. */
    if (!atomic_compare_exchange_strong_explicit(&lock->shm->gate, &inside, 0,
                                                 memory_order_seq_cst, memory_order_relaxed)) {
        return IPS_ENOTHELD;
    }
    ips_fence_after_rmw();
    ips_eventcount_notify(&lock->shm->opened, WAKE_AT_OPENING);
    (void)ips_lock_leave(&lock->shm->turn);
    return IPS_OK;
}

/* --- from the one to the other ------------------------------------------- */

/* From here on plain writers give way to us. */
static int
announce_upgrade(writer *w)
{
    ips_owner nobody = upgrader_of(w);
    /* seq_cst: before the wake and our wait for the turn; pairs with the
     * prepare() of a writer that drains. */
    if (nobody != IPS_NOBODY ||
        !atomic_compare_exchange_strong_explicit(&w->lock->shm->upgrader, &nobody, w->me,
                                                 memory_order_seq_cst, memory_order_relaxed)) {
        return ips_fail(IPS_EDEADLOCK, "another reader is upgrading already, and waits for this "
                        "one to leave: release the read and acquire the write");
    }
    ips_fence_after_rmw();
    ips_eventcount_notify(&w->lock->shm->drained, 1);
    return IPS_OK;
}

static void
conclude_upgrade(writer *w)
{
    /* seq_cst: before the look at the sleepers bit; pairs with the prepare()
     * in give_way. */
    (void)atomic_exchange_explicit(&w->lock->shm->upgrader, IPS_NOBODY, memory_order_seq_cst);
    ips_fence_after_rmw();
    ips_eventcount_notify(&w->lock->shm->opened, WAKE_AT_OPENING);
}

int
ips_rwlock_upgrade(ips_rwlock *lock, int64_t deadline)
{
    writer w;
    ips_line_shm *line;
    int status = start_writer(&w, lock, 1, deadline);
    if (status == IPS_OK) {
        status = own_line(lock, deadline, &line);
    }
    if (status < 0) {
        return status;
    }
    /* relaxed: this thread's own read. */
    if (atomic_load_explicit(&line->active, memory_order_relaxed) == 0) {
        return IPS_ENOTHELD;
    }
    status = announce_upgrade(&w);
    if (status < 0) {
        return status;
    }
    status = write_once(&w);
    if (status >= 0) {
        (void)count_down(lock, line);
        reads_held -= reads_held != 0;
    }
    conclude_upgrade(&w);
    return status;
}

int
ips_rwlock_downgrade(ips_rwlock *lock, int64_t deadline)
{
    ips_line_shm *line;
    int status = own_line(lock, deadline, &line);
    if (status < 0) {
        return status;
    }
    /* relaxed: ours, or not ours; ips_rwlock_leave_write decides. */
    if (atomic_load_explicit(&lock->shm->gate, memory_order_relaxed) !=
        (ips_space_self(lock->space) | IPS_RWLOCK_INSIDE)) {
        return IPS_ENOTHELD;
    }
    /* relaxed: the gate opens after it, by a seq_cst swap; pairs with the
     * acquire in is_clear of the next writer. */
    (void)atomic_fetch_add_explicit(&line->active, 1, memory_order_relaxed);
    status = ips_rwlock_leave_write(lock);
    if (status < 0) {
        (void)count_down(lock, line);
        return status;
    }
    reads_held++;
    return IPS_OK;
}

/* --- looking ------------------------------------------------------------- */

void
ips_rwlock_probe(ips_rwlock *lock)
{
    writer w;
    if (start_writer(&w, lock, 0, IPS_AT_ONCE) < 0) {
        return;
    }
    w.watch.thorough = true;
    (void)heals(lock, &w.watch);
    (void)upgrader_of(&w);
    (void)is_clear(&w);
}
