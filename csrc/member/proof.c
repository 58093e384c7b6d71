/* SPDX-License-Identifier: Apache-2.0 */
/* Who is dead: the only door.  A wrong "dead" robs the living, a wrong
 * "alive" only costs time; so every step asks for proof.
 *
 * Proof is any one of
 *   (a) the byte lock is free, and the pid is gone, a zombie or another's;
 *   (b) every task of the process is exiting or dumping core (os/tasks.h);
 *   (c) the kernel rang the bell and dropped the byte lock.  This one needs
 *       no pid: it is the only one after exec and across pid namespaces.  The
 *       bell also rings when only the main thread ended, and foreign code can
 *       drop record locks; where the process table shows a process that lost
 *       its leader and runs on, (c) does not count.
 * The lock file's bytes lie in ".locks"; see member/slots.h. */
#include <limits.h>

#include "member/table.h"
#include "os/clock.h"
#include "os/futex.h"

static bool
proves_death(ips_space *space, uint32_t index, const ips_process_id *id, bool bell_rang)
{
    ips_process_state state = ips_process_state_of(id, &space->self);
    if (state == IPS_PROCESS_EXITING) {
        return true; /* (b) */
    }
    if (state == IPS_PROCESS_ALIVE && !bell_rang) {
        return false;
    }
    ips_locks_tend(space);
    if (ips_byte_probe(space->locks, index) != 0) {
        return false;
    }
    if (state == IPS_PROCESS_GONE) {
        return true; /* (a) */
    }
    return !ips_process_lost_leader(id, &space->self); /* (c) */
}

bool
ips_slot_prove(ips_space *space, uint32_t index, uint64_t generation)
{
    ips_slot_shm *slot = ips_slot_at(space, index);
    uint64_t alive = IPS_SLOT_STATE(generation, IPS_SLOT_ALIVE);
    /* acquire: pairs with the ALIVE store of ips_slot_claim, so that the facts
     * below are this tenant's or the second look finds another state. */
    if (atomic_load_explicit(&slot->state, memory_order_acquire) != alive) {
        return true;
    }
    ips_process_id id = slot->process;
    /* acquire: as above; and the kernel's mark is ordered before our proof. */
    uint32_t bell = atomic_load_explicit(&slot->bell, memory_order_acquire);
    /* Facts before the second look; pairs with the ALIVE store, as above. */
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load_explicit(&slot->state, memory_order_relaxed) != alive) {
        return true;
    }
    if (!proves_death(space, index, &id, (bell & IPS_BELL_RANG) != 0)) {
        return false;
    }
    /* acq_rel: the verdict stands for all, pairs with the acquire above in
     * others.  Losing the swap means somebody else said the same. */
    if (atomic_compare_exchange_strong_explicit(
            &slot->state, &alive, IPS_SLOT_STATE(generation, IPS_SLOT_DEAD),
            memory_order_acq_rel, memory_order_relaxed)) {
        /* The kernel wakes one of those who watch the bell; we the others. */
        (void)ips_futex_wake(&slot->bell, INT_MAX);
    }
    /* Pairs with all that the dead stored: it comes before whatever we load next. */
    atomic_thread_fence(memory_order_seq_cst);
    return true;
}

bool
ips_member_lives(ips_space *space, ips_owner owner, bool thorough)
{
    uint32_t index = ips_owner_slot(owner);
    if (owner == IPS_NOBODY || index >= ips_slots_used(space)) {
        return false;
    }
    uint64_t generation = ips_owner_generation(owner);
    ips_slot_shm *slot = ips_slot_at(space, index);
    /* acquire: pairs with the verdict's swap in ips_slot_prove and with
     * leaving in member/slots.c. */
    if (atomic_load_explicit(&slot->state, memory_order_acquire) !=
        IPS_SLOT_STATE(generation, IPS_SLOT_ALIVE)) {
        return false;
    }
    /* relaxed: our own identity. */
    if (owner == atomic_load_explicit(&space->identity->owner, memory_order_relaxed)) {
        return true;
    }
    /* relaxed: a hint that proof may be had now. */
    uint32_t bell = atomic_load_explicit(&slot->bell, memory_order_relaxed);
    if (!thorough && (bell & IPS_BELL_RANG) == 0) {
        return true;
    }
    return !ips_slot_prove(space, index, generation);
}

ips_bell
ips_member_bell(ips_space *space, ips_owner owner)
{
    ips_bell none = {NULL, 0};
    uint32_t index = ips_owner_slot(owner);
    if (owner == IPS_NOBODY || index >= ips_slots_used(space)) {
        return none;
    }
    ips_slot_shm *slot = ips_slot_at(space, index);
    /* acquire: pairs with the bell's store in ips_slot_tend_bell. */
    uint32_t bell = atomic_load_explicit(&slot->bell, memory_order_acquire);
    /* A bell that rang for one not proven dead (its main thread ended, exec)
     * is no use: watching it would only spin. */
    if ((bell & IPS_BELL_TID) == 0 || (bell & IPS_BELL_RANG) != 0) {
        return none;
    }
    /* acquire: pairs with the ALIVE store of ips_slot_claim; the bell loaded
     * above may be the next tenant's. */
    if (atomic_load_explicit(&slot->state, memory_order_acquire) !=
        IPS_SLOT_STATE(ips_owner_generation(owner), IPS_SLOT_ALIVE)) {
        return none;
    }
    return (ips_bell){&slot->bell, bell};
}

bool
ips_member_rang(ips_space *space, ips_owner owner)
{
    uint32_t index = ips_owner_slot(owner);
    /* relaxed: a hint for how soon to ask again. */
    return index < ips_slots_used(space) &&
           (atomic_load_explicit(&ips_slot_at(space, index)->bell, memory_order_relaxed) &
            IPS_BELL_RANG) != 0;
}

static ips_death_hook death_hooks[4];

void
ips_space_on_death(ips_death_hook hook)
{
    ips_room_enter();
    for (size_t i = 0; i < sizeof death_hooks / sizeof *death_hooks; i++) {
        if (death_hooks[i] == hook || death_hooks[i] == NULL) {
            death_hooks[i] = hook;
            break;
        }
    }
    ips_room_leave();
}

/* One clearer at a time; the claim of a dead clearer falls to the next. */
static bool
claim_clearing(ips_space *space, ips_slot_shm *slot, ips_owner me)
{
    /* relaxed: the swap below decides. */
    uint64_t holder = atomic_load_explicit(&slot->clearer, memory_order_relaxed);
    if (holder == me) {
        return false; /* another thread of ours, or we are inside a hook */
    }
    if (holder != IPS_NOBODY && ips_member_lives(space, holder, true)) {
        return false;
    }
    /* acquire: what the former clearer did is visible; pairs with the release
     * stores of clear_slot. */
    return atomic_compare_exchange_strong_explicit(&slot->clearer, &holder, me,
                                                   memory_order_acquire, memory_order_relaxed);
}

/* Take back whatever `owner` used: it is dead, or leaving. */
int
ips_slot_clear_uses(ips_space *space, ips_owner owner)
{
    int status = ips_folder_clear(space, owner);
    for (size_t i = 0; status == 0 && i < sizeof death_hooks / sizeof *death_hooks; i++) {
        if (death_hooks[i] != NULL) {
            status = death_hooks[i](space, owner);
        }
    }
    return status;
}

/* DEAD to FREE.  Every step may be repeated by another clearer. */
static void
clear_slot(ips_space *space, uint32_t index, uint64_t generation, ips_owner me)
{
    ips_slot_shm *slot = ips_slot_at(space, index);
    ips_owner dead = ips_owner_make(index, generation);
    if (ips_birth_is_pending(space, dead) || !claim_clearing(space, slot, me)) {
        return; /* stays DEAD; whoever sweeps next tries again */
    }
    int status = ips_slot_clear_uses(space, dead);
    /* release: pairs with claim_clearing's acquire. */
    atomic_store_explicit(&slot->clearer, IPS_NOBODY, memory_order_release);
    if (status != 0) {
        return; /* stays DEAD; whoever sweeps next tries again */
    }
    /* relaxed: a hint for oldest-first. */
    uint64_t tick = 1 + atomic_fetch_add_explicit(&ips_members_of(space)->free_clock, 1,
                                                  memory_order_relaxed);
    atomic_store_explicit(&slot->freed_at, tick, memory_order_relaxed);
    uint64_t was = IPS_SLOT_STATE(generation, IPS_SLOT_DEAD);
    /* release: the clearing comes first; pairs with find_slot's acquire. */
    (void)atomic_compare_exchange_strong_explicit(
        &slot->state, &was, IPS_SLOT_STATE(generation, IPS_SLOT_FREE), memory_order_release,
        memory_order_relaxed);
}

/* Worth the price of a proof?  A bell that hangs and is silent belongs to the
 * living, unless its process is not even there.  Probing every byte instead
 * costs the kernel a walk over all members' locks for each of them. */
static bool
looks_dead(ips_space *space, uint32_t index)
{
    ips_slot_shm *slot = ips_slot_at(space, index);
    /* relaxed: a hint; ips_slot_prove looks again. */
    uint32_t bell = atomic_load_explicit(&slot->bell, memory_order_relaxed);
    if ((bell & IPS_BELL_RANG) != 0) {
        return true;
    }
    ips_process_id id = slot->process;
    return ips_process_missing(&id, &space->self) ||
           (bell == 0 && ips_byte_probe(space->locks, index) == 0);
}

void
ips_slots_sweep(ips_space *space)
{
    /* relaxed: our own identity. */
    ips_owner me = atomic_load_explicit(&space->identity->owner, memory_order_relaxed);
    uint32_t used = ips_slots_used(space);
    for (uint32_t i = 0; i < used && me != IPS_NOBODY; i++) {
        /* acquire: pairs with the verdict's swap in ips_slot_prove. */
        uint64_t state = atomic_load_explicit(&ips_slot_at(space, i)->state,
                                              memory_order_acquire);
        uint64_t generation = ips_state_generation(state);
        if (ips_state_phase(state) == IPS_SLOT_ALIVE && i != ips_owner_slot(me) &&
            looks_dead(space, i) && ips_slot_prove(space, i, generation)) {
            state = IPS_SLOT_STATE(generation, IPS_SLOT_DEAD);
        }
        if (ips_state_phase(state) == IPS_SLOT_DEAD) {
            clear_slot(space, i, generation, me);
        }
    }
}
