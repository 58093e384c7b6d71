/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.Segment: opening, pickling, facts and the end of one.  What stands in
 * it under keys is in bind/segment_keys.c. */
#include "bind/segment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/header.h"
#include "bind/mapped.h"
#include "bind/quota.h"
#include "bind/region.h"
#include "os/clock.h"
#include "segment/readout.h"

#define DEFAULT_SIZE (UINT64_C(10) << 20)

ips_segment *
ips_segment_handle_open(ips_segment_handle *self)
{
    if (__builtin_expect(self->segment != NULL, 1)) {
        return self->segment;
    }
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    return state == NULL ? NULL : (ips_segment *)ips_raise_text(
        state, IPS_ECLOSED, "this %s handle; open another", Py_TYPE(self)->tp_name);
}

ips_segment *
ips_segment_of(ips_state *state, PyObject *segment)
{
    if (!PyObject_TypeCheck(segment, state->segment_type)) {
        return (ips_segment *)PyErr_Format(PyExc_TypeError, "segment must be a Segment, not %.100s",
                                           Py_TYPE(segment)->tp_name);
    }
    return ips_segment_handle_open((ips_segment_handle *)segment);
}

/* --- opening ------------------------------------------------------------- */

typedef struct {
    PyObject *name, *size, *max_size, *path, *autoflush, *namespace_, *create, *cleanup;
    int huge_pages, readonly;
} arguments;

/* To be looked at only: what exists, under its name or in its file. */
static int
open_to_read(ips_state *state, const arguments *given, PyObject *path, ips_segment **out)
{
    ips_options options;
    if ((given->name == NULL) == (path == NULL)) {
        PyErr_SetString(PyExc_ValueError, "readonly=True needs a name, or path= alone: it makes "
                                          "nothing, and what it reads from a file has no name");
        return -1;
    }
    if (given->cleanup != NULL || given->autoflush != NULL
        || (given->create != NULL && given->create != Py_None && given->create != Py_False)) {
        PyErr_SetString(PyExc_ValueError, "readonly=True goes with neither create=True, nor "
                                          "cleanup=, nor autoflush=");
        return -1;
    }
    if (ips_options_of(state, given->name, given->namespace_, NULL, NULL, &options) < 0) {
        return -1;
    }
    if (path != NULL) {
        return ips_mapped_init_readout(state, path, &options, out);
    }
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = ips_segment_open_to_read(options.space, options.name, out);
    Py_END_ALLOW_THREADS
    return status < 0 ? (ips_raise(state, status), -1) : 0;
}

static int
sizes_of(const arguments *given, uint64_t *size, uint64_t *max_size)
{
    *size = DEFAULT_SIZE;
    if (given->size != NULL && ips_size_of(given->size, "size", size) < 0) {
        return -1;
    }
    *max_size = *size;
    if (given->max_size != NULL && given->max_size != Py_None
        && ips_size_of(given->max_size, "max_size", max_size) < 0) {
        return -1;
    }
    if (*max_size < *size) {
        PyErr_Format(PyExc_ValueError, "max_size (%llu) is less than size (%llu)",
                     (unsigned long long)*max_size, (unsigned long long)*size);
        return -1;
    }
    return 0;
}

/* One in memory alone, or with a file.  0, or -1 with an exception set. */
static int
open_given(ips_state *state, const arguments *given, PyObject *path, ips_segment **out)
{
    ips_options options;
    uint64_t size, max_size;
    /* A file that must exist has a name for its live memory, or gives one. */
    PyObject *create = path != NULL && given->name == NULL ? NULL : given->create;
    if (sizes_of(given, &size, &max_size) < 0
        || ips_options_of(state, given->name, given->namespace_, create, given->cleanup,
                          &options) < 0
        || (path != NULL && ips_options_mode_of(given->create, &options.mode) < 0)) {
        return -1;
    }
    if (path != NULL) {
        return ips_mapped_init(state, path, &options, size, max_size, out);
    }
    bool created;
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = ips_segment_open(options.space, options.name, options.mode, size, max_size,
                              options.cleanup_last, out, &created);
    Py_END_ALLOW_THREADS
    return status < 0 ? (ips_raise(state, status), -1) : 0;
}

static bool
is_given(const PyObject *argument)
{
    return argument != NULL && argument != Py_None;
}

static int
segment_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"name", "size", "max_size", "path", "autoflush", "namespace",
                            "create", "cleanup", "huge_pages", "readonly", NULL};
    ips_segment_handle *self = (ips_segment_handle *)object;
    arguments given = {.name = NULL};
    ips_state *state = ips_state_of_type(Py_TYPE(object));
    if (state == NULL
        || !PyArg_ParseTupleAndKeywords(args, kwargs, "|OOO$OOOOOpp:Segment", names, &given.name,
                                        &given.size, &given.max_size, &given.path,
                                        &given.autoflush, &given.namespace_, &given.create,
                                        &given.cleanup, &given.huge_pages, &given.readonly)) {
        return -1;
    }
    if (self->segment != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "__init__ was called before: close() the object first");
        return -1;
    }
    given.name = is_given(given.name) ? given.name : NULL;
    PyObject *path = NULL;
    if (is_given(given.path) && (path = ips_path_of(given.path)) == NULL) {
        return -1;
    }
    int result = is_given(given.autoflush) ? ips_autoflush_check(given.autoflush, path) : 0;
    if (result == 0) {
        result = (given.readonly ? open_to_read : open_given)(state, &given, path,
                                                              &self->segment);
    }
    if (result == 0 && given.huge_pages) {
        ips_segment_want_huge(self->segment);
    }
    Py_XDECREF(path);
    return result == 0 && is_given(given.autoflush) ? ips_autoflush_start(object, given.autoflush)
                                                    : result;
}

/* --- closing ------------------------------------------------------------- */

static void
give_up(ips_segment_handle *self)
{
    ips_segment *segment = self->segment;
    self->segment = NULL;
    if (segment != NULL) {
        Py_BEGIN_ALLOW_THREADS /* unmapping and unlinking take a while */
        ips_segment_close(segment);
        Py_END_ALLOW_THREADS
    }
}

static void
segment_dealloc(PyObject *object)
{
    ips_segment_handle *self = (ips_segment_handle *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    give_up(self);
    type->tp_free(object);
    Py_DECREF(type);
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\n"
"Give up this handle; objects found in the segment keep it mapped until they are closed too.");

static PyObject *
segment_close(PyObject *object, PyObject *unused)
{
    (void)unused;
    give_up((ips_segment_handle *)object);
    Py_RETURN_NONE;
}

static PyObject *
segment_enter(PyObject *object, PyObject *unused)
{
    (void)unused;
    return ips_segment_handle_open((ips_segment_handle *)object) == NULL ? NULL
                                                                        : Py_NewRef(object);
}

static PyObject *
segment_exit(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    (void)args;
    (void)count;
    return segment_close(object, NULL);
}

PyDoc_STRVAR(request_shutdown_doc, "request_shutdown($self, /)\n--\n\n"
"Let the segment go with its last user: its name is free at once, whoever has it open goes on\n"
"working, and its memory is given back when the last of them leaves.");

static PyObject *
segment_request_shutdown(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_segment *segment = ips_segment_handle_open((ips_segment_handle *)object);
    ips_state *state = segment == NULL ? NULL : ips_state_of_type(Py_TYPE(object));
    if (state == NULL) {
        return NULL;
    }
    if (ips_segment_is_read_only(segment)) {
        return ips_raise_text(state, IPS_EREADONLY, "the segment was opened with readonly=True");
    }
    ips_object *file = ips_segment_object(segment);
    int status = IPS_OK;
    if (file->named && !ips_object_removed(file)) {
        ips_segment_hold(segment);
        Py_BEGIN_ALLOW_THREADS
        status = ips_object_remove(file->space, file->name, true);
        ips_segment_close(segment);
        Py_END_ALLOW_THREADS
    }
    if (status < 0 && status != IPS_ENOENT) {
        return ips_raise(state, status);
    }
    Py_RETURN_NONE;
}

/* --- pickling ------------------------------------------------------------ */

static PyObject *
segment_reduce(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_segment *segment = ips_segment_handle_open((ips_segment_handle *)object);
    ips_state *state = segment == NULL ? NULL : ips_state_of_type(Py_TYPE(object));
    if (state != NULL && ips_segment_is_read_only(segment)) {
        return ips_raise_text(state, IPS_EREADONLY, "a handle opened with readonly=True does not "
                              "travel; open the segment in the other process");
    }
    return state == NULL ? NULL
        : ips_pickled(object, ips_pickled_file(state, ips_segment_object(segment)));
}

int
ips_segment_unpickle(const ips_unpickled *pickle, ips_segment **out)
{
    ips_space *space;
    bool created;
    const char *name = pickle->name;
    int status = ips_space_join(pickle->folder, &space);
    if (status < 0) {
        return status;
    }
    if (name == NULL) {
        return ips_segment_redeem(space, pickle->ticket, out);
    }
    status = ips_segment_open(space, name, IPS_OPEN_ONLY, 0, 0, false, out, &created);
    if (status == IPS_ENOENT) {
        return ips_fail(IPS_EGONE, "'%.100s' was removed", name);
    }
    const ips_header_shm *header = status < 0 ? NULL
        : (const ips_header_shm *)(const void *)ips_segment_object(*out)->base;
    if (header != NULL && memcmp(header->identity, pickle->identity, 16) != 0) {
        ips_segment_close(*out);
        return ips_fail(IPS_EGONE, "'%.100s' was removed; the name is another's now", name);
    }
    return status;
}

static PyObject *
segment_restore(PyObject *type, PyObject *args)
{
    ips_unpickled pickle;
    ips_state *state = ips_state_of_type((PyTypeObject *)type);
    if (state == NULL || ips_unpickled_parse(state, args, &pickle) < 0) {
        return NULL;
    }
    PyObject *self = ((PyTypeObject *)type)->tp_alloc((PyTypeObject *)type, 0);
    if (self != NULL) {
        int status;
        Py_BEGIN_ALLOW_THREADS
        status = ips_segment_unpickle(&pickle, &((ips_segment_handle *)self)->segment);
        Py_END_ALLOW_THREADS
        if (status < 0) {
            ((ips_segment_handle *)self)->segment = NULL;
            (void)ips_raise(state, status);
            Py_CLEAR(self);
        }
    }
    ips_unpickled_clear(&pickle);
    return self;
}

/* --- facts --------------------------------------------------------------- */

PyDoc_STRVAR(transaction_doc, "transaction($self, /, timeout=None)\n--\n\n"
"A context manager: everything done to the segment in its block happens whole or not at all,\n"
"against exceptions and against kill -9.  Nested in another of the same thread it is a\n"
"savepoint.  Entering waits while others have one open, at most `timeout` seconds.");

PyDoc_STRVAR(read_doc, "read($self, /, timeout=None)\n--\n\n"
"A ReadView: a block in which all that is read from the segment is of one moment.\n\n"
"`with segment.read():` holds writers back meanwhile.  To hold up nobody, write\n"
"`for view in segment.read():` and in it `with view:`; the block is run again where\n"
"somebody commits meanwhile.  Waiting for an open transaction ends after `timeout`\n"
"seconds with Timeout, or in such a loop Busy.  Numbers, locks and the items of\n"
"arrays take no part.");

static PyObject *
segment_name(PyObject *object, void *unused)
{
    (void)unused;
    ips_segment *segment = ((ips_segment_handle *)object)->segment;
    if (segment == NULL || !ips_segment_object(segment)->named) {
        Py_RETURN_NONE;
    }
    return PyUnicode_FromString(ips_segment_object(segment)->name);
}

static PyObject *
segment_closed(PyObject *object, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((ips_segment_handle *)object)->segment == NULL);
}

static PyObject *
segment_readonly(PyObject *object, void *unused)
{
    (void)unused;
    ips_segment *segment = ips_segment_handle_open((ips_segment_handle *)object);
    return segment == NULL ? NULL : PyBool_FromLong(ips_segment_is_read_only(segment));
}

static PyObject *
segment_shutdown_requested(PyObject *object, void *unused)
{
    (void)unused;
    ips_segment *segment = ips_segment_handle_open((ips_segment_handle *)object);
    return segment == NULL ? NULL : PyBool_FromLong(ips_object_removed(ips_segment_object(segment)));
}

static PyObject *
segment_repr(PyObject *object)
{
    PyObject *name = segment_name(object, NULL);
    PyObject *result = name == NULL ? NULL
        : PyUnicode_FromFormat("<%s %R%s>", Py_TYPE(object)->tp_name, name,
                               ((ips_segment_handle *)object)->segment == NULL ? " closed" : "");
    Py_XDECREF(name);
    return result;
}

/* --- the type ------------------------------------------------------------ */

static PyMethodDef segment_methods[] = {
    IPS_SEGMENT_KEY_METHODS,
    IPS_SEGMENT_REGION_METHODS,
    IPS_SEGMENT_QUOTA_METHODS,
    {"transaction", (PyCFunction)(void (*)(void))ips_transaction_of,
     METH_VARARGS | METH_KEYWORDS, transaction_doc},
    {"read", (PyCFunction)(void (*)(void))ips_view_of, METH_VARARGS | METH_KEYWORDS, read_doc},
    IPS_SEGMENT_FACT_METHODS,
    {"close", segment_close, METH_NOARGS, close_doc},
    {"request_shutdown", segment_request_shutdown, METH_NOARGS, request_shutdown_doc},
    IPS_SEGMENT_FILE_METHODS,
    {"__enter__", segment_enter, METH_NOARGS, "__enter__($self, /)\n--\n\nItself."},
    {"__exit__", (PyCFunction)(void (*)(void))segment_exit, METH_FASTCALL,
     "__exit__($self, /, *exc_info)\n--\n\nclose()."},
    {"__reduce__", segment_reduce, METH_NOARGS, "__reduce__($self, /)\n--\n\n"
     "A handle for another process of the same namespace."},
    {"_restore", segment_restore, METH_VARARGS | METH_CLASS, NULL},
    IPS_REPR_HTML_METHOD,
    {NULL},
};

static PyGetSetDef segment_getsets[] = {
    {"name", segment_name, NULL, "The name, or None.", NULL},
    {"path", ips_segment_path, NULL, "Where its file is, or None.", NULL},
    {"closed", segment_closed, NULL, "True once close() was called.", NULL},
    {"readonly", segment_readonly, NULL, "True where it was opened with readonly=True.", NULL},
    {"shutdown_requested", segment_shutdown_requested, NULL,
     "True once the segment goes with its last user.", NULL},
    {NULL},
};

static PyMemberDef segment_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ips_segment_handle, weakrefs), READONLY, NULL},
    {NULL},
};

PyDoc_STRVAR(segment_doc,
"Segment(name=None, size='10 MiB', max_size=None, *, path=None, autoflush=None,\n"
"        namespace=None, create=None, cleanup=None, huge_pages=False, readonly=False)\n"
"--\n\n"
"Transactional memory that processes share, with objects under keys.\n\n"
"Sizes are bytes or text such as '64 KiB'; the creator's count.  A segment\n"
"starts with `size` bytes and grows up to `max_size`, if that is given.\n\n"
"With `path` it has a file too and outlives reboots: live memory stays in the\n"
"namespace, and flush() brings its state to the file, whole.  After kill -9 of\n"
"everybody nothing is lost; after a power cut the state of the last flush() is\n"
"there, or, with `autoflush`, one at most so many seconds old (a thread of this\n"
"process looks).  `create` then is about the file; `name` may be left out.\n\n"
"`huge_pages` asks the kernel for large pages in this process's view of it;\n"
"stats() tell whether it can have them.\n\n"
"`readonly=True` opens what exists to be looked at: whatever would change it raises\n"
"ReadOnly, buffers cannot be written to, and locks and numbers in it cannot be used.\n"
"With `path` it is a private copy of what the last flush() brought to the file, for\n"
"which permission to read is enough; the file must be this user's or the superuser's,\n"
"and closed to others' writing.  InUse where this process has the segment open to write.");

static PyType_Slot segment_slots[] = {
    {Py_tp_doc, (void *)segment_doc},
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_init, (void *)segment_init},
    {Py_tp_dealloc, (void *)segment_dealloc},
    {Py_tp_repr, (void *)segment_repr},
    {Py_tp_methods, segment_methods},
    {Py_tp_getset, segment_getsets},
    {Py_tp_members, segment_members},
    {Py_tp_iter, (void *)ips_segment_iter},
    {Py_mp_subscript, (void *)ips_segment_subscript},
    {Py_mp_length, (void *)ips_segment_length},
    {Py_sq_contains, (void *)ips_segment_contains},
    {0, NULL},
};

static PyType_Spec segment_spec = {
    .name = "ipcsys.Segment",
    .basicsize = sizeof(ips_segment_handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = segment_slots,
};

int
ips_add_segment(PyObject *module, ips_state *state)
{
    state->segment_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &segment_spec, NULL);
    if (state->segment_type == NULL || PyModule_AddType(module, state->segment_type) < 0
        || ips_add_segment_facts(module, state) < 0) {
        return -1;
    }
    return ips_add_transaction(module, state) < 0 || ips_add_region(module, state) < 0
            || ips_add_quota(module, state) < 0
        ? -1 : ips_add_view(module, state);
}
