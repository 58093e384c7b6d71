/* SPDX-License-Identifier: Apache-2.0 */
/* Taking a slot, ringing its bell, leaving it.  Byte map: member/slots.h. */
#include <limits.h>
#include <string.h>

#include "base/hash.h"
#include "member/table.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/futex.h"

#define MEMBERS_FILE ".members"
#define LOCKS_FILE ".locks"
#define TABLE_SIZE ((uint64_t)IPS_SLOT_PAGE * (1 + IPS_MAX_SLOTS))
#define MEMBERS_FORMAT 1

static uint32_t
layout_stamp(void)
{
    const uint64_t facts[] = {sizeof(ips_members_shm), sizeof(ips_slot_shm), IPS_MAX_SLOTS,
                              offsetof(ips_slot_shm, bell), sizeof(ips_process_id)};
    return (uint32_t)ips_hash(facts, sizeof facts);
}

static int
fill_header(int fd)
{
    void *page;
    int status = ips_map_file(fd, IPS_SLOT_PAGE, &page);
    if (status < 0) {
        return status;
    }
    ips_members_shm *members = page;
    members->header = (ips_header_shm){
        .byte_order = IPS_BYTE_ORDER,
        .kind = IPS_KIND_MEMBERS,
        .format = MEMBERS_FORMAT,
        .layout = layout_stamp(),
        .max_size = TABLE_SIZE,
    };
    memcpy(members->header.magic, IPS_MAGIC, sizeof members->header.magic);
    status = ips_random(members->header.identity, sizeof members->header.identity);
    ips_unmap(page, IPS_SLOT_PAGE);
    return status;
}

/* Whole or not at all: filled without a name, then named; whoever loses the
 * race for the name opens the winner's. */
static int
make_members_file(ips_space *space)
{
    int fd;
    int status = ips_file_make(space->dir, &fd);
    if (status < 0) {
        return status;
    }
    status = ips_file_back(fd, 0, IPS_SLOT_PAGE);
    if (status == 0) {
        status = fill_header(fd);
    }
    if (status == 0) {
        status = ips_file_name(fd, space->dir, MEMBERS_FILE);
    }
    ips_file_close(fd);
    return status == IPS_EEXIST ? IPS_OK : status;
}

static int
open_members_file(ips_space *space, int *fd, ips_file_facts *facts)
{
    int status = ips_file_open(space->dir, MEMBERS_FILE, fd, facts);
    if (status == IPS_ENOENT) {
        status = make_members_file(space);
        if (status == 0) {
            status = ips_file_open(space->dir, MEMBERS_FILE, fd, facts);
        }
    }
    return status;
}

/* `used` is a shared word: a wrong one must not lead past the file's end. */
static uint32_t
slots_within(const ips_file_facts *facts)
{
    uint64_t pages = facts->size / IPS_SLOT_PAGE;
    return pages <= 1 ? 0 : pages > IPS_MAX_SLOTS ? IPS_MAX_SLOTS : (uint32_t)(pages - 1);
}

uint32_t
ips_slots_measure(ips_space *space, uint32_t used)
{
    ips_file_facts facts;
    /* relaxed, here and below: it only grows, and a page it counts stays. */
    uint32_t backed = atomic_load_explicit(&space->slots_backed, memory_order_relaxed);
    if (ips_file_facts_at(space->dir, MEMBERS_FILE, &facts) == 0 &&
        facts.dev == space->table_dev && facts.inode == space->table_inode) {
        uint32_t now = slots_within(&facts);
        while (backed < now && !atomic_compare_exchange_weak_explicit(
                                   &space->slots_backed, &backed, now, memory_order_relaxed,
                                   memory_order_relaxed)) {
        }
        backed = backed < now ? now : backed;
    }
    return used < backed ? used : backed;
}

static int
check_members_header(int fd, const char *folder)
{
    ips_header_shm header;
    int status = ips_file_read(fd, &header, sizeof header, 0);
    if (status < 0) {
        return status;
    }
    if (memcmp(header.magic, IPS_MAGIC, sizeof header.magic) != 0 ||
        header.byte_order != IPS_BYTE_ORDER || header.kind != IPS_KIND_MEMBERS ||
        header.format != MEMBERS_FORMAT || header.layout != layout_stamp() ||
        header.incompat != 0 || header.max_size != TABLE_SIZE) {
        return ips_fail(IPS_EFORMAT,
                        "the member table of '%s' is not one of this version: use another "
                        "IPCSYS_DIR, or remove the folder when nobody uses it", folder);
    }
    return IPS_OK;
}

static int
open_locks_file(ips_space *space)
{
    int status = ips_file_keep(space->dir, LOCKS_FILE, &space->locks);
    if (status < 0) {
        return status;
    }
    ips_file_facts facts;
    status = ips_file_facts_of(space->locks, &facts);
    space->locks_dev = facts.dev;
    space->locks_inode = facts.inode;
    return status;
}

int
ips_slots_open(ips_space *space)
{
    int fd;
    ips_file_facts facts;
    int status = open_members_file(space, &fd, &facts);
    if (status < 0) {
        return status;
    }
    void *table = NULL;
    status = check_members_header(fd, space->folder);
    if (status == 0) {
        status = ips_map_file(fd, TABLE_SIZE, &table);
    }
    ips_file_close(fd);
    if (status < 0) {
        return status;
    }
    space->table = table;
    space->table_dev = facts.dev;
    space->table_inode = facts.inode;
    /* relaxed: nobody else has the space yet. */
    atomic_store_explicit(&space->slots_backed, slots_within(&facts), memory_order_relaxed);
    /* relaxed: a hint, whoever measured it. */
    uint64_t park_ns = atomic_load_explicit(&ips_members_of(space)->park_ns, memory_order_relaxed);
    if (park_ns != 0) {
        ips_spin_settle(park_ns < INT64_MAX ? (int64_t)park_ns : INT64_MAX);
    }
    return open_locks_file(space);
}

/* The descriptor may have been closed, and its number reused, by code that
 * closes everything; and any close of this file anywhere in the process drops
 * our lock.  Taking it again when we hold it is harmless. */
void
ips_locks_tend(ips_space *space)
{
    ips_file_facts facts;
    if (ips_file_facts_of(space->locks, &facts) < 0 || facts.dev != space->locks_dev ||
        facts.inode != space->locks_inode) {
        if (open_locks_file(space) < 0) {
            return;
        }
    }
    /* relaxed: our own identity, changed only by threads inside the room. */
    ips_owner me = atomic_load_explicit(&space->identity->owner, memory_order_relaxed);
    if (me != IPS_NOBODY && ips_byte_lock(space->locks, ips_owner_slot(me)) < 0) {
        return; /* somebody else's: only possible once we were proven dead */
    }
}

/* The free slot that was freed longest ago, not before `after`; or none. */
static bool
oldest_free(ips_space *space, uint64_t after, uint32_t *found, uint64_t *freed_at)
{
    bool any = false;
    uint32_t used = ips_slots_used(space);
    for (uint32_t i = 0; i < used; i++) {
        ips_slot_shm *slot = ips_slot_at(space, i);
        /* relaxed: a hint; claim_slot looks again with the byte in hand. */
        uint64_t state = atomic_load_explicit(&slot->state, memory_order_relaxed);
        uint64_t when = atomic_load_explicit(&slot->freed_at, memory_order_relaxed);
        if (ips_state_phase(state) == IPS_SLOT_FREE && when >= after &&
            (!any || when < *freed_at)) {
            any = true;
            *found = i;
            *freed_at = when;
        }
    }
    return any;
}

/* Back one more page and take its slot.  Holding byte `used` makes us the
 * only one to extend the table there. */
static int
extend_table(ips_space *space, uint32_t *found)
{
    for (;;) {
        uint32_t used = ips_slots_used(space);
        if (used == IPS_MAX_SLOTS) {
            return ips_fail(IPS_EMEMBERS, "namespace '%s' has %u members already",
                            space->folder, IPS_MAX_SLOTS);
        }
        int status = ips_byte_lock(space->locks, used);
        if (status == IPS_EAGAIN) {
            if (ips_slots_used(space) == used) {
                ips_sleep_until(ips_now() + 50000); /* its joiner is between two steps */
            }
            continue;
        }
        if (status < 0) {
            return status;
        }
        if (ips_slots_used(space) != used) {
            ips_byte_unlock(space->locks, used);
            continue;
        }
        int fd;
        ips_file_facts facts;
        status = open_members_file(space, &fd, &facts);
        if (status == 0) {
            uint64_t page = (uint64_t)IPS_SLOT_PAGE * (1 + used);
            status = ips_file_back(fd, page, page + IPS_SLOT_PAGE);
            ips_file_close(fd);
        }
        if (status < 0) {
            ips_byte_unlock(space->locks, used);
            return status;
        }
        /* release: the page has memory before anyone may look at it; pairs
         * with the acquire in ips_slots_used. */
        atomic_store_explicit(&ips_members_of(space)->used, used + 1, memory_order_release);
        *found = used;
        return IPS_OK;
    }
}

/* A FREE slot whose byte we hold. */
static int
find_slot(ips_space *space, uint32_t *found)
{
    uint64_t after = 0, freed_at = 0;
    while (oldest_free(space, after, found, &freed_at)) {
        after = freed_at + 1;
        if (ips_byte_lock(space->locks, *found) != 0) {
            continue; /* its last tenant is still on the way out */
        }
        /* acquire: pairs with the store that freed it. */
        uint64_t state = atomic_load_explicit(&ips_slot_at(space, *found)->state,
                                              memory_order_acquire);
        if (ips_state_phase(state) == IPS_SLOT_FREE) {
            return IPS_OK;
        }
        ips_byte_unlock(space->locks, *found);
    }
    return extend_table(space, found);
}

static int
map_own_page(ips_space *space, uint32_t slot)
{
    space->own_page = NULL;
    if (ips_page_size() != IPS_SLOT_PAGE || ips_bell_distance() != 32) {
        return IPS_OK; /* no bell on this platform: waiters rely on their bound */
    }
    int fd;
    ips_file_facts facts;
    int status = open_members_file(space, &fd, &facts);
    if (status < 0) {
        return status;
    }
    void *page;
    status = ips_map_page_before_private(fd, (uint64_t)IPS_SLOT_PAGE * (1 + slot),
                                         IPS_SLOT_PAGE, &page);
    ips_file_close(fd);
    if (status == 0) {
        space->own_page = page;
    }
    return status;
}

static ips_bell_node *
bell_node(ips_space *space)
{
    return (ips_bell_node *)((uint8_t *)space->own_page + IPS_SLOT_PAGE);
}

void
ips_slot_tend_bell(ips_space *space)
{
    /* relaxed: only the main thread changes it. */
    if (space->own_page == NULL || !ips_on_main_thread() ||
        atomic_load_explicit(&space->identity->bell_hung, memory_order_relaxed) != 0) {
        return;
    }
    /* relaxed: for people. */
    atomic_store_explicit(&space->own_page->main_ident, ips_thread_ident(), memory_order_relaxed);
    ips_bell_node *node = bell_node(space);
    if (((uintptr_t)&node->next - (uintptr_t)&space->own_page->bell) != 32) {
        return;
    }
    /* Word first, then the node: killed in between, the kernel never looks. */
    /* release: pairs with the acquire in ips_member_bell. */
    atomic_store_explicit(&space->own_page->bell,
                          (uint32_t)ips_thread_id() | IPS_BELL_WATCHED, memory_order_release);
    ips_bell_hang(node);
    /* relaxed: read by this thread only. */
    atomic_store_explicit(&space->identity->bell_hung, 1, memory_order_relaxed);
}

int
ips_slot_claim(ips_space *space, ips_owner *out)
{
    uint32_t index = 0;
    int status = find_slot(space, &index);
    if (status < 0) {
        return status;
    }
    status = map_own_page(space, index);
    if (status < 0) {
        ips_byte_unlock(space->locks, index);
        return status;
    }
    ips_slot_shm *slot = ips_slot_at(space, index);
    /* relaxed: we hold the byte, nobody else writes a FREE slot. */
    uint64_t last = ips_state_generation(
        atomic_load_explicit(&slot->state, memory_order_relaxed));
    uint64_t generation = (last + 1) & IPS_GENERATION_MASK;
    slot->process = space->self;
    slot->joined_wall_clock = ips_wall_clock();
    ips_program_name(slot->name, sizeof slot->name);
    /* relaxed: all of them are published by the state store below. */
    atomic_store_explicit(&slot->bell, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->clearer, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->main_ident, 0, memory_order_relaxed);
    for (uint32_t i = 0; i < IPS_SLOT_WAITS; i++) { /* what the last tenant waited for */
        atomic_store_explicit(&slot->waits[i].since, 0, memory_order_relaxed);
    }
    ips_slot_tend_bell(space);
    /* release: pairs with the acquire loads of state in member/proof.c. */
    atomic_store_explicit(&slot->state, IPS_SLOT_STATE(generation, IPS_SLOT_ALIVE),
                          memory_order_release);
    *out = ips_owner_make(index, generation);
    return IPS_OK;
}

void
ips_slot_leave(ips_space *space)
{
    /* relaxed: our own identity; the caller is in the room. */
    ips_owner me = atomic_load_explicit(&space->identity->owner, memory_order_relaxed);
    if (me == IPS_NOBODY) {
        return;
    }
    ips_slot_shm *slot = ips_slot_at(space, ips_owner_slot(me));
    /* relaxed: hung by this very thread. */
    if (ips_on_main_thread() && space->own_page != NULL &&
        atomic_load_explicit(&space->identity->bell_hung, memory_order_relaxed) != 0) {
        ips_bell_take_down(bell_node(space));
    }
    /* relaxed: a bell of 0 only means "rely on the bound"; the free clock is a
     * hint.  release on state: what we did as this member is visible to the
     * next tenant; pairs with find_slot and member/proof.c. */
    atomic_store_explicit(&slot->bell, 0, memory_order_relaxed);
    uint64_t tick = 1 + atomic_fetch_add_explicit(&ips_members_of(space)->free_clock, 1,
                                                  memory_order_relaxed);
    atomic_store_explicit(&slot->freed_at, tick, memory_order_relaxed);
    atomic_store_explicit(&slot->state,
                          IPS_SLOT_STATE(ips_owner_generation(me), IPS_SLOT_FREE),
                          memory_order_release);
    /* Whoever watches the bell sees that we are gone, not at the end of its bound. */
    (void)ips_futex_wake(&slot->bell, INT_MAX);
    /* relaxed: our own identity; the caller is in the room. */
    atomic_store_explicit(&space->identity->bell_hung, 0, memory_order_relaxed);
    atomic_store_explicit(&space->identity->owner, IPS_NOBODY, memory_order_relaxed);
    ips_byte_unlock(space->locks, ips_owner_slot(me));
}
