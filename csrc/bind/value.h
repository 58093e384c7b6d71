/* SPDX-License-Identifier: Apache-2.0 */
/* Python values to bytes and back: bytes as they are, the everyday types as
 * MessagePack, anything else by pickle. */
#ifndef IPS_BIND_VALUE_H
#define IPS_BIND_VALUE_H

#include "bind/state.h"

/* How the bytes of a record or cell are to be read; stored beside them. */
enum ips_value_kind {
    IPS_VALUE_RAW = 0,     /* bytes as they are */
    IPS_VALUE_MSGPACK = 1,
    IPS_VALUE_PICKLE = 2,
    /* The same with large buffers beside them: bind/value_parts.h.  Only in
     * queues, for which IPS_ENCODE_PARTS asks. */
    IPS_VALUE_PARTS_MSGPACK = 3,
    IPS_VALUE_PARTS_PICKLE = 4,
};

enum {
    IPS_ENCODE_NO_PICKLE = 1, /* raise EncodeError rather than pickle */
    IPS_ENCODE_NO_RAW = 2,    /* bytes too become MessagePack */
    IPS_ENCODE_MP = 4,        /* as multiprocessing: its pickler, and what is one
                               * list or dict comes out as one */
    IPS_ENCODE_PARTS = 8,     /* set large buffers apart; ask for a message in pieces */
};

typedef struct ips_parts ips_parts;

/* An encoded value.  Small ones live in `room`, so that a hot path allocates
 * nothing; RAW ones point into the object, which `owner` keeps alive. */
typedef struct {
    const uint8_t *bytes;
    size_t size;
    uint8_t kind;
    PyObject *owner;
    uint8_t *heap;
    ips_parts *parts; /* or NULL */
    uint8_t room[512];
} ips_encoded;

/* 0, or -1 with an exception set.  Needs the GIL; may run Python code (pickle). */
int ips_value_encode(ips_state *state, PyObject *value, unsigned flags, ips_encoded *out);
void ips_encoded_clear_slow(ips_encoded *encoded);
static inline void
ips_encoded_clear(ips_encoded *encoded)
{
    if (__builtin_expect(encoded->heap != NULL || encoded->parts != NULL, 0)) {
        ips_encoded_clear_slow(encoded);
    }
    Py_CLEAR(encoded->owner);
}

/* New reference, or NULL: DecodeError with .data where the bytes make no sense. */
PyObject *ips_value_decode(ips_state *state, uint8_t kind, const uint8_t *bytes, size_t size);
/* For RAW: the bytes object itself is the value. */
PyObject *ips_value_decode_owned(ips_state *state, uint8_t kind, PyObject *bytes_stolen);

#endif
