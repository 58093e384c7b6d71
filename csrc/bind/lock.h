/* SPDX-License-Identifier: Apache-2.0 */
/* What every object whose first word is a lock word can tell: Lock, RLock. */
#ifndef IPS_BIND_LOCK_H
#define IPS_BIND_LOCK_H

#include "bind/acquire.h"
#include "sync/lock.h"

/* The living holder, or IPS_NOBODY: what a dead one left behind can be had. */
ips_owner ips_lock_object_holder(ips_cell_object *self);

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
