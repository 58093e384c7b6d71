/* SPDX-License-Identifier: Apache-2.0 */
/* What the two files of ipcsys.Segment share. */
#ifndef IPS_BIND_SEGMENT_H
#define IPS_BIND_SEGMENT_H

#include "bind/pickled.h"
#include "bind/shared.h"

#include <structmember.h> /* after Python.h, which it leaves out */

typedef struct {
    PyObject_HEAD
    PyObject *weakrefs;
    ips_segment *segment; /* NULL before __init__ and once closed */
} ips_segment_handle;

/* The open segment, or NULL with Closed set. */
ips_segment *ips_segment_handle_open(ips_segment_handle *self);

/* The segment that a pickle names, held once more; without the GIL. */
IPS_MUST_CHECK int ips_segment_unpickle(const ips_unpickled *pickle, ips_segment **out);

/* bind/segment_keys.c */
PyObject *ips_segment_construct(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                PyObject *keywords);
PyObject *ips_segment_find_or_construct(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                        PyObject *keywords);
PyObject *ips_segment_find(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *ips_segment_destroy(PyObject *self, PyObject *key);
PyObject *ips_segment_keys(PyObject *self, PyObject *unused);
PyObject *ips_segment_iter(PyObject *self);
PyObject *ips_segment_subscript(PyObject *self, PyObject *key);
Py_ssize_t ips_segment_length(PyObject *self);
int ips_segment_contains(PyObject *self, PyObject *key);

#define IPS_SEGMENT_KEY_METHODS                                                              \
    {"construct", (PyCFunction)(void (*)(void))ips_segment_construct,                        \
     METH_FASTCALL | METH_KEYWORDS, "construct($self, type, key, /, *args, **kwargs)\n--\n\n" \
     "A new object of that type under the key; AlreadyExists where the key is taken.\n"      \
     "With allocator=, a Pool or Arena of this segment, its memory comes from there."},      \
    {"find_or_construct", (PyCFunction)(void (*)(void))ips_segment_find_or_construct,        \
     METH_FASTCALL | METH_KEYWORDS,                                                          \
     "find_or_construct($self, type, key, /, *args, **kwargs)\n--\n\n"                       \
     "The object under the key, made where there is none."},                                 \
    {"find", (PyCFunction)(void (*)(void))ips_segment_find, METH_VARARGS | METH_KEYWORDS,     \
     "find($self, key, /, type=None)\n--\n\n"                                               \
     "The object under the key, or None.  With a type it is of that one (MismatchError\n"     \
     "where it is not): a record's class, which else is made for what is stored."},            \
    {"destroy", ips_segment_destroy, METH_O, "destroy($self, key, /)\n--\n\n"                 \
     "Destroy the object under the key; False where there is none.  Handles that are\n"      \
     "still open raise ObjectGone from then on."},                                           \
    {"keys", ips_segment_keys, METH_NOARGS, "keys($self, /)\n--\n\n"                          \
     "A list of the keys, in order of construction."}

/* bind/segment_facts.c */
PyObject *ips_segment_stats_tuple(PyObject *self, PyObject *unused);
PyObject *ips_segment_problems(PyObject *self, PyObject *unused);
PyObject *ips_segment_trim(PyObject *self, PyObject *unused);
int ips_add_segment_facts(PyObject *module, ips_state *state);

#define IPS_SEGMENT_FACT_METHODS \
    {"stats", ips_segment_stats_tuple, METH_NOARGS, \
     "stats($self, /)\n--\n\n" \
     "Sizes in bytes and counts, as an immutable named tuple."}, \
    {"check", ips_segment_problems, METH_NOARGS, \
     "check($self, /)\n--\n\n" \
     "Every invariant of the segment's memory and objects, one line for each that is broken; []\n" \
     "when sound.  Every byte is counted as owned, free or overhead, and every block must be some\n" \
     "object's, and one's only: what nothing leads to is reported as a leak."}, \
    {"trim", ips_segment_trim, METH_NOARGS, \
     "trim($self, /)\n--\n\n" \
     "Give the memory of free pages back to the system; how many bytes that were.  The segment\n" \
     "keeps its size and takes the memory again when it needs it (SegmentFull or OSError where the\n" \
     "system has none then).  0 while another process has the segment open, or a pickled handle of\n" \
     "it is under way: a reader there could still be looking.  TransactionError inside a transaction."}

#endif
