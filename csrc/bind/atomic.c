/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.AtomicInt: data/atomic.h in a cell of its own, or in a segment. */
#include "bind/cell.h"
#include "bind/container.h"
#include "data/atomic.h"

_Static_assert(sizeof(ips_atomic_int_shm) <= IPS_STABLE_SIZE, "it fits a stable cell");

/* The word to work on; NULL with Closed or ObjectGone set.  Nothing of
 * Python's may happen between this and the access. */
static inline ips_atomic_int_shm *
word_of(PyObject *object)
{
    ips_cell_object *self = (ips_cell_object *)object;
    if (__builtin_expect(ips_cell_is_usable(self), 1)) {
        return self->shm;
    }
    (void)ips_cell_raise_closed(self);
    return NULL;
}

/* An argument; 0, or -1 with an exception set. */
static inline int
number_of(PyObject *argument, int64_t *out)
{
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(argument, &overflow);
    if (__builtin_expect(value == -1, 0)) {
        if (overflow != 0) {
            PyErr_SetString(PyExc_OverflowError, "an AtomicInt holds 64 bits with sign");
            return -1;
        }
        if (PyErr_Occurred() != NULL) {
            return -1;
        }
    }
    *out = value;
    return 0;
}

/* Two's complement, as the word itself wraps. */
static inline int64_t
wrapped_sum(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

/* --- methods */

static PyObject *
integer_load(PyObject *self, PyObject *unused)
{
    (void)unused;
    ips_atomic_int_shm *word = word_of(self);
    return word == NULL ? NULL : PyLong_FromLongLong(ips_atomic_int_load(word));
}

static PyObject *
integer_store(PyObject *self, PyObject *argument)
{
    int64_t value;
    ips_atomic_int_shm *word = number_of(argument, &value) < 0 ? NULL : word_of(self);
    if (word == NULL) {
        return NULL;
    }
    ips_atomic_int_store(word, value);
    Py_RETURN_NONE;
}

static PyObject *
integer_exchange(PyObject *self, PyObject *argument)
{
    int64_t value;
    ips_atomic_int_shm *word = number_of(argument, &value) < 0 ? NULL : word_of(self);
    return word == NULL ? NULL : PyLong_FromLongLong(ips_atomic_int_exchange(word, value));
}

/* Add `sign` times the argument (1 where there is none); before and after. */
static inline int
change(PyObject *self, PyObject *const *args, Py_ssize_t count, int sign, int64_t *before,
    int64_t *after)
{
    int64_t amount = 1;
    if (count > 1) {
        PyErr_Format(PyExc_TypeError, "expected at most 1 argument, got %zd", count);
        return -1;
    }
    if (count == 1 && number_of(args[0], &amount) < 0) {
        return -1;
    }
    if (sign < 0) {
        amount = (int64_t)(0 - (uint64_t)amount);
    }
    ips_atomic_int_shm *word = word_of(self);
    if (word == NULL) {
        return -1;
    }
    *before = ips_atomic_int_fetch_add(word, amount);
    *after = wrapped_sum(*before, amount);
    return 0;
}

static PyObject *
integer_add(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    int64_t before, after;
    return change(self, args, count, 1, &before, &after) < 0 ? NULL : PyLong_FromLongLong(after);
}

static PyObject *
integer_sub(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    int64_t before, after;
    return change(self, args, count, -1, &before, &after) < 0 ? NULL : PyLong_FromLongLong(after);
}

static PyObject *
integer_fetch_add(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    int64_t before, after;
    return change(self, args, count, 1, &before, &after) < 0 ? NULL : PyLong_FromLongLong(before);
}

static PyObject *
integer_fetch_sub(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    int64_t before, after;
    return change(self, args, count, -1, &before, &after) < 0 ? NULL
                                                              : PyLong_FromLongLong(before);
}

static PyObject *
integer_compare_exchange(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    int64_t expected, desired;
    if (count != 2) {
        return PyErr_Format(PyExc_TypeError, "compare_exchange expected 2 arguments, got %zd",
            count);
    }
    if (number_of(args[0], &expected) < 0 || number_of(args[1], &desired) < 0) {
        return NULL;
    }
    ips_atomic_int_shm *word = word_of(self);
    return word == NULL ? NULL
                        : PyBool_FromLong(ips_atomic_int_compare_exchange(word, expected, desired));
}

/* --- manners of a number */

static PyObject *
integer_int(PyObject *self)
{
    return integer_load(self, NULL);
}

static int
integer_bool(PyObject *self)
{
    ips_atomic_int_shm *word = word_of(self);
    return word == NULL ? -1 : ips_atomic_int_load(word) != 0;
}

static PyObject *
integer_iadd(PyObject *self, PyObject *other)
{
    int64_t before, after;
    if (!PyIndex_Check(other)) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    return change(self, &other, 1, 1, &before, &after) < 0 ? NULL : Py_NewRef(self);
}

static PyObject *
integer_isub(PyObject *self, PyObject *other)
{
    int64_t before, after;
    if (!PyIndex_Check(other)) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    return change(self, &other, 1, -1, &before, &after) < 0 ? NULL : Py_NewRef(self);
}

static PyObject *
integer_compare(PyObject *self, PyObject *other, int op)
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    if (state == NULL) {
        return NULL;
    }
    bool same = PyObject_TypeCheck(other, state->atomic_int_type);
    if (!same && !PyLong_Check(other) && !PyFloat_Check(other)) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    PyObject *mine = integer_load(self, NULL);
    PyObject *theirs = mine == NULL ? NULL : same ? integer_load(other, NULL) : Py_NewRef(other);
    PyObject *result = theirs == NULL ? NULL : PyObject_RichCompare(mine, theirs, op);
    Py_XDECREF(mine);
    Py_XDECREF(theirs);
    return result;
}

static PyObject *
integer_repr(PyObject *object)
{
    ips_cell_object *self = (ips_cell_object *)object;
    if (self->shm == NULL) {
        return PyUnicode_FromString("<closed AtomicInt>");
    }
    ips_atomic_int_shm *word = word_of(object);
    return word == NULL ? NULL
                        : PyUnicode_FromFormat("AtomicInt(%lld)",
                              (long long)ips_atomic_int_load(word));
}

static PyObject *
integer_get_value(PyObject *self, void *unused)
{
    (void)unused;
    return integer_load(self, NULL);
}

static int
integer_set_value(PyObject *self, PyObject *value, void *unused)
{
    (void)unused;
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "the value cannot be deleted");
        return -1;
    }
    PyObject *done = integer_store(self, value);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* --- made */

static int
integer_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"value", "name", "namespace", "create", "cleanup", "segment", NULL};
    PyObject *argument = NULL;
    int64_t value = 0;
    ips_container_where where = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$OOOOO:AtomicInt", names, &argument,
            &where.name, &where.namespace_, &where.create, &where.cleanup, &where.segment) ||
        (argument != NULL && number_of(argument, &value) < 0)) {
        return -1;
    }
    const uint64_t words[IPS_CELL_WORDS] = {(uint64_t)value};
    return ips_cell_object_open((ips_cell_object *)object, &where, IPS_CELL_ATOMIC_INT, words);
}

static PyObject *
integer_restore(PyObject *type, PyObject *args)
{
    return ips_cell_restore(type, args, IPS_CELL_ATOMIC_INT);
}

/* --- the type */

PyDoc_STRVAR(integer_doc,
    "AtomicInt(value=0, *, name=None, namespace=None, create=None, cleanup=None, segment=None)\n"
    "--\n\n"
    "A 64-bit integer that processes change without a lock.\n\n"
    "Each method is one indivisible step, and all processes see all steps in one\n"
    "order.  Beyond 64 bits it wraps around.  It takes no part in transactions: one\n"
    "that is undone leaves it as it is.");

static PyMethodDef integer_methods[] = {
    {"load", integer_load, METH_NOARGS, "load($self, /)\n--\n\nThe value."},
    {"store", integer_store, METH_O, "store($self, value, /)\n--\n\nSet the value."},
    {"exchange", integer_exchange, METH_O,
        "exchange($self, value, /)\n--\n\nSet the value and give the one before."},
    {"add", (PyCFunction)(void (*)(void))integer_add, METH_FASTCALL,
        "add($self, amount=1, /)\n--\n\nAdd, and give the sum."},
    {"sub", (PyCFunction)(void (*)(void))integer_sub, METH_FASTCALL,
        "sub($self, amount=1, /)\n--\n\nSubtract, and give the difference."},
    {"fetch_add", (PyCFunction)(void (*)(void))integer_fetch_add, METH_FASTCALL,
        "fetch_add($self, amount=1, /)\n--\n\nAdd, and give the value before."},
    {"fetch_sub", (PyCFunction)(void (*)(void))integer_fetch_sub, METH_FASTCALL,
        "fetch_sub($self, amount=1, /)\n--\n\nSubtract, and give the value before."},
    {"compare_exchange", (PyCFunction)(void (*)(void))integer_compare_exchange, METH_FASTCALL,
        "compare_exchange($self, expected, desired, /)\n--\n\n"
        "Set the desired value if the present one is the expected; True if it was."},
    {"__enter__", ips_cell_enter_context, METH_NOARGS, "__enter__($self, /)\n--\n\nItself."},
    {"__exit__", (PyCFunction)(void (*)(void))ips_cell_exit_context, METH_FASTCALL,
        "__exit__($self, /, *exc_info)\n--\n\nclose()."},
    IPS_CELL_METHODS(integer_restore),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef integer_getsets[] = {
    {"value", integer_get_value, integer_set_value, "The value; may be set.", NULL},
    IPS_CELL_GETSETS,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef integer_members[] = {
    IPS_CELL_WEAKREFS,
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot integer_slots[] = {
    {Py_tp_doc, (void *)integer_doc},
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_init, (void *)integer_init},
    {Py_tp_dealloc, (void *)ips_cell_dealloc},
    {Py_tp_repr, (void *)integer_repr},
    {Py_tp_hash, (void *)PyObject_HashNotImplemented},
    {Py_tp_richcompare, (void *)integer_compare},
    {Py_tp_methods, integer_methods},
    {Py_tp_getset, integer_getsets},
    {Py_tp_members, integer_members},
    {Py_nb_int, (void *)integer_int},
    {Py_nb_index, (void *)integer_int},
    {Py_nb_bool, (void *)integer_bool},
    {Py_nb_inplace_add, (void *)integer_iadd},
    {Py_nb_inplace_subtract, (void *)integer_isub},
    {0, NULL},
};

static PyType_Spec integer_spec = {
    .name = "ipcsys.AtomicInt",
    .basicsize = sizeof(ips_cell_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = integer_slots,
};

int
ips_add_atomic_int(PyObject *module, ips_state *state)
{
    state->atomic_int_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &integer_spec, NULL);
    return state->atomic_int_type == NULL ? -1
                                          : PyModule_AddType(module, state->atomic_int_type);
}
