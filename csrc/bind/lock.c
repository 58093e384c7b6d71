/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.Lock: threading.Lock between processes, on the word of sync/lock.h. */
#include "bind/cell.h"
#include "os/clock.h"
#include "os/process.h"
#include "sync/lock.h"

_Static_assert(sizeof(ips_traced_lock_shm) <= sizeof ((ips_cell_shm *)0)->words, "a lock fits a cell");

/* acquire(False) asks for proof of the holder's death this often: proof costs
 * system calls, and the bell tells of most deaths without. */
#define PROBE_EVERY_NS INT64_C(5000000)

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
    int status = ips_lock_try_or_take_over(job->lock, job->space);
    return status == IPS_EAGAIN ? IPS_ETIMEOUT : status;
}

/* The lock was not free: wait, or look whether its holder is dead. */
static int
acquire_slow(ips_cell_object *self, int64_t deadline)
{
    acquiring job = {(ips_lock_shm *)self->cell.shm->words, self->cell.space};
    if (deadline != IPS_AT_ONCE) {
        return ips_cell_wait(self, acquire_step, &job, deadline);
    }
    int64_t now = ips_now();
    if (now - self->probed < PROBE_EVERY_NS) {
        return ips_lock_acquire(job.lock, job.space, IPS_AT_ONCE);
    }
    self->probed = now;
    return ips_wait_without_gil(try_step, &job, IPS_AT_ONCE);
}

static PyObject *
acquire(ips_cell_object *self, int64_t deadline)
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
    int status = acquire_slow(self, deadline);
    if (status >= 0) {
        sign(self->cell.shm->words);
    }
    ips_cell_leave(self);
    if (status >= 0) {
        Py_RETURN_TRUE;
    }
    if (status == IPS_ETIMEOUT) {
        Py_RETURN_FALSE;
    }
    ips_state *state = status == IPS_EINTR ? NULL : ips_state_of_type(Py_TYPE(self));
    return state == NULL ? NULL : ips_raise(state, status);
}

/* Which parameter a keyword names: 0 blocking (or block), 1 timeout. */
static int
parameter_of(PyObject *keyword)
{
    if (PyUnicode_CompareWithASCIIString(keyword, "timeout") == 0) {
        return 1;
    }
    if (PyUnicode_CompareWithASCIIString(keyword, "blocking") == 0
        || PyUnicode_CompareWithASCIIString(keyword, "block") == 0) {
        return 0;
    }
    return -1;
}

static int
acquire_arguments(PyObject *const *args, Py_ssize_t count, PyObject *keywords, PyObject *given[2])
{
    if (count > 2) {
        PyErr_Format(PyExc_TypeError, "acquire() takes at most 2 arguments (%zd given)", count);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        given[i] = args[i];
    }
    Py_ssize_t named = keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords);
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *keyword = PyTuple_GET_ITEM(keywords, i);
        int which = parameter_of(keyword);
        if (which < 0) {
            PyErr_Format(PyExc_TypeError, "acquire() got an unexpected keyword argument '%U'",
                         keyword);
            return -1;
        }
        if (given[which] != NULL) {
            PyErr_Format(PyExc_TypeError, "acquire() got '%U' twice", keyword);
            return -1;
        }
        given[which] = args[count + i];
    }
    return 0;
}

static int
acquire_deadline(PyObject *given[2], int64_t *deadline)
{
    int blocking = given[0] == NULL ? 1 : PyObject_IsTrue(given[0]);
    if (blocking < 0) {
        return -1;
    }
    *deadline = IPS_FOREVER;
    if (given[1] != NULL && ips_deadline_of_acquire(given[1], deadline) < 0) {
        return -1;
    }
    if (!blocking) {
        if (*deadline != IPS_FOREVER) {
            PyErr_SetString(PyExc_ValueError, "can't specify a timeout for a non-blocking call");
            return -1;
        }
        *deadline = IPS_AT_ONCE;
    }
    return 0;
}

PyDoc_STRVAR(acquire_doc, "acquire($self, /, blocking=True, timeout=-1)\n--\n\n"
"Take the lock: True, or False when it could not be had in time.\n\n"
"block= is accepted for blocking=, and timeout=None for -1.  Where the last\n"
"holder died holding it, the lock is taken and `abandoned` is true.");

static PyObject *
lock_acquire(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    int64_t deadline = IPS_FOREVER;
    if (count != 0 || keywords != NULL) {
        PyObject *given[2] = {NULL, NULL};
        if (acquire_arguments(args, count, keywords, given) < 0
            || acquire_deadline(given, &deadline) < 0) {
            return NULL;
        }
    }
    return acquire((ips_cell_object *)self, deadline);
}

static PyObject *
lock_enter(PyObject *self, PyObject *unused)
{
    (void)unused;
    return acquire((ips_cell_object *)self, IPS_FOREVER);
}

/* --- release ------------------------------------------------------------- */

static PyObject *
release(ips_cell_object *self)
{
    if (!ips_cell_enter(self)) {
        return NULL;
    }
    bool held = ips_lock_leave((ips_lock_shm *)self->cell.shm->words);
    ips_cell_leave(self);
    if (held) {
        Py_RETURN_NONE;
    }
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
    ips_cell_object *self = (ips_cell_object *)object;
    if (ips_cell_is_quick(self) && ips_lock_leave(lock_of(self))) {
        Py_RETURN_NONE;
    }
    return release(self);
}

static PyObject *
lock_exit(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)args;
    (void)count;
    return lock_release(self, NULL);
}

/* --- looking ------------------------------------------------------------- */

/* The living holder, or IPS_NOBODY: what a dead one left behind can be had. */
static ips_owner
holder_of(ips_cell_object *self)
{
    ips_owner owner = ips_lock_owner(lock_of(self));
    return owner != IPS_NOBODY && ips_member_lives(self->cell.space, owner, false) ? owner
                                                                                   : IPS_NOBODY;
}

PyDoc_STRVAR(locked_doc, "locked($self, /)\n--\n\nWhether somebody holds the lock.");

static PyObject *
lock_locked(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_cell_object *self = (ips_cell_object *)object;
    return !ips_cell_is_usable(self) ? ips_cell_raise_closed(self)
                                     : PyBool_FromLong(holder_of(self) != IPS_NOBODY);
}

static PyObject *
lock_abandoned(PyObject *object, void *unused)
{
    (void)unused;
    ips_cell_object *self = (ips_cell_object *)object;
    return !ips_cell_is_usable(self) ? ips_cell_raise_closed(self)
                                     : PyBool_FromLong(ips_lock_is_abandoned(lock_of(self)));
}

static PyObject *
lock_owner(PyObject *object, void *unused)
{
    (void)unused;
    ips_cell_object *self = (ips_cell_object *)object;
    if (!ips_cell_is_usable(self)) {
        return ips_cell_raise_closed(self);
    }
    ips_member_facts facts;
    ips_owner owner = holder_of(self);
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
                       : holder_of(self) != IPS_NOBODY    ? "locked"
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
    {"locked", lock_locked, METH_NOARGS, locked_doc},
    {"__enter__", lock_enter, METH_NOARGS, "__enter__($self, /)\n--\n\nacquire()."},
    {"__exit__", (PyCFunction)(void (*)(void))lock_exit, METH_FASTCALL,
     "__exit__($self, /, *exc_info)\n--\n\nrelease()."},
    IPS_CELL_METHODS(lock_restore),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef lock_getsets[] = {
    {"abandoned", lock_abandoned, NULL,
     "True from the moment a lock is taken over from a dead holder until it is released.", NULL},
    {"owner", lock_owner, NULL, "The pid of the process that holds it, or None.", NULL},
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
