/* SPDX-License-Identifier: Apache-2.0 */
/* The RWLock's core without Python: threads, forks and kills. */
#include "sync/rwlock.h"

#include "sync_scene.h" /* its statics would be shadowed */

enum { READERS = 3, WRITERS = 2, ROUNDS = 1500 };

static ips_rwlock lock;

static void
begin(void)
{
    clear_stage();
    ips_rwlock_start(&lock, &wide, space);
}

/* Nobody is in, and everybody gets in. */
static void
check_free(void)
{
    CHECK(ips_rwlock_check(&lock, report, NULL) == 0);
    CHECK(ips_rwlock_readers(&lock) == 0 && ips_rwlock_writer(&lock) == IPS_NOBODY);
    CHECK(ips_rwlock_read(&lock, ips_now() + SOON) == 0 && ips_rwlock_leave_read(&lock) == 0);
    CHECK(ips_rwlock_write(&lock, ips_now() + SOON) >= 0 && ips_rwlock_leave_write(&lock) == 0);
    CHECK(!ips_rwlock_is_abandoned(&lock));
}

static void
alone(void)
{
    begin();
    CHECK(!ips_rwlock_try_read(&lock, ips_space_self(space))); /* no line yet */
    CHECK(ips_rwlock_leave_read(&lock) == IPS_ENOTHELD);
    CHECK(ips_rwlock_leave_write(&lock) == IPS_ENOTHELD);
    CHECK(ips_rwlock_upgrade(&lock, IPS_AT_ONCE) == IPS_ENOTHELD);
    CHECK(ips_rwlock_downgrade(&lock, IPS_AT_ONCE) == IPS_ENOTHELD);
    CHECK(ips_rwlock_read(&lock, IPS_FOREVER) == 0);
    CHECK(ips_rwlock_try_read(&lock, ips_space_self(space)));
    CHECK(ips_rwlock_readers(&lock) == 2);
    CHECK(ips_rwlock_write(&lock, IPS_AT_ONCE) == IPS_ETIMEOUT);
    CHECK(ips_rwlock_write(&lock, in_ms(20)) == IPS_ETIMEOUT);
    CHECK(ips_rwlock_leave_read(&lock) == 0);
    CHECK(ips_rwlock_upgrade(&lock, IPS_AT_ONCE) == 0);
    CHECK(ips_rwlock_writer(&lock) == ips_space_self(space) && ips_rwlock_readers(&lock) == 0);
    CHECK(!ips_rwlock_try_read(&lock, ips_space_self(space)));
    CHECK(ips_rwlock_read(&lock, IPS_AT_ONCE) == IPS_ETIMEOUT);
    CHECK(ips_rwlock_read(&lock, in_ms(20)) == IPS_ETIMEOUT);
    CHECK(ips_rwlock_downgrade(&lock, IPS_AT_ONCE) == 0);
    CHECK(ips_rwlock_readers(&lock) == 1 && ips_rwlock_writer(&lock) == IPS_NOBODY);
    CHECK(ips_rwlock_leave_read(&lock) == 0 && ips_rwlock_leave_read(&lock) == IPS_ENOTHELD);
    CHECK(ips_rwlock_write(&lock, IPS_AT_ONCE) == 0 && ips_rwlock_leave_write(&lock) == 0);
    check_free();
    puts("ok one thread reads, writes, upgrades and downgrades");
}

/* --- threads ------------------------------------------------------------- */

static uint64_t pair[2]; /* plain: the lock is all that orders it */
static _Atomic uint64_t reads;

static void *
write_often(void *unused)
{
    for (int i = 0; i < ROUNDS; i++) {
        CHECK(ips_rwlock_write(&lock, ips_now() + SOON) == 0);
        pair[0]++;
        pair[1]++;
        CHECK(ips_rwlock_leave_write(&lock) == 0);
    }
    return unused;
}

static void *
read_often(void *unused)
{
    for (int i = 0; i < ROUNDS; i++) {
        CHECK(ips_rwlock_read(&lock, ips_now() + SOON) == 0);
        CHECK(pair[0] == pair[1]);
        if (i % 7 == 0) { /* once more inside, whoever waits to write */
            CHECK(ips_rwlock_read(&lock, ips_now() + SOON) == 0);
            CHECK(ips_rwlock_leave_read(&lock) == 0);
        }
        CHECK(pair[0] == pair[1]);
        /* relaxed: a count. */
        atomic_fetch_add_explicit(&reads, 1, memory_order_relaxed);
        CHECK(ips_rwlock_leave_read(&lock) == 0);
    }
    return unused;
}

static void *
upgrade_often(void *unused)
{
    for (int i = 0; i < ROUNDS; i++) {
        CHECK(ips_rwlock_read(&lock, ips_now() + SOON) == 0);
        uint64_t seen = pair[0];
        CHECK(ips_rwlock_upgrade(&lock, ips_now() + SOON) == 0);
        CHECK(pair[0] == seen && pair[1] == seen); /* nobody wrote in between */
        pair[0]++;
        pair[1]++;
        CHECK(ips_rwlock_downgrade(&lock, ips_now() + SOON) == 0);
        CHECK(pair[0] == seen + 1 && pair[1] == seen + 1);
        CHECK(ips_rwlock_leave_read(&lock) == 0);
    }
    return unused;
}

static void
threads(void)
{
    begin();
    pthread_t thread[READERS + WRITERS + 1];
    for (int i = 0; i < READERS + WRITERS + 1; i++) {
        void *(*work)(void *) = i < READERS ? read_often : i < READERS + WRITERS ? write_often
                                                                                 : upgrade_often;
        CHECK(pthread_create(&thread[i], NULL, work, NULL) == 0);
    }
    for (int i = 0; i < READERS + WRITERS + 1; i++) {
        CHECK(pthread_join(thread[i], NULL) == 0);
    }
    CHECK(pair[0] == (WRITERS + 1) * ROUNDS && pair[1] == pair[0]);
    check_free();
    puts("ok threads exclude each other as readers and writers do");
}

static void *
write_once(void *unused)
{
    CHECK(ips_rwlock_write(&lock, ips_now() + SOON) == 0);
    CHECK(ips_rwlock_leave_write(&lock) == 0);
    return unused;
}

static void *
read_once(void *unused)
{
    CHECK(ips_rwlock_read(&lock, in_ms(30)) == IPS_ETIMEOUT);
    return unused;
}

/* A writer waits: a new reader waits behind it, one that reads already passes. */
static void
preference(void)
{
    begin();
    pthread_t writer, reader;
    CHECK(ips_rwlock_read(&lock, IPS_FOREVER) == 0);
    CHECK(pthread_create(&writer, NULL, write_once, NULL) == 0);
    /* relaxed: a look. */
    while (atomic_load_explicit(&lock.shm->gate, memory_order_relaxed) == 0) {
        ips_sleep_until(in_ms(1));
    }
    CHECK(pthread_create(&reader, NULL, read_once, NULL) == 0);
    CHECK(pthread_join(reader, NULL) == 0);
    CHECK(ips_rwlock_read(&lock, in_ms(2000)) == 0);
    CHECK(ips_rwlock_leave_read(&lock) == 0 && ips_rwlock_leave_read(&lock) == 0);
    CHECK(pthread_join(writer, NULL) == 0);
    check_free();
    puts("ok a writer that waits keeps new readers out, not those inside");
}

static void *
upgrade_second(void *unused)
{
    CHECK(ips_rwlock_read(&lock, ips_now() + SOON) == 0);
    atomic_store_explicit(&shared->step, 1, memory_order_seq_cst); /* pairs with the loop below */
    /* relaxed: a look. */
    while (atomic_load_explicit(&lock.shm->upgrader, memory_order_relaxed) == IPS_NOBODY) {
        ips_sleep_until(in_ms(1));
    }
    CHECK(ips_rwlock_upgrade(&lock, ips_now() + SOON) == IPS_EDEADLOCK);
    CHECK(ips_rwlock_leave_read(&lock) == 0);
    return unused;
}

static void
two_upgrade(void)
{
    begin();
    pthread_t other;
    CHECK(ips_rwlock_read(&lock, IPS_FOREVER) == 0);
    CHECK(pthread_create(&other, NULL, upgrade_second, NULL) == 0);
    /* seq_cst: pairs with the store in upgrade_second. */
    while (atomic_load_explicit(&shared->step, memory_order_seq_cst) == 0) {
        ips_sleep_until(in_ms(1));
    }
    CHECK(ips_rwlock_upgrade(&lock, ips_now() + SOON) == 0);
    CHECK(pthread_join(other, NULL) == 0);
    CHECK(ips_rwlock_leave_write(&lock) == 0);
    check_free();
    puts("ok the second of two that upgrade is told so");
}

/* --- processes ----------------------------------------------------------- */

enum { READ = 1, WRITE = 2, UPGRADE = 4, WAIT_TO_WRITE = 8, DOWNGRADE = 16 };

/* A process that does so much, tells, and stands still. */
static pid_t
actor(int parts)
{
    atomic_store_explicit(&shared->step, 0, memory_order_seq_cst); /* pairs with the child's */
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        if (parts & READ) {
            CHECK(ips_rwlock_read(&lock, ips_now() + SOON) == 0);
        }
        if (parts & WRITE) {
            CHECK(ips_rwlock_write(&lock, ips_now() + SOON) >= 0);
        }
        if (parts & UPGRADE) {
            CHECK(ips_rwlock_upgrade(&lock, ips_now() + SOON) >= 0);
        }
        if (parts & DOWNGRADE) {
            CHECK(ips_rwlock_downgrade(&lock, ips_now() + SOON) >= 0);
        }
        atomic_store_explicit(&shared->step, 1, memory_order_seq_cst); /* pairs with until_told */
        if (parts & WAIT_TO_WRITE) {
            CHECK(ips_rwlock_write(&lock, IPS_FOREVER) >= 0);
        }
        for (;;) {
            (void)pause();
        }
    }
    /* seq_cst: pairs with the child's store. */
    while (atomic_load_explicit(&shared->step, memory_order_seq_cst) == 0) {
        ips_sleep_until(in_ms(1));
    }
    return pid;
}

/* Wait for `act` while the process dies. */
static int
outlive(pid_t pid, int (*act)(ips_rwlock *, int64_t))
{
    pthread_t killer;
    CHECK(pthread_create(&killer, NULL, kill_soon, (void *)(intptr_t)pid) == 0);
    int status = act(&lock, ips_now() + SOON);
    CHECK(pthread_join(killer, NULL) == 0 && waitpid(pid, NULL, 0) == pid);
    return status;
}

static void
deaths(void)
{
    begin();
    CHECK(outlive(actor(READ), ips_rwlock_write) == 0);
    CHECK(ips_rwlock_leave_write(&lock) == 0);
    puts("ok a dead reader is not waited for");

    CHECK(outlive(actor(WRITE), ips_rwlock_read) == 0);
    CHECK(ips_rwlock_is_abandoned(&lock) && ips_rwlock_leave_read(&lock) == 0);
    CHECK(ips_rwlock_write(&lock, ips_now() + SOON) == IPS_ABANDONED);
    CHECK(ips_rwlock_leave_write(&lock) == 0 && !ips_rwlock_is_abandoned(&lock));
    CHECK(outlive(actor(WRITE), ips_rwlock_write) == IPS_ABANDONED);
    CHECK(ips_rwlock_leave_write(&lock) == 0);
    CHECK(outlive(actor(READ | UPGRADE), ips_rwlock_read) == 0);
    CHECK(ips_rwlock_is_abandoned(&lock) && ips_rwlock_upgrade(&lock, IPS_AT_ONCE) == IPS_ABANDONED);
    CHECK(ips_rwlock_leave_write(&lock) == 0);
    puts("ok a dead writer leaves it abandoned until the next writer leaves");

    CHECK(outlive(actor(WRITE | DOWNGRADE), ips_rwlock_write) == 0);
    CHECK(ips_rwlock_leave_write(&lock) == 0);
    CHECK(ips_rwlock_read(&lock, IPS_FOREVER) == 0);
    pid_t writer = actor(WAIT_TO_WRITE);
    ips_sleep_until(in_ms(30));
    CHECK(ips_rwlock_writer(&lock) == IPS_NOBODY);
    finish(writer);
    CHECK(ips_rwlock_upgrade(&lock, ips_now() + SOON) == 0);
    CHECK(ips_rwlock_leave_write(&lock) == 0);
    check_free();
    puts("ok whoever dies before or after writing leaves nothing abandoned");
}

static void
stopped(void)
{
    begin();
    pid_t reader = actor(READ);
    CHECK(kill(reader, SIGSTOP) == 0);
    CHECK(ips_rwlock_write(&lock, in_ms(250)) == IPS_ETIMEOUT);
    CHECK(ips_rwlock_readers(&lock) == 1);
    finish(reader);
    pid_t writer = actor(WRITE);
    CHECK(kill(writer, SIGSTOP) == 0);
    CHECK(ips_rwlock_read(&lock, in_ms(150)) == IPS_ETIMEOUT);
    CHECK(ips_rwlock_write(&lock, in_ms(150)) == IPS_ETIMEOUT);
    CHECK(ips_rwlock_writer(&lock) != IPS_NOBODY);
    finish(writer);
    CHECK(ips_rwlock_write(&lock, ips_now() + SOON) == IPS_ABANDONED);
    CHECK(ips_rwlock_leave_write(&lock) == 0);
    check_free();
    puts("ok who stands still is never robbed");
}

static void
many(void)
{
    begin();
    enum { MOST = BODY / 64 - 1 };
    pid_t pids[MOST];
    for (int i = 0; i < MOST; i++) {
        pids[i] = actor(READ);
    }
    CHECK(ips_rwlock_readers(&lock) == MOST);
    CHECK(ips_rwlock_read(&lock, IPS_AT_ONCE) == IPS_ENOSPACE);
    CHECK(ips_rwlock_write(&lock, IPS_AT_ONCE) == IPS_ETIMEOUT);
    for (int i = 0; i < MOST; i++) {
        finish(pids[i]);
    }
    CHECK(ips_rwlock_write(&lock, ips_now() + SOON) == 0);
    CHECK(ips_rwlock_leave_write(&lock) == 0);
    check_free();
    puts("ok lines of the dead serve the next, and none too many is a failure");
}

/* Children at everything, killed at random; a pair tells of two at once. */
static void
storm(void)
{
    begin();
    _Atomic uint64_t *words = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                                   -1, 0);
    CHECK(words != MAP_FAILED);
    for (unsigned round = 0; round < 40; round++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            for (;;) {
                CHECK(ips_rwlock_read(&lock, ips_now() + SOON) == 0);
                int status = ips_rwlock_upgrade(&lock, ips_now() + SOON);
                if (status == IPS_EDEADLOCK) {
                    CHECK(ips_rwlock_leave_read(&lock) == 0);
                    continue;
                }
                /* relaxed: under the lock. */
                uint64_t first = atomic_load_explicit(&words[0], memory_order_relaxed);
                CHECK(status == IPS_ABANDONED ||
                      first == atomic_load_explicit(&words[1], memory_order_relaxed));
                atomic_store_explicit(&words[0], first + 1, memory_order_relaxed);
                atomic_store_explicit(&words[1], first + 1, memory_order_relaxed);
                CHECK(ips_rwlock_downgrade(&lock, ips_now() + SOON) == 0);
                CHECK(ips_rwlock_leave_read(&lock) == 0);
            }
        }
        int64_t until = in_ms(3) + round * 100000;
        while (ips_now() < until) {
            int status = ips_rwlock_write(&lock, ips_now() + SOON);
            CHECK(status >= 0);
            /* relaxed: under the lock. */
            uint64_t first = atomic_load_explicit(&words[0], memory_order_relaxed);
            CHECK(status == IPS_ABANDONED ||
                  first == atomic_load_explicit(&words[1], memory_order_relaxed));
            atomic_store_explicit(&words[1], first, memory_order_relaxed);
            CHECK(ips_rwlock_leave_write(&lock) == 0);
        }
        finish(pid);
        int status = ips_rwlock_write(&lock, ips_now() + SOON);
        CHECK(status >= 0);
        uint64_t first = atomic_load_explicit(&words[0], memory_order_relaxed); /* as above */
        CHECK(status == IPS_ABANDONED ||
              first == atomic_load_explicit(&words[1], memory_order_relaxed));
        atomic_store_explicit(&words[1], first, memory_order_relaxed);
        CHECK(ips_rwlock_leave_write(&lock) == 0);
        CHECK(ips_rwlock_check(&lock, report, NULL) == 0);
    }
    check_free();
    puts("ok wherever a process is killed, the others go on and nothing is torn unsaid");
}

int
main(void)
{
    open_stage("rwlock");
    alone();
    threads();
    preference();
    two_upgrade();
    deaths();
    stopped();
    many();
    storm();
    ips_space_leave_all();
    return 0;
}
