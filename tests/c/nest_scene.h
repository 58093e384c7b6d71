/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs about containers in containers share. */
#ifndef TESTS_NEST_SCENE_H
#define TESTS_NEST_SCENE_H

#include "data/deque.h"
#include "data/flat.h"
#include "data/map.h"
#include "data/nest.h"

#include "segment_scene.h"

/* What bind/nested.c does: create, adopt, fill, insert. */
static inline ips_reference
construct_at(const ips_map *map, const ips_key *key, uint32_t type)
{
    const ips_reference around = {IPS_TYPE_MAP, map->offset, map->generation};
    ips_reference at = {.type = type};
    int status = type == IPS_TYPE_MAP ? ips_map_create(map->segment, &at.root)
        : type == IPS_TYPE_TYPED_VECTOR ? ips_flat_create(map->segment, type, 8, 'd', &at.root)
                                        : ips_deque_create(map->segment, type, IPS_UNBOUNDED, &at.root);
    CHECK(status == 0 && ips_nest_adopt(map->segment, &around, &at) == 0);
    const ips_value value = {(const uint8_t *)&at, sizeof at, IPS_VALUE_REFERENCE};
    CHECK(ips_map_insert(map, key, &value, NULL) == IPS_MAP_ABSENT);
    return at;
}

#endif
