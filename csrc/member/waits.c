/* SPDX-License-Identifier: Apache-2.0 */
/* Records of waits.  Who writes them, and when, stands in member/waits.h. */
#include "member/waits.h"

#include "member/table.h"
#include "os/clock.h"
#include "os/process.h"

#define BEING_WRITTEN 1

static _Thread_local ips_waiting *current;

void
ips_waiting_begin(ips_waiting *waiting)
{
    waiting->outer = current;
    waiting->record = NULL;
    waiting->owner = IPS_NOBODY;
    current = waiting;
}

void
ips_waiting_hide(ips_waiting *waiting)
{
    /* The record of a parent belongs to the parent, whoever forked in between. */
    if (waiting->record != NULL && ips_space_self(waiting->space) == waiting->owner) {
        /* release: the fields are done with; pairs with the claim in take_record. */
        atomic_store_explicit(&waiting->record->since, 0, memory_order_release);
    }
    waiting->record = NULL;
}

void
ips_waiting_end(ips_waiting *waiting)
{
    current = waiting->outer;
    ips_waiting_hide(waiting);
}

/* One of our first `most` records that is free, or NULL.  Each thread begins
 * where it is likely to find the one it had before. */
static ips_wait_shm *
take_record(ips_slot_shm *slot, uint32_t start, uint32_t most)
{
    for (uint32_t i = 0; i < most; i++) {
        ips_wait_shm *record = &slot->waits[(start + i) % most];
        uint64_t since = 0;
        /* acquire: pairs with the release in ips_waiting_end, of another thread. */
        if (atomic_compare_exchange_strong_explicit(&record->since, &since, BEING_WRITTEN,
                                                    memory_order_acquire, memory_order_relaxed)) {
            return record;
        }
    }
    return NULL;
}

static void
write_record(const ips_waiting *waiting, uint32_t thread, uint32_t task)
{
    ips_wait_shm *record = waiting->record;
    /* relaxed: published by the store of since. */
    atomic_store_explicit(&record->file, waiting->file, memory_order_relaxed);
    atomic_store_explicit(&record->place, waiting->place, memory_order_relaxed);
    atomic_store_explicit(&record->deadline, (uint64_t)waiting->deadline, memory_order_relaxed);
    atomic_store_explicit(&record->holder, IPS_NOBODY, memory_order_relaxed);
    atomic_store_explicit(&record->holder_since, 0, memory_order_relaxed);
    atomic_store_explicit(&record->thread, thread, memory_order_relaxed);
    atomic_store_explicit(&record->task, task, memory_order_relaxed);
    atomic_store_explicit(&record->ident, ips_thread_ident(), memory_order_relaxed);
    /* release: pairs with the acquire in read_record. */
    atomic_store_explicit(&record->since, (uint64_t)ips_now(), memory_order_release);
}

static void
write_holder(ips_wait_shm *record, ips_owner holder)
{
    /* relaxed, all: its thread alone writes the record, people read it. */
    if (record != NULL && atomic_load_explicit(&record->holder, memory_order_relaxed) != holder) {
        atomic_store_explicit(&record->holder_since, (uint64_t)ips_now(), memory_order_relaxed);
        atomic_store_explicit(&record->holder, holder, memory_order_relaxed);
    }
}

void
ips_waiting_park(ips_space *space, ips_owner holder)
{
    ips_waiting *waiting = current;
    ips_owner me = ips_space_self(space);
    if (waiting == NULL || waiting->space != space || me == IPS_NOBODY) {
        return;
    }
    if (waiting->owner != me) {
        uint32_t thread = (uint32_t)ips_thread_id();
        waiting->owner = me;
        waiting->record = take_record(ips_slot_at(space, ips_owner_slot(me)), thread,
                                      IPS_SLOT_WAITS);
        if (waiting->record != NULL) {
            write_record(waiting, thread, 0);
        }
    }
    write_holder(waiting->record, holder);
}

void
ips_waiting_show(ips_waiting *waiting, uint32_t task, ips_owner holder)
{
    ips_owner me = ips_space_self(waiting->space);
    if (me == IPS_NOBODY) {
        return;
    }
    if (waiting->record == NULL || waiting->owner != me) {
        waiting->owner = me;
        waiting->record = take_record(ips_slot_at(waiting->space, ips_owner_slot(me)), task,
                                      IPS_SLOT_TASK_WAITS);
        if (waiting->record != NULL) {
            write_record(waiting, (uint32_t)ips_thread_id(), task);
        }
    }
    write_holder(waiting->record, holder);
}

/* False where nobody waits by this record, or it changed meanwhile. */
static bool
read_record(ips_wait_shm *record, ips_wait_facts *out)
{
    /* acquire: pairs with the release in write_record. */
    uint64_t since = atomic_load_explicit(&record->since, memory_order_acquire);
    if (since <= BEING_WRITTEN) {
        return false;
    }
    /* relaxed: the second look at since tells whether they belong together. */
    out->file = atomic_load_explicit(&record->file, memory_order_relaxed);
    out->place = atomic_load_explicit(&record->place, memory_order_relaxed);
    out->since = (int64_t)since;
    out->deadline = (int64_t)atomic_load_explicit(&record->deadline, memory_order_relaxed);
    out->holder = atomic_load_explicit(&record->holder, memory_order_relaxed);
    out->holder_since = (int64_t)atomic_load_explicit(&record->holder_since, memory_order_relaxed);
    out->thread = (int32_t)atomic_load_explicit(&record->thread, memory_order_relaxed);
    /* relaxed, both: as above. */
    out->task = atomic_load_explicit(&record->task, memory_order_relaxed);
    out->ident = atomic_load_explicit(&record->ident, memory_order_relaxed);
    /* Fields before the second look; pairs with the stores in write_record. */
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&record->since, memory_order_relaxed) == since;
}

int
ips_space_each_wait(ips_space *space, int (*visit)(const ips_wait_facts *facts, void *context),
                    void *context)
{
    int result = ips_space_sweep(space);
    uint32_t used = ips_slots_used(space);
    for (uint32_t i = 0; i < used && result == 0; i++) {
        ips_slot_shm *slot = ips_slot_at(space, i);
        /* acquire: pairs with the ALIVE store of ips_slot_claim. */
        uint64_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
        ips_wait_facts facts = {.owner = ips_owner_make(i, ips_state_generation(state))};
        bool lives = ips_state_phase(state) == IPS_SLOT_ALIVE &&
                     ips_member_lives(space, facts.owner, true);
        for (uint32_t n = 0; lives && n < IPS_SLOT_WAITS && result == 0; n++) {
            if (read_record(&slot->waits[n], &facts)) {
                result = visit(&facts, context);
            }
        }
    }
    return result;
}
