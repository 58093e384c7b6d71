/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.SharedBytes: bytes in shared memory that can be changed, with the
 * manners of bytearray.  Whatever reads them works on bytes of one moment. */
#include "bind/flat.h"

#include <string.h>

static const ips_flat_kind kind = {IPS_TYPE_BYTES, {'B', 1, false, false}};

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
        status = ips_sequence_encode_all(state, &kind.format, plain, out);
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
encode_byte(ips_state *state, PyObject *number, ips_snapshot *out)
{
    int status = ips_sequence_encode(state, &kind.format, number, out);
    if (status < 0 && PyErr_ExceptionMatches(PyExc_OverflowError)) {
        PyErr_SetString(PyExc_ValueError, "byte must be in range(0, 256)");
    }
    return status;
}

static PyObject *
part(ips_sequence *self, ips_span span)
{
    ips_snapshot snapshot = {0};
    int status = ips_sequence_snapshot(self, span, &snapshot);
    PyObject *bytes = status < 0 ? NULL
        : PyBytes_FromStringAndSize((const char *)snapshot.bytes, (Py_ssize_t)snapshot.records);
    ips_snapshot_clear(&snapshot);
    return bytes;
}

PyObject *
ips_bytes_plain(PyObject *self)
{
    return part((ips_sequence *)self, IPS_SPAN_ALL);
}

/* --- changing */

static int
splice(PyObject *object, ips_span span, PyObject *value)
{
    ips_sequence *self = (ips_sequence *)object;
    ips_snapshot bytes = {0};
    int status = ips_container_check(&self->base) < 0 ||
                         encode(self->base.state, value, &bytes) < 0
        ? -1 : ips_sequence_splice(self, span, &bytes);
    ips_snapshot_clear(&bytes);
    return status;
}

static PyObject *
none_or_null(int status)
{
    return status < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
octets_set(PyObject *self, PyObject *bytes)
{
    return none_or_null(splice(self, IPS_SPAN_ALL, bytes));
}

static PyObject *
octets_extend(PyObject *self, PyObject *bytes)
{
    return none_or_null(splice(self, IPS_SPAN_END, bytes));
}

static PyObject *
octets_extend_in_place(PyObject *self, PyObject *bytes)
{
    return splice(self, IPS_SPAN_END, bytes) < 0 ? NULL : Py_NewRef(self);
}

/* Put one byte in the place of `span`. */
static PyObject *
put_byte(PyObject *object, ips_span span, PyObject *number)
{
    ips_sequence *self = (ips_sequence *)object;
    ips_snapshot byte = {0};
    int status = ips_container_check(&self->base) < 0 ||
                         encode_byte(self->base.state, number, &byte) < 0
        ? -1 : ips_sequence_splice(self, span, &byte);
    ips_snapshot_clear(&byte);
    return none_or_null(status);
}

static PyObject *
octets_append(PyObject *self, PyObject *number)
{
    return put_byte(self, IPS_SPAN_END, number);
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
        ? NULL : put_byte(self, (ips_span){index, index, 1}, args[1]);
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

static PyObject *
octets_clear(PyObject *self, PyObject *unused)
{
    (void)unused;
    return none_or_null(ips_sequence_erase((ips_sequence *)self, IPS_SPAN_ALL));
}

static int
assign_slice(ips_sequence *self, ips_span span, PyObject *value)
{
    ips_snapshot bytes = {0};
    uint64_t count = 0;
    if (value == NULL) {
        return ips_sequence_erase(self, span);
    }
    if (span.step == 1) {
        return splice((PyObject *)self, span, value);
    }
    int status = encode(self->base.state, value, &bytes) < 0
        ? -1 : ips_sequence_assign(self, span, &bytes, &count);
    if (status == IPS_ROW_RANGE) {
        PyErr_Format(PyExc_ValueError,
            "attempt to assign bytes of size %llu to extended slice of size %llu",
            (unsigned long long)bytes.records, (unsigned long long)count);
    }
    ips_snapshot_clear(&bytes);
    return status == 0 ? 0 : -1;
}

static int
assign_at(ips_sequence *self, int64_t index, PyObject *value)
{
    ips_snapshot byte = {0};
    if (value != NULL && encode_byte(self->base.state, value, &byte) < 0) {
        return -1;
    }
    int status = value == NULL ? ips_sequence_take(self, index, IPS_ROW_ANY, NULL)
                               : ips_sequence_set(self, index, &byte);
    ips_snapshot_clear(&byte);
    if (status == IPS_ROW_RANGE) {
        (void)ips_sequence_raise_range((PyObject *)self, "assignment index");
    }
    return status == 0 ? 0 : -1;
}

/* --- indices and slices */

/* 0: *index; 1: *span; -1 with an exception set. */
static int
read_key(PyObject *self, PyObject *key, int64_t *index, ips_span *span)
{
    Py_ssize_t start, stop, step;
    if (ips_container_check((ips_container *)self) < 0) {
        return -1;
    }
    if (PyIndex_Check(key)) {
        return ips_sequence_index_of(key, index);
    }
    if (!PySlice_Check(key)) {
        PyErr_Format(PyExc_TypeError, "%s indices must be integers or slices, not %.200s",
            ips_short_name(self), Py_TYPE(key)->tp_name);
        return -1;
    }
    if (PySlice_Unpack(key, &start, &stop, &step) < 0) {
        return -1;
    }
    *span = (ips_span){start, stop, step};
    return 1;
}

static PyObject *
octets_subscript(PyObject *self, PyObject *key)
{
    int64_t index;
    ips_span span;
    int found = read_key(self, key, &index, &span);
    return found < 0    ? NULL
           : found == 0 ? ips_sequence_get((ips_sequence *)self, index)
                        : part((ips_sequence *)self, span);
}

static int
octets_assign(PyObject *self, PyObject *key, PyObject *value)
{
    int64_t index;
    ips_span span;
    int found = read_key(self, key, &index, &span);
    return found < 0    ? -1
           : found == 0 ? assign_at((ips_sequence *)self, index, value)
                        : assign_slice((ips_sequence *)self, span, value);
}

/* --- as bytes */

static PyObject *
octets_bytes(PyObject *self, PyObject *unused)
{
    (void)unused;
    return ips_bytes_plain(self);
}

static PyObject *
octets_repr(PyObject *self)
{
    const char *type = ips_short_name(self);
    if (((ips_sequence *)self)->base.home.segment == NULL) {
        return PyUnicode_FromFormat("<closed %s>", type);
    }
    PyObject *bytes = ips_bytes_plain(self);
    PyObject *result = bytes == NULL ? NULL : PyUnicode_FromFormat("%s(%R)", type, bytes);
    Py_XDECREF(bytes);
    return result;
}

static PyObject *
octets_iter(PyObject *self)
{
    PyObject *bytes = ips_bytes_plain(self);
    PyObject *result = bytes == NULL ? NULL : PyObject_GetIter(bytes);
    Py_XDECREF(bytes);
    return result;
}

/* `operation` of the plain values of both, in which bytes decide the rest. */
static PyObject *
with_both(PyObject *left, PyObject *right, PyObject *(*operation)(PyObject *, PyObject *))
{
    ips_state *state = ips_state_of_either(left, right);
    PyObject *first = state == NULL ? NULL : ips_plain_of(state, left);
    PyObject *second = first == NULL ? NULL : ips_plain_of(state, right);
    PyObject *result = second == NULL ? NULL
        : !PyObject_CheckBuffer(first) ? Py_NewRef(Py_NotImplemented)
                                       : operation(first, second);
    Py_XDECREF(first);
    Py_XDECREF(second);
    return result;
}

static PyObject *
octets_add(PyObject *left, PyObject *right)
{
    return with_both(left, right, PySequence_Concat);
}

static PyObject *
octets_modulo(PyObject *left, PyObject *right)
{
    ips_state *state = ips_state_of_either(left, right);
    if (state == NULL || !PyObject_TypeCheck(left, state->bytes_type)) {
        return state == NULL ? NULL : Py_NewRef(Py_NotImplemented);
    }
    return with_both(left, right, PyNumber_Remainder);
}

static PyObject *
octets_repeat(PyObject *self, Py_ssize_t times)
{
    PyObject *bytes = ips_bytes_plain(self);
    PyObject *result = bytes == NULL ? NULL : PySequence_Repeat(bytes, times);
    Py_XDECREF(bytes);
    return result;
}

static int
octets_contains(PyObject *self, PyObject *value)
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    PyObject *bytes = state == NULL ? NULL : ips_bytes_plain(self);
    PyObject *wanted = bytes == NULL ? NULL : ips_plain_of(state, value);
    int found = wanted == NULL ? -1 : PySequence_Contains(bytes, wanted);
    Py_XDECREF(bytes);
    Py_XDECREF(wanted);
    return found;
}

static PyObject *
octets_compare(PyObject *self, PyObject *other, int op)
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    if (state == NULL) {
        return NULL;
    }
    if (!PyObject_CheckBuffer(other) && !PyObject_TypeCheck(other, state->bytes_type)) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    PyObject *mine = ips_bytes_plain(self);
    PyObject *theirs = mine == NULL ? NULL : ips_plain_of(state, other);
    PyObject *result = theirs == NULL ? NULL : PyObject_RichCompare(mine, theirs, op);
    Py_XDECREF(mine);
    Py_XDECREF(theirs);
    return result;
}

/* --- made */

static int
init(ips_sequence *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"name", "data", "namespace", "create", "cleanup", "max_size",
        "segment", NULL};
    PyObject *data = NULL;
    ips_container_where where = {0};
    ips_snapshot values = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO$OOOOO:SharedBytes", names, &where.name,
            &data, &where.namespace_, &where.create, &where.cleanup, &where.max_size,
            &where.segment) ||
        (data != NULL && encode(self->base.state, data, &values) < 0)) {
        ips_snapshot_clear(&values);
        return -1;
    }
    int status = ips_flat_object_open(self, &where, &kind, &values);
    ips_snapshot_clear(&values);
    return status;
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
    return ips_flat_object_restore(type, args, &kind);
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
    {"set", octets_set, METH_O, "set($self, data, /)\n--\n\nBe these bytes from now on."},
    {"append", octets_append, METH_O, "append($self, value, /)\n--\n\nAdd a byte at the end."},
    {"extend", octets_extend, METH_O, "extend($self, data, /)\n--\n\n"
        "Add all these bytes at the end, in one transaction."},
    {"pop", (PyCFunction)(void (*)(void))octets_pop, METH_FASTCALL, "pop($self, index=-1, /)\n--\n\n"
        "Remove the byte at `index` and give it; IndexError where there is none."},
    {"clear", octets_clear, METH_NOARGS, "clear($self, /)\n--\n\nBe empty."},
    {"insert", (PyCFunction)(void (*)(void))octets_insert, METH_FASTCALL,
        "insert($self, index, value, /)\n--\n\nPut a byte before the one at `index`."},
    {"reverse", ips_sequence_reverse, METH_NOARGS, "reverse($self, /)\n--\n\n"
        "The bytes in the other order, at once."},
    {"copy", octets_bytes, METH_NOARGS, "copy($self, /)\n--\n\nThe bytes of this moment."},
    {"check", ips_flat_object_check, METH_NOARGS, "check($self, /)\n--\n\n"
        "What is wrong with it: a list of lines, empty when it is sound."},
    {"__bytes__", octets_bytes, METH_NOARGS, "__bytes__($self, /)\n--\n\ncopy()."},
    {"__copy__", octets_bytes, METH_NOARGS, "__copy__($self, /)\n--\n\ncopy()."},
    {"__deepcopy__", octets_bytes, METH_O, "__deepcopy__($self, memo, /)\n--\n\ncopy()."},
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
    {Py_tp_doc, (void *)octets_doc},
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_init, (void *)octets_init},
    {Py_tp_dealloc, (void *)ips_container_dealloc},
    {Py_tp_traverse, (void *)ips_container_traverse},
    {Py_tp_clear, (void *)ips_container_clear},
    {Py_tp_repr, (void *)octets_repr},
    {Py_tp_hash, (void *)PyObject_HashNotImplemented},
    {Py_tp_richcompare, (void *)octets_compare},
    {Py_tp_iter, (void *)octets_iter},
    {Py_tp_methods, octets_methods},
    {Py_tp_getset, octets_getsets},
    {Py_tp_members, octets_members},
    {Py_mp_subscript, (void *)octets_subscript},
    {Py_mp_ass_subscript, (void *)octets_assign},
    {Py_mp_length, (void *)ips_sequence_length},
    {Py_sq_length, (void *)ips_sequence_length},
    {Py_sq_contains, (void *)octets_contains},
    {Py_sq_repeat, (void *)octets_repeat},
    {Py_nb_add, (void *)octets_add},
    {Py_nb_remainder, (void *)octets_modulo},
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
