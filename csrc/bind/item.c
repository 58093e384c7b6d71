/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/item.h"

#include <string.h>

static const ips_item_format formats[] = {
    {'b', 1, false, true}, {'B', 1, false, false},
    {'h', 2, false, true}, {'H', 2, false, false},
    {'i', 4, false, true}, {'I', 4, false, false},
    {'l', 8, false, true}, {'L', 8, false, false},
    {'q', 8, false, true}, {'Q', 8, false, false},
    {'f', 4, true, true},  {'d', 8, true, true},
};

const ips_item_format *
ips_item_format_of(char code)
{
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        if (formats[i].code == code) {
            return &formats[i];
        }
    }
    return NULL;
}

static int
pack_float(const ips_item_format *format, PyObject *number, uint64_t *item)
{
    double value = PyFloat_AsDouble(number);
    if (value == -1.0 && PyErr_Occurred() != NULL) {
        return -1;
    }
    if (format->size == 4) {
        float single = (float)value;
        uint32_t bits;
        memcpy(&bits, &single, sizeof bits);
        *item = bits;
    } else {
        memcpy(item, &value, sizeof value);
    }
    return 0;
}

static int
overflow(const ips_item_format *format, bool above)
{
    PyErr_Format(PyExc_OverflowError, "%s for an item of type '%c' (%d bits, %ssigned)",
        above ? "too large" : "too small", format->code, format->size * 8,
        format->is_signed ? "" : "un");
    return -1;
}

static int
pack_signed(const ips_item_format *format, PyObject *index, uint64_t *item)
{
    int over;
    long long value = PyLong_AsLongLongAndOverflow(index, &over);
    const int shift = 64 - format->size * 8;
    if (over == 0 && value == -1 && PyErr_Occurred() != NULL) {
        return -1;
    }
    const long long most = INT64_MAX >> shift;
    if (over != 0 || value > most || value < -most - 1) {
        return overflow(format, over > 0 || (over == 0 && value > 0));
    }
    *item = (uint64_t)value;
    return 0;
}

static int
pack_unsigned(const ips_item_format *format, PyObject *index, uint64_t *item)
{
    int over;
    long long small = PyLong_AsLongLongAndOverflow(index, &over);
    if (over < 0 || (over == 0 && small < 0)) {
        return PyErr_Occurred() != NULL ? -1 : overflow(format, false);
    }
    unsigned long long value = PyLong_AsUnsignedLongLong(index);
    if (value == (unsigned long long)-1 && PyErr_Occurred() != NULL) {
        PyErr_Clear();
        return overflow(format, true);
    }
    if (value > UINT64_MAX >> (64 - format->size * 8)) {
        return overflow(format, true);
    }
    *item = value;
    return 0;
}

int
ips_item_pack(const ips_item_format *format, PyObject *number, uint64_t *item)
{
    if (format->is_float) {
        return pack_float(format, number, item);
    }
    PyObject *index = PyNumber_Index(number);
    if (index == NULL) {
        return -1;
    }
    int status = format->is_signed ? pack_signed(format, index, item)
                                   : pack_unsigned(format, index, item);
    Py_DECREF(index);
    return status;
}

PyObject *
ips_item_unpack(const ips_item_format *format, uint64_t item)
{
    if (format->is_float && format->size == 4) {
        uint32_t bits = (uint32_t)item;
        float single;
        memcpy(&single, &bits, sizeof single);
        return PyFloat_FromDouble(single);
    }
    if (format->is_float) {
        double value;
        memcpy(&value, &item, sizeof value);
        return PyFloat_FromDouble(value);
    }
    const int shift = 64 - format->size * 8;
    return format->is_signed ? PyLong_FromLongLong((int64_t)(item << shift) >> shift)
                             : PyLong_FromUnsignedLongLong(item);
}
