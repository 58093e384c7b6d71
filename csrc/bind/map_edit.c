/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.SharedMap: reading and changing a value in one step. */
#include "bind/key.h"
#include "bind/map.h"
#include "bind/nested.h"
#include "bind/value.h"
#include "codec/msgpack.h"

/* --- increment */

typedef struct {
    const ips_map *map;
    const ips_key *key;
    int64_t amount;
    int64_t sum;
    ips_value_copy old;
} adding;

/* Not two numbers of 64 bits: add them in Python. */
enum { IN_PYTHON = 40 };

/* The stored value as a number; false where it is another thing. */
static bool
number_of(const ips_value_copy *copy, int64_t *out)
{
    ips_unpacker unpacker;
    ips_token token;
    if (copy->kind != IPS_VALUE_MSGPACK) {
        return false;
    }
    ips_unpacker_init(&unpacker, copy->bytes, copy->size);
    if (ips_unpacker_next(&unpacker, &token) < 0 || ips_unpacker_finish(&unpacker) < 0) {
        return false;
    }
    *out = token.kind == IPS_TOKEN_INT ? token.negative : (int64_t)token.natural;
    return token.kind == IPS_TOKEN_INT ||
           (token.kind == IPS_TOKEN_UINT && token.natural <= INT64_MAX);
}

static int
act_add(void *context)
{
    adding *job = context;
    int64_t old = 0;
    int found = ips_map_get_locked(job->map, job->key, &job->old);
    if (found < 0) {
        return found;
    }
    if ((found == IPS_MAP_PRESENT && !number_of(&job->old, &old)) ||
        __builtin_add_overflow(old, job->amount, &job->sum)) {
        return IN_PYTHON;
    }
    uint8_t room[16];
    ips_packer packer;
    ips_packer_init(&packer, room, sizeof room);
    int status = ips_packer_put_int(&packer, job->sum);
    const ips_value value = {packer.bytes, packer.size, IPS_VALUE_MSGPACK};
    status = status < 0 ? status : ips_map_set(job->map, job->key, &value);
    return status < 0 ? status : 0;
}

typedef struct {
    PyObject *key, *amount;
} sum_of;

/* In a transaction, with Python's own +. */
static PyObject *
add_in_python(PyObject *object, void *context)
{
    const sum_of *job = context;
    PyObject *old = ips_map_object_get(object, job->key);
    PyObject *sum = old == NULL ? NULL : PyNumber_Add(old, job->amount);
    Py_XDECREF(old);
    if (sum != NULL && ips_map_object_set(object, job->key, sum) < 0) {
        Py_CLEAR(sum);
    }
    return sum;
}

/* Is it an int of 64 bits? */
static bool
is_small(PyObject *amount, int64_t *out)
{
    int overflow = 1;
    *out = PyLong_CheckExact(amount) ? PyLong_AsLongLongAndOverflow(amount, &overflow) : 0;
    return overflow == 0;
}

PyObject *
ips_map_object_increment(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    ips_map_object *self = (ips_map_object *)object;
    adding job = {.map = &self->map, .amount = 1};
    ips_key_encoding key;
    if (count < 1 || count > 2) {
        return PyErr_Format(PyExc_TypeError, "increment() takes a key and a number (%zd given)",
            count);
    }
    bool small = count == 1 || is_small(args[1], &job.amount);
    if (ips_container_check(&self->base) < 0 ||
        ips_key_encode(self->base.state, args[0], &key) < 0) {
        return NULL;
    }
    job.key = &key.key;
    ips_value_copy_init(&job.old);
    int status = small ? ips_container_run(&self->base, act_add, &job, 0) : IN_PYTHON;
    ips_value_copy_clear(&job.old);
    ips_key_encoding_clear(&key);
    if (status != IN_PYTHON) {
        return status < 0 ? NULL : PyLong_FromLongLong(job.sum);
    }
    PyObject *one = count == 2 ? Py_NewRef(args[1]) : PyLong_FromLong(1);
    PyObject *sum = one == NULL ? NULL
        : ips_nested_locked(object, add_in_python, &(sum_of){args[0], one});
    Py_XDECREF(one);
    return sum;
}

/* --- revision, get_many */

typedef struct {
    const ips_map *map;
    const ips_key *key;
    ips_value_copy *copy;
} looking;

static int
act_look(void *context)
{
    const looking *job = context;
    return ips_map_get_locked(job->map, job->key, job->copy);
}

PyObject *
ips_map_object_revision(PyObject *object, PyObject *key)
{
    ips_map_object *self = (ips_map_object *)object;
    ips_key_encoding encoding;
    ips_value_copy copy;
    if (ips_container_check(&self->base) < 0 ||
        ips_key_encode(self->base.state, key, &encoding) < 0) {
        return NULL;
    }
    ips_value_copy_init(&copy);
    int status = ips_map_get(&self->map, &encoding.key, &copy);
    if (status == IPS_MAP_BUSY) {
        looking job = {&self->map, &encoding.key, &copy};
        status = ips_container_run(&self->base, act_look, &job, 0);
    } else if (status < 0) {
        (void)ips_raise(self->base.state, status);
    }
    const unsigned long long revision = copy.revision;
    ips_value_copy_clear(&copy);
    ips_key_encoding_clear(&encoding);
    if (status == IPS_MAP_ABSENT) {
        PyErr_SetObject(PyExc_KeyError, key);
    }
    return status != IPS_MAP_PRESENT ? NULL : PyLong_FromUnsignedLongLong(revision);
}

typedef struct {
    const ips_map *map;
    ips_key_encoding *keys;
    Py_ssize_t count;
    bool *found;
    ips_snapshot values; /* of those found, in order */
    bool nested;         /* there are containers among them */
} gathering;

static int
act_gather(void *context)
{
    gathering *job = context;
    job->values.size = 0;
    job->values.records = 0;
    for (Py_ssize_t i = 0; i < job->count; i++) {
        ips_value_copy copy;
        ips_value_copy_init(&copy);
        int status = ips_map_get_locked(job->map, &job->keys[i].key, &copy);
        job->found[i] = status == IPS_MAP_PRESENT;
        if (job->found[i]) {
            job->nested = job->nested || copy.kind == IPS_VALUE_REFERENCE;
            status = ips_snapshot_put(&job->values, copy.bytes, copy.size, copy.kind);
        }
        ips_value_copy_clear(&copy);
        if (status < 0) {
            return status;
        }
    }
    return 0;
}

static PyObject *
gathered(const ips_map_object *self, const gathering *job, PyObject *keys)
{
    PyObject *dict = PyDict_New();
    size_t at = 0;
    for (Py_ssize_t i = 0; dict != NULL && i < job->count; i++) {
        ips_value value;
        if (!job->found[i] || !ips_snapshot_next(&job->values, &at, &value)) {
            continue;
        }
        PyObject *object = ips_nested_decode(&self->base, value.kind, value.bytes, value.size);
        if (object == NULL || PyDict_SetItem(dict, PySequence_Fast_GET_ITEM(keys, i), object) < 0) {
            Py_CLEAR(dict);
        }
        Py_XDECREF(object);
    }
    return dict;
}

/* `keys` is a list or tuple of our own. */
static PyObject *
gather(PyObject *object, void *keys)
{
    ips_map_object *self = (ips_map_object *)object;
    const Py_ssize_t count = PySequence_Fast_GET_SIZE(keys);
    gathering job = {.map = &self->map, .keys = PyMem_New(ips_key_encoding, count + 1),
        .found = PyMem_New(bool, count + 1)};
    PyObject *dict = NULL;
    int status = job.keys == NULL || job.found == NULL ? -1 : 0;
    if (status < 0) {
        (void)PyErr_NoMemory();
    }
    for (; status == 0 && job.count < count; job.count += status == 0) {
        status = ips_key_encode(self->base.state, PySequence_Fast_GET_ITEM(keys, job.count),
            &job.keys[job.count]);
    }
    if (status == 0 && ips_container_check(&self->base) == 0 &&
        ips_container_run(&self->base, act_gather, &job, 0) >= 0) {
        dict = job.nested && ips_nested_needs_lock(&self->base, IPS_VALUE_REFERENCE)
            ? ips_nested_locked(object, gather, keys) : gathered(self, &job, keys);
    }
    for (Py_ssize_t i = 0; i < job.count; i++) {
        ips_key_encoding_clear(&job.keys[i]);
    }
    ips_snapshot_clear(&job.values);
    PyMem_Free(job.keys);
    PyMem_Free(job.found);
    return dict;
}

PyObject *
ips_map_object_get_many(PyObject *object, PyObject *keys)
{
    ips_map_object *self = (ips_map_object *)object;
    if (ips_container_check(&self->base) < 0) {
        return NULL;
    }
    PyObject *row = PySequence_Tuple(keys);
    PyObject *dict = row == NULL ? NULL : gather(object, row);
    Py_XDECREF(row);
    return dict;
}

/* --- editing */

typedef struct {
    PyObject_HEAD
    PyObject *map, *key, *default_; /* default_ NULL: none */
    PyObject *transaction;
    PyObject *value; /* while inside */
} editing;

PyObject *
ips_map_object_editing(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "", "timeout", NULL};
    ips_state *state = ((ips_map_object *)object)->base.state;
    PyObject *key, *default_ = NULL, *timeout = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OO:editing", names, &key, &default_,
            &timeout)) {
        return NULL;
    }
    PyObject *transaction = ips_transaction_new(state, object, timeout);
    editing *self = transaction == NULL
        ? NULL : (editing *)state->editing_type->tp_alloc(state->editing_type, 0);
    if (self == NULL) {
        Py_XDECREF(transaction);
        return NULL;
    }
    self->map = Py_NewRef(object);
    self->key = Py_NewRef(key);
    self->default_ = Py_XNewRef(default_);
    self->transaction = transaction;
    return (PyObject *)self;
}

/* Leave the transaction with the exception that is set, which stays set. */
static void
undo(editing *self)
{
    PyObject *kind, *error, *trace;
    PyErr_Fetch(&kind, &error, &trace);
    PyObject *left = PyObject_CallMethod(self->transaction, "__exit__", "OOO",
        kind == NULL ? PyExc_Exception : kind, Py_None, Py_None);
    Py_XDECREF(left);
    if (kind != NULL) {
        PyErr_Restore(kind, error, trace);
    }
}

static PyObject *
editing_enter(PyObject *object, PyObject *unused)
{
    (void)unused;
    editing *self = (editing *)object;
    PyObject *entered = PyObject_CallMethod(self->transaction, "__enter__", NULL);
    if (entered == NULL) {
        return NULL;
    }
    Py_DECREF(entered);
    self->value = ips_map_object_get(self->map, self->key);
    if (self->value == NULL && self->default_ != NULL && PyErr_ExceptionMatches(PyExc_KeyError)) {
        PyErr_Clear();
        self->value = Py_NewRef(self->default_);
    }
    if (self->value == NULL) {
        undo(self);
        return NULL;
    }
    return Py_NewRef(self->value);
}

static PyObject *
editing_exit(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    editing *self = (editing *)object;
    PyObject *value = self->value;
    self->value = NULL;
    const bool failed = count > 0 && args[0] != Py_None;
    if (value != NULL && !failed && ips_map_object_set(self->map, self->key, value) < 0) {
        undo(self);
        Py_DECREF(value);
        return NULL;
    }
    Py_XDECREF(value);
    return PyObject_CallMethod(self->transaction, "__exit__", "OOO", failed ? args[0] : Py_None,
        Py_None, Py_None);
}

static int
editing_traverse(PyObject *object, visitproc visit, void *arg)
{
    editing *self = (editing *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->map);
    Py_VISIT(self->key);
    Py_VISIT(self->default_);
    Py_VISIT(self->transaction);
    Py_VISIT(self->value);
    return 0;
}

static int
editing_clear(PyObject *object)
{
    editing *self = (editing *)object;
    Py_CLEAR(self->transaction); /* first: where it is open, this undoes it */
    Py_CLEAR(self->map);
    Py_CLEAR(self->key);
    Py_CLEAR(self->default_);
    Py_CLEAR(self->value);
    return 0;
}

static void
editing_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    (void)editing_clear(object);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef editing_methods[] = {
    {"__enter__", editing_enter, METH_NOARGS, "__enter__($self, /)\n--\n\n"
        "Begin the transaction and give a copy of the value."},
    {"__exit__", (PyCFunction)(void (*)(void))editing_exit, METH_FASTCALL,
        "__exit__($self, /, *exc_info)\n--\n\nWrite it back, or nothing after an exception."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot editing_slots[] = {
    {Py_tp_doc, (void *)"What SharedMap.editing() gives: one value, read and written back."},
    {Py_tp_methods, editing_methods},
    {Py_tp_traverse, (void *)editing_traverse},
    {Py_tp_clear, (void *)editing_clear},
    {Py_tp_dealloc, (void *)editing_dealloc},
    {0, NULL},
};

static PyType_Spec editing_spec = {
    .name = "ipcsys._core.Editing",
    .basicsize = sizeof(editing),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = editing_slots,
};

int
ips_map_add_editing(PyObject *module, ips_state *state)
{
    state->editing_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &editing_spec, NULL);
    return state->editing_type == NULL ? -1 : 0;
}
