/* SPDX-License-Identifier: Apache-2.0 */
/* Segments without Python: heap, transactions, cells and names against models.
 * Prints "ok <promise>" lines. */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "segment_scene.h"
#include "sync/semaphore.h"

/* --- the heap against a model */

typedef struct {
    ips_offset offset;
    size_t size;
    uint8_t fill;
} owned;

#define MOST 400

static bool
still_filled(ips_segment *segment, const owned *block)
{
    const uint8_t *bytes = ips_segment_at(segment, block->offset, block->size);
    for (size_t i = 0; bytes != NULL && i < block->size; i++) {
        if (bytes[i] != block->fill) {
            return false;
        }
    }
    return bytes != NULL;
}

static size_t
draw_size(uint64_t *state)
{
    uint64_t kind = draw(state) % 10;
    return 1 + draw(state) % (kind < 6 ? 200 : kind < 9 ? 3000 : 40000);
}

/* Change the model and the heap alike; false where the segment is full. */
static bool
step(ips_segment *segment, owned *model, int *count, uint64_t *state)
{
    if (*count > 0 && (*count == MOST || draw(state) % 5 < 2)) {
        int victim = (int)(draw(state) % (uint64_t)*count);
        CHECK(still_filled(segment, &model[victim]));
        CHECK(ips_tx_free(segment, model[victim].offset) == 0);
        CHECK(ips_block_size(segment, model[victim].offset) == 0);
        CHECK(ips_tx_free(segment, model[victim].offset) == IPS_ECORRUPT);
        CHECK(still_filled(segment, &model[victim])); /* as readers may still look */
        model[victim] = model[--*count];
        return true;
    }
    owned *block = &model[*count];
    block->size = draw_size(state);
    block->fill = (uint8_t)draw(state);
    int status = ips_tx_alloc(segment, block->size, &block->offset);
    if (status == IPS_ESEGFULL) {
        return false;
    }
    CHECK(status == 0 && block->offset % 16 == 0);
    CHECK(ips_block_size(segment, block->offset) >= block->size);
    memset(ips_segment_at(segment, block->offset, block->size), block->fill, block->size);
    ++*count;
    return true;
}

static void
test_heap_against_a_model(uint64_t size, uint64_t max_size, uint64_t seed)
{
    ips_segment *segment = open_segment(NULL, size, max_size);
    static owned model[MOST], kept[MOST], middle[MOST];
    int count = 0;
    uint64_t state = seed;
    for (int round = 0; round < 250; round++) {
        int kept_count = count;
        memcpy(kept, model, sizeof model);
        begin(segment);
        bool room = true;
        for (int i = 0; i < 12 && room; i++) {
            room = step(segment, model, &count, &state);
        }
        if (room && draw(&state) % 2 == 0) {
            int middle_count = count;
            memcpy(middle, model, sizeof model);
            begin(segment);
            for (int i = 0; i < 12 && room; i++) {
                room = step(segment, model, &count, &state);
            }
            if (room && draw(&state) % 2 == 0) {
                commit(segment);
            } else {
                ips_tx_abort(segment);
                memcpy(model, middle, sizeof model);
                count = middle_count;
            }
            check_sound(segment); /* inside, too */
        }
        if (draw(&state) % 4 != 0) {
            commit(segment);
        } else {
            ips_tx_abort(segment);
            memcpy(model, kept, sizeof model);
            count = kept_count;
        }
        check_sound(segment);
        CHECK(stats_of(segment).blocks == (uint64_t)count);
        for (int i = 0; i < count; i++) {
            CHECK(still_filled(segment, &model[i]));
        }
    }
    begin(segment);
    while (count > 0) {
        CHECK(ips_tx_free(segment, model[--count].offset) == 0);
    }
    commit(segment);
    check_sound(segment);
    CHECK(stats_of(segment).used == 0);
    ips_segment_close(segment);
}

static void
test_full_segment_becomes_usable_again(void)
{
    ips_segment *segment = open_segment(NULL, 64 * KIB, 64 * KIB);
    static ips_offset blocks[8192];
    uint64_t first_free = stats_of(segment).free_bytes;
    for (int size = 8; size < 5000; size *= 3) {
        int count = 0;
        begin(segment);
        while (ips_tx_alloc(segment, (size_t)size, &blocks[count]) == 0) {
            count++;
        }
        CHECK(ips_last_note()->status == IPS_ESEGFULL);
        commit(segment);
        check_sound(segment);
        CHECK((uint64_t)count * (uint64_t)(size + 24) > first_free / 10 * 8);
        begin(segment);
        for (int i = 0; i < count; i++) {
            CHECK(ips_tx_free(segment, blocks[i]) == 0);
        }
        commit(segment);
        check_sound(segment);
        CHECK(stats_of(segment).used == 0);
        begin(segment); /* what one size had, any other can have */
        CHECK(ips_tx_alloc(segment, first_free / 2, &blocks[0]) == 0);
        ips_tx_abort(segment);
    }
    ips_segment_close(segment);
    puts("ok a full segment says so and is usable again");
}

static void
test_growth_is_undone_with_the_rest(void)
{
    ips_segment *segment = open_segment(NULL, 64 * KIB, 8 * MIB);
    ips_offset big;
    begin(segment);
    CHECK(ips_tx_alloc(segment, 3 * MIB, &big) == 0);
    begin(segment);
    CHECK(ips_tx_alloc(segment, 2 * MIB, &big) == 0);
    ips_tx_abort(segment);
    check_sound(segment);
    ips_tx_abort(segment);
    check_sound(segment);
    CHECK(stats_of(segment).size == 64 * KIB);
    begin(segment);
    CHECK(ips_tx_alloc(segment, 9 * MIB, &big) == IPS_ESEGFULL);
    CHECK(ips_tx_alloc(segment, SIZE_MAX - 3, &big) == IPS_ESEGFULL);
    CHECK(ips_tx_alloc(segment, 7 * MIB, &big) == 0);
    memset(ips_segment_at(segment, big, 7 * MIB), 1, 7 * MIB);
    commit(segment);
    check_sound(segment);
    CHECK(stats_of(segment).size > 7 * MIB);
    ips_segment_close(segment);
    puts("ok a segment grows while in use, and an undone growth is undone");
}

/* --- transactions */

static uint64_t
word_at(ips_segment *segment, ips_offset offset)
{
    return *(uint64_t *)ips_segment_at(segment, offset, 8);
}

static ips_offset
new_words(ips_segment *segment, size_t count)
{
    ips_offset at;
    begin(segment);
    CHECK(ips_tx_alloc(segment, count * 8, &at) == 0);
    memset(ips_segment_at(segment, at, count * 8), 0, count * 8);
    commit(segment);
    return at;
}

#define WORDS 64u

/* Random stores at random depths against copies of the array. */
static void
test_savepoints_against_a_model(void)
{
    ips_segment *segment = open_segment(NULL, 256 * KIB, 0);
    ips_offset at = new_words(segment, WORDS);
    static uint64_t models[12][WORDS];
    uint64_t state = 77;
    for (int round = 0; round < 400; round++) {
        int depth = 0;
        for (int i = 0; i < 120 || depth > 0; i++) {
            uint64_t kind = i < 120 ? draw(&state) % 10 : 9;
            uint64_t *model = models[depth];
            if (kind < 2 && depth < 10) {
                begin(segment);
                memcpy(models[++depth], model, sizeof models[0]);
            } else if (kind < 6 && depth > 0) {
                uint64_t index = draw(&state) % WORDS;
                model[index] = draw(&state);
                CHECK(ips_tx_store(segment, at + index * 8, model[index]) == 0);
            } else if (kind < 8 && depth > 0) {
                uint64_t index = draw(&state) % (WORDS - 8);
                size_t size = draw(&state) % 60;
                uint8_t bytes[64];
                for (size_t b = 0; b < sizeof bytes; b++) {
                    bytes[b] = (uint8_t)draw(&state);
                }
                memcpy((uint8_t *)(model + index), bytes, size);
                CHECK(ips_tx_write(segment, at + index * 8, bytes, size) == 0);
            } else if (depth > 0 && draw(&state) % 2 == 0) {
                commit(segment);
                memcpy(models[depth - 1], model, sizeof models[0]);
                depth--;
            } else if (depth > 0) {
                ips_tx_abort(segment);
                depth--;
            }
            CHECK(memcmp(ips_segment_at(segment, at, WORDS * 8), models[depth],
                         sizeof models[0]) == 0);
        }
    }
    check_sound(segment);
    ips_segment_close(segment);
    puts("ok savepoints undo exactly what came after them");
}

static void
test_transactions_refuse_what_they_must(void)
{
    ips_segment *segment = open_segment("refusals", 64 * KIB, 0);
    ips_segment *again = open_segment("refusals", 64 * KIB, 0);
    CHECK(segment == again);
    ips_offset at = new_words(segment, 1);
    CHECK(ips_tx_store(segment, at, 1) == IPS_ETX);
    CHECK(ips_tx_commit(segment) == IPS_ETX);
    ips_tx_abort(segment); /* nothing to undo */
    begin(segment);
    for (int depth = 1; depth < IPS_TX_DEPTH; depth++) {
        begin(segment);
    }
    CHECK(ips_tx_begin(segment, IPS_FOREVER) == IPS_ETX);
    CHECK(ips_tx_store(segment, 128, 1) == IPS_ECORRUPT); /* the lock word */
    CHECK(ips_tx_store(segment, at + 4, 1) == IPS_ECORRUPT);
    CHECK(ips_tx_store(segment, 65 * KIB, 1) == IPS_ECORRUPT);
    CHECK(ips_tx_touch(segment, 0) == IPS_ECORRUPT);
    CHECK(ips_tx_free(segment, at + 16) == IPS_ECORRUPT);
    for (int depth = 0; depth < IPS_TX_DEPTH; depth++) {
        CHECK(ips_tx_is_mine(segment));
        ips_tx_abort(segment);
    }
    CHECK(!ips_tx_is_mine(segment));
    check_sound(segment);
    ips_segment_close(again);
    ips_segment_close(segment);
    puts("ok a transaction refuses what it must");
}

static void
test_outgrown_journal(void)
{
    ips_segment *segment = open_segment(NULL, 4 * MIB, 0);
    ips_offset at = new_words(segment, 256 * 1024);
    begin(segment);
    int status = 0;
    uint64_t i = 0;
    for (; i < 256 * 1024 && status == 0; i++) {
        status = ips_tx_store(segment, at + i * 8, i + 1);
    }
    CHECK(status == IPS_ETXFULL && i > 60000); /* the journal went on in the heap */
    check_sound(segment);
    ips_tx_abort(segment);
    check_sound(segment);
    for (i = 0; i < 256 * 1024; i++) {
        CHECK(word_at(segment, at + i * 8) == 0);
    }
    begin(segment); /* the same few words over and over need no more room */
    for (i = 0; i < 300000; i++) {
        CHECK(ips_tx_store(segment, at + i % 64 * 8, i) == 0);
    }
    commit(segment);
    check_sound(segment);
    ips_segment_close(segment);
    puts("ok a transaction that outgrows its journal says so and is undone");
}

/* A journal that goes on in the heap, at several depths. */
static void
test_large_transactions(void)
{
    enum { MANY = 60000 };
    ips_segment *segment = open_segment(NULL, 256 * KIB, 16 * MIB);
    ips_offset at = new_words(segment, MANY);
    static uint8_t bytes[MANY * 8];
    uint64_t used = stats_of(segment).used;
    for (int round = 0; round < 6; round++) {
        bool inner = round % 2 == 1, outer = round >= 3;
        begin(segment);
        for (uint64_t i = 0; i < 1000; i++) {
            CHECK(ips_tx_store(segment, at + i * 8, 1) == 0);
        }
        begin(segment);
        for (uint64_t i = 0; i < MANY; i++) {
            CHECK(ips_tx_store(segment, at + i * 8, 2) == 0);
        }
        memset(bytes, 3, sizeof bytes);
        CHECK(ips_tx_write(segment, at, bytes, sizeof bytes) == 0);
        inner ? commit(segment) : ips_tx_abort(segment);
        CHECK(word_at(segment, at) == (inner ? UINT64_C(0x0303030303030303) : 1));
        CHECK(word_at(segment, at + 8000) == (inner ? UINT64_C(0x0303030303030303) : 0));
        for (uint64_t i = 0; i < MANY; i++) {
            CHECK(ips_tx_store(segment, at + i * 8, i) == 0);
        }
        outer ? commit(segment) : ips_tx_abort(segment);
        for (uint64_t i = 0; i < MANY; i++) {
            CHECK(word_at(segment, at + i * 8) == (outer ? i : 0));
        }
        check_sound(segment);
        CHECK(stats_of(segment).used == used);
        begin(segment);
        memset(bytes, 0, sizeof bytes);
        CHECK(ips_tx_write(segment, at, bytes, sizeof bytes) == 0);
        commit(segment);
    }
    ips_segment_close(segment);
    puts("ok a large transaction's journal goes on in the heap");
}

/* Freeing needs no room in the journal: all of a segment's blocks at once. */
static void
test_freeing_everything_at_once(void)
{
    ips_segment *segment = open_segment(NULL, 4 * MIB, 0);
    static ips_offset blocks[140000];
    int count = 0;
    begin(segment);
    while (ips_tx_alloc(segment, 24, &blocks[count]) == 0) {
        count++;
    }
    CHECK(ips_last_note()->status == IPS_ESEGFULL && count > 100000);
    commit(segment);
    begin(segment);
    for (int i = 0; i < count; i++) {
        CHECK(ips_tx_free(segment, blocks[i]) == 0);
    }
    commit(segment);
    check_sound(segment);
    CHECK(stats_of(segment).used == 0);
    ips_segment_close(segment);
    puts("ok everything can be freed in one transaction");
}

static void
test_versions(void)
{
    ips_segment *segment = open_segment(NULL, 64 * KIB, 0);
    ips_offset at = new_words(segment, 4);
    uint64_t seen = ips_read_begin(segment, at);
    CHECK(seen % 2 == 0 && ips_read_ok(segment, at, seen));
    begin(segment);
    CHECK(ips_tx_touch(segment, at) == 0 && ips_tx_touch(segment, at) == 0);
    CHECK(word_at(segment, at) == seen + 1 && !ips_read_ok(segment, at, seen));
    begin(segment);
    CHECK(ips_tx_touch(segment, at + 8) == 0);
    ips_tx_abort(segment);
    commit(segment);
    CHECK(word_at(segment, at) == seen + 2 && word_at(segment, at + 8) % 2 == 0);
    begin(segment);
    CHECK(ips_tx_touch(segment, at) == 0);
    ips_tx_abort(segment);
    CHECK(word_at(segment, at) == seen + 4);
    CHECK(!ips_read_ok(segment, at, seen + 1) && ips_read_ok(segment, at, seen + 4));
    ips_segment_close(segment);
    puts("ok a version is even at rest and grows with commit and rollback");
}

static void
test_stable_cells(void)
{
    ips_segment *segment = open_segment(NULL, 64 * KIB, 0);
    ips_offset number, lock;
    begin(segment);
    CHECK(ips_stable_alloc(segment, 1, &number) == 0 && ips_stable_alloc(segment, 16, &lock) == 0);
    commit(segment);
    uint64_t generation = ips_stable_generation(segment, number, 1);
    CHECK(number % 64 == 16 && generation != 0);
    CHECK(ips_stable_generation(segment, number, 16) == 0);
    CHECK(ips_stable_generation(segment, number + 8, 1) == 0);
    CHECK(ips_stable_generation(segment, 0, 1) == 0);
    begin(segment);
    CHECK(ips_stable_free(segment, number) == 0);
    CHECK(ips_stable_generation(segment, number, 1) == generation); /* not yet */
    ips_tx_abort(segment);
    CHECK(ips_stable_generation(segment, number, 1) == generation);
    begin(segment);
    CHECK(ips_stable_free(segment, number) == 0);
    commit(segment);
    CHECK(ips_stable_generation(segment, number, 1) == 0);
    ips_offset again;
    begin(segment);
    CHECK(ips_stable_alloc(segment, 1, &again) == 0 && again == number);
    uint64_t third = ips_stable_generation(segment, again, 1);
    CHECK(third != 0 && third != generation);
    ips_tx_abort(segment);
    CHECK(ips_stable_generation(segment, again, 1) == 0); /* was never made */
    check_sound(segment);
    ips_segment_close(segment);
    puts("ok a cell keeps its type, and each use has a generation of its own");
}

static ips_semaphore_shm *
semaphore_at(ips_segment *segment, ips_offset cell)
{
    ips_wide wide;
    ips_stable_wide(segment, cell, 24, "it", &wide);
    CHECK(wide.shm != NULL);
    return (ips_semaphore_shm *)(void *)wide.shm;
}

static ips_offset
new_semaphore(ips_segment *segment)
{
    ips_offset cell;
    begin(segment);
    CHECK(ips_stable_alloc(segment, 24, &cell) == 0);
    commit(segment);
    return cell;
}

/* Their locks are held by one that lives. */
static void
test_semaphores_with_somebody_inside(void)
{
    enum { CELLS = 20 };
    ips_segment *segment = open_segment(NULL, 8 * MIB, 0);
    ips_offset cells[CELLS];
    for (int i = 0; i < CELLS; i++) {
        cells[i] = new_semaphore(segment);
    }
    begin(segment);
    for (int i = 0; i < CELLS; i++) {
        ips_semaphore_shm *semaphore = semaphore_at(segment, cells[i]);
        /* relaxed, all: nobody else is about. */
        atomic_store_explicit(&semaphore->seats[0].owner,
                              ips_space_self(ips_segment_object(segment)->space),
                              memory_order_relaxed);
        atomic_store_explicit(&semaphore->used, 1, memory_order_relaxed);
        atomic_fetch_or_explicit(&semaphore->word, 1, memory_order_relaxed);
        CHECK(ips_stable_free(segment, cells[i]) == 0);
    }
    commit(segment);
    ips_offset fresh = new_semaphore(segment);
    for (int i = 0; i < CELLS; i++) {
        CHECK(fresh != cells[i]);
    }
    ips_semaphore_shm *last = semaphore_at(segment, cells[CELLS / 2]); /* not at the list's head */
    uint64_t word = atomic_load_explicit(&last->word, memory_order_relaxed) & ~IPS_SEMAPHORE_LOCK;
    atomic_store_explicit(&last->word, word, memory_order_relaxed);
    ips_offset other = fresh;
    for (int i = 0; i < 300 && other != cells[CELLS / 2]; i++) {
        other = new_semaphore(segment);
    }
    CHECK(atomic_load_explicit(&last->word, memory_order_relaxed) != word);
    CHECK(atomic_load_explicit(&last->used, memory_order_relaxed) == 0);
    check_sound(segment);
    ips_segment_close(segment);
    puts("ok a semaphore's bytes serve the next one when nobody is inside");
}

/* --- names */

static void
name_of(int i, char name[32])
{
    snprintf(name, 32, "object-%d", i);
}

static void
test_catalogue(void)
{
    enum { NAMES = 3000 };
    ips_segment *segment = open_segment(NULL, 2 * MIB, 0);
    ips_offset root = new_words(segment, 3);
    uint64_t generation, cursor = 0;
    char name[32];
    ips_entry entry;
    CHECK(ips_catalogue_find(segment, "nothing", &entry) == IPS_ENOENT);
    CHECK(ips_catalogue_next(segment, &cursor, &entry) == IPS_ENOENT);
    for (int i = 0; i < NAMES; i++) {
        begin(segment);
        name_of(i, name);
        CHECK(ips_catalogue_insert(segment, name, (uint32_t)i, root, &generation) == 0);
        CHECK(ips_catalogue_insert(segment, name, 1, root, &generation) == IPS_EEXIST);
        commit(segment);
    }
    for (int i = 0; i < NAMES; i += 3) {
        begin(segment);
        name_of(i, name);
        CHECK(ips_catalogue_remove(segment, name) == 0);
        CHECK(ips_catalogue_remove(segment, name) == IPS_ENOENT);
        commit(segment);
    }
    begin(segment);
    name_of(1, name);
    CHECK(ips_catalogue_remove(segment, name) == 0);
    CHECK(ips_catalogue_insert(segment, "other", 1, root, &generation) == 0);
    CHECK(ips_catalogue_find(segment, "other", &entry) == 0 && entry.generation == generation);
    ips_tx_abort(segment);
    CHECK(ips_catalogue_find(segment, "other", &entry) == IPS_ENOENT);
    check_sound(segment);
    cursor = 0;
    for (int i = 0; i < NAMES; i++) {
        name_of(i, name);
        int status = ips_catalogue_find(segment, name, &entry);
        CHECK(status == (i % 3 == 0 ? IPS_ENOENT : 0));
        if (status == 0) {
            CHECK(entry.type == (uint32_t)i && entry.offset == root && entry.generation != 0);
            CHECK(ips_catalogue_next(segment, &cursor, &entry) == 0);
            CHECK(strcmp(entry.name, name) == 0);
        }
    }
    CHECK(ips_catalogue_next(segment, &cursor, &entry) == IPS_ENOENT);
    CHECK(stats_of(segment).objects == NAMES - NAMES / 3);
    ips_segment_close(segment);
    puts("ok names are found, walked in order, and rolled back");
}

/* --- others: threads, processes, a second opening */

static void *
begin_at_once(void *context)
{
    ips_segment *segment = (ips_segment *)context;
    CHECK(!ips_tx_is_mine(segment));
    CHECK(ips_tx_begin(segment, ips_now() + 20000000) == IPS_ETIMEOUT);
    return NULL;
}

static void
test_second_thread_waits_like_a_stranger(void)
{
    ips_segment *segment = open_segment(NULL, 64 * KIB, 0);
    pthread_t thread;
    begin(segment);
    CHECK(pthread_create(&thread, NULL, begin_at_once, segment) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    commit(segment);
    ips_segment_close(segment);
    puts("ok a second thread waits like a stranger");
}

static void
test_killed_writer_is_undone(void)
{
    ips_segment *segment = open_segment("victims", 64 * KIB, 0);
    ips_offset at = new_words(segment, 2);
    for (int round = 0; round < 10; round++) {
        uint64_t version = word_at(segment, at);
        pid_t child = fork();
        if (child == 0) {
            ips_offset block;
            begin(segment);
            CHECK(ips_tx_touch(segment, at) == 0 && ips_tx_store(segment, at + 8, 7) == 0);
            CHECK(ips_tx_alloc(segment, 500, &block) == 0);
            (void)raise(SIGKILL);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
        ips_segment *late = open_segment("victims", 64 * KIB, 0);
        begin(late);
        CHECK(word_at(segment, at) == version + 2 && word_at(segment, at + 8) == 0);
        commit(late);
        check_sound(late);
        ips_segment_close(late);
    }
    CHECK(stats_of(segment).blocks == 1 && stats_of(segment).members == 1);
    ips_segment_close(segment);
    puts("ok a killed writer is undone by the next one");
}

static void
test_file_opened_again(void)
{
    ips_segment *segment = open_segment("again", 64 * KIB, 1 * MIB);
    ips_offset at = new_words(segment, 1);
    uint64_t generation;
    begin(segment);
    CHECK(ips_catalogue_insert(segment, "n", 1, at, &generation) == 0);
    CHECK(ips_tx_store(segment, at, 42) == 0);
    commit(segment);
    ips_segment_close(segment);
    ips_entry entry;
    segment = open_segment("again", 0, 0);
    CHECK(ips_catalogue_find(segment, "n", &entry) == 0 && entry.offset == at);
    CHECK(word_at(segment, at) == 42 && stats_of(segment).max_size == 1 * MIB);
    check_sound(segment);
    ips_segment_close(segment);
    puts("ok a segment outlives its openers");
}

static void
test_changes_of_one_word(void)
{
    ips_segment *segment = open_segment(NULL, 64 * KIB, 64 * KIB);
    ips_offset at = new_words(segment, 3);
    _Atomic uint64_t *words = ips_segment_at(segment, at, 24);
    uint64_t seen = ips_read_begin(segment, at);
    CHECK(ips_single_begin(segment));
    CHECK(!ips_single_begin(segment)); /* by anybody */
    CHECK(ips_single_store(&words[0], &words[1], 7));
    ips_single_end(segment);
    CHECK(word_at(segment, at + 8) == 7 && !ips_read_ok(segment, at, seen));
    CHECK(ips_read_ok(segment, at, seen + 2));
    begin(segment);
    CHECK(!ips_single_begin(segment)); /* would not take part in it */
    CHECK(ips_tx_touch(segment, at) == 0 && ips_tx_store(segment, at + 8, 8) == 0);
    CHECK(ips_tx_anchor(segment, IPS_ANCHOR_LAYOUTS, at) == 0);
    CHECK(ips_anchor_load(segment, IPS_ANCHOR_LAYOUTS) == at);
    ips_tx_abort(segment);
    CHECK(ips_anchor_load(segment, IPS_ANCHOR_LAYOUTS) == 0);
    CHECK(ips_single_begin(segment) && ips_single_store(&words[0], &words[2], 9));
    ips_single_end(segment);
    CHECK(word_at(segment, at + 8) == 7 && word_at(segment, at + 16) == 9);
    check_sound(segment);
    ips_segment_close(segment);
    puts("ok one word changes without the journal, and never inside a transaction");
}

int
main(void)
{
    join_test_space();
    test_heap_against_a_model(1 * MIB, 4 * MIB, 1);
    test_heap_against_a_model(64 * KIB, 64 * KIB, 2);
    test_heap_against_a_model(256 * KIB, 2 * MIB, 3);
    puts("ok the heap agrees with its model after commits, savepoints and rollbacks");
    test_full_segment_becomes_usable_again();
    test_growth_is_undone_with_the_rest();
    test_savepoints_against_a_model();
    test_transactions_refuse_what_they_must();
    test_outgrown_journal();
    test_large_transactions();
    test_freeing_everything_at_once();
    test_versions();
    test_changes_of_one_word();
    test_stable_cells();
    test_semaphores_with_somebody_inside();
    test_catalogue();
    test_second_thread_waits_like_a_stranger();
    test_killed_writer_is_undone();
    test_file_opened_again();
    return 0;
}
