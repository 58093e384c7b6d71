/* SPDX-License-Identifier: Apache-2.0 */
/* The pool's lock and the one way in which it changes: an entry with the values
 * to be stored, armed, applied, disarmed; see cellpool.h. */
#include <string.h>

#include "base/atomics.h"
#include "os/clock.h"
#include "segment/cellpool.h"

/* All but `armed`.  An entry is planned, checked and applied in private memory:
 * a peer that spoils the shared one must not lead anybody astray. */
static void
copy_entry(ips_cell_redo_shm *to, const ips_cell_redo_shm *from)
{
    memcpy(&to->cell, &from->cell, sizeof *to - offsetof(ips_cell_redo_shm, cell));
}

/* Every store of an armed entry; may be made any number of times. */
static void
apply(ips_cell_pool *pool, const ips_cell_redo_shm *redo)
{
    ips_cell_pool_shm *shm = pool->shm;
    ips_cell_shm *cell = ips_pool_cell(pool, redo->cell);
    cell->type = redo->cell_type;
    cell->uses = redo->cell_uses;
    cell->next = redo->cell_next;
    cell->generation = redo->cell_generation;
    shm->free_cell = redo->free_cell;
    shm->fresh_cell = redo->fresh_cell;
    if (redo->slot != IPS_NO_INDEX) {
        uint64_t *word = &ips_pool_uses(pool, redo->slot)->bits[redo->cell / 64];
        uint64_t mask = UINT64_C(1) << (redo->cell % 64);
        *word = redo->bit != 0 ? *word | mask : *word & ~mask;
    }
    if (redo->ticket != IPS_NO_INDEX) {
        ips_ticket_shm *ticket = ips_pool_ticket(pool, redo->ticket);
        ticket->owner = redo->ticket_owner;
        ticket->serial = redo->ticket_serial;
        ticket->cell = redo->cell;
        ticket->next = redo->ticket_next;
        shm->free_ticket = redo->free_ticket;
        shm->fresh_ticket = redo->fresh_ticket;
    }
}

static void
plan_cell(ips_cell_pool *pool, const ips_cell_change *change, ips_cell_redo_shm *redo)
{
    const ips_cell_pool_shm *shm = pool->shm;
    const ips_cell_shm *cell = ips_pool_cell(pool, change->cell);
    redo->cell = change->cell;
    redo->cell_uses = (uint32_t)((int64_t)cell->uses + change->uses);
    redo->cell_type = cell->type;
    redo->cell_next = cell->next;
    redo->cell_generation = cell->generation;
    redo->free_cell = shm->free_cell;
    redo->fresh_cell = shm->fresh_cell;
    redo->slot = change->slot;
    redo->bit = change->bit;
    if (change->type != IPS_CELL_FREE) { /* handed out */
        redo->cell_type = change->type;
        redo->cell_next = 0;
        redo->cell_generation = cell->generation + 1;
        if (shm->free_cell == change->cell + 1) {
            redo->free_cell = cell->next;
        } else {
            redo->fresh_cell = change->cell + 1;
        }
    } else if (redo->cell_uses == 0 && cell->type != IPS_CELL_FREE) { /* the last use went */
        redo->cell_type = IPS_CELL_FREE;
        redo->cell_next = shm->free_cell;
        redo->free_cell = change->cell + 1;
    }
}

static void
plan_ticket(ips_cell_pool *pool, const ips_cell_change *change, ips_cell_redo_shm *redo)
{
    const ips_cell_pool_shm *shm = pool->shm;
    redo->ticket = change->ticket;
    if (change->ticket == IPS_NO_INDEX) {
        return;
    }
    const ips_ticket_shm *ticket = ips_pool_ticket(pool, change->ticket);
    redo->ticket_owner = change->ticket_owner;
    redo->free_ticket = shm->free_ticket;
    redo->fresh_ticket = shm->fresh_ticket;
    if (change->ticket_owner == IPS_NOBODY) { /* used up */
        redo->ticket_serial = ticket->serial;
        redo->ticket_next = shm->free_ticket;
        redo->free_ticket = change->ticket + 1;
        return;
    }
    redo->ticket_serial = ticket->serial + 1;
    redo->ticket_next = 0;
    if (shm->free_ticket == change->ticket + 1) {
        redo->free_ticket = ticket->next;
    } else {
        redo->fresh_ticket = change->ticket + 1;
    }
}

void
ips_pool_change(ips_cell_pool *pool, const ips_cell_change *change)
{
    ips_cell_redo_shm plan;
    memset(&plan, 0, sizeof plan);
    plan_cell(pool, change, &plan);
    plan_ticket(pool, change, &plan);
    copy_entry(&pool->shm->redo, &plan);
    /* release: the entry is whole before it counts; pairs with the acquire in
     * ips_pool_lock of whoever finds us dead.  The fence keeps the stores of
     * apply() behind it. */
    atomic_store_explicit(&pool->shm->redo.armed, 1, memory_order_release);
    atomic_signal_fence(memory_order_seq_cst);
    apply(pool, &plan);
    /* release: all stores are made before the entry stops counting; pairs with
     * the acquire in ips_pool_lock. */
    atomic_store_explicit(&pool->shm->redo.armed, 0, memory_order_release);
}

static bool
redo_is_sound(ips_cell_pool *pool, const ips_cell_redo_shm *redo)
{
    return redo->cell < ips_pool_cells_backed(pool) &&
           (redo->slot == IPS_NO_INDEX ||
            (redo->slot < IPS_MAX_SLOTS && redo->cell < ips_pool_bits_backed(pool, redo->slot))) &&
           (redo->ticket == IPS_NO_INDEX || redo->ticket < ips_pool_tickets_backed(pool));
}

int
ips_pool_lock(ips_cell_pool *pool, ips_owner me, int64_t deadline)
{
    if (ips_lock_try(&pool->shm->lock, me)) {
        return IPS_OK;
    }
    if (deadline == IPS_AT_ONCE) {
        return IPS_EAGAIN;
    }
    int status = ips_lock_acquire(&pool->shm->lock, pool->space, deadline);
    if (status != IPS_ABANDONED) {
        return status;
    }
    /* acquire: pairs with the release store in ips_pool_change of the dead. */
    if (atomic_load_explicit(&pool->shm->redo.armed, memory_order_acquire) != 0) {
        ips_cell_redo_shm entry;
        copy_entry(&entry, &pool->shm->redo);
        if (!redo_is_sound(pool, &entry)) {
            ips_pool_unlock(pool);
            return ips_fail(IPS_ECORRUPT, "the pool of unnamed objects of '%s'",
                            ips_space_folder(pool->space));
        }
        apply(pool, &entry);
        /* release: all stores are made; pairs with the acquire above in the next
         * one, should we die now. */
        atomic_store_explicit(&pool->shm->redo.armed, 0, memory_order_release);
    }
    return IPS_OK;
}

void
ips_pool_unlock(ips_cell_pool *pool)
{
    (void)ips_lock_leave(&pool->shm->lock);
}

static void
forget_bits(ips_cell_pool *pool, uint32_t slot)
{
    uint32_t cells = ips_pool_bits_backed(pool, slot);
    cells = cells < ips_pool_cells_backed(pool) ? cells : ips_pool_cells_backed(pool);
    const uint64_t *bits = ips_pool_uses(pool, slot)->bits;
    for (uint32_t word = 0; word < (cells + 63) / 64; word++) {
        for (uint64_t left = ips_peek(&bits[word]); left != 0; left &= left - 1) {
            uint32_t cell = word * 64 + (uint32_t)__builtin_ctzll(left);
            if (cell >= cells) {
                break;
            }
            int uses = ips_pool_cell(pool, cell)->uses == 0 ? 0 : -1;
            ips_pool_change(pool, &(ips_cell_change){
                .cell = cell, .uses = uses, .slot = slot, .bit = 0, .ticket = IPS_NO_INDEX});
        }
    }
}

void
ips_pool_forget(ips_cell_pool *pool, uint32_t slot)
{
    if (slot >= IPS_MAX_SLOTS || ips_pool_bits_backed(pool, slot) == 0) {
        return;
    }
    forget_bits(pool, slot);
    ips_owner owner = ips_pool_uses(pool, slot)->owner;
    uint32_t tickets = pool->shm->fresh_ticket, backed = ips_pool_tickets_backed(pool);
    for (uint32_t i = 0; owner != IPS_NOBODY && i < tickets && i < backed; i++) {
        const ips_ticket_shm *ticket = ips_pool_ticket(pool, i);
        /* relaxed: under the lock; once, since a peer may be spoiling it. */
        uint32_t cell = atomic_load_explicit((const _Atomic uint32_t *)&ticket->cell,
                                             memory_order_relaxed);
        if (ticket->owner == owner && cell < ips_pool_cells_backed(pool)) {
            int uses = ips_pool_cell(pool, cell)->uses == 0 ? 0 : -1;
            ips_pool_change(pool, &(ips_cell_change){
                .cell = cell, .uses = uses, .slot = IPS_NO_INDEX, .ticket = i});
        }
    }
    ips_pool_uses(pool, slot)->owner = IPS_NOBODY;
}
