/* SPDX-License-Identifier: Apache-2.0 */
/* Queue.get and its kin: look, make room for the message, take it into that.
 *
 * MessagePack is decoded before the message is taken, so that want of memory
 * loses nothing; a pickle only after, because unpickling may have effects
 * that must not happen twice.  What makes no sense is taken, and raised as
 * DecodeError with the bytes in it. */
#include <string.h>

#include "bind/queue.h"
#include "bind/value_parts.h"
#include "os/clock.h"

#define SMALL 512 /* bytes of a message that go through the stack */

/* --- waiting and looking -------------------------------------------------- */

typedef struct {
    ips_queue *queue;
    ips_look *look;
} looking;

static int
look_step(void *context, int64_t deadline)
{
    looking *job = context;
    return ips_queue_look_locked(job->queue, deadline, job->look);
}

static int
park_step(void *context, int64_t deadline)
{
    return ips_queue_park(context, deadline);
}

static int
await(ips_queue_object *self, ips_queue *queue, int64_t deadline)
{
    bool found;
    Py_BEGIN_ALLOW_THREADS
    found = ips_queue_spin(queue, deadline);
    Py_END_ALLOW_THREADS
    return found ? IPS_OK : ips_queue_run(self, park_step, queue, deadline);
}

int
ips_queue_find(ips_queue_object *self, int64_t deadline, ips_look *out)
{
    ips_queue *queue = &self->body;
    for (;;) {
        int status = ips_queue_look(queue, out);
        if (status == IPS_EAGAIN) {
            looking job = {queue, out};
            status = ips_queue_run(self, look_step, &job, deadline);
        }
        if (status != IPS_EEMPTY || deadline == IPS_AT_ONCE) {
            return status;
        }
        status = await(self, queue, deadline);
        if (status < 0) {
            return status == IPS_ETIMEOUT ? IPS_EEMPTY : status;
        }
    }
}

/* --- exceptions put off ---------------------------------------------------- */

bool
ips_queue_raise_owed(ips_queue_object *self)
{
    PyObject *error = self->owed;
    if (__builtin_expect(error == NULL, 1)) {
        return false;
    }
    self->owed = NULL;
    PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
    return true;
}

void
ips_queue_owe(ips_queue_object *self)
{
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    Py_XSETREF(self->owed, error);
}

/* --- taking --------------------------------------------------------------- */

typedef struct {
    ips_queue *queue;
    const ips_take *take;
    const ips_look *look;
    const ips_room *rooms;
    uint32_t count;
} taking;

static int
take_step(void *context, int64_t deadline)
{
    const taking *job = context;
    return ips_queue_take(job->queue, job->take, deadline);
}

static int
take_large_step(void *context, int64_t deadline)
{
    const taking *job = context;
    return ips_queue_take_large(job->queue, job->look, job->rooms, job->count, deadline);
}

int
ips_queue_take_patiently(ips_queue_object *self, const ips_take *take, int64_t deadline)
{
    int status = ips_queue_try_take(&self->body, take);
    if (status != IPS_EAGAIN) {
        return status;
    }
    taking job = {.queue = &self->body, .take = take};
    return ips_queue_run(self, take_step, &job, deadline);
}

/* Take what was looked at into `to`. */
static int
take_into(ips_queue_object *self, const ips_look *look, void *to, int64_t deadline)
{
    if (look->large) {
        ips_room room = {to, look->size};
        taking job = {.queue = &self->body, .look = look, .rooms = &room, .count = 1};
        return ips_queue_run(self, take_large_step, &job, deadline);
    }
    ips_copy copy = {.from = look->record.payload, .to = to, .size = look->record.size};
    ips_take take = {look, look, &copy, 1, false};
    return ips_queue_take_patiently(self, &take, deadline);
}

/* --- one value ------------------------------------------------------------ */

typedef struct {
    ips_look look;
    int64_t deadline;
    int status; /* of the taking */
} receipt;

static PyObject *
receive_bytes(ips_queue_object *self, receipt *in)
{
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)in->look.size);
    if (bytes == NULL) {
        return NULL;
    }
    in->status = take_into(self, &in->look, PyBytes_AS_STRING(bytes), in->deadline);
    if (in->status < 0) {
        Py_CLEAR(bytes);
    }
    return bytes;
}

/* MessagePack in the ring: copy, decode, and only then take. */
static PyObject *
receive_packed(ips_queue_object *self, receipt *in, uint8_t *room)
{
    const ips_look *look = &in->look;
    ips_copy copy = {.from = look->record.payload, .to = room, .size = look->record.size};
    ips_take keep = {look, look, &copy, 1, true};
    in->status = ips_queue_take_patiently(self, &keep, in->deadline);
    if (in->status < 0) {
        return NULL;
    }
    PyObject *value = ips_value_decode(self->state, look->record.kind, room, look->size);
    if (value == NULL
        && !PyErr_ExceptionMatches(self->state->errors[IPS_ORDINAL_DECODE])) {
        in->status = IPS_OK;
        return NULL; /* no memory, perhaps: the message stays */
    }
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    ips_take take = {look, look, NULL, 0, false};
    in->status = ips_queue_take_patiently(self, &take, in->deadline);
    if (in->status < 0) {
        Py_CLEAR(value);
        Py_XDECREF(type);
        Py_XDECREF(error);
        Py_XDECREF(traceback);
    } else {
        PyErr_Restore(type, error, traceback);
    }
    return value;
}

/* Anything else, and whatever is large: take, then decode. */
static PyObject *
receive_pickled(ips_queue_object *self, receipt *in, uint8_t *room)
{
    in->status = take_into(self, &in->look, room, in->deadline);
    return in->status < 0
        ? NULL : ips_value_decode(self->state, in->look.record.kind, room, in->look.size);
}

static PyObject *
receive_value(ips_queue_object *self, receipt *in)
{
    uint8_t small[SMALL];
    const ips_look *look = &in->look;
    uint8_t *room = look->size <= SMALL ? small : PyMem_Malloc(look->size);
    if (room == NULL) {
        return PyErr_NoMemory();
    }
    PyObject *value = look->record.kind == IPS_VALUE_MSGPACK && !look->large
        ? receive_packed(self, in, room)
        : receive_pickled(self, in, room);
    if (room != small) {
        PyMem_Free(room);
    }
    return value;
}

static int
peek_step(void *context, int64_t deadline)
{
    const taking *job = context;
    return ips_queue_peek_large(job->queue, job->look, job->rooms[0], deadline);
}

/* A value in parts, each straight into its place. */
static PyObject *
receive_parts(ips_queue_object *self, receipt *in)
{
    const ips_look *look = &in->look;
    ips_parts_in parts;
    memset(&parts.table, 0, sizeof parts.table);
    size_t head = look->size < sizeof parts.table ? look->size : sizeof parts.table;
    ips_room room = {&parts.table, head};
    taking job = {.queue = &self->body, .look = look, .rooms = &room, .count = 1};
    in->status = ips_queue_run(self, peek_step, &job, in->deadline);
    if (in->status < 0) {
        return NULL;
    }
    PyObject *value = NULL;
    if (ips_parts_prepare(self->state, &parts, look->size) == 0) {
        job.rooms = parts.room;
        job.count = parts.rooms;
        in->status = ips_queue_run(self, take_large_step, &job, in->deadline);
        value = in->status < 0 ? NULL : ips_parts_decode(self->state, look->record.kind, &parts);
    } else if (PyErr_ExceptionMatches(self->state->errors[IPS_ORDINAL_DECODE])) {
        PyErr_Clear(); /* senseless: take it all the same, and raise it with its bytes */
        value = receive_value(self, in);
    }
    ips_parts_clear(&parts);
    return value;
}

PyObject *
ips_queue_get_value(ips_queue_object *self, int64_t deadline)
{
    receipt in = {.deadline = deadline};
    do {
        in.status = ips_queue_find(self, deadline, &in.look);
        if (in.status < 0) {
            break;
        }
        uint8_t kind = in.look.record.kind;
        bool in_parts = kind == IPS_VALUE_PARTS_MSGPACK || kind == IPS_VALUE_PARTS_PICKLE;
        PyObject *value = kind == IPS_VALUE_RAW         ? receive_bytes(self, &in)
                          : in_parts && in.look.large   ? receive_parts(self, &in)
                                                        : receive_value(self, &in);
        if (value != NULL || in.status == 0) {
            return value;
        }
    } while (in.status == IPS_EMISMATCH);
    return ips_queue_raise(self, in.status);
}

static PyObject *
get_slow(ips_queue_object *self, int64_t deadline)
{
    if (ips_queue_enter(self) == NULL) {
        return NULL;
    }
    PyObject *value = ips_queue_raise_owed(self) ? NULL : ips_queue_get_value(self, deadline);
    ips_queue_leave(self);
    return value;
}

/* Small bytes that lie there, all with the GIL; NULL without an exception
 * where it takes more than that. */
static inline PyObject *
get_quick(ips_queue_object *self)
{
    ips_look look;
    ips_queue *queue = ips_queue_quick(self);
    if (queue == NULL || self->owed != NULL || ips_queue_look(queue, &look) != 0 ||
        look.record.kind != IPS_VALUE_RAW) {
        return NULL;
    }
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)look.size);
    if (bytes == NULL) {
        return NULL;
    }
    ips_copy copy = {.from = look.record.payload, .to = PyBytes_AS_STRING(bytes),
                     .size = look.record.size};
    ips_take take = {&look, &look, &copy, 1, false};
    if (ips_queue_try_take(queue, &take) != 0) {
        Py_CLEAR(bytes);
    }
    return bytes;
}

PyObject *
ips_queue_get_one(ips_queue_object *self, int64_t deadline)
{
    PyObject *value = get_quick(self);
    ips_queue *queue = ips_queue_quick(self);
    if (value == NULL && deadline != IPS_AT_ONCE && queue != NULL
        && PyErr_Occurred() == NULL && ips_queue_glance(queue)) {
        value = get_quick(self);
    }
    return value != NULL || PyErr_Occurred() != NULL ? value : get_slow(self, deadline);
}

PyObject *
ips_queue_get_method(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    static const char *const names[] = {"block", "timeout", NULL};
    PyObject *given[2] = {NULL, NULL};
    int64_t deadline = IPS_FOREVER;
    ips_call call = {args, count, keywords};
    if ((count != 0 || keywords != NULL)
        && (ips_queue_arguments("get", &call, names, 0, given) < 0
            || ips_queue_deadline(given[0], given[1], &deadline) < 0)) {
        return NULL;
    }
    return ips_queue_get_one((ips_queue_object *)self, deadline);
}

PyObject *
ips_queue_get_nowait_method(PyObject *self, PyObject *unused)
{
    (void)unused;
    return ips_queue_get_one((ips_queue_object *)self, IPS_AT_ONCE);
}

/* --- into a buffer -------------------------------------------------------- */

/* The size of what was taken, -1 with an exception set, -2: look again. */
static Py_ssize_t
receive_into(ips_queue_object *self, const ips_look *look, const Py_buffer *view,
             int64_t deadline)
{
    if (look->record.kind != IPS_VALUE_RAW) {
        (void)ips_raise_text(self->state, IPS_EMISMATCH,
                             "the next message of '%s' is not bytes: take it with get()",
                             ips_queue_title(self));
        return -1;
    }
    if (look->size > (uint64_t)view->len) {
        (void)ips_raise_text(self->state, IPS_ETOOBIG,
                             "the next message of '%s' has %llu bytes and the buffer %zd; "
                             "it stays in the queue", ips_queue_title(self),
                             (unsigned long long)look->size, view->len);
        return -1;
    }
    int status = take_into(self, look, view->buf, deadline);
    if (status == IPS_EMISMATCH) {
        return -2;
    }
    if (status < 0) {
        (void)ips_queue_raise(self, status);
        return -1;
    }
    return (Py_ssize_t)look->size;
}

static Py_ssize_t
get_into(ips_queue_object *self, const Py_buffer *view, int64_t deadline)
{
    Py_ssize_t size;
    do {
        ips_look look;
        int status = ips_queue_find(self, deadline, &look);
        if (status < 0) {
            (void)ips_queue_raise(self, status);
            return -1;
        }
        size = receive_into(self, &look, view, deadline);
    } while (size == -2);
    return size;
}

PyObject *
ips_queue_get_into_method(PyObject *object, PyObject *const *args, Py_ssize_t count,
                          PyObject *keywords)
{
    static const char *const names[] = {"buffer", "block", "timeout", NULL};
    PyObject *given[3] = {NULL, NULL, NULL};
    int64_t deadline;
    Py_buffer view;
    ips_call call = {args, count, keywords};
    ips_queue_object *self = (ips_queue_object *)object;
    if (ips_queue_arguments("get_into", &call, names, 1, given) < 0
        || ips_queue_deadline(given[1], given[2], &deadline) < 0
        || PyObject_GetBuffer(given[0], &view, PyBUF_WRITABLE) < 0) {
        return NULL;
    }
    Py_ssize_t size = -1;
    if (ips_queue_enter(self) != NULL) {
        size = ips_queue_raise_owed(self) ? -1 : get_into(self, &view, deadline);
        ips_queue_leave(self);
    }
    PyBuffer_Release(&view);
    return size < 0 ? NULL : PyLong_FromSsize_t(size);
}
