/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.Semaphore and BoundedSemaphore: those of threading between processes,
 * on sync/semaphore.h. */
#include "bind/semaphore.h"

#include <stdlib.h>

#include "bind/acquire.h"
#include "bind/facts.h"

/* acquire(False) asks for proof of the holders' death this often. */
#define PROBE_EVERY_NS INT64_C(5000000)

/* --- opening --------------------------------------------------------------- */

static int
attach(ips_semaphore_object *self, bool bounded)
{
    ips_cell *cell = &self->cell.cell;
    int status = ips_semaphore_open(&self->semaphore, cell->shm->words, &cell->wide, cell->space,
                                    bounded);
    if (status < 0) {
        ips_state *state = ips_state_of_type(Py_TYPE(self));
        if (state != NULL) {
            (void)ips_raise(state, status);
        }
        Py_XDECREF(ips_cell_close((PyObject *)self, NULL));
        return -1;
    }
    if (!ips_cell_lives(&self->cell)) { /* then this may be another's life already */
        (void)ips_cell_raise_closed(&self->cell);
        Py_XDECREF(ips_cell_close((PyObject *)self, NULL));
        return -1;
    }
    return 0;
}

int
ips_semaphore_object_open(ips_semaphore_object *self, const ips_container_where *where,
                          enum ips_cell_type type, int64_t value, bool owned)
{
    const uint64_t words[IPS_CELL_WORDS] = {(uint64_t)value, owned ? 0 : IPS_SEMAPHORE_UNOWNED};
    return ips_cell_object_open(&self->cell, where, type, words) < 0
               ? -1
               : attach(self, type == IPS_CELL_BOUNDED_SEMAPHORE);
}

PyObject *
ips_semaphore_object_restore(PyObject *type, PyObject *args, enum ips_cell_type cell_type)
{
    PyObject *self = ips_cell_restore(type, args, cell_type);
    if (self != NULL
        && attach((ips_semaphore_object *)self, cell_type == IPS_CELL_BOUNDED_SEMAPHORE) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return self;
}

static int
value_of(PyObject *given, int64_t *value)
{
    PyObject *number = PyNumber_Index(given);
    if (number == NULL) {
        return -1;
    }
    int overflow;
    *value = PyLong_AsLongLongAndOverflow(number, &overflow);
    Py_DECREF(number);
    if (overflow < 0 || (overflow == 0 && *value < 0)) {
        PyErr_SetString(PyExc_ValueError, "semaphore initial value must be >= 0");
        return -1;
    }
    if (overflow > 0 || *value > IPS_SEMAPHORE_MAX) {
        PyErr_SetString(PyExc_OverflowError, "semaphore initial value must be at most 2**48");
        return -1;
    }
    return 0;
}

static int
init(PyObject *self, PyObject *args, PyObject *kwargs, enum ips_cell_type type)
{
    static char *names[] = {"value", "owned", "name", "namespace", "create", "cleanup", "segment",
                            NULL};
    PyObject *given = NULL;
    int owned = 1;
    int64_t value = 1;
    ips_container_where where = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$pOOOOO", names, &given, &owned, &where.name,
                                     &where.namespace_, &where.create, &where.cleanup,
                                     &where.segment)
        || (given != NULL && value_of(given, &value) < 0)) {
        return -1;
    }
    return ips_semaphore_object_open((ips_semaphore_object *)self, &where, type, value,
                                     owned != 0);
}

static int
semaphore_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return init(self, args, kwargs, IPS_CELL_SEMAPHORE);
}

static int
bounded_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return init(self, args, kwargs, IPS_CELL_BOUNDED_SEMAPHORE);
}

static PyObject *
semaphore_restore(PyObject *type, PyObject *args)
{
    return ips_semaphore_object_restore(type, args, IPS_CELL_SEMAPHORE);
}

static PyObject *
bounded_restore(PyObject *type, PyObject *args)
{
    return ips_semaphore_object_restore(type, args, IPS_CELL_BOUNDED_SEMAPHORE);
}

/* --- acquire --------------------------------------------------------------- */

static int
acquire_step(void *context, int64_t deadline)
{
    return ips_semaphore_acquire((ips_semaphore *)context, deadline);
}

static int
try_step(void *context, int64_t deadline)
{
    ips_semaphore_object *self = (ips_semaphore_object *)context;
    (void)deadline;
    int64_t now = ips_now();
    bool thorough = now - self->cell.probed >= PROBE_EVERY_NS;
    if (thorough) {
        self->cell.probed = now;
    }
    int status = ips_semaphore_try(&self->semaphore, thorough);
    return status == IPS_EAGAIN ? IPS_ETIMEOUT : status;
}

static int
acquire_slowly(ips_semaphore_object *self, int64_t deadline)
{
    return deadline == IPS_AT_ONCE
               ? ips_wait_without_gil(try_step, self, IPS_AT_ONCE)
               : ips_cell_wait(&self->cell, acquire_step, &self->semaphore, deadline);
}

PyObject *
ips_semaphore_object_acquire(ips_semaphore_object *self, int64_t deadline)
{
    if (ips_cell_is_quick(&self->cell)) {
        ips_owner me = ips_space_self(self->cell.cell.space);
        if (me != IPS_NOBODY && ips_semaphore_quick(&self->semaphore, me) == 1) {
            Py_RETURN_TRUE;
        }
    }
    if (!ips_cell_enter(&self->cell)) {
        return NULL;
    }
    int status = acquire_slowly(self, deadline);
    ips_cell_leave(&self->cell);
    return ips_acquire_result(&self->cell, status);
}

/* Negative timeouts have passed already, as with threading.Semaphore; -1 is for
 * ever, as with every acquire() of ours. */
static int
timeout_of(PyObject *timeout, int64_t *deadline)
{
    double seconds = timeout == Py_None ? -1.0 : PyFloat_AsDouble(timeout);
    PyErr_Clear(); /* ips_deadline_of_acquire says it better */
    if (seconds < 0 && seconds != -1.0) {
        *deadline = IPS_AT_ONCE;
        return 0;
    }
    return ips_deadline_of_acquire(timeout, deadline);
}

PyDoc_STRVAR(acquire_doc, "acquire($self, /, blocking=True, timeout=None)\n--\n\n"
"Take a permit: True, or False when none could be had in time.\n\n"
"block= is accepted for blocking=, and timeout=-1 for None.  Permits of a\n"
"process that died come back, whether it was killed or just forgot them: at\n"
"once where somebody waits.");

static PyObject *
semaphore_acquire(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    int64_t deadline = IPS_FOREVER;
    if ((count != 0 || keywords != NULL)
        && ips_acquire_deadline_by(timeout_of, args, count, keywords, &deadline) < 0) {
        return NULL;
    }
    return ips_semaphore_object_acquire((ips_semaphore_object *)self, deadline);
}

static PyObject *
semaphore_enter(PyObject *self, PyObject *unused)
{
    (void)unused;
    return ips_semaphore_object_acquire((ips_semaphore_object *)self, IPS_FOREVER);
}

/* --- release --------------------------------------------------------------- */

typedef struct {
    ips_semaphore *semaphore;
    int64_t n;
} releasing;

static int
release_step(void *context, int64_t deadline)
{
    const releasing *job = (const releasing *)context;
    ips_owner me = ips_space_self(job->semaphore->space);
    return me == IPS_NOBODY ? ips_last_note()->status
                            : ips_semaphore_release(job->semaphore, me, job->n, deadline);
}

static int
release_slowly(ips_semaphore_object *self, int64_t n)
{
    releasing job = {&self->semaphore, n};
    if (!ips_cell_enter(&self->cell)) {
        return IPS_EINTR;
    }
    /* A signal handler that raises in the middle would leave the permit taken. */
    int status = ips_cell_wait_uninterrupted(&self->cell, release_step, &job, IPS_FOREVER);
    ips_cell_leave(&self->cell);
    return status;
}

PyObject *
ips_semaphore_object_release(ips_semaphore_object *self, int64_t n)
{
    int status = IPS_EAGAIN;
    if (ips_cell_is_quick(&self->cell)) {
        releasing job = {&self->semaphore, n};
        status = release_step(&job, IPS_AT_ONCE);
    }
    if (__builtin_expect(status == IPS_EAGAIN, 0)) {
        status = release_slowly(self, n);
    }
    if (__builtin_expect(status == 1, 1)) {
        Py_RETURN_NONE;
    }
    if (status == 0) {
        PyErr_SetString(PyExc_ValueError, "Semaphore released too many times");
        return NULL;
    }
    ips_state *state = status == IPS_EINTR ? NULL : ips_state_of_type(Py_TYPE(self));
    return state == NULL ? NULL : ips_raise(state, status);
}

PyDoc_STRVAR(release_doc, "release($self, /, n=1)\n--\n\n"
"Give back n permits; any process and any thread may.\n\n"
"Where the calling process has taken none, those count as given back that\n"
"another has had for longest.  A BoundedSemaphore raises ValueError, and\n"
"changes nothing, where its value would exceed the initial one.");

static PyObject *
semaphore_release(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    Py_ssize_t named = keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords);
    if (count + named > 1) {
        return PyErr_Format(PyExc_TypeError, "release() takes at most 1 argument (%zd given)",
                            count + named);
    }
    if (named == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(keywords, 0), "n") != 0) {
        return PyErr_Format(PyExc_TypeError, "release() got an unexpected keyword argument '%U'",
                            PyTuple_GET_ITEM(keywords, 0));
    }
    int64_t n = 1;
    if (count + named == 1) {
        n = PyLong_AsLongLong(args[0]);
        if (n == -1 && PyErr_Occurred() != NULL) {
            return NULL;
        }
    }
    if (n < 1) {
        PyErr_SetString(PyExc_ValueError, "n must be one or more");
        return NULL;
    }
    return ips_semaphore_object_release((ips_semaphore_object *)self, n);
}

static PyObject *
semaphore_exit(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)args;
    (void)count;
    return ips_semaphore_object_release((ips_semaphore_object *)self, 1);
}

/* --- looking --------------------------------------------------------------- */

PyObject *
ips_semaphore_object_value(ips_semaphore_object *self)
{
    return !ips_cell_is_usable(&self->cell)
               ? ips_cell_raise_closed(&self->cell)
               : PyLong_FromLongLong(ips_semaphore_value(&self->semaphore));
}

static PyObject *
semaphore_value(PyObject *self, void *unused)
{
    (void)unused;
    return ips_semaphore_object_value((ips_semaphore_object *)self);
}

static PyObject *
semaphore_initial(PyObject *object, void *unused)
{
    (void)unused;
    ips_semaphore_object *self = (ips_semaphore_object *)object;
    return !ips_cell_is_usable(&self->cell) ? ips_cell_raise_closed(&self->cell)
                                            : PyLong_FromLongLong(self->semaphore.initial);
}

static PyObject *
semaphore_owned(PyObject *object, void *unused)
{
    (void)unused;
    ips_semaphore_object *self = (ips_semaphore_object *)object;
    return !ips_cell_is_usable(&self->cell) ? ips_cell_raise_closed(&self->cell)
                                            : PyBool_FromLong(self->semaphore.owned);
}

static PyObject *
semaphore_repr(PyObject *object)
{
    ips_semaphore_object *self = (ips_semaphore_object *)object;
    const char *type = Py_TYPE(self)->tp_name;
    const char *name = ips_cell_name_of(&self->cell);
    PyObject *who = name == NULL ? PyUnicode_FromFormat("<%s at %p", type, self)
                                 : PyUnicode_FromFormat("<%s '%s' at %p", type, name, self);
    if (who == NULL) {
        return NULL;
    }
    const ips_semaphore *semaphore = &self->semaphore;
    PyObject *text;
    if (self->cell.shm == NULL) {
        text = PyUnicode_FromFormat("%U: closed>", who);
    } else if (semaphore->bounded) {
        text = PyUnicode_FromFormat("%U: value=%lld/%lld>", who,
                                    (long long)ips_semaphore_value(semaphore),
                                    (long long)semaphore->initial);
    } else {
        text = PyUnicode_FromFormat("%U: value=%lld>", who,
                                    (long long)ips_semaphore_value(semaphore));
    }
    Py_DECREF(who);
    return text;
}

typedef struct {
    ips_semaphore *semaphore;
    ips_facts_list lines;
} checking;

static int
check_step(void *context, int64_t deadline)
{
    checking *job = (checking *)context;
    return ips_semaphore_check(job->semaphore, deadline, ips_facts_report, &job->lines);
}

PyDoc_STRVAR(check_doc, "check($self, /)\n--\n\n"
"What is wrong with it: a list of lines, empty when sound.");

static PyObject *
semaphore_check(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_semaphore_object *self = (ips_semaphore_object *)object;
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    if (state == NULL || !ips_cell_enter(&self->cell)) {
        return NULL;
    }
    checking job = {&self->semaphore, {.item_size = IPS_FACTS_LINE}};
    int status = ips_cell_wait(&self->cell, check_step, &job, IPS_FOREVER);
    ips_cell_leave(&self->cell);
    if (status == IPS_EINTR) {
        free(job.lines.items);
        return NULL;
    }
    bool told = status == IPS_ECORRUPT && job.lines.count > 0;
    return ips_facts_build(state, told ? 0 : status, &job.lines, ips_facts_line);
}

/* --- the types ------------------------------------------------------------- */

#define MANNERS                                                                                \
"Unnamed, it travels to other processes by pickling or fork; with a name,\n"                  \
"whoever opens the name has it, with the value that it has.\n\n"                              \
"A process that dies gives back the permits it had taken and not released,\n"                 \
"but never more than are missing from the initial value: of Semaphore(3), which\n"            \
"guards three things, all it had; of Semaphore(0), which counts what one\n"                   \
"process makes for another, none.  With owned=False nobody's permits are\n"                   \
"remembered and none come back."

PyDoc_STRVAR(semaphore_doc, "Semaphore(value=1, *, owned=True, name=None, namespace=None, "
"create=None, cleanup=None, segment=None)\n--\n\n"
"A semaphore between processes, with the manners of threading.Semaphore.\n\n" MANNERS);

PyDoc_STRVAR(bounded_doc, "BoundedSemaphore(value=1, *, owned=True, name=None, namespace=None, "
"create=None, cleanup=None, segment=None)\n--\n\n"
"A Semaphore that release() never brings above its initial value.\n\n" MANNERS);

static PyMethodDef semaphore_methods[] = {
    {"acquire", (PyCFunction)(void (*)(void))semaphore_acquire, METH_FASTCALL | METH_KEYWORDS,
     acquire_doc},
    {"release", (PyCFunction)(void (*)(void))semaphore_release, METH_FASTCALL | METH_KEYWORDS,
     release_doc},
    {"check", semaphore_check, METH_NOARGS, check_doc},
    {"__enter__", semaphore_enter, METH_NOARGS, "__enter__($self, /)\n--\n\nacquire()."},
    {"__exit__", (PyCFunction)(void (*)(void))semaphore_exit, METH_FASTCALL,
     "__exit__($self, /, *exc_info)\n--\n\nrelease()."},
    IPS_CELL_METHODS(semaphore_restore),
    {NULL, NULL, 0, NULL},
};

static PyMethodDef bounded_methods[] = {
    IPS_CELL_METHODS(bounded_restore),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef semaphore_getsets[] = {
    {"value", semaphore_value, NULL, "Permits that are free now.", NULL},
    {"_value", semaphore_value, NULL, "The same, as threading spells it.", NULL},
    {"owned", semaphore_owned, NULL, "Whether permits of the dead come back.", NULL},
    IPS_CELL_GETSETS,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyGetSetDef bounded_getsets[] = {
    {"_initial_value", semaphore_initial, NULL, "The most permits there may be.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef semaphore_members[] = {
    IPS_CELL_WEAKREFS,
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot semaphore_slots[] = {
    {Py_tp_doc, (void *)semaphore_doc},
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_init, (void *)semaphore_init},
    {Py_tp_dealloc, (void *)ips_cell_dealloc},
    {Py_tp_repr, (void *)semaphore_repr},
    {Py_tp_methods, semaphore_methods},
    {Py_tp_getset, semaphore_getsets},
    {Py_tp_members, semaphore_members},
    {0, NULL},
};

static PyType_Slot bounded_slots[] = {
    {Py_tp_doc, (void *)bounded_doc},
    {Py_tp_init, (void *)bounded_init},
    {Py_tp_methods, bounded_methods},
    {Py_tp_getset, bounded_getsets},
    {0, NULL},
};

static PyType_Spec semaphore_spec = {
    .name = "ipcsys.Semaphore",
    .basicsize = sizeof(ips_semaphore_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = semaphore_slots,
};

static PyType_Spec bounded_spec = {
    .name = "ipcsys.BoundedSemaphore",
    .basicsize = sizeof(ips_semaphore_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = bounded_slots,
};

int
ips_add_semaphore(PyObject *module, ips_state *state)
{
    state->semaphore_type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &semaphore_spec, NULL);
    if (state->semaphore_type == NULL || PyModule_AddType(module, state->semaphore_type) < 0) {
        return -1;
    }
    state->bounded_semaphore_type = (PyTypeObject *)PyType_FromModuleAndSpec(
        module, &bounded_spec, (PyObject *)state->semaphore_type);
    return state->bounded_semaphore_type == NULL
               ? -1
               : PyModule_AddType(module, state->bounded_semaphore_type);
}
