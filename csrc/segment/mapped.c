/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/mapped.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "os/clock.h"
#include "os/disk.h"
#include "os/file.h"
#include "segment/chunk.h"
#include "segment/rebirth.h"
#include "segment/survey.h"

#define ATTEMPTS 64 /* the file may be made and removed under our hands */

/* --- the file ------------------------------------------------------------ */

/* What was noted, with the path instead of the last part of it. */
static int
about(int status, const char *path)
{
    ips_note why = *ips_last_note();
    switch (status) {
    case IPS_ENOENT:
        return ips_fail(status, "there is no file '%.180s'", path);
    case IPS_EEXIST:
        return ips_fail(status, "the file '%.180s' exists already", path);
    case IPS_ETIMEOUT:
        return ips_fail(status, "the file '%.150s' is being opened or flushed by others", path);
    default:
        return ips_fail(status, "the file '%.100s': %.110s", path, why.detail);
    }
}

/* Split an absolute path: the folder, opened, and what the file is called. */
static int
open_folder(const char *path, int *dir, const char **leaf)
{
    char folder[IPS_PATH_SIZE];
    size_t size = strlen(path);
    const char *slash = strrchr(path, '/');
    if (path[0] != '/' || size >= sizeof folder || slash[1] == '\0' ||
        strcmp(slash, "/.") == 0 || strcmp(slash, "/..") == 0) {
        return ips_fail(IPS_ENAME, "'%.100s' is no absolute path of a file, of at most %u bytes",
                        path, IPS_PATH_SIZE - 1);
    }
    size_t length = (size_t)(slash - path) + (slash == path);
    memcpy(folder, path, length);
    folder[length] = '\0';
    *leaf = slash + 1;
    return ips_disk_folder(folder, dir);
}

/* A new file, of generation 0 or, with a segment, of its present state; whole
 * or not at all. */
static int
make_file(int dir, const char *leaf, const char *path, const ips_image_geometry *geometry)
{
    int fd;
    int status = ips_file_make(dir, &fd);
    if (status < 0) {
        return status;
    }
    status = ips_image_format(fd, path, geometry);
    status = status < 0 ? status : ips_file_name(fd, dir, leaf);
    status = status < 0 ? status : ips_disk_sync_folder(dir);
    ips_file_close(fd);
    return status;
}

/* Open an existing file and take its lock.  IPS_EAGAIN: it was removed while we
 * waited. */
static int
open_locked(const char *path, int64_t deadline, int *fd)
{
    const char *leaf;
    int dir;
    ips_file_facts facts;
    int status = open_folder(path, &dir, &leaf);
    if (status < 0) {
        return status;
    }
    status = ips_file_open(dir, leaf, fd, &facts);
    ips_file_close(dir);
    if (status < 0) {
        return about(status, path);
    }
    status = ips_disk_lock(*fd, deadline);
    if (status < 0) {
        ips_file_close(*fd);
        return about(status, path);
    }
    status = ips_file_facts_of(*fd, &facts);
    if (status == 0 && facts.links == 0) {
        status = IPS_EAGAIN;
    } else if (status == 0 && facts.links > 1) {
        status = ips_fail(IPS_EACCESS, "the file '%.150s' has %u names (hard links); it may have "
                          "one", path, facts.links);
    }
    if (status < 0) {
        ips_disk_unlock(*fd);
        ips_file_close(*fd);
    }
    return status;
}

static void
close_locked(int fd)
{
    ips_disk_unlock(fd);
    ips_file_close(fd);
}

/* --- where it lives ------------------------------------------------------ */

enum home { NOWHERE, HERE, ELSEWHERE };

static bool
same_folder(ips_space *space, int folder)
{
    ips_file_facts ours, its;
    return ips_file_facts_of(ips_space_dir(space), &ours) == 0 &&
           ips_file_facts_of(folder, &its) == 0 && ours.dev == its.dev &&
           ours.inode == its.inode;
}

/* Has the live file that the home names this identity, and its name? */
static int
look_at_home(int folder, const ips_home_shm *home, bool *lives)
{
    int fd;
    ips_file_facts facts;
    ips_header_shm header;
    int status = ips_file_open(folder, home->name, &fd, &facts);
    if (status == 0) {
        *lives = facts.size >= sizeof header &&
                 ips_file_read(fd, &header, sizeof header, 0) == 0 &&
                 memcmp(header.identity, home->live, sizeof header.identity) == 0;
        ips_file_close(fd);
    }
    return status == IPS_ENOENT ? IPS_OK : status;
}

/* Live memory of a former boot, in a folder that outlives boots, is no state
 * that ever was: the kernel wrote its pages as it liked. */
static bool
is_of_this_boot(const ips_home_shm *home)
{
    char boot[40];
    ips_boot_name(boot);
    return strcmp(boot, home->boot) == 0;
}

static int
find_home(ips_space *space, int fd, ips_home_shm *home, enum home *where)
{
    int folder;
    bool lives = false;
    *where = NOWHERE;
    if (!ips_image_home(fd, home) || ips_disk_folder(home->folder, &folder) < 0) {
        home->name[0] = '\0';
        return IPS_OK;
    }
    int status = look_at_home(folder, home, &lives);
    bool here = same_folder(space, folder);
    ips_file_close(folder);
    if (status < 0 || !lives) {
        return status;
    }
    if (is_of_this_boot(home)) {
        *where = here ? HERE : ELSEWHERE;
        return IPS_OK;
    }
    return here ? ips_object_remove(space, home->name, false) : IPS_OK;
}

static int
lives_elsewhere(const char *path, const ips_home_shm *home)
{
    return ips_fail(IPS_EINUSE, "the file '%.90s' lives in the namespace '%.80s' as '%.30s'; "
                    "open it there", path, home->folder, home->name);
}

static const uint8_t *
identity_of(const ips_segment *segment)
{
    return ((const ips_header_shm *)(const void *)segment->base)->identity;
}

/* --- its path ------------------------------------------------------------ */

/* Inside a transaction. */
static int
read_path(ips_segment *segment, char out[IPS_PATH_SIZE])
{
    ips_offset at = ips_anchor_load(segment, IPS_ANCHOR_PATH);
    out[0] = '\0';
    if (at == 0) {
        return IPS_OK;
    }
    const uint64_t *head = ips_segment_at(segment, at, 8);
    uint64_t size = head == NULL ? 0 : ips_peek(head);
    const void *bytes = size == 0 || size >= IPS_PATH_SIZE
        ? NULL : ips_segment_at(segment, at + 8, ips_align_up(size, 8));
    if (bytes == NULL) {
        return ips_fail(IPS_ECORRUPT, "segment '%s': the path of its file makes no sense",
                        ips_segment_title(segment));
    }
    ips_copy_racing(out, bytes, size);
    out[size] = '\0';
    return IPS_OK;
}

static int
store_path(ips_segment *segment, const char *path)
{
    uint64_t size = strlen(path);
    ips_offset old = ips_anchor_load(segment, IPS_ANCHOR_PATH), at;
    int status = ips_tx_alloc(segment, 8 + ips_align_up(size, 8), &at);
    uint8_t *block = status < 0 ? NULL : ips_segment_at(segment, at, 8 + ips_align_up(size, 8));
    if (block == NULL) {
        return status < 0 ? status : ips_heap_damaged(segment, "a block outside the heap", at);
    }
    memcpy(block, &size, 8);
    memcpy(block + 8, path, size);
    status = ips_tx_anchor(segment, IPS_ANCHOR_PATH, at);
    return status < 0 || old == 0 ? status : ips_tx_free(segment, old);
}

int
ips_mapped_path(ips_segment *segment, int64_t deadline, char out[IPS_PATH_SIZE])
{
    int status = ips_tx_begin(segment, deadline);
    if (status == 0) {
        status = read_path(segment, out);
        ips_tx_abort(segment);
    }
    return status;
}

/* The segment knows where its file is. */
static int
tell_path(ips_segment *segment, const char *path, int64_t deadline)
{
    char known[IPS_PATH_SIZE];
    int status = ips_tx_begin(segment, deadline);
    if (status < 0) {
        return status;
    }
    status = read_path(segment, known);
    if (status == 0 && strcmp(known, path) != 0) {
        status = store_path(segment, path);
    }
    if (status < 0) {
        ips_tx_abort(segment);
        return status;
    }
    return ips_tx_commit(segment);
}

/* --- opening ------------------------------------------------------------- */

/* What live memory is called that was given no name. */
static void
derive_name(const ips_image *image, const ips_file_facts *facts, char out[IPS_NAME_MAX + 1])
{
    uint64_t facts_of_file[4] = {facts->dev, facts->inode, 0, 0};
    memcpy(facts_of_file + 2, image->head.header.identity, 16);
    uint32_t number = (uint32_t)ips_hash(facts_of_file, sizeof facts_of_file);
    (void)snprintf(out, IPS_NAME_MAX + 1, "%.150s~%08x", strrchr(image->path, '/') + 1, number);
    if (ips_name_check(out, strlen(out)) < 0) {
        (void)snprintf(out, IPS_NAME_MAX + 1, "mapped~%08x", number);
    }
}

static int
build(ips_space *space, const ips_mapped_spec *spec, ips_image *image, ips_segment **out)
{
    ips_file_facts facts;
    char derived[IPS_NAME_MAX + 1];
    int status = ips_file_facts_of(image->fd, &facts);
    if (status < 0) {
        return status;
    }
    derive_name(image, &facts, derived);
    const char *name = spec->name != NULL ? spec->name : derived;
    status = ips_rebirth(space, name, image, spec->revive, out);
    return status != IPS_EEXIST ? status
        : ips_fail(IPS_EMISMATCH, "'%.80s' is not the memory of the file '%.90s': use another "
                   "name, or remove it", name, spec->path);
}

static int
open_live(ips_space *space, const ips_mapped_spec *spec, const ips_home_shm *home,
          ips_segment **out)
{
    bool created;
    if (spec->name != NULL && strcmp(spec->name, home->name) != 0) {
        return ips_fail(IPS_EMISMATCH, "the file '%.90s' is open as '%.50s', not as '%.50s'",
                        spec->path, home->name, spec->name);
    }
    int status = ips_segment_open(space, home->name, IPS_OPEN_ONLY, 0, 0, false, out, &created);
    if (status == 0 && memcmp(identity_of(*out), home->live, sizeof home->live) != 0) {
        ips_segment_close(*out); /* the name was given to another in between */
        status = IPS_EAGAIN;
    }
    return status == IPS_ENOENT ? IPS_EAGAIN : status;
}

/* With the file's lock in hand.  IPS_EAGAIN: look again. */
static int
open_of(ips_space *space, const ips_mapped_spec *spec, int fd, ips_segment **out)
{
    ips_image image;
    ips_home_shm home;
    enum home where;
    int status = ips_image_open(fd, spec->path, ips_segment_layout(), &image);
    status = status < 0 ? status : find_home(space, fd, &home, &where);
    if (status < 0) {
        return status;
    }
    if (where == ELSEWHERE) {
        return lives_elsewhere(spec->path, &home);
    }
    status = where == HERE ? open_live(space, spec, &home, out) : build(space, spec, &image, out);
    ips_image_close(&image);
    return status;
}

static int
make_new(const ips_mapped_spec *spec)
{
    ips_image_geometry geometry = {
        .layout = ips_segment_layout(), .first_size = spec->size, .max_size = spec->max_size};
    const char *leaf;
    int dir;
    int status = ips_segment_sizes(&geometry.first_size, &geometry.max_size);
    status = status < 0 ? status : open_folder(spec->path, &dir, &leaf);
    if (status == 0) {
        status = make_file(dir, leaf, spec->path, &geometry);
        ips_file_close(dir);
    }
    return status;
}

/* The file, made where the mode says so. */
static int
provide(ips_mapped_spec *spec, int64_t deadline, int *fd, bool *created)
{
    int status = IPS_ENOENT;
    if (spec->mode == IPS_OPEN_OR_CREATE || spec->mode == IPS_OPEN_ONLY) {
        status = open_locked(spec->path, deadline, fd);
    }
    if (status != IPS_ENOENT || spec->mode == IPS_OPEN_ONLY) {
        return status;
    }
    status = make_new(spec);
    if (status == 0) {
        *created = true;
        spec->mode = IPS_OPEN_ONLY;
    } else if (status == IPS_EEXIST && spec->mode == IPS_OPEN_OR_CREATE) {
        return IPS_EAGAIN; /* somebody was faster: open theirs */
    } else {
        return about(status, spec->path);
    }
    return open_locked(spec->path, deadline, fd);
}

static int
open_once(ips_space *space, ips_mapped_spec *spec, int64_t deadline, ips_segment **out,
          bool *created)
{
    int fd;
    int status = provide(spec, deadline, &fd, created);
    if (status < 0) {
        return status;
    }
    status = open_of(space, spec, fd, out);
    if (status == 0) {
        status = tell_path(*out, spec->path, deadline);
        if (status < 0) {
            ips_segment_close(*out);
        }
    }
    close_locked(fd);
    return status;
}

int
ips_mapped_open(ips_space *space, ips_mapped_spec *spec, int64_t deadline,
                ips_segment **out, bool *created)
{
    int status = spec->name == NULL ? IPS_OK : ips_name_check(spec->name, strlen(spec->name));
    if (status == 0 && spec->mode == IPS_CREATE_NEW) {
        status = ips_mapped_remove(space, spec->path, deadline);
        status = status == IPS_ENOENT ? IPS_OK : status;
    }
    if (status < 0) {
        return status;
    }
    *created = false;
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        status = open_once(space, spec, deadline, out, created);
        if (status != IPS_EAGAIN) {
            return status;
        }
    }
    return ips_fail(IPS_EAGAIN, "the file '%.150s' is made and removed all the time", spec->path);
}

/* --- flushing ------------------------------------------------------------ */

/* Of an image that is open, its next generation. */
static int
advance(ips_segment *segment, ips_image *image, int64_t deadline, uint64_t *written)
{
    ips_survey survey = {.list = NULL};
    *written = 0;
    int status = ips_image_climb(image);
    if (status == 0) {
        status = ips_survey_take(segment, image, deadline, &survey);
        bool same = survey.changes.count == 0 && survey.changes.size == image->head.size;
        if (status == 0 && !same) {
            status = ips_image_commit(image, &survey.changes, written);
        }
        ips_survey_end(&survey);
    }
    return status;
}

static int
flush_into(ips_segment *segment, int fd, const char *path, int64_t deadline, int64_t max_age,
           uint64_t *written)
{
    ips_home_shm home;
    ips_image image;
    *written = 0;
    if (!ips_image_home(fd, &home) ||
        memcmp(home.live, identity_of(segment), sizeof home.live) != 0) {
        return ips_fail(IPS_EGONE, "the file '%.150s' is not, or no longer, the one of segment "
                        "'%.40s'", path, ips_segment_title(segment));
    }
    int64_t now = ips_wall_clock();
    if (home.looked_at <= now && now - home.looked_at < max_age) {
        return IPS_OK;
    }
    int status = ips_image_open(fd, path, ips_segment_layout(), &image);
    if (status == 0) {
        status = advance(segment, &image, deadline, written);
        ips_image_close(&image);
    }
    if (status == 0) {
        ips_image_looked(fd, now);
    }
    return status;
}

static int
check_outside(const ips_segment *segment)
{
    return !ips_tx_is_mine(segment) ? IPS_OK
        : ips_fail(IPS_ETX, "segment '%s': a file cannot have half of the open transaction",
                   ips_segment_title(segment));
}

int
ips_mapped_flush(ips_segment *segment, int64_t deadline, int64_t max_age, uint64_t *written)
{
    char path[IPS_PATH_SIZE];
    int fd;
    int status = !segment->read_only ? check_outside(segment)
        : ips_fail(IPS_EREADONLY, "flush() of what was opened with readonly=True");
    status = status < 0 ? status : ips_mapped_path(segment, deadline, path);
    if (status == 0 && path[0] == '\0') {
        status = ips_fail(IPS_EMISMATCH, "segment '%s' has no file: it was made without path=",
                          ips_segment_title(segment));
    }
    status = status < 0 ? status : open_locked(path, deadline, &fd);
    if (status < 0) {
        return status != IPS_EAGAIN ? status : about(IPS_ENOENT, path);
    }
    status = flush_into(segment, fd, path, deadline, max_age, written);
    close_locked(fd);
    return status;
}

static int
fill_snapshot(ips_segment *segment, int fd, const char *path, int64_t deadline, uint64_t *written)
{
    ips_image_geometry geometry = {.layout = ips_segment_layout(),
                                   .first_size = segment->shm->first_size,
                                   .max_size = segment->object->max_size};
    ips_image image;
    int status = ips_image_format(fd, path, &geometry);
    status = status < 0 ? status : ips_image_open(fd, path, geometry.layout, &image);
    if (status == 0) {
        status = advance(segment, &image, deadline, written);
        ips_image_close(&image);
    }
    return status;
}

int
ips_mapped_snapshot(ips_segment *segment, const char *path, int64_t deadline, uint64_t *written)
{
    const char *leaf;
    int dir, fd;
    ips_file_facts facts;
    int status = check_outside(segment);
    status = status < 0 ? status : open_folder(path, &dir, &leaf);
    if (status < 0) {
        return status;
    }
    status = ips_file_facts_at(dir, leaf, &facts) == 0 ? IPS_EEXIST : ips_file_make(dir, &fd);
    if (status < 0) {
        ips_file_close(dir);
        return about(status, path);
    }
    status = fill_snapshot(segment, fd, path, deadline, written);
    if (status == 0) {
        status = ips_file_name(fd, dir, leaf);
        status = status < 0 ? about(status, path) : ips_disk_sync_folder(dir);
    }
    ips_file_close(fd);
    ips_file_close(dir);
    return status;
}

/* --- removing ------------------------------------------------------------ */

static int
remove_of(ips_space *space, const char *path, int fd)
{
    ips_image image;
    ips_home_shm home;
    enum home where;
    int status = ips_image_open(fd, path, ips_segment_layout(), &image);
    if (status < 0 && status != IPS_ECORRUPT) {
        return status; /* not ours to delete */
    }
    status = find_home(space, fd, &home, &where);
    if (status == 0 && where == ELSEWHERE) {
        status = lives_elsewhere(path, &home);
    }
    if (status == 0 && where == HERE) {
        status = ips_object_remove(space, home.name, false);
        status = status == IPS_ENOENT ? IPS_OK : status;
    }
    const char *leaf;
    int dir;
    status = status < 0 ? status : open_folder(path, &dir, &leaf);
    if (status == 0) {
        status = ips_file_unlink(dir, leaf);
        ips_file_close(dir);
    }
    return status;
}

int
ips_mapped_remove(ips_space *space, const char *path, int64_t deadline)
{
    int fd;
    int status = open_locked(path, deadline, &fd);
    if (status < 0) {
        return status != IPS_EAGAIN ? status : about(IPS_ENOENT, path);
    }
    status = remove_of(space, path, fd);
    close_locked(fd);
    return status;
}
