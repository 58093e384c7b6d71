/* SPDX-License-Identifier: Apache-2.0 */
#include "data/table.h"

#include <stddef.h>
#include <string.h>

#include "base/checked.h"
#include "data/types.h"

uint64_t
ips_table_slots_for(uint64_t items)
{
    uint64_t slots = IPS_TABLE_LEAST;
    while (slots < items * 3 && slots < IPS_TABLE_MOST) {
        slots *= 2;
    }
    return slots;
}

int
ips_table_create(ips_segment *segment, uint64_t slots, ips_offset *out)
{
    size_t size = sizeof(ips_table_shm) + slots * sizeof(ips_slot_shm);
    void *at;
    int status = ips_fresh_block(segment, size, out, &at);
    if (status < 0) {
        return status;
    }
    ips_table_shm *table = at;
    memset(table, 0, size); /* all slots EMPTY */
    /* relaxed: nobody else knows the block until ips_fresh_ready. */
    atomic_store_explicit(&table->slots, slots, memory_order_relaxed);
    return 0;
}

void
ips_table_put_fresh(const ips_table *table, uint64_t index, uint64_t hash, ips_offset item)
{
    /* relaxed, release: a reader may have found the table by an odd version;
     * pairs with the acquire in ips_place_find. */
    atomic_store_explicit(&table->slot[index].hash, hash, memory_order_relaxed);
    atomic_store_explicit(&table->slot[index].item, item, memory_order_release);
}

/* Into a table that nobody else knows. */
static void
place(const ips_table *table, uint64_t hash, ips_offset item)
{
    uint64_t index = hash & table->mask;
    /* relaxed throughout: private until published. */
    while (atomic_load_explicit(&table->slot[index].item, memory_order_relaxed) !=
           IPS_SLOT_EMPTY) {
        index = (index + 1) & table->mask;
    }
    ips_table_put_fresh(table, index, hash, item);
}

int
ips_table_rebuild(ips_segment *segment, const ips_table *old, uint64_t items, uint64_t more,
    ips_offset *out)
{
    ips_table fresh;
    if (items > old->mask) {
        return ips_fail(IPS_ECORRUPT, "a map has more items than its table has slots");
    }
    int status = ips_table_create(segment, ips_table_slots_for(items + more), out);
    if (status < 0) {
        return status;
    }
    if (!ips_table_open(segment, *out, &fresh)) {
        return ips_fail(IPS_ECORRUPT, "a table just made cannot be opened");
    }
    uint64_t moved = 0;
    for (uint64_t index = 0; index <= old->mask; index++) {
        /* relaxed: we hold the segment's lock. */
        uint64_t item = atomic_load_explicit(&old->slot[index].item, memory_order_relaxed);
        if (item == IPS_SLOT_EMPTY || item == IPS_SLOT_ERASED) {
            continue;
        }
        if (++moved > items) { /* more than fresh has place for */
            break;
        }
        /* relaxed: as above. */
        place(&fresh, atomic_load_explicit(&old->slot[index].hash, memory_order_relaxed), item);
    }
    if (moved != items) {
        return ips_fail(IPS_ECORRUPT, "a map's table holds another number of items than the map");
    }
    return ips_tx_free(segment, old->offset);
}

int
ips_table_put(ips_segment *segment, const ips_table *table, uint64_t index, uint64_t hash,
    ips_offset item)
{
    const uint64_t words[2] = {hash, item};
    return ips_tx_write(segment, ips_table_slot_offset(table, index), words, sizeof words);
}

int
ips_table_erase(ips_segment *segment, const ips_table *table, uint64_t index, bool *emptied)
{
    uint64_t next = (index + 1) & table->mask;
    /* relaxed: we hold the segment's lock. */
    *emptied = atomic_load_explicit(&table->slot[next].item, memory_order_relaxed) ==
               IPS_SLOT_EMPTY;
    return ips_tx_store(segment,
        ips_table_slot_offset(table, index) + offsetof(ips_slot_shm, item),
        *emptied ? IPS_SLOT_EMPTY : IPS_SLOT_ERASED);
}
