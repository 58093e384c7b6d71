/* SPDX-License-Identifier: Apache-2.0 */
/* Postboxes: how a waker reaches the event loops of other processes.
 *
 * A process that waits with asyncio cannot park on a futex.  It has a FIFO in
 * its member folder, .m/<slot>.<generation>/post, made when it is first asked
 * for, and its loops watch that.  Who wants a byte there stands in the table
 * async_wanted of member/slots.h:
 *
 *   waiter                             waker
 *   want()    own bit in the table     change the condition
 *   async bit in the object's word     full fence
 *   full fence                         async bit seen: clear it, then ring()
 *   look at the condition again          takes each bit out of the table
 *   sleep in the event loop              and writes one byte for it
 *
 * The bit in the table is set before the one in the word, so whoever clears
 * the latter finds the former, unless another waker has taken it and is about
 * to write the byte.  A woken process sets both anew before it looks.
 *
 * The table stands once for each namespace and not beside each object: the
 * woken process looks at all it waits for there.  The word does not say which
 * namespace it belongs to either, so ring() rings in all that this process has
 * joined: one, as a rule.
 *
 * Death: a waiter's bit costs one look for a FIFO that is gone, its FIFO goes
 * with its folder; a waker killed between a bit and its byte leaves waiters
 * asleep until their bound (100 ms, kept by the loops).  A forked child has no
 * postbox until it asks for one. */
#ifndef IPS_MEMBER_POSTBOX_H
#define IPS_MEMBER_POSTBOX_H

#include "base/status.h"
#include "member/space.h"
#include "os/fifo.h"

/* This member's postbox, made at the first call.  Its descriptor is to be
 * watched for reading, emptied by ips_fifo_drain before looking at conditions,
 * and never closed: it stays as long as the process is this member. */
IPS_MUST_CHECK int ips_postbox_open(ips_space *space, ips_fifo *out);

/* Ask for a byte at the next ring: to be called before the async bit of a
 * word is set.  Ends with a full fence. */
void ips_postbox_want(ips_space *space);

/* Write to all who want it.  The caller has just cleared an async bit.  Makes
 * system calls, never waits, notes nothing. */
void ips_postbox_ring(void);

#endif
