/* SPDX-License-Identifier: Apache-2.0 */
/* A segment's file, and the words at its start.
 *
 *   0       ips_header_shm            base/header.h
 *   128     ips_segment_shm           below
 *   2688    journal area              segment/journal.h
 *   ...     heap, up to heap.size     segment/chunk.h, heap.h, stable.h
 *   ...     nothing yet, up to the header's max_size: mapped, not backed
 *
 * Byte map of ips_segment_shm (offsets from its start):
 *
 *   0     lock          8  sync/lock.h; alone on its line
 *   64    journal_size  8  bytes of the area; constant
 *   72    first_size    8  bytes of the file at creation; constant
 *   80    serial        8  last number given out as somebody's generation or
 *                          place in the order; only grows, never journaled
 *   88    deferring     8  block whose tag is being changed to PENDING
 *   96    top           8  largest heap.size there ever was: the file has that
 *                          much memory even where a growth was undone; only
 *                          grows, never journaled
 *   104   commits       8  raised by each commit, before anybody can see what it
 *                          changed (segment/view.h); only grows, never journaled
 *   112   since         8  when the open transaction said that it may last: ns of
 *                          the monotonic clock; 0: none, or one of a moment
 *   120   thread        8  ips_thread_ident of the thread that said so
 *   128   journal      64  segment/journal.h
 *   192   heap       2240  below
 *   2432  catalogue    64  segment/catalogue.h
 *
 * Byte map of ips_heap_shm, all of it journaled:
 *
 *   0     size          8  end of the heap = bytes of the file in use
 *   8     used          8  bytes of allocated blocks, tags included
 *   16    overhead      8  bytes of heads and leftovers of runs and cell chunks
 *   24    blocks        8  allocated blocks and cells
 *   32    last          8  the chunk that ends at `size`
 *   40    deferred      8  last block freed by the open transaction, 0: none
 *   48    bin_map      16  bit b: bin b is not empty
 *   64    bins       1024  first free chunk by size
 *   1088  runs        256  first run with room by class
 *   1344  stable      512  first free cell by type
 *   1856  extents      48  chunks the journal goes on in, segment/journal.h
 *   1904  reserved    272
 *   2176  anchors      64  one word for each upper room that keeps something of
 *                          the whole segment: ips_anchor of segment/segment.h
 *
 * Who writes: `serial`, `deferring`, `top`, `commits`, `since` and `thread` the
 * lock's holder, plainly; the rest as the headers named say.  A dead holder's
 * `since` is cleared by whoever holds the lock next.  The constants are checked and copied to private
 * memory at open and used from there. */
#ifndef IPS_SEGMENT_LAYOUT_H
#define IPS_SEGMENT_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include "base/header.h"
#include "segment/catalogue.h"
#include "segment/journal.h"
#include "segment/segment.h"
#include "sync/lock.h"

#define IPS_BINS 128u
#define IPS_CLASSES 32u
#define IPS_SEGMENT_FORMAT 1

typedef struct {
    uint64_t size;
    uint64_t used;
    uint64_t overhead;
    uint64_t blocks;
    uint64_t last;
    uint64_t deferred;
    uint64_t bin_map[IPS_BINS / 64];
    uint64_t bins[IPS_BINS];
    uint64_t runs[IPS_CLASSES];
    uint64_t stable[IPS_STABLE_TYPES];
    uint64_t extents[IPS_JOURNAL_EXTENTS];
    uint64_t reserved[34];
    uint64_t anchors[IPS_ANCHORS];
} ips_heap_shm;

typedef struct {
    ips_lock_shm lock;
    uint64_t lock_line[7];
    uint64_t journal_size;
    uint64_t first_size;
    uint64_t serial;
    uint64_t deferring;
    uint64_t top;
    _Atomic uint64_t commits;
    _Atomic uint64_t since;
    _Atomic uint64_t thread;
    ips_journal_shm journal;
    ips_heap_shm heap;
    ips_catalogue_shm catalogue;
} ips_segment_shm;

#define IPS_SEGMENT_AT 128u
#define IPS_JOURNAL_AT 2688u

_Static_assert(sizeof(ips_heap_shm) == 2240, "byte map above");
_Static_assert(offsetof(ips_heap_shm, bin_map) == 48, "byte map above");
_Static_assert(offsetof(ips_heap_shm, bins) == 64, "byte map above");
_Static_assert(offsetof(ips_heap_shm, runs) == 1088, "byte map above");
_Static_assert(offsetof(ips_heap_shm, stable) == 1344, "byte map above");
_Static_assert(offsetof(ips_heap_shm, anchors) == 2176, "byte map above");
_Static_assert(offsetof(ips_segment_shm, journal_size) == 64, "byte map above");
_Static_assert(offsetof(ips_segment_shm, commits) == 104, "byte map above");
_Static_assert(offsetof(ips_segment_shm, journal) == 128, "byte map above");
_Static_assert(offsetof(ips_segment_shm, heap) == 192, "byte map above");
_Static_assert(offsetof(ips_segment_shm, catalogue) == 2432, "byte map above");
_Static_assert(IPS_SEGMENT_AT + sizeof(ips_segment_shm) <= IPS_JOURNAL_AT, "byte map above");
_Static_assert(IPS_JOURNAL_AT % 64 == 0, "the heap's chunks are 64-aligned");

#endif
