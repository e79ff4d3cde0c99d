/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_adm.c - tapdrbdadm as a person runs it: the program itself, in a directory of its own, with
 * a shell script for ssh and a process that plays the daemon's control socket.
 */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define NEW_KEY "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n"

static char directory[64];
static char output[16384]; /* of the last run: standard output and errors */

/* ---- files -------------------------------------------------------------------------------------
 */

static void path_make(char *path, size_t capacity, const char *name)
{
    (void)snprintf(path, capacity, "%s/%s", directory, name);
}

static void file_write(const char *name, const char *text, mode_t mode)
{
    char path[256];
    FILE *file;

    path_make(path, sizeof path, name);
    file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(chmod(path, mode), 0);
}

static size_t file_read(const char *name, char *text, size_t capacity)
{
    char path[256];
    size_t length;
    FILE *file;

    path_make(path, sizeof path, name);
    file = fopen(path, "r");
    ck_assert_msg(file != NULL, "%s", path);
    length = fread(text, 1, capacity - 1, file);
    text[length] = '\0';
    fclose(file);
    return length;
}

static mode_t file_mode(const char *name)
{
    char path[256];
    struct stat about;

    path_make(path, sizeof path, name);
    ck_assert_msg(stat(path, &about) == 0, "%s", path);
    return about.st_mode & 07777;
}

static bool file_exists(const char *name)
{
    char path[256];

    path_make(path, sizeof path, name);
    return access(path, F_OK) == 0;
}

/* Runs a command line in which $A is tapdrbdadm on alpha, $D the directory. */
static int run(const char *command)
{
    char line[2048];
    size_t length;
    FILE *pipe;
    int status;

    (void)snprintf(line, sizeof line,
                   "D=%s; A=\"" TAPDRBDADM " --config-dir $D/alpha --run-dir $D --node alpha\"; "
                   "{ %s; } 2>&1",
                   directory, command);
    pipe = popen(line, "r");
    ck_assert_ptr_nonnull(pipe);
    length = fread(output, 1, sizeof output - 1, pipe);
    output[length] = '\0';
    status = pclose(pipe);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

#define ck_assert_output(text) \
    ck_assert_msg(strstr(output, text) != NULL, "expected '%s' in: %s", text, output)

static const char resource_file[] =
    "resource vm1 { disk /dev/vg0/vm1;\n"
    "on alpha { address 10.0.0.1:7789; } on beta { address 10.0.0.2:7789; } }\n";

/* The script is called as ssh is: HOST COMMAND. It runs the command with HOST's directory. */
static void setup(void)
{
    char script[512], path[256];

    (void)snprintf(directory, sizeof directory, "/tmp/test_adm.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    path_make(path, sizeof path, "alpha");
    ck_assert_int_eq(mkdir(path, 0755), 0);
    file_write("alpha/vm1.res", resource_file, 0644);
    (void)snprintf(script, sizeof script,
                   "echo \"$0 $*\" >%s/ssh-arguments; host=$1; words=${2#* }\n"
                   "exec " TAPDRBDADM " --config-dir %s/$host --node $host $words\n",
                   directory, directory);
    file_write("ssh", script, 0755);
}

static void teardown(void)
{
    char command[128];

    (void)snprintf(command, sizeof command, "rm -r %s", directory);
    ck_assert_int_eq(system(command), 0);
}

/* ---- pair --------------------------------------------------------------------------------------
 */

#define PAIR "$A pair --ssh \"sh $D/ssh\" "

START_TEST(test_pair)
{
    char here[256], there[256], arguments[1024];

    ck_assert_int_eq(run(PAIR "beta vm1"), 0);
    ck_assert_output("vm1.key: made a new key");
    ck_assert_output("vm1: beta has the same key and vm1.res now");
    ck_assert_uint_eq(file_read("alpha/vm1.key", here, sizeof here), 65);
    ck_assert_uint_eq(strspn(here, "0123456789abcdef"), 64);
    file_read("beta/vm1.key", there, sizeof there);
    ck_assert_str_eq(here, there);
    ck_assert_uint_eq(file_mode("alpha/vm1.key"), 0600);
    ck_assert_uint_eq(file_mode("beta/vm1.key"), 0600);
    file_read("beta/vm1.res", there, sizeof there);
    ck_assert_str_eq(there, resource_file);
    here[64] = '\0'; /* nothing of the key was said or stood on a command line */
    file_read("ssh-arguments", arguments, sizeof arguments);
    ck_assert_ptr_nonnull(strstr(arguments, "pair --receive vm1"));
    ck_assert_ptr_null(strstr(arguments, here));
    ck_assert_ptr_null(strstr(output, here));
}
END_TEST

/* Again: nothing changes. All resources, when none is named. */
START_TEST(test_pair_again)
{
    char first[256], second[256];

    ck_assert_int_eq(run(PAIR "beta"), 0);
    file_read("beta/vm1.key", first, sizeof first);
    ck_assert_int_eq(run(PAIR "beta"), 0);
    ck_assert_ptr_null(strstr(output, "made a new key"));
    file_read("beta/vm1.key", second, sizeof second);
    ck_assert_str_eq(first, second);
}
END_TEST

START_TEST(test_pair_other_key)
{
    char key[256];

    ck_assert_int_eq(run(PAIR "beta vm1"), 0);
    file_write("beta/vm1.key", NEW_KEY, 0600);
    ck_assert_int_eq(run(PAIR "beta vm1"), 1);
    ck_assert_output("beta has another key already");
    file_read("beta/vm1.key", key, sizeof key);
    ck_assert_str_eq(key, NEW_KEY);
    ck_assert_int_eq(run(PAIR "--force beta vm1"), 0);
    file_read("beta/vm1.key", key, sizeof key);
    ck_assert_str_ne(key, NEW_KEY);
}
END_TEST

/* Another file there: neither file nor key is written. */
START_TEST(test_pair_other_file)
{
    char path[256];

    path_make(path, sizeof path, "beta");
    ck_assert_int_eq(mkdir(path, 0755), 0);
    file_write("beta/vm1.res", "# mine\n", 0644);
    ck_assert_int_eq(run(PAIR "beta vm1"), 1);
    ck_assert_output("there is another file of this name on beta already");
    ck_assert(!file_exists("beta/vm1.key"));
    ck_assert_int_eq(run(PAIR "beta vm1 --force"), 0);
    ck_assert(file_exists("beta/vm1.key"));
}
END_TEST

/* Two files with one resource: the other host could not bring up any resource any more. */
START_TEST(test_pair_second_file)
{
    ck_assert_int_eq(run(PAIR "beta vm1"), 0);
    ck_assert_int_eq(run("mv $D/alpha/vm1.res $D/alpha/web.res; " PAIR "beta vm1"), 1);
    ck_assert_output("web.res:1: a second resource vm1: the first is in ");
    ck_assert(!file_exists("beta/web.res"));
    ck_assert_int_eq(run("rm $D/beta/vm1.res; " PAIR "beta vm1"), 0);
    ck_assert(file_exists("beta/web.res"));
}
END_TEST

/* The other host's daemon looks for the key where that host's configuration says. */
START_TEST(test_pair_common_there)
{
    ck_assert_int_eq(run("mkdir $D/beta"), 0);
    file_write("beta/global_common.conf", "common { net { key-file other.key; } }\n", 0644);
    ck_assert_int_eq(run(PAIR "beta vm1"), 0);
    ck_assert_uint_eq(file_mode("beta/other.key"), 0600);
    ck_assert(!file_exists("beta/vm1.key"));
}
END_TEST

START_TEST(test_pair_name_with_space)
{
    ck_assert_int_eq(run("mv $D/alpha/vm1.res \"$D/alpha/the web.res\"; " PAIR "beta vm1"), 0);
    ck_assert(file_exists("beta/the web.res"));
}
END_TEST

START_TEST(test_pair_wrong_host)
{
    ck_assert_int_eq(run(PAIR "gamma vm1"), 1);
    ck_assert_output("resource vm1 has no 'on gamma' section");
    ck_assert(!file_exists("gamma"));
}
END_TEST

START_TEST(test_pair_readable_key)
{
    file_write("alpha/vm1.key", NEW_KEY, 0644);
    ck_assert_int_eq(run(PAIR "beta vm1"), 10);
    ck_assert_output("its mode is 644, so others than its owner can read it");
    ck_assert(!file_exists("beta"));
}
END_TEST

START_TEST(test_pair_bad_input)
{
    static const char *const inputs[] = {
        "",
        "tapdrbd-pair 1\\n",
        "tapdrbd-pair 2\\nxx",
        "GET / HTTP/1.0\\r\\n\\r\\n",
        "tapdrbd-pair 1\\n$K\\n../vm1.res 3\\nabc",
        "tapdrbd-pair 1\\n$K\\nvm1.res 4\\nabc",
        "tapdrbd-pair 1\\n$K\\nvm1.key 3\\nabc",
        "tapdrbd-pair 1\\n$K\\n.res 3\\nabc",
    };
    char command[512];

    (void)snprintf(command, sizeof command,
                   "K=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n"
                   "printf \"%s\" | $A pair --receive vm1",
                   inputs[_i]);
    ck_assert_int_eq(run(command), 3);
    ck_assert_output("expected what `tapdrbdadm pair` sends on standard input");
    ck_assert(!file_exists("alpha/vm1.key"));
}
END_TEST

/* ---- command line ------------------------------------------------------------------------------
 */

static const struct {
    const char *command;
    int status;
    const char *text;
} lines[] = {
    {"$A", 3, "expected a verb"},
    {"$A help", 0, "new-current-uuid"},
    {"$A --help", 0, "Exit status"},
    {"$A primary --help", 0, "--force"},
    {"$A primry vm1", 3, "unknown verb: did you mean 'primary'?"},
    {"$A adjust vm1", 3, "drbdadm has it, but it is not in this version"},
    {"$A verify --start here vm1", 3, "expected a sector's number, found 'here'"},
    {"$A verify --stop 8s vm1", 10, "not up on this host"},
    {"$A primary", 3, "expected a resource's name, or 'all'"},
    {"$A secondary --force vm1", 3, "unknown option '--force'"},
    {"$A wait-sync --timeout soon vm1", 3, "expected a number of seconds, found 'soon'"},
    {"$A sh-resources", 0, "vm1"},
    {"$A sh-ll-dev vm1", 0, "/dev/vg0/vm1"},
    {"$A dump vm2", 10, "vm2: no such resource in "},
    {"$A dump --node gamma vm1", 10, "is for the hosts alpha and beta"},
    {"$A primary vm1", 10, "vm1: not up on this host: start it with `tapdrbdadm up vm1`"},
    {"$A primary vm2", 10, "vm2: no such resource"},
    {"$A down vm1", 0, "vm1: down already"},
    {"$A status", 0, "vm1 down"},
    {"$A status vm1", 10, "not up on this host: tapdrbdadm up vm1"},
    {"$A status --json", 0, "[]"},
    {"$A dump-md vm1", 10, "/dev/vg0/vm1 does not exist"},
    {"$A dump >/dev/full", 1, "cannot write to the standard output"},
};

START_TEST(test_command_line)
{
    ck_assert_int_eq(run(lines[_i].command), lines[_i].status);
    ck_assert_output(lines[_i].text);
}
END_TEST

/* ---- with a daemon -----------------------------------------------------------------------------
 */

/* Answers every request of each connection with `answer`, or what is in that file then, keeps the
 * requests in a file. */
static void daemon_serve(int listener, const char *answer)
{
    static char text[4096];

    for (;;) {
        int client = accept(listener, NULL, NULL);
        char request[4096];
        FILE *stream = client < 0 ? NULL : fdopen(client, "r+");

        if (!stream)
            _exit(1);
        while (fgets(request, sizeof request, stream)) {
            file_write("request", request, 0600);
            if (*answer == '@')
                (void)file_read(answer + 1, text, sizeof text);
            fprintf(stream, "%s\n", *answer == '@' ? text : answer);
            fflush(stream);
        }
        fclose(stream);
    }
}

static pid_t daemon_start(const char *answer)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    pid_t child;

    path_make(address.sun_path, sizeof address.sun_path, "vm1.ctl");
    ck_assert_int_eq(bind(listener, (const struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(listener, 4), 0);
    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0)
        daemon_serve(listener, answer);
    close(listener);
    return child;
}

static void daemon_stop(pid_t child)
{
    ck_assert_int_eq(kill(child, SIGKILL), 0);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
}

#define REFUSAL(code) "{\"ok\": false, \"code\": \"" code "\", \"error\": \"because\"}"
#define STATUS                                                                               \
    "{\"ok\": true, \"status\": {\"name\": \"vm1\", \"role\": \"Primary\", "                 \
    "\"devices\": [{\"disk-state\": \"UpToDate\"}], \"connections\": [{\"name\": \"beta\", " \
    "\"connection-state\": \"Connected\", \"peer-role\": \"Secondary\", \"peer_devices\": [" \
    "{\"replication-state\": \"Established\", \"peer-disk-state\": \"Inconsistent\"}]}]}, "  \
    "\"gi\": \"current UUID  00AB\\nepoch  3\\nolder UUID  04\\n\"}"

static const struct {
    const char *command, *answer;
    int status;
    const char *output, *request; /* request: what the daemon was asked, NULL: not looked at */
} talks[] = {
    {"$A primary vm1", "{\"ok\": true}", 0, "", "{\"command\":\"primary\",\"force\":false}\n"},
    {"$A primary --force vm1", "{\"ok\": true}", 0, "",
     "{\"command\":\"primary\",\"force\":true}\n"},
    {"$A connect vm1 --discard-my-data", "{\"ok\": true}", 0, "",
     "{\"command\":\"connect\",\"discard-my-data\":true}\n"},
    {"$A new-current-uuid --clear-bitmap vm1", "{\"ok\": true}", 0, "",
     "{\"command\":\"new-current-uuid\",\"clear-bitmap\":true}\n"},
    {"$A wait-sync --timeout=7 vm1", "{\"ok\": true}", 0, "",
     "{\"command\":\"wait-sync\",\"timeout\":7.0}\n"},
    {"$A wait-connect --timeout 3 vm1", REFUSAL("timeout"), 5, "vm1: not connected after 3 s",
     NULL},
    {"$A primary vm1", REFUSAL("peer-primary"), 11, "vm1: because", NULL},
    {"$A primary vm1", REFUSAL("not-uptodate"), 17, "vm1: because", NULL},
    {"$A down vm1", REFUSAL("busy"), 11, "vm1: because",
     "{\"command\":\"down\",\"force\":false}\n"},
    {"$A down --force vm1", REFUSAL("busy"), 11, "vm1: because",
     "{\"command\":\"down\",\"force\":true}\n"},
    {"$A primary vm1", REFUSAL("new-word"), 1, "vm1: because", NULL},
    {"$A status vm1", "garbage", 1, "vm1 not answering", NULL},
    {"$A primary vm1", "garbage", 1, "tapdisk-drbd's answer makes no sense", NULL},
    {"$A up vm1", "{\"ok\": true}", 0, "vm1: up already", NULL},
    {"$A create-md vm1", "{\"ok\": true}", 11, "vm1: it is up: `tapdrbdadm down vm1` first", NULL},
    {"$A role vm1", STATUS, 0, "Primary\n", "{\"command\":\"status\"}\n"},
    {"$A cstate vm1", STATUS, 0, "Connected\n", NULL},
    {"$A dstate vm1", STATUS, 0, "UpToDate/Inconsistent\n", NULL},
    {"$A show-gi vm1", STATUS, 0, "current UUID  00AB\nepoch  3\nolder",
     "{\"command\":\"show-gi\"}\n"},
    {"$A get-gi vm1", STATUS, 0, "00AB:04\n", NULL},
    {"$A status", STATUS, 0, "vm1 role:Primary\n  disk:UpToDate\n  beta role:Secondary\n", NULL},
    {"$A status --json", STATUS, 0, "\"connection-state\": \"Connected\"", NULL},
    {"$A status --watch --color=always | sed -n '2{p;q}'", STATUS, 0, "disk:\033[32mUpToDate",
     "{\"command\":\"watch\"}\n"},
};

START_TEST(test_daemon)
{
    char request[256];
    pid_t child = daemon_start(talks[_i].answer);
    int status = run(talks[_i].command);

    daemon_stop(child);
    ck_assert_msg(status == talks[_i].status, "status %d: %s", status, output);
    ck_assert_output(talks[_i].output);
    if (talks[_i].request) {
        file_read("request", request, sizeof request);
        ck_assert_str_eq(request, talks[_i].request);
    }
}
END_TEST

/* A socket that a dead process left behind counts as down. */
/* ---- evacuate ----------------------------------------------------------------------------------
 */

#define HERE(role, link, disk, vbds)                                                          \
    "{\"ok\":true,\"status\":{\"role\":\"" role                                               \
    "\",\"connections\":[{\"connection-state\":\"" link                                       \
    "\",\"peer_devices\":[{\"peer-disk-state\":\"" disk "\"}]}],\"tapdrbd\":{\"vbds\":[" vbds \
    "]}}}"
#define VBD "{\"domain\":5,\"state\":\"Connected\"}"
#define MOVED HERE("Secondary", "Connected", "UpToDate", "{\"domain\":5,\"handed-over\":true}")
#define EVACUATE "PATH=$D:$PATH $A evacuate "

/* xl: knows the guest's name; `migrate` does what the test says and tells how it was called. */
static void xl_make(int status)
{
    char script[1024];

    file_write("moved", MOVED, 0600);
    (void)snprintf(script, sizeof script,
                   "#!/bin/sh\n[ $1 = domname ] && echo web && exit\n"
                   "echo \"XL $*\"\n[ %d = 0 ] && cp %s/moved %s/answer\nexit %d\n",
                   status, directory, directory, status);
    file_write("xl", script, 0755);
}

START_TEST(test_evacuate)
{
    static const struct {
        const char *answer;
        int xl;
        const char *options;
        int status;
        const char *output, *call; /* call: what xl was asked for, NULL: nothing */
    } cases[] = {
        {HERE("Primary", "Connected", "UpToDate", VBD), 0, "", 0, "web runs on beta now",
         "XL migrate web beta\n"},
        {HERE("Primary", "Connected", "UpToDate", VBD), 0, "--to b.example --ssh 'ssh -p 3'", 0,
         "1 guest moved", "XL migrate -s ssh -p 3 web b.example\n"},
        {HERE("Primary", "Connected", "UpToDate", VBD), 0, "--dry-run", 0,
         "web (vm1): xl migrate web beta\n", NULL},
        {HERE("Primary", "Connected", "UpToDate", VBD), 1, "", 1,
         "  web: not moved; xl list says where it is", "XL migrate web beta\n"},
        {HERE("Primary", "Connecting", "DUnknown", VBD), 0, "", 11,
         "web cannot move: vm1: not connected to beta (Connecting)", NULL},
        {HERE("Primary", "Connected", "Inconsistent", VBD), 0, "", 11,
         "the disk of beta is Inconsistent; wait for it with tapdrbdadm wait-sync vm1", NULL},
        {HERE("Primary", "Connected", "UpToDate", ""), 0, "", 11,
         "vm1: Primary here without a guest", NULL},
        {MOVED, 0, "", 0, "0 guests moved; no guest uses", NULL},
    };
    char command[256];
    pid_t child;

    file_write("answer", cases[_i].answer, 0600);
    xl_make(cases[_i].xl);
    child = daemon_start("@answer");
    (void)snprintf(command, sizeof command, EVACUATE "%s", cases[_i].options);
    ck_assert_int_eq(run(command), cases[_i].status);
    ck_assert_output(cases[_i].output);
    if (cases[_i].call)
        ck_assert_output(cases[_i].call);
    else
        ck_assert_ptr_null(strstr(output, "XL "));
    daemon_stop(child);
}
END_TEST

START_TEST(test_stale_socket)
{
    daemon_stop(daemon_start(""));
    ck_assert(file_exists("vm1.ctl"));
    ck_assert_int_eq(run("$A role vm1"), 10);
    ck_assert_output("not up on this host");
    ck_assert_int_eq(run("$A down vm1"), 0);
    ck_assert_output("down already");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("adm");
    TCase *tcase = tcase_create("program");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_pair);
    tcase_add_test(tcase, test_pair_again);
    tcase_add_test(tcase, test_pair_other_key);
    tcase_add_test(tcase, test_pair_other_file);
    tcase_add_test(tcase, test_pair_second_file);
    tcase_add_test(tcase, test_pair_common_there);
    tcase_add_test(tcase, test_pair_name_with_space);
    tcase_add_test(tcase, test_pair_wrong_host);
    tcase_add_test(tcase, test_pair_readable_key);
    tcase_add_loop_test(tcase, test_pair_bad_input, 0, 8);
    tcase_add_loop_test(tcase, test_command_line, 0, sizeof lines / sizeof *lines);
    tcase_add_loop_test(tcase, test_daemon, 0, sizeof talks / sizeof *talks);
    tcase_add_loop_test(tcase, test_evacuate, 0, 8);
    tcase_add_test(tcase, test_stale_socket);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
