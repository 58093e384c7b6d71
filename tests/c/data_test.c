/* SPDX-License-Identifier: Apache-2.0 */
/* Map and deque against plain models: random operations in nested
 * transactions, a third of which are undone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "data/deque.h"
#include "data/map.h"
#include "member/space.h"
#include "os/clock.h"
#include "segment/segment.h"

#define CHECK(condition)                                                             \
    do {                                                                             \
        if (!(condition)) {                                                          \
            fprintf(stderr, "%s:%d: failed: %s (note: %s)\n", __FILE__, __LINE__,    \
                    #condition, ips_last_note()->detail);                            \
            exit(1);                                                                 \
        }                                                                            \
    } while (0)

#define KEYS 200
#define STEPS 6000
#define DEPTH 3

static ips_segment *segment;
static uint64_t seed = 20240229;

static uint32_t
dice(uint32_t sides)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(seed >> 33) % sides;
}

static void
complain(const char *line, void *context)
{
    (void)context;
    fprintf(stderr, "%s\n", line);
}

static uint64_t
blocks(void)
{
    ips_segment_stats stats;
    CHECK(ips_segment_stats_of(segment, &stats) == 0);
    return stats.blocks;
}

/* A value that can be told from its number: sizes from nothing to past every
 * limit (in a slot, in an item, in a private copy's room). */
static const size_t sizes[] = {0, 1, 8, 9, 24, 25, 100, 256, 257, 512, 513, 5000};

static ips_value
value_of(uint32_t number, uint8_t *room)
{
    size_t size = sizes[number % 12];
    for (size_t i = 0; i < size; i++) {
        room[i] = (uint8_t)(number * 31 + i * 7);
    }
    return (ips_value){room, size, (uint8_t)(number % 3)};
}

static bool
is_value(const ips_value *got, uint32_t number)
{
    uint8_t room[5000];
    ips_value want = value_of(number, room);
    return got->size == want.size && got->kind == want.kind &&
           memcmp(got->bytes, want.bytes, want.size) == 0;
}

static bool
copy_is(const ips_value_copy *copy, uint32_t number)
{
    return is_value(&(ips_value){copy->bytes, copy->size, copy->kind}, number);
}

/* --- map */

/* What the map should be: keys in order of insertion. */
typedef struct {
    uint32_t length;
    uint32_t key[KEYS];
    uint32_t value[KEYS];
} map_model;

static uint32_t
model_index(const map_model *model, uint32_t key)
{
    uint32_t i = 0;
    while (i < model->length && model->key[i] != key) {
        i++;
    }
    return i;
}

static void
model_set(map_model *model, uint32_t key, uint32_t value)
{
    uint32_t i = model_index(model, key);
    model->key[i] = key;
    model->value[i] = value;
    model->length += i == model->length;
}

static void
model_delete(map_model *model, uint32_t i)
{
    model->length--;
    memmove(&model->key[i], &model->key[i + 1], (model->length - i) * sizeof model->key[0]);
    memmove(&model->value[i], &model->value[i + 1], (model->length - i) * sizeof model->value[0]);
}

/* Keys of 1 to 40 bytes; every fifth was spelled another way. */
static ips_key
key_of(uint32_t key, char room[48])
{
    int size = snprintf(room, 48, "%u%.*s", key, (int)(key % 37), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM");
    ips_key out = {.bytes = (uint8_t *)room, .size = (size_t)size, .hash = ips_hash(room, size)};
    if (key % 5 == 0) {
        out.spelling = (const uint8_t *)"spelled";
        out.spelling_size = 7;
    }
    return out;
}

static void
compare_map(const ips_map *map, const map_model *model, bool inside)
{
    ips_snapshot items = {0};
    CHECK((inside ? ips_map_snapshot_locked(map, IPS_MAP_ITEMS, &items)
                  : ips_map_snapshot(map, IPS_MAP_ITEMS, &items)) == 0);
    CHECK(items.records == 2 * (uint64_t)model->length);
    size_t at = 0;
    for (uint32_t i = 0; i < model->length; i++) {
        char room[48];
        ips_key key = key_of(model->key[i], room);
        ips_value got;
        CHECK(ips_snapshot_next(&items, &at, &got));
        CHECK(key.spelling_size != 0 ? memcmp(got.bytes, "spelled", 7) == 0
                                     : got.size == key.size && memcmp(got.bytes, room, key.size) == 0);
        CHECK(ips_snapshot_next(&items, &at, &got));
        CHECK(is_value(&got, model->value[i]));
    }
    ips_snapshot_clear(&items);
    uint64_t length;
    CHECK((inside ? ips_map_length_locked(map, &length) : ips_map_length(map, &length)) == 0);
    CHECK(length == model->length);
    for (uint32_t key = 0; key < KEYS; key += 1 + dice(9)) {
        char room[48];
        ips_key wanted = key_of(key, room);
        ips_value_copy copy;
        ips_value_copy_init(&copy);
        int found = inside ? ips_map_get_locked(map, &wanted, &copy)
                           : ips_map_get(map, &wanted, &copy);
        uint32_t i = model_index(model, key);
        CHECK(found == (i < model->length ? IPS_MAP_PRESENT : IPS_MAP_ABSENT));
        CHECK(found == IPS_MAP_ABSENT || copy_is(&copy, model->value[i]));
        ips_value_copy_clear(&copy);
    }
}

static uint32_t overwritten; /* without a savepoint, or as a transaction of its own */

static void
change_key(const ips_map *map, map_model *model, uint32_t key, uint32_t what)
{
    char key_room[48];
    uint8_t room[5000], other_room[5000];
    ips_key wanted = key_of(key, key_room);
    uint32_t number = dice(1000);
    ips_value value = value_of(number, room);
    ips_value_copy copy;
    ips_value_copy_init(&copy);
    uint32_t i = model_index(model, key);
    int present = i < model->length ? IPS_MAP_PRESENT : IPS_MAP_ABSENT;
    if (what < 5) {
        if (what < 3 || !ips_map_overwrite_inside(map, &wanted, &value)) {
            CHECK(ips_map_set(map, &wanted, &value) == present);
        } else {
            overwritten++;
            CHECK(present == IPS_MAP_PRESENT);
        }
        model_set(model, key, number);
    } else if (what < 7) {
        CHECK(ips_map_insert(map, &wanted, &value, &copy) == present);
        CHECK(present == IPS_MAP_ABSENT || copy_is(&copy, model->value[i]));
        if (present == IPS_MAP_ABSENT) {
            model_set(model, key, number);
        }
    } else if (what < 10) {
        CHECK(ips_map_delete(map, &wanted, &copy) == present);
        CHECK(present == IPS_MAP_ABSENT || copy_is(&copy, model->value[i]));
        if (present == IPS_MAP_PRESENT) {
            model_delete(model, i);
        }
    } else if (present == IPS_MAP_PRESENT) {
        uint32_t guess = dice(2) ? model->value[i] : number + 1;
        ips_value expected = value_of(guess, other_room);
        bool equal = is_value(&expected, model->value[i]);
        CHECK(ips_map_compare_and_set(map, &wanted, &expected, &value) ==
              (equal ? IPS_MAP_PRESENT : IPS_MAP_ABSENT));
        if (equal) {
            model_set(model, key, number);
        }
    }
    ips_value_copy_clear(&copy);
}

static void
update_map(const ips_map *map, map_model *model)
{
    ips_snapshot records = {0};
    for (uint32_t i = dice(60); i > 0; i--) {
        char key_room[48];
        uint8_t room[5000];
        uint32_t key = dice(KEYS), number = dice(1000);
        ips_key wanted = key_of(key, key_room);
        ips_value value = value_of(number, room);
        CHECK(ips_snapshot_put(&records, wanted.bytes, wanted.size, 0) == 0);
        CHECK(ips_snapshot_put(&records, wanted.spelling, wanted.spelling_size, 0) == 0);
        CHECK(ips_snapshot_put(&records, value.bytes, value.size, value.kind) == 0);
        model_set(model, key, number);
    }
    CHECK(ips_map_update(map, &records) == 0);
    ips_snapshot_clear(&records);
}

static void
change_map(const ips_map *map, map_model *model)
{
    uint32_t what = dice(200);
    if (what < 6) {
        update_map(map, model);
    } else if (what < 180) {
        change_key(map, model, dice(KEYS), what % 12);
    } else if (what < 198) {
        ips_value_copy key, value;
        ips_value_copy_init(&key);
        ips_value_copy_init(&value);
        int found = ips_map_pop_last(map, &key, &value);
        CHECK(found == (model->length != 0 ? IPS_MAP_PRESENT : IPS_MAP_ABSENT));
        if (found == IPS_MAP_PRESENT) {
            CHECK(copy_is(&value, model->value[model->length - 1]));
            model->length--;
        }
        ips_value_copy_clear(&key);
        ips_value_copy_clear(&value);
    } else {
        CHECK(ips_map_clear(map) == 0);
        model->length = 0;
    }
}

static void
maps(void)
{
    uint64_t before = blocks();
    ips_offset root;
    uint64_t generation;
    CHECK(ips_tx_begin(segment, IPS_FOREVER) >= 0);
    CHECK(ips_map_create(segment, &root) == 0);
    CHECK(ips_catalogue_insert(segment, "map", IPS_TYPE_MAP, root, &generation) == 0);
    CHECK(ips_root_christen(segment, root, generation) == 0);
    CHECK(ips_tx_commit(segment) == 0);
    ips_map map;
    CHECK(ips_map_open(segment, root, generation, &map) == 0);

    static map_model models[DEPTH + 1];
    for (int step = 0; step < STEPS; step++) {
        int depth = 0;
        char key_room[48];
        uint8_t room[5000];
        uint32_t key = dice(KEYS), number = dice(1000);
        ips_key wanted = key_of(key, key_room);
        ips_value value = value_of(number, room);
        if (ips_map_overwrite(&map, &wanted, &value)) {
            overwritten++;
            CHECK(model_index(&models[0], key) < models[0].length);
            model_set(&models[0], key, number);
        }
        do {
            CHECK(ips_tx_begin(segment, IPS_FOREVER) >= 0);
            depth++;
            models[depth] = models[depth - 1];
            for (uint32_t i = dice(6); i > 0; i--) {
                change_map(&map, &models[depth]);
            }
        } while (depth < DEPTH && dice(3) == 0);
        compare_map(&map, &models[depth], true);
        for (; depth > 0; depth--) {
            if (dice(3) == 0) {
                ips_tx_abort(segment);
            } else {
                CHECK(ips_tx_commit(segment) == 0);
                models[depth - 1] = models[depth];
            }
        }
        if (step % 16 == 0) {
            compare_map(&map, &models[0], false);
            CHECK(ips_tx_begin(segment, IPS_FOREVER) >= 0);
            CHECK(ips_map_check(&map, complain, NULL) == 0);
            CHECK(ips_tx_commit(segment) == 0);
        }
    }
    CHECK(overwritten > STEPS / 20);
    puts("ok a map is its model after every commit, abort and savepoint");

    CHECK(ips_tx_begin(segment, IPS_FOREVER) >= 0);
    CHECK(ips_catalogue_remove(segment, "map") == 0);
    CHECK(ips_map_destroy(&map) == 0);
    CHECK(ips_tx_commit(segment) == 0);
    char room[48];
    ips_key key = key_of(1, room);
    int found = ips_map_get(&map, &key, NULL);
    CHECK(found == IPS_EGONE || found == IPS_MAP_BUSY); /* whatever its bytes are now */
    CHECK(ips_tx_begin(segment, IPS_FOREVER) >= 0);
    CHECK(ips_map_get_locked(&map, &key, NULL) == IPS_EGONE);
    ips_tx_abort(segment);
    CHECK(blocks() == before);
    puts("ok a destroyed map is gone for its handles and leaves no block behind");
}

/* --- deque */

#define LONGEST 4096

typedef struct {
    uint32_t length;
    uint32_t value[LONGEST];
} deque_model;

static void
compare_deque(const ips_deque *deque, const deque_model *model, bool inside)
{
    ips_snapshot values = {0};
    CHECK((inside ? ips_deque_snapshot_locked(deque, IPS_SPAN_ALL, &values)
                  : ips_deque_snapshot(deque, IPS_SPAN_ALL, &values)) == 0);
    CHECK(values.records == model->length);
    size_t at = 0;
    for (uint32_t i = 0; i < model->length; i++) {
        ips_value got;
        CHECK(ips_snapshot_next(&values, &at, &got));
        CHECK(is_value(&got, model->value[i]));
    }
    ips_snapshot_clear(&values);
    int64_t index = (int64_t)dice(2 * model->length + 3) - model->length - 1;
    int64_t from_left = index < 0 ? index + (int64_t)model->length : index;
    bool there = from_left >= 0 && from_left < (int64_t)model->length;
    ips_value_copy copy;
    ips_value_copy_init(&copy);
    int found = inside ? ips_deque_get_locked(deque, index, &copy)
                       : ips_deque_get(deque, index, &copy);
    CHECK(found == (there ? 0 : IPS_ROW_RANGE));
    CHECK(!there || copy_is(&copy, model->value[from_left]));
    ips_value_copy_clear(&copy);
}

static void
model_push(deque_model *model, int end, uint32_t number)
{
    if (end == IPS_RIGHT) {
        model->value[model->length++] = number;
        return;
    }
    memmove(&model->value[1], &model->value[0], model->length++ * sizeof model->value[0]);
    model->value[0] = number;
}

static uint32_t
model_pop(deque_model *model, int end)
{
    uint32_t number = model->value[end == IPS_LEFT ? 0 : model->length - 1];
    model->length--;
    if (end == IPS_LEFT) {
        memmove(&model->value[0], &model->value[1], model->length * sizeof model->value[0]);
    }
    return number;
}

static void
add_to_deque(const ips_deque *deque, deque_model *model, int end, uint32_t limit)
{
    uint8_t room[5000];
    uint32_t number = dice(1000);
    ips_value value = value_of(number, room);
    bool full = model->length == limit;
    if (dice(2) == 0) {
        CHECK(ips_deque_push(deque, end, &value) == (full ? IPS_ROW_FULL : 0));
        if (!full) {
            model_push(model, end, number);
        }
        return;
    }
    CHECK(ips_deque_append(deque, end, &value) == 0);
    if (full && limit > 0) {
        (void)model_pop(model, end == IPS_LEFT ? IPS_RIGHT : IPS_LEFT);
    }
    if (limit > 0) {
        model_push(model, end, number);
    }
}

static void
extend_deque(const ips_deque *deque, deque_model *model, int end, uint32_t limit)
{
    ips_snapshot records = {0};
    for (uint32_t i = dice(40); i > 0; i--) {
        uint8_t room[5000];
        uint32_t number = dice(1000);
        ips_value value = value_of(number, room);
        CHECK(ips_snapshot_put(&records, value.bytes, value.size, value.kind) == 0);
        if (model->length == limit && limit > 0) {
            (void)model_pop(model, end == IPS_LEFT ? IPS_RIGHT : IPS_LEFT);
        }
        if (limit > 0) {
            model_push(model, end, number);
        }
    }
    CHECK(ips_deque_extend(deque, end, &records) == 0);
    ips_snapshot_clear(&records);
}

static void
change_deque(const ips_deque *deque, deque_model *model, uint32_t limit, uint32_t growing)
{
    int end = (int)dice(2);
    uint32_t what = dice(1000);
    if (what < 450 + growing) {
        add_to_deque(deque, model, end, limit);
    } else if (what < 900) {
        ips_value_copy copy;
        ips_value_copy_init(&copy);
        int status = ips_deque_pop(deque, end, &copy);
        CHECK(status == (model->length != 0 ? 0 : IPS_ROW_EMPTY));
        CHECK(status != 0 || copy_is(&copy, model_pop(model, end)));
        ips_value_copy_clear(&copy);
    } else if (what < 920) {
        extend_deque(deque, model, end, limit);
    } else if (what < 998) {
        uint8_t room[5000];
        uint32_t number = dice(1000);
        ips_value value = value_of(number, room);
        uint32_t index = dice(model->length + 1);
        CHECK(ips_deque_set(deque, index, &value) == (index < model->length ? 0 : IPS_ROW_RANGE));
        if (index < model->length) {
            model->value[index] = number;
        }
    } else {
        CHECK(ips_deque_clear(deque) == 0);
        model->length = 0;
    }
}

/* As transactions of their own without a journal, where that can be. */
static uint32_t
change_ends(const ips_deque *deque, deque_model *model, uint32_t limit)
{
    uint32_t done = 0;
    for (uint32_t i = dice(20); i > 0; i--) {
        uint8_t room[5000];
        uint32_t number = dice(1000);
        int end = (int)dice(2);
        ips_value value = value_of(number, room);
        ips_value_copy copy;
        if (dice(2) == 0 && ips_deque_add_single(deque, end, &value)) {
            CHECK(value.size <= 24 && model->length < limit);
            model_push(model, end, number);
            done++;
        } else if (dice(3) == 0 && ips_deque_set_brief(deque, number % 50, &value)) {
            CHECK(value.size <= 24 && number % 50 < model->length);
            model->value[number % 50] = number;
            done++;
        } else if (ips_deque_take_single(deque, end, &copy)) {
            CHECK(model->length > 0 && copy_is(&copy, model_pop(model, end)));
            done++;
        }
    }
    return done;
}

static void
one_deque(uint64_t maxlen)
{
    uint64_t before = blocks();
    uint32_t limit = maxlen > LONGEST / 2 ? LONGEST / 2 : (uint32_t)maxlen;
    ips_offset root;
    uint64_t generation;
    CHECK(ips_tx_begin(segment, IPS_FOREVER) >= 0);
    CHECK(ips_deque_create(segment, IPS_TYPE_DEQUE, limit == LONGEST / 2 ? limit : maxlen, &root) == 0);
    CHECK(ips_catalogue_insert(segment, "deque", IPS_TYPE_DEQUE, root, &generation) == 0);
    CHECK(ips_root_christen(segment, root, generation) == 0);
    CHECK(ips_tx_commit(segment) == 0);
    ips_deque deque;
    CHECK(ips_deque_open(segment, IPS_TYPE_DEQUE, root, generation, &deque) == 0);

    static deque_model models[DEPTH + 1];
    models[0].length = 0;
    uint32_t singles = 0;
    for (int step = 0; step < STEPS / 2; step++) {
        int depth = 0;
        singles += change_ends(&deque, &models[0], limit);
        do {
            CHECK(ips_tx_begin(segment, IPS_FOREVER) >= 0);
            depth++;
            models[depth] = models[depth - 1];
            for (uint32_t i = dice(12); i > 0; i--) {
                change_deque(&deque, &models[depth], limit, step < STEPS / 4 ? 200 : 0);
            }
        } while (depth < DEPTH && dice(3) == 0);
        if (step % 8 == 0) {
            compare_deque(&deque, &models[depth], true);
        }
        for (; depth > 0; depth--) {
            if (dice(3) == 0) {
                ips_tx_abort(segment);
            } else {
                CHECK(ips_tx_commit(segment) == 0);
                models[depth - 1] = models[depth];
            }
        }
        if (step % 16 == 0) {
            compare_deque(&deque, &models[0], false);
            CHECK(ips_tx_begin(segment, IPS_FOREVER) >= 0);
            CHECK(ips_deque_check(&deque, complain, NULL) == 0);
            CHECK(ips_tx_commit(segment) == 0);
        }
    }
    CHECK(singles >= limit);
    CHECK(ips_tx_begin(segment, IPS_FOREVER) >= 0);
    ips_value_copy copy;
    CHECK(!ips_deque_take_single(&deque, IPS_LEFT, &copy)); /* it would not be undone */
    CHECK(ips_catalogue_remove(segment, "deque") == 0);
    CHECK(ips_deque_destroy(&deque) == 0);
    CHECK(ips_tx_commit(segment) == 0);
    uint64_t length;
    CHECK(ips_tx_begin(segment, IPS_FOREVER) >= 0);
    CHECK(ips_deque_length_locked(&deque, &length) == IPS_EGONE);
    ips_tx_abort(segment);
    CHECK(!ips_deque_take_single(&deque, IPS_LEFT, &copy));
    CHECK(blocks() == before);
}

int
main(void)
{
    ips_space *space;
    bool created;
    const char *folder = getenv("IPCSYS_DIR");
    CHECK(folder != NULL);
    CHECK(ips_space_join(folder, &space) == 0);
    CHECK(ips_segment_open(space, "data", IPS_CREATE_ONLY, 1 << 20, 256 << 20, false, &segment,
              &created) == 0);
    /* The catalogue keeps the table that it makes for its first name. */
    CHECK(ips_tx_begin(segment, IPS_FOREVER) >= 0);
    ips_offset cell;
    uint64_t generation;
    CHECK(ips_stable_alloc(segment, IPS_TYPE_ATOMIC_INT, &cell) == 0);
    CHECK(ips_catalogue_insert(segment, "first", IPS_TYPE_ATOMIC_INT, cell, &generation) == 0);
    CHECK(ips_tx_commit(segment) == 0);
    maps();
    static const uint64_t limits[] = {IPS_UNBOUNDED, 0, 1, 100};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        one_deque(limits[i]);
    }
    puts("ok a deque is its model after every commit, abort and savepoint, at any maxlen");
    CHECK(ips_segment_check(segment, IPS_FOREVER, complain, NULL) == 0);
    ips_segment_close(segment);
    return 0;
}
