/* SPDX-License-Identifier: Apache-2.0 */
/* Object files: a named or unnamed file of a namespace, mapped once at its
 * maximal size, held by a hard link in this member's folder.
 *
 *   <namespace>/<name>                    the name, for named objects
 *   <namespace>/.m/<slot>.<generation>/   links of one member; removed by
 *                                         whoever proves its death
 *       <random>         an object the member holds
 *       <random>-<name>  one whose name goes with its last user
 *       t<random>        a ticket: holds a pickled object until it is first
 *                        used or the pickler dies
 *
 * The kernel's link count is the truth about who uses a file: an unnamed one
 * goes with its last link, a named one is in use while it has a second. */
#ifndef IPS_MEMBER_OBJECT_H
#define IPS_MEMBER_OBJECT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/header.h"
#include "base/owner.h"
#include "base/status.h"
#include "member/space.h"

#define IPS_NAME_MAX 200 /* bytes of UTF-8 */

typedef struct ips_object ips_object;
struct ips_object {
    ips_space *space;
    uint8_t *base;            /* [0, max_size) is mapped; never moves */
    uint64_t max_size;        /* private copy, checked on open */
    _Atomic uint64_t backed;  /* bytes known to have memory; only grows */
    uint64_t dev, inode;
    bool named;
    char name[IPS_NAME_MAX + 1]; /* "" where unnamed */
    /* below: member/object.c only */
    _Atomic int32_t references;
    char link[IPS_NAME_MAX + 24]; /* in our folder */
    ips_object *next, *previous;
};

typedef struct {
    uint16_t kind;      /* enum ips_kind */
    uint16_t format;
    uint32_t layout;    /* stamp of the compiled byte map: ips_hash of sizes and offsets */
    uint64_t size;      /* bytes backed at creation */
    uint64_t max_size;  /* bytes mapped */
    bool cleanup_last;
    /* Fill the zeroed bytes after the header; nobody else sees them yet. */
    int (*init)(ips_object *object, void *context);
    void *context;
} ips_object_spec;

/* 0 where `name` can be a file here: 1..IPS_NAME_MAX bytes of valid UTF-8
 * without '/', NUL or control characters, not starting with '.'. */
IPS_MUST_CHECK int ips_name_check(const char *name, size_t size);

typedef enum {
    IPS_OPEN_OR_CREATE,
    IPS_CREATE_ONLY, /* IPS_EEXIST where the name is taken */
    IPS_OPEN_ONLY,   /* IPS_ENOENT where there is none */
    IPS_CREATE_NEW,  /* replaces what no live member uses, else IPS_EINUSE */
} ips_open_mode;

/* Create or open; name NULL makes an unnamed object.  *created tells which.
 * On opening, kind, byte order, format, layout and features must be ours
 * (IPS_EMISMATCH names both kinds; IPS_EFORMAT otherwise) and the size sane;
 * what lies behind the header is the caller's to validate. */
IPS_MUST_CHECK int ips_object_open(ips_space *space, const char *name,
    ips_open_mode mode, const ips_object_spec *spec, ips_object **out, bool *created);

/* A ticket for pickling: text of at most 127 bytes that any process of the
 * same namespace turns into the object, once, with ips_object_redeem; IPS_EGONE
 * where it was used up and nobody holds the object any more. */
#define IPS_TICKET_MAX 128
IPS_MUST_CHECK int ips_object_ticket(ips_object *object, char ticket[IPS_TICKET_MAX]);
IPS_MUST_CHECK int ips_object_redeem(ips_space *space, const char *ticket,
    const ips_object_spec *spec, ips_object **out);

void ips_object_hold(ips_object *object);    /* one more handle in this process */
void ips_object_release(ips_object *object); /* the last one unmaps and unlinks the member's link */

/* True if [offset, offset + size) has memory.  A private compare as a rule;
 * beyond the known size it asks the file, which alone may raise it. */
bool ips_object_backs(ips_object *object, uint64_t offset, uint64_t size);
/* Back the file up to `size` (the caller holds the lock that orders growth);
 * IPS_ENOSPACE where memory is full or `size` > max_size. */
IPS_MUST_CHECK int ips_object_grow(ips_object *object, uint64_t size);

/* Back [from, to), whether or not the file reaches that far: for objects with
 * tables that get memory piece by piece.  They note themselves, in shared
 * bytes, which pieces have it: ips_object_backs and ips_object_grow know only
 * how long the file is.  The caller holds the lock that orders growth. */
IPS_MUST_CHECK int ips_object_back(ips_object *object, uint64_t from, uint64_t to);

/* Give the memory of the whole pages in [from, to) back.  Nobody may look at
 * them until they are backed again: on a full file system that is SIGBUS. */
IPS_MUST_CHECK int ips_object_punch(ips_object *object, uint64_t from, uint64_t to);
/* Bytes of memory that the file takes now. */
IPS_MUST_CHECK int ips_object_memory(ips_object *object, uint64_t *bytes);

/* Remove a name.  Without `force`, IPS_EINUSE while live members hold it.
 * Holders keep a working object either way. */
IPS_MUST_CHECK int ips_object_remove(ips_space *space, const char *name, bool force);
bool ips_object_removed(const ips_object *object); /* its name is gone */
/* Members that hold it, tickets counted like members. */
IPS_MUST_CHECK int ips_object_users(ips_object *object, uint64_t *users);

/* What lies in the folder, for `ipcsys ls`: visits each named file. */
typedef struct {
    const char *name;
    uint16_t kind;      /* 0: not one of ours */
    uint64_t size;      /* bytes of memory it takes */
    uint64_t max_size;
    uint32_t users;     /* live members that hold it */
} ips_object_facts;
IPS_MUST_CHECK int ips_object_each(ips_space *space,
    int (*visit)(const ips_object_facts *facts, void *context), void *context);

#endif
