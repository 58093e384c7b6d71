/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/view.h"

#include "segment/handle.h"

ips_view *
ips_view_find(ips_segment *segment)
{
    uint64_t me = ips_segment_thread();
    for (uint32_t i = 0; i < IPS_VIEWS; i++) {
        /* relaxed: only our own store can make it equal. */
        if (atomic_load_explicit(&segment->views[i].thread, memory_order_relaxed) == me) {
            return &segment->views[i];
        }
    }
    return NULL;
}

bool
ips_view_holds(const ips_segment *segment, const ips_view *view)
{
    /* After what was read; pairs with the release fence in ips_commit_count. */
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&segment->shm->commits, memory_order_relaxed) == view->commits;
}

int
ips_view_conflict(const ips_segment *segment)
{
    return ips_fail(IPS_ECONFLICT, "segment '%s': what was read in this block is no longer so; "
                    "read it again", ips_segment_title(segment));
}

bool
ips_view_begin(ips_segment *segment, int64_t deadline, uint32_t *number)
{
    if (ips_tx_is_mine(segment) || ips_view_of_mine(segment) != NULL) {
        return false;
    }
    uint64_t me = ips_segment_thread();
    for (uint32_t i = 0; i < IPS_VIEWS; i++) {
        ips_view *view = &segment->views[i];
        uint64_t nobody = 0;
        /* acquire: pairs with the release in ips_view_end, of another thread. */
        if (atomic_compare_exchange_strong_explicit(&view->thread, &nobody, me,
                                                    memory_order_acquire, memory_order_relaxed)) {
            view->deadline = deadline;
            /* acquire: before anything is read; what this many commits changed
             * is odd or settled by then.  Pairs with the release fence in
             * ips_commit_count. */
            view->commits = atomic_load_explicit(&segment->shm->commits, memory_order_acquire);
            /* relaxed: this thread is the one that asks. */
            (void)atomic_fetch_add_explicit(&segment->open_views, 1, memory_order_relaxed);
            *number = i;
            return true;
        }
    }
    return false;
}

void
ips_view_end(ips_segment *segment, uint32_t number)
{
    /* relaxed: as in ips_view_begin. */
    (void)atomic_fetch_sub_explicit(&segment->open_views, 1, memory_order_relaxed);
    /* release: its words are done with; pairs with the acquire in ips_view_begin. */
    atomic_store_explicit(&segment->views[number].thread, 0, memory_order_release);
}

bool
ips_view_is_open(ips_segment *segment)
{
    return ips_view_of_mine(segment) != NULL;
}

bool
ips_view_is_mine(const ips_segment *segment, uint32_t number)
{
    /* relaxed: only our own store can make it equal. */
    return atomic_load_explicit(&segment->views[number].thread, memory_order_relaxed) ==
           ips_segment_thread();
}
