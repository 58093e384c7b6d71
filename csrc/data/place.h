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

static inline ips_offset
ips_map_stripe(const ips_map *map, uint64_t hash)
{
    return map->offset + offsetof(ips_map_shm, stripe) + (hash >> 60) * 8;
}

/* IPS_ECORRUPT, noted with the map's offset. */
int ips_map_damaged(const ips_map *map, const char *what);

#endif
