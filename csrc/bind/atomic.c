/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.AtomicInt: data/atomic.h in a cell of its own, or in a segment. */
#include "bind/cell.h"
#include "bind/container.h"
#include "data/atomic.h"

typedef struct {
    ips_cell_object base; /* base.shm is the word, wherever it is */
    ips_state *state;
    ips_home home;        /* in a segment; else empty */
} integer_object;

_Static_assert(sizeof(ips_atomic_int_shm) <= IPS_STABLE_SIZE, "it fits a stable cell");

/* --- the word */

static ips_atomic_int_shm *
gone(integer_object *self)
{
    if (self->base.shm == NULL) {
        (void)ips_cell_raise_closed(&self->base);
    } else {
        (void)ips_raise_text(self->state, IPS_EGONE, "this AtomicInt was destroyed");
    }
    return NULL;
}

/* The word to work on; NULL with Closed or ObjectGone set.  Nothing of
 * Python's may happen between this and the access. */
static inline ips_atomic_int_shm *
word_of(PyObject *object)
{
    integer_object *self = (integer_object *)object;
    if (__builtin_expect(self->base.shm == NULL, 0) ||
        (self->home.segment != NULL &&
            ips_stable_generation(self->home.segment, self->home.root, IPS_TYPE_ATOMIC_INT) !=
                self->home.generation)) {
        return gone(self);
    }
    return self->base.shm;
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
    ips_state *state = ((integer_object *)self)->state;
    bool same = state != NULL && PyObject_TypeCheck(other, state->atomic_int_type);
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
    integer_object *self = (integer_object *)object;
    if (self->base.shm == NULL) {
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
create(ips_segment *segment, void *context, ips_offset *root)
{
    int status = ips_stable_alloc(segment, IPS_TYPE_ATOMIC_INT, root);
    if (status < 0) {
        return status;
    }
    ips_atomic_int_shm *word = ips_segment_at(segment, *root, sizeof *word);
    if (word == NULL) {
        return ips_fail(IPS_ECORRUPT, "a stable cell lies outside the segment");
    }
    ips_atomic_int_store(word, *(int64_t *)context);
    return 0;
}

static int
adopt_home(integer_object *self)
{
    self->base.shm = ips_segment_at(self->home.segment, self->home.root,
        sizeof(ips_atomic_int_shm));
    if (self->base.shm != NULL) {
        return 0;
    }
    ips_home_leave(&self->home);
    (void)ips_raise_text(self->state, IPS_ECORRUPT, "the AtomicInt lies outside its segment");
    return -1;
}

static int
open_alone(integer_object *self, const ips_container_where *where, int64_t value)
{
    ips_options options;
    if (ips_options_of(self->state, where->name, where->namespace_, where->create,
            where->cleanup, &options) < 0) {
        return -1;
    }
    return ips_cell_open_object(&self->base, &options, IPS_CELL_ATOMIC_INT, (uint64_t)value);
}

static int
integer_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"value", "name", "namespace", "create", "cleanup", "segment", NULL};
    integer_object *self = (integer_object *)object;
    PyObject *argument = NULL;
    int64_t value = 0;
    ips_container_where where = {0};
    self->state = ips_state_of_type(Py_TYPE(object));
    if (self->state == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "|O$OOOOO:AtomicInt", names, &argument,
            &where.name, &where.namespace_, &where.create, &where.cleanup, &where.segment) ||
        (argument != NULL && number_of(argument, &value) < 0)) {
        return -1;
    }
    if (where.segment == NULL || where.segment == Py_None) {
        return open_alone(self, &where, value);
    }
    if (self->base.shm != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "__init__ was called before: close() the object first");
        return -1;
    }
    const ips_container_maker maker = {.type = IPS_TYPE_ATOMIC_INT, .stable = true,
        .create = create, .context = &value};
    if (ips_home_open_inside(self->state, &where, &maker, &self->home) < 0) {
        return -1;
    }
    return adopt_home(self);
}

/* --- closed, pickled */

static PyObject *
integer_close(PyObject *object, PyObject *unused)
{
    integer_object *self = (integer_object *)object;
    if (self->home.segment == NULL) {
        return ips_cell_close(object, unused);
    }
    self->base.shm = NULL;
    ips_home_leave(&self->home);
    Py_RETURN_NONE;
}

static PyObject *
integer_exit(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)args;
    (void)count;
    return integer_close(self, NULL);
}

static PyObject *
integer_enter(PyObject *self, PyObject *unused)
{
    (void)unused;
    return word_of(self) == NULL ? NULL : Py_NewRef(self);
}

static int
integer_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((integer_object *)object)->home.keeper);
    return 0;
}

static int
integer_clear(PyObject *object)
{
    Py_CLEAR(((integer_object *)object)->home.keeper);
    return 0;
}

static void
integer_dealloc(PyObject *object)
{
    PyObject_GC_UnTrack(object);
    ips_home_leave(&((integer_object *)object)->home);
    ips_cell_dealloc(object);
}

static PyObject *
integer_reduce(PyObject *object, PyObject *unused)
{
    integer_object *self = (integer_object *)object;
    if (self->home.segment == NULL) {
        return ips_cell_reduce(object, unused);
    }
    PyObject *args = ips_home_pickled(self->state, &self->home);
    PyObject *restore = args == NULL ? NULL
        : PyObject_GetAttrString((PyObject *)Py_TYPE(object), "_restore_inside");
    PyObject *dict = restore == NULL ? NULL : ips_cell_own_dict(object);
    PyObject *result = dict == NULL ? NULL : PyTuple_Pack(3, restore, args, dict);
    Py_XDECREF(args);
    Py_XDECREF(restore);
    Py_XDECREF(dict);
    return result;
}

static PyObject *
integer_restore(PyObject *type, PyObject *args)
{
    PyObject *object = ips_cell_restore(type, args, IPS_CELL_ATOMIC_INT);
    if (object != NULL) {
        ((integer_object *)object)->state = ips_state_of_type(Py_TYPE(object));
    }
    return object;
}

static PyObject *
integer_restore_inside(PyObject *type, PyObject *args)
{
    integer_object *self = (integer_object *)((PyTypeObject *)type)->tp_alloc(
        (PyTypeObject *)type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->state = ips_state_of_type((PyTypeObject *)type);
    if (self->state == NULL ||
        ips_home_restore(self->state, args, IPS_TYPE_ATOMIC_INT, true, &self->home) < 0 ||
        adopt_home(self) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static PyObject *
integer_name(PyObject *object, void *unused)
{
    integer_object *self = (integer_object *)object;
    return self->home.segment != NULL ? PyUnicode_FromString(self->home.name)
                                      : ips_cell_name(object, unused);
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
    {"close", integer_close, METH_NOARGS, "close($self, /)\n--\n\nGive up this handle."},
    {"remove", (PyCFunction)(void (*)(void))ips_cell_remove,
        METH_FASTCALL | METH_KEYWORDS | METH_CLASS, IPS_REMOVE_DOC},
    {"__enter__", integer_enter, METH_NOARGS, "__enter__($self, /)\n--\n\nItself."},
    {"__exit__", (PyCFunction)(void (*)(void))integer_exit, METH_FASTCALL,
        "__exit__($self, /, *exc_info)\n--\n\nclose()."},
    {"__reduce__", integer_reduce, METH_NOARGS, "__reduce__($self, /)\n--\n\n"
        "A handle for another process of the same namespace."},
    {"_restore", integer_restore, METH_VARARGS | METH_CLASS, NULL},
    {"_restore_inside", integer_restore_inside, METH_VARARGS | METH_CLASS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef integer_getsets[] = {
    {"value", integer_get_value, integer_set_value, "The value; may be set.", NULL},
    {"name", integer_name, NULL, "The name or key, or None.", NULL},
    {"closed", ips_cell_closed, NULL, "True once close() was called.", NULL},
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
    {Py_tp_dealloc, (void *)integer_dealloc},
    {Py_tp_traverse, (void *)integer_traverse},
    {Py_tp_clear, (void *)integer_clear},
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
    .basicsize = sizeof(integer_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = integer_slots,
};

int
ips_add_atomic_int(PyObject *module, ips_state *state)
{
    state->atomic_int_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &integer_spec, NULL);
    return state->atomic_int_type == NULL ? -1
                                          : PyModule_AddType(module, state->atomic_int_type);
}
