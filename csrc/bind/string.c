/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.SharedString: text in shared memory that can be changed.  Whatever
 * reads it works on a str of one moment; changes of a part are one transaction
 * that looks at nothing else. */
#include "bind/text.h"

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

/* Those of a single character. */
static int
encode_one(ips_state *state, PyObject *value, ips_snapshot *out)
{
    int status = encode(state, value, out);
    if (status == 0 && out->records != 1) {
        PyErr_SetString(PyExc_ValueError, "one character replaces one: assign to a slice for more");
        status = -1;
    }
    return status;
}

static PyObject *
decode(const ips_sequence *self, const ips_snapshot *snapshot)
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
decode_one(ips_sequence *self, int64_t index)
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

static bool
is_text(PyObject *plain)
{
    return PyUnicode_Check(plain);
}

static const ips_text_kind kind = {
    .flat = {IPS_TYPE_STRING, {'w', 4, false, false}},
    .noun = "text",
    .encode = encode,
    .encode_one = encode_one,
    .decode = decode,
    .decode_one = decode_one,
    .is_text = is_text,
};

/* --- what str has not */

static PyObject *
string_append_in_place(PyObject *self, PyObject *text)
{
    if (!PyUnicode_Check(text) && Py_TYPE(text) != Py_TYPE(self)) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    return ips_text_splice(self, IPS_SPAN_END, encode, text) < 0 ? NULL : Py_NewRef(self);
}

static PyObject *
string_insert(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    int64_t index;
    if (count != 2) {
        return PyErr_Format(PyExc_TypeError, "insert() takes an index and text (%zd given)", count);
    }
    return ips_sequence_index_of(args[0], &index) < 0
        ? NULL : ips_text_put(self, (ips_span){index, index, 1}, encode, args[1]);
}

static PyObject *
string_format(PyObject *self, PyObject *spec)
{
    PyObject *text = ips_text_plain(self);
    PyObject *result = text == NULL ? NULL : PyObject_Format(text, spec);
    Py_XDECREF(text);
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
    return PyArg_ParseTupleAndKeywords(args, kwargs, "|OO$OOOOO:SharedString", names, &where.name,
               &text, &where.namespace_, &where.create, &where.cleanup, &where.max_size,
               &where.segment)
        ? ips_text_open(self, &where, &kind, text) : -1;
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
    return ips_text_restore(type, args, &kind);
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
    {"set", ips_text_set, METH_O, "set($self, text, /)\n--\n\nBe this text from now on."},
    {"append", ips_text_extend, METH_O, "append($self, text, /)\n--\n\nAdd text at the end."},
    {"insert", (PyCFunction)(void (*)(void))string_insert, METH_FASTCALL,
        "insert($self, index, text, /)\n--\n\nPut text before the character at `index`."},
    {"clear", ips_text_clear, METH_NOARGS, "clear($self, /)\n--\n\nBe empty."},
    {"copy", ips_text_copy, METH_NOARGS, "copy($self, /)\n--\n\nThe text of this moment, a str."},
    {"check", ips_flat_object_check, METH_NOARGS, "check($self, /)\n--\n\n"
        "What is wrong with it: a list of lines, empty when it is sound."},
    {"__format__", string_format, METH_O, "__format__($self, format_spec, /)\n--\n\n"
        "As str.__format__."},
    {"__copy__", ips_text_copy, METH_NOARGS, "__copy__($self, /)\n--\n\ncopy()."},
    {"__deepcopy__", ips_text_copy, METH_O, "__deepcopy__($self, memo, /)\n--\n\ncopy()."},
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
    IPS_TEXT_SLOTS,
    {Py_tp_doc, (void *)string_doc},
    {Py_tp_init, (void *)string_init},
    {Py_tp_str, (void *)ips_text_plain},
    {Py_tp_methods, string_methods},
    {Py_tp_getset, string_getsets},
    {Py_tp_members, string_members},
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
