/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/pickled.h"

#include <string.h>

#define IDENTITY_SIZE 16

static PyObject *
own_dict(PyObject *self)
{
    PyObject *dict = PyObject_GetAttrString(self, "__dict__");
    if (dict == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    return dict;
}

PyObject *
ips_pickled(PyObject *self, PyObject *arguments)
{
    PyObject *restore = arguments == NULL ? NULL
        : PyObject_GetAttrString((PyObject *)Py_TYPE(self), "_restore");
    PyObject *dict = restore == NULL ? NULL : own_dict(self);
    PyObject *result = dict == NULL ? NULL : PyTuple_Pack(3, restore, arguments, dict);
    Py_XDECREF(arguments);
    Py_XDECREF(restore);
    Py_XDECREF(dict);
    return result;
}

PyObject *
ips_pickled_proof(ips_state *state, ips_object *file)
{
    if (file->named) {
        const ips_header_shm *header = (const ips_header_shm *)(const void *)file->base;
        return PyBytes_FromStringAndSize((const char *)header->identity, IDENTITY_SIZE);
    }
    char ticket[IPS_TICKET_MAX];
    int status = ips_object_ticket(file, ticket);
    return status < 0 ? ips_raise(state, status) : PyUnicode_FromString(ticket);
}

PyObject *
ips_pickled_file(ips_state *state, ips_object *file)
{
    PyObject *proof = ips_pickled_proof(state, file);
    PyObject *folder = proof == NULL ? NULL
        : PyUnicode_DecodeFSDefault(ips_space_folder(file->space));
    if (folder == NULL) {
        Py_XDECREF(proof);
        return NULL;
    }
    return Py_BuildValue("(NzN)", folder, file->named ? file->name : NULL, proof);
}

int
ips_unpickled_read(ips_state *state, PyObject *folder, PyObject *name, PyObject *proof,
                   ips_unpickled *out)
{
    *out = (ips_unpickled){.path = NULL};
    if (name != Py_None) {
        Py_ssize_t size;
        out->name = PyUnicode_AsUTF8AndSize(name, &size);
        if (out->name == NULL) {
            return -1;
        }
        int status = ips_name_check(out->name, (size_t)size);
        if (status < 0) {
            (void)ips_raise(state, status);
            return -1;
        }
    }
    if (out->name != NULL && PyBytes_Check(proof) && PyBytes_GET_SIZE(proof) == IDENTITY_SIZE) {
        out->identity = (const uint8_t *)PyBytes_AS_STRING(proof);
    } else if (out->name == NULL && PyUnicode_Check(proof)) {
        out->ticket = PyUnicode_AsUTF8(proof);
        if (out->ticket == NULL) {
            return -1;
        }
    } else {
        (void)ips_raise_text(state, IPS_EFORMAT, "not a pickled handle");
        return -1;
    }
    if (!PyUnicode_FSConverter(folder, &out->path)) {
        return -1;
    }
    out->folder = PyBytes_AS_STRING(out->path);
    return 0;
}

int
ips_unpickled_parse(ips_state *state, PyObject *args, ips_unpickled *out)
{
    PyObject *folder, *name, *proof;
    if (!PyArg_ParseTuple(args, "OOO:_restore", &folder, &name, &proof)) {
        return -1;
    }
    return ips_unpickled_read(state, folder, name, proof, out);
}
