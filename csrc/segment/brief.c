/* SPDX-License-Identifier: Apache-2.0 */
/* A few words of one object, changed as a transaction of their own: through the
 * journal, but without what a transaction of any length needs besides
 * (savepoints, memory, words known to be journaled, blocks to be freed).
 *
 * The shared bytes are those of segment/journal.h and so is the order of stores:
 * lock; entries and the version's place in the list; mark ACTIVE; version odd;
 * the words; mark COMMITTED; commits + 1; version even; mark IDLE; unlock.  A
 * survivor finds nothing that it would not find of another transaction; the list
 * may stay as it is, since beside IDLE it means nothing. */
#include "base/atomics.h"
#include "segment/handle.h"

bool
ips_brief_begin(ips_segment *segment)
{
    ips_owner me = ips_space_self(segment->object->space);
    if (me == IPS_NOBODY || segment->read_only || ips_view_of_mine(segment) != NULL ||
        !ips_lock_try(&segment->shm->lock, me)) {
        return false;
    }
    const ips_journal_shm *shm = &segment->shm->journal;
    /* acquire: pairs with the release of the mark by a dead holder. */
    uint64_t mark = atomic_load_explicit(&shm->mark, memory_order_acquire);
    const uint64_t *splits = shm->splits; /* of a large transaction, and still to be forgotten */
    if (__builtin_expect((mark & IPS_PHASE_BITS) != IPS_PHASE_IDLE || splits[0] != 0, 0)) {
        ips_brief_end(segment);
        return false;
    }
    return true;
}

static void
store_mark(ips_journal_shm *shm, uint64_t words, uint64_t phase)
{
    /* release: after all that it makes valid; pairs with the acquire in
     * ips_journal_take_up. */
    atomic_store_explicit(&shm->mark, words * 8 | phase, memory_order_release);
}

bool
ips_brief_change(ips_segment *segment, ips_offset version, const ips_patch *patches,
    unsigned count)
{
    ips_journal_shm *shm = &segment->shm->journal;
    const ips_journal_extent *area = &segment->journal.extents[0];
    _Atomic uint64_t *at = (_Atomic uint64_t *)ips_segment_at(segment, version, 8);
    /* relaxed: only the lock's holder writes it. */
    uint64_t seen = at == NULL ? 1 : atomic_load_explicit(at, memory_order_relaxed);
    uint64_t used = 0;
    for (unsigned i = 0; i < count; i++) {
        const ips_patch *patch = &patches[i];
        uint8_t *words = ips_segment_at(segment, patch->offset, patch->count * 8);
        if (words == NULL || patch->count + 2 >= area->words - used || (seen & 1) != 0) {
            return false;
        }
        used += ips_journal_put_entry(area->area + used, words, patch->offset, patch->count);
    }
    area->area[area->words - 1] = version;
    /* relaxed: ordered by the release of the mark. */
    atomic_store_explicit(&shm->touched, 1, memory_order_relaxed);
    store_mark(shm, used, IPS_PHASE_ACTIVE);
    atomic_signal_fence(memory_order_seq_cst); /* the mark before the version */
    atomic_store_explicit(at, seen + 1, memory_order_relaxed);
    /* Odd before any store that follows; pairs with the acquire fence in
     * ips_read_ok. */
    atomic_thread_fence(memory_order_release);
    for (unsigned i = 0; i < count; i++) {
        ips_journal_put_words(segment->base + patches[i].offset, patches[i].words,
            patches[i].count);
    }
    store_mark(shm, 0, IPS_PHASE_COMMITTED);
    atomic_signal_fence(memory_order_seq_cst); /* nothing that follows happens before it */
    ips_commit_count(segment);
    /* release: after the words; pairs with the acquire in ips_read_begin. */
    atomic_store_explicit(at, seen + 2, memory_order_release);
    store_mark(shm, 0, IPS_PHASE_IDLE);
    return true;
}

void
ips_brief_end(ips_segment *segment)
{
    (void)ips_lock_leave(&segment->shm->lock);
}
