/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.SharedBytes: bytes in shared memory that can be changed, with the
 * manners of bytearray.  Whatever reads them works on bytes of one moment. */
#include "bind/text.h"

#include <string.h>

static const ips_item_format octet = {'B', 1, false, false};

/* --- bytes on their way in and out */

static int
put(ips_state *state, const void *bytes, size_t size, ips_snapshot *out)
{
    uint8_t *to = size == 0 ? NULL : ips_snapshot_extend(out, size);
    if (to == NULL && size != 0) {
        (void)ips_raise(state, IPS_ENOMEM);
        return -1;
    }
    if (size != 0) {
        memcpy(to, bytes, size);
    }
    out->records += size;
    return 0;
}

/* Whatever has bytes to look at, or gives numbers below 256; 0 or -1. */
static int
encode(ips_state *state, PyObject *value, ips_snapshot *out)
{
    Py_buffer view;
    PyObject *plain = ips_plain_of(state, value);
    int status = -1;
    if (plain == NULL) {
        return -1;
    }
    if (PyUnicode_Check(plain)) {
        PyErr_SetString(PyExc_TypeError, "bytes are wanted, not text: encode it");
    } else if (!PyObject_CheckBuffer(plain)) {
        status = ips_sequence_encode_all(state, &octet, plain, out);
        if (status < 0 && PyErr_ExceptionMatches(PyExc_OverflowError)) {
            PyErr_SetString(PyExc_ValueError, "byte must be in range(0, 256)");
        }
    } else if (PyObject_GetBuffer(plain, &view, PyBUF_FULL_RO) == 0) {
        PyObject *copy = PyBytes_FromStringAndSize(NULL, view.len);
        status = copy == NULL ? -1
            : PyBuffer_ToContiguous(PyBytes_AS_STRING(copy), &view, view.len, 'C') < 0 ? -1
            : put(state, PyBytes_AS_STRING(copy), (size_t)view.len, out);
        Py_XDECREF(copy);
        PyBuffer_Release(&view);
    }
    Py_DECREF(plain);
    return status;
}

/* One number as a byte; 0 or -1. */
static int
encode_one(ips_state *state, PyObject *number, ips_snapshot *out)
{
    int status = ips_sequence_encode(state, &octet, number, out);
    if (status < 0 && PyErr_ExceptionMatches(PyExc_OverflowError)) {
        PyErr_SetString(PyExc_ValueError, "byte must be in range(0, 256)");
    }
    return status;
}

static PyObject *
decode(const ips_sequence *self, const ips_snapshot *snapshot)
{
    (void)self;
    return PyBytes_FromStringAndSize((const char *)snapshot->bytes, (Py_ssize_t)snapshot->records);
}

static bool
is_text(PyObject *plain)
{
    return PyObject_CheckBuffer(plain);
}

static const ips_text_kind kind = {
    .flat = {IPS_TYPE_BYTES, {'B', 1, false, false}},
    .noun = "bytes",
    .encode = encode,
    .encode_one = encode_one,
    .decode = decode,
    .decode_one = ips_sequence_get,
    .is_text = is_text,
};

/* --- what bytes have not */

static PyObject *
octets_extend_in_place(PyObject *self, PyObject *bytes)
{
    return ips_text_splice(self, IPS_SPAN_END, encode, bytes) < 0 ? NULL : Py_NewRef(self);
}

static PyObject *
octets_append(PyObject *self, PyObject *number)
{
    return ips_text_put(self, IPS_SPAN_END, encode_one, number);
}

static PyObject *
octets_insert(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    int64_t index;
    if (count != 2) {
        return PyErr_Format(PyExc_TypeError, "insert() takes an index and a byte (%zd given)",
            count);
    }
    return ips_sequence_index_of(args[0], &index) < 0
        ? NULL : ips_text_put(self, (ips_span){index, index, 1}, encode_one, args[1]);
}

static PyObject *
octets_pop(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    ips_sequence *self = (ips_sequence *)object;
    int64_t index = -1;
    PyObject *byte = NULL;
    if (count > 1) {
        return PyErr_Format(PyExc_TypeError, "pop() takes at most 1 argument (%zd given)", count);
    }
    if (ips_container_check(&self->base) < 0 ||
        (count == 1 && ips_sequence_index_of(args[0], &index) < 0)) {
        return NULL;
    }
    int status = ips_sequence_take(self, index, IPS_ROW_ANY, &byte);
    return status == IPS_ROW_RANGE ? ips_sequence_raise_range(object, "pop index")
           : status < 0            ? NULL
                                   : byte;
}

/* --- made */

static int
init(ips_sequence *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"name", "data", "namespace", "create", "cleanup", "max_size",
        "segment", NULL};
    PyObject *data = NULL;
    ips_container_where where = {0};
    return PyArg_ParseTupleAndKeywords(args, kwargs, "|OO$OOOOO:SharedBytes", names, &where.name,
               &data, &where.namespace_, &where.create, &where.cleanup, &where.max_size,
               &where.segment)
        ? ips_text_open(self, &where, &kind, data) : -1;
}

static int
octets_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    ips_sequence *self = (ips_sequence *)object;
    self->base.state = ips_state_of_type(Py_TYPE(object));
    if (self->base.state == NULL || ips_name_first(&args, &kwargs) < 0) {
        return -1;
    }
    int status = init(self, args, kwargs);
    Py_DECREF(args);
    Py_XDECREF(kwargs);
    return status;
}

static PyObject *
octets_restore(PyObject *type, PyObject *args)
{
    return ips_text_restore(type, args, &kind);
}

/* --- the type */

PyDoc_STRVAR(octets_doc,
    "SharedBytes(name=None, data=b'', *, namespace=None, create=None, cleanup=None,\n"
    "            max_size=None, segment=None)\n--\n\n"
    "A bytearray in shared memory, safe against the death of any process that uses it.\n\n"
    "What reads it works on the bytes of one moment and gives plain bytes; each\n"
    "change is one transaction.  It has no buffer to look at, as its memory moves:\n"
    "bytes(it) is a copy, and memory that stays is a SharedArray.\n\n"
    "SharedBytes.remove(name) removes a name, octets.remove(value) a byte.");

static PyMethodDef octets_methods[] = {
    {"set", ips_text_set, METH_O, "set($self, data, /)\n--\n\nBe these bytes from now on."},
    {"append", octets_append, METH_O, "append($self, value, /)\n--\n\nAdd a byte at the end."},
    {"extend", ips_text_extend, METH_O, "extend($self, data, /)\n--\n\n"
        "Add all these bytes at the end, in one transaction."},
    {"pop", (PyCFunction)(void (*)(void))octets_pop, METH_FASTCALL, "pop($self, index=-1, /)\n--\n\n"
        "Remove the byte at `index` and give it; IndexError where there is none."},
    {"clear", ips_text_clear, METH_NOARGS, "clear($self, /)\n--\n\nBe empty."},
    {"insert", (PyCFunction)(void (*)(void))octets_insert, METH_FASTCALL,
        "insert($self, index, value, /)\n--\n\nPut a byte before the one at `index`."},
    {"reverse", ips_sequence_reverse, METH_NOARGS, "reverse($self, /)\n--\n\n"
        "The bytes in the other order, at once."},
    {"copy", ips_text_copy, METH_NOARGS, "copy($self, /)\n--\n\nThe bytes of this moment."},
    {"check", ips_flat_object_check, METH_NOARGS, "check($self, /)\n--\n\n"
        "What is wrong with it: a list of lines, empty when it is sound."},
    {"__bytes__", ips_text_copy, METH_NOARGS, "__bytes__($self, /)\n--\n\ncopy()."},
    {"__copy__", ips_text_copy, METH_NOARGS, "__copy__($self, /)\n--\n\ncopy()."},
    {"__deepcopy__", ips_text_copy, METH_O, "__deepcopy__($self, memo, /)\n--\n\ncopy()."},
    IPS_CONTAINER_METHODS_BUT_REMOVE(octets_restore),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef octets_getsets[] = {
    IPS_CONTAINER_GETSETS,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef octets_members[] = {
    IPS_CONTAINER_WEAKREFS,
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot octets_slots[] = {
    IPS_TEXT_SLOTS,
    {Py_tp_doc, (void *)octets_doc},
    {Py_tp_init, (void *)octets_init},
    {Py_tp_methods, octets_methods},
    {Py_tp_getset, octets_getsets},
    {Py_tp_members, octets_members},
    {Py_nb_inplace_add, (void *)octets_extend_in_place},
    {Py_sq_inplace_repeat, (void *)ips_sequence_repeat_in_place},
    {0, NULL},
};

static PyType_Spec octets_spec = {
    .name = "ipcsys.SharedBytes",
    .basicsize = sizeof(ips_sequence),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = octets_slots,
};

int
ips_add_bytes(PyObject *module, ips_state *state)
{
    state->bytes_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &octets_spec, NULL);
    if (state->bytes_type == NULL ||
        ips_flat_add_methods(state->bytes_type, ips_bytes_reading_methods) < 0 ||
        ips_sequence_add_remove(module, state->bytes_type) < 0 ||
        PyModule_AddType(module, state->bytes_type) < 0) {
        return -1;
    }
    return ips_container_register(state->bytes_type, "MutableSequence");
}
