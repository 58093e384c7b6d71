/* SPDX-License-Identifier: Apache-2.0 */
/* Within the stepper: ranges of addresses that come in, and lists of
 * instructions that go out. */
#ifndef IPS_BIND_STEPPER_MARKS_H
#define IPS_BIND_STEPPER_MARKS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#define MAX_MARKS (1u << 16)

typedef struct {
    uintptr_t first, last; /* [first, last) */
} span;

typedef struct {
    uint32_t steps[MAX_MARKS]; /* numbers of instructions, none twice */
    uint32_t count;
} marks;

static bool
in_spans(const span *spans, int count, uintptr_t at)
{
    for (int i = 0; i < count; i++) {
        if (at >= spans[i].first && at < spans[i].last) {
            return true;
        }
    }
    return false;
}

static void
mark(marks *where, uint64_t step)
{
    uint32_t so_far = where->count;
    if (so_far < MAX_MARKS && (so_far == 0 || where->steps[so_far - 1] != step)) {
        where->steps[where->count++] = (uint32_t)step;
    }
}

static int
read_spans(PyObject *list, span *spans, int limit)
{
    PyObject *fast = PySequence_Fast(list, "expected a sequence of (first, last)");
    if (fast == NULL) {
        return -1;
    }
    Py_ssize_t count = PySequence_Fast_GET_SIZE(fast);
    if (count > limit) {
        PyErr_Format(PyExc_ValueError, "at most %d ranges", limit);
        count = -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        unsigned long long first, last;
        if (!PyArg_ParseTuple(PySequence_Fast_GET_ITEM(fast, i), "KK", &first, &last)) {
            count = -1;
            break;
        }
        spans[i] = (span){(uintptr_t)first, (uintptr_t)last};
    }
    Py_DECREF(fast);
    return (int)count;
}

static PyObject *
list_of(const marks *found)
{
    PyObject *list = PyList_New(found->count);
    for (uint32_t i = 0; list != NULL && i < found->count; i++) {
        PyObject *step = PyLong_FromUnsignedLong(found->steps[i]);
        if (step == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, i, step);
    }
    return list;
}

#endif
