/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.mp.Semaphore and BoundedSemaphore: those of ipcsys with
 * multiprocessing's rules. */
#include "bind/mp.h"
#include "bind/semaphore.h"
#include "os/clock.h"

static int
semaphore_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    return state == NULL ? -1 : ips_mp_init(state->semaphore_type->tp_init, self, args, kwargs);
}

static int
bounded_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    return state == NULL ? -1
                         : ips_mp_init(state->bounded_semaphore_type->tp_init, self, args, kwargs);
}

PyDoc_STRVAR(acquire_doc, IPS_MP_ACQUIRE_TEXT
"Take a permit: True, or False when none could be had in time.\n\n"
"Negative timeouts act as zero, None waits for ever.");

static PyObject *
semaphore_acquire(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    int64_t deadline = IPS_FOREVER;
    if ((count != 0 || keywords != NULL)
        && ips_mp_acquire_deadline(args, count, keywords, &deadline) < 0) {
        return NULL;
    }
    return ips_semaphore_object_acquire((ips_semaphore_object *)self, deadline);
}

/* --- looking -------------------------------------------------------------- */

static PyObject *
semaphore_get_value(PyObject *self, PyObject *unused)
{
    (void)unused;
    return ips_semaphore_object_value((ips_semaphore_object *)self);
}

static PyObject *
semaphore_is_zero(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_semaphore_object *self = (ips_semaphore_object *)object;
    return !ips_cell_is_usable(&self->cell)
               ? ips_cell_raise_closed(&self->cell)
               : PyBool_FromLong(ips_semaphore_value(&self->semaphore) == 0);
}

static PyObject *
semaphore_repr(PyObject *object)
{
    ips_semaphore_object *self = (ips_semaphore_object *)object;
    PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(object), "__name__");
    if (name == NULL) {
        return NULL;
    }
    const ips_semaphore *semaphore = &self->semaphore;
    PyObject *text;
    if (!ips_cell_is_usable(&self->cell)) {
        text = PyUnicode_FromFormat("<%U(closed)>", name);
    } else if (semaphore->bounded) {
        text = PyUnicode_FromFormat("<%U(value=%lld, maxvalue=%lld)>", name,
                                    (long long)ips_semaphore_value(semaphore),
                                    (long long)semaphore->initial);
    } else {
        text = PyUnicode_FromFormat("<%U(value=%lld)>", name,
                                    (long long)ips_semaphore_value(semaphore));
    }
    Py_DECREF(name);
    return text;
}

/* --- the types ------------------------------------------------------------ */

#define KEYWORDS                                                                               \
"(value=1, *, ctx=None, owned=True, name=None, namespace=None, create=None, cleanup=None, "    \
"segment=None)\n--\n\n"
#define MANNERS                                                                                \
"The permits that a process holds at its death come back, as far as permits are\n"             \
"missing from the initial value; one that counts what processes make for each\n"               \
"other, from 0 on, gains none.  With owned=False none ever come back.\n\n"                     \
"`ctx` is accepted and means nothing; the other keywords are those of\n"

PyDoc_STRVAR(semaphore_doc, "Semaphore" KEYWORDS
"multiprocessing.Semaphore that a killed process does not drain.\n\n" MANNERS
"ipcsys.Semaphore.");

PyDoc_STRVAR(bounded_doc, "BoundedSemaphore" KEYWORDS
"multiprocessing.BoundedSemaphore that a killed process does not drain.\n\n" MANNERS
"ipcsys.BoundedSemaphore.");

static PyMethodDef semaphore_methods[] = {
    {"acquire", IPS_MP_FAST(semaphore_acquire), acquire_doc},
    {"get_value", semaphore_get_value, METH_NOARGS,
     "get_value($self, /)\n--\n\nPermits that are free now."},
    {"_get_value", semaphore_get_value, METH_NOARGS,
     "_get_value($self, /)\n--\n\nget_value()."},
    {"_is_zero", semaphore_is_zero, METH_NOARGS,
     "_is_zero($self, /)\n--\n\nWhether no permit is free."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef semaphore_getsets[] = {
    IPS_MP_SEMLOCK,
    {NULL, NULL, NULL, NULL, NULL},
};

#define SLOTS(doc, init)                                                                       \
    {{Py_tp_doc, (void *)doc},                                                                 \
     {Py_tp_init, (void *)init},                                                               \
     {Py_tp_dealloc, (void *)ips_cell_dealloc},                                                \
     {Py_tp_repr, (void *)semaphore_repr},                                                     \
     {Py_tp_methods, semaphore_methods},                                                       \
     {Py_tp_getset, semaphore_getsets},                                                        \
     {0, NULL}}

static PyType_Slot semaphore_slots[] = SLOTS(semaphore_doc, semaphore_init);
static PyType_Slot bounded_slots[] = SLOTS(bounded_doc, bounded_init);

static PyType_Spec semaphore_spec = {
    .name = "ipcsys.mp.Semaphore",
    .basicsize = sizeof(ips_semaphore_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = semaphore_slots,
};

static PyType_Spec bounded_spec = {
    .name = "ipcsys.mp.BoundedSemaphore",
    .basicsize = sizeof(ips_semaphore_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = bounded_slots,
};

int
ips_add_mp_semaphore(PyObject *module, ips_state *state)
{
    PyObject *bases[] = {(PyObject *)state->semaphore_type,
                         (PyObject *)state->bounded_semaphore_type};
    PyObject *type = PyType_FromModuleAndSpec(module, &semaphore_spec, bases[0]);
    state->mp_semaphore_type = (PyTypeObject *)type;
    PyObject *bounded = type == NULL ? NULL
                                     : PyType_FromModuleAndSpec(module, &bounded_spec, bases[1]);
    state->mp_bounded_semaphore_type = (PyTypeObject *)bounded;
    return bounded == NULL || PyModule_AddObjectRef(module, "MpSemaphore", type) < 0
        ? -1 : PyModule_AddObjectRef(module, "MpBoundedSemaphore", bounded);
}
