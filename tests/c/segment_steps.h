/* SPDX-License-Identifier: Apache-2.0 */
/* A segment after every single store of an operation: a child keeps an image of
 * each state that a death could leave, to be laid into another file. */
#ifndef TESTS_SEGMENT_STEPS_H
#define TESTS_SEGMENT_STEPS_H

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "segment/handle.h"

#include "segment_scene.h"

#define SIZE (64 * KIB)
#define MOST (512 * KIB)
#define KEPT 2000 /* images of one operation, at most; the changes after them are not seen */

/* --- images */

static uint64_t
image_size(const ips_segment *segment)
{
    return segment->shm->top;
}

/* As a killed process leaves it: the lock's holder is gone, so it is free. */
static void
load_image(ips_segment *target, const uint8_t *image, uint64_t size)
{
    CHECK(ips_object_grow(target->object, size) == 0);
    memcpy(target->base + IPS_SEGMENT_AT, image + IPS_SEGMENT_AT, size - IPS_SEGMENT_AT);
    atomic_store_explicit(&target->shm->lock.word, 0, memory_order_relaxed);
}

/* --- stepping: in the child the segment is write-protected; each store to it
 * faults, is let through alone with the CPU's trap flag set, and noted */

typedef void (*operation)(ips_segment *segment);

/* Shared with the child: images of the segment, one for each change. */
typedef struct {
    int count;
    uint64_t sizes[KEPT];
    uint8_t images[KEPT][MOST]; /* touched as far as used */
} album;

static album *shots;
static ips_segment *stepped;
static bool unseen; /* an operation's own word: no images of what comes now */

static void
protect(int protection)
{
    if (mprotect(stepped->base, stepped->object->max_size, protection) != 0) {
        _exit(4);
    }
}

static void
set_trap_flag(void *context, bool on)
{
#if defined(__x86_64__)
    greg_t *flags = &((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL];
    *flags = on ? *flags | 0x100 : *flags & ~0x100;
#else
#error "this program lets single stores through with the trap flag of x86-64"
#endif
}

static void
let_one_store_through(int signal_number, siginfo_t *info, void *context)
{
    (void)signal_number;
    uint8_t *at = info->si_addr;
    if (at < stepped->base || at >= stepped->base + stepped->object->max_size) {
        _exit(5);
    }
    protect(PROT_READ | PROT_WRITE);
    set_trap_flag(context, true);
}

static void
note_change(int signal_number, siginfo_t *info, void *context)
{
    (void)signal_number;
    (void)info;
    set_trap_flag(context, false);
    protect(PROT_READ);
    uint64_t size = image_size(stepped);
    const uint8_t *last = shots->images[shots->count];
    if (!unseen && shots->count + 1 < KEPT && memcmp(last, stepped->base, size) != 0) {
        if (size > MOST) {
            _exit(3);
        }
        shots->count++;
        shots->sizes[shots->count] = size;
        memcpy(shots->images[shots->count], stepped->base, size);
    }
}

/* Run `operate` in a child and take an image at each change, in shots[1..]. */
static void
step_through(ips_segment *segment, operation operate)
{
    shots->count = 0;
    memcpy(shots->images[0], segment->base, image_size(segment));
    pid_t child = fork();
    if (child == 0) {
        struct sigaction fault = {.sa_sigaction = let_one_store_through, .sa_flags = SA_SIGINFO};
        struct sigaction trap = {.sa_sigaction = note_change, .sa_flags = SA_SIGINFO};
        CHECK(ips_space_self(space) != IPS_NOBODY);
        CHECK(sigaction(SIGSEGV, &fault, NULL) == 0 && sigaction(SIGTRAP, &trap, NULL) == 0);
        stepped = segment;
        protect(PROT_READ);
        operate(segment);
        protect(PROT_READ | PROT_WRITE);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

#endif
