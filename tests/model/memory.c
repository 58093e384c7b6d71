/* SPDX-License-Identifier: Apache-2.0 */
/* What a load may return: every value that C11 allows, by views.
 *
 * Each location keeps all values it ever had.  A view says, for each location,
 * the oldest value its owner may still see.  A load picks any value from there
 * on; a release store carries the storer's view along and an acquire load
 * takes it over; a seq_cst fence exchanges views with all other such fences.
 * A newer value joins at the end of its location's history (so the one thing
 * left out is two plain stores of different actors to one location, seen in
 * the opposite order of their execution).
 *
 * As an x86 (MODEL_X86) every load is acquire, every store release, and every
 * read-modify-write a full fence: what is left is a store that waits in the
 * store buffer while later loads go ahead.
 *
 * A plain access must see the newest value there is, in every execution: where
 * it need not, two actors race. */
#include <stdatomic.h>
#include <string.h>

#include "explorer.h"

#define LOCATIONS 48
#define HISTORY 400

typedef struct {
    uint16_t seen[LOCATIONS];
} view;

typedef struct {
    uint64_t value;
    view carried;
} message;

typedef struct {
    uint16_t start; /* offset in the arena */
    uint8_t size;
    uint16_t newest;
    message history[HISTORY]; /* the newest value itself stands in the arena */
} location;

typedef struct {
    view now;       /* what it may still see */
    view acquired;  /* with the next acquire fence */
    view released;  /* what its relaxed stores carry: the view at its last release fence */
} mind;

unsigned char model_arena[MODEL_ARENA] __attribute__((aligned(64)));
static location locations[LOCATIONS];
static int location_count;
static uint8_t location_of[MODEL_ARENA]; /* by offset: index + 1 */
static mind minds[MODEL_ACTORS];
static view order_of_all; /* that of the seq_cst operations */

static void
join(view *into, const view *from)
{
    for (int i = 0; i < location_count; i++) {
        if (into->seen[i] < from->seen[i]) {
            into->seen[i] = from->seen[i];
        }
    }
}

void
memory_reset(void)
{
    for (int i = 0; i < location_count; i++) {
        location_of[locations[i].start] = 0;
    }
    memset(minds, 0, sizeof minds);
    memset(&order_of_all, 0, sizeof order_of_all);
    location_count = 0;
}

bool
memory_holds(const volatile void *at)
{
    return (uintptr_t)at - (uintptr_t)model_arena < MODEL_ARENA;
}

static uint64_t
read_arena(unsigned offset, int size)
{
    uint64_t value = 0;
    unsigned char *at = model_arena + offset;
    switch (size) {
    case 1: return *at;
    case 2: { uint16_t v; memcpy(&v, at, 2); return v; }
    case 4: { uint32_t v; memcpy(&v, at, 4); return v; }
    default: memcpy(&value, at, 8); return value;
    }
}

static void
write_arena(unsigned offset, int size, uint64_t value)
{
    unsigned char *at = model_arena + offset;
    switch (size) {
    case 1: *at = (unsigned char)value; break;
    case 2: { uint16_t v = (uint16_t)value; memcpy(at, &v, 2); break; }
    case 4: { uint32_t v = (uint32_t)value; memcpy(at, &v, 4); break; }
    default: memcpy(at, &value, 8);
    }
}

static int
locate(const volatile void *at, int size)
{
    unsigned offset = (unsigned)((uintptr_t)at - (uintptr_t)model_arena);
    int known = location_of[offset];
    if (known != 0) {
        model_check(locations[known - 1].size == size, "offset %u is %d bytes here and %d there",
                    offset, size, locations[known - 1].size);
        return known - 1;
    }
    for (int i = 0; i < location_count; i++) {
        location *other = &locations[i];
        model_check(offset + (unsigned)size <= other->start ||
                    offset >= other->start + (unsigned)other->size,
                    "accesses of %d bytes at %u and %d at %u overlap", size, offset, other->size,
                    other->start);
    }
    model_check(location_count < LOCATIONS, "more than %d locations", LOCATIONS);
    location *made = &locations[location_count++];
    made->start = (uint16_t)offset;
    made->size = (uint8_t)size;
    made->newest = 0;
    memset(&made->history[0].carried, 0, sizeof made->history[0].carried);
    location_of[offset] = (uint8_t)location_count;
    /* Views were zero at this index since the reset: nobody knew of it. */
    return location_count - 1;
}

static uint64_t
value_at(const location *where, unsigned age)
{
    return age == where->newest ? read_arena(where->start, where->size)
                                : where->history[age].value;
}

static bool
acquires(int order)
{
#ifdef MODEL_X86
    (void)order;
    return true;
#else
    return order == memory_order_acquire || order == memory_order_consume ||
           order == memory_order_acq_rel || order == memory_order_seq_cst;
#endif
}

static bool
releases(int order)
{
#ifdef MODEL_X86
    (void)order;
    return true;
#else
    return order == memory_order_release || order == memory_order_acq_rel ||
           order == memory_order_seq_cst;
#endif
}

static void
full_fence(mind *self)
{
    join(&self->now, &self->acquired);
    join(&self->now, &order_of_all);
    order_of_all = self->now;
    self->released = self->now;
}

void
memory_fence(int order)
{
    mind *self = &minds[model_current];
    if (order == memory_order_seq_cst) {
        full_fence(self);
        return;
    }
    if (acquires(order)) {
        join(&self->now, &self->acquired);
    }
    if (releases(order)) {
        self->released = self->now;
    }
}

static void
take_in(mind *self, int index, unsigned age, int order)
{
    const message *from = &locations[index].history[age];
    join(acquires(order) ? &self->now : &self->acquired, &from->carried);
    if (self->now.seen[index] < age) {
        self->now.seen[index] = (uint16_t)age;
    }
}

/* How far back a load may look; `unlike` (of a swap that fails) is a value it
 * cannot return. */
static unsigned
pick_age(mind *self, int index, int order, const uint64_t *unlike)
{
    location *where = &locations[index];
    unsigned oldest = self->now.seen[index];
    if (order == memory_order_seq_cst && order_of_all.seen[index] > oldest) {
        oldest = order_of_all.seen[index];
    }
    if (model_left.stale == 0 || oldest == where->newest) {
        return where->newest;
    }
    int ways = 1;
    for (unsigned age = where->newest; age-- > oldest;) {
        ways += unlike == NULL || value_at(where, age) != *unlike;
    }
    int way = model_choose(ways);
    if (way == 0) {
        return where->newest;
    }
    model_left.stale--;
    unsigned age = where->newest;
    while (way > 0) {
        age--;
        way -= unlike == NULL || value_at(where, age) != *unlike;
    }
    return age;
}

uint64_t
memory_load(const volatile void *at, int size, int order)
{
    model_step("load", (const void *)at);
    int index = locate(at, size);
    mind *self = &minds[model_current];
    unsigned age = pick_age(self, index, order, NULL);
    uint64_t value = value_at(&locations[index], age);
    take_in(self, index, age, order);
    model_trace(age == locations[index].newest ? "load" : "load (stale)", (const void *)at, value);
    return value;
}

static void
append(mind *self, int index, uint64_t value, int order, const view *inherited)
{
    location *where = &locations[index];
    model_check(where->newest + 1 < HISTORY, "more than %d stores to one location", HISTORY);
    where->history[where->newest].value = read_arena(where->start, where->size);
    where->newest++;
    self->now.seen[index] = where->newest;
    view *carried = &where->history[where->newest].carried;
    *carried = releases(order) ? self->now : self->released;
    carried->seen[index] = where->newest;
    if (inherited != NULL) {
        join(carried, inherited);
    }
    if (order == memory_order_seq_cst) {
        order_of_all.seen[index] = where->newest;
    }
    write_arena(where->start, where->size, value);
}

void
memory_store(volatile void *at, int size, uint64_t value, int order)
{
    model_step("store", (const void *)at);
    mind *self = &minds[model_current];
    append(self, locate(at, size), value, order, NULL);
#ifdef MODEL_X86
    if (order == memory_order_seq_cst) {
        full_fence(self);
    }
#endif
    model_trace("store", (const void *)at, value);
}

/* The reading half of a read-modify-write has happened: the writing half. */
static void
rewrite(mind *self, int index, uint64_t value, int order)
{
    location *where = &locations[index];
    take_in(self, index, where->newest, order);
#ifdef MODEL_X86
    full_fence(self);
#endif
    view inherited = where->history[where->newest].carried; /* the release sequence goes on */
    append(self, index, value, order, &inherited);
#ifdef MODEL_X86
    full_fence(self);
#endif
}

uint64_t
memory_update(volatile void *at, int size, memory_change change, uint64_t operand, int order)
{
    model_step("update", (const void *)at);
    int index = locate(at, size);
    uint64_t old = value_at(&locations[index], locations[index].newest);
    uint64_t next = change(old, operand);
    rewrite(&minds[model_current], index, next, order);
    model_trace("update", (const void *)at, next);
    return old;
}

bool
memory_swap(volatile void *at, int size, uint64_t *expected, uint64_t wanted, int order,
            int failure_order)
{
    model_step("swap", (const void *)at);
    int index = locate(at, size);
    mind *self = &minds[model_current];
    location *where = &locations[index];
    uint64_t newest = value_at(where, where->newest);
    if (newest == *expected) {
        rewrite(self, index, wanted, order);
        model_trace("swap", (const void *)at, wanted);
        return true;
    }
    unsigned age = pick_age(self, index, failure_order, expected);
    *expected = value_at(where, age);
    take_in(self, index, age, failure_order);
#ifdef MODEL_X86
    full_fence(self); /* a locked instruction also where it changes nothing */
#endif
    model_trace("swap (failed)", (const void *)at, *expected);
    return false;
}

void
memory_plain(const volatile void *at, int size, plain_kind kind)
{
    if (kind == PLAIN_WRITE) {
        model_step_alone("plain store", (const void *)at);
    }
    int index = locate(at, size);
    mind *self = &minds[model_current];
    location *where = &locations[index];
    model_check(self->now.seen[index] == where->newest,
                "a plain access at offset %u races with another actor's store", where->start);
    if (kind == PLAIN_WRITE) {
        /* The store itself follows in the code that called us. */
        append(self, index, read_arena(where->start, size), memory_order_relaxed, NULL);
    }
}

uint64_t
memory_newest(const volatile void *at, int size)
{
    unsigned offset = (unsigned)((uintptr_t)at - (uintptr_t)model_arena);
    if (location_of[offset] != 0) {
        int index = location_of[offset] - 1;
        /* Who has seen it through the kernel does not see an older one later. */
        minds[model_current].now.seen[index] = locations[index].newest;
    }
    return read_arena(offset, size);
}

void
memory_bury(int who)
{
    join(&order_of_all, &minds[who].now);
}

void
memory_mourn(void)
{
    full_fence(&minds[model_current]);
}
