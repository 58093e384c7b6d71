/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the room: a joined namespace and what its files share. */
#ifndef IPS_MEMBER_TABLE_H
#define IPS_MEMBER_TABLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "member/object.h"
#include "member/slots.h"
#include "member/space.h"
#include "os/fifo.h"
#include "os/file.h"

/* Byte of ".locks" that serializes opening, removing and last-leaving of
 * names; the kernel gives it back at death. */
#define IPS_NAMES_BYTE IPS_MAX_SLOTS

/* Everything about us that a fork invalidates, in pages the kernel wipes in
 * the child: zero means "not joined (any more)". */
typedef struct {
    _Atomic uint64_t owner;
    _Atomic uint64_t bell_hung; /* 1 once the node below is in the main thread's list */
} ips_identity;

struct ips_space {
    _Atomic(struct ips_space *) next; /* changed inside the room */
    char *folder;
    int dir;           /* the namespace's folder */
    int members_dir;   /* ".m" */
    int locks;         /* ".locks"; its dev/inode tell whether it is still ours */
    uint64_t locks_dev, locks_inode;
    uint8_t *table;    /* page 0 and all slot pages, IPS_MAX_SLOTS of them */
    uint64_t table_dev, table_inode;
    _Atomic uint32_t slots_backed; /* pages that the file is known to have: only grows */
    ips_identity *identity;
    ips_process_id self;
    ips_slot_shm *own_page; /* our slot again, mapped before a private page */
    ips_object *objects;    /* open in this process, linked by next/previous */
    ips_owner parent;       /* whom we were forked from, while inheriting */
    int birth;              /* ".births" while a fork is under way, else -1 */
    ips_fifo postbox;       /* of the member postbox_owner: member/postbox.c */
    ips_owner postbox_owner;
};

/* One recursive mutex for all of the room's process-local state.  It is held
 * while waiting for another process in two places, both bounded: a child
 * being born, and whoever has the names (folder.c). */
void ips_room_enter(void);
void ips_room_leave(void);
ips_space *ips_room_spaces(void); /* list head; call inside */
/* The same for those who must not wait for the room: nothing on the list is
 * unmapped between these two calls. */
ips_space *ips_spaces_watch(void);
void ips_spaces_watched(void);

static inline ips_space *
ips_space_next(const ips_space *space)
{
    /* seq_cst: pairs with the store in take_out (member/space.c). */
    return atomic_load_explicit(&space->next, memory_order_seq_cst);
}

static inline ips_members_shm *
ips_members_of(const ips_space *space)
{
    return (ips_members_shm *)space->table;
}

/* Ask the file how many slots it has memory for; at most `used`.  member/slots.c */
uint32_t ips_slots_measure(ips_space *space, uint32_t used);

/* Slots that have memory: the only ones that may be touched. */
static inline uint32_t
ips_slots_used(ips_space *space)
{
    /* acquire: pairs with the raise in extend_table (member/slots.c). */
    uint32_t used = atomic_load_explicit(&ips_members_of(space)->used, memory_order_acquire);
    /* relaxed: it only grows, and a page it counts stays. */
    uint32_t backed = atomic_load_explicit(&space->slots_backed, memory_order_relaxed);
    return used <= backed ? used : ips_slots_measure(space, used);
}

static inline ips_slot_shm *
ips_slot_at(const ips_space *space, uint32_t slot)
{
    return (ips_slot_shm *)(space->table + (size_t)IPS_SLOT_PAGE * (1 + slot));
}

/* member/slots.c */
IPS_MUST_CHECK int ips_slots_open(ips_space *space);
IPS_MUST_CHECK int ips_slot_claim(ips_space *space, ips_owner *out);
void ips_slot_leave(ips_space *space);
void ips_slot_tend_bell(ips_space *space); /* hang it if we are the main thread */
void ips_locks_tend(ips_space *space);     /* take our byte again if foreign code dropped it */

/* member/proof.c */
/* True with proof; then the slot is DEAD or FREE, and cleared or being cleared. */
bool ips_slot_prove(ips_space *space, uint32_t slot, uint64_t generation);
void ips_slots_sweep(ips_space *space);
IPS_MUST_CHECK int ips_slot_clear_uses(ips_space *space, ips_owner owner);

/* member/birth.c: a member that dies in fork() leaves a child that has its
 * handles and may not have recorded them yet. */
void ips_birth_announce(ips_space *space, ips_owner parent);
void ips_birth_conclude(ips_space *space); /* in parent and child */
bool ips_birth_is_pending(ips_space *space, ips_owner parent);

/* member/folder.c: the links of one member. */
void ips_folder_name(ips_owner owner, char out[32]);
IPS_MUST_CHECK int ips_folder_open(ips_space *space, ips_owner owner, bool create, int *fd);
IPS_MUST_CHECK int ips_folder_clear(ips_space *space, ips_owner owner);
/* A child links what its parent held. */
void ips_folder_inherit(ips_space *space, ips_owner parent, ips_owner child);
IPS_MUST_CHECK int ips_names_lock(ips_space *space);
void ips_names_unlock(ips_space *space);
/* Remove a link of a member's folder; with `name_too`, which needs the names
 * locked, also the name that asks to go with its last user. */
IPS_MUST_CHECK int ips_link_drop(ips_space *space, int folder, const char *link, bool name_too);

void ips_postbox_forget(ips_space *space); /* member/postbox.c: in a forked child */

/* member/object.c: an unnamed object from its open file. */
IPS_MUST_CHECK int ips_object_adopt(ips_space *space, int fd, const ips_object_spec *spec,
    ips_object **out);

#endif
