/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/stable.h"

#include <limits.h>
#include <stdlib.h>

#include "base/atomics.h"
#include "sync/semaphore.h"

#define PAYLOAD offsetof(ips_stable_shm, payload)
#define STORES 8
#define MOST_BUSY 16u /* free cells with somebody inside that are passed over */

static ips_stable_shm *
cell_of(const ips_segment *segment, uint64_t offset)
{
    return (ips_stable_shm *)(segment->base + offset - PAYLOAD);
}

/* The chunk of the cell at `offset` if its tag's index is right. */
static bool
chunk_of(const ips_segment *segment, uint64_t offset, uint64_t tag, ips_chunk *out)
{
    static const uint64_t strides[] = {sizeof(ips_stable_shm),
                                       sizeof(ips_stable_shm) + IPS_STABLE_BODY};
    for (size_t i = 0; i < sizeof strides / sizeof strides[0]; i++) {
        uint64_t distance = IPS_CHUNK_UNIT + PAYLOAD + ips_tag_index(tag) * strides[i];
        if (distance <= offset && ips_chunk_at(segment, offset - distance, out) &&
            out->state == IPS_CHUNK_STABLE && out->shm->next < IPS_STABLE_TYPES &&
            ips_stable_stride(out->shm->next) == strides[i] &&
            ips_tag_index(tag) < (out->size - IPS_CHUNK_UNIT) / strides[i]) {
            return true;
        }
    }
    return false;
}

bool
ips_stable_at(const ips_segment *segment, uint64_t offset, ips_block *out)
{
    if (!chunk_of(segment, offset, out->seen, &out->run.chunk)) {
        return false;
    }
    out->total = ips_stable_stride(out->run.chunk.shm->next);
    return true;
}

/* The half of the generation that every new number changes. */
static const _Atomic uint32_t *
fate_of(const ips_stable_shm *cell)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return (const _Atomic uint32_t *)&cell->generation;
#else
    return (const _Atomic uint32_t *)&cell->generation + 1;
#endif
}

ips_futex_look
ips_stable_fate(const void *payload)
{
    const uint8_t *bytes = payload;
    const _Atomic uint32_t *word = fate_of((const ips_stable_shm *)(const void *)(bytes - PAYLOAD));
    /* relaxed: the caller looks at the generation next, with acquire. */
    return (ips_futex_look){word, atomic_load_explicit(word, memory_order_relaxed)};
}

/* Nobody's cell any more; whoever waits on its words hears of it. */
static void
end_generation(ips_stable_shm *cell)
{
    /* release: a handle that still sees the old number may still use the
     * cell; pairs with ips_stable_generation. */
    atomic_store_explicit(&cell->generation, 0, memory_order_release);
    (void)ips_futex_wake(fate_of(cell), INT_MAX);
}

/* The payload, and the body behind it, up to `end` of the cell. */
static void
clear(ips_stable_shm *cell, uint64_t end)
{
    for (uint64_t i = 0; i < (end - PAYLOAD) / 8; i++) {
        /* relaxed: the generation publishes the zeros. */
        atomic_store_explicit(cell->payload + i, 0, memory_order_relaxed);
    }
}

/* A chunk full of free cells, chained in order, before those that there are. */
static int
new_chunk(ips_segment *segment, uint32_t type)
{
    ips_heap_shm *heap = ips_heap_of(segment);
    ips_chunk chunk;
    uint64_t stride = ips_stable_stride(type);
    uint64_t size = segment->run_size;
    size = size < IPS_CHUNK_UNIT + stride ? IPS_CHUNK_UNIT + stride : size;
    int status = ips_chunk_alloc(segment, size, IPS_CHUNK_STABLE, &chunk);
    if (status == 0) {
        status = ips_journal_reserve(&segment->journal, STORES);
    }
    if (status < 0) {
        return status;
    }
    uint64_t first = chunk.offset + IPS_CHUNK_UNIT + PAYLOAD;
    uint64_t count = (chunk.size - IPS_CHUNK_UNIT) / stride;
    for (uint64_t i = 0; i < count; i++) {
        ips_stable_shm *cell = cell_of(segment, first + i * stride);
        uint64_t next = i + 1 < count ? (first + (i + 1) * stride) / 16 : heap->stable[type] / 16;
        /* relaxed: nobody knows these cells yet. */
        atomic_store_explicit(&cell->generation, 0, memory_order_relaxed);
        if (ips_stable_is_semaphore(type)) {
            clear(cell, PAYLOAD + IPS_STABLE_SIZE + sizeof(ips_semaphore_shm)); /* no lock held */
        }
        cell->tag = ips_tag_make(IPS_TAG_FREE, IPS_CLASS_STABLE, i, next);
    }
    ips_set(segment, &chunk.shm->next, type);
    ips_set(segment, &heap->stable[type], first);
    ips_set(segment, &heap->overhead, heap->overhead + chunk.size - count * stride);
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

/* A free cell, and which one stands before it in the list (0: none). */
typedef struct {
    uint64_t offset, before;
    ips_stable_shm *cell;
} candidate;

static int
look_at(ips_segment *segment, uint32_t type, candidate *at)
{
    ips_chunk chunk;
    if (at->offset % 16 != 0 || at->offset < segment->heap_start + IPS_CHUNK_UNIT ||
        at->offset >= segment->size) {
        return ips_heap_damaged(segment, "the list of free cells", at->offset);
    }
    at->cell = cell_of(segment, at->offset);
    uint64_t tag = at->cell->tag;
    if (ips_tag_status(tag) != IPS_TAG_FREE || !chunk_of(segment, at->offset, tag, &chunk) ||
        chunk.shm->next != type) {
        return ips_heap_damaged(segment, "a free cell", at->offset);
    }
    return IPS_OK;
}

/* Zeros, where nobody can write there any more. */
static bool
make_clean(ips_segment *segment, uint32_t type, ips_stable_shm *cell)
{
    if (!ips_stable_is_semaphore(type)) {
        clear(cell, ips_stable_stride(type));
        return true;
    }
    clear(cell, PAYLOAD + IPS_STABLE_SIZE);
    return ips_semaphore_renew((uint8_t *)(cell + 1), IPS_STABLE_BODY, segment->object->space);
}

/* The first free cell that can be had; offset 0 where there is none among those
 * at the head of the list. */
static int
find_cell(ips_segment *segment, uint32_t type, candidate *at)
{
    *at = (candidate){.offset = ips_heap_of(segment)->stable[type]};
    for (uint32_t tries = 0; at->offset != 0; tries++) {
        int status = look_at(segment, type, at);
        if (status < 0 || make_clean(segment, type, at->cell)) {
            return status;
        }
        at->before = at->offset;
        at->offset = tries < MOST_BUSY ? ips_tag_link(at->cell->tag) * 16 : 0;
    }
    return IPS_OK;
}

static void
take_cell(ips_segment *segment, uint32_t type, const candidate *at)
{
    uint64_t tag = at->cell->tag;
    if (at->before == 0) {
        ips_set(segment, &ips_heap_of(segment)->stable[type], ips_tag_link(tag) * 16);
    } else {
        uint64_t *before = &cell_of(segment, at->before)->tag;
        ips_set(segment, before, ips_tag_make(IPS_TAG_FREE, IPS_CLASS_STABLE,
                                              ips_tag_index(*before), ips_tag_link(tag)));
    }
    ips_set(segment, &at->cell->tag,
            ips_tag_make(IPS_TAG_ALLOCATED, IPS_CLASS_STABLE, ips_tag_index(tag), 0));
    ips_count(segment, (int64_t)ips_stable_stride(type), 1);
}

int
ips_stable_alloc(ips_segment *segment, uint32_t type, ips_offset *out)
{
    candidate at;
    if (type >= IPS_STABLE_TYPES) {
        return ips_fail(IPS_EMISMATCH, "no cells of type %u", (unsigned)type);
    }
    int status = ips_tx_inside(segment);
    if (status == 0) {
        status = find_cell(segment, type, &at);
    }
    if (status == 0 && at.offset == 0) {
        status = new_chunk(segment, type);
        status = status < 0 ? status : find_cell(segment, type, &at);
    }
    if (status == 0) {
        status = ips_journal_reserve(&segment->journal, STORES);
    }
    if (status == 0) {
        status = at.offset != 0 ? remember(segment, at.offset)
                                : ips_heap_damaged(segment, "a new chunk of cells", 0);
    }
    if (status < 0) {
        return status;
    }
    take_cell(segment, type, &at);
    /* release: the payload is clean; pairs with ips_stable_generation. */
    atomic_store_explicit(&at.cell->generation, ips_generation_of(ips_serial_next(segment)),
                          memory_order_release);
    *out = at.offset;
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
    uint64_t type = ips_peek(&block->run.chunk.shm->next); /* again, since it was checked */
    if (type >= IPS_STABLE_TYPES) {
        return; /* the cell is lost to use: check() names its chunk */
    }
    uint64_t *head = &ips_heap_of(segment)->stable[type];
    uint64_t offset = (uint64_t)((uint8_t *)(block->tag + 1) - segment->base);
    end_generation(cell_of(segment, offset));
    ips_set(segment, block->tag,
            ips_tag_make(IPS_TAG_FREE, IPS_CLASS_STABLE, ips_tag_index(block->seen), *head / 16));
    ips_set(segment, head, offset);
}

void
ips_stable_disown(ips_segment *segment, uint64_t from)
{
    for (uint64_t i = from; i < segment->fresh_count; i++) {
        end_generation(cell_of(segment, segment->fresh[i]));
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
    uint64_t distance = PAYLOAD + IPS_CHUNK_UNIT + ips_tag_index(tag) * ips_stable_stride(type);
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

/* Its length is fixed: ips_wide_back asks for no more than the capacity. */
static int
extend(ips_wide *wide, uint64_t bytes)
{
    ips_wide_reached(wide, bytes);
    return IPS_OK;
}

void
ips_stable_wide(ips_segment *segment, ips_offset cell, uint32_t type, const char *name,
                ips_wide *out)
{
    *out = (ips_wide){.shm = NULL};
    if (!ips_stable_is_wide(type)) {
        return;
    }
    out->shm = ips_segment_at(segment, cell + IPS_STABLE_SIZE, IPS_STABLE_BODY);
    out->capacity = IPS_STABLE_BODY;
    out->name = name;
    out->extend = extend;
    ips_wide_reached(out, IPS_STABLE_BODY);
}
