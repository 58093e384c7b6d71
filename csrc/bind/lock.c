/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.Lock: threading.Lock between processes, on the word of sync/lock.h. */
#include "bind/lock.h"
#include "os/process.h"

_Static_assert(sizeof(ips_traced_lock_shm) <= sizeof ((ips_cell_shm *)0)->words, "a lock fits a cell");

static ips_lock_shm *
lock_of(ips_cell_object *self)
{
    return (ips_lock_shm *)self->shm;
}

/* We hold it: say which thread that is. */
static void
sign(void *words)
{
    /* relaxed: news for people. */
    atomic_store_explicit(&((ips_traced_lock_shm *)words)->thread, ips_thread_ident(),
                          memory_order_relaxed);
}

static int
lock_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return ips_cell_init((ips_cell_object *)self, args, kwargs, IPS_CELL_LOCK);
}

static PyObject *
lock_restore(PyObject *type, PyObject *args)
{
    return ips_cell_restore(type, args, IPS_CELL_LOCK);
}

/* --- acquire ------------------------------------------------------------- */

typedef struct {
    ips_lock_shm *lock;
    ips_space *space;
} acquiring;

static int
acquire_step(void *context, int64_t deadline)
{
    const acquiring *job = (const acquiring *)context;
    return ips_lock_acquire(job->lock, job->space, deadline);
}

static int
try_step(void *context, int64_t deadline)
{
    (void)deadline;
    const acquiring *job = (const acquiring *)context;
    return ips_lock_try_or_take_over(job->lock, job->space);
}

PyObject *
ips_lock_object_take(ips_cell_object *self, int64_t deadline)
{
    if (ips_cell_is_quick(self)) {
        ips_owner me = ips_space_self(self->cell.space);
        if (me != IPS_NOBODY && ips_lock_try(lock_of(self), me)) {
            sign(self->shm);
            Py_RETURN_TRUE;
        }
    }
    if (!ips_cell_enter(self)) {
        return NULL;
    }
    acquiring job = {(ips_lock_shm *)self->cell.shm->words, self->cell.space};
    int status = ips_acquire_slowly(self, acquire_step, try_step, &job, deadline);
    if (status >= 0) {
        sign(self->cell.shm->words);
    }
    ips_cell_leave(self);
    return ips_acquire_result(self, status);
}

PyDoc_STRVAR(acquire_doc, "acquire($self, /, blocking=True, timeout=-1)\n--\n\n"
"Take the lock: True, or False when it could not be had in time.\n\n"
"block= is accepted for blocking=, and timeout=None for -1.  Where the last\n"
"holder died holding it, the lock is taken and `abandoned` is true.");

static PyObject *
lock_acquire(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    int64_t deadline = IPS_FOREVER;
    if ((count != 0 || keywords != NULL)
        && ips_acquire_deadline(args, count, keywords, &deadline) < 0) {
        return NULL;
    }
    return ips_lock_object_take((ips_cell_object *)self, deadline);
}

static PyObject *
lock_enter(PyObject *self, PyObject *unused)
{
    (void)unused;
    return ips_lock_object_take((ips_cell_object *)self, IPS_FOREVER);
}

/* --- release ------------------------------------------------------------- */

int
ips_lock_object_give(ips_cell_object *self)
{
    if (ips_cell_is_quick(self) && ips_lock_leave(lock_of(self))) {
        return 1;
    }
    if (!ips_cell_enter(self)) {
        return -1;
    }
    bool held = ips_lock_leave((ips_lock_shm *)self->cell.shm->words);
    ips_cell_leave(self);
    return held;
}

static PyObject *
raise_not_held(ips_cell_object *self)
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    const char *name = ips_cell_name_of(self);
    return state == NULL ? NULL
                         : ips_raise_text(state, IPS_ENOTHELD, "%s %s", name == NULL ? "an unnamed" : name,
                                          Py_TYPE(self)->tp_name);
}

PyDoc_STRVAR(release_doc, "release($self, /)\n--\n\n"
"Give the lock up; any process and any thread may.");

static PyObject *
lock_release(PyObject *object, PyObject *unused)
{
    (void)unused;
    int held = ips_lock_object_give((ips_cell_object *)object);
    if (__builtin_expect(held > 0, 1)) {
        Py_RETURN_NONE;
    }
    return held < 0 ? NULL : raise_not_held((ips_cell_object *)object);
}

static PyObject *
lock_exit(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)args;
    (void)count;
    return lock_release(self, NULL);
}

/* --- looking ------------------------------------------------------------- */

ips_owner
ips_lock_object_holder(ips_cell_object *self)
{
    ips_owner owner = ips_lock_owner(lock_of(self));
    return owner != IPS_NOBODY && ips_member_lives(self->cell.space, owner, false) ? owner
                                                                                   : IPS_NOBODY;
}

bool
ips_lock_object_is_mine(const ips_cell_object *self)
{
    const ips_traced_lock_shm *traced = (const ips_traced_lock_shm *)self->shm;
    /* relaxed: only the holder finds itself there. */
    return ips_lock_owner(&traced->lock) == ips_space_self(self->cell.space)
           && atomic_load_explicit(&traced->thread, memory_order_relaxed) == ips_thread_ident();
}

PyDoc_STRVAR(locked_doc, "locked($self, /)\n--\n\nWhether somebody holds the lock.");

PyObject *
ips_lock_object_locked(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_cell_object *self = (ips_cell_object *)object;
    return !ips_cell_is_usable(self) ? ips_cell_raise_closed(self)
                                     : PyBool_FromLong(ips_lock_object_holder(self) != IPS_NOBODY);
}

PyObject *
ips_lock_object_abandoned(PyObject *object, void *unused)
{
    (void)unused;
    ips_cell_object *self = (ips_cell_object *)object;
    return !ips_cell_is_usable(self) ? ips_cell_raise_closed(self)
                                     : PyBool_FromLong(ips_lock_is_abandoned(lock_of(self)));
}

PyObject *
ips_lock_object_owner(PyObject *object, void *unused)
{
    (void)unused;
    ips_cell_object *self = (ips_cell_object *)object;
    if (!ips_cell_is_usable(self)) {
        return ips_cell_raise_closed(self);
    }
    ips_member_facts facts;
    ips_owner owner = ips_lock_object_holder(self);
    if (owner == IPS_NOBODY || ips_member_facts_of(self->cell.space, owner, &facts) < 0) {
        Py_RETURN_NONE;
    }
    return PyLong_FromLong(facts.process.pid);
}

static PyObject *
lock_repr(PyObject *object)
{
    ips_cell_object *self = (ips_cell_object *)object;
    const char *type = Py_TYPE(self)->tp_name;
    const char *name = ips_cell_name_of(self);
    const char *word = self->shm == NULL                  ? "closed"
                       : ips_lock_object_holder(self) != IPS_NOBODY    ? "locked"
                                                          : "unlocked";
    return name == NULL ? PyUnicode_FromFormat("<%s %s object at %p>", word, type, self)
                        : PyUnicode_FromFormat("<%s %s object '%s' at %p>", word, type, name, self);
}

PyDoc_STRVAR(lock_doc, "Lock(*, name=None, namespace=None, create=None, cleanup=None, segment=None)\n--\n\n"
"A lock between processes, with the manners of threading.Lock.\n\n"
"Unnamed, it travels to other processes by pickling or fork; with a name,\n"
"whoever opens the name has it.  It survives kill -9: when the holder dies,\n"
"the next one gets the lock and finds `abandoned` true.  A holder that is\n"
"stopped or slow keeps it.");

static PyMethodDef lock_methods[] = {
    {"acquire", (PyCFunction)(void (*)(void))lock_acquire, METH_FASTCALL | METH_KEYWORDS,
     acquire_doc},
    {"release", lock_release, METH_NOARGS, release_doc},
    {"locked", ips_lock_object_locked, METH_NOARGS, locked_doc},
    {"__enter__", lock_enter, METH_NOARGS, "__enter__($self, /)\n--\n\nacquire()."},
    {"__exit__", (PyCFunction)(void (*)(void))lock_exit, METH_FASTCALL,
     "__exit__($self, /, *exc_info)\n--\n\nrelease()."},
    IPS_CELL_METHODS(lock_restore),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef lock_getsets[] = {
    IPS_LOCK_GETSETS,
    IPS_CELL_GETSETS,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef lock_members[] = {
    IPS_CELL_WEAKREFS,
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot lock_slots[] = {
    {Py_tp_doc, (void *)lock_doc},
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_init, (void *)lock_init},
    {Py_tp_dealloc, (void *)ips_cell_dealloc},
    {Py_tp_repr, (void *)lock_repr},
    {Py_tp_methods, lock_methods},
    {Py_tp_getset, lock_getsets},
    {Py_tp_members, lock_members},
    {0, NULL},
};

static PyType_Spec lock_spec = {
    .name = "ipcsys.Lock",
    .basicsize = sizeof(ips_cell_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = lock_slots,
};

int
ips_add_lock(PyObject *module, ips_state *state)
{
    state->lock_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &lock_spec, NULL);
    return state->lock_type == NULL ? -1 : PyModule_AddType(module, state->lock_type);
}
