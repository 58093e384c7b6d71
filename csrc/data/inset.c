/* SPDX-License-Identifier: Apache-2.0 */
#include "data/inset.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "data/reach.h"
#include "data/report.h"
#include "segment/readout.h"

#define GRAVES_MOST 1000000u

/* relaxed: the segment's lock, but for the holders' words, which say where
 * they are used what orders them. */
#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

static int
corrupt(ips_offset cell, const char *what)
{
    return ips_fail(IPS_ECORRUPT, "SharedArray at offset %llu: %s", (unsigned long long)cell, what);
}

static ips_space *
space_of(ips_segment *segment)
{
    return ips_segment_object(segment)->space;
}

/* The body of a cell that is in use; NULL, not noted, where there is none. */
static ips_inset_shm *
body_of(ips_segment *segment, ips_offset cell)
{
    ips_wide wide;
    ips_stable_wide(segment, cell, IPS_TYPE_ARRAY, "", &wide);
    return wide.shm == NULL || ips_stable_generation(segment, cell, IPS_TYPE_ARRAY) == 0
        ? NULL : (ips_inset_shm *)(void *)wide.shm;
}

/* --- what this process holds: one word in an array for all its handles ------- */

typedef struct hold hold;
struct hold {
    ips_segment *segment; /* of the handles, who keep it mapped */
    ips_offset cell;
    ips_inset_shm *shm;
    uint32_t handles;
    hold *next;
};

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static hold *holds; /* guarded */

static bool
write_holder(ips_inset_shm *shm, ips_owner owner)
{
    for (uint32_t i = 0; i < IPS_INSET_HOLDERS; i++) {
        uint64_t free_word = 0;
        /* acq_rel: what follows is the holder's look at the items; pairs with
         * the acquire in is_held. */
        if (atomic_compare_exchange_strong_explicit(&shm->holders[i], &free_word, owner,
                memory_order_acq_rel, memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

static void
clear_holder(ips_inset_shm *shm, ips_owner owner)
{
    for (uint32_t i = 0; i < IPS_INSET_HOLDERS; i++) {
        uint64_t word = owner;
        /* release: after our last look at the items; pairs with the acquire in
         * is_held. */
        if (atomic_compare_exchange_strong_explicit(&shm->holders[i], &word, 0,
                memory_order_release, memory_order_relaxed)) {
            return;
        }
    }
}

/* Those of the dead are taken back, for others to use. */
static bool
is_held(ips_segment *segment, ips_inset_shm *shm)
{
    bool found = false;
    for (uint32_t i = 0; i < IPS_INSET_HOLDERS; i++) {
        /* acquire: pairs with the release in clear_holder. */
        uint64_t word = atomic_load_explicit(&shm->holders[i], memory_order_acquire);
        if (word != 0 && ips_member_lives(space_of(segment), word, false)) {
            found = true;
        } else if (word != 0) {
            /* relaxed: the proof of death has ordered it. */
            (void)atomic_compare_exchange_strong_explicit(&shm->holders[i], &word, 0,
                memory_order_relaxed, memory_order_relaxed);
        }
    }
    return found;
}

static hold **
find_hold(ips_segment *segment, ips_offset cell)
{
    hold **at = &holds;
    while (*at != NULL && ((*at)->segment != segment || (*at)->cell != cell)) {
        at = &(*at)->next;
    }
    return at;
}

/* One handle more: the first of the process writes its word. */
static int
take_hold(ips_segment *segment, ips_offset cell, ips_inset_shm *shm)
{
    int status = IPS_OK;
    (void)pthread_mutex_lock(&guard);
    hold **at = find_hold(segment, cell);
    if (*at != NULL) {
        (*at)->handles++;
    } else {
        hold *fresh = malloc(sizeof *fresh);
        if (fresh == NULL) {
            status = ips_fail(IPS_ENOMEM, "a handle of a SharedArray");
        } else if (!write_holder(shm, ips_space_self(space_of(segment))) &&
                   (is_held(segment, shm), !write_holder(shm, ips_space_self(space_of(segment))))) {
            free(fresh);
            status = ips_fail(IPS_EMEMBERS, "%u members have the SharedArray open",
                (unsigned)IPS_INSET_HOLDERS);
        } else {
            *fresh = (hold){segment, cell, shm, 1, holds};
            holds = fresh;
        }
    }
    (void)pthread_mutex_unlock(&guard);
    return status;
}

bool
ips_inset_leave(ips_segment *segment, ips_offset cell)
{
    bool was_last = false;
    (void)pthread_mutex_lock(&guard);
    hold **at = find_hold(segment, cell);
    hold *found = *at;
    if (found != NULL && --found->handles == 0) {
        *at = found->next;
        clear_holder(found->shm, ips_space_self(space_of(segment)));
        free(found);
        was_last = true;
    }
    (void)pthread_mutex_unlock(&guard);
    return was_last && !ips_segment_is_read_only(segment) &&
           ips_anchor_load(segment, IPS_ANCHOR_ARRAYS) != 0;
}

static bool
has_heirs(ips_space *space)
{
    bool found = false;
    (void)pthread_mutex_lock(&guard);
    for (const hold *each = holds; each != NULL; each = each->next) {
        found = found || space_of(each->segment) == space;
    }
    (void)pthread_mutex_unlock(&guard);
    return found;
}

static void
inherit(ips_space *space, ips_owner parent, ips_owner child)
{
    (void)parent;
    for (const hold *each = holds; each != NULL; each = each->next) {
        if (space_of(each->segment) == space) {
            (void)write_holder(each->shm, child);
        }
    }
}

/* Another thread of the parent may have had it. */
static void
reset_in_child(void)
{
    (void)pthread_mutex_init(&guard, NULL);
}

static void
install(void)
{
    static const ips_fork_hook hook = {has_heirs, inherit};
    (void)pthread_atfork(NULL, NULL, reset_in_child);
    ips_space_on_fork(&hook);
}

void
ips_inset_install(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, install);
}

/* --- inside a transaction ---------------------------------------------------- */

static uint8_t *
align(uint8_t *block, ips_offset offset)
{
    return block + (ips_align_up(offset, IPS_INSET_ALIGNMENT) - offset);
}

int
ips_inset_create(ips_segment *segment, const ips_array_kind *kind, ips_offset *out)
{
    ips_offset items;
    void *block;
    int status = ips_inset_reap(segment);
    if (status == 0) {
        status = ips_fresh_block(segment, kind->size + IPS_INSET_ALIGNMENT, &items, &block);
    }
    if (status == 0) {
        status = ips_stable_alloc(segment, IPS_TYPE_ARRAY, out);
    }
    ips_inset_shm *shm = status < 0 ? NULL : body_of(segment, *out);
    if (shm == NULL) {
        return status < 0 ? status : corrupt(*out, "no cell was made");
    }
    memset(block, 0, kind->size + IPS_INSET_ALIGNMENT);
    shm->items = items;
    shm->ndim = kind->ndim;
    shm->itemsize = kind->itemsize;
    shm->order = (uint32_t)kind->order;
    shm->dtype_size = (uint32_t)strlen(kind->dtype);
    shm->format_size = (uint32_t)strlen(kind->format);
    memcpy(shm->shape, kind->shape, sizeof shm->shape);
    memcpy(shm->text, kind->dtype, shm->dtype_size);
    memcpy(shm->text + shm->dtype_size, kind->format, shm->format_size);
    ips_fresh_ready();
    return IPS_OK;
}

/* Each field is read once; NULL where they cannot be an array's. */
static uint8_t *
read_kind(ips_segment *segment, const ips_inset_shm *shm, ips_array_kind *out)
{
    const uint32_t dtype_size = shm->dtype_size, format_size = shm->format_size;
    const ips_offset items = shm->items;
    memset(out, 0, sizeof *out);
    out->ndim = shm->ndim;
    out->itemsize = shm->itemsize;
    out->order = (char)shm->order;
    if (out->ndim > IPS_ARRAY_DIMENSIONS || out->itemsize == 0 ||
        (out->order != 'C' && out->order != 'F') || dtype_size > IPS_ARRAY_TEXT ||
        format_size > IPS_ARRAY_TEXT - dtype_size) {
        return NULL;
    }
    memcpy(out->shape, shm->shape, out->ndim * sizeof out->shape[0]);
    memcpy(out->dtype, shm->text, dtype_size);
    memcpy(out->format, shm->text + dtype_size, format_size);
    if (ips_array_measure(out) < 0 || items % 16 != 0 ||
        ips_block_size(segment, items) < out->size + IPS_INSET_ALIGNMENT) {
        return NULL;
    }
    uint8_t *block = ips_segment_at(segment, items, out->size + IPS_INSET_ALIGNMENT);
    return block == NULL ? NULL : align(block, items);
}

int
ips_inset_hold(ips_segment *segment, ips_offset cell, uint64_t generation, ips_array_kind *kind,
    uint8_t **items)
{
    ips_inset_shm *shm = body_of(segment, cell);
    if (shm == NULL || ips_stable_generation(segment, cell, IPS_TYPE_ARRAY) != generation) {
        return ips_root_gone(IPS_TYPE_ARRAY);
    }
    *items = read_kind(segment, shm, kind);
    return *items == NULL ? corrupt(cell, "a senseless shape") : take_hold(segment, cell, shm);
}

/* Free all of it, at commit. */
static int
bury(ips_segment *segment, ips_offset cell, const ips_inset_shm *shm)
{
    int status = ips_tx_free(segment, shm->items);
    return status < 0 ? status : ips_stable_free(segment, cell);
}

static int
hang(ips_segment *segment, ips_offset cell)
{
    ips_offset grave;
    void *at;
    int status = ips_fresh_block(segment, sizeof(ips_inset_grave_shm), &grave, &at);
    if (status < 0) {
        return status;
    }
    ips_inset_grave_shm *shm = at;
    /* relaxed: nobody else knows the block until ips_fresh_ready. */
    atomic_store_explicit(&shm->next, ips_anchor_load(segment, IPS_ANCHOR_ARRAYS),
        memory_order_relaxed);
    atomic_store_explicit(&shm->cell, cell, memory_order_relaxed);
    ips_fresh_ready();
    return ips_tx_anchor(segment, IPS_ANCHOR_ARRAYS, grave);
}

int
ips_inset_destroy(ips_segment *segment, ips_offset cell)
{
    ips_inset_shm *shm = body_of(segment, cell);
    if (shm == NULL) {
        return corrupt(cell, "no cell is there");
    }
    int status = ips_inset_reap(segment);
    return status < 0               ? status
           : is_held(segment, shm) ? hang(segment, cell)
                                    : bury(segment, cell, shm);
}

/* `link` is the grave's predecessor, 0: the anchor. */
static int
unhang(ips_segment *segment, ips_offset link, ips_offset grave, uint64_t next)
{
    int status = link == 0
        ? ips_tx_anchor(segment, IPS_ANCHOR_ARRAYS, next)
        : ips_tx_store(segment, link + offsetof(ips_inset_grave_shm, next), next);
    return status < 0 ? status : ips_tx_free(segment, grave);
}

int
ips_inset_reap(ips_segment *segment)
{
    ips_offset before = 0;
    ips_offset grave = ips_anchor_load(segment, IPS_ANCHOR_ARRAYS);
    for (uint32_t steps = 0; grave != 0; steps++) {
        const ips_inset_grave_shm *shm = grave % 16 != 0 || steps > GRAVES_MOST
            ? NULL : ips_segment_at(segment, grave, sizeof *shm);
        ips_inset_shm *array = shm == NULL ? NULL : body_of(segment, LOAD(shm->cell));
        if (array == NULL) {
            return corrupt(grave, "the list of destroyed arrays is damaged");
        }
        const uint64_t next = LOAD(shm->next);
        const bool stays = is_held(segment, array);
        int status = stays ? 0 : bury(segment, LOAD(shm->cell), array);
        if (status == 0 && !stays) {
            status = unhang(segment, before, grave, next);
        }
        if (status < 0) {
            return status;
        }
        before = stays ? grave : before;
        grave = next;
    }
    return 0;
}

int
ips_inset_check(ips_segment *segment, ips_offset cell,
    void (*line)(const char *line, void *context), void *context)
{
    ips_report report = {line, context, "SharedArray", cell, 0};
    const ips_inset_shm *shm = body_of(segment, cell);
    ips_array_kind *kind = malloc(sizeof *kind);
    if (kind == NULL) {
        return ips_fail(IPS_ENOMEM, "checking a SharedArray");
    }
    if (shm == NULL || read_kind(segment, shm, kind) == NULL) {
        ips_report_problem(&report, "its items do not fit its shape");
    }
    free(kind);
    return report.problems;
}

int
ips_inset_reach(ips_reach *reach, uint32_t type, ips_offset root)
{
    ips_wide wide;
    ips_stable_wide(reach->segment, root, type, "", &wide);
    if (wide.shm != NULL) {
        const ips_inset_shm *shm = (const ips_inset_shm *)(void *)wide.shm;
        (void)ips_reach_block(reach, shm->items, "SharedArray", root);
    }
    return IPS_OK;
}
