/* SPDX-License-Identifier: Apache-2.0 */
/* A namespace, joined: the process-local side of member/slots.h.
 *
 * Joining is a matter of the process, not of an interpreter or a thread: a
 * folder is joined once, on first use, and left at exit, or when somebody asks
 * for it (a test with a namespace of its own).  A forked child is nobody until
 * its first call here, which makes it a new member. */
#ifndef IPS_MEMBER_SPACE_H
#define IPS_MEMBER_SPACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/owner.h"
#include "base/status.h"
#include "os/process.h"

typedef struct ips_space ips_space;

/* Join the namespace in `folder` (absolute path, made where missing).  The
 * result lives as long as the process, or until the namespace is left; asking
 * again gives the same one. */
IPS_MUST_CHECK int ips_space_join(const char *folder, ips_space **out);

/* Leave the namespace in `folder`, with all descriptors and mappings: IPS_ENOENT
 * (nothing noted) where this process has not joined it, IPS_EINUSE where it has
 * something open there, or where only the main thread may leave and this is
 * another.  No thread may be about to open something there meanwhile: a call on
 * a space that was left fails. */
IPS_MUST_CHECK int ips_space_leave(const char *folder);
/* How often this process has left one: who remembers an ips_space looks at it. */
uint64_t ips_space_leavings(void);

/* This process as a member of `space`: one load on the usual path; joins anew
 * in a forked child.  IPS_NOBODY only where joining failed (noted). */
ips_owner ips_space_self(ips_space *space);

/* On a slow path, now and then: the main thread hangs the bell that another
 * thread could not hang when it joined. */
void ips_space_tend(ips_space *space);

const char *ips_space_folder(const ips_space *space);
int ips_space_dir(const ips_space *space); /* descriptor of the folder */

/* False only with proof (MECHANISMS of the design, section 1): never for a
 * process that is stopped, traced, slow or in another pid namespace.  Costs a
 * load while the member's bell is silent and `thorough` is false; a thorough
 * question probes its byte lock and its process. */
bool ips_member_lives(ips_space *space, ips_owner owner, bool thorough);

/* The word to watch while waiting for `owner`: park on it together with the
 * word one waits for.  word is NULL where there is no bell (then rely on the
 * bound of the park). */
typedef struct {
    const _Atomic uint32_t *word;
    uint32_t expected;
} ips_bell;
ips_bell ips_member_bell(ips_space *space, ips_owner owner);

/* Has it rung since it was looked up?  The kernel wakes one of those who watch
 * a bell, and it may be one whom another word woke already.  So whoever comes
 * back from a park to find that it rang, and does not go on to prove the death
 * (which wakes all), wakes one more at the bell: there is one bell for all that
 * the dead one held. */
static inline bool
ips_bell_has_rung(ips_bell bell)
{
    /* relaxed: the kernel's mark comes before its wake, hence before our return. */
    return bell.word != NULL &&
           atomic_load_explicit(bell.word, memory_order_relaxed) != bell.expected;
}

/* Its bell rang: death is likely, and proof may come any moment. */
bool ips_member_rang(ips_space *space, ips_owner owner);

/* A descriptor that becomes readable at the end of the member's process: it
 * tells event loops when to ask for proof.  The caller's to close; IPS_ENOENT
 * (nothing noted) where there is none to be had: then rely on the bound. */
IPS_MUST_CHECK int ips_member_watch(ips_space *space, ips_owner owner, int *fd);

/* Facts of one member, for people (`ipcsys ls`, who_holds). */
typedef struct {
    ips_owner owner;
    ips_process_id process;
    int64_t joined_wall_clock; /* ns since 1970 */
    char name[32];             /* the program's name, NUL-terminated */
    bool has_bell;
    uint64_t main_ident;       /* ips_thread_ident of its main thread, 0 unknown */
} ips_member_facts;

/* Call `visit` for each living member, oldest slot first. */
IPS_MUST_CHECK int ips_space_each_member(ips_space *space,
    int (*visit)(const ips_member_facts *facts, void *context), void *context);
/* Facts of one owner; IPS_ENOENT where it is dead or never was. */
IPS_MUST_CHECK int ips_member_facts_of(ips_space *space, ips_owner owner, ips_member_facts *out);

/* Prove and clear away whatever dead members left.  Joining does it too. */
IPS_MUST_CHECK int ips_space_sweep(ips_space *space);

/* Take back what `owner` used: it is proven dead, or it is this process and
 * leaves.  Called by the one member that clears it away, possibly again after
 * a clearer died; rooms above hang their cleaning here (cells of the dead).
 * Non-zero: not now, somebody else will try again.  Must not wait for long.
 * At most 4 hooks. */
typedef int (*ips_death_hook)(ips_space *space, ips_owner dead);
void ips_space_on_death(ips_death_hook hook);

/* Called in a forked child right after it joined anew, before fork() returns
 * in the parent whenever `wanted` said true beforehand: rooms above record
 * there what the child inherited.  At most 4 hooks. */
typedef struct {
    bool (*wanted)(ips_space *space);
    void (*inherit)(ips_space *space, ips_owner parent, ips_owner child);
} ips_fork_hook;
void ips_space_on_fork(const ips_fork_hook *hook);

/* Called when this process has left `space`: rooms above let go of what they have
 * mapped there.  At most 4 hooks. */
typedef void (*ips_leave_hook)(ips_space *space);
void ips_space_on_leave(ips_leave_hook hook);

/* Find out what parking costs here, unless that is known; for a thread that is
 * about to park, whom it delays by less than 1 ms, once in a namespace. */
void ips_space_measure_park(ips_space *space);

/* Leave all namespaces: the clean end of a process. */
void ips_space_leave_all(void);

/* Invariants of the member table, as text lines into `report(line, context)`. */
IPS_MUST_CHECK int ips_space_check(ips_space *space,
    void (*report)(const char *line, void *context), void *context);

#endif
