/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.mp.Memory: unnamed shared bytes for the ctypes objects of ipcsys.mp,
 * which goes with its last user.
 *
 *   0    header  128
 *   128  bytes   zero at first; users write them as they like
 *
 * Nothing but the header is read by us, so a death can leave nothing behind
 * but what the dead one wrote last. */
#include "bind/state.h"

#include <structmember.h>

#include "base/header.h"
#include "bind/options.h"
#include "member/object.h"

#define MEMORY_FORMAT 1
#define BYTES_AT sizeof(ips_header_shm)
#define SIZE_MOST (UINT64_C(1) << 46)

typedef struct {
    PyObject_HEAD
    ips_object *object; /* NULL before __init__ */
    PyObject *weakrefs;
} memory_object;

static ips_object_spec
spec_of(uint64_t size)
{
    return (ips_object_spec){.kind = IPS_KIND_MEMORY, .format = MEMORY_FORMAT, .layout = BYTES_AT,
                             .size = BYTES_AT + size, .max_size = BYTES_AT + size};
}

static Py_ssize_t
size_of(const memory_object *self)
{
    return (Py_ssize_t)(self->object->max_size - BYTES_AT);
}

static int
memory_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"size", NULL};
    memory_object *self = (memory_object *)object;
    ips_state *state = ips_state_of_type(Py_TYPE(object));
    Py_ssize_t size;
    ips_options options;
    if (state == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, "n:Memory", names, &size)
        || ips_options_of(state, NULL, NULL, NULL, NULL, &options) < 0) {
        return -1;
    }
    if (size < 1 || (uint64_t)size > SIZE_MOST) {
        PyErr_Format(PyExc_ValueError, "%zd bytes of memory are not to be had", size);
        return -1;
    }
    if (self->object != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "__init__ was called before: make another object");
        return -1;
    }
    ips_object_spec spec = spec_of((uint64_t)size);
    bool created;
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = ips_object_open(options.space, NULL, IPS_CREATE_ONLY, &spec, &self->object, &created);
    Py_END_ALLOW_THREADS
    if (status < 0) {
        self->object = NULL;
        (void)ips_raise(state, status);
        return -1;
    }
    return 0;
}

static void
memory_dealloc(PyObject *object)
{
    memory_object *self = (memory_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    ips_object *file = self->object;
    if (file != NULL) {
        Py_BEGIN_ALLOW_THREADS /* unmapping and unlinking take a while */
        ips_object_release(file);
        Py_END_ALLOW_THREADS
    }
    type->tp_free(object);
    Py_DECREF(type);
}

static int
memory_getbuffer(PyObject *object, Py_buffer *view, int flags)
{
    memory_object *self = (memory_object *)object;
    if (self->object == NULL) {
        PyErr_SetString(PyExc_BufferError, "Memory.__init__() was not called");
        view->obj = NULL;
        return -1;
    }
    return PyBuffer_FillInfo(view, object, self->object->base + BYTES_AT, size_of(self), 0, flags);
}

static Py_ssize_t
memory_length(PyObject *object)
{
    memory_object *self = (memory_object *)object;
    return self->object == NULL ? 0 : size_of(self);
}

PyDoc_STRVAR(reduce_doc, "__reduce__($self, /)\n--\n\n"
"A handle for another process of the same namespace.");

static PyObject *
memory_reduce(PyObject *object, PyObject *unused)
{
    (void)unused;
    memory_object *self = (memory_object *)object;
    ips_state *state = ips_state_of_type(Py_TYPE(object));
    char ticket[IPS_TICKET_MAX];
    if (state == NULL || self->object == NULL) {
        return state == NULL ? NULL : ips_raise_text(state, IPS_ECLOSED, "this Memory");
    }
    int status = ips_object_ticket(self->object, ticket);
    if (status < 0) {
        return ips_raise(state, status);
    }
    PyObject *restore = PyObject_GetAttrString((PyObject *)Py_TYPE(object), "_restore");
    PyObject *folder = PyUnicode_DecodeFSDefault(ips_space_folder(self->object->space));
    PyObject *result = restore == NULL || folder == NULL
        ? NULL : Py_BuildValue("O(Os)", restore, folder, ticket);
    Py_XDECREF(restore);
    Py_XDECREF(folder);
    return result;
}

static int
redeem(const char *folder, const char *ticket, ips_object **out)
{
    ips_space *space;
    ips_object_spec spec = spec_of(0);
    int status = ips_space_join(folder, &space);
    if (status == 0) {
        status = ips_object_redeem(space, ticket, &spec, out);
    }
    if (status < 0) {
        return status;
    }
    ips_object *file = *out;
    if (file->max_size <= BYTES_AT || file->max_size > SIZE_MOST + BYTES_AT
        || !ips_object_backs(file, 0, file->max_size)) {
        ips_object_release(file);
        return ips_fail(IPS_ECORRUPT, "a block of memory is not as long as it says");
    }
    return IPS_OK;
}

static PyObject *
memory_restore(PyObject *type, PyObject *args)
{
    PyObject *path;
    const char *ticket;
    ips_state *state = ips_state_of_type((PyTypeObject *)type);
    if (state == NULL
        || !PyArg_ParseTuple(args, "O&s:_restore", PyUnicode_FSConverter, &path, &ticket)) {
        return NULL;
    }
    PyObject *self = ((PyTypeObject *)type)->tp_alloc((PyTypeObject *)type, 0);
    if (self != NULL) {
        const char *folder = PyBytes_AS_STRING(path);
        ips_object *file = NULL;
        int status;
        Py_BEGIN_ALLOW_THREADS
        status = redeem(folder, ticket, &file);
        Py_END_ALLOW_THREADS
        if (status < 0) {
            (void)ips_raise(state, status);
            Py_CLEAR(self);
        } else {
            ((memory_object *)self)->object = file;
        }
    }
    Py_DECREF(path);
    return self;
}

PyDoc_STRVAR(memory_doc, "Memory(size)\n--\n\n"
"`size` shared bytes, zero at first, through the buffer protocol.\n\n"
"They travel to other processes by fork or pickling, and go with the last\n"
"process that has them.  ipcsys.mp.Value and Array lie in such.");

static PyMethodDef memory_methods[] = {
    {"__reduce__", memory_reduce, METH_NOARGS, reduce_doc},
    {"_restore", memory_restore, METH_VARARGS | METH_CLASS, NULL},
    {NULL},
};

static PyMemberDef memory_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(memory_object, weakrefs), READONLY, NULL},
    {NULL},
};

static PyType_Slot memory_slots[] = {
    {Py_tp_doc, (void *)memory_doc},
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_init, (void *)memory_init},
    {Py_tp_dealloc, (void *)memory_dealloc},
    {Py_bf_getbuffer, (void *)memory_getbuffer},
    {Py_sq_length, (void *)memory_length},
    {Py_tp_methods, memory_methods},
    {Py_tp_members, memory_members},
    {0, NULL},
};

static PyType_Spec memory_spec = {
    .name = "ipcsys.mp.Memory",
    .basicsize = sizeof(memory_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = memory_slots,
};

int
ips_add_mp_memory(PyObject *module, ips_state *state)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &memory_spec, NULL);
    state->mp_memory_type = (PyTypeObject *)type;
    return type == NULL ? -1 : PyModule_AddObjectRef(module, "MpMemory", type);
}
