/* SPDX-License-Identifier: Apache-2.0 */
/* The way to the write: the turn, the courtesy, the gate, the readers.  Words
 * and rules are drawn in sync/rwlock.h. */
#include "base/atomics.h"
#include "os/clock.h"
#include "sync/rwlock_inside.h"

/* How long a writer lets those in first whom an earlier writer kept waiting.
 * A courtesy and no more: a reader that stands still loses its turn. */
#define COURTESY_NS INT64_C(2000000)

static void
set_gate(ips_rwlock *lock, uint64_t gate)
{
    /* seq_cst, then the fence: the gate is shut before we look at the lines;
     * pairs with enter in rwlock.c. */
    (void)atomic_exchange_explicit(&lock->shm->gate, gate, memory_order_seq_cst);
    ips_fence_after_rmw();
}

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
         * pairs with count_down in rwlock.c.  Count first, owner second: see lines.h. */
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

/* With the turn, the gate still open: those who waited for the last writer.  0, or
 * IPS_ETIMEOUT where they have time left and the caller, who only tries, has not. */
static int
be_courteous(ips_rwlock_intent *intent, writer *w)
{
    ips_rwlock_shm *shm = w->lock->shm;
    /* relaxed: a hint. */
    if (intent->courtesy == 0 &&
        (atomic_load_explicit(&shm->state, memory_order_relaxed) & IPS_RWLOCK_BLOCKED) == 0) {
        intent->had_courtesy = true;
        return IPS_OK;
    }
    int64_t now = ips_now();
    bool tries = w->deadline <= now;
    if (intent->courtesy == 0) {
        /* relaxed: as above. */
        (void)atomic_fetch_and_explicit(&shm->state, ~IPS_RWLOCK_BLOCKED, memory_order_relaxed);
        intent->courtesy = now + COURTESY_NS;
    }
    int64_t until = intent->courtesy < w->deadline ? intent->courtesy : w->deadline;
    ips_watch_clear(&w->watch);
    while (!nobody_waits(w)) {
        if (tries && now < intent->courtesy) {
            return IPS_ETIMEOUT;
        }
        uint32_t key = ips_eventcount_prepare(&shm->drained);
        if (!nobody_waits(w) && ips_watch_wait(&shm->drained, key, w->lock->space, &w->watch, until) < 0) {
            /* relaxed: as above; some may be waiting still. */
            (void)atomic_fetch_or_explicit(&shm->state, IPS_RWLOCK_BLOCKED, memory_order_relaxed);
            break;
        }
    }
    intent->had_courtesy = true;
    return IPS_OK;
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
    (void)ips_spin_learning(&w->lock->writing, is_clear, w, w->deadline);
    for (;;) {
        uint32_t key = ips_eventcount_prepare(&w->lock->shm->drained);
        if (go_inside(w)) {
            return IPS_OK;
        }
        if (must_give_way(w)) {
            return IPS_EAGAIN;
        }
        if (is_clear(w)) { /* says whom to watch; or the last of them is proven dead */
            continue;
        }
        int status = ips_watch_wait(&w->lock->shm->drained, key, w->lock->space, &w->watch, w->deadline);
        if (status < 0) {
            return go_inside(w) ? IPS_OK : status;
        }
    }
}

static int
take_turn(writer *w)
{
    int status = give_way(w);
    if (status == IPS_OK) {
        status = ips_lock_acquire(&w->lock->shm->turn, w->lock->space, w->deadline);
    }
    if (status < 0) {
        return status;
    }
    ips_rwlock_inherit(w->lock);
    return IPS_OK;
}

static void
give_turn_up(ips_rwlock_intent *intent)
{
    ips_rwlock_open_gate(intent->lock);
    (void)ips_lock_leave(&intent->lock->shm->turn);
    intent->has_turn = false;
    intent->had_courtesy = false;
    intent->courtesy = 0;
}

static int
get_inside(ips_rwlock_intent *intent, writer *w)
{
    int status;
    do {
        status = intent->has_turn ? IPS_OK : take_turn(w);
        if (status < 0) {
            break;
        }
        intent->has_turn = true;
        status = w->own == 0 && w->deadline != IPS_AT_ONCE && !intent->had_courtesy
                     ? be_courteous(intent, w) : IPS_OK;
        status = status < 0 ? status : drain(w);
        if (status == IPS_EAGAIN) {
            give_turn_up(intent);
        }
    } while (status == IPS_EAGAIN);
    return status;
}

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
conclude_upgrade(ips_rwlock_intent *intent)
{
    /* seq_cst: before the look at the sleepers bit; pairs with the prepare()
     * in give_way. */
    (void)atomic_exchange_explicit(&intent->lock->shm->upgrader, IPS_NOBODY,
                                   memory_order_seq_cst);
    ips_fence_after_rmw();
    ips_eventcount_notify(&intent->lock->shm->opened, IPS_RWLOCK_WAKE_AT_OPENING);
    intent->is_announced = false;
}

/* To be the one that upgrades; *line is where its read is counted. */
static int
begin_upgrade(ips_rwlock_intent *intent, writer *w, ips_line_shm **line)
{
    int status = ips_rwlock_own_line(intent->lock, w->deadline, line);
    if (status < 0 || intent->is_announced) {
        return status;
    }
    /* relaxed: this thread's own read. */
    if (atomic_load_explicit(&(*line)->active, memory_order_relaxed) == 0) {
        return IPS_ENOTHELD;
    }
    status = announce_upgrade(w);
    intent->is_announced = status == IPS_OK;
    return status;
}

int
ips_rwlock_intend(ips_rwlock_intent *intent, int64_t deadline)
{
    writer w;
    ips_line_shm *line = NULL;
    int status = start_writer(&w, intent->lock, intent->upgrades, deadline);
    if (status == IPS_OK && intent->upgrades) {
        status = begin_upgrade(intent, &w, &line);
    }
    if (status == IPS_OK) {
        status = get_inside(intent, &w);
    }
    if (status == IPS_OK) {
        intent->has_turn = false; /* it has become the write */
        ips_trace_take(&intent->lock->shm->trace);
        if (intent->upgrades) {
            (void)ips_rwlock_drop_read(intent->lock, line);
            conclude_upgrade(intent);
        }
        return ips_rwlock_is_abandoned(intent->lock) ? IPS_ABANDONED : IPS_OK;
    }
    if (status != IPS_ETIMEOUT) {
        ips_rwlock_desist(intent);
    }
    return status;
}

void
ips_rwlock_desist(ips_rwlock_intent *intent)
{
    if (intent->has_turn) {
        give_turn_up(intent);
    }
    if (intent->is_announced) {
        conclude_upgrade(intent);
    }
}

static int
write_within(ips_rwlock *lock, bool upgrades, int64_t deadline)
{
    ips_rwlock_intent intent = {.lock = lock, .upgrades = upgrades};
    int status = ips_rwlock_intend(&intent, deadline);
    if (status < 0) {
        ips_rwlock_desist(&intent);
    }
    return status;
}

int
ips_rwlock_write(ips_rwlock *lock, int64_t deadline)
{
    return write_within(lock, false, deadline);
}

int
ips_rwlock_upgrade(ips_rwlock *lock, int64_t deadline)
{
    return write_within(lock, true, deadline);
}

void
ips_rwlock_probe(ips_rwlock *lock)
{
    writer w;
    if (start_writer(&w, lock, 0, IPS_AT_ONCE) < 0) {
        return;
    }
    w.watch.thorough = true;
    (void)ips_rwlock_heals(lock, &w.watch);
    (void)upgrader_of(&w);
    (void)is_clear(&w);
}
