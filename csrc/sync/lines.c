/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/lines.h"

void
ips_lines_start(ips_lines *lines, ips_lines_shm *shm, ips_wide *wide, uint64_t start)
{
    *lines = (ips_lines){.shm = shm, .wide = wide, .start = start};
    lines->line = (ips_line_shm *)(void *)(wide->shm + start);
    lines->capacity = (uint32_t)((wide->capacity - start) / sizeof(ips_line_shm));
}

/* Lines [0, count) have memory. */
static int
back(ips_lines *lines, uint32_t count)
{
    return ips_wide_back(lines->wide, lines->start + count * sizeof(ips_line_shm));
}

uint32_t
ips_lines_used(ips_lines *lines)
{
    /* acquire: pairs with the release in take. */
    uint32_t used = atomic_load_explicit(&lines->shm->used, memory_order_acquire);
    used = used <= lines->capacity ? used : lines->capacity;
    if (back(lines, used) == IPS_OK) {
        return used;
    }
    /* relaxed: only a damaged `used` can lie beyond what has memory. */
    uint64_t reach = atomic_load_explicit(&lines->wide->reach, memory_order_relaxed);
    return (uint32_t)((reach - lines->start) / sizeof(ips_line_shm));
}

typedef struct {
    ips_lines *lines;
    ips_space *space;
    ips_owner me;
    bool reuse;
} claimer;

/* Our own line, or the first that can be had; `used` where there is none. */
static uint32_t
look(const claimer *c, uint32_t used, bool thorough)
{
    uint32_t found = used;
    for (uint32_t i = 0; i < used; i++) {
        /* acquire: pairs with the release in take: another thread of ours. */
        ips_owner owner = atomic_load_explicit(&c->lines->line[i].owner, memory_order_acquire);
        if (owner == c->me) {
            return i;
        }
        if (found == used &&
            (owner == IPS_NOBODY ||
             (c->reuse && !ips_member_lives(c->space, owner, thorough)))) {
            found = i;
        }
    }
    return found;
}

/* Sign a line.  The lock is held. */
static int
take(const claimer *c, uint32_t index, uint32_t used)
{
    int status = back(c->lines, index + 1);
    if (status < 0) {
        return status;
    }
    ips_line_shm *line = &c->lines->line[index];
    /* relaxed, twice: published by the owner store. */
    if (atomic_load_explicit(&line->owner, memory_order_relaxed) != c->me) {
        atomic_store_explicit(&line->active, 0, memory_order_relaxed);
        atomic_store_explicit(&line->waiting, 0, memory_order_relaxed);
        /* release: pairs with the acquire loads of whoever walks the lines. */
        atomic_store_explicit(&line->owner, c->me, memory_order_release);
    }
    if (index >= used) {
        /* release: pairs with the acquire in ips_lines_used. */
        atomic_store_explicit(&c->lines->shm->used, index + 1, memory_order_release);
    }
    return IPS_OK;
}

/* The lock is held. */
static int
claim(const claimer *c, uint32_t *index)
{
    uint32_t used = ips_lines_used(c->lines);
    *index = look(c, used, false);
    if (*index >= c->lines->capacity) {
        *index = look(c, used, true);
    }
    if (*index >= c->lines->capacity) {
        return back(c->lines, *index + 1); /* says why not */
    }
    return take(c, *index, used);
}

/* Only where it is news: other threads may be reading.  The lock is held. */
static void
remember(ips_lines *lines, ips_owner me, ips_line_shm *line)
{
    /* relaxed: written under the lock only. */
    if (atomic_load_explicit(&lines->owner, memory_order_relaxed) != me || lines->mine != line) {
        lines->mine = line;
        /* release: pairs with the acquire in ips_lines_mine. */
        atomic_store_explicit(&lines->owner, me, memory_order_release);
    }
}

int
ips_lines_claim(ips_lines *lines, ips_space *space, bool reuse, int64_t deadline,
                ips_line_shm **out)
{
    claimer c = {lines, space, ips_space_self(space), reuse};
    if (c.me == IPS_NOBODY) {
        return ips_last_note()->status;
    }
    int status = ips_lock_acquire(&lines->shm->claims, space, deadline);
    if (status < 0) {
        return status; /* an heir has nothing to repair: one store signs a line */
    }
    uint32_t index;
    status = claim(&c, &index);
    if (status == IPS_OK) {
        *out = &lines->line[index];
        remember(lines, c.me, *out);
    }
    (void)ips_lock_leave(&lines->shm->claims);
    return status;
}
