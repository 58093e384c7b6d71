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

/* What this thread heeds besides the words it parks on. */
static _Thread_local const ips_futex_look *heeded;
static _Thread_local uint32_t heeded_count;

void
ips_futex_heed(const ips_futex_look *words, uint32_t count)
{
    heeded = words;
    heeded_count = count;
}

static bool
is_interrupted(void)
{
    for (uint32_t i = 0; i < heeded_count; i++) {
        /* relaxed: news; pairs with the store before the wake of whoever
         * changed it, which the kernel orders. */
        if (atomic_load_explicit(heeded[i].word, memory_order_relaxed) != heeded[i].expected) {
            return true;
        }
    }
    return false;
}

static waitv_entry
entry_of(const ips_futex_look *look)
{
    return (waitv_entry){look->expected, (uintptr_t)look->word, FUTEX_WORD_IS_U32, 0};
}

static int
park_on_one(const waitv_entry *entry, const struct timespec *until)
{
    /* The bitset form takes an absolute CLOCK_MONOTONIC time. */
    return outcome_of(syscall(SYS_futex, entry->address, FUTEX_WAIT_BITSET, entry->value, until,
                              NULL, FUTEX_BITSET_MATCH_ANY));
}

/* Room for what is heeded is behind the first `count` entries. */
static int
park_on(waitv_entry *entries, unsigned count, const struct timespec *until)
{
    static _Atomic bool absent;
    for (uint32_t i = 0; i < heeded_count; i++) {
        entries[count++] = entry_of(&heeded[i]);
    }
    /* relaxed: a late reader only tries the call once more. */
    if (count == 1 || atomic_load_explicit(&absent, memory_order_relaxed)) {
        return park_on_one(entries, until);
    }
    long result = syscall(FUTEX_WAITV_CALL, entries, count, 0, until, CLOCK_MONOTONIC);
    if (result < 0 && errno != EAGAIN && errno != ETIMEDOUT && errno != EINTR) {
        /* ENOSYS of an old kernel, EPERM of a seccomp filter, anything else:
         * do without, and let the bound of the park find a death.  relaxed:
         * as above. */
        atomic_store_explicit(&absent, true, memory_order_relaxed);
        return park_on_one(entries, until);
    }
    return outcome_of(result);
}

static int
park(waitv_entry *entries, unsigned count, int64_t deadline)
{
    if (is_interrupted()) {
        return IPS_EINTR;
    }
    struct timespec until = timespec_of(deadline);
    int status = park_on(entries, count, deadline == IPS_FOREVER ? NULL : &until);
    return is_interrupted() ? IPS_EINTR : status;
}

int
ips_futex_wait(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
    const ips_futex_look look = {word, expected};
    waitv_entry entries[1 + IPS_HEEDED_MOST] = {entry_of(&look)};
    return park(entries, 1, deadline);
}

int
ips_futex_wait_many(const ips_futex_look *looks, uint32_t count, int64_t deadline)
{
    waitv_entry entries[IPS_FUTEX_MOST + IPS_HEEDED_MOST];
    count = count < IPS_FUTEX_MOST ? count : IPS_FUTEX_MOST;
    for (uint32_t i = 0; i < count; i++) {
        entries[i] = entry_of(&looks[i]);
    }
    return park(entries, count, deadline);
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
