/* SPDX-License-Identifier: GPL-2.0-or-later */
/* log.c - see log.h. */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINE_BYTES = 1024, LIMIT_LINES = 8 };
static const uint64_t limit_window = 60000000000u; /* LIMIT_LINES a minute */

/* The journal announces itself by the device and inode of the stream it gave us. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat status;

    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &status) == 0 && status.st_dev == device && status.st_ino == inode;
}

void log_open(struct log *log, const char *name)
{
    *log = (struct log){.journal = stderr_is_journal(), .level = LOG_INFO};
    (void)snprintf(log->name, sizeof log->name, "%s", name);
}

static size_t clamp(int printed, size_t room)
{
    if (printed < 0)
        return 0;
    return (size_t)printed < room ? (size_t)printed : room - 1;
}

void log_line(const struct log *log, int priority, const char *format, ...)
{
    char line[LINE_BYTES];
    size_t used = 0, room = sizeof line - 1;
    va_list arguments;
    ssize_t written;

    if (priority > log->level)
        return;
    if (log->journal)
        used = clamp(snprintf(line, room, "<%d>", priority), room);
    used += clamp(snprintf(line + used, room - used, "%s: ", log->name), room - used);
    va_start(arguments, format);
    used += clamp(vsnprintf(line + used, room - used, format, arguments), room - used);
    va_end(arguments);
    for (size_t i = 0; i < used; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 127)
            line[i] = ' '; /* a peer's text must not forge lines */
    line[used++] = '\n';
    written = send(STDERR_FILENO, line, used, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (written < 0 && errno == ENOTSOCK)
        written = write(STDERR_FILENO, line, used);
    (void)written; /* nowhere to complain */
}

bool log_may(struct log_limit *limit, uint64_t now, uint32_t *dropped)
{
    *dropped = 0;
    if (limit->written == 0 || now - limit->window_start >= limit_window) {
        *dropped = limit->dropped;
        *limit = (struct log_limit){.window_start = now, .written = 1};
        return true;
    }
    if (limit->written < LIMIT_LINES) {
        limit->written++;
        return true;
    }
    limit->dropped++;
    return false;
}
