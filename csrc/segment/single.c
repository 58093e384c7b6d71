/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of one word without the journal, and the anchors.
 *
 * Order of stores: lock, commits + 1, version + 2, the word, unlock.  Death anywhere leaves
 * the word as it was or as it is to be, a version that grew for nothing, and a
 * lock that the next one takes over with nothing to undo.  The version is
 * raised before the word and not after it: raised after, a death in between
 * would let a reader put this word's old value beside a later change. */
#include "base/atomics.h"
#include "segment/handle.h"

bool
ips_single_begin(ips_segment *segment)
{
    ips_owner me = ips_space_self(segment->object->space);
    if (me == IPS_NOBODY || segment->read_only || ips_view_of_mine(segment) != NULL ||
        !ips_lock_try(&segment->shm->lock, me)) {
        return false;
    }
    /* acquire: pairs with the release of the mark by a dead holder. */
    uint64_t mark = atomic_load_explicit(&segment->shm->journal.mark, memory_order_acquire);
    if (__builtin_expect((mark & IPS_PHASE_BITS) != IPS_PHASE_IDLE, 0)) {
        ips_single_end(segment);
        return false;
    }
    ips_commit_count(segment);
    return true;
}

bool
ips_single_store(_Atomic uint64_t *version, _Atomic uint64_t *word, uint64_t value)
{
    /* relaxed: only the lock's holder writes it. */
    uint64_t seen = atomic_load_explicit(version, memory_order_relaxed);
    if ((seen & 1) != 0) {
        return false;
    }
    /* release: the words changed under the last version come before it; pairs
     * with the acquire in ips_read_begin. */
    atomic_store_explicit(version, seen + 2, memory_order_release);
    /* release: the version comes before the word; pairs with the acquire fence
     * in ips_read_ok. */
    atomic_store_explicit(word, value, memory_order_release);
    return true;
}

void
ips_single_end(ips_segment *segment)
{
    (void)ips_lock_leave(&segment->shm->lock);
}

uint64_t
ips_anchor_load(const ips_segment *segment, enum ips_anchor anchor)
{
    return ips_peek(&ips_heap_of(segment)->anchors[anchor]);
}

int
ips_tx_anchor(ips_segment *segment, enum ips_anchor anchor, uint64_t value)
{
    int status = ips_tx_inside(segment);
    if (status == 0) {
        status = ips_journal_reserve(&segment->journal, 1);
    }
    if (status < 0) {
        return status;
    }
    ips_set(segment, &ips_heap_of(segment)->anchors[anchor], value);
    return IPS_OK;
}
