/* SPDX-License-Identifier: GPL-2.0-or-later */
/* core_pair_use.c - making a pair, and what a test does with it. See core_pair.h. */
#include <string.h>
#include <sys/mman.h>

#include "core_pair_private.h"
#include "unit.h"

/* ---- making ------------------------------------------------------------------------------------
 */

/* The device has room to grow in place. */
static uint8_t *map_device(uint64_t bytes)
{
    uint8_t *memory = mmap(NULL, bytes + PAIR_GROWTH, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    ck_assert_ptr_ne(memory, MAP_FAILED);
    return memory;
}

/* What a device holds beside internal metadata; the other node may have external ones. */
static uint64_t beside_metadata(uint64_t device_bytes)
{
    struct metadata_layout layout;

    ck_assert_int_eq(metadata_plan(device_bytes, true, 0, &layout, NULL), 0);
    return layout.data_bytes;
}

static void node_init(struct pair *pair, unsigned index, uint64_t data_bytes, unsigned mask)
{
    struct pair_node *node = &pair->node[index];
    struct metadata_superblock super;
    struct replica_error error;
    bool internal = mask >> index & 1;
    uint64_t wanted = mask ? beside_metadata(data_bytes) : data_bytes;

    node->pair = pair;
    node->letter = (char)('a' + index);
    node->handover_code = REPLICA_E_PEER_PRIMARY;
    node->handover_text = "its guest (domain 5) runs there";
    node->data_bytes = node->room = data_bytes;
    node->internal = internal;
    node->meta_bytes = internal ? data_bytes : 4u << 20;
    node->known = node->meta_bytes;
    node->data = map_device(data_bytes);
    node->meta = internal ? node->data : calloc(1, node->meta_bytes);
    ck_assert_int_eq(metadata_plan(node->meta_bytes, internal, wanted, &node->layout, &error), 0);
    ck_assert_int_eq(metadata_slots(node->meta_bytes, internal, node->slots, &error), 0);
    metadata_fresh(&node->layout, 1 + index, METADATA_AL_EXTENTS_MIN, &super);
    metadata_encode(&super, node->meta + node->slots[0]);
    metadata_encode(&super, node->meta + node->slots[1]);
}

void pair_grow(struct pair *pair, unsigned index, uint64_t by)
{
    struct pair_node *node = &pair->node[index];

    ck_assert_uint_le(node->data_bytes + by, node->room + PAIR_GROWTH);
    memset(node->data + node->data_bytes, 0xa0 + (int)index, by);
    node->data_bytes += by;
    if (node->internal)
        node->meta_bytes = node->data_bytes;
}

/* As the shell does: internal metadata are at the end, or where they were when the device was
 * smaller. */
static void find_metadata(struct pair_node *node)
{
    const uint8_t *blocks[METADATA_SLOTS];
    struct metadata_superblock super;
    unsigned slot;

    if (!node->internal)
        return;
    ck_assert_int_eq(metadata_slots(node->meta_bytes, true, node->slots, NULL), 0);
    for (unsigned i = 0; i < METADATA_SLOTS; i++)
        blocks[i] = node->meta + node->slots[i];
    if (metadata_choose(blocks, node->meta_bytes, &super, &slot, NULL) == 0)
        node->known = node->meta_bytes;
    else
        ck_assert_int_eq(metadata_slots(node->known, true, node->slots, NULL), 0);
}

void pair_attach(struct pair *pair, unsigned index)
{
    struct pair_node *node = &pair->node[index];
    struct core_config config = {
        .resource = "vm1",
        .requests_max = 256,
        .al_extents = METADATA_AL_EXTENTS_MIN,
        .timeout = 6ull * PAIR_SECOND,
        .ping_interval = 10ull * PAIR_SECOND,
        .ping_timeout = PAIR_SECOND / 2,
        .connect_interval = 10ull * PAIR_SECOND,
        .ko_count = 7,
        .confirm_interval = PAIR_SECOND,
        .verify_digest = CORE_DIGEST_CRC32C,
    };
    struct replica_error error;

    find_metadata(node);
    config.fencing = pair->policies.fencing;
    config.on_peer_loss = pair->policies.on_peer_loss;
    config.handlers = pair->policies.handlers;
    config.after_sb = pair->policies.after_sb;
    config.csums_digest = pair->csums;
    config.on_io_error = pair->policies.on_io_error;
    config.disk_timeout = pair->policies.disk_timeout;
    config.resync_rate_max = pair->resync_rate;
    config.resync_rate_min = pair->resync_rate_min;
    config.resync_plan_ahead = PAIR_SECOND;
    config.resync_fill = pair->resync_fill;
    snprintf(config.node, sizeof config.node, "%s", index ? "beta" : "alpha");
    snprintf(config.peer_node, sizeof config.peer_node, "%s", index ? "alpha" : "beta");
    ck_assert_int_eq(core_new(&node->core, &config, node->slots, node->meta_bytes, node->data_bytes,
                              NULL, &error),
                     0);
    node->actions.capacity = core_actions_max(node->core);
    node->actions.list = calloc(node->actions.capacity, sizeof *node->actions.list);
    ck_assert_int_eq(pair_command(pair, index, COMMAND_ATTACH, 0), 0);
}

struct pair *pair_new_internal(uint64_t data_bytes, unsigned mask)
{
    struct pair *pair = calloc(1, sizeof *pair);

    pair->now = PAIR_SECOND;
    pair->events_left = 10000000;
    for (unsigned i = 0; i < 2; i++) {
        node_init(pair, i, data_bytes, mask);
        pair_attach(pair, i);
    }
    return pair;
}

struct pair *pair_new(uint64_t data_bytes)
{
    return pair_new_internal(data_bytes, 0);
}

void pair_crash(struct pair *pair, unsigned index)
{
    struct pair_node *node = &pair->node[index];

    pair_drop_all(node);
    pair->crashed = true;
    core_free(node->core);
    node->core = NULL;
    free(node->actions.list);
    node->wants_link = false;
    pair_cut(pair, REPLICA_E_LINK);
}

void pair_restart(struct pair *pair)
{
    for (unsigned i = 0; i < 2; i++)
        pair_crash(pair, i);
    for (unsigned i = 0; i < 2; i++)
        pair_attach(pair, i);
}

void pair_handler_done(struct pair *pair, unsigned index, enum core_handler handler, int status)
{
    struct pair_node *node = &pair->node[index];
    struct event event = {
        .kind = EVENT_HANDLER_DONE,
        .handler_done = {.handler = handler, .serial = node->handler_serial, .status = status}};

    pair_step(node, &event);
    pair_run(pair);
}

void pair_free(struct pair *pair)
{
    for (unsigned i = 0; i < 2; i++) {
        struct pair_node *node = &pair->node[i];

        pair_drop_all(node);
        core_free(node->core);
        if (node->core)
            free(node->actions.list);
        munmap(node->data, node->room + PAIR_GROWTH);
        if (!node->internal)
            free(node->meta);
    }
    for (unsigned i = 0; i < pair->requests; i++)
        pair_buffer_put(pair->request[i].buffer);
    ck_assert_msg(pair->crashed || pair->buffers == 0, "%u buffers leaked", pair->buffers);
    while (pair->newest) { /* what a core had when it died */
        pair->newest->holders = 1;
        pair_buffer_put(pair->newest);
    }
    for (unsigned i = 0; i < pair->traced; i++)
        free(pair->trace[i]);
    free(pair);
}

/* ---- what a test does --------------------------------------------------------------------------
 */

void pair_ask(struct pair *pair, unsigned index, enum command_kind kind, uint32_t flags)
{
    struct pair_node *node = &pair->node[index];
    struct event event = {.kind = EVENT_COMMAND,
                          .command = {.kind = kind, .flags = flags, .cookie = node}};

    node->answered = false;
    node->answer_text[0] = 0;
    pair_step(node, &event);
}

int pair_verify(struct pair *pair, unsigned index, uint64_t start, uint64_t stop)
{
    struct pair_node *node = &pair->node[index];
    struct event event = {
        .kind = EVENT_COMMAND,
        .command = {.kind = COMMAND_VERIFY, .start = start, .stop = stop, .cookie = node}};

    node->answered = false;
    pair_step(node, &event);
    return node->answer_code;
}

void pair_resize(struct pair *pair, unsigned index, uint64_t bytes, uint32_t flags)
{
    struct pair_node *node = &pair->node[index];
    struct event event = {
        .kind = EVENT_COMMAND,
        .command = {.kind = COMMAND_RESIZE, .flags = flags, .start = bytes, .cookie = node}};

    node->answered = false;
    node->answer_text[0] = 0;
    pair_step(node, &event);
}

int pair_command(struct pair *pair, unsigned index, enum command_kind kind, uint32_t flags)
{
    pair_ask(pair, index, kind, flags);
    pair_run(pair);
    ck_assert_msg(pair->node[index].answered, "command %d was not answered", kind);
    return pair->node[index].answer_code;
}

void pair_clear(struct pair *pair)
{
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_CONNECT, 0), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_CONNECT, 0), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_NEW_UUID, COMMAND_CLEAR_BITMAP), 0);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(pair_status(pair, i).disk, REPLICA_DISK_UPTODATE);
        ck_assert_int_eq(pair_status(pair, i).peer_disk, REPLICA_DISK_UPTODATE);
    }
}

unsigned pair_submit(struct pair *pair, unsigned index, enum replica_op op, uint64_t offset,
                     uint32_t length, uint8_t fill)
{
    struct pair_request *request = &pair->request[pair->requests];
    struct event event = {.kind = EVENT_REQUEST};

    ck_assert_uint_lt(pair->requests, PAIR_REQUESTS);
    request->id = pair->requests++;
    request->node = &pair->node[index];
    event.request.op = op;
    event.request.range = (struct range){offset, length};
    event.request.cookie = request;
    if (op == REPLICA_OP_READ || op == REPLICA_OP_WRITE) {
        request->buffer = pair_buffer_new(pair, length);
        memset(request->buffer->data, fill, length);
        pair_core_gets(request->buffer);
        event.request.buffer = request->buffer;
    }
    pair_step(&pair->node[index], &event);
    return request->id;
}

void pair_forge(struct pair *pair, unsigned to, const struct wire_message *message)
{
    struct event event = {.kind = EVENT_MESSAGE, .message.message = message};

    if (message->data_bytes > 0) {
        event.message.buffer = pair_buffer_new(pair, message->data_bytes);
        pair_core_gets(event.message.buffer);
    }
    pair_step(&pair->node[to], &event);
}

struct core_status pair_status(const struct pair *pair, unsigned index)
{
    struct core_status status;

    core_status(pair->node[index].core, &status);
    return status;
}

int pair_find(const struct pair *pair, int from, const char *line)
{
    size_t length = strlen(line);
    bool prefix = line[length - 1] == '*';

    for (unsigned i = (unsigned)from; i < pair->traced; i++)
        if (prefix ? strncmp(pair->trace[i], line, length - 1) == 0
                   : strcmp(pair->trace[i], line) == 0)
            return (int)i;
    return -1;
}

void pair_print(const struct pair *pair, int from)
{
    for (unsigned i = (unsigned)from; i < pair->traced; i++)
        fprintf(stderr, "%4u %s\n", i, pair->trace[i]);
}
