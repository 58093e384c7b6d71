/* SPDX-License-Identifier: Apache-2.0 */
/* What ipcsys.node needs of a Queue and nobody else does:
 *
 *   Desk(queue).get()                   many threads of one process, one inbox
 *   get_answer(queue, owner, timeout)   get, but not longer than `owner` lives
 *   seems_alive(queue, owner)           at the price of a load
 *
 * The first two wait here and then get as Queue.get_nowait does. */
#include "bind/queue.h"

#include "os/clock.h"
#include "service/answer.h"
#include "service/desk.h"

#include <structmember.h> /* after Python.h, which it leaves out */

/* The message, or NULL: with Empty cleared away where another thread was
 * faster (*again), else with an exception set. */
static PyObject *
get_at_once(ips_queue_object *queue, bool *again)
{
    PyObject *message = ips_queue_get_nowait_method((PyObject *)queue, NULL);
    *again = message == NULL && PyErr_ExceptionMatches(queue->state->errors[IPS_ORDINAL_EMPTY]);
    if (*again) {
        PyErr_Clear();
    }
    return message;
}

/* --- Desk ------------------------------------------------------------------ */

typedef struct {
    PyObject_HEAD
    ips_queue_object *queue;
    ips_desk desk;
} desk_object;

static bool
inbox_has_message(void *context)
{
    ips_look look;
    return ips_queue_look((ips_queue *)context, &look) != IPS_EEMPTY;
}

static PyObject *
desk_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *queue;
    ips_state *state = ips_state_of_type(type);
    static char *names[] = {"queue", NULL};
    if (state == NULL
        || !PyArg_ParseTupleAndKeywords(args, kwargs, "O!:Desk", names, state->queue_type, &queue)) {
        return NULL;
    }
    ips_queue *inbox = ips_queue_enter((ips_queue_object *)queue);
    if (inbox == NULL) {
        return NULL;
    }
    desk_object *self = (desk_object *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->queue = (ips_queue_object *)Py_NewRef(queue);
        ips_desk_init(&self->desk, inbox->ring.space, &inbox->ring.shm->waits.not_empty,
                      inbox_has_message, inbox);
    }
    ips_queue_leave((ips_queue_object *)queue);
    return (PyObject *)self;
}

static int
desk_step(void *context, int64_t deadline)
{
    return ips_desk_park((ips_desk *)context, deadline);
}

/* Spinning needs no look at signals: it is over before one could tell. */
static bool
spin_at(ips_desk *desk)
{
    bool ready;
    Py_BEGIN_ALLOW_THREADS
    ready = ips_desk_spin(desk, IPS_FOREVER);
    Py_END_ALLOW_THREADS
    return ready;
}

/* The queue stays while this call is counted in it; shut down counts as ready,
 * so that getting says so. */
static PyObject *
desk_get_entered(desk_object *self)
{
    PyObject *message = NULL;
    bool again = true;
    while (again) {
        int status = IPS_OK;
        if (!self->desk.ready(self->desk.context) && !spin_at(&self->desk)) {
            status = ips_queue_run(self->queue, desk_step, &self->desk, IPS_FOREVER);
        }
        if (status < 0) {
            return ips_queue_raise(self->queue, status);
        }
        message = get_at_once(self->queue, &again);
    }
    ips_desk_took(&self->desk);
    return message;
}

static PyObject *
desk_get(PyObject *object, PyObject *unused)
{
    (void)unused;
    desk_object *self = (desk_object *)object;
    if (ips_queue_enter(self->queue) == NULL) {
        return NULL;
    }
    PyObject *message = desk_get_entered(self);
    ips_queue_leave(self->queue);
    return message;
}

static int
desk_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((desk_object *)self)->queue);
    return 0;
}

static void
desk_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_CLEAR(((desk_object *)self)->queue);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef desk_methods[] = {
    {"get", desk_get, METH_NOARGS, "get($self, /)\n--\n\nThe next message; waits for it."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot desk_slots[] = {
    {Py_tp_doc, (void *)"Desk(queue)\n--\n\n"
     "Several threads of this process at one queue that no other process gets from."},
    {Py_tp_new, (void *)desk_new},
    {Py_tp_dealloc, (void *)desk_dealloc},
    {Py_tp_traverse, (void *)desk_traverse},
    {Py_tp_methods, desk_methods},
    {0, NULL},
};

static PyType_Spec desk_spec = {
    .name = "ipcsys._core.Desk",
    .basicsize = sizeof(desk_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = desk_slots,
};

/* --- get_answer ------------------------------------------------------------ */

typedef struct {
    ips_queue *queue;
    ips_owner server;
} answer_wait;

static int
answer_step(void *context, int64_t deadline)
{
    const answer_wait *wait = (const answer_wait *)context;
    return ips_answer_park(wait->queue, wait->server, deadline);
}

static PyObject *
get_answer_entered(ips_queue_object *queue, ips_owner server, int64_t deadline)
{
    answer_wait wait = {&queue->body, server};
    PyObject *message = NULL;
    bool again = true;
    while (again) {
        bool ready;
        Py_BEGIN_ALLOW_THREADS
        ready = ips_answer_spin(&queue->body, deadline);
        Py_END_ALLOW_THREADS
        int status = ready ? IPS_OK : ips_queue_run(queue, answer_step, &wait, deadline);
        if (status < 0) {
            return ips_queue_raise(queue, status);
        }
        message = get_at_once(queue, &again);
    }
    return message;
}

PyDoc_STRVAR(get_answer_doc, "get_answer(queue, owner, timeout, /)\n--\n\n"
"Get from the queue; Empty after `timeout` seconds, PeerDied once the member\n"
"`owner` is dead and nothing of it is left to get.");

static PyObject *
core_get_answer(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    ips_state *state = ips_state_of_module(module);
    int64_t deadline;
    if (count != 3 || !PyObject_TypeCheck(args[0], state->queue_type)) {
        return PyErr_Format(PyExc_TypeError, "get_answer() takes a Queue, an owner and a timeout");
    }
    unsigned long long server = PyLong_AsUnsignedLongLong(args[1]);
    if ((server == (unsigned long long)-1 && PyErr_Occurred() != NULL)
        || ips_deadline_of(args[2], &deadline) < 0) {
        return NULL;
    }
    ips_queue_object *queue = (ips_queue_object *)args[0];
    if (ips_queue_enter(queue) == NULL) {
        return NULL;
    }
    PyObject *message = get_answer_entered(queue, (ips_owner)server, deadline);
    ips_queue_leave(queue);
    return message;
}

PyDoc_STRVAR(seems_alive_doc, "seems_alive(queue, owner, /)\n--\n\n"
"False where the member `owner` of the queue's namespace is known to be dead,\n"
"or proves to be after its bell rang; else asks no further.");

static PyObject *
core_seems_alive(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    ips_state *state = ips_state_of_module(module);
    if (count != 2 || !PyObject_TypeCheck(args[0], state->queue_type)) {
        return PyErr_Format(PyExc_TypeError, "seems_alive() takes a Queue and an owner");
    }
    unsigned long long owner = PyLong_AsUnsignedLongLong(args[1]);
    if (owner == (unsigned long long)-1 && PyErr_Occurred() != NULL) {
        return NULL;
    }
    ips_queue_object *queue = (ips_queue_object *)args[0];
    if (ips_queue_enter(queue) == NULL) {
        return NULL;
    }
    bool alive = ips_member_lives(queue->body.ring.space, (ips_owner)owner, false);
    ips_queue_leave(queue);
    return PyBool_FromLong(alive);
}

static PyMethodDef functions[] = {
    {"get_answer", (PyCFunction)(void (*)(void))core_get_answer, METH_FASTCALL, get_answer_doc},
    {"seems_alive", (PyCFunction)(void (*)(void))core_seems_alive, METH_FASTCALL, seems_alive_doc},
    {NULL, NULL, 0, NULL},
};

int
ips_add_desk(PyObject *module, ips_state *state)
{
    state->desk_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &desk_spec, NULL);
    if (state->desk_type == NULL || PyModule_AddType(module, state->desk_type) < 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, functions);
}
