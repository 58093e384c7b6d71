/* SPDX-License-Identifier: Apache-2.0 */
/* Within the room: the lock in a semaphore's word, and whose seat is whose.
 * What they mean stands in sync/semaphore.h. */
#ifndef IPS_SYNC_SEMAPHORE_INSIDE_H
#define IPS_SYNC_SEMAPHORE_INSIDE_H

#include "sync/semaphore.h"

#define IPS_SEMAPHORE_SEATS_AT sizeof(ips_semaphore_shm)

static inline uint32_t
ips_semaphore_most_seats(const ips_semaphore *semaphore)
{
    return (uint32_t)((semaphore->wide->capacity - IPS_SEMAPHORE_SEATS_AT) /
                      sizeof(ips_semaphore_seat_shm));
}

/* Seats [0, count) may be touched. */
IPS_MUST_CHECK static inline int
ips_semaphore_back(const ips_semaphore *semaphore, uint32_t count)
{
    return ips_wide_back(semaphore->wide, IPS_SEMAPHORE_SEATS_AT +
                                              (uint64_t)count * sizeof(ips_semaphore_seat_shm));
}

/* The seat of this member, if this handle has met it; else IPS_NO_SEAT. */
static inline uint32_t
ips_semaphore_mine(const ips_semaphore *semaphore, ips_owner me)
{
    /* acquire: pairs with the release in remember(), which stores `mine` before. */
    return atomic_load_explicit(&semaphore->owner, memory_order_acquire) == me ? semaphore->mine
                                                                             : IPS_NO_SEAT;
}

/* The value that the word says. */
static inline int64_t
ips_semaphore_value_in(const ips_semaphore *semaphore, uint64_t word)
{
    /* Unsigned, since damaged bytes may overflow. */
    return (int64_t)((uint64_t)semaphore->initial +
                     (uint64_t)((int64_t)word >> IPS_SEMAPHORE_VALUE_AT));
}

/* Is it the word of a later life than the handle means? */
static inline bool
ips_semaphore_is_over(const ips_semaphore *semaphore, uint64_t word)
{
    return __builtin_expect((word & IPS_SEMAPHORE_LIFE) != semaphore->life, 0);
}
int ips_semaphore_gone(const ips_semaphore *semaphore); /* IPS_EGONE, noted */

/* The word of that life whose value is initial + more, free. */
static inline uint64_t
ips_semaphore_word_of(uint64_t life, uint64_t more)
{
    return more << IPS_SEMAPHORE_VALUE_AT | (life & IPS_SEMAPHORE_LIFE);
}

/* The lock, held.  Whoever changes something says in `word` what the value is
 * from the end of the hold on. */
typedef struct {
    uint64_t word; /* without the lock's bits */
    bool seating;  /* held as one without a seat: the lock `seating` goes with it */
} ips_semaphore_hold;

/* Take the lock, a seat too if there is one; what it guards is whole.  0,
 * IPS_ETIMEOUT, IPS_EINTR, IPS_ECORRUPT.  May park: without the GIL. */
IPS_MUST_CHECK int ips_semaphore_enter(ips_semaphore *semaphore, ips_owner me, int64_t deadline,
                                       ips_semaphore_hold *hold);
void ips_semaphore_leave(ips_semaphore *semaphore, const ips_semaphore_hold *hold);

/* Who has the lock in `word`; IPS_NOBODY where it is free. */
IPS_MUST_CHECK int ips_semaphore_holder(const ips_semaphore *semaphore, uint64_t word,
                                        ips_owner *out);

/* Set right what a dead holder of the lock left, if one did. */
IPS_MUST_CHECK int ips_semaphore_heal(ips_semaphore *semaphore, int64_t deadline);

/* How many seats may be looked at; IPS_ECORRUPT, naming it. */
IPS_MUST_CHECK int ips_semaphore_used(const ips_semaphore *semaphore, uint32_t *out);
int ips_semaphore_damaged(const ips_semaphore *semaphore, const char *what);

/* The lock is held: the seat's owner is dead, so what it held comes back, but
 * no more than are missing.  The number of permits that came free. */
uint64_t ips_semaphore_forget(ips_semaphore *semaphore, uint32_t index, ips_semaphore_hold *hold);

/* Permits came free, and a full fence lies between that and this call: wake so
 * many waiters, and one more that goes on watching those who hold permits. */
void ips_semaphore_wake(ips_semaphore *semaphore, uint64_t permits);

/* `permits` claims fewer in the seat; the lock is held. */
static inline void
ips_semaphore_unclaim(ips_semaphore_seat_shm *seat, uint64_t permits)
{
    /* relaxed: read under the lock.  release: pairs with the acquire in
     * ips_semaphore_look. */
    uint64_t count = atomic_load_explicit(&seat->count, memory_order_relaxed);
    atomic_store_explicit(&seat->count, count - permits, memory_order_release);
    ips_trace_leave(&seat->trace);
}

#endif
