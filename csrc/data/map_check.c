/* SPDX-License-Identifier: Apache-2.0 */
/* The invariants of a map, as code. */
#include <string.h>

#include "base/checked.h"
#include "base/hash.h"
#include "data/map.h"
#include "data/nest.h"
#include "data/place.h"
#include "data/reach.h"
#include "data/report.h"

/* relaxed: the caller holds the segment's lock. */
#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

#define ULL(value) ((unsigned long long)(value))

static void
check_item(const ips_map *map, const ips_item *item, ips_report *report)
{
    const ips_item_shm *shm = item->shm;
    uint64_t size = sizeof(ips_item_shm) + item->room + ips_align_up(item->key_size, 8) +
                    ips_align_up(item->spelling_size, 8);
    if (ips_block_size(map->segment, item->offset) < size) {
        ips_report_problem(report, "item %llu is larger than its block", ULL(item->offset));
    }
    if (ips_hash(shm->bytes + item->room, item->key_size) != LOAD(shm->hash)) {
        ips_report_problem(report, "item %llu: the hash is not its key's", ULL(item->offset));
    }
    ips_item_value value;
    if (!ips_item_value_of(map->segment, item, &value)) {
        ips_report_problem(report, "item %llu: its value is out of bounds", ULL(item->offset));
    } else if (value.block != 0 && ips_block_size(map->segment, value.block) < value.size) {
        ips_report_problem(report, "item %llu: its value is larger than its block",
            ULL(item->offset));
    }
    if (ips_value_word_kind(LOAD(shm->word)) == IPS_VALUE_REFERENCE) {
        const bool sound = ips_item_value_of(map->segment, item, &value) &&
            ips_nest_is_sound(map->segment, IPS_TYPE_MAP, map->offset, value.bytes, value.size);
        if (!sound) {
            ips_report_problem(report, "item %llu: its value refers to no container",
                ULL(item->offset));
        }
    }
    if (LOAD(shm->revision) > LOAD(map->shm->revision)) {
        ips_report_problem(report, "item %llu is newer than the map", ULL(item->offset));
    }
}

/* In order, each item linked both ways and found by its key. */
static void
check_order(const ips_map *map, uint64_t length, ips_report *report)
{
    ips_offset before = 0;
    ips_offset cursor = LOAD(map->shm->first);
    uint64_t count = 0;
    for (; cursor != 0 && count <= length; count++) {
        ips_item item;
        if (!ips_item_open(map->segment, cursor, &item)) {
            ips_report_problem(report, "item %llu: no item can be there", ULL(cursor));
            return;
        }
        check_item(map, &item, report);
        if (LOAD(item.shm->before) != before) {
            ips_report_problem(report, "item %llu: linked one way only", ULL(cursor));
        }
        const ips_key key = {.bytes = item.shm->bytes + item.room, .size = item.key_size,
            .hash = LOAD(item.shm->hash)};
        ips_place where;
        if (ips_place_find(map, &key, &where) != IPS_PLACE_FOUND ||
            where.item.offset != cursor) {
            ips_report_problem(report, "item %llu: its key leads elsewhere", ULL(cursor));
        }
        before = cursor;
        cursor = LOAD(item.shm->after);
    }
    if (count != length || LOAD(map->shm->last) != before) {
        ips_report_problem(report, "%llu items in order, length %llu", ULL(count), ULL(length));
    }
}

static void
check_table(const ips_map *map, const ips_table *table, uint64_t length, ips_report *report)
{
    uint64_t used = 0;
    uint64_t living = 0;
    for (uint64_t index = 0; index <= table->mask; index++) {
        uint64_t item = LOAD(table->slot[index].item);
        used += item != IPS_SLOT_EMPTY;
        living += item != IPS_SLOT_EMPTY && item != IPS_SLOT_ERASED;
    }
    uint64_t noted = LOAD(map->shm->used);
    if (used != noted || living != length) {
        ips_report_problem(report, "the table has %llu used slots of noted %llu, %llu items of %llu",
            ULL(used), ULL(noted), ULL(living), ULL(length));
    }
    if (used * 3 > (table->mask + 1) * 2) {
        ips_report_problem(report, "the table is too full: %llu of %llu", ULL(used),
            ULL(table->mask + 1));
    }
    uint64_t size = sizeof(ips_table_shm) + (table->mask + 1) * sizeof(ips_slot_shm);
    if (ips_block_size(map->segment, table->offset) < size) {
        ips_report_problem(report, "the table is larger than its block");
    }
}

static void
check_graves(const ips_map *map, ips_report *report)
{
    ips_offset cursor = LOAD(map->shm->graves);
    /* Every grave is a block of its own: more than fit is a cycle. */
    uint64_t most = ips_segment_object(map->segment)->max_size / sizeof(ips_item_shm);
    for (uint64_t count = 0; cursor != 0; count++) {
        ips_item item;
        if (count > most || !ips_item_open(map->segment, cursor, &item)) {
            ips_report_problem(report, "the items left by clear() are damaged at %llu",
                ULL(cursor));
            return;
        }
        cursor = LOAD(item.shm->after);
    }
}

int
ips_map_check(const ips_map *map, void (*line)(const char *line, void *context), void *context)
{
    if (!ips_root_lives(&map->shm->root, map->generation)) {
        return ips_root_gone(IPS_TYPE_MAP);
    }
    ips_report report = {line, context, "SharedMap", map->offset, 0};
    uint64_t length = LOAD(map->shm->length);
    ips_table table;
    if (!ips_table_open(map->segment, LOAD(map->shm->table), &table)) {
        ips_report_problem(&report, "it has no table");
    } else {
        check_table(map, &table, length, &report);
        check_order(map, length, &report);
    }
    check_graves(map, &report);
    return report.problems;
}

/* --- what it has: table, items in order, items that clear() left */

static int
reach_item(ips_reach *reach, const ips_item *item)
{
    ips_item_value value;
    if (!ips_item_value_of(reach->segment, item, &value)) {
        return IPS_OK;
    }
    if (value.block != 0) {
        (void)ips_reach_block(reach, value.block, "an item of a SharedMap", item->offset);
    }
    return value.kind == IPS_VALUE_REFERENCE ? ips_nest_reach(reach, value.bytes, value.size)
                                             : IPS_OK;
}

static int
reach_items(ips_reach *reach, ips_offset cursor, ips_offset map)
{
    ips_item item;
    int status = IPS_OK;
    while (status == 0 && cursor != 0 && ips_reach_block(reach, cursor, "SharedMap", map) &&
           ips_item_open(reach->segment, cursor, &item)) {
        status = reach_item(reach, &item);
        cursor = LOAD(item.shm->after);
    }
    return status;
}

int
ips_map_reach(ips_reach *reach, uint32_t type, ips_offset root)
{
    const ips_map_shm *shm = (const ips_map_shm *)(void *)ips_root_at(reach->segment, root, type,
        sizeof *shm);
    if (shm == NULL) {
        return IPS_OK;
    }
    if (LOAD(shm->table) != 0) { /* 0: it is in the graves (data/nest.h) */
        (void)ips_reach_block(reach, LOAD(shm->table), "SharedMap", root);
    }
    int status = reach_items(reach, LOAD(shm->first), root);
    return status < 0 ? status : reach_items(reach, LOAD(shm->graves), root);
}
