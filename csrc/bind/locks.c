/* SPDX-License-Identifier: Apache-2.0 */
/* Who holds what and who waits for it, as ipcsys/sync.py asks: copies of the
 * primitives' words, and the records of member/waits.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomics.h"
#include "bind/cell.h"
#include "bind/facts.h"
#include "data/types.h"
#include "data/atomic.h"
#include "member/object.h"
#include "member/waits.h"
#include "os/clock.h"
#include "segment/cells.h"
#include "segment/facts.h"
#include "sync/event.h"
#include "sync/lock.h"
#include "sync/rwlock.h"
#include "sync/semaphore.h"

#define MOST_KEYS 100000u /* of a segment that are looked at */

/* --- the primitives ------------------------------------------------------ */

/* What one of the wide ones says of its members. */
typedef struct {
    ips_owner owner;
    uint64_t count, trace;
} share;

typedef struct {
    char name[IPS_NAME_MAX + 1]; /* "" in the pool; the key in a segment */
    char segment[IPS_NAME_MAX + 1]; /* "" where it stands in none */
    ips_segment *inside; /* open while it is looked at */
    ips_offset root;     /* in it */
    ips_cell_facts cell;
    char state[40];
    bool abandoned;
    bool is_segment;        /* the writers' lock of one */
    int64_t since;          /* of its transaction; 0: not known */
    uint32_t first, shares; /* in the list of them */
} found;

typedef struct {
    ips_space *space;
    ips_facts_list names, segments, cells, shares;
    uint64_t *body; /* room for one, NULL until it is needed */
} search;

/* Do its words begin with an ips_traced_lock_shm? */
static bool
is_lock(const ips_cell_facts *cell)
{
    return cell->type == IPS_CELL_LOCK || cell->type == IPS_CELL_RLOCK ||
           cell->type == IPS_CELL_CONDITION; /* of its own lock, if it has one */
}

static int
add_share(search *job, ips_owner owner, uint64_t count, uint64_t trace)
{
    share one = {owner & ~IPS_OWNER_FLAGS, count, trace};
    return owner == IPS_NOBODY ? 0 : ips_facts_append(&job->shares, &one);
}

/* relaxed, all of it: the body is a private copy. */
static int
look_at_rwlock(search *job, found *out)
{
    const ips_rwlock_shm *lock = (const ips_rwlock_shm *)(const void *)job->body;
    uint64_t gate = atomic_load_explicit(&lock->gate, memory_order_relaxed);
    uint32_t used = atomic_load_explicit(&lock->lines.used, memory_order_relaxed);
    uint32_t most = (uint32_t)((IPS_WIDE_SIZE - sizeof *lock) / sizeof(ips_line_shm));
    out->abandoned = (atomic_load_explicit(&lock->state, memory_order_relaxed) &
                      IPS_RWLOCK_ABANDONED) != 0;
    if ((gate & IPS_RWLOCK_INSIDE) != 0) {
        (void)snprintf(out->state, sizeof out->state, "written");
        return add_share(job, gate, 1,
                         atomic_load_explicit(&lock->trace, memory_order_relaxed));
    }
    uint64_t readers = 0;
    int status = 0;
    for (uint32_t i = 0; status == 0 && i < used && i < most; i++) {
        const ips_line_shm *line = (const ips_line_shm *)(lock + 1) + i;
        uint32_t active = atomic_load_explicit(&line->active, memory_order_relaxed);
        if (active != 0) {
            readers += active;
            status = add_share(job, atomic_load_explicit(&line->owner, memory_order_relaxed),
                               active,
                               atomic_load_explicit(&line->trace, memory_order_relaxed));
        }
    }
    (void)snprintf(out->state, sizeof out->state, readers == 0 ? "free" : "read");
    return status;
}

static bool
is_semaphore(uint32_t type)
{
    return type == IPS_CELL_SEMAPHORE || type == IPS_CELL_BOUNDED_SEMAPHORE;
}

/* relaxed, all of it: the body is a private copy. */
static int
look_at_semaphore(search *job, found *out)
{
    const ips_semaphore_shm *semaphore = (const ips_semaphore_shm *)(const void *)job->body;
    int64_t more = (int64_t)atomic_load_explicit(&semaphore->word, memory_order_relaxed);
    uint64_t value = out->cell.words[0] + (uint64_t)(more >> IPS_SEMAPHORE_VALUE_AT);
    uint32_t used = atomic_load_explicit(&semaphore->used, memory_order_relaxed);
    uint32_t most = (uint32_t)((IPS_WIDE_SIZE - sizeof *semaphore) / sizeof *semaphore->seats);
    (void)snprintf(out->state, sizeof out->state, "%lld free", (long long)value);
    int status = 0;
    for (uint32_t i = 0; status == 0 && i < used && i < most; i++) {
        const ips_semaphore_seat_shm *seat = &semaphore->seats[i];
        uint64_t count = atomic_load_explicit(&seat->count, memory_order_relaxed);
        if (count != 0) {
            status = add_share(job, atomic_load_explicit(&seat->owner, memory_order_relaxed),
                               count,
                               atomic_load_explicit(&seat->trace, memory_order_relaxed));
        }
    }
    return status;
}

/* False where it has gone. */
static bool
copy_stable_body(search *job, const found *out)
{
    ips_wide wide;
    ips_stable_wide(out->inside, out->root, ips_cell_type_in_segment(out->cell.type), out->name, &wide);
    if (wide.shm == NULL) {
        return false;
    }
    memset(job->body, 0, IPS_WIDE_SIZE);
    ips_copy_racing((uint8_t *)job->body, wide.shm, IPS_STABLE_BODY);
    return true;
}

static int
look_at_body(search *job, found *out)
{
    if (out->cell.type != IPS_CELL_RWLOCK && !is_semaphore(out->cell.type)) {
        return 0;
    }
    if (job->body == NULL && (job->body = malloc(IPS_WIDE_SIZE)) == NULL) {
        return ips_fail(IPS_ENOMEM, "listing the namespace");
    }
    if (out->inside != NULL) {
        if (!copy_stable_body(job, out)) {
            return 0;
        }
        return is_semaphore(out->cell.type) ? look_at_semaphore(job, out) : look_at_rwlock(job, out);
    }
    const char *name = out->name[0] == '\0' ? NULL : out->name;
    if (ips_cell_peek_body(job->space, &out->cell, name, job->body, IPS_WIDE_SIZE) < 0) {
        return 0; /* removed meanwhile */
    }
    return is_semaphore(out->cell.type) ? look_at_semaphore(job, out) : look_at_rwlock(job, out);
}

static bool
is_atomic(const ips_cell_facts *cell)
{
    return cell->type == IPS_CELL_ATOMIC_INT || cell->type == IPS_CELL_ATOMIC_FLOAT ||
           cell->type == IPS_CELL_ATOMIC_BOOL;
}

static void
describe_atomic(found *out)
{
    const int64_t value = (int64_t)out->cell.words[0];
    if (out->cell.type == IPS_CELL_ATOMIC_FLOAT) {
        (void)snprintf(out->state, sizeof out->state, "%g", ips_atomic_as_double(value));
    } else if (out->cell.type == IPS_CELL_ATOMIC_BOOL) {
        (void)snprintf(out->state, sizeof out->state, "%s", value != 0 ? "True" : "False");
    } else {
        (void)snprintf(out->state, sizeof out->state, "%lld", (long long)value);
    }
}

static int
add(search *job, found *out)
{
    const ips_cell_facts *cell = &out->cell;
    uint32_t first = (uint32_t)job->shares.count;
    int status = 0;
    if (is_atomic(cell)) {
        describe_atomic(out);
    } else if (is_lock(cell)) {
        bool held = (cell->words[0] & ~IPS_OWNER_FLAGS) != IPS_NOBODY;
        out->abandoned = (cell->words[0] & IPS_LOCK_ABANDONED) != 0;
        (void)snprintf(out->state, sizeof out->state, held ? "held" : "free");
    } else if (cell->type == IPS_CELL_EVENT) {
        (void)snprintf(out->state, sizeof out->state, (cell->words[0] & 1) != 0 ? "set" : "clear");
    } else {
        status = look_at_body(job, out);
    }
    out->first = first;
    out->shares = (uint32_t)job->shares.count - first;
    return status < 0 ? status : ips_facts_append(&job->cells, out);
}

static int
visit_pooled(const ips_cell_facts *facts, void *context)
{
    found copy = {.cell = *facts};
    return add((search *)context, &copy);
}

static int
visit_named(const ips_object_facts *facts, void *context)
{
    char name[IPS_NAME_MAX + 1];
    (void)snprintf(name, sizeof name, "%s", facts->name);
    search *job = (search *)context;
    return facts->kind == IPS_KIND_CELL      ? ips_facts_append(&job->names, name)
           : facts->kind == IPS_KIND_SEGMENT ? ips_facts_append(&job->segments, name) : 0;
}

static int
look_at_entry(search *job, ips_segment *segment, const char *name, const ips_entry *entry)
{
    found copy = {.inside = segment, .root = entry->offset};
    const ips_object *object = ips_segment_object(segment);
    const ips_cell_shm *cell = ips_segment_at(segment, entry->offset, IPS_STABLE_SIZE);
    copy.cell.type = ips_cell_type_from_segment(entry->type);
    if (cell == NULL || copy.cell.type == IPS_CELL_FREE ||
        ips_stable_generation(segment, entry->offset, entry->type) == 0) {
        return 0; /* something else, or gone */
    }
    for (size_t i = 0; i < IPS_CELL_WORDS; i++) {
        /* relaxed: a look, a moment old when it arrives. */
        copy.cell.words[i] = atomic_load_explicit(&cell->words[i], memory_order_relaxed);
    }
    copy.cell.file = ips_wait_file((const ips_header_shm *)(const void *)object->base);
    copy.cell.place = entry->offset;
    (void)snprintf(copy.name, sizeof copy.name, "%s", entry->name);
    (void)snprintf(copy.segment, sizeof copy.segment, "%s", name);
    return add(job, &copy);
}

/* Who writes to the segment just now, or has a transaction open. */
static int
add_writer(search *job, const ips_segment *segment, const char *name)
{
    ips_tx_facts open;
    ips_tx_facts_of(segment, &open);
    found copy = {.is_segment = true, .since = open.since, .first = (uint32_t)job->shares.count};
    copy.cell.file = open.file;
    copy.cell.place = IPS_TX_PLACE;
    (void)snprintf(copy.name, sizeof copy.name, "%s", name);
    (void)snprintf(copy.state, sizeof copy.state, open.holder == IPS_NOBODY ? "free" : "written");
    int status = add_share(job, open.holder, 1, open.since == 0 ? 0 : open.thread);
    copy.shares = (uint32_t)job->shares.count - copy.first;
    return status < 0 ? status : ips_facts_append(&job->cells, &copy);
}

/* What stands in one segment; what a transaction is changing just now is left
 * out. */
static int
look_into(search *job, const char *name)
{
    ips_segment *segment;
    bool created;
    if (ips_segment_open(job->space, name, IPS_OPEN_ONLY, 0, 0, false, &segment, &created) < 0) {
        return 0; /* removed meanwhile, or damaged: `ipcsys check` tells */
    }
    uint64_t cursor = 0;
    ips_entry entry;
    int status = add_writer(job, segment, name);
    for (uint32_t i = 0; status == 0 && i < MOST_KEYS &&
                         ips_catalogue_next(segment, &cursor, &entry) == 0; i++) {
        status = look_at_entry(job, segment, name, &entry);
    }
    ips_segment_close(segment);
    return status;
}

static int
look_at(search *job, const char *name)
{
    found copy = {.first = 0};
    (void)snprintf(copy.name, sizeof copy.name, "%s", name);
    return ips_cell_peek(job->space, name, &copy.cell) < 0 ? 0 /* removed meanwhile */
                                                           : add(job, &copy);
}

static int
find_all(search *job)
{
    int status = ips_object_each(job->space, visit_named, job);
    for (size_t i = 0; status == 0 && i < job->names.count; i++) {
        status = look_at(job, (const char *)job->names.items + i * job->names.item_size);
    }
    for (size_t i = 0; status == 0 && i < job->segments.count; i++) {
        status = look_into(job, (const char *)job->segments.items + i * job->segments.item_size);
    }
    return status < 0 ? status : ips_cells_each(job->space, visit_pooled, job);
}

static double
seconds_since(int64_t moment)
{
    int64_t now = ips_now();
    return moment < now ? (double)(now - moment) / 1e9 : 0.0;
}

/* One (owner, which thread or task as in sync/trace.h, how many it has). */
static PyObject *
holder(ips_owner owner, uint64_t trace, uint64_t count)
{
    return Py_BuildValue("(KKK)", (unsigned long long)owner, (unsigned long long)trace,
                         (unsigned long long)count);
}

static PyObject *
holders_of(const found *copy, const share *shares)
{
    const ips_cell_facts *cell = &copy->cell;
    if (is_lock(cell)) {
        ips_owner owner = cell->words[0] & ~IPS_OWNER_FLAGS;
        return owner == IPS_NOBODY ? PyList_New(0)
                                   : Py_BuildValue("[N]", holder(owner, cell->words[1], 1));
    }
    PyObject *list = PyList_New(copy->shares);
    for (uint32_t i = 0; list != NULL && i < copy->shares; i++) {
        const share *one = &shares[copy->first + i];
        PyObject *item = holder(one->owner, one->trace, one->count);
        if (item == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, i, item);
        }
    }
    return list;
}

static PyObject *
build_lock(const found *copy, const share *shares)
{
    const ips_cell_facts *cell = &copy->cell;
    bool named = copy->name[0] != '\0';
    return Py_BuildValue("{s:N,s:N,s:N,s:s,s:s,s:K,s:K,s:N,s:N,s:O}",
        "name", named ? PyUnicode_DecodeUTF8(copy->name, (Py_ssize_t)strlen(copy->name),
                                             "surrogateescape")
                      : Py_NewRef(Py_None),
        "segment", copy->segment[0] == '\0' ? Py_NewRef(Py_None)
            : PyUnicode_DecodeUTF8(copy->segment, (Py_ssize_t)strlen(copy->segment),
                                   "surrogateescape"),
        "index", named ? Py_NewRef(Py_None) : PyLong_FromUnsignedLong(cell->index),
        "kind", copy->is_segment ? "Segment" : ips_cell_type_name(cell->type),
        "state", copy->state,
        "file", (unsigned long long)cell->file,
        "place", (unsigned long long)cell->place,
        "holders", holders_of(copy, shares),
        "seconds", copy->since == 0 ? Py_NewRef(Py_None)
                                    : PyFloat_FromDouble(seconds_since(copy->since)),
        "abandoned", copy->abandoned ? Py_True : Py_False);
}

PyDoc_STRVAR(locks_doc, "locks($module, /, namespace=None)\n--\n\n"
    "The primitives of a namespace that one can wait for, as dicts: named ones, segments (their\n"
    "writers' lock) and those in them, then the unnamed by index.  `holders` are (owner, trace, how many); the trace is\n"
    "the ident of a thread, from 2**63 on the number of a task, 0 where neither is known.");

static PyObject *
core_locks(PyObject *module, PyObject *args, PyObject *kwargs)
{
    ips_state *state = ips_state_of_module(module);
    PyObject *namespace_ = ips_facts_namespace(args, kwargs, "|O:locks");
    ips_space *space = namespace_ == NULL ? NULL : ips_space_of(state, namespace_);
    if (space == NULL) {
        return NULL;
    }
    search job = {space, {.item_size = IPS_NAME_MAX + 1}, {.item_size = IPS_NAME_MAX + 1},
                  {.item_size = sizeof(found)}, {.item_size = sizeof(share)}, NULL};
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = find_all(&job);
    Py_END_ALLOW_THREADS
    PyObject *result = status < 0 ? ips_raise(state, status) : PyList_New(0);
    for (size_t i = 0; result != NULL && i < job.cells.count; i++) {
        PyObject *item = build_lock((const found *)job.cells.items + i,
                                    (const share *)job.shares.items);
        if (item == NULL || PyList_Append(result, item) < 0) {
            Py_CLEAR(result);
        }
        Py_XDECREF(item);
    }
    free(job.names.items);
    free(job.segments.items);
    free(job.cells.items);
    free(job.shares.items);
    free(job.body);
    return result;
}

/* --- the waits ----------------------------------------------------------- */

static int
visit_wait(const ips_wait_facts *facts, void *context)
{
    return ips_facts_append((ips_facts_list *)context, facts);
}

static PyObject *
build_wait(const void *item)
{
    const ips_wait_facts *facts = (const ips_wait_facts *)item;
    int64_t left = facts->deadline - ips_now();
    return Py_BuildValue("{s:K,s:i,s:K,s:k,s:K,s:K,s:L,s:d,s:N,s:K,s:d}",
        "owner", (unsigned long long)facts->owner,
        "thread", (int)facts->thread,
        "ident", (unsigned long long)facts->ident,
        "task", (unsigned long)facts->task,
        "file", (unsigned long long)facts->file,
        "place", (unsigned long long)facts->place,
        "since", (long long)facts->since,
        "seconds", seconds_since(facts->since),
        "left", facts->deadline == IPS_FOREVER ? Py_NewRef(Py_None)
                                               : PyFloat_FromDouble(left < 0 ? 0.0 : (double)left / 1e9),
        "holder", (unsigned long long)facts->holder,
        "holder_seconds", seconds_since(facts->holder_since));
}

PyDoc_STRVAR(waits_doc, "waits($module, /, namespace=None)\n--\n\n"
    "What the parked threads of a namespace's members wait for, and tasks of their event loops\n"
    "(`task` is not 0: the number of one that this thread runs), as dicts; `file` and `place`\n"
    "are those of locks().  `holder` was found in the way when the thread parked last.");

static PyObject *
core_waits(PyObject *module, PyObject *args, PyObject *kwargs)
{
    ips_state *state = ips_state_of_module(module);
    PyObject *namespace_ = ips_facts_namespace(args, kwargs, "|O:waits");
    ips_space *space = namespace_ == NULL ? NULL : ips_space_of(state, namespace_);
    if (space == NULL) {
        return NULL;
    }
    ips_facts_list list = {.item_size = sizeof(ips_wait_facts)};
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = ips_space_each_wait(space, visit_wait, &list);
    Py_END_ALLOW_THREADS
    return ips_facts_build(state, status, &list, build_wait);
}

static PyMethodDef locks_functions[] = {
    {"locks", (PyCFunction)(void (*)(void))core_locks, METH_VARARGS | METH_KEYWORDS, locks_doc},
    {"waits", (PyCFunction)(void (*)(void))core_waits, METH_VARARGS | METH_KEYWORDS, waits_doc},
    {NULL, NULL, 0, NULL},
};

int
ips_add_locks(PyObject *module, ips_state *state)
{
    (void)state;
    return PyModule_AddFunctions(module, locks_functions);
}
