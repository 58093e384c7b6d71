/* SPDX-License-Identifier: Apache-2.0 */
/* A hash map of encoded keys to encoded values, in order of insertion.
 *
 * Byte map of the root (256 bytes; heads of the blocks in table.h, item.h):
 *
 *   0    root        24  data/types.h; `version` guards what the order of items
 *                        and their number are made of
 *   24   table        8  the index, replaced whole by a rebuild
 *   32   used         8  slots of the table that are not EMPTY
 *   40   length       8  items
 *   48   first        8  oldest item, 0 where there is none
 *   56   last         8  youngest
 *   64   revision     8  raised by each change of a value or of the keys
 *   72   graves       8  items that a clear() left to be freed bit by bit
 *   80   nest         8  data/nest.h
 *   88   reserved    40
 *   128  stripe[16]   8  versions of the items whose hash starts with that digit:
 *                        which slot leads to them, and their values
 *
 * Who writes: under the segment's lock, inside a transaction, through the
 * journal.  A transaction raises, before its first store, the versions of
 * what it changes: a replaced value its stripe's; an insertion or deletion its
 * stripe's and the root's; a rebuild and clear() all of them.  So a lookup
 * waits for nobody but a writer of its own sixteenth of the keys.
 *
 * A lookup without the lock: version of the key's stripe (even), table, slots
 * from the hash on, item, key, copy of the value, version again and the root's
 * generation.  Every offset is checked and every loop bounded on the way, so
 * garbage met meanwhile costs a retry and nothing else; after a few retries it
 * gives up with IPS_MAP_BUSY and the caller looks under the lock.
 *
 * A survivor of a killed transaction takes the lock, the journal is rolled
 * back, and the map is as before; the versions only grew. */
#ifndef IPS_DATA_MAP_H
#define IPS_DATA_MAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "data/item.h"
#include "data/types.h"
#include "data/value.h"
#include "segment/segment.h"

#define IPS_MAP_STRIPES 16u

typedef struct {
    ips_root_shm root;
    _Atomic uint64_t table;
    _Atomic uint64_t used;
    _Atomic uint64_t length;
    _Atomic uint64_t first;
    _Atomic uint64_t last;
    _Atomic uint64_t revision;
    _Atomic uint64_t graves;
    _Atomic uint64_t nest;
    uint64_t reserved[5];
    _Atomic uint64_t stripe[IPS_MAP_STRIPES];
} ips_map_shm;

_Static_assert(sizeof(ips_map_shm) == 256, "byte map above");
_Static_assert(offsetof(ips_map_shm, table) == 24, "byte map above");
_Static_assert(offsetof(ips_map_shm, revision) == 64, "byte map above");
_Static_assert(offsetof(ips_map_shm, nest) == 80, "byte map above");
_Static_assert(offsetof(ips_map_shm, stripe) == 128, "byte map above");

/* Process-local handle; a plain value. */
typedef struct {
    ips_segment *segment;
    ips_map_shm *shm;
    ips_offset offset;
    uint64_t generation;
} ips_map;

/* Successes with news. */
enum {
    IPS_MAP_ABSENT = 16,  /* the key is not there */
    IPS_MAP_PRESENT = 17, /* the key is there (and was, if the call would change it) */
    IPS_MAP_BUSY = 18,    /* writers kept us from reading; look under the lock */
    IPS_MAP_NESTED = 19,  /* a copy of the value was asked for, which is a container:
                           * nothing was done */
};

/* --- no transaction needed */

/* IPS_ECORRUPT where no map can be at `offset`. */
IPS_MUST_CHECK int ips_map_open(ips_segment *segment, ips_offset offset, uint64_t generation,
    ips_map *out);
/* IPS_MAP_PRESENT with a copy of the value (unless `out` is NULL),
 * IPS_MAP_ABSENT, IPS_MAP_BUSY or an error. */
IPS_MUST_CHECK int ips_map_get(const ips_map *map, const ips_key *key, ips_value_copy *out);
/* 0 or IPS_MAP_BUSY. */
IPS_MUST_CHECK int ips_map_length(const ips_map *map, uint64_t *out);

/* All keys (as written), values, or key and value by turns: one state of the
 * map, oldest first.  0 or IPS_MAP_BUSY. */
enum { IPS_MAP_KEYS = 1, IPS_MAP_VALUES = 2, IPS_MAP_ITEMS = 3 };
IPS_MUST_CHECK int ips_map_snapshot(const ips_map *map, unsigned what, ips_snapshot *out);

/* Another value for a key that is there, where it fits into the place of the old
 * one, at once: as a transaction of its own, or inside the one that this thread
 * has open and without a savepoint.  False, and nothing happened, where that
 * cannot be: then the usual way. */
bool ips_map_overwrite(const ips_map *map, const ips_key *key, const ips_value *value);
bool ips_map_overwrite_inside(const ips_map *map, const ips_key *key, const ips_value *value);

/* --- inside a transaction; after an error the caller aborts it */

IPS_MUST_CHECK int ips_map_create(ips_segment *segment, ips_offset *out);
/* Frees everything and retires the root.  As many frees as the map has items:
 * clear and reap a large one before, in transactions of their own. */
IPS_MUST_CHECK int ips_map_destroy(const ips_map *map);

/* As their namesakes above, never IPS_MAP_BUSY. */
IPS_MUST_CHECK int ips_map_get_locked(const ips_map *map, const ips_key *key,
    ips_value_copy *out);
IPS_MUST_CHECK int ips_map_length_locked(const ips_map *map, uint64_t *out);
IPS_MUST_CHECK int ips_map_snapshot_locked(const ips_map *map, unsigned what, ips_snapshot *out);

/* Insert or replace.  IPS_MAP_ABSENT (inserted) or IPS_MAP_PRESENT (replaced). */
IPS_MUST_CHECK int ips_map_set(const ips_map *map, const ips_key *key, const ips_value *value);
/* Set many: `records` holds, for each, canonical key, spelling (empty where it
 * is the same) and value.  The more there are, the less each one costs the
 * journal: they go into a fresh table with plain stores. */
IPS_MUST_CHECK int ips_map_update(const ips_map *map, const ips_snapshot *records);
/* Insert unless it is there: then IPS_MAP_PRESENT and, unless `present` is
 * NULL, a copy of its value. */
IPS_MUST_CHECK int ips_map_insert(const ips_map *map, const ips_key *key, const ips_value *value,
    ips_value_copy *present);
/* IPS_MAP_PRESENT (deleted; a copy of the value unless `out` is NULL),
 * IPS_MAP_ABSENT or IPS_MAP_NESTED. */
IPS_MUST_CHECK int ips_map_delete(const ips_map *map, const ips_key *key, ips_value_copy *out);
/* Delete the youngest item: IPS_MAP_PRESENT with copies, IPS_MAP_ABSENT or
 * IPS_MAP_NESTED, with a copy of the key. */
IPS_MUST_CHECK int ips_map_pop_last(const ips_map *map, ips_value_copy *key, ips_value_copy *value);
/* Replace the value by `desired` where it is, byte for byte and of the same
 * kind, `expected`.  IPS_MAP_PRESENT (done) or IPS_MAP_ABSENT (no such value). */
IPS_MUST_CHECK int ips_map_compare_and_set(const ips_map *map, const ips_key *key,
    const ips_value *expected, const ips_value *desired);

/* The items leave at once; their memory follows, a little at each later
 * insertion, or by ips_map_reap. */
IPS_MUST_CHECK int ips_map_clear(const ips_map *map);
/* Free at most `budget` items that clear() left.  1 where some remain, else 0. */
IPS_MUST_CHECK int ips_map_reap(const ips_map *map, unsigned budget);
/* Of a map that was retired: free at most `budget` items, and in the end all but
 * the root.  1 where some remain, else 0. */
IPS_MUST_CHECK int ips_map_wither(const ips_map *map, unsigned budget);

/* Invariants; one line per problem.  The number of problems, or an error. */
IPS_MUST_CHECK int ips_map_check(const ips_map *map,
    void (*report)(const char *line, void *context), void *context);

#endif
