/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/flat.h"

typedef struct {
    const ips_flat_kind *kind;
    const ips_snapshot *values;
} beginning;

static int
create(ips_segment *segment, void *context, ips_offset *root)
{
    const beginning *start = (const beginning *)context;
    const ips_flat_kind *kind = start->kind;
    return ips_flat_create(segment, kind->type, kind->format.size, kind->format.code, root);
}

static int
fill(ips_segment *segment, ips_offset root, uint64_t generation, void *context)
{
    const beginning *start = (const beginning *)context;
    ips_flat flat;
    int status = ips_flat_open(segment, start->kind->type, root, generation, &flat);
    return status < 0 ? status : ips_flat_splice(&flat, IPS_SPAN_ALL, start->values);
}

static int
open_row(ips_sequence *self, const ips_flat_kind *kind)
{
    const ips_home *home = &self->base.home;
    self->format = &kind->format;
    self->base.handle = &self->flat;
    int status = ips_flat_open(home->segment, kind->type, home->root, home->generation,
        &self->flat);
    if (status == 0 && self->flat.size != kind->format.size) {
        status = ips_fail(IPS_ECORRUPT, "a %s of an unknown format", ips_type_name(kind->type));
    }
    if (status < 0) {
        (void)ips_raise(self->base.state, status);
        Py_XDECREF(ips_container_close((PyObject *)self, NULL));
        return -1;
    }
    return 0;
}

int
ips_flat_object_open(ips_sequence *self, const ips_container_where *where,
    const ips_flat_kind *kind, const ips_snapshot *values)
{
    beginning start = {kind, values};
    const ips_container_maker maker = {kind->type, false, create,
        values->records != 0 ? fill : NULL, &start, values->size};
    return ips_container_open(&self->base, where, &maker) < 0 ? -1 : open_row(self, kind);
}

PyObject *
ips_flat_object_restore(PyObject *class, PyObject *args, const ips_flat_kind *kind)
{
    PyTypeObject *type = (PyTypeObject *)class;
    ips_sequence *self = (ips_sequence *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->base.state = ips_state_of_type(type);
    if (self->base.state == NULL ||
        ips_container_restore_into(&self->base, args, kind->type) < 0 ||
        open_row(self, kind) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static int
act_check(void *context)
{
    ips_checking *job = (ips_checking *)context;
    return ips_flat_check((const ips_flat *)job->handle, ips_container_report, job);
}

PyObject *
ips_flat_object_check(PyObject *self, PyObject *unused)
{
    (void)unused;
    return ips_container_lines((ips_container *)self, act_check);
}

int
ips_name_first(PyObject **args, PyObject **kwargs)
{
    Py_ssize_t count = PyTuple_GET_SIZE(*args);
    PyObject *name = *kwargs == NULL || count == 0 ? NULL
        : PyDict_GetItemString(*kwargs, "name");
    if (name == NULL || PyDict_GetItemString(*kwargs, "segment") == NULL) {
        Py_INCREF(*args);
        Py_XINCREF(*kwargs);
        return 0;
    }
    PyObject *all = PyTuple_New(count + 1);
    PyObject *others = all == NULL ? NULL : PyDict_Copy(*kwargs);
    if (others == NULL) {
        Py_XDECREF(all);
        return -1;
    }
    PyTuple_SET_ITEM(all, 0, Py_NewRef(name));
    for (Py_ssize_t i = 0; i < count; i++) {
        PyTuple_SET_ITEM(all, i + 1, Py_NewRef(PyTuple_GET_ITEM(*args, i)));
    }
    if (PyDict_DelItemString(others, "name") < 0) {
        Py_DECREF(all);
        Py_DECREF(others);
        return -1;
    }
    *args = all;
    *kwargs = others;
    return 0;
}

int
ips_flat_add_methods(PyTypeObject *type, PyMethodDef *methods)
{
    int status = 0;
    for (PyMethodDef *each = methods; status == 0 && each->ml_name != NULL; each++) {
        PyObject *method = PyDescr_NewMethod(type, each);
        status = method == NULL ? -1
            : PyObject_SetAttrString((PyObject *)type, each->ml_name, method);
        Py_XDECREF(method);
    }
    return status;
}
