/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/quota.h"

#include "bind/segment.h"
#include "os/clock.h"
#include "segment/quota.h"

/* --- set ------------------------------------------------------------------- */

typedef struct {
    int32_t pid;
    ips_owner owner;
} search;

static int
compare(const ips_member_facts *facts, void *context)
{
    search *job = context;
    if (facts->process.pid == job->pid) {
        job->owner = facts->owner;
    }
    return 0;
}

/* The member with that pid; false with an exception set. */
static bool
find_member(ips_state *state, ips_segment *segment, PyObject *pid, ips_owner *out)
{
    search job = {(int32_t)PyLong_AsLong(pid), IPS_NOBODY};
    if (PyErr_Occurred() != NULL) {
        return false;
    }
    int status;
    ips_segment_hold(segment);
    Py_BEGIN_ALLOW_THREADS /* looking at members probes the dead */
    status = ips_space_each_member(ips_segment_object(segment)->space, compare, &job);
    ips_segment_close(segment);
    Py_END_ALLOW_THREADS
    if (status >= 0 && job.owner == IPS_NOBODY) {
        (void)ips_raise_text(state, IPS_ENOENT, "no process %d in the namespace", (int)job.pid);
        return false;
    }
    *out = job.owner;
    return status >= 0 || ips_raise(state, status) != NULL;
}

typedef struct {
    ips_owner member;
    uint64_t limit;
} setting;

static int
act_set(ips_segment *segment, void *context)
{
    const setting *job = context;
    return ips_quota_set(segment, job->member, job->limit);
}

PyObject *
ips_segment_set_quota(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"size", "pid", NULL};
    PyObject *size, *pid = Py_None;
    setting job = {IPS_NOBODY, IPS_QUOTA_NONE};
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    if (state == NULL
        || !PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:set_quota", names, &size, &pid)
        || (size != Py_None && ips_size_of(size, "size", &job.limit) < 0)) {
        return NULL;
    }
    ips_segment *segment = ips_segment_of(state, self);
    if (segment == NULL || (pid != Py_None && !find_member(state, segment, pid, &job.member))
        || ips_segment_run(state, segment, act_set, &job, IPS_FOREVER) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* --- asked ------------------------------------------------------------------ */

typedef struct {
    ips_quota quotas[IPS_QUOTA_ROWS];
    unsigned count;
} listing;

static int
act_list(ips_segment *segment, void *context)
{
    listing *job = context;
    return ips_quota_list(segment, job->quotas, &job->count);
}

static PyObject *
build(ips_state *state, int32_t pid, const ips_quota *quota)
{
    PyObject *row = PyStructSequence_New(state->member_quota_type);
    PyObject *parts[] = {
        PyLong_FromLong(pid),
        quota->limit == IPS_QUOTA_NONE ? Py_NewRef(Py_None)
                                       : PyLong_FromUnsignedLongLong(quota->limit),
        PyLong_FromUnsignedLongLong(quota->bytes),
    };
    for (int i = 0; i < 3; i++) {
        if (row == NULL || parts[i] == NULL) {
            Py_CLEAR(row);
            Py_XDECREF(parts[i]);
        } else {
            PyStructSequence_SET_ITEM(row, i, parts[i]);
        }
    }
    return row;
}

PyObject *
ips_segment_quotas(PyObject *self, PyObject *unused)
{
    (void)unused;
    listing job;
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    ips_segment *segment = state == NULL ? NULL : ips_segment_of(state, self);
    if (segment == NULL || ips_segment_run(state, segment, act_list, &job, IPS_FOREVER) < 0) {
        return NULL;
    }
    ips_space *space = ips_segment_object(segment)->space;
    PyObject *result = PyList_New(0);
    for (unsigned i = 0; result != NULL && i < job.count; i++) {
        ips_member_facts facts;
        if (ips_member_facts_of(space, job.quotas[i].owner, &facts) < 0) {
            continue; /* it has ended since */
        }
        PyObject *row = build(state, facts.process.pid, &job.quotas[i]);
        if (row == NULL || PyList_Append(result, row) < 0) {
            Py_CLEAR(result);
        }
        Py_XDECREF(row);
    }
    return result;
}

static PyStructSequence_Field quota_fields[] = {
    {"pid", "the process"},
    {"limit", "bytes it may have in use; None: as many as it likes"},
    {"used", "bytes of the blocks that it has allocated and that are still in use"},
    {NULL, NULL},
};

static PyStructSequence_Desc quota_description = {
    .name = "ipcsys.MemberQuota",
    .doc = "MemberQuota(iterable, /)\n--\n\nWhat Segment.quotas() lists.",
    .fields = quota_fields,
    .n_in_sequence = 3,
};

int
ips_add_quota(PyObject *module, ips_state *state)
{
    state->member_quota_type = PyStructSequence_NewType(&quota_description);
    return state->member_quota_type == NULL ? -1
        : PyModule_AddType(module, state->member_quota_type);
}
