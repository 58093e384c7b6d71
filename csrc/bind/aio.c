/* SPDX-License-Identifier: Apache-2.0 */
/* Announcing those who wait in event loops, and the postbox they hear by. */
#include "bind/aio.h"

#include "bind/barrier.h"
#include "bind/condition.h"
#include "bind/rwlock.h"
#include "bind/semaphore.h"
#include "data/atomic.h"
#include "member/postbox.h"
#include "sync/event.h"

#define READY (-1) /* of arm: try now */

/* A deadline that has passed. */
#define LONG_AGO INT64_C(1)

enum { QUEUE_GET = 0, QUEUE_PUT = 1, QUEUE_JOIN = 2 };
enum { RWLOCK_READ = 0, RWLOCK_WRITE = 1 };
enum { CONDITION_LOCK = -1 }; /* else the number of a seat, with its ticket as `since` */

/* True if it is of a type that lies in a cell; *kind tells which. */
static bool
is_cell(const ips_state *state, PyObject *object, enum ips_aio_kind *kind)
{
    const struct {
        PyTypeObject *type;
        enum ips_aio_kind kind;
    } table[] = {
        {state->lock_type, IPS_AIO_LOCK},
        {state->rlock_type, IPS_AIO_RLOCK},
        {state->event_type, IPS_AIO_EVENT},
        {state->semaphore_type, IPS_AIO_SEMAPHORE},
        {state->bounded_semaphore_type, IPS_AIO_SEMAPHORE},
        {state->condition_type, IPS_AIO_CONDITION},
        {state->barrier_type, IPS_AIO_BARRIER},
        {state->rwlock_type, IPS_AIO_RWLOCK},
        {state->atomic_int_type, IPS_AIO_ATOMIC},
        {state->atomic_float_type, IPS_AIO_ATOMIC},
        {state->atomic_bool_type, IPS_AIO_ATOMIC},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (PyObject_TypeCheck(object, table[i].type)) {
            *kind = table[i].kind;
            return true;
        }
    }
    return false;
}

bool
ips_aio_enter(ips_state *state, PyObject *object, ips_aio_object *out)
{
    *out = (ips_aio_object){.state = state};
    if (is_cell(state, object, &out->kind)) {
        ips_cell_object *cell = (ips_cell_object *)object;
        if (!ips_cell_enter(cell)) {
            return false;
        }
        out->cell = cell;
        out->space = cell->cell.space;
        out->words = cell->cell.shm->words;
        return true;
    }
    if (PyObject_TypeCheck(object, state->queue_type)) {
        ips_queue_object *queue = (ips_queue_object *)object;
        if (ips_queue_enter(queue) == NULL) {
            return false;
        }
        out->kind = IPS_AIO_QUEUE;
        out->queue = queue;
        out->space = queue->body.ring.space;
        out->words = queue->body.ring.shm;
        return true;
    }
    PyErr_Format(PyExc_TypeError, "%.100s has no asyncio face", Py_TYPE(object)->tp_name);
    return false;
}

void
ips_aio_leave(const ips_aio_object *object)
{
    if (object->cell != NULL) {
        ips_cell_leave(object->cell);
    } else {
        ips_queue_leave(object->queue);
    }
}

/* --- arming ---------------------------------------------------------------- */

static int64_t
arm_event(ips_event_shm *event, ips_space *space, int64_t since)
{
    (void)ips_eventcount_prepare_async(&event->changed, space);
    uint32_t state = ips_event_state(event);
    bool done = (state & 1) != 0 || (since >= 0 && state != (uint32_t)since);
    return done ? READY : (int64_t)state;
}

/* A message to be had, or the end of the queue.  Where a lock is in the way,
 * its release is waited for instead. */
static int64_t
arm_get(ips_queue *queue, bool thorough)
{
    ips_queue_shm *shm = queue->ring.shm;
    (void)ips_eventcount_prepare_async(&shm->waits.not_empty, queue->ring.space);
    ips_look look;
    return ips_queue_look(queue, &look) != IPS_EEMPTY
            && ips_lock_arm(&shm->consumers.lock, queue->ring.space, thorough) ? READY : 0;
}

/* How much room it takes depends on the message: the caller tries after this,
 * and after each byte. */
static int64_t
arm_put(ips_queue *queue, bool thorough)
{
    ips_queue_shm *shm = queue->ring.shm;
    (void)ips_eventcount_prepare_async(&shm->waits.not_full, queue->ring.space);
    (void)ips_lock_arm(&shm->producers.lock, queue->ring.space, thorough);
    (void)ips_queue_heal(queue, thorough);
    return 0;
}

static int64_t
arm_join(ips_queue *queue, bool thorough)
{
    ips_queue_shm *shm = queue->ring.shm;
    (void)ips_queue_heal(queue, thorough);
    (void)ips_eventcount_prepare_async(&shm->waits.all_done, queue->ring.space);
    /* relaxed: after the fence in prepare, which pairs with add_done in
     * message/queue.c. */
    uint64_t done = atomic_load_explicit(&shm->done, memory_order_relaxed);
    return done >= atomic_load_explicit(&shm->producers.tail_sequence, memory_order_relaxed)
        ? READY : 0;
}

static int64_t
arm_queue(ips_queue *queue, long what, bool thorough)
{
    return what == QUEUE_GET ? arm_get(queue, thorough)
        : what == QUEUE_PUT  ? arm_put(queue, thorough)
                             : arm_join(queue, thorough);
}

static int64_t
arm_lock(void *words, ips_space *space, bool thorough)
{
    return ips_lock_arm((ips_lock_shm *)words, space, thorough) ? READY : 0;
}

/* The notification of one seat, or the lock that the condition has with it. */
static int64_t
arm_condition(const ips_aio_object *object, long what, int64_t ticket, bool thorough)
{
    if (what == CONDITION_LOCK) {
        return arm_lock(object->words, object->space, thorough);
    }
    ips_condition condition = ips_condition_of(&object->cell->cell.wide, object->space);
    ips_seat seat = {ips_space_self(object->space), (uint64_t)ticket, (uint32_t)what};
    (void)ips_eventcount_prepare_async(&condition.shm->changed, object->space);
    if (thorough) {
        ips_condition_tend(condition, true);
    }
    return what < 0 || what >= (long)IPS_SEATS_MOST
            || ips_condition_is_notified(condition, &seat) ? READY : ticket;
}

/* `what` is the round's last bit, `round` the whole of it. */
static int64_t
arm_barrier(const ips_aio_object *object, int64_t round, bool thorough)
{
    ips_barrier *barrier = &((ips_barrier_object *)object->cell)->barrier;
    ips_barrier_visit visit = {.round = (uint32_t)round};
    (void)ips_eventcount_prepare_async(ips_barrier_event(barrier, visit.round), object->space);
    if (thorough && ips_space_sweep(object->space) == 0
        && ips_barrier_wait(barrier, &visit, LONG_AGO) != IPS_ETIMEOUT) {
        return READY; /* it looked for the dead */
    }
    return ips_barrier_outcome(barrier, &visit) == IPS_EAGAIN ? round : READY;
}

/* Readers wait for the gate; writers for the turn, for an upgrader, and for
 * readers to leave: they try after this, and after each byte. */
static int64_t
arm_rwlock(const ips_aio_object *object, long what, bool thorough)
{
    ips_rwlock *lock = &((ips_rwlock_object *)object->cell)->lock;
    (void)ips_eventcount_prepare_async(&lock->shm->opened, object->space);
    if (what == RWLOCK_WRITE) {
        (void)ips_eventcount_prepare_async(&lock->shm->drained, object->space);
        (void)ips_lock_arm(&lock->shm->turn, object->space, thorough);
    }
    if (thorough) {
        ips_rwlock_probe(lock);
    }
    /* relaxed: after the fence in prepare, which pairs with the one in
     * ips_rwlock_open_gate; entering does the ordering. */
    return what == RWLOCK_READ && atomic_load_explicit(&lock->shm->gate, memory_order_relaxed) == 0
        ? READY : 0;
}

/* What a waiter waits for only it knows: it looks after this, and after each byte. */
static int64_t
arm_atomic(ips_atomic_shm *word, ips_space *space)
{
    (void)ips_eventcount_prepare_async(&word->changed, space);
    return 0;
}

static int64_t
arm(const ips_aio_object *object, long what, int64_t since, bool thorough)
{
    switch (object->kind) {
    case IPS_AIO_SEMAPHORE:
        return ips_semaphore_arm(&((ips_semaphore_object *)object->cell)->semaphore, thorough)
            ? READY : 0;
    case IPS_AIO_CONDITION:
        return arm_condition(object, what, since, thorough);
    case IPS_AIO_BARRIER:
        return arm_barrier(object, since, thorough);
    case IPS_AIO_RWLOCK:
        return arm_rwlock(object, what, thorough);
    case IPS_AIO_ATOMIC:
        return arm_atomic((ips_atomic_shm *)object->words, object->space);
    case IPS_AIO_EVENT:
        return arm_event((ips_event_shm *)object->words, object->space, since);
    case IPS_AIO_QUEUE:
        return arm_queue(&object->queue->body, what, thorough);
    default: /* an rlock's words begin with its lock */
        return arm_lock(object->words, object->space, thorough);
    }
}

PyDoc_STRVAR(arm_doc, "async_arm(object, what, since, thorough, /)\n--\n\n"
"Announce that event loops of this process wait on the object: -1 where they\n"
"should try now, else a number to pass as `since` the next time (-1 the first\n"
"time), and the next change comes to the postbox.  `what` tells the queues of\n"
"one object apart; `thorough` asks for proof of its holder's death.");

static PyObject *
core_async_arm(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    if (count != 4) {
        return PyErr_Format(PyExc_TypeError, "async_arm() takes 4 arguments (%zd given)", count);
    }
    long what = PyLong_AsLong(args[1]);
    long long since = PyLong_AsLongLong(args[2]);
    int thorough = PyObject_IsTrue(args[3]);
    ips_aio_object object;
    if (PyErr_Occurred() != NULL || thorough < 0
        || !ips_aio_enter(ips_state_of_module(module), args[0], &object)) {
        return NULL;
    }
    int64_t now = arm(&object, what, since, thorough != 0);
    ips_aio_leave(&object);
    return PyLong_FromLongLong(now);
}

/* --- the postbox ----------------------------------------------------------- */

PyDoc_STRVAR(place_doc, "async_place(object, /)\n--\n\n"
"What tells shared objects apart while they are open, and their namespaces:\n"
"two numbers, the same for all handles of one object.");

static PyObject *
core_async_place(PyObject *module, PyObject *object)
{
    ips_aio_object place;
    if (!ips_aio_enter(ips_state_of_module(module), object, &place)) {
        return NULL;
    }
    unsigned long long words = (uintptr_t)place.words, space = (uintptr_t)place.space;
    ips_aio_leave(&place);
    return Py_BuildValue("(KK)", words, space);
}

PyDoc_STRVAR(open_doc, "async_open(object, /)\n--\n\n"
"This process's postbox in the object's namespace, made where it is missing:\n"
"(descriptor, device, inode).  The descriptor is for watching only.");

static PyObject *
core_async_open(PyObject *module, PyObject *object)
{
    ips_aio_object place;
    if (!ips_aio_enter(ips_state_of_module(module), object, &place)) {
        return NULL;
    }
    ips_fifo fifo = {.fd = -1};
    int status;
    Py_BEGIN_ALLOW_THREADS /* the room may be taken by a thread that forks */
    status = ips_postbox_open(place.space, &fifo);
    Py_END_ALLOW_THREADS
    ips_aio_leave(&place);
    if (status < 0) {
        return ips_raise(place.state, status);
    }
    return Py_BuildValue("(iKK)", fifo.fd, (unsigned long long)fifo.dev,
                         (unsigned long long)fifo.inode);
}

PyDoc_STRVAR(drain_doc, "async_drain(descriptor, device, inode, /)\n--\n\n"
"Empty a postbox: False where its descriptor was closed or is another file's.");

static PyObject *
core_async_drain(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 3) {
        return PyErr_Format(PyExc_TypeError, "async_drain() takes 3 arguments (%zd given)", count);
    }
    long fd = PyLong_AsLong(args[0]);
    ips_fifo fifo = {(int)fd, PyLong_AsUnsignedLongLong(args[1]),
                     PyLong_AsUnsignedLongLong(args[2])};
    if (PyErr_Occurred() != NULL) {
        return NULL;
    }
    return PyBool_FromLong(fd >= 0 && fd <= INT32_MAX && ips_fifo_drain(&fifo) == 0);
}

/* --- holders ---------------------------------------------------------------- */

#define HOLDERS_MOST 16u /* a descriptor each, for every loop that waits */

typedef struct {
    ips_owner me;
    ips_owner owners[HOLDERS_MOST];
    uint32_t count;
    bool more; /* somebody did not fit */
} holders;

static void
add_holder(holders *list, ips_owner owner)
{
    if (owner == IPS_NOBODY || owner == list->me) {
        return;
    }
    for (uint32_t i = 0; i < list->count; i++) {
        if (list->owners[i] == owner) {
            return;
        }
    }
    if (list->count == HOLDERS_MOST) {
        list->more = true;
    } else {
        list->owners[list->count++] = owner;
    }
}

static int
add_claim(ips_owner owner, uint64_t claims, void *list)
{
    (void)claims;
    add_holder((holders *)list, owner);
    return IPS_OK;
}

/* Those who have a line; with `active`, a count in it too. */
static void
add_lines(holders *list, ips_lines *lines, bool active)
{
    uint32_t used = ips_lines_used(lines);
    for (uint32_t i = 0; i < used; i++) {
        const ips_line_shm *line = &lines->line[i];
        /* relaxed, both: news of whom to watch; whoever hears of a death looks again. */
        if (!active || atomic_load_explicit(&line->active, memory_order_relaxed) != 0) {
            add_holder(list, atomic_load_explicit(&line->owner, memory_order_relaxed));
        }
    }
}

static void
add_rwlock(holders *list, ips_rwlock *lock)
{
    add_holder(list, ips_lock_owner(&lock->shm->turn));
    /* relaxed: as above. */
    add_holder(list, atomic_load_explicit(&lock->shm->gate, memory_order_relaxed)
                         & ~IPS_OWNER_FLAGS);
    add_lines(list, &lock->lines, true);
}

static int
find_holders(const ips_aio_object *object, holders *list)
{
    list->me = ips_space_self(object->space);
    switch (object->kind) {
    case IPS_AIO_LOCK:
    case IPS_AIO_RLOCK:
        add_holder(list, ips_lock_owner((const ips_lock_shm *)object->words));
        return IPS_OK;
    case IPS_AIO_SEMAPHORE:
        return ips_semaphore_each_claim(&((ips_semaphore_object *)object->cell)->semaphore,
                                        add_claim, list);
    case IPS_AIO_BARRIER:
        add_lines(list, &((ips_barrier_object *)object->cell)->barrier.seats, false);
        return IPS_OK;
    case IPS_AIO_RWLOCK:
        add_rwlock(list, &((ips_rwlock_object *)object->cell)->lock);
        return IPS_OK;
    default:
        return IPS_OK;
    }
}

PyDoc_STRVAR(holders_doc, "async_holders(object, /)\n--\n\n"
"The owner ids of the other members that waiters on the object wait for: whoever\n"
"holds it, permits of it or reads, or is a party.  A 0 at the end says that there\n"
"are more.");

static PyObject *
core_async_holders(PyObject *module, PyObject *self)
{
    ips_aio_object object;
    if (!ips_aio_enter(ips_state_of_module(module), self, &object)) {
        return NULL;
    }
    holders list = {0};
    int status = find_holders(&object, &list);
    ips_aio_leave(&object);
    if (status < 0) {
        return ips_raise(object.state, status);
    }
    PyObject *result = PyTuple_New((Py_ssize_t)list.count + list.more);
    for (uint32_t i = 0; result != NULL && i < list.count + list.more; i++) {
        PyObject *owner = PyLong_FromUnsignedLongLong(i < list.count ? list.owners[i] : 0);
        if (owner == NULL) {
            Py_CLEAR(result);
        } else {
            PyTuple_SET_ITEM(result, (Py_ssize_t)i, owner);
        }
    }
    return result;
}

PyDoc_STRVAR(watch_doc, "async_watch(object, owner, /)\n--\n\n"
"A new descriptor that becomes readable when the process of that member of the\n"
"object's namespace ends; None where there is none to be had, or it is this one.");

static PyObject *
core_async_watch(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2) {
        return PyErr_Format(PyExc_TypeError, "async_watch() takes 2 arguments (%zd given)", count);
    }
    unsigned long long owner = PyLong_AsUnsignedLongLong(args[1]);
    ips_aio_object object;
    if (PyErr_Occurred() != NULL || !ips_aio_enter(ips_state_of_module(module), args[0], &object)) {
        return NULL;
    }
    int fd;
    bool another = owner != IPS_NOBODY && owner != ips_space_self(object.space);
    int status = another ? ips_member_watch(object.space, owner, &fd) : IPS_ENOENT;
    ips_aio_leave(&object);
    if (status < 0) {
        Py_RETURN_NONE;
    }
    return PyLong_FromLong(fd);
}

#define FAST(function) (PyCFunction)(void (*)(void))function, METH_FASTCALL

static PyMethodDef functions[] = {
    {"async_arm", FAST(core_async_arm), arm_doc},
    {"async_drain", FAST(core_async_drain), drain_doc},
    {"async_holders", core_async_holders, METH_O, holders_doc},
    {"async_open", core_async_open, METH_O, open_doc},
    {"async_place", core_async_place, METH_O, place_doc},
    {"async_watch", FAST(core_async_watch), watch_doc},
    {NULL, NULL, 0, NULL},
};

int
ips_add_aio(PyObject *module, ips_state *state)
{
    (void)state;
    return PyModule_AddFunctions(module, functions) < 0
        || PyModule_AddFunctions(module, ips_aio_tries) < 0
        || PyModule_AddFunctions(module, ips_aio_shows) < 0
        ? -1 : PyModule_AddFunctions(module, ips_aio_waits);
}
