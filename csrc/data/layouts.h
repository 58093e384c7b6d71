/* SPDX-License-Identifier: Apache-2.0 */
/* The layouts of the records in a segment: each stands there once, however
 * many records have it.
 *
 * Byte map of a layout's block:
 *
 *   0   next   8  the next layout, 0 at the end; the first is what the anchor
 *                 IPS_ANCHOR_LAYOUTS leads to
 *   8   hash   8  ips_hash of the descriptor, constant
 *   16  uses   8  records that have it; the block goes with the last
 *   24  size   8  bytes of the descriptor, constant
 *   32  descriptor, codec/schema.h; constant
 *
 * Who writes: under the segment's lock, inside a transaction, through the
 * journal; a new block is filled before anybody knows it.  Readers without the
 * lock come by a record, whose version guards what it leads to.  A survivor of
 * a killed transaction finds list and counts as before it. */
#ifndef IPS_DATA_LAYOUTS_H
#define IPS_DATA_LAYOUTS_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/status.h"
#include "codec/schema.h"
#include "data/value.h"
#include "segment/segment.h"

typedef struct {
    _Atomic uint64_t next;
    _Atomic uint64_t hash;
    _Atomic uint64_t uses;
    _Atomic uint64_t size;
    uint8_t bytes[];
} ips_layout_shm;

_Static_assert(sizeof(ips_layout_shm) == 32, "byte map above");

/* What can be a layout at `offset`, its bytes inside backed memory. */
typedef struct {
    ips_layout_shm *shm;
    ips_offset offset;
    uint64_t hash, size;
} ips_layout;
/* False where none can be. */
bool ips_layout_open(ips_segment *segment, ips_offset offset, ips_layout *out);

/* A private copy, malloc'd, to be parsed; NULL with IPS_ENOMEM noted.  Without
 * the lock the caller validates the version that led here. */
uint8_t *ips_layout_copy(const ips_layout *layout);

/* --- inside a transaction; after an error the caller aborts it */

/* One more use of the layout with this descriptor, which is put there where it
 * is not. */
IPS_MUST_CHECK int ips_layout_take(ips_segment *segment, const ips_schema *schema,
    ips_offset *out);
/* One use less. */
IPS_MUST_CHECK int ips_layout_drop(ips_segment *segment, ips_offset offset);

/* Each layout as a record of `out`: its descriptor. */
IPS_MUST_CHECK int ips_layouts_list(ips_segment *segment, ips_snapshot *out);
/* The list, each descriptor, and its uses against the records of the catalogue
 * with that layout.  The number of problems, or an error. */
IPS_MUST_CHECK int ips_layouts_check(ips_segment *segment,
    void (*report)(const char *line, void *context), void *context);

#endif
