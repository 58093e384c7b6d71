/* SPDX-License-Identifier: Apache-2.0 */
/* The invariants of a deque, as code. */
#include "data/deque.h"
#include "data/nest.h"
#include "data/reach.h"
#include "data/report.h"
#include "data/ring.h"

/* relaxed: the caller holds the segment's lock. */
#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

static void
check_graves(const ips_deque *deque, ips_report *report)
{
    ips_offset cursor = LOAD(deque->shm->graves);
    /* Every ring is a block of its own: more than fit is a cycle. */
    uint64_t most = ips_segment_object(deque->segment)->max_size / sizeof(ips_deque_ring_shm);
    for (uint64_t count = 0; cursor != 0; count++) {
        ips_ring ring;
        if (count > most || !ips_ring_open(deque->segment, cursor, &ring)) {
            ips_report_problem(report, "the rings left by clear() are damaged at %llu",
                (unsigned long long)cursor);
            return;
        }
        cursor = LOAD(ring.shm->next);
    }
}

int
ips_deque_check(const ips_deque *deque, void (*line)(const char *line, void *context),
    void *context)
{
    if (!ips_root_lives(&deque->shm->root, deque->generation)) {
        return ips_root_gone(deque->type);
    }
    ips_report report = {line, context, ips_type_name(deque->type), deque->offset, 0};
    const ips_deque_shm *shm = deque->shm;
    const uint64_t head = LOAD(shm->head);
    const uint64_t length = LOAD(shm->end) - head;
    check_graves(deque, &report);
    ips_ring ring;
    if (!ips_ring_open(deque->segment, LOAD(shm->ring), &ring) ||
        length > ring.mask + 1) {
        ips_report_problem(&report, "its ring does not fit it");
        return report.problems;
    }
    if (length > LOAD(shm->maxlen)) {
        ips_report_problem(&report, "longer than maxlen");
    }
    uint64_t size = sizeof(ips_deque_ring_shm) + (ring.mask + 1) * sizeof(ips_deque_slot_shm);
    if (ips_block_size(deque->segment, ring.offset) < size) {
        ips_report_problem(&report, "its ring is larger than its block");
    }
    for (uint64_t i = 0; i < length; i++) {
        ips_slot_value value;
        if (!ips_ring_value(deque->segment, &ring, head + i, &value)) {
            ips_report_problem(&report, "value %llu is out of bounds", (unsigned long long)i);
        } else if (value.block != 0 &&
                   ips_block_size(deque->segment, value.block) < value.size) {
            ips_report_problem(&report, "value %llu is larger than its block",
                (unsigned long long)i);
        } else if (value.kind == IPS_VALUE_REFERENCE &&
                   !ips_nest_is_sound(deque->segment, deque->type, deque->offset, value.bytes,
                       value.size)) {
            ips_report_problem(&report, "value %llu refers to no container",
                (unsigned long long)i);
        }
    }
    return report.problems;
}

/* --- what it has: the ring, those that clear() left, large values */

/* *next: the next ring of the graves; 0 where this one is not to be followed. */
static int
reach_ring(ips_reach *reach, ips_offset offset, ips_offset deque, const ips_deque_shm *shm,
    ips_offset *next)
{
    ips_ring ring;
    ips_slot_value value;
    int status = IPS_OK;
    *next = 0;
    if (!ips_reach_block(reach, offset, "a deque or vector", deque) ||
        !ips_ring_open(reach->segment, offset, &ring)) {
        return IPS_OK;
    }
    const uint64_t head = shm != NULL ? LOAD(shm->head) : LOAD(ring.shm->head);
    const uint64_t length = shm != NULL ? LOAD(shm->end) - head : LOAD(ring.shm->length);
    for (uint64_t i = 0; status == 0 && i < length && i <= ring.mask; i++) {
        const bool found = ips_ring_value(reach->segment, &ring, head + i, &value);
        if (found && value.block != 0) {
            (void)ips_reach_block(reach, value.block, "a value of a deque or vector", deque);
        } else if (found && value.kind == IPS_VALUE_REFERENCE) {
            status = ips_nest_reach(reach, value.bytes, value.size);
        }
    }
    *next = LOAD(ring.shm->next);
    return status;
}

int
ips_deque_reach(ips_reach *reach, uint32_t type, ips_offset root)
{
    const ips_deque_shm *shm = (const ips_deque_shm *)(void *)ips_root_at(reach->segment, root,
        type, sizeof *shm);
    int status = IPS_OK;
    ips_offset next;
    if (shm == NULL) {
        return IPS_OK;
    }
    if (LOAD(shm->ring) != 0) { /* 0: it is in the graves (data/nest.h) */
        status = reach_ring(reach, LOAD(shm->ring), root, shm, &next);
    }
    for (ips_offset grave = LOAD(shm->graves); status == 0 && grave != 0; grave = next) {
        status = reach_ring(reach, grave, root, NULL, &next);
    }
    if (LOAD(shm->events) != 0) {
        (void)ips_reach_block(reach, LOAD(shm->events), "a deque", root);
    }
    return status;
}
