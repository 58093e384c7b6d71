/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.Condition: its object, and the lock that goes with it. */
#ifndef IPS_BIND_CONDITION_H
#define IPS_BIND_CONDITION_H

#include "bind/rlock.h"
#include "os/process.h"
#include "sync/condition.h"

typedef struct {
    ips_cell_object base; /* its words are an rlock, used where lock is NULL */
    PyObject *lock;       /* the one that was given, or NULL */
    uint64_t entered;     /* the thread that holds it in a `with` of this object, or 0 */
} ips_condition_object;

static inline ips_condition
ips_condition_in(ips_condition_object *self)
{
    return ips_condition_of(&self->base.cell.wide, self->base.cell.space);
}

/* Will this thread, which holds the lock, release it by a method of this object?
 * Then wake-ups can be put off until it has: of the condition's own lock it
 * always will, of a given one at the end of the `with`. */
static inline bool
ips_condition_may_put_off(const ips_condition_object *self)
{
    return self->lock == NULL || self->entered == ips_thread_ident();
}

static inline bool
ips_has_own_lock(PyObject *condition)
{
    return ((ips_condition_object *)condition)->lock == NULL;
}

/* What kind of lock it goes with. */
typedef enum {
    IPS_GUARD_OWN,     /* the rlock in its own words */
    IPS_GUARD_RLOCK,   /* an RLock of ipcsys or ipcsys.mp, no other subclass */
    IPS_GUARD_LOCK,    /* likewise a Lock */
    IPS_GUARD_FOREIGN, /* anything else that can acquire() and release() */
} ips_guard_kind;

/* The lock, for the time of one call. */
typedef struct {
    ips_guard_kind kind;
    ips_cell_object *cell; /* whose words it lies in; NULL: foreign */
    PyObject *lock;        /* foreign, borrowed */
    PyObject *saved;       /* foreign, let go: what its _release_save() gave */
    uint64_t count;        /* of an rlock let go: how often it was held */
} ips_guard;

/* Enter the lock's cell, where it has one of its own: false with an exception
 * set.  Then forget it once. */
bool ips_guard_of(ips_condition_object *self, ips_guard *guard);
void ips_guard_forget(ips_condition_object *self, ips_guard *guard);

/* 1, 0, or -1 with an exception set. */
int ips_guard_is_held(ips_guard *guard);
/* Let it go whatever its depth, and make the wake-ups that were put off.  0, or
 * -1 with an exception set. */
int ips_guard_let_go(ips_condition_object *self, ips_guard *guard);
/* Have it again, as deep as before; hears no signals.  The exception that is
 * set, if one is, stays; 0, or -1 with an exception set. */
int ips_guard_have_again(ips_guard *guard);
/* For a thread without the GIL and a guard that is not foreign: a status, as
 * of ips_lock_acquire. */
int ips_guard_take(const ips_guard *guard, int64_t deadline);

/* What it lends of its lock; bind/condition_lock.c. */
PyObject *ips_condition_object_acquire(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                       PyObject *keywords);
PyObject *ips_condition_object_release(PyObject *self, PyObject *unused);
PyObject *ips_condition_object_locked(PyObject *self, PyObject *unused);
PyObject *ips_condition_object_enter(PyObject *self, PyObject *unused);
PyObject *ips_condition_object_exit(PyObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *ips_condition_object_is_owned(PyObject *self, PyObject *unused);
PyObject *ips_condition_object_release_save(PyObject *self, PyObject *unused);
PyObject *ips_condition_object_acquire_restore(PyObject *self, PyObject *saved);

#endif
