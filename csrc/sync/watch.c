/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/watch.h"

#include "member/waits.h"
#include "os/clock.h"
#include "os/futex.h"

/* As in sync/lock.c, and for the same reasons. */
#define SHORTEST_BOUND_NS INT64_C(10000000)
#define LONGEST_BOUND_NS INT64_C(100000000)
#define FIRST_PROBE_NS INT64_C(50000)

_Static_assert(IPS_WATCH_MOST < IPS_FUTEX_MOST, "the bells, and the event count's word");

void
ips_watch_start(ips_watch *watch)
{
    ips_watch_clear(watch);
    watch->thorough = false;
    watch->bound = SHORTEST_BOUND_NS;
    watch->nap = FIRST_PROBE_NS;
}

void
ips_watch_add(ips_watch *watch, ips_owner owner)
{
    for (uint32_t i = 0; i < watch->count; i++) {
        if (watch->owners[i] == owner) {
            return;
        }
    }
    if (owner == IPS_NOBODY) {
        return;
    }
    if (watch->count == IPS_WATCH_MOST) {
        watch->more = true;
        return;
    }
    watch->owners[watch->count++] = owner;
}

static int64_t
take_and_double(int64_t *nap)
{
    int64_t now = *nap;
    *nap = now * 2 < LONGEST_BOUND_NS ? now * 2 : LONGEST_BOUND_NS;
    return now;
}

int
ips_watch_wait(ips_eventcount_shm *event, uint32_t key, ips_space *space, ips_watch *watch,
               int64_t deadline)
{
    int64_t now = ips_now();
    if (now >= deadline) {
        return IPS_ETIMEOUT;
    }
    ips_space_tend(space);
    ips_waiting_park(space, watch->count == 0 ? IPS_NOBODY : watch->owners[0]);
    ips_owner me = ips_space_self(space);
    ips_futex_look looks[IPS_WATCH_MOST + 1] = {{&event->word, key}};
    uint32_t count = 1;
    bool unproven = false;
    for (uint32_t i = 0; i < watch->count; i++) {
        if (watch->owners[i] == me) {
            continue;
        }
        ips_bell bell = ips_member_bell(space, watch->owners[i]);
        if (bell.word != NULL) {
            looks[count++] = (ips_futex_look){bell.word, bell.expected};
        } else {
            unproven = unproven || ips_member_rang(space, watch->owners[i]);
        }
    }
    ips_waiting_park(space, watch->count == 0 ? IPS_NOBODY : watch->owners[0]);
    int64_t until = now + take_and_double(unproven ? &watch->nap : &watch->bound);
    until = until < deadline ? until : deadline;
    int status = ips_futex_wait_many(looks, count, until);
    for (uint32_t i = 1; i < count; i++) {
        if (ips_bell_has_rung((ips_bell){looks[i].word, looks[i].expected})) {
            (void)ips_futex_wake(looks[i].word, 1); /* our caller may leave without a proof */
        }
    }
    watch->thorough = status == IPS_ETIMEOUT;
    return status == IPS_ETIMEOUT ? IPS_OK : status;
}
