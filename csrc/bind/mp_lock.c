/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.mp.Lock and RLock: those of ipcsys with multiprocessing's rules. */
#include "bind/mp.h"
#include "bind/rlock.h"
#include "os/clock.h"

/* --- looking, for both ---------------------------------------------------- */

PyObject *
ips_mp_lock_is_mine(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_cell_object *self = (ips_cell_object *)object;
    return !ips_cell_is_usable(self) ? ips_cell_raise_closed(self)
                                     : PyBool_FromLong(ips_lock_object_is_mine(self));
}

/* How often this process holds it, as far as that can be told: of an rlock the
 * recursion, of a lock whether any thread does. */
static uint64_t
count_of(ips_cell_object *self)
{
    ips_owner me = ips_space_self(self->cell.space);
    if (me == IPS_NOBODY || ips_lock_object_holder(self) != me) {
        return 0;
    }
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    bool recursive = state != NULL && !PyType_IsSubtype(Py_TYPE(self), state->lock_type);
    return recursive ? ips_rlock_count((const ips_rlock_shm *)self->shm) : 1;
}

PyObject *
ips_mp_lock_count(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_cell_object *self = (ips_cell_object *)object;
    return !ips_cell_is_usable(self) ? ips_cell_raise_closed(self)
                                     : PyLong_FromUnsignedLongLong(count_of(self));
}

PyObject *
ips_mp_lock_get_value(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_cell_object *self = (ips_cell_object *)object;
    return !ips_cell_is_usable(self) ? ips_cell_raise_closed(self)
                                     : PyLong_FromLong(ips_lock_object_holder(self) == IPS_NOBODY);
}

PyObject *
ips_mp_lock_is_zero(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_cell_object *self = (ips_cell_object *)object;
    return !ips_cell_is_usable(self) ? ips_cell_raise_closed(self)
                                     : PyBool_FromLong(ips_lock_object_holder(self) != IPS_NOBODY);
}

/* --- Lock ----------------------------------------------------------------- */

static int
lock_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    return state == NULL ? -1 : ips_mp_init(state->lock_type->tp_init, self, args, kwargs);
}

PyDoc_STRVAR(acquire_doc, IPS_MP_ACQUIRE_TEXT
"Take the lock: True, or False when it could not be had in time.\n\n"
"Negative timeouts act as zero, None waits for ever.  Where the last holder\n"
"died holding it, the lock is taken and `abandoned` is true.");

static PyObject *
lock_acquire(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    int64_t deadline = IPS_FOREVER;
    if ((count != 0 || keywords != NULL)
        && ips_mp_acquire_deadline(args, count, keywords, &deadline) < 0) {
        return NULL;
    }
    return ips_lock_object_take((ips_cell_object *)self, deadline);
}

PyDoc_STRVAR(release_doc, "release($self, /)\n--\n\n"
"Give the lock up; any process and any thread may.  ValueError where nobody\n"
"holds it.");

static PyObject *
lock_release(PyObject *self, PyObject *unused)
{
    (void)unused;
    int held = ips_lock_object_give((ips_cell_object *)self);
    if (__builtin_expect(held > 0, 1)) {
        Py_RETURN_NONE;
    }
    return held < 0 ? NULL : ips_mp_raise_released_too_often();
}

static PyObject *
lock_exit(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)args;
    (void)count;
    return lock_release(self, NULL);
}

static PyObject *
lock_repr(PyObject *self)
{
    return ips_mp_describe(self, "lock_text");
}

PyDoc_STRVAR(lock_doc, "Lock(*, ctx=None, name=None, namespace=None, create=None, cleanup=None, "
"segment=None)\n--\n\n"
"multiprocessing.Lock that survives the death of its holder: the next one\n"
"gets it and finds `abandoned` true.\n\n"
"`ctx` is accepted and means nothing; the other keywords are those of\n"
"ipcsys.Lock.");

static PyMethodDef lock_methods[] = {
    {"acquire", IPS_MP_FAST(lock_acquire), acquire_doc},
    {"release", lock_release, METH_NOARGS, release_doc},
    {"__exit__", (PyCFunction)(void (*)(void))lock_exit, METH_FASTCALL,
     "__exit__($self, /, *exc_info)\n--\n\nrelease()."},
    IPS_MP_LOOKS,
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef semlock_getsets[] = {
    IPS_MP_SEMLOCK,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot lock_slots[] = {
    {Py_tp_doc, (void *)lock_doc},
    {Py_tp_init, (void *)lock_init},
    {Py_tp_dealloc, (void *)ips_cell_dealloc},
    {Py_tp_repr, (void *)lock_repr},
    {Py_tp_methods, lock_methods},
    {Py_tp_getset, semlock_getsets},
    {0, NULL},
};

static PyType_Spec lock_spec = {
    .name = "ipcsys.mp.Lock",
    .basicsize = sizeof(ips_cell_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = lock_slots,
};

/* --- RLock ---------------------------------------------------------------- */

static int
rlock_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    return state == NULL ? -1 : ips_mp_init(state->rlock_type->tp_init, self, args, kwargs);
}

PyDoc_STRVAR(rlock_acquire_doc, IPS_MP_ACQUIRE_TEXT
"Take the lock, again where this thread holds it: True, or False when it\n"
"could not be had in time.  As Lock.acquire().");

static PyObject *
rlock_acquire(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    int64_t deadline = IPS_FOREVER;
    if ((count != 0 || keywords != NULL)
        && ips_mp_acquire_deadline(args, count, keywords, &deadline) < 0) {
        return NULL;
    }
    return ips_rlock_object_take((ips_cell_object *)self, deadline);
}

static PyObject *
rlock_repr(PyObject *self)
{
    return ips_mp_describe(self, "rlock_text");
}

PyDoc_STRVAR(rlock_doc, "RLock(*, ctx=None, name=None, namespace=None, create=None, cleanup=None, "
"segment=None)\n--\n\n"
"multiprocessing.RLock that survives the death of its holder; release()\n"
"raises AssertionError where this thread does not hold it.\n\n"
"`ctx` is accepted and means nothing; the other keywords are those of\n"
"ipcsys.RLock.");

static PyMethodDef rlock_methods[] = {
    {"acquire", IPS_MP_FAST(rlock_acquire), rlock_acquire_doc},
    IPS_MP_LOOKS,
    {NULL, NULL, 0, NULL},
};

static PyType_Slot rlock_slots[] = {
    {Py_tp_doc, (void *)rlock_doc},
    {Py_tp_init, (void *)rlock_init},
    {Py_tp_dealloc, (void *)ips_cell_dealloc},
    {Py_tp_repr, (void *)rlock_repr},
    {Py_tp_methods, rlock_methods},
    {Py_tp_getset, semlock_getsets},
    {0, NULL},
};

static PyType_Spec rlock_spec = {
    .name = "ipcsys.mp.RLock",
    .basicsize = sizeof(ips_cell_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = rlock_slots,
};

int
ips_add_mp_lock(PyObject *module, ips_state *state)
{
    PyObject *lock = PyType_FromModuleAndSpec(module, &lock_spec, (PyObject *)state->lock_type);
    state->mp_lock_type = (PyTypeObject *)lock;
    PyObject *rlock = lock == NULL ? NULL
        : PyType_FromModuleAndSpec(module, &rlock_spec, (PyObject *)state->rlock_type);
    state->mp_rlock_type = (PyTypeObject *)rlock;
    return rlock == NULL || PyModule_AddObjectRef(module, "MpLock", lock) < 0
        ? -1 : PyModule_AddObjectRef(module, "MpRLock", rlock);
}
