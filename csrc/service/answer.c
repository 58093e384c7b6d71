/* SPDX-License-Identifier: Apache-2.0 */
#include "service/answer.h"

#include "service/spin.h"

/* Once its bell rang the proof may come any moment: ask again soon, and ever
 * less often, as sync/lock.c does. */
#define FIRST_PROBE_NS INT64_C(50000)
#define LONGEST_PROBE_NS INT64_C(100000000)
/* A park that lasted so long was ended by its bound: ask for proof unasked. */
#define LONG_PARK_NS INT64_C(50000000)

static bool
has_message(void *context)
{
    ips_look look;
    return ips_queue_look((ips_queue *)context, &look) != IPS_EEMPTY;
}

typedef struct {
    ips_space *space;
    ips_eventcount_shm *event;
    ips_owner server;
    int64_t deadline;
    int64_t probe_nap;
    bool thorough;
} watch;

static int
park(watch *w, uint32_t key)
{
    ips_bell bell = ips_member_bell(w->space, w->server);
    int64_t now = ips_now();
    int64_t until = w->deadline;
    if (now >= until) {
        return IPS_ETIMEOUT;
    }
    bool unproven = bell.word == NULL && ips_member_rang(w->space, w->server);
    if (unproven) {
        until = until - now < w->probe_nap ? until : now + w->probe_nap;
        w->probe_nap = w->probe_nap < LONGEST_PROBE_NS / 2 ? w->probe_nap * 2 : LONGEST_PROBE_NS;
    }
    int status = ips_eventcount_wait(w->event, key, w->space, w->server, until);
    w->thorough = unproven || ips_now() - now >= LONG_PARK_NS;
    return status == IPS_ETIMEOUT && unproven ? IPS_OK : status;
}

bool
ips_answer_spin(ips_queue *queue, int64_t deadline)
{
    return has_message(queue) || ips_spin_closely(has_message, queue, deadline);
}

int
ips_answer_park(ips_queue *queue, ips_owner server, int64_t deadline)
{
    watch w = {
        .space = queue->ring.space,
        .event = &queue->ring.shm->waits.not_empty,
        .server = server,
        .deadline = deadline,
        .probe_nap = FIRST_PROBE_NS,
    };
    if (server == ips_space_self(w.space)) {
        w.server = IPS_NOBODY;
    }
    for (;;) {
        uint32_t key = ips_eventcount_prepare(w.event);
        if (has_message(queue)) {
            return IPS_OK;
        }
        if (w.server != IPS_NOBODY && !ips_member_lives(w.space, w.server, w.thorough)) {
            /* What it put before it died is there by now. */
            return has_message(queue) ? IPS_OK : IPS_EPEERDIED;
        }
        int status = park(&w, key);
        if (status < 0) {
            return status;
        }
    }
}
