/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "codec/bigendian.h"
#include "codec/msgpack.h"

void
ips_packer_clear(ips_packer *packer)
{
    free(packer->heap);
    ips_packer_init(packer, NULL, 0);
}

int
ips_packer_grow(ips_packer *packer, size_t more)
{
    if (more > SIZE_MAX / 4 - packer->size) {
        return ips_fail(IPS_ENOMEM, "%zu bytes on top of %zu", more, packer->size);
    }
    size_t capacity = packer->capacity * 2;
    if (capacity < packer->size + more) {
        capacity = packer->size + more;
    }
    uint8_t *bytes = realloc(packer->heap, capacity);
    if (bytes == NULL) {
        return ips_fail(IPS_ENOMEM, "a buffer of %zu bytes", capacity);
    }
    if (packer->heap == NULL && packer->size != 0) {
        memcpy(bytes, packer->bytes, packer->size);
    }
    packer->heap = packer->bytes = bytes;
    packer->capacity = capacity;
    return IPS_OK;
}

/* A byte that says what follows, and `width` bytes of a number. */
static inline int
put_number(ips_packer *packer, uint8_t lead, uint64_t number, unsigned width)
{
    int status = ips_packer_reserve(packer, 9);
    if (status == IPS_OK) {
        uint8_t *at = packer->bytes + packer->size;
        at[0] = lead;
        ips_big_store(at + 1, number, width);
        packer->size += 1 + width;
    }
    return status;
}

int
ips_packer_put_uint(ips_packer *packer, uint64_t value)
{
    if (value < 0x80) {
        return ips_packer_put_byte(packer, (uint8_t)value);
    }
    if (value <= UINT8_MAX) {
        return put_number(packer, 0xcc, value, 1);
    }
    if (value <= UINT16_MAX) {
        return put_number(packer, 0xcd, value, 2);
    }
    if (value <= UINT32_MAX) {
        return put_number(packer, 0xce, value, 4);
    }
    return put_number(packer, 0xcf, value, 8);
}

int
ips_packer_put_int(ips_packer *packer, int64_t value)
{
    if (value >= 0) {
        return ips_packer_put_uint(packer, (uint64_t)value);
    }
    if (value >= -32) {
        return ips_packer_put_byte(packer, (uint8_t)value);
    }
    if (value >= INT8_MIN) {
        return put_number(packer, 0xd0, (uint64_t)value, 1);
    }
    if (value >= INT16_MIN) {
        return put_number(packer, 0xd1, (uint64_t)value, 2);
    }
    if (value >= INT32_MIN) {
        return put_number(packer, 0xd2, (uint64_t)value, 4);
    }
    return put_number(packer, 0xd3, (uint64_t)value, 8);
}

int
ips_packer_put_float(ips_packer *packer, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return put_number(packer, 0xcb, bits, 8);
}

/* How each family of heads spells a size: up to `short_max` in the lead byte,
 * then in one (where it has that), two or four bytes. */
typedef struct {
    uint32_t short_max;
    uint8_t short_lead;
    uint8_t lead8; /* 0: none */
    uint8_t lead16;
    uint8_t lead32;
} family;

static inline int
put_head(ips_packer *packer, family heads, size_t size)
{
    if (heads.short_lead != 0 && size <= heads.short_max) {
        return ips_packer_put_byte(packer, (uint8_t)(heads.short_lead | size));
    }
    if (heads.lead8 != 0 && size <= UINT8_MAX) {
        return put_number(packer, heads.lead8, size, 1);
    }
    if (size <= UINT16_MAX) {
        return put_number(packer, heads.lead16, size, 2);
    }
    if (size <= UINT32_MAX) {
        return put_number(packer, heads.lead32, size, 4);
    }
    return ips_fail(IPS_ETOOBIG, "%zu bytes or items in one value of MessagePack", size);
}

static inline int
put_bytes(ips_packer *packer, const void *bytes, size_t size)
{
    int status = ips_packer_reserve(packer, size);
    if (status == IPS_OK && size != 0) {
        memcpy(packer->bytes + packer->size, bytes, size);
        packer->size += size;
    }
    return status;
}

int
ips_packer_put_str(ips_packer *packer, const void *utf8, size_t size)
{
    int status = put_head(packer, (family){31, 0xa0, 0xd9, 0xda, 0xdb}, size);
    return status == IPS_OK ? put_bytes(packer, utf8, size) : status;
}

int
ips_packer_put_bin(ips_packer *packer, const void *bytes, size_t size)
{
    int status = put_head(packer, (family){0, 0, 0xc4, 0xc5, 0xc6}, size);
    return status == IPS_OK ? put_bytes(packer, bytes, size) : status;
}

int
ips_packer_put_array(ips_packer *packer, size_t count)
{
    return put_head(packer, (family){15, 0x90, 0, 0xdc, 0xdd}, count);
}

int
ips_packer_put_map(ips_packer *packer, size_t pairs)
{
    return put_head(packer, (family){15, 0x80, 0, 0xde, 0xdf}, pairs);
}

/* Extensions have leads of their own for the sizes 1, 2, 4, 8 and 16. */
static inline uint8_t
fixed_ext_lead(size_t size)
{
    switch (size) {
    case 1: return 0xd4;
    case 2: return 0xd5;
    case 4: return 0xd6;
    case 8: return 0xd7;
    case 16: return 0xd8;
    default: return 0;
    }
}

static inline size_t
ext_head_size(size_t size)
{
    if (fixed_ext_lead(size) != 0) {
        return 2;
    }
    return size <= UINT8_MAX ? 3 : size <= UINT16_MAX ? 4 : 6;
}

static int
put_ext_head(ips_packer *packer, int8_t type, size_t size)
{
    uint8_t fixed = fixed_ext_lead(size);
    int status = fixed != 0 ? ips_packer_put_byte(packer, fixed)
                            : put_head(packer, (family){0, 0, 0xc7, 0xc8, 0xc9}, size);
    return status == IPS_OK ? ips_packer_put_byte(packer, (uint8_t)type) : status;
}

int
ips_packer_put_ext(ips_packer *packer, int8_t type, const void *bytes, size_t size)
{
    int status = put_ext_head(packer, type, size);
    return status == IPS_OK ? put_bytes(packer, bytes, size) : status;
}

int
ips_packer_open_ext(ips_packer *packer, size_t guess, ips_packer_ext *ext)
{
    ext->start = packer->size;
    ext->head = ext_head_size(guess);
    int status = ips_packer_reserve(packer, ext->head);
    if (status == IPS_OK) {
        packer->size += ext->head;
    }
    return status;
}

int
ips_packer_close_ext(ips_packer *packer, const ips_packer_ext *ext, int8_t type)
{
    size_t size = packer->size - ext->start - ext->head;
    if (size > UINT32_MAX) {
        return ips_fail(IPS_ETOOBIG, "an extension of %zu bytes", size);
    }
    size_t head = ext_head_size(size);
    if (head != ext->head) {
        int status = ips_packer_reserve(packer, head);
        if (status != IPS_OK) {
            return status;
        }
        uint8_t *start = packer->bytes + ext->start;
        memmove(start + head, start + ext->head, size);
    }
    packer->size = ext->start;
    int status = put_ext_head(packer, type, size);
    packer->size = ext->start + head + size;
    return status;
}

int
ips_packer_put_timestamp(ips_packer *packer, int64_t seconds, uint32_t nanoseconds)
{
    uint8_t content[12];
    if (nanoseconds == 0 && seconds >= 0 && seconds <= UINT32_MAX) {
        ips_big_store(content, (uint64_t)seconds, 4);
        return ips_packer_put_ext(packer, IPS_EXT_TIMESTAMP, content, 4);
    }
    if (seconds >= 0 && seconds >> 34 == 0) {
        ips_big_store(content, (uint64_t)nanoseconds << 34 | (uint64_t)seconds, 8);
        return ips_packer_put_ext(packer, IPS_EXT_TIMESTAMP, content, 8);
    }
    ips_big_store(content, nanoseconds, 4);
    ips_big_store(content + 4, (uint64_t)seconds, 8);
    return ips_packer_put_ext(packer, IPS_EXT_TIMESTAMP, content, 12);
}
