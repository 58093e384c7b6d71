/* SPDX-License-Identifier: Apache-2.0 */
/* Another value for a key of a map, in the place of the old one: what changes is
 * one item and the map's counter, and nothing is allocated or freed. */
#include <string.h>

#include "base/checked.h"
#include "data/place.h"

/* relaxed: the caller holds the segment's lock. */
#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

/* {revision, value, word, room} of the item, and its value. */
typedef struct {
    uint64_t words[4 + 2 * IPS_INLINE_VALUE_MAX / 8];
    size_t count;
    ips_offset at;
    ips_offset version;
    uint64_t revision;
} overwriting;

/* False where it takes more than that, or something is wrong with the map. */
static bool
prepare(const ips_map *map, const ips_key *key, const ips_value *value, overwriting *out)
{
    ips_place where;
    if (!ips_root_lives(&map->shm->root, map->generation) ||
        ips_place_find(map, key, &where) != IPS_PLACE_FOUND) {
        return false;
    }
    const ips_item *item = &where.item;
    if (LOAD(item->shm->value) != 0 || value->size > item->room ||
        ips_value_word_kind(LOAD(item->shm->word)) == IPS_VALUE_REFERENCE) {
        return false;
    }
    out->revision = LOAD(map->shm->revision) + 1;
    out->words[0] = out->revision;
    out->words[1] = 0;
    out->words[2] = ips_value_word(value->size, value->kind);
    out->words[3] = item->room;
    out->count = 4 + ips_align_up(value->size, 8) / 8;
    if (value->size != 0) {
        out->words[out->count - 1] = 0; /* whole words: the rest of the last one */
        memcpy(&out->words[4], value->bytes, value->size);
    }
    out->at = item->offset + offsetof(ips_item_shm, revision);
    out->version = ips_map_stripe(map, key->hash);
    return true;
}

/* All or nothing, so no savepoint is needed: nothing fails after the first store. */
static bool
join(const ips_map *map, const overwriting *change)
{
    ips_segment *segment = map->segment;
    return ips_tx_touch(segment, change->version) == 0 &&
           ips_tx_reserve(segment, change->count, 1) == 0 &&
           ips_tx_write(segment, change->at, change->words, change->count * 8) == 0 &&
           ips_tx_store(segment, map->offset + offsetof(ips_map_shm, revision),
               change->revision) == 0;
}

bool
ips_map_overwrite_inside(const ips_map *map, const ips_key *key, const ips_value *value)
{
    overwriting change;
    return value->size <= 2 * IPS_INLINE_VALUE_MAX && prepare(map, key, value, &change) &&
           join(map, &change);
}

bool
ips_map_overwrite(const ips_map *map, const ips_key *key, const ips_value *value)
{
    overwriting change;
    if (value->size > 2 * IPS_INLINE_VALUE_MAX || !ips_brief_begin(map->segment)) {
        return false;
    }
    bool done = prepare(map, key, value, &change);
    if (done) {
        const ips_patch patches[2] = {
            {change.at, change.words, change.count},
            {map->offset + offsetof(ips_map_shm, revision), &change.revision, 1}};
        done = ips_brief_change(map->segment, change.version, patches, 2);
    }
    ips_brief_end(map->segment);
    return done;
}
