/* SPDX-License-Identifier: Apache-2.0 */
/* What lies in a segment: the type numbers of the catalogue, and the head that
 * every root block shares.
 *
 * Byte map of a root's head (24 bytes; the type's own fields follow):
 *
 *   0   version     8  segment/segment.h's protocol: odd while a transaction
 *                      that has changed the object is open
 *   8   generation  8  of this construction, as the catalogue gives it; 0 before
 *                      the object has its name and after it was destroyed
 *   16  type        8  enum ips_type, constant
 *
 * Who writes: the constructor fills the block before anybody knows it; the
 * generation is stored through the journal by ips_root_christen and, back to
 * 0, by ips_root_retire.  A handle remembers the generation it was opened
 * with, so it notices that its object is gone even where the block has been
 * given to another one: writers compare under the lock, readers compare after
 * the copy and together with the version.  A survivor of a killed transaction
 * finds the old generation back in place. */
#ifndef IPS_DATA_TYPES_H
#define IPS_DATA_TYPES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "segment/segment.h"

/* Stable numbers: they stand in files.  1-15 single words, 16-31 what one
 * waits on (from 24 on with a body), 32-63 containers. */
enum ips_type {
    IPS_TYPE_ATOMIC_INT = 1,
    IPS_TYPE_ATOMIC_FLOAT = 2,
    IPS_TYPE_ATOMIC_BOOL = 3,
    IPS_TYPE_LOCK = 16,
    IPS_TYPE_EVENT = 17,
    IPS_TYPE_RLOCK = 18,
    IPS_TYPE_SEMAPHORE = 24,
    IPS_TYPE_BOUNDED_SEMAPHORE = 25,
    IPS_TYPE_CONDITION = 26,
    IPS_TYPE_BARRIER = 27,
    IPS_TYPE_RWLOCK = 28,
    IPS_TYPE_ARRAY = 29,
    IPS_TYPE_MAP = 32,
    IPS_TYPE_DEQUE = 33,
    IPS_TYPE_VECTOR = 34,
    IPS_TYPE_TYPED_VECTOR = 35,
    IPS_TYPE_RECORD = 36,
    IPS_TYPE_CELL = 37,
    IPS_TYPE_STRING = 38,
    IPS_TYPE_BYTES = 39,
};

typedef struct {
    _Atomic uint64_t version;
    _Atomic uint64_t generation;
    _Atomic uint64_t type;
} ips_root_shm;

_Static_assert(sizeof(ips_root_shm) == 24, "byte map above");
_Static_assert(offsetof(ips_root_shm, generation) == 8, "byte map above");

_Static_assert(IPS_TYPE_SEMAPHORE == 24 && IPS_TYPE_BOUNDED_SEMAPHORE == 25,
               "segment/segment.h knows them");

/* The Python class of a type, NULL for a number this version does not know. */
const char *ips_type_name(uint32_t type);

/* The object at `root`, or NULL where no root block of `type` and `size` can
 * be there.  Not noted. */
ips_root_shm *ips_root_at(ips_segment *segment, ips_offset root, uint32_t type, size_t size);

/* Give the object its generation, inside the transaction that named it. */
IPS_MUST_CHECK int ips_root_christen(ips_segment *segment, ips_offset root, uint64_t generation);
/* The object is gone for every handle, inside the transaction that frees it. */
IPS_MUST_CHECK int ips_root_retire(ips_segment *segment, ips_offset root);

/* Inside a transaction (or for a look that does not matter): is it still the
 * object of this generation? */
static inline bool
ips_root_lives(const ips_root_shm *root, uint64_t generation)
{
    /* relaxed: under the segment's lock nobody writes it; a reader without
     * the lock puts an acquire fence before this load (ips_read_ok). */
    return atomic_load_explicit(&root->generation, memory_order_relaxed) == generation;
}

/* IPS_EGONE, noted. */
int ips_root_gone(uint32_t type);

/* A count of items from shared bytes: no object has more than its file bytes. */
static inline bool
ips_count_possible(ips_segment *segment, uint64_t count)
{
    return count <= ips_segment_object(segment)->max_size;
}

/* Inside a transaction: a block of `size` bytes that nobody else knows, to be
 * filled with plain stores and published with a journaled one. */
IPS_MUST_CHECK int ips_fresh_block(ips_segment *segment, size_t size, ips_offset *out, void **at);
/* Between the last plain store into fresh blocks and the store that publishes
 * them: pairs with readers' acquire load of the published offset. */
static inline void
ips_fresh_ready(void)
{
    atomic_thread_fence(memory_order_release);
}

#endif
