/* SPDX-License-Identifier: Apache-2.0 */
/* Regions: pools and arenas, memory of a segment set apart for some objects.
 *
 * A region has runs of small blocks of its own (segment/heap.h), and an arena
 * large blocks too.  A run and a large chunk name their region, so that a block
 * goes back to where it came from whoever frees it, and dies and rolls back like
 * any other.  What is allocated between enter and leave comes from the region.
 *
 *   pool    all its memory from the start: runs of one class, kept while it
 *           lives; a block that is too large, or one too many, is refused
 *   arena   takes runs and chunks from the heap as it needs them
 *
 * Byte map of a region (a block of the heap, 320 bytes):
 *
 *   0    seal        8  offset ^ SEAL: a region lies here
 *   8    generation  8  of this region, never used before
 *   16   next        8  of the segment's regions; IPS_ANCHOR_REGIONS the first
 *   24   slot        8  bytes a block of the pool can hold; 0: an arena
 *   32   slots       8  blocks of the pool
 *   40   live        8  blocks in use
 *   48   bytes       8  of the heap that it has, free or not
 *   56   closing     8  1: nothing more is given out; it goes once live is 0
 *   64   runs      256  as heap.runs: for each class the first run with room
 *
 * Who writes: the holder of the segment's lock, through the journal; nobody
 * reads without the lock.  A survivor finds all of it as before the transaction;
 * a region whose destroyer died while it was closing goes when the next one is
 * made or destroyed. */
#ifndef IPS_SEGMENT_REGION_H
#define IPS_SEGMENT_REGION_H

#include <stdint.h>

#include "base/status.h"
#include "segment/segment.h"

#define IPS_REGION_SLOT_MOST 2040u /* bytes; a run's largest block, without its tag */

#define IPS_REGION_BYTES 320u

/* What one looks at; all of it as it was under the lock. */
typedef struct {
    ips_offset offset;
    uint64_t generation;
    uint64_t slot, slots; /* 0: an arena */
    uint64_t live, bytes;
} ips_region;

/* All inside a transaction. */

/* A pool of `slots` blocks of `slot` bytes, or, both 0, an arena.  IPS_ESEGFULL,
 * IPS_ETOOBIG. */
IPS_MUST_CHECK int ips_region_create(ips_segment *segment, uint64_t slot, uint64_t slots,
    ips_region *out);
/* As it is now: IPS_EGONE where it was destroyed. */
IPS_MUST_CHECK int ips_region_look(ips_segment *segment, ips_region *region);
/* The one after `offset` (0: the first), those left out that are closing:
 * IPS_ENOENT at the end. */
IPS_MUST_CHECK int ips_region_next(ips_segment *segment, ips_offset offset, ips_region *out);
/* Nothing more comes out of it; ips_region_sweep in a later transaction gives
 * back all regions that are closing and empty. */
IPS_MUST_CHECK int ips_region_close(ips_segment *segment, const ips_region *region);
IPS_MUST_CHECK int ips_region_sweep(ips_segment *segment);

/* How many there are; without the lock, so perhaps of several moments. */
void ips_region_count(const ips_segment *segment, uint64_t *pools, uint64_t *arenas);

/* The region that the block belongs to; 0: the heap's own. */
ips_offset ips_region_of(ips_segment *segment, ips_offset block);
/* What this thread allocates comes from the region (0: from the heap), until it
 * enters another.  What it was before. */
ips_offset ips_region_enter(ips_segment *segment, ips_offset region);

#endif
