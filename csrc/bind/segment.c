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
    int huge_pages;
} arguments;

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
                            "create", "cleanup", "huge_pages", NULL};
    ips_segment_handle *self = (ips_segment_handle *)object;
    arguments given = {NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0};
    ips_state *state = ips_state_of_type(Py_TYPE(object));
    if (state == NULL
        || !PyArg_ParseTupleAndKeywords(args, kwargs, "|OOO$OOOOOp:Segment", names, &given.name,
                                        &given.size, &given.max_size, &given.path,
                                        &given.autoflush, &given.namespace_, &given.create,
                                        &given.cleanup, &given.huge_pages)) {
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
        result = open_given(state, &given, path, &self->segment);
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

static PyStructSequence_Field stats_fields[] = {
    {"size", "bytes of memory the segment takes"},
    {"max_size", "bytes it may grow to"},
    {"free", "bytes that can still be given out before it has to grow"},
    {"used", "bytes of its blocks, their tags included"},
    {"blocks", "blocks in use"},
    {"objects", "objects under keys"},
    {"members", "processes that have it open"},
    {"overhead", "bytes of the heap that are neither used nor free: heads and leftovers"},
    {"largest_free", "bytes of the largest block that can be given out without growing"},
    {"memory", "bytes of memory its file takes now; less than size after trim()"},
    {"pools", "pools in it"},
    {"arenas", "arenas in it"},
    {"huge_pages", "1 where this process asked for huge pages and the system has them for it"},
    {"quota", "bytes that this process may have in use; 0: as many as it likes"},
    {"charged", "bytes it has, of what counts for its quota"},
    {NULL, NULL},
};

static PyStructSequence_Desc stats_description = {
    .name = "ipcsys.SegmentStats",
    .doc = "SegmentStats(iterable, /)\n--\n\nWhat Segment.stats() returns.",
    .fields = stats_fields,
    .n_in_sequence = 15,
};

PyDoc_STRVAR(stats_doc, "stats($self, /)\n--\n\n"
"Sizes in bytes and counts, as an immutable named tuple.");

static PyObject *
segment_stats(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_segment *segment = ips_segment_handle_open((ips_segment_handle *)object);
    ips_state *state = segment == NULL ? NULL : ips_state_of_type(Py_TYPE(object));
    if (state == NULL) {
        return NULL;
    }
    ips_segment_stats stats;
    int status;
    ips_segment_hold(segment);
    Py_BEGIN_ALLOW_THREADS /* counting members probes the dead */
    status = ips_segment_stats_of(segment, &stats);
    ips_segment_close(segment);
    Py_END_ALLOW_THREADS
    PyObject *result = status < 0 ? ips_raise(state, status)
                                  : PyStructSequence_New(state->segment_stats_type);
    const uint64_t numbers[] = {stats.size,     stats.max_size,     stats.free_bytes, stats.used,
                                stats.blocks,   stats.objects,      stats.members,
                                stats.overhead, stats.largest_free, stats.memory,
                                stats.pools,    stats.arenas,       stats.huge_pages,
                                stats.quota,    stats.charged};
    for (int i = 0; result != NULL && i < (int)(sizeof numbers / sizeof *numbers); i++) {
        PyObject *number = PyLong_FromUnsignedLongLong(numbers[i]);
        if (number == NULL) {
            Py_CLEAR(result);
        } else {
            PyStructSequence_SET_ITEM(result, i, number);
        }
    }
    return result;
}

/* Lines of a report, gathered without the GIL. */
typedef struct {
    ips_segment *segment;
    char *text; /* lines, each with its NUL */
    size_t size;
} reporting;

static void
gather(const char *line, void *context)
{
    reporting *job = (reporting *)context;
    size_t length = strlen(line) + 1;
    char *text = realloc(job->text, job->size + length);
    if (text != NULL) { /* else one line less */
        memcpy(text + job->size, line, length);
        job->text = text;
        job->size += length;
    }
}

static int
check_step(void *context, int64_t deadline)
{
    reporting *job = (reporting *)context;
    job->size = 0; /* of an attempt that a signal cut short */
    return ips_shared_check_all(job->segment, deadline, gather, job);
}

PyDoc_STRVAR(check_doc, "check($self, /)\n--\n\n"
"Every invariant of the segment's memory and objects, one line for each that is broken; []\n"
"when sound.  Every byte is counted as owned, free or overhead, and every block must be some\n"
"object's, and one's only: what nothing leads to is reported as a leak.");

static PyObject *
segment_check(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_segment *segment = ips_segment_handle_open((ips_segment_handle *)object);
    ips_state *state = segment == NULL ? NULL : ips_state_of_type(Py_TYPE(object));
    if (state == NULL || ips_transaction_admit(state, segment) < 0) {
        return NULL;
    }
    reporting job = {.segment = segment};
    ips_segment_hold(segment);
    int status = ips_wait_without_gil(check_step, &job, IPS_FOREVER);
    ips_segment_close(segment);
    PyObject *lines = PyErr_Occurred() != NULL                      ? NULL
                      : status < 0 && job.size == 0 ? ips_raise(state, status) : PyList_New(0);
    for (size_t at = 0; lines != NULL && at < job.size; at += strlen(job.text + at) + 1) {
        PyObject *line = PyUnicode_DecodeUTF8(job.text + at, (Py_ssize_t)strlen(job.text + at),
                                              "replace");
        if (line == NULL || PyList_Append(lines, line) < 0) {
            Py_CLEAR(lines);
        }
        Py_XDECREF(line);
    }
    free(job.text);
    return lines;
}

static int
mark_step(void *segment, int64_t deadline)
{
    return ips_segment_trim_mark((ips_segment *)segment, deadline);
}

PyDoc_STRVAR(trim_doc, "trim($self, /)\n--\n\n"
"Give the memory of free pages back to the system; how many bytes that were.  The segment\n"
"keeps its size and takes the memory again when it needs it (SegmentFull or OSError where the\n"
"system has none then).  0 while another process has the segment open, or a pickled handle of\n"
"it is under way: a reader there could still be looking.  TransactionError inside a transaction.");

static PyObject *
segment_trim(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_segment *segment = ips_segment_handle_open((ips_segment_handle *)object);
    ips_state *state = segment == NULL ? NULL : ips_state_of_type(Py_TYPE(object));
    if (state == NULL || ips_transaction_admit(state, segment) < 0) {
        return NULL;
    }
    uint64_t given_back = 0;
    ips_segment_hold(segment);
    int status = ips_wait_without_gil(mark_step, segment, IPS_FOREVER);
    if (status == 0) {
        status = ips_segment_trim_punch(segment, &given_back); /* readers need the GIL */
    }
    ips_segment_close(segment);
    if (PyErr_Occurred() != NULL) {
        return NULL;
    }
    return status < 0 ? ips_raise(state, status) : PyLong_FromUnsignedLongLong(given_back);
}

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
    {"stats", segment_stats, METH_NOARGS, stats_doc},
    {"trim", segment_trim, METH_NOARGS, trim_doc},
    {"check", segment_check, METH_NOARGS, check_doc},
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
"        namespace=None, create=None, cleanup=None, huge_pages=False)\n"
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
"stats() tell whether it can have them.");

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
    state->segment_stats_type = PyStructSequence_NewType(&stats_description);
    state->segment_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &segment_spec, NULL);
    if (state->segment_type == NULL || state->segment_stats_type == NULL
        || PyModule_AddType(module, state->segment_type) < 0
        || PyModule_AddType(module, state->segment_stats_type) < 0) {
        return -1;
    }
    return ips_add_transaction(module, state) < 0 || ips_add_region(module, state) < 0
            || ips_add_quota(module, state) < 0
        ? -1 : ips_add_view(module, state);
}
