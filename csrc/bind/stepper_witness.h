/* SPDX-License-Identifier: Apache-2.0 */
/* Within the stepper: the witness.  It holds a private copy of all shared pages
 * as the last event left them, and compares when the next one comes.  So it does
 * not rely on what the stepper takes for an event: a store that the write
 * protection let pass is found here.
 *
 * It also follows the thread's robust list, after each instruction.  The list
 * lies in private memory, but the kernel reads it at the process's death: it
 * belongs to what others can see of it. */
#ifndef IPS_BIND_STEPPER_WITNESS_H
#define IPS_BIND_STEPPER_WITNESS_H

#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bind/stepper_marks.h"

#define PAGE 4096u
#define WITNESS_PAGES 16384u /* 64 MiB; what lies beyond is not compared */
#define WITNESS_CHUNK 1024u  /* pages asked after at once */
#define WITNESS_LIST 256     /* entries of a robust list that are followed */

static struct {
    bool on, overflow;
    uint8_t *copies;
    uintptr_t pages[WITNESS_PAGES];
    uint32_t count;
    const uintptr_t *list; /* the kernel's struct robust_list_head */
    uint64_t digest;       /* of the list */
} witness;

static uint64_t
witness_digest(void)
{
    if (witness.list == NULL) {
        return 0;
    }
    uint64_t digest = witness.list[1] * 31 + witness.list[2]; /* offset, pending */
    const uintptr_t *entry = witness.list;
    for (int i = 0; i < WITNESS_LIST; i++) {
        uintptr_t next = *entry & ~(uintptr_t)1;
        digest = (digest ^ next) * UINT64_C(0x100000001b3);
        if (next == 0 || next == (uintptr_t)witness.list) {
            break;
        }
        entry = (const uintptr_t *)next;
    }
    return digest;
}

/* Pages that the file has: one that it has not would only be made by a look.
 * After so many holes in a row comes the reserve of a file that may grow. */
static void
witness_copy_span(const span *at)
{
    static unsigned char there[WITNESS_CHUNK];
    for (uintptr_t from = at->first; from < at->last; from += (uintptr_t)WITNESS_CHUNK * PAGE) {
        size_t left = at->last - from, most = (size_t)WITNESS_CHUNK * PAGE;
        size_t bytes = left < most ? left : most;
        if (mincore((void *)from, bytes, there) != 0) {
            return;
        }
        uint32_t before = witness.count;
        for (size_t i = 0; i < bytes / PAGE; i++) {
            if ((there[i] & 1) == 0) {
                continue;
            }
            if (witness.count == WITNESS_PAGES) {
                witness.overflow = true;
                return;
            }
            witness.pages[witness.count] = from + i * PAGE;
            memcpy(witness.copies + (size_t)witness.count * PAGE, (const void *)(from + i * PAGE),
                   PAGE);
            witness.count++;
        }
        if (witness.count == before) {
            return;
        }
    }
}

static void
witness_copy(const span *shared, int shareds)
{
    witness.count = 0;
    for (int i = 0; i < shareds; i++) {
        witness_copy_span(&shared[i]);
    }
    witness.digest = witness_digest();
}

static bool
witness_knows(uintptr_t page)
{
    for (uint32_t i = 0; i < witness.count; i++) {
        if (witness.pages[i] == page) {
            return true;
        }
    }
    return false;
}

/* The same pages, after a store; all of them, since one may be mapped twice. */
static void
witness_copy_again(void)
{
    for (uint32_t i = 0; i < witness.count; i++) {
        memcpy(witness.copies + (size_t)i * PAGE, (const void *)witness.pages[i], PAGE);
    }
    witness.digest = witness_digest();
}

static bool
witness_start(const span *shared, int shareds)
{
    size_t size = 0;
    void *list = NULL;
    witness.overflow = false;
    witness.on = false;
    if (witness.copies == NULL) {
        void *room = mmap(NULL, (size_t)WITNESS_PAGES * PAGE, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (room == MAP_FAILED) {
            return false;
        }
        witness.copies = room;
    }
    if (syscall(SYS_get_robust_list, 0, &list, &size) == 0) {
        witness.list = list;
    }
    witness_copy(shared, shareds);
    witness.on = true;
    return true;
}

/* Whether the shared bytes are no more what they were at the last copy. */
static bool
witness_differs(void)
{
    for (uint32_t i = 0; i < witness.count; i++) {
        if (memcmp(witness.copies + (size_t)i * PAGE, (const void *)witness.pages[i], PAGE) != 0) {
            return true;
        }
    }
    return false;
}

#endif
