/* SPDX-License-Identifier: Apache-2.0 */
/* A declaration beside what is stored: which field is which, what has become
 * of it, and the bytes of a narrow field as those of a wider one. */
#include "codec/schema.h"

#include <string.h>

enum family { NO_FAMILY, TRUTHS, INTEGERS, FLOATS, TEXTS, BYTES, ANYTHING };

static enum family
family_of(uint8_t type)
{
    switch (type) {
    case IPS_FIELD_BOOL:
    case IPS_FIELD_TRUTH:
        return TRUTHS;
    case IPS_FIELD_F32:
    case IPS_FIELD_F64:
    case IPS_FIELD_FLOAT:
        return FLOATS;
    case IPS_FIELD_TEXT:
    case IPS_FIELD_STR:
        return TEXTS;
    case IPS_FIELD_BLOB:
    case IPS_FIELD_BYTES:
        return BYTES;
    case IPS_FIELD_ANY:
        return ANYTHING;
    default:
        return type == IPS_FIELD_INT || (type >= IPS_FIELD_I8 && type <= IPS_FIELD_U64)
            ? INTEGERS : NO_FAMILY;
    }
}

/* An array's length; 0 for what is none. */
static uint32_t
items_of(const ips_field *field)
{
    return ips_field_is_sized(field) || ips_field_is_slot(field) ? 0 : field->count;
}

bool
ips_field_is_akin(const ips_field *one, const ips_field *other)
{
    return family_of(one->type) == family_of(other->type) && items_of(one) == items_of(other);
}

static bool
is_signed(uint8_t type)
{
    return type >= IPS_FIELD_I8 && type <= IPS_FIELD_I64;
}

static bool
integer_widens(uint8_t from, uint8_t to)
{
    if (from == to || to == IPS_FIELD_INT) {
        return true;
    }
    if (from == IPS_FIELD_INT || (is_signed(from) && !is_signed(to))) {
        return false;
    }
    return ips_field_width(from) < ips_field_width(to);
}

bool
ips_field_widens(const ips_field *from, const ips_field *to)
{
    if (!ips_field_is_akin(from, to) ||
        ((from->flags & ~to->flags) & IPS_FIELD_NULLABLE) != 0) {
        return false;
    }
    if (ips_field_is_sized(to)) {
        return from->type == to->type && from->count <= to->count;
    }
    if (family_of(from->type) == INTEGERS) {
        return integer_widens(from->type, to->type);
    }
    return from->type <= to->type; /* F32, F64, FLOAT; BOOL, TRUTH; TEXT, STR; BLOB, BYTES */
}

/* --- which field is which */

static bool
same_text(ips_text one, ips_text other)
{
    return one.size == other.size && memcmp(one.bytes, other.bytes, one.size) == 0;
}

static bool
has_alias(const ips_schema *schema, const ips_field *field, ips_text name)
{
    uint32_t at = 0;
    ips_text alias;
    for (uint32_t i = 0; i < field->alias_count && ips_field_alias(schema, field, &at, &alias);
         i++) {
        if (same_text(alias, name)) {
            return true;
        }
    }
    return false;
}

static bool
has_name(const ips_schema *schema, const ips_field *field, ips_text name)
{
    return same_text(ips_field_name(schema, field), name);
}

/* Was the declared field called as the stored one is, or was? */
static bool
was_called(const ips_schema *stored, const ips_field *one, const ips_schema *declared,
    const ips_field *other)
{
    uint32_t at = 0;
    ips_text alias;
    for (uint32_t i = 0;
         i < other->alias_count && ips_field_alias(declared, other, &at, &alias); i++) {
        if (has_name(stored, one, alias) || has_alias(stored, one, alias)) {
            return true;
        }
    }
    return false;
}

enum { BY_NAME, BY_STORED_ALIAS, BY_DECLARED_ALIAS };

static bool
is_it(const ips_schema *stored, const ips_field *one, const ips_schema *declared,
    const ips_field *other, int way)
{
    const ips_text name = ips_field_name(declared, other);
    return way == BY_NAME           ? has_name(stored, one, name)
           : way == BY_STORED_ALIAS ? has_alias(stored, one, name)
                                    : was_called(stored, one, declared, other);
}

static bool
is_claimed(const int32_t *map, uint32_t fields, uint32_t stored)
{
    for (uint32_t i = 0; i < fields; i++) {
        if (map[i] == (int32_t)stored) {
            return true;
        }
    }
    return false;
}

/* Match in one way whatever is not matched yet. */
static void
match(const ips_schema *stored, const ips_schema *declared, int way, int32_t *map)
{
    for (uint32_t i = 0; i < declared->head.fields; i++) {
        for (uint32_t j = 0; map[i] < 0 && j < stored->head.fields; j++) {
            if (is_it(stored, &stored->field[j], declared, &declared->field[i], way) &&
                !is_claimed(map, declared->head.fields, j)) {
                map[i] = (int32_t)j;
            }
        }
    }
}

/* An older program's name for a field is a former one where there is one: a
 * later field may have got the name since. */
static void
match_all(const ips_schema *stored, const ips_schema *declared, int32_t *map)
{
    const bool older = declared->head.version < stored->head.version;
    for (uint32_t i = 0; i < declared->head.fields; i++) {
        map[i] = -1;
    }
    match(stored, declared, older ? BY_STORED_ALIAS : BY_NAME, map);
    match(stored, declared, older ? BY_NAME : BY_DECLARED_ALIAS, map);
}

/* --- what has become of it */

static uint32_t
judge_declared(const ips_schema *stored, const ips_schema *declared, uint32_t index, int32_t at)
{
    const bool older = declared->head.version < stored->head.version;
    const ips_field *wanted = &declared->field[index];
    if (at < 0) {
        return older                                       ? IPS_CHANGE_MISSING
               : (wanted->flags & IPS_FIELD_DEFAULT) != 0 ? IPS_CHANGE_ADDED
                                                           : IPS_CHANGE_NO_DEFAULT;
    }
    const ips_field *there = &stored->field[at];
    uint32_t what = has_name(stored, there, ips_field_name(declared, wanted))
        ? 0 : IPS_CHANGE_RENAMED;
    const bool differs = there->type != wanted->type || there->count != wanted->count ||
                         ((there->flags ^ wanted->flags) & IPS_FIELD_NULLABLE) != 0;
    if (differs && older) {
        what |= ips_field_is_akin(there, wanted) ? IPS_CHANGE_RETYPED : IPS_CHANGE_TYPE;
    } else if (differs) {
        what |= ips_field_widens(there, wanted) ? IPS_CHANGE_WIDENED : IPS_CHANGE_TYPE;
    }
    return what;
}

static void
note(ips_schema_comparison *out, uint32_t what, int32_t stored, int32_t declared)
{
    if (what != 0) {
        out->changes[out->count++] = (ips_schema_change){what, stored, declared};
    }
    if ((what & IPS_CHANGE_FATAL) != 0) {
        out->reasons |= IPS_SCHEMA_FIELDS;
    }
}

void
ips_schema_compare(const ips_schema *stored, const ips_schema *declared,
    ips_schema_comparison *out)
{
    const uint32_t then = stored->head.version;
    const uint32_t now = declared->head.version;
    out->count = 0;
    out->reasons = same_text(ips_schema_name(stored), ips_schema_name(declared))
        ? 0 : IPS_SCHEMA_OTHER_NAME;
    match_all(stored, declared, out->map);
    for (uint32_t i = 0; i < declared->head.fields; i++) {
        note(out, judge_declared(stored, declared, i, out->map[i]), out->map[i], (int32_t)i);
    }
    for (uint32_t j = 0; now >= then && j < stored->head.fields; j++) {
        if ((stored->field[j].flags & IPS_FIELD_RETIRED) == 0 &&
            !is_claimed(out->map, declared->head.fields, j)) {
            note(out, IPS_CHANGE_REMOVED, (int32_t)j, -1);
        }
    }
    out->reasons |= now < stored->head.floor ? IPS_SCHEMA_MIGRATED : 0;
    out->reasons |= now == then && out->count != 0 ? IPS_SCHEMA_SAME_VERSION : 0;
    out->fit = out->reasons != 0 ? IPS_SCHEMA_UNFIT
               : now == then     ? IPS_SCHEMA_SAME
               : now < then      ? IPS_SCHEMA_OLDER
                                 : IPS_SCHEMA_NEWER;
}

/* --- the bytes */

static uint64_t
load_bits(const uint8_t *at, uint32_t width)
{
    uint16_t two;
    uint32_t four;
    uint64_t eight;
    switch (width) {
    case 1:
        return *at;
    case 2:
        memcpy(&two, at, sizeof two);
        return two;
    case 4:
        memcpy(&four, at, sizeof four);
        return four;
    default:
        memcpy(&eight, at, sizeof eight);
        return eight;
    }
}

static void
store_bits(uint8_t *at, uint32_t width, uint64_t bits)
{
    const uint16_t two = (uint16_t)bits;
    const uint32_t four = (uint32_t)bits;
    switch (width) {
    case 1:
        *at = (uint8_t)bits;
        break;
    case 2:
        memcpy(at, &two, sizeof two);
        break;
    case 4:
        memcpy(at, &four, sizeof four);
        break;
    default:
        memcpy(at, &bits, sizeof bits);
    }
}

static int64_t
read_integer(uint8_t type, const uint8_t *at)
{
    const uint32_t width = ips_field_width(type);
    uint64_t bits = load_bits(at, width);
    if (is_signed(type) && width < 8) {
        const uint64_t sign = UINT64_C(1) << (width * 8 - 1);
        bits = (bits ^ sign) - sign;
    }
    return (int64_t)bits;
}

static void
convert_item(uint8_t from, const uint8_t *old, uint8_t to, uint8_t *new)
{
    if (from == IPS_FIELD_F32 && to == IPS_FIELD_F64) {
        float narrow;
        memcpy(&narrow, old, sizeof narrow);
        const double wide = (double)narrow;
        memcpy(new, &wide, sizeof wide);
    } else if (family_of(from) == INTEGERS) {
        store_bits(new, ips_field_width(to), (uint64_t)read_integer(from, old));
    } else {
        memcpy(new, old, ips_field_width(from));
    }
}

void
ips_field_convert(const ips_field *from, const uint8_t *old, const ips_field *to, uint8_t *new)
{
    memset(new, 0, ips_field_size(to));
    if (ips_field_is_sized(from)) {
        memcpy(new, old, ips_field_size(from));
        return;
    }
    const uint32_t count = from->count == 0 ? 1 : from->count;
    for (uint32_t i = 0; i < count; i++) {
        convert_item(from->type, old + i * ips_field_width(from->type), to->type,
            new + i * ips_field_width(to->type));
    }
}

ips_text
ips_field_lift(const ips_field *from, const uint8_t *old, uint8_t room[16])
{
    if (ips_field_is_sized(from)) {
        uint32_t size;
        memcpy(&size, old, sizeof size);
        return (ips_text){old + sizeof size, size <= from->count ? size : from->count};
    }
    if (family_of(from->type) != INTEGERS) {
        const ips_field wide = {.type = from->type == IPS_FIELD_F32 ? IPS_FIELD_F64 : from->type};
        ips_field_convert(&(ips_field){.type = from->type}, old, &wide, room);
        return (ips_text){room, ips_field_width(wide.type)};
    }
    const int64_t value = read_integer(from->type, old);
    if (from->type != IPS_FIELD_U64 || value >= 0) {
        memcpy(room, &value, sizeof value);
        return (ips_text){room, 8};
    }
    for (unsigned i = 0; i < 9; i++) { /* positive: one more byte for the sign */
        room[i] = i < 8 ? (uint8_t)((uint64_t)value >> 8 * i) : 0;
    }
    return (ips_text){room, 9};
}
