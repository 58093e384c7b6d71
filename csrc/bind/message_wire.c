/* SPDX-License-Identifier: Apache-2.0 */
/* A Message as bytes: one array of MessagePack,
 *
 *   [type, id, sender, correlation_id, reply_to, timestamp, headers, kind, data]
 *
 * where kind is 1 and data the value itself (bind/value_codec.h), or kind is 2
 * and data a bin that holds its pickle.  Headers never need pickle, so that a
 * router reads them without running anybody's code. */
#include "bind/message.h"
#include "bind/value_codec.h"

#define WIRE_ITEMS (IPS_MESSAGE_FIELDS + 1)

/* Writing ---------------------------------------------------------------- */

static int
put_data(ips_value_writer *writer, PyObject *data, unsigned flags)
{
    size_t before = writer->out.size;
    int done = ips_value_settle(writer, ips_packer_put_uint(&writer->out, IPS_VALUE_MSGPACK));
    if (done == 0) {
        done = ips_value_put(writer, data);
    }
    if (done != IPS_VALUE_REFUSED) {
        return done;
    }
    PyObject *pickled = ips_value_pickle(writer->state, data, flags, writer->refusal, NULL);
    if (pickled == NULL) {
        return -1;
    }
    writer->out.size = before;
    done = ips_value_settle(writer, ips_packer_put_uint(&writer->out, IPS_VALUE_PICKLE));
    if (done == 0) {
        int status = ips_packer_put_bin(&writer->out, PyBytes_AS_STRING(pickled),
                                        (size_t)PyBytes_GET_SIZE(pickled));
        done = ips_value_settle(writer, status);
    }
    Py_DECREF(pickled);
    return done;
}

static int
put_message(ips_value_writer *writer, const ips_message_object *self, unsigned flags)
{
    int done = ips_value_settle(writer, ips_packer_put_array(&writer->out, WIRE_ITEMS));
    if (done == 0) {
        long number = PyLong_AsLong(self->field[IPS_MESSAGE_TYPE]);
        done = ips_value_settle(writer, ips_packer_put_int(&writer->out, number));
    }
    for (int i = IPS_MESSAGE_ID; i < IPS_MESSAGE_DATA && done == 0; i++) {
        done = ips_value_put(writer, self->field[i]);
        if (done == IPS_VALUE_REFUSED) {
            ips_raise_text(writer->state, IPS_EENCODE, "%s in the headers; they take plain values only",
                           writer->refusal);
            done = -1;
        }
    }
    if (done == 0) {
        done = put_data(writer, self->field[IPS_MESSAGE_DATA], flags);
    }
    if (done == IPS_VALUE_REFUSED) { /* the pickle was too large */
        ips_raise_text(writer->state, IPS_EENCODE, "%s in a message", writer->refusal);
        done = -1;
    }
    return done;
}

/* The one keyword of both methods, and `wanted` positional arguments before it. */
static int
parse(Py_ssize_t wanted, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    if (count != wanted) {
        PyErr_Format(PyExc_TypeError, "takes %zd positional arguments, not %zd", wanted, count);
        return -1;
    }
    int allow_pickle = 1;
    for (Py_ssize_t i = 0; keywords != NULL && i < PyTuple_GET_SIZE(keywords); i++) {
        PyObject *name = PyTuple_GET_ITEM(keywords, i);
        if (PyUnicode_CompareWithASCIIString(name, "allow_pickle") != 0) {
            PyErr_Format(PyExc_TypeError, "unknown keyword argument '%U'", name);
            return -1;
        }
        allow_pickle = PyObject_IsTrue(args[count + i]);
    }
    return allow_pickle;
}

PyObject *
ips_message_to_bytes(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    int allow_pickle = parse(0, args, count, keywords);
    ips_state *state = allow_pickle < 0 ? NULL : ips_state_of_type(Py_TYPE(op));
    if (state == NULL) {
        return NULL;
    }
    uint8_t room[1024];
    unsigned flags = allow_pickle ? 0 : IPS_ENCODE_NO_PICKLE;
    ips_value_writer writer;
    ips_value_writer_init(&writer, state, flags, room, sizeof room);
    PyObject *bytes = NULL;
    if (put_message(&writer, (const ips_message_object *)op, flags) == 0) {
        bytes = PyBytes_FromStringAndSize((const char *)writer.out.bytes, (Py_ssize_t)writer.out.size);
    }
    ips_packer_clear(&writer.out);
    return bytes;
}

/* Reading ---------------------------------------------------------------- */

static PyObject *
take_data(ips_value_reader *reader, bool allow_pickle)
{
    ips_token token;
    if (ips_value_next_of(reader, IPS_TOKEN_UINT, &token) < 0) {
        return NULL;
    }
    if (token.natural == IPS_VALUE_MSGPACK) {
        return ips_value_take(reader);
    }
    if (token.natural != IPS_VALUE_PICKLE) {
        return ips_raise_text(reader->state, IPS_EDECODE, "a message with data of an unknown kind");
    }
    if (!allow_pickle) {
        return ips_raise_text(reader->state, IPS_EDECODE,
                              "the data is pickled, which is not allowed here");
    }
    if (ips_value_next_of(reader, IPS_TOKEN_BIN, &token) < 0) {
        return NULL;
    }
    return ips_value_unpickle(reader->state, token.bytes, token.size, NULL);
}

/* Fills `given` with new references as far as it comes; 0 or -1. */
static int
take_fields(ips_value_reader *reader, bool allow_pickle, PyObject **given)
{
    ips_token head;
    if (ips_value_next_of(reader, IPS_TOKEN_ARRAY, &head) < 0) {
        return -1;
    }
    if (head.size != WIRE_ITEMS) {
        ips_raise_text(reader->state, IPS_EDECODE, "a message of %u parts, not %d", head.size, WIRE_ITEMS);
        return -1;
    }
    for (int i = 0; i < IPS_MESSAGE_DATA; i++) {
        given[i] = ips_value_take(reader);
        if (given[i] == NULL) {
            return -1;
        }
        bool may_lack = i == IPS_MESSAGE_CORRELATION_ID || i == IPS_MESSAGE_REPLY_TO;
        if (given[i] == Py_None && !may_lack) {
            ips_raise_text(reader->state, IPS_EDECODE, "a message that lacks part %d", i);
            return -1;
        }
    }
    given[IPS_MESSAGE_DATA] = take_data(reader, allow_pickle);
    return given[IPS_MESSAGE_DATA] == NULL ? -1 : ips_value_finish(reader);
}

static PyObject *
message_of(PyTypeObject *type, ips_state *state, const Py_buffer *view, bool allow_pickle)
{
    ips_value_reader reader;
    ips_value_reader_init(&reader, state, view->buf, (size_t)view->len);
    PyObject *given[IPS_MESSAGE_FIELDS] = {NULL};
    PyObject *made = NULL;
    if (take_fields(&reader, allow_pickle, given) == 0) {
        made = ips_message_make(type, given, true);
    }
    for (int i = 0; i < IPS_MESSAGE_FIELDS; i++) {
        Py_XDECREF(given[i]);
    }
    return made;
}

PyObject *
ips_message_from_bytes(PyObject *type, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    int allow_pickle = parse(1, args, count, keywords);
    ips_state *state = allow_pickle < 0 ? NULL : ips_state_of_type((PyTypeObject *)type);
    Py_buffer view;
    if (state == NULL || PyObject_GetBuffer(args[0], &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    PyObject *message = message_of((PyTypeObject *)type, state, &view, allow_pickle != 0);
    if (message == NULL) {
        ips_value_undecodable_bytes(state, view.buf, (size_t)view.len);
    }
    PyBuffer_Release(&view);
    return message;
}
