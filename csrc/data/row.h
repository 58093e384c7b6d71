/* SPDX-License-Identifier: Apache-2.0 */
/* What the rows of values (data/deque.h, data/flat.h) have in common: how a
 * part of one is named, and how an operation can end. */
#ifndef IPS_DATA_ROW_H
#define IPS_DATA_ROW_H

#include <stdint.h>

/* Successes with news. */
enum {
    IPS_ROW_EMPTY = 24,
    IPS_ROW_FULL = 25,
    IPS_ROW_BUSY = 26,    /* writers kept us from reading; look under the lock */
    IPS_ROW_RANGE = 27,   /* no such index */
    IPS_ROW_CHANGED = 28, /* not the version that the caller has seen */
    IPS_ROW_NESTED = 29,  /* a copy of the value was asked for, or of all of them, and
                           * there is a container: nothing was done (data/nest.h) */
};

/* Any version will do: `expected` of an operation whose caller saw none. */
#define IPS_ROW_ANY UINT64_MAX

/* A part of a row, as Python's slice(start, stop, step): negative numbers
 * count from the end, all are cut to the length that the row turns out to
 * have.  step is not 0. */
typedef struct {
    int64_t start, stop, step;
} ips_span;

#define IPS_SPAN_ALL ((ips_span){0, INT64_MAX, 1})
#define IPS_SPAN_END ((ips_span){INT64_MAX, INT64_MAX, 1})

/* The same, of a row of known length: `count` indices from `first` on, each
 * `step` after the other. */
typedef struct {
    uint64_t first, count;
    int64_t step;
} ips_picked;

static inline int64_t
ips_span_edge(int64_t edge, int64_t length, int64_t step)
{
    const int64_t least = step < 0 ? -1 : 0;
    if (edge < 0) {
        edge += length;
        return edge < least ? least : edge;
    }
    return edge >= length ? length + least : edge;
}

static inline ips_picked
ips_span_resolve(ips_span span, uint64_t length)
{
    const int64_t start = ips_span_edge(span.start, (int64_t)length, span.step);
    const int64_t stop = ips_span_edge(span.stop, (int64_t)length, span.step);
    ips_picked picked = {(uint64_t)(start < 0 ? 0 : start), 0, span.step};
    if (span.step > 0 && start < stop) {
        picked.count = (uint64_t)(stop - start - 1) / (uint64_t)span.step + 1;
    } else if (span.step < 0 && stop < start) {
        picked.count = (uint64_t)(start - stop - 1) / (0 - (uint64_t)span.step) + 1;
    }
    return picked;
}

/* The same indices upwards. */
static inline ips_picked
ips_picked_upwards(ips_picked picked)
{
    if (picked.step < 0 && picked.count > 0) {
        picked.first -= (picked.count - 1) * (0 - (uint64_t)picked.step);
    }
    picked.step = picked.count <= 1 ? 1 : picked.step < 0 ? -picked.step : picked.step;
    return picked;
}

/* `index` as an index from the left; false where it is none. */
static inline int
ips_row_index(int64_t index, uint64_t length, uint64_t *out)
{
    index += index < 0 ? (int64_t)length : 0;
    *out = (uint64_t)index;
    return index >= 0 && (uint64_t)index < length;
}

#endif
