/* SPDX-License-Identifier: Apache-2.0 */
/* Which blocks of a segment something leads to: what turns "every byte is counted"
 * into "no byte is lost".
 *
 * Whoever keeps blocks marks each of them once, from the anchors, the catalogue
 * and the roots of the objects on; then every allocated block is looked at.  One
 * that nobody has marked is a leak, one marked twice has two owners.  All in one
 * transaction, of a heap whose own check found nothing. */
#ifndef IPS_SEGMENT_REACH_H
#define IPS_SEGMENT_REACH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "segment/segment.h"

typedef struct {
    ips_segment *segment;
    void (*report)(const char *line, void *context);
    void *context;
    int lines;
    bool blind;    /* something is there whose blocks nobody here can name */
    uint8_t *seen; /* a bit for every 16 bytes of the heap */
} ips_reach;

/* Marks what this room keeps: names, pools and arenas, quotas, the path of a file.
 * IPS_ENOMEM; ips_reach_end frees it. */
IPS_MUST_CHECK int ips_reach_begin(ips_segment *segment,
    void (*report)(const char *line, void *context), void *context, ips_reach *out);

/* `owner` at offset `at` has the block (or cell).  True the first time: what is in
 * the block may be followed.  Otherwise it has been reported, and a way that leads
 * in a circle ends. */
bool ips_reach_block(ips_reach *reach, ips_offset block, const char *owner, ips_offset at);

/* Report the blocks that were not marked (nothing where it is blind).  How many
 * lines were reported in all. */
int ips_reach_end(ips_reach *reach);

/* catalogue.c, region.c: their own. */
void ips_catalogue_reach(ips_segment *segment, ips_reach *reach);
void ips_region_reach(ips_segment *segment, ips_reach *reach);

#endif
