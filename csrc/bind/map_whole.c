/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.SharedMap as a whole: made, compared, filled. */
#include "bind/map.h"

#include "bind/key.h"
#include "bind/nested.h"
#include "bind/value.h"

/* --- records for the core: canonical key, spelling, value */

static int
add_record(ips_state *state, PyObject *key, PyObject *value, ips_snapshot *records)
{
    ips_key_encoding encoding;
    ips_encoded encoded;
    if (ips_key_encode(state, key, &encoding) < 0) {
        return -1;
    }
    int status = ips_nested_refuse(state, value);
    status = status < 0 ? status : ips_value_encode(state, value, 0, &encoded);
    if (status == 0) {
        const ips_key *k = &encoding.key;
        status = ips_snapshot_put(records, k->bytes, k->size, 0);
        if (status == 0) {
            status = ips_snapshot_put(records, k->spelling, k->spelling_size, 0);
        }
        if (status == 0) {
            status = ips_snapshot_put(records, encoded.bytes, encoded.size, encoded.kind);
        }
        if (status < 0) {
            (void)ips_raise(state, status);
        }
        ips_encoded_clear(&encoded);
    }
    ips_key_encoding_clear(&encoding);
    return status < 0 ? -1 : 0;
}

static int
add_dict(ips_state *state, PyObject *dict, ips_snapshot *records)
{
    PyObject *items = PyDict_Items(dict); /* encoding may run code that changes the dict */
    int status = items == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; status == 0 && i < PyList_GET_SIZE(items); i++) {
        PyObject *pair = PyList_GET_ITEM(items, i);
        status = add_record(state, PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1), records);
    }
    Py_XDECREF(items);
    return status;
}

static int
add_mapping(ips_state *state, PyObject *mapping, ips_snapshot *records)
{
    PyObject *keys = PyMapping_Keys(mapping);
    int status = keys == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; status == 0 && i < PyList_GET_SIZE(keys); i++) {
        PyObject *key = PyList_GET_ITEM(keys, i);
        PyObject *value = PyObject_GetItem(mapping, key);
        status = value == NULL ? -1 : add_record(state, key, value, records);
        Py_XDECREF(value);
    }
    Py_XDECREF(keys);
    return status;
}

static int
add_pair(ips_state *state, PyObject *pair, Py_ssize_t index, ips_snapshot *records)
{
    PyObject *fast = PySequence_Fast(pair, "");
    if (fast == NULL) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)) {
            PyErr_Format(PyExc_TypeError, "update element #%zd is not a sequence", index);
        }
        return -1;
    }
    int status = -1;
    if (PySequence_Fast_GET_SIZE(fast) == 2) {
        status = add_record(state, PySequence_Fast_GET_ITEM(fast, 0),
            PySequence_Fast_GET_ITEM(fast, 1), records);
    } else {
        PyErr_Format(PyExc_ValueError, "update element #%zd has length %zd; 2 is required", index,
            PySequence_Fast_GET_SIZE(fast));
    }
    Py_DECREF(fast);
    return status;
}

static int
add_pairs(ips_state *state, PyObject *pairs, ips_snapshot *records)
{
    PyObject *iterator = PyObject_GetIter(pairs);
    PyObject *pair;
    int status = iterator == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; status == 0 && (pair = PyIter_Next(iterator)) != NULL; i++) {
        status = add_pair(state, pair, i, records);
        Py_DECREF(pair);
    }
    Py_XDECREF(iterator);
    return PyErr_Occurred() != NULL ? -1 : status;
}

/* What dict.update takes. */
static int
add_any(ips_state *state, PyObject *source, ips_snapshot *records)
{
    if (PyDict_CheckExact(source)) {
        return add_dict(state, source, records);
    }
    if (PyObject_TypeCheck(source, state->map_type)) {
        PyObject *copy = ips_map_object_copy(source, NULL);
        int status = copy == NULL ? -1 : add_dict(state, copy, records);
        Py_XDECREF(copy);
        return status;
    }
    return PyObject_HasAttrString(source, "keys") ? add_mapping(state, source, records)
                                                  : add_pairs(state, source, records);
}

typedef struct {
    const ips_map *map;
    const ips_snapshot *records;
} filling;

static int
act_update(void *context)
{
    const filling *job = context;
    return ips_map_update(job->map, job->records);
}

static int
update(ips_map_object *self, PyObject *source, PyObject *kwargs)
{
    ips_snapshot records = {0};
    if (ips_container_check(&self->base) < 0) {
        return -1;
    }
    int status = source == NULL ? 0 : add_any(self->base.state, source, &records);
    if (status == 0 && kwargs != NULL) {
        status = add_dict(self->base.state, kwargs, &records);
    }
    if (status == 0 && records.records != 0) {
        filling job = {&self->map, &records};
        /* Encoding may have run Python code that closed the map. */
        status = ips_container_check(&self->base) < 0
            ? -1 : ips_container_run(&self->base, act_update, &job, records.size);
    }
    ips_snapshot_clear(&records);
    return status;
}

PyObject *
ips_map_object_update(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyObject *source = NULL;
    if (!PyArg_UnpackTuple(args, "update", 0, 1, &source) ||
        update((ips_map_object *)self, source, kwargs) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
ips_map_object_update_in_place(PyObject *self, PyObject *other)
{
    return update((ips_map_object *)self, other, NULL) < 0 ? NULL : Py_NewRef(self);
}

/* --- made */

static int
create(ips_segment *segment, void *context, ips_offset *root)
{
    (void)context;
    return ips_map_create(segment, root);
}

static int
fill(ips_segment *segment, ips_offset root, uint64_t generation, void *context)
{
    ips_map map;
    int status = ips_map_open(segment, root, generation, &map);
    return status < 0 ? status : ips_map_update(&map, context);
}

static int
act_reap(void *context)
{
    return ips_map_reap(context, 256);
}

static int
open_map(ips_map_object *self)
{
    self->base.reap = act_reap;
    self->base.handle = &self->map;
    int status = ips_map_open(self->base.home.segment, self->base.home.root, self->base.home.generation,
        &self->map);
    if (status < 0) {
        (void)ips_raise(self->base.state, status);
        Py_XDECREF(ips_container_close((PyObject *)self, NULL));
        return -1;
    }
    return 0;
}

int
ips_map_object_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", IPS_CONTAINER_KEYWORDS, NULL};
    ips_map_object *self = (ips_map_object *)object;
    PyObject *source = NULL;
    ips_container_where where = {0};
    ips_snapshot records = {0};
    self->base.state = ips_state_of_type(Py_TYPE(object));
    if (self->base.state == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "|O$OOOOOO:SharedMap", names, &source,
            IPS_CONTAINER_WHERE(where))) {
        return -1;
    }
    int status = source == NULL ? 0 : add_any(self->base.state, source, &records);
    if (status == 0) {
        const ips_container_maker maker = {IPS_TYPE_MAP, false, create,
            records.records != 0 ? fill : NULL, &records, records.size};
        status = ips_container_open(&self->base, &where, &maker);
    }
    ips_snapshot_clear(&records);
    return status < 0 ? -1 : open_map(self);
}

PyObject *
ips_map_object_restore(PyObject *type, PyObject *args)
{
    ips_map_object *self = (ips_map_object *)((PyTypeObject *)type)->tp_alloc(
        (PyTypeObject *)type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->base.state = ips_state_of_type((PyTypeObject *)type);
    if (self->base.state == NULL ||
        ips_container_restore_into(&self->base, args, IPS_TYPE_MAP) < 0 || open_map(self) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

/* --- compared and joined */

/* A dict with what a mapping holds; NULL without exception where it is none. */
static PyObject *
dict_of(ips_state *state, PyObject *object)
{
    if (PyObject_TypeCheck(object, state->map_type)) {
        return ips_map_object_copy(object, NULL);
    }
    if (PyDict_Check(object)) {
        return Py_NewRef(object);
    }
    return NULL;
}

PyObject *
ips_map_object_compare(PyObject *object, PyObject *other, int op)
{
    ips_state *state = ips_state_of_type(Py_TYPE(object));
    if (state == NULL) {
        return NULL;
    }
    if (op != Py_EQ && op != Py_NE) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    PyObject *theirs = dict_of(state, other);
    if (theirs == NULL) {
        return PyErr_Occurred() != NULL ? NULL : Py_NewRef(Py_NotImplemented);
    }
    PyObject *mine = ips_map_object_copy(object, NULL);
    PyObject *result = mine == NULL ? NULL : PyObject_RichCompare(mine, theirs, op);
    Py_XDECREF(mine);
    Py_DECREF(theirs);
    return result;
}

/* dict | map, map | dict, map | map: a dict, the right one's values winning. */
PyObject *
ips_map_object_or(PyObject *left, PyObject *right)
{
    ips_state *state = ips_state_of_type(Py_TYPE(left));
    if (state == NULL) {
        PyErr_Clear(); /* `left` is the dict */
        state = ips_state_of_type(Py_TYPE(right));
    }
    if (state == NULL) {
        return NULL;
    }
    PyObject *first = dict_of(state, left);
    PyObject *second = first == NULL ? NULL : dict_of(state, right);
    PyObject *result = NULL;
    if (second != NULL) {
        result = PyDict_Copy(first);
        if (result != NULL && PyDict_Update(result, second) < 0) {
            Py_CLEAR(result);
        }
    } else if (PyErr_Occurred() == NULL) {
        result = Py_NewRef(Py_NotImplemented);
    }
    Py_XDECREF(first);
    Py_XDECREF(second);
    return result;
}

/* --- emptied, checked */

static int
act_clear(void *context)
{
    return ips_map_clear(context);
}

PyObject *
ips_map_object_clear(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_map_object *self = (ips_map_object *)object;
    if (ips_container_check(&self->base) < 0 ||
        ips_container_run(&self->base, act_clear, &self->map, 0) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static int
act_check(void *context)
{
    ips_checking *job = context;
    return ips_map_check(job->handle, ips_container_report, job);
}

PyObject *
ips_map_object_check(PyObject *object, PyObject *unused)
{
    (void)unused;
    return ips_container_lines((ips_container *)object, act_check);
}

PyObject *
ips_map_object_fromkeys(PyObject *type, PyObject *const *args, Py_ssize_t count)
{
    if (count < 1 || count > 2) {
        return PyErr_Format(PyExc_TypeError, "fromkeys expected 1 or 2 arguments, got %zd", count);
    }
    PyObject *value = count == 2 ? args[1] : Py_None;
    PyObject *made = PyObject_CallNoArgs(type);
    PyObject *keys = made == NULL ? NULL : PyObject_GetIter(args[0]);
    PyObject *key;
    int status = keys == NULL ? -1 : 0;
    while (status == 0 && (key = PyIter_Next(keys)) != NULL) {
        status = PyObject_SetItem(made, key, value);
        Py_DECREF(key);
    }
    Py_XDECREF(keys);
    if (status < 0 || PyErr_Occurred() != NULL) {
        Py_CLEAR(made);
    }
    return made;
}
