/* SPDX-License-Identifier: Apache-2.0 */
/* Who a process is, whether it lives, and the two things the kernel does at
 * its death: it drops its record locks, and it marks its robust words. */
#ifndef IPS_OS_PROCESS_H
#define IPS_OS_PROCESS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct {
    int32_t pid;
    uint32_t pad;
    uint64_t start_time; /* clock ticks after boot, /proc/PID/stat field 22; 0 unknown */
    uint64_t pid_namespace; /* inode of /proc/self/ns/pid; 0 unknown */
} ips_process_id;

void ips_process_self(ips_process_id *out);
int32_t ips_thread_id(void);
/* What tells the threads of one process apart without a system call:
 * pthread_self() as a number, Python's threading.get_ident(). */
static inline uint64_t
ips_thread_ident(void)
{
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__has_builtin)
#if __has_builtin(__builtin_thread_pointer)
#define IPS_THREAD_POINTER_IS_SELF 1
#endif
#endif
#ifdef IPS_THREAD_POINTER_IS_SELF /* the same number, without a call */
    return (uint64_t)(uintptr_t)__builtin_thread_pointer();
#else
    return (uint64_t)pthread_self();
#endif
}
uint32_t ips_user_id(void);
/* The program's short name, for people. */
void ips_program_name(char *out, size_t size);
bool ips_on_main_thread(void);

typedef enum {
    IPS_PROCESS_ALIVE,   /* or nothing proves otherwise */
    IPS_PROCESS_EXITING, /* every task is past its last user instruction */
    IPS_PROCESS_GONE,    /* no such process, a zombie, or another with its pid */
} ips_process_state;

/* What this kernel's process table says of `id`, asked by `self`.  ALIVE
 * whenever it cannot tell: hidden /proc, another pid namespace. */
ips_process_state ips_process_state_of(const ips_process_id *id, const ips_process_id *self);

/* True where there is no process with that pid: one cheap look. */
bool ips_process_missing(const ips_process_id *id, const ips_process_id *self);

/* True where `id` is here, its leader has ended and other threads go on. */
bool ips_process_lost_leader(const ips_process_id *id, const ips_process_id *self);

/* A descriptor that becomes readable when the process has ended, for event
 * loops.  IPS_ENOENT (nothing noted) where it ended already, cannot be seen
 * from here, or the kernel has no such descriptors (before Linux 5.3). */
IPS_MUST_CHECK int ips_process_watch(const ips_process_id *id, const ips_process_id *self, int *fd);

/* A lock on one byte that belongs to the open file, and so to a forked child
 * as well: it goes when both have closed the descriptor, or died. */
IPS_MUST_CHECK int ips_shared_byte_lock(int fd, uint64_t byte);
/* Asked through another descriptor: 1 held, 0 free, negative status. */
IPS_MUST_CHECK int ips_shared_byte_probe(int fd, uint64_t byte);

/* Record locks, one byte each, dropped by the kernel at death. */
IPS_MUST_CHECK int ips_byte_lock(int fd, uint64_t byte);   /* IPS_EAGAIN where held by another process */
void ips_byte_unlock(int fd, uint64_t byte);
/* 1 held by another process, 0 free, negative status. */
IPS_MUST_CHECK int ips_byte_probe(int fd, uint64_t byte);

/* A robust word: the kernel sets bit 30 (IPS_BELL_RANG) at the main thread's
 * end and wakes one waiter if bit 31 is set.  Entry and word lie
 * IPS_BELL_DISTANCE apart, as glibc's list dictates. */
#define IPS_BELL_RANG UINT32_C(0x40000000)
#define IPS_BELL_WATCHED UINT32_C(0x80000000)
#define IPS_BELL_TID UINT32_C(0x3fffffff)

typedef struct {
    void *previous;
    void *next;
} ips_bell_node;

/* Distance from the word to the node's `next` on this libc; 0 where bells
 * cannot be hung (foreign layout, no robust list). */
size_t ips_bell_distance(void);
/* Link the node into this thread's list (the caller is the main thread). */
void ips_bell_hang(ips_bell_node *node);
void ips_bell_take_down(ips_bell_node *node);

/* Private zero-filled pages that a forked child finds zeroed again. */
IPS_MUST_CHECK int ips_wiped_on_fork(size_t size, void **out);

void ips_sleep_until(int64_t deadline);

/* A one-shot signal from a forked child to its parent: the child posts, or
 * dies; the parent waits for either. */
typedef struct {
    int read_end;
    int write_end;
} ips_birth_pipe;
IPS_MUST_CHECK int ips_birth_pipe_open(ips_birth_pipe *pipe);
void ips_birth_pipe_post(ips_birth_pipe *pipe);                      /* child; closes both ends */
void ips_birth_pipe_await(ips_birth_pipe *pipe, int64_t deadline);   /* parent; closes both ends */

#endif
