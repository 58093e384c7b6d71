/* SPDX-License-Identifier: Apache-2.0 */
/* An event that is set or clear, as threading.Event.
 *
 *   0  state    4  bit 0: set; bits 1-31: how often it was set.  Anyone
 *                  changes it by compare-and-swap.
 *   4  changed  4  event count on which waiters park
 *
 * A waiter that began when the event was clear is done as soon as `state` is
 * another: also when somebody cleared the event again before the waiter ran.
 * The count has 31 bits; a waiter looks every 100 ms.
 *
 * Death: a setter killed before its wake leaves waiters asleep until their
 * bound; state is one word, so nothing is ever half set. */
#ifndef IPS_SYNC_EVENT_H
#define IPS_SYNC_EVENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sync/eventcount.h"

typedef struct {
    _Atomic uint32_t state;
    ips_eventcount_shm changed;
} ips_event_shm;

_Static_assert(sizeof(ips_event_shm) == 8, "byte map above");
_Static_assert(offsetof(ips_event_shm, changed) == 4, "byte map above");

static inline bool
ips_event_is_set(const ips_event_shm *event)
{
    /* acquire: what the setter did before set() is visible; pairs with the
     * swap in ips_event_set. */
    return (atomic_load_explicit(&event->state, memory_order_acquire) & 1) != 0;
}

void ips_event_set(ips_event_shm *event);
void ips_event_clear(ips_event_shm *event);

/* 0 once it is or was set, IPS_ETIMEOUT, IPS_EINTR.  May park: call it
 * without the GIL.  `since` is ips_event_state() from when the caller began
 * to wait, so that a wait resumed after IPS_EINTR misses no set(). */
IPS_MUST_CHECK int ips_event_wait(ips_event_shm *event, ips_space *space, uint32_t since,
                                  int64_t deadline);

static inline uint32_t
ips_event_state(const ips_event_shm *event)
{
    /* acquire: pairs with the swap in ips_event_set. */
    return atomic_load_explicit(&event->state, memory_order_acquire);
}

#endif
