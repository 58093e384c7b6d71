/* SPDX-License-Identifier: Apache-2.0 */
/* In the place of csrc/os/ and csrc/member/: futexes, the clock, members.
 *
 * A killed member's last rites are two events that come at any later time, in
 * this order: its bell rings (waking one of those who watch it), and its death
 * can be proven.  Until then it looks alive to everybody.  Whoever proves it
 * first wakes the others at its bell, as ips_slot_prove does. */
#include <stdatomic.h>
#include <stdlib.h>

#include "explorer.h"
#include "member/postbox.h"
#include "member/waits.h"
#include "os/clock.h"
#include "os/futex.h"

struct ips_space {
    int nothing;
};

typedef struct {
    _Atomic uint32_t bell; /* IDLE or RANG */
    bool dying, rang, provable, proven;
} soul;

enum { BELL_IDLE = 1, BELL_RANG = 2 };

static struct ips_space the_space;
static soul souls[MODEL_ACTORS]; /* of members; threads share the first one's */
static int64_t now;
static int stage_hand; /* who acts where no actor is on: model_act_as */
static uint64_t arrivals;

static int
member_of(int who)
{
    uint32_t together = model_now_playing->together;
    return (together & UINT32_C(1) << who) != 0 ? __builtin_ctz(together) : who;
}

ips_space *
model_space(void)
{
    return &the_space;
}

ips_owner
model_owner(int who)
{
    return ips_owner_make((uint32_t)member_of(who), (uint64_t)member_of(who) + 1);
}

static soul *
soul_of(ips_owner owner)
{
    uint32_t slot = ips_owner_slot(owner);
    return owner != IPS_NOBODY && slot < MODEL_ACTORS && model_owner((int)slot) == owner
               ? &souls[slot] : NULL;
}

int64_t
model_time(void)
{
    return now;
}

void
kernel_reset(void)
{
    for (int i = 0; i < MODEL_ACTORS; i++) {
        souls[i] = (soul){.bell = model_now_playing->no_bells ? 0 : BELL_IDLE};
    }
    now = 1000000000;
    arrivals = 0;
}

/* --- futexes ------------------------------------------------------------- */

/* Whoever was woken through one word, or timed out, stands in the queue of the
 * other until it runs, and takes a wake there that might have been another's. */
static bool
leaves_queue(actor *who, const void *at)
{
    for (int i = 0; i < who->words; i++) {
        if (who->at[i] == at) {
            who->at[i] = NULL;
            return true;
        }
    }
    return false;
}

static bool
is_at(const actor *who, const void *at)
{
    bool found = false;
    for (int i = 0; i < who->words; i++) {
        found = found || who->at[i] == at;
    }
    return found && (who->state == ACTOR_PARKED || who->state == ACTOR_READY);
}

bool
model_parks_on(const void *word)
{
    bool found = false;
    for (int i = 0; i < model_now_playing->actors; i++) {
        found = found || (model_actors[i].state == ACTOR_PARKED && is_at(&model_actors[i], word));
    }
    return found;
}

static int
wake(const void *at, int count)
{
    int woken = 0;
    while (woken < count) {
        actor *eldest = NULL;
        for (int i = 0; i < model_now_playing->actors; i++) {
            actor *it = &model_actors[i];
            if (is_at(it, at) && (eldest == NULL || it->queued < eldest->queued)) {
                eldest = it;
            }
        }
        if (eldest == NULL) {
            break;
        }
        (void)leaves_queue(eldest, at);
        eldest->state = ACTOR_READY;
        eldest->outcome = IPS_OK;
        woken++;
    }
    return woken;
}

/* The park of `who` ends for another reason than a wake. */
void
kernel_wake_by(int who, int outcome)
{
    actor *it = &model_actors[who];
    it->state = ACTOR_READY;
    it->outcome = outcome;
    if (outcome == IPS_ETIMEOUT && it->until > now) {
        now = it->until;
    }
}

static uint32_t
kernel_read(const _Atomic uint32_t *word)
{
    if (memory_holds(word)) {
        return (uint32_t)memory_newest(word, 4);
    }
    return atomic_load_explicit(word, memory_order_relaxed);
}

static bool
have_changed(const ips_futex_look *looks, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (kernel_read(looks[i].word) != looks[i].expected) {
            return true;
        }
    }
    return false;
}

int
ips_futex_wait_many(const ips_futex_look *looks, uint32_t count, int64_t deadline)
{
    const void *first = (const void *)looks[0].word;
    model_step("park", first);
    model_check(count <= MODEL_WORDS, "parks on %d words", (int)count);
    if (have_changed(looks, count)) {
        model_trace("park (changed)", first, looks[0].expected);
        return IPS_OK;
    }
    if (deadline <= now) {
        return IPS_ETIMEOUT;
    }
    if (model_left.spurious > 0 && model_choose(2) == 1) {
        model_left.spurious--;
        model_trace("park (for no time)", first, 0);
        return IPS_OK;
    }
    actor *self = &model_actors[model_current];
    self->words = (int)count;
    for (uint32_t i = 0; i < count; i++) {
        self->at[i] = (const void *)looks[i].word;
    }
    self->until = deadline;
    self->queued = arrivals++;
    self->state = ACTOR_PARKED;
    model_trace(count > 1 ? "park, watching bells" : "park", first, looks[0].expected);
    model_block();
    self->words = 0;
    model_trace("woken", first, (uint64_t)self->outcome);
    return self->outcome;
}

int
ips_futex_wait(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
    const ips_futex_look look = {word, expected};
    return ips_futex_wait_many(&look, 1, deadline);
}

int
ips_futex_wait_two(const _Atomic uint32_t *first, uint32_t first_expected,
                   const _Atomic uint32_t *second, uint32_t second_expected, int64_t deadline)
{
    const ips_futex_look looks[2] = {{first, first_expected}, {second, second_expected}};
    return ips_futex_wait_many(looks, 2, deadline);
}

int
ips_futex_wake(const _Atomic uint32_t *word, int count)
{
    model_step("wake", (const void *)word);
    int woken = wake((const void *)word, count);
    model_trace("wake", (const void *)word, (uint64_t)woken);
    return woken;
}

/* --- the clock: it stands still but for parks that time out --------------- */

int64_t
ips_now(void)
{
    return now;
}

int64_t
ips_wall_clock(void)
{
    return now;
}

uint32_t
ips_cpu_count(void)
{
    return 2;
}

int64_t
ips_spin_budget(void)
{
    return 0; /* spinning adds looks, no states */
}

bool
ips_spin_is_open(void)
{
    return false; /* nothing to be measured */
}

/* --- members --------------------------------------------------------------- */

void
kernel_died(int who)
{
    int member = member_of(who);
    for (int i = 0; i < model_now_playing->actors; i++) {
        if (member_of(i) == member && model_actors[i].state != ACTOR_ENDED) {
            model_actors[i].state = ACTOR_DEAD;
            memory_bury(i);
        }
    }
    souls[member].dying = true;
    souls[member].rang = model_now_playing->no_bells;
}

int
kernel_pending(void)
{
    int pending = 0;
    for (int i = 0; i < model_now_playing->actors; i++) {
        pending += souls[i].dying && !souls[i].provable;
    }
    return pending;
}

void
kernel_advance(int which)
{
    for (int i = 0; i < model_now_playing->actors; i++) {
        soul *it = &souls[i];
        if (!it->dying || it->provable || which-- > 0) {
            continue;
        }
        if (it->rang) {
            it->provable = true;
            model_trace("(its death can be proven)", NULL, (uint64_t)i);
        } else {
            it->rang = true;
            atomic_store_explicit(&it->bell, BELL_RANG, memory_order_relaxed);
            (void)wake(&it->bell, 1);
            model_trace("(its bell rings)", NULL, (uint64_t)i);
        }
        return;
    }
}

/* News of the dead matter only while some are on their way. */
static void
look_at_the_dead(const char *what)
{
    if (model_current != MODEL_NOBODY && kernel_pending() != 0) {
        model_step(what, NULL);
    }
}

ips_owner
ips_space_self(ips_space *space)
{
    (void)space;
    return model_owner(model_current == MODEL_NOBODY ? stage_hand : model_current);
}

void
model_act_as(int who)
{
    stage_hand = who;
}

void
ips_space_tend(ips_space *space)
{
    (void)space;
}

void
ips_space_measure_park(ips_space *space)
{
    (void)space;
}

void
ips_waiting_park(ips_space *space, ips_owner holder)
{
    (void)space;
    (void)holder; /* for people who look */
}

void
ips_postbox_want(ips_space *space)
{
    (void)space; /* event loops are no actors here */
}

void
ips_postbox_ring(void)
{
}

bool
ips_member_lives(ips_space *space, ips_owner owner, bool thorough)
{
    (void)space;
    look_at_the_dead("is it alive");
    soul *it = soul_of(owner);
    if (it == NULL || it->proven) {
        if (it != NULL && model_current != MODEL_NOBODY) {
            memory_mourn();
        }
        return false;
    }
    bool rang = atomic_load_explicit(&it->bell, memory_order_relaxed) == BELL_RANG;
    if (!it->provable || (!thorough && !rang)) {
        return true;
    }
    it->proven = true;
    (void)wake(&it->bell, MODEL_ACTORS);
    memory_mourn();
    model_trace("proves the death", NULL, owner);
    return false;
}

ips_bell
ips_member_bell(ips_space *space, ips_owner owner)
{
    (void)space;
    look_at_the_dead("find its bell");
    soul *it = soul_of(owner);
    if (it == NULL || it->proven ||
        atomic_load_explicit(&it->bell, memory_order_relaxed) != BELL_IDLE) {
        return (ips_bell){NULL, 0};
    }
    return (ips_bell){&it->bell, BELL_IDLE};
}

bool
ips_member_rang(ips_space *space, ips_owner owner)
{
    (void)space;
    soul *it = soul_of(owner);
    return it != NULL && atomic_load_explicit(&it->bell, memory_order_relaxed) == BELL_RANG;
}
