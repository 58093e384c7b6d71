/* SPDX-License-Identifier: Apache-2.0 */
/* What of a segment differs from an image, copied in one consistent state.
 *
 * The segment's lock is held while its memory is read once, some tenths of
 * a second for each GiB in use, and nothing is written to a disk meanwhile.  Memory inside
 * free chunks is not read, nor is the journal: both are zeros in an image.  So
 * is all that is only the living members' business (the lock, the journal's
 * mark): an image has no open transaction and no holder.
 *
 * Words that change without the lock are copied as they are at some instant
 * each: one word is never torn, two of them may be of different instants. */
#ifndef IPS_SEGMENT_SURVEY_H
#define IPS_SEGMENT_SURVEY_H

#include "segment/handle.h"
#include "segment/image.h"

typedef struct {
    ips_image_changes changes;
    /* private */
    ips_segment *segment;
    const ips_image *image; /* climbed */
    ips_image_change *list;
    uint8_t *copies;
    uint64_t copied;
    uint64_t room; /* pages that list and copies have room for */
} ips_survey;

/* IPS_ETIMEOUT, IPS_EINTR, IPS_ECORRUPT where the heap is damaged.  The caller
 * has no transaction open.  Either way ips_survey_end afterwards. */
IPS_MUST_CHECK int ips_survey_take(ips_segment *segment, const ips_image *image,
    int64_t deadline, ips_survey *out);
void ips_survey_end(ips_survey *survey);

#endif
