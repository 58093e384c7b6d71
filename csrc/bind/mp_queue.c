/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.mp.Queue: ipcsys.Queue with the manners of multiprocessing.Queue.
 *
 * Those are: its names of arguments, negative timeouts that act as zero, its
 * pickler and the exceptions of pickling as they come, close() that promises
 * nothing but not to use the queue any more, and no limit that a put would
 * wait at for ever. */
#include "bind/mp.h"
#include "bind/queue.h"
#include "os/clock.h"

/* --- exceptions ----------------------------------------------------------- */

/* Let what went wrong while pickling be raised itself, as multiprocessing
 * does, rather than as the cause of ours. */
static PyObject *
raise_cause(const ips_queue_object *self)
{
    if (self->state == NULL
        || !(PyErr_ExceptionMatches(self->state->errors[IPS_ORDINAL_ENCODE])
             || PyErr_ExceptionMatches(self->state->errors[IPS_ORDINAL_DECODE]))) {
        return NULL;
    }
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    PyObject *cause = PyException_GetCause(error);
    if (cause == NULL) {
        PyErr_Restore(type, error, traceback);
        return NULL;
    }
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(cause)), cause, PyException_GetTraceback(cause));
    Py_DECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(traceback);
    return NULL;
}

/* --- putting and getting -------------------------------------------------- */

static inline PyObject *
put(PyObject *object, PyObject *item, int64_t deadline)
{
    ips_queue_object *self = (ips_queue_object *)object;
    PyObject *done = ips_queue_put_value(self, item, deadline);
    return done != NULL ? done : raise_cause(self);
}

static PyObject *
queue_put(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    static const char *const names[] = {"obj", "block", "timeout", NULL};
    if (count == 1 && keywords == NULL) {
        return put(self, args[0], IPS_FOREVER);
    }
    PyObject *given[3] = {NULL, NULL, NULL};
    int64_t deadline;
    ips_call call = {args, count, keywords};
    if (ips_queue_arguments("put", &call, names, 1, given) < 0
        || ips_mp_deadline_of(given[1], given[2], &deadline) < 0) {
        return NULL;
    }
    return put(self, given[0], deadline);
}

static PyObject *
queue_put_nowait(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    static const char *const names[] = {"obj", NULL};
    PyObject *given[1] = {NULL};
    ips_call call = {args, count, keywords};
    if (ips_queue_arguments("put_nowait", &call, names, 1, given) < 0) {
        return NULL;
    }
    return put(self, given[0], IPS_AT_ONCE);
}

static inline PyObject *
get(PyObject *object, int64_t deadline)
{
    ips_queue_object *self = (ips_queue_object *)object;
    PyObject *value = ips_queue_get_one(self, deadline);
    return value != NULL ? value : raise_cause(self);
}

static PyObject *
queue_get(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    static const char *const names[] = {"block", "timeout", NULL};
    PyObject *given[2] = {NULL, NULL};
    int64_t deadline = IPS_FOREVER;
    ips_call call = {args, count, keywords};
    if ((count != 0 || keywords != NULL)
        && (ips_queue_arguments("get", &call, names, 0, given) < 0
            || ips_mp_deadline_of(given[0], given[1], &deadline) < 0)) {
        return NULL;
    }
    return get(self, deadline);
}

static PyObject *
queue_get_nowait(PyObject *self, PyObject *unused)
{
    (void)unused;
    return get(self, IPS_AT_ONCE);
}

/* multiprocessing's own word for a queue that was closed, here alone. */
static PyObject *
queue_empty(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_queue *queue = ips_queue_enter((ips_queue_object *)object);
    if (queue == NULL) {
        PyErr_Clear();
        return PyErr_Format(PyExc_OSError, "Queue %R is closed", object);
    }
    uint64_t size = ips_queue_size(queue);
    ips_queue_leave((ips_queue_object *)object);
    return PyBool_FromLong(size == 0);
}

/* --- the feeder thread that is not there ---------------------------------- */

static PyObject *
queue_join_thread(PyObject *object, PyObject *unused)
{
    (void)unused;
    if (((ips_queue_object *)object)->queue != NULL) {
        PyErr_Format(PyExc_AssertionError, "Queue %R not closed", object);
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
queue_cancel_join_thread(PyObject *object, PyObject *unused)
{
    (void)object;
    (void)unused;
    Py_RETURN_NONE;
}

/* --- the type ------------------------------------------------------------- */

/* maxsize by position, and the keywords of ipcsys.Queue; ctx means nothing. */
static int
queue_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return ips_mp_init(ips_queue_init, self, args, kwargs);
}

PyDoc_STRVAR(queue_doc,
"Queue(maxsize=0, *, ctx=None, name=None, namespace=None, create=None, cleanup=None,\n"
"      max_bytes=None, max_message=None)\n"
"--\n\n"
"multiprocessing.Queue without its feeder thread: what put() returned from is\n"
"there for the next get(), and a killed process never wedges it.\n\n"
"`ctx` is accepted and means nothing; the other keywords are those of\n"
"ipcsys.Queue.  `max_bytes` bounds the memory of what is in it, half of what\n"
"is free if not given.");

PyDoc_STRVAR(put_doc, "put($self, /, obj, block=True, timeout=None)\n--\n\n"
"Put an object; Full where there is no room within `timeout` seconds.\n\n"
"What pickling it raises is raised here.  A queue without maxsize whose memory\n"
"is used up waits while others take objects out; once nobody did so for a\n"
"second it raises Full, which names the limit.");
PyDoc_STRVAR(put_nowait_doc, "put_nowait($self, /, obj)\n--\n\nput(obj, False).");
PyDoc_STRVAR(get_doc, "get($self, /, block=True, timeout=None)\n--\n\n"
"Take the next object; Empty where none comes within `timeout` seconds.");
PyDoc_STRVAR(get_nowait_doc, "get_nowait($self, /)\n--\n\nget(False).");
PyDoc_STRVAR(empty_doc, "empty($self, /)\n--\n\n"
"Whether there are none; OSError where this handle is closed.");
PyDoc_STRVAR(join_thread_doc, "join_thread($self, /)\n--\n\n"
"Nothing: there is no thread.  AssertionError where the queue is not closed.");
PyDoc_STRVAR(cancel_join_thread_doc, "cancel_join_thread($self, /)\n--\n\n"
"Nothing: there is no thread, and what was put is there already.");

static PyMethodDef queue_methods[] = {
    {"put", IPS_MP_FAST(queue_put), put_doc},
    {"put_nowait", IPS_MP_FAST(queue_put_nowait), put_nowait_doc},
    {"get", IPS_MP_FAST(queue_get), get_doc},
    {"get_nowait", queue_get_nowait, METH_NOARGS, get_nowait_doc},
    {"empty", queue_empty, METH_NOARGS, empty_doc},
    {"join_thread", queue_join_thread, METH_NOARGS, join_thread_doc},
    {"cancel_join_thread", queue_cancel_join_thread, METH_NOARGS, cancel_join_thread_doc},
    {NULL},
};

static PyType_Slot queue_slots[] = {
    {Py_tp_doc, (void *)queue_doc},
    {Py_tp_init, (void *)queue_init},
    {Py_tp_dealloc, (void *)ips_queue_dealloc},
    {Py_tp_methods, queue_methods},
    {0, NULL},
};

static PyType_Spec queue_spec = {
    .name = "ipcsys.mp.Queue",
    .basicsize = sizeof(ips_queue_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = queue_slots,
};

int
ips_add_mp_queue(PyObject *module, ips_state *state)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &queue_spec, (PyObject *)state->queue_type);
    state->mp_queue_type = (PyTypeObject *)type;
    return type == NULL ? -1 : PyModule_AddObjectRef(module, "MpQueue", type);
}
