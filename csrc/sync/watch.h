/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting on an event count while watching members whose death changes what
 * one waits for: those who hold permits, parties of a barrier, readers.
 *
 *     ips_watch_start(&watch);
 *     for (;;) {
 *         key = ips_eventcount_prepare(event);
 *         look at the condition; done?
 *         ips_watch_clear(&watch), then ips_watch_add() each member that
 *         matters; where ips_watch_lives() says no, take back its share and
 *         look again
 *         status = ips_watch_wait(event, key, space, &watch, deadline);
 *     }
 *
 * Private to a thread.  The bells of the members end the park at once; should
 * one have none, or more be added than fit, the bound of the park does. */
#ifndef IPS_SYNC_WATCH_H
#define IPS_SYNC_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/owner.h"
#include "base/status.h"
#include "member/space.h"
#include "sync/eventcount.h"

#define IPS_WATCH_MOST 64u

typedef struct {
    ips_owner owners[IPS_WATCH_MOST];
    uint32_t count;
    bool more;       /* somebody did not fit */
    bool thorough;   /* a bound passed: ask for proof although no bell rang */
    int64_t bound;   /* of the next park */
    int64_t nap;     /* of the next park while a bell rang unproven */
} ips_watch;

void ips_watch_start(ips_watch *watch);

static inline void
ips_watch_clear(ips_watch *watch)
{
    watch->count = 0;
    watch->more = false;
}

/* Watch `owner` too; IPS_NOBODY and doubles cost nothing. */
void ips_watch_add(ips_watch *watch, ips_owner owner);

/* False only with proof; thorough where the last park ended by its bound. */
static inline bool
ips_watch_lives(const ips_watch *watch, ips_space *space, ips_owner owner)
{
    return ips_member_lives(space, owner, watch->thorough);
}

/* Park as ips_eventcount_wait does, also until a watched member's bell rings.
 * 0: look again; IPS_ETIMEOUT, IPS_EINTR. */
IPS_MUST_CHECK int ips_watch_wait(ips_eventcount_shm *event, uint32_t key, ips_space *space,
                                  ips_watch *watch, int64_t deadline);

#endif
