/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of SharedMap share: map.c (one key), map_edit.c, map_list.c
 * (all that is in it) and map_whole.c (construction, all keys at once). */
#ifndef IPS_BIND_MAP_H
#define IPS_BIND_MAP_H

#include "bind/container.h"
#include "data/map.h"

typedef struct {
    ips_container base;
    ips_map map;
} ips_map_object;

/* map.c: a new reference; KeyError where it is not there. */
PyObject *ips_map_object_get(PyObject *self, PyObject *key);
/* Set, or delete where `value` is NULL; 0 or -1. */
int ips_map_object_set(PyObject *self, PyObject *key, PyObject *value);

/* map_edit.c */
PyObject *ips_map_object_increment(PyObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *ips_map_object_revision(PyObject *self, PyObject *key);
PyObject *ips_map_object_get_many(PyObject *self, PyObject *keys);
PyObject *ips_map_object_editing(PyObject *self, PyObject *args, PyObject *kwargs);
int ips_map_add_editing(PyObject *module, ips_state *state);

#define IPS_MAP_EDIT_METHODS \
    {"increment", (PyCFunction)(void (*)(void))ips_map_object_increment, METH_FASTCALL, \
        "increment($self, key, n=1, /)\n--\n\n" \
        "Add n to the value of the key, which begins at 0, and give the sum.  Any\n" \
        "values that + takes will do; numbers of up to 64 bits are added in C."}, \
    {"revision", ips_map_object_revision, METH_O, "revision($self, key, /)\n--\n\n" \
        "A number that grows with each change of the key's value; KeyError where the\n" \
        "key is not there."}, \
    {"get_many", ips_map_object_get_many, METH_O, "get_many($self, keys, /)\n--\n\n" \
        "A dict of those of the keys that are there, all of one moment."}, \
    {"editing", (PyCFunction)(void (*)(void))ips_map_object_editing, \
        METH_VARARGS | METH_KEYWORDS, \
        "editing($self, key, default=<unrepresentable>, /, timeout=None)\n--\n\n" \
        "A context manager that gives a copy of the value and writes it back.\n\n" \
        "The block is a transaction: nobody else changes the map meanwhile, and an\n" \
        "exception writes nothing.  KeyError where the key is not there, unless a\n" \
        "default is given.  Timeout after `timeout` seconds of waiting."}

/* map_list.c */
PyObject *ips_map_object_repr(PyObject *self);
PyObject *ips_map_object_iter(PyObject *self);

/* map_whole.c */
int ips_map_object_init(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *ips_map_object_restore(PyObject *type, PyObject *args);
PyObject *ips_map_object_compare(PyObject *self, PyObject *other, int op);
PyObject *ips_map_object_or(PyObject *left, PyObject *right);
PyObject *ips_map_object_update_in_place(PyObject *self, PyObject *other);

PyObject *ips_map_object_reversed(PyObject *self, PyObject *unused);
PyObject *ips_map_object_keys(PyObject *self, PyObject *unused);
PyObject *ips_map_object_values(PyObject *self, PyObject *unused);
PyObject *ips_map_object_items(PyObject *self, PyObject *unused);
PyObject *ips_map_object_snapshot(PyObject *self, PyObject *what);
PyObject *ips_map_object_copy(PyObject *self, PyObject *unused);
PyObject *ips_map_object_fromkeys(PyObject *type, PyObject *const *args, Py_ssize_t count);
PyObject *ips_map_object_clear(PyObject *self, PyObject *unused);
PyObject *ips_map_object_update(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *ips_map_object_check(PyObject *self, PyObject *unused);

#define IPS_MAP_WHOLE_METHODS \
    {"fromkeys", (PyCFunction)(void (*)(void))ips_map_object_fromkeys, \
        METH_FASTCALL | METH_CLASS, "fromkeys($type, iterable, value=None, /)\n--\n\n" \
        "A map without a name, with keys of the iterable and one value for all."}, \
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
    {"__copy__", ips_map_object_copy, METH_NOARGS, "__copy__($self, /)\n--\n\ncopy()."}, \
    {"__deepcopy__", ips_map_object_copy, METH_O, "__deepcopy__($self, memo, /)\n--\n\n" \
        "copy(): what a map gives is copies already."}, \
    {"_snapshot", ips_map_object_snapshot, METH_O, NULL}

#endif
