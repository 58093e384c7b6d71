/* SPDX-License-Identifier: Apache-2.0 */
#include "os/tasks.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* include/linux/sched.h of the kernel; shown in field 9 of stat. */
#define PF_EXITING 0x00000004u
#define PF_POSTCOREDUMP 0x00000008u /* 5.16 on */
#define PF_DUMPCORE 0x00000200u

#define MOST_TASKS 4096 /* more are not proven dead this way */

static ssize_t
read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    ssize_t got = read(fd, text, size - 1);
    (void)close(fd);
    if (got >= 0) {
        text[got] = '\0';
    }
    return got;
}

static void
path_of(char *path, size_t size, int32_t pid, int32_t tid, const char *leaf)
{
    if (tid == 0) {
        (void)snprintf(path, size, "/proc/%d/%s", pid, leaf);
    } else {
        (void)snprintf(path, size, "/proc/%d/task/%d/%s", pid, tid, leaf);
    }
}

bool
ips_task_read(int32_t pid, int32_t tid, ips_task_facts *out)
{
    char path[64], text[1024];
    path_of(path, sizeof path, pid, tid, "stat");
    if (read_text(path, text, sizeof text) <= 0) {
        return false;
    }
    /* The command in field 2 may hold spaces and parentheses. */
    const char *rest = strrchr(text, ')');
    int32_t threads;
    unsigned flags;
    unsigned long long start;
    char state;
    if (rest == NULL ||
        sscanf(rest + 1,
               " %c %*d %*d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %d %*d %llu",
               &state, &flags, &threads, &start) != 4) {
        return false;
    }
    *out = (ips_task_facts){state, flags, threads, start};
    return true;
}

/* Uninterruptible and with SIGKILL in its own queue: it dies before it can
 * run another user instruction. */
static bool
is_doomed(int32_t pid, int32_t tid)
{
    char path[64], text[4096];
    path_of(path, sizeof path, pid, tid, "status");
    if (read_text(path, text, sizeof text) <= 0) {
        return false;
    }
    const char *state = strstr(text, "\nState:\t");
    const char *pending = strstr(text, "\nSigPnd:\t");
    if (state == NULL || pending == NULL || state[8] != 'D') {
        return false;
    }
    return (strtoull(pending + 9, NULL, 16) >> (SIGKILL - 1) & 1) != 0;
}

static bool
is_exiting(int32_t pid, int32_t tid)
{
    ips_task_facts task;
    if (!ips_task_read(pid, tid, &task)) {
        return false;
    }
    return (task.flags & (PF_EXITING | PF_DUMPCORE | PF_POSTCOREDUMP)) != 0 ||
           is_doomed(pid, tid);
}

/* The exiting tasks' ids in *ids; how many, or -1 where one is not exiting. */
static int
list_exiting(int32_t pid, int32_t *ids)
{
    char path[64];
    path_of(path, sizeof path, pid, 0, "task");
    DIR *folder = opendir(path);
    if (folder == NULL) {
        return -1;
    }
    int count = 0;
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        int32_t tid = (int32_t)strtol(entry->d_name, NULL, 10);
        if (tid <= 0) {
            continue;
        }
        if (count == MOST_TASKS || !is_exiting(pid, tid)) {
            count = -1;
            break;
        }
        ids[count++] = tid;
    }
    (void)closedir(folder);
    return count;
}

bool
ips_tasks_all_exiting(int32_t pid, uint64_t start_time)
{
    int32_t *ids = malloc(2 * MOST_TASKS * sizeof *ids);
    if (ids == NULL) {
        return false;
    }
    int32_t *again = ids + MOST_TASKS;
    int first = list_exiting(pid, ids);
    bool all = false;
    if (first > 0) {
        ips_task_facts leader;
        all = list_exiting(pid, again) == first &&
              memcmp(ids, again, (size_t)first * sizeof *ids) == 0 &&
              ips_task_read(pid, 0, &leader) && leader.thread_count == first &&
              (start_time == 0 || leader.start_time == start_time);
    }
    free(ids);
    return all;
}
