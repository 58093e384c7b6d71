/* SPDX-License-Identifier: Apache-2.0 */
/* Who owns: a member's slot and generation in one number, never a bare pid.
 *
 *   bits  0-15  low 16 bits of the generation
 *   bits 16-28  slot + 1 (so that no owner is ever 0)
 *   bits 29-31  always 0: a lock word keeps its three flags there
 *   bits 32-63  next 32 bits of the generation
 *
 * The low half fits a futex.  A generation has 48 bits and never wraps in
 * practice (2^48 joins at 8 800 a second are a thousand years). */
#ifndef IPS_BASE_OWNER_H
#define IPS_BASE_OWNER_H

#include <stdint.h>

typedef uint64_t ips_owner;

#define IPS_NOBODY ((ips_owner)0)
#define IPS_MAX_SLOTS 4096u
#define IPS_GENERATION_MASK ((UINT64_C(1) << 48) - 1)
#define IPS_OWNER_FLAGS (UINT64_C(7) << 29)

static inline ips_owner
ips_owner_make(uint32_t slot, uint64_t generation)
{
    return (generation & 0xffff) | ((uint64_t)(slot + 1) << 16) |
           ((generation >> 16 & 0xffffffff) << 32);
}

/* Undefined for IPS_NOBODY; may exceed IPS_MAX_SLOTS in damaged bytes. */
static inline uint32_t
ips_owner_slot(ips_owner owner)
{
    return ((uint32_t)(owner >> 16) & 0x1fff) - 1;
}

static inline uint64_t
ips_owner_generation(ips_owner owner)
{
    return (owner & 0xffff) | (owner >> 32) << 16;
}

#endif
