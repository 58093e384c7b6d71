/* SPDX-License-Identifier: Apache-2.0 */
/* A semaphore that knows who holds its permits, as threading.Semaphore.
 *
 * A claim is a permit taken and not yet given back.  release() gives up the
 * claims of the member that calls it; where it has none, it cancels claims of
 * the member that has had some for longest: with a semaphore that counts what
 * one process hands to another, the taker never releases.  When a member
 * dies, min(its claims, initial - value) permits come back: all it had of a
 * resource that is guarded, and none of a Semaphore(0) that counts.
 *
 * words of the cell (segment/cells.h): initial value, flags; constant.
 *
 * ips_semaphore_shm, the body:
 *   0    lock     8  guards all but `freed`; sync/lock.h
 *   8    extra    8  permits released that nobody had claimed, modulo 2^64
 *   16   claims   8  sum of the seats' counts: value = initial + extra - claims
 *   24   serial   8  last `since` given out
 *   32   used     4  seats that were ever used
 *   36   freed    4  event count: a permit came free
 *   40   armed    4  1: the entry below counts
 *   44   seat     4  entry: this seat becomes free
 *   48   after    8  entry: and this is `extra` then
 *   56   reserved 8
 *   64   seats    32 each, as many as the body has room for
 *
 * ips_semaphore_seat_shm
 *   0    owner    8  a member, where count is not 0
 *   8    count    8  of its claims; another seat may have more of them
 *   16   since    8  a serial: when it got the first of them
 *   24   reserved 8
 *
 * Who writes: the lock's holder (but where the flag says that nobody's claims
 * are kept: then anyone changes `extra`, by compare-and-swap).  A state of two words is avoided where it is
 * hot: taking a permit and giving it back change one word that is the truth,
 * the seat's `count` (with owner, since and used stored before it becomes 1);
 * `claims` follows, and whoever finds the lock abandoned adds the seats up
 * anew.  A release without claims changes `extra` alone.  Clearing a seat of
 * the dead may have to change both: through the entry, which is written aside,
 * armed, carried out and disarmed; both values stand alone, so whoever finds
 * it armed carries it out again.  The words are looked at without the lock
 * too, as hints; whoever acts on them looks again under it.
 *
 * Death: a holder of claims is missed by those who wait (they watch it), by a
 * try in vain, or by who finds no free seat.  A releaser killed between its
 * change and its wake is heard by the waiters that watched it, at worst their
 * park ends by its bound. */
#ifndef IPS_SYNC_SEMAPHORE_H
#define IPS_SYNC_SEMAPHORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sync/eventcount.h"
#include "sync/lock.h"
#include "sync/wide.h"

#define IPS_SEMAPHORE_MAX (INT64_C(1) << 62)  /* of the value */
#define IPS_SEMAPHORE_UNOWNED UINT64_C(1)     /* flag: nobody's claims are kept */

typedef struct {
    _Atomic uint64_t owner;
    _Atomic uint64_t count;
    uint64_t since;
    uint64_t reserved;
} ips_semaphore_seat_shm;

typedef struct {
    ips_lock_shm lock;
    _Atomic uint64_t extra;
    _Atomic uint64_t claims;
    uint64_t serial;
    _Atomic uint32_t used;
    ips_eventcount_shm freed;
    _Atomic uint32_t armed;
    uint32_t seat;
    uint64_t after;
    uint64_t reserved;
    ips_semaphore_seat_shm seats[];
} ips_semaphore_shm;

#define IPS_NO_SEAT UINT32_MAX

_Static_assert(sizeof(ips_semaphore_seat_shm) == 32, "byte map above");
_Static_assert(offsetof(ips_semaphore_shm, used) == 32, "byte map above");
_Static_assert(offsetof(ips_semaphore_shm, after) == 48, "byte map above");
_Static_assert(sizeof(ips_semaphore_shm) == 64, "byte map above");

/* A handle, private to the process; the cell it was opened on stays. */
typedef struct {
    ips_semaphore_shm *shm;
    ips_wide *wide;
    ips_space *space;
    int64_t initial;
    bool bounded, owned;
    _Atomic uint32_t hint; /* the seat this handle used last */
} ips_semaphore;

/* `words` are those of the cell; IPS_ECORRUPT, noted, where they make no
 * sense.  `bounded`: release() never brings the value above the initial one. */
IPS_MUST_CHECK int ips_semaphore_open(ips_semaphore *semaphore, const _Atomic uint64_t *words,
                                      ips_wide *wide, ips_space *space, bool bounded);

static inline int64_t
ips_semaphore_value(const ips_semaphore *semaphore)
{
    /* relaxed: news; whoever takes a permit looks again under the lock.
     * Unsigned, since damaged bytes may overflow. */
    return (int64_t)((uint64_t)semaphore->initial +
                     atomic_load_explicit(&semaphore->shm->extra, memory_order_relaxed) -
                     atomic_load_explicit(&semaphore->shm->claims, memory_order_relaxed));
}

/* A permit, if the lock is free at once: 1 taken, 0 no permit is free,
 * IPS_EAGAIN where the lock was not.  No system call but to give a new seat
 * memory.  IPS_ENOSPACE where no seat is left, IPS_ECORRUPT. */
IPS_MUST_CHECK int ips_semaphore_quick(ips_semaphore *semaphore, ips_owner me);

/* The same, waiting for the lock at most a tenth of a second, and taking back
 * what the dead had; `thorough` asks for proof although no bell rang.  0,
 * IPS_EAGAIN, or as above.  Call it without the GIL. */
IPS_MUST_CHECK int ips_semaphore_try(ips_semaphore *semaphore, bool thorough);

/* Wait for a permit: 0, IPS_ETIMEOUT, IPS_EINTR, or as above.  May park. */
IPS_MUST_CHECK int ips_semaphore_acquire(ips_semaphore *semaphore, int64_t deadline);

/* For those who must not park.  After a try in vain: true where a permit may
 * be had now; else the next release rings this process's postbox. */
bool ips_semaphore_arm(ips_semaphore *semaphore, bool thorough);

/* Give n >= 1 permits back: 1, or 0 where that is more than there may be.
 * With the deadline IPS_AT_ONCE, IPS_EAGAIN where the lock is not free; else
 * it waits for the lock: IPS_ETIMEOUT, IPS_EINTR.
 *
 * Killed meanwhile, it has given back all, or some of them; its claims that it
 * had not given up are taken back as from any dead member. */
IPS_MUST_CHECK int ips_semaphore_release(ips_semaphore *semaphore, ips_owner me, int64_t n,
                                         int64_t deadline);

/* Who has claims in the seat, and how many; IPS_NOBODY where there are none.
 * Without the lock. */
static inline ips_owner
ips_semaphore_look(const ips_semaphore_seat_shm *seat, uint64_t *count)
{
    /* acquire: pairs with the release where claims are counted, so that the
     * owner is of this count or a later one.  relaxed: the owner, after it. */
    *count = atomic_load_explicit(&seat->count, memory_order_acquire);
    return *count == 0 ? IPS_NOBODY : atomic_load_explicit(&seat->owner, memory_order_relaxed);
}

/* Call `visit` for each member with claims; a picture that may be torn. */
IPS_MUST_CHECK int ips_semaphore_each_claim(ips_semaphore *semaphore,
    int (*visit)(ips_owner owner, uint64_t claims, void *context), void *context);

/* For sync/semaphore_check.c: the lock, with what a dead holder had begun set
 * right; how many seats may be looked at; IPS_ECORRUPT, naming it. */
IPS_MUST_CHECK int ips_semaphore_enter(ips_semaphore *semaphore, ips_owner me, int64_t deadline);
void ips_semaphore_leave(ips_semaphore *semaphore);
IPS_MUST_CHECK int ips_semaphore_used(const ips_semaphore *semaphore, uint32_t *out);
int ips_semaphore_damaged(const ips_semaphore *semaphore, const char *what);

/* Invariants, one line per problem; IPS_ECORRUPT if there were any. */
IPS_MUST_CHECK int ips_semaphore_check(ips_semaphore *semaphore, int64_t deadline,
    void (*report)(const char *line, void *context), void *context);

#endif
