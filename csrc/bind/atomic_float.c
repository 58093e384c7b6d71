/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.AtomicFloat: data/atomic.h as a double, in a cell or in a segment. */
#include "bind/atomic.h"

static int
number_of(PyObject *argument, int64_t *out)
{
    double value = PyFloat_AsDouble(argument);
    if (value == -1.0 && PyErr_Occurred() != NULL) {
        return -1;
    }
    *out = ips_atomic_of_double(value);
    return 0;
}

static const ips_atomic_manner manner = {number_of, ips_atomic_same_double};

static PyObject *
as_float(int64_t bits)
{
    return PyFloat_FromDouble(ips_atomic_as_double(bits));
}

/* --- methods */

static PyObject *
real_load(PyObject *self, PyObject *unused)
{
    (void)unused;
    ips_atomic_shm *word = ips_atomic_word(self);
    return word == NULL ? NULL : as_float(ips_atomic_load(word));
}

static PyObject *
real_store(PyObject *self, PyObject *argument)
{
    int64_t value;
    ips_atomic_shm *word = number_of(argument, &value) < 0 ? NULL : ips_atomic_word(self);
    if (word == NULL) {
        return NULL;
    }
    ips_atomic_store(word, value);
    Py_RETURN_NONE;
}

static PyObject *
real_exchange(PyObject *self, PyObject *argument)
{
    int64_t value;
    ips_atomic_shm *word = number_of(argument, &value) < 0 ? NULL : ips_atomic_word(self);
    return word == NULL ? NULL : as_float(ips_atomic_exchange(word, value));
}

static PyObject *
real_compare_exchange(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    return ips_atomic_compare_exchange_call(self, args, count, &manner);
}

static PyObject *
real_wait(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    return ips_atomic_wait_call(self, args, count, keywords, &manner);
}

/* --- arithmetic: a new double in the place of the one it was made from */

typedef double (*arithmetic)(double value, double amount);

static double
sum(double value, double amount)
{
    return value + amount;
}

static double
difference(double value, double amount)
{
    return value - amount;
}

static double
smaller(double value, double other)
{
    return other < value ? other : value;
}

static double
larger(double value, double other)
{
    return other > value ? other : value;
}

/* The value before and after; -1 with an exception set. */
static int
change(PyObject *self, int64_t amount, arithmetic operation, double *before, double *after)
{
    ips_atomic_shm *word = ips_atomic_word(self);
    if (word == NULL) {
        return -1;
    }
    int64_t seen = ips_atomic_load(word);
    do {
        *before = ips_atomic_as_double(seen);
        *after = operation(*before, ips_atomic_as_double(amount));
    } while (!ips_atomic_compare_exchange(word, &seen, ips_atomic_of_double(*after)));
    return 0;
}

/* Add, or what `operation` says, the argument (1 where there is none). */
static int
change_by(PyObject *self, PyObject *const *args, Py_ssize_t count, arithmetic operation,
    double result[2])
{
    int64_t amount = ips_atomic_of_double(1.0);
    return ips_atomic_amount(args, count, &manner, &amount) < 0
        ? -1 : change(self, amount, operation, &result[0], &result[1]);
}

static PyObject *
real_add(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    double result[2];
    return change_by(self, args, count, sum, result) < 0 ? NULL : PyFloat_FromDouble(result[1]);
}

static PyObject *
real_sub(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    double result[2];
    return change_by(self, args, count, difference, result) < 0 ? NULL
                                                                : PyFloat_FromDouble(result[1]);
}

static PyObject *
real_fetch_add(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    double result[2];
    return change_by(self, args, count, sum, result) < 0 ? NULL : PyFloat_FromDouble(result[0]);
}

static PyObject *
real_fetch_sub(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    double result[2];
    return change_by(self, args, count, difference, result) < 0 ? NULL
                                                                : PyFloat_FromDouble(result[0]);
}

static PyObject *
real_fetch_min(PyObject *self, PyObject *value)
{
    double result[2];
    return change_by(self, &value, 1, smaller, result) < 0 ? NULL : PyFloat_FromDouble(result[0]);
}

static PyObject *
real_fetch_max(PyObject *self, PyObject *value)
{
    double result[2];
    return change_by(self, &value, 1, larger, result) < 0 ? NULL : PyFloat_FromDouble(result[0]);
}

/* --- manners of a number */

static PyObject *
real_float(PyObject *self)
{
    return real_load(self, NULL);
}

static PyObject *
real_int(PyObject *self)
{
    PyObject *value = real_load(self, NULL);
    PyObject *whole = value == NULL ? NULL : PyNumber_Long(value);
    Py_XDECREF(value);
    return whole;
}

static int
real_bool(PyObject *self)
{
    ips_atomic_shm *word = ips_atomic_word(self);
    return word == NULL ? -1 : ips_atomic_as_double(ips_atomic_load(word)) != 0.0;
}

static PyObject *
in_place(PyObject *self, PyObject *other, arithmetic operation)
{
    double result[2];
    if (!PyFloat_Check(other) && !PyIndex_Check(other)) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    return change_by(self, &other, 1, operation, result) < 0 ? NULL : Py_NewRef(self);
}

static PyObject *
real_iadd(PyObject *self, PyObject *other)
{
    return in_place(self, other, sum);
}

static PyObject *
real_isub(PyObject *self, PyObject *other)
{
    return in_place(self, other, difference);
}

static PyObject *
real_compare(PyObject *self, PyObject *other, int op)
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    return state == NULL
        ? NULL : ips_atomic_compare(self, other, op, state->atomic_float_type, real_load);
}

static PyObject *
real_repr(PyObject *object)
{
    if (((ips_cell_object *)object)->shm == NULL) {
        return PyUnicode_FromString("<closed AtomicFloat>");
    }
    PyObject *value = real_load(object, NULL);
    PyObject *text = value == NULL ? NULL : PyUnicode_FromFormat("AtomicFloat(%R)", value);
    Py_XDECREF(value);
    return text;
}

static PyObject *
real_get_value(PyObject *self, void *unused)
{
    (void)unused;
    return real_load(self, NULL);
}

static int
real_set_value(PyObject *self, PyObject *value, void *unused)
{
    (void)unused;
    return ips_atomic_set(self, value, real_store);
}

/* --- made */

static int
real_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return ips_atomic_init(self, args, kwargs, IPS_CELL_ATOMIC_FLOAT, &manner);
}

static PyObject *
real_restore(PyObject *type, PyObject *args)
{
    return ips_cell_restore(type, args, IPS_CELL_ATOMIC_FLOAT);
}

/* --- the type */

PyDoc_STRVAR(real_doc,
    "AtomicFloat(value=0.0, *, name=None, namespace=None, create=None, cleanup=None, segment=None)\n"
    "--\n\n"
    "A float that processes change without a lock.\n\n"
    "Each method is one indivisible step, and all processes see all steps in one\n"
    "order; additions of several processes round in that order.  Where a value is\n"
    "compared with an expected one, 0.0 is -0.0 and not-a-number is itself.  It\n"
    "takes no part in transactions.  wait() and notify() are as in AtomicInt.");

static PyMethodDef real_methods[] = {
    {"load", real_load, METH_NOARGS, "load($self, /)\n--\n\nThe value."},
    {"store", real_store, METH_O, "store($self, value, /)\n--\n\nSet the value."},
    {"exchange", real_exchange, METH_O,
        "exchange($self, value, /)\n--\n\nSet the value and give the one before."},
    {"add", (PyCFunction)(void (*)(void))real_add, METH_FASTCALL,
        "add($self, amount=1.0, /)\n--\n\nAdd, and give the sum."},
    {"sub", (PyCFunction)(void (*)(void))real_sub, METH_FASTCALL,
        "sub($self, amount=1.0, /)\n--\n\nSubtract, and give the difference."},
    {"fetch_add", (PyCFunction)(void (*)(void))real_fetch_add, METH_FASTCALL,
        "fetch_add($self, amount=1.0, /)\n--\n\nAdd, and give the value before."},
    {"fetch_sub", (PyCFunction)(void (*)(void))real_fetch_sub, METH_FASTCALL,
        "fetch_sub($self, amount=1.0, /)\n--\n\nSubtract, and give the value before."},
    {"fetch_min", real_fetch_min, METH_O,
        "fetch_min($self, value, /)\n--\n\nThe smaller of both from now on; give the value before.\n\n"
        "Not-a-number is neither smaller nor larger than anything."},
    {"fetch_max", real_fetch_max, METH_O,
        "fetch_max($self, value, /)\n--\n\nThe larger of both from now on; give the value before.\n\n"
        "Not-a-number is neither smaller nor larger than anything."},
    {"compare_exchange", (PyCFunction)(void (*)(void))real_compare_exchange, METH_FASTCALL,
        "compare_exchange($self, expected, desired, /)\n--\n\n"
        "Set the desired value if the present one is the expected; True if it was."},
    IPS_ATOMIC_WAITS(real_wait),
    IPS_CELL_METHODS(real_restore),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef real_getsets[] = {
    {"value", real_get_value, real_set_value, "The value; may be set.", NULL},
    IPS_CELL_GETSETS,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef real_members[] = {
    IPS_CELL_WEAKREFS,
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot real_slots[] = {
    {Py_tp_doc, (void *)real_doc},
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_init, (void *)real_init},
    {Py_tp_dealloc, (void *)ips_cell_dealloc},
    {Py_tp_repr, (void *)real_repr},
    {Py_tp_hash, (void *)PyObject_HashNotImplemented},
    {Py_tp_richcompare, (void *)real_compare},
    {Py_tp_methods, real_methods},
    {Py_tp_getset, real_getsets},
    {Py_tp_members, real_members},
    {Py_nb_float, (void *)real_float},
    {Py_nb_int, (void *)real_int},
    {Py_nb_bool, (void *)real_bool},
    {Py_nb_inplace_add, (void *)real_iadd},
    {Py_nb_inplace_subtract, (void *)real_isub},
    {0, NULL},
};

static PyType_Spec real_spec = {
    .name = "ipcsys.AtomicFloat",
    .basicsize = sizeof(ips_cell_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = real_slots,
};

int
ips_add_atomic_float(PyObject *module, ips_state *state)
{
    state->atomic_float_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &real_spec, NULL);
    return state->atomic_float_type == NULL ? -1
                                            : PyModule_AddType(module, state->atomic_float_type);
}
