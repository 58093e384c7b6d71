/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/nested.h"

#include <string.h>

#include "bind/cell.h"
#include "bind/key.h"
#include "bind/map.h"
#include "bind/pickled.h"
#include "bind/sequence.h"
#include "bind/value.h"
#include "data/atomic.h"
#include "os/clock.h"

#define PATIENCE_NS (INT64_C(50) * 1000 * 1000) /* of one who gives memory back */

bool
ips_nested_is_holder(ips_state *state, PyObject *object)
{
    return PyObject_TypeCheck(object, state->map_type) ||
           PyObject_TypeCheck(object, state->vector_type) ||
           PyObject_TypeCheck(object, state->deque_type);
}

static ips_reference
reference_of(const ips_home *home)
{
    return (ips_reference){home->type, home->root, home->generation};
}

static void
fill_home(const ips_home *outer, const ips_reference *at, ips_home *home)
{
    ips_segment_hold(outer->segment);
    home->segment = outer->segment;
    home->keeper = Py_XNewRef(outer->keeper);
    home->root = at->root;
    home->type = (uint32_t)at->type;
    home->generation = at->generation;
    home->name[0] = '\0';
    home->nested = true;
}

/* --- found or made */

typedef struct {
    const ips_container *outer;
    const ips_map *map;   /* the outer one, or NULL */
    const ips_deque *row; /* else it is this */
    const ips_container_maker *maker;
    ips_open_mode mode;
    ips_key_encoding key; /* in a map */
    ips_reference found;
} placing;

/* Under the key stands a value: is it what was asked for? */
static int
recognize(placing *job, const ips_value_copy *value)
{
    const ips_home *home = &job->outer->home;
    const char *wanted = ips_type_name(job->maker->type);
    if (job->mode == IPS_CREATE_ONLY) {
        return ips_fail(IPS_EEXIST, "the key stands in the SharedMap already");
    }
    if (value->kind != IPS_VALUE_REFERENCE ||
        !ips_nest_read(value->bytes, value->size, &job->found)) {
        return ips_fail(IPS_EMISMATCH, "the key's value is no %s but a copy of something", wanted);
    }
    int status = ips_nest_look(home->segment, &job->found,
        ips_nest_depth(home->segment, home->type, home->root), NULL);
    if (status == IPS_EGONE) {
        return ips_fail(IPS_ECORRUPT, "the key's value refers to a container that is gone");
    }
    const char *found = ips_type_name((uint32_t)job->found.type);
    if (status == 0 && (found == NULL || strcmp(found, wanted) != 0)) {
        status = ips_fail(IPS_EMISMATCH, "the key's value is a %s, not a %s",
            found != NULL ? found : "thing of a newer version", wanted);
    }
    return status;
}

/* The value that refers to the new object. */
static int
put(const placing *job)
{
    const ips_value value = {(const uint8_t *)&job->found, sizeof job->found,
        IPS_VALUE_REFERENCE};
    if (job->map != NULL) {
        int status = ips_map_insert(job->map, &job->key.key, &value, NULL);
        return status < 0 ? status : 0;
    }
    return ips_deque_append(job->row, IPS_RIGHT, &value);
}

/* A new object, whole, and the value. */
static int
make(placing *job)
{
    const ips_container_maker *maker = job->maker;
    ips_segment *segment = job->outer->home.segment;
    const ips_reference outer = reference_of(&job->outer->home);
    job->found = (ips_reference){.type = maker->type};
    int status = maker->create(segment, maker->context, &job->found.root);
    if (status == 0) {
        status = ips_nest_adopt(segment, &outer, &job->found);
    }
    if (status == 0 && maker->fill != NULL) {
        status = maker->fill(segment, job->found.root, job->found.generation, maker->context);
    }
    return status < 0 ? status : put(job);
}

static int
act_place(void *context)
{
    placing *job = context;
    ips_value_copy value;
    if (job->map == NULL) {
        return make(job);
    }
    ips_value_copy_init(&value);
    int status = ips_map_get_locked(job->map, &job->key.key, &value);
    if (status == IPS_MAP_PRESENT) {
        status = recognize(job, &value);
    } else if (status == IPS_MAP_ABSENT) {
        status = job->mode == IPS_OPEN_ONLY
            ? ips_fail(IPS_ENOENT, "the key in the SharedMap") : make(job);
    }
    ips_value_copy_clear(&value);
    return status;
}

static bool
is_given(PyObject *argument)
{
    return argument != NULL && argument != Py_None;
}

/* In a map under a key, which may be None; in a row at the end, without one. */
static int
check_place(const ips_container_where *where, placing *job)
{
    if (ips_options_mode_of(where->create, &job->mode) < 0) {
        return -1;
    }
    if (job->mode == IPS_CREATE_NEW) {
        PyErr_SetString(PyExc_ValueError, "create='new' is for names of their own: delete first");
        return -1;
    }
    if (job->map != NULL) {
        if (where->name == NULL) {
            PyErr_SetString(PyExc_ValueError, "an object in a SharedMap needs a name, its key there");
        }
        return where->name == NULL ? -1 : 0;
    }
    if (is_given(where->name) || job->mode == IPS_OPEN_ONLY || job->row->maxlen == 0) {
        PyErr_Format(PyExc_ValueError, job->row->maxlen == 0
            ? "a %s of maxlen 0 can hold nothing"
            : "an object in a %s is made at its end and has no name; read it by its index",
            ips_type_name(job->outer->home.type));
        return -1;
    }
    return 0;
}

static int
check_arguments(const ips_container_where *where, const ips_container_maker *maker,
    placing *job)
{
    if (is_given(where->namespace_) || is_given(where->cleanup) || is_given(where->max_size)) {
        PyErr_SetString(PyExc_ValueError,
            "namespace, cleanup and max_size are the segment's, where segment is given");
        return -1;
    }
    if (!ips_nest_can_stand(maker->type)) {
        PyErr_Format(PyExc_TypeError, "a %s cannot stand in another container",
            ips_type_name(maker->type));
        return -1;
    }
    return check_place(where, job);
}

/* What stands in a deque is news for those who wait for it. */
static void
tell(ips_state *state, PyObject *outer)
{
    if (!PyObject_TypeCheck(outer, state->map_type) &&
        ((ips_container *)outer)->home.segment != NULL) {
        ips_sequence_news((ips_sequence *)outer);
    }
}

int
ips_nested_open(ips_state *state, const ips_container_where *where,
    const ips_container_maker *maker, ips_home *home)
{
    const ips_container *outer = (const ips_container *)where->segment;
    const bool is_map = PyObject_TypeCheck(where->segment, state->map_type);
    placing job = {.outer = outer, .maker = maker,
        .map = is_map ? &((ips_map_object *)where->segment)->map : NULL,
        .row = is_map ? NULL : &((ips_sequence *)where->segment)->deque};
    if (!is_map && ((ips_sequence *)where->segment)->format != NULL) {
        PyErr_SetString(PyExc_TypeError, "a SharedVector with a typecode holds numbers only");
        return -1;
    }
    if (ips_container_check(outer) < 0 || check_arguments(where, maker, &job) < 0) {
        return -1;
    }
    if (is_map && ips_key_encode(state, where->name, &job.key) < 0) {
        return -1;
    }
    int status = ips_container_run(outer, act_place, &job, maker->weight);
    if (is_map) {
        ips_key_encoding_clear(&job.key);
    }
    if (status < 0) {
        return -1;
    }
    if (ips_container_check(outer) < 0) { /* another thread has closed it */
        return -1;
    }
    fill_home(&outer->home, &job.found, home);
    tell(state, where->segment);
    return 0;
}

/* --- read */

PyObject *
ips_nested_decode(const ips_container *outer, uint8_t kind, const uint8_t *bytes, size_t size)
{
    if (__builtin_expect(kind != IPS_VALUE_REFERENCE, 1)) {
        return ips_value_decode(outer->state, kind, bytes, size);
    }
    const ips_home *home = &outer->home;
    ips_reference at;
    if (ips_container_check(outer) < 0) { /* another thread has closed it */
        return NULL;
    }
    if (!ips_nest_read(bytes, size, &at)) {
        return ips_raise_text(outer->state, IPS_ECORRUPT, "a value of a %s refers to nothing",
            ips_type_name(home->type));
    }
    int status = ips_nest_look(home->segment, &at,
        ips_nest_depth(home->segment, home->type, home->root), NULL);
    if (status == IPS_EGONE && ips_tx_is_mine(home->segment)) {
        status = ips_fail(IPS_ECORRUPT, "a value of a %s refers to a container that is gone",
            ips_type_name(home->type));
    }
    PyTypeObject *class = status < 0 ? NULL : ips_shared_class(outer->state, (uint32_t)at.type);
    if (class == NULL) {
        return status < 0 ? ips_raise(outer->state, status)
            : ips_raise_text(outer->state, IPS_EMISMATCH, "a type (%u) that this version does not "
                "know", (unsigned)at.type);
    }
    return PyObject_CallMethod((PyObject *)class, "_restore", "OOOKIK", outer, Py_None, Py_None,
        (unsigned long long)at.generation, (unsigned)at.type, (unsigned long long)at.root);
}

/* What a number holds, without a handle: also where the segment was opened to be
 * looked at only.  NULL without an exception where it is none, or gone. */
static PyObject *
number_of(const ips_container *outer, const uint8_t *bytes, size_t size)
{
    ips_segment *segment = outer->home.segment;
    ips_reference at;
    if (segment == NULL || !ips_nest_read(bytes, size, &at) ||
        (at.type != IPS_TYPE_ATOMIC_INT && at.type != IPS_TYPE_ATOMIC_FLOAT &&
            at.type != IPS_TYPE_ATOMIC_BOOL) ||
        ips_stable_generation(segment, at.root, (uint32_t)at.type) != at.generation) {
        return NULL;
    }
    ips_atomic_shm *word = ips_segment_at(segment, at.root, sizeof *word);
    if (word == NULL) {
        return NULL;
    }
    const int64_t value = ips_atomic_load(word);
    return at.type == IPS_TYPE_ATOMIC_INT ? PyLong_FromLongLong(value)
        : at.type == IPS_TYPE_ATOMIC_BOOL ? PyBool_FromLong(value != 0)
                                          : PyFloat_FromDouble(ips_atomic_as_double(value));
}

PyObject *
ips_nested_plain(const ips_container *outer, uint8_t kind, const uint8_t *bytes, size_t size)
{
    PyObject *number = kind == IPS_VALUE_REFERENCE ? number_of(outer, bytes, size) : NULL;
    if (number != NULL || PyErr_Occurred() != NULL) {
        return number;
    }
    PyObject *value = ips_nested_decode(outer, kind, bytes, size);
    if (kind != IPS_VALUE_REFERENCE || value == NULL) {
        return value;
    }
    PyObject *copy = ips_nested_copy(outer->state, value);
    Py_DECREF(value);
    return copy;
}

/* --- written */

/* Where the object is at home that this is a handle on and that could stand in a
 * container: NULL where it is another thing, `nowhere` where it is closed or in no
 * segment. */
static const ips_home *
home_of(ips_state *state, PyObject *object)
{
    static const ips_home nowhere;
    PyTypeObject *const types[] = {state->map_type, state->vector_type, state->deque_type,
        state->string_type, state->bytes_type, state->cell_type};
    PyTypeObject *const numbers[] = {state->atomic_int_type, state->atomic_float_type,
        state->atomic_bool_type};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (PyObject_TypeCheck(object, types[i])) {
            return &((const ips_container *)object)->home;
        }
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (PyObject_TypeCheck(object, numbers[i])) {
            const ips_cell_place *place = ((const ips_cell_object *)object)->place;
            return place != NULL ? &place->home : &nowhere;
        }
    }
    return NULL;
}

bool
ips_nested_is_handle(ips_state *state, PyObject *object)
{
    return PyType_HasFeature(Py_TYPE(object), Py_TPFLAGS_HEAPTYPE) &&
           home_of(state, object) != NULL;
}

/* Is it a word, whose value load() gives, and no copy()? */
static bool
has_load(const ips_state *state, PyObject *object)
{
    return !PyObject_TypeCheck(object, state->map_type) &&
           !PyObject_TypeCheck(object, state->vector_type) &&
           !PyObject_TypeCheck(object, state->deque_type) &&
           !PyObject_TypeCheck(object, state->string_type) &&
           !PyObject_TypeCheck(object, state->bytes_type);
}

int
ips_nested_refuse_slow(ips_state *state, PyObject *object)
{
    if (home_of(state, object) == NULL) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "%.100s cannot be put into a container, which owns what stands "
        "in it: construct(%.100s, ...) of that one makes one there, and %s of this one gives a "
        "copy to be stored", Py_TYPE(object)->tp_name, Py_TYPE(object)->tp_name,
        has_load(state, object) ? "load()" : "copy()");
    return -1;
}

PyObject *
ips_nested_copy(ips_state *state, PyObject *value)
{
    const ips_home *home = home_of(state, value);
    PyObject *copy = NULL;
    if (home == NULL || !home->nested) {
        return Py_NewRef(value);
    }
    if (Py_EnterRecursiveCall(" while copying containers that stand in each other") == 0) {
        copy = PyObject_CallMethod(value, has_load(state, value) ? "load" : "copy", NULL);
        Py_LeaveRecursiveCall();
    }
    return copy;
}

void
ips_nested_reference(const ips_container *outer, PyObject *handle, uint8_t *out)
{
    const ips_home *home = home_of(outer->state, handle);
    ips_reference at = {0};
    if (home != NULL && home->segment != NULL && home->segment == outer->home.segment) {
        at = reference_of(home);
    }
    memcpy(out, &at, sizeof at);
}

bool
ips_nested_is_same(const ips_container *outer, PyObject *object, uint8_t kind,
    const uint8_t *bytes, size_t size)
{
    ips_reference at;
    ips_nested_reference(outer, object, (uint8_t *)&at);
    return kind == IPS_VALUE_REFERENCE && size == sizeof at && memcmp(&at, bytes, size) == 0;
}

/* --- inside a transaction */

PyObject *
ips_nested_locked(PyObject *self, ips_nested_act act, void *context)
{
    ips_container *container = (ips_container *)self;
    if (ips_container_check(container) < 0) {
        return NULL;
    }
    if (ips_tx_is_mine(container->home.segment)) {
        return act(self, context);
    }
    PyObject *transaction = ips_transaction_new(container->state, self, Py_None);
    PyObject *entered = transaction == NULL ? NULL
        : PyObject_CallMethod(transaction, "__enter__", NULL);
    if (entered == NULL) {
        Py_XDECREF(transaction);
        return NULL;
    }
    Py_DECREF(entered);
    PyObject *result = act(self, context);
    PyObject *kind, *error, *trace;
    PyErr_Fetch(&kind, &error, &trace);
    PyObject *left = PyObject_CallMethod(transaction, "__exit__", "OOO",
        kind == NULL ? Py_None : kind, Py_None, Py_None);
    if (left == NULL) {
        Py_CLEAR(result);
    }
    Py_XDECREF(left);
    Py_DECREF(transaction);
    if (kind != NULL) {
        PyErr_Restore(kind, error, trace);
    }
    return result;
}

bool
ips_nested_any(const ips_snapshot *values)
{
    size_t at = 0;
    ips_value value;
    while (ips_snapshot_next(values, &at, &value)) {
        if (value.kind == IPS_VALUE_REFERENCE) {
            return true;
        }
    }
    return false;
}

bool
ips_nested_holds(const ips_container *self)
{
    const ips_home *home = &self->home;
    return ips_nest_holds(home->segment, home->type, home->root);
}

/* --- memory given back */

/* One step; 1 where more remains. */
static int
reap(ips_segment *segment)
{
    int status = ips_tx_begin(segment, ips_now() + PATIENCE_NS);
    if (status < 0) {
        return status;
    }
    int more = ips_nest_reap(segment);
    if (more < 0) {
        ips_tx_abort(segment);
        return more;
    }
    status = ips_tx_commit(segment);
    return status < 0 ? status : more;
}

void
ips_nested_settle_slow(ips_segment *segment)
{
    if (ips_tx_is_mine(segment)) {
        return;
    }
    const bool all = ips_nest_has_dropped();
    ips_segment_hold(segment); /* another thread may close the object */
    Py_BEGIN_ALLOW_THREADS
    /* Whoever cannot go on leaves the rest to the next writer. */
    while (reap(segment) == 1 && all) {
    }
    ips_segment_close(segment);
    Py_END_ALLOW_THREADS
}

int
ips_nested_make_room(ips_segment *segment)
{
    int more = ips_nest_has_graves(segment);
    while (more == 1) {
        more = reap(segment);
    }
    return more;
}

/* --- pickled */

PyObject *
ips_nested_pickled(ips_state *state, const ips_home *home)
{
    const unsigned long long generation = home->generation, root = home->root;
    if (home->keeper != NULL) {
        return Py_BuildValue("(OOOKIK)", home->keeper, Py_None, Py_None, generation,
            (unsigned)home->type, root);
    }
    PyObject *file = ips_pickled_file(state, ips_segment_object(home->segment));
    PyObject *result = file == NULL ? NULL
        : Py_BuildValue("(OOOKIK)", PyTuple_GET_ITEM(file, 0), PyTuple_GET_ITEM(file, 1),
              PyTuple_GET_ITEM(file, 2), generation, (unsigned)home->type, root);
    Py_XDECREF(file);
    return result;
}

/* Where the place is a container that this process has open, or a Segment, or
 * names a file. */
static int
restore_segment(ips_state *state, PyObject *const place[3], ips_home *home)
{
    if (ips_nested_is_holder(state, place[0])) {
        const ips_home *outer = &((ips_container *)place[0])->home;
        if (ips_container_check((ips_container *)place[0]) < 0) {
            return -1;
        }
        home->segment = outer->segment;
        home->keeper = Py_XNewRef(outer->keeper);
        ips_segment_hold(home->segment);
        return 0;
    }
    if (PyUnicode_Check(place[0])) {
        home->segment = ips_home_file(state, place[0], place[1], place[2], home);
        return home->segment == NULL ? -1 : 0;
    }
    home->segment = ips_segment_of(state, place[0]);
    if (home->segment == NULL) {
        return -1;
    }
    home->keeper = Py_NewRef(place[0]);
    ips_segment_hold(home->segment);
    return 0;
}

int
ips_nested_restore(ips_state *state, PyObject *args, uint32_t type, ips_home *home)
{
    PyObject *place[3];
    unsigned long long generation, root;
    unsigned stored;
    if (!PyArg_ParseTuple(args, "OOOKIK:_restore", &place[0], &place[1], &place[2], &generation,
            &stored, &root) ||
        restore_segment(state, place, home) < 0) {
        return -1;
    }
    const ips_reference at = {stored, root, generation};
    const char *name = ips_type_name(stored);
    int status = name == NULL || strcmp(name, ips_type_name(type)) != 0
        ? ips_fail(IPS_EMISMATCH, "what was pickled is no %s", ips_type_name(type))
        : ips_nest_look(home->segment, &at, IPS_NEST_ANYWHERE, NULL);
    if (status < 0) {
        (void)ips_raise(state, status);
        ips_home_leave(home);
        return -1;
    }
    home->root = root;
    home->type = stored;
    home->generation = generation;
    home->name[0] = '\0';
    home->nested = true;
    return 0;
}
