/* SPDX-License-Identifier: Apache-2.0 */
/* The methods of SharedString, as those of str: each on the value of one moment. */
#include "bind/text.h"

#define EACH(M) \
    M(string, str, capitalize) M(string, str, casefold) M(string, str, center) \
    M(string, str, count) M(string, str, encode) M(string, str, endswith) \
    M(string, str, expandtabs) M(string, str, find) M(string, str, format) \
    M(string, str, format_map) M(string, str, index) M(string, str, isalnum) \
    M(string, str, isalpha) M(string, str, isascii) M(string, str, isdecimal) \
    M(string, str, isdigit) M(string, str, isidentifier) M(string, str, islower) \
    M(string, str, isnumeric) M(string, str, isprintable) M(string, str, isspace) \
    M(string, str, istitle) M(string, str, isupper) M(string, str, join) M(string, str, ljust) \
    M(string, str, lower) M(string, str, lstrip) M(string, str, partition) \
    M(string, str, removeprefix) M(string, str, removesuffix) M(string, str, replace) \
    M(string, str, rfind) M(string, str, rindex) M(string, str, rjust) \
    M(string, str, rpartition) M(string, str, rsplit) M(string, str, rstrip) \
    M(string, str, split) M(string, str, splitlines) M(string, str, startswith) \
    M(string, str, strip) M(string, str, swapcase) M(string, str, title) \
    M(string, str, translate) M(string, str, upper) M(string, str, zfill)

#define DEFINE(prefix, type, name) IPS_DELEGATED(prefix, name)

EACH(DEFINE)

PyMethodDef ips_string_reading_methods[] = {
    EACH(IPS_DELEGATE)
    {NULL, NULL, 0, NULL},
};
