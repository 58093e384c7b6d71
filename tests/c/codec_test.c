/* SPDX-License-Identifier: Apache-2.0 */
/* MessagePack: what is written, what is read back, and what bad bytes do. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/msgpack.h"

#define CHECK(condition)                                                      \
    do {                                                                      \
        if (!(condition)) {                                                   \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                          \
        }                                                                     \
    } while (0)

/* The one token in a copy of the packed bytes that ends where they end, so
 * that the sanitizer sees a read past them. */
static uint8_t *
alone(const ips_packer *packer)
{
    uint8_t *copy = malloc(packer->size == 0 ? 1 : packer->size);
    CHECK(copy != NULL);
    memcpy(copy, packer->bytes, packer->size);
    return copy;
}

/* Does the packer hold exactly these bytes?  Empties it. */
static bool
wrote(ips_packer *packer, const char *hex)
{
    char got[2 * 64 + 1] = "";
    for (size_t i = 0; i < packer->size && i < 64; i++) {
        (void)snprintf(got + 2 * i, 3, "%02x", packer->bytes[i]);
    }
    packer->size = 0;
    if (strcmp(got, hex) != 0) {
        fprintf(stderr, "wrote %s, not %s\n", got, hex);
    }
    return strcmp(got, hex) == 0;
}

static void
shortest_forms(void)
{
    static const struct { int64_t value; const char *hex; } ints[] = {
        {0, "00"}, {1, "01"}, {127, "7f"}, {128, "cc80"}, {255, "ccff"}, {256, "cd0100"},
        {65535, "cdffff"}, {65536, "ce00010000"}, {4294967295, "ceffffffff"},
        {4294967296, "cf0000000100000000"}, {INT64_MAX, "cf7fffffffffffffff"},
        {-1, "ff"}, {-32, "e0"}, {-33, "d0df"}, {-128, "d080"}, {-129, "d1ff7f"},
        {-32768, "d18000"}, {-32769, "d2ffff7fff"}, {INT32_MIN, "d280000000"},
        {(int64_t)INT32_MIN - 1, "d3ffffffff7fffffff"}, {INT64_MIN, "d38000000000000000"},
    };
    uint8_t room[64];
    ips_packer packer;
    ips_packer_init(&packer, room, sizeof(room));
    for (size_t i = 0; i < sizeof(ints) / sizeof(ints[0]); i++) {
        CHECK(ips_packer_put_int(&packer, ints[i].value) == IPS_OK);
        CHECK(wrote(&packer, ints[i].hex));
    }
    CHECK(ips_packer_put_uint(&packer, UINT64_MAX) == IPS_OK && wrote(&packer, "cfffffffffffffffff"));
    CHECK(ips_packer_put_nil(&packer) == IPS_OK && wrote(&packer, "c0"));
    CHECK(ips_packer_put_bool(&packer, false) == IPS_OK && wrote(&packer, "c2"));
    CHECK(ips_packer_put_bool(&packer, true) == IPS_OK && wrote(&packer, "c3"));
    CHECK(ips_packer_put_float(&packer, 1.5) == IPS_OK && wrote(&packer, "cb3ff8000000000000"));
    CHECK(ips_packer_put_str(&packer, "ab", 2) == IPS_OK && wrote(&packer, "a26162"));
    CHECK(ips_packer_put_str(&packer, NULL, 0) == IPS_OK && wrote(&packer, "a0"));
    CHECK(ips_packer_put_bin(&packer, "ab", 2) == IPS_OK && wrote(&packer, "c4026162"));
    CHECK(ips_packer_put_array(&packer, 15) == IPS_OK && wrote(&packer, "9f"));
    CHECK(ips_packer_put_array(&packer, 16) == IPS_OK && wrote(&packer, "dc0010"));
    CHECK(ips_packer_put_array(&packer, 65536) == IPS_OK && wrote(&packer, "dd00010000"));
    CHECK(ips_packer_put_map(&packer, 15) == IPS_OK && wrote(&packer, "8f"));
    CHECK(ips_packer_put_map(&packer, 16) == IPS_OK && wrote(&packer, "de0010"));
    CHECK(ips_packer_put_map(&packer, 65536) == IPS_OK && wrote(&packer, "df00010000"));
    CHECK(packer.heap == NULL);
    ips_packer_clear(&packer);
    puts("ok each value is written in its shortest form");
}

/* Lead bytes by size: str, bin, ext. */
static void
shortest_heads(void)
{
    static const struct { size_t size; uint8_t str, bin, ext; } heads[] = {
        {0, 0xa0, 0xc4, 0xc7}, {1, 0xa1, 0xc4, 0xd4}, {2, 0xa2, 0xc4, 0xd5}, {3, 0xa3, 0xc4, 0xc7},
        {4, 0xa4, 0xc4, 0xd6}, {8, 0xa8, 0xc4, 0xd7}, {16, 0xb0, 0xc4, 0xd8}, {17, 0xb1, 0xc4, 0xc7},
        {31, 0xbf, 0xc4, 0xc7}, {32, 0xd9, 0xc4, 0xc7}, {255, 0xd9, 0xc4, 0xc7},
        {256, 0xda, 0xc5, 0xc8}, {65535, 0xda, 0xc5, 0xc8}, {65536, 0xdb, 0xc6, 0xc9},
    };
    uint8_t *bytes = calloc(1, 65536);
    CHECK(bytes != NULL);
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        size_t size = heads[i].size;
        for (int kind = IPS_TOKEN_STR; kind <= IPS_TOKEN_EXT; kind++) {
            ips_packer packer;
            ips_packer_init(&packer, NULL, 0);
            int status = IPS_OK;
            uint8_t lead = 0;
            switch (kind) {
            case IPS_TOKEN_STR: lead = heads[i].str; status = ips_packer_put_str(&packer, bytes, size); break;
            case IPS_TOKEN_BIN: lead = heads[i].bin; status = ips_packer_put_bin(&packer, bytes, size); break;
            case IPS_TOKEN_EXT: lead = heads[i].ext; status = ips_packer_put_ext(&packer, -7, bytes, size); break;
            default: continue;
            }
            CHECK(status == IPS_OK && packer.bytes[0] == lead);
            uint8_t *copy = alone(&packer);
            ips_unpacker unpacker;
            ips_unpacker_init(&unpacker, copy, packer.size);
            ips_token token;
            CHECK(ips_unpacker_next(&unpacker, &token) == IPS_OK && token.kind == kind);
            CHECK(token.size == size && (kind != IPS_TOKEN_EXT || token.ext == -7));
            CHECK(memcmp(token.bytes, bytes, size) == 0);
            CHECK(ips_unpacker_finish(&unpacker) == IPS_OK);
            free(copy);
            ips_packer_clear(&packer);
        }
    }
    free(bytes);
    puts("ok strings and extensions of every size class come back");
}

static void
numbers_return(void)
{
    for (int bits = 0; bits < 64; bits++) {
        for (int64_t near = -2; near <= 2; near++) {
            for (int sign = -1; sign <= 1; sign += 2) {
                int64_t value = (int64_t)((uint64_t)sign * ((UINT64_C(1) << bits) + (uint64_t)near));
                uint8_t room[16];
                ips_packer packer;
                ips_packer_init(&packer, room, sizeof(room));
                CHECK(ips_packer_put_int(&packer, value) == IPS_OK);
                ips_unpacker unpacker;
                ips_unpacker_init(&unpacker, room, packer.size);
                ips_token token;
                CHECK(ips_unpacker_next(&unpacker, &token) == IPS_OK);
                CHECK(token.kind == (value < 0 ? IPS_TOKEN_INT : IPS_TOKEN_UINT));
                CHECK(token.negative == value && ips_unpacker_finish(&unpacker) == IPS_OK);
            }
        }
    }
    /* Forms that we never write: a natural number in a signed form, a short float. */
    static const uint8_t signed_one[] = {0xd3, 0, 0, 0, 0, 0, 0, 0, 1};
    static const uint8_t short_float[] = {0xca, 0xbf, 0xc0, 0, 0};
    ips_unpacker unpacker;
    ips_token token;
    ips_unpacker_init(&unpacker, signed_one, sizeof(signed_one));
    CHECK(ips_unpacker_next(&unpacker, &token) == IPS_OK);
    CHECK(token.kind == IPS_TOKEN_UINT && token.natural == 1);
    ips_unpacker_init(&unpacker, short_float, sizeof(short_float));
    CHECK(ips_unpacker_next(&unpacker, &token) == IPS_OK);
    CHECK(token.kind == IPS_TOKEN_FLOAT && !(token.real < -1.5) && !(token.real > -1.5));
    puts("ok integers around every power of two come back");
}

static void
open_extensions(void)
{
    static const size_t sizes[] = {0, 1, 2, 3, 4, 5, 8, 16, 17, 255, 256, 65535, 65536, 70000};
    enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };
    for (size_t s = 0; s < SIZES; s++) {
        for (size_t g = 0; g < SIZES; g++) {
            ips_packer straight, patched;
            ips_packer_init(&straight, NULL, 0);
            ips_packer_init(&patched, NULL, 0);
            uint8_t *bytes = malloc(sizes[s] + 1);
            CHECK(bytes != NULL);
            for (size_t i = 0; i < sizes[s]; i++) {
                bytes[i] = (uint8_t)(i * 7 % 128); /* each byte a value: fixed ints */
            }
            CHECK(ips_packer_put_nil(&straight) == IPS_OK && ips_packer_put_nil(&patched) == IPS_OK);
            CHECK(ips_packer_put_ext(&straight, 5, bytes, sizes[s]) == IPS_OK);
            ips_packer_ext ext;
            CHECK(ips_packer_open_ext(&patched, sizes[g], &ext) == IPS_OK);
            for (size_t i = 0; i < sizes[s]; i++) {
                CHECK(ips_packer_put_uint(&patched, bytes[i]) == IPS_OK);
            }
            CHECK(ips_packer_close_ext(&patched, &ext, 5) == IPS_OK);
            CHECK(ips_packer_put_nil(&straight) == IPS_OK && ips_packer_put_nil(&patched) == IPS_OK);
            CHECK(straight.size == patched.size);
            CHECK(memcmp(straight.bytes, patched.bytes, straight.size) == 0);
            free(bytes);
            ips_packer_clear(&straight);
            ips_packer_clear(&patched);
        }
    }
    puts("ok an extension is the same whatever size was guessed for it");
}

static void
timestamps(void)
{
    static const struct { int64_t seconds; uint32_t fraction; uint32_t size; } cases[] = {
        {0, 0, 4}, {UINT32_MAX, 0, 4}, {0, 1, 8}, {(INT64_C(1) << 32), 0, 8},
        {(INT64_C(1) << 34) - 1, 999999999, 8}, {INT64_C(1) << 34, 0, 12}, {-1, 0, 12},
        {-62135596800, 0, 12}, {INT64_MIN, 999999999, 12}, {INT64_MAX, 0, 12},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t room[32];
        ips_packer packer;
        ips_packer_init(&packer, room, sizeof(room));
        CHECK(ips_packer_put_timestamp(&packer, cases[i].seconds, cases[i].fraction) == IPS_OK);
        ips_unpacker unpacker;
        ips_unpacker_init(&unpacker, room, packer.size);
        ips_token token;
        CHECK(ips_unpacker_next(&unpacker, &token) == IPS_OK);
        CHECK(token.kind == IPS_TOKEN_EXT && token.ext == IPS_EXT_TIMESTAMP);
        CHECK(token.size == cases[i].size);
        int64_t seconds;
        uint32_t fraction;
        CHECK(ips_token_timestamp(&token, &seconds, &fraction) == IPS_OK);
        CHECK(seconds == cases[i].seconds && fraction == cases[i].fraction);
    }
    uint8_t late[12];
    memset(late, 0xff, sizeof(late));
    int64_t seconds;
    uint32_t fraction;
    for (uint32_t size = 0; size <= 12; size++) {
        ips_token token = {.kind = IPS_TOKEN_EXT, .ext = IPS_EXT_TIMESTAMP, .size = size, .bytes = late};
        int status = ips_token_timestamp(&token, &seconds, &fraction);
        CHECK(status == (size == 4 ? IPS_OK : IPS_EDECODE));
    }
    puts("ok timestamps take the smallest of the three forms");
}

static volatile uint8_t touched;

/* Read a whole value as a caller would, adding up the items promised and
 * touching every byte of strings.  0 or a negative status. */
static int
walk(ips_unpacker *unpacker, size_t *promised)
{
    ips_token token;
    int status = ips_unpacker_next(unpacker, &token);
    if (status != IPS_OK) {
        return status;
    }
    uint64_t items = token.kind == IPS_TOKEN_ARRAY ? token.size
                     : token.kind == IPS_TOKEN_MAP ? 2 * (uint64_t)token.size : 0;
    if (token.kind >= IPS_TOKEN_STR && token.kind <= IPS_TOKEN_BIN) {
        for (uint32_t i = 0; i < token.size; i++) {
            touched = token.bytes[i];
        }
    }
    *promised += items;
    bool nested = items != 0 || token.kind == IPS_TOKEN_EXT;
    if (nested && (status = ips_unpacker_enter(unpacker)) != IPS_OK) {
        return status;
    }
    if (token.kind == IPS_TOKEN_EXT && token.ext == 2) {
        ips_unpacker inner;
        ips_unpacker_open_ext(unpacker, &token, &inner);
        status = walk(&inner, promised);
        if (status == IPS_OK) {
            status = ips_unpacker_finish(&inner);
        }
    }
    for (uint64_t i = 0; i < items && status == IPS_OK; i++) {
        status = walk(unpacker, promised);
    }
    if (nested) {
        ips_unpacker_leave(unpacker);
    }
    return status;
}

static int
walk_whole(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size == 0 ? 1 : size);
    CHECK(copy != NULL);
    memcpy(copy, bytes, size);
    ips_unpacker unpacker;
    ips_unpacker_init(&unpacker, copy, size);
    size_t promised = 0;
    int status = walk(&unpacker, &promised);
    if (status == IPS_OK) {
        status = ips_unpacker_finish(&unpacker);
    }
    CHECK(promised <= size);
    CHECK(status == IPS_OK || status == IPS_EDECODE);
    free(copy);
    return status;
}

/* One of everything, nested. */
static void
sample(ips_packer *packer)
{
    char text[300];
    memset(text, 't', sizeof(text));
    ips_packer_ext ext;
    int failed = 0;
    failed |= ips_packer_put_array(packer, 17);
    for (int i = 0; i < 4; i++) {
        failed |= ips_packer_put_int(packer, -(INT64_C(1) << (15 * i)));
        failed |= ips_packer_put_uint(packer, UINT64_C(200) << (18 * i));
    }
    failed |= ips_packer_put_float(packer, NAN);
    failed |= ips_packer_put_str(packer, text, 40);
    failed |= ips_packer_put_str(packer, text, sizeof(text));
    failed |= ips_packer_put_bin(packer, text, 5);
    failed |= ips_packer_put_timestamp(packer, -5, 7);
    failed |= ips_packer_put_ext(packer, 9, text, 16);
    failed |= ips_packer_put_map(packer, 2);
    failed |= ips_packer_put_str(packer, "key", 3);
    failed |= ips_packer_put_nil(packer);
    failed |= ips_packer_put_bool(packer, true);
    failed |= ips_packer_put_map(packer, 0);
    failed |= ips_packer_open_ext(packer, 2, &ext);
    failed |= ips_packer_put_array(packer, 3);
    failed |= ips_packer_put_str(packer, "inner", 5);
    failed |= ips_packer_put_array(packer, 0);
    failed |= ips_packer_put_uint(packer, 70000);
    failed |= ips_packer_close_ext(packer, &ext, 2);
    failed |= ips_packer_put_array(packer, 1);
    failed |= ips_packer_put_bool(packer, false);
    CHECK(failed == IPS_OK);
}

static void
prefixes(void)
{
    ips_packer packer;
    ips_packer_init(&packer, NULL, 0);
    sample(&packer);
    CHECK(walk_whole(packer.bytes, packer.size) == IPS_OK);
    for (size_t size = 0; size < packer.size; size++) {
        CHECK(walk_whole(packer.bytes, size) == IPS_EDECODE);
    }
    CHECK(ips_packer_put_nil(&packer) == IPS_OK);
    CHECK(walk_whole(packer.bytes, packer.size) == IPS_EDECODE);
    ips_packer_clear(&packer);
    puts("ok every true prefix, and anything after the value, is refused");
}

static uint64_t
random_number(void)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void
mutations(void)
{
    ips_packer packer;
    ips_packer_init(&packer, NULL, 0);
    sample(&packer);
    uint8_t *bytes = malloc(packer.size);
    CHECK(bytes != NULL);
    int refused = 0;
    for (int round = 0; round < 40000; round++) {
        memcpy(bytes, packer.bytes, packer.size);
        for (uint64_t n = 1 + random_number() % 4; n != 0; n--) {
            bytes[random_number() % packer.size] = (uint8_t)random_number();
        }
        refused += walk_whole(bytes, packer.size - random_number() % 3) != IPS_OK;
    }
    for (int round = 0; round < 40000; round++) {
        size_t size = random_number() % 40;
        for (size_t i = 0; i < size; i++) {
            uint64_t number = random_number();
            bytes[i] = (uint8_t)(number & 0x100 ? 0xc0 + (number & 0x1f) : number);
        }
        refused += walk_whole(bytes, size) != IPS_OK;
    }
    CHECK(refused > 40000);
    free(bytes);
    ips_packer_clear(&packer);
    puts("ok mutated and random bytes are read or refused, never past their end");
}

static void
promises(void)
{
    static const uint8_t many_items[] = {0xdd, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t many_pairs[] = {0xdf, 0x80, 0x00, 0x00, 0x00, 0, 0, 0, 0};
    static const uint8_t twice[] = {0xdc, 0, 5, 0xdc, 0, 5, 0, 0, 0, 0, 0};
    static const uint8_t never[] = {0xc1};
    CHECK(walk_whole(many_items, sizeof(many_items)) == IPS_EDECODE);
    CHECK(walk_whole(many_pairs, sizeof(many_pairs)) == IPS_EDECODE);
    CHECK(walk_whole(twice, sizeof(twice)) == IPS_EDECODE);
    CHECK(walk_whole(never, sizeof(never)) == IPS_EDECODE);
    uint8_t deep[4096];
    memset(deep, 0x91, sizeof(deep));
    deep[sizeof(deep) - 1] = 0xc0;
    CHECK(walk_whole(deep, sizeof(deep)) == IPS_EDECODE);
    CHECK(walk_whole(deep + sizeof(deep) - 1 - IPS_UNPACKER_DEPTH, IPS_UNPACKER_DEPTH + 1) == IPS_OK);
    CHECK(walk_whole(deep + sizeof(deep) - 2 - IPS_UNPACKER_DEPTH, IPS_UNPACKER_DEPTH + 2) == IPS_EDECODE);
    puts("ok promises beyond the bytes and nesting beyond the bound are refused");
}

static void
growth(void)
{
    uint8_t room[8];
    ips_packer packer;
    ips_packer_init(&packer, room, sizeof(room));
    for (uint32_t i = 0; i < 3000; i++) {
        CHECK(ips_packer_put_uint(&packer, i % 128) == IPS_OK);
        CHECK((packer.heap != NULL) == (packer.size > sizeof(room)));
    }
    for (uint32_t i = 0; i < 3000; i++) {
        CHECK(packer.bytes[i] == i % 128);
    }
    CHECK(ips_packer_grow(&packer, SIZE_MAX - 5) == IPS_ENOMEM && packer.size == 3000);
    CHECK(ips_packer_put_array(&packer, (size_t)UINT32_MAX + 1) == IPS_ETOOBIG);
    CHECK(ips_packer_put_str(&packer, NULL, (size_t)UINT32_MAX + 1) == IPS_ETOOBIG);
    CHECK(packer.size == 3000);
    ips_packer_clear(&packer);
    puts("ok a packer leaves its room only when that is full, and keeps what it has");
}

int
main(void)
{
    shortest_forms();
    shortest_heads();
    numbers_return();
    open_extensions();
    timestamps();
    prefixes();
    mutations();
    promises();
    growth();
    return 0;
}
