/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and changing a row of values: between Python's values and the core's
 * two kinds of rows.  Values are encoded before the lock is taken and decoded
 * after it was given up. */
#include "bind/sequence.h"

#include <limits.h>
#include <string.h>

#include "base/atomics.h"
#include "bind/nested.h"
#include "bind/value.h"

const char *
ips_short_name(PyObject *object)
{
    const char *dot = strrchr(Py_TYPE(object)->tp_name, '.');
    return dot == NULL ? Py_TYPE(object)->tp_name : dot + 1;
}

PyObject *
ips_sequence_raise_range(PyObject *self, const char *what)
{
    return PyErr_Format(PyExc_IndexError, "%s %s out of range", ips_short_name(self), what);
}

/* --- values on their way in */

static int
encode_item(ips_state *state, const ips_item_format *format, PyObject *value,
    ips_snapshot *values)
{
    uint64_t item;
    if (ips_item_pack(format, value, &item) < 0) {
        return -1;
    }
    uint8_t *at = ips_snapshot_extend(values, format->size);
    if (at == NULL) {
        (void)ips_raise(state, IPS_ENOMEM);
        return -1;
    }
    memcpy(at, &item, format->size); /* little-endian: its low bytes */
    values->records++;
    return 0;
}

int
ips_sequence_encode(ips_state *state, const ips_item_format *format, PyObject *value,
    ips_snapshot *values)
{
    ips_encoded encoded;
    if (format != NULL) {
        return encode_item(state, format, value, values);
    }
    if (ips_nested_refuse(state, value) < 0 ||
        ips_value_encode(state, value, 0, &encoded) < 0) {
        return -1;
    }
    int status = ips_snapshot_put(values, encoded.bytes, encoded.size, encoded.kind);
    ips_encoded_clear(&encoded);
    if (status < 0) {
        (void)ips_raise(state, status);
    }
    return status < 0 ? -1 : 0;
}

int
ips_sequence_encode_all(ips_state *state, const ips_item_format *format, PyObject *iterable,
    ips_snapshot *values)
{
    PyObject *iterator = PyObject_GetIter(iterable);
    PyObject *value;
    int status = iterator == NULL ? -1 : 0;
    while (status == 0 && (value = PyIter_Next(iterator)) != NULL) {
        status = ips_sequence_encode(state, format, value, values);
        Py_DECREF(value);
    }
    Py_XDECREF(iterator);
    return PyErr_Occurred() != NULL ? -1 : status;
}

/* --- one operation, for ips_container_run: no Python inside */

typedef struct {
    const ips_sequence *self;
    ips_span span;
    int64_t index;
    uint64_t expected;
    const ips_snapshot *values;
    const ips_value *value; /* a single one */
    ips_snapshot *out;
    ips_value_copy *copy; /* of a value; NULL: not wanted */
    uint64_t item;        /* of an item */
    uint64_t count;
    const uint64_t *order;
} operation;

static int
act_list(void *context)
{
    operation *job = context;
    return job->self->format != NULL
        ? ips_flat_snapshot_locked(&job->self->flat, job->span, job->out)
        : ips_deque_snapshot_locked(&job->self->deque, job->span, job->out);
}

static int
act_get(void *context)
{
    operation *job = context;
    return job->self->format != NULL
        ? ips_flat_get_locked(&job->self->flat, job->index, &job->item)
        : ips_deque_get_locked(&job->self->deque, job->index, job->copy);
}

static int
act_length(void *context)
{
    operation *job = context;
    return job->self->format != NULL ? ips_flat_length_locked(&job->self->flat, &job->count)
                                     : ips_deque_length_locked(&job->self->deque, &job->count);
}

static int
act_append(void *context)
{
    operation *job = context;
    return job->self->format != NULL
        ? ips_flat_append(&job->self->flat, job->item)
        : ips_deque_append(&job->self->deque, IPS_RIGHT, job->value);
}

static int
act_extend(void *context)
{
    operation *job = context;
    return job->self->format != NULL
        ? ips_flat_splice(&job->self->flat, (ips_span){INT64_MAX, INT64_MAX, 1}, job->values)
        : ips_deque_extend(&job->self->deque, IPS_RIGHT, job->values);
}

static int
act_set(void *context)
{
    operation *job = context;
    if (job->self->format != NULL) {
        return ips_flat_set(&job->self->flat, job->index, job->item);
    }
    return ips_deque_set(&job->self->deque, job->index, job->value);
}

static int
act_splice(void *context)
{
    operation *job = context;
    return job->self->format != NULL
        ? ips_flat_splice(&job->self->flat, job->span, job->values)
        : ips_deque_splice(&job->self->deque, job->span, job->values);
}

static int
act_assign(void *context)
{
    operation *job = context;
    return job->self->format != NULL
        ? ips_flat_assign(&job->self->flat, job->span, job->values, &job->count)
        : ips_deque_assign(&job->self->deque, job->span, job->values, &job->count);
}

static int
act_erase(void *context)
{
    operation *job = context;
    return job->self->format != NULL ? ips_flat_erase(&job->self->flat, job->span)
                                     : ips_deque_erase(&job->self->deque, job->span);
}

static int
act_take(void *context)
{
    operation *job = context;
    return job->self->format != NULL
        ? ips_flat_take(&job->self->flat, job->index, job->expected, &job->item)
        : ips_deque_take(&job->self->deque, job->index, job->expected, job->copy);
}

static int
act_reorder(void *context)
{
    operation *job = context;
    return job->self->format != NULL
        ? ips_flat_reorder(&job->self->flat, job->order, job->count, job->expected)
        : ips_deque_reorder(&job->self->deque, job->order, job->count, job->expected);
}

static int
act_repeat(void *context)
{
    operation *job = context;
    job->span = IPS_SPAN_ALL;
    int status = act_list(job);
    if (status == 0 && job->count > 1 && job->self->format == NULL &&
        ips_nested_any(job->out)) {
        return IPS_ROW_NESTED; /* it cannot stand there twice */
    }
    job->values = job->out;
    for (uint64_t i = 1; status == 0 && i < job->count && job->out->records != 0; i++) {
        status = act_extend(job);
    }
    return status;
}

/* Run it where the object is open; changes of a deque are news. */
static int
change(ips_sequence *self, ips_act act, operation *job)
{
    job->self = self;
    self->changes++;
    if (ips_container_check(&self->base) < 0) {
        return -1;
    }
    size_t weight = job->values != NULL ? job->values->size
        : job->value != NULL ? job->value->size : 0;
    int status = ips_container_run(&self->base, act, job, weight);
    if (status == 0) {
        ips_sequence_news(self);
    }
    return status;
}

void
ips_sequence_notify(const ips_sequence *self, ips_eventcount_shm *event, int count)
{
    if (self->base.home.segment == NULL) {
        return; /* closed meanwhile */
    }
    /* Between the change and the look at the sleepers: after a commit of our
     * own, leaving the lock was a seq_cst exchange; inside a transaction
     * there was none.  Pairs with the fence in ips_eventcount_prepare. */
    if (ips_tx_is_mine(self->base.home.segment)) {
        atomic_thread_fence(memory_order_seq_cst);
    } else {
        ips_fence_after_rmw();
    }
    ips_eventcount_notify(event, count);
    ips_nested_settle(self->base.home.segment);
}

void
ips_sequence_news(const ips_sequence *self)
{
    if (self->format == NULL && self->deque.events != NULL) {
        ips_sequence_notify(self, &self->deque.events->items, INT_MAX);
        ips_sequence_notify(self, &self->deque.events->space, INT_MAX);
    }
}

/* What was changed at once is news too: 0. */
static int
noted(ips_sequence *self)
{
    self->changes++;
    ips_sequence_news(self);
    return 0;
}

int
ips_sequence_append(ips_sequence *self, PyObject *value)
{
    operation job = {0};
    if (self->format != NULL) {
        if (ips_item_pack(self->format, value, &job.item) < 0) {
            return -1;
        }
        return self->base.home.segment != NULL && ips_flat_append_single(&self->flat, job.item)
            ? noted(self) : change(self, act_append, &job);
    }
    ips_encoded encoded;
    if (ips_nested_refuse(self->base.state, value) < 0 ||
        ips_value_encode(self->base.state, value, 0, &encoded) < 0) {
        return -1;
    }
    const ips_value plain = {encoded.bytes, encoded.size, encoded.kind};
    job.value = &plain;
    /* Encoding may have run Python code that closed it. */
    int status = 0;
    if (self->base.home.segment != NULL &&
        ips_deque_add_single(&self->deque, IPS_RIGHT, &plain)) {
        self->changes++;
        ips_sequence_news(self);
        if (self->base.home.segment != NULL) {
            ips_nested_settle(self->base.home.segment);
        }
    } else {
        status = change(self, act_append, &job);
    }
    ips_encoded_clear(&encoded);
    return status;
}

int
ips_sequence_extend(ips_sequence *self, const ips_snapshot *values)
{
    operation job = {.values = values};
    return values->records == 0 ? ips_container_check(&self->base)
                                : change(self, act_extend, &job);
}

int
ips_sequence_set_item(ips_sequence *self, int64_t index, uint64_t item)
{
    operation job = {.index = index, .item = item};
    return self->base.home.segment != NULL && ips_flat_set_single(&self->flat, index, item)
        ? noted(self) : change(self, act_set, &job);
}

int
ips_sequence_set(ips_sequence *self, int64_t index, PyObject *value)
{
    operation job = {.index = index};
    if (self->format != NULL) {
        return ips_item_pack(self->format, value, &job.item) < 0
            ? -1 : ips_sequence_set_item(self, index, job.item);
    }
    ips_encoded encoded;
    if (ips_nested_refuse(self->base.state, value) < 0 ||
        ips_value_encode(self->base.state, value, 0, &encoded) < 0) {
        return -1;
    }
    const ips_value plain = {encoded.bytes, encoded.size, encoded.kind};
    job.value = &plain;
    int status = self->base.home.segment != NULL &&
                         ips_deque_set_brief(&self->deque, index, &plain)
        ? noted(self) : change(self, act_set, &job);
    ips_encoded_clear(&encoded);
    return status;
}

int
ips_sequence_splice(ips_sequence *self, ips_span span, const ips_snapshot *values)
{
    operation job = {.span = span, .values = values};
    return change(self, act_splice, &job);
}

int
ips_sequence_assign(ips_sequence *self, ips_span span, const ips_snapshot *values,
    uint64_t *count)
{
    operation job = {.span = span, .values = values};
    int status = change(self, act_assign, &job);
    *count = job.count;
    return status;
}

int
ips_sequence_erase(ips_sequence *self, ips_span span)
{
    operation job = {.span = span};
    return change(self, act_erase, &job);
}

int
ips_sequence_reorder(ips_sequence *self, const uint64_t *order, uint64_t length,
    uint64_t expected)
{
    operation job = {.order = order, .count = length, .expected = expected};
    return change(self, act_reorder, &job);
}

int
ips_sequence_repeat(ips_sequence *self, uint64_t times)
{
    ips_snapshot values = {0};
    operation job = {.count = times, .out = &values};
    int status = times == 0 ? ips_sequence_erase(self, IPS_SPAN_ALL)
                            : change(self, act_repeat, &job);
    ips_snapshot_clear(&values);
    if (status == IPS_ROW_NESTED) {
        PyErr_Format(PyExc_TypeError, "containers stand in the %s, and each can stand there once",
            ips_short_name((PyObject *)self));
        return -1;
    }
    return status;
}

/* --- values on their way out */

static PyObject *
decode(ips_sequence *self, ips_value_copy *copy, uint64_t item)
{
    if (self->format != NULL) {
        return ips_item_unpack(self->format, item);
    }
    return ips_nested_decode(&self->base, copy->kind, copy->bytes, copy->size);
}

/* Inside a transaction, of a container: what copy() gives of it. */
static PyObject *
take_nested(PyObject *object, void *index)
{
    ips_sequence *self = (ips_sequence *)object;
    operation job = {.index = *(const int64_t *)index, .expected = IPS_ROW_ANY};
    PyObject *value = ips_sequence_get(self, job.index);
    PyObject *copy = value == NULL ? NULL : ips_nested_copy(self->base.state, value);
    Py_XDECREF(value);
    if (copy != NULL && change(self, act_take, &job) < 0) {
        Py_CLEAR(copy);
    }
    return copy;
}

int
ips_sequence_take(ips_sequence *self, int64_t index, uint64_t expected, PyObject **out)
{
    ips_value_copy copy;
    ips_value_copy_init(&copy);
    operation job = {.index = index, .expected = expected, .copy = out != NULL ? &copy : NULL};
    const bool last = index == -1 && expected == IPS_ROW_ANY && self->format == NULL;
    int status = last && self->base.home.segment != NULL &&
                         ips_deque_take_single(&self->deque, IPS_RIGHT, &copy)
        ? noted(self) : change(self, act_take, &job);
    if (status == 0 && out != NULL) {
        *out = decode(self, &copy, job.item);
        status = *out == NULL ? -1 : 0;
    }
    ips_value_copy_clear(&copy);
    if (status == IPS_ROW_NESTED) {
        *out = ips_nested_locked((PyObject *)self, take_nested, &index);
        status = *out == NULL ? -1 : 0;
    }
    return status;
}

/* What the lock-free look said, or else the one under the lock. */
static int
settle(ips_sequence *self, int status, ips_act act, operation *job)
{
    if (status == IPS_ROW_BUSY) {
        return ips_container_run(&self->base, act, job, 0);
    }
    if (status < 0) {
        (void)ips_raise(self->base.state, status);
        return -1;
    }
    return status;
}

static PyObject *
get(PyObject *object, void *index)
{
    ips_sequence *self = (ips_sequence *)object;
    ips_value_copy copy;
    ips_value_copy_init(&copy);
    operation job = {.self = self, .index = *(const int64_t *)index, .copy = &copy};
    int status = self->format != NULL ? ips_flat_get(&self->flat, job.index, &job.item)
                                      : ips_deque_get(&self->deque, job.index, &copy);
    if (__builtin_expect(status != 0, 0)) {
        status = settle(self, status, act_get, &job);
    }
    const bool unsure = status == 0 && ips_nested_needs_lock(&self->base, copy.kind);
    PyObject *value = status == 0 ? decode(self, &copy, job.item) : NULL;
    ips_value_copy_clear(&copy);
    if (value == NULL && unsure &&
        PyErr_ExceptionMatches(self->base.state->errors[IPS_ORDINAL_GONE])) {
        /* The container went between the two looks. */
        PyErr_Clear();
        return ips_nested_locked(object, get, index);
    }
    return status == IPS_ROW_RANGE ? ips_sequence_raise_range(object, "index") : value;
}

PyObject *
ips_sequence_get(ips_sequence *self, int64_t index)
{
    return get((PyObject *)self, &index);
}

int
ips_sequence_is_there(ips_sequence *self, int64_t index, PyObject *value)
{
    ips_value_copy copy;
    if (self->format != NULL || !ips_nested_is_handle(self->base.state, value)) {
        return 0;
    }
    ips_value_copy_init(&copy);
    operation job = {.self = self, .index = index, .copy = &copy};
    int status = ips_container_check(&self->base);
    status = status < 0 ? status
        : settle(self, ips_deque_get(&self->deque, index, &copy), act_get, &job);
    const bool same = status == 0 &&
        ips_nested_is_same(&self->base, value, copy.kind, copy.bytes, copy.size);
    ips_value_copy_clear(&copy);
    return status < 0 ? -1 : same;
}

Py_ssize_t
ips_sequence_length(PyObject *object)
{
    ips_sequence *self = (ips_sequence *)object;
    operation job = {.self = self};
    if (ips_container_check(&self->base) < 0) {
        return -1;
    }
    int status = self->format != NULL ? ips_flat_length(&self->flat, &job.count)
                                      : ips_deque_length(&self->deque, &job.count);
    return settle(self, status, act_length, &job) < 0 ? -1 : (Py_ssize_t)job.count;
}

static PyObject *
unpack_all(ips_sequence *self, const ips_snapshot *snapshot, bool plain)
{
    PyObject *list = PyList_New((Py_ssize_t)snapshot->records);
    size_t at = 0;
    for (Py_ssize_t i = 0; list != NULL && (uint64_t)i < snapshot->records; i++) {
        ips_value value = {0};
        uint64_t item = 0;
        PyObject *object;
        if (self->format != NULL) {
            memcpy(&item, snapshot->bytes + (size_t)i * self->format->size, self->format->size);
            object = ips_item_unpack(self->format, item);
        } else {
            (void)ips_snapshot_next(snapshot, &at, &value);
            object = plain ? ips_nested_plain(&self->base, value.kind, value.bytes, value.size)
                           : ips_nested_decode(&self->base, value.kind, value.bytes, value.size);
        }
        if (object == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, i, object);
        }
    }
    return list;
}

int
ips_sequence_snapshot(ips_sequence *self, ips_span span, ips_snapshot *out)
{
    operation job = {.self = self, .span = span, .out = out};
    if (ips_container_check(&self->base) < 0) {
        return -1;
    }
    int status = self->format != NULL ? ips_flat_snapshot(&self->flat, span, out)
                                      : ips_deque_snapshot(&self->deque, span, out);
    return settle(self, status, act_list, &job);
}

typedef struct {
    ips_span span;
    uint64_t version;
    bool plain;
} listing;

static PyObject *
list(PyObject *object, void *context)
{
    ips_sequence *self = (ips_sequence *)object;
    listing *job = context;
    ips_snapshot snapshot = {0};
    int status = ips_sequence_snapshot(self, job->span, &snapshot);
    job->version = snapshot.version;
    PyObject *values = status < 0 ? NULL
        : self->format == NULL && ips_nested_any_needs_lock(&self->base, &snapshot)
            ? ips_nested_locked(object, list, context)
            : unpack_all(self, &snapshot, job->plain);
    ips_snapshot_clear(&snapshot);
    return values;
}

PyObject *
ips_sequence_list(ips_sequence *self, ips_span span)
{
    return list((PyObject *)self, &(listing){.span = span});
}

PyObject *
ips_sequence_plain(ips_sequence *self, uint64_t *version)
{
    listing job = {.span = IPS_SPAN_ALL, .plain = true};
    PyObject *values = list((PyObject *)self, &job);
    if (version != NULL) {
        *version = job.version;
    }
    return values;
}

PyObject *
ips_sequence_repr(PyObject *object, ips_nested_act text)
{
    ips_sequence *self = (ips_sequence *)object;
    if (self->base.home.segment == NULL) {
        return PyUnicode_FromFormat("<closed %s>", ips_short_name(object));
    }
    return ips_nested_holds(&self->base) ? ips_nested_locked(object, text, NULL)
                                         : text(object, NULL);
}
