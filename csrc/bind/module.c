/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys._core: the extension module.  What it offers is added by one
 * function for each file of bind/; what they keep stands in ips_state. */
#include "bind/state.h"

_Static_assert(sizeof(ips_state) % sizeof(PyObject *) == 0, "the state is an array of objects");

enum { STATE_OBJECTS = sizeof(ips_state) / sizeof(PyObject *) };

static int
core_exec(PyObject *module)
{
    static int (*const parts[])(PyObject *module, ips_state *state) = {
        ips_add_errors, /* first: the others raise */
        ips_add_space,
        ips_add_value,
        ips_add_message,
        ips_add_lock,
        ips_add_rlock,
        ips_add_condition,
        ips_add_event,
        ips_add_rwlock,
        ips_add_barrier,
        ips_add_semaphore,
        ips_add_locks,
        ips_add_segment,
        ips_add_map,
        ips_add_deque,
        ips_add_vector,
        ips_add_cell,
        ips_add_string,
        ips_add_bytes,
        ips_add_record,
        ips_add_array,
        ips_add_atomic_int,
        ips_add_atomic_float,
        ips_add_atomic_bool,
        ips_add_queue,
        ips_add_mp_queue, /* each after its base */
        ips_add_mp_lock,
        ips_add_mp_event,
        ips_add_mp_condition,
        ips_add_mp_semaphore,
        ips_add_mp_barrier,
        ips_add_mp_memory,
        ips_add_desk,
        ips_add_measure,
        ips_add_wear,
        ips_add_aio,
    };
    ips_state *state = ips_state_of_module(module);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (parts[i](module, state) < 0) {
            return -1;
        }
    }
    return 0;
}

static int
core_traverse(PyObject *module, visitproc visit, void *arg)
{
    PyObject **objects = (PyObject **)ips_state_of_module(module);
    for (int i = 0; objects != NULL && i < STATE_OBJECTS; i++) {
        Py_VISIT(objects[i]);
    }
    return 0;
}

static int
core_clear(PyObject *module)
{
    PyObject **objects = (PyObject **)ips_state_of_module(module);
    for (int i = 0; objects != NULL && i < STATE_OBJECTS; i++) {
        Py_CLEAR(objects[i]);
    }
    return 0;
}

static void
core_free(void *module)
{
    (void)core_clear((PyObject *)module);
}

PyDoc_STRVAR(core_doc, "The C side of ipcsys; its names are documented in the package itself.");

static PyModuleDef_Slot core_slots[] = {
    {Py_mod_exec, (void *)core_exec},
#if PY_VERSION_HEX >= 0x030c0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030d0000
    /* Containers are walked with borrowed references and the table of keys has
     * no lock of its own: without a GIL neither would hold. */
    {Py_mod_gil, Py_MOD_GIL_USED},
#endif
    {0, NULL},
};

PyModuleDef ips_module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "ipcsys._core",
    .m_doc = core_doc,
    .m_size = sizeof(ips_state),
    .m_slots = core_slots,
    .m_traverse = core_traverse,
    .m_clear = core_clear,
    .m_free = core_free,
};

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&ips_module_def);
}
