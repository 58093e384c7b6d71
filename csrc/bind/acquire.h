/* SPDX-License-Identifier: Apache-2.0 */
/* acquire() as threading and multiprocessing spell it, for all that is taken:
 * the arguments, and what follows when it is not free at once. */
#ifndef IPS_BIND_ACQUIRE_H
#define IPS_BIND_ACQUIRE_H

#include "bind/cell.h"
#include "os/clock.h"

/* The deadline that (blocking=True, timeout=-1) means; `block` is blocking,
 * None is -1.  0, or -1 with an exception set. */
int ips_acquire_deadline(PyObject *const *args, Py_ssize_t count, PyObject *keywords,
                         int64_t *deadline);

/* The same with other manners of timeouts than ips_deadline_of_acquire. */
typedef int (*ips_timeout_manner)(PyObject *timeout, int64_t *deadline);
int ips_acquire_deadline_by(ips_timeout_manner manner, PyObject *const *args, Py_ssize_t count,
                            PyObject *keywords, int64_t *deadline);

/* For a thread that entered and did not get it at once: wait with `acquire`,
 * or (where the deadline is IPS_AT_ONCE) now and then ask with `attempt`, which
 * also takes over from the dead and never parks, IPS_EAGAIN if held. */
int ips_acquire_slowly(ips_cell_object *self, ips_wait_step acquire, ips_wait_step attempt,
                       void *context, int64_t deadline);

/* What acquire() returns: True, False at IPS_ETIMEOUT, or the exception. */
PyObject *ips_acquire_result(ips_cell_object *self, int status);

#endif
