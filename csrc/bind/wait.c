/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting as Python expects it: the GIL dropped, Ctrl-C heard, timeouts in
 * seconds turned into deadlines once. */
#include "bind/state.h"

#include <math.h>

#include "os/clock.h"
#include "os/process.h"

/* A signal may land after the last look at it and before the park, where no
 * EINTR tells of it: so the thread that runs handlers looks this often. */
#define SIGNAL_LOOK_NS INT64_C(250000000)

/* Seconds as a double; bool and numbers of any kind, as time.sleep takes. */
static int
seconds_of(PyObject *timeout, double *seconds)
{
    *seconds = PyFloat_AsDouble(timeout);
    if (*seconds == -1.0 && PyErr_Occurred() != NULL) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)) {
            PyErr_Format(PyExc_TypeError, "timeout must be a number of seconds or None, not %.100s",
                         Py_TYPE(timeout)->tp_name);
        }
        return -1;
    }
    if (isnan(*seconds)) {
        PyErr_SetString(PyExc_ValueError, "timeout must not be NaN");
        return -1;
    }
    return 0;
}

static int64_t
deadline_after(double seconds)
{
    int64_t now = ips_now();
    double ns = ceil(seconds * 1e9);
    if (ns >= (double)(INT64_MAX - now)) {
        return IPS_FOREVER;
    }
    return seconds == 0.0 ? IPS_AT_ONCE : now + (int64_t)ns;
}

/* None is for ever; else the seconds, which the caller has to judge. */
static int
timeout_of(PyObject *timeout, double *seconds, int64_t *deadline)
{
    *seconds = 0;
    *deadline = IPS_FOREVER;
    return timeout == Py_None ? 0 : seconds_of(timeout, seconds) < 0 ? -1 : 1;
}

int
ips_deadline_of(PyObject *timeout, int64_t *deadline)
{
    double seconds;
    int given = timeout_of(timeout, &seconds, deadline);
    if (given <= 0) {
        return given;
    }
    if (seconds < 0) {
        PyErr_SetString(PyExc_ValueError, "timeout must not be negative");
        return -1;
    }
    *deadline = deadline_after(seconds);
    return 0;
}

int
ips_deadline_of_acquire(PyObject *timeout, int64_t *deadline)
{
    double seconds;
    int given = timeout_of(timeout, &seconds, deadline);
    if (given <= 0 || seconds == -1.0) {
        return given < 0 ? -1 : 0;
    }
    if (seconds < 0) {
        PyErr_SetString(PyExc_ValueError, "timeout must be a non-negative number or -1");
        return -1;
    }
    if (seconds > IPS_TIMEOUT_MAX) {
        PyErr_SetString(PyExc_OverflowError, "timeout is larger than TIMEOUT_MAX");
        return -1;
    }
    *deadline = deadline_after(seconds);
    return 0;
}

int
ips_deadline_of_wait(PyObject *timeout, int64_t *deadline)
{
    double seconds;
    int given = timeout_of(timeout, &seconds, deadline);
    if (given <= 0) {
        return given;
    }
    *deadline = seconds < 0 ? IPS_AT_ONCE : deadline_after(seconds);
    return 0;
}

int
ips_wait_without_gil(ips_wait_step step, void *context, int64_t deadline)
{
    bool handles_signals = ips_on_main_thread();
    for (;;) {
        int64_t until = deadline;
        int status;
        Py_BEGIN_ALLOW_THREADS
        if (handles_signals && deadline != IPS_AT_ONCE) {
            int64_t look = ips_now() + SIGNAL_LOOK_NS;
            until = look < deadline ? look : deadline;
        }
        status = step(context, until);
        Py_END_ALLOW_THREADS
        bool only_a_look = status == IPS_ETIMEOUT && until != deadline;
        if (status != IPS_EINTR && !only_a_look) {
            return status;
        }
        if (PyErr_CheckSignals() < 0) {
            return IPS_EINTR;
        }
    }
}

int
ips_wait_uninterrupted(ips_wait_step step, void *context, int64_t deadline)
{
    int status;
    Py_BEGIN_ALLOW_THREADS
    do {
        status = step(context, deadline);
    } while (status == IPS_EINTR);
    Py_END_ALLOW_THREADS
    return status;
}
