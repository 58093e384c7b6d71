/* SPDX-License-Identifier: Apache-2.0 */
#include "message/units.h"

#include <string.h>

/* What is added beyond a small need, so that searches stay rare. */
#define GROWTH_AHEAD 8u

int
ips_units_take_run(ips_ring *ring, uint32_t want, ips_span *out)
{
    ips_producers_shm *producers = &ring->shm->producers;
    /* relaxed: under the lock. */
    uint32_t from = atomic_load_explicit(&producers->run_from, memory_order_relaxed);
    uint32_t to = atomic_load_explicit(&producers->run_to, memory_order_relaxed);
    if (to > ring->units || from >= to || to - from < want) {
        return IPS_EAGAIN;
    }
    atomic_store_explicit(&producers->run_from, from + want, memory_order_relaxed);
    *out = (ips_span){from, want};
    return IPS_OK;
}

static void
set_run(ips_ring *ring, uint32_t from, uint32_t to)
{
    ips_producers_shm *producers = &ring->shm->producers;
    /* relaxed: under the lock; emptied first, so that no mixture of the two
     * stands there at a death (which empties it anyway). */
    atomic_store_explicit(&producers->run_to, 0, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit(&producers->run_from, from, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit(&producers->run_to, to, memory_order_relaxed);
}

uint32_t
ips_extents_backed(const ips_ring *ring)
{
    /* relaxed: under the lock, or a reader that checks what it finds. */
    uint32_t backed = atomic_load_explicit(&ring->shm->producers.backed_extents,
                                           memory_order_relaxed);
    backed = backed < ring->units ? backed : ring->units;
    uint64_t size = (uint64_t)backed * sizeof(ips_extent_shm);
    return backed != 0 && ips_ring_backs(ring, ring->extents_offset, size) ? backed : 0;
}

bool
ips_extent_lives(const ips_ring *ring, uint32_t index, uint64_t head, uint64_t tail,
                 bool thorough)
{
    const ips_extent_shm *entry = &ring->extents[index];
    /* acquire: a reader's copying comes before we give its units away; pairs
     * with the release in ips_extents_let_go and ips_extents_disown. */
    ips_owner writer = atomic_load_explicit(&entry->writer, memory_order_acquire);
    ips_owner reader = atomic_load_explicit(&entry->reader, memory_order_acquire);
    /* relaxed: written under the producers' lock. */
    uint64_t position = atomic_load_explicit(&entry->position, memory_order_relaxed);
    if (position > head && position <= tail) {
        return true;
    }
    return (writer != IPS_NOBODY && ips_member_lives(ring->space, writer, thorough)) ||
           (reader != IPS_NOBODY && ips_member_lives(ring->space, reader, thorough));
}

bool
ips_extent_span(const ips_ring *ring, uint32_t index, ips_span *out)
{
    /* relaxed: ordered by whatever made the entry live. */
    uint64_t span = atomic_load_explicit(&ring->extents[index].span, memory_order_relaxed);
    *out = (ips_span){(uint32_t)span, (uint32_t)(span >> 32)};
    return out->count != 0 && ips_within(out->unit, out->count, ring->units);
}

bool
ips_units_mark(ips_ring *ring, ips_span span)
{
    uint64_t before = 0;
    for (uint32_t unit = span.unit, left = span.count; left != 0;) {
        uint32_t bit = unit % 64;
        uint32_t many = 64 - bit < left ? 64 - bit : left;
        uint64_t ones = many == 64 ? ~UINT64_C(0) : (UINT64_C(1) << many) - 1;
        before |= ring->owned[unit / 64] & ones << bit;
        ring->owned[unit / 64] |= ones << bit;
        unit += many;
        left -= many;
    }
    return before == 0;
}

/* Fill the bitmap. */
static int
collect(ips_ring *ring, uint64_t tail, uint64_t keep, uint32_t backed)
{
    memset(ring->owned, 0, IPS_OWNED_BYTES(backed)); /* and what one growth may add */
    uint64_t opened = ips_ring_opened(tail);
    for (uint64_t sequence = opened - keep; sequence < opened; sequence++) {
        uint64_t word;
        int status = ips_ring_slot(ring, sequence, &word);
        if (status < 0) {
            return status;
        }
        if ((uint32_t)word >= backed) {
            return ips_fail(IPS_ECORRUPT, "queue '%s': a ring block without memory",
                            ips_ring_name(ring));
        }
        (void)ips_units_mark(ring, (ips_span){(uint32_t)word, 1});
    }
    /* acquire: pairs with the release of the head in message/queue.c. */
    uint64_t head = atomic_load_explicit(&ring->shm->consumers.head, memory_order_acquire);
    uint32_t entries = ips_extents_backed(ring);
    for (uint32_t i = 0; i < entries; i++) {
        ips_span span;
        if (!ips_extent_lives(ring, i, head, tail, false)) {
            continue;
        }
        if (!ips_extent_span(ring, i, &span) || !ips_within(span.unit, span.count, backed)) {
            return ips_fail(IPS_ECORRUPT, "queue '%s': extent %u lies nowhere",
                            ips_ring_name(ring), i);
        }
        /* Twice is no fault: an entry whose writer died before its record was
         * published may hold, for a while, units that another one got. */
        (void)ips_units_mark(ring, span);
    }
    return IPS_OK;
}

/* The first unit at or after `from` whose bit is `owned`; `limit` if none.
 * Units from `backed` on are nobody's and have no bits. */
static uint32_t
find(const ips_ring *ring, uint32_t from, uint32_t backed, uint32_t limit, bool owned)
{
    uint64_t flip = owned ? 0 : ~UINT64_C(0);
    uint32_t beyond = from > backed ? from : backed;
    while (from < backed) {
        uint64_t word = (ring->owned[from / 64] ^ flip) >> (from % 64);
        if (word != 0) {
            from += (uint32_t)__builtin_ctzll(word);
            break;
        }
        from += 64 - from % 64;
    }
    if (from >= backed) {
        from = owned ? limit : beyond;
    }
    return from < limit ? from : limit;
}

/* Take gaps of at least `least` units, lowest first; how many, 0 if short. */
static uint32_t
gather(const ips_ring *ring, uint32_t backed, uint32_t limit, uint32_t want, uint32_t least,
       ips_span *spans)
{
    uint32_t count = 0, got = 0;
    for (uint32_t at = 0; got < want && count < IPS_FRAGMENTS;) {
        at = find(ring, at, backed, limit, false);
        uint32_t end = find(ring, at, backed, limit, true);
        if (at >= limit) {
            break;
        }
        uint32_t length = end - at < want - got ? end - at : want - got;
        if (end - at >= least || length == want - got) {
            spans[count++] = (ips_span){at, length};
            got += length;
        }
        at = end;
    }
    return got == want ? count : 0;
}

static uint32_t
gather_best(const ips_ring *ring, uint32_t backed, uint32_t limit, uint32_t want, ips_span *spans)
{
    uint32_t count = gather(ring, backed, limit, want, want, spans);
    if (count == 0 && want > IPS_FRAGMENTS) {
        count = gather(ring, backed, limit, want, want / IPS_FRAGMENTS + 1, spans);
    }
    return count != 0 ? count : gather(ring, backed, limit, want, 1, spans);
}

/* Memory for all units below `end`: 0, IPS_EAGAIN after a step, failure. */
static int
grow(ips_ring *ring, uint32_t *backed, uint32_t end)
{
    uint32_t to = end - *backed > IPS_GROWTH_MOST ? *backed + IPS_GROWTH_MOST : end;
    int status = ips_object_back(ring->object, ring->area_offset + (uint64_t)*backed * IPS_BLOCK,
                                 ring->area_offset + (uint64_t)to * IPS_BLOCK);
    if (status < 0) {
        return status;
    }
    *backed = to;
    /* relaxed: under the lock.  After the memory is there. */
    atomic_store_explicit(&ring->shm->producers.backed_units, to, memory_order_relaxed);
    return to < end ? IPS_EAGAIN : IPS_OK;
}

static uint32_t
end_of(const ips_span *spans, uint32_t count)
{
    return spans[count - 1].unit + spans[count - 1].count; /* lowest first */
}

/* Grow as far as the spans reach; where tmpfs is full, make do without. */
static int
grow_for(ips_ring *ring, uint32_t *backed, uint32_t want, ips_span *spans, uint32_t *count)
{
    uint32_t end = end_of(spans, *count);
    if (end <= *backed) {
        return IPS_OK;
    }
    uint32_t ahead = *backed < GROWTH_AHEAD ? *backed : GROWTH_AHEAD;
    uint32_t target = want <= GROWTH_AHEAD && ring->units - end > ahead ? end + ahead : end;
    int status = grow(ring, backed, target);
    if (status < 0 && status != IPS_EAGAIN && target > end) {
        status = grow(ring, backed, end);
    }
    if (status == IPS_ENOSPACE) {
        *count = gather_best(ring, *backed, *backed, want, spans);
        return *count == 0 ? status : IPS_OK;
    }
    return status;
}

int
ips_units_search(ips_ring *ring, uint64_t tail, uint64_t keep, uint32_t want, ips_span *spans,
                 uint32_t *count)
{
    /* relaxed: under the lock. */
    uint32_t backed = atomic_load_explicit(&ring->shm->producers.backed_units,
                                           memory_order_relaxed);
    if (backed > ring->units) {
        return ips_fail(IPS_ECORRUPT, "queue '%s': %u units of %u", ips_ring_name(ring), backed,
                        ring->units);
    }
    set_run(ring, 0, 0);
    int status = collect(ring, tail, keep, backed);
    if (status < 0) {
        return status;
    }
    if (want == 1) {
        *count = gather(ring, backed, ring->units, 1, 1, spans);
    } else {
        *count = gather_best(ring, backed, ring->units, want, spans);
    }
    if (*count == 0) {
        return IPS_EFULL;
    }
    status = grow_for(ring, &backed, want, spans, count);
    if (status < 0) {
        return status;
    }
    uint32_t end = end_of(spans, *count);
    uint32_t rest = end < backed ? find(ring, end, backed, backed, true) : end;
    set_run(ring, end, rest);
    return IPS_OK;
}
