/* SPDX-License-Identifier: Apache-2.0 */
/* A named cell: a file with the header and one cell behind it, in one page; of
 * a wide one the body follows, which grows page by page. */
#include <string.h>

#include "base/hash.h"
#include "os/file.h"
#include "segment/cells.h"

#define CELL_AT sizeof(ips_header_shm)
#define CELL_FILE_SIZE 4096u
#define BODY_AT (CELL_AT + sizeof(ips_cell_shm))
#define WIDE_FILE_SIZE ((BODY_AT + IPS_WIDE_SIZE + CELL_FILE_SIZE - 1) / CELL_FILE_SIZE * CELL_FILE_SIZE)
#define CELL_FORMAT 1

_Static_assert(CELL_AT % sizeof(ips_cell_shm) == 0, "a named cell has its own cache line");
_Static_assert(BODY_AT + IPS_WIDE_FIRST <= CELL_FILE_SIZE, "the body begins in the first page");

const char *
ips_cell_type_name(uint32_t type)
{
    switch (type) {
    case IPS_CELL_LOCK: return "Lock";
    case IPS_CELL_EVENT: return "Event";
    case IPS_CELL_ATOMIC_INT: return "AtomicInt";
    case IPS_CELL_ATOMIC_FLOAT: return "AtomicFloat";
    case IPS_CELL_ATOMIC_BOOL: return "AtomicBool";
    case IPS_CELL_RLOCK: return "RLock";
    case IPS_CELL_SEMAPHORE: return "Semaphore";
    case IPS_CELL_BOUNDED_SEMAPHORE: return "BoundedSemaphore";
    case IPS_CELL_CONDITION: return "Condition";
    case IPS_CELL_BARRIER: return "Barrier";
    case IPS_CELL_RWLOCK: return "RWLock";
    default: return "unknown object";
    }
}

static uint32_t
layout_stamp(void)
{
    const uint64_t facts[] = {sizeof(ips_cell_shm), CELL_AT, offsetof(ips_cell_shm, generation),
                              offsetof(ips_cell_shm, type), IPS_WIDE_SIZE};
    return (uint32_t)ips_hash(facts, sizeof facts);
}

static ips_cell_shm *
cell_of(const ips_object *object)
{
    return (ips_cell_shm *)(object->base + CELL_AT);
}

static int
fill(ips_object *object, void *context)
{
    const ips_cell_spec *spec = (const ips_cell_spec *)context;
    ips_cell_shm *cell = cell_of(object);
    for (size_t i = 0; i < IPS_CELL_WORDS; i++) {
        /* relaxed: nobody can open the file yet. */
        atomic_store_explicit(&cell->words[i], spec->words[i], memory_order_relaxed);
    }
    cell->generation = 1;
    cell->type = spec->type;
    cell->uses = 1;
    return IPS_OK;
}

static ips_object_spec
spec_of(const ips_cell_spec *spec)
{
    return (ips_object_spec){
        .kind = IPS_KIND_CELL,
        .format = CELL_FORMAT,
        .layout = layout_stamp(),
        .size = CELL_FILE_SIZE,
        .max_size = ips_cell_is_wide(spec->type) ? WIDE_FILE_SIZE : CELL_FILE_SIZE,
        .cleanup_last = spec->cleanup_last,
        .init = fill,
        .context = (void *)(uintptr_t)spec,
    };
}

static int
extend(ips_wide *wide, uint64_t bytes)
{
    ips_cell *cell = (ips_cell *)(void *)((char *)wide - offsetof(ips_cell, wide));
    uint64_t end = (BODY_AT + bytes + CELL_FILE_SIZE - 1) / CELL_FILE_SIZE * CELL_FILE_SIZE;
    int status = ips_object_grow(cell->object, end);
    if (status == IPS_OK) {
        ips_wide_reached(wide, end - BODY_AT);
    }
    return status;
}

static int
adopt(ips_object *object, enum ips_cell_type type, ips_cell *out)
{
    uint32_t found = cell_of(object)->type;
    if (found != (uint32_t)type) {
        int status = ips_fail(IPS_EMISMATCH, "'%s' is a %s, not a %s", object->name,
                              ips_cell_type_name(found), ips_cell_type_name(type));
        ips_object_release(object);
        return status;
    }
    *out = (ips_cell){.shm = cell_of(object), .space = object->space, .object = object};
    if (!ips_cell_is_wide(type)) {
        return IPS_OK;
    }
    if (object->max_size < WIDE_FILE_SIZE || !ips_object_backs(object, 0, CELL_FILE_SIZE)) {
        int status = ips_fail(IPS_ECORRUPT, "'%s' is shorter than a %s", object->name,
                              ips_cell_type_name(type));
        ips_object_release(object);
        return status;
    }
    out->wide.shm = object->base + BODY_AT;
    out->wide.capacity = IPS_WIDE_SIZE;
    out->wide.name = object->name;
    out->wide.extend = extend;
    ips_wide_reached(&out->wide, CELL_FILE_SIZE - BODY_AT);
    return IPS_OK;
}

uint32_t
ips_cell_type_of(ips_space *space, const char *name)
{
    int fd;
    ips_file_facts facts;
    uint32_t type = IPS_CELL_FREE;
    if (ips_file_open(ips_space_dir(space), name, &fd, &facts) == IPS_OK) {
        if (ips_file_read(fd, &type, sizeof type, CELL_AT + offsetof(ips_cell_shm, type)) < 0) {
            type = IPS_CELL_FREE;
        }
        ips_file_close(fd);
    }
    return type;
}

int
ips_cell_open(ips_space *space, const char *name, ips_open_mode mode, const ips_cell_spec *spec,
              ips_cell *out)
{
    ips_object *object;
    bool created;
    ips_object_spec file = spec_of(spec);
    int status = ips_object_open(space, name, mode, &file, &object, &created);
    return status < 0 ? status : adopt(object, spec->type, out);
}

int
ips_cell_reopen(ips_space *space, const char *name, const uint8_t identity[16],
                enum ips_cell_type type, ips_cell *out)
{
    ips_cell_spec spec = {.type = type};
    int status = ips_cell_open(space, name, IPS_OPEN_ONLY, &spec, out);
    if (status == IPS_ENOENT) {
        return ips_fail(IPS_EGONE, "the pickled %s '%s' was removed", ips_cell_type_name(type), name);
    }
    if (status == IPS_OK && memcmp(ips_cell_identity(out), identity, 16) != 0) {
        ips_cell_release(out);
        return ips_fail(IPS_EGONE, "the pickled %s '%s' was removed, and the name given to another",
                        ips_cell_type_name(type), name);
    }
    return status;
}

const uint8_t *
ips_cell_identity(const ips_cell *cell)
{
    return ((const ips_header_shm *)cell->object->base)->identity;
}

bool
ips_cell_is_borrowed(const ips_cell *cell)
{
    return cell->object != NULL &&
           ((const ips_header_shm *)(const void *)cell->object->base)->kind != IPS_KIND_CELL;
}
