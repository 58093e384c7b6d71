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

/* A method of another type, of the value that `plain` gives; shared arguments
 * are made plain too. */
typedef PyObject *(*ips_plain)(PyObject *self);
PyObject *ips_delegate(PyObject *self, const char *name, ips_plain plain, PyObject *const *args,
    Py_ssize_t count, PyObject *keywords);
/* METH_FASTCALL | METH_KEYWORDS methods that do just that. */
#define IPS_DELEGATED(prefix, plain, name) \
    static PyObject *prefix##_##name(PyObject *self, PyObject *const *args, Py_ssize_t count, \
        PyObject *keywords) \
    { \
        return ips_delegate(self, #name, plain, args, count, keywords); \
    }
#define IPS_DELEGATE(prefix, type, name) \
    {#name, (PyCFunction)(void (*)(void))prefix##_##name, METH_FASTCALL | METH_KEYWORDS, \
        #name "($self, /, *args, **kwargs)\n--\n\nAs " #type "." #name ", of the value now."},

/* Put methods besides those of its spec into a type's dict; 0 or -1. */
int ips_flat_add_methods(PyTypeObject *type, PyMethodDef *methods);

/* Of a binary slot either operand may be ours. */
ips_state *ips_state_of_either(PyObject *left, PyObject *right);

/* The value of a SharedString or SharedBytes as str or bytes, else the object
 * itself; a new reference or NULL. */
PyObject *ips_plain_of(ips_state *state, PyObject *object);
PyObject *ips_string_plain(PyObject *self); /* bind/string.c */
PyObject *ips_bytes_plain(PyObject *self);  /* bind/bytes.c */

/* bind/string_methods.c, bind/bytes_methods.c: ended by NULL */
extern PyMethodDef ips_string_reading_methods[];
extern PyMethodDef ips_bytes_reading_methods[];

#endif
