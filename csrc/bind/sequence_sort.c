/* SPDX-License-Identifier: Apache-2.0 */
/* sort(): the order is worked out in Python, on a copy, and put in at once. */
#include "bind/sequence.h"

/* Others change the row while key= runs, this often, then it gives up. */
#define PATIENCE 10

/* What list.sort(key=, reverse=) makes of the indices. */
static PyObject *
sorted_indices(PyObject *values, PyObject *key, int reverse)
{
    Py_ssize_t length = PyList_GET_SIZE(values);
    PyObject *keys = key == Py_None ? Py_NewRef(values) : PyList_New(length);
    PyObject *order = keys == NULL ? NULL : PyList_New(length);
    for (Py_ssize_t i = 0; order != NULL && i < length; i++) {
        PyObject *weight = key == Py_None ? NULL
            : PyObject_CallOneArg(key, PyList_GET_ITEM(values, i));
        PyObject *index = PyLong_FromSsize_t(i);
        if (index == NULL || (key != Py_None && weight == NULL)) {
            Py_XDECREF(index);
            Py_CLEAR(order);
            break;
        }
        PyList_SET_ITEM(order, i, index);
        if (key != Py_None) {
            PyList_SET_ITEM(keys, i, weight);
        }
    }
    PyObject *lookup = order == NULL ? NULL : PyObject_GetAttrString(keys, "__getitem__");
    PyObject *sort = lookup == NULL ? NULL : PyObject_GetAttrString(order, "sort");
    PyObject *none = PyTuple_New(0);
    PyObject *options = none == NULL || sort == NULL ? NULL
        : Py_BuildValue("{s:O,s:O}", "key", lookup, "reverse", reverse ? Py_True : Py_False);
    PyObject *done = options == NULL ? NULL : PyObject_Call(sort, none, options);
    if (done == NULL) {
        Py_CLEAR(order);
    }
    Py_XDECREF(done);
    Py_XDECREF(options);
    Py_XDECREF(none);
    Py_XDECREF(sort);
    Py_XDECREF(lookup);
    Py_XDECREF(keys);
    return order;
}

/* Put the values in the order of these indices, if nobody has changed them. */
static int
reorder(ips_sequence *self, PyObject *indices, uint64_t version)
{
    Py_ssize_t length = PyList_GET_SIZE(indices);
    uint64_t *order = PyMem_New(uint64_t, length == 0 ? 1 : length);
    if (order == NULL) {
        (void)PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < length; i++) {
        order[i] = (uint64_t)PyLong_AsSsize_t(PyList_GET_ITEM(indices, i));
    }
    int status = ips_sequence_reorder(self, order, (uint64_t)length, version);
    PyMem_Free(order);
    return status;
}

PyObject *
ips_sequence_sort(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"key", "reverse", NULL};
    PyObject *key = Py_None;
    int reverse = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$Op:sort", names, &key, &reverse)) {
        return NULL;
    }
    ips_sequence *self = (ips_sequence *)object;
    int status = IPS_ROW_CHANGED;
    for (int i = 0; status == IPS_ROW_CHANGED && i < PATIENCE; i++) {
        uint64_t version;
        const uint64_t changes = self->changes;
        PyObject *values = ips_sequence_plain(self, &version);
        PyObject *order = values == NULL ? NULL : sorted_indices(values, key, reverse);
        if (order != NULL && self->changes != changes) {
            Py_CLEAR(order);
            PyErr_Format(PyExc_ValueError, "%s modified during sort", ips_short_name(object));
        }
        status = order == NULL ? -1 : reorder(self, order, version);
        Py_XDECREF(values);
        Py_XDECREF(order);
    }
    if (status == IPS_ROW_CHANGED) {
        return ips_raise_text(self->base.state, IPS_EAGAIN,
            "others kept changing the %s; sort inside a transaction", ips_short_name(object));
    }
    return status < 0 ? NULL : Py_NewRef(Py_None);
}
