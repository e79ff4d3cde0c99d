/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * main.c - tapdisk-drbd: one process, one resource. Opens the loop, the replica, the NBD server
 * and the Xen side, connects the four with each other, and runs until it is told to end.
 *
 * How it ends. `tapdrbdadm down` is refused while the device is in use and leaves the resource
 * Secondary. SIGTERM (systemctl stop, shutdown of the host) may not be refused: when nobody uses
 * the device it is the same as down; while somebody does, the process ends without giving the
 * Primary role back, exactly as safe as a crash: everything answered is on both disks, and the
 * next process finds in the metadata what has to be compared. A second SIGTERM does not wait for
 * the demotion.
 */
#include <config.h>

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "daemon.h"
#include "libreplica/core/err.h"
#include "nbd.h"
#include "xenside.h"

enum { DEMOTE_SECONDS = 15, PATH_BYTES = PATH_MAX };

struct program {
    struct replica_options options;
    bool foreground;
    char config_dir[PATH_BYTES], run_dir[PATH_BYTES];
    char nbd_path[PATH_BYTES + REPLICA_NAME_MAX + 8];
    char pid_path[PATH_BYTES + REPLICA_NAME_MAX + 8];
    struct daemon daemon;
    struct replica_loop *loop;
    struct replica *replica;
    struct nbd *nbd;
    struct xenside *xen;
    struct clients clients;
    int signal_fd;
    struct replica_watch *signals;
    struct replica_timer *patience; /* a demotion that SIGTERM waits for */
    bool ending;
};

/* ---- facts from the replica ------------------------------------------------------------------ */

static void changed(void *argument)
{
    struct program *program = argument;

    if (program->nbd)
        nbd_changed(program->nbd);
    if (program->xen)
        xenside_changed(program->xen);
}

static void resized(void *argument, uint64_t size)
{
    struct program *program = argument;

    if (program->nbd)
        nbd_changed(program->nbd);
    if (program->xen)
        xenside_resized(program->xen, size);
}

static void shutdown_wanted(void *argument)
{
    struct program *program = argument;

    replica_loop_stop(program->loop);
}

static unsigned in_use(void *argument, char *why, size_t why_bytes)
{
    struct program *program = argument;
    char who[64] = "";
    unsigned vbds = 0, clients = program->nbd ? nbd_writers(program->nbd, who, sizeof who) : 0;
    size_t used;

    if (why_bytes)
        why[0] = '\0';
    if (program->xen)
        vbds = xenside_writers(program->xen, why, why_bytes);
    used = why_bytes ? strlen(why) : 0;
    if (clients && why_bytes)
        (void)snprintf(why + used, why_bytes - used, "%s%u NBD client%s (%s%s)", used ? ", " : "",
                       clients, clients == 1 ? "" : "s", who, clients == 1 ? "" : ", ...");
    return vbds + clients;
}

static bool control(void *argument, struct replica_control_request *request, const char *json)
{
    struct program *program = argument;

    return program->xen && xenside_control(program->xen, request, json);
}

static char *status_extra(void *argument)
{
    struct program *program = argument;
    json_t *extra = json_object();
    char *text;

    if (!extra)
        return NULL;
    (void)json_object_set_new(extra, "vbds",
                              program->xen ? xenside_status(program->xen) : json_array());
    if (program->nbd)
        (void)json_object_set_new(extra, "nbd", nbd_status(program->nbd));
    (void)json_object_set_new(extra, "ending", json_boolean(program->ending));
    text = json_dumps(extra, JSON_COMPACT);
    json_decref(extra);
    return text;
}

static void handover_asked(void *argument, uint32_t number, bool take_back)
{
    struct program *program = argument;
    char who[64] = "", why[256];
    unsigned strangers = program->nbd ? nbd_strangers(program->nbd, who, sizeof who) : 0;

    if (program->xen && strangers == 0) {
        if (program->nbd)
            nbd_pause(program->nbd, true);
        xenside_handover_asked(program->xen, number, take_back);
        return;
    }
    if (strangers)
        (void)snprintf(why, sizeof why,
                       "%u NBD client%s (%s%s) %s its disk open for writing there; end %s first",
                       strangers, strangers == 1 ? "" : "s", who, strangers == 1 ? "" : ", ...",
                       strangers == 1 ? "has" : "have", strangers == 1 ? "it" : "them");
    else
        (void)snprintf(why, sizeof why,
                       "keeps the role; make it Secondary first (tapdrbdadm secondary %s there)",
                       program->options.resource);
    replica_handover_answer(program->replica, number, REPLICA_E_PEER_PRIMARY, why);
}

static void handover_ended(void *argument, uint32_t number, bool gone)
{
    struct program *program = argument;

    if (program->nbd)
        nbd_pause(program->nbd, false);
    if (program->xen)
        xenside_handover_ended(program->xen, number, gone);
}

/* ---- a guest's device model is an NBD client ------------------------------------------------ */

static bool clients_hold(void *argument, uint32_t domain)
{
    const struct program *program = argument;

    return nbd_hold(program->nbd, domain);
}

static void clients_go_on(void *argument, uint32_t domain)
{
    const struct program *program = argument;

    nbd_go_on(program->nbd, domain);
}

static void clients_drop(void *argument, uint32_t domain)
{
    const struct program *program = argument;

    nbd_drop(program->nbd, domain);
}

static bool clients_wrote(void *argument, uint32_t domain)
{
    const struct program *program = argument;

    return nbd_wrote(program->nbd, domain);
}

static uint32_t guest_of(void *argument, int32_t process)
{
    const struct program *program = argument;

    return program->xen ? xenside_guest_of(program->xen, process, NBD_NO_GUEST) : NBD_NO_GUEST;
}

static void clients_connect(struct program *program)
{
    program->clients = (struct clients){.argument = program,
                                        .hold = clients_hold,
                                        .go_on = clients_go_on,
                                        .drop = clients_drop,
                                        .wrote = clients_wrote};
    nbd_set_guests(program->nbd, guest_of, program);
    if (program->xen)
        xenside_set_clients(program->xen, &program->clients);
}

static const struct replica_callbacks callbacks = {.changed = changed,
                                                   .resized = resized,
                                                   .shutdown = shutdown_wanted,
                                                   .in_use = in_use,
                                                   .handover_asked = handover_asked,
                                                   .handover_ended = handover_ended,
                                                   .control = control};

/* ---- SIGTERM --------------------------------------------------------------------------------- */

static void demoted(void *argument, int code, const char *text)
{
    struct program *program = argument;

    if (code)
        replica_log(program->replica, LOG_WARNING,
                    "could not give the Primary role back before the end: %s", text);
    replica_loop_stop(program->loop);
}

static void patience_over(void *argument)
{
    demoted(argument, REPLICA_E_TIMEOUT, "the peer or the disk does not answer");
}

static void end_begin(struct program *program)
{
    struct replica_status status;
    char why[REPLICA_ERROR_TEXT_MAX];

    replica_status(program->replica, &status);
    if (program->ending || status.role != REPLICA_ROLE_PRIMARY) {
        replica_loop_stop(program->loop);
        return;
    }
    program->ending = true;
    if (in_use(program, why, sizeof why)) {
        replica_log(program->replica, LOG_WARNING,
                    "told to end while in use (%s): its I/O waits until tapdisk-drbd runs again",
                    why);
        replica_loop_stop(program->loop);
        return;
    }
    replica_timer_set(program->patience,
                      replica_loop_now(program->loop) + DEMOTE_SECONDS * UINT64_C(1000000000));
    replica_demote(program->replica, demoted, program);
}

static void signalled(void *argument, uint32_t events)
{
    struct program *program = argument;
    struct signalfd_siginfo info;

    (void)events;
    if (read(program->signal_fd, &info, sizeof info) != (ssize_t)sizeof info)
        return;
    replica_log(program->replica, LOG_NOTICE, "%s from process %u: ending",
                strsignal((int)info.ssi_signo), info.ssi_pid);
    end_begin(program);
}

/* ---- beginning and end -------------------------------------------------------------------------
 */

/* SIGTERM and SIGINT come through the loop; SIGHUP and SIGPIPE mean nothing here. Whoever started
 * us may have ignored SIGCHLD: that would be ours too, and take the handlers' exit status away. */
static int signals_open(struct program *program, struct replica_error *error)
{
    sigset_t set;
    int code;

    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    (void)signal(SIGCHLD, SIG_DFL);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    program->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (program->signal_fd < 0)
        return err_set(error, REPLICA_E_SYSTEM, "signalfd: %s", strerror(errno));
    code = replica_timer_new(program->loop, patience_over, program, &program->patience);
    if (code == 0)
        code = replica_loop_watch(program->loop, program->signal_fd, false, signalled, program,
                                  &program->signals);
    return code ? err_set(error, code, "no memory") : 0;
}

/* A host that runs no Xen can still hold the other replica, or serve NBD. */
static int xen_open(struct program *program, struct replica_error *error)
{
    int code = xenside_open(&program->xen, program->loop, program->replica, program->run_dir,
                            program->nbd_path, error);

    if (code != REPLICA_E_UNSUPPORTED)
        return code;
    replica_log(program->replica, LOG_NOTICE, "no Xen here (%s): serving NBD only", error->text);
    return 0;
}

static int program_open(struct program *program, struct replica_error *error)
{
    const char *missing;
    int code = replica_loop_new(&program->loop, error);

    if (code)
        return code;
    code = replica_open(program->loop, &program->options, &callbacks, program, &program->replica,
                        error);
    if (code)
        return code;
    code = signals_open(program, error);
    if (code)
        return code;
    code = nbd_open(&program->nbd, program->loop, program->replica, program->nbd_path, error);
    if (code)
        return code;
    code = xen_open(program, error);
    if (code)
        return code;
    clients_connect(program);
    replica_set_status_extra(program->replica, status_extra, program);
    missing = daemon_protect();
    if (missing)
        replica_log(program->replica, LOG_NOTICE, "not allowed: %s", missing);
    return daemon_ready(&program->daemon, program->pid_path, error);
}

/* Also for one that was opened half. The order matters: who uses the replica stops before it, and
 * the NBD server's memory stays until the replica has answered the last request. */
static void program_close(struct program *program)
{
    daemon_end(&program->daemon);
    if (program->nbd)
        nbd_stop(program->nbd);
    if (program->xen)
        xenside_stop(program->xen);
    if (program->replica)
        replica_close(program->replica);
    if (program->xen)
        xenside_close(program->xen);
    program->xen = NULL;
    if (program->nbd)
        nbd_close(program->nbd);
    program->nbd = NULL;
    if (program->signals)
        replica_loop_unwatch(program->signals);
    if (program->patience)
        replica_timer_free(program->patience);
    if (program->signal_fd >= 0)
        (void)close(program->signal_fd);
    if (program->loop)
        replica_loop_free(program->loop);
}

/* ---- command line -------------------------------------------------------------------------------
 */

static void usage(FILE *out)
{
    (void)fputs(
        "usage: tapdisk-drbd [--config-dir DIR] [--run-dir DIR] [--node NAME] [--foreground] "
        "RESOURCE\n"
        "Serves one replicated disk; `tapdrbdadm up RESOURCE` starts it. See "
        "tapdisk-drbd(8).\n",
        out);
}

/* Returns -1 to go on, or the exit status. */
static int options_parse(struct program *program, int argc, char **argv)
{
    static const struct option table[] = {{"config-dir", required_argument, NULL, 'c'},
                                          {"run-dir", required_argument, NULL, 'r'},
                                          {"node", required_argument, NULL, 'n'},
                                          {"foreground", no_argument, NULL, 'f'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {0}};
    int option;

    while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
        switch (option) {
        case 'c':
            program->options.config_dir = optarg;
            break;
        case 'r':
            program->options.run_dir = optarg;
            break;
        case 'n':
            program->options.node = optarg;
            break;
        case 'f':
            program->foreground = true;
            break;
        case 'h':
            usage(stdout);
            return EXIT_SUCCESS;
        case 'V':
            (void)printf("tapdisk-drbd %s (%s)\n", PACKAGE_VERSION, replica_version());
            return EXIT_SUCCESS;
        default:
            usage(stderr);
            return 2;
        }
    }
    if (optind != argc - 1 || strlen(argv[optind]) > REPLICA_NAME_MAX ||
        strchr(argv[optind], '/') || argv[optind][0] == '\0') {
        usage(stderr);
        return 2;
    }
    program->options.resource = argv[optind];
    return -1;
}

/* Makes the run directory if it is not there, and both names absolute: a daemon runs in /. */
static int directories_prepare(struct program *program, struct replica_error *error)
{
    struct replica_options *options = &program->options;

    if (mkdir(options->run_dir, 0755) != 0 && errno != EEXIST)
        return err_set(error, REPLICA_E_SYSTEM, "%s: %s", options->run_dir, strerror(errno));
    if (!realpath(options->run_dir, program->run_dir))
        return err_set(error, REPLICA_E_SYSTEM, "%s: %s", options->run_dir, strerror(errno));
    if (!realpath(options->config_dir, program->config_dir))
        return err_set(error, REPLICA_E_NOT_FOUND,
                       "%s: %s; the resource files (*.res) are looked for there",
                       options->config_dir, strerror(errno));
    options->run_dir = program->run_dir;
    options->config_dir = program->config_dir;
    (void)snprintf(program->nbd_path, sizeof program->nbd_path, "%s/%s.nbd", program->run_dir,
                   options->resource);
    (void)snprintf(program->pid_path, sizeof program->pid_path, "%s/%s.pid", program->run_dir,
                   options->resource);
    return 0;
}

static int program_run(struct program *program, struct replica_error *error)
{
    char log_path[PATH_BYTES + REPLICA_NAME_MAX + 8];
    int code = directories_prepare(program, error);

    if (code == 0) {
        (void)snprintf(log_path, sizeof log_path, "%s/%s.log", program->run_dir,
                       program->options.resource);
        code = daemon_start(&program->daemon, program->foreground, "tapdisk-drbd", log_path, error);
        if (code && program->daemon.ready_fd >= 0)
            return code; /* the child, whose parent has been told */
    }
    if (code == 0)
        code = program_open(program, error);
    if (code) {
        daemon_failed(&program->daemon, error->text);
        return code;
    }
    return replica_loop_run(program->loop, error);
}

int main(int argc, char **argv)
{
    struct program program = {
        .options = {.config_dir = SYSCONFDIR "/tapdrbd.d", .run_dir = RUNSTATEDIR "/tapdrbd"},
        .daemon = {.ready_fd = -1},
        .signal_fd = -1};
    struct replica_error error = {0};
    int code = options_parse(&program, argc, argv);

    if (code >= 0)
        return code;
    (void)umask(022);
    code = program_run(&program, &error);
    if (code && program.daemon.pid_path)
        replica_log(program.replica, LOG_ERR, "%s", error.text);
    program_close(&program);
    return code ? EXIT_FAILURE : EXIT_SUCCESS;
}
