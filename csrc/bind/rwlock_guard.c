/* SPDX-License-Identifier: Apache-2.0 */
/* What RWLock.read() and write() return: a context manager. */
#include "bind/rwlock.h"

#include "os/clock.h"

/* What read() and write() return: a context manager, one small block of memory
 * that goes at the end of the with statement. */
typedef struct {
    PyObject_HEAD
    ips_rwlock_object *lock;
    bool writes;
    double timeout; /* seconds; negative: for ever */
} guard_object;

PyObject *
ips_rwlock_guard(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *keywords,
          bool writing)
{
    Py_ssize_t named = keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords);
    const char *what = writing ? "write" : "read";
    if (count + named > 1) {
        return PyErr_Format(PyExc_TypeError, "%s() takes at most 1 argument (%zd given)", what,
                            count + named);
    }
    if (named == 1
        && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(keywords, 0), "timeout") != 0) {
        return PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", what,
                            PyTuple_GET_ITEM(keywords, 0));
    }
    double timeout = -1.0;
    if (count + named == 1 && args[0] != Py_None) {
        int64_t deadline;
        if (ips_deadline_of(args[0], &deadline) < 0) { /* says what is wrong with it */
            return NULL;
        }
        timeout = PyFloat_AsDouble(args[0]);
    }
    ips_state *state = ips_state_of_type(Py_TYPE(object));
    guard_object *guard = state == NULL ? NULL
                                        : PyObject_New(guard_object, state->rwlock_guard_type);
    if (guard != NULL) {
        guard->lock = (ips_rwlock_object *)Py_NewRef(object);
        guard->writes = writing;
        guard->timeout = timeout;
    }
    return (PyObject *)guard;
}

static void
guard_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    Py_DECREF(((guard_object *)object)->lock);
    PyObject_Free(object);
    Py_DECREF(type);
}

static int64_t
guard_deadline(const guard_object *guard)
{
    if (guard->timeout <= 0) {
        return guard->timeout < 0 ? IPS_FOREVER : IPS_AT_ONCE;
    }
    int64_t now = ips_now();
    double ns = guard->timeout * 1e9;
    return ns >= (double)(IPS_FOREVER - now) ? IPS_FOREVER : now + (int64_t)ns;
}

static PyObject *
guard_enter(PyObject *object, PyObject *unused)
{
    (void)unused;
    guard_object *guard = (guard_object *)object;
    ips_rwlock_object *lock = guard->lock;
    int64_t deadline = guard_deadline(guard);
    int status = guard->writes ? ips_rwlock_object_write(lock, deadline)
                               : ips_rwlock_object_read(lock, deadline);
    if (status >= 0) {
        return Py_NewRef(lock);
    }
    ips_state *state = status == IPS_EINTR ? NULL : ips_state_of_type(Py_TYPE(lock));
    return state == NULL ? NULL : ips_raise(state, status);
}

/* Gives up what is held by then: the block may have upgraded or downgraded.
 * While this process writes it does not read, and the other way round. */
static PyObject *
guard_exit(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    (void)args;
    (void)count;
    return ips_rwlock_object_release(((guard_object *)object)->lock);
}

PyDoc_STRVAR(guard_doc, "A context manager that holds an RWLock for reading or for writing.");

static PyMethodDef guard_methods[] = {
    {"__enter__", guard_enter, METH_NOARGS, "__enter__($self, /)\n--\n\n"
     "Acquire it; the RWLock.  Timeout where the time was not enough."},
    {"__exit__", (PyCFunction)(void (*)(void))guard_exit, METH_FASTCALL,
     "__exit__($self, /, *exc_info)\n--\n\nRelease it, as what it is held by then."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot guard_slots[] = {
    {Py_tp_doc, (void *)guard_doc},
    {Py_tp_dealloc, (void *)guard_dealloc},
    {Py_tp_methods, guard_methods},
    {0, NULL},
};

static PyType_Spec guard_spec = {
    .name = "ipcsys._core.RWLockGuard",
    .basicsize = sizeof(guard_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = guard_slots,
};

int
ips_add_rwlock_guard(PyObject *module, ips_state *state)
{
    state->rwlock_guard_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &guard_spec, NULL);
    return state->rwlock_guard_type == NULL ? -1 : 0;
}
