/* SPDX-License-Identifier: Apache-2.0 */
/* What gcc's -fsanitize=thread puts in the place of each access.  Outside the
 * arena, or outside an actor, an access is just done. */
#include <stdatomic.h>
#include <string.h>

#include "explorer.h"

typedef unsigned __int128 u128;

static uint64_t be(uint64_t old, uint64_t operand) { (void)old; return operand; }
static uint64_t plus(uint64_t old, uint64_t operand) { return old + operand; }
static uint64_t minus(uint64_t old, uint64_t operand) { return old - operand; }
static uint64_t both(uint64_t old, uint64_t operand) { return old & operand; }
static uint64_t either(uint64_t old, uint64_t operand) { return old | operand; }
static uint64_t differing(uint64_t old, uint64_t operand) { return old ^ operand; }

static bool
is_ours(const volatile void *at)
{
    return model_current != MODEL_NOBODY && memory_holds(at);
}

#define CHANGE(bits, name, change)                                                            \
    uint##bits##_t __tsan_atomic##bits##_##name(volatile uint##bits##_t *at,                  \
                                                uint##bits##_t operand, int order);          \
    uint##bits##_t                                                                            \
    __tsan_atomic##bits##_##name(volatile uint##bits##_t *at, uint##bits##_t operand,         \
                                 int order)                                                   \
    {                                                                                         \
        if (is_ours(at)) {                                                                    \
            return (uint##bits##_t)memory_update(at, bits / 8, change, operand, order);       \
        }                                                                                     \
        uint##bits##_t old = *at;                                                             \
        *at = (uint##bits##_t)change(old, operand);                                           \
        return old;                                                                           \
    }

#define SWAP(bits, strength)                                                                  \
    int __tsan_atomic##bits##_compare_exchange_##strength(                                    \
        volatile uint##bits##_t *at, uint##bits##_t *expected, uint##bits##_t wanted,         \
        int order, int failure_order);                                                        \
    int                                                                                       \
    __tsan_atomic##bits##_compare_exchange_##strength(                                        \
        volatile uint##bits##_t *at, uint##bits##_t *expected, uint##bits##_t wanted,         \
        int order, int failure_order)                                                         \
    {                                                                                         \
        if (is_ours(at)) {                                                                    \
            uint64_t wide = *expected;                                                        \
            bool done = memory_swap(at, bits / 8, &wide, wanted, order, failure_order);       \
            if (!done) {                                                                      \
                *expected = (uint##bits##_t)wide;                                             \
            }                                                                                 \
            return done;                                                                      \
        }                                                                                     \
        if (*at == *expected) {                                                               \
            *at = wanted;                                                                     \
            return 1;                                                                         \
        }                                                                                     \
        *expected = *at;                                                                      \
        return 0;                                                                             \
    }

#define ATOMICS(bits)                                                                         \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *at, int order);  \
    uint##bits##_t                                                                            \
    __tsan_atomic##bits##_load(const volatile uint##bits##_t *at, int order)                  \
    {                                                                                         \
        return is_ours(at) ? (uint##bits##_t)memory_load(at, bits / 8, order) : *at;          \
    }                                                                                         \
    void __tsan_atomic##bits##_store(volatile uint##bits##_t *at, uint##bits##_t value,       \
                                     int order);                                              \
    void                                                                                      \
    __tsan_atomic##bits##_store(volatile uint##bits##_t *at, uint##bits##_t value, int order) \
    {                                                                                         \
        if (is_ours(at)) {                                                                    \
            memory_store(at, bits / 8, value, order);                                         \
        } else {                                                                              \
            *at = value;                                                                      \
        }                                                                                     \
    }                                                                                         \
    CHANGE(bits, exchange, be)                                                                \
    CHANGE(bits, fetch_add, plus)                                                             \
    CHANGE(bits, fetch_sub, minus)                                                            \
    CHANGE(bits, fetch_and, both)                                                             \
    CHANGE(bits, fetch_or, either)                                                            \
    CHANGE(bits, fetch_xor, differing)                                                        \
    SWAP(bits, strong)                                                                        \
    SWAP(bits, weak)

ATOMICS(8)
ATOMICS(16)
ATOMICS(32)
ATOMICS(64)

#define PLAIN(name, size, kind)            \
    void __tsan_##name(void *at);          \
    void                                   \
    __tsan_##name(void *at)                \
    {                                      \
        if (is_ours(at)) {                 \
            memory_plain(at, size, kind);  \
        }                                  \
    }
#define PLAINS(size)                                   \
    PLAIN(read##size, size, PLAIN_READ)                \
    PLAIN(write##size, size, PLAIN_WRITE)              \
    PLAIN(unaligned_read##size, size, PLAIN_READ)      \
    PLAIN(unaligned_write##size, size, PLAIN_WRITE)

PLAINS(1)
PLAINS(2)
PLAINS(4)
PLAINS(8)

static void
no_ranges(const void *at)
{
    if (is_ours(at)) {
        model_violated("a plain access of more than 8 bytes to shared memory");
    }
}

void __tsan_read16(void *at);
void __tsan_read16(void *at) { no_ranges(at); }
void __tsan_write16(void *at);
void __tsan_write16(void *at) { no_ranges(at); }
void __tsan_unaligned_read16(void *at);
void __tsan_unaligned_read16(void *at) { no_ranges(at); }
void __tsan_unaligned_write16(void *at);
void __tsan_unaligned_write16(void *at) { no_ranges(at); }
void __tsan_read_range(void *at, unsigned long size);
void __tsan_read_range(void *at, unsigned long size) { (void)size; no_ranges(at); }
void __tsan_write_range(void *at, unsigned long size);
void __tsan_write_range(void *at, unsigned long size) { (void)size; no_ranges(at); }
void __tsan_func_entry(void *caller);
void __tsan_func_entry(void *caller) { (void)caller; }
void __tsan_func_exit(void);
void __tsan_func_exit(void) { }
void __tsan_init(void);
void __tsan_init(void) { }

void __tsan_atomic_thread_fence(int order);
void
__tsan_atomic_thread_fence(int order)
{
    if (model_current != MODEL_NOBODY) {
        if (order == memory_order_seq_cst) {
            model_step("fence", NULL);
        } else {
            model_step_alone("fence", NULL);
        }
        memory_fence(order);
        model_trace("fence", NULL, (uint64_t)order);
    }
}

void __tsan_atomic_signal_fence(int order);
void __tsan_atomic_signal_fence(int order) { (void)order; }
