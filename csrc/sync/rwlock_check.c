/* SPDX-License-Identifier: Apache-2.0 */
/* What an RWLock looks like from outside: for people, and its invariants. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "sync/rwlock.h"

/* A look from outside. */
static uint64_t
see64(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed); /* relaxed: news */
}

static uint32_t
see32(const _Atomic uint32_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed); /* relaxed: news */
}

uint64_t
ips_rwlock_readers(ips_rwlock *lock)
{
    uint64_t readers = 0;
    uint32_t used = ips_lines_used(&lock->lines);
    for (uint32_t i = 0; i < used; i++) {
        ips_line_shm *line = &lock->lines.line[i];
        /* relaxed: news for people; count first, as in is_clear. */
        uint32_t active = atomic_load_explicit(&line->active, memory_order_relaxed);
        /* acquire: pairs with the claimer's store. */
        if (active != 0 &&
            ips_member_lives(lock->space, atomic_load_explicit(&line->owner, memory_order_acquire),
                             false)) {
            readers += active;
        }
    }
    return readers;
}

ips_owner
ips_rwlock_writer(ips_rwlock *lock)
{
    /* relaxed: news for people. */
    uint64_t gate = atomic_load_explicit(&lock->shm->gate, memory_order_relaxed);
    ips_owner owner = gate & ~IPS_OWNER_FLAGS;
    return (gate & IPS_RWLOCK_INSIDE) != 0 && ips_member_lives(lock->space, owner, false)
               ? owner
               : IPS_NOBODY;
}

bool
ips_rwlock_looks_abandoned(ips_rwlock *lock)
{
    uint64_t gate = see64(&lock->shm->gate);
    return ips_rwlock_is_abandoned(lock) ||
           ((gate & IPS_RWLOCK_INSIDE) != 0 &&
            !ips_member_lives(lock->space, gate & ~IPS_OWNER_FLAGS, false));
}

typedef struct {
    void (*report)(const char *line, void *context);
    void *context;
    int problems;
} findings;

static void __attribute__((format(printf, 2, 3)))
find(findings *found, const char *format, ...)
{
    char line[160];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    found->report(line, found->context);
    found->problems++;
}

static void
check_owner(findings *found, const char *what, ips_owner owner)
{
    if (owner != IPS_NOBODY && ips_owner_slot(owner) >= IPS_MAX_SLOTS) {
        find(found, "%s names no member: %" PRIx64, what, owner);
    }
}

static void
check_line(ips_rwlock *lock, uint32_t index, findings *found)
{
    const ips_line_shm *line = &lock->lines.line[index];
    ips_owner owner = see64(&line->owner);
    check_owner(found, "a reader's line", owner);
    if ((owner & IPS_OWNER_FLAGS) != 0) {
        find(found, "the owner of line %" PRIu32 " has flags", index);
    }
    uint32_t active = see32(&line->active);
    uint32_t waiting = see32(&line->waiting);
    if (active > INT32_MAX || waiting > INT32_MAX) {
        find(found, "line %" PRIu32 " counts %" PRIu32 " reads and %" PRIu32 " that wait", index,
             active, waiting);
    }
    for (uint32_t i = 0; i < index && owner != IPS_NOBODY; i++) {
        if (see64(&lock->lines.line[i].owner) == owner) {
            find(found, "lines %" PRIu32 " and %" PRIu32 " have one owner", i, index);
        }
    }
}

/* A gate that stays shut belongs to whoever has the turn, or a dead one. */
static void
check_gate(ips_rwlock *lock, findings *found)
{
    ips_rwlock_shm *shm = lock->shm;
    uint64_t gate = see64(&shm->gate);
    check_owner(found, "the gate", gate & ~IPS_OWNER_FLAGS);
    if (gate != 0 && (gate & ~IPS_OWNER_FLAGS) == IPS_NOBODY) {
        find(found, "the gate has flags and no owner");
    }
    if (gate != 0 && ips_lock_owner(&shm->turn) == IPS_NOBODY &&
        see64(&shm->gate) == gate &&
        ips_lock_owner(&shm->turn) == IPS_NOBODY) {
        find(found, "the gate is shut, and nobody has the turn");
    }
    check_owner(found, "the upgrader",
                see64(&shm->upgrader));
    check_owner(found, "the turn", ips_lock_owner(&shm->turn));
    uint32_t state = see32(&shm->state);
    if ((state & ~(IPS_RWLOCK_ABANDONED | IPS_RWLOCK_BLOCKED)) != 0) {
        find(found, "unknown bits in its state: %" PRIx32, state);
    }
}

int
ips_rwlock_check(ips_rwlock *lock, void (*report)(const char *line, void *context), void *context)
{
    findings found = {report, context, 0};
    uint32_t used = see32(&lock->shm->lines.used);
    if (used > lock->lines.capacity) {
        find(&found, "%" PRIu32 " lines of %" PRIu32 " are in use", used, lock->lines.capacity);
    }
    check_gate(lock, &found);
    used = ips_lines_used(&lock->lines);
    for (uint32_t i = 0; i < used; i++) {
        check_line(lock, i, &found);
    }
    return found.problems == 0 ? IPS_OK : ips_fail(IPS_ECORRUPT, "an RWLock");
}
