/* SPDX-License-Identifier: Apache-2.0 */
/* What SharedString and SharedBytes share: a flat row that is seen as one
 * value, text.  What reads it works on a plain str or bytes of one moment, its
 * kind's `decode`; changes of a part are one transaction that looks at nothing
 * else. */
#ifndef IPS_BIND_TEXT_H
#define IPS_BIND_TEXT_H

#include "bind/flat.h"

struct ips_text_kind {
    ips_flat_kind flat;
    const char *noun; /* what is assigned to a slice, in messages */
    /* What stands in the row for a value of any length, and for the one item
     * that an index names; 0 or -1. */
    int (*encode)(ips_state *state, PyObject *value, ips_snapshot *out);
    int (*encode_one)(ips_state *state, PyObject *value, ips_snapshot *out);
    PyObject *(*decode)(const ips_sequence *self, const ips_snapshot *snapshot);
    PyObject *(*decode_one)(ips_sequence *self, int64_t index);
    /* Does an operation with it make sense, as far as the type tells? */
    bool (*is_text)(PyObject *plain);
};

/* After the arguments were read: the rest of an __init__; 0 or -1. */
int ips_text_open(ips_sequence *self, const ips_container_where *where, const ips_text_kind *kind,
    PyObject *value);
PyObject *ips_text_restore(PyObject *class, PyObject *args, const ips_text_kind *kind);

/* The value of one moment, a str or bytes. */
PyObject *ips_text_plain(PyObject *self);
/* METH_NOARGS and METH_O: the same. */
PyObject *ips_text_copy(PyObject *self, PyObject *unused);

/* Put an encoding of `value` in the place of `span`: 0 or -1; None or NULL. */
typedef int (*ips_text_encode)(ips_state *state, PyObject *value, ips_snapshot *out);
int ips_text_splice(PyObject *self, ips_span span, ips_text_encode encode, PyObject *value);
PyObject *ips_text_put(PyObject *self, ips_span span, ips_text_encode encode, PyObject *value);
PyObject *ips_text_set(PyObject *self, PyObject *value);
PyObject *ips_text_extend(PyObject *self, PyObject *value);
PyObject *ips_text_clear(PyObject *self, PyObject *unused);

PyObject *ips_text_repr(PyObject *self);
PyObject *ips_text_iter(PyObject *self);
PyObject *ips_text_compare(PyObject *self, PyObject *other, int op);
PyObject *ips_text_subscript(PyObject *self, PyObject *key);
int ips_text_assign(PyObject *self, PyObject *key, PyObject *value);
int ips_text_contains(PyObject *self, PyObject *value);
PyObject *ips_text_repeat(PyObject *self, Py_ssize_t times);
PyObject *ips_text_add(PyObject *left, PyObject *right);
PyObject *ips_text_modulo(PyObject *left, PyObject *right);
#define IPS_TEXT_SLOTS \
    {Py_tp_new, (void *)PyType_GenericNew}, \
    {Py_tp_dealloc, (void *)ips_container_dealloc}, \
    {Py_tp_traverse, (void *)ips_container_traverse}, \
    {Py_tp_clear, (void *)ips_container_clear}, \
    {Py_tp_repr, (void *)ips_text_repr}, \
    {Py_tp_hash, (void *)PyObject_HashNotImplemented}, \
    {Py_tp_richcompare, (void *)ips_text_compare}, \
    {Py_tp_iter, (void *)ips_text_iter}, \
    {Py_mp_subscript, (void *)ips_text_subscript}, \
    {Py_mp_ass_subscript, (void *)ips_text_assign}, \
    {Py_mp_length, (void *)ips_sequence_length}, \
    {Py_sq_length, (void *)ips_sequence_length}, \
    {Py_sq_contains, (void *)ips_text_contains}, \
    {Py_sq_repeat, (void *)ips_text_repeat}, \
    {Py_nb_add, (void *)ips_text_add}, \
    {Py_nb_remainder, (void *)ips_text_modulo}

/* A method of str or bytes, of the value of one moment; shared arguments are
 * made plain too. */
PyObject *ips_text_delegate(PyObject *self, const char *name, PyObject *const *args,
    Py_ssize_t count, PyObject *keywords);
/* METH_FASTCALL | METH_KEYWORDS methods that do just that. */
#define IPS_DELEGATED(prefix, name) \
    static PyObject *prefix##_##name(PyObject *self, PyObject *const *args, Py_ssize_t count, \
        PyObject *keywords) \
    { \
        return ips_text_delegate(self, #name, args, count, keywords); \
    }
#define IPS_DELEGATE(prefix, type, name) \
    {#name, (PyCFunction)(void (*)(void))prefix##_##name, METH_FASTCALL | METH_KEYWORDS, \
        #name "($self, /, *args, **kwargs)\n--\n\nAs " #type "." #name ", of the value now."},

/* bind/string_methods.c, bind/bytes_methods.c: ended by NULL */
extern PyMethodDef ips_string_reading_methods[];
extern PyMethodDef ips_bytes_reading_methods[];

#endif
