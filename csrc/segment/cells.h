/* SPDX-License-Identifier: Apache-2.0 */
/* Cells: 64 bytes each, for one small primitive (lock, event, atomic), and the
 * pool of the unnamed ones.  A file and a map for each would end at
 * max_map_count; 200 000 cells are 12 MiB of one file.
 *
 * A wide cell is one with a body besides (sync/wide.h), for primitives that
 * keep a table of members: semaphore, condition, barrier, rwlock.  It has its
 * own pool, of the same code and rules.  A body is at least as long as a page
 * and 4096 lines of 64 bytes, all holes: it gets memory as it is asked for,
 * and keeps it for the pool's next wide cell, whose maker clears it.
 *
 * A cell lies in one of three places, and whoever uses it does not care:
 *   - the pool, the file ".cells" or ".wide" of the namespace (unnamed objects)
 *   - a file of its own behind the header (named objects), 192 bytes; the body
 *     follows
 *   - a stable cell of a segment (objects constructed there), which has a body
 *     of fixed length where its type is wide
 *
 * ips_cell_shm
 *   0   words[4]     32  the primitive's own; the first is the lock word, the
 *                        event or the atomic value.  Set by who makes it
 *   32  generation    8  raised whenever the cell is handed out; a pickled
 *                        handle names it, so it never meets a stranger
 *   40  type          4  enum ips_cell_type; 0: free
 *   44  uses          4  members that hold it, and tickets for it
 *   48  next          4  in the list of free cells: index + 1 of the next
 *   52  body_pages    4  of a wide cell in the pool: pages of its body that may
 *                        be other than zero.  Raised, by whoever is going to
 *                        touch more, once they have memory; never lowered
 *   56  reserved      8
 *
 * Pool file: head (two pages), cells, tickets, and for each member slot the
 * bits of the cells it holds; then, in ".wide", the bodies.  Each part gets
 * memory as it grows.
 *
 * All but `words` and `body_pages` changes only under the pool's lock, and only by a redo
 * entry: the values to be stored are written aside, `armed` is set, the
 * stores are made, `armed` is cleared.  Each value stands alone, so whoever
 * finds the lock abandoned and the entry armed makes all stores again.  A
 * death before `armed` changed nothing, a death after it changed all.
 *
 * Who uses a cell: a member's bit (however many handles the process has), or
 * a ticket, which is a pickled handle not used yet and belongs to the
 * pickler.  Both go when their member is cleared away (the death hook), or
 * when the next tenant of a member's slot first comes to the pool.  With the
 * last use the cell is free.
 *
 * A process counts its own handles privately; only the first and the last
 * touch the pool.  The last one never waits: what cannot be given back at
 * once is put on a private list for the next caller. */
#ifndef IPS_SEGMENT_CELLS_H
#define IPS_SEGMENT_CELLS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "member/object.h"
#include "member/space.h"
#include "sync/wide.h"

/* Stable numbers: they stand in files. */
enum ips_cell_type {
    IPS_CELL_FREE = 0,
    IPS_CELL_LOCK = 1,
    IPS_CELL_EVENT = 2,
    IPS_CELL_ATOMIC_INT = 3,
    IPS_CELL_RLOCK = 4,
    IPS_CELL_SEMAPHORE = 5, /* from here on wide */
    IPS_CELL_BOUNDED_SEMAPHORE = 6,
    IPS_CELL_CONDITION = 7,
    IPS_CELL_BARRIER = 8,
    IPS_CELL_RWLOCK = 9,   /* up to here */
    IPS_CELL_ATOMIC_FLOAT = 10,
    IPS_CELL_ATOMIC_BOOL = 11,
};

static inline bool
ips_cell_is_wide(uint32_t type)
{
    return type >= IPS_CELL_SEMAPHORE && type <= IPS_CELL_RWLOCK;
}

#define IPS_CELL_WORDS 4

typedef struct {
    _Atomic uint64_t words[IPS_CELL_WORDS];
    uint64_t generation;
    uint32_t type;
    uint32_t uses;
    uint32_t next;
    _Atomic uint32_t body_pages;
    uint32_t reserved[2];
} ips_cell_shm;

_Static_assert(sizeof(ips_cell_shm) == 64, "a cache line, byte map above");
_Static_assert(offsetof(ips_cell_shm, generation) == 32, "byte map above");
_Static_assert(offsetof(ips_cell_shm, type) == 40, "byte map above");
_Static_assert(offsetof(ips_cell_shm, uses) == 44, "byte map above");

_Static_assert(offsetof(ips_cell_shm, body_pages) == 52, "byte map above");

#define IPS_CELLS_MAX 262144u
#define IPS_WIDE_CELLS_MAX 16384u

/* One handle on a cell: process-local.  shm NULL: none. */
typedef struct {
    ips_cell_shm *shm;
    ips_space *space;
    ips_object *object; /* the file of a named cell, else NULL */
    uint32_t index;     /* in the pool, for unnamed ones */
    ips_wide wide;      /* the body; its shm is NULL where the type has none */
} ips_cell;

/* Hang the pool on the member room's hooks; once, before the first join. */
void ips_cells_install(void);

/* A new unnamed cell with these words (NULL: zeros).  With deadline IPS_AT_ONCE
 * it never parks and makes no system call unless memory must grow, and says
 * IPS_EAGAIN where it would have to wait: that is for callers with the GIL. */
IPS_MUST_CHECK int ips_cell_make(ips_space *space, enum ips_cell_type type,
                                 const uint64_t words[IPS_CELL_WORDS], int64_t deadline,
                                 ips_cell *out);

/* A named cell; IPS_EMISMATCH names both types. */
typedef struct {
    enum ips_cell_type type;
    bool cleanup_last;
    uint64_t words[IPS_CELL_WORDS]; /* where it is created */
} ips_cell_spec;
IPS_MUST_CHECK int ips_cell_open(ips_space *space, const char *name, ips_open_mode mode,
                                 const ips_cell_spec *spec, ips_cell *out);

/* The same named cell again, for an unpickled handle: IPS_EGONE where the name
 * is free or leads to another. */
IPS_MUST_CHECK int ips_cell_reopen(ips_space *space, const char *name, const uint8_t identity[16],
                                   enum ips_cell_type type, ips_cell *out);
const uint8_t *ips_cell_identity(const ips_cell *cell); /* 16 bytes, of a named one */

/* Text for a pickled unnamed cell, and the cell again from it: IPS_EGONE where
 * the ticket was used and nobody holds the cell any more.  IPS_AT_ONCE as
 * above. */
IPS_MUST_CHECK int ips_cell_ticket(const ips_cell *cell, int64_t deadline,
                                   char ticket[IPS_TICKET_MAX]);
IPS_MUST_CHECK int ips_cell_redeem(ips_space *space, const char *ticket, enum ips_cell_type type,
                                   int64_t deadline, ips_cell *out);

/* Does it lie in a file that is another object's? */
bool ips_cell_is_borrowed(const ips_cell *cell);

/* Give up a handle.  Never waits, never fails; forgets the cell. */
void ips_cell_release(ips_cell *cell);

typedef struct {
    uint32_t used;    /* cells somebody uses */
    uint32_t tickets;
    uint64_t backed;  /* bytes of memory for cells and bodies */
} ips_cells_stats;
/* Of both pools; zeros where the namespace has none yet. */
IPS_MUST_CHECK int ips_cells_stats_of(ips_space *space, int64_t deadline, ips_cells_stats *out);

/* Invariants, one line per problem; IPS_ECORRUPT if there were any. */
IPS_MUST_CHECK int ips_cells_check(ips_space *space, int64_t deadline,
    void (*report)(const char *line, void *context), void *context);

/* How others call the cell (member/waits.h). */
void ips_cell_wait_place(const ips_cell *cell, uint64_t *file, uint64_t *place);

/* A copy of a cell as it was at one moment or another, taken without any lock:
 * for people who look. */
typedef struct {
    uint32_t type;   /* enum ips_cell_type */
    uint32_t index;  /* in the pool; 0 for a named one */
    uint64_t file, place;
    uint64_t words[4];
} ips_cell_facts;
/* Of the named cell; IPS_ENOENT, IPS_EFORMAT where it is none. */
IPS_MUST_CHECK int ips_cell_peek(ips_space *space, const char *name, ips_cell_facts *out);
/* Of each unnamed cell that somebody uses. */
IPS_MUST_CHECK int ips_cells_each(ips_space *space,
    int (*visit)(const ips_cell_facts *facts, void *context), void *context);

/* As much of a wide one's body as has memory, at most `size` bytes of it, the
 * rest zeroed; `name` is NULL for one of the pool.  IPS_ENOENT where there is
 * no such body. */
IPS_MUST_CHECK int ips_cell_peek_body(ips_space *space, const ips_cell_facts *facts,
                                      const char *name, void *to, size_t size);

const char *ips_cell_type_name(uint32_t type);
/* Of the named cell, for people: as its file says; IPS_CELL_FREE where it has gone. */
uint32_t ips_cell_type_of(ips_space *space, const char *name);

#endif
