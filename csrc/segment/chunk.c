/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/chunk.h"

#define EXACT_BINS 32u      /* bins 1..31 hold one size each */
#define SEARCH_STEPS 16     /* in a bin of mixed sizes before a larger bin is taken */
#define STORES 40           /* more than any one operation here makes */
#define GROWTH_STEP (UINT64_C(16) << 20)

int
ips_heap_damaged(const ips_segment *segment, const char *what, uint64_t offset)
{
    return ips_fail(IPS_ECORRUPT, "segment '%s': %s at offset %llu; run its check()",
                    ips_segment_title(segment), what, (unsigned long long)offset);
}

unsigned
ips_chunk_bin(uint64_t size)
{
    uint64_t units = size / IPS_CHUNK_UNIT;
    if (units < EXACT_BINS) {
        return (unsigned)units;
    }
    unsigned log = 63u - (unsigned)__builtin_clzll(units);
    unsigned bin = EXACT_BINS + (log - 5) * 4 + (unsigned)(units >> (log - 2) & 3);
    return bin < IPS_BINS ? bin : IPS_BINS - 1;
}

int
ips_chunk_push(ips_segment *segment, uint64_t *head, const ips_chunk *chunk)
{
    uint64_t first = ips_peek(head);
    if (first != 0) {
        ips_chunk second;
        if (!ips_chunk_at(segment, first, &second) || second.state != chunk->state ||
            second.shm->previous != 0) {
            return ips_heap_damaged(segment, "a list's first chunk", first);
        }
        ips_set(segment, &second.shm->previous, chunk->offset);
    }
    ips_set(segment, &chunk->shm->next, first);
    ips_set(segment, &chunk->shm->previous, 0);
    ips_set(segment, head, chunk->offset);
    return IPS_OK;
}

int
ips_chunk_unlink(ips_segment *segment, uint64_t *head, const ips_chunk *chunk)
{
    uint64_t next = ips_peek(&chunk->shm->next);
    uint64_t previous = ips_peek(&chunk->shm->previous);
    uint64_t *way_here = head;
    ips_chunk neighbour;
    if (previous != 0) {
        if (!ips_chunk_at(segment, previous, &neighbour) || neighbour.state != chunk->state) {
            return ips_heap_damaged(segment, "a chunk's link back", chunk->offset);
        }
        way_here = &neighbour.shm->next;
    }
    if (*way_here != chunk->offset) {
        return ips_heap_damaged(segment, "a chunk that is not in its list", chunk->offset);
    }
    if (next != 0) {
        ips_chunk after;
        if (!ips_chunk_at(segment, next, &after) || after.state != chunk->state ||
            after.shm->previous != chunk->offset) {
            return ips_heap_damaged(segment, "a chunk's link forward", chunk->offset);
        }
        ips_set(segment, &after.shm->previous, previous);
    }
    ips_set(segment, way_here, next);
    return IPS_OK;
}

static int
enter_bin(ips_segment *segment, const ips_chunk *chunk)
{
    ips_heap_shm *heap = ips_heap_of(segment);
    unsigned bin = ips_chunk_bin(chunk->size);
    uint64_t map = heap->bin_map[bin / 64];
    int status = ips_chunk_push(segment, &heap->bins[bin], chunk);
    if (status == 0 && (map >> bin % 64 & 1) == 0) {
        ips_set(segment, &heap->bin_map[bin / 64], map | UINT64_C(1) << bin % 64);
    }
    return status;
}

static int
leave_bin(ips_segment *segment, const ips_chunk *chunk)
{
    ips_heap_shm *heap = ips_heap_of(segment);
    unsigned bin = ips_chunk_bin(chunk->size);
    int status = ips_chunk_unlink(segment, &heap->bins[bin], chunk);
    if (status == 0 && heap->bins[bin] == 0) {
        uint64_t map = heap->bin_map[bin / 64];
        ips_set(segment, &heap->bin_map[bin / 64], map & ~(UINT64_C(1) << bin % 64));
    }
    return status;
}

/* Tell whoever lies behind `chunk` how long it is. */
static int
tell_right(ips_segment *segment, const ips_chunk *chunk)
{
    uint64_t end = chunk->offset + chunk->size;
    ips_chunk right;
    if (end == segment->size) {
        ips_set(segment, &ips_heap_of(segment)->last, chunk->offset);
        return IPS_OK;
    }
    if (!ips_chunk_at(segment, end, &right)) {
        return ips_heap_damaged(segment, "a chunk", end);
    }
    ips_set(segment, &right.shm->before, chunk->size);
    return IPS_OK;
}

/* First chunk of at least `size` bytes in one bin: looks at `steps` at most. */
static int
search_bin(const ips_segment *segment, unsigned bin, uint64_t size, uint64_t steps, ips_chunk *out)
{
    uint64_t offset = ips_peek(&ips_heap_of(segment)->bins[bin]);
    for (; offset != 0 && steps > 0; steps--) {
        if (!ips_chunk_at(segment, offset, out) || out->state != IPS_CHUNK_FREE) {
            return ips_heap_damaged(segment, "a free chunk", offset);
        }
        if (out->size >= size) {
            return IPS_OK;
        }
        offset = ips_peek(&out->shm->next);
    }
    return IPS_ENOENT; /* not noted: the caller tries elsewhere */
}

static unsigned
next_bin(const ips_segment *segment, unsigned bin)
{
    const ips_heap_shm *heap = ips_heap_of(segment);
    for (unsigned word = bin / 64; word < IPS_BINS / 64; word++) {
        uint64_t map = heap->bin_map[word];
        if (word == bin / 64) {
            map &= ~UINT64_C(0) << bin % 64;
        }
        if (map != 0) {
            return word * 64 + (unsigned)__builtin_ctzll(map);
        }
    }
    return IPS_BINS;
}

/* A free chunk of at least `size` bytes; IPS_ENOENT (not noted). */
static int
find_free(const ips_segment *segment, uint64_t size, ips_chunk *out)
{
    unsigned own = ips_chunk_bin(size);
    int status = search_bin(segment, own, size, SEARCH_STEPS, out);
    if (status != IPS_ENOENT) {
        return status;
    }
    unsigned bin = own + 1 < IPS_BINS ? next_bin(segment, own + 1) : IPS_BINS;
    if (bin < IPS_BINS) {
        status = search_bin(segment, bin, size, 1, out);
        return status != IPS_ENOENT ? status : ips_heap_damaged(segment, "the bin", bin);
    }
    return search_bin(segment, own, size, segment->size / IPS_CHUNK_UNIT, out);
}

/* Append `bytes` free bytes, which the file has, to the heap. */
static int
append(ips_segment *segment, uint64_t bytes)
{
    ips_heap_shm *heap = ips_heap_of(segment);
    ips_chunk last;
    if (!ips_chunk_at(segment, heap->last, &last) || last.offset + last.size != segment->size) {
        return ips_heap_damaged(segment, "the last chunk", heap->last);
    }
    uint64_t end = segment->size;
    int status = IPS_OK;
    segment->size = end + bytes;
    ips_set(segment, &heap->size, segment->size);
    if (last.state == IPS_CHUNK_FREE) {
        status = leave_bin(segment, &last);
        last.size += bytes;
    } else {
        ips_chunk fresh = {(ips_chunk_shm *)(segment->base + end), end, bytes, IPS_CHUNK_FREE,
                           false};
        fresh.shm->before = last.size;
        ips_set(segment, &heap->last, end);
        last = fresh;
    }
    ips_set(segment, &last.shm->size, ips_chunk_free_word(&last));
    return status < 0 ? status : enter_bin(segment, &last);
}

/* Make room for `size` bytes more.  IPS_ESEGFULL, IPS_ENOSPACE. */
static int
grow(ips_segment *segment, uint64_t size)
{
    uint64_t step = segment->size / 8 & ~(uint64_t)(IPS_CHUNK_UNIT - 1);
    step = step > GROWTH_STEP ? GROWTH_STEP : step;
    step = step > size ? step : size;
    uint64_t room = segment->max_size - segment->size;
    if (size > room) {
        return ips_fail(IPS_ESEGFULL, "'%s' has no %llu bytes in one piece; its limit is %llu",
                        ips_segment_title(segment), (unsigned long long)size,
                        (unsigned long long)segment->max_size);
    }
    step = step > room ? room : step;
    int status = ips_object_grow(segment->object, segment->size + step);
    if (status < 0) {
        return status;
    }
    uint64_t end = segment->size + step;
    if (end > segment->shm->top) {
        segment->shm->top = end; /* before any entry can name a word up there */
        atomic_signal_fence(memory_order_seq_cst);
    }
    segment->journal.heap_end = end > segment->journal.heap_end ? end : segment->journal.heap_end;
    return append(segment, step);
}

/* Cut what `chunk` has beyond `size` off and make it a free chunk. */
static int
split(ips_segment *segment, ips_chunk *chunk, uint64_t size)
{
    uint64_t rest = chunk->size - size;
    chunk->size = size;
    if (rest == 0) {
        return IPS_OK;
    }
    uint64_t at = chunk->offset + size;
    ips_chunk right = {(ips_chunk_shm *)(segment->base + at), at, rest, IPS_CHUNK_FREE,
                       chunk->hole};
    right.shm->size = ips_chunk_free_word(&right); /* in a free chunk's payload: no entry */
    right.shm->before = size;
    int status = tell_right(segment, &right);
    return status < 0 ? status : enter_bin(segment, &right);
}

/* Memory for the first `size` bytes of a chunk and for the head of the rest. */
static int
fill_hole(ips_segment *segment, const ips_chunk *chunk, uint64_t size)
{
    uint64_t need = size + IPS_CHUNK_UNIT;
    need = need > chunk->size ? chunk->size : need;
    return ips_object_back(segment->object, chunk->offset, chunk->offset + need);
}

int
ips_chunk_alloc(ips_segment *segment, uint64_t size, unsigned state, ips_chunk *out)
{
    int status = ips_journal_reserve(&segment->journal, STORES);
    if (status < 0) {
        return status;
    }
    status = find_free(segment, size, out);
    if (status == IPS_ENOENT) {
        status = grow(segment, size);
        if (status == 0) {
            status = find_free(segment, size, out);
        }
    }
    if (status < 0) {
        return status;
    }
    status = out->hole ? fill_hole(segment, out, size) : IPS_OK;
    if (status < 0) {
        return status;
    }
    status = leave_bin(segment, out);
    if (status == 0) {
        status = split(segment, out, size);
    }
    out->state = state;
    out->hole = false;
    ips_set(segment, &out->shm->next, 0);
    ips_set(segment, &out->shm->previous, 0);
    ips_set(segment, &out->shm->size, size | state);
    return status;
}

/* What stood at a chunk's head vanishes into another's payload.  While the
 * transaction can still be undone, its owner may write over it without a trace
 * (bytes of fresh blocks are not journaled): so every word of it gets an entry
 * first. */
static void
bury_head(ips_segment *segment, const ips_chunk *chunk)
{
    if (segment->journal.phase != IPS_PHASE_ACTIVE) {
        return; /* a step of working off: nothing is handed out in it */
    }
    ips_set(segment, &chunk->shm->size, 0);
    ips_set(segment, &chunk->shm->before, 0);
    ips_set(segment, &chunk->shm->next, 0);
    ips_set(segment, &chunk->shm->previous, 0);
}

/* Take a free neighbour out of its bin, to be united with. */
static int
absorb(ips_segment *segment, uint64_t offset, ips_chunk *neighbour)
{
    if (!ips_chunk_at(segment, offset, neighbour)) {
        return ips_heap_damaged(segment, "a chunk", offset);
    }
    return neighbour->state == IPS_CHUNK_FREE ? leave_bin(segment, neighbour) : IPS_OK;
}

int
ips_chunk_free(ips_segment *segment, const ips_chunk *chunk)
{
    ips_chunk whole = *chunk, left, right;
    uint64_t before = ips_peek(&chunk->shm->before);
    uint64_t end = chunk->offset + chunk->size;
    int status = ips_journal_reserve(&segment->journal, STORES);
    whole.state = IPS_CHUNK_FREE;
    if (status == 0 && end < segment->size) {
        status = absorb(segment, end, &right);
        if (status == 0 && right.state == IPS_CHUNK_FREE) {
            whole.size += right.size;
            whole.hole = right.hole;
            bury_head(segment, &right);
        }
    }
    if (status == 0 && before != 0) {
        if (before > chunk->offset) {
            return ips_heap_damaged(segment, "the chunk before that", chunk->offset);
        }
        status = absorb(segment, chunk->offset - before, &left);
        if (status == 0 && left.size != before) {
            return ips_heap_damaged(segment, "the chunk before that", chunk->offset);
        }
        if (status == 0 && left.state == IPS_CHUNK_FREE) {
            bury_head(segment, chunk);
            whole.shm = left.shm;
            whole.offset = left.offset;
            whole.size += left.size;
            whole.hole |= left.hole;
        }
    }
    if (status == 0) {
        ips_set(segment, &whole.shm->size, ips_chunk_free_word(&whole));
        status = tell_right(segment, &whole);
    }
    return status < 0 ? status : enter_bin(segment, &whole);
}

void
ips_chunk_init(ips_segment *segment)
{
    ips_heap_shm *heap = ips_heap_of(segment);
    uint64_t size = segment->size - segment->heap_start;
    unsigned bin = ips_chunk_bin(size);
    ips_chunk_shm *first = (ips_chunk_shm *)(segment->base + segment->heap_start);
    *first = (ips_chunk_shm){.size = size | IPS_CHUNK_FREE};
    heap->size = segment->size;
    heap->last = segment->heap_start;
    heap->bins[bin] = segment->heap_start;
    heap->bin_map[bin / 64] = UINT64_C(1) << bin % 64;
}
