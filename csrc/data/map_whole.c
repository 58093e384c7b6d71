/* SPDX-License-Identifier: Apache-2.0 */
/* A map as a whole: made, emptied, ended. */
#include <string.h>

#include "data/nest.h"
#include "data/place.h"
#include "data/table.h"
#include "segment/quota.h"

/* relaxed: the caller holds the segment's lock. */
#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

int
ips_map_touch_all(const ips_map *map)
{
    int status = ips_tx_touch(map->segment, map->offset);
    for (unsigned i = 0; status == 0 && i < IPS_MAP_STRIPES; i++) {
        status = ips_tx_touch(map->segment, ips_map_stripe(map, (uint64_t)i << 60));
    }
    return status;
}

int
ips_map_create(ips_segment *segment, ips_offset *out)
{
    void *at;
    int status = ips_fresh_block(segment, sizeof(ips_map_shm), out, &at);
    if (status < 0) {
        return status;
    }
    ips_map_shm *shm = at;
    memset(shm, 0, sizeof *shm);
    ips_offset table;
    status = ips_table_create(segment, IPS_TABLE_LEAST, &table);
    if (status < 0) {
        return status;
    }
    /* relaxed: nobody else knows the block until it has its name. */
    atomic_store_explicit(&shm->root.type, IPS_TYPE_MAP, memory_order_relaxed);
    atomic_store_explicit(&shm->table, table, memory_order_relaxed);
    ips_fresh_ready();
    return 0;
}

int
ips_map_reap(const ips_map *map, unsigned budget)
{
    int status = ips_map_alive(map);
    if (status < 0) {
        return status;
    }
    ips_offset grave = LOAD(map->shm->graves);
    const ips_offset first = grave;
    for (; budget > 0 && grave != 0; budget--) {
        ips_item item;
        if (!ips_item_open(map->segment, grave, &item)) {
            return ips_map_damaged(map, "the items that clear() left are damaged");
        }
        grave = LOAD(item.shm->after);
        status = ips_item_free(map->segment, &item);
        if (status < 0) {
            return status;
        }
    }
    if (grave != first) {
        status = ips_tx_store(map->segment, map->offset + offsetof(ips_map_shm, graves), grave);
    }
    return status < 0 ? status : grave != 0;
}

/* The present items go before those that an earlier clear() left. */
static int
bury(const ips_map *map, const ips_map_shape *now)
{
    int status = ips_tx_store(map->segment, now->last + offsetof(ips_item_shm, after),
        LOAD(map->shm->graves));
    return status < 0 ? status : ips_tx_store(map->segment,
        map->offset + offsetof(ips_map_shm, graves), now->first);
}

/* Containers that stand in it go at once, not only with their items. */
static int
disown(const ips_map *map, const ips_map_shape *now)
{
    const uint64_t nest = LOAD(map->shm->nest);
    if ((nest & IPS_NEST_HOLDS) == 0) {
        return 0;
    }
    ips_offset cursor = now->first;
    int status = 0;
    for (uint64_t i = 0; status == 0 && i < now->length; i++) {
        ips_item item;
        if (!ips_item_open(map->segment, cursor, &item)) {
            return ips_map_damaged(map, "the order of its items is damaged");
        }
        cursor = LOAD(item.shm->after);
        status = ips_item_disown(map->segment, &item);
    }
    return status < 0 ? status : ips_tx_store(map->segment,
        map->offset + offsetof(ips_map_shm, nest), nest & ~IPS_NEST_HOLDS);
}

int
ips_map_clear(const ips_map *map)
{
    int status = ips_map_alive(map);
    ips_map_shape now = ips_map_shape_of(map);
    if (status < 0 || now.used == 0) {
        return status;
    }
    ips_table old;
    ips_item last;
    if (!ips_table_open(map->segment, now.table, &old) ||
        (now.length != 0 && !ips_item_open(map->segment, now.last, &last))) {
        return ips_map_damaged(map, "its table or its last item is damaged");
    }
    status = ips_map_touch_all(map);
    if (status == 0) {
        status = disown(map, &now);
    }
    if (status == 0 && now.length != 0) {
        status = bury(map, &now);
    }
    if (status == 0) {
        bool eased = ips_quota_ease(map->segment, true);
        status = ips_table_create(map->segment, IPS_TABLE_LEAST, &now.table);
        (void)ips_quota_ease(map->segment, eased);
    }
    if (status == 0) {
        ips_fresh_ready();
        now.used = now.length = now.first = now.last = 0;
        now.revision++;
        status = ips_map_store_shape(map, &now);
    }
    return status < 0 ? status : ips_tx_free(map->segment, old.offset);
}

int
ips_map_destroy(const ips_map *map)
{
    int status = ips_map_clear(map);
    for (int more = 1; status == 0 && more == 1;) {
        more = ips_map_reap(map, 1024);
        status = more < 0 ? more : 0;
    }
    if (status == 0) {
        status = ips_tx_free(map->segment, LOAD(map->shm->table));
    }
    if (status == 0) {
        status = ips_root_retire(map->segment, map->offset);
    }
    return status < 0 ? status : ips_tx_free(map->segment, map->offset);
}

int
ips_map_wither(const ips_map *map, unsigned budget)
{
    ips_map_shape now = ips_map_shape_of(map);
    int status = ips_map_alive(map);
    if (status == 0 && now.table != 0) {
        ips_item last;
        if (now.length != 0 && !ips_item_open(map->segment, now.last, &last)) {
            return ips_map_damaged(map, "its last item is damaged");
        }
        status = now.length != 0 ? bury(map, &now) : 0;
        if (status == 0) {
            status = ips_tx_free(map->segment, now.table);
        }
        now = (ips_map_shape){.revision = now.revision};
        if (status == 0) {
            status = ips_map_store_shape(map, &now);
        }
    }
    return status < 0 ? status : ips_map_reap(map, budget);
}
