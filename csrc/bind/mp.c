/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/mp.h"

#include "bind/queue.h"
#include "os/clock.h"

int
ips_mp_deadline_of(PyObject *block, PyObject *timeout, int64_t *deadline)
{
    int waits = block == NULL ? 1 : PyObject_IsTrue(block);
    if (waits < 0) {
        return -1;
    }
    *deadline = waits ? IPS_FOREVER : IPS_AT_ONCE;
    return waits && timeout != NULL ? ips_deadline_of_wait(timeout, deadline) : 0;
}

int
ips_mp_acquire_deadline(PyObject *const *args, Py_ssize_t count, PyObject *keywords,
                        int64_t *deadline)
{
    static const char *const names[] = {"block", "timeout", NULL};
    PyObject *given[2] = {NULL, NULL};
    ips_call call = {args, count, keywords};
    if (ips_queue_arguments("acquire", &call, names, 0, given) < 0) {
        return -1;
    }
    return ips_mp_deadline_of(given[0], given[1], deadline);
}

int
ips_mp_init(initproc init, PyObject *self, PyObject *args, PyObject *kwargs)
{
    if (kwargs == NULL || PyDict_GetItemString(kwargs, "ctx") == NULL) {
        return init(self, args, kwargs);
    }
    PyObject *rest = PyDict_Copy(kwargs);
    int done = rest == NULL || PyDict_DelItemString(rest, "ctx") < 0 ? -1 : init(self, args, rest);
    Py_XDECREF(rest);
    return done;
}

PyObject *
ips_mp_describe(PyObject *self, const char *function)
{
    PyObject *module = PyImport_ImportModule("ipcsys.mp.synchronize");
    PyObject *text = module == NULL ? NULL : PyObject_CallMethod(module, function, "O", self);
    Py_XDECREF(module);
    return text;
}

PyObject *
ips_mp_raise_released_too_often(void)
{
    PyErr_SetString(PyExc_ValueError, "semaphore or lock released too many times");
    return NULL;
}

PyObject *
ips_mp_semlock(PyObject *self, void *unused)
{
    (void)unused;
    return Py_NewRef(self);
}
