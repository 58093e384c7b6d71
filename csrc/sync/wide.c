/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/wide.h"

int
ips_wide_back_slow(ips_wide *wide, uint64_t bytes)
{
    if (bytes > wide->capacity) {
        return ips_fail(IPS_ENOSPACE, "%s%s%s has no room for the share of one more member",
                        *wide->name == '\0' ? "an unnamed object" : "'", wide->name,
                        *wide->name == '\0' ? "" : "'");
    }
    return wide->extend(wide, bytes);
}
