/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/facts.h"

#include <string.h>

#include "member/waits.h"
#include "os/file.h"
#include "segment/handle.h"

_Static_assert(IPS_TX_PLACE == IPS_SEGMENT_AT + offsetof(ips_segment_shm, lock), "the lock");

/* relaxed, all of it: for people who look. */
static void
copy(const ips_header_shm *header, const ips_segment_shm *shm, ips_tx_facts *out)
{
    out->holder = ips_lock_owner(&shm->lock);
    out->since = out->holder == IPS_NOBODY
        ? 0 : (int64_t)atomic_load_explicit(&shm->since, memory_order_relaxed);
    out->thread = out->since == 0 ? 0 : atomic_load_explicit(&shm->thread, memory_order_relaxed);
    out->file = ips_wait_file(header);
}

void
ips_tx_facts_of(const ips_segment *segment, ips_tx_facts *out)
{
    copy((const ips_header_shm *)(const void *)segment->base, segment->shm, out);
}

typedef struct {
    ips_header_shm header;
    ips_segment_shm shm;
} segment_file;

_Static_assert(offsetof(segment_file, shm) == IPS_SEGMENT_AT, "as in the file");

int
ips_tx_peek(ips_space *space, const char *name, ips_tx_facts *out)
{
    int fd;
    ips_file_facts facts;
    segment_file file;
    int status = ips_file_open(ips_space_dir(space), name, &fd, &facts);
    if (status < 0) {
        return status;
    }
    status = ips_file_read(fd, &file, sizeof file, 0);
    ips_file_close(fd);
    if (status < 0) {
        return status;
    }
    if (memcmp(file.header.magic, IPS_MAGIC, sizeof file.header.magic) != 0 ||
        file.header.kind != IPS_KIND_SEGMENT || file.header.format != IPS_SEGMENT_FORMAT) {
        return ips_fail(IPS_EFORMAT, "'%s' is no segment of this version", name);
    }
    copy(&file.header, &file.shm, out);
    return IPS_OK;
}
