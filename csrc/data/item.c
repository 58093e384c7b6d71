/* SPDX-License-Identifier: Apache-2.0 */
#include "data/item.h"

#include <string.h>

#include "base/atomics.h"
#include "base/checked.h"
#include "base/hash.h"
#include "data/nest.h"
#include "data/types.h"

/* relaxed: a reader validates the version that guards the field (the map's
 * get and walk), a writer holds the segment's lock. */
#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

/* Compare with shared bytes that may be changing.
 * relaxed: word by word; the caller validates a version. */
static bool
equal_racing(const uint8_t *shared, const uint8_t *bytes, size_t size)
{
    const _Atomic uint64_t *from = (const _Atomic uint64_t *)(const void *)shared;
    size_t left = size;
    for (; left > 8; left -= 8, bytes += 8, from++) {
        if (atomic_load_explicit(from, memory_order_relaxed) != ips_tail(bytes, 8, left)) {
            return false;
        }
    }
    if (left == 0) {
        return true;
    }
    /* relaxed: as above. */
    uint64_t theirs = atomic_load_explicit(from, memory_order_relaxed);
    return ips_first_bytes(theirs, left) == ips_tail(bytes, left, size);
}

bool
ips_item_has_key(const ips_item *item, const ips_key *key)
{
    return item->key_size == key->size &&
           equal_racing(item->shm->bytes + item->room, key->bytes, key->size);
}

const uint8_t *
ips_item_spelling(const ips_item *item, size_t *size)
{
    const uint8_t *key = item->shm->bytes + item->room;
    if (item->spelling_size == 0) {
        *size = item->key_size;
        return key;
    }
    *size = item->spelling_size;
    return key + ips_align_up(item->key_size, 8);
}

/* A fresh block with the value's bytes. */
static int
value_block(ips_segment *segment, const ips_value *value, ips_offset *out)
{
    void *at;
    int status = ips_fresh_block(segment, ips_align_up(value->size, 8), out, &at);
    if (status < 0) {
        return status;
    }
    memcpy(at, value->bytes, value->size);
    return 0;
}

static int
check_sizes(const ips_key *key, const ips_value *value)
{
    if (key->size + key->spelling_size > IPS_KEY_MAX) {
        return ips_fail(IPS_ETOOBIG, "a key of %zu bytes (at most %u)", key->size, IPS_KEY_MAX);
    }
    if (value->size > IPS_VALUE_MAX) {
        return ips_fail(IPS_ETOOBIG, "a value of %zu bytes", value->size);
    }
    return 0;
}

/* Head, value and key of an item that nobody else knows yet: plain stores. */
static void
fill(ips_item_shm *shm, const uint64_t head[8], const ips_key *key, const ips_value *value)
{
    const uint64_t block = head[5];
    const uint64_t room = head[7];
    memcpy(shm, head, sizeof *shm);
    if (block == 0 && value->size != 0) {
        memcpy(shm->bytes, value->bytes, value->size);
    }
    memcpy(shm->bytes + room, key->bytes, key->size);
    if (key->spelling_size != 0) {
        memcpy(shm->bytes + room + ips_align_up(key->size, 8), key->spelling,
            key->spelling_size);
    }
}

int
ips_item_create(ips_segment *segment, const ips_key *key, const ips_value *value,
    ips_offset before, uint64_t revision, ips_offset *out)
{
    int status = check_sizes(key, value);
    ips_offset block = 0;
    size_t room = ips_align_up(value->size, 8);
    if (status == 0 && value->size > IPS_INLINE_VALUE_MAX) {
        room = 0;
        status = value_block(segment, value, &block);
    }
    if (status < 0) {
        return status;
    }
    size_t size = sizeof(ips_item_shm) + room + ips_align_up(key->size, 8) +
                  ips_align_up(key->spelling_size, 8);
    room += ips_align_up(size, 16) - size; /* what the heap would round up anyway */
    size = ips_align_up(size, 16);
    void *at;
    status = ips_fresh_block(segment, size, out, &at);
    if (status < 0) {
        return status;
    }
    const uint64_t head[8] = {before, 0, key->hash,
        key->size | (uint64_t)key->spelling_size << 32, revision, block,
        ips_value_word(value->size, value->kind), room};
    fill(at, head, key, value);
    return 0;
}

/* {revision, value, word, room} and the inline value in one journaled write. */
static int
replace_inline(ips_segment *segment, const ips_item *item, const ips_value *value,
    uint64_t revision)
{
    struct {
        uint64_t head[4];
        uint8_t bytes[2 * IPS_INLINE_VALUE_MAX];
    } image;
    image.head[0] = revision;
    image.head[1] = 0;
    image.head[2] = ips_value_word(value->size, value->kind);
    image.head[3] = item->room;
    if (value->size != 0) {
        memcpy(image.bytes, value->bytes, value->size);
    }
    /* whole words: an inline value owns its room up to the next multiple */
    memset(image.bytes + value->size, 0, ips_align_up(value->size, 8) - value->size);
    return ips_tx_write(segment, item->offset + offsetof(ips_item_shm, revision), &image,
        sizeof image.head + ips_align_up(value->size, 8));
}

/* A container that is the item's value goes with it. */
static int
drop_value(ips_segment *segment, const ips_item *item)
{
    if (__builtin_expect(ips_value_word_kind(LOAD(item->shm->word)) != IPS_VALUE_REFERENCE, 1)) {
        return 0;
    }
    ips_item_value value;
    if (!ips_item_value_of(segment, item, &value)) {
        return ips_fail(IPS_ECORRUPT, "the value of the item at offset %llu is damaged",
            (unsigned long long)item->offset);
    }
    return ips_nest_drop(segment, value.bytes, value.size);
}

int
ips_item_disown(ips_segment *segment, const ips_item *item)
{
    if (ips_value_word_kind(LOAD(item->shm->word)) != IPS_VALUE_REFERENCE) {
        return 0;
    }
    int status = drop_value(segment, item);
    return status < 0 ? status
        : ips_tx_store(segment, item->offset + offsetof(ips_item_shm, word), 0);
}

int
ips_item_replace(ips_segment *segment, const ips_item *item, const ips_value *value,
    uint64_t revision, ips_offset version)
{
    if (value->size > IPS_VALUE_MAX) {
        return ips_fail(IPS_ETOOBIG, "a value of %zu bytes", value->size);
    }
    ips_offset old = LOAD(item->shm->value);
    const bool fits = value->size <= item->room;
    ips_offset block = 0;
    int status = fits ? 0 : value_block(segment, value, &block);
    if (status == 0) { /* not before there is memory: readers would wait for it */
        status = ips_tx_touch(segment, version);
    }
    if (status == 0) {
        status = drop_value(segment, item);
    }
    if (status < 0) {
        return status;
    }
    if (fits) {
        status = replace_inline(segment, item, value, revision);
    } else {
        ips_fresh_ready();
        const uint64_t words[3] = {revision, block, ips_value_word(value->size, value->kind)};
        status = ips_tx_write(segment, item->offset + offsetof(ips_item_shm, revision), words,
            sizeof words);
    }
    if (status == 0 && old != 0) {
        status = ips_tx_free(segment, old);
    }
    return status;
}

int
ips_item_free(ips_segment *segment, const ips_item *item)
{
    ips_offset block = LOAD(item->shm->value);
    int status = drop_value(segment, item);
    if (status == 0 && block != 0) {
        status = ips_tx_free(segment, block);
    }
    return status < 0 ? status : ips_tx_free(segment, item->offset);
}
