/* SPDX-License-Identifier: Apache-2.0 */
/* The postbox: drawn in its header. */
#include "member/postbox.h"

#include <stdio.h>

#include "base/atomics.h"
#include "member/table.h"

#define NAME "post"

/* --- the owner's side ------------------------------------------------------ */

/* Inside the room. */
static int
make(ips_space *space, ips_owner me)
{
    ips_postbox_forget(space); /* a parent's, or one whose descriptor was closed */
    int folder;
    int status = ips_folder_open(space, me, true, &folder);
    if (status < 0) {
        return status;
    }
    status = ips_fifo_open(folder, NAME, &space->postbox);
    ips_file_close(folder);
    if (status == 0) {
        space->postbox_owner = me;
    }
    return status;
}

int
ips_postbox_open(ips_space *space, ips_fifo *out)
{
    ips_owner me = ips_space_self(space);
    if (me == IPS_NOBODY) {
        return ips_last_note()->status;
    }
    ips_room_enter();
    bool usable = space->postbox_owner == me && ips_fifo_is_open(&space->postbox);
    int status = usable ? IPS_OK : make(space, me);
    *out = space->postbox;
    ips_room_leave();
    return status;
}

void
ips_postbox_forget(ips_space *space)
{
    if (space->postbox_owner != IPS_NOBODY) {
        ips_fifo_close(&space->postbox);
        space->postbox_owner = IPS_NOBODY;
    }
}

void
ips_postbox_want(ips_space *space)
{
    ips_owner me = ips_space_self(space);
    if (me != IPS_NOBODY) {
        uint32_t slot = ips_owner_slot(me);
        /* seq_cst, then the fence: visible before the caller sets the async
         * bit or finds it set; pairs with the exchange in ring_one. */
        (void)atomic_fetch_or_explicit(&ips_members_of(space)->async_wanted[slot / 64],
                                       UINT64_C(1) << slot % 64, memory_order_seq_cst);
        ips_fence_after_rmw();
    }
}

/* --- the waker's side ------------------------------------------------------ */

static void
post(ips_space *space, uint32_t slot)
{
    if (slot >= ips_slots_used(space)) {
        return; /* damaged bytes */
    }
    /* acquire: pairs with the ALIVE store of ips_slot_claim. */
    uint64_t state = atomic_load_explicit(&ips_slot_at(space, slot)->state, memory_order_acquire);
    if (ips_state_phase(state) != IPS_SLOT_ALIVE) {
        return;
    }
    char folder[32], path[sizeof folder + sizeof "/" NAME];
    ips_folder_name(ips_owner_make(slot, ips_state_generation(state)), folder);
    (void)snprintf(path, sizeof path, "%s/" NAME, folder);
    ips_fifo_post(space->members_dir, path);
}

static void
ring_one(ips_space *space)
{
    ips_members_shm *members = ips_members_of(space);
    for (uint32_t i = 0; i < IPS_MAX_SLOTS / 64; i++) {
        /* relaxed: a look first, as most words are empty; ordered after the
         * clearing of the async bit by the fence in ips_postbox_ring. */
        if (atomic_load_explicit(&members->async_wanted[i], memory_order_relaxed) == 0) {
            continue;
        }
        /* acq_rel: pairs with the fetch-or in ips_postbox_want. */
        uint64_t wanted =
            atomic_exchange_explicit(&members->async_wanted[i], 0, memory_order_acq_rel);
        for (; wanted != 0; wanted &= wanted - 1) {
            post(space, i * 64 + (uint32_t)__builtin_ctzll(wanted));
        }
    }
}

void
ips_postbox_ring(void)
{
    /* pairs with the fence in ips_postbox_want: a waiter that found the async
     * bit still set is in the table by now. */
    atomic_thread_fence(memory_order_seq_cst);
    for (ips_space *space = ips_spaces_watch(); space != NULL; space = ips_space_next(space)) {
        ring_one(space);
    }
    ips_spaces_watched();
}
