/* SPDX-License-Identifier: Apache-2.0 */
/* Parking on shared 32-bit words.  No call here outlives its deadline. */
#ifndef IPS_OS_FUTEX_H
#define IPS_OS_FUTEX_H

#include <stdint.h>

/* Park until woken, until *word != expected, until `deadline`, or until a
 * signal handler ran.  Returns 0 (woken or changed: look again), IPS_ETIMEOUT
 * or IPS_EINTR; notes nothing (all three are everyday news). */
int ips_futex_wait(const _Atomic uint32_t *word, uint32_t expected,
                   int64_t deadline);

/* The same on two words at once; either may wake us.  Where the kernel (or a
 * seccomp filter) has no futex_waitv, parks on the first word alone. */
int ips_futex_wait_two(const _Atomic uint32_t *first, uint32_t first_expected,
                       const _Atomic uint32_t *second, uint32_t second_expected,
                       int64_t deadline);

/* The same on up to IPS_FUTEX_MOST words.  Without futex_waitv, parks on the
 * first word alone. */
#define IPS_FUTEX_MOST 126u /* the kernel takes 128, two are for ips_futex_heed */
typedef struct {
    const _Atomic uint32_t *word;
    uint32_t expected;
} ips_futex_look;
int ips_futex_wait_many(const ips_futex_look *looks, uint32_t count, int64_t deadline);

/* Wake at most `count`; returns how many were woken. */
int ips_futex_wake(const _Atomic uint32_t *word, int count);

#define IPS_HEEDED_MOST 2u

/* From now on each park of this thread also ends, with IPS_EINTR, once one of
 * these words is not what was expected (whoever changes it wakes it too);
 * where there is no futex_waitv, at the end of the park.  `words` stays valid
 * until the next call; count 0 ends it. */
void ips_futex_heed(const ips_futex_look *words, uint32_t count);

#endif
