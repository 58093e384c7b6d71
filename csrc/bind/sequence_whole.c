/* SPDX-License-Identifier: Apache-2.0 */
/* What lists and deques both do with all of their values.  Comparing runs
 * Python code, so it works on a snapshot; what it decides is done only if the
 * row is still as it was seen, else all is looked at again. */
#include <string.h>

#include "bind/sequence.h"

/* Others change the row under our eyes this often, then we give up. */
#define PATIENCE 100

int
ips_sequence_index_of(PyObject *index, int64_t *out)
{
    if (PyLong_CheckExact(index)) {
        *out = PyLong_AsSsize_t(index);
        if (__builtin_expect(*out != -1 || PyErr_Occurred() == NULL, 1)) {
            return 0;
        }
        PyErr_Clear(); /* too large: said in a list's words */
    }
    *out = PyNumber_AsSsize_t(index, PyExc_IndexError);
    return *out == -1 && PyErr_Occurred() != NULL ? -1 : 0;
}

PyObject *
ips_sequence_iter(PyObject *self)
{
    PyObject *values = ips_sequence_list((ips_sequence *)self, IPS_SPAN_ALL);
    PyObject *iterator = values == NULL ? NULL : PyObject_GetIter(values);
    Py_XDECREF(values);
    return iterator;
}

PyObject *
ips_sequence_reversed(PyObject *self, PyObject *unused)
{
    (void)unused;
    PyObject *values = ips_sequence_list((ips_sequence *)self,
        (ips_span){INT64_MAX, INT64_MIN, -1});
    PyObject *iterator = values == NULL ? NULL : PyObject_GetIter(values);
    Py_XDECREF(values);
    return iterator;
}

int
ips_sequence_contains(PyObject *self, PyObject *value)
{
    PyObject *values = ips_sequence_plain((ips_sequence *)self, NULL);
    int found = values == NULL ? -1 : PySequence_Contains(values, value);
    Py_XDECREF(values);
    return found;
}

PyObject *
ips_sequence_count(PyObject *self, PyObject *value)
{
    PyObject *values = ips_sequence_plain((ips_sequence *)self, NULL);
    Py_ssize_t count = values == NULL ? -1 : PySequence_Count(values, value);
    Py_XDECREF(values);
    return count < 0 ? NULL : PyLong_FromSsize_t(count);
}

/* The first equal one in [start, stop): its index, -1 where there is none, -2
 * with an exception set.  A list of our own: nobody changes it meanwhile. */
static Py_ssize_t
search(PyObject *values, PyObject *value, Py_ssize_t start, Py_ssize_t stop)
{
    for (Py_ssize_t i = start; i < stop && i < PyList_GET_SIZE(values); i++) {
        int equal = PyObject_RichCompareBool(PyList_GET_ITEM(values, i), value, Py_EQ);
        if (equal != 0) {
            return equal < 0 ? -2 : i;
        }
    }
    return -1;
}

static PyObject *
raise_missing(PyObject *self, PyObject *value)
{
    return PyErr_Format(PyExc_ValueError, "%R is not in the %s", value, ips_short_name(self));
}

/* Cut as a slice's edge is: too large and too small numbers too. */
static int
edge_of(PyObject *index, Py_ssize_t length, Py_ssize_t *out)
{
    *out = PyNumber_AsSsize_t(index, NULL);
    if (*out == -1 && PyErr_Occurred() != NULL) {
        return -1;
    }
    if (*out < 0) {
        *out += length;
        *out = *out < 0 ? 0 : *out;
    }
    return 0;
}

PyObject *
ips_sequence_index(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (count < 1 || count > 3) {
        return PyErr_Format(PyExc_TypeError, "index() takes a value, start and stop (%zd given)",
            count);
    }
    PyObject *values = ips_sequence_plain((ips_sequence *)self, NULL);
    Py_ssize_t start = 0;
    Py_ssize_t stop = PY_SSIZE_T_MAX;
    Py_ssize_t found = -2;
    if (values != NULL && (count < 2 || edge_of(args[1], PyList_GET_SIZE(values), &start) == 0) &&
        (count < 3 || edge_of(args[2], PyList_GET_SIZE(values), &stop) == 0)) {
        found = search(values, args[0], start, stop);
    }
    Py_XDECREF(values);
    if (found == -1) {
        return raise_missing(self, args[0]);
    }
    return found < 0 ? NULL : PyLong_FromSsize_t(found);
}

PyObject *
ips_sequence_insert(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    ips_sequence *self = (ips_sequence *)object;
    int64_t index;
    ips_snapshot value = {0};
    if (count != 2) {
        return PyErr_Format(PyExc_TypeError, "insert() takes an index and a value (%zd given)",
            count);
    }
    if (ips_sequence_index_of(args[0], &index) < 0 || ips_container_check(&self->base) < 0 ||
        ips_sequence_encode(self->base.state, self->format, args[1], &value) < 0) {
        return NULL;
    }
    int status = ips_sequence_splice(self, (ips_span){index, index, 1}, &value);
    ips_snapshot_clear(&value);
    if (status == IPS_ROW_FULL) {
        return PyErr_Format(PyExc_IndexError, "%s already at its maximum size",
            ips_short_name(object));
    }
    return status < 0 ? NULL : Py_NewRef(Py_None);
}

/* IPS_ROW_CHANGED: look again; 0, -1. */
static int
try_to_remove(PyObject *self, PyObject *value)
{
    uint64_t version;
    PyObject *values = ips_sequence_plain((ips_sequence *)self, &version);
    if (values == NULL) {
        return -1;
    }
    Py_ssize_t found = search(values, value, 0, PY_SSIZE_T_MAX);
    Py_DECREF(values);
    if (found < 0) {
        if (found == -1) {
            (void)raise_missing(self, value);
        }
        return -1;
    }
    int status = ips_sequence_take((ips_sequence *)self, found, version, NULL);
    return status == IPS_ROW_RANGE ? IPS_ROW_CHANGED : status;
}

static PyObject *
raise_busy(PyObject *self)
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    return state == NULL ? NULL : ips_raise_text(state, IPS_EAGAIN,
        "others kept changing the %s; do it inside a transaction", ips_short_name(self));
}

static PyObject *
remove_value(PyObject *self, PyObject *value)
{
    int status = IPS_ROW_CHANGED;
    for (int i = 0; status == IPS_ROW_CHANGED && i < PATIENCE; i++) {
        status = try_to_remove(self, value);
    }
    if (status == IPS_ROW_CHANGED) {
        return raise_busy(self);
    }
    return status < 0 ? NULL : Py_NewRef(Py_None);
}

/* --- remove: of a name on the class, of a value on an object */

static PyMethodDef remove_value_def = {"remove", remove_value, METH_O,
    "remove($self, value, /)\n--\n\nRemove the first equal value; ValueError where there is none."};
static PyMethodDef remove_name_def = {"remove", (PyCFunction)(void (*)(void))ips_container_remove,
    METH_FASTCALL | METH_KEYWORDS, IPS_REMOVE_DOC};

static PyObject *
remove_get(PyObject *self, PyObject *object, PyObject *type)
{
    (void)self;
    return object == NULL || object == Py_None ? PyCFunction_New(&remove_name_def, type)
                                               : PyCFunction_New(&remove_value_def, object);
}

PyDoc_STRVAR(remove_doc, "On the class, remove(name, namespace=None) removes a name: InUse while\n"
    "live members hold the object.  On an object, remove(value) removes the first\n"
    "equal value: ValueError where there is none.");

static PyType_Slot remove_slots[] = {
    {Py_tp_doc, (void *)remove_doc},
    {Py_tp_descr_get, (void *)remove_get},
    {0, NULL},
};

static PyType_Spec remove_spec = {
    .name = "ipcsys._core.remove",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = remove_slots,
};

int
ips_sequence_add_remove(PyObject *module, PyTypeObject *type)
{
    PyTypeObject *kind = (PyTypeObject *)PyType_FromModuleAndSpec(module, &remove_spec, NULL);
    PyObject *remove = kind == NULL ? NULL : kind->tp_alloc(kind, 0);
    int status = remove == NULL ? -1 : PyObject_SetAttrString((PyObject *)type, "remove", remove);
    Py_XDECREF(remove);
    Py_XDECREF(kind);
    return status;
}

/* --- in place */

PyObject *
ips_sequence_repeat_in_place(PyObject *self, Py_ssize_t times)
{
    int status = ips_sequence_repeat((ips_sequence *)self, times < 0 ? 0 : (uint64_t)times);
    return status < 0 ? NULL : Py_NewRef(self);
}

PyObject *
ips_sequence_reverse(PyObject *self, PyObject *unused)
{
    (void)unused;
    int status = IPS_ROW_CHANGED;
    for (int i = 0; status == IPS_ROW_CHANGED && i < PATIENCE; i++) {
        Py_ssize_t length = ips_sequence_length(self);
        uint64_t *order = length < 0 ? NULL : PyMem_New(uint64_t, length == 0 ? 1 : length);
        if (order == NULL) {
            return length < 0 ? NULL : PyErr_NoMemory();
        }
        for (Py_ssize_t at = 0; at < length; at++) {
            order[at] = (uint64_t)(length - 1 - at);
        }
        status = ips_sequence_reorder((ips_sequence *)self, order, (uint64_t)length, IPS_ROW_ANY);
        PyMem_Free(order);
    }
    if (status == IPS_ROW_CHANGED) {
        return raise_busy(self);
    }
    return status < 0 ? NULL : Py_NewRef(Py_None);
}
