/* SPDX-License-Identifier: Apache-2.0 */
/* The event count: "something changed, look again", in one 32-bit word.
 *
 *   bit 0      SLEEPERS  somebody may be parked here
 *   bit 1      ASYNC     event loops may wait for a byte (member/postbox.h)
 *   bits 2-31  epoch     raised by each notification that finds bit 0 or 1
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
#define IPS_EC_ASYNC UINT32_C(2)
#define IPS_EC_EPOCH UINT32_C(4)

/* Announce that we may park; then re-check the condition, then wait or (if
 * the condition holds) just go on: an announcement needs no taking back. */
uint32_t ips_eventcount_prepare(ips_eventcount_shm *event);

/* Park until notified after `key`, or `deadline`.  0: look again (also after
 * the internal bound of 100 ms); IPS_ETIMEOUT, IPS_EINTR.  `watched` (or
 * IPS_NOBODY) is a member whose death also ends the wait, with 0. */
IPS_MUST_CHECK int ips_eventcount_wait(ips_eventcount_shm *event, uint32_t key,
    ips_space *space, ips_owner watched, int64_t deadline);

/* The same for those who must not park: the next notification rings this
 * process's postbox, once.  Then re-check the condition; where it does not
 * hold, let the event loop sleep, and prepare anew before each further look.
 * Every notification rings: `count` is for those who park. */
uint32_t ips_eventcount_prepare_async(ips_eventcount_shm *event, ips_space *space);

/* Was anybody notified since `key` was returned by one of the above? */
static inline bool
ips_eventcount_moved(const ips_eventcount_shm *event, uint32_t key)
{
    /* relaxed: after a prepare, whose fence pairs with the notifier's. */
    return (atomic_load_explicit(&event->word, memory_order_relaxed) ^ key) >= IPS_EC_EPOCH;
}

void ips_eventcount_notify_slow(ips_eventcount_shm *event, int count);

/* Wake at most `count` sleepers, and all event loops that wait.  The caller has put a full fence (or a
 * seq_cst read-modify-write and ips_fence_after_rmw) between its change and
 * this call.  One load when nobody sleeps. */
static inline void
ips_eventcount_notify(ips_eventcount_shm *event, int count)
{
    /* relaxed: ordered by the caller's fence; pairs with prepare(). */
    uint32_t word = atomic_load_explicit(&event->word, memory_order_relaxed);
    if (__builtin_expect((word & (IPS_EC_SLEEPERS | IPS_EC_ASYNC)) != 0, 0)) {
        ips_eventcount_notify_slow(event, count);
    }
}

/* Spin for the machine's spin budget while `ready(context)` is false; true as
 * soon as it is.  For waiters before they prepare(). */
bool ips_spin_until(bool (*ready)(void *context), void *context, int64_t deadline);

#endif
