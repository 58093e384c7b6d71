/* SPDX-License-Identifier: Apache-2.0 */
/* The invariants of containers in containers, as code. */
#include "data/deque.h"
#include "data/flat.h"
#include "data/map.h"
#include "data/nest.h"
#include "data/report.h"

typedef void (*reporter)(const char *line, void *context);

static int
check_map(ips_segment *segment, const ips_reference *at, reporter report, void *context)
{
    ips_map map;
    int status = ips_map_open(segment, at->root, at->generation, &map);
    return status < 0 ? status : ips_map_check(&map, report, context);
}

static int
check_deque(ips_segment *segment, const ips_reference *at, reporter report, void *context)
{
    ips_deque deque;
    int status = ips_deque_open(segment, (uint32_t)at->type, at->root, at->generation, &deque);
    return status < 0 ? status : ips_deque_check(&deque, report, context);
}

static int
check_flat(ips_segment *segment, const ips_reference *at, reporter report, void *context)
{
    ips_flat flat;
    int status = ips_flat_open(segment, (uint32_t)at->type, at->root, at->generation, &flat);
    return status < 0 ? status : ips_flat_check(&flat, report, context);
}

/* Its own invariants alone; what it refers to lives, where there is no problem. */
static int
check_one(ips_segment *segment, const ips_reference *at, reporter report, void *context)
{
    switch (at->type) {
    case IPS_TYPE_MAP:
        return check_map(segment, at, report, context);
    case IPS_TYPE_DEQUE:
    case IPS_TYPE_VECTOR:
        return check_deque(segment, at, report, context);
    case IPS_TYPE_TYPED_VECTOR:
    case IPS_TYPE_STRING:
    case IPS_TYPE_BYTES:
    case IPS_TYPE_CELL:
        return check_flat(segment, at, report, context);
    default:
        return 0;
    }
}

bool
ips_nest_is_sound(ips_segment *segment, uint32_t type, ips_offset root, const void *bytes,
    size_t size)
{
    ips_reference at;
    return ips_nest_holds(segment, type, root) && ips_nest_read(bytes, size, &at) &&
           ips_nest_look(segment, &at, ips_nest_depth(segment, type, root), NULL) == 0;
}

/* The values of one that can hold others. */
static int
list(ips_segment *segment, const ips_reference *at, ips_snapshot *values)
{
    ips_map map;
    ips_deque deque;
    int status = at->type == IPS_TYPE_MAP
        ? ips_map_open(segment, at->root, at->generation, &map)
        : ips_deque_open(segment, (uint32_t)at->type, at->root, at->generation, &deque);
    if (status < 0) {
        return status;
    }
    return at->type == IPS_TYPE_MAP ? ips_map_snapshot_locked(&map, IPS_MAP_VALUES, values)
                                    : ips_deque_snapshot_locked(&deque, IPS_SPAN_ALL, values);
}

/* With all that stands in it: every level is one deeper, as ips_nest_look sees
 * to, so this ends. */
static int
check_tree(ips_segment *segment, const ips_reference *at, uint64_t depth, ips_report *report)
{
    ips_snapshot values = {0};
    ips_value value;
    size_t read = 0;
    int problems = check_one(segment, at, report->line, report->context);
    if (problems != 0 || !ips_nest_holds(segment, (uint32_t)at->type, at->root)) {
        return problems;
    }
    int status = list(segment, at, &values);
    while (status == 0 && problems >= 0 && ips_snapshot_next(&values, &read, &value)) {
        ips_reference inner;
        uint64_t deeper;
        if (value.kind == IPS_VALUE_REFERENCE && ips_nest_read(value.bytes, value.size, &inner)) {
            status = ips_nest_look(segment, &inner, depth, &deeper);
            int found = status < 0 ? status : check_tree(segment, &inner, deeper, report);
            problems = found < 0 ? found : problems + found;
        }
    }
    ips_snapshot_clear(&values);
    return status < 0 ? status : problems;
}

int
ips_nest_check(ips_segment *segment, const ips_reference *at, reporter line, void *context)
{
    ips_report report = {line, context, "nest", at->root, 0};
    int problems = check_tree(segment, at, ips_nest_depth(segment, (uint32_t)at->type, at->root),
        &report);
    if (problems < 0 && problems != IPS_ENOMEM) {
        ips_report_problem(&report, "%s", ips_last_note()->detail);
        return report.problems;
    }
    return problems;
}

int
ips_nest_check_graves(ips_segment *segment, reporter line, void *context)
{
    ips_offset first = ips_anchor_load(segment, IPS_ANCHOR_NESTED);
    ips_report report = {line, context, "the containers that are gone", first, 0};
    /* Each is a block of its own: more than fit is a circle. */
    const uint64_t most = ips_segment_object(segment)->max_size / 64;
    for (uint64_t count = 0; first != 0; count++) {
        ips_offset next;
        if (count > most || !ips_nest_grave_next(segment, first, &next)) {
            ips_report_problem(&report, "the list of them leads astray at %llu",
                (unsigned long long)first);
            break;
        }
        first = next;
    }
    return report.problems;
}
