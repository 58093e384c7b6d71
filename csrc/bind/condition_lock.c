/* SPDX-License-Identifier: Apache-2.0 */
/* What a Condition lends of its lock: acquire(), release() and their kin. */
#include "bind/condition.h"

/* Of the lock that was given; it is asked each time, as any subclass may
 * answer as it likes. */
static PyObject *
call_lock(PyObject *object, const char *name, PyObject *const *args, Py_ssize_t count,
          PyObject *keywords)
{
    PyObject *method = PyObject_GetAttrString(((ips_condition_object *)object)->lock, name);
    PyObject *result = method == NULL ? NULL : PyObject_Vectorcall(method, args, (size_t)count,
                                                                   keywords);
    Py_XDECREF(method);
    return result;
}

PyObject *
ips_condition_object_acquire(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    return ips_has_own_lock(self) ? ips_rlock_object_acquire(self, args, count, keywords)
                                  : call_lock(self, "acquire", args, count, keywords);
}

/* A release of its own lock, and the wake-ups that were put off until then. */
static PyObject *
release_and_wake(ips_condition_object *self, PyObject *(*release)(PyObject *, PyObject *),
                 uint64_t depth)
{
    PyObject *result = NULL;
    if (ips_cell_enter(&self->base)) {
        bool ends = ips_rlock_object_is_mine(&self->base)
                    && ips_rlock_count(ips_rlock_of(&self->base)) <= depth;
        uint32_t due = ends ? ips_condition_take_due(ips_condition_in(self)) : 0;
        result = release((PyObject *)self, NULL);
        ips_condition_wake(ips_condition_in(self), due);
        ips_cell_leave(&self->base);
    }
    return result;
}

static PyObject *
release_own(ips_condition_object *self)
{
    bool quick = ips_cell_is_quick(&self->base) && !ips_condition_has_due(ips_condition_in(self));
    return quick ? ips_rlock_object_release((PyObject *)self, NULL)
                 : release_and_wake(self, ips_rlock_object_release, 1);
}

PyObject *
ips_condition_object_release(PyObject *self, PyObject *unused)
{
    (void)unused;
    return ips_has_own_lock(self) ? release_own((ips_condition_object *)self)
                                  : call_lock(self, "release", NULL, 0, NULL);
}

PyObject *
ips_condition_object_locked(PyObject *self, PyObject *unused)
{
    return ips_has_own_lock(self) ? ips_lock_object_locked(self, unused)
                                  : call_lock(self, "locked", NULL, 0, NULL);
}

PyObject *
ips_condition_object_enter(PyObject *self, PyObject *unused)
{
    if (ips_has_own_lock(self)) {
        return ips_rlock_object_enter(self, unused);
    }
    PyObject *result = call_lock(self, "__enter__", NULL, 0, NULL);
    if (result != NULL) {
        ((ips_condition_object *)self)->entered = ips_thread_ident();
    }
    return result;
}

/* The end of a `with` that may have put off wake-ups. */
static PyObject *
exit_given(ips_condition_object *self, PyObject *const *args, Py_ssize_t count)
{
    if (!ips_condition_may_put_off(self) || !ips_cell_is_usable(&self->base)
        || !ips_cell_enter(&self->base)) {
        PyErr_Clear(); /* a condition that was closed: its lock was not */
        return call_lock((PyObject *)self, "__exit__", args, count, NULL);
    }
    self->entered = 0;
    uint32_t due = ips_condition_take_due(ips_condition_in(self));
    PyObject *result = call_lock((PyObject *)self, "__exit__", args, count, NULL);
    ips_condition_wake(ips_condition_in(self), due);
    ips_cell_leave(&self->base);
    return result;
}

PyObject *
ips_condition_object_exit(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    return ips_has_own_lock(self) ? release_own((ips_condition_object *)self)
                                  : exit_given((ips_condition_object *)self, args, count);
}

PyObject *
ips_condition_object_is_owned(PyObject *object, PyObject *unused)
{
    if (ips_has_own_lock(object)) {
        return ips_rlock_object_is_owned(object, unused);
    }
    ips_guard guard;
    ips_condition_object *self = (ips_condition_object *)object;
    if (!ips_guard_of(self, &guard)) {
        return NULL;
    }
    int held = ips_guard_is_held(&guard);
    ips_guard_forget(self, &guard);
    return held < 0 ? NULL : PyBool_FromLong(held);
}

/* A lock that has nothing to save is released, or acquired, instead. */
static PyObject *
call_lock_or(PyObject *self, const char *name, const char *instead, PyObject *arg)
{
    int has = PyObject_HasAttrString(((ips_condition_object *)self)->lock, name);
    if (has) {
        return call_lock(self, name, &arg, arg == NULL ? 0 : 1, NULL);
    }
    PyObject *result = call_lock(self, instead, NULL, 0, NULL);
    Py_XDECREF(result);
    return result == NULL ? NULL : Py_NewRef(Py_None);
}

PyObject *
ips_condition_object_release_save(PyObject *self, PyObject *unused)
{
    (void)unused;
    return ips_has_own_lock(self)
               ? release_and_wake((ips_condition_object *)self, ips_rlock_object_release_save,
                                  UINT64_MAX)
               : call_lock_or(self, "_release_save", "release", NULL);
}

PyObject *
ips_condition_object_acquire_restore(PyObject *self, PyObject *saved)
{
    return ips_has_own_lock(self) ? ips_rlock_object_acquire_restore(self, saved)
                                  : call_lock_or(self, "_acquire_restore", "acquire", saved);
}
