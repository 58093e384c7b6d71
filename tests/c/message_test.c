/* SPDX-License-Identifier: Apache-2.0 */
/* The queue without Python: a model, growth, wrapping, large messages, hostile
 * bytes; threads over one mapping; processes that die.  Prints "ok" lines. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "message/queue.h"
#include "os/clock.h"

#define CHECK(condition)                                                             \
    do {                                                                             \
        if (!(condition)) {                                                          \
            fprintf(stderr, "%s:%d: failed: %s (note: %s)\n", __FILE__, __LINE__,    \
                    #condition, ips_last_note()->detail);                            \
            exit(1);                                                                 \
        }                                                                            \
    } while (0)

static ips_space *space;
static int64_t in_ten_seconds(void) { return ips_now() + INT64_C(10000000000); }

static uint64_t
random_number(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Each message says its number, its size, and bytes that follow from both. */
static void
write_message(uint8_t *to, uint64_t size, uint64_t number)
{
    for (uint64_t i = 0; i < size; i++) {
        to[i] = (uint8_t)(number * 31 + i * 7 + (i >> 8));
    }
    memcpy(to, &number, size < 8 ? size : 8);
}

static bool
is_message(const uint8_t *bytes, uint64_t size, uint64_t number)
{
    uint8_t *expected = malloc(size + 8);
    write_message(expected, size, number);
    bool same = memcmp(bytes, expected, size) == 0;
    free(expected);
    return same;
}

static void
print_line(const char *line, void *context)
{
    (void)context;
    fprintf(stderr, "check: %s\n", line);
}

static void
check_sound(ips_queue *queue)
{
    CHECK(ips_queue_check(queue, in_ten_seconds(), print_line, NULL) == 0);
}

static void
open_queue(const char *name, uint64_t maxsize, uint64_t max_bytes, ips_queue *out)
{
    ips_queue_options options = {.maxsize = maxsize, .max_bytes = max_bytes};
    CHECK(ips_queue_open(space, name, IPS_OPEN_OR_CREATE, &options, out) == 0);
}

static int
put_one(ips_queue *queue, const void *bytes, uint64_t size, int64_t deadline)
{
    ips_message message = {.bytes = bytes, .size = size, .kind = 1};
    uint32_t done = 0;
    int status = ips_queue_try_put(queue, &message, 1, &done);
    if (status < 0) {
        status = ips_queue_put(queue, &message, 1, deadline, &done);
    }
    CHECK((status == 0) == (done == 1));
    return status;
}

static int
put_number(ips_queue *queue, uint64_t size, uint64_t number, int64_t deadline)
{
    uint8_t *bytes = malloc(size + 8);
    write_message(bytes, size, number);
    int status = put_one(queue, bytes, size, deadline);
    free(bytes);
    return status;
}

/* A large message from pieces into rooms of other sizes, and a look before. */
static void
comes_from_pieces_and_goes_into_rooms(void)
{
    ips_queue queue;
    uint8_t from[200000], to[200000] = {0}, first[100] = {0};
    for (size_t i = 0; i < sizeof from; i++) {
        from[i] = (uint8_t)(i * 7 + i / 251);
    }
    const ips_piece pieces[] = {{from, 5}, {from + 5, 0}, {from + 5, 99995}, {from + 100000, 100000}};
    ips_message message = {NULL, sizeof from, 1, pieces, 4};
    uint32_t done = 0;
    open_queue(NULL, 0, 1 << 20, &queue);
    CHECK(ips_queue_put(&queue, &message, 1, in_ten_seconds(), &done) == 0);
    ips_look look;
    CHECK(ips_queue_look(&queue, &look) == IPS_EAGAIN);
    CHECK(ips_queue_look_locked(&queue, in_ten_seconds(), &look) == 0);
    CHECK(look.large && look.size == sizeof from);
    CHECK(ips_queue_peek_large(&queue, &look, (ips_room){first, 100}, in_ten_seconds()) == 0);
    CHECK(memcmp(first, from, 100) == 0);
    CHECK(ips_queue_size(&queue) == 1);
    const ips_room rooms[] = {{to, 65536}, {to + 65536, 1}, {to + 65537, sizeof to - 65537}};
    CHECK(ips_queue_take_large(&queue, &look, rooms, 3, in_ten_seconds()) == 0);
    CHECK(memcmp(to, from, sizeof from) == 0);
    CHECK(ips_queue_peek_large(&queue, &look, (ips_room){first, 100}, in_ten_seconds()) ==
          IPS_EMISMATCH);
    check_sound(&queue);
    ips_queue_close(&queue);
    printf("ok a large message goes from pieces into rooms\n");
}

/* Get one into fresh memory: its size, or a negative status. */
static int64_t
get_one(ips_queue *queue, uint8_t **bytes, int64_t deadline)
{
    for (;;) {
        ips_look look;
        int status = ips_queue_look(queue, &look);
        if (status == IPS_EAGAIN) {
            status = ips_queue_look_locked(queue, deadline, &look);
        }
        if (status == IPS_EEMPTY) {
            status = ips_queue_await(queue, deadline);
            if (status < 0) {
                return status;
            }
            continue;
        }
        if (status < 0) {
            return status;
        }
        *bytes = malloc(look.size + 8);
        ips_copy copy = {.from = look.record.payload, .to = *bytes, .size = look.record.size};
        ips_take take = {&look, &look, &copy, 1, false};
        if (look.large) {
            ips_room room = {*bytes, look.size};
            status = ips_queue_take_large(queue, &look, &room, 1, deadline);
        } else {
            status = ips_queue_try_take(queue, &take);
            status = status == IPS_EAGAIN ? ips_queue_take(queue, &take, deadline) : status;
        }
        if (status == 0) {
            return (int64_t)look.size;
        }
        free(*bytes);
        if (status != IPS_EMISMATCH) {
            return status;
        }
    }
}

static void
get_number(ips_queue *queue, uint64_t size, uint64_t number)
{
    uint8_t *bytes;
    CHECK(get_one(queue, &bytes, IPS_AT_ONCE) == (int64_t)size);
    CHECK(is_message(bytes, size, number));
    free(bytes);
}

/* --- scenes --------------------------------------------------------------- */

static void
keeps_order_and_bytes(void)
{
    enum { MOST = 4000 };
    static uint64_t sizes[MOST];
    ips_queue queue;
    open_queue("model", 0, 8 << 20, &queue);
    uint64_t state = 88172645463325252u, first = 0, next = 0;
    for (int step = 0; step < 15000; step++) {
        uint64_t dice = random_number(&state);
        bool filling = (step / 1500) % 2 == 0;
        if (next - first < MOST && (dice % 100 < (filling ? 70u : 30u))) {
            uint64_t kind = random_number(&state) % 100;
            uint64_t size = random_number(&state) % (kind < 80 ? 200 : kind < 97 ? 20000 : 400000);
            int status = put_number(&queue, size, next, IPS_AT_ONCE);
            if (status == 0) {
                sizes[next++ % MOST] = size;
            } else {
                CHECK(status == IPS_ETIMEOUT && next - first > 1);
            }
        } else if (first < next) {
            get_number(&queue, sizes[first % MOST], first);
            first++;
        } else {
            uint8_t *none;
            CHECK(get_one(&queue, &none, IPS_AT_ONCE) == IPS_ETIMEOUT);
        }
        CHECK(ips_queue_size(&queue) == next - first);
        if (step % 500 == 0) {
            check_sound(&queue);
        }
    }
    check_sound(&queue);
    ips_queue_close(&queue);
    printf("ok messages of all sizes come out in order, as they went in\n");
}

static void
maxsize_bounds_the_count(void)
{
    ips_queue queue;
    open_queue("bounded", 3, 1 << 20, &queue);
    uint64_t first = 0, next = 0;
    for (int round = 0; round < 2000; round++) {
        while (next - first < 3) {
            CHECK(put_number(&queue, 10, next++, IPS_AT_ONCE) == 0);
        }
        bool full = false;
        CHECK(ips_queue_is_full(&queue, in_ten_seconds(), &full) == 0 && full);
        CHECK(put_number(&queue, 10, next, IPS_AT_ONCE) == IPS_ETIMEOUT);
        CHECK(put_number(&queue, 100000, next, IPS_AT_ONCE) == IPS_ETIMEOUT);
        for (int i = 0; i <= round % 3; i++) {
            get_number(&queue, 10, first++);
        }
    }
    check_sound(&queue);
    ips_queue_close(&queue);
    printf("ok maxsize bounds the number of messages\n");
}

static void
grows_and_comes_down(void)
{
    ips_queue queue;
    open_queue("grows", 0, 64 << 20, &queue);
    ips_producers_shm *producers = &queue.ring.shm->producers;
    for (int burst = 0; burst < 3; burst++) {
        uint64_t count = 50000;
        for (uint64_t i = 0; i < count; i++) {
            CHECK(put_number(&queue, 100, i, IPS_AT_ONCE) == 0);
        }
        check_sound(&queue);
        for (uint64_t i = 0; i < count; i++) {
            get_number(&queue, 100, i);
        }
        CHECK(atomic_load(&producers->backed_units) < 50000 * 128 / IPS_BLOCK + 32);
    }
    /* Now one after the other: a few blocks, passed round. */
    for (uint64_t i = 0; i < 20000; i++) {
        CHECK(put_number(&queue, 100, i, IPS_AT_ONCE) == 0);
        get_number(&queue, 100, i);
    }
    uint64_t word;
    CHECK(ips_ring_slot(&queue.ring, ips_ring_opened(atomic_load(&producers->tail)) - 1, &word) == 0);
    CHECK((word >> 32) <= 4);
    /* And all of it is there for one large message. */
    CHECK(put_number(&queue, (64 << 20) - 2 * IPS_BLOCK, 7, IPS_AT_ONCE) == 0);
    check_sound(&queue);
    get_number(&queue, (64 << 20) - 2 * IPS_BLOCK, 7);
    ips_message larger = {.bytes = "", .size = (64 << 20) - 2 * IPS_BLOCK + 1, .kind = 1};
    CHECK(ips_queue_admits(&queue, larger.size) == IPS_ETOOBIG);
    ips_queue_close(&queue);
    printf("ok the ring grows with a burst and comes down again\n");
}

static void
fills_to_the_brim(void)
{
    ips_queue queue;
    open_queue("brim", 0, 1 << 20, &queue);
    uint64_t first = 0, next = 0, most = 0;
    for (int round = 0; round < 12; round++) {
        int status;
        while ((status = put_number(&queue, 1000 + round, next, IPS_AT_ONCE)) == 0) {
            next++;
        }
        CHECK(status == IPS_ETIMEOUT);
        bool full = false;
        CHECK(ips_queue_is_full(&queue, in_ten_seconds(), &full) == 0);
        check_sound(&queue);
        most = next - first > most ? next - first : most;
        while (first < next) {
            uint8_t *bytes;
            CHECK(get_one(&queue, &bytes, IPS_AT_ONCE) == 1000 + round);
            CHECK(is_message(bytes, 1000 + round, first++));
            free(bytes);
        }
        /* Whatever the ring looks like, an empty queue takes the largest. */
        CHECK(put_number(&queue, (1 << 20) - 2 * IPS_BLOCK, round, IPS_AT_ONCE) == 0);
        CHECK(put_number(&queue, 100000, round, IPS_AT_ONCE) == IPS_ETIMEOUT);
        get_number(&queue, (1 << 20) - 2 * IPS_BLOCK, round);
        check_sound(&queue);
    }
    CHECK(most > 900);
    ips_queue_close(&queue);
    printf("ok a full queue says so, and an empty one takes the largest message\n");
}

static void
batches_are_taken_whole(void)
{
    ips_queue queue;
    open_queue("batches", 0, 4 << 20, &queue);
    enum { MANY = 500 };
    static uint8_t bytes[MANY][64], got[MANY][64];
    ips_message messages[MANY];
    for (uint64_t round = 0; round < 60; round++) {
        for (uint32_t i = 0; i < MANY; i++) {
            write_message(bytes[i], 64, round * MANY + i);
            messages[i] = (ips_message){.bytes = bytes[i], .size = 64, .kind = 2};
        }
        uint32_t done = 0;
        CHECK(ips_queue_put(&queue, messages, MANY, IPS_AT_ONCE, &done) == 0 && done == MANY);
        for (uint32_t taken = 0; taken < MANY;) {
            ips_look first, last;
            ips_copy copies[100];
            CHECK(ips_queue_look(&queue, &first) == 0);
            uint32_t count = ips_queue_look_run(&queue, &first, 100, 1 << 20, 255, copies, &last);
            CHECK(count > 0 && count <= 100);
            for (uint32_t i = 0; i < count; i++) {
                CHECK(copies[i].size == 64);
                copies[i].to = got[taken + i];
            }
            ips_take take = {&first, &last, copies, count, false};
            CHECK(ips_queue_try_take(&queue, &take) == 0);
            CHECK(ips_queue_try_take(&queue, &take) == IPS_EMISMATCH);
            taken += count;
        }
        CHECK(memcmp(bytes, got, sizeof bytes) == 0);
    }
    check_sound(&queue);
    ips_queue_close(&queue);
    printf("ok batches go in and come out whole\n");
}

/* --- threads -------------------------------------------------------------- */

typedef struct {
    ips_queue *queue;
    uint64_t first, count;
    _Atomic uint64_t *sum;
    _Atomic uint64_t *left;
} worker;

static void *
produce(void *context)
{
    worker *me = context;
    for (uint64_t i = 0; i < me->count; i++) {
        uint64_t number = me->first + i;
        uint64_t size = number % 97 == 0 ? 40000 : 8 + number % 200;
        CHECK(put_number(me->queue, size, number, in_ten_seconds()) == 0);
    }
    return NULL;
}

static void *
consume(void *context)
{
    worker *me = context;
    while ((int64_t)atomic_fetch_sub(me->left, 1) > 0) {
        uint8_t *bytes;
        int64_t size = get_one(me->queue, &bytes, in_ten_seconds());
        CHECK(size >= 8);
        uint64_t number;
        memcpy(&number, bytes, 8);
        CHECK((uint64_t)size == (number % 97 == 0 ? 40000 : 8 + number % 200));
        CHECK(is_message(bytes, (uint64_t)size, number));
        atomic_fetch_add(me->sum, number);
        free(bytes);
    }
    return NULL;
}

static void
threads_share_a_handle(void)
{
    enum { EACH = 3000, PAIRS = 2 };
    ips_queue queue;
    open_queue("threads", 0, 1 << 20, &queue);
    pthread_t thread[2 * PAIRS];
    worker jobs[2 * PAIRS];
    _Atomic uint64_t sum = 0, left = EACH * PAIRS;
    for (int i = 0; i < 2 * PAIRS; i++) {
        jobs[i] = (worker){&queue, (uint64_t)i * EACH, EACH, &sum, &left};
        CHECK(pthread_create(&thread[i], NULL, i < PAIRS ? produce : consume, &jobs[i]) == 0);
    }
    for (int i = 0; i < 2 * PAIRS; i++) {
        CHECK(pthread_join(thread[i], NULL) == 0);
    }
    uint64_t all = (uint64_t)EACH * PAIRS;
    CHECK(atomic_load(&sum) == all * (all - 1) / 2);
    CHECK(ips_queue_size(&queue) == 0);
    check_sound(&queue);
    ips_queue_close(&queue);
    printf("ok threads put and get on one handle, and nothing is lost\n");
}

/* --- deaths --------------------------------------------------------------- */

static void
reap(pid_t child, int expected_signal)
{
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(expected_signal == 0 ? WIFEXITED(status) && WEXITSTATUS(status) == 0
                               : WIFSIGNALED(status) && WTERMSIG(status) == expected_signal);
}

static void
dead_holders_are_mended(void)
{
    ips_queue queue;
    open_queue("mended", 4, 1 << 20, &queue);
    for (uint64_t i = 0; i < 4; i++) {
        CHECK(put_number(&queue, 20, i, IPS_AT_ONCE) == 0);
    }
    ips_queue_shm *shm = queue.ring.shm;
    pid_t child = fork();
    if (child == 0) {
        /* Between the store of the tail's count and that of the tail, and
         * between the stores of the head and of its count. */
        CHECK(ips_queue_lock_producers(&queue, IPS_FOREVER) == 0);
        CHECK(ips_queue_lock_consumers(&queue, IPS_FOREVER) == 0);
        atomic_store(&shm->producers.tail_sequence, 5);
        atomic_store(&shm->producers.run_from, 0);
        atomic_store(&shm->producers.run_to, 9);
        atomic_store(&shm->consumers.head, atomic_load(&shm->consumers.head) + 48);
        raise(SIGKILL);
    }
    reap(child, SIGKILL);
    CHECK(put_number(&queue, 20, 4, IPS_AT_ONCE) == 0);
    CHECK(put_number(&queue, 20, 5, IPS_AT_ONCE) == IPS_ETIMEOUT);
    CHECK(ips_queue_size(&queue) == 4);
    check_sound(&queue);
    for (uint64_t i = 1; i < 5; i++) {
        get_number(&queue, 20, i);
    }
    child = fork();
    if (child == 0) {
        CHECK(ips_queue_lock_producers(&queue, IPS_FOREVER) == 0);
        CHECK(ips_queue_lock_consumers(&queue, IPS_FOREVER) == 0);
        atomic_store(&shm->producers.tail_sequence, 6);
        raise(SIGKILL);
    }
    reap(child, SIGKILL);
    CHECK(ips_queue_size(&queue) == 0);
    check_sound(&queue);
    ips_queue_close(&queue);
    printf("ok what a dead holder of both locks left half done is mended\n");
}

static void
units_of_the_dead_are_free(void)
{
    ips_queue queue;
    open_queue("units", 0, 1 << 20, &queue);
    uint64_t large = (1 << 20) - 2 * IPS_BLOCK;
    for (int round = 0; round < 3; round++) {
        pid_t child = fork();
        if (child == 0) { /* dies with its units claimed and filled */
            ips_extents extents;
            CHECK(ips_queue_lock_producers(&queue, IPS_FOREVER) == 0);
            uint64_t tail = atomic_load(&queue.ring.shm->producers.tail);
            int status;
            do {
                status = ips_extents_claim(&queue.ring, tail, large, ips_space_self(space), &extents);
            } while (status == IPS_EAGAIN);
            CHECK(status == 0);
            if (round == 1) {
                ips_extents_place(&queue.ring, &extents, tail);
            }
            if (round != 2) {
                (void)ips_lock_leave(&queue.ring.shm->producers.lock);
            }
            raise(SIGKILL);
        }
        reap(child, SIGKILL);
        CHECK(put_number(&queue, large, 5, IPS_AT_ONCE) == 0);
        check_sound(&queue);
        child = fork();
        if (child == 0) { /* dies while it copies */
            ips_look look;
            ips_extents extents;
            CHECK(ips_queue_lock_consumers(&queue, IPS_FOREVER) == 0);
            CHECK(ips_queue_look(&queue, &look) == IPS_EAGAIN);
            CHECK(ips_extents_find(&queue.ring, &look.record, &extents) == 0);
            ips_extents_adopt(&queue.ring, &extents, ips_space_self(space));
            atomic_store(&queue.ring.shm->consumers.head, look.record.next);
            raise(SIGKILL);
        }
        reap(child, SIGKILL);
        CHECK(put_number(&queue, large, 6, IPS_AT_ONCE) == 0);
        get_number(&queue, large, 6);
        check_sound(&queue);
    }
    ips_queue_close(&queue);
    printf("ok units that a dead member filled or read are free again\n");
}

static void
storms_lose_nothing(void)
{
    ips_queue queue;
    open_queue("storm", 0, 2 << 20, &queue);
    uint64_t state = 1234567 + (uint64_t)getpid(), expected = 0, number;
    _Atomic uint64_t *acknowledged = (_Atomic uint64_t *)queue.ring.shm->reserved2;
    for (int life = 0; life < 25; life++) {
        pid_t child = fork();
        if (child == 0) {
            for (number = atomic_load(acknowledged);; number++) {
                uint64_t size = number % 53 == 0 ? 70000 : 8 + number % 3000;
                CHECK(put_number(&queue, size, number, IPS_FOREVER) == 0);
                atomic_store(acknowledged, number + 1);
            }
        }
        int64_t until = ips_now() + 2000000 + (int64_t)(random_number(&state) % 6000000);
        bool killed = false;
        for (;;) {
            if (!killed && ips_now() > until) {
                kill(child, SIGKILL);
                reap(child, SIGKILL);
                killed = true;
            }
            uint8_t *bytes;
            int64_t size = get_one(&queue, &bytes, killed ? IPS_AT_ONCE : ips_now() + 1000000);
            if (size == IPS_ETIMEOUT && killed) {
                break;
            }
            if (size == IPS_ETIMEOUT) {
                continue;
            }
            CHECK(size >= 8);
            memcpy(&number, bytes, 8);
            CHECK(number == expected || number + 1 == expected);
            CHECK(is_message(bytes, (uint64_t)size, number));
            expected = number + 1;
            free(bytes);
        }
        CHECK(expected >= atomic_load(acknowledged) && expected <= atomic_load(acknowledged) + 1);
        check_sound(&queue);
        /* The next one goes on where this one may have got to. */
        atomic_store(acknowledged, expected);
    }
    CHECK(expected > 100);
    atomic_store(acknowledged, 0);
    ips_queue_close(&queue);
    printf("ok killed producers lose nothing they were told is in\n");
}

/* --- hostile bytes -------------------------------------------------------- */

static void
count_line(const char *line, void *context)
{
    (void)line;
    ++*(int *)context;
}

static void
damage(ips_queue *queue, uint64_t *state)
{
    uint8_t *base = queue->ring.object->base;
    uint64_t backed = atomic_load(&queue->ring.object->backed);
    const uint64_t places[] = {256 + 8, 384 + 8, IPS_QUEUE_TABLES, queue->ring.extents_offset,
                               queue->ring.area_offset};
    uint64_t place = places[random_number(state) % 5];
    uint64_t span = place < 512 ? 56 : place == queue->ring.area_offset ? backed - place : 64;
    uint64_t value = random_number(state);
    value = value % 3 == 0 ? value : value % 3 == 1 ? value % 70000 : ~(value % 70000);
    memcpy(base + place + random_number(state) % (span / 8) * 8, &value, 8);
}

static void
hostile_bytes_are_told(void)
{
    uint64_t state = 424242;
    int problems = 0;
    for (int round = 0; round < 200; round++) {
        ips_queue queue;
        ips_queue_options options = {.max_bytes = 1 << 20};
        CHECK(ips_queue_open(space, NULL, IPS_CREATE_ONLY, &options, &queue) == 0);
        for (uint64_t i = 0; i < 300; i++) {
            CHECK(put_number(&queue, i % 50 == 0 ? 40000 : i, i, IPS_AT_ONCE) == 0);
        }
        for (int hits = 0; hits < 3; hits++) {
            damage(&queue, &state);
            (void)!ips_queue_check(&queue, ips_now() + 1000000000, count_line, &problems);
            for (int i = 0; i < 40; i++) {
                uint8_t *bytes;
                if (get_one(&queue, &bytes, IPS_AT_ONCE) >= 0) {
                    free(bytes);
                }
                (void)!put_number(&queue, i == 7 ? 50000 : 100, (uint64_t)i, IPS_AT_ONCE);
            }
            (void)ips_queue_size(&queue);
        }
        ips_queue_close(&queue);
    }
    CHECK(problems > 100);
    printf("ok damaged bytes are told, never followed\n");
}

int
main(void)
{
    setbuf(stdout, NULL);
    const char *folder = getenv("IPCSYS_DIR");
    char path[300];
    (void)snprintf(path, sizeof path, "%s/message", folder == NULL ? "/dev/shm/ipcsys-c" : folder);
    CHECK(ips_space_join(path, &space) == 0);
    batches_are_taken_whole();
    threads_share_a_handle();
#ifdef __SANITIZE_THREAD__
    return 0; /* the rest is one thread's work */
#endif
    keeps_order_and_bytes();
    maxsize_bounds_the_count();
    grows_and_comes_down();
    fills_to_the_brim();
    comes_from_pieces_and_goes_into_rooms();
    dead_holders_are_mended();
    units_of_the_dead_are_free();
    storms_lose_nothing();
    hostile_bytes_are_told();
    return 0;
}
