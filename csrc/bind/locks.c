/* SPDX-License-Identifier: Apache-2.0 */
/* Who holds what and who waits for it, as ipcsys/sync.py asks: copies of the
 * primitives' words, and the records of member/waits.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bind/facts.h"
#include "member/object.h"
#include "member/waits.h"
#include "os/clock.h"
#include "segment/cells.h"
#include "sync/event.h"
#include "sync/lock.h"

/* --- the primitives ------------------------------------------------------ */

typedef struct {
    char name[IPS_NAME_MAX + 1]; /* "" in the pool */
    ips_cell_facts cell;
} found;

typedef struct {
    ips_space *space;
    ips_facts_list names, cells;
} search;

static int
visit_pooled(const ips_cell_facts *facts, void *context)
{
    if (facts->type == IPS_CELL_ATOMIC_INT) { /* nobody waits for one */
        return 0;
    }
    found copy = {.cell = *facts};
    return ips_facts_append(&((search *)context)->cells, &copy);
}

static int
visit_named(const ips_object_facts *facts, void *context)
{
    char name[IPS_NAME_MAX + 1];
    (void)snprintf(name, sizeof name, "%s", facts->name);
    return facts->kind == IPS_KIND_CELL ? ips_facts_append(&((search *)context)->names, name) : 0;
}

static int
look_at(search *job, const char *name)
{
    found copy;
    if (ips_cell_peek(job->space, name, &copy.cell) < 0 ||
        copy.cell.type == IPS_CELL_ATOMIC_INT) {
        return 0; /* removed meanwhile, or not for us */
    }
    (void)snprintf(copy.name, sizeof copy.name, "%s", name);
    return ips_facts_append(&job->cells, &copy);
}

static int
find_all(search *job)
{
    int status = ips_object_each(job->space, visit_named, job);
    for (size_t i = 0; status == 0 && i < job->names.count; i++) {
        status = look_at(job, (const char *)job->names.items + i * job->names.item_size);
    }
    return status < 0 ? status : ips_cells_each(job->space, visit_pooled, job);
}

/* One (owner, ident of its thread); 0: not known. */
static PyObject *
holder(ips_owner owner, uint64_t ident)
{
    return Py_BuildValue("(KK)", (unsigned long long)owner, (unsigned long long)ident);
}

/* Do its words begin with an ips_traced_lock_shm? */
static bool
is_lock(const ips_cell_facts *cell)
{
    return cell->type == IPS_CELL_LOCK || cell->type == IPS_CELL_RLOCK ||
           cell->type == IPS_CELL_CONDITION; /* of its own lock, if it has one */
}

static PyObject *
lock_holders(const ips_cell_facts *cell)
{
    ips_owner owner = cell->words[0] & ~IPS_OWNER_FLAGS;
    if (owner == IPS_NOBODY) {
        return PyList_New(0);
    }
    return Py_BuildValue("[N]", holder(owner, cell->words[1]));
}

/* Who has it, as a list of (owner, ident). */
static PyObject *
holders_of(const ips_cell_facts *cell)
{
    return is_lock(cell) ? lock_holders(cell) : PyList_New(0);
}

static const char *
state_of(const ips_cell_facts *cell)
{
    switch (cell->type) {
    case IPS_CELL_RLOCK:
    case IPS_CELL_CONDITION:
    case IPS_CELL_LOCK: return (cell->words[0] & ~IPS_OWNER_FLAGS) != 0 ? "held" : "free";
    case IPS_CELL_EVENT: return (cell->words[0] & 1) != 0 ? "set" : "clear";
    default: return "";
    }
}

static PyObject *
build_lock(const void *item)
{
    const found *copy = (const found *)item;
    const ips_cell_facts *cell = &copy->cell;
    bool named = copy->name[0] != '\0';
    bool abandoned = is_lock(cell) && (cell->words[0] & IPS_LOCK_ABANDONED) != 0;
    return Py_BuildValue("{s:N,s:N,s:s,s:s,s:K,s:K,s:N,s:O}",
        "name", named ? PyUnicode_DecodeUTF8(copy->name, (Py_ssize_t)strlen(copy->name),
                                             "surrogateescape")
                      : Py_NewRef(Py_None),
        "index", named ? Py_NewRef(Py_None) : PyLong_FromUnsignedLong(cell->index),
        "kind", ips_cell_type_name(cell->type),
        "state", state_of(cell),
        "file", (unsigned long long)cell->file,
        "place", (unsigned long long)cell->place,
        "holders", holders_of(cell),
        "abandoned", abandoned ? Py_True : Py_False);
}

PyDoc_STRVAR(locks_doc, "locks($module, /, namespace=None)\n--\n\n"
    "The primitives of a namespace that one can wait for, as dicts: named ones, then the\n"
    "unnamed by index.  `holders` are (owner, thread ident); 0 where that is not known.");

static PyObject *
core_locks(PyObject *module, PyObject *args, PyObject *kwargs)
{
    ips_state *state = ips_state_of_module(module);
    PyObject *namespace_ = ips_facts_namespace(args, kwargs, "|O:locks");
    ips_space *space = namespace_ == NULL ? NULL : ips_space_of(state, namespace_);
    if (space == NULL) {
        return NULL;
    }
    search job = {space, {.item_size = IPS_NAME_MAX + 1}, {.item_size = sizeof(found)}};
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = find_all(&job);
    Py_END_ALLOW_THREADS
    free(job.names.items);
    return ips_facts_build(state, status, &job.cells, build_lock);
}

/* --- the waits ----------------------------------------------------------- */

static int
visit_wait(const ips_wait_facts *facts, void *context)
{
    return ips_facts_append((ips_facts_list *)context, facts);
}

static double
seconds_since(int64_t moment)
{
    int64_t now = ips_now();
    return moment < now ? (double)(now - moment) / 1e9 : 0.0;
}

static PyObject *
build_wait(const void *item)
{
    const ips_wait_facts *facts = (const ips_wait_facts *)item;
    int64_t left = facts->deadline - ips_now();
    return Py_BuildValue("{s:K,s:i,s:K,s:K,s:K,s:L,s:d,s:N,s:K,s:d}",
        "owner", (unsigned long long)facts->owner,
        "thread", (int)facts->thread,
        "ident", (unsigned long long)facts->ident,
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
    "What the parked threads of a namespace's members wait for, as dicts; `file` and `place`\n"
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
