/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/value_parts.h"

#include <string.h>

#include "bind/value_codec.h"

/* --- out ------------------------------------------------------------------ */

static int
make(ips_parts **parts)
{
    if (*parts == NULL) {
        *parts = PyMem_Malloc(sizeof **parts);
        if (*parts == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        (*parts)->table = (ips_parts_shm){0};
    }
    return 0;
}

int
ips_parts_add(ips_parts **parts, PyObject *owner, int flags, enum ips_part_form form,
              uint32_t *number)
{
    Py_buffer view;
    if (*parts != NULL && (*parts)->table.count == IPS_PARTS_MOST) {
        return 0;
    }
    if (PyObject_GetBuffer(owner, &view, flags) < 0) {
        return -1;
    }
    if (view.len < (Py_ssize_t)IPS_PART_LEAST || make(parts) < 0) {
        PyBuffer_Release(&view);
        return PyErr_Occurred() != NULL ? -1 : 0;
    }
    uint32_t count = (*parts)->table.count++;
    (*parts)->table.part[count] = (ips_part_shm){(uint64_t)view.len, form, 0};
    (*parts)->view[count] = view;
    *number = count;
    return 1;
}

void
ips_parts_free(ips_parts *parts)
{
    for (uint32_t i = 0; parts != NULL && i < parts->table.count; i++) {
        PyBuffer_Release(&parts->view[i]);
    }
    PyMem_Free(parts);
}

/* Of pickle: false takes the buffer out of the pickle's bytes. */
static PyObject *
take_out(PyObject *capsule, PyObject *buffer)
{
    uint32_t number;
    ips_parts **parts = PyCapsule_GetPointer(capsule, NULL);
    const Py_buffer *raw = NULL;
    if (parts == NULL || (raw = PyPickleBuffer_GetBuffer(buffer)) == NULL) {
        return NULL;
    }
    enum ips_part_form form = raw->readonly ? IPS_PART_BYTES : IPS_PART_BYTEARRAY;
    int added = ips_parts_add(parts, buffer, PyBUF_ANY_CONTIGUOUS, form, &number);
    return added < 0 ? NULL : PyBool_FromLong(!added);
}

PyObject *
ips_parts_callback(ips_parts **parts)
{
    static PyMethodDef method = {"take_out", take_out, METH_O, NULL};
    PyObject *capsule = PyCapsule_New(parts, NULL, NULL);
    PyObject *function = capsule == NULL ? NULL : PyCFunction_New(&method, capsule);
    Py_XDECREF(capsule);
    return function;
}

ips_message
ips_parts_message(const ips_encoded *encoded, ips_piece pieces[IPS_PARTS_MOST + 2])
{
    ips_message message = {encoded->bytes, encoded->size, encoded->kind, NULL, 0};
    ips_parts *parts = encoded->parts;
    if (parts == NULL) {
        return message;
    }
    uint32_t count = parts->table.count;
    parts->table.body = encoded->size;
    pieces[0] = (ips_piece){&parts->table, ips_parts_table_size(count)};
    pieces[1] = (ips_piece){encoded->bytes, encoded->size};
    message.size += pieces[0].size;
    for (uint32_t i = 0; i < count; i++) {
        pieces[2 + i] = (ips_piece){parts->view[i].buf, (uint64_t)parts->view[i].len};
        message.size += pieces[2 + i].size;
    }
    message.pieces = pieces;
    message.piece_count = 2 + count;
    return message;
}

/* --- in ------------------------------------------------------------------- */

static bool
is_sane(const ips_parts_shm *table, uint64_t size)
{
    if (table->count == 0 || table->count > IPS_PARTS_MOST) {
        return false;
    }
    uint64_t left = size;
    if (left < ips_parts_table_size(table->count)) {
        return false;
    }
    left -= ips_parts_table_size(table->count);
    if (table->body > left) {
        return false;
    }
    left -= table->body;
    for (uint32_t i = 0; i < table->count; i++) {
        if (table->part[i].size > left || table->part[i].form > IPS_PART_BYTES) {
            return false;
        }
        left -= table->part[i].size;
    }
    return left == 0;
}

static int
make_part(ips_parts_in *in, uint32_t i)
{
    Py_ssize_t size = (Py_ssize_t)in->table.part[i].size;
    bool is_bytes = in->table.part[i].form == IPS_PART_BYTES;
    PyObject *part = is_bytes ? PyBytes_FromStringAndSize(NULL, size)
                              : PyByteArray_FromStringAndSize(NULL, size);
    if (part == NULL) {
        return -1;
    }
    in->part[i] = part;
    in->room[in->rooms++] = (ips_room){
        is_bytes ? PyBytes_AS_STRING(part) : PyByteArray_AS_STRING(part), (uint64_t)size};
    return 0;
}

int
ips_parts_prepare(ips_state *state, ips_parts_in *in, uint64_t size)
{
    in->body = NULL;
    in->rooms = 0;
    memset(in->part, 0, sizeof in->part);
    if (!is_sane(&in->table, size)) {
        (void)ips_raise_text(state, IPS_EDECODE, "a message in parts that do not add up");
        return -1;
    }
    in->body = PyMem_Malloc(in->table.body + 1);
    if (in->body == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    /* The table goes where it is already. */
    in->room[in->rooms++] = (ips_room){&in->table, ips_parts_table_size(in->table.count)};
    in->room[in->rooms++] = (ips_room){in->body, in->table.body};
    uint32_t count = in->table.count;
    for (uint32_t i = 0; i < count; i++) {
        if (make_part(in, i) < 0) {
            return -1;
        }
    }
    return 0;
}

void
ips_parts_clear(ips_parts_in *in)
{
    PyMem_Free(in->body);
    for (uint32_t i = 0; i < IPS_PARTS_MOST; i++) {
        Py_XDECREF(in->part[i]);
    }
}

static PyObject *
part_list(const ips_parts_in *in, uint32_t count)
{
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (uint32_t i = 0; list != NULL && i < count; i++) {
        PyList_SET_ITEM(list, (Py_ssize_t)i, Py_NewRef(in->part[i]));
    }
    return list;
}

PyObject *
ips_parts_decode(ips_state *state, uint8_t kind, const ips_parts_in *in)
{
    uint32_t count = in->rooms - 2;
    size_t size = (size_t)in->room[1].size;
    PyObject *value = NULL;
    if (kind == IPS_VALUE_PARTS_MSGPACK) {
        value = ips_value_unpack(state, in->body, size, in->part, count);
    } else {
        PyObject *list = part_list(in, count);
        value = list == NULL ? NULL : ips_value_unpickle(state, in->body, size, list);
        Py_XDECREF(list);
    }
    if (value == NULL) {
        ips_value_undecodable_bytes(state, in->body, size);
    }
    return value;
}
