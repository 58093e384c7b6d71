/* SPDX-License-Identifier: Apache-2.0 */
/* Spinning for one message that is expected now.  It looks more often than
 * ips_spin_until: there is no stream here that would be disturbed, and each
 * look saved is latency of a call. */
#ifndef IPS_SERVICE_SPIN_H
#define IPS_SERVICE_SPIN_H

#include "base/atomics.h"
#include "os/clock.h"

static inline bool
ips_spin_closely(bool (*ready)(void *context), void *context, int64_t deadline)
{
    int64_t budget = ips_spin_budget();
    int64_t now = ips_now();
    if (budget == 0 || deadline <= now) {
        return false;
    }
    int64_t until = deadline - now < budget ? deadline : now + budget;
    do {
        for (int i = 0; i < 4; i++) {
            ips_pause();
        }
        if (ready(context)) {
            return true;
        }
    } while (ips_now() < until);
    return false;
}

#endif
