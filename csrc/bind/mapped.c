/* SPDX-License-Identifier: Apache-2.0 */
/* Segments in files: the arguments path= and autoflush=, flush(), snapshot(). */
#include "bind/mapped.h"

#include <math.h>
#include <string.h>

#include "data/revival.h"
#include "os/clock.h"
#include "segment/mapped.h"
#include "segment/readout.h"

PyObject *
ips_path_of(PyObject *path)
{
    PyObject *module = PyImport_ImportModule("os.path");
    PyObject *text = module == NULL ? NULL : PyOS_FSPath(path);
    PyObject *absolute = text == NULL ? NULL : PyObject_CallMethod(module, "abspath", "O", text);
    PyObject *bytes = NULL;
    if (absolute != NULL && !PyUnicode_FSConverter(absolute, &bytes)) {
        bytes = NULL;
    }
    Py_XDECREF(absolute);
    Py_XDECREF(text);
    Py_XDECREF(module);
    return bytes;
}

/* --- opening ------------------------------------------------------------- */

typedef struct {
    ips_space *space;
    ips_mapped_spec spec;
    ips_segment *segment;
    uint64_t written;
    const char *path;
    int64_t max_age;
    char found[IPS_PATH_SIZE];
} filing;

static int
open_step(void *context, int64_t deadline)
{
    filing *job = (filing *)context;
    bool created;
    return ips_mapped_open(job->space, &job->spec, deadline, &job->segment, &created);
}

int
ips_mapped_init(ips_state *state, PyObject *path, const ips_options *options, uint64_t size,
                uint64_t max_size, ips_segment **out)
{
    if (options->cleanup_last) {
        PyErr_SetString(PyExc_ValueError, "cleanup='last' and path= exclude each other: a segment "
                                          "with a file outlives its users");
        return -1;
    }
    filing job = {.space = options->space};
    job.spec = (ips_mapped_spec){.path = PyBytes_AS_STRING(path),
                                 .name = options->name,
                                 .mode = options->mode,
                                 .size = size,
                                 .max_size = max_size,
                                 .revive = ips_type_revive};
    int status = ips_wait_without_gil(open_step, &job, IPS_FOREVER);
    if (status < 0) {
        if (PyErr_Occurred() == NULL) {
            (void)ips_raise(state, status);
        }
        return -1;
    }
    *out = job.segment;
    return 0;
}

static int
readout_step(void *context, int64_t deadline)
{
    filing *job = (filing *)context;
    return ips_readout_open(job->space, job->spec.path, job->spec.revive, deadline, &job->segment);
}

int
ips_mapped_init_readout(ips_state *state, PyObject *path, const ips_options *options,
                        ips_segment **out)
{
    filing job = {.space = options->space};
    job.spec = (ips_mapped_spec){.path = PyBytes_AS_STRING(path), .revive = ips_type_revive};
    int status = ips_wait_without_gil(readout_step, &job, IPS_FOREVER);
    if (status < 0 && PyErr_Occurred() == NULL) {
        (void)ips_raise(state, status);
    }
    *out = status < 0 ? NULL : job.segment;
    return status < 0 ? -1 : 0;
}

int
ips_autoflush_check(PyObject *seconds, PyObject *path)
{
    double number = PyFloat_AsDouble(seconds);
    if (number == -1.0 && PyErr_Occurred() != NULL) {
        return -1;
    }
    if (!(number > 0) || isinf(number)) {
        PyErr_Format(PyExc_ValueError, "autoflush must be a positive number of seconds, not %R",
                     seconds);
        return -1;
    }
    if (path == NULL) {
        PyErr_SetString(PyExc_ValueError, "autoflush= needs path=");
        return -1;
    }
    return 0;
}

int
ips_autoflush_start(PyObject *segment, PyObject *seconds)
{
    PyObject *module = PyImport_ImportModule("ipcsys.autoflush");
    PyObject *thread = module == NULL ? NULL
        : PyObject_CallMethod(module, "start", "OO", segment, seconds);
    Py_XDECREF(thread);
    Py_XDECREF(module);
    return thread == NULL ? -1 : 0;
}

/* --- flush, snapshot, path ----------------------------------------------- */

/* Run the step with the segment held.  0, or -1 with an exception set. */
static int
run(PyObject *self, ips_wait_step step, filing *job, int64_t deadline)
{
    ips_segment *segment = ips_segment_handle_open((ips_segment_handle *)self);
    ips_state *state = segment == NULL ? NULL : ips_state_of_type(Py_TYPE(self));
    if (state == NULL) {
        return -1;
    }
    job->segment = segment;
    ips_segment_hold(segment);
    int status = ips_wait_without_gil(step, job, deadline);
    Py_BEGIN_ALLOW_THREADS
    ips_segment_close(segment);
    Py_END_ALLOW_THREADS
    if (status < 0 && PyErr_Occurred() == NULL) {
        (void)ips_raise(state, status);
    }
    return status < 0 ? -1 : 0;
}

static int
flush_step(void *context, int64_t deadline)
{
    filing *job = (filing *)context;
    return ips_mapped_flush(job->segment, deadline, job->max_age, &job->written);
}

PyObject *
ips_segment_flush(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"timeout", "max_age", NULL};
    PyObject *timeout = Py_None;
    double max_age = 0;
    int64_t deadline;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|Od:flush", names, &timeout, &max_age)
        || ips_deadline_of(timeout, &deadline) < 0) {
        return NULL;
    }
    if (!(max_age >= 0)) {
        PyErr_SetString(PyExc_ValueError, "max_age must not be negative");
        return NULL;
    }
    filing job = {.max_age = max_age < 9e9 ? (int64_t)(max_age * 1e9) : INT64_MAX};
    return run(self, flush_step, &job, deadline) < 0 ? NULL
        : PyLong_FromUnsignedLongLong(job.written);
}

static int
snapshot_step(void *context, int64_t deadline)
{
    filing *job = (filing *)context;
    return ips_mapped_snapshot(job->segment, job->path, deadline, &job->written);
}

PyObject *
ips_segment_snapshot(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"path", "timeout", NULL};
    PyObject *given, *timeout = Py_None;
    int64_t deadline;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:snapshot", names, &given, &timeout)
        || ips_deadline_of(timeout, &deadline) < 0) {
        return NULL;
    }
    PyObject *path = ips_path_of(given);
    if (path == NULL) {
        return NULL;
    }
    filing job = {.path = PyBytes_AS_STRING(path)};
    int status = run(self, snapshot_step, &job, deadline);
    Py_DECREF(path);
    return status < 0 ? NULL : PyLong_FromUnsignedLongLong(job.written);
}

static int
path_step(void *context, int64_t deadline)
{
    filing *job = (filing *)context;
    return ips_mapped_path(job->segment, deadline, job->found);
}

PyObject *
ips_segment_path(PyObject *self, void *unused)
{
    (void)unused;
    filing job = {.found = ""};
    if (run(self, path_step, &job, IPS_FOREVER) < 0) {
        return NULL;
    }
    if (job.found[0] == '\0') {
        Py_RETURN_NONE;
    }
    return PyUnicode_DecodeFSDefault(job.found);
}

/* --- removing ------------------------------------------------------------ */

static int
remove_step(void *context, int64_t deadline)
{
    filing *job = (filing *)context;
    return ips_mapped_remove(job->space, job->path, deadline);
}

static PyObject *
remove_file(ips_state *state, PyObject *given, ips_space *space)
{
    PyObject *path = ips_path_of(given);
    if (path == NULL) {
        return NULL;
    }
    filing job = {.space = space, .path = PyBytes_AS_STRING(path)};
    int status = ips_wait_without_gil(remove_step, &job, IPS_FOREVER);
    Py_DECREF(path);
    if (status < 0) {
        return PyErr_Occurred() != NULL ? NULL : ips_raise(state, status);
    }
    Py_RETURN_NONE;
}

PyObject *
ips_segment_remove(PyObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"name", "namespace", "path", NULL};
    PyObject *name = Py_None, *namespace_ = Py_None, *path = Py_None;
    ips_state *state = ips_state_of_type((PyTypeObject *)type);
    if (state == NULL
        || !PyArg_ParseTupleAndKeywords(args, kwargs, "|OO$O:remove", names, &name, &namespace_,
                                        &path)) {
        return NULL;
    }
    if ((name == Py_None) == (path == Py_None)) {
        PyErr_SetString(PyExc_TypeError, "remove() needs a name, or path=");
        return NULL;
    }
    if (path != Py_None) {
        ips_space *space = ips_space_of(state, namespace_);
        return space == NULL ? NULL : remove_file(state, path, space);
    }
    PyObject *const given[] = {name, namespace_};
    return ips_remove_named((PyTypeObject *)type, given, 2, NULL);
}
