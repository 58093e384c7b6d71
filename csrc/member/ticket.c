/* SPDX-License-Identifier: Apache-2.0 */
/* Tickets: how a pickled unnamed object survives until it is unpickled.
 *
 * A ticket is one more hard link in the pickler's folder.  Redeeming moves it
 * into the redeemer's folder in one rename; where it was used up, any living
 * holder's link serves.  Text: "<folder>/t<random>/<inode>", all hex but the
 * slot. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "member/table.h"
#include "os/file.h"

typedef struct {
    char folder[32];
    char link[32];
    uint64_t inode;
} ticket_parts;

int
ips_object_ticket(ips_object *object, char ticket[IPS_TICKET_MAX])
{
    ips_space *space = object->space;
    ips_owner me = ips_space_self(space);
    uint64_t number;
    int status = me == IPS_NOBODY ? ips_last_note()->status : ips_random(&number, sizeof number);
    if (status < 0) {
        return status;
    }
    char folder_name[32], link[32];
    ips_folder_name(me, folder_name);
    (void)snprintf(link, sizeof link, "t%016" PRIx64, number);
    int folder;
    status = ips_folder_open(space, me, true, &folder);
    if (status < 0) {
        return status;
    }
    status = ips_file_link(folder, object->link, folder, link);
    ips_file_close(folder);
    (void)snprintf(ticket, IPS_TICKET_MAX, "%s/%s/%" PRIx64, folder_name, link, object->inode);
    return status;
}

/* Only what ips_object_ticket writes: nothing here may leave the folder. */
static int
parse_ticket(const char *ticket, ticket_parts *out)
{
    unsigned slot;
    uint64_t generation, number;
    int end = 0;
    if (sscanf(ticket, "%u.%" SCNx64 "/t%16" SCNx64 "/%" SCNx64 "%n", &slot, &generation, &number,
               &out->inode, &end) != 4 ||
        ticket[end] != '\0' || slot >= IPS_MAX_SLOTS) {
        return ips_fail(IPS_EGONE, "this is not a handle of an object here");
    }
    ips_folder_name(ips_owner_make(slot, generation), out->folder);
    (void)snprintf(out->link, sizeof out->link, "t%016" PRIx64, number);
    return IPS_OK;
}

typedef struct {
    ips_space *space;
    uint64_t inode;
    int from; /* the folder being searched */
    int to;
    const char *link;
} search;

static int
take_link_of_inode(const char *name, void *context)
{
    search *job = context;
    ips_file_facts facts;
    if (ips_file_facts_at(job->from, name, &facts) < 0 || facts.inode != job->inode) {
        return 0;
    }
    return ips_file_link(job->from, name, job->to, job->link) == 0;
}

static int
search_folder(const char *name, void *context)
{
    search *job = context;
    if (ips_dir_open_at(job->space->members_dir, name, false, &job->from) < 0) {
        return 0; /* cleared meanwhile */
    }
    int found = ips_dir_each(job->from, take_link_of_inode, job);
    ips_file_close(job->from);
    return found == 1;
}

/* Put a link to the ticket's object into the folder `to` as `link`. */
static int
link_object(ips_space *space, const ticket_parts *parts, int to, const char *link)
{
    int from;
    int status = ips_dir_open_at(space->members_dir, parts->folder, false, &from);
    if (status == 0) {
        status = ips_file_rename(from, parts->link, to, link);
        ips_file_close(from);
    }
    if (status != IPS_ENOENT) {
        return status;
    }
    search job = {.space = space, .inode = parts->inode, .to = to, .link = link};
    status = ips_dir_each(space->members_dir, search_folder, &job);
    if (status == 1) {
        return IPS_OK;
    }
    return status < 0 ? status
                      : ips_fail(IPS_EGONE, "the handle was used before, and nobody holds its "
                                            "object any more: keep one open, or give it a name");
}

int
ips_object_redeem(ips_space *space, const char *ticket, const ips_object_spec *spec,
                  ips_object **out)
{
    ticket_parts parts;
    int status = parse_ticket(ticket, &parts);
    ips_owner me = status < 0 ? IPS_NOBODY : ips_space_self(space);
    uint64_t number = 0;
    int folder = -1;
    if (status == 0) {
        status = me == IPS_NOBODY ? ips_last_note()->status
                                  : ips_folder_open(space, me, true, &folder);
    }
    if (status == 0) {
        status = ips_random(&number, sizeof number);
    }
    if (status < 0) {
        return status;
    }
    char link[32];
    (void)snprintf(link, sizeof link, "%016" PRIx64, number);
    status = link_object(space, &parts, folder, link);
    int fd;
    ips_file_facts facts;
    if (status == 0) {
        status = ips_file_open(folder, link, &fd, &facts);
    }
    if (status == 0) {
        status = facts.inode == parts.inode
                     ? ips_object_adopt(space, fd, spec, out)
                     : ips_fail(IPS_EGONE, "the handle's object is gone");
        ips_file_close(fd);
        /* The object has a link of its own now. */
        int removed = ips_file_unlink(folder, link);
        status = status < 0 ? status : removed;
    }
    ips_file_close(folder);
    return status;
}
