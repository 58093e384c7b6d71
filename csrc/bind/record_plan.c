/* SPDX-License-Identifier: Apache-2.0 */
/* How a handle comes to know where its fields lie. */
#include "bind/record.h"

#include <stdlib.h>

#include "os/clock.h"

#define PLAN "ipcsys.record_plan"
#define ATTEMPTS 64 /* upgrades by others that may come in between */

PyObject *
ips_schema_call(const char *name, PyObject *args, PyObject *kwargs)
{
    PyObject *module = PyImport_ImportModule("ipcsys.schema");
    PyObject *function = module == NULL ? NULL : PyObject_GetAttrString(module, name);
    PyObject *result = function == NULL || args == NULL ? NULL
        : PyObject_Call(function, args, kwargs);
    Py_XDECREF(module);
    Py_XDECREF(function);
    return result;
}

enum { FIELDS, LAYOUT, PLANS };

/* An attribute of the class that must be of `type`; new reference.  By an
 * interned name, which the interpreter finds at once. */
static PyObject *
attribute(ips_state *state, PyTypeObject *class, int which, PyTypeObject *type)
{
    static const char *const names[] = {
        [FIELDS] = "__record_fields__", [LAYOUT] = "__record_layout__",
        [PLANS] = "__record_plans__"};
    PyObject **name = &state->record_names[which];
    if (*name == NULL && (*name = PyUnicode_InternFromString(names[which])) == NULL) {
        return NULL;
    }
    PyObject *value = PyObject_GetAttr((PyObject *)class, *name);
    if (value == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Format(PyExc_TypeError, "%.100s has no fields: derive a class from it that does",
            class->tp_name);
    } else if (value != NULL && !PyObject_TypeCheck(value, type)) {
        PyErr_Format(PyExc_TypeError, "%.100s.%U was changed", class->tp_name, *name);
        Py_CLEAR(value);
    }
    return value;
}

PyObject *
ips_record_fields_of(ips_state *state, PyTypeObject *class)
{
    return attribute(state, class, FIELDS, &PyTuple_Type);
}

ips_record_layout *
ips_record_layout_of(ips_state *state, PyTypeObject *class)
{
    return (ips_record_layout *)attribute(state, class, LAYOUT, state->record_layout_type);
}

/* --- plans */

static void
free_plan(PyObject *capsule)
{
    free(PyCapsule_GetPointer(capsule, PLAN));
}

static void
place_field(const ips_field *stored, const ips_field *declared, ips_record_place *out)
{
    const uint64_t size = ips_field_size(stored);
    *out = (ips_record_place){.field = *stored};
    out->skip = ips_field_is_slot(stored) ? 0 : stored->offset % 8;
    out->part = (ips_record_part){stored->offset - out->skip, (uint32_t)size + out->skip,
        ips_field_is_slot(stored)};
    out->retyped = stored->type != declared->type || stored->count != declared->count ||
                   ((stored->flags ^ declared->flags) & IPS_FIELD_NULLABLE) != 0;
}

/* A capsule with the plan of `class` for the stored layout; `map` says which
 * stored field each declared one is. */
static PyObject *
make_plan(ips_state *state, PyTypeObject *class, const ips_record_layout *stored, PyObject *map)
{
    ips_record_layout *declared = ips_record_layout_of(state, class);
    if (declared == NULL) {
        return NULL;
    }
    const uint32_t count = declared->schema.head.fields;
    ips_record_plan *plan = NULL;
    if (!PyTuple_Check(map) || PyTuple_GET_SIZE(map) != (Py_ssize_t)count) {
        PyErr_SetString(PyExc_TypeError, "a map of another number of fields");
    } else {
        plan = calloc(1, sizeof *plan + count * sizeof plan->places[0]);
        if (plan == NULL) {
            PyErr_NoMemory();
        }
    }
    for (uint32_t i = 0; plan != NULL && i < count; i++) {
        const long index = PyLong_AsLong(PyTuple_GET_ITEM(map, i));
        plan->places[i].missing = true;
        if (index >= 0 && index < (long)stored->schema.head.fields) {
            place_field(&stored->schema.field[index], &declared->schema.field[i],
                &plan->places[i]);
        }
    }
    Py_DECREF(declared);
    if (plan == NULL) {
        return NULL;
    }
    plan->owner = class;
    plan->count = count;
    PyObject *capsule = PyErr_Occurred() != NULL ? NULL : PyCapsule_New(plan, PLAN, free_plan);
    if (capsule == NULL) {
        free(plan);
    }
    return capsule;
}

/* From now on the handle goes by these. */
static int
use_plan(ips_record_object *self, const ips_record *record, PyObject *capsule)
{
    const ips_record_plan *plan = PyCapsule_GetPointer(capsule, PLAN);
    if (plan == NULL) {
        return -1;
    }
    PyObject *before = self->plan_keeper;
    self->record = *record;
    self->plan = plan;
    self->plan_keeper = Py_NewRef(capsule);
    Py_XDECREF(before);
    return 0;
}

/* --- the layout as it is now */

typedef struct {
    ips_record *record;
    uint8_t *layout;
    size_t size;
} attaching;

static int
act_attach(void *context)
{
    attaching *job = context;
    free(job->layout); /* of an attempt that had to wait */
    return ips_record_attach_locked(job->record, &job->layout, &job->size);
}

/* A RecordLayout, and the handle as it would have to be for that.  On a copy:
 * another thread may use the handle while this one waits for the lock. */
static PyObject *
read_layout(ips_record_object *self, ips_record *record)
{
    attaching job = {.record = record};
    if (ips_container_check(&self->base) < 0) {
        return NULL;
    }
    *record = self->record;
    int status = ips_record_attach(job.record, &job.layout, &job.size);
    if (status == IPS_RECORD_BUSY) {
        job.layout = NULL;
        status = ips_container_run(&self->base, act_attach, &job, 0);
    } else if (status < 0) {
        (void)ips_raise(self->base.state, status);
    }
    if (status < 0) {
        free(job.layout);
        return NULL;
    }
    return ips_record_layout_new(self->base.state, job.layout, job.size);
}

PyObject *
ips_record_object_layout(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_record record;
    ips_record_object *self = (ips_record_object *)object;
    PyObject *layout = read_layout(self, &record);
    if (layout != NULL) {
        self->plan = NULL; /* until a field is used */
        self->record = record;
    }
    return layout;
}

/* 1 with a plan in use, 0 to look again, -1. */
static int
attach_once(ips_record_object *self, PyObject *plans)
{
    PyTypeObject *class = Py_TYPE(self);
    ips_record record;
    self->plan = NULL; /* what it knew is out of date, and must not be used if this fails */
    ips_record_layout *stored = (ips_record_layout *)read_layout(self, &record);
    PyObject *hash = stored == NULL ? NULL : PyLong_FromUnsignedLongLong(stored->schema.hash);
    PyObject *plan = hash == NULL ? NULL : Py_XNewRef(PyDict_GetItemWithError(plans, hash));
    int status = -1;
    if (plan == NULL && PyErr_Occurred() == NULL) {
        PyObject *args = PyTuple_Pack(2, self, stored);
        PyObject *map = ips_schema_call("resolve", args, NULL);
        Py_XDECREF(args);
        status = map == Py_None ? 0 : -1; /* upgraded */
        plan = map == NULL || status == 0 ? NULL
            : make_plan(self->base.state, class, stored, map);
        if (plan != NULL && PyDict_SetItem(plans, hash, plan) < 0) {
            Py_CLEAR(plan);
        }
        Py_XDECREF(map);
    }
    /* resolve() may have run anything: is it still open? */
    if (plan != NULL && ips_container_check(&self->base) == 0) {
        status = use_plan(self, &record, plan) < 0 ? -1 : 1;
    } else if (plan != NULL) {
        status = -1;
    }
    Py_XDECREF(plan);
    Py_XDECREF(hash);
    Py_XDECREF(stored);
    return status;
}

int
ips_record_object_attach(ips_record_object *self)
{
    PyObject *plans = attribute(self->base.state, Py_TYPE(self), PLANS, &PyDict_Type);
    int status = plans == NULL ? -1 : 0;
    for (int attempt = 0; status == 0 && attempt < ATTEMPTS; attempt++) {
        status = attach_once(self, plans);
    }
    Py_XDECREF(plans);
    if (status == 0) {
        (void)ips_raise_text(self->base.state, IPS_EAGAIN, "the record's layout kept changing");
    }
    return status == 1 ? 0 : -1;
}
