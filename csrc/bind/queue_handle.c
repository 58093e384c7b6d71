/* SPDX-License-Identifier: Apache-2.0 */
/* The handle of a queue: opened, counted in and out, closed, pickled. */
#include "bind/queue.h"

#include <limits.h>
#include <string.h>

#include "bind/pickled.h"
#include "bind/options.h"
#include "bind/shared.h"
#include "os/clock.h"

/* Signals that a call which does not wait goes on in spite of. */
#define EARS_SHUT_MOST 100

/* --- arguments ------------------------------------------------------------ */

static int
argument_named(PyObject *keyword, const char *const *names)
{
    for (int i = 0; names[i] != NULL; i++) {
        if (PyUnicode_CompareWithASCIIString(keyword, names[i]) == 0) {
            return i;
        }
    }
    return -1;
}

int
ips_queue_arguments(const char *method, const ips_call *call, const char *const *names, int least,
                    PyObject **given)
{
    int most = 0;
    while (names[most] != NULL) {
        most++;
    }
    if (call->count > most) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %d arguments (%zd given)", method, most,
                     call->count);
        return -1;
    }
    for (Py_ssize_t i = 0; i < call->count; i++) {
        given[i] = call->args[i];
    }
    Py_ssize_t named = call->keywords == NULL ? 0 : PyTuple_GET_SIZE(call->keywords);
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *keyword = PyTuple_GET_ITEM(call->keywords, i);
        int which = argument_named(keyword, names);
        if (which < 0 || given[which] != NULL) {
            PyErr_Format(PyExc_TypeError, "%s() got %s '%U'", method,
                         which < 0 ? "an unexpected keyword argument"
                                   : "multiple values for argument",
                         keyword);
            return -1;
        }
        given[which] = call->args[call->count + i];
    }
    for (int i = 0; i < least; i++) {
        if (given[i] == NULL) {
            PyErr_Format(PyExc_TypeError, "%s() missing required argument '%s'", method, names[i]);
            return -1;
        }
    }
    return 0;
}

int
ips_queue_deadline(PyObject *block, PyObject *timeout, int64_t *deadline)
{
    int waits = block == NULL || block == Py_True ? 1 : PyObject_IsTrue(block);
    if (waits < 0) {
        return -1;
    }
    if (!waits) {
        *deadline = IPS_AT_ONCE;
        return 0;
    }
    if (timeout == NULL || timeout == Py_None) {
        *deadline = IPS_FOREVER;
        return 0;
    }
    return ips_deadline_of(timeout, deadline);
}

/* --- opening -------------------------------------------------------------- */

static int
count_of(PyObject *number, uint64_t *out)
{
    *out = 0;
    if (number == NULL || number == Py_None) {
        return 0;
    }
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
    if (value == -1 && PyErr_Occurred() != NULL) {
        return -1;
    }
    if (overflow > 0) { /* more than can ever be in it */
        value = LLONG_MAX;
    }
    *out = overflow < 0 || value < 0 ? 0 : (uint64_t)value; /* as in queue.Queue: no limit */
    return 0;
}

static int
bytes_of(PyObject *size, const char *what, uint64_t *out)
{
    *out = 0;
    if (size == NULL || size == Py_None) {
        return 0;
    }
    if (ips_size_of(size, what, out) < 0) {
        return -1;
    }
    if (*out == 0) {
        PyErr_Format(PyExc_ValueError, "%s must not be 0", what);
        return -1;
    }
    return 0;
}

/* 0, or -1 with an exception set and the queue closed. */
static int
adopt(ips_queue_object *self, ips_state *state, ips_queue *queue)
{
    const ips_object *file = queue->ring.object;
    self->name = file->named ? PyUnicode_FromString(file->name) : NULL;
    if (file->named && self->name == NULL) {
        ips_queue_close(queue);
        return -1;
    }
    self->body = *queue;
    self->state = state;
    self->mp = PyType_IsSubtype(Py_TYPE(self), state->mp_queue_type);
    ips_gate_open(&self->gate);
    self->queue = &self->body;
    return 0;
}

int
ips_queue_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"maxsize", "name", "namespace", "create", "cleanup", "max_bytes",
                            "max_message", NULL};
    PyObject *maxsize = NULL, *name = NULL, *namespace_ = NULL, *create = NULL, *cleanup = NULL;
    PyObject *max_bytes = NULL, *max_message = NULL;
    ips_queue_object *self = (ips_queue_object *)object;
    ips_state *state = ips_state_of_type(Py_TYPE(object));
    ips_options options;
    ips_queue_options limits;
    if (state == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, "|O$OOOOOO:Queue", names,
            &maxsize, &name, &namespace_, &create, &cleanup, &max_bytes, &max_message)
        || count_of(maxsize, &limits.maxsize) < 0
        || bytes_of(max_bytes, "max_bytes", &limits.max_bytes) < 0
        || bytes_of(max_message, "max_message", &limits.max_message) < 0
        || ips_options_of(state, name, namespace_, create, cleanup, &options) < 0) {
        return -1;
    }
    if (self->state != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "__init__ was called before: make another object");
        return -1;
    }
    limits.cleanup_last = options.cleanup_last;
    ips_queue queue;
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = ips_queue_open(options.space, options.name, options.mode, &limits, &queue);
    Py_END_ALLOW_THREADS
    if (status < 0) {
        (void)ips_raise(state, status);
        return -1;
    }
    return adopt(self, state, &queue);
}

/* --- in and out ----------------------------------------------------------- */

static void
give_up(ips_queue_object *self)
{
    ips_queue queue = self->body;
    self->body.ring.object = NULL;
    Py_BEGIN_ALLOW_THREADS /* unmapping and unlinking take a while */
    ips_queue_close(&queue);
    Py_END_ALLOW_THREADS
}

ips_queue *
ips_queue_enter(ips_queue_object *self)
{
    if (ips_gate_enter(&self->gate) && self->queue != NULL) {
        return self->queue;
    }
    ips_queue_leave(self);
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    if (state != NULL) {
        (void)ips_raise_text(state, IPS_ECLOSED, "this Queue handle; open another");
    }
    return NULL;
}

void
ips_queue_leave(ips_queue_object *self)
{
    if (ips_gate_leave(&self->gate) && self->body.ring.object != NULL) {
        give_up(self);
    }
}

PyObject *
ips_queue_close_method(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_queue_object *self = (ips_queue_object *)object;
    self->queue = NULL;
    if (ips_gate_close(&self->gate) && self->body.ring.object != NULL) {
        give_up(self); /* else the last one to leave does */
    }
    Py_RETURN_NONE;
}

void
ips_queue_dealloc(PyObject *object)
{
    ips_queue_object *self = (ips_queue_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    if (self->body.ring.object != NULL) {
        give_up(self);
    }
    Py_XDECREF(self->name);
    Py_XDECREF(self->owed);
    type->tp_free(object);
    Py_DECREF(type);
}

int
ips_queue_run(ips_queue_object *self, ips_wait_step step, void *context, int64_t deadline)
{
    if (deadline != IPS_AT_ONCE) {
        return ips_gate_wait(&self->gate, NULL, step, context, deadline);
    }
    int status = IPS_EINTR;
    Py_BEGIN_ALLOW_THREADS
    for (int i = 0; status == IPS_EINTR && i < EARS_SHUT_MOST; i++) {
        status = step(context, deadline);
    }
    Py_END_ALLOW_THREADS
    return status == IPS_EINTR ? IPS_ETIMEOUT : status;
}

const char *
ips_queue_title(const ips_queue_object *self)
{
    const char *name = self->name == NULL ? NULL : PyUnicode_AsUTF8(self->name);
    return name == NULL ? "(unnamed)" : name;
}

PyObject *
ips_queue_raise(const ips_queue_object *self, int status)
{
    if (status == IPS_EINTR) {
        return NULL; /* the signal handler's exception stands */
    }
    if (status == IPS_EEMPTY || status == IPS_ETIMEOUT) {
        return ips_raise_text(self->state, IPS_EEMPTY, "'%s'", ips_queue_title(self));
    }
    return ips_raise(self->state, status);
}

PyObject *
ips_queue_raise_full(const ips_queue_object *self)
{
    const ips_ring *ring = &self->body.ring;
    if (ring->maxsize != 0 && ips_queue_size((ips_queue *)&self->body) >= ring->maxsize) {
        return ips_raise_text(self->state, IPS_EFULL, "'%s' holds its maxsize of %llu messages",
                              ips_queue_title(self), (unsigned long long)ring->maxsize);
    }
    return ips_raise_text(self->state, IPS_EFULL, "'%s' has used its max_bytes of %llu",
                          ips_queue_title(self), (unsigned long long)ring->units * IPS_BLOCK);
}

/* --- pickling ------------------------------------------------------------- */

PyObject *
ips_queue_reduce(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_queue_object *self = (ips_queue_object *)object;
    ips_queue *queue = ips_queue_enter(self);
    if (queue == NULL) {
        return NULL;
    }
    PyObject *result = ips_pickled(object, ips_pickled_file(self->state, queue->ring.object));
    ips_queue_leave(self);
    return result;
}

static int
restore(const ips_unpickled *pickle, ips_queue *out)
{
    ips_space *space;
    int status = ips_space_join(pickle->folder, &space);
    if (status < 0) {
        return status;
    }
    return pickle->name == NULL ? ips_queue_redeem(space, pickle->ticket, out)
                                : ips_queue_reopen(space, pickle->name, pickle->identity, out);
}

PyObject *
ips_queue_restore(PyObject *type, PyObject *args)
{
    ips_unpickled pickle;
    ips_state *state = ips_state_of_type((PyTypeObject *)type);
    if (state == NULL || ips_unpickled_parse(state, args, &pickle) < 0) {
        return NULL;
    }
    PyObject *self = ((PyTypeObject *)type)->tp_alloc((PyTypeObject *)type, 0);
    if (self != NULL) {
        ips_queue queue;
        int status;
        Py_BEGIN_ALLOW_THREADS
        status = restore(&pickle, &queue);
        Py_END_ALLOW_THREADS
        if (status < 0) {
            (void)ips_raise(state, status);
        } else {
            status = adopt((ips_queue_object *)self, state, &queue);
        }
        if (status < 0) {
            Py_CLEAR(self);
        }
    }
    ips_unpickled_clear(&pickle);
    return self;
}
