/* SPDX-License-Identifier: Apache-2.0 */
/* A small ring of records in shared memory, twice: `right` copies the payload
 * and then publishes it, `wrong` publishes first.  The harness must tell them
 * apart by killing. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

enum { SLOTS = 16, SIZE = 40 };

typedef struct {
    _Atomic uint64_t tail;
    uint64_t head;
    unsigned char slot[SLOTS][SIZE];
} ring;

void
right(ring *at, const unsigned char *bytes)
{
    uint64_t tail = atomic_load_explicit(&at->tail, memory_order_relaxed);
    memcpy(at->slot[tail % SLOTS], bytes, SIZE);
    atomic_store_explicit(&at->tail, tail + 1, memory_order_release);
}

void
wrong(ring *at, const unsigned char *bytes)
{
    uint64_t tail = atomic_load_explicit(&at->tail, memory_order_relaxed);
    atomic_store_explicit(&at->tail, tail + 1, memory_order_release);
    atomic_signal_fence(memory_order_seq_cst);
    memcpy(at->slot[tail % SLOTS], bytes, SIZE);
}

/* Stores with every signal held off, as code that must not see EINTR does. */
int
holding(ring *at)
{
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    at->head = 7;
    return sigprocmask(SIG_SETMASK, &before, NULL);
}
