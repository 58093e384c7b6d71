/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/state.h"

#if PY_VERSION_HEX >= 0x030b0000

ips_state *
ips_state_of_type(PyTypeObject *type)
{
    PyObject *module = PyType_GetModuleByDef(type, &ips_module_def);
    return module == NULL ? NULL : ips_state_of_module(module);
}

#else /* 3.10 has no PyType_GetModuleByDef: the same walk by hand */

ips_state *
ips_state_of_type(PyTypeObject *type)
{
    PyObject *mro = type->tp_mro;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(mro); i++) {
        PyTypeObject *base = (PyTypeObject *)PyTuple_GET_ITEM(mro, i);
        if (!PyType_HasFeature(base, Py_TPFLAGS_HEAPTYPE)) {
            continue;
        }
        PyObject *module = ((PyHeapTypeObject *)base)->ht_module;
        if (module != NULL && PyModule_GetDef(module) == &ips_module_def) {
            return ips_state_of_module(module);
        }
    }
    PyErr_Format(PyExc_TypeError, "%s is not a type of ipcsys", type->tp_name);
    return NULL;
}

#endif
