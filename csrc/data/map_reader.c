/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a map without the lock; the algorithm heads map.h. */
#include "data/map.h"

#include "base/atomics.h"
#include "data/place.h"

/* relaxed: a reader validates the version that guards the field, a writer
 * holds the segment's lock. */
#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

/* Lock-free tries before a reader gives up: about as long as a change of one
 * key takes, which is less than parking costs. */
#define OPTIMISM 64

int
ips_map_open(ips_segment *segment, ips_offset offset, uint64_t generation, ips_map *out)
{
    ips_root_shm *root = ips_root_at(segment, offset, IPS_TYPE_MAP, sizeof(ips_map_shm));
    if (root == NULL) {
        return ips_fail(IPS_ECORRUPT, "no SharedMap at offset %llu", (unsigned long long)offset);
    }
    out->segment = segment;
    out->shm = (ips_map_shm *)(void *)root;
    out->offset = offset;
    out->generation = generation;
    return 0;
}

/* After a lock-free look under the even version `seen`: is what it saw one
 * state of this very map?  0: yes.  1: look again.  IPS_MAP_BUSY, IPS_EGONE. */
static int
verdict(const ips_map *map, ips_offset version, uint64_t seen)
{
    /* The generation after the fence in ips_read_ok: garbage from a block in
     * its next life is never taken for the map's. */
    if (!ips_read_ok(map->segment, version, seen)) {
        return 1;
    }
    if (ips_root_lives(&map->shm->root, map->generation)) {
        return 0;
    }
    /* Gone, or being destroyed by a transaction that may yet be undone. */
    uint64_t now = ips_read_begin(map->segment, map->offset);
    if ((now & 1) != 0) {
        return IPS_MAP_BUSY;
    }
    if (ips_root_lives(&map->shm->root, map->generation)) {
        return 1;
    }
    return ips_read_ok(map->segment, map->offset, now) ? ips_root_gone(IPS_TYPE_MAP)
                                                       : IPS_MAP_BUSY;
}

/* The even version, or false where a writer is inside (our own: at once). */
static bool
begin_reading(const ips_map *map, ips_offset version, uint64_t *seen)
{
    *seen = ips_read_begin(map->segment, version);
    if ((*seen & 1) == 0) {
        return true;
    }
    ips_pause();
    return false;
}

int
ips_map_get(const ips_map *map, const ips_key *key, ips_value_copy *out)
{
    const ips_offset stripe = ips_map_stripe(map, key->hash);
    for (int attempt = 0; attempt < OPTIMISM; attempt++) {
        uint64_t seen;
        if (!begin_reading(map, stripe, &seen)) {
            if (ips_tx_is_mine(map->segment)) {
                return IPS_MAP_BUSY;
            }
            continue;
        }
        ips_place where;
        int found = ips_place_find(map, key, &where);
        if (found == IPS_PLACE_FOUND && out != NULL) {
            found = ips_place_copy(map, &where.item, stripe, seen, out);
            if (found < 0) {
                return found;
            }
        }
        int now = verdict(map, stripe, seen);
        if (now == 1) {
            continue;
        }
        if (now != 0) {
            return now;
        }
        if (found == IPS_PLACE_BROKEN) {
            return ips_map_damaged(map, "the way to a key leads nowhere");
        }
        return found == IPS_PLACE_FOUND ? IPS_MAP_PRESENT : IPS_MAP_ABSENT;
    }
    return IPS_MAP_BUSY;
}

int
ips_map_length(const ips_map *map, uint64_t *out)
{
    for (int attempt = 0; attempt < OPTIMISM; attempt++) {
        uint64_t seen;
        if (!begin_reading(map, map->offset, &seen)) {
            continue;
        }
        *out = LOAD(map->shm->length);
        int now = verdict(map, map->offset, seen);
        if (now == 0 && !ips_count_possible(map->segment, *out)) {
            return ips_map_damaged(map, "its length cannot be");
        }
        if (now != 1) {
            return now;
        }
    }
    return IPS_MAP_BUSY;
}

/* False where one of the versions is odd. */
static bool
begin_walking(const ips_map *map, unsigned what, ips_map_versions *seen)
{
    if (!begin_reading(map, map->offset, &seen->root)) {
        return false;
    }
    if ((what & IPS_MAP_VALUES) == 0) {
        return true;
    }
    for (unsigned i = 0; i < IPS_MAP_STRIPES; i++) {
        if (!begin_reading(map, ips_map_stripe(map, (uint64_t)i << 60), &seen->stripe[i])) {
            return false;
        }
    }
    return true;
}

static bool
walked_one_state(const ips_map *map, unsigned what, const ips_map_versions *seen)
{
    if (!ips_read_ok(map->segment, map->offset, seen->root)) {
        return false;
    }
    for (unsigned i = 0; (what & IPS_MAP_VALUES) != 0 && i < IPS_MAP_STRIPES; i++) {
        if (!ips_read_ok(map->segment, ips_map_stripe(map, (uint64_t)i << 60), seen->stripe[i])) {
            return false;
        }
    }
    return true;
}

int
ips_map_snapshot(const ips_map *map, unsigned what, ips_snapshot *out)
{
    for (int attempt = 0; attempt < 3; attempt++) {
        ips_map_versions seen;
        if (!begin_walking(map, what, &seen)) {
            continue;
        }
        out->size = 0;
        out->records = 0;
        int found = ips_place_walk(map, what, &seen, out);
        if (found < 0) {
            return found;
        }
        if (!walked_one_state(map, what, &seen)) {
            continue;
        }
        int now = verdict(map, map->offset, seen.root);
        if (now == 1) {
            continue;
        }
        if (now != 0) {
            return now;
        }
        return found == IPS_PLACE_FOUND
            ? 0 : ips_map_damaged(map, "the order of its items is damaged");
    }
    return IPS_MAP_BUSY;
}
