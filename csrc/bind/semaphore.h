/* SPDX-License-Identifier: Apache-2.0 */
/* The objects of Semaphore and BoundedSemaphore, for other types with other
 * manners on the same words. */
#ifndef IPS_BIND_SEMAPHORE_H
#define IPS_BIND_SEMAPHORE_H

#include "bind/cell.h"
#include "sync/semaphore.h"

typedef struct {
    ips_cell_object cell;
    ips_semaphore semaphore; /* of the cell, once that is open */
} ips_semaphore_object;

/* Open it in its place, with `value` where it is new; 0, or -1 with an
 * exception set. */
int ips_semaphore_object_open(ips_semaphore_object *self, const ips_container_where *where,
                              enum ips_cell_type type, int64_t value, bool owned);
/* The class method _restore. */
PyObject *ips_semaphore_object_restore(PyObject *type, PyObject *args,
                                       enum ips_cell_type cell_type);

/* True, False where the deadline passed (or is IPS_AT_ONCE), NULL. */
PyObject *ips_semaphore_object_acquire(ips_semaphore_object *self, int64_t deadline);
/* Permits that are free now; NULL. */
PyObject *ips_semaphore_object_value(ips_semaphore_object *self);
/* None, or NULL: ValueError where that is more than there may be. */
PyObject *ips_semaphore_object_release(ips_semaphore_object *self, int64_t n);

#endif
