/* SPDX-License-Identifier: Apache-2.0 */
/* Containers in containers after every single store of what makes, changes and
 * ends them: before or after, sound, every block somebody's, and the memory of
 * those that went can still be given back. */
#include "base/hash.h"
#include "data/deque.h"
#include "data/flat.h"
#include "data/map.h"
#include "data/nest.h"
#include "data/reach.h"

#include "nest_scene.h"
#include "segment_steps.h"

static ips_segment *victim, *copy, *second;
static uint64_t blocks_without; /* once the outer map is destroyed and all reaped */
static ips_entry outer_entry;

/* --- values and keys */

static ips_key
key_of(const char *name)
{
    return (ips_key){.bytes = (const uint8_t *)name, .size = strlen(name),
        .hash = ips_hash(name, strlen(name))};
}

static ips_map
outer_of(ips_segment *segment)
{
    ips_map map;
    CHECK(ips_map_open(segment, outer_entry.offset, outer_entry.generation, &map) == 0);
    return map;
}

static void
put(const ips_map *map, const char *name, size_t size)
{
    static const uint8_t bytes[1000];
    const ips_key key = key_of(name);
    const ips_value value = {bytes, size, 1};
    CHECK(ips_map_set(map, &key, &value) >= 0);
}

static ips_reference
reference_at(const ips_map *map, const char *name)
{
    ips_value_copy value;
    ips_reference at;
    const ips_key key = key_of(name);
    ips_value_copy_init(&value);
    CHECK(ips_map_get_locked(map, &key, &value) == IPS_MAP_PRESENT);
    CHECK(value.kind == IPS_VALUE_REFERENCE && ips_nest_read(value.bytes, value.size, &at));
    ips_value_copy_clear(&value);
    return at;
}

static ips_map
map_at(const ips_map *map, const char *name)
{
    const ips_reference at = reference_at(map, name);
    ips_map inner;
    CHECK(ips_map_open(map->segment, at.root, at.generation, &inner) == 0);
    return inner;
}

static ips_reference
construct(const ips_map *map, const char *name, uint32_t type)
{
    const ips_key key = key_of(name);
    return construct_at(map, &key, type);
}

static void
fill_row(ips_segment *segment, const ips_reference *at, int count)
{
    static const uint8_t bytes[200];
    ips_deque row;
    CHECK(ips_deque_open(segment, (uint32_t)at->type, at->root, at->generation, &row) == 0);
    for (int i = 0; i < count; i++) {
        const ips_value value = {bytes, i % 3 == 0 ? 200 : 10, 0};
        CHECK(ips_deque_append(&row, IPS_RIGHT, &value) == 0);
    }
}

/* --- what is in it, as a number */

static uint64_t contents_of_one(ips_segment *segment, const ips_reference *at);

static uint64_t
contents_of_values(ips_segment *segment, const ips_snapshot *values)
{
    ips_value value;
    size_t read = 0;
    uint64_t sum = 3;
    while (ips_snapshot_next(values, &read, &value)) {
        ips_reference inner;
        uint64_t part = ips_hash(value.bytes, value.size);
        if (value.kind == IPS_VALUE_REFERENCE) {
            CHECK(ips_nest_read(value.bytes, value.size, &inner));
            part = contents_of_one(segment, &inner);
        }
        const uint64_t parts[] = {sum, value.kind, part};
        sum = ips_hash(parts, sizeof parts);
    }
    return sum;
}

static uint64_t
contents_of_map(ips_segment *segment, const ips_reference *at)
{
    ips_map map;
    ips_snapshot items = {0};
    CHECK(ips_map_open(segment, at->root, at->generation, &map) == 0);
    CHECK(ips_map_snapshot_locked(&map, IPS_MAP_ITEMS, &items) == 0);
    uint64_t sum = contents_of_values(segment, &items);
    ips_snapshot_clear(&items);
    return sum;
}

static uint64_t
contents_of_one(ips_segment *segment, const ips_reference *at)
{
    ips_deque row;
    ips_snapshot values = {0};
    if (at->type == IPS_TYPE_MAP) {
        return contents_of_map(segment, at);
    }
    if (at->type == IPS_TYPE_ATOMIC_INT) {
        CHECK(ips_stable_generation(segment, at->root, (uint32_t)at->type) == at->generation);
        return 7;
    }
    if (at->type == IPS_TYPE_TYPED_VECTOR) {
        ips_flat flat;
        CHECK(ips_flat_open(segment, (uint32_t)at->type, at->root, at->generation, &flat) == 0);
        return 5;
    }
    CHECK(ips_deque_open(segment, (uint32_t)at->type, at->root, at->generation, &row) == 0);
    CHECK(ips_deque_snapshot_locked(&row, IPS_SPAN_ALL, &values) == 0);
    uint64_t sum = contents_of_values(segment, &values) + at->type;
    ips_snapshot_clear(&values);
    return sum;
}

/* 1: the outer map is not there. */
static uint64_t
contents_of(ips_segment *segment)
{
    ips_entry entry;
    begin(segment);
    int found = ips_catalogue_find(segment, "outer", &entry);
    const ips_reference at = {IPS_TYPE_MAP, entry.offset, entry.generation};
    uint64_t sum = found < 0 ? 1 : contents_of_one(segment, &at);
    ips_tx_abort(segment);
    return sum;
}

/* --- judged */

static void
reap_all(ips_segment *segment)
{
    for (int more = 1; more == 1;) {
        begin(segment);
        more = ips_nest_reap(segment);
        CHECK(more >= 0);
        commit(segment);
    }
}

static void
check_all(ips_segment *segment)
{
    ips_entry entry;
    check_sound(segment); /* its begin recovers */
    begin(segment);
    if (ips_catalogue_find(segment, "outer", &entry) == 0) {
        const ips_reference at = {IPS_TYPE_MAP, entry.offset, entry.generation};
        CHECK(ips_nest_check(segment, &at, print_line, NULL) == 0);
    }
    CHECK(ips_nest_check_graves(segment, print_line, NULL) == 0);
    CHECK(ips_leaks_check(segment, print_line, NULL) == 0);
    ips_tx_abort(segment);
}

static void
destroy_outer(ips_segment *segment)
{
    ips_entry entry;
    begin(segment);
    if (ips_catalogue_find(segment, "outer", &entry) == 0) {
        ips_map map;
        CHECK(ips_map_open(segment, entry.offset, entry.generation, &map) == 0);
        CHECK(ips_map_destroy(&map) == 0);
        CHECK(ips_catalogue_remove(segment, "outer") == 0);
    }
    commit(segment);
}

typedef struct {
    uint64_t before, after;
    bool seen_after;
    int states;
} verdict;

static void
judge(verdict *so_far, const uint8_t *image, uint64_t size)
{
    load_image(copy, image, size);
    check_all(copy);
    uint64_t contents = contents_of(copy);
    CHECK(contents == so_far->before || contents == so_far->after);
    CHECK(contents == so_far->after || !so_far->seen_after);
    so_far->seen_after = so_far->before != so_far->after && contents == so_far->after;
    /* Whoever comes next gives everything back. */
    reap_all(copy);
    check_all(copy);
    CHECK(contents_of(copy) == contents);
    destroy_outer(copy);
    reap_all(copy);
    check_all(copy);
    CHECK(stats_of(copy).blocks == blocks_without);
    so_far->states++;
}

/* --- the scene and its operations */

static void
set_scene(void)
{
    ips_offset root;
    for (int round = 0; round < 2; round++) { /* the first leaves what stays for ever */
        begin(victim);
        CHECK(ips_map_create(victim, &root) == 0);
        CHECK(ips_catalogue_insert(victim, "outer", IPS_TYPE_MAP, root, &outer_entry.generation) == 0);
        CHECK(ips_root_christen(victim, root, outer_entry.generation) == 0);
        outer_entry.offset = root;
        commit(victim);
        if (round == 0) {
            destroy_outer(victim);
            blocks_without = stats_of(victim).blocks;
        }
    }
    begin(victim);
    const ips_map outer = outer_of(victim);
    ips_reference row = construct(&outer, "row", IPS_TYPE_VECTOR);
    fill_row(victim, &row, 6);
    (void)construct_in_row(victim, &row, IPS_TYPE_TYPED_VECTOR);
    (void)construct(&outer, "numbers", IPS_TYPE_TYPED_VECTOR);
    (void)construct(&outer, "hits", IPS_TYPE_ATOMIC_INT);
    put(&outer, "plain", 30);
    (void)construct(&outer, "map", IPS_TYPE_MAP);
    const ips_map inner = map_at(&outer, "map");
    put(&inner, "plain", 600);
    row = construct(&inner, "queue", IPS_TYPE_DEQUE);
    fill_row(victim, &row, 4);
    (void)construct(&inner, "deeper", IPS_TYPE_MAP);
    commit(victim);
}

static void
construct_one(ips_segment *segment)
{
    begin(segment);
    const ips_map outer = outer_of(segment), inner = map_at(&outer, "map");
    const ips_reference row = construct(&inner, "new", IPS_TYPE_DEQUE);
    fill_row(segment, &row, 3);
    commit(segment);
}

static void
construct_and_abort(ips_segment *segment)
{
    begin(segment);
    const ips_map outer = outer_of(segment);
    (void)construct(&outer, "new", IPS_TYPE_MAP);
    (void)construct(&outer, "too", IPS_TYPE_ATOMIC_INT);
    const ips_key key = key_of("map");
    CHECK(ips_map_delete(&outer, &key, NULL) == IPS_MAP_PRESENT);
    ips_tx_abort(segment);
}

static void
overwrite(ips_segment *segment)
{
    begin(segment);
    const ips_map outer = outer_of(segment);
    put(&outer, "row", 300);
    put(&outer, "hits", 3);
    (void)construct(&outer, "more", IPS_TYPE_ATOMIC_INT);
    commit(segment);
    reap_all(segment);
}

static void
change_row(ips_segment *segment)
{
    begin(segment);
    const ips_map outer = outer_of(segment), inner = map_at(&outer, "map");
    const ips_reference at = reference_at(&outer, "row"), other = reference_at(&inner, "queue");
    ips_deque row;
    (void)construct_in_row(segment, &other, IPS_TYPE_MAP);
    CHECK(ips_deque_open(segment, (uint32_t)at.type, at.root, at.generation, &row) == 0);
    CHECK(ips_deque_pop(&row, IPS_RIGHT, NULL) == 0);
    commit(segment);
    reap_all(segment);
}

static void
take_away(ips_segment *segment) /* what stands in it goes step by step */
{
    begin(segment);
    const ips_map outer = outer_of(segment);
    const ips_key key = key_of("map");
    CHECK(ips_map_delete(&outer, &key, NULL) == IPS_MAP_PRESENT);
    commit(segment);
    reap_all(segment);
}

static void
clear_outer(ips_segment *segment)
{
    begin(segment);
    const ips_map outer = outer_of(segment);
    CHECK(ips_map_clear(&outer) == 0);
    commit(segment);
    reap_all(segment);
}

static const struct {
    const char *name;
    void (*operate)(ips_segment *segment);
} operations[] = {
    {"the construction of one", construct_one},
    {"a construction undone", construct_and_abort},
    {"overwriting two", overwrite},
    {"one more in a row, and one less in another", change_row},
    {"deleting one in which others stand", take_away},
    {"clearing the outer one", clear_outer},
};

static void
recover_it(ips_segment *segment)
{
    begin(segment);
    ips_tx_abort(segment);
}

int
main(void)
{
    static uint8_t scene[MOST];
    join_test_space();
    shots = mmap(NULL, sizeof *shots, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(shots != MAP_FAILED);
    victim = open_segment(NULL, SIZE, MOST);
    copy = open_segment(NULL, SIZE, MOST);
    second = open_segment(NULL, SIZE, MOST);
    set_scene();
    uint64_t size = image_size(victim);
    memcpy(scene, victim->base, size);
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        load_image(victim, scene, size);
        verdict so_far = {.before = contents_of(victim)};
        operations[i].operate(victim);
        so_far.after = contents_of(victim);
        load_image(victim, scene, size);
        step_through(victim, operations[i].operate);
        for (int shot = 1; shot <= shots->count; shot++) {
            judge(&so_far, shots->images[shot], shots->sizes[shot]);
        }
        CHECK(so_far.states > 20 && shots->count + 1 < KEPT);
        CHECK(so_far.seen_after || so_far.before == so_far.after);
        printf("ok death after every store of %s (%d states)\n", operations[i].name,
               so_far.states);
        load_image(second, shots->images[shots->count / 2], shots->sizes[shots->count / 2]);
        so_far.seen_after = false;
        step_through(second, recover_it);
        for (int shot = 1; shot <= shots->count; shot++) {
            judge(&so_far, shots->images[shot], shots->sizes[shot]);
        }
        printf("ok death in the recovery from it\n");
    }
    return 0;
}
