/* SPDX-License-Identifier: Apache-2.0 */
/* Within the room: the seats of a condition one by one, and in a walk over
 * those that are taken.  Their bytes stand in sync/condition.h. */
#ifndef IPS_SYNC_SEATS_H
#define IPS_SYNC_SEATS_H

#include "sync/condition.h"

static inline const _Atomic uint32_t *
ips_seat_futex(const ips_seat_shm *seat)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return (const _Atomic uint32_t *)&seat->word;
#else
    return (const _Atomic uint32_t *)&seat->word + 1;
#endif
}

/* NULL where the body is not that long (a damaged bit), or memory is full. */
static inline ips_seat_shm *
ips_seat_at(ips_condition c, uint32_t index)
{
    uint64_t end = sizeof *c.shm + (index + UINT64_C(1)) * sizeof(ips_seat_shm);
    return index < IPS_SEATS_MOST && ips_wide_back(c.wide, end) == IPS_OK ? &c.shm->seats[index]
                                                                        : NULL;
}

static inline uint64_t
ips_seat_word(const ips_seat_shm *seat)
{
    /* acquire: the ticket is as new as the word; pairs with the release stores
     * of sit_down and the swaps of notifiers. */
    return atomic_load_explicit(&seat->word, memory_order_acquire);
}

static inline uint64_t
ips_seat_ticket(const ips_seat_shm *seat)
{
    /* relaxed: after ips_seat_word. */
    return atomic_load_explicit(&seat->ticket, memory_order_relaxed);
}

static inline bool
ips_seat_swap(ips_seat_shm *seat, uint64_t *seen, uint64_t next)
{
    /* seq_cst: pairs with ips_seat_word; and it is ordered before the look at who
     * sleeps (ips_fence_after_rmw), or at all_before in fall_asleep. */
    return atomic_compare_exchange_strong_explicit(&seat->word, seen, next, memory_order_seq_cst,
                                                   memory_order_relaxed);
}

static inline uint64_t
ips_all_before(ips_condition c)
{
    /* acquire: pairs with the swap in ips_condition_notify_all. */
    return atomic_load_explicit(&c.shm->all_before, memory_order_acquire);
}

/* --- walking the seats --------------------------------------------------- */

typedef struct {
    ips_condition c;
    uint32_t group, groups;
    uint64_t bits;
    /* the seat stood at */
    ips_seat_shm *seat;
    uint32_t index;
    uint64_t word, ticket;
} ips_seat_walk;

static inline ips_seat_walk
ips_walk_start(ips_condition c)
{
    /* acquire: pairs with raise_top, so that a waiter told of before is seen. */
    uint32_t top = atomic_load_explicit(&c.shm->top, memory_order_acquire);
    top = top < IPS_SEATS_MOST ? top : IPS_SEATS_MOST;
    return (ips_seat_walk){.c = c, .groups = (top + 63) / 64};
}

/* To the next seat that is taken. */
static inline bool
ips_walk_on(ips_seat_walk *w)
{
    for (;;) {
        while (w->bits == 0) {
            if (w->group == w->groups) {
                return false;
            }
            /* acquire: pairs with the fetch-or in sit_down. */
            w->bits = atomic_load_explicit(&w->c.shm->taken[w->group++], memory_order_acquire);
        }
        w->index = (w->group - 1) * 64 + (uint32_t)__builtin_ctzll(w->bits);
        w->bits &= w->bits - 1;
        w->seat = ips_seat_at(w->c, w->index);
        w->word = w->seat == NULL ? 0 : ips_seat_word(w->seat);
        if (w->word != 0) { /* else it was left meanwhile */
            w->ticket = ips_seat_ticket(w->seat);
            return true;
        }
    }
}

/* True where the owner of the seat stood at lives; else it is buried.
 * sync/condition.c. */
bool ips_walk_lives(const ips_seat_walk *w, bool thorough);

#endif
