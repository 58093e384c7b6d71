/* SPDX-License-Identifier: Apache-2.0 */
/* Put before every source of the core that is explored (-include).
 *
 * The system's headers come first, since they ask what machine this is.  Then,
 * unless the machine is to be an x86, the core is told that it is not: it
 * takes its portable branches, such as the full fence of
 * ips_fence_after_rmw() that an x86 does without.  Thread-local variables are
 * gathered in one place. */
#ifndef MODEL_PREAMBLE_H
#define MODEL_PREAMBLE_H

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

#ifndef MODEL_X86
#undef __x86_64__
#endif

/* The actors are one thread: explorer.c gives each its own copy. */
#define _Thread_local __attribute__((section("model_local")))

#endif
