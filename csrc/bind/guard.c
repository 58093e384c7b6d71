/* SPDX-License-Identifier: Apache-2.0 */
/* The lock of a Condition: its own, an ipcsys.Lock or RLock whose words are
 * used directly, or any object with acquire() and release(), which is called
 * as threading.Condition calls it. */
#include "bind/condition.h"

#include "os/process.h"

static ips_guard_kind
kind_of(const ips_state *state, PyObject *lock)
{
    return lock == NULL ? IPS_GUARD_OWN
           : Py_TYPE(lock) == state->rlock_type || Py_TYPE(lock) == state->mp_rlock_type
               ? IPS_GUARD_RLOCK
           : Py_TYPE(lock) == state->lock_type || Py_TYPE(lock) == state->mp_lock_type
               ? IPS_GUARD_LOCK
               : IPS_GUARD_FOREIGN;
}

bool
ips_guard_of(ips_condition_object *self, ips_guard *guard)
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    if (state == NULL) {
        return false;
    }
    *guard = (ips_guard){.kind = kind_of(state, self->lock)};
    switch (guard->kind) {
    case IPS_GUARD_OWN:
        guard->cell = &self->base;
        return true;
    case IPS_GUARD_FOREIGN:
        guard->lock = Py_NewRef(self->lock);
        return true;
    default:
        guard->cell = (ips_cell_object *)Py_NewRef(self->lock);
        if (ips_cell_enter(guard->cell)) {
            return true;
        }
        Py_DECREF(guard->cell);
        return false;
    }
}

void
ips_guard_forget(ips_condition_object *self, ips_guard *guard)
{
    if (guard->cell != NULL && guard->cell != &self->base) {
        ips_cell_leave(guard->cell);
        Py_DECREF(guard->cell);
    }
    Py_XDECREF(guard->lock);
    Py_XDECREF(guard->saved);
}

/* --- foreign ------------------------------------------------------------- */

/* The method, or NULL without an exception where it has none. */
static PyObject *
method_of(PyObject *lock, const char *name)
{
    PyObject *method = PyObject_GetAttrString(lock, name);
    if (method == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
    }
    return method;
}

static int
truth_of(PyObject *answer)
{
    int truth = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    return truth;
}

static int
foreign_is_held(PyObject *lock)
{
    PyObject *method = method_of(lock, "_is_owned");
    if (method != NULL) {
        int held = truth_of(PyObject_CallNoArgs(method));
        Py_DECREF(method);
        return held;
    }
    if (PyErr_Occurred() != NULL) {
        return -1;
    }
    int taken = truth_of(PyObject_CallMethod(lock, "acquire", "O", Py_False));
    if (taken != 1) {
        return taken < 0 ? -1 : 1;
    }
    PyObject *released = PyObject_CallMethod(lock, "release", NULL);
    Py_XDECREF(released);
    return released == NULL ? -1 : 0;
}

static int
foreign_let_go(ips_guard *guard)
{
    PyObject *method = method_of(guard->lock, "_release_save");
    if (method != NULL) {
        guard->saved = PyObject_CallNoArgs(method);
        Py_DECREF(method);
        return guard->saved == NULL ? -1 : 0;
    }
    if (PyErr_Occurred() != NULL) {
        return -1;
    }
    guard->saved = PyObject_CallMethod(guard->lock, "release", NULL);
    return guard->saved == NULL ? -1 : 0;
}

static int
foreign_have_again(ips_guard *guard)
{
    PyObject *method = method_of(guard->lock, "_acquire_restore");
    PyObject *done = NULL;
    if (method != NULL) {
        done = PyObject_CallOneArg(method, guard->saved);
        Py_DECREF(method);
    } else if (PyErr_Occurred() == NULL) {
        done = PyObject_CallMethod(guard->lock, "acquire", NULL);
    }
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* --- ours ---------------------------------------------------------------- */

int
ips_guard_is_held(ips_guard *guard)
{
    switch (guard->kind) {
    case IPS_GUARD_FOREIGN:
        return foreign_is_held(guard->lock);
    case IPS_GUARD_LOCK: /* by anybody, as threading.Condition asks */
        return ips_lock_object_holder(guard->cell) != IPS_NOBODY;
    default:
        return ips_rlock_object_is_mine(guard->cell);
    }
}

static int
let_go(ips_guard *guard)
{
    switch (guard->kind) {
    case IPS_GUARD_FOREIGN:
        return foreign_let_go(guard);
    case IPS_GUARD_LOCK:
        (void)ips_lock_leave((ips_lock_shm *)guard->cell->cell.shm->words);
        return 0;
    default:
        guard->count = ips_rlock_count(ips_rlock_of(guard->cell));
        ips_rlock_leave(ips_rlock_of(guard->cell));
        return 0;
    }
}

int
ips_guard_let_go(ips_condition_object *self, ips_guard *guard)
{
    ips_condition condition = ips_condition_in(self);
    uint32_t due = ips_condition_may_put_off(self) ? ips_condition_take_due(condition) : 0;
    int result = let_go(guard);
    ips_condition_wake(condition, due);
    return result;
}

int
ips_guard_take(const ips_guard *guard, int64_t deadline)
{
    ips_cell *cell = &guard->cell->cell;
    if (guard->kind != IPS_GUARD_LOCK) {
        return ips_rlock_acquire(ips_rlock_of(guard->cell), cell->space, ips_thread_ident(),
                                 guard->count, deadline);
    }
    ips_traced_lock_shm *traced = (ips_traced_lock_shm *)cell->shm->words;
    int status = ips_lock_acquire(&traced->lock, cell->space, deadline);
    if (status >= 0) {
        /* relaxed: news for people. */
        atomic_store_explicit(&traced->thread, ips_thread_ident(), memory_order_relaxed);
    }
    return status;
}

static int
take_step(void *guard, int64_t deadline)
{
    return ips_guard_take((const ips_guard *)guard, deadline);
}

int
ips_guard_have_again(ips_guard *guard)
{
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    int result = 0;
    if (guard->kind == IPS_GUARD_FOREIGN) {
        result = foreign_have_again(guard);
    } else {
        int status = ips_cell_wait_uninterrupted(guard->cell, take_step, guard, IPS_FOREVER);
        ips_state *state = status >= 0 ? NULL : ips_state_of_type(Py_TYPE(guard->cell));
        if (state != NULL) {
            (void)ips_raise(state, status);
        }
        result = status >= 0 ? 0 : -1;
    }
    if (result < 0) { /* worse than what was raised before */
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(trace);
    } else {
        PyErr_Restore(type, value, trace);
    }
    return result;
}
