/* SPDX-License-Identifier: Apache-2.0 */
#include "data/nest.h"

#include <string.h>

#include "data/deque.h"
#include "data/flat.h"
#include "data/map.h"

/* relaxed: the segment's lock; without it the generation decides, which handles
 * compare again. */
#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

#define ROOTS_PER_STEP 16
#define FREED_PER_ROOT 32u

/* What the types that stand in containers have to say for themselves. */
typedef struct {
    uint32_t type;
    uint32_t size;    /* of the root block; 0: it is a stable cell */
    uint32_t nest_at; /* of the word in it */
    bool holds;       /* containers can stand in it */
    /* Of a retired one, free some: 1 where more remains, 0 when all but the root is gone. */
    int (*wither)(ips_segment *segment, const ips_reference *at);
} kind;

static int
wither_map(ips_segment *segment, const ips_reference *at)
{
    ips_map map;
    int status = ips_map_open(segment, at->root, at->generation, &map);
    return status < 0 ? status : ips_map_wither(&map, FREED_PER_ROOT);
}

static int
wither_deque(ips_segment *segment, const ips_reference *at)
{
    ips_deque deque;
    int status = ips_deque_open(segment, (uint32_t)at->type, at->root, at->generation, &deque);
    return status < 0 ? status : ips_deque_wither(&deque, FREED_PER_ROOT);
}

static int
wither_flat(ips_segment *segment, const ips_reference *at)
{
    ips_flat flat;
    int status = ips_flat_open(segment, (uint32_t)at->type, at->root, at->generation, &flat);
    return status < 0 ? status : ips_flat_wither(&flat);
}

static const kind kinds[] = {
    {IPS_TYPE_MAP, sizeof(ips_map_shm), offsetof(ips_map_shm, nest), true, wither_map},
    {IPS_TYPE_DEQUE, sizeof(ips_deque_shm), offsetof(ips_deque_shm, nest), true, wither_deque},
    {IPS_TYPE_VECTOR, sizeof(ips_deque_shm), offsetof(ips_deque_shm, nest), true, wither_deque},
    {IPS_TYPE_TYPED_VECTOR, sizeof(ips_flat_shm), offsetof(ips_flat_shm, nest), false, wither_flat},
    {IPS_TYPE_STRING, sizeof(ips_flat_shm), offsetof(ips_flat_shm, nest), false, wither_flat},
    {IPS_TYPE_BYTES, sizeof(ips_flat_shm), offsetof(ips_flat_shm, nest), false, wither_flat},
    {IPS_TYPE_CELL, sizeof(ips_flat_shm), offsetof(ips_flat_shm, nest), false, wither_flat},
    {IPS_TYPE_ATOMIC_INT, 0, 0, false, NULL},
    {IPS_TYPE_ATOMIC_FLOAT, 0, 0, false, NULL},
    {IPS_TYPE_ATOMIC_BOOL, 0, 0, false, NULL},
};

static const kind *
kind_of(uint64_t type)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (kinds[i].type == type) {
            return &kinds[i];
        }
    }
    return NULL;
}

bool
ips_nest_can_stand(uint32_t type)
{
    return kind_of(type) != NULL;
}

bool
ips_nest_can_hold(uint32_t type)
{
    const kind *known = kind_of(type);
    return known != NULL && known->holds;
}

static int
damaged(ips_offset at, const char *what)
{
    return ips_fail(IPS_ECORRUPT, "a container in a container, at offset %llu: %s",
        (unsigned long long)at, what);
}

static _Atomic uint64_t *
word_of(const kind *known, ips_root_shm *root)
{
    return (_Atomic uint64_t *)(void *)((uint8_t *)root + known->nest_at);
}

bool
ips_nest_read(const void *bytes, size_t size, ips_reference *out)
{
    if (size != sizeof *out) {
        return false;
    }
    memcpy(out, bytes, sizeof *out);
    return true;
}

/* --- looking */

static bool
is_cell(const kind *known)
{
    return known->size == 0;
}

/* A number: it names no container that it stands in. */
static int
look_at_cell(ips_segment *segment, const kind *known, const ips_reference *at, uint64_t outer,
    uint64_t *depth)
{
    if (at->generation == 0) {
        return damaged(at->root, "it was never made");
    }
    if (ips_stable_generation(segment, at->root, known->type) != at->generation) {
        return ips_root_gone(known->type);
    }
    if (depth != NULL) {
        *depth = outer + 1;
    }
    return 0;
}

int
ips_nest_look(ips_segment *segment, const ips_reference *at, uint64_t outer, uint64_t *depth)
{
    const kind *known = kind_of(at->type);
    if (known == NULL || (outer >= IPS_NEST_DEPTH && outer != IPS_NEST_ANYWHERE) || at->root % 16 != 0) {
        return damaged(at->root, "no such thing can stand there");
    }
    if (is_cell(known)) {
        return look_at_cell(segment, known, at, outer, depth);
    }
    ips_root_shm *root = ips_segment_at(segment, at->root, known->size);
    if (root == NULL || at->generation == 0) {
        return damaged(at->root, "it lies outside of the segment");
    }
    if (!ips_root_lives(root, at->generation)) {
        return ips_root_gone(known->type);
    }
    const uint64_t found = LOAD(*word_of(known, root)) & (IPS_NEST_HOLDS - 1);
    if (LOAD(root->type) != known->type || found == 0 ||
        (outer != IPS_NEST_ANYWHERE && found != outer + 1)) {
        /* It may have ended meanwhile, and the word be a link in the graves.
         * Pairs with the release store of the journal's mark, which lies between
         * the stores of generation and link. */
        atomic_thread_fence(memory_order_acquire);
        return !ips_root_lives(root, at->generation) ? ips_root_gone(known->type)
            : damaged(at->root, "it is another one's, or of another type");
    }
    if (depth != NULL) {
        *depth = found;
    }
    return 0;
}

uint64_t
ips_nest_depth(ips_segment *segment, uint32_t type, ips_offset offset)
{
    const kind *known = kind_of(type);
    ips_root_shm *root = known == NULL || is_cell(known)
        ? NULL : ips_root_at(segment, offset, type, known->size);
    return root == NULL ? 0 : LOAD(*word_of(known, root)) & (IPS_NEST_HOLDS - 1);
}

bool
ips_nest_holds(ips_segment *segment, uint32_t type, ips_offset offset)
{
    const kind *known = kind_of(type);
    ips_root_shm *root = known == NULL || !known->holds
        ? NULL : ips_root_at(segment, offset, type, known->size);
    return root != NULL && (LOAD(*word_of(known, root)) & IPS_NEST_HOLDS) != 0;
}

/* --- made */

/* Its generation; of a block also how deep it stands. */
static int
christen(ips_segment *segment, const kind *known, uint64_t depth, ips_reference *inner)
{
    if (is_cell(known)) {
        inner->generation = ips_stable_generation(segment, inner->root, known->type);
        return inner->generation != 0 ? 0 : damaged(inner->root, "it is no cell");
    }
    ips_root_shm *root = ips_root_at(segment, inner->root, known->type, known->size);
    if (root == NULL) {
        return damaged(inner->root, "it is no block");
    }
    /* relaxed: nobody else knows the block yet. */
    atomic_store_explicit(word_of(known, root), depth, memory_order_relaxed);
    inner->generation = ips_tx_generation(segment);
    return ips_root_christen(segment, inner->root, inner->generation);
}

int
ips_nest_adopt(ips_segment *segment, const ips_reference *outer, ips_reference *inner)
{
    const kind *holder = kind_of(outer->type);
    const kind *known = kind_of(inner->type);
    ips_root_shm *around = holder == NULL || !holder->holds ? NULL
        : ips_root_at(segment, outer->root, holder->type, holder->size);
    if (around == NULL || known == NULL) {
        return damaged(outer->root, "there is no room for one");
    }
    if (!ips_root_lives(around, outer->generation)) {
        return ips_root_gone(holder->type);
    }
    const uint64_t nest = LOAD(*word_of(holder, around));
    const uint64_t depth = (nest & (IPS_NEST_HOLDS - 1)) + 1;
    if (depth > IPS_NEST_DEPTH) {
        return ips_fail(IPS_ETOOBIG, "containers stand in each other at most %u deep",
            IPS_NEST_DEPTH);
    }
    int status = christen(segment, known, depth, inner);
    if (status == 0 && (nest & IPS_NEST_HOLDS) == 0) {
        status = ips_tx_store(segment, outer->root + holder->nest_at, nest | IPS_NEST_HOLDS);
    }
    return status;
}

/* --- ended */

/* A retired root in the list of graves, NULL where none can be. */
static ips_root_shm *
grave_at(ips_segment *segment, ips_offset offset, const kind **known)
{
    ips_root_shm *root = offset == 0 || offset % 16 != 0
        ? NULL : ips_segment_at(segment, offset, sizeof *root);
    *known = root == NULL ? NULL : kind_of(LOAD(root->type));
    if (*known == NULL || is_cell(*known) || ips_segment_at(segment, offset, (*known)->size) == NULL ||
        LOAD(root->generation) != 0) {
        return NULL;
    }
    return root;
}

bool
ips_nest_grave_next(ips_segment *segment, ips_offset grave, ips_offset *next)
{
    const kind *known;
    ips_root_shm *root = grave_at(segment, grave, &known);
    *next = root == NULL ? 0 : LOAD(*word_of(known, root));
    return root != NULL && ips_block_size(segment, grave) >= known->size;
}

/* Into the list, behind the one that is being emptied. */
static int
hang(ips_segment *segment, const kind *known, ips_offset root)
{
    const ips_offset first = ips_anchor_load(segment, IPS_ANCHOR_NESTED);
    uint64_t next = 0;
    int status;
    if (first == 0) {
        status = ips_tx_anchor(segment, IPS_ANCHOR_NESTED, root);
    } else {
        const kind *ahead;
        ips_root_shm *grave = grave_at(segment, first, &ahead);
        if (grave == NULL) {
            return damaged(first, "the list of those that are gone leads astray");
        }
        next = LOAD(*word_of(ahead, grave));
        status = ips_tx_store(segment, first + ahead->nest_at, root);
    }
    return status < 0 ? status : ips_tx_store(segment, root + known->nest_at, next);
}

static _Thread_local bool has_dropped;

bool
ips_nest_has_dropped(void)
{
    const bool it_has = has_dropped;
    has_dropped = false;
    return it_has;
}

int
ips_nest_drop(ips_segment *segment, const void *bytes, size_t size)
{
    ips_reference at;
    const kind *known = ips_nest_read(bytes, size, &at) ? kind_of(at.type) : NULL;
    if (known != NULL && is_cell(known)) {
        return at.generation != 0 &&
                ips_stable_generation(segment, at.root, known->type) == at.generation
            ? ips_stable_free(segment, at.root) : damaged(at.root, "a value refers to none");
    }
    ips_root_shm *root = known == NULL
        ? NULL : ips_root_at(segment, at.root, known->type, known->size);
    if (root == NULL || at.generation == 0 || !ips_root_lives(root, at.generation)) {
        return damaged(known == NULL ? 0 : at.root, "a value refers to none");
    }
    has_dropped = true;
    int status = ips_root_retire(segment, at.root);
    return status < 0 ? status : hang(segment, known, at.root);
}

/* The first of the list, as far as one step goes: 1 where it is still there. */
static int
reap_first(ips_segment *segment, ips_offset first)
{
    const kind *known;
    ips_root_shm *root = grave_at(segment, first, &known);
    if (root == NULL) {
        return damaged(first, "the list of those that are gone leads astray");
    }
    const ips_reference at = {known->type, first, 0};
    int status = known->wither(segment, &at);
    if (status != 0) {
        return status;
    }
    status = ips_tx_anchor(segment, IPS_ANCHOR_NESTED, LOAD(*word_of(known, root)));
    return status < 0 ? status : ips_tx_free(segment, first);
}

int
ips_nest_reap(ips_segment *segment)
{
    int status = 0;
    for (int i = 0; status >= 0 && i < ROOTS_PER_STEP; i++) {
        const ips_offset first = ips_anchor_load(segment, IPS_ANCHOR_NESTED);
        if (first == 0) {
            return 0;
        }
        status = reap_first(segment, first);
    }
    return status < 0 ? status : ips_nest_has_graves(segment);
}
