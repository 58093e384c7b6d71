/* SPDX-License-Identifier: Apache-2.0 */
/* For those who look at a semaphore: its claims, and its invariants as code, the
 * oracle of its crash tests. */
#include <stdio.h>

#include "sync/semaphore_inside.h"

/* relaxed: written under the lock, which is held. */
#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

typedef struct {
    void (*report)(const char *line, void *context);
    void *context;
    bool sound;
} checking;

static void
fault(checking *job, const char *what, int64_t number)
{
    char line[128];
    (void)snprintf(line, sizeof line, "semaphore: %s %lld", what, (long long)number);
    job->sound = false;
    job->report(line, job->context);
}

static void
check_value(const ips_semaphore *semaphore, uint64_t word, checking *job)
{
    int64_t value = ips_semaphore_value_in(semaphore, word);
    if (value < 0 || value > (semaphore->bounded ? semaphore->initial : IPS_SEMAPHORE_MAX)) {
        fault(job, "a value of", value);
    }
}

static void
check_inside(ips_semaphore *semaphore, uint32_t used, uint64_t word, checking *job)
{
    ips_semaphore_shm *shm = semaphore->shm;
    uint64_t claims = 0;
    check_value(semaphore, word, job);
    if (LOAD(shm->armed) != 0) {
        fault(job, "a change that was never finished, of seat", shm->seat);
    }
    if (used != LOAD(shm->used)) {
        fault(job, "more seats than there is room for:", LOAD(shm->used));
    }
    for (uint32_t i = 0; i < used; i++) {
        uint64_t count = LOAD(shm->seats[i].count);
        claims += count;
        if (count != 0 && LOAD(shm->seats[i].owner) == IPS_NOBODY) {
            fault(job, "claims of nobody, seat", i);
        }
        if (count != 0 && (shm->seats[i].since == 0 || shm->seats[i].since > shm->serial)) {
            fault(job, "claims from the future, seat", i);
        }
    }
    if (ips_semaphore_word_of(word, LOAD(shm->extra) - claims) != word) {
        fault(job, "a word that is not what its claims add up to, by", (int64_t)claims);
    }
}

int
ips_semaphore_check(ips_semaphore *semaphore, int64_t deadline,
                    void (*report)(const char *line, void *context), void *context)
{
    checking job = {report, context, true};
    ips_owner me = ips_space_self(semaphore->space);
    ips_semaphore_hold hold;
    uint32_t used;
    int status;
    if (!semaphore->owned) {
        check_value(semaphore, LOAD(semaphore->shm->word), &job);
        status = IPS_OK;
    } else {
        status = me == IPS_NOBODY ? ips_last_note()->status
                                  : ips_semaphore_enter(semaphore, me, deadline, &hold);
        if (status < 0) {
            return status;
        }
        status = ips_semaphore_used(semaphore, &used);
        if (status == IPS_OK) {
            check_inside(semaphore, used, hold.word, &job);
        }
        ips_semaphore_leave(semaphore, &hold);
    }
    return status < 0 || job.sound
               ? status
               : ips_semaphore_damaged(semaphore, "its invariants do not hold");
}

int
ips_semaphore_each_claim(ips_semaphore *semaphore,
                         int (*visit)(ips_owner owner, uint64_t claims, void *context),
                         void *context)
{
    uint32_t used;
    int status = ips_semaphore_used(semaphore, &used);
    for (uint32_t i = 0; status == IPS_OK && i < used; i++) {
        uint64_t count;
        ips_owner owner = ips_semaphore_look(&semaphore->shm->seats[i], &count);
        if (count != 0) {
            status = visit(owner, count, context);
        }
    }
    return status;
}
