/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys._core.RecordLayout: a descriptor as an object, of a declaration or of
 * what is stored.  Made and compared by ipcsys/schema.py. */
#include "bind/record.h"

#include <stdlib.h>
#include <string.h>

static ips_record_layout *
layout_alloc(ips_state *state, uint8_t *bytes_taken, size_t size)
{
    PyTypeObject *type = state->record_layout_type;
    ips_record_layout *self = (ips_record_layout *)type->tp_alloc(type, 0);
    if (self == NULL) {
        free(bytes_taken);
        return NULL;
    }
    self->bytes = bytes_taken;
    int status = ips_schema_parse(self->bytes, size, &self->schema);
    if (status < 0) {
        (void)ips_raise(state, status);
        Py_CLEAR(self);
    }
    return self;
}

PyObject *
ips_record_layout_new(ips_state *state, uint8_t *bytes_taken, size_t size)
{
    return (PyObject *)layout_alloc(state, bytes_taken, size);
}

static void
layout_dealloc(PyObject *object)
{
    ips_record_layout *self = (ips_record_layout *)object;
    PyTypeObject *type = Py_TYPE(object);
    free(self->bytes);
    free(self->declared);
    type->tp_free(object);
    Py_DECREF(type);
}

/* --- built */

/* Specs with the texts they point to. */
typedef struct {
    ips_field_spec *fields;
    ips_text *aliases; /* of all fields, one after the other */
} specs;

static int
text_of(PyObject *text, ips_text *out)
{
    Py_ssize_t size;
    const char *utf8 = PyUnicode_AsUTF8AndSize(text, &size);
    if (utf8 == NULL) {
        return -1;
    }
    if (size > UINT16_MAX) {
        PyErr_SetString(PyExc_ValueError, "a name of more than 65535 bytes");
        return -1;
    }
    *out = (ips_text){(const uint8_t *)utf8, (uint32_t)size};
    return 0;
}

/* One (name, type, count, flags, aliases). */
static int
read_field(PyObject *given, ips_field_spec *out, ips_text *aliases)
{
    PyObject *name, *names;
    unsigned type, count, flags;
    if (!PyArg_ParseTuple(given, "UIIIO!:field", &name, &type, &count, &flags, &PyTuple_Type,
            &names) ||
        text_of(name, &out->name) < 0) {
        return -1;
    }
    if (ips_field_width((uint8_t)type) == 0 || type > UINT8_MAX) {
        PyErr_SetString(PyExc_ValueError, "no such type of a field");
        return -1;
    }
    out->type = (uint8_t)type;
    out->flags = (uint8_t)flags;
    out->count = count;
    out->aliases = aliases;
    out->alias_count = (uint32_t)PyTuple_GET_SIZE(names);
    for (uint32_t i = 0; i < out->alias_count; i++) {
        PyObject *alias = PyTuple_GET_ITEM(names, i);
        if (!PyUnicode_Check(alias)) {
            PyErr_SetString(PyExc_TypeError, "a field's former names must be str");
            return -1;
        }
        if (text_of(alias, &aliases[i]) < 0) {
            return -1;
        }
    }
    return 0;
}

/* How many former names all fields have; -1 with an exception set. */
static Py_ssize_t
count_aliases(PyObject *fields)
{
    Py_ssize_t total = 0;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(fields); i++) {
        PyObject *field = PyTuple_GET_ITEM(fields, i);
        if (!PyTuple_Check(field) || PyTuple_GET_SIZE(field) != 5 ||
            !PyTuple_Check(PyTuple_GET_ITEM(field, 4))) {
            PyErr_SetString(PyExc_TypeError, "fields must be (name, type, count, flags, aliases)");
            return -1;
        }
        total += PyTuple_GET_SIZE(PyTuple_GET_ITEM(field, 4));
    }
    return total;
}

static int
read_fields(PyObject *fields, specs *out)
{
    const Py_ssize_t aliases = count_aliases(fields);
    const Py_ssize_t count = PyTuple_GET_SIZE(fields);
    out->fields = aliases < 0 ? NULL : calloc((size_t)count + 1, sizeof *out->fields);
    out->aliases = aliases < 0 ? NULL : calloc((size_t)aliases + 1, sizeof *out->aliases);
    if (out->fields == NULL || out->aliases == NULL) {
        return aliases < 0 ? -1 : (PyErr_NoMemory(), -1);
    }
    ips_text *next = out->aliases;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (read_field(PyTuple_GET_ITEM(fields, i), &out->fields[i], next) < 0) {
            return -1;
        }
        next += out->fields[i].alias_count;
    }
    return 0;
}

/* The parsed fields once more, with the flags that are not stored. */
static int
keep_declared(ips_record_layout *self, const ips_field_spec *fields)
{
    const uint32_t count = self->schema.head.fields;
    self->declared = malloc((count + 1) * sizeof *self->declared);
    if (self->declared == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (uint32_t i = 0; i < count; i++) {
        self->declared[i] = self->schema.field[i];
        self->declared[i].flags |= fields[i].flags & IPS_FIELD_DEFAULT;
    }
    return 0;
}

PyDoc_STRVAR(build_doc, "build(name, version, floor, fields, /)\n--\n\n"
    "A layout of these fields: tuples (name, type, count, flags, former names).");

static PyObject *
layout_build(PyObject *class, PyObject *args)
{
    PyObject *name, *fields;
    ips_schema_spec spec;
    specs read = {0};
    uint8_t *bytes;
    size_t size;
    ips_state *state = ips_state_of_type((PyTypeObject *)class);
    if (state == NULL ||
        !PyArg_ParseTuple(args, "UIIO!:build", &name, &spec.version, &spec.floor, &PyTuple_Type,
            &fields) ||
        text_of(name, &spec.name) < 0) {
        return NULL;
    }
    ips_record_layout *self = NULL;
    if (read_fields(fields, &read) == 0) {
        spec.fields = read.fields;
        spec.count = (uint32_t)PyTuple_GET_SIZE(fields);
        int status = ips_schema_build(&spec, &bytes, &size);
        self = status < 0 ? (ips_record_layout *)ips_raise(state, status)
                          : layout_alloc(state, bytes, size);
    }
    if (self != NULL && keep_declared(self, read.fields) < 0) {
        Py_CLEAR(self);
    }
    free(read.fields);
    free(read.aliases);
    return (PyObject *)self;
}

/* --- compared */

static PyObject *
map_tuple(const int32_t *map, uint32_t count)
{
    PyObject *tuple = PyTuple_New(count);
    for (uint32_t i = 0; tuple != NULL && i < count; i++) {
        PyObject *index = PyLong_FromLong(map[i]);
        if (index == NULL) {
            Py_CLEAR(tuple);
        } else {
            PyTuple_SET_ITEM(tuple, i, index);
        }
    }
    return tuple;
}

static PyObject *
changes_tuple(const ips_schema_comparison *found)
{
    PyObject *tuple = PyTuple_New(found->count);
    for (uint32_t i = 0; tuple != NULL && i < found->count; i++) {
        const ips_schema_change *change = &found->changes[i];
        PyObject *item = Py_BuildValue("(Iii)", change->what, change->stored, change->declared);
        if (item == NULL) {
            Py_CLEAR(tuple);
        } else {
            PyTuple_SET_ITEM(tuple, i, item);
        }
    }
    return tuple;
}

PyDoc_STRVAR(compare_doc, "compare($self, stored, /)\n--\n\n"
    "This declaration beside what is stored: (fit, reasons, for each field the index of the\n"
    "stored one or -1, changes); the numbers are those of csrc/codec/schema.h.");

static PyObject *
layout_compare(PyObject *object, PyObject *other)
{
    if (!Py_IS_TYPE(other, Py_TYPE(object))) {
        return PyErr_Format(PyExc_TypeError, "compare() wants a RecordLayout, not %.100s",
            Py_TYPE(other)->tp_name);
    }
    const ips_record_layout *self = (ips_record_layout *)object;
    const ips_schema *stored = &((ips_record_layout *)other)->schema;
    ips_schema declared = self->schema;
    declared.field = self->declared != NULL ? self->declared : declared.field;
    const size_t count = declared.head.fields;
    ips_schema_comparison found = {
        .map = malloc((count + 1) * sizeof *found.map),
        .changes = malloc((count + stored->head.fields + 1) * sizeof *found.changes)};
    PyObject *result = NULL;
    if (found.map == NULL || found.changes == NULL) {
        PyErr_NoMemory();
    } else {
        ips_schema_compare(stored, &declared, &found);
        PyObject *map = map_tuple(found.map, declared.head.fields);
        PyObject *changes = map == NULL ? NULL : changes_tuple(&found);
        result = changes == NULL ? NULL
            : Py_BuildValue("(iIOO)", (int)found.fit, found.reasons, map, changes);
        Py_XDECREF(map);
        Py_XDECREF(changes);
    }
    free(found.map);
    free(found.changes);
    return result;
}

/* --- looked at */

static PyObject *
string_of(ips_text text)
{
    return PyUnicode_DecodeUTF8((const char *)text.bytes, text.size, "backslashreplace");
}

static PyObject *
aliases_of(const ips_schema *schema, const ips_field *field)
{
    PyObject *names = PyTuple_New(field->alias_count);
    uint32_t at = 0;
    ips_text alias;
    for (uint32_t i = 0; names != NULL && i < field->alias_count; i++) {
        PyObject *name = ips_field_alias(schema, field, &at, &alias) ? string_of(alias) : NULL;
        if (name == NULL) {
            Py_CLEAR(names);
        } else {
            PyTuple_SET_ITEM(names, i, name);
        }
    }
    return names;
}

static PyObject *
layout_fields(PyObject *object, void *unused)
{
    (void)unused;
    const ips_record_layout *self = (ips_record_layout *)object;
    const ips_schema *schema = &self->schema;
    PyObject *tuple = PyTuple_New(schema->head.fields);
    for (uint32_t i = 0; tuple != NULL && i < schema->head.fields; i++) {
        const ips_field *field = self->declared != NULL ? &self->declared[i] : &schema->field[i];
        PyObject *name = string_of(ips_field_name(schema, field));
        PyObject *aliases = name == NULL ? NULL : aliases_of(schema, field);
        PyObject *item = aliases == NULL ? NULL
            : Py_BuildValue("(OIIIO)", name, (unsigned)field->type, (unsigned)field->count,
                (unsigned)field->flags, aliases);
        Py_XDECREF(name);
        Py_XDECREF(aliases);
        if (item == NULL) {
            Py_CLEAR(tuple);
        } else {
            PyTuple_SET_ITEM(tuple, i, item);
        }
    }
    return tuple;
}

static PyObject *
layout_name(PyObject *object, void *unused)
{
    (void)unused;
    return string_of(ips_schema_name(&((ips_record_layout *)object)->schema));
}

enum { VERSION, FLOOR, HASH, BODY };

static PyObject *
layout_number(PyObject *object, void *which)
{
    const ips_schema *schema = &((ips_record_layout *)object)->schema;
    const unsigned long long numbers[] = {
        [VERSION] = schema->head.version, [FLOOR] = schema->head.floor, [HASH] = schema->hash,
        [BODY] = schema->head.body};
    return PyLong_FromUnsignedLongLong(numbers[(uintptr_t)which]);
}

static PyMethodDef layout_methods[] = {
    {"build", layout_build, METH_VARARGS | METH_CLASS, build_doc},
    {"compare", layout_compare, METH_O, compare_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef layout_getsets[] = {
    {"name", layout_name, NULL, "The record's name.", NULL},
    {"version", layout_number, NULL, "Of the declaration.", (void *)VERSION},
    {"floor", layout_number, NULL, "Programs of lesser versions may not use it.", (void *)FLOOR},
    {"hash", layout_number, NULL, "Of the descriptor's bytes.", (void *)HASH},
    {"body", layout_number, NULL, "Bytes that a record takes, but for values without a limit.",
        (void *)BODY},
    {"fields", layout_fields, NULL, "As build() takes them.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot layout_slots[] = {
    {Py_tp_doc, (void *)"RecordLayout()\n--\n\nHow the fields of a record lie in memory."},
    {Py_tp_dealloc, (void *)layout_dealloc},
    {Py_tp_methods, layout_methods},
    {Py_tp_getset, layout_getsets},
    {0, NULL},
};

static PyType_Spec layout_spec = {
    .name = "ipcsys._core.RecordLayout",
    .basicsize = sizeof(ips_record_layout),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = layout_slots,
};

int
ips_add_record_layout(PyObject *module, ips_state *state)
{
    state->record_layout_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &layout_spec,
        NULL);
    return state->record_layout_type == NULL ? -1
        : PyModule_AddType(module, state->record_layout_type);
}
