/* SPDX-License-Identifier: Apache-2.0 */
/* What SharedCell, SharedString and SharedBytes share: each is a flat row
 * (data/flat.h) that Python sees as something else than a list. */
#ifndef IPS_BIND_FLAT_H
#define IPS_BIND_FLAT_H

#include "bind/sequence.h"

typedef struct {
    uint32_t type; /* enum ips_type */
    ips_item_format format;
} ips_flat_kind;

/* The rest of an __init__; `values` is what a new one begins with.  0 or -1. */
int ips_flat_object_open(ips_sequence *self, const ips_container_where *where,
    const ips_flat_kind *kind, const ips_snapshot *values);
PyObject *ips_flat_object_restore(PyObject *class, PyObject *args, const ips_flat_kind *kind);
PyObject *ips_flat_object_check(PyObject *self, PyObject *unused);

/* For types that take `name` first: segment.construct(T, key, *args) gives the
 * name by keyword, so it is put before the others.  New references in *args
 * and *kwargs; 0 or -1. */
int ips_name_first(PyObject **args, PyObject **kwargs);

/* Put methods besides those of its spec into a type's dict; 0 or -1. */
int ips_flat_add_methods(PyTypeObject *type, PyMethodDef *methods);

/* The value of a SharedString or SharedBytes as str or bytes, else the object
 * itself; a new reference or NULL (bind/text.c). */
PyObject *ips_plain_of(ips_state *state, PyObject *object);

#endif
