/* SPDX-License-Identifier: Apache-2.0 */
#include "data/value.h"

#include <stdlib.h>
#include <string.h>

#include "base/atomics.h"
#include "base/checked.h"

void
ips_value_copy_free(ips_value_copy *copy)
{
    free(copy->bytes);
}

int
ips_value_copy_grow(ips_value_copy *copy, size_t size)
{
    uint8_t *bytes = malloc(size);
    if (bytes == NULL) {
        copy->size = 0;
        return ips_fail(IPS_ENOMEM, "a copy of a value of %zu bytes", size);
    }
    copy->bytes = bytes;
    return 0;
}

void
ips_snapshot_clear(ips_snapshot *snapshot)
{
    free(snapshot->bytes);
    *snapshot = (ips_snapshot){0};
}

uint8_t *
ips_snapshot_extend(ips_snapshot *snapshot, size_t size)
{
    if (size > snapshot->capacity - snapshot->size) {
        size_t wanted = snapshot->size + size;
        size_t capacity = wanted + wanted / 2 + 1024;
        uint8_t *bytes = realloc(snapshot->bytes, capacity);
        if (bytes == NULL) {
            (void)ips_fail(IPS_ENOMEM, "a snapshot of %zu bytes", capacity);
            return NULL;
        }
        snapshot->bytes = bytes;
        snapshot->capacity = capacity;
    }
    uint8_t *at = snapshot->bytes + snapshot->size;
    snapshot->size += size;
    return at;
}

/* The place of a new record's bytes, NULL (noted) where there is no memory. */
static uint8_t *
add_record(ips_snapshot *snapshot, uint64_t size, uint8_t kind)
{
    uint8_t *at = ips_snapshot_extend(snapshot, 8 + ips_align_up(size, 8));
    if (at == NULL) {
        return NULL;
    }
    uint64_t word = ips_value_word(size, kind);
    memcpy(at, &word, 8);
    snapshot->records++;
    return at + 8;
}

int
ips_snapshot_put(ips_snapshot *snapshot, const void *bytes, size_t size, uint8_t kind)
{
    uint8_t *at = add_record(snapshot, size, kind);
    if (at != NULL && size != 0) {
        memcpy(at, bytes, size);
    }
    return at != NULL ? 0 : IPS_ENOMEM;
}

int
ips_snapshot_add(ips_snapshot *snapshot, const void *shared_bytes, uint64_t size, uint8_t kind)
{
    uint8_t *at = add_record(snapshot, size, kind);
    if (at != NULL) {
        ips_copy_racing(at, shared_bytes, size);
    }
    return at != NULL ? 0 : IPS_ENOMEM;
}

bool
ips_snapshot_next(const ips_snapshot *snapshot, size_t *at, ips_value *out)
{
    if (*at + 8 > snapshot->size) {
        return false;
    }
    uint64_t word;
    memcpy(&word, snapshot->bytes + *at, 8);
    out->bytes = snapshot->bytes + *at + 8;
    out->size = ips_value_word_size(word);
    out->kind = ips_value_word_kind(word);
    *at += 8 + ips_align_up(out->size, 8);
    return true;
}
