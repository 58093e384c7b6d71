/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays and scalars of numpy, through its Python face: numpy is not there
 * when this is built, and is never imported for the sake of writing. */
#include <string.h>

#include "bind/value_codec.h"
#include "bind/value_parts.h"

/* What an extension holds: [dtype.str, shape, order, bytes] of an array,
 * [dtype.str, bytes] of a scalar. */

/* Numpy as the user imported it: 1, 0 where it is not imported, or -1. */
static int
find_numpy(ips_state *state, PyObject *numpy)
{
    if (state->numpy_array != NULL && state->numpy_generic != NULL) {
        return 1;
    }
    if (numpy == NULL) {
        return 0;
    }
    Py_XSETREF(state->numpy_array, PyObject_GetAttrString(numpy, "ndarray"));
    Py_XSETREF(state->numpy_generic, PyObject_GetAttrString(numpy, "generic"));
    if (state->numpy_array == NULL || state->numpy_generic == NULL) {
        return -1;
    }
    return 1;
}

static int
find_imported_numpy(ips_state *state)
{
    return find_numpy(state, PyDict_GetItemString(PyImport_GetModuleDict(), "numpy"));
}

static int
import_numpy(ips_state *state)
{
    if (find_numpy(state, NULL) == 1) {
        return 1;
    }
    PyObject *numpy = PyImport_ImportModule("numpy");
    int found = numpy == NULL ? -1 : find_numpy(state, numpy);
    Py_XDECREF(numpy);
    return found;
}

/* Does `dtype.str` name plain elements, whose bytes say everything: byte
 * order, kind, size, and the unit of times?  Only such arrays are made of
 * bytes from outside: an array of objects would be one of pointers. */
static bool
is_plain(const char *dtype, size_t size)
{
    if (size < 3 || size > 40 || memchr("<>|=", dtype[0], 4) == NULL ||
        memchr("biufcSUmM", dtype[1], 9) == NULL || dtype[2] < '1' || dtype[2] > '9') {
        return false;
    }
    size_t at = 3;
    while (at < size && dtype[at] >= '0' && dtype[at] <= '9') {
        at++;
    }
    if (at == size) {
        return true;
    }
    if ((dtype[1] != 'm' && dtype[1] != 'M') || dtype[at] != '[' || dtype[size - 1] != ']') {
        return false;
    }
    for (at++; at < size - 1; at++) {
        bool word = (dtype[at] >= '0' && dtype[at] <= '9') || (dtype[at] >= 'a' && dtype[at] <= 'z') ||
                    dtype[at] == 'D' || dtype[at] == 'W' || dtype[at] == 'M' || dtype[at] == 'Y';
        if (!word) {
            return false;
        }
    }
    return true;
}

/* Writing ---------------------------------------------------------------- */

/* New reference to value.dtype.str where it is plain; else NULL, with an
 * exception set or without. */
static PyObject *
plain_dtype(PyObject *value, PyObject **dtype)
{
    *dtype = PyObject_GetAttrString(value, "dtype");
    PyObject *name = *dtype == NULL ? NULL : PyObject_GetAttrString(*dtype, "str");
    Py_ssize_t size = 0;
    const char *text = name != NULL && PyUnicode_CheckExact(name)
                           ? PyUnicode_AsUTF8AndSize(name, &size) : NULL;
    if (text == NULL || !is_plain(text, (size_t)size)) {
        Py_CLEAR(name);
    }
    return name;
}

/* 1, 0 or -1. */
static int
flag_of(PyObject *array, const char *name)
{
    PyObject *flags = PyObject_GetAttrString(array, "flags");
    PyObject *flag = flags == NULL ? NULL : PyObject_GetAttrString(flags, name);
    int truth = flag == NULL ? -1 : PyObject_IsTrue(flag);
    Py_XDECREF(flag);
    Py_XDECREF(flags);
    return truth;
}

/* The elements as bytes.  Times have no buffer, and some arrays are scattered:
 * tobytes() copies those. */
static int
put_elements(ips_value_writer *writer, PyObject *value, const char *order)
{
    Py_buffer view;
    int contiguity = order[0] == 'F' ? PyBUF_F_CONTIGUOUS : PyBUF_C_CONTIGUOUS;
    uint32_t number;
    int apart = writer->parts == NULL
        ? 0 : ips_parts_add(writer->parts, value, contiguity, IPS_PART_BYTEARRAY, &number);
    if (apart > 0) {
        return ips_value_settle(writer, ips_packer_put_uint(&writer->out, number));
    }
    PyErr_Clear(); /* some have no buffer: below */
    if (PyObject_GetBuffer(value, &view, contiguity) == 0) {
        int status = ips_packer_put_bin(&writer->out, view.buf, (size_t)view.len);
        PyBuffer_Release(&view);
        return ips_value_settle(writer, status);
    }
    PyErr_Clear();
    PyObject *bytes = PyObject_CallMethod(value, "tobytes", "s", order);
    if (bytes == NULL || !PyBytes_Check(bytes)) {
        Py_XDECREF(bytes);
        return PyErr_Occurred() ? -1 : ips_value_refuse(writer, "an array without bytes");
    }
    int status = ips_packer_put_bin(&writer->out, PyBytes_AS_STRING(bytes),
                                    (size_t)PyBytes_GET_SIZE(bytes));
    Py_DECREF(bytes);
    return ips_value_settle(writer, status);
}

static int
put_shape(ips_value_writer *writer, PyObject *array)
{
    PyObject *shape = PyObject_GetAttrString(array, "shape");
    if (shape == NULL || !PyTuple_CheckExact(shape)) {
        Py_XDECREF(shape);
        return PyErr_Occurred() ? -1 : ips_value_refuse(writer, "an array without a shape");
    }
    Py_ssize_t dimensions = PyTuple_GET_SIZE(shape);
    int done = ips_value_settle(writer, ips_packer_put_array(&writer->out, (size_t)dimensions));
    for (Py_ssize_t i = 0; i < dimensions && done == 0; i++) {
        done = ips_value_put(writer, PyTuple_GET_ITEM(shape, i));
    }
    Py_DECREF(shape);
    return done;
}

static int
put_array_parts(ips_value_writer *writer, PyObject *array)
{
    int rows = flag_of(array, "c_contiguous");
    int columns = rows == 0 ? flag_of(array, "f_contiguous") : 0;
    if (rows < 0 || columns < 0) {
        return -1;
    }
    const char *order = columns ? "F" : "C";
    int done = put_shape(writer, array);
    if (done == 0) {
        done = ips_value_settle(writer, ips_packer_put_str(&writer->out, order, 1));
    }
    return done == 0 ? put_elements(writer, array, order) : done;
}

static int
put_parts(ips_value_writer *writer, PyObject *value, PyObject *dtype_name, bool whole_array)
{
    Py_ssize_t bytes = 16;
    if (whole_array) {
        PyObject *nbytes = PyObject_GetAttrString(value, "nbytes");
        bytes = nbytes == NULL ? -1 : PyLong_AsSsize_t(nbytes);
        Py_XDECREF(nbytes);
        if (bytes < 0) {
            return PyErr_Occurred() ? -1 : ips_value_refuse(writer, "an array without a size");
        }
    }
    ips_packer_ext ext;
    /* Head, dtype, shape and order take some 40 bytes besides. */
    size_t guess = writer->parts != NULL && bytes >= (Py_ssize_t)IPS_PART_LEAST ? 40 : (size_t)bytes + 40;
    int done = ips_value_settle(writer, ips_packer_open_ext(&writer->out, guess, &ext));
    if (done == 0) {
        done = ips_value_settle(writer, ips_packer_put_array(&writer->out, whole_array ? 4 : 2));
    }
    if (done == 0) {
        done = ips_value_put(writer, dtype_name);
    }
    if (done == 0) {
        done = whole_array ? put_array_parts(writer, value) : put_elements(writer, value, "C");
    }
    int8_t type = whole_array ? IPS_EXT_ARRAY : IPS_EXT_SCALAR;
    return done == 0 ? ips_value_settle(writer, ips_packer_close_ext(&writer->out, &ext, type)) : done;
}

/* A scalar is of numpy's own type, and its bytes are all there is to it:
 * strings lose their trailing NULs on the way through an array. */
static bool
is_plain_scalar(ips_state *state, PyObject *value, PyObject *dtype, PyObject *dtype_name)
{
    if (!PyType_IsSubtype(Py_TYPE(value), (PyTypeObject *)state->numpy_generic) ||
        strchr("SU", PyUnicode_READ_CHAR(dtype_name, 1)) != NULL) {
        return false;
    }
    PyObject *type = PyObject_GetAttrString(dtype, "type");
    bool own = type == (PyObject *)Py_TYPE(value);
    Py_XDECREF(type);
    return own;
}

int
ips_value_put_array(ips_value_writer *writer, PyObject *value)
{
    ips_state *state = writer->state;
    int found = find_imported_numpy(state);
    if (found < 0) {
        return -1;
    }
    int done = ips_value_refuse(writer, "a value of type %.100s", Py_TYPE(value)->tp_name);
    bool whole_array = found && (PyObject *)Py_TYPE(value) == state->numpy_array;
    if (!whole_array &&
        !(found && PyType_IsSubtype(Py_TYPE(value), (PyTypeObject *)state->numpy_generic))) {
        return done;
    }
    PyObject *dtype;
    PyObject *name = plain_dtype(value, &dtype);
    if (name != NULL && (whole_array || is_plain_scalar(state, value, dtype, name))) {
        done = put_parts(writer, value, name, whole_array);
    } else {
        done = ips_value_refuse(writer, "a %.60s whose elements are not plain numbers or text",
                                Py_TYPE(value)->tp_name);
    }
    Py_XDECREF(name);
    Py_XDECREF(dtype);
    return PyErr_Occurred() ? -1 : done;
}

/* Reading ---------------------------------------------------------------- */

static PyObject *
take_shape(ips_value_reader *reader)
{
    ips_token head, part;
    if (ips_value_next_of(reader, IPS_TOKEN_ARRAY, &head) < 0) {
        return NULL;
    }
    PyObject *shape = PyTuple_New((Py_ssize_t)head.size);
    for (uint32_t i = 0; shape != NULL && i < head.size; i++) {
        PyObject *length = ips_value_next_of(reader, IPS_TOKEN_UINT, &part) < 0
                               ? NULL : PyLong_FromUnsignedLongLong(part.natural);
        if (length == NULL) {
            Py_CLEAR(shape);
            break;
        }
        PyTuple_SET_ITEM(shape, (Py_ssize_t)i, length);
    }
    return shape;
}

/* The elements as a bytearray that nobody else knows: a copy, or a part. */
static PyObject *
elements_of(const ips_value_reader *reader, const ips_token *elements)
{
    if (elements->kind == IPS_TOKEN_BIN) {
        return PyByteArray_FromStringAndSize((const char *)elements->bytes,
                                             (Py_ssize_t)elements->size);
    }
    PyObject *part = elements->kind == IPS_TOKEN_UINT ? ips_value_part(reader, elements->natural)
                                                      : NULL;
    if (part == NULL || !PyByteArray_CheckExact(part)) {
        return PyErr_Occurred() != NULL
            ? NULL : ips_raise_text(reader->state, IPS_EDECODE, "an array without elements");
    }
    return Py_NewRef(part);
}

/* An array over its elements, which it alone knows and may change. */
static PyObject *
array_over(const ips_value_reader *reader, PyObject *shape, const ips_token parts[3])
{
    ips_state *state = reader->state;
    const ips_token *dtype = &parts[0], *order = &parts[1], *elements = &parts[2];
    PyObject *copy = elements_of(reader, elements);
    Py_ssize_t size = copy == NULL ? 0 : PyByteArray_GET_SIZE(copy);
    PyObject *keywords = copy == NULL ? NULL
        : Py_BuildValue("{sOss#sOss#}", "shape", shape, "dtype", (const char *)dtype->bytes,
                        (Py_ssize_t)dtype->size, "buffer", copy, "order",
                        (const char *)order->bytes, (Py_ssize_t)order->size);
    Py_XDECREF(copy);
    PyObject *none = keywords == NULL ? NULL : PyTuple_New(0);
    PyObject *array = none == NULL ? NULL : PyObject_Call(state->numpy_array, none, keywords);
    Py_XDECREF(none);
    Py_XDECREF(keywords);
    if (array == NULL) {
        return NULL;
    }
    PyObject *nbytes = PyObject_GetAttrString(array, "nbytes");
    if (nbytes == NULL || PyLong_AsSize_t(nbytes) != (size_t)size) {
        if (!PyErr_Occurred()) {
            ips_raise_text(state, IPS_EDECODE, "an array of another size than its shape tells");
        }
        Py_CLEAR(array);
    }
    Py_XDECREF(nbytes);
    return array;
}

static PyObject *
take_parts(ips_value_reader *reader, bool whole_array)
{
    static const uint8_t rows[] = {'C'};
    ips_token head, parts[3] = {{0}, {.size = 1, .bytes = rows}, {0}};
    if (ips_value_next_of(reader, IPS_TOKEN_ARRAY, &head) < 0 ||
        ips_value_next_of(reader, IPS_TOKEN_STR, &parts[0]) < 0) {
        return NULL;
    }
    if (head.size != (whole_array ? 4 : 2) ||
        !is_plain((const char *)parts[0].bytes, parts[0].size)) {
        return ips_raise_text(reader->state, IPS_EDECODE, "an array of an unknown element type");
    }
    PyObject *shape = whole_array ? take_shape(reader) : PyTuple_New(0);
    PyObject *array = NULL;
    if (shape != NULL && (!whole_array || ips_value_next_of(reader, IPS_TOKEN_STR, &parts[1]) == 0) &&
        ips_value_next(reader, &parts[2]) == 0 && ips_value_finish(reader) == 0) {
        bool known = parts[1].size == 1 && memchr("CF", parts[1].bytes[0], 2) != NULL;
        array = known ? array_over(reader, shape, parts)
                      : ips_raise_text(reader->state, IPS_EDECODE, "an array in an unknown order");
    }
    Py_XDECREF(shape);
    return array;
}

PyObject *
ips_value_take_array(ips_value_reader *outer, const ips_token *token)
{
    if (import_numpy(outer->state) < 0) {
        return NULL;
    }
    ips_value_reader reader = ips_value_reader_within(outer);
    ips_unpacker_open_ext(&outer->in, token, &reader.in);
    PyObject *array = take_parts(&reader, token->ext == IPS_EXT_ARRAY);
    if (array == NULL || token->ext == IPS_EXT_ARRAY) {
        return array;
    }
    PyObject *none = PyTuple_New(0);
    PyObject *scalar = none == NULL ? NULL : PyObject_GetItem(array, none);
    Py_XDECREF(none);
    Py_DECREF(array);
    return scalar;
}
