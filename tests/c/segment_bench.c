/* SPDX-License-Identifier: Apache-2.0 */
/* What parts of a transaction cost, timed inside C, beside what `ipcsys bench
 * memory` tells.  Not a test: build it with
 *
 *   cc -std=c11 -D_GNU_SOURCE -O2 -fno-strict-aliasing -Icsrc -pthread \
 *      tests/c/segment_bench.c $(find csrc -name "*.c" -not -path "*bind*") -o segment_bench
 *
 * and run it with IPCSYS_DIR set; it prints nanoseconds, to be taken as the
 * least of several runs. */
#include "segment_scene.h"

#define ROUNDS 2000000
#define NAMES 10000

static double
nanoseconds(int64_t since, int64_t count)
{
    return (double)(ips_now() - since) / (double)count;
}

static void
bench_pairs(ips_segment *segment)
{
    static ips_offset blocks[1000];
    int64_t start = ips_now();
    for (int i = 0; i < ROUNDS / 1000; i++) {
        begin(segment);
        for (int j = 0; j < 1000; j++) {
            CHECK(ips_tx_alloc(segment, 64, &blocks[j]) == 0);
        }
        commit(segment);
        begin(segment);
        for (int j = 0; j < 1000; j++) {
            CHECK(ips_tx_free(segment, blocks[j]) == 0);
        }
        commit(segment);
    }
    printf("1000 allocated, then 1000 freed, for each pair %7.1f\n", nanoseconds(start, ROUNDS));
}

static void
bench_empty(ips_segment *segment)
{
    int64_t start = ips_now();
    for (int i = 0; i < ROUNDS; i++) {
        begin(segment);
        commit(segment);
    }
    printf("begin + commit, empty                          %7.1f\n", nanoseconds(start, ROUNDS));
    ips_offset at;
    begin(segment);
    CHECK(ips_tx_alloc(segment, 64, &at) == 0);
    *(uint64_t *)ips_segment_at(segment, at, 8) = 0;
    commit(segment);
    start = ips_now();
    for (int i = 0; i < ROUNDS; i++) {
        begin(segment);
        CHECK(ips_tx_touch(segment, at) == 0 && ips_tx_store(segment, at + 8, 1) == 0);
        commit(segment);
    }
    printf("begin + touch + store + commit                 %7.1f\n", nanoseconds(start, ROUNDS));
}

static void
bench_names(ips_segment *segment)
{
    char name[24];
    ips_offset root;
    uint64_t generation;
    begin(segment);
    CHECK(ips_tx_alloc(segment, 64, &root) == 0);
    commit(segment);
    int64_t start = ips_now();
    for (int i = 0; i < NAMES; i++) {
        snprintf(name, sizeof name, "sensor-%05d", i);
        begin(segment);
        CHECK(ips_catalogue_insert(segment, name, 1, root, &generation) == 0);
        commit(segment);
    }
    printf("name inserted, up to 10 000                    %7.1f\n", nanoseconds(start, NAMES));
}

int
main(void)
{
    join_test_space();
    ips_segment *segment = open_segment(NULL, 16 * MIB, 0);
    bench_empty(segment);
    bench_pairs(segment);
    bench_names(segment);
    check_sound(segment);
    ips_segment_close(segment);
    return 0;
}
