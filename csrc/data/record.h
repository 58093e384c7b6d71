/* SPDX-License-Identifier: Apache-2.0 */
/* A record: fields of declared types, after a layout that may change while
 * programs use it.
 *
 * Byte map of the root (64 bytes):
 *
 *   0    root       24  data/types.h; `version` guards everything below, the
 *                        body and what its slots lead to
 *   24   body        8  block with the fields, laid out as the layout says
 *   32   layout      8  data/layouts.h
 *   40   hash        8  the layout's
 *   48   reserved   16
 *
 * A slot's value of more than 8 bytes lies in a block of its own.
 *
 * Who writes: under the segment's lock, inside a transaction, through the
 * journal, after raising the version; or one word of the body without the
 * journal where that is the whole transaction (segment/segment.h).  An upgrade
 * fills a new body, into which it moves the slots, and publishes body, layout
 * and hash with one journaled write.
 *
 * A reader without the lock: version (even); body and hash are still those
 * that it knows; words of the body; version again, and the root's generation.
 * Where the body is another, the layout is read anew.  A survivor of a killed
 * transaction finds all of it as before. */
#ifndef IPS_DATA_RECORD_H
#define IPS_DATA_RECORD_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "codec/schema.h"
#include "data/types.h"
#include "data/value.h"
#include "segment/segment.h"

typedef struct {
    ips_root_shm root;
    _Atomic uint64_t body;
    _Atomic uint64_t layout;
    _Atomic uint64_t hash;
    uint64_t reserved[2];
} ips_record_shm;

_Static_assert(sizeof(ips_record_shm) == 64, "byte map above");
_Static_assert(offsetof(ips_record_shm, body) == 24, "byte map above");
_Static_assert(offsetof(ips_record_shm, hash) == 40, "byte map above");

/* Process-local handle; a plain value.  `body` to `at` are what was seen last
 * (ips_record_attach). */
typedef struct {
    ips_segment *segment;
    ips_record_shm *shm;
    ips_offset offset;
    uint64_t generation;
    ips_offset body; /* 0: none seen yet */
    uint64_t hash;
    uint32_t size;   /* of the body */
    uint8_t *at;
} ips_record;

/* Successes with news. */
enum {
    IPS_RECORD_BUSY = 32,    /* look under the lock */
    IPS_RECORD_CHANGED = 33, /* it has another body or layout now: attach again */
};

/* One field to be read or written: `size` bytes of the body from `offset` on,
 * or a slot there. */
typedef struct {
    uint32_t offset, size;
    bool slot;
} ips_record_part;

/* --- no transaction needed */

/* IPS_ECORRUPT where no record can be at `offset`. */
IPS_MUST_CHECK int ips_record_open(ips_segment *segment, ips_offset offset, uint64_t generation,
    ips_record *out);
/* The descriptor as it is now, in *layout (malloc'd, *size bytes), and the
 * body it belongs to into the handle.  0, IPS_RECORD_BUSY or an error. */
IPS_MUST_CHECK int ips_record_attach(ips_record *record, uint8_t **layout, size_t *size);

/* False where none was seen yet.  relaxed: the version around them is validated. */
static inline bool
ips_record_is_as_seen(const ips_record *record)
{
    return record->body != 0 &&
           atomic_load_explicit(&record->shm->body, memory_order_relaxed) == record->body &&
           atomic_load_explicit(&record->shm->hash, memory_order_relaxed) == record->hash;
}

/* A few words of the body.  False: ips_record_read finds out why not. */
static inline bool
ips_record_peek(const ips_record *record, uint32_t offset, unsigned count, uint64_t *out)
{
    const ips_record_shm *shm = record->shm;
    const _Atomic uint64_t *words = (const _Atomic uint64_t *)(const void *)(record->at + offset);
    /* acquire: pairs with the releases in ips_journal_settle_versions and
     * ips_single_store. */
    const uint64_t seen = atomic_load_explicit(&shm->root.version, memory_order_acquire);
    if ((seen & 1) != 0 || !ips_record_is_as_seen(record)) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) { /* relaxed: the version is looked at again */
        out[i] = atomic_load_explicit(&words[i], memory_order_relaxed);
    }
    return ips_root_lives(&shm->root, record->generation) &&
           ips_read_ok(record->segment, record->offset, seen) &&
           ips_root_lives(&shm->root, record->generation);
}

/* The parts as records of `out`, all of one state: for a slot its value and
 * kind.  0, IPS_RECORD_BUSY, IPS_RECORD_CHANGED or an error. */
IPS_MUST_CHECK int ips_record_read(const ips_record *record, const ips_record_part *parts,
    uint32_t count, ips_snapshot *out);

/* The value of one slot.  As ips_record_read. */
IPS_MUST_CHECK int ips_record_slot(const ips_record *record, uint32_t offset, ips_value_copy *out);

/* A change of at most 8 bytes inside one word (for a slot of its second word,
 * where the first is and stays `expected`) as a transaction of its own.
 * False, and nothing happened: ips_record_write in a transaction. */
bool ips_record_poke(const ips_record *record, uint32_t offset, uint32_t size, const void *bytes);
bool ips_record_poke_slot(const ips_record *record, uint32_t offset, const ips_slot *slot);

/* --- inside a transaction; after an error the caller aborts it */

IPS_MUST_CHECK int ips_record_attach_locked(ips_record *record, uint8_t **layout, size_t *size);
IPS_MUST_CHECK int ips_record_read_locked(const ips_record *record, const ips_record_part *parts,
    uint32_t count, ips_snapshot *out);

/* A field's new value: `size` bytes, or a slot's value and kind. */
typedef struct {
    ips_record_part part;
    ips_value value;
} ips_record_change;

/* 0 or IPS_RECORD_CHANGED. */
IPS_MUST_CHECK int ips_record_write(const ips_record *record, const ips_record_change *changes,
    uint32_t count);

/* A new record with these values for all its fields, in order. */
IPS_MUST_CHECK int ips_record_create(ips_segment *segment, const ips_schema *schema,
    const ips_value *values, ips_offset *out);

/* Where a field of the new layout comes from: of the old one, or from a value. */
typedef struct {
    int32_t from; /* index of the old field, or -1 */
    ips_value value;
} ips_record_source;

/* Another layout and body, at once.  `old` is the present one; 0, or
 * IPS_RECORD_CHANGED where it no longer is. */
IPS_MUST_CHECK int ips_record_upgrade(const ips_record *record, const ips_schema *old,
    const ips_schema *schema, const ips_record_source *sources);

/* Frees everything and retires the root. */
IPS_MUST_CHECK int ips_record_destroy(const ips_record *record);

/* Invariants, those of its layout too; one line per problem.  The number of
 * problems, or an error. */
IPS_MUST_CHECK int ips_record_check(const ips_record *record,
    void (*report)(const char *line, void *context), void *context);

#endif
