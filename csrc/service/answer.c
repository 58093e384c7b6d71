/* SPDX-License-Identifier: Apache-2.0 */
#include "service/answer.h"

#include "service/spin.h"
#include "sync/watch.h"

static bool
has_message(void *context)
{
    ips_look look;
    return ips_queue_look((ips_queue *)context, &look) != IPS_EEMPTY;
}

bool
ips_answer_spin(ips_queue *queue, int64_t deadline)
{
    return has_message(queue) || ips_spin_closely(has_message, queue, deadline);
}

int
ips_answer_park(ips_queue *queue, ips_owner server, int64_t deadline)
{
    ips_space *space = queue->ring.space;
    ips_eventcount_shm *event = &queue->ring.shm->waits.not_empty;
    bool watched = server != IPS_NOBODY && server != ips_space_self(space);
    ips_watch watch;
    ips_watch_start(&watch);
    if (watched) {
        ips_watch_add(&watch, server);
    }
    for (;;) {
        uint32_t key = ips_eventcount_prepare(event);
        if (has_message(queue)) {
            return IPS_OK;
        }
        if (watched && !ips_watch_lives(&watch, space, server)) {
            /* What it put before it died is there by now. */
            return has_message(queue) ? IPS_OK : IPS_EPEERDIED;
        }
        int status = ips_watch_wait(event, key, space, &watch, deadline);
        if (status < 0) {
            return status;
        }
    }
}
