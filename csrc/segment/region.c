/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/region.h"

#include <stddef.h>

#include "segment/heap.h"
#include "segment/reach.h"

_Static_assert(sizeof(ips_region_shm) == IPS_REGION_BYTES, "byte map of segment/region.h");

#define STORES 16 /* more than a step here makes, chunks aside */
#define RUN_BLOCKS_MOST UINT64_C(0xfff0) /* a block's index has 16 bits */

static void
fill_in(const ips_region_shm *shm, ips_region *out)
{
    out->generation = shm->generation;
    out->slot = shm->slot;
    out->slots = shm->slots;
    out->live = shm->live;
    out->bytes = shm->bytes;
}

/* The memory of a new pool: runs of its class until it has all its slots. */
static int
fill_pool(ips_segment *segment, ips_offset offset, uint64_t slot, uint64_t slots)
{
    int status = 0;
    while (status == 0 && slots > 0) {
        uint64_t count = slots < RUN_BLOCKS_MOST ? slots : RUN_BLOCKS_MOST;
        status = ips_heap_add_run(segment, offset, slot, count);
        slots -= count;
    }
    return status;
}

int
ips_region_create(ips_segment *segment, uint64_t slot, uint64_t slots, ips_region *out)
{
    if (slot > IPS_REGION_SLOT_MOST) {
        return ips_fail(IPS_ETOOBIG, "a pool's objects have at most %u bytes; take an arena",
                        IPS_REGION_SLOT_MOST);
    }
    if (slots > segment->max_size / 32) {
        return ips_fail(IPS_ESEGFULL, "'%s' can never hold %llu blocks",
                        ips_segment_title(segment), (unsigned long long)slots);
    }
    int status = ips_tx_alloc(segment, sizeof(ips_region_shm), &out->offset);
    ips_region_shm *shm = status < 0 ? NULL
        : ips_segment_at(segment, out->offset, sizeof(ips_region_shm));
    if (shm == NULL) {
        return status < 0 ? status : ips_heap_damaged(segment, "a new block", out->offset);
    }
    *shm = (ips_region_shm){.seal = out->offset ^ IPS_REGION_SEAL,
        .generation = ips_generation_of(ips_serial_next(segment)),
        .next = ips_anchor_load(segment, IPS_ANCHOR_REGIONS), .slot = slot, .slots = slots};
    status = ips_tx_anchor(segment, IPS_ANCHOR_REGIONS, out->offset);
    if (status == 0 && slots != 0) {
        status = fill_pool(segment, out->offset, slot, slots);
    }
    fill_in(shm, out);
    return status;
}

int
ips_region_look(ips_segment *segment, ips_region *region)
{
    /* Only what the list leads to: a creation that was undone leaves its bytes. */
    const ips_region_shm *shm = NULL;
    uint64_t link = ips_anchor_load(segment, IPS_ANCHOR_REGIONS);
    uint64_t steps = segment->size / IPS_CHUNK_UNIT;
    for (; link != 0 && steps > 0; steps--) {
        shm = ips_region_at(segment, link);
        if (shm == NULL) {
            return ips_heap_damaged(segment, "the list of pools and arenas", link);
        }
        if (link == region->offset) {
            break;
        }
        link = shm->next;
    }
    if (link != region->offset || shm->generation != region->generation || shm->closing != 0) {
        return ips_fail(IPS_EGONE, "this %s was destroyed", region->slots != 0 ? "pool" : "arena");
    }
    fill_in(shm, region);
    return IPS_OK;
}

/* The link to a region, checked. */
static int
region_behind(const ips_segment *segment, uint64_t link, ips_region_shm **out)
{
    *out = ips_region_at(segment, link);
    return *out != NULL ? IPS_OK
        : ips_heap_damaged(segment, "the list of pools and arenas", link);
}

int
ips_region_next(ips_segment *segment, ips_offset offset, ips_region *out)
{
    ips_region_shm *shm;
    uint64_t link = ips_anchor_load(segment, IPS_ANCHOR_REGIONS);
    if (offset != 0) {
        int status = region_behind(segment, offset, &shm);
        if (status < 0) {
            return status;
        }
        link = shm->next;
    }
    for (uint64_t steps = segment->size / IPS_CHUNK_UNIT; link != 0 && steps > 0; steps--) {
        int status = region_behind(segment, link, &shm);
        if (status < 0) {
            return status;
        }
        if (shm->closing == 0) {
            out->offset = link;
            fill_in(shm, out);
            return IPS_OK;
        }
        link = shm->next;
    }
    return IPS_ENOENT;
}

int
ips_region_close(ips_segment *segment, const ips_region *region)
{
    return ips_tx_store(segment, region->offset + offsetof(ips_region_shm, closing), 1);
}

/* Its runs, all of them empty, and its block; `link` is the word that led to
 * it. */
static int
give_back(ips_segment *segment, ips_offset offset, ips_region_shm *shm, uint64_t *link)
{
    for (unsigned class = 0; class < IPS_CLASSES; class++) {
        uint64_t steps = segment->size / IPS_CHUNK_UNIT;
        for (; shm->runs[class] != 0 && steps > 0; steps--) {
            int status = ips_heap_drop_run(segment, offset, class);
            if (status < 0) {
                return status;
            }
        }
    }
    int status = ips_journal_reserve(&segment->journal, STORES);
    if (status < 0) {
        return status;
    }
    ips_set(segment, link, shm->next);
    ips_set(segment, &shm->seal, 0);
    return ips_tx_free(segment, offset);
}

int
ips_region_sweep(ips_segment *segment)
{
    uint64_t *link = &ips_heap_of(segment)->anchors[IPS_ANCHOR_REGIONS];
    uint64_t steps = segment->size / IPS_CHUNK_UNIT;
    int status = 0;
    for (; *link != 0 && steps > 0 && status == 0; steps--) {
        ips_region_shm *shm;
        status = region_behind(segment, *link, &shm);
        if (status == 0 && shm->closing != 0 && shm->live == 0) {
            status = give_back(segment, *link, shm, link);
        } else if (status == 0) {
            link = &shm->next;
        }
    }
    return status;
}

void
ips_region_count(const ips_segment *segment, uint64_t *pools, uint64_t *arenas)
{
    uint64_t link = ips_anchor_load(segment, IPS_ANCHOR_REGIONS);
    *pools = *arenas = 0;
    for (uint64_t steps = segment->max_size / IPS_CHUNK_UNIT; link != 0 && steps > 0; steps--) {
        /* Under a writer's hands the link may lead beyond what has memory. */
        uint64_t size = ips_peek(&ips_heap_of(segment)->size);
        const ips_region_shm *region = size > segment->max_size ||
                                       !ips_within(link, sizeof(ips_region_shm), size)
            ? NULL : ips_region_at(segment, link);
        if (region == NULL) {
            return;
        }
        uint64_t *number = ips_peek(&region->slots) != 0 ? pools : arenas;
        *number += ips_peek(&region->closing) == 0;
        link = ips_peek(&region->next);
    }
}

ips_offset
ips_region_of(ips_segment *segment, ips_offset offset)
{
    ips_block block;
    if (ips_anchor_load(segment, IPS_ANCHOR_REGIONS) == 0 ||
        !ips_block_at(segment, offset, &block)) {
        return 0;
    }
    return ips_block_owner(&block);
}

ips_offset
ips_region_enter(ips_segment *segment, ips_offset region)
{
    ips_offset before = segment->region;
    segment->region = region;
    return before;
}

void
ips_region_reach(ips_segment *segment, ips_reach *reach)
{
    uint64_t link = ips_anchor_load(segment, IPS_ANCHOR_REGIONS);
    uint64_t from = 0;
    while (link != 0 && ips_reach_block(reach, link, "the list of pools and arenas", from)) {
        const ips_region_shm *region = ips_region_at(segment, link);
        from = link;
        link = region == NULL ? 0 : region->next;
    }
}
