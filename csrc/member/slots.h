/* SPDX-License-Identifier: Apache-2.0 */
/* The member table: the file ".members" of a namespace, one page a slot.
 *
 * File: page 0 is ips_members_shm, page 1 + i is slot i (ips_slot_shm).  Only
 * the pages of slots below `used` have memory.  Its own file ".locks" holds
 * no bytes; byte i of it is locked (F_SETLK) by slot i's member for life.
 *
 * A slot's `state` is one word, (generation << 8 | phase), the only truth
 * about the slot:
 *
 *   FREE(g)   nobody; the last tenant was generation g
 *   ALIVE(g)  a member; whoever holds byte i wrote it, last of all fields
 *   DEAD(g)   proven dead (member/proof.c), to be cleared away
 *
 *   FREE(g) -> ALIVE(g+1)  the joiner, holding byte i        (slots.c)
 *   ALIVE(g) -> DEAD(g)    any member with proof             (proof.c)
 *   DEAD(g) -> FREE(g)     the clearer, after its last store (proof.c)
 *   ALIVE(g) -> FREE(g)    the member itself, leaving        (slots.c)
 *
 * An owner id (slot, g) lives only while state is ALIVE(g).  All of it is
 * safe at any death: a joiner that dies before its ALIVE store leaves FREE
 * and an unlocked byte; a clearer that dies leaves DEAD, and clearing is
 * idempotent.  The byte outlives the state at a clean end, and a joiner needs
 * both, so that the kernel's late mark on `bell` cannot hit the next tenant.
 *
 * `bell` lies 24 bytes before the page's end: the robust-list node of its
 * owner follows on the next page of the owner's own mapping, which is
 * private, so that no peer's stray store can redirect the kernel's walk. */
#ifndef IPS_MEMBER_SLOTS_H
#define IPS_MEMBER_SLOTS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/header.h"
#include "base/owner.h"
#include "os/process.h"

#define IPS_SLOT_PAGE 4096u

enum ips_slot_phase { IPS_SLOT_FREE = 0, IPS_SLOT_ALIVE = 1, IPS_SLOT_DEAD = 2 };

typedef struct {
    ips_header_shm header;          /* 0 */
    _Atomic uint32_t used;          /* 128: slots ever used; raised by joiners, CAS */
    uint32_t pad;
    _Atomic uint64_t free_clock;    /* 136: ticks at each freeing, for oldest-first */
    /* 144: what parking was found to cost, ns, 0 while unknown; stored once, by
     * whoever measured it first, for those who join later.  A hint. */
    _Atomic uint64_t park_ns;
    uint8_t reserved[1024 - 152];
    /* 1024: bit i set: slot i has asyncio waiters somewhere and wants a byte
     * in its FIFO.  Set by the waiter before it re-checks, cleared by the
     * waker before it writes; a bit of the dead costs one wasted write. */
    _Atomic uint64_t async_wanted[IPS_MAX_SLOTS / 64];
    uint8_t reserved2[IPS_SLOT_PAGE - 1024 - IPS_MAX_SLOTS / 8];
} ips_members_shm;

/* What one parked thread of the member waits for, or one task of an event loop:
 * news for people, which nothing in the core relies on.  Written by that thread
 * (the loop's) alone, after it claimed the record by setting `since` from 0 to 1;
 * `since` last of all.  Killed anywhere, its member's page is nobody's and the
 * records go with it. */
typedef struct {
    _Atomic uint64_t since;        /* 0: CLOCK_MONOTONIC ns; 0 free, 1 being written */
    _Atomic uint64_t file;         /* 8: of the object waited for, see member/waits.h */
    _Atomic uint64_t place;        /* 16 */
    _Atomic uint64_t deadline;     /* 24: INT64_MAX where there is none */
    _Atomic uint64_t holder;       /* 32: the owner id it found there when it last parked */
    _Atomic uint64_t holder_since; /* 40: when it first found that one */
    _Atomic uint64_t ident;        /* 48: of the thread, see ips_thread_ident */
    _Atomic uint32_t thread;       /* 56: the kernel's number of it */
    _Atomic uint32_t task;         /* 60: 0, or the number of a task that it runs */
} ips_wait_shm;

#define IPS_SLOT_WAITS 32u       /* threads that wait beyond these are not listed */
#define IPS_SLOT_TASK_WAITS 16u  /* so many of them for tasks */

typedef struct {
    _Atomic uint64_t state;     /* 0: generation << 8 | phase */
    _Atomic uint64_t freed_at;  /* 8: free_clock at the last freeing */
    _Atomic uint64_t clearer;   /* 16: owner who clears this dead slot, or 0 */
    ips_process_id process;     /* 24: written before state says ALIVE */
    int64_t joined_wall_clock;  /* 48 */
    char name[32];              /* 56 */
    _Atomic uint64_t main_ident; /* 88: of the main thread once it came by, else 0: for people */
    uint8_t reserved[1024 - 96];
    ips_wait_shm waits[IPS_SLOT_WAITS]; /* 1024: member/waits.h */
    uint8_t reserved2[IPS_SLOT_PAGE - 24 - 1024 - IPS_SLOT_WAITS * 64];
    _Atomic uint32_t bell;      /* 4072: tid | WATCHED; RANG by the kernel; 0 none */
    uint8_t reserved3[20];
} ips_slot_shm;

_Static_assert(sizeof(ips_members_shm) == IPS_SLOT_PAGE, "byte map above");
_Static_assert(sizeof(ips_slot_shm) == IPS_SLOT_PAGE, "byte map above");
_Static_assert(offsetof(ips_members_shm, async_wanted) == 1024, "byte map above");
_Static_assert(offsetof(ips_slot_shm, process) == 24, "byte map above");
_Static_assert(sizeof(ips_wait_shm) == 64, "byte map above");
_Static_assert(offsetof(ips_wait_shm, thread) == 56, "byte map above");
_Static_assert(offsetof(ips_slot_shm, waits) == 1024, "byte map above");
_Static_assert(offsetof(ips_slot_shm, bell) == IPS_SLOT_PAGE - 24, "24 + 8 = 32, the bell's distance");

#define IPS_SLOT_STATE(generation, phase) ((uint64_t)(generation) << 8 | (uint64_t)(phase))

static inline uint64_t
ips_state_generation(uint64_t state)
{
    return state >> 8 & IPS_GENERATION_MASK;
}

static inline enum ips_slot_phase
ips_state_phase(uint64_t state)
{
    return (enum ips_slot_phase)(state & 0xff);
}

#endif
