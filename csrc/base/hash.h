/* SPDX-License-Identifier: Apache-2.0 */
/* A 64-bit hash for tables in shared memory: the same in every process and
 * on every machine, no protection against chosen collisions. */
#ifndef IPS_BASE_HASH_H
#define IPS_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

uint64_t ips_hash(const void *bytes, size_t size);

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define IPS_TO_FRONT(word, bits) ((word) >> (bits))
#define IPS_TO_BACK(word, bits) ((word) << (bits))
#define IPS_FIRST_BYTE(byte) ((uint64_t)(byte))
#else
#define IPS_TO_FRONT(word, bits) ((word) << (bits))
#define IPS_TO_BACK(word, bits) ((word) >> (bits))
#define IPS_FIRST_BYTE(byte) ((uint64_t)(byte) << 56)
#endif

/* A word as memory has it, without all but its first `count` (1 to 8) bytes. */
static inline uint64_t
ips_first_bytes(uint64_t word, size_t count)
{
    return IPS_TO_FRONT(IPS_TO_BACK(word, 64 - 8 * count), 64 - 8 * count);
}

/* The `left` (at most 8) bytes at `at` in front of a word, the rest 0: what
 * memcpy would do, without a call for the sake of a byte or two.  `size`
 * readable bytes end with them. */
static inline uint64_t
ips_tail(const unsigned char *at, size_t left, size_t size)
{
    uint64_t word = 0;
    if (left != 0 && size >= 8) {
        memcpy(&word, at + left - 8, 8);
        return IPS_TO_FRONT(word, 64 - 8 * left);
    }
    for (size_t i = 0; i < left; i++) {
        word |= IPS_TO_BACK(IPS_FIRST_BYTE(at[i]), 8 * i);
    }
    return word;
}

#endif
