/* SPDX-License-Identifier: Apache-2.0 */
/* One operation on a container: at once with the GIL, or waiting without it. */
#include "bind/container.h"

#include <string.h>

#include "bind/nested.h"
#include "bind/shared.h"
#include "os/clock.h"
#include "segment/region.h"

#define LARGE (16u * 1024) /* bytes; longer copies are made without the GIL */
#define BETWEEN_LOOKS_NS 200000 /* of a reader that waits for the lock */

typedef struct {
    ips_segment *segment;
    ips_act act;
    void *context;
    ips_offset root; /* memory comes from where this block is from */
} attempt;

static inline int
try_once(const attempt *job, int64_t deadline)
{
    ips_segment *segment = job->segment;
    int status = ips_tx_begin(segment, deadline);
    if (status < 0) {
        return status;
    }
    const ips_offset region = ips_region_of(segment, job->root);
    if (__builtin_expect(region == 0, 1)) {
        status = job->act(job->context);
    } else {
        (void)ips_region_enter(segment, region);
        status = job->act(job->context);
        (void)ips_region_enter(segment, 0);
    }
    if (__builtin_expect(status < 0, 0)) {
        ips_tx_abort(segment);
        return status;
    }
    int committed = ips_tx_commit(segment);
    return committed < 0 ? committed : status;
}

int
ips_container_attempt(ips_segment *segment, ips_act act, void *context, int64_t deadline)
{
    return try_once(&(attempt){segment, act, context, 0}, deadline);
}

int
ips_container_attempt_at(ips_segment *segment, ips_offset root, ips_act act, void *context,
    int64_t deadline)
{
    return try_once(&(attempt){segment, act, context, root}, deadline);
}

static int
attempt_step(void *context, int64_t deadline)
{
    return try_once(context, deadline);
}

/* Out of line: the lock is taken, or there is much to copy. */
static int
run_slow(const ips_container *self, ips_act act, void *context)
{
    attempt job = {self->home.segment, act, context, self->home.root};
    ips_segment_hold(job.segment); /* another thread may close the object */
    int status = ips_segment_wait(job.segment, attempt_step, &job, IPS_FOREVER);
    ips_segment_close(job.segment);
    return status;
}

static int
run_once(const ips_container *self, ips_act act, void *context, size_t weight)
{
    int status = IPS_EAGAIN;
    if (__builtin_expect(weight < LARGE, 1)) {
        status = try_once(&(attempt){self->home.segment, act, context, self->home.root},
            IPS_AT_ONCE);
    }
    if (__builtin_expect(status == IPS_EAGAIN || status == IPS_ETIMEOUT, 0)) {
        status = run_slow(self, act, context);
    }
    return status;
}

static bool
is_full(int status)
{
    return status == IPS_ESEGFULL || status == IPS_EPOOLFULL || status == IPS_EQUOTA;
}

/* No more room: free what containers that are gone and clear() left, each part in a
 * transaction of its own (inside one that is open, the memory would come back too
 * late: 1). */
static int
make_room(const ips_container *self)
{
    if (ips_tx_is_mine(self->home.segment)) {
        return 1;
    }
    int more = ips_nested_make_room(self->home.segment);
    for (more = more < 0 || self->reap == NULL ? more : 1; more == 1;) {
        more = run_once(self, self->reap, self->handle, 0);
    }
    return more;
}

/* Out of line: for a reader whom writers kept from reading without the lock. */
typedef struct {
    attempt locked;
    ips_act look;
} reading;

static int
reading_step(void *context, int64_t deadline)
{
    const reading *job = context;
    int status;
    int64_t until;
    do {
        until = ips_now() + BETWEEN_LOOKS_NS;
        until = until < deadline ? until : deadline;
        status = attempt_step(context, until);
        if (status != IPS_ETIMEOUT) {
            return status; /* IPS_EAGAIN: of a view that has waited long enough */
        }
        status = job->look(job->locked.context);
    } while (status == IPS_EAGAIN && until != deadline);
    return status == IPS_EAGAIN ? IPS_ETIMEOUT : status;
}

int
ips_container_read(const ips_container *self, ips_act look, ips_act act, void *context)
{
    if (ips_transaction_admit(self->state, self->home.segment) < 0) {
        return -1;
    }
    reading job = {{self->home.segment, act, context, self->home.root}, look};
    ips_segment_hold(job.locked.segment); /* another thread may close the object */
    int status = ips_segment_wait(job.locked.segment, reading_step, &job, IPS_FOREVER);
    ips_segment_close(job.locked.segment);
    if (status < 0 && PyErr_Occurred() == NULL) {
        (void)ips_raise(self->state, status);
    }
    return status < 0 ? -1 : status;
}

/* Unless another thread has closed the object meanwhile. */
static inline void
settle(const ips_container *self)
{
    if (self->home.segment != NULL) {
        ips_nested_settle(self->home.segment);
    }
}

int
ips_container_run(const ips_container *self, ips_act act, void *context, size_t weight)
{
    if (ips_transaction_admit(self->state, self->home.segment) < 0) {
        return -1;
    }
    int status = run_once(self, act, context, weight);
    if (__builtin_expect(status >= 0, 1)) {
        settle(self);
        return status;
    }
    if (is_full(status)) {
        ips_note full = *ips_last_note();
        int made = make_room(self);
        status = made == 0 ? run_once(self, act, context, weight)
                           : ips_fail(made < 0 ? made : status, "%s", full.detail);
    }
    if (status < 0 && PyErr_Occurred() == NULL) {
        (void)ips_raise(self->state, status);
    } else if (status >= 0) {
        settle(self);
    }
    return status < 0 ? -1 : status;
}

void
ips_container_report(const char *line, void *checking)
{
    ips_checking *job = checking;
    if (ips_snapshot_put(&job->lines, line, strlen(line), 0) < 0) {
        job->lines_lost = true;
    }
}

/* The segment that the object has for itself: its heap, and blocks that nobody has. */
static int
act_check_home(void *context)
{
    ips_checking *job = context;
    int status = ips_shared_check_all(job->home, IPS_FOREVER, ips_container_report, job);
    return status == IPS_ECORRUPT ? 0 : status; /* and reported */
}

PyObject *
ips_container_lines(ips_container *self, ips_act act)
{
    ips_checking job = {.handle = self->handle, .home = self->home.segment};
    PyObject *list = NULL;
    bool alone = self->home.keeper == NULL;
    if (ips_container_check(self) == 0 && ips_container_run(self, act, &job, 0) >= 0 &&
        (!alone || ips_container_run(self, act_check_home, &job, LARGE) >= 0)) {
        list = PyList_New(0);
    }
    size_t at = 0;
    ips_value line;
    while (list != NULL && ips_snapshot_next(&job.lines, &at, &line)) {
        PyObject *text = PyUnicode_DecodeUTF8((const char *)line.bytes, (Py_ssize_t)line.size,
            "replace");
        if (text == NULL || PyList_Append(list, text) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(text);
    }
    ips_snapshot_clear(&job.lines);
    if (list != NULL && job.lines_lost) {
        Py_CLEAR(list);
        PyErr_NoMemory();
    }
    return list;
}
