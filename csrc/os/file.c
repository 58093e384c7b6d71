/* SPDX-License-Identifier: Apache-2.0 */
#include "os/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define BACK_STEP (UINT64_C(16) << 20)

static void
facts_of_stat(const struct stat *status, ips_file_facts *out)
{
    *out = (ips_file_facts){
        .dev = (uint64_t)status->st_dev,
        .inode = (uint64_t)status->st_ino,
        .size = (uint64_t)status->st_size,
        .blocks = (uint64_t)status->st_blocks * 512,
        .links = (uint32_t)status->st_nlink,
        .uid = status->st_uid,
        .mode = status->st_mode & 07777,
        .regular = S_ISREG(status->st_mode),
        .directory = S_ISDIR(status->st_mode),
    };
}

int
ips_file_facts_of(int fd, ips_file_facts *out)
{
    struct stat status;
    if (fstat(fd, &status) != 0) {
        return ips_fail_errno("cannot look at an open file");
    }
    facts_of_stat(&status, out);
    return IPS_OK;
}

int
ips_file_facts_at(int dir, const char *name, ips_file_facts *out)
{
    struct stat status;
    if (fstatat(dir, name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
        return ips_fail_errno("cannot look at '%s'", name);
    }
    facts_of_stat(&status, out);
    return IPS_OK;
}

/* Ours alone, or nobody's business: what every folder and file must be. */
static int
check_private(int fd, const char *name, bool directory, ips_file_facts *facts)
{
    int status = ips_file_facts_of(fd, facts);
    if (status < 0) {
        return status;
    }
    if (directory ? !facts->directory : !facts->regular) {
        return ips_fail(IPS_EFORMAT, "'%s' is not a %s", name,
                        directory ? "folder" : "regular file");
    }
    if (facts->uid != geteuid()) {
        return ips_fail(IPS_EACCESS, "'%s' belongs to user %u, not to user %u", name,
                        facts->uid, (unsigned)geteuid());
    }
    if ((facts->mode & 077) != 0) {
        return ips_fail(IPS_EACCESS, "'%s' is open to others (mode %03o); if ipcsys made it, "
                        "chmod go= it", name, facts->mode & 0777);
    }
    return IPS_OK;
}

int
ips_dir_open_at(int dir, const char *name, bool create, int *fd)
{
    if (create && mkdirat(dir, name, 0700) != 0 && errno != EEXIST) {
        return ips_fail_errno("cannot make the folder '%s'", name);
    }
    int found = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (found < 0) {
        if (errno == ELOOP || errno == ENOTDIR) {
            return ips_fail(IPS_EACCESS, "'%s' is not a folder but a link or a file", name);
        }
        return ips_fail_errno("cannot open the folder '%s'", name);
    }
    ips_file_facts facts;
    int status = check_private(found, name, true, &facts);
    if (status < 0) {
        (void)close(found);
        return status;
    }
    *fd = found;
    return IPS_OK;
}

int
ips_dir_open(const char *path, bool create, int *fd)
{
    char part[4096];
    size_t size = strlen(path);
    if (path[0] != '/' || size >= sizeof part) {
        return ips_fail(IPS_ENAME, "'%.100s' is not an absolute path of usable length", path);
    }
    memcpy(part, path, size + 1);
    for (char *slash = strchr(part + 1, '/'); create && slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST) {
            return ips_fail_errno("cannot make the folder '%s'", part);
        }
        *slash = '/';
    }
    return ips_dir_open_at(AT_FDCWD, path, create, fd);
}

/* /proc/self/fd is the way to name an open file that needs no privilege. */
static int
link_open_file(int fd, int dir, const char *name)
{
    char self[40];
    (void)snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    if (linkat(AT_FDCWD, self, dir, name, AT_SYMLINK_FOLLOW) == 0) {
        return 0;
    }
    return errno == EEXIST ? -1 : linkat(fd, "", dir, name, AT_EMPTY_PATH);
}

int
ips_file_make(int dir, int *fd)
{
    int made = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (made < 0) {
        return ips_fail_errno("cannot make a file (O_TMPFILE)");
    }
    if (fchmod(made, 0600) != 0) { /* whatever the umask is */
        int status = ips_fail_errno("cannot set the mode of a new file");
        (void)close(made);
        return status;
    }
    *fd = made;
    return IPS_OK;
}

int
ips_file_keep(int dir, const char *name, int *fd)
{
    int opened = openat(dir, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (opened < 0) {
        return ips_fail_errno("cannot open '%s'", name);
    }
    ips_file_facts facts;
    int status = check_private(opened, name, false, &facts);
    if (status < 0) {
        (void)close(opened);
        return status;
    }
    *fd = opened;
    return IPS_OK;
}

int
ips_file_name(int fd, int dir, const char *name)
{
    return link_open_file(fd, dir, name) == 0 ? IPS_OK : ips_fail_errno("cannot name '%s'", name);
}

int
ips_file_link(int from_dir, const char *from, int to_dir, const char *to)
{
    return linkat(from_dir, from, to_dir, to, 0) == 0
               ? IPS_OK
               : ips_fail_errno("cannot link '%s' to '%s'", from, to);
}

int
ips_file_rename(int from_dir, const char *from, int to_dir, const char *to)
{
    return renameat(from_dir, from, to_dir, to) == 0
               ? IPS_OK
               : ips_fail_errno("cannot rename '%s' to '%s'", from, to);
}

int
ips_file_unlink(int dir, const char *name)
{
    return unlinkat(dir, name, 0) == 0 || errno == ENOENT
               ? IPS_OK
               : ips_fail_errno("cannot remove '%s'", name);
}

int
ips_dir_remove(int dir, const char *name)
{
    return unlinkat(dir, name, AT_REMOVEDIR) == 0 || errno == ENOENT
               ? IPS_OK
               : ips_fail_errno("cannot remove the folder '%s'", name);
}

int
ips_file_open(int dir, const char *name, int *fd, ips_file_facts *facts)
{
    int opened = openat(dir, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (opened < 0) {
        if (errno == ELOOP) {
            return ips_fail(IPS_EACCESS, "'%s' is a symbolic link", name);
        }
        if (errno == EISDIR || errno == ENXIO) {
            return ips_fail(IPS_EFORMAT, "'%s' is not a regular file", name);
        }
        return ips_fail_errno("'%s'", name);
    }
    int status = check_private(opened, name, false, facts);
    if (status < 0) {
        (void)close(opened);
        return status;
    }
    *fd = opened;
    return IPS_OK;
}

/* Everything but what a fault or a debugger sends: those must not wait. */
static void
hold_signals(sigset_t *before)
{
    sigset_t held;
    (void)sigfillset(&held);
    static const int never_held[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS};
    for (size_t i = 0; i < sizeof never_held / sizeof *never_held; i++) {
        (void)sigdelset(&held, never_held[i]);
    }
    (void)pthread_sigmask(SIG_BLOCK, &held, before);
}

/* Ask before taking much: memory that can never suffice would be taken step
 * by step until the machine has none left. */
static int
check_room(int fd, uint64_t need)
{
    struct statvfs space;
    if (need <= BACK_STEP || fstatvfs(fd, &space) != 0 ||
        need <= (uint64_t)space.f_bavail * space.f_frsize) {
        return IPS_OK;
    }
    errno = ENOSPC;
    return ips_fail_errno("no memory for %llu bytes", (unsigned long long)need);
}

int
ips_file_back(int fd, uint64_t from, uint64_t size)
{
    int room = check_room(fd, size > from ? size - from : 0);
    if (room < 0) {
        return room;
    }
    while (from < size) {
        uint64_t step = size - from < BACK_STEP ? size - from : BACK_STEP;
        sigset_t before;
        hold_signals(&before);
        int result = fallocate(fd, 0, (off_t)from, (off_t)step);
        int failure = errno;
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (result == 0) {
            from += step;
        } else if (failure != EINTR) {
            errno = failure;
            return ips_fail_errno("no memory for %llu bytes", (unsigned long long)size);
        }
    }
    return IPS_OK;
}

int
ips_file_punch(int fd, uint64_t from, uint64_t to)
{
    uint64_t page = ips_page_size();
    from = (from + page - 1) / page * page;
    to = to / page * page;
    while (from < to) {
        if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
                      (off_t)(to - from)) == 0) {
            return IPS_OK;
        }
        if (errno != EINTR) {
            return ips_fail_errno("giving %llu bytes back", (unsigned long long)(to - from));
        }
    }
    return IPS_OK;
}

void
ips_file_close(int fd)
{
    (void)close(fd);
}

int
ips_file_read(int fd, void *to, size_t size, uint64_t offset)
{
    char *at = to;
    while (size != 0) {
        ssize_t got = pread(fd, at, size, (off_t)offset);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return ips_fail_errno("cannot read a file");
        }
        if (got == 0) {
            return ips_fail(IPS_EFORMAT, "the file ends too early");
        }
        at += got;
        offset += (uint64_t)got;
        size -= (size_t)got;
    }
    return IPS_OK;
}

int
ips_map_file(int fd, uint64_t size, void **base)
{
    return ips_map_part(fd, 0, size, base);
}

int
ips_map_part(int fd, uint64_t offset, uint64_t size, void **base)
{
    void *mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
                        (off_t)offset);
    if (mapped == MAP_FAILED) {
        return ips_fail_errno("cannot map %llu bytes", (unsigned long long)size);
    }
    *base = mapped;
    return IPS_OK;
}

int
ips_map_page_before_private(int fd, uint64_t offset, size_t page, void **base)
{
    void *both = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (both == MAP_FAILED) {
        return ips_fail_errno("cannot map a member's page");
    }
    if (mmap(both, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, (off_t)offset) ==
        MAP_FAILED) {
        int status = ips_fail_errno("cannot map a member's page");
        (void)munmap(both, 2 * page);
        return status;
    }
    *base = both;
    return IPS_OK;
}

void
ips_unmap(void *base, uint64_t size)
{
    (void)munmap(base, size);
}

bool
ips_map_huge(void *base, uint64_t size)
{
    char said[128] = "";
    int fd = open("/sys/kernel/mm/transparent_hugepage/shmem_enabled", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? 0 : read(fd, said, sizeof said - 1);
    if (fd >= 0) {
        (void)close(fd);
    }
    said[length < 0 ? 0 : length] = '\0';
    bool possible = strstr(said, "[always]") != NULL || strstr(said, "[advise]") != NULL ||
                    strstr(said, "[within_size]") != NULL || strstr(said, "[force]") != NULL;
    return madvise(base, (size_t)size, MADV_HUGEPAGE) == 0 && possible;
}

size_t
ips_page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

int
ips_dir_free_space(int dir, uint64_t *free_bytes)
{
    struct statvfs space;
    if (fstatvfs(dir, &space) != 0) {
        return ips_fail_errno("cannot ask for free space");
    }
    *free_bytes = (uint64_t)space.f_bavail * space.f_frsize;
    return IPS_OK;
}

int
ips_dir_each(int dir, int (*visit)(const char *name, void *context), void *context)
{
    /* A descriptor of its own: the stream moves the file offset and closes it. */
    int again = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = again < 0 ? NULL : fdopendir(again);
    if (stream == NULL) {
        int status = ips_fail_errno("cannot list a folder");
        if (again >= 0) {
            (void)close(again);
        }
        return status;
    }
    int result = 0;
    for (struct dirent *entry = readdir(stream); entry != NULL && result == 0;
         entry = readdir(stream)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            result = visit(entry->d_name, context);
        }
    }
    (void)closedir(stream);
    return result;
}

int
ips_random(void *to, size_t size)
{
    char *at = to;
    while (size != 0) {
        ssize_t got = getrandom(at, size, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return ips_fail_errno("no random bytes");
        }
        at += got;
        size -= (size_t)got;
    }
    return IPS_OK;
}
