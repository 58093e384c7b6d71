/* SPDX-License-Identifier: Apache-2.0 */
/* The ground floor: owners, checked arithmetic, hashes, statuses, racing copies. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomics.h"
#include "base/checked.h"
#include "base/hash.h"
#include "base/owner.h"
#include "base/status.h"

#define CHECK(condition)                                                      \
    do {                                                                      \
        if (!(condition)) {                                                   \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                          \
        }                                                                     \
    } while (0)

static void
owners(void)
{
    static const uint64_t generations[] = {0, 1, 0xffff, 0x10000, IPS_GENERATION_MASK};
    static const uint32_t slots[] = {0, 1, 77, IPS_MAX_SLOTS - 1};
    for (size_t s = 0; s < sizeof(slots) / sizeof(slots[0]); s++) {
        for (size_t g = 0; g < sizeof(generations) / sizeof(generations[0]); g++) {
            ips_owner owner = ips_owner_make(slots[s], generations[g]);
            CHECK(owner != IPS_NOBODY);
            CHECK((owner & IPS_OWNER_FLAGS) == 0);
            CHECK(ips_owner_slot(owner) == slots[s]);
            CHECK(ips_owner_generation(owner) == generations[g]);
        }
    }
    puts("ok an owner gives its slot and generation back and leaves the flags alone");
}

static void
arithmetic(void)
{
    CHECK(ips_within(0, 0, 0) && ips_within(4, 4, 8) && ips_within(8, 0, 8));
    CHECK(!ips_within(4, 5, 8) && !ips_within(9, 0, 8));
    CHECK(!ips_within(UINT64_MAX, 2, 8) && !ips_within(2, UINT64_MAX, 8));
    CHECK(ips_align_up(0, 16) == 0 && ips_align_up(1, 16) == 16 && ips_align_up(32, 16) == 32);
    CHECK(ips_is_power_of_two(1) && ips_is_power_of_two(UINT64_C(1) << 63));
    CHECK(!ips_is_power_of_two(0) && !ips_is_power_of_two(6));
    puts("ok a range that wraps around is never within");
}

static void
hashes(void)
{
    char text[64];
    memset(text, 'a', sizeof(text));
    uint64_t seen[65];
    for (size_t size = 0; size <= 64; size++) {
        seen[size] = ips_hash(text, size);
        for (size_t other = 0; other < size; other++) {
            CHECK(seen[other] != seen[size]);
        }
    }
    /* Where the bytes lie must not matter. */
    for (size_t shift = 0; shift < 8; shift++) {
        char moved[64];
        memcpy(moved + shift, "the same bytes", 14);
        CHECK(ips_hash(moved + shift, 14) == ips_hash("the same bytes", 14));
    }
    puts("ok a hash depends on all the bytes and only on them");
}

static void
statuses(void)
{
    for (int status = -1; status >= -IPS_STATUS_COUNT; status--) {
        CHECK(ips_status_text(status) != NULL && ips_status_text(status)[0] != '\0');
        CHECK(ips_fail(status, "object %d", 7) == status);
        CHECK(ips_last_note()->status == status);
        CHECK(strstr(ips_last_note()->detail, "object 7") != NULL);
    }
    errno = ENOENT;
    CHECK(ips_fail_errno("file") == IPS_ENOENT && ips_last_note()->sys_errno == ENOENT);
    errno = EXDEV;
    CHECK(ips_fail_errno("file") == IPS_ESYS && ips_last_note()->sys_errno == EXDEV);
    char name[600];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    CHECK(ips_fail(IPS_ENAME, "%s", name) == IPS_ENAME);
    CHECK(strlen(ips_last_note()->detail) < sizeof(ips_last_note()->detail));
    puts("ok every status has a text and keeps a note of any length");
}

static void
racing_copies(void)
{
    _Alignas(8) unsigned char from[64], to[64];
    for (size_t i = 0; i < sizeof(from); i++) {
        from[i] = (unsigned char)(i + 1);
    }
    for (size_t size = 0; size <= 56; size++) {
        memset(to, 0, sizeof(to));
        ips_copy_racing(to, from, size);
        CHECK(memcmp(to, from, size) == 0 && to[size] == 0);
    }
    puts("ok a racing copy writes exactly the bytes asked for");
}

int
main(void)
{
    owners();
    arithmetic();
    hashes();
    statuses();
    racing_copies();
    return 0;
}
