/* SPDX-License-Identifier: Apache-2.0 */
#include "os/futex.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/status.h"
#include "os/clock.h"

/* futex_waitv came with Linux 5.16; build hosts may have older headers. */
#define FUTEX_WAITV_CALL 449
#define FUTEX_WORD_IS_U32 2

typedef struct {
    uint64_t value;
    uint64_t address;
    uint32_t flags;
    uint32_t reserved;
} waitv_entry;

static struct timespec
timespec_of(int64_t deadline)
{
    if (deadline < 0) {
        deadline = 0;
    }
    return (struct timespec){.tv_sec = deadline / 1000000000,
                             .tv_nsec = deadline % 1000000000};
}

static int
outcome_of(long result)
{
    if (result >= 0 || errno == EAGAIN) {
        return IPS_OK;
    }
    if (errno == ETIMEDOUT) {
        return IPS_ETIMEOUT;
    }
    if (errno == EINTR) {
        return IPS_EINTR;
    }
    return IPS_OK; /* a bad address would repeat; callers' loops are bounded */
}

int
ips_futex_wait(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
    struct timespec until = timespec_of(deadline);
    /* The bitset form takes an absolute CLOCK_MONOTONIC time. */
    long result = syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected,
                          deadline == IPS_FOREVER ? NULL : &until, NULL,
                          FUTEX_BITSET_MATCH_ANY);
    return outcome_of(result);
}

int
ips_futex_wait_many(const ips_futex_look *looks, uint32_t count, int64_t deadline)
{
    static _Atomic bool absent;
    /* relaxed: a late reader only tries the call once more. */
    if (count < 2 || atomic_load_explicit(&absent, memory_order_relaxed)) {
        return ips_futex_wait(looks[0].word, looks[0].expected, deadline);
    }
    waitv_entry entries[IPS_FUTEX_MOST];
    count = count < IPS_FUTEX_MOST ? count : IPS_FUTEX_MOST;
    for (uint32_t i = 0; i < count; i++) {
        entries[i] = (waitv_entry){looks[i].expected, (uintptr_t)looks[i].word,
                                   FUTEX_WORD_IS_U32, 0};
    }
    struct timespec until = timespec_of(deadline);
    long result = syscall(FUTEX_WAITV_CALL, entries, count, 0,
                          deadline == IPS_FOREVER ? NULL : &until, CLOCK_MONOTONIC);
    if (result < 0 && errno != EAGAIN && errno != ETIMEDOUT && errno != EINTR) {
        /* ENOSYS of an old kernel, EPERM of a seccomp filter, anything else:
         * do without, and let the bound of the park find a death.  relaxed:
         * as above. */
        atomic_store_explicit(&absent, true, memory_order_relaxed);
        return ips_futex_wait(looks[0].word, looks[0].expected, deadline);
    }
    return outcome_of(result);
}

int
ips_futex_wait_two(const _Atomic uint32_t *first, uint32_t first_expected,
                   const _Atomic uint32_t *second, uint32_t second_expected,
                   int64_t deadline)
{
    const ips_futex_look looks[2] = {{first, first_expected}, {second, second_expected}};
    return ips_futex_wait_many(looks, 2, deadline);
}

int
ips_futex_wake(const _Atomic uint32_t *word, int count)
{
    long woken = syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
    return woken > 0 ? (int)woken : 0;
}
