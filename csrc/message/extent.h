/* SPDX-License-Identifier: Apache-2.0 */
/* Large messages: payloads in units of their own, beside the ring.
 *
 * Producer: claim (under the producers' lock: the entries name it as writer),
 * fill (without the lock), place (under the lock: the entries learn their
 * record's position), publish the tail, disown.  Consumer: adopt (under the
 * consumers' lock: the entries name it as reader), move the head, copy without
 * the lock, let go.  At any death in between, either the dead one's name is
 * all that holds the units, and they are free, or the record does. */
#ifndef IPS_MESSAGE_EXTENT_H
#define IPS_MESSAGE_EXTENT_H

#include "message/units.h"

/* Private memory that a large message comes from, and goes to. */
typedef struct {
    const void *bytes;
    uint64_t size;
} ips_piece;
typedef struct {
    void *bytes;
    uint64_t size;
} ips_room;

/* The extents of one message, as one process sees them. */
typedef struct {
    uint64_t size;
    uint32_t count;
    uint32_t entry[IPS_FRAGMENTS];
    ips_span span[IPS_FRAGMENTS];
} ips_extents;

static inline uint64_t
ips_units_of(uint64_t size)
{
    return (size + IPS_BLOCK - 1) / IPS_BLOCK;
}

/* Bytes of the largest message that fits whenever the queue is empty. */
static inline uint64_t
ips_largest_message(const ips_ring *ring)
{
    return (uint64_t)(ring->units - 2) * IPS_BLOCK;
}

/* Units and entries for `size` bytes, in the name of `me`: 0, IPS_EFULL
 * (nothing noted), IPS_EAGAIN (give up the lock and ask again), failure. */
IPS_MUST_CHECK int ips_extents_claim(ips_ring *ring, uint64_t tail, uint64_t size, ips_owner me,
    ips_extents *out);
/* Pieces, and rooms below, are no more than the message's size together. */
void ips_extents_fill(const ips_ring *ring, const ips_extents *extents, const ips_piece *pieces,
    uint32_t count);
/* The record's payload; its size. */
uint32_t ips_extents_describe(const ips_extents *extents, ips_large_shm *out);
void ips_extents_place(const ips_ring *ring, const ips_extents *extents, uint64_t position);
/* Published, or given up before that. */
void ips_extents_disown(const ips_ring *ring, const ips_extents *extents);

/* What a LARGE record names.  From here on under the consumers' lock, but
 * for copy and let go. */
IPS_MUST_CHECK int ips_extents_find(const ips_ring *ring, const ips_record *record,
    ips_extents *out);
void ips_extents_adopt(const ips_ring *ring, const ips_extents *extents, ips_owner me);
void ips_extents_copy(const ips_ring *ring, const ips_extents *extents, const ips_room *rooms,
    uint32_t count);
void ips_extents_let_go(const ips_ring *ring, const ips_extents *extents);

#endif
