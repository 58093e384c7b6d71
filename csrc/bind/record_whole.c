/* SPDX-License-Identifier: Apache-2.0 */
/* Several fields of a record at once, and its upgrade to another layout. */
#include "bind/record.h"

#include <stdlib.h>

#define ATTEMPTS 1000 /* changes of the layout by others that may come in between */

static int
kept_changing(ips_record_object *self)
{
    (void)ips_raise_text(self->base.state, IPS_EAGAIN, "the record's layout kept changing");
    return -1;
}

/* --- reading */

typedef struct {
    const ips_record *record;
    const ips_record_part *parts;
    uint32_t count;
    ips_snapshot *out;
} reading;

static int
act_read(void *context)
{
    const reading *job = context;
    return ips_record_read_locked(job->record, job->parts, job->count, job->out);
}

/* 0, IPS_RECORD_CHANGED, or -1 with an exception set. */
static int
read_parts(ips_record_object *self, reading *job)
{
    int status = ips_record_read(job->record, job->parts, job->count, job->out);
    if (status == IPS_RECORD_BUSY) {
        return ips_container_run(&self->base, act_read, job, 0);
    }
    if (status < 0) {
        (void)ips_raise(self->base.state, status);
        return -1;
    }
    return status;
}

/* The parts of the fields that are stored. */
static uint32_t
parts_of(const ips_record_plan *plan, const uint32_t *indices, uint32_t count,
    ips_record_part *parts)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t index = indices == NULL ? i : indices[i];
        if (index < plan->count && !plan->places[index].missing) {
            parts[used++] = plan->places[index].part;
        }
    }
    return used;
}

/* What the handle knows, after a look where it knows nothing or is told to. */
static int
see(ips_record_object *self, bool anew, ips_record_seen *out)
{
    if (ips_container_check(&self->base) < 0 ||
        ((self->plan == NULL || anew) && ips_record_object_attach(self) < 0)) {
        return -1;
    }
    *out = (ips_record_seen){self->record, self->plan, Py_NewRef(self->plan_keeper)};
    return 0;
}

int
ips_record_object_fetch(ips_record_object *self, const uint32_t *indices, uint32_t count,
    ips_record_seen *seen, ips_snapshot *out)
{
    ips_record_part room[16];
    ips_record_part *parts = count <= 16 ? room : malloc(count * sizeof *parts);
    int status = IPS_RECORD_CHANGED;
    seen->keeper = NULL;
    if (parts == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (int attempt = 0; status == IPS_RECORD_CHANGED && attempt < ATTEMPTS; attempt++) {
        Py_CLEAR(seen->keeper);
        status = see(self, attempt > 0, seen);
        if (status == 0) {
            reading job = {&seen->record, parts, parts_of(seen->plan, indices, count, parts), out};
            status = read_parts(self, &job);
        }
    }
    if (parts != room) {
        free(parts);
    }
    if (status != 0) {
        Py_CLEAR(seen->keeper);
        ips_snapshot_clear(out);
    }
    return status == IPS_RECORD_CHANGED ? kept_changing(self) : status;
}

/* Takes `value` over. */
static int
put_item(PyObject *dict, PyObject *name, PyObject *value)
{
    int status = value == NULL ? -1 : PyDict_SetItem(dict, name, value);
    Py_XDECREF(value);
    return status;
}

/* One field into the dict, from what was read or its default. */
static int
put_field(ips_state *state, const ips_record_field *field, const ips_record_place *place,
    const ips_snapshot *read, size_t *at, PyObject *dict)
{
    ips_value value;
    if (place->missing) {
        PyObject *fallback = ips_record_field_default(field);
        return fallback == NULL && PyErr_Occurred() == NULL ? 0
            : put_item(dict, field->name, fallback);
    }
    if (!ips_snapshot_next(read, at, &value)) {
        return 0;
    }
    value.bytes += place->skip;
    return put_item(dict, field->name,
        ips_record_decode(state, &place->field, &value));
}

PyObject *
ips_record_object_values(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_record_object *self = (ips_record_object *)object;
    ips_snapshot read = {0};
    ips_record_seen seen = {.keeper = NULL};
    PyObject *fields = ips_record_fields_of(self->base.state, Py_TYPE(object));
    PyObject *dict = fields == NULL ? NULL : PyDict_New();
    size_t at = 0;
    if (dict != NULL && ips_record_object_fetch(self, NULL, (uint32_t)PyTuple_GET_SIZE(fields),
                            &seen, &read) < 0) {
        Py_CLEAR(dict);
    }
    for (Py_ssize_t i = 0; dict != NULL && i < PyTuple_GET_SIZE(fields); i++) {
        const ips_record_field *field = (ips_record_field *)PyTuple_GET_ITEM(fields, i);
        if (put_field(self->base.state, field, &seen.plan->places[field->index], &read, &at,
                dict) < 0) {
            Py_CLEAR(dict);
        }
    }
    Py_XDECREF(seen.keeper);
    Py_XDECREF(fields);
    ips_snapshot_clear(&read);
    return dict;
}

/* --- writing */

typedef struct {
    const ips_record *record;
    const ips_record_change *changes;
    uint32_t count;
} writing;

static int
act_write(void *context)
{
    const writing *job = context;
    return ips_record_write(job->record, job->changes, job->count);
}

static int
refuse_missing(ips_state *state, const ips_record_field *field)
{
    (void)ips_raise_text(state, IPS_ESCHEMA, "field '%.100s' is no longer stored",
        PyUnicode_AsUTF8(field->name));
    return -1;
}

/* The value as the declaration allows it and as it is stored. */
static int
encode_change(ips_state *state, const ips_record_field *field, const ips_record_place *place,
    PyObject *value, ips_encoded *encoded, ips_record_change *change)
{
    if (place->missing) {
        return refuse_missing(state, field);
    }
    if (place->retyped) {
        if (ips_record_encode(state, &field->field, value, field->name, encoded) < 0) {
            return -1;
        }
        ips_encoded_clear(encoded);
    }
    if (ips_record_encode(state, &place->field, value, field->name, encoded) < 0) {
        return -1;
    }
    change->part = (ips_record_part){place->field.offset,
        (uint32_t)ips_field_size(&place->field), place->part.slot};
    change->value = (ips_value){encoded->bytes, encoded->size, encoded->kind};
    return 0;
}

/* Fields to be written with their values. */
typedef struct {
    ips_record_field *field;
    PyObject *value;
    ips_encoded encoded;
} assignment;

/* One try by what was seen; 0, IPS_RECORD_CHANGED or -1. */
static int
write_all(ips_record_object *self, const ips_record_seen *seen, assignment *all, uint32_t count,
    ips_record_change *changes)
{
    uint32_t done = 0;
    size_t weight = 0;
    int status = 0;
    while (status == 0 && done < count) {
        const ips_record_field *field = all[done].field;
        status = encode_change(self->base.state, field, &seen->plan->places[field->index],
            all[done].value, &all[done].encoded, &changes[done]);
        if (status == 0) {
            weight += all[done++].encoded.size;
        }
    }
    /* Encoding may have run Python code that closed it. */
    if (status == 0 && (status = ips_container_check(&self->base)) == 0) {
        writing job = {&seen->record, changes, count};
        status = ips_container_run(&self->base, act_write, &job, weight);
    }
    for (uint32_t i = 0; i < done; i++) {
        ips_encoded_clear(&all[i].encoded);
    }
    return status;
}

static int
assign(ips_record_object *self, assignment *all, uint32_t count)
{
    ips_record_change room[8];
    ips_record_change *changes = count <= 8 ? room : malloc(count * sizeof *changes);
    int status = IPS_RECORD_CHANGED;
    if (changes == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (int attempt = 0; status == IPS_RECORD_CHANGED && attempt < ATTEMPTS; attempt++) {
        ips_record_seen seen;
        status = see(self, attempt > 0, &seen);
        if (status == 0) {
            status = write_all(self, &seen, all, count, changes);
            Py_DECREF(seen.keeper);
        }
    }
    if (changes != room) {
        free(changes);
    }
    return status == IPS_RECORD_CHANGED ? kept_changing(self) : status;
}

int
ips_record_object_store(ips_record_object *self, const ips_record_field *field, PyObject *value)
{
    assignment one = {(ips_record_field *)field, value, {.bytes = NULL}};
    return assign(self, &one, 1);
}

/* The field of that name, borrowed from the tuple. */
static ips_record_field *
field_named(PyObject *fields, PyObject *name)
{
    for (Py_ssize_t i = 0; PyUnicode_Check(name) && i < PyTuple_GET_SIZE(fields); i++) {
        ips_record_field *field = (ips_record_field *)PyTuple_GET_ITEM(fields, i);
        if (PyUnicode_Compare(field->name, name) == 0) {
            return field;
        }
    }
    return NULL;
}

static int
assign_dict(ips_record_object *self, PyObject *dict)
{
    PyObject *fields = ips_record_fields_of(self->base.state, Py_TYPE(self));
    const size_t count = (size_t)PyDict_GET_SIZE(dict);
    assignment *all = fields == NULL ? NULL : calloc(count + 1, sizeof *all);
    Py_ssize_t at = 0;
    PyObject *name, *value;
    uint32_t used = 0;
    int status = all != NULL ? 0 : fields != NULL ? (PyErr_NoMemory(), -1) : -1;
    while (status == 0 && PyDict_Next(dict, &at, &name, &value)) {
        all[used].field = field_named(fields, name);
        all[used].value = value;
        if (all[used++].field == NULL) {
            PyErr_Format(PyExc_TypeError, "%.100s has no field %R", Py_TYPE(self)->tp_name, name);
            status = -1;
        }
    }
    if (status == 0 && used != 0) {
        status = assign(self, all, used);
    }
    free(all);
    Py_XDECREF(fields);
    return status;
}

PyObject *
ips_record_object_update(PyObject *object, PyObject *args, PyObject *kwargs)
{
    PyObject *mapping = NULL;
    if (!PyArg_ParseTuple(args, "|O:update", &mapping)) {
        return NULL;
    }
    /* Of its own: encoding the values may run Python code. */
    PyObject *dict = PyDict_New();
    int status = dict == NULL || ips_container_check((ips_container *)object) < 0 ? -1 : 0;
    if (status == 0 && mapping != NULL) {
        status = PyDict_Update(dict, mapping);
    }
    if (status == 0 && kwargs != NULL) {
        status = PyDict_Update(dict, kwargs);
    }
    if (status == 0) {
        status = assign_dict((ips_record_object *)object, dict);
    }
    Py_XDECREF(dict);
    return status < 0 ? NULL : Py_NewRef(Py_None);
}

/* --- as stored, for upgrades */

/* Values of all fields that are not retired, by name. */
static PyObject *
stored_values(ips_state *state, const ips_schema *schema, const ips_snapshot *read)
{
    PyObject *dict = PyDict_New();
    size_t at = 0;
    ips_value value;
    for (uint32_t i = 0; dict != NULL && ips_snapshot_next(read, &at, &value); i++) {
        const ips_field *field = &schema->field[i];
        const ips_text text = ips_field_name(schema, field);
        if ((field->flags & IPS_FIELD_RETIRED) != 0) {
            continue;
        }
        value.bytes += ips_field_is_slot(field) ? 0 : field->offset % 8;
        PyObject *name = PyUnicode_DecodeUTF8((const char *)text.bytes, text.size, NULL);
        if (name == NULL ||
            put_item(dict, name, ips_record_decode(state, field, &value)) < 0) {
            Py_CLEAR(dict);
        }
        Py_XDECREF(name);
    }
    return dict;
}

PyObject *
ips_record_object_read(PyObject *object, PyObject *argument)
{
    ips_record_object *self = (ips_record_object *)object;
    ips_state *state = self->base.state;
    if (ips_container_check(&self->base) < 0) {
        return NULL;
    }
    if (!Py_IS_TYPE(argument, state->record_layout_type) ||
        self->record.hash != ((ips_record_layout *)argument)->schema.hash ||
        self->record.body == 0) {
        PyErr_SetString(PyExc_TypeError, "not the layout that the record has");
        return NULL;
    }
    const ips_schema *schema = &((ips_record_layout *)argument)->schema;
    ips_record_part *parts = malloc((schema->head.fields + 1) * sizeof *parts);
    if (parts == NULL) {
        return PyErr_NoMemory();
    }
    for (uint32_t i = 0; i < schema->head.fields; i++) {
        const ips_field *field = &schema->field[i];
        const uint32_t skip = ips_field_is_slot(field) ? 0 : field->offset % 8;
        parts[i] = (ips_record_part){field->offset - skip, (uint32_t)ips_field_size(field) + skip,
            ips_field_is_slot(field)};
    }
    ips_snapshot read = {0};
    const ips_record record = self->record;
    reading job = {&record, parts, schema->head.fields, &read};
    int status = read_parts(self, &job);
    PyObject *dict = status < 0 ? NULL
        : status == IPS_RECORD_CHANGED
        ? ips_raise_text(state, IPS_EAGAIN, "the record has another layout now")
        : stored_values(state, schema, &read);
    ips_snapshot_clear(&read);
    free(parts);
    return dict;
}

typedef struct {
    const ips_record *record;
    const ips_schema *old, *new;
    const ips_record_source *sources;
} upgrading;

static int
act_upgrade(void *context)
{
    const upgrading *job = context;
    return ips_record_upgrade(job->record, job->old, job->new, job->sources);
}

/* From an int (the old field's index) or a tuple of the value. */
static int
read_source(ips_state *state, const ips_record_layout *new, uint32_t index, PyObject *given,
    ips_encoded *encoded, ips_record_source *out)
{
    const ips_field *field = &new->schema.field[index];
    if (PyLong_Check(given)) {
        out->from = (int32_t)PyLong_AsLong(given);
        return PyErr_Occurred() != NULL ? -1 : 0;
    }
    out->from = -1;
    if (!PyTuple_Check(given) || PyTuple_GET_SIZE(given) != 1) {
        PyErr_SetString(PyExc_TypeError, "a source must be an index or (value,)");
        return -1;
    }
    const ips_text text = ips_field_name(&new->schema, field);
    PyObject *name = PyUnicode_DecodeUTF8((const char *)text.bytes, text.size, NULL);
    int status = name == NULL ? -1
        : ips_record_encode(state, field, PyTuple_GET_ITEM(given, 0), name, encoded);
    Py_XDECREF(name);
    if (status == 0) {
        out->value = (ips_value){encoded->bytes, encoded->size, encoded->kind};
    }
    return status;
}

static int
upgrade(ips_record_object *self, const ips_record_layout *old, const ips_record_layout *new,
    PyObject *given)
{
    const uint32_t count = new->schema.head.fields;
    ips_encoded *encoded = calloc(count + 1, sizeof *encoded);
    ips_record_source *sources = calloc(count + 1, sizeof *sources);
    int status = encoded == NULL || sources == NULL ? (PyErr_NoMemory(), -1) : 0;
    uint32_t done = 0;
    for (; status == 0 && done < count; done++) {
        status = read_source(self->base.state, new, done, PyTuple_GET_ITEM(given, done),
            &encoded[done], &sources[done]);
    }
    if (status == 0 && (status = ips_container_check(&self->base)) == 0) {
        const ips_record record = self->record;
        upgrading job = {&record, &old->schema, &new->schema, sources};
        status = ips_container_run(&self->base, act_upgrade, &job, old->schema.head.body);
    }
    self->plan = NULL;
    self->record.body = 0;
    for (uint32_t i = 0; i < done; i++) {
        ips_encoded_clear(&encoded[i]);
    }
    free(encoded);
    free(sources);
    return status;
}

PyObject *
ips_record_object_upgrade(PyObject *object, PyObject *args)
{
    ips_record_object *self = (ips_record_object *)object;
    PyTypeObject *type = self->base.state->record_layout_type;
    ips_record_layout *old, *new;
    PyObject *sources;
    if (ips_container_check(&self->base) < 0 ||
        !PyArg_ParseTuple(args, "O!O!O!:_upgrade", type, &old, type, &new, &PyTuple_Type,
            &sources)) {
        return NULL;
    }
    if (PyTuple_GET_SIZE(sources) != (Py_ssize_t)new->schema.head.fields) {
        PyErr_SetString(PyExc_TypeError, "a source for each field is needed");
        return NULL;
    }
    int status = upgrade(self, old, new, sources);
    if (status == IPS_RECORD_CHANGED) {
        return ips_raise_text(self->base.state, IPS_EAGAIN, "the record has another layout now");
    }
    return status < 0 ? NULL : Py_NewRef(Py_None);
}
