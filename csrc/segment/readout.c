/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/readout.h"

#include "os/disk.h"
#include "os/file.h"
#include "segment/handle.h"
#include "segment/image.h"
#include "segment/rebirth.h"

static int
open_locked(const char *path, int64_t deadline, int *fd)
{
    int status = ips_disk_open_to_read(path, fd);
    if (status < 0) {
        return status;
    }
    status = ips_disk_lock_to_read(*fd, deadline);
    if (status < 0) {
        ips_file_close(*fd);
        return ips_fail(status, "the file '%.150s' is being opened or flushed by others", path);
    }
    return IPS_OK;
}

int
ips_readout_open(ips_space *space, const char *path, ips_revive revive, int64_t deadline,
                 ips_segment **out)
{
    ips_image image;
    int fd;
    int status = open_locked(path, deadline, &fd);
    if (status < 0) {
        return status;
    }
    status = ips_image_open(fd, path, ips_segment_layout(), &image);
    if (status == 0) {
        status = ips_rebirth(space, NULL, &image, revive, out);
        ips_image_close(&image);
    }
    ips_disk_unlock(fd);
    ips_file_close(fd);
    if (status == 0) {
        ips_segment_restrict(*out);
    }
    return status;
}
