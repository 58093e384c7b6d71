/* SPDX-License-Identifier: Apache-2.0 */
/* From a namespace's name to its joined folder, and what the command line
 * asks about one: who is there, what lies there.
 *
 * The folder is $IPCSYS_DIR (else /dev/shm/ipcsys-<uid>/<format major>) with
 * the namespace below it: the argument, else $IPCSYS_NAMESPACE, else
 * "default".  The environment is read each time, at 50 ns, so that a change
 * of os.environ counts at once. */
#include "bind/facts.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/header.h"
#include "data/inset.h"
#include "member/object.h"
#include "os/clock.h"
#include "os/process.h"
#include "segment/cells.h"
#include "segment/facts.h"

#define FORMAT_MAJOR 1

/* The last namespace this thread asked for: its answer changes when one is left. */
static _Thread_local struct {
    char root[256], name[IPS_NAME_MAX + 1]; /* as the environment and the argument say */
    ips_space *space;                       /* NULL: nothing kept */
    uint64_t leavings;                      /* good while this is their number */
} last;

static const char *
text_of_name(ips_state *state, PyObject *name, const char *what, Py_ssize_t *size)
{
    if (!PyUnicode_Check(name)) {
        return (const char *)PyErr_Format(PyExc_TypeError, "%s must be a str or None, not %.100s",
                                          what, Py_TYPE(name)->tp_name);
    }
    const char *text = PyUnicode_AsUTF8AndSize(name, size);
    if (text == NULL && PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
        PyErr_Clear();
        (void)ips_raise_text(state, IPS_ENAME, "a %s must not contain surrogates", what);
    }
    return text;
}

const char *
ips_name_of(ips_state *state, PyObject *name)
{
    Py_ssize_t size;
    const char *text = text_of_name(state, name, "name", &size);
    if (text == NULL) {
        return NULL;
    }
    int status = ips_name_check(text, (size_t)size);
    return status < 0 ? (const char *)ips_raise(state, status) : text;
}

/* The namespace's own name, checked, or NULL with an exception set. */
static const char *
namespace_of(ips_state *state, PyObject *namespace_)
{
    Py_ssize_t size;
    const char *text;
    if (namespace_ != NULL && namespace_ != Py_None) {
        text = text_of_name(state, namespace_, "namespace", &size);
        if (text == NULL) {
            return NULL;
        }
    } else {
        text = getenv("IPCSYS_NAMESPACE");
        if (text == NULL || text[0] == '\0') {
            return "default";
        }
        size = (Py_ssize_t)strlen(text);
    }
    int status = ips_name_check(text, (size_t)size);
    return status < 0 ? (const char *)ips_raise(state, status) : text;
}

static const char *
root_of(void)
{
    const char *root = getenv("IPCSYS_DIR");
    return root == NULL ? "" : root;
}

/* Write the folder of the namespace; 0 or -1 with an exception set. */
static int
folder_of(ips_state *state, const char *name, char folder[PATH_MAX])
{
    const char *root = root_of();
    int size;
    if (root[0] == '\0') {
        size = snprintf(folder, PATH_MAX, "/dev/shm/ipcsys-%u/%d/%s", (unsigned)ips_user_id(),
                        FORMAT_MAJOR, name);
    } else if (root[0] != '/') {
        (void)ips_raise_text(state, IPS_ENAME, "IPCSYS_DIR is '%.100s'; give an absolute path", root);
        return -1;
    } else {
        size = snprintf(folder, PATH_MAX, "%s/%s", root, name);
    }
    if (size >= PATH_MAX) {
        (void)ips_raise_text(state, IPS_ENAME, "the path in IPCSYS_DIR is too long");
        return -1;
    }
    return 0;
}

/* Join, and keep the answer.  The texts may be the environment's, which other
 * threads change while we are without the GIL: so they are copied first. */
static ips_space *
join(ips_state *state, const char *name, const char *root)
{
    char folder[PATH_MAX], name_copy[sizeof last.name], root_copy[sizeof last.root];
    if (folder_of(state, name, folder) < 0) {
        return NULL;
    }
    (void)snprintf(name_copy, sizeof name_copy, "%s", name);
    bool fits = snprintf(root_copy, sizeof root_copy, "%s", root) < (int)sizeof root_copy;
    ips_space *space = NULL;
    int status;
    uint64_t leavings = ips_space_leavings();
    Py_BEGIN_ALLOW_THREADS /* joining clears away the dead: it may probe */
    status = ips_space_join(folder, &space);
    Py_END_ALLOW_THREADS
    if (status < 0) {
        return (ips_space *)ips_raise(state, status);
    }
    last.space = fits ? space : NULL;
    last.leavings = leavings;
    memcpy(last.name, name_copy, sizeof name_copy);
    memcpy(last.root, root_copy, sizeof root_copy);
    return space;
}

ips_space *
ips_space_of(ips_state *state, PyObject *namespace_)
{
    const char *name = namespace_of(state, namespace_);
    if (name == NULL) {
        return NULL;
    }
    const char *root = root_of();
    if (last.space != NULL && last.leavings == ips_space_leavings() &&
        strcmp(name, last.name) == 0 && strcmp(root, last.root) == 0) {
        return last.space;
    }
    return join(state, name, root);
}

static int
visit_member(const ips_member_facts *facts, void *context)
{
    return ips_facts_append((ips_facts_list *)context, facts);
}

static PyObject *
build_member(const void *item)
{
    const ips_member_facts *facts = (const ips_member_facts *)item;
    return Py_BuildValue("{s:K,s:I,s:K,s:i,s:N,s:d,s:O,s:K}",
        "owner", (unsigned long long)facts->owner,
        "slot", (unsigned)ips_owner_slot(facts->owner),
        "generation", (unsigned long long)ips_owner_generation(facts->owner),
        "pid", (int)facts->process.pid,
        "program", PyUnicode_DecodeUTF8(facts->name, (Py_ssize_t)strnlen(facts->name, sizeof facts->name),
                                        "replace"),
        "joined", (double)facts->joined_wall_clock / 1e9,
        "bell", facts->has_bell ? Py_True : Py_False,
        "main_ident", (unsigned long long)facts->main_ident);
}

typedef struct {
    char name[IPS_NAME_MAX + 1];
    ips_object_facts facts;
    uint32_t cell_type; /* where it is a cell */
    ips_tx_facts open;  /* where it is a segment */
} named_facts;

typedef struct {
    ips_space *space;
    ips_facts_list list;
} object_listing;

static int
visit_object(const ips_object_facts *facts, void *context)
{
    object_listing *listing = (object_listing *)context;
    named_facts copy = {.facts = *facts};
    (void)snprintf(copy.name, sizeof copy.name, "%s", facts->name);
    if (facts->kind == IPS_KIND_CELL) {
        copy.cell_type = ips_cell_type_of(listing->space, facts->name);
    } else if (facts->kind == IPS_KIND_SEGMENT &&
               ips_tx_peek(listing->space, facts->name, &copy.open) < 0) {
        copy.open = (ips_tx_facts){.holder = IPS_NOBODY}; /* removed meanwhile */
    }
    return ips_facts_append(&listing->list, &copy);
}

static const char *
kind_name(const named_facts *object)
{
    switch (object->facts.kind) {
    case IPS_KIND_MEMBERS: return "members";
    case IPS_KIND_CELLS: return "cells";
    case IPS_KIND_CELL: return ips_cell_type_name(object->cell_type);
    case IPS_KIND_SEGMENT: return "segment";
    case IPS_KIND_QUEUE: return "queue";
    case IPS_KIND_MEMORY: return "memory";
    case IPS_KIND_ARRAY: return "array";
    default: return "unknown";
    }
}

/* (owner, seconds or None, thread ident) of whoever has a transaction open. */
static PyObject *
writer_of(const ips_tx_facts *open)
{
    if (open->holder == IPS_NOBODY) {
        return Py_NewRef(Py_None);
    }
    return Py_BuildValue("(KNK)", (unsigned long long)open->holder,
        open->since == 0 ? Py_NewRef(Py_None)
                         : PyFloat_FromDouble((double)(ips_now() - open->since) / 1e9),
        (unsigned long long)open->thread);
}

static PyObject *
build_object(const void *item)
{
    const named_facts *copy = (const named_facts *)item;
    return Py_BuildValue("{s:N,s:s,s:K,s:K,s:I,s:N}",
        "name", PyUnicode_DecodeUTF8(copy->name, (Py_ssize_t)strlen(copy->name), "surrogateescape"),
        "kind", kind_name(copy),
        "size", (unsigned long long)copy->facts.size,
        "max_size", (unsigned long long)copy->facts.max_size,
        "users", (unsigned)copy->facts.users,
        "writer", writer_of(&copy->open));
}

PyDoc_STRVAR(members_doc, "members($module, /, namespace=None)\n--\n\n"
    "The living members of a namespace, as dicts, oldest slot first.");

static PyObject *
core_members(PyObject *module, PyObject *args, PyObject *kwargs)
{
    ips_state *state = ips_state_of_module(module);
    PyObject *namespace_ = ips_facts_namespace(args, kwargs, "|O:members");
    ips_space *space = namespace_ == NULL ? NULL : ips_space_of(state, namespace_);
    if (space == NULL) {
        return NULL;
    }
    ips_facts_list list = {.item_size = sizeof(ips_member_facts)};
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = ips_space_each_member(space, visit_member, &list);
    Py_END_ALLOW_THREADS
    return ips_facts_build(state, status, &list, build_member);
}

PyDoc_STRVAR(objects_doc, "objects($module, /, namespace=None)\n--\n\n"
    "The named objects of a namespace, as dicts.  `writer` is (owner, seconds, thread\n"
    "ident) of whoever has a transaction open on a segment; seconds None: for a moment.");

static PyObject *
core_objects(PyObject *module, PyObject *args, PyObject *kwargs)
{
    ips_state *state = ips_state_of_module(module);
    PyObject *namespace_ = ips_facts_namespace(args, kwargs, "|O:objects");
    ips_space *space = namespace_ == NULL ? NULL : ips_space_of(state, namespace_);
    if (space == NULL) {
        return NULL;
    }
    object_listing listing = {space, {.item_size = sizeof(named_facts)}};
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = ips_object_each(space, visit_object, &listing);
    Py_END_ALLOW_THREADS
    return ips_facts_build(state, status, &listing.list, build_object);
}

PyDoc_STRVAR(check_members_doc, "check_members($module, /, namespace=None)\n--\n\n"
    "What is wrong with the member table of a namespace: a list of lines, empty when sound.");

static PyObject *
core_check_members(PyObject *module, PyObject *args, PyObject *kwargs)
{
    ips_state *state = ips_state_of_module(module);
    PyObject *namespace_ = ips_facts_namespace(args, kwargs, "|O:check_members");
    ips_space *space = namespace_ == NULL ? NULL : ips_space_of(state, namespace_);
    if (space == NULL) {
        return NULL;
    }
    ips_facts_list list = {.item_size = IPS_FACTS_LINE};
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = ips_space_check(space, ips_facts_report, &list);
    Py_END_ALLOW_THREADS
    bool told = status == IPS_ECORRUPT && list.count > 0; /* the lines say it better */
    return ips_facts_build(state, told ? 0 : status, &list, ips_facts_line);
}

struct cells_job {
    ips_space *space;
    ips_facts_list *list;
    ips_cells_stats stats;
};

static int
check_cells_step(void *context, int64_t deadline)
{
    const struct cells_job *job = (const struct cells_job *)context;
    return ips_cells_check(job->space, deadline, ips_facts_report, job->list);
}

PyDoc_STRVAR(check_cells_doc, "check_cells($module, /, namespace=None)\n--\n\n"
    "What is wrong with the unnamed objects of a namespace: a list of lines, empty when sound.");

static PyObject *
core_check_cells(PyObject *module, PyObject *args, PyObject *kwargs)
{
    ips_state *state = ips_state_of_module(module);
    PyObject *namespace_ = ips_facts_namespace(args, kwargs, "|O:check_cells");
    ips_space *space = namespace_ == NULL ? NULL : ips_space_of(state, namespace_);
    if (space == NULL) {
        return NULL;
    }
    ips_facts_list list = {.item_size = IPS_FACTS_LINE};
    struct cells_job job = {space, &list, {0, 0, 0}};
    int status = ips_wait_without_gil(check_cells_step, &job, IPS_FOREVER);
    if (status == IPS_EINTR) {
        free(list.items);
        return NULL;
    }
    bool told = status == IPS_ECORRUPT && list.count > 0;
    return ips_facts_build(state, told ? 0 : status, &list, ips_facts_line);
}

static int
cells_step(void *context, int64_t deadline)
{
    struct cells_job *job = (struct cells_job *)context;
    return ips_cells_stats_of(job->space, deadline, &job->stats);
}

PyDoc_STRVAR(cells_doc, "cells($module, /, namespace=None)\n--\n\n"
    "How many unnamed small objects a namespace has: a dict of used, tickets and backed.");

static PyObject *
core_cells(PyObject *module, PyObject *args, PyObject *kwargs)
{
    ips_state *state = ips_state_of_module(module);
    PyObject *namespace_ = ips_facts_namespace(args, kwargs, "|O:cells");
    ips_space *space = namespace_ == NULL ? NULL : ips_space_of(state, namespace_);
    if (space == NULL) {
        return NULL;
    }
    struct cells_job job = {space, NULL, {0, 0, 0}};
    int status = ips_wait_without_gil(cells_step, &job, IPS_FOREVER);
    if (status < 0) {
        return status == IPS_EINTR ? NULL : ips_raise(state, status);
    }
    return Py_BuildValue("{s:I,s:I,s:K}", "used", (unsigned)job.stats.used, "tickets",
                         (unsigned)job.stats.tickets, "backed",
                         (unsigned long long)job.stats.backed);
}

PyDoc_STRVAR(sweep_doc, "sweep($module, /, namespace=None)\n--\n\n"
    "Clear away whatever dead members left in a namespace.");

static PyObject *
core_sweep(PyObject *module, PyObject *args, PyObject *kwargs)
{
    ips_state *state = ips_state_of_module(module);
    PyObject *namespace_ = ips_facts_namespace(args, kwargs, "|O:sweep");
    ips_space *space = namespace_ == NULL ? NULL : ips_space_of(state, namespace_);
    if (space == NULL) {
        return NULL;
    }
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = ips_space_sweep(space);
    Py_END_ALLOW_THREADS
    if (status < 0) {
        return ips_raise(state, status);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(remove_object_doc, "remove_object($module, /, name, namespace=None, force=False)\n--\n\n"
    "Remove a named object; InUse while live members hold it, unless force.");

static PyObject *
core_remove_object(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"name", "namespace", "force", NULL};
    ips_state *state = ips_state_of_module(module);
    PyObject *name, *namespace_ = Py_None;
    int force = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|Op:remove_object", names, &name, &namespace_,
                                     &force)) {
        return NULL;
    }
    const char *text = ips_name_of(state, name);
    ips_space *space = text == NULL ? NULL : ips_space_of(state, namespace_);
    if (space == NULL) {
        return NULL;
    }
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = ips_object_remove(space, text, force != 0);
    Py_END_ALLOW_THREADS
    if (status < 0) {
        return ips_raise(state, status);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(folder_doc, "folder($module, /, namespace=None)\n--\n\n"
    "The path of a namespace's folder; joins nothing and makes nothing.");

static PyObject *
core_folder(PyObject *module, PyObject *args, PyObject *kwargs)
{
    char folder[PATH_MAX];
    PyObject *namespace_ = ips_facts_namespace(args, kwargs, "|O:folder");
    ips_state *state = ips_state_of_module(module);
    const char *name = namespace_ == NULL ? NULL : namespace_of(state, namespace_);
    if (name == NULL || folder_of(state, name, folder) < 0) {
        return NULL;
    }
    return PyUnicode_DecodeFSDefault(folder);
}

PyDoc_STRVAR(leave_doc, "leave($module, /, namespace=None)\n--\n\n"
    "Be a member of a namespace no longer, without its descriptors and mappings: True, or False\n"
    "where this process was none.  InUse where it has something open there.  No other thread\n"
    "may open anything there meanwhile.  Whoever asks for the namespace later joins anew.");

static PyObject *
core_leave(PyObject *module, PyObject *args, PyObject *kwargs)
{
    char folder[PATH_MAX];
    PyObject *namespace_ = ips_facts_namespace(args, kwargs, "|O:leave");
    ips_state *state = ips_state_of_module(module);
    const char *name = namespace_ == NULL ? NULL : namespace_of(state, namespace_);
    if (name == NULL || folder_of(state, name, folder) < 0) {
        return NULL;
    }
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = ips_space_leave(folder);
    Py_END_ALLOW_THREADS
    if (status < 0 && status != IPS_ENOENT) {
        return ips_raise(state, status);
    }
    return PyBool_FromLong(status == IPS_OK);
}

PyDoc_STRVAR(owner_doc, "owner($module, /, namespace=None)\n--\n\n"
    "The owner id of this process as a member of a namespace.");

static PyObject *
core_owner(PyObject *module, PyObject *args, PyObject *kwargs)
{
    ips_state *state = ips_state_of_module(module);
    PyObject *namespace_ = ips_facts_namespace(args, kwargs, "|O:owner");
    ips_space *space = namespace_ == NULL ? NULL : ips_space_of(state, namespace_);
    if (space == NULL) {
        return NULL;
    }
    ips_owner self = ips_space_self(space);
    if (self == IPS_NOBODY) {
        return ips_raise(state, ips_last_note()->status);
    }
    return PyLong_FromUnsignedLongLong(self);
}

PyDoc_STRVAR(lives_doc, "lives($module, /, owner, namespace=None)\n--\n\n"
    "False where the death of the member with this owner id is proven.");

static PyObject *
core_lives(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"owner", "namespace", NULL};
    ips_state *state = ips_state_of_module(module);
    PyObject *number, *namespace_ = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!|O:lives", names, &PyLong_Type, &number,
                                     &namespace_)) {
        return NULL;
    }
    unsigned long long owner = PyLong_AsUnsignedLongLong(number);
    if (PyErr_Occurred() != NULL) {
        return NULL;
    }
    ips_space *space = ips_space_of(state, namespace_);
    if (space == NULL) {
        return NULL;
    }
    bool lives;
    Py_BEGIN_ALLOW_THREADS
    lives = owner != IPS_NOBODY && ips_member_lives(space, (ips_owner)owner, true);
    Py_END_ALLOW_THREADS
    return PyBool_FromLong(lives);
}

#define WITH_KEYWORDS(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef space_functions[] = {
    {"cells", WITH_KEYWORDS(core_cells), METH_VARARGS | METH_KEYWORDS, cells_doc},
    {"check_cells", WITH_KEYWORDS(core_check_cells), METH_VARARGS | METH_KEYWORDS, check_cells_doc},
    {"check_members", WITH_KEYWORDS(core_check_members), METH_VARARGS | METH_KEYWORDS, check_members_doc},
    {"folder", WITH_KEYWORDS(core_folder), METH_VARARGS | METH_KEYWORDS, folder_doc},
    {"leave", WITH_KEYWORDS(core_leave), METH_VARARGS | METH_KEYWORDS, leave_doc},
    {"lives", WITH_KEYWORDS(core_lives), METH_VARARGS | METH_KEYWORDS, lives_doc},
    {"members", WITH_KEYWORDS(core_members), METH_VARARGS | METH_KEYWORDS, members_doc},
    {"objects", WITH_KEYWORDS(core_objects), METH_VARARGS | METH_KEYWORDS, objects_doc},
    {"owner", WITH_KEYWORDS(core_owner), METH_VARARGS | METH_KEYWORDS, owner_doc},
    {"remove_object", WITH_KEYWORDS(core_remove_object), METH_VARARGS | METH_KEYWORDS, remove_object_doc},
    {"sweep", WITH_KEYWORDS(core_sweep), METH_VARARGS | METH_KEYWORDS, sweep_doc},
    {NULL, NULL, 0, NULL},
};

int
ips_add_space(PyObject *module, ips_state *state)
{
    (void)state;
    ips_cells_install(); /* before the first join */
    ips_inset_install();
    return PyModule_AddFunctions(module, space_functions);
}
