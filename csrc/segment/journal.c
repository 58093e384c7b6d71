/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/journal.h"

#include <stdlib.h>
#include <string.h>

#include "base/atomics.h"

void
ips_journal_open(ips_journal *journal, uint8_t *base, ips_journal_shm *shm, uint64_t *area,
                 uint64_t words)
{
    memset(journal, 0, sizeof *journal);
    journal->base = base;
    journal->shm = shm;
    journal->extents[0] = (ips_journal_extent){area, words, 0};
    journal->serial = 1; /* 0 marks an unused place of the table */
}

void
ips_journal_close(ips_journal *journal)
{
    free(journal->log);
    journal->log = NULL;
}

static void
store_mark(ips_journal *journal)
{
    /* release: after the entries it makes valid; pairs with the acquire in
     * ips_journal_take_up. */
    atomic_store_explicit(&journal->shm->mark, journal->used * 8 | journal->phase,
                          memory_order_release);
}

/* Where entries go from now on, and how far. */
static void
enter(ips_journal *journal, unsigned number)
{
    const ips_journal_extent *extent = &journal->extents[number];
    /* The first keeps more: the versions touched later need it. */
    uint64_t kept = number == 0 ? extent->words / 8 : IPS_JOURNAL_KEPT;
    journal->last = number;
    journal->hard_end = extent->split + extent->words - (number == 0 ? journal->touched : 0);
    journal->soft_end = journal->hard_end > kept && !journal->frozen ? journal->hard_end - kept : 0;
}

void
ips_journal_freeze(ips_journal *journal, bool frozen)
{
    journal->frozen = frozen;
    enter(journal, journal->last);
}

static int
refuse(const ips_journal *journal)
{
    return journal->read_only
        ? ips_fail(IPS_EREADONLY, "the segment was opened with readonly=True")
        : ips_fail(IPS_ETX, "nothing can be written inside read()");
}

static void
forget_splits(ips_journal *journal, unsigned from)
{
    /* Beyond the last entry they mean nothing, but the next ones may grow
     * past them: so they go before that. */
    uint64_t *splits = journal->shm->splits;
    if ((splits[0] | splits[1] | splits[2] | splits[3] | splits[4] | splits[5]) == 0) {
        return;
    }
    for (unsigned i = from; i < IPS_JOURNAL_EXTENTS; i++) {
        splits[i] = 0;
    }
    atomic_signal_fence(memory_order_seq_cst);
}

/* Room for entries at the end; `used` is in the last extent. */
static uint64_t *
here(const ips_journal *journal)
{
    const ips_journal_extent *extent = &journal->extents[journal->last];
    return extent->area + (journal->used - extent->split);
}

/* Begin a span in which each word needs its entry anew. */
static void
forget_known(ips_journal *journal)
{
    journal->serial++;
    if (journal->serial == 0) {
        memset(journal->known, 0, sizeof journal->known);
        journal->serial = 1;
    }
}

void
ips_journal_begin(ips_journal *journal)
{
    journal->used = 0;
    journal->touched = 0;
    journal->phase = IPS_PHASE_ACTIVE;
    journal->level = 0;
    journal->last_level = 0;
    journal->log_used = 0;
    journal->extending = false;
    journal->frozen = journal->read_only;
    enter(journal, 0);
    forget_known(journal);
    forget_splits(journal, 0);
    /* relaxed: ordered by the release of the mark. */
    atomic_store_explicit(&journal->shm->touched, 0, memory_order_relaxed);
    store_mark(journal);
}

static int
grow_log(ips_journal *journal, uint64_t need)
{
    uint64_t capacity = journal->log_capacity == 0 ? 1024 : journal->log_capacity * 2;
    while (capacity < journal->log_used + need) {
        capacity *= 2;
    }
    uint64_t *log = realloc(journal->log, capacity * 8);
    if (log == NULL) {
        return ips_fail(IPS_ENOMEM, "the log of a nested transaction");
    }
    journal->log = log;
    journal->log_capacity = capacity;
    return IPS_OK;
}

int
ips_journal_too_large(const ips_journal *journal)
{
    return ips_fail(IPS_ETXFULL, "there is no room for more than %llu KiB of its journal; "
                    "commit in smaller parts, or make the segment larger",
                    (unsigned long long)journal->used / 128);
}

static int
reserve_words(ips_journal *journal, uint64_t need)
{
    if (journal->frozen) {
        return refuse(journal);
    }
    uint64_t end = journal->extending ? journal->hard_end : journal->soft_end;
    if (journal->used + need > end) {
        int status = journal->extending ? ips_journal_too_large(journal)
                                        : journal->extend(journal->owner, need);
        if (status < 0) {
            return status;
        }
    }
    if (journal->level != 0 && need > journal->log_capacity - journal->log_used) {
        return grow_log(journal, need);
    }
    return IPS_OK;
}

int
ips_journal_reserve_slow(ips_journal *journal, uint64_t stores)
{
    return reserve_words(journal, stores * 2);
}

void
ips_journal_note_word(ips_journal *journal, uint64_t offset, ips_journal_known *known)
{
    uint64_t old;
    memcpy(&old, journal->base + offset, 8);
    if (known->offset != offset || known->serial != journal->serial) {
        uint64_t *entry = here(journal);
        entry[0] = old;
        entry[1] = offset;
        journal->used += 2;
        store_mark(journal);
        known->offset = offset;
        known->serial = journal->serial;
        known->level = 0;
    }
    if (known->level < journal->level) {
        journal->log[journal->log_used] = old;
        journal->log[journal->log_used + 1] = offset;
        journal->log_used += 2;
        known->level = journal->level;
    }
}

static void
store_words(uint8_t *target, const uint8_t *bytes, size_t size)
{
    ips_journal_put_words(target, bytes, size / 8);
    size_t rest = size % 8;
    if (rest != 0) {
        _Atomic uint64_t *last = (_Atomic uint64_t *)(void *)(target + size - rest);
        /* relaxed: as in ips_journal_put_words. */
        uint64_t word = atomic_load_explicit(last, memory_order_relaxed);
        memcpy(&word, bytes + size - rest, rest);
        atomic_store_explicit(last, word, memory_order_relaxed);
    }
}

int
ips_journal_write(ips_journal *journal, uint64_t offset, const void *bytes, size_t size)
{
    uint64_t count = (size + 7) / 8;
    if (count == 0) {
        return IPS_OK;
    }
    if (count == 1) {
        uint64_t word;
        memcpy(&word, journal->base + offset, 8);
        memcpy(&word, bytes, size);
        int status = ips_journal_reserve(journal, 1);
        if (status == 0) {
            ips_journal_set(journal, (uint64_t *)(journal->base + offset), word);
        }
        return status;
    }
    int status = reserve_words(journal, count + 2);
    if (status < 0) {
        return status;
    }
    journal->used += ips_journal_put_entry(here(journal), journal->base + offset, offset, count);
    store_mark(journal);
    if (journal->level != 0) {
        journal->log_used += ips_journal_put_entry(journal->log + journal->log_used,
                                                   journal->base + offset, offset, count);
    }
    atomic_signal_fence(memory_order_seq_cst); /* entry and mark first */
    store_words(journal->base + offset, bytes, size);
    return IPS_OK;
}

int
ips_journal_touch(ips_journal *journal, uint64_t offset)
{
    _Atomic uint64_t *version = (_Atomic uint64_t *)(journal->base + offset);
    /* relaxed: only the lock's holder writes it. */
    uint64_t seen = atomic_load_explicit(version, memory_order_relaxed);
    if ((seen & 1) != 0) {
        return IPS_OK; /* in this transaction, or in a damaged past: even at its end */
    }
    if (journal->frozen) {
        return refuse(journal);
    }
    /* The list is at the area's end, wherever the entries have got to. */
    const ips_journal_extent *area = &journal->extents[0];
    uint64_t entries = journal->last == 0 ? journal->used : journal->extents[1].split;
    if (entries + journal->touched + IPS_JOURNAL_KEPT / 2 >= area->words) {
        return ips_journal_too_large(journal);
    }
    journal->touched++;
    area->area[area->words - journal->touched] = offset;
    if (journal->last == 0) {
        enter(journal, 0); /* less room for entries */
    }
    /* release: the list entry first; pairs with ips_journal_take_up. */
    atomic_store_explicit(&journal->shm->touched, journal->touched, memory_order_release);
    atomic_signal_fence(memory_order_seq_cst); /* listed before odd */
    atomic_store_explicit(version, seen + 1, memory_order_relaxed);
    /* Odd before any store that follows; pairs with the acquire fence in
     * ips_read_ok. */
    atomic_thread_fence(memory_order_release);
    return IPS_OK;
}

/* May a journal name these words? */
static bool
may_change(const ips_journal *journal, uint64_t offset, uint64_t count)
{
    bool fixed = offset >= journal->fixed_start && offset < journal->fixed_end &&
                 count <= (journal->fixed_end - offset) / 8;
    bool heap = offset >= journal->heap_start && offset < journal->heap_end &&
                count <= (journal->heap_end - offset) / 8;
    return offset % 8 == 0 && count != 0 && (fixed || heap);
}

void
ips_journal_settle_versions(ips_journal *journal)
{
    for (uint64_t i = 1; i <= journal->touched; i++) {
        uint64_t offset = ips_peek(&journal->extents[0].area[journal->extents[0].words - i]);
        if (!may_change(journal, offset, 1)) {
            continue; /* spoilt since it was listed */
        }
        _Atomic uint64_t *version = (_Atomic uint64_t *)(journal->base + offset);
        /* relaxed: only the lock's holder writes it. */
        uint64_t seen = atomic_load_explicit(version, memory_order_relaxed);
        if ((seen & 1) != 0) {
            /* release: after all stores of the transaction, or of its undoing;
             * pairs with the acquire in ips_read_begin. */
            atomic_store_explicit(version, seen + 1, memory_order_release);
        }
    }
    journal->touched = 0;
    /* release: the versions are even before the list is forgotten. */
    atomic_store_explicit(&journal->shm->touched, 0, memory_order_release);
}

void
ips_journal_commit(ips_journal *journal)
{
    journal->used = 0;
    journal->phase = IPS_PHASE_COMMITTED;
    forget_known(journal);
    enter(journal, 0);
    store_mark(journal);
    atomic_signal_fence(memory_order_seq_cst); /* nothing that follows happens before it */
    forget_splits(journal, 0);
}

void
ips_journal_end(ips_journal *journal)
{
    journal->used = 0;
    journal->phase = IPS_PHASE_IDLE;
    store_mark(journal);
}

typedef struct {
    uint64_t offset, count, start; /* `start`: index of its first old value */
} entry;

/* The entry that ends before `end`; false where none can. */
static bool
read_entry(const ips_journal *journal, const uint64_t *area, uint64_t end, entry *out)
{
    if (end < 2) {
        return false;
    }
    uint64_t last = ips_peek(&area[end - 1]);
    uint64_t count = 1;
    uint64_t trailer = 1;
    if ((last & IPS_RANGE_BIT) != 0) {
        count = ips_peek(&area[end - 2]);
        trailer = 2;
    }
    if (count > end - trailer || !may_change(journal, last & ~IPS_RANGE_BIT, count)) {
        return false;
    }
    out->offset = last & ~IPS_RANGE_BIT;
    out->count = count;
    out->start = end - trailer - count;
    return true;
}

static void
undo_entries(const ips_journal *journal, const uint64_t *area, uint64_t from, uint64_t end)
{
    entry each;
    while (end > from && read_entry(journal, area, end, &each)) {
        store_words(journal->base + each.offset, (const uint8_t *)(area + each.start),
                    each.count * 8);
        end = each.start;
    }
}

/* All of an extent's entries make sense? */
static bool
entries_are_sound(const ips_journal *journal, const uint64_t *area, uint64_t end)
{
    while (end > 0) {
        entry each;
        if (!read_entry(journal, area, end, &each)) {
            return false;
        }
        end = each.start;
    }
    return true;
}

/* Find the extents that hold the first *used words of entries, and check
 * them.  *used becomes what is not undone yet. */
static int
take_up_extents(ips_journal *journal, uint64_t *used, uint64_t area_words)
{
    journal->last = 0;
    for (unsigned i = 0; i < IPS_JOURNAL_EXTENTS; i++) {
        ips_journal_extent *extent = &journal->extents[i + 1];
        uint64_t split = ips_peek(&journal->shm->splits[i]);
        if (split == 0 || split >= *used) {
            break;
        }
        if (!journal->find_extent(journal->owner, i, extent)) {
            *used = split; /* undone up to here by one who died at it */
            break;
        }
        extent->split = split;
        journal->last = i + 1;
    }
    uint64_t end = *used;
    for (unsigned i = journal->last + 1; i-- > 0;) {
        const ips_journal_extent *extent = &journal->extents[i];
        uint64_t words = i == 0 ? area_words : extent->words;
        if (extent->split > end || end - extent->split > words ||
            !entries_are_sound(journal, extent->area, end - extent->split)) {
            return ips_fail(IPS_ECORRUPT, "the journal's entries make no sense");
        }
        end = extent->split;
    }
    return IPS_OK;
}

int
ips_journal_take_up(ips_journal *journal, uint64_t *phase)
{
    /* acquire: pairs with store_mark and with the touched store of the dead;
     * the proof of death has put a fence in between as well. */
    uint64_t mark = atomic_load_explicit(&journal->shm->mark, memory_order_acquire);
    uint64_t touched = atomic_load_explicit(&journal->shm->touched, memory_order_acquire);
    uint64_t used = mark / 8;
    *phase = mark & IPS_PHASE_BITS;
    if (*phase == IPS_PHASE_IDLE) {
        return IPS_OK;
    }
    const ips_journal_extent *area = &journal->extents[0];
    if (*phase > IPS_PHASE_COMMITTED || touched > area->words) {
        return ips_fail(IPS_ECORRUPT, "the journal's mark is %llx with %llu versions",
                        (unsigned long long)mark, (unsigned long long)touched);
    }
    for (uint64_t i = 1; i <= touched; i++) {
        if (!may_change(journal, area->area[area->words - i], 1)) {
            return ips_fail(IPS_ECORRUPT, "the journal lists a version outside the segment");
        }
    }
    int status = take_up_extents(journal, &used, area->words - touched);
    if (status < 0) {
        return status;
    }
    journal->used = used;
    journal->touched = touched;
    journal->phase = *phase;
    journal->level = 0;
    journal->log_used = 0;
    journal->extending = false;
    journal->frozen = false;
    enter(journal, journal->last);
    forget_known(journal);
    return IPS_OK;
}

void
ips_journal_undo(ips_journal *journal)
{
    uint64_t used = journal->used;
    for (unsigned i = journal->last + 1; i-- > 0;) {
        const ips_journal_extent *extent = &journal->extents[i];
        undo_entries(journal, extent->area, 0, used - extent->split);
        used = extent->split;
    }
}

void
ips_journal_enter_extent(ips_journal *journal, uint64_t *area, uint64_t words)
{
    unsigned number = journal->last + 1;
    journal->extents[number] = (ips_journal_extent){area, words, journal->used};
    atomic_signal_fence(memory_order_seq_cst); /* its offset first */
    journal->shm->splits[number - 1] = journal->used;
    atomic_signal_fence(memory_order_seq_cst); /* before the first entry in it */
    enter(journal, number);
}

void
ips_savepoint_set(ips_journal *journal, ips_savepoint *savepoint)
{
    savepoint->log_used = journal->log_used;
    savepoint->used = journal->used;
    savepoint->last = journal->last;
    savepoint->outer = journal->level;
    journal->last_level++;
    journal->level = journal->last_level;
}

void
ips_savepoint_release(ips_journal *journal, const ips_savepoint *savepoint)
{
    /* Its entries go on serving the level around it. */
    journal->level = savepoint->outer;
    if (journal->level == 0) {
        journal->log_used = 0;
    }
}

void
ips_savepoint_undo(ips_journal *journal, const ips_savepoint *savepoint)
{
    undo_entries(journal, journal->log, savepoint->log_used, journal->log_used);
    journal->log_used = savepoint->log_used;
    journal->level = savepoint->outer;
    /* The words are as their entries say: those since then may go, extents
     * with them (the log has just given their chunks back). */
    atomic_signal_fence(memory_order_seq_cst);
    journal->used = savepoint->used;
    enter(journal, savepoint->last);
    store_mark(journal);
    atomic_signal_fence(memory_order_seq_cst);
    forget_splits(journal, savepoint->last);
    forget_known(journal);
}
