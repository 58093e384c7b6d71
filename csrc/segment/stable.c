/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/stable.h"

#include <stdlib.h>

#include "base/atomics.h"

#define CELL_SIZE sizeof(ips_stable_shm)
#define PAYLOAD offsetof(ips_stable_shm, payload)
#define STORES 8

static ips_stable_shm *
cell_of(const ips_segment *segment, uint64_t offset)
{
    return (ips_stable_shm *)(segment->base + offset - PAYLOAD);
}

/* The chunk of the cell at `offset` if its tag's index is right. */
static bool
chunk_of(const ips_segment *segment, uint64_t offset, uint64_t tag, ips_chunk *out)
{
    uint64_t distance = IPS_CHUNK_UNIT + PAYLOAD + ips_tag_index(tag) * CELL_SIZE;
    return distance <= offset && ips_chunk_at(segment, offset - distance, out) &&
           out->state == IPS_CHUNK_STABLE &&
           ips_tag_index(tag) < (out->size - IPS_CHUNK_UNIT) / CELL_SIZE &&
           out->shm->next < IPS_STABLE_TYPES;
}

bool
ips_stable_at(const ips_segment *segment, uint64_t offset, ips_block *out)
{
    out->total = CELL_SIZE;
    return chunk_of(segment, offset, out->seen, &out->run.chunk);
}

/* A chunk full of free cells, chained in order. */
static int
new_chunk(ips_segment *segment, uint32_t type)
{
    ips_heap_shm *heap = ips_heap_of(segment);
    ips_chunk chunk;
    int status = ips_chunk_alloc(segment, segment->run_size, IPS_CHUNK_STABLE, &chunk);
    if (status == 0) {
        status = ips_journal_reserve(&segment->journal, STORES);
    }
    if (status < 0) {
        return status;
    }
    ips_stable_shm *cells = (ips_stable_shm *)((uint8_t *)chunk.shm + IPS_CHUNK_UNIT);
    uint64_t first = chunk.offset + IPS_CHUNK_UNIT + PAYLOAD;
    uint64_t count = (chunk.size - IPS_CHUNK_UNIT) / CELL_SIZE;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t next = i + 1 < count ? (first + (i + 1) * CELL_SIZE) / 16 : 0;
        /* relaxed: nobody knows these cells yet. */
        atomic_store_explicit(&cells[i].generation, 0, memory_order_relaxed);
        cells[i].tag = ips_tag_make(IPS_TAG_FREE, IPS_CLASS_STABLE, i, next);
    }
    ips_set(segment, &chunk.shm->next, type);
    ips_set(segment, &heap->stable[type], first);
    ips_set(segment, &heap->overhead, heap->overhead + IPS_CHUNK_UNIT);
    return IPS_OK;
}

static int
remember(ips_segment *segment, uint64_t offset)
{
    if (segment->fresh_count == segment->fresh_capacity) {
        uint64_t capacity = segment->fresh_capacity == 0 ? 16 : segment->fresh_capacity * 2;
        uint64_t *fresh = realloc(segment->fresh, capacity * sizeof *fresh);
        if (fresh == NULL) {
            return ips_fail(IPS_ENOMEM, "the list of new cells");
        }
        segment->fresh = fresh;
        segment->fresh_capacity = capacity;
    }
    segment->fresh[segment->fresh_count++] = offset;
    return IPS_OK;
}

int
ips_stable_alloc(ips_segment *segment, uint32_t type, ips_offset *out)
{
    ips_heap_shm *heap = ips_heap_of(segment);
    int status = ips_tx_require(segment);
    if (status == 0 && type >= IPS_STABLE_TYPES) {
        status = ips_fail(IPS_EMISMATCH, "no cells of type %u", (unsigned)type);
    }
    if (status == 0 && heap->stable[type] == 0) {
        status = new_chunk(segment, type);
    }
    if (status == 0) {
        status = ips_journal_reserve(&segment->journal, STORES);
    }
    if (status < 0) {
        return status;
    }
    uint64_t offset = heap->stable[type];
    ips_chunk chunk;
    if (offset % 16 != 0 || offset < segment->heap_start + IPS_CHUNK_UNIT ||
        offset >= segment->size) {
        return ips_heap_damaged(segment, "the list of free cells", offset);
    }
    ips_stable_shm *cell = cell_of(segment, offset);
    uint64_t tag = cell->tag;
    if (ips_tag_status(tag) != IPS_TAG_FREE || !chunk_of(segment, offset, tag, &chunk) ||
        chunk.shm->next != type) {
        return ips_heap_damaged(segment, "a free cell", offset);
    }
    status = remember(segment, offset);
    if (status < 0) {
        return status;
    }
    ips_set(segment, &heap->stable[type], ips_tag_link(tag) * 16);
    ips_set(segment, &cell->tag,
            ips_tag_make(IPS_TAG_ALLOCATED, IPS_CLASS_STABLE, ips_tag_index(tag), 0));
    ips_count(segment, CELL_SIZE, 1);
    for (unsigned i = 0; i < IPS_STABLE_SIZE / 8; i++) {
        atomic_store_explicit(&cell->payload[i], 0, memory_order_relaxed);
    }
    /* release: the payload is clean; pairs with ips_stable_generation. */
    atomic_store_explicit(&cell->generation, ips_generation_of(ips_serial_next(segment)),
                          memory_order_release);
    *out = offset;
    return IPS_OK;
}

int
ips_stable_free(ips_segment *segment, ips_offset cell)
{
    ips_block block;
    if (!ips_block_at(segment, cell, &block) || ips_tag_class(block.seen) != IPS_CLASS_STABLE) {
        return ips_heap_damaged(segment, "freeing what is no cell", cell);
    }
    return ips_tx_free(segment, cell);
}

void
ips_stable_give_back(ips_segment *segment, const ips_block *block)
{
    ips_heap_shm *heap = ips_heap_of(segment);
    uint64_t *head = &heap->stable[block->run.chunk.shm->next];
    uint64_t offset = (uint64_t)((uint8_t *)(block->tag + 1) - segment->base);
    /* release: a handle that still sees the old number may still use the
     * cell; pairs with ips_stable_generation. */
    atomic_store_explicit(&cell_of(segment, offset)->generation, 0, memory_order_release);
    ips_set(segment, block->tag,
            ips_tag_make(IPS_TAG_FREE, IPS_CLASS_STABLE, ips_tag_index(block->seen), *head / 16));
    ips_set(segment, head, offset);
}

void
ips_stable_disown(ips_segment *segment, uint64_t from)
{
    for (uint64_t i = from; i < segment->fresh_count; i++) {
        /* release: as in ips_stable_give_back; pairs with
         * ips_stable_generation. */
        atomic_store_explicit(&cell_of(segment, segment->fresh[i])->generation, 0,
                              memory_order_release);
    }
    segment->fresh_count = from;
}

uint64_t
ips_stable_generation(ips_segment *segment, ips_offset cell, uint32_t type)
{
    ips_chunk_shm *head;
    ips_stable_shm *shm = ips_segment_at(segment, cell - PAYLOAD, sizeof *shm);
    if (cell % 64 != PAYLOAD || shm == NULL) {
        return 0;
    }
    /* Without the lock: the tag of a cell may change meanwhile, its index and
     * its chunk never do.  relaxed: the generation decides. */
    uint64_t tag = atomic_load_explicit((_Atomic uint64_t *)&shm->tag, memory_order_relaxed);
    uint64_t distance = PAYLOAD + IPS_CHUNK_UNIT + ips_tag_index(tag) * CELL_SIZE;
    head = distance > cell ? NULL : ips_segment_at(segment, cell - distance, sizeof *head);
    if (head == NULL) {
        return 0;
    }
    uint64_t words[3]; /* of the chunk's head: size and state, before, type */
    ips_copy_racing(words, head, sizeof words);
    if ((words[0] & IPS_CHUNK_STATE) != IPS_CHUNK_STABLE || words[2] != type) {
        return 0;
    }
    /* acquire: pairs with the release in ips_stable_alloc. */
    return atomic_load_explicit(&shm->generation, memory_order_acquire);
}
