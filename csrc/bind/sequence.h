/* SPDX-License-Identifier: Apache-2.0 */
/* What SharedVector and SharedDeque share: reading parts of a row and changing
 * it in the middle.  A row is of any values (data/deque.h) or, with a format,
 * of items of one size (data/flat.h). */
#ifndef IPS_BIND_SEQUENCE_H
#define IPS_BIND_SEQUENCE_H

#include "bind/container.h"
#include "bind/item.h"
#include "bind/nested.h"
#include "data/deque.h"
#include "data/flat.h"

typedef struct ips_text_kind ips_text_kind; /* bind/text.h */

typedef struct {
    ips_container base;
    ips_deque deque;               /* of any values */
    ips_flat flat;                 /* of items */
    const ips_item_format *format; /* NULL: any values */
    const ips_text_kind *text;     /* NULL: not one value */
    uint64_t changes;              /* through this handle: what sort() must not see */
} ips_sequence;

/* --- values on their way in: one, or all of an iterable, as the records (or
 * the items, side by side) that the core takes.  0 or -1. */
int ips_sequence_encode(ips_state *state, const ips_item_format *format, PyObject *value,
    ips_snapshot *values);
int ips_sequence_encode_all(ips_state *state, const ips_item_format *format, PyObject *iterable,
    ips_snapshot *values);

/* --- reading */

/* The records or items of a part, of one moment; 0 or -1. */
int ips_sequence_snapshot(ips_sequence *self, ips_span span, ips_snapshot *out);
/* A new list of a part, with handles on containers that stand in the row. */
PyObject *ips_sequence_list(ips_sequence *self, ips_span span);
/* Of all of it, with copies of them; *version (unless NULL) for the changes below. */
PyObject *ips_sequence_plain(ips_sequence *self, uint64_t *version);
/* What `text` gives, or that it is closed. */
PyObject *ips_sequence_repr(PyObject *self, ips_nested_act text);
PyObject *ips_sequence_get(ips_sequence *self, int64_t index);
/* An index as list takes it: 0, or -1 with TypeError or IndexError set. */
int ips_sequence_index_of(PyObject *index, int64_t *out);

/* --- changing: 0, IPS_ROW_*, or -1 with an exception set.  Each checks that
 * the object is open, as encoding may have run Python code. */
int ips_sequence_append(ips_sequence *self, PyObject *value);
int ips_sequence_extend(ips_sequence *self, const ips_snapshot *values);
int ips_sequence_set(ips_sequence *self, int64_t index, PyObject *value);
int ips_sequence_set_item(ips_sequence *self, int64_t index, uint64_t item);
int ips_sequence_splice(ips_sequence *self, ips_span span, const ips_snapshot *values);
int ips_sequence_assign(ips_sequence *self, ips_span span, const ips_snapshot *values,
    uint64_t *count);
int ips_sequence_erase(ips_sequence *self, ips_span span);
int ips_sequence_reorder(ips_sequence *self, const uint64_t *order, uint64_t length,
    uint64_t expected);
/* What is in it, `times` times; nothing where that is 0. */
int ips_sequence_repeat(ips_sequence *self, uint64_t times);
/* *out (unless NULL): the value that went, where 0 is returned; of a container
 * that stood there, what copy() gives. */
int ips_sequence_take(ips_sequence *self, int64_t index, uint64_t expected, PyObject **out);

/* 1 where `value` is a handle on the very container that stands at the index, as in
 * row[i] += x; 0 where not; -1 with an exception set. */
int ips_sequence_is_there(ips_sequence *self, int64_t index, PyObject *value);

/* Wake all who wait for a change of a deque. */
void ips_sequence_news(const ips_sequence *self);
/* Wake those of one event of a deque. */
void ips_sequence_notify(const ips_sequence *self, ips_eventcount_shm *event, int count);

/* "SharedVector index out of range"; NULL. */
PyObject *ips_sequence_raise_range(PyObject *self, const char *what);
/* The class's own name, without its module. */
const char *ips_short_name(PyObject *object);

/* --- slots and methods of both (bind/sequence_whole.c) */
Py_ssize_t ips_sequence_length(PyObject *self);
int ips_sequence_contains(PyObject *self, PyObject *value);
PyObject *ips_sequence_iter(PyObject *self);
PyObject *ips_sequence_repeat_in_place(PyObject *self, Py_ssize_t times);
PyObject *ips_sequence_reversed(PyObject *self, PyObject *unused);
PyObject *ips_sequence_index(PyObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *ips_sequence_count(PyObject *self, PyObject *value);
PyObject *ips_sequence_insert(PyObject *self, PyObject *const *args, Py_ssize_t count);
/* remove(), which on the class takes a name and on an object a value: for the
 * type's dict, once the type is made; 0 or -1. */
int ips_sequence_add_remove(PyObject *module, PyTypeObject *type);
PyObject *ips_sequence_reverse(PyObject *self, PyObject *unused);

/* bind/sequence_sort.c */
PyObject *ips_sequence_sort(PyObject *self, PyObject *args, PyObject *kwargs);
#define IPS_SEQUENCE_SORT \
    {"sort", (PyCFunction)(void (*)(void))ips_sequence_sort, METH_VARARGS | METH_KEYWORDS, \
        "sort($self, /, *, key=None, reverse=False)\n--\n\n" \
        "As list.sort.  Where others changed the values meanwhile, their order is\n" \
        "worked out again; Busy is raised where they never stop."}

#define IPS_SEQUENCE_METHODS \
    {"index", (PyCFunction)(void (*)(void))ips_sequence_index, METH_FASTCALL, \
        "index($self, value, start=0, stop=9223372036854775807, /)\n--\n\n" \
        "The first index of an equal value; ValueError where there is none."}, \
    {"count", ips_sequence_count, METH_O, "count($self, value, /)\n--\n\n" \
        "How many equal values there are."}, \
    {"insert", (PyCFunction)(void (*)(void))ips_sequence_insert, METH_FASTCALL, \
        "insert($self, index, value, /)\n--\n\nPut the value before the one at `index`."}, \
    {"reverse", ips_sequence_reverse, METH_NOARGS, "reverse($self, /)\n--\n\n" \
        "The values in the other order, at once."}, \
    {"__reversed__", ips_sequence_reversed, METH_NOARGS, "__reversed__($self, /)\n--\n\n" \
        "Iterate over the values of this moment, from the right."}

#endif
