/* SPDX-License-Identifier: Apache-2.0 */
/* Taking turns at an inbox.  Two words of private memory and the SLEEPERS bit
 * of the event count; every access to them here is seq_cst, because each step
 * writes one of the three and then looks at another.
 *
 * A message put while the bit is down is seen by the spinner: while it spins,
 * by looking; when it stops, because it puts the bit up first and looks once
 * more, itself (ips_desk_park) or through ips_desk_took after its take. */
#include "service/desk.h"

#include "service/spin.h"

void
ips_desk_init(ips_desk *desk, ips_space *space, ips_eventcount_shm *event,
              bool (*ready)(void *context), void *context)
{
    desk->space = space;
    desk->event = event;
    desk->ready = ready;
    desk->context = context;
    atomic_init(&desk->spinning, 0);
    atomic_init(&desk->parked, 0);
}

static void
bit_down(ips_desk *desk)
{
    /* pairs with the sender's fence before ips_eventcount_notify: either it
     * sees the bit, or we see its message. */
    (void)atomic_fetch_and_explicit(&desk->event->word, ~IPS_EC_SLEEPERS, memory_order_seq_cst);
    ips_fence_after_rmw();
}

static void
bit_up(ips_desk *desk)
{
    /* pairs with the sender's fence, as above. */
    (void)atomic_fetch_or_explicit(&desk->event->word, IPS_EC_SLEEPERS, memory_order_seq_cst);
    ips_fence_after_rmw();
}

bool
ips_desk_spin(ips_desk *desk, int64_t deadline)
{
    if (desk->ready(desk->context)) {
        return true;
    }
    uint32_t nobody = 0;
    /* pairs with the store below and the loads in agree(). */
    if (!atomic_compare_exchange_strong_explicit(&desk->spinning, &nobody, 1,
                                                 memory_order_seq_cst, memory_order_relaxed)) {
        return false;
    }
    /* pairs with the addition in ips_desk_park(): whoever sleeps put the bit up. */
    if (atomic_load_explicit(&desk->parked, memory_order_seq_cst) > 0) {
        bit_down(desk);
    }
    bool ready = ips_spin_closely(desk->ready, desk->context, deadline);
    /* pairs with the loads in agree(): it sees us gone and leaves the bit up,
     * or its thread is counted below and we put the bit up for it. */
    atomic_store_explicit(&desk->spinning, 0, memory_order_seq_cst);
    if (atomic_load_explicit(&desk->parked, memory_order_seq_cst) > 0) {
        bit_up(desk);
    }
    return ready;
}

/* This thread is about to sleep and has put the bit up.  While another one
 * spins it has to be down.  Returns the word to sleep on. */
static uint32_t
agree(ips_desk *desk, uint32_t key)
{
    /* pairs with the swap and the store in ips_desk_spin(). */
    if (atomic_load_explicit(&desk->spinning, memory_order_seq_cst) == 0) {
        return key;
    }
    bit_down(desk);
    if (atomic_load_explicit(&desk->spinning, memory_order_seq_cst) == 0) {
        bit_up(desk);
        return key;
    }
    return key & ~IPS_EC_SLEEPERS;
}

int
ips_desk_park(ips_desk *desk, int64_t deadline)
{
    int status = IPS_OK;
    /* pairs with the loads in ips_desk_spin() and ips_desk_took(). */
    atomic_fetch_add_explicit(&desk->parked, 1, memory_order_seq_cst);
    while (status == IPS_OK) {
        uint32_t key = ips_eventcount_prepare(desk->event);
        if (desk->ready(desk->context)) {
            break;
        }
        key = agree(desk, key);
        status = ips_eventcount_wait(desk->event, key, desk->space, IPS_NOBODY, deadline);
    }
    /* pairs with the loads in ips_desk_spin() and ips_desk_took(). */
    atomic_fetch_sub_explicit(&desk->parked, 1, memory_order_seq_cst);
    return status;
}

void
ips_desk_took(ips_desk *desk)
{
    /* pairs with the addition in ips_desk_park(), and with the store in ips_desk_spin(): one who
     * still spins looks again after it stops. */
    if (atomic_load_explicit(&desk->parked, memory_order_seq_cst) == 0
        || !desk->ready(desk->context)
        || atomic_load_explicit(&desk->spinning, memory_order_seq_cst) != 0) {
        return;
    }
    bit_up(desk);
    ips_eventcount_notify(desk->event, 1);
}
