/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_adm_status.c - status as people read it. Each tests/unit/status/NAME.json is rendered and
 * compared with NAME.txt.
 */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tapdisk-drbd/adm_render.h"

static const char *const names[] = {"connected",  "syncsource", "synctarget", "connecting",
                                    "standalone", "users",      "incomplete", "asked",
                                    "asking",     "away",       "paused",     "differing",
                                    "verifying",  "nodata",     "fencing"};

static char *file_text(const char *name, const char *suffix)
{
    char path[512], *text = calloc(1, 8192);
    FILE *file;

    (void)snprintf(path, sizeof path, TEST_DATA "/status/%s%s", name, suffix);
    file = fopen(path, "r");
    ck_assert_msg(file && text, "%s", path);
    ck_assert_uint_lt(fread(text, 1, 8191, file), 8191);
    fclose(file);
    return text;
}

static char *rendered(const char *json, bool color)
{
    json_t *status = json_loads(json, 0, NULL);
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);

    ck_assert_ptr_nonnull(status);
    adm_render_status(status, color, out);
    fclose(out);
    json_decref(status);
    return text;
}

START_TEST(test_text)
{
    char *json = file_text(names[_i], ".json"), *expected = file_text(names[_i], ".txt");
    char *got = rendered(json, false);

    ck_assert_str_eq(got, expected);
    free(got);
    free(expected);
    free(json);
}
END_TEST

/* Colours are put around words; taken out again, the text is the same. */
START_TEST(test_color)
{
    char *json = file_text(names[_i], ".json"), *expected = file_text(names[_i], ".txt");
    char *got = rendered(json, true), *to = got;
    bool painted = false;

    for (const char *from = got; *from; from++) {
        if (*from == '\033') {
            from = strchr(from, 'm');
            ck_assert_ptr_nonnull(from);
            painted = true;
            continue;
        }
        *to++ = *from;
    }
    *to = '\0';
    ck_assert_str_eq(got, expected);
    ck_assert_int_eq(painted, strcmp(names[_i], "incomplete") != 0);
    free(got);
    free(expected);
    free(json);
}
END_TEST

START_TEST(test_units)
{
    static const struct {
        double value;
        const char *size, *duration;
    } cases[] = {
        {0, "0 KiB", "0:00"},
        {59, "59 KiB", "0:59"},
        {1023, "1023 KiB", "17:03"},
        {1024, "1.0 MiB", "17:04"},
        {3600, "3.5 MiB", "1:00:00"},
        {359999, "351.6 MiB", "99:59:59"},
        {360000, "351.6 MiB", "unknown"},
        {1.5 * 1024 * 1024 * 1024, "1.5 TiB", "unknown"},
    };
    char text[16];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        adm_render_size(cases[i].value, text, sizeof text);
        ck_assert_str_eq(text, cases[i].size);
        adm_render_duration(cases[i].value, text, sizeof text);
        ck_assert_str_eq(text, cases[i].duration);
    }
    adm_render_duration((double)NAN, text, sizeof text);
    ck_assert_str_eq(text, "unknown");
    adm_render_duration(-1, text, sizeof text);
    ck_assert_str_eq(text, "unknown");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("adm_status");
    TCase *tcase = tcase_create("render");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(tcase, test_text, 0, sizeof names / sizeof *names);
    tcase_add_loop_test(tcase, test_color, 0, sizeof names / sizeof *names);
    tcase_add_test(tcase, test_units);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
