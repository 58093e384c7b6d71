/* SPDX-License-Identifier: Apache-2.0 */
/* A 64-bit sum of bytes that tells damage and change: about as fast as memory
 * is read.  Not for tables (base/hash.h) and no proof against malice. */
#ifndef IPS_BASE_CHECKSUM_H
#define IPS_BASE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* `at` is 8-aligned, `size` a multiple of 64.  Others may be changing the bytes
 * meanwhile: then the sum is that of no state, and nothing worse happens.  Any
 * change of a single word changes the sum; two different contents have the
 * same one in 1 of 2^64 cases.  The same on every machine of one byte order. */
uint64_t ips_checksum(const void *at, size_t size);

#endif
