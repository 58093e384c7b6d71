/* SPDX-License-Identifier: Apache-2.0 */
/* What ipcsys.aio needs of the core: to announce a waiter that must not park,
 * to hear of changes through this process's postbox (aio.c), to try an
 * operation without waiting for anything (aio_tries.c), to keep what a
 * longer wait leaves in the object (aio_waits.c), and to tell people of it
 * (aio_shows.c).  None of it parks, or waits
 * for a lock beyond a few microseconds, so an event loop may call it. */
#ifndef IPS_BIND_AIO_H
#define IPS_BIND_AIO_H

#include "bind/cell.h"
#include "bind/queue.h"
#include "sync/trace.h"

enum ips_aio_kind {
    IPS_AIO_LOCK,
    IPS_AIO_RLOCK,
    IPS_AIO_EVENT,
    IPS_AIO_SEMAPHORE,
    IPS_AIO_CONDITION,
    IPS_AIO_BARRIER,
    IPS_AIO_RWLOCK,
    IPS_AIO_ATOMIC,
    IPS_AIO_QUEUE,
};

/* An object that has a face in ipcsys.aio, in use until ips_aio_leave(). */
typedef struct {
    enum ips_aio_kind kind;
    ips_state *state;
    ips_cell_object *cell;   /* NULL: a queue */
    ips_queue_object *queue;
    ips_space *space;
    void *words;             /* where it lies, as long as it is open */
} ips_aio_object;

/* False with an exception set: Closed, or TypeError where it has no face. */
bool ips_aio_enter(ips_state *state, PyObject *object, ips_aio_object *out);
void ips_aio_leave(const ips_aio_object *object);

/* How a task is told from others where threads have their idents (sync/trace.h);
 * 0 for None. */
static inline uint64_t
ips_aio_trace(PyObject *task)
{
    uint32_t number = (uint32_t)((uintptr_t)task >> 4);
    return task == Py_None ? 0 : IPS_TRACE_TASK | (number == 0 ? 1 : number);
}

/* What its thread took was for the task. */
static inline void
ips_aio_sign(ips_trace_shm *trace, uint64_t task)
{
    if (task != 0) {
        ips_trace_sign(trace, task);
    }
}

/* aio.c adds them to the module. */
extern PyMethodDef ips_aio_tries[]; /* aio_tries.c */
extern PyMethodDef ips_aio_waits[]; /* aio_waits.c */
extern PyMethodDef ips_aio_shows[]; /* aio_shows.c */

#endif
