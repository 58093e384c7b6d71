/* SPDX-License-Identifier: Apache-2.0 */
#include "os/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/file.h"
#include "os/process.h"

#define FIRST_NAP_NS 50000
#define LONGEST_NAP_NS 2000000
#define MOST_HELD 64

/* Descriptors of locked files, which a forked child must close: the lock would
 * go on for as long as the child has it. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int held[MOST_HELD]; /* fd + 1; 0: free.  Beyond them a child may keep one */

static void
before_fork(void)
{
    (void)pthread_mutex_lock(&mutex);
}

static void
in_parent(void)
{
    (void)pthread_mutex_unlock(&mutex);
}

static void
in_child(void)
{
    for (size_t i = 0; i < MOST_HELD; i++) {
        if (held[i] != 0) {
            (void)close(held[i] - 1);
            held[i] = 0;
        }
    }
    (void)pthread_mutex_unlock(&mutex);
}

static void
watch_forks(void)
{
    (void)pthread_atfork(before_fork, in_parent, in_child);
}

/* In the table, `old` becomes `new`. */
static void
note(int old, int new)
{
    (void)pthread_once(&once, watch_forks);
    (void)pthread_mutex_lock(&mutex);
    for (size_t i = 0; i < MOST_HELD; i++) {
        if (held[i] == old) {
            held[i] = new;
            break;
        }
    }
    (void)pthread_mutex_unlock(&mutex);
}

static int
set_lock(int fd, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_SETLK, &lock);
}

int
ips_disk_folder(const char *path, int *fd)
{
    int opened = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (opened < 0) {
        return ips_fail_errno("the folder '%.150s'", path);
    }
    *fd = opened;
    return IPS_OK;
}

static int
check_reading(int fd, const char *path)
{
    ips_file_facts facts;
    int status = ips_file_facts_of(fd, &facts);
    if (status == 0 && !facts.regular) {
        return ips_fail(IPS_EFORMAT, "'%.150s' is not a regular file", path);
    }
    if (status == 0 && facts.uid != geteuid() && facts.uid != 0) {
        return ips_fail(IPS_EACCESS, "'%.150s' belongs to user %u, neither to user %u nor to the "
                        "superuser", path, facts.uid, (unsigned)geteuid());
    }
    if (status == 0 && (facts.mode & 022) != 0) {
        return ips_fail(IPS_EACCESS, "others may write to '%.150s' (mode %03o)", path,
                        facts.mode & 0777);
    }
    return status;
}

int
ips_disk_open_to_read(const char *path, int *fd)
{
    int opened = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (opened < 0) {
        return errno == ELOOP ? ips_fail(IPS_EACCESS, "'%.150s' is a symbolic link", path)
                              : ips_fail_errno("'%.150s'", path);
    }
    int status = check_reading(opened, path);
    if (status < 0) {
        (void)close(opened);
        return status;
    }
    *fd = opened;
    return IPS_OK;
}

static int
take_lock(int fd, short type, int64_t deadline)
{
    note(0, fd + 1);
    for (int64_t nap = FIRST_NAP_NS;; nap = nap * 2 < LONGEST_NAP_NS ? nap * 2 : LONGEST_NAP_NS) {
        if (set_lock(fd, type) == 0) {
            return IPS_OK;
        }
        int64_t now = ips_now();
        bool busy = errno == EAGAIN || errno == EACCES || errno == EINTR;
        if (!busy || now >= deadline) {
            int status = busy ? IPS_ETIMEOUT : ips_fail_errno("cannot lock the file");
            note(fd + 1, 0);
            return status;
        }
        ips_sleep_until(deadline - now < nap ? deadline : now + nap);
    }
}

int
ips_disk_lock(int fd, int64_t deadline)
{
    return take_lock(fd, F_WRLCK, deadline);
}

int
ips_disk_lock_to_read(int fd, int64_t deadline)
{
    return take_lock(fd, F_RDLCK, deadline);
}

void
ips_disk_unlock(int fd)
{
    (void)set_lock(fd, F_UNLCK);
    note(fd + 1, 0);
}

int
ips_disk_write(int fd, const void *from, size_t size, uint64_t offset)
{
    const char *at = from;
    while (size != 0) {
        ssize_t put = pwrite(fd, at, size, (off_t)offset);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return ips_fail_errno("cannot write");
        }
        at += put;
        offset += (uint64_t)put;
        size -= (size_t)put;
    }
    return IPS_OK;
}

void
ips_disk_expect(int fd, uint64_t offset, uint64_t size)
{
    (void)posix_fadvise(fd, (off_t)offset, (off_t)size, POSIX_FADV_WILLNEED);
}

int
ips_disk_sync(int fd)
{
    int result;
    do {
        result = fdatasync(fd);
    } while (result != 0 && errno == EINTR);
    return result == 0 ? IPS_OK : ips_fail_errno("cannot bring the file to the disk");
}

int
ips_disk_sync_folder(int dir)
{
    /* EINVAL: a file system that has nothing to bring to a disk. */
    return fsync(dir) == 0 || errno == EINVAL ? IPS_OK
        : ips_fail_errno("cannot bring a folder to the disk");
}

int
ips_disk_cut(int fd, uint64_t size)
{
    return ftruncate(fd, (off_t)size) == 0 ? IPS_OK : ips_fail_errno("cannot shorten the file");
}

void
ips_boot_name(char out[40])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, out, 36);
    out[got < 0 ? 0 : got] = '\0';
    if (fd >= 0) {
        (void)close(fd);
    }
}

void
ips_memory_prepare(void *base, uint64_t size)
{
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14; libc's headers may be older */
#endif
    (void)madvise(base, size, MADV_POPULATE_WRITE);
}

int
ips_memory_take(uint64_t size, void **base)
{
    void *taken = mmap(NULL, size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (taken == MAP_FAILED) {
        return ips_fail_errno("no private memory of %llu bytes", (unsigned long long)size);
    }
    *base = taken;
    return IPS_OK;
}
