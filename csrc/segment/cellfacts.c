/* SPDX-License-Identifier: Apache-2.0 */
/* Cells as people see them: copies, taken while others go on. */
#include <string.h>

#include "member/waits.h"
#include "os/file.h"
#include "segment/cellpool.h"

/* In place of a file's identity, for what lies in a pool. */
static uint64_t
pool_file(bool wide)
{
    return wide ? 1 : 0;
}

void
ips_cell_wait_place(const ips_cell *cell, uint64_t *file, uint64_t *place)
{
    bool named = cell->object != NULL;
    *file = named ? ips_wait_file((const ips_header_shm *)cell->object->base) : pool_file(cell->wide.shm != NULL);
    *place = named ? 0 : cell->index;
}

typedef struct {
    ips_header_shm header;
    ips_cell_shm cell;
} cell_file;

int
ips_cell_peek(ips_space *space, const char *name, ips_cell_facts *out)
{
    int fd;
    ips_file_facts file;
    cell_file copy;
    int status = ips_file_open(ips_space_dir(space), name, &fd, &file);
    if (status < 0) {
        return status;
    }
    status = ips_file_read(fd, &copy, sizeof copy, 0);
    ips_file_close(fd);
    if (status < 0) {
        return status;
    }
    if (memcmp(copy.header.magic, IPS_MAGIC, sizeof copy.header.magic) != 0 ||
        copy.header.kind != IPS_KIND_CELL) {
        return ips_fail(IPS_EFORMAT, "'%s' is not one of the primitives", name);
    }
    *out = (ips_cell_facts){.type = copy.cell.type, .file = ips_wait_file(&copy.header)};
    memcpy(out->words, (const void *)&copy.cell, sizeof out->words);
    return IPS_OK;
}

/* Read, and not looked at through a mapping: whatever the file says of itself,
 * that ends in a short answer and not in a signal. */
static int
read_body(int fd, uint64_t at, uint8_t *to, size_t size)
{
    ips_file_facts file;
    int status = ips_file_facts_of(fd, &file);
    if (status < 0) {
        return status;
    }
    uint64_t there = file.size > at ? file.size - at : 0;
    return ips_file_read(fd, to, there < size ? (size_t)there : size, at);
}

static int
peek_file(ips_space *space, const char *name, uint8_t *to, size_t size)
{
    int fd;
    ips_file_facts file;
    int status = ips_file_open(ips_space_dir(space), name, &fd, &file);
    if (status == IPS_OK) {
        status = read_body(fd, sizeof(cell_file), to, size);
        ips_file_close(fd);
    }
    return status;
}

static int
peek_pool(ips_space *space, uint32_t index, uint8_t *to, size_t size)
{
    ips_cell_pool *pool;
    int status = ips_pool_of(space, true, false, &pool);
    if (status < 0) {
        return status;
    }
    if (pool == NULL || index >= pool->shape->cells) {
        return ips_fail(IPS_ENOENT, "there is no such unnamed object");
    }
    int fd;
    status = ips_pool_reopen(pool, &fd);
    if (status == IPS_OK) {
        status = read_body(fd, pool->shape->bodies_at + (uint64_t)index * IPS_WIDE_SIZE, to, size);
        ips_file_close(fd);
    }
    return status;
}

int
ips_cell_peek_body(ips_space *space, const ips_cell_facts *facts, const char *name, void *to,
                   size_t size)
{
    memset(to, 0, size);
    size = size < IPS_WIDE_SIZE ? size : IPS_WIDE_SIZE;
    return name != NULL ? peek_file(space, name, to, size)
                        : peek_pool(space, facts->index, to, size);
}

static int
each_of(ips_space *space, bool wide, int (*visit)(const ips_cell_facts *facts, void *context),
        void *context)
{
    ips_cell_pool *pool;
    int result = ips_pool_of(space, wide, false, &pool);
    if (result < 0 || pool == NULL) {
        return result;
    }
    uint32_t cells = pool->shm->fresh_cell;
    cells = cells < ips_pool_cells_backed(pool) ? cells : ips_pool_cells_backed(pool);
    for (uint32_t i = 0; i < cells && result == 0; i++) {
        const ips_cell_shm *cell = ips_pool_cell(pool, i);
        ips_cell_facts facts = {
            .type = cell->type, .index = i, .file = pool_file(wide), .place = i};
        if (facts.type == IPS_CELL_FREE) {
            continue;
        }
        for (size_t word = 0; word < sizeof facts.words / sizeof facts.words[0]; word++) {
            /* relaxed: news; the words need not belong together. */
            facts.words[word] = atomic_load_explicit(&cell->words[word], memory_order_relaxed);
        }
        result = visit(&facts, context);
    }
    return result;
}

int
ips_cells_each(ips_space *space, int (*visit)(const ips_cell_facts *facts, void *context),
               void *context)
{
    int result = each_of(space, false, visit, context);
    return result != 0 ? result : each_of(space, true, visit, context);
}
