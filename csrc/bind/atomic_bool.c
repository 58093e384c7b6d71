/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.AtomicBool: data/atomic.h as a truth value, in a cell or in a segment. */
#include "bind/atomic.h"

static int
truth_of(PyObject *argument, int64_t *out)
{
    int truth = PyObject_IsTrue(argument);
    *out = truth;
    return truth < 0 ? -1 : 0;
}

static const ips_atomic_manner manner = {truth_of, ips_atomic_same_word};

/* What a peer may have put there is a truth value too. */
static PyObject *
as_bool(int64_t value)
{
    return PyBool_FromLong(value != 0);
}

static PyObject *
flag_load(PyObject *self, PyObject *unused)
{
    (void)unused;
    ips_atomic_shm *word = ips_atomic_word(self);
    return word == NULL ? NULL : as_bool(ips_atomic_load(word));
}

static PyObject *
flag_store(PyObject *self, PyObject *argument)
{
    int64_t value;
    ips_atomic_shm *word = truth_of(argument, &value) < 0 ? NULL : ips_atomic_word(self);
    if (word == NULL) {
        return NULL;
    }
    ips_atomic_store(word, value);
    Py_RETURN_NONE;
}

/* What `operation` says with the argument; the value before. */
static PyObject *
change(PyObject *self, PyObject *argument,
    int64_t (*operation)(ips_atomic_shm *word, int64_t value))
{
    int64_t value;
    ips_atomic_shm *word = truth_of(argument, &value) < 0 ? NULL : ips_atomic_word(self);
    return word == NULL ? NULL : as_bool(operation(word, value));
}

static PyObject *
flag_exchange(PyObject *self, PyObject *value)
{
    return change(self, value, ips_atomic_exchange);
}

static PyObject *
flag_fetch_and(PyObject *self, PyObject *value)
{
    return change(self, value, ips_atomic_fetch_and);
}

static PyObject *
flag_fetch_or(PyObject *self, PyObject *value)
{
    return change(self, value, ips_atomic_fetch_or);
}

static PyObject *
flag_fetch_xor(PyObject *self, PyObject *value)
{
    return change(self, value, ips_atomic_fetch_xor);
}

static PyObject *
flag_compare_exchange(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    return ips_atomic_compare_exchange_call(self, args, count, &manner);
}

static PyObject *
flag_wait(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    return ips_atomic_wait_call(self, args, count, keywords, &manner);
}

/* --- manners of a truth value */

static int
flag_bool(PyObject *self)
{
    ips_atomic_shm *word = ips_atomic_word(self);
    return word == NULL ? -1 : ips_atomic_load(word) != 0;
}

static PyObject *
flag_int(PyObject *self)
{
    int truth = flag_bool(self);
    return truth < 0 ? NULL : PyLong_FromLong(truth);
}

static PyObject *
in_place(PyObject *self, PyObject *other,
    int64_t (*operation)(ips_atomic_shm *word, int64_t value))
{
    if (!PyBool_Check(other)) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    PyObject *before = change(self, other, operation);
    Py_XDECREF(before);
    return before == NULL ? NULL : Py_NewRef(self);
}

static PyObject *
flag_iand(PyObject *self, PyObject *other)
{
    return in_place(self, other, ips_atomic_fetch_and);
}

static PyObject *
flag_ior(PyObject *self, PyObject *other)
{
    return in_place(self, other, ips_atomic_fetch_or);
}

static PyObject *
flag_ixor(PyObject *self, PyObject *other)
{
    return in_place(self, other, ips_atomic_fetch_xor);
}

static PyObject *
flag_compare(PyObject *self, PyObject *other, int op)
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    return state == NULL
        ? NULL : ips_atomic_compare(self, other, op, state->atomic_bool_type, flag_load);
}

static PyObject *
flag_repr(PyObject *object)
{
    if (((ips_cell_object *)object)->shm == NULL) {
        return PyUnicode_FromString("<closed AtomicBool>");
    }
    int truth = flag_bool(object);
    return truth < 0 ? NULL
                     : PyUnicode_FromFormat("AtomicBool(%s)", truth != 0 ? "True" : "False");
}

static PyObject *
flag_get_value(PyObject *self, void *unused)
{
    (void)unused;
    return flag_load(self, NULL);
}

static int
flag_set_value(PyObject *self, PyObject *value, void *unused)
{
    (void)unused;
    return ips_atomic_set(self, value, flag_store);
}

/* --- made */

static int
flag_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return ips_atomic_init(self, args, kwargs, IPS_CELL_ATOMIC_BOOL, &manner);
}

static PyObject *
flag_restore(PyObject *type, PyObject *args)
{
    return ips_cell_restore(type, args, IPS_CELL_ATOMIC_BOOL);
}

/* --- the type */

PyDoc_STRVAR(flag_doc,
    "AtomicBool(value=False, *, name=None, namespace=None, create=None, cleanup=None, segment=None)\n"
    "--\n\n"
    "A truth value that processes change without a lock.\n\n"
    "Each method is one indivisible step, and all processes see all steps in one\n"
    "order.  Any object may be stored: its truth is.  exchange(True) is the test and\n"
    "set of a flag, fetch_xor(True) turns it.  It takes no part in transactions.\n"
    "wait() and notify() are as in AtomicInt.");

static PyMethodDef flag_methods[] = {
    {"load", flag_load, METH_NOARGS, "load($self, /)\n--\n\nThe value."},
    {"store", flag_store, METH_O, "store($self, value, /)\n--\n\nSet the value."},
    {"exchange", flag_exchange, METH_O,
        "exchange($self, value, /)\n--\n\nSet the value and give the one before."},
    {"fetch_and", flag_fetch_and, METH_O,
        "fetch_and($self, value, /)\n--\n\nTrue if it was and `value` is; give the value before."},
    {"fetch_or", flag_fetch_or, METH_O,
        "fetch_or($self, value, /)\n--\n\nTrue if it was or `value` is; give the value before."},
    {"fetch_xor", flag_fetch_xor, METH_O,
        "fetch_xor($self, value, /)\n--\n\nTurn it if `value` is true; give the value before."},
    {"compare_exchange", (PyCFunction)(void (*)(void))flag_compare_exchange, METH_FASTCALL,
        "compare_exchange($self, expected, desired, /)\n--\n\n"
        "Set the desired value if the present one is the expected; True if it was."},
    IPS_ATOMIC_WAITS(flag_wait),
    IPS_CELL_METHODS(flag_restore),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef flag_getsets[] = {
    {"value", flag_get_value, flag_set_value, "The value; may be set.", NULL},
    IPS_CELL_GETSETS,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef flag_members[] = {
    IPS_CELL_WEAKREFS,
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot flag_slots[] = {
    {Py_tp_doc, (void *)flag_doc},
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_init, (void *)flag_init},
    {Py_tp_dealloc, (void *)ips_cell_dealloc},
    {Py_tp_repr, (void *)flag_repr},
    {Py_tp_hash, (void *)PyObject_HashNotImplemented},
    {Py_tp_richcompare, (void *)flag_compare},
    {Py_tp_methods, flag_methods},
    {Py_tp_getset, flag_getsets},
    {Py_tp_members, flag_members},
    {Py_nb_bool, (void *)flag_bool},
    {Py_nb_int, (void *)flag_int},
    {Py_nb_inplace_and, (void *)flag_iand},
    {Py_nb_inplace_or, (void *)flag_ior},
    {Py_nb_inplace_xor, (void *)flag_ixor},
    {0, NULL},
};

static PyType_Spec flag_spec = {
    .name = "ipcsys.AtomicBool",
    .basicsize = sizeof(ips_cell_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = flag_slots,
};

int
ips_add_atomic_bool(PyObject *module, ips_state *state)
{
    state->atomic_bool_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &flag_spec, NULL);
    return state->atomic_bool_type == NULL ? -1
                                           : PyModule_AddType(module, state->atomic_bool_type);
}
