/* SPDX-License-Identifier: Apache-2.0 */
/* Live memory from an image, whole or not at all: the file has no name before
 * it is complete. */
#ifndef IPS_SEGMENT_REBIRTH_H
#define IPS_SEGMENT_REBIRTH_H

#include "segment/image.h"
#include "segment/mapped.h"

/* With the file's lock in hand; writes its home, unless `name` is NULL: then the
 * memory is nobody else's.  A generation 0 gives an empty
 * segment.  IPS_EEXIST where the name is taken, IPS_ECORRUPT. */
IPS_MUST_CHECK int ips_rebirth(ips_space *space, const char *name, ips_image *image,
    ips_revive revive, ips_segment **out);

#endif
