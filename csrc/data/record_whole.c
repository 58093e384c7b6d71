/* SPDX-License-Identifier: Apache-2.0 */
/* Records: made, given another layout, checked, destroyed. */
#include <stdlib.h>
#include <string.h>

#include "base/atomics.h"
#include "base/checked.h"
#include "data/layouts.h"
#include "data/reach.h"
#include "data/record_slot.h"
#include "data/report.h"

/* relaxed: the lock's holder. */
#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

/* What an upgrade changes of the root, in the root's order. */
typedef struct {
    uint64_t body, layout, hash;
} form;

_Static_assert(sizeof(form) == offsetof(ips_record_shm, reserved) - offsetof(ips_record_shm, body),
    "written to the root in one piece");

/* --- made */

/* A body that nobody else knows, zeroed. */
static int
make_body(ips_segment *segment, const ips_schema *schema, ips_offset *out, uint8_t **at)
{
    const size_t size = schema->head.body == 0 ? 8 : schema->head.body;
    void *block;
    int status = ips_fresh_block(segment, size, out, &block);
    if (status == 0) {
        memset(block, 0, size);
        *at = block;
    }
    return status;
}

static int
fill_field(ips_segment *segment, const ips_field *field, const ips_value *value, uint8_t *body)
{
    ips_slot slot;
    if (!ips_field_is_slot(field)) {
        if (value->size != ips_field_size(field)) {
            return ips_fail(IPS_EMISMATCH, "a value of %zu bytes for a field of %llu",
                value->size, (unsigned long long)ips_field_size(field));
        }
        memcpy(body + field->offset, value->bytes, value->size);
        return 0;
    }
    int status = ips_slot_make(segment, value, &slot);
    memcpy(body + field->offset, &slot, sizeof slot);
    return status;
}

int
ips_record_create(ips_segment *segment, const ips_schema *schema, const ips_value *values,
    ips_offset *out)
{
    void *at;
    uint8_t *body = NULL;
    form now = {.hash = schema->hash};
    int status = ips_fresh_block(segment, sizeof(ips_record_shm), out, &at);
    if (status == 0) {
        status = make_body(segment, schema, &now.body, &body);
    }
    for (uint32_t i = 0; status == 0 && i < schema->head.fields; i++) {
        status = fill_field(segment, &schema->field[i], &values[i], body);
    }
    if (status == 0) {
        status = ips_layout_take(segment, schema, &now.layout);
    }
    if (status < 0) {
        return status;
    }
    ips_record_shm *shm = at;
    memset(shm, 0, sizeof *shm);
    /* relaxed: nobody else knows the block until it has its name. */
    atomic_store_explicit(&shm->root.type, IPS_TYPE_RECORD, memory_order_relaxed);
    atomic_store_explicit(&shm->body, now.body, memory_order_relaxed);
    atomic_store_explicit(&shm->layout, now.layout, memory_order_relaxed);
    atomic_store_explicit(&shm->hash, now.hash, memory_order_relaxed);
    ips_fresh_ready();
    return 0;
}

/* --- another layout */

/* A field of the new body from the old one's; slots move. */
static int
carry_over(ips_segment *segment, const ips_field *from, const uint8_t *old, const ips_field *to,
    uint8_t *new)
{
    if (ips_field_is_slot(from) != ips_field_is_slot(to)) {
        uint8_t room[16];
        if (ips_field_is_slot(from)) {
            return ips_fail(IPS_EMISMATCH, "a value without a limit into a field with one");
        }
        const ips_text text = ips_field_lift(from, old + from->offset, room);
        const ips_value value = {text.bytes, text.size, 0};
        return fill_field(segment, to, &value, new);
    }
    if (ips_field_is_slot(from)) {
        ips_copy_racing(new + to->offset, old + from->offset, sizeof(ips_slot));
    } else {
        ips_field_convert(from, old + from->offset, to, new + to->offset);
    }
    return 0;
}

/* All fields of the new body; which old ones went into it. */
static int
fill_body(const ips_record *record, const ips_schema *old, const ips_schema *schema,
    const ips_record_source *sources, uint8_t *body, uint8_t *moved)
{
    int status = 0;
    for (uint32_t i = 0; status == 0 && i < schema->head.fields; i++) {
        const ips_field *to = &schema->field[i];
        const int32_t from = sources[i].from;
        if (from < 0) {
            status = fill_field(record->segment, to, &sources[i].value, body);
        } else if ((uint32_t)from >= old->head.fields || moved[from] != 0 ||
                   !ips_field_widens(&old->field[from], to)) {
            status = ips_fail(IPS_EMISMATCH, "a field that does not go into another");
        } else {
            moved[from] = 1;
            status = carry_over(record->segment, &old->field[from], record->at, to, body);
        }
    }
    return status;
}

/* The slots of a body, but for those that moved. */
static int
free_slots(const ips_record *record, const ips_schema *schema, const uint8_t *moved)
{
    int status = 0;
    for (uint32_t i = 0; status == 0 && i < schema->head.fields; i++) {
        const ips_field *field = &schema->field[i];
        if (ips_field_is_slot(field) &&
            (moved == NULL || moved[i] == 0)) {
            ips_slot slot;
            ips_copy_racing(&slot, record->at + field->offset, sizeof slot);
            status = ips_slot_free(record->segment, &slot);
        }
    }
    return status;
}

int
ips_record_upgrade(const ips_record *record, const ips_schema *old, const ips_schema *schema,
    const ips_record_source *sources)
{
    uint8_t moved[IPS_SCHEMA_FIELDS_MAX] = {0};
    uint8_t *body;
    form now = {.hash = schema->hash};
    ips_segment *segment = record->segment;
    if (!ips_root_lives(&record->shm->root, record->generation)) {
        return ips_root_gone(IPS_TYPE_RECORD);
    }
    if (!ips_record_is_as_seen(record) || record->hash != old->hash) {
        return IPS_RECORD_CHANGED;
    }
    const ips_offset before = LOAD(record->shm->layout);
    int status = ips_tx_touch(segment, record->offset);
    if (status == 0) {
        status = make_body(segment, schema, &now.body, &body);
    }
    if (status == 0) {
        status = fill_body(record, old, schema, sources, body, moved);
    }
    if (status == 0) {
        status = ips_layout_take(segment, schema, &now.layout);
    }
    if (status == 0) {
        status = free_slots(record, old, moved);
    }
    if (status == 0) {
        status = ips_tx_free(segment, record->body);
    }
    if (status == 0) {
        status = ips_layout_drop(segment, before);
    }
    ips_fresh_ready();
    return status < 0 ? status
        : ips_tx_write(segment, record->offset + offsetof(ips_record_shm, body), &now, sizeof now);
}

/* --- destroyed */

int
ips_record_destroy(const ips_record *record)
{
    ips_record now = *record;
    ips_schema schema;
    uint8_t *layout;
    size_t size;
    int status = ips_record_attach_locked(&now, &layout, &size);
    if (status == 0) {
        status = ips_schema_parse(layout, size, &schema);
    }
    if (status == 0) {
        status = free_slots(&now, &schema, NULL);
    }
    free(layout);
    if (status == 0) {
        status = ips_tx_free(now.segment, now.body);
    }
    if (status == 0) {
        status = ips_layout_drop(now.segment, LOAD(now.shm->layout));
    }
    if (status == 0) {
        status = ips_root_retire(now.segment, now.offset);
    }
    return status < 0 ? status : ips_tx_free(now.segment, now.offset);
}

/* --- checked */

static void
check_field(const ips_record *record, const ips_schema *schema, const ips_field *field,
    ips_report *report)
{
    const ips_text name = ips_field_name(schema, field);
    const int length = name.size > 60 ? 60 : (int)name.size;
    const char *text = (const char *)name.bytes;
    if (ips_field_is_slot(field)) {
        ips_slot slot;
        ips_value value;
        ips_copy_racing(&slot, record->at + field->offset, sizeof slot);
        if (!ips_slot_value(record->segment, &slot, &value) ||
            (!ips_slot_is_inline(&slot) &&
                ips_block_size(record->segment, slot.place) < value.size)) {
            ips_report_problem(report, "field %.*s has no value", length, text);
        }
    } else if (ips_field_is_sized(field)) {
        uint32_t size;
        memcpy(&size, record->at + field->offset, sizeof size);
        if (size > field->count) {
            ips_report_problem(report, "field %.*s is longer than its %u bytes", length, text,
                field->count);
        }
    } else if (field->type == IPS_FIELD_BOOL) {
        for (uint32_t i = 0; i < (field->count == 0 ? 1 : field->count); i++) {
            if (record->at[field->offset + i] > 1) {
                ips_report_problem(report, "field %.*s is neither true nor false", length, text);
                break;
            }
        }
    }
}

int
ips_record_check(const ips_record *record, void (*line)(const char *line, void *context),
    void *context)
{
    ips_report report = {line, context, "Record", record->offset, 0};
    ips_record now = *record;
    ips_schema schema;
    uint8_t *layout;
    size_t size;
    int status = ips_record_attach_locked(&now, &layout, &size);
    if (status == IPS_EGONE || status == IPS_ENOMEM) {
        return status;
    }
    if (status < 0 || ips_schema_parse(layout, size, &schema) < 0) {
        ips_report_problem(&report, "%s", ips_last_note()->detail);
        free(layout);
        return report.problems;
    }
    if (ips_block_size(now.segment, now.body) < schema.head.body) {
        ips_report_problem(&report, "its body is larger than its block");
    }
    for (uint32_t i = 0; i < schema.head.fields; i++) {
        check_field(&now, &schema, &schema.field[i], &report);
    }
    free(layout);
    return report.problems;
}

/* --- what it has: body, and what its slots lead to; layouts are everybody's */

static void
reach_slots(ips_reach *reach, const ips_record *record, const ips_schema *schema)
{
    for (uint32_t i = 0; i < schema->head.fields; i++) {
        ips_slot slot;
        if (!ips_field_is_slot(&schema->field[i])) {
            continue;
        }
        ips_copy_racing(&slot, record->at + schema->field[i].offset, sizeof slot);
        if (!ips_slot_is_inline(&slot)) {
            (void)ips_reach_block(reach, slot.place, "a field of a Record", record->offset);
        }
    }
}

int
ips_record_reach(ips_reach *reach, uint32_t type, ips_offset root)
{
    ips_record record;
    ips_schema schema;
    uint8_t *layout = NULL;
    size_t size;
    const ips_root_shm *shm = ips_root_at(reach->segment, root, type, sizeof(ips_record_shm));
    int status = shm == NULL ? IPS_ECORRUPT
        : ips_record_open(reach->segment, root, LOAD(shm->generation), &record);
    status = status < 0 ? status : ips_record_attach_locked(&record, &layout, &size);
    if (status == 0 && ips_reach_block(reach, record.body, "Record", root) &&
        ips_schema_parse(layout, size, &schema) == 0) {
        reach_slots(reach, &record, &schema);
    }
    free(layout);
    return status == IPS_ENOMEM ? status : IPS_OK;
}
