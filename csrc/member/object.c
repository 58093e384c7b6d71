/* SPDX-License-Identifier: Apache-2.0 */
/* Making, opening and leaving object files.  The tree is drawn in
 * member/object.h; what a name is, in member/name.c. */
#include "member/object.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "member/table.h"
#include "os/file.h"

#define LARGEST_OBJECT (UINT64_C(1) << 46)
#define OPEN_ATTEMPTS 64 /* a name may be made and removed under our hands */

static const char *
kind_name(uint16_t kind)
{
    static const char *const names[] = {"nothing", "a member table", "a pool of cells",
                                        "a lock, event or number", "a segment", "a queue",
                                        "a block of memory", "an array", "a segment's file"};
    return kind < sizeof names / sizeof *names ? names[kind] : "something unknown";
}

static const char *
title(const char *name)
{
    return name == NULL || *name == '\0' ? "(unnamed)" : name;
}

/* Want of memory names what it was for. */
static int
short_of_memory(int status, uint16_t kind, const char *name)
{
    if (status == IPS_ENOSPACE) {
        ips_note why = *ips_last_note();
        bool named = name != NULL && *name != '\0';
        return ips_fail(status, "%s %s%s%s: %.200s", kind_name(kind), named ? "'" : "without a name",
                        named ? name : "", named ? "'" : "", why.detail);
    }
    return status;
}

/* Link the open file into our folder under a fresh random name. */
static int
hold_by_link(ips_object *object, int fd, bool cleanup_last)
{
    ips_owner me = ips_space_self(object->space);
    uint64_t number;
    int status = me == IPS_NOBODY ? ips_last_note()->status : ips_random(&number, sizeof number);
    if (status < 0) {
        return status;
    }
    (void)snprintf(object->link, sizeof object->link, "%016llx%s%s", (unsigned long long)number,
                   cleanup_last ? "-" : "", cleanup_last ? object->name : "");
    int folder;
    status = ips_folder_open(object->space, me, true, &folder);
    if (status < 0) {
        return status;
    }
    status = ips_file_name(fd, folder, object->link);
    ips_file_close(folder);
    return status;
}

static ips_object *
new_object(ips_space *space, const char *name)
{
    ips_object *object = calloc(1, sizeof *object);
    if (object == NULL) {
        (void)ips_fail(IPS_ENOMEM, "opening '%s'", title(name));
        return NULL;
    }
    object->space = space;
    object->named = name != NULL;
    if (name != NULL) {
        (void)snprintf(object->name, sizeof object->name, "%s", name);
    }
    /* relaxed: not shared yet. */
    atomic_store_explicit(&object->references, 1, memory_order_relaxed);
    return object;
}

static void
enlist(ips_object *object)
{
    ips_room_enter();
    object->next = object->space->objects;
    if (object->next != NULL) {
        object->next->previous = object;
    }
    object->space->objects = object;
    ips_room_leave();
}

static void
delist(ips_object *object)
{
    ips_room_enter();
    if (object->previous != NULL) {
        object->previous->next = object->next;
    } else if (object->space->objects == object) {
        object->space->objects = object->next;
    }
    if (object->next != NULL) {
        object->next->previous = object->previous;
    }
    ips_room_leave();
}

static int
map_object(ips_object *object, int fd, uint64_t size, uint64_t max_size)
{
    ips_file_facts facts;
    int status = ips_file_facts_of(fd, &facts);
    void *base = NULL;
    if (status == 0) {
        status = ips_map_file(fd, max_size, &base);
    }
    if (status < 0) {
        return status;
    }
    object->base = base;
    object->max_size = max_size;
    object->dev = facts.dev;
    object->inode = facts.inode;
    /* relaxed: not shared yet. */
    atomic_store_explicit(&object->backed, size, memory_order_relaxed);
    return IPS_OK;
}

enum linked { NOT_LINKED, LINKED, LINKED_AND_NAMES_LOCKED };

/* Take the object's file and memory back; `linked` tells whether it is in our folder. */
static void
discard(ips_object *object, enum linked linked)
{
    /* relaxed: our own identity; no joining anew just to leave. */
    ips_owner me = atomic_load_explicit(&object->space->identity->owner, memory_order_relaxed);
    int folder;
    if (linked != NOT_LINKED && me != IPS_NOBODY
        && ips_folder_open(object->space, me, false, &folder) == 0) {
        bool name_too = linked == LINKED_AND_NAMES_LOCKED;
        if (ips_link_drop(object->space, folder, object->link, name_too) < 0) {
            /* stays until we die: whoever clears our folder removes it */
        }
        ips_file_close(folder);
    }
    if (object->base != NULL) {
        ips_unmap(object->base, object->max_size);
    }
    free(object);
}

static int
fill_object(ips_object *object, const ips_object_spec *spec)
{
    ips_header_shm *header = (ips_header_shm *)object->base;
    *header = (ips_header_shm){
        .byte_order = IPS_BYTE_ORDER,
        .kind = spec->kind,
        .format = spec->format,
        .layout = spec->layout,
        .max_size = spec->max_size,
        .creator = ips_space_self(object->space),
        .cleanup = spec->cleanup_last,
    };
    memcpy(header->magic, IPS_MAGIC, sizeof header->magic);
    int status = ips_random(header->identity, sizeof header->identity);
    return status < 0 || spec->init == NULL ? status : spec->init(object, spec->context);
}

/* A complete object that has no name yet; the descriptor names it later. */
static int
build(ips_space *space, const char *name, const ips_object_spec *spec, ips_object **out, int *fd)
{
    if (spec->size < sizeof(ips_header_shm) || spec->max_size < spec->size ||
        spec->max_size > LARGEST_OBJECT) {
        return ips_fail(IPS_ETOOBIG, "'%s': a size of %llu with a limit of %llu bytes",
                        title(name), (unsigned long long)spec->size,
                        (unsigned long long)spec->max_size);
    }
    ips_object *object = new_object(space, name);
    if (object == NULL) {
        return IPS_ENOMEM;
    }
    int status = ips_file_make(space->dir, fd);
    if (status < 0) {
        discard(object, NOT_LINKED);
        return status;
    }
    bool linked = false;
    status = short_of_memory(ips_file_back(*fd, 0, spec->size), spec->kind, name);
    if (status == 0) {
        status = map_object(object, *fd, spec->size, spec->max_size);
    }
    if (status == 0) {
        status = fill_object(object, spec);
    }
    if (status == 0) {
        status = hold_by_link(object, *fd, spec->cleanup_last && name != NULL);
        linked = status == 0;
    }
    if (status < 0) {
        ips_file_close(*fd);
        discard(object, linked ? LINKED : NOT_LINKED);
        return status;
    }
    *out = object;
    return IPS_OK;
}

static int
check_header(const ips_header_shm *header, const ips_object_spec *spec, const char *name,
             uint64_t file_size)
{
    if (memcmp(header->magic, IPS_MAGIC, sizeof header->magic) != 0) {
        return ips_fail(IPS_EFORMAT, "'%s' is not a file of ipcsys", title(name));
    }
    if (header->byte_order != IPS_BYTE_ORDER) {
        return ips_fail(IPS_EFORMAT, "'%s' was written on a machine of the other byte order",
                        title(name));
    }
    if (header->kind != spec->kind) {
        return ips_fail(IPS_EMISMATCH, "'%s' is %s, not %s: use another name", title(name),
                        kind_name(header->kind), kind_name(spec->kind));
    }
    if (header->format != spec->format || header->layout != spec->layout ||
        header->incompat != 0) {
        return ips_fail(IPS_EFORMAT, "'%s' was made by another version of ipcsys (format %u)",
                        title(name), header->format);
    }
    if (header->max_size > LARGEST_OBJECT || file_size > header->max_size ||
        file_size < sizeof *header) {
        return ips_fail(IPS_ECORRUPT, "'%s' has %llu bytes and a limit of %llu", title(name),
                        (unsigned long long)file_size, (unsigned long long)header->max_size);
    }
    if (header->cleanup > 1) { /* taken for true, a stray byte would remove the name */
        return ips_fail(IPS_ECORRUPT, "'%s' says %u where it may say whether its last user "
                        "removes it", title(name), header->cleanup);
    }
    return IPS_OK;
}

/* Turn an open file into an object that we hold. */
static int
adopt(ips_space *space, const char *name, int fd, const ips_object_spec *spec, ips_object **out)
{
    ips_file_facts facts;
    ips_header_shm header;
    int status = ips_file_facts_of(fd, &facts);
    if (status == 0 && facts.size < sizeof header) {
        status = ips_fail(IPS_EFORMAT, "'%s' is not a file of ipcsys: too short", title(name));
    }
    if (status == 0) {
        status = ips_file_read(fd, &header, sizeof header, 0);
    }
    if (status == 0) {
        status = check_header(&header, spec, name, facts.size);
    }
    if (status < 0) {
        return status;
    }
    ips_object *object = new_object(space, name);
    if (object == NULL) {
        return IPS_ENOMEM;
    }
    status = map_object(object, fd, facts.size, header.max_size);
    if (status == 0) {
        status = hold_by_link(object, fd, header.cleanup != 0 && name != NULL);
    }
    if (status < 0) {
        discard(object, NOT_LINKED);
        return status;
    }
    *out = object;
    return IPS_OK;
}

/* Open what the name leads to; call with names locked. */
static int
open_locked(ips_space *space, const char *name, const ips_object_spec *spec, ips_object **out)
{
    int fd;
    ips_file_facts facts;
    int status = ips_file_open(space->dir, name, &fd, &facts);
    if (status == 0) {
        status = adopt(space, name, fd, spec, out);
        ips_file_close(fd);
    }
    return status;
}

/* May the name be given to a new file?  Call with names locked. */
static int
clear_way_locked(ips_space *space, const char *name, ips_open_mode mode)
{
    ips_file_facts facts;
    int status = ips_file_facts_at(space->dir, name, &facts);
    if (status == IPS_ENOENT) {
        return IPS_OK;
    }
    if (status < 0 || mode != IPS_CREATE_NEW) {
        return status < 0 ? status : ips_fail(IPS_EEXIST, "'%s' exists already", name);
    }
    return ips_object_remove(space, name, false);
}

static int
create_named(ips_space *space, const char *name, ips_open_mode mode, const ips_object_spec *spec,
             ips_object **out)
{
    ips_object *object;
    int fd;
    int status = build(space, name, spec, &object, &fd);
    if (status < 0) {
        return status;
    }
    status = ips_names_lock(space);
    if (status == 0) {
        status = clear_way_locked(space, name, mode);
        if (status == 0) {
            status = ips_file_name(fd, space->dir, name);
        }
        ips_names_unlock(space);
    }
    ips_file_close(fd);
    if (status < 0) {
        discard(object, LINKED);
        return status;
    }
    *out = object;
    return IPS_OK;
}

static int
open_named(ips_space *space, const char *name, ips_open_mode mode, const ips_object_spec *spec,
           ips_object **out)
{
    int status = ips_names_lock(space);
    if (status < 0) {
        return status;
    }
    if (mode == IPS_OPEN_OR_CREATE || mode == IPS_OPEN_ONLY) {
        status = open_locked(space, name, spec, out);
    } else {
        status = clear_way_locked(space, name, mode);
        status = status == 0 ? IPS_ENOENT : status;
    }
    ips_names_unlock(space);
    return status;
}

int
ips_object_open(ips_space *space, const char *name, ips_open_mode mode,
                const ips_object_spec *spec, ips_object **out, bool *created)
{
    int status = name == NULL ? IPS_ENOENT : ips_name_check(name, strlen(name));
    if (status < 0 && name != NULL) {
        return status;
    }
    if (name == NULL) {
        int fd;
        status = build(space, NULL, spec, out, &fd);
        if (status == 0) {
            ips_file_close(fd);
        }
        *created = true;
    }
    for (int attempt = 0; name != NULL && attempt < OPEN_ATTEMPTS; attempt++) {
        *created = false;
        status = open_named(space, name, mode, spec, out);
        if (status != IPS_ENOENT || mode == IPS_OPEN_ONLY) {
            break;
        }
        *created = true;
        status = create_named(space, name, mode, spec, out);
        if (status != IPS_EEXIST || mode != IPS_OPEN_OR_CREATE) {
            break; /* else somebody was faster: open theirs */
        }
    }
    if (status == 0) {
        enlist(*out);
    }
    return status;
}

int
ips_object_adopt(ips_space *space, int fd, const ips_object_spec *spec, ips_object **out)
{
    int status = adopt(space, NULL, fd, spec, out);
    if (status == 0) {
        enlist(*out);
    }
    return status;
}

void
ips_object_hold(ips_object *object)
{
    /* relaxed: the caller has a reference already. */
    (void)atomic_fetch_add_explicit(&object->references, 1, memory_order_relaxed);
}

void
ips_object_release(ips_object *object)
{
    /* acq_rel: all use of the mapping comes before the unmapping; pairs with
     * itself in the other threads. */
    if (atomic_fetch_sub_explicit(&object->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    delist(object);
    ips_space *space = object->space;
    if (strchr(object->link, '-') == NULL) {
        discard(object, LINKED);
    } else if (ips_names_lock(space) == 0) {
        discard(object, LINKED_AND_NAMES_LOCKED);
        ips_names_unlock(space);
    } else {
        discard(object, LINKED); /* the name stays, without users: `ipcsys rm` takes it */
    }
}

/* Facts of our link: the way to the file without a descriptor kept open. */
static int
facts_of_link(ips_object *object, ips_file_facts *out)
{
    ips_owner me = ips_space_self(object->space);
    int folder;
    int status = me == IPS_NOBODY ? ips_last_note()->status
                                  : ips_folder_open(object->space, me, false, &folder);
    if (status < 0) {
        return status;
    }
    status = ips_file_facts_at(folder, object->link, out);
    ips_file_close(folder);
    if (status == 0 && (out->inode != object->inode || out->dev != object->dev)) {
        return ips_fail(IPS_EGONE, "'%s': our link to it", title(object->name));
    }
    return status;
}

int
ips_object_users(ips_object *object, uint64_t *users)
{
    ips_file_facts facts;
    int status = ips_space_sweep(object->space); /* the dead are no users */
    status = status < 0 ? status : facts_of_link(object, &facts);
    if (status == 0) {
        bool has_name = object->named && !ips_object_removed(object);
        *users = facts.links - (has_name && facts.links > 1);
    }
    return status;
}

bool
ips_object_backs(ips_object *object, uint64_t offset, uint64_t size)
{
    /* relaxed: it only grows, and what lies below it is backed for good. */
    uint64_t backed = atomic_load_explicit(&object->backed, memory_order_relaxed);
    if (ips_within(offset, size, backed)) {
        return true;
    }
    ips_file_facts facts;
    if (!ips_within(offset, size, object->max_size) || facts_of_link(object, &facts) < 0 ||
        !ips_within(offset, size, facts.size)) {
        return false;
    }
    /* relaxed: as above; two threads may store different sizes, both true. */
    atomic_store_explicit(&object->backed, facts.size, memory_order_relaxed);
    return true;
}

/* The file through this member's own link, which nobody else removes. */
static int
open_own(ips_object *object, int *fd, ips_file_facts *facts)
{
    ips_owner me = ips_space_self(object->space);
    int folder;
    int status = me == IPS_NOBODY ? ips_last_note()->status
                                  : ips_folder_open(object->space, me, false, &folder);
    if (status < 0) {
        return status;
    }
    status = ips_file_open(folder, object->link, fd, facts);
    ips_file_close(folder);
    return status;
}

int
ips_object_punch(ips_object *object, uint64_t from, uint64_t to)
{
    int fd;
    ips_file_facts facts;
    int status = open_own(object, &fd, &facts);
    if (status < 0) {
        return status;
    }
    status = ips_file_punch(fd, from, to);
    ips_file_close(fd);
    return status;
}

int
ips_object_memory(ips_object *object, uint64_t *bytes)
{
    int fd;
    ips_file_facts facts;
    int status = open_own(object, &fd, &facts);
    if (status < 0) {
        return status;
    }
    ips_file_close(fd);
    *bytes = facts.blocks;
    return IPS_OK;
}

int
ips_object_back(ips_object *object, uint64_t from, uint64_t to)
{
    if (to > object->max_size) {
        return ips_fail(IPS_ENOSPACE, "'%s' may not grow beyond %llu bytes", title(object->name),
                        (unsigned long long)object->max_size);
    }
    int fd;
    ips_file_facts facts;
    int status = open_own(object, &fd, &facts);
    if (status < 0) {
        return status;
    }
    status = short_of_memory(ips_file_back(fd, from, to),
                             ((const ips_header_shm *)object->base)->kind, object->name);
    ips_file_close(fd);
    uint64_t size = to > facts.size ? to : facts.size;
    /* relaxed: as in ips_object_backs. */
    if (status == 0 && size > atomic_load_explicit(&object->backed, memory_order_relaxed)) {
        atomic_store_explicit(&object->backed, size, memory_order_relaxed);
    }
    return status;
}

int
ips_object_grow(ips_object *object, uint64_t size)
{
    if (ips_object_backs(object, 0, size)) {
        return IPS_OK;
    }
    /* relaxed: as in ips_object_backs; less than the truth does no harm. */
    return ips_object_back(object, atomic_load_explicit(&object->backed, memory_order_relaxed),
                           size);
}

bool
ips_object_removed(const ips_object *object)
{
    const ips_header_shm *header = (const ips_header_shm *)object->base;
    /* acquire: pairs with the mark in member/name.c. */
    return atomic_load_explicit(&header->life, memory_order_acquire) == IPS_LIFE_REMOVED;
}
