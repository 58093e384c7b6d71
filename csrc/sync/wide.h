/* SPDX-License-Identifier: Apache-2.0 */
/* The body of a wide object: room for a table with a line for each member, so
 * that a dead member's share can be told from everybody else's.
 *
 * It lies in the pool of wide cells, in the file of a named object, or in a
 * stable cell of a segment (segment/cells.h, segment/segment.h); whoever uses
 * it does not care.  It is 64-aligned, all zeros when the object is made, and
 * never moves.  Only the first IPS_WIDE_FIRST bytes have memory from the
 * beginning: before it touches more, a process asks with ips_wide_back for as
 * much as it is going to touch.  That is a private compare as a rule, and a
 * few system calls where this process has never been that far.  Bytes get
 * memory and keep it; whoever is killed meanwhile leaves zeros at most.
 *
 * The handle is private to a process and lies inside the ips_cell of its
 * object; it is valid as long as that is. */
#ifndef IPS_SYNC_WIDE_H
#define IPS_SYNC_WIDE_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/status.h"

#define IPS_WIDE_SIZE 266240u /* a page, and 4096 lines of 64 bytes */
#define IPS_WIDE_FIRST 3904u  /* 61 lines of 64 bytes */

typedef struct ips_wide ips_wide;
struct ips_wide {
    uint8_t *shm;            /* the body; NULL: the object has none */
    uint64_t capacity;       /* bytes it may ever have: IPS_WIDE_SIZE, less in a segment */
    const char *name;        /* of the object, for messages; "" where it has none */
    _Atomic uint64_t reach;  /* bytes that are known to have memory; only grows */
    /* Give [0, bytes) memory and raise `reach`; bytes <= capacity. */
    int (*extend)(ips_wide *wide, uint64_t bytes);
};

IPS_MUST_CHECK int ips_wide_back_slow(ips_wide *wide, uint64_t bytes); /* sync/wide.c */

/* Make sure that [0, bytes) may be touched.  IPS_ENOSPACE, noted, where the
 * object has no room for that much, or memory is full.  It may make system
 * calls, takes no lock, and calls nothing of Python's. */
IPS_MUST_CHECK static inline int
ips_wide_back(ips_wide *wide, uint64_t bytes)
{
    /* relaxed: it only grows, and what lies below it stays. */
    return bytes <= atomic_load_explicit(&wide->reach, memory_order_relaxed)
               ? IPS_OK
               : ips_wide_back_slow(wide, bytes);
}

/* For extend: [0, bytes) has memory. */
static inline void
ips_wide_reached(ips_wide *wide, uint64_t bytes)
{
    bytes = bytes < wide->capacity ? bytes : wide->capacity;
    /* relaxed: two threads may store different numbers, both true. */
    if (bytes > atomic_load_explicit(&wide->reach, memory_order_relaxed)) {
        atomic_store_explicit(&wide->reach, bytes, memory_order_relaxed);
    }
}

#endif
