/* SPDX-License-Identifier: Apache-2.0 */
/* What a segment does with its memory beyond giving it out and taking it back. */
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

int
main(void)
{
    join_test_space();
    test_runs_come_back_after_a_rollback();
    test_own_blocks_are_used_again();
    test_savepoints_keep_what_they_may_bring_back();
    return 0;
}
