/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of flat rows share: the words that change together, and the
 * items.  Byte map: flat.h. */
#ifndef IPS_DATA_FLAT_SHAPE_H
#define IPS_DATA_FLAT_SHAPE_H

#include "data/flat.h"

/* What a transaction changes of the root, in the root's order. */
typedef struct {
    uint64_t items, length;
} ips_flat_shape;

_Static_assert(sizeof(ips_flat_shape) == offsetof(ips_flat_shm, format) - offsetof(ips_flat_shm, items),
    "written to the root in one piece");

/* The items' block, checked: all of its capacity is backed. */
typedef struct {
    uint8_t *bytes;
    uint64_t capacity;
} ips_flat_items;

ips_flat_shape ips_flat_shape_of(const ips_flat *flat);
/* False where block and length do not fit together. */
bool ips_flat_open_items(const ips_flat *flat, const ips_flat_shape *now, ips_flat_items *out);
/* IPS_ECORRUPT, noted with the type and the offset. */
int ips_flat_corrupt(const ips_flat *flat, const char *what);
/* Inside a transaction: 0, or IPS_EGONE. */
IPS_MUST_CHECK int ips_flat_alive(const ips_flat *flat);
/* A block that nobody else knows, with place for `count` items and more. */
IPS_MUST_CHECK int ips_flat_make_items(ips_segment *segment, unsigned size, uint64_t count,
    ips_offset *out, uint8_t **bytes);

#endif
