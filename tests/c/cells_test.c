/* SPDX-License-Identifier: Apache-2.0 */
/* The pool of unnamed cells and the event, without Python: threads, forks and
 * kills, each followed by the pool's own check. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/clock.h"
#include "segment/cells.h"
#include "sync/event.h"
#include "sync/lock.h"

#define CHECK(condition)                                                             \
    do {                                                                             \
        if (!(condition)) {                                                          \
            fprintf(stderr, "%s:%d: failed: %s (note: %s)\n", __FILE__, __LINE__,    \
                    #condition, ips_last_note()->detail);                            \
            exit(1);                                                                 \
        }                                                                            \
    } while (0)

static ips_space *space;

static void
report(const char *line, void *context)
{
    (void)context;
    fprintf(stderr, "%s\n", line);
}

/* Sound, with so many cells and tickets in use. */
static void
check_pool(uint32_t used, uint32_t tickets)
{
    ips_cells_stats stats;
    CHECK(ips_cells_check(space, IPS_FOREVER, report, NULL) == 0);
    CHECK(ips_cells_stats_of(space, IPS_FOREVER, &stats) == 0);
    if (stats.used != used || stats.tickets != tickets) {
        fprintf(stderr, "%u cells and %u tickets in use\n", stats.used, stats.tickets);
        exit(1);
    }
}

static ips_cell
make(uint64_t value)
{
    ips_cell cell;
    const uint64_t words[IPS_CELL_WORDS] = {value};
    CHECK(ips_cell_make(space, IPS_CELL_LOCK, words, IPS_FOREVER, &cell) == 0);
    return cell;
}

static uint64_t
value_of(const ips_cell *cell)
{
    /* relaxed: the value was made by this thread or before the fork. */
    return atomic_load_explicit(&cell->shm->words[0], memory_order_relaxed);
}

static void
handles_and_tickets(void)
{
    char ticket[IPS_TICKET_MAX], second[IPS_TICKET_MAX];
    ips_cell cell = make(7), copy, other;
    check_pool(1, 0);
    CHECK(ips_cell_ticket(&cell, IPS_FOREVER, ticket) == 0);
    CHECK(ips_cell_ticket(&cell, IPS_FOREVER, second) == 0);
    ips_cell_release(&cell);
    CHECK(cell.shm == NULL);
    check_pool(1, 2);
    CHECK(ips_cell_redeem(space, ticket, IPS_CELL_LOCK, IPS_FOREVER, &copy) == 0);
    CHECK(value_of(&copy) == 7);
    CHECK(ips_cell_redeem(space, second, IPS_CELL_EVENT, IPS_FOREVER, &other) == IPS_EMISMATCH);
    CHECK(ips_cell_redeem(space, second, IPS_CELL_LOCK, IPS_FOREVER, &other) == 0);
    CHECK(ips_cell_redeem(space, ticket, IPS_CELL_LOCK, IPS_FOREVER, &cell) == 0);
    CHECK(cell.shm == copy.shm && other.shm == copy.shm);
    ips_cell_release(&cell);
    ips_cell_release(&copy);
    ips_cell_release(&other);
    check_pool(0, 0);
    CHECK(ips_cell_redeem(space, ticket, IPS_CELL_LOCK, IPS_FOREVER, &cell) == IPS_EGONE);
    ips_cell stranger = make(1);
    CHECK(ips_cell_redeem(space, ticket, IPS_CELL_LOCK, IPS_FOREVER, &cell) == IPS_EGONE);
    ips_cell_release(&stranger);
    printf("ok a ticket serves once, and as long as somebody holds the cell\n");
}

static void
growth(void)
{
    enum { MANY = 5000 };
    static ips_cell cells[MANY];
    for (int i = 0; i < MANY; i++) {
        cells[i] = make((uint64_t)i);
    }
    check_pool(MANY, 0);
    for (int i = 0; i < MANY; i++) {
        CHECK(value_of(&cells[i]) == (uint64_t)i);
        ips_cell_release(&cells[i]);
    }
    check_pool(0, 0);
    printf("ok the pool grows, and every cell comes back\n");
}

static void *
churn(void *context)
{
    uint64_t seed = (uint64_t)(uintptr_t)context;
    for (uint64_t i = 0; i < 300; i++) {
        char ticket[IPS_TICKET_MAX];
        ips_cell first = make(seed + i), second = make(seed - i), copy;
        CHECK(ips_cell_ticket(&first, IPS_FOREVER, ticket) == 0);
        ips_cell_release(&second);
        CHECK(ips_cell_redeem(space, ticket, IPS_CELL_LOCK, IPS_FOREVER, &copy) == 0);
        ips_cell_release(&first);
        CHECK(value_of(&copy) == seed + i);
        ips_cell_release(&copy);
    }
    return NULL;
}

static void
threads(void)
{
    pthread_t thread[4];
    for (uintptr_t i = 0; i < 4; i++) {
        CHECK(pthread_create(&thread[i], NULL, churn, (void *)((i + 1) << 32)) == 0);
    }
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_join(thread[i], NULL) == 0);
    }
    ips_cell last = make(0); /* settles what the threads could not give back at once */
    ips_cell_release(&last);
    check_pool(0, 0);
    printf("ok threads share the pool\n");
}

static void
inheritance(void)
{
    ips_cell kept = make(11);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        ips_cell own = make(12);
        CHECK(value_of(&kept) == 11 && value_of(&own) == 12);
        (void)pause();
    }
    ips_cell_release(&kept);
    int64_t deadline = ips_now() + INT64_C(10000000000);
    ips_cells_stats stats = {0, 0, 0};
    while (stats.used != 2) {
        CHECK(ips_now() < deadline);
        CHECK(ips_cells_stats_of(space, IPS_FOREVER, &stats) == 0);
        ips_sleep_until(ips_now() + 1000000);
    }
    check_pool(2, 0);
    CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
    CHECK(ips_space_sweep(space) == 0);
    check_pool(0, 0);
    printf("ok a forked child keeps what its parent drops, until it dies\n");
}

static void
kills(void)
{
    ips_cell kept = make(1);
    for (unsigned round = 0; round < 40; round++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            for (uint64_t i = 0;; i++) {
                (void)churn((void *)(uintptr_t)(i << 32));
            }
        }
        ips_sleep_until(ips_now() + 200000 + round * 50000);
        CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
        CHECK(ips_cells_check(space, IPS_FOREVER, report, NULL) == 0);
    }
    CHECK(ips_space_sweep(space) == 0);
    check_pool(1, 0);
    ips_cell_release(&kept);
    printf("ok wherever a process is killed, the pool is sound\n");
}

/* All of [from, to) is zero; touching it shows that it has memory. */
static bool
is_clear(const ips_wide *wide, uint64_t from, uint64_t to)
{
    while (from < to && wide->shm[from] == 0) {
        from++;
    }
    return from == to;
}

static ips_cell
make_wide(void)
{
    ips_cell cell;
    const uint64_t words[IPS_CELL_WORDS] = {1, 2, 3, 4};
    CHECK(ips_cell_make(space, IPS_CELL_BARRIER, words, IPS_FOREVER, &cell) == 0);
    CHECK((uintptr_t)cell.wide.shm % 64 == 0 && cell.wide.capacity == IPS_WIDE_SIZE);
    CHECK(ips_wide_back(&cell.wide, IPS_WIDE_FIRST) == 0);
    /* relaxed: made by this thread. */
    CHECK(atomic_load_explicit(&cell.shm->words[3], memory_order_relaxed) == 4);
    return cell;
}

static void
fill_body(ips_cell *cell, uint64_t bytes)
{
    CHECK(ips_wide_back(&cell->wide, bytes) == 0);
    memset(cell->wide.shm, 0xab, bytes);
}

static void
bodies(void)
{
    enum { MANY = 3 * 64 + 5 }; /* more than two groups */
    static ips_cell cells[MANY];
    for (int i = 0; i < MANY; i++) {
        cells[i] = make_wide();
        CHECK(is_clear(&cells[i].wide, 0, IPS_WIDE_FIRST));
        fill_body(&cells[i], i % 50 == 0 ? IPS_WIDE_SIZE : IPS_WIDE_FIRST);
    }
    check_pool(MANY, 0);
    CHECK(ips_wide_back(&cells[0].wide, IPS_WIDE_SIZE + 1) == IPS_ENOSPACE);
    char ticket[IPS_TICKET_MAX];
    ips_cell copy;
    CHECK(ips_cell_ticket(&cells[0], IPS_FOREVER, ticket) == 0);
    CHECK(ips_cell_redeem(space, ticket, IPS_CELL_RWLOCK, IPS_FOREVER, &copy) == IPS_EMISMATCH);
    CHECK(ips_cell_redeem(space, ticket, IPS_CELL_LOCK, IPS_FOREVER, &copy) < 0);
    CHECK(ips_cell_redeem(space, ticket, IPS_CELL_BARRIER, IPS_FOREVER, &copy) == 0);
    CHECK(copy.wide.shm == cells[0].wide.shm);
    CHECK(ips_wide_back(&copy.wide, IPS_WIDE_SIZE) == 0);
    CHECK(copy.wide.shm[IPS_WIDE_SIZE - 1] == 0xab);
    ips_cell_release(&copy);
    for (int i = 0; i < MANY; i++) {
        ips_cell_release(&cells[i]);
    }
    check_pool(0, 0);
    for (int i = 0; i < MANY; i++) {
        cells[i] = make_wide();
        CHECK(ips_wide_back(&cells[i].wide, IPS_WIDE_SIZE) == 0);
        CHECK(is_clear(&cells[i].wide, 0, IPS_WIDE_SIZE));
    }
    for (int i = 0; i < MANY; i++) {
        ips_cell_release(&cells[i]);
    }
    check_pool(0, 0);
    printf("ok a wide cell's body is clear for each tenant, and grows to its limit\n");
}

static void
bodies_of_the_dead(void)
{
    ips_cell kept = make_wide();
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        ips_cell own = make_wide();
        fill_body(&own, IPS_WIDE_SIZE);
        fill_body(&kept, 2 * 4096); /* where the parent has not been */
        (void)kill(getpid(), SIGKILL);
    }
    CHECK(waitpid(pid, NULL, 0) == pid);
    CHECK(ips_space_sweep(space) == 0);
    check_pool(1, 0);
    CHECK(ips_wide_back(&kept.wide, 2 * 4096) == 0 && kept.wide.shm[2 * 4096 - 1] == 0xab);
    ips_cell next = make_wide();
    CHECK(ips_wide_back(&next.wide, IPS_WIDE_SIZE) == 0 && is_clear(&next.wide, 0, IPS_WIDE_SIZE));
    ips_cell_release(&next);
    ips_cell_release(&kept);
    check_pool(0, 0);
    printf("ok a dead member's wide cells come back clear\n");
}

static void
named_bodies(void)
{
    ips_cell_spec spec = {.type = IPS_CELL_BARRIER, .words = {9}};
    ips_cell first, second;
    CHECK(ips_cell_open(space, "wide", IPS_CREATE_ONLY, &spec, &first) == 0);
    CHECK(ips_cell_open(space, "wide", IPS_OPEN_ONLY, &spec, &second) == 0);
    CHECK((uintptr_t)first.wide.shm % 64 == 0 && value_of(&second) == 9);
    CHECK(is_clear(&first.wide, 0, IPS_WIDE_FIRST));
    fill_body(&first, IPS_WIDE_SIZE);
    CHECK(ips_wide_back(&second.wide, IPS_WIDE_SIZE) == 0);
    CHECK(second.wide.shm[IPS_WIDE_SIZE - 1] == 0xab);
    CHECK(ips_wide_back(&second.wide, IPS_WIDE_SIZE + 1) == IPS_ENOSPACE);
    CHECK(strstr(ips_last_note()->detail, "'wide'") != NULL);
    ips_cell_release(&first);
    ips_cell_release(&second);
    spec.type = IPS_CELL_LOCK;
    CHECK(ips_cell_open(space, "wide", IPS_OPEN_ONLY, &spec, &second) == IPS_EMISMATCH);
    CHECK(ips_object_remove(space, "wide", false) == 0);
    printf("ok a named wide cell is the same to all who open it\n");
}

static ips_event_shm event;
static _Atomic uint32_t woken;

static void *
wait_for_event(void *context)
{
    (void)context;
    uint32_t since = ips_event_state(&event);
    int status;
    do {
        status = ips_event_wait(&event, space, since, ips_now() + INT64_C(10000000000));
    } while (status == IPS_EINTR);
    CHECK(status == 0);
    /* relaxed: a count, read after the joins. */
    atomic_fetch_add_explicit(&woken, 1, memory_order_relaxed);
    return NULL;
}

static void
events(void)
{
    pthread_t thread[16];
    CHECK(ips_event_wait(&event, space, ips_event_state(&event), ips_now() + 1000000) ==
          IPS_ETIMEOUT);
    for (int i = 0; i < 16; i++) {
        CHECK(pthread_create(&thread[i], NULL, wait_for_event, NULL) == 0);
    }
    ips_sleep_until(ips_now() + INT64_C(100000000));
    int64_t start = ips_now();
    ips_event_set(&event);
    ips_event_clear(&event);
    for (int i = 0; i < 16; i++) {
        CHECK(pthread_join(thread[i], NULL) == 0);
    }
    CHECK(!ips_event_is_set(&event) && atomic_load_explicit(&woken, memory_order_relaxed) == 16);
    CHECK(ips_now() - start < INT64_C(5000000000));
    printf("ok set() wakes all who wait, also when cleared at once\n");
}

int
main(void)
{
    char folder[256];
    const char *root = getenv("IPCSYS_DIR");
    (void)snprintf(folder, sizeof folder, "%s/cells-%d", root == NULL ? "/dev/shm" : root,
                   (int)getpid());
    (void)alarm(100);
    ips_cells_install();
    CHECK(ips_space_join(folder, &space) == 0);
    handles_and_tickets();
    growth();
    threads();
    inheritance();
    kills();
    bodies();
    bodies_of_the_dead();
    named_bodies();
    events();
    ips_space_leave_all();
    return 0;
}
