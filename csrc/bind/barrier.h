/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IPS_BIND_BARRIER_H
#define IPS_BIND_BARRIER_H

#include "bind/cell.h"
#include "sync/barrier.h"

typedef struct {
    ips_cell_object base;
    ips_barrier barrier; /* valid while base.cell.shm is not NULL */
    PyObject *action;    /* NULL: none */
    PyObject *timeout;   /* seconds; NULL: none */
} ips_barrier_object;

#endif
