/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs about the wide primitives share: one of them in a body that
 * forked children see, and children that are killed. */
#ifndef TESTS_SYNC_SCENE_H
#define TESTS_SYNC_SCENE_H

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "member/space.h"
#include "os/clock.h"
#include "os/process.h"
#include "sync/wide.h"

#define CHECK(condition)                                                             \
    do {                                                                             \
        if (!(condition)) {                                                          \
            fprintf(stderr, "%s:%d: failed: %s (note: %s)\n", __FILE__, __LINE__,    \
                    #condition, ips_last_note()->detail);                            \
            exit(1);                                                                 \
        }                                                                            \
    } while (0)

#define BODY 4096
#define SOON INT64_C(10000000000)

typedef struct {
    _Alignas(64) uint8_t body[BODY];
    _Atomic uint32_t step; /* what the children tell */
} stage;

static ips_space *space;
static stage *shared;
static ips_wide wide;

static inline void
open_stage(const char *name)
{
    char folder[256];
    const char *root = getenv("IPCSYS_DIR");
    (void)snprintf(folder, sizeof folder, "%s/%s-%d", root == NULL ? "/dev/shm" : root, name,
                   (int)getpid());
    (void)alarm(100);
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* before any fork */
    CHECK(ips_space_join(folder, &space) == 0);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
}

/* Nothing on it, and `wide` is its body. */
static inline void
clear_stage(void)
{
    memset(shared, 0, sizeof *shared);
    wide = (ips_wide){.shm = shared->body, .capacity = BODY, .name = "test", .reach = BODY};
}

static inline void
report(const char *line, void *context)
{
    (void)context;
    fprintf(stderr, "%s\n", line);
}

static inline int64_t
in_ms(int64_t ms)
{
    return ips_now() + ms * 1000000;
}

static inline void
finish(pid_t pid)
{
    CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
}

static inline void *
kill_soon(void *pid)
{
    ips_sleep_until(in_ms(30));
    CHECK(kill((pid_t)(intptr_t)pid, SIGKILL) == 0);
    return NULL;
}

#endif
