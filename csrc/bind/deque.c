/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.SharedDeque, one value at a time.  Values are encoded before the
 * lock is taken and decoded after it was given up; looking takes no lock. */
#include "bind/deque.h"

#include <limits.h>

#include "base/atomics.h"
#include "bind/nested.h"
#include "bind/value.h"
#include "os/clock.h"
#include "segment/stable.h"

/* One operation, for ips_container_run: no Python inside. */
typedef struct {
    const ips_deque *deque;
    int end;
    const ips_value *value;
    ips_value_copy *copy;
} operation;

static int
act_append(void *context)
{
    const operation *job = context;
    return ips_deque_append(job->deque, job->end, job->value);
}

static int
act_push(void *context)
{
    const operation *job = context;
    return ips_deque_push(job->deque, job->end, job->value);
}

static int
act_pop(void *context)
{
    const operation *job = context;
    return ips_deque_pop(job->deque, job->end, job->copy);
}

/* --- waiting for values or for space */

typedef struct {
    ips_segment *segment;
    ips_act act;
    operation *job;
    int unready;               /* outcome of `act` that means: wait */
    ips_eventcount_shm *event; /* what it waits for */
} waiting;

/* Something to be had, as far as one sees without the lock. */
static bool
looks_ready(void *context)
{
    const waiting *wait = context;
    const ips_deque *deque = wait->job->deque;
    /* relaxed: a hint. */
    uint64_t length = atomic_load_explicit(&deque->shm->end, memory_order_relaxed) -
                      atomic_load_explicit(&deque->shm->head, memory_order_relaxed);
    return wait->unready == IPS_ROW_EMPTY ? length != 0 : length < deque->maxlen;
}

static int
wait_step(void *context, int64_t deadline)
{
    waiting *wait = context;
    ips_space *space = ips_segment_object(wait->segment)->space;
    (void)ips_spin_until(looks_ready, wait, deadline);
    for (;;) {
        uint32_t key = ips_eventcount_prepare(wait->event);
        int status = ips_container_attempt_at(wait->segment, wait->job->deque->offset, wait->act,
            wait->job, deadline);
        if (status != wait->unready) {
            return status;
        }
        status = ips_eventcount_wait(wait->event, key, space, IPS_NOBODY, deadline);
        if (status < 0) {
            /* The wake-up may have been for us: pass it on. */
            atomic_thread_fence(memory_order_seq_cst); /* pairs with prepare() */
            ips_eventcount_notify(wait->event, 1);
            return status;
        }
    }
}

/* Run `act`, and again as long as it says `unready`, until the deadline:
 * 0, `unready`, or -1 with an exception set. */
static int
run_or_wait(ips_deque_object *self, ips_act act, operation *job, int unready, int64_t deadline)
{
    size_t weight = job->value != NULL ? job->value->size : 0;
    int status = ips_container_run(&self->base, act, job, weight);
    if (status != unready || deadline == IPS_AT_ONCE) {
        return status;
    }
    ips_segment *segment = self->base.home.segment;
    if (ips_tx_is_mine(segment)) {
        (void)ips_raise_text(self->base.state, IPS_ETX,
            "waiting on a SharedDeque: nobody else can change it before the transaction ends");
        return -1;
    }
    ips_deque_events_shm *events = self->deque.events;
    waiting wait = {segment, act, job, unready,
        unready == IPS_ROW_EMPTY ? &events->items : &events->space};
    ips_futex_look fate = ips_stable_fate(events);
    ips_segment_hold(segment); /* another thread may close the object */
    (void)ips_gate_enter(&self->base.gate);
    status = ips_gate_wait(&self->base.gate, &fate, wait_step, &wait, deadline);
    (void)ips_gate_leave(&self->base.gate);
    ips_segment_close(segment);
    if (status == IPS_ETIMEOUT) {
        return unready;
    }
    if (status < 0) {
        if (PyErr_Occurred() == NULL) {
            (void)ips_raise(self->base.state, status);
        }
        return -1;
    }
    return status;
}

/* --- adding */

/* `act` with the value, then the news; the outcome, or -1. */
static int
add(ips_deque_object *self, ips_act act, int end, PyObject *value, int64_t deadline)
{
    ips_encoded encoded;
    if (ips_container_check(&self->base) < 0 || ips_nested_refuse(self->base.state, value) < 0 ||
        ips_value_encode(self->base.state, value, 0, &encoded) < 0) {
        return -1;
    }
    ips_value plain = {encoded.bytes, encoded.size, encoded.kind};
    operation job = {.deque = &self->deque, .end = end, .value = &plain};
    /* Encoding may have run Python code that closed the deque. */
    int status = ips_container_check(&self->base) < 0 ? -1
        : ips_deque_add_single(&self->deque, end, &plain) ? 0
        : run_or_wait(self, act, &job, IPS_ROW_FULL, deadline);
    ips_encoded_clear(&encoded);
    if (status == 0 && self->base.home.segment != NULL) {
        ips_sequence_notify(self, &self->deque.events->items, 1);
    }
    return status;
}

static PyObject *
deque_append(PyObject *object, PyObject *value)
{
    int status = add((ips_deque_object *)object, act_append, IPS_RIGHT, value, IPS_AT_ONCE);
    return status < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
deque_appendleft(PyObject *object, PyObject *value)
{
    int status = add((ips_deque_object *)object, act_append, IPS_LEFT, value, IPS_AT_ONCE);
    return status < 0 ? NULL : Py_NewRef(Py_None);
}

/* The only keyword: timeout.  Leaves *deadline alone where it is not given. */
static int
timeout_of(const char *method, PyObject *const *args, Py_ssize_t count, Py_ssize_t before,
    PyObject *keywords, int64_t *deadline)
{
    Py_ssize_t named = keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords);
    if (count + named > before + 1 || count < before) {
        PyErr_Format(PyExc_TypeError, "%s() takes %sa timeout", method,
            before != 0 ? "a value and " : "");
        return -1;
    }
    if (named == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(keywords, 0), "timeout")) {
        PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", method,
            PyTuple_GET_ITEM(keywords, 0));
        return -1;
    }
    return count + named == before ? 0 : ips_deadline_of(args[before], deadline);
}

PyDoc_STRVAR(push_doc, "push($self, value, /, timeout=0)\n--\n\n"
    "Append at the right, unless the deque is full: then wait for space, and give\n"
    "False where none came in time.  None waits for ever.");

static PyObject *
deque_push(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    int64_t deadline = IPS_AT_ONCE;
    if (timeout_of("push", args, count, 1, keywords, &deadline) < 0) {
        return NULL;
    }
    int status = add((ips_deque_object *)object, act_push, IPS_RIGHT, args[0], deadline);
    return status < 0 ? NULL : PyBool_FromLong(status == 0);
}

/* --- taking */

static PyObject *take(ips_deque_object *self, int end, const char *method, PyObject *const *args,
    Py_ssize_t count, PyObject *keywords);

/* A container is there, of which a copy is wanted: in a transaction.  Where
 * another has taken it meanwhile, all begins again. */
static PyObject *
take_nested(ips_deque_object *self, int end, const char *method, PyObject *const *args,
    Py_ssize_t count, PyObject *keywords)
{
    PyObject *value = NULL;
    int status = ips_sequence_take(self, end == IPS_LEFT ? 0 : -1, IPS_ROW_ANY, &value);
    if (status < 0 && PyErr_ExceptionMatches(PyExc_IndexError)) {
        PyErr_Clear();
        status = IPS_ROW_RANGE;
    }
    return status == IPS_ROW_RANGE ? take(self, end, method, args, count, keywords) : value;
}

static PyObject *
take(ips_deque_object *self, int end, const char *method, PyObject *const *args,
    Py_ssize_t count, PyObject *keywords)
{
    int64_t deadline = IPS_AT_ONCE;
    const bool plain = count == 0 && keywords == NULL;
    if (ips_container_check(&self->base) < 0 ||
        (!plain && timeout_of(method, args, count, 0, keywords, &deadline) < 0)) {
        return NULL;
    }
    ips_value_copy copy;
    ips_value_copy_init(&copy);
    operation job = {.deque = &self->deque, .end = end, .copy = &copy};
    int status = ips_deque_take_single(&self->deque, end, &copy)
        ? 0 : run_or_wait(self, act_pop, &job, IPS_ROW_EMPTY, deadline);
    if (status == 0) {
        if (self->base.home.segment != NULL) {
            ips_sequence_notify(self, &self->deque.events->space, 1);
        }
        PyObject *value = ips_value_decode(self->base.state, copy.kind, copy.bytes, copy.size);
        ips_value_copy_clear(&copy);
        return value;
    }
    ips_value_copy_clear(&copy);
    if (status == IPS_ROW_NESTED) {
        return take_nested(self, end, method, args, count, keywords);
    }
    if (status == IPS_ROW_EMPTY && (count != 0 || keywords != NULL)) {
        return ips_raise_text(self->base.state, IPS_EEMPTY, "no value came in time");
    }
    if (status == IPS_ROW_EMPTY) {
        PyErr_SetString(PyExc_IndexError, "pop from an empty SharedDeque");
    }
    return NULL;
}

PyDoc_STRVAR(pop_doc, "pop($self, /, timeout=<unrepresentable>)\n--\n\n"
    "Remove the rightmost value and give it; IndexError where there is none.\n\n"
    "With a timeout, wait for one, and raise Empty where none came in time; None\n"
    "waits for ever.");

static PyObject *
deque_pop(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    return take((ips_deque_object *)self, IPS_RIGHT, "pop", args, count, keywords);
}

PyDoc_STRVAR(popleft_doc, "popleft($self, /, timeout=<unrepresentable>)\n--\n\n"
    "Remove the leftmost value and give it; IndexError where there is none.\n\n"
    "With a timeout, wait for one, and raise Empty where none came in time; None\n"
    "waits for ever.");

static PyObject *
deque_popleft(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    return take((ips_deque_object *)self, IPS_LEFT, "popleft", args, count, keywords);
}

/* --- by index */

static int
index_of(PyObject *key, int64_t *out)
{
    if (PyIndex_Check(key)) {
        return ips_sequence_index_of(key, out);
    }
    PyErr_Format(PyExc_TypeError, "indices are integers, not %.100s", Py_TYPE(key)->tp_name);
    return -1;
}

static PyObject *
deque_subscript(PyObject *object, PyObject *key)
{
    ips_deque_object *self = (ips_deque_object *)object;
    int64_t index;
    return ips_container_check(&self->base) < 0 || index_of(key, &index) < 0
        ? NULL : ips_sequence_get(self, index);
}

static int
deque_assign(PyObject *object, PyObject *key, PyObject *value)
{
    ips_deque_object *self = (ips_deque_object *)object;
    int64_t index;
    int status = ips_container_check(&self->base) < 0 || index_of(key, &index) < 0 ? -1 : 0;
    const int there = status < 0 || value == NULL ? 0 : ips_sequence_is_there(self, index, value);
    if (there != 0) {
        return there < 0 ? -1 : 0;
    }
    if (status == 0 && value == NULL) {
        status = ips_sequence_take(self, index, IPS_ROW_ANY, NULL);
    } else if (status == 0) {
        status = ips_sequence_set(self, index, value);
    }
    if (status == IPS_ROW_RANGE) {
        (void)ips_sequence_raise_range(object, "index");
    }
    return status == 0 ? 0 : -1;
}

static PyObject *
deque_maxlen(PyObject *object, void *unused)
{
    (void)unused;
    ips_deque_object *self = (ips_deque_object *)object;
    if (ips_container_check(&self->base) < 0) {
        return NULL;
    }
    return self->deque.maxlen == IPS_UNBOUNDED ? Py_NewRef(Py_None)
                                               : PyLong_FromUnsignedLongLong(self->deque.maxlen);
}

/* --- the type */

PyDoc_STRVAR(deque_doc,
    "SharedDeque(iterable=(), maxlen=None, *, name=None, namespace=None, create=None,\n"
    "            cleanup=None, max_size=None, segment=None)\n--\n\n"
    "A collections.deque in shared memory, safe against the death of any process\n"
    "that uses it.\n\n"
    "append() at the limit drops the value at the other end, push() refuses or\n"
    "waits.  pop() and popleft() wait where they are given a timeout.  Values are\n"
    "copies: what you get is yours.\n\n"
    "SharedDeque.remove(name) removes a name, deque.remove(value) a value.");

static PyMethodDef deque_methods[] = {
    {"append", deque_append, METH_O, "append($self, value, /)\n--\n\n"
        "Add a value at the right; at the limit the leftmost goes."},
    {"appendleft", deque_appendleft, METH_O, "appendleft($self, value, /)\n--\n\n"
        "Add a value at the left; at the limit the rightmost goes."},
    {"push", (PyCFunction)(void (*)(void))deque_push, METH_FASTCALL | METH_KEYWORDS, push_doc},
    {"pop", (PyCFunction)(void (*)(void))deque_pop, METH_FASTCALL | METH_KEYWORDS, pop_doc},
    {"popleft", (PyCFunction)(void (*)(void))deque_popleft, METH_FASTCALL | METH_KEYWORDS,
        popleft_doc},
    IPS_DEQUE_WHOLE_METHODS,
    IPS_NESTED_ROW_METHODS,
    IPS_SEQUENCE_METHODS,
    IPS_CONTAINER_METHODS_BUT_REMOVE(ips_deque_object_restore),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef deque_getsets[] = {
    {"maxlen", deque_maxlen, NULL, "The limit, or None.", NULL},
    IPS_CONTAINER_GETSETS,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef deque_members[] = {
    IPS_CONTAINER_WEAKREFS,
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot deque_slots[] = {
    {Py_tp_doc, (void *)deque_doc},
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_init, (void *)ips_deque_object_init},
    {Py_tp_dealloc, (void *)ips_container_dealloc},
    {Py_tp_traverse, (void *)ips_container_traverse},
    {Py_tp_clear, (void *)ips_container_clear},
    {Py_tp_repr, (void *)ips_deque_object_repr},
    {Py_tp_hash, (void *)PyObject_HashNotImplemented},
    {Py_tp_richcompare, (void *)ips_deque_object_compare},
    {Py_tp_iter, (void *)ips_sequence_iter},
    {Py_tp_methods, deque_methods},
    {Py_tp_getset, deque_getsets},
    {Py_tp_members, deque_members},
    {Py_mp_subscript, (void *)deque_subscript},
    {Py_mp_ass_subscript, (void *)deque_assign},
    {Py_mp_length, (void *)ips_sequence_length},
    {Py_sq_length, (void *)ips_sequence_length},
    {Py_sq_contains, (void *)ips_sequence_contains},
    {Py_nb_add, (void *)ips_deque_object_add},
    {Py_sq_repeat, (void *)ips_deque_object_repeat},
    {Py_nb_inplace_add, (void *)ips_deque_object_extend_in_place},
    {Py_sq_inplace_repeat, (void *)ips_sequence_repeat_in_place},
    {0, NULL},
};

static PyType_Spec deque_spec = {
    .name = "ipcsys.SharedDeque",
    .basicsize = sizeof(ips_deque_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = deque_slots,
};

int
ips_add_deque(PyObject *module, ips_state *state)
{
    state->deque_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &deque_spec, NULL);
    if (state->deque_type == NULL || ips_sequence_add_remove(module, state->deque_type) < 0 ||
        PyModule_AddType(module, state->deque_type) < 0) {
        return -1;
    }
    return ips_container_register(state->deque_type, "MutableSequence");
}
