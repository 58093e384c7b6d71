/* SPDX-License-Identifier: Apache-2.0 */
/* What pickles of handles have in common.  Of what has a file of its own, or a
 * cell of the pool, a pickle says
 *
 *     type._restore(folder, name or None, proof, ...)
 *
 * where the proof is the 16 bytes of identity of a file with a name, so that
 * a stranger under the name is told, and else the text of a ticket. */
#ifndef IPS_BIND_PICKLED_H
#define IPS_BIND_PICKLED_H

#include "bind/state.h"
#include "member/object.h"

/* The value of self.__reduce__(): (type(self)._restore, arguments, what a
 * subclass keeps in its instances, or None).  Takes `arguments` over; NULL, with
 * the exception that is set, where that is NULL. */
PyObject *ips_pickled(PyObject *self, PyObject *arguments);

/* New references, or NULL with an exception set. */
PyObject *ips_pickled_proof(ips_state *state, ips_object *file);
PyObject *ips_pickled_file(ips_state *state, ips_object *file); /* (folder, name, proof) */

/* The same read again: exactly one of identity and ticket is there, and a name
 * just with the former. */
typedef struct {
    PyObject *path; /* keeps folder; the others belong to the arguments */
    const char *folder, *name, *ticket;
    const uint8_t *identity;
} ips_unpickled;

/* 0, or -1 with an exception set and nothing to clear. */
int ips_unpickled_read(ips_state *state, PyObject *folder, PyObject *name, PyObject *proof,
                       ips_unpickled *out);
int ips_unpickled_parse(ips_state *state, PyObject *args, ips_unpickled *out);

static inline void
ips_unpickled_clear(ips_unpickled *what)
{
    Py_CLEAR(what->path);
}

#endif
