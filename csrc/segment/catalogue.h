/* SPDX-License-Identifier: Apache-2.0 */
/* The catalogue: names of the segment's objects, found by hashing, walked in
 * order of construction.
 *
 * Byte map of ips_catalogue_shm, in the segment's head:
 *
 *   0   version   8  of all below; segment/segment.h's protocol
 *   8   table     8  block of `slots` words: 0 empty, 1 grave, else
 *                    offset of an entry / 16 | 24 bits of its hash << 40
 *   16  slots     8  a power of two, 0 before the first name
 *   24  filled    8  slots that are not empty
 *   32  order     8  block of `places` pairs {serial, entry}; serials rise,
 *                    entry is 0 where it was removed
 *   40  places    8
 *   48  placed    8  pairs in use
 *   56  count     8  names
 *
 * Byte map of an entry (a block of its own):
 *
 *   0   hash        8  ips_hash of the name
 *   8   serial      8  when it was made, among all
 *   16  root        8  offset of the object
 *   24  generation  8
 *   32  type        4
 *   36  size        4  bytes of the name
 *   40  name           not NUL-terminated
 *
 * Who writes: the holder of the segment's lock, in a transaction, version
 * first.  A fuller table is built beside the old one and replaces it with its
 * numbers; entries never change.  Reader: version (even), table and slots,
 * slot, entry, version again; every offset and number is checked before use,
 * and a look that stumbles is only reported as damage where the version has
 * not moved.  A survivor undoes the journal and finds the old catalogue. */
#ifndef IPS_SEGMENT_CATALOGUE_H
#define IPS_SEGMENT_CATALOGUE_H

#include <stddef.h>
#include <stdint.h>

#include "segment/segment.h"

typedef struct {
    _Atomic uint64_t version;
    uint64_t table;
    uint64_t slots;
    uint64_t filled;
    uint64_t order;
    uint64_t places;
    uint64_t placed;
    uint64_t count;
} ips_catalogue_shm;

_Static_assert(sizeof(ips_catalogue_shm) == 64, "byte map above");
_Static_assert(offsetof(ips_catalogue_shm, order) == 32, "byte map above");

typedef struct {
    uint64_t hash;
    uint64_t serial;
    uint64_t root;
    uint64_t generation;
    uint32_t type;
    uint32_t size;
    char name[];
} ips_entry_shm;

_Static_assert(sizeof(ips_entry_shm) == 40, "byte map above");
_Static_assert(offsetof(ips_entry_shm, name) == 40, "byte map above");

typedef struct {
    uint64_t serial;
    uint64_t entry;
} ips_order_shm;

_Static_assert(sizeof(ips_order_shm) == 16, "byte map above");

/* The catalogue's invariants; call inside a transaction. */
IPS_MUST_CHECK int ips_catalogue_check(ips_segment *segment,
    void (*report)(const char *line, void *context), void *context);

#endif
