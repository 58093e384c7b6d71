/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/shared.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "data/deque.h"
#include "data/flat.h"
#include "data/inset.h"
#include "data/layouts.h"
#include "data/map.h"
#include "data/nest.h"
#include "data/reach.h"
#include "data/record.h"
#include "data/types.h"

static int
destroy_cell(ips_segment *segment, const ips_entry *entry)
{
    return ips_stable_free(segment, entry->offset);
}

static int
destroy_array(ips_segment *segment, const ips_entry *entry)
{
    return ips_inset_destroy(segment, entry->offset);
}

static int
destroy_map(ips_segment *segment, const ips_entry *entry)
{
    ips_map map;
    int status = ips_map_open(segment, entry->offset, entry->generation, &map);
    return status < 0 ? status : ips_map_destroy(&map);
}

static int
destroy_deque(ips_segment *segment, const ips_entry *entry)
{
    ips_deque deque;
    int status = ips_deque_open(segment, entry->type, entry->offset, entry->generation, &deque);
    return status < 0 ? status : ips_deque_destroy(&deque);
}

static int
destroy_flat(ips_segment *segment, const ips_entry *entry)
{
    ips_flat flat;
    int status = ips_flat_open(segment, entry->type, entry->offset, entry->generation, &flat);
    return status < 0 ? status : ips_flat_destroy(&flat);
}

static int
destroy_record(ips_segment *segment, const ips_entry *entry)
{
    ips_record record;
    int status = ips_record_open(segment, entry->offset, entry->generation, &record);
    return status < 0 ? status : ips_record_destroy(&record);
}

static const ips_shared_type shared_types[] = {
    {IPS_TYPE_ATOMIC_INT, offsetof(ips_state, atomic_int_type), destroy_cell},
    {IPS_TYPE_ATOMIC_FLOAT, offsetof(ips_state, atomic_float_type), destroy_cell},
    {IPS_TYPE_ATOMIC_BOOL, offsetof(ips_state, atomic_bool_type), destroy_cell},
    {IPS_TYPE_LOCK, offsetof(ips_state, lock_type), destroy_cell},
    {IPS_TYPE_EVENT, offsetof(ips_state, event_type), destroy_cell},
    {IPS_TYPE_SEMAPHORE, offsetof(ips_state, semaphore_type), destroy_cell},
    {IPS_TYPE_BOUNDED_SEMAPHORE, offsetof(ips_state, bounded_semaphore_type), destroy_cell},
    {IPS_TYPE_RLOCK, offsetof(ips_state, rlock_type), destroy_cell},
    {IPS_TYPE_CONDITION, offsetof(ips_state, condition_type), destroy_cell},
    {IPS_TYPE_BARRIER, offsetof(ips_state, barrier_type), destroy_cell},
    {IPS_TYPE_RWLOCK, offsetof(ips_state, rwlock_type), destroy_cell},
    {IPS_TYPE_ARRAY, offsetof(ips_state, array_type), destroy_array},
    {IPS_TYPE_MAP, offsetof(ips_state, map_type), destroy_map},
    {IPS_TYPE_DEQUE, offsetof(ips_state, deque_type), destroy_deque},
    {IPS_TYPE_VECTOR, offsetof(ips_state, vector_type), destroy_deque},
    {IPS_TYPE_TYPED_VECTOR, offsetof(ips_state, vector_type), destroy_flat},
    {IPS_TYPE_CELL, offsetof(ips_state, cell_type), destroy_flat},
    {IPS_TYPE_STRING, offsetof(ips_state, string_type), destroy_flat},
    {IPS_TYPE_BYTES, offsetof(ips_state, bytes_type), destroy_flat},
    {IPS_TYPE_RECORD, offsetof(ips_state, record_type), destroy_record},
};

#define SHARED_TYPES (sizeof shared_types / sizeof shared_types[0])

static PyTypeObject *
class_of(ips_state *state, const ips_shared_type *type)
{
    return *(PyTypeObject **)((char *)state + type->class_at);
}

const ips_shared_type *
ips_shared_type_of(uint32_t type)
{
    for (size_t i = 0; i < SHARED_TYPES; i++) {
        if (shared_types[i].type == type) {
            return &shared_types[i];
        }
    }
    return NULL;
}

PyTypeObject *
ips_shared_class(ips_state *state, uint32_t type)
{
    const ips_shared_type *known = ips_shared_type_of(type);
    return known == NULL ? NULL : class_of(state, known);
}

static const ips_shared_type *
type_of_class(ips_state *state, PyObject *candidate)
{
    for (size_t i = 0; i < SHARED_TYPES && PyType_Check(candidate); i++) {
        PyTypeObject *class = class_of(state, &shared_types[i]);
        if (class != NULL && PyType_IsSubtype((PyTypeObject *)candidate, class)) {
            return &shared_types[i];
        }
    }
    return NULL;
}

bool
ips_shared_is_class(ips_state *state, PyObject *candidate)
{
    return type_of_class(state, candidate) != NULL;
}

bool
ips_shared_can_nest(ips_state *state, PyObject *class)
{
    const ips_shared_type *type = type_of_class(state, class);
    return type != NULL && ips_nest_can_stand(type->type);
}

bool
ips_shared_has_blocks(ips_state *state, PyObject *class)
{
    const ips_shared_type *type = type_of_class(state, class);
    return type != NULL && type->destroy != destroy_cell && type->destroy != destroy_array;
}

/* --- checking */

static int
check_entry(ips_segment *segment, const ips_entry *entry, ips_shared_report report, void *context)
{
    ips_record record;
    char line[400];
    if (entry->type == IPS_TYPE_ARRAY) {
        return ips_inset_check(segment, entry->offset, report, context);
    }
    if (ips_nest_holds(segment, entry->type, entry->offset)) {
        const ips_reference at = {entry->type, entry->offset, entry->generation};
        return ips_nest_check(segment, &at, report, context);
    }
    if (entry->type != IPS_TYPE_RECORD) {
        return 0;
    }
    int status = ips_record_open(segment, entry->offset, entry->generation, &record);
    if (status == 0) {
        status = ips_record_check(&record, report, context);
    }
    if (status < 0 && status != IPS_ENOMEM) {
        (void)snprintf(line, sizeof line, "'%.100s': %s", entry->name, ips_last_note()->detail);
        report(line, context);
        status = 1;
    }
    return status;
}

int
ips_shared_check(ips_segment *segment, int64_t deadline, ips_shared_report report, void *context)
{
    uint64_t cursor = 0;
    ips_entry entry;
    int problems = 0;
    int status = ips_tx_begin(segment, deadline);
    if (status < 0) {
        return status;
    }
    while (status >= 0 && (status = ips_catalogue_next(segment, &cursor, &entry)) == 0) {
        status = check_entry(segment, &entry, report, context);
        problems += status > 0;
    }
    status = status == IPS_ENOENT ? ips_nest_check_graves(segment, report, context) : status;
    problems += status > 0 ? status : 0;
    status = status >= 0 ? ips_layouts_check(segment, report, context) : status;
    if (status == 0 && problems == 0) {
        status = ips_leaks_check(segment, report, context);
    }
    ips_tx_abort(segment);
    return status < 0 ? status : problems + status;
}

int
ips_shared_check_all(ips_segment *segment, int64_t deadline, ips_shared_report report,
    void *context)
{
    int status = ips_segment_check(segment, deadline, report, context);
    return status < 0 ? status : ips_shared_check(segment, deadline, report, context);
}

/* --- sizes */

static const struct {
    const char *unit;
    double bytes;
} units[] = {
    {"", 1},          {"B", 1},         {"kB", 1e3},      {"KB", 1e3},     {"MB", 1e6},
    {"GB", 1e9},      {"TB", 1e12},     {"KiB", 0x1p10},  {"MiB", 0x1p20}, {"GiB", 0x1p30},
    {"TiB", 0x1p40},
};

static double
size_of_text(const char *text)
{
    char *end;
    double number = PyOS_string_to_double(text, &end, NULL);
    if (PyErr_Occurred() != NULL) {
        PyErr_Clear();
        return -1;
    }
    end += strspn(end, " ");
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(end, units[i].unit) == 0) {
            return floor(number * units[i].bytes);
        }
    }
    return -1;
}

int
ips_size_of(PyObject *size, const char *what, uint64_t *out)
{
    double bytes = -1;
    if (PyUnicode_Check(size)) {
        const char *text = PyUnicode_AsUTF8(size);
        if (text == NULL) {
            return -1;
        }
        bytes = size_of_text(text);
    } else if (PyLong_Check(size) && !PyBool_Check(size)) {
        int overflow;
        long long number = PyLong_AsLongLongAndOverflow(size, &overflow);
        bytes = overflow > 0 ? 0x1p63 : overflow < 0 ? -1 : (double)number;
    } else {
        PyErr_Format(PyExc_TypeError, "%s must be a number of bytes or text such as '10 MiB', not %.100s",
                     what, Py_TYPE(size)->tp_name);
        return -1;
    }
    if (!(bytes > 0 && bytes < 0x1p62)) { /* NaN too */
        PyErr_Format(PyExc_ValueError, "%s must be bytes or text such as '10 MiB', not %R", what,
                     size);
        return -1;
    }
    *out = (uint64_t)bytes;
    return 0;
}

PyObject *
ips_repr_html(PyObject *self, PyObject *unused)
{
    (void)unused;
    PyObject *module = PyImport_ImportModule("ipcsys.markup");
    PyObject *text = module == NULL ? NULL : PyObject_CallMethod(module, "html", "O", self);
    Py_XDECREF(module);
    return text;
}
