/* SPDX-License-Identifier: Apache-2.0 */
/* A member's folder of hard links, and the names that go with the last one.
 * The tree is drawn in member/object.h. */
#include <stdio.h>
#include <string.h>

#include "member/table.h"
#include "os/clock.h"
#include "os/file.h"

/* Opening a name and leaving it as the last one exclude each other by a
 * record lock: the kernel returns it at death, and its holder makes a handful
 * of system calls.  Only a stopped holder lets us wait this long. */
#define NAMES_PATIENCE_NS INT64_C(10000000000)
#define NAMES_FIRST_NAP_NS 20000
#define NAMES_LONGEST_NAP_NS 2000000

int
ips_names_lock(ips_space *space)
{
    ips_room_enter(); /* record locks do not exclude threads */
    ips_locks_tend(space);
    int64_t deadline = ips_now() + NAMES_PATIENCE_NS;
    int64_t nap = NAMES_FIRST_NAP_NS;
    int status = ips_byte_lock(space->locks, IPS_NAMES_BYTE);
    while (status == IPS_EAGAIN && ips_now() < deadline) {
        ips_sleep_until(ips_now() + nap);
        nap = nap * 2 < NAMES_LONGEST_NAP_NS ? nap * 2 : NAMES_LONGEST_NAP_NS;
        status = ips_byte_lock(space->locks, IPS_NAMES_BYTE);
    }
    if (status < 0) {
        ips_room_leave();
    }
    if (status == IPS_EAGAIN) {
        return ips_fail(IPS_EAGAIN, "a stopped process is in the middle of opening or removing "
                                    "a name in '%s'", space->folder);
    }
    return status;
}

void
ips_names_unlock(ips_space *space)
{
    ips_byte_unlock(space->locks, IPS_NAMES_BYTE);
    ips_room_leave();
}

void
ips_folder_name(ips_owner owner, char out[32])
{
    (void)snprintf(out, 32, "%u.%llx", ips_owner_slot(owner),
                   (unsigned long long)ips_owner_generation(owner));
}

int
ips_folder_open(ips_space *space, ips_owner owner, bool create, int *fd)
{
    char name[32];
    ips_folder_name(owner, name);
    return ips_dir_open_at(space->members_dir, name, create, fd);
}

/* Take the name away if the file of that link is its file and no third link
 * exists: whoever else holds the object has one. */
static int
drop_name(ips_space *space, const char *name, const ips_file_facts *held)
{
    ips_file_facts facts;
    int status = ips_file_facts_at(space->dir, name, &facts);
    if (status == IPS_ENOENT) {
        return IPS_OK;
    }
    if (status == 0 && facts.dev == held->dev && facts.inode == held->inode &&
        facts.links == 2) {
        status = ips_file_unlink(space->dir, name);
    }
    return status;
}

int
ips_link_drop(ips_space *space, int folder, const char *link, bool name_too)
{
    ips_file_facts held;
    int status = ips_file_facts_at(folder, link, &held);
    if (status < 0) {
        return status == IPS_ENOENT ? IPS_OK : status;
    }
    /* The name first: a death in between leaves a link, which goes with its
     * folder.  The other way round it would leave a name without users. */
    const char *dash = name_too ? strchr(link, '-') : NULL;
    if (dash != NULL) {
        status = drop_name(space, dash + 1, &held);
    }
    int unlinked = ips_file_unlink(folder, link);
    return status < 0 ? status : unlinked;
}

typedef struct {
    ips_space *space;
    int folder;
} clearing;

static int
drop_link(const char *link, void *context)
{
    clearing *work = context;
    return ips_link_drop(work->space, work->folder, link, true);
}

int
ips_folder_clear(ips_space *space, ips_owner owner)
{
    char name[32];
    ips_folder_name(owner, name);
    clearing work = {.space = space};
    int status = ips_dir_open_at(space->members_dir, name, false, &work.folder);
    if (status < 0) {
        return status == IPS_ENOENT ? IPS_OK : status;
    }
    status = ips_names_lock(space);
    if (status == 0) {
        status = ips_dir_each(work.folder, drop_link, &work);
        ips_names_unlock(space);
    }
    ips_file_close(work.folder);
    return status < 0 ? status : ips_dir_remove(space->members_dir, name);
}

void
ips_folder_inherit(ips_space *space, ips_owner parent, ips_owner child)
{
    int from, to;
    if (space->objects == NULL || ips_folder_open(space, parent, false, &from) < 0) {
        return;
    }
    if (ips_folder_open(space, child, true, &to) == 0) {
        for (ips_object *object = space->objects; object != NULL; object = object->next) {
            /* One that fails is one that the child cannot outlive its parent
             * with; the mapping it inherited works all the same. */
            if (ips_file_link(from, object->link, to, object->link) < 0) {
                continue;
            }
        }
        ips_file_close(to);
    }
    ips_file_close(from);
}
