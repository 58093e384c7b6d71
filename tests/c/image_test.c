/* SPDX-License-Identifier: Apache-2.0 */
/* A segment's file on a disk that loses power: every write, sync and cut of
 * some flushes is recorded, and after each of them the disk is left with any
 * mixture of what was not synced, in pieces of 512 bytes, in any order.  What
 * is found then is the state of the last completed flush or of the one under
 * way, whole.  The same where the flusher was killed first and another one went
 * on: then the file had more than the disk. */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/hash.h"
#include "data/revival.h"
#include "os/file.h"
#include "segment/handle.h"
#include "segment/image.h"
#include "segment/mapped.h"

#include "segment_scene.h"

#define SECTOR 512u
#define DISK (MIB / 2)
#define OPS 4000
#define MIXTURES 6

/* --- a disk that remembers ------------------------------------------------ */

enum op_kind { WRITE, SYNC, CUT };

typedef struct {
    enum op_kind kind;
    uint64_t offset, size;
    uint8_t *data;
} op;

static op ops[OPS];
static unsigned op_count;
static bool recording;

static void
record(enum op_kind kind, uint64_t offset, uint64_t size, const void *data)
{
    if (recording) {
        CHECK(op_count < OPS);
        op *it = &ops[op_count++];
        *it = (op){kind, offset, size, NULL};
        if (data != NULL) {
            it->data = malloc(size);
            memcpy(it->data, data, size);
        }
    }
}

/* In place of the C library's: the core is linked with these. */
ssize_t
pwrite(int fd, const void *data, size_t size, off_t offset)
{
    record(WRITE, (uint64_t)offset, size, data);
    return syscall(SYS_pwrite64, fd, data, size, offset);
}

int
fdatasync(int fd)
{
    record(SYNC, 0, 0, NULL);
    return (int)syscall(SYS_fdatasync, fd);
}

int
ftruncate(int fd, off_t size)
{
    record(CUT, 0, (uint64_t)size, NULL);
    return (int)syscall(SYS_ftruncate, fd, size);
}

static void
forget_ops(void)
{
    for (unsigned i = 0; i < op_count; i++) {
        free(ops[i].data);
    }
    op_count = 0;
}

typedef struct {
    uint8_t bytes[DISK];
    uint64_t size;
} disk;

enum share { NONE_OF_IT, ALL_OF_IT, SOME_OF_IT };

/* Sectors of one write that get there. */
static void
apply(disk *to, const op *it, enum share how, uint64_t *luck)
{
    if (it->kind == CUT && how != NONE_OF_IT) {
        memset(to->bytes + it->size, 0, to->size > it->size ? to->size - it->size : 0);
        to->size = it->size;
    }
    for (uint64_t at = 0; it->kind == WRITE && at < it->size; at += SECTOR) {
        uint64_t left = it->size - at < SECTOR ? it->size - at : SECTOR;
        CHECK(it->offset + at + left <= DISK);
        if (how == ALL_OF_IT || (how == SOME_OF_IT && draw(luck) % 2 == 0)) {
            memcpy(to->bytes + it->offset + at, it->data + at, left);
            uint64_t end = it->offset + at + left;
            to->size = end > to->size ? end : to->size;
        }
    }
}

/* The disk after ops [0, count): what was synced, and of the rest a mixture. */
static void
crash(disk *out, const disk *before, unsigned count, unsigned mixture, uint64_t *luck)
{
    unsigned synced = 0;
    *out = *before;
    for (unsigned i = 0; i < count; i++) {
        synced = ops[i].kind == SYNC ? i : synced;
    }
    for (unsigned i = 0; i < count; i++) {
        enum share how = mixture == 0 || (mixture == 3 && draw(luck) % 2 == 0) ? NONE_OF_IT
                         : mixture == 1                                      ? ALL_OF_IT
                                                                             : SOME_OF_IT;
        if (mixture == 2) { /* the latest alone: reordered as far as can be */
            how = i + 1 == count ? ALL_OF_IT : NONE_OF_IT;
        }
        how = i < synced ? ALL_OF_IT : how;
        apply(out, &ops[i], how, luck);
    }
}

/* --- what is in a file, as a number --------------------------------------- */

static char folder[300], path[330], other[330];

static void
read_disk(disk *out)
{
    int fd = open(path, O_RDONLY);
    memset(out->bytes, 0, DISK);
    ssize_t got = pread(fd, out->bytes, DISK, 0);
    CHECK(fd >= 0 && got > 0);
    out->size = (uint64_t)got;
    close(fd);
}

/* In place: the file keeps its inode, and the segment its file. */
static void
write_disk(const char *to, const disk *from)
{
    int fd = open(to, O_RDWR | O_CREAT, 0600);
    CHECK(fd >= 0 && syscall(SYS_ftruncate, fd, from->size) == 0 &&
          syscall(SYS_pwrite64, fd, from->bytes, from->size, 0) == (long)from->size);
    close(fd);
}

/* 0: the file is not whole. */
static uint64_t
contents_of(const char *of)
{
    static uint8_t page[IPS_IMAGE_PAGE] __attribute__((aligned(64)));
    ips_image image;
    int fd = open(of, O_RDONLY);
    CHECK(fd >= 0);
    int status = ips_image_open(fd, of, ips_segment_layout(), &image);
    status = status < 0 ? status : ips_image_climb(&image);
    uint64_t sum = image.head.size + 1;
    for (uint64_t i = 0; status == 0 && i < image.count[0]; i++) {
        memset(page, 0, sizeof page);
        status = image.refs[0][i].page == 0 ? 0 : ips_image_read(&image, i, 1, page);
        sum = sum * 31 + ips_hash(page, sizeof page);
    }
    ips_image_close(&image);
    close(fd);
    if (status < 0) {
        fprintf(stderr, "%s\n", ips_last_note()->detail);
    }
    return status < 0 ? 0 : sum;
}

/* --- a life --------------------------------------------------------------- */

static ips_segment *segment;
static uint64_t chance = 88172645463325252u;

static ips_segment *
open_path(const char *at)
{
    ips_mapped_spec spec = {.path = at, .size = 128 * KIB, .max_size = 192 * KIB,
                            .revive = ips_type_revive};
    ips_segment *out;
    bool created;
    CHECK(ips_mapped_open(space, &spec, IPS_FOREVER, &out, &created) == 0);
    return out;
}

static void
change(void)
{
    static ips_offset blocks[12];
    begin(segment);
    for (int i = 0; i < 3; i++) {
        ips_offset *block = &blocks[draw(&chance) % 12];
        if (*block != 0) {
            CHECK(ips_tx_free(segment, *block) == 0);
        }
        size_t size = 64 + draw(&chance) % 7000;
        CHECK(ips_tx_alloc(segment, size, block) == 0);
        memset(ips_segment_at(segment, *block, size), (int)draw(&chance) % 250 + 1, size);
    }
    commit(segment);
}

static void
flush(void)
{
    uint64_t written;
    CHECK(ips_mapped_flush(segment, IPS_FOREVER, 0, &written) == 0 && written != 0);
}

/* Every mixture after every op: one of three states; the last only from op
 * `late` on, and after the last op no other. */
static unsigned
judge(const disk *before, const uint64_t states[3], unsigned late, unsigned from)
{
    static disk left;
    unsigned judged = 0;
    for (unsigned count = from; count <= op_count; count++) {
        for (unsigned mixture = 0; mixture < MIXTURES; mixture++) {
            crash(&left, before, count, mixture, &chance);
            write_disk(other, &left);
            uint64_t found = contents_of(other);
            bool old = found == states[0] || found == states[1];
            bool new = found == states[2];
            if (found == 0 || !(count < late ? old : count == op_count ? new : old || new)) {
                fprintf(stderr, "op %u of %u, mixture %u: no state that was flushed\n", count,
                        op_count, mixture);
                exit(1);
            }
            judged++;
        }
    }
    return judged;
}

/* The op that stores the head, counted from `from`: states exist before it. */
static unsigned
head_op(unsigned from)
{
    for (unsigned i = from; i < op_count; i++) {
        if (ops[i].kind == WRITE && ops[i].size == sizeof(ips_image_shm)) {
            return i;
        }
    }
    CHECK(false);
    return 0;
}

/* The op after which flush() has returned but for the note of when. */
static void
drop_note(void)
{
    CHECK(ops[op_count - 1].kind == WRITE && ops[op_count - 1].size == 8);
    CHECK(ops[op_count - 2].kind == SYNC);
}

static void
power_cuts(void)
{
    static disk before;
    unsigned judged = 0;
    for (int round = 0; round < 12; round++) {
        uint64_t old = contents_of(path);
        read_disk(&before);
        change();
        recording = true;
        flush();
        recording = false;
        drop_note();
        const uint64_t states[] = {old, old, contents_of(path)};
        CHECK(states[2] != old && old != 0);
        judged += judge(&before, states, head_op(0) + 1, 0);
        forget_ops();
    }
    CHECK(judged > 500);
    printf("ok any mixture after any write: %u disks\n", judged);
}

/* The flusher dies after `kept` ops; the file shows them all, the disk need
 * not have them.  Somebody else flushes, and then the power goes. */
static unsigned
die_and_go_on(const disk *before, unsigned kept, uint64_t states[3])
{
    static disk shown;
    shown = *before;
    for (unsigned i = kept; i < op_count; i++) {
        free(ops[i].data);
    }
    op_count = kept;
    for (unsigned i = 0; i < kept; i++) {
        apply(&shown, &ops[i], ALL_OF_IT, &chance);
    }
    write_disk(path, &shown);
    change();
    recording = true;
    flush();
    recording = false;
    states[2] = contents_of(path);
    unsigned judged = judge(before, states, head_op(kept) + 1, kept);
    forget_ops();
    return judged;
}

static void
deaths_before_power_cuts(void)
{
    static disk before;
    unsigned judged = 0;
    for (unsigned missing = 0; missing < 8; missing++) {
        uint64_t states[3] = {contents_of(path)};
        read_disk(&before);
        change();
        recording = true;
        flush();
        recording = false;
        states[1] = contents_of(path);
        judged += die_and_go_on(&before, op_count > missing ? op_count - missing : 0, states);
    }
    CHECK(judged > 300);
    printf("ok a killed flusher, another one, then any mixture: %u disks\n", judged);
}

/* What the pages make is a segment: opened, sound, usable. */
static void
the_whole_way(void)
{
    static disk before, left;
    int sound = 0;
    for (int round = 0; round < 3; round++) {
        read_disk(&before);
        change();
        recording = true;
        flush();
        recording = false;
        for (unsigned count = 0; count <= op_count; count += 2) {
            crash(&left, &before, count, 4, &chance);
            CHECK(unlink(other) == 0);
            write_disk(other, &left);
            ips_segment *again = open_path(other);
            check_sound(again);
            char name[IPS_NAME_MAX + 1];
            snprintf(name, sizeof name, "%s", ips_segment_object(again)->name);
            ips_segment_close(again);
            CHECK(ips_object_remove(space, name, false) == 0);
            sound++;
        }
        forget_ops();
    }
    printf("ok what is left is opened and sound: %d\n", sound);
}

int
main(void)
{
    join_test_space();
    snprintf(folder, sizeof folder, "%s/disk", getenv("IPCSYS_DIR"));
    snprintf(path, sizeof path, "%s/file", folder);
    snprintf(other, sizeof other, "%s/other", folder);
    CHECK(mkdir(folder, 0700) == 0);
    segment = open_path(path);
    change();
    flush();
    power_cuts();
    deaths_before_power_cuts();
    the_whole_way();
    ips_segment_close(segment);
    return 0;
}
