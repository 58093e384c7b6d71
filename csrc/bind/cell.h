/* SPDX-License-Identifier: Apache-2.0 */
/* What the types whose shared part is one cell have in common: Lock, Event,
 * and whatever comes to stand on segment/cells.h. */
#ifndef IPS_BIND_CELL_H
#define IPS_BIND_CELL_H

#include "bind/container.h"
#include "bind/gate.h"
#include "bind/options.h"
#include "bind/pickled.h"
#include "bind/state.h"
#include "segment/cells.h"

#include <structmember.h> /* after Python.h, which it leaves out */

#include "data/types.h"

/* Of an object that stands in a segment, in a stable cell. */
typedef struct {
    ips_home home;
    uint32_t type; /* enum ips_type */
} ips_cell_place;

typedef struct {
    PyObject_HEAD
    void *shm;               /* the words; NULL before __init__ and once closed */
    ips_cell cell;           /* in a segment: shm, of which only the words, space and wide */
    ips_cell_place *place;   /* NULL but in a segment */
    ips_gate gate;           /* calls without the GIL, and others for a moment */
    int64_t probed;          /* when a try without waiting last asked for proof of death */
    PyObject *weakrefs;
} ips_cell_object;

/* With the GIL, nobody can close a handle between a look at `shm` and the
 * next Python call; without it, every call has to be counted in. */
#ifdef Py_GIL_DISABLED
#define IPS_CELL_MAY_BE_QUICK 0
#else
#define IPS_CELL_MAY_BE_QUICK 1
#endif

/* False where it stood in a segment and was destroyed there. */
static inline bool
ips_cell_lives(const ips_cell_object *self)
{
    return self->place == NULL ||
           ips_stable_generation(self->place->home.segment, self->place->home.root,
                                 self->place->type) == self->place->home.generation;
}

/* Open, and not destroyed. */
static inline bool
ips_cell_is_usable(const ips_cell_object *self)
{
    return self->shm != NULL && ips_cell_lives(self);
}

/* May a method work on `shm` at once, without ips_cell_enter? */
static inline bool
ips_cell_is_quick(const ips_cell_object *self)
{
    return IPS_CELL_MAY_BE_QUICK && ips_cell_is_usable(self);
}

/* The body of an __init__(*, name=None, namespace=None, create=None,
 * cleanup=None, segment=None). */
int ips_cell_init(ips_cell_object *self, PyObject *args, PyObject *kwargs,
                  enum ips_cell_type type);

/* The same for a type with arguments of its own; `words` are those of a new
 * cell (NULL: zeros).  Of a wide type, self->cell.wide is the body, in all
 * three places. */
int ips_cell_object_open(ips_cell_object *self, const ips_container_where *where,
                         enum ips_cell_type type, const uint64_t words[IPS_CELL_WORDS]);

/* A handle of `type` on a cell that lies in another object's file, which it holds
 * from now on; NULL with an exception set: then the caller still does. */
PyObject *ips_cell_object_of(PyTypeObject *type, const ips_cell *cell);

/* The same on the payload of a stable cell that is another object's, whose home
 * is held once more. */
PyObject *ips_cell_object_inside(PyTypeObject *type, const ips_home *home);

/* Count this thread in, so that the cell stays while it works without the
 * GIL: false with Closed raised.  Then leave() once, with the GIL. */
bool ips_cell_enter(ips_cell_object *self);
void ips_cell_leave(ips_cell_object *self);

/* As ips_wait_without_gil, for a thread that entered; at once IPS_ECLOSED where
 * another thread closes the handle, IPS_EGONE where the cell is destroyed. */
int ips_cell_wait(ips_cell_object *self, ips_wait_step step, void *context, int64_t deadline);

/* The same, but as ips_wait_uninterrupted. */
int ips_cell_wait_uninterrupted(ips_cell_object *self, ips_wait_step step, void *context,
                                int64_t deadline);

/* The body of a check(): the list of lines that `check` reports, which holds no
 * core lock while it does. */
typedef void (*ips_cell_report)(const char *line, void *lines);
PyObject *ips_cell_problems(ips_cell_object *self,
                            int (*check)(ips_cell_object *self, ips_cell_report report, void *lines));

/* Closed, or ObjectGone where it was destroyed in its segment. */
PyObject *ips_cell_raise_closed(ips_cell_object *self);

/* What tells it apart in every process, as member/waits.h does; of one that is
 * entered. */
void ips_cell_object_place(const ips_cell_object *self, uint64_t *file, uint64_t *place);

/* The type that a cell has in a segment's catalogue (enum ips_type), and the other
 * way round; 0 where there is none. */
uint32_t ips_cell_type_in_segment(uint32_t cell);
uint32_t ips_cell_type_from_segment(uint32_t type);

/* The name (in a segment: the key) of one that is open, or NULL. */
static inline const char *
ips_cell_name_of(const ips_cell_object *self)
{
    return self->place != NULL         ? self->place->home.name
           : self->cell.object != NULL ? self->cell.object->name
                                       : NULL;
}

/* Slots and methods, ready for a type's tables. */
void ips_cell_dealloc(PyObject *self);
PyObject *ips_cell_close(PyObject *self, PyObject *unused);
PyObject *ips_cell_reduce(PyObject *self, PyObject *unused);
PyObject *ips_cell_name(PyObject *self, void *unused);
PyObject *ips_cell_closed(PyObject *self, void *unused);
PyObject *ips_cell_remove(PyObject *type, PyObject *const *args, Py_ssize_t count,
                          PyObject *keywords);
PyObject *ips_cell_enter_context(PyObject *self, PyObject *unused);
PyObject *ips_cell_exit_context(PyObject *self, PyObject *const *args, Py_ssize_t count);
/* The class method that a pickle names; its arguments are those of
 * bind/pickled.h, or in a segment those of ips_home_restore. */
PyObject *ips_cell_restore(PyObject *type, PyObject *args, enum ips_cell_type cell_type);

#define IPS_CELL_WEAKREFS \
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ips_cell_object, weakrefs), READONLY, NULL}
#define IPS_CELL_ENDS                                                                        \
    {"close", ips_cell_close, METH_NOARGS, "close($self, /)\n--\n\n"                          \
     "Give up this handle; threads of this process that wait on it get Closed."},            \
    {"remove", (PyCFunction)(void (*)(void))ips_cell_remove,                                 \
     METH_FASTCALL | METH_KEYWORDS | METH_CLASS, IPS_REMOVE_DOC}
#define IPS_CELL_METHODS(restore)                                                            \
    IPS_CELL_ENDS,                                                                           \
    {"__reduce__", ips_cell_reduce, METH_NOARGS, "__reduce__($self, /)\n--\n\n"               \
     "A handle for another process of the same namespace."},                                 \
    {"_restore", restore, METH_VARARGS | METH_CLASS, NULL}
#define IPS_CELL_GETSETS                                                                     \
    {"name", ips_cell_name, NULL, "The name, or None.", NULL},                               \
    {"closed", ips_cell_closed, NULL, "True once close() was called.", NULL}

#endif
