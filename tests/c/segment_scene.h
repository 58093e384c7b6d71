/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs about segments share. */
#ifndef TESTS_SEGMENT_SCENE_H
#define TESTS_SEGMENT_SCENE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "member/space.h"
#include "os/clock.h"
#include "segment/segment.h"

#define KIB UINT64_C(1024)
#define MIB (UINT64_C(1024) * 1024)

#define CHECK(condition)                                                             \
    do {                                                                             \
        if (!(condition)) {                                                          \
            fprintf(stderr, "%s:%d: failed: %s (note: %s)\n", __FILE__, __LINE__,    \
                    #condition, ips_last_note()->detail);                            \
            exit(1);                                                                 \
        }                                                                            \
    } while (0)

static ips_space *space;

static inline void
join_test_space(void)
{
    static char folder[256];
    const char *root = getenv("IPCSYS_DIR");
    CHECK(root != NULL);
    snprintf(folder, sizeof folder, "%s/segments", root);
    CHECK(ips_space_join(folder, &space) == 0);
}

static inline ips_segment *
open_segment(const char *name, uint64_t size, uint64_t max_size)
{
    ips_segment *segment;
    bool created;
    CHECK(ips_segment_open(space, name, IPS_OPEN_OR_CREATE, size, max_size, false, &segment,
                           &created) == 0);
    return segment;
}

static inline void
begin(ips_segment *segment)
{
    CHECK(ips_tx_begin(segment, IPS_FOREVER) == 0);
}

static inline void
commit(ips_segment *segment)
{
    CHECK(ips_tx_commit(segment) == 0);
}

static inline void
print_line(const char *line, void *context)
{
    (void)context;
    fprintf(stderr, "%s\n", line);
}

static inline void
check_sound(ips_segment *segment)
{
    CHECK(ips_segment_check(segment, IPS_FOREVER, print_line, NULL) == 0);
}

static inline ips_segment_stats
stats_of(ips_segment *segment)
{
    ips_segment_stats stats;
    CHECK(ips_segment_stats_of(segment, &stats) == 0);
    return stats;
}

/* A random sequence that every run repeats. */
static inline uint64_t
draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

#endif
