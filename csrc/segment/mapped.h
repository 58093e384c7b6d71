/* SPDX-License-Identifier: Apache-2.0 */
/* Segments that outlive the machine's power.
 *
 * While it is open, such a segment is one like any other: live memory, a file
 * of the namespace.  Beside it there is a file wherever the user wants it,
 * which holds an image (segment/image.h): the state at the last flush, whole.
 * Killed members lose nothing, since the live memory stays; after a power cut
 * the next opener makes live memory from the image.
 *
 * Who is whose: the home in the image names the live file; an anchor of the
 * segment (IPS_ANCHOR_PATH) leads to a block that names the image:
 *
 *   0   size     8  bytes of the path
 *   8   path        absolute, not NUL-terminated
 *
 * Order, under the image's lock: the live file is filled, without a name; the
 * home is written; the live file gets its name.  Killed between: a home that
 * leads nowhere, as after a reboot, and the next opener begins anew.  The path
 * is stored in a transaction, by whoever opens it and finds another.
 *
 * Locks are taken in this order: the image's (os/disk.h), the segment's. */
#ifndef IPS_SEGMENT_MAPPED_H
#define IPS_SEGMENT_MAPPED_H

#include <stdbool.h>
#include <stdint.h>

#include "segment/segment.h"

#define IPS_PATH_SIZE 3584u /* the longest path, with its NUL */

/* A cell of a segment that was read from an image: none of the members that
 * its words name is a member here.  `body` is NULL where the type has none. */
typedef void (*ips_revive)(uint32_t type, _Atomic uint64_t *payload, uint8_t *body);

typedef struct {
    const char *path; /* absolute */
    const char *name; /* of the live memory; NULL: one that follows from the file */
    ips_open_mode mode; /* becomes OPEN_ONLY once the file is made: for who tries again */
    uint64_t size, max_size; /* of a new one */
    ips_revive revive;
} ips_mapped_spec;

/* IPS_EMISMATCH, IPS_EFORMAT, IPS_ECORRUPT, IPS_EACCESS, IPS_EINUSE name the
 * file.  Waits for whoever is opening or flushing it: IPS_ETIMEOUT. */
IPS_MUST_CHECK int ips_mapped_open(ips_space *space, ips_mapped_spec *spec,
    int64_t deadline, ips_segment **out, bool *created);

/* Bring the state of now to the disk; *written: bytes, 0 where the file has it
 * already, or where it was looked at less than `max_age` ns ago.  IPS_ETX
 * inside a transaction; IPS_EMISMATCH where the segment has no file; IPS_EGONE
 * where the file is another's now. */
IPS_MUST_CHECK int ips_mapped_flush(ips_segment *segment, int64_t deadline, int64_t max_age,
    uint64_t *written);
/* The same into a new file, of any segment. */
IPS_MUST_CHECK int ips_mapped_snapshot(ips_segment *segment, const char *path, int64_t deadline,
    uint64_t *written);
/* Where its file is; "" where it has none. */
IPS_MUST_CHECK int ips_mapped_path(ips_segment *segment, int64_t deadline,
    char out[IPS_PATH_SIZE]);
/* The file and the live memory; IPS_EINUSE while members have it open. */
IPS_MUST_CHECK int ips_mapped_remove(ips_space *space, const char *path, int64_t deadline);

#endif
