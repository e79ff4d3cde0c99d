/* SPDX-License-Identifier: GPL-2.0-or-later */
/* agent - runs commands in a test host's dom0 for the harness.
 *
 * It dials out to the harness (so that no port has to be guessed), waits on
 * that connection for one command, hands it to a child and dials again; any
 * number of commands run side by side. Losing the connection kills the
 * command. It runs as process 1, so it also reaps orphans.
 *
 * Frames in both directions: type byte, 32-bit little-endian length, payload.
 *   to the agent:    C command text, I standard input, E end of input,
 *                    K one byte: signal for the command's process group
 *   to the harness:  H hello, O standard output, R standard error,
 *                    X 32-bit exit code (128 + signal when killed)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FRAME_LIMIT = 1 << 20, CHUNK = 65536 };

struct session {
    int sock;
    int input; /* write end of the command's stdin, -1 when closed */
    int output;
    int error;
    int pidfd;
    pid_t pid;
    uint8_t *pending; /* stdin bytes the pipe did not take yet */
    size_t pending_size;
    size_t pending_done;
    int end_of_input;
};

static int write_all(int fd, const void *data, size_t size)
{
    const char *at = data;

    while (size > 0) {
        ssize_t n = write(fd, at, size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        at += n;
        size -= (size_t)n;
    }
    return 0;
}

static int read_all(int fd, void *data, size_t size)
{
    char *at = data;

    while (size > 0) {
        ssize_t n = read(fd, at, size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        at += n;
        size -= (size_t)n;
    }
    return 0;
}

static int send_frame(int sock, char type, const void *data, uint32_t size)
{
    uint8_t head[5] = {(uint8_t)type, (uint8_t)size, (uint8_t)(size >> 8), (uint8_t)(size >> 16),
                       (uint8_t)(size >> 24)};

    if (write_all(sock, head, sizeof(head)) != 0)
        return -1;
    return size > 0 ? write_all(sock, data, size) : 0;
}

/* Returns the payload (one zero byte added), owned by the caller, or NULL. */
static uint8_t *read_frame(int sock, char *type, uint32_t *size)
{
    uint8_t head[5];
    uint8_t *data;

    if (read_all(sock, head, sizeof(head)) != 0)
        return NULL;
    *type = (char)head[0];
    *size = (uint32_t)head[1] | (uint32_t)head[2] << 8 | (uint32_t)head[3] << 16 |
            (uint32_t)head[4] << 24;
    if (*size > FRAME_LIMIT)
        return NULL;
    data = calloc(1, *size + 1);
    if (data != NULL && read_all(sock, data, *size) != 0) {
        free(data);
        return NULL;
    }
    return data;
}

static void run_shell(int in, int out, int err, const char *command)
{
    sigset_t none;

    setsid();
    signal(SIGCHLD, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    dup2(in, 0);
    dup2(out, 1);
    dup2(err, 2);
    execl("/bin/bash", "bash", "-c", command, (char *)NULL);
    _exit(127);
}

static int start_command(struct session *s, const char *command)
{
    int in[2], out[2], err[2];

    if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
        return -1;
    s->pid = fork();
    if (s->pid == 0)
        run_shell(in[0], out[1], err[1], command);
    if (s->pid < 0)
        return -1;
    close(in[0]);
    close(out[1]);
    close(err[1]);
    s->input = in[1];
    s->output = out[0];
    s->error = err[0];
    /* A command that does not read must not stop us from reading it. */
    fcntl(s->input, F_SETFL, O_NONBLOCK);
    s->pidfd = (int)syscall(SYS_pidfd_open, s->pid, 0);
    return s->pidfd < 0 ? -1 : 0;
}

static void close_input(struct session *s)
{
    if (s->input >= 0)
        close(s->input);
    s->input = -1;
    free(s->pending);
    s->pending = NULL;
}

static void push_input(struct session *s)
{
    ssize_t n = write(s->input, s->pending + s->pending_done, s->pending_size - s->pending_done);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        close_input(s);
        return;
    }
    s->pending_done += (size_t)n;
    if (s->pending_done == s->pending_size) {
        free(s->pending);
        s->pending = NULL;
    }
    if (s->pending == NULL && s->end_of_input)
        close_input(s);
}

/* Returns -1 when the harness has gone. */
static int take_frame(struct session *s)
{
    char type;
    uint32_t size;
    uint8_t *data = read_frame(s->sock, &type, &size);

    if (data == NULL)
        return -1;
    if (type == 'I' && s->input >= 0 && size > 0) {
        s->pending = data;
        s->pending_size = size;
        s->pending_done = 0;
        return 0;
    }
    if (type == 'E')
        close_input(s);
    if (type == 'K' && size == 1)
        kill(-s->pid, data[0]);
    free(data);
    return 0;
}

/* Passes one chunk on; closes the pipe at its end. Returns -1 when the
 * harness has gone, 0 when there was nothing, 1 when something was sent. */
static int pass_on(struct session *s, int *fd, char type)
{
    static char chunk[CHUNK];
    ssize_t n = read(*fd, chunk, sizeof(chunk));

    if (n > 0)
        return send_frame(s->sock, type, chunk, (uint32_t)n) ? -1 : 1;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    close(*fd);
    *fd = -1;
    return 0;
}

/* Daemons may keep the pipes open for ever: take what is there, no more. */
static int drain(struct session *s, int *fd, char type)
{
    int result = 1;

    if (*fd >= 0)
        fcntl(*fd, F_SETFL, O_NONBLOCK);
    while (*fd >= 0 && result > 0)
        result = pass_on(s, fd, type);
    return result < 0 ? -1 : 0;
}

static int finish(struct session *s)
{
    int status = 0;
    uint32_t code;

    if (drain(s, &s->output, 'O') || drain(s, &s->error, 'R'))
        return -1;
    waitpid(s->pid, &status, 0);
    code = WIFEXITED(status) ? (uint32_t)WEXITSTATUS(status) : 128u + (uint32_t)WTERMSIG(status);
    return send_frame(s->sock, 'X', &code, sizeof(code));
}

static void serve(struct session *s)
{
    for (;;) {
        struct pollfd p[5] = {
            {.fd = s->pending ? -1 : s->sock, .events = POLLIN},
            {.fd = s->pending ? s->input : -1, .events = POLLOUT},
            {.fd = s->output, .events = POLLIN},
            {.fd = s->error, .events = POLLIN},
            {.fd = s->pidfd, .events = POLLIN},
        };

        if (poll(p, 5, -1) < 0)
            continue;
        if (p[1].revents)
            push_input(s);
        if (p[0].revents && take_frame(s) != 0)
            break;
        if (p[2].revents && pass_on(s, &s->output, 'O') < 0)
            break;
        if (p[3].revents && pass_on(s, &s->error, 'R') < 0)
            break;
        if (p[4].revents) {
            if (finish(s) == 0)
                return;
            break;
        }
    }
    kill(-s->pid, SIGKILL);
}

static void handle(int sock, const char *command)
{
    struct session s = {.sock = sock, .input = -1, .output = -1, .error = -1, .pidfd = -1};

    signal(SIGCHLD, SIG_DFL);
    if (start_command(&s, command) == 0)
        serve(&s);
    _exit(0);
}

static int dial(const char *address, int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct timespec pause = {.tv_nsec = 200 * 1000 * 1000};
    int one = 1;

    inet_pton(AF_INET, address, &to.sin_addr);
    for (;;) {
        int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (sock >= 0 && connect(sock, (struct sockaddr *)&to, sizeof(to)) == 0) {
            setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
            return sock;
        }
        if (sock >= 0)
            close(sock);
        nanosleep(&pause, NULL);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: agent ADDRESS PORT\n");
        return 2;
    }
    signal(SIGCHLD, SIG_IGN); /* the kernel reaps our children */
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        int sock = dial(argv[1], atoi(argv[2]));
        char type = 0;
        uint32_t size;
        uint8_t *command = NULL;

        if (send_frame(sock, 'H', NULL, 0) == 0)
            command = read_frame(sock, &type, &size);
        if (command != NULL && type == 'C' && fork() == 0)
            handle(sock, (const char *)command);
        free(command);
        close(sock);
    }
}
