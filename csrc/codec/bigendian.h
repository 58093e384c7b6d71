/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers in network order, 1, 2, 4 or 8 bytes wide.  The widths are
 * constants where these are called, and each becomes two instructions. */
#ifndef IPS_CODEC_BIGENDIAN_H
#define IPS_CODEC_BIGENDIAN_H

#include <stdint.h>

static inline void
ips_big_store(uint8_t *at, uint64_t number, unsigned width)
{
    for (unsigned i = 0; i < width; i++) {
        at[i] = (uint8_t)(number >> (8 * (width - 1 - i)));
    }
}

/* Spelled out, because compilers see a swapped load only in this shape. */
static inline uint64_t
ips_big_load(const uint8_t *at, unsigned width)
{
    switch (width) {
    case 1:
        return at[0];
    case 2:
        return (uint64_t)at[0] << 8 | at[1];
    case 4:
        return (uint64_t)at[0] << 24 | (uint64_t)at[1] << 16 | (uint64_t)at[2] << 8 | at[3];
    default:
        return (uint64_t)at[0] << 56 | (uint64_t)at[1] << 48 | (uint64_t)at[2] << 40 |
               (uint64_t)at[3] << 32 | (uint64_t)at[4] << 24 | (uint64_t)at[5] << 16 |
               (uint64_t)at[6] << 8 | at[7];
    }
}

#endif
