/* SPDX-License-Identifier: Apache-2.0 */
/* Containers in containers, as Python sees them: data/nest.h tells what lies in
 * shared memory.
 *
 * outer.construct(T, key, *args) is T(*args, name=key, segment=outer,
 * create=True): a type that takes its place from ips_container_open can stand in
 * a container as it can stand in a Segment.  What is found there is a handle of
 * its own: it holds the segment, not the outer container, and when its object has
 * gone with the value that it was, it raises ObjectGone. */
#ifndef IPS_BIND_NESTED_H
#define IPS_BIND_NESTED_H

#include "bind/container.h"
#include "data/nest.h"

/* Is it an object in which others can stand? */
bool ips_nested_is_holder(ips_state *state, PyObject *object);

/* Find or make the object that where->name leads to in the container
 * where->segment: 0, or -1 with an exception set.  Fills in `home`. */
int ips_nested_open(ips_state *state, const ips_container_where *where,
    const ips_container_maker *maker, ips_home *home);

/* A stored value: a copy, or a new handle where it is a container.  NULL, with
 * ObjectGone where that has gone since the value was read. */
PyObject *ips_nested_decode(const ips_container *outer, uint8_t kind, const uint8_t *bytes,
    size_t size);
/* The same, but a container as the builtin that its copy() gives. */
PyObject *ips_nested_plain(const ips_container *outer, uint8_t kind, const uint8_t *bytes,
    size_t size);

/* Would `object` be stored as a copy?  0, or -1 with TypeError set: a handle on a
 * container cannot be put into another one. */
int ips_nested_refuse_slow(ips_state *state, PyObject *object);
static inline int
ips_nested_refuse(ips_state *state, PyObject *object)
{
    return __builtin_expect(!PyType_HasFeature(Py_TYPE(object), Py_TPFLAGS_HEAPTYPE), 1)
        ? 0 : ips_nested_refuse_slow(state, object);
}
/* Is it such a handle? */
bool ips_nested_is_handle(ips_state *state, PyObject *object);
/* What copy() gives of a handle on a container that stands in another one;
 * anything else is its own copy.  A new reference, or NULL. */
PyObject *ips_nested_copy(ips_state *state, PyObject *value);
/* The bytes of a value that would be the container of this handle; of no other
 * value where it is in another segment. */
void ips_nested_reference(const ips_container *outer, PyObject *handle, uint8_t *out);
/* Is `object` a handle on the very container that the bytes refer to? */
bool ips_nested_is_same(const ips_container *outer, PyObject *object, uint8_t kind,
    const uint8_t *bytes, size_t size);

/* Work on `self` inside a transaction, in which what a value refers to lives: at
 * once where this thread has one open.  What `act` returned; undone where that is
 * NULL. */
typedef PyObject *(*ips_nested_act)(PyObject *self, void *context);
PyObject *ips_nested_locked(PyObject *self, ips_nested_act act, void *context);
/* Must it be done there, as `kind` is that of a container?  (Of an object that
 * another thread has closed since, ips_nested_locked says so.) */
static inline bool
ips_nested_needs_lock(const ips_container *self, uint8_t kind)
{
    return kind == IPS_VALUE_REFERENCE &&
           (self->home.segment == NULL || !ips_tx_is_mine(self->home.segment));
}
/* Is there a container among the values?  Must that be done there? */
bool ips_nested_any(const ips_snapshot *values);
static inline bool
ips_nested_any_needs_lock(const ips_container *self, const ips_snapshot *values)
{
    return ips_nested_any(values) && ips_nested_needs_lock(self, IPS_VALUE_REFERENCE);
}
/* May containers stand in it? */
bool ips_nested_holds(const ips_container *self);

/* Give back memory of containers that are gone: all of it where this thread has
 * seen them go, else a little.  Never raises; nothing inside a transaction. */
void ips_nested_settle_slow(ips_segment *segment);
static inline void
ips_nested_settle(ips_segment *segment)
{
    if (__builtin_expect(ips_nest_has_graves(segment), 0)) {
        ips_nested_settle_slow(segment);
    }
}
/* All of it, for a segment that is full; 0 or an error that is not raised. */
IPS_MUST_CHECK int ips_nested_make_room(ips_segment *segment);

/* Pickling: (place, name or None, proof, generation, type, root). */
#define IPS_NESTED_PICKLED 6
PyObject *ips_nested_pickled(ips_state *state, const ips_home *home);
int ips_nested_restore(ips_state *state, PyObject *args, uint32_t type, ips_home *home);

/* Methods of the outer ones (bind/segment_keys.c has the call). */
PyObject *ips_nested_construct(PyObject *self, PyObject *const *args, Py_ssize_t count,
    PyObject *keywords);
PyObject *ips_nested_find_or_construct(PyObject *self, PyObject *const *args, Py_ssize_t count,
    PyObject *keywords);

#define IPS_NESTED_ROW_METHODS \
    {"construct", (PyCFunction)(void (*)(void))ips_nested_construct, \
        METH_FASTCALL | METH_KEYWORDS, "construct($self, type, /, *args, **kwargs)\n--\n\n" \
        "A new container that stands in this one, at the right end, and a handle on it.\n\n" \
        "type(*args, **kwargs) says what is in it.  It belongs to this one: it goes with\n" \
        "its place (deleted, overwritten, popped, cleared) or with the whole, and whoever\n" \
        "still has a handle then gets ObjectGone."}

#define IPS_NESTED_METHODS \
    {"construct", (PyCFunction)(void (*)(void))ips_nested_construct, \
        METH_FASTCALL | METH_KEYWORDS, "construct($self, type, key, /, *args, **kwargs)\n--\n\n" \
        "A new container that stands in this one, under the key, and a handle on it.\n\n" \
        "type(*args, **kwargs) says what is in it.  It belongs to this one: it goes with\n" \
        "its key (deleted, overwritten, popped, cleared) or with the whole, and whoever\n" \
        "still has a handle then gets ObjectGone.  AlreadyExists where the key is there."}, \
    {"find_or_construct", (PyCFunction)(void (*)(void))ips_nested_find_or_construct, \
        METH_FASTCALL | METH_KEYWORDS, \
        "find_or_construct($self, type, key, /, *args, **kwargs)\n--\n\n" \
        "A handle on the container under the key, made where the key is not there.\n" \
        "MismatchError where another value is."}

#endif
