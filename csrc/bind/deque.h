/* SPDX-License-Identifier: Apache-2.0 */
/* What the two files of SharedDeque share: deque.c (one value, and waiting)
 * and deque_whole.c (construction and everything that is about all values). */
#ifndef IPS_BIND_DEQUE_H
#define IPS_BIND_DEQUE_H

#include "bind/sequence.h"

typedef ips_sequence ips_deque_object; /* its format is NULL */

/* deque_whole.c */
int ips_deque_object_init(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *ips_deque_object_restore(PyObject *type, PyObject *args);
PyObject *ips_deque_object_repr(PyObject *self);
PyObject *ips_deque_object_compare(PyObject *self, PyObject *other, int op);
PyObject *ips_deque_object_add(PyObject *left, PyObject *right);
PyObject *ips_deque_object_repeat(PyObject *self, Py_ssize_t times);
PyObject *ips_deque_object_extend_in_place(PyObject *self, PyObject *other);

PyObject *ips_deque_object_extend(PyObject *self, PyObject *iterable);
PyObject *ips_deque_object_extendleft(PyObject *self, PyObject *iterable);
PyObject *ips_deque_object_clear(PyObject *self, PyObject *unused);
PyObject *ips_deque_object_copy(PyObject *self, PyObject *unused);
PyObject *ips_deque_object_rotate(PyObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *ips_deque_object_check(PyObject *self, PyObject *unused);

#define IPS_DEQUE_WHOLE_METHODS \
    {"extend", ips_deque_object_extend, METH_O, "extend($self, iterable, /)\n--\n\n" \
        "Append all these values at the right, in one transaction."}, \
    {"extendleft", ips_deque_object_extendleft, METH_O, "extendleft($self, iterable, /)\n--\n\n" \
        "Append all these values at the left, one after the other, in one transaction."}, \
    {"clear", ips_deque_object_clear, METH_NOARGS, "clear($self, /)\n--\n\n" \
        "Remove all values, at once."}, \
    {"copy", ips_deque_object_copy, METH_NOARGS, "copy($self, /)\n--\n\n" \
        "A collections.deque of what is in it at one moment."}, \
    {"check", ips_deque_object_check, METH_NOARGS, "check($self, /)\n--\n\n" \
        "What is wrong with the deque: a list of lines, empty when it is sound."}, \
    {"rotate", (PyCFunction)(void (*)(void))ips_deque_object_rotate, METH_FASTCALL, \
        "rotate($self, n=1, /)\n--\n\n" \
        "Move n values from the right end to the left; negative: the other way."}, \
    {"__copy__", ips_deque_object_copy, METH_NOARGS, "__copy__($self, /)\n--\n\ncopy()."}, \
    {"__deepcopy__", ips_deque_object_copy, METH_O, "__deepcopy__($self, memo, /)\n--\n\n" \
        "copy(): what a deque gives is copies already."}

#endif
