/* SPDX-License-Identifier: Apache-2.0 */
/* Records in a segment: against a model, and with bytes that a peer has spoilt. */
#include "data/layouts.h"
#include "data/record.h"
#include "segment/handle.h"

#include "segment_scene.h"

#define SIZE (64 * KIB)
#define MOST (256 * KIB)
#define FIELDS 4 /* u8, i64, text[6], str */

static ips_schema schemas[2]; /* the second: all of them wide */
static ips_record record;
static ips_offset root;

static void
make_schema(int number)
{
    static const uint8_t types[2][FIELDS] = {
        {IPS_FIELD_U8, IPS_FIELD_I64, IPS_FIELD_TEXT, IPS_FIELD_STR},
        {IPS_FIELD_I32, IPS_FIELD_INT, IPS_FIELD_STR, IPS_FIELD_STR}};
    static const char names[] = "abcd";
    ips_field_spec fields[FIELDS];
    uint8_t *bytes;
    size_t size;
    for (int i = 0; i < FIELDS; i++) {
        fields[i] = (ips_field_spec){.name = {(const uint8_t *)names + i, 1},
            .type = types[number][i], .count = types[number][i] == IPS_FIELD_TEXT ? 6 : 0};
    }
    ips_schema_spec spec = {{(const uint8_t *)names, 4}, 1 + (uint32_t)number, 0, fields, FIELDS};
    CHECK(ips_schema_build(&spec, &bytes, &size) == 0);
    CHECK(ips_schema_parse(bytes, size, &schemas[number]) == 0);
}

/* The value of a field with this number: of a slot, up to 800 bytes. */
static ips_value
value_of(const ips_field *field, uint64_t number, uint8_t room[800])
{
    static const size_t sizes[] = {0, 8, 9, 100, 800, 24};
    size_t size = ips_field_is_slot(field) ? sizes[number % 6] : ips_field_size(field);
    if (field->type == IPS_FIELD_INT) {
        size = 8;
    }
    memset(room, (int)(number % 100), size);
    if (ips_field_is_sized(field)) {
        const uint32_t count = (uint32_t)(number % 7);
        memcpy(room, &count, sizeof count);
    }
    return (ips_value){room, size, 0};
}

static void
create(ips_segment *segment)
{
    uint8_t rooms[FIELDS][800];
    ips_value values[FIELDS];
    uint64_t generation;
    for (int i = 0; i < FIELDS; i++) {
        values[i] = value_of(&schemas[0].field[i], 3, rooms[i]);
    }
    begin(segment);
    CHECK(ips_record_create(segment, &schemas[0], values, &root) == 0);
    CHECK(ips_catalogue_insert(segment, "r", IPS_TYPE_RECORD, root, &generation) == 0);
    CHECK(ips_root_christen(segment, root, generation) == 0);
    commit(segment);
    CHECK(ips_record_open(segment, root, generation, &record) == 0);
}

static int
attach(int *which)
{
    uint8_t *layout = NULL;
    size_t size;
    int status = ips_tx_is_mine(record.segment) ? ips_record_attach_locked(&record, &layout, &size)
                                                : ips_record_attach(&record, &layout, &size);
    free(layout);
    *which = record.hash == schemas[1].hash;
    return status;
}

static ips_record_part
part_of(const ips_field *field)
{
    const uint32_t skip = ips_field_is_slot(field) ? 0 : field->offset % 8;
    return (ips_record_part){field->offset - skip, (uint32_t)ips_field_size(field) + skip,
        ips_field_is_slot(field)};
}

/* All fields of one moment. */
static int
read_all(int which, ips_snapshot *out)
{
    ips_record_part parts[FIELDS];
    for (int i = 0; i < FIELDS; i++) {
        parts[i] = part_of(&schemas[which].field[i]);
    }
    return ips_tx_is_mine(record.segment) ? ips_record_read_locked(&record, parts, FIELDS, out)
                                          : ips_record_read(&record, parts, FIELDS, out);
}

static void
check_values(int which, const uint64_t numbers[FIELDS])
{
    ips_snapshot read = {0};
    size_t at = 0;
    uint8_t room[800];
    CHECK(read_all(which, &read) == 0);
    for (int i = 0; i < FIELDS; i++) {
        ips_value got;
        const ips_field *field = &schemas[which].field[i];
        const ips_value wanted = value_of(field, numbers[i], room);
        CHECK(ips_snapshot_next(&read, &at, &got));
        const uint32_t skip = ips_field_is_slot(field) ? 0 : field->offset % 8;
        CHECK(got.size == wanted.size + skip);
        CHECK(memcmp(got.bytes + skip, wanted.bytes, wanted.size) == 0);
    }
    ips_snapshot_clear(&read);
}

static int
write_one(int which, int index, uint64_t number)
{
    uint8_t room[800];
    const ips_field *field = &schemas[which].field[index];
    const ips_record_change change = {
        {field->offset, (uint32_t)ips_field_size(field), ips_field_is_slot(field)},
        value_of(field, number, room)};
    return ips_record_write(&record, &change, 1);
}

/* --- against a model */

static void
test_against_a_model(ips_segment *segment)
{
    uint64_t state = 7;
    uint64_t numbers[FIELDS] = {3, 3, 3, 3};
    int which;
    create(segment);
    const uint64_t blocks = stats_of(segment).blocks;
    CHECK(attach(&which) == 0 && which == 0);
    for (int round = 0; round < 2000; round++) {
        uint64_t before[FIELDS];
        memcpy(before, numbers, sizeof numbers);
        begin(segment);
        for (uint64_t i = 0; i < 1 + draw(&state) % 4; i++) {
            const int index = (int)(draw(&state) % FIELDS);
            numbers[index] = draw(&state) % 1000;
            CHECK(write_one(0, index, numbers[index]) == 0);
            check_values(0, numbers);
        }
        if (draw(&state) % 3 == 0) {
            ips_tx_abort(segment);
            memcpy(numbers, before, sizeof numbers);
        } else {
            commit(segment);
        }
        check_values(0, numbers);
        numbers[1] = draw(&state) % 100; /* without the journal */
        uint8_t room[800];
        const ips_value value = value_of(&schemas[0].field[1], numbers[1], room);
        CHECK(ips_record_poke(&record, schemas[0].field[1].offset, 8, value.bytes));
        check_values(0, numbers);
    }
    CHECK(ips_record_check(&record, print_line, NULL) == 0);
    CHECK(write_one(0, 3, 0) == IPS_ETX); /* outside a transaction */
    begin(segment);
    CHECK(write_one(0, 3, 1) == 0 && ips_layouts_check(segment, print_line, NULL) == 0);
    commit(segment);
    CHECK(stats_of(segment).blocks == blocks - 1); /* the string lies in its slot now */
    puts("ok a record is its model after every commit, rollback and change of one word");
}

static void
test_upgrade(ips_segment *segment)
{
    static const ips_record_source moved[FIELDS] = {{.from = 0}, {.from = 1}, {.from = 2},
        {.from = 3}};
    ips_record_source twice[FIELDS] = {{.from = 0}, {.from = 1}, {.from = 3}, {.from = 3}};
    int which;
    ips_snapshot before = {0}, after = {0};
    CHECK(read_all(0, &before) == 0);
    begin(segment);
    CHECK(ips_record_upgrade(&record, &schemas[0], &schemas[1], twice) == IPS_EMISMATCH);
    ips_tx_abort(segment);
    begin(segment);
    CHECK(ips_record_upgrade(&record, &schemas[0], &schemas[1], moved) == 0);
    CHECK(write_one(0, 0, 1) == IPS_RECORD_CHANGED);
    ips_tx_abort(segment);
    CHECK(attach(&which) == 0 && which == 0 && read_all(0, &after) == 0);
    CHECK(after.size == before.size && memcmp(after.bytes, before.bytes, after.size) == 0);
    begin(segment);
    CHECK(ips_record_upgrade(&record, &schemas[0], &schemas[1], moved) == 0);
    commit(segment);
    CHECK(read_all(0, &after) == IPS_RECORD_CHANGED);
    uint64_t words[2];
    CHECK(!ips_record_peek(&record, 0, 2, words) && !ips_record_poke(&record, 0, 1, words));
    CHECK(attach(&which) == 0 && which == 1 && read_all(1, &after) == 0);
    begin(segment);
    CHECK(ips_record_check(&record, print_line, NULL) == 0);
    CHECK(ips_layouts_check(segment, print_line, NULL) == 0);
    CHECK(ips_record_destroy(&record) == 0 && ips_catalogue_remove(segment, "r") == 0);
    CHECK(ips_anchor_load(segment, IPS_ANCHOR_LAYOUTS) == 0);
    commit(segment);
    CHECK(read_all(1, &after) == IPS_EGONE);
    ips_snapshot_clear(&before);
    ips_snapshot_clear(&after);
    check_sound(segment);
    puts("ok an upgrade happens whole or not at all, and the handle notices");
}

/* --- spoilt bytes */

static uint8_t scene[MOST];
static uint64_t scene_size;
static int noticed, worked;

static int
note(int status)
{
    CHECK(status >= 0 || ips_last_note()->detail[0] != '\0');
    noticed += status == IPS_ECORRUPT;
    worked += status >= 0;
    return status;
}

static uint64_t
draw_value(uint64_t old, uint64_t *state)
{
    switch (draw(state) % 7) {
    case 0: return 0;
    case 1: return UINT64_MAX;
    case 2: return old ^ UINT64_C(1) << draw(state) % 64;
    case 3: return old + (draw(state) % 3 - 1) * 16;
    case 4: return root;
    case 5: return draw(state) % (2 * MOST) & ~UINT64_C(15);
    default: return draw(state);
    }
}

/* Words of the root, the layout, the body, or anywhere. */
static void
spoil(ips_segment *segment, const ips_offset places[3], uint64_t *state)
{
    memcpy(segment->base + IPS_SEGMENT_AT, scene + IPS_SEGMENT_AT, scene_size - IPS_SEGMENT_AT);
    atomic_store_explicit(&segment->shm->lock.word, 0, memory_order_relaxed);
    const uint64_t changes = 1 + draw(state) % 3;
    for (uint64_t i = 0; i < changes; i++) {
        const uint64_t place = draw(state) % 4;
        const uint64_t at = place < 3 ? places[place] + draw(state) % 64
            : segment->heap_start + draw(state) % (scene_size - segment->heap_start);
        uint64_t *word = (uint64_t *)(segment->base + at / 8 * 8);
        *word = draw_value(*word, state);
    }
}

static void
no_line(const char *line, void *context)
{
    (void)line;
    (void)context;
}

static void
read_everything(void)
{
    int which;
    ips_snapshot read = {0};
    uint64_t words[2];
    (void)note(read_all(0, &read));
    if (record.body != 0) {
        (void)ips_record_peek(&record, 0, 2, words);
    }
    if (note(attach(&which)) == 0) {
        (void)note(read_all(which, &read));
    }
    ips_snapshot_clear(&read);
}

static void
change_something(ips_segment *segment, uint64_t *state)
{
    static const ips_record_source moved[FIELDS] = {{.from = 0}, {.from = 1}, {.from = 2},
        {.from = 3}};
    if (note(ips_tx_begin(segment, ips_now() + 1000000000)) < 0) {
        return;
    }
    int which;
    int status = note(attach(&which));
    for (int i = 0; i < 6 && status >= 0; i++) {
        status = note(write_one(which, (int)(draw(state) % FIELDS), draw(state) % 1000));
    }
    if (status == 0 && which == 0 && draw(state) % 2 == 0) {
        status = note(ips_record_upgrade(&record, &schemas[0], &schemas[1], moved));
    }
    if (status >= 0 && draw(state) % 3 == 0) {
        status = note(ips_record_check(&record, no_line, NULL));
        status = status < 0 ? status : note(ips_layouts_check(segment, no_line, NULL));
    }
    if (status >= 0 && draw(state) % 3 == 0) {
        status = note(ips_record_destroy(&record));
    }
    if (status < 0 || draw(state) % 2 == 0) {
        ips_tx_abort(segment);
    } else {
        (void)note(ips_tx_commit(segment));
    }
}

static void
test_spoilt_bytes(ips_segment *segment)
{
    int which;
    uint64_t state = 20240229;
    create(segment);
    CHECK(attach(&which) == 0);
    const ips_record sound = record;
    const ips_offset places[3] = {root + 24, ips_anchor_load(segment, IPS_ANCHOR_LAYOUTS),
        record.body};
    scene_size = segment->shm->top;
    memcpy(scene, segment->base, scene_size);
    for (int round = 0; round < 4000; round++) {
        spoil(segment, places, &state);
        record = sound;
        for (int i = 0; i < 2; i++) {
            read_everything();
            change_something(segment, &state);
        }
    }
    CHECK(noticed > 400 && worked > 4000);
    printf("ok spoilt records work or say so: %d operations said so\n", noticed);
}

int
main(void)
{
    join_test_space();
    make_schema(0);
    make_schema(1);
    ips_segment *segment = open_segment("records", SIZE, MOST);
    test_against_a_model(segment);
    test_upgrade(segment);
    test_spoilt_bytes(segment);
    ips_segment_close(segment);
    for (int i = 0; i < 2; i++) {
        free((void *)(uintptr_t)schemas[i].bytes);
    }
    return 0;
}
