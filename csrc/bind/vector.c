/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.SharedVector: a list in shared memory; with a typecode, an array of
 * numbers side by side. */
#include "bind/sequence.h"

/* --- adding and taking */

static PyObject *
vector_append(PyObject *object, PyObject *value)
{
    ips_sequence *self = (ips_sequence *)object;
    if (ips_container_check(&self->base) < 0 || ips_sequence_append(self, value) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static int
extend(ips_sequence *self, PyObject *iterable)
{
    ips_snapshot values = {0};
    if (ips_container_check(&self->base) < 0) {
        return -1;
    }
    int status = ips_sequence_encode_all(self->base.state, self->format, iterable, &values);
    status = status < 0 ? status : ips_sequence_extend(self, &values);
    ips_snapshot_clear(&values);
    return status;
}

static PyObject *
vector_extend(PyObject *self, PyObject *iterable)
{
    return extend((ips_sequence *)self, iterable) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
vector_extend_in_place(PyObject *self, PyObject *iterable)
{
    return extend((ips_sequence *)self, iterable) < 0 ? NULL : Py_NewRef(self);
}

static PyObject *
vector_pop(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    int64_t index = -1;
    PyObject *value = NULL;
    if (count > 1) {
        return PyErr_Format(PyExc_TypeError, "pop() takes an index (%zd given)", count);
    }
    if (count == 1 && ips_sequence_index_of(args[0], &index) < 0) {
        return NULL;
    }
    int status = ips_sequence_take((ips_sequence *)self, index, IPS_ROW_ANY, &value);
    if (status != IPS_ROW_RANGE) {
        return value;
    }
    if (count == 0) {
        PyErr_SetString(PyExc_IndexError, "pop from an empty SharedVector");
        return NULL;
    }
    return ips_sequence_raise_range(self, "pop index");
}

static PyObject *
vector_clear(PyObject *object, PyObject *unused)
{
    (void)unused;
    return ips_sequence_erase((ips_sequence *)object, IPS_SPAN_ALL) < 0 ? NULL
                                                                        : Py_NewRef(Py_None);
}

/* --- by index and slice */

static PyObject *
vector_subscript(PyObject *object, PyObject *key)
{
    ips_sequence *self = (ips_sequence *)object;
    int64_t index;
    Py_ssize_t start, stop, step;
    if (ips_container_check(&self->base) < 0) {
        return NULL;
    }
    if (PyIndex_Check(key)) {
        return ips_sequence_index_of(key, &index) < 0 ? NULL : ips_sequence_get(self, index);
    }
    if (!PySlice_Check(key)) {
        return PyErr_Format(PyExc_TypeError, "%s indices must be integers or slices, not %.200s",
            ips_short_name(object), Py_TYPE(key)->tp_name);
    }
    if (PySlice_Unpack(key, &start, &stop, &step) < 0) {
        return NULL;
    }
    return ips_sequence_list(self, (ips_span){start, stop, step});
}

static int
assign_slice(ips_sequence *self, ips_span span, PyObject *iterable)
{
    ips_snapshot values = {0};
    uint64_t count = 0;
    int status = ips_sequence_encode_all(self->base.state, self->format, iterable, &values);
    const unsigned long long given = values.records;
    if (status == 0) {
        status = span.step == 1 ? ips_sequence_splice(self, span, &values)
                                : ips_sequence_assign(self, span, &values, &count);
    } else if (PyErr_ExceptionMatches(PyExc_TypeError) && Py_TYPE(iterable)->tp_iter == NULL &&
               !PySequence_Check(iterable)) {
        PyErr_SetString(PyExc_TypeError, "can only assign an iterable");
    }
    ips_snapshot_clear(&values);
    if (status == IPS_ROW_RANGE) {
        PyErr_Format(PyExc_ValueError,
            "attempt to assign sequence of size %llu to extended slice of size %llu", given,
            (unsigned long long)count);
    }
    return status == 0 ? 0 : -1;
}

static int
assign_at(ips_sequence *self, int64_t index, PyObject *value)
{
    int status = value == NULL ? 0 : ips_sequence_is_there(self, index, value);
    if (status != 0) {
        return status < 0 ? -1 : 0;
    }
    status = value == NULL ? ips_sequence_take(self, index, IPS_ROW_ANY, NULL)
                           : ips_sequence_set(self, index, value);
    if (status == IPS_ROW_RANGE) {
        (void)ips_sequence_raise_range((PyObject *)self, "assignment index");
    }
    return status == 0 ? 0 : -1;
}

static int
vector_assign(PyObject *object, PyObject *key, PyObject *value)
{
    ips_sequence *self = (ips_sequence *)object;
    int64_t index;
    Py_ssize_t start, stop, step;
    if (ips_container_check(&self->base) < 0) {
        return -1;
    }
    if (PyIndex_Check(key)) {
        return ips_sequence_index_of(key, &index) < 0 ? -1 : assign_at(self, index, value);
    }
    if (!PySlice_Check(key)) {
        PyErr_Format(PyExc_TypeError, "%s indices must be integers or slices, not %.200s",
            ips_short_name(object), Py_TYPE(key)->tp_name);
        return -1;
    }
    if (PySlice_Unpack(key, &start, &stop, &step) < 0) {
        return -1;
    }
    const ips_span span = {start, stop, step};
    return value == NULL ? ips_sequence_erase(self, span) : assign_slice(self, span, value);
}

/* --- as a list: copies, comparisons, sums */

static PyObject *
vector_copy(PyObject *self, PyObject *unused)
{
    (void)unused;
    return ips_sequence_plain((ips_sequence *)self, NULL);
}

static PyObject *
text_of(PyObject *object, void *unused)
{
    (void)unused;
    ips_sequence *self = (ips_sequence *)object;
    PyObject *values = ips_sequence_list(self, IPS_SPAN_ALL);
    const char *type = ips_short_name(object);
    PyObject *text = values == NULL ? NULL
        : self->format == NULL ? PyUnicode_FromFormat("%s(%R)", type, values)
                               : PyUnicode_FromFormat("%s(%R, typecode='%c')", type, values,
                                     self->format->code);
    Py_XDECREF(values);
    return text;
}

static PyObject *
vector_repr(PyObject *object)
{
    return ips_sequence_repr(object, text_of);
}

/* A new list of a list or SharedVector; NULL without exception for others. */
static PyObject *
list_of(ips_state *state, PyObject *object)
{
    if (PyList_Check(object)) {
        return Py_NewRef(object);
    }
    return PyObject_TypeCheck(object, state->vector_type) ? vector_copy(object, NULL) : NULL;
}

static PyObject *
vector_compare(PyObject *object, PyObject *other, int op)
{
    ips_state *state = ips_state_of_type(Py_TYPE(object));
    PyObject *theirs = state == NULL ? NULL : list_of(state, other);
    if (theirs == NULL) {
        return PyErr_Occurred() != NULL ? NULL : Py_NewRef(Py_NotImplemented);
    }
    PyObject *mine = vector_copy(object, NULL);
    PyObject *result = mine == NULL ? NULL : PyObject_RichCompare(mine, theirs, op);
    Py_XDECREF(mine);
    Py_DECREF(theirs);
    return result;
}

/* + with a list on either side. */
static PyObject *
vector_add(PyObject *left, PyObject *right)
{
    ips_state *state = ips_state_of_type(Py_TYPE(PyList_Check(left) ? right : left));
    PyObject *first = state == NULL ? NULL : list_of(state, left);
    PyObject *second = first == NULL ? NULL : list_of(state, right);
    PyObject *sum = second == NULL ? NULL : PySequence_Concat(first, second);
    Py_XDECREF(first);
    Py_XDECREF(second);
    return sum != NULL || PyErr_Occurred() != NULL ? sum : Py_NewRef(Py_NotImplemented);
}

static PyObject *
vector_repeat(PyObject *object, Py_ssize_t times)
{
    PyObject *values = vector_copy(object, NULL);
    PyObject *result = values == NULL ? NULL : PySequence_Repeat(values, times);
    Py_XDECREF(values);
    return result;
}

/* --- made */

typedef struct {
    const ips_item_format *format;
    ips_snapshot values;
} beginning;

static int
create(ips_segment *segment, void *context, ips_offset *root)
{
    const beginning *start = context;
    return start->format != NULL
        ? ips_flat_create(segment, IPS_TYPE_TYPED_VECTOR, start->format->size, start->format->code, root)
        : ips_deque_create(segment, IPS_TYPE_VECTOR, IPS_UNBOUNDED, root);
}

static int
fill(ips_segment *segment, ips_offset root, uint64_t generation, void *context)
{
    const beginning *start = context;
    ips_deque deque;
    ips_flat flat;
    int status = start->format != NULL
        ? ips_flat_open(segment, IPS_TYPE_TYPED_VECTOR, root, generation, &flat)
        : ips_deque_open(segment, IPS_TYPE_VECTOR, root, generation, &deque);
    if (status < 0) {
        return status;
    }
    return start->format != NULL ? ips_flat_splice(&flat, IPS_SPAN_ALL, &start->values)
                                 : ips_deque_extend(&deque, IPS_RIGHT, &start->values);
}

static int
act_reap(void *context)
{
    return ips_deque_reap(context, 256);
}

/* The core's handle of what home names. */
static int
open_row(ips_sequence *self)
{
    const ips_home *home = &self->base.home;
    int status;
    if (home->type == IPS_TYPE_TYPED_VECTOR) {
        self->base.handle = &self->flat;
        status = ips_flat_open(home->segment, home->type, home->root, home->generation,
            &self->flat);
        self->format = status < 0 ? NULL : ips_item_format_of(self->flat.code);
        if (status == 0 && (self->format == NULL || self->format->size != self->flat.size)) {
            status = ips_fail(IPS_ECORRUPT, "a SharedVector of an unknown typecode");
        }
    } else {
        self->base.reap = act_reap;
        self->base.handle = &self->deque;
        self->format = NULL;
        status = ips_deque_open(home->segment, IPS_TYPE_VECTOR, home->root, home->generation,
            &self->deque);
    }
    if (status < 0) {
        (void)ips_raise(self->base.state, status);
        Py_XDECREF(ips_container_close((PyObject *)self, NULL));
        return -1;
    }
    return 0;
}

static int
format_of(PyObject *typecode, const ips_item_format **out)
{
    *out = NULL;
    if (typecode == NULL || typecode == Py_None) {
        return 0;
    }
    if (!PyUnicode_Check(typecode)) {
        PyErr_Format(PyExc_TypeError, "typecode must be a str, not %.200s",
            Py_TYPE(typecode)->tp_name);
        return -1;
    }
    if (PyUnicode_GET_LENGTH(typecode) == 1 && PyUnicode_READ_CHAR(typecode, 0) < 128) {
        *out = ips_item_format_of((char)PyUnicode_READ_CHAR(typecode, 0));
    }
    if (*out == NULL) {
        PyErr_Format(PyExc_ValueError, "typecode must be " IPS_ITEM_CODES ", not %R", typecode);
    }
    return *out == NULL ? -1 : 0;
}

/* An existing vector has the typecode that was asked for? */
static int
agree(ips_sequence *self, const ips_item_format *wanted)
{
    if (wanted == NULL || wanted == self->format) {
        return 0;
    }
    char here[2] = {self->format == NULL ? '\0' : self->format->code, '\0'};
    (void)ips_raise_text(self->base.state, IPS_EMISMATCH,
        "the SharedVector has typecode %s, not '%c'", self->format == NULL ? "None" : here,
        wanted->code);
    Py_XDECREF(ips_container_close((PyObject *)self, NULL));
    return -1;
}

static int
vector_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"iterable", "typecode", IPS_CONTAINER_KEYWORDS, NULL};
    ips_sequence *self = (ips_sequence *)object;
    PyObject *iterable = NULL, *typecode = NULL;
    ips_container_where where = {0};
    beginning start = {0};
    self->base.state = ips_state_of_type(Py_TYPE(object));
    if (self->base.state == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "|OO$OOOOOO:SharedVector", names, &iterable,
            &typecode, IPS_CONTAINER_WHERE(where)) ||
        format_of(typecode, &start.format) < 0) {
        return -1;
    }
    int status = iterable == NULL ? 0
        : ips_sequence_encode_all(self->base.state, start.format, iterable, &start.values);
    if (status == 0) {
        const ips_container_maker maker = {
            start.format != NULL ? IPS_TYPE_TYPED_VECTOR : IPS_TYPE_VECTOR, false, create,
            start.values.records != 0 ? fill : NULL, &start, start.values.size};
        status = ips_container_open(&self->base, &where, &maker);
    }
    ips_snapshot_clear(&start.values);
    return status < 0 || open_row(self) < 0 ? -1 : agree(self, start.format);
}

static PyObject *
vector_restore(PyObject *type, PyObject *args)
{
    ips_sequence *self = (ips_sequence *)((PyTypeObject *)type)->tp_alloc((PyTypeObject *)type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->base.state = ips_state_of_type((PyTypeObject *)type);
    if (self->base.state == NULL ||
        ips_container_restore_into(&self->base, args, IPS_TYPE_VECTOR) < 0 ||
        open_row(self) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

/* --- looking */

static PyObject *
vector_typecode(PyObject *object, void *unused)
{
    (void)unused;
    const ips_sequence *self = (ips_sequence *)object;
    return self->format == NULL ? Py_NewRef(Py_None)
                                : PyUnicode_FromStringAndSize(&self->format->code, 1);
}

static int
act_check_row(void *context)
{
    ips_checking *job = context;
    return ips_deque_check(job->handle, ips_container_report, job);
}

static int
act_check_flat(void *context)
{
    ips_checking *job = context;
    return ips_flat_check(job->handle, ips_container_report, job);
}

static PyObject *
vector_check(PyObject *object, PyObject *unused)
{
    (void)unused;
    const ips_sequence *self = (ips_sequence *)object;
    return ips_container_lines((ips_container *)object,
        self->format != NULL ? act_check_flat : act_check_row);
}

/* --- the type */

PyDoc_STRVAR(vector_doc,
    "SharedVector(iterable=(), typecode=None, *, name=None, namespace=None, create=None,\n"
    "             cleanup=None, max_size=None, segment=None)\n--\n\n"
    "A list in shared memory, safe against the death of any process that uses it.\n\n"
    "With a typecode (" IPS_ITEM_CODES ") it holds\n"
    "numbers only, side by side, as an array.array.  Each method is one transaction;\n"
    "slices, +, * and copy() give plain lists; iterating walks the values of one\n"
    "moment.  Values are copies: what you get is yours.\n\n"
    "SharedVector.remove(name) removes a name, vector.remove(value) a value.");

static PyMethodDef vector_methods[] = {
    {"append", vector_append, METH_O, "append($self, value, /)\n--\n\nAdd a value at the end."},
    {"extend", vector_extend, METH_O, "extend($self, iterable, /)\n--\n\n"
        "Add all these values at the end, in one transaction."},
    {"pop", (PyCFunction)(void (*)(void))vector_pop, METH_FASTCALL, "pop($self, index=-1, /)\n--\n\n"
        "Remove the value at `index` and give it; IndexError where there is none."},
    {"clear", vector_clear, METH_NOARGS, "clear($self, /)\n--\n\nRemove all values, at once."},
    {"copy", vector_copy, METH_NOARGS, "copy($self, /)\n--\n\nA list of the values of one moment."},
    IPS_SEQUENCE_SORT,
    {"check", vector_check, METH_NOARGS, "check($self, /)\n--\n\n"
        "What is wrong with the vector: a list of lines, empty when it is sound."},
    {"__copy__", vector_copy, METH_NOARGS, "__copy__($self, /)\n--\n\ncopy()."},
    {"__deepcopy__", vector_copy, METH_O, "__deepcopy__($self, memo, /)\n--\n\n"
        "copy(): what a vector gives is copies already."},
    IPS_NESTED_ROW_METHODS,
    IPS_SEQUENCE_METHODS,
    IPS_CONTAINER_METHODS_BUT_REMOVE(vector_restore),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef vector_getsets[] = {
    {"typecode", vector_typecode, NULL, "The type code of its numbers; None: any values.", NULL},
    IPS_CONTAINER_GETSETS,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef vector_members[] = {
    IPS_CONTAINER_WEAKREFS,
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot vector_slots[] = {
    {Py_tp_doc, (void *)vector_doc},
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_init, (void *)vector_init},
    {Py_tp_dealloc, (void *)ips_container_dealloc},
    {Py_tp_traverse, (void *)ips_container_traverse},
    {Py_tp_clear, (void *)ips_container_clear},
    {Py_tp_repr, (void *)vector_repr},
    {Py_tp_hash, (void *)PyObject_HashNotImplemented},
    {Py_tp_richcompare, (void *)vector_compare},
    {Py_tp_iter, (void *)ips_sequence_iter},
    {Py_tp_methods, vector_methods},
    {Py_tp_getset, vector_getsets},
    {Py_tp_members, vector_members},
    {Py_mp_subscript, (void *)vector_subscript},
    {Py_mp_ass_subscript, (void *)vector_assign},
    {Py_mp_length, (void *)ips_sequence_length},
    {Py_sq_length, (void *)ips_sequence_length},
    {Py_sq_contains, (void *)ips_sequence_contains},
    {Py_nb_add, (void *)vector_add},
    {Py_sq_repeat, (void *)vector_repeat},
    {Py_nb_inplace_add, (void *)vector_extend_in_place},
    {Py_sq_inplace_repeat, (void *)ips_sequence_repeat_in_place},
    {0, NULL},
};

static PyType_Spec vector_spec = {
    .name = "ipcsys.SharedVector",
    .basicsize = sizeof(ips_sequence),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = vector_slots,
};

int
ips_add_vector(PyObject *module, ips_state *state)
{
    state->vector_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &vector_spec, NULL);
    if (state->vector_type == NULL ||
        ips_sequence_add_remove(module, state->vector_type) < 0 ||
        PyModule_AddType(module, state->vector_type) < 0) {
        return -1;
    }
    return ips_container_register(state->vector_type, "MutableSequence");
}
