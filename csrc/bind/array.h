/* SPDX-License-Identifier: Apache-2.0 */
/* What the two files of SharedArray share: array.c (views, the type) and
 * array_open.c (making, opening, pickling). */
#ifndef IPS_BIND_ARRAY_H
#define IPS_BIND_ARRAY_H

#include "bind/cell.h"
#include "bind/options.h"
#include "bind/state.h"
#include "data/array.h"
#include "data/inset.h"

typedef struct {
    PyObject_HEAD
    PyObject *weakrefs;
    uint8_t *items;       /* NULL before __init__, and once given up */
    ips_object *object;   /* the file, where it has one of its own */
    ips_home home;        /* else where it stands in a segment */
    ips_array_kind *kind; /* malloc'd */
    Py_ssize_t shape[IPS_ARRAY_DIMENSIONS], strides[IPS_ARRAY_DIMENSIONS];
    uint32_t views; /* exported and not released */
    bool lent;      /* numpy has the address, and keeps the object instead */
    bool closed, readonly;
} ips_array_object;

/* array.c: 0, or -1 with Closed set. */
int ips_array_object_check(const ips_array_object *self);

/* array_open.c */
int ips_array_object_init(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *ips_array_object_reduce(PyObject *self, PyObject *unused);
PyObject *ips_array_object_restore(PyObject *type, PyObject *args);

#endif
