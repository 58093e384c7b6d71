/* SPDX-License-Identifier: Apache-2.0 */
/* Facts for tools: gathered without the GIL, turned into objects after it. */
#ifndef IPS_BIND_FACTS_H
#define IPS_BIND_FACTS_H

#include "bind/state.h"

/* Copies of `item_size` bytes each; zeroed but for that to begin with. */
typedef struct {
    void *items;
    size_t count, capacity, item_size;
} ips_facts_list;

/* Without the GIL.  0, or IPS_ENOMEM noted. */
IPS_MUST_CHECK int ips_facts_append(ips_facts_list *list, const void *item);

/* The Python list of `build(item)` for each, or what `status` raises; frees
 * the items either way. */
PyObject *ips_facts_build(ips_state *state, int status, ips_facts_list *list,
                          PyObject *(*build)(const void *item));

/* For reports of checks: lines of at most this, in a list of such items. */
#define IPS_FACTS_LINE 256
void ips_facts_report(const char *line, void *list);
PyObject *ips_facts_line(const void *item);

/* The one argument `namespace`; NULL with an exception set. */
PyObject *ips_facts_namespace(PyObject *args, PyObject *kwargs, const char *format);

#endif
