/* SPDX-License-Identifier: Apache-2.0 */
/* A map, with containers in it, and a deque whose bytes a peer has spoilt: every operation says so or
 * works, and none crashes, hangs or writes outside the file. */
#include "base/hash.h"
#include "data/deque.h"
#include "data/item.h"
#include "data/map.h"
#include "segment/handle.h"

#include "nest_scene.h"

#define SIZE (64 * KIB)
#define MOST (512 * KIB)
#define ROUNDS 4000
#define KEYS 60

static uint8_t scene[MOST];
static uint64_t scene_size;
static ips_map map;
static ips_deque deque;
static ips_offset inner[4]; /* roots of containers in the map */
static int noticed; /* operations that said CORRUPT */
static int worked;

static ips_key
key_of(uint64_t number, char room[16])
{
    int size = snprintf(room, 16, "key %d", (int)number);
    return (ips_key){(uint8_t *)room, (size_t)size, NULL, 0, ips_hash(room, (size_t)size)};
}

static ips_value
value_of(uint64_t number, uint8_t room[800])
{
    size_t size = number % 13 * 60;
    memset(room, (int)number, size);
    return (ips_value){room, size, 1};
}

static void
fill(ips_segment *segment)
{
    char key_room[16];
    uint8_t room[800];
    for (uint64_t number = 0; number < KEYS; number++) {
        begin(segment);
        ips_key key = key_of(number, key_room);
        ips_value value = value_of(number, room);
        CHECK(ips_map_set(&map, &key, &value) >= 0);
        CHECK(ips_deque_append(&deque, IPS_RIGHT, &value) == 0);
        if (number == 10) { /* leave something in the graves */
            CHECK(ips_map_clear(&map) == 0 && ips_deque_clear(&deque) == 0);
        }
        if (number > 30 && number <= 34) {
            static const uint32_t types[] = {IPS_TYPE_MAP, IPS_TYPE_DEQUE, IPS_TYPE_VECTOR,
                                             IPS_TYPE_MAP};
            CHECK(ips_map_delete(&map, &key, NULL) == IPS_MAP_PRESENT);
            const ips_reference at = construct_at(&map, &key, types[number - 31]);
            inner[number - 31] = at.root;
            ips_map within;
            if (at.type == IPS_TYPE_MAP && ips_map_open(segment, at.root, at.generation, &within) == 0) {
                (void)construct_at(&within, &key, IPS_TYPE_VECTOR);
            } else {
                (void)construct_in_row(segment, &at, IPS_TYPE_MAP);
            }
        }
        if (number == 40) { /* the last one's memory is still to be given back */
            const ips_key last = key_of(34, key_room);
            CHECK(ips_map_delete(&map, &last, NULL) == IPS_MAP_PRESENT);
        }
        if (number == 20) {
            CHECK(ips_map_delete(&map, &key, NULL) == IPS_MAP_PRESENT);
        }
        commit(segment);
    }
}

static void
set_scene(ips_segment *segment)
{
    ips_offset roots[2];
    uint64_t generations[2];
    begin(segment);
    CHECK(ips_map_create(segment, &roots[0]) == 0);
    CHECK(ips_deque_create(segment, IPS_TYPE_DEQUE, IPS_UNBOUNDED, &roots[1]) == 0);
    CHECK(ips_catalogue_insert(segment, "map", IPS_TYPE_MAP, roots[0], &generations[0]) == 0);
    CHECK(ips_catalogue_insert(segment, "deque", IPS_TYPE_DEQUE, roots[1], &generations[1]) == 0);
    for (int i = 0; i < 2; i++) {
        CHECK(ips_root_christen(segment, roots[i], generations[i]) == 0);
    }
    commit(segment);
    CHECK(ips_map_open(segment, roots[0], generations[0], &map) == 0);
    CHECK(ips_deque_open(segment, IPS_TYPE_DEQUE, roots[1], generations[1], &deque) == 0);
    fill(segment);
    scene_size = segment->shm->top;
    memcpy(scene, segment->base, scene_size);
}

/* A value that is likely to hurt. */
static uint64_t
draw_value(uint64_t old, uint64_t *state)
{
    switch (draw(state) % 8) {
    case 0: return 0;
    case 1: return UINT64_MAX;
    case 2: return old ^ UINT64_C(1) << draw(state) % 64;
    case 3: return old + (draw(state) % 3 - 1) * 16;
    case 4: return map.offset;
    case 5: return draw(state) % (2 * MOST) & ~UINT64_C(15);
    case 6: return UINT64_C(1) << draw(state) % 50;
    default: return draw(state);
    }
}

/* Words of the roots, or anywhere in the heap. */
static void
spoil(ips_segment *segment, uint64_t *state)
{
    memcpy(segment->base + IPS_SEGMENT_AT, scene + IPS_SEGMENT_AT, scene_size - IPS_SEGMENT_AT);
    atomic_store_explicit(&segment->shm->lock.word, 0, memory_order_relaxed);
    int changes = 1 + (int)(draw(state) % 3);
    for (int i = 0; i < changes; i++) {
        uint64_t at = segment->heap_start + draw(state) % (scene_size - segment->heap_start);
        switch (draw(state) % 5) {
        case 2: at = inner[draw(state) % 4] + draw(state) % 96; break;
        case 0: at = map.offset + 24 + draw(state) % 56; break;
        case 1: at = deque.offset + 24 + draw(state) % 40; break;
        default: break;
        }
        uint64_t *word = (uint64_t *)(segment->base + at / 8 * 8);
        *word = draw_value(*word, state);
    }
}

static int
note(int status)
{
    CHECK(status >= 0 || ips_last_note()->detail[0] != '\0');
    noticed += status == IPS_ECORRUPT;
    worked += status >= 0;
    return status;
}

static void
no_line(const char *line, void *context)
{
    (void)line;
    (void)context;
}

static void
read_everything(uint64_t *state)
{
    char key_room[16];
    ips_value_copy copy;
    ips_snapshot snapshot = {0};
    uint64_t length;
    ips_value_copy_init(&copy);
    for (int i = 0; i < 10; i++) {
        ips_key key = key_of(draw(state) % (KEYS + 5), key_room);
        (void)note(ips_map_get(&map, &key, &copy));
        (void)note(ips_deque_get(&deque, (int64_t)(draw(state) % 70) - 5, &copy));
    }
    (void)note(ips_map_length(&map, &length));
    (void)note(ips_deque_length(&deque, &length));
    (void)note(ips_map_snapshot(&map, IPS_MAP_ITEMS, &snapshot));
    (void)note(ips_deque_snapshot(&deque, IPS_SPAN_ALL, &snapshot));
    for (uint64_t number = 30; number < 36; number++) {
        ips_key key = key_of(number, key_room);
        ips_reference at;
        ips_map within;
        if (ips_map_get(&map, &key, &copy) == IPS_MAP_PRESENT &&
            copy.kind == IPS_VALUE_REFERENCE && ips_nest_read(copy.bytes, copy.size, &at) &&
            note(ips_nest_look(map.segment, &at, 0, NULL)) == 0 && at.type == IPS_TYPE_MAP &&
            note(ips_map_open(map.segment, at.root, at.generation, &within)) == 0) {
            (void)note(ips_map_snapshot(&within, IPS_MAP_ITEMS, &snapshot));
        }
    }
    ips_snapshot_clear(&snapshot);
    ips_value_copy_clear(&copy);
}

static int
change_map(uint64_t *state, ips_value_copy *copy)
{
    char key_room[16];
    uint8_t room[800], other_room[800];
    ips_key key = key_of(draw(state) % (KEYS + 20), key_room);
    ips_value value = value_of(draw(state), room);
    ips_value other = value_of(draw(state), other_room);
    ips_value_copy key_copy;
    ips_value_copy_init(&key_copy);
    int status;
    switch (draw(state) % 10) {
    case 0:
    case 1: status = ips_map_set(&map, &key, &value); break;
    case 2: status = ips_map_insert(&map, &key, &value, copy); break;
    case 3:
    case 4: status = ips_map_delete(&map, &key, copy); break;
    case 5: status = ips_map_pop_last(&map, &key_copy, copy); break;
    case 6: status = ips_map_compare_and_set(&map, &key, &value, &other); break;
    case 7: status = ips_map_reap(&map, 10); break;
    case 8: status = ips_nest_reap(map.segment); break;
    default: status = draw(state) % 4 == 0 ? ips_map_clear(&map)
                                           : ips_map_get_locked(&map, &key, copy);
    }
    ips_value_copy_clear(&key_copy);
    return status;
}

static int
change_deque(uint64_t *state, ips_value_copy *copy)
{
    uint8_t room[800];
    ips_value value = value_of(draw(state), room);
    int end = (int)(draw(state) % 2);
    switch (draw(state) % 7) {
    case 0: return ips_deque_append(&deque, end, &value);
    case 1: return ips_deque_push(&deque, end, &value);
    case 2:
    case 3: return ips_deque_pop(&deque, end, copy);
    case 4: return ips_deque_set(&deque, (int64_t)(draw(state) % 60), &value);
    case 5: return ips_deque_reap(&deque, 10);
    default: return draw(state) % 4 == 0 ? ips_deque_clear(&deque)
                                         : ips_deque_get_locked(&deque, 3, copy);
    }
}

/* Random operations in one transaction, check and destruction among them. */
static void
change_something(ips_segment *segment, uint64_t *state)
{
    if (note(ips_tx_begin(segment, ips_now() + 1000000000)) < 0) {
        return;
    }
    ips_value_copy copy;
    ips_value_copy_init(&copy);
    int status = 0;
    if (draw(state) % 3 == 0) {
        status = note(ips_map_check(&map, no_line, NULL));
        status = status < 0 ? status : note(ips_deque_check(&deque, no_line, NULL));
        const ips_reference at = {IPS_TYPE_MAP, map.offset, map.generation};
        status = status < 0 ? status : note(ips_nest_check(segment, &at, no_line, NULL));
        status = status < 0 ? status : note(ips_nest_check_graves(segment, no_line, NULL));
    }
    for (int i = 0; i < 12 && status >= 0; i++) {
        status = note(draw(state) % 2 == 0 ? change_map(state, &copy)
                                           : change_deque(state, &copy));
    }
    if (status >= 0 && draw(state) % 4 == 0) {
        status = note(ips_map_destroy(&map));
        status = status < 0 ? status : note(ips_deque_destroy(&deque));
    }
    ips_value_copy_clear(&copy);
    if (status < 0 || draw(state) % 2 == 0) {
        ips_tx_abort(segment);
    } else {
        (void)note(ips_tx_commit(segment));
    }
}

int
main(void)
{
    join_test_space();
    ips_segment *segment = open_segment("spoilt", SIZE, MOST);
    uint64_t state = 20240229;
    set_scene(segment);
    for (int round = 0; round < ROUNDS; round++) {
        spoil(segment, &state);
        read_everything(&state);
        change_something(segment, &state);
        read_everything(&state);
        change_something(segment, &state);
    }
    CHECK(noticed > ROUNDS / 10 && worked > ROUNDS);
    printf("ok spoilt maps and deques work or say so: %d operations said so\n", noticed);
    ips_segment_close(segment);
    return 0;
}
