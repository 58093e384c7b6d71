/* SPDX-License-Identifier: Apache-2.0 */
/* Queue.put_many, get_many and drain: many messages under one hold of a lock. */
#include "bind/queue.h"

#include <string.h>

#include "os/clock.h"

#define BATCH 256           /* messages of one take */
#define BATCH_BYTES 65536u  /* and their bytes, so that holds stay short */
#define WITH_GIL_BYTES 262144u /* what put_many copies without dropping the GIL */

/* --- putting -------------------------------------------------------------- */

/* Encoded messages; those that are not bytes themselves lie in `arena`. */
typedef struct {
    ips_message *messages;
    uint32_t count;
    uint64_t total;
    uint8_t *arena;
    size_t used, room;
} encoded_list;

static int
arena_append(encoded_list *list, const ips_encoded *encoded, size_t *offset)
{
    if (encoded->size > list->room - list->used) {
        size_t room = list->room * 2 + encoded->size + 1024;
        uint8_t *arena = PyMem_Realloc(list->arena, room);
        if (arena == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        list->arena = arena;
        list->room = room;
    }
    memcpy(list->arena + list->used, encoded->bytes, encoded->size);
    *offset = list->used;
    list->used += encoded->size;
    return 0;
}

static int
encode_item(ips_queue_object *self, encoded_list *list, uint32_t index, PyObject *item)
{
    ips_message *message = &list->messages[index];
    if (PyBytes_CheckExact(item)) {
        *message = (ips_message){PyBytes_AS_STRING(item), (uint64_t)PyBytes_GET_SIZE(item),
                                 IPS_VALUE_RAW};
        return 0;
    }
    ips_encoded encoded;
    size_t offset = 0;
    if (ips_value_encode(self->state, item, 0, &encoded) < 0) {
        return -1;
    }
    int status = arena_append(list, &encoded, &offset);
    /* An offset until the arena stays where it is. */
    *message = (ips_message){(const void *)offset, encoded.size, encoded.kind};
    ips_encoded_clear(&encoded);
    return status;
}

static int
encode_all(ips_queue_object *self, PyObject *items, encoded_list *list)
{
    Py_ssize_t count = PyTuple_GET_SIZE(items);
    if (count > UINT32_MAX) {
        PyErr_SetString(PyExc_OverflowError, "put_many() takes fewer than 2**32 messages");
        return -1;
    }
    list->count = (uint32_t)count;
    list->messages = PyMem_Malloc(((size_t)count + 1) * sizeof(ips_message));
    if (list->messages == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (uint32_t i = 0; i < list->count; i++) {
        PyObject *item = PyTuple_GET_ITEM(items, i);
        if (encode_item(self, list, i, item) < 0) {
            return -1;
        }
        uint64_t size = list->messages[i].size;
        list->total += size;
        if (size > IPS_INLINE_MAX || self->body.ring.max_message != 0) {
            int status = ips_queue_admits(&self->body, size);
            if (status < 0) {
                (void)ips_raise(self->state, status);
                return -1;
            }
        }
    }
    for (uint32_t i = 0; list->used != 0 && i < list->count; i++) {
        if (!PyBytes_CheckExact(PyTuple_GET_ITEM(items, i))) {
            list->messages[i].bytes = list->arena + (size_t)list->messages[i].bytes;
        }
    }
    return 0;
}

typedef struct {
    ips_queue *queue;
    const encoded_list *list;
    uint32_t done;
} putting;

static int
put_step(void *context, int64_t deadline)
{
    putting *job = context;
    return ips_queue_put(job->queue, job->list->messages, job->list->count, deadline, &job->done);
}

/* As many as go in without waiting. */
static int
put_eagerly(putting *job)
{
    int status = IPS_EAGAIN;
    for (uint32_t before = UINT32_MAX; status == IPS_EAGAIN && job->done != before;) {
        before = job->done;
        status = ips_queue_try_put(job->queue, job->list->messages, job->list->count, &job->done);
    }
    return status;
}

/* Tell with an exception how many went in before it. */
static void
note_count(uint32_t done)
{
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    PyObject *count = PyLong_FromUnsignedLong(done);
    if (count == NULL || PyObject_SetAttrString(error, "count", count) < 0) {
        PyErr_Clear(); /* the exception itself matters more */
    }
    Py_XDECREF(count);
    PyErr_Restore(type, error, traceback);
}

static PyObject *
put_list(ips_queue_object *self, ips_queue *queue, const encoded_list *list, int64_t deadline)
{
    putting job = {queue, list, 0};
    int status = list->total <= WITH_GIL_BYTES ? put_eagerly(&job) : IPS_EAGAIN;
    if (status < 0) {
        status = ips_queue_run_put(self, put_step, &job, deadline);
    }
    if (status == 0 || (status == IPS_ETIMEOUT && job.done != 0)) {
        return PyLong_FromUnsignedLong(job.done);
    }
    (void)(status == IPS_ETIMEOUT ? ips_queue_raise_full(self) : ips_queue_raise(self, status));
    note_count(job.done);
    return NULL;
}

PyObject *
ips_queue_put_many_method(PyObject *object, PyObject *const *args, Py_ssize_t count,
                          PyObject *keywords)
{
    static const char *const names[] = {"items", "block", "timeout", NULL};
    PyObject *given[3] = {NULL, NULL, NULL};
    int64_t deadline;
    ips_call call = {args, count, keywords};
    ips_queue_object *self = (ips_queue_object *)object;
    if (ips_queue_arguments("put_many", &call, names, 1, given) < 0
        || ips_queue_deadline(given[1], given[2], &deadline) < 0) {
        return NULL;
    }
    PyObject *items = PySequence_Tuple(given[0]); /* nobody else's to change */
    ips_queue *queue = items == NULL ? NULL : ips_queue_enter(self);
    PyObject *result = NULL;
    if (queue != NULL) {
        encoded_list list = {.messages = NULL};
        if (encode_all(self, items, &list) == 0) {
            result = put_list(self, queue, &list, deadline);
        }
        PyMem_Free(list.messages);
        PyMem_Free(list.arena);
        ips_queue_leave(self);
    }
    Py_XDECREF(items);
    return result;
}

/* --- getting -------------------------------------------------------------- */

/* A run of messages, prepared before it is taken. */
typedef struct {
    ips_look first, last;
    uint32_t count;
    uint8_t *arena; /* where MessagePack goes to be decoded; NULL if there is none */
    ips_copy copies[BATCH];
    PyObject *items[BATCH];
} batch;

static void
batch_clear(batch *run)
{
    for (uint32_t i = 0; i < run->count; i++) {
        Py_XDECREF(run->items[i]);
    }
    PyMem_Free(run->arena);
}

/* Forget all but the first `count`. */
static void
batch_cut(batch *run, uint32_t count)
{
    for (uint32_t i = count; i < run->count; i++) {
        Py_CLEAR(run->items[i]);
    }
    run->count = count;
    ips_look_cut(&run->first, run->copies, count, &run->last);
}

/* Memory for those that need decoding; `size` bytes in all. */
static int
batch_prepare_arena(batch *run, uint64_t size)
{
    run->arena = PyMem_Malloc(size + 1);
    if (run->arena == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    uint64_t used = 0;
    for (uint32_t i = 0; i < run->count; i++) {
        if (run->copies[i].kind != IPS_VALUE_RAW) {
            run->copies[i].to = run->arena + used;
            used += run->copies[i].size;
        }
    }
    return 0;
}

/* Bytes objects, copied as they lie there, and memory for what needs decoding:
 * 0, or -1 with an exception set.  Without the lock: what was copied is what
 * was sent only if the head has not moved when the run is taken. */
static int
batch_prepare(batch *run)
{
    uint64_t packed = 0;
    uint32_t count = run->count;
    for (run->count = 0; run->count < count; run->count++) {
        ips_copy *copy = &run->copies[run->count];
        PyObject *item = NULL;
        if (copy->kind == IPS_VALUE_RAW) {
            item = PyBytes_FromStringAndSize((const char *)copy->from, (Py_ssize_t)copy->size);
            if (item == NULL) {
                return -1;
            }
            copy->to = PyBytes_AS_STRING(item);
        } else {
            packed += (uint64_t)copy->size + 1;
        }
        run->items[run->count] = item;
    }
    return packed == 0 ? 0 : batch_prepare_arena(run, packed);
}

/* Turn what was copied into values.  At the first that fails: -1 with the
 * exception set if it is the first of all, else the run ends before it. */
static int
batch_decode(ips_queue_object *self, batch *run)
{
    for (uint32_t i = 0; i < run->count; i++) {
        const ips_copy *copy = &run->copies[i];
        if (copy->kind == IPS_VALUE_RAW) {
            continue;
        }
        run->items[i] = ips_value_decode(self->state, copy->kind, copy->to, copy->size);
        if (run->items[i] == NULL && i == 0) {
            return -1;
        }
        if (run->items[i] == NULL) {
            PyErr_Clear();
            batch_cut(run, i);
        }
    }
    return 0;
}

/* Move the values to the end of a list: 0, or -1 with an exception set. */
static int
batch_append(batch *run, PyObject **list)
{
    if (*list == NULL) {
        *list = PyList_New(run->count);
        if (*list == NULL) {
            return -1;
        }
        for (uint32_t i = 0; i < run->count; i++) {
            PyList_SET_ITEM(*list, i, run->items[i]); /* with our reference */
        }
        run->count = 0;
        return 0;
    }
    for (uint32_t i = 0; i < run->count; i++) {
        if (PyList_Append(*list, run->items[i]) < 0) {
            return -1;
        }
    }
    return 0;
}

static Py_ssize_t
list_size(PyObject *list)
{
    return list == NULL ? 0 : PyList_GET_SIZE(list);
}

static void
list_cut(PyObject **list, Py_ssize_t size)
{
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    if (size == 0) {
        Py_CLEAR(*list);
    } else if (PyList_SetSlice(*list, size, PyList_GET_SIZE(*list), NULL) < 0) {
        PyErr_Clear(); /* cutting off the end allocates nothing */
    }
    PyErr_Restore(type, error, traceback);
}

/* Take the run that was measured into the end of `list`, which grows before
 * the messages are taken, never after.  0, a status, or 1: exception set. */
static int
batch_take(ips_queue_object *self, batch *run, PyObject **list, int64_t deadline)
{
    Py_ssize_t size = list_size(*list);
    ips_take take = {.first = &run->first, .last = &run->last};
    int status = 0;
    if (run->arena != NULL) { /* copy, decode, then take */
        take = (ips_take){&run->first, &run->last, run->copies, run->count, true};
        status = ips_queue_take_patiently(self, &take, deadline);
        if (status == 0 && batch_decode(self, run) < 0) {
            return 1;
        }
        take = (ips_take){.first = &run->first, .last = &run->last};
    }
    if (status == 0 && batch_append(run, list) < 0) {
        list_cut(list, size);
        return 1;
    }
    if (status == 0) {
        status = ips_queue_take_patiently(self, &take, deadline);
    }
    if (status < 0) {
        list_cut(list, size);
    }
    return status;
}

/* The next message alone, into the end of `list`: 0 or -1. */
static int
take_one(ips_queue_object *self, PyObject **list, int64_t deadline)
{
    Py_ssize_t size = list_size(*list);
    if (*list == NULL) {
        *list = PyList_New(0);
    }
    if (*list == NULL || PyList_Append(*list, Py_None) < 0) {
        return -1;
    }
    PyObject *value = ips_queue_get_value(self, deadline);
    if (value == NULL) {
        list_cut(list, size);
        return -1;
    }
    return PyList_SetItem(*list, size, value);
}

/* One batch of at most `most`: 0 or -1 with an exception set. */
static int
take_some(ips_queue_object *self, uint32_t most, PyObject **list, int64_t deadline)
{
    batch run;
    int status;
    do {
        status = ips_queue_find(self, deadline, &run.first);
        if (status < 0) {
            break;
        }
        run.arena = NULL;
        run.count = ips_queue_look_run(&self->body, &run.first, most, BATCH_BYTES,
                                       IPS_VALUE_MSGPACK, run.copies, &run.last);
        if (run.count == 0) {
            return take_one(self, list, deadline);
        }
        status = batch_prepare(&run) < 0 ? 1 : batch_take(self, &run, list, deadline);
        batch_clear(&run);
        most = most > 1 ? most / 2 : 1; /* others are at it too: take less */
    } while (status == IPS_EMISMATCH);
    if (status == 1 && PyErr_ExceptionMatches(self->state->errors[IPS_ORDINAL_DECODE])) {
        PyErr_Clear();
        return take_one(self, list, deadline); /* takes it and raises again */
    }
    if (status < 0) {
        (void)ips_queue_raise(self, status);
    }
    return status == 0 ? 0 : -1;
}

/* At most `most` messages; waits for the first alone. */
static PyObject *
get_list(ips_queue_object *self, uint64_t most, int64_t deadline)
{
    PyObject *list = NULL;
    while ((uint64_t)list_size(list) < most) {
        uint64_t left = most - (uint64_t)list_size(list);
        if (take_some(self, left < BATCH ? (uint32_t)left : BATCH, &list, deadline) < 0) {
            if (list_size(list) == 0) {
                Py_CLEAR(list);
            } else if (PyErr_ExceptionMatches(self->state->errors[IPS_ORDINAL_DECODE])) {
                ips_queue_owe(self);
            } else {
                PyErr_Clear(); /* the next call meets it again */
            }
            break;
        }
        deadline = IPS_AT_ONCE; /* which hears no signal that could lose the list */
    }
    return list;
}

PyObject *
ips_queue_get_many_method(PyObject *object, PyObject *const *args, Py_ssize_t count,
                          PyObject *keywords)
{
    static const char *const names[] = {"n", "block", "timeout", NULL};
    PyObject *given[3] = {NULL, NULL, NULL};
    int64_t deadline;
    ips_call call = {args, count, keywords};
    ips_queue_object *self = (ips_queue_object *)object;
    if (ips_queue_arguments("get_many", &call, names, 1, given) < 0
        || ips_queue_deadline(given[1], given[2], &deadline) < 0) {
        return NULL;
    }
    Py_ssize_t most = PyNumber_AsSsize_t(given[0], NULL); /* clipped where it is huge */
    if (most == -1 && PyErr_Occurred() != NULL) {
        return NULL;
    }
    if (most < 1) {
        return PyErr_Format(PyExc_ValueError, "n must be at least 1, not %zd", most);
    }
    if (ips_queue_enter(self) == NULL) {
        return NULL;
    }
    PyObject *list = ips_queue_raise_owed(self) ? NULL
                                                : get_list(self, (uint64_t)most, deadline);
    ips_queue_leave(self);
    return list;
}

PyObject *
ips_queue_drain_method(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_queue_object *self = (ips_queue_object *)object;
    ips_queue *queue = ips_queue_enter(self);
    if (queue == NULL) {
        return NULL;
    }
    uint64_t most = ips_queue_size(queue); /* what is put meanwhile stays */
    PyObject *list = NULL;
    if (!ips_queue_raise_owed(self)) {
        list = most == 0 ? PyList_New(0) : get_list(self, most, IPS_AT_ONCE);
    }
    if (list == NULL && (PyErr_ExceptionMatches(self->state->errors[IPS_ORDINAL_EMPTY])
                         || PyErr_ExceptionMatches(self->state->errors[IPS_ORDINAL_SHUTDOWN]))) {
        PyErr_Clear(); /* others were faster */
        list = PyList_New(0);
    }
    ips_queue_leave(self);
    return list;
}
