/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.ReadView: what Segment.read() returns, to be used in one of two ways.
 *
 *     with segment.read():                 holds the writers back
 *     for view in segment.read():          the block is run again where somebody
 *         with view:                       committed meanwhile
 *
 * The first is a transaction that cannot write.  The second opens a view of
 * segment/view.h, and where that keeps failing ends as the first.  Inside a
 * transaction or another view of this thread there is nothing to be done over
 * again: the block joins what is around it. */
#include "bind/shared.h"
#include "segment/view.h"

#include "os/clock.h"

#include <structmember.h> /* after Python.h, which it leaves out */

enum { TRIES = 8 }; /* without holding anybody back */

enum phase { IDLE, HOLDING, VIEWING, JOINED };

typedef struct {
    PyObject_HEAD
    PyObject *weakrefs;
    PyObject *owner;       /* the Segment */
    PyObject *timeout;
    PyObject *transaction; /* while HOLDING */
    ips_segment *segment;  /* held while VIEWING */
    uint32_t number;       /* of the view, then */
    int64_t deadline;      /* set by the first entering */
    int attempt;           /* of the loop; 0: none */
    enum phase phase;
    bool begun, done;
} read_view;

PyObject *
ips_view_of(PyObject *owner, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"timeout", NULL};
    PyObject *timeout = Py_None;
    int64_t deadline;
    ips_state *state = ips_state_of_type(Py_TYPE(owner));
    if (state == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, "|O:read", names, &timeout) ||
        ips_segment_of(state, owner) == NULL || ips_deadline_of(timeout, &deadline) < 0) {
        return NULL;
    }
    read_view *self = (read_view *)state->view_type->tp_alloc(state->view_type, 0);
    if (self != NULL) {
        self->owner = Py_NewRef(owner);
        self->timeout = Py_NewRef(timeout);
    }
    return (PyObject *)self;
}

/* --- the loop */

static PyObject *
view_next(PyObject *object)
{
    read_view *self = (read_view *)object;
    ips_state *state = ips_state_of_type(Py_TYPE(object));
    if (state == NULL || self->done) {
        return NULL;
    }
    if (self->phase != IDLE || (self->attempt > 0 && !self->begun)) {
        return ips_raise_text(state, IPS_ETX, "each view of the loop is entered, and left, before "
                              "the next: for view in segment.read(): with view: ...");
    }
    self->attempt++;
    self->begun = false;
    return Py_NewRef(object);
}

/* --- entering and leaving */

static int
hold_writers(ips_state *state, read_view *self, ips_segment *segment)
{
    PyObject *transaction = ips_transaction_new(state, self->owner, self->timeout);
    PyObject *entered = transaction == NULL ? NULL
        : PyObject_CallMethod(transaction, "__enter__", NULL);
    Py_XDECREF(entered);
    if (entered == NULL) {
        Py_XDECREF(transaction);
        return -1;
    }
    ips_tx_freeze(segment);
    self->transaction = transaction;
    self->phase = HOLDING;
    return 0;
}

/* Without holding anybody back; -1 with an exception set. */
static int
look(ips_state *state, read_view *self, ips_segment *segment)
{
    if (ips_view_begin(segment, self->deadline, &self->number)) {
        ips_segment_hold(segment);
        self->segment = segment;
        self->phase = VIEWING;
        return 0;
    }
    if (ips_view_is_open(segment)) {
        self->phase = JOINED;
        return 0;
    }
    return hold_writers(state, self, segment);
}

static PyObject *
view_enter(PyObject *object, PyObject *unused)
{
    (void)unused;
    read_view *self = (read_view *)object;
    ips_state *state = ips_state_of_type(Py_TYPE(object));
    ips_segment *segment = state == NULL ? NULL : ips_segment_of(state, self->owner);
    if (segment == NULL || ips_transaction_admit(state, segment) < 0) {
        return NULL;
    }
    if (self->begun || self->done) {
        return ips_raise_text(state, IPS_ETX, "a view is entered once; call read() again for another");
    }
    if (self->attempt <= 1 && ips_deadline_of(self->timeout, &self->deadline) < 0) {
        return NULL;
    }
    const bool optimistic = (self->attempt > 0 && self->attempt <= TRIES) || ips_view_is_open(segment);
    if ((optimistic ? look(state, self, segment) : hold_writers(state, self, segment)) < 0) {
        return NULL;
    }
    self->begun = true;
    return Py_NewRef(object);
}

static void
end_view(read_view *self)
{
    ips_segment *segment = self->segment;
    self->segment = NULL;
    self->phase = IDLE;
    ips_view_end(segment, self->number);
    Py_BEGIN_ALLOW_THREADS /* the last handle unmaps */
    ips_segment_close(segment);
    Py_END_ALLOW_THREADS
}

/* True where the block shall run again, which the loop then does. */
static int
leave_view(ips_state *state, read_view *self, PyObject *raised)
{
    if (!ips_view_is_mine(self->segment, self->number)) {
        (void)ips_raise_text(state, IPS_ETX, "the view belongs to another thread");
        return -1;
    }
    end_view(self);
    return raised != Py_None &&
           PyErr_GivenExceptionMatches(raised, state->errors[IPS_ORDINAL_CONFLICT]);
}

static PyObject *
view_exit(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    read_view *self = (read_view *)object;
    PyObject *raised = count > 0 ? args[0] : Py_None;
    ips_state *state = ips_state_of_type(Py_TYPE(object));
    if (state == NULL) {
        return NULL;
    }
    int again = 0;
    switch (self->phase) {
    case IDLE:
        return ips_raise_text(state, IPS_ETX, "the view is not open");
    case VIEWING:
        again = leave_view(state, self, raised);
        break;
    case HOLDING: {
        PyObject *left = PyObject_CallMethod(self->transaction, "__exit__", "OOO", Py_None, Py_None,
                                             Py_None);
        if (left == NULL) {
            return NULL;
        }
        Py_DECREF(left);
        Py_CLEAR(self->transaction);
        break;
    }
    case JOINED:
        break;
    }
    if (again < 0) {
        return NULL;
    }
    self->phase = IDLE;
    self->done = !again;
    return PyBool_FromLong(again);
}

/* --- the type */

static int
view_traverse(PyObject *object, visitproc visit, void *arg)
{
    read_view *self = (read_view *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->owner);
    Py_VISIT(self->timeout);
    Py_VISIT(self->transaction);
    return 0;
}

static int
view_clear(PyObject *object)
{
    read_view *self = (read_view *)object;
    Py_CLEAR(self->transaction); /* first: where it is open, this ends it */
    Py_CLEAR(self->owner);
    Py_CLEAR(self->timeout);
    return 0;
}

static void
view_dealloc(PyObject *object)
{
    read_view *self = (read_view *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    if (self->segment != NULL) { /* forgotten while open */
        end_view(self);
    }
    (void)view_clear(object);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef view_methods[] = {
    {"__enter__", view_enter, METH_NOARGS, "__enter__($self, /)\n--\n\n"
     "Begin to read.  Outside a loop it waits while others have a transaction open."},
    {"__exit__", (PyCFunction)(void (*)(void))view_exit, METH_FASTCALL,
     "__exit__($self, /, *exc_info)\n--\n\n"
     "End; in a loop, true after Conflict, and the loop reads again."},
    {NULL},
};

static PyMemberDef view_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(read_view, weakrefs), READONLY, NULL},
    {NULL},
};

PyDoc_STRVAR(view_doc,
"ReadView()\n--\n\n"
"What Segment.read() returns: a block in which all that is read from the segment\n"
"is of one moment, and nothing can be written to it.\n\n"
"Used with `with`, writers wait until the block ends.  Used as\n"
"`for view in segment.read():` around `with view:`, nobody waits; where somebody\n"
"commits meanwhile, the next read raises Conflict, which the block swallows, and\n"
"the loop runs it again, at last with the writers held back.");

static PyType_Slot view_slots[] = {
    {Py_tp_doc, (void *)view_doc},
    {Py_tp_iter, (void *)PyObject_SelfIter},
    {Py_tp_iternext, (void *)view_next},
    {Py_tp_methods, view_methods},
    {Py_tp_members, view_members},
    {Py_tp_traverse, (void *)view_traverse},
    {Py_tp_clear, (void *)view_clear},
    {Py_tp_dealloc, (void *)view_dealloc},
    {0, NULL},
};

static PyType_Spec view_spec = {
    .name = "ipcsys.ReadView",
    .basicsize = sizeof(read_view),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = view_slots,
};

int
ips_add_view(PyObject *module, ips_state *state)
{
    state->view_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &view_spec, NULL);
    return state->view_type == NULL ? -1 : PyModule_AddType(module, state->view_type);
}
