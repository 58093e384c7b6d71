/* SPDX-License-Identifier: Apache-2.0 */
#include "data/revival.h"

#include <string.h>

#include "base/owner.h"
#include "data/types.h"
#include "sync/condition.h"
#include "sync/rlock.h"
#include "sync/rwlock.h"
#include "sync/semaphore.h"

/* All accesses are relaxed: nobody else has the memory yet; its name, given
 * later, publishes it. */
static uint64_t
load(_Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void
store(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed); /* relaxed: as above */
}

/* A member that never was and never will be: its slot is beyond the last. */
static uint64_t
departed(void)
{
    return ips_owner_make(IPS_MAX_SLOTS, 1);
}

static void
revive_lock(_Atomic uint64_t *payload, bool recursive)
{
    ips_rlock_shm *lock = (ips_rlock_shm *)(void *)payload;
    bool was_held = ips_lock_owner(&lock->lock) != IPS_NOBODY;
    store(&lock->lock.word, was_held ? departed() : 0);
    store(&lock->thread, 0);
    if (recursive) {
        store(&lock->holder, 0);
        store(&lock->count, 0);
    }
}

/* value - initial, of which the claims of the dead give back what is owed. */
static uint64_t
surplus_of(ips_semaphore_shm *semaphore)
{
    const uint64_t most = (IPS_STABLE_BODY - sizeof *semaphore) / sizeof semaphore->seats[0];
    /* relaxed: as above. */
    uint64_t used = atomic_load_explicit(&semaphore->used, memory_order_relaxed);
    uint64_t claims = 0;
    for (uint64_t i = 0; i < used && i < most; i++) {
        claims += load(&semaphore->seats[i].count);
    }
    uint64_t extra = load(&semaphore->extra);
    int64_t missing = (int64_t)(claims - extra); /* initial - value */
    int64_t back = missing < 0 ? 0 : (int64_t)claims < missing ? (int64_t)claims : missing;
    return extra - claims + (uint64_t)back;
}

static void
revive_semaphore(_Atomic uint64_t *payload, uint8_t *body)
{
    ips_semaphore_shm *semaphore = (ips_semaphore_shm *)(void *)body;
    bool owned = (load(&payload[1]) & IPS_SEMAPHORE_UNOWNED) == 0;
    uint64_t surplus = owned
        ? surplus_of(semaphore)
        : (uint64_t)((int64_t)load(&semaphore->word) >> IPS_SEMAPHORE_VALUE_AT);
    memset(body, 0, IPS_STABLE_BODY);
    store(&semaphore->extra, owned ? surplus : 0);
    store(&semaphore->word, surplus << IPS_SEMAPHORE_VALUE_AT);
}

static void
revive_rwlock(uint8_t *body)
{
    ips_rwlock_shm *lock = (ips_rwlock_shm *)(void *)body;
    uint64_t gate = load(&lock->gate);
    /* relaxed: as above. */
    uint32_t state = atomic_load_explicit(&lock->state, memory_order_relaxed);
    bool abandoned = (gate & IPS_RWLOCK_INSIDE) != 0 || (state & IPS_RWLOCK_ABANDONED) != 0;
    memset(body, 0, IPS_STABLE_BODY);
    atomic_store_explicit(&lock->state, abandoned ? IPS_RWLOCK_ABANDONED : 0,
                          memory_order_relaxed); /* relaxed: as above */
}

/* What kind of lock goes with it is no member's business, and stays. */
static void
revive_condition(_Atomic uint64_t *payload, uint8_t *body)
{
    ips_condition_shm *condition = (ips_condition_shm *)(void *)body;
    /* relaxed: as above. */
    uint32_t kind = atomic_load_explicit(&condition->lock_kind, memory_order_relaxed);
    memset(body, 0, IPS_STABLE_BODY);
    atomic_store_explicit(&condition->lock_kind, kind, memory_order_relaxed); /* relaxed: as above */
    revive_lock(payload, true);
}

void
ips_type_revive(uint32_t type, _Atomic uint64_t *payload, uint8_t *body)
{
    switch (type) {
    case IPS_TYPE_LOCK:
        revive_lock(payload, false);
        break;
    case IPS_TYPE_RLOCK:
        revive_lock(payload, true);
        break;
    case IPS_TYPE_SEMAPHORE:
    case IPS_TYPE_BOUNDED_SEMAPHORE:
        revive_semaphore(payload, body);
        break;
    case IPS_TYPE_RWLOCK:
        revive_rwlock(body);
        break;
    case IPS_TYPE_CONDITION:
        revive_condition(payload, body);
        break;
    case IPS_TYPE_BARRIER:
        memset(body, 0, IPS_STABLE_BODY); /* its parties are in the payload */
        break;
    default:
        break; /* numbers, events, a deque's event counts: they name nobody */
    }
}
