/* SPDX-License-Identifier: Apache-2.0 */
#include "data/layouts.h"

#include <stdlib.h>
#include <string.h>

#include "base/atomics.h"
#include "base/checked.h"
#include "data/record.h"
#include "data/report.h"
#include "data/types.h"
#include "segment/region.h"

/* relaxed: the lock's holder, or a reader who validates a record's version. */
#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

#define MOST 4096u /* layouts of one segment: bounds every walk */

static int
corrupt(ips_offset offset, const char *what)
{
    return ips_fail(IPS_ECORRUPT, "the layout at offset %llu: %s", (unsigned long long)offset,
        what);
}

bool
ips_layout_open(ips_segment *segment, ips_offset offset, ips_layout *out)
{
    if (offset == 0 || offset % 16 != 0) {
        return false;
    }
    out->shm = ips_segment_at(segment, offset, sizeof(ips_layout_shm));
    if (out->shm == NULL) {
        return false;
    }
    out->offset = offset;
    out->hash = LOAD(out->shm->hash);
    out->size = LOAD(out->shm->size);
    return out->size <= IPS_SCHEMA_SIZE_MAX && out->size % 8 == 0 &&
           ips_segment_at(segment, offset, sizeof(ips_layout_shm) + out->size) != NULL;
}

uint8_t *
ips_layout_copy(const ips_layout *layout)
{
    uint8_t *bytes = malloc(layout->size == 0 ? 8 : layout->size);
    if (bytes == NULL) {
        (void)ips_fail(IPS_ENOMEM, "a record's layout");
        return NULL;
    }
    ips_copy_racing(bytes, layout->shm->bytes, layout->size);
    return bytes;
}

/* The next one after what *link holds; 1, 0 at the end, or an error. */
static int
step(ips_segment *segment, uint64_t link, unsigned steps, ips_layout *out)
{
    if (link == 0) {
        return 0;
    }
    return steps < MOST && ips_layout_open(segment, link, out)
        ? 1 : corrupt(link, "the list of layouts leads astray");
}

static bool
is_it(const ips_layout *layout, const ips_schema *schema)
{
    return layout->hash == schema->hash && layout->size == schema->head.size &&
           memcmp(layout->shm->bytes, schema->bytes, layout->size) == 0;
}

static int
make(ips_segment *segment, const ips_schema *schema, ips_offset *out)
{
    void *at;
    const size_t size = schema->head.size;
    /* Others will share it: it outlives the pool or arena of the first. */
    const ips_offset region = ips_region_enter(segment, 0);
    int status = ips_fresh_block(segment, sizeof(ips_layout_shm) + size, out, &at);
    (void)ips_region_enter(segment, region);
    if (status < 0) {
        return status;
    }
    ips_layout_shm *shm = at;
    /* relaxed: nobody else knows the block until ips_fresh_ready. */
    atomic_store_explicit(&shm->next, ips_anchor_load(segment, IPS_ANCHOR_LAYOUTS),
        memory_order_relaxed);
    atomic_store_explicit(&shm->hash, schema->hash, memory_order_relaxed);
    atomic_store_explicit(&shm->uses, 1, memory_order_relaxed);
    atomic_store_explicit(&shm->size, size, memory_order_relaxed);
    memcpy(shm->bytes, schema->bytes, size);
    ips_fresh_ready();
    return ips_tx_anchor(segment, IPS_ANCHOR_LAYOUTS, *out);
}

int
ips_layout_take(ips_segment *segment, const ips_schema *schema, ips_offset *out)
{
    ips_layout layout;
    uint64_t link = ips_anchor_load(segment, IPS_ANCHOR_LAYOUTS);
    int found;
    for (unsigned steps = 0; (found = step(segment, link, steps, &layout)) == 1; steps++) {
        if (is_it(&layout, schema)) {
            *out = link;
            return ips_tx_store(segment, link + offsetof(ips_layout_shm, uses),
                LOAD(layout.shm->uses) + 1);
        }
        link = LOAD(layout.shm->next);
    }
    return found < 0 ? found : make(segment, schema, out);
}

static int
unlink_from(ips_segment *segment, ips_offset before, uint64_t next)
{
    return before == 0 ? ips_tx_anchor(segment, IPS_ANCHOR_LAYOUTS, next)
                       : ips_tx_store(segment, before + offsetof(ips_layout_shm, next), next);
}

int
ips_layout_drop(ips_segment *segment, ips_offset offset)
{
    ips_layout layout;
    ips_offset before = 0;
    uint64_t link = ips_anchor_load(segment, IPS_ANCHOR_LAYOUTS);
    int found;
    for (unsigned steps = 0; (found = step(segment, link, steps, &layout)) == 1; steps++) {
        if (link == offset) {
            break;
        }
        before = link;
        link = LOAD(layout.shm->next);
    }
    if (found < 1) {
        return found < 0 ? found : corrupt(offset, "it is not in the list of layouts");
    }
    const uint64_t uses = LOAD(layout.shm->uses);
    if (uses > 1) {
        return ips_tx_store(segment, offset + offsetof(ips_layout_shm, uses), uses - 1);
    }
    int status = unlink_from(segment, before, LOAD(layout.shm->next));
    return status < 0 ? status : ips_tx_free(segment, offset);
}

int
ips_layouts_list(ips_segment *segment, ips_snapshot *out)
{
    ips_layout layout;
    uint64_t link = ips_anchor_load(segment, IPS_ANCHOR_LAYOUTS);
    int found;
    for (unsigned steps = 0; (found = step(segment, link, steps, &layout)) == 1; steps++) {
        if (!ips_snapshot_is_sane(out, segment)) {
            return corrupt(link, "the list of layouts has no end");
        }
        int status = ips_snapshot_add(out, layout.shm->bytes, layout.size, 0);
        if (status < 0) {
            return status;
        }
        link = LOAD(layout.shm->next);
    }
    return found;
}

/* --- checking */

/* How many records have it. */
static int
count_uses(ips_segment *segment, ips_offset offset, uint64_t *uses)
{
    uint64_t cursor = 0;
    ips_entry entry;
    int status;
    *uses = 0;
    while ((status = ips_catalogue_next(segment, &cursor, &entry)) == 0) {
        ips_root_shm *root = entry.type != IPS_TYPE_RECORD ? NULL
            : ips_root_at(segment, entry.offset, IPS_TYPE_RECORD, sizeof(ips_record_shm));
        *uses += root != NULL && LOAD(((ips_record_shm *)(void *)root)->layout) == offset;
    }
    return status == IPS_ENOENT ? 0 : status;
}

static int
check_one(ips_segment *segment, const ips_layout *layout, ips_report *report)
{
    uint64_t uses;
    int status = count_uses(segment, layout->offset, &uses);
    uint8_t *bytes = status < 0 ? NULL : ips_layout_copy(layout);
    if (bytes == NULL) {
        return status < 0 ? status : IPS_ENOMEM;
    }
    ips_schema schema;
    report->offset = layout->offset;
    if (ips_schema_parse(bytes, layout->size, &schema) < 0) {
        ips_report_problem(report, "%s", ips_last_note()->detail);
    } else if (schema.hash != layout->hash) {
        ips_report_problem(report, "its bytes are not those of its hash");
    }
    if (ips_block_size(segment, layout->offset) < sizeof(ips_layout_shm) + layout->size) {
        ips_report_problem(report, "it is larger than its block");
    }
    if (LOAD(layout->shm->uses) != uses) {
        ips_report_problem(report, "%llu records have it, not %llu", (unsigned long long)uses,
            (unsigned long long)LOAD(layout->shm->uses));
    }
    free(bytes);
    return 0;
}

int
ips_layouts_check(ips_segment *segment, void (*line)(const char *line, void *context),
    void *context)
{
    ips_report report = {line, context, "layout", 0, 0};
    ips_layout layout;
    uint64_t link = ips_anchor_load(segment, IPS_ANCHOR_LAYOUTS);
    int found;
    for (unsigned steps = 0; (found = step(segment, link, steps, &layout)) == 1; steps++) {
        int status = check_one(segment, &layout, &report);
        if (status < 0) {
            return status;
        }
        link = LOAD(layout.shm->next);
    }
    if (found < 0) {
        ips_report_problem(&report, "%s", ips_last_note()->detail);
    }
    return report.problems;
}
