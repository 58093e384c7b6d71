/* SPDX-License-Identifier: Apache-2.0 */
/* A meeting point: whoever comes waits until as many as the barrier has
 * parties are there, as threading.Barrier.
 *
 * ips_barrier_shm, followed by the seats (lines of sync/lines.h)
 *   0   state    8  one word, changed by compare-and-swap:
 *                     bits 0-15   how many have come in this round
 *                     bit 16      BROKEN
 *                     bit 17      ACTING: all are there, the last one acts
 *                     bits 18-31  how the last 14 rounds ended, the latest
 *                                 lowest; 1: broken or reset
 *                     bits 32-63  number of the round
 *   8   changed  8  two event counts, for rounds of even and of odd number:
 *                   those who came park there, and no late wake of one round
 *                   disturbs the next
 *   16  seats   16  active: threads inside wait().  A member has a seat from
 *                   its first wait until it leaves; a dead one's stays until
 *                   reset(), and means that the barrier breaks.
 *   32  spare   32
 *
 * A round ends with one swap that raises its number, sets the count to 0 and
 * notes how it ended.  Whoever waits knows its round's number and is through
 * when the word has another; the note tells how.  A waiter more than 14 rounds
 * late takes the oldest note: with as many parties as come, no round ends well
 * while one is still in an earlier, so all notes since are the same.
 *
 * Death: every change is one word, so there is nothing to repair.  A process
 * killed between its swap and its wake leaves the others asleep until the
 * bound of their park.  Who has a seat and dies is noticed by whoever waits,
 * parked on the bells of all that have seats, and by the last to come, who
 * looks at all seats before it lets the others go. */
#ifndef IPS_SYNC_BARRIER_H
#define IPS_SYNC_BARRIER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sync/eventcount.h"
#include "sync/lines.h"
#include "sync/spin.h"

typedef struct {
    _Atomic uint64_t state;
    ips_eventcount_shm changed[2];
    ips_lines_shm seats;
    uint8_t spare[32];
} ips_barrier_shm;

_Static_assert(sizeof(ips_barrier_shm) == 64, "byte map above");
_Static_assert(offsetof(ips_barrier_shm, changed) == 8, "byte map above");
_Static_assert(offsetof(ips_barrier_shm, seats) == 16, "byte map above");

#define IPS_BARRIER_MAX_PARTIES 65535u

/* One handle: process-local, shared by its threads. */
typedef struct {
    ips_barrier_shm *shm;
    ips_space *space;
    uint32_t parties;
    ips_lines seats;
    ips_spin spin;
} ips_barrier;

/* On the body of a wide object, all zeros when made; `parties` is the same for
 * all, 1 to IPS_BARRIER_MAX_PARTIES. */
void ips_barrier_start(ips_barrier *barrier, ips_wide *wide, uint32_t parties, ips_space *space);

/* One thread's way through a round. */
typedef struct {
    uint32_t round;
    uint32_t index; /* 0 .. parties - 1, in the order they came */
    bool last;      /* and so the one to act and to release */
} ips_barrier_visit;

/* Has this member a seat, as far as this handle knows? */
bool ips_barrier_sits(ips_barrier *barrier);

/* A seat for this member, unless it has one: 0, IPS_ENOSPACE, IPS_ETIMEOUT,
 * IPS_EINTR.  Call it without the GIL. */
IPS_MUST_CHECK int ips_barrier_sit(ips_barrier *barrier, int64_t deadline);

/* Come, at once, having a seat.  0: visit->last tells whether to wait or to
 * act and then release (with `acts` false the release is done by this very
 * call).  IPS_EAGAIN: the round is full, its last one is acting: wait with
 * ips_barrier_wait_action and come again, or IPS_EBROKEN. */
IPS_MUST_CHECK int ips_barrier_arrive(ips_barrier *barrier, bool acts, ips_barrier_visit *visit);

/* Wait until nobody acts: 0, IPS_ETIMEOUT, IPS_EINTR.  Without the GIL. */
IPS_MUST_CHECK int ips_barrier_wait_action(ips_barrier *barrier, int64_t deadline);

/* Wait for the others: 0, IPS_EBROKEN (also where a member with a seat is
 * dead, which this call finds out), IPS_ETIMEOUT, IPS_EINTR: come back, give
 * up or leave.  Without the GIL. */
IPS_MUST_CHECK int ips_barrier_wait(ips_barrier *barrier, const ips_barrier_visit *visit,
                                    int64_t deadline);

/* How the visit's round ended: 0, IPS_EBROKEN, or IPS_EAGAIN while it runs. */
IPS_MUST_CHECK int ips_barrier_outcome(ips_barrier *barrier, const ips_barrier_visit *visit);

/* The last one acted: let the others go.  0, or IPS_EBROKEN where somebody
 * broke the round meanwhile. */
IPS_MUST_CHECK int ips_barrier_release(ips_barrier *barrier, const ips_barrier_visit *visit);

/* The time is over: the barrier breaks, unless the round has ended meanwhile.
 * 0, IPS_EBROKEN, or IPS_EAGAIN: all are there, wait for the action's end. */
IPS_MUST_CHECK int ips_barrier_give_up(ips_barrier *barrier, const ips_barrier_visit *visit);

/* Go away as if never come (a signal, a cancelled task); false where the
 * round is full or over. */
bool ips_barrier_leave(ips_barrier *barrier, const ips_barrier_visit *visit);

/* The visit is over, however it ended; once for each arrival that returned 0. */
void ips_barrier_depart(ips_barrier *barrier);

/* Break it: whoever waits or comes gets IPS_EBROKEN until reset. */
void ips_barrier_abort(ips_barrier *barrier);
/* The same, if `visit`'s round is not over. */
void ips_barrier_break(ips_barrier *barrier, const ips_barrier_visit *visit);

/* Empty and whole again; those who wait get IPS_EBROKEN, the dead are
 * forgotten.  0, IPS_ETIMEOUT, IPS_EINTR.  Without the GIL. */
IPS_MUST_CHECK int ips_barrier_reset(ips_barrier *barrier, int64_t deadline);

/* Give this member's seat back: its later death concerns nobody.  Not while
 * one of its threads is inside. */
void ips_barrier_stand_up(ips_barrier *barrier);

/* Notified when the visit's round ends: for those who wait by other means than
 * ips_barrier_wait (prepare it, then look at the outcome). */
static inline ips_eventcount_shm *
ips_barrier_event(ips_barrier *barrier, uint32_t round)
{
    return &barrier->shm->changed[round & 1];
}

bool ips_barrier_is_broken(const ips_barrier *barrier);
uint32_t ips_barrier_waiting(const ips_barrier *barrier);

/* Invariants, one line per problem; IPS_ECORRUPT if there were any. */
IPS_MUST_CHECK int ips_barrier_check(ips_barrier *barrier,
    void (*report)(const char *line, void *context), void *context);

#endif
