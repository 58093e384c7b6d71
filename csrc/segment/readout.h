/* SPDX-License-Identifier: Apache-2.0 */
/* Segments to be looked at only.
 *
 * A file's: what the last flush brought there, in private live memory that nobody
 * else has.  It takes permission to read the file and no more, and writes nothing
 * to it. */
#ifndef IPS_SEGMENT_READOUT_H
#define IPS_SEGMENT_READOUT_H

#include "segment/mapped.h"

/* IPS_ENOENT, IPS_EFORMAT, IPS_ECORRUPT name the file; IPS_EACCESS where it is
 * neither ours nor the superuser's, or others may write to it: values in it may be
 * pickles, which run code when they are read.  Waits while it is being flushed:
 * IPS_ETIMEOUT. */
IPS_MUST_CHECK int ips_readout_open(ips_space *space, const char *path, ips_revive revive,
    int64_t deadline, ips_segment **out);

/* segment.c */

/* One that exists, to be looked at: IPS_EREADONLY for whatever would change it.
 * IPS_EINUSE where this process has it open the other way (and so from the other
 * openings). */
IPS_MUST_CHECK int ips_segment_open_to_read(ips_space *space, const char *name,
    ips_segment **out);
/* Of one that nobody else has: the same from now on. */
void ips_segment_restrict(ips_segment *segment);
bool ips_segment_is_read_only(const ips_segment *segment);

#endif
