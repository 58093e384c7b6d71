/* SPDX-License-Identifier: Apache-2.0 */
/* Large values in parts: the bytes of large arrays and buffers travel beside
 * the value that they belong to, so that they are copied once on the way in,
 * from the object, and once on the way out, into the object to be.
 *
 * A message of kind IPS_VALUE_PARTS_* is, one behind the other:
 *
 *   0   count     4  of parts, 1..IPS_PARTS_MOST
 *   4   reserved  4
 *   8   body      8  bytes of the body
 *   16  entries  16  of each part: its size (8), enum ips_part_form (4), 0 (4)
 *       body         MessagePack or pickle that refers to parts by number
 *       parts        each as long as its entry says
 *
 * All of it is written before the message is published, and read from private
 * copies, checked against the message's size first. */
#ifndef IPS_BIND_VALUE_PARTS_H
#define IPS_BIND_VALUE_PARTS_H

#include "bind/value.h"
#include "message/queue.h"

#define IPS_PARTS_MOST 64
/* Fewer bytes stay where they are: above this a message needs units anyway. */
#define IPS_PART_LEAST IPS_INLINE_MAX

enum ips_part_form { IPS_PART_BYTEARRAY = 0, IPS_PART_BYTES = 1 };

typedef struct {
    uint64_t size;
    uint32_t form;
    uint32_t reserved;
} ips_part_shm;

typedef struct {
    uint32_t count;
    uint32_t reserved;
    uint64_t body;
    ips_part_shm part[IPS_PARTS_MOST];
} ips_parts_shm;

_Static_assert(sizeof(ips_part_shm) == 16, "byte map above");
_Static_assert(sizeof(ips_parts_shm) == 16 + 16 * IPS_PARTS_MOST, "byte map above");

static inline size_t
ips_parts_table_size(uint32_t count)
{
    return offsetof(ips_parts_shm, part) + count * sizeof(ips_part_shm);
}

/* Of a value that is encoded: the objects are kept alive and unmoved. */
struct ips_parts {
    ips_parts_shm table;
    Py_buffer view[IPS_PARTS_MOST];
};

/* Make a buffer of `owner` a part: 1 with its number, 0 where it is too small
 * or there are too many, -1 with an exception.  `flags` as PyObject_GetBuffer;
 * bytes come out as bytes if `form` says so.  *parts is made at first use. */
int ips_parts_add(ips_parts **parts, PyObject *owner, int flags, enum ips_part_form form,
                  uint32_t *number);
void ips_parts_free(ips_parts *parts);

/* A buffer_callback for a pickler that adds to *parts: new, or NULL. */
PyObject *ips_parts_callback(ips_parts **parts);

/* The message that an encoded value is; `pieces` lasts as long as it. */
ips_message ips_parts_message(const ips_encoded *encoded, ips_piece pieces[IPS_PARTS_MOST + 2]);

/* Of a value on its way in. */
typedef struct {
    ips_parts_shm table; /* as found, checked */
    uint8_t *body;
    PyObject *part[IPS_PARTS_MOST];
    ips_room room[IPS_PARTS_MOST + 2]; /* where each piece of the message is to go */
    uint32_t rooms;
} ips_parts_in;

/* Make room for a message of `size` bytes of which in->table holds the first
 * bytes: 0, or -1 with DecodeError or MemoryError.  Clear it in either case. */
int ips_parts_prepare(ips_state *state, ips_parts_in *in, uint64_t size);
void ips_parts_clear(ips_parts_in *in);
/* The value, once the rooms are filled. */
PyObject *ips_parts_decode(ips_state *state, uint8_t kind, const ips_parts_in *in);

#endif
