/* SPDX-License-Identifier: Apache-2.0 */
/* The ring of a queue: positions, blocks and records.  The byte map and the
 * rules of survival stand in message/layout.h. */
#ifndef IPS_MESSAGE_RING_H
#define IPS_MESSAGE_RING_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/checked.h"
#include "base/status.h"
#include "member/object.h"
#include "message/layout.h"

/* A mapped queue with its geometry, checked once on opening: shared copies of
 * it are never looked at again. */
typedef struct {
    ips_object *object;
    ips_space *space;
    ips_queue_shm *shm;
    _Atomic uint64_t *directory;
    ips_extent_shm *extents;
    uint8_t *area;
    uint64_t *owned; /* one bit a unit; scratch, under the producers' lock */
    uint64_t maxsize;
    uint64_t max_message;
    uint64_t extents_offset;
    uint64_t area_offset;
    uint32_t units;
    uint32_t slots;
} ips_ring;

/* One record as found; `payload` may be gone once the head has passed it. */
typedef struct {
    uint64_t position;
    uint64_t next; /* position behind it */
    uint64_t sequence;
    const uint8_t *payload;
    uint32_t size;
    uint8_t kind;
    uint16_t flags;
} ips_record;

/* A place for one record behind the tail. */
typedef struct {
    uint64_t position;
    uint8_t *at;
} ips_spot;

#define IPS_DIRECTORY_WORD(unit, owned) ((uint64_t)(unit) | (uint64_t)(owned) << 32)

static inline uint64_t
ips_record_need(uint64_t size)
{
    return ips_align_up(sizeof(ips_record_shm) + size, IPS_RECORD_ALIGN);
}

static inline uint64_t
ips_record_word(uint32_t size, uint8_t kind, uint16_t flags)
{
    return size | (uint64_t)kind << 32 | (uint64_t)flags << 48;
}

/* Sequences opened while the tail is `tail`. */
static inline uint64_t
ips_ring_opened(uint64_t tail)
{
    return tail / IPS_BLOCK + (tail % IPS_BLOCK != 0);
}

/* True if these bytes of the file may be touched. */
static inline bool
ips_ring_backs(const ips_ring *ring, uint64_t offset, uint64_t size)
{
    /* relaxed: it only grows, as in ips_object_backs. */
    uint64_t backed = atomic_load_explicit(&ring->object->backed, memory_order_relaxed);
    return offset + size <= backed || ips_object_backs(ring->object, offset, size);
}

static inline const char *
ips_ring_name(const ips_ring *ring)
{
    return ring->object->named ? ring->object->name : "(unnamed)";
}

/* memcpy; most messages are small, and the call costs more than the copying. */
static inline void
ips_payload_copy(uint8_t *to, const uint8_t *from, size_t size)
{
    if (size < 16 || size > 128) {
        memcpy(to, from, size);
        return;
    }
    for (size_t at = 0; at + 16 <= size; at += 16) {
        memcpy(to + at, from + at, 16);
    }
    memcpy(to + size - 16, from + size - 16, 16);
}

/* The word of an opened sequence, or IPS_ECORRUPT. */
IPS_MUST_CHECK int ips_ring_slot(const ips_ring *ring, uint64_t sequence, uint64_t *word);
/* Where the block of an opened sequence lies. */
IPS_MUST_CHECK int ips_ring_block(const ips_ring *ring, uint64_t sequence, uint8_t **base);

/* The first record at or behind `position`, padding skipped, all of it below
 * `limit`.  Needs position < limit.  Without the consumers' lock the bytes may
 * be gone: believe neither result nor failure unless the head is still where
 * it was before the call. */
IPS_MUST_CHECK int ips_ring_read(const ips_ring *ring, uint64_t position, uint64_t limit,
    ips_record *out);

/* Below, the caller holds the producers' lock, and `tail` is the tail. ---- */

/* A place for `need` bytes behind `tail`; opens a block where it must.  0,
 * IPS_EFULL (nothing noted), or IPS_EAGAIN: unless `patient`, whatever takes
 * long is refused; if patient, some of it was done, and the lock should be
 * given up before going on. */
IPS_MUST_CHECK int ips_ring_reserve(ips_ring *ring, uint64_t tail, uint64_t need, bool patient,
    ips_spot *out);

/* Let the ring own no more than it needs; its spent units become free.
 * *keep: how many of the last opened sequences still count. */
IPS_MUST_CHECK int ips_ring_trim(ips_ring *ring, uint64_t tail, uint64_t *keep);

static inline void
ips_record_fill(uint8_t *at, uint64_t word, uint64_t sequence)
{
    ips_record_shm *record = (ips_record_shm *)at;
    /* relaxed: published by the store of the tail. */
    atomic_store_explicit(&record->word, word, memory_order_relaxed);
    atomic_store_explicit(&record->sequence, sequence, memory_order_relaxed);
}

/* Publish all below `tail`: `sequence` messages so far. */
static inline void
ips_ring_publish(ips_ring *ring, uint64_t tail, uint64_t sequence)
{
    ips_producers_shm *producers = &ring->shm->producers;
    /* relaxed: a cache, mended by the next one to find the lock abandoned;
     * before the tail, so that nobody sees more gone than ever came. */
    atomic_store_explicit(&producers->tail_sequence, sequence, memory_order_relaxed);
    /* release: the records, and the directory words of their blocks; pairs
     * with the acquire loads of the tail by consumers.  The commit. */
    atomic_store_explicit(&producers->tail, tail, memory_order_release);
}

/* The previous holder died: make the caches true again. */
IPS_MUST_CHECK int ips_ring_mend_producers(ips_ring *ring);
/* The same for consumers; the caller holds their lock. */
IPS_MUST_CHECK int ips_ring_mend_consumers(ips_ring *ring);

#endif
