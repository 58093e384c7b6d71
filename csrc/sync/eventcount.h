/* SPDX-License-Identifier: Apache-2.0 */
/* The event count: "something changed, look again", in one 32-bit word.
 *
 *   bit 0      SLEEPERS  somebody may be parked here
 *   bit 1      reserved for asyncio waiters (which processes: the table
 *                        async_wanted of member/slots.h); nobody sets it yet
 *   bits 2-31  epoch     raised by each notification that finds bit 0
 *
 * Waiter: key = prepare(); re-check the condition; wait(key).  Notifier:
 * change the condition, full fence, notify().  The fence between the change
 * and the look at the bits, and the one in prepare() between setting the bit
 * and the re-check, are what makes no wake-up lost (store buffering); a bit
 * instead of a count makes a dead sleeper cost one idle wake-up, not one for
 * ever.  Whoever is killed between its change and its wake is covered by the
 * bound of the park. */
#ifndef IPS_SYNC_EVENTCOUNT_H
#define IPS_SYNC_EVENTCOUNT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/atomics.h"
#include "base/owner.h"
#include "base/status.h"
#include "member/space.h"

typedef struct {
    _Atomic uint32_t word;
} ips_eventcount_shm;

_Static_assert(sizeof(ips_eventcount_shm) == 4, "the futex is the whole word");

#define IPS_EC_SLEEPERS UINT32_C(1)
#define IPS_EC_EPOCH UINT32_C(4)

/* Announce that we may park; then re-check the condition, then wait or (if
 * the condition holds) just go on: an announcement needs no taking back. */
uint32_t ips_eventcount_prepare(ips_eventcount_shm *event);

/* Park until notified after `key`, or `deadline`.  0: look again (also after
 * the internal bound of 100 ms); IPS_ETIMEOUT, IPS_EINTR.  `watched` (or
 * IPS_NOBODY) is a member whose death also ends the wait, with 0. */
IPS_MUST_CHECK int ips_eventcount_wait(ips_eventcount_shm *event, uint32_t key,
    ips_space *space, ips_owner watched, int64_t deadline);

void ips_eventcount_notify_slow(ips_eventcount_shm *event, int count);

/* Wake at most `count` sleepers.  The caller has put a full fence (or a
 * seq_cst read-modify-write and ips_fence_after_rmw) between its change and
 * this call.  One load when nobody sleeps. */
static inline void
ips_eventcount_notify(ips_eventcount_shm *event, int count)
{
    /* relaxed: ordered by the caller's fence; pairs with prepare(). */
    uint32_t word = atomic_load_explicit(&event->word, memory_order_relaxed);
    if (__builtin_expect((word & IPS_EC_SLEEPERS) != 0, 0)) {
        ips_eventcount_notify_slow(event, count);
    }
}

/* Spin for the machine's spin budget while `ready(context)` is false; true as
 * soon as it is.  For waiters before they prepare(). */
bool ips_spin_until(bool (*ready)(void *context), void *context, int64_t deadline);

#endif
