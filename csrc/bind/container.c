/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/container.h"

#include <string.h>

#include "bind/nested.h"
#include "bind/options.h"
#include "bind/region.h"
#include "bind/segment.h"
#include "bind/shared.h"
#include "os/clock.h"

#define ALONE_SIZE (UINT64_C(512) << 10)
#define ALONE_MAX_SIZE (UINT64_C(1) << 30) /* of addresses; memory comes as it is needed */

/* --- opening */

typedef struct {
    ips_segment *segment;
    const ips_container_maker *maker;
    const char *key;
    ips_open_mode mode;
    bool alone;
    const ips_region *region; /* the memory comes from there; NULL: from the heap */
    ips_entry entry; /* found or made */
} opening;

/* Types of one name are one Python class, which tells them apart itself. */
static int
is_expected(opening *job)
{
    const char *found = ips_type_name(job->entry.type);
    if (found != NULL && strcmp(found, ips_type_name(job->maker->type)) == 0) {
        if (job->maker->stable) {
            job->entry.generation = ips_stable_generation(job->segment, job->entry.offset,
                job->entry.type);
        }
        return 0;
    }
    return ips_fail(IPS_EMISMATCH, "'%s' is a %s, not a %s", job->key,
        found != NULL ? found : "thing of a newer version", ips_type_name(job->maker->type));
}

/* Where what follows is allocated, in the region that was asked for. */
static int
enter(const opening *job)
{
    if (job->region == NULL) {
        return 0;
    }
    ips_region region = *job->region;
    int status = ips_region_look(job->segment, &region);
    if (status == 0) {
        (void)ips_region_enter(job->segment, region.offset);
    }
    return status;
}

static int
make(opening *job)
{
    const ips_container_maker *maker = job->maker;
    uint64_t generation = 0;
    ips_offset root = 0;
    int status = enter(job);
    if (status == 0) {
        status = maker->create(job->segment, maker->context, &root);
        (void)ips_region_enter(job->segment, 0);
    }
    if (status == 0) {
        status = ips_catalogue_insert(job->segment, job->key, maker->type, root, &generation);
    }
    if (status == 0 && maker->stable) {
        generation = ips_stable_generation(job->segment, root, maker->type);
    } else if (status == 0) {
        status = ips_root_christen(job->segment, root, generation);
    }
    if (status == 0 && maker->fill != NULL) {
        status = enter(job);
        status = status < 0 ? status
            : maker->fill(job->segment, root, generation, maker->context);
        (void)ips_region_enter(job->segment, 0);
    }
    job->entry.offset = root;
    job->entry.generation = generation;
    job->entry.type = maker->type;
    return status < 0 ? status : 0;
}

/* A file that somebody else's object, or a Segment's, lives in. */
static int
is_empty(const opening *job)
{
    uint64_t cursor = 0;
    ips_entry other;
    int status = ips_catalogue_next(job->segment, &cursor, &other);
    if (status < 0) {
        return status == IPS_ENOENT ? 0 : status;
    }
    const char *found = ips_type_name(other.type);
    const bool alone = found != NULL && strcmp(other.name, found) == 0;
    return ips_fail(IPS_EMISMATCH, "the name is a %s's, not a %s's", alone ? found : "Segment",
        ips_type_name(job->maker->type));
}

/* Inside a transaction: the object under its key, made where it is not there. */
static int
find_or_make(void *context)
{
    opening *job = context;
    int status = ips_catalogue_find(job->segment, job->key, &job->entry);
    if (status == 0) {
        return job->mode == IPS_CREATE_ONLY && !job->alone
            ? ips_fail(IPS_EEXIST, "'%s' stands in the segment already", job->key)
            : is_expected(job);
    }
    if (status != IPS_ENOENT || (job->mode == IPS_OPEN_ONLY && !job->alone)) {
        return status;
    }
    if (job->alone && (status = is_empty(job)) < 0) {
        return status;
    }
    return make(job);
}

static int
find_or_make_step(void *context, int64_t deadline)
{
    opening *job = context;
    return ips_container_attempt(job->segment, find_or_make, job, deadline);
}

/* Takes over the handle on job->segment, whatever becomes of it. */
static int
adopt(ips_state *state, opening *job, ips_home *home)
{
    int status = ips_wait_without_gil(find_or_make_step, job, IPS_FOREVER);
    if (status < 0) {
        ips_segment_close(job->segment);
        if (PyErr_Occurred() == NULL) {
            (void)ips_raise(state, status);
        }
        return -1;
    }
    home->segment = job->segment;
    home->root = job->entry.offset;
    home->type = job->entry.type;
    home->generation = job->entry.generation;
    return 0;
}

static bool
is_given(PyObject *argument)
{
    return argument != NULL && argument != Py_None;
}

static int
max_size_of(const ips_container_where *where, uint64_t least, uint64_t *max_size)
{
    *max_size = ALONE_MAX_SIZE > least * 2 ? ALONE_MAX_SIZE : least * 2;
    if (!is_given(where->max_size)) {
        return 0;
    }
    if (ips_size_of(where->max_size, "max_size", max_size) < 0) {
        return -1;
    }
    if (*max_size < least) {
        PyErr_Format(PyExc_ValueError, "max_size must be at least %llu bytes here",
            (unsigned long long)least);
        return -1;
    }
    return 0;
}

int
ips_home_open_alone(ips_state *state, const ips_container_where *where,
    const ips_container_maker *maker, ips_home *home)
{
    ips_options options;
    uint64_t max_size;
    uint64_t size = ALONE_SIZE + maker->weight * 2;
    if (ips_options_of(state, where->name, where->namespace_, where->create,
            where->cleanup, &options) < 0 ||
        max_size_of(where, size, &max_size) < 0) {
        return -1;
    }
    opening job = {.maker = maker, .key = ips_type_name(maker->type), .mode = options.mode,
        .alone = true};
    bool created;
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = ips_segment_open(options.space, options.name, options.mode, size, max_size,
        options.cleanup_last, &job.segment, &created);
    Py_END_ALLOW_THREADS
    if (status < 0) {
        (void)ips_raise(state, status);
        return -1;
    }
    (void)strcpy(home->name, options.name != NULL ? options.name : "");
    return adopt(state, &job, home);
}

int
ips_home_open_inside(ips_state *state, const ips_container_where *where,
    const ips_container_maker *maker, ips_home *home)
{
    if (is_given(where->namespace_) || is_given(where->cleanup) || is_given(where->max_size)) {
        PyErr_SetString(PyExc_ValueError,
            "namespace, cleanup and max_size are the segment's, where segment is given");
        return -1;
    }
    opening job = {.maker = maker, .alone = false};
    if (ips_options_mode_of(where->create, &job.mode) < 0) {
        return -1;
    }
    if (job.mode == IPS_CREATE_NEW || !is_given(where->name)) {
        PyErr_SetString(PyExc_ValueError, job.mode == IPS_CREATE_NEW
            ? "create='new' is for names of their own: destroy() the key first"
            : "an object in a segment needs a name, its key there");
        return -1;
    }
    job.key = ips_name_of(state, where->name);
    job.segment = job.key == NULL ? NULL : ips_segment_of(state, where->segment);
    if (job.segment == NULL || ips_transaction_admit(state, job.segment) < 0) {
        return -1;
    }
    job.region = ips_allocator_region(where->segment, where->name);
    ips_segment_hold(job.segment);
    (void)strcpy(home->name, job.key);
    if (adopt(state, &job, home) < 0) {
        return -1;
    }
    home->keeper = Py_NewRef(where->segment);
    return 0;
}

int
ips_container_open(ips_container *self, const ips_container_where *where,
    const ips_container_maker *maker)
{
    if (self->home.segment != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "__init__ was called before: close() the object first");
        return -1;
    }
    ips_gate_open(&self->gate);
    if (is_given(where->segment) && ips_nested_is_holder(self->state, where->segment)) {
        return ips_nested_open(self->state, where, maker, &self->home);
    }
    return is_given(where->segment)
        ? ips_home_open_inside(self->state, where, maker, &self->home)
        : ips_home_open_alone(self->state, where, maker, &self->home);
}

/* --- closing */

int
ips_container_closed(const ips_container *self)
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    if (state != NULL) {
        (void)ips_raise_text(state, IPS_ECLOSED, "this %s handle; open another",
            Py_TYPE(self)->tp_name);
    }
    return -1;
}

void
ips_home_leave(ips_home *home)
{
    ips_segment *segment = home->segment;
    home->segment = NULL;
    Py_CLEAR(home->keeper);
    if (segment != NULL) {
        Py_BEGIN_ALLOW_THREADS /* unmapping and unlinking take a while */
        ips_segment_close(segment);
        Py_END_ALLOW_THREADS
    }
}

PyObject *
ips_container_close(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_container *self = (ips_container *)object;
    (void)ips_gate_close(&self->gate);
    ips_home_leave(&self->home);
    Py_RETURN_NONE;
}

int
ips_container_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((ips_container *)object)->home.keeper);
    return 0;
}

int
ips_container_clear(PyObject *object)
{
    Py_CLEAR(((ips_container *)object)->home.keeper);
    return 0;
}

void
ips_container_dealloc(PyObject *object)
{
    ips_container *self = (ips_container *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    ips_home_leave(&self->home);
    type->tp_free(object);
    Py_DECREF(type);
}

PyObject *
ips_container_name(PyObject *object, void *unused)
{
    (void)unused;
    const char *name = ((ips_container *)object)->home.name;
    return name[0] == '\0' ? Py_NewRef(Py_None) : PyUnicode_FromString(name);
}

PyObject *
ips_container_is_closed(PyObject *object, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((ips_container *)object)->home.segment == NULL);
}

PyObject *
ips_container_enter(PyObject *object, PyObject *unused)
{
    (void)unused;
    return ips_container_check((ips_container *)object) < 0 ? NULL : Py_NewRef(object);
}

PyObject *
ips_container_exit(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    (void)args;
    (void)count;
    return ips_container_close(object, NULL);
}

PyObject *
ips_container_remove(PyObject *type, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    return ips_remove_named((PyTypeObject *)type, args, count, keywords);
}

int
ips_container_register(PyTypeObject *type, const char *abstract)
{
    PyObject *module = PyImport_ImportModule("collections.abc");
    PyObject *cls = module == NULL ? NULL : PyObject_GetAttrString(module, abstract);
    PyObject *done = cls == NULL ? NULL : PyObject_CallMethod(cls, "register", "O", type);
    Py_XDECREF(module);
    Py_XDECREF(cls);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* --- pickling: (folder, name or None, proof, generation), or in a segment
 * (keeper, key, None, generation); in another container (place, name or None,
 * proof, generation, type, root), with the place of that one's file or segment */

PyObject *
ips_home_pickled(ips_state *state, const ips_home *home)
{
    unsigned long long generation = home->generation;
    if (home->nested) {
        return ips_nested_pickled(state, home);
    }
    if (home->keeper != NULL) {
        return Py_BuildValue("(OsOK)", home->keeper, home->name, Py_None, generation);
    }
    PyObject *file = ips_pickled_file(state, ips_segment_object(home->segment));
    if (file == NULL) {
        return NULL;
    }
    PyObject *result = Py_BuildValue("(OOOK)", PyTuple_GET_ITEM(file, 0), PyTuple_GET_ITEM(file, 1),
        PyTuple_GET_ITEM(file, 2), generation);
    Py_DECREF(file);
    return result;
}

PyObject *
ips_container_reduce(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_container *self = (ips_container *)object;
    return ips_container_check(self) < 0 ? NULL
        : ips_pickled(object, ips_home_pickled(self->state, &self->home));
}

/* The segment of its own, held once more; fills in the name. */
ips_segment *
ips_home_file(ips_state *state, PyObject *folder, PyObject *name, PyObject *proof, ips_home *home)
{
    ips_unpickled pickle;
    ips_segment *segment = NULL;
    if (ips_unpickled_read(state, folder, name, proof, &pickle) < 0) {
        return NULL;
    }
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = ips_segment_unpickle(&pickle, &segment);
    Py_END_ALLOW_THREADS
    (void)strcpy(home->name, pickle.name != NULL ? pickle.name : "");
    ips_unpickled_clear(&pickle);
    return status < 0 ? (ips_segment *)ips_raise(state, status) : segment;
}

/* The one it stands in; fills in the key. */
static ips_segment *
restore_keeper(ips_state *state, PyObject *keeper, PyObject *key, ips_home *home)
{
    const char *name = ips_name_of(state, key);
    ips_segment *segment = name == NULL ? NULL : ips_segment_of(state, keeper);
    if (segment != NULL) {
        ips_segment_hold(segment);
        (void)strcpy(home->name, name);
    }
    return segment;
}

/* Never makes one: an object that is gone, or another under its key, is
 * ObjectGone. */
static int
create_nothing(ips_segment *segment, void *context, ips_offset *root)
{
    (void)segment;
    (void)context;
    (void)root;
    return ips_fail(IPS_EGONE, "what was pickled was destroyed");
}

int
ips_home_restore(ips_state *state, PyObject *args, uint32_t type, bool stable, ips_home *home)
{
    PyObject *place, *name, *proof;
    unsigned long long generation;
    if (PyTuple_Check(args) && PyTuple_GET_SIZE(args) == IPS_NESTED_PICKLED) {
        return ips_nested_restore(state, args, type, home);
    }
    if (!PyArg_ParseTuple(args, "OOOK:_restore", &place, &name, &proof, &generation)) {
        return -1;
    }
    const ips_container_maker maker = {.type = type, .stable = stable, .create = create_nothing};
    const bool inside = !PyUnicode_Check(place);
    opening job = {.maker = &maker, .mode = IPS_OPEN_OR_CREATE,
        .segment = inside ? restore_keeper(state, place, name, home)
                          : ips_home_file(state, place, name, proof, home)};
    job.key = inside ? home->name : ips_type_name(type);
    if (job.segment == NULL || adopt(state, &job, home) < 0) {
        return -1;
    }
    home->keeper = inside ? Py_NewRef(place) : NULL;
    if (home->generation != generation) {
        ips_home_leave(home);
        (void)ips_raise_text(state, IPS_EGONE, "what was pickled was destroyed");
        return -1;
    }
    return 0;
}

int
ips_container_restore_into(ips_container *self, PyObject *args, uint32_t type)
{
    return ips_home_restore(self->state, args, type, false, &self->home);
}
