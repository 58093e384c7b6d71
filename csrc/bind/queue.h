/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.Queue in parts: the handle (queue_handle.c), putting (queue_put.c),
 * getting (queue_get.c), several at once (queue_many.c), the type (queue.c);
 * ipcsys.mp.Queue (mp_queue.c) is a subtype of it.
 *
 * Every operation tries without waiting first, with the GIL held; only then
 * does it drop the GIL and do the whole of it anew, waiting where it must. */
#ifndef IPS_BIND_QUEUE_H
#define IPS_BIND_QUEUE_H

#include "bind/gate.h"
#include "bind/state.h"
#include "bind/value.h"
#include "message/queue.h"

typedef struct {
    PyObject_HEAD
    ips_queue *queue;        /* `body`, or NULL before __init__ and once closed */
    ips_state *state;        /* of the module that the type keeps alive */
    ips_gate gate;           /* calls that drop the GIL */
    PyObject *weakrefs;
    PyObject *owed;          /* a DecodeError that the next get is to raise, or NULL */
    PyObject *name;          /* a str, or NULL where it has none; outlives close() */
    bool mp;                 /* with the manners of multiprocessing: bind/mp_queue.c */
    ips_queue body;
} ips_queue_object;

/* The queue for a call that keeps the GIL all the time: nobody can close it
 * meanwhile.  NULL where it is closed, or where there is no GIL. */
static inline ips_queue *
ips_queue_quick(const ips_queue_object *self)
{
#ifdef Py_GIL_DISABLED
    (void)self;
    return NULL;
#else
    return self->queue;
#endif
}

/* Count this call in, so that the queue stays while the GIL is dropped: NULL
 * with Closed raised.  Then leave() once, with the GIL. */
ips_queue *ips_queue_enter(ips_queue_object *self);
void ips_queue_leave(ips_queue_object *self);

/* As ips_wait_without_gil, in a call that entered; IPS_ECLOSED at once
 * where another thread closes the handle.  With IPS_AT_ONCE, signals are not looked
 * at: the step waits for a lock at most, and that not for long. */
int ips_queue_run(ips_queue_object *self, ips_wait_step step, void *context, int64_t deadline);

/* The same for a step that puts: at the deadline once more without waiting,
 * which tells a full queue (IPS_ETIMEOUT) from full memory (IPS_ENOSPACE). */
/* A deadline at which a call is tried and waits for nothing; with IPS_AT_ONCE
 * it would wait for the queue's own locks a moment. */
#define IPS_QUEUE_HARDLY INT64_C(1)
int ips_queue_run_put(ips_queue_object *self, ips_wait_step step, void *context, int64_t deadline);

const char *ips_queue_title(const ips_queue_object *self); /* for messages */
/* The exception for a status of ips_queue_run and the like; returns NULL. */
PyObject *ips_queue_raise(const ips_queue_object *self, int status);
PyObject *ips_queue_raise_full(const ips_queue_object *self); /* call entered */

/* Arguments by position or keyword: names[] ends with NULL, the first `least`
 * must be given.  given[] starts out NULL.  0, or -1 with TypeError set. */
typedef struct {
    PyObject *const *args;
    Py_ssize_t count;
    PyObject *keywords;
} ips_call;
int ips_queue_arguments(const char *method, const ips_call *call, const char *const *names,
                        int least, PyObject **given);
/* block and timeout with the manners of queue.Queue; NULL: not given. */
int ips_queue_deadline(PyObject *block, PyObject *timeout, int64_t *deadline);

/* Put one value: None, or NULL with an exception. */
PyObject *ips_queue_put_value(ips_queue_object *self, PyObject *item, int64_t deadline);
/* Take one value: it, or NULL with an exception. */
PyObject *ips_queue_get_one(ips_queue_object *self, int64_t deadline);

/* Put one, without the GIL where it must wait; 0, or -1 with an exception. */
int ips_queue_put_message(ips_queue_object *self, const ips_message *message, int64_t deadline);
/* Raises what an earlier call kept back: true if there was something. */
bool ips_queue_raise_owed(ips_queue_object *self);
/* Keep the exception that is set for the next call: its message was taken. */
void ips_queue_owe(ips_queue_object *self);
/* The next message's value: NULL with an exception set.  Call entered. */
PyObject *ips_queue_get_value(ips_queue_object *self, int64_t deadline);

/* Look at the first message, waiting for one until `deadline`: 0, IPS_EEMPTY
 * at the deadline, or what ips_queue_run says.  Call entered. */
int ips_queue_find(ips_queue_object *self, int64_t deadline, ips_look *out);
/* Take without the GIL where the lock is held: 0, IPS_EMISMATCH, ... */
int ips_queue_take_patiently(ips_queue_object *self, const ips_take *take, int64_t deadline);

/* queue_handle.c */
int ips_queue_init(PyObject *self, PyObject *args, PyObject *kwargs);
void ips_queue_dealloc(PyObject *self);
PyObject *ips_queue_close_method(PyObject *self, PyObject *unused);
PyObject *ips_queue_reduce(PyObject *self, PyObject *unused);
PyObject *ips_queue_restore(PyObject *type, PyObject *args);

#define IPS_QUEUE_METHOD(name)                                                              \
    PyObject *ips_queue_##name##_method(PyObject *self, PyObject *const *args, Py_ssize_t count, \
                                        PyObject *keywords)
/* queue_put.c, queue_get.c, queue_many.c */
IPS_QUEUE_METHOD(put);
IPS_QUEUE_METHOD(put_nowait);
IPS_QUEUE_METHOD(put_bytes);
IPS_QUEUE_METHOD(get);
IPS_QUEUE_METHOD(get_into);
IPS_QUEUE_METHOD(put_many);
IPS_QUEUE_METHOD(get_many);
PyObject *ips_queue_get_nowait_method(PyObject *self, PyObject *unused);
PyObject *ips_queue_drain_method(PyObject *self, PyObject *unused);

#endif
