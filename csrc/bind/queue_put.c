/* SPDX-License-Identifier: Apache-2.0 */
/* Queue.put and its kin: encoded first, put second, so that whatever can fail
 * for want of sense or memory fails before anything is shared. */
#include "bind/queue.h"
#include "bind/value_parts.h"
#include "os/clock.h"

/* How long an unbounded queue of ipcsys.mp whose memory is used up waits for a
 * get before put raises Full. */
#define PATIENCE_NS INT64_C(1000000000)

typedef struct {
    ips_queue *queue;
    const ips_message *message;
    uint32_t done;
} putting;

static int
put_step(void *context, int64_t deadline)
{
    putting *job = context;
    return ips_queue_put(job->queue, job->message, 1, deadline, &job->done);
}

/* Wait for memory as long as others take messages out; a queue that users
 * think unbounded says where its limit is rather than wait for ever. */
static int
put_hopefully(ips_queue_object *self, putting *job)
{
    int status;
    uint64_t taken, before = ips_queue_taken(job->queue);
    do {
        taken = before;
        status = ips_queue_run(self, put_step, job, ips_now() + PATIENCE_NS);
        before = ips_queue_taken(job->queue);
    } while (status == IPS_ETIMEOUT && taken != before);
    return status;
}

int
ips_queue_run_put(ips_queue_object *self, ips_wait_step step, void *context, int64_t deadline)
{
    int status = ips_queue_run(self, step, context, deadline);
    return status == IPS_ETIMEOUT && deadline > IPS_QUEUE_HARDLY
        ? ips_queue_run(self, step, context, IPS_AT_ONCE) : status;
}

static int
put_slow(ips_queue_object *self, const ips_message *message, int64_t deadline)
{
    putting job = {ips_queue_enter(self), message, 0};
    if (job.queue == NULL) {
        return -1;
    }
    int status = ips_queue_admits(job.queue, message->size);
    if (status == 0) {
        bool thought_unbounded = self->mp && self->body.ring.maxsize == 0;
        status = thought_unbounded && deadline == IPS_FOREVER
            ? put_hopefully(self, &job) : ips_queue_run_put(self, put_step, &job, deadline);
    }
    if (status == IPS_ETIMEOUT) {
        (void)ips_queue_raise_full(self);
    } else if (status < 0) {
        (void)ips_queue_raise(self, status);
    }
    ips_queue_leave(self);
    return status < 0 ? -1 : 0;
}

int
ips_queue_put_message(ips_queue_object *self, const ips_message *message, int64_t deadline)
{
    ips_queue *queue = ips_queue_quick(self);
    if (queue != NULL && queue->ring.max_message == 0) {
        uint32_t done = 0;
        if (ips_queue_try_put(queue, message, 1, &done) == 0) {
            return 0;
        }
    }
    return put_slow(self, message, deadline);
}

PyObject *
ips_queue_put_value(ips_queue_object *self, PyObject *item, int64_t deadline)
{
    if (PyBytes_CheckExact(item)) {
        ips_message message = {PyBytes_AS_STRING(item), (uint64_t)PyBytes_GET_SIZE(item),
                               IPS_VALUE_RAW};
        return ips_queue_put_message(self, &message, deadline) < 0 ? NULL : Py_NewRef(Py_None);
    }
    ips_encoded encoded;
    if (self->state == NULL) { /* never opened: say so */
        (void)ips_queue_enter(self);
        return NULL;
    }
    unsigned flags = self->mp ? IPS_ENCODE_MP | IPS_ENCODE_PARTS : IPS_ENCODE_PARTS;
    if (ips_value_encode(self->state, item, flags, &encoded) < 0) {
        return NULL;
    }
    ips_piece pieces[IPS_PARTS_MOST + 2];
    ips_message message = ips_parts_message(&encoded, pieces);
    int status = ips_queue_put_message(self, &message, deadline);
    ips_encoded_clear(&encoded);
    return status < 0 ? NULL : Py_NewRef(Py_None);
}

PyObject *
ips_queue_put_method(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    static const char *const names[] = {"item", "block", "timeout", NULL};
    if (count == 1 && keywords == NULL) {
        return ips_queue_put_value((ips_queue_object *)self, args[0], IPS_FOREVER);
    }
    PyObject *given[3] = {NULL, NULL, NULL};
    int64_t deadline;
    ips_call call = {args, count, keywords};
    if (ips_queue_arguments("put", &call, names, 1, given) < 0
        || ips_queue_deadline(given[1], given[2], &deadline) < 0) {
        return NULL;
    }
    return ips_queue_put_value((ips_queue_object *)self, given[0], deadline);
}

PyObject *
ips_queue_put_nowait_method(PyObject *self, PyObject *const *args, Py_ssize_t count,
                            PyObject *keywords)
{
    static const char *const names[] = {"item", NULL};
    PyObject *given[1] = {NULL};
    ips_call call = {args, count, keywords};
    if (ips_queue_arguments("put_nowait", &call, names, 1, given) < 0) {
        return NULL;
    }
    return ips_queue_put_value((ips_queue_object *)self, given[0], IPS_AT_ONCE);
}

PyObject *
ips_queue_put_bytes_method(PyObject *self, PyObject *const *args, Py_ssize_t count,
                           PyObject *keywords)
{
    static const char *const names[] = {"buffer", "block", "timeout", NULL};
    PyObject *given[3] = {NULL, NULL, NULL};
    int64_t deadline;
    Py_buffer view;
    ips_call call = {args, count, keywords};
    if (ips_queue_arguments("put_bytes", &call, names, 1, given) < 0
        || ips_queue_deadline(given[1], given[2], &deadline) < 0
        || PyObject_GetBuffer(given[0], &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    ips_message message = {view.buf, (uint64_t)view.len, IPS_VALUE_RAW};
    int status = ips_queue_put_message((ips_queue_object *)self, &message, deadline);
    PyBuffer_Release(&view);
    return status < 0 ? NULL : Py_NewRef(Py_None);
}
