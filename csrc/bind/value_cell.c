/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.SharedCell: one value of any kind, read without a lock and changed
 * whole.  It is a flat row (data/flat.h): a byte for the value's kind, then its
 * encoded bytes.  Values are encoded before the lock is taken and decoded after
 * it was given up; they are the same where their encodings are. */
#include "bind/flat.h"

#include <limits.h>
#include <string.h>

#include "base/atomics.h"
#include "bind/value.h"
#include "os/clock.h"
#include "segment/stable.h"

static const ips_flat_kind kind = {IPS_TYPE_CELL, {'o', 1, false, false}};

/* --- a value on its way in and out */

static int
encode(ips_state *state, PyObject *value, ips_snapshot *out)
{
    ips_encoded encoded;
    if (ips_value_encode(state, value, 0, &encoded) < 0) {
        return -1;
    }
    uint8_t *to = ips_snapshot_extend(out, encoded.size + 1);
    if (to != NULL) {
        to[0] = encoded.kind;
        if (encoded.size != 0) {
            memcpy(to + 1, encoded.bytes, encoded.size);
        }
        out->records = encoded.size + 1;
    }
    ips_encoded_clear(&encoded);
    if (to == NULL) {
        (void)ips_raise(state, IPS_ENOMEM);
    }
    return to == NULL ? -1 : 0;
}

/* Clears the snapshot. */
static PyObject *
decode(ips_sequence *self, int status, ips_snapshot *snapshot)
{
    PyObject *value = status < 0 ? NULL
        : snapshot->records == 0
        ? ips_raise_text(self->base.state, IPS_ECORRUPT, "SharedCell at offset %llu: no value",
              (unsigned long long)self->flat.offset)
        : ips_value_decode(self->base.state, snapshot->bytes[0], snapshot->bytes + 1,
              snapshot->records - 1);
    ips_snapshot_clear(snapshot);
    return value;
}

/* --- reading and changing */

static PyObject *
cell_load(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_sequence *self = (ips_sequence *)object;
    ips_snapshot snapshot = {0};
    int status = ips_sequence_snapshot(self, IPS_SPAN_ALL, &snapshot);
    return decode(self, status, &snapshot);
}

/* One operation, for ips_container_run: no Python inside. */
typedef struct {
    const ips_flat *flat;
    const ips_snapshot *expected, *desired;
    ips_snapshot *before;
} operation;

static int
act_store(void *context)
{
    const operation *job = (const operation *)context;
    return ips_flat_splice(job->flat, IPS_SPAN_ALL, job->desired);
}

static int
act_exchange(void *context)
{
    const operation *job = (const operation *)context;
    int status = ips_flat_snapshot_locked(job->flat, IPS_SPAN_ALL, job->before);
    return status < 0 ? status : act_store(context);
}

static int
act_compare_exchange(void *context)
{
    const operation *job = (const operation *)context;
    return ips_flat_compare_exchange(job->flat, job->expected, job->desired);
}

/* The outcome, or -1 with an exception set. */
static int
run(ips_sequence *self, ips_act act, operation *job)
{
    job->flat = &self->flat;
    /* Encoding may have run Python code that closed the cell. */
    return ips_container_check(&self->base) < 0
        ? -1 : ips_container_run(&self->base, act, job, job->desired->size);
}

static PyObject *
cell_store(PyObject *object, PyObject *value)
{
    ips_sequence *self = (ips_sequence *)object;
    ips_snapshot desired = {0};
    operation job = {.desired = &desired};
    int status = ips_container_check(&self->base) < 0 ||
                         encode(self->base.state, value, &desired) < 0
        ? -1 : run(self, act_store, &job);
    ips_snapshot_clear(&desired);
    return status < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
cell_exchange(PyObject *object, PyObject *value)
{
    ips_sequence *self = (ips_sequence *)object;
    ips_snapshot desired = {0}, before = {0};
    operation job = {.desired = &desired, .before = &before};
    int status = ips_container_check(&self->base) < 0 ||
                         encode(self->base.state, value, &desired) < 0
        ? -1 : run(self, act_exchange, &job);
    ips_snapshot_clear(&desired);
    return decode(self, status, &before);
}

static PyObject *
cell_compare_exchange(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    ips_sequence *self = (ips_sequence *)object;
    ips_snapshot expected = {0}, desired = {0};
    operation job = {.expected = &expected, .desired = &desired};
    if (count != 2) {
        return PyErr_Format(PyExc_TypeError, "compare_exchange expected 2 arguments, got %zd",
            count);
    }
    int status = ips_container_check(&self->base) < 0 ||
                         encode(self->base.state, args[0], &expected) < 0 ||
                         encode(self->base.state, args[1], &desired) < 0
        ? -1 : run(self, act_compare_exchange, &job);
    ips_snapshot_clear(&expected);
    ips_snapshot_clear(&desired);
    return status < 0 ? NULL : PyBool_FromLong(status != IPS_ROW_CHANGED);
}

static PyObject *
cell_get_value(PyObject *self, void *unused)
{
    (void)unused;
    return cell_load(self, NULL);
}

static int
cell_set_value(PyObject *self, PyObject *value, void *unused)
{
    (void)unused;
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "the value cannot be deleted");
        return -1;
    }
    PyObject *done = cell_store(self, value);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* --- waiting */

typedef struct {
    ips_segment *segment;
    const ips_flat *flat;
    const ips_snapshot *expected;
    ips_snapshot now;
} waiting;

enum { ANOTHER = 0, SAME = 1 };

static int
compare(const waiting *wait)
{
    return wait->now.records == wait->expected->records &&
           memcmp(wait->now.bytes, wait->expected->bytes, wait->now.records) == 0
        ? SAME : ANOTHER;
}

static int
act_compare(void *context)
{
    waiting *wait = (waiting *)context;
    int status = ips_flat_snapshot_locked(wait->flat, IPS_SPAN_ALL, &wait->now);
    return status < 0 ? status : compare(wait);
}

/* ANOTHER, SAME or a status; waits only where writers are in the way. */
static int
look(waiting *wait, int64_t deadline)
{
    int status = ips_flat_snapshot(wait->flat, IPS_SPAN_ALL, &wait->now);
    return status == IPS_ROW_BUSY
        ? ips_container_attempt(wait->segment, act_compare, wait, deadline)
        : status < 0 ? status : compare(wait);
}

static bool
looks_different(void *context)
{
    waiting *wait = (waiting *)context;
    return ips_flat_snapshot(wait->flat, IPS_SPAN_ALL, &wait->now) != 0 || compare(wait) == ANOTHER;
}

static int
wait_step(void *context, int64_t deadline)
{
    waiting *wait = (waiting *)context;
    ips_space *space = ips_segment_object(wait->segment)->space;
    (void)ips_spin_until(looks_different, wait, deadline);
    for (;;) {
        uint32_t key = ips_eventcount_prepare(wait->flat->changed);
        int status = look(wait, deadline);
        if (status == SAME) {
            status = ips_eventcount_wait(wait->flat->changed, key, space, IPS_NOBODY, deadline);
            if (status == IPS_OK) {
                continue;
            }
        }
        return status;
    }
}

/* True, False, or NULL with an exception set. */
static PyObject *
wait_until(ips_sequence *self, const ips_snapshot *expected, int64_t deadline)
{
    ips_segment *segment = self->base.home.segment;
    if (ips_transaction_admit(self->base.state, segment) < 0) {
        return NULL;
    }
    const ips_flat flat = self->flat; /* of a closed handle the segment is still ours */
    waiting wait = {segment, &flat, expected, {0}};
    int status = ips_tx_is_mine(segment) ? ips_container_attempt(segment, act_compare, &wait,
                                               IPS_AT_ONCE)
                                         : SAME;
    if (status == SAME && ips_tx_is_mine(segment) && deadline != IPS_AT_ONCE) {
        status = ips_fail(IPS_ETX, "waiting on a SharedCell: nobody else can change it before the "
            "transaction ends");
    } else if (status == SAME && !ips_tx_is_mine(segment)) {
        ips_futex_look fate = ips_stable_fate(flat.changed);
        ips_segment_hold(segment); /* another thread may close the object */
        (void)ips_gate_enter(&self->base.gate);
        status = ips_gate_wait(&self->base.gate, &fate, wait_step, &wait, deadline);
        (void)ips_gate_leave(&self->base.gate);
        ips_segment_close(segment);
    }
    ips_snapshot_clear(&wait.now);
    if (status < 0 && status != IPS_ETIMEOUT) {
        return PyErr_Occurred() != NULL ? NULL : ips_raise(self->base.state, status);
    }
    return PyBool_FromLong(status == ANOTHER);
}

static PyObject *
cell_wait(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"expected", "timeout", NULL};
    ips_sequence *self = (ips_sequence *)object;
    PyObject *value, *timeout = Py_None;
    ips_snapshot expected = {0};
    int64_t deadline;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:wait", names, &value, &timeout) ||
        ips_deadline_of_wait(timeout, &deadline) < 0 || ips_container_check(&self->base) < 0) {
        return NULL;
    }
    PyObject *result = encode(self->base.state, value, &expected) < 0 ||
                               ips_container_check(&self->base) < 0
        ? NULL : wait_until(self, &expected, deadline);
    ips_snapshot_clear(&expected);
    return result;
}

static PyObject *
notify(ips_sequence *self, int count)
{
    if (ips_container_check(&self->base) < 0) {
        return NULL;
    }
    if (!ips_root_lives(&self->flat.shm->root, self->flat.generation)) {
        return ips_raise(self->base.state, ips_root_gone(IPS_TYPE_CELL));
    }
    /* Between the caller's change and the look at the sleepers; pairs with the
     * fence in ips_eventcount_prepare. */
    atomic_thread_fence(memory_order_seq_cst);
    ips_eventcount_notify(self->flat.changed, count);
    Py_RETURN_NONE;
}

static PyObject *
cell_notify(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"n", NULL};
    int n = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|i:notify", names, &n)) {
        return NULL;
    }
    if (n < 0) {
        PyErr_SetString(PyExc_ValueError, "n must not be negative");
        return NULL;
    }
    return n == 0 ? Py_NewRef(Py_None) : notify((ips_sequence *)self, n);
}

static PyObject *
cell_notify_all(PyObject *self, PyObject *unused)
{
    (void)unused;
    return notify((ips_sequence *)self, INT_MAX);
}

/* --- made */

static PyObject *
cell_repr(PyObject *self)
{
    const char *type = ips_short_name(self);
    if (((ips_sequence *)self)->base.home.segment == NULL) {
        return PyUnicode_FromFormat("<closed %s>", type);
    }
    PyObject *value = cell_load(self, NULL);
    PyObject *result = value == NULL ? NULL : PyUnicode_FromFormat("%s(%R)", type, value);
    Py_XDECREF(value);
    return result;
}

static int
cell_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"value", IPS_CONTAINER_KEYWORDS, NULL};
    ips_sequence *self = (ips_sequence *)object;
    PyObject *value = Py_None;
    ips_container_where where = {0};
    ips_snapshot values = {0};
    self->base.state = ips_state_of_type(Py_TYPE(object));
    if (self->base.state == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "|O$OOOOOO:SharedCell", names, &value,
            IPS_CONTAINER_WHERE(where)) ||
        encode(self->base.state, value, &values) < 0) {
        return -1;
    }
    int status = ips_flat_object_open(self, &where, &kind, &values);
    ips_snapshot_clear(&values);
    return status;
}

static PyObject *
cell_restore(PyObject *type, PyObject *args)
{
    return ips_flat_object_restore(type, args, &kind);
}

/* --- the type */

PyDoc_STRVAR(cell_doc,
    "SharedCell(value=None, *, name=None, namespace=None, create=None, cleanup=None,\n"
    "           max_size=None, segment=None)\n--\n\n"
    "One value of any kind in shared memory, changed whole.\n\n"
    "Reading takes no lock.  Each method is one transaction, and part of one that is\n"
    "open.  Values are copies, and the same where their encodings are: 1 is neither\n"
    "1.0 nor True.  wait() and notify() are as in AtomicInt.  A destroyed cell raises\n"
    "ObjectGone, a full segment SegmentFull.");

static PyMethodDef cell_methods[] = {
    {"load", cell_load, METH_NOARGS, "load($self, /)\n--\n\nA copy of the value."},
    {"store", cell_store, METH_O, "store($self, value, /)\n--\n\nSet the value."},
    {"exchange", cell_exchange, METH_O,
        "exchange($self, value, /)\n--\n\nSet the value and give the one before."},
    {"compare_exchange", (PyCFunction)(void (*)(void))cell_compare_exchange, METH_FASTCALL,
        "compare_exchange($self, expected, desired, /)\n--\n\n"
        "Set the desired value if the present one is the expected; True if it was."},
    {"wait", (PyCFunction)(void (*)(void))cell_wait, METH_VARARGS | METH_KEYWORDS,
        "wait($self, /, expected, timeout=None)\n--\n\n"
        "Wait while the value is the expected one: True once it is another, False where\n"
        "`timeout` seconds were not enough.\n\n"
        "Whoever changes the value says so with notify(), after the transaction if it\n"
        "has one; without that, and where it is killed in between, the change is seen\n"
        "within a tenth of a second."},
    {"notify", (PyCFunction)(void (*)(void))cell_notify, METH_VARARGS | METH_KEYWORDS,
        "notify($self, /, n=1)\n--\n\n"
        "Have at most `n` of those who wait look again.  No system call where nobody waits."},
    {"notify_all", cell_notify_all, METH_NOARGS,
        "notify_all($self, /)\n--\n\nHave all who wait look again."},
    {"check", ips_flat_object_check, METH_NOARGS, "check($self, /)\n--\n\n"
        "What is wrong with it: a list of lines, empty when it is sound."},
    IPS_CONTAINER_METHODS(cell_restore),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef cell_getsets[] = {
    {"value", cell_get_value, cell_set_value, "A copy of the value; may be set.", NULL},
    IPS_CONTAINER_GETSETS,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef cell_members[] = {
    IPS_CONTAINER_WEAKREFS,
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot cell_slots[] = {
    {Py_tp_doc, (void *)cell_doc},
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_init, (void *)cell_init},
    {Py_tp_dealloc, (void *)ips_container_dealloc},
    {Py_tp_traverse, (void *)ips_container_traverse},
    {Py_tp_clear, (void *)ips_container_clear},
    {Py_tp_repr, (void *)cell_repr},
    {Py_tp_methods, cell_methods},
    {Py_tp_getset, cell_getsets},
    {Py_tp_members, cell_members},
    {0, NULL},
};

static PyType_Spec cell_spec = {
    .name = "ipcsys.SharedCell",
    .basicsize = sizeof(ips_sequence),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = cell_slots,
};

int
ips_add_cell(PyObject *module, ips_state *state)
{
    state->cell_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &cell_spec, NULL);
    return state->cell_type == NULL ? -1 : PyModule_AddType(module, state->cell_type);
}
