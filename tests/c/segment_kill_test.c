/* SPDX-License-Identifier: Apache-2.0 */
/* A segment after every single store of its operations: a child keeps an image
 * of each state that a death could leave; each is laid into another file, and
 * that one is recovered and judged.  Then recovery itself is treated so. */
#include "base/hash.h"
#include "segment/heap.h"
#include "segment/quota.h"
#include "segment/region.h"

#include "segment_steps.h"

static ips_segment *victim, *copy, *second;
static ips_offset counter; /* version and value, in the victim */
#define SPARE 12
static ips_offset spare[SPARE];
static ips_offset cell;
static ips_region arena, emptied, pool; /* `emptied` is closing */
static ips_offset inside[2]; /* blocks of the arena */
static ips_offset field; /* many words, for large transactions */
#define FIELD 4000u

/* --- what is in a segment, as a number */

static uint64_t
contents_of(ips_segment *segment)
{
    uint64_t cursor = 0;
    uint64_t sum = 17;
    ips_entry entry;
    while (ips_catalogue_next(segment, &cursor, &entry) == 0) {
        size_t size = ips_block_size(segment, entry.offset);
        uint64_t *words = ips_segment_at(segment, entry.offset, size);
        CHECK(size >= 16 && words != NULL);
        uint64_t parts[] = {sum, ips_hash(entry.name, strlen(entry.name)), entry.type, words[1],
                            size};
        sum = ips_hash(parts, sizeof parts);
    }
    for (unsigned i = 0; field != 0 && i < FIELD; i++) {
        sum = (sum ^ *(uint64_t *)ips_segment_at(segment, field + i * 8, 8)) * 0x100000001b3;
    }
    ips_segment_stats stats = stats_of(segment);
    uint64_t parts[] = {sum, stats.objects, stats.blocks, stats.used,
                        ips_stable_generation(segment, cell, 1) != 0};
    return ips_hash(parts, sizeof parts);
}

typedef struct {
    uint64_t before, after;
    uint64_t version; /* of the counter, before */
    bool seen_after;
    int states;
} verdict;

static void
judge(verdict *so_far, const uint8_t *image, uint64_t size)
{
    load_image(copy, image, size);
    check_sound(copy); /* its begin recovers */
    uint64_t contents = contents_of(copy);
    uint64_t version = *(uint64_t *)ips_segment_at(copy, counter, 8);
    CHECK(contents == so_far->before || contents == so_far->after);
    CHECK(version % 2 == 0 && version >= so_far->version);
    CHECK(contents == so_far->after || !so_far->seen_after);
    so_far->seen_after = so_far->before != so_far->after && contents == so_far->after;
    CHECK(copy->shm->heap.deferred == 0 && copy->shm->journal.mark == IPS_PHASE_IDLE);
    /* It goes on working. */
    ips_offset block;
    begin(copy);
    CHECK(ips_tx_alloc(copy, 100, &block) == 0);
    ips_tx_abort(copy);
    so_far->states++;
}

static void
judge_shots(verdict *so_far)
{
    for (int i = 1; i <= shots->count; i++) {
        judge(so_far, shots->images[i], shots->sizes[i]);
    }
}

/* --- the scene and its operations */

static void
insert(ips_segment *segment, const char *name, size_t size, uint64_t value)
{
    ips_offset at;
    uint64_t generation;
    CHECK(ips_tx_alloc(segment, size, &at) == 0);
    *(uint64_t *)ips_segment_at(segment, at, 8) = 0; /* a version */
    *(uint64_t *)ips_segment_at(segment, at + 8, 8) = value;
    CHECK(ips_catalogue_insert(segment, name, 1, at, &generation) == 0);
}

static void
set_scene(void)
{
    ips_entry entry;
    begin(victim);
    insert(victim, "counter", 24, 1);
    insert(victim, "doomed", 300, 2);
    for (int i = 0; i < 9; i++) {
        char name[32];
        snprintf(name, sizeof name, "other-%d", i);
        insert(victim, name, 16, 3);
    }
    for (int i = 0; i < SPARE; i++) {
        CHECK(ips_tx_alloc(victim, 100, &spare[i]) == 0);
    }
    CHECK(ips_stable_alloc(victim, 1, &cell) == 0);
    commit(victim);
    begin(victim);
    CHECK(ips_region_create(victim, 0, 0, &arena) == 0);
    CHECK(ips_region_create(victim, 0, 0, &emptied) == 0);
    CHECK(ips_region_create(victim, 50, 3, &pool) == 0);
    (void)ips_region_enter(victim, emptied.offset);
    CHECK(ips_tx_alloc(victim, 40, &inside[0]) == 0);
    CHECK(ips_tx_free(victim, inside[0]) == 0);
    CHECK(ips_region_close(victim, &emptied) == 0);
    (void)ips_region_enter(victim, arena.offset);
    CHECK(ips_tx_alloc(victim, 100, &inside[0]) == 0);
    CHECK(ips_tx_alloc(victim, 1500, &inside[1]) == 0);
    (void)ips_region_enter(victim, 0);
    commit(victim);
    CHECK(ips_catalogue_find(victim, "counter", &entry) == 0);
    counter = entry.offset;
}

static void
raise_counter(ips_segment *segment)
{
    uint64_t value = *(uint64_t *)ips_segment_at(segment, counter + 8, 8);
    CHECK(ips_tx_touch(segment, counter) == 0);
    CHECK(ips_tx_store(segment, counter + 8, value + 1) == 0);
}

static void
remove_doomed(ips_segment *segment)
{
    ips_entry entry;
    CHECK(ips_catalogue_find(segment, "doomed", &entry) == 0);
    CHECK(ips_tx_free(segment, entry.offset) == 0);
    CHECK(ips_catalogue_remove(segment, "doomed") == 0);
}

static void
change_much(ips_segment *segment)
{
    begin(segment);
    raise_counter(segment);
    insert(segment, "new", 40, 4);
    remove_doomed(segment);
    raise_counter(segment);
    commit(segment);
}

static void
change_nested(ips_segment *segment)
{
    begin(segment);
    raise_counter(segment);
    begin(segment);
    insert(segment, "dropped", 2000, 5);
    remove_doomed(segment);
    ips_tx_abort(segment);
    begin(segment);
    insert(segment, "kept", 30, 6);
    commit(segment);
    commit(segment);
}

static void
change_and_abort(ips_segment *segment)
{
    begin(segment);
    raise_counter(segment);
    insert(segment, "new", 40, 4);
    remove_doomed(segment);
    ips_tx_abort(segment);
}

static void
grow_names(ips_segment *segment) /* beyond the catalogue's first tables */
{
    begin(segment);
    for (int i = 0; i < 3; i++) {
        char name[32];
        snprintf(name, sizeof name, "more-%d", i);
        insert(segment, name, 16, 7);
    }
    commit(segment);
}

static void
grow_heap(ips_segment *segment)
{
    begin(segment);
    insert(segment, "big", 90 * KIB, 8);
    raise_counter(segment);
    commit(segment);
}

static void
free_run(ips_segment *segment)
{
    begin(segment);
    for (int i = 0; i < SPARE; i++) {
        CHECK(ips_tx_free(segment, spare[i]) == 0);
    }
    commit(segment);
}

static void
free_own(ips_segment *segment) /* blocks of this transaction: not deferred */
{
    ips_offset block[6];
    begin(segment);
    for (int i = 0; i < 6; i++) {
        CHECK(ips_tx_alloc(segment, i == 3 ? 3000 : (size_t)(100 + i % 2 * 30), &block[i]) == 0);
        memset(ips_segment_at(segment, block[i], 96), 0xee, 96);
    }
    for (int i = 5; i > 0; i--) {
        CHECK(ips_tx_free(segment, block[i]) == 0);
    }
    CHECK(ips_tx_alloc(segment, 1500, &block[1]) == 0);
    memset(ips_segment_at(segment, block[1], 1500), 0xdd, 1500);
    CHECK(ips_tx_free(segment, spare[0]) == 0);
    raise_counter(segment);
    commit(segment);
}

static void
mark_and_use_holes(ips_segment *segment) /* the contents stay as they are */
{
    ips_offset block;
    CHECK(ips_segment_trim_mark(segment, IPS_FOREVER) == 0);
    begin(segment);
    CHECK(ips_tx_alloc(segment, 9000, &block) == 0);
    CHECK(ips_tx_free(segment, block) == 0);
    ips_tx_abort(segment);
}

static void
use_regions(ips_segment *segment)
{
    ips_region made;
    ips_offset block;
    begin(segment);
    CHECK(ips_region_create(segment, 200, 2, &made) == 0);
    (void)ips_region_enter(segment, arena.offset);
    CHECK(ips_tx_alloc(segment, 300, &block) == 0);
    CHECK(ips_tx_alloc(segment, 2500, &block) == 0);
    CHECK(ips_tx_free(segment, inside[0]) == 0);
    (void)ips_region_enter(segment, pool.offset);
    for (int i = 0; i < 3; i++) {
        CHECK(ips_tx_alloc(segment, 50, &block) == 0);
    }
    CHECK(ips_tx_alloc(segment, 50, &block) == IPS_EPOOLFULL);
    CHECK(ips_tx_free(segment, block) == 0);
    (void)ips_region_enter(segment, 0);
    raise_counter(segment);
    commit(segment);
}

static void
empty_arena(ips_segment *segment)
{
    begin(segment);
    CHECK(ips_tx_free(segment, inside[0]) == 0);
    CHECK(ips_tx_free(segment, inside[1]) == 0);
    CHECK(ips_region_close(segment, &arena) == 0);
    raise_counter(segment);
    commit(segment);
}

static void
give_back_regions(ips_segment *segment)
{
    begin(segment);
    CHECK(ips_region_sweep(segment) == 0);
    raise_counter(segment);
    commit(segment);
}

/* A member long gone is limited; blocks of ours, of both kinds, come and go. */
static void
charge_blocks(ips_segment *segment)
{
    ips_offset small, large;
    begin(segment);
    CHECK(ips_quota_set(segment, IPS_NOBODY, 64 * KIB) == 0);
    CHECK(ips_quota_set(segment, ips_owner_make(IPS_MAX_SLOTS - 1, 1), 5 * KIB) == 0);
    CHECK(ips_tx_alloc(segment, 100, &small) == 0);
    CHECK(ips_tx_alloc(segment, 3000, &large) == 0);
    CHECK(ips_tx_alloc(segment, 120, &small) == 0);
    CHECK(ips_tx_free(segment, small) == 0 && ips_tx_free(segment, large) == 0);
    CHECK(ips_tx_free(segment, spare[0]) == 0);
    raise_counter(segment);
    commit(segment);
}

static void
change_cells(ips_segment *segment)
{
    ips_offset other;
    begin(segment);
    CHECK(ips_stable_free(segment, cell) == 0);
    CHECK(ips_stable_alloc(segment, 1, &other) == 0);
    CHECK(ips_stable_alloc(segment, 2, &other) == 0);
    commit(segment);
}

static void
change_briefly(ips_segment *segment)
{
    ips_entry doomed;
    uint64_t words[30] = {77};
    CHECK(ips_catalogue_find(segment, "doomed", &doomed) == 0);
    const ips_patch patches[] = {{counter + 8, &words[0], 1}, {doomed.offset + 8, words, 30}};
    CHECK(ips_brief_begin(segment));
    CHECK(ips_brief_change(segment, counter, patches, 2));
    ips_brief_end(segment);
}

static const struct {
    const char *name;
    operation operate;
} operations[] = {
    {"a few words changed at once", change_briefly},
    {"a transaction of many kinds of changes", change_much},
    {"nested transactions", change_nested},
    {"an aborted transaction", change_and_abort},
    {"a growing catalogue", grow_names},
    {"a growing heap", grow_heap},
    {"runs given back", free_run},
    {"blocks freed in the transaction that made them", free_own},
    {"holes marked and used", mark_and_use_holes},
    {"cells", change_cells},
    {"quotas set and blocks charged", charge_blocks},
    {"a pool made, an arena and a pool used", use_regions},
    {"an arena emptied and closed", empty_arena},
    {"a closed arena given back", give_back_regions},
};

#define OPERATIONS (sizeof operations / sizeof operations[0])

static void
put_back(const uint8_t *image, uint64_t size)
{
    load_image(victim, image, size);
}

static void
test_death_after_every_store(const uint8_t *scene, uint64_t size)
{
    for (size_t i = 0; i < OPERATIONS; i++) {
        put_back(scene, size);
        verdict so_far = {.before = contents_of(victim)};
        so_far.version = *(uint64_t *)ips_segment_at(victim, counter, 8);
        operations[i].operate(victim);
        so_far.after = contents_of(victim);
        put_back(scene, size);
        step_through(victim, operations[i].operate);
        judge_shots(&so_far);
        CHECK(so_far.states > 10);
        CHECK(so_far.seen_after || so_far.before == so_far.after);
        printf("ok death after every store of %s (%d states)\n", operations[i].name,
               so_far.states);
    }
}

static void
recover_it(ips_segment *segment)
{
    begin(segment);
    ips_tx_abort(segment);
}

/* A journal that goes on in the heap, twice; most of its way there is like the
 * rest, so images begin where it gets interesting. */
#define FIRST_END 930u /* so many stores and the journal goes on in the heap */
#define LEAD 80u

static void
store_unseen(ips_segment *segment, unsigned count)
{
    unseen = true;
    for (unsigned i = 0; i < count; i++) {
        CHECK(ips_tx_store(segment, field + i * 8, i + 1) == 0);
    }
    unseen = false;
}

static void
store_field(ips_segment *segment, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        CHECK(ips_tx_store(segment, field + i * 8, i + 1) == 0);
    }
}

static void
outgrow(ips_segment *segment)
{
    begin(segment);
    store_unseen(segment, FIRST_END - LEAD);
    store_field(segment, FIRST_END - LEAD, FIRST_END);
    raise_counter(segment);
    commit(segment);
}

static void
outgrow_nested(ips_segment *segment)
{
    begin(segment);
    store_unseen(segment, FIRST_END - LEAD);
    store_field(segment, FIRST_END - LEAD, FIRST_END - 50);
    begin(segment);
    store_field(segment, FIRST_END - 50, FIRST_END);
    ips_tx_abort(segment);
    raise_counter(segment);
    store_field(segment, FIRST_END - 50, FIRST_END - 10);
    commit(segment);
}

static void
outgrow_twice(ips_segment *segment)
{
    begin(segment);
    store_unseen(segment, FIELD - 275);
    store_field(segment, FIELD - 275, FIELD);
    raise_counter(segment);
    ips_tx_abort(segment);
}

static void
test_death_in_a_large_transaction(void)
{
    static const operation large[] = {outgrow, outgrow_nested, outgrow_twice};
    static uint8_t scene[MOST];
    begin(victim);
    insert(victim, "field", FIELD * 8, 9);
    for (unsigned i = 0; i < FIELD; i++) {
        ips_entry entry;
        CHECK(i != 0 || ips_catalogue_find(victim, "field", &entry) == 0);
        field = i == 0 ? entry.offset : field;
        *(uint64_t *)ips_segment_at(victim, field + i * 8, 8) = 0;
    }
    commit(victim);
    uint64_t size = image_size(victim);
    memcpy(scene, victim->base, size);
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++) {
        put_back(scene, size);
        verdict so_far = {.before = contents_of(victim)};
        so_far.version = *(uint64_t *)ips_segment_at(victim, counter, 8);
        large[i](victim);
        so_far.after = contents_of(victim);
        put_back(scene, size);
        step_through(victim, large[i]);
        judge_shots(&so_far);
        CHECK(so_far.states > 100);
        CHECK(shots->count + 1 < KEPT ? so_far.seen_after : i == 2);
        if (i != 1) { /* recovery, where entries lie in the heap */
            load_image(second, shots->images[shots->count / 2], shots->sizes[shots->count / 2]);
            so_far.seen_after = false;
            step_through(second, recover_it);
            judge_shots(&so_far);
        }
        printf("ok death in a journal that goes on in the heap (%d states)\n", so_far.states);
    }
}

static void
test_death_during_recovery(const uint8_t *scene, uint64_t size, operation operate,
                           const char *name)
{
    enum { SAMPLES = 12 };
    static uint8_t images[SAMPLES][MOST];
    static uint64_t sizes[SAMPLES];
    put_back(scene, size);
    verdict so_far = {.before = contents_of(victim)};
    operate(victim);
    so_far.after = contents_of(victim);
    put_back(scene, size);
    step_through(victim, operate);
    for (int i = 0; i < SAMPLES; i++) {
        int shot = 1 + i * (shots->count - 1) / (SAMPLES - 1);
        sizes[i] = shots->sizes[shot];
        memcpy(images[i], shots->images[shot], sizes[i]);
    }
    for (int i = 0; i < SAMPLES; i++) {
        so_far.seen_after = false;
        load_image(second, images[i], sizes[i]);
        step_through(second, recover_it);
        judge_shots(&so_far);
    }
    CHECK(so_far.states > 100);
    printf("ok death after every store of recovery from %s (%d states)\n", name, so_far.states);
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
    test_death_after_every_store(scene, size);

    test_death_during_recovery(scene, size, change_much, "a transaction");
    test_death_during_recovery(scene, size, free_run, "giving back");
    test_death_during_recovery(scene, size, grow_heap, "growth");
    test_death_in_a_large_transaction();
    return 0;
}
