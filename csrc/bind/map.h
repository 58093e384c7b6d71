/* SPDX-License-Identifier: Apache-2.0 */
/* What the two files of SharedMap share: map.c (one key) and map_whole.c
 * (construction and everything that is about all keys). */
#ifndef IPS_BIND_MAP_H
#define IPS_BIND_MAP_H

#include "bind/container.h"
#include "data/map.h"

typedef struct {
    ips_container base;
    ips_map map;
} ips_map_object;

/* map_whole.c */
int ips_map_object_init(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *ips_map_object_restore(PyObject *type, PyObject *args);
PyObject *ips_map_object_repr(PyObject *self);
PyObject *ips_map_object_compare(PyObject *self, PyObject *other, int op);
PyObject *ips_map_object_iter(PyObject *self);
PyObject *ips_map_object_or(PyObject *left, PyObject *right);
PyObject *ips_map_object_update_in_place(PyObject *self, PyObject *other);

PyObject *ips_map_object_reversed(PyObject *self, PyObject *unused);
PyObject *ips_map_object_keys(PyObject *self, PyObject *unused);
PyObject *ips_map_object_values(PyObject *self, PyObject *unused);
PyObject *ips_map_object_items(PyObject *self, PyObject *unused);
PyObject *ips_map_object_snapshot(PyObject *self, PyObject *what);
PyObject *ips_map_object_copy(PyObject *self, PyObject *unused);
PyObject *ips_map_object_clear(PyObject *self, PyObject *unused);
PyObject *ips_map_object_update(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *ips_map_object_check(PyObject *self, PyObject *unused);

#define IPS_MAP_WHOLE_METHODS \
    {"keys", ips_map_object_keys, METH_NOARGS, "keys($self, /)\n--\n\n" \
        "A view of the keys; iterating it goes over the keys of that moment."}, \
    {"values", ips_map_object_values, METH_NOARGS, "values($self, /)\n--\n\n" \
        "A view of the values; iterating it goes over copies of that moment."}, \
    {"items", ips_map_object_items, METH_NOARGS, "items($self, /)\n--\n\n" \
        "A view of (key, value) pairs; iterating it goes over those of one moment."}, \
    {"copy", ips_map_object_copy, METH_NOARGS, "copy($self, /)\n--\n\n" \
        "A dict of what is in the map at one moment."}, \
    {"clear", ips_map_object_clear, METH_NOARGS, "clear($self, /)\n--\n\n" \
        "Remove all items, at once."}, \
    {"update", (PyCFunction)(void (*)(void))ips_map_object_update, \
        METH_VARARGS | METH_KEYWORDS, "update($self, mapping_or_pairs=(), /, **items)\n--\n\n" \
        "Set all these items, in one transaction."}, \
    {"check", ips_map_object_check, METH_NOARGS, "check($self, /)\n--\n\n" \
        "What is wrong with the map: a list of lines, empty when it is sound."}, \
    {"__reversed__", ips_map_object_reversed, METH_NOARGS, "__reversed__($self, /)\n--\n\n" \
        "Iterate over the keys of this moment, youngest first."}, \
    {"_snapshot", ips_map_object_snapshot, METH_O, NULL}

#endif
