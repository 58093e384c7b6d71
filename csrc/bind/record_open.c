/* SPDX-License-Identifier: Apache-2.0 */
/* Records opened: made with the values given, found, unpickled. */
#include "bind/record.h"

#include <stdlib.h>
#include <string.h>

#include "bind/pickled.h"

/* --- the values it starts with */

/* What a constructor was given, encoded. */
typedef struct {
    const ips_schema *schema;
    ips_encoded *encoded;
    ips_value *values; /* NULL: none, it must be there */
    uint32_t count;
    size_t weight;
} beginning;

static void
clear_beginning(beginning *start)
{
    for (uint32_t i = 0; i < start->count; i++) {
        ips_encoded_clear(&start->encoded[i]);
    }
    free(start->encoded);
    free(start->values);
}

static int
too_many(PyTypeObject *class, Py_ssize_t fields, Py_ssize_t given)
{
    PyErr_Format(PyExc_TypeError, "%.100s has %zd fields, but %zd values were given",
        class->tp_name, fields, given);
    return -1;
}

/* The value for one field: given by place, by name, or its default.  New
 * reference; NULL without an exception where there is none. */
static PyObject *
value_for(PyTypeObject *class, const ips_record_field *field, PyObject *args, PyObject *kwargs)
{
    PyObject *named = kwargs == NULL ? NULL : PyDict_GetItemWithError(kwargs, field->name);
    if (named == NULL && PyErr_Occurred() != NULL) {
        return NULL;
    }
    if ((Py_ssize_t)field->index < PyTuple_GET_SIZE(args)) {
        return named == NULL ? Py_NewRef(PyTuple_GET_ITEM(args, field->index))
            : PyErr_Format(PyExc_TypeError, "%.100s got two values for field %U", class->tp_name,
                  field->name);
    }
    return named != NULL ? Py_NewRef(named) : ips_record_field_default(field);
}

static int
refuse_unknown(PyTypeObject *class, PyObject *fields, PyObject *kwargs)
{
    Py_ssize_t at = 0;
    PyObject *name, *value;
    while (kwargs != NULL && PyDict_Next(kwargs, &at, &name, &value)) {
        bool known = false;
        for (Py_ssize_t i = 0; !known && i < PyTuple_GET_SIZE(fields); i++) {
            known = PyUnicode_Compare(name,
                        ((ips_record_field *)PyTuple_GET_ITEM(fields, i))->name) == 0;
        }
        if (!known) {
            PyErr_Format(PyExc_TypeError, "%.100s has no field %R", class->tp_name, name);
            return -1;
        }
    }
    return 0;
}

static int
encode_value(ips_state *state, PyTypeObject *class, const ips_record_field *field, PyObject *value,
    beginning *start)
{
    if (value == NULL) {
        if (PyErr_Occurred() == NULL) {
            PyErr_Format(PyExc_TypeError, "%.100s needs a value for field %U", class->tp_name,
                field->name);
        }
        return -1;
    }
    ips_encoded *encoded = &start->encoded[start->count];
    if (ips_record_encode(state, &field->field, value, field->name, encoded) < 0) {
        return -1;
    }
    start->values[start->count++] = (ips_value){encoded->bytes, encoded->size, encoded->kind};
    start->weight += encoded->size;
    return 0;
}

static int
encode_all(ips_state *state, PyTypeObject *class, PyObject *args, PyObject *kwargs,
    beginning *start)
{
    PyObject *fields = ips_record_fields_of(state, class);
    const Py_ssize_t count = fields == NULL ? 0 : PyTuple_GET_SIZE(fields);
    int status = fields == NULL ? -1 : refuse_unknown(class, fields, kwargs);
    if (status == 0 && PyTuple_GET_SIZE(args) > count) {
        status = too_many(class, count, PyTuple_GET_SIZE(args));
    }
    if (status == 0) {
        start->encoded = calloc((size_t)count + 1, sizeof *start->encoded);
        start->values = calloc((size_t)count + 1, sizeof *start->values);
        status = start->encoded != NULL && start->values != NULL ? 0 : (PyErr_NoMemory(), -1);
    }
    for (Py_ssize_t i = 0; status == 0 && i < count; i++) {
        const ips_record_field *field = (ips_record_field *)PyTuple_GET_ITEM(fields, i);
        PyObject *value = value_for(class, field, args, kwargs);
        status = encode_value(state, class, field, value, start);
        Py_XDECREF(value);
    }
    Py_XDECREF(fields);
    return status;
}

/* --- opened */

static int
create(ips_segment *segment, void *context, ips_offset *root)
{
    const beginning *start = context;
    return start->values == NULL ? ips_fail(IPS_ENOENT, "no record of that name")
                                 : ips_record_create(segment, start->schema, start->values, root);
}

/* The core's handle of what home names; the layout is looked at afterwards. */
static int
open_root(ips_record_object *self)
{
    const ips_home *home = &self->base.home;
    int status = ips_record_open(home->segment, home->root, home->generation, &self->record);
    if (status < 0) {
        (void)ips_raise(self->base.state, status);
        return -1;
    }
    return 0;
}

static int
give_up(ips_record_object *self)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    Py_XDECREF(ips_container_close((PyObject *)self, NULL));
    PyErr_Restore(type, value, traceback);
    return -1;
}

/* Values are wanted only where it has to be made: a complaint about them waits
 * until that is known. */
static int
open_or_make(ips_record_object *self, const ips_container_where *where, PyObject *args,
    PyObject *kwargs)
{
    PyObject *type = NULL, *value = NULL, *traceback = NULL;
    beginning start = {0};
    ips_state *state = self->base.state;
    ips_record_layout *layout = ips_record_layout_of(state, Py_TYPE(self));
    if (layout == NULL) {
        return -1;
    }
    start.schema = &layout->schema;
    if (where->create != Py_False &&
        encode_all(state, Py_TYPE(self), args, kwargs, &start) < 0) {
        if (where->create == Py_True || !PyErr_ExceptionMatches(PyExc_TypeError)) {
            clear_beginning(&start);
            Py_DECREF(layout);
            return -1;
        }
        PyErr_Fetch(&type, &value, &traceback);
        free(start.values);
        start.values = NULL;
    }
    const ips_container_maker maker = {IPS_TYPE_RECORD, false, create, NULL, &start,
        start.weight + layout->schema.head.body};
    int status = ips_container_open(&self->base, where, &maker);
    if (status < 0 && type != NULL && PyErr_ExceptionMatches(state->errors[IPS_ORDINAL_NOENT])) {
        PyErr_Restore(type, value, traceback);
        type = value = traceback = NULL;
    }
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    clear_beginning(&start);
    Py_DECREF(layout);
    return status;
}

static int
begin(ips_record_object *self, const ips_container_where *where, PyObject *args, PyObject *kwargs)
{
    if (open_or_make(self, where, args, kwargs) < 0) {
        return -1;
    }
    return open_root(self) < 0 || ips_record_object_attach(self) < 0 ? give_up(self) : 0;
}

/* Keywords that say where it stands, unless a field has that name: taken out of
 * `rest`, borrowed from `kwargs`. */
static int
split_keywords(const ips_record_object *self, PyObject *kwargs, ips_container_where *where,
    PyObject *rest)
{
    static const char *const names[] = {IPS_CONTAINER_KEYWORDS};
    PyObject **const places[] = {IPS_CONTAINER_WHERE(*where)};
    PyObject *fields = ips_record_fields_of(self->base.state, Py_TYPE(self));
    int status = fields == NULL ? -1 : 0;
    for (size_t i = 0; status == 0 && i < sizeof names / sizeof names[0]; i++) {
        bool is_field = false;
        for (Py_ssize_t j = 0; !is_field && j < PyTuple_GET_SIZE(fields); j++) {
            is_field = PyUnicode_CompareWithASCIIString(
                ((ips_record_field *)PyTuple_GET_ITEM(fields, j))->name, names[i]) == 0;
        }
        *places[i] = is_field ? NULL : PyDict_GetItemString(kwargs, names[i]);
        if (*places[i] != NULL) {
            status = PyDict_DelItemString(rest, names[i]);
        }
    }
    Py_XDECREF(fields);
    return status;
}

int
ips_record_object_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    ips_record_object *self = (ips_record_object *)object;
    ips_container_where where = {0};
    self->base.state = ips_state_of_type(Py_TYPE(object));
    PyObject *rest = kwargs == NULL ? NULL : PyDict_Copy(kwargs);
    int status = self->base.state == NULL || (kwargs != NULL && rest == NULL) ? -1 : 0;
    if (status == 0 && kwargs != NULL) {
        status = split_keywords(self, kwargs, &where, rest);
    }
    if (status == 0) {
        status = begin(self, &where, args, rest);
    }
    Py_XDECREF(rest);
    return status;
}

static ips_record_object *
allocate(ips_state *state, PyTypeObject *class)
{
    ips_record_object *self = (ips_record_object *)class->tp_alloc(class, 0);
    if (self != NULL) {
        self->base.state = state;
    }
    return self;
}

PyObject *
ips_record_construct(ips_state *state, PyTypeObject *class, const ips_container_where *where,
    PyObject *args, PyObject *kwargs)
{
    ips_record_object *self = allocate(state, class);
    if (self != NULL && begin(self, where, args, kwargs) < 0) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

/* --- without a class: one is made for the layout */

/* What `probe`, open and without a plan, stands for, as an object of a class
 * of its own.  Takes the probe over. */
static PyObject *
as_generic(ips_state *state, ips_record_object *probe)
{
    PyObject *layout = ips_record_object_layout((PyObject *)probe, NULL);
    PyObject *args = layout == NULL ? NULL : PyTuple_Pack(1, layout);
    PyObject *class = args == NULL ? NULL : ips_schema_call("generic", args, NULL);
    ips_record_object *self = class == NULL ? NULL : allocate(state, (PyTypeObject *)class);
    if (self != NULL) {
        self->base.home = probe->base.home;
        self->record = probe->record;
        ips_gate_open(&self->base.gate);
        probe->base.home = (ips_home){.keeper = NULL};
        if (ips_record_object_attach(self) < 0) {
            Py_CLEAR(self);
        }
    }
    Py_XDECREF(layout);
    Py_XDECREF(args);
    Py_XDECREF(class);
    Py_DECREF(probe);
    return (PyObject *)self;
}

PyObject *
ips_record_find(ips_state *state, PyTypeObject *class, PyObject *segment, PyObject *key)
{
    const ips_container_where where = {.name = key, .segment = segment, .create = Py_False};
    PyObject *none = PyTuple_New(0);
    PyObject *result = NULL;
    if (none != NULL && class != NULL && class != state->record_type) {
        result = ips_record_construct(state, class, &where, none, NULL);
    } else if (none != NULL) {
        const ips_container_maker maker = {IPS_TYPE_RECORD, false, create, NULL,
            &(beginning){0}, 0};
        ips_record_object *probe = allocate(state, state->record_type);
        if (probe != NULL && (ips_container_open(&probe->base, &where, &maker) < 0 ||
                                 open_root(probe) < 0)) {
            Py_CLEAR(probe);
        }
        result = probe == NULL ? NULL : as_generic(state, probe);
    }
    Py_XDECREF(none);
    return result;
}

PyObject *
ips_record_object_restore(PyObject *type, PyObject *args)
{
    ips_state *state = ips_state_of_type((PyTypeObject *)type);
    ips_record_object *self = state == NULL ? NULL : allocate(state, (PyTypeObject *)type);
    if (self == NULL) {
        return NULL;
    }
    ips_gate_open(&self->base.gate);
    if (ips_container_restore_into(&self->base, args, IPS_TYPE_RECORD) < 0 ||
        open_root(self) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    if ((PyTypeObject *)type == state->record_type) {
        return as_generic(state, self);
    }
    if (ips_record_object_attach(self) < 0) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

PyObject *
ips_record_object_reduce(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_record_object *self = (ips_record_object *)object;
    if (ips_container_check(&self->base) < 0) {
        return NULL;
    }
    PyObject *generic = PyObject_GetAttrString((PyObject *)Py_TYPE(object), "__record_generic__");
    if (generic == NULL) {
        PyErr_Clear();
        return ips_container_reduce(object, NULL);
    }
    Py_DECREF(generic); /* a class that nobody can import */
    PyObject *restore = PyObject_GetAttrString((PyObject *)self->base.state->record_type,
        "_restore");
    PyObject *place = restore == NULL ? NULL : ips_home_pickled(self->base.state,
        &self->base.home);
    PyObject *result = place == NULL ? NULL : PyTuple_Pack(2, restore, place);
    Py_XDECREF(restore);
    Py_XDECREF(place);
    return result;
}
