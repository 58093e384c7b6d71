/* SPDX-License-Identifier: Apache-2.0 */
/* What one interpreter knows of the module, and the few helpers that every
 * type in bind/ uses.  Python.h is included here and nowhere below bind/. */
#ifndef IPS_BIND_STATE_H
#define IPS_BIND_STATE_H

#ifndef PY_SSIZE_T_CLEAN
#define PY_SSIZE_T_CLEAN
#endif
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "member/space.h"

enum { IPS_KEYS = 256, IPS_MESSAGE_KINDS = 6 };

/* Python objects and nothing else, each a strong reference or NULL: module.c
 * visits and clears the whole as one array of them. */
typedef struct {
    PyObject *errors[IPS_STATUS_COUNT]; /* ipcsys.errors classes, by status */
    PyObject *pickle_dumps;             /* imported at first use */
    PyObject *pickle_loads;
    PyObject *mp_dumps;                 /* ipcsys.mp.pickling.dumps, at first use */
    PyObject *asyncio_name;             /* "asyncio.events", at first use */
    PyObject *running_loop;             /* its _get_running_loop, once that is loaded */
    PyObject *datetime_capsule;         /* datetime.datetime_CAPI, at first use */
    PyObject *numpy_array;              /* numpy.ndarray and numpy.generic, once */
    PyObject *numpy_generic;            /* the user has imported numpy */
    PyObject *keys[IPS_KEYS];           /* dict keys read lately: bind/value_reader.c */
    PyObject *message_kinds[IPS_MESSAGE_KINDS]; /* ipcsys.MessageType's members, at first use */
    PyObject *record_names[3];          /* attributes of record classes: bind/record_plan.c */
    PyTypeObject *lock_type;
    PyTypeObject *rlock_type;
    PyTypeObject *condition_type;
    PyTypeObject *event_type;
    PyTypeObject *rwlock_type;
    PyTypeObject *rwlock_guard_type;
    PyTypeObject *barrier_type;
    PyTypeObject *semaphore_type;
    PyTypeObject *bounded_semaphore_type;
    PyTypeObject *queue_type;
    PyTypeObject *mp_lock_type;
    PyTypeObject *mp_rlock_type;
    PyTypeObject *mp_event_type;
    PyTypeObject *mp_condition_type;
    PyTypeObject *mp_barrier_type;
    PyTypeObject *mp_semaphore_type;
    PyTypeObject *mp_bounded_semaphore_type;
    PyTypeObject *mp_queue_type;
    PyTypeObject *mp_memory_type;
    PyTypeObject *segment_type;
    PyTypeObject *transaction_type;
    PyTypeObject *view_type;
    PyTypeObject *pool_type;
    PyTypeObject *arena_type;
    PyTypeObject *map_type;
    PyTypeObject *editing_type;
    PyTypeObject *deque_type;
    PyTypeObject *vector_type;
    PyTypeObject *cell_type;
    PyTypeObject *string_type;
    PyTypeObject *bytes_type;
    PyTypeObject *record_type;
    PyTypeObject *record_field_type;
    PyTypeObject *record_layout_type;
    PyTypeObject *array_type;
    PyTypeObject *atomic_int_type;
    PyTypeObject *atomic_float_type;
    PyTypeObject *atomic_bool_type;
    PyTypeObject *message_type;
    PyTypeObject *desk_type;
    PyTypeObject *segment_stats_type;
    PyTypeObject *member_quota_type;
} ips_state;

extern PyModuleDef ips_module_def; /* bind/module.c */

static inline ips_state *
ips_state_of_module(PyObject *module)
{
    return (ips_state *)PyModule_GetState(module);
}

ips_state *ips_state_of_type(PyTypeObject *type); /* PyType_GetModuleByDef: works for subclasses */

/* Turn the status that a core function just returned (with its note) into the
 * Python exception; returns NULL.  bind/errors.c. */
PyObject *ips_raise(ips_state *state, int status);
/* As ips_raise for a failure found in bind/ itself; a format of printf. */
PyObject *ips_raise_text(ips_state *state, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* bind/wait.c ---------------------------------------------------------- */

/* A timeout argument (None or seconds) as an absolute deadline.  NaN and
 * non-numbers raise; negative raises ValueError; huge means for ever. */
int ips_deadline_of(PyObject *timeout, int64_t *deadline);

/* The same with the manners of threading's acquire(): -1 (or None) is for
 * ever, other negatives ValueError, beyond IPS_TIMEOUT_MAX OverflowError. */
int ips_deadline_of_acquire(PyObject *timeout, int64_t *deadline);
/* And those of threading's wait(): a negative one has passed already. */
int ips_deadline_of_wait(PyObject *timeout, int64_t *deadline);
#define IPS_TIMEOUT_MAX 9223372036.0 /* seconds; threading.TIMEOUT_MAX on 64 bits */

/* One wait, without the GIL, until `deadline`: 0, IPS_ETIMEOUT, IPS_EINTR or
 * what else the core says. */
typedef int (*ips_wait_step)(void *context, int64_t deadline);

/* Run `step` without the GIL until it returns something else than IPS_EINTR,
 * looking at signals in between, with the GIL.  Returns that status, or
 * IPS_EINTR with a Python exception set. */
int ips_wait_without_gil(ips_wait_step step, void *context, int64_t deadline);

/* The same for a wait that must not end before its time: signal handlers run
 * only once it has.  Never IPS_EINTR. */
int ips_wait_uninterrupted(ips_wait_step step, void *context, int64_t deadline);

/* bind/space.c: the namespace of this object; `namespace` is None or str. */
ips_space *ips_space_of(ips_state *state, PyObject *namespace_);
/* A name given by the user, checked; points into `name`.  NULL: exception set. */
const char *ips_name_of(ips_state *state, PyObject *name);

/* One line each in bind/module.c's list; 0 or -1 with an exception set. */
int ips_add_errors(PyObject *module, ips_state *state);
int ips_add_space(PyObject *module, ips_state *state);
int ips_add_lock(PyObject *module, ips_state *state);
int ips_add_locks(PyObject *module, ips_state *state);
int ips_add_rlock(PyObject *module, ips_state *state);
int ips_add_condition(PyObject *module, ips_state *state);
int ips_add_event(PyObject *module, ips_state *state);
int ips_add_rwlock(PyObject *module, ips_state *state);
int ips_add_barrier(PyObject *module, ips_state *state);
int ips_add_semaphore(PyObject *module, ips_state *state);
int ips_add_value(PyObject *module, ips_state *state);
int ips_add_message(PyObject *module, ips_state *state);
int ips_add_queue(PyObject *module, ips_state *state);
int ips_add_mp_queue(PyObject *module, ips_state *state);
int ips_add_mp_lock(PyObject *module, ips_state *state);
int ips_add_mp_event(PyObject *module, ips_state *state);
int ips_add_mp_condition(PyObject *module, ips_state *state);
int ips_add_mp_semaphore(PyObject *module, ips_state *state);
int ips_add_mp_barrier(PyObject *module, ips_state *state);
int ips_add_mp_memory(PyObject *module, ips_state *state);
int ips_add_segment(PyObject *module, ips_state *state);
int ips_add_map(PyObject *module, ips_state *state);
int ips_add_deque(PyObject *module, ips_state *state);
int ips_add_vector(PyObject *module, ips_state *state);
int ips_add_cell(PyObject *module, ips_state *state);
int ips_add_string(PyObject *module, ips_state *state);
int ips_add_bytes(PyObject *module, ips_state *state);
int ips_add_record(PyObject *module, ips_state *state);
int ips_add_array(PyObject *module, ips_state *state);
int ips_add_atomic_int(PyObject *module, ips_state *state);
int ips_add_atomic_float(PyObject *module, ips_state *state);
int ips_add_atomic_bool(PyObject *module, ips_state *state);
int ips_add_desk(PyObject *module, ips_state *state);
int ips_add_measure(PyObject *module, ips_state *state);
int ips_add_wear(PyObject *module, ips_state *state);
int ips_add_aio(PyObject *module, ips_state *state);

#endif
