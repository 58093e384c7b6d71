/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold of a condition that nobody uses at the moment. */
#include <inttypes.h>
#include <stdio.h>

#include "sync/condition.h"

typedef struct {
    void (*report)(const char *line, void *context);
    void *context;
    int status;
} checking;

static void
complain(checking *job, const char *what, uint64_t where)
{
    char line[160];
    (void)snprintf(line, sizeof line, "condition: %s %" PRIu64, what, where);
    job->report(line, job->context);
    job->status = ips_fail(IPS_ECORRUPT, "%s", line);
}

static uint64_t
number_at(const _Atomic uint64_t *word)
{
    /* relaxed: nobody uses the condition meanwhile. */
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void
check_seat(ips_condition c, uint32_t index, checking *job)
{
    uint64_t word = number_at(&c.shm->seats[index].word);
    uint64_t ticket = number_at(&c.shm->seats[index].ticket);
    uint64_t standing = word & IPS_SEAT_STANDING;
    bool taken = (number_at(&c.shm->taken[index / 64]) >> index % 64 & 1) != 0;
    if (taken && word == 0) {
        complain(job, "nobody sits on taken seat", index);
    }
    if (!taken && standing != 0) {
        complain(job, "somebody waits on free seat", index);
    }
    if (standing == IPS_SEAT_STANDING) {
        complain(job, "one waits and was notified on seat", index);
    }
    if (standing != 0 && ticket >= number_at(&c.shm->next_ticket)) {
        complain(job, "a ticket that was never given on seat", index);
    }
}

int
ips_condition_check(ips_condition c, void (*report)(const char *line, void *context),
                    void *context)
{
    checking job = {report, context, IPS_OK};
    /* relaxed: nobody uses it meanwhile. */
    uint32_t top = atomic_load_explicit(&c.shm->top, memory_order_relaxed);
    uint64_t end = sizeof *c.shm + top * sizeof(ips_seat_shm);
    if (top > IPS_SEATS_MOST || ips_wide_back(c.wide, end) < 0) {
        complain(&job, "it has no room for so many seats:", top);
        return job.status;
    }
    if (number_at(&c.shm->all_before) > number_at(&c.shm->next_ticket)) {
        complain(&job, "notified before coming: ticket", number_at(&c.shm->all_before));
    }
    for (uint32_t i = 0; i < top; i++) {
        check_seat(c, i, &job);
    }
    return job.status;
}
