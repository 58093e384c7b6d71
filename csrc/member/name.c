/* SPDX-License-Identifier: Apache-2.0 */
/* What may be a name, removing one, listing them. */
#include <string.h>

#include "member/table.h"
#include "os/file.h"

/* Length of the valid UTF-8 sequence at `at`, or 0: overlong forms, surrogates
 * and numbers above U+10FFFF are not valid. */
static size_t
sequence_length(const unsigned char *at, size_t left)
{
    if (at[0] < 0x80) {
        return 1;
    }
    size_t length = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    if (at[0] < 0xc2 || at[0] > 0xf4 || length > left) {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) ||
        (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f)) {
        return 0;
    }
    return length;
}

int
ips_name_check(const char *name, size_t size)
{
    const unsigned char *bytes = (const unsigned char *)name;
    if (size == 0) {
        return ips_fail(IPS_ENAME, "a name must not be empty");
    }
    if (size > IPS_NAME_MAX) {
        return ips_fail(IPS_ENAME, "a name has at most %d bytes, this one has %zu", IPS_NAME_MAX,
                        size);
    }
    if (bytes[0] == '.') {
        return ips_fail(IPS_ENAME, "a name must not start with a dot");
    }
    for (size_t i = 0; i < size;) {
        if (bytes[i] < 0x20 || bytes[i] == '/' || bytes[i] == 0x7f) {
            return ips_fail(IPS_ENAME, "a name must not hold '/', NUL or control characters");
        }
        size_t length = sequence_length(bytes + i, size - i);
        if (length == 0) {
            return ips_fail(IPS_ENAME, "a name must be valid UTF-8 without surrogates");
        }
        i += length;
    }
    return IPS_OK;
}

/* Tell those who hold the file that its name is gone; damage elsewhere in the
 * file is not our concern here. */
static int
mark_removed(ips_space *space, const char *name)
{
    int fd;
    ips_file_facts facts;
    int status = ips_file_open(space->dir, name, &fd, &facts);
    if (status < 0) {
        return status;
    }
    void *base;
    if (facts.size >= sizeof(ips_header_shm) &&
        ips_map_file(fd, sizeof(ips_header_shm), &base) == 0) {
        ips_header_shm *header = base;
        if (memcmp(header->magic, IPS_MAGIC, sizeof header->magic) == 0) {
            /* release: pairs with the acquire in ips_object_removed. */
            atomic_store_explicit(&header->life, IPS_LIFE_REMOVED, memory_order_release);
        }
        ips_unmap(base, sizeof(ips_header_shm));
    }
    ips_file_close(fd);
    return IPS_OK;
}

static int
remove_locked(ips_space *space, const char *name, bool force)
{
    ips_file_facts facts;
    int status = ips_file_facts_at(space->dir, name, &facts);
    if (status == 0 && facts.links > 1 && !force) {
        ips_slots_sweep(space); /* the other links may be those of the dead */
        status = ips_file_facts_at(space->dir, name, &facts);
    }
    if (status < 0) {
        return status == IPS_ENOENT ? ips_fail(IPS_ENOENT, "there is no '%s' in '%s'", name,
                                               space->folder)
                                    : status;
    }
    if (facts.links > 1 && !force) {
        return ips_fail(IPS_EINUSE, "'%s' is held by %u live members: close it there, or force "
                                    "the removal", name, facts.links - 1);
    }
    /* Mark first: whoever sees the mark may count on the name going. */
    if (facts.links > 1) {
        status = mark_removed(space, name);
    }
    return status < 0 ? status : ips_file_unlink(space->dir, name);
}

int
ips_object_remove(ips_space *space, const char *name, bool force)
{
    int status = ips_name_check(name, strlen(name));
    if (status == 0) {
        status = ips_names_lock(space);
    }
    if (status < 0) {
        return status;
    }
    status = remove_locked(space, name, force);
    ips_names_unlock(space);
    return status;
}

typedef struct {
    ips_space *space;
    int (*visit)(const ips_object_facts *facts, void *context);
    void *context;
} listing;

static int
list_one(const char *name, void *context)
{
    listing *list = context;
    ips_file_facts file;
    int fd;
    if (name[0] == '.' || ips_file_open(list->space->dir, name, &fd, &file) < 0) {
        return 0; /* ours to skip, or gone meanwhile, or not ours at all */
    }
    ips_object_facts facts = {.name = name, .size = file.blocks, .users = file.links - 1};
    ips_header_shm header;
    if (ips_file_read(fd, &header, sizeof header, 0) == 0 &&
        memcmp(header.magic, IPS_MAGIC, sizeof header.magic) == 0) {
        facts.kind = header.kind;
        facts.max_size = header.max_size;
    }
    ips_file_close(fd);
    return list->visit(&facts, list->context);
}

int
ips_object_each(ips_space *space, int (*visit)(const ips_object_facts *facts, void *context),
                void *context)
{
    int status = ips_space_sweep(space);
    listing list = {space, visit, context};
    return status < 0 ? status : ips_dir_each(space->dir, list_one, &list);
}
