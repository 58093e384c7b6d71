/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.mp.Barrier: multiprocessing's is threading's, and so is ours. */
#include "bind/barrier.h"
#include "bind/mp.h"

static int
barrier_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    return state == NULL ? -1 : ips_mp_init(state->barrier_type->tp_init, self, args, kwargs);
}

PyDoc_STRVAR(barrier_doc, "Barrier(parties=None, action=None, timeout=None, *, ctx=None, name=None, "
"namespace=None, create=None, cleanup=None, segment=None)\n--\n\n"
"multiprocessing.Barrier that breaks at once, instead of waiting for ever,\n"
"when a process dies that has waited at it.\n\n"
"`ctx` is accepted and means nothing; the other keywords are those of\n"
"ipcsys.Barrier.");

static PyType_Slot barrier_slots[] = {
    {Py_tp_doc, (void *)barrier_doc},
    {Py_tp_init, (void *)barrier_init},
    {0, NULL},
};

static PyType_Spec barrier_spec = {
    .name = "ipcsys.mp.Barrier",
    .basicsize = sizeof(ips_barrier_object),
    /* The collector's flag is inherited, with what it needs. */
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = barrier_slots,
};

int
ips_add_mp_barrier(PyObject *module, ips_state *state)
{
    PyObject *base = (PyObject *)state->barrier_type;
    PyObject *type = PyType_FromModuleAndSpec(module, &barrier_spec, base);
    state->mp_barrier_type = (PyTypeObject *)type;
    return type == NULL ? -1 : PyModule_AddObjectRef(module, "MpBarrier", type);
}
