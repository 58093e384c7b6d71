/* SPDX-License-Identifier: Apache-2.0 */
/* What the two files of a record share: slots, values without a limit. */
#ifndef IPS_DATA_RECORD_SLOT_H
#define IPS_DATA_RECORD_SLOT_H

#include "data/record.h"

/* A value up to here is written over the old one where its block is large
 * enough; a longer one costs the journal more than a new block. */
#define IPS_SLOT_REUSED 512u

static inline bool
ips_slot_is_inline(const ips_slot *slot)
{
    return ips_value_word_size(slot->word) <= IPS_SLOT_INLINE;
}

/* Where its value lies: in the slot itself or in shared memory, 8-aligned.
 * False where none can be. */
bool ips_slot_value(ips_segment *segment, const ips_slot *slot, ips_value *out);

/* --- inside a transaction */

/* A slot with this value, known to nobody. */
IPS_MUST_CHECK int ips_slot_make(ips_segment *segment, const ips_value *value, ips_slot *out);
IPS_MUST_CHECK int ips_slot_free(ips_segment *segment, const ips_slot *slot);

/* IPS_ECORRUPT, noted with the record's offset. */
int ips_record_damaged(const ips_record *record, const char *what);

#endif
