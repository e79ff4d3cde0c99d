/* SPDX-License-Identifier: GPL-2.0-or-later */
/* daemon.c - see daemon.h. */
#include <config.h>

#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>
#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#include <systemd/sd-journal.h>
#endif

#include "libreplica/core/err.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

enum { READY_BYTE = 'R' };

static int system_error(struct replica_error *error, const char *what)
{
    return err_set(error, REPLICA_E_SYSTEM, "%s: %s", what, strerror(errno));
}

/* Waits for the child's word and leaves with it. */
static void parent_leave(int fd, pid_t child)
{
    char text[REPLICA_ERROR_TEXT_MAX + 64] = "";
    size_t used = 0;
    ssize_t got;

    while (used < sizeof text - 1) {
        got = read(fd, text + used, sizeof text - 1 - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        used += (size_t)got;
        if (text[0] == READY_BYTE)
            _exit(EXIT_SUCCESS);
    }
    text[used] = '\0';
    if (used == 0)
        (void)snprintf(text, sizeof text, "tapdisk-drbd: process %d ended without a word\n",
                       (int)child);
    (void)fputs(text, stderr);
    (void)fflush(stderr);
    _exit(EXIT_FAILURE);
}

/* The journal's stream if there is a journal, else the file. */
static int log_destination(const char *name, const char *log_path)
{
#ifdef HAVE_SYSTEMD
    int fd = sd_journal_stream_fd(name, LOG_INFO, 1);
    struct stat status;
    char stream[64];

    if (fd >= 0 && fstat(fd, &status) == 0) {
        (void)snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)status.st_dev,
                       (unsigned long long)status.st_ino);
        (void)setenv("JOURNAL_STREAM", stream, 1); /* how a writer knows it is the journal */
        return fd;
    }
#else
    (void)name;
#endif
    return open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
}

static int streams_redirect(const char *name, const char *log_path, struct replica_error *error)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), log;

    if (null < 0)
        return system_error(error, "/dev/null");
    log = log_destination(name, log_path);
    if (log < 0) {
        (void)system_error(error, log_path);
        (void)close(null);
        return REPLICA_E_SYSTEM;
    }
    (void)dup2(null, STDIN_FILENO);
    (void)dup2(null, STDOUT_FILENO);
    (void)dup2(log, STDERR_FILENO);
    (void)close(null);
    (void)close(log);
    return 0;
}

int daemon_start(struct daemon *daemon, bool foreground, const char *name, const char *log_path,
                 struct replica_error *error)
{
    int ends[2], code;
    pid_t child;

    *daemon = (struct daemon){.ready_fd = -1};
    if (foreground)
        return 0;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return system_error(error, "pipe");
    child = fork();
    if (child < 0) {
        (void)system_error(error, "fork");
        (void)close(ends[0]);
        (void)close(ends[1]);
        return REPLICA_E_SYSTEM;
    }
    if (child > 0) {
        (void)close(ends[1]);
        parent_leave(ends[0], child);
    }
    (void)close(ends[0]);
    daemon->ready_fd = ends[1];
    (void)setsid();
    code = streams_redirect(name, log_path, error);
    if (code == 0 && chdir("/") != 0)
        code = system_error(error, "chdir /");
    if (code)
        daemon_failed(daemon, error ? error->text : "cannot become a daemon");
    return code;
}

static int pid_write(const char *path, struct replica_error *error)
{
    FILE *file = fopen(path, "we");
    int bad;

    if (!file)
        return system_error(error, path);
    bad = fprintf(file, "%d\n", (int)getpid()) < 0;
    bad |= fclose(file) != 0;
    return bad ? system_error(error, path) : 0;
}

int daemon_ready(struct daemon *daemon, const char *pid_path, struct replica_error *error)
{
    const char byte = READY_BYTE;
    int code = pid_write(pid_path, error);

    if (code)
        return code;
    daemon->pid_path = pid_path;
    if (daemon->ready_fd >= 0) {
        (void)!write(daemon->ready_fd, &byte, 1); /* a parent that was killed misses nothing */
        (void)close(daemon->ready_fd);
        daemon->ready_fd = -1;
    }
#ifdef HAVE_SYSTEMD
    (void)sd_notify(0, "READY=1");
#endif
    return 0;
}

void daemon_failed(struct daemon *daemon, const char *text)
{
    char line[REPLICA_ERROR_TEXT_MAX + 64];
    int length = snprintf(line, sizeof line, "tapdisk-drbd: %s\n", text);
    int fd = daemon->ready_fd >= 0 ? daemon->ready_fd : STDERR_FILENO;

    if (length > 0)
        (void)!write(fd, line, (size_t)length < sizeof line ? (size_t)length : sizeof line - 1);
}

void daemon_end(struct daemon *daemon)
{
#ifdef HAVE_SYSTEMD
    (void)sd_notify(0, "STOPPING=1");
#endif
    if (daemon->pid_path)
        (void)unlink(daemon->pid_path);
    daemon->pid_path = NULL;
}

static int oom_spare(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    bool ok;

    if (fd < 0)
        return -1;
    ok = write(fd, "-1000", 5) == 5;
    (void)close(fd);
    return ok ? 0 : -1;
}

const char *daemon_protect(void)
{
    const char *missing = NULL;

    if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0)
        missing = "PR_SET_IO_FLUSHER (the kernel may wait for our own I/O)";
    /* On fault: pages stay once they were touched; untouched stack and tables cost nothing. */
    if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0)
        missing = "mlockall (memory may be paged out)";
    if (oom_spare() != 0)
        missing = "oom_score_adj (the OOM killer may choose this process)";
    return missing;
}
