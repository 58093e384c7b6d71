/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.mp.Condition: ipcsys.Condition with multiprocessing's rules. */
#include "bind/condition.h"
#include "bind/mp.h"
#include "os/clock.h"

static int
condition_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    return state == NULL ? -1 : ips_mp_init(state->condition_type->tp_init, self, args, kwargs);
}

PyDoc_STRVAR(acquire_doc, IPS_MP_ACQUIRE_TEXT
"Take the lock that goes with the condition; see its own acquire().");

static PyObject *
condition_acquire(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    ips_condition_object *self = (ips_condition_object *)object;
    int64_t deadline = IPS_FOREVER;
    if (self->lock == NULL) {
        return ips_mp_acquire_deadline(args, count, keywords, &deadline) < 0
            ? NULL : ips_rlock_object_take(&self->base, deadline);
    }
    PyObject *method = PyObject_GetAttrString(self->lock, "acquire");
    PyObject *taken = method == NULL ? NULL
                                     : PyObject_Vectorcall(method, args, (size_t)count, keywords);
    Py_XDECREF(method);
    return taken;
}

static PyObject *
condition_repr(PyObject *object)
{
    ips_condition_object *self = (ips_condition_object *)object;
    if (!ips_cell_is_usable(&self->base)) {
        return PyUnicode_FromFormat("<closed Condition at %p>", self);
    }
    ips_condition condition = ips_condition_of(&self->base.cell.wide, self->base.cell.space);
    PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(object), "__name__");
    PyObject *lock = name == NULL ? NULL
                     : self->lock == NULL ? ips_mp_describe(object, "own_rlock_text")
                                          : PyObject_Repr(self->lock);
    PyObject *text = lock == NULL ? NULL
        : PyUnicode_FromFormat("<%U(%U, %u)>", name, lock, ips_condition_waiters(condition));
    Py_XDECREF(name);
    Py_XDECREF(lock);
    return text;
}

PyDoc_STRVAR(condition_doc, "Condition(lock=None, *, ctx=None, name=None, namespace=None, "
"create=None, cleanup=None, segment=None)\n--\n\n"
"multiprocessing.Condition that a killed process does not wedge: what was\n"
"notified to a dying waiter goes to the next, and its lock can be had.\n"
"wait() and notify() raise AssertionError where the lock is not held.\n\n"
"`ctx` is accepted and means nothing; the other keywords are those of\n"
"ipcsys.Condition.");

static PyMethodDef condition_methods[] = {
    {"acquire", IPS_MP_FAST(condition_acquire), acquire_doc},
    IPS_MP_LOOKS,
    {NULL, NULL, 0, NULL},
};

static PyType_Slot condition_slots[] = {
    {Py_tp_doc, (void *)condition_doc},
    {Py_tp_init, (void *)condition_init},
    {Py_tp_repr, (void *)condition_repr},
    {Py_tp_methods, condition_methods},
    {0, NULL},
};

static PyType_Spec condition_spec = {
    .name = "ipcsys.mp.Condition",
    .basicsize = sizeof(ips_condition_object),
    /* The collector's flag is inherited, with what it needs. */
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = condition_slots,
};

int
ips_add_mp_condition(PyObject *module, ips_state *state)
{
    PyObject *base = (PyObject *)state->condition_type;
    PyObject *type = PyType_FromModuleAndSpec(module, &condition_spec, base);
    state->mp_condition_type = (PyTypeObject *)type;
    return type == NULL ? -1 : PyModule_AddObjectRef(module, "MpCondition", type);
}
