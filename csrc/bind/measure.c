/* SPDX-License-Identifier: Apache-2.0 */
/* What a segment's memory costs, timed inside C for `ipcsys bench memory`:
 * through Python the calls would hide it; and how long waiters spin.  Works on an unnamed segment of its
 * own, which goes when it returns. */
#include "bind/state.h"

#include <stdio.h>

#include "os/clock.h"
#include "segment/segment.h"

enum {
    SIZE = 16 << 20,
    BLOCK = 64,    /* bytes allocated and freed */
    GROUP = 100,   /* pairs in one transaction, where they share one */
    NAMES = 10000, /* in the catalogue that is searched */
};

/* Nanoseconds for each pair or look-up. */
typedef struct {
    int64_t rounds;
    double pair_alone, pair_grouped, find;
} memory_costs;

static double
nanoseconds(int64_t since, int64_t count)
{
    return (double)(ips_now() - since) / (double)count;
}

/* `count` blocks allocated and freed, all in one transaction. */
static int
pairs_in_one(ips_segment *segment, int count)
{
    ips_offset at;
    int status = ips_tx_begin(segment, IPS_FOREVER);
    if (status < 0) {
        return status;
    }
    for (int i = 0; i < count && status == 0; i++) {
        status = ips_tx_alloc(segment, BLOCK, &at);
        if (status == 0) {
            status = ips_tx_free(segment, at);
        }
    }
    if (status < 0) {
        ips_tx_abort(segment);
        return status;
    }
    return ips_tx_commit(segment);
}

static int
time_pairs(ips_segment *segment, int64_t rounds, int group, double *cost)
{
    int64_t start = ips_now();
    for (int64_t i = 0; i < rounds; i += group) {
        int status = pairs_in_one(segment, group);
        if (status < 0) {
            return status;
        }
    }
    *cost = nanoseconds(start, rounds);
    return 0;
}

static int
insert_names(ips_segment *segment, char names[][16])
{
    ips_offset root;
    uint64_t generation;
    int status = ips_tx_begin(segment, IPS_FOREVER);
    if (status < 0) {
        return status;
    }
    status = ips_tx_alloc(segment, BLOCK, &root);
    for (int i = 0; i < NAMES && status == 0; i++) {
        (void)snprintf(names[i], sizeof names[i], "sensor-%05d", i);
        status = ips_catalogue_insert(segment, names[i], 1, root, &generation);
        if (status == 0 && i % GROUP == 0) { /* a journal has its limit */
            status = ips_tx_commit(segment);
            if (status == 0) {
                status = ips_tx_begin(segment, IPS_FOREVER);
            }
            if (status < 0) {
                return status;
            }
        }
    }
    if (status < 0) {
        ips_tx_abort(segment);
        return status;
    }
    return ips_tx_commit(segment);
}

static int
time_finds(ips_segment *segment, int64_t rounds, double *cost)
{
    static char names[NAMES][16]; /* the same text whoever writes it */
    ips_entry entry;
    uint32_t at = 1;
    int status = insert_names(segment, names);
    int64_t start = ips_now();
    for (int64_t i = 0; i < rounds && status == 0; i++) {
        at = (at * 1664525u + 1013904223u); /* neither in order nor repeating soon */
        status = ips_catalogue_find(segment, names[(at >> 8) % NAMES], &entry);
    }
    *cost = nanoseconds(start, rounds);
    return status;
}

static int
measure(ips_space *space, memory_costs *costs)
{
    ips_segment *segment;
    bool created;
    int status = ips_segment_open(space, NULL, IPS_OPEN_OR_CREATE, SIZE, SIZE, false, &segment,
                                  &created);
    if (status < 0) {
        return status;
    }
    status = time_pairs(segment, costs->rounds, 1, &costs->pair_alone);
    if (status == 0) {
        status = time_pairs(segment, costs->rounds, GROUP, &costs->pair_grouped);
    }
    if (status == 0) {
        status = time_finds(segment, costs->rounds, &costs->find);
    }
    ips_segment_close(segment);
    return status;
}

PyDoc_STRVAR(measure_memory_doc, "measure_memory($module, rounds, /, namespace=None)\n--\n\n"
    "Nanoseconds inside C: a block of 64 bytes allocated and freed, in a transaction\n"
    "of its own and with 99 others in one; a name found among 10 000.");

static PyObject *
measure_memory(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "namespace", NULL};
    ips_state *state = ips_state_of_module(module);
    PyObject *namespace_ = Py_None;
    long long rounds;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "L|O:measure_memory", names, &rounds,
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
    memory_costs costs = {.rounds = rounds / GROUP * GROUP};
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = measure(space, &costs);
    Py_END_ALLOW_THREADS
    if (status < 0) {
        return ips_raise(state, status);
    }
    return Py_BuildValue("{s:d,s:d,s:d}", "pair_alone", costs.pair_alone, "pair_grouped",
                         costs.pair_grouped, "find", costs.find);
}

PyDoc_STRVAR(spin_budget_doc, "spin_budget($module, /)\n--\n\n"
    "Nanoseconds that a waiter of this process spins before it parks.");

static PyObject *
spin_budget(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyLong_FromLongLong(ips_spin_budget());
}

static PyMethodDef measure_functions[] = {
    {"spin_budget", spin_budget, METH_NOARGS, spin_budget_doc},
    {"measure_memory", (PyCFunction)(void (*)(void))measure_memory, METH_VARARGS | METH_KEYWORDS,
     measure_memory_doc},
    {NULL, NULL, 0, NULL},
};

int
ips_add_measure(PyObject *module, ips_state *state)
{
    (void)state;
    return PyModule_AddFunctions(module, measure_functions);
}
