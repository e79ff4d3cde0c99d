/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * adm_pair.c - tapdrbdadm pair: one key and one *.res file on both hosts. The key goes from file
 * to file through a pipe and ssh; it is never on a command line, in the environment or in a log.
 *
 * What is sent: a line "tapdrbd-pair 1", a line with the key, a line "NAME.res BYTES", the file.
 */
#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adm.h"
#include "adm_run.h"
#include "libreplica/core/err.h"
#include "libreplica/io/config_tree.h"

#define GREETING "tapdrbd-pair 1\n"

enum {
    KEY_BYTES = 32,
    KEY_DIGITS = 2 * KEY_BYTES,
    PACKAGE_BYTES_MAX = CONFIG_FILE_BYTES_MAX + 1024,
    SSH_WORDS_MAX = 32
};

/* What goes through the pipe. */
struct package {
    char key[KEY_DIGITS + 1];
    char file[512]; /* without directory */
    char *text;     /* of the *.res file */
    size_t length;
};

static void package_free(struct package *package)
{
    explicit_bzero(package->key, sizeof package->key);
    free(package->text);
}

/* ---- files -------------------------------------------------------------------------------------
 */

/* Reads at most `capacity` bytes. 0 and *length, or a code. */
static int read_all(int fd, char *text, size_t capacity, size_t *length)
{
    size_t used = 0;

    while (used < capacity) {
        ssize_t got = read(fd, text + used, capacity - used);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return REPLICA_E_SYSTEM;
        if (got == 0)
            break;
        used += (size_t)got;
    }
    *length = used;
    return 0;
}

static int write_all(int fd, const char *text, size_t length)
{
    while (length) {
        ssize_t written = write(fd, text, length);

        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -1;
        text += written;
        length -= (size_t)written;
    }
    return 0;
}

static int directory_sync(const char *path)
{
    char copy[1024];
    int fd, bad;

    (void)snprintf(copy, sizeof copy, "%s", path);
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    bad = fsync(fd);
    close(fd);
    return bad;
}

/* The whole file or nothing: written beside it, made durable, renamed. */
static int file_install(const char *path, const char *text, size_t length, mode_t mode,
                        struct replica_error *error)
{
    char fresh[1024];
    int fd, bad, why;

    if (snprintf(fresh, sizeof fresh, "%s.%ld.new", path, (long)getpid()) >= (int)sizeof fresh)
        return err_set(error, REPLICA_E_INVALID, "%s: the name is too long", path);
    fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(error, errno == EACCES ? REPLICA_E_PERMISSION : REPLICA_E_SYSTEM,
                       "cannot write %s: %s", fresh, strerror(errno));
    bad = write_all(fd, text, length) || fchmod(fd, mode) || fsync(fd);
    why = errno;
    if (close(fd) && !bad) {
        bad = 1;
        why = errno;
    }
    if (!bad && (rename(fresh, path) || directory_sync(path))) {
        bad = 1;
        why = errno;
    }
    if (!bad)
        return 0;
    unlink(fresh);
    return err_set(error, REPLICA_E_SYSTEM, "cannot write %s: %s", path, strerror(why));
}

/* ---- key ---------------------------------------------------------------------------------------
 */

static bool key_valid(const char *text, size_t length)
{
    if (length != KEY_DIGITS)
        return false;
    for (size_t i = 0; i < length; i++)
        if (!isxdigit((unsigned char)text[i]))
            return false;
    return true;
}

/* Errors: REPLICA_E_NOT_FOUND (no such file), REPLICA_E_PERMISSION, REPLICA_E_INVALID. */
static int key_read(const char *path, char key[KEY_DIGITS + 1], struct replica_error *error)
{
    char text[KEY_DIGITS + 2];
    struct stat about;
    size_t length = 0;
    int code = 0, fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return err_set(error, errno == ENOENT ? REPLICA_E_NOT_FOUND : REPLICA_E_PERMISSION,
                       "%s: %s", path, strerror(errno));
    if (fstat(fd, &about) || !S_ISREG(about.st_mode))
        code = err_set(error, REPLICA_E_INVALID, "%s: expected a file", path);
    else if (about.st_mode & (S_IRWXG | S_IRWXO))
        code = err_set(error, REPLICA_E_PERMISSION,
                       "%s: its mode is %03o, so others than its owner can read it: if none did, "
                       "`chmod 600` it; else delete it on both hosts and pair again",
                       path, (unsigned)about.st_mode & 0777);
    else if (read_all(fd, text, sizeof text, &length))
        code = err_set(error, REPLICA_E_SYSTEM, "%s: %s", path, strerror(errno));
    close(fd);
    if (length && length <= sizeof text && text[length - 1] == '\n')
        length--;
    if (code == 0 && !key_valid(text, length))
        code = err_set(error, REPLICA_E_INVALID,
                       "%s: expected %d hex digits: delete it on both hosts and pair again", path,
                       KEY_DIGITS);
    if (code == 0)
        (void)snprintf(key, KEY_DIGITS + 1, "%.*s", KEY_DIGITS, text);
    explicit_bzero(text, sizeof text);
    return code;
}

static int key_write(const char *path, const char key[KEY_DIGITS + 1], struct replica_error *error)
{
    char line[KEY_DIGITS + 2];
    int code;

    (void)snprintf(line, sizeof line, "%s\n", key);
    code = file_install(path, line, KEY_DIGITS + 1, 0600, error);
    explicit_bzero(line, sizeof line);
    return code;
}

static int key_make(const char *path, char key[KEY_DIGITS + 1], struct replica_error *error)
{
    uint8_t bytes[KEY_BYTES];
    int code;

    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return err_set(error, REPLICA_E_SYSTEM, "no random bytes from the kernel: %s",
                       strerror(errno));
    for (size_t i = 0; i < sizeof bytes; i++)
        (void)snprintf(key + 2 * i, 3, "%02x", bytes[i]);
    explicit_bzero(bytes, sizeof bytes);
    code = key_write(path, key, error);
    if (code == 0)
        printf("%s: made a new key\n", path);
    return code;
}

/* ---- this end ----------------------------------------------------------------------------------
 */

static int resource_file_read(const char *path, struct package *package,
                              struct replica_error *error)
{
    const char *slash = strrchr(path, '/');
    int code, fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return err_set(error, REPLICA_E_SYSTEM, "%s: %s", path, strerror(errno));
    package->text = malloc(CONFIG_FILE_BYTES_MAX);
    code = package->text ? read_all(fd, package->text, CONFIG_FILE_BYTES_MAX, &package->length)
                         : REPLICA_E_MEMORY;
    close(fd);
    if (code)
        return err_set(error, code, "%s: cannot read it", path);
    (void)snprintf(package->file, sizeof package->file, "%s", slash ? slash + 1 : path);
    return 0;
}

static int package_prepare(const struct config_resource *resource, struct package *package,
                           struct replica_error *error)
{
    int code;

    if (resource->auth == CONFIG_AUTH_X509)
        return err_set(error, REPLICA_E_UNSUPPORTED,
                       "%s: it uses certificates (auth x509): install those by hand",
                       resource->name);
    code = key_read(resource->key_file, package->key, error);
    if (code == REPLICA_E_NOT_FOUND)
        code = key_make(resource->key_file, package->key, error);
    return code ? code : resource_file_read(resource->file, package, error);
}

/* COMMAND's words, the host, and what is to be run there. */
static int remote_run(const struct adm *adm, const char *host, const char *resource,
                      const char *text, size_t length)
{
    char command[256 + REPLICA_NAME_MAX], *words = strdup(adm->ssh), *rest = NULL;
    char *argv[SSH_WORDS_MAX + 3];
    int count = 0, status;

    if (!words)
        return adm_fail(ADM_FAILED, "out of memory");
    for (char *word = strtok_r(words, " ", &rest); word && count < SSH_WORDS_MAX;
         word = strtok_r(NULL, " ", &rest))
        argv[count++] = word;
    if (count == 0) {
        free(words);
        return adm_fail(ADM_USAGE, "--ssh: expected a command");
    }
    (void)snprintf(command, sizeof command, SBINDIR "/tapdrbdadm pair --receive %s%s",
                   adm->options & ADM_OPTION_FORCE ? "--force " : "", resource);
    argv[count++] = (char *)host;
    argv[count++] = command;
    argv[count] = NULL;
    status = adm_run(argv, text, length);
    free(words);
    return status;
}

static int package_send(const struct adm *adm, const char *host, const char *resource,
                        const struct package *package)
{
    size_t capacity = PACKAGE_BYTES_MAX, length;
    char *text = malloc(capacity);
    int status;

    if (!text)
        return adm_fail(ADM_FAILED, "out of memory");
    length = (size_t)snprintf(text, capacity, GREETING "%s\n%s %zu\n", package->key, package->file,
                              package->length);
    memcpy(text + length, package->text, package->length);
    status = remote_run(adm, host, resource, text, length + package->length);
    explicit_bzero(text, capacity);
    free(text);
    if (status < 0)
        return ADM_EXEC;
    if (status)
        return adm_fail(ADM_FAILED,
                        "%s: %s did not take the key (status %d); the reason is above. Is "
                        "tapdisk-drbd installed there, and does `ssh %s` work as root?",
                        resource, host, status, host);
    printf("%s: %s has the same key and %s now\n", resource, host, package->file);
    return ADM_OK;
}

static int pair_one(struct adm *adm, const char *resource)
{
    struct package package = {0};
    struct config_resource found;
    struct replica_error error;
    int status = adm_find(adm, resource, &found);

    if (status)
        return status;
    if (package_prepare(&found, &package, &error))
        status = adm_fail_error(&error);
    else
        status = package_send(adm, adm->ssh_host, resource, &package);
    package_free(&package);
    return status;
}

/* ---- the other end -----------------------------------------------------------------------------
 */

/* Takes a package apart, in place: package->text points into `text`. */
static int package_parse(char *text, size_t length, struct package *package)
{
    size_t greeting = strlen(GREETING), head;
    char *line = text + greeting, *end, *space;

    if (length < greeting + KEY_DIGITS + 1 || memcmp(text, GREETING, greeting) != 0)
        return -1;
    if (line[KEY_DIGITS] != '\n' || !key_valid(line, KEY_DIGITS))
        return -1;
    (void)snprintf(package->key, sizeof package->key, "%.*s", KEY_DIGITS, line);
    line += KEY_DIGITS + 1;
    end = memchr(line, '\n', length - (size_t)(line - text));
    if (!end || (size_t)(end - line) >= sizeof package->file)
        return -1;
    *end = '\0';
    space = strrchr(line, ' ');
    if (!space || strchr(line, '/') || *line == '.' || space - line < 5 ||
        strncmp(space - 4, ".res", 4) != 0)
        return -1;
    *space = '\0';
    (void)snprintf(package->file, sizeof package->file, "%s", line);
    head = (size_t)(end + 1 - text);
    package->text = end + 1;
    package->length = strtoul(space + 1, NULL, 10);
    return package->length == length - head ? 0 : -1;
}

/* The file must be for this host, or the resource could never come up here; and must go with the
 * files that are here, or no resource could. */
static int received_check(const struct adm *adm, const char *resource,
                          const struct package *package, struct config_resource *found,
                          struct replica_error *error)
{
    struct config config;
    int code = config_load_with(adm->config_dir, package->text, package->length, package->file,
                                adm->node, &config, error);

    if (code)
        return code;
    code = REPLICA_E_NOT_FOUND;
    for (unsigned i = 0; i < config.count; i++)
        if (strcmp(config.resources[i].name, resource) == 0) {
            *found = config.resources[i];
            code = 0;
        }
    config_free(&config);
    if (code)
        return err_set(error, code,
                       "%s: resource %s has no 'on %s' section, and that is this host's name: "
                       "correct the name in the file",
                       package->file, resource, adm->node);
    return 0;
}

/* Is there something at `path` that must not be overwritten? *wanted: nothing yet, or --force. */
static int file_check(const struct adm *adm, const char *path, const struct package *package,
                      bool *wanted, struct replica_error *error)
{
    char *there = malloc(CONFIG_FILE_BYTES_MAX + 1);
    bool same = false, exists;
    size_t length = 0;
    int fd;

    if (!there)
        return err_set(error, REPLICA_E_MEMORY, "out of memory");
    fd = open(path, O_RDONLY | O_CLOEXEC);
    exists = fd >= 0 || errno != ENOENT;
    if (fd >= 0) {
        same = read_all(fd, there, CONFIG_FILE_BYTES_MAX + 1, &length) == 0 &&
               length == package->length && memcmp(there, package->text, length) == 0;
        close(fd);
    }
    free(there);
    if (exists && !same && !(adm->options & ADM_OPTION_FORCE))
        return err_set(error, REPLICA_E_EXISTS,
                       "%s: there is another file of this name on %s already: compare the two; "
                       "`pair --force` replaces this one",
                       path, adm->node);
    *wanted = !same;
    return 0;
}

static int key_check(const struct adm *adm, const char *path, const char key[KEY_DIGITS + 1],
                     bool *wanted, struct replica_error *error)
{
    char there[KEY_DIGITS + 1];
    int code = key_read(path, there, error);
    bool same = code == 0 && strcasecmp(there, key) == 0;

    explicit_bzero(there, sizeof there);
    if (code != REPLICA_E_NOT_FOUND && !same && !(adm->options & ADM_OPTION_FORCE))
        return code ? code
                    : err_set(error, REPLICA_E_EXISTS,
                              "%s: %s has another key already, and may use it with another host; "
                              "`pair --force` replaces it",
                              path, adm->node);
    *wanted = !same;
    return 0;
}

/* Both or neither: nothing is written before both may be. */
static int package_install(const struct adm *adm, const struct config_resource *found,
                           const struct package *package, struct replica_error *error)
{
    bool key_wanted = false, file_wanted = false;
    char path[1024];
    int code;

    (void)snprintf(path, sizeof path, "%s/%s", adm->config_dir, package->file);
    if (mkdir(adm->config_dir, 0755) && errno != EEXIST)
        return err_set(error, REPLICA_E_SYSTEM, "cannot make %s: %s", adm->config_dir,
                       strerror(errno));
    code = file_check(adm, path, package, &file_wanted, error);
    if (code == 0)
        code = key_check(adm, found->key_file, package->key, &key_wanted, error);
    if (code == 0 && key_wanted)
        code = key_write(found->key_file, package->key, error);
    if (code == 0 && file_wanted)
        code = file_install(path, package->text, package->length, 0644, error);
    return code;
}

static int package_receive(struct adm *adm, const char *resource, char *text, size_t length)
{
    struct package package = {0};
    struct config_resource found;
    struct replica_error error;
    int code;

    if (package_parse(text, length, &package))
        return adm_fail(ADM_USAGE, "pair --receive: expected what `tapdrbdadm pair` sends on "
                                   "standard input, found something else");
    code = received_check(adm, resource, &package, &found, &error);
    if (code == 0)
        code = package_install(adm, &found, &package, &error);
    explicit_bzero(package.key, sizeof package.key);
    return code ? adm_fail_error(&error) : ADM_OK;
}

static int receive(struct adm *adm)
{
    char *text;
    size_t length = 0;
    int status;

    if (adm->operand_count != 1)
        return adm_fail(ADM_USAGE, "pair --receive: expected one resource's name");
    text = malloc(PACKAGE_BYTES_MAX);
    if (!text)
        return adm_fail(ADM_FAILED, "out of memory");
    if (read_all(STDIN_FILENO, text, PACKAGE_BYTES_MAX, &length))
        status = adm_fail(ADM_FAILED, "standard input: %s", strerror(errno));
    else
        status = package_receive(adm, adm->operands[0], text, length);
    explicit_bzero(text, PACKAGE_BYTES_MAX);
    free(text);
    return status;
}

int adm_pair(struct adm *adm)
{
    if (adm->options & ADM_OPTION_RECEIVE)
        return receive(adm);
    adm->ssh_host = adm->operands[0];
    adm->operands++;
    adm->operand_count--;
    return adm_for_each(adm, pair_one);
}
