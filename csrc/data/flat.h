/* SPDX-License-Identifier: Apache-2.0 */
/* A row of items of one size, side by side: SharedVector(typecode='d'),
 * SharedString (code points of 4 bytes each: any part is found at once, and a
 * change of a part needs no look at the rest), SharedBytes, and SharedCell (one
 * encoded value: a byte for its kind, then its bytes).
 *
 * Byte map of the root (64 bytes):
 *
 *   0    root       24  data/types.h; `version` guards everything below
 *   24   items       8  block of the items, replaced whole when it grows
 *   32   length      8  items
 *   40   format      8  bytes of an item (bits 0-7), its code (8-15), constant
 *   48   events      8  of a SharedCell: stable cell of the event count,
 *                        constant; else 0
 *   56   nest         8  data/nest.h
 *
 * Byte map of the items' block:
 *
 *   0   capacity     8  items, constant
 *   8   reserved     8
 *   16  items           each `size` bytes (1, 2, 4 or 8), little-endian
 *
 * Who writes: under the segment's lock, inside a transaction, through the
 * journal, after raising the version; a new block is filled with plain stores
 * and published with the root.  Bytes beyond `length` mean nothing.  Readers
 * without the lock validate the version.  A survivor of a killed transaction
 * finds the vector as before it. */
#ifndef IPS_DATA_FLAT_H
#define IPS_DATA_FLAT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "data/row.h"
#include "data/types.h"
#include "data/value.h"
#include "segment/segment.h"
#include "sync/eventcount.h"

typedef struct {
    _Atomic uint64_t capacity;
    uint64_t reserved;
    uint8_t items[];
} ips_flat_items_shm;

typedef struct {
    ips_root_shm root;
    _Atomic uint64_t items;
    _Atomic uint64_t length;
    _Atomic uint64_t format;
    _Atomic uint64_t events;
    _Atomic uint64_t nest;
} ips_flat_shm;

_Static_assert(sizeof(ips_flat_items_shm) == 16, "byte map above");
_Static_assert(sizeof(ips_flat_shm) == 64, "byte map above");
_Static_assert(offsetof(ips_flat_shm, format) == 40, "byte map above");
_Static_assert(offsetof(ips_flat_shm, nest) == 56, "byte map above");

/* Process-local handle; a plain value. */
typedef struct {
    ips_segment *segment;
    ips_flat_shm *shm;
    ips_offset offset;
    uint64_t generation;
    ips_eventcount_shm *changed; /* of a SharedCell, else NULL */
    uint32_t type; /* enum ips_type */
    unsigned size; /* of an item, in bytes */
    char code;
} ips_flat;

/* --- no transaction needed */

/* IPS_ECORRUPT where no such row can be at `offset`. */
IPS_MUST_CHECK int ips_flat_open(ips_segment *segment, uint32_t type, ips_offset offset,
    uint64_t generation, ips_flat *out);
/* The items of a part, side by side, all of one state, which out->version
 * tells; out->records of them.  0 or IPS_ROW_BUSY. */
IPS_MUST_CHECK int ips_flat_snapshot(const ips_flat *flat, ips_span span, ips_snapshot *out);
/* One item, at *item.  0, IPS_ROW_RANGE or IPS_ROW_BUSY. */
IPS_MUST_CHECK int ips_flat_get(const ips_flat *flat, int64_t index, uint64_t *item);
/* 0 or IPS_ROW_BUSY. */
IPS_MUST_CHECK int ips_flat_length(const ips_flat *flat, uint64_t *out);

/* One item more, or another in the place of one, as a transaction of its own
 * without a journal, at once.  False, and nothing happened, where it takes more
 * than that (ips_deque_add_single): then the usual way. */
bool ips_flat_append_single(const ips_flat *flat, uint64_t item);
bool ips_flat_set_single(const ips_flat *flat, int64_t index, uint64_t item);

/* --- inside a transaction; after an error the caller aborts it */

IPS_MUST_CHECK int ips_flat_create(ips_segment *segment, uint32_t type, unsigned size, char code,
    ips_offset *out);
/* Frees everything and retires the root. */
IPS_MUST_CHECK int ips_flat_destroy(const ips_flat *flat);
/* Of one that was retired: free all but the root. */
IPS_MUST_CHECK int ips_flat_wither(const ips_flat *flat);
/* As their namesakes above, never IPS_ROW_BUSY. */
IPS_MUST_CHECK int ips_flat_snapshot_locked(const ips_flat *flat, ips_span span,
    ips_snapshot *out);
IPS_MUST_CHECK int ips_flat_get_locked(const ips_flat *flat, int64_t index, uint64_t *item);
IPS_MUST_CHECK int ips_flat_length_locked(const ips_flat *flat, uint64_t *out);

/* As ips_deque_append, ips_deque_set, ips_deque_splice and so on; `items` are
 * items->records of them, side by side. */
IPS_MUST_CHECK int ips_flat_append(const ips_flat *flat, uint64_t item);
IPS_MUST_CHECK int ips_flat_set(const ips_flat *flat, int64_t index, uint64_t item);
IPS_MUST_CHECK int ips_flat_splice(const ips_flat *flat, ips_span span, const ips_snapshot *items);
IPS_MUST_CHECK int ips_flat_assign(const ips_flat *flat, ips_span span, const ips_snapshot *items,
    uint64_t *count);
/* All items become others, if they are the expected: 0 or IPS_ROW_CHANGED. */
IPS_MUST_CHECK int ips_flat_compare_exchange(const ips_flat *flat, const ips_snapshot *expected,
    const ips_snapshot *items);
IPS_MUST_CHECK int ips_flat_erase(const ips_flat *flat, ips_span span);
IPS_MUST_CHECK int ips_flat_take(const ips_flat *flat, int64_t index, uint64_t expected,
    uint64_t *item);
IPS_MUST_CHECK int ips_flat_reorder(const ips_flat *flat, const uint64_t *order, uint64_t length,
    uint64_t expected);

/* Invariants; one line per problem.  The number of problems, or an error. */
IPS_MUST_CHECK int ips_flat_check(const ips_flat *flat,
    void (*report)(const char *line, void *context), void *context);

#endif
