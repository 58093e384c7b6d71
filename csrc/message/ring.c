/* SPDX-License-Identifier: Apache-2.0 */
#include "message/ring.h"

#include "message/units.h"

/* A consumer counts a block while producers go on; each time it is overtaken
 * the head lies below the tail, which needs no counting. */
#define MEND_ATTEMPTS 3

static int
damaged(const ips_ring *ring, const char *what, uint64_t position)
{
    return ips_fail(IPS_ECORRUPT, "queue '%s': %s at position %llu", ips_ring_name(ring), what,
                    (unsigned long long)position);
}

int
ips_ring_slot(const ips_ring *ring, uint64_t sequence, uint64_t *word)
{
    uint64_t slot = sequence & (ring->slots - 1);
    if (!ips_ring_backs(ring, IPS_QUEUE_TABLES + slot * 8, 8)) {
        return damaged(ring, "no directory", sequence * IPS_BLOCK);
    }
    /* relaxed: ordered by the tail that says the sequence is open. */
    *word = atomic_load_explicit(&ring->directory[slot], memory_order_relaxed);
    if ((uint32_t)*word >= ring->units) {
        return damaged(ring, "no such unit", sequence * IPS_BLOCK);
    }
    return IPS_OK;
}

int
ips_ring_block(const ips_ring *ring, uint64_t sequence, uint8_t **base)
{
    uint64_t word;
    int status = ips_ring_slot(ring, sequence, &word);
    if (status < 0) {
        return status;
    }
    uint64_t offset = (uint64_t)(uint32_t)word * IPS_BLOCK;
    if (!ips_ring_backs(ring, ring->area_offset + offset, IPS_BLOCK)) {
        return damaged(ring, "a unit without memory", sequence * IPS_BLOCK);
    }
    *base = ring->area + offset;
    return IPS_OK;
}

/* A look without the lock may find bytes that are gone and written anew; it
 * is then found out (message/consumer.c), so that race is none. */
__attribute__((no_sanitize("thread"))) int
ips_ring_read(const ips_ring *ring, uint64_t position, uint64_t limit, ips_record *out)
{
    for (int pads = 0; pads < 2 && position < limit; pads++) {
        uint8_t *base;
        int status = ips_ring_block(ring, position / IPS_BLOCK, &base);
        if (status < 0) {
            return status;
        }
        uint64_t offset = position % IPS_BLOCK;
        if (offset % IPS_RECORD_ALIGN != 0) {
            return damaged(ring, "a crooked position", position);
        }
        ips_record_shm *record = (ips_record_shm *)(base + offset);
        /* relaxed: ordered by the tail; see ips_record_fill. */
        uint64_t word = atomic_load_explicit(&record->word, memory_order_relaxed);
        out->sequence = atomic_load_explicit(&record->sequence, memory_order_relaxed);
        out->size = (uint32_t)word;
        out->kind = (uint8_t)(word >> 32);
        out->flags = (uint16_t)(word >> 48);
        uint64_t need = ips_record_need(out->size);
        if (!ips_within(offset, need, IPS_BLOCK) || !ips_within(position, need, limit)) {
            return damaged(ring, "a record too long", position);
        }
        out->position = position;
        out->next = position + need;
        out->payload = base + offset + sizeof(ips_record_shm);
        if ((out->flags & IPS_RECORD_PAD) == 0) {
            return IPS_OK;
        }
        position += need;
    }
    return damaged(ring, "padding without a record", position);
}

/* How many of the last `opened` sequences are not spent, at least the last
 * (its records count the messages), and how many the ring owns. */
static int
ownership(const ips_ring *ring, uint64_t opened, uint64_t *keep, uint64_t *owned)
{
    /* acquire: what consumers copied out comes before we overwrite it; pairs
     * with the release of the head in message/queue.c. */
    uint64_t head = atomic_load_explicit(&ring->shm->consumers.head, memory_order_acquire);
    *keep = *owned = 0;
    if (head / IPS_BLOCK > opened) {
        return damaged(ring, "the head beyond the tail", head);
    }
    if (opened == 0) {
        return IPS_OK;
    }
    uint64_t last;
    int status = ips_ring_slot(ring, opened - 1, &last);
    if (status < 0) {
        return status;
    }
    *owned = last >> 32;
    *keep = opened - head / IPS_BLOCK;
    *keep = *keep == 0 ? 1 : *keep;
    if (*owned < *keep || *owned > ring->units || *owned > opened) {
        return damaged(ring, "a wrong number of blocks", opened * IPS_BLOCK);
    }
    return IPS_OK;
}

static void
store_slot(ips_ring *ring, uint64_t sequence, uint64_t unit, uint64_t owned)
{
    /* relaxed: published by the tail; until then a note to ourselves. */
    atomic_store_explicit(&ring->directory[sequence & (ring->slots - 1)],
                          IPS_DIRECTORY_WORD(unit, owned), memory_order_relaxed);
}

int
ips_ring_trim(ips_ring *ring, uint64_t tail, uint64_t *keep)
{
    uint64_t opened = ips_ring_opened(tail);
    uint64_t owned, last;
    int status = ownership(ring, opened, keep, &owned);
    if (status < 0 || owned == *keep) {
        return status;
    }
    status = ips_ring_slot(ring, opened - 1, &last);
    if (status == 0) {
        store_slot(ring, opened - 1, (uint32_t)last, *keep);
    }
    return status;
}

/* Memory for the directory word of a sequence about to be opened. */
static int
back_slot(ips_ring *ring, uint64_t sequence, bool patient)
{
    ips_producers_shm *producers = &ring->shm->producers;
    uint64_t slot = sequence & (ring->slots - 1);
    /* relaxed: changed under the lock we hold. */
    uint32_t backed = atomic_load_explicit(&producers->backed_slots, memory_order_relaxed);
    if (slot < backed) {
        return IPS_OK;
    }
    if (!patient) {
        return IPS_EAGAIN;
    }
    uint64_t offset = IPS_QUEUE_TABLES + (uint64_t)backed * 8;
    int status = ips_object_back(ring->object, offset, offset + IPS_TABLE_PAGE);
    if (status == 0) {
        /* relaxed: as above. */
        atomic_store_explicit(&producers->backed_slots, backed + IPS_TABLE_PAGE / 8,
                              memory_order_relaxed);
    }
    return status;
}

/* Make the next sequence, number `opened`, ready to be written: *unit. */
static int
open_block(ips_ring *ring, uint64_t tail, bool patient, uint32_t *unit)
{
    uint64_t opened = ips_ring_opened(tail);
    uint64_t keep, owned, word;
    int status = ownership(ring, opened, &keep, &owned);
    if (status == 0) {
        status = back_slot(ring, opened, patient);
    }
    if (status < 0) {
        return status;
    }
    /* A few spent blocks are passed round, warm in the caches; many are given
     * up, and the ring comes down again after a burst. */
    if (owned > keep && owned <= keep + keep / 2 + 2) {
        status = ips_ring_slot(ring, opened - owned, &word);
        if (status == 0) {
            *unit = (uint32_t)word;
            store_slot(ring, opened, *unit, owned);
        }
        return status;
    }
    ips_span span;
    status = owned > keep ? IPS_EAGAIN : ips_units_take_run(ring, 1, &span);
    if (status == IPS_EAGAIN && patient) {
        status = ips_ring_trim(ring, tail, &keep);
        uint32_t spans = 0;
        if (status == 0) {
            status = ips_units_search(ring, tail, keep, 1, &span, &spans);
        }
    }
    if (status == 0) {
        *unit = span.unit;
        store_slot(ring, opened, *unit, keep + 1);
    }
    return status;
}

int
ips_ring_reserve(ips_ring *ring, uint64_t tail, uint64_t need, bool patient, ips_spot *out)
{
    uint64_t offset = tail % IPS_BLOCK;
    uint8_t *base;
    int status;
    if (offset % IPS_RECORD_ALIGN != 0) {
        return damaged(ring, "a crooked tail", tail);
    }
    if (offset != 0) {
        status = ips_ring_block(ring, tail / IPS_BLOCK, &base);
        if (status < 0) {
            return status;
        }
        if (offset + need <= IPS_BLOCK) {
            *out = (ips_spot){tail, base + offset};
            return IPS_OK;
        }
    }
    uint32_t unit = 0;
    status = open_block(ring, tail, patient, &unit);
    if (status < 0) {
        return status;
    }
    if (offset != 0) {
        uint32_t rest = IPS_BLOCK - (uint32_t)offset - (uint32_t)sizeof(ips_record_shm);
        ips_record_fill(base + offset, ips_record_word(rest, 0, IPS_RECORD_PAD), 0);
    }
    if (!ips_ring_backs(ring, ring->area_offset + (uint64_t)unit * IPS_BLOCK, IPS_BLOCK)) {
        return damaged(ring, "a unit without memory", tail);
    }
    *out = (ips_spot){ips_ring_opened(tail) * IPS_BLOCK, ring->area + (uint64_t)unit * IPS_BLOCK};
    return IPS_OK;
}

/* Messages up to `tail`, counted in the last opened block, which begins with
 * a record and is left alone while the tail lies in it. */
static int
count_up_to(const ips_ring *ring, uint64_t tail, uint64_t *sequence)
{
    *sequence = 0;
    if (tail == 0) {
        return IPS_OK;
    }
    uint64_t position = (tail - 1) / IPS_BLOCK * IPS_BLOCK;
    while (position < tail) {
        ips_record record;
        int status = ips_ring_read(ring, position, tail, &record);
        if (status < 0) {
            return status;
        }
        *sequence = record.sequence + 1;
        position = record.next;
    }
    return IPS_OK;
}

int
ips_ring_mend_producers(ips_ring *ring)
{
    ips_producers_shm *producers = &ring->shm->producers;
    /* relaxed: all under the lock that the caller took over, whose proof of
     * death fenced what the dead one stored. */
    uint64_t tail = atomic_load_explicit(&producers->tail, memory_order_relaxed);
    uint64_t sequence;
    int status = count_up_to(ring, tail, &sequence);
    if (status < 0) {
        return status;
    }
    /* relaxed: as above. */
    atomic_store_explicit(&producers->run_to, 0, memory_order_relaxed);
    atomic_store_explicit(&producers->run_from, 0, memory_order_relaxed);
    atomic_store_explicit(&producers->tail_sequence, sequence, memory_order_relaxed);
    return IPS_OK;
}

int
ips_ring_mend_consumers(ips_ring *ring)
{
    ips_consumers_shm *consumers = &ring->shm->consumers;
    ips_producers_shm *producers = &ring->shm->producers;
    /* relaxed: as in ips_ring_mend_producers. */
    uint64_t head = atomic_load_explicit(&consumers->head, memory_order_relaxed);
    uint64_t sequence = 0;
    int status = IPS_OK;
    for (int attempt = 0; attempt < MEND_ATTEMPTS; attempt++) {
        /* acquire: the records below it; pairs with ips_ring_publish. */
        uint64_t tail = atomic_load_explicit(&producers->tail, memory_order_acquire);
        if (head != tail) {
            ips_record record = {0};
            status = ips_ring_read(ring, head, tail, &record);
            sequence = record.sequence;
            break;
        }
        status = count_up_to(ring, tail, &sequence);
        /* acquire: the loads of the count come before; pairs with
         * ips_ring_publish. */
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&producers->tail, memory_order_relaxed) == tail) {
            break;
        }
    }
    if (status < 0) {
        return status;
    }
    /* relaxed: under the lock. */
    atomic_store_explicit(&consumers->head_sequence, sequence, memory_order_relaxed);
    atomic_store_explicit(&consumers->tail_seen, head, memory_order_relaxed);
    return IPS_OK;
}
