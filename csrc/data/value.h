/* SPDX-License-Identifier: Apache-2.0 */
/* Encoded values on their way into and out of containers: bytes and a kind
 * that the core stores and, but for one, never looks into (bind/value.h gives
 * it meaning). */
#ifndef IPS_DATA_VALUE_H
#define IPS_DATA_VALUE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "segment/segment.h"

typedef struct {
    const uint8_t *bytes;
    size_t size;
    uint8_t kind;
} ips_value;

/* The kind that is the core's own: the value is a container that stands in this
 * one (data/nest.h).  Not below: those of bind/value.h. */
#define IPS_VALUE_REFERENCE 5

#define IPS_VALUE_MAX ((UINT64_C(1) << 40) - 1)

/* Size and kind share one word in shared memory: kind in the top byte. */
static inline uint64_t
ips_value_word(size_t size, uint8_t kind)
{
    return (uint64_t)size | (uint64_t)kind << 56;
}

static inline uint64_t
ips_value_word_size(uint64_t word)
{
    return word & ((UINT64_C(1) << 56) - 1);
}

static inline uint8_t
ips_value_word_kind(uint64_t word)
{
    return (uint8_t)(word >> 56);
}

/* A private copy of a stored value.  Small ones lie in `room`. */
typedef struct {
    uint8_t *bytes; /* `room` or malloc'd */
    size_t size;
    uint8_t kind;
    uint64_t revision; /* of the map's entry; 0 from a deque */
    uint8_t room[512];
} ips_value_copy;

static inline void
ips_value_copy_init(ips_value_copy *copy)
{
    copy->bytes = copy->room;
    copy->size = 0;
    copy->kind = 0;
    copy->revision = 0;
}

void ips_value_copy_free(ips_value_copy *copy);
static inline void
ips_value_copy_clear(ips_value_copy *copy)
{
    if (__builtin_expect(copy->bytes != copy->room, 0)) {
        ips_value_copy_free(copy);
    }
    ips_value_copy_init(copy);
}

/* Make place for `size` bytes; IPS_ENOMEM. */
IPS_MUST_CHECK int ips_value_copy_grow(ips_value_copy *copy, size_t size);
IPS_MUST_CHECK static inline int
ips_value_copy_reserve(ips_value_copy *copy, size_t size)
{
    ips_value_copy_clear(copy);
    copy->size = size;
    return __builtin_expect(size <= sizeof copy->room, 1) ? 0 : ips_value_copy_grow(copy, size);
}

/* A private row of records, for snapshots of whole containers. */
typedef struct {
    uint8_t *bytes;
    size_t size;
    size_t capacity;
    uint64_t records;
    uint64_t version; /* of the row they were read from (data/row.h) */
} ips_snapshot;

void ips_snapshot_clear(ips_snapshot *snapshot);
/* `size` more bytes at the end, NULL (noted IPS_ENOMEM) where there is no memory. */
uint8_t *ips_snapshot_extend(ips_snapshot *snapshot, size_t size);

/* Sound bytes never give a snapshot larger than this: each lies in the
 * segment once, and a record adds less than it takes there. */
static inline bool
ips_snapshot_is_sane(const ips_snapshot *snapshot, ips_segment *segment)
{
    return snapshot->size <= 2 * ips_segment_object(segment)->max_size;
}

/* Each record: a word of size and kind, then the bytes, padded to 8.  From
 * shared memory, 8-aligned, that may be changing; or from private bytes. */
IPS_MUST_CHECK int ips_snapshot_put(ips_snapshot *snapshot, const void *bytes, size_t size,
    uint8_t kind);
IPS_MUST_CHECK int ips_snapshot_add(ips_snapshot *snapshot, const void *shared_bytes,
    uint64_t size, uint8_t kind);
/* Read the record at *at and step over it; false at the end. */
bool ips_snapshot_next(const ips_snapshot *snapshot, size_t *at, ips_value *out);

#endif
