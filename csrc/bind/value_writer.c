/* SPDX-License-Identifier: Apache-2.0 */
/* Python objects into MessagePack.  Only exact types: a subclass means more
 * than its base, and goes by pickle whole.
 *
 * Numpy and the allocations of rare types may let the collector run, and with
 * it any finalizer, so containers are walked as if they could change: they
 * are kept alive, their items are kept alive where more than a leaf is
 * written, and a count that no longer fits the head is an error. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bind/value_codec.h"
#include "bind/value_parts.h"

/* A list that holds one list twice, and so on, doubles with each level: what
 * pickle writes in a line would fill the memory.  No plain value is as large. */
#define MAX_CONTAINERS ((size_t)1 << 20)

void
ips_value_writer_init(ips_value_writer *writer, ips_state *state, unsigned flags, uint8_t *room,
                      size_t size)
{
    ips_packer_init(&writer->out, room, size);
    writer->state = state;
    writer->parts = NULL;
    writer->depth = 0;
    writer->containers_left = flags & IPS_ENCODE_NO_PICKLE ? SIZE_MAX : MAX_CONTAINERS;
    writer->keeps_identity = (flags & IPS_ENCODE_MP) != 0;
    writer->met_count = 0;
    writer->ours = 0;
    writer->refusal[0] = '\0';
}

int
ips_value_refuse(ips_value_writer *writer, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(writer->refusal, sizeof writer->refusal, format, args);
    va_end(args);
    return IPS_VALUE_REFUSED;
}

int
ips_value_settle(ips_value_writer *writer, int status)
{
    if (__builtin_expect(status == IPS_OK, 1)) {
        return 0;
    }
    if (status == IPS_ETOOBIG) {
        return ips_value_refuse(writer, "a part of more than 4 GiB");
    }
    ips_raise(writer->state, status);
    return -1;
}

static int
changed(PyObject *value)
{
    PyErr_Format(PyExc_RuntimeError, "a %s changed while it was encoded", Py_TYPE(value)->tp_name);
    return -1;
}

/* Two's complement, big-endian, no byte more than needed. */
static int
put_big_int(ips_value_writer *writer, PyObject *value)
{
    PyObject *bits = PyObject_CallMethod(value, "bit_length", NULL);
    if (bits == NULL) {
        return -1;
    }
    size_t size = PyLong_AsSize_t(bits);
    Py_DECREF(bits);
    if (size == (size_t)-1 && PyErr_Occurred()) {
        return -1;
    }
    int done = -1;
    PyObject *bytes = NULL;
    PyObject *method = PyObject_GetAttrString(value, "to_bytes");
    PyObject *args = Py_BuildValue("(ns)", (Py_ssize_t)(size / 8 + 1), "big");
    PyObject *keywords = Py_BuildValue("{sO}", "signed", Py_True);
    if (method != NULL && args != NULL && keywords != NULL) {
        bytes = PyObject_Call(method, args, keywords);
    }
    if (bytes != NULL) {
        int status = ips_packer_put_ext(&writer->out, IPS_EXT_BIG_INT, PyBytes_AS_STRING(bytes),
                                        (size_t)PyBytes_GET_SIZE(bytes));
        done = ips_value_settle(writer, status);
    }
    Py_XDECREF(bytes);
    Py_XDECREF(keywords);
    Py_XDECREF(args);
    Py_XDECREF(method);
    return done;
}

static int
put_int(ips_value_writer *writer, PyObject *value)
{
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow == 0) {
        return ips_value_settle(writer, ips_packer_put_int(&writer->out, number));
    }
    if (overflow > 0) {
        unsigned long long natural = PyLong_AsUnsignedLongLong(value);
        if (!PyErr_Occurred()) {
            return ips_value_settle(writer, ips_packer_put_uint(&writer->out, natural));
        }
        PyErr_Clear();
    }
    return put_big_int(writer, value);
}

/* A str with surrogates, which UTF-8 has no room for. */
static int
put_surrogates(ips_value_writer *writer, PyObject *value)
{
    if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
        return -1;
    }
    PyErr_Clear();
    PyObject *bytes = PyUnicode_AsEncodedString(value, "utf-8", "surrogatepass");
    if (bytes == NULL) {
        return -1;
    }
    int status = ips_packer_put_ext(&writer->out, IPS_EXT_SURROGATES, PyBytes_AS_STRING(bytes),
                                    (size_t)PyBytes_GET_SIZE(bytes));
    Py_DECREF(bytes);
    return ips_value_settle(writer, status);
}

static int
put_str(ips_value_writer *writer, PyObject *value)
{
    Py_ssize_t size;
    const char *utf8 = PyUnicode_AsUTF8AndSize(value, &size);
    if (__builtin_expect(utf8 == NULL, 0)) {
        return put_surrogates(writer, value);
    }
    return ips_value_settle(writer, ips_packer_put_str(&writer->out, utf8, (size_t)size));
}

static int
put_list(ips_value_writer *writer, PyObject *list)
{
    Py_ssize_t count = PyList_GET_SIZE(list);
    int done = ips_value_settle(writer, ips_packer_put_array(&writer->out, (size_t)count));
    for (Py_ssize_t i = 0; i < count && done == 0; i++) {
        if (i >= PyList_GET_SIZE(list)) {
            return changed(list);
        }
        done = ips_value_put(writer, PyList_GET_ITEM(list, i));
    }
    return done;
}

static int
put_dict(ips_value_writer *writer, PyObject *dict)
{
    Py_ssize_t count = PyDict_GET_SIZE(dict), met = 0, at = 0;
    int done = ips_value_settle(writer, ips_packer_put_map(&writer->out, (size_t)count));
    PyObject *key, *value;
    while (done == 0 && PyDict_Next(dict, &at, &key, &value)) {
        if (++met > count) {
            break;
        }
        /* Writing a key of a rare type may drop the pair from the dict. */
        Py_INCREF(value);
        done = ips_value_put(writer, key);
        if (done == 0) {
            writer->ours = 1;
            done = ips_value_put(writer, value);
            writer->ours = 0;
        }
        Py_DECREF(value);
    }
    return done == 0 && met != count ? changed(dict) : done;
}

static int
put_tuple(ips_value_writer *writer, PyObject *tuple)
{
    Py_ssize_t count = PyTuple_GET_SIZE(tuple);
    ips_packer_ext ext;
    int done = ips_value_settle(writer, ips_packer_open_ext(&writer->out, 20, &ext));
    if (done == 0) {
        done = ips_value_settle(writer, ips_packer_put_array(&writer->out, (size_t)count));
    }
    for (Py_ssize_t i = 0; i < count && done == 0; i++) {
        done = ips_value_put(writer, PyTuple_GET_ITEM(tuple, i));
    }
    return done == 0 ? ips_value_settle(writer, ips_packer_close_ext(&writer->out, &ext, IPS_EXT_TUPLE))
                     : done;
}

static int
put_set(ips_value_writer *writer, PyObject *set, int8_t type)
{
    Py_ssize_t count = PySet_GET_SIZE(set), met = 0;
    PyObject *items = PyObject_GetIter(set);
    if (items == NULL) {
        return -1;
    }
    ips_packer_ext ext;
    int done = ips_value_settle(writer, ips_packer_open_ext(&writer->out, 20, &ext));
    if (done == 0) {
        done = ips_value_settle(writer, ips_packer_put_array(&writer->out, (size_t)count));
    }
    PyObject *item;
    while (done == 0 && (item = PyIter_Next(items)) != NULL) {
        done = ++met > count ? changed(set) : ips_value_put(writer, item);
        Py_DECREF(item);
    }
    Py_DECREF(items);
    if (done != 0 || PyErr_Occurred()) {
        return done != 0 ? done : -1;
    }
    return met != count ? changed(set)
                        : ips_value_settle(writer, ips_packer_close_ext(&writer->out, &ext, type));
}

/* Large bytes, set apart: 1, 0 where they belong in here, or -1. */
static int
put_apart(ips_value_writer *writer, PyObject *value, enum ips_part_form form)
{
    uint32_t number;
    int added = ips_parts_add(writer->parts, value, PyBUF_SIMPLE, form, &number);
    if (added <= 0) {
        return added;
    }
    uint8_t content = (uint8_t)number; /* a small int is its own byte */
    int done = ips_value_settle(writer, ips_packer_put_ext(&writer->out, IPS_EXT_PART, &content, 1));
    return done < 0 ? -1 : 1;
}

static int
put_bytes(ips_value_writer *writer, PyObject *value)
{
    if (writer->parts != NULL && PyBytes_GET_SIZE(value) >= (Py_ssize_t)IPS_PART_LEAST) {
        int apart = put_apart(writer, value, IPS_PART_BYTES);
        if (apart != 0) {
            return apart < 0 ? -1 : 0;
        }
    }
    return ips_value_settle(writer, ips_packer_put_bin(&writer->out, PyBytes_AS_STRING(value),
                                                       (size_t)PyBytes_GET_SIZE(value)));
}

static int
put_bytearray(ips_value_writer *writer, PyObject *value)
{
    if (writer->parts != NULL && PyByteArray_GET_SIZE(value) >= (Py_ssize_t)IPS_PART_LEAST) {
        int apart = put_apart(writer, value, IPS_PART_BYTEARRAY);
        if (apart != 0) {
            return apart < 0 ? -1 : 0;
        }
    }
    return ips_value_settle(
        writer, ips_packer_put_ext(&writer->out, IPS_EXT_BYTEARRAY, PyByteArray_AS_STRING(value),
                                   (size_t)PyByteArray_GET_SIZE(value)));
}

/* Containers, and the types that only their modules know. */
static int
put_inner(ips_value_writer *writer, PyObject *value)
{
    PyTypeObject *type = Py_TYPE(value);
    if (type == &PyDict_Type) {
        return put_dict(writer, value);
    }
    if (type == &PyList_Type) {
        return put_list(writer, value);
    }
    if (type == &PyTuple_Type) {
        return put_tuple(writer, value);
    }
    if (type == &PySet_Type) {
        return put_set(writer, value, IPS_EXT_SET);
    }
    if (type == &PyFrozenSet_Type) {
        return put_set(writer, value, IPS_EXT_FROZENSET);
    }
    if (type == &PyByteArray_Type) {
        return put_bytearray(writer, value);
    }
    if (strncmp(type->tp_name, "datetime.", 9) == 0) {
        return ips_value_put_time(writer, value);
    }
    if (strncmp(type->tp_name, "numpy.", 6) == 0) {
        return ips_value_put_array(writer, value);
    }
    return ips_value_refuse(writer, "a value of type %.100s", type->tp_name);
}

/* Note an object that has more than one referent: true where it was met
 * before, or where that cannot be told any more. */
static bool
may_be_another(ips_value_writer *writer, PyObject *value)
{
    for (uint32_t i = 0; i < writer->met_count; i++) {
        if (writer->met[i] == value) {
            return true;
        }
    }
    if (writer->met_count == IPS_VALUE_MET) {
        return true;
    }
    writer->met[writer->met_count++] = value;
    return false;
}

int
ips_value_put(ips_value_writer *writer, PyObject *value)
{
    PyTypeObject *type = Py_TYPE(value);
    if (type == &PyUnicode_Type) {
        return put_str(writer, value);
    }
    if (type == &PyLong_Type) {
        return put_int(writer, value);
    }
    if (type == &PyFloat_Type) {
        return ips_value_settle(writer,
                                ips_packer_put_float(&writer->out, PyFloat_AS_DOUBLE(value)));
    }
    if (value == Py_None) {
        return ips_value_settle(writer, ips_packer_put_nil(&writer->out));
    }
    if (type == &PyBool_Type) {
        return ips_value_settle(writer, ips_packer_put_bool(&writer->out, value == Py_True));
    }
    if (type == &PyBytes_Type) {
        return put_bytes(writer, value);
    }
    if (writer->depth >= IPS_VALUE_DEPTH) {
        return ips_value_refuse(writer, "a value nested deeper than %d", IPS_VALUE_DEPTH);
    }
    if (writer->containers_left-- == 0) {
        return ips_value_refuse(writer, "a value of more than %zu containers", MAX_CONTAINERS);
    }
    if (writer->keeps_identity) {
        Py_ssize_t others = Py_REFCNT(value) - 1 - writer->ours;
        writer->ours = 0;
        if (others > 0 && type != &PyTuple_Type && may_be_another(writer, value)) {
            return ips_value_refuse(writer, "a value with parts that are one object");
        }
    }
    writer->depth++;
    Py_INCREF(value);
    int done = put_inner(writer, value);
    Py_DECREF(value);
    writer->depth--;
    return done;
}
