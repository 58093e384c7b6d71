/* SPDX-License-Identifier: Apache-2.0 */
/* What AtomicInt, AtomicFloat and AtomicBool have in common: data/atomic.h in a
 * cell of its own or in a segment, and the waiting for it. */
#ifndef IPS_BIND_ATOMIC_H
#define IPS_BIND_ATOMIC_H

#include "bind/cell.h"
#include "data/atomic.h"

_Static_assert(sizeof(ips_atomic_shm) <= IPS_STABLE_SIZE, "it fits a stable cell");
_Static_assert(sizeof(ips_atomic_shm) <= sizeof ((ips_cell_shm *)0)->words, "it fits a cell");

/* The word to work on; NULL with Closed or ObjectGone set.  Nothing of
 * Python's may happen between this and the access. */
static inline ips_atomic_shm *
ips_atomic_word(PyObject *object)
{
    ips_cell_object *self = (ips_cell_object *)object;
    if (__builtin_expect(ips_cell_is_usable(self), 1)) {
        return (ips_atomic_shm *)self->shm;
    }
    (void)ips_cell_raise_closed(self);
    return NULL;
}

/* wait(expected, timeout=None) of a type: how it reads `expected`, and when a
 * value is the same. */
typedef struct {
    int (*read)(PyObject *argument, int64_t *out);
    ips_atomic_same same;
} ips_atomic_manner;
PyObject *ips_atomic_wait_call(PyObject *self, PyObject *const *args, Py_ssize_t count,
    PyObject *keywords, const ips_atomic_manner *manner);

/* The body of an __init__(value, *, name=None, ...). */

int ips_atomic_init(PyObject *self, PyObject *args, PyObject *kwargs, enum ips_cell_type type,
    const ips_atomic_manner *manner);

/* compare_exchange(expected, desired). */
PyObject *ips_atomic_compare_exchange_call(PyObject *self, PyObject *const *args, Py_ssize_t count,
    const ips_atomic_manner *manner);

/* The only argument of a call, or `value` as it was where there is none; 0, or
 * -1 with an exception set. */
int ips_atomic_amount(PyObject *const *args, Py_ssize_t count, const ips_atomic_manner *manner,
    int64_t *value);

/* Rich comparison by what `load` gives, with its like, int and float. */
PyObject *ips_atomic_compare(PyObject *self, PyObject *other, int op, PyTypeObject *type,
    PyObject *(*load)(PyObject *self, PyObject *unused));

/* For the setter of `value`: what `store` does, and no deletion. */
int ips_atomic_set(PyObject *self, PyObject *value,
    PyObject *(*store)(PyObject *self, PyObject *value));

PyObject *ips_atomic_notify_call(PyObject *self, PyObject *const *args, Py_ssize_t count,
    PyObject *keywords);
PyObject *ips_atomic_notify_all_call(PyObject *self, PyObject *unused);

#define IPS_ATOMIC_WAITS(wait) \
    {"wait", (PyCFunction)(void (*)(void))(wait), METH_FASTCALL | METH_KEYWORDS, \
        "wait($self, /, expected, timeout=None)\n--\n\n" \
        "Wait while the value is the expected one: True once it is another, False where\n" \
        "`timeout` seconds were not enough.\n\n" \
        "Whoever changes the value says so with notify(); without that, and where it\n" \
        "is killed in between, the change is seen within a tenth of a second."}, \
    {"notify", (PyCFunction)(void (*)(void))ips_atomic_notify_call, METH_FASTCALL | METH_KEYWORDS, \
        "notify($self, /, n=1)\n--\n\n" \
        "Have at most `n` of those who wait look again.  No system call where nobody waits."}, \
    {"notify_all", ips_atomic_notify_all_call, METH_NOARGS, \
        "notify_all($self, /)\n--\n\nHave all who wait look again."}, \
    {"__enter__", ips_cell_enter_context, METH_NOARGS, "__enter__($self, /)\n--\n\nItself."}, \
    {"__exit__", (PyCFunction)(void (*)(void))ips_cell_exit_context, METH_FASTCALL, \
        "__exit__($self, /, *exc_info)\n--\n\nclose()."}

#endif
