/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/image.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/checksum.h"
#include "os/clock.h"
#include "os/disk.h"
#include "os/file.h"

#define LARGEST (UINT64_C(1) << 44) /* of a segment; four floors of nodes reach as far */
#define HOME_SUMMED (sizeof(ips_home_shm) - 24)

static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint64_t zeros;

static void
sum_zeros(void)
{
    static const uint64_t page[IPS_IMAGE_PAGE / 8];
    zeros = ips_checksum(page, sizeof page);
}

uint64_t
ips_image_zeros(void)
{
    (void)pthread_once(&once, sum_zeros);
    return zeros;
}

static uint64_t
sum_of_head(const ips_image_shm *head)
{
    ips_image_shm copy = *head;
    copy.sum = 0;
    return ips_checksum(&copy, sizeof copy);
}

static int
damaged(const ips_image *image, const char *what)
{
    return ips_fail(IPS_ECORRUPT, "the file '%.150s' is damaged: %s", image->path, what);
}

/* --- the heads ----------------------------------------------------------- */

int
ips_image_format(int fd, const char *path, const ips_image_geometry *geometry)
{
    static const uint8_t nothing[IPS_IMAGE_FIRST * IPS_IMAGE_PAGE];
    ips_image_shm head = {
        .header = {
            .byte_order = IPS_BYTE_ORDER,
            .kind = IPS_KIND_IMAGE,
            .format = IPS_IMAGE_FORMAT,
            .layout = geometry->layout,
            .max_size = geometry->max_size,
        },
        .first_size = geometry->first_size,
        .pages = IPS_IMAGE_FIRST,
    };
    memcpy(head.header.magic, IPS_MAGIC, sizeof head.header.magic);
    int status = ips_random(head.header.identity, sizeof head.header.identity);
    head.sum = sum_of_head(&head);
    status = status < 0 ? status : ips_disk_write(fd, nothing, sizeof nothing, 0);
    status = status < 0 ? status : ips_disk_write(fd, &head, sizeof head, 0);
    status = status < 0 ? status : ips_disk_sync(fd);
    return status == IPS_ENOSPACE
        ? ips_fail(status, "no room for the file '%.150s'", path) : status;
}

/* One of ours, whatever its sum says?  The first bytes are alike in every
 * format there will ever be. */
static int
check_kind(const ips_image *image, const ips_image_shm *head)
{
    const ips_header_shm *header = &head->header;
    if (memcmp(header->magic, IPS_MAGIC, sizeof header->magic) != 0) {
        return ips_fail(IPS_EFORMAT, "'%.150s' is not a file of ipcsys", image->path);
    }
    if (header->byte_order != IPS_BYTE_ORDER) {
        return ips_fail(IPS_EFORMAT, "'%.150s' was written on a machine of the other byte order",
                        image->path);
    }
    if (header->kind != IPS_KIND_IMAGE) {
        return ips_fail(IPS_EMISMATCH, "'%.150s' is not a segment's file, but shared memory of "
                        "kind %u", image->path, header->kind);
    }
    if (header->format != IPS_IMAGE_FORMAT || header->incompat != 0) {
        return ips_fail(IPS_EFORMAT, "'%.150s' has format %u, this version of ipcsys reads %u",
                        image->path, header->format, IPS_IMAGE_FORMAT);
    }
    return IPS_OK;
}

static int
check_numbers(const ips_image *image, uint32_t layout, uint64_t file_size)
{
    const ips_image_shm *head = &image->head;
    if (head->header.layout != layout) {
        return ips_fail(IPS_EFORMAT, "'%.150s' was written by another version of ipcsys, which "
                        "lays segments out differently", image->path);
    }
    if (head->header.max_size > LARGEST || head->first_size > head->header.max_size ||
        head->size > head->header.max_size || head->pages < IPS_IMAGE_FIRST ||
        head->pages > LARGEST) {
        return damaged(image, "its head makes no sense");
    }
    if (file_size / IPS_IMAGE_PAGE < head->pages) {
        return ips_fail(IPS_ECORRUPT, "the file '%.150s' was cut short: it has %llu of %llu bytes",
                        image->path, (unsigned long long)file_size,
                        (unsigned long long)head->pages * IPS_IMAGE_PAGE);
    }
    return IPS_OK;
}

int
ips_image_open(int fd, const char *path, uint32_t layout, ips_image *out)
{
    *out = (ips_image){.path = path, .fd = fd};
    ips_file_facts facts;
    int status = ips_file_facts_of(fd, &facts);
    if (status == 0 && facts.size < IPS_IMAGE_FIRST * IPS_IMAGE_PAGE) {
        return ips_fail(IPS_EFORMAT, "'%.150s' is not a file of ipcsys: too short", path);
    }
    bool found = false;
    int fault = IPS_OK;
    for (unsigned slot = 0; status == 0 && slot < IPS_IMAGE_HEADS; slot++) {
        ips_image_shm head;
        status = ips_file_read(fd, &head, sizeof head, (uint64_t)slot * IPS_IMAGE_PAGE);
        if (status < 0) {
            break;
        }
        bool blank = slot != 0 && memcmp(head.header.magic, IPS_MAGIC, 8) != 0;
        fault = blank || fault < 0 ? fault : check_kind(out, &head);
        if (!blank && fault == 0 && head.sum == sum_of_head(&head) &&
            (!found || head.generation > out->head.generation)) {
            out->head = head;
            out->slot = slot;
            found = true;
        }
    }
    if (status < 0 || fault < 0) {
        return status < 0 ? status : fault;
    }
    if (!found) {
        return damaged(out, "neither of its heads is whole");
    }
    out->floors = 1;
    for (uint64_t reach = IPS_IMAGE_FANOUT; out->floors < IPS_IMAGE_FLOORS - 1 &&
         reach < ips_image_pages_of(out->head.header.max_size); reach *= IPS_IMAGE_FANOUT) {
        out->floors++;
    }
    return check_numbers(out, layout, facts.size);
}

void
ips_image_close(ips_image *image)
{
    for (unsigned floor = 0; floor < IPS_IMAGE_FLOORS; floor++) {
        free(image->refs[floor]);
        image->refs[floor] = NULL;
    }
    free(image->used);
    image->used = NULL;
}

/* --- the tree ------------------------------------------------------------ */

static uint64_t
count_on(uint64_t size, unsigned floor)
{
    uint64_t count = ips_image_pages_of(size);
    for (; floor != 0; floor--) {
        count = count / IPS_IMAGE_FANOUT + (count % IPS_IMAGE_FANOUT != 0);
    }
    return count == 0 ? 1 : count;
}

/* Room for the references of a segment of that size; those that are there
 * stay, new ones are 0. */
static int
make_room(ips_image *image, uint64_t size)
{
    for (unsigned floor = 0; floor <= image->floors; floor++) {
        uint64_t count = count_on(size, floor);
        /* Fresh memory is zeros without being touched, however large a damaged
         * head says that the segment is. */
        ips_reference_shm *refs = image->refs[floor] == NULL
            ? calloc(count, sizeof *refs) : realloc(image->refs[floor], count * sizeof *refs);
        if (refs == NULL) {
            return ips_fail(IPS_ENOMEM, "reading the file '%.150s'", image->path);
        }
        if (image->refs[floor] != NULL && count > image->count[floor]) {
            memset(refs + image->count[floor], 0, (count - image->count[floor]) * sizeof *refs);
        }
        image->refs[floor] = refs;
        image->count[floor] = count;
    }
    return IPS_OK;
}

/* Take note of a reference; false where it leads out of the file, or to a page
 * that another one leads to. */
static bool
use(ips_image *image, uint64_t page)
{
    if (page == 0) {
        return true;
    }
    if (page < IPS_IMAGE_FIRST || page >= image->used_pages ||
        (image->used[page / 8] >> page % 8 & 1) != 0) {
        return false;
    }
    image->used[page / 8] |= (uint8_t)(1 << page % 8);
    return true;
}

static int
read_page(const ips_image *image, ips_reference_shm from, void *to)
{
    int status = ips_file_read(image->fd, to, IPS_IMAGE_PAGE, from.page * IPS_IMAGE_PAGE);
    if (status == 0 && ips_checksum(to, IPS_IMAGE_PAGE) != from.sum) {
        status = damaged(image, "a page is not what was written");
    }
    return status;
}

/* The references that node `index` of the floor holds. */
static int
read_node(ips_image *image, unsigned floor, uint64_t index)
{
    ips_reference_shm node[IPS_IMAGE_FANOUT] __attribute__((aligned(64)));
    uint64_t first = index * IPS_IMAGE_FANOUT;
    uint64_t left = image->count[floor - 1] - first;
    uint64_t held = left < IPS_IMAGE_FANOUT ? left : IPS_IMAGE_FANOUT;
    int status = read_page(image, image->refs[floor][index], node);
    for (uint64_t i = 0; status == 0 && i < IPS_IMAGE_FANOUT; i++) {
        if (i >= held ? node[i].page != 0 : !use(image, node[i].page)) {
            status = damaged(image, "a reference leads astray");
        }
    }
    if (status == 0) {
        memcpy(image->refs[floor - 1] + first, node, held * sizeof *node);
    }
    return status;
}

int
ips_image_climb(ips_image *image)
{
    image->used_pages = image->head.pages;
    image->used = calloc(image->used_pages / 8 + 1, 1);
    if (image->used == NULL) {
        return ips_fail(IPS_ENOMEM, "reading the file '%.150s'", image->path);
    }
    int status = make_room(image, image->head.size);
    if (status == 0 && !use(image, image->head.root.page)) {
        status = damaged(image, "its root leads astray");
    }
    if (status == 0) {
        image->refs[image->floors][0] = image->head.root;
    }
    for (unsigned floor = image->floors; floor != 0; floor--) {
        for (uint64_t i = 0; status == 0 && i < image->count[floor]; i++) {
            if (image->refs[floor][i].page != 0) {
                status = read_node(image, floor, i);
            }
        }
    }
    return status;
}

uint64_t
ips_image_run(const ips_image *image, uint64_t page, uint64_t most)
{
    const ips_reference_shm *refs = image->refs[0] + page;
    uint64_t left = image->count[0] - page;
    most = most < left ? most : left;
    uint64_t count = 1;
    while (count < most && refs[count].page == refs[0].page + count) {
        count++;
    }
    return count;
}

int
ips_image_read(const ips_image *image, uint64_t page, uint64_t count, void *to)
{
    const ips_reference_shm *refs = image->refs[0] + page;
    int status = ips_file_read(image->fd, to, count * IPS_IMAGE_PAGE,
                               refs[0].page * IPS_IMAGE_PAGE);
    for (uint64_t i = 0; status == 0 && i < count; i++) {
        if (ips_checksum((uint8_t *)to + i * IPS_IMAGE_PAGE, IPS_IMAGE_PAGE) != refs[i].sum) {
            status = damaged(image, "a page is not what was written");
        }
    }
    return status;
}

/* --- the next generation ------------------------------------------------- */

typedef struct {
    ips_image *image;
    uint8_t *touched[IPS_IMAGE_FLOORS]; /* a byte for each node: is it to be written? */
    uint64_t free;  /* pages of the file below are used, or taken by this commit */
    uint64_t end;   /* behind the last page taken */
    uint64_t written;
} committing;

/* The next page that the present image does not use. */
static uint64_t
take_page(committing *work)
{
    const ips_image *image = work->image;
    uint64_t page = work->free;
    while (page < image->used_pages) {
        if (page % 8 == 0 && image->used[page / 8] == 0xff) {
            page += 8;
        } else if ((image->used[page / 8] >> page % 8 & 1) != 0) {
            page++;
        } else {
            break;
        }
    }
    work->free = page + 1;
    work->end = page + 1 > work->end ? page + 1 : work->end;
    return page;
}

static int
write_pages(committing *work, const void *from, uint64_t pages, uint64_t page)
{
    work->written += pages * IPS_IMAGE_PAGE;
    return ips_disk_write(work->image->fd, from, pages * IPS_IMAGE_PAGE, page * IPS_IMAGE_PAGE);
}

static void
touch(committing *work, unsigned floor, uint64_t child)
{
    work->touched[floor][child / IPS_IMAGE_FANOUT] = 1;
}

/* Copies that come to lie side by side are written at once. */
static int
write_changes(committing *work, const ips_image_changes *changes)
{
    ips_reference_shm *refs = work->image->refs[0];
    uint64_t start = 0, run = 0, first = 0; /* of copies, and where they go */
    int status = IPS_OK;
    for (uint64_t i = 0; status == 0 && i < changes->count; i++) {
        const ips_image_change *change = &changes->at[i];
        touch(work, 1, change->page);
        refs[change->page] = (ips_reference_shm){0, 0};
        if (change->copy == 0) {
            continue;
        }
        uint64_t page = take_page(work);
        refs[change->page] = (ips_reference_shm){page, change->sum};
        if (run != 0 && page == first + run) {
            run++;
            continue;
        }
        if (run != 0) {
            status = write_pages(work, changes->copies + start * IPS_IMAGE_PAGE, run, first);
        }
        start = change->copy - 1;
        first = page;
        run = 1;
    }
    return status < 0 || run == 0
        ? status : write_pages(work, changes->copies + start * IPS_IMAGE_PAGE, run, first);
}

static int
write_node(committing *work, unsigned floor, uint64_t index)
{
    ips_image *image = work->image;
    ips_reference_shm node[IPS_IMAGE_FANOUT] __attribute__((aligned(64))) = {{0, 0}};
    uint64_t first = index * IPS_IMAGE_FANOUT;
    uint64_t left = image->count[floor - 1] - first;
    memcpy(node, image->refs[floor - 1] + first,
           (left < IPS_IMAGE_FANOUT ? left : IPS_IMAGE_FANOUT) * sizeof *node);
    uint64_t sum = ips_checksum(node, sizeof node);
    image->refs[floor][index] = (ips_reference_shm){0, 0};
    if (sum == ips_image_zeros()) {
        return IPS_OK;
    }
    uint64_t page = take_page(work);
    image->refs[floor][index] = (ips_reference_shm){page, sum};
    return write_pages(work, node, 1, page);
}

static int
write_nodes(committing *work)
{
    int status = IPS_OK;
    for (unsigned floor = 1; floor <= work->image->floors; floor++) {
        for (uint64_t i = 0; status == 0 && i < work->image->count[floor]; i++) {
            if (work->touched[floor][i] != 0) {
                status = write_node(work, floor, i);
                if (floor < work->image->floors) {
                    touch(work, floor + 1, i);
                }
            }
        }
    }
    return status;
}

/* Room for the new size; the nodes at its edge lose or get references. */
static int
prepare(committing *work, uint64_t size)
{
    ips_image *image = work->image;
    uint64_t before[IPS_IMAGE_FLOORS];
    memcpy(before, image->count, sizeof before);
    int status = make_room(image, size);
    for (unsigned floor = 1; status == 0 && floor <= image->floors; floor++) {
        work->touched[floor] = calloc(image->count[floor], 1);
        status = work->touched[floor] != NULL
            ? IPS_OK : ips_fail(IPS_ENOMEM, "writing the file '%.150s'", image->path);
        if (status == 0 && image->count[floor - 1] < before[floor - 1]) {
            touch(work, floor, image->count[floor - 1] - 1);
        }
    }
    return status;
}

static int
write_head(committing *work, uint64_t size)
{
    ips_image *image = work->image;
    ips_image_shm head = image->head;
    head.generation++;
    head.size = size;
    head.pages = work->end;
    head.root = image->refs[image->floors][0];
    head.written_at = ips_wall_clock();
    head.sum = sum_of_head(&head);
    unsigned slot = 1 - image->slot;
    int status = ips_disk_write(image->fd, &head, sizeof head, (uint64_t)slot * IPS_IMAGE_PAGE);
    if (status == 0) {
        image->head = head;
        image->slot = slot;
        status = ips_disk_sync(image->fd);
    }
    return status;
}

static int
write_all(committing *work, const ips_image_changes *changes)
{
    int status = prepare(work, changes->size);
    status = status < 0 ? status : ips_disk_sync(work->image->fd);
    status = status < 0 ? status : write_changes(work, changes);
    status = status < 0 ? status : write_nodes(work);
    status = status < 0 ? status : ips_disk_sync(work->image->fd);
    if (status < 0) {
        ips_note why = *ips_last_note();
        if (ips_disk_cut(work->image->fd, work->image->head.pages * IPS_IMAGE_PAGE) < 0) {
            /* longer than it need be: what is too much is used next time */
        }
        return ips_fail(why.status, "the file '%.150s' stays as it was last flushed: %.60s",
                        work->image->path,
                        why.status == IPS_ENOSPACE ? "its disk is full" : why.detail);
    }
    return write_head(work, changes->size);
}

int
ips_image_commit(ips_image *image, const ips_image_changes *changes, uint64_t *written)
{
    committing work = {.image = image, .free = IPS_IMAGE_FIRST, .end = image->head.pages};
    int status = write_all(&work, changes);
    for (unsigned floor = 0; floor < IPS_IMAGE_FLOORS; floor++) {
        free(work.touched[floor]);
    }
    *written = status < 0 ? 0 : work.written;
    return status;
}

/* --- the home ------------------------------------------------------------ */

static uint64_t
sum_of_home(const ips_home_shm *home)
{
    ips_home_shm copy __attribute__((aligned(64))) = *home;
    memset((uint8_t *)&copy + HOME_SUMMED, 0, sizeof copy - HOME_SUMMED);
    return ips_checksum(&copy, sizeof copy);
}

bool
ips_image_home(int fd, ips_home_shm *out)
{
    ips_file_facts facts;
    return ips_file_read(fd, out, sizeof *out, IPS_IMAGE_HOME * IPS_IMAGE_PAGE) == 0 &&
           ips_file_facts_of(fd, &facts) == 0 && out->sum == sum_of_home(out) &&
           out->dev == facts.dev && out->inode == facts.inode &&
           memchr(out->boot, 0, sizeof out->boot) != NULL &&
           memchr(out->name, 0, sizeof out->name) != NULL &&
           memchr(out->folder, 0, sizeof out->folder) != NULL;
}

int
ips_image_settle(int fd, const char *path, ips_home_shm *home)
{
    ips_file_facts facts;
    int status = ips_file_facts_of(fd, &facts);
    home->dev = facts.dev;
    home->inode = facts.inode;
    home->sum = sum_of_home(home);
    status = status < 0 ? status
        : ips_disk_write(fd, home, sizeof *home, IPS_IMAGE_HOME * IPS_IMAGE_PAGE);
    return status == IPS_ENOSPACE
        ? ips_fail(status, "the disk of the file '%.150s' is full", path) : status;
}

void
ips_image_looked(int fd, int64_t when)
{
    uint64_t at = IPS_IMAGE_HOME * IPS_IMAGE_PAGE + offsetof(ips_home_shm, looked_at);
    if (ips_disk_write(fd, &when, sizeof when, at) < 0) {
        return; /* then others look again sooner than they need */
    }
}
