/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.Event: threading.Event between processes, on sync/event.h. */
#include "bind/cell.h"
#include "os/clock.h"
#include "sync/event.h"

_Static_assert(sizeof(ips_event_shm) <= sizeof ((ips_cell_shm *)0)->words, "an event fits a cell");

static ips_event_shm *
event_of(ips_cell_object *self)
{
    return (ips_event_shm *)self->cell.shm->words;
}

static int
event_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return ips_cell_init((ips_cell_object *)self, args, kwargs, IPS_CELL_EVENT);
}

static PyObject *
event_restore(PyObject *type, PyObject *args)
{
    return ips_cell_restore(type, args, IPS_CELL_EVENT);
}

PyDoc_STRVAR(is_set_doc, "is_set($self, /)\n--\n\nWhether the event is set.");

static PyObject *
event_is_set(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_cell_object *self = (ips_cell_object *)object;
    if (ips_cell_is_quick(self)) {
        return PyBool_FromLong(ips_event_is_set((const ips_event_shm *)self->shm));
    }
    if (!ips_cell_enter(self)) {
        return NULL;
    }
    bool is_set = ips_event_is_set(event_of(self));
    ips_cell_leave(self);
    return PyBool_FromLong(is_set);
}

PyDoc_STRVAR(set_doc, "set($self, /)\n--\n\nSet the event: whoever waits for it goes on.");

static PyObject *
event_set(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_cell_object *self = (ips_cell_object *)object;
    if (!ips_cell_enter(self)) {
        return NULL;
    }
    ips_event_set(event_of(self));
    ips_cell_leave(self);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(clear_doc, "clear($self, /)\n--\n\nClear the event: wait() waits again.");

static PyObject *
event_clear(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_cell_object *self = (ips_cell_object *)object;
    if (!ips_cell_enter(self)) {
        return NULL;
    }
    ips_event_clear(event_of(self));
    ips_cell_leave(self);
    Py_RETURN_NONE;
}

/* --- wait ---------------------------------------------------------------- */

typedef struct {
    ips_event_shm *event;
    ips_space *space;
    uint32_t since;
} waiting;

static int
wait_step(void *context, int64_t deadline)
{
    const waiting *job = (const waiting *)context;
    return ips_event_wait(job->event, job->space, job->since, deadline);
}

static PyObject *
wait_until(ips_cell_object *self, int64_t deadline)
{
    if (!ips_cell_enter(self)) {
        return NULL;
    }
    waiting job = {event_of(self), self->cell.space, ips_event_state(event_of(self))};
    int status = IPS_OK;
    if ((job.since & 1) == 0) {
        status = deadline == IPS_AT_ONCE ? IPS_ETIMEOUT
                                         : ips_cell_wait(self, wait_step, &job, deadline);
    }
    ips_cell_leave(self);
    if (status == IPS_OK || status == IPS_ETIMEOUT) {
        return PyBool_FromLong(status == IPS_OK);
    }
    ips_state *state = status == IPS_EINTR ? NULL : ips_state_of_type(Py_TYPE(self));
    return state == NULL ? NULL : ips_raise(state, status);
}

PyDoc_STRVAR(wait_doc, "wait($self, /, timeout=None)\n--\n\n"
"Wait until the event is set; False where `timeout` seconds were not enough.");

static PyObject *
event_wait(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
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
    int64_t deadline = IPS_FOREVER;
    if (count + named == 1 && ips_deadline_of_wait(args[0], &deadline) < 0) {
        return NULL;
    }
    return wait_until((ips_cell_object *)self, deadline);
}

static PyObject *
event_repr(PyObject *object)
{
    ips_cell_object *self = (ips_cell_object *)object;
    const char *type = Py_TYPE(self)->tp_name;
    const char *name = ips_cell_name_of(self);
    const char *word = self->shm == NULL                                      ? "closed"
                       : ips_event_is_set((const ips_event_shm *)self->shm) ? "set"
                                                                            : "unset";
    return name == NULL ? PyUnicode_FromFormat("<%s at %p: %s>", type, self, word)
                        : PyUnicode_FromFormat("<%s '%s' at %p: %s>", type, name, self, word);
}

PyDoc_STRVAR(event_doc, "Event(*, name=None, namespace=None, create=None, cleanup=None, segment=None)\n--\n\n"
"An event between processes, with the manners of threading.Event.\n\n"
"Unnamed, it travels to other processes by pickling or fork; with a name,\n"
"whoever opens the name has it.");

static PyMethodDef event_methods[] = {
    {"is_set", event_is_set, METH_NOARGS, is_set_doc},
    {"set", event_set, METH_NOARGS, set_doc},
    {"clear", event_clear, METH_NOARGS, clear_doc},
    {"wait", (PyCFunction)(void (*)(void))event_wait, METH_FASTCALL | METH_KEYWORDS, wait_doc},
    {"__enter__", ips_cell_enter_context, METH_NOARGS, "__enter__($self, /)\n--\n\nThe event."},
    {"__exit__", (PyCFunction)(void (*)(void))ips_cell_exit_context, METH_FASTCALL,
     "__exit__($self, /, *exc_info)\n--\n\nclose()."},
    IPS_CELL_METHODS(event_restore),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef event_getsets[] = {
    IPS_CELL_GETSETS,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef event_members[] = {
    IPS_CELL_WEAKREFS,
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot event_slots[] = {
    {Py_tp_doc, (void *)event_doc},
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_init, (void *)event_init},
    {Py_tp_dealloc, (void *)ips_cell_dealloc},
    {Py_tp_repr, (void *)event_repr},
    {Py_tp_methods, event_methods},
    {Py_tp_getset, event_getsets},
    {Py_tp_members, event_members},
    {0, NULL},
};

static PyType_Spec event_spec = {
    .name = "ipcsys.Event",
    .basicsize = sizeof(ips_cell_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = event_slots,
};

int
ips_add_event(PyObject *module, ips_state *state)
{
    state->event_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &event_spec, NULL);
    return state->event_type == NULL ? -1 : PyModule_AddType(module, state->event_type);
}
