/* SPDX-License-Identifier: Apache-2.0 */
/* Quotas of a Segment's members: methods of Segment. */
#ifndef IPS_BIND_QUOTA_H
#define IPS_BIND_QUOTA_H

#include "bind/state.h"

PyObject *ips_segment_set_quota(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *ips_segment_quotas(PyObject *self, PyObject *unused);

#define IPS_SEGMENT_QUOTA_METHODS                                                              \
    {"set_quota", (PyCFunction)(void (*)(void))ips_segment_set_quota,                          \
     METH_VARARGS | METH_KEYWORDS, "set_quota($self, /, size, pid=None)\n--\n\n"               \
     "Let no process have more than `size` bytes of the segment in use (None: without\n"       \
     "limit), or, with `pid`, that one alone, whatever holds for the others.  What it\n"       \
     "allocates beyond raises QuotaExceeded and is undone.  A block counts for the process\n"  \
     "that allocated it until it is freed, by whomever; what a process leaves behind is the\n" \
     "segment's.  NotFound where no member has that pid."},                                    \
    {"quotas", ips_segment_quotas, METH_NOARGS, "quotas($self, /)\n--\n\n"                     \
     "A MemberQuota (pid, limit, used) for each living process that has allocated since the\n" \
     "first set_quota(), or has a limit of its own."}

int ips_add_quota(PyObject *module, ips_state *state);

#endif
