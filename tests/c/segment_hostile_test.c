/* SPDX-License-Identifier: Apache-2.0 */
/* Segments whose bytes a peer has spoilt: every operation says so or works,
 * and none crashes, hangs or writes outside the file. */
#include "segment/handle.h"
#include "segment/heap.h"

#include "segment_scene.h"

#define SIZE (64 * KIB)
#define MOST (256 * KIB)
#define ROUNDS 6000
#define MOST_BLOCKS 64

static uint8_t scene[MOST];
static uint64_t scene_size;
static ips_offset blocks[MOST_BLOCKS];
static int block_count;

static ips_segment *
open_fresh(void)
{
    ips_segment *segment;
    bool created;
    CHECK(ips_segment_open(space, "spoilt", IPS_CREATE_NEW, SIZE, MOST, false, &segment,
                           &created) == 0);
    return segment;
}

/* Something of everything, and a transaction cut short. */
static void
set_scene(ips_segment *segment, bool cut_short)
{
    uint64_t generation;
    char name[32];
    begin(segment);
    for (int i = 0; i < 30; i++) {
        CHECK(ips_tx_alloc(segment, (size_t)(20 + i * 37), &blocks[i]) == 0);
        memset(ips_segment_at(segment, blocks[i], 20), 0, 20);
        snprintf(name, sizeof name, "name-%d", i);
        CHECK(ips_catalogue_insert(segment, name, 1, blocks[i], &generation) == 0);
    }
    ips_offset field;
    CHECK(ips_tx_alloc(segment, 1100 * 8, &field) == 0);
    CHECK(ips_stable_alloc(segment, 3, &blocks[30]) == 0);
    CHECK(ips_stable_alloc(segment, 3, &blocks[31]) == 0);
    commit(segment);
    begin(segment);
    for (int i = 0; i < 30; i += 4) {
        snprintf(name, sizeof name, "name-%d", i);
        CHECK(ips_catalogue_remove(segment, name) == 0);
        CHECK(ips_tx_free(segment, blocks[i]) == 0);
    }
    CHECK(ips_stable_free(segment, blocks[31]) == 0);
    commit(segment);
    block_count = 32;
    begin(segment);
    CHECK(ips_tx_touch(segment, blocks[1]) == 0 && ips_tx_store(segment, blocks[2], 9) == 0);
    CHECK(ips_tx_free(segment, blocks[3]) == 0);
    CHECK(ips_tx_write(segment, blocks[5], scene, 100) == 0);
    for (int i = 0; i < 1100; i++) { /* the journal goes on in the heap */
        CHECK(ips_tx_store(segment, field + (ips_offset)i * 8, 1) == 0);
    }
    if (!cut_short) {
        ips_tx_abort(segment);
    }
    scene_size = segment->shm->top;
    memcpy(scene, segment->base, scene_size);
    if (cut_short) {
        ips_tx_abort(segment);
    }
}

/* A value that is likely to hurt. */
static uint64_t
draw_value(uint64_t old, uint64_t *state)
{
    switch (draw(state) % 8) {
    case 0: return 0;
    case 1: return UINT64_MAX;
    case 2: return old ^ UINT64_C(1) << draw(state) % 64;
    case 3: return old + (draw(state) % 3 - 1) * 8;
    case 4: return draw(state) % (2 * MOST) & ~UINT64_C(15);
    case 5: return ips_tag_make((unsigned)(draw(state) % 4), (unsigned)(draw(state) % 64),
                                draw(state) % 300, draw(state) % 5000);
    case 6: return (draw(state) % MOST & ~UINT64_C(63)) | draw(state) % 6;
    default: return draw(state);
    }
}

static void
spoil(ips_segment *segment, uint64_t *state)
{
    CHECK(ips_object_grow(segment->object, scene_size) == 0);
    memcpy(segment->base + IPS_SEGMENT_AT, scene + IPS_SEGMENT_AT, scene_size - IPS_SEGMENT_AT);
    atomic_store_explicit(&segment->shm->lock.word, 0, memory_order_relaxed);
    int changes = 1 + (int)(draw(state) % 4);
    for (int i = 0; i < changes; i++) {
        /* Mostly where structure is: the head, the journal, the used heap. */
        uint64_t from = draw(state) % 3 == 0 ? IPS_SEGMENT_AT + 64 : segment->heap_start;
        uint64_t span = from == segment->heap_start ? 16 * KIB : 3 * KIB;
        uint64_t *word = (uint64_t *)(segment->base + from + draw(state) % span / 8 * 8);
        *word = draw_value(*word, state);
    }
}

static int problems; /* operations that noticed */

static int
note(int status)
{
    CHECK(status <= 0 && (status == 0 || ips_last_note()->detail[0] != '\0'));
    problems += status == IPS_ECORRUPT;
    return status;
}

static void
no_line(const char *line, void *context)
{
    (void)line;
    (void)context;
}

static void
read_everything(ips_segment *segment)
{
    ips_entry entry;
    uint64_t cursor = 0, count;
    ips_segment_stats stats;
    for (int i = 0; i < 100; i++) {
        int status = ips_catalogue_next(segment, &cursor, &entry);
        if (status < 0) {
            break;
        }
        (void)ips_block_size(segment, entry.offset);
    }
    (void)note(ips_catalogue_find(segment, "name-7", &entry));
    (void)note(ips_catalogue_find(segment, "no-such-name", &entry));
    (void)note(ips_catalogue_count(segment, &count));
    (void)note(ips_segment_stats_of(segment, &stats));
    for (int i = 0; i < block_count; i++) {
        (void)ips_block_size(segment, blocks[i]);
        (void)ips_stable_generation(segment, blocks[i], 3);
    }
}

/* Random operations in one transaction; false where it cannot even begin. */
static bool
change_something(ips_segment *segment, uint64_t *state)
{
    if (note(ips_tx_begin(segment, ips_now() + 1000000000)) < 0) {
        return false;
    }
    int status = 0;
    for (int i = 0; i < 12 && status == 0; i++) {
        ips_offset at;
        uint64_t generation;
        char name[32];
        snprintf(name, sizeof name, "name-%d", (int)(draw(state) % 40));
        switch (draw(state) % 8) {
        case 0:
        case 1: status = note(ips_tx_alloc(segment, draw(state) % 5000, &at)); break;
        case 2: status = note(ips_tx_free(segment, blocks[draw(state) % 32])); break;
        case 3: status = note(ips_catalogue_insert(segment, name, 1, blocks[1], &generation)); break;
        case 4: status = note(ips_catalogue_remove(segment, name)); break;
        case 5: status = note(ips_stable_alloc(segment, 3, &at)); break;
        case 6: status = note(ips_stable_free(segment, blocks[30])); break;
        default: status = note(ips_tx_alloc(segment, 40 * KIB, &at)); break;
        }
    }
    if (draw(state) % 2 == 0) {
        ips_tx_abort(segment);
    } else {
        (void)note(ips_tx_commit(segment));
    }
    return true;
}

static void
test_spoilt_bytes(bool cut_short, uint64_t seed)
{
    ips_segment *segment = open_fresh();
    uint64_t state = seed;
    int opened = 0, refused = 0, found = 0;
    set_scene(segment, cut_short);
    for (int round = 0; round < ROUNDS; round++) {
        spoil(segment, &state);
        if (round % 8 == 0) {
            ips_segment *again;
            bool created;
            ips_segment_close(segment);
            int status = ips_segment_open(space, "spoilt", IPS_OPEN_ONLY, 0, 0, false, &again,
                                          &created);
            opened += status == 0;
            refused += status < 0;
            CHECK(status == 0 || status == IPS_ECORRUPT);
            segment = status == 0 ? again : open_fresh();
        }
        read_everything(segment);
        found += ips_segment_check(segment, ips_now() + 1000000000, no_line, NULL) < 0;
        for (int i = 0; i < 3 && change_something(segment, &state); i++) {
            read_everything(segment);
        }
        found += ips_segment_check(segment, ips_now() + 1000000000, no_line, NULL) < 0;
    }
    CHECK(opened > ROUNDS / 16 && refused > 0 && problems > ROUNDS / 10 && found > ROUNDS / 10);
    spoil(segment, &state);
    ips_segment_close(segment);
}

int
main(void)
{
    join_test_space();
    (void)alarm(50); /* a hang is a failure */
    test_spoilt_bytes(false, 4711);
    puts("ok spoilt bytes are noticed or do no harm");
    test_spoilt_bytes(true, 815);
    puts("ok so are those of a segment whose writer died");
    return 0;
}
