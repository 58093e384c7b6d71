/* SPDX-License-Identifier: Apache-2.0 */
#include "os/process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/tasks.h"

int32_t
ips_thread_id(void)
{
    return (int32_t)syscall(SYS_gettid);
}

bool
ips_on_main_thread(void)
{
    return ips_thread_id() == (int32_t)getpid();
}

uint32_t
ips_user_id(void)
{
    return (uint32_t)geteuid();
}

/* Is /proc a view of our own pid namespace?  In a container it may be the
 * host's, and then its numbers mean other processes. */
static bool
proc_is_ours(void)
{
    char link[32];
    ssize_t size = readlink("/proc/self", link, sizeof link - 1);
    if (size <= 0) {
        return false;
    }
    link[size] = '\0';
    return strtol(link, NULL, 10) == (long)getpid();
}

void
ips_process_self(ips_process_id *out)
{
    *out = (ips_process_id){.pid = (int32_t)getpid()};
    struct stat space;
    if (stat("/proc/self/ns/pid", &space) == 0) {
        out->pid_namespace = (uint64_t)space.st_ino;
    }
    ips_task_facts facts;
    if (proc_is_ours() && ips_task_read(out->pid, 0, &facts)) {
        out->start_time = facts.start_time;
    }
}

/* The process with this pid is the one meant, and its facts could be read. */
static bool
is_same(const ips_process_id *id, const ips_task_facts *facts)
{
    return id->start_time == 0 || facts->start_time == id->start_time;
}

static bool
is_visible_to(const ips_process_id *self, const ips_process_id *id)
{
    return id->pid > 0 && id->pid_namespace != 0 && id->pid_namespace == self->pid_namespace &&
           self->start_time != 0;
}

bool
ips_process_missing(const ips_process_id *id, const ips_process_id *self)
{
    return is_visible_to(self, id) && kill(id->pid, 0) != 0 && errno == ESRCH;
}

ips_process_state
ips_process_state_of(const ips_process_id *id, const ips_process_id *self)
{
    if (!is_visible_to(self, id)) {
        return IPS_PROCESS_ALIVE;
    }
    if (ips_process_missing(id, self)) {
        return IPS_PROCESS_GONE;
    }
    ips_task_facts leader;
    if (!ips_task_read(id->pid, 0, &leader)) {
        return IPS_PROCESS_ALIVE; /* hidden, or just gone: the next question tells */
    }
    if (!is_same(id, &leader)) {
        return IPS_PROCESS_GONE;
    }
    bool ended = leader.state == 'Z' || leader.state == 'X';
    if (ended && leader.thread_count <= 1) {
        return IPS_PROCESS_GONE;
    }
    return ips_tasks_all_exiting(id->pid, id->start_time) ? IPS_PROCESS_EXITING
                                                          : IPS_PROCESS_ALIVE;
}

bool
ips_process_lost_leader(const ips_process_id *id, const ips_process_id *self)
{
    ips_task_facts leader;
    return is_visible_to(self, id) && ips_task_read(id->pid, 0, &leader) &&
           is_same(id, &leader) && (leader.state == 'Z' || leader.state == 'X') &&
           leader.thread_count > 1;
}

#define PIDFD_OPEN_CALL 434 /* build hosts may have older headers */

int
ips_process_watch(const ips_process_id *id, const ips_process_id *self, int *fd)
{
    *fd = is_visible_to(self, id) ? (int)syscall(PIDFD_OPEN_CALL, id->pid, 0) : -1;
    if (*fd < 0) {
        return IPS_ENOENT;
    }
    ips_task_facts leader;
    if (ips_task_read(id->pid, 0, &leader) && is_same(id, &leader)) {
        return IPS_OK;
    }
    (void)close(*fd); /* another process with its pid */
    return IPS_ENOENT;
}

static int
record_lock(int fd, int command, uint64_t byte, short type, struct flock *lock)
{
    *lock = (struct flock){
        .l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};
    return fcntl(fd, command, lock);
}

int
ips_byte_lock(int fd, uint64_t byte)
{
    struct flock lock;
    if (record_lock(fd, F_SETLK, byte, F_WRLCK, &lock) == 0) {
        return IPS_OK;
    }
    return errno == EAGAIN || errno == EACCES ? IPS_EAGAIN
                                              : ips_fail_errno("cannot lock a member's byte");
}

void
ips_byte_unlock(int fd, uint64_t byte)
{
    struct flock lock;
    (void)record_lock(fd, F_SETLK, byte, F_UNLCK, &lock);
}

int
ips_byte_probe(int fd, uint64_t byte)
{
    struct flock lock;
    if (record_lock(fd, F_GETLK, byte, F_WRLCK, &lock) != 0) {
        return ips_fail_errno("cannot probe a member's byte");
    }
    return lock.l_type != F_UNLCK;
}

int
ips_shared_byte_lock(int fd, uint64_t byte)
{
    struct flock lock;
    return record_lock(fd, F_OFD_SETLK, byte, F_WRLCK, &lock) == 0
        ? IPS_OK : ips_fail_errno("cannot lock a byte for a child");
}

int
ips_shared_byte_probe(int fd, uint64_t byte)
{
    struct flock lock;
    if (record_lock(fd, F_OFD_GETLK, byte, F_WRLCK, &lock) != 0) {
        return ips_fail_errno("cannot probe a byte for a child");
    }
    return lock.l_type != F_UNLCK;
}

static struct robust_list_head *
robust_head(void)
{
    struct robust_list_head *head = NULL;
    size_t size = 0;
    if (syscall(SYS_get_robust_list, 0, &head, &size) != 0 || size != sizeof *head) {
        return NULL;
    }
    return head;
}

/* glibc and 64-bit musl both put the word 32 bytes before the node's `next`,
 * and both keep `prev` right before `next`. */
#define COMMON_DISTANCE 32

size_t
ips_bell_distance(void)
{
    struct robust_list_head *head = robust_head();
    return head != NULL && head->futex_offset == -COMMON_DISTANCE ? COMMON_DISTANCE : 0;
}

/* The C library edits this list with plain stores, from this thread only; so
 * do we, on the thread that owns it.  All links point at `next` members. */
static void **
previous_of(void *entry)
{
    return (void **)((uintptr_t)entry & ~(uintptr_t)1) - 1;
}

void
ips_bell_hang(ips_bell_node *node)
{
    struct robust_list_head *head = robust_head();
    if (head == NULL) {
        return;
    }
    void *first = head->list.next;
    node->previous = &head->list;
    node->next = first;
    *previous_of(first) = &node->next;
    atomic_signal_fence(memory_order_seq_cst); /* the kernel may walk it any time */
    head->list.next = (struct robust_list *)&node->next;
}

void
ips_bell_take_down(ips_bell_node *node)
{
    if (node->previous == NULL) {
        return;
    }
    void **before = (void **)((uintptr_t)node->previous & ~(uintptr_t)1);
    *before = node->next;
    *previous_of(node->next) = node->previous;
    *node = (ips_bell_node){NULL, NULL};
}

int
ips_wiped_on_fork(size_t size, void **out)
{
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) {
        return ips_fail_errno("cannot map a private page");
    }
    if (madvise(pages, size, MADV_WIPEONFORK) != 0) {
        int status = ips_fail_errno("cannot have a page wiped on fork (Linux 4.14)");
        (void)munmap(pages, size);
        return status;
    }
    *out = pages;
    return IPS_OK;
}

void
ips_sleep_until(int64_t deadline)
{
    struct timespec until = {.tv_sec = deadline / 1000000000, .tv_nsec = deadline % 1000000000};
    (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

int
ips_birth_pipe_open(ips_birth_pipe *birth)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return ips_fail_errno("cannot open a pipe for a fork");
    }
    *birth = (ips_birth_pipe){ends[0], ends[1]};
    return IPS_OK;
}

void
ips_birth_pipe_post(ips_birth_pipe *birth)
{
    (void)close(birth->read_end);
    ssize_t sent = write(birth->write_end, "", 1);
    (void)sent; /* a parent that gave up has closed its end: nobody to tell */
    (void)close(birth->write_end);
}

void
ips_birth_pipe_await(ips_birth_pipe *birth, int64_t deadline)
{
    (void)close(birth->write_end);
    struct pollfd end = {.fd = birth->read_end, .events = POLLIN};
    int64_t left = (deadline - ips_now()) / 1000000;
    while (left > 0 && poll(&end, 1, (int)left) < 0 && errno == EINTR) {
        left = (deadline - ips_now()) / 1000000;
    }
    (void)close(birth->read_end);
}

void
ips_program_name(char *out, size_t size)
{
    const char *name = program_invocation_short_name;
    (void)snprintf(out, size, "%s", name != NULL && *name != '\0' ? name : "?");
}
