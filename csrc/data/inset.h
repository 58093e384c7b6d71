/* SPDX-License-Identifier: Apache-2.0 */
/* An array that stands in a segment: its items are a block of the heap, which
 * is looked at without a copy, so it must stay while anybody may look.
 *
 * All that is said of it lies in a stable cell of type ARRAY: the payload
 * begins with the lock word of the array's Lock, the body holds
 *
 *   0     items      8  offset of the items' block
 *   8     ndim       4  as in data/array.h, and so on
 *   12    itemsize   4
 *   16    order      4
 *   20    dtype_size 4
 *   24    format_size 4
 *   28    reserved   4
 *   32    shape    256
 *   288   text    3616  dtype, then format
 *   3904  reserved 192
 *   4096  holders[] 8 each: members that have the array open, 0: free
 *
 * and the items begin at the first multiple of 64 in their block, zero at first.
 *
 * Who writes: the constructor all but the holders, plainly, before anybody can
 * find the cell (stable memory is never journaled); a holder's word whoever
 * opens the array, by compare-and-swap under the segment's lock, and takes it
 * back without the lock.  A word counts while its member lives: a death needs
 * no repair.  A forked child is written down by the child before fork() returns
 * in its parent.
 *
 * Destroying takes the name away, as unlink does: whoever has the array open
 * goes on.  Where nobody else does, memory goes at commit; else a grave is
 * hung, journaled, into the list at IPS_ANCHOR_ARRAYS:
 *
 *   0  next  8    8  cell  8
 *
 * and whoever next makes, destroys or closes an array there buries those that
 * nobody holds.  Arrays are made outside transactions, so that none is rolled
 * back under a view of it. */
#ifndef IPS_DATA_INSET_H
#define IPS_DATA_INSET_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/owner.h"
#include "data/array.h"
#include "data/types.h"
#include "segment/segment.h"

#define IPS_INSET_ALIGNMENT 64u
#define IPS_INSET_HOLDERS ((IPS_STABLE_BODY - 4096u) / 8u)

typedef struct {
    uint64_t items;
    uint32_t ndim, itemsize, order, dtype_size, format_size, reserved;
    uint64_t shape[IPS_ARRAY_DIMENSIONS];
    char text[IPS_ARRAY_TEXT];
    uint8_t reserved_too[192];
    _Atomic uint64_t holders[IPS_INSET_HOLDERS];
} ips_inset_shm;

typedef struct {
    _Atomic uint64_t next;
    _Atomic uint64_t cell;
} ips_inset_grave_shm;

_Static_assert(sizeof(ips_inset_shm) == IPS_STABLE_BODY, "byte map above");
_Static_assert(offsetof(ips_inset_shm, shape) == 32, "byte map above");
_Static_assert(offsetof(ips_inset_shm, text) == 288, "byte map above");
_Static_assert(offsetof(ips_inset_shm, holders) == 4096, "byte map above");
_Static_assert(sizeof(ips_inset_grave_shm) == 16, "byte map above");

/* Hang it on the member room's hooks; once, before the first join. */
void ips_inset_install(void);

/* --- inside a transaction */

/* A new array; *out is its cell. */
IPS_MUST_CHECK int ips_inset_create(ips_segment *segment, const ips_array_kind *kind,
    ips_offset *out);
/* Have it open, once more: fills in *kind and where the items are.  IPS_EGONE. */
IPS_MUST_CHECK int ips_inset_hold(ips_segment *segment, ips_offset cell, uint64_t generation,
    ips_array_kind *kind, uint8_t **items);
IPS_MUST_CHECK int ips_inset_destroy(ips_segment *segment, ips_offset cell);
/* Free what was destroyed and nobody holds any more. */
IPS_MUST_CHECK int ips_inset_reap(ips_segment *segment);
/* Invariants of one array; the number of problems, or an error. */
IPS_MUST_CHECK int ips_inset_check(ips_segment *segment, ips_offset cell,
    void (*report)(const char *line, void *context), void *context);

/* --- no transaction needed */

/* Once for each hold that succeeded; true where graves may wait to be buried. */
bool ips_inset_leave(ips_segment *segment, ips_offset cell);

#endif
