/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/gate.h"

#include <limits.h>

void
ips_gate_open(ips_gate *gate)
{
    /* relaxed: no other thread has the handle yet. */
    atomic_store_explicit(&gate->inside, 0, memory_order_relaxed);
    atomic_store_explicit(&gate->shut, 0, memory_order_relaxed);
}

bool
ips_gate_close(ips_gate *gate)
{
    /* acq_rel: whoever brings the count to SHUT alone gives it up, after all
     * use of it by the others; pairs with ips_gate_leave. */
    uint32_t before = atomic_fetch_or_explicit(&gate->inside, IPS_GATE_SHUT,
                                               memory_order_acq_rel);
    /* relaxed: nothing is read on the strength of it; pairs with the compare
     * of the kernel, whose own lock orders it with the wake. */
    atomic_store_explicit(&gate->shut, 1, memory_order_relaxed);
    if ((before & ~IPS_GATE_SHUT) != 0) {
        (void)ips_futex_wake(&gate->shut, INT_MAX);
    }
    return before == 0;
}

static bool
has_come_true(const ips_futex_look *fate)
{
    /* relaxed: the caller's next look at the object decides. */
    return fate != NULL
           && atomic_load_explicit(fate->word, memory_order_relaxed) != fate->expected;
}

int
ips_gated_step(void *gated, int64_t deadline)
{
    const ips_gated *job = (const ips_gated *)gated;
    ips_futex_look words[IPS_HEEDED_MOST] = {{&job->gate->shut, 0}};
    if (job->fate != NULL) {
        words[1] = *job->fate;
    }
    ips_futex_heed(words, job->fate == NULL ? 1u : 2u);
    int status = job->step(job->context, deadline);
    ips_futex_heed(NULL, 0);
    if (status != IPS_EINTR && status != IPS_ETIMEOUT) {
        return status;
    }
    if (ips_gate_is_shut(job->gate)) {
        return ips_fail(IPS_ECLOSED, "while this thread waited on it");
    }
    if (has_come_true(job->fate)) {
        return ips_fail(IPS_EGONE, "it was destroyed in its segment while this thread waited");
    }
    return status;
}

int
ips_gate_wait(ips_gate *gate, const ips_futex_look *fate, ips_wait_step step, void *context,
              int64_t deadline)
{
    ips_gated job = {gate, fate, step, context};
    return ips_wait_without_gil(ips_gated_step, &job, deadline);
}
