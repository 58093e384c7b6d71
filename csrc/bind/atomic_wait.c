/* SPDX-License-Identifier: Apache-2.0 */
/* Making, comparing and waiting for the types of bind/atomic.h. */
#include "bind/atomic.h"

#include <limits.h>

#include "os/clock.h"

int
ips_atomic_init(PyObject *self, PyObject *args, PyObject *kwargs, enum ips_cell_type type,
    const ips_atomic_manner *manner)
{
    static char *names[] = {"value", "name", "namespace", "create", "cleanup", "segment", NULL};
    PyObject *argument = NULL;
    int64_t value = 0;
    ips_container_where where = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$OOOOO", names, &argument, &where.name,
            &where.namespace_, &where.create, &where.cleanup, &where.segment) ||
        (argument != NULL && manner->read(argument, &value) < 0)) {
        return -1;
    }
    const uint64_t words[IPS_CELL_WORDS] = {(uint64_t)value};
    return ips_cell_object_open((ips_cell_object *)self, &where, type, words);
}

int
ips_atomic_amount(PyObject *const *args, Py_ssize_t count, const ips_atomic_manner *manner,
    int64_t *value)
{
    if (count > 1) {
        PyErr_Format(PyExc_TypeError, "expected at most 1 argument, got %zd", count);
        return -1;
    }
    return count == 1 ? manner->read(args[0], value) : 0;
}

PyObject *
ips_atomic_compare_exchange_call(PyObject *self, PyObject *const *args, Py_ssize_t count,
    const ips_atomic_manner *manner)
{
    int64_t expected, desired;
    if (count != 2) {
        return PyErr_Format(PyExc_TypeError, "compare_exchange expected 2 arguments, got %zd",
            count);
    }
    if (manner->read(args[0], &expected) < 0 || manner->read(args[1], &desired) < 0) {
        return NULL;
    }
    ips_atomic_shm *word = ips_atomic_word(self);
    if (word == NULL) {
        return NULL;
    }
    bool is_done;
    int64_t seen = expected;
    do { /* again where it changed to another spelling of the same number */
        is_done = ips_atomic_compare_exchange(word, &seen, desired);
    } while (!is_done && manner->same(seen, expected));
    return PyBool_FromLong(is_done);
}

PyObject *
ips_atomic_compare(PyObject *self, PyObject *other, int op, PyTypeObject *type,
    PyObject *(*load)(PyObject *self, PyObject *unused))
{
    bool is_like = PyObject_TypeCheck(other, type);
    if (!is_like && !PyLong_Check(other) && !PyFloat_Check(other)) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    PyObject *mine = load(self, NULL);
    PyObject *theirs = mine == NULL ? NULL : is_like ? load(other, NULL) : Py_NewRef(other);
    PyObject *result = theirs == NULL ? NULL : PyObject_RichCompare(mine, theirs, op);
    Py_XDECREF(mine);
    Py_XDECREF(theirs);
    return result;
}

int
ips_atomic_set(PyObject *self, PyObject *value,
    PyObject *(*store)(PyObject *self, PyObject *value))
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "the value cannot be deleted");
        return -1;
    }
    PyObject *done = store(self, value);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* --- notifying */

static PyObject *
notify(PyObject *object, int count)
{
    ips_cell_object *self = (ips_cell_object *)object;
    if (!ips_cell_enter(self)) {
        return NULL;
    }
    ips_atomic_notify((ips_atomic_shm *)self->cell.shm, count);
    ips_cell_leave(self);
    Py_RETURN_NONE;
}

PyObject *
ips_atomic_notify_call(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    Py_ssize_t named = keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords);
    if (count + named > 1) {
        return PyErr_Format(PyExc_TypeError, "notify() takes at most 1 argument (%zd given)",
            count + named);
    }
    if (named == 1 &&
        PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(keywords, 0), "n") != 0) {
        return PyErr_Format(PyExc_TypeError, "notify() got an unexpected keyword argument '%U'",
            PyTuple_GET_ITEM(keywords, 0));
    }
    long n = count + named == 0 ? 1 : PyLong_AsLong(args[0]);
    if (n == -1 && PyErr_Occurred() != NULL) {
        return NULL;
    }
    if (n < 0) {
        PyErr_SetString(PyExc_ValueError, "n must not be negative");
        return NULL;
    }
    if (n == 0) {
        return ips_atomic_word(self) == NULL ? NULL : Py_NewRef(Py_None);
    }
    return notify(self, n > INT_MAX ? INT_MAX : (int)n);
}

PyObject *
ips_atomic_notify_all_call(PyObject *self, PyObject *unused)
{
    (void)unused;
    return notify(self, INT_MAX);
}

/* --- waiting */

typedef struct {
    ips_atomic_shm *word;
    ips_space *space;
    ips_atomic_same same;
    int64_t expected;
} waiting;

static int
wait_step(void *context, int64_t deadline)
{
    const waiting *job = (const waiting *)context;
    return ips_atomic_wait(job->word, job->space, job->same, job->expected, deadline);
}

static PyObject *
wait_until(ips_cell_object *self, const ips_atomic_manner *manner, int64_t expected,
    int64_t deadline)
{
    if (!ips_cell_enter(self)) {
        return NULL;
    }
    waiting job = {(ips_atomic_shm *)self->cell.shm, self->cell.space, manner->same, expected};
    int status = IPS_OK;
    if (manner->same(ips_atomic_load(job.word), expected)) {
        status = deadline == IPS_AT_ONCE ? IPS_ETIMEOUT
                                         : ips_cell_wait(self, wait_step, &job, deadline);
    }
    ips_cell_leave(self);
    if (status == IPS_OK || status == IPS_ETIMEOUT) {
        return PyBool_FromLong(status == IPS_OK);
    }
    ips_state *state = status == IPS_EINTR ? NULL : ips_state_of_type(Py_TYPE(self));
    return state == NULL ? NULL : ips_raise(state, status);
}

PyObject *
ips_atomic_wait_call(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords,
    const ips_atomic_manner *manner)
{
    static const char *const names[] = {"expected", "timeout"};
    PyObject *given[2] = {NULL, NULL};
    Py_ssize_t named = keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords);
    if (count > 2) {
        return PyErr_Format(PyExc_TypeError, "wait() takes at most 2 arguments (%zd given)",
            count);
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        given[i] = args[i];
    }
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GET_ITEM(keywords, i);
        int at = PyUnicode_CompareWithASCIIString(name, names[0]) == 0   ? 0
                 : PyUnicode_CompareWithASCIIString(name, names[1]) == 0 ? 1 : -1;
        if (at < 0 || given[at] != NULL) {
            return PyErr_Format(PyExc_TypeError, "wait() got an unexpected or repeated argument "
                                "'%U'", name);
        }
        given[at] = args[count + i];
    }
    if (given[0] == NULL) {
        PyErr_SetString(PyExc_TypeError, "wait() needs the expected value");
        return NULL;
    }
    int64_t expected, deadline = IPS_FOREVER;
    if (manner->read(given[0], &expected) < 0 ||
        (given[1] != NULL && ips_deadline_of_wait(given[1], &deadline) < 0)) {
        return NULL;
    }
    return wait_until((ips_cell_object *)self, manner, expected, deadline);
}
