/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * config.c - from trees of statements to resources as one host sees them. See config.h.
 *
 * The files are parsed first, all of them; then `common` is known, and each resource is built:
 * defaults, common, its own sections, its two hosts. Last come the checks between resources.
 */
#include "libreplica/io/config_build.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libreplica/io/config_options.h"

#define COMMON_FILE "global_common.conf"
#define DIRECTORY_DEFAULT SYSCONFDIR "/tapdrbd.d"

/* ---- files -------------------------------------------------------------------------------------
 */

static int file_fail(const char *path, struct replica_error *error)
{
    int code = errno == EACCES   ? REPLICA_E_PERMISSION
               : errno == ENOENT ? REPLICA_E_NOT_FOUND
                                 : REPLICA_E_SYSTEM;

    return err_set(error, code, "%s: cannot read it: %s%s", path, strerror(errno),
                   errno == EACCES ? ": run this as root" : "");
}

/* The whole file, at most CONFIG_FILE_BYTES_MAX bytes. *text is the caller's to free. */
static int file_read(const char *path, char **text, size_t *length, struct replica_error *error)
{
    FILE *file = fopen(path, "re");
    struct stat about;
    char *buffer;
    size_t got;
    int code = 0;

    if (!file)
        return file_fail(path, error);
    if (fstat(fileno(file), &about) || !S_ISREG(about.st_mode)) {
        fclose(file);
        return err_set(error, REPLICA_E_INVALID, "%s: expected a file, found something else", path);
    }
    buffer = malloc(CONFIG_FILE_BYTES_MAX + 1);
    if (!buffer) {
        fclose(file);
        return err_set(error, REPLICA_E_MEMORY, "%s: out of memory", path);
    }
    got = fread(buffer, 1, CONFIG_FILE_BYTES_MAX + 1, file);
    if (ferror(file))
        code = file_fail(path, error);
    fclose(file);
    if (code) {
        free(buffer);
        return code;
    }
    *text = buffer;
    *length = got;
    return 0;
}

static int tree_add(struct config_build *build, const char *text, size_t length, const char *name)
{
    struct config_tree *trees;
    int code;

    trees = realloc(build->trees, (build->tree_count + 1) * sizeof *trees);
    if (!trees)
        return err_set(build->error, REPLICA_E_MEMORY, "%s: out of memory", name);
    build->trees = trees;
    code = config_tree_parse(&trees[build->tree_count], text, length, name, build->error);
    if (code == 0)
        build->tree_count++;
    return code;
}

static int file_add(struct config_build *build, const char *name)
{
    char path[512], *text = NULL;
    size_t length = 0;
    int code;

    if (snprintf(path, sizeof path, "%s/%s", build->directory, name) >= (int)sizeof path)
        return err_set(build->error, REPLICA_E_INVALID, "%s/%s: the name is too long",
                       build->directory, name);
    code = file_read(path, &text, &length, build->error);
    if (code)
        return code;
    code = tree_add(build, text, length, path);
    free(text);
    return code;
}

static int name_wanted(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');

    return entry->d_name[0] != '.' && dot && strcmp(dot, ".res") == 0;
}

static int name_order(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int directory_add(struct config_build *build)
{
    char path[512];
    struct dirent **names = NULL;
    int count, code = 0;

    count = scandir(build->directory, &names, name_wanted, name_order);
    if (count < 0 && errno == ENOENT && build->replaced)
        return 0;
    if (count < 0 && errno == ENOENT)
        return err_set(build->error, REPLICA_E_NOT_FOUND,
                       "%s: there is no such directory: make it and put a file like vm1.res in it "
                       "(tapdrbd.conf(5) has an example)",
                       build->directory);
    if (count < 0)
        return file_fail(build->directory, build->error);
    (void)snprintf(path, sizeof path, "%s/" COMMON_FILE, build->directory);
    if (access(path, F_OK) == 0)
        code = file_add(build, COMMON_FILE);
    for (int i = 0; i < count; i++) {
        if (code == 0 && !(build->replaced && strcmp(names[i]->d_name, build->replaced) == 0))
            code = file_add(build, names[i]->d_name);
        free(names[i]);
    }
    free(names);
    return code;
}

static void build_close(struct config_build *build)
{
    for (unsigned i = 0; i < build->tree_count; i++)
        config_tree_free(&build->trees[i]);
    free(build->trees);
    free(build->resources);
}

/* ---- top level of the files --------------------------------------------------------------------
 */

static int top_common(struct config_build *build, const struct config_statement *statement)
{
    if (build->common)
        return config_fail(statement, REPLICA_E_INVALID, build->error,
                           "a second 'common' section: the first is in %s, line %d",
                           build->common->file, build->common->line);
    build->common = statement;
    return 0;
}

static int top_resource(struct config_build *build, const struct config_statement *statement)
{
    struct config_built *resources;

    if (build->count == CONFIG_RESOURCES_MAX)
        return config_fail(statement, REPLICA_E_INVALID, build->error,
                           "expected at most %d resources, found one more", CONFIG_RESOURCES_MAX);
    resources = realloc(build->resources, (build->count + 1) * sizeof *resources);
    if (!resources)
        return err_set(build->error, REPLICA_E_MEMORY, "%s: out of memory", statement->file);
    build->resources = resources;
    resources[build->count++] = (struct config_built){.statement = statement};
    return 0;
}

static int top_statement(struct config_build *build, const struct config_statement *statement)
{
    static const char *const known[] = {"resource", "common", "global", "skip", "include"};
    const char *keyword = statement->words->text, *nearest;
    struct config_resource scratch;

    if (statement->block && strcmp(keyword, "resource") == 0)
        return top_resource(build, statement);
    if (statement->block && strcmp(keyword, "common") == 0)
        return top_common(build, statement);
    if (statement->block && strcmp(keyword, "global") == 0)
        return config_options_apply(CONFIG_SECTION_GLOBAL, statement, build->directory, &scratch,
                                    build->error);
    if (strcmp(keyword, "skip") == 0)
        return 0;
    if (strcmp(keyword, "include") == 0)
        return config_fail(statement, REPLICA_E_UNSUPPORTED, build->error,
                           "'include' is unknown to tapdisk-drbd though DRBD has it: every *.res "
                           "file of %s is read anyway: delete the line",
                           build->directory);
    nearest = config_nearest(keyword, known, sizeof known / sizeof *known);
    return config_fail(statement, REPLICA_E_INVALID, build->error,
                       "expected 'resource NAME {', 'common {' or 'global {', found '%s'%s%s%s",
                       keyword, nearest ? ": did you mean '" : "", nearest ? nearest : "",
                       nearest ? "'?" : "");
}

static int build_all(struct config_build *build)
{
    for (unsigned i = 0; i < build->tree_count; i++)
        for (const struct config_statement *s = build->trees[i].statements; s; s = s->next) {
            int code = top_statement(build, s);

            if (code)
                return code;
        }
    for (unsigned i = 0; i < build->count; i++) {
        int code = config_build_resource(build, &build->resources[i]);

        if (code)
            return code;
    }
    return config_build_check(build);
}

/* ---- results
 * ------------------------------------------------------------------------------------*/

static int build_result(const struct config_build *build, struct config *config)
{
    struct config result = {0};

    for (unsigned i = 0; i < build->count; i++)
        result.count += build->resources[i].ours;
    if (result.count) {
        result.resources = calloc(result.count, sizeof *result.resources);
        if (!result.resources)
            return err_set(build->error, REPLICA_E_MEMORY, "%s: out of memory", build->directory);
    }
    result.count = 0;
    for (unsigned i = 0; i < build->count; i++)
        if (build->resources[i].ours)
            result.resources[result.count++] = build->resources[i].resource;
    *config = result;
    return 0;
}

static int build_finish(struct config_build *build, int code, struct config *config)
{
    if (code == 0)
        code = build_all(build);
    if (code == 0)
        code = build_result(build, config);
    build_close(build);
    return code;
}

int config_load(const char *directory, const char *node, struct config *config,
                struct replica_error *error)
{
    struct config_build build = {.directory = directory, .node = node, .error = error};

    return build_finish(&build, directory_add(&build), config);
}

int config_load_with(const char *directory, const char *text, size_t length, const char *name,
                     const char *node, struct config *config, struct replica_error *error)
{
    struct config_build build = {
        .directory = directory, .node = node, .replaced = name, .error = error};
    int code = directory_add(&build);

    if (code == 0)
        code = tree_add(&build, text, length, name);
    return build_finish(&build, code, config);
}

int config_parse_text(const char *text, size_t length, const char *name, const char *node,
                      struct config *config, struct replica_error *error)
{
    struct config_build build = {.directory = DIRECTORY_DEFAULT, .node = node, .error = error};

    return build_finish(&build, tree_add(&build, text, length, name), config);
}

void config_free(struct config *config)
{
    free(config->resources);
    *config = (struct config){0};
}

/* "there is only vm1, vm2". */
static int find_fail(const struct config_build *build, const char *name)
{
    char list[256] = "";
    size_t used = 0;

    for (unsigned i = 0; i < build->count && used < sizeof list; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "",
                                 build->resources[i].resource.name);
    if (build->count == 0)
        return err_set(build->error, REPLICA_E_NOT_FOUND,
                       "%s: no such resource: no *.res file in %s has one (tapdrbd.conf(5) has an "
                       "example)",
                       name, build->directory);
    return err_set(build->error, REPLICA_E_NOT_FOUND, "%s: no such resource in %s: there is %s",
                   name, build->directory, list);
}

int config_find(const char *directory, const char *node, const char *resource,
                struct config_resource *found, struct replica_error *error)
{
    struct config_build build = {.directory = directory, .node = node, .error = error};
    const struct config_built *built = NULL;
    int code = directory_add(&build);

    if (code == 0)
        code = build_all(&build);
    for (unsigned i = 0; code == 0 && i < build.count; i++)
        if (strcmp(build.resources[i].resource.name, resource) == 0)
            built = &build.resources[i];
    if (code == 0 && !built)
        code = find_fail(&build, resource);
    else if (code == 0 && !built->ours)
        code = config_fail(built->statement, REPLICA_E_NOT_FOUND, error,
                           "resource %s is for the hosts %s and %s, and this host is '%s': the "
                           "name behind 'on' must be what 'uname -n' prints there (or give "
                           "--node NAME)",
                           resource, built->hosts[0].name, built->hosts[1].name, node);
    else if (code == 0)
        *found = built->resource;
    build_close(&build);
    return code;
}

/* ---- dump --------------------------------------------------------------------------------------
 */

static void host_dump(const struct config_host *host, FILE *out)
{
    bool ipv6 = strchr(host->address, ':');

    fprintf(out, "\ton %s {\n\t\tdisk      ", host->name);
    config_dump_word(host->disk, out);
    fprintf(out, ";\n\t\tmeta-disk ");
    config_dump_word(host->meta_disk, out);
    fprintf(out, ";\n\t\taddress   %s %s%s%s:%u;\n\t}\n", ipv6 ? "ipv6" : "ipv4", ipv6 ? "[" : "",
            host->address, ipv6 ? "]" : "", (unsigned)host->port);
}

void config_dump(const struct config_resource *resource, FILE *out)
{
    bool swap = strcmp(resource->local.name, resource->peer.name) > 0;

    fprintf(out, "# resource %s on %s: read from %s, line %d\n", resource->name,
            resource->local.name, resource->file, resource->line);
    fprintf(out, "resource %s {\n", resource->name);
    config_options_dump(resource, out);
    host_dump(swap ? &resource->peer : &resource->local, out);
    host_dump(swap ? &resource->local : &resource->peer, out);
    fputs("}\n", out);
}
