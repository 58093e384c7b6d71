/* SPDX-License-Identifier: Apache-2.0 */
/* Quotas: how many bytes of a segment each member may have in use.
 *
 * From the first quota on, blocks say whose they are: the number of a row of the
 * table below, as a byte behind the run's blocks or in the head of a large
 * chunk (segment/heap.h).  So a block is taken off the row of the member that
 * allocated it, whoever frees it.  Blocks of before, blocks in runs of before,
 * cells, and what dead members left are the segment's: row 0, which nobody
 * counts.
 *
 * Byte map of the table (a block of the heap, at IPS_ANCHOR_QUOTAS):
 *
 *   0    seal     8  offset ^ SEAL: a table lies here
 *   8    limit    8  bytes of each member that has no limit of its own
 *   16   rows  6120  255 of these, the first is number 1:
 *
 *          0   owner  8  member; 0: free; GONE: of a dead one, whose blocks are
 *                        the segment's by now
 *          8   limit  8  bytes; 0: the table's
 *          16  bytes  8  of its blocks, their tags included
 *
 * Who writes: the holder of the segment's lock, through the journal, GONE alone
 * plainly.  A block's row is stored plainly before the block is anybody's, and
 * stays where it is as long as the block is allocated or pending.  A survivor
 * undoes the journal and finds each sum as it was.
 *
 * A dead member's row becomes GONE when somebody needs a row, or asks; that is
 * all that hands its bytes to the segment, and no rollback takes it back.  Where no row is free, all blocks of
 * rows that are GONE get row 0, with plain stores that mean nothing new and
 * may be done again, and then these rows are free. */
#ifndef IPS_SEGMENT_QUOTA_H
#define IPS_SEGMENT_QUOTA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/owner.h"
#include "base/status.h"
#include "segment/segment.h"

#define IPS_QUOTA_ROWS 255u
#define IPS_QUOTA_NONE UINT64_MAX /* no limit */
#define IPS_QUOTA_GONE UINT64_MAX /* as an owner */

typedef struct {
    uint64_t owner;
    uint64_t limit;
    uint64_t bytes;
} ips_quota_row_shm;

typedef struct {
    uint64_t seal;
    uint64_t limit;
    ips_quota_row_shm rows[IPS_QUOTA_ROWS];
} ips_quota_shm;

_Static_assert(sizeof(ips_quota_row_shm) == 24, "byte map above");
_Static_assert(sizeof(ips_quota_shm) == 16 + 24 * IPS_QUOTA_ROWS, "byte map above");

/* --- inside a transaction */

/* Limit the member (IPS_NOBODY: each that has no limit of its own); 0: as the
 * others. */
IPS_MUST_CHECK int ips_quota_set(ips_segment *segment, ips_owner member, uint64_t limit);

/* What one looks at. */
typedef struct {
    ips_owner owner;
    uint64_t limit; /* that counts for it */
    uint64_t bytes;
} ips_quota;
/* The living members that have a row; *count of them, 0 without quotas. */
IPS_MUST_CHECK int ips_quota_list(ips_segment *segment, ips_quota out[IPS_QUOTA_ROWS],
    unsigned *count);

/* What takes a little to give much back goes beyond the quota where it must,
 * while it is eased; what it was before. */
bool ips_quota_ease(ips_segment *segment, bool eased);

/* For the heap: may this member have `bytes` more?  *row is what its block says
 * from then on.  IPS_EQUOTA, IPS_EMEMBERS. */
IPS_MUST_CHECK int ips_quota_admit(ips_segment *segment, uint64_t bytes, uint8_t *row);
/* The row's sum; room for one store is reserved. */
void ips_quota_count(ips_segment *segment, uint8_t row, int64_t bytes);

/* --- no transaction needed */

/* Of this process: its limit and its bytes; without the lock, a moment old.
 * Both 0 without quotas. */
void ips_quota_of_mine(const ips_segment *segment, uint64_t *limit, uint64_t *bytes);

/* --- for this room */

static inline bool
ips_quota_is_on(const ips_segment *segment)
{
    return __builtin_expect(ips_anchor_load(segment, IPS_ANCHOR_QUOTAS) != 0, 0);
}
/* The table, or NULL where there is none (or none can be there). */
ips_quota_shm *ips_quota_table(const ips_segment *segment);
/* In a segment that nobody knows yet: its members lived before. */
void ips_quota_orphan(ips_segment *segment);
/* sums[n]: bytes of the blocks that say row n.  What disagrees, or NULL. */
const char *ips_quota_check(const ips_segment *segment, const uint64_t sums[IPS_QUOTA_ROWS + 1]);

#endif
