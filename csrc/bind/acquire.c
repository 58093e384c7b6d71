/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/acquire.h"

/* acquire(False) asks for proof of the holder's death this often: proof costs
 * system calls, and the bell tells of most deaths without. */
#define PROBE_EVERY_NS INT64_C(5000000)

/* --- arguments ----------------------------------------------------------- */

/* Which parameter a keyword names: 0 blocking (or block), 1 timeout. */
static int
parameter_of(PyObject *keyword)
{
    if (PyUnicode_CompareWithASCIIString(keyword, "timeout") == 0) {
        return 1;
    }
    if (PyUnicode_CompareWithASCIIString(keyword, "blocking") == 0
        || PyUnicode_CompareWithASCIIString(keyword, "block") == 0) {
        return 0;
    }
    return -1;
}

static int
sort_arguments(PyObject *const *args, Py_ssize_t count, PyObject *keywords, PyObject *given[2])
{
    if (count > 2) {
        PyErr_Format(PyExc_TypeError, "acquire() takes at most 2 arguments (%zd given)", count);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        given[i] = args[i];
    }
    Py_ssize_t named = keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords);
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *keyword = PyTuple_GET_ITEM(keywords, i);
        int which = parameter_of(keyword);
        if (which < 0) {
            PyErr_Format(PyExc_TypeError, "acquire() got an unexpected keyword argument '%U'",
                         keyword);
            return -1;
        }
        if (given[which] != NULL) {
            PyErr_Format(PyExc_TypeError, "acquire() got '%U' twice", keyword);
            return -1;
        }
        given[which] = args[count + i];
    }
    return 0;
}

static int
deadline_of(PyObject *given[2], ips_timeout_manner manner, int64_t *deadline)
{
    int blocking = given[0] == NULL ? 1 : PyObject_IsTrue(given[0]);
    if (blocking < 0) {
        return -1;
    }
    *deadline = IPS_FOREVER;
    if (given[1] != NULL && manner(given[1], deadline) < 0) {
        return -1;
    }
    if (!blocking) {
        if (*deadline != IPS_FOREVER) {
            PyErr_SetString(PyExc_ValueError, "can't specify a timeout for a non-blocking call");
            return -1;
        }
        *deadline = IPS_AT_ONCE;
    }
    return 0;
}

int
ips_acquire_deadline_by(ips_timeout_manner manner, PyObject *const *args, Py_ssize_t count,
                        PyObject *keywords, int64_t *deadline)
{
    PyObject *given[2] = {NULL, NULL};
    return sort_arguments(args, count, keywords, given) < 0 ? -1
                                                            : deadline_of(given, manner, deadline);
}

int
ips_acquire_deadline(PyObject *const *args, Py_ssize_t count, PyObject *keywords,
                     int64_t *deadline)
{
    return ips_acquire_deadline_by(ips_deadline_of_acquire, args, count, keywords, deadline);
}

/* --- waiting ------------------------------------------------------------- */

typedef struct {
    ips_wait_step attempt;
    void *context;
} trying;

static int
try_step(void *context, int64_t deadline)
{
    const trying *job = (const trying *)context;
    int status = job->attempt(job->context, deadline);
    return status == IPS_EAGAIN ? IPS_ETIMEOUT : status;
}

int
ips_acquire_slowly(ips_cell_object *self, ips_wait_step acquire, ips_wait_step attempt,
                   void *context, int64_t deadline)
{
    if (deadline != IPS_AT_ONCE) {
        return ips_cell_wait(self, acquire, context, deadline);
    }
    int64_t now = ips_now();
    if (now - self->probed < PROBE_EVERY_NS) {
        return acquire(context, IPS_AT_ONCE);
    }
    self->probed = now;
    trying job = {attempt, context};
    return ips_wait_without_gil(try_step, &job, IPS_AT_ONCE);
}

PyObject *
ips_acquire_result(ips_cell_object *self, int status)
{
    if (status >= 0) {
        Py_RETURN_TRUE;
    }
    if (status == IPS_ETIMEOUT) {
        Py_RETURN_FALSE;
    }
    ips_state *state = status == IPS_EINTR ? NULL : ips_state_of_type(Py_TYPE(self));
    return state == NULL ? NULL : ips_raise(state, status);
}
