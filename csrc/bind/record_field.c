/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys._core.RecordField: a field of a record, as a descriptor in its class.
 * Reading one takes no lock, and writing one that lies in a word no journal. */
#include "bind/record.h"

#include <stddef.h>
#include <string.h>

#define PEEKED 16 /* words that are read without more ado */

/* --- which place */

static PyObject *
not_of(const ips_record_field *self, PyObject *object)
{
    return PyErr_Format(PyExc_TypeError, "field %U of %.100s does not apply to %.100s", self->name,
        self->owner->tp_name, Py_TYPE(object)->tp_name);
}

/* The field of that name in the class of `object`, which derives from this
 * one's; new reference. */
static ips_record_field *
field_of_subclass(const ips_record_field *self, PyObject *object)
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    PyObject *fields = state == NULL || !PyType_IsSubtype(Py_TYPE(object), self->owner)
        ? NULL : ips_record_fields_of(state, Py_TYPE(object));
    ips_record_field *found = NULL;
    for (Py_ssize_t i = 0; fields != NULL && i < PyTuple_GET_SIZE(fields); i++) {
        PyObject *field = PyTuple_GET_ITEM(fields, i);
        if (Py_IS_TYPE(field, state->record_field_type) &&
            ((ips_record_field *)field)->owner == Py_TYPE(object) &&
            PyUnicode_Compare(((ips_record_field *)field)->name, self->name) == 0) {
            found = (ips_record_field *)Py_NewRef(field);
            break;
        }
    }
    Py_XDECREF(fields);
    if (found == NULL && PyErr_Occurred() == NULL) {
        (void)not_of(self, object);
    }
    return found;
}

/* Where the field lies, as far as the handle knows; NULL: attach first. */
static inline const ips_record_place *
place_of(const ips_record_field *self, const ips_record_object *record)
{
    const ips_record_plan *plan = record->plan;
    return plan != NULL && plan->owner == self->owner && self->index < plan->count &&
           record->base.home.segment != NULL
        ? &plan->places[self->index] : NULL;
}

/* --- reading */

PyObject *
ips_record_field_default(const ips_record_field *self)
{
    return self->factory != NULL ? PyObject_CallNoArgs(self->factory) : Py_XNewRef(self->fallback);
}

/* Not stored: removed by a newer version. */
static PyObject *
get_missing(const ips_record_field *self, const ips_record_object *record)
{
    PyObject *value = ips_record_field_default(self);
    return value != NULL || PyErr_Occurred() != NULL ? value
        : ips_raise_text(record->base.state, IPS_ESCHEMA,
            "field '%.100s' is no longer stored, and has no default",
            PyUnicode_AsUTF8(self->name));
}

static PyObject *
get_slow(const ips_record_field *self, ips_record_object *record)
{
    ips_snapshot read = {0};
    ips_record_seen seen;
    ips_value value;
    size_t at = 0;
    if (ips_container_check(&record->base) < 0 ||
        (place_of(self, record) == NULL && ips_record_object_attach(record) < 0) ||
        ips_record_object_fetch(record, &self->index, 1, &seen, &read) < 0) {
        return NULL;
    }
    PyObject *result = NULL;
    const ips_record_place *place = &seen.plan->places[self->index];
    if (place->missing) {
        result = get_missing(self, record);
    } else if (ips_snapshot_next(&read, &at, &value)) {
        value.bytes += place->skip;
        result = ips_record_decode(record->base.state, &place->field, &value);
    }
    Py_DECREF(seen.keeper);
    ips_snapshot_clear(&read);
    return result;
}

/* A value of more than 8 bytes; NULL without exception: the slow way. */
static PyObject *
get_block(const ips_record_object *record, const ips_record_place *place)
{
    ips_value_copy copy;
    ips_value_copy_init(&copy);
    int status = ips_record_slot(&record->record, place->part.offset, &copy);
    const ips_value value = {copy.bytes, copy.size, copy.kind};
    PyObject *result = status == 0
        ? ips_record_decode(record->base.state, &place->field, &value) : NULL;
    ips_value_copy_clear(&copy);
    return status < 0 ? ips_raise(record->base.state, status) : result;
}

/* The same for any value. */
static PyObject *
get_slot(const ips_record_object *record, const ips_record_place *place)
{
    ips_slot slot;
    uint64_t words[2];
    if (!ips_record_peek(&record->record, place->part.offset, 2, words)) {
        return NULL;
    }
    memcpy(&slot, words, sizeof slot);
    const ips_value value = {(const uint8_t *)&slot.place, ips_value_word_size(slot.word),
        ips_value_word_kind(slot.word)};
    return value.size <= IPS_SLOT_INLINE
        ? ips_record_decode(record->base.state, &place->field, &value) : get_block(record, place);
}

static PyObject *
get(ips_record_field *self, ips_record_object *record)
{
    const ips_record_place *place = place_of(self, record);
    uint64_t words[PEEKED];
    if (__builtin_expect(place == NULL || place->missing, 0)) {
        return get_slow(self, record);
    }
    if (place->part.slot) {
        PyObject *value = get_slot(record, place);
        return value != NULL || PyErr_Occurred() != NULL ? value : get_slow(self, record);
    }
    if (place->part.size <= 8 && place->field.count == 0 &&
        __builtin_expect(ips_record_peek(&record->record, place->part.offset, 1, words), 1)) {
        return ips_record_decode_scalar(place->field.type, (const uint8_t *)words + place->skip);
    }
    if (place->part.size <= sizeof words &&
        ips_record_peek(&record->record, place->part.offset, (place->part.size + 7) / 8, words)) {
        const ips_value value = {(const uint8_t *)words + place->skip, place->part.size, 0};
        return ips_record_decode(record->base.state, &place->field, &value);
    }
    return get_slow(self, record);
}

static PyObject *
field_get(PyObject *descriptor, PyObject *object, PyObject *type)
{
    (void)type;
    ips_record_field *self = (ips_record_field *)descriptor;
    if (object == NULL) {
        return Py_NewRef(descriptor);
    }
    if (__builtin_expect(Py_TYPE(object) == self->owner, 1)) {
        return get(self, (ips_record_object *)object);
    }
    ips_record_field *other = field_of_subclass(self, object);
    PyObject *value = other == NULL ? NULL : get(other, (ips_record_object *)object);
    Py_XDECREF(other);
    return value;
}

/* --- writing */

/* 0, -1 with an exception set, or 1: by a transaction. */
static int
poke(const ips_record_field *self, const ips_record_object *record,
    const ips_record_place *place, PyObject *value)
{
    uint8_t bytes[8] = {0};
    ips_encoded encoded;
    const ips_field *field = &place->field;
    if (!place->part.slot) {
        int status = ips_record_encode_scalar(field, value, self->name, bytes);
        if (status != 0) {
            return status;
        }
        if (place_of(self, record) != place) {
            return 1; /* the value's own code closed it, or looked anew */
        }
        return ips_record_poke(&record->record, field->offset, ips_field_width(field->type), bytes)
            ? 0 : 1;
    }
    if (field->type == IPS_FIELD_ANY) {
        return 1; /* encoding it may run Python code, once is enough */
    }
    if (ips_record_encode(record->base.state, field, value, self->name, &encoded) < 0) {
        return -1;
    }
    ips_slot slot = {ips_value_word(encoded.size, encoded.kind), 0};
    bool done = encoded.size <= IPS_SLOT_INLINE && place_of(self, record) == place;
    if (done) {
        memcpy(&slot.place, encoded.bytes, encoded.size);
        done = ips_record_poke_slot(&record->record, field->offset, &slot);
    }
    ips_encoded_clear(&encoded);
    return done ? 0 : 1;
}

static int
set(ips_record_field *self, ips_record_object *record, PyObject *value)
{
    const ips_record_place *place = place_of(self, record);
    if (value == NULL) {
        PyErr_Format(PyExc_AttributeError, "field %U cannot be deleted", self->name);
        return -1;
    }
    if (__builtin_expect(place != NULL && !place->missing && !place->retyped, 1)) {
        int status = poke(self, record, place, value);
        if (__builtin_expect(status <= 0, 1)) {
            return status;
        }
    }
    return ips_record_object_store(record, self, value);
}

static int
field_set(PyObject *descriptor, PyObject *object, PyObject *value)
{
    ips_record_field *self = (ips_record_field *)descriptor;
    if (__builtin_expect(Py_TYPE(object) == self->owner, 1)) {
        return set(self, (ips_record_object *)object, value);
    }
    ips_record_field *other = field_of_subclass(self, object);
    int status = other == NULL ? -1 : set(other, (ips_record_object *)object, value);
    Py_XDECREF(other);
    return status;
}

/* --- the type */

static PyObject *
field_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"owner", "name", "index", "type", "count", "flags", "default",
        "factory", "annotation", NULL};
    PyObject *owner, *name, *fallback, *factory, *annotation;
    unsigned index, code, count, flags;
    ips_state *state = ips_state_of_type(type);
    if (state == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "O!UIIIIOOU:RecordField", names, &PyType_Type,
            &owner, &name, &index, &code, &count, &flags, &fallback, &factory, &annotation)) {
        return NULL;
    }
    if (!PyType_IsSubtype((PyTypeObject *)owner, state->record_type)) {
        PyErr_SetString(PyExc_TypeError, "the owner of a RecordField must be a Record");
        return NULL;
    }
    ips_record_field *self = (ips_record_field *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->owner = (PyTypeObject *)Py_NewRef(owner);
        self->name = Py_NewRef(name);
        self->annotation = Py_NewRef(annotation);
        self->factory = factory == Py_None ? NULL : Py_NewRef(factory);
        /* () for none, else (value,) */
        self->fallback = PyTuple_Check(fallback) && PyTuple_GET_SIZE(fallback) == 1
            ? Py_NewRef(PyTuple_GET_ITEM(fallback, 0)) : NULL;
        self->index = index;
        self->field = (ips_field){.type = (uint8_t)code, .flags = (uint8_t)flags, .count = count};
    }
    return (PyObject *)self;
}

static int
field_traverse(PyObject *object, visitproc visit, void *arg)
{
    ips_record_field *self = (ips_record_field *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->owner);
    Py_VISIT(self->fallback);
    Py_VISIT(self->factory);
    return 0;
}

static int
field_clear(PyObject *object)
{
    ips_record_field *self = (ips_record_field *)object;
    Py_CLEAR(self->owner);
    Py_CLEAR(self->fallback);
    Py_CLEAR(self->factory);
    return 0;
}

static void
field_dealloc(PyObject *object)
{
    ips_record_field *self = (ips_record_field *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    (void)field_clear(object);
    Py_CLEAR(self->name);
    Py_CLEAR(self->annotation);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *
field_repr(PyObject *object)
{
    const ips_record_field *self = (ips_record_field *)object;
    return PyUnicode_FromFormat("<field %U: %U>", self->name, self->annotation);
}

static PyObject *
field_default(PyObject *object, void *unused)
{
    (void)unused;
    PyObject *value = ips_record_field_default((ips_record_field *)object);
    if (value == NULL && PyErr_Occurred() == NULL) {
        PyErr_Format(PyExc_AttributeError, "field %U has no default",
            ((ips_record_field *)object)->name);
    }
    return value;
}

static PyGetSetDef field_getsets[] = {
    {"default", field_default, NULL, "Its default value; AttributeError where it has none.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef field_members[] = {
    {"name", T_OBJECT, offsetof(ips_record_field, name), READONLY, "Its name."},
    {"annotation", T_OBJECT, offsetof(ips_record_field, annotation), READONLY, "Its type, as text."},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(field_doc,
    "RecordField(owner, name, index, type, count, flags, default, factory, annotation)\n--\n\n"
    "A field of a record class; the class makes it of an annotation.");

static PyType_Slot field_slots[] = {
    {Py_tp_doc, (void *)field_doc},
    {Py_tp_new, (void *)field_new},
    {Py_tp_traverse, (void *)field_traverse},
    {Py_tp_clear, (void *)field_clear},
    {Py_tp_dealloc, (void *)field_dealloc},
    {Py_tp_repr, (void *)field_repr},
    {Py_tp_descr_get, (void *)field_get},
    {Py_tp_descr_set, (void *)field_set},
    {Py_tp_getset, field_getsets},
    {Py_tp_members, field_members},
    {0, NULL},
};

static PyType_Spec field_spec = {
    .name = "ipcsys._core.RecordField",
    .basicsize = sizeof(ips_record_field),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = field_slots,
};

PyDoc_STRVAR(check_doc, "check_record_value($module, field, value, /)\n--\n\n"
    "None where the field could hold the value, else what assigning it would raise.");

static PyObject *
check_value(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    ips_state *state = ips_state_of_module(module);
    ips_encoded encoded;
    if (count != 2 || !Py_IS_TYPE(args[0], state->record_field_type)) {
        PyErr_SetString(PyExc_TypeError, "check_record_value(field, value)");
        return NULL;
    }
    const ips_record_field *field = (ips_record_field *)args[0];
    if (ips_record_encode(state, &field->field, args[1], field->name, &encoded) < 0) {
        return NULL;
    }
    ips_encoded_clear(&encoded);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"check_record_value", (PyCFunction)(void (*)(void))check_value, METH_FASTCALL, check_doc},
    {NULL, NULL, 0, NULL},
};

int
ips_add_record_field(PyObject *module, ips_state *state)
{
    state->record_field_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &field_spec, NULL);
    return state->record_field_type == NULL ||
            PyModule_AddType(module, state->record_field_type) < 0
        ? -1 : PyModule_AddFunctions(module, functions);
}
