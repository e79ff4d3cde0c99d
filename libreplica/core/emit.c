/* SPDX-License-Identifier: GPL-2.0-or-later */
/* emit.c - appending actions to the step's list. */
#include "core_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct action *core_emit(struct core *core, enum action_kind kind)
{
    struct actions *out = core->out;
    struct action *action = out->count < out->capacity ? &out->list[out->count++] : &core->spare;

    memset(action, 0, sizeof *action);
    action->kind = kind;
    return action;
}

void core_log(struct core *core, enum log_level level, const char *format, ...)
{
    struct action *action = core_emit(core, ACTION_LOG);
    va_list arguments;

    action->log.level = level;
    va_start(arguments, format);
    vsnprintf(action->log.text, sizeof action->log.text, format, arguments);
    va_end(arguments);
}

/* The finalizer of splitmix64 over the event's entropy: several numbers from one. */
uint64_t core_random(struct core *core)
{
    uint64_t value = core->entropy += 0x9e3779b97f4a7c15u;

    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}

void core_disk(struct core *core, enum replica_op op, struct range range, bool durable,
               struct replica_buffer *buffer, uint64_t tag)
{
    struct action *action = core_emit(core, ACTION_DISK);

    action->disk.op = op;
    action->disk.range = range;
    action->disk.durable = durable;
    action->disk.buffer = buffer;
    action->disk.tag = tag;
    core->local_pending++;
    disk_io_begin(core, tag);
}

void core_disk_sum(struct core *core, struct range range, enum core_digest digest, uint64_t tag)
{
    struct action *action = core_emit(core, ACTION_DISK);

    action->disk.op = REPLICA_OP_READ;
    action->disk.range = range;
    action->disk.digest = digest;
    action->disk.tag = tag;
    core->local_pending++;
    disk_io_begin(core, tag);
}

void core_release(struct core *core, struct replica_buffer *buffer)
{
    if (buffer)
        core_emit(core, ACTION_RELEASE)->release.buffer = buffer;
}

struct wire_message *core_send(struct core *core, enum wire_type type,
                               struct replica_buffer *buffer)
{
    struct action *action = core_emit(core, ACTION_SEND);

    action->send.message.type = (uint8_t)type;
    action->send.buffer = buffer;
    return &action->send.message;
}
