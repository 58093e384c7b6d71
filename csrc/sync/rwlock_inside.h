/* SPDX-License-Identifier: Apache-2.0 */
/* What rwlock.c and rwlock_writer.c do for each other. */
#ifndef IPS_SYNC_RWLOCK_INSIDE_H
#define IPS_SYNC_RWLOCK_INSIDE_H

#include "sync/rwlock.h"
#include "sync/watch.h"

/* An opened gate wakes a few, and each of them a few more. */
#define IPS_RWLOCK_WAKE_AT_OPENING 4

/* This member's line, claimed where it has none. */
IPS_MUST_CHECK int ips_rwlock_own_line(ips_rwlock *lock, int64_t deadline, ips_line_shm **line);
/* One read less on it; false where it has none. */
bool ips_rwlock_drop_read(ips_rwlock *lock, ips_line_shm *line);

/* By the holder of the turn: open the gate, and wake those who wait there. */
void ips_rwlock_open_gate(ips_rwlock *lock);
/* By its new holder: set right whatever a dead writer left at the gate. */
void ips_rwlock_inherit(ips_rwlock *lock);
/* By anybody: is the gate open, or does it open now because its owner is
 * dead?  Otherwise whoever must be waited for is added to the watch. */
bool ips_rwlock_heals(ips_rwlock *lock, ips_watch *watch);

#endif
