/* SPDX-License-Identifier: Apache-2.0 */
/* Readers without the lock beside changes without the journal; uses threads. */
#include <pthread.h>

#include "data/deque.h"

#include "segment_scene.h"

#define CHANGES 20000

static ips_deque row;
static _Atomic int over;

/* Three equal words. */
static ips_value
value_of(uint64_t number, uint64_t words[3])
{
    words[0] = words[1] = words[2] = number;
    return (ips_value){(const uint8_t *)words, 24, 0};
}

static uint64_t
number_of(const uint8_t *bytes, size_t size)
{
    uint64_t words[3];
    CHECK(size == sizeof words);
    memcpy(words, bytes, sizeof words);
    CHECK(words[0] == words[1] && words[1] == words[2]);
    return words[0];
}

/* Consecutive numbers go in at the right and leave at the left. */
static void *
read_all(void *unused)
{
    (void)unused;
    uint64_t least = 0;
    ips_snapshot values = {0};
    while (!atomic_load_explicit(&over, memory_order_relaxed)) { /* relaxed: a hint */
        ips_value_copy copy;
        ips_value_copy_init(&copy);
        if (ips_deque_get(&row, 0, &copy) == 0) {
            uint64_t number = number_of(copy.bytes, copy.size);
            CHECK(number >= least);
            least = number;
        }
        size_t at = 0;
        ips_value value;
        uint64_t next = 0;
        if (ips_deque_snapshot(&row, IPS_SPAN_ALL, &values) == 0) {
            while (ips_snapshot_next(&values, &at, &value)) {
                uint64_t number = number_of(value.bytes, value.size);
                CHECK(next == 0 || number == next);
                next = number + 1;
            }
        }
    }
    ips_snapshot_clear(&values);
    return NULL;
}

int
main(void)
{
    join_test_space();
    ips_segment *segment = open_segment("ends", 64 * KIB, 0);
    ips_offset root;
    uint64_t generation;
    begin(segment);
    CHECK(ips_deque_create(segment, IPS_TYPE_VECTOR, IPS_UNBOUNDED, &root) == 0);
    CHECK(ips_catalogue_insert(segment, "row", IPS_TYPE_VECTOR, root, &generation) == 0);
    CHECK(ips_root_christen(segment, root, generation) == 0);
    CHECK(ips_tx_commit(segment) == 0);
    CHECK(ips_deque_open(segment, IPS_TYPE_VECTOR, root, generation, &row) == 0);
    pthread_t reader;
    CHECK(pthread_create(&reader, NULL, read_all, NULL) == 0);
    uint64_t in = 1, out = 1;
    for (int i = 0; i < CHANGES; i++) {
        uint64_t words[3];
        ips_value value = value_of(in, words);
        ips_value_copy copy;
        if (in - out < 8 && ips_deque_add_single(&row, IPS_RIGHT, &value)) {
            in++;
        } else if (ips_deque_take_single(&row, IPS_LEFT, &copy)) {
            CHECK(number_of(copy.room, copy.size) == out);
            out++;
        }
    }
    /* relaxed: as above. */
    atomic_store_explicit(&over, 1, memory_order_relaxed);
    CHECK(pthread_join(reader, NULL) == 0);
    CHECK(out > CHANGES / 4);
    check_sound(segment);
    ips_segment_close(segment);
    puts("ok readers see whole values while others come and go without a journal");
    return 0;
}
