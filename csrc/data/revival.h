/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of a cell (locks, events, numbers) when its segment is read from
 * a file: as if every member that had to do with it had died, and had been
 * proven dead.
 *
 *   AtomicInt, Event       keep their value
 *   Lock, RLock            held: is found abandoned by the next to take it
 *   RWLock                 free; abandoned where a writer was inside
 *   Semaphore              gets back what its dead holders are owed
 *                          (sync/semaphore.h); nobody holds a permit
 *   Condition, Barrier     as new: nobody waits
 *
 * Owner ids of another life must go, since the same number may be a living
 * member here.  Who calls: the maker of the live file, before it has a name. */
#ifndef IPS_DATA_REVIVAL_H
#define IPS_DATA_REVIVAL_H

#include <stdatomic.h>
#include <stdint.h>

/* `payload`: the cell's IPS_STABLE_SIZE bytes; `body`: its IPS_STABLE_BODY
 * bytes, or NULL.  An ips_revive of segment/mapped.h. */
void ips_type_revive(uint32_t type, _Atomic uint64_t *payload, uint8_t *body);

#endif
