/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.Queue: queue.Queue between processes, on message/queue.h. */
#include "bind/queue.h"

#include <structmember.h>

#include "bind/options.h"
#include "os/clock.h"

/* --- counts --------------------------------------------------------------- */

static PyObject *
queue_qsize(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_queue *queue = ips_queue_enter((ips_queue_object *)object);
    if (queue == NULL) {
        return NULL;
    }
    uint64_t size = ips_queue_size(queue);
    ips_queue_leave((ips_queue_object *)object);
    return PyLong_FromUnsignedLongLong(size);
}

static PyObject *
queue_empty(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_queue *queue = ips_queue_enter((ips_queue_object *)object);
    if (queue == NULL) {
        return NULL;
    }
    uint64_t size = ips_queue_size(queue);
    ips_queue_leave((ips_queue_object *)object);
    return PyBool_FromLong(size == 0);
}

typedef struct {
    ips_queue *queue;
    bool flag;
} asking;

static int
full_step(void *context, int64_t deadline)
{
    asking *job = context;
    return ips_queue_is_full(job->queue, deadline, &job->flag);
}

static PyObject *
queue_full(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_queue_object *self = (ips_queue_object *)object;
    asking job = {ips_queue_enter(self), false};
    if (job.queue == NULL) {
        return NULL;
    }
    int status = ips_queue_run(self, full_step, &job, IPS_AT_ONCE);
    ips_queue_leave(self);
    return status < 0 && status != IPS_ETIMEOUT ? ips_queue_raise(self, status)
                                                : PyBool_FromLong(job.flag);
}

static PyObject *
queue_task_done(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_queue_object *self = (ips_queue_object *)object;
    ips_queue *queue = ips_queue_enter(self);
    if (queue == NULL) {
        return NULL;
    }
    int status = ips_queue_task_done(queue);
    ips_queue_leave(self);
    if (status < 0) {
        PyErr_SetString(PyExc_ValueError, "task_done() called too many times");
        return NULL;
    }
    Py_RETURN_NONE;
}

static int
join_step(void *context, int64_t deadline)
{
    return ips_queue_join(context, deadline);
}

static PyObject *
queue_join(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    static const char *const names[] = {"timeout", NULL};
    ips_queue_object *self = (ips_queue_object *)object;
    PyObject *given[1] = {NULL};
    int64_t deadline;
    ips_call call = {args, count, keywords};
    if (ips_queue_arguments("join", &call, names, 0, given) < 0
        || ips_queue_deadline(NULL, given[0], &deadline) < 0) {
        return NULL;
    }
    ips_queue *queue = ips_queue_enter(self);
    if (queue == NULL) {
        return NULL;
    }
    int status = ips_queue_run(self, join_step, queue, deadline);
    ips_queue_leave(self);
    if (status == IPS_EINTR) {
        return NULL;
    }
    if (status < 0) {
        return ips_raise(self->state, status);
    }
    Py_RETURN_NONE;
}

static int
shutdown_step(void *context, int64_t deadline)
{
    const asking *job = context;
    return ips_queue_shut_down(job->queue, job->flag, deadline);
}

static PyObject *
queue_shutdown(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    static const char *const names[] = {"immediate", NULL};
    ips_queue_object *self = (ips_queue_object *)object;
    PyObject *given[1] = {NULL};
    ips_call call = {args, count, keywords};
    if (ips_queue_arguments("shutdown", &call, names, 0, given) < 0) {
        return NULL;
    }
    int immediately = given[0] == NULL ? 0 : PyObject_IsTrue(given[0]);
    asking job = {immediately < 0 ? NULL : ips_queue_enter(self), immediately > 0};
    if (job.queue == NULL) {
        return NULL;
    }
    int status = ips_queue_run(self, shutdown_step, &job, IPS_FOREVER);
    ips_queue_leave(self);
    if (status < 0) {
        return ips_queue_raise(self, status);
    }
    Py_RETURN_NONE;
}

/* --- check ---------------------------------------------------------------- */

/* Lines gathered while locks are held: Python sees them afterwards. */
typedef struct {
    ips_queue *queue;
    char lines[8192]; /* each ends with a newline */
    size_t used;
} findings;

static void
gather_line(const char *line, void *context)
{
    findings *job = context;
    size_t room = sizeof job->lines - job->used;
    int size = PyOS_snprintf(job->lines + job->used, room, "%s\n", line);
    job->used += size > 0 && (size_t)size < room ? (size_t)size : 0;
}

static int
check_step(void *context, int64_t deadline)
{
    findings *job = context;
    job->used = 0;
    int status = ips_queue_check(job->queue, deadline, gather_line, job);
    return status == IPS_ECORRUPT && job->used != 0 ? IPS_OK : status;
}

static PyObject *
queue_check(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_queue_object *self = (ips_queue_object *)object;
    findings job = {.queue = ips_queue_enter(self)};
    if (job.queue == NULL) {
        return NULL;
    }
    int status = ips_queue_run(self, check_step, &job, IPS_FOREVER);
    ips_queue_leave(self);
    if (status < 0) {
        return ips_queue_raise(self, status);
    }
    PyObject *text = PyUnicode_DecodeUTF8(job.lines, (Py_ssize_t)job.used, "replace");
    PyObject *lines = text == NULL ? NULL : PyUnicode_Splitlines(text, 0);
    Py_XDECREF(text);
    return lines;
}

/* --- facts ---------------------------------------------------------------- */

static bool
was_opened(const ips_queue_object *self)
{
    if (self->state == NULL) {
        PyErr_SetString(PyExc_ValueError, "Queue.__init__() was not called");
    }
    return self->state != NULL;
}

static PyObject *
queue_maxsize(PyObject *object, void *unused)
{
    (void)unused;
    const ips_queue_object *self = (ips_queue_object *)object;
    return was_opened(self) ? PyLong_FromUnsignedLongLong(self->body.ring.maxsize) : NULL;
}

static PyObject *
queue_max_bytes(PyObject *object, void *unused)
{
    (void)unused;
    const ips_queue_object *self = (ips_queue_object *)object;
    uint64_t bytes = (uint64_t)self->body.ring.units * IPS_BLOCK;
    return was_opened(self) ? PyLong_FromUnsignedLongLong(bytes) : NULL;
}

static PyObject *
queue_max_message(PyObject *object, void *unused)
{
    (void)unused;
    const ips_queue_object *self = (ips_queue_object *)object;
    if (!was_opened(self)) {
        return NULL;
    }
    uint64_t largest = ips_largest_message(&self->body.ring);
    uint64_t limit = self->body.ring.max_message;
    return PyLong_FromUnsignedLongLong(limit != 0 && limit < largest ? limit : largest);
}

static PyObject *
queue_unfinished(PyObject *object, void *unused)
{
    (void)unused;
    ips_queue *queue = ips_queue_enter((ips_queue_object *)object);
    if (queue == NULL) {
        return NULL;
    }
    uint64_t count = ips_queue_unfinished(queue);
    ips_queue_leave((ips_queue_object *)object);
    return PyLong_FromUnsignedLongLong(count);
}

static PyObject *
queue_is_shutdown(PyObject *object, void *unused)
{
    (void)unused;
    ips_queue *queue = ips_queue_enter((ips_queue_object *)object);
    if (queue == NULL) {
        return NULL;
    }
    bool shut = ips_queue_is_shut_down(queue);
    ips_queue_leave((ips_queue_object *)object);
    return PyBool_FromLong(shut);
}

static PyObject *
queue_name(PyObject *object, void *unused)
{
    (void)unused;
    const ips_queue_object *self = (ips_queue_object *)object;
    return self->name == NULL ? Py_NewRef(Py_None) : Py_NewRef(self->name);
}

static PyObject *
queue_closed(PyObject *object, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((ips_queue_object *)object)->queue == NULL);
}

static PyObject *
queue_repr(PyObject *object)
{
    ips_queue_object *self = (ips_queue_object *)object;
    const char *type = Py_TYPE(object)->tp_name;
    if (self->queue == NULL) {
        return PyUnicode_FromFormat("<closed %s object at %p>", type, object);
    }
    unsigned long long size = ips_queue_size(self->queue);
    if (self->name == NULL) {
        return PyUnicode_FromFormat("<%s of %llu messages at %p>", type, size, object);
    }
    return PyUnicode_FromFormat("<%s %R of %llu messages>", type, self->name, size);
}

static PyObject *
queue_enter(PyObject *object, PyObject *unused)
{
    (void)unused;
    if (ips_queue_enter((ips_queue_object *)object) == NULL) {
        return NULL;
    }
    ips_queue_leave((ips_queue_object *)object);
    return Py_NewRef(object);
}

static PyObject *
queue_exit(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    (void)args;
    (void)count;
    return ips_queue_close_method(object, NULL);
}

static PyObject *
queue_remove(PyObject *type, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    return ips_remove_named((PyTypeObject *)type, args, count, keywords);
}

/* --- the type ------------------------------------------------------------- */

PyDoc_STRVAR(queue_doc,
"Queue(maxsize=0, *, name=None, namespace=None, create=None, cleanup=None, max_bytes=None,\n"
"      max_message=None)\n"
"--\n\n"
"queue.Queue between processes: any number may put and get, and what put()\n"
"returned from is there for the next get() whoever is killed.\n\n"
"`maxsize` bounds the number of messages, `max_bytes` their memory (half of\n"
"what is free if not given), `max_message` the bytes of one; sizes may be text\n"
"such as '64 MiB'.  Limits are the creator's.");

PyDoc_STRVAR(put_doc, "put($self, /, item, block=True, timeout=None)\n--\n\n"
"Put an item, waiting for room; Full where there is none in time.");
PyDoc_STRVAR(put_nowait_doc, "put_nowait($self, /, item)\n--\n\n"
"Put an item if there is room now, else raise Full.");
PyDoc_STRVAR(put_bytes_doc, "put_bytes($self, /, buffer, block=True, timeout=None)\n--\n\n"
"Put the bytes of a buffer (bytearray, memoryview, array); get() gives bytes.");
PyDoc_STRVAR(put_many_doc, "put_many($self, /, items, block=True, timeout=None)\n--\n\n"
"Put items in order and return how many went in: all, or fewer where the time\n"
"was up.  Full where not one did.  Nothing is put if an item cannot be encoded.\n"
"Other exceptions say in `count` how many went in before them.");
PyDoc_STRVAR(get_doc, "get($self, /, block=True, timeout=None)\n--\n\n"
"Take the next item, waiting for it; Empty where none comes in time.");
PyDoc_STRVAR(get_nowait_doc, "get_nowait($self, /)\n--\n\n"
"Take the next item if there is one, else raise Empty.");
PyDoc_STRVAR(get_into_doc, "get_into($self, /, buffer, block=True, timeout=None)\n--\n\n"
"Take the next message, which must be bytes, into a writable buffer; its size.\n"
"One that does not fit, or is not bytes, raises and stays.");
PyDoc_STRVAR(get_many_doc, "get_many($self, /, n, block=True, timeout=None)\n--\n\n"
"Take up to n items as a list, waiting for the first of them only.  One that\n"
"cannot be decoded ends the list; its DecodeError comes with the next call.");
PyDoc_STRVAR(drain_doc, "drain($self, /)\n--\n\nTake all that is there now, as a list.");
PyDoc_STRVAR(qsize_doc, "qsize($self, /)\n--\n\nHow many items there are.");
PyDoc_STRVAR(empty_doc, "empty($self, /)\n--\n\nWhether there are none.");
PyDoc_STRVAR(full_doc, "full($self, /)\n--\n\n"
"Whether an item would have to wait: maxsize or max_bytes is reached.");
PyDoc_STRVAR(task_done_doc, "task_done($self, /)\n--\n\n"
"Say that an item once got is dealt with; see join().");
PyDoc_STRVAR(join_doc, "join($self, /, timeout=None)\n--\n\n"
"Wait until each item put was declared done; Timeout where that takes too long.");
PyDoc_STRVAR(shutdown_doc, "shutdown($self, /, immediate=False)\n--\n\n"
"No more puts: they raise ShutDown, and so do gets once it is empty.  With\n"
"immediate=True it is emptied at once.");
PyDoc_STRVAR(check_doc, "check($self, /)\n--\n\n"
"What is wrong with the shared bytes: a list of lines, empty when sound.");
PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\n"
"Give up this handle; threads of this process that wait on it get Closed.");

#define FAST(function) (PyCFunction)(void (*)(void))function, METH_FASTCALL | METH_KEYWORDS

static PyMethodDef queue_methods[] = {
    {"put", FAST(ips_queue_put_method), put_doc},
    {"put_nowait", FAST(ips_queue_put_nowait_method), put_nowait_doc},
    {"put_bytes", FAST(ips_queue_put_bytes_method), put_bytes_doc},
    {"put_many", FAST(ips_queue_put_many_method), put_many_doc},
    {"get", FAST(ips_queue_get_method), get_doc},
    {"get_nowait", ips_queue_get_nowait_method, METH_NOARGS, get_nowait_doc},
    {"get_into", FAST(ips_queue_get_into_method), get_into_doc},
    {"get_many", FAST(ips_queue_get_many_method), get_many_doc},
    {"drain", ips_queue_drain_method, METH_NOARGS, drain_doc},
    {"qsize", queue_qsize, METH_NOARGS, qsize_doc},
    {"empty", queue_empty, METH_NOARGS, empty_doc},
    {"full", queue_full, METH_NOARGS, full_doc},
    {"task_done", queue_task_done, METH_NOARGS, task_done_doc},
    {"join", FAST(queue_join), join_doc},
    {"shutdown", FAST(queue_shutdown), shutdown_doc},
    {"check", queue_check, METH_NOARGS, check_doc},
    {"close", ips_queue_close_method, METH_NOARGS, close_doc},
    {"remove", (PyCFunction)(void (*)(void))queue_remove,
     METH_FASTCALL | METH_KEYWORDS | METH_CLASS, IPS_REMOVE_DOC},
    {"__enter__", queue_enter, METH_NOARGS, "__enter__($self, /)\n--\n\nItself."},
    {"__exit__", (PyCFunction)(void (*)(void))queue_exit, METH_FASTCALL,
     "__exit__($self, /, *exc_info)\n--\n\nclose()."},
    {"__reduce__", ips_queue_reduce, METH_NOARGS, "__reduce__($self, /)\n--\n\n"
     "A handle for another process of the same namespace."},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, NULL},
    {"_restore", ips_queue_restore, METH_VARARGS | METH_CLASS, NULL},
    {NULL},
};

static PyGetSetDef queue_getsets[] = {
    {"maxsize", queue_maxsize, NULL, "Messages it may hold; 0: any number.", NULL},
    {"max_bytes", queue_max_bytes, NULL, "Bytes of memory it may take.", NULL},
    {"max_message", queue_max_message, NULL, "Bytes of the largest message it takes.", NULL},
    {"unfinished_tasks", queue_unfinished, NULL, "Messages put and not yet declared done.", NULL},
    {"is_shutdown", queue_is_shutdown, NULL, "True once shutdown() was called by anybody.", NULL},
    {"name", queue_name, NULL, "The name, or None.", NULL},
    {"closed", queue_closed, NULL, "True once close() was called.", NULL},
    {NULL},
};

static PyMemberDef queue_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ips_queue_object, weakrefs), READONLY, NULL},
    {NULL},
};

static PyType_Slot queue_slots[] = {
    {Py_tp_doc, (void *)queue_doc},
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_init, (void *)ips_queue_init},
    {Py_tp_dealloc, (void *)ips_queue_dealloc},
    {Py_tp_repr, (void *)queue_repr},
    {Py_tp_methods, queue_methods},
    {Py_tp_getset, queue_getsets},
    {Py_tp_members, queue_members},
    {0, NULL},
};

static PyType_Spec queue_spec = {
    .name = "ipcsys.Queue",
    .basicsize = sizeof(ips_queue_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = queue_slots,
};

int
ips_add_queue(PyObject *module, ips_state *state)
{
    state->queue_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &queue_spec, NULL);
    return state->queue_type == NULL ? -1 : PyModule_AddType(module, state->queue_type);
}
