/* SPDX-License-Identifier: Apache-2.0 */
/* The desk: several threads of one process at one queue that no other process
 * takes from.  One of them watches, the rest sleep.
 *
 * Left to the event count alone, each message would wake a sleeping thread
 * although another one is spinning and takes it at once: a system call for
 * the sender, and a thread that finds nothing, for every message.  So the one
 * that spins takes the event count's SLEEPERS bit down meanwhile, and puts it
 * up again when it stops.  That is right only because every consumer is a
 * thread of this process: none of them can die alone and leave it down.
 *
 * All of this is private memory; shared is only the event count itself. */
#ifndef IPS_SERVICE_DESK_H
#define IPS_SERVICE_DESK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "member/space.h"
#include "sync/eventcount.h"

typedef struct {
    ips_space *space;
    ips_eventcount_shm *event;     /* producers notify it */
    bool (*ready)(void *context);  /* is there something to take? */
    void *context;
    _Atomic uint32_t spinning;     /* 1 while one of us spins; who may is decided by swap */
    _Atomic uint32_t parked;       /* how many of us sleep, or are about to */
} ips_desk;

void ips_desk_init(ips_desk *desk, ips_space *space, ips_eventcount_shm *event,
                   bool (*ready)(void *context), void *context);

/* Spin until there may be something to take, for the machine's spin budget;
 * false at once where another one of us spins. */
bool ips_desk_spin(ips_desk *desk, int64_t deadline);
/* Sleep until there may be something to take: 0, IPS_ETIMEOUT, IPS_EINTR. */
IPS_MUST_CHECK int ips_desk_park(ips_desk *desk, int64_t deadline);

/* To be called after each take: wakes the next of us if there is more. */
void ips_desk_took(ips_desk *desk);

#endif
