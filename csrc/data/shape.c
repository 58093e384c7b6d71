/* SPDX-License-Identifier: Apache-2.0 */
#include "data/shape.h"

/* relaxed: a reader validates the deque's version, a writer holds the
 * segment's lock. */
#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

#define REAPED_PER_GROWTH 64u

int
ips_deque_corrupt(const ips_deque *deque, const char *what)
{
    return ips_fail(IPS_ECORRUPT, "%s at offset %llu: %s", ips_type_name(deque->type),
        (unsigned long long)deque->offset, what);
}

int
ips_deque_alive(const ips_deque *deque)
{
    return ips_root_lives(&deque->shm->root, deque->generation)
        ? 0 : ips_root_gone(deque->type);
}

int
ips_deque_begin_changing(const ips_deque *deque, ips_deque_shape *now, ips_ring *ring)
{
    int status = ips_deque_alive(deque);
    *now = ips_deque_shape_of(deque);
    if (status == 0 && !ips_deque_open_ring(deque, now, ring)) {
        status = ips_deque_corrupt(deque, "its ring is damaged");
    }
    return status < 0 ? status : ips_tx_touch(deque->segment, deque->offset);
}

int
ips_deque_store_shape(const ips_deque *deque, const ips_deque_shape *now)
{
    const uint64_t words[3] = {now->ring, now->head, now->head + now->length};
    return ips_tx_write(deque->segment, deque->offset + offsetof(ips_deque_shm, ring), words,
        sizeof words);
}

int
ips_deque_enter_fresh(const ips_deque *deque, ips_deque_shape *now, ips_ring *ring)
{
    now->head = 0;
    if (!ips_deque_open_ring(deque, now, ring)) {
        return ips_deque_corrupt(deque, "a ring just made cannot be opened");
    }
    ring->fresh = true;
    int status = ips_deque_reap(deque, REAPED_PER_GROWTH);
    return status < 0 ? status : 0;
}
