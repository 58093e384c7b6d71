/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic on numbers that a peer may have written. */
#ifndef IPS_BASE_CHECKED_H
#define IPS_BASE_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

/* True if [offset, offset + size) lies within [0, limit). */
static inline bool
ips_within(uint64_t offset, uint64_t size, uint64_t limit)
{
    return offset <= limit && size <= limit - offset;
}

static inline uint64_t
ips_align_up(uint64_t value, uint64_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

static inline bool
ips_is_power_of_two(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

#endif
