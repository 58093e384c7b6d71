/* SPDX-License-Identifier: Apache-2.0 */
#include "data/array.h"

#include <string.h>

#include "base/hash.h"

#define ARRAY_FORMAT 1
#define SIZE_MOST (UINT64_C(1) << 46)

int
ips_array_measure(ips_array_kind *kind)
{
    uint64_t size = kind->itemsize;
    bool empty = false;
    bool overflow = false;
    for (uint32_t i = 0; i < kind->ndim; i++) {
        /* An empty array may be of any length in its other dimensions. */
        empty = empty || kind->shape[i] == 0;
        overflow = overflow || (kind->shape[i] != 0 &&
            (__builtin_mul_overflow(size, kind->shape[i], &size) || size > SIZE_MOST));
    }
    if (overflow) {
        return ips_fail(IPS_ETOOBIG, "an array of more than %llu bytes",
            (unsigned long long)SIZE_MOST);
    }
    kind->size = empty ? 0 : size;
    return IPS_OK;
}

/* --- making --------------------------------------------------------------- */

static int
fill(ips_object *object, void *context)
{
    const ips_array_kind *kind = context;
    ips_array_shm *shm = (ips_array_shm *)(void *)object->base;
    shm->lock.generation = 1;
    shm->lock.type = IPS_CELL_LOCK;
    shm->lock.uses = 1;
    shm->ndim = kind->ndim;
    shm->itemsize = kind->itemsize;
    shm->order = (uint32_t)kind->order;
    shm->dtype_size = (uint32_t)strlen(kind->dtype);
    shm->format_size = (uint32_t)strlen(kind->format);
    memcpy(shm->shape, kind->shape, sizeof shm->shape);
    memcpy(shm->text, kind->dtype, shm->dtype_size);
    memcpy(shm->text + shm->dtype_size, kind->format, shm->format_size);
    return IPS_OK;
}

static ips_object_spec
spec_of(const ips_array_kind *kind, bool cleanup_last)
{
    static const uint32_t layout[] = {sizeof(ips_array_shm), offsetof(ips_array_shm, lock),
        offsetof(ips_array_shm, ndim), offsetof(ips_array_shm, shape),
        offsetof(ips_array_shm, text)};
    return (ips_object_spec){
        .kind = IPS_KIND_ARRAY,
        .format = ARRAY_FORMAT,
        .layout = (uint32_t)ips_hash(layout, sizeof layout),
        .size = IPS_ARRAY_ITEMS + kind->size,
        .max_size = IPS_ARRAY_ITEMS + kind->size,
        .cleanup_last = cleanup_last,
        .init = fill,
        .context = (void *)(uintptr_t)kind,
    };
}

/* --- opening -------------------------------------------------------------- */

/* Each field is read once; false where they cannot be an array's. */
static bool
read_kind(const ips_array_shm *shm, ips_array_kind *out)
{
    const uint32_t dtype_size = shm->dtype_size;
    const uint32_t format_size = shm->format_size;
    *out = (ips_array_kind){.ndim = shm->ndim, .itemsize = shm->itemsize,
        .order = (char)shm->order};
    if (out->ndim > IPS_ARRAY_DIMENSIONS || out->itemsize == 0 ||
        (out->order != 'C' && out->order != 'F') || dtype_size > IPS_ARRAY_TEXT ||
        format_size > IPS_ARRAY_TEXT - dtype_size) {
        return false;
    }
    memcpy(out->shape, shm->shape, out->ndim * sizeof out->shape[0]);
    memcpy(out->dtype, shm->text, dtype_size);
    memcpy(out->format, shm->text + dtype_size, format_size);
    return ips_array_measure(out) == 0;
}

/* The file's own account of itself; the file is given up where it is none. */
static int
attach(ips_object *object, ips_array_kind *kind)
{
    if (ips_object_backs(object, 0, IPS_ARRAY_ITEMS) &&
        read_kind((const ips_array_shm *)(const void *)object->base, kind) &&
        object->max_size >= IPS_ARRAY_ITEMS + kind->size &&
        ips_object_backs(object, 0, IPS_ARRAY_ITEMS + kind->size) &&
        ips_array_lock(object)->type == IPS_CELL_LOCK) {
        return IPS_OK;
    }
    int status = ips_fail(IPS_ECORRUPT, "array '%s' has a senseless shape",
        object->named ? object->name : "(unnamed)");
    ips_object_release(object);
    return status;
}

int
ips_array_open(ips_space *space, const char *name, ips_open_mode mode, bool cleanup_last,
    ips_array_kind *kind, ips_object **out, bool *created)
{
    const ips_object_spec spec = spec_of(kind, cleanup_last);
    int status = ips_object_open(space, name, mode, &spec, out, created);
    return status < 0 || *created ? status : attach(*out, kind);
}

int
ips_array_redeem(ips_space *space, const char *ticket, ips_array_kind *kind, ips_object **out)
{
    *kind = (ips_array_kind){.itemsize = 1};
    const ips_object_spec spec = spec_of(kind, false);
    int status = ips_object_redeem(space, ticket, &spec, out);
    return status < 0 ? status : attach(*out, kind);
}

int
ips_array_reopen(ips_space *space, const char *name, const uint8_t identity[16],
    ips_array_kind *kind, ips_object **out)
{
    bool created;
    *kind = (ips_array_kind){.itemsize = 1};
    int status = ips_array_open(space, name, IPS_OPEN_ONLY, false, kind, out, &created);
    if (status < 0) {
        return status == IPS_ENOENT ? ips_fail(IPS_EGONE, "'%s' was removed", name) : status;
    }
    const ips_header_shm *header = (const ips_header_shm *)(const void *)(*out)->base;
    if (memcmp(header->identity, identity, sizeof header->identity) == 0) {
        return IPS_OK;
    }
    ips_object_release(*out);
    return ips_fail(IPS_EGONE, "'%s' is another array now", name);
}
