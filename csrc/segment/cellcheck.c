/* SPDX-License-Identifier: Apache-2.0 */
/* The invariants of the pool, as code: the oracle of its crash tests.
 *
 *   uses of a cell  =  members whose bit it has  +  tickets for it
 *   a cell is free  =  nobody uses it  =  it is on the list of free cells
 *   a ticket is free = nobody owns it  =  it is on the list of free tickets */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/clock.h"
#include "segment/cellpool.h"

typedef struct {
    ips_cell_pool *pool;
    uint32_t *uses;   /* of each cell, counted */
    uint32_t cells, tickets;
    void (*report)(const char *line, void *context);
    void *context;
    bool sound;
} checking;

static void
fault(checking *job, const char *what, uint32_t index)
{
    char line[128];
    (void)snprintf(line, sizeof line, "%sunnamed objects: %s %u",
                   job->pool->shape->wide ? "wide " : "", what, index);
    job->sound = false;
    job->report(line, job->context);
}

static void
count_bits(checking *job)
{
    for (uint32_t slot = 0; slot < IPS_MAX_SLOTS; slot++) {
        uint32_t bits = ips_pool_bits_backed(job->pool, slot);
        const uint64_t *words = ips_pool_uses(job->pool, slot)->bits;
        for (uint32_t word = 0; word < bits / 64; word++) {
            for (uint64_t left = words[word]; left != 0; left &= left - 1) {
                uint32_t cell = word * 64 + (uint32_t)__builtin_ctzll(left);
                if (cell < job->cells) {
                    job->uses[cell]++;
                } else {
                    fault(job, "a member holds a cell never handed out:", cell);
                }
            }
        }
    }
}

static uint32_t
count_tickets(checking *job)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < job->tickets; i++) {
        const ips_ticket_shm *ticket = ips_pool_ticket(job->pool, i);
        if (ticket->owner == IPS_NOBODY) {
            continue;
        }
        count++;
        if (ticket->cell < job->cells) {
            job->uses[ticket->cell]++;
        } else {
            fault(job, "a ticket for a cell never handed out:", i);
        }
    }
    return count;
}

/* Each free cell is once on the list, no other is. */
static void
walk_free_cells(checking *job)
{
    uint32_t listed = 0, free_cells = 0;
    uint32_t next = job->pool->shm->free_cell;
    while (next != 0 && listed <= job->cells) {
        if (next > job->cells || ips_pool_cell(job->pool, next - 1)->type != IPS_CELL_FREE) {
            fault(job, "the list of free cells leads to", next - 1);
            return;
        }
        listed++;
        next = ips_pool_cell(job->pool, next - 1)->next;
    }
    for (uint32_t i = 0; i < job->cells; i++) {
        free_cells += ips_pool_cell(job->pool, i)->type == IPS_CELL_FREE;
    }
    if (listed != free_cells) {
        fault(job, "free cells that are not on their list:", free_cells - listed);
    }
}

static void
walk_free_tickets(checking *job, uint32_t used)
{
    uint32_t listed = 0;
    uint32_t next = job->pool->shm->free_ticket;
    while (next != 0 && listed <= job->tickets) {
        if (next > job->tickets || ips_pool_ticket(job->pool, next - 1)->owner != IPS_NOBODY) {
            fault(job, "the list of free tickets leads to", next - 1);
            return;
        }
        listed++;
        next = ips_pool_ticket(job->pool, next - 1)->next;
    }
    if (listed != job->tickets - used) {
        fault(job, "free tickets that are not on their list:", job->tickets - used - listed);
    }
}

static void
check_inside(checking *job)
{
    const ips_cell_pool_shm *shm = job->pool->shm;
    job->cells = shm->fresh_cell;
    job->tickets = shm->fresh_ticket;
    /* relaxed: written under the lock, which is held. */
    if (atomic_load_explicit(&shm->redo.armed, memory_order_relaxed) != 0) {
        fault(job, "a change that was never finished, of cell", shm->redo.cell);
    }
    if (job->cells > ips_pool_cells_backed(job->pool) ||
        job->tickets > ips_pool_tickets_backed(job->pool)) {
        fault(job, "more cells or tickets than memory:", job->cells);
        return;
    }
    count_bits(job);
    uint32_t used = count_tickets(job);
    for (uint32_t i = 0; i < job->cells; i++) {
        const ips_cell_shm *cell = ips_pool_cell(job->pool, i);
        if (cell->uses != job->uses[i]) {
            fault(job, "a wrong count of users, of cell", i);
        }
        if ((cell->type == IPS_CELL_FREE) != (cell->uses == 0)) {
            fault(job, "neither free nor used:", i);
        }
    }
    walk_free_cells(job);
    walk_free_tickets(job, used);
}

/* The pool, locked; NULL in *out where there is none. */
static int
open_and_lock(ips_space *space, bool wide, int64_t deadline, ips_cell_pool **out)
{
    int status = ips_pool_of(space, wide, false, out);
    if (status < 0 || *out == NULL) {
        return status;
    }
    ips_owner me = ips_space_self(space);
    return me == IPS_NOBODY ? ips_last_note()->status : ips_pool_lock(*out, me, deadline);
}

static int
check_pool(ips_space *space, bool wide, int64_t deadline, checking *job)
{
    ips_cell_pool *pool;
    int status = open_and_lock(space, wide, deadline, &pool);
    if (status < 0 || pool == NULL) {
        return status;
    }
    job->pool = pool;
    job->uses = (uint32_t *)calloc(pool->shape->cells, sizeof *job->uses);
    if (job->uses != NULL) {
        check_inside(job);
    }
    ips_pool_unlock(pool);
    if (job->uses == NULL) {
        return ips_fail(IPS_ENOMEM, "checking the cells of '%s'", ips_space_folder(space));
    }
    free(job->uses);
    return IPS_OK;
}

int
ips_cells_check(ips_space *space, int64_t deadline,
                void (*report)(const char *line, void *context), void *context)
{
    checking job = {.report = report, .context = context, .sound = true};
    int status = check_pool(space, false, deadline, &job);
    if (status == IPS_OK) {
        status = check_pool(space, true, deadline, &job);
    }
    return status < 0 || job.sound ? status
                                   : ips_fail(IPS_ECORRUPT, "the unnamed objects of '%s'",
                                              ips_space_folder(space));
}

static int
add_stats(ips_space *space, bool wide, int64_t deadline, ips_cells_stats *out)
{
    ips_cell_pool *pool;
    int status = open_and_lock(space, wide, deadline, &pool);
    if (status < 0 || pool == NULL) {
        return status;
    }
    uint32_t cells = pool->shm->fresh_cell, backed = ips_pool_cells_backed(pool);
    for (uint32_t i = 0; i < cells && i < backed; i++) {
        const ips_cell_shm *cell = ips_pool_cell(pool, i);
        out->used += cell->type != IPS_CELL_FREE;
        if (wide) {
            /* relaxed: a figure for people. */
            out->backed += (uint64_t)IPS_CELL_PAGE *
                           atomic_load_explicit(&cell->body_pages, memory_order_relaxed);
        }
    }
    uint32_t tickets = pool->shm->fresh_ticket, room = ips_pool_tickets_backed(pool);
    for (uint32_t i = 0; i < tickets && i < room; i++) {
        out->tickets += ips_pool_ticket(pool, i)->owner != IPS_NOBODY;
    }
    out->backed += (uint64_t)backed * sizeof(ips_cell_shm);
    ips_pool_unlock(pool);
    return IPS_OK;
}

int
ips_cells_stats_of(ips_space *space, int64_t deadline, ips_cells_stats *out)
{
    memset(out, 0, sizeof *out);
    int status = add_stats(space, false, deadline, out);
    return status < 0 ? status : add_stats(space, true, deadline, out);
}
