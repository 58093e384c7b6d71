/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a queue file, which every user of the queue maps.
 *
 *   0                 header, geometry, producers, consumers, waits, done
 *   IPS_QUEUE_TABLES  directory: one word for each slot, backed page by page
 *   extents_offset    extents: one entry for each unit, backed page by page
 *   area_offset       units of IPS_BLOCK bytes: ring blocks and large messages
 *
 * Positions are absolute 64-bit byte positions that only grow.  Position p
 * lies in block sequence p / IPS_BLOCK; the sequence s lies in the unit that
 * directory[s % slots] names.  With t = ceil(tail / IPS_BLOCK) sequences
 * opened so far, the ring owns exactly the units of [t - n, t), n standing in
 * the word of t - 1.  Of them, those below head / IPS_BLOCK are spent.
 *
 * Opening sequence t (under the producers' lock): a spent unit of the n, or
 * one that nobody owns; directory[t] = {unit, n}; a PAD record over the rest
 * of the old block; the new record; then the store of `tail`, which is the
 * only commit.  Killed before it, nothing has happened: t is the same as
 * before, and the next producer does it again.  The block of t - 1 stays as
 * it is until the tail lies in t, so that the records up to the tail can
 * always be counted there (repair of tail_sequence).
 *
 * A record is a 16-byte header and the payload, padded to 16, and never
 * crosses a block.  Messages above IPS_INLINE_MAX lie in extents, named by a
 * record of their own (message/extent.h). */
#ifndef IPS_MESSAGE_LAYOUT_H
#define IPS_MESSAGE_LAYOUT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/header.h"
#include "sync/eventcount.h"
#include "sync/lock.h"

#define IPS_QUEUE_FORMAT 1
#define IPS_QUEUE_TABLES 4096u
#define IPS_TABLE_PAGE 4096u      /* tables get memory in steps of this */
#define IPS_BLOCK 65536u          /* bytes of a ring block, and of a unit */
#define IPS_INLINE_MAX 32768u     /* larger payloads travel in extents */
#define IPS_RECORD_ALIGN 16u
#define IPS_FRAGMENTS 32u         /* extents of one message, at most */
#define IPS_UNITS_MIN 4u          /* two for the ring, two for a large message */
#define IPS_UNITS_MAX (1u << 29)  /* 32 TiB */

/* Record flags.  Bits 2-15 are for leases and deadlines to come. */
enum { IPS_RECORD_PAD = 1, IPS_RECORD_LARGE = 2 };

/* `word` and `sequence` are written before the tail that covers them and
 * never after; atomic because a consumer may look at a record without the
 * lock, and find later that it was gone.
 *
 *   word  bits 0-31  payload bytes
 *         bits 32-39 kind, as the caller gave it
 *         bits 40-47 priority, always 0 yet
 *         bits 48-63 flags
 *   sequence         number of messages put before this one (PAD: 0) */
typedef struct {
    _Atomic uint64_t word;
    _Atomic uint64_t sequence;
} ips_record_shm;

/* Payload of a LARGE record. */
typedef struct {
    uint64_t size; /* of the message */
    uint32_t count;
    uint32_t reserved;
    uint32_t entry[IPS_FRAGMENTS]; /* only `count` of them are in the record */
} ips_large_shm;

/* An extent of a message: units [unit, unit + count).  It lives while one of
 * these holds, else the entry and its units are free:
 *
 *   writer    names a living member that fills it: set before the units are
 *             written, cleared after the tail covers its record
 *   position  its record's position + 1, with head <= position < tail
 *   reader    names a living member that copies it out: set under the
 *             consumers' lock before the head passes its record
 *
 * Entries are chosen and filled in under the producers' lock. */
typedef struct {
    _Atomic uint64_t writer;
    _Atomic uint64_t reader;
    _Atomic uint64_t position;
    _Atomic uint64_t span; /* unit | count << 32 */
} ips_extent_shm;

/* One cache line for those who put; all of it changes under `lock` only. */
typedef struct {
    ips_lock_shm lock;
    _Atomic uint64_t tail;          /* the truth: everything below is published */
    _Atomic uint64_t tail_sequence; /* cache: messages put so far; stored before tail */
    _Atomic uint64_t head_seen;     /* cache: a value that `head_sequence` had */
    /* Units [run_from, run_to) are owned by nobody: allocation goes on here.
     * Moved before a unit is used, so a death only forgets some of it. */
    _Atomic uint32_t run_from;
    _Atomic uint32_t run_to;
    _Atomic uint32_t backed_units;   /* units that have memory; stored after they got it */
    _Atomic uint32_t backed_slots;   /* directory words that have memory */
    _Atomic uint32_t backed_extents; /* extent entries that have memory */
    _Atomic uint32_t extent_hint;    /* where the search for a free entry begins */
    uint8_t reserved[72];
} ips_producers_shm;

/* One cache line for those who get; all of it changes under `lock` only. */
typedef struct {
    ips_lock_shm lock;
    _Atomic uint64_t head;          /* the truth: everything below is consumed */
    _Atomic uint64_t head_sequence; /* cache: messages got so far; stored after head */
    _Atomic uint64_t tail_seen;     /* cache: a value that `tail` had */
    uint8_t reserved[96];
} ips_consumers_shm;

/* Written when somebody parks or wakes somebody, read by all. */
typedef struct {
    ips_eventcount_shm not_empty;
    ips_eventcount_shm not_full;
    ips_eventcount_shm all_done;
    _Atomic uint32_t shutdown; /* IPS_SHUTDOWN_*; only grows */
    uint8_t reserved[112];
} ips_waits_shm;

enum { IPS_SHUTDOWN_NO = 0, IPS_SHUTDOWN_PUTS = 1, IPS_SHUTDOWN_ALL = 2 };

typedef struct {
    ips_header_shm header;     /* 0 */
    /* Geometry: written by the creator before the file has a name. */
    uint64_t maxsize;          /* 128: messages, 0 any number */
    uint64_t max_message;      /* 136: bytes of one, 0 no limit */
    uint64_t extents_offset;   /* 144 */
    uint64_t area_offset;      /* 152 */
    uint32_t units;            /* 160 */
    uint32_t slots;            /* 164: directory words, a power of two >= units */
    uint8_t reserved[88];
    ips_producers_shm producers; /* 256 */
    ips_consumers_shm consumers; /* 384 */
    ips_waits_shm waits;         /* 512 */
    _Atomic uint64_t done;       /* 640: messages declared done, CAS; <= tail_sequence */
    uint8_t reserved2[IPS_QUEUE_TABLES - 648];
} ips_queue_shm;

_Static_assert(sizeof(ips_record_shm) == 16, "byte map above");
_Static_assert(sizeof(ips_large_shm) == 16 + 4 * IPS_FRAGMENTS, "byte map above");
_Static_assert(sizeof(ips_extent_shm) == 32, "byte map above");
_Static_assert(sizeof(ips_producers_shm) == 128, "lines of their own");
_Static_assert(offsetof(ips_producers_shm, reserved) <= 64, "one line is what a put touches");
_Static_assert(sizeof(ips_consumers_shm) == 128, "lines of their own");
_Static_assert(sizeof(ips_waits_shm) == 128, "lines of their own");
_Static_assert(offsetof(ips_queue_shm, producers) == 256, "byte map above");
_Static_assert(offsetof(ips_queue_shm, waits) == 512, "byte map above");
_Static_assert(sizeof(ips_queue_shm) == IPS_QUEUE_TABLES, "byte map above");

#endif
