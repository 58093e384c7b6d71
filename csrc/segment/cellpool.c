/* SPDX-License-Identifier: Apache-2.0 */
/* The pool's file and its memory; how it changes is in cellchange.c, and what
 * it is in cellpool.h. */
#include "segment/cellpool.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "os/file.h"

#define POOL_FORMAT 1
#define CELLS_AT_CREATION 512u  /* 32 KiB */
#define CELLS_STEP_MAX 65536u   /* 4 MiB */
#define TICKETS_STEP 1024u

#define TICKETS_AT(cells) (IPS_CELLS_AT + (uint64_t)(cells) * sizeof(ips_cell_shm))
#define USES_AT(cells) (TICKETS_AT(cells) + (uint64_t)IPS_TICKETS_MAX * sizeof(ips_ticket_shm))
#define USE_PAGES(cells) \
    (((cells) / 8 + sizeof(ips_cell_uses_shm) + IPS_CELL_PAGE - 1) / IPS_CELL_PAGE)
#define BODIES_AT(cells) \
    (USES_AT(cells) + (uint64_t)IPS_MAX_SLOTS * USE_PAGES(cells) * IPS_CELL_PAGE)

_Static_assert(USES_AT(IPS_CELLS_MAX) % IPS_CELL_PAGE == 0, "each part begins with a page");
_Static_assert(USES_AT(IPS_WIDE_CELLS_MAX) % IPS_CELL_PAGE == 0, "each part begins with a page");

static const ips_pool_shape shapes[2] = {
    {".cells", IPS_CELLS_MAX, USE_PAGES(IPS_CELLS_MAX), TICKETS_AT(IPS_CELLS_MAX),
     USES_AT(IPS_CELLS_MAX), BODIES_AT(IPS_CELLS_MAX), BODIES_AT(IPS_CELLS_MAX), false},
    {".wide", IPS_WIDE_CELLS_MAX, USE_PAGES(IPS_WIDE_CELLS_MAX), TICKETS_AT(IPS_WIDE_CELLS_MAX),
     USES_AT(IPS_WIDE_CELLS_MAX), BODIES_AT(IPS_WIDE_CELLS_MAX),
     BODIES_AT(IPS_WIDE_CELLS_MAX) + (uint64_t)IPS_WIDE_CELLS_MAX * IPS_WIDE_SIZE, true},
};

static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(ips_cell_pool *) pools; /* grows at its head, under `opening` */

ips_cell_pool *
ips_pools(void)
{
    /* acquire: pairs with the release store in open_inside. */
    return atomic_load_explicit(&pools, memory_order_acquire);
}

/* --- the file ------------------------------------------------------------ */

static uint32_t
layout_stamp(const ips_pool_shape *shape)
{
    const uint64_t facts[] = {
        sizeof(ips_cell_pool_shm), sizeof(ips_cell_shm),   sizeof(ips_ticket_shm),
        sizeof(ips_cell_uses_shm), sizeof(ips_cell_redo_shm), IPS_CELLS_AT,
        shape->tickets_at, shape->uses_at, shape->bodies_at, shape->max_size, IPS_WIDE_SIZE,
        offsetof(ips_cell_redo_shm, cell_generation), offsetof(ips_cell_shm, body_pages),
    };
    return (uint32_t)ips_hash(facts, sizeof facts);
}

static int
fill_head(int fd, const ips_pool_shape *shape)
{
    void *base;
    int status = ips_map_file(fd, sizeof(ips_cell_pool_shm), &base);
    if (status < 0) {
        return status;
    }
    ips_cell_pool_shm *shm = (ips_cell_pool_shm *)base;
    memcpy(shm->header.magic, IPS_MAGIC, sizeof shm->header.magic);
    shm->header.byte_order = IPS_BYTE_ORDER;
    shm->header.kind = IPS_KIND_CELLS;
    shm->header.format = POOL_FORMAT;
    shm->header.layout = layout_stamp(shape);
    shm->header.max_size = shape->max_size;
    shm->cells_backed = CELLS_AT_CREATION;
    status = ips_random(shm->header.identity, sizeof shm->header.identity);
    ips_unmap(base, sizeof(ips_cell_pool_shm));
    return status;
}

/* Whole or not at all: it gets its name when it is complete. */
static int
make_file(ips_space *space, const ips_pool_shape *shape)
{
    int fd;
    int status = ips_file_make(ips_space_dir(space), &fd);
    if (status < 0) {
        return status;
    }
    status = ips_file_back(fd, 0, IPS_CELLS_AT + CELLS_AT_CREATION * sizeof(ips_cell_shm));
    if (status == IPS_OK) {
        status = fill_head(fd, shape);
    }
    if (status == IPS_OK) {
        status = ips_file_name(fd, ips_space_dir(space), shape->file);
    }
    ips_file_close(fd);
    return status == IPS_EEXIST ? IPS_OK : status;
}

static int
check_header(const ips_cell_pool *pool, const ips_header_shm *header)
{
    if (memcmp(header->magic, IPS_MAGIC, sizeof header->magic) != 0 ||
        header->byte_order != IPS_BYTE_ORDER || header->kind != IPS_KIND_CELLS ||
        header->format != POOL_FORMAT || header->layout != layout_stamp(pool->shape) ||
        header->incompat != 0 || header->max_size != pool->shape->max_size) {
        return ips_fail(IPS_EFORMAT,
                        "'%s/%s' is not of this version: use another IPCSYS_DIR, or "
                        "remove the folder when nobody uses it", ips_space_folder(pool->space),
                        pool->shape->file);
    }
    return IPS_OK;
}

/* Where the last byte that the head says has memory lies in the file. */
static uint64_t
end_of_memory(const ips_pool_shape *shape, const ips_cell_pool_shm *head)
{
    uint64_t end = IPS_CELLS_AT + (uint64_t)head->cells_backed * sizeof(ips_cell_shm);
    if (head->tickets_backed != 0) {
        end = shape->tickets_at + (uint64_t)head->tickets_backed * sizeof(ips_ticket_shm);
    }
    for (uint32_t slot = 0; slot < IPS_MAX_SLOTS; slot++) {
        if (head->use_pages[slot] != 0) {
            end = ips_shape_uses_of(shape, slot) +
                  (uint64_t)head->use_pages[slot] * IPS_CELL_PAGE;
        }
    }
    return end;
}

/* A file cut short would be SIGBUS later.  It is measured after its head was
 * read: others may let it grow in between, and never make it shorter. */
static int
check_file(const ips_cell_pool *pool, int fd, ips_file_facts *facts)
{
    ips_space *space = pool->space;
    ips_cell_pool_shm *head = (ips_cell_pool_shm *)malloc(sizeof *head);
    if (head == NULL) {
        return ips_fail(IPS_ENOMEM, "opening the cells of '%s'", ips_space_folder(space));
    }
    int status = ips_file_read(fd, head, sizeof *head, 0);
    status = status < 0 ? status : check_header(pool, &head->header);
    status = status < 0 ? status : ips_file_facts_of(fd, facts);
    if (status == IPS_OK &&
        (head->cells_backed > pool->shape->cells || head->tickets_backed > IPS_TICKETS_MAX ||
         end_of_memory(pool->shape, head) > facts->size)) {
        status = ips_fail(IPS_ECORRUPT, "'%s/%s' ends too early", ips_space_folder(space),
                          pool->shape->file);
    }
    free(head);
    return status;
}

static int
map_pool(ips_cell_pool *pool)
{
    int fd;
    ips_file_facts facts;
    int status = ips_file_open(ips_space_dir(pool->space), pool->shape->file, &fd, &facts);
    if (status < 0) {
        return status;
    }
    void *base = NULL;
    status = check_file(pool, fd, &facts);
    if (status == IPS_OK) {
        status = ips_map_file(fd, pool->shape->bodies_at, &base);
    }
    ips_file_close(fd);
    pool->base = (uint8_t *)base;
    pool->shm = (ips_cell_pool_shm *)base;
    pool->dev = facts.dev;
    pool->inode = facts.inode;
    /* relaxed: nobody else knows the pool yet. */
    atomic_store_explicit(&pool->size, facts.size, memory_order_relaxed);
    return status;
}

/* One that stands by, or a new one; under `opening`. */
static ips_cell_pool *
idle_pool(const ips_pool_shape *shape)
{
    for (ips_cell_pool *pool = ips_pools(); pool != NULL; pool = pool->next) {
        /* relaxed: changed under `opening`. */
        if (pool->shape == shape &&
            atomic_load_explicit(&pool->serves, memory_order_relaxed) == NULL) {
            return pool;
        }
    }
    ips_cell_pool *pool = (ips_cell_pool *)calloc(1, sizeof *pool);
    if (pool != NULL) {
        pool->shape = shape;
        (void)pthread_mutex_init(&pool->guard, NULL);
        pool->next = ips_pools();
        /* release: the pool is whole; pairs with the acquire in ips_pools. */
        atomic_store_explicit(&pools, pool, memory_order_release);
    }
    return pool;
}

static int
open_inside(ips_space *space, const ips_pool_shape *shape, bool create, ips_cell_pool **out)
{
    ips_cell_pool *pool = idle_pool(shape);
    ips_cell_local *local = (ips_cell_local *)calloc(shape->cells, sizeof *local);
    int status = pool == NULL || local == NULL
                     ? ips_fail(IPS_ENOMEM, "opening the cells of '%s'", ips_space_folder(space))
                     : IPS_OK;
    if (status == IPS_OK) {
        pool->space = space;
        pool->local = local;
        status = map_pool(pool);
        if (status == IPS_ENOENT && create) {
            status = make_file(space, shape);
            status = status == IPS_OK ? map_pool(pool) : status;
        }
    }
    if (status < 0) {
        free(local);
        *out = NULL;
        return status == IPS_ENOENT && !create ? IPS_OK : status;
    }
    /* release: the pool is whole; pairs with the acquire in ips_pool_if_open. */
    atomic_store_explicit(&pool->serves, space, memory_order_release);
    *out = pool;
    return IPS_OK;
}

static void
unmap_pool(ips_cell_pool *pool)
{
    ips_unmap(pool->base, pool->shape->bodies_at);
    for (uint32_t i = 0; i < IPS_WIDE_GROUPS; i++) {
        /* relaxed: nobody uses the pool any more. */
        uint8_t *base = atomic_exchange_explicit(&pool->groups[i], NULL, memory_order_relaxed);
        if (base != NULL) {
            ips_unmap(base, (uint64_t)IPS_WIDE_GROUP * IPS_WIDE_SIZE);
        }
    }
    free(pool->local);
    pool->base = NULL;
    pool->shm = NULL;
    pool->local = NULL;
}

/* It holds no cell, and no thread is about to ask for one: ips_space_leave. */
void
ips_pools_leave(ips_space *space)
{
    (void)pthread_mutex_lock(&opening);
    for (int wide = 0; wide <= 1; wide++) {
        ips_cell_pool *pool = ips_pool_if_open(space, wide != 0);
        if (pool != NULL) {
            /* release: pairs with the acquire in ips_pool_if_open. */
            atomic_store_explicit(&pool->serves, NULL, memory_order_release);
            pool->recorded = IPS_NOBODY;
            /* relaxed, both: nobody uses the pool any more. */
            atomic_store_explicit(&pool->returns, 0, memory_order_relaxed);
            atomic_store_explicit(&pool->held, 0, memory_order_relaxed);
            unmap_pool(pool);
        }
    }
    (void)pthread_mutex_unlock(&opening);
}

ips_cell_pool *
ips_pool_if_open(const ips_space *space, bool wide)
{
    ips_cell_pool *pool = ips_pools();
    /* acquire: pairs with the release in open_inside. */
    while (pool != NULL &&
           (atomic_load_explicit(&pool->serves, memory_order_acquire) != space ||
            pool->shape->wide != wide)) {
        pool = pool->next;
    }
    return pool;
}

int
ips_pool_of(ips_space *space, bool wide, bool create, ips_cell_pool **out)
{
    *out = ips_pool_if_open(space, wide);
    if (__builtin_expect(*out != NULL, 1)) {
        return IPS_OK;
    }
    (void)pthread_mutex_lock(&opening);
    *out = ips_pool_if_open(space, wide);
    int status = *out != NULL ? IPS_OK : open_inside(space, &shapes[wide], create, out);
    (void)pthread_mutex_unlock(&opening);
    return status;
}

/* In a forked child only this thread lives: locks that others held are free,
 * and what they wanted to give back was the parent's to give. */
void
ips_pools_reset_in_child(void)
{
    (void)pthread_mutex_init(&opening, NULL);
    for (ips_cell_pool *pool = ips_pools(); pool != NULL; pool = pool->next) {
        (void)pthread_mutex_init(&pool->guard, NULL);
        /* relaxed, here and below: this thread is alone. */
        uint32_t index = atomic_exchange_explicit(&pool->returns, 0, memory_order_relaxed);
        while (index != 0 && index <= pool->shape->cells) {
            ips_cell_local *local = &pool->local[index - 1];
            atomic_store_explicit(&local->queued, 0, memory_order_relaxed);
            index = local->next;
        }
    }
}

/* --- memory -------------------------------------------------------------- */

/* The pool's file again, sure that it is the same. */
static int
reopen(ips_cell_pool *pool, int *fd, ips_file_facts *facts)
{
    int status = ips_file_open(ips_space_dir(pool->space), pool->shape->file, fd, facts);
    if (status == IPS_OK && (facts->dev != pool->dev || facts->inode != pool->inode)) {
        ips_file_close(*fd);
        return ips_fail(IPS_EGONE, "'%s/%s' was replaced under its users",
                        ips_space_folder(pool->space), pool->shape->file);
    }
    return status;
}

int
ips_pool_reopen(ips_cell_pool *pool, int *fd)
{
    ips_file_facts facts;
    return reopen(pool, fd, &facts);
}

static void
note_size(ips_cell_pool *pool, uint64_t size)
{
    /* relaxed: as in ips_pool_reaches; two threads may store different sizes,
     * both true. */
    if (size > atomic_load_explicit(&pool->size, memory_order_relaxed)) {
        atomic_store_explicit(&pool->size, size, memory_order_relaxed);
    }
}

bool
ips_pool_reaches_slow(ips_cell_pool *pool, uint64_t end)
{
    int fd;
    ips_file_facts facts;
    if (end > pool->shape->max_size || reopen(pool, &fd, &facts) < 0) {
        return false;
    }
    ips_file_close(fd);
    note_size(pool, facts.size);
    return end <= facts.size;
}

int
ips_pool_back(ips_cell_pool *pool, uint64_t from, uint64_t to)
{
    int fd;
    ips_file_facts facts;
    int status = reopen(pool, &fd, &facts);
    if (status < 0) {
        return status;
    }
    status = ips_file_back(fd, from, to);
    ips_file_close(fd);
    if (status == IPS_OK) {
        note_size(pool, to);
    }
    return status;
}

static int
grow_cells(ips_cell_pool *pool)
{
    uint32_t backed = ips_pool_cells_backed(pool);
    uint32_t most = pool->shape->cells;
    if (backed == most) {
        return ips_fail(IPS_ENOSPACE, "namespace '%s' has %u unnamed objects already",
                        ips_space_folder(pool->space), most);
    }
    uint32_t step = backed < CELLS_STEP_MAX ? backed : CELLS_STEP_MAX;
    step = step < CELLS_AT_CREATION ? CELLS_AT_CREATION : step;
    step = step < most - backed ? step : most - backed;
    int status = ips_pool_back(pool, IPS_CELLS_AT + (uint64_t)backed * sizeof(ips_cell_shm),
                               IPS_CELLS_AT + (uint64_t)(backed + step) * sizeof(ips_cell_shm));
    if (status == IPS_OK) {
        pool->shm->cells_backed = backed + step;
    }
    return status;
}

int
ips_pool_find_cell(ips_cell_pool *pool, uint32_t *index)
{
    ips_cell_pool_shm *shm = pool->shm;
    uint32_t free_cell = shm->free_cell;
    if (free_cell != 0) {
        if (free_cell > ips_pool_cells_backed(pool) ||
            ips_pool_cell(pool, free_cell - 1)->type != IPS_CELL_FREE) {
            return ips_fail(IPS_ECORRUPT, "the list of free cells of '%s'",
                            ips_space_folder(pool->space));
        }
        *index = free_cell - 1;
        return IPS_OK;
    }
    uint32_t fresh = shm->fresh_cell;
    if (fresh >= ips_pool_cells_backed(pool)) {
        int status = grow_cells(pool);
        if (status < 0) {
            return status;
        }
        if (fresh >= ips_pool_cells_backed(pool)) {
            return ips_fail(IPS_ECORRUPT, "the cells of '%s'", ips_space_folder(pool->space));
        }
    }
    *index = fresh;
    return IPS_OK;
}

int
ips_pool_find_ticket(ips_cell_pool *pool, uint32_t *index)
{
    ips_cell_pool_shm *shm = pool->shm;
    uint32_t backed = ips_pool_tickets_backed(pool);
    uint32_t first = shm->free_ticket, fresh = shm->fresh_ticket;
    if (first > backed || fresh > backed || backed != shm->tickets_backed) {
        return ips_fail(IPS_ECORRUPT, "the tickets of '%s'", ips_space_folder(pool->space));
    }
    if (first != 0) {
        *index = first - 1;
        return IPS_OK;
    }
    if (fresh == backed) {
        if (backed == IPS_TICKETS_MAX) {
            return ips_fail(IPS_ENOSPACE, "%u pickled objects wait to be unpickled in '%s'",
                            IPS_TICKETS_MAX, ips_space_folder(pool->space));
        }
        uint32_t step = IPS_TICKETS_MAX - backed;
        step = step < TICKETS_STEP ? step : TICKETS_STEP;
        uint64_t end = pool->shape->tickets_at + (uint64_t)backed * sizeof(ips_ticket_shm);
        int status = ips_pool_back(pool, end, end + step * sizeof(ips_ticket_shm));
        if (status < 0) {
            return status;
        }
        shm->tickets_backed = backed + step;
    }
    *index = fresh;
    return IPS_OK;
}

int
ips_pool_back_bit(ips_cell_pool *pool, uint32_t slot, uint32_t index)
{
    while (index >= ips_pool_bits_backed(pool, slot)) {
        uint32_t pages = pool->shm->use_pages[slot];
        if (pages >= pool->shape->use_pages) {
            return ips_fail(IPS_ECORRUPT, "the uses of slot %u of '%s'", slot,
                            ips_space_folder(pool->space));
        }
        uint64_t end = ips_shape_uses_of(pool->shape, slot) + pages * IPS_CELL_PAGE;
        int status = ips_pool_back(pool, end, end + IPS_CELL_PAGE);
        if (status < 0) {
            return status;
        }
        pool->shm->use_pages[slot] = (uint8_t)(pages + 1);
    }
    return IPS_OK;
}
