/* SPDX-License-Identifier: Apache-2.0 */
/* Pool and Arena of Python, and how Segment.construct(allocator=...) reaches the
 * constructor, which knows nothing of it. */
#ifndef IPS_BIND_REGION_H
#define IPS_BIND_REGION_H

#include "bind/state.h"
#include "segment/region.h"

/* While construct() calls a class: what that class makes in `segment` under
 * `key` comes from the region. */
typedef struct {
    PyObject *segment, *key; /* borrowed */
    ips_region region;
} ips_allocator;

/* 1 where `object` is a Pool or an Arena of that segment, and *out is filled in
 * but for the key; 0 where it is something else; -1 with an exception set. */
int ips_allocator_of(ips_state *state, PyObject *object, PyObject *segment, ips_allocator *out);
/* Set for this thread; what it was before. */
const ips_allocator *ips_allocator_set(const ips_allocator *allocator);
/* The region for the object that is being made there, or NULL. */
const ips_region *ips_allocator_region(PyObject *segment, PyObject *key);

/* Methods of Segment. */
PyObject *ips_segment_pool(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *ips_segment_arena(PyObject *self, PyObject *unused);
PyObject *ips_segment_regions(PyObject *self, PyObject *unused);

#define IPS_SEGMENT_REGION_METHODS                                                            \
    {"pool", (PyCFunction)(void (*)(void))ips_segment_pool, METH_VARARGS | METH_KEYWORDS,     \
     "pool($self, /, size, count)\n--\n\n"                                                    \
     "A Pool: memory for `count` blocks of up to `size` bytes (at most 2040), taken now.\n"   \
     "SegmentFull where the segment has no room for it."},                                    \
    {"arena", ips_segment_arena, METH_NOARGS, "arena($self, /)\n--\n\n"                       \
     "An Arena: memory for objects that lie together and go together."},                      \
    {"regions", ips_segment_regions, METH_NOARGS, "regions($self, /)\n--\n\n"                 \
     "The segment's pools and arenas, whoever made them, the newest first."}

int ips_add_region(PyObject *module, ips_state *state);

#endif
