/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/schema.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/hash.h"

uint32_t
ips_field_width(uint8_t type)
{
    switch (type) {
    case IPS_FIELD_BOOL:
    case IPS_FIELD_I8:
    case IPS_FIELD_U8:
        return 1;
    case IPS_FIELD_I16:
    case IPS_FIELD_U16:
        return 2;
    case IPS_FIELD_I32:
    case IPS_FIELD_U32:
    case IPS_FIELD_F32:
    case IPS_FIELD_TEXT:
    case IPS_FIELD_BLOB:
        return 4;
    case IPS_FIELD_I64:
    case IPS_FIELD_U64:
    case IPS_FIELD_F64:
    case IPS_FIELD_STR:
    case IPS_FIELD_BYTES:
    case IPS_FIELD_INT:
    case IPS_FIELD_ANY:
    case IPS_FIELD_FLOAT:
    case IPS_FIELD_TRUTH:
        return 8;
    default:
        return 0;
    }
}

uint64_t
ips_field_size(const ips_field *field)
{
    if (ips_field_is_slot(field)) {
        return sizeof(ips_slot);
    }
    if (ips_field_is_sized(field)) {
        return 4 + ips_align_up(field->count, 4);
    }
    return (uint64_t)ips_field_width(field->type) * (field->count == 0 ? 1 : field->count);
}

/* --- reading */

static int
unsound(const char *what)
{
    return ips_fail(IPS_ECORRUPT, "a record's layout: %s", what);
}

bool
ips_field_alias(const ips_schema *schema, const ips_field *field, uint32_t *at, ips_text *out)
{
    uint16_t size;
    uint32_t where = *at == 0 ? field->aliases : *at;
    if (field->alias_count == 0 || !ips_within(where, sizeof size, schema->head.size)) {
        return false;
    }
    memcpy(&size, schema->bytes + where, sizeof size);
    if (size == 0 || !ips_within(where + sizeof size, size, schema->head.size)) {
        return false; /* size 0 ends them */
    }
    *out = (ips_text){schema->bytes + where + sizeof size, size};
    *at = where + (uint32_t)sizeof size + size;
    return true;
}

static bool
is_field_sound(const ips_schema *schema, const ips_field *field)
{
    const uint32_t width = ips_field_width(field->type);
    ips_text alias;
    uint32_t at = 0, aliases = 0;
    while (aliases < field->alias_count && aliases <= IPS_SCHEMA_ALIASES_MAX &&
           ips_field_alias(schema, field, &at, &alias)) {
        aliases++;
    }
    return width != 0 && field->count <= IPS_SCHEMA_COUNT_MAX && field->offset % width == 0 &&
           (field->count == 0 || !ips_field_is_slot(field)) &&
           (field->count != 0 || !ips_field_is_sized(field)) && field->name_size != 0 &&
           ips_within(field->offset, ips_field_size(field), schema->head.body) &&
           ips_within(field->name, field->name_size, schema->head.size) &&
           aliases == field->alias_count && aliases <= IPS_SCHEMA_ALIASES_MAX;
}

int
ips_schema_parse(const void *bytes, size_t size, ips_schema *out)
{
    out->bytes = bytes;
    out->field = (const ips_field *)(const void *)(out->bytes + sizeof out->head);
    if (size < sizeof out->head || size > IPS_SCHEMA_SIZE_MAX || size % 8 != 0) {
        return unsound("its size cannot be");
    }
    memcpy(&out->head, bytes, sizeof out->head);
    const ips_schema_head *head = &out->head;
    if (head->size != size || head->fields > IPS_SCHEMA_FIELDS_MAX ||
        head->fields * sizeof(ips_field) > size - sizeof *head ||
        head->body > IPS_SCHEMA_BODY_MAX || head->body % 8 != 0 || head->version == 0 ||
        head->floor > head->version || !ips_within(head->name, head->name_size, head->size)) {
        return unsound("its head makes no sense");
    }
    for (uint32_t i = 0; i < head->fields; i++) {
        if (!is_field_sound(out, &out->field[i])) {
            return unsound("one of its fields makes no sense");
        }
    }
    out->hash = ips_hash(bytes, size);
    return 0;
}

ips_text
ips_schema_name(const ips_schema *schema)
{
    return (ips_text){schema->bytes + schema->head.name, schema->head.name_size};
}

ips_text
ips_field_name(const ips_schema *schema, const ips_field *field)
{
    return (ips_text){schema->bytes + field->name, field->name_size};
}

/* --- building */

static uint64_t
size_of(const ips_schema_spec *spec)
{
    uint64_t size = sizeof(ips_schema_head) + spec->count * sizeof(ips_field) + spec->name.size;
    for (uint32_t i = 0; i < spec->count; i++) {
        const ips_field_spec *field = &spec->fields[i];
        size += field->name.size;
        for (uint32_t j = 0; j < field->alias_count; j++) {
            size += sizeof(uint16_t) + field->aliases[j].size;
        }
    }
    return ips_align_up(size, 8);
}

/* Offsets, the wide fields first; the size of the body. */
static uint64_t
lay_out(ips_field *fields, uint32_t count)
{
    uint64_t end = 0;
    for (uint32_t width = 8; width != 0; width /= 2) {
        for (uint32_t i = 0; i < count; i++) {
            if (ips_field_width(fields[i].type) == width) {
                fields[i].offset = (uint32_t)end;
                end += ips_field_size(&fields[i]);
                end = end > IPS_SCHEMA_BODY_MAX ? IPS_SCHEMA_BODY_MAX + 1 : end;
            }
        }
    }
    return ips_align_up(end, 8);
}

static uint32_t
put_text(uint8_t *bytes, uint32_t *end, ips_text text)
{
    const uint32_t at = *end;
    if (text.size != 0) {
        memcpy(bytes + at, text.bytes, text.size);
    }
    *end += text.size;
    return at;
}

static void
put_field(uint8_t *bytes, uint32_t *end, const ips_field_spec *spec, ips_field *out)
{
    *out = (ips_field){.type = spec->type, .flags = spec->flags & ~IPS_FIELD_DEFAULT,
        .count = spec->count, .name_size = (uint16_t)spec->name.size,
        .alias_count = (uint16_t)spec->alias_count};
    out->name = put_text(bytes, end, spec->name);
    out->aliases = spec->alias_count == 0 ? 0 : *end;
    for (uint32_t i = 0; i < spec->alias_count; i++) {
        const uint16_t size = (uint16_t)spec->aliases[i].size;
        memcpy(bytes + *end, &size, sizeof size);
        *end += (uint32_t)sizeof size;
        (void)put_text(bytes, end, spec->aliases[i]);
    }
}

static bool
is_spec_possible(const ips_schema_spec *spec)
{
    bool possible = spec->count <= IPS_SCHEMA_FIELDS_MAX && spec->name.size <= UINT16_MAX;
    for (uint32_t i = 0; possible && i < spec->count; i++) {
        const ips_field_spec *field = &spec->fields[i];
        possible = field->name.size != 0 && field->name.size <= UINT16_MAX &&
                   field->alias_count <= IPS_SCHEMA_ALIASES_MAX &&
                   field->count <= IPS_SCHEMA_COUNT_MAX;
        for (uint32_t j = 0; possible && j < field->alias_count; j++) {
            possible = field->aliases[j].size != 0 && field->aliases[j].size <= UINT16_MAX;
        }
    }
    return possible && size_of(spec) <= IPS_SCHEMA_SIZE_MAX;
}

int
ips_schema_build(const ips_schema_spec *spec, uint8_t **bytes, size_t *size)
{
    if (!is_spec_possible(spec)) {
        return ips_fail(IPS_ETOOBIG, "a record of %u fields or their names", spec->count);
    }
    *size = size_of(spec);
    uint8_t *made = calloc(1, *size);
    if (made == NULL) {
        return ips_fail(IPS_ENOMEM, "a record's layout");
    }
    ips_field *fields = (ips_field *)(void *)(made + sizeof(ips_schema_head));
    uint32_t end = (uint32_t)(sizeof(ips_schema_head) + spec->count * sizeof(ips_field));
    ips_schema_head head = {.size = (uint32_t)*size, .version = spec->version,
        .floor = spec->floor, .fields = spec->count, .name_size = spec->name.size};
    head.name = put_text(made, &end, spec->name);
    for (uint32_t i = 0; i < spec->count; i++) {
        put_field(made, &end, &spec->fields[i], &fields[i]);
    }
    const uint64_t body = lay_out(fields, spec->count);
    if (body > IPS_SCHEMA_BODY_MAX) {
        free(made);
        return ips_fail(IPS_ETOOBIG, "a record of more than %u bytes", IPS_SCHEMA_BODY_MAX);
    }
    head.body = (uint32_t)body;
    memcpy(made, &head, sizeof head);
    *bytes = made;
    return 0;
}
