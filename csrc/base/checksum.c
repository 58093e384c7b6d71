/* SPDX-License-Identifier: Apache-2.0 */
#include "base/checksum.h"

#include "base/atomics.h"

#define LANES 8u

/* Odd: digits of the square roots of 5 and of 7. */
#define STEP UINT64_C(0x3c6ef372fe94f82b)
#define LAST UINT64_C(0xa54ff53a5f1d36f1)

static inline uint64_t
turn(uint64_t word, unsigned bits)
{
    return word << bits | word >> (64 - bits);
}

/* One to one in `word` and in `lane`: a change in either is never lost. */
static inline uint64_t
mix(uint64_t lane, uint64_t word)
{
    return turn((lane ^ word) * STEP, 29);
}

uint64_t
ips_checksum(const void *at, size_t size)
{
    const uint64_t *words = at;
    uint64_t lanes[LANES];
    for (unsigned i = 0; i < LANES; i++) {
        lanes[i] = (i + 1) * LAST;
    }
    for (size_t left = size / 64; left != 0; left--, words += LANES) {
        /* Eight that do not wait for each other keep the multiplier busy. */
        for (unsigned i = 0; i < LANES; i++) {
            lanes[i] = mix(lanes[i], ips_peek(&words[i]));
        }
    }
    uint64_t sum = size * LAST;
    for (unsigned i = 0; i < LANES; i++) {
        sum = mix(sum, lanes[i]);
    }
    sum = (sum ^ sum >> 32) * LAST;
    return sum ^ sum >> 29;
}
