/* SPDX-License-Identifier: Apache-2.0 */
/* Many readers or one writer; each member's reads are counted on a cache line
 * of its own.
 *
 * ips_rwlock_shm, followed by the lines (sync/lines.h)
 *   0   turn      8  lock word: whoever writes, or is about to
 *   8   gate      8  0: readers may enter; else the member whose writer wants
 *                    them out, with INSIDE once they are.  Changed only by the
 *                    holder of `turn`.
 *   16  upgrader  8  the member one of whose reads is to become the write, or
 *                    0.  From 0 or a dead one by swap; to 0 by itself.
 *   24  drained   4  event count: the holder of `turn` waits for readers
 *   28  opened    4  event count: readers wait for the gate, writers for an
 *                    upgrader
 *   32  lines    16  active: reads held.  waiting: threads waiting to read.
 *   48  state     4  bit 0 ABANDONED: a writer died inside, and no writer has
 *                    left since; bit 1 BLOCKED: readers have waited (a hint)
 *   52  spare     4
 *   56  trace     8  which thread wrote last, for people: sync/trace.h
 *
 * Reader: count on the own line, full fence, look at the gate; where it is
 * shut, take the count back and wait.  Writer: take the turn, shut the gate,
 * full fence, look at the lines.  One of the two sees the other.  Where all
 * lines are clear the writer says INSIDE and looks once more: a thread that
 * holds a read already passes a gate that is shut but not INSIDE (it would
 * wait for a writer who waits for it).
 *
 * Who comes first: a shut gate keeps new readers out, so writers do not
 * starve.  A writer that has the turn lets those readers in, for 2 ms at most,
 * whom an earlier writer kept waiting, before it shuts the gate: so readers do
 * not starve either.  A writer that waits for readers gives its turn to one
 * that upgrades, whose read it could never see end.
 *
 * Leaving, in this order: state, gate, wake, turn.  What a survivor finds:
 *   turn dead, gate 0            the writer had not begun, or had left: take over
 *   gate dead, not INSIDE        it waited for readers: open the gate
 *   gate dead and INSIDE         it died writing: ABANDONED, open the gate
 *   line of a dead owner         its reads are over, whatever it says
 *   upgrader dead                as if 0
 * Whoever wants in and finds the gate's owner dead takes the turn over (the
 * one door of sync/lock.h), sets this right, and goes on. */
#ifndef IPS_SYNC_RWLOCK_H
#define IPS_SYNC_RWLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sync/eventcount.h"
#include "sync/lines.h"
#include "sync/lock.h"
#include "sync/spin.h"

typedef struct {
    ips_lock_shm turn;
    _Atomic uint64_t gate;
    _Atomic uint64_t upgrader;
    ips_eventcount_shm drained;
    ips_eventcount_shm opened;
    ips_lines_shm lines;
    _Atomic uint32_t state;
    uint32_t spare;
    ips_trace_shm trace;
} ips_rwlock_shm;

_Static_assert(sizeof(ips_rwlock_shm) == 64, "byte map above");
_Static_assert(offsetof(ips_rwlock_shm, gate) == 8, "byte map above");
_Static_assert(offsetof(ips_rwlock_shm, upgrader) == 16, "byte map above");
_Static_assert(offsetof(ips_rwlock_shm, drained) == 24, "byte map above");
_Static_assert(offsetof(ips_rwlock_shm, lines) == 32, "byte map above");
_Static_assert(offsetof(ips_rwlock_shm, state) == 48, "byte map above");
_Static_assert(offsetof(ips_rwlock_shm, trace) == 56, "byte map above");

#define IPS_RWLOCK_INSIDE (UINT64_C(1) << 30)
#define IPS_RWLOCK_ABANDONED UINT32_C(1)
#define IPS_RWLOCK_BLOCKED UINT32_C(2)

/* One handle: process-local, shared by its threads. */
typedef struct {
    ips_rwlock_shm *shm;
    ips_space *space;
    ips_lines lines;
    ips_spin reading;
    ips_spin writing;
} ips_rwlock;

/* On the body of a wide object, all zeros when made. */
static inline void
ips_rwlock_start(ips_rwlock *lock, ips_wide *wide, ips_space *space)
{
    lock->shm = (ips_rwlock_shm *)(void *)wide->shm;
    lock->space = space;
    lock->reading = lock->writing = (ips_spin){0};
    ips_lines_start(&lock->lines, &lock->shm->lines, wide, sizeof(ips_rwlock_shm));
}

/* What waits returns 0, IPS_ETIMEOUT (with IPS_AT_ONCE: it would have to
 * wait), IPS_EINTR, or a failure of claiming a line; it may park, so call it
 * without the GIL. */

/* At once and without any system call: false where it would have to wait, or
 * where this handle has no line yet. */
bool ips_rwlock_try_read(ips_rwlock *lock, ips_owner me);
IPS_MUST_CHECK int ips_rwlock_read(ips_rwlock *lock, int64_t deadline);
/* Find or take this member's line; the others do it themselves. */
IPS_MUST_CHECK int ips_rwlock_meet(ips_rwlock *lock, int64_t deadline);
/* By any thread of the process, at once.  IPS_ENOTHELD (nothing noted) also
 * where the read was taken through another handle and this one has not met
 * the line. */
IPS_MUST_CHECK int ips_rwlock_leave_read(ips_rwlock *lock);

/* IPS_ABANDONED: a writer died inside and none has left since. */
IPS_MUST_CHECK int ips_rwlock_write(ips_rwlock *lock, int64_t deadline);
/* By any thread of the process.  IPS_ENOTHELD (nothing noted). */
IPS_MUST_CHECK int ips_rwlock_leave_write(ips_rwlock *lock);

/* A read held becomes the write, which nobody gets in between; also
 * IPS_ENOTHELD, and IPS_EDEADLOCK where another is upgrading already.  Short
 * of 0 and IPS_ABANDONED the read is still held. */
IPS_MUST_CHECK int ips_rwlock_upgrade(ips_rwlock *lock, int64_t deadline);
/* The write becomes a read; IPS_ENOTHELD.  Waits only for a line. */
IPS_MUST_CHECK int ips_rwlock_downgrade(ips_rwlock *lock, int64_t deadline);

/* The two that write, for who comes back now and then: after IPS_ETIMEOUT
 * intend keeps its place (the turn; once readers had theirs, the gate shut, so
 * that none gets in between); then intend again, or desist.  Any other status
 * needs neither. */
typedef struct {
    ips_rwlock *lock;
    bool upgrades;
    bool has_turn;     /* these are the core's; zeros at first */
    bool is_announced;
    bool had_courtesy; /* in this turn: readers that waited went first */
    int64_t courtesy;  /* until when they do; 0: not begun */
} ips_rwlock_intent;

IPS_MUST_CHECK int ips_rwlock_intend(ips_rwlock_intent *intent, int64_t deadline);
void ips_rwlock_desist(ips_rwlock_intent *intent);

/* For those who must not park, while they wait to read: counted as waiting, so that
 * the next writer lets them in first.  Then queue, tries, and leave the queue. */
IPS_MUST_CHECK int ips_rwlock_queue(ips_rwlock *lock);
void ips_rwlock_leave_queue(ips_rwlock *lock);

/* What this process read last is for the task of that trace, 0: for its thread. */
void ips_rwlock_sign_read(ips_rwlock *lock, uint64_t trace);

/* Ask for proof of the deaths that stand in somebody's way, and clear them
 * away: for those who only try.  Costs system calls. */
void ips_rwlock_probe(ips_rwlock *lock);

/* News for people: reads held by the living; the writer inside, or nobody. */
uint64_t ips_rwlock_readers(ips_rwlock *lock);
ips_owner ips_rwlock_writer(ips_rwlock *lock);

static inline bool
ips_rwlock_is_abandoned(const ips_rwlock *lock)
{
    /* relaxed: asked by a holder, whose entry was the acquire. */
    return (atomic_load_explicit(&lock->shm->state, memory_order_relaxed) &
            IPS_RWLOCK_ABANDONED) != 0;
}

/* The same for whoever looks from outside: also where the writer is dead and
 * nobody has found out yet. */
bool ips_rwlock_looks_abandoned(ips_rwlock *lock);

/* Invariants, one line per problem; IPS_ECORRUPT if there were any. */
IPS_MUST_CHECK int ips_rwlock_check(ips_rwlock *lock,
    void (*report)(const char *line, void *context), void *context);

#endif
