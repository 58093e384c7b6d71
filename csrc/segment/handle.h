/* SPDX-License-Identifier: Apache-2.0 */
/* The process-local side of a segment, for the files of this room.  One for
 * each file and process, however often it is opened. */
#ifndef IPS_SEGMENT_HANDLE_H
#define IPS_SEGMENT_HANDLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/checked.h"
#include "segment/layout.h"
#include "segment/segment.h"

/* Changes of heap.used and heap.blocks, kept privately until the commit and
 * each step of working off. */
typedef struct {
    int64_t bytes, blocks;
} ips_sums;

/* Where a nested begin stood. */
typedef struct {
    ips_savepoint savepoint;
    uint64_t deferred; /* heap.deferred then */
    uint64_t cells;    /* fresh_count then */
    uint64_t size;     /* the heap's, as it is again once what follows is undone */
    ips_sums sums;
    bool frozen;       /* the journal was */
} ips_level;

/* A block that a transaction has allocated, in its place of a small table:
 * the next one of that place takes it.  Forgetting one does no harm. */
#define IPS_MADE 256u
typedef struct {
    uint64_t offset;
    uint64_t number; /* of the transaction */
} ips_made;

/* A view that is open: segment/view.h. */
typedef struct {
    _Atomic uint64_t thread; /* whose; 0: nobody's */
    uint64_t commits;        /* when it began; these two are that thread's */
    int64_t deadline;        /* for whatever has to wait in it */
} ips_view;

#define IPS_VIEWS 16u

struct ips_segment {
    /* constant while open */
    union {
        ips_segment_window window; /* first: ips_segment_at */
        struct {
            ips_object *object;
            uint8_t *base;
            uint64_t heap_start;
            _Atomic uint32_t open_views;
        };
    };
    ips_segment_shm *shm;
    uint64_t max_size;
    uint64_t run_size;  /* bytes of a run of small blocks */
    bool read_only;     /* no transaction of this process writes */
    _Atomic bool huge;  /* huge pages were asked for and can be had; set once */
    ips_segment *next;  /* of this process's segments; under their mutex */
    _Atomic uint32_t handles; /* the last one is given up under it, too */
    ips_view views[IPS_VIEWS];

    /* Which thread of which member is inside; the rest is that thread's. */
    _Atomic uint64_t holder;
    ips_owner owner;
    uint32_t depth;
    uint64_t mark;
    uint64_t region;       /* what is allocated comes from there; 0: from the heap */
    unsigned quota_row;    /* of this member, as seen last; 0: not yet */
    bool quota_eased;      /* it does not limit for the moment */
    uint64_t size;         /* heap.size, checked */
    ips_sums sums;
    uint64_t *fresh;       /* cells allocated by this transaction */
    uint64_t fresh_count, fresh_capacity;
    ips_level levels[IPS_TX_DEPTH];
    uint64_t number;       /* of the transaction, in this process */
    ips_made made[IPS_MADE]; /* blocks it has allocated, as far as remembered */
    ips_journal journal;
};

static inline ips_heap_shm *
ips_heap_of(const ips_segment *segment)
{
    return &segment->shm->heap;
}

/* For this room, where fixed words are journaled too. */
static inline void
ips_set(ips_segment *segment, uint64_t *word, uint64_t value)
{
    ips_journal_set(&segment->journal, word, value);
}

static inline void
ips_count(ips_segment *segment, int64_t bytes, int64_t blocks)
{
    segment->sums.bytes += bytes;
    segment->sums.blocks += blocks;
}

static inline void
ips_made_note(ips_segment *segment, uint64_t offset)
{
    segment->made[offset / 16 % IPS_MADE] = (ips_made){offset, segment->number};
}

/* Did this transaction allocate it?  It is forgotten then. */
static inline bool
ips_made_forget(ips_segment *segment, uint64_t offset)
{
    ips_made *place = &segment->made[offset / 16 % IPS_MADE];
    bool known = place->offset == offset && place->number == segment->number;
    place->offset = known ? 0 : place->offset;
    return known;
}

/* A number never given out before; scattered so that bytes which are not it
 * are not taken for it.  Never 0. */
static inline uint64_t
ips_serial_next(ips_segment *segment)
{
    /* relaxed: only the lock's holder gets here. */
    _Atomic uint64_t *serial = (_Atomic uint64_t *)&segment->shm->serial;
    uint64_t next = atomic_load_explicit(serial, memory_order_relaxed) + 1;
    atomic_store_explicit(serial, next, memory_order_relaxed);
    return next;
}

static inline uint64_t
ips_generation_of(uint64_t serial)
{
    return serial * UINT64_C(0x9e3779b97f4a7c15); /* odd, so one to one */
}

/* transaction.c: a number for each thread of this process. */
uint64_t ips_segment_thread(void);

/* view.c: the view that this thread has open, or NULL; a load where the
 * process has none. */
ips_view *ips_view_find(ips_segment *segment);
static inline ips_view *
ips_view_of_mine(ips_segment *segment)
{
    /* relaxed: our own are what we look for. */
    return __builtin_expect(atomic_load_explicit(&segment->open_views, memory_order_relaxed) == 0, 1)
        ? NULL : ips_view_find(segment);
}
bool ips_view_holds(const ips_segment *segment, const ips_view *view);

/* A commit is about to be seen; by the lock's holder. */
static inline void
ips_commit_count(ips_segment *segment)
{
    /* relaxed: only the lock's holder writes it. */
    uint64_t before = atomic_load_explicit(&segment->shm->commits, memory_order_relaxed);
    atomic_store_explicit(&segment->shm->commits, before + 1, memory_order_relaxed);
    /* Counted before any version is even again, or a word changes under one
     * that stays so; pairs with the acquire fence in ips_view_holds. */
    atomic_thread_fence(memory_order_release);
}

/* segment.c: read heap.size, check it against the geometry and the file. */
IPS_MUST_CHECK int ips_segment_measure(ips_segment *segment);

/* For segment/mapped.c.  How the bytes of a new segment come about: `fill` on
 * the handle of a file that has no name yet, or NULL: an empty heap. */
typedef struct {
    uint64_t first_size, size;
    int (*fill)(ips_segment *segment, void *context);
    void *context;
} ips_segment_filling;
IPS_MUST_CHECK int ips_segment_make(ips_space *space, const char *name,
    ips_segment_filling *filling, uint64_t max_size, ips_segment **out);
/* What the user asked for, rounded; IPS_ETOOBIG. */
IPS_MUST_CHECK int ips_segment_sizes(uint64_t *size, uint64_t *max_size);
uint32_t ips_segment_layout(void); /* stamp of the compiled byte map */

const char *ips_segment_title(const ips_segment *segment);

/* transaction.c: IPS_ETX unless this thread has a transaction open. */
IPS_MUST_CHECK int ips_tx_require(const ips_segment *segment);
/* For each store inside one: IPS_ETX where nobody in this process has one open.
 * Whose it is was asked when it began, and will be at its end. */
IPS_MUST_CHECK int ips_tx_refuse(const ips_segment *segment);
static inline int
ips_tx_inside(const ips_segment *segment)
{
    return __builtin_expect(segment->depth != 0, 1) ? IPS_OK : ips_tx_refuse(segment);
}

#endif
