/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/rlock.h"

/* The lock word was taken or not: settle the rest. */
static int
settled(ips_rlock_shm *rlock, ips_space *space, uint64_t thread, uint64_t count, int status)
{
    if (status >= 0) {
        ips_rlock_settle(rlock, ips_space_self(space), thread, count);
    }
    return status;
}

int
ips_rlock_acquire(ips_rlock_shm *rlock, ips_space *space, uint64_t thread, uint64_t count,
                  int64_t deadline)
{
    return settled(rlock, space, thread, count,
                   ips_lock_acquire(&rlock->lock, space, deadline));
}

int
ips_rlock_try_or_take_over(ips_rlock_shm *rlock, ips_space *space, uint64_t thread)
{
    return settled(rlock, space, thread, 1, ips_lock_try_or_take_over(&rlock->lock, space));
}
