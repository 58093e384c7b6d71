/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs about containers in containers share. */
#ifndef TESTS_NEST_SCENE_H
#define TESTS_NEST_SCENE_H

#include "data/deque.h"
#include "data/flat.h"
#include "data/map.h"
#include "data/nest.h"

#include "segment_scene.h"

/* What bind/nested.c does: create, adopt, then put the value there. */
static inline ips_reference
make_for(ips_segment *segment, const ips_reference *outer, uint32_t type)
{
    ips_reference at = {.type = type};
    int status = type == IPS_TYPE_ATOMIC_INT ? ips_stable_alloc(segment, type, &at.root)
        : type == IPS_TYPE_MAP ? ips_map_create(segment, &at.root)
        : type == IPS_TYPE_TYPED_VECTOR ? ips_flat_create(segment, type, 8, 'd', &at.root)
                                        : ips_deque_create(segment, type, IPS_UNBOUNDED, &at.root);
    CHECK(status == 0 && ips_nest_adopt(segment, outer, &at) == 0);
    return at;
}

static inline ips_reference
construct_at(const ips_map *map, const ips_key *key, uint32_t type)
{
    const ips_reference outer = {IPS_TYPE_MAP, map->offset, map->generation};
    const ips_reference at = make_for(map->segment, &outer, type);
    const ips_value value = {(const uint8_t *)&at, sizeof at, IPS_VALUE_REFERENCE};
    CHECK(ips_map_insert(map, key, &value, NULL) == IPS_MAP_ABSENT);
    return at;
}

static inline ips_reference
construct_in_row(ips_segment *segment, const ips_reference *outer, uint32_t type)
{
    ips_deque row;
    const ips_reference at = make_for(segment, outer, type);
    const ips_value value = {(const uint8_t *)&at, sizeof at, IPS_VALUE_REFERENCE};
    CHECK(ips_deque_open(segment, (uint32_t)outer->type, outer->root, outer->generation, &row) == 0);
    CHECK(ips_deque_append(&row, IPS_RIGHT, &value) == 0);
    return at;
}

#endif
