/* SPDX-License-Identifier: Apache-2.0 */
/* An image: the state of a segment in an ordinary file, always whole.  How it
 * is put to use stands in segment/mapped.h.
 *
 * The file consists of pages of 4096 bytes:
 *
 *   0   head, one of two: the one of the larger generation counts
 *   1   the other head
 *   2   home (ips_home_shm): where the segment lives while it does; means
 *       nothing after a reboot
 *   3   from here on, in no order: pages of the segment and nodes
 *
 * Byte map of a head (512 bytes, what one sector holds; the rest of the page
 * is nothing):
 *
 *   0    header      128  base/header.h: kind IMAGE; layout and max_size are
 *                         the segment's, identity is the image's own
 *   128  generation    8  0: nothing was ever flushed
 *   136  first_size    8  the segment's geometry follows from it
 *   144  size          8  bytes of the segment in this image
 *   152  pages         8  of the file that this image may lie in
 *   160  root         16  a reference to the highest node
 *   176  written_at    8  CLOCK_REALTIME, ns, for people
 *   184  reserved    320
 *   504  sum           8  ips_checksum of a sector whose sum is 0
 *
 * A reference (16 bytes) is {page of the file, ips_checksum of that page};
 * page 0: nothing but zeros, which takes no room.  A node is a page of 256
 * references, to nodes of the floor below or, on the lowest floor, to pages of
 * the segment.  How many floors there are follows from max_size.
 *
 * Who writes: the holder of the file's lock (os/disk.h), and never a page that
 * the present image uses.  Order: what the head says is brought to the disk
 * (its writer may have been killed before it could); changed pages and the
 * nodes above them, into pages that the present image does not use; to the
 * disk; the head of the next generation over the older of the two; to the
 * disk.  Killed, or without power, at any moment: one of the heads is whole,
 * and all that it leads to is there.  A head that got half to the disk has a
 * wrong sum and does not count.  So nothing is ever repaired.
 *
 * Everything read is believed only if it has the sum that its reference says:
 * a file damaged otherwise raises CorruptionError, never gives a mixture. */
#ifndef IPS_SEGMENT_IMAGE_H
#define IPS_SEGMENT_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/header.h"
#include "base/status.h"
#include "member/object.h"

#define IPS_IMAGE_PAGE 4096u
#define IPS_IMAGE_FANOUT 256u
#define IPS_IMAGE_FLOORS 5u /* of references: to pages, and four of nodes */
#define IPS_IMAGE_HEADS 2u
#define IPS_IMAGE_HOME 2u   /* page of the home */
#define IPS_IMAGE_FIRST 3u  /* page */
#define IPS_IMAGE_FORMAT 1

typedef struct {
    uint64_t page;
    uint64_t sum;
} ips_reference_shm;

typedef struct {
    ips_header_shm header;
    uint64_t generation;
    uint64_t first_size;
    uint64_t size;
    uint64_t pages;
    ips_reference_shm root;
    int64_t written_at;
    uint64_t reserved[40];
    uint64_t sum;
} ips_image_shm;

_Static_assert(sizeof(ips_reference_shm) == 16, "byte map above");
_Static_assert(sizeof(ips_image_shm) == 512, "byte map above");
_Static_assert(offsetof(ips_image_shm, generation) == 128, "byte map above");
_Static_assert(offsetof(ips_image_shm, root) == 160, "byte map above");
_Static_assert(offsetof(ips_image_shm, sum) == 504, "byte map above");

/* Byte map of the home: a hint that is looked into, so it is not brought to
 * the disk.  Written before the live file has its name.
 *
 *   0     dev, inode  16  of this very file: a copy's home is not its own
 *   16    live        16  identity of the live file
 *   32    boot        40  the kernel's name of the boot it lives in
 *   72    name       208  of the live file
 *   280   folder    3792  of its namespace
 *   4072  sum          8  ips_checksum of the page with the last 24 bytes 0
 *   4080  reserved     8
 *   4088  looked_at    8  CLOCK_REALTIME, ns: when the file was last found to
 *                         be, or made, as the live memory is.  Outside the sum */
typedef struct {
    uint64_t dev, inode;
    uint8_t live[16];
    char boot[40];
    char name[208];
    char folder[3792];
    uint64_t sum;
    uint64_t reserved;
    int64_t looked_at;
} ips_home_shm;

_Static_assert(sizeof(ips_home_shm) == IPS_IMAGE_PAGE, "byte map above");
_Static_assert(offsetof(ips_home_shm, folder) == 280, "byte map above");
_Static_assert(offsetof(ips_home_shm, sum) == 4072, "byte map above");
_Static_assert(IPS_NAME_MAX < 208, "a name and its NUL fit");

/* What an image is of. */
typedef struct {
    uint32_t layout;
    uint64_t first_size;
    uint64_t max_size;
} ips_image_geometry;

/* An open file and what its present head says; one holder of its lock. */
typedef struct {
    const char *path; /* for messages */
    int fd;
    ips_image_shm head;
    unsigned slot;     /* where that head lies */
    unsigned floors;   /* of nodes */
    uint64_t count[IPS_IMAGE_FLOORS];
    ips_reference_shm *refs[IPS_IMAGE_FLOORS]; /* [0]: to pages of the segment */
    uint8_t *used;     /* a bit for each page of the file that the image uses */
    uint64_t used_pages;
} ips_image;

/* A page of the segment that differs from the image. */
typedef struct {
    uint64_t page;
    uint64_t copy; /* number of its copy, from 1; 0: it is all zeros now */
    uint64_t sum;
} ips_image_change;

/* Changed pages, in rising order, and their copies without gaps. */
typedef struct {
    ips_image_change *at;
    uint64_t count;
    const uint8_t *copies;
    uint64_t size; /* of the segment now */
} ips_image_changes;

/* Make an open, empty file an image of generation 0, and bring it to the disk. */
IPS_MUST_CHECK int ips_image_format(int fd, const char *path, const ips_image_geometry *geometry);
/* Read the heads.  IPS_EFORMAT where it is no image that this version knows,
 * IPS_ECORRUPT where it is damaged or too short.  `layout`: our own. */
IPS_MUST_CHECK int ips_image_open(int fd, const char *path, uint32_t layout, ips_image *out);
/* Read all nodes: refs and used. */
IPS_MUST_CHECK int ips_image_climb(ips_image *image);
void ips_image_close(ips_image *image); /* not the descriptor */

/* How many pages of the segment, from `page` on, which refs[0] has a reference for,
 * lie side by side in the file: at most `most`. */
uint64_t ips_image_run(const ips_image *image, uint64_t page, uint64_t most);
/* So many of them. */
IPS_MUST_CHECK int ips_image_read(const ips_image *image, uint64_t page, uint64_t count, void *to);
/* The next generation.  IPS_ENOSPACE: the present one stays, and the file is no
 * longer than before. */
IPS_MUST_CHECK int ips_image_commit(ips_image *image, const ips_image_changes *changes,
    uint64_t *written);

/* The home; false where there is none, or it is that of another file. */
bool ips_image_home(int fd, ips_home_shm *out);
IPS_MUST_CHECK int ips_image_settle(int fd, const char *path, ips_home_shm *home);
void ips_image_looked(int fd, int64_t when);

static inline uint64_t
ips_image_pages_of(uint64_t size)
{
    return size / IPS_IMAGE_PAGE + (size % IPS_IMAGE_PAGE != 0);
}

uint64_t ips_image_zeros(void); /* ips_checksum of a page of zeros */

#endif
