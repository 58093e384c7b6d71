/* SPDX-License-Identifier: Apache-2.0 */
/* Making, opening and pickling a SharedArray. */
#include "bind/array.h"

#include <string.h>

#include "bind/flat.h"
#include "bind/pickled.h"
#include "os/clock.h"
#include "segment/readout.h"

/* --- arguments ------------------------------------------------------------ */

static int
length_of(PyObject *number, uint64_t *out)
{
    Py_ssize_t length = PyNumber_AsSsize_t(number, PyExc_OverflowError);
    if (length == -1 && PyErr_Occurred() != NULL) {
        return -1;
    }
    if (length < 0) {
        PyErr_SetString(PyExc_ValueError, "negative dimensions are not allowed");
        return -1;
    }
    *out = (uint64_t)length;
    return 0;
}

static int
shape_of(PyObject *shape, ips_array_kind *kind)
{
    if (PyIndex_Check(shape)) {
        kind->ndim = 1;
        return length_of(shape, &kind->shape[0]);
    }
    PyObject *row = PySequence_Tuple(shape);
    if (row == NULL) {
        return -1;
    }
    int status = 0;
    if (PyTuple_GET_SIZE(row) > IPS_ARRAY_DIMENSIONS) {
        PyErr_Format(PyExc_ValueError, "at most %d dimensions, not %zd", IPS_ARRAY_DIMENSIONS,
            PyTuple_GET_SIZE(row));
        status = -1;
    }
    for (Py_ssize_t i = 0; status == 0 && i < PyTuple_GET_SIZE(row); i++) {
        status = length_of(PyTuple_GET_ITEM(row, i), &kind->shape[i]);
        kind->ndim++;
    }
    Py_DECREF(row);
    return status;
}

static int
order_of(PyObject *order, char *out)
{
    *out = 'C';
    if (order == NULL || order == Py_None) {
        return 0;
    }
    if (PyUnicode_Check(order) && (PyUnicode_CompareWithASCIIString(order, "C") == 0 ||
                                      PyUnicode_CompareWithASCIIString(order, "F") == 0)) {
        *out = (char)PyUnicode_READ_CHAR(order, 0);
        return 0;
    }
    PyErr_Format(PyExc_ValueError, "order must be 'C' or 'F', not %R", order);
    return -1;
}

/* (text, format, itemsize) from ipcsys/dtypes.py. */
static int
dtype_of(PyObject *dtype, ips_array_kind *kind)
{
    PyObject *module = PyImport_ImportModule("ipcsys.dtypes");
    PyObject *facts = module == NULL ? NULL : PyObject_CallMethod(module, "describe", "O", dtype);
    const char *text, *format;
    Py_ssize_t text_size, format_size, itemsize;
    int status = -1;
    if (facts != NULL && PyArg_ParseTuple(facts, "s#s#n:describe", &text, &text_size, &format,
                             &format_size, &itemsize)) {
        if (text_size + format_size > IPS_ARRAY_TEXT || itemsize < 1 || itemsize > INT32_MAX ||
            strlen(text) != (size_t)text_size || strlen(format) != (size_t)format_size) {
            PyErr_Format(PyExc_ValueError, "dtype %R is too large, or empty, for a SharedArray",
                dtype);
        } else {
            memcpy(kind->dtype, text, (size_t)text_size + 1);
            memcpy(kind->format, format, (size_t)format_size + 1);
            kind->itemsize = (uint32_t)itemsize;
            status = 0;
        }
    }
    Py_XDECREF(facts);
    Py_XDECREF(module);
    return status;
}

/* --- opening -------------------------------------------------------------- */

typedef struct {
    ips_container_where where;
    PyObject *shape, *dtype, *order;
    int readonly;
} arguments;

static bool
is_given(PyObject *argument)
{
    return argument != NULL && argument != Py_None;
}

/* An array that was there agrees with what was asked for?  0, or -1 with
 * MismatchError set that names both. */
static int
agree(ips_state *state, const arguments *asked, const ips_array_kind *wanted,
    const ips_array_kind *found)
{
    if (is_given(asked->dtype) && strcmp(wanted->dtype, found->dtype) != 0) {
        (void)ips_raise_text(state, IPS_EMISMATCH, "the array has dtype %.200s, not %.200s",
            found->dtype, wanted->dtype);
        return -1;
    }
    if (is_given(asked->order) && wanted->order != found->order) {
        (void)ips_raise_text(state, IPS_EMISMATCH, "the array has order '%c', not '%c'",
            found->order, wanted->order);
        return -1;
    }
    if (is_given(asked->shape) &&
        (wanted->ndim != found->ndim ||
            memcmp(wanted->shape, found->shape, found->ndim * sizeof found->shape[0]) != 0)) {
        (void)ips_raise_text(state, IPS_EMISMATCH, "the array has another shape: %u dimensions, "
            "the first of %llu items", found->ndim,
            found->ndim == 0 ? 1 : (unsigned long long)found->shape[0]);
        return -1;
    }
    return 0;
}

/* The items become the object's: those of the file, or of self->home. */
static void
adopt(ips_array_object *self, ips_object *object, uint8_t *items, ips_array_kind *kind)
{
    self->object = object;
    self->items = items;
    self->kind = kind;
    Py_ssize_t stride = kind->itemsize;
    for (uint32_t i = 0; i < kind->ndim; i++) {
        uint32_t at = kind->order == 'F' ? i : kind->ndim - 1 - i;
        self->shape[at] = (Py_ssize_t)kind->shape[at];
        self->strides[at] = stride;
        stride *= kind->shape[at] == 0 ? 1 : self->shape[at];
    }
}

static int
open_array(ips_array_object *self, ips_state *state, const arguments *asked, ips_array_kind *kind)
{
    ips_options options;
    ips_object *object;
    bool created;
    const ips_array_kind wanted = *kind;
    if (ips_options_of(state, asked->where.name, asked->where.namespace_, asked->where.create, asked->where.cleanup,
            &options) < 0) {
        return -1;
    }
    if (!is_given(asked->shape) && options.mode != IPS_OPEN_ONLY) {
        if (options.name == NULL || options.mode != IPS_OPEN_OR_CREATE) {
            PyErr_SetString(PyExc_TypeError, "a shape is needed to make a SharedArray");
            return -1;
        }
        options.mode = IPS_OPEN_ONLY;
    }
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = ips_array_open(options.space, options.name, options.mode, options.cleanup_last, kind,
        &object, &created);
    Py_END_ALLOW_THREADS
    if (status < 0) {
        (void)ips_raise(state, status);
        return -1;
    }
    if (!created && agree(state, asked, &wanted, kind) < 0) {
        ips_object_release(object);
        return -1;
    }
    adopt(self, object, ips_array_items(object), kind);
    return 0;
}

/* --- in a segment --------------------------------------------------------- */

typedef struct {
    ips_segment *segment;
    const ips_home *home;
    bool has_shape;
    ips_array_kind *kind;
    uint8_t *items;
} placing;

static int
create_inside(ips_segment *segment, void *context, ips_offset *root)
{
    const placing *job = (const placing *)context;
    if (!job->has_shape) {
        return ips_fail(IPS_ENOENT, "a shape is needed to make a SharedArray");
    }
    if (ips_tx_depth(segment) > 1) {
        return ips_fail(IPS_ETX, "a SharedArray is made before a transaction begins, so that none "
            "is undone while it is looked at");
    }
    return ips_inset_create(segment, job->kind, root);
}

static int
act_hold(void *context)
{
    placing *job = (placing *)context;
    return ips_inset_hold(job->segment, job->home->root, job->home->generation, job->kind,
        &job->items);
}

static int
hold_step(void *context, int64_t deadline)
{
    placing *job = (placing *)context;
    return ips_container_attempt(job->segment, act_hold, job, deadline);
}

/* Have open what self->home names, or leave it; 0 or -1. */
static int
enter_home(ips_array_object *self, ips_state *state, ips_array_kind *kind)
{
    placing job = {.segment = self->home.segment, .home = &self->home, .kind = kind};
    int status = ips_wait_without_gil(hold_step, &job, IPS_FOREVER);
    if (status < 0) {
        ips_home_leave(&self->home);
        if (PyErr_Occurred() == NULL) {
            (void)ips_raise(state, status);
        }
        return -1;
    }
    adopt(self, NULL, job.items, kind);
    return 0;
}

static int
open_inside(ips_array_object *self, ips_state *state, const arguments *asked, ips_array_kind *kind)
{
    placing job = {.has_shape = is_given(asked->shape), .kind = kind};
    const ips_container_maker maker = {.type = IPS_TYPE_ARRAY, .stable = true,
        .create = create_inside, .context = &job, .weight = kind->size};
    ips_array_kind *found = PyMem_Malloc(sizeof *found);
    if (found == NULL || ips_home_open_inside(state, &asked->where, &maker, &self->home) < 0 ||
        enter_home(self, state, found) < 0) {
        PyMem_Free(found);
        return -1;
    }
    if (agree(state, asked, kind, found) < 0) { /* the object frees what it found */
        return -1;
    }
    PyMem_Free(kind);
    return 0;
}

static int
init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"name", "shape", "dtype", "order", "namespace", "create", "cleanup",
        "readonly", "segment", NULL};
    ips_array_object *self = (ips_array_object *)object;
    ips_state *state = ips_state_of_type(Py_TYPE(object));
    arguments asked = {0};
    if (state == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "|OOOO$OOOpO:SharedArray", names,
            &asked.where.name, &asked.shape, &asked.dtype, &asked.order, &asked.where.namespace_,
            &asked.where.create, &asked.where.cleanup, &asked.readonly, &asked.where.segment)) {
        return -1;
    }
    if (self->kind != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "__init__ was called before: make another object");
        return -1;
    }
    ips_array_kind *kind = PyMem_Calloc(1, sizeof *kind);
    if (kind == NULL) {
        (void)PyErr_NoMemory();
        return -1;
    }
    int status = dtype_of(asked.dtype == NULL ? Py_None : asked.dtype, kind);
    status = status < 0 ? status : order_of(asked.order, &kind->order);
    status = status < 0 || !is_given(asked.shape) ? status : shape_of(asked.shape, kind);
    if (status == 0 && ips_array_measure(kind) < 0) {
        (void)ips_raise(state, IPS_ETOOBIG);
        status = -1;
    }
    const bool is_inside = is_given(asked.where.segment);
    status = status < 0  ? status
             : is_inside ? open_inside(self, state, &asked, kind)
                         : open_array(self, state, &asked, kind);
    if (status < 0) {
        PyMem_Free(kind);
        return -1;
    }
    self->readonly = asked.readonly != 0 ||
                     (is_inside && ips_segment_is_read_only(self->home.segment));
    return 0;
}

int
ips_array_object_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    if (ips_name_first(&args, &kwargs) < 0) {
        return -1;
    }
    int status = init(object, args, kwargs);
    Py_DECREF(args);
    Py_XDECREF(kwargs);
    return status;
}

/* --- pickling ------------------------------------------------------------- */

static const uint8_t *
identity_of(const ips_object *object)
{
    return ((const ips_header_shm *)(const void *)object->base)->identity;
}

PyObject *
ips_array_object_reduce(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_array_object *self = (ips_array_object *)object;
    ips_state *state = ips_array_object_check(self) < 0 ? NULL : ips_state_of_type(Py_TYPE(object));
    char ticket[IPS_TICKET_MAX] = "";
    if (state == NULL) {
        return NULL;
    }
    if (self->object == NULL) {
        PyObject *place = ips_home_pickled(state, &self->home);
        return ips_pickled(object, place == NULL ? NULL
            : Py_BuildValue("(NO)", place, self->readonly ? Py_True : Py_False));
    }
    const ips_object *file = self->object;
    int status = file->named ? 0 : ips_object_ticket(self->object, ticket);
    if (status < 0) {
        return ips_raise(state, status);
    }
    PyObject *folder = PyUnicode_DecodeFSDefault(ips_space_folder(file->space));
    return ips_pickled(object, folder == NULL ? NULL
        : Py_BuildValue("(Nzy#sO)", folder, file->named ? file->name : NULL,
              (const char *)identity_of(file), (Py_ssize_t)16, ticket,
              self->readonly ? Py_True : Py_False));
}

typedef struct {
    const char *folder, *name, *ticket;
    const char *identity;
    ips_array_kind *kind;
    ips_object *object;
} restoring;

static int
restore(restoring *job)
{
    ips_space *space;
    int status = ips_space_join(job->folder, &space);
    if (status < 0) {
        return status;
    }
    return job->name == NULL
        ? ips_array_redeem(space, job->ticket, job->kind, &job->object)
        : ips_array_reopen(space, job->name, (const uint8_t *)job->identity, job->kind,
              &job->object);
}

/* (arguments of ips_home_restore, readonly) */
static PyObject *
restore_inside(PyTypeObject *type, ips_state *state, PyObject *args)
{
    PyObject *place;
    int readonly;
    if (!PyArg_ParseTuple(args, "Op:_restore", &place, &readonly)) {
        return NULL;
    }
    ips_array_object *self = (ips_array_object *)type->tp_alloc(type, 0);
    ips_array_kind *kind = self == NULL ? NULL : PyMem_Malloc(sizeof *kind);
    if (kind == NULL || ips_home_restore(state, place, IPS_TYPE_ARRAY, true, &self->home) < 0 ||
        enter_home(self, state, kind) < 0) {
        PyMem_Free(kind);
        Py_XDECREF(self);
        return NULL;
    }
    self->readonly = readonly != 0;
    return (PyObject *)self;
}

PyObject *
ips_array_object_restore(PyObject *type, PyObject *args)
{
    PyObject *path;
    restoring job = {0};
    Py_ssize_t identity_size;
    int readonly;
    ips_state *state = ips_state_of_type((PyTypeObject *)type);
    if (state != NULL && PyTuple_GET_SIZE(args) == 2) {
        return restore_inside((PyTypeObject *)type, state, args);
    }
    if (state == NULL ||
        !PyArg_ParseTuple(args, "O&zy#sp:_restore", PyUnicode_FSConverter, &path, &job.name,
            &job.identity, &identity_size, &job.ticket, &readonly)) {
        return NULL;
    }
    job.folder = PyBytes_AS_STRING(path);
    job.kind = PyMem_Calloc(1, sizeof *job.kind);
    PyObject *self = job.kind == NULL ? PyErr_NoMemory()
                                      : ((PyTypeObject *)type)->tp_alloc((PyTypeObject *)type, 0);
    int status = identity_size == 16 ? IPS_OK : ips_fail(IPS_EFORMAT, "not a pickled handle");
    if (self != NULL && status == 0) {
        Py_BEGIN_ALLOW_THREADS
        status = restore(&job);
        Py_END_ALLOW_THREADS
    }
    Py_DECREF(path);
    if (self != NULL && status < 0) {
        (void)ips_raise(state, status);
        Py_CLEAR(self);
    }
    if (self == NULL) {
        PyMem_Free(job.kind);
        return NULL;
    }
    adopt((ips_array_object *)self, job.object, ips_array_items(job.object), job.kind);
    ((ips_array_object *)self)->readonly = readonly != 0;
    return self;
}
