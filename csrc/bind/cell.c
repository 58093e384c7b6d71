/* SPDX-License-Identifier: Apache-2.0 */
/* Opening, closing, pickling and waiting for the types of bind/cell.h. */
#include "bind/cell.h"

#include <string.h>

#include "bind/nested.h"
#include "member/waits.h"
#include "os/clock.h"
#include "segment/stable.h"
#include "segment/readout.h"

/* --- opening ------------------------------------------------------------- */

typedef struct {
    const ips_options *options;
    ips_cell_spec spec;
    ips_cell *out;
} opening;

static int
make_step(void *context, int64_t deadline)
{
    const opening *job = (const opening *)context;
    return ips_cell_make(job->options->space, job->spec.type, job->spec.words, deadline,
                         job->out);
}

static int
open_cell(const ips_options *options, ips_cell_spec spec, ips_cell *out)
{
    int status;
    if (options->name != NULL) {
        Py_BEGIN_ALLOW_THREADS
        status = ips_cell_open(options->space, options->name, options->mode, &spec, out);
        Py_END_ALLOW_THREADS
        return status;
    }
    status = ips_cell_make(options->space, spec.type, spec.words, IPS_AT_ONCE, out);
    if (status == IPS_EAGAIN) {
        opening job = {options, spec, out};
        status = ips_wait_without_gil(make_step, &job, IPS_FOREVER);
    }
    return status;
}

static void
adopt(ips_cell_object *self, const ips_cell *cell)
{
    self->cell = *cell;
    self->shm = cell->shm;
    ips_gate_open(&self->gate);
}

/* --- in a segment -------------------------------------------------------- */

typedef struct {
    uint32_t type;
    const uint64_t *words;
} making;

static int
make_stable(ips_segment *segment, void *context, ips_offset *root)
{
    const making *job = (const making *)context;
    int status = ips_stable_alloc(segment, job->type, root);
    if (status < 0) {
        return status;
    }
    _Atomic uint64_t *words = ips_segment_at(segment, *root, IPS_STABLE_SIZE);
    if (words == NULL) {
        return ips_fail(IPS_ECORRUPT, "a stable cell lies outside the segment");
    }
    for (size_t i = 0; i < IPS_CELL_WORDS && job->words != NULL; i++) {
        /* relaxed: nobody finds the cell before the transaction is committed. */
        atomic_store_explicit(&words[i], job->words[i], memory_order_relaxed);
    }
    return IPS_OK;
}

static const uint8_t segment_types[] = {
    [IPS_CELL_LOCK] = IPS_TYPE_LOCK,
    [IPS_CELL_EVENT] = IPS_TYPE_EVENT,
    [IPS_CELL_ATOMIC_INT] = IPS_TYPE_ATOMIC_INT,
    [IPS_CELL_ATOMIC_FLOAT] = IPS_TYPE_ATOMIC_FLOAT,
    [IPS_CELL_ATOMIC_BOOL] = IPS_TYPE_ATOMIC_BOOL,
    [IPS_CELL_RLOCK] = IPS_TYPE_RLOCK,
    [IPS_CELL_SEMAPHORE] = IPS_TYPE_SEMAPHORE,
    [IPS_CELL_BOUNDED_SEMAPHORE] = IPS_TYPE_BOUNDED_SEMAPHORE,
    [IPS_CELL_CONDITION] = IPS_TYPE_CONDITION,
    [IPS_CELL_BARRIER] = IPS_TYPE_BARRIER,
    [IPS_CELL_RWLOCK] = IPS_TYPE_RWLOCK,
};

uint32_t
ips_cell_type_in_segment(uint32_t cell)
{
    return cell < sizeof segment_types ? segment_types[cell] : 0;
}

uint32_t
ips_cell_type_from_segment(uint32_t type)
{
    for (uint32_t cell = IPS_CELL_LOCK; cell < sizeof segment_types; cell++) {
        if (segment_types[cell] == type) {
            return cell;
        }
    }
    return IPS_CELL_FREE;
}

/* `place` becomes the object's, or is given up.  A cell's words change without a
 * transaction, and most uses change some: none is had from a segment to be read. */
static int
adopt_place(ips_cell_object *self, ips_cell_place *place)
{
    ips_segment *segment = place->home.segment;
    bool refused = ips_segment_is_read_only(segment);
    ips_cell cell = {.shm = ips_segment_at(segment, place->home.root, IPS_STABLE_SIZE),
                     .space = ips_segment_object(segment)->space};
    ips_stable_wide(segment, place->home.root, place->type, place->home.name, &cell.wide);
    if (refused || cell.shm == NULL || (ips_stable_is_wide(place->type) && cell.wide.shm == NULL)) {
        ips_home_leave(&place->home);
        PyMem_Free(place);
        ips_state *state = ips_state_of_type(Py_TYPE(self));
        if (state != NULL) {
            (void)ips_raise_text(state, refused ? IPS_EREADONLY : IPS_ECORRUPT, refused
                                 ? "the segment of the %s was opened with readonly=True"
                                 : "the %s lies outside its segment", Py_TYPE(self)->tp_name);
        }
        return -1;
    }
    self->place = place;
    adopt(self, &cell);
    return 0;
}

static ips_cell_place *
new_place(uint32_t type)
{
    ips_cell_place *place = (ips_cell_place *)PyMem_Calloc(1, sizeof *place);
    if (place == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    place->type = type;
    return place;
}

static int
open_inside(ips_cell_object *self, ips_state *state, const ips_container_where *where, making job)
{
    ips_cell_place *place = new_place(job.type);
    if (place == NULL) {
        return -1;
    }
    const ips_container_maker maker = {
        .type = job.type, .stable = true, .create = make_stable, .context = &job};
    const bool nested = ips_nested_is_holder(state, where->segment);
    if ((nested ? ips_nested_open : ips_home_open_inside)(state, where, &maker, &place->home) < 0) {
        PyMem_Free(place);
        return -1;
    }
    return adopt_place(self, place);
}

static PyObject *
restore_inside(PyTypeObject *type, ips_state *state, PyObject *args, enum ips_cell_type cell_type)
{
    PyObject *self = type->tp_alloc(type, 0);
    ips_cell_place *place = self == NULL ? NULL : new_place(ips_cell_type_in_segment(cell_type));
    if (place != NULL && ips_home_restore(state, args, place->type, true, &place->home) < 0) {
        PyMem_Free(place);
        place = NULL;
    }
    if (place == NULL || adopt_place((ips_cell_object *)self, place) < 0) {
        Py_XDECREF(self);
        return NULL;
    }
    return self;
}

static int
open_alone(ips_cell_object *self, ips_state *state, const ips_container_where *where,
           ips_cell_spec spec)
{
    ips_cell cell;
    ips_options options;
    if (ips_options_of(state, where->name, where->namespace_, where->create, where->cleanup,
                       &options) < 0) {
        return -1;
    }
    spec.cleanup_last = options.cleanup_last;
    int status = open_cell(&options, spec, &cell);
    if (status < 0) {
        if (status != IPS_EINTR) {
            (void)ips_raise(state, status);
        }
        return -1;
    }
    adopt(self, &cell);
    return 0;
}

int
ips_cell_object_open(ips_cell_object *self, const ips_container_where *where,
                     enum ips_cell_type type, const uint64_t words[IPS_CELL_WORDS])
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    if (state == NULL) {
        return -1;
    }
    if (self->cell.shm != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "__init__ was called before: close() the object first");
        return -1;
    }
    if (where->segment != NULL && where->segment != Py_None) {
        return open_inside(self, state, where, (making){ips_cell_type_in_segment(type), words});
    }
    ips_cell_spec spec = {.type = type};
    if (words != NULL) {
        memcpy(spec.words, words, sizeof spec.words);
    }
    return open_alone(self, state, where, spec);
}

int
ips_cell_init(ips_cell_object *self, PyObject *args, PyObject *kwargs, enum ips_cell_type type)
{
    static char *names[] = {"name", "namespace", "create", "cleanup", "segment", NULL};
    ips_container_where where = {0};
    if ((kwargs != NULL || PyTuple_GET_SIZE(args) != 0)
        && !PyArg_ParseTupleAndKeywords(args, kwargs, "|$OOOOO", names, &where.name,
                                        &where.namespace_, &where.create, &where.cleanup,
                                        &where.segment)) {
        return -1;
    }
    return ips_cell_object_open(self, &where, type, NULL);
}

PyObject *
ips_cell_object_inside(PyTypeObject *type, const ips_home *home)
{
    PyObject *self = type->tp_alloc(type, 0);
    ips_cell_place *place = self == NULL ? NULL : new_place(home->type);
    if (place == NULL) {
        Py_XDECREF(self);
        return NULL;
    }
    place->home = *home;
    Py_XINCREF(home->keeper);
    ips_segment_hold(home->segment);
    if (adopt_place((ips_cell_object *)self, place) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return self;
}

PyObject *
ips_cell_object_of(PyTypeObject *type, const ips_cell *cell)
{
    PyObject *self = type->tp_alloc(type, 0);
    if (self != NULL) {
        adopt((ips_cell_object *)self, cell);
    }
    return self;
}

/* --- closing ------------------------------------------------------------- */

static void
give_up(ips_cell_object *self)
{
    ips_cell cell = self->cell;
    ips_cell_place *place = self->place;
    self->cell = (ips_cell){.shm = NULL};
    self->place = NULL;
    if (place != NULL) {
        ips_home_leave(&place->home);
        PyMem_Free(place);
        return;
    }
    if (cell.object != NULL) { /* unmapping and unlinking take a while */
        Py_BEGIN_ALLOW_THREADS
        ips_cell_release(&cell);
        Py_END_ALLOW_THREADS
    } else {
        ips_cell_release(&cell);
    }
}

void
ips_cell_dealloc(PyObject *object)
{
    ips_cell_object *self = (ips_cell_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    if (self->cell.shm != NULL) {
        give_up(self);
    }
    type->tp_free(object);
    Py_DECREF(type);
}

PyObject *
ips_cell_close(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_cell_object *self = (ips_cell_object *)object;
    self->shm = NULL;
    if (ips_gate_close(&self->gate) && self->cell.shm != NULL) {
        give_up(self);
    }
    Py_RETURN_NONE;
}

bool
ips_cell_enter(ips_cell_object *self)
{
    if (ips_gate_enter(&self->gate) && self->cell.shm != NULL && ips_cell_lives(self)) {
        return true;
    }
    (void)ips_cell_raise_closed(self);
    ips_cell_leave(self);
    return false;
}

void
ips_cell_leave(ips_cell_object *self)
{
    if (ips_gate_leave(&self->gate) && self->cell.shm != NULL) {
        give_up(self);
    }
}

PyObject *
ips_cell_raise_closed(ips_cell_object *self)
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    if (state != NULL && self->shm != NULL && !ips_cell_lives(self)) {
        return ips_raise_text(state, IPS_EGONE, "this %s was destroyed in its segment",
                              Py_TYPE(self)->tp_name);
    }
    return state == NULL ? NULL
                         : ips_raise_text(state, IPS_ECLOSED, "this %s handle; open another",
                                          Py_TYPE(self)->tp_name);
}

/* --- checking ------------------------------------------------------------ */

static void
add_problem(const char *line, void *lines)
{
    PyObject *text = PyUnicode_FromString(line);
    if (text == NULL || PyList_Append((PyObject *)lines, text) < 0) {
        PyErr_Clear(); /* the list lacks a line; where it is empty, the caller says so */
    }
    Py_XDECREF(text);
}

PyObject *
ips_cell_problems(ips_cell_object *self,
                  int (*check)(ips_cell_object *self, ips_cell_report report, void *lines))
{
    PyObject *lines = PyList_New(0);
    if (lines == NULL || !ips_cell_enter(self)) {
        Py_XDECREF(lines);
        return NULL;
    }
    int status = check(self, add_problem, lines);
    ips_cell_leave(self);
    if (status < 0 && PyList_GET_SIZE(lines) == 0) {
        Py_DECREF(lines);
        return PyErr_NoMemory();
    }
    return lines;
}

/* --- waiting ------------------------------------------------------------- */

void
ips_cell_object_place(const ips_cell_object *self, uint64_t *file, uint64_t *place)
{
    if (self->place == NULL) {
        ips_cell_wait_place(&self->cell, file, place);
        return;
    }
    const ips_object *object = ips_segment_object(self->place->home.segment);
    *file = ips_wait_file((const ips_header_shm *)object->base);
    *place = self->place->home.root;
}

/* How to wait: ips_wait_without_gil, or ips_wait_uninterrupted. */
typedef int (*wait_manner)(ips_wait_step step, void *context, int64_t deadline);

static int
wait_on(ips_cell_object *self, wait_manner manner, ips_gated *job, int64_t deadline)
{
    ips_waiting waiting = {.space = self->cell.space, .deadline = deadline};
    ips_futex_look fate;
    ips_cell_object_place(self, &waiting.file, &waiting.place);
    if (self->place != NULL) {
        fate = ips_stable_fate(self->cell.shm->words);
        job->fate = &fate;
        if (!ips_cell_lives(self)) {
            return ips_fail(IPS_EGONE, "it was destroyed in its segment");
        }
    }
    ips_waiting_begin(&waiting);
    int status = manner(ips_gated_step, job, deadline);
    ips_waiting_end(&waiting);
    return status;
}

int
ips_cell_wait(ips_cell_object *self, ips_wait_step step, void *context, int64_t deadline)
{
    ips_gated job = {&self->gate, NULL, step, context};
    return wait_on(self, ips_wait_without_gil, &job, deadline);
}

int
ips_cell_wait_uninterrupted(ips_cell_object *self, ips_wait_step step, void *context,
                            int64_t deadline)
{
    ips_gated job = {&self->gate, NULL, step, context};
    return wait_on(self, ips_wait_uninterrupted, &job, deadline);
}

/* --- pickling ------------------------------------------------------------ */

typedef struct {
    const ips_cell *cell;
    char text[IPS_TICKET_MAX];
} ticketing;

static int
ticket_step(void *context, int64_t deadline)
{
    ticketing *job = (ticketing *)context;
    return ips_cell_ticket(job->cell, deadline, job->text);
}

static PyObject *
proof_of(ips_cell_object *self, ips_state *state)
{
    if (self->cell.object != NULL) {
        return ips_pickled_proof(state, self->cell.object);
    }
    ticketing job = {.cell = &self->cell};
    int status = ticket_step(&job, IPS_AT_ONCE);
    status = status == IPS_EAGAIN ? ips_wait_without_gil(ticket_step, &job, IPS_FOREVER) : status;
    return status == IPS_EINTR ? NULL
           : status < 0        ? ips_raise(state, status)
                               : PyUnicode_FromString(job.text);
}

/* The arguments of _restore, for a thread that entered. */
static PyObject *
pickled_arguments(ips_cell_object *self, ips_state *state)
{
    const bool is_arrays = self->place != NULL && self->place->type == IPS_TYPE_ARRAY;
    if (self->place != NULL && !is_arrays) {
        return ips_home_pickled(state, &self->place->home);
    }
    if (is_arrays || ips_cell_is_borrowed(&self->cell)) {
        return PyErr_Format(PyExc_TypeError, "this %s belongs to another object: pickle that and "
                            "take its lock there", Py_TYPE(self)->tp_name);
    }
    PyObject *proof = proof_of(self, state);
    PyObject *path = proof == NULL ? NULL
        : PyUnicode_DecodeFSDefault(ips_space_folder(self->cell.space));
    if (path == NULL) {
        Py_XDECREF(proof);
        return NULL;
    }
    return Py_BuildValue("(NzN)", path, ips_cell_name_of(self), proof);
}

PyObject *
ips_cell_reduce(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_cell_object *self = (ips_cell_object *)object;
    ips_state *state = ips_state_of_type(Py_TYPE(object));
    if (state == NULL || !ips_cell_enter(self)) {
        return NULL;
    }
    PyObject *result = ips_pickled(object, pickled_arguments(self, state));
    ips_cell_leave(self);
    return result;
}

typedef struct {
    const ips_unpickled *pickle;
    ips_space *space;
    enum ips_cell_type type;
    ips_cell *out;
} restoring;

static int
restore_step(void *context, int64_t deadline)
{
    restoring *job = (restoring *)context;
    const ips_unpickled *pickle = job->pickle;
    int status = job->space != NULL ? IPS_OK : ips_space_join(pickle->folder, &job->space);
    if (status < 0) {
        return status;
    }
    return pickle->name == NULL
        ? ips_cell_redeem(job->space, pickle->ticket, job->type, deadline, job->out)
        : ips_cell_reopen(job->space, pickle->name, pickle->identity, job->type, job->out);
}

static PyObject *
restore_alone(PyTypeObject *type, ips_state *state, PyObject *args, enum ips_cell_type cell_type)
{
    ips_unpickled pickle;
    ips_cell cell;
    if (ips_unpickled_parse(state, args, &pickle) < 0) {
        return NULL;
    }
    restoring job = {.pickle = &pickle, .type = cell_type, .out = &cell};
    PyObject *self = type->tp_alloc(type, 0);
    int status = self == NULL ? IPS_ENOMEM : ips_wait_without_gil(restore_step, &job, IPS_FOREVER);
    ips_unpickled_clear(&pickle);
    if (self != NULL && status >= 0) {
        adopt((ips_cell_object *)self, &cell);
        return self;
    }
    if (self != NULL && status != IPS_EINTR) {
        (void)ips_raise(state, status);
    }
    Py_XDECREF(self);
    return NULL;
}

PyObject *
ips_cell_restore(PyObject *type, PyObject *args, enum ips_cell_type cell_type)
{
    ips_state *state = ips_state_of_type((PyTypeObject *)type);
    if (state == NULL) {
        return NULL;
    }
    return (PyTuple_GET_SIZE(args) == 4 || PyTuple_GET_SIZE(args) == IPS_NESTED_PICKLED
                ? restore_inside : restore_alone)(
        (PyTypeObject *)type, state, args, cell_type);
}

/* --- the small things ---------------------------------------------------- */

PyObject *
ips_cell_name(PyObject *object, void *unused)
{
    (void)unused;
    const char *name = ips_cell_name_of((ips_cell_object *)object);
    if (name == NULL || name[0] == '\0') { /* "": it stands in a container */
        Py_RETURN_NONE;
    }
    return PyUnicode_FromString(name);
}

PyObject *
ips_cell_closed(PyObject *object, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((ips_cell_object *)object)->shm == NULL);
}

PyObject *
ips_cell_remove(PyObject *type, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    return ips_remove_named((PyTypeObject *)type, args, count, keywords);
}

PyObject *
ips_cell_enter_context(PyObject *object, PyObject *unused)
{
    (void)unused;
    if (!ips_cell_is_usable((ips_cell_object *)object)) {
        return ips_cell_raise_closed((ips_cell_object *)object);
    }
    return Py_NewRef(object);
}

PyObject *
ips_cell_exit_context(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    (void)args;
    (void)count;
    return ips_cell_close(object, NULL);
}
