/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.Barrier: threading.Barrier between processes, on sync/barrier.h. */
#include "bind/barrier.h"

#include "os/clock.h"

/* --- opening ------------------------------------------------------------- */

/* The number of parties that the object has; -1 with an exception set. */
static int
adopt(ips_barrier_object *self, ips_state *state)
{
    /* relaxed: written before the object could be found. */
    uint64_t parties = atomic_load_explicit(&self->base.cell.shm->words[0], memory_order_relaxed);
    if (parties == 0 || parties > IPS_BARRIER_MAX_PARTIES) {
        (void)ips_raise_text(state, IPS_ECORRUPT, "a Barrier of %llu parties",
                             (unsigned long long)parties);
        return -1;
    }
    ips_barrier_start(&self->barrier, &self->base.cell.wide, (uint32_t)parties,
                      self->base.cell.space);
    return 0;
}

/* What parties= says; 0 where it may be left out and was. */
static int
parties_of(PyObject *given, PyObject *create, uint64_t *parties)
{
    *parties = 0;
    if (given == NULL || given == Py_None) {
        if (create == Py_False) { /* whatever the object has */
            return 0;
        }
        PyErr_SetString(PyExc_TypeError, "Barrier() missing required argument 'parties' (pos 1)");
        return -1;
    }
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(given, &overflow);
    if (number == -1 && PyErr_Occurred() != NULL) {
        return -1;
    }
    if (overflow != 0 || number < 1 || number > (long long)IPS_BARRIER_MAX_PARTIES) {
        PyErr_Format(PyExc_ValueError, "parties must be between 1 and %u, not %S",
                     IPS_BARRIER_MAX_PARTIES, given);
        return -1;
    }
    *parties = (uint64_t)number;
    return 0;
}

static int
set_manners(ips_barrier_object *self, PyObject *action, PyObject *timeout)
{
    int64_t deadline;
    if (action != NULL && action != Py_None && !PyCallable_Check(action)) {
        PyErr_Format(PyExc_TypeError, "action must be callable or None, not %.100s",
                     Py_TYPE(action)->tp_name);
        return -1;
    }
    if (timeout != NULL && ips_deadline_of_wait(timeout, &deadline) < 0) {
        return -1;
    }
    Py_XSETREF(self->action, action == Py_None ? NULL : Py_XNewRef(action));
    Py_XSETREF(self->timeout, timeout == Py_None ? NULL : Py_XNewRef(timeout));
    return 0;
}

static int
barrier_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"parties", "action", "timeout", "name", "namespace", "create",
                            "cleanup", "segment", NULL};
    ips_barrier_object *self = (ips_barrier_object *)object;
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    PyObject *given = NULL, *action = NULL, *timeout = NULL;
    ips_container_where where = {0};
    uint64_t words[IPS_CELL_WORDS] = {0};
    if (state == NULL
        || !PyArg_ParseTupleAndKeywords(args, kwargs, "|OOO$OOOOO", names, &given, &action,
                                        &timeout, &where.name, &where.namespace_, &where.create,
                                        &where.cleanup, &where.segment)
        || parties_of(given, where.create, &words[0]) < 0
        || set_manners(self, action, timeout) < 0
        || ips_cell_object_open(&self->base, &where, IPS_CELL_BARRIER, words) < 0) {
        return -1;
    }
    if (adopt(self, state) == 0 && words[0] != 0 && words[0] != self->barrier.parties) {
        (void)ips_raise_text(state, IPS_EMISMATCH, "'%s' is a Barrier of %u parties, not of %u",
                             ips_cell_name_of(&self->base), self->barrier.parties,
                             (unsigned)words[0]);
    }
    if (PyErr_Occurred() == NULL) {
        return 0;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    Py_XDECREF(ips_cell_close(object, NULL));
    PyErr_Restore(type, value, traceback);
    return -1;
}

/* --- a seat -------------------------------------------------------------- */

static int
sit_step(void *context, int64_t deadline)
{
    return ips_barrier_sit((ips_barrier *)context, deadline);
}

/* So that an orderly end of the process gives the seat back: ipcsys._farewell. */
static int
ask_for_farewell(ips_barrier_object *self)
{
    PyObject *module = PyImport_ImportModule("ipcsys._farewell");
    PyObject *result = module == NULL ? NULL
                                      : PyObject_CallMethod(module, "remember", "O", self);
    Py_XDECREF(module);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* For a thread that entered; IPS_EINTR with an exception set. */
static int
sit(ips_barrier_object *self)
{
    if (ips_barrier_sits(&self->barrier)) {
        return IPS_OK;
    }
    int status = ips_cell_wait(&self->base, sit_step, &self->barrier, IPS_FOREVER);
    return status == IPS_OK && ask_for_farewell(self) < 0 ? IPS_EINTR : status;
}

/* --- wait ---------------------------------------------------------------- */

typedef struct {
    ips_barrier *barrier;
    ips_barrier_visit visit;
} visiting;

static int
wait_step(void *context, int64_t deadline)
{
    const visiting *job = (const visiting *)context;
    return ips_barrier_wait(job->barrier, &job->visit, deadline);
}

static int
wait_action_step(void *context, int64_t deadline)
{
    const visiting *job = (const visiting *)context;
    return ips_barrier_wait_action(job->barrier, deadline);
}

static int
arrive(ips_barrier_object *self, visiting *job, int64_t deadline)
{
    int status = sit(self);
    while (status == IPS_OK) {
        status = ips_barrier_arrive(job->barrier, self->action != NULL, &job->visit);
        if (status != IPS_EAGAIN) {
            return status;
        }
        /* More threads than parties: the next round begins when this one's
         * last has acted.  Too late for us is no harm to that round. */
        status = ips_cell_wait(&self->base, wait_action_step, job, deadline);
    }
    return status == IPS_ETIMEOUT ? IPS_EBROKEN : status;
}

/* The last one, with an action. */
static int
act(ips_barrier_object *self, const visiting *job)
{
    PyObject *action = Py_NewRef(self->action);
    PyObject *result = PyObject_CallNoArgs(action);
    Py_DECREF(action);
    if (result == NULL) {
        ips_barrier_break(job->barrier, &job->visit);
        return IPS_EINTR;
    }
    Py_DECREF(result);
    return ips_barrier_release(job->barrier, &job->visit);
}

static int
wait_for_others(ips_barrier_object *self, visiting *job, int64_t deadline)
{
    int status = ips_cell_wait(&self->base, wait_step, job, deadline);
    if (status == IPS_ETIMEOUT) {
        status = ips_barrier_give_up(job->barrier, &job->visit);
        if (status == IPS_EAGAIN) { /* all are there, one acts */
            status = ips_cell_wait(&self->base, wait_step, job, IPS_FOREVER);
        }
    }
    if (status < 0 && status != IPS_EBROKEN) { /* a signal, or closed */
        (void)ips_barrier_leave(job->barrier, &job->visit);
    }
    return status;
}

/* For a thread that entered. */
static int
take_part(ips_barrier_object *self, visiting *job, int64_t deadline)
{
    int status = arrive(self, job, deadline);
    if (status < 0) {
        return status;
    }
    if (!job->visit.last) {
        status = wait_for_others(self, job, deadline);
    } else if (self->action != NULL) {
        status = act(self, job);
    }
    ips_barrier_depart(job->barrier);
    if (self->base.shm == NULL) { /* closed meanwhile: our seat could not go then */
        ips_barrier_stand_up(job->barrier);
    }
    return status;
}

static PyObject *
raise_broken(ips_barrier_object *self)
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    const char *name = ips_cell_name_of(&self->base);
    return state == NULL ? NULL
                         : ips_raise_text(state, IPS_EBROKEN, "%s",
                                          name == NULL ? "it has no name" : name);
}

static PyObject *
raise(ips_barrier_object *self, int status)
{
    if (status == IPS_EBROKEN) {
        return raise_broken(self);
    }
    ips_state *state = status == IPS_EINTR ? NULL : ips_state_of_type(Py_TYPE(self));
    return state == NULL ? NULL : ips_raise(state, status);
}

PyDoc_STRVAR(wait_doc, "wait($self, /, timeout=None)\n--\n\n"
"Wait until as many have come as the barrier has parties; then all go on at once.\n\n"
"Returns a number from 0 to parties - 1, another one for each.  The last to come\n"
"runs the action of its handle first.  BrokenBarrierError where the barrier is\n"
"broken or reset meanwhile; where `timeout` seconds (None: the barrier's own)\n"
"were not enough, which breaks it; and where a process dies that waited here, now\n"
"or in an earlier round, and did not close().");

static PyObject *
barrier_wait(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    ips_barrier_object *self = (ips_barrier_object *)object;
    Py_ssize_t named = keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords);
    if (count + named > 1) {
        return PyErr_Format(PyExc_TypeError, "wait() takes at most 1 argument (%zd given)",
                            count + named);
    }
    if (named == 1
        && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(keywords, 0), "timeout") != 0) {
        return PyErr_Format(PyExc_TypeError, "wait() got an unexpected keyword argument '%U'",
                            PyTuple_GET_ITEM(keywords, 0));
    }
    PyObject *timeout = count + named == 1 && args[0] != Py_None ? args[0] : self->timeout;
    int64_t deadline = IPS_FOREVER;
    if ((timeout != NULL && ips_deadline_of_wait(timeout, &deadline) < 0)
        || !ips_cell_enter(&self->base)) {
        return NULL;
    }
    visiting job = {.barrier = &self->barrier};
    int status = take_part(self, &job, deadline);
    PyObject *result = status < 0 ? raise(self, status) : PyLong_FromUnsignedLong(job.visit.index);
    ips_cell_leave(&self->base);
    return result;
}

/* --- abort and reset ----------------------------------------------------- */

PyDoc_STRVAR(abort_doc, "abort($self, /)\n--\n\n"
"Break the barrier: whoever waits or comes gets BrokenBarrierError until reset().");

static PyObject *
barrier_abort(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_barrier_object *self = (ips_barrier_object *)object;
    if (!ips_cell_enter(&self->base)) {
        return NULL;
    }
    ips_barrier_abort(&self->barrier);
    ips_cell_leave(&self->base);
    Py_RETURN_NONE;
}

static int
reset_step(void *context, int64_t deadline)
{
    return ips_barrier_reset((ips_barrier *)context, deadline);
}

PyDoc_STRVAR(reset_doc, "reset($self, /)\n--\n\n"
"Empty and whole again: those who wait get BrokenBarrierError, those who died are\n"
"forgotten.");

static PyObject *
barrier_reset(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_barrier_object *self = (ips_barrier_object *)object;
    if (!ips_cell_enter(&self->base)) {
        return NULL;
    }
    int status = ips_cell_wait(&self->base, reset_step, &self->barrier, IPS_FOREVER);
    ips_cell_leave(&self->base);
    if (status < 0) {
        return raise(self, status);
    }
    Py_RETURN_NONE;
}

/* --- closing ------------------------------------------------------------- */

PyDoc_STRVAR(stand_up_doc, "_stand_up($self, /)\n--\n\n"
"Give this process's seat back, unless one of its threads waits here.");

static PyObject *
barrier_stand_up(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_barrier_object *self = (ips_barrier_object *)object;
    if (ips_cell_is_usable(&self->base)) {
        ips_barrier_stand_up(&self->barrier);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\n"
"Give up this handle; threads of this process that wait on it get Closed.  The\n"
"process is no party any more: its end breaks nothing.");

static PyObject *
barrier_close(PyObject *object, PyObject *unused)
{
    Py_XDECREF(barrier_stand_up(object, unused));
    return ips_cell_close(object, unused);
}

static PyObject *
barrier_exit(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    (void)args;
    (void)count;
    return barrier_close(object, NULL);
}

static int
barrier_traverse(PyObject *object, visitproc visit, void *arg)
{
    ips_barrier_object *self = (ips_barrier_object *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->action);
    Py_VISIT(self->timeout);
    return 0;
}

static int
barrier_clear(PyObject *object)
{
    ips_barrier_object *self = (ips_barrier_object *)object;
    Py_CLEAR(self->action);
    Py_CLEAR(self->timeout);
    return 0;
}

static void
barrier_dealloc(PyObject *object)
{
    PyObject_GC_UnTrack(object);
    Py_XDECREF(barrier_stand_up(object, NULL));
    (void)barrier_clear(object);
    ips_cell_dealloc(object);
}

/* --- pickling ------------------------------------------------------------ */

static PyObject *
barrier_restore(PyObject *type, PyObject *args)
{
    PyObject *object = ips_cell_restore(type, args, IPS_CELL_BARRIER);
    ips_state *state = object == NULL ? NULL : ips_state_of_type((PyTypeObject *)type);
    if (object != NULL && (state == NULL || adopt((ips_barrier_object *)object, state) < 0)) {
        Py_CLEAR(object);
    }
    return object;
}

static PyObject *
or_none(PyObject *object)
{
    return object == NULL ? Py_None : object;
}

static PyObject *
barrier_reduce(PyObject *object, PyObject *unused)
{
    ips_barrier_object *self = (ips_barrier_object *)object;
    PyObject *plain = ips_cell_reduce(object, unused);
    if (plain == NULL) {
        return NULL;
    }
    PyObject *result = Py_BuildValue("(OO(OOO))", PyTuple_GET_ITEM(plain, 0),
                                     PyTuple_GET_ITEM(plain, 1), PyTuple_GET_ITEM(plain, 2),
                                     or_none(self->action), or_none(self->timeout));
    Py_DECREF(plain);
    return result;
}

static PyObject *
barrier_setstate(PyObject *object, PyObject *state)
{
    PyObject *dict, *action, *timeout;
    if (!PyTuple_Check(state)) {
        return PyErr_Format(PyExc_TypeError, "not a pickled Barrier's state");
    }
    if (!PyArg_ParseTuple(state, "OOO:__setstate__", &dict, &action, &timeout)
        || set_manners((ips_barrier_object *)object, action, timeout) < 0) {
        return NULL;
    }
    if (dict != Py_None) {
        PyObject *own = PyObject_GetAttrString(object, "__dict__");
        int status = own == NULL ? -1 : PyDict_Update(own, dict);
        Py_XDECREF(own);
        if (status < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

/* --- looking ------------------------------------------------------------- */

static PyObject *
barrier_parties(PyObject *object, void *unused)
{
    (void)unused;
    ips_barrier_object *self = (ips_barrier_object *)object;
    return !ips_cell_is_usable(&self->base) ? ips_cell_raise_closed(&self->base)
                                            : PyLong_FromUnsignedLong(self->barrier.parties);
}

static PyObject *
barrier_n_waiting(PyObject *object, void *unused)
{
    (void)unused;
    ips_barrier_object *self = (ips_barrier_object *)object;
    return !ips_cell_is_usable(&self->base)
               ? ips_cell_raise_closed(&self->base)
               : PyLong_FromUnsignedLong(ips_barrier_waiting(&self->barrier));
}

static PyObject *
barrier_broken(PyObject *object, void *unused)
{
    (void)unused;
    ips_barrier_object *self = (ips_barrier_object *)object;
    return !ips_cell_is_usable(&self->base)
               ? ips_cell_raise_closed(&self->base)
               : PyBool_FromLong(ips_barrier_is_broken(&self->barrier));
}

static int
check_barrier(ips_cell_object *self, ips_cell_report report, void *lines)
{
    return ips_barrier_check(&((ips_barrier_object *)self)->barrier, report, lines);
}

static PyObject *
barrier_check(PyObject *object, PyObject *unused)
{
    (void)unused;
    return ips_cell_problems((ips_cell_object *)object, check_barrier);
}

static PyObject *
barrier_repr(PyObject *object)
{
    ips_barrier_object *self = (ips_barrier_object *)object;
    const char *type = Py_TYPE(self)->tp_name;
    const char *name = ips_cell_name_of(&self->base);
    const char *before = name == NULL ? "" : " '", *after = name == NULL ? "" : "'";
    name = name == NULL ? "" : name;
    if (self->base.shm == NULL || ips_barrier_is_broken(&self->barrier)) {
        return PyUnicode_FromFormat("<%s%s%s%s at %p: %s>", type, before, name, after, self,
                                    self->base.shm == NULL ? "closed" : "broken");
    }
    return PyUnicode_FromFormat("<%s%s%s%s at %p: waiters=%u/%u>", type, before, name, after, self,
                                ips_barrier_waiting(&self->barrier), self->barrier.parties);
}

PyDoc_STRVAR(barrier_doc, "Barrier(parties, action=None, timeout=None, *, name=None, namespace=None, "
"create=None, cleanup=None, segment=None)\n--\n\n"
"A barrier between processes, with the manners of threading.Barrier.\n\n"
"`parties` threads, of one or several processes, wait() for each other; with\n"
"create=False it may be left out.  `action` is called by the last of them to come,\n"
"before any goes on: it is the handle's own, and goes along in a pickle.\n\n"
"A process that has waited here is a party until it closes its handle or ends in\n"
"an orderly way: if it dies before, the barrier breaks for the rest at once, until\n"
"reset().  One that is stopped is waited for.");

static PyMethodDef barrier_methods[] = {
    {"wait", (PyCFunction)(void (*)(void))barrier_wait, METH_FASTCALL | METH_KEYWORDS, wait_doc},
    {"abort", barrier_abort, METH_NOARGS, abort_doc},
    {"reset", barrier_reset, METH_NOARGS, reset_doc},
    {"check", barrier_check, METH_NOARGS,
     "check($self, /)\n--\n\nWhat is wrong with its shared bytes, as a list of lines."},
    {"_stand_up", barrier_stand_up, METH_NOARGS, stand_up_doc},
    {"close", barrier_close, METH_NOARGS, close_doc},
    {"remove", (PyCFunction)(void (*)(void))ips_cell_remove,
     METH_FASTCALL | METH_KEYWORDS | METH_CLASS, IPS_REMOVE_DOC},
    {"__enter__", ips_cell_enter_context, METH_NOARGS, "__enter__($self, /)\n--\n\nThe barrier."},
    {"__exit__", (PyCFunction)(void (*)(void))barrier_exit, METH_FASTCALL,
     "__exit__($self, /, *exc_info)\n--\n\nclose()."},
    {"__reduce__", barrier_reduce, METH_NOARGS, "__reduce__($self, /)\n--\n\n"
     "A handle for another process of the same namespace, with the same action."},
    {"__setstate__", barrier_setstate, METH_O, "__setstate__($self, state, /)\n--\n\n"
     "The rest of what __reduce__() gave."},
    {"_restore", barrier_restore, METH_VARARGS | METH_CLASS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef barrier_getsets[] = {
    {"parties", barrier_parties, NULL, "How many wait for each other.", NULL},
    {"n_waiting", barrier_n_waiting, NULL, "How many wait now.", NULL},
    {"broken", barrier_broken, NULL, "True from a break until reset().", NULL},
    IPS_CELL_GETSETS,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef barrier_members[] = {
    IPS_CELL_WEAKREFS,
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot barrier_slots[] = {
    {Py_tp_doc, (void *)barrier_doc},
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_init, (void *)barrier_init},
    {Py_tp_dealloc, (void *)barrier_dealloc},
    {Py_tp_traverse, (void *)barrier_traverse},
    {Py_tp_clear, (void *)barrier_clear},
    {Py_tp_repr, (void *)barrier_repr},
    {Py_tp_methods, barrier_methods},
    {Py_tp_getset, barrier_getsets},
    {Py_tp_members, barrier_members},
    {0, NULL},
};

static PyType_Spec barrier_spec = {
    .name = "ipcsys.Barrier",
    .basicsize = sizeof(ips_barrier_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE
             | Py_TPFLAGS_HAVE_GC,
    .slots = barrier_slots,
};

int
ips_add_barrier(PyObject *module, ips_state *state)
{
    state->barrier_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &barrier_spec, NULL);
    return state->barrier_type == NULL ? -1 : PyModule_AddType(module, state->barrier_type);
}
