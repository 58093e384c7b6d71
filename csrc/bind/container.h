/* SPDX-License-Identifier: Apache-2.0 */
/* What the types that live in a segment share: SharedMap, SharedDeque.
 *
 * Such an object stands under a key in the catalogue of a Segment, or alone,
 * named or unnamed, in a segment of its own.  The types themselves know how:
 * Segment.construct(T, key, *args) is T(*args, name=key, segment=self,
 * create=True), find_or_construct leaves `create` out, find says create=False.
 *
 * An object holds its segment: it stays mapped until the last of them is
 * closed or collected. */
#ifndef IPS_BIND_CONTAINER_H
#define IPS_BIND_CONTAINER_H

#include "bind/gate.h"
#include "bind/options.h"
#include "bind/shared.h"
#include "bind/state.h"
#include "data/types.h"
#include "data/value.h"
#include "member/object.h"
#include "segment/segment.h"

#include <structmember.h> /* after Python.h, which it leaves out */

/* Something to do inside a transaction; calls nothing of Python's. */
typedef int (*ips_act)(void *context);

/* Where an object is at home. */
typedef struct {
    PyObject *keeper;       /* the Segment it stands in; NULL where alone */
    ips_segment *segment;   /* held; NULL: closed, or before __init__ */
    ips_offset root;
    uint32_t type;          /* enum ips_type */
    uint64_t generation;
    char name[IPS_NAME_MAX + 1]; /* its key in the keeper, or its own; "" unnamed */
    bool nested;            /* it stands in another container, and has no name */
} ips_home;

typedef struct {
    PyObject_HEAD
    PyObject *weakrefs;
    ips_state *state;
    ips_home home;
    ips_gate gate;          /* waiters without the GIL, who hold the segment */
    ips_act reap;           /* frees a part of what clear() left: 1, at the end 0 */
    void *handle;           /* its context */
} ips_container;

/* Keywords of a constructor; NULL or None where not given. */
typedef struct {
    PyObject *name, *namespace_, *create, *cleanup, *max_size, *segment;
} ips_container_where;

#define IPS_CONTAINER_KEYWORDS "name", "namespace", "create", "cleanup", "max_size", "segment"
#define IPS_CONTAINER_WHERE(where) \
    &(where).name, &(where).namespace_, &(where).create, &(where).cleanup, &(where).max_size, \
        &(where).segment

/* What a constructor does inside the transaction that makes the object: the
 * root, then (unless NULL) what is in it, once it has its generation. */
typedef struct {
    uint32_t type;
    bool stable; /* the root is a stable cell, and has its own generation */
    int (*create)(ips_segment *segment, void *context, ips_offset *root);
    int (*fill)(ips_segment *segment, ips_offset root, uint64_t generation, void *context);
    void *context;
    uint64_t weight; /* bytes it starts with, about */
} ips_container_maker;

/* Find or make the object under its key in where->segment, or in a file of its
 * own; 0, or -1 with an exception set.  Fills in `home`, which is empty. */
int ips_home_open_inside(ips_state *state, const ips_container_where *where,
    const ips_container_maker *maker, ips_home *home);
int ips_home_open_alone(ips_state *state, const ips_container_where *where,
    const ips_container_maker *maker, ips_home *home);
/* What a pickle names: find it again, or ObjectGone. */
int ips_home_restore(ips_state *state, PyObject *args, uint32_t type, bool stable, ips_home *home);
/* The file of its own that a pickle names, held once more; its name in home. */
ips_segment *ips_home_file(ips_state *state, PyObject *folder, PyObject *name, PyObject *proof,
    ips_home *home);
/* For __reduce__: arguments of _restore, new reference, or NULL. */
PyObject *ips_home_pickled(ips_state *state, const ips_home *home);
/* Empty again. */
void ips_home_leave(ips_home *home);

int ips_container_open(ips_container *self, const ips_container_where *where,
    const ips_container_maker *maker);

/* -1 with Closed set where the object is closed. */
int ips_container_closed(const ips_container *self);
static inline int
ips_container_check(const ips_container *self)
{
    return __builtin_expect(self->home.segment != NULL, 1) ? 0 : ips_container_closed(self);
}

/* Run `act` in a transaction of its own, or inside the one that this thread
 * has open; undone where it returns a negative status.  At once and with the
 * GIL where the lock is free and `weight` (bytes to be copied) is small, else
 * without it.  What `act` returned, or -1 with an exception set. */
int ips_container_run(const ips_container *self, ips_act act, void *context, size_t weight);
/* For a reader whom writers kept from reading without the lock: as run(), but
 * while the lock is not to be had `look` tries again without it, every so
 * often; IPS_EAGAIN means in vain.  Whoever holds the lock for long may have
 * changed nothing that this reader asks for. */
int ips_container_read(const ips_container *self, ips_act look, ips_act act, void *context);
/* As run() for a thread without the GIL that waits until `deadline`: a
 * status, IPS_ETIMEOUT and IPS_EINTR among them. */
int ips_container_attempt(ips_segment *segment, ips_act act, void *context, int64_t deadline);
/* With memory from where the object's root is from, as run() does it. */
int ips_container_attempt_at(ips_segment *segment, ips_offset root, ips_act act, void *context,
    int64_t deadline);

/* check(): `act` gets an ips_checking and runs the core's check on its handle
 * with ips_container_report; the result is the list of lines.  Where the object
 * stands alone, those of its segment's own check too. */
typedef struct {
    const void *handle;
    ips_segment *home;
    ips_snapshot lines;
    bool lines_lost; /* no memory for all of them */
} ips_checking;
void ips_container_report(const char *line, void *checking);
PyObject *ips_container_lines(ips_container *self, ips_act act);

/* Slots and methods, ready for a type's tables. */
void ips_container_dealloc(PyObject *self);
int ips_container_traverse(PyObject *self, visitproc visit, void *arg);
int ips_container_clear(PyObject *self);
PyObject *ips_container_name(PyObject *self, void *unused);
PyObject *ips_container_is_closed(PyObject *self, void *unused);
PyObject *ips_container_close(PyObject *self, PyObject *unused);
PyObject *ips_container_enter(PyObject *self, PyObject *unused);
PyObject *ips_container_exit(PyObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *ips_container_reduce(PyObject *self, PyObject *unused);
/* For the type's class method _restore: open what a pickle names. */
int ips_container_restore_into(ips_container *self, PyObject *args, uint32_t type);
PyObject *ips_container_remove(PyObject *type, PyObject *const *args, Py_ssize_t count,
    PyObject *keywords);

/* Register with an abstract class of collections.abc; 0 or -1. */
int ips_container_register(PyTypeObject *type, const char *abstract);

#define IPS_CONTAINER_WEAKREFS \
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ips_container, weakrefs), READONLY, NULL}
#define IPS_CONTAINER_METHODS(restore) \
    {"remove", (PyCFunction)(void (*)(void))ips_container_remove, \
        METH_FASTCALL | METH_KEYWORDS | METH_CLASS, IPS_REMOVE_DOC}, \
    IPS_CONTAINER_METHODS_BUT_REMOVE(restore)
/* Of types whose objects have a remove() of their own (bind/sequence.h). */
#define IPS_CONTAINER_METHODS_BUT_REMOVE(restore) \
    {"close", ips_container_close, METH_NOARGS, "close($self, /)\n--\n\n" \
        "Give up this handle; threads of this process that wait on it get Closed."}, \
    {"transaction", (PyCFunction)(void (*)(void))ips_transaction_of, \
        METH_VARARGS | METH_KEYWORDS, "transaction($self, /, timeout=None)\n--\n\n" \
        "A Transaction over this object and whatever else its segment holds."}, \
    {"__enter__", ips_container_enter, METH_NOARGS, "__enter__($self, /)\n--\n\nItself."}, \
    {"__exit__", (PyCFunction)(void (*)(void))ips_container_exit, METH_FASTCALL, \
        "__exit__($self, /, *exc_info)\n--\n\nclose()."}, \
    {"__reduce__", ips_container_reduce, METH_NOARGS, "__reduce__($self, /)\n--\n\n" \
        "A handle for another process of the same namespace."}, \
    {"_restore", restore, METH_VARARGS | METH_CLASS, NULL}, \
    IPS_REPR_HTML_METHOD, \
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, \
        "__class_getitem__($type, item, /)\n--\n\nFor annotations."}
#define IPS_CONTAINER_GETSETS \
    {"name", ips_container_name, NULL, "The name or key, or None.", NULL}, \
    {"closed", ips_container_is_closed, NULL, "True once close() was called.", NULL}

#endif
