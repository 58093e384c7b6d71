/* SPDX-License-Identifier: Apache-2.0 */
/* Births under way.  A forked child has its parent's handles, and records
 * them as its own before fork() returns.  If the parent is killed meanwhile,
 * whoever clears it away would give back what the child is about to claim.
 * So the parent holds a byte of ".births" through fork(): the lock is the open
 * file's, which both have, and it goes when both are through or dead.  A dead
 * member is not cleared away while its byte is held. */
#include "member/table.h"
#include "os/file.h"

#define BIRTHS_FILE ".births"

void
ips_birth_announce(ips_space *space, ips_owner parent)
{
    /* Without it (no descriptors left, say) a fork is still a fork; only the
     * death of the parent right now would cost the child its handles. */
    if (ips_file_keep(space->dir, BIRTHS_FILE, &space->birth) < 0) {
        space->birth = -1;
    } else if (ips_shared_byte_lock(space->birth, ips_owner_slot(parent)) < 0) {
        ips_birth_conclude(space);
    }
}

void
ips_birth_conclude(ips_space *space)
{
    if (space->birth >= 0) {
        ips_file_close(space->birth);
        space->birth = -1;
    }
}

bool
ips_birth_is_pending(ips_space *space, ips_owner parent)
{
    int fd;
    ips_file_facts facts;
    if (ips_file_open(space->dir, BIRTHS_FILE, &fd, &facts) < 0) {
        return false; /* nobody ever forked here */
    }
    bool pending = ips_shared_byte_probe(fd, ips_owner_slot(parent)) > 0;
    ips_file_close(fd);
    return pending;
}
