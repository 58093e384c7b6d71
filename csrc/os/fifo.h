/* SPDX-License-Identifier: Apache-2.0 */
/* FIFOs that carry no data, only "look": a byte written by anyone makes the
 * reader's descriptor readable for poll, epoll and event loops.
 *
 * Both sides open with O_RDWR | O_NONBLOCK: no ENXIO where nobody reads, no
 * SIGPIPE where the reader died, and a full FIFO means that the reader has
 * been told already. */
#ifndef IPS_OS_FIFO_H
#define IPS_OS_FIFO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

/* An open FIFO; which file it is tells a reused descriptor from ours. */
typedef struct {
    int fd; /* -1: none */
    uint64_t dev, inode;
} ips_fifo;

/* Open the reading side, making the FIFO (0600) where it is missing. */
IPS_MUST_CHECK int ips_fifo_open(int dir, const char *name, ips_fifo *out);

/* One byte into the FIFO at `path` below `dir`.  Where there is none, or no
 * room, nothing happens; notes nothing. */
void ips_fifo_post(int dir, const char *path);

bool ips_fifo_is_open(const ips_fifo *fifo); /* and still ours */

/* Take out what is in it.  IPS_EGONE (nothing noted) where the descriptor was
 * closed behind our back: it may be somebody else's now and is not touched. */
IPS_MUST_CHECK int ips_fifo_drain(const ips_fifo *fifo);

/* Close it, if it is still ours. */
void ips_fifo_close(ips_fifo *fifo);

#endif
