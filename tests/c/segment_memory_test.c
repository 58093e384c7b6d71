/* SPDX-License-Identifier: Apache-2.0 */
/* What a segment does with its memory beyond giving it out and taking it back. */
#include <sys/wait.h>

#include "segment/quota.h"
#include "segment_scene.h"

/* A full segment's empty runs become other memory: undone, they are runs
 * again, whatever was written into them. */
static void
test_runs_come_back_after_a_rollback(void)
{
    ips_segment *segment = open_segment(NULL, 64 * KIB, 64 * KIB);
    ips_offset blocks[40], large;
    begin(segment);
    for (int i = 0; i < 40; i++) {
        CHECK(ips_tx_alloc(segment, (size_t)(40 + i / 8 * 50), &blocks[i]) == 0);
    }
    commit(segment);
    begin(segment);
    for (int i = 0; i < 40; i++) {
        CHECK(ips_tx_free(segment, blocks[i]) == 0);
    }
    commit(segment);
    size_t size = 60 * KIB;
    begin(segment);
    while (ips_tx_alloc(segment, size, &large) != 0) {
        size -= 64;
    }
    CHECK(size > 40 * KIB);
    memset(ips_segment_at(segment, large, size), 0xab, size);
    ips_tx_abort(segment);
    check_sound(segment);
    ips_segment_close(segment);
    puts("ok runs come back after a rollback");
}

/* What one transaction allocates and frees again and again takes memory once. */
static void
test_own_blocks_are_used_again(void)
{
    ips_segment *segment = open_segment(NULL, 256 * KIB, 256 * KIB);
    uint64_t state = 88172645463325252u;
    ips_offset kept[16] = {0}, at;
    begin(segment);
    CHECK(ips_tx_alloc(segment, 24, &at) == 0);
    commit(segment);
    for (int round = 0; round < 200; round++) {
        ips_segment_stats before = stats_of(segment);
        bool undone = draw(&state) % 2 == 0;
        begin(segment);
        for (int i = 0; i < 300; i++) { /* together far more than there is */
            ips_offset *place = &kept[draw(&state) % 16];
            if (*place != 0) {
                CHECK(ips_tx_free(segment, *place) == 0);
                *place = 0;
            } else {
                size_t size = draw(&state) % 8 == 0 ? 8000 : draw(&state) % 700 + 1;
                CHECK(ips_tx_alloc(segment, size, place) == 0);
                memset(ips_segment_at(segment, *place, size), 0xcd, size);
            }
        }
        for (int i = 0; i < 16; i++) {
            CHECK(kept[i] == 0 || undone || ips_tx_free(segment, kept[i]) == 0);
            kept[i] = 0;
        }
        if (undone) {
            ips_tx_abort(segment);
        } else {
            commit(segment);
        }
        check_sound(segment);
        CHECK(stats_of(segment).used == before.used && stats_of(segment).blocks == before.blocks);
    }
    ips_segment_close(segment);
    puts("ok a transaction uses its own blocks again");
}

/* A block that a savepoint could bring back waits for the commit. */
static void
test_savepoints_keep_what_they_may_bring_back(void)
{
    ips_segment *segment = open_segment(NULL, 256 * KIB, 256 * KIB);
    ips_offset at, other;
    begin(segment);
    CHECK(ips_tx_alloc(segment, 100, &at) == 0);
    memset(ips_segment_at(segment, at, 96), 7, 96);
    begin(segment);
    CHECK(ips_tx_free(segment, at) == 0);
    CHECK(ips_tx_alloc(segment, 100, &other) == 0 && other != at);
    memset(ips_segment_at(segment, other, 96), 9, 96);
    ips_tx_abort(segment);
    CHECK(*(uint8_t *)ips_segment_at(segment, at, 96) == 7 && ips_block_size(segment, at) != 0);
    CHECK(ips_tx_free(segment, at) == 0);
    CHECK(ips_tx_free(segment, at) == IPS_ECORRUPT);
    commit(segment);
    check_sound(segment);
    ips_segment_close(segment);
    puts("ok savepoints keep what they may bring back");
}

static void
fill(ips_segment *segment, ips_offset *blocks, int count, size_t size)
{
    begin(segment);
    for (int i = 0; i < count; i++) {
        CHECK(ips_tx_alloc(segment, size, &blocks[i]) == 0);
        memset(ips_segment_at(segment, blocks[i], size), i, size);
    }
    commit(segment);
}

static uint64_t
trim(ips_segment *segment)
{
    uint64_t given_back;
    CHECK(ips_segment_trim_mark(segment, IPS_FOREVER) == 0);
    CHECK(ips_segment_trim_punch(segment, &given_back) == 0);
    return given_back;
}

/* Free pages at the end and in the middle go and come back; all else stays. */
static void
test_trimmed_memory_comes_back(void)
{
    enum { COUNT = 32 };
    ips_segment *segment = open_segment(NULL, 256 * KIB, 4 * MIB);
    ips_offset blocks[COUNT];
    uint64_t state = 2463534242;
    for (int round = 0; round < 20; round++) {
        fill(segment, blocks, COUNT, 50000);
        begin(segment);
        for (int i = 0; i < COUNT; i++) {
            if (draw(&state) % 4 != 0) {
                CHECK(ips_tx_free(segment, blocks[i]) == 0);
                blocks[i] = 0;
            }
        }
        commit(segment);
        ips_segment_stats before = stats_of(segment);
        uint64_t given_back = trim(segment);
        ips_segment_stats after = stats_of(segment);
        CHECK(given_back > 200000 && after.memory == before.memory - given_back);
        CHECK(after.memory >= after.used && after.used == before.used);
        check_sound(segment);
        for (int i = 0; i < COUNT; i++) {
            uint8_t *bytes = blocks[i] != 0 ? ips_segment_at(segment, blocks[i], 50000) : NULL;
            CHECK(bytes == NULL || (bytes[0] == i && bytes[49999] == i));
        }
        begin(segment); /* undone, it is a hole again */
        ips_offset at;
        CHECK(ips_tx_alloc(segment, 30000, &at) == 0 && ips_tx_alloc(segment, 40, &at) == 0);
        ips_tx_abort(segment);
        check_sound(segment);
        begin(segment);
        for (int i = 0; i < COUNT; i++) {
            CHECK(blocks[i] == 0 || ips_tx_free(segment, blocks[i]) == 0);
        }
        commit(segment);
        check_sound(segment);
    }
    CHECK(trim(segment) > 0 && stats_of(segment).memory < 150 * KIB);
    CHECK(trim(segment) == 0);
    ips_segment_close(segment);
    puts("ok trimmed memory comes back when it is needed");
}

/* Every block handed out has memory: what was punched is backed again. */
static void
test_blocks_have_memory_after_a_trim(void)
{
    ips_segment *segment = open_segment(NULL, 1 * MIB, 1 * MIB);
    ips_offset blocks[300];
    fill(segment, blocks, 300, 3000);
    begin(segment);
    for (int i = 0; i < 300; i++) {
        CHECK(ips_tx_free(segment, blocks[i]) == 0);
    }
    commit(segment);
    CHECK(trim(segment) > 800000);
    uint64_t least = stats_of(segment).memory;
    begin(segment);
    for (int i = 0; i < 300; i++) { /* untouched: memory must come with the block */
        CHECK(ips_tx_alloc(segment, 3000, &blocks[i]) == 0);
    }
    CHECK(stats_of(segment).memory - least >= UINT64_C(300) * 3000 - 8192);
    commit(segment);
    check_sound(segment);
    ips_segment_close(segment);
    puts("ok blocks have memory after a trim");
}

/* While a second member has it open, nothing goes. */
static void
test_no_trim_while_others_may_read(void)
{
    ips_segment *segment = open_segment("shared", 1 * MIB, 1 * MIB);
    int ready[2], leave[2];
    char byte = 0;
    CHECK(pipe(ready) == 0 && pipe(leave) == 0);
    pid_t child = fork();
    if (child == 0) {
        CHECK(close(leave[1]) == 0 && write(ready[1], &byte, 1) == 1);
        _exit(read(leave[0], &byte, 1) == 0 ? 0 : 1);
    }
    CHECK(read(ready[0], &byte, 1) == 1);
    CHECK(stats_of(segment).members == 2 && trim(segment) == 0);
    int status;
    CHECK(close(leave[1]) == 0 && waitpid(child, &status, 0) == child && status == 0);
    CHECK(trim(segment) > 0);
    check_sound(segment);
    ips_segment_close(segment);
    puts("ok nothing is trimmed while another member has it open");
}

/* A member that allocates, in small blocks and a large one, and dies. */
static void
let_one_die(ips_segment *segment, ips_offset blocks[4])
{
    int report[2], status;
    CHECK(pipe(report) == 0);
    pid_t child = fork();
    if (child == 0) {
        begin(segment);
        for (int i = 0; i < 4; i++) {
            CHECK(ips_tx_alloc(segment, i == 3 ? 9000 : 100, &blocks[i]) == 0);
        }
        commit(segment);
        CHECK(write(report[1], blocks, 4 * sizeof *blocks) == (ssize_t)(4 * sizeof *blocks));
        _exit(0);
    }
    CHECK(read(report[0], blocks, 4 * sizeof *blocks) == (ssize_t)(4 * sizeof *blocks));
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(close(report[0]) == 0 && close(report[1]) == 0);
}

/* The rows of the dead serve again once no block names them any more, though
 * the transaction that finds it out is undone. */
static void
test_rows_of_the_dead_serve_again(void)
{
    static ips_quota rows[IPS_QUOTA_ROWS];
    ips_segment *segment = open_segment(NULL, 1 * MIB, 1 * MIB);
    ips_offset theirs[4], mine;
    unsigned count;
    begin(segment);
    CHECK(ips_quota_set(segment, IPS_NOBODY, 64 * KIB) == 0);
    commit(segment);
    let_one_die(segment, theirs);
    check_sound(segment);
    for (int undone = 1; undone >= 0; undone--) {
        begin(segment);
        for (unsigned i = 1; i <= 2 * IPS_QUOTA_ROWS; i++) { /* of members long gone */
            CHECK(ips_quota_set(segment, ips_owner_make(IPS_MAX_SLOTS - 1, i), 5 * KIB) == 0);
        }
        check_sound(segment);
        CHECK(ips_tx_alloc(segment, 5000, &mine) == 0);
        if (undone) {
            ips_tx_abort(segment);
        } else {
            commit(segment);
        }
        check_sound(segment);
    }
    begin(segment);
    for (int i = 0; i < 4; i++) {
        CHECK(ips_tx_free(segment, theirs[i]) == 0);
    }
    commit(segment);
    check_sound(segment);
    begin(segment);
    CHECK(ips_quota_list(segment, rows, &count) == 0 && count == 1);
    CHECK(rows[0].owner == ips_space_self(space) && rows[0].limit == 64 * KIB);
    CHECK(rows[0].bytes >= 5000 && rows[0].bytes == stats_of(segment).charged);
    CHECK(ips_tx_alloc(segment, 60 * KIB, &mine) == IPS_EQUOTA);
    ips_tx_abort(segment);
    check_sound(segment);
    ips_segment_close(segment);
    puts("ok the rows of dead members serve again");
}

int
main(void)
{
    join_test_space();
    test_rows_of_the_dead_serve_again();
    test_runs_come_back_after_a_rollback();
    test_own_blocks_are_used_again();
    test_savepoints_keep_what_they_may_bring_back();
    test_trimmed_memory_comes_back();
    test_blocks_have_memory_after_a_trim();
    test_no_trim_while_others_may_read();
    return 0;
}
