/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/facts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int
ips_facts_append(ips_facts_list *list, const void *item)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 64 : list->capacity * 2;
        void *items = realloc(list->items, capacity * list->item_size);
        if (items == NULL) {
            return ips_fail(IPS_ENOMEM, "listing the namespace");
        }
        list->items = items;
        list->capacity = capacity;
    }
    memcpy((char *)list->items + list->count++ * list->item_size, item, list->item_size);
    return 0;
}

PyObject *
ips_facts_build(ips_state *state, int status, ips_facts_list *list,
                PyObject *(*build)(const void *item))
{
    PyObject *result = status < 0 ? ips_raise(state, status) : PyList_New(0);
    for (size_t i = 0; result != NULL && i < list->count; i++) {
        PyObject *item = build((char *)list->items + i * list->item_size);
        if (item == NULL || PyList_Append(result, item) < 0) {
            Py_CLEAR(result);
        }
        Py_XDECREF(item);
    }
    free(list->items);
    return result;
}

void
ips_facts_report(const char *line, void *list)
{
    char copy[IPS_FACTS_LINE];
    (void)snprintf(copy, sizeof copy, "%s", line);
    if (ips_facts_append((ips_facts_list *)list, copy) < 0) {
        return; /* no memory: one line less */
    }
}

PyObject *
ips_facts_line(const void *item)
{
    const char *line = (const char *)item;
    return PyUnicode_DecodeUTF8(line, (Py_ssize_t)strlen(line), "replace");
}

PyObject *
ips_facts_namespace(PyObject *args, PyObject *kwargs, const char *format)
{
    static char *names[] = {"namespace", NULL};
    PyObject *namespace_ = Py_None;
    return PyArg_ParseTupleAndKeywords(args, kwargs, format, names, &namespace_) ? namespace_ : NULL;
}
