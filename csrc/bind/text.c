/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/text.h"

#define STACK_ARGS 8

int
ips_text_open(ips_sequence *self, const ips_container_where *where, const ips_text_kind *kind,
    PyObject *value)
{
    ips_snapshot values = {0};
    int status = value == NULL ? 0 : kind->encode(self->base.state, value, &values);
    if (status == 0) {
        status = ips_flat_object_open(self, where, &kind->flat, &values);
    }
    ips_snapshot_clear(&values);
    self->text = status == 0 ? kind : NULL;
    return status;
}

PyObject *
ips_text_restore(PyObject *class, PyObject *args, const ips_text_kind *kind)
{
    PyObject *self = ips_flat_object_restore(class, args, &kind->flat);
    if (self != NULL) {
        ((ips_sequence *)self)->text = kind;
    }
    return self;
}

/* --- the plain value */

static PyObject *
part(ips_sequence *self, ips_span span)
{
    ips_snapshot snapshot = {0};
    int status = ips_container_check(&self->base) < 0
        ? -1 : ips_sequence_snapshot(self, span, &snapshot);
    PyObject *plain = status < 0 ? NULL : self->text->decode(self, &snapshot);
    ips_snapshot_clear(&snapshot);
    return plain;
}

PyObject *
ips_text_plain(PyObject *self)
{
    return part((ips_sequence *)self, IPS_SPAN_ALL);
}

PyObject *
ips_text_copy(PyObject *self, PyObject *unused)
{
    (void)unused;
    return ips_text_plain(self);
}

static bool
is_ours(const ips_state *state, PyObject *object)
{
    return PyObject_TypeCheck(object, state->string_type) ||
           PyObject_TypeCheck(object, state->bytes_type);
}

PyObject *
ips_plain_of(ips_state *state, PyObject *object)
{
    return is_ours(state, object) ? ips_text_plain(object) : Py_NewRef(object);
}

/* --- changing */

int
ips_text_splice(PyObject *object, ips_span span, ips_text_encode encode, PyObject *value)
{
    ips_sequence *self = (ips_sequence *)object;
    ips_snapshot values = {0};
    int status = ips_container_check(&self->base) < 0 ||
                         encode(self->base.state, value, &values) < 0
        ? -1 : ips_sequence_splice(self, span, &values);
    ips_snapshot_clear(&values);
    return status;
}

static PyObject *
none_or_null(int status)
{
    return status < 0 ? NULL : Py_NewRef(Py_None);
}

PyObject *
ips_text_put(PyObject *self, ips_span span, ips_text_encode encode, PyObject *value)
{
    return none_or_null(ips_text_splice(self, span, encode, value));
}

/* Put `value` in the place of `span`, or raise: nothing has been opened. */
static PyObject *
put(PyObject *self, ips_span span, PyObject *value)
{
    return ips_container_check((ips_container *)self) < 0
        ? NULL : ips_text_put(self, span, ((ips_sequence *)self)->text->encode, value);
}

PyObject *
ips_text_set(PyObject *self, PyObject *value)
{
    return put(self, IPS_SPAN_ALL, value);
}

PyObject *
ips_text_extend(PyObject *self, PyObject *value)
{
    return put(self, IPS_SPAN_END, value);
}

PyObject *
ips_text_clear(PyObject *self, PyObject *unused)
{
    (void)unused;
    return none_or_null(ips_sequence_erase((ips_sequence *)self, IPS_SPAN_ALL));
}

static int
assign_slice(ips_sequence *self, ips_span span, PyObject *value)
{
    ips_snapshot values = {0};
    uint64_t count = 0;
    if (value == NULL) {
        return ips_sequence_erase(self, span);
    }
    if (span.step == 1) {
        return ips_text_splice((PyObject *)self, span, self->text->encode, value);
    }
    int status = self->text->encode(self->base.state, value, &values) < 0
        ? -1 : ips_sequence_assign(self, span, &values, &count);
    if (status == IPS_ROW_RANGE) {
        PyErr_Format(PyExc_ValueError,
            "attempt to assign %s of size %llu to extended slice of size %llu", self->text->noun,
            (unsigned long long)values.records, (unsigned long long)count);
    }
    ips_snapshot_clear(&values);
    return status == 0 ? 0 : -1;
}

static int
assign_at(ips_sequence *self, int64_t index, PyObject *value)
{
    ips_snapshot one = {0};
    uint64_t item = 0;
    int status = value == NULL ? 0 : self->text->encode_one(self->base.state, value, &one);
    if (status == 0 && value != NULL) {
        memcpy(&item, one.bytes, self->format->size);
    }
    if (status == 0) {
        status = value == NULL ? ips_sequence_take(self, index, IPS_ROW_ANY, NULL)
                               : ips_sequence_set_item(self, index, item);
    }
    ips_snapshot_clear(&one);
    if (status == IPS_ROW_RANGE) {
        (void)ips_sequence_raise_range((PyObject *)self, "assignment index");
    }
    return status == 0 ? 0 : -1;
}

/* --- indices and slices */

/* 0: *index; 1: *span; -1 with an exception set. */
static int
read_key(PyObject *self, PyObject *key, int64_t *index, ips_span *span)
{
    Py_ssize_t start, stop, step;
    if (ips_container_check((ips_container *)self) < 0) {
        return -1;
    }
    if (PyIndex_Check(key)) {
        return ips_sequence_index_of(key, index);
    }
    if (!PySlice_Check(key)) {
        PyErr_Format(PyExc_TypeError, "%s indices must be integers or slices, not %.200s",
            ips_short_name(self), Py_TYPE(key)->tp_name);
        return -1;
    }
    if (PySlice_Unpack(key, &start, &stop, &step) < 0) {
        return -1;
    }
    *span = (ips_span){start, stop, step};
    return 1;
}

PyObject *
ips_text_subscript(PyObject *object, PyObject *key)
{
    ips_sequence *self = (ips_sequence *)object;
    int64_t index;
    ips_span span;
    int found = read_key(object, key, &index, &span);
    return found < 0 ? NULL : found == 0 ? self->text->decode_one(self, index) : part(self, span);
}

int
ips_text_assign(PyObject *object, PyObject *key, PyObject *value)
{
    ips_sequence *self = (ips_sequence *)object;
    int64_t index;
    ips_span span;
    int found = read_key(object, key, &index, &span);
    return found < 0    ? -1
           : found == 0 ? assign_at(self, index, value)
                        : assign_slice(self, span, value);
}

/* --- as a str or bytes */

PyObject *
ips_text_repr(PyObject *self)
{
    const char *type = ips_short_name(self);
    if (((ips_sequence *)self)->base.home.segment == NULL) {
        return PyUnicode_FromFormat("<closed %s>", type);
    }
    PyObject *plain = ips_text_plain(self);
    PyObject *result = plain == NULL ? NULL : PyUnicode_FromFormat("%s(%R)", type, plain);
    Py_XDECREF(plain);
    return result;
}

PyObject *
ips_text_iter(PyObject *self)
{
    PyObject *plain = ips_text_plain(self);
    PyObject *result = plain == NULL ? NULL : PyObject_GetIter(plain);
    Py_XDECREF(plain);
    return result;
}

PyObject *
ips_text_repeat(PyObject *self, Py_ssize_t times)
{
    PyObject *plain = ips_text_plain(self);
    PyObject *result = plain == NULL ? NULL : PySequence_Repeat(plain, times);
    Py_XDECREF(plain);
    return result;
}

int
ips_text_contains(PyObject *self, PyObject *value)
{
    PyObject *plain = ips_text_plain(self);
    PyObject *wanted = plain == NULL ? NULL
        : ips_plain_of(((ips_sequence *)self)->base.state, value);
    int found = wanted == NULL ? -1 : PySequence_Contains(plain, wanted);
    Py_XDECREF(plain);
    Py_XDECREF(wanted);
    return found;
}

PyObject *
ips_text_compare(PyObject *self, PyObject *other, int op)
{
    PyObject *mine = ips_text_plain(self);
    PyObject *theirs = mine == NULL ? NULL
        : ips_plain_of(((ips_sequence *)self)->base.state, other);
    PyObject *result = theirs == NULL ? NULL
        : !((ips_sequence *)self)->text->is_text(theirs)
        ? Py_NewRef(Py_NotImplemented) : PyObject_RichCompare(mine, theirs, op);
    Py_XDECREF(mine);
    Py_XDECREF(theirs);
    return result;
}

/* Of a binary slot either operand may be ours. */
static ips_state *
state_of_either(PyObject *left, PyObject *right)
{
    ips_state *state = ips_state_of_type(Py_TYPE(left));
    if (state == NULL) {
        PyErr_Clear();
        state = ips_state_of_type(Py_TYPE(right));
    }
    return state;
}

/* `operation` of the plain values of both. */
static PyObject *
with_both(ips_state *state, PyObject *left, PyObject *right,
    PyObject *(*operation)(PyObject *, PyObject *))
{
    PyObject *first = ips_plain_of(state, left);
    PyObject *second = first == NULL ? NULL : ips_plain_of(state, right);
    PyObject *result = second == NULL ? NULL : operation(first, second);
    Py_XDECREF(first);
    Py_XDECREF(second);
    return result;
}

/* str with str, or bytes with whatever has some. */
static PyObject *
concatenate(PyObject *left, PyObject *right)
{
    bool fit = PyUnicode_Check(left) ? PyUnicode_Check(right) : PyObject_CheckBuffer(left);
    return fit ? PySequence_Concat(left, right) : Py_NewRef(Py_NotImplemented);
}

PyObject *
ips_text_add(PyObject *left, PyObject *right)
{
    ips_state *state = state_of_either(left, right);
    return state == NULL ? NULL : with_both(state, left, right, concatenate);
}

PyObject *
ips_text_modulo(PyObject *left, PyObject *right)
{
    ips_state *state = state_of_either(left, right);
    return state == NULL            ? NULL
           : !is_ours(state, left)  ? Py_NewRef(Py_NotImplemented)
                                    : with_both(state, left, right, PyNumber_Remainder);
}

/* --- methods of the plain value */

static PyObject *
call_plain(ips_state *state, const char *name, PyObject **all, PyObject *const *args,
    Py_ssize_t count, PyObject *keywords)
{
    Py_ssize_t given = count + (keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords));
    Py_ssize_t made = 0;
    PyObject *method = PyUnicode_FromString(name), *result = NULL;
    while (method != NULL && made < given &&
           (all[made + 1] = ips_plain_of(state, args[made])) != NULL) {
        made++;
    }
    if (method != NULL && made == given) {
        result = PyObject_VectorcallMethod(method, all, (size_t)(count + 1), keywords);
    }
    while (made > 0) {
        Py_DECREF(all[made--]);
    }
    Py_XDECREF(method);
    return result;
}

PyObject *
ips_text_delegate(PyObject *self, const char *name, PyObject *const *args, Py_ssize_t count,
    PyObject *keywords)
{
    PyObject *room[STACK_ARGS];
    Py_ssize_t given = count + (keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords));
    ips_state *state = ips_state_of_type(Py_TYPE(self));
    PyObject **all = given < STACK_ARGS ? room
        : (PyObject **)PyMem_Malloc((size_t)(given + 1) * sizeof *all);
    if (state == NULL || all == NULL) {
        return state == NULL ? NULL : PyErr_NoMemory();
    }
    all[0] = ips_text_plain(self);
    PyObject *result = all[0] == NULL ? NULL
        : call_plain(state, name, all, args, count, keywords);
    Py_XDECREF(all[0]);
    if (all != room) {
        PyMem_Free(all);
    }
    return result;
}
