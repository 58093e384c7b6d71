/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.Record: the type, and what does not touch single fields. */
#include "bind/record.h"

#include <string.h>

#include "bind/sequence.h"

/* --- like a dataclass */

static PyObject *
joined(PyObject *object, PyObject *values)
{
    PyObject *parts = PyList_New(0);
    Py_ssize_t at = 0;
    PyObject *name, *value;
    while (parts != NULL && PyDict_Next(values, &at, &name, &value)) {
        PyObject *part = PyUnicode_FromFormat("%U=%R", name, value);
        if (part == NULL || PyList_Append(parts, part) < 0) {
            Py_CLEAR(parts);
        }
        Py_XDECREF(part);
    }
    PyObject *comma = parts == NULL ? NULL : PyUnicode_FromString(", ");
    PyObject *inner = comma == NULL ? NULL : PyUnicode_Join(comma, parts);
    PyObject *text = inner == NULL ? NULL
        : PyUnicode_FromFormat("%s(%U)", ips_short_name(object), inner);
    Py_XDECREF(parts);
    Py_XDECREF(comma);
    Py_XDECREF(inner);
    return text;
}

static PyObject *
record_repr(PyObject *object)
{
    ips_record_object *self = (ips_record_object *)object;
    if (self->base.home.segment == NULL) {
        return PyUnicode_FromFormat("<closed %s>", ips_short_name(object));
    }
    PyObject *values = ips_record_object_values(object, NULL);
    PyObject *text = values == NULL ? NULL : joined(object, values);
    Py_XDECREF(values);
    return text;
}

/* Are they declared under the same name?  1, 0, or -1 with an exception set. */
static int
same_name(ips_state *state, PyObject *object, PyObject *other)
{
    ips_record_layout *one = ips_record_layout_of(state, Py_TYPE(object));
    ips_record_layout *two = one == NULL ? NULL : ips_record_layout_of(state, Py_TYPE(other));
    int same = -1;
    if (two != NULL) {
        const ips_text a = ips_schema_name(&one->schema);
        const ips_text b = ips_schema_name(&two->schema);
        same = a.size == b.size && memcmp(a.bytes, b.bytes, a.size) == 0;
    }
    Py_XDECREF(one);
    Py_XDECREF(two);
    return same;
}

/* Of another record of that name, or a plain copy; NULL without an exception
 * for anything else. */
static PyObject *
values_of(ips_state *state, PyObject *object, PyObject *other)
{
    if (PyObject_TypeCheck(other, state->record_type)) {
        return same_name(state, object, other) == 1 ? ips_record_object_values(other, NULL) : NULL;
    }
    PyObject *args = PyTuple_Pack(2, object, other);
    PyObject *values = ips_schema_call("plain_values", args, NULL);
    Py_XDECREF(args);
    if (values == Py_None) {
        Py_CLEAR(values);
    }
    return values;
}

static PyObject *
record_compare(PyObject *object, PyObject *other, int op)
{
    ips_state *state = ips_state_of_type(Py_TYPE(object));
    if (state == NULL || (op != Py_EQ && op != Py_NE)) {
        return state == NULL ? NULL : Py_NewRef(Py_NotImplemented);
    }
    PyObject *theirs = values_of(state, object, other);
    if (theirs == NULL) {
        return PyErr_Occurred() != NULL ? NULL : Py_NewRef(Py_NotImplemented);
    }
    PyObject *mine = ips_record_object_values(object, NULL);
    PyObject *result = mine == NULL ? NULL : PyObject_RichCompare(mine, theirs, op);
    Py_XDECREF(mine);
    Py_DECREF(theirs);
    return result;
}

/* A misspelt field is no new attribute. */
static int
record_setattr(PyObject *object, PyObject *name, PyObject *value)
{
    PyObject *found = _PyType_Lookup(Py_TYPE(object), name);
    descrsetfunc store = found == NULL ? NULL : Py_TYPE(found)->tp_descr_set;
    if (__builtin_expect(store != NULL, 1)) {
        Py_INCREF(found);
        int status = store(found, object, value);
        Py_DECREF(found);
        return status;
    }
    if (PyUnicode_Check(name) && PyUnicode_GET_LENGTH(name) > 0 &&
        PyUnicode_READ_CHAR(name, 0) == '_') {
        return PyObject_GenericSetAttr(object, name, value);
    }
    PyErr_Format(PyExc_AttributeError, "%.100s has no field %R", Py_TYPE(object)->tp_name, name);
    return -1;
}

static PyObject *
record_plain(PyObject *object, PyObject *unused)
{
    (void)unused;
    PyObject *args = PyTuple_Pack(1, object);
    PyObject *plain = ips_schema_call("plain", args, NULL);
    Py_XDECREF(args);
    return plain;
}

/* --- declared */

static PyObject *
record_init_subclass(PyObject *class, PyObject *args, PyObject *kwargs)
{
    PyObject *all = PyTuple_GET_SIZE(args) == 0 ? PyTuple_Pack(1, class) : NULL;
    if (all == NULL) {
        return PyErr_Occurred() != NULL ? NULL
            : PyErr_Format(PyExc_TypeError, "a Record takes keywords only");
    }
    PyObject *result = ips_schema_call("declare", all, kwargs);
    Py_DECREF(all);
    return result;
}

static PyObject *
record_migration(PyObject *class, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"from_version", "to_version", NULL};
    PyObject *from, *to = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$O:migration", names, &from, &to)) {
        return NULL;
    }
    PyObject *all = PyTuple_Pack(3, class, from, to);
    PyObject *result = ips_schema_call("migration", all, NULL);
    Py_XDECREF(all);
    return result;
}

/* --- checked, destroyed */

static int
act_check(void *context)
{
    ips_checking *job = context;
    return ips_record_check(job->handle, ips_container_report, job);
}

static PyObject *
record_check(PyObject *object, PyObject *unused)
{
    (void)unused;
    ips_record_object *self = (ips_record_object *)object;
    self->base.handle = &self->record;
    return ips_container_lines(&self->base, act_check);
}

static int
record_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(((ips_record_object *)object)->plan_keeper);
    return ips_container_traverse(object, visit, arg);
}

static void
record_dealloc(PyObject *object)
{
    ips_record_object *self = (ips_record_object *)object;
    self->plan = NULL;
    Py_CLEAR(self->plan_keeper);
    ips_container_dealloc(object);
}

/* --- the type */

PyDoc_STRVAR(record_doc,
    "Record(*values, name=None, namespace=None, create=None, cleanup=None, max_size=None,\n"
    "       segment=None, **fields)\n--\n\n"
    "A structure in shared memory whose declaration may change while programs use it.\n\n"
    "Derive a class from it, with annotations as in a dataclass:\n\n"
    "    class Tick(ipcsys.Record, version=2):\n"
    "        symbol: str\n"
    "        price: float\n"
    "        size: ipcsys.u32 = 0\n\n"
    "segment.construct(Tick, 'last', symbol='X', price=1.5) makes one, segment.find('last',\n"
    "Tick) finds it; Tick(...) makes one of its own.  Reading a field takes no lock;\n"
    "update() and transactions change several at once.  A program with a newer version\n"
    "upgrades what an older one made, which goes on with it; SchemaError says what does\n"
    "not fit.  ObjectGone is raised once the record was destroyed.");

PyDoc_STRVAR(update_doc, "update($self, mapping=(), /, **fields)\n--\n\n"
    "Set several fields at once: others see all of them or none, whoever dies.");
PyDoc_STRVAR(migration_doc, "migration($type, from_version, *, to_version=None)\n--\n\n"
    "A decorator: the function gets the values of a record of that version as a dict and\n"
    "returns (or changes) those of the next, or of `to_version`.  It runs once for each\n"
    "record, in the transaction that upgrades it; others wait meanwhile.");

static PyMethodDef record_methods[] = {
    {"asdict", ips_record_object_values, METH_NOARGS, "asdict($self, /)\n--\n\n"
        "A dict of all fields, of one moment."},
    {"update", (PyCFunction)(void (*)(void))ips_record_object_update,
        METH_VARARGS | METH_KEYWORDS, update_doc},
    {"migration", (PyCFunction)(void (*)(void))record_migration,
        METH_VARARGS | METH_KEYWORDS | METH_CLASS, migration_doc},
    {"check", record_check, METH_NOARGS, "check($self, /)\n--\n\n"
        "What is wrong with the record and its layout: a list of lines, empty when sound."},
    {"_layout", ips_record_object_layout, METH_NOARGS, "_layout($self, /)\n--\n\n"
        "The RecordLayout it is stored with now."},
    {"_read", ips_record_object_read, METH_O, "_read($self, layout, /)\n--\n\n"
        "The values of all stored fields, by name; the layout is what _layout() gave."},
    {"_upgrade", ips_record_object_upgrade, METH_VARARGS, "_upgrade($self, old, new, sources, /)"
        "\n--\n\nStore it with the layout `new`: fields are those of `old` or (value,)."},
    {"__copy__", record_plain, METH_NOARGS, "__copy__($self, /)\n--\n\n"
        "A plain dataclass with the values."},
    {"__deepcopy__", record_plain, METH_O, "__deepcopy__($self, memo, /)\n--\n\n"
        "As copy.copy(): what a record gives is copies already."},
    {"__init_subclass__", (PyCFunction)(void (*)(void))record_init_subclass,
        METH_VARARGS | METH_KEYWORDS | METH_CLASS, "__init_subclass__($type, /, *, version=None,"
        " name=None)\n--\n\nRead the annotations."},
    {"__reduce__", ips_record_object_reduce, METH_NOARGS, "__reduce__($self, /)\n--\n\n"
        "A handle for another process of the same namespace."},
    IPS_CONTAINER_METHODS(ips_record_object_restore),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef record_getsets[] = {
    IPS_CONTAINER_GETSETS,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef record_members[] = {
    IPS_CONTAINER_WEAKREFS,
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot record_slots[] = {
    {Py_tp_doc, (void *)record_doc},
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_init, (void *)ips_record_object_init},
    {Py_tp_dealloc, (void *)record_dealloc},
    {Py_tp_traverse, (void *)record_traverse},
    {Py_tp_clear, (void *)ips_container_clear},
    {Py_tp_repr, (void *)record_repr},
    {Py_tp_hash, (void *)PyObject_HashNotImplemented},
    {Py_tp_richcompare, (void *)record_compare},
    {Py_tp_setattro, (void *)record_setattr},
    {Py_tp_methods, record_methods},
    {Py_tp_getset, record_getsets},
    {Py_tp_members, record_members},
    {0, NULL},
};

static PyType_Spec record_spec = {
    .name = "ipcsys.Record",
    .basicsize = sizeof(ips_record_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = record_slots,
};

int
ips_add_record(PyObject *module, ips_state *state)
{
    if (ips_add_record_layout(module, state) < 0 || ips_add_record_field(module, state) < 0) {
        return -1;
    }
    state->record_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &record_spec, NULL);
    return state->record_type == NULL ? -1 : PyModule_AddType(module, state->record_type);
}
