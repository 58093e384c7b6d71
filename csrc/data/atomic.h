/* SPDX-License-Identifier: Apache-2.0 */
/* A signed 64-bit integer that many processes change without a lock.
 *
 *   0   value   8   two's complement; arithmetic wraps
 *
 * It is the first word of a cell (segment/cells.h) or of a stable cell of a
 * segment, whose memory never serves anything but such integers.  Anyone
 * writes it, by one instruction; every access is seq_cst, so that all
 * processes agree on one order of all changes and a Python program may use
 * one integer to publish what it wrote before elsewhere (each access pairs
 * with every other).  No journal covers it: a transaction that is undone
 * leaves it as it is, else it would erase what others have added meanwhile.
 * A death leaves the value before or after the instruction. */
#ifndef IPS_DATA_ATOMIC_H
#define IPS_DATA_ATOMIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    _Atomic int64_t value;
} ips_atomic_int_shm;

_Static_assert(sizeof(ips_atomic_int_shm) == 8, "byte map above");

/* In all of them, seq_cst pairs with every other access, as said above. */

static inline int64_t
ips_atomic_int_load(ips_atomic_int_shm *word)
{
    return atomic_load_explicit(&word->value, memory_order_seq_cst); /* pairs with: see above */
}

static inline void
ips_atomic_int_store(ips_atomic_int_shm *word, int64_t value)
{
    atomic_store_explicit(&word->value, value, memory_order_seq_cst); /* pairs with: see above */
}

/* The value before; C11 atomics wrap around silently. */
static inline int64_t
ips_atomic_int_fetch_add(ips_atomic_int_shm *word, int64_t amount)
{
    /* pairs with: see above */
    return atomic_fetch_add_explicit(&word->value, amount, memory_order_seq_cst);
}

static inline int64_t
ips_atomic_int_exchange(ips_atomic_int_shm *word, int64_t value)
{
    /* pairs with: see above */
    return atomic_exchange_explicit(&word->value, value, memory_order_seq_cst);
}

static inline bool
ips_atomic_int_compare_exchange(ips_atomic_int_shm *word, int64_t expected, int64_t desired)
{
    /* pairs with: see above */
    return atomic_compare_exchange_strong_explicit(&word->value, &expected, desired,
        memory_order_seq_cst, memory_order_seq_cst);
}

#endif
