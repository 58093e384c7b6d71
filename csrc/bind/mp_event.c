/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.mp.Event: ipcsys.Event as multiprocessing shows it. */
#include "bind/mp.h"
#include "sync/event.h"

static int
event_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    return state == NULL ? -1 : ips_mp_init(state->event_type->tp_init, self, args, kwargs);
}

static PyObject *
event_repr(PyObject *object)
{
    ips_cell_object *self = (ips_cell_object *)object;
    const char *word = self->shm == NULL                                      ? "closed"
                       : ips_event_is_set((const ips_event_shm *)self->shm) ? "set"
                                                                            : "unset";
    PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(self), "__qualname__");
    PyObject *text = name == NULL ? NULL
                                  : PyUnicode_FromFormat("<%S at %p %s>", name, self, word);
    Py_XDECREF(name);
    return text;
}

PyDoc_STRVAR(event_doc, "Event(*, ctx=None, name=None, namespace=None, create=None, cleanup=None, "
"segment=None)\n--\n\n"
"multiprocessing.Event; a process killed while it waits or sets is in nobody's\n"
"way.\n\n"
"`ctx` is accepted and means nothing; the other keywords are those of\n"
"ipcsys.Event.");

static PyType_Slot event_slots[] = {
    {Py_tp_doc, (void *)event_doc},
    {Py_tp_init, (void *)event_init},
    {Py_tp_dealloc, (void *)ips_cell_dealloc},
    {Py_tp_repr, (void *)event_repr},
    {0, NULL},
};

static PyType_Spec event_spec = {
    .name = "ipcsys.mp.Event",
    .basicsize = sizeof(ips_cell_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = event_slots,
};

int
ips_add_mp_event(PyObject *module, ips_state *state)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &event_spec, (PyObject *)state->event_type);
    state->mp_event_type = (PyTypeObject *)type;
    return type == NULL ? -1 : PyModule_AddObjectRef(module, "MpEvent", type);
}
