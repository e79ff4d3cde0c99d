/* SPDX-License-Identifier: GPL-2.0-or-later */
/* core_pair.c - stepping two cores and carrying out what they ask. See core_pair.h. */
#include "core_pair_private.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

#include "libreplica/core/crc32c.h"
#include "unit.h"

struct pair_item {
    struct action action;
    uint8_t wire[WIRE_HEADER_BYTES + WIRE_BODY_BYTES_MAX];
    size_t wire_bytes;
    struct pair_item *next;
};

static void trace(struct pair_node *node, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void trace(struct pair_node *node, const char *format, ...)
{
    struct pair *pair = node->pair;
    char line[400];
    int at = snprintf(line, sizeof line, "%c: ", node->letter);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(line + at, sizeof line - (size_t)at, format, arguments);
    va_end(arguments);
    ck_assert_uint_lt(pair->traced, PAIR_TRACE);
    pair->trace[pair->traced++] = strdup(line);
}

/* ---- buffers --------------------------------------------------------------------------------- */

struct replica_buffer *pair_buffer_new(struct pair *pair, uint32_t length)
{
    struct replica_buffer *buffer = calloc(1, sizeof *buffer);

    buffer->data = calloc(1, length);
    buffer->length = length;
    buffer->holders = 1;
    buffer->pair = pair;
    buffer->older = pair->newest;
    if (pair->newest)
        pair->newest->newer = buffer;
    pair->newest = buffer;
    pair->buffers++;
    return buffer;
}

void pair_buffer_put(struct replica_buffer *buffer)
{
    if (!buffer || --buffer->holders > 0)
        return;
    buffer->pair->buffers--;
    if (buffer->newer)
        buffer->newer->older = buffer->older;
    else
        buffer->pair->newest = buffer->older;
    if (buffer->older)
        buffer->older->newer = buffer->newer;
    free(buffer->data);
    free(buffer);
}

void pair_core_gets(struct replica_buffer *buffer)
{
    ck_assert(!buffer->core);
    buffer->core = true;
}

static void core_lets_go(struct replica_buffer *buffer)
{
    ck_assert_msg(buffer->core, "the core let go of a buffer twice");
    buffer->core = false;
}

/* ---- stepping ---------------------------------------------------------------------------------
 */

static const char *meta_name(const struct pair_node *node, uint64_t offset)
{
    if (offset == node->slots[0] || offset == node->slots[1])
        return "superblock";
    return offset >= node->layout.bitmap_offset ? "bitmap" : "activity-log";
}

static void enqueue(struct pair_node *node, const struct action *action)
{
    struct pair_item *item = calloc(1, sizeof *item);

    item->action = *action;
    if (action->kind == ACTION_SEND)
        item->wire_bytes = wire_encode(&action->send.message, item->wire);
    if (node->last)
        node->last->next = item;
    else
        node->first = item;
    node->last = item;
}

static void complete(struct pair_node *node, const struct action *action)
{
    struct pair_request *request = action->complete.cookie;

    ck_assert_msg(!request->done, "request %u completed twice", request->id);
    request->done = true;
    request->code = action->complete.code;
    if (request->buffer) {
        core_lets_go(request->buffer);
    }
    trace(node, "complete %u %s", request->id, replica_code_name(request->code));
}

static void take_action(struct pair_node *node, const struct action *action)
{
    const struct range *range = &action->disk.range;

    switch (action->kind) {
    case ACTION_DISK:
        trace(node, "disk %s %" PRIu64 "+%u%s", replica_op_name(action->disk.op), range->offset,
              range->length, action->disk.durable ? " durable" : "");
        if (action->disk.buffer)
            action->disk.buffer->holders++;
        enqueue(node, action);
        break;
    case ACTION_META_READ:
    case ACTION_META_WRITE:
        trace(node, "%s %s", action->kind == ACTION_META_READ ? "read" : "write",
              meta_name(node, action->meta.offset));
        enqueue(node, action);
        break;
    case ACTION_SEND:
        trace(node, "send %s", wire_type_name(action->send.message.type));
        if (action->send.buffer)
            action->send.buffer->holders++;
        enqueue(node, action);
        break;
    case ACTION_HANDOVER_ASK:
        trace(node, "ask handover%s", action->handover_ask.take_back ? " back" : "");
        node->handover_number = action->handover_ask.number;
        if (!node->handover_late)
            enqueue(node, action);
        break;
    case ACTION_MEASURE:
        trace(node, "measure");
        enqueue(node, action);
        break;
    case ACTION_HANDOVER_END:
        trace(node, "handover %s", action->handover_end.gone ? "gone" : "kept");
        ck_assert_uint_eq(action->handover_end.number, node->handover_number);
        break;
    case ACTION_LINK_CONNECT:
    case ACTION_LINK_CLOSE:
        trace(node, "%s", action->kind == ACTION_LINK_CLOSE ? "close" : "connect");
        enqueue(node, action);
        break;
    case ACTION_COMPLETE:
        complete(node, action);
        break;
    case ACTION_RELEASE:
        core_lets_go(action->release.buffer);
        pair_buffer_put(action->release.buffer);
        break;
    case ACTION_ANSWER:
        trace(node, "answer %s", replica_code_name(action->answer.code));
        node->answered = true;
        node->answer_code = action->answer.code;
        memcpy(node->answer_text, action->answer.text, sizeof node->answer_text);
        break;
    case ACTION_LOG:
        trace(node, "log %s", action->log.text);
        break;
    case ACTION_HANDLER:
        trace(node, "handler %d", (int)action->handler.handler);
        node->handler_serial = action->handler.serial;
        break;
    case ACTION_STATE_CHANGED:
    case ACTION_KIND_COUNT:
        break;
    }
}

void pair_step(struct pair_node *node, struct event *event)
{
    struct pair *pair = node->pair;

    ck_assert_msg(pair->events_left-- > 0, "the pair never comes to rest");
    event->now = pair->now;
    event->entropy = unit_random(&pair->entropy);
    node->actions.count = 0;
    replica_step(node->core, event, &node->actions);
    ck_assert_uint_lt(node->actions.count, node->actions.capacity);
    for (uint32_t i = 0; i < node->actions.count; i++)
        take_action(node, &node->actions.list[i]);
}

/* ---- carrying out ---------------------------------------------------------------------------- */

/* Gives whole pages back, so that a test may discard a gigabyte. */
static void zero(uint8_t *place, uint32_t length)
{
    if (((uintptr_t)place | length) % 4096 != 0 || madvise(place, length, MADV_DONTNEED) != 0)
        memset(place, 0, length);
}

static void do_disk(struct pair_node *node, const struct action *action)
{
    struct event event = {.kind = EVENT_DISK_DONE, .disk_done.tag = action->disk.tag};
    struct replica_buffer *buffer = action->disk.buffer;
    uint8_t *place = node->data + action->disk.range.offset;
    uint32_t length = action->disk.range.length;
    uint32_t digest[WIRE_DIGEST_BYTES / 4] = {0};

    if (action->disk.digest && !node->fail_read) {
        digest[0] = crc32c_update(0, place, length);
        event.disk_done.digest = (const uint8_t *)digest;
    }
    switch (action->disk.op) {
    case REPLICA_OP_READ:
        event.disk_done.code = node->fail_read;
        if (!buffer && !node->fail_read) {
            event.disk_done.buffer = pair_buffer_new(node->pair, length);
            pair_core_gets(event.disk_done.buffer);
        }
        if (!node->fail_read)
            memcpy((buffer ? buffer : event.disk_done.buffer)->data, place, length);
        break;
    case REPLICA_OP_WRITE:
        event.disk_done.code = node->fail_write;
        if (!node->fail_write)
            memcpy(place, buffer->data, length);
        break;
    case REPLICA_OP_DISCARD:
    case REPLICA_OP_WRITE_ZEROES:
        event.disk_done.code = node->fail_write;
        if (!node->fail_write)
            zero(place, length);
        break;
    case REPLICA_OP_FLUSH:
        event.disk_done.code = node->fail_flush;
        break;
    case REPLICA_OP_COUNT:
        ck_abort();
    }
    trace(node, "done %s", replica_op_name(action->disk.op));
    pair_step(node, &event);
    pair_buffer_put(buffer);
}

static void do_meta(struct pair_node *node, const struct action *action)
{
    struct event event = {.kind = EVENT_META_DONE, .meta_done.tag = action->meta.tag};

    ck_assert_uint_le(action->meta.offset + action->meta.length, node->meta_bytes);
    event.meta_done.code = node->fail_meta;
    if (action->kind == ACTION_META_READ && !node->fail_meta)
        memcpy(action->meta.data, node->meta + action->meta.offset, action->meta.length);
    else if (!node->fail_meta)
        memcpy(node->meta + action->meta.offset, action->meta.data, action->meta.length);
    trace(node, "done %s", meta_name(node, action->meta.offset));
    pair_step(node, &event);
}

static void deliver(struct pair_node *to, const struct pair_item *item)
{
    struct wire_message message;
    struct replica_buffer *from = item->action.send.buffer;
    struct event event = {.kind = EVENT_MESSAGE};
    struct replica_error error;
    uint32_t body_bytes;

    memset(&message, 0, sizeof message);
    ck_assert_int_eq(wire_decode_header(item->wire, &message, &body_bytes, &error), 0);
    ck_assert_int_eq(wire_decode_body(item->wire + WIRE_HEADER_BYTES, body_bytes, &message, &error),
                     0);
    if (message.data_bytes > 0) {
        struct replica_buffer *target = core_data_target(to->core, &message);

        ck_assert_uint_eq(from->length >= message.data_bytes, true);
        if (!target) {
            target = pair_buffer_new(to->pair, message.data_bytes);
            pair_core_gets(target);
        }
        memcpy(target->data, from->data, message.data_bytes);
        event.message.buffer = target;
    }
    event.message.message = &message;
    pair_step(to, &event);
}

static void link_down(struct pair_node *node, int code)
{
    struct event event = {.kind = EVENT_LINK_DOWN, .link_down.code = code};

    trace(node, "link down");
    pair_step(node, &event);
}

static void drop_messages(struct pair_node *node)
{
    struct pair_item **place = &node->first;

    node->last = NULL;
    while (*place) {
        struct pair_item *item = *place;

        if (item->action.kind == ACTION_SEND) {
            *place = item->next;
            pair_buffer_put(item->action.send.buffer);
            free(item);
        } else {
            node->last = item;
            place = &item->next;
        }
    }
}

void pair_cut(struct pair *pair, int code)
{
    if (!pair->linked)
        return;
    pair->linked = false;
    for (unsigned i = 0; i < 2; i++)
        drop_messages(&pair->node[i]);
    for (unsigned i = 0; i < 2; i++)
        if (pair->node[i].core)
            link_down(&pair->node[i], code);
}

static void try_link(struct pair *pair)
{
    if (pair->linked || !pair->node[0].wants_link || !pair->node[1].wants_link)
        return;
    pair->linked = true;
    for (unsigned i = 0; i < 2; i++) {
        struct event event = {.kind = EVENT_LINK_UP, .link_up.initiator = i == PAIR_A};

        pair->node[i].wants_link = false;
        trace(&pair->node[i], "link up");
        pair_step(&pair->node[i], &event);
    }
}

static void do_close(struct pair_node *node)
{
    struct pair *pair = node->pair;
    struct pair_node *other = &pair->node[node == &pair->node[0]];

    node->wants_link = false;
    if (!pair->linked) {
        link_down(node, 0);
        return;
    }
    pair->linked = false; /* what was sent before arrives: a close is no cut */
    drop_messages(node);  /* only held ones are left */
    drop_messages(other);
    link_down(node, 0);
    if (other->core)
        link_down(other, REPLICA_E_LINK);
}

static void handover_answer(struct pair_node *node, int code, const char *text)
{
    struct event event = {
        .kind = EVENT_HANDOVER_ANSWER,
        .handover_answer = {.number = node->handover_number, .code = code, .text = text}};

    pair_step(node, &event);
}

void pair_handover_answer(struct pair *pair, unsigned index, int code, const char *text)
{
    handover_answer(&pair->node[index], code, text);
    pair_run(pair);
}

static void do_measure(struct pair_node *node, uint32_t serial)
{
    struct event event = {.kind = EVENT_MEASURED, .measured = {.serial = serial, .text = ""}};

    event.measured.code = node->fail_measure;
    if (node->fail_measure)
        event.measured.text = "no memory";
    else
        ck_assert_int_eq(core_make_room(node->core, node->data_bytes), 0);
    event.measured.meta_bytes = node->meta_bytes;
    event.measured.data_bytes = node->data_bytes;
    trace(node, "measured");
    pair_step(node, &event);
}

static void carry_out(struct pair_node *node, struct pair_item *item)
{
    struct pair *pair = node->pair;
    struct pair_node *other = &pair->node[node == &pair->node[0]];

    switch (item->action.kind) {
    case ACTION_DISK:
        do_disk(node, &item->action);
        break;
    case ACTION_META_READ:
    case ACTION_META_WRITE:
        do_meta(node, &item->action);
        break;
    case ACTION_SEND:
        if (pair->linked && other->core)
            deliver(other, item);
        pair_buffer_put(item->action.send.buffer);
        break;
    case ACTION_LINK_CONNECT:
        node->wants_link = true;
        break;
    case ACTION_LINK_CLOSE:
        do_close(node);
        break;
    case ACTION_MEASURE:
        do_measure(node, item->action.measure.serial);
        break;
    case ACTION_HANDOVER_ASK:
        handover_answer(node, node->handover_code, node->handover_text);
        break;
    default: /* the others never wait */
        ck_abort();
    }
}

static bool is_held(const struct pair_node *node, const struct action *action)
{
    unsigned kind = 0;

    switch (action->kind) {
    case ACTION_DISK:
        kind = action->disk.op == REPLICA_OP_READ    ? HOLD_READ
               : action->disk.op == REPLICA_OP_FLUSH ? HOLD_FLUSH
                                                     : HOLD_WRITE;
        break;
    case ACTION_META_READ:
    case ACTION_META_WRITE:
        kind = HOLD_META;
        break;
    case ACTION_SEND:
        kind = HOLD_SEND;
        break;
    case ACTION_MEASURE:
        kind = HOLD_MEASURE;
        break;
    default: /* the others are not held */
        break;
    }
    return node->hold & kind;
}

static bool run_one(struct pair_node *node)
{
    struct pair_item **place = &node->first, *item, *before = NULL;

    while (*place && is_held(node, &(*place)->action)) {
        before = *place;
        place = &(*place)->next;
    }
    item = *place;
    if (!item)
        return false;
    *place = item->next;
    if (node->last == item)
        node->last = before;
    carry_out(node, item);
    free(item);
    return true;
}

void pair_run(struct pair *pair)
{
    bool moved;

    do {
        moved = false;
        for (unsigned i = 0; i < 2; i++)
            if (pair->node[i].core)
                moved |= run_one(&pair->node[i]);
        if (!moved && !((pair->node[0].hold | pair->node[1].hold) & HOLD_LINK)) {
            bool before = pair->linked;

            try_link(pair);
            moved = pair->linked != before;
        }
    } while (moved);
}

void pair_run_some(struct pair *pair, unsigned most)
{
    bool moved = true;

    while (moved && most > 0) {
        moved = false;
        for (unsigned i = 0; i < 2 && most > 0; i++) {
            if (!pair->node[i].core || !run_one(&pair->node[i]))
                continue;
            moved = true;
            most--;
        }
    }
}

void pair_run_to(struct pair *pair, const char *line)
{
    int from = (int)pair->traced;
    bool moved = true;

    for (unsigned i = 0; pair_find(pair, from, line) < 0; i = 1 - i) {
        ck_assert_msg(moved || i == 1, "never came: %s", line);
        moved = run_one(&pair->node[i]) || (moved && i == 1);
    }
}

void pair_advance(struct pair *pair, uint64_t by)
{
    uint64_t end = pair->now + by;

    for (;;) {
        uint64_t next = end;
        struct event event = {.kind = EVENT_TIMER};

        pair_run(pair);
        for (unsigned i = 0; i < 2; i++)
            if (pair->node[i].core && core_deadline(pair->node[i].core) < next)
                next = core_deadline(pair->node[i].core);
        if (next > pair->now)
            pair->now = next;
        for (unsigned i = 0; i < 2; i++)
            if (pair->node[i].core)
                pair_step(&pair->node[i], &event);
        pair_run(pair);
        if (pair->now >= end)
            return;
    }
}

void pair_drop_all(struct pair_node *node)
{
    while (node->first) {
        struct pair_item *item = node->first;

        node->first = item->next;
        if (item->action.kind == ACTION_SEND)
            pair_buffer_put(item->action.send.buffer);
        if (item->action.kind == ACTION_DISK)
            pair_buffer_put(item->action.disk.buffer);
        free(item);
    }
    node->last = NULL;
}
