/* SPDX-License-Identifier: Apache-2.0 */
/* What a Segment says of its memory, and how it gives some back. */
#include <stdlib.h>
#include <string.h>

#include "bind/segment.h"
#include "os/clock.h"

static PyStructSequence_Field stats_fields[] = {
    {"size", "bytes of memory the segment takes"},
    {"max_size", "bytes it may grow to"},
    {"free", "bytes that can still be given out before it has to grow"},
    {"used", "bytes of its blocks, their tags included"},
    {"blocks", "blocks in use"},
    {"objects", "objects under keys"},
    {"members", "processes that have it open"},
    {"overhead", "bytes of the heap that are neither used nor free: heads and leftovers"},
    {"largest_free", "bytes of the largest block that can be given out without growing"},
    {"memory", "bytes of memory its file takes now; less than size after trim()"},
    {"pools", "pools in it"},
    {"arenas", "arenas in it"},
    {"huge_pages", "1 where this process asked for huge pages and the system has them for it"},
    {"quota", "bytes that this process may have in use; 0: as many as it likes"},
    {"charged", "bytes it has, of what counts for its quota"},
    {NULL, NULL},
};

static PyStructSequence_Desc stats_description = {
    .name = "ipcsys.SegmentStats",
    .doc = "SegmentStats(iterable, /)\n--\n\nWhat Segment.stats() returns.",
    .fields = stats_fields,
    .n_in_sequence = 15,
};

PyObject *
ips_segment_stats_tuple(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_segment *segment = ips_segment_handle_open((ips_segment_handle *)object);
    ips_state *state = segment == NULL ? NULL : ips_state_of_type(Py_TYPE(object));
    if (state == NULL) {
        return NULL;
    }
    ips_segment_stats stats;
    int status;
    ips_segment_hold(segment);
    Py_BEGIN_ALLOW_THREADS /* counting members probes the dead */
    status = ips_segment_stats_of(segment, &stats);
    ips_segment_close(segment);
    Py_END_ALLOW_THREADS
    PyObject *result = status < 0 ? ips_raise(state, status)
                                  : PyStructSequence_New(state->segment_stats_type);
    const uint64_t numbers[] = {stats.size,     stats.max_size,     stats.free_bytes, stats.used,
                                stats.blocks,   stats.objects,      stats.members,
                                stats.overhead, stats.largest_free, stats.memory,
                                stats.pools,    stats.arenas,       stats.huge_pages,
                                stats.quota,    stats.charged};
    for (int i = 0; result != NULL && i < (int)(sizeof numbers / sizeof *numbers); i++) {
        PyObject *number = PyLong_FromUnsignedLongLong(numbers[i]);
        if (number == NULL) {
            Py_CLEAR(result);
        } else {
            PyStructSequence_SET_ITEM(result, i, number);
        }
    }
    return result;
}

/* Lines of a report, gathered without the GIL. */
typedef struct {
    ips_segment *segment;
    char *text; /* lines, each with its NUL */
    size_t size;
} reporting;

static void
gather(const char *line, void *context)
{
    reporting *job = (reporting *)context;
    size_t length = strlen(line) + 1;
    char *text = realloc(job->text, job->size + length);
    if (text != NULL) { /* else one line less */
        memcpy(text + job->size, line, length);
        job->text = text;
        job->size += length;
    }
}

static int
check_step(void *context, int64_t deadline)
{
    reporting *job = (reporting *)context;
    job->size = 0; /* of an attempt that a signal cut short */
    return ips_shared_check_all(job->segment, deadline, gather, job);
}

PyObject *
ips_segment_problems(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_segment *segment = ips_segment_handle_open((ips_segment_handle *)object);
    ips_state *state = segment == NULL ? NULL : ips_state_of_type(Py_TYPE(object));
    if (state == NULL || ips_transaction_admit(state, segment) < 0) {
        return NULL;
    }
    reporting job = {.segment = segment};
    ips_segment_hold(segment);
    int status = ips_wait_without_gil(check_step, &job, IPS_FOREVER);
    ips_segment_close(segment);
    PyObject *lines = PyErr_Occurred() != NULL                      ? NULL
                      : status < 0 && job.size == 0 ? ips_raise(state, status) : PyList_New(0);
    for (size_t at = 0; lines != NULL && at < job.size; at += strlen(job.text + at) + 1) {
        PyObject *line = PyUnicode_DecodeUTF8(job.text + at, (Py_ssize_t)strlen(job.text + at),
                                              "replace");
        if (line == NULL || PyList_Append(lines, line) < 0) {
            Py_CLEAR(lines);
        }
        Py_XDECREF(line);
    }
    free(job.text);
    return lines;
}

static int
mark_step(void *segment, int64_t deadline)
{
    return ips_segment_trim_mark((ips_segment *)segment, deadline);
}

PyObject *
ips_segment_trim(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_segment *segment = ips_segment_handle_open((ips_segment_handle *)object);
    ips_state *state = segment == NULL ? NULL : ips_state_of_type(Py_TYPE(object));
    if (state == NULL || ips_transaction_admit(state, segment) < 0) {
        return NULL;
    }
    uint64_t given_back = 0;
    ips_segment_hold(segment);
    int status = ips_wait_without_gil(mark_step, segment, IPS_FOREVER);
    if (status == 0) {
        status = ips_segment_trim_punch(segment, &given_back); /* readers need the GIL */
    }
    ips_segment_close(segment);
    if (PyErr_Occurred() != NULL) {
        return NULL;
    }
    return status < 0 ? ips_raise(state, status) : PyLong_FromUnsignedLongLong(given_back);
}

int
ips_add_segment_facts(PyObject *module, ips_state *state)
{
    state->segment_stats_type = PyStructSequence_NewType(&stats_description);
    return state->segment_stats_type == NULL ? -1
        : PyModule_AddType(module, state->segment_stats_type);
}
