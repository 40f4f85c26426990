/* Keyed BLAKE2b with a digest of 16 bytes, by RFC 7693: what a client with a key needs. */

#include <stdint.h>
#include <string.h>

enum { BLAKE2B_BLOCK = 128, BLAKE2B_TAG = 16 };

static const uint64_t blake2b_start[8] = {
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
    0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
};
static const unsigned char blake2b_order[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

static inline uint64_t blake2b_right(uint64_t word, int bits) { return word >> bits | word << (64 - bits); }

static inline void blake2b_mix(uint64_t *v, int a, int b, int c, int d, uint64_t x, uint64_t y) {
    v[a] += v[b] + x;
    v[d] = blake2b_right(v[d] ^ v[a], 32);
    v[c] += v[d];
    v[b] = blake2b_right(v[b] ^ v[c], 24);
    v[a] += v[b] + y;
    v[d] = blake2b_right(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = blake2b_right(v[b] ^ v[c], 63);
}

/* One block, of a message that has so many bytes up to its end. Little-endian machines only, as all that we measure on. */
static void blake2b_block(uint64_t *state, const unsigned char *block, uint64_t bytes, int is_last) {
    uint64_t v[16], m[16];
    memcpy(m, block, sizeof m);
    memcpy(v, state, 64);
    memcpy(v + 8, blake2b_start, 64);
    v[12] ^= bytes;
    if (is_last) v[14] = ~v[14];
    for (int round = 0; round < 12; round++) {
        const unsigned char *s = blake2b_order[round % 10];
        for (int at = 0; at < 4; at++) blake2b_mix(v, at, 4 + at, 8 + at, 12 + at, m[s[2 * at]], m[s[2 * at + 1]]);
        for (int at = 0; at < 4; at++)
            blake2b_mix(v, at, 4 + (at + 1) % 4, 8 + (at + 2) % 4, 12 + (at + 3) % 4, m[s[8 + 2 * at]], m[s[9 + 2 * at]]);
    }
    for (int at = 0; at < 8; at++) state[at] ^= v[at] ^ v[at + 8];
}

/* What has read a key of 32 bytes, for one personalisation. */
static void blake2b_begin(uint64_t *state, const unsigned char *key, const char *person) {
    unsigned char block[BLAKE2B_BLOCK] = {0}, parameters[64] = {BLAKE2B_TAG, 32, 1, 1};
    uint64_t words[8];
    memcpy(parameters + 48, person, strlen(person));
    memcpy(words, parameters, sizeof words);
    for (int at = 0; at < 8; at++) state[at] = blake2b_start[at] ^ words[at];
    memcpy(block, key, 32);
    blake2b_block(state, block, BLAKE2B_BLOCK, 0);
}

/* The tag of a message that is not empty. */
static void blake2b_tag(const uint64_t *begun, const unsigned char *data, int size, unsigned char *tag) {
    unsigned char block[BLAKE2B_BLOCK] = {0};
    uint64_t state[8];
    int at = 0;
    memcpy(state, begun, sizeof state);
    for (; size - at > BLAKE2B_BLOCK; at += BLAKE2B_BLOCK)
        blake2b_block(state, data + at, 2 * BLAKE2B_BLOCK + at, 0);
    memcpy(block, data + at, size - at);
    blake2b_block(state, block, BLAKE2B_BLOCK + size, 1);
    memcpy(tag, state, BLAKE2B_TAG);
}
