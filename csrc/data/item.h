/* SPDX-License-Identifier: Apache-2.0 */
/* One key of a map and its value, in one block; a large value has a block of
 * its own.
 *
 * Byte map:
 *
 *   0   before         8  neighbours in order of insertion, 0 at the ends;
 *   8   after          8    in a map's graves `after` is the next grave
 *   16  hash           8  ips_hash of the key's canonical bytes
 *   24  key_size       4  canonical bytes of the key
 *   28  spelling_size  4  the key as it was written, where that differs (True
 *                         and 1.0 are the key 1); else 0
 *   32  revision       8  the map's counter at the last change of the value
 *   40  value          8  offset of the value's own block; 0: it is inline
 *   48  word           8  value's size and kind (data/value.h)
 *   56  room           8  bytes for an inline value, a multiple of 8
 *   64  inline value, then key, then spelling, each padded to 8
 *
 * Who writes: the inserter fills the block before anybody knows it.  After
 * that, under the segment's lock and through the journal: `before` and `after`
 * (readers validate the root's version), `revision` to `word` and the inline
 * value (the version of the key's stripe).  hash, sizes, room, key and
 * spelling are constant.  A survivor of a killed transaction finds the old
 * bytes back in place. */
#ifndef IPS_DATA_ITEM_H
#define IPS_DATA_ITEM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "data/value.h"
#include "segment/segment.h"

#define IPS_KEY_MAX (UINT32_C(1) << 30)
#define IPS_INLINE_VALUE_MAX 256u

typedef struct {
    _Atomic uint64_t before;
    _Atomic uint64_t after;
    _Atomic uint64_t hash;
    _Atomic uint32_t key_size;
    _Atomic uint32_t spelling_size;
    _Atomic uint64_t revision;
    _Atomic uint64_t value;
    _Atomic uint64_t word;
    _Atomic uint64_t room;
    uint8_t bytes[];
} ips_item_shm;

_Static_assert(sizeof(ips_item_shm) == 64, "byte map above");
_Static_assert(offsetof(ips_item_shm, revision) == 32, "byte map above");
_Static_assert(offsetof(ips_item_shm, room) == 56, "byte map above");

typedef struct {
    const uint8_t *bytes; /* canonical: equal keys have equal bytes */
    size_t size;
    const uint8_t *spelling; /* as written, where that differs */
    size_t spelling_size;    /* else 0 */
    uint64_t hash;           /* ips_hash of the canonical bytes */
} ips_key;

/* An item whose whole block is inside backed memory, and its constant sizes. */
typedef struct {
    ips_item_shm *shm;
    ips_offset offset;
    uint64_t room;
    uint32_t key_size, spelling_size;
} ips_item;

/* False where no item can be at `offset`.
 * relaxed throughout: constant in an item; in anything else the caller's
 * versions tell, and the checks make it harmless meanwhile. */
static inline bool
ips_item_open(ips_segment *segment, ips_offset offset, ips_item *out)
{
    ips_item_shm *shm = (ips_item_shm *)ips_segment_at(segment, offset, sizeof(ips_item_shm));
    if (shm == NULL || offset % 16 != 0) {
        return false;
    }
    /* Head, value and key of a small item are three lines that a look-up
     * needs: fetched at once, not one after the other. */
    __builtin_prefetch((const uint8_t *)shm + 64);
    __builtin_prefetch((const uint8_t *)shm + 128);
    out->shm = shm;
    out->offset = offset;
    out->room = atomic_load_explicit(&shm->room, memory_order_relaxed);
    out->key_size = atomic_load_explicit(&shm->key_size, memory_order_relaxed);
    out->spelling_size = atomic_load_explicit(&shm->spelling_size, memory_order_relaxed);
    uint64_t size = sizeof(ips_item_shm) + out->room + ips_align_up(out->key_size, 8) +
                    ips_align_up(out->spelling_size, 8);
    return out->room % 8 == 0 && out->room <= 2 * IPS_INLINE_VALUE_MAX &&
           ips_segment_at(segment, offset, size) != NULL;
}
bool ips_item_has_key(const ips_item *item, const ips_key *key);

/* The key as written, in shared memory; its size. */
const uint8_t *ips_item_spelling(const ips_item *item, size_t *size);

/* Where the value lies now, as far as the geometry allows; a reader validates
 * before it believes the size.  False: damaged, or a writer is inside. */
typedef struct {
    const uint8_t *bytes; /* shared; 8-aligned */
    uint64_t size;
    uint64_t revision;
    ips_offset block; /* 0: inline */
    uint8_t kind;
} ips_item_value;
static inline bool
ips_item_value_of(ips_segment *segment, const ips_item *item, ips_item_value *out)
{
    /* relaxed, here and below: as the versions say, of a reader and of the map. */
    uint64_t word = atomic_load_explicit(&item->shm->word, memory_order_relaxed);
    out->revision = atomic_load_explicit(&item->shm->revision, memory_order_relaxed);
    out->block = atomic_load_explicit(&item->shm->value, memory_order_relaxed);
    out->size = ips_value_word_size(word);
    out->kind = ips_value_word_kind(word);
    if (out->block == 0) {
        out->bytes = item->shm->bytes;
        return out->size <= item->room;
    }
    if (out->block % 16 != 0 || out->size > IPS_VALUE_MAX) {
        return false;
    }
    out->bytes = (const uint8_t *)ips_segment_at(segment, out->block, ips_align_up(out->size, 8));
    return out->bytes != NULL;
}

/* --- inside a transaction */

/* A new item, known to nobody: neighbours as given. */
IPS_MUST_CHECK int ips_item_create(ips_segment *segment, const ips_key *key,
    const ips_value *value, ips_offset before, uint64_t revision, ips_offset *out);
/* Another value, through the journal; the old block, if any, goes at commit.
 * Raises the version at `version` once it has all the memory that it needs. */
IPS_MUST_CHECK int ips_item_replace(ips_segment *segment, const ips_item *item,
    const ips_value *value, uint64_t revision, ips_offset version);
/* A container that is the value goes (data/nest.h); the item, which nobody finds
 * any more, has an empty one from then on. */
IPS_MUST_CHECK int ips_item_disown(ips_segment *segment, const ips_item *item);
/* Free the item, its value's block and a container that is its value, at commit. */
IPS_MUST_CHECK int ips_item_free(ips_segment *segment, const ips_item *item);

#endif
