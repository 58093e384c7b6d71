/* SPDX-License-Identifier: Apache-2.0 */
/* What parking costs here: being woken takes 5-7 us on bare metal and 25-60
 * on a virtual machine, where an idle CPU halts. */
#ifndef IPS_OS_PARK_H
#define IPS_OS_PARK_H

#include <stdint.h>

/* The time from a wake to the sleeper's running, ns, by a few round trips with
 * a thread on another CPU, the quickest of them.  Takes less than 1 ms, unless
 * the machine is busy: then 0, nothing measured. */
int64_t ips_park_measure(void);

#endif
