/* SPDX-License-Identifier: Apache-2.0 */
/* The gate of a handle.  Calls that drop the GIL go in and out through it, so
 * that what the handle stands for stays while one of them is inside; close()
 * shuts it and gets out at once whoever waits behind it. */
#ifndef IPS_BIND_GATE_H
#define IPS_BIND_GATE_H

#include "bind/state.h"
#include "os/futex.h"

#include <stdatomic.h>

typedef struct {
    _Atomic uint32_t inside; /* calls, and IPS_GATE_SHUT */
    _Atomic uint32_t shut;   /* 1 once shut: the word that parks heed */
} ips_gate;

#define IPS_GATE_SHUT (UINT32_C(1) << 31)

/* For a handle that no other thread has yet. */
void ips_gate_open(ips_gate *gate);

/* Count this call in: false where the gate is shut; leave it all the same. */
static inline bool
ips_gate_enter(ips_gate *gate)
{
    /* acquire: pairs with the release in ips_gate_close. */
    return (atomic_fetch_add_explicit(&gate->inside, 1, memory_order_acquire) & IPS_GATE_SHUT)
           == 0;
}

/* True for the last call to leave a shut gate: it gives up what was kept. */
static inline bool
ips_gate_leave(ips_gate *gate)
{
    /* acq_rel: whoever brings the count to SHUT alone gives it up, after all
     * use by others; pairs with itself in other threads and ips_gate_close. */
    return atomic_fetch_sub_explicit(&gate->inside, 1, memory_order_acq_rel)
           == (IPS_GATE_SHUT | 1);
}

/* Shut it and wake who waits behind it.  True where no call is inside: the
 * closer gives up what was kept, else the last one to leave does. */
bool ips_gate_close(ips_gate *gate);

static inline bool
ips_gate_is_shut(const ips_gate *gate)
{
    /* relaxed: news; leaving does the ordering. */
    return atomic_load_explicit(&gate->shut, memory_order_relaxed) != 0;
}

/* A step that waits behind the gate, for ips_wait_without_gil and its kin. */
typedef struct {
    ips_gate *gate;
    const ips_futex_look *fate;
    ips_wait_step step;
    void *context;
} ips_gated;
int ips_gated_step(void *gated, int64_t deadline);

/* As ips_wait_without_gil, for a call that keeps what it waits on; at once
 * IPS_ECLOSED where another thread shuts the gate, and IPS_EGONE where `fate`
 * (or NULL), a word of the object's own, is changed: it was destroyed. */
int ips_gate_wait(ips_gate *gate, const ips_futex_look *fate, ips_wait_step step, void *context,
                  int64_t deadline);

#endif
