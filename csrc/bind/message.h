/* SPDX-License-Identifier: Apache-2.0 */
/* The fields of ipcsys.Message: bind/message.c is the type, message_wire.c
 * its bytes. */
#ifndef IPS_BIND_MESSAGE_H
#define IPS_BIND_MESSAGE_H

#include "bind/state.h"

/* Order of the wire and of repr(), data apart. */
enum ips_message_field {
    IPS_MESSAGE_TYPE,
    IPS_MESSAGE_ID,
    IPS_MESSAGE_SENDER,
    IPS_MESSAGE_CORRELATION_ID,
    IPS_MESSAGE_REPLY_TO,
    IPS_MESSAGE_TIMESTAMP,
    IPS_MESSAGE_HEADERS,
    IPS_MESSAGE_DATA,
    IPS_MESSAGE_FIELDS
};

typedef struct {
    PyObject_HEAD
    PyObject *field[IPS_MESSAGE_FIELDS]; /* set once, before anybody sees the object */
    PyObject *weakrefs;
} ips_message_object;

/* A message of these fields, each borrowed or NULL for its default, checked.
 * A dict of headers is copied unless it is `fresh`: known to nobody else. */
PyObject *ips_message_make(PyTypeObject *type, PyObject *const given[IPS_MESSAGE_FIELDS],
                           bool fresh);

/* Methods of the type. */
PyObject *ips_message_to_bytes(PyObject *self, PyObject *const *args, Py_ssize_t count,
                               PyObject *keywords);
PyObject *ips_message_from_bytes(PyObject *type, PyObject *const *args, Py_ssize_t count,
                                 PyObject *keywords);

#endif
