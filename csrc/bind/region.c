/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.Pool and ipcsys.Arena: handles on regions of a segment. */
#include "bind/region.h"

#include <stddef.h>
#include <stdlib.h>

#include "bind/segment.h"
#include "os/clock.h"

typedef struct {
    PyObject_HEAD
    PyObject *weakrefs;
    PyObject *keeper; /* the Segment */
    ips_region region;
} region_object;

/* --- for construct() ----------------------------------------------------- */

static _Thread_local const ips_allocator *wanted;

const ips_allocator *
ips_allocator_set(const ips_allocator *allocator)
{
    const ips_allocator *before = wanted;
    wanted = allocator;
    return before;
}

const ips_region *
ips_allocator_region(PyObject *segment, PyObject *key)
{
    return wanted != NULL && wanted->segment == segment && wanted->key == key
        ? &wanted->region : NULL;
}

int
ips_allocator_of(ips_state *state, PyObject *object, PyObject *segment, ips_allocator *out)
{
    if (Py_TYPE(object) != state->pool_type && Py_TYPE(object) != state->arena_type) {
        return 0;
    }
    const region_object *self = (region_object *)object;
    ips_segment *mine = ips_segment_of(state, self->keeper);
    ips_segment *theirs = mine == NULL ? NULL : ips_segment_of(state, segment);
    if (theirs == NULL) {
        return -1;
    }
    if (mine != theirs) { /* one handle for each file and process */
        PyErr_SetString(PyExc_ValueError, "the allocator is of another segment");
        return -1;
    }
    *out = (ips_allocator){.segment = segment, .region = self->region};
    return 1;
}

/* --- making and listing -------------------------------------------------- */

static PyObject *
wrap(ips_state *state, PyObject *keeper, const ips_region *region)
{
    PyTypeObject *type = region->slots != 0 ? state->pool_type : state->arena_type;
    region_object *self = (region_object *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->keeper = Py_NewRef(keeper);
        self->region = *region;
    }
    return (PyObject *)self;
}

static int
act_create(ips_segment *segment, void *context)
{
    ips_region *region = context;
    int status = ips_tx_depth(segment) == 1 ? ips_region_sweep(segment) : IPS_OK;
    return status < 0 ? status : ips_region_create(segment, region->slot, region->slots, region);
}

static PyObject *
create(PyObject *keeper, uint64_t slot, uint64_t slots)
{
    ips_region region = {.slot = slot, .slots = slots};
    ips_state *state = ips_state_of_type(Py_TYPE(keeper));
    ips_segment *segment = state == NULL ? NULL : ips_segment_of(state, keeper);
    return segment == NULL || ips_segment_run(state, segment, act_create, &region, IPS_FOREVER) < 0
        ? NULL : wrap(state, keeper, &region);
}

static PyObject *
make_pool(PyObject *keeper, PyObject *given, Py_ssize_t count)
{
    uint64_t size;
    if (ips_size_of(given, "size", &size) < 0) {
        return NULL;
    }
    if (count < 1) {
        return PyErr_Format(PyExc_ValueError, "count must be at least 1, not %zd", count);
    }
    if (size > IPS_REGION_SLOT_MOST) {
        return PyErr_Format(PyExc_ValueError, "a pool's blocks have at most %u bytes; take an arena",
                            IPS_REGION_SLOT_MOST);
    }
    return create(keeper, size, (uint64_t)count);
}

PyObject *
ips_segment_pool(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"size", "count", NULL};
    PyObject *size;
    Py_ssize_t count;
    return PyArg_ParseTupleAndKeywords(args, kwargs, "On:pool", names, &size, &count)
        ? make_pool(self, size, count) : NULL;
}

static PyObject *
pool_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"segment", "size", "count", NULL};
    PyObject *segment, *size;
    Py_ssize_t count;
    ips_state *state = ips_state_of_type(type);
    return state != NULL
            && PyArg_ParseTupleAndKeywords(args, kwargs, "OOn:Pool", names, &segment, &size, &count)
            && ips_segment_of(state, segment) != NULL
        ? make_pool(segment, size, count) : NULL;
}

static PyObject *
arena_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"segment", NULL};
    PyObject *segment;
    ips_state *state = ips_state_of_type(type);
    return state != NULL && PyArg_ParseTupleAndKeywords(args, kwargs, "O:Arena", names, &segment)
            && ips_segment_of(state, segment) != NULL
        ? create(segment, 0, 0) : NULL;
}

PyObject *
ips_segment_arena(PyObject *self, PyObject *unused)
{
    (void)unused;
    return create(self, 0, 0);
}

typedef struct {
    ips_region *regions;
    size_t count, capacity;
} listing;

static int
act_list(ips_segment *segment, void *context)
{
    listing *job = context;
    ips_region region = {.offset = 0};
    int status;
    /* More cannot be there: a damaged list may lead in a circle. */
    const uint64_t most = ips_segment_object(segment)->max_size / IPS_REGION_BYTES;
    job->count = 0;
    while ((status = ips_region_next(segment, region.offset, &region)) == 0) {
        if (job->count == most) {
            return ips_fail(IPS_ECORRUPT, "segment '%s': its list of pools and arenas has no end",
                            ips_segment_object(segment)->name);
        }
        if (job->count == job->capacity) {
            size_t capacity = job->capacity * 2 + 16;
            ips_region *regions = realloc(job->regions, capacity * sizeof *regions);
            if (regions == NULL) {
                return ips_fail(IPS_ENOMEM, "listing pools and arenas");
            }
            job->regions = regions;
            job->capacity = capacity;
        }
        job->regions[job->count++] = region;
    }
    return status == IPS_ENOENT ? IPS_OK : status;
}

PyObject *
ips_segment_regions(PyObject *self, PyObject *unused)
{
    (void)unused;
    listing job = {.regions = NULL};
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    ips_segment *segment = state == NULL ? NULL : ips_segment_of(state, self);
    if (segment == NULL) {
        return NULL;
    }
    int status = ips_segment_run(state, segment, act_list, &job, IPS_FOREVER);
    PyObject *result = status < 0 ? NULL : PyList_New(0);
    for (size_t i = 0; result != NULL && i < job.count; i++) {
        PyObject *region = wrap(state, self, &job.regions[i]);
        if (region == NULL || PyList_Append(result, region) < 0) {
            Py_CLEAR(result);
        }
        Py_XDECREF(region);
    }
    free(job.regions);
    return result;
}

/* --- one of them --------------------------------------------------------- */

static int
act_look(ips_segment *segment, void *context)
{
    return ips_region_look(segment, context);
}

/* As it is now; false with an exception set. */
static bool
look(PyObject *object, ips_region *out)
{
    const region_object *self = (region_object *)object;
    ips_state *state = ips_state_of_type(Py_TYPE(object));
    ips_segment *segment = state == NULL ? NULL : ips_segment_of(state, self->keeper);
    *out = self->region;
    return segment != NULL && ips_segment_run(state, segment, act_look, out, IPS_FOREVER) >= 0;
}

/* The objects whose root comes from the region. */
static int
destroy_objects(ips_segment *segment, ips_offset region)
{
    ips_entry entry;
    uint64_t cursor = 0;
    int status;
    while ((status = ips_catalogue_next(segment, &cursor, &entry)) == 0) {
        if (ips_region_of(segment, entry.offset) != region) {
            continue;
        }
        const ips_shared_type *type = ips_shared_type_of(entry.type);
        if (type == NULL) {
            return ips_fail(IPS_EMISMATCH, "'%s' has a type (%u) that this version does not know",
                            entry.name, (unsigned)entry.type);
        }
        status = type->destroy(segment, &entry);
        status = status < 0 ? status : ips_catalogue_remove(segment, entry.name);
        if (status < 0) {
            return status;
        }
    }
    return status == IPS_ENOENT ? IPS_OK : status;
}

static int
act_close(ips_segment *segment, void *context)
{
    ips_region *region = context;
    if (ips_tx_depth(segment) != 1) {
        return ips_fail(IPS_ETX, "destroying a %s is two transactions: end the one that is open",
                        region->slots != 0 ? "pool" : "arena");
    }
    int status = ips_region_look(segment, region);
    status = status < 0 ? status : destroy_objects(segment, region->offset);
    return status < 0 ? status : ips_region_close(segment, region);
}

static int
act_sweep(ips_segment *segment, void *context)
{
    (void)context;
    return ips_region_sweep(segment);
}

PyDoc_STRVAR(destroy_doc, "destroy($self, /)\n--\n\n"
"Destroy it with all objects that were constructed from it, and give its memory back to\n"
"the segment.  ObjectGone where that was done before, TransactionError inside a\n"
"transaction.  If this process dies in it, all of them are still there or none is.");

static PyObject *
region_destroy(PyObject *object, PyObject *unused)
{
    (void)unused;
    region_object *self = (region_object *)object;
    ips_state *state = ips_state_of_type(Py_TYPE(object));
    ips_segment *segment = state == NULL ? NULL : ips_segment_of(state, self->keeper);
    if (segment == NULL
        || ips_segment_run(state, segment, act_close, &self->region, IPS_FOREVER) < 0
        || ips_segment_run(state, segment, act_sweep, NULL, IPS_FOREVER) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* `at` is where in ips_region the number stands. */
static PyObject *
region_number(PyObject *object, void *at)
{
    ips_region now;
    return !look(object, &now) ? NULL
        : PyLong_FromUnsignedLongLong(*(uint64_t *)((char *)&now + (size_t)at));
}

static PyObject *
region_segment(PyObject *object, void *unused)
{
    (void)unused;
    return Py_NewRef(((region_object *)object)->keeper);
}

static PyObject *
region_repr(PyObject *object)
{
    const ips_region *region = &((region_object *)object)->region;
    return region->slots == 0
        ? PyUnicode_FromFormat("<%s of %R>", Py_TYPE(object)->tp_name,
                               ((region_object *)object)->keeper)
        : PyUnicode_FromFormat("<%s of %llu x %llu bytes in %R>", Py_TYPE(object)->tp_name,
                               (unsigned long long)region->slots,
                               (unsigned long long)region->slot,
                               ((region_object *)object)->keeper);
}

/* Two handles on one region are equal. */
static PyObject *
region_compare(PyObject *object, PyObject *other, int operation)
{
    if (Py_TYPE(object) != Py_TYPE(other) || (operation != Py_EQ && operation != Py_NE)) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    const region_object *a = (region_object *)object, *b = (region_object *)other;
    bool same = ((ips_segment_handle *)a->keeper)->segment
                    == ((ips_segment_handle *)b->keeper)->segment
        && a->region.generation == b->region.generation;
    return PyBool_FromLong(same == (operation == Py_EQ));
}

static Py_hash_t
region_hash(PyObject *object)
{
    return (Py_hash_t)(((region_object *)object)->region.generation >> 2);
}

static void
region_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    if (((region_object *)object)->weakrefs != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    Py_XDECREF(((region_object *)object)->keeper);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef region_methods[] = {
    {"destroy", region_destroy, METH_NOARGS, destroy_doc},
    {NULL},
};

#define COMMON_GETSETS \
    {"segment", region_segment, NULL, "The Segment it is of.", NULL}, \
    {"used", region_number, NULL, "Blocks in use.", (void *)offsetof(ips_region, live)}, \
    {"memory", region_number, NULL, "Bytes of the segment that it has, in use or not.", \
     (void *)offsetof(ips_region, bytes)}

static PyGetSetDef pool_getsets[] = {
    COMMON_GETSETS,
    {"size", region_number, NULL, "Bytes that a block can hold.",
     (void *)offsetof(ips_region, slot)},
    {"count", region_number, NULL, "Blocks, in use or not.", (void *)offsetof(ips_region, slots)},
    {NULL},
};

static PyGetSetDef arena_getsets[] = {
    COMMON_GETSETS,
    {NULL},
};

static PyMemberDef region_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(region_object, weakrefs), READONLY, NULL},
    {NULL},
};

PyDoc_STRVAR(pool_doc,
"Pool(segment, size, count)\n--\n\n"
"What Segment.pool(size, count) returns: blocks of one size, set apart.\n\n"
"Give it to Segment.construct as `allocator`.  Each block that an object needs takes one\n"
"of the pool's (a record two: 64 bytes, and its fields); SegmentFull where it is larger\n"
"than they are, or all are in use.");

PyDoc_STRVAR(arena_doc,
"Arena(segment)\n--\n\n"
"What Segment.arena() returns: memory for objects that lie together and go together.\n\n"
"Give it to Segment.construct as `allocator`.  It takes memory from the segment as its\n"
"objects grow; destroy() ends all of them at once.");

static PyType_Slot pool_slots[] = {
    {Py_tp_doc, (void *)pool_doc},
    {Py_tp_new, (void *)pool_new},
    {Py_tp_dealloc, (void *)region_dealloc},
    {Py_tp_repr, (void *)region_repr},
    {Py_tp_richcompare, (void *)region_compare},
    {Py_tp_hash, (void *)region_hash},
    {Py_tp_methods, region_methods},
    {Py_tp_getset, pool_getsets},
    {Py_tp_members, region_members},
    {0, NULL},
};

static PyType_Slot arena_slots[] = {
    {Py_tp_doc, (void *)arena_doc},
    {Py_tp_new, (void *)arena_new},
    {Py_tp_dealloc, (void *)region_dealloc},
    {Py_tp_repr, (void *)region_repr},
    {Py_tp_richcompare, (void *)region_compare},
    {Py_tp_hash, (void *)region_hash},
    {Py_tp_methods, region_methods},
    {Py_tp_getset, arena_getsets},
    {Py_tp_members, region_members},
    {0, NULL},
};

#define FLAGS (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE)

static PyType_Spec pool_spec = {
    .name = "ipcsys.Pool", .basicsize = sizeof(region_object), .flags = FLAGS, .slots = pool_slots,
};

static PyType_Spec arena_spec = {
    .name = "ipcsys.Arena", .basicsize = sizeof(region_object), .flags = FLAGS,
    .slots = arena_slots,
};

int
ips_add_region(PyObject *module, ips_state *state)
{
    state->pool_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &pool_spec, NULL);
    state->arena_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &arena_spec, NULL);
    return state->pool_type == NULL || state->arena_type == NULL
            || PyModule_AddType(module, state->pool_type) < 0
            || PyModule_AddType(module, state->arena_type) < 0 ? -1 : 0;
}
