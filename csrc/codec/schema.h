/* SPDX-License-Identifier: Apache-2.0 */
/* The layout of a record, and what becomes of it from one version of its
 * declaration to the next: pure functions over buffers.
 *
 * Byte map of a descriptor (`size` bytes, a multiple of 8):
 *
 *   0    size       4
 *   4    version    4  of the declaration, from 1 on
 *   8    floor      4  programs of lesser versions may not use the record: it
 *                      was migrated
 *   12   fields     4  number of fields
 *   16   body       4  bytes of a record's body, a multiple of 8
 *   20   name       4  where the record's name stands
 *   24   name_size  4
 *   28   reserved   4
 *   32   the fields, 24 bytes each, in order of declaration:
 *          0   offset       4  in the body
 *          4   type         1  enum ips_field_type
 *          5   flags        1
 *          6   name_size    2
 *          8   count        4  an array's length, 0: none; of TEXT and BLOB the
 *                              most bytes
 *          12  name         4  where its name stands
 *          16  aliases      4  where its former names stand, one after the
 *                              other, each behind its size in two bytes
 *          20  alias_count  2
 *          22  reserved     2
 *   ...  the texts, UTF-8
 *
 * A body holds the fields: those of 8 bytes first, then the narrower ones, so
 * that none crosses a word.  TEXT and BLOB are a count of 4 bytes and so many
 * bytes.  What has no limit is two words (`ips_slot`): size and kind of the
 * value, and the value itself up to 8 bytes, else where it lies. */
#ifndef IPS_CODEC_SCHEMA_H
#define IPS_CODEC_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define IPS_SCHEMA_FIELDS_MAX 1024u
#define IPS_SCHEMA_SIZE_MAX (1u << 20)
#define IPS_SCHEMA_BODY_MAX (1u << 24)
#define IPS_SCHEMA_COUNT_MAX (1u << 20)
#define IPS_SCHEMA_ALIASES_MAX 64u

/* Stable numbers: they stand in files. */
enum ips_field_type {
    IPS_FIELD_BOOL = 1,
    IPS_FIELD_I8 = 2,
    IPS_FIELD_I16 = 3,
    IPS_FIELD_I32 = 4,
    IPS_FIELD_I64 = 5,
    IPS_FIELD_U8 = 6,
    IPS_FIELD_U16 = 7,
    IPS_FIELD_U32 = 8,
    IPS_FIELD_U64 = 9,
    IPS_FIELD_F32 = 10,
    IPS_FIELD_F64 = 11,
    IPS_FIELD_TEXT = 12, /* of at most `count` bytes */
    IPS_FIELD_BLOB = 13,
    IPS_FIELD_STR = 16, /* from here on slots */
    IPS_FIELD_BYTES = 17,
    IPS_FIELD_INT = 18, /* two's complement: a word as the machine's, else little-endian */
    IPS_FIELD_ANY = 19,
    IPS_FIELD_FLOAT = 20, /* F64 and BOOL that may be None */
    IPS_FIELD_TRUTH = 21,
};

enum {
    IPS_FIELD_RETIRED = 1,  /* no longer declared; kept for older programs */
    IPS_FIELD_NULLABLE = 2, /* None too; slots only */
    IPS_FIELD_DEFAULT = 4,  /* the declaration has a default; never in a descriptor, only in
                             * the fields that ips_schema_compare is given */
};

typedef struct {
    uint32_t size, version, floor, fields, body, name, name_size, reserved;
} ips_schema_head;

typedef struct {
    uint32_t offset;
    uint8_t type, flags;
    uint16_t name_size;
    uint32_t count, name, aliases;
    uint16_t alias_count, reserved;
} ips_field;

_Static_assert(sizeof(ips_schema_head) == 32, "byte map above");
_Static_assert(sizeof(ips_field) == 24, "byte map above");
_Static_assert(offsetof(ips_field, alias_count) == 20, "byte map above");

/* A descriptor in private memory, checked. */
typedef struct {
    const uint8_t *bytes;
    ips_schema_head head;
    const ips_field *field;
    uint64_t hash;
} ips_schema;

typedef struct {
    const uint8_t *bytes;
    uint32_t size;
} ips_text;

typedef struct {
    uint64_t word;  /* size of the value, kind in the top byte */
    uint64_t place; /* the value up to 8 bytes, else where it lies */
} ips_slot;

#define IPS_SLOT_INLINE 8u
#define IPS_SLOT_NONE 255u /* kind of None in a field that is not ANY */

/* `bytes` are 8-aligned and stay where they are.  IPS_ECORRUPT. */
IPS_MUST_CHECK int ips_schema_parse(const void *bytes, size_t size, ips_schema *out);
ips_text ips_schema_name(const ips_schema *schema);
ips_text ips_field_name(const ips_schema *schema, const ips_field *field);
/* The first former name from *at on (0 at first), and a step over it. */
bool ips_field_alias(const ips_schema *schema, const ips_field *field, uint32_t *at, ips_text *out);

static inline bool
ips_field_is_slot(const ips_field *field)
{
    return field->type >= IPS_FIELD_STR;
}

static inline bool
ips_field_is_sized(const ips_field *field)
{
    return field->type == IPS_FIELD_TEXT || field->type == IPS_FIELD_BLOB;
}

/* Bytes of one item: 1, 2, 4 or 8; of a sized field its count's 4. */
uint32_t ips_field_width(uint8_t type);
/* Bytes in the body. */
uint64_t ips_field_size(const ips_field *field);

/* What a descriptor is made of. */
typedef struct {
    ips_text name;
    const ips_text *aliases;
    uint32_t alias_count;
    uint32_t count;
    uint8_t type, flags;
} ips_field_spec;

typedef struct {
    ips_text name;
    uint32_t version, floor;
    const ips_field_spec *fields;
    uint32_t count;
} ips_schema_spec;

/* A descriptor in malloc'd bytes.  IPS_ETOOBIG, IPS_ENOMEM. */
IPS_MUST_CHECK int ips_schema_build(const ips_schema_spec *spec, uint8_t **bytes, size_t *size);

/* Can every value of the one be stored in the other? */
bool ips_field_widens(const ips_field *from, const ips_field *to);
/* Values of the one are of the other's Python type, whatever their range. */
bool ips_field_is_akin(const ips_field *one, const ips_field *other);

/* --- a program's declaration beside what is stored */

enum ips_schema_fit {
    IPS_SCHEMA_SAME,     /* use it as it is */
    IPS_SCHEMA_OLDER,    /* the program is older: use it by the map */
    IPS_SCHEMA_NEWER,    /* the program is newer: upgrade what is stored, then use it */
    IPS_SCHEMA_UNFIT,
};

/* Why not, for the whole. */
enum {
    IPS_SCHEMA_OTHER_NAME = 1,
    IPS_SCHEMA_MIGRATED = 2,     /* the program is below the floor */
    IPS_SCHEMA_SAME_VERSION = 4, /* both say they are of the same version, and differ */
    IPS_SCHEMA_FIELDS = 8,       /* some changes below are IPS_CHANGE_FATAL */
};

/* What became of one field. */
enum {
    IPS_CHANGE_ADDED = 1,   /* declared, not stored, with a default */
    IPS_CHANGE_REMOVED = 2, /* stored, not declared */
    IPS_CHANGE_RENAMED = 4,
    IPS_CHANGE_WIDENED = 8,
    IPS_CHANGE_RETYPED = 16, /* an older program's type is not the stored one, but akin */
    IPS_CHANGE_MISSING = 32, /* an older program's field that is not stored */
    IPS_CHANGE_NO_DEFAULT = 64 | 256,
    IPS_CHANGE_TYPE = 128 | 256,
    IPS_CHANGE_FATAL = 256,
};

typedef struct {
    uint32_t what;
    int32_t stored, declared; /* indices, or -1 */
} ips_schema_change;

/* `map` has a place for each declared field: the stored one's index or -1;
 * `changes` for each field of both. */
typedef struct {
    enum ips_schema_fit fit;
    uint32_t reasons;
    uint32_t count; /* of changes */
    int32_t *map;
    ips_schema_change *changes;
} ips_schema_comparison;

void ips_schema_compare(const ips_schema *stored, const ips_schema *declared,
    ips_schema_comparison *out);

/* The bytes of one field as those of one that it widens to; neither is a slot. */
void ips_field_convert(const ips_field *from, const uint8_t *old, const ips_field *to,
    uint8_t *new);
/* The same for a slot: the value's bytes, in `room` or among the old ones. */
ips_text ips_field_lift(const ips_field *from, const uint8_t *old, uint8_t room[16]);

#endif
