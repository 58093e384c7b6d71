/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/rebirth.h"

#include <stdio.h>
#include <string.h>

#include "os/disk.h"
#include "segment/chunk.h"
#include "segment/quota.h"
#include "segment/stable.h"

#define RUN 256u   /* pages that are read at once */
#define AHEAD 2048u /* ... and that the disk is to fetch meanwhile */

typedef struct {
    ips_image *image;
    const char *name;
    ips_revive revive;
} birth;

static int
damaged(const ips_image *image, const char *what)
{
    return ips_fail(IPS_ECORRUPT, "the file '%.150s' is damaged: %s", image->path, what);
}

/* All pages; of the first one what stands behind the live file's own header. */
static int
read_pages(ips_segment *segment, const ips_image *image)
{
    uint8_t first[IPS_IMAGE_PAGE] __attribute__((aligned(64)));
    uint64_t pages = ips_image_pages_of(image->head.size);
    int status = image->refs[0][0].page != 0 ? ips_image_read(image, 0, 1, first)
                                             : damaged(image, "its first page is missing");
    if (status == 0) {
        memcpy(segment->base + IPS_SEGMENT_AT, first + IPS_SEGMENT_AT,
               IPS_IMAGE_PAGE - IPS_SEGMENT_AT);
    }
    for (uint64_t page = 1; status == 0 && page < pages;) {
        uint64_t from = image->refs[0][page].page;
        uint64_t count = from == 0 ? 1 : ips_image_run(image, page, RUN);
        if (from != 0) {
            uint8_t *to = segment->base + page * IPS_IMAGE_PAGE;
            /* Usually the file goes on like this. */
            ips_disk_expect(image->fd, (from + AHEAD) * IPS_IMAGE_PAGE, count * IPS_IMAGE_PAGE);
            ips_memory_prepare(to, count * IPS_IMAGE_PAGE);
            status = ips_image_read(image, page, count, to);
        }
        page += count;
    }
    return status;
}

static void
revive_cells(const ips_chunk *chunk, ips_revive revive)
{
    uint64_t type = chunk->shm->next;
    uint64_t stride = ips_stable_stride(type);
    uint8_t *first = (uint8_t *)chunk->shm + IPS_CHUNK_UNIT;
    uint64_t count = (chunk->size - IPS_CHUNK_UNIT) / stride;
    for (uint64_t i = 0; i < count && type < IPS_STABLE_TYPES; i++) {
        ips_stable_shm *cell = (ips_stable_shm *)(void *)(first + i * stride);
        bool wide = ips_stable_is_wide((uint32_t)type);
        revive((uint32_t)type, cell->payload, wide ? (uint8_t *)(cell + 1) : NULL);
    }
}

/* Cells name members of another life. */
static int
revive_all(const ips_segment *segment, const birth *of)
{
    ips_chunk chunk;
    for (uint64_t at = segment->heap_start; at < segment->size; at += chunk.size) {
        if (!ips_chunk_at(segment, at, &chunk)) {
            return damaged(of->image, "its heap makes no sense");
        }
        if (chunk.state == IPS_CHUNK_STABLE) {
            revive_cells(&chunk, of->revive);
        }
    }
    return IPS_OK;
}

static int
settle(const ips_segment *segment, const birth *of)
{
    ips_home_shm home = {.looked_at = 0};
    const ips_header_shm *header = (const ips_header_shm *)(const void *)segment->base;
    memcpy(home.live, header->identity, sizeof home.live);
    ips_boot_name(home.boot);
    (void)snprintf(home.name, sizeof home.name, "%s", of->name);
    const char *folder = ips_space_folder(segment->object->space);
    if (strlen(folder) >= sizeof home.folder) {
        return ips_fail(IPS_ENAME, "the namespace's folder has too long a path for a mapped file");
    }
    (void)snprintf(home.folder, sizeof home.folder, "%s", folder);
    return ips_image_settle(of->image->fd, of->image->path, &home);
}

static int
fill(ips_segment *segment, void *context)
{
    const birth *of = context;
    const ips_image_shm *head = &of->image->head;
    if (head->generation == 0) {
        ips_chunk_init(segment);
        return of->name == NULL ? IPS_OK : settle(segment, of);
    }
    int status = read_pages(segment, of->image);
    if (status == 0 && (ips_heap_of(segment)->size != head->size ||
                        segment->shm->first_size != head->first_size)) {
        status = damaged(of->image, "its size makes no sense");
    }
    status = status < 0 ? status : revive_all(segment, of);
    ips_quota_orphan(segment);
    return status < 0 || of->name == NULL ? status : settle(segment, of);
}

int
ips_rebirth(ips_space *space, const char *name, ips_image *image, ips_revive revive,
            ips_segment **out)
{
    const ips_image_shm *head = &image->head;
    birth of = {image, name, revive};
    ips_segment_filling filling = {.first_size = head->first_size,
                                   .size = head->generation == 0 ? head->first_size : head->size,
                                   .fill = fill,
                                   .context = &of};
    uint64_t first_size = head->first_size, max_size = head->header.max_size;
    int status = ips_segment_sizes(&first_size, &max_size);
    if (status < 0 || first_size != head->first_size || max_size != head->header.max_size ||
        filling.size % IPS_CHUNK_UNIT != 0 || filling.size <= IPS_JOURNAL_AT) {
        return damaged(image, "its sizes make no sense");
    }
    status = head->generation == 0 ? IPS_OK : ips_image_climb(image);
    return status < 0 ? status : ips_segment_make(space, name, &filling, max_size, out);
}
