/* SPDX-License-Identifier: Apache-2.0 */
/* What the reading and the writing half of a map share: the way from a key to
 * its item. */
#ifndef IPS_DATA_PLACE_H
#define IPS_DATA_PLACE_H

#include "data/map.h"
#include "data/table.h"

/* Where a key is, or would go. */
typedef struct {
    ips_table table;
    uint64_t index;
    ips_item item; /* where found */
} ips_place;

/* How a look ended; negative statuses besides. */
enum {
    IPS_PLACE_FOUND,
    IPS_PLACE_MISSING,
    IPS_PLACE_BROKEN, /* damaged, or a writer was inside: a version tells */
};

/* Under the lock, or without it and then to be validated. */
int ips_place_find(const ips_map *map, const ips_key *key, ips_place *out);

/* Copy an item's value out.  Without the lock, `version` is where the version
 * stands under which the item was found: a large value's size is believed
 * only while it is `seen`.  Under the lock, 0. */
int ips_place_copy(const ips_map *map, const ips_item *item, ips_offset version, uint64_t seen,
    ips_value_copy *out);

/* Append the items in order.  Without the lock, `seen` are the versions that
 * must hold, else NULL. */
typedef struct {
    uint64_t root, stripe[IPS_MAP_STRIPES];
} ips_map_versions;
int ips_place_walk(const ips_map *map, unsigned what, const ips_map_versions *seen,
    ips_snapshot *out);

/* What a transaction changes of the root, in the root's order. */
typedef struct {
    uint64_t table, used, length, first, last, revision;
} ips_map_shape;

_Static_assert(sizeof(ips_map_shape) ==
                   offsetof(ips_map_shm, graves) - offsetof(ips_map_shm, table),
    "written to the root in one piece");

/* relaxed: the caller holds the segment's lock. */
static inline ips_map_shape
ips_map_shape_of(const ips_map *map)
{
    const ips_map_shm *shm = map->shm;
    return (ips_map_shape){atomic_load_explicit(&shm->table, memory_order_relaxed),
        atomic_load_explicit(&shm->used, memory_order_relaxed),
        atomic_load_explicit(&shm->length, memory_order_relaxed),
        atomic_load_explicit(&shm->first, memory_order_relaxed),
        atomic_load_explicit(&shm->last, memory_order_relaxed),
        atomic_load_explicit(&shm->revision, memory_order_relaxed)};
}

IPS_MUST_CHECK static inline int
ips_map_store_shape(const ips_map *map, const ips_map_shape *now)
{
    return ips_tx_write(map->segment, map->offset + offsetof(ips_map_shm, table), now,
        sizeof *now);
}

/* 0, or IPS_EGONE. */
IPS_MUST_CHECK static inline int
ips_map_alive(const ips_map *map)
{
    return ips_root_lives(&map->shm->root, map->generation) ? 0 : ips_root_gone(IPS_TYPE_MAP);
}

/* Readers of any key, and of the order, wait from here on. */
IPS_MUST_CHECK int ips_map_touch_all(const ips_map *map);

static inline ips_offset
ips_map_stripe(const ips_map *map, uint64_t hash)
{
    return map->offset + offsetof(ips_map_shm, stripe) + (hash >> 60) * 8;
}

/* IPS_ECORRUPT, noted with the map's offset. */
int ips_map_damaged(const ips_map *map, const char *what);

#endif
