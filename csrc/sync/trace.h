/* SPDX-License-Identifier: Apache-2.0 */
/* Which thread has a share of something, for people who look: one word on a cache
 * line that its member writes anyway.
 *
 *   0                  not known
 *   ips_thread_ident   that thread took a share, and has given up none since
 *   TASK | a number    a task of an event loop did
 *
 * With one share out, that is who has it; with several, one of those who have
 * some.  Nothing relies on it, and a death in between leaves it a step behind. */
#ifndef IPS_SYNC_TRACE_H
#define IPS_SYNC_TRACE_H

#include <stdatomic.h>
#include <stdint.h>

#include "os/process.h"

#define IPS_TRACE_TASK (UINT64_C(1) << 63)

typedef _Atomic uint64_t ips_trace_shm;

static inline void
ips_trace_sign(ips_trace_shm *trace, uint64_t who)
{
    /* relaxed: news for people. */
    atomic_store_explicit(trace, who, memory_order_relaxed);
}

/* The calling thread took a share. */
static inline void
ips_trace_take(ips_trace_shm *trace)
{
    ips_trace_sign(trace, ips_thread_ident());
}

/* It gave one up.  A task may have: it is not known here which. */
static inline void
ips_trace_leave(ips_trace_shm *trace)
{
    /* relaxed: as above. */
    uint64_t who = atomic_load_explicit(trace, memory_order_relaxed);
    if (who == ips_thread_ident() || (who & IPS_TRACE_TASK) != 0) {
        ips_trace_sign(trace, 0);
    }
}

#endif
