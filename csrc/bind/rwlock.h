/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IPS_BIND_RWLOCK_H
#define IPS_BIND_RWLOCK_H

#include "bind/cell.h"
#include "sync/rwlock.h"

typedef struct {
    ips_cell_object base;
    ips_rwlock lock; /* valid while base.cell.shm is not NULL */
} ips_rwlock_object;

/* The core's status; IPS_EINTR where an exception is set already. */
int ips_rwlock_object_read(ips_rwlock_object *self, int64_t deadline);
int ips_rwlock_object_write(ips_rwlock_object *self, int64_t deadline);
/* Release what this process holds, be it the write or a read: while it has the
 * one it has none of the other. */
PyObject *ips_rwlock_object_release(ips_rwlock_object *self);

/* bind/rwlock_guard.c: a context manager that reads or writes, from read()'s
 * or write()'s arguments. */
PyObject *ips_rwlock_guard(PyObject *lock, PyObject *const *args, Py_ssize_t count,
                           PyObject *keywords, bool writing);
int ips_add_rwlock_guard(PyObject *module, ips_state *state);

#endif
