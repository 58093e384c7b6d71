/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.Condition: threading.Condition between processes, on
 * sync/condition.h; which lock goes with it is the matter of bind/guard.c. */
#include "bind/condition.h"

#include "bind/facts.h"
#include "os/clock.h"

_Static_assert(sizeof(ips_rlock_shm) <= sizeof ((ips_cell_shm *)0)->words,
               "its own lock lies in the cell's words");

/* --- making -------------------------------------------------------------- */

/* Everybody who has a name, or a key, must bring the same kind of lock. */
static int
check_kind(ips_condition_object *self)
{
    bool given = self->lock != NULL;
    if (ips_condition_suits(ips_condition_in(self), given ? IPS_CONDITION_GIVEN : IPS_CONDITION_OWN)) {
        return 0;
    }
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    if (state != NULL) {
        (void)ips_raise_text(state, IPS_EMISMATCH, given ? "'%s' has its lock with it: give none"
                                                         : "'%s' was made with a lock: give it",
                             ips_cell_name_of(&self->base));
    }
    (void)ips_cell_close((PyObject *)self, NULL);
    return -1;
}

static int
check_lock(PyObject *lock)
{
    static const char *const methods[] = {"acquire", "release"};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        PyObject *method = PyObject_GetAttrString(lock, methods[i]);
        if (method == NULL) {
            return -1;
        }
        Py_DECREF(method);
    }
    return 0;
}

static int
condition_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"lock", "name", "namespace", "create", "cleanup", "segment", NULL};
    ips_condition_object *self = (ips_condition_object *)object;
    ips_container_where where = {0};
    PyObject *lock = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$OOOOO", names, &lock, &where.name,
                                     &where.namespace_, &where.create, &where.cleanup,
                                     &where.segment)
        || (lock != Py_None && check_lock(lock) < 0)
        || ips_cell_object_open(&self->base, &where, IPS_CELL_CONDITION, NULL) < 0) {
        return -1;
    }
    Py_XSETREF(self->lock, lock == Py_None ? NULL : Py_NewRef(lock));
    return check_kind(self);
}

static int
condition_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((ips_condition_object *)object)->lock);
    return 0;
}

static int
condition_clear(PyObject *object)
{
    Py_CLEAR(((ips_condition_object *)object)->lock);
    return 0;
}

static void
condition_dealloc(PyObject *object)
{
    PyObject_GC_UnTrack(object);
    (void)condition_clear(object);
    ips_cell_dealloc(object);
}

/* The cell's own handle, with the lock before it. */
static PyObject *
condition_reduce(PyObject *object, PyObject *unused)
{
    ips_condition_object *self = (ips_condition_object *)object;
    PyObject *plain = ips_cell_reduce(object, unused);
    if (plain == NULL) {
        return NULL;
    }
    PyObject *lock = PyTuple_Pack(1, self->lock == NULL ? Py_None : self->lock);
    PyObject *args = lock == NULL ? NULL : PySequence_Concat(lock, PyTuple_GET_ITEM(plain, 1));
    PyObject *result = args == NULL ? NULL : PyTuple_Pack(3, PyTuple_GET_ITEM(plain, 0), args,
                                                          PyTuple_GET_ITEM(plain, 2));
    Py_XDECREF(lock);
    Py_XDECREF(args);
    Py_DECREF(plain);
    return result;
}

static PyObject *
condition_restore(PyObject *type, PyObject *args)
{
    if (PyTuple_GET_SIZE(args) == 0) {
        return PyErr_Format(PyExc_TypeError, "_restore() takes what __reduce__() gave");
    }
    PyObject *rest = PyTuple_GetSlice(args, 1, PyTuple_GET_SIZE(args));
    PyObject *self = rest == NULL ? NULL : ips_cell_restore(type, rest, IPS_CELL_CONDITION);
    Py_XDECREF(rest);
    PyObject *lock = PyTuple_GET_ITEM(args, 0);
    if (self != NULL && lock != Py_None) {
        ((ips_condition_object *)self)->lock = Py_NewRef(lock);
    }
    return self;
}

/* --- waiting ------------------------------------------------------------- */

typedef struct {
    ips_condition condition;
    ips_seat seat;
    ips_guard *guard;
    bool notified; /* and what is left is to have the lock */
    bool taken;
} waiting;

/* Wait and take the lock without coming back for the GIL in between. */
static int
wait_step(void *context, int64_t deadline)
{
    waiting *job = (waiting *)context;
    if (!job->notified) {
        int status = ips_condition_wait(job->condition, &job->seat, deadline);
        if (status < 0) {
            return status;
        }
        job->notified = true;
    }
    if (job->guard->kind == IPS_GUARD_FOREIGN) {
        return IPS_OK;
    }
    int status = ips_guard_take(job->guard, deadline);
    job->taken = status >= 0;
    return status;
}

/* For a thread that entered and holds the lock: 1 notified, 0 in vain, or -1
 * with an exception set; with the lock again. */
static int
wait_until(ips_condition_object *self, ips_guard *guard, int64_t deadline)
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    waiting job = {.condition = ips_condition_in(self), .guard = guard};
    int status = ips_condition_enter(job.condition, &job.seat);
    if (status < 0) {
        (void)ips_raise(state, status);
        return -1;
    }
    uint64_t entered = self->entered; /* others come and go meanwhile */
    bool failed = ips_guard_let_go(self, guard) < 0;
    bool away = !failed;
    if (away) {
        status = ips_cell_wait(&self->base, wait_step, &job, deadline);
        failed = status < 0 && status != IPS_ETIMEOUT;
        if (failed && status != IPS_EINTR) {
            (void)ips_raise(state, status);
        }
    }
    job.notified = job.notified || ips_condition_withdraw(job.condition, &job.seat);
    /* A lock of its own that was closed could never be released again. */
    bool lost = guard->kind == IPS_GUARD_OWN && (status == IPS_ECLOSED || status == IPS_EGONE);
    bool held = !away || job.taken;
    if (!held && !lost) {
        held = ips_guard_have_again(guard) == 0;
        failed = failed || !held;
    }
    self->entered = held ? entered : self->entered;
    /* What was interrupted meanwhile raises while the notification can still go
     * to another. */
    failed = failed || PyErr_CheckSignals() < 0;
    bool later = away && held && ips_condition_may_put_off(self);
    (later ? ips_condition_leave_later : ips_condition_leave)(job.condition, &job.seat, !failed);
    return failed ? -1 : job.notified;
}

/* The same with the checks before it. */
static int
wait(ips_condition_object *self, int64_t deadline)
{
    ips_guard guard;
    if (!ips_cell_enter(&self->base)) {
        return -1;
    }
    if (!ips_guard_of(self, &guard)) {
        ips_cell_leave(&self->base);
        return -1;
    }
    int result = ips_guard_is_held(&guard);
    if (result > 0) {
        result = wait_until(self, &guard, deadline);
    } else if (result == 0) {
        (void)ips_raise_not_acquired((PyObject *)self, "wait on");
        result = -1;
    }
    ips_guard_forget(self, &guard);
    ips_cell_leave(&self->base);
    return result;
}

/* The one argument `name`, or NULL in *out; -1 with an exception set. */
static int
one_argument(const char *method, const char *name, PyObject *const *args, Py_ssize_t count,
             PyObject *keywords, PyObject **out)
{
    Py_ssize_t named = keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords);
    *out = NULL;
    if (count + named > 1) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most 1 argument (%zd given)", method,
                     count + named);
        return -1;
    }
    if (named == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(keywords, 0), name) != 0) {
        PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", method,
                     PyTuple_GET_ITEM(keywords, 0));
        return -1;
    }
    if (count + named == 1) {
        *out = args[0];
    }
    return 0;
}

PyDoc_STRVAR(wait_doc, "wait($self, /, timeout=None)\n--\n\n"
"Give up the lock, wait until notified, and take the lock again: True, or\n"
"False where `timeout` seconds were not enough.\n\n"
"NotHeld (a RuntimeError) where the lock is not held.  An exception, such as\n"
"KeyboardInterrupt, is raised once the lock is held again, and the\n"
"notification it met goes to another waiter.  So does that of a waiter that\n"
"dies before it has the lock.");

static PyObject *
condition_wait(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    PyObject *timeout;
    int64_t deadline = IPS_FOREVER;
    if (one_argument("wait", "timeout", args, count, keywords, &timeout) < 0
        || (timeout != NULL && ips_deadline_of_wait(timeout, &deadline) < 0)) {
        return NULL;
    }
    int notified = wait((ips_condition_object *)self, deadline);
    return notified < 0 ? NULL : PyBool_FromLong(notified);
}

PyDoc_STRVAR(wait_for_doc, "wait_for($self, /, predicate, timeout=None)\n--\n\n"
"Wait until `predicate()` is true: what it returned last, false where\n"
"`timeout` seconds were not enough.  It is called with the lock held.");

static PyObject *
condition_wait_for(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"predicate", "timeout", NULL};
    PyObject *predicate, *timeout = Py_None;
    int64_t deadline;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:wait_for", names, &predicate, &timeout)) {
        return NULL;
    }
    PyObject *result = PyObject_CallNoArgs(predicate);
    if (result == NULL || ips_deadline_of_wait(timeout, &deadline) < 0) {
        Py_XDECREF(result);
        return NULL;
    }
    for (bool again = true;; again = deadline == IPS_FOREVER || ips_now() < deadline) {
        int truth = PyObject_IsTrue(result);
        if (truth > 0 || (truth == 0 && !again)) {
            return result;
        }
        Py_DECREF(result);
        if (truth < 0 || wait((ips_condition_object *)object, deadline) < 0) {
            return NULL;
        }
        result = PyObject_CallNoArgs(predicate);
        if (result == NULL) {
            return NULL;
        }
    }
}

/* --- notifying ----------------------------------------------------------- */

static void
tell(ips_condition_object *self, uint64_t count)
{
    ips_condition condition = ips_condition_in(self);
    if (ips_condition_may_put_off(self)) {
        count == UINT64_MAX ? ips_condition_notify_all_later(condition)
                            : ips_condition_notify_later(condition, count);
    } else {
        count == UINT64_MAX ? ips_condition_notify_all(condition)
                            : ips_condition_notify(condition, count);
    }
}

/* `count` of them, at most, or all. */
static PyObject *
notify(PyObject *object, uint64_t count)
{
    ips_condition_object *self = (ips_condition_object *)object;
    ips_guard guard;
    if (!ips_cell_enter(&self->base)) {
        return NULL;
    }
    if (!ips_guard_of(self, &guard)) {
        ips_cell_leave(&self->base);
        return NULL;
    }
    int held = ips_guard_is_held(&guard);
    if (held > 0) {
        tell(self, count);
    } else if (held == 0) {
        (void)ips_raise_not_acquired(object, "notify on");
    }
    ips_guard_forget(self, &guard);
    ips_cell_leave(&self->base);
    return held > 0 ? Py_NewRef(Py_None) : NULL;
}

PyDoc_STRVAR(notify_doc, "notify($self, /, n=1)\n--\n\n"
"Notify the `n` that have waited longest, or all where fewer wait; nobody\n"
"where nobody waits.  They go on once they have the lock.  NotHeld (a\n"
"RuntimeError) where the lock is not held.");

static PyObject *
condition_notify(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    PyObject *argument;
    if (one_argument("notify", "n", args, count, keywords, &argument) < 0) {
        return NULL;
    }
    long long n = 1;
    if (argument != NULL) {
        int overflow;
        n = PyLong_AsLongLongAndOverflow(argument, &overflow);
        if (n == -1 && PyErr_Occurred() != NULL) {
            return NULL;
        }
        n = overflow > 0 ? INT64_MAX : overflow < 0 ? 0 : n;
    }
    return notify(self, n > 0 ? (uint64_t)n : 0);
}

PyDoc_STRVAR(notify_all_doc, "notify_all($self, /)\n--\n\n"
"Notify all who wait.  Two are woken when the lock is released, and each wakes the\n"
"next when it has the lock.");

static PyObject *
condition_notify_all(PyObject *self, PyObject *unused)
{
    (void)unused;
    return notify(self, UINT64_MAX);
}

PyDoc_STRVAR(notify_all_old_doc, "notifyAll($self, /)\n--\n\nnotify_all(); deprecated, as in threading.");

static PyObject *
condition_notify_all_old(PyObject *self, PyObject *unused)
{
    if (PyErr_WarnEx(PyExc_DeprecationWarning,
                     "notifyAll() is deprecated, use notify_all() instead", 1) < 0) {
        return NULL;
    }
    return condition_notify_all(self, unused);
}

/* --- looking ------------------------------------------------------------- */

static PyObject *
condition_repr(PyObject *object)
{
    ips_condition_object *self = (ips_condition_object *)object;
    if (!ips_cell_is_usable(&self->base)) {
        return PyUnicode_FromFormat("<closed Condition at %p>", self);
    }
    uint32_t waiters = ips_condition_waiters(ips_condition_in(self));
    PyObject *lock = ips_has_own_lock(object) ? ips_rlock_object_text(&self->base, "ipcsys.RLock")
                                          : PyObject_Repr(self->lock);
    PyObject *text = lock == NULL ? NULL
                                  : PyUnicode_FromFormat("<Condition(%U, %u)>", lock, waiters);
    Py_XDECREF(lock);
    return text;
}

static PyObject *
condition_abandoned(PyObject *object, void *unused)
{
    return ips_has_own_lock(object)
               ? ips_lock_object_abandoned(object, unused)
               : PyObject_GetAttrString(((ips_condition_object *)object)->lock, "abandoned");
}

PyDoc_STRVAR(check_doc, "check($self, /)\n--\n\n"
"Problems of its bytes, as lines, while nobody uses it; empty when sound.");

static PyObject *
condition_check(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_condition_object *self = (ips_condition_object *)object;
    ips_state *state = ips_state_of_type(Py_TYPE(object));
    if (state == NULL || !ips_cell_enter(&self->base)) {
        return NULL;
    }
    ips_facts_list lines = {.item_size = IPS_FACTS_LINE};
    int status = ips_condition_check(ips_condition_in(self), ips_facts_report, &lines);
    ips_cell_leave(&self->base);
    bool told = status == IPS_ECORRUPT && lines.count != 0;
    return ips_facts_build(state, told ? IPS_OK : status, &lines, ips_facts_line);
}

PyDoc_STRVAR(condition_doc,
"Condition(lock=None, *, name=None, namespace=None, create=None, cleanup=None, segment=None)\n--\n\n"
"A condition between processes, with the manners of threading.Condition.\n\n"
"It goes with a Lock or RLock that is given (and must be brought along by each\n"
"who opens the name), else with a recursive lock of its own.  Unnamed, it\n"
"travels to other processes by pickling or fork, with its lock; with a name,\n"
"whoever opens the name has it.\n\n"
"A waiter that dies is no longer there to be notified, and a notification that\n"
"it did not use goes to the next.  Where the lock's holder died, the next one\n"
"finds `abandoned` true.");

PyDoc_STRVAR(acquire_doc, "acquire($self, /, blocking=True, timeout=-1)\n--\n\n"
"Take the lock that goes with the condition; see its own acquire().");

static PyMethodDef condition_methods[] = {
    {"acquire", (PyCFunction)(void (*)(void))ips_condition_object_acquire, METH_FASTCALL | METH_KEYWORDS,
     acquire_doc},
    {"release", ips_condition_object_release, METH_NOARGS,
     "release($self, /)\n--\n\nGive the lock back; see its own release()."},
    {"locked", ips_condition_object_locked, METH_NOARGS,
     "locked($self, /)\n--\n\nWhether somebody holds the lock."},
    {"wait", (PyCFunction)(void (*)(void))condition_wait, METH_FASTCALL | METH_KEYWORDS, wait_doc},
    {"wait_for", (PyCFunction)(void (*)(void))condition_wait_for, METH_VARARGS | METH_KEYWORDS,
     wait_for_doc},
    {"notify", (PyCFunction)(void (*)(void))condition_notify, METH_FASTCALL | METH_KEYWORDS,
     notify_doc},
    {"notify_all", condition_notify_all, METH_NOARGS, notify_all_doc},
    {"notifyAll", condition_notify_all_old, METH_NOARGS, notify_all_old_doc},
    {"check", condition_check, METH_NOARGS, check_doc},
    {"_is_owned", ips_condition_object_is_owned, METH_NOARGS,
     "_is_owned($self, /)\n--\n\nWhether the lock is held, by this thread if it is recursive."},
    {"_release_save", ips_condition_object_release_save, METH_NOARGS,
     "_release_save($self, /)\n--\n\nGive the lock up; what _acquire_restore() wants."},
    {"_acquire_restore", ips_condition_object_acquire_restore, METH_O,
     "_acquire_restore($self, saved, /)\n--\n\nTake the lock as often as before."},
    {"__enter__", ips_condition_object_enter, METH_NOARGS, "__enter__($self, /)\n--\n\nTake the lock."},
    {"__exit__", (PyCFunction)(void (*)(void))ips_condition_object_exit, METH_FASTCALL,
     "__exit__($self, /, *exc_info)\n--\n\nGive the lock back."},
    {"__reduce__", condition_reduce, METH_NOARGS,
     "__reduce__($self, /)\n--\n\nA handle for another process of the same namespace."},
    {"_restore", condition_restore, METH_VARARGS | METH_CLASS, NULL},
    IPS_CELL_ENDS,
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef condition_getsets[] = {
    {"abandoned", condition_abandoned, NULL,
     "True from the moment the lock is taken over from a dead holder until it is released.",
     NULL},
    IPS_CELL_GETSETS,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef condition_members[] = {
    IPS_CELL_WEAKREFS,
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot condition_slots[] = {
    {Py_tp_doc, (void *)condition_doc},
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_init, (void *)condition_init},
    {Py_tp_dealloc, (void *)condition_dealloc},
    {Py_tp_traverse, (void *)condition_traverse},
    {Py_tp_clear, (void *)condition_clear},
    {Py_tp_repr, (void *)condition_repr},
    {Py_tp_methods, condition_methods},
    {Py_tp_getset, condition_getsets},
    {Py_tp_members, condition_members},
    {0, NULL},
};

static PyType_Spec condition_spec = {
    .name = "ipcsys.Condition",
    .basicsize = sizeof(ips_condition_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE
             | Py_TPFLAGS_HAVE_GC,
    .slots = condition_slots,
};

int
ips_add_condition(PyObject *module, ips_state *state)
{
    state->condition_type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &condition_spec, NULL);
    return state->condition_type == NULL ? -1 : PyModule_AddType(module, state->condition_type);
}
