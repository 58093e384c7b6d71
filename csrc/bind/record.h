/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys.Record and what belongs to it.  The policy (declarations, which
 * versions fit, upgrades, migrations) is ipcsys/schema.py's; of a class it is
 * told by these attributes:
 *
 *   __record_layout__      RecordLayout of the declaration
 *   __record_fields__      tuple of its RecordField, in order
 *   __record_plans__       dict: hash of a stored layout -> plan (capsule)
 *
 * A plan says where each declared field lies in a body of one stored layout. */
#ifndef IPS_BIND_RECORD_H
#define IPS_BIND_RECORD_H

#include "bind/container.h"
#include "bind/value.h"
#include "codec/schema.h"
#include "data/record.h"

typedef struct {
    ips_field field;      /* as stored; its flags and count too */
    ips_record_part part; /* whole words around it */
    uint32_t skip;        /* of the part's bytes, before the field's */
    bool missing;         /* not stored */
    bool retyped;         /* the declared type is another */
} ips_record_place;

typedef struct {
    PyTypeObject *owner; /* the class; which keeps its plans */
    uint32_t count;
    ips_record_place places[];
} ips_record_plan;

typedef struct {
    ips_container base;
    ips_record record;
    const ips_record_plan *plan; /* NULL before it is open */
    PyObject *plan_keeper;       /* the capsule */
} ips_record_object;

/* A field of a declaration: the descriptor in the class. */
typedef struct {
    PyObject_HEAD
    PyTypeObject *owner;
    PyObject *name;
    PyObject *fallback;   /* default value, or NULL */
    PyObject *factory;    /* makes one, or NULL */
    PyObject *annotation; /* text */
    ips_field field;      /* type, flags and count as declared */
    uint32_t index;
} ips_record_field;

typedef struct {
    PyObject_HEAD
    uint8_t *bytes;      /* malloc'd */
    ips_schema schema;
    ips_field *declared; /* malloc'd: the fields with IPS_FIELD_DEFAULT; or NULL */
} ips_record_layout;

/* bind/record_value.c: values as the bytes of a field.  Errors say `name`. */
int ips_record_encode(ips_state *state, const ips_field *field, PyObject *value, PyObject *name,
    ips_encoded *out);
PyObject *ips_record_decode(ips_state *state, const ips_field *field, const ips_value *value);
/* A scalar of at most 8 bytes, without more ado: 0, -1 with an exception set,
 * or 1 where the type is another. */
int ips_record_encode_scalar(const ips_field *field, PyObject *value, PyObject *name,
    uint8_t bytes[8]);
PyObject *ips_record_decode_scalar(uint8_t type, const uint8_t *bytes);

/* bind/record_layout.c */
PyObject *ips_record_layout_new(ips_state *state, uint8_t *bytes_taken, size_t size);
int ips_add_record_layout(PyObject *module, ips_state *state);

/* bind/record_field.c */
PyObject *ips_record_field_default(const ips_record_field *field); /* new, or NULL without one */
int ips_add_record_field(PyObject *module, ips_state *state);

/* bind/record_plan.c */
/* The class's __record_fields__, a tuple of RecordField, or NULL. */
PyObject *ips_record_fields_of(ips_state *state, PyTypeObject *class);
ips_record_layout *ips_record_layout_of(ips_state *state, PyTypeObject *class);
/* Make the handle know layout and body as they are now, by an upgrade where
 * the class is newer.  0, or -1 with an exception set. */
int ips_record_object_attach(ips_record_object *self);
/* The descriptor as it is now: a RecordLayout; the handle knows the body. */
PyObject *ips_record_object_layout(PyObject *self, PyObject *unused);
/* Call a function of ipcsys.schema; new reference or NULL. */
PyObject *ips_schema_call(const char *name, PyObject *args, PyObject *kwargs);

/* bind/record_whole.c */
PyObject *ips_record_object_values(PyObject *self, PyObject *unused);
PyObject *ips_record_object_update(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *ips_record_object_read(PyObject *self, PyObject *layout);
PyObject *ips_record_object_upgrade(PyObject *self, PyObject *args);
/* What a handle knows, kept for a call in which other threads or the values' own
 * code may make it look anew. */
typedef struct {
    ips_record record;
    const ips_record_plan *plan;
    PyObject *keeper; /* of the plan; a reference */
} ips_record_seen;
/* Read some places at once; changed layouts are followed.  0, and what was seen
 * then, or -1. */
int ips_record_object_fetch(ips_record_object *self, const uint32_t *indices, uint32_t count,
    ips_record_seen *seen, ips_snapshot *out);
/* Write one field; 0 or -1 with an exception set. */
int ips_record_object_store(ips_record_object *self, const ips_record_field *field,
    PyObject *value);

/* bind/record_open.c */
int ips_record_object_init(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *ips_record_object_restore(PyObject *type, PyObject *args);
PyObject *ips_record_object_reduce(PyObject *self, PyObject *unused);
/* For bind/segment_keys.c: an object of `class` in the segment.
 * `create` is NULL, True or False. */
PyObject *ips_record_construct(ips_state *state, PyTypeObject *class,
    const ips_container_where *where, PyObject *args, PyObject *kwargs);
/* The record under a key, as `class`, or (NULL) a class made for its layout. */
PyObject *ips_record_find(ips_state *state, PyTypeObject *class, PyObject *segment, PyObject *key);

#endif
