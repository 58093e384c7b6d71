/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.RWLock: many readers or one writer, on sync/rwlock.h. */
#include "bind/rwlock.h"

#include "bind/acquire.h"

static int
rwlock_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    ips_rwlock_object *self = (ips_rwlock_object *)object;
    if (ips_cell_init(&self->base, args, kwargs, IPS_CELL_RWLOCK) < 0) {
        return -1;
    }
    ips_rwlock_start(&self->lock, &self->base.cell.wide, self->base.cell.space);
    return 0;
}

static PyObject *
rwlock_restore(PyObject *type, PyObject *args)
{
    PyObject *object = ips_cell_restore(type, args, IPS_CELL_RWLOCK);
    if (object != NULL) {
        ips_rwlock_object *self = (ips_rwlock_object *)object;
        ips_rwlock_start(&self->lock, &self->base.cell.wide, self->base.cell.space);
    }
    return object;
}

/* --- taking -------------------------------------------------------------- */

typedef int (*core_wait)(ips_rwlock *lock, int64_t deadline);

typedef struct {
    ips_rwlock *lock;
    core_wait take;
} taking;

static int
take_step(void *context, int64_t deadline)
{
    const taking *job = (const taking *)context;
    return job->take(job->lock, deadline);
}

static int
try_step(void *context, int64_t deadline)
{
    const taking *job = (const taking *)context;
    int status = job->take(job->lock, deadline);
    if (status == IPS_ETIMEOUT) {
        ips_rwlock_probe(job->lock);
        status = job->take(job->lock, deadline);
    }
    return status;
}

typedef struct {
    ips_rwlock_intent intent;
    int64_t deadline;
} intending;

/* Between the looks at signals and at close() the gate stays shut, so that
 * readers who come meanwhile do not keep the writer waiting for ever.  At the
 * deadline it opens before the GIL is waited for. */
static int
intend_step(void *context, int64_t until)
{
    intending *job = (intending *)context;
    int status = ips_rwlock_intend(&job->intent, until);
    if (status == IPS_ETIMEOUT && until >= job->deadline) {
        ips_rwlock_desist(&job->intent);
    }
    return status;
}

static int
try_to_intend_step(void *context, int64_t deadline)
{
    intending *job = (intending *)context;
    int status = intend_step(job, deadline);
    if (status == IPS_ETIMEOUT) {
        ips_rwlock_probe(job->intent.lock);
        status = intend_step(job, deadline);
    }
    return status;
}

/* As ips_rwlock_object_write, or an upgrade. */
static int
acquire_write(ips_rwlock_object *self, bool upgrades, int64_t deadline)
{
    if (ips_cell_is_quick(&self->base)) {
        int status = upgrades ? ips_rwlock_upgrade(&self->lock, IPS_AT_ONCE)
                              : ips_rwlock_write(&self->lock, IPS_AT_ONCE);
        if (status >= 0) {
            return status;
        }
    }
    if (!ips_cell_enter(&self->base)) {
        return IPS_EINTR;
    }
    intending job = {{.lock = &self->lock, .upgrades = upgrades}, deadline};
    int status = ips_acquire_slowly(&self->base, intend_step, try_to_intend_step, &job, deadline);
    ips_rwlock_desist(&job.intent); /* closed meanwhile, maybe */
    ips_cell_leave(&self->base);
    return status;
}

static bool
reads_at_once(ips_rwlock_object *self)
{
    if (!ips_cell_is_quick(&self->base)) {
        return false;
    }
    ips_owner me = ips_space_self(self->base.cell.space);
    return me != IPS_NOBODY && ips_rwlock_try_read(&self->lock, me);
}

static int
wait_to_read(ips_rwlock_object *self, int64_t deadline)
{
    if (!ips_cell_enter(&self->base)) {
        return IPS_EINTR;
    }
    taking job = {&self->lock, ips_rwlock_read};
    int status = ips_acquire_slowly(&self->base, take_step, try_step, &job, deadline);
    ips_cell_leave(&self->base);
    return status;
}

static PyObject *
acquire_read(ips_rwlock_object *self, int64_t deadline)
{
    if (reads_at_once(self)) {
        Py_RETURN_TRUE;
    }
    return ips_acquire_result(&self->base, wait_to_read(self, deadline));
}

int
ips_rwlock_object_read(ips_rwlock_object *self, int64_t deadline)
{
    return reads_at_once(self) ? IPS_OK : wait_to_read(self, deadline);
}

int
ips_rwlock_object_write(ips_rwlock_object *self, int64_t deadline)
{
    return acquire_write(self, false, deadline);
}

/* What every acquire_...(blocking=True, timeout=-1) begins with. */
static int
deadline_of(PyObject *const *args, Py_ssize_t count, PyObject *keywords, int64_t *deadline)
{
    *deadline = IPS_FOREVER;
    return count == 0 && keywords == NULL ? 0
                                          : ips_acquire_deadline(args, count, keywords, deadline);
}

PyDoc_STRVAR(acquire_read_doc, "acquire_read($self, /, blocking=True, timeout=-1)\n--\n\n"
"Take the lock for reading: True, or False when it could not be had in time.\n\n"
"block= is accepted for blocking=, and timeout=None for -1.  A thread may take\n"
"it again while it reads, also while a writer waits.  A reader that dies has\n"
"left.  Look at `abandoned`: a writer may have died in the middle of writing.\n"
"Raises NoSpace where the lock stands in a segment and has no room for another\n"
"process that reads.");

static PyObject *
rwlock_acquire_read(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    int64_t deadline;
    return deadline_of(args, count, keywords, &deadline) < 0
               ? NULL
               : acquire_read((ips_rwlock_object *)self, deadline);
}

PyDoc_STRVAR(acquire_write_doc, "acquire_write($self, /, blocking=True, timeout=-1)\n--\n\n"
"Take the lock for writing: True, or False when it could not be had in time.\n\n"
"While it waits no new reader gets in.  Where a writer died in the middle of\n"
"writing, the lock is taken and `abandoned` is true until it is released.");

static PyObject *
rwlock_acquire_write(PyObject *object, PyObject *const *args, Py_ssize_t count,
                     PyObject *keywords)
{
    ips_rwlock_object *self = (ips_rwlock_object *)object;
    int64_t deadline;
    if (deadline_of(args, count, keywords, &deadline) < 0) {
        return NULL;
    }
    return ips_acquire_result(&self->base, acquire_write(self, false, deadline));
}

PyDoc_STRVAR(try_read_doc, "try_read($self, /)\n--\n\nacquire_read(blocking=False).");

static PyObject *
rwlock_try_read(PyObject *self, PyObject *unused)
{
    (void)unused;
    return acquire_read((ips_rwlock_object *)self, IPS_AT_ONCE);
}

PyDoc_STRVAR(try_write_doc, "try_write($self, /)\n--\n\nacquire_write(blocking=False).");

static PyObject *
rwlock_try_write(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_rwlock_object *self = (ips_rwlock_object *)object;
    return ips_acquire_result(&self->base, acquire_write(self, false, IPS_AT_ONCE));
}

/* --- giving up ----------------------------------------------------------- */

static PyObject *
raise_not_held(ips_rwlock_object *self, const char *what)
{
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    const char *name = ips_cell_name_of(&self->base);
    return state == NULL
               ? NULL
               : ips_raise_text(state, IPS_ENOTHELD, "%s %s is not held for %s by this process",
                                name == NULL ? "an unnamed" : name, Py_TYPE(self)->tp_name, what);
}

static PyObject *
finish(ips_rwlock_object *self, int status, const char *what)
{
    if (status == IPS_ENOTHELD) {
        return raise_not_held(self, what);
    }
    ips_state *state = status == IPS_EINTR ? NULL : ips_state_of_type(Py_TYPE(self));
    return state == NULL ? NULL : ips_raise(state, status);
}

static PyObject *
release_read(ips_rwlock_object *self)
{
    if (ips_cell_is_quick(&self->base) && ips_rwlock_leave_read(&self->lock) == IPS_OK) {
        Py_RETURN_NONE;
    }
    if (!ips_cell_enter(&self->base)) {
        return NULL;
    }
    int status = ips_rwlock_leave_read(&self->lock);
    if (status == IPS_ENOTHELD) { /* taken through another handle, maybe */
        taking job = {&self->lock, ips_rwlock_meet};
        status = ips_wait_without_gil(take_step, &job, IPS_FOREVER);
        status = status < 0 ? status : ips_rwlock_leave_read(&self->lock);
    }
    ips_cell_leave(&self->base);
    if (status == IPS_OK) {
        Py_RETURN_NONE;
    }
    return finish(self, status, "reading");
}

static PyObject *
release_write(ips_rwlock_object *self)
{
    if (ips_cell_is_quick(&self->base) && ips_rwlock_leave_write(&self->lock) == IPS_OK) {
        Py_RETURN_NONE;
    }
    if (!ips_cell_enter(&self->base)) {
        return NULL;
    }
    int status = ips_rwlock_leave_write(&self->lock);
    ips_cell_leave(&self->base);
    if (status == IPS_OK) {
        Py_RETURN_NONE;
    }
    return finish(self, status, "writing");
}

PyObject *
ips_rwlock_object_release(ips_rwlock_object *self)
{
    if (!ips_cell_is_usable(&self->base)) {
        return ips_cell_raise_closed(&self->base);
    }
    bool writes = ips_rwlock_writer(&self->lock) == ips_space_self(self->base.cell.space);
    return writes ? release_write(self) : release_read(self);
}

PyDoc_STRVAR(release_read_doc, "release_read($self, /)\n--\n\n"
"Give up one reading, by any thread of the process; NotHeld (a RuntimeError)\n"
"where the process reads no more.");

static PyObject *
rwlock_release_read(PyObject *self, PyObject *unused)
{
    (void)unused;
    return release_read((ips_rwlock_object *)self);
}

PyDoc_STRVAR(release_write_doc, "release_write($self, /)\n--\n\n"
"Give up the writing, by any thread of the process; NotHeld (a RuntimeError)\n"
"where it is not this process that writes.  `abandoned` is false afterwards.");

static PyObject *
rwlock_release_write(PyObject *self, PyObject *unused)
{
    (void)unused;
    return release_write((ips_rwlock_object *)self);
}

/* --- from the one to the other ------------------------------------------- */

PyDoc_STRVAR(upgrade_doc, "upgrade($self, /, blocking=True, timeout=-1)\n--\n\n"
"Turn a reading of this process into the writing, without letting anybody\n"
"write in between: True, or False when the other readers did not leave in time;\n"
"then it reads on.\n\n"
"DeadlockError (a RuntimeError) at once where another reader is upgrading:\n"
"each would wait for the other.  Release the read and acquire the write then.\n"
"NotHeld where the process does not read.  Goes before writers that wait.");

static PyObject *
rwlock_upgrade(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    ips_rwlock_object *self = (ips_rwlock_object *)object;
    int64_t deadline;
    if (deadline_of(args, count, keywords, &deadline) < 0) {
        return NULL;
    }
    int status = acquire_write(self, true, deadline);
    return status == IPS_ENOTHELD ? raise_not_held(self, "reading")
                                  : ips_acquire_result(&self->base, status);
}

PyDoc_STRVAR(downgrade_doc, "downgrade($self, /)\n--\n\n"
"Turn the writing into a reading, without letting anybody write in between;\n"
"NotHeld where it is not this process that writes.");

static PyObject *
rwlock_downgrade(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_rwlock_object *self = (ips_rwlock_object *)object;
    if (!ips_cell_enter(&self->base)) {
        return NULL;
    }
    taking job = {&self->lock, ips_rwlock_downgrade};
    int status = ips_wait_without_gil(take_step, &job, IPS_FOREVER);
    ips_cell_leave(&self->base);
    if (status == IPS_OK) {
        Py_RETURN_NONE;
    }
    return finish(self, status, "writing");
}

/* --- read() and write() -------------------------------------------------- */

PyDoc_STRVAR(read_doc, "read($self, /, timeout=None)\n--\n\n"
"A context manager that holds the lock for reading: `with lock.read():`.  Timeout\n"
"is raised where `timeout` seconds were not enough.  The block may upgrade().");

static PyObject *
rwlock_read(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    return ips_rwlock_guard(self, args, count, keywords, false);
}

PyDoc_STRVAR(write_doc, "write($self, /, timeout=None)\n--\n\n"
"A context manager that holds the lock for writing: `with lock.write():`.  Timeout\n"
"is raised where `timeout` seconds were not enough.  The block may downgrade().");

static PyObject *
rwlock_write(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    return ips_rwlock_guard(self, args, count, keywords, true);
}

/* --- looking ------------------------------------------------------------- */

static PyObject *
rwlock_readers(PyObject *object, void *unused)
{
    (void)unused;
    ips_rwlock_object *self = (ips_rwlock_object *)object;
    return !ips_cell_is_usable(&self->base)
               ? ips_cell_raise_closed(&self->base)
               : PyLong_FromUnsignedLongLong(ips_rwlock_readers(&self->lock));
}

static PyObject *
rwlock_writer(PyObject *object, void *unused)
{
    (void)unused;
    ips_rwlock_object *self = (ips_rwlock_object *)object;
    if (!ips_cell_is_usable(&self->base)) {
        return ips_cell_raise_closed(&self->base);
    }
    ips_member_facts facts;
    ips_owner owner = ips_rwlock_writer(&self->lock);
    if (owner == IPS_NOBODY
        || ips_member_facts_of(self->base.cell.space, owner, &facts) < 0) {
        Py_RETURN_NONE;
    }
    return PyLong_FromLong(facts.process.pid);
}

static PyObject *
rwlock_abandoned(PyObject *object, void *unused)
{
    (void)unused;
    ips_rwlock_object *self = (ips_rwlock_object *)object;
    return !ips_cell_is_usable(&self->base)
               ? ips_cell_raise_closed(&self->base)
               : PyBool_FromLong(ips_rwlock_looks_abandoned(&self->lock));
}

static int
check_rwlock(ips_cell_object *self, ips_cell_report report, void *lines)
{
    return ips_rwlock_check(&((ips_rwlock_object *)self)->lock, report, lines);
}

static PyObject *
rwlock_check(PyObject *object, PyObject *unused)
{
    (void)unused;
    return ips_cell_problems((ips_cell_object *)object, check_rwlock);
}

static PyObject *
rwlock_repr(PyObject *object)
{
    ips_rwlock_object *self = (ips_rwlock_object *)object;
    const char *type = Py_TYPE(self)->tp_name;
    const char *name = ips_cell_name_of(&self->base);
    PyObject *how = self->base.shm == NULL ? PyUnicode_FromString("closed")
        : ips_rwlock_writer(&self->lock) != IPS_NOBODY
            ? PyUnicode_FromString("writing")
            : PyUnicode_FromFormat("%llu reading",
                                   (unsigned long long)ips_rwlock_readers(&self->lock));
    PyObject *text = how == NULL   ? NULL
                     : name == NULL ? PyUnicode_FromFormat("<%s at %p: %U>", type, self, how)
                                    : PyUnicode_FromFormat("<%s '%s' at %p: %U>", type, name, self,
                                                           how);
    Py_XDECREF(how);
    return text;
}

PyDoc_STRVAR(rwlock_doc, "RWLock(*, name=None, namespace=None, create=None, cleanup=None, segment=None)\n--\n\n"
"A lock between processes for many readers or one writer.\n\n"
"`with lock.read():` and `with lock.write():`; the readers of a process count on\n"
"a cache line of their own, so readers do not slow each other.  A writer that\n"
"waits keeps new readers out; when it has left, the readers that waited come\n"
"before the next writer.  A thread that reads may read again.  It does not work\n"
"to read in a thread that writes, or to write in one that reads without\n"
"upgrade(): such a thread waits for itself.\n\n"
"A dead reader has left.  Where a writer died writing, `abandoned` is true until\n"
"the next writer releases.  Who is stopped or slow keeps what it holds.");

#define TAKES_KEYWORDS(function) \
    (PyCFunction)(void (*)(void))function, METH_FASTCALL | METH_KEYWORDS

static PyMethodDef rwlock_methods[] = {
    {"read", TAKES_KEYWORDS(rwlock_read), read_doc},
    {"write", TAKES_KEYWORDS(rwlock_write), write_doc},
    {"acquire_read", TAKES_KEYWORDS(rwlock_acquire_read), acquire_read_doc},
    {"acquire_write", TAKES_KEYWORDS(rwlock_acquire_write), acquire_write_doc},
    {"try_read", rwlock_try_read, METH_NOARGS, try_read_doc},
    {"try_write", rwlock_try_write, METH_NOARGS, try_write_doc},
    {"release_read", rwlock_release_read, METH_NOARGS, release_read_doc},
    {"release_write", rwlock_release_write, METH_NOARGS, release_write_doc},
    {"upgrade", TAKES_KEYWORDS(rwlock_upgrade), upgrade_doc},
    {"downgrade", rwlock_downgrade, METH_NOARGS, downgrade_doc},
    {"check", rwlock_check, METH_NOARGS,
     "check($self, /)\n--\n\nWhat is wrong with its shared bytes, as a list of lines."},
    {"__enter__", ips_cell_enter_context, METH_NOARGS, "__enter__($self, /)\n--\n\nThe RWLock."},
    {"__exit__", (PyCFunction)(void (*)(void))ips_cell_exit_context, METH_FASTCALL,
     "__exit__($self, /, *exc_info)\n--\n\nclose()."},
    IPS_CELL_METHODS(rwlock_restore),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef rwlock_getsets[] = {
    {"readers", rwlock_readers, NULL, "How many readings living processes hold.", NULL},
    {"writer", rwlock_writer, NULL, "The pid of the process that writes, or None.", NULL},
    {"abandoned", rwlock_abandoned, NULL,
     "True from a writer's death in the middle of writing until the next writer releases.", NULL},
    IPS_CELL_GETSETS,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef rwlock_members[] = {
    IPS_CELL_WEAKREFS,
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot rwlock_slots[] = {
    {Py_tp_doc, (void *)rwlock_doc},
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_init, (void *)rwlock_init},
    {Py_tp_dealloc, (void *)ips_cell_dealloc},
    {Py_tp_repr, (void *)rwlock_repr},
    {Py_tp_methods, rwlock_methods},
    {Py_tp_getset, rwlock_getsets},
    {Py_tp_members, rwlock_members},
    {0, NULL},
};

static PyType_Spec rwlock_spec = {
    .name = "ipcsys.RWLock",
    .basicsize = sizeof(ips_rwlock_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = rwlock_slots,
};

int
ips_add_rwlock(PyObject *module, ips_state *state)
{
    state->rwlock_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &rwlock_spec, NULL);
    return state->rwlock_type == NULL || ips_add_rwlock_guard(module, state) < 0
               ? -1
               : PyModule_AddType(module, state->rwlock_type);
}
