/* SPDX-License-Identifier: Apache-2.0 */
/* Waits of tasks that leave something in the shared object while they last: a
 * seat of a condition, a visit to a barrier, the intent to write.
 *
 * Each is a capsule, a stay, that keeps the handle's words in place and gives
 * back what it has when the wait ends, or when Python lets go of it without:
 * a task may be thrown away at any await. */
#include "bind/aio.h"

#include "bind/barrier.h"
#include "bind/condition.h"
#include "bind/rwlock.h"

/* A deadline that has passed, but not IPS_AT_ONCE, at which the core tries
 * and keeps its place. */
#define LONG_AGO INT64_C(1)
#define CAPSULE "ipcsys._core.stay"

typedef struct stay stay;
struct stay {
    ips_state *state;
    ips_cell_object *cell;   /* entered; NULL once the stay has ended */
    ips_owner owner;         /* a forked child finds its parent here */
    void (*end)(stay *self); /* gives back what is left */
    union {
        ips_seat seat;
        ips_barrier_visit visit;
        struct {
            ips_rwlock_intent intent;
            uint64_t trace;
        } write;
    } has;
};

/* --- stays ----------------------------------------------------------------- */

static void
end_stay(stay *self)
{
    ips_cell_object *cell = self->cell;
    if (cell == NULL) {
        return;
    }
    self->cell = NULL;
    if (self->owner == ips_space_self(cell->cell.space)) {
        self->cell = cell;
        self->end(self);
        self->cell = NULL;
    }
    ips_cell_leave(cell);
    Py_DECREF(cell);
}

static void
destroy_stay(PyObject *capsule)
{
    stay *self = (stay *)PyCapsule_GetPointer(capsule, CAPSULE);
    if (self != NULL) {
        end_stay(self);
        PyMem_Free(self);
    }
}

/* A stay at an object of that kind, in a capsule; NULL with an exception set. */
static PyObject *
begin_stay(PyObject *module, PyObject *object, enum ips_aio_kind kind, void (*end)(stay *self),
           stay **out)
{
    ips_state *state = ips_state_of_module(module);
    ips_aio_object found;
    if (!ips_aio_enter(state, object, &found)) {
        return NULL;
    }
    stay *self = found.kind == kind ? PyMem_Calloc(1, sizeof *self) : NULL;
    PyObject *capsule = self == NULL ? NULL : PyCapsule_New(self, CAPSULE, destroy_stay);
    if (capsule == NULL) {
        PyMem_Free(self);
        ips_aio_leave(&found);
        if (found.kind != kind) {
            PyErr_Format(PyExc_TypeError, "not of a %.100s", Py_TYPE(object)->tp_name);
        } else if (PyErr_Occurred() == NULL) {
            PyErr_NoMemory();
        }
        return NULL;
    }
    *self = (stay){state, (ips_cell_object *)Py_NewRef(object), ips_space_self(found.space), end,
                   {{0}}};
    *out = self;
    return capsule;
}

/* The stay of a call's first argument; NULL with an exception set. */
static stay *
stay_of(PyObject *const *args, Py_ssize_t count, Py_ssize_t wanted, void (*end)(stay *self))
{
    if (count != wanted) {
        PyErr_Format(PyExc_TypeError, "it takes %zd arguments (%zd given)", wanted, count);
        return NULL;
    }
    stay *self = (stay *)PyCapsule_GetPointer(args[0], CAPSULE);
    if (self != NULL && (self->cell == NULL || self->end != end)) {
        PyErr_SetString(PyExc_ValueError, "this wait has ended");
        return NULL;
    }
    return self;
}

static PyObject *
nothing_or_raise(stay *self, int status)
{
    if (status < 0) {
        return ips_raise(self->state, status);
    }
    Py_RETURN_NONE;
}

/* --- conditions ------------------------------------------------------------ */

static ips_condition
condition_of(ips_cell_object *cell)
{
    return ips_condition_of(&cell->cell.wide, cell->cell.space);
}

static void
end_waiting(stay *self)
{
    ips_condition condition = condition_of(self->cell);
    (void)ips_condition_withdraw(condition, &self->has.seat);
    ips_condition_leave(condition, &self->has.seat, false);
}

PyDoc_STRVAR(condition_enter_doc, "async_condition_enter(condition, /)\n--\n\n"
"Take a seat, before the lock is given up: (stay, index, ticket).");

static PyObject *
core_async_condition_enter(PyObject *module, PyObject *object)
{
    stay *self;
    PyObject *capsule = begin_stay(module, object, IPS_AIO_CONDITION, end_waiting, &self);
    if (capsule == NULL) {
        return NULL;
    }
    int status = ips_condition_enter(condition_of(self->cell), &self->has.seat);
    if (status < 0) {
        (void)ips_raise(self->state, status);
        Py_DECREF(capsule);
        return NULL;
    }
    return Py_BuildValue("(NIK)", capsule, (unsigned)self->has.seat.index,
                         (unsigned long long)self->has.seat.ticket);
}

PyDoc_STRVAR(condition_withdraw_doc, "async_condition_withdraw(stay, /)\n--\n\n"
"No longer to be notified: True where a notification came first.");

static PyObject *
core_async_condition_withdraw(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    stay *self = stay_of(args, count, 1, end_waiting);
    return self == NULL ? NULL
                        : PyBool_FromLong(ips_condition_withdraw(condition_of(self->cell),
                                                                 &self->has.seat));
}

PyDoc_STRVAR(condition_leave_doc, "async_condition_leave(stay, used, /)\n--\n\n"
"Give the seat up, with the lock held again.  Unless it was used, a notification\n"
"goes to another waiter.");

static PyObject *
core_async_condition_leave(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    stay *self = stay_of(args, count, 2, end_waiting);
    int used = self == NULL ? -1 : PyObject_IsTrue(args[1]);
    if (used < 0) {
        return NULL;
    }
    if (used) {
        ips_condition_leave(condition_of(self->cell), &self->has.seat, true);
    }
    end_stay(self);
    Py_RETURN_NONE;
}

static bool
enter_as(PyObject *module, PyObject *object, enum ips_aio_kind kind, ips_aio_object *out)
{
    if (!ips_aio_enter(ips_state_of_module(module), object, out)) {
        return false;
    }
    if (out->kind == kind) {
        return true;
    }
    ips_aio_leave(out);
    PyErr_Format(PyExc_TypeError, "not of a %.100s", Py_TYPE(object)->tp_name);
    return false;
}

PyDoc_STRVAR(condition_notify_doc, "async_condition_notify(condition, n, /)\n--\n\n"
"Notify the n that have waited longest, or all where n is negative, without\n"
"asking whether the lock is held.");

static PyObject *
core_async_condition_notify(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    ips_aio_object object;
    if (count != 2) {
        return PyErr_Format(PyExc_TypeError, "it takes 2 arguments (%zd given)", count);
    }
    long long n = PyLong_AsLongLong(args[1]);
    if (PyErr_Occurred() != NULL || !enter_as(module, args[0], IPS_AIO_CONDITION, &object)) {
        return NULL;
    }
    if (n < 0) {
        ips_condition_notify_all(condition_of(object.cell));
    } else {
        ips_condition_notify(condition_of(object.cell), (uint64_t)n);
    }
    ips_aio_leave(&object);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(condition_lock_doc, "async_condition_lock(condition, /)\n--\n\n"
"The lock that this handle was given, or None where the condition has its own.");

static PyObject *
core_async_condition_lock(PyObject *module, PyObject *object)
{
    ips_aio_object found;
    if (!enter_as(module, object, IPS_AIO_CONDITION, &found)) {
        return NULL;
    }
    PyObject *lock = ((ips_condition_object *)object)->lock;
    ips_aio_leave(&found);
    return Py_NewRef(lock == NULL ? Py_None : lock);
}

/* --- barriers -------------------------------------------------------------- */

static ips_barrier *
barrier_of(stay *self)
{
    return &((ips_barrier_object *)self->cell)->barrier;
}

static void
end_visit(stay *self)
{
    (void)ips_barrier_leave(barrier_of(self), &self->has.visit);
    ips_barrier_depart(barrier_of(self));
    if (self->cell->shm == NULL) { /* closed meanwhile: our seat could not go then */
        ips_barrier_stand_up(barrier_of(self));
    }
}

/* Before it has come: nothing to give back. */
static void
end_nothing(stay *self)
{
    (void)self;
}

PyDoc_STRVAR(barrier_arrive_doc, "async_barrier_arrive(barrier, acts, /)\n--\n\n"
"Come to the barrier: (stay, index, round, last), or None where that has to be\n"
"tried again.  `acts`: the last to come acts, then calls async_barrier_act.");

static PyObject *
core_async_barrier_arrive(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    stay *self;
    int acts = count == 2 ? PyObject_IsTrue(args[1]) : -1;
    if (acts < 0) {
        return PyErr_Occurred() != NULL
            ? NULL : PyErr_Format(PyExc_TypeError, "it takes 2 arguments (%zd given)", count);
    }
    PyObject *capsule = begin_stay(module, args[0], IPS_AIO_BARRIER, end_nothing, &self);
    if (capsule == NULL) {
        return NULL;
    }
    ips_barrier *barrier = barrier_of(self);
    int status = ips_barrier_sits(barrier) ? IPS_OK : ips_barrier_sit(barrier, LONG_AGO);
    if (status == IPS_OK) {
        status = ips_barrier_arrive(barrier, acts != 0, &self->has.visit);
    }
    if (status == IPS_OK) {
        self->end = end_visit;
        return Py_BuildValue("(NIIO)", capsule, (unsigned)self->has.visit.index,
                             (unsigned)self->has.visit.round,
                             self->has.visit.last ? Py_True : Py_False);
    }
    PyObject *result = status == IPS_ETIMEOUT || status == IPS_EINTR || status == IPS_EAGAIN
        ? Py_NewRef(Py_None) : nothing_or_raise(self, status);
    Py_DECREF(capsule);
    return result;
}

PyDoc_STRVAR(barrier_act_doc, "async_barrier_act(stay, succeeded, /)\n--\n\n"
"The last one has acted: let the others go, or break the barrier.");

static PyObject *
core_async_barrier_act(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    stay *self = stay_of(args, count, 2, end_visit);
    int succeeded = self == NULL ? -1 : PyObject_IsTrue(args[1]);
    if (succeeded < 0) {
        return NULL;
    }
    int status = IPS_OK;
    if (succeeded) {
        status = ips_barrier_release(barrier_of(self), &self->has.visit);
    } else {
        ips_barrier_break(barrier_of(self), &self->has.visit);
    }
    return nothing_or_raise(self, status);
}

static PyObject *
outcome(stay *self, int status)
{
    return status == IPS_EAGAIN || status == IPS_OK ? PyBool_FromLong(status == IPS_OK)
                                                    : ips_raise(self->state, status);
}

PyDoc_STRVAR(barrier_outcome_doc, "async_barrier_outcome(stay, /)\n--\n\n"
"Whether the round has ended; BrokenBarrierError where that was not well.");

static PyObject *
core_async_barrier_outcome(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    stay *self = stay_of(args, count, 1, end_visit);
    return self == NULL ? NULL
                        : outcome(self, ips_barrier_outcome(barrier_of(self), &self->has.visit));
}

PyDoc_STRVAR(barrier_give_up_doc, "async_barrier_give_up(stay, /)\n--\n\n"
"The time is over: as async_barrier_outcome; False where all are there and one acts.");

static PyObject *
core_async_barrier_give_up(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    stay *self = stay_of(args, count, 1, end_visit);
    return self == NULL ? NULL
                        : outcome(self, ips_barrier_give_up(barrier_of(self), &self->has.visit));
}

PyDoc_STRVAR(barrier_leave_doc, "async_barrier_leave(stay, /)\n--\n\n"
"The visit is over: as if never come, where the round still waits for others.");

static PyObject *
core_async_barrier_leave(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    stay *self = stay_of(args, count, 1, end_visit);
    if (self == NULL) {
        return NULL;
    }
    end_stay(self);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(barrier_manners_doc, "async_barrier_manners(barrier, /)\n--\n\n"
"(action, timeout) of this handle, None where there is none.");

static PyObject *
core_async_barrier_manners(PyObject *module, PyObject *object)
{
    ips_aio_object found;
    if (!enter_as(module, object, IPS_AIO_BARRIER, &found)) {
        return NULL;
    }
    ips_barrier_object *self = (ips_barrier_object *)object;
    ips_aio_leave(&found);
    return PyTuple_Pack(2, self->action == NULL ? Py_None : self->action,
                        self->timeout == NULL ? Py_None : self->timeout);
}

/* --- readers and writers ---------------------------------------------------- */

static void
end_intent(stay *self)
{
    ips_rwlock_desist(&self->has.write.intent);
}

PyDoc_STRVAR(rwlock_start_doc, "async_rwlock_start(rwlock, upgrades, task, /)\n--\n\n"
"The task's intent to write, for async_rwlock_intend.");

static PyObject *
core_async_rwlock_start(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    stay *self;
    int upgrades = count == 3 ? PyObject_IsTrue(args[1]) : -1;
    if (upgrades < 0) {
        return PyErr_Occurred() != NULL
            ? NULL : PyErr_Format(PyExc_TypeError, "it takes 3 arguments (%zd given)", count);
    }
    PyObject *capsule = begin_stay(module, args[0], IPS_AIO_RWLOCK, end_intent, &self);
    if (capsule != NULL) {
        self->has.write.intent = (ips_rwlock_intent){
            .lock = &((ips_rwlock_object *)self->cell)->lock, .upgrades = upgrades != 0};
        self->has.write.trace = ips_aio_trace(args[2]);
    }
    return capsule;
}

PyDoc_STRVAR(rwlock_intend_doc, "async_rwlock_intend(stay, /)\n--\n\n"
"True once it writes; False: try again, and no new reader gets in meanwhile.");

static PyObject *
core_async_rwlock_intend(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    stay *self = stay_of(args, count, 1, end_intent);
    if (self == NULL) {
        return NULL;
    }
    ips_rwlock_intent *intent = &self->has.write.intent;
    int status = ips_rwlock_intend(intent, LONG_AGO);
    if (status >= 0) {
        ips_aio_sign(&intent->lock->shm->trace, self->has.write.trace);
    }
    return status < 0 && status != IPS_ETIMEOUT && status != IPS_EINTR
        ? ips_raise(self->state, status) : PyBool_FromLong(status >= 0);
}

PyDoc_STRVAR(rwlock_desist_doc, "async_rwlock_desist(stay, /)\n--\n\n"
"The end of the intent; where it does not write, readers get in again.");

static PyObject *
core_async_rwlock_desist(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    stay *self = stay_of(args, count, 1, end_intent);
    if (self == NULL) {
        return NULL;
    }
    end_stay(self);
    Py_RETURN_NONE;
}

static void
end_queueing(stay *self)
{
    ips_rwlock_leave_queue(&((ips_rwlock_object *)self->cell)->lock);
}

PyDoc_STRVAR(rwlock_queue_doc, "async_rwlock_queue(rwlock, /)\n--\n\n"
"Wait to read, so that the next writer lets readers in first: a stay, or None where\n"
"this process has no line in the lock yet and cannot get one at once.");

static PyObject *
core_async_rwlock_queue(PyObject *module, PyObject *object)
{
    stay *self;
    PyObject *capsule = begin_stay(module, object, IPS_AIO_RWLOCK, end_nothing, &self);
    if (capsule == NULL) {
        return NULL;
    }
    if (ips_rwlock_queue(&((ips_rwlock_object *)object)->lock) < 0) {
        Py_DECREF(capsule);
        Py_RETURN_NONE;
    }
    self->end = end_queueing;
    return capsule;
}

PyDoc_STRVAR(rwlock_leave_queue_doc, "async_rwlock_leave_queue(stay, /)\n--\n\n"
"It reads, or gives up.");

static PyObject *
core_async_rwlock_leave_queue(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    stay *self = stay_of(args, count, 1, end_queueing);
    if (self == NULL) {
        return NULL;
    }
    end_stay(self);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(rwlock_read_doc, "async_rwlock_read(rwlock, task, /)\n--\n\n"
"Take a read for the task: False where it would have to wait.");

static PyObject *
core_async_rwlock_read(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    ips_aio_object found;
    if (count != 2) {
        return PyErr_Format(PyExc_TypeError, "it takes 2 arguments (%zd given)", count);
    }
    if (!enter_as(module, args[0], IPS_AIO_RWLOCK, &found)) {
        return NULL;
    }
    ips_rwlock *lock = &((ips_rwlock_object *)args[0])->lock;
    int status = ips_rwlock_read(lock, IPS_AT_ONCE);
    if (status >= 0) {
        ips_rwlock_sign_read(lock, ips_aio_trace(args[1]));
    }
    ips_aio_leave(&found);
    return status < 0 && status != IPS_ETIMEOUT && status != IPS_EINTR
        ? ips_raise(found.state, status) : PyBool_FromLong(status >= 0);
}

#define FAST(function) (PyCFunction)(void (*)(void))function, METH_FASTCALL

PyMethodDef ips_aio_waits[] = {
    {"async_barrier_act", FAST(core_async_barrier_act), barrier_act_doc},
    {"async_barrier_arrive", FAST(core_async_barrier_arrive), barrier_arrive_doc},
    {"async_barrier_give_up", FAST(core_async_barrier_give_up), barrier_give_up_doc},
    {"async_barrier_leave", FAST(core_async_barrier_leave), barrier_leave_doc},
    {"async_barrier_manners", core_async_barrier_manners, METH_O, barrier_manners_doc},
    {"async_barrier_outcome", FAST(core_async_barrier_outcome), barrier_outcome_doc},
    {"async_condition_enter", core_async_condition_enter, METH_O, condition_enter_doc},
    {"async_condition_leave", FAST(core_async_condition_leave), condition_leave_doc},
    {"async_condition_lock", core_async_condition_lock, METH_O, condition_lock_doc},
    {"async_condition_notify", FAST(core_async_condition_notify), condition_notify_doc},
    {"async_condition_withdraw", FAST(core_async_condition_withdraw), condition_withdraw_doc},
    {"async_rwlock_desist", FAST(core_async_rwlock_desist), rwlock_desist_doc},
    {"async_rwlock_intend", FAST(core_async_rwlock_intend), rwlock_intend_doc},
    {"async_rwlock_leave_queue", FAST(core_async_rwlock_leave_queue), rwlock_leave_queue_doc},
    {"async_rwlock_queue", core_async_rwlock_queue, METH_O, rwlock_queue_doc},
    {"async_rwlock_read", FAST(core_async_rwlock_read), rwlock_read_doc},
    {"async_rwlock_start", FAST(core_async_rwlock_start), rwlock_start_doc},
    {NULL, NULL, 0, NULL},
};
