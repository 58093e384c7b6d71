/* SPDX-License-Identifier: Apache-2.0 */
/* Chunks of the heap in which the journal of a large transaction goes on; why
 * and in which order, segment/journal.h says. */
#ifndef IPS_SEGMENT_EXTENT_H
#define IPS_SEGMENT_EXTENT_H

#include "segment/chunk.h"

/* Give the journal its extents: once, at opening. */
void ips_extents_provide(ips_segment *segment);
/* After the commit, in journaled steps. */
void ips_extents_give_back(ips_segment *segment);

#endif
