/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/segment.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "segment/extent.h"
#include "os/file.h"
#include "segment/heap.h"
#include "segment/quota.h"
#include "segment/readout.h"
#include "segment/region.h"
#include "segment/stable.h"

#define SMALLEST (UINT64_C(64) << 10)
#define LARGEST (UINT64_C(1) << 44) /* what a tag's link can name */
#define PAGE UINT64_C(4096)

/* The segments of this process, so that one file has one handle: a thread's
 * transaction is one however often it opened the segment. */
static pthread_mutex_t room = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t room_once = PTHREAD_ONCE_INIT;
static ips_segment *segments;

static void
enter_room(void)
{
    (void)pthread_mutex_lock(&room);
}

static void
leave_room(void)
{
    (void)pthread_mutex_unlock(&room);
}

static void
watch_forks(void)
{
    (void)pthread_atfork(enter_room, leave_room, leave_room);
}

const char *
ips_segment_title(const ips_segment *segment)
{
    return segment->object->named ? segment->object->name : "(unnamed)";
}

/* --- geometry: all of it follows from the size at creation */

static uint64_t
journal_size_of(uint64_t first_size)
{
    uint64_t size = first_size / 16;
    size = size < 65536 ? 65536 : size;
    return (size > first_size / 4 ? first_size / 4 : size) & ~UINT64_C(63);
}

static uint64_t
run_size_of(uint64_t first_size)
{
    uint64_t size = 1024;
    while (size < 16384 && size * 64 < first_size) {
        size *= 2;
    }
    return size;
}

uint32_t
ips_segment_layout(void)
{
    static const uint64_t numbers[] = {
        sizeof(ips_header_shm), sizeof(ips_segment_shm), sizeof(ips_journal_shm),
        sizeof(ips_heap_shm), sizeof(ips_catalogue_shm), sizeof(ips_entry_shm),
        sizeof(ips_order_shm), sizeof(ips_chunk_shm), sizeof(ips_stable_shm),
        offsetof(ips_segment_shm, heap), offsetof(ips_heap_shm, stable),
        IPS_JOURNAL_AT, IPS_RUN_BLOCKS, IPS_BIG_PAYLOAD, IPS_STABLE_BODY,
        2, /* of what data/ makes of its blocks, where no size tells */
        sizeof(ips_region_shm), sizeof(ips_quota_shm),
    };
    return (uint32_t)ips_hash(numbers, sizeof numbers);
}

static ips_segment *
new_handle(ips_object *object, uint64_t first_size)
{
    ips_segment *segment = calloc(1, sizeof *segment);
    if (segment == NULL) {
        (void)ips_fail(IPS_ENOMEM, "opening a segment");
        return NULL;
    }
    uint64_t journal_size = journal_size_of(first_size);
    segment->object = object;
    segment->base = object->base;
    segment->shm = (ips_segment_shm *)(object->base + IPS_SEGMENT_AT);
    segment->max_size = object->max_size & ~(uint64_t)(IPS_CHUNK_UNIT - 1);
    segment->heap_start = IPS_JOURNAL_AT + journal_size;
    segment->run_size = run_size_of(first_size);
    /* relaxed: nobody else knows it. */
    atomic_store_explicit(&segment->handles, 1, memory_order_relaxed);
    ips_journal *journal = &segment->journal;
    ips_journal_open(journal, object->base, &segment->shm->journal,
                     (uint64_t *)(object->base + IPS_JOURNAL_AT), journal_size / 8);
    journal->fixed_start = IPS_SEGMENT_AT + offsetof(ips_segment_shm, heap);
    journal->fixed_end = IPS_SEGMENT_AT + sizeof(ips_segment_shm);
    journal->heap_start = segment->heap_start;
    ips_extents_provide(segment);
    return segment;
}

static void
free_handle(ips_segment *segment)
{
    ips_journal_close(&segment->journal);
    free(segment->fresh);
    free(segment);
}

/* Fill a new file; nobody else sees it yet. */
static int
init_file(ips_object *object, void *context)
{
    const ips_segment_filling *filling = context;
    ips_segment *segment = new_handle(object, filling->first_size);
    if (segment == NULL) {
        return IPS_ENOMEM;
    }
    segment->shm->journal_size = journal_size_of(filling->first_size);
    segment->shm->first_size = filling->first_size;
    segment->shm->top = filling->size;
    segment->size = filling->size;
    int status = IPS_OK;
    if (filling->fill == NULL) {
        ips_chunk_init(segment);
    } else {
        status = filling->fill(segment, filling->context);
    }
    free_handle(segment);
    return status;
}

int
ips_segment_measure(ips_segment *segment)
{
    uint64_t size = ips_peek(&ips_heap_of(segment)->size);
    uint64_t top = ips_peek(&segment->shm->top);
    if (size % IPS_CHUNK_UNIT != 0 || size > top || top > segment->max_size ||
        size < segment->heap_start + IPS_CHUNK_UNIT ||
        !ips_object_backs(segment->object, 0, top)) {
        return ips_fail(IPS_ECORRUPT, "segment '%s' claims %llu of %llu bytes",
                        ips_segment_title(segment), (unsigned long long)size,
                        (unsigned long long)top);
    }
    segment->size = size;
    segment->journal.heap_end = top;
    return IPS_OK;
}

void *
ips_segment_reach(ips_segment *segment, ips_offset offset, uint64_t size)
{
    return offset >= segment->heap_start && offset % 8 == 0 &&
                   ips_object_backs(segment->object, offset, size)
        ? segment->base + offset : NULL;
}

/* --- opening */

/* A handle for an open object, whose reference it takes over. */
static int
attach(ips_object *object, ips_segment **out)
{
    const ips_segment_shm *shm = (const ips_segment_shm *)(object->base + IPS_SEGMENT_AT);
    bool whole = object->max_size >= SMALLEST && ips_object_backs(object, 0, SMALLEST);
    uint64_t first_size = whole ? shm->first_size : 0;
    if (first_size < SMALLEST || first_size > object->max_size || first_size % PAGE != 0 ||
        shm->journal_size != journal_size_of(first_size)) {
        return ips_fail(IPS_ECORRUPT, "segment '%s': its geometry makes no sense",
                        object->named ? object->name : "(unnamed)");
    }
    ips_segment *segment = new_handle(object, first_size);
    if (segment == NULL) {
        return IPS_ENOMEM;
    }
    int status = ips_segment_measure(segment);
    if (status < 0) {
        free_handle(segment);
        return status;
    }
    *out = segment;
    return IPS_OK;
}

static void
set_read_only(ips_segment *segment, bool read_only)
{
    segment->read_only = read_only;
    segment->journal.read_only = read_only;
}

static int
adopt(ips_object *object, bool to_read, ips_segment **out)
{
    (void)pthread_once(&room_once, watch_forks);
    enter_room();
    ips_segment *segment = segments;
    while (segment != NULL && (segment->object->dev != object->dev ||
                               segment->object->inode != object->inode)) {
        segment = segment->next;
    }
    int status = IPS_OK;
    bool known = segment != NULL;
    if (known && segment->read_only != to_read) {
        /* A thread could wait for a transaction of its own. */
        status = ips_fail(IPS_EINUSE, "this process has '%s' open to %s; close it there first",
                          ips_segment_title(segment), to_read ? "write" : "read only");
    } else if (known) {
        ips_segment_hold(segment);
    } else {
        status = attach(object, &segment);
        if (status == 0) {
            set_read_only(segment, to_read);
            segment->next = segments;
            segments = segment;
        }
    }
    leave_room();
    if (known || status < 0) {
        ips_object_release(object);
    }
    if (status == 0) {
        *out = segment;
    }
    return status;
}

static ips_object_spec
spec_of(ips_segment_filling *filling, uint64_t max_size, bool cleanup_last)
{
    return (ips_object_spec){
        .kind = IPS_KIND_SEGMENT,
        .format = IPS_SEGMENT_FORMAT,
        .layout = ips_segment_layout(),
        .size = filling->size,
        .max_size = max_size,
        .cleanup_last = cleanup_last,
        .init = init_file,
        .context = filling,
    };
}

int
ips_segment_sizes(uint64_t *size, uint64_t *max_size)
{
    if (*size > LARGEST || *max_size > LARGEST) {
        return ips_fail(IPS_ETOOBIG, "a segment holds at most %llu bytes",
                        (unsigned long long)LARGEST);
    }
    *size = ips_align_up(*size < SMALLEST ? SMALLEST : *size, PAGE);
    *max_size = ips_align_up(*max_size < *size ? *size : *max_size, PAGE);
    return IPS_OK;
}

int
ips_segment_make(ips_space *space, const char *name, ips_segment_filling *filling,
                 uint64_t max_size, ips_segment **out)
{
    ips_object_spec spec = spec_of(filling, max_size, false);
    ips_object *object;
    bool created;
    int status = ips_object_open(space, name, IPS_CREATE_ONLY, &spec, &object, &created);
    return status < 0 ? status : adopt(object, false, out);
}

int
ips_segment_open_to_read(ips_space *space, const char *name, ips_segment **out)
{
    ips_segment_filling filling = {.first_size = SMALLEST, .size = SMALLEST};
    ips_object_spec spec = spec_of(&filling, SMALLEST, false);
    ips_object *object;
    bool created;
    int status = ips_object_open(space, name, IPS_OPEN_ONLY, &spec, &object, &created);
    return status < 0 ? status : adopt(object, true, out);
}

void
ips_segment_restrict(ips_segment *segment)
{
    set_read_only(segment, true);
}

bool
ips_segment_is_read_only(const ips_segment *segment)
{
    return segment->read_only;
}

int
ips_segment_open(ips_space *space, const char *name, ips_open_mode mode, uint64_t size,
                 uint64_t max_size, bool cleanup_last, ips_segment **out, bool *created)
{
    int status = ips_segment_sizes(&size, &max_size);
    if (status < 0) {
        return status;
    }
    ips_segment_filling filling = {.first_size = size, .size = size};
    ips_object_spec spec = spec_of(&filling, max_size, cleanup_last);
    ips_object *object;
    status = ips_object_open(space, name, mode, &spec, &object, created);
    return status < 0 ? status : adopt(object, false, out);
}

int
ips_segment_redeem(ips_space *space, const char *ticket, ips_segment **out)
{
    ips_segment_filling filling = {.first_size = SMALLEST, .size = SMALLEST};
    ips_object_spec spec = spec_of(&filling, SMALLEST, false);
    ips_object *object;
    int status = ips_object_redeem(space, ticket, &spec, &object);
    return status < 0 ? status : adopt(object, false, out);
}

ips_object *
ips_segment_object(ips_segment *segment)
{
    return segment->object;
}

void
ips_segment_hold(ips_segment *segment)
{
    /* relaxed: the caller has one that keeps it. */
    (void)atomic_fetch_add_explicit(&segment->handles, 1, memory_order_relaxed);
}

bool
ips_segment_release(ips_segment *segment)
{
    /* relaxed, release: whoever gives up the last one sees what was done with
     * this one; pairs with the acquire in ips_segment_close. */
    uint32_t handles = atomic_load_explicit(&segment->handles, memory_order_relaxed);
    while (handles > 1) {
        if (atomic_compare_exchange_weak_explicit(&segment->handles, &handles, handles - 1,
                                                  memory_order_release, memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

void
ips_segment_close(ips_segment *segment)
{
    enter_room();
    /* acq_rel: pairs with its like, of other threads. */
    bool last = atomic_fetch_sub_explicit(&segment->handles, 1, memory_order_acq_rel) == 1;
    for (ips_segment **link = &segments; last && *link != NULL; link = &(*link)->next) {
        if (*link == segment) {
            *link = segment->next;
            break;
        }
    }
    leave_room();
    if (last) {
        ips_object_release(segment->object);
        free_handle(segment);
    }
}

void
ips_segment_want_huge(ips_segment *segment)
{
    bool huge = ips_map_huge(segment->base, segment->object->max_size);
    /* relaxed: a fact for people. */
    atomic_store_explicit(&segment->huge, huge, memory_order_relaxed);
}

/* Of the highest bin that holds any; a look without the lock, which may be
 * old news by now. */
static uint64_t
largest_free(ips_segment *segment)
{
    const ips_heap_shm *heap = ips_heap_of(segment);
    uint64_t largest = 0;
    unsigned bin = IPS_BINS;
    while (bin > 0 && ips_peek(&heap->bins[bin - 1]) == 0) {
        bin--;
    }
    uint64_t offset = bin > 0 ? ips_peek(&heap->bins[bin - 1]) : 0;
    for (int steps = 1000; offset != 0 && steps > 0; steps--) {
        const ips_chunk_shm *chunk = ips_segment_at(segment, offset, sizeof *chunk);
        if (chunk == NULL) {
            break;
        }
        uint64_t size = ips_peek(&chunk->size) & ~(uint64_t)IPS_CHUNK_STATE;
        largest = size > largest && size <= segment->max_size ? size : largest;
        offset = ips_peek(&chunk->next);
    }
    return largest > IPS_BIG_PAYLOAD ? largest - IPS_BIG_PAYLOAD : 0;
}

int
ips_segment_stats_of(ips_segment *segment, ips_segment_stats *out)
{
    const ips_heap_shm *heap = ips_heap_of(segment);
    uint64_t size = heap->size;
    ips_sums sums = ips_tx_is_mine(segment) ? segment->sums : (ips_sums){0, 0};
    uint64_t used = heap->used + (uint64_t)sums.bytes;
    uint64_t taken = used + heap->overhead;
    uint64_t heap_size = size > segment->heap_start ? size - segment->heap_start : 0;
    *out = (ips_segment_stats){
        .size = size,
        .max_size = segment->max_size,
        .used = used,
        .free_bytes = taken < heap_size ? heap_size - taken : 0,
        .blocks = heap->blocks + (uint64_t)sums.blocks,
        .objects = segment->shm->catalogue.count,
        .overhead = heap->overhead,
        .largest_free = largest_free(segment),
        /* relaxed: as in ips_segment_want_huge. */
        .huge_pages = atomic_load_explicit(&segment->huge, memory_order_relaxed),
    };
    ips_region_count(segment, &out->pools, &out->arenas);
    ips_quota_of_mine(segment, &out->quota, &out->charged);
    int status = ips_object_memory(segment->object, &out->memory);
    return status < 0 ? status : ips_object_users(segment->object, &out->members);
}
