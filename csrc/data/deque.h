/* SPDX-License-Identifier: Apache-2.0 */
/* A row of encoded values, growing at both ends: a ring of slots.  It is what
 * a SharedDeque is (type DEQUE) and a SharedVector of any values (type VECTOR,
 * without event counts and without limit).
 *
 * Byte map of the root (128 bytes):
 *
 *   0    root       24  data/types.h; `version` guards everything below
 *   24   ring        8  block of the slots, replaced whole when it grows
 *   32   head        8  of the leftmost value: its slot, modulo the ring's size
 *   40   end         8  behind the rightmost: head + length, modulo 2^64
 *   48   maxlen      8  IPS_UNBOUNDED or the limit, constant
 *   56   graves      8  rings that clear() left to be freed bit by bit
 *   64   events      8  stable cell of the event counts, constant; a vector: 0
 *   72   nest        8  data/nest.h
 *   80   reserved   48
 *
 * Byte map of a ring's block:
 *
 *   0   slots        8  a power of two, constant
 *   8   next         8  in the graves: the next ring, 0 at the end
 *   16  head         8  in the graves: what is left to be freed
 *   24  length       8
 *   32  slot[]      32  each: word 8 (size and kind, data/value.h), then either
 *                       up to 24 bytes of the value or, for a larger one, the
 *                       offset of its block
 *
 * Who writes: under the segment's lock, inside a transaction, through the
 * journal, after raising the version.  Slots outside [head, end) mean nothing,
 * but are journaled like the others: what a transaction popped it may have to
 * give back.  One value at an end, small and outside a transaction, comes and
 * goes without the journal, by one store of `head` or `end`: data/ends.c.
 * Readers without the lock validate the version.
 *
 * The event counts (items: a value came; space: a value went) change without
 * the lock, by waiters too, so they live in a stable cell, which never becomes
 * anything else: a waiter of a destroyed deque harms nobody and finds out when
 * it looks.  They take no part in transactions: a notification says no more
 * than to look again, and whoever looks takes the lock, so it may come before
 * the commit.
 *
 * A survivor of a killed transaction finds the deque as before it. */
#ifndef IPS_DATA_DEQUE_H
#define IPS_DATA_DEQUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "data/row.h"
#include "data/types.h"
#include "data/value.h"
#include "segment/segment.h"
#include "sync/eventcount.h"

#define IPS_UNBOUNDED UINT64_MAX

enum { IPS_LEFT = 0, IPS_RIGHT = 1 };

typedef struct {
    _Atomic uint64_t word;
    _Atomic uint64_t payload[3];
} ips_deque_slot_shm;

typedef struct {
    _Atomic uint64_t slots;
    _Atomic uint64_t next;
    _Atomic uint64_t head;
    _Atomic uint64_t length;
    ips_deque_slot_shm slot[];
} ips_deque_ring_shm;

typedef struct {
    ips_root_shm root;
    _Atomic uint64_t ring;
    _Atomic uint64_t head;
    _Atomic uint64_t end;
    _Atomic uint64_t maxlen;
    _Atomic uint64_t graves;
    _Atomic uint64_t events;
    _Atomic uint64_t nest;
    uint64_t reserved[6];
} ips_deque_shm;

typedef struct {
    ips_eventcount_shm items;
    ips_eventcount_shm space;
} ips_deque_events_shm;

_Static_assert(sizeof(ips_deque_slot_shm) == 32, "byte map above");
_Static_assert(sizeof(ips_deque_ring_shm) == 32, "byte map above");
_Static_assert(sizeof(ips_deque_shm) == 128, "byte map above");
_Static_assert(offsetof(ips_deque_shm, maxlen) == 48, "byte map above");
_Static_assert(offsetof(ips_deque_shm, events) == 64, "byte map above");
_Static_assert(offsetof(ips_deque_shm, nest) == 72, "byte map above");
_Static_assert(sizeof(ips_deque_events_shm) <= IPS_STABLE_SIZE, "they share a cell");

/* Process-local handle; a plain value. */
typedef struct {
    ips_segment *segment;
    ips_deque_shm *shm;
    ips_deque_events_shm *events; /* NULL: a vector */
    uint32_t type;
    ips_offset offset;
    uint64_t generation;
    uint64_t maxlen;
} ips_deque;

/* --- no transaction needed */

/* IPS_ECORRUPT where no deque can be at `offset`. */
IPS_MUST_CHECK int ips_deque_open(ips_segment *segment, uint32_t type, ips_offset offset,
    uint64_t generation, ips_deque *out);
/* A copy of the value at `index` from the left, or from the right where
 * negative (-1 is the last): 0, IPS_ROW_RANGE or IPS_ROW_BUSY. */
IPS_MUST_CHECK int ips_deque_get(const ips_deque *deque, int64_t index, ips_value_copy *out);
/* 0 or IPS_ROW_BUSY. */
IPS_MUST_CHECK int ips_deque_length(const ips_deque *deque, uint64_t *out);
/* The values of a part, all of one state; out->version tells which.  0 or
 * IPS_ROW_BUSY. */
IPS_MUST_CHECK int ips_deque_snapshot(const ips_deque *deque, ips_span span, ips_snapshot *out);

/* A small value more or less at an end, as a transaction of its own without a
 * journal, at once.  False, and nothing happened, where it takes more than that:
 * a value larger than a slot, another ring, the limit, none there, a lock that
 * is taken, an open transaction or view, a damaged row.  Then the usual way. */
bool ips_deque_add_single(const ips_deque *deque, int end, const ips_value *value);
bool ips_deque_take_single(const ips_deque *deque, int end, ips_value_copy *out);
/* The same in the place of a small one; through the journal, as a brief change. */
bool ips_deque_set_brief(const ips_deque *deque, int64_t index, const ips_value *value);

/* --- inside a transaction; after an error the caller aborts it */

IPS_MUST_CHECK int ips_deque_create(ips_segment *segment, uint32_t type, uint64_t maxlen,
    ips_offset *out);
/* Frees everything and retires the root; clear and reap a large one before,
 * in transactions of their own. */
IPS_MUST_CHECK int ips_deque_destroy(const ips_deque *deque);

/* As their namesakes above, never IPS_ROW_BUSY. */
IPS_MUST_CHECK int ips_deque_get_locked(const ips_deque *deque, int64_t index,
    ips_value_copy *out);
IPS_MUST_CHECK int ips_deque_length_locked(const ips_deque *deque, uint64_t *out);
IPS_MUST_CHECK int ips_deque_snapshot_locked(const ips_deque *deque, ips_span span,
    ips_snapshot *out);

/* 0, or IPS_ROW_FULL at the limit. */
IPS_MUST_CHECK int ips_deque_push(const ips_deque *deque, int end, const ips_value *value);
/* As collections.deque: at the limit the value at the other end goes. */
IPS_MUST_CHECK int ips_deque_append(const ips_deque *deque, int end, const ips_value *value);
/* Append all records, in order.  Many go into a fresh ring with plain stores. */
IPS_MUST_CHECK int ips_deque_extend(const ips_deque *deque, int end, const ips_snapshot *values);
/* 0, or IPS_ROW_EMPTY; a copy of the value unless `out` is NULL: IPS_ROW_NESTED. */
IPS_MUST_CHECK int ips_deque_pop(const ips_deque *deque, int end, ips_value_copy *out);
/* 0 or IPS_ROW_RANGE. */
IPS_MUST_CHECK int ips_deque_set(const ips_deque *deque, int64_t index, const ips_value *value);
/* Put all records in the place of the part `span`, whose step is 1: 0, or
 * IPS_ROW_FULL where it would become longer than maxlen. */
IPS_MUST_CHECK int ips_deque_splice(const ips_deque *deque, ips_span span,
    const ips_snapshot *values);
/* Each value of the part becomes one of the records: 0, or IPS_ROW_RANGE where
 * there are not so many; *count is how many. */
IPS_MUST_CHECK int ips_deque_assign(const ips_deque *deque, ips_span span,
    const ips_snapshot *values, uint64_t *count);
/* The part goes. */
IPS_MUST_CHECK int ips_deque_erase(const ips_deque *deque, ips_span span);
/* The value at `index` goes; a copy of it unless `out` is NULL.  0,
 * IPS_ROW_RANGE, IPS_ROW_CHANGED, IPS_ROW_NESTED. */
IPS_MUST_CHECK int ips_deque_take(const ips_deque *deque, int64_t index, uint64_t expected,
    ips_value_copy *out);
/* All values in another order: order[i] is the old index of the one at i; each
 * index stands there once.  0, or IPS_ROW_CHANGED. */
IPS_MUST_CHECK int ips_deque_reorder(const ips_deque *deque, const uint64_t *order,
    uint64_t length, uint64_t expected);
/* As collections.deque: `steps` values from the right end to the left, or from
 * the left to the right where negative. */
IPS_MUST_CHECK int ips_deque_rotate(const ips_deque *deque, int64_t steps);
/* The values leave at once; the memory of large ones follows, a little at
 * each later growth, or by ips_deque_reap. */
IPS_MUST_CHECK int ips_deque_clear(const ips_deque *deque);
/* Free at most `budget` values that clear() left.  1 where some remain, else 0. */
IPS_MUST_CHECK int ips_deque_reap(const ips_deque *deque, unsigned budget);
/* Of a deque that was retired: free at most `budget` values, and in the end all
 * but the root.  1 where some remain, else 0. */
IPS_MUST_CHECK int ips_deque_wither(const ips_deque *deque, unsigned budget);

/* Invariants; one line per problem.  The number of problems, or an error. */
IPS_MUST_CHECK int ips_deque_check(const ips_deque *deque,
    void (*report)(const char *line, void *context), void *context);

#endif
