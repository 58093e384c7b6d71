/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/options.h"

static bool
is_given(PyObject *argument)
{
    return argument != NULL && argument != Py_None;
}

int
ips_options_mode_of(PyObject *create, ips_open_mode *mode)
{
    if (!is_given(create)) {
        *mode = IPS_OPEN_OR_CREATE;
    } else if (create == Py_True) {
        *mode = IPS_CREATE_ONLY;
    } else if (create == Py_False) {
        *mode = IPS_OPEN_ONLY;
    } else if (PyUnicode_Check(create) && PyUnicode_CompareWithASCIIString(create, "new") == 0) {
        *mode = IPS_CREATE_NEW;
    } else {
        PyErr_Format(PyExc_ValueError, "create must be None, True, False or 'new', not %R", create);
        return -1;
    }
    return 0;
}

static int
cleanup_of(PyObject *cleanup, bool *cleanup_last)
{
    *cleanup_last = is_given(cleanup);
    if (*cleanup_last && (!PyUnicode_Check(cleanup)
                          || PyUnicode_CompareWithASCIIString(cleanup, "last") != 0)) {
        PyErr_Format(PyExc_ValueError, "cleanup must be None or 'last', not %R", cleanup);
        return -1;
    }
    return 0;
}

int
ips_options_of(ips_state *state, PyObject *name, PyObject *namespace_, PyObject *create,
               PyObject *cleanup, ips_options *out)
{
    out->name = NULL;
    if (ips_options_mode_of(create, &out->mode) < 0 || cleanup_of(cleanup, &out->cleanup_last) < 0) {
        return -1;
    }
    if (is_given(name)) {
        out->name = ips_name_of(state, name);
        if (out->name == NULL) {
            return -1;
        }
    } else if (out->mode == IPS_OPEN_ONLY) {
        PyErr_SetString(PyExc_ValueError, "create=False opens what exists: give its name");
        return -1;
    }
    out->space = ips_space_of(state, namespace_);
    return out->space == NULL ? -1 : 0;
}

/* name and namespace of remove(), by position or keyword. */
static int
remove_arguments(PyObject *const *args, Py_ssize_t count, PyObject *keywords, PyObject **name,
                 PyObject **namespace_)
{
    Py_ssize_t named = keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords);
    PyObject *given[2] = {NULL, NULL};
    if (count > 2) {
        PyErr_SetString(PyExc_TypeError, "remove() takes a name and a namespace");
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        given[i] = args[i];
    }
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *keyword = PyTuple_GET_ITEM(keywords, i);
        int which = PyUnicode_CompareWithASCIIString(keyword, "name") == 0         ? 0
                    : PyUnicode_CompareWithASCIIString(keyword, "namespace") == 0 ? 1
                                                                                  : -1;
        if (which < 0 || given[which] != NULL) {
            PyErr_Format(PyExc_TypeError, "remove() got an unexpected argument '%U'", keyword);
            return -1;
        }
        given[which] = args[count + i];
    }
    if (given[0] == NULL) {
        PyErr_SetString(PyExc_TypeError, "remove() needs a name");
        return -1;
    }
    *name = given[0];
    *namespace_ = given[1];
    return 0;
}

PyObject *
ips_remove_named(PyTypeObject *type, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    PyObject *name, *namespace_;
    ips_state *state = ips_state_of_type(type);
    if (state == NULL || remove_arguments(args, count, keywords, &name, &namespace_) < 0) {
        return NULL;
    }
    const char *text = ips_name_of(state, name);
    ips_space *space = text == NULL ? NULL : ips_space_of(state, namespace_);
    if (space == NULL) {
        return NULL;
    }
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = ips_object_remove(space, text, false);
    Py_END_ALLOW_THREADS
    if (status < 0) {
        return ips_raise(state, status);
    }
    Py_RETURN_NONE;
}
