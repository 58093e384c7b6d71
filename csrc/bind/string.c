/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.SharedString: text in shared memory that can be changed.  Whatever
 * reads it works on a str of one moment; changes of a part are one transaction
 * that looks at nothing else. */
#include "bind/flat.h"

#include <string.h>

static const ips_flat_kind kind = {IPS_TYPE_STRING, {'w', 4, false, false}};

/* --- text on its way in and out */

static PyObject *
raise_not_text(PyObject *value)
{
    return PyErr_Format(PyExc_TypeError, "a SharedString holds str, not %.200s",
        Py_TYPE(value)->tp_name);
}

/* The code points of a str or SharedString; 0 or -1. */
static int
encode(ips_state *state, PyObject *value, ips_snapshot *out)
{
    PyObject *text = ips_plain_of(state, value);
    if (text == NULL || !PyUnicode_Check(text)) {
        if (text != NULL) {
            (void)raise_not_text(value);
            Py_DECREF(text);
        }
        return -1;
    }
    Py_ssize_t length = PyUnicode_GET_LENGTH(text);
    int status = 0;
    if (length != 0) {
        uint8_t *to = ips_snapshot_extend(out, (size_t)length * 4);
        status = to == NULL ? IPS_ENOMEM : 0;
        if (to == NULL) {
            (void)ips_raise(state, IPS_ENOMEM);
        } else if (PyUnicode_AsUCS4(text, (Py_UCS4 *)(void *)to, length, 0) == NULL) {
            status = -1;
        }
    }
    out->records += (uint64_t)length;
    Py_DECREF(text);
    return status < 0 ? -1 : 0;
}

static PyObject *
decode(ips_sequence *self, const ips_snapshot *snapshot)
{
    const Py_UCS4 *points = (const Py_UCS4 *)(const void *)snapshot->bytes;
    if (snapshot->records == 0) {
        return PyUnicode_FromString("");
    }
    for (uint64_t i = 0; i < snapshot->records; i++) {
        if (points[i] > 0x10ffff) {
            return ips_raise_text(self->base.state, IPS_ECORRUPT,
                "SharedString at offset %llu: no character is 0x%x",
                (unsigned long long)self->flat.offset, (unsigned)points[i]);
        }
    }
    return PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, points, (Py_ssize_t)snapshot->records);
}

static PyObject *
part(ips_sequence *self, ips_span span)
{
    ips_snapshot snapshot = {0};
    int status = ips_sequence_snapshot(self, span, &snapshot);
    PyObject *text = status < 0 ? NULL : decode(self, &snapshot);
    ips_snapshot_clear(&snapshot);
    return text;
}

PyObject *
ips_string_plain(PyObject *self)
{
    return part((ips_sequence *)self, IPS_SPAN_ALL);
}

/* --- changing */

static int
splice(PyObject *object, ips_span span, PyObject *value)
{
    ips_sequence *self = (ips_sequence *)object;
    ips_snapshot text = {0};
    int status = ips_container_check(&self->base) < 0 ||
                         encode(self->base.state, value, &text) < 0
        ? -1 : ips_sequence_splice(self, span, &text);
    ips_snapshot_clear(&text);
    return status;
}

static PyObject *
none_or_null(int status)
{
    return status < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
string_set(PyObject *self, PyObject *text)
{
    return none_or_null(splice(self, IPS_SPAN_ALL, text));
}

static PyObject *
string_append(PyObject *self, PyObject *text)
{
    return none_or_null(splice(self, IPS_SPAN_END, text));
}

static PyObject *
string_append_in_place(PyObject *self, PyObject *text)
{
    if (!PyUnicode_Check(text) && Py_TYPE(text) != Py_TYPE(self)) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    return splice(self, IPS_SPAN_END, text) < 0 ? NULL : Py_NewRef(self);
}

static PyObject *
string_insert(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    int64_t index;
    if (count != 2) {
        return PyErr_Format(PyExc_TypeError, "insert() takes an index and text (%zd given)", count);
    }
    return ips_sequence_index_of(args[0], &index) < 0
        ? NULL : none_or_null(splice(self, (ips_span){index, index, 1}, args[1]));
}

static PyObject *
string_clear(PyObject *self, PyObject *unused)
{
    (void)unused;
    return none_or_null(ips_sequence_erase((ips_sequence *)self, IPS_SPAN_ALL));
}

static int
assign_slice(ips_sequence *self, ips_span span, PyObject *value)
{
    ips_snapshot text = {0};
    uint64_t count = 0;
    if (value == NULL) {
        return ips_sequence_erase(self, span);
    }
    if (span.step == 1) {
        return splice((PyObject *)self, span, value);
    }
    int status = encode(self->base.state, value, &text) < 0
        ? -1 : ips_sequence_assign(self, span, &text, &count);
    if (status == IPS_ROW_RANGE) {
        PyErr_Format(PyExc_ValueError,
            "attempt to assign text of length %llu to extended slice of size %llu",
            (unsigned long long)text.records, (unsigned long long)count);
    }
    ips_snapshot_clear(&text);
    return status == 0 ? 0 : -1;
}

static int
assign_at(ips_sequence *self, int64_t index, PyObject *value)
{
    ips_snapshot text = {0};
    if (value != NULL && encode(self->base.state, value, &text) < 0) {
        return -1;
    }
    if (value != NULL && text.records != 1) {
        ips_snapshot_clear(&text);
        PyErr_SetString(PyExc_ValueError, "one character replaces one: assign to a slice for more");
        return -1;
    }
    int status = value == NULL ? ips_sequence_take(self, index, IPS_ROW_ANY, NULL)
                               : ips_sequence_set(self, index, &text);
    ips_snapshot_clear(&text);
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
character(ips_sequence *self, int64_t index)
{
    PyObject *point = ips_sequence_get(self, index);
    if (point == NULL) {
        return NULL;
    }
    uint32_t value = (uint32_t)PyLong_AsUnsignedLong(point);
    ips_snapshot one = {(uint8_t *)&value, 4, 4, 1, 0};
    Py_DECREF(point);
    return decode(self, &one);
}

static PyObject *
string_subscript(PyObject *self, PyObject *key)
{
    int64_t index;
    ips_span span;
    int found = read_key(self, key, &index, &span);
    return found < 0    ? NULL
           : found == 0 ? character((ips_sequence *)self, index)
                        : part((ips_sequence *)self, span);
}

static int
string_assign(PyObject *self, PyObject *key, PyObject *value)
{
    int64_t index;
    ips_span span;
    int found = read_key(self, key, &index, &span);
    return found < 0    ? -1
           : found == 0 ? assign_at((ips_sequence *)self, index, value)
                        : assign_slice((ips_sequence *)self, span, value);
}

/* --- as a str */

static PyObject *
string_str(PyObject *self)
{
    return ips_string_plain(self);
}

static PyObject *
string_copy(PyObject *self, PyObject *unused)
{
    (void)unused;
    return ips_string_plain(self);
}

static PyObject *
string_repr(PyObject *self)
{
    const char *type = ips_short_name(self);
    if (((ips_sequence *)self)->base.home.segment == NULL) {
        return PyUnicode_FromFormat("<closed %s>", type);
    }
    PyObject *text = ips_string_plain(self);
    PyObject *result = text == NULL ? NULL : PyUnicode_FromFormat("%s(%R)", type, text);
    Py_XDECREF(text);
    return result;
}

static PyObject *
string_format(PyObject *self, PyObject *spec)
{
    PyObject *text = ips_string_plain(self);
    PyObject *result = text == NULL ? NULL : PyObject_Format(text, spec);
    Py_XDECREF(text);
    return result;
}

static PyObject *
string_iter(PyObject *self)
{
    PyObject *text = ips_string_plain(self);
    PyObject *result = text == NULL ? NULL : PyObject_GetIter(text);
    Py_XDECREF(text);
    return result;
}

/* `operation` of the plain values of both; NotImplemented where one is no text. */
static PyObject *
with_both(PyObject *left, PyObject *right, PyObject *(*operation)(PyObject *, PyObject *))
{
    ips_state *state = ips_state_of_either(left, right);
    PyObject *first = state == NULL ? NULL : ips_plain_of(state, left);
    PyObject *second = first == NULL ? NULL : ips_plain_of(state, right);
    PyObject *result = second == NULL ? NULL
        : !PyUnicode_Check(first)     ? Py_NewRef(Py_NotImplemented)
                                      : operation(first, second);
    Py_XDECREF(first);
    Py_XDECREF(second);
    return result;
}

static PyObject *
concatenate(PyObject *left, PyObject *right)
{
    return PyUnicode_Check(right) ? PyUnicode_Concat(left, right)
                                  : Py_NewRef(Py_NotImplemented);
}

static PyObject *
string_add(PyObject *left, PyObject *right)
{
    return with_both(left, right, concatenate);
}

static PyObject *
string_modulo(PyObject *left, PyObject *right)
{
    ips_state *state = ips_state_of_either(left, right);
    if (state == NULL || !PyObject_TypeCheck(left, state->string_type)) {
        return state == NULL ? NULL : Py_NewRef(Py_NotImplemented);
    }
    return with_both(left, right, PyUnicode_Format);
}

static PyObject *
string_repeat(PyObject *self, Py_ssize_t times)
{
    PyObject *text = ips_string_plain(self);
    PyObject *result = text == NULL ? NULL : PySequence_Repeat(text, times);
    Py_XDECREF(text);
    return result;
}

static int
string_contains(PyObject *self, PyObject *value)
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    PyObject *text = state == NULL ? NULL : ips_string_plain(self);
    PyObject *wanted = text == NULL ? NULL : ips_plain_of(state, value);
    int found = wanted == NULL ? -1 : PyUnicode_Contains(text, wanted);
    Py_XDECREF(text);
    Py_XDECREF(wanted);
    return found;
}

static PyObject *
string_compare(PyObject *self, PyObject *other, int op)
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    if (state == NULL) {
        return NULL;
    }
    if (!PyUnicode_Check(other) && !PyObject_TypeCheck(other, state->string_type)) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    PyObject *mine = ips_string_plain(self);
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
    static char *names[] = {"name", "text", "namespace", "create", "cleanup", "max_size",
        "segment", NULL};
    PyObject *text = NULL;
    ips_container_where where = {0};
    ips_snapshot values = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO$OOOOO:SharedString", names, &where.name,
            &text, &where.namespace_, &where.create, &where.cleanup, &where.max_size,
            &where.segment) ||
        (text != NULL && encode(self->base.state, text, &values) < 0)) {
        ips_snapshot_clear(&values);
        return -1;
    }
    int status = ips_flat_object_open(self, &where, &kind, &values);
    ips_snapshot_clear(&values);
    return status;
}

static int
string_init(PyObject *object, PyObject *args, PyObject *kwargs)
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
string_restore(PyObject *type, PyObject *args)
{
    return ips_flat_object_restore(type, args, &kind);
}

/* --- the type */

PyDoc_STRVAR(string_doc,
    "SharedString(name=None, text='', *, namespace=None, create=None, cleanup=None,\n"
    "             max_size=None, segment=None)\n--\n\n"
    "Text in shared memory that processes change, safe against the death of any of them.\n\n"
    "It has all of str's methods, which work on the text of one moment and give\n"
    "plain values; set(), append(), insert(), clear(), += and assignment to indices\n"
    "and slices change it, each in one transaction.  It has no hash.  A character\n"
    "takes four bytes: any part is reached at once.  A destroyed one raises\n"
    "ObjectGone, a full segment SegmentFull.");

static PyMethodDef string_methods[] = {
    {"set", string_set, METH_O, "set($self, text, /)\n--\n\nBe this text from now on."},
    {"append", string_append, METH_O, "append($self, text, /)\n--\n\nAdd text at the end."},
    {"insert", (PyCFunction)(void (*)(void))string_insert, METH_FASTCALL,
        "insert($self, index, text, /)\n--\n\nPut text before the character at `index`."},
    {"clear", string_clear, METH_NOARGS, "clear($self, /)\n--\n\nBe empty."},
    {"copy", string_copy, METH_NOARGS, "copy($self, /)\n--\n\nThe text of this moment, a str."},
    {"check", ips_flat_object_check, METH_NOARGS, "check($self, /)\n--\n\n"
        "What is wrong with it: a list of lines, empty when it is sound."},
    {"__format__", string_format, METH_O, "__format__($self, format_spec, /)\n--\n\n"
        "As str.__format__."},
    {"__copy__", string_copy, METH_NOARGS, "__copy__($self, /)\n--\n\ncopy()."},
    {"__deepcopy__", string_copy, METH_O, "__deepcopy__($self, memo, /)\n--\n\ncopy()."},
    IPS_CONTAINER_METHODS(string_restore),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef string_getsets[] = {
    IPS_CONTAINER_GETSETS,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef string_members[] = {
    IPS_CONTAINER_WEAKREFS,
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot string_slots[] = {
    {Py_tp_doc, (void *)string_doc},
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_init, (void *)string_init},
    {Py_tp_dealloc, (void *)ips_container_dealloc},
    {Py_tp_traverse, (void *)ips_container_traverse},
    {Py_tp_clear, (void *)ips_container_clear},
    {Py_tp_repr, (void *)string_repr},
    {Py_tp_str, (void *)string_str},
    {Py_tp_hash, (void *)PyObject_HashNotImplemented},
    {Py_tp_richcompare, (void *)string_compare},
    {Py_tp_iter, (void *)string_iter},
    {Py_tp_methods, string_methods},
    {Py_tp_getset, string_getsets},
    {Py_tp_members, string_members},
    {Py_mp_subscript, (void *)string_subscript},
    {Py_mp_ass_subscript, (void *)string_assign},
    {Py_mp_length, (void *)ips_sequence_length},
    {Py_sq_length, (void *)ips_sequence_length},
    {Py_sq_contains, (void *)string_contains},
    {Py_sq_repeat, (void *)string_repeat},
    {Py_nb_add, (void *)string_add},
    {Py_nb_remainder, (void *)string_modulo},
    {Py_nb_inplace_add, (void *)string_append_in_place},
    {0, NULL},
};

static PyType_Spec string_spec = {
    .name = "ipcsys.SharedString",
    .basicsize = sizeof(ips_sequence),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = string_slots,
};

int
ips_add_string(PyObject *module, ips_state *state)
{
    state->string_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &string_spec, NULL);
    if (state->string_type == NULL ||
        ips_flat_add_methods(state->string_type, ips_string_reading_methods) < 0 ||
        PyModule_AddType(module, state->string_type) < 0) {
        return -1;
    }
    return ips_container_register(state->string_type, "Sequence");
}
