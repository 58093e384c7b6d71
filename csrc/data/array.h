/* SPDX-License-Identifier: Apache-2.0 */
/* An array of items of any size in a file of its own, for the buffer protocol.
 *
 * Byte map of the file:
 *
 *   0     header     128
 *   128   lock        64  a cell (segment/cells.h): the array's Lock
 *   192   ndim         4  at most IPS_ARRAY_DIMENSIONS
 *   196   itemsize     4  bytes of an item, at least 1
 *   200   order        4  'C' or 'F'
 *   204   dtype_size   4  bytes of the dtype's text
 *   208   format_size  4  bytes of the format's text
 *   212   reserved    12
 *   224   shape      256  items in each dimension
 *   480   text      3616  the dtype as its user named it, then its format as
 *                         the buffer protocol spells it; neither with a NUL
 *   4096  items           zero at first
 *
 * Who writes: the creator all of it, before the file can be found; afterwards
 * the lock's word by whoever takes it and the items by users, as they like.
 * Geometry and texts are read once, at opening, and checked against the size
 * of the file; nothing in the items is ever looked at by us.  A death leaves
 * behind what the dead one wrote last, and its lock to the next one. */
#ifndef IPS_DATA_ARRAY_H
#define IPS_DATA_ARRAY_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/header.h"
#include "base/status.h"
#include "member/object.h"
#include "segment/cells.h"

#define IPS_ARRAY_DIMENSIONS 32
#define IPS_ARRAY_TEXT 3616
#define IPS_ARRAY_ITEMS 4096u

typedef struct {
    ips_header_shm header;
    ips_cell_shm lock;
    uint32_t ndim, itemsize, order, dtype_size, format_size;
    uint32_t reserved[3];
    uint64_t shape[IPS_ARRAY_DIMENSIONS];
    char text[IPS_ARRAY_TEXT];
} ips_array_shm;

_Static_assert(sizeof(ips_array_shm) == IPS_ARRAY_ITEMS, "byte map above");
_Static_assert(offsetof(ips_array_shm, lock) == 128, "byte map above");
_Static_assert(offsetof(ips_array_shm, ndim) == 192, "byte map above");
_Static_assert(offsetof(ips_array_shm, shape) == 224, "byte map above");
_Static_assert(offsetof(ips_array_shm, text) == 480, "byte map above");

/* What an array is: private, checked. */
typedef struct {
    uint32_t ndim, itemsize;
    char order;
    uint64_t shape[IPS_ARRAY_DIMENSIONS];
    uint64_t size;                   /* bytes of all items */
    char dtype[IPS_ARRAY_TEXT + 1];  /* NUL-terminated */
    char format[IPS_ARRAY_TEXT + 1];
} ips_array_kind;

/* kind->size from shape and itemsize: 0, or IPS_ETOOBIG. */
IPS_MUST_CHECK int ips_array_measure(ips_array_kind *kind);

/* An existing array fills in *kind, which on creation it is made from; *created
 * tells which.  ips_object_release gives the file up. */
IPS_MUST_CHECK int ips_array_open(ips_space *space, const char *name, ips_open_mode mode,
    bool cleanup_last, ips_array_kind *kind, ips_object **out, bool *created);
IPS_MUST_CHECK int ips_array_redeem(ips_space *space, const char *ticket, ips_array_kind *kind,
    ips_object **out);
/* The same named array again, for a pickled handle: IPS_EGONE where the name is
 * free or leads to another. */
IPS_MUST_CHECK int ips_array_reopen(ips_space *space, const char *name,
    const uint8_t identity[16], ips_array_kind *kind, ips_object **out);

static inline uint8_t *
ips_array_items(const ips_object *object)
{
    return object->base + IPS_ARRAY_ITEMS;
}

static inline ips_cell_shm *
ips_array_lock(const ips_object *object)
{
    return &((ips_array_shm *)(void *)object->base)->lock;
}

#endif
