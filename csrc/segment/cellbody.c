/* SPDX-License-Identifier: Apache-2.0 */
/* The bodies of wide cells in the pool: mapping them in groups, giving them
 * memory.  Neither needs an entry in the redo log: a mapping is private, and a
 * page that got memory and was never used is a page of zeros. */
#include <string.h>

#include "os/file.h"
#include "segment/cellpool.h"

#define GROUP_SIZE ((uint64_t)IPS_WIDE_GROUP * IPS_WIDE_SIZE)
#define BODY_PAGES (IPS_WIDE_SIZE / IPS_CELL_PAGE)

static uint64_t
body_at(const ips_cell_pool *pool, uint32_t index)
{
    return pool->shape->bodies_at + (uint64_t)index * IPS_WIDE_SIZE;
}

/* Give the body's first pages memory, unless this process knows they have it. */
static int
back_pages(ips_cell_pool *pool, uint32_t index, uint32_t pages)
{
    _Atomic uint32_t *known = &pool->local[index].pages;
    /* relaxed: it only grows, and what lies below it stays. */
    uint32_t from = atomic_load_explicit(known, memory_order_relaxed);
    if (pages <= from) {
        return IPS_OK;
    }
    uint64_t at = body_at(pool, index);
    int status = ips_pool_back(pool, at + (uint64_t)from * IPS_CELL_PAGE,
                               at + (uint64_t)pages * IPS_CELL_PAGE);
    /* relaxed: two threads may store different numbers, both true. */
    if (status == IPS_OK && pages > atomic_load_explicit(known, memory_order_relaxed)) {
        atomic_store_explicit(known, pages, memory_order_relaxed);
    }
    return status;
}

/* Whoever clears the body for its next tenant must know how far we went. */
static void
note_pages(ips_cell_shm *cell, uint32_t pages)
{
    /* relaxed: the pool's lock, which its maker takes after our use was given
     * back or our death was proven, orders it before the clearing. */
    uint32_t noted = atomic_load_explicit(&cell->body_pages, memory_order_relaxed);
    while (noted < pages &&
           !atomic_compare_exchange_weak_explicit(&cell->body_pages, &noted, pages,
                                                  memory_order_relaxed, memory_order_relaxed)) {
        ; /* `noted` was read again */
    }
}

static int
extend(ips_wide *wide, uint64_t bytes)
{
    ips_cell *cell = (ips_cell *)(void *)((char *)wide - offsetof(ips_cell, wide));
    ips_cell_pool *pool = ips_pool_if_open(cell->space, true);
    if (pool == NULL || cell->index >= pool->shape->cells) {
        return ips_fail(IPS_ECORRUPT, "a wide object without its pool");
    }
    uint32_t pages = (uint32_t)((bytes + IPS_CELL_PAGE - 1) / IPS_CELL_PAGE);
    int status = back_pages(pool, cell->index, pages);
    if (status == IPS_OK) {
        note_pages(cell->shm, pages);
        ips_wide_reached(wide, (uint64_t)pages * IPS_CELL_PAGE);
    }
    return status;
}

static int
map_group(ips_cell_pool *pool, uint32_t group, uint8_t **out)
{
    int fd;
    void *base = NULL;
    int status = ips_pool_reopen(pool, &fd);
    if (status < 0) {
        return status;
    }
    status = ips_map_part(fd, body_at(pool, group * IPS_WIDE_GROUP), GROUP_SIZE, &base);
    ips_file_close(fd);
    if (status == IPS_OK) {
        /* release: pairs with the acquire in ips_pool_body. */
        atomic_store_explicit(&pool->groups[group], (uint8_t *)base, memory_order_release);
        *out = (uint8_t *)base;
    }
    return status;
}

int
ips_pool_body(ips_cell_pool *pool, uint32_t index, ips_wide *out)
{
    memset(out, 0, sizeof *out);
    if (!pool->shape->wide) {
        return IPS_OK;
    }
    uint32_t group = index / IPS_WIDE_GROUP;
    /* acquire: pairs with the release in map_group. */
    uint8_t *base = atomic_load_explicit(&pool->groups[group], memory_order_acquire);
    int status = base != NULL ? IPS_OK : map_group(pool, group, &base);
    if (status == IPS_OK) {
        status = back_pages(pool, index, 1);
    }
    if (status < 0) {
        return status;
    }
    out->shm = base + (uint64_t)(index % IPS_WIDE_GROUP) * IPS_WIDE_SIZE;
    out->capacity = IPS_WIDE_SIZE;
    out->name = "";
    out->extend = extend;
    ips_wide_reached(out, IPS_CELL_PAGE);
    return IPS_OK;
}

int
ips_pool_clear_body(ips_cell_pool *pool, uint32_t index, const ips_wide *body)
{
    if (!pool->shape->wide) {
        return IPS_OK;
    }
    /* relaxed: whoever raised it gave the cell back, or is dead, and we hold
     * the lock. */
    uint32_t pages = atomic_load_explicit(&ips_pool_cell(pool, index)->body_pages,
                                          memory_order_relaxed);
    pages = pages == 0 ? 1 : pages < BODY_PAGES ? pages : BODY_PAGES;
    int status = back_pages(pool, index, pages);
    if (status == IPS_OK) {
        memset(body->shm, 0, (size_t)pages * IPS_CELL_PAGE);
    }
    return status;
}
