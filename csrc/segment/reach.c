/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/reach.h"

#include <stdio.h>
#include <stdlib.h>

#include "segment/heap.h"
#include "segment/stable.h"

#define MOST_LINES 100 /* of a report: a ruin has one for every block */
#define MOST_LEAKS 20  /* that are named one by one */

static void
complain(ips_reach *reach, const char *line)
{
    if (reach->lines++ < MOST_LINES) {
        reach->report(line, reach->context);
    }
}

/* A single block that the segment keeps. */
static void
mark_anchor(ips_reach *reach, enum ips_anchor anchor, const char *owner)
{
    ips_offset block = ips_anchor_load(reach->segment, anchor);
    if (block != 0) {
        (void)ips_reach_block(reach, block, owner, 0);
    }
}

int
ips_reach_begin(ips_segment *segment, void (*report)(const char *line, void *context),
                void *context, ips_reach *out)
{
    *out = (ips_reach){.segment = segment, .report = report, .context = context};
    out->seen = calloc((segment->size - segment->heap_start) / 128 + 1, 1);
    if (out->seen == NULL) {
        return ips_fail(IPS_ENOMEM, "looking for leaks in '%s'", ips_segment_title(segment));
    }
    ips_catalogue_reach(segment, out);
    ips_region_reach(segment, out);
    mark_anchor(out, IPS_ANCHOR_PATH, "the segment's path");
    mark_anchor(out, IPS_ANCHOR_QUOTAS, "the segment's quotas");
    return IPS_OK;
}

static uint64_t
bit_of(const ips_reach *reach, uint64_t offset)
{
    return (offset - reach->segment->heap_start) / 16;
}

static bool
is_seen(const ips_reach *reach, uint64_t offset)
{
    return (reach->seen[bit_of(reach, offset) / 8] >> bit_of(reach, offset) % 8 & 1) != 0;
}

bool
ips_reach_block(ips_reach *reach, ips_offset offset, const char *owner, ips_offset at)
{
    ips_block block;
    char line[200];
    if (!ips_block_at(reach->segment, offset, &block) ||
        ips_tag_status(block.seen) != IPS_TAG_ALLOCATED) {
        (void)snprintf(line, sizeof line, "heap: %.60s at offset %llu leads to %llu, where no "
                       "block is", owner, (unsigned long long)at, (unsigned long long)offset);
        complain(reach, line);
        return false;
    }
    if (is_seen(reach, offset)) {
        (void)snprintf(line, sizeof line, "heap: the block at offset %llu has two owners; one is "
                       "%.60s at offset %llu", (unsigned long long)offset, owner,
                       (unsigned long long)at);
        complain(reach, line);
        return false;
    }
    reach->seen[bit_of(reach, offset) / 8] |= (uint8_t)(1 << bit_of(reach, offset) % 8);
    return true;
}

/* --- what nobody has marked ---------------------------------------------- */

typedef struct {
    uint64_t blocks, bytes;
} loss;

static void
look_at(ips_reach *reach, uint64_t tag, uint64_t offset, uint64_t bytes, loss *lost)
{
    char line[128];
    if (ips_tag_status(tag) != IPS_TAG_ALLOCATED || is_seen(reach, offset)) {
        return;
    }
    lost->bytes += bytes;
    if (lost->blocks++ < MOST_LEAKS) {
        (void)snprintf(line, sizeof line, "heap: a leak: nothing leads to the %llu bytes at "
                       "offset %llu", (unsigned long long)bytes, (unsigned long long)offset);
        complain(reach, line);
    }
}

/* Blocks or cells side by side: `count` tags, the first at `tag`. */
static void
look_at_row(ips_reach *reach, uint64_t tag, uint64_t count, uint64_t stride, loss *lost)
{
    for (uint64_t i = 0; i < count; i++, tag += stride) {
        uint64_t seen = ips_peek((const uint64_t *)(reach->segment->base + tag));
        look_at(reach, seen, tag + 8, stride, lost);
    }
}

static void
look_into(ips_reach *reach, const ips_chunk *chunk, loss *lost)
{
    ips_run run;
    if (chunk->state == IPS_CHUNK_BIG) {
        look_at(reach, ips_peek(&chunk->shm->previous), chunk->offset + IPS_BIG_PAYLOAD,
                chunk->size, lost);
    } else if (chunk->state == IPS_CHUNK_RUN &&
               ips_run_at(reach->segment, chunk->offset, &run)) {
        look_at_row(reach, chunk->offset + IPS_RUN_BLOCKS, run.given, run.total, lost);
    } else if (chunk->state == IPS_CHUNK_STABLE) {
        uint64_t stride = ips_stable_stride(ips_peek(&chunk->shm->next));
        look_at_row(reach, chunk->offset + IPS_CHUNK_UNIT + offsetof(ips_stable_shm, tag),
                    (chunk->size - IPS_CHUNK_UNIT) / stride, stride, lost);
    }
}

int
ips_reach_end(ips_reach *reach)
{
    ips_chunk chunk;
    loss lost = {0, 0};
    uint64_t offset = reach->segment->heap_start;
    while (!reach->blind && ips_chunk_at(reach->segment, offset, &chunk)) {
        look_into(reach, &chunk, &lost);
        offset += chunk.size;
    }
    if (lost.blocks > MOST_LEAKS) {
        char line[128];
        (void)snprintf(line, sizeof line, "heap: %llu leaks of %llu bytes in all",
                       (unsigned long long)lost.blocks, (unsigned long long)lost.bytes);
        complain(reach, line);
    }
    free(reach->seen);
    reach->seen = NULL;
    return reach->lines;
}
