/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.Transaction: what Segment.transaction() returns.
 *
 * A transaction belongs to a member, a thread and an asyncio task.  The core
 * knows member and thread; for the task, the transaction is marked with a
 * number: the address of the task inside (which the object keeps alive), or one
 * of IPS_MARK_* where there is no task.  Where asyncio was not even loaded when
 * it began, nothing is asked: a loop that the block starts is inside it.  Operations of containers carry no mark while they
 * run, as nothing of Python's runs inside them. */
#include "bind/container.h"
#include "bind/nested.h"
#include "bind/shared.h"

#include <stdio.h>
#include <string.h>

#include "member/waits.h"
#include "os/clock.h"
#include "segment/facts.h"

#include <structmember.h> /* after Python.h, which it leaves out */

enum { NEW, OPEN, CLOSED };

typedef struct {
    PyObject_HEAD
    PyObject *weakrefs;
    PyObject *owner;      /* the Segment, or a container */
    PyObject *timeout;
    PyObject *task;       /* asyncio's, while open; or NULL */
    ips_segment *segment; /* held while open */
    uint32_t depth;       /* while open */
    int phase;
} transaction;

/* --- tasks --------------------------------------------------------------- */

/* asyncio's function that gives the running loop, borrowed; NULL without an
 * exception where asyncio is not loaded: then there are no tasks. */
static PyObject *
running_loop_of(ips_state *state)
{
    if (state->running_loop != NULL) {
        return state->running_loop;
    }
    if (state->asyncio_name == NULL) {
        state->asyncio_name = PyUnicode_InternFromString("asyncio.events"); /* its hash is known */
    }
    PyObject *name = state->asyncio_name;
    PyObject *events = name == NULL ? NULL : PyImport_GetModule(name);
    if (events != NULL) {
        PyObject *function = PyObject_GetAttrString(events, "_get_running_loop");
        if (function == NULL) {
            PyErr_Clear(); /* being loaded: nothing runs in a loop yet */
        }
        Py_XSETREF(state->running_loop, function);
        Py_DECREF(events);
    }
    return state->running_loop;
}

/* The running asyncio task, a new reference, or NULL: none (no exception) or
 * an exception. */
static PyObject *
current_task(ips_state *state)
{
    PyObject *function = running_loop_of(state);
    PyObject *loop = function == NULL ? NULL : PyObject_CallNoArgs(function);
    PyObject *asyncio = loop == NULL || loop == Py_None ? NULL : PyImport_ImportModule("asyncio");
    PyObject *task = asyncio == NULL ? NULL
                                     : PyObject_CallMethod(asyncio, "current_task", "O", loop);
    Py_XDECREF(loop);
    Py_XDECREF(asyncio);
    if (task == Py_None) { /* a callback of the loop */
        Py_CLEAR(task);
    }
    return task;
}

static uint64_t
mark_of(const ips_state *state, PyObject *task)
{
    return task != NULL ? (uint64_t)(uintptr_t)task
         : state->running_loop != NULL ? IPS_MARK_NO_TASK : IPS_MARK_NO_ASYNCIO;
}

int
ips_transaction_admit_slow(ips_state *state, uint64_t mark)
{
    PyObject *task = current_task(state);
    if (PyErr_Occurred() != NULL) {
        return -1;
    }
    bool same = mark == mark_of(state, task);
    Py_XDECREF(task);
    if (!same) {
        (void)ips_raise_text(state, IPS_ETX, "another asyncio task of this thread has a "
                             "transaction open on the segment; leave it before awaiting");
        return -1;
    }
    return 0;
}

/* --- waiting ------------------------------------------------------------- */

PyObject *
ips_transaction_timed_out(ips_state *state, ips_segment *segment)
{
    const ips_object *object = ips_segment_object(segment);
    const char *name = object->named ? object->name : "(unnamed)";
    ips_member_facts facts;
    ips_tx_facts open;
    ips_tx_facts_of(segment, &open);
    if (open.holder != IPS_NOBODY && ips_member_facts_of(object->space, open.holder, &facts) == 0) {
        char lasted[48] = "";
        if (open.since != 0) {
            (void)snprintf(lasted, sizeof lasted, " for %.3f s", (double)(ips_now() - open.since) / 1e9);
        }
        return ips_raise_text(state, IPS_ETIMEOUT, "segment '%s': a transaction of process %d (%s) "
                              "is open%s", name, (int)facts.process.pid, facts.name, lasted);
    }
    return ips_raise_text(state, IPS_ETIMEOUT, "segment '%s': waiting for a transaction", name);
}

int
ips_segment_wait(ips_segment *segment, ips_wait_step step, void *context, int64_t deadline)
{
    ips_tx_facts open;
    ips_tx_facts_of(segment, &open);
    ips_waiting waiting = {.space = ips_segment_object(segment)->space, .file = open.file,
                           .place = IPS_TX_PLACE, .deadline = deadline};
    ips_waiting_begin(&waiting);
    int status = ips_wait_without_gil(step, context, deadline);
    ips_waiting_end(&waiting);
    return status;
}

static int
begin_step(void *context, int64_t deadline)
{
    return ips_tx_begin((ips_segment *)context, deadline);
}

/* 0, or -1 with an exception set. */
static int
begin(ips_state *state, ips_segment *segment, int64_t deadline)
{
    int status = ips_tx_begin(segment, IPS_AT_ONCE);
    if ((status == IPS_ETIMEOUT || status == IPS_EINTR) && deadline != IPS_AT_ONCE) {
        ips_segment_hold(segment); /* another thread may close its Segment */
        status = ips_segment_wait(segment, begin_step, segment, deadline);
        if (status == IPS_ETIMEOUT) {
            (void)ips_transaction_timed_out(state, segment);
        }
        ips_segment_close(segment);
    } else if (status == IPS_ETIMEOUT || status == IPS_EINTR) {
        status = IPS_ETIMEOUT;
        (void)ips_transaction_timed_out(state, segment);
    }
    if (status < 0 && PyErr_Occurred() == NULL) {
        (void)ips_raise(state, status);
    }
    return status < 0 ? -1 : 0;
}

/* The same operation for a thread that has to wait: begin, act and end without
 * the GIL, so that nobody holds the lock while waiting for it. */
typedef struct {
    ips_segment *segment;
    ips_segment_act act;
    void *context;
} running;

static int
run_step(void *context, int64_t deadline)
{
    const running *job = (const running *)context;
    int status = ips_tx_begin(job->segment, deadline);
    if (status < 0) {
        return status;
    }
    status = job->act(job->segment, job->context);
    if (status < 0) {
        ips_tx_abort(job->segment);
        return status;
    }
    int committed = ips_tx_commit(job->segment);
    return committed < 0 ? committed : status;
}

int
ips_segment_run(ips_state *state, ips_segment *segment, ips_segment_act act, void *context,
                int64_t deadline)
{
    if (ips_transaction_admit(state, segment) < 0) {
        return IPS_ETX;
    }
    running job = {segment, act, context};
    int status = run_step(&job, IPS_AT_ONCE);
    if (status == IPS_ETIMEOUT || status == IPS_EINTR) {
        ips_segment_hold(segment);
        status = ips_segment_wait(segment, run_step, &job, deadline);
        if (status == IPS_ETIMEOUT) {
            (void)ips_transaction_timed_out(state, segment);
        } else if (status >= 0) {
            ips_nested_settle(segment);
        }
        ips_segment_close(segment);
    } else if (status >= 0) {
        ips_nested_settle(segment);
    }
    if (status < 0 && PyErr_Occurred() == NULL) {
        (void)ips_raise(state, status);
    }
    return status;
}

/* --- the context manager ------------------------------------------------- */

/* The open segment that `owner` is or stands in; NULL with an exception set. */
static ips_segment *
segment_of(ips_state *state, PyObject *owner)
{
    PyTypeObject *const containers[] = {state->map_type, state->vector_type, state->deque_type,
                                        state->record_type, state->cell_type, state->string_type,
                                        state->bytes_type};
    for (size_t i = 0; i < sizeof containers / sizeof containers[0]; i++) {
        if (PyObject_TypeCheck(owner, containers[i])) {
            ips_container *container = (ips_container *)owner;
            return ips_container_check(container) < 0 ? NULL : container->home.segment;
        }
    }
    return ips_segment_of(state, owner);
}

PyObject *
ips_transaction_new(ips_state *state, PyObject *owner, PyObject *timeout)
{
    int64_t deadline;
    if (segment_of(state, owner) == NULL || ips_deadline_of(timeout, &deadline) < 0) {
        return NULL;
    }
    transaction *self = (transaction *)state->transaction_type->tp_alloc(state->transaction_type, 0);
    if (self != NULL) {
        self->owner = Py_NewRef(owner);
        self->timeout = Py_NewRef(timeout);
        self->phase = NEW;
    }
    return (PyObject *)self;
}

static PyObject *
transaction_make(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"segment", "timeout", NULL};
    PyObject *segment, *timeout = Py_None;
    ips_state *state = ips_state_of_type(type);
    if (state == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:Transaction", names,
                                                      &segment, &timeout)) {
        return NULL;
    }
    return ips_transaction_new(state, segment, timeout);
}

PyObject *
ips_transaction_of(PyObject *owner, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"timeout", NULL};
    PyObject *timeout = Py_None;
    ips_state *state = ips_state_of_type(Py_TYPE(owner));
    const bool plain = PyTuple_GET_SIZE(args) == 0 && kwargs == NULL;
    if (state == NULL ||
        (!plain && !PyArg_ParseTupleAndKeywords(args, kwargs, "|O:transaction", names, &timeout))) {
        return NULL;
    }
    return ips_transaction_new(state, owner, timeout);
}

static PyObject *
transaction_enter(PyObject *object, PyObject *unused)
{
    (void)unused;
    transaction *self = (transaction *)object;
    int64_t deadline;
    ips_state *state = ips_state_of_type(Py_TYPE(object));
    if (state == NULL) {
        return NULL;
    }
    if (self->phase != NEW) {
        return ips_raise_text(state, IPS_ETX, "a transaction is entered once; "
                              "call transaction() again for another");
    }
    ips_segment *segment = segment_of(state, self->owner);
    if (segment == NULL || ips_transaction_admit(state, segment) < 0
        || ips_deadline_of(self->timeout, &deadline) < 0) {
        return NULL;
    }
    PyObject *task = current_task(state); /* before the lock is taken */
    if (PyErr_Occurred() != NULL) {
        return NULL;
    }
    ips_segment_hold(segment);
    if (begin(state, segment, deadline) < 0) {
        ips_segment_close(segment);
        Py_XDECREF(task);
        return NULL;
    }
    ips_tx_set_mark(segment, mark_of(state, task));
    ips_tx_announce(segment);
    self->segment = segment;
    self->depth = ips_tx_depth(segment);
    self->task = task;
    self->phase = OPEN;
    return Py_NewRef(object);
}

/* May the caller end it?  0, or -1 with TransactionError set. */
static int
check_end(ips_state *state, const transaction *self)
{
    if (self->phase != OPEN) {
        (void)ips_raise_text(state, IPS_ETX, "the transaction is not open");
        return -1;
    }
    uint32_t depth = ips_tx_depth(self->segment);
    if (depth == 0) {
        (void)ips_raise_text(state, IPS_ETX, "the transaction belongs to another thread, or to "
                             "the process that this one was forked from");
        return -1;
    }
    if (ips_transaction_admit(state, self->segment) < 0) {
        return -1;
    }
    if (depth != self->depth) {
        (void)ips_raise_text(state, IPS_ETX, "transactions end in the reverse order of their "
                             "beginning: another is open inside this one");
        return -1;
    }
    return 0;
}

static void
end(transaction *self)
{
    ips_segment *segment = self->segment;
    self->segment = NULL;
    self->phase = CLOSED;
    Py_CLEAR(self->task);
    if (!ips_segment_release(segment)) {
        Py_BEGIN_ALLOW_THREADS /* the last handle unmaps */
        ips_segment_close(segment);
        Py_END_ALLOW_THREADS
    }
}

static PyObject *
transaction_exit(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    transaction *self = (transaction *)object;
    ips_state *state = ips_state_of_type(Py_TYPE(object));
    if (state == NULL || check_end(state, self) < 0) {
        return NULL;
    }
    int status = IPS_OK;
    if (count > 0 && args[0] != Py_None) {
        ips_tx_abort(self->segment);
    } else {
        status = ips_tx_commit(self->segment);
    }
    if (status >= 0) {
        ips_nested_settle(self->segment);
    }
    end(self);
    if (status < 0) {
        return ips_raise(state, status);
    }
    Py_RETURN_FALSE;
}

static PyObject *
transaction_is_open(PyObject *object, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((transaction *)object)->phase == OPEN);
}

static int
transaction_traverse(PyObject *object, visitproc visit, void *arg)
{
    transaction *self = (transaction *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->owner);
    Py_VISIT(self->timeout);
    Py_VISIT(self->task);
    return 0;
}

/* Not the task: while the transaction is open, its address must stay taken. */
static int
transaction_clear(PyObject *object)
{
    transaction *self = (transaction *)object;
    Py_CLEAR(self->owner);
    Py_CLEAR(self->timeout);
    return 0;
}

/* Forgotten while open: undone, if this is still the thread that can. */
static void
transaction_dealloc(PyObject *object)
{
    transaction *self = (transaction *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    if (self->phase == OPEN) {
        if (ips_tx_depth(self->segment) == self->depth) {
            ips_tx_abort(self->segment);
        }
        end(self);
    }
    (void)transaction_clear(object);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef transaction_methods[] = {
    {"__enter__", transaction_enter, METH_NOARGS, "__enter__($self, /)\n--\n\n"
     "Begin; waits while another thread or process has a transaction open."},
    {"__exit__", (PyCFunction)(void (*)(void))transaction_exit, METH_FASTCALL,
     "__exit__($self, /, *exc_info)\n--\n\nCommit, or undo everything after an exception."},
    {NULL},
};

static PyGetSetDef transaction_getsets[] = {
    {"open", transaction_is_open, NULL, "True between entering and leaving.", NULL},
    {NULL},
};

static PyMemberDef transaction_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(transaction, weakrefs), READONLY, NULL},
    {NULL},
};

PyDoc_STRVAR(transaction_doc,
"Transaction(segment, timeout=None)\n--\n\n"
"All or nothing for a group of changes to one segment; transaction() of a Segment,\n"
"or of an object in one, makes it.\n\n"
"Leaving the block commits; an exception, or the death of the process, undoes\n"
"everything since it was entered.  Inside another transaction of the same\n"
"thread it is a savepoint.");

static PyType_Slot transaction_slots[] = {
    {Py_tp_doc, (void *)transaction_doc},
    {Py_tp_new, (void *)transaction_make},
    {Py_tp_methods, transaction_methods},
    {Py_tp_getset, transaction_getsets},
    {Py_tp_members, transaction_members},
    {Py_tp_traverse, (void *)transaction_traverse},
    {Py_tp_clear, (void *)transaction_clear},
    {Py_tp_dealloc, (void *)transaction_dealloc},
    {0, NULL},
};

static PyType_Spec transaction_spec = {
    .name = "ipcsys.Transaction",
    .basicsize = sizeof(transaction),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = transaction_slots,
};

int
ips_add_transaction(PyObject *module, ips_state *state)
{
    state->transaction_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &transaction_spec,
                                                                      NULL);
    return state->transaction_type == NULL ? -1 : PyModule_AddType(module, state->transaction_type);
}
