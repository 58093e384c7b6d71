/* SPDX-License-Identifier: Apache-2.0 */
/* Layouts of records: built, read back, compared, and what spoilt ones do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/schema.h"

#define CHECK(condition)                                                      \
    do {                                                                      \
        if (!(condition)) {                                                   \
            fprintf(stderr, "%s:%d: failed: %s (note: %s)\n", __FILE__, __LINE__, #condition, \
                    ips_last_note()->detail);                                 \
            exit(1);                                                          \
        }                                                                     \
    } while (0)

#define MOST 12

typedef struct {
    const char *name;
    const char *alias; /* or NULL */
    uint8_t type, flags;
    uint32_t count;
} line;

typedef struct {
    uint8_t *bytes;
    size_t size;
    ips_schema schema;
    ips_field fields[MOST]; /* with IPS_FIELD_DEFAULT */
} built;

static ips_text
text_of(const char *text)
{
    return (ips_text){(const uint8_t *)text, (uint32_t)strlen(text)};
}

static built
build(uint32_t version, uint32_t floor, const line *lines, uint32_t count)
{
    ips_field_spec fields[MOST];
    ips_text aliases[MOST];
    built out;
    for (uint32_t i = 0; i < count; i++) {
        fields[i] = (ips_field_spec){.name = text_of(lines[i].name), .type = lines[i].type,
            .flags = lines[i].flags, .count = lines[i].count};
        if (lines[i].alias != NULL) {
            aliases[i] = text_of(lines[i].alias);
            fields[i].aliases = &aliases[i];
            fields[i].alias_count = 1;
        }
    }
    ips_schema_spec spec = {text_of("Tick"), version, floor, fields, count};
    CHECK(ips_schema_build(&spec, &out.bytes, &out.size) == 0);
    CHECK(ips_schema_parse(out.bytes, out.size, &out.schema) == 0);
    for (uint32_t i = 0; i < count; i++) {
        out.fields[i] = out.schema.field[i];
        out.fields[i].flags |= lines[i].flags;
    }
    return out;
}

/* What a comparison says, kept. */
typedef struct {
    enum ips_schema_fit fit;
    uint32_t reasons, count;
    int32_t map[MOST];
    ips_schema_change changes[2 * MOST];
} verdict;

static verdict
compare(const built *stored, const built *declared)
{
    verdict out;
    ips_schema mine = declared->schema;
    mine.field = declared->fields;
    ips_schema_comparison found = {.map = out.map, .changes = out.changes};
    ips_schema_compare(&stored->schema, &mine, &found);
    out.fit = found.fit;
    out.reasons = found.reasons;
    out.count = found.count;
    return out;
}

static bool
says(const verdict *it, uint32_t what, int32_t stored, int32_t declared)
{
    for (uint32_t i = 0; i < it->count; i++) {
        if (it->changes[i].what == what && it->changes[i].stored == stored &&
            it->changes[i].declared == declared) {
            return true;
        }
    }
    return false;
}

static const line first[] = {
    {"symbol", NULL, IPS_FIELD_TEXT, 0, 8},
    {"price", NULL, IPS_FIELD_F32, 0, 0},
    {"size", NULL, IPS_FIELD_U8, 0, 0},
    {"venue", NULL, IPS_FIELD_STR, 0, 0},
    {"place", NULL, IPS_FIELD_I16, 0, 3},
};
static const line second[] = {
    {"last", "price", IPS_FIELD_F64, 0, 0},
    {"symbol", NULL, IPS_FIELD_STR, 0, 0},
    {"size", NULL, IPS_FIELD_I32, IPS_FIELD_DEFAULT, 0},
    {"bid", NULL, IPS_FIELD_F64, IPS_FIELD_DEFAULT, 0},
};

static void
layouts(void)
{
    built one = build(1, 0, first, 5);
    uint8_t taken[256] = {0};
    CHECK(one.schema.head.body <= sizeof taken && one.schema.head.body % 8 == 0);
    for (uint32_t i = 0; i < 5; i++) {
        const ips_field *field = &one.schema.field[i];
        CHECK(field->offset % ips_field_width(field->type) == 0);
        for (uint64_t at = 0; at < ips_field_size(field); at++) {
            CHECK(taken[field->offset + at]++ == 0);
        }
        const ips_text name = ips_field_name(&one.schema, field);
        CHECK(name.size == strlen(first[i].name) &&
              memcmp(name.bytes, first[i].name, name.size) == 0);
    }
    built again = build(1, 0, first, 5);
    CHECK(again.schema.hash == one.schema.hash);
    free(again.bytes);
    free(one.bytes);
    puts("ok fields lie side by side, aligned, and equal declarations have equal hashes");
}

static void
versions(void)
{
    built one = build(1, 0, first, 5);
    built two = build(2, 0, second, 4);
    verdict up = compare(&one, &two);
    CHECK(up.fit == IPS_SCHEMA_NEWER && up.reasons == 0);
    CHECK(up.map[0] == 1 && up.map[1] == 0 && up.map[2] == 2 && up.map[3] == -1);
    CHECK(says(&up, IPS_CHANGE_RENAMED | IPS_CHANGE_WIDENED, 1, 0));
    CHECK(says(&up, IPS_CHANGE_WIDENED, 0, 1) && says(&up, IPS_CHANGE_WIDENED, 2, 2));
    CHECK(says(&up, IPS_CHANGE_ADDED, -1, 3) && says(&up, IPS_CHANGE_REMOVED, 3, -1));
    CHECK(says(&up, IPS_CHANGE_REMOVED, 4, -1) && up.count == 6);
    verdict down = compare(&two, &one);
    CHECK(down.fit == IPS_SCHEMA_OLDER);
    CHECK(down.map[0] == 1 && down.map[1] == 0 && down.map[2] == 2 && down.map[3] == -1);
    CHECK(says(&down, IPS_CHANGE_RENAMED | IPS_CHANGE_RETYPED, 0, 1));
    CHECK(says(&down, IPS_CHANGE_MISSING, -1, 3));
    verdict same = compare(&one, &one);
    CHECK(same.fit == IPS_SCHEMA_SAME && same.count == 0);
    built migrated = build(2, 2, second, 4);
    CHECK(compare(&migrated, &one).reasons == IPS_SCHEMA_MIGRATED);
    built other = build(1, 0, second, 4);
    CHECK(compare(&one, &other).fit == IPS_SCHEMA_UNFIT);
    CHECK((compare(&one, &other).reasons & IPS_SCHEMA_SAME_VERSION) != 0);
    free(one.bytes);
    free(two.bytes);
    free(migrated.bytes);
    free(other.bytes);
    puts("ok a newer program upgrades, an older one goes by the map, equal versions are equal");
}

static void
refusals(void)
{
    static const line narrow[] = {{"symbol", NULL, IPS_FIELD_TEXT, 0, 7},
        {"price", NULL, IPS_FIELD_I32, IPS_FIELD_DEFAULT, 0}, {"new", NULL, IPS_FIELD_STR, 0, 0}};
    built one = build(1, 0, first, 5);
    built bad = build(2, 0, narrow, 3);
    verdict it = compare(&one, &bad);
    CHECK(it.fit == IPS_SCHEMA_UNFIT && it.reasons == IPS_SCHEMA_FIELDS);
    CHECK(says(&it, IPS_CHANGE_TYPE, 0, 0) && says(&it, IPS_CHANGE_TYPE, 1, 1));
    CHECK(says(&it, IPS_CHANGE_NO_DEFAULT, -1, 2));
    free(one.bytes);
    free(bad.bytes);
    puts("ok narrower types, other types and new fields without a default are told");
}

/* A former name goes before a later field of that name, for older programs only. */
static void
names_that_come_back(void)
{
    static const line old[] = {{"a", NULL, IPS_FIELD_I64, 0, 0}};
    static const line now[] = {{"a", NULL, IPS_FIELD_I64, IPS_FIELD_DEFAULT, 0},
        {"b", "a", IPS_FIELD_I64, 0, 0}};
    built one = build(1, 0, old, 1);
    built three = build(3, 0, now, 2);
    built four = build(4, 0, now, 2);
    CHECK(compare(&three, &one).map[0] == 1);
    CHECK(compare(&three, &four).map[0] == 0 && compare(&three, &four).map[1] == 1);
    free(one.bytes);
    free(three.bytes);
    free(four.bytes);
    puts("ok a name that came back means what it meant to each program");
}

/* The machine's own bytes of a number that is so wide. */
static void
put(uint64_t value, uint32_t width, uint8_t *bytes)
{
    const uint8_t one = (uint8_t)value;
    const uint16_t two = (uint16_t)value;
    const uint32_t four = (uint32_t)value;
    memcpy(bytes, width == 1 ? (const void *)&one : width == 2 ? (const void *)&two
        : width == 4 ? (const void *)&four : (const void *)&value, width);
}

/* Every pair of types: where one widens to the other, extreme values survive. */
static void
widening(void)
{
    static const struct {
        uint8_t type;
        int64_t least;
        uint64_t most;
    } types[] = {{IPS_FIELD_I8, INT8_MIN, INT8_MAX}, {IPS_FIELD_I16, INT16_MIN, INT16_MAX},
        {IPS_FIELD_I32, INT32_MIN, INT32_MAX}, {IPS_FIELD_I64, INT64_MIN, INT64_MAX},
        {IPS_FIELD_U8, 0, UINT8_MAX}, {IPS_FIELD_U16, 0, UINT16_MAX},
        {IPS_FIELD_U32, 0, UINT32_MAX}, {IPS_FIELD_U64, 0, UINT64_MAX}};
    int pairs = 0;
    for (int i = 0; i < 8; i++) {
        for (int j = 0; j < 8; j++) {
            const ips_field from = {.type = types[i].type}, to = {.type = types[j].type};
            const bool fits = types[j].least <= types[i].least && types[j].most >= types[i].most;
            CHECK(ips_field_widens(&from, &to) == fits);
            const uint64_t values[] = {(uint64_t)types[i].least, types[i].most, 1};
            for (int k = 0; fits && k < 3; k++) {
                uint8_t old[8], new[8], back[8];
                put(values[k], ips_field_width(from.type), old);
                ips_field_convert(&from, old, &to, new);
                put(values[k], ips_field_width(to.type), back);
                CHECK(memcmp(new, back, ips_field_width(to.type)) == 0);
                CHECK(!ips_field_widens(&to, &from) || i == j);
                pairs++;
            }
        }
    }
    CHECK(pairs > 60);
    const float narrow = 0.1f;
    double wide;
    const ips_field f32 = {.type = IPS_FIELD_F32}, f64 = {.type = IPS_FIELD_F64};
    ips_field_convert(&f32, (const uint8_t *)&narrow, &f64, (uint8_t *)&wide);
    CHECK(wide == (double)narrow && ips_field_widens(&f32, &f64) && !ips_field_widens(&f64, &f32));
    puts("ok what widens keeps its value, and nothing else widens");
}

static void
lifting(void)
{
    uint8_t room[16];
    const uint64_t large = UINT64_MAX;
    const ips_field u64 = {.type = IPS_FIELD_U64}, text = {.type = IPS_FIELD_TEXT, .count = 4};
    ips_text lifted = ips_field_lift(&u64, (const uint8_t *)&large, room);
    CHECK(lifted.size == 9 && lifted.bytes[0] == 0xff && lifted.bytes[8] == 0);
    const float half = 0.5f;
    double wide;
    const ips_field f32 = {.type = IPS_FIELD_F32};
    lifted = ips_field_lift(&f32, (const uint8_t *)&half, room);
    memcpy(&wide, lifted.bytes, sizeof wide);
    CHECK(lifted.size == sizeof wide && wide == 0.5);
    const uint32_t lie[2] = {400, 0x64636261};
    lifted = ips_field_lift(&text, (const uint8_t *)lie, room);
    CHECK(lifted.size == 4 && memcmp(lifted.bytes, &lie[1], 4) == 0);
    puts("ok a field becomes a value without a limit, whatever its count claims");
}

static void
spoilt(void)
{
    built one = build(1, 0, first, 5);
    built two = build(2, 0, second, 4);
    uint64_t state = 42;
    int refused = 0, read = 0;
    for (int round = 0; round < 40000; round++) {
        size_t size = one.size;
        uint8_t *bytes = malloc(size);
        CHECK(bytes != NULL);
        memcpy(bytes, one.bytes, size);
        for (int i = 0; i < 1 + round % 3; i++) {
            state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            bytes[(state >> 33) % size] = (uint8_t)(state >> 20);
        }
        size -= round % 50 == 0 ? 8 : 0;
        ips_schema schema;
        if (ips_schema_parse(bytes, size, &schema) < 0) {
            refused++;
        } else {
            built it = {bytes, size, schema, {{0}}};
            (void)compare(&it, &two);
            for (uint32_t i = 0; i < schema.head.fields && i < MOST; i++) {
                it.fields[i] = schema.field[i];
            }
            (void)compare(&one, &it);
            read++;
        }
        free(bytes);
    }
    CHECK(refused > 1000 && read > 1000);
    free(one.bytes);
    free(two.bytes);
    puts("ok spoilt layouts are refused or read within their bytes");
}

int
main(void)
{
    layouts();
    versions();
    refusals();
    names_that_come_back();
    widening();
    lifting();
    spoilt();
    return 0;
}
