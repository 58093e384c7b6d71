/* SPDX-License-Identifier: Apache-2.0 */
/* Statuses into exceptions.  The classes are Python's (ipcsys/errors.py);
 * which class a status raises stands in base/status.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bind/state.h"

static const char *const class_names[IPS_STATUS_COUNT] = {
#define CLASS_NAME(name, cls, text) #cls,
    IPS_STATUS_TABLE(CLASS_NAME)
#undef CLASS_NAME
};

int
ips_add_errors(PyObject *module, ips_state *state)
{
    (void)module;
    PyObject *errors = PyImport_ImportModule("ipcsys.errors");
    if (errors == NULL) {
        return -1;
    }
    for (int i = 0; i < IPS_STATUS_COUNT; i++) {
        state->errors[i] = PyObject_GetAttrString(errors, class_names[i]);
        if (state->errors[i] == NULL) {
            break;
        }
    }
    Py_DECREF(errors);
    return PyErr_Occurred() == NULL ? 0 : -1;
}

/* What .errno says where no system call failed, so that code written for the
 * builtin that a class inherits goes on working. */
static int
errno_of(int status)
{
    switch (status) {
    case IPS_EAGAIN: return EAGAIN;
    case IPS_ETIMEOUT: return ETIMEDOUT;
    case IPS_ENOENT: return ENOENT;
    case IPS_EGONE: return ENOENT;
    case IPS_EEXIST: return EEXIST;
    case IPS_EACCESS: return EACCES;
    case IPS_ENOSPACE: return ENOSPC;
    case IPS_EINUSE: return EBUSY;
    case IPS_EMEMBERS: return EUSERS;
    case IPS_EPEERDIED: return EPIPE;
    case IPS_EREADONLY: return EROFS;
    default: return EIO;
    }
}

static PyObject *
set_error(ips_state *state, int status, int sys_errno, const char *detail)
{
    if (status >= 0 || -status > IPS_STATUS_COUNT) {
        return PyErr_Format(PyExc_SystemError, "ipcsys: %d is not a failure", status);
    }
    const char *text = ips_status_text(status);
    char reason[96] = "";
    if (status == IPS_ESYS && sys_errno != 0) {
        char room[80];
        (void)snprintf(reason, sizeof reason, " (%s)", strerror_r(sys_errno, room, sizeof room));
    }
    /* A detail may carry any bytes of a name; never let that hide the failure. */
    char line[512];
    int size = snprintf(line, sizeof line, "%s%s%s%s", text, detail[0] ? ": " : "", detail, reason);
    size = size < (int)sizeof line ? size : (int)sizeof line - 1;
    PyObject *message = PyUnicode_DecodeUTF8(line, size, "backslashreplace");
    if (message == NULL) {
        return NULL;
    }
    PyObject *cls = state->errors[-status - 1];
    if (PyType_IsSubtype((PyTypeObject *)cls, (PyTypeObject *)PyExc_OSError)) {
        PyObject *pair = Py_BuildValue("iN", sys_errno != 0 ? sys_errno : errno_of(status), message);
        if (pair != NULL) {
            PyErr_SetObject(cls, pair);
            Py_DECREF(pair);
        }
        return NULL;
    }
    PyErr_SetObject(cls, message);
    Py_DECREF(message);
    return NULL;
}

PyObject *
ips_raise(ips_state *state, int status)
{
    /* Waits note nothing when they time out or find nothing: an older note
     * of this thread must not speak for them. */
    const ips_note *note = ips_last_note();
    bool noted = note->status == status;
    return set_error(state, status, noted ? note->sys_errno : 0, noted ? note->detail : "");
}

PyObject *
ips_raise_text(ips_state *state, int status, const char *format, ...)
{
    char detail[sizeof ((ips_note *)0)->detail];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    return set_error(state, status, 0, detail);
}
