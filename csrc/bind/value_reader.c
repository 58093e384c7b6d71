/* SPDX-License-Identifier: Apache-2.0 */
/* MessagePack into Python objects, from bytes that nobody vouches for: what
 * is allocated is bounded by the bytes there are (codec/msgpack.h), and the
 * recursion by IPS_UNPACKER_DEPTH. */
#include <limits.h>
#include <string.h>

#include "base/hash.h"
#include "bind/value_codec.h"

#define MAX_KEY 48 /* bytes of a key worth keeping */

void
ips_value_reader_init(ips_value_reader *reader, ips_state *state, const void *bytes, size_t size)
{
    ips_unpacker_init(&reader->in, bytes, size);
    reader->state = state;
    reader->parts = NULL;
    reader->part_count = 0;
}

static int
checked(ips_value_reader *reader, int status)
{
    if (__builtin_expect(status == IPS_OK, 1)) {
        return 0;
    }
    ips_raise(reader->state, status);
    return -1;
}

int
ips_value_next(ips_value_reader *reader, ips_token *token)
{
    return checked(reader, ips_unpacker_next(&reader->in, token));
}

int
ips_value_next_of(ips_value_reader *reader, enum ips_token_kind kind, ips_token *token)
{
    if (ips_value_next(reader, token) < 0) {
        return -1;
    }
    if (token->kind != kind) {
        ips_raise_text(reader->state, IPS_EDECODE, "a part of another type than its place wants");
        return -1;
    }
    return 0;
}

int
ips_value_finish(ips_value_reader *reader)
{
    return checked(reader, ips_unpacker_finish(&reader->in));
}

static inline PyObject *
take_str(const ips_token *token)
{
    return PyUnicode_DecodeUTF8((const char *)token->bytes, (Py_ssize_t)token->size, NULL);
}

/* The keys of small dicts repeat from message to message.  A table of ASCII
 * strings seen lately, each in the one place its bytes lead to, saves making
 * and hashing them again. */
PyObject *
ips_value_take_key(ips_value_reader *reader, const ips_token *token)
{
    if (token->size > MAX_KEY) {
        return take_str(token);
    }
    PyObject **place = &reader->state->keys[ips_hash(token->bytes, token->size) % IPS_KEYS];
    PyObject *key = *place;
    if (key != NULL && (size_t)PyUnicode_GET_LENGTH(key) == token->size &&
        memcmp(PyUnicode_1BYTE_DATA(key), token->bytes, token->size) == 0) {
        Py_INCREF(key);
        return key;
    }
    key = take_str(token);
    if (key != NULL && PyUnicode_IS_ASCII(key)) {
        Py_INCREF(key);
        Py_XSETREF(*place, key);
    }
    return key;
}

static PyObject *take_token(ips_value_reader *reader, const ips_token *token);

static PyObject *
take_list(ips_value_reader *reader, uint32_t count)
{
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (uint32_t i = 0; list != NULL && i < count; i++) {
        PyObject *item = ips_value_take(reader);
        if (item == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, item);
    }
    return list;
}

static PyObject *
take_tuple(ips_value_reader *reader, uint32_t count)
{
    PyObject *tuple = PyTuple_New((Py_ssize_t)count);
    for (uint32_t i = 0; tuple != NULL && i < count; i++) {
        PyObject *item = ips_value_take(reader);
        if (item == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, item);
    }
    return tuple;
}

static PyObject *
take_set(ips_value_reader *reader, uint32_t count, PyObject *set)
{
    for (uint32_t i = 0; set != NULL && i < count; i++) {
        PyObject *item = ips_value_take(reader);
        int added = item == NULL ? -1 : PySet_Add(set, item);
        Py_XDECREF(item);
        if (added < 0) {
            Py_CLEAR(set);
        }
    }
    return set;
}

static int
take_pair(ips_value_reader *reader, PyObject *dict)
{
    ips_token token;
    if (ips_value_next(reader, &token) < 0) {
        return -1;
    }
    PyObject *key = token.kind == IPS_TOKEN_STR ? ips_value_take_key(reader, &token)
                                                : take_token(reader, &token);
    PyObject *value = key == NULL ? NULL : ips_value_take(reader);
    int added = value == NULL ? -1 : PyDict_SetItem(dict, key, value);
    Py_XDECREF(value);
    Py_XDECREF(key);
    return added;
}

static PyObject *
take_dict(ips_value_reader *reader, uint32_t pairs)
{
    PyObject *dict = PyDict_New();
    for (uint32_t i = 0; dict != NULL && i < pairs; i++) {
        if (take_pair(reader, dict) < 0) {
            Py_CLEAR(dict);
        }
    }
    return dict;
}

static PyObject *
take_big_int(const ips_token *token)
{
    PyObject *made = NULL;
    PyObject *method = PyObject_GetAttrString((PyObject *)&PyLong_Type, "from_bytes");
    PyObject *args = Py_BuildValue("(y#s)", (const char *)token->bytes, (Py_ssize_t)token->size, "big");
    PyObject *keywords = Py_BuildValue("{sO}", "signed", Py_True);
    if (method != NULL && args != NULL && keywords != NULL) {
        made = PyObject_Call(method, args, keywords);
    }
    Py_XDECREF(keywords);
    Py_XDECREF(args);
    Py_XDECREF(method);
    return made;
}

/* The extensions that hold one array of items. */
static PyObject *
take_items(ips_value_reader *outer, const ips_token *token)
{
    ips_value_reader reader = ips_value_reader_within(outer);
    ips_unpacker_open_ext(&outer->in, token, &reader.in);
    ips_token head;
    if (ips_value_next_of(&reader, IPS_TOKEN_ARRAY, &head) < 0) {
        return NULL;
    }
    PyObject *made;
    switch (token->ext) {
    case IPS_EXT_TUPLE: made = take_tuple(&reader, head.size); break;
    case IPS_EXT_SET: made = take_set(&reader, head.size, PySet_New(NULL)); break;
    default: made = take_set(&reader, head.size, PyFrozenSet_New(NULL)); break;
    }
    if (made != NULL && ips_value_finish(&reader) < 0) {
        Py_CLEAR(made);
    }
    return made;
}

PyObject *
ips_value_part(const ips_value_reader *reader, uint64_t number)
{
    return number < reader->part_count
        ? reader->parts[number]
        : ips_raise_text(reader->state, IPS_EDECODE, "a part that the message does not have");
}

/* Bytes or a bytearray that came beside the value. */
static PyObject *
take_part(ips_value_reader *outer, const ips_token *token)
{
    ips_value_reader reader = ips_value_reader_within(outer);
    ips_unpacker_open_ext(&outer->in, token, &reader.in);
    ips_token number;
    if (ips_value_next_of(&reader, IPS_TOKEN_UINT, &number) < 0 || ips_value_finish(&reader) < 0) {
        return NULL;
    }
    return Py_XNewRef(ips_value_part(&reader, number.natural));
}

static PyObject *
take_ext(ips_value_reader *reader, const ips_token *token)
{
    const char *bytes = (const char *)token->bytes;
    Py_ssize_t size = (Py_ssize_t)token->size;
    switch (token->ext) {
    case IPS_EXT_BIG_INT:
        return take_big_int(token);
    case IPS_EXT_TUPLE:
    case IPS_EXT_SET:
    case IPS_EXT_FROZENSET:
        return take_items(reader, token);
    case IPS_EXT_PART:
        return take_part(reader, token);
    case IPS_EXT_BYTEARRAY:
        return PyByteArray_FromStringAndSize(bytes, size);
    case IPS_EXT_SURROGATES:
        return PyUnicode_DecodeUTF8(bytes, size, "surrogatepass");
    case IPS_EXT_TIMESTAMP:
    case IPS_EXT_DATE:
    case IPS_EXT_TIME:
    case IPS_EXT_DATETIME:
    case IPS_EXT_TIMEDELTA:
        return ips_value_take_time(reader, token);
    case IPS_EXT_ARRAY:
    case IPS_EXT_SCALAR:
        return ips_value_take_array(reader, token);
    default:
        return ips_raise_text(reader->state, IPS_EDECODE,
                              "extension type %d is none that this version knows", token->ext);
    }
}

static PyObject *
take_nested(ips_value_reader *reader, const ips_token *token)
{
    if (checked(reader, ips_unpacker_enter(&reader->in)) < 0) {
        return NULL;
    }
    PyObject *made;
    switch (token->kind) {
    case IPS_TOKEN_MAP: made = take_dict(reader, token->size); break;
    case IPS_TOKEN_ARRAY: made = take_list(reader, token->size); break;
    default: made = take_ext(reader, token); break;
    }
    ips_unpacker_leave(&reader->in);
    return made;
}

static PyObject *
take_token(ips_value_reader *reader, const ips_token *token)
{
    switch (token->kind) {
    case IPS_TOKEN_NIL:
        Py_RETURN_NONE;
    case IPS_TOKEN_BOOL:
        return PyBool_FromLong(token->boolean);
    case IPS_TOKEN_UINT:
        return token->natural <= LONG_MAX ? PyLong_FromLong((long)token->natural)
                                          : PyLong_FromUnsignedLongLong(token->natural);
    case IPS_TOKEN_INT:
        return PyLong_FromLongLong(token->negative);
    case IPS_TOKEN_FLOAT:
        return PyFloat_FromDouble(token->real);
    case IPS_TOKEN_STR:
        return take_str(token);
    case IPS_TOKEN_BIN:
        return PyBytes_FromStringAndSize((const char *)token->bytes, (Py_ssize_t)token->size);
    default:
        return take_nested(reader, token);
    }
}

PyObject *
ips_value_take(ips_value_reader *reader)
{
    ips_token token;
    return ips_value_next(reader, &token) < 0 ? NULL : take_token(reader, &token);
}
