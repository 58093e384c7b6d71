/* SPDX-License-Identifier: Apache-2.0 */
/* Python objects as keys of a SharedMap: None, bool, int, float, str, bytes,
 * datetime and tuples of these.
 *
 * Keys that are equal in Python have the same canonical bytes: True, 1 and
 * 1.0 are the integer 1, 0.0 and -0.0 the integer 0, a datetime with a time
 * zone is its moment in UTC.  Where that is not how the key was written, the
 * encoding as written (the spelling) goes along, for those who list keys. */
#ifndef IPS_BIND_KEY_H
#define IPS_BIND_KEY_H

#include "bind/state.h"
#include "bind/value.h"
#include "data/item.h"

typedef struct {
    ips_key key; /* points into the two below */
    bool spelled;
    ips_encoded canonical;
    ips_encoded spelling; /* where `spelled` */
} ips_key_encoding;

/* 0, or -1 with an exception set: TypeError for NaN and other types. */
int ips_key_encode(ips_state *state, PyObject *key, ips_key_encoding *out);

/* A key as it was written; DecodeError where the bytes are no key's. */
PyObject *ips_key_decode(ips_state *state, const uint8_t *bytes, size_t size);

static inline void
ips_key_encoding_clear(ips_key_encoding *encoding)
{
    ips_encoded_clear(&encoding->canonical);
    if (encoding->spelled) {
        ips_encoded_clear(&encoding->spelling);
    }
}

#endif
