/* SPDX-License-Identifier: Apache-2.0 */
/* Views: what several objects of a segment were at one moment, read without
 * the lock while others go on writing.
 *
 * Each object has a version, and a reader of one goes by that.  For several,
 * the segment counts its commits.  The count is raised after a transaction has
 * happened and before any version that it made odd is even again, so whoever
 * reads something of a later commit finds a larger count afterwards.  A view
 * remembers the count; while it is open, each lock-free look of its thread
 * (ips_read_ok) is good only if the count is still that, and so is each
 * transaction that its thread begins in order to look under the lock: else it
 * is IPS_ECONFLICT.  So nothing that was read in a view is younger than its
 * beginning, and no code ever sees a mixture.
 *
 * A view is a thread's, costs nothing shared, and keeps nobody waiting; so it
 * may have to be begun again.  A change of one word (ips_single_begin) counts
 * as a commit before it happens.  Undone transactions do not count: nobody
 * saw anything of them.  A survivor that finishes a dead one's commit counts
 * it again.  Words that change without the lock (numbers, locks, the items of
 * an array) are no part of this. */
#ifndef IPS_SEGMENT_VIEW_H
#define IPS_SEGMENT_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "segment/segment.h"

/* Open one for this thread, in which nothing waits beyond `deadline` (then:
 * IPS_EAGAIN).  False where this thread has one already, is inside a
 * transaction, or too many threads of this process have one: then begin a
 * transaction instead. */
bool ips_view_begin(ips_segment *segment, int64_t deadline, uint32_t *number);
/* Any thread may end it. */
void ips_view_end(ips_segment *segment, uint32_t number);
/* Is this thread inside one, and that one? */
bool ips_view_is_open(ips_segment *segment);
bool ips_view_is_mine(const ips_segment *segment, uint32_t number);

/* IPS_ECONFLICT, noted. */
int ips_view_conflict(const ips_segment *segment);

#endif
