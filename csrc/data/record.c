/* SPDX-License-Identifier: Apache-2.0 */
/* Records: looking, and changes of values.  Their making, upgrading and end
 * are in data/record_whole.c. */
#include "data/record.h"

#include <stdlib.h>
#include <string.h>

#include "base/atomics.h"
#include "base/checked.h"
#include "base/hash.h"
#include "data/layouts.h"
#include "data/record_slot.h"

/* relaxed: a reader validates the record's version, a writer holds the
 * segment's lock. */
#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

#define OPTIMISM 16 /* lock-free tries before a reader gives up */

#define LOCKED UINT64_C(1) /* in place of the version that must hold */

enum { FOUND, BROKEN };

int
ips_record_damaged(const ips_record *record, const char *what)
{
    return ips_fail(IPS_ECORRUPT, "Record at offset %llu: %s",
        (unsigned long long)record->offset, what);
}

int
ips_record_open(ips_segment *segment, ips_offset offset, uint64_t generation, ips_record *out)
{
    ips_root_shm *root = ips_root_at(segment, offset, IPS_TYPE_RECORD, sizeof(ips_record_shm));
    if (root == NULL) {
        return ips_fail(IPS_ECORRUPT, "no Record at offset %llu", (unsigned long long)offset);
    }
    *out = (ips_record){.segment = segment, .shm = (ips_record_shm *)(void *)root,
        .offset = offset, .generation = generation};
    return 0;
}

/* --- reading, with the lock or without */

/* After a lock-free look: 0 where it was one state of this very record, 1 to
 * look again, IPS_EGONE.  The order of looks: see verdict in data/deque.c. */
static int
verdict(const ips_record *record, uint64_t seen)
{
    bool lives = ips_root_lives(&record->shm->root, record->generation);
    if (!ips_read_ok(record->segment, record->offset, seen)) {
        return 1;
    }
    if (ips_root_lives(&record->shm->root, record->generation)) {
        return 0;
    }
    return lives ? 1 : ips_root_gone(IPS_TYPE_RECORD);
}

/* 0: an even version in *seen.  1: look again.  IPS_RECORD_BUSY where waiting
 * is in vain: the writer is this thread. */
static int
begin_reading(const ips_record *record, uint64_t *seen)
{
    *seen = ips_read_begin(record->segment, record->offset);
    if ((*seen & 1) == 0) {
        return 0;
    }
    ips_pause();
    return ips_tx_is_mine(record->segment) ? IPS_RECORD_BUSY : 1;
}

static int
alive(const ips_record *record)
{
    return ips_root_lives(&record->shm->root, record->generation)
        ? 0 : ips_root_gone(IPS_TYPE_RECORD);
}

bool
ips_slot_value(ips_segment *segment, const ips_slot *slot, ips_value *out)
{
    out->size = ips_value_word_size(slot->word);
    out->kind = ips_value_word_kind(slot->word);
    if (ips_slot_is_inline(slot)) {
        out->bytes = (const uint8_t *)&slot->place;
        return true;
    }
    out->bytes = slot->place == 0 || slot->place % 16 != 0 || out->size > IPS_VALUE_MAX
        ? NULL : ips_segment_at(segment, slot->place, ips_align_up(out->size, 8));
    return out->bytes != NULL;
}

/* `seen` is the version that must hold, or LOCKED. */
static int
read_slot(const ips_record *record, uint32_t offset, uint64_t seen, ips_snapshot *out)
{
    ips_slot slot;
    ips_value value;
    ips_copy_racing(&slot, record->at + offset, sizeof slot);
    if (!ips_slot_value(record->segment, &slot, &value)) {
        return BROKEN;
    }
    if (ips_slot_is_inline(&slot)) {
        return ips_snapshot_put(out, value.bytes, value.size, value.kind);
    }
    /* Its size is believed only while the version holds. */
    if (seen != LOCKED && !ips_read_ok(record->segment, record->offset, seen)) {
        return BROKEN;
    }
    return ips_snapshot_is_sane(out, record->segment)
        ? ips_snapshot_add(out, value.bytes, value.size, value.kind) : BROKEN;
}

static int
read_parts(const ips_record *record, const ips_record_part *parts, uint32_t count, uint64_t seen,
    ips_snapshot *out)
{
    int found = FOUND;
    out->size = 0;
    out->records = 0;
    if (!ips_record_is_as_seen(record)) {
        return IPS_RECORD_CHANGED;
    }
    for (uint32_t i = 0; found == FOUND && i < count; i++) {
        const ips_record_part *part = &parts[i];
        if (!ips_within(part->offset, part->slot ? sizeof(ips_slot) : part->size, record->size)) {
            return BROKEN;
        }
        found = part->slot ? read_slot(record, part->offset, seen, out)
                           : ips_snapshot_add(out, record->at + part->offset, part->size, 0);
    }
    return found;
}

static int
outcome(const ips_record *record, int found)
{
    return found == BROKEN ? ips_record_damaged(record, "a value lies outside the segment") : found;
}

int
ips_record_read(const ips_record *record, const ips_record_part *parts, uint32_t count,
    ips_snapshot *out)
{
    for (int attempt = 0; attempt < OPTIMISM; attempt++) {
        uint64_t seen;
        int now = begin_reading(record, &seen);
        if (now == 0) {
            int found = read_parts(record, parts, count, seen, out);
            now = found < 0 ? found : verdict(record, seen);
            if (now == 0) {
                return outcome(record, found);
            }
        }
        if (now != 1) {
            return now;
        }
    }
    return IPS_RECORD_BUSY;
}

int
ips_record_read_locked(const ips_record *record, const ips_record_part *parts, uint32_t count,
    ips_snapshot *out)
{
    int status = alive(record);
    return status < 0 ? status : outcome(record, read_parts(record, parts, count, LOCKED, out));
}

static int
copy_slot(const ips_record *record, uint32_t offset, uint64_t seen, ips_value_copy *out)
{
    ips_slot slot;
    ips_value value;
    if (!ips_record_is_as_seen(record)) {
        return IPS_RECORD_CHANGED;
    }
    if (!ips_within(offset, sizeof slot, record->size)) {
        return BROKEN;
    }
    ips_copy_racing(&slot, record->at + offset, sizeof slot);
    /* Its size is believed only while the version holds. */
    if (!ips_slot_value(record->segment, &slot, &value) ||
        (value.size > sizeof out->room && !ips_read_ok(record->segment, record->offset, seen))) {
        return BROKEN;
    }
    int status = ips_value_copy_reserve(out, value.size);
    if (status < 0) {
        return status;
    }
    ips_copy_racing(out->bytes, value.bytes, value.size);
    out->kind = value.kind;
    return FOUND;
}

int
ips_record_slot(const ips_record *record, uint32_t offset, ips_value_copy *out)
{
    for (int attempt = 0; attempt < OPTIMISM; attempt++) {
        uint64_t seen;
        int now = begin_reading(record, &seen);
        if (now == 0) {
            int found = copy_slot(record, offset, seen, out);
            now = found < 0 ? found : verdict(record, seen);
            if (now == 0) {
                return outcome(record, found);
            }
        }
        if (now != 1) {
            return now;
        }
    }
    return IPS_RECORD_BUSY;
}

/* --- the layout */

static int
find_layout(ips_record *record, uint8_t **layout, size_t *size)
{
    ips_layout found;
    ips_schema_head head;
    if (!ips_layout_open(record->segment, LOAD(record->shm->layout), &found) ||
        found.size < sizeof head) {
        return BROKEN;
    }
    uint8_t *bytes = ips_layout_copy(&found);
    if (bytes == NULL) {
        return IPS_ENOMEM;
    }
    memcpy(&head, bytes, sizeof head);
    record->body = LOAD(record->shm->body);
    record->hash = LOAD(record->shm->hash);
    record->size = head.body;
    record->at = record->body == 0 || record->body % 16 != 0 || head.body > IPS_SCHEMA_BODY_MAX
        ? NULL : ips_segment_at(record->segment, record->body, head.body == 0 ? 8 : head.body);
    *layout = bytes;
    *size = found.size;
    return record->at == NULL || record->hash != ips_hash(bytes, found.size) ? BROKEN : FOUND;
}

/* Give up what was found where it is not to be used. */
static int
settle_layout(ips_record *record, int found, uint8_t **layout)
{
    if (found == FOUND) {
        return 0;
    }
    free(*layout);
    *layout = NULL;
    record->body = 0;
    return found == BROKEN ? ips_record_damaged(record, "its layout makes no sense") : found;
}

int
ips_record_attach(ips_record *record, uint8_t **layout, size_t *size)
{
    for (int attempt = 0; attempt < OPTIMISM; attempt++) {
        uint64_t seen;
        *layout = NULL;
        int now = begin_reading(record, &seen);
        if (now == 0) {
            int found = find_layout(record, layout, size);
            now = found < 0 ? found : verdict(record, seen);
            if (now == 0) {
                return settle_layout(record, found, layout);
            }
            free(*layout);
            *layout = NULL;
            record->body = 0;
        }
        if (now != 1) {
            return now;
        }
    }
    return IPS_RECORD_BUSY;
}

int
ips_record_attach_locked(ips_record *record, uint8_t **layout, size_t *size)
{
    *layout = NULL;
    int status = alive(record);
    return status < 0 ? status : settle_layout(record, find_layout(record, layout, size), layout);
}

/* --- changing one word */

/* The lock is ours: is it still the record that the handle knows? */
static bool
is_mine(const ips_record *record, uint32_t offset, uint32_t size)
{
    return ips_root_lives(&record->shm->root, record->generation) &&
           ips_record_is_as_seen(record) && ips_within(offset, size, record->size);
}

bool
ips_record_poke(const ips_record *record, uint32_t offset, uint32_t size, const void *bytes)
{
    if (!ips_single_begin(record->segment)) {
        return false;
    }
    bool done = false;
    if (is_mine(record, offset, size)) {
        _Atomic uint64_t *word =
            (_Atomic uint64_t *)(void *)(record->at + (offset & ~UINT32_C(7)));
        uint64_t image = LOAD(*word);
        memcpy((uint8_t *)&image + offset % 8, bytes, size);
        done = ips_single_store(&record->shm->root.version, word, image);
    }
    ips_single_end(record->segment);
    return done;
}

bool
ips_record_poke_slot(const ips_record *record, uint32_t offset, const ips_slot *slot)
{
    if (!ips_single_begin(record->segment)) {
        return false;
    }
    bool done = false;
    if (is_mine(record, offset, sizeof *slot)) {
        _Atomic uint64_t *words = (_Atomic uint64_t *)(void *)(record->at + offset);
        done = LOAD(words[0]) == slot->word &&
               ips_single_store(&record->shm->root.version, &words[1], slot->place);
    }
    ips_single_end(record->segment);
    return done;
}

/* --- changing, inside a transaction */

int
ips_slot_make(ips_segment *segment, const ips_value *value, ips_slot *out)
{
    *out = (ips_slot){ips_value_word(value->size, value->kind), 0};
    if (ips_slot_is_inline(out)) {
        if (value->size != 0) {
            memcpy(&out->place, value->bytes, value->size);
        }
        return 0;
    }
    if (value->size > IPS_VALUE_MAX) {
        return ips_fail(IPS_ETOOBIG, "a value of %zu bytes", value->size);
    }
    void *at;
    int status = ips_fresh_block(segment, ips_align_up(value->size, 8), &out->place, &at);
    if (status == 0) {
        memcpy(at, value->bytes, value->size);
    }
    return status;
}

int
ips_slot_free(ips_segment *segment, const ips_slot *slot)
{
    return ips_slot_is_inline(slot) ? 0 : ips_tx_free(segment, slot->place);
}

static int
write_slot(const ips_record *record, const ips_record_change *change)
{
    ips_slot old, new;
    ips_segment *segment = record->segment;
    const uint32_t offset = change->part.offset;
    const ips_value *value = &change->value;
    ips_copy_racing(&old, record->at + offset, sizeof old);
    const bool fits = !ips_slot_is_inline(&old) && value->size > IPS_SLOT_INLINE &&
                      value->size <= IPS_SLOT_REUSED &&
                      ips_block_size(segment, old.place) >= ips_align_up(value->size, 8);
    if (fits) {
        int status = ips_tx_write(segment, old.place, value->bytes, value->size);
        return status < 0 ? status
            : ips_tx_store(segment, record->body + offset,
                ips_value_word(value->size, value->kind));
    }
    int status = ips_slot_make(segment, value, &new);
    if (status < 0) {
        return status;
    }
    ips_fresh_ready();
    status = ips_tx_write(segment, record->body + offset, &new, sizeof new);
    return status < 0 ? status : ips_slot_free(segment, &old);
}

/* Whole words through the journal, the bytes around it as they are. */
static int
write_flat(const ips_record *record, const ips_record_change *change)
{
    const uint32_t skipped = change->part.offset % 8;
    const uint32_t start = change->part.offset - skipped;
    const uint32_t size = change->part.size;
    uint8_t room[256];
    if (change->value.size != size) {
        return ips_record_damaged(record, "a value of another size than its field's");
    }
    uint8_t *image = skipped + size <= sizeof room ? room : malloc(skipped + size);
    if (image == NULL) {
        return ips_fail(IPS_ENOMEM, "a field of %u bytes", size);
    }
    memcpy(image, record->at + start, skipped);
    memcpy(image + skipped, change->value.bytes, size);
    int status = ips_tx_write(record->segment, record->body + start, image, skipped + size);
    if (image != room) {
        free(image);
    }
    return status;
}

int
ips_record_write(const ips_record *record, const ips_record_change *changes, uint32_t count)
{
    int status = alive(record);
    if (status == 0 && !ips_record_is_as_seen(record)) {
        return IPS_RECORD_CHANGED;
    }
    if (status == 0) {
        status = ips_tx_touch(record->segment, record->offset);
    }
    for (uint32_t i = 0; status == 0 && i < count; i++) {
        const ips_record_part *part = &changes[i].part;
        if (!ips_within(part->offset, part->slot ? sizeof(ips_slot) : part->size, record->size)) {
            return ips_record_damaged(record, "a field outside the body");
        }
        status = part->slot ? write_slot(record, &changes[i]) : write_flat(record, &changes[i]);
    }
    return status;
}
