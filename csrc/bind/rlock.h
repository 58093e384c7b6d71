/* SPDX-License-Identifier: Apache-2.0 */
/* The methods of every object whose words begin with an rlock: RLock, and a
 * Condition that has its lock with it. */
#ifndef IPS_BIND_RLOCK_H
#define IPS_BIND_RLOCK_H

#include "bind/lock.h"
#include "sync/rlock.h"

static inline ips_rlock_shm *
ips_rlock_of(const ips_cell_object *self)
{
    return (ips_rlock_shm *)self->cell.shm->words;
}

/* Does this thread hold it?  For one that entered, or with the GIL. */
bool ips_rlock_object_is_mine(const ips_cell_object *self);

/* As acquire(), until `deadline`. */
PyObject *ips_rlock_object_take(ips_cell_object *self, int64_t deadline);
PyObject *ips_rlock_object_acquire(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                   PyObject *keywords);
PyObject *ips_rlock_object_enter(PyObject *self, PyObject *unused);
PyObject *ips_rlock_object_exit(PyObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *ips_rlock_object_release(PyObject *self, PyObject *unused);
PyObject *ips_rlock_object_release_save(PyObject *self, PyObject *unused);
PyObject *ips_rlock_object_acquire_restore(PyObject *self, PyObject *saved);
PyObject *ips_rlock_object_is_owned(PyObject *self, PyObject *unused);
/* "<unlocked TYPE object owner=0 count=0 at 0x...>", a new string. */
PyObject *ips_rlock_object_text(ips_cell_object *self, const char *type);

/* A context for ips_cell_wait and its kin. */
typedef struct {
    ips_rlock_shm *rlock;
    ips_space *space;
    uint64_t thread;
    uint64_t count;
} ips_rlock_taking;
int ips_rlock_take_step(void *taking, int64_t deadline);

/* NotHeld with threading's words: "cannot release un-acquired lock". */
PyObject *ips_raise_not_acquired(PyObject *self, const char *what);

#endif
