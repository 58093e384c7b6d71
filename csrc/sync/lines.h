/* SPDX-License-Identifier: Apache-2.0 */
/* A table of cache lines, one for each member that takes part in something,
 * which only that member's threads write: what it holds can be told exactly
 * after its death, and the living do not slow each other.
 *
 * ips_lines_shm, somewhere in the object's head
 *   0   claims  8  lock word: held by whoever gives a line an owner
 *   8   used    4  lines [0, used) have had an owner; only grows
 *   12  spare   4
 *
 * ips_line_shm
 *   0   owner    8  member, 0: nobody's.  From anybody to a member under
 *                   `claims`; from a member to 0 by itself.
 *   8   active   4  what the object counts: reads held, threads inside wait()
 *   12  waiting  4  a second such count
 *   16  trace    8  which thread has one of `active`, for people: sync/trace.h
 *   24  spare   40
 *
 * Claiming: the counts are cleared, then `owner` is stored, then `used`.  A
 * death between leaves a line of a dead owner without counts, or one beyond
 * `used`, which the next claimer takes.  A line belongs to its owner's
 * generation: the dead one's counts mean nothing to whoever has proof.  To
 * tell a line's counts from those of its last owner, load the count first and
 * the owner after it: a claimer clears before it signs. */
#ifndef IPS_SYNC_LINES_H
#define IPS_SYNC_LINES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sync/lock.h"
#include "sync/trace.h"
#include "sync/wide.h"

typedef struct {
    ips_lock_shm claims;
    _Atomic uint32_t used;
    uint32_t spare;
} ips_lines_shm;

typedef struct {
    _Atomic uint64_t owner;
    _Atomic uint32_t active;
    _Atomic uint32_t waiting;
    ips_trace_shm trace;
    uint8_t spare[40];
} ips_line_shm;

_Static_assert(sizeof(ips_lines_shm) == 16, "byte map above");
_Static_assert(sizeof(ips_line_shm) == 64, "a line of its own, byte map above");
_Static_assert(offsetof(ips_line_shm, active) == 8, "byte map above");
_Static_assert(offsetof(ips_line_shm, waiting) == 12, "byte map above");

/* A table as one handle knows it.  The last two are a cache of the member's
 * own line, good while `owner` is the member. */
typedef struct {
    ips_lines_shm *shm;
    ips_line_shm *line;
    ips_wide *wide;      /* the body they lie in */
    uint64_t start;      /* where in it */
    uint32_t capacity;
    _Atomic uint64_t owner;
    ips_line_shm *mine;
} ips_lines;

/* The head somewhere in the first bytes of the body, the lines from `start`
 * (a multiple of 64) to its end. */
void ips_lines_start(ips_lines *lines, ips_lines_shm *shm, ips_wide *wide, uint64_t start);

/* The line of this member if this handle has met it, else NULL.  Only for
 * tables whose lines go at their owner's death alone. */
static inline ips_line_shm *
ips_lines_mine(const ips_lines *lines, ips_owner me)
{
    /* acquire: pairs with the release in ips_lines_claim, which stores `mine`
     * before it. */
    return atomic_load_explicit(&lines->owner, memory_order_acquire) == me ? lines->mine : NULL;
}

/* Find or take a line.  `reuse`: a dead member's line may be had.  0,
 * IPS_ENOSPACE where the body has no room for another, IPS_ETIMEOUT or
 * IPS_EINTR. */
IPS_MUST_CHECK int ips_lines_claim(ips_lines *lines, ips_space *space, bool reuse,
                                   int64_t deadline, ips_line_shm **out);

/* How many lines there are to look at. */
uint32_t ips_lines_used(ips_lines *lines);

#endif
