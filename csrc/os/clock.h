/* SPDX-License-Identifier: Apache-2.0 */
/* Time and spinning.  A deadline is an absolute CLOCK_MONOTONIC time in
 * nanoseconds; timeouts exist only above bind/. */
#ifndef IPS_OS_CLOCK_H
#define IPS_OS_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define IPS_FOREVER INT64_MAX /* the deadline that never comes */
#define IPS_AT_ONCE INT64_MIN /* the deadline that has passed: do not wait */

int64_t ips_now(void);       /* CLOCK_MONOTONIC, ns */
int64_t ips_wall_clock(void); /* CLOCK_REALTIME, ns since 1970 */

/* How long a waiter may spin before it parks, ns: what parking and being woken
 * was found to cost on this machine, 50 us until then; 0 on a single CPU.
 * IPCSYS_SPIN_NS overrides it (0: never spin). */
int64_t ips_spin_budget(void);
/* Let `park_ns` be what parking costs, within 10 to 100 us; 0: it could not be
 * found out, the budget stays.  The first call counts. */
void ips_spin_settle(int64_t park_ns);
/* Is it still to be found out?  A load. */
bool ips_spin_is_open(void);

/* CPUs this process may run on. */
uint32_t ips_cpu_count(void);

#endif
