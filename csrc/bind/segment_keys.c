/* SPDX-License-Identifier: Apache-2.0 */
/* The objects under a Segment's keys. */
#include "bind/record.h"
#include "bind/nested.h"
#include "bind/region.h"
#include "bind/segment.h"

#include <stdlib.h>
#include <string.h>

#include "os/clock.h"

/* --- construct, find_or_construct ---------------------------------------- */

#define OWN_KEYWORDS 3 /* name, segment, create */

typedef struct {
    PyObject *segment, *key;
    PyObject *create; /* NULL: left out */
    PyObject *const *args;
    Py_ssize_t count;    /* by position, before those by keyword */
    PyObject *keywords;  /* names, or NULL */
} call;

/* The caller's keywords and ours, as one tuple of names. */
static PyObject *
names_of(const call *it)
{
    static const char *const own[OWN_KEYWORDS] = {"name", "segment", "create"};
    Py_ssize_t given = it->keywords == NULL ? 0 : PyTuple_GET_SIZE(it->keywords);
    Py_ssize_t added = it->create == NULL ? OWN_KEYWORDS - 1 : OWN_KEYWORDS;
    PyObject *names = PyTuple_New(given + added);
    for (Py_ssize_t i = 0; names != NULL && i < given; i++) {
        PyObject *name = PyTuple_GET_ITEM(it->keywords, i);
        for (int j = 0; j < OWN_KEYWORDS; j++) {
            if (PyUnicode_CompareWithASCIIString(name, own[j]) == 0) {
                PyErr_Format(PyExc_TypeError, "%U is given by the segment", name);
                Py_CLEAR(names);
                return NULL;
            }
        }
        PyTuple_SET_ITEM(names, i, Py_NewRef(name));
    }
    for (Py_ssize_t i = 0; names != NULL && i < added; i++) {
        PyObject *name = PyUnicode_InternFromString(own[i]);
        if (name == NULL) {
            Py_CLEAR(names);
        } else {
            PyTuple_SET_ITEM(names, given + i, name);
        }
    }
    return names;
}

/* class(*args, **kwargs, name=key, segment=segment[, create=create]) */
static PyObject *
call_class(PyObject *class, const call *it)
{
    Py_ssize_t given = it->keywords == NULL ? 0 : PyTuple_GET_SIZE(it->keywords);
    Py_ssize_t all = it->count + given;
    PyObject *names = names_of(it);
    PyObject **values = names == NULL ? NULL : PyMem_New(PyObject *, all + OWN_KEYWORDS);
    PyObject *result = NULL;
    if (values != NULL) {
        if (all != 0) {
            memcpy(values, it->args, (size_t)all * sizeof *values);
        }
        values[all] = it->key;
        values[all + 1] = it->segment;
        values[all + 2] = it->create;
        result = PyObject_Vectorcall(class, values, (size_t)it->count, names);
        PyMem_Free(values);
    } else if (names != NULL) {
        (void)PyErr_NoMemory();
    }
    Py_XDECREF(names);
    return result;
}

/* A record's fields may have any names, also those of our own keywords. */
static PyObject *
construct_record(ips_state *state, PyObject *class, const call *it)
{
    PyObject *args = PyTuple_New(it->count);
    PyObject *kwargs = args == NULL ? NULL : PyDict_New();
    for (Py_ssize_t i = 0; kwargs != NULL && i < it->count; i++) {
        PyTuple_SET_ITEM(args, i, Py_NewRef(it->args[i]));
    }
    for (Py_ssize_t i = 0; it->keywords != NULL && i < PyTuple_GET_SIZE(it->keywords); i++) {
        if (kwargs != NULL && PyDict_SetItem(kwargs, PyTuple_GET_ITEM(it->keywords, i),
                                             it->args[it->count + i]) < 0) {
            Py_CLEAR(kwargs);
        }
    }
    const ips_container_where where = {.name = it->key, .segment = it->segment,
                                       .create = it->create};
    PyObject *result = kwargs == NULL ? NULL
        : ips_record_construct(state, (PyTypeObject *)class, &where, args, kwargs);
    Py_XDECREF(args);
    Py_XDECREF(kwargs);
    return result;
}

static bool
is_record_class(ips_state *state, PyObject *class)
{
    return PyType_Check(class) && PyType_IsSubtype((PyTypeObject *)class, state->record_type);
}

/* Take `allocator` out of the keywords where it is one: a record may have a field
 * of that name.  1: *out is filled in; 0: none was given; -1: an exception is set. */
static int
take_allocator(ips_state *state, call *it, const call *given, ips_allocator *out)
{
    Py_ssize_t all = it->keywords == NULL ? 0 : PyTuple_GET_SIZE(it->keywords);
    for (Py_ssize_t i = 0; i < all; i++) {
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(it->keywords, i), "allocator") != 0) {
            continue;
        }
        int found = ips_allocator_of(state, it->args[it->count + i], it->segment, out);
        if (found != 1) {
            return found;
        }
        if (!ips_shared_has_blocks(state, given->args[0])) {
            PyErr_Format(PyExc_TypeError, "%R stands in a cell of the segment; an allocator is for "
                         "records, SharedMap, SharedVector, SharedDeque, SharedString, SharedBytes "
                         "and SharedCell", given->args[0]);
            return -1;
        }
        out->key = it->key;
        return 1;
    }
    return 0;
}

/* The same call without the keyword `allocator`. */
static PyObject *
call_without(ips_state *state, PyObject *class, const call *it)
{
    Py_ssize_t left = PyTuple_GET_SIZE(it->keywords) - 1;
    PyObject *names = PyTuple_New(left);
    PyObject **values = names == NULL ? NULL : PyMem_New(PyObject *, it->count + left + 1);
    PyObject *result = NULL;
    for (Py_ssize_t i = 0; values != NULL && i < it->count; i++) {
        values[i] = it->args[i];
    }
    for (Py_ssize_t i = 0, j = 0; values != NULL && i <= left; i++) {
        PyObject *name = PyTuple_GET_ITEM(it->keywords, i);
        if (PyUnicode_CompareWithASCIIString(name, "allocator") != 0) {
            PyTuple_SET_ITEM(names, j, Py_NewRef(name));
            values[it->count + j++] = it->args[it->count + i];
        }
    }
    if (values != NULL) {
        call inner = {it->segment, it->key, it->create, values, it->count, names};
        result = is_record_class(state, class) ? construct_record(state, class, &inner)
                                               : call_class(class, &inner);
    } else if (names != NULL) {
        (void)PyErr_NoMemory();
    }
    PyMem_Free(values);
    Py_XDECREF(names);
    return result;
}

static PyObject *
construct(PyObject *self, const call *it, PyObject *create)
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    if (state == NULL || ips_segment_of(state, self) == NULL) {
        return NULL;
    }
    if (it->count < 2) {
        PyErr_SetString(PyExc_TypeError, "a type and a key are needed");
        return NULL;
    }
    PyObject *class = it->args[0];
    if (!ips_shared_is_class(state, class)) {
        return PyErr_Format(PyExc_TypeError, "%R cannot stand in a segment; SharedMap, SharedDeque, "
                            "AtomicInt, Record classes and their like can", class);
    }
    call inner = {self, it->args[1], create, it->args + 2, it->count - 2, it->keywords};
    ips_allocator allocator;
    int given = take_allocator(state, &inner, it, &allocator);
    if (given != 0) {
        const ips_allocator *before = given < 0 ? NULL : ips_allocator_set(&allocator);
        PyObject *result = given < 0 ? NULL : call_without(state, class, &inner);
        if (given > 0) {
            (void)ips_allocator_set(before);
        }
        return result;
    }
    return is_record_class(state, class) ? construct_record(state, class, &inner)
                                         : call_class(class, &inner);
}

PyObject *
ips_segment_construct(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    call it = {.args = args, .count = count, .keywords = keywords};
    return construct(self, &it, Py_True);
}

PyObject *
ips_segment_find_or_construct(PyObject *self, PyObject *const *args, Py_ssize_t count,
                              PyObject *keywords)
{
    call it = {.args = args, .count = count, .keywords = keywords};
    return construct(self, &it, NULL);
}

/* In another container instead of a segment. */
static PyObject *
construct_nested(PyObject *self, const call *it, PyObject *create)
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    if (state == NULL || ips_container_check((ips_container *)self) < 0) {
        return NULL;
    }
    const Py_ssize_t own = PyObject_TypeCheck(self, state->map_type) ? 2 : 1;
    if (it->count < own) {
        PyErr_SetString(PyExc_TypeError, own == 2 ? "a type and a key are needed"
                                                  : "a type is needed");
        return NULL;
    }
    PyObject *class = it->args[0];
    if (!ips_shared_can_nest(state, class)) {
        return PyErr_Format(PyExc_TypeError, "%R cannot stand in a container; SharedMap, "
                            "SharedVector and SharedDeque can", class);
    }
    call inner = {self, own == 2 ? it->args[1] : Py_None, create, it->args + own,
                  it->count - own, it->keywords};
    return call_class(class, &inner);
}

PyObject *
ips_nested_construct(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    call it = {.args = args, .count = count, .keywords = keywords};
    return construct_nested(self, &it, Py_True);
}

PyObject *
ips_nested_find_or_construct(PyObject *self, PyObject *const *args, Py_ssize_t count,
                             PyObject *keywords)
{
    call it = {.args = args, .count = count, .keywords = keywords};
    return construct_nested(self, &it, NULL);
}

/* --- find ---------------------------------------------------------------- */

typedef struct {
    const char *key;
    ips_entry entry;
} finding;

enum { FOUND = 0, ABSENT = 1 };

static int
act_find(ips_segment *segment, void *context)
{
    finding *job = (finding *)context;
    int status = ips_catalogue_find(segment, job->key, &job->entry);
    return status == IPS_ENOENT ? ABSENT : status;
}

/* FOUND, ABSENT or -1 with an exception set. */
static int
find_entry(ips_state *state, PyObject *self, PyObject *key, finding *job)
{
    ips_segment *segment = ips_segment_of(state, self);
    job->key = segment == NULL ? NULL : ips_name_of(state, key);
    if (job->key == NULL || ips_transaction_admit(state, segment) < 0) {
        return -1;
    }
    int status = act_find(segment, job);
    if (status == IPS_EAGAIN) { /* a writer is inside: wait for it */
        status = ips_segment_run(state, segment, act_find, job, IPS_FOREVER);
        return status < 0 ? -1 : status;
    }
    if (status < 0) {
        (void)ips_raise(state, status);
        return -1;
    }
    return status;
}

/* A new reference, or NULL: without an exception where there is none.  `wanted`
 * is a class or None. */
static PyObject *
find(PyObject *self, PyObject *key, PyObject *wanted)
{
    finding job;
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    if (state == NULL) {
        return NULL;
    }
    if (wanted != Py_None && !ips_shared_is_class(state, wanted)) {
        return PyErr_Format(PyExc_TypeError, "%R cannot stand in a segment", wanted);
    }
    if (find_entry(state, self, key, &job) != FOUND) {
        return NULL;
    }
    PyObject *class = wanted != Py_None ? wanted
        : (PyObject *)ips_shared_class(state, job.entry.type);
    if (class == NULL) {
        return ips_raise_text(state, IPS_EMISMATCH, "'%s' has a type (%u) that this version does "
                              "not know", job.key, (unsigned)job.entry.type);
    }
    call it = {.segment = self, .key = key, .create = Py_False};
    PyObject *found = is_record_class(state, class)
        ? ips_record_find(state, (PyTypeObject *)class, self, key) : call_class(class, &it);
    /* Destroyed since we looked. */
    if (found == NULL && PyErr_ExceptionMatches(state->errors[-IPS_ENOENT - 1])) {
        PyErr_Clear();
    }
    return found;
}

PyObject *
ips_segment_find(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "type", NULL};
    PyObject *key, *type = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:find", names, &key, &type)) {
        return NULL;
    }
    PyObject *found = find(self, key, type);
    if (found == NULL && PyErr_Occurred() == NULL) {
        Py_RETURN_NONE;
    }
    return found;
}

PyObject *
ips_segment_subscript(PyObject *self, PyObject *key)
{
    PyObject *found = find(self, key, Py_None);
    if (found == NULL && PyErr_Occurred() == NULL) {
        PyErr_SetObject(PyExc_KeyError, key);
    }
    return found;
}

int
ips_segment_contains(PyObject *self, PyObject *key)
{
    finding job;
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    if (state == NULL) {
        return -1;
    }
    if (!PyUnicode_Check(key)) {
        return ips_segment_of(state, self) == NULL ? -1 : 0;
    }
    int status = find_entry(state, self, key, &job);
    if (status < 0 && PyErr_ExceptionMatches(state->errors[-IPS_ENAME - 1])) {
        PyErr_Clear(); /* what cannot be a key is none */
        return 0;
    }
    return status < 0 ? -1 : status == FOUND;
}

/* --- destroy ------------------------------------------------------------- */

static int
act_destroy(ips_segment *segment, void *context)
{
    finding *job = (finding *)context;
    int status = act_find(segment, job);
    if (status != FOUND) {
        return status;
    }
    const ips_shared_type *type = ips_shared_type_of(job->entry.type);
    if (type == NULL) {
        return ips_fail(IPS_EMISMATCH, "'%s' has a type (%u) that this version does not know",
                        job->key, (unsigned)job->entry.type);
    }
    status = type->destroy(segment, &job->entry);
    return status < 0 ? status : ips_catalogue_remove(segment, job->key);
}

PyObject *
ips_segment_destroy(PyObject *self, PyObject *key)
{
    finding job;
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    ips_segment *segment = state == NULL ? NULL : ips_segment_of(state, self);
    job.key = segment == NULL ? NULL : ips_name_of(state, key);
    if (job.key == NULL) {
        return NULL;
    }
    int status = ips_segment_run(state, segment, act_destroy, &job, IPS_FOREVER);
    return status < 0 ? NULL : PyBool_FromLong(status == FOUND);
}

/* --- all of them --------------------------------------------------------- */

typedef struct {
    char *names; /* each with its NUL */
    size_t size, capacity;
} listing;

static int
act_list(ips_segment *segment, void *context)
{
    listing *job = (listing *)context;
    ips_entry entry;
    uint64_t cursor = 0;
    int status;
    job->size = 0;
    while ((status = ips_catalogue_next(segment, &cursor, &entry)) == 0) {
        size_t size = strlen(entry.name) + 1;
        if (job->size + size > job->capacity) {
            size_t capacity = job->capacity * 2 + 4096;
            char *names = realloc(job->names, capacity);
            if (names == NULL) {
                return ips_fail(IPS_ENOMEM, "listing a segment's keys");
            }
            job->names = names;
            job->capacity = capacity;
        }
        memcpy(job->names + job->size, entry.name, size);
        job->size += size;
    }
    return status == IPS_ENOENT ? IPS_OK : status;
}

PyObject *
ips_segment_keys(PyObject *self, PyObject *unused)
{
    (void)unused;
    listing job = {.names = NULL};
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    ips_segment *segment = state == NULL ? NULL : ips_segment_of(state, self);
    if (segment == NULL) {
        return NULL;
    }
    int status = ips_segment_run(state, segment, act_list, &job, IPS_FOREVER);
    PyObject *keys = status < 0 ? NULL : PyList_New(0);
    for (size_t at = 0; keys != NULL && at < job.size; at += strlen(job.names + at) + 1) {
        PyObject *key = PyUnicode_DecodeUTF8(job.names + at, (Py_ssize_t)strlen(job.names + at),
                                             "backslashreplace");
        if (key == NULL || PyList_Append(keys, key) < 0) {
            Py_CLEAR(keys);
        }
        Py_XDECREF(key);
    }
    free(job.names);
    return keys;
}

PyObject *
ips_segment_iter(PyObject *self)
{
    PyObject *keys = ips_segment_keys(self, NULL);
    PyObject *iterator = keys == NULL ? NULL : PyObject_GetIter(keys);
    Py_XDECREF(keys);
    return iterator;
}

static int
act_count(ips_segment *segment, void *context)
{
    return ips_catalogue_count(segment, (uint64_t *)context);
}

Py_ssize_t
ips_segment_length(PyObject *self)
{
    uint64_t count;
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    ips_segment *segment = state == NULL ? NULL : ips_segment_of(state, self);
    if (segment == NULL || ips_transaction_admit(state, segment) < 0) {
        return -1;
    }
    int status = ips_catalogue_count(segment, &count);
    if (status == IPS_EAGAIN) {
        status = ips_segment_run(state, segment, act_count, &count, IPS_FOREVER);
    } else if (status < 0) {
        (void)ips_raise(state, status);
    }
    return status < 0 ? -1 : (Py_ssize_t)count;
}
