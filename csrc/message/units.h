/* SPDX-License-Identifier: Apache-2.0 */
/* Who owns which unit of a queue's area.
 *
 * Nothing is kept about it: the ring owns the units of its last sequences, a
 * living extent owns its own (message/extent.h), and a search collects both
 * into a bitmap.  So a death can neither leak a unit nor give it away twice.
 * A run of free units, found by the last search, makes searches rare. */
#ifndef IPS_MESSAGE_UNITS_H
#define IPS_MESSAGE_UNITS_H

#include "message/ring.h"

/* What one hold of the lock may add to the file: its zeroing takes a few
 * milliseconds. */
#define IPS_GROWTH_MOST (16u * 1024 * 1024 / IPS_BLOCK)
/* Bytes of the bitmap while `units` have memory. */
#define IPS_OWNED_BYTES(units) (((size_t)(units) + IPS_GROWTH_MOST + 63) / 64 * 8)

typedef struct {
    uint32_t unit;
    uint32_t count;
} ips_span;

/* All of it under the producers' lock. */

/* `want` units in one piece from the run: 0, or IPS_EAGAIN where it is short. */
IPS_MUST_CHECK int ips_units_take_run(ips_ring *ring, uint32_t want, ips_span *out);

/* `want` units, in one piece if possible, in at most IPS_FRAGMENTS (1 where
 * `want` is 1), while the ring keeps its last `keep` sequences and no more
 * (ips_ring_trim).  0; IPS_EFULL (nothing noted); IPS_EAGAIN: the file grew by
 * a step, give up the lock and ask again; IPS_ENOSPACE. */
IPS_MUST_CHECK int ips_units_search(ips_ring *ring, uint64_t tail, uint64_t keep, uint32_t want,
    ips_span *spans, uint32_t *count);

/* Set the bits of a span of real units; false where some were set already. */
bool ips_units_mark(ips_ring *ring, ips_span span);

/* Does somebody own what extent entry `index` names?  `thorough` as in
 * ips_member_lives. */
bool ips_extent_lives(const ips_ring *ring, uint32_t index, uint64_t head, uint64_t tail,
    bool thorough);
/* Its units; false where they make no sense. */
bool ips_extent_span(const ips_ring *ring, uint32_t index, ips_span *out);
/* Entries that have memory. */
uint32_t ips_extents_backed(const ips_ring *ring);

#endif
