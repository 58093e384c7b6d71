/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/atomics.h"
#include "base/checked.h"
#include "data/flat_shape.h"

/* relaxed: a reader validates the vector's version, a writer holds the
 * segment's lock. */
#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

#define OPTIMISM 16    /* lock-free tries before a reader gives up */
#define LEAST_BYTES 64u

int
ips_flat_corrupt(const ips_flat *flat, const char *what)
{
    return ips_fail(IPS_ECORRUPT, "%s at offset %llu: %s", ips_type_name(flat->type),
        (unsigned long long)flat->offset, what);
}

ips_flat_shape
ips_flat_shape_of(const ips_flat *flat)
{
    return (ips_flat_shape){LOAD(flat->shm->items), LOAD(flat->shm->length)};
}

/* False where block and length do not fit together. */
bool
ips_flat_open_items(const ips_flat *flat, const ips_flat_shape *now, ips_flat_items *out)
{
    ips_flat_items_shm *shm = now->items % 16 != 0 || now->items == 0
        ? NULL : ips_segment_at(flat->segment, now->items, sizeof *shm);
    if (shm == NULL) {
        return false;
    }
    out->capacity = LOAD(shm->capacity);
    out->bytes = shm->items;
    return ips_count_possible(flat->segment, out->capacity) && now->length <= out->capacity &&
           ips_segment_at(flat->segment, now->items,
               sizeof *shm + ips_align_up(out->capacity * flat->size, 8)) != NULL;
}

/* --- reading, with the lock or without */

enum { FOUND, RANGE, BROKEN };

/* Some bytes from any place; items never cross a word by themselves. */
static void
copy_items(uint8_t *to, const uint8_t *from, uint64_t size)
{
    uint64_t word[1];
    const uint64_t skipped = (uintptr_t)from % 8;
    if (skipped != 0) {
        const uint64_t head = 8 - skipped < size ? 8 - skipped : size;
        ips_copy_racing(word, from - skipped, 8);
        memcpy(to, (const uint8_t *)word + skipped, head);
        to += head;
        from += head;
        size -= head;
    }
    ips_copy_racing(to, from, size);
}

static int
find_all(const ips_flat *flat, ips_span span, ips_snapshot *out)
{
    const ips_flat_shape now = ips_flat_shape_of(flat);
    ips_flat_items at;
    out->size = 0;
    out->records = 0;
    if (!ips_flat_open_items(flat, &now, &at)) {
        return BROKEN;
    }
    const ips_picked picked = ips_span_resolve(span, now.length);
    uint8_t *to = picked.count == 0 ? NULL : ips_snapshot_extend(out, picked.count * flat->size);
    if (to == NULL) {
        return picked.count == 0 ? FOUND : IPS_ENOMEM;
    }
    out->records = picked.count;
    if (picked.step == 1) {
        copy_items(to, at.bytes + picked.first * flat->size, picked.count * flat->size);
        return FOUND;
    }
    uint64_t place = picked.first;
    for (uint64_t i = 0; i < picked.count; i++, place += (uint64_t)picked.step) {
        copy_items(to + i * flat->size, at.bytes + place * flat->size, flat->size);
    }
    return FOUND;
}

static int
find(const ips_flat *flat, int64_t index, uint64_t *item)
{
    const ips_flat_shape now = ips_flat_shape_of(flat);
    ips_flat_items at;
    uint64_t place;
    if (!ips_row_index(index, now.length, &place)) {
        return RANGE;
    }
    if (!ips_flat_open_items(flat, &now, &at)) {
        return BROKEN;
    }
    *item = 0;
    copy_items((uint8_t *)item, at.bytes + place * flat->size, flat->size);
    return FOUND;
}

static int
outcome(const ips_flat *flat, int found)
{
    if (found == BROKEN) {
        return ips_flat_corrupt(flat, "its items do not fit it");
    }
    return found == RANGE ? IPS_ROW_RANGE : found;
}

/* After a lock-free look: 0 where it was one state of this very vector, 1 to
 * look again, IPS_EGONE.  The order of looks: see verdict in data/deque.c. */
static int
verdict(const ips_flat *flat, uint64_t seen)
{
    bool lives = ips_root_lives(&flat->shm->root, flat->generation);
    if (!ips_read_ok(flat->segment, flat->offset, seen)) {
        return 1;
    }
    if (ips_root_lives(&flat->shm->root, flat->generation)) {
        return 0;
    }
    return lives ? 1 : ips_root_gone(flat->type);
}

/* 0: an even version in *seen.  1: look again.  IPS_ROW_BUSY where waiting is
 * in vain: the writer is this thread. */
static int
begin_reading(const ips_flat *flat, uint64_t *seen)
{
    *seen = ips_read_begin(flat->segment, flat->offset);
    if ((*seen & 1) == 0) {
        return 0;
    }
    ips_pause();
    return ips_tx_is_mine(flat->segment) ? IPS_ROW_BUSY : 1;
}

int
ips_flat_snapshot(const ips_flat *flat, ips_span span, ips_snapshot *out)
{
    for (int attempt = 0; attempt < OPTIMISM; attempt++) {
        int now = begin_reading(flat, &out->version);
        if (now == 0) {
            int found = find_all(flat, span, out);
            now = found < 0 ? found : verdict(flat, out->version);
            if (now == 0) {
                return outcome(flat, found);
            }
        }
        if (now != 1) {
            return now;
        }
    }
    return IPS_ROW_BUSY;
}

int
ips_flat_get(const ips_flat *flat, int64_t index, uint64_t *item)
{
    for (int attempt = 0; attempt < OPTIMISM; attempt++) {
        uint64_t seen;
        int now = begin_reading(flat, &seen);
        if (now == 0) {
            int found = find(flat, index, item);
            now = verdict(flat, seen);
            if (now == 0) {
                return outcome(flat, found);
            }
        }
        if (now != 1) {
            return now;
        }
    }
    return IPS_ROW_BUSY;
}

int
ips_flat_length(const ips_flat *flat, uint64_t *out)
{
    for (int attempt = 0; attempt < OPTIMISM; attempt++) {
        uint64_t seen;
        int now = begin_reading(flat, &seen);
        if (now == 0) {
            *out = LOAD(flat->shm->length);
            now = verdict(flat, seen);
        }
        if (now == 0 && !ips_count_possible(flat->segment, *out)) {
            return ips_flat_corrupt(flat, "its length cannot be");
        }
        if (now != 1) {
            return now;
        }
    }
    return IPS_ROW_BUSY;
}

/* --- inside a transaction */

int
ips_flat_alive(const ips_flat *flat)
{
    return ips_root_lives(&flat->shm->root, flat->generation)
        ? 0 : ips_root_gone(flat->type);
}

int
ips_flat_snapshot_locked(const ips_flat *flat, ips_span span, ips_snapshot *out)
{
    int status = ips_flat_alive(flat);
    out->version = LOAD(flat->shm->root.version);
    return status < 0 ? status : outcome(flat, find_all(flat, span, out));
}

int
ips_flat_get_locked(const ips_flat *flat, int64_t index, uint64_t *item)
{
    int status = ips_flat_alive(flat);
    return status < 0 ? status : outcome(flat, find(flat, index, item));
}

int
ips_flat_length_locked(const ips_flat *flat, uint64_t *out)
{
    *out = LOAD(flat->shm->length);
    int status = ips_flat_alive(flat);
    return status == 0 && !ips_count_possible(flat->segment, *out)
        ? ips_flat_corrupt(flat, "its length cannot be") : status;
}

/* The vector to change: alive, its version raised, its items open. */
static int
begin_changing(const ips_flat *flat, ips_flat_shape *now, ips_flat_items *at)
{
    int status = ips_flat_alive(flat);
    *now = ips_flat_shape_of(flat);
    if (status == 0 && !ips_flat_open_items(flat, now, at)) {
        status = ips_flat_corrupt(flat, "its items do not fit it");
    }
    return status < 0 ? status : ips_tx_touch(flat->segment, flat->offset);
}

static int
store_shape(const ips_flat *flat, const ips_flat_shape *now)
{
    return ips_tx_write(flat->segment, flat->offset + offsetof(ips_flat_shm, items), now,
        sizeof *now);
}

/* A block that nobody else knows, with place for `count` items and more. */
int
ips_flat_make_items(ips_segment *segment, unsigned size, uint64_t count, ips_offset *out, uint8_t **bytes)
{
    uint64_t room = ips_align_up((count + count / 2) * size, 16);
    room = room < LEAST_BYTES ? LEAST_BYTES : room;
    void *at;
    int status = ips_fresh_block(segment, sizeof(ips_flat_items_shm) + room, out, &at);
    if (status < 0) {
        return status;
    }
    ips_flat_items_shm *shm = at;
    memset(shm, 0, sizeof *shm);
    /* relaxed: nobody else knows the block until ips_fresh_ready. */
    atomic_store_explicit(&shm->capacity, room / size, memory_order_relaxed);
    *bytes = shm->items;
    return 0;
}

/* A place in the row where `removed` items become `added` others. */
typedef struct {
    uint64_t index, removed, added;
    const uint8_t *bytes;
} cut;

/* Through the journal, from the first changed word to the end of what moves. */
static int
change_in_place(const ips_flat *flat, const cut *at, const ips_flat_shape *now, const ips_flat_items *old)
{
    const uint64_t start = at->index * flat->size;
    const uint64_t skipped = start % 8;
    const uint64_t added = at->added * flat->size;
    const uint64_t after = (at->index + at->removed) * flat->size;
    const uint64_t right = at->added == at->removed ? 0 : now->length * flat->size - after;
    const uint64_t size = skipped + added + right;
    uint8_t room[256];
    uint8_t *image = size <= sizeof room ? room : malloc(size);
    if (image == NULL) {
        return ips_fail(IPS_ENOMEM, "%llu bytes that move", (unsigned long long)size);
    }
    memcpy(image, old->bytes + start - skipped, skipped);
    if (added != 0) {
        memcpy(image + skipped, at->bytes, added);
    }
    memcpy(image + skipped + added, old->bytes + after, right);
    int status = ips_tx_write(flat->segment,
        now->items + sizeof(ips_flat_items_shm) + start - skipped, image, size);
    if (image != room) {
        free(image);
    }
    return status;
}

static int
change_anew(const ips_flat *flat, const cut *at, ips_flat_shape *now, const ips_flat_items *old)
{
    const uint64_t start = at->index * flat->size;
    const uint64_t after = (at->index + at->removed) * flat->size;
    const uint64_t added = at->added * flat->size;
    const ips_offset before = now->items;
    uint8_t *bytes;
    int status = ips_flat_make_items(flat->segment, flat->size, now->length - at->removed + at->added,
        &now->items, &bytes);
    if (status < 0) {
        return status;
    }
    memcpy(bytes, old->bytes, start);
    if (added != 0) {
        memcpy(bytes + start, at->bytes, added);
    }
    memcpy(bytes + start + added, old->bytes + after, now->length * flat->size - after);
    ips_fresh_ready();
    return ips_tx_free(flat->segment, before);
}

/* Is the block large enough, and not much too large? */
static bool
suits(const ips_flat *flat, uint64_t length, const ips_flat_items *at)
{
    return length <= at->capacity &&
           (length >= at->capacity / 8 || at->capacity * flat->size <= 4 * LEAST_BYTES);
}

static int
replace(const ips_flat *flat, const cut *at, ips_flat_shape *now, const ips_flat_items *old)
{
    const uint64_t length = now->length - at->removed + at->added;
    const uint64_t changed = at->added == at->removed ? at->added : length - at->index;
    /* A journaled byte costs a few times one that is copied. */
    const bool is_little = changed * flat->size <= 512 + now->length * flat->size / 4;
    int status = suits(flat, length, old) && is_little ? change_in_place(flat, at, now, old)
                                                       : change_anew(flat, at, now, old);
    now->length = length;
    return status < 0 ? status : store_shape(flat, now);
}

/* --- one item, without the journal: it lies in one word */

typedef struct {
    ips_flat_shape shape;
    _Atomic uint64_t *word; /* which the item is in */
    uint64_t with;          /* the word with the item */
} single;

/* With the lock taken: the item at `index` of all there is room for; or false. */
static bool
begin_single(const ips_flat *flat, uint64_t item, single *out)
{
    if (!ips_single_begin(flat->segment)) {
        return false;
    }
    out->shape = ips_flat_shape_of(flat);
    out->word = NULL;
    out->with = item;
    return true;
}

static bool
find_word(const ips_flat *flat, uint64_t index, single *at)
{
    ips_flat_items items;
    if (!ips_root_lives(&flat->shm->root, flat->generation) ||
        !ips_flat_open_items(flat, &at->shape, &items) || index >= items.capacity) {
        return false;
    }
    uint8_t *place = items.bytes + index * flat->size;
    uintptr_t inside = (uintptr_t)place % 8;
    const uint64_t item = at->with;
    at->word = (_Atomic uint64_t *)(void *)(place - inside);
    at->with = LOAD(*at->word);
    memcpy((uint8_t *)&at->with + inside, &item, flat->size);
    return true;
}

/* The word means nothing yet where the item is: it comes first, then version and
 * length, as at an end of a deque (data/ends.c). */
bool
ips_flat_append_single(const ips_flat *flat, uint64_t item)
{
    single at;
    if (!begin_single(flat, item, &at)) {
        return false;
    }
    bool done = find_word(flat, at.shape.length, &at);
    if (done) {
        /* Pairs with the acquire fence in ips_read_ok; relaxed after it. */
        atomic_thread_fence(memory_order_release);
        atomic_store_explicit(at.word, at.with, memory_order_relaxed);
        done = ips_single_store(&flat->shm->root.version, &flat->shm->length,
            at.shape.length + 1);
    }
    ips_single_end(flat->segment);
    return done;
}

bool
ips_flat_set_single(const ips_flat *flat, int64_t index, uint64_t item)
{
    single at;
    uint64_t place;
    if (!begin_single(flat, item, &at)) {
        return false;
    }
    bool done = ips_row_index(index, at.shape.length, &place) && find_word(flat, place, &at) &&
                ips_single_store(&flat->shm->root.version, at.word, at.with);
    ips_single_end(flat->segment);
    return done;
}

int
ips_flat_append(const ips_flat *flat, uint64_t item)
{
    ips_flat_shape now;
    ips_flat_items old;
    int status = begin_changing(flat, &now, &old);
    const cut at = {now.length, 0, 1, (const uint8_t *)&item};
    return status < 0 ? status : replace(flat, &at, &now, &old);
}

int
ips_flat_set(const ips_flat *flat, int64_t index, uint64_t item)
{
    ips_flat_shape now;
    ips_flat_items old;
    int status = begin_changing(flat, &now, &old);
    cut at = {0, 1, 1, (const uint8_t *)&item};
    if (status == 0 && !ips_row_index(index, now.length, &at.index)) {
        status = IPS_ROW_RANGE;
    }
    return status != 0 ? status : change_in_place(flat, &at, &now, &old);
}

int
ips_flat_splice(const ips_flat *flat, ips_span span, const ips_snapshot *added)
{
    ips_flat_shape now;
    ips_flat_items old;
    int status = begin_changing(flat, &now, &old);
    const ips_picked picked = ips_span_resolve(span, now.length);
    const cut at = {picked.first, picked.count, added->records, added->bytes};
    return status < 0 ? status : replace(flat, &at, &now, &old);
}

int
ips_flat_assign(const ips_flat *flat, ips_span span, const ips_snapshot *added, uint64_t *count)
{
    ips_flat_shape now;
    ips_flat_items old;
    int status = begin_changing(flat, &now, &old);
    const ips_picked picked = ips_span_resolve(span, now.length);
    *count = picked.count;
    if (status == 0 && picked.count != added->records) {
        return IPS_ROW_RANGE;
    }
    uint64_t place = picked.first;
    for (uint64_t i = 0; status == 0 && i < picked.count; i++, place += (uint64_t)picked.step) {
        const cut at = {place, 1, 1, added->bytes + i * flat->size};
        status = change_in_place(flat, &at, &now, &old);
    }
    return status;
}

/* What is between the picked items, into a new block. */
static int
keep_others(const ips_flat *flat, const ips_picked *picked, ips_flat_shape *now, const ips_flat_items *old)
{
    const uint64_t size = flat->size;
    const ips_offset before = now->items;
    uint8_t *to;
    int status = ips_flat_make_items(flat->segment, flat->size, now->length - picked->count, &now->items,
        &to);
    if (status < 0) {
        return status;
    }
    uint64_t from = 0;
    for (uint64_t i = 0; i < picked->count; i++) {
        const uint64_t place = picked->first + i * (uint64_t)picked->step;
        memcpy(to, old->bytes + from * size, (place - from) * size);
        to += (place - from) * size;
        from = place + 1;
    }
    memcpy(to, old->bytes + from * size, (now->length - from) * size);
    now->length -= picked->count;
    ips_fresh_ready();
    status = ips_tx_free(flat->segment, before);
    return status < 0 ? status : store_shape(flat, now);
}

int
ips_flat_erase(const ips_flat *flat, ips_span span)
{
    ips_flat_shape now;
    ips_flat_items old;
    int status = begin_changing(flat, &now, &old);
    const ips_picked picked = ips_picked_upwards(ips_span_resolve(span, now.length));
    const cut at = {picked.first, picked.count, 0, NULL};
    if (status < 0 || picked.count == 0) {
        return status;
    }
    return picked.step == 1 ? replace(flat, &at, &now, &old)
                            : keep_others(flat, &picked, &now, &old);
}

/* Is it the version that the caller has seen?  Before the first change. */
static bool
is_as_seen(const ips_flat *flat, uint64_t expected)
{
    return expected == IPS_ROW_ANY || LOAD(flat->shm->root.version) == expected;
}

int
ips_flat_take(const ips_flat *flat, int64_t index, uint64_t expected, uint64_t *item)
{
    ips_flat_shape now;
    ips_flat_items old;
    if (!is_as_seen(flat, expected)) {
        return IPS_ROW_CHANGED;
    }
    int status = ips_flat_get_locked(flat, index, item);
    if (status == 0) {
        status = begin_changing(flat, &now, &old);
    }
    cut at = {0, 1, 0, NULL};
    if (status == 0 && !ips_row_index(index, now.length, &at.index)) {
        status = IPS_ROW_RANGE;
    }
    return status != 0 ? status : replace(flat, &at, &now, &old);
}

int
ips_flat_reorder(const ips_flat *flat, const uint64_t *order, uint64_t length, uint64_t expected)
{
    ips_flat_shape now;
    ips_flat_items old;
    uint8_t *bytes;
    if (!is_as_seen(flat, expected)) {
        return IPS_ROW_CHANGED;
    }
    int status = begin_changing(flat, &now, &old);
    if (status == 0 && now.length != length) {
        return IPS_ROW_CHANGED;
    }
    const ips_offset before = now.items;
    if (status == 0) {
        status = ips_flat_make_items(flat->segment, flat->size, length, &now.items, &bytes);
    }
    if (status < 0) {
        return status;
    }
    for (uint64_t i = 0; i < length; i++) {
        const uint64_t from = order[i] < length ? order[i] : 0;
        memcpy(bytes + i * flat->size, old.bytes + from * flat->size, flat->size);
    }
    ips_fresh_ready();
    status = ips_tx_free(flat->segment, before);
    return status < 0 ? status : store_shape(flat, &now);
}
