/* SPDX-License-Identifier: Apache-2.0 */
/* MessagePack over plain buffers.  Written is always the shortest form, so
 * that equal values have equal bytes; read is every form, from bytes that
 * nobody vouches for.  Bits and pieces of the format: msgpack.org, spec.md. */
#ifndef IPS_CODEC_MSGPACK_H
#define IPS_CODEC_MSGPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/status.h"

#define IPS_EXT_TIMESTAMP (-1) /* the only extension that the format itself defines */

/* Writing ---------------------------------------------------------------- */

/* Starts in the caller's room and moves to the heap when that is full. */
typedef struct {
    uint8_t *bytes;
    size_t size;
    size_t capacity;
    uint8_t *heap; /* bytes, where malloc'd; else NULL */
} ips_packer;

static inline void
ips_packer_init(ips_packer *packer, uint8_t *room, size_t capacity)
{
    packer->bytes = room;
    packer->size = 0;
    packer->capacity = capacity;
    packer->heap = NULL;
}

void ips_packer_clear(ips_packer *packer);

/* Make place for `more` bytes; IPS_ENOMEM. */
IPS_MUST_CHECK int ips_packer_grow(ips_packer *packer, size_t more);

static inline IPS_MUST_CHECK int
ips_packer_reserve(ips_packer *packer, size_t more)
{
    return __builtin_expect(packer->capacity - packer->size >= more, 1)
               ? IPS_OK
               : ips_packer_grow(packer, more);
}

/* Each appends one item, or the head of one; IPS_ENOMEM, and IPS_ETOOBIG for
 * sizes and counts that 32 bits do not hold. */
IPS_MUST_CHECK int ips_packer_put_uint(ips_packer *packer, uint64_t value);
IPS_MUST_CHECK int ips_packer_put_int(ips_packer *packer, int64_t value);
IPS_MUST_CHECK int ips_packer_put_float(ips_packer *packer, double value);
IPS_MUST_CHECK int ips_packer_put_str(ips_packer *packer, const void *utf8, size_t size);
IPS_MUST_CHECK int ips_packer_put_bin(ips_packer *packer, const void *bytes, size_t size);
IPS_MUST_CHECK int ips_packer_put_array(ips_packer *packer, size_t count);
IPS_MUST_CHECK int ips_packer_put_map(ips_packer *packer, size_t pairs);
IPS_MUST_CHECK int ips_packer_put_ext(ips_packer *packer, int8_t type, const void *bytes, size_t size);
IPS_MUST_CHECK int ips_packer_put_timestamp(ips_packer *packer, int64_t seconds, uint32_t nanoseconds);

static inline IPS_MUST_CHECK int
ips_packer_put_byte(ips_packer *packer, uint8_t byte)
{
    int status = ips_packer_reserve(packer, 1);
    if (status == IPS_OK) {
        packer->bytes[packer->size++] = byte;
    }
    return status;
}

/* A str of at most this many bytes has its size in its head's only byte. */
#define IPS_SHORT_STR 31u
static inline IPS_MUST_CHECK int
ips_packer_put_short_str(ips_packer *packer, const void *utf8, size_t size)
{
    int status = ips_packer_reserve(packer, 1 + size);
    if (status == IPS_OK) {
        uint8_t *at = packer->bytes + packer->size;
        at[0] = (uint8_t)(0xa0 | size);
        memcpy(at + 1, utf8, size);
        packer->size += 1 + size;
    }
    return status;
}

static inline IPS_MUST_CHECK int
ips_packer_put_nil(ips_packer *packer)
{
    return ips_packer_put_byte(packer, 0xc0);
}

static inline IPS_MUST_CHECK int
ips_packer_put_bool(ips_packer *packer, bool value)
{
    return ips_packer_put_byte(packer, value ? 0xc3 : 0xc2);
}

/* An extension whose size is known only when its content has been put between
 * open and close.  Room for the head is left by `guess`; a wrong guess costs
 * moving the content. */
typedef struct {
    size_t start;
    size_t head;
} ips_packer_ext;

IPS_MUST_CHECK int ips_packer_open_ext(ips_packer *packer, size_t guess, ips_packer_ext *ext);
IPS_MUST_CHECK int ips_packer_close_ext(ips_packer *packer, const ips_packer_ext *ext, int8_t type);

/* Are the bytes, at least one, a natural number of at most 16 bits in its shortest
 * form, and nothing else?  Without a reader. */
static inline bool
ips_natural_of(const uint8_t *bytes, size_t size, uint32_t *out)
{
    *out = size == 1 ? bytes[0] : size == 2 ? bytes[1]
         : size == 3 ? (uint32_t)bytes[1] << 8 | bytes[2] : 0;
    return (size == 1 && bytes[0] < 0x80) || (size == 2 && bytes[0] == 0xcc) ||
           (size == 3 && bytes[0] == 0xcd);
}

/* Reading ---------------------------------------------------------------- */

/* Arrays, maps and extensions within one another; a reader that recurses
 * brackets its recursion with enter and leave. */
#define IPS_UNPACKER_DEPTH 128

/* `owed` counts the items that the heads read so far have promised.  A head
 * that promises more items than there are bytes left is refused, so a caller
 * may allocate by the count: all counts together never exceed the bytes. */
typedef struct {
    const uint8_t *at;
    const uint8_t *end;
    const uint8_t *start;
    uint64_t owed;
    unsigned depth;
} ips_unpacker;

enum ips_token_kind {
    IPS_TOKEN_NIL,
    IPS_TOKEN_BOOL,
    IPS_TOKEN_UINT,
    IPS_TOKEN_INT, /* negative */
    IPS_TOKEN_FLOAT,
    IPS_TOKEN_STR, /* any bytes: checking UTF-8 is left to the caller */
    IPS_TOKEN_BIN,
    IPS_TOKEN_ARRAY, /* `size` items follow */
    IPS_TOKEN_MAP,   /* `size` pairs follow */
    IPS_TOKEN_EXT,
};

typedef struct {
    uint8_t kind;
    int8_t ext;    /* type of an extension */
    uint32_t size; /* bytes of str, bin, ext; items of array; pairs of map */
    union {
        bool boolean;
        uint64_t natural;
        int64_t negative;
        double real;
        const uint8_t *bytes; /* into the input */
    };
} ips_token;

static inline void
ips_unpacker_init(ips_unpacker *unpacker, const void *bytes, size_t size)
{
    unpacker->at = unpacker->start = (const uint8_t *)bytes;
    unpacker->end = unpacker->start + size;
    unpacker->owed = 1;
    unpacker->depth = 0;
}

/* The next token; IPS_EDECODE where there is none or it makes no sense. */
IPS_MUST_CHECK int ips_unpacker_next(ips_unpacker *unpacker, ips_token *token);

/* IPS_EDECODE beyond IPS_UNPACKER_DEPTH. */
IPS_MUST_CHECK int ips_unpacker_enter(ips_unpacker *unpacker);

static inline void
ips_unpacker_leave(ips_unpacker *unpacker)
{
    unpacker->depth--;
}

/* IPS_EDECODE unless the one value was all there is. */
IPS_MUST_CHECK int ips_unpacker_finish(const ips_unpacker *unpacker);

/* The content of an extension token, as a buffer of one value of its own. */
static inline void
ips_unpacker_open_ext(const ips_unpacker *outer, const ips_token *token, ips_unpacker *inner)
{
    ips_unpacker_init(inner, token->bytes, token->size);
    inner->depth = outer->depth;
}

/* Seconds since 1970 of a token with type IPS_EXT_TIMESTAMP; IPS_EDECODE. */
IPS_MUST_CHECK int ips_token_timestamp(const ips_token *token, int64_t *seconds, uint32_t *nanoseconds);

#endif
