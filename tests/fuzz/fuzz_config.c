/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_config.c - a *.res file of any content is understood or refused with a place and words. */
#include <stdlib.h>
#include <string.h>

#include "libreplica/io/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct replica_error error = {0};
    struct config config = {0};
    int code = config_parse_text((const char *)data, size, "fuzz.res", "alpha", &config, &error);

    if (code > 0 || (code < 0 && (error.code != code || error.text[0] == '\0' ||
                                  strchr(error.text, '\n') != NULL)))
        abort();
    if (code == 0) {
        FILE *out = fopen("/dev/null", "w");

        for (unsigned i = 0; out && i < config.count; i++)
            config_dump(&config.resources[i], out);
        if (out)
            (void)fclose(out);
        config_free(&config);
    }
    return 0;
}
