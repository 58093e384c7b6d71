/* SPDX-License-Identifier: Apache-2.0 */
/* The first 128 bytes of every file in a namespace.
 *
 *   0   magic          8  the same in every format for ever
 *   8   byte_order     4  IPS_BYTE_ORDER as the creator stores it
 *   12  kind           2  enum ips_kind
 *   14  format         2  major number of this kind's byte map
 *   16  layout         4  hash of sizes and offsets compiled into the creator
 *   20  compat         4  features a stranger may ignore
 *   24  ro_compat      4  features a stranger may ignore while only reading
 *   28  incompat       4  features a stranger must refuse
 *   32  max_size       8  bytes every user maps; the file may grow up to it
 *   40  life           8  IPS_LIFE_*; the only field written after creation
 *   48  identity      16  random: the same name made anew is another object
 *   64  creator        8  owner id of the creator, for people who ask
 *   72  cleanup        4  1: the last user to leave removes the name
 *   76  reserved      52
 *
 * All but `life` are written by the creator before the file gets its name, so
 * whoever can open the file sees them whole.  `life` goes from OPEN to
 * REMOVED once (member/object.c) and never back: after that the file keeps
 * working for those who hold it, and openers treat the name as free. */
#ifndef IPS_BASE_HEADER_H
#define IPS_BASE_HEADER_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define IPS_MAGIC "ipcsys\r\n"
#define IPS_BYTE_ORDER UINT32_C(0x01020304)

enum ips_kind {
    IPS_KIND_MEMBERS = 1, /* member/slots.h */
    IPS_KIND_CELLS = 2,   /* segment/cells.h: pool of small unnamed objects */
    IPS_KIND_CELL = 3,    /* one small named object: lock, event, atomic */
    IPS_KIND_SEGMENT = 4, /* segment/segment.h */
    IPS_KIND_QUEUE = 5,   /* message/queue.h */
    IPS_KIND_MEMORY = 6,  /* bytes that the user alone writes: bind/mp_memory.c */
    IPS_KIND_ARRAY = 7,   /* data/array.h */
    IPS_KIND_IMAGE = 8,   /* segment/image.h: a segment's file on a disk */
};

enum { IPS_LIFE_OPEN = 0, IPS_LIFE_REMOVED = 1 };

typedef struct {
    char magic[8];
    uint32_t byte_order;
    uint16_t kind;
    uint16_t format;
    uint32_t layout;
    uint32_t compat;
    uint32_t ro_compat;
    uint32_t incompat;
    uint64_t max_size;
    _Atomic uint64_t life;
    uint8_t identity[16];
    uint64_t creator;
    uint32_t cleanup;
    uint8_t reserved[52];
} ips_header_shm;

_Static_assert(sizeof(ips_header_shm) == 128, "byte map above");
_Static_assert(offsetof(ips_header_shm, max_size) == 32, "byte map above");
_Static_assert(offsetof(ips_header_shm, life) == 40, "byte map above");
_Static_assert(offsetof(ips_header_shm, cleanup) == 72, "byte map above");

#endif
