/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/survey.h"

#include <string.h>

#include "base/checksum.h"
#include "os/disk.h"
#include "os/file.h"
#include "segment/chunk.h"

#define PAGE IPS_IMAGE_PAGE
#define ATTEMPTS 16 /* the heap may grow between the look at it and the lock */

/* The first page as an image has it. */
static void
copy_head(const ips_segment *segment, uint8_t *to)
{
    memset(to, 0, PAGE);
    ips_copy_racing(to + IPS_SEGMENT_AT, segment->base + IPS_SEGMENT_AT,
                    IPS_JOURNAL_AT - IPS_SEGMENT_AT);
    ips_segment_shm *head = (ips_segment_shm *)(void *)(to + IPS_SEGMENT_AT);
    memset(&head->lock, 0, sizeof head->lock);
    memset(&head->journal, 0, sizeof head->journal);
    head->deferring = 0;
    /* relaxed, both: a private copy. */
    atomic_store_explicit(&head->since, 0, memory_order_relaxed);
    atomic_store_explicit(&head->thread, 0, memory_order_relaxed);
    head->top = segment->size;
}

/* The page as an image has it: where it lies, or in `buffer`; NULL: zeros. */
static const uint8_t *
view(const ips_segment *segment, uint64_t page, uint8_t *buffer)
{
    uint64_t start = page * PAGE, end = start + PAGE;
    if (page == 0) {
        copy_head(segment, buffer);
        return buffer;
    }
    if (end <= segment->heap_start) {
        return NULL;
    }
    if (start >= segment->heap_start && end <= segment->size) {
        return segment->base + start;
    }
    uint64_t from = start < segment->heap_start ? segment->heap_start - start : 0;
    uint64_t to = end > segment->size ? segment->size - start : PAGE;
    memset(buffer, 0, PAGE);
    ips_copy_racing(buffer + from, segment->base + start + from, to - from);
    return buffer;
}

static void
note(ips_survey *survey, uint64_t page, uint64_t copy, uint64_t sum)
{
    survey->list[survey->changes.count++] = (ips_image_change){page, copy, sum};
}

static bool
is_stored(ips_reference_shm stored, uint64_t sum)
{
    return sum == ips_image_zeros() ? stored.page == 0 : stored.page != 0 && stored.sum == sum;
}

/* Compare a page with the image's, and copy it where it is another. */
static void
examine(ips_survey *survey, uint64_t page, bool idle)
{
    uint8_t buffer[PAGE] __attribute__((aligned(64)));
    const ips_image *image = survey->image;
    ips_reference_shm stored = page < image->count[0] ? image->refs[0][page]
                                                      : (ips_reference_shm){0, 0};
    const uint8_t *at = idle ? NULL : view(survey->segment, page, buffer);
    uint64_t sum = at == NULL ? ips_image_zeros() : ips_checksum(at, PAGE);
    if (is_stored(stored, sum)) {
        return;
    }
    if (sum == ips_image_zeros()) {
        note(survey, page, 0, 0);
        return;
    }
    /* Words that need no lock may change under our hands: what counts is the
     * sum of the copy. */
    uint8_t *copy = survey->copies + survey->copied * PAGE;
    ips_copy_racing(copy, at, PAGE);
    sum = ips_checksum(copy, PAGE);
    if (sum == ips_image_zeros()) {
        note(survey, page, 0, 0);
    } else {
        note(survey, page, ++survey->copied, sum);
    }
}

static int
examine_all(ips_survey *survey)
{
    ips_segment *segment = survey->segment;
    ips_chunk chunk;
    if (!ips_chunk_at(segment, segment->heap_start, &chunk)) {
        return ips_heap_damaged(segment, "no chunk", segment->heap_start);
    }
    for (uint64_t start = 0; start < segment->size; start += PAGE) {
        while (chunk.offset + chunk.size <= start) {
            uint64_t next = chunk.offset + chunk.size;
            if (!ips_chunk_at(segment, next, &chunk)) {
                return ips_heap_damaged(segment, "no chunk", next);
            }
        }
        bool idle = chunk.state == IPS_CHUNK_FREE &&
                    chunk.offset + sizeof(ips_chunk_shm) <= start &&
                    start + PAGE <= chunk.offset + chunk.size;
        examine(survey, start / PAGE, idle);
    }
    return IPS_OK;
}

void
ips_survey_end(ips_survey *survey)
{
    if (survey->list != NULL) {
        ips_unmap(survey->list, survey->room * sizeof *survey->list);
    }
    if (survey->copies != NULL) {
        ips_unmap(survey->copies, survey->room * PAGE);
    }
    survey->list = NULL;
    survey->copies = NULL;
}

/* Room for all pages of the heap as large as it is: taken, not yet touched. */
static int
take_room(ips_survey *survey)
{
    uint64_t size = ips_peek(&ips_heap_of(survey->segment)->size);
    uint64_t most = survey->segment->max_size;
    void *list = NULL, *copies = NULL;
    survey->room = ips_image_pages_of(size < most ? size : most);
    survey->room += survey->room / 8 + 16;
    int status = ips_memory_take(survey->room * sizeof *survey->list, &list);
    survey->list = list;
    if (status == 0) {
        status = ips_memory_take(survey->room * PAGE, &copies);
        survey->copies = copies;
    }
    return status;
}

int
ips_survey_take(ips_segment *segment, const ips_image *image, int64_t deadline, ips_survey *out)
{
    *out = (ips_survey){.segment = segment, .image = image};
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        int status = take_room(out);
        status = status < 0 ? status : ips_tx_begin(segment, deadline);
        if (status < 0) {
            return status;
        }
        bool fits = ips_image_pages_of(segment->size) <= out->room;
        status = fits ? examine_all(out) : IPS_OK;
        out->changes.size = segment->size;
        ips_tx_abort(segment);
        if (fits) {
            out->changes.at = out->list;
            out->changes.copies = out->copies;
            return status;
        }
        ips_survey_end(out);
    }
    return ips_fail(IPS_EAGAIN, "segment '%s' grows all the time", ips_segment_title(segment));
}
