/* SPDX-License-Identifier: GPL-2.0-or-later */
/* adm.c - tapdrbdadm: the command line and the table of verbs. See adm.h. */
#include <config.h>

#include "adm.h"

#include <ctype.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libreplica/io/config_options.h"

#define CONFIG_DIR SYSCONFDIR "/tapdrbd.d"
#define RUN_DIR RUNSTATEDIR "/tapdrbd"

static int adm_help(struct adm *adm);

static const struct adm_verb verbs[] = {
    {"up", "start the resource on this host: attach the disk, connect to the peer",
     "Starts tapdisk-drbd for the resource and waits until it serves: the disk is attached and\n"
     "the peer is being called. Under systemd this starts the unit tapdisk-drbd@RESOURCE. A\n"
     "resource that is up already stays as it is, and that is no error.",
     0, ADM_OPERANDS_RESOURCES, NULL, adm_up},
    {"down", "stop it: give up the role, disconnect, close the disk",
     "Demotes, flushes, disconnects and ends tapdisk-drbd; returns when the process is gone and\n"
     "the disk is free. Refused while a guest or another client uses the device. A resource that\n"
     "is down already is no error.\n"
     "  --force       also when the guest on the peer has no good disk but this host's",
     ADM_OPTION_FORCE, ADM_OPERANDS_RESOURCES, NULL, adm_down},
    {"status", "what role, disks and connection are now",
     "Without a name: all resources of this host.\n"
     "  --json        the fields of `drbdsetup status --json`, and ours\n"
     "  --watch       shown again at each change, until interrupted\n"
     "  --color=WHEN  always, never or auto (default: colours on a terminal)",
     ADM_OPTION_JSON | ADM_OPTION_WATCH | ADM_OPTION_COLOR, ADM_OPERANDS_OPTIONAL, adm_status,
     NULL},
    {"primary", "take the Primary role: this host may write",
     "The Xen scripts do this by themselves when a guest starts. Refused while the peer is\n"
     "Primary, and while this host has no access to UpToDate data.\n"
     "  --force       take it although this disk is Inconsistent or Outdated: its data becomes\n"
     "                the good data. For a new pair, and after losing the better disk for good",
     ADM_OPTION_FORCE, ADM_OPERANDS_RESOURCES, NULL, adm_primary},
    {"secondary", "give the Primary role back",
     "Drains and flushes both hosts first. Refused while a guest or another client uses the\n"
     "device.",
     0, ADM_OPERANDS_RESOURCES, NULL, adm_secondary},
    {"connect", "leave StandAlone, connect to the peer",
     "  --discard-my-data   after split brain: the blocks this host wrote alone are overwritten\n"
     "                      with the peer's",
     ADM_OPTION_DISCARD_MY_DATA, ADM_OPERANDS_RESOURCES, NULL, adm_connect},
    {"disconnect", "go StandAlone",
     "  --force       also when a guest has no good disk but the peer's, here or there",
     ADM_OPTION_FORCE, ADM_OPERANDS_RESOURCES, NULL, adm_disconnect},
    {"invalidate", "give this host's data up: full sync from the peer",
     "The disk becomes Inconsistent at once and gets everything from the peer, now or when it\n"
     "connects. Refused while this host is Primary, and while a connected peer is not UpToDate.",
     0, ADM_OPERANDS_RESOURCES, NULL, adm_invalidate},
    {"invalidate-remote", "give the connected peer's data up: full sync to it",
     "The same, on the other host. Refused unless it is connected and Secondary, and this host is\n"
     "UpToDate.",
     0, ADM_OPERANDS_RESOURCES, NULL, adm_invalidate_remote},
    {"outdate", "mark this host's data as older than the peer's",
     "For fencing: an Outdated disk is not promoted without --force until it has met the peer\n"
     "again. Refused while this host is Primary, or connected.",
     0, ADM_OPERANDS_RESOURCES, NULL, adm_outdate},
    {"resume-io", "end a freeze: let the Primary go on without its peer",
     "Where fencing or on-peer-loss has frozen the guest's I/O because the peer is lost and not\n"
     "known to stand still. MAKE SURE THAT IT DOES: a peer that goes on too is a split brain.",
     0, ADM_OPERANDS_RESOURCES, NULL, adm_resume_io},
    {"pause-sync", "hold the resync back, until resume-sync",
     "What is under way is finished; then no more is copied, now and after a reconnect, until\n"
     "both hosts let it: each has a pause of its own, which ends by `resume-sync` on that host,\n"
     "or with its tapdisk-drbd. The guest goes on, and its writes are replicated. `status` shows\n"
     "PausedSyncS or PausedSyncT, and whose pause it is.",
     0, ADM_OPERANDS_RESOURCES, NULL, adm_pause_sync},
    {"resume-sync", "let the resync go on that this host has paused", NULL, 0,
     ADM_OPERANDS_RESOURCES, NULL, adm_resume_sync},
    {"wait-connect", "wait until the peer is connected",
     "  --timeout=SECONDS   give up after that time, for all resources together, with\n"
     "                      exit status 5",
     ADM_OPTION_TIMEOUT, ADM_OPERANDS_RESOURCES, NULL, adm_wait_connect},
    {"wait-sync", "wait until no resync is under way any more",
     "  --timeout=SECONDS   give up after that time, for all resources together, with\n"
     "                      exit status 5",
     ADM_OPTION_TIMEOUT, ADM_OPERANDS_RESOURCES, NULL, adm_wait_sync},
    {"detach", "let go of the disk; the guest goes on through the peer",
     "On the Primary: refused unless the peer is connected and UpToDate. On the Secondary: the\n"
     "connection closes too. Afterwards the disk may be taken out.",
     0, ADM_OPERANDS_RESOURCES, NULL, adm_detach},
    {"attach", "take a disk that was detached, has failed, or was put in its place",
     "A new disk needs `create-md` first, and the size of the old one. It is resynced from the\n"
     "peer while the guest goes on.",
     0, ADM_OPERANDS_RESOURCES, NULL, adm_attach},
    {"verify", "compare both replicas while the guest goes on",
     "Begins, and returns at once: `status` shows how far it is, `wait-sync` waits for the end.\n"
     "What differs is logged with its offset and marked out of sync on both hosts; nothing is\n"
     "copied. `disconnect` and `connect` then copy the marked blocks from the Primary.\n"
     "`disconnect` also stops it.\n"
     "  --start=SECTOR   begin there (sectors of 512 bytes)\n"
     "  --stop=SECTOR    end before that one",
     ADM_OPTION_START | ADM_OPTION_STOP, ADM_OPERANDS_RESOURCES, NULL, adm_verify},
    {"resize", "make the disk larger while the guest goes on",
     "Grow the backing device on both hosts first (lvextend, truncate), then type it on either\n"
     "one. Both must be connected and UpToDate. The new area is copied from the Primary; until\n"
     "that is done the other host is Inconsistent. A Xen guest sees the new size at once, an NBD\n"
     "client when it connects again. A disk is never made smaller.\n"
     "  --size=SIZE      to this size (K, M, G, T; s: sectors; a plain number: KiB, as with\n"
     "                   DRBD), not to all that the smaller device holds\n"
     "  --assume-clean   the new area is the same on both hosts already: no resync",
     ADM_OPTION_SIZE | ADM_OPTION_ASSUME_CLEAN, ADM_OPERANDS_RESOURCES, NULL, adm_resize},
    {"create-md", "write fresh metadata: makes a disk ready for its first `up`",
     "Asks nothing. Refuses a disk that is in use, too small, or holds something already (a file\n"
     "system, LVM, DRBD's or our own metadata).\n"
     "  --force       overwrite what is there",
     ADM_OPTION_FORCE, ADM_OPERANDS_RESOURCES, NULL, adm_create_md},
    {"new-current-uuid", "start a new generation of the data",
     "  --clear-bitmap   on two new, connected disks: declare them equal, skip the first sync",
     ADM_OPTION_CLEAR_BITMAP, ADM_OPERANDS_RESOURCES, NULL, adm_new_current_uuid},
    {"pair", "give this host and HOST one key, and the resource's file",
     "Makes RESOURCE.key if there is none (mode 0600), then sends it and the *.res file to HOST\n"
     "through ssh. Without a name: all resources. Refuses to overwrite another key or file there.\n"
     "  --force          overwrite what HOST has\n"
     "  --ssh=COMMAND    run COMMAND in place of ssh, e.g. --ssh='ssh -p 2222'\n"
     "  --receive        the other end: reads key and file from its standard input",
     ADM_OPTION_FORCE | ADM_OPTION_SSH | ADM_OPTION_RECEIVE, ADM_OPERANDS_PAIR, adm_pair, NULL},
    {"evacuate", "migrate every guest with a replicated disk to the peer, to free this host",
     "Looks first whether all of them can move: connected, the peer's disk UpToDate. Then runs "
     "`xl\n"
     "migrate` for one after the other, and stops at the first that fails. Runs no guest twice.\n"
     "  --dry-run        say what would be done\n"
     "  --to=HOST        the peer's name for xl migrate, if it is not the one in the *.res file\n"
     "  --ssh=COMMAND    xl migrate's -s",
     ADM_OPTION_DRY_RUN | ADM_OPTION_TO | ADM_OPTION_SSH, ADM_OPERANDS_NONE, adm_evacuate, NULL},
    {"dump", "the configuration as it is understood, every default spelled out", NULL, 0,
     ADM_OPERANDS_OPTIONAL, NULL, adm_dump},
    {"dump-md", "what the metadata on the disk says", NULL, 0, ADM_OPERANDS_RESOURCES, NULL,
     adm_dump_md},
    {"role", "Primary or Secondary", NULL, 0, ADM_OPERANDS_RESOURCES, NULL, adm_role},
    {"cstate", "connection state", NULL, 0, ADM_OPERANDS_RESOURCES, NULL, adm_cstate},
    {"dstate", "disk states, this host's/the peer's", NULL, 0, ADM_OPERANDS_RESOURCES, NULL,
     adm_dstate},
    {"show-gi", "generation identifiers, explained", NULL, 0, ADM_OPERANDS_RESOURCES, NULL,
     adm_show_gi},
    {"get-gi", "generation identifiers on one line", NULL, 0, ADM_OPERANDS_RESOURCES, NULL,
     adm_get_gi},
    {"sh-resources", "names of this host's resources, for scripts", NULL, 0, ADM_OPERANDS_NONE,
     adm_sh_resources, NULL},
    {"sh-ll-dev", "the backing device, for scripts", NULL, 0, ADM_OPERANDS_RESOURCES, NULL,
     adm_sh_ll_dev},
    {"sh-md-dev", "the metadata device, for scripts", NULL, 0, ADM_OPERANDS_RESOURCES, NULL,
     adm_sh_md_dev},
    {"help", "this text; `tapdrbdadm VERB --help` tells more", NULL, 0, ADM_OPERANDS_NONE, adm_help,
     NULL},
};

/* drbdadm's verbs that are not here, and what to do in their place. */
static const struct {
    const char *name, *advice;
} missing[] = {
    {"adjust", "after a change of the configuration use `down` and `up`, or, while a guest runs, "
               "`systemctl restart tapdisk-drbd@RESOURCE`"},
    {"apply-al", "it happens by itself at `up`"},
    {"check-resize", "`up` finds the metadata of a disk that has grown, then `resize`"},
    {"disk-options", "edit the *.res file, then `down` and `up`"},
    {"net-options", "edit the *.res file, then `down` and `up`"},
    {"peer-device-options", "edit the *.res file, then `down` and `up`"},
    {"resource-options", "edit the *.res file, then `down` and `up`"},
    {"restore-md", "use `create-md`"},
    {"suspend-io", "I/O control comes later"},
    {"wipe-md", "overwrite the metadata with wipefs or dd when the disk is reused"},
};

/* ---- errors ------------------------------------------------------------------------------------
 */

int adm_fail(enum adm_exit status, const char *format, ...)
{
    va_list arguments;

    fflush(stdout);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    return (int)status;
}

enum adm_exit adm_exit_of(int code)
{
    switch (code) {
    case REPLICA_OK:
        return ADM_OK;
    case REPLICA_E_INVALID:
    case REPLICA_E_NOT_FOUND:
    case REPLICA_E_UNSUPPORTED:
    case REPLICA_E_EXISTS:
    case REPLICA_E_PERMISSION:
        return ADM_CONFIG;
    case REPLICA_E_STATE:
    case REPLICA_E_PEER_PRIMARY:
    case REPLICA_E_BUSY:
    case REPLICA_E_SPLIT_BRAIN:
    case REPLICA_E_UNRELATED:
        return ADM_REFUSED;
    case REPLICA_E_NOT_UPTODATE:
        return ADM_NOT_UPTODATE;
    case REPLICA_E_TIMEOUT:
        return ADM_TIMEOUT;
    default:
        return ADM_FAILED;
    }
}

int adm_fail_error(const struct replica_error *error)
{
    return adm_fail(adm_exit_of(error->code), "%s", error->text);
}

/* ---- resources ---------------------------------------------------------------------------------
 */

int adm_find(struct adm *adm, const char *resource, struct config_resource *found)
{
    struct replica_error error;

    if (config_find(adm->config_dir, adm->node, resource, found, &error))
        return adm_fail_error(&error);
    return ADM_OK;
}

static int for_all(struct adm *adm, int (*each)(struct adm *adm, const char *resource))
{
    struct replica_error error;
    struct config config;
    int worst = ADM_OK;

    if (config_load(adm->config_dir, adm->node, &config, &error))
        return adm_fail_error(&error);
    if (config.count == 0)
        fprintf(stderr,
                "%s has no resource for this host, '%s': the name behind `on` must be this one\n",
                adm->config_dir, adm->node);
    for (unsigned i = 0; i < config.count; i++) {
        int status = each(adm, config.resources[i].name);

        worst = status > worst ? status : worst;
    }
    config_free(&config);
    return worst;
}

int adm_for_each(struct adm *adm, int (*each)(struct adm *adm, const char *resource))
{
    int worst = ADM_OK;

    if (adm->operand_count == 0 || strcmp(adm->operands[0], "all") == 0)
        return for_all(adm, each);
    for (unsigned i = 0; i < adm->operand_count; i++) {
        int status = each(adm, adm->operands[i]);

        worst = status > worst ? status : worst;
    }
    return worst;
}

/* ---- help --------------------------------------------------------------------------------------
 */

static const char usage[] =
    "usage: tapdrbdadm [--config-dir DIR] [--run-dir DIR] [--node NAME] VERB [OPTIONS] "
    "[RESOURCE...|all]\n";

static int adm_help(struct adm *adm)
{
    (void)adm;
    printf("%s\n", usage);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        printf("  %-17s %s\n", verbs[i].name, verbs[i].summary);
    printf(
        "\n  --config-dir DIR  where the *.res files and keys are [" CONFIG_DIR "]\n"
        "  --run-dir DIR     where the control sockets are [" RUN_DIR "]\n"
        "  --node NAME       which `on NAME` section is this host [uname -n]\n"
        "\nExit status: 0 done, 1 failed, 3 wrong command line, 5 time-out, 10 configuration or\n"
        "not up, 11 refused in this state, 17 no UpToDate data, 20 a program did not run.\n"
        "More in tapdrbdadm(8), tapdrbd.conf(5) and tapdrbd(7).\n");
    return ADM_OK;
}

static const char *operands_text(const struct adm_verb *verb)
{
    switch (verb->operands) {
    case ADM_OPERANDS_NONE:
        return "";
    case ADM_OPERANDS_RESOURCES:
        return " RESOURCE...|all";
    case ADM_OPERANDS_OPTIONAL:
        return " [RESOURCE...]";
    case ADM_OPERANDS_PAIR:
        return " HOST [RESOURCE...]";
    }
    return "";
}

static int verb_help(const struct adm_verb *verb)
{
    printf("usage: tapdrbdadm %s%s%s\n\n%s: %s\n", verb->name, verb->options ? " [OPTIONS]" : "",
           operands_text(verb), verb->name, verb->summary);
    if (verb->help)
        printf("\n%s\n", verb->help);
    return ADM_OK;
}

/* ---- command line ------------------------------------------------------------------------------
 */

static const struct {
    const char *name;
    unsigned option;
    bool value;
} long_options[] = {
    {"--force", ADM_OPTION_FORCE, false},
    {"--clear-bitmap", ADM_OPTION_CLEAR_BITMAP, false},
    {"--discard-my-data", ADM_OPTION_DISCARD_MY_DATA, false},
    {"--timeout", ADM_OPTION_TIMEOUT, true},
    {"--json", ADM_OPTION_JSON, false},
    {"--watch", ADM_OPTION_WATCH, false},
    {"--color", ADM_OPTION_COLOR, true},
    {"--ssh", ADM_OPTION_SSH, true},
    {"--receive", ADM_OPTION_RECEIVE, false},
    {"--start", ADM_OPTION_START, true},
    {"--stop", ADM_OPTION_STOP, true},
    {"--size", ADM_OPTION_SIZE, true},
    {"--assume-clean", ADM_OPTION_ASSUME_CLEAN, false},
    {"--dry-run", ADM_OPTION_DRY_RUN, false},
    {"--to", ADM_OPTION_TO, true},
};

/* Where the value of "--name=value" or "--name value" stands; moves *index in the second case.
 * NULL: `argument` is another option, or the value is missing. */
static const char *option_value(char **argv, int *index, const char *name)
{
    const char *argument = argv[*index];
    size_t length = strlen(name);

    if (strncmp(argument, name, length) != 0)
        return NULL;
    if (argument[length] == '=')
        return argument + length + 1;
    if (argument[length] || !argv[*index + 1])
        return NULL;
    return argv[++*index];
}

static int timeout_parse(struct adm *adm, const char *text)
{
    char *end;
    unsigned long seconds = strtoul(text, &end, 10);

    if (!isdigit((unsigned char)*text) || *end || seconds > UINT32_MAX)
        return adm_fail(ADM_USAGE, "--timeout: expected a number of seconds, found '%s'", text);
    adm->timeout = (uint32_t)seconds;
    return ADM_OK;
}

/* A plain number, or one with the `s` behind it that DRBD wants for sectors. */
static int sector_parse(const char *option, const char *text, uint64_t *sector)
{
    char *end;
    unsigned long long number = strtoull(text, &end, 10);

    if (!isdigit((unsigned char)*text) || (*end && strcmp(end, "s") != 0) || number > INT64_MAX)
        return adm_fail(ADM_USAGE, "%s: expected a sector's number, found '%s'", option, text);
    *sector = number;
    return ADM_OK;
}

/* As DRBD has it: KiB, unless a unit says otherwise. */
static int size_parse(const char *text, uint64_t *size)
{
    static const struct {
        char letter;
        uint64_t bytes;
    } units[] = {{'s', 512},
                 {'K', UINT64_C(1) << 10},
                 {'M', UINT64_C(1) << 20},
                 {'G', UINT64_C(1) << 30},
                 {'T', UINT64_C(1) << 40}};
    char *end;
    unsigned long long number = strtoull(text, &end, 10);
    uint64_t unit = *end ? 0 : 1024;

    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (*end && (*end == units[i].letter || *end == tolower(units[i].letter)) && !end[1])
            unit = units[i].bytes;
    if (!isdigit((unsigned char)*text) || unit == 0 || number == 0 || number > INT64_MAX / unit)
        return adm_fail(ADM_USAGE, "--size: expected a size like 20G, found '%s'", text);
    *size = number * unit;
    return ADM_OK;
}

static int option_take(struct adm *adm, unsigned option, const char *value)
{
    adm->options |= option;
    if (option == ADM_OPTION_TIMEOUT)
        return timeout_parse(adm, value);
    if (option == ADM_OPTION_START)
        return sector_parse("--start", value, &adm->start);
    if (option == ADM_OPTION_STOP)
        return sector_parse("--stop", value, &adm->stop);
    if (option == ADM_OPTION_SIZE)
        return size_parse(value, &adm->size);
    if (option == ADM_OPTION_COLOR && strcmp(value, "always") != 0 && strcmp(value, "never") != 0 &&
        strcmp(value, "auto") != 0)
        return adm_fail(ADM_USAGE, "--color: expected always, never or auto, found '%s'", value);
    if (option == ADM_OPTION_COLOR)
        adm->color = value;
    if (option == ADM_OPTION_SSH)
        adm->ssh = value;
    if (option == ADM_OPTION_TO)
        adm->to = value;
    return ADM_OK;
}

static int verb_option(struct adm *adm, const struct adm_verb *verb, char **argv, int *index)
{
    const char *argument = argv[*index];

    for (size_t i = 0; i < sizeof long_options / sizeof *long_options; i++) {
        const char *value = NULL;

        if (!(verb->options & long_options[i].option))
            continue;
        if (long_options[i].value)
            value = option_value(argv, index, long_options[i].name);
        if (long_options[i].value ? value != NULL : strcmp(argument, long_options[i].name) == 0)
            return option_take(adm, long_options[i].option, value);
    }
    return adm_fail(ADM_USAGE,
                    "%s: unknown option '%s', or its value is missing: `tapdrbdadm %s "
                    "--help` lists them",
                    verb->name, argument, verb->name);
}

/* The three options that say where things are; before or behind the verb. */
static bool place_option(struct adm *adm, char **argv, int *index)
{
    const struct {
        const char *name;
        const char **place;
    } places[] = {
        {"--config-dir", &adm->config_dir}, {"--run-dir", &adm->run_dir}, {"--node", &adm->node}};

    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *value = option_value(argv, index, places[i].name);

        if (value) {
            *places[i].place = value;
            adm->own_places = true;
            return true;
        }
    }
    return false;
}

static const struct adm_verb *verb_find(const char *name)
{
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static int verb_unknown(const char *name)
{
    const char *names[sizeof verbs / sizeof *verbs], *nearest;

    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++)
        if (strcmp(missing[i].name, name) == 0)
            return adm_fail(ADM_USAGE, "%s: drbdadm has it, but it is not in this version: %s",
                            name, missing[i].advice);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        names[i] = verbs[i].name;
    nearest = config_nearest(name, names, sizeof names / sizeof *names);
    return adm_fail(ADM_USAGE, "%s: unknown verb%s%s%s `tapdrbdadm help` lists them", name,
                    nearest ? ": did you mean '" : "", nearest ? nearest : ":",
                    nearest ? "'?" : "");
}

static int operands_check(const struct adm *adm, const struct adm_verb *verb)
{
    if (verb->operands == ADM_OPERANDS_NONE && adm->operand_count)
        return adm_fail(ADM_USAGE, "%s: expected no more words, found '%s'", verb->name,
                        adm->operands[0]);
    if (verb->operands == ADM_OPERANDS_RESOURCES && adm->operand_count == 0)
        return adm_fail(ADM_USAGE,
                        "%s: expected a resource's name, or 'all': `tapdrbdadm %s "
                        "RESOURCE`",
                        verb->name, verb->name);
    if (verb->operands == ADM_OPERANDS_PAIR && adm->operand_count == 0)
        return adm_fail(ADM_USAGE,
                        "%s: expected the other host's name: `tapdrbdadm %s HOST "
                        "[RESOURCE]`",
                        verb->name, verb->name);
    return ADM_OK;
}

static int verb_run(struct adm *adm, const struct adm_verb *verb, char **argv)
{
    bool words_only = false;
    int status;

    adm->operands = argv; /* operands are moved to the front of argv's rest */
    for (int i = 0; argv[i]; i++) {
        if (words_only || argv[i][0] != '-') {
            adm->operands[adm->operand_count++] = argv[i];
        } else if (strcmp(argv[i], "--") == 0) {
            words_only = true;
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return verb_help(verb);
        } else if (!place_option(adm, argv, &i)) {
            status = verb_option(adm, verb, argv, &i);
            if (status)
                return status;
        }
    }
    status = operands_check(adm, verb);
    if (status)
        return status;
    return verb->run ? verb->run(adm) : adm_for_each(adm, verb->each);
}

static int adm_main(struct adm *adm, char **argv)
{
    const struct adm_verb *verb;
    int index = 1;

    while (argv[index] && argv[index][0] == '-' && place_option(adm, argv, &index))
        index++;
    if (!argv[index]) {
        fputs(usage, stderr);
        return adm_fail(ADM_USAGE, "expected a verb: `tapdrbdadm help` lists them");
    }
    if (strcmp(argv[index], "--version") == 0) {
        printf("tapdrbdadm " PACKAGE_VERSION "\n");
        return ADM_OK;
    }
    if (strcmp(argv[index], "--help") == 0 || strcmp(argv[index], "-h") == 0)
        return adm_help(adm);
    verb = verb_find(argv[index]);
    return verb ? verb_run(adm, verb, argv + index + 1) : verb_unknown(argv[index]);
}

int main(int argc, char **argv)
{
    struct adm adm = {.config_dir = CONFIG_DIR, .run_dir = RUN_DIR, .color = "auto", .ssh = "ssh"};
    int status;

    (void)signal(SIGCHLD, SIG_DFL); /* ignored, as a parent may leave it, no exit status is told */
    if (argc < 1 || gethostname(adm.node_buffer, sizeof adm.node_buffer - 1))
        return adm_fail(ADM_FAILED, "cannot read this host's name");
    adm.node = adm.node_buffer;
    status = adm_main(&adm, argv);
    if (fflush(stdout) || ferror(stdout))
        return adm_fail(ADM_FAILED, "cannot write to the standard output");
    return status;
}
