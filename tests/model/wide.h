/* SPDX-License-Identifier: Apache-2.0 */
/* A wide object in the arena, with a handle for each actor. */
#ifndef MODEL_WIDE_H
#define MODEL_WIDE_H

#include "model.h"
#include "sync/wide.h"

/* The body begins at 0 and ends here; scenes keep their own words behind it. */
#define MODEL_WIDE 2048

static ips_wide wides[MODEL_ACTORS];

static int
cannot_extend(ips_wide *wide, uint64_t bytes)
{
    (void)wide;
    return ips_fail(IPS_ENOSPACE, "%llu bytes", (unsigned long long)bytes);
}

/* Actor `who` opens the object. */
static inline ips_wide *
model_wide(int who)
{
    wides[who] = (ips_wide){.shm = model_arena, .capacity = MODEL_WIDE, .name = "it",
                            .reach = MODEL_WIDE, .extend = cannot_extend};
    return &wides[who];
}

#endif
