/* SPDX-License-Identifier: Apache-2.0 */
/* The index of a map: an open-addressed table of {hash, offset of an item}.
 *
 * Byte map of a table's block:
 *
 *   0   slots      8  number of slots, a power of two, constant
 *   8   reserved   8
 *   16  slot[]    16  each: hash 8, item 8 (EMPTY, ERASED or an offset)
 *
 * A block is filled in private, then published by the one journaled word in
 * the map's root that names it; it never grows: a rebuild makes a new one.
 * Slots change through the journal, under the segment's lock, and only from
 * EMPTY or ERASED to an item and back, so that a lock-free probe for another
 * key is never led astray.  At most two thirds of the slots are not EMPTY:
 * every probe ends.  Nothing here is valid by itself; readers validate the
 * versions in the map's root. */
#ifndef IPS_DATA_TABLE_H
#define IPS_DATA_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "segment/segment.h"

#define IPS_SLOT_EMPTY UINT64_C(0)
#define IPS_SLOT_ERASED UINT64_C(1) /* no block has this offset */
#define IPS_TABLE_LEAST 16u
#define IPS_TABLE_MOST (UINT64_C(1) << 40)

typedef struct {
    _Atomic uint64_t hash;
    _Atomic uint64_t item;
} ips_slot_shm;

typedef struct {
    _Atomic uint64_t slots;
    uint64_t reserved;
    ips_slot_shm slot[];
} ips_table_shm;

_Static_assert(sizeof(ips_slot_shm) == 16, "byte map above");
_Static_assert(sizeof(ips_table_shm) == 16, "byte map above");

/* A table, checked: every index <= mask is inside backed memory. */
typedef struct {
    ips_slot_shm *slot;
    uint64_t mask;
    ips_offset offset;
} ips_table;

/* False where no table can be at `offset`. */
static inline bool
ips_table_open(ips_segment *segment, ips_offset offset, ips_table *out)
{
    ips_table_shm *table = (ips_table_shm *)ips_segment_at(segment, offset, sizeof(ips_table_shm));
    if (table == NULL || offset % 16 != 0) {
        return false;
    }
    /* relaxed: constant in a table; in anything else the caller's versions
     * tell.  The checks make it harmless meanwhile. */
    uint64_t slots = atomic_load_explicit(&table->slots, memory_order_relaxed);
    if (!ips_is_power_of_two(slots) || slots > IPS_TABLE_MOST ||
        ips_segment_at(segment, offset, sizeof *table + slots * sizeof(ips_slot_shm)) == NULL) {
        return false;
    }
    out->slot = table->slot;
    out->mask = slots - 1;
    out->offset = offset;
    return true;
}

static inline ips_offset
ips_table_slot_offset(const ips_table *table, uint64_t index)
{
    return table->offset + sizeof(ips_table_shm) + index * sizeof(ips_slot_shm);
}

/* May one more slot be taken, or is it time for ips_table_rebuild? */
static inline bool
ips_table_has_room(const ips_table *table, uint64_t used)
{
    return (used + 1) * 3 <= (table->mask + 1) * 2;
}

/* Slots for a fresh table that will hold `items`, a third full. */
uint64_t ips_table_slots_for(uint64_t items);

/* Inside a transaction: a fresh table without items. */
IPS_MUST_CHECK int ips_table_create(ips_segment *segment, uint64_t slots, ips_offset *out);
/* Inside a transaction: a fresh table with the items of `old`, whose number
 * must be `items`, and place for `more`; `old` is freed at commit.  The caller
 * publishes `out`. */
IPS_MUST_CHECK int ips_table_rebuild(ips_segment *segment, const ips_table *old,
    uint64_t items, uint64_t more, ips_offset *out);

/* With plain stores, into a table that this transaction has made. */
void ips_table_put_fresh(const ips_table *table, uint64_t index, uint64_t hash, ips_offset item);
/* Through the journal. */
IPS_MUST_CHECK int ips_table_put(ips_segment *segment, const ips_table *table,
    uint64_t index, uint64_t hash, ips_offset item);
/* Sets *emptied where the slot is EMPTY rather than ERASED afterwards. */
IPS_MUST_CHECK int ips_table_erase(ips_segment *segment, const ips_table *table,
    uint64_t index, bool *emptied);

#endif
