/* SPDX-License-Identifier: GPL-2.0-or-later */
/* digest.c - see digest.h. */
#include "digest.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "libreplica/core/bytes.h"
#include "libreplica/core/crc32c.h"

struct digest {
    EVP_MD_CTX *context;
    EVP_MD *algorithm[CORE_DIGEST_COUNT];
};

int digest_new(struct digest **digest)
{
    struct digest *made = calloc(1, sizeof *made);

    if (!made)
        return REPLICA_E_MEMORY;
    made->context = EVP_MD_CTX_new();
    if (!made->context) {
        free(made);
        return REPLICA_E_MEMORY;
    }
    *digest = made;
    return 0;
}

void digest_free(struct digest *digest)
{
    if (!digest)
        return;
    for (unsigned i = 0; i < CORE_DIGEST_COUNT; i++)
        EVP_MD_free(digest->algorithm[i]);
    EVP_MD_CTX_free(digest->context);
    free(digest);
}

bool digest_sum(struct digest *digest, enum core_digest algorithm, const uint8_t *data,
                size_t length, uint8_t sum[WIRE_DIGEST_BYTES])
{
    static const char *const names[CORE_DIGEST_COUNT] = {
        [CORE_DIGEST_SHA256] = "SHA256", [CORE_DIGEST_SHA1] = "SHA1", [CORE_DIGEST_MD5] = "MD5"};
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned bytes = 0;

    memset(sum, 0, WIRE_DIGEST_BYTES);
    if (algorithm == CORE_DIGEST_CRC32C) {
        struct bytes_writer writer = bytes_writer(sum, 4);

        bytes_put32(&writer, crc32c_update(0, data, length));
        return true;
    }
    if ((unsigned)algorithm >= CORE_DIGEST_COUNT || !names[algorithm])
        return false;
    if (!digest->algorithm[algorithm])
        digest->algorithm[algorithm] = EVP_MD_fetch(NULL, names[algorithm], NULL);
    if (!digest->algorithm[algorithm] ||
        EVP_DigestInit_ex2(digest->context, digest->algorithm[algorithm], NULL) != 1 ||
        EVP_DigestUpdate(digest->context, data, length) != 1 ||
        EVP_DigestFinal_ex(digest->context, out, &bytes) != 1 || bytes > WIRE_DIGEST_BYTES)
        return false;
    memcpy(sum, out, bytes);
    return true;
}

bool digest_is_zero(const uint8_t *data, size_t length)
{
    static const uint8_t zero[16];
    size_t head = length < sizeof zero ? length : sizeof zero;

    return memcmp(data, zero, head) == 0 && memcmp(data, data + head, length - head) == 0;
}
