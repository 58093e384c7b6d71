/* SPDX-License-Identifier: Apache-2.0 */
/* What C11's <stdatomic.h> leaves out.  Everything else uses the _explicit
 * forms directly, each with its order and, in a comment, its partner. */
#ifndef IPS_BASE_ATOMICS_H
#define IPS_BASE_ATOMICS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "64-bit atomics must be lock-free");
_Static_assert(sizeof(_Atomic uint64_t) == 8, "an atomic word is just its word");
_Static_assert(sizeof(_Atomic uint32_t) == 4, "a futex word is just its word");

/* A hint to the sibling hyperthread while spinning. */
static inline void
ips_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb" ::: "memory");
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

/* Ask for the cache line at `at`, to be written soon; a hint.  The builtin asks
 * x86 for it only to be read unless the target is a recent one, although every
 * 64-bit processor takes the instruction. */
static inline void
ips_prefetch_to_write(const void *at)
{
#if defined(__x86_64__)
    __asm__ __volatile__("prefetchw %0" ::"m"(*(const char *)at));
#else
    __builtin_prefetch(at, 1);
#endif
}

/* Order an earlier seq_cst read-modify-write before later loads.  On x86 the
 * locked instruction has done so already (only the compiler is held back);
 * elsewhere, an RMW orders nothing after it and a full fence is needed.  Pairs
 * with the same on the other side; the caller names it. */
static inline void
ips_fence_after_rmw(void)
{
#if defined(__x86_64__)
    atomic_signal_fence(memory_order_seq_cst);
#else
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

/* One look at a plain shared word, for those who check it and use what they
 * checked: by rule only a lock's holder writes it, but a peer could be spoiling
 * it meanwhile, and a plain load may be made twice.  relaxed: the lock orders. */
static inline uint64_t
ips_peek(const uint64_t *word)
{
    return atomic_load_explicit((const _Atomic uint64_t *)word, memory_order_relaxed);
}

/* Copy out of shared bytes that a writer may be changing meanwhile: relaxed
 * word loads, so that the race is defined and only the values may be torn.
 * The caller validates a version afterwards (acquire fence between).
 * `source` is 8-aligned; `size` is any. */
static inline void
ips_copy_racing(void *target, const void *source, size_t size)
{
    const _Atomic uint64_t *from = (const _Atomic uint64_t *)source;
    unsigned char *to = (unsigned char *)target;
    /* Word by word all the way: loads wider than the stores that have just been
     * made here, or will be read there, would wait for them. */
    for (; size >= 32; size -= 32, to += 32, from += 4) {
        uint64_t first = atomic_load_explicit(&from[0], memory_order_relaxed);
        uint64_t second = atomic_load_explicit(&from[1], memory_order_relaxed);
        uint64_t third = atomic_load_explicit(&from[2], memory_order_relaxed);
        uint64_t fourth = atomic_load_explicit(&from[3], memory_order_relaxed);
        memcpy(to, &first, 8);
        memcpy(to + 8, &second, 8);
        memcpy(to + 16, &third, 8);
        memcpy(to + 24, &fourth, 8);
    }
    for (; size >= 8; size -= 8, to += 8, from++) {
        uint64_t word = atomic_load_explicit(from, memory_order_relaxed);
        memcpy(to, &word, 8);
    }
    if (size != 0) {
        uint64_t word = atomic_load_explicit(from, memory_order_relaxed);
        const unsigned char *rest = (const unsigned char *)&word;
        /* Of constant lengths: no call for the sake of a byte or two. */
        if ((size & 4) != 0) {
            memcpy(to, rest, 4);
            to += 4;
            rest += 4;
        }
        if ((size & 2) != 0) {
            memcpy(to, rest, 2);
            to += 2;
            rest += 2;
        }
        if ((size & 1) != 0) {
            *to = *rest;
        }
    }
}

#endif
