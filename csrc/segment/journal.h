/* SPDX-License-Identifier: Apache-2.0 */
/* The undo journal: what makes a transaction all or nothing.
 *
 * Byte map of ips_journal_shm:
 *
 *   0   mark      8  bytes of valid entries (a multiple of 8) | phase
 *   8   touched   8  number of versions in the list at the area's end
 *   16  splits   48  words of entries that lie before each extent; 0: none
 *
 * Byte map of the area (`words` 64-bit words, private geometry):
 *
 *   0 ...         entries, growing up, each ending with what describes it so
 *                 that they are read backwards:
 *                   one word:   old value, offset
 *                   n words:    n old values, n, offset | 1
 *   ... words-1   offsets of the versions this transaction made odd, growing
 *                 down
 *
 * Phases (low three bits of the mark):
 *
 *   IDLE       no transaction; entries and list mean nothing
 *   ACTIVE     a transaction is open: if its owner dies, the entries are
 *              undone, latest first
 *   COMMITTED  it has happened; versions are being made even and freed blocks
 *              given back, in steps that are each undone if cut short
 *
 * Who writes: the holder of the segment's lock, or whoever took the lock over
 * from a dead one.  Order of stores: entry; mark; the journaled store itself.
 * For a version: its place in the list; `touched`; the version.  The commit is
 * one store of the mark, ACTIVE | n to COMMITTED | 0.
 *
 * Extents: a transaction that fills the area goes on in a chunk of the heap,
 * and in larger ones after that (segment/extent.c).  Order of stores: the
 * chunk, and its offset in heap.extents, through the journal as it is; then
 * the split, plainly; then entries count as lying in the extent.  So the entry
 * of the offset is the last one before the extent's own, and undoing meets it
 * exactly when the extent has been dealt with: where heap.extents is 0 and
 * entries are counted beyond the split, those are undone already.
 *
 * What a survivor sees: a prefix of those stores.  Below the mark every entry
 * is whole, and a store without an entry below the mark has not happened.
 * Undoing writes words that nobody else may write, so it can itself be killed
 * and done again from the start.
 *
 * A word journaled once in a transaction is not journaled again (a small
 * private table knows; forgetting costs an entry).  Savepoints need no shared
 * bytes: only a living process goes back to one, so their log is private. */
#ifndef IPS_SEGMENT_JOURNAL_H
#define IPS_SEGMENT_JOURNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/status.h"

enum { IPS_PHASE_IDLE = 0, IPS_PHASE_ACTIVE = 1, IPS_PHASE_COMMITTED = 2, IPS_PHASE_BITS = 7 };

typedef struct {
    _Atomic uint64_t mark;
    _Atomic uint64_t touched;
    uint64_t splits[6];
} ips_journal_shm;

_Static_assert(sizeof(ips_journal_shm) == 64, "byte map above");
_Static_assert(offsetof(ips_journal_shm, touched) == 8, "byte map above");

#define IPS_JOURNAL_EXTENTS 6u
#define IPS_JOURNAL_KEPT 160u  /* words that stay free in an extent for the next one's
                                * making and what the commit itself stores */
#define IPS_JOURNAL_KNOWN 512u /* places in the private table of journaled words */

typedef struct {
    uint64_t offset;
    uint32_t serial; /* of the undo span in which the word got its shared entry */
    uint32_t level;  /* of the savepoint in which it got its private entry */
} ips_journal_known;

typedef struct {
    uint64_t *area;
    uint64_t words;
    uint64_t split; /* words of entries before it */
} ips_journal_extent;

/* The private side; valid while this process holds the segment's lock. */
typedef struct {
    uint8_t *base;
    ips_journal_shm *shm;
    ips_journal_extent extents[IPS_JOURNAL_EXTENTS + 1]; /* the first: the area itself */
    unsigned last;         /* the one that entries go to */
    uint64_t soft_end;     /* words of entries that may be reserved before the next extent */
    uint64_t hard_end;     /* ... that there is room for */
    bool frozen;           /* nothing may be journaled: somebody only reads */
    bool read_only;        /* it is so from the beginning of each transaction */
    bool extending;        /* an extent is being made: the kept words are for that */
    /* Make an extent with room for `words` more: segment/extent.c. */
    int (*extend)(void *owner, uint64_t words);
    /* Where extent `number` lies; false where heap.extents says there is none.
     * Damaged ones have no words. */
    bool (*find_extent)(void *owner, unsigned number, ips_journal_extent *out);
    void *owner;
    uint64_t fixed_start;  /* journaled words lie in [fixed_start, fixed_end) */
    uint64_t fixed_end;
    uint64_t heap_start;   /* or in [heap_start, heap_end) */
    uint64_t heap_end;
    uint64_t used;         /* words of entries */
    uint64_t touched;
    uint64_t phase;
    uint32_t serial;
    uint32_t level;        /* of the innermost savepoint; 0 while there is none */
    uint32_t last_level;
    uint64_t *log;         /* savepoints' entries, as in the area */
    uint64_t log_used, log_capacity;
    ips_journal_known known[IPS_JOURNAL_KNOWN];
} ips_journal;

/* Attach to the shared bytes; the geometry has been checked. */
void ips_journal_open(ips_journal *journal, uint8_t *base, ips_journal_shm *shm,
    uint64_t *area, uint64_t words);
void ips_journal_close(ips_journal *journal); /* frees the private log */

/* IDLE to ACTIVE.  The caller holds the lock and has found the mark IDLE. */
void ips_journal_begin(ips_journal *journal);
/* Is anything to be undone, or any version odd? */
static inline bool
ips_journal_is_empty(const ips_journal *journal)
{
    return journal->used == 0 && journal->touched == 0;
}

/* Room for `stores` one-word entries (and as many in the private log), so
 * that the next so many ips_journal_set cannot fail.  IPS_ETXFULL. */
int ips_journal_reserve_slow(ips_journal *journal, uint64_t stores);
static inline int
ips_journal_reserve(ips_journal *journal, uint64_t stores)
{
    uint64_t need = stores * 2;
    bool enough = journal->used + need <= journal->soft_end &&
                  (journal->level == 0 || need <= journal->log_capacity - journal->log_used);
    return __builtin_expect(enough, 1) ? IPS_OK : ips_journal_reserve_slow(journal, stores);
}

/* From now on every reservation is refused with IPS_ETX; until the transaction
 * ends, or `frozen` is false again. */
void ips_journal_freeze(ips_journal *journal, bool frozen);

/* IPS_ETXFULL, noted. */
int ips_journal_too_large(const ips_journal *journal) __attribute__((cold));
void ips_journal_note_word(ips_journal *journal, uint64_t offset, ips_journal_known *known);

/* Journal and store; reserved before. */
static inline void
ips_journal_set(ips_journal *journal, uint64_t *word, uint64_t value)
{
    uint64_t offset = (uint64_t)((uint8_t *)word - journal->base);
    ips_journal_known *known = &journal->known[offset / 8 % IPS_JOURNAL_KNOWN];
    if (known->offset != offset || known->serial != journal->serial ||
        known->level < journal->level) {
        ips_journal_note_word(journal, offset, known);
    }
    /* The compiler keeps entry and mark before the store; relaxed: a reader
     * without the lock goes by a version. */
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit((_Atomic uint64_t *)word, value, memory_order_relaxed);
}

#define IPS_RANGE_BIT UINT64_C(1) /* in an entry's offset word: more than one word */

/* Write the entry of the `count` words at `from`, whose offset that is; its
 * length in words. */
static inline uint64_t
ips_journal_put_entry(uint64_t *to, const void *from, uint64_t offset, uint64_t count)
{
    memcpy(to, from, count * 8);
    if (count == 1) {
        to[1] = offset;
        return 2;
    }
    to[count] = count;
    to[count + 1] = offset | IPS_RANGE_BIT;
    return count + 2;
}

/* Word stores, so that a racing reader sees each word whole; relaxed: the
 * reader goes by a version. */
static inline void
ips_journal_put_words(void *target, const void *words, uint64_t count)
{
    _Atomic uint64_t *to = (_Atomic uint64_t *)target;
    const uint8_t *from = (const uint8_t *)words;
    for (; count != 0; count--, to++, from += 8) {
        uint64_t word;
        memcpy(&word, from, 8);
        atomic_store_explicit(to, word, memory_order_relaxed);
    }
}

/* Journal and overwrite `size` bytes at `offset` (8-aligned, in bounds with
 * its last word whole). */
IPS_MUST_CHECK int ips_journal_write(ips_journal *journal, uint64_t offset, const void *bytes,
    size_t size);

/* From now on entries go to this extent, whose offset was stored in
 * heap.extents just before. */
void ips_journal_enter_extent(ips_journal *journal, uint64_t *area, uint64_t words);

/* Note the version at `offset` and make it odd, unless it is. */
IPS_MUST_CHECK int ips_journal_touch(ips_journal *journal, uint64_t offset);
/* Even versions again, larger than before; then forget the list. */
void ips_journal_settle_versions(ips_journal *journal);

/* The commit store: entries are forgotten, the phase is COMMITTED. */
void ips_journal_commit(ips_journal *journal);
/* The end: IDLE. */
void ips_journal_end(ips_journal *journal);

/* Take up what a dead holder (or a failed attempt) left.  Sets *phase.
 * IPS_ECORRUPT where mark, entries or list make no sense; nothing is changed
 * then. */
IPS_MUST_CHECK int ips_journal_take_up(ips_journal *journal, uint64_t *phase);
/* Undo all entries, latest first; the phase stays, the entries are forgotten
 * only by the next store of the mark. */
void ips_journal_undo(ips_journal *journal);

/* Savepoints: where the private log and the journal stood.  Going back to one
 * leaves each word as it was then, so the entries since then go too. */
typedef struct {
    uint64_t log_used;
    uint64_t used;
    unsigned last;
    uint32_t outer; /* the level around this one */
} ips_savepoint;
void ips_savepoint_set(ips_journal *journal, ips_savepoint *savepoint);
void ips_savepoint_release(ips_journal *journal, const ips_savepoint *savepoint);
void ips_savepoint_undo(ips_journal *journal, const ips_savepoint *savepoint);

#endif
