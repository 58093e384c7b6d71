/* SPDX-License-Identifier: Apache-2.0 */
/* A word that many processes change without a lock: a signed 64-bit integer, a
 * double or a truth value, and who waits for it to change.
 *
 *   0   value     8   AtomicInt: two's complement, arithmetic wraps;
 *                     AtomicFloat: the bits of a double; AtomicBool: 0 or 1
 *   8   changed   4   event count (sync/eventcount.h) of those who wait
 *   12  reserved  4
 *
 * It is the beginning of a cell (segment/cells.h) or of a stable cell of a
 * segment, whose memory never serves anything but words of its type.  Anyone
 * writes the value, by one instruction; every access is seq_cst, so that all
 * processes agree on one order of all changes and a Python program may use
 * one word to publish what it wrote before elsewhere (each access pairs
 * with every other).  No journal covers it: a transaction that is undone
 * leaves it as it is, else it would erase what others have added meanwhile.
 * A death leaves the value before or after the instruction; who is killed
 * between a change and its notification leaves waiters asleep until their
 * bound, when they look again.
 *
 * Changes tell nobody: whoever wants to wake those who wait says so
 * (ips_atomic_notify), as with std::atomic. */
#ifndef IPS_DATA_ATOMIC_H
#define IPS_DATA_ATOMIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "sync/eventcount.h"

typedef struct {
    _Atomic int64_t value;
    ips_eventcount_shm changed;
    uint32_t reserved;
} ips_atomic_shm;

_Static_assert(sizeof(ips_atomic_shm) == 16, "byte map above");
_Static_assert(offsetof(ips_atomic_shm, changed) == 8, "byte map above");

/* In all of them, seq_cst pairs with every other access, as said above. */

static inline int64_t
ips_atomic_load(ips_atomic_shm *word)
{
    return atomic_load_explicit(&word->value, memory_order_seq_cst); /* pairs with: see above */
}

static inline void
ips_atomic_store(ips_atomic_shm *word, int64_t value)
{
    atomic_store_explicit(&word->value, value, memory_order_seq_cst); /* pairs with: see above */
}

static inline int64_t
ips_atomic_exchange(ips_atomic_shm *word, int64_t value)
{
    /* pairs with: see above */
    return atomic_exchange_explicit(&word->value, value, memory_order_seq_cst);
}

static inline bool
ips_atomic_compare_exchange(ips_atomic_shm *word, int64_t *expected, int64_t desired)
{
    /* pairs with: see above */
    return atomic_compare_exchange_strong_explicit(&word->value, expected, desired,
        memory_order_seq_cst, memory_order_seq_cst);
}

/* The value before; C11 atomics wrap around silently. */
static inline int64_t
ips_atomic_fetch_add(ips_atomic_shm *word, int64_t amount)
{
    /* pairs with: see above */
    return atomic_fetch_add_explicit(&word->value, amount, memory_order_seq_cst);
}

static inline int64_t
ips_atomic_fetch_and(ips_atomic_shm *word, int64_t bits)
{
    /* pairs with: see above */
    return atomic_fetch_and_explicit(&word->value, bits, memory_order_seq_cst);
}

static inline int64_t
ips_atomic_fetch_or(ips_atomic_shm *word, int64_t bits)
{
    /* pairs with: see above */
    return atomic_fetch_or_explicit(&word->value, bits, memory_order_seq_cst);
}

static inline int64_t
ips_atomic_fetch_xor(ips_atomic_shm *word, int64_t bits)
{
    /* pairs with: see above */
    return atomic_fetch_xor_explicit(&word->value, bits, memory_order_seq_cst);
}

static inline double
ips_atomic_as_double(int64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline int64_t
ips_atomic_of_double(double value)
{
    int64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* When a value is the expected one: integers and truth values by their bits,
 * doubles as numbers (0.0 is -0.0), and not-a-number is itself. */
typedef bool (*ips_atomic_same)(int64_t value, int64_t expected);
bool ips_atomic_same_word(int64_t value, int64_t expected);
bool ips_atomic_same_double(int64_t value, int64_t expected);

/* Wait while the value is the expected one: 0 once it is another, also where it
 * has come back since it was seen; IPS_ETIMEOUT, IPS_EINTR.  May park: call it
 * without the GIL. */
IPS_MUST_CHECK int ips_atomic_wait(ips_atomic_shm *word, ips_space *space, ips_atomic_same same,
    int64_t expected, int64_t deadline);

/* Have at most `count` of those who wait look again, and all event loops. */
void ips_atomic_notify(ips_atomic_shm *word, int count);

#endif
