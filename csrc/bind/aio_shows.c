/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks that wait, shown to people: a capsule holds the record (member/waits.h),
 * which goes with it, however the task ends. */
#include "bind/aio.h"

#include "member/waits.h"
#include "os/clock.h"
#include "sync/lock.h"

#define CAPSULE "ipcsys._core.shown"

static void
destroy_shown(PyObject *capsule)
{
    ips_waiting *waiting = (ips_waiting *)PyCapsule_GetPointer(capsule, CAPSULE);
    if (waiting != NULL) {
        ips_waiting_hide(waiting);
        PyMem_Free(waiting);
    }
}

static PyObject *
new_shown(const ips_aio_object *object, PyObject *timeout)
{
    ips_waiting *waiting = (ips_waiting *)PyMem_Calloc(1, sizeof *waiting);
    PyObject *capsule = waiting == NULL ? PyErr_NoMemory()
                                        : PyCapsule_New(waiting, CAPSULE, destroy_shown);
    if (capsule == NULL) {
        PyMem_Free(waiting);
        return NULL;
    }
    waiting->space = object->space;
    ips_cell_object_place(object->cell, &waiting->file, &waiting->place);
    if (ips_deadline_of(timeout, &waiting->deadline) < 0) {
        Py_DECREF(capsule);
        return NULL;
    }
    return capsule;
}

/* Who has a lock that is waited for; a condition's may be its own. */
static ips_owner
holder_of(const ips_aio_object *object)
{
    return object->kind == IPS_AIO_LOCK || object->kind == IPS_AIO_RLOCK
               ? ips_lock_owner((const ips_lock_shm *)object->words)
               : IPS_NOBODY;
}

PyDoc_STRVAR(show_doc, "async_show(object, task, timeout, shown, /)\n--\n\n"
"The task waits for the object, for `timeout` seconds at most (None: for ever): let\n"
"waits() tell of it while what this returns is kept.  `shown` is what it returned for\n"
"the same wait before, or None.");

static PyObject *
core_async_show(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    ips_aio_object object;
    if (count != 4) {
        return PyErr_Format(PyExc_TypeError, "async_show() takes 4 arguments (%zd given)", count);
    }
    if (!ips_aio_enter(ips_state_of_module(module), args[0], &object)) {
        return NULL;
    }
    PyObject *shown = object.cell == NULL ? Py_NewRef(Py_None) /* a queue: locks() lists none */
                      : args[3] == Py_None ? new_shown(&object, args[2])
                                           : Py_NewRef(args[3]);
    if (shown != NULL && shown != Py_None) {
        ips_waiting *waiting = (ips_waiting *)PyCapsule_GetPointer(shown, CAPSULE);
        if (waiting == NULL) {
            Py_CLEAR(shown);
        } else {
            ips_waiting_show(waiting, (uint32_t)ips_aio_trace(args[1]), holder_of(&object));
        }
    }
    ips_aio_leave(&object);
    return shown;
}

PyDoc_STRVAR(task_doc, "async_task(task, /)\n--\n\n"
"The number by which waits() and locks() tell of a task; 0 for None.");

static PyObject *
core_async_task(PyObject *module, PyObject *task)
{
    (void)module;
    return PyLong_FromUnsignedLong((uint32_t)ips_aio_trace(task));
}

PyMethodDef ips_aio_shows[] = {
    {"async_show", (PyCFunction)(void (*)(void))core_async_show, METH_FASTCALL, show_doc},
    {"async_task", core_async_task, METH_O, task_doc},
    {NULL, NULL, 0, NULL},
};
