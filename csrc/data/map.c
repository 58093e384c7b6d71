/* SPDX-License-Identifier: Apache-2.0 */
#include "data/map.h"

#include <string.h>

#include "base/atomics.h"
#include "base/checked.h"
#include "base/hash.h"
#include "data/place.h"
#include "data/table.h"

/* relaxed: a reader validates the version that guards the field, a writer
 * holds the segment's lock. */
#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

#define REAPED_PER_INSERT 2

/* Where the key is or would go: IPS_PLACE_FOUND, IPS_PLACE_MISSING or an error. */
static int
locate_locked(const ips_map *map, const ips_key *key, ips_place *out)
{
    int status = ips_map_alive(map);
    if (status < 0) {
        return status;
    }
    int found = ips_place_find(map, key, out);
    return found == IPS_PLACE_BROKEN ? ips_map_damaged(map, "the way to a key leads nowhere")
                                     : found;
}

static int
copy_locked(const ips_map *map, const ips_item *item, ips_value_copy *out)
{
    int found = ips_place_copy(map, item, 0, 0, out);
    return found == IPS_PLACE_BROKEN ? ips_map_damaged(map, "a value is damaged") : found;
}

int
ips_map_get_locked(const ips_map *map, const ips_key *key, ips_value_copy *out)
{
    ips_place where;
    int found = locate_locked(map, key, &where);
    if (found == IPS_PLACE_FOUND && out != NULL) {
        found = copy_locked(map, &where.item, out);
    }
    if (found < 0) {
        return found;
    }
    return found == IPS_PLACE_FOUND ? IPS_MAP_PRESENT : IPS_MAP_ABSENT;
}

int
ips_map_length_locked(const ips_map *map, uint64_t *out)
{
    *out = LOAD(map->shm->length);
    int status = ips_map_alive(map);
    return status == 0 && !ips_count_possible(map->segment, *out)
        ? ips_map_damaged(map, "its length cannot be") : status;
}

int
ips_map_snapshot_locked(const ips_map *map, unsigned what, ips_snapshot *out)
{
    int status = ips_map_alive(map);
    if (status < 0) {
        return status;
    }
    out->size = 0;
    out->records = 0;
    int found = ips_place_walk(map, what, NULL, out);
    return found == IPS_PLACE_BROKEN ? ips_map_damaged(map, "the order of its items is damaged")
                                     : found;
}

static int
touch(const ips_map *map, uint64_t hash)
{
    int status = ips_tx_touch(map->segment, map->offset);
    return status < 0 ? status : ips_tx_touch(map->segment, ips_map_stripe(map, hash));
}

/* One or more changes in one transaction.  The root is written when they are
 * done, and what they have made themselves needs no journal: the table once it
 * was rebuilt, the last item once it is new. */
typedef struct {
    ips_map_shape now;         /* of the root, from its first words to revision */
    uint64_t expected; /* insertions to come, this one included */
    bool reshaped;     /* more than the revision has changed */
    bool table_is_fresh;
    bool last_is_fresh;
} batch;

static batch
begin_batch(const ips_map *map, uint64_t expected)
{
    return (batch){.now = ips_map_shape_of(map), .expected = expected};
}

static int
finish_batch(const ips_map *map, const batch *many)
{
    if (!many->reshaped) {
        return ips_tx_store(map->segment, map->offset + offsetof(ips_map_shm, revision),
            many->now.revision);
    }
    int status = ips_map_store_shape(map, &many->now);
    if (status == 0 && LOAD(map->shm->graves) != 0) {
        status = ips_map_reap(map, REAPED_PER_INSERT);
    }
    return status < 0 ? status : 0;
}

/* A larger (or cleaner) table; then the key's place in it.  It is built before
 * any version is raised: readers go on with the old one, which stays as it is,
 * and wait for the exchange alone, be it of a million items. */
static int
make_room(const ips_map *map, const ips_key *key, batch *many, ips_place *where)
{
    ips_map_shape *now = &many->now;
    int status = ips_table_rebuild(map->segment, &where->table, now->length, many->expected,
        &now->table);
    if (status == 0) {
        status = ips_map_touch_all(map);
    }
    if (status == 0) {
        ips_fresh_ready();
        now->used = now->length;
        status = ips_map_store_shape(map, now);
    }
    if (status < 0) {
        return status;
    }
    many->table_is_fresh = true;
    return ips_place_find(map, key, where) == IPS_PLACE_MISSING
        ? 0 : ips_map_damaged(map, "its new table knows a key that the old one did not");
}

/* Behind the last item. */
static int
link_last(const ips_map *map, ips_offset item, batch *many)
{
    const ips_offset previous = many->now.last;
    many->now.length++;
    many->now.last = item;
    if (previous == 0) {
        many->now.first = item;
        return 0;
    }
    ips_item last;
    if (!ips_item_open(map->segment, previous, &last)) {
        return ips_map_damaged(map, "its last item is damaged");
    }
    if (many->last_is_fresh) {
        /* relaxed: a reader goes by the root's version, which is odd. */
        atomic_store_explicit(&last.shm->after, item, memory_order_relaxed);
        return 0;
    }
    return ips_tx_store(map->segment, previous + offsetof(ips_item_shm, after), item);
}

/* Into the slot that ips_place_find found. */
static int
link_slot(const ips_map *map, const ips_place *where, uint64_t hash, ips_offset item,
    batch *many)
{
    if (LOAD(where->table.slot[where->index].item) == IPS_SLOT_EMPTY) {
        many->now.used++;
    }
    if (many->table_is_fresh) {
        ips_table_put_fresh(&where->table, where->index, hash, item);
        return 0;
    }
    return ips_table_put(map->segment, &where->table, where->index, hash, item);
}

/* A new item at the end of the order, into the place that was found. */
static int
link_new(const ips_map *map, const ips_key *key, const ips_value *value, ips_place *where,
    batch *many)
{
    ips_map_shape *now = &many->now;
    many->reshaped = true;
    /* What may take memory, and so wait for more of it, comes before any
     * version is raised. */
    ips_offset item = 0;
    int status = ips_item_create(map->segment, key, value, now->last, ++now->revision, &item);
    if (status == 0 && (!ips_table_has_room(&where->table, now->used) ||
                        (!many->table_is_fresh && many->expected > now->length / 8 + 8))) {
        status = make_room(map, key, many, where);
    }
    if (status == 0) {
        status = touch(map, key->hash);
    }
    if (status == 0) {
        ips_fresh_ready();
        status = link_last(map, item, many);
    }
    if (status == 0) {
        status = link_slot(map, where, key->hash, item, many);
    }
    many->last_is_fresh = true;
    return status;
}

static int
replace(const ips_map *map, const ips_key *key, const ips_item *item, const ips_value *value,
    batch *many)
{
    return ips_item_replace(map->segment, item, value, ++many->now.revision,
        ips_map_stripe(map, key->hash));
}

static int
set(const ips_map *map, const ips_key *key, const ips_value *value, batch *many)
{
    ips_place where;
    int found = locate_locked(map, key, &where);
    if (found < 0) {
        return found;
    }
    int status = found == IPS_PLACE_FOUND ? replace(map, key, &where.item, value, many)
                                          : link_new(map, key, value, &where, many);
    if (status < 0) {
        return status;
    }
    return found == IPS_PLACE_FOUND ? IPS_MAP_PRESENT : IPS_MAP_ABSENT;
}

int
ips_map_set(const ips_map *map, const ips_key *key, const ips_value *value)
{
    batch many = begin_batch(map, 1);
    int outcome = set(map, key, value, &many);
    int status = outcome < 0 ? outcome : finish_batch(map, &many);
    return status < 0 ? status : outcome;
}

int
ips_map_update(const ips_map *map, const ips_snapshot *records)
{
    batch many = begin_batch(map, records->records / 3);
    size_t at = 0;
    ips_value key, spelling, value;
    while (ips_snapshot_next(records, &at, &key) && ips_snapshot_next(records, &at, &spelling) &&
           ips_snapshot_next(records, &at, &value)) {
        const ips_key full = {key.bytes, key.size, spelling.bytes, spelling.size,
            ips_hash(key.bytes, key.size)};
        int status = set(map, &full, &value, &many);
        if (status < 0) {
            return status;
        }
        many.expected -= many.expected > 1;
    }
    return at == 0 ? ips_map_alive(map) : finish_batch(map, &many);
}

int
ips_map_insert(const ips_map *map, const ips_key *key, const ips_value *value,
    ips_value_copy *present)
{
    ips_place where;
    int found = locate_locked(map, key, &where);
    if (found < 0) {
        return found;
    }
    if (found == IPS_PLACE_FOUND) {
        int copied = present != NULL ? copy_locked(map, &where.item, present) : 0;
        return copied < 0 ? copied : IPS_MAP_PRESENT;
    }
    batch many = begin_batch(map, 1);
    int status = link_new(map, key, value, &where, &many);
    if (status == 0) {
        status = finish_batch(map, &many);
    }
    return status < 0 ? status : IPS_MAP_ABSENT;
}

/* Out of the order: the neighbours, and the ends in `now`. */
static int
unlink_item(const ips_map *map, const ips_item *item, ips_map_shape *now)
{
    const ips_offset before = LOAD(item->shm->before);
    const ips_offset after = LOAD(item->shm->after);
    ips_item neighbour;
    int status = 0;
    if (before == 0) {
        now->first = after;
    } else if (!ips_item_open(map->segment, before, &neighbour)) {
        return ips_map_damaged(map, "the order of its items is damaged");
    } else {
        status = ips_tx_store(map->segment, before + offsetof(ips_item_shm, after), after);
    }
    if (status < 0) {
        return status;
    }
    if (after == 0) {
        now->last = before;
    } else if (!ips_item_open(map->segment, after, &neighbour)) {
        return ips_map_damaged(map, "the order of its items is damaged");
    } else {
        status = ips_tx_store(map->segment, after + offsetof(ips_item_shm, before), before);
    }
    return status;
}

static int
erase(const ips_map *map, const ips_place *where)
{
    ips_map_shape now = ips_map_shape_of(map);
    int status = touch(map, LOAD(where->item.shm->hash));
    if (status == 0) {
        status = unlink_item(map, &where->item, &now);
    }
    bool emptied = false;
    if (status == 0) {
        status = ips_table_erase(map->segment, &where->table, where->index, &emptied);
    }
    if (status == 0) {
        now.used -= emptied ? 1 : 0;
        now.length--;
        now.revision++;
        status = ips_map_store_shape(map, &now);
    }
    return status < 0 ? status : ips_item_free(map->segment, &where->item);
}

int
ips_map_delete(const ips_map *map, const ips_key *key, ips_value_copy *out)
{
    ips_place where;
    int found = locate_locked(map, key, &where);
    if (found == IPS_PLACE_MISSING) {
        return IPS_MAP_ABSENT;
    }
    if (found == IPS_PLACE_FOUND && out != NULL) {
        found = copy_locked(map, &where.item, out);
    }
    if (found >= 0 && out != NULL && out->kind == IPS_VALUE_REFERENCE) {
        return IPS_MAP_NESTED;
    }
    int status = found < 0 ? found : erase(map, &where);
    return status < 0 ? status : IPS_MAP_PRESENT;
}

int
ips_map_pop_last(const ips_map *map, ips_value_copy *key, ips_value_copy *value)
{
    int status = ips_map_alive(map);
    if (status < 0) {
        return status;
    }
    const ips_offset last = LOAD(map->shm->last);
    if (last == 0) {
        return IPS_MAP_ABSENT;
    }
    ips_item item;
    if (!ips_item_open(map->segment, last, &item)) {
        return ips_map_damaged(map, "its last item is damaged");
    }
    /* Its place in the table, by its canonical key. */
    status = ips_value_copy_reserve(key, item.key_size);
    if (status < 0) {
        return status;
    }
    ips_copy_racing(key->bytes, item.shm->bytes + item.room, item.key_size);
    const ips_key canonical = {.bytes = key->bytes, .size = key->size,
        .hash = ips_hash(key->bytes, key->size)};
    ips_place where;
    if (ips_place_find(map, &canonical, &where) != IPS_PLACE_FOUND || where.item.offset != last) {
        return ips_map_damaged(map, "its table does not know its last item");
    }
    status = copy_locked(map, &item, value);
    if (status >= 0) {
        size_t size;
        const uint8_t *spelling = ips_item_spelling(&item, &size);
        status = ips_value_copy_reserve(key, size);
        if (status == 0) {
            ips_copy_racing(key->bytes, spelling, size);
            if (value->kind == IPS_VALUE_REFERENCE) {
                return IPS_MAP_NESTED;
            }
            status = erase(map, &where);
        }
    }
    return status < 0 ? status : IPS_MAP_PRESENT;
}

int
ips_map_compare_and_set(const ips_map *map, const ips_key *key, const ips_value *expected,
    const ips_value *desired)
{
    ips_place where;
    int found = locate_locked(map, key, &where);
    if (found < 0) {
        return found;
    }
    if (found == IPS_PLACE_MISSING) {
        return IPS_MAP_ABSENT;
    }
    ips_item_value value;
    if (!ips_item_value_of(map->segment, &where.item, &value)) {
        return ips_map_damaged(map, "a value is damaged");
    }
    if (value.kind != expected->kind || value.size != expected->size ||
        memcmp(value.bytes, expected->bytes, value.size) != 0) {
        return IPS_MAP_ABSENT;
    }
    batch many = begin_batch(map, 1);
    int status = replace(map, key, &where.item, desired, &many);
    if (status == 0) {
        status = finish_batch(map, &many);
    }
    return status < 0 ? status : IPS_MAP_PRESENT;
}
