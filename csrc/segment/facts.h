/* SPDX-License-Identifier: Apache-2.0 */
/* Who is inside a segment, for people who look: copies, a moment old when they
 * arrive, and taken from nobody. */
#ifndef IPS_SEGMENT_FACTS_H
#define IPS_SEGMENT_FACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/owner.h"
#include "base/status.h"
#include "segment/segment.h"

typedef struct {
    ips_owner holder;  /* of the writers' lock; IPS_NOBODY: nobody */
    int64_t since;     /* ns of the monotonic clock; 0: not said, so it is of a moment */
    uint64_t thread;   /* ips_thread_ident, where `since` is not 0 */
    uint64_t file;     /* as in member/waits.h */
} ips_tx_facts;

/* Of an open segment. */
void ips_tx_facts_of(const ips_segment *segment, ips_tx_facts *out);
/* Of the one with that name, without opening it; IPS_ENOENT, IPS_EFORMAT where
 * it is none. */
IPS_MUST_CHECK int ips_tx_peek(ips_space *space, const char *name, ips_tx_facts *out);

/* Where in the file one waits for the writers' lock (member/waits.h). */
#define IPS_TX_PLACE UINT64_C(128)

#endif
