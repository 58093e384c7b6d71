/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.SharedDeque as a whole: made, filled, listed, compared. */
#include "bind/deque.h"

#include <limits.h>

/* --- filled */

typedef struct {
    const ips_deque *deque;
    int end;
    const ips_snapshot *values;
} filling;

static int
act_extend(void *context)
{
    const filling *job = context;
    return ips_deque_extend(job->deque, job->end, job->values);
}

static int
extend(ips_deque_object *self, int end, PyObject *iterable)
{
    ips_snapshot values = {0};
    if (ips_container_check(&self->base) < 0) {
        return -1;
    }
    int status = ips_sequence_encode_all(self->base.state, NULL, iterable, &values);
    if (status == 0 && values.records != 0) {
        filling job = {&self->deque, end, &values};
        /* Encoding may have run Python code that closed the deque. */
        status = ips_container_check(&self->base) < 0
            ? -1 : ips_container_run(&self->base, act_extend, &job, values.size);
        if (status >= 0) {
            int count = values.records < INT_MAX ? (int)values.records : INT_MAX;
            ips_sequence_notify(self, &self->deque.events->items, count);
        }
    }
    ips_snapshot_clear(&values);
    return status;
}

PyObject *
ips_deque_object_extend(PyObject *self, PyObject *iterable)
{
    return extend((ips_deque_object *)self, IPS_RIGHT, iterable) < 0 ? NULL : Py_NewRef(Py_None);
}

PyObject *
ips_deque_object_extendleft(PyObject *self, PyObject *iterable)
{
    return extend((ips_deque_object *)self, IPS_LEFT, iterable) < 0 ? NULL : Py_NewRef(Py_None);
}

PyObject *
ips_deque_object_extend_in_place(PyObject *self, PyObject *other)
{
    return extend((ips_deque_object *)self, IPS_RIGHT, other) < 0 ? NULL : Py_NewRef(self);
}

/* --- made */

typedef struct {
    uint64_t maxlen;
    ips_snapshot values;
} beginning;

static int
create(ips_segment *segment, void *context, ips_offset *root)
{
    return ips_deque_create(segment, IPS_TYPE_DEQUE, ((beginning *)context)->maxlen, root);
}

static int
fill(ips_segment *segment, ips_offset root, uint64_t generation, void *context)
{
    ips_deque deque;
    int status = ips_deque_open(segment, IPS_TYPE_DEQUE, root, generation, &deque);
    return status < 0 ? status
                      : ips_deque_extend(&deque, IPS_RIGHT, &((beginning *)context)->values);
}

static int
act_reap(void *context)
{
    return ips_deque_reap(context, 256);
}

static int
open_deque(ips_deque_object *self)
{
    self->base.reap = act_reap;
    self->base.handle = &self->deque;
    int status = ips_deque_open(self->base.home.segment, IPS_TYPE_DEQUE, self->base.home.root, self->base.home.generation,
        &self->deque);
    if (status < 0) {
        (void)ips_raise(self->base.state, status);
        Py_XDECREF(ips_container_close((PyObject *)self, NULL));
        return -1;
    }
    return 0;
}

static int
maxlen_of(PyObject *maxlen, uint64_t *out)
{
    *out = IPS_UNBOUNDED;
    if (maxlen == NULL || maxlen == Py_None) {
        return 0;
    }
    Py_ssize_t limit = PyNumber_AsSsize_t(maxlen, PyExc_OverflowError);
    if (limit == -1 && PyErr_Occurred() != NULL) {
        return -1;
    }
    if (limit < 0) {
        PyErr_SetString(PyExc_ValueError, "maxlen must be non-negative");
        return -1;
    }
    *out = (uint64_t)limit;
    return 0;
}

int
ips_deque_object_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"iterable", "maxlen", IPS_CONTAINER_KEYWORDS, NULL};
    ips_deque_object *self = (ips_deque_object *)object;
    PyObject *iterable = NULL, *maxlen = NULL;
    ips_container_where where = {0};
    beginning start = {0};
    self->base.state = ips_state_of_type(Py_TYPE(object));
    if (self->base.state == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "|OO$OOOOOO:SharedDeque", names, &iterable,
            &maxlen, IPS_CONTAINER_WHERE(where)) ||
        maxlen_of(maxlen, &start.maxlen) < 0) {
        return -1;
    }
    int status = iterable == NULL ? 0 : ips_sequence_encode_all(self->base.state, NULL, iterable, &start.values);
    if (status == 0) {
        const ips_container_maker maker = {IPS_TYPE_DEQUE, false, create,
            start.values.records != 0 ? fill : NULL, &start, start.values.size};
        status = ips_container_open(&self->base, &where, &maker);
    }
    ips_snapshot_clear(&start.values);
    return status < 0 ? -1 : open_deque(self);
}

PyObject *
ips_deque_object_restore(PyObject *type, PyObject *args)
{
    ips_deque_object *self = (ips_deque_object *)((PyTypeObject *)type)->tp_alloc(
        (PyTypeObject *)type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->base.state = ips_state_of_type((PyTypeObject *)type);
    if (self->base.state == NULL ||
        ips_container_restore_into(&self->base, args, IPS_TYPE_DEQUE) < 0 ||
        open_deque(self) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

/* --- listed */

static PyObject *
list_of(ips_deque_object *self)
{
    return ips_sequence_plain(self, NULL);
}

static PyObject *
limit_of(const ips_deque_object *self)
{
    return self->deque.maxlen == IPS_UNBOUNDED ? Py_NewRef(Py_None)
                                               : PyLong_FromUnsignedLongLong(self->deque.maxlen);
}

PyObject *
ips_deque_object_copy(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_deque_object *self = (ips_deque_object *)object;
    PyObject *values = list_of(self);
    PyObject *limit = values == NULL ? NULL : limit_of(self);
    PyObject *module = limit == NULL ? NULL : PyImport_ImportModule("collections");
    PyObject *copy = module == NULL ? NULL
        : PyObject_CallMethod(module, "deque", "OO", values, limit);
    Py_XDECREF(values);
    Py_XDECREF(limit);
    Py_XDECREF(module);
    return copy;
}

static PyObject *
text_of(PyObject *object, void *unused)
{
    (void)unused;
    ips_deque_object *self = (ips_deque_object *)object;
    const char *type = ips_short_name(object);
    PyObject *values = ips_sequence_list(self, IPS_SPAN_ALL);
    PyObject *text = NULL;
    if (values != NULL) {
        text = self->deque.maxlen == IPS_UNBOUNDED
            ? PyUnicode_FromFormat("%s(%R)", type, values)
            : PyUnicode_FromFormat("%s(%R, maxlen=%llu)", type, values,
                  (unsigned long long)self->deque.maxlen);
    }
    Py_XDECREF(values);
    return text;
}

PyObject *
ips_deque_object_repr(PyObject *object)
{
    return ips_sequence_repr(object, text_of);
}

/* 1: another SharedDeque or a collections.deque; 0, -1. */
static int
is_deque(PyObject *self, PyObject *other)
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    if (state == NULL || PyObject_TypeCheck(other, state->deque_type)) {
        return state == NULL ? -1 : 1;
    }
    PyObject *module = PyImport_ImportModule("collections");
    PyObject *deque = module == NULL ? NULL : PyObject_GetAttrString(module, "deque");
    Py_XDECREF(module);
    int is = deque == NULL ? -1 : PyObject_IsInstance(other, deque);
    Py_XDECREF(deque);
    return is;
}

/* A new list of another deque's values, as list_of() gives our own. */
static PyObject *
values_of(PyObject *self, PyObject *other)
{
    const ips_state *state = ((ips_container *)self)->state;
    return PyObject_TypeCheck(other, state->deque_type) ? list_of((ips_deque_object *)other)
                                                        : PySequence_List(other);
}

/* By their values. */
PyObject *
ips_deque_object_compare(PyObject *object, PyObject *other, int op)
{
    int comparable = is_deque(object, other);
    if (comparable <= 0) {
        return comparable < 0 ? NULL : Py_NewRef(Py_NotImplemented);
    }
    PyObject *mine = list_of((ips_deque_object *)object);
    PyObject *theirs = mine == NULL ? NULL : values_of(object, other);
    PyObject *result = theirs == NULL ? NULL : PyObject_RichCompare(mine, theirs, op);
    Py_XDECREF(mine);
    Py_XDECREF(theirs);
    return result;
}

/* --- sums and turns */

/* + with a collections.deque on either side: one of these. */
PyObject *
ips_deque_object_add(PyObject *left, PyObject *right)
{
    const bool ours = Py_TYPE(left)->tp_as_number != NULL &&
                      Py_TYPE(left)->tp_as_number->nb_add == ips_deque_object_add;
    int fits = is_deque(ours ? left : right, ours ? right : left);
    if (fits <= 0) {
        return fits < 0 ? NULL : Py_NewRef(Py_NotImplemented);
    }
    PyObject *sum = PyObject_CallMethod(left, "copy", NULL);
    PyObject *done = sum == NULL ? NULL : PyObject_CallMethod(sum, "extend", "O", right);
    if (done == NULL) {
        Py_CLEAR(sum);
    }
    Py_XDECREF(done);
    return sum;
}

PyObject *
ips_deque_object_repeat(PyObject *object, Py_ssize_t times)
{
    PyObject *values = ips_deque_object_copy(object, NULL);
    PyObject *result = values == NULL ? NULL : PySequence_Repeat(values, times);
    Py_XDECREF(values);
    return result;
}

typedef struct {
    const ips_deque *deque;
    int64_t steps;
} turning;

static int
act_rotate(void *context)
{
    const turning *job = context;
    return ips_deque_rotate(job->deque, job->steps);
}

PyObject *
ips_deque_object_rotate(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    ips_deque_object *self = (ips_deque_object *)object;
    turning job = {&self->deque, 1};
    if (count > 1) {
        return PyErr_Format(PyExc_TypeError, "rotate() takes a number of steps (%zd given)", count);
    }
    if ((count == 1 && ips_sequence_index_of(args[0], &job.steps) < 0) ||
        ips_container_check(&self->base) < 0 ||
        ips_container_run(&self->base, act_rotate, &job, 0) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* --- emptied, checked */

static int
act_clear(void *context)
{
    return ips_deque_clear(context);
}

PyObject *
ips_deque_object_clear(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_deque_object *self = (ips_deque_object *)object;
    if (ips_container_check(&self->base) < 0 ||
        ips_container_run(&self->base, act_clear, &self->deque, 0) < 0) {
        return NULL;
    }
    ips_sequence_notify(self, &self->deque.events->space, INT_MAX);
    Py_RETURN_NONE;
}

static int
act_check(void *context)
{
    ips_checking *job = context;
    return ips_deque_check(job->handle, ips_container_report, job);
}

PyObject *
ips_deque_object_check(PyObject *object, PyObject *unused)
{
    (void)unused;
    return ips_container_lines((ips_container *)object, act_check);
}
