/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.SharedMap: what is in it, as lists, dicts and text. */
#include "bind/map.h"

#include <string.h>

#include "bind/key.h"
#include "bind/nested.h"

typedef struct {
    const ips_map *map;
    unsigned what;
    ips_snapshot *out;
} listing;

static int
act_snapshot(void *context)
{
    const listing *job = context;
    return ips_map_snapshot_locked(job->map, job->what, job->out);
}

/* 0, or -1 with an exception set and nothing to clear. */
static int
take_snapshot(ips_map_object *self, unsigned what, ips_snapshot *out)
{
    *out = (ips_snapshot){0};
    if (ips_container_check(&self->base) < 0) {
        return -1;
    }
    int status = ips_map_snapshot(&self->map, what, out);
    if (status == IPS_MAP_BUSY) {
        listing job = {&self->map, what, out};
        status = ips_container_run(&self->base, act_snapshot, &job, 0);
    } else if (status < 0) {
        (void)ips_raise(self->base.state, status);
    }
    if (status < 0) {
        ips_snapshot_clear(out);
        return -1;
    }
    return 0;
}

static PyObject *
ended_early(const ips_map_object *self)
{
    return ips_raise_text(self->base.state, IPS_ECORRUPT, "a snapshot of a SharedMap ends early");
}

/* The next record as a key; keys are always MessagePack. */
static PyObject *
next_key(const ips_map_object *self, const ips_snapshot *snapshot, size_t *at)
{
    ips_value value;
    return !ips_snapshot_next(snapshot, at, &value) ? ended_early(self)
        : ips_key_decode(self->base.state, value.bytes, value.size);
}

/* The next record as a value; a container as a handle, or as a plain copy. */
static PyObject *
next_value(const ips_map_object *self, const ips_snapshot *snapshot, size_t *at, bool plain)
{
    ips_value value;
    if (!ips_snapshot_next(snapshot, at, &value)) {
        return ended_early(self);
    }
    return plain ? ips_nested_plain(&self->base, value.kind, value.bytes, value.size)
                 : ips_nested_decode(&self->base, value.kind, value.bytes, value.size);
}

static PyObject *
next_item(const ips_map_object *self, const ips_snapshot *snapshot, size_t *at)
{
    PyObject *key = next_key(self, snapshot, at);
    PyObject *value = key == NULL ? NULL : next_value(self, snapshot, at, false);
    PyObject *pair = value == NULL ? NULL : PyTuple_Pack(2, key, value);
    Py_XDECREF(key);
    Py_XDECREF(value);
    return pair;
}

static PyObject *
decode_list(const ips_map_object *self, unsigned what, const ips_snapshot *snapshot)
{
    Py_ssize_t count = (Py_ssize_t)(snapshot->records / (what == IPS_MAP_ITEMS ? 2 : 1));
    PyObject *list = PyList_New(count);
    size_t at = 0;
    for (Py_ssize_t i = 0; list != NULL && i < count; i++) {
        PyObject *item = what == IPS_MAP_ITEMS ? next_item(self, snapshot, &at)
            : what == IPS_MAP_KEYS ? next_key(self, snapshot, &at)
                                   : next_value(self, snapshot, &at, false);
        if (item == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, i, item);
        }
    }
    return list;
}

/* `what` is one of IPS_MAP_KEYS and so on, by its address. */
static PyObject *
list_of(PyObject *object, void *what)
{
    ips_map_object *self = (ips_map_object *)object;
    const unsigned wanted = *(const unsigned *)what;
    ips_snapshot snapshot;
    if (take_snapshot(self, wanted, &snapshot) < 0) {
        return NULL;
    }
    PyObject *list = (wanted & IPS_MAP_VALUES) != 0 && ips_nested_any_needs_lock(&self->base, &snapshot)
        ? ips_nested_locked(object, list_of, what) : decode_list(self, wanted, &snapshot);
    ips_snapshot_clear(&snapshot);
    return list;
}

static PyObject *
decode_dict(const ips_map_object *self, const ips_snapshot *snapshot, bool plain)
{
    PyObject *dict = PyDict_New();
    size_t at = 0;
    for (uint64_t i = 0; dict != NULL && i < snapshot->records / 2; i++) {
        PyObject *key = next_key(self, snapshot, &at);
        PyObject *value = key == NULL ? NULL : next_value(self, snapshot, &at, plain);
        if (value == NULL || PyDict_SetItem(dict, key, value) < 0) {
            Py_CLEAR(dict);
        }
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    return dict;
}

static PyObject *
plain_dict(PyObject *object, void *unused)
{
    (void)unused;
    ips_map_object *self = (ips_map_object *)object;
    ips_snapshot snapshot;
    if (take_snapshot(self, IPS_MAP_ITEMS, &snapshot) < 0) {
        return NULL;
    }
    PyObject *dict = ips_nested_any_needs_lock(&self->base, &snapshot) ? ips_nested_locked(object, plain_dict, NULL)
                                                : decode_dict(self, &snapshot, true);
    ips_snapshot_clear(&snapshot);
    return dict;
}

PyObject *
ips_map_object_copy(PyObject *self, PyObject *unused)
{
    (void)unused;
    return plain_dict(self, NULL);
}

PyObject *
ips_map_object_snapshot(PyObject *self, PyObject *what)
{
    long which = PyLong_AsLong(what);
    if (which < IPS_MAP_KEYS || which > IPS_MAP_ITEMS) {
        return PyErr_Occurred() != NULL
            ? NULL : PyErr_Format(PyExc_ValueError, "no such snapshot: %ld", which);
    }
    return list_of(self, &(unsigned){(unsigned)which});
}

PyObject *
ips_map_object_iter(PyObject *self)
{
    PyObject *keys = list_of(self, &(unsigned){IPS_MAP_KEYS});
    PyObject *iterator = keys == NULL ? NULL : PyObject_GetIter(keys);
    Py_XDECREF(keys);
    return iterator;
}

PyObject *
ips_map_object_reversed(PyObject *self, PyObject *unused)
{
    (void)unused;
    PyObject *keys = list_of(self, &(unsigned){IPS_MAP_KEYS});
    if (keys == NULL || PyList_Reverse(keys) < 0) {
        Py_XDECREF(keys);
        return NULL;
    }
    PyObject *iterator = PyObject_GetIter(keys);
    Py_DECREF(keys);
    return iterator;
}

/* The views are Python's: ipcsys/views.py. */
static PyObject *
view(PyObject *object, const char *name)
{
    if (ips_container_check(&((ips_map_object *)object)->base) < 0) {
        return NULL;
    }
    PyObject *module = PyImport_ImportModule("ipcsys.views");
    PyObject *result = module == NULL ? NULL : PyObject_CallMethod(module, name, "O", object);
    Py_XDECREF(module);
    return result;
}

PyObject *
ips_map_object_keys(PyObject *self, PyObject *unused)
{
    (void)unused;
    return view(self, "MapKeys");
}

PyObject *
ips_map_object_values(PyObject *self, PyObject *unused)
{
    (void)unused;
    return view(self, "MapValues");
}

PyObject *
ips_map_object_items(PyObject *self, PyObject *unused)
{
    (void)unused;
    return view(self, "MapItems");
}

/* Containers in it say themselves what they are. */
static PyObject *
text_of(PyObject *object, void *unused)
{
    (void)unused;
    ips_map_object *self = (ips_map_object *)object;
    ips_snapshot snapshot;
    if (take_snapshot(self, IPS_MAP_ITEMS, &snapshot) < 0) {
        return NULL;
    }
    const bool unsure = ips_nested_any_needs_lock(&self->base, &snapshot);
    PyObject *dict = unsure ? NULL : decode_dict(self, &snapshot, false);
    ips_snapshot_clear(&snapshot);
    const char *type = strrchr(Py_TYPE(object)->tp_name, '.');
    PyObject *text = unsure ? ips_nested_locked(object, text_of, NULL)
        : dict == NULL ? NULL
                       : PyUnicode_FromFormat("%s(%R)",
                             type == NULL ? Py_TYPE(object)->tp_name : type + 1, dict);
    Py_XDECREF(dict);
    return text;
}

PyObject *
ips_map_object_repr(PyObject *object)
{
    if (((ips_map_object *)object)->base.home.segment != NULL) {
        return text_of(object, NULL);
    }
    const char *type = strrchr(Py_TYPE(object)->tp_name, '.');
    return PyUnicode_FromFormat("<closed %s>", type == NULL ? Py_TYPE(object)->tp_name : type + 1);
}
