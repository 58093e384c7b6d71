/* SPDX-License-Identifier: Apache-2.0 */
/* Which blocks the objects of a segment have: the other half of
 * segment/reach.h. */
#ifndef IPS_DATA_REACH_H
#define IPS_DATA_REACH_H

#include "base/status.h"
#include "segment/reach.h"
#include "segment/segment.h"

/* Mark all that the object of `type` with this root has, the root itself too. */
IPS_MUST_CHECK int ips_object_reach(ips_reach *reach, uint32_t type, ips_offset root);

/* Without the root.  What cannot be followed is left alone: the object's own check
 * names it, and here its blocks are leaks. */
IPS_MUST_CHECK int ips_map_reach(ips_reach *reach, uint32_t type, ips_offset root);
IPS_MUST_CHECK int ips_deque_reach(ips_reach *reach, uint32_t type, ips_offset root);
IPS_MUST_CHECK int ips_flat_reach(ips_reach *reach, uint32_t type, ips_offset root);
IPS_MUST_CHECK int ips_record_reach(ips_reach *reach, uint32_t type, ips_offset root);
IPS_MUST_CHECK int ips_inset_reach(ips_reach *reach, uint32_t type, ips_offset root);

/* The container that a value with these bytes refers to, with all that it has. */
IPS_MUST_CHECK int ips_nest_reach(ips_reach *reach, const void *bytes, size_t size);

/* Inside a transaction, of a segment whose own check found nothing: one line for
 * each block that nobody has (a leak) or that two have.  The number of lines, or
 * an error. */
IPS_MUST_CHECK int ips_leaks_check(ips_segment *segment,
    void (*report)(const char *line, void *context), void *context);

#endif
