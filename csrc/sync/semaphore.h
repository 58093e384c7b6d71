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
 *   0    word     8  value and lock, see below
 *   8    extra    8  permits released that nobody had claimed, modulo 2^64
 *   16   serial   8  last `since` given out
 *   24   seating  8  lock word: held by whoever gives a seat an owner, sets
 *                    right what the dead left, or has no seat; sync/lock.h
 *   32   used     4  seats [0, used) have had an owner; only grows
 *   36   freed    4  event count: a permit came free
 *   40   armed    4  1: the entry below counts
 *   44   seat     4  entry: this seat becomes free
 *   48   after    8  entry: and this is `extra` then
 *   56   reserved 8
 *   64   seats    32 each, as many as the body has room for
 *
 * ips_semaphore_seat_shm
 *   0    owner    8  a member, 0: nobody's.  It keeps its seat while it lives
 *   8    count    8  its claims
 *   16   since    8  a serial: when it got the first of them
 *   24   trace    8  which thread has one, for people: sync/trace.h
 *
 * The word
 *   bits 0-13   its lock: 0 free; n: held by the owner of seat n - 1; all ones:
 *               held by whoever holds `seating`
 *   bits 14-21  which of the lives of these bytes it is, modulo 256
 *   bits 22-63  value - initial, signed
 *
 * Where claims are kept, value = initial + extra - sum of the seats' counts:
 * these are the truth, and the word says what comes of them.  extra, serial,
 * armed, the entry, count and since are written under the word's lock, owner and
 * used under `seating`.  The lock is taken by one compare-and-swap of a free
 * word and left by a plain release store of the whole word, as nobody else
 * changes a word that is locked.  So taking a permit is
 *
 *     word: {v, free} -> {v, mine};  count + 1;  word = {v - 1, free}
 *
 * and giving one back, which has to be seen before the look at who sleeps,
 *
 *     word: {v, free} -> {v + 1, mine};  count - 1;  word = {v + 1, free}
 *
 * with one locked instruction each.  Whoever is killed in between leaves the
 * word locked, with an owner in its seat that can be proven dead; then who wants
 * it takes `seating`, without which no seat changes hands, makes sure that the
 * word is still the dead one's, adds up the truth, and leaves a free word.  That
 * may be done any number of times.  Order of the locks: seating, word.
 *
 * Nobody is told when the word's lock comes free (the store that frees it is
 * no fence): it is held for a few stores, and who finds one that was preempted
 * there looks again and again, in naps of 50 us doubling to 10 ms.
 *
 * Clearing a seat of the dead may have to change count and extra: through the
 * entry, which is written aside, armed, carried out and disarmed; both values
 * stand alone, so whoever finds it armed carries it out again.
 *
 * Where the flag says that nobody's claims are kept, the value is the word
 * alone, changed by compare-and-swap, never locked.
 *
 * Where the bytes come to serve another semaphore (a stable cell of a segment), a
 * thread may still be inside a call by a handle of the old one.  The handle knows
 * which life it means, and the word says it in each compare-and-swap: so it can
 * change nothing of another.  The next life begins with the lock taken
 * (ips_semaphore_renew), so that no plain store of the old one falls into it.
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
#include "sync/trace.h"
#include "sync/wide.h"

#define IPS_SEMAPHORE_MAX (INT64_C(1) << 40)  /* of the value */
#define IPS_SEMAPHORE_UNOWNED UINT64_C(1)     /* flag: nobody's claims are kept */

#define IPS_SEMAPHORE_VALUE_AT 22
#define IPS_SEMAPHORE_ONE (UINT64_C(1) << IPS_SEMAPHORE_VALUE_AT) /* a permit */
#define IPS_SEMAPHORE_LOCK ((UINT64_C(1) << 14) - 1)
#define IPS_SEMAPHORE_LIFE (IPS_SEMAPHORE_ONE - 1 - IPS_SEMAPHORE_LOCK)
#define IPS_SEMAPHORE_NEXT_LIFE (IPS_SEMAPHORE_LOCK + 1)
#define IPS_SEMAPHORE_OTHER IPS_SEMAPHORE_LOCK /* the lock, held with `seating` */

typedef struct {
    _Atomic uint64_t owner;
    _Atomic uint64_t count;
    uint64_t since;
    ips_trace_shm trace;
} ips_semaphore_seat_shm;

typedef struct {
    _Atomic uint64_t word;
    _Atomic uint64_t extra;
    uint64_t serial;
    ips_lock_shm seating;
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
_Static_assert(IPS_WIDE_SIZE / sizeof(ips_semaphore_seat_shm) < IPS_SEMAPHORE_OTHER,
               "any seat can be named in the word");

/* A handle, private to the process; the cell it was opened on stays. */
typedef struct {
    ips_semaphore_shm *shm;
    ips_wide *wide;
    ips_space *space;
    int64_t initial;
    bool bounded, owned;
    uint32_t mine;          /* the member's seat, while `owner` is the member */
    _Atomic uint64_t owner;
    uint64_t life;          /* as in the word */
} ips_semaphore;

/* For the present life.  `words` are those of the cell; IPS_ECORRUPT, noted, where
 * they make no sense.  `bounded`: release() never brings the value above the initial one. */
IPS_MUST_CHECK int ips_semaphore_open(ips_semaphore *semaphore, const _Atomic uint64_t *words,
                                      ips_wide *wide, ips_space *space, bool bounded);

/* All zeros, for the next life of a body of that size: what takes or gives by a handle
 * of an older one returns IPS_EGONE.  False where a living thread is inside: then the
 * bytes cannot be used yet.  At a death in between, once more. */
IPS_MUST_CHECK bool ips_semaphore_renew(void *body, uint64_t size, ips_space *space);

static inline int64_t
ips_semaphore_value(const ips_semaphore *semaphore)
{
    /* acquire: the seats show at least the claims of this value; pairs with the
     * release stores of a free word.  Unsigned, since damaged bytes may overflow. */
    uint64_t word = atomic_load_explicit(&semaphore->shm->word, memory_order_acquire);
    return (int64_t)((uint64_t)semaphore->initial +
                     (uint64_t)((int64_t)word >> IPS_SEMAPHORE_VALUE_AT));
}

/* A permit at once: 1 taken, 0 no permit is free, IPS_EAGAIN where the lock was
 * not, or this handle knows no seat of the member's yet.  No system call. */
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
 * With the deadline IPS_AT_ONCE, IPS_EAGAIN as in ips_semaphore_quick; else it
 * waits for the lock: IPS_ETIMEOUT, IPS_EINTR.
 *
 * Killed meanwhile, it has given back all, or some of them; its claims that it
 * had not given up are taken back as from any dead member. */
IPS_MUST_CHECK int ips_semaphore_release(ips_semaphore *semaphore, ips_owner me, int64_t n,
                                         int64_t deadline);

/* The last permit is for the task of that trace, 0: for the thread that took it. */
void ips_semaphore_sign(ips_semaphore *semaphore, uint64_t trace);

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

/* Invariants, one line per problem; IPS_ECORRUPT if there were any. */
IPS_MUST_CHECK int ips_semaphore_check(ips_semaphore *semaphore, int64_t deadline,
    void (*report)(const char *line, void *context), void *context);

#endif
