/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/key.h"

#include <math.h>

#include "base/hash.h"

#define ENCODING (IPS_ENCODE_NO_PICKLE | IPS_ENCODE_NO_RAW)

static PyObject *canonical_of(PyObject *key, bool *respelled);

static PyObject *
refuse(PyObject *key)
{
    return PyErr_Format(PyExc_TypeError,
        "keys are None, bool, int, float, str, bytes, datetime and tuples of these, not %.100s",
        Py_TYPE(key)->tp_name);
}

/* An integral float is the int that it equals. */
static PyObject *
canonical_float(PyObject *key, bool *respelled)
{
    double value = PyFloat_AS_DOUBLE(key);
    if (isnan(value)) {
        PyErr_SetString(PyExc_TypeError, "NaN is equal to nothing and cannot be a key");
        return NULL;
    }
    if (isinf(value) || floor(value) != value) {
        return PyFloat_CheckExact(key) ? Py_NewRef(key) : PyFloat_FromDouble(value);
    }
    *respelled = *respelled || PyFloat_CheckExact(key);
    return PyLong_FromDouble(value);
}

static PyObject *
canonical_tuple(PyObject *key, bool *respelled)
{
    Py_ssize_t size = PyTuple_GET_SIZE(key);
    PyObject *result = PyTuple_New(size);
    if (result == NULL || Py_EnterRecursiveCall(" in a key") != 0) {
        Py_XDECREF(result);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < size; i++) {
        PyObject *item = canonical_of(PyTuple_GET_ITEM(key, i), respelled);
        if (item == NULL) {
            Py_CLEAR(result);
            break;
        }
        PyTuple_SET_ITEM(result, i, item);
    }
    Py_LeaveRecursiveCall();
    return result;
}

/* datetime.timezone.utc; its module is loaded, since there is a datetime. */
static PyObject *
in_utc(PyObject *key)
{
    PyObject *module = PyImport_ImportModule("datetime");
    PyObject *zone = module == NULL ? NULL : PyObject_GetAttrString(module, "timezone");
    PyObject *utc = zone == NULL ? NULL : PyObject_GetAttrString(zone, "utc");
    PyObject *result = utc == NULL ? NULL : PyObject_CallMethod(key, "astimezone", "O", utc);
    Py_XDECREF(module);
    Py_XDECREF(zone);
    Py_XDECREF(utc);
    return result;
}

/* With a zone: its moment in UTC.  Without: itself, where `fold` means nothing. */
static PyObject *
canonical_datetime(PyObject *key, bool *respelled)
{
    PyObject *offset = PyObject_CallMethod(key, "utcoffset", NULL);
    if (offset == NULL) {
        return NULL;
    }
    PyObject *result = NULL;
    if (offset != Py_None) {
        result = in_utc(key);
    } else {
        PyObject *replace = PyObject_GetAttrString(key, "replace");
        PyObject *none = PyTuple_New(0);
        PyObject *fold = Py_BuildValue("{s:i}", "fold", 0);
        if (replace != NULL && none != NULL && fold != NULL) {
            result = PyObject_Call(replace, none, fold);
        }
        Py_XDECREF(replace);
        Py_XDECREF(none);
        Py_XDECREF(fold);
    }
    Py_DECREF(offset);
    *respelled = true;
    return result;
}

static bool
is_datetime(PyObject *key)
{
    return strcmp(Py_TYPE(key)->tp_name, "datetime.datetime") == 0;
}

/* The object whose encoding stands for all keys equal to `key`.  An instance
 * of a subclass counts as the plain value it holds. */
static PyObject *
canonical_of(PyObject *key, bool *respelled)
{
    if (PyUnicode_CheckExact(key) || PyLong_CheckExact(key) || PyBytes_CheckExact(key) ||
        key == Py_None) {
        return Py_NewRef(key);
    }
    if (PyBool_Check(key)) {
        *respelled = true;
        return PyLong_FromLong(key == Py_True);
    }
    if (PyFloat_Check(key)) {
        return canonical_float(key, respelled);
    }
    if (PyTuple_Check(key)) {
        return canonical_tuple(key, respelled);
    }
    if (PyUnicode_Check(key)) {
        return PyUnicode_FromObject(key);
    }
    if (PyBytes_Check(key)) {
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key));
    }
    if (PyLong_Check(key)) {
        return PyLong_Type.tp_as_number->nb_add(key, Py_False); /* a plain int of its value */
    }
    return is_datetime(key) ? canonical_datetime(key, respelled) : refuse(key);
}

static int
encode_canonical(ips_state *state, PyObject *canonical, ips_key_encoding *out)
{
    if (ips_value_encode(state, canonical, ENCODING, &out->canonical) < 0) {
        return -1;
    }
    out->key.bytes = out->canonical.bytes;
    out->key.size = out->canonical.size;
    out->key.hash = ips_hash(out->canonical.bytes, out->canonical.size);
    return 0;
}

static int
encode_spelling(ips_state *state, PyObject *key, ips_key_encoding *out)
{
    if (ips_value_encode(state, key, ENCODING, &out->spelling) < 0) {
        /* a zone or a tuple's subclass that only pickle could keep: then the
         * canonical form is all there is */
        if (!PyErr_ExceptionMatches(state->errors[IPS_ORDINAL_ENCODE])) {
            return -1;
        }
        PyErr_Clear();
        return 0;
    }
    out->spelled = true;
    out->key.spelling = out->spelling.bytes;
    out->key.spelling_size = out->spelling.size;
    return 0;
}

int
ips_key_encode(ips_state *state, PyObject *key, ips_key_encoding *out)
{
    out->spelled = false;
    out->key.spelling = NULL;
    out->key.spelling_size = 0;
    if (PyUnicode_CheckExact(key) || PyLong_CheckExact(key)) {
        return encode_canonical(state, key, out);
    }
    bool respelled = false;
    PyObject *canonical = canonical_of(key, &respelled);
    if (canonical == NULL) {
        return -1;
    }
    int status = encode_canonical(state, canonical, out);
    Py_DECREF(canonical);
    if (status == 0 && respelled && encode_spelling(state, key, out) < 0) {
        ips_encoded_clear(&out->canonical);
        status = -1;
    }
    return status;
}

PyObject *
ips_key_decode(ips_state *state, const uint8_t *bytes, size_t size)
{
    PyObject *key = ips_value_decode(state, IPS_VALUE_MSGPACK, bytes, size);
    if (key != NULL && PyObject_Hash(key) == -1) { /* damaged into a list or dict */
        PyErr_Clear();
        Py_DECREF(key);
        return ips_raise_text(state, IPS_EDECODE, "a key of a SharedMap reads as no key can");
    }
    return key;
}
