/* SPDX-License-Identifier: Apache-2.0 */
/* What each thread waits for, so that people can be told who waits for whom.
 *
 * The one who waits says what for in private memory (ips_waiting_begin), which
 * costs a few stores.  Only where a park is next, in sync/, does that become a
 * record on the member's slot page (ips_wait_shm of member/slots.h).  So what
 * never parks costs nobody anything, and a record may come a moment late.
 *
 * An object is named by two numbers that are the same in every process:
 *
 *   file    the first 8 bytes of its file's identity (base/header.h); 0 for
 *           the pool of unnamed cells, 1 for that of the wide ones
 *   place   where in the file: the offset of an object in a segment, the index
 *           of a cell in the pool, 0 where the file is the object */
#ifndef IPS_MEMBER_WAITS_H
#define IPS_MEMBER_WAITS_H

#include <stdint.h>

#include "base/header.h"
#include "member/slots.h"
#include "member/space.h"

typedef struct ips_waiting ips_waiting;
struct ips_waiting {
    ips_space *space;
    uint64_t file, place;
    int64_t deadline;     /* IPS_FOREVER: none */
    /* below: member/waits.c only */
    ips_waiting *outer;   /* what this thread waits for already, below a signal handler */
    ips_wait_shm *record; /* NULL: did not park yet, or found no free record */
    ips_owner owner;      /* on whose page the record lies */
};

/* The calling thread waits for this until ips_waiting_end; on its stack, and
 * properly nested. */
void ips_waiting_begin(ips_waiting *waiting);
void ips_waiting_end(ips_waiting *waiting);

/* A park in `space` is next; `holder` (or IPS_NOBODY) is in the way. */
void ips_waiting_park(ips_space *space, ips_owner holder);

/* The same for a task of an event loop, whose thread goes on meanwhile: `waiting`,
 * zeros but for space, place and deadline, is shown from the first call until
 * ips_waiting_hide.  Each call says who is in the way now. */
void ips_waiting_show(ips_waiting *waiting, uint32_t task, ips_owner holder);
void ips_waiting_hide(ips_waiting *waiting);

static inline uint64_t
ips_wait_file(const ips_header_shm *header)
{
    uint64_t file;
    __builtin_memcpy(&file, header->identity, sizeof file);
    return file;
}

/* One record, read whole. */
typedef struct {
    ips_owner owner;
    uint64_t file, place;
    int64_t since, deadline;
    ips_owner holder;
    int64_t holder_since;
    int32_t thread;
    uint32_t task; /* 0: the thread itself is parked */
    uint64_t ident;
} ips_wait_facts;

/* Call `visit` for each record of each living member.  A record may be a
 * moment old: look twice before you conclude anything from several. */
IPS_MUST_CHECK int ips_space_each_wait(ips_space *space,
    int (*visit)(const ips_wait_facts *facts, void *context), void *context);

#endif
