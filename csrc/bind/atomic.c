/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.AtomicInt: data/atomic.h in a cell of its own, or in a segment. */
#include "bind/atomic.h"

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

static const ips_atomic_manner manner = {number_of, ips_atomic_same_word};

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
    ips_atomic_shm *word = ips_atomic_word(self);
    return word == NULL ? NULL : PyLong_FromLongLong(ips_atomic_load(word));
}

static PyObject *
integer_store(PyObject *self, PyObject *argument)
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
integer_exchange(PyObject *self, PyObject *argument)
{
    int64_t value;
    ips_atomic_shm *word = number_of(argument, &value) < 0 ? NULL : ips_atomic_word(self);
    return word == NULL ? NULL : PyLong_FromLongLong(ips_atomic_exchange(word, value));
}

/* Add `sign` times the argument (1 where there is none); before and after. */
static inline int
change(PyObject *self, PyObject *const *args, Py_ssize_t count, int sign, int64_t *before,
    int64_t *after)
{
    int64_t amount = 1;
    if (ips_atomic_amount(args, count, &manner, &amount) < 0) {
        return -1;
    }
    if (sign < 0) {
        amount = (int64_t)(0 - (uint64_t)amount);
    }
    ips_atomic_shm *word = ips_atomic_word(self);
    if (word == NULL) {
        return -1;
    }
    *before = ips_atomic_fetch_add(word, amount);
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
    return ips_atomic_compare_exchange_call(self, args, count, &manner);
}

static PyObject *
integer_wait(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    return ips_atomic_wait_call(self, args, count, keywords, &manner);
}

/* --- bits */

typedef int64_t (*bitwise)(ips_atomic_shm *word, int64_t bits);

static PyObject *
change_bits(PyObject *self, PyObject *argument, bitwise operation)
{
    int64_t bits;
    ips_atomic_shm *word = number_of(argument, &bits) < 0 ? NULL : ips_atomic_word(self);
    return word == NULL ? NULL : PyLong_FromLongLong(operation(word, bits));
}

static PyObject *
change_bits_in_place(PyObject *self, PyObject *other, bitwise operation)
{
    if (!PyIndex_Check(other)) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    PyObject *before = change_bits(self, other, operation);
    Py_XDECREF(before);
    return before == NULL ? NULL : Py_NewRef(self);
}

static PyObject *
integer_fetch_and(PyObject *self, PyObject *bits)
{
    return change_bits(self, bits, ips_atomic_fetch_and);
}

static PyObject *
integer_fetch_or(PyObject *self, PyObject *bits)
{
    return change_bits(self, bits, ips_atomic_fetch_or);
}

static PyObject *
integer_fetch_xor(PyObject *self, PyObject *bits)
{
    return change_bits(self, bits, ips_atomic_fetch_xor);
}

static PyObject *
integer_iand(PyObject *self, PyObject *bits)
{
    return change_bits_in_place(self, bits, ips_atomic_fetch_and);
}

static PyObject *
integer_ior(PyObject *self, PyObject *bits)
{
    return change_bits_in_place(self, bits, ips_atomic_fetch_or);
}

static PyObject *
integer_ixor(PyObject *self, PyObject *bits)
{
    return change_bits_in_place(self, bits, ips_atomic_fetch_xor);
}

/* --- the smaller and the larger */

static int64_t
fetch_min(ips_atomic_shm *word, int64_t value)
{
    int64_t seen = ips_atomic_load(word);
    while (value < seen && !ips_atomic_compare_exchange(word, &seen, value)) {
        ; /* `seen` was read again */
    }
    return seen;
}

static int64_t
fetch_max(ips_atomic_shm *word, int64_t value)
{
    int64_t seen = ips_atomic_load(word);
    while (value > seen && !ips_atomic_compare_exchange(word, &seen, value)) {
        ; /* `seen` was read again */
    }
    return seen;
}

static PyObject *
integer_fetch_min(PyObject *self, PyObject *value)
{
    return change_bits(self, value, fetch_min);
}

static PyObject *
integer_fetch_max(PyObject *self, PyObject *value)
{
    return change_bits(self, value, fetch_max);
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
    ips_atomic_shm *word = ips_atomic_word(self);
    return word == NULL ? -1 : ips_atomic_load(word) != 0;
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
    return ips_atomic_compare(self, other, op, state->atomic_int_type, integer_load);
}

static PyObject *
integer_repr(PyObject *object)
{
    ips_cell_object *self = (ips_cell_object *)object;
    if (self->shm == NULL) {
        return PyUnicode_FromString("<closed AtomicInt>");
    }
    ips_atomic_shm *word = ips_atomic_word(object);
    return word == NULL ? NULL
                        : PyUnicode_FromFormat("AtomicInt(%lld)",
                              (long long)ips_atomic_load(word));
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
    return ips_atomic_set(self, value, integer_store);
}

/* --- made */

static int
integer_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    return ips_atomic_init(object, args, kwargs, IPS_CELL_ATOMIC_INT, &manner);
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
    "that is undone leaves it as it is.  wait() and notify() are as in C++20's\n"
    "std::atomic: a change by itself wakes nobody.");

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
    {"fetch_and", integer_fetch_and, METH_O,
        "fetch_and($self, bits, /)\n--\n\nKeep these bits, and give the value before."},
    {"fetch_or", integer_fetch_or, METH_O,
        "fetch_or($self, bits, /)\n--\n\nSet these bits, and give the value before."},
    {"fetch_xor", integer_fetch_xor, METH_O,
        "fetch_xor($self, bits, /)\n--\n\nTurn these bits, and give the value before."},
    {"fetch_min", integer_fetch_min, METH_O,
        "fetch_min($self, value, /)\n--\n\nThe smaller of both from now on; give the value before."},
    {"fetch_max", integer_fetch_max, METH_O,
        "fetch_max($self, value, /)\n--\n\nThe larger of both from now on; give the value before."},
    IPS_ATOMIC_WAITS(integer_wait),
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
    {Py_nb_inplace_and, (void *)integer_iand},
    {Py_nb_inplace_or, (void *)integer_ior},
    {Py_nb_inplace_xor, (void *)integer_ixor},
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
