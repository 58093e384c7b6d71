/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/bigendian.h"
#include "codec/msgpack.h"

static int
refuse(const ips_unpacker *unpacker, const char *what)
{
    return ips_fail(IPS_EDECODE, "%s at byte %zu of %zu", what,
                    (size_t)(unpacker->at - unpacker->start),
                    (size_t)(unpacker->end - unpacker->start));
}

static inline size_t
left(const ips_unpacker *unpacker)
{
    return (size_t)(unpacker->end - unpacker->at);
}

/* A big-endian number of `width` bytes. */
static inline int
take_number(ips_unpacker *unpacker, unsigned width, uint64_t *number)
{
    *number = 0;
    if (left(unpacker) < width) {
        return refuse(unpacker, "the bytes end within a number");
    }
    *number = ips_big_load(unpacker->at, width);
    unpacker->at += width;
    return IPS_OK;
}

static inline int
take_bytes(ips_unpacker *unpacker, ips_token *token, uint8_t kind, uint64_t size)
{
    if (left(unpacker) < size) {
        return refuse(unpacker, "the bytes end within a string");
    }
    token->kind = kind;
    token->size = (uint32_t)size;
    token->bytes = unpacker->at;
    unpacker->at += size;
    return IPS_OK;
}

static inline int
take_items(ips_unpacker *unpacker, ips_token *token, uint8_t kind, uint64_t count)
{
    unpacker->owed += kind == IPS_TOKEN_MAP ? 2 * count : count;
    if (unpacker->owed > left(unpacker)) {
        return refuse(unpacker, "more items promised than there are bytes");
    }
    token->kind = kind;
    token->size = (uint32_t)count;
    return IPS_OK;
}

static inline int
take_uint(ips_unpacker *unpacker, ips_token *token, unsigned width)
{
    token->kind = IPS_TOKEN_UINT;
    return take_number(unpacker, width, &token->natural);
}

static inline int
take_int(ips_unpacker *unpacker, ips_token *token, unsigned width)
{
    uint64_t number;
    int status = take_number(unpacker, width, &number);
    if (status == IPS_OK) {
        unsigned unused = 64 - 8 * width;
        int64_t value = (int64_t)(number << unused) >> unused;
        token->kind = value < 0 ? IPS_TOKEN_INT : IPS_TOKEN_UINT;
        token->negative = value;
    }
    return status;
}

static inline int
take_float(ips_unpacker *unpacker, ips_token *token, unsigned width)
{
    uint64_t bits;
    int status = take_number(unpacker, width, &bits);
    if (status != IPS_OK) {
        return status;
    }
    token->kind = IPS_TOKEN_FLOAT;
    if (width == 8) {
        memcpy(&token->real, &bits, sizeof(token->real));
    } else {
        uint32_t half = (uint32_t)bits;
        float value;
        memcpy(&value, &half, sizeof(value));
        token->real = (double)value;
    }
    return IPS_OK;
}

/* An extension whose size was in its lead byte: its type comes next. */
static inline int
take_ext(ips_unpacker *unpacker, ips_token *token, uint64_t size)
{
    uint64_t type;
    int status = take_number(unpacker, 1, &type);
    token->ext = (int8_t)(uint8_t)type;
    return status == IPS_OK ? take_bytes(unpacker, token, IPS_TOKEN_EXT, size) : status;
}

/* Items whose size stands in `width` bytes after the lead byte. */
static inline int
take_sized(ips_unpacker *unpacker, ips_token *token, uint8_t kind, unsigned width)
{
    uint64_t size;
    int status = take_number(unpacker, width, &size);
    if (status != IPS_OK) {
        return status;
    }
    switch (kind) {
    case IPS_TOKEN_ARRAY:
    case IPS_TOKEN_MAP: return take_items(unpacker, token, kind, size);
    case IPS_TOKEN_EXT: return take_ext(unpacker, token, size);
    default: return take_bytes(unpacker, token, kind, size);
    }
}

static int
take_long(ips_unpacker *unpacker, ips_token *token, uint8_t lead)
{
    switch (lead) {
    case 0xc0: token->kind = IPS_TOKEN_NIL; return IPS_OK;
    case 0xc2:
    case 0xc3:
        token->kind = IPS_TOKEN_BOOL;
        token->boolean = lead == 0xc3;
        return IPS_OK;
    case 0xc4: return take_sized(unpacker, token, IPS_TOKEN_BIN, 1);
    case 0xc5: return take_sized(unpacker, token, IPS_TOKEN_BIN, 2);
    case 0xc6: return take_sized(unpacker, token, IPS_TOKEN_BIN, 4);
    case 0xc7: return take_sized(unpacker, token, IPS_TOKEN_EXT, 1);
    case 0xc8: return take_sized(unpacker, token, IPS_TOKEN_EXT, 2);
    case 0xc9: return take_sized(unpacker, token, IPS_TOKEN_EXT, 4);
    case 0xca: return take_float(unpacker, token, 4);
    case 0xcb: return take_float(unpacker, token, 8);
    case 0xcc: return take_uint(unpacker, token, 1);
    case 0xcd: return take_uint(unpacker, token, 2);
    case 0xce: return take_uint(unpacker, token, 4);
    case 0xcf: return take_uint(unpacker, token, 8);
    case 0xd0: return take_int(unpacker, token, 1);
    case 0xd1: return take_int(unpacker, token, 2);
    case 0xd2: return take_int(unpacker, token, 4);
    case 0xd3: return take_int(unpacker, token, 8);
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8: return take_ext(unpacker, token, UINT64_C(1) << (lead - 0xd4));
    case 0xd9: return take_sized(unpacker, token, IPS_TOKEN_STR, 1);
    case 0xda: return take_sized(unpacker, token, IPS_TOKEN_STR, 2);
    case 0xdb: return take_sized(unpacker, token, IPS_TOKEN_STR, 4);
    case 0xdc: return take_sized(unpacker, token, IPS_TOKEN_ARRAY, 2);
    case 0xdd: return take_sized(unpacker, token, IPS_TOKEN_ARRAY, 4);
    case 0xde: return take_sized(unpacker, token, IPS_TOKEN_MAP, 2);
    case 0xdf: return take_sized(unpacker, token, IPS_TOKEN_MAP, 4);
    default: return refuse(unpacker, "a byte that starts no value");
    }
}

int
ips_unpacker_next(ips_unpacker *unpacker, ips_token *token)
{
    if (unpacker->owed == 0 || unpacker->at == unpacker->end) {
        return refuse(unpacker, "the bytes end where a value should start");
    }
    unpacker->owed--;
    uint8_t lead = *unpacker->at++;
    if (lead < 0x80) {
        token->kind = IPS_TOKEN_UINT;
        token->natural = lead;
        return IPS_OK;
    }
    if (lead >= 0xe0) {
        token->kind = IPS_TOKEN_INT;
        token->negative = (int8_t)lead;
        return IPS_OK;
    }
    if (lead >= 0xc0) {
        return take_long(unpacker, token, lead);
    }
    if (lead >= 0xa0) {
        return take_bytes(unpacker, token, IPS_TOKEN_STR, lead & 0x1f);
    }
    return take_items(unpacker, token, lead >= 0x90 ? IPS_TOKEN_ARRAY : IPS_TOKEN_MAP, lead & 0x0f);
}

int
ips_unpacker_enter(ips_unpacker *unpacker)
{
    if (unpacker->depth >= IPS_UNPACKER_DEPTH) {
        return refuse(unpacker, "values nested too deep");
    }
    unpacker->depth++;
    return IPS_OK;
}

int
ips_unpacker_finish(const ips_unpacker *unpacker)
{
    return unpacker->owed == 0 && unpacker->at == unpacker->end
               ? IPS_OK
               : refuse(unpacker, "something else after the value");
}

int
ips_token_timestamp(const ips_token *token, int64_t *seconds, uint32_t *nanoseconds)
{
    uint64_t word;
    switch (token->size) {
    case 4:
        *seconds = (int64_t)ips_big_load(token->bytes, 4);
        *nanoseconds = 0;
        return IPS_OK;
    case 8:
        word = ips_big_load(token->bytes, 8);
        *seconds = (int64_t)(word & ((UINT64_C(1) << 34) - 1));
        word >>= 34;
        break;
    case 12:
        word = ips_big_load(token->bytes, 4);
        *seconds = (int64_t)ips_big_load(token->bytes + 4, 8);
        break;
    default:
        return ips_fail(IPS_EDECODE, "a timestamp of %u bytes", token->size);
    }
    *nanoseconds = (uint32_t)word;
    return word <= 999999999 ? IPS_OK
                             : ips_fail(IPS_EDECODE, "a timestamp whose fraction exceeds a second");
}
