/* SPDX-License-Identifier: Apache-2.0 */
/* Which of the three ways a value goes, and what failures look like. */
#include <stdlib.h>

#include "bind/value.h"
#include "bind/value_codec.h"
#include "bind/value_parts.h"

#define PICKLE_PROTOCOL 5
#define PLAIN_MOST 500 /* characters that surely fit into the room, with their head */

/* Failures --------------------------------------------------------------- */

/* Takes the exception that is set, as one object with its traceback. */
static PyObject *
taken_exception(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) {
        (void)PyException_SetTraceback(value, traceback);
        Py_DECREF(traceback);
    }
    Py_DECREF(type);
    return value;
}

/* Raise `status` because of `cause` (stolen): "<what>: <Type>: <text>". */
static void
raise_because(ips_state *state, int status, const char *what, PyObject *cause)
{
    PyObject *text = PyObject_Str(cause);
    const char *utf8 = text == NULL ? NULL : PyUnicode_AsUTF8(text);
    if (utf8 == NULL) {
        PyErr_Clear();
    }
    ips_raise_text(state, status, "%s: %.60s: %.120s", what, Py_TYPE(cause)->tp_name,
                   utf8 == NULL ? "(without a text)" : utf8);
    Py_XDECREF(text);
    PyObject *raised = taken_exception();
    PyException_SetContext(raised, Py_NewRef(cause));
    PyException_SetCause(raised, cause);
    PyErr_SetObject((PyObject *)Py_TYPE(raised), raised);
    Py_DECREF(raised);
}

void
ips_value_undecodable(ips_state *state, PyObject *data)
{
    PyObject *cls = state->errors[IPS_ORDINAL_DECODE];
    if (!PyErr_ExceptionMatches(PyExc_Exception) || PyErr_ExceptionMatches(PyExc_MemoryError)) {
        return;
    }
    PyObject *cause = taken_exception();
    if (Py_TYPE(cause) == (PyTypeObject *)cls) {
        PyErr_SetObject(cls, cause);
        Py_DECREF(cause);
    } else {
        raise_because(state, IPS_EDECODE, "the contents are bad", cause);
    }
    PyObject *raised = taken_exception();
    if (PyObject_SetAttrString(raised, "data", data) == 0) {
        PyErr_SetObject((PyObject *)Py_TYPE(raised), raised);
    }
    Py_DECREF(raised);
}

void
ips_value_undecodable_bytes(ips_state *state, const void *bytes, size_t size)
{
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyObject *data = PyBytes_FromStringAndSize((const char *)bytes, (Py_ssize_t)size);
    if (data == NULL) { /* say that memory is short rather than hide the bytes */
        Py_XDECREF(type);
        Py_XDECREF(error);
        Py_XDECREF(traceback);
        return;
    }
    PyErr_Restore(type, error, traceback);
    ips_value_undecodable(state, data);
    Py_DECREF(data);
}

/* Pickle ----------------------------------------------------------------- */

static PyObject *
pickle_function(PyObject **place, const char *module, const char *name)
{
    if (*place == NULL) {
        PyObject *pickle = PyImport_ImportModule(module);
        if (pickle != NULL) {
            Py_XSETREF(*place, PyObject_GetAttrString(pickle, name));
            Py_DECREF(pickle);
        }
    }
    return *place;
}

/* dumps(value, 5), with buffer_callback where large buffers are set apart. */
static PyObject *
dump(PyObject *dumps, PyObject *value, ips_parts **parts)
{
    PyObject *args = Py_BuildValue("(Oi)", value, PICKLE_PROTOCOL);
    PyObject *keywords = NULL, *bytes = NULL;
    if (args != NULL && parts != NULL) {
        PyObject *callback = ips_parts_callback(parts);
        keywords = callback == NULL ? NULL : Py_BuildValue("{sN}", "buffer_callback", callback);
    }
    if (args != NULL && (parts == NULL || keywords != NULL)) {
        bytes = PyObject_Call(dumps, args, keywords);
    }
    Py_XDECREF(args);
    Py_XDECREF(keywords);
    return bytes;
}

PyObject *
ips_value_pickle(ips_state *state, PyObject *value, unsigned flags, const char *refusal,
                 ips_parts **parts)
{
    if (flags & IPS_ENCODE_NO_PICKLE) {
        return ips_raise_text(state, IPS_EENCODE,
                              "%s needs pickle, which is not allowed here; make it of None, bool, "
                              "int, float, str, bytes, list, tuple, dict, set, datetime, numpy",
                              refusal);
    }
    PyObject *dumps = flags & IPS_ENCODE_MP
        ? pickle_function(&state->mp_dumps, "ipcsys.mp.pickling", "dumps")
        : pickle_function(&state->pickle_dumps, "pickle", "dumps");
    PyObject *bytes = dumps == NULL ? NULL : dump(dumps, value, parts);
    if (bytes != NULL && !PyBytes_CheckExact(bytes)) {
        Py_CLEAR(bytes);
        PyErr_SetString(PyExc_TypeError, "pickle.dumps did not return bytes");
    }
    if (bytes == NULL && PyErr_ExceptionMatches(PyExc_Exception) &&
        !PyErr_ExceptionMatches(PyExc_MemoryError)) {
        char what[100];
        (void)PyOS_snprintf(what, sizeof what, "pickling a %.60s failed", Py_TYPE(value)->tp_name);
        raise_because(state, IPS_EENCODE, what, taken_exception());
    }
    return bytes;
}

/* loads(bytes_like), or loads(bytes_like, buffers=parts). */
static PyObject *
load(PyObject *loads, PyObject *bytes_like, PyObject *parts)
{
    if (parts == NULL) {
        return PyObject_CallOneArg(loads, bytes_like);
    }
    PyObject *args = PyTuple_Pack(1, bytes_like);
    PyObject *keywords = args == NULL ? NULL : Py_BuildValue("{sO}", "buffers", parts);
    PyObject *value = keywords == NULL ? NULL : PyObject_Call(loads, args, keywords);
    Py_XDECREF(args);
    Py_XDECREF(keywords);
    return value;
}

static PyObject *
unpickle_from(ips_state *state, PyObject *bytes_like, PyObject *parts)
{
    PyObject *loads = pickle_function(&state->pickle_loads, "pickle", "loads");
    PyObject *value = loads == NULL ? NULL : load(loads, bytes_like, parts);
    if (value != NULL) {
        return value;
    }
    /* Bad bytes can ask pickle for any amount of memory, and can raise any
     * class: what they raise is never ours. */
    if (PyErr_ExceptionMatches(PyExc_Exception)) {
        raise_because(state, IPS_EDECODE, "unpickling failed", taken_exception());
    }
    return NULL;
}

PyObject *
ips_value_unpickle(ips_state *state, const void *bytes, size_t size, PyObject *parts)
{
    PyObject *view = PyMemoryView_FromMemory((char *)bytes, (Py_ssize_t)size, PyBUF_READ);
    PyObject *value = view == NULL ? NULL : unpickle_from(state, view, parts);
    Py_XDECREF(view);
    return value;
}

/* Encoding --------------------------------------------------------------- */

static void
own_bytes(ips_encoded *out, PyObject *bytes, uint8_t kind)
{
    out->bytes = (const uint8_t *)PyBytes_AS_STRING(bytes);
    out->size = (size_t)PyBytes_GET_SIZE(bytes);
    out->kind = kind;
    out->owner = bytes;
}

/* What is met most, straight into the room: short ASCII and numbers. */
static bool
encode_plain(PyObject *value, ips_encoded *out)
{
    ips_packer packer;
    ips_packer_init(&packer, out->room, sizeof out->room);
    int status;
    if (PyUnicode_CheckExact(value)) {
        size_t size = (size_t)PyUnicode_GET_LENGTH(value);
        if (!PyUnicode_IS_COMPACT_ASCII(value) || size > PLAIN_MOST) {
            return false;
        }
        const void *ascii = ((PyASCIIObject *)value) + 1;
        status = size <= IPS_SHORT_STR ? ips_packer_put_short_str(&packer, ascii, size)
                                       : ips_packer_put_str(&packer, ascii, size);
    } else if (PyLong_CheckExact(value)) {
        int overflow;
        long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
        status = overflow != 0 ? -1 : ips_packer_put_int(&packer, number);
    } else {
        return false;
    }
    out->bytes = out->room;
    out->size = packer.size;
    out->kind = IPS_VALUE_MSGPACK;
    return status == 0;
}

int
ips_value_encode(ips_state *state, PyObject *value, unsigned flags, ips_encoded *out)
{
    out->owner = NULL;
    out->heap = NULL;
    out->parts = NULL;
    if (encode_plain(value, out)) {
        return 0;
    }
    if (PyBytes_CheckExact(value) && !(flags & IPS_ENCODE_NO_RAW)) {
        own_bytes(out, Py_NewRef(value), IPS_VALUE_RAW);
        return 0;
    }
    ips_value_writer writer;
    ips_value_writer_init(&writer, state, flags, out->room, sizeof out->room);
    writer.parts = flags & IPS_ENCODE_PARTS ? &out->parts : NULL;
    int done = ips_value_put(&writer, value);
    out->bytes = writer.out.bytes;
    out->size = writer.out.size;
    out->heap = writer.out.heap;
    out->kind = out->parts == NULL ? IPS_VALUE_MSGPACK : IPS_VALUE_PARTS_MSGPACK;
    if (done == 0) {
        return 0;
    }
    ips_encoded_clear(out);
    PyObject *pickled = done < 0
        ? NULL : ips_value_pickle(state, value, flags, writer.refusal, writer.parts);
    if (pickled == NULL) {
        ips_encoded_clear(out);
        return -1;
    }
    own_bytes(out, pickled, out->parts == NULL ? IPS_VALUE_PICKLE : IPS_VALUE_PARTS_PICKLE);
    return 0;
}

void
ips_encoded_clear_slow(ips_encoded *encoded)
{
    free(encoded->heap);
    encoded->heap = NULL;
    encoded->bytes = encoded->room;
    encoded->size = 0;
    ips_parts_free(encoded->parts);
    encoded->parts = NULL;
}

/* Decoding --------------------------------------------------------------- */

PyObject *
ips_value_unpack(ips_state *state, const uint8_t *bytes, size_t size, PyObject *const *parts,
                 uint32_t part_count)
{
    ips_value_reader reader;
    ips_value_reader_init(&reader, state, bytes, size);
    reader.parts = parts;
    reader.part_count = part_count;
    PyObject *value = ips_value_take(&reader);
    if (value != NULL && ips_value_finish(&reader) < 0) {
        Py_CLEAR(value);
    }
    return value;
}

static PyObject *
strange_kind(ips_state *state, uint8_t kind)
{
    return ips_raise_text(state, IPS_EDECODE, "%d is no kind of value that this version knows", kind);
}

PyObject *
ips_value_decode(ips_state *state, uint8_t kind, const uint8_t *bytes, size_t size)
{
    PyObject *value;
    uint32_t natural;
    if (kind == IPS_VALUE_MSGPACK && size != 0 && ips_natural_of(bytes, size, &natural)) {
        return PyLong_FromLong((long)natural);
    }
    switch (kind) {
    case IPS_VALUE_RAW: return PyBytes_FromStringAndSize((const char *)bytes, (Py_ssize_t)size);
    case IPS_VALUE_MSGPACK: value = ips_value_unpack(state, bytes, size, NULL, 0); break;
    case IPS_VALUE_PICKLE: value = ips_value_unpickle(state, bytes, size, NULL); break;
    default: value = strange_kind(state, kind); break;
    }
    if (value == NULL) {
        ips_value_undecodable_bytes(state, bytes, size);
    }
    return value;
}

PyObject *
ips_value_decode_owned(ips_state *state, uint8_t kind, PyObject *bytes_stolen)
{
    PyObject *value;
    switch (kind) {
    case IPS_VALUE_RAW:
        return bytes_stolen;
    case IPS_VALUE_MSGPACK:
        value = ips_value_unpack(state, (const uint8_t *)PyBytes_AS_STRING(bytes_stolen),
                                 (size_t)PyBytes_GET_SIZE(bytes_stolen), NULL, 0);
        break;
    case IPS_VALUE_PICKLE: value = unpickle_from(state, bytes_stolen, NULL); break;
    default: value = strange_kind(state, kind); break;
    }
    if (value == NULL) {
        ips_value_undecodable(state, bytes_stolen);
    }
    Py_DECREF(bytes_stolen);
    return value;
}

/* The module's functions -------------------------------------------------- */

PyDoc_STRVAR(encode_value_doc,
             "encode_value($module, value, flags=0, /)\n--\n\n"
             "(kind, bytes) of a value, as queues and containers store it.\n\n"
             "Kinds: 0 bytes as they are, 1 MessagePack, 2 pickle.  Flags: 1 raises EncodeError\n"
             "instead of pickling, 2 makes MessagePack of bytes too.");

static PyObject *
encode_value(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    long flags = 0;
    if (count < 1 || count > 2) {
        PyErr_SetString(PyExc_TypeError, "encode_value() takes a value and, perhaps, flags");
        return NULL;
    }
    if (count == 2 && (flags = PyLong_AsLong(args[1])) == -1 && PyErr_Occurred()) {
        return NULL;
    }
    ips_encoded encoded;
    flags &= IPS_ENCODE_NO_PICKLE | IPS_ENCODE_NO_RAW;
    if (ips_value_encode(ips_state_of_module(module), args[0], (unsigned)flags, &encoded) < 0) {
        return NULL;
    }
    PyObject *bytes = encoded.owner != NULL
                          ? Py_NewRef(encoded.owner)
                          : PyBytes_FromStringAndSize((const char *)encoded.bytes, (Py_ssize_t)encoded.size);
    PyObject *pair = bytes == NULL ? NULL : Py_BuildValue("(iN)", (int)encoded.kind, bytes);
    ips_encoded_clear(&encoded);
    return pair;
}

PyDoc_STRVAR(decode_value_doc,
             "decode_value($module, kind, data, /)\n--\n\n"
             "The value that encode_value() made (kind, data) of.\n\n"
             "Bytes that make no sense raise DecodeError, whose `data` has them.");

static PyObject *
decode_value(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "decode_value() takes a kind and bytes");
        return NULL;
    }
    long kind = PyLong_AsLong(args[0]);
    if (kind < 0 || kind > UINT8_MAX) {
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_ValueError, "%ld is no kind of value", kind);
    }
    ips_state *state = ips_state_of_module(module);
    if (PyBytes_CheckExact(args[1])) {
        return ips_value_decode_owned(state, (uint8_t)kind, Py_NewRef(args[1]));
    }
    Py_buffer view;
    if (PyObject_GetBuffer(args[1], &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    PyObject *value = ips_value_decode(state, (uint8_t)kind, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    return value;
}

static PyMethodDef functions[] = {
    {"encode_value", (PyCFunction)(void (*)(void))encode_value, METH_FASTCALL, encode_value_doc},
    {"decode_value", (PyCFunction)(void (*)(void))decode_value, METH_FASTCALL, decode_value_doc},
    {NULL},
};

int
ips_add_value(PyObject *module, ips_state *state)
{
    (void)state;
    return PyModule_AddFunctions(module, functions);
}
