/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.SharedMap, one key at a time.  Keys and values are encoded before the
 * lock is taken and decoded after it was given up; lookups take no lock. */
#include "bind/map.h"

#include <structmember.h> /* after Python.h, which it leaves out */

#include "bind/key.h"
#include "bind/nested.h"
#include "bind/value.h"
#include "os/clock.h"

/* One operation on one key, for ips_container_run: no Python inside. */
typedef struct {
    const ips_map *map;
    const ips_key *key;
    const ips_value *value;
    const ips_value *expected;
    ips_value_copy *copy; /* of the value that was there */
    ips_value_copy *key_copy;
} operation;

static int
act_get(void *context)
{
    const operation *job = context;
    return ips_map_get_locked(job->map, job->key, job->copy);
}

/* The same without the lock. */
static int
look_get(void *context)
{
    const operation *job = context;
    int status = ips_map_get(job->map, job->key, job->copy);
    return status == IPS_MAP_BUSY ? IPS_EAGAIN : status;
}

/* Writers are inside for a microsecond; parking costs fifty, and on a machine
 * with much to do the CPU is long in coming back.  So first again and again
 * for as long as parking takes. */
static int
look_patiently(operation *job)
{
    const int64_t until = ips_now() + ips_spin_budget();
    int status = IPS_MAP_BUSY;
    while (status == IPS_MAP_BUSY && !ips_tx_is_mine(job->map->segment) && ips_now() < until) {
        status = ips_map_get(job->map, job->key, job->copy);
    }
    return status;
}

static int
act_set(void *context)
{
    const operation *job = context;
    return ips_map_set(job->map, job->key, job->value);
}

static int
act_insert(void *context)
{
    const operation *job = context;
    return ips_map_insert(job->map, job->key, job->value, job->copy);
}

static int
act_delete(void *context)
{
    const operation *job = context;
    return ips_map_delete(job->map, job->key, job->copy);
}

static int
act_pop_last(void *context)
{
    const operation *job = context;
    return ips_map_pop_last(job->map, job->key_copy, job->copy);
}

static int
act_compare_and_set(void *context)
{
    const operation *job = context;
    return ips_map_compare_and_set(job->map, job->key, job->expected, job->value);
}

static int
act_length(void *context)
{
    uint64_t *length = ((void **)context)[1];
    return ips_map_length_locked(((void **)context)[0], length);
}

static ips_value
value_of(const ips_encoded *encoded)
{
    return (ips_value){encoded->bytes, encoded->size, encoded->kind};
}

static PyObject *
decode(ips_map_object *self, ips_value_copy *copy)
{
    PyObject *value = ips_nested_decode(&self->base, copy->kind, copy->bytes, copy->size);
    ips_value_copy_clear(copy);
    return value;
}

/* --- looking up */

/* IPS_MAP_PRESENT with a copy (unless NULL), IPS_MAP_ABSENT, or -1. */
static int
look_up(ips_map_object *self, PyObject *key, ips_value_copy *copy)
{
    ips_key_encoding encoding;
    if (ips_container_check(&self->base) < 0 ||
        ips_key_encode(self->base.state, key, &encoding) < 0) {
        return -1;
    }
    int status = ips_map_get(&self->map, &encoding.key, copy);
    if (__builtin_expect(status == IPS_MAP_BUSY, 0)) {
        operation job = {.map = &self->map, .key = &encoding.key, .copy = copy};
        status = look_patiently(&job);
        if (status == IPS_MAP_BUSY) {
            status = ips_container_read(&self->base, look_get, act_get, &job);
            ips_key_encoding_clear(&encoding);
            return status;
        }
    }
    if (__builtin_expect(status < 0, 0)) {
        (void)ips_raise(self->base.state, status);
        status = -1;
    }
    ips_key_encoding_clear(&encoding);
    return status;
}

/* A new reference, or NULL: with no exception where the key is not there. */
static PyObject *
find(PyObject *object, void *key)
{
    ips_map_object *self = (ips_map_object *)object;
    ips_value_copy copy;
    ips_value_copy_init(&copy);
    int status = look_up(self, key, &copy);
    if (status != IPS_MAP_PRESENT) {
        ips_value_copy_clear(&copy);
        return NULL;
    }
    const bool unsure = ips_nested_needs_lock(&self->base, copy.kind);
    PyObject *value = decode(self, &copy);
    if (value == NULL && unsure &&
        PyErr_ExceptionMatches(self->base.state->errors[IPS_ORDINAL_GONE])) {
        /* The container went between the two looks. */
        PyErr_Clear();
        value = ips_nested_locked(object, find, key);
    }
    return value;
}

PyObject *
ips_map_object_get(PyObject *object, PyObject *key)
{
    PyObject *value = find(object, key);
    if (value == NULL && PyErr_Occurred() == NULL) {
        PyErr_SetObject(PyExc_KeyError, key);
    }
    return value;
}

static int
map_contains(PyObject *object, PyObject *key)
{
    int status = look_up((ips_map_object *)object, key, NULL);
    return status < 0 ? -1 : status == IPS_MAP_PRESENT;
}

/* The two positional arguments of get, setdefault, pop and the like. */
static int
one_or_two(const char *name, Py_ssize_t count, Py_ssize_t least)
{
    if (count >= least && count <= 2) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "%s expected %s, got %zd", name,
        least == 2 ? "2 arguments" : "1 or 2 arguments", count);
    return -1;
}

PyDoc_STRVAR(get_doc, "get($self, key, default=None, /)\n--\n\n"
    "A copy of the value of the key (a handle, where it is a container that stands in\n"
    "the map), or the default where the key is not there.");

static PyObject *
map_get(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    if (one_or_two("get", count, 1) < 0) {
        return NULL;
    }
    PyObject *value = find(object, args[0]);
    if (value == NULL && PyErr_Occurred() == NULL) {
        value = Py_NewRef(count == 2 ? args[1] : Py_None);
    }
    return value;
}

static Py_ssize_t
map_length(PyObject *object)
{
    ips_map_object *self = (ips_map_object *)object;
    uint64_t length = 0;
    if (ips_container_check(&self->base) < 0) {
        return -1;
    }
    int status = ips_map_length(&self->map, &length);
    if (status == IPS_MAP_BUSY) {
        void *context[2] = {&self->map, &length};
        status = ips_container_run(&self->base, act_length, context, 0);
    } else if (status < 0) {
        (void)ips_raise(self->base.state, status);
    }
    return status < 0 ? -1 : (Py_ssize_t)length;
}

/* --- changing */

static int
run(const ips_map_object *self, ips_act act, operation *job)
{
    if (act == act_set) {
        const uint64_t mark = ips_tx_mark(self->base.home.segment);
        if (mark != 0 && ips_transaction_admit_marked(self->base.state, mark) < 0) {
            return -1;
        }
        if (mark == 0 ? ips_map_overwrite(job->map, job->key, job->value)
                      : ips_map_overwrite_inside(job->map, job->key, job->value)) {
            ips_nested_settle(self->base.home.segment);
            return IPS_MAP_PRESENT;
        }
    }
    return ips_container_run(&self->base, act, job, job->value->size);
}

/* Encode key and value, run `act`; its outcome, or -1. */
static int
change(ips_map_object *self, PyObject *key, PyObject *value, ips_act act, ips_value_copy *copy)
{
    ips_key_encoding encoding;
    ips_encoded encoded;
    if (ips_container_check(&self->base) < 0 ||
        ips_key_encode(self->base.state, key, &encoding) < 0) {
        return -1;
    }
    int status = -1;
    if (value == NULL) {
        operation job = {.map = &self->map, .key = &encoding.key, .copy = copy};
        status = ips_container_run(&self->base, act, &job, 0);
    } else if (ips_nested_refuse(self->base.state, value) == 0 &&
               ips_value_encode(self->base.state, value, 0, &encoded) == 0) {
        ips_value plain = value_of(&encoded);
        operation job = {.map = &self->map, .key = &encoding.key, .value = &plain, .copy = copy};
        /* Encoding may have run Python code that closed the map. */
        status = ips_container_check(&self->base) < 0
            ? -1 : run(self, act, &job);
        ips_encoded_clear(&encoded);
    }
    ips_key_encoding_clear(&encoding);
    return status;
}

/* Does a container that stands in the map replace itself, as in m[key] += x?  -1
 * with an exception set. */
static int
is_there(ips_map_object *self, PyObject *key, PyObject *value)
{
    ips_value_copy copy;
    ips_value_copy_init(&copy);
    int status = look_up(self, key, &copy);
    const bool same = status == IPS_MAP_PRESENT &&
        ips_nested_is_same(&self->base, value, copy.kind, copy.bytes, copy.size);
    ips_value_copy_clear(&copy);
    return status < 0 ? -1 : same;
}

int
ips_map_object_set(PyObject *object, PyObject *key, PyObject *value)
{
    ips_map_object *self = (ips_map_object *)object;
    if (value != NULL && ips_nested_is_handle(self->base.state, value)) {
        int there = is_there(self, key, value);
        return there < 0 ? -1 : there ? 0 : ips_nested_refuse(self->base.state, value);
    }
    if (value != NULL) {
        return change(self, key, value, act_set, NULL) < 0 ? -1 : 0;
    }
    int status = change(self, key, NULL, act_delete, NULL);
    if (status == IPS_MAP_ABSENT) {
        PyErr_SetObject(PyExc_KeyError, key);
        return -1;
    }
    return status < 0 ? -1 : 0;
}

PyDoc_STRVAR(insert_doc, "insert($self, key, value, /)\n--\n\n"
    "Insert the key unless it is there; True if it was inserted.");

static PyObject *
map_insert(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    if (one_or_two("insert", count, 2) < 0) {
        return NULL;
    }
    int status = change((ips_map_object *)object, args[0], args[1], act_insert, NULL);
    return status < 0 ? NULL : PyBool_FromLong(status == IPS_MAP_ABSENT);
}

PyDoc_STRVAR(setdefault_doc, "setdefault($self, key, default=None, /)\n--\n\n"
    "The value of the key, which is inserted with the default where it is not there.");

static PyObject *
map_setdefault(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    if (one_or_two("setdefault", count, 1) < 0) {
        return NULL;
    }
    PyObject *value = count == 2 ? args[1] : Py_None;
    PyObject *found = find(object, args[0]);
    while (found == NULL && PyErr_Occurred() == NULL) {
        int status = change((ips_map_object *)object, args[0], value, act_insert, NULL);
        if (status < 0 || status == IPS_MAP_ABSENT) {
            return status < 0 ? NULL : Py_NewRef(value);
        }
        found = find(object, args[0]); /* another has inserted it, and may delete it again */
    }
    return found;
}

PyDoc_STRVAR(pop_doc, "pop($self, key, default=<unrepresentable>, /)\n--\n\n"
    "Remove the key and give its value; the default, else KeyError, where it is not there.\n"
    "A container that stands in the map goes, and what copy() gives of it is returned.");

/* Inside a transaction, the value of which may be a container; NULL with no
 * exception where the key is not there. */
static PyObject *
pop_nested(PyObject *object, void *key)
{
    ips_map_object *self = (ips_map_object *)object;
    PyObject *value = find(object, key);
    PyObject *copy = value == NULL ? NULL : ips_nested_copy(self->base.state, value);
    Py_XDECREF(value);
    if (copy != NULL && change(self, key, NULL, act_delete, NULL) < 0) {
        Py_CLEAR(copy);
    }
    return copy;
}

static PyObject *
map_pop(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    ips_map_object *self = (ips_map_object *)object;
    if (one_or_two("pop", count, 1) < 0) {
        return NULL;
    }
    ips_value_copy copy;
    ips_value_copy_init(&copy);
    int status = change(self, args[0], NULL, act_delete, &copy);
    if (status == IPS_MAP_PRESENT) {
        return decode(self, &copy);
    }
    ips_value_copy_clear(&copy);
    PyObject *value = status == IPS_MAP_NESTED ? ips_nested_locked(object, pop_nested, args[0])
                                               : NULL;
    if (value != NULL || status < 0 || PyErr_Occurred() != NULL) {
        return value;
    }
    if (count == 2) {
        return Py_NewRef(args[1]);
    }
    PyErr_SetObject(PyExc_KeyError, args[0]);
    return NULL;
}

PyDoc_STRVAR(popitem_doc, "popitem($self, /)\n--\n\n"
    "Remove the youngest item and give (key, value); KeyError where the map is empty.");

static PyObject *pop_item(PyObject *object, void *unused);

/* What was popped, or is to be popped in a transaction. */
static PyObject *
popped_item(PyObject *object, int status, const ips_value_copy *key, ips_value_copy *value)
{
    ips_map_object *self = (ips_map_object *)object;
    if (status == IPS_MAP_NESTED && ips_nested_needs_lock(&self->base, IPS_VALUE_REFERENCE)) {
        return ips_nested_locked(object, pop_item, NULL);
    }
    PyObject *first = ips_key_decode(self->base.state, key->bytes, key->size);
    PyObject *second = first == NULL ? NULL
        : status == IPS_MAP_NESTED ? pop_nested(object, first) : decode(self, value);
    PyObject *result = second == NULL ? NULL : PyTuple_Pack(2, first, second);
    Py_XDECREF(first);
    Py_XDECREF(second);
    return result;
}

static PyObject *
pop_item(PyObject *object, void *unused)
{
    (void)unused;
    ips_map_object *self = (ips_map_object *)object;
    if (ips_container_check(&self->base) < 0) {
        return NULL;
    }
    ips_value_copy key, value;
    ips_value_copy_init(&key);
    ips_value_copy_init(&value);
    operation job = {.map = &self->map, .copy = &value, .key_copy = &key};
    int status = ips_container_run(&self->base, act_pop_last, &job, 0);
    PyObject *result = NULL;
    if (status == IPS_MAP_ABSENT) {
        PyErr_SetString(PyExc_KeyError, "popitem(): the map is empty");
    } else if (status >= 0) {
        result = popped_item(object, status, &key, &value);
    }
    ips_value_copy_clear(&key);
    ips_value_copy_clear(&value);
    return result;
}

static PyObject *
map_popitem(PyObject *object, PyObject *unused)
{
    (void)unused;
    return pop_item(object, NULL);
}

PyDoc_STRVAR(compare_and_set_doc, "compare_and_set($self, key, expected, desired, /)\n--\n\n"
    "Replace the value of the key if it is the expected one; True if it was.\n\n"
    "Values are compared by their encoding, which tells 1 from 1.0 and goes by\n"
    "the order of a dict's keys.");

/* As it is stored; a handle is the container in the map that it is of. */
static int
encode_expected(const ips_map_object *self, PyObject *expected, ips_encoded *out)
{
    if (!ips_nested_is_handle(self->base.state, expected)) {
        return ips_value_encode(self->base.state, expected, 0, out);
    }
    *out = (ips_encoded){.bytes = out->room, .size = sizeof(ips_reference),
        .kind = IPS_VALUE_REFERENCE};
    ips_nested_reference(&self->base, expected, out->room);
    return 0;
}

static PyObject *
map_compare_and_set(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    ips_map_object *self = (ips_map_object *)object;
    if (count != 3) {
        return PyErr_Format(PyExc_TypeError, "compare_and_set expected 3 arguments, got %zd", count);
    }
    ips_key_encoding key;
    ips_encoded expected, desired;
    ips_state *state = self->base.state;
    if (ips_container_check(&self->base) < 0 || ips_key_encode(state, args[0], &key) < 0) {
        return NULL;
    }
    int status = -1;
    if (encode_expected(self, args[1], &expected) == 0) {
        if (ips_nested_refuse(state, args[2]) == 0 &&
            ips_value_encode(state, args[2], 0, &desired) == 0) {
            ips_value old = value_of(&expected);
            ips_value new = value_of(&desired);
            operation job = {.map = &self->map, .key = &key.key, .expected = &old, .value = &new};
            status = ips_container_check(&self->base) < 0 ? -1
                : ips_container_run(&self->base, act_compare_and_set, &job, old.size + new.size);
            ips_encoded_clear(&desired);
        }
        ips_encoded_clear(&expected);
    }
    ips_key_encoding_clear(&key);
    return status < 0 ? NULL : PyBool_FromLong(status == IPS_MAP_PRESENT);
}

/* --- the type */

PyDoc_STRVAR(map_doc,
    "SharedMap(mapping_or_pairs=(), /, *, name=None, namespace=None, create=None, cleanup=None,\n"
    "          max_size=None, segment=None)\n--\n\n"
    "A dict in shared memory, safe against the death of any process that uses it.\n\n"
    "Values are copies: what you get is yours, and changing it changes nothing\n"
    "shared, but for the containers that construct() makes in it.  Keys are None, bool,\n"
    "int, float, str, bytes, datetime and tuples of these, and keep their order of\n"
    "insertion.  Lookups take no lock.  Inside `with segment.transaction():` changes join\n"
    "the transaction.");

static PyMethodDef map_methods[] = {
    {"get", (PyCFunction)(void (*)(void))map_get, METH_FASTCALL, get_doc},
    {"insert", (PyCFunction)(void (*)(void))map_insert, METH_FASTCALL, insert_doc},
    {"setdefault", (PyCFunction)(void (*)(void))map_setdefault, METH_FASTCALL, setdefault_doc},
    {"pop", (PyCFunction)(void (*)(void))map_pop, METH_FASTCALL, pop_doc},
    {"popitem", map_popitem, METH_NOARGS, popitem_doc},
    {"compare_and_set", (PyCFunction)(void (*)(void))map_compare_and_set, METH_FASTCALL,
        compare_and_set_doc},
    IPS_MAP_EDIT_METHODS,
    IPS_NESTED_METHODS,
    IPS_MAP_WHOLE_METHODS,
    IPS_CONTAINER_METHODS(ips_map_object_restore),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef map_getsets[] = {
    IPS_CONTAINER_GETSETS,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef map_members[] = {
    IPS_CONTAINER_WEAKREFS,
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot map_slots[] = {
    {Py_tp_doc, (void *)map_doc},
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_init, (void *)ips_map_object_init},
    {Py_tp_dealloc, (void *)ips_container_dealloc},
    {Py_tp_traverse, (void *)ips_container_traverse},
    {Py_tp_clear, (void *)ips_container_clear},
    {Py_tp_repr, (void *)ips_map_object_repr},
    {Py_tp_hash, (void *)PyObject_HashNotImplemented},
    {Py_tp_richcompare, (void *)ips_map_object_compare},
    {Py_tp_iter, (void *)ips_map_object_iter},
    {Py_tp_methods, map_methods},
    {Py_tp_getset, map_getsets},
    {Py_tp_members, map_members},
    {Py_mp_subscript, (void *)ips_map_object_get},
    {Py_mp_ass_subscript, (void *)ips_map_object_set},
    {Py_mp_length, (void *)map_length},
    {Py_sq_contains, (void *)map_contains},
    {Py_nb_or, (void *)ips_map_object_or},
    {Py_nb_inplace_or, (void *)ips_map_object_update_in_place},
    {0, NULL},
};

static PyType_Spec map_spec = {
    .name = "ipcsys.SharedMap",
    .basicsize = sizeof(ips_map_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = map_slots,
};

int
ips_add_map(PyObject *module, ips_state *state)
{
    state->map_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &map_spec, NULL);
    if (state->map_type == NULL || PyModule_AddType(module, state->map_type) < 0 ||
        ips_map_add_editing(module, state) < 0) {
        return -1;
    }
    return ips_container_register(state->map_type, "MutableMapping");
}
