/* SPDX-License-Identifier: Apache-2.0 */
/* A 64-bit hash for tables in shared memory: the same in every process and
 * on every machine, no protection against chosen collisions. */
#ifndef IPS_BASE_HASH_H
#define IPS_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t ips_hash(const void *bytes, size_t size);

#endif
