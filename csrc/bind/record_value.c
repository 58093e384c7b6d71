/* SPDX-License-Identifier: Apache-2.0 */
/* Python values as the bytes of a record's field, and back. */
#include "bind/record.h"
#include "bind/value_codec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int
wrong_type(PyObject *name, const char *wanted, PyObject *value)
{
    PyErr_Format(PyExc_TypeError, "%U must be %s, not %.100s", name, wanted,
        Py_TYPE(value)->tp_name);
    return -1;
}

/* --- integers */

static const struct {
    int64_t least;
    uint64_t most;
} ranges[] = {
    [IPS_FIELD_I8] = {INT8_MIN, INT8_MAX},
    [IPS_FIELD_I16] = {INT16_MIN, INT16_MAX},
    [IPS_FIELD_I32] = {INT32_MIN, INT32_MAX},
    [IPS_FIELD_I64] = {INT64_MIN, INT64_MAX},
    [IPS_FIELD_U8] = {0, UINT8_MAX},
    [IPS_FIELD_U16] = {0, UINT16_MAX},
    [IPS_FIELD_U32] = {0, UINT32_MAX},
    [IPS_FIELD_U64] = {0, UINT64_MAX},
};

static int
out_of_range(uint8_t type, PyObject *value, PyObject *name)
{
    PyErr_Format(PyExc_OverflowError, "%U must be from %lld to %llu, not %R", name,
        (long long)ranges[type].least, (unsigned long long)ranges[type].most, value);
    return -1;
}

static void
put_bits(uint8_t *bytes, uint32_t width, uint64_t bits)
{
    const uint8_t one = (uint8_t)bits;
    const uint16_t two = (uint16_t)bits;
    const uint32_t four = (uint32_t)bits;
    memcpy(bytes, width == 1 ? (const void *)&one : width == 2 ? (const void *)&two
        : width == 4 ? (const void *)&four : (const void *)&bits, width);
}

/* An int, whatever counts as one; new reference. */
static PyObject *
index_of(PyObject *value, PyObject *name)
{
    if (!PyIndex_Check(value)) {
        (void)wrong_type(name, "an int", value);
        return NULL;
    }
    return PyNumber_Index(value);
}

static int
encode_integer(uint8_t type, PyObject *value, PyObject *name, uint8_t *bytes)
{
    int overflow;
    if (!PyLong_Check(value)) {
        PyObject *index = index_of(value, name);
        int status = index == NULL ? -1 : encode_integer(type, index, name, bytes);
        Py_XDECREF(index);
        return status;
    }
    const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow == 0) {
        if (number < ranges[type].least ||
            (number > 0 && (uint64_t)number > ranges[type].most)) {
            return out_of_range(type, value, name);
        }
        put_bits(bytes, ips_field_width(type), (uint64_t)number);
        return 0;
    }
    const unsigned long long large = overflow < 0 || type != IPS_FIELD_U64
        ? ULLONG_MAX : PyLong_AsUnsignedLongLong(value);
    if (large == ULLONG_MAX && (overflow < 0 || type != IPS_FIELD_U64 || PyErr_Occurred() != NULL)) {
        PyErr_Clear();
        return out_of_range(type, value, name);
    }
    memcpy(bytes, &large, sizeof large);
    return 0;
}

/* --- the other scalars */

static int
encode_float(uint8_t type, PyObject *value, PyObject *name, uint8_t *bytes)
{
    const double number = PyFloat_CheckExact(value) ? PyFloat_AS_DOUBLE(value)
                                                    : PyFloat_AsDouble(value);
    if (number == -1.0 && PyErr_Occurred() != NULL) {
        return PyErr_ExceptionMatches(PyExc_TypeError) ? wrong_type(name, "a float", value) : -1;
    }
    if (type == IPS_FIELD_F64) {
        memcpy(bytes, &number, sizeof number);
        return 0;
    }
    const float narrow = (float)number;
    if (isinf(narrow) && !isinf(number)) {
        PyErr_Format(PyExc_OverflowError, "%U: %R is too large for an f32", name, value);
        return -1;
    }
    memcpy(bytes, &narrow, sizeof narrow);
    return 0;
}

static int
encode_bool(PyObject *value, PyObject *name, uint8_t *bytes)
{
    int truth = -1;
    if (PyBool_Check(value) || strncmp(Py_TYPE(value)->tp_name, "numpy.bool", 10) == 0) {
        truth = PyObject_IsTrue(value);
    } else if (PyLong_Check(value)) {
        const long number = PyLong_AsLong(value);
        truth = number == 0 || number == 1 ? (int)number : -1;
        PyErr_Clear();
    }
    if (truth < 0) {
        return PyErr_Occurred() != NULL ? -1 : wrong_type(name, "a bool", value);
    }
    *bytes = (uint8_t)truth;
    return 0;
}

int
ips_record_encode_scalar(const ips_field *field, PyObject *value, PyObject *name, uint8_t bytes[8])
{
    if (field->type > IPS_FIELD_F64 || field->count != 0) {
        return 1;
    }
    if (field->type >= IPS_FIELD_F32) {
        return encode_float(field->type, value, name, bytes);
    }
    return field->type == IPS_FIELD_BOOL ? encode_bool(value, name, bytes)
                                         : encode_integer(field->type, value, name, bytes);
}

PyObject *
ips_record_decode_scalar(uint8_t type, const uint8_t *bytes)
{
    union {
        int8_t i8;
        int16_t i16;
        int32_t i32;
        int64_t i64;
        uint16_t u16;
        uint32_t u32;
        uint64_t u64;
        float f32;
        double f64;
    } it;
    memcpy(&it, bytes, ips_field_width(type));
    switch (type) {
    case IPS_FIELD_F64:
        return PyFloat_FromDouble(it.f64);
    case IPS_FIELD_I64:
        return PyLong_FromLongLong(it.i64);
    case IPS_FIELD_I32:
        return PyLong_FromLong(it.i32);
    case IPS_FIELD_I16:
        return PyLong_FromLong(it.i16);
    case IPS_FIELD_I8:
        return PyLong_FromLong(it.i8);
    case IPS_FIELD_U64:
        return PyLong_FromUnsignedLongLong(it.u64);
    case IPS_FIELD_U32:
        return PyLong_FromUnsignedLong(it.u32);
    case IPS_FIELD_U16:
        return PyLong_FromLong(it.u16);
    case IPS_FIELD_U8:
        return PyLong_FromLong(*bytes);
    case IPS_FIELD_F32:
        return PyFloat_FromDouble((double)it.f32);
    default:
        return PyBool_FromLong(*bytes != 0);
    }
}

/* --- texts, bytes, integers without a limit */

/* Bytes that `out` points into, kept by its owner. */
static int
own(ips_encoded *out, PyObject *owner_taken, const void *bytes, Py_ssize_t size)
{
    out->owner = owner_taken;
    out->bytes = bytes;
    out->size = (size_t)size;
    return 0;
}

static int
own_bytes(ips_encoded *out, PyObject *bytes_taken)
{
    return bytes_taken == NULL ? -1
        : own(out, bytes_taken, PyBytes_AS_STRING(bytes_taken), PyBytes_GET_SIZE(bytes_taken));
}

static int
encode_text(PyObject *value, PyObject *name, ips_encoded *out)
{
    Py_ssize_t size;
    if (!PyUnicode_Check(value)) {
        return wrong_type(name, "a str", value);
    }
    const char *utf8 = PyUnicode_AsUTF8AndSize(value, &size);
    if (utf8 != NULL) {
        return own(out, Py_NewRef(value), utf8, size);
    }
    if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
        return -1;
    }
    PyErr_Clear();
    return own_bytes(out, PyUnicode_AsEncodedString(value, "utf-8", "surrogatepass"));
}

static int
encode_bytes(PyObject *value, PyObject *name, ips_encoded *out)
{
    if (PyBytes_Check(value)) {
        return own_bytes(out, Py_NewRef(value));
    }
    return PyObject_CheckBuffer(value) ? own_bytes(out, PyBytes_FromObject(value))
                                       : wrong_type(name, "bytes", value);
}

/* value.to_bytes(size, "little", signed=True) */
static PyObject *
to_bytes(PyObject *value)
{
    PyObject *bits = PyObject_CallMethod(value, "bit_length", NULL);
    const Py_ssize_t size = bits == NULL ? -1 : PyLong_AsSsize_t(bits) / 8 + 1;
    PyObject *method = PyErr_Occurred() != NULL ? NULL : PyObject_GetAttrString(value, "to_bytes");
    PyObject *args = method == NULL ? NULL : Py_BuildValue("(ns)", size, "little");
    PyObject *kwargs = args == NULL ? NULL : Py_BuildValue("{sO}", "signed", Py_True);
    PyObject *bytes = kwargs == NULL ? NULL : PyObject_Call(method, args, kwargs);
    Py_XDECREF(bits);
    Py_XDECREF(method);
    Py_XDECREF(args);
    Py_XDECREF(kwargs);
    return bytes;
}

static PyObject *
from_bytes(const ips_value *value)
{
    PyObject *method = PyObject_GetAttrString((PyObject *)&PyLong_Type, "from_bytes");
    PyObject *args = method == NULL ? NULL
        : Py_BuildValue("(y#s)", value->bytes, (Py_ssize_t)value->size, "little");
    PyObject *kwargs = args == NULL ? NULL : Py_BuildValue("{sO}", "signed", Py_True);
    PyObject *number = kwargs == NULL ? NULL : PyObject_Call(method, args, kwargs);
    Py_XDECREF(method);
    Py_XDECREF(args);
    Py_XDECREF(kwargs);
    return number;
}

static int
encode_big(PyObject *value, PyObject *name, ips_encoded *out)
{
    int overflow;
    PyObject *index = index_of(value, name);
    if (index == NULL) {
        return -1;
    }
    const long long number = PyLong_AsLongLongAndOverflow(index, &overflow);
    int status = 0;
    if (overflow == 0) {
        memcpy(out->room, &number, sizeof number);
        out->size = sizeof number;
    } else {
        status = own_bytes(out, to_bytes(index));
    }
    Py_DECREF(index);
    return status;
}

static PyObject *
decode_big(const ips_value *value)
{
    long long number;
    if (value->size != sizeof number) {
        return from_bytes(value);
    }
    memcpy(&number, value->bytes, sizeof number);
    return PyLong_FromLongLong(number);
}

/* --- fields */

/* `size` bytes of room for a field that is not a slot. */
static uint8_t *
room_for(ips_encoded *out, size_t size)
{
    out->size = size;
    if (size > sizeof out->room) {
        out->heap = calloc(1, size);
        out->bytes = out->heap;
        return out->heap != NULL ? out->heap : (uint8_t *)PyErr_NoMemory();
    }
    memset(out->room, 0, size);
    return out->room;
}

/* TEXT and BLOB: the count, the bytes, zeros. */
static int
encode_sized(const ips_field *field, PyObject *value, PyObject *name, ips_encoded *out)
{
    ips_encoded plain = {.bytes = out->room};
    int status = field->type == IPS_FIELD_TEXT ? encode_text(value, name, &plain)
                                               : encode_bytes(value, name, &plain);
    if (status == 0 && plain.size > field->count) {
        PyErr_Format(PyExc_ValueError, "%U holds at most %u bytes, not %zd", name, field->count,
            (Py_ssize_t)plain.size);
        status = -1;
    }
    uint8_t *room = status < 0 ? NULL : room_for(out, ips_field_size(field));
    if (room != NULL) {
        const uint32_t size = (uint32_t)plain.size;
        memcpy(room, &size, sizeof size);
        memcpy(room + sizeof size, plain.bytes, size);
    }
    Py_XDECREF(plain.owner);
    return room == NULL ? -1 : 0;
}

static int
encode_array(const ips_field *field, PyObject *value, PyObject *name, ips_encoded *out)
{
    ips_field item = *field;
    item.count = 0;
    const uint32_t width = ips_field_width(field->type);
    uint8_t *room = room_for(out, ips_field_size(field));
    PyObject *items = room == NULL ? NULL : PySequence_Fast(value, "");
    if (items == NULL) {
        if (room != NULL && PyErr_ExceptionMatches(PyExc_TypeError)) {
            (void)wrong_type(name, "a sequence", value);
        }
        return -1;
    }
    int status = 0;
    if (PySequence_Fast_GET_SIZE(items) != (Py_ssize_t)field->count) {
        PyErr_Format(PyExc_ValueError, "%U has %u items, not %zd", name, field->count,
            PySequence_Fast_GET_SIZE(items));
        status = -1;
    }
    /* Its size is looked at anew: an item's __index__ may change a list. */
    for (Py_ssize_t i = 0; status == 0 && i < (Py_ssize_t)field->count; i++) {
        if (i >= PySequence_Fast_GET_SIZE(items)) {
            PyErr_Format(PyExc_RuntimeError, "%U: the sequence changed meanwhile", name);
            status = -1;
            break;
        }
        PyObject *one = Py_NewRef(PySequence_Fast_GET_ITEM(items, i));
        status = ips_record_encode_scalar(&item, one, name, room + (size_t)i * width);
        Py_DECREF(one);
    }
    Py_DECREF(items);
    return status;
}

static int
encode_slot(ips_state *state, const ips_field *field, PyObject *value, PyObject *name,
    ips_encoded *out)
{
    if (value == Py_None && (field->flags & IPS_FIELD_NULLABLE) != 0) {
        out->kind = IPS_SLOT_NONE;
        return 0;
    }
    switch (field->type) {
    case IPS_FIELD_STR:
        return encode_text(value, name, out);
    case IPS_FIELD_BYTES:
        return encode_bytes(value, name, out);
    case IPS_FIELD_INT:
        return encode_big(value, name, out);
    case IPS_FIELD_FLOAT:
        out->size = sizeof(double);
        return encode_float(IPS_FIELD_F64, value, name, out->room);
    case IPS_FIELD_TRUTH:
        out->size = 1;
        return encode_bool(value, name, out->room);
    default:
        return ips_value_encode(state, value, 0, out);
    }
}

int
ips_record_encode(ips_state *state, const ips_field *field, PyObject *value, PyObject *name,
    ips_encoded *out)
{
    int status;
    out->bytes = out->room;
    out->size = 0;
    out->kind = 0;
    out->owner = NULL;
    out->heap = NULL;
    out->parts = NULL;
    if (ips_field_is_slot(field)) {
        status = encode_slot(state, field, value, name, out);
    } else if (ips_field_is_sized(field)) {
        status = encode_sized(field, value, name, out);
    } else if (field->count != 0) {
        status = encode_array(field, value, name, out);
    } else {
        out->size = ips_field_width(field->type);
        status = ips_record_encode_scalar(field, value, name, out->room);
    }
    if (status < 0) {
        ips_encoded_clear(out);
    }
    return status;
}

static PyObject *
decode_text(const uint8_t *bytes, size_t size)
{
    return PyUnicode_DecodeUTF8((const char *)bytes, (Py_ssize_t)size, "surrogatepass");
}

static PyObject *
decode_flat(const ips_field *field, const uint8_t *bytes)
{
    if (ips_field_is_sized(field)) {
        uint32_t size;
        memcpy(&size, bytes, sizeof size);
        size = size > field->count ? field->count : size;
        return field->type == IPS_FIELD_TEXT
            ? decode_text(bytes + sizeof size, size)
            : PyBytes_FromStringAndSize((const char *)bytes + sizeof size, size);
    }
    if (field->count == 0) {
        return ips_record_decode_scalar(field->type, bytes);
    }
    PyObject *items = PyTuple_New(field->count);
    for (uint32_t i = 0; items != NULL && i < field->count; i++) {
        PyObject *item =
            ips_record_decode_scalar(field->type, bytes + i * ips_field_width(field->type));
        if (item == NULL) {
            Py_CLEAR(items);
        } else {
            PyTuple_SET_ITEM(items, i, item);
        }
    }
    return items;
}

/* FLOAT and TRUTH. */
static PyObject *
decode_small(const ips_field *field, const ips_value *value)
{
    const uint8_t type = field->type == IPS_FIELD_FLOAT ? IPS_FIELD_F64 : IPS_FIELD_BOOL;
    return value->size == ips_field_width(type)
        ? ips_record_decode_scalar(type, value->bytes)
        : PyErr_Format(PyExc_ValueError, "a value of another size");
}

PyObject *
ips_record_decode(ips_state *state, const ips_field *field, const ips_value *value)
{
    PyObject *result;
    if (!ips_field_is_slot(field)) {
        result = decode_flat(field, value->bytes);
    } else if (field->type == IPS_FIELD_ANY) {
        return ips_value_decode(state, value->kind, value->bytes, value->size);
    } else if (value->kind == IPS_SLOT_NONE) {
        Py_RETURN_NONE;
    } else if (field->type == IPS_FIELD_STR) {
        result = decode_text(value->bytes, value->size);
    } else if (field->type == IPS_FIELD_BYTES) {
        result = PyBytes_FromStringAndSize((const char *)value->bytes, (Py_ssize_t)value->size);
    } else if (field->type == IPS_FIELD_INT) {
        result = decode_big(value);
    } else {
        result = decode_small(field, value);
    }
    if (result == NULL) { /* bytes that are no UTF-8 */
        ips_value_undecodable_bytes(state, value->bytes, value->size);
    }
    return result;
}
