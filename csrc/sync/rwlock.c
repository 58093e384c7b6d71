/* SPDX-License-Identifier: Apache-2.0 */
/* Entering, waiting, leaving.  Words and rules are drawn in sync/rwlock.h. */
#include "sync/rwlock.h"

#include "base/atomics.h"
#include "os/clock.h"
#include "sync/rwlock_inside.h"

#define WAKE_AT_WAKING 2

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
     * gate; pairs with set_gate in rwlock_writer.c, which does it the other way round. */
    uint32_t others = atomic_fetch_add_explicit(&line->active, 1, memory_order_seq_cst);
    ips_fence_after_rmw();
    /* acquire: what the last writer wrote; pairs with the release in
     * ips_rwlock_open_gate. */
    gate = atomic_load_explicit(&lock->shm->gate, memory_order_acquire);
    if (gate == 0 || (others != 0 && may_pass(gate, reads_held))) {
        reads_held++;
        ips_trace_take(&line->trace);
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

int
ips_rwlock_own_line(ips_rwlock *lock, int64_t deadline, ips_line_shm **line)
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
    return ips_rwlock_own_line(lock, deadline, &line);
}

bool
ips_rwlock_drop_read(ips_rwlock *lock, ips_line_shm *line)
{
    if (!count_down(lock, line)) {
        return false;
    }
    reads_held -= reads_held != 0;
    ips_trace_leave(&line->trace);
    return true;
}

void
ips_rwlock_sign_read(ips_rwlock *lock, uint64_t trace)
{
    ips_line_shm *line = ips_lines_mine(&lock->lines, ips_space_self(lock->space));
    if (line != NULL && trace != 0) {
        ips_trace_sign(&line->trace, trace);
    }
}

int
ips_rwlock_leave_read(ips_rwlock *lock)
{
    ips_line_shm *line = ips_lines_mine(&lock->lines, ips_space_self(lock->space));
    return line != NULL && ips_rwlock_drop_read(lock, line) ? IPS_OK : IPS_ENOTHELD;
}

/* --- the gate; the turn is held ------------------------------------------ */

void
ips_rwlock_open_gate(ips_rwlock *lock)
{
    /* seq_cst: what we wrote is visible to whoever enters, pairs with the
     * acquire in enter; and is ordered before the look at the sleepers bit. */
    (void)atomic_exchange_explicit(&lock->shm->gate, 0, memory_order_seq_cst);
    ips_fence_after_rmw();
    ips_eventcount_notify(&lock->shm->opened, IPS_RWLOCK_WAKE_AT_OPENING);
}

/* With the turn comes whatever a dead writer left at the gate. */
void
ips_rwlock_inherit(ips_rwlock *lock)
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
    ips_rwlock_open_gate(lock);
}

/* The member at the gate is dead: open it, unless somebody alive has the turn
 * and will see to it. */
static bool
heal(ips_rwlock *lock)
{
    if (ips_lock_try_or_take_over(&lock->shm->turn, lock->space) < 0) {
        return false;
    }
    ips_rwlock_inherit(lock);
    (void)ips_lock_leave(&lock->shm->turn);
    return true;
}

/* Opens the gate where its owner is dead; false with whom to watch added. */
bool
ips_rwlock_heals(ips_rwlock *lock, ips_watch *watch)
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
        if (ips_rwlock_heals(lock, watch)) {
            continue;
        }
        int status = ips_watch_wait(&lock->shm->opened, key, lock->space, watch, deadline);
        if (status < 0) {
            return enter(lock, line) ? IPS_OK : status;
        }
    }
}

/* Counted as waiting from here on, so that the next writer lets us in first. */
static void
queue_up(ips_rwlock *lock, ips_line_shm *line)
{
    /* relaxed, all: they serve courtesy alone, and a death or a late look at
     * them costs no more than that. */
    (void)atomic_fetch_add_explicit(&line->waiting, 1, memory_order_relaxed);
    if ((atomic_load_explicit(&lock->shm->state, memory_order_relaxed) & IPS_RWLOCK_BLOCKED) == 0) {
        (void)atomic_fetch_or_explicit(&lock->shm->state, IPS_RWLOCK_BLOCKED,
                                       memory_order_relaxed);
    }
}

static void
leave_queue(ips_rwlock *lock, ips_line_shm *line)
{
    /* seq_cst: before the look at the sleepers bit; pairs with prepare() in
     * be_courteous. */
    (void)atomic_fetch_sub_explicit(&line->waiting, 1, memory_order_seq_cst);
    ips_fence_after_rmw();
    ips_eventcount_notify(&lock->shm->drained, 1);
}

static int
read_late(ips_rwlock *lock, ips_line_shm *line, ips_watch *watch, int64_t deadline)
{
    queue_up(lock, line);
    int status = wait_for_gate(lock, line, watch, deadline);
    leave_queue(lock, line);
    /* Ours, or one we swallowed by giving up: hand it on. */
    if (is_open(lock)) {
        ips_eventcount_notify(&lock->shm->opened, WAKE_AT_WAKING);
    }
    return status;
}

int
ips_rwlock_queue(ips_rwlock *lock)
{
    ips_line_shm *line;
    int status = ips_rwlock_own_line(lock, IPS_AT_ONCE, &line);
    if (status == IPS_OK) {
        queue_up(lock, line);
    }
    return status;
}

void
ips_rwlock_leave_queue(ips_rwlock *lock)
{
    ips_line_shm *line = ips_lines_mine(&lock->lines, ips_space_self(lock->space));
    if (line != NULL) {
        leave_queue(lock, line);
    }
}

int
ips_rwlock_read(ips_rwlock *lock, int64_t deadline)
{
    ips_line_shm *line;
    int status = ips_rwlock_own_line(lock, deadline, &line);
    if (status < 0) {
        return status;
    }
    if (enter(lock, line)) {
        return IPS_OK;
    }
    ips_watch watch;
    ips_watch_start(&watch);
    if (deadline == IPS_AT_ONCE) {
        return ips_rwlock_heals(lock, &watch) && enter(lock, line) ? IPS_OK : IPS_ETIMEOUT;
    }
    if (ips_spin_learning(&lock->reading, is_open, lock, deadline) && enter(lock, line)) {
        return IPS_OK;
    }
    return read_late(lock, line, &watch, deadline);
}

/* --- leaving the write --------------------------------------------------- */

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
    ips_eventcount_notify(&lock->shm->opened, IPS_RWLOCK_WAKE_AT_OPENING);
    (void)ips_lock_leave(&lock->shm->turn);
    return IPS_OK;
}

int
ips_rwlock_downgrade(ips_rwlock *lock, int64_t deadline)
{
    ips_line_shm *line;
    int status = ips_rwlock_own_line(lock, deadline, &line);
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
    ips_trace_take(&line->trace);
    return IPS_OK;
}
