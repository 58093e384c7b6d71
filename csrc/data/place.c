/* SPDX-License-Identifier: Apache-2.0 */
#include "data/place.h"

#include "base/atomics.h"

/* relaxed: a reader validates the version that guards the field, a writer
 * holds the segment's lock. */
#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

int
ips_map_damaged(const ips_map *map, const char *what)
{
    return ips_fail(IPS_ECORRUPT, "SharedMap at offset %llu: %s",
        (unsigned long long)map->offset, what);
}

int
ips_place_find(const ips_map *map, const ips_key *key, ips_place *out)
{
    if (!ips_table_open(map->segment, LOAD(map->shm->table), &out->table)) {
        return IPS_PLACE_BROKEN;
    }
    const uint64_t none = UINT64_MAX;
    const uint64_t mask = out->table.mask;
    uint64_t index = key->hash & mask;
    out->index = none;
    for (uint64_t hops = 0; hops <= mask; hops++, index = (index + 1) & mask) {
        ips_slot_shm *slot = &out->table.slot[index];
        /* acquire: pairs with ips_fresh_ready before the journaled store that
         * published the item. */
        uint64_t item = atomic_load_explicit(&slot->item, memory_order_acquire);
        if (item == IPS_SLOT_EMPTY || item == IPS_SLOT_ERASED) {
            if (out->index == none) {
                out->index = index;
            }
            if (item == IPS_SLOT_EMPTY) {
                return IPS_PLACE_MISSING;
            }
            continue;
        }
        if (LOAD(slot->hash) != key->hash) {
            continue;
        }
        if (!ips_item_open(map->segment, item, &out->item)) {
            return IPS_PLACE_BROKEN;
        }
        if (ips_item_has_key(&out->item, key)) {
            out->index = index;
            return IPS_PLACE_FOUND;
        }
    }
    return IPS_PLACE_BROKEN; /* a table is never full */
}

int
ips_place_copy(const ips_map *map, const ips_item *item, ips_offset version, uint64_t seen,
    ips_value_copy *out)
{
    ips_item_value value;
    if (!ips_item_value_of(map->segment, item, &value)) {
        return IPS_PLACE_BROKEN;
    }
    if (value.size > sizeof out->room && version != 0 &&
        !ips_read_ok(map->segment, version, seen)) {
        return IPS_PLACE_BROKEN;
    }
    int status = ips_value_copy_reserve(out, value.size);
    if (status < 0) {
        return status;
    }
    ips_copy_racing(out->bytes, value.bytes, value.size);
    out->kind = value.kind;
    out->revision = value.revision;
    return IPS_PLACE_FOUND;
}

static int
add_item(const ips_map *map, const ips_item *item, unsigned what, const ips_map_versions *seen,
    ips_snapshot *out)
{
    int status = 0;
    if ((what & IPS_MAP_KEYS) != 0) {
        size_t size;
        const uint8_t *key = ips_item_spelling(item, &size);
        status = ips_snapshot_add(out, key, size, 0);
    }
    if (status == 0 && (what & IPS_MAP_VALUES) != 0) {
        ips_item_value value;
        bool whole = ips_item_value_of(map->segment, item, &value);
        uint64_t hash = LOAD(item->shm->hash);
        if (!whole || (seen != NULL && !ips_read_ok(map->segment, ips_map_stripe(map, hash),
                                           seen->stripe[hash >> 60]))) {
            return IPS_PLACE_BROKEN;
        }
        status = ips_snapshot_add(out, value.bytes, value.size, value.kind);
    }
    return status;
}

int
ips_place_walk(const ips_map *map, unsigned what, const ips_map_versions *seen, ips_snapshot *out)
{
    ips_offset cursor = LOAD(map->shm->first);
    const uint64_t length = LOAD(map->shm->length);
    ips_table table; /* bounds the length */
    if (!ips_table_open(map->segment, LOAD(map->shm->table), &table) || length > table.mask) {
        return IPS_PLACE_BROKEN;
    }
    for (uint64_t i = 0; i < length; i++) {
        ips_item item;
        if (!ips_item_open(map->segment, cursor, &item)) {
            return IPS_PLACE_BROKEN;
        }
        cursor = LOAD(item.shm->after);
        /* Sizes and links are believed only while the version holds. */
        if ((seen != NULL && !ips_read_ok(map->segment, map->offset, seen->root)) ||
            !ips_snapshot_is_sane(out, map->segment)) {
            return IPS_PLACE_BROKEN;
        }
        int status = add_item(map, &item, what, seen, out);
        if (status != 0) {
            return status;
        }
    }
    return cursor == 0 ? IPS_PLACE_FOUND : IPS_PLACE_BROKEN;
}
