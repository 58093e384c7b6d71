/* SPDX-License-Identifier: Apache-2.0 */
/* The keywords that every shared type takes: name, namespace, create, cleanup. */
#ifndef IPS_BIND_OPTIONS_H
#define IPS_BIND_OPTIONS_H

#include "bind/state.h"
#include "member/object.h"

typedef struct {
    ips_space *space;
    const char *name; /* NULL: unnamed; points into the argument */
    ips_open_mode mode;
    bool cleanup_last;
} ips_options;

/* What create= says: None, True, False or "new". */
int ips_options_mode_of(PyObject *create, ips_open_mode *mode);

/* Check them and join the namespace; each is NULL or None where not given.
 * 0, or -1 with an exception set. */
int ips_options_of(ips_state *state, PyObject *name, PyObject *namespace_, PyObject *create,
                   PyObject *cleanup, ips_options *out);

/* The static method remove(name, namespace=None) of each type. */
#define IPS_REMOVE_DOC "remove(name, namespace=None)\n--\n\n" \
    "Remove the name; InUse while live members hold the object."
PyObject *ips_remove_named(PyTypeObject *type, PyObject *const *args, Py_ssize_t count,
                           PyObject *keywords);

#endif
