/* SPDX-License-Identifier: Apache-2.0 */
/* Reading /proc/PID/task: the tasks of a process and how far each is in
 * dying.  Part of os/process.h's answer. */
#ifndef IPS_OS_TASKS_H
#define IPS_OS_TASKS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    char state; /* R S D Z X T ... */
    uint32_t flags;
    int32_t thread_count;
    uint64_t start_time;
} ips_task_facts;

/* Of the process's leader, or of task `tid` where it is not 0. */
bool ips_task_read(int32_t pid, int32_t tid, ips_task_facts *out);

/* Every task of the process is past its last user instruction: two complete
 * passes over the same set of tasks, as many as the process counts, each
 * exiting.  One pass is not enough: threads that start a successor and end
 * hide behind it (485 of 20 000 passes called such a process dead). */
bool ips_tasks_all_exiting(int32_t pid, uint64_t start_time);

#endif
