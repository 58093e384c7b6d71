/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/catalogue.h"

#include <stdio.h>
#include <string.h>

#include "base/atomics.h"
#include "base/hash.h"
#include "segment/handle.h"
#include "segment/heap.h"
#include "segment/reach.h"

#define EMPTY UINT64_C(0)
#define GRAVE UINT64_C(1)
#define LINK_MASK ((UINT64_C(1) << 40) - 1)
#define FIRST_SLOTS 16u
#define MOST_SLOTS (UINT64_C(1) << 40)
#define FIRST_PLACES 16u
#define ATTEMPTS 64        /* looks of a reader before it gives way to writers */
#define STORES 12

/* A look that met something impossible: damage, unless a writer was inside. */
enum { STUMBLED = 1 };

/* One reading of the root, checked. */
typedef struct {
    uint64_t *table;
    ips_order_shm *order;
    uint64_t slots, filled, places, placed, count;
} view;

static ips_catalogue_shm *
root_of(const ips_segment *segment)
{
    return &segment->shm->catalogue;
}

static uint64_t
version_at(const ips_segment *segment)
{
    return (uint64_t)((uint8_t *)root_of(segment) - segment->base);
}

static uint64_t
slot_make(uint64_t entry, uint64_t hash)
{
    return entry / 16 | (hash & ~LINK_MASK);
}

static uint64_t
slot_entry(uint64_t slot)
{
    return (slot & LINK_MASK) * 16;
}

static bool
read_root(ips_segment *segment, view *out)
{
    ips_catalogue_shm root;
    ips_copy_racing(&root, root_of(segment), sizeof root);
    out->slots = root.slots;
    out->filled = root.filled;
    out->places = root.places;
    out->placed = root.placed;
    out->count = root.count;
    if (root.slots == 0) {
        return root.places == 0 && root.placed == 0 && root.count == 0;
    }
    if (!ips_is_power_of_two(root.slots) || root.slots > MOST_SLOTS ||
        root.places > MOST_SLOTS || root.placed > root.places || root.count > root.placed ||
        root.filled >= root.slots) {
        return false;
    }
    out->table = ips_segment_at(segment, root.table, root.slots * 8);
    out->order = ips_segment_at(segment, root.order, root.places * sizeof(ips_order_shm));
    return out->table != NULL && out->order != NULL;
}

/* Copy of an entry with its name; false where none can be. */
static bool
read_entry(ips_segment *segment, uint64_t offset, ips_entry_shm *head, char name[IPS_NAME_MAX + 8])
{
    const ips_entry_shm *shm = ips_segment_at(segment, offset, sizeof *shm);
    if (shm == NULL) {
        return false;
    }
    ips_copy_racing(head, shm, sizeof *head);
    uint64_t padded = ips_align_up(head->size, 8);
    if (head->size == 0 || head->size > IPS_NAME_MAX ||
        ips_segment_at(segment, offset, sizeof *shm + padded) == NULL) {
        return false;
    }
    ips_copy_racing(name, shm->name, padded);
    name[head->size] = '\0';
    return true;
}

static void
fill(ips_entry *out, uint64_t *serial, const ips_entry_shm *head, const char *name)
{
    *out = (ips_entry){.offset = head->root, .generation = head->generation, .type = head->type};
    memcpy(out->name, name, head->size + 1);
    *serial = head->serial;
}

/* Where a name stands, or would. */
typedef struct {
    uint64_t index;  /* of its slot */
    uint64_t entry;  /* its offset, 0: not there */
    uint64_t serial;
} spot;

/* 0 (spot.entry tells), or STUMBLED. */
static int
search(ips_segment *segment, const view *at, const char *name, ips_entry *out, spot *found)
{
    size_t size = strlen(name);
    uint64_t hash = ips_hash(name, size);
    uint64_t grave = UINT64_MAX;
    *found = (spot){.index = 0};
    for (uint64_t step = 0; step < at->slots; step++) {
        uint64_t index = (hash + step) & (at->slots - 1);
        /* relaxed: validated by the version. */
        uint64_t slot = atomic_load_explicit((_Atomic uint64_t *)&at->table[index],
                                             memory_order_relaxed);
        if (slot == EMPTY) {
            found->index = grave != UINT64_MAX ? grave : index;
            return 0;
        }
        if (slot == GRAVE) {
            grave = grave != UINT64_MAX ? grave : index;
        } else if ((slot & ~LINK_MASK) == (hash & ~LINK_MASK)) {
            ips_entry_shm head;
            char stored[IPS_NAME_MAX + 8];
            if (!read_entry(segment, slot_entry(slot), &head, stored)) {
                return STUMBLED;
            }
            if (head.hash == hash && head.size == size && memcmp(stored, name, size) == 0) {
                found->index = index;
                found->entry = slot_entry(slot);
                fill(out, &found->serial, &head, stored);
                return 0;
            }
        }
    }
    return at->slots == 0 ? 0 : STUMBLED; /* a sound table has an empty slot */
}

/* The first entry in order with a serial of at least `from`. */
static int
search_order(ips_segment *segment, const view *at, uint64_t from, ips_entry *out, spot *found)
{
    uint64_t low = 0;
    uint64_t high = at->placed;
    ips_order_shm pair;
    *found = (spot){.index = 0};
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        ips_copy_racing(&pair, &at->order[middle], sizeof pair);
        if (pair.serial < from) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (; low < at->placed; low++) {
        ips_copy_racing(&pair, &at->order[low], sizeof pair);
        if (pair.entry != 0) {
            ips_entry_shm head;
            char stored[IPS_NAME_MAX + 8];
            if (!read_entry(segment, pair.entry, &head, stored) || head.serial != pair.serial) {
                return STUMBLED;
            }
            found->index = low;
            found->entry = pair.entry;
            fill(out, &found->serial, &head, stored);
            return 0;
        }
    }
    return 0;
}

/* --- reading, with and without the lock */

typedef int (*look)(ips_segment *segment, const view *at, const void *key, ips_entry *out,
                    spot *found);

static int
look_up_name(ips_segment *segment, const view *at, const void *key, ips_entry *out, spot *found)
{
    return search(segment, at, (const char *)key, out, found);
}

static int
look_up_order(ips_segment *segment, const view *at, const void *key, ips_entry *out, spot *found)
{
    return search_order(segment, at, *(const uint64_t *)key, out, found);
}

static int
damaged(const ips_segment *segment)
{
    return ips_fail(IPS_ECORRUPT, "segment '%s': the catalogue of its names; run its check()",
                    ips_segment_title(segment));
}

static int
look_locked(ips_segment *segment, look how, const void *key, ips_entry *out, spot *found)
{
    view at = {.slots = 0};
    if (!read_root(segment, &at) || how(segment, &at, key, out, found) == STUMBLED) {
        return damaged(segment);
    }
    return IPS_OK;
}

/* 0 or IPS_EAGAIN, IPS_ECORRUPT; *found tells whether it is there. */
static int
look_racing(ips_segment *segment, look how, const void *key, ips_entry *out, spot *found)
{
    const _Atomic uint64_t *version = &root_of(segment)->version;
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        /* acquire: pairs with the release in ips_journal_settle_versions. */
        uint64_t seen = atomic_load_explicit(version, memory_order_acquire);
        if ((seen & 1) != 0) {
            ips_pause();
            continue;
        }
        view at = {.slots = 0};
        bool sound = read_root(segment, &at) && how(segment, &at, key, out, found) != STUMBLED;
        /* The copies come before the second look; pairs with the release
         * fence in ips_journal_touch. */
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(version, memory_order_relaxed) == seen) {
            return sound ? IPS_OK : damaged(segment);
        }
    }
    return ips_fail(IPS_EAGAIN, "segment '%s': others are changing its names",
                    ips_segment_title(segment));
}

static int
look_any(ips_segment *segment, look how, const void *key, ips_entry *out, spot *found)
{
    return ips_tx_is_mine(segment) ? look_locked(segment, how, key, out, found)
                                   : look_racing(segment, how, key, out, found);
}

int
ips_catalogue_find(ips_segment *segment, const char *name, ips_entry *out)
{
    spot found;
    int status = look_any(segment, look_up_name, name, out, &found);
    if (status == 0 && found.entry == 0) {
        return ips_fail(IPS_ENOENT, "'%.100s' in segment '%s'", name, ips_segment_title(segment));
    }
    return status;
}

int
ips_catalogue_next(ips_segment *segment, uint64_t *cursor, ips_entry *out)
{
    spot found;
    int status = look_any(segment, look_up_order, cursor, out, &found);
    if (status == 0 && found.entry == 0) {
        return IPS_ENOENT; /* everyday news: not noted */
    }
    if (status == 0) {
        *cursor = found.serial + 1;
    }
    return status;
}

/* --- changing, under the lock */

/* Lay the live entries out anew, twice as large where they need it, beside
 * the old tables; then store the new root.  The blocks are fresh, so they are
 * filled without the journal. */
static int
rebuild(ips_segment *segment, const view *old)
{
    uint64_t slots = FIRST_SLOTS;
    uint64_t places = FIRST_PLACES;
    while (slots < old->count * 3) {
        slots *= 2;
    }
    while (places < old->count * 2) {
        places *= 2;
    }
    ips_offset table_at, order_at;
    int status = ips_tx_alloc(segment, slots * 8, &table_at);
    if (status == 0) {
        status = ips_tx_alloc(segment, places * sizeof(ips_order_shm), &order_at);
    }
    if (status < 0) {
        return status;
    }
    uint64_t *table = ips_segment_at(segment, table_at, slots * 8);
    ips_order_shm *order = ips_segment_at(segment, order_at, places * sizeof *order);
    if (table == NULL || order == NULL) {
        return damaged(segment);
    }
    memset(table, 0, slots * 8);
    uint64_t placed = 0;
    for (uint64_t i = 0; i < old->placed; i++) {
        ips_order_shm pair = old->order[i];
        const ips_entry_shm *entry = ips_segment_at(segment, pair.entry, sizeof *entry);
        if (pair.entry == 0) {
            continue;
        }
        if (entry == NULL || placed == old->count) {
            return damaged(segment);
        }
        uint64_t index = entry->hash & (slots - 1);
        while (table[index] != EMPTY) { /* ends: slots > count >= placed */
            index = (index + 1) & (slots - 1);
        }
        table[index] = slot_make(pair.entry, entry->hash);
        order[placed++] = pair;
    }
    ips_catalogue_shm *root = root_of(segment);
    if (old->slots != 0) {
        status = ips_tx_free(segment, root->table);
        status = status < 0 ? status : ips_tx_free(segment, root->order);
    }
    status = status < 0 ? status : ips_journal_reserve(&segment->journal, STORES);
    if (status < 0) {
        return status;
    }
    ips_set(segment, &root->table, table_at);
    ips_set(segment, &root->slots, slots);
    ips_set(segment, &root->filled, placed);
    ips_set(segment, &root->order, order_at);
    ips_set(segment, &root->places, places);
    ips_set(segment, &root->placed, placed);
    return IPS_OK;
}

static int
new_entry(ips_segment *segment, const char *name, const ips_entry *facts, uint64_t serial,
          ips_offset *out)
{
    size_t size = strlen(name);
    int status = ips_tx_alloc(segment, sizeof(ips_entry_shm) + ips_align_up(size, 8), out);
    if (status < 0) {
        return status;
    }
    ips_entry_shm *entry = ips_segment_at(segment, *out, sizeof *entry + ips_align_up(size, 8));
    if (entry == NULL) {
        return damaged(segment);
    }
    *entry = (ips_entry_shm){
        .hash = ips_hash(name, size),
        .serial = serial,
        .root = facts->offset,
        .generation = facts->generation,
        .type = facts->type,
        .size = (uint32_t)size,
    };
    memcpy(entry->name, name, size);
    return IPS_OK;
}

int
ips_catalogue_insert(ips_segment *segment, const char *name, uint32_t type, ips_offset root_block,
                     uint64_t *generation)
{
    ips_catalogue_shm *root = root_of(segment);
    ips_entry facts;
    spot found = {.index = 0};
    view at = {.slots = 0};
    ips_offset entry;
    int status = ips_tx_inside(segment);
    status = status < 0 ? status : ips_name_check(name, strlen(name));
    status = status < 0 ? status : look_locked(segment, look_up_name, name, &facts, &found);
    if (status == 0 && found.entry != 0) {
        return ips_fail(IPS_EEXIST, "'%.100s' in segment '%s'", name, ips_segment_title(segment));
    }
    status = status < 0 ? status : ips_journal_touch(&segment->journal, version_at(segment));
    if (status == 0 && !read_root(segment, &at)) {
        status = damaged(segment);
    }
    if (status == 0 && ((at.filled + 1) * 4 > at.slots * 3 || at.placed == at.places)) {
        status = rebuild(segment, &at);
        if (status == 0 && !read_root(segment, &at)) {
            status = damaged(segment);
        }
        status = status < 0 ? status : look_locked(segment, look_up_name, name, &facts, &found);
    }
    uint64_t serial = ips_serial_next(segment);
    facts = (ips_entry){.offset = root_block, .type = type,
                        .generation = ips_generation_of(serial)};
    status = status < 0 ? status : new_entry(segment, name, &facts, serial, &entry);
    status = status < 0 ? status : ips_journal_reserve(&segment->journal, STORES);
    if (status < 0) {
        return status;
    }
    if (found.index >= at.slots || at.placed >= at.places) {
        return damaged(segment); /* spoilt between two looks */
    }
    bool was_empty = at.table[found.index] == EMPTY;
    ips_set(segment, &at.table[found.index], slot_make(entry, ips_hash(name, strlen(name))));
    ips_set(segment, &root->filled, at.filled + was_empty);
    ips_set(segment, &at.order[at.placed].serial, serial);
    ips_set(segment, &at.order[at.placed].entry, entry);
    ips_set(segment, &root->placed, at.placed + 1);
    ips_set(segment, &root->count, at.count + 1);
    *generation = facts.generation;
    return IPS_OK;
}

int
ips_catalogue_remove(ips_segment *segment, const char *name)
{
    ips_catalogue_shm *root = root_of(segment);
    ips_entry facts;
    spot found = {.index = 0}, place = {.index = 0};
    view at = {.slots = 0};
    int status = ips_tx_inside(segment);
    status = status < 0 ? status : look_locked(segment, look_up_name, name, &facts, &found);
    if (status == 0 && found.entry == 0) {
        return ips_fail(IPS_ENOENT, "'%.100s' in segment '%s'", name, ips_segment_title(segment));
    }
    status = status < 0
        ? status : look_locked(segment, look_up_order, &found.serial, &facts, &place);
    if (status == 0 && (place.entry != found.entry || !read_root(segment, &at) ||
                        found.index >= at.slots || place.index >= at.placed || at.count == 0)) {
        status = damaged(segment);
    }
    status = status < 0 ? status : ips_journal_touch(&segment->journal, version_at(segment));
    status = status < 0 ? status : ips_tx_free(segment, found.entry);
    status = status < 0 ? status : ips_journal_reserve(&segment->journal, STORES);
    if (status < 0) {
        return status;
    }
    ips_set(segment, &at.table[found.index], GRAVE);
    ips_set(segment, &at.order[place.index].entry, 0);
    ips_set(segment, &root->count, at.count - 1);
    return IPS_OK;
}

/* --- invariants */

typedef struct {
    void (*report)(const char *line, void *context);
    void *context;
    int lines;
} reporter;

static int
look_up_count(ips_segment *segment, const view *at, const void *key, ips_entry *out, spot *found)
{
    (void)segment;
    (void)key;
    (void)out;
    found->index = at->count;
    return 0;
}

int
ips_catalogue_count(ips_segment *segment, uint64_t *out)
{
    spot found = {.index = 0};
    int status = look_any(segment, look_up_count, NULL, NULL, &found);
    *out = found.index;
    return status;
}

static void
complain(reporter *to, const char *what, uint64_t number)
{
    char line[128];
    (void)snprintf(line, sizeof line, "catalogue: %s (%llu)", what, (unsigned long long)number);
    to->report(line, to->context);
    to->lines++;
}

static void
check_entry(ips_segment *segment, const ips_order_shm *pair, reporter *to)
{
    ips_entry_shm head;
    ips_entry facts;
    char name[IPS_NAME_MAX + 8];
    spot found;
    if (ips_block_size(segment, pair->entry) == 0 ||
        !read_entry(segment, pair->entry, &head, name)) {
        complain(to, "an entry that is no block", pair->entry);
        return;
    }
    if (head.serial != pair->serial || head.hash != ips_hash(name, head.size) ||
        head.generation != ips_generation_of(head.serial) ||
        ips_name_check(name, head.size) < 0) {
        complain(to, "an entry whose words disagree", pair->entry);
    }
    if (ips_block_size(segment, head.root) == 0) {
        complain(to, "an object that is no block", head.root);
    }
    if (look_locked(segment, look_up_name, name, &facts, &found) < 0 ||
        found.entry != pair->entry) {
        complain(to, "an entry that is not found by its name", pair->entry);
    }
}

int
ips_catalogue_check(ips_segment *segment, void (*report)(const char *line, void *context),
                    void *context)
{
    reporter to = {report, context, 0};
    view at = {.slots = 0};
    ips_catalogue_shm *root = root_of(segment);
    if (!read_root(segment, &at)) {
        complain(&to, "the root makes no sense", at.slots);
        return IPS_ECORRUPT;
    }
    if (at.slots != 0 && (ips_block_size(segment, root->table) < at.slots * 8 ||
                          ips_block_size(segment, root->order) < at.places * 16)) {
        complain(&to, "a table that is no block", root->table);
    }
    uint64_t names = 0, filled = 0, used = 0, last = 0;
    for (uint64_t i = 0; i < at.placed && to.lines < 100; i++) {
        ips_order_shm pair = at.order[i];
        if (pair.serial <= last || pair.serial > segment->shm->serial) {
            complain(&to, "the order of entries", i);
        }
        last = pair.serial;
        if (pair.entry != 0) {
            names++;
            check_entry(segment, &pair, &to);
        }
    }
    for (uint64_t i = 0; i < at.slots; i++) {
        filled += at.table[i] != EMPTY;
        used += at.table[i] != EMPTY && at.table[i] != GRAVE;
    }
    if (names != at.count || used != at.count || filled != at.filled) {
        complain(&to, "counts disagree", names);
    }
    return to.lines == 0 ? IPS_OK : IPS_ECORRUPT;
}

void
ips_catalogue_reach(ips_segment *segment, ips_reach *reach)
{
    view at = {.slots = 0};
    ips_catalogue_shm *root = root_of(segment);
    if (!read_root(segment, &at) || at.slots == 0) {
        return; /* no names, or check() has said it */
    }
    (void)ips_reach_block(reach, root->table, "the catalogue", version_at(segment));
    (void)ips_reach_block(reach, root->order, "the catalogue", version_at(segment));
    for (uint64_t i = 0; i < at.placed; i++) {
        if (at.order[i].entry != 0) {
            (void)ips_reach_block(reach, at.order[i].entry, "the catalogue", version_at(segment));
        }
    }
}
