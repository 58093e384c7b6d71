/* SPDX-License-Identifier: Apache-2.0 */
/* The types of `datetime`.  A moment in UTC is the timestamp that MessagePack
 * itself defines; the others are arrays of their fields.  Only fixed offsets
 * from UTC are known here: other time zones go by pickle. */
#include "bind/state.h"

#include <datetime.h>
#include <limits.h>

#include "bind/value_codec.h"

#define DAY_SECONDS INT64_C(86400)
#define SECOND_MICROS INT64_C(1000000)
#define EPOCH_ORDINAL INT64_C(719162) /* days from 0001-01-01 to 1970-01-01 */

/* The capsule is kept, not the pointer alone: before Python 3.13 the pointer
 * dies with the capsule of the interpreter it came from. */
static PyDateTime_CAPI *
time_api(ips_state *state)
{
    if (state->datetime_capsule == NULL) {
        PyObject *module = PyImport_ImportModule("datetime");
        if (module == NULL) {
            return NULL;
        }
        PyObject *capsule = PyObject_GetAttrString(module, "datetime_CAPI");
        Py_DECREF(module);
        Py_XSETREF(state->datetime_capsule, capsule);
        if (capsule == NULL) {
            return NULL;
        }
    }
    /* The header's own pointer belongs to all interpreters and stays unused. */
    (void)PyDateTimeAPI;
    return (PyDateTime_CAPI *)PyCapsule_GetPointer(state->datetime_capsule, PyDateTime_CAPSULE_NAME);
}

/* Writing ---------------------------------------------------------------- */

static int
put_fields(ips_value_writer *writer, int8_t type, const int64_t *fields, unsigned count)
{
    ips_packer_ext ext;
    int status = ips_packer_open_ext(&writer->out, 12, &ext);
    if (status == IPS_OK) {
        status = ips_packer_put_array(&writer->out, count);
    }
    for (unsigned i = 0; i < count && status == IPS_OK; i++) {
        status = ips_packer_put_int(&writer->out, fields[i]);
    }
    if (status == IPS_OK) {
        status = ips_packer_close_ext(&writer->out, &ext, type);
    }
    return ips_value_settle(writer, status);
}

static int64_t
micros_of(PyObject *delta)
{
    return (PyDateTime_DELTA_GET_DAYS(delta) * DAY_SECONDS + PyDateTime_DELTA_GET_SECONDS(delta)) *
               SECOND_MICROS + PyDateTime_DELTA_GET_MICROSECONDS(delta);
}

/* The offset of a nameless fixed time zone: 0, -1, or IPS_VALUE_REFUSED. */
static int
offset_of(ips_value_writer *writer, const PyDateTime_CAPI *api, PyObject *zone, int64_t *micros)
{
    *micros = 0;
    if (zone == api->TimeZone_UTC) {
        return 0;
    }
    if (Py_TYPE(zone) != Py_TYPE(api->TimeZone_UTC)) {
        return ips_value_refuse(writer, "a time zone of type %.80s", Py_TYPE(zone)->tp_name);
    }
    /* (offset,) or (offset, name) */
    PyObject *args = PyObject_CallMethod(zone, "__getinitargs__", NULL);
    if (args == NULL) {
        return -1;
    }
    int done = 0;
    if (PyTuple_Check(args) && PyTuple_GET_SIZE(args) == 1 &&
        Py_TYPE(PyTuple_GET_ITEM(args, 0)) == api->DeltaType) {
        *micros = micros_of(PyTuple_GET_ITEM(args, 0));
    } else {
        done = ips_value_refuse(writer, "a time zone with a name of its own");
    }
    Py_DECREF(args);
    return done;
}

/* Days from 0001-01-01 to a date of the proleptic Gregorian calendar.  Years
 * begin in March here, so that the leap day comes last. */
static int64_t
ordinal_of(int year, int month, int day)
{
    int64_t y = month > 2 ? year : year - 1;
    int64_t m = month > 2 ? month - 3 : month + 9;
    return y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 307;
}

static int
put_datetime(ips_value_writer *writer, const PyDateTime_CAPI *api, PyObject *value)
{
    int64_t fields[9] = {
        PyDateTime_GET_YEAR(value),        PyDateTime_GET_MONTH(value),
        PyDateTime_GET_DAY(value),         PyDateTime_DATE_GET_HOUR(value),
        PyDateTime_DATE_GET_MINUTE(value), PyDateTime_DATE_GET_SECOND(value),
        PyDateTime_DATE_GET_MICROSECOND(value), PyDateTime_DATE_GET_FOLD(value),
    };
    PyObject *zone = PyDateTime_DATE_GET_TZINFO(value);
    if (zone == Py_None) {
        return put_fields(writer, IPS_EXT_DATETIME, fields, 8);
    }
    if (zone == api->TimeZone_UTC && fields[7] == 0) {
        int64_t days = ordinal_of((int)fields[0], (int)fields[1], (int)fields[2]) - EPOCH_ORDINAL;
        int64_t seconds = days * DAY_SECONDS + fields[3] * 3600 + fields[4] * 60 + fields[5];
        return ips_value_settle(
            writer, ips_packer_put_timestamp(&writer->out, seconds, (uint32_t)fields[6] * 1000));
    }
    int done = offset_of(writer, api, zone, &fields[8]);
    return done == 0 ? put_fields(writer, IPS_EXT_DATETIME, fields, 9) : done;
}

static int
put_clock(ips_value_writer *writer, const PyDateTime_CAPI *api, PyObject *value)
{
    int64_t fields[6] = {
        PyDateTime_TIME_GET_HOUR(value),   PyDateTime_TIME_GET_MINUTE(value),
        PyDateTime_TIME_GET_SECOND(value), PyDateTime_TIME_GET_MICROSECOND(value),
        PyDateTime_TIME_GET_FOLD(value),
    };
    PyObject *zone = PyDateTime_TIME_GET_TZINFO(value);
    if (zone == Py_None) {
        return put_fields(writer, IPS_EXT_TIME, fields, 5);
    }
    int done = offset_of(writer, api, zone, &fields[5]);
    return done == 0 ? put_fields(writer, IPS_EXT_TIME, fields, 6) : done;
}

int
ips_value_put_time(ips_value_writer *writer, PyObject *value)
{
    const PyDateTime_CAPI *api = time_api(writer->state);
    if (api == NULL) {
        return -1;
    }
    PyTypeObject *type = Py_TYPE(value);
    if (type == api->DateTimeType) {
        return put_datetime(writer, api, value);
    }
    if (type == api->DateType) {
        const int64_t fields[3] = {PyDateTime_GET_YEAR(value), PyDateTime_GET_MONTH(value),
                                   PyDateTime_GET_DAY(value)};
        return put_fields(writer, IPS_EXT_DATE, fields, 3);
    }
    if (type == api->TimeType) {
        return put_clock(writer, api, value);
    }
    if (type == api->DeltaType) {
        const int64_t fields[3] = {PyDateTime_DELTA_GET_DAYS(value),
                                   PyDateTime_DELTA_GET_SECONDS(value),
                                   PyDateTime_DELTA_GET_MICROSECONDS(value)};
        return put_fields(writer, IPS_EXT_TIMEDELTA, fields, 3);
    }
    return ips_value_refuse(writer, "a value of type %.100s", type->tp_name);
}

/* Reading ---------------------------------------------------------------- */

/* An array of `least` to `most` integers; how many, or -1.  Whether each is
 * within its bounds is for the constructors of datetime to say. */
static int
take_fields(ips_value_reader *outer, const ips_token *token, int64_t *fields, unsigned least,
            unsigned most)
{
    ips_value_reader reader = {.state = outer->state};
    ips_unpacker_open_ext(&outer->in, token, &reader.in);
    ips_token part;
    if (ips_value_next_of(&reader, IPS_TOKEN_ARRAY, &part) < 0) {
        return -1;
    }
    unsigned count = part.size;
    if (count < least || count > most) {
        ips_raise_text(reader.state, IPS_EDECODE, "a date or time of %u fields", count);
        return -1;
    }
    for (unsigned i = 0; i < count; i++) {
        if (ips_value_next(&reader, &part) < 0) {
            return -1;
        }
        bool fits = (part.kind == IPS_TOKEN_UINT && part.natural <= INT64_MAX) || part.kind == IPS_TOKEN_INT;
        /* The offset, where there is one, may exceed an int. */
        if (!fits || (i < least && (part.negative > INT_MAX || part.negative < INT_MIN))) {
            ips_raise_text(reader.state, IPS_EDECODE, "a date or time with a field out of bounds");
            return -1;
        }
        fields[i] = part.negative;
    }
    return ips_value_finish(&reader) < 0 ? -1 : (int)count;
}

static PyObject *
delta_of(const PyDateTime_CAPI *api, int64_t days, int64_t seconds, int64_t micros)
{
    return api->Delta_FromDelta((int)days, (int)seconds, (int)micros, 1, api->DeltaType);
}

/* New reference to a time zone.  Offsets of a day or more are refused there. */
static PyObject *
zone_at(const PyDateTime_CAPI *api, int64_t micros)
{
    int64_t seconds = micros / SECOND_MICROS;
    if (seconds <= -DAY_SECONDS || seconds >= DAY_SECONDS) {
        return PyErr_Format(PyExc_ValueError, "an offset of a day or more from UTC");
    }
    PyObject *delta = delta_of(api, 0, seconds, micros % SECOND_MICROS);
    PyObject *zone = delta == NULL ? NULL : api->TimeZone_FromTimeZone(delta, NULL);
    Py_XDECREF(delta);
    return zone;
}

static PyObject *
take_datetime(ips_value_reader *reader, const PyDateTime_CAPI *api, const ips_token *token)
{
    int64_t f[9];
    int count = take_fields(reader, token, f, 8, 9);
    if (count < 0) {
        return NULL;
    }
    PyObject *zone = count == 9 ? zone_at(api, f[8]) : Py_NewRef(Py_None);
    if (zone == NULL) {
        return NULL;
    }
    PyObject *made = api->DateTime_FromDateAndTimeAndFold(
        (int)f[0], (int)f[1], (int)f[2], (int)f[3], (int)f[4], (int)f[5], (int)f[6], zone, (int)f[7],
        api->DateTimeType);
    Py_DECREF(zone);
    return made;
}

static PyObject *
take_clock(ips_value_reader *reader, const PyDateTime_CAPI *api, const ips_token *token)
{
    int64_t f[6];
    int count = take_fields(reader, token, f, 5, 6);
    if (count < 0) {
        return NULL;
    }
    PyObject *zone = count == 6 ? zone_at(api, f[5]) : Py_NewRef(Py_None);
    if (zone == NULL) {
        return NULL;
    }
    PyObject *made = api->Time_FromTimeAndFold((int)f[0], (int)f[1], (int)f[2], (int)f[3], zone,
                                               (int)f[4], api->TimeType);
    Py_DECREF(zone);
    return made;
}

/* Others may write fractions finer than a microsecond: they are cut off. */
static PyObject *
take_timestamp(ips_value_reader *reader, const PyDateTime_CAPI *api, const ips_token *token)
{
    int64_t seconds;
    uint32_t nanoseconds;
    int status = ips_token_timestamp(token, &seconds, &nanoseconds);
    if (status != IPS_OK) {
        return ips_raise(reader->state, status);
    }
    const int64_t first = -EPOCH_ORDINAL * DAY_SECONDS, last = INT64_C(253402300799);
    if (seconds < first || seconds > last) {
        return ips_raise_text(reader->state, IPS_EDECODE, "a timestamp beyond the years 1 to 9999");
    }
    int64_t in_day = (seconds - first) % DAY_SECONDS;
    int64_t day = (seconds - first) / DAY_SECONDS + 306; /* since March of year 0 */
    int64_t era = day / 146097, of_era = day % 146097;   /* 400 years each */
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * of_year + 2) / 153; /* 0: March */
    int64_t of_month = of_year - (153 * month + 2) / 5 + 1;
    year += era * 400 + (month >= 10);
    return api->DateTime_FromDateAndTime(
        (int)year, (int)(month < 10 ? month + 3 : month - 9), (int)of_month, (int)(in_day / 3600),
        (int)(in_day / 60 % 60), (int)(in_day % 60), (int)(nanoseconds / 1000), api->TimeZone_UTC,
        api->DateTimeType);
}

PyObject *
ips_value_take_time(ips_value_reader *reader, const ips_token *token)
{
    const PyDateTime_CAPI *api = time_api(reader->state);
    if (api == NULL) {
        return NULL;
    }
    int64_t f[3];
    switch (token->ext) {
    case IPS_EXT_TIMESTAMP:
        return take_timestamp(reader, api, token);
    case IPS_EXT_DATETIME:
        return take_datetime(reader, api, token);
    case IPS_EXT_TIME:
        return take_clock(reader, api, token);
    case IPS_EXT_DATE:
        return take_fields(reader, token, f, 3, 3) < 0
                   ? NULL
                   : api->Date_FromDate((int)f[0], (int)f[1], (int)f[2], api->DateType);
    default:
        return take_fields(reader, token, f, 3, 3) < 0 ? NULL : delta_of(api, f[0], f[1], f[2]);
    }
}
