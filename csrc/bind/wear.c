/* SPDX-License-Identifier: Apache-2.0 */
/* What a long life does to a segment's heap, for `ipcsys bench memory`: blocks
 * of sizes as programs have them come and go, and the heap's size is compared
 * with what was asked for at most.  Works on an unnamed segment of its own. */
#include "bind/state.h"

#include <string.h>

#include "os/clock.h"
#include "segment/segment.h"

enum {
    START = 1 << 20,
    SLOTS = 8000,  /* blocks that may be alive */
    HOT = 800,     /* of them, those that live briefly */
    GROUP = 20,    /* changes in one transaction */
    PHASES = 4,    /* each with other sizes, so that old gaps fit badly */
};
#define MOST (UINT64_C(1) << 30)

typedef struct {
    ips_offset at;
    uint64_t size;
} slot;

typedef struct {
    int64_t rounds;
    uint64_t random;
    uint64_t live, peak; /* bytes asked for */
    ips_segment_stats stats;
} wear;

static uint64_t
draw(wear *job)
{
    job->random ^= job->random << 13;
    job->random ^= job->random >> 7;
    job->random ^= job->random << 17;
    return job->random;
}

/* Three of four log-normal with a median near 400 bytes (the exponent is a sum
 * of coins), up to 64 KiB; the fourth a power of two from 16 to 32 KiB. */
static uint64_t
draw_size(wear *job, int phase)
{
    uint64_t bits = draw(job);
    uint64_t shift = 3 + (uint64_t)__builtin_popcountll(bits & 0x7ff);
    if (bits >> 60 < 4) {
        return UINT64_C(1) << (4 + (bits >> 20) % 12);
    }
    shift += (uint64_t)(phase & 1);
    return (UINT64_C(1) << shift) + (bits >> 20) % (UINT64_C(1) << shift);
}

/* Nine of ten changes hit the few that live briefly. */
static int
change_one(ips_segment *segment, wear *job, slot *slots, int phase)
{
    uint64_t bits = draw(job);
    slot *place = &slots[bits % 10 != 0 ? (bits >> 8) % HOT : (bits >> 8) % SLOTS];
    if (place->at != 0) {
        int status = ips_tx_free(segment, place->at);
        if (status < 0) {
            return status;
        }
        job->live -= place->size;
        place->at = 0;
        if (bits >> 61 == 0) {
            return IPS_OK;
        }
    }
    place->size = draw_size(job, phase);
    int status = ips_tx_alloc(segment, place->size, &place->at);
    if (status == 0) {
        job->live += place->size;
        job->peak = job->live > job->peak ? job->live : job->peak;
    }
    return status;
}

static int
live_through(ips_segment *segment, wear *job)
{
    static slot slots[SLOTS]; /* the GIL is kept */
    memset(slots, 0, sizeof slots);
    for (int64_t i = 0; i < job->rounds; i += GROUP) {
        int phase = (int)(i * PHASES / job->rounds);
        int status = ips_tx_begin(segment, IPS_FOREVER);
        if (status < 0) {
            return status;
        }
        for (int j = 0; j < GROUP && status == 0; j++) {
            status = change_one(segment, job, slots, phase);
        }
        if (status < 0) {
            ips_tx_abort(segment);
            return status;
        }
        status = ips_tx_commit(segment);
        if (status < 0) {
            return status;
        }
    }
    return ips_segment_stats_of(segment, &job->stats);
}

PyDoc_STRVAR(measure_wear_doc, "measure_wear($module, rounds, /, namespace=None)\n--\n\n"
    "A segment after `rounds` changes of blocks of mixed sizes and lifetimes: bytes that\n"
    "were asked for at most (peak) and at the end (live), and what its stats() say of it.");

static PyObject *
measure_wear(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "namespace", NULL};
    ips_state *state = ips_state_of_module(module);
    PyObject *namespace_ = Py_None;
    long long rounds;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "L|O:measure_wear", names, &rounds,
                                     &namespace_)) {
        return NULL;
    }
    if (rounds < GROUP || rounds > 1000000000) {
        return PyErr_Format(PyExc_ValueError, "rounds must be from %d to 10 ** 9", (int)GROUP);
    }
    ips_space *space = ips_space_of(state, namespace_);
    if (space == NULL) {
        return NULL;
    }
    wear job = {.rounds = rounds, .random = UINT64_C(88172645463325252)};
    ips_segment *segment;
    bool created;
    int status = ips_segment_open(space, NULL, IPS_OPEN_OR_CREATE, START, MOST, false, &segment,
                                  &created);
    if (status == 0) {
        status = live_through(segment, &job);
        ips_segment_close(segment);
    }
    if (status < 0) {
        return ips_raise(state, status);
    }
    return Py_BuildValue("{s:K,s:K,s:K,s:K,s:K,s:K}", "peak", (unsigned long long)job.peak, "live",
                         (unsigned long long)job.live, "size", (unsigned long long)job.stats.size,
                         "used", (unsigned long long)job.stats.used, "free",
                         (unsigned long long)job.stats.free_bytes, "largest_free",
                         (unsigned long long)job.stats.largest_free);
}

static PyMethodDef wear_functions[] = {
    {"measure_wear", (PyCFunction)(void (*)(void))measure_wear, METH_VARARGS | METH_KEYWORDS,
     measure_wear_doc},
    {NULL, NULL, 0, NULL},
};

int
ips_add_wear(PyObject *module, ips_state *state)
{
    (void)state;
    return PyModule_AddFunctions(module, wear_functions);
}
