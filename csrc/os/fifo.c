/* SPDX-License-Identifier: Apache-2.0 */
#include "os/fifo.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_FLAGS (O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC)
/* A FIFO holds 64 KiB, 16 reads: whoever writes faster than that keeps the
 * descriptor readable, and the loop comes back. */
#define READS_MOST 32

static int
make(int dir, const char *name)
{
    if (mkfifoat(dir, name, 0600) == 0) {
        return fchmodat(dir, name, 0600, 0); /* whatever the umask is */
    }
    return errno == EEXIST ? 0 : -1;
}

int
ips_fifo_open(int dir, const char *name, ips_fifo *out)
{
    int fd = make(dir, name) == 0 ? openat(dir, name, OPEN_FLAGS) : -1;
    if (fd < 0) {
        return ips_fail_errno("cannot open the FIFO '%s'", name);
    }
    struct stat status;
    if (fstat(fd, &status) != 0 || !S_ISFIFO(status.st_mode)) {
        (void)close(fd);
        return ips_fail(IPS_EFORMAT, "'%s' is not a FIFO", name);
    }
    *out = (ips_fifo){fd, (uint64_t)status.st_dev, (uint64_t)status.st_ino};
    return IPS_OK;
}

void
ips_fifo_post(int dir, const char *path)
{
    int fd = openat(dir, path, OPEN_FLAGS);
    if (fd < 0) {
        return;
    }
    struct stat status;
    if (fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode)) {
        ssize_t wrote = write(fd, "", 1);
        (void)wrote; /* full: its reader was told */
    }
    (void)close(fd);
}

bool
ips_fifo_is_open(const ips_fifo *fifo)
{
    struct stat status;
    return fifo->fd >= 0 && fstat(fifo->fd, &status) == 0 &&
           (uint64_t)status.st_dev == fifo->dev && (uint64_t)status.st_ino == fifo->inode;
}

int
ips_fifo_drain(const ips_fifo *fifo)
{
    if (!ips_fifo_is_open(fifo)) {
        return IPS_EGONE;
    }
    char bytes[4096];
    for (int i = 0; i < READS_MOST; i++) {
        ssize_t got = read(fifo->fd, bytes, sizeof bytes);
        if (got < (ssize_t)sizeof bytes && !(got < 0 && errno == EINTR)) {
            break;
        }
    }
    return IPS_OK;
}

void
ips_fifo_close(ips_fifo *fifo)
{
    if (ips_fifo_is_open(fifo)) {
        (void)close(fifo->fd);
    }
    fifo->fd = -1;
}
