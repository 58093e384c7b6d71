/* SPDX-License-Identifier: Apache-2.0 */
#include "data/reach.h"

#include "base/atomics.h"
#include "data/inset.h"
#include "data/layouts.h"
#include "data/nest.h"
#include "data/types.h"

/* relaxed: the lock's holder. */
#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

static int
reach_cell(ips_reach *reach, uint32_t type, ips_offset root)
{
    (void)reach;
    (void)type;
    (void)root;
    return IPS_OK; /* nothing but the cell */
}

static const struct {
    uint32_t type;
    int (*reach)(ips_reach *reach, uint32_t type, ips_offset root);
} kinds[] = {
    {IPS_TYPE_ATOMIC_INT, reach_cell},
    {IPS_TYPE_ATOMIC_FLOAT, reach_cell},
    {IPS_TYPE_ATOMIC_BOOL, reach_cell},
    {IPS_TYPE_LOCK, reach_cell},
    {IPS_TYPE_EVENT, reach_cell},
    {IPS_TYPE_RLOCK, reach_cell},
    {IPS_TYPE_SEMAPHORE, reach_cell},
    {IPS_TYPE_BOUNDED_SEMAPHORE, reach_cell},
    {IPS_TYPE_CONDITION, reach_cell},
    {IPS_TYPE_BARRIER, reach_cell},
    {IPS_TYPE_RWLOCK, reach_cell},
    {IPS_TYPE_ARRAY, ips_inset_reach},
    {IPS_TYPE_MAP, ips_map_reach},
    {IPS_TYPE_DEQUE, ips_deque_reach},
    {IPS_TYPE_VECTOR, ips_deque_reach},
    {IPS_TYPE_TYPED_VECTOR, ips_flat_reach},
    {IPS_TYPE_RECORD, ips_record_reach},
    {IPS_TYPE_CELL, ips_flat_reach},
    {IPS_TYPE_STRING, ips_flat_reach},
    {IPS_TYPE_BYTES, ips_flat_reach},
};

int
ips_object_reach(ips_reach *reach, uint32_t type, ips_offset root)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (kinds[i].type == type) {
            return ips_reach_block(reach, root, ips_type_name(type), root)
                ? kinds[i].reach(reach, type, root) : IPS_OK;
        }
    }
    reach->blind = true; /* of a newer version */
    return IPS_OK;
}

int
ips_nest_reach(ips_reach *reach, const void *bytes, size_t size)
{
    ips_reference at;
    return ips_nest_read(bytes, size, &at)
        ? ips_object_reach(reach, (uint32_t)at.type, at.root) : IPS_OK;
}

/* --- the whole */

static int
reach_objects(ips_reach *reach)
{
    uint64_t cursor = 0;
    ips_entry entry;
    int status;
    while ((status = ips_catalogue_next(reach->segment, &cursor, &entry)) == 0) {
        status = ips_object_reach(reach, entry.type, entry.offset);
        if (status < 0) {
            return status;
        }
    }
    return status == IPS_ENOENT ? IPS_OK : status;
}

static void
reach_layouts(ips_reach *reach)
{
    ips_layout layout;
    ips_offset link = ips_anchor_load(reach->segment, IPS_ANCHOR_LAYOUTS);
    while (link != 0 && ips_reach_block(reach, link, "the list of layouts", 0) &&
           ips_layout_open(reach->segment, link, &layout)) {
        link = LOAD(layout.shm->next);
    }
}

/* Arrays that were destroyed while somebody had them open. */
static int
reach_graves(ips_reach *reach)
{
    int status = IPS_OK;
    ips_offset grave = ips_anchor_load(reach->segment, IPS_ANCHOR_ARRAYS);
    while (status == 0 && grave != 0 &&
           ips_reach_block(reach, grave, "the list of destroyed arrays", 0)) {
        const ips_inset_grave_shm *shm = ips_segment_at(reach->segment, grave, sizeof *shm);
        if (shm == NULL) {
            break;
        }
        status = ips_object_reach(reach, IPS_TYPE_ARRAY, LOAD(shm->cell));
        grave = LOAD(shm->next);
    }
    return status;
}

/* Containers that went out of others and are to be given back. */
static int
reach_nested_graves(ips_reach *reach)
{
    int status = IPS_OK;
    ips_offset grave = ips_anchor_load(reach->segment, IPS_ANCHOR_NESTED);
    while (status == 0 && grave != 0) {
        const ips_root_shm *root = ips_segment_at(reach->segment, grave, sizeof *root);
        ips_offset next = 0;
        if (root != NULL && ips_nest_grave_next(reach->segment, grave, &next)) {
            status = ips_object_reach(reach, (uint32_t)LOAD(root->type), grave);
        }
        grave = next;
    }
    return status;
}

int
ips_leaks_check(ips_segment *segment, void (*report)(const char *line, void *context),
    void *context)
{
    ips_reach reach;
    int status = ips_reach_begin(segment, report, context, &reach);
    if (status < 0) {
        return status;
    }
    status = reach_objects(&reach);
    reach_layouts(&reach);
    status = status < 0 ? status : reach_graves(&reach);
    status = status < 0 ? status : reach_nested_graves(&reach);
    int lines = ips_reach_end(&reach);
    return status < 0 ? status : lines;
}
