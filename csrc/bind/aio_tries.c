/* SPDX-License-Identifier: Apache-2.0 */
/* Operations that are tried, not waited for. */
#include "bind/aio.h"

#include "bind/condition.h"
#include "bind/lock.h"
#include "bind/semaphore.h"

/* --- rlocks ---------------------------------------------------------------- */

/* An RLock, or a condition that has its lock with it. */
static bool
is_rlock(const ips_aio_object *object)
{
    return object->kind == IPS_AIO_RLOCK
        || (object->kind == IPS_AIO_CONDITION
            && ((ips_condition_object *)object->cell)->lock == NULL);
}

/* The arguments (rlock, number) of these functions, entered; NULL with an
 * exception set. */
static ips_rlock_shm *
enter_rlock(PyObject *module, PyObject *const *args, Py_ssize_t count, ips_aio_object *object,
            uint64_t *task)
{
    if (count != 2) {
        PyErr_Format(PyExc_TypeError, "it takes 2 arguments (%zd given)", count);
        return NULL;
    }
    *task = PyLong_AsUnsignedLongLong(args[1]);
    if (PyErr_Occurred() != NULL || !ips_aio_enter(ips_state_of_module(module), args[0], object)) {
        return NULL;
    }
    if (is_rlock(object)) {
        return (ips_rlock_shm *)object->words;
    }
    ips_aio_leave(object);
    PyErr_SetString(PyExc_TypeError, "it is no RLock");
    return NULL;
}

/* Taken, again or for the first time, also from one known to be dead. */
static bool
take_rlock(ips_rlock_shm *rlock, ips_space *space, uint64_t task)
{
    ips_owner me = ips_space_self(space);
    if (me == IPS_NOBODY) {
        return false;
    }
    if (ips_rlock_try(rlock, me, task)) {
        return true;
    }
    ips_owner owner = ips_lock_owner(&rlock->lock);
    return owner != IPS_NOBODY && !ips_member_lives(space, owner, false)
        && ips_rlock_try_or_take_over(rlock, space, task) >= 0;
}

PyDoc_STRVAR(take_doc, "async_rlock_take(rlock, task, count=1, /)\n--\n\n"
"Take the lock for the task of that number, again where it holds it: False where\n"
"another has it.  More than once only for a task that does not hold it.");

static PyObject *
core_async_rlock_take(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    ips_aio_object object;
    uint64_t task;
    unsigned long long times = count == 3 ? PyLong_AsUnsignedLongLong(args[2]) : 1;
    ips_rlock_shm *rlock = PyErr_Occurred() != NULL
        ? NULL : enter_rlock(module, args, count == 3 ? 2 : count, &object, &task);
    if (rlock == NULL) {
        return NULL;
    }
    bool taken = take_rlock(rlock, object.space, task);
    if (taken && times > 1) {
        ips_rlock_settle(rlock, ips_space_self(object.space), task, times);
    }
    ips_aio_leave(&object);
    return PyBool_FromLong(taken);
}

PyDoc_STRVAR(is_mine_doc, "async_rlock_is_mine(rlock, task, /)\n--\n\n"
"Whether the task of that number holds the lock.");

static PyObject *
core_async_rlock_is_mine(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    ips_aio_object object;
    uint64_t task;
    const ips_rlock_shm *rlock = enter_rlock(module, args, count, &object, &task);
    if (rlock == NULL) {
        return NULL;
    }
    bool mine = ips_rlock_is_mine(rlock, ips_space_self(object.space), task);
    ips_aio_leave(&object);
    return PyBool_FromLong(mine);
}

PyDoc_STRVAR(save_doc, "async_rlock_save(rlock, task, /)\n--\n\n"
"Give up all takings of the task of that number: how many; 0 where it has none.");

static PyObject *
core_async_rlock_save(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    ips_aio_object object;
    uint64_t task;
    ips_rlock_shm *rlock = enter_rlock(module, args, count, &object, &task);
    if (rlock == NULL) {
        return NULL;
    }
    uint64_t had = 0;
    if (ips_rlock_is_mine(rlock, ips_space_self(object.space), task)) {
        had = ips_rlock_count(rlock);
        ips_rlock_leave(rlock);
    }
    ips_aio_leave(&object);
    return PyLong_FromUnsignedLongLong(had);
}

PyDoc_STRVAR(release_doc, "async_rlock_release(rlock, task, /)\n--\n\n"
"Give up one taking of the task of that number: False where it has none.");

static PyObject *
core_async_rlock_release(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    ips_aio_object object;
    uint64_t task;
    ips_rlock_shm *rlock = enter_rlock(module, args, count, &object, &task);
    if (rlock == NULL) {
        return NULL;
    }
    bool mine = ips_rlock_is_mine(rlock, ips_space_self(object.space), task);
    if (mine) {
        ips_rlock_release(rlock);
    }
    ips_aio_leave(&object);
    return PyBool_FromLong(mine);
}

/* --- semaphores ------------------------------------------------------------- */

/* 1, 0, IPS_EAGAIN where its lock is held by one not known to be dead, ... */
static int
take_permit(ips_semaphore *semaphore)
{
    ips_owner me = ips_space_self(semaphore->space);
    int status = me == IPS_NOBODY ? ips_last_note()->status : ips_semaphore_quick(semaphore, me);
    if (status == IPS_EAGAIN) { /* the first use here, or the lock is in the way */
        Py_BEGIN_ALLOW_THREADS
        status = ips_semaphore_try(semaphore, false);
        Py_END_ALLOW_THREADS
        status = status == IPS_OK ? 1 : status;
    }
    return status;
}

PyDoc_STRVAR(permit_doc, "async_semaphore_take(semaphore, task, /)\n--\n\n"
"Take a permit for the task: False where none is free, or the semaphore's lock is not.");

static PyObject *
core_async_semaphore_take(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    ips_aio_object object;
    if (count != 2) {
        return PyErr_Format(PyExc_TypeError, "it takes 2 arguments (%zd given)", count);
    }
    if (!ips_aio_enter(ips_state_of_module(module), args[0], &object)) {
        return NULL;
    }
    int status = IPS_EMISMATCH;
    if (object.kind == IPS_AIO_SEMAPHORE) {
        ips_semaphore *semaphore = &((ips_semaphore_object *)args[0])->semaphore;
        status = take_permit(semaphore);
        if (status == 1) {
            ips_semaphore_sign(semaphore, ips_aio_trace(args[1]));
        }
    }
    ips_aio_leave(&object);
    if (status == IPS_EMISMATCH) {
        return PyErr_Format(PyExc_TypeError, "it is no Semaphore");
    }
    return status < 0 && status != IPS_EAGAIN ? ips_raise(object.state, status)
                                              : PyBool_FromLong(status == 1);
}

/* --- locks ------------------------------------------------------------------- */

PyDoc_STRVAR(lock_doc, "async_lock_take(lock, task, /)\n--\n\n"
"As lock.acquire(False), for the task.");

static PyObject *
core_async_lock_take(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2 || !PyObject_TypeCheck(args[0], ips_state_of_module(module)->lock_type)) {
        return PyErr_Format(PyExc_TypeError, "async_lock_take() takes a Lock and a task");
    }
    ips_cell_object *lock = (ips_cell_object *)args[0];
    PyObject *taken = ips_lock_object_take(lock, IPS_AT_ONCE);
    if (taken == Py_True && ips_cell_is_usable(lock)) {
        ips_aio_sign(&((ips_traced_lock_shm *)lock->shm)->thread, ips_aio_trace(args[1]));
    }
    return taken;
}

/* --- queues ------------------------------------------------------------------ */

static ips_queue_object *
queue_of(ips_state *state, PyObject *object)
{
    if (!PyObject_TypeCheck(object, state->queue_type)) {
        PyErr_Format(PyExc_TypeError, "a Queue is needed, not %.100s", Py_TYPE(object)->tp_name);
        return NULL;
    }
    return ips_queue_enter((ips_queue_object *)object) == NULL ? NULL : (ips_queue_object *)object;
}

/* True if the exception that is set is the core's of that ordinal; cleared. */
static bool
swallow(const ips_state *state, int ordinal)
{
    if (PyErr_Occurred() == NULL || !PyErr_ExceptionMatches(state->errors[ordinal])) {
        return false;
    }
    PyErr_Clear();
    return true;
}

PyDoc_STRVAR(get_doc, "async_get(queue, default, /)\n--\n\n"
"The next item, or `default` where none can be had without waiting, be it for\n"
"an item or for the queue's lock.");

static PyObject *
core_async_get(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    ips_state *state = ips_state_of_module(module);
    if (count != 2) {
        return PyErr_Format(PyExc_TypeError, "async_get() takes 2 arguments (%zd given)", count);
    }
    ips_queue_object *queue = queue_of(state, args[0]);
    if (queue == NULL) {
        return NULL;
    }
    ips_look look;
    PyObject *item = NULL;
    if (!ips_queue_raise_owed(queue)) {
        item = ips_queue_look(&queue->body, &look) == IPS_EEMPTY
            ? Py_NewRef(args[1]) : ips_queue_get_value(queue, IPS_QUEUE_HARDLY);
    }
    if (item == NULL && swallow(state, IPS_ORDINAL_EMPTY)) {
        item = Py_NewRef(args[1]);
    }
    ips_queue_leave(queue);
    return item;
}

PyDoc_STRVAR(put_doc, "async_put(queue, kind, data, /)\n--\n\n"
"Put what encode_value() made: False where it would have to wait.");

static PyObject *
core_async_put(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    ips_state *state = ips_state_of_module(module);
    Py_buffer view;
    if (count != 3) {
        return PyErr_Format(PyExc_TypeError, "async_put() takes 3 arguments (%zd given)", count);
    }
    long kind = PyLong_AsLong(args[1]);
    ips_queue_object *queue = PyErr_Occurred() != NULL ? NULL : queue_of(state, args[0]);
    if (queue == NULL) {
        return NULL;
    }
    int status = PyObject_GetBuffer(args[2], &view, PyBUF_SIMPLE);
    if (status == 0) {
        ips_message message = {view.buf, (uint64_t)view.len, (uint8_t)kind};
        status = ips_queue_put_message(queue, &message, IPS_QUEUE_HARDLY);
        PyBuffer_Release(&view);
    }
    ips_queue_leave(queue);
    if (status < 0 && !swallow(state, IPS_ORDINAL_FULL)) {
        return NULL;
    }
    return PyBool_FromLong(status == 0);
}

PyDoc_STRVAR(put_item_doc, "async_put_item(queue, item, /)\n--\n\n"
"Put an item: False where it would have to wait.");

static PyObject *
core_async_put_item(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    ips_state *state = ips_state_of_module(module);
    if (count != 2) {
        return PyErr_Format(PyExc_TypeError, "async_put_item() takes 2 arguments (%zd given)",
                            count);
    }
    ips_queue_object *queue = queue_of(state, args[0]);
    if (queue == NULL) {
        return NULL;
    }
    PyObject *done = ips_queue_put_value(queue, args[1], IPS_QUEUE_HARDLY);
    ips_queue_leave(queue);
    if (done == NULL) {
        return swallow(state, IPS_ORDINAL_FULL) ? Py_NewRef(Py_False) : NULL;
    }
    Py_DECREF(done);
    Py_RETURN_TRUE;
}

#define FAST(function) (PyCFunction)(void (*)(void))function, METH_FASTCALL

PyMethodDef ips_aio_tries[] = {
    {"async_get", FAST(core_async_get), get_doc},
    {"async_lock_take", FAST(core_async_lock_take), lock_doc},
    {"async_put", FAST(core_async_put), put_doc},
    {"async_put_item", FAST(core_async_put_item), put_item_doc},
    {"async_rlock_is_mine", FAST(core_async_rlock_is_mine), is_mine_doc},
    {"async_rlock_release", FAST(core_async_rlock_release), release_doc},
    {"async_rlock_save", FAST(core_async_rlock_save), save_doc},
    {"async_rlock_take", FAST(core_async_rlock_take), take_doc},
    {"async_semaphore_take", FAST(core_async_semaphore_take), permit_doc},
    {NULL, NULL, 0, NULL},
};
