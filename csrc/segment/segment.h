/* SPDX-License-Identifier: Apache-2.0 */
/* A segment: transactional memory in one file.  This is the contract that
 * data/ builds on; the byte maps stand in segment/layout.h, segment/journal.h
 * and segment/heap.h.
 *
 * One writer at a time: begin() takes the segment's lock, every store to
 * structured bytes goes through ips_tx_*, commit() is one store.  Whoever
 * takes the lock after a death rolls the dead writer's journal back first.
 * Offsets are from the file's start; 0 is never an object. */
#ifndef IPS_SEGMENT_SEGMENT_H
#define IPS_SEGMENT_SEGMENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/checked.h"
#include "base/status.h"
#include "member/object.h"
#include "sync/wide.h"

typedef struct ips_segment ips_segment; /* process-local handle */
typedef uint64_t ips_offset;

/* What an ips_segment begins with; all but the last are constant while it is open. */
typedef struct {
    ips_object *object;
    uint8_t *base;
    uint64_t heap_start;
    _Atomic uint32_t open_views; /* of all threads of this process: segment/view.h */
} ips_segment_window;

/* Offset to pointer: NULL (not noted) unless [offset, offset + size) lies
 * inside the heap and has memory, and `offset` is 8-aligned.  Every
 * dereference goes through it. */
void *ips_segment_reach(ips_segment *segment, ips_offset offset, uint64_t size);
static inline void *
ips_segment_at(ips_segment *segment, ips_offset offset, uint64_t size)
{
    const ips_segment_window *window = (const ips_segment_window *)(const void *)segment;
    /* relaxed: it only grows, and what lies below it is backed for good. */
    uint64_t backed = atomic_load_explicit(&window->object->backed, memory_order_relaxed);
    bool inside = offset >= window->heap_start && offset % 8 == 0 &&
                  ips_within(offset, size, backed);
    return __builtin_expect(inside, 1) ? window->base + offset
                                       : ips_segment_reach(segment, offset, size);
}

/* --- transactions: one per process and segment at a time; begin() by a
 * thread that is inside nests (a savepoint), at most IPS_TX_DEPTH deep.  All
 * but begin need one open, and belong to the thread that began. */
#define IPS_TX_DEPTH 64

/* IPS_EINTR, IPS_ETIMEOUT as in sync/lock.h; IPS_ECORRUPT where a dead
 * writer's journal makes no sense.  Call without the GIL. */
IPS_MUST_CHECK int ips_tx_begin(ips_segment *segment, int64_t deadline);
IPS_MUST_CHECK int ips_tx_commit(ips_segment *segment);
/* Undo everything since the matching begin. */
void ips_tx_abort(ips_segment *segment);
bool ips_tx_is_mine(const ips_segment *segment); /* this thread is inside */
uint32_t ips_tx_depth(const ips_segment *segment); /* of this thread's transaction; 0: none */
/* A number that whoever began may leave with the transaction, 0 at first:
 * bind/ tells by it which asyncio task of the thread is inside. */
void ips_tx_set_mark(ips_segment *segment, uint64_t mark);
uint64_t ips_tx_mark(const ips_segment *segment);
/* Nothing can be written before the level that this thread began last ends:
 * IPS_ETX. */
void ips_tx_freeze(ips_segment *segment);
/* It may last: tell others since when and in which thread (segment/facts.h). */
void ips_tx_announce(ips_segment *segment);

/* Journaled stores: the old bytes go into the journal first.  IPS_ETXFULL
 * where the journal is full: the caller aborts.  `offset` is 8-aligned. */
IPS_MUST_CHECK int ips_tx_store(ips_segment *segment, ips_offset offset, uint64_t value);
IPS_MUST_CHECK int ips_tx_write(ips_segment *segment, ips_offset offset, const void *bytes, size_t size);

/* Room in the journal for one ips_tx_write of `words` words and `stores`
 * ips_tx_store: these cannot fail then. */
IPS_MUST_CHECK int ips_tx_reserve(ips_segment *segment, uint64_t words, uint64_t stores);

/* Memory, 16-aligned, contents undefined; until commit only this transaction
 * knows it, so it may be filled with plain stores.  IPS_ESEGFULL, IPS_EQUOTA. */
IPS_MUST_CHECK int ips_tx_alloc(ips_segment *segment, size_t size, ips_offset *out);
/* Takes effect at commit; never handed out again in the same transaction. */
IPS_MUST_CHECK int ips_tx_free(ips_segment *segment, ips_offset offset);
/* Usable bytes of an allocated block, 0 if `offset` is not one. */
size_t ips_block_size(ips_segment *segment, ips_offset offset);

/* --- stable cells: IPS_STABLE_SIZE bytes, 16-aligned, zeroed, on a cache line
 * of their own, for words that others change without the lock (numbers,
 * locks, events).  Never journaled.  The memory of a cell serves cells of its
 * type for ever, and each use has a generation that no other use had: a
 * handle whose generation no longer agrees is of a cell that was destroyed
 * (or whose construction was rolled back). */
#define IPS_STABLE_SIZE 48u
#define IPS_STABLE_TYPES 64u /* types are below this */
/* Cells of the types from 24 to 31 have a body (sync/wide.h) besides, of fixed
 * length: 16 KiB, zeroed and type-stable like the rest of the cell. */
#define IPS_STABLE_BODY 16384u
static inline bool
ips_stable_is_wide(uint32_t type)
{
    return type >= 24 && type <= 31;
}
/* Of these the ones whose body is a semaphore: its bytes get another use only when
 * nobody is inside (sync/semaphore.h). */
static inline bool
ips_stable_is_semaphore(uint32_t type)
{
    return type == 24 || type == 25;
}
/* The handle on the body of the cell; its shm is NULL where the type has none
 * or no such cell can be there.  `name` must stay valid. */
void ips_stable_wide(ips_segment *segment, ips_offset cell, uint32_t type, const char *name,
                     ips_wide *out);
IPS_MUST_CHECK int ips_stable_alloc(ips_segment *segment, uint32_t type, ips_offset *out);
IPS_MUST_CHECK int ips_stable_free(ips_segment *segment, ips_offset cell); /* at commit */
/* 0 where no cell of `type` is or was there. */
uint64_t ips_stable_generation(ips_segment *segment, ips_offset cell, uint32_t type);

/* --- versions, for readers without the lock.  A version is a 64-bit word in
 * an object's block, even at rest.  ips_tx_touch makes it odd at the object's
 * first write in a transaction; commit and rollback both make it even again,
 * larger than before.  It is never journaled. */
IPS_MUST_CHECK int ips_tx_touch(ips_segment *segment, ips_offset version);

/* reader: v = read_begin (odd: a writer is inside); copy with
 * ips_copy_racing; read_ok(v) says whether the copy is one state. */
static inline uint64_t
ips_read_begin(ips_segment *segment, ips_offset version)
{
    const _Atomic uint64_t *word = (const _Atomic uint64_t *)ips_segment_at(segment, version, 8);
    /* acquire: what the version stands for is read after it; pairs with the
     * release in ips_journal_settle_versions. */
    return word == NULL ? 1 : atomic_load_explicit(word, memory_order_acquire);
}

/* Has this thread no view open, or one in which nothing was committed since? */
bool ips_read_suits_view(ips_segment *segment);
static inline bool
ips_read_ok(ips_segment *segment, ips_offset version, uint64_t seen)
{
    const _Atomic uint64_t *word = (const _Atomic uint64_t *)ips_segment_at(segment, version, 8);
    /* The copies before come before the second look; pairs with the release
     * fence in ips_journal_touch. */
    atomic_thread_fence(memory_order_acquire);
    if (word == NULL || (seen & 1) != 0 ||
        atomic_load_explicit(word, memory_order_relaxed) != seen) {
        return false;
    }
    /* relaxed: our own are what we look for. */
    const ips_segment_window *window = (const ips_segment_window *)(const void *)segment;
    uint32_t views = atomic_load_explicit(&window->open_views, memory_order_relaxed);
    return __builtin_expect(views == 0, 1) || ips_read_suits_view(segment);
}

/* --- anchors: words of the segment, 0 at first, from which upper rooms reach
 * what they keep of the segment as a whole. */
#define IPS_ANCHORS 8u
enum ips_anchor {
    IPS_ANCHOR_LAYOUTS = 0, /* data/layouts.h */
    IPS_ANCHOR_ARRAYS = 1,  /* data/inset.h */
    IPS_ANCHOR_REGIONS = 2, /* segment/region.h */
    IPS_ANCHOR_NESTED = 3,  /* data/nest.h */
    IPS_ANCHOR_QUOTAS = 4,  /* segment/quota.h */
    IPS_ANCHOR_PATH = 7,    /* segment/mapped.h */
};
/* relaxed: what it leads to is guarded by the lock, or by a version. */
uint64_t ips_anchor_load(const ips_segment *segment, enum ips_anchor anchor);
IPS_MUST_CHECK int ips_tx_anchor(ips_segment *segment, enum ips_anchor anchor, uint64_t value);

/* --- a change of one word that is the whole transaction: the lock, no journal.
 * begin is false, and nothing happened, where the lock is taken, a dead writer
 * left something, or this thread has a transaction or a view open: then use ips_tx_*. */
bool ips_single_begin(ips_segment *segment);
/* The version of the word's object (even, else false and nothing happened)
 * grows, then the word changes: a reader who sees the version unchanged has
 * seen this word as it was or as it is, and all else as it was. */
bool ips_single_store(_Atomic uint64_t *version, _Atomic uint64_t *word, uint64_t value);
void ips_single_end(ips_segment *segment);

/* --- a change of a few words under one version that is the whole transaction: the
 * lock, the journal, no more.  begin is false where ips_single_begin is; change
 * where the patches do not fit, or the version is odd, and then nothing happened. */
typedef struct {
    ips_offset offset; /* of journaled words, 8-aligned */
    const uint64_t *words;
    uint64_t count;
} ips_patch;
bool ips_brief_begin(ips_segment *segment);
bool ips_brief_change(ips_segment *segment, ips_offset version, const ips_patch *patches,
    unsigned count);
void ips_brief_end(ips_segment *segment);

/* --- catalogue of names */
typedef struct {
    ips_offset offset;    /* of the object's root block */
    uint64_t generation;  /* of this construction: never 0, never used before, and
                           * scattered, so that stray bytes are not taken for it */
    uint32_t type;        /* enum ips_type of data/types.h */
    char name[IPS_NAME_MAX + 1];
} ips_entry;
IPS_MUST_CHECK int ips_catalogue_insert(ips_segment *segment, const char *name,
    uint32_t type, ips_offset root, uint64_t *generation);                 /* inside a transaction */
/* Lock-free.  IPS_ENOENT; IPS_EAGAIN while another writer is changing the
 * catalogue: look again inside a transaction. */
IPS_MUST_CHECK int ips_catalogue_find(ips_segment *segment, const char *name, ips_entry *out);
IPS_MUST_CHECK int ips_catalogue_remove(ips_segment *segment, const char *name);  /* inside a transaction */
IPS_MUST_CHECK int ips_catalogue_count(ips_segment *segment, uint64_t *out); /* as find */
/* A generation like the catalogue's, for an object that stands in another one
 * and has no name; inside a transaction. */
uint64_t ips_tx_generation(ips_segment *segment);
/* The next entry in order of construction; *cursor starts at 0 and survives
 * changes meanwhile.  IPS_ENOENT at the end, IPS_EAGAIN as above. */
IPS_MUST_CHECK int ips_catalogue_next(ips_segment *segment, uint64_t *cursor, ips_entry *out);

/* --- the whole */
typedef struct {
    uint64_t size, max_size, used, free_bytes, blocks, objects, members;
    uint64_t overhead;     /* with used and free_bytes: all of the heap */
    uint64_t largest_free; /* bytes in one piece, without growing */
    uint64_t memory;       /* bytes the file takes now */
    uint64_t pools, arenas;
    uint64_t huge_pages;   /* 1: this process asked for them and can have them */
    uint64_t quota, charged; /* bytes this process may have and has; 0: no limit */
} ips_segment_stats;
IPS_MUST_CHECK int ips_segment_open(ips_space *space, const char *name, ips_open_mode mode,
    uint64_t size, uint64_t max_size, bool cleanup_last, ips_segment **out, bool *created);
IPS_MUST_CHECK int ips_segment_redeem(ips_space *space, const char *ticket, ips_segment **out);
ips_object *ips_segment_object(ips_segment *segment);
void ips_segment_hold(ips_segment *segment); /* one more handle, for what lies in the segment */
void ips_segment_close(ips_segment *segment); /* one handle less; the last one unmaps */
bool ips_segment_release(ips_segment *segment); /* the same unless it is the last: false then */
IPS_MUST_CHECK int ips_segment_stats_of(ips_segment *segment, ips_segment_stats *out);
/* Ask for huge pages in this process's mapping; where there are none, nothing
 * changes: stats tell. */
void ips_segment_want_huge(ips_segment *segment);
/* Give free memory back to the system, in two parts: mark waits for the lock,
 * without the GIL; punch does not wait (then nothing is given back), and no
 * thread of this process may read without the lock meanwhile: it keeps the
 * GIL.  Neither does anything while another member has the segment open. */
IPS_MUST_CHECK int ips_segment_trim_mark(ips_segment *segment, int64_t deadline);
IPS_MUST_CHECK int ips_segment_trim_punch(ips_segment *segment, uint64_t *given_back);
/* Invariants; one report line per problem.  Takes the lock. */
IPS_MUST_CHECK int ips_segment_check(ips_segment *segment, int64_t deadline,
    void (*report)(const char *line, void *context), void *context);

#endif
