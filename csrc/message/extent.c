/* SPDX-License-Identifier: Apache-2.0 */
#include "message/extent.h"

#include <string.h>

#define ENTRIES_A_PAGE (IPS_TABLE_PAGE / (uint32_t)sizeof(ips_extent_shm))

/* --- producers ------------------------------------------------------------ */

/* Memory for one more page of entries; IPS_EFULL where all have it. */
static int
back_entries(ips_ring *ring, uint32_t backed)
{
    if (backed >= ring->units) {
        return IPS_EFULL;
    }
    uint64_t offset = ring->extents_offset + (uint64_t)backed * sizeof(ips_extent_shm);
    int status = ips_object_back(ring->object, offset, offset + IPS_TABLE_PAGE);
    if (status == 0) {
        /* relaxed: under the lock.  After the memory is there. */
        atomic_store_explicit(&ring->shm->producers.backed_extents, backed + ENTRIES_A_PAGE,
                              memory_order_relaxed);
    }
    return status;
}

/* `count` entries that nobody uses, from the hint on and once round. */
static int
choose_entries(ips_ring *ring, uint64_t head, uint64_t tail, uint32_t count, ips_extents *out)
{
    ips_producers_shm *producers = &ring->shm->producers;
    uint32_t backed = ips_extents_backed(ring);
    /* relaxed: under the lock; any value will do. */
    uint32_t hint = atomic_load_explicit(&producers->extent_hint, memory_order_relaxed);
    uint32_t found = 0;
    for (uint32_t i = 0; i < backed && found < count; i++) {
        uint32_t index = (uint32_t)(((uint64_t)hint + i) % backed);
        if (!ips_extent_lives(ring, index, head, tail, false)) {
            out->entry[found++] = index;
        }
    }
    if (found < count) {
        int status = back_entries(ring, backed);
        return status == 0 ? IPS_EAGAIN : status;
    }
    /* relaxed: as above. */
    atomic_store_explicit(&producers->extent_hint, out->entry[count - 1] + 1,
                          memory_order_relaxed);
    return IPS_OK;
}

static void
name_writer(const ips_ring *ring, const ips_extents *extents, ips_owner me)
{
    for (uint32_t i = 0; i < extents->count; i++) {
        ips_extent_shm *entry = &ring->extents[extents->entry[i]];
        /* relaxed: the entry is nobody's yet, and lives by the last store. */
        atomic_store_explicit(&entry->position, 0, memory_order_relaxed);
        atomic_store_explicit(&entry->reader, IPS_NOBODY, memory_order_relaxed);
        atomic_store_explicit(&entry->span,
                              extents->span[i].unit | (uint64_t)extents->span[i].count << 32,
                              memory_order_relaxed);
        /* release: pairs with ips_extent_lives. */
        atomic_store_explicit(&entry->writer, me, memory_order_release);
    }
}

/* What the shared counts say has memory, the file must have: else SIGBUS. */
static int
check_memory(const ips_ring *ring, const ips_extents *extents)
{
    for (uint32_t i = 0; i < extents->count; i++) {
        uint64_t end = (uint64_t)extents->span[i].unit + extents->span[i].count;
        if (end > ring->units || !ips_ring_backs(ring, ring->area_offset, end * IPS_BLOCK)) {
            return ips_fail(IPS_ECORRUPT, "queue '%s': units up to %llu without memory",
                            ips_ring_name(ring), (unsigned long long)end);
        }
    }
    return IPS_OK;
}

int
ips_extents_claim(ips_ring *ring, uint64_t tail, uint64_t size, ips_owner me, ips_extents *out)
{
    uint32_t want = (uint32_t)ips_units_of(size);
    uint64_t keep;
    out->size = size;
    out->count = 1;
    int status = ips_units_take_run(ring, want, out->span);
    if (status == IPS_EAGAIN) {
        status = ips_ring_trim(ring, tail, &keep);
        if (status == 0) {
            status = ips_units_search(ring, tail, keep, want, out->span, &out->count);
        }
    }
    status = status < 0 ? status : check_memory(ring, out);
    if (status == 0) {
        /* acquire: pairs with the release of the head in message/queue.c. */
        uint64_t head = atomic_load_explicit(&ring->shm->consumers.head, memory_order_acquire);
        status = choose_entries(ring, head, tail, out->count, out);
    }
    if (status == 0) {
        name_writer(ring, out, me);
    }
    return status;
}

/* Goes through the extents of one message byte by byte. */
typedef struct {
    const ips_ring *ring;
    const ips_extents *extents;
    uint32_t span;
    uint64_t used; /* bytes of the span */
} walk;

/* The next bytes that lie together, `want` at most; NULL at the end. */
static uint8_t *
go_on(walk *at, uint64_t want, uint64_t *size)
{
    while (at->span < at->extents->count) {
        ips_span span = at->extents->span[at->span];
        uint64_t left = (uint64_t)span.count * IPS_BLOCK - at->used;
        if (left != 0) {
            uint8_t *bytes = at->ring->area + (uint64_t)span.unit * IPS_BLOCK + at->used;
            *size = want < left ? want : left;
            at->used += *size;
            return bytes;
        }
        at->span++;
        at->used = 0;
    }
    return NULL;
}

void
ips_extents_fill(const ips_ring *ring, const ips_extents *extents, const ips_piece *pieces,
                 uint32_t count)
{
    walk at = {ring, extents, 0, 0};
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *from = pieces[i].bytes;
        uint64_t size;
        for (uint64_t left = pieces[i].size; left != 0; left -= size, from += size) {
            uint8_t *to = go_on(&at, left, &size);
            if (to == NULL) {
                return;
            }
            memcpy(to, from, size);
        }
    }
}

uint32_t
ips_extents_describe(const ips_extents *extents, ips_large_shm *out)
{
    out->size = extents->size;
    out->count = extents->count;
    out->reserved = 0;
    memcpy(out->entry, extents->entry, extents->count * sizeof out->entry[0]);
    return (uint32_t)offsetof(ips_large_shm, entry) + extents->count * (uint32_t)sizeof(uint32_t);
}

void
ips_extents_place(const ips_ring *ring, const ips_extents *extents, uint64_t position)
{
    for (uint32_t i = 0; i < extents->count; i++) {
        /* relaxed: published by the tail. */
        atomic_store_explicit(&ring->extents[extents->entry[i]].position, position + 1,
                              memory_order_relaxed);
    }
}

void
ips_extents_disown(const ips_ring *ring, const ips_extents *extents)
{
    for (uint32_t i = 0; i < extents->count; i++) {
        /* release: after the tail that holds it from now on; pairs with
         * ips_extent_lives. */
        atomic_store_explicit(&ring->extents[extents->entry[i]].writer, IPS_NOBODY,
                              memory_order_release);
    }
}

/* --- consumers ------------------------------------------------------------ */

static int
damaged(const ips_ring *ring, const ips_record *record)
{
    return ips_fail(IPS_ECORRUPT, "queue '%s': a large message at position %llu lies nowhere",
                    ips_ring_name(ring), (unsigned long long)record->position);
}

int
ips_extents_find(const ips_ring *ring, const ips_record *record, ips_extents *out)
{
    ips_large_shm large;
    const uint32_t fixed = (uint32_t)offsetof(ips_large_shm, entry);
    if (record->size < fixed || record->size > sizeof large) {
        return damaged(ring, record);
    }
    memcpy(&large, record->payload, record->size);
    if (large.count == 0 || large.count > IPS_FRAGMENTS ||
        record->size != fixed + large.count * (uint32_t)sizeof(uint32_t)) {
        return damaged(ring, record);
    }
    out->size = large.size;
    out->count = large.count;
    uint32_t backed = ips_extents_backed(ring);
    uint64_t units = 0;
    for (uint32_t i = 0; i < large.count; i++) {
        out->entry[i] = large.entry[i];
        if (large.entry[i] >= backed || !ips_extent_span(ring, large.entry[i], &out->span[i])) {
            return damaged(ring, record);
        }
        const ips_extent_shm *entry = &ring->extents[large.entry[i]];
        /* relaxed: ordered by the tail that covers the record. */
        uint64_t position = atomic_load_explicit(&entry->position, memory_order_relaxed);
        uint64_t end = (uint64_t)out->span[i].unit + out->span[i].count;
        if (position != record->position + 1 ||
            !ips_ring_backs(ring, ring->area_offset, end * IPS_BLOCK)) {
            return damaged(ring, record);
        }
        units += out->span[i].count;
    }
    return ips_units_of(large.size) == units ? IPS_OK : damaged(ring, record);
}

void
ips_extents_adopt(const ips_ring *ring, const ips_extents *extents, ips_owner me)
{
    for (uint32_t i = 0; i < extents->count; i++) {
        /* relaxed: published by the head that lets go of the record. */
        atomic_store_explicit(&ring->extents[extents->entry[i]].reader, me, memory_order_relaxed);
    }
}

void
ips_extents_copy(const ips_ring *ring, const ips_extents *extents, const ips_room *rooms,
                 uint32_t count)
{
    walk at = {ring, extents, 0, 0};
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *to = rooms[i].bytes;
        uint64_t size;
        for (uint64_t left = rooms[i].size; left != 0; left -= size, to += size) {
            const uint8_t *from = go_on(&at, left, &size);
            if (from == NULL) {
                return;
            }
            memcpy(to, from, size);
        }
    }
}

void
ips_extents_let_go(const ips_ring *ring, const ips_extents *extents)
{
    for (uint32_t i = 0; i < extents->count; i++) {
        /* release: the copying comes before; pairs with ips_extent_lives. */
        atomic_store_explicit(&ring->extents[extents->entry[i]].reader, IPS_NOBODY,
                              memory_order_release);
    }
}
