/* SPDX-License-Identifier: Apache-2.0 */
/* All interleavings of the real csrc/sync/ sources, deaths included.
 *
 * The sources are compiled with -fsanitize=thread and linked not with that
 * sanitizer's library but with stubs.c, so each atomic access is a call into
 * the explorer.  csrc/os/ and csrc/member/ are replaced by kernel.c.  Actors
 * are coroutines; whatever could go two ways is a numbered choice, and
 * explorer.c runs a scene again and again until every sequence of choices
 * within the bounds has been played.
 *
 *   explorer.c  choices, coroutines, traces, the command line
 *   memory.c    what a load may return
 *   kernel.c    futexes, clock, members and their deaths
 *   stubs.c     what the compiler calls
 *   *_model.c   scenes: what the actors do and what must hold */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/owner.h"
#include "member/space.h"

#define MODEL_ACTORS 7
#define MODEL_ARENA 4096

/* How much of each kind of bad luck one execution may hold. */
typedef struct {
    int preemptions; /* a running actor has to make way for another */
    int deaths;      /* a member is killed */
    int stale;       /* a load returns an older value although memory has a newer one */
    int early;       /* a park times out although somebody could still run */
    int spurious;    /* a park returns at once for no reason */
    int signals;     /* a park is ended by a signal handler */
} model_bounds;

typedef struct {
    const char *name;
    int actors;
    model_bounds bounds;
    uint32_t immortal;      /* bits of actors that are not killed */
    uint32_t together;      /* bits of actors that are threads of one member */
    bool no_bells;          /* as where the kernel has no robust list */
    void (*prepare)(void);  /* the arena is all zero before it */
    void (*act)(int me);
    void (*died)(int who);  /* optional: an actor has just been killed */
    /* Everybody is parked and no death was proven or rung since: true if the
     * design lets the bound of a park end this.  Absent: never. */
    bool (*may_need_bound)(void);
    void (*finish)(void);   /* all have ended or died */
} model_scene;

extern const model_scene model_scenes[];
extern const int model_scene_count;

/* The shared memory: what lies here is what the memory model is about. */
extern unsigned char model_arena[MODEL_ARENA];

ips_space *model_space(void);
ips_owner model_owner(int actor);
/* In prepare() and finish(): what follows is done as this actor. */
void model_act_as(int actor);
int model_scene_actors(void);
bool model_is_dead(int actor);
bool model_has_ended(int actor);
int model_deaths(void);
/* What a killed actor was about to do: the name of the operation. */
const char *model_last_words(int actor);
int64_t model_time(void);
/* Does somebody park on this word? */
bool model_parks_on(const void *word);

#define model_check(condition, ...)     \
    do {                                \
        if (!(condition)) {             \
            model_violated(__VA_ARGS__); \
        }                               \
    } while (0)
_Noreturn void model_violated(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
