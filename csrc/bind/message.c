/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.Message: the envelope that nodes and brokers exchange.  Its fields
 * do not change once it is made (the dict of headers may): replace() makes
 * another one. */
#include "bind/message.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <structmember.h>

#include "os/clock.h"
#include "os/file.h"
#include "os/process.h"

static const char *const field_names[IPS_MESSAGE_FIELDS] = {
    "type", "id", "sender", "correlation_id", "reply_to", "timestamp", "headers", "data",
};

enum { NOTIFICATION = 3 }; /* ipcsys/message.py */

/* Ids ---------------------------------------------------------------------- */

/* Ids count up from a random number of 62 bits, so that those of processes
 * that share a sender's name, one after the other or by fork, do not meet.
 * The page is wiped in a forked child, which therefore starts anew. */
static _Atomic uint64_t *next_id;
static int next_id_status;
static pthread_once_t next_id_once = PTHREAD_ONCE_INIT;

static void
make_next_id(void)
{
    void *page = NULL;
    next_id_status = ips_wiped_on_fork(sizeof(*next_id), &page);
    next_id = (_Atomic uint64_t *)page;
}

static PyObject *
fresh_id(ips_state *state)
{
    (void)pthread_once(&next_id_once, make_next_id);
    if (next_id_status != IPS_OK) {
        return ips_raise(state, next_id_status);
    }
    /* relaxed, all three: the ids need to differ and order nothing. */
    if (atomic_load_explicit(next_id, memory_order_relaxed) == 0) {
        uint64_t start, unset = 0;
        int status = ips_random(&start, sizeof(start));
        if (status != IPS_OK) {
            return ips_raise(state, status);
        }
        /* relaxed: one of several threads sets the start, whichever. */
        (void)atomic_compare_exchange_strong_explicit(next_id, &unset, start >> 2 | 1,
                                                      memory_order_relaxed, memory_order_relaxed);
    }
    return PyLong_FromUnsignedLongLong(atomic_fetch_add_explicit(next_id, 1, memory_order_relaxed));
}

/* Fields ------------------------------------------------------------------- */

/* MessageType's member of this number, from ipcsys.message at first use. */
static PyObject *
kind_of_number(ips_state *state, long number)
{
    if (state->message_kinds[0] == NULL) {
        PyObject *module = PyImport_ImportModule("ipcsys.message");
        PyObject *kinds = module == NULL ? NULL : PyObject_GetAttrString(module, "MessageType");
        Py_XDECREF(module);
        for (long i = 1; kinds != NULL && i < IPS_MESSAGE_KINDS; i++) {
            PyObject *kind = PyObject_CallFunction(kinds, "l", i);
            if (kind == NULL) {
                Py_CLEAR(kinds);
                break;
            }
            Py_XSETREF(state->message_kinds[i], kind);
        }
        if (kinds == NULL) {
            return NULL;
        }
        Py_XSETREF(state->message_kinds[0], kinds);
    }
    if (number < 1 || number >= IPS_MESSAGE_KINDS) {
        return PyErr_Format(PyExc_ValueError, "type must be a MessageType: 1 to 5");
    }
    return Py_NewRef(state->message_kinds[number]);
}

static PyObject *
wrong_type(int field, const char *wanted, PyObject *given)
{
    return PyErr_Format(PyExc_TypeError, "%s must be %s, not %.100s", field_names[field], wanted,
                        Py_TYPE(given)->tp_name);
}

static PyObject *
kind_field(ips_state *state, PyObject *given)
{
    if (given == NULL) {
        return kind_of_number(state, NOTIFICATION);
    }
    if (!PyLong_Check(given) || PyBool_Check(given)) {
        return wrong_type(IPS_MESSAGE_TYPE, "a MessageType", given);
    }
    int beyond;
    long number = PyLong_AsLongAndOverflow(given, &beyond);
    return kind_of_number(state, beyond != 0 ? 0 : number);
}

static PyObject *
id_field(int field, PyObject *given)
{
    if (!PyLong_Check(given) || PyBool_Check(given)) {
        return wrong_type(field, field == IPS_MESSAGE_ID ? "an int" : "an int or None", given);
    }
    unsigned long long number = PyLong_AsUnsignedLongLong(given);
    if (number == (unsigned long long)-1 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_OverflowError)) {
            PyErr_Format(PyExc_ValueError, "%s must be from 0 to 2**64 - 1", field_names[field]);
        }
        return NULL;
    }
    return PyLong_CheckExact(given) ? Py_NewRef(given) : PyLong_FromUnsignedLongLong(number);
}

static PyObject *
text_field(int field, PyObject *given)
{
    if (!PyUnicode_Check(given)) {
        return wrong_type(field, field == IPS_MESSAGE_SENDER ? "a str" : "a str or None", given);
    }
    return PyUnicode_FromObject(given); /* of str itself */
}

static PyObject *
timestamp_field(PyObject *given)
{
    if (given == NULL) {
        return PyFloat_FromDouble((double)ips_wall_clock() / 1e9);
    }
    double seconds = PyFloat_AsDouble(given);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return PyErr_ExceptionMatches(PyExc_TypeError)
                   ? wrong_type(IPS_MESSAGE_TIMESTAMP, "a number or None", given) : NULL;
    }
    if (!isfinite(seconds)) {
        PyErr_SetString(PyExc_ValueError, "timestamp must be a finite number of seconds");
        return NULL;
    }
    return PyFloat_CheckExact(given) ? Py_NewRef(given) : PyFloat_FromDouble(seconds);
}

static PyObject *
headers_field(PyObject *given, bool fresh)
{
    if (given == NULL) {
        return PyDict_New();
    }
    if (fresh && PyDict_CheckExact(given)) {
        return Py_NewRef(given);
    }
    return PyDict_Check(given) ? PyDict_Copy(given)
                               : wrong_type(IPS_MESSAGE_HEADERS, "a dict or None", given);
}

/* New reference to what the field will hold.  None stands for the default. */
static PyObject *
checked_field(ips_state *state, int field, PyObject *given, bool fresh)
{
    if (field == IPS_MESSAGE_DATA) {
        return Py_NewRef(given == NULL ? Py_None : given);
    }
    given = given == Py_None ? NULL : given;
    switch (field) {
    case IPS_MESSAGE_TYPE: return kind_field(state, given);
    case IPS_MESSAGE_ID: return given == NULL ? fresh_id(state) : id_field(field, given);
    case IPS_MESSAGE_CORRELATION_ID: return given == NULL ? Py_NewRef(Py_None) : id_field(field, given);
    case IPS_MESSAGE_SENDER: return given == NULL ? PyUnicode_New(0, 0) : text_field(field, given);
    case IPS_MESSAGE_REPLY_TO: return given == NULL ? Py_NewRef(Py_None) : text_field(field, given);
    case IPS_MESSAGE_TIMESTAMP: return timestamp_field(given);
    default: return headers_field(given, fresh);
    }
}

PyObject *
ips_message_make(PyTypeObject *type, PyObject *const given[IPS_MESSAGE_FIELDS], bool fresh)
{
    /* All fields first: whoever lists the collector's objects may meet the
     * message as soon as it is allocated. */
    ips_state *state = ips_state_of_type(type);
    PyObject *fields[IPS_MESSAGE_FIELDS];
    int made = 0;
    while (state != NULL && made < IPS_MESSAGE_FIELDS &&
           (fields[made] = checked_field(state, made, given[made], fresh)) != NULL) {
        made++;
    }
    PyObject *self = made == IPS_MESSAGE_FIELDS ? type->tp_alloc(type, 0) : NULL;
    if (self == NULL) {
        while (made > 0) {
            Py_DECREF(fields[--made]);
        }
        return NULL;
    }
    memcpy(((ips_message_object *)self)->field, fields, sizeof fields);
    return self;
}

/* Making ------------------------------------------------------------------- */

static int
place_keyword(PyObject *name, PyObject *value, PyObject **given)
{
    for (int i = 0; i < IPS_MESSAGE_FIELDS; i++) {
        if (PyUnicode_CompareWithASCIIString(name, field_names[i]) == 0) {
            if (given[i] != NULL) {
                PyErr_Format(PyExc_TypeError, "Message() got two values for '%U'", name);
                return -1;
            }
            given[i] = value;
            return 0;
        }
    }
    PyErr_Format(PyExc_TypeError, "a Message has no field '%U'", name);
    return -1;
}

static int
place_positional(PyObject *const *args, Py_ssize_t count, PyObject **given)
{
    static const int places[] = {IPS_MESSAGE_TYPE, IPS_MESSAGE_DATA};
    if (count > 2) {
        PyErr_Format(PyExc_TypeError, "Message() takes at most 2 positional arguments, not %zd", count);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        given[places[i]] = args[i];
    }
    return 0;
}

static PyObject *
message_vectorcall(PyObject *type, PyObject *const *args, size_t flagged, PyObject *names)
{
    PyObject *given[IPS_MESSAGE_FIELDS] = {NULL};
    Py_ssize_t count = PyVectorcall_NARGS(flagged);
    if (place_positional(args, count, given) < 0) {
        return NULL;
    }
    for (Py_ssize_t i = 0; names != NULL && i < PyTuple_GET_SIZE(names); i++) {
        if (place_keyword(PyTuple_GET_ITEM(names, i), args[count + i], given) < 0) {
            return NULL;
        }
    }
    return ips_message_make((PyTypeObject *)type, given, false);
}

static int
place_keywords(PyObject *kwargs, PyObject **given)
{
    PyObject *name, *value;
    Py_ssize_t at = 0;
    while (kwargs != NULL && PyDict_Next(kwargs, &at, &name, &value)) {
        if (place_keyword(name, value, given) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Subclasses come here; Message itself has the vectorcall. */
static PyObject *
message_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *given[IPS_MESSAGE_FIELDS] = {NULL};
    PyObject **first = ((PyTupleObject *)args)->ob_item;
    if (place_positional(first, PyTuple_GET_SIZE(args), given) < 0 ||
        place_keywords(kwargs, given) < 0) {
        return NULL;
    }
    return ips_message_make(type, given, false);
}

PyDoc_STRVAR(replace_doc, "replace($self, /, **changes)\n--\n\n"
"A copy with some fields changed: message.replace(sender=\"printer\").");

static PyObject *
message_replace(PyObject *op, PyObject *args, PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args) != 0) {
        PyErr_SetString(PyExc_TypeError, "replace() takes keyword arguments only");
        return NULL;
    }
    const ips_message_object *self = (const ips_message_object *)op;
    PyObject *given[IPS_MESSAGE_FIELDS] = {NULL};
    if (place_keywords(kwargs, given) < 0) {
        return NULL;
    }
    for (int i = 0; i < IPS_MESSAGE_FIELDS; i++) {
        given[i] = given[i] == NULL ? self->field[i] : given[i];
    }
    return ips_message_make(Py_TYPE(op), given, false);
}

/* Behaviour ------------------------------------------------------------------ */

PyDoc_STRVAR(getnewargs_doc, "__getnewargs_ex__($self, /)\n--\n\nWhat pickle and copy make it anew of.");

static PyObject *
message_getnewargs(PyObject *op, PyObject *unused)
{
    (void)unused;
    const ips_message_object *self = (const ips_message_object *)op;
    PyObject *keywords = PyDict_New();
    for (int i = IPS_MESSAGE_ID; keywords != NULL && i < IPS_MESSAGE_DATA; i++) {
        if (PyDict_SetItemString(keywords, field_names[i], self->field[i]) < 0) {
            Py_CLEAR(keywords);
        }
    }
    return keywords == NULL ? NULL
                            : Py_BuildValue("((OO)N)", self->field[IPS_MESSAGE_TYPE],
                                            self->field[IPS_MESSAGE_DATA], keywords);
}

static PyObject *
message_compare(PyObject *left, PyObject *right, int op)
{
    ips_state *state = ips_state_of_type(Py_TYPE(left));
    if (state == NULL) {
        return NULL;
    }
    if ((op != Py_EQ && op != Py_NE) || !PyObject_TypeCheck(right, state->message_type)) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    int equal = 1;
    for (int i = 0; i < IPS_MESSAGE_FIELDS && equal == 1; i++) {
        equal = PyObject_RichCompareBool(((ips_message_object *)left)->field[i],
                                         ((ips_message_object *)right)->field[i], Py_EQ);
    }
    return equal < 0 ? NULL : PyBool_FromLong(equal == (op == Py_EQ));
}

static int
add_part(PyObject *parts, PyObject *part)
{
    int status = part == NULL ? -1 : PyList_Append(parts, part);
    Py_XDECREF(part);
    return status;
}

/* Type and data as they are given to the constructor; then what is not empty. */
static PyObject *
described(const ips_message_object *self)
{
    PyObject *parts = PyList_New(0);
    if (parts == NULL) {
        return NULL;
    }
    PyObject *kind = PyObject_GetAttrString(self->field[IPS_MESSAGE_TYPE], "name");
    int status = kind == NULL ? -1 : add_part(parts, PyUnicode_FromFormat("MessageType.%S", kind));
    Py_XDECREF(kind);
    if (status == 0) {
        status = add_part(parts, PyObject_Repr(self->field[IPS_MESSAGE_DATA]));
    }
    for (int i = IPS_MESSAGE_ID; i < IPS_MESSAGE_DATA && status == 0; i++) {
        PyObject *value = self->field[i];
        int filled = PyLong_Check(value) ? 1 : PyObject_IsTrue(value);
        status = filled <= 0 ? filled
                             : add_part(parts, PyUnicode_FromFormat("%s=%R", field_names[i], value));
    }
    PyObject *comma = status == 0 ? PyUnicode_FromString(", ") : NULL;
    PyObject *text = comma == NULL ? NULL : PyUnicode_Join(comma, parts);
    Py_XDECREF(comma);
    Py_DECREF(parts);
    return text;
}

static PyObject *
message_repr(PyObject *op)
{
    int entered = Py_ReprEnter(op);
    if (entered != 0) {
        return entered < 0 ? NULL : PyUnicode_FromString("Message(...)");
    }
    PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(op), "__name__");
    PyObject *inside = name == NULL ? NULL : described((ips_message_object *)op);
    PyObject *text = inside == NULL ? NULL : PyUnicode_FromFormat("%U(%U)", name, inside);
    Py_XDECREF(inside);
    Py_XDECREF(name);
    Py_ReprLeave(op);
    return text;
}

static int
message_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    for (int i = 0; i < IPS_MESSAGE_FIELDS; i++) {
        Py_VISIT(((ips_message_object *)op)->field[i]);
    }
    return 0;
}

/* Cycles can run through headers and data alone; the other fields are leaves,
 * and stay, so that no method ever meets an empty one. */
static int
message_clear(PyObject *op)
{
    PyObject **field = ((ips_message_object *)op)->field;
    Py_XSETREF(field[IPS_MESSAGE_DATA], Py_NewRef(Py_None));
    PyDict_Clear(field[IPS_MESSAGE_HEADERS]);
    return 0;
}

static void
message_dealloc(PyObject *op)
{
    ips_message_object *self = (ips_message_object *)op;
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    Py_TRASHCAN_BEGIN(op, message_dealloc) /* messages in messages in messages */
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs(op);
    }
    for (int i = 0; i < IPS_MESSAGE_FIELDS; i++) {
        Py_CLEAR(self->field[i]);
    }
    type->tp_free(op);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

/* The type ------------------------------------------------------------------- */

PyDoc_STRVAR(message_doc, "Message(type=MessageType.NOTIFICATION, data=None, *, id=None, sender='', "
"correlation_id=None, reply_to=None, timestamp=None, headers=None)\n--\n\n"
"What travels between nodes: a value in an envelope.\n\n"
"`id` and `timestamp` are given where they are left out.  The fields cannot be\n"
"set; replace() makes a copy with other ones.");

PyDoc_STRVAR(to_bytes_doc, "to_bytes($self, /, *, allow_pickle=True)\n--\n\n"
"The message as bytes for from_bytes().\n\n"
"Data that MessagePack does not know is pickled, or raises EncodeError.");

PyDoc_STRVAR(from_bytes_doc, "from_bytes($type, data, /, *, allow_pickle=True)\n--\n\n"
"The message that to_bytes() made these bytes of.\n\n"
"Raises DecodeError, whose `data` has the bytes, where they make no sense.\n"
"Unpickling runs code: use allow_pickle=False with bytes from strangers.");

static PyMethodDef message_methods[] = {
    {"to_bytes", (PyCFunction)(void (*)(void))ips_message_to_bytes, METH_FASTCALL | METH_KEYWORDS,
     to_bytes_doc},
    {"from_bytes", (PyCFunction)(void (*)(void))ips_message_from_bytes,
     METH_FASTCALL | METH_KEYWORDS | METH_CLASS, from_bytes_doc},
    {"replace", (PyCFunction)(void (*)(void))message_replace, METH_VARARGS | METH_KEYWORDS, replace_doc},
    {"__replace__", (PyCFunction)(void (*)(void))message_replace, METH_VARARGS | METH_KEYWORDS,
     "__replace__($self, /, **changes)\n--\n\nreplace(), for copy.replace()."},
    {"__getnewargs_ex__", message_getnewargs, METH_NOARGS, getnewargs_doc},
    {NULL, NULL, 0, NULL},
};

#define FIELD(which) T_OBJECT_EX, offsetof(ips_message_object, field[which]), READONLY

static PyMemberDef message_members[] = {
    {"type", FIELD(IPS_MESSAGE_TYPE), "A MessageType."},
    {"data", FIELD(IPS_MESSAGE_DATA), "The value that is sent."},
    {"id", FIELD(IPS_MESSAGE_ID), "A number that no other message of its sender has."},
    {"sender", FIELD(IPS_MESSAGE_SENDER), "Who sent it; empty where nobody said."},
    {"correlation_id", FIELD(IPS_MESSAGE_CORRELATION_ID), "The id of the message it answers, or None."},
    {"reply_to", FIELD(IPS_MESSAGE_REPLY_TO), "Where an answer should go, or None."},
    {"timestamp", FIELD(IPS_MESSAGE_TIMESTAMP), "When it was made: seconds since 1970."},
    {"headers", FIELD(IPS_MESSAGE_HEADERS), "A dict for whatever else: plain values, no pickle."},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ips_message_object, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot message_slots[] = {
    {Py_tp_doc, (void *)message_doc},
    {Py_tp_new, (void *)message_new},
    {Py_tp_dealloc, (void *)message_dealloc},
    {Py_tp_traverse, (void *)message_traverse},
    {Py_tp_clear, (void *)message_clear},
    {Py_tp_repr, (void *)message_repr},
    {Py_tp_richcompare, (void *)message_compare},
    {Py_tp_hash, (void *)PyObject_HashNotImplemented},
    {Py_tp_methods, message_methods},
    {Py_tp_members, message_members},
    {0, NULL},
};

static PyType_Spec message_spec = {
    .name = "ipcsys.Message",
    .basicsize = sizeof(ips_message_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = message_slots,
};

int
ips_add_message(PyObject *module, ips_state *state)
{
    state->message_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &message_spec, NULL);
    if (state->message_type == NULL) {
        return -1;
    }
    state->message_type->tp_vectorcall = message_vectorcall;
    return PyModule_AddType(module, state->message_type);
}
