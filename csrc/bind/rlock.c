/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.RLock: threading.RLock between processes, on sync/rlock.h. */
#include "bind/rlock.h"

#include "os/process.h"

_Static_assert(sizeof(ips_rlock_shm) <= sizeof ((ips_cell_shm *)0)->words, "an rlock fits a cell");

static int
rlock_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return ips_cell_init((ips_cell_object *)self, args, kwargs, IPS_CELL_RLOCK);
}

static PyObject *
rlock_restore(PyObject *type, PyObject *args)
{
    return ips_cell_restore(type, args, IPS_CELL_RLOCK);
}

/* --- acquire ------------------------------------------------------------- */

int
ips_rlock_take_step(void *context, int64_t deadline)
{
    const ips_rlock_taking *job = (const ips_rlock_taking *)context;
    return ips_rlock_acquire(job->rlock, job->space, job->thread, job->count, deadline);
}

static int
try_step(void *context, int64_t deadline)
{
    (void)deadline;
    const ips_rlock_taking *job = (const ips_rlock_taking *)context;
    return ips_rlock_try_or_take_over(job->rlock, job->space, job->thread);
}

static bool
try_at_once(ips_cell_object *self)
{
    ips_owner me = ips_space_self(self->cell.space);
    return me != IPS_NOBODY && ips_rlock_try(ips_rlock_of(self), me, ips_thread_ident());
}

PyObject *
ips_rlock_object_take(ips_cell_object *self, int64_t deadline)
{
    if (ips_cell_is_quick(self) && try_at_once(self)) {
        Py_RETURN_TRUE;
    }
    if (!ips_cell_enter(self)) {
        return NULL;
    }
    int status = IPS_OK;
    if (!try_at_once(self)) {
        ips_rlock_taking job = {ips_rlock_of(self), self->cell.space, ips_thread_ident(), 1};
        status = ips_acquire_slowly(self, ips_rlock_take_step, try_step, &job, deadline);
    }
    ips_cell_leave(self);
    return ips_acquire_result(self, status);
}

PyDoc_STRVAR(acquire_doc, "acquire($self, /, blocking=True, timeout=-1)\n--\n\n"
"Take the lock, again where this thread holds it: True, or False when it\n"
"could not be had in time.\n\n"
"block= is accepted for blocking=, and timeout=None for -1.  Where the last\n"
"holder died holding it, the lock is taken and `abandoned` is true.");

PyObject *
ips_rlock_object_acquire(PyObject *self, PyObject *const *args, Py_ssize_t count,
                         PyObject *keywords)
{
    int64_t deadline = IPS_FOREVER;
    if ((count != 0 || keywords != NULL)
        && ips_acquire_deadline(args, count, keywords, &deadline) < 0) {
        return NULL;
    }
    return ips_rlock_object_take((ips_cell_object *)self, deadline);
}

PyObject *
ips_rlock_object_enter(PyObject *self, PyObject *unused)
{
    (void)unused;
    return ips_rlock_object_take((ips_cell_object *)self, IPS_FOREVER);
}

/* --- release ------------------------------------------------------------- */

PyObject *
ips_raise_not_acquired(PyObject *self, const char *what)
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    if (state != NULL) {
        /* multiprocessing asserts what threading checks. */
        bool mp = PyType_IsSubtype(Py_TYPE(self), state->mp_rlock_type)
                  || PyType_IsSubtype(Py_TYPE(self), state->mp_condition_type);
        PyErr_Format(mp ? PyExc_AssertionError : state->errors[IPS_ORDINAL_NOTHELD],
                     "cannot %s un-acquired lock", what);
    }
    return NULL;
}

bool
ips_rlock_object_is_mine(const ips_cell_object *self)
{
    ips_owner me = ips_space_self(self->cell.space);
    return me != IPS_NOBODY && ips_rlock_is_mine(ips_rlock_of(self), me, ips_thread_ident());
}

/* For a thread that entered or need not: false where it is not the holder. */
static bool
release(ips_cell_object *self)
{
    if (!ips_rlock_object_is_mine(self)) {
        return false;
    }
    ips_rlock_release(ips_rlock_of(self));
    return true;
}

PyDoc_STRVAR(release_doc, "release($self, /)\n--\n\n"
"Give back one taking; only the thread that holds the lock may.  NotHeld (a\n"
"RuntimeError) where it does not.");

PyObject *
ips_rlock_object_release(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_cell_object *self = (ips_cell_object *)object;
    if (ips_cell_is_quick(self) && release(self)) {
        Py_RETURN_NONE;
    }
    if (!ips_cell_enter(self)) {
        return NULL;
    }
    bool held = release(self);
    ips_cell_leave(self);
    if (held) {
        Py_RETURN_NONE;
    }
    return ips_raise_not_acquired(object, "release");
}

PyObject *
ips_rlock_object_exit(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)args;
    (void)count;
    return ips_rlock_object_release(self, NULL);
}

/* --- for Condition ------------------------------------------------------- */

PyObject *
ips_rlock_object_release_save(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_cell_object *self = (ips_cell_object *)object;
    if (!ips_cell_enter(self)) {
        return NULL;
    }
    bool held = ips_rlock_object_is_mine(self);
    uint64_t count = ips_rlock_count(ips_rlock_of(self));
    /* The result first: nothing may fail once the lock is given up. */
    PyObject *saved = held ? Py_BuildValue("KK", (unsigned long long)count,
                                           (unsigned long long)ips_thread_ident())
                           : ips_raise_not_acquired(object, "release");
    if (saved != NULL) {
        ips_rlock_leave(ips_rlock_of(self));
    }
    ips_cell_leave(self);
    return saved;
}

PyObject *
ips_rlock_object_acquire_restore(PyObject *object, PyObject *saved)
{
    ips_cell_object *self = (ips_cell_object *)object;
    unsigned long long count, thread;
    if (!PyTuple_Check(saved)) {
        return PyErr_Format(PyExc_TypeError, "_acquire_restore() takes what _release_save() gave");
    }
    if (!PyArg_ParseTuple(saved, "KK:_acquire_restore", &count, &thread)
        || !ips_cell_enter(self)) {
        return NULL;
    }
    ips_rlock_taking job = {ips_rlock_of(self), self->cell.space, ips_thread_ident(), count};
    int status = ips_cell_wait_uninterrupted(self, ips_rlock_take_step, &job, IPS_FOREVER);
    ips_cell_leave(self);
    if (status >= 0) {
        Py_RETURN_NONE;
    }
    return ips_acquire_result(self, status);
}

PyObject *
ips_rlock_object_is_owned(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_cell_object *self = (ips_cell_object *)object;
    return !ips_cell_is_usable(self) ? ips_cell_raise_closed(self)
                                     : PyBool_FromLong(ips_rlock_object_is_mine(self));
}

static PyObject *
rlock_recursion_count(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_cell_object *self = (ips_cell_object *)object;
    if (!ips_cell_is_usable(self)) {
        return ips_cell_raise_closed(self);
    }
    uint64_t count = ips_rlock_object_is_mine(self) ? ips_rlock_count(ips_rlock_of(self)) : 0;
    return PyLong_FromUnsignedLongLong(count);
}

/* --- looking ------------------------------------------------------------- */

PyObject *
ips_rlock_object_text(ips_cell_object *self, const char *type)
{
    if (!ips_cell_is_usable(self)) {
        return PyUnicode_FromFormat("<closed %s object at %p>", type, self);
    }
    ips_member_facts facts;
    ips_owner owner = ips_lock_object_holder(self);
    bool held = owner != IPS_NOBODY
                && ips_member_facts_of(self->cell.space, owner, &facts) == IPS_OK;
    const char *name = ips_cell_name_of(self);
    return PyUnicode_FromFormat("<%s %s object %s%s%sowner=%ld count=%llu at %p>",
        held ? "locked" : "unlocked", type, name == NULL ? "" : "'", name == NULL ? "" : name,
        name == NULL ? "" : "' ", held ? (long)facts.process.pid : 0L,
        held ? (unsigned long long)ips_rlock_count(ips_rlock_of(self)) : 0ULL, self);
}

static PyObject *
rlock_repr(PyObject *self)
{
    return ips_rlock_object_text((ips_cell_object *)self, Py_TYPE(self)->tp_name);
}

PyDoc_STRVAR(rlock_doc, "RLock(*, name=None, namespace=None, create=None, cleanup=None, segment=None)\n--\n\n"
"A lock between processes that its holder may take again, with the manners\n"
"of threading.RLock.\n\n"
"It belongs to one thread of one process; a forked child holds nothing.\n"
"Unnamed, it travels to other processes by pickling or fork; with a name,\n"
"whoever opens the name has it.  When the holder dies, however often it had\n"
"taken the lock, the next one gets it and finds `abandoned` true.");

static PyMethodDef rlock_methods[] = {
    {"acquire", (PyCFunction)(void (*)(void))ips_rlock_object_acquire,
     METH_FASTCALL | METH_KEYWORDS, acquire_doc},
    {"release", ips_rlock_object_release, METH_NOARGS, release_doc},
    {"locked", ips_lock_object_locked, METH_NOARGS,
     "locked($self, /)\n--\n\nWhether somebody holds the lock."},
    {"_is_owned", ips_rlock_object_is_owned, METH_NOARGS,
     "_is_owned($self, /)\n--\n\nWhether this thread holds it."},
    {"_recursion_count", rlock_recursion_count, METH_NOARGS,
     "_recursion_count($self, /)\n--\n\nHow often this thread has taken it."},
    {"_release_save", ips_rlock_object_release_save, METH_NOARGS,
     "_release_save($self, /)\n--\n\nGive back all takings; what _acquire_restore() wants."},
    {"_acquire_restore", ips_rlock_object_acquire_restore, METH_O,
     "_acquire_restore($self, saved, /)\n--\n\nTake it as often as before; hears no signal."},
    {"__enter__", ips_rlock_object_enter, METH_NOARGS, "__enter__($self, /)\n--\n\nacquire()."},
    {"__exit__", (PyCFunction)(void (*)(void))ips_rlock_object_exit, METH_FASTCALL,
     "__exit__($self, /, *exc_info)\n--\n\nrelease()."},
    IPS_CELL_METHODS(rlock_restore),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef rlock_getsets[] = {
    IPS_LOCK_GETSETS,
    IPS_CELL_GETSETS,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef rlock_members[] = {
    IPS_CELL_WEAKREFS,
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot rlock_slots[] = {
    {Py_tp_doc, (void *)rlock_doc},
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_init, (void *)rlock_init},
    {Py_tp_dealloc, (void *)ips_cell_dealloc},
    {Py_tp_repr, (void *)rlock_repr},
    {Py_tp_methods, rlock_methods},
    {Py_tp_getset, rlock_getsets},
    {Py_tp_members, rlock_members},
    {0, NULL},
};

static PyType_Spec rlock_spec = {
    .name = "ipcsys.RLock",
    .basicsize = sizeof(ips_cell_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = rlock_slots,
};

int
ips_add_rlock(PyObject *module, ips_state *state)
{
    state->rlock_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &rlock_spec, NULL);
    return state->rlock_type == NULL ? -1 : PyModule_AddType(module, state->rlock_type);
}
