/* SPDX-License-Identifier: Apache-2.0 */
/* Python objects as MessagePack: what the files value_*.c share.  The types
 * that MessagePack lacks travel as extensions; docs/internals/values.md has
 * the table of their contents. */
#ifndef IPS_BIND_VALUE_CODEC_H
#define IPS_BIND_VALUE_CODEC_H

#include "bind/value.h"
#include "codec/msgpack.h"

/* Types of extensions, beside IPS_EXT_TIMESTAMP.  Files and peers remember
 * them: never give a number a second meaning. */
enum ips_value_ext {
    IPS_EXT_BIG_INT = 1,
    IPS_EXT_TUPLE = 2,
    IPS_EXT_SET = 3,
    IPS_EXT_FROZENSET = 4,
    IPS_EXT_BYTEARRAY = 5,
    IPS_EXT_SURROGATES = 6, /* a str that UTF-8 cannot hold */
    IPS_EXT_DATE = 7,
    IPS_EXT_TIME = 8,
    IPS_EXT_DATETIME = 9,
    IPS_EXT_TIMEDELTA = 10,
    IPS_EXT_ARRAY = 11,  /* numpy.ndarray */
    IPS_EXT_SCALAR = 12, /* numpy.generic */
    IPS_EXT_PART = 13,   /* bytes or bytearray, set apart: bind/value_parts.h */
};

/* Deeper values go by pickle: less than IPS_UNPACKER_DEPTH, so that a reader
 * takes what a writer wrote, also inside the arrays of a Message. */
#define IPS_VALUE_DEPTH 100

#define IPS_VALUE_MET 8

typedef struct {
    ips_packer out;
    ips_state *state;
    ips_parts **parts; /* where large buffers go, or NULL */
    int depth;
    size_t containers_left; /* beyond: pickle, which writes shared parts once */
    /* Only with IPS_ENCODE_MP: objects met that somebody else refers to as
     * well.  One met twice, or too many of them: pickle, which keeps them one. */
    bool keeps_identity;
    uint8_t ours; /* references to the next value that the writer itself holds */
    uint32_t met_count;
    PyObject *met[IPS_VALUE_MET];
    char refusal[160];      /* why this is not a value for MessagePack */
} ips_value_writer;

/* Ready to write into `room`; with IPS_ENCODE_NO_PICKLE of any length. */
void ips_value_writer_init(ips_value_writer *writer, ips_state *state, unsigned flags,
                           uint8_t *room, size_t size);

/* What the put functions return: 0, -1 with an exception set, or this where
 * MessagePack will not do; `refusal` says why.  The packer then holds half a
 * value, which the caller cuts off. */
#define IPS_VALUE_REFUSED 1

int ips_value_put(ips_value_writer *writer, PyObject *value);
int ips_value_put_time(ips_value_writer *writer, PyObject *value);
int ips_value_put_array(ips_value_writer *writer, PyObject *value);

/* IPS_VALUE_REFUSED, with the reason noted. */
int ips_value_refuse(ips_value_writer *writer, const char *format, ...)
    __attribute__((format(printf, 2, 3), cold));
/* A packer's status as the result of a put function. */
int ips_value_settle(ips_value_writer *writer, int status);

/* A refused value by pickle, or EncodeError where flags forbid that. */
PyObject *ips_value_pickle(ips_state *state, PyObject *value, unsigned flags, const char *refusal,
                           ips_parts **parts);

typedef struct {
    ips_unpacker in;
    ips_state *state;
    PyObject *const *parts; /* set apart from the value; `part_count` of them */
    uint32_t part_count;
} ips_value_reader;

void ips_value_reader_init(ips_value_reader *reader, ips_state *state, const void *bytes,
                           size_t size);

/* The next value, or NULL with any exception set: the caller turns it into a
 * DecodeError with the bytes that only it knows (ips_value_undecodable). */
PyObject *ips_value_take(ips_value_reader *reader);
PyObject *ips_value_take_time(ips_value_reader *reader, const ips_token *token);
PyObject *ips_value_take_array(ips_value_reader *reader, const ips_token *token);
/* A str; one that comes often is the same object each time. */
PyObject *ips_value_take_key(ips_value_reader *reader, const ips_token *token);

/* What a reader of an extension's content knows of the value around it. */
static inline ips_value_reader
ips_value_reader_within(const ips_value_reader *outer)
{
    return (ips_value_reader){.state = outer->state, .parts = outer->parts,
                              .part_count = outer->part_count};
}

/* A part by its number, borrowed; NULL with DecodeError. */
PyObject *ips_value_part(const ips_value_reader *reader, uint64_t number);

/* The next token, or -1 with an exception set; the second wants this kind. */
int ips_value_next(ips_value_reader *reader, ips_token *token);
int ips_value_next_of(ips_value_reader *reader, enum ips_token_kind kind, ips_token *token);
/* -1 with an exception set unless nothing is left. */
int ips_value_finish(ips_value_reader *reader);

/* `parts` is a list of buffers that were set apart, or NULL. */
PyObject *ips_value_unpickle(ips_state *state, const void *bytes, size_t size, PyObject *parts);
PyObject *ips_value_unpack(ips_state *state, const uint8_t *bytes, size_t size,
                           PyObject *const *parts, uint32_t part_count);
/* Make the exception set a DecodeError with these bytes as its `data`; leaves
 * KeyboardInterrupt and its like, and a want of memory, alone. */
void ips_value_undecodable(ips_state *state, PyObject *data);
void ips_value_undecodable_bytes(ips_state *state, const void *bytes, size_t size);

#endif
