/* SPDX-License-Identifier: Apache-2.0 */
/* The pool files ".cells" and ".wide": their bytes, and what segment/cells.c
 * and cellcheck.c share.  What they are for and why they are safe stands in
 * cells.h.  They differ in their shape alone.
 *
 *   0             ips_cell_pool_shm  two pages
 *   IPS_CELLS_AT  ips_cell_shm       x shape.cells
 *   tickets_at    ips_ticket_shm     x IPS_TICKETS_MAX
 *   uses_at       ips_cell_uses_shm  x IPS_MAX_SLOTS, each at a stride of whole pages
 *   bodies_at     IPS_WIDE_SIZE      x shape.cells, in ".wide" alone
 *
 * Up to bodies_at the file is mapped at once, the bodies in groups of 64 (16
 * MiB of addresses) as they are used.  The file has holes: `cells_backed`, `tickets_backed` and `use_pages[slot]`
 * say what has memory.  They are raised under the lock after the memory is
 * there; nothing beyond them is ever looked at. */
#ifndef IPS_SEGMENT_CELLPOOL_H
#define IPS_SEGMENT_CELLPOOL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/header.h"
#include "segment/cells.h"
#include "sync/lock.h"

#define IPS_TICKETS_MAX 262144u
#define IPS_CELL_PAGE 4096u
#define IPS_NO_INDEX UINT32_MAX

/* One change, as the values to be stored.  Written by the lock's holder while
 * `armed` is 0. */
typedef struct {
    _Atomic uint32_t armed;
    uint32_t cell, cell_type, cell_uses, cell_next;
    uint32_t free_cell, fresh_cell;
    uint32_t slot;          /* IPS_NO_INDEX: no member's bit changes */
    uint32_t bit;           /* 1: the member holds the cell */
    uint32_t ticket;        /* IPS_NO_INDEX: no ticket changes */
    uint32_t ticket_next, free_ticket, fresh_ticket;
    uint32_t reserved;
    uint64_t cell_generation;
    uint64_t ticket_owner;  /* 0: the ticket is free */
    uint64_t ticket_serial;
} ips_cell_redo_shm;

typedef struct {
    ips_header_shm header;      /* 0 */
    ips_lock_shm lock;          /* 128: everything below belongs to its holder */
    uint32_t cells_backed;      /* 136 */
    uint32_t tickets_backed;    /* 140 */
    uint32_t free_cell;         /* 144: index + 1 of the first free cell, 0: none */
    uint32_t fresh_cell;        /* 148: cells below it have been handed out once */
    uint32_t free_ticket;       /* 152 */
    uint32_t fresh_ticket;      /* 156 */
    ips_cell_redo_shm redo;     /* 160 */
    uint8_t reserved[IPS_CELL_PAGE - 160 - sizeof(ips_cell_redo_shm)];
    uint8_t use_pages[IPS_MAX_SLOTS]; /* 4096: pages with memory of each slot's uses */
} ips_cell_pool_shm;

typedef struct {
    uint64_t owner;   /* pickler; 0: free */
    uint64_t serial;  /* raised when handed out */
    uint32_t cell;
    uint32_t next;    /* in the list of free tickets: index + 1 */
} ips_ticket_shm;

typedef struct {
    uint64_t owner;   /* the member whose uses these are; bits of another are leftovers */
    uint64_t reserved[7];
    uint64_t bits[];  /* one for each cell */
} ips_cell_uses_shm;

#define IPS_CELLS_AT ((uint64_t)sizeof(ips_cell_pool_shm))
#define IPS_WIDE_GROUP 64u /* bodies of one mapping */
#define IPS_WIDE_GROUPS (IPS_WIDE_CELLS_MAX / IPS_WIDE_GROUP)

/* What tells one pool from the other; constant. */
typedef struct {
    const char *file;
    uint32_t cells;         /* it may have */
    uint32_t use_pages;     /* of each slot */
    uint64_t tickets_at;
    uint64_t uses_at;
    uint64_t bodies_at;     /* and so the bytes of the first mapping */
    uint64_t max_size;
    bool wide;
} ips_pool_shape;

static inline uint64_t
ips_shape_uses_of(const ips_pool_shape *shape, uint32_t slot)
{
    return shape->uses_at + (uint64_t)slot * shape->use_pages * IPS_CELL_PAGE;
}

_Static_assert(sizeof(ips_cell_pool_shm) == 2 * IPS_CELL_PAGE, "byte map above");
_Static_assert(offsetof(ips_cell_pool_shm, lock) == 128, "byte map above");
_Static_assert(offsetof(ips_cell_pool_shm, redo) == 160, "byte map above");
_Static_assert(offsetof(ips_cell_pool_shm, use_pages) == IPS_CELL_PAGE, "byte map above");
_Static_assert(sizeof(ips_cell_redo_shm) == 80, "byte map above");
_Static_assert(sizeof(ips_ticket_shm) == 24, "byte map above");
_Static_assert(sizeof(ips_cell_uses_shm) == 64, "byte map above");
_Static_assert(IPS_WIDE_SIZE % IPS_CELL_PAGE == 0, "each body begins with a page");
_Static_assert(IPS_WIDE_CELLS_MAX % IPS_WIDE_GROUP == 0, "groups are whole");

/* What this process knows of one cell. */
typedef struct {
    _Atomic uint32_t handles; /* 0 to 1 only under `guard`; 1 to 0 by anyone */
    _Atomic uint32_t queued;  /* 1: on the list of returns */
    uint32_t next;            /* in that list: index + 1 */
    _Atomic uint32_t pages;   /* of a body: known to have memory; only grows */
} ips_cell_local;

/* The pool as this process sees it; once the namespace is left, it stands by. */
typedef struct ips_cell_pool ips_cell_pool;
struct ips_cell_pool {
    _Atomic(const ips_space *) serves; /* NULL: nobody; else `space`, and all below is there */
    ips_space *space;
    const ips_pool_shape *shape;
    ips_cell_pool_shm *shm;
    uint8_t *base;
    uint64_t dev, inode;
    _Atomic uint64_t size;     /* of the file, as far as we know; only grows */
    pthread_mutex_t guard;     /* first guard, then shm->lock */
    ips_owner recorded;        /* the member whose bits are ours; guarded */
    _Atomic uint32_t held;     /* bits this process has set */
    _Atomic uint32_t returns;  /* list of cells to be given back: index + 1 */
    ips_cell_local *local;
    _Atomic(uint8_t *) groups[IPS_WIDE_GROUPS]; /* of bodies; mapped under `guard` */
    ips_cell_pool *next;
};

static inline ips_cell_shm *
ips_pool_cell(const ips_cell_pool *pool, uint32_t index)
{
    return (ips_cell_shm *)(pool->base + IPS_CELLS_AT) + index;
}

static inline ips_ticket_shm *
ips_pool_ticket(const ips_cell_pool *pool, uint32_t index)
{
    return (ips_ticket_shm *)(pool->base + pool->shape->tickets_at) + index;
}

static inline ips_cell_uses_shm *
ips_pool_uses(const ips_cell_pool *pool, uint32_t slot)
{
    return (ips_cell_uses_shm *)(pool->base + ips_shape_uses_of(pool->shape, slot));
}

bool ips_pool_reaches_slow(ips_cell_pool *pool, uint64_t end);

/* Is [0, end) inside the file?  What the head says is a peer's word: a page
 * behind the file's end would be SIGBUS. */
static inline bool
ips_pool_reaches(ips_cell_pool *pool, uint64_t end)
{
    /* relaxed: it only grows, and what lies below it stays. */
    return end <= atomic_load_explicit(&pool->size, memory_order_relaxed) ||
           ips_pool_reaches_slow(pool, end);
}

/* Cells below it have memory. */
static inline uint32_t
ips_pool_cells_backed(ips_cell_pool *pool)
{
    uint32_t backed = pool->shm->cells_backed;
    backed = backed < pool->shape->cells ? backed : pool->shape->cells;
    uint64_t end = IPS_CELLS_AT + (uint64_t)backed * sizeof(ips_cell_shm);
    return ips_pool_reaches(pool, end) ? backed : 0;
}

/* Tickets below it have memory. */
static inline uint32_t
ips_pool_tickets_backed(ips_cell_pool *pool)
{
    uint32_t backed = pool->shm->tickets_backed;
    backed = backed < IPS_TICKETS_MAX ? backed : IPS_TICKETS_MAX;
    uint64_t end = pool->shape->tickets_at + (uint64_t)backed * sizeof(ips_ticket_shm);
    return backed != 0 && ips_pool_reaches(pool, end) ? backed : 0;
}

/* Cells whose bits have memory in the uses of `slot`. */
static inline uint32_t
ips_pool_bits_backed(ips_cell_pool *pool, uint32_t slot)
{
    uint32_t pages = pool->shm->use_pages[slot];
    pages = pages < pool->shape->use_pages ? pages : pool->shape->use_pages;
    uint64_t end = ips_shape_uses_of(pool->shape, slot) + pages * IPS_CELL_PAGE;
    if (pages == 0 || !ips_pool_reaches(pool, end)) {
        return 0;
    }
    uint32_t bits = (pages * IPS_CELL_PAGE - (uint32_t)offsetof(ips_cell_uses_shm, bits)) * 8;
    return bits < pool->shape->cells ? bits : pool->shape->cells;
}

/* segment/cellpool.c ------------------------------------------------------ */

/* A pool of a namespace; NULL in *out where there is none and !create. */
IPS_MUST_CHECK int ips_pool_of(ips_space *space, bool wide, bool create, ips_cell_pool **out);
ips_cell_pool *ips_pool_if_open(const ips_space *space, bool wide); /* by this process; or NULL */
ips_cell_pool *ips_pools(void);                          /* all of them */
void ips_pools_reset_in_child(void);
void ips_pools_leave(ips_space *space); /* a leave hook */

/* Give [from, to) of the file memory; the file again, sure it is the same. */
IPS_MUST_CHECK int ips_pool_back(ips_cell_pool *pool, uint64_t from, uint64_t to);
IPS_MUST_CHECK int ips_pool_reopen(ips_cell_pool *pool, int *fd);

/* A cell or ticket nobody uses, with memory; not yet taken. */
IPS_MUST_CHECK int ips_pool_find_cell(ips_cell_pool *pool, uint32_t *index);
IPS_MUST_CHECK int ips_pool_find_ticket(ips_cell_pool *pool, uint32_t *index);
/* Memory for the bit of cell `index` in the uses of `slot`. */
IPS_MUST_CHECK int ips_pool_back_bit(ips_cell_pool *pool, uint32_t slot, uint32_t index);

/* segment/cellchange.c ---------------------------------------------------- */

/* Take the shared lock, finishing what a dead holder left armed. */
IPS_MUST_CHECK int ips_pool_lock(ips_cell_pool *pool, ips_owner me, int64_t deadline);
void ips_pool_unlock(ips_cell_pool *pool);

/* One change of a cell's uses, with what changes together with it.  The lock
 * is held; all indices have memory. */
typedef struct {
    uint32_t cell;
    int uses;               /* +1, 0 or -1 */
    uint32_t type;          /* of a cell that is handed out by this change, else 0 */
    uint32_t slot, bit;     /* slot IPS_NO_INDEX: none */
    uint32_t ticket;        /* IPS_NO_INDEX: none */
    ips_owner ticket_owner; /* who gets the ticket; IPS_NOBODY: it is used up */
} ips_cell_change;
void ips_pool_change(ips_cell_pool *pool, const ips_cell_change *change);

/* segment/cellbody.c: the body of a cell that has, or is about to get, our bit;
 * its shm stays NULL in the other pool.  The guard is held. */
IPS_MUST_CHECK int ips_pool_body(ips_cell_pool *pool, uint32_t index, ips_wide *out);
/* Make it all zeros, before the cell is handed out; the lock is held. */
IPS_MUST_CHECK int ips_pool_clear_body(ips_cell_pool *pool, uint32_t index, const ips_wide *body);
static inline bool
ips_pool_has_bit(ips_cell_pool *pool, uint32_t slot, uint32_t index)
{
    return index < ips_pool_bits_backed(pool, slot) &&
           (ips_pool_uses(pool, slot)->bits[index / 64] >> (index % 64) & 1) != 0;
}

/* Give up every use and ticket that stands in the uses of `slot`. */
void ips_pool_forget(ips_cell_pool *pool, uint32_t slot);

#endif
