/* SPDX-License-Identifier: Apache-2.0 */
#include "data/atomic.h"

#include "base/atomics.h"

bool
ips_atomic_same_word(int64_t value, int64_t expected)
{
    return value == expected;
}

bool
ips_atomic_same_double(int64_t value, int64_t expected)
{
    const double a = ips_atomic_as_double(value), b = ips_atomic_as_double(expected);
    return a == b || (a != a && b != b);
}

typedef struct {
    ips_atomic_shm *word;
    ips_atomic_same same;
    int64_t expected;
} waiter;

static bool
is_another(void *context)
{
    const waiter *self = (const waiter *)context;
    return !self->same(ips_atomic_load(self->word), self->expected);
}

int
ips_atomic_wait(ips_atomic_shm *word, ips_space *space, ips_atomic_same same, int64_t expected,
    int64_t deadline)
{
    waiter self = {word, same, expected};
    if (is_another(&self) || ips_spin_until(is_another, &self, deadline)) {
        return IPS_OK;
    }
    for (;;) {
        uint32_t key = ips_eventcount_prepare(&word->changed);
        if (is_another(&self)) {
            return IPS_OK;
        }
        int status = ips_eventcount_wait(&word->changed, key, space, IPS_NOBODY, deadline);
        if (is_another(&self)) {
            return IPS_OK;
        }
        if (status != IPS_OK) {
            return status;
        }
    }
}

void
ips_atomic_notify(ips_atomic_shm *word, int count)
{
    /* Between the caller's change and the look at the bits; pairs with the
     * fence in ips_eventcount_prepare. */
    atomic_thread_fence(memory_order_seq_cst);
    ips_eventcount_notify(&word->changed, count);
}
