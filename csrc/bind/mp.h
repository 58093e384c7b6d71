/* SPDX-License-Identifier: Apache-2.0 */
/* What the types of ipcsys.mp share.  Each is a subtype of the type of the same
 * name in ipcsys, on the same words, that differs where multiprocessing's rules
 * differ from threading's: negative timeouts act as zero, a false `block` is a
 * try whatever the timeout, other exceptions, other reprs. */
#ifndef IPS_BIND_MP_H
#define IPS_BIND_MP_H

#include "bind/lock.h"

/* The deadline that block and timeout mean, either NULL where not given. */
int ips_mp_deadline_of(PyObject *block, PyObject *timeout, int64_t *deadline);
/* That of acquire(block=True, timeout=None); 0, or -1 with an exception set. */
int ips_mp_acquire_deadline(PyObject *const *args, Py_ssize_t count, PyObject *keywords,
                            int64_t *deadline);

/* `init` without the keyword ctx, which means nothing here. */
int ips_mp_init(initproc init, PyObject *self, PyObject *args, PyObject *kwargs);

/* ipcsys.mp.synchronize.<function>(self): the reprs, which name processes and
 * threads as only multiprocessing and threading know them. */
PyObject *ips_mp_describe(PyObject *self, const char *function);

PyObject *ips_mp_raise_released_too_often(void);

/* The private face by which multiprocessing's own code, such as the queue that
 * ProcessPoolExecutor makes, looks at a lock or semaphore: itself. */
PyObject *ips_mp_semlock(PyObject *self, void *unused);
#define IPS_MP_SEMLOCK {"_semlock", ips_mp_semlock, NULL, NULL, NULL}

PyObject *ips_mp_lock_is_mine(PyObject *self, PyObject *unused);
PyObject *ips_mp_lock_count(PyObject *self, PyObject *unused);
PyObject *ips_mp_lock_get_value(PyObject *self, PyObject *unused);
PyObject *ips_mp_lock_is_zero(PyObject *self, PyObject *unused);

/* The four of them, for all whose words begin with a lock word. */
#define IPS_MP_LOOKS                                                                           \
    {"_is_mine", ips_mp_lock_is_mine, METH_NOARGS,                                             \
     "_is_mine($self, /)\n--\n\nWhether this thread holds it."},                               \
    {"_count", ips_mp_lock_count, METH_NOARGS,                                                 \
     "_count($self, /)\n--\n\nHow often this process holds it."},                              \
    {"_get_value", ips_mp_lock_get_value, METH_NOARGS,                                         \
     "_get_value($self, /)\n--\n\n1 while it is free, else 0."},                               \
    {"_is_zero", ips_mp_lock_is_zero, METH_NOARGS,                                             \
     "_is_zero($self, /)\n--\n\nWhether somebody holds it."}

#define IPS_MP_FAST(function) (PyCFunction)(void (*)(void))function, METH_FASTCALL | METH_KEYWORDS

#define IPS_MP_ACQUIRE_TEXT "acquire($self, /, block=True, timeout=None)\n--\n\n"

#endif
