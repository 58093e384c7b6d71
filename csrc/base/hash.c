/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

/* Multiply to 128 bits and fold: one multiplication mixes all 64 bits both
 * ways, which a rotate-and-xor step needs several of. */
static inline uint64_t
fold(uint64_t a, uint64_t b)
{
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t
ips_hash(const void *bytes, size_t size)
{
    /* Odd constants: digits of the golden ratio and of sqrt(2) and sqrt(3). */
    const uint64_t phi = UINT64_C(0x9e3779b97f4a7c15);
    const uint64_t root2 = UINT64_C(0x6a09e667f3bcc909);
    const uint64_t root3 = UINT64_C(0xbb67ae8584caa73b);
    const unsigned char *at = bytes;
    uint64_t state = phi ^ (size * root2);
    size_t left = size;
    for (; left > 8; left -= 8, at += 8) {
        state = fold(state ^ ips_tail(at, 8, left), root3);
    }
    state = fold(state ^ ips_tail(at, left, size), root2);
    return fold(state ^ phi, root3);
}
