/* SPDX-License-Identifier: Apache-2.0 */
/* Plays a scene in every way within its bounds.
 *
 * An execution is the list of its choices.  The first takes way 0 everywhere;
 * each further one repeats the last up to the last choice that has a way left
 * and takes that, until none has.  Running on without a switch is way 0, so
 * the bound on preemptions is met by counting the others.
 *
 *   PROGRAM [--scene PART] [--preemptions N] [--deaths N] [--stale N]
 *           [--early N] [--spurious N] [--signals N]
 *           [--more N]      N preemptions more than each scene asks for
 *           [--seconds N]   for each scene: then it is cut short */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>

#include "explorer.h"

#define STACK_BYTES (256 * 1024)
#define LONGEST_TRAIL 4000
#define LONGEST_EXECUTION 3000 /* steps: then it does not end */
/* Shorter parks are the naps of one who heard a bell and waits for the proof
 * (or gives up soon): no harm if nobody ends them. */
#define SHORTEST_BOUND_NS INT64_C(10000000)
#define MOST_BOUNDS 12         /* parks that time out in a row without an end */

typedef struct {
    uint16_t taken, ways;
} choice;

typedef struct {
    const char *what;
    const void *at;
    uint64_t value;
    int who;
} event;

typedef struct {
    uint64_t executions, steps, deaths, bounds;
    int longest;
} tally;

actor model_actors[MODEL_ACTORS];
const model_scene *model_now_playing;
model_bounds model_left;
int model_current = MODEL_NOBODY;

/* Thread-local variables of the core: preamble.h puts them between these. */
static char never_empty[8] __attribute__((section("model_local"), used));
extern char __start_model_local[], __stop_model_local[];
#define LOCAL_BYTES 4096
static char locals[MODEL_ACTORS][LOCAL_BYTES];

static jmp_buf resume_at[MODEL_ACTORS], begin_at[MODEL_ACTORS], director;
static ucontext_t first_contexts[MODEL_ACTORS], first_director;
static choice trail[LONGEST_TRAIL];
static int trail_length, trail_at;
static event events[LONGEST_EXECUTION + 64];
static int event_count, steps, bounds_in_a_row;
static tally total;

/* --- reporting --------------------------------------------------------------- */

static void
print_events(void)
{
    for (int i = 0; i < event_count; i++) {
        const event *it = &events[i];
        printf("  %4d  ", i);
        if (it->who == MODEL_NOBODY) {
            printf("-  ");
        } else {
            printf("%c  ", 'A' + it->who);
        }
        if (it->at != NULL && memory_holds(it->at)) {
            printf("%-24s +%-4td %#llx\n", it->what,
                   (const unsigned char *)it->at - model_arena, (unsigned long long)it->value);
        } else {
            printf("%-24s       %#llx\n", it->what, (unsigned long long)it->value);
        }
    }
}

void
model_violated(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("BAD %s: ", model_now_playing->name);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n  in execution %llu:\n", (unsigned long long)total.executions + 1);
    print_events();
    fflush(stdout);
    _Exit(1);
}

void
model_trace(const char *what, const void *at, uint64_t value)
{
    if (event_count < (int)(sizeof events / sizeof *events)) {
        events[event_count++] = (event){what, at, value, model_current};
    }
}

/* --- choices ----------------------------------------------------------------- */

int
model_choose(int count)
{
    if (count <= 1) {
        return 0;
    }
    if (trail_at == trail_length) {
        model_check(trail_length < LONGEST_TRAIL, "more than %d choices", LONGEST_TRAIL);
        trail[trail_length++] = (choice){0, (uint16_t)count};
    }
    choice *it = &trail[trail_at++];
    if (it->ways != count) {
        model_violated("the scene is not the same twice: %d ways, then %d", it->ways, count);
    }
    return it->taken;
}

/* The next execution's choices; false when there is none. */
static bool
next_trail(void)
{
    while (trail_length > 0) {
        choice *last = &trail[trail_length - 1];
        if (++last->taken < last->ways) {
            return true;
        }
        trail_length--;
    }
    return false;
}

/* --- whose turn it is ---------------------------------------------------------- */

typedef enum { RUN, DIE, RITES, TIME_OUT, INTERRUPT } turn_kind;
typedef struct {
    turn_kind kind;
    int who;
} turn;

static void
add_turns_of_others(turn *turns, int *count, bool may_run)
{
    int actors = model_now_playing->actors;
    for (int i = 0; i < actors; i++) {
        if (model_actors[i].state == ACTOR_READY && !(may_run && i == model_current)) {
            turns[(*count)++] = (turn){RUN, i};
        }
    }
    for (int i = 0, pending = kernel_pending(); i < pending; i++) {
        turns[(*count)++] = (turn){RITES, i};
    }
    for (int i = 0; i < actors; i++) {
        if (model_actors[i].state == ACTOR_PARKED && model_left.early > 0 &&
            model_actors[i].until != INT64_MAX) {
            turns[(*count)++] = (turn){TIME_OUT, i};
        }
        if (model_actors[i].state == ACTOR_PARKED && model_left.signals > 0) {
            turns[(*count)++] = (turn){INTERRUPT, i};
        }
    }
}

static void
kill_actor(int who)
{
    model_left.deaths--;
    total.deaths++;
    model_trace("dies before", NULL, 0);
    events[event_count - 1].what = model_actors[who].pending;
    model_trace("^ is killed before that", NULL, 0);
    kernel_died(who);
    bounds_in_a_row = 0;
    if (model_now_playing->died != NULL) {
        int saved = model_current;
        model_current = MODEL_NOBODY;
        model_now_playing->died(who);
        model_current = saved;
    }
}

/* Everybody waits: time passes.  False: nobody is left. */
static bool
let_time_pass(void)
{
    int first = MODEL_NOBODY;
    for (int i = 0; i < model_now_playing->actors; i++) {
        if (model_actors[i].state == ACTOR_PARKED &&
            (first == MODEL_NOBODY || model_actors[i].until < model_actors[first].until)) {
            first = i;
        }
    }
    if (first == MODEL_NOBODY) {
        return false;
    }
    const actor *it = &model_actors[first];
    bool nap = it->until - model_time() < SHORTEST_BOUND_NS && model_deaths() > 0;
    if (!nap) {
        int saved = model_current;
        model_current = MODEL_NOBODY;
        bool allowed = model_now_playing->may_need_bound != NULL &&
                       model_now_playing->may_need_bound();
        model_current = saved;
        model_check(allowed, "everybody is parked, and only the bound of a park would go on");
        total.bounds++;
    }
    model_check(it->until != INT64_MAX, "everybody is parked for ever");
    model_check(++bounds_in_a_row <= MOST_BOUNDS, "time passes and nothing comes of it");
    kernel_wake_by(first, IPS_ETIMEOUT);
    model_trace("(its park times out)", NULL, (uint64_t)first);
    return true;
}

static bool
can_die(int who)
{
    return model_left.deaths > 0 && (model_now_playing->immortal >> who & 1) == 0;
}

/* Who goes on?  MODEL_NOBODY: all have ended or died. */
static int
decide(bool may_run)
{
    for (;;) {
        turn turns[4 * MODEL_ACTORS + 2];
        int count = 0;
        if (may_run) {
            turns[count++] = (turn){RUN, model_current};
            if (can_die(model_current)) {
                turns[count++] = (turn){DIE, model_current};
            }
        }
        if (!may_run || model_left.preemptions > 0) {
            add_turns_of_others(turns, &count, may_run);
        }
        if (count == 0) {
            if (!let_time_pass()) {
                return MODEL_NOBODY;
            }
            continue;
        }
        turn it = turns[model_choose(count)];
        if (may_run && it.kind != DIE && !(it.kind == RUN && it.who == model_current)) {
            model_left.preemptions--;
        }
        switch (it.kind) {
        case RUN:
            return it.who;
        case DIE:
            kill_actor(it.who);
            may_run = false;
            break;
        case RITES:
            kernel_advance(it.who);
            break;
        case TIME_OUT:
            model_left.early--;
            kernel_wake_by(it.who, IPS_ETIMEOUT);
            model_trace("(times out early)", NULL, (uint64_t)it.who);
            break;
        case INTERRUPT:
            model_left.signals--;
            kernel_wake_by(it.who, IPS_EINTR);
            model_trace("(gets a signal)", NULL, (uint64_t)it.who);
            break;
        }
    }
}

static size_t
local_bytes(void)
{
    return (size_t)(__stop_model_local - __start_model_local);
}

static _Noreturn void
go_to(int who)
{
    if (model_current != MODEL_NOBODY) {
        memcpy(locals[model_current], __start_model_local, local_bytes());
    }
    if (who != MODEL_NOBODY) {
        memcpy(__start_model_local, locals[who], local_bytes());
    }
    if (who == MODEL_NOBODY) {
        _longjmp(director, 1);
    }
    model_current = who;
    _longjmp(resume_at[who], 1);
}

static void
pass_turn(bool may_run)
{
    int self = model_current;
    int next = decide(may_run);
    if (next != self && _setjmp(resume_at[self]) == 0) {
        go_to(next);
    }
}

void
model_step(const char *what, const void *at)
{
    (void)at;
    model_check(++steps < LONGEST_EXECUTION, "does not end");
    model_actors[model_current].pending = what;
    pass_turn(true);
}

void
model_step_alone(const char *what, const void *at)
{
    (void)at;
    model_check(++steps < LONGEST_EXECUTION, "does not end");
    int self = model_current;
    model_actors[self].pending = what;
    if (can_die(self) && model_choose(2) == 1) {
        kill_actor(self);
        go_to(decide(false));
    }
}

void
model_block(void)
{
    int self = model_current;
    pass_turn(false);
    model_actors[self].pending = "come back from a park";
    if (can_die(self) && model_choose(2) == 1) {
        kill_actor(self);
        go_to(decide(false));
    }
}

/* --- one execution --------------------------------------------------------------- */

static void
live(int self)
{
    if (_setjmp(begin_at[self]) == 0) {
        swapcontext(&first_contexts[self], &first_director);
    }
    model_now_playing->act(model_current);
    model_actors[model_current].pending = "nothing more";
    model_actors[model_current].state = ACTOR_ENDED;
    bounds_in_a_row = 0;
    go_to(decide(false));
}

static void
give_stacks(void)
{
    for (int i = 0; i < MODEL_ACTORS; i++) {
        getcontext(&first_contexts[i]);
        first_contexts[i].uc_stack.ss_sp = malloc(STACK_BYTES);
        first_contexts[i].uc_stack.ss_size = STACK_BYTES;
        makecontext(&first_contexts[i], (void (*)(void))live, 1, i);
        swapcontext(&first_director, &first_contexts[i]);
    }
}

static void
play(void)
{
    const model_scene *scene = model_now_playing;
    trail_at = event_count = steps = bounds_in_a_row = 0;
    model_left = scene->bounds;
    memory_reset();
    kernel_reset();
    memset(model_arena, 0, sizeof model_arena);
    memset(__start_model_local, 0, local_bytes());
    memset(locals, 0, sizeof locals);
    for (int i = 0; i < scene->actors; i++) {
        model_actors[i] = (actor){.state = ACTOR_READY, .pending = "begin"};
        memcpy(&resume_at[i], &begin_at[i], sizeof resume_at[i]);
    }
    model_current = MODEL_NOBODY;
    scene->prepare();
    if (_setjmp(director) == 0) {
        go_to(decide(false));
    }
    model_current = MODEL_NOBODY;
    scene->finish();
    total.executions++;
    total.steps += (uint64_t)steps;
    total.longest = steps > total.longest ? steps : total.longest;
}

int
model_scene_actors(void)
{
    return model_now_playing->actors;
}

bool
model_is_dead(int who)
{
    return model_actors[who].state == ACTOR_DEAD;
}

bool
model_has_ended(int who)
{
    return model_actors[who].state == ACTOR_ENDED;
}

int
model_deaths(void)
{
    return model_now_playing->bounds.deaths - model_left.deaths;
}

const char *
model_last_words(int who)
{
    return model_actors[who].pending;
}

static double
seconds(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

/* True if every execution within the bounds was played. */
static bool
explore(const model_scene *scene, double limit)
{
    model_now_playing = scene;
    trail_length = 0;
    total = (tally){0};
    double start = seconds();
    bool more = true;
    while (more && (total.executions % 1024 != 0 || limit == 0 || seconds() - start < limit)) {
        play();
        more = next_trail();
    }
    printf("%s %s: %llu executions, %llu steps, %llu deaths, %llu bounds needed, %.2f s\n",
           more ? "cut short" : "ok", scene->name, (unsigned long long)total.executions,
           (unsigned long long)total.steps, (unsigned long long)total.deaths,
           (unsigned long long)total.bounds, seconds() - start);
    fflush(stdout);
    return !more;
}

/* --- the command line --------------------------------------------------------------- */

static int
number_after(int count, char **words, const char *name, int usual)
{
    for (int i = 1; i + 1 < count; i++) {
        if (strcmp(words[i], name) == 0) {
            return atoi(words[i + 1]);
        }
    }
    return usual;
}

static const char *
word_after(int count, char **words, const char *name)
{
    for (int i = 1; i + 1 < count; i++) {
        if (strcmp(words[i], name) == 0) {
            return words[i + 1];
        }
    }
    return NULL;
}

int
main(int count, char **words)
{
    if (local_bytes() > LOCAL_BYTES) {
        printf("more than %d bytes of thread-local variables\n", LOCAL_BYTES);
        return 2;
    }
    give_stacks();
    const char *wanted = word_after(count, words, "--scene");
    int limit = number_after(count, words, "--seconds", 0);
    int played = 0;
    bool whole = true;
    for (int i = 0; i < model_scene_count; i++) {
        model_scene scene = model_scenes[i];
        if (wanted != NULL && strstr(scene.name, wanted) == NULL) {
            continue;
        }
        model_bounds *bounds = &scene.bounds;
        bounds->preemptions = number_after(count, words, "--preemptions", bounds->preemptions) +
                              number_after(count, words, "--more", 0);
        bounds->deaths = number_after(count, words, "--deaths", bounds->deaths);
        bounds->stale = number_after(count, words, "--stale", bounds->stale);
        bounds->early = number_after(count, words, "--early", bounds->early);
        bounds->spurious = number_after(count, words, "--spurious", bounds->spurious);
        bounds->signals = number_after(count, words, "--signals", bounds->signals);
        whole = explore(&scene, limit) && whole;
        played++;
    }
    if (played == 0) {
        printf("no such scene\n");
        return 2;
    }
    return whole || limit != 0 ? 0 : 3;
}
