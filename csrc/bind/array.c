/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.SharedArray: items of one dtype in shared memory, through the buffer
 * protocol.  What a dtype is, ipcsys/dtypes.py says: this file knows its text,
 * its format and its size.
 *
 * A view holds the object, and the object its mapping: so memory lives as long
 * as any view of it, also after close(). */
#include "bind/array.h"

#include "os/clock.h"

int
ips_array_object_check(const ips_array_object *self)
{
    if (self->items != NULL && !self->closed) {
        return 0;
    }
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    if (state != NULL) {
        (void)ips_raise_text(state, IPS_ECLOSED, "this SharedArray handle; open another");
    }
    return -1;
}

static int
act_reap(void *context)
{
    return ips_inset_reap((ips_segment *)context);
}

/* What others destroyed and we held last is buried at once if nobody is in the
 * way, else by the next who comes: this never waits. */
static void
leave_segment(ips_home *home)
{
    if (ips_inset_leave(home->segment, home->root)) {
        (void)ips_container_attempt(home->segment, act_reap, home->segment, IPS_AT_ONCE);
    }
    ips_home_leave(home);
}

static void
give_up(ips_array_object *self)
{
    ips_object *file = self->object;
    const bool is_inside = self->items != NULL && file == NULL;
    self->items = NULL;
    self->object = NULL;
    if (is_inside) {
        leave_segment(&self->home);
    } else if (file != NULL) {
        Py_BEGIN_ALLOW_THREADS /* unmapping and unlinking take a while */
        ips_object_release(file);
        Py_END_ALLOW_THREADS
    }
}

static void
array_dealloc(PyObject *object)
{
    ips_array_object *self = (ips_array_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    give_up(self);
    PyMem_Free(self->kind);
    type->tp_free(object);
    Py_DECREF(type);
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\n"
    "Give up this handle.  Views of it stay good: the memory goes when the last of\n"
    "them and the object itself are gone.");

static PyObject *
array_close(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_array_object *self = (ips_array_object *)object;
    self->closed = true;
    if (self->views == 0 && !self->lent) {
        give_up(self);
    }
    Py_RETURN_NONE;
}

/* --- views ---------------------------------------------------------------- */

static int
array_getbuffer(PyObject *object, Py_buffer *view, int flags)
{
    ips_array_object *self = (ips_array_object *)object;
    view->obj = NULL;
    if (ips_array_object_check(self) < 0) {
        return -1;
    }
    const bool writable = (flags & PyBUF_WRITABLE) == PyBUF_WRITABLE;
    const bool is_c = self->kind->order == 'C' || self->kind->ndim < 2;
    const bool is_f = self->kind->order == 'F' || self->kind->ndim < 2;
    const char *trouble = NULL;
    if (writable && self->readonly) {
        trouble = "this handle of the SharedArray is read-only";
    } else if ((flags & PyBUF_FORMAT) != 0 && self->kind->format[0] == '\0') {
        trouble = "the dtype has no format of the buffer protocol: numpy.asarray() takes it";
    } else if (!is_c && (flags & PyBUF_STRIDES) != PyBUF_STRIDES) {
        trouble = "the SharedArray is in Fortran's order";
    } else if (((flags & PyBUF_C_CONTIGUOUS) == PyBUF_C_CONTIGUOUS && !is_c) ||
               ((flags & PyBUF_F_CONTIGUOUS) == PyBUF_F_CONTIGUOUS && !is_f)) {
        trouble = "the SharedArray is in the other order";
    }
    if (trouble != NULL) {
        PyErr_SetString(PyExc_BufferError, trouble);
        return -1;
    }
    *view = (Py_buffer){
        .buf = self->items,
        .obj = Py_NewRef(object),
        .len = (Py_ssize_t)self->kind->size,
        .itemsize = self->kind->itemsize,
        .readonly = self->readonly,
        .ndim = (int)self->kind->ndim,
        .format = (flags & PyBUF_FORMAT) != 0 ? self->kind->format : NULL,
        .shape = (flags & PyBUF_ND) == PyBUF_ND ? self->shape : NULL,
        .strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? self->strides : NULL,
    };
    self->views++;
    return 0;
}

static void
array_releasebuffer(PyObject *object, Py_buffer *view)
{
    (void)view;
    ips_array_object *self = (ips_array_object *)object;
    self->views--;
    if (self->closed && self->views == 0 && !self->lent) {
        give_up(self);
    }
}

static PyObject *
tuple_of(const Py_ssize_t *numbers, uint32_t count)
{
    PyObject *tuple = PyTuple_New(count);
    for (uint32_t i = 0; tuple != NULL && i < count; i++) {
        PyObject *number = PyLong_FromSsize_t(numbers[i]);
        if (number == NULL) {
            Py_CLEAR(tuple);
        } else {
            PyTuple_SET_ITEM(tuple, i, number);
        }
    }
    return tuple;
}

/* For dtypes that the buffer protocol cannot spell (times): numpy asks for it
 * where the buffer is refused, and keeps the object that it asked. */
static PyObject *
array_interface(PyObject *object, void *unused)
{
    (void)unused;
    ips_array_object *self = (ips_array_object *)object;
    if (ips_array_object_check(self) < 0) {
        return NULL;
    }
    PyObject *module = PyImport_ImportModule("ipcsys.dtypes");
    PyObject *pair = module == NULL ? NULL
        : PyObject_CallMethod(module, "interface", "s", self->kind->dtype);
    Py_XDECREF(module);
    PyObject *typestr, *descr;
    PyObject *result = NULL;
    self->lent = true;
    if (pair != NULL && PyArg_ParseTuple(pair, "OO:interface", &typestr, &descr)) {
        result = Py_BuildValue("{s:i,s:O,s:O,s:N,s:N,s:(NO)}", "version", 3, "typestr", typestr,
            "descr", descr, "shape", tuple_of(self->shape, self->kind->ndim), "strides",
            tuple_of(self->strides, self->kind->ndim), "data",
            PyLong_FromVoidPtr(self->items),
            self->readonly ? Py_True : Py_False);
    }
    Py_XDECREF(pair);
    return result;
}

/* --- looking -------------------------------------------------------------- */

static PyObject *
array_shape(PyObject *object, void *unused)
{
    (void)unused;
    ips_array_object *self = (ips_array_object *)object;
    return ips_array_object_check(self) < 0 ? NULL : tuple_of(self->shape, self->kind->ndim);
}

static PyObject *
array_strides(PyObject *object, void *unused)
{
    (void)unused;
    ips_array_object *self = (ips_array_object *)object;
    return ips_array_object_check(self) < 0 ? NULL : tuple_of(self->strides, self->kind->ndim);
}

static PyObject *
array_dtype(PyObject *object, void *unused)
{
    (void)unused;
    ips_array_object *self = (ips_array_object *)object;
    PyObject *module = ips_array_object_check(self) < 0 ? NULL
                                                        : PyImport_ImportModule("ipcsys.dtypes");
    PyObject *dtype = module == NULL ? NULL
        : PyObject_CallMethod(module, "literal", "s", self->kind->dtype);
    Py_XDECREF(module);
    return dtype;
}

static PyObject *
array_order(PyObject *object, void *unused)
{
    (void)unused;
    ips_array_object *self = (ips_array_object *)object;
    return ips_array_object_check(self) < 0 ? NULL : PyUnicode_FromStringAndSize(&self->kind->order, 1);
}

static PyObject *
array_number(PyObject *object, void *which)
{
    ips_array_object *self = (ips_array_object *)object;
    if (ips_array_object_check(self) < 0) {
        return NULL;
    }
    const char what = *(const char *)which;
    return PyLong_FromUnsignedLongLong(what == 'd' ? self->kind->ndim
        : what == 'i' ? self->kind->itemsize
        : what == 'b' ? self->kind->size
                      : self->kind->size / self->kind->itemsize);
}

static PyObject *
array_flag(PyObject *object, void *which)
{
    const ips_array_object *self = (ips_array_object *)object;
    return PyBool_FromLong(*(const char *)which == 'r' ? self->readonly : self->closed);
}

static PyObject *
array_name(PyObject *object, void *unused)
{
    (void)unused;
    const ips_array_object *self = (ips_array_object *)object;
    if (self->items != NULL && self->object == NULL) {
        return PyUnicode_FromString(self->home.name);
    }
    if (self->object == NULL || !self->object->named) { /* unnamed, or given up */
        Py_RETURN_NONE;
    }
    return PyUnicode_FromString(self->object->name);
}

/* A Lock of its own; it holds the file as long as it is open. */
static PyObject *
array_lock(PyObject *object, void *unused)
{
    (void)unused;
    ips_array_object *self = (ips_array_object *)object;
    ips_state *state = ips_array_object_check(self) < 0 ? NULL : ips_state_of_type(Py_TYPE(object));
    if (state == NULL) {
        return NULL;
    }
    if (self->object == NULL) {
        return ips_cell_object_inside(state->lock_type, &self->home);
    }
    ips_object_hold(self->object);
    const ips_cell cell = {.shm = ips_array_lock(self->object), .space = self->object->space,
        .object = self->object};
    PyObject *lock = ips_cell_object_of(state->lock_type, &cell);
    if (lock == NULL) {
        ips_object_release(self->object);
    }
    return lock;
}

static Py_ssize_t
array_length(PyObject *object)
{
    ips_array_object *self = (ips_array_object *)object;
    if (ips_array_object_check(self) < 0) {
        return -1;
    }
    if (self->kind->ndim == 0) {
        PyErr_SetString(PyExc_TypeError, "a SharedArray of no dimension has no len()");
        return -1;
    }
    return self->shape[0];
}

static PyObject *
array_repr(PyObject *object)
{
    ips_array_object *self = (ips_array_object *)object;
    if (self->items == NULL || self->closed) {
        return PyUnicode_FromString("<closed SharedArray>");
    }
    PyObject *name = array_name(object, NULL);
    PyObject *shape = name == NULL ? NULL : tuple_of(self->shape, self->kind->ndim);
    PyObject *text = shape == NULL ? NULL
        : PyUnicode_FromFormat("<SharedArray name=%R shape=%R dtype=%s order='%c'>", name, shape,
              self->kind->dtype, self->kind->order);
    Py_XDECREF(name);
    Py_XDECREF(shape);
    return text;
}

static PyObject *
array_numpy(PyObject *object, PyObject *unused)
{
    (void)unused;
    PyObject *numpy = ips_array_object_check((ips_array_object *)object) < 0 ? NULL
                                                             : PyImport_ImportModule("numpy");
    PyObject *array = numpy == NULL ? NULL : PyObject_CallMethod(numpy, "asarray", "O", object);
    Py_XDECREF(numpy);
    return array;
}

/* __copy__ and __deepcopy__: what is shared is left alone, as with containers. */
static PyObject *
array_copy(PyObject *object, PyObject *unused)
{
    PyObject *view = array_numpy(object, unused);
    PyObject *copy = view == NULL ? NULL : PyObject_CallMethod(view, "copy", "s", "K");
    Py_XDECREF(view);
    return copy;
}

static PyObject *
array_enter(PyObject *object, PyObject *unused)
{
    (void)unused;
    return ips_array_object_check((ips_array_object *)object) < 0 ? NULL : Py_NewRef(object);
}

static PyObject *
array_exit(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    (void)args;
    (void)count;
    return array_close(object, NULL);
}

static PyObject *
array_remove(PyObject *type, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    return ips_remove_named((PyTypeObject *)type, args, count, keywords);
}

/* --- the type ------------------------------------------------------------- */

PyDoc_STRVAR(array_doc,
    "SharedArray(name=None, shape=None, dtype=None, order=None, *, namespace=None, create=None,\n"
    "            cleanup=None, readonly=False, segment=None)\n--\n\n"
    "An array of numbers or records in shared memory: numpy.asarray(array) and\n"
    "memoryview(array) see it without copying.\n\n"
    "shape is a number of items or a tuple of them, zero at first; it may be left\n"
    "out where the name exists.  dtype is whatever numpy.dtype takes ('f8' where it\n"
    "is left out); simple ones need no numpy.  order is 'C' or 'F'.  An existing\n"
    "array that differs in what was given raises MismatchError.\n\n"
    "In a segment (segment.construct(SharedArray, key, shape, dtype)) it must be made\n"
    "outside transactions, and destroying it takes its name away: who has it open\n"
    "goes on, and the memory goes with the last of them.\n\n"
    "readonly=True gives views that cannot write.  `lock` guards nothing by itself:\n"
    "hold it where several write.  Memory lives as long as any view of it; what a\n"
    "killed process had written stays.");

static PyMethodDef array_methods[] = {
    {"numpy", array_numpy, METH_NOARGS, "numpy($self, /)\n--\n\n"
        "numpy.asarray(self): an ndarray over the shared items."},
    {"__copy__", array_copy, METH_NOARGS, "__copy__($self, /)\n--\n\n"
        "An ndarray of one's own with the same items."},
    {"__deepcopy__", array_copy, METH_O, "__deepcopy__($self, memo, /)\n--\n\n"
        "An ndarray of one's own with the same items."},
    {"close", array_close, METH_NOARGS, close_doc},
    {"remove", (PyCFunction)(void (*)(void))array_remove,
        METH_FASTCALL | METH_KEYWORDS | METH_CLASS, IPS_REMOVE_DOC},
    {"__enter__", array_enter, METH_NOARGS, "__enter__($self, /)\n--\n\nItself."},
    {"__exit__", (PyCFunction)(void (*)(void))array_exit, METH_FASTCALL,
        "__exit__($self, /, *exc_info)\n--\n\nclose()."},
    {"__reduce__", ips_array_object_reduce, METH_NOARGS, "__reduce__($self, /)\n--\n\n"
        "A handle for another process of the same namespace."},
    {"_restore", ips_array_object_restore, METH_VARARGS | METH_CLASS, NULL},
    IPS_REPR_HTML_METHOD,
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef array_getsets[] = {
    {"shape", array_shape, NULL, "Items in each dimension.", NULL},
    {"strides", array_strides, NULL, "Bytes from one item to the next in each dimension.", NULL},
    {"dtype", array_dtype, NULL, "What numpy.dtype() takes: text, or a list of fields.", NULL},
    {"order", array_order, NULL, "'C' or 'F'.", NULL},
    {"ndim", array_number, NULL, "How many dimensions.", "d"},
    {"itemsize", array_number, NULL, "Bytes of an item.", "i"},
    {"nbytes", array_number, NULL, "Bytes of all items.", "b"},
    {"size", array_number, NULL, "How many items.", "s"},
    {"readonly", array_flag, NULL, "Whether views of this handle cannot write.", "r"},
    {"closed", array_flag, NULL, "True once close() was called.", "c"},
    {"name", array_name, NULL, "The name, or None.", NULL},
    {"lock", array_lock, NULL, "The array's own Lock, the same for all who open it.", NULL},
    {"__array_interface__", array_interface, NULL, "For numpy.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef array_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ips_array_object, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot array_slots[] = {
    {Py_tp_doc, (void *)array_doc},
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_init, (void *)ips_array_object_init},
    {Py_tp_dealloc, (void *)array_dealloc},
    {Py_tp_repr, (void *)array_repr},
    {Py_tp_methods, array_methods},
    {Py_tp_getset, array_getsets},
    {Py_tp_members, array_members},
    {Py_bf_getbuffer, (void *)array_getbuffer},
    {Py_bf_releasebuffer, (void *)array_releasebuffer},
    {Py_mp_length, (void *)array_length},
    {0, NULL},
};

static PyType_Spec array_spec = {
    .name = "ipcsys.SharedArray",
    .basicsize = sizeof(ips_array_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = array_slots,
};

int
ips_add_array(PyObject *module, ips_state *state)
{
    state->array_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &array_spec, NULL);
    return state->array_type == NULL ? -1 : PyModule_AddType(module, state->array_type);
}
