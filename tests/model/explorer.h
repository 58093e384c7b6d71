/* SPDX-License-Identifier: Apache-2.0 */
/* Between the parts of the explorer; scenes see only model.h. */
#ifndef MODEL_EXPLORER_H
#define MODEL_EXPLORER_H

#include "model.h"

enum { MODEL_NOBODY = -1 };
#define MODEL_WORDS 8

typedef enum { ACTOR_READY, ACTOR_PARKED, ACTOR_ENDED, ACTOR_DEAD } actor_state;

typedef struct {
    actor_state state;
    const char *pending;    /* what it is about to do */
    const void *at[MODEL_WORDS]; /* it stands in these queues of the kernel's */
    int words;
    int64_t until;
    uint64_t queued;        /* order of arrival at the futex */
    int outcome;            /* what its park returns */
} actor;

extern actor model_actors[MODEL_ACTORS];
extern const model_scene *model_now_playing;
extern model_bounds model_left;  /* of this execution */
extern int model_current;        /* MODEL_NOBODY outside actors */

/* One of `count` ways; 0 is the usual one. */
int model_choose(int count);
/* The current actor is about to do `what` to `at`: others may go first, and it
 * may die here. */
void model_step(const char *what, const void *at);
/* As model_step where only a death makes a difference. */
void model_step_alone(const char *what, const void *at);
/* The current actor sleeps; returns when it may go on. */
void model_block(void);
void model_trace(const char *what, const void *at, uint64_t value);

/* memory.c */
typedef enum { PLAIN_READ, PLAIN_WRITE } plain_kind;
void memory_reset(void);
bool memory_holds(const volatile void *at);
uint64_t memory_load(const volatile void *at, int size, int order);
void memory_store(volatile void *at, int size, uint64_t value, int order);
typedef uint64_t (*memory_change)(uint64_t old, uint64_t operand);
uint64_t memory_update(volatile void *at, int size, memory_change change, uint64_t operand,
                       int order);
bool memory_swap(volatile void *at, int size, uint64_t *expected, uint64_t wanted, int order,
                 int failure_order);
void memory_fence(int order);
void memory_plain(const volatile void *at, int size, plain_kind kind);
uint64_t memory_newest(const volatile void *at, int size); /* for the kernel's compare */
void memory_bury(int who); /* what the dead stored is there for all who prove it */
void memory_mourn(void);   /* the current actor has proof of a death */

/* kernel.c */
void kernel_reset(void);
void kernel_died(int who);
int kernel_pending(void);        /* what the kernel has still to do about deaths */
void kernel_advance(int which);  /* one of them */
void kernel_wake_by(int who, int outcome);

#endif
