/* SPDX-License-Identifier: Apache-2.0 */
/* The member table as people and checks see it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "member/table.h"

/* One tenant's facts, or false where the slot changed hands meanwhile. */
static bool
read_facts(ips_space *space, uint32_t index, ips_member_facts *out)
{
    ips_slot_shm *slot = ips_slot_at(space, index);
    /* acquire: pairs with the ALIVE store of ips_slot_claim. */
    uint64_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
    if (ips_state_phase(state) != IPS_SLOT_ALIVE) {
        return false;
    }
    *out = (ips_member_facts){
        .owner = ips_owner_make(index, ips_state_generation(state)),
        .process = slot->process,
        .joined_wall_clock = slot->joined_wall_clock,
        /* relaxed: for people. */
        .has_bell = atomic_load_explicit(&slot->bell, memory_order_relaxed) != 0,
        .main_ident = atomic_load_explicit(&slot->main_ident, memory_order_relaxed),
    };
    memcpy(out->name, slot->name, sizeof out->name);
    out->name[sizeof out->name - 1] = '\0';
    /* Facts before the second look; pairs with the ALIVE store of ips_slot_claim. */
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&slot->state, memory_order_relaxed) == state;
}

int
ips_space_each_member(ips_space *space,
                      int (*visit)(const ips_member_facts *facts, void *context), void *context)
{
    int result = ips_space_sweep(space);
    uint32_t used = ips_slots_used(space);
    for (uint32_t i = 0; i < used && result == 0; i++) {
        ips_member_facts facts;
        if (read_facts(space, i, &facts) && ips_member_lives(space, facts.owner, true)) {
            result = visit(&facts, context);
        }
    }
    return result;
}

int
ips_member_facts_of(ips_space *space, ips_owner owner, ips_member_facts *out)
{
    uint32_t index = ips_owner_slot(owner);
    if (!ips_member_lives(space, owner, false) || !read_facts(space, index, out) ||
        out->owner != owner) {
        return ips_fail(IPS_ENOENT, "member %u.%" PRIx64 " of '%s' lives no more", index,
                        ips_owner_generation(owner), space->folder);
    }
    return IPS_OK;
}

int
ips_member_watch(ips_space *space, ips_owner owner, int *fd)
{
    uint32_t index = ips_owner_slot(owner);
    ips_member_facts facts;
    if (index >= ips_slots_used(space) || !read_facts(space, index, &facts) ||
        facts.owner != owner) {
        return IPS_ENOENT;
    }
    return ips_process_watch(&facts.process, &space->self, fd);
}

typedef struct {
    void (*report)(const char *line, void *context);
    void *context;
} checking;

static void
complain(checking *check, uint32_t index, const char *what)
{
    char line[160];
    (void)snprintf(line, sizeof line, "member slot %u: %s", index, what);
    check->report(line, check->context);
}

static void
check_slot(ips_space *space, uint32_t index, checking *check)
{
    ips_slot_shm *slot = ips_slot_at(space, index);
    /* acquire: pairs with the stores of state in slots.c and proof.c. */
    uint64_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
    enum ips_slot_phase phase = ips_state_phase(state);
    if (phase > IPS_SLOT_DEAD) {
        complain(check, index, "its phase is none of FREE, ALIVE, DEAD");
        return;
    }
    if (phase != IPS_SLOT_ALIVE) {
        return;
    }
    ips_process_id id = slot->process;
    bool ended = memchr(slot->name, '\0', sizeof slot->name) != NULL;
    /* Facts before the second look; pairs with the ALIVE store of ips_slot_claim. */
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load_explicit(&slot->state, memory_order_relaxed) != state) {
        return;
    }
    if (id.pid <= 0) {
        complain(check, index, "a living member has no pid");
    }
    if (!ended) {
        complain(check, index, "a member's name does not end");
    }
}

int
ips_space_check(ips_space *space, void (*report)(const char *line, void *context), void *context)
{
    checking check = {report, context};
    /* relaxed: a plain look. */
    uint32_t used = atomic_load_explicit(&ips_members_of(space)->used, memory_order_relaxed);
    if (used > ips_slots_used(space)) {
        report("the member table counts more slots than it has", context);
    }
    for (uint32_t i = 0; i < ips_slots_used(space); i++) {
        check_slot(space, i, &check);
    }
    return IPS_OK;
}
