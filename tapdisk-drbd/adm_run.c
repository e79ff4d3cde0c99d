/* SPDX-License-Identifier: GPL-2.0-or-later */
/* adm_run.c - see adm_run.h. */
#include <config.h>

#include "adm_run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* The program may end before it has read everything: its exit status tells more than EPIPE. */
static void feed(int fd, const char *input, size_t length)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;

    sigaction(SIGPIPE, &ignore, &before);
    while (length) {
        ssize_t written = write(fd, input, length);

        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            break;
        input += written;
        length -= (size_t)written;
    }
    sigaction(SIGPIPE, &before, NULL);
}

static int wait_for(pid_t child)
{
    int status;

    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int spawn(char *const argv[], int input_fd, pid_t *child)
{
    posix_spawn_file_actions_t actions;
    int bad;

    if (posix_spawn_file_actions_init(&actions))
        return -1;
    if (input_fd >= 0)
        posix_spawn_file_actions_adddup2(&actions, input_fd, STDIN_FILENO);
    bad = posix_spawnp(child, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (bad)
        fprintf(stderr, "cannot run %s: %s\n", argv[0], strerror(bad));
    return bad ? -1 : 0;
}

int adm_run(char *const argv[], const char *input, size_t length)
{
    int ends[2] = {-1, -1}, result;
    pid_t child = 0;

    fflush(stdout);
    if (input && pipe2(ends, O_CLOEXEC)) {
        fprintf(stderr, "pipe: %s\n", strerror(errno));
        return -1;
    }
    result = spawn(argv, ends[0], &child);
    if (input)
        close(ends[0]);
    if (result == 0 && input)
        feed(ends[1], input, length);
    if (input)
        close(ends[1]);
    return result ? -1 : wait_for(child);
}
