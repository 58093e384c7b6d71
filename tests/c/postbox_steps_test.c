/* SPDX-License-Identifier: Apache-2.0 */
/* Announcing an event loop and ringing for it, one interleaved with the other
 * at every instruction: this process steps itself through the one by the trap
 * flag and runs the other, whole, in between.  x86-64; elsewhere it says so.
 * Prints "ok <promise>" lines. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <ucontext.h>
#include <unistd.h>

#include "member/object.h"
#include "member/postbox.h"
#include "member/space.h"
#include "member/table.h"
#include "sync/eventcount.h"
#include "sync/lock.h"

#define CHECK(condition)                                                             \
    do {                                                                             \
        if (!(condition)) {                                                          \
            fprintf(stderr, "%s:%d: failed: %s (note: %s)\n", __FILE__, __LINE__,    \
                    #condition, ips_last_note()->detail);                            \
            exit(1);                                                                 \
        }                                                                            \
    } while (0)

#if defined(__x86_64__)

#define TRAP_FLAG 0x100
/* A ring is long: all of its first steps, and then some of the others. */
#define ALL_STEPS 200
#define STRIDE 19997

static ips_space *space;
static ips_fifo box;
static ips_eventcount_shm *event;
static ips_lock_shm *lock;
static bool must_wait;

static volatile long steps, at;
static void (*between)(void);

static void
trapped(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
    steps++;
    if (steps == at) {
        between();
        ucontext_t *stepped = context; /* which runs freely from here on */
        stepped->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
    }
}

/* Not to be looked into: what it saves on the stack is nobody's. */
__attribute__((noinline, no_sanitize("address", "undefined"))) static void
run_stepped(void (*stepped)(void))
{
    __asm__ __volatile__("pushfq; orq %0, (%%rsp); popfq" ::"i"(TRAP_FLAG) : "cc", "memory");
    stepped();
    __asm__ __volatile__("pushfq; andq %0, (%%rsp); popfq" ::"i"(~(long)TRAP_FLAG)
                         : "cc", "memory");
}

static bool
wished(void)
{
    uint32_t slot = ips_owner_slot(ips_space_self(space));
    /* relaxed: nobody else is about. */
    uint64_t word = atomic_load_explicit(&ips_members_of(space)->async_wanted[slot / 64],
                                         memory_order_relaxed);
    return (word >> slot % 64 & 1) != 0;
}

static bool
byte_is_there(void)
{
    struct pollfd entry = {.fd = box.fd, .events = POLLIN};
    return poll(&entry, 1, 0) == 1;
}

/* What the next change does: a byte lies there, or it will bring one. */
static bool
will_hear_event(void)
{
    /* relaxed: nobody else is about. */
    uint32_t word = atomic_load_explicit(&event->word, memory_order_relaxed);
    return byte_is_there() || ((word & IPS_EC_ASYNC) != 0 && wished());
}

static bool
will_hear_lock(void)
{
    /* relaxed: nobody else is about. */
    uint64_t word = atomic_load_explicit(&lock->word, memory_order_relaxed);
    return !must_wait || byte_is_there() || ((word & IPS_LOCK_ASYNC) != 0 && wished());
}

static void
announce(void)
{
    (void)ips_eventcount_prepare_async(event, space);
}

static void
notify(void)
{
    ips_eventcount_notify(event, 1);
}

static void
arm(void)
{
    must_wait = !ips_lock_arm(lock, space, false);
}

/* It is released, and taken at once by another. */
static void
pass_on(void)
{
    (void)ips_lock_leave(lock);
    CHECK(ips_lock_try(lock, ips_space_self(space)));
}

static void
start_anew(void)
{
    /* relaxed, here and below: nobody else is about. */
    atomic_store_explicit(&event->word, 0, memory_order_relaxed);
    atomic_store_explicit(&lock->word, ips_space_self(space), memory_order_relaxed);
    for (uint32_t i = 0; i < IPS_MAX_SLOTS / 64; i++) {
        atomic_store_explicit(&ips_members_of(space)->async_wanted[i], 0, memory_order_relaxed);
    }
    CHECK(ips_fifo_drain(&box) == 0);
    must_wait = true;
}

/* `before` whole, then `stepped` with `other` after each of its steps in turn. */
static void
interleave(void (*before)(void), void (*stepped)(void), void (*other)(void),
           bool (*will_hear)(void))
{
    long tried = 0;
    between = other;
    at = 0;
    do {
        at += at < ALL_STEPS ? 1 : STRIDE;
        start_anew();
        if (before != NULL) {
            before();
        }
        steps = 0;
        run_stepped(stepped);
        if (!will_hear()) {
            fprintf(stderr, "lost after step %ld of %ld\n", at, steps);
            exit(1);
        }
        tried++;
    } while (steps == at);
    CHECK(tried > 20);
}

static void
announce_and_change(void)
{
    announce();
    CHECK(will_hear_event());
}

int
main(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    char folder[256];
    const char *root = getenv("IPCSYS_DIR");
    (void)snprintf(folder, sizeof folder, "%s/steps-%d", root == NULL ? "/dev/shm" : root,
                   (int)getpid());
    CHECK(ips_space_join(folder, &space) == 0 && ips_postbox_open(space, &box) == 0);
    static const ips_object_spec spec = {
        .kind = IPS_KIND_CELL, .format = 1, .layout = 9, .size = 4096, .max_size = 4096};
    ips_object *object;
    bool created;
    CHECK(ips_object_open(space, "words", IPS_OPEN_OR_CREATE, &spec, &object, &created) == 0);
    lock = (ips_lock_shm *)(object->base + sizeof(ips_header_shm));
    event = (ips_eventcount_shm *)(lock + 1);
    struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO | SA_NODEFER};
    CHECK(sigaction(SIGTRAP, &action, NULL) == 0);

    interleave(NULL, announce, notify, will_hear_event);
    interleave(NULL, announce, ips_postbox_ring, will_hear_event);
    interleave(announce_and_change, announce, notify, will_hear_event);
    puts("ok a notification at any step of an announcement is heard, or the next one will be");
    interleave(announce_and_change, notify, announce, will_hear_event);
    puts("ok an announcement at any step of a notification is heard");
    interleave(NULL, arm, pass_on, will_hear_lock);
    interleave(NULL, arm, ips_postbox_ring, will_hear_lock);
    interleave(arm, pass_on, arm, will_hear_lock);
    puts("ok the same of a lock's waiters and its release");
    ips_object_release(object);
    return 0;
}

#else

int
main(void)
{
    puts("ok nothing to do: it steps by the trap flag of x86-64");
    return 0;
}

#endif
