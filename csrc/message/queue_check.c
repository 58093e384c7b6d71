/* SPDX-License-Identifier: Apache-2.0 */
/* The invariants of a queue as code.  Both locks are held, consumers' first;
 * nobody takes them in the other order. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "message/queue.h"

#define PROBLEMS_MOST 100

typedef struct {
    ips_queue *queue;
    void (*line)(const char *line, void *context);
    void *context;
    int problems;
    uint64_t head, tail, got, put;
    uint32_t backed;
} inspection;

__attribute__((format(printf, 2, 3))) static void
problem(inspection *job, const char *format, ...)
{
    if (++job->problems > PROBLEMS_MOST) {
        return;
    }
    char text[200], line[256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)snprintf(line, sizeof line, "queue '%.40s': %s", ips_ring_name(&job->queue->ring), text);
    job->line(line, job->context);
}

static void
claim_units(inspection *job, ips_span span, const char *whose)
{
    if (!ips_within(span.unit, span.count, job->backed)) {
        problem(job, "%s lies in units %u+%u, and %u have memory", whose, span.unit, span.count,
                job->backed);
    } else if (!ips_units_mark(&job->queue->ring, span)) {
        problem(job, "%s shares units %u+%u with something else", whose, span.unit, span.count);
    }
}

static void
inspect_counts(inspection *job)
{
    const ips_queue_shm *shm = job->queue->ring.shm;
    /* relaxed: both locks are ours. */
    uint64_t tail_seen = atomic_load_explicit(&shm->consumers.tail_seen, memory_order_relaxed);
    uint64_t head_seen = atomic_load_explicit(&shm->producers.head_seen, memory_order_relaxed);
    uint64_t done = atomic_load_explicit(&shm->done, memory_order_relaxed);
    if (job->head > job->tail || tail_seen > job->tail) {
        problem(job, "head %llu, tail %llu, tail seen %llu", (unsigned long long)job->head,
                (unsigned long long)job->tail, (unsigned long long)tail_seen);
    }
    if (head_seen > job->got || done > job->put) {
        problem(job, "%llu got, %llu thought got, %llu put, %llu done",
                (unsigned long long)job->got, (unsigned long long)head_seen,
                (unsigned long long)job->put, (unsigned long long)done);
    }
    if (job->queue->ring.maxsize != 0 && job->put - job->got > job->queue->ring.maxsize) {
        problem(job, "%llu messages, and maxsize is %llu",
                (unsigned long long)(job->put - job->got),
                (unsigned long long)job->queue->ring.maxsize);
    }
}

static void
inspect_blocks(inspection *job)
{
    const ips_ring *ring = &job->queue->ring;
    uint64_t opened = ips_ring_opened(job->tail);
    uint64_t word;
    if (opened == 0) {
        return;
    }
    if (ips_ring_slot(ring, opened - 1, &word) < 0) {
        problem(job, "%s", ips_last_note()->detail);
        return;
    }
    uint64_t owned = word >> 32;
    if (owned == 0 || owned > opened || owned > ring->units ||
        opened - owned > job->head / IPS_BLOCK) {
        problem(job, "%llu of %llu blocks owned, head %llu", (unsigned long long)owned,
                (unsigned long long)opened, (unsigned long long)job->head);
        return;
    }
    for (uint64_t sequence = opened - owned; sequence < opened; sequence++) {
        if (ips_ring_slot(ring, sequence, &word) < 0) {
            problem(job, "%s", ips_last_note()->detail);
        } else {
            claim_units(job, (ips_span){(uint32_t)word, 1}, "a ring block");
        }
    }
}

static void
inspect_records(inspection *job)
{
    const ips_ring *ring = &job->queue->ring;
    uint64_t sequence = job->got;
    ips_record record;
    for (uint64_t position = job->head; position < job->tail; position = record.next) {
        if (ips_ring_read(ring, position, job->tail, &record) < 0) {
            problem(job, "%s", ips_last_note()->detail);
            return;
        }
        if (record.sequence != sequence) {
            problem(job, "message %llu where %llu was due", (unsigned long long)record.sequence,
                    (unsigned long long)sequence);
            return;
        }
        sequence++;
        ips_extents extents;
        if ((record.flags & IPS_RECORD_LARGE) == 0) {
            continue;
        }
        if (ips_extents_find(ring, &record, &extents) < 0) {
            problem(job, "%s", ips_last_note()->detail);
            continue;
        }
        for (uint32_t i = 0; i < extents.count; i++) {
            claim_units(job, extents.span[i], "a large message");
        }
    }
    if (sequence != job->put) {
        problem(job, "%llu messages put, and %llu by count of them", (unsigned long long)job->put,
                (unsigned long long)sequence);
    }
}

static bool
names_the_living(const ips_ring *ring, const _Atomic uint64_t *word)
{
    /* acquire: pairs with ips_extents_let_go and ips_extents_disown. */
    ips_owner owner = atomic_load_explicit(word, memory_order_acquire);
    return owner != IPS_NOBODY && ips_member_lives(ring->space, owner, false);
}

/* Extents that are being filled or copied out at this moment. */
static void
inspect_extents(inspection *job)
{
    const ips_ring *ring = &job->queue->ring;
    uint32_t backed = ips_extents_backed(ring);
    for (uint32_t i = 0; i < backed; i++) {
        const ips_extent_shm *entry = &ring->extents[i];
        bool busy = names_the_living(ring, &entry->writer) ||
                    names_the_living(ring, &entry->reader);
        /* relaxed: under the producers' lock. */
        uint64_t position = atomic_load_explicit(&entry->position, memory_order_relaxed);
        ips_span span;
        if (!busy || (position > job->head && position <= job->tail)) {
            continue;
        }
        if (!ips_extent_span(ring, i, &span)) {
            problem(job, "extent %u is in use and lies nowhere", i);
        } else {
            claim_units(job, span, "an extent in use");
        }
    }
}

static void
inspect_run(inspection *job)
{
    const ips_producers_shm *producers = &job->queue->ring.shm->producers;
    /* relaxed: under the producers' lock. */
    uint32_t from = atomic_load_explicit(&producers->run_from, memory_order_relaxed);
    uint32_t to = atomic_load_explicit(&producers->run_to, memory_order_relaxed);
    if (from < to) {
        claim_units(job, (ips_span){from, to - from}, "the run of free units");
    }
}

static void
inspect(inspection *job)
{
    ips_ring *ring = &job->queue->ring;
    const ips_queue_shm *shm = ring->shm;
    /* relaxed: both locks are ours. */
    job->head = atomic_load_explicit(&shm->consumers.head, memory_order_relaxed);
    job->got = atomic_load_explicit(&shm->consumers.head_sequence, memory_order_relaxed);
    job->tail = atomic_load_explicit(&shm->producers.tail, memory_order_relaxed);
    job->put = atomic_load_explicit(&shm->producers.tail_sequence, memory_order_relaxed);
    job->backed = atomic_load_explicit(&shm->producers.backed_units, memory_order_relaxed);
    if (job->backed > ring->units || (job->backed != 0 &&
        !ips_ring_backs(ring, ring->area_offset, (uint64_t)job->backed * IPS_BLOCK))) {
        problem(job, "%u units of %u have memory", job->backed, ring->units);
        return;
    }
    memset(ring->owned, 0, IPS_OWNED_BYTES(job->backed));
    inspect_counts(job);
    inspect_blocks(job);
    inspect_records(job);
    inspect_extents(job);
    inspect_run(job);
}

int
ips_queue_check(ips_queue *queue, int64_t deadline, void (*report)(const char *line, void *context),
                void *context)
{
    inspection job = {.queue = queue, .line = report, .context = context};
    int status = ips_queue_lock_consumers(queue, deadline);
    if (status < 0) {
        return status;
    }
    status = ips_queue_lock_producers(queue, deadline);
    if (status == 0) {
        inspect(&job);
        (void)ips_lock_leave(&queue->ring.shm->producers.lock);
    }
    (void)ips_lock_leave(&queue->ring.shm->consumers.lock);
    if (status == 0 && job.problems != 0) {
        status = ips_fail(IPS_ECORRUPT, "queue '%s': %d problems", ips_ring_name(&queue->ring),
                          job.problems);
    }
    return status;
}
