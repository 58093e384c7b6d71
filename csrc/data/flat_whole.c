/* SPDX-License-Identifier: Apache-2.0 */
/* Opening, making, comparing and ending flat rows. */
#include <string.h>

#include "base/checked.h"
#include "data/flat_shape.h"
#include "data/reach.h"
#include "data/report.h"

/* relaxed: a reader validates the row's version, a writer holds the segment's
 * lock. */
#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

/* The event count of a row that has one; false where it should and has none. */
static bool
open_events(ips_flat *flat)
{
    const ips_offset events = LOAD(flat->shm->events);
    if (flat->type != IPS_TYPE_CELL) {
        return true;
    }
    flat->changed = ips_segment_at(flat->segment, events, IPS_STABLE_SIZE);
    return flat->changed != NULL &&
           ips_stable_generation(flat->segment, events, IPS_TYPE_CELL) != 0;
}

int
ips_flat_open(ips_segment *segment, uint32_t type, ips_offset offset, uint64_t generation,
    ips_flat *out)
{
    ips_root_shm *root = ips_root_at(segment, offset, type, sizeof(ips_flat_shm));
    uint64_t format = root == NULL ? 0 : LOAD(((ips_flat_shm *)(void *)root)->format);
    unsigned size = (unsigned)(format & 0xff);
    *out = (ips_flat){segment, (ips_flat_shm *)(void *)root, offset, generation, NULL, type, size,
        (char)(format >> 8 & 0x7f)};
    if (!ips_is_power_of_two(size) || size > 8 || !open_events(out)) {
        return ips_fail(IPS_ECORRUPT, "no %s at offset %llu", ips_type_name(type),
            (unsigned long long)offset);
    }
    return 0;
}

/* --- inside a transaction */

int
ips_flat_compare_exchange(const ips_flat *flat, const ips_snapshot *expected,
    const ips_snapshot *added)
{
    ips_flat_shape now;
    ips_flat_items old;
    int status = ips_flat_alive(flat);
    now = ips_flat_shape_of(flat);
    if (status == 0 && !ips_flat_open_items(flat, &now, &old)) {
        status = ips_flat_corrupt(flat, "its items do not fit it");
    }
    if (status < 0) {
        return status;
    }
    if (now.length != expected->records ||
        memcmp(old.bytes, expected->bytes, now.length * flat->size) != 0) {
        return IPS_ROW_CHANGED;
    }
    return ips_flat_splice(flat, IPS_SPAN_ALL, added);
}

int
ips_flat_create(ips_segment *segment, uint32_t type, unsigned size, char code, ips_offset *out)
{
    void *at;
    ips_offset block, events = 0;
    uint8_t *bytes;
    int status = ips_fresh_block(segment, sizeof(ips_flat_shm), out, &at);
    if (status == 0 && type == IPS_TYPE_CELL) {
        status = ips_stable_alloc(segment, type, &events);
    }
    if (status == 0) {
        status = ips_flat_make_items(segment, size, 0, &block, &bytes);
    }
    if (status < 0) {
        return status;
    }
    ips_flat_shm *shm = at;
    memset(shm, 0, sizeof *shm);
    /* relaxed: nobody else knows the block until it has its name. */
    atomic_store_explicit(&shm->root.type, type, memory_order_relaxed);
    atomic_store_explicit(&shm->items, block, memory_order_relaxed);
    atomic_store_explicit(&shm->events, events, memory_order_relaxed);
    atomic_store_explicit(&shm->format, size | (uint64_t)(uint8_t)code << 8, memory_order_relaxed);
    ips_fresh_ready();
    return 0;
}

int
ips_flat_destroy(const ips_flat *flat)
{
    int status = ips_flat_alive(flat);
    if (status == 0) {
        status = ips_flat_wither(flat);
    }
    if (status == 0) {
        status = ips_root_retire(flat->segment, flat->offset);
    }
    return status < 0 ? status : ips_tx_free(flat->segment, flat->offset);
}

int
ips_flat_wither(const ips_flat *flat)
{
    int status = ips_tx_free(flat->segment, LOAD(flat->shm->items));
    return status < 0 || flat->changed == NULL
        ? status : ips_stable_free(flat->segment, LOAD(flat->shm->events));
}

int
ips_flat_check(const ips_flat *flat, void (*line)(const char *line, void *context), void *context)
{
    if (!ips_root_lives(&flat->shm->root, flat->generation)) {
        return ips_root_gone(flat->type);
    }
    ips_report report = {line, context, ips_type_name(flat->type), flat->offset, 0};
    const ips_flat_shape now = ips_flat_shape_of(flat);
    ips_flat_items at;
    if (!ips_flat_open_items(flat, &now, &at)) {
        ips_report_problem(&report, "its items do not fit it");
    } else if (ips_block_size(flat->segment, now.items) <
               sizeof(ips_flat_items_shm) + at.capacity * flat->size) {
        ips_report_problem(&report, "its capacity is larger than its block");
    }
    return report.problems;
}

int
ips_flat_reach(ips_reach *reach, uint32_t type, ips_offset root)
{
    const ips_flat_shm *shm = (const ips_flat_shm *)(void *)ips_root_at(reach->segment, root, type,
        sizeof *shm);
    if (shm != NULL) {
        (void)ips_reach_block(reach, LOAD(shm->items), ips_type_name(type), root);
    }
    if (shm != NULL && LOAD(shm->events) != 0) {
        (void)ips_reach_block(reach, LOAD(shm->events), ips_type_name(type), root);
    }
    return IPS_OK;
}
