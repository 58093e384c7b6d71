/* SPDX-License-Identifier: Apache-2.0 */
/* What Segment and the types that can stand in one know of each other.
 *
 * Segment.construct(T, key, *args, **kw) is T(*args, name=key, segment=self,
 * create=True, **kw), find_or_construct leaves `create` out, find(key) calls
 * the class that belongs to the type number of the catalogue's entry with
 * create=False.  So a type that can stand in a segment takes these keywords
 * and has a line in bind/shared.c. */
#ifndef IPS_BIND_SHARED_H
#define IPS_BIND_SHARED_H

#include "bind/state.h"
#include "segment/segment.h"

typedef struct {
    uint32_t type;    /* enum ips_type of data/types.h */
    size_t class_at;  /* where in ips_state its class stands */
    /* Free all that belongs to the object of `entry`, inside the transaction
     * that also removes its name; calls nothing of Python's. */
    int (*destroy)(ips_segment *segment, const ips_entry *entry);
} ips_shared_type;

/* NULL for a number that this version does not know. */
const ips_shared_type *ips_shared_type_of(uint32_t type);
/* The class, borrowed; NULL where the type is unknown.  Never raises. */
PyTypeObject *ips_shared_class(ips_state *state, uint32_t type);
/* Is it one of these classes or a subclass? */
bool ips_shared_is_class(ips_state *state, PyObject *candidate);

/* Can its objects stand in containers (data/nest.h)? */
bool ips_shared_can_nest(ips_state *state, PyObject *class);

/* Does all of such an object lie in blocks, which an allocator can give? */
bool ips_shared_has_blocks(ips_state *state, PyObject *class);

/* The invariants of the objects in a segment that are looked into (records and
 * their layouts), and blocks that nobody has; one line for each that is broken.
 * After a check of the segment itself that found nothing.  Takes the lock; without
 * the GIL.  The number of problems, or an error. */
typedef void (*ips_shared_report)(const char *line, void *context);
int ips_shared_check(ips_segment *segment, int64_t deadline, ips_shared_report report,
    void *context);
/* Both, one after the other; 0 or more where all that was found is reported. */
int ips_shared_check_all(ips_segment *segment, int64_t deadline, ips_shared_report report,
    void *context);

/* The open segment of a Segment object, borrowed from it; NULL with TypeError
 * or Closed set. */
ips_segment *ips_segment_of(ips_state *state, PyObject *segment);

/* A number of bytes: an int, or text such as "64 KiB", "10MB", "1.5 GiB" (KiB,
 * MiB, GiB, TiB are powers of 1024, kB, MB, GB, TB of 1000).  `what` names the
 * argument in errors.  0, or -1 with an exception set. */
int ips_size_of(PyObject *size, const char *what, uint64_t *out);

/* ipcsys.markup.html(self), a method of what a notebook shows. */
PyObject *ips_repr_html(PyObject *self, PyObject *unused);
#define IPS_REPR_HTML_METHOD \
    {"_repr_html_", ips_repr_html, METH_NOARGS, "_repr_html_($self, /)\n--\n\n" \
        "What a notebook shows: the first things in it, escaped and cut."}

/* bind/transaction.c ---------------------------------------------------- */

/* Before any operation that takes part in a transaction: 0, or -1 with
 * TransactionError set where this thread has a transaction open on `segment`
 * that belongs to another asyncio task.  A few loads while none is open. */
#define IPS_MARK_NO_TASK UINT64_C(1)
#define IPS_MARK_NO_ASYNCIO UINT64_C(2) /* it was not even loaded */
int ips_transaction_admit_slow(ips_state *state, uint64_t mark);
/* The same, where ips_tx_mark is known. */
static inline int
ips_transaction_admit_marked(ips_state *state, uint64_t mark)
{
    return __builtin_expect(mark == 0 || mark == IPS_MARK_NO_ASYNCIO, 1)
        ? 0 : ips_transaction_admit_slow(state, mark);
}
static inline int
ips_transaction_admit(ips_state *state, ips_segment *segment)
{
    return ips_transaction_admit_marked(state, ips_tx_mark(segment));
}

/* As ips_wait_without_gil, and people are told that this thread waits for the
 * segment's writers' lock (segment/facts.h). */
int ips_segment_wait(ips_segment *segment, ips_wait_step step, void *context, int64_t deadline);

/* Run `act(context)` in a transaction of its own, or nested in the one that
 * this thread has open; undone where it returns a negative status.  Needs the
 * GIL, and drops it where it has to wait, until `deadline`.  What `act`
 * returned, or a negative status with an exception set. */
typedef int (*ips_segment_act)(ips_segment *segment, void *context);
int ips_segment_run(ips_state *state, ips_segment *segment, ips_segment_act act, void *context,
    int64_t deadline);

/* Timeout, saying who has the transaction open; returns NULL. */
PyObject *ips_transaction_timed_out(ips_state *state, ips_segment *segment);

/* A new context manager for one transaction of `owner`, a Segment or a
 * container. */
PyObject *ips_transaction_new(ips_state *state, PyObject *owner, PyObject *timeout);
/* The body of their method transaction(timeout=None). */
PyObject *ips_transaction_of(PyObject *owner, PyObject *args, PyObject *kwargs);

int ips_add_transaction(PyObject *module, ips_state *state);

/* bind/view.c: the body of Segment.read(timeout=None). */
PyObject *ips_view_of(PyObject *owner, PyObject *args, PyObject *kwargs);
int ips_add_view(PyObject *module, ips_state *state);

#endif
