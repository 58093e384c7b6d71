/* SPDX-License-Identifier: Apache-2.0 */
/* The methods of SharedBytes, as those of bytes: each on the value of one moment. */
#include "bind/text.h"

#define EACH(M) \
    M(octets, bytes, capitalize) M(octets, bytes, center) M(octets, bytes, count) \
    M(octets, bytes, decode) M(octets, bytes, endswith) M(octets, bytes, expandtabs) \
    M(octets, bytes, find) M(octets, bytes, hex) M(octets, bytes, index) \
    M(octets, bytes, isalnum) M(octets, bytes, isalpha) M(octets, bytes, isascii) \
    M(octets, bytes, isdigit) M(octets, bytes, islower) M(octets, bytes, isspace) \
    M(octets, bytes, istitle) M(octets, bytes, isupper) M(octets, bytes, join) \
    M(octets, bytes, ljust) M(octets, bytes, lower) M(octets, bytes, lstrip) \
    M(octets, bytes, partition) M(octets, bytes, removeprefix) M(octets, bytes, removesuffix) \
    M(octets, bytes, replace) M(octets, bytes, rfind) M(octets, bytes, rindex) \
    M(octets, bytes, rjust) M(octets, bytes, rpartition) M(octets, bytes, rsplit) \
    M(octets, bytes, rstrip) M(octets, bytes, split) M(octets, bytes, splitlines) \
    M(octets, bytes, startswith) M(octets, bytes, strip) M(octets, bytes, swapcase) \
    M(octets, bytes, title) M(octets, bytes, translate) M(octets, bytes, upper) \
    M(octets, bytes, zfill)

#define DEFINE(prefix, type, name) IPS_DELEGATED(prefix, name)

EACH(DEFINE)

PyMethodDef ips_bytes_reading_methods[] = {
    EACH(IPS_DELEGATE)
    {NULL, NULL, 0, NULL},
};
