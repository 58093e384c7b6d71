/* SPDX-License-Identifier: Apache-2.0 */
/* Handles on unnamed cells: taking, pickling, giving up; and what the pool
 * does at a fork and at a death.  The rules stand in cells.h. */
#include "segment/cells.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/clock.h"
#include "segment/cellpool.h"

/* Forks of this process whose child has not recorded its uses yet.  Until it
 * has, no cell may go: the child has handles on what we have handles on. */
static _Atomic uint32_t births;

/* A hook of the member room must not keep it long; who sweeps next goes on. */
#define LONGEST_WAIT_NS INT64_C(1000000000)
#define GUARDED_WAIT_NS INT64_C(20000000)

static void watch_forks(void);

/* The pool, for callers that will hold cells of it.  Handlers of a fork run in
 * the order of their registration on the way out: ours come after the member
 * room's, which waits for the child, so they are registered after joining. */
static int
pool_for(ips_space *space, bool wide, bool create, ips_cell_pool **out)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, watch_forks);
    return ips_pool_of(space, wide, create, out);
}

/* Every use of this process on the bits of its member: once after joining
 * (nothing yet), and in a forked child, whose parent's handles are now its
 * own.  Guard and lock are held. */
static int
record_all(ips_cell_pool *pool, ips_owner me)
{
    uint32_t slot = ips_owner_slot(me);
    int status = ips_pool_back_bit(pool, slot, 0);
    if (status < 0) {
        return status;
    }
    pool->recorded = IPS_NOBODY; /* until all of it stands */
    ips_cell_uses_shm *uses = ips_pool_uses(pool, slot);
    if (uses->owner != me) {
        ips_pool_forget(pool, slot); /* left by the slot's last tenant */
        uses->owner = me;
    }
    uint32_t held = 0;
    uint32_t cells = pool->shm->fresh_cell;
    cells = cells < ips_pool_cells_backed(pool) ? cells : ips_pool_cells_backed(pool);
    for (uint32_t i = 0; i < cells; i++) {
        /* acquire: pairs with the decrement in release_pooled. */
        if (atomic_load_explicit(&pool->local[i].handles, memory_order_acquire) == 0) {
            continue;
        }
        status = ips_pool_back_bit(pool, slot, i);
        if (status < 0) {
            return status;
        }
        held++;
        if (!ips_pool_has_bit(pool, slot, i)) {
            ips_pool_change(pool, &(ips_cell_change){
                .cell = i, .uses = 1, .slot = slot, .bit = 1, .ticket = IPS_NO_INDEX});
        }
    }
    /* relaxed: a count for this process; this sets right what a fork copied
     * in the middle of a change. */
    atomic_store_explicit(&pool->held, held, memory_order_relaxed);
    pool->recorded = me;
    return IPS_OK;
}

/* Give back the cells whose last handle went.  Guard and lock are held. */
static void
settle_returns(ips_cell_pool *pool)
{
    /* acquire: pairs with the release in queue_return. */
    uint32_t index = atomic_exchange_explicit(&pool->returns, 0, memory_order_acquire);
    uint32_t slot = ips_owner_slot(pool->recorded);
    while (index != 0) {
        uint32_t cell = index - 1;
        ips_cell_local *local = &pool->local[cell];
        index = local->next;
        /* seq_cst, both: queued is cleared before handles are looked at; pairs
         * with release_pooled, which does it the other way round, so that one
         * of us sees the other. */
        atomic_store_explicit(&local->queued, 0, memory_order_seq_cst);
        if (atomic_load_explicit(&local->handles, memory_order_seq_cst) == 0 &&
            ips_pool_has_bit(pool, slot, cell)) {
            /* relaxed: a count for this process. */
            atomic_fetch_sub_explicit(&pool->held, 1, memory_order_relaxed);
            ips_pool_change(pool, &(ips_cell_change){
                .cell = cell, .uses = -1, .slot = slot, .bit = 0, .ticket = IPS_NO_INDEX});
        }
    }
}

static void
leave(ips_cell_pool *pool)
{
    ips_pool_unlock(pool);
    (void)pthread_mutex_unlock(&pool->guard);
}

/* The guard, then the shared lock.  Whoever waits for the lock lets go of the
 * guard now and then, so that threads behind it can hear signals, and fork. */
static int
take(ips_cell_pool *pool, ips_owner me, int64_t deadline)
{
    if (deadline == IPS_AT_ONCE) {
        if (pthread_mutex_trylock(&pool->guard) != 0) {
            return IPS_EAGAIN;
        }
        int status = ips_pool_lock(pool, me, deadline);
        if (status < 0) {
            (void)pthread_mutex_unlock(&pool->guard);
        }
        return status;
    }
    for (;;) {
        (void)pthread_mutex_lock(&pool->guard);
        int64_t until = ips_now() + GUARDED_WAIT_NS;
        until = until < deadline ? until : deadline;
        int status = ips_pool_lock(pool, me, until);
        if (status >= 0) {
            return status;
        }
        (void)pthread_mutex_unlock(&pool->guard);
        if (status != IPS_ETIMEOUT || until == deadline) {
            return status;
        }
    }
}

/* Guard and lock, with this process recorded and its returns settled. */
static int
enter(ips_cell_pool *pool, int64_t deadline)
{
    ips_owner me = ips_space_self(pool->space);
    if (me == IPS_NOBODY) {
        return ips_last_note()->status;
    }
    int status = take(pool, me, deadline);
    if (status < 0) {
        return status;
    }
    if (pool->recorded != me) {
        status = record_all(pool, me);
    }
    /* acquire: pairs with before_fork; relaxed: a look whether there are any. */
    if (status == IPS_OK && atomic_load_explicit(&births, memory_order_acquire) == 0 &&
        atomic_load_explicit(&pool->returns, memory_order_relaxed) != 0) {
        settle_returns(pool);
    }
    if (status < 0) {
        leave(pool);
    }
    return status;
}

/* One more handle of this process; the cell has our bit. */
static void
hold(ips_cell_pool *pool, uint32_t index, const ips_wide *body, ips_cell *out)
{
    /* relaxed: the guard is held, and only under it does a count leave 0. */
    atomic_fetch_add_explicit(&pool->local[index].handles, 1, memory_order_relaxed);
    *out = (ips_cell){
        .shm = ips_pool_cell(pool, index), .space = pool->space, .index = index, .wide = *body};
}

/* Set our bit for a cell that has none; `type` where it is handed out by this. */
static void
use(ips_cell_pool *pool, uint32_t index, enum ips_cell_type type)
{
    ips_pool_change(pool, &(ips_cell_change){
        .cell = index, .uses = 1, .type = type, .slot = ips_owner_slot(pool->recorded), .bit = 1,
        .ticket = IPS_NO_INDEX});
    /* relaxed: a count for this process. */
    atomic_fetch_add_explicit(&pool->held, 1, memory_order_relaxed);
}

static int
make_inside(ips_cell_pool *pool, enum ips_cell_type type, const uint64_t *words, ips_cell *out)
{
    uint32_t index;
    ips_wide body;
    uint32_t slot = ips_owner_slot(pool->recorded);
    int status = ips_pool_find_cell(pool, &index);
    if (status == IPS_OK) {
        status = ips_pool_back_bit(pool, slot, index);
    }
    if (status == IPS_OK) {
        status = ips_pool_body(pool, index, &body);
    }
    if (status == IPS_OK) {
        status = ips_pool_clear_body(pool, index, &body);
    }
    if (status < 0) {
        return status;
    }
    ips_cell_shm *cell = ips_pool_cell(pool, index);
    for (size_t i = 0; i < IPS_CELL_WORDS; i++) {
        /* relaxed: nobody uses the cell yet; the pool's lock, or the pipe that
         * carries the ticket, hands the words on. */
        atomic_store_explicit(&cell->words[i], words == NULL ? 0 : words[i],
                              memory_order_relaxed);
    }
    use(pool, index, type);
    hold(pool, index, &body, out);
    return IPS_OK;
}

int
ips_cell_make(ips_space *space, enum ips_cell_type type, const uint64_t words[IPS_CELL_WORDS],
              int64_t deadline, ips_cell *out)
{
    ips_cell_pool *pool;
    int status = pool_for(space, ips_cell_is_wide(type), true, &pool);
    if (status == IPS_OK) {
        status = enter(pool, deadline);
    }
    if (status < 0) {
        return status;
    }
    status = make_inside(pool, type, words, out);
    leave(pool);
    return status;
}

/* --- giving up ----------------------------------------------------------- */

static void
queue_return(ips_cell_pool *pool, uint32_t index)
{
    ips_cell_local *local = &pool->local[index];
    /* seq_cst: after the handle is given up; pairs with settle_returns. */
    if (atomic_exchange_explicit(&local->queued, 1, memory_order_seq_cst) != 0) {
        return; /* on the list already */
    }
    /* relaxed: the swap decides. */
    uint32_t first = atomic_load_explicit(&pool->returns, memory_order_relaxed);
    do {
        local->next = first;
        /* release: next is written; pairs with the exchange in settle_returns. */
    } while (!atomic_compare_exchange_weak_explicit(&pool->returns, &first, index + 1,
                                                    memory_order_release, memory_order_relaxed));
}

static void
release_pooled(const ips_cell *cell)
{
    ips_cell_pool *pool;
    if (ips_pool_of(cell->space, cell->wide.shm != NULL, false, &pool) < 0 || pool == NULL) {
        return;
    }
    /* seq_cst: before the list is looked at; pairs with settle_returns. */
    if (atomic_fetch_sub_explicit(&pool->local[cell->index].handles, 1, memory_order_seq_cst) != 1) {
        return;
    }
    queue_return(pool, cell->index);
    if (enter(pool, IPS_AT_ONCE) == IPS_OK) { /* it settles the returns */
        leave(pool);
    }
}

void
ips_cell_release(ips_cell *cell)
{
    if (cell->shm == NULL) {
        return;
    }
    if (cell->object != NULL) {
        ips_object_release(cell->object);
    } else {
        release_pooled(cell);
    }
    *cell = (ips_cell){.shm = NULL};
}

/* --- pickling ------------------------------------------------------------ */

#define TICKET_FORMAT "c%" PRIu32 ".%" PRIu64 ".%" PRIu32 ".%" PRIu64

int
ips_cell_ticket(const ips_cell *cell, int64_t deadline, char text[IPS_TICKET_MAX])
{
    ips_cell_pool *pool;
    int status = ips_pool_of(cell->space, cell->wide.shm != NULL, true, &pool);
    if (status == IPS_OK) {
        status = enter(pool, deadline);
    }
    if (status < 0) {
        return status;
    }
    uint32_t ticket;
    status = ips_pool_find_ticket(pool, &ticket);
    if (status == IPS_OK) {
        ips_pool_change(pool, &(ips_cell_change){
            .cell = cell->index, .uses = 1, .slot = IPS_NO_INDEX, .ticket = ticket,
            .ticket_owner = pool->recorded});
        (void)snprintf(text, IPS_TICKET_MAX, TICKET_FORMAT, cell->index, cell->shm->generation,
                       ticket, ips_pool_ticket(pool, ticket)->serial);
    }
    leave(pool);
    return status;
}

typedef struct {
    uint32_t cell;
    uint64_t generation;
    uint32_t ticket;
    uint64_t serial;
} ticket_facts;

static bool
parse_ticket(const char *text, ticket_facts *out)
{
    int end = 0;
    return sscanf(text, "c%" SCNu32 ".%" SCNu64 ".%" SCNu32 ".%" SCNu64 "%n", &out->cell,
                  &out->generation, &out->ticket, &out->serial, &end) == 4 &&
           text[end] == '\0';
}

static bool
is_valid_ticket(ips_cell_pool *pool, const ticket_facts *facts)
{
    if (facts->ticket >= pool->shm->fresh_ticket ||
        facts->ticket >= ips_pool_tickets_backed(pool)) {
        return false;
    }
    const ips_ticket_shm *ticket = ips_pool_ticket(pool, facts->ticket);
    return ticket->owner != IPS_NOBODY && ticket->serial == facts->serial &&
           ticket->cell == facts->cell;
}

static int
redeem_inside(ips_cell_pool *pool, const ticket_facts *facts, enum ips_cell_type type,
              ips_cell *out)
{
    ips_wide body;
    uint32_t slot = ips_owner_slot(pool->recorded);
    const ips_cell_shm *cell = ips_pool_cell(pool, facts->cell);
    if (cell->type == IPS_CELL_FREE || cell->generation != facts->generation) {
        return ips_fail(IPS_EGONE, "an unpickled %s was given up by all who held it",
                        ips_cell_type_name(type));
    }
    if (cell->type != (uint32_t)type) {
        return ips_fail(IPS_EMISMATCH, "a pickled %s cannot become a %s",
                        ips_cell_type_name(cell->type), ips_cell_type_name(type));
    }
    int status = ips_pool_back_bit(pool, slot, facts->cell);
    if (status == IPS_OK) {
        status = ips_pool_body(pool, facts->cell, &body);
    }
    if (status < 0) {
        return status;
    }
    if (!ips_pool_has_bit(pool, slot, facts->cell)) {
        use(pool, facts->cell, IPS_CELL_FREE);
    }
    if (is_valid_ticket(pool, facts)) { /* now that our own use keeps it */
        ips_pool_change(pool, &(ips_cell_change){
            .cell = facts->cell, .uses = -1, .slot = IPS_NO_INDEX, .ticket = facts->ticket});
    }
    hold(pool, facts->cell, &body, out);
    return IPS_OK;
}

int
ips_cell_redeem(ips_space *space, const char *text, enum ips_cell_type type, int64_t deadline,
                ips_cell *out)
{
    ticket_facts facts;
    if (!parse_ticket(text, &facts)) {
        return ips_fail(IPS_EFORMAT, "'%.60s' is not a pickled %s", text, ips_cell_type_name(type));
    }
    ips_cell_pool *pool;
    int status = pool_for(space, ips_cell_is_wide(type), false, &pool);
    if (status < 0) {
        return status;
    }
    if (pool == NULL) {
        return ips_fail(IPS_EGONE, "namespace '%s' holds no unnamed objects",
                        ips_space_folder(space));
    }
    status = enter(pool, deadline);
    if (status < 0) {
        return status;
    }
    if (facts.cell < ips_pool_cells_backed(pool)) {
        status = redeem_inside(pool, &facts, type, out);
    } else {
        status = ips_fail(IPS_EGONE, "an unpickled %s is not in this namespace",
                          ips_cell_type_name(type));
    }
    leave(pool);
    return status;
}

/* --- hooks --------------------------------------------------------------- */

/* We leave.  A cell with handles may still be in the hands of a thread that
 * nobody joined: then our slot stays until our death is proven. */
static int
leave_pool(ips_cell_pool *pool, ips_owner me, int64_t deadline)
{
    int status = enter(pool, deadline);
    if (status < 0) {
        return status;
    }
    /* relaxed: a count for this process. */
    if (atomic_load_explicit(&pool->held, memory_order_relaxed) != 0) {
        status = IPS_EAGAIN;
    } else {
        ips_pool_forget(pool, ips_owner_slot(me)); /* tickets */
        pool->recorded = IPS_NOBODY;
    }
    leave(pool);
    return status;
}

static int
clear_away(ips_space *space, bool wide, ips_owner dead)
{
    ips_cell_pool *pool;
    int status = ips_pool_of(space, wide, false, &pool);
    if (status < 0 || pool == NULL) {
        return status;
    }
    ips_owner me = ips_space_self(space);
    if (me == IPS_NOBODY) {
        return ips_last_note()->status;
    }
    int64_t deadline = ips_now() + LONGEST_WAIT_NS;
    if (dead == me) {
        return pool->recorded == me ? leave_pool(pool, me, deadline) : IPS_OK;
    }
    /* Without the guard: this may run below any caller of the member room,
     * and touches nothing of this process. */
    status = ips_pool_lock(pool, me, deadline);
    if (status < 0) {
        return status;
    }
    uint32_t slot = ips_owner_slot(dead);
    if (ips_pool_bits_backed(pool, slot) != 0 && ips_pool_uses(pool, slot)->owner == dead) {
        ips_pool_forget(pool, slot);
    }
    ips_pool_unlock(pool);
    return IPS_OK;
}

static int
on_death(ips_space *space, ips_owner dead)
{
    int status = clear_away(space, false, dead);
    return status != IPS_OK ? status : clear_away(space, true, dead);
}

static bool
holds_any(const ips_cell_pool *pool)
{
    /* relaxed: the fork that follows copies what this thread sees. */
    return pool != NULL && atomic_load_explicit(&pool->held, memory_order_relaxed) != 0;
}

static bool
has_heirs(ips_space *space)
{
    return holds_any(ips_pool_if_open(space, false)) || holds_any(ips_pool_if_open(space, true));
}

/* In the child, alone; the parent waits, and gives nothing back meanwhile.
 * Where it takes too long, the child's first own call makes up for it. */
static void
inherit(ips_space *space, ips_owner parent, ips_owner child)
{
    (void)parent;
    (void)child;
    for (int wide = 0; wide <= 1; wide++) {
        ips_cell_pool *pool = ips_pool_if_open(space, wide != 0);
        if (pool != NULL && enter(pool, ips_now() + LONGEST_WAIT_NS) == IPS_OK) {
            leave(pool);
        }
    }
}

static void
before_fork(void)
{
    /* seq_cst: pairs with the acquire in enter: other threads either see it or
     * are done before we get each guard. */
    atomic_fetch_add_explicit(&births, 1, memory_order_seq_cst);
    for (ips_cell_pool *pool = ips_pools(); pool != NULL; pool = pool->next) {
        (void)pthread_mutex_lock(&pool->guard);
        (void)pthread_mutex_unlock(&pool->guard);
    }
}

static void
after_fork(void)
{
    /* release: pairs with the acquire in enter. */
    atomic_fetch_sub_explicit(&births, 1, memory_order_release);
}

static void
watch_forks(void)
{
    (void)pthread_atfork(before_fork, after_fork, NULL);
}

static void
reset_in_child(void)
{
    /* relaxed: this thread is alone. */
    atomic_store_explicit(&births, 0, memory_order_relaxed);
    ips_pools_reset_in_child();
}

static void
install(void)
{
    static const ips_fork_hook fork_hook = {has_heirs, inherit};
    (void)pthread_atfork(NULL, NULL, reset_in_child);
    ips_space_on_death(on_death);
    ips_space_on_leave(ips_pools_leave);
    ips_space_on_fork(&fork_hook);
}

void
ips_cells_install(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, install);
}
