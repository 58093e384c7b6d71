/* SPDX-License-Identifier: Apache-2.0 */
/* Spinning that learns whether it helps.
 *
 * Where the one who is waited for runs on another CPU, spinning saves two
 * switches; where it waits for this very CPU, every microsecond of spinning
 * comes on top (a barrier of 2 on a machine with eight processes for each CPU:
 * 260 us a round with a fixed budget, 26 us without).  So a spin in vain cuts
 * the budget to a quarter and one that helped doubles it; every 64th wait
 * tries the whole budget again, as the machine may have become idle.
 *
 * Private to a process, shared by its threads: a hint, and never wrong. */
#ifndef IPS_SYNC_SPIN_H
#define IPS_SYNC_SPIN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    _Atomic int64_t budget; /* ns; 0: not yet tried */
    _Atomic uint32_t waits;
} ips_spin;

/* Spin while `ready(context)` is false: true as soon as it is. */
bool ips_spin_learning(ips_spin *spin, bool (*ready)(void *context), void *context,
                       int64_t deadline);

#endif
