/* SPDX-License-Identifier: Apache-2.0 */
/* What every object whose first word is a lock word can tell: Lock, RLock. */
#ifndef IPS_BIND_LOCK_H
#define IPS_BIND_LOCK_H

#include "bind/acquire.h"
#include "sync/lock.h"

/* The living holder, or IPS_NOBODY: what a dead one left behind can be had. */
ips_owner ips_lock_object_holder(ips_cell_object *self);

/* True or False, as acquire(); and release(): 1, 0 where it was not held, -1
 * with an exception set. */
PyObject *ips_lock_object_take(ips_cell_object *self, int64_t deadline);
int ips_lock_object_give(ips_cell_object *self);
/* Does this thread hold it?  With the GIL, while it is open. */
bool ips_lock_object_is_mine(const ips_cell_object *self);

/* A method and two properties. */
PyObject *ips_lock_object_locked(PyObject *self, PyObject *unused);
PyObject *ips_lock_object_abandoned(PyObject *self, void *unused);
PyObject *ips_lock_object_owner(PyObject *self, void *unused);

#define IPS_LOCK_GETSETS                                                                       \
    {"abandoned", ips_lock_object_abandoned, NULL,                                             \
     "True from the moment it is taken over from a dead holder until it is released.", NULL},  \
    {"owner", ips_lock_object_owner, NULL, "The pid of the process that holds it, or None.",   \
     NULL}

#endif
