/* SPDX-License-Identifier: Apache-2.0 */
/* Items of a typed vector: the type codes of the array module that name a
 * number, with its sizes and its manners. */
#ifndef IPS_BIND_ITEM_H
#define IPS_BIND_ITEM_H

#include "bind/state.h"

typedef struct {
    char code;
    uint8_t size;
    bool is_float;
    bool is_signed;
} ips_item_format;

/* NULL (no exception) for a code that names none. */
const ips_item_format *ips_item_format_of(char code);
#define IPS_ITEM_CODES "b, B, h, H, i, I, l, L, q, Q, f or d"

/* The number as the bytes of one item, at the low end of *item; 0 or -1 with
 * TypeError or OverflowError set. */
int ips_item_pack(const ips_item_format *format, PyObject *number, uint64_t *item);
PyObject *ips_item_unpack(const ips_item_format *format, uint64_t item);

#endif
