/* SPDX-License-Identifier: Apache-2.0 */
/* Begin, commit, abort, and what the next holder of the lock does for a dead
 * one.  The order of a commit:
 *
 *   mark = COMMITTED     it has happened
 *   commits + 1          views that began before see nothing of it (view.h)
 *   versions even        readers go on
 *   freed blocks back    heap.h
 *   mark = IDLE, unlock
 *
 * and of an abort, by the owner or by a survivor:
 *
 *   freed blocks recalled, entries undone, versions even, mark = IDLE, unlock
 *
 * Each line can be killed and done again. */
#include "os/clock.h"
#include "os/process.h"
#include "segment/heap.h"
#include "segment/stable.h"
#include "segment/view.h"

/* Addresses would be used again. */
uint64_t
ips_segment_thread(void)
{
    static _Atomic uint64_t last;
    static _Thread_local uint64_t mine;
    if (__builtin_expect(mine == 0, 0)) {
        /* relaxed: only distinct. */
        mine = atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
    }
    return mine;
}

static bool
is_mine(const ips_segment *segment)
{
    /* relaxed: only our own store can make it equal; a forked child carries
     * its parent's number but not its membership. */
    uint64_t holder = atomic_load_explicit(&segment->holder, memory_order_relaxed);
    return holder != 0 && holder == ips_segment_thread() &&
           segment->owner == ips_space_self(segment->object->space);
}

bool
ips_tx_is_mine(const ips_segment *segment)
{
    return is_mine(segment);
}

uint32_t
ips_tx_depth(const ips_segment *segment)
{
    return is_mine(segment) ? segment->depth : 0;
}

void
ips_tx_set_mark(ips_segment *segment, uint64_t mark)
{
    if (is_mine(segment)) {
        segment->mark = mark;
    }
}

uint64_t
ips_tx_mark(const ips_segment *segment)
{
    return is_mine(segment) ? segment->mark : 0;
}

int
ips_tx_refuse(const ips_segment *segment)
{
    return ips_fail(IPS_ETX, "this thread has no open transaction on segment '%s'",
                    ips_segment_title(segment));
}

int
ips_tx_require(const ips_segment *segment)
{
    return __builtin_expect(is_mine(segment), 1) ? IPS_OK : ips_tx_refuse(segment);
}

/* It lasts no longer, and may have been a dead one's. */
static void
unannounce(ips_segment *segment)
{
    /* relaxed: for people who look. */
    if (atomic_load_explicit(&segment->shm->since, memory_order_relaxed) != 0) {
        atomic_store_explicit(&segment->shm->since, 0, memory_order_relaxed);
    }
}

void
ips_tx_announce(ips_segment *segment)
{
    if (is_mine(segment) && segment->depth == 1) {
        /* relaxed: for people who look. */
        atomic_store_explicit(&segment->shm->thread, ips_thread_ident(), memory_order_relaxed);
        atomic_store_explicit(&segment->shm->since, (uint64_t)ips_now(), memory_order_relaxed);
    }
}

/* The end of each way out. */
static void
leave(ips_segment *segment)
{
    if (segment->shm->deferring != 0) {
        segment->shm->deferring = 0;
    }
    unannounce(segment);
    ips_journal_end(&segment->journal);
    segment->fresh_count = 0;
    segment->depth = 0;
    /* relaxed: read by this thread alone, others see some other number. */
    atomic_store_explicit(&segment->holder, 0, memory_order_relaxed);
    (void)ips_lock_leave(&segment->shm->lock);
}

static void
undo_all(ips_segment *segment)
{
    segment->sums = (ips_sums){0, 0};
    ips_heap_recall(segment, 0);
    ips_journal_undo(&segment->journal);
    ips_journal_settle_versions(&segment->journal);
}

/* The lock is ours and its last holder left a transaction open. */
static int
recover(ips_segment *segment)
{
    uint64_t phase;
    segment->sums = (ips_sums){0, 0};
    int status = ips_journal_take_up(&segment->journal, &phase);
    if (status < 0) {
        return ips_fail(status, "segment '%s': a dead writer left a journal that makes no sense; "
                        "its data cannot be trusted", ips_segment_title(segment));
    }
    if (phase == IPS_PHASE_ACTIVE) {
        undo_all(segment);
    } else if (phase == IPS_PHASE_COMMITTED) {
        ips_journal_undo(&segment->journal);
        ips_commit_count(segment); /* perhaps again: a view looks again for nothing */
        ips_journal_settle_versions(&segment->journal);
        ips_journal_commit(&segment->journal);
        ips_heap_work_off(segment);
    }
    if (segment->shm->deferring != 0) {
        segment->shm->deferring = 0;
    }
    unannounce(segment);
    ips_journal_end(&segment->journal);
    return ips_segment_measure(segment);
}

static int
nest(ips_segment *segment)
{
    if (segment->depth == IPS_TX_DEPTH) {
        return ips_fail(IPS_ETX, "transactions on segment '%s' are nested %d deep",
                        ips_segment_title(segment), IPS_TX_DEPTH);
    }
    ips_level *level = &segment->levels[segment->depth++];
    ips_savepoint_set(&segment->journal, &level->savepoint);
    level->deferred = ips_heap_of(segment)->deferred;
    level->cells = segment->fresh_count;
    level->size = segment->size;
    level->sums = segment->sums;
    level->frozen = segment->journal.frozen;
    return IPS_OK;
}

/* The lock, by the deadline of the view that this thread may have open. */
static int
take_lock(ips_segment *segment, ips_owner me, int64_t deadline)
{
    ips_lock_shm *lock = &segment->shm->lock;
    if (ips_lock_try(lock, me)) {
        return IPS_OK;
    }
    const ips_view *view = ips_view_of_mine(segment);
    if (view == NULL || view->deadline >= deadline) {
        return ips_lock_acquire(lock, segment->object->space, deadline);
    }
    int taken = ips_lock_acquire(lock, segment->object->space, view->deadline);
    return taken != IPS_ETIMEOUT ? taken
        : ips_fail(IPS_EAGAIN, "segment '%s': what is to be read is being changed by a transaction",
                   ips_segment_title(segment));
}

/* In a view: what is read under the lock must be as old as the rest, and
 * nothing is written. */
static int
join_view(ips_segment *segment)
{
    const ips_view *view = ips_view_of_mine(segment);
    if (view == NULL) {
        return IPS_OK;
    }
    if (!ips_view_holds(segment, view)) {
        ips_tx_abort(segment);
        return ips_view_conflict(segment);
    }
    ips_journal_freeze(&segment->journal, true);
    return IPS_OK;
}

void
ips_tx_freeze(ips_segment *segment)
{
    if (is_mine(segment)) {
        ips_journal_freeze(&segment->journal, true);
    }
}

int
ips_tx_begin(ips_segment *segment, int64_t deadline)
{
    if (is_mine(segment)) {
        return nest(segment);
    }
    const ips_view *view = ips_view_of_mine(segment);
    if (view != NULL && !ips_view_holds(segment, view)) {
        return ips_view_conflict(segment); /* before waiting in vain */
    }
    ips_space *space = segment->object->space;
    ips_lock_shm *lock = &segment->shm->lock;
    ips_owner me = ips_space_self(space);
    if (me == IPS_NOBODY) {
        return ips_last_note()->status;
    }
    int status = take_lock(segment, me, deadline);
    if (status < 0) {
        return status;
    }
    status = ips_segment_measure(segment);
    /* acquire: pairs with the release of the mark by a dead holder. */
    uint64_t mark = atomic_load_explicit(&segment->shm->journal.mark, memory_order_acquire);
    if (status == 0 && __builtin_expect((mark & IPS_PHASE_BITS) != IPS_PHASE_IDLE, 0)) {
        status = recover(segment);
    }
    if (status < 0) {
        (void)ips_lock_leave(lock);
        return status;
    }
    ips_journal_begin(&segment->journal);
    segment->fresh_count = 0;
    segment->sums = (ips_sums){0, 0};
    segment->depth = 1;
    segment->number++;
    segment->mark = 0;
    segment->owner = me;
    /* relaxed: as in is_mine. */
    atomic_store_explicit(&segment->holder, ips_segment_thread(), memory_order_relaxed);
    return view == NULL ? IPS_OK : join_view(segment);
}

/* The level that was just left may have been one that only read. */
static void
thaw(ips_segment *segment)
{
    bool frozen = segment->levels[segment->depth].frozen;
    if (segment->journal.frozen != frozen) {
        ips_journal_freeze(&segment->journal, frozen);
    }
}

int
ips_tx_commit(ips_segment *segment)
{
    int status = ips_tx_require(segment);
    if (status < 0) {
        return status;
    }
    ips_journal *journal = &segment->journal;
    if (segment->depth > 1) {
        segment->depth--;
        ips_savepoint_release(journal, &segment->levels[segment->depth].savepoint);
        thaw(segment);
        return IPS_OK;
    }
    if (!ips_journal_is_empty(journal)) {
        ips_heap_store_sums(segment);
        ips_journal_commit(journal);
        ips_commit_count(segment);
        ips_journal_settle_versions(journal);
        ips_heap_work_off(segment);
    }
    leave(segment);
    return IPS_OK;
}

void
ips_tx_abort(ips_segment *segment)
{
    if (!is_mine(segment)) {
        return;
    }
    if (segment->depth > 1) {
        segment->depth--;
        const ips_level *level = &segment->levels[segment->depth];
        ips_stable_disown(segment, level->cells);
        ips_heap_recall(segment, level->deferred);
        ips_savepoint_undo(&segment->journal, &level->savepoint);
        segment->sums = level->sums;
        segment->size = level->size; /* a growth may have been undone */
        thaw(segment);
        return;
    }
    ips_stable_disown(segment, 0);
    undo_all(segment);
    leave(segment);
}

int
ips_tx_reserve(ips_segment *segment, uint64_t words, uint64_t stores)
{
    int status = ips_tx_inside(segment);
    /* An entry of n words takes n + 2, a store 2. */
    return status < 0 ? status
        : ips_journal_reserve(&segment->journal, (words + 3) / 2 + stores);
}

int
ips_tx_store(ips_segment *segment, ips_offset offset, uint64_t value)
{
    int status = ips_tx_inside(segment);
    if (status == 0) {
        status = ips_journal_reserve(&segment->journal, 1);
    }
    if (status < 0) {
        return status;
    }
    uint64_t *word = ips_segment_at(segment, offset, 8);
    if (word == NULL) {
        return ips_heap_damaged(segment, "a store outside the heap", offset);
    }
    ips_set(segment, word, value);
    return IPS_OK;
}

int
ips_tx_write(ips_segment *segment, ips_offset offset, const void *bytes, size_t size)
{
    int status = ips_tx_inside(segment);
    if (status < 0) {
        return status;
    }
    if (size > segment->max_size ||
        ips_segment_at(segment, offset, ips_align_up(size, 8)) == NULL) {
        return ips_heap_damaged(segment, "a store outside the heap", offset);
    }
    return ips_journal_write(&segment->journal, offset, bytes, size);
}

int
ips_tx_touch(ips_segment *segment, ips_offset version)
{
    int status = ips_tx_inside(segment);
    if (status < 0) {
        return status;
    }
    if (ips_segment_at(segment, version, 8) == NULL) {
        return ips_heap_damaged(segment, "a version outside the heap", version);
    }
    return ips_journal_touch(&segment->journal, version);
}

uint64_t
ips_tx_generation(ips_segment *segment)
{
    return ips_generation_of(ips_serial_next(segment));
}

bool
ips_read_suits_view(ips_segment *segment)
{
    const ips_view *view = ips_view_of_mine(segment);
    return view == NULL || ips_view_holds(segment, view);
}
