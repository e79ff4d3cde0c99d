/* SPDX-License-Identifier: GPL-2.0-or-later */
/* driver.c - see driver.h; the disk is in driver_disk.c, handlers are in driver_handler.c. */
#include "driver_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "libreplica/core/err.h"

/* More than this to encrypt: start the disk before. */
enum { SUBMIT_FIRST_BYTES = 32768 };

static void run_actions(struct driver *driver);

/* ---- stepping the core ---------------------------------------------------------------------- */

static uint64_t fresh_entropy(struct driver *driver)
{
    if (driver->entropy_left == 0) {
        /* 512 bytes come without waiting once the system has booted; see getrandom(2). */
        while (getrandom(driver->entropy, sizeof driver->entropy, 0) !=
               (ssize_t)sizeof driver->entropy)
            if (errno != EINTR)
                loop_fail(driver->setup.loop, errno);
        driver->entropy_left = ENTROPY_WORDS;
    }
    return driver->entropy[--driver->entropy_left];
}

void driver_step(struct driver *driver, struct event *event)
{
    uint64_t deadline;

    event->now = replica_loop_now(driver->setup.loop);
    event->entropy = fresh_entropy(driver);
    driver->actions.count = 0;
    replica_step(driver->core, event, &driver->actions);
    run_actions(driver);
    deadline = core_deadline(driver->core);
    if (deadline != driver->deadline) {
        driver->deadline = deadline;
        replica_timer_set(driver->timer, deadline);
    }
}

static void timer_expired(void *argument)
{
    struct driver *driver = argument;
    struct event event = {.kind = EVENT_TIMER};

    driver->deadline = UINT64_MAX;
    driver_step(driver, &event);
}

/* ---- answers -------------------------------------------------------------------------------- */

static void run_complete(struct driver *driver, const struct action *action)
{
    struct open_request *open = action->complete.cookie;
    struct replica_request *request = open->request;

    open->request = NULL;
    open->next = driver->free_open;
    driver->free_open = open;
    request->done(request, action->complete.code);
}

static void command_over(struct queued_command *command, int code, const char *text)
{
    if (command->done)
        command->done(command->argument, code, text);
    free(command);
}

static void run_answer(struct driver *driver, const struct action *action)
{
    struct queued_command *command = action->answer.cookie;

    if (command == driver->urgent) {
        driver->urgent = NULL;
        command_over(command, action->answer.code, action->answer.text);
        return;
    }
    if (command != driver->command)
        return;
    driver->command = NULL;
    loop_kick(driver->setup.loop); /* the next one may go */
    command_over(command, action->answer.code, action->answer.text);
}

/* A guest's own memory is never the core's to let go of. */
static void run_release(struct driver *driver, const struct action *action)
{
    struct replica_buffer *buffer = action->release.buffer;

    if (buffer && (buffer_pool_of(buffer) == driver->setup.link_pool ||
                   buffer_pool_of(buffer) == driver->setup.read_pool))
        replica_buffer_put(buffer);
}

/* The resource's name stands in front of each line of the log and of the status already. */
static const char *without_name(const struct driver *driver, const char *text)
{
    const char *name = driver->setup.resource->name;
    size_t length = strlen(name);

    if (strncmp(text, name, length) == 0 && strncmp(text + length, ": ", 2) == 0)
        return text + length + 2;
    return text;
}

static void run_log(struct driver *driver, const struct action *action)
{
    static const int priorities[] = {[LOG_LEVEL_ERROR] = LOG_ERR,
                                     [LOG_LEVEL_WARNING] = LOG_WARNING,
                                     [LOG_LEVEL_NOTICE] = LOG_NOTICE,
                                     [LOG_LEVEL_INFO] = LOG_INFO,
                                     [LOG_LEVEL_DEBUG] = LOG_DEBUG};

    const char *text = without_name(driver, action->log.text);

    log_line(driver->setup.log, priorities[action->log.level], "%s", text);
    if (action->log.level <= LOG_LEVEL_WARNING)
        (void)snprintf(driver->said, sizeof driver->said, "%s", text);
}

static void run_action(struct driver *driver, const struct action *action)
{
    switch (action->kind) {
    case ACTION_DISK:
        driver_disk_run(driver, action);
        break;
    case ACTION_META_READ:
    case ACTION_META_WRITE:
        driver_meta_run(driver, action);
        break;
    case ACTION_SEND:
        link_send(driver->link, &action->send.message, action->send.buffer);
        break;
    case ACTION_LINK_CONNECT:
        link_connect(driver->link);
        break;
    case ACTION_LINK_CLOSE:
        memcpy(driver->farewell, driver->said, sizeof driver->farewell);
        link_hang_up(driver->link, 0);
        break;
    case ACTION_COMPLETE:
        run_complete(driver, action);
        break;
    case ACTION_RELEASE:
        run_release(driver, action);
        break;
    case ACTION_ANSWER:
        run_answer(driver, action);
        break;
    case ACTION_HANDLER:
        driver_handler_run(driver, action);
        break;
    case ACTION_STATE_CHANGED:
        driver->changed = true;
        break;
    case ACTION_LOG:
        run_log(driver, action);
        break;
    case ACTION_HANDOVER_ASK:
        driver->setup.handover_asked(driver->setup.argument, action->handover_ask.number,
                                     action->handover_ask.take_back);
        break;
    case ACTION_HANDOVER_END:
        driver->setup.handover_ended(driver->setup.argument, action->handover_end.number,
                                     action->handover_end.gone);
        break;
    case ACTION_MEASURE:
        driver->measure.due = true;
        driver->measure.serial = action->measure.serial;
        loop_kick(driver->setup.loop);
        break;
    case ACTION_KIND_COUNT:
        break;
    }
}

static void run_actions(struct driver *driver)
{
    driver->said[0] = '\0';
    for (uint32_t i = 0; i < driver->actions.count; i++)
        run_action(driver, &driver->actions.list[i]);
}

/* ---- what the link tells -------------------------------------------------------------------- */

static void link_is_up(void *argument, bool initiator)
{
    struct event event = {.kind = EVENT_LINK_UP, .link_up = {.initiator = initiator}};
    struct driver *driver = argument;

    driver->farewell[0] = '\0';
    driver_step(driver, &event);
}

static void link_is_down(void *argument, int code)
{
    struct event event = {.kind = EVENT_LINK_DOWN, .link_down = {.code = code}};

    driver_step(argument, &event);
}

static void link_message(void *argument, const struct wire_message *message,
                         struct replica_buffer *buffer)
{
    struct event event = {.kind = EVENT_MESSAGE, .message = {.message = message, .buffer = buffer}};

    driver_step(argument, &event);
}

static struct replica_buffer *link_target(void *argument, const struct wire_message *message)
{
    return core_data_target(((struct driver *)argument)->core, message);
}

static const struct link_events link_events = {
    .up = link_is_up, .down = link_is_down, .message = link_message, .target = link_target};

/* ---- what clients ask ----------------------------------------------------------------------- */

void driver_submit(struct driver *driver, struct replica_request *request)
{
    request->next = NULL;
    *driver->waiting_last = request;
    driver->waiting_last = &request->next;
    loop_kick(driver->setup.loop);
}

/* What the core relies on without being able to see it. 0 or a code. */
static int check_request(const struct replica_request *request)
{
    switch (request->op) {
    case REPLICA_OP_READ:
    case REPLICA_OP_WRITE:
        if (!request->buffer)
            return REPLICA_E_INVALID;
        return request->length <= buffer_bytes(request->buffer) ? 0 : REPLICA_E_RANGE;
    case REPLICA_OP_FLUSH:
    case REPLICA_OP_DISCARD:
    case REPLICA_OP_WRITE_ZEROES:
        return 0;
    case REPLICA_OP_COUNT:
        break;
    }
    return REPLICA_E_INVALID;
}

static struct replica_request *waiting_pop(struct driver *driver)
{
    struct replica_request *request = driver->waiting;

    driver->waiting = request->next;
    if (!driver->waiting)
        driver->waiting_last = &driver->waiting;
    return request;
}

static void start_request(struct driver *driver, struct replica_request *request)
{
    struct open_request *open = driver->free_open;
    struct event event = {.kind = EVENT_REQUEST};
    int code = check_request(request);

    if (code != 0) {
        request->done(request, code);
        return;
    }
    driver->free_open = open->next;
    open->request = request;
    event.request.op = request->op;
    event.request.fua = request->fua;
    event.request.range = (struct range){request->offset, request->length};
    if (request->op == REPLICA_OP_READ || request->op == REPLICA_OP_WRITE)
        event.request.buffer = request->buffer;
    event.request.cookie = open;
    driver_step(driver, &event);
}

static void start_requests(struct driver *driver)
{
    while (driver->waiting && driver->free_open && core_room(driver->core) > 0)
        start_request(driver, waiting_pop(driver));
}

static void queue_command(struct driver *driver, const struct queued_command *wanted)
{
    struct queued_command *command = calloc(1, sizeof *command);

    if (!command) {
        if (wanted->done)
            wanted->done(wanted->argument, REPLICA_E_MEMORY, "out of memory");
        return;
    }
    *command = *wanted;
    *driver->commands_last = command;
    driver->commands_last = &command->next;
    loop_kick(driver->setup.loop);
}

void driver_command_now(struct driver *driver, enum command_kind kind, replica_done *done,
                        void *argument)
{
    struct queued_command *command = calloc(1, sizeof *command);
    struct event event = {.kind = EVENT_COMMAND, .command = {.kind = kind, .cookie = command}};

    if (!command || driver->urgent) {
        free(command);
        if (done)
            done(argument, REPLICA_E_MEMORY, "out of memory");
        return;
    }
    *command = (struct queued_command){.kind = kind, .done = done, .argument = argument};
    driver->urgent = command;
    driver_step(driver, &event); /* which answers it */
}

void driver_command(struct driver *driver, enum command_kind kind, uint32_t flags,
                    replica_done *done, void *argument)
{
    queue_command(driver, &(struct queued_command){
                              .kind = kind, .flags = flags, .done = done, .argument = argument});
}

void driver_verify(struct driver *driver, uint64_t start, uint64_t stop, replica_done *done,
                   void *argument)
{
    queue_command(driver, &(struct queued_command){.kind = COMMAND_VERIFY,
                                                   .start = start,
                                                   .stop = stop,
                                                   .done = done,
                                                   .argument = argument});
}

void driver_resize(struct driver *driver, uint64_t bytes, uint32_t flags, replica_done *done,
                   void *argument)
{
    queue_command(driver, &(struct queued_command){.kind = COMMAND_RESIZE,
                                                   .flags = flags,
                                                   .start = bytes,
                                                   .done = done,
                                                   .argument = argument});
}

static void start_commands(struct driver *driver)
{
    while (!driver->command && driver->commands) {
        struct queued_command *command = driver->commands;
        struct event event = {.kind = EVENT_COMMAND,
                              .command = {.kind = command->kind,
                                          .flags = command->flags,
                                          .start = command->start,
                                          .stop = command->stop,
                                          .cookie = command}};
        driver->commands = command->next;
        if (!driver->commands)
            driver->commands_last = &driver->commands;
        driver->command = command;
        driver_step(driver, &event);
    }
}

void driver_handover_answer(struct driver *driver, uint32_t number, int code, const char *text)
{
    driver->handover.due = true;
    driver->handover.number = number;
    driver->handover.code = code;
    (void)snprintf(driver->handover.text, sizeof driver->handover.text, "%s", text);
    loop_kick(driver->setup.loop);
}

static void answer_handover(struct driver *driver)
{
    struct event event = {.kind = EVENT_HANDOVER_ANSWER,
                          .handover_answer = {.number = driver->handover.number,
                                              .code = driver->handover.code,
                                              .text = driver->handover.text}};

    if (!driver->handover.due)
        return;
    driver->handover.due = false;
    driver_step(driver, &event);
}

void driver_room(struct driver *driver)
{
    driver->link_room = true;
    loop_kick(driver->setup.loop);
}

static void turn_end(void *argument)
{
    struct driver *driver = argument;

    if (driver->link_room) {
        driver->link_room = false;
        driver_disk_feed(driver);
        link_room(driver->link);
    }
    driver_handlers_tell(driver);
    driver_measure(driver);
    start_requests(driver);
    answer_handover(driver);
    start_commands(driver);
    if (link_queued_bytes(driver->link) > SUBMIT_FIRST_BYTES)
        loop_submit(driver->setup.loop);
    link_flush(driver->link);
    if (driver->changed) {
        driver->changed = false;
        driver->setup.changed(driver->setup.argument);
    }
}

/* ---- life ----------------------------------------------------------------------------------- */

static int make_pools(struct driver *driver)
{
    uint32_t requests = driver->setup.resource->core.requests_max;

    driver->open = calloc(requests, sizeof *driver->open);
    driver->actions.capacity = core_actions_max(driver->core);
    driver->actions.list = calloc(driver->actions.capacity, sizeof *driver->actions.list);
    if (driver_disk_init(driver, requests) != 0 || !driver->open || !driver->actions.list)
        return REPLICA_E_MEMORY;
    for (uint32_t i = requests; i-- > 0;) {
        driver->open[i].next = driver->free_open;
        driver->free_open = &driver->open[i];
    }
    return 0;
}

static int make_core(struct driver *driver, struct replica_error *error)
{
    const struct driver_setup *setup = &driver->setup;
    uint64_t slots[METADATA_SLOTS], meta_bytes = metastore_bytes(setup->store);
    int code = driver_find_metadata(driver, slots, error);

    if (code != 0)
        return code;
    return core_new(&driver->core, &setup->resource->core, slots, meta_bytes,
                    disk_bytes(setup->disk), NULL, error);
}

int driver_set_disk(struct driver *driver, struct disk *disk, struct metastore *store,
                    struct replica_error *error)
{
    uint64_t slots[METADATA_SLOTS];
    int code;

    driver->setup.disk = disk;
    driver->setup.store = store;
    code = driver_find_metadata(driver, slots, error);
    if (code == 0)
        core_set_device(driver->core, slots, metastore_bytes(store), disk_bytes(disk));
    return code;
}

static void driver_free(struct driver *driver)
{
    loop_unhook(driver->setup.loop, driver);
    handlers_free(driver->handlers);
    link_free(driver->link);
    replica_timer_free(driver->timer);
    core_free(driver->core);
    free(driver->actions.list);
    free(driver->open);
    driver_disk_close(driver);
    free(driver);
}

int driver_new(struct driver **driver, const struct driver_setup *setup,
               struct replica_error *error)
{
    struct driver *made = calloc(1, sizeof *made);
    int code;

    if (!made)
        return err_set(error, REPLICA_E_MEMORY, "out of memory");
    made->setup = *setup;
    made->deadline = UINT64_MAX;
    made->waiting_last = &made->waiting;
    made->commands_last = &made->commands;
    code = make_core(made, error);
    if (code == 0)
        code = link_new(&made->link, setup->loop, setup->log, setup->resource, setup->link_pool,
                        &link_events, made, error);
    if (code == 0)
        code = handlers_new(&made->handlers, setup->loop, setup->log, setup->resource,
                            driver_handler_done, made);
    if (code == 0 && (make_pools(made) != 0 ||
                      replica_timer_new(setup->loop, timer_expired, made, &made->timer) != 0 ||
                      loop_hook(setup->loop, turn_end, made) != 0))
        code = err_set(error, REPLICA_E_MEMORY, "out of memory");
    if (code != 0) {
        driver_free(made);
        return code;
    }
    *driver = made;
    return 0;
}

struct attach {
    bool over;
    int code;
    struct replica_error *error;
};

static void attach_done(void *argument, int code, const char *text)
{
    struct attach *attach = argument;

    attach->over = true;
    attach->code = code;
    if (code != 0)
        err_set(attach->error, code, "%s", text);
}

static bool attach_pending(void *argument)
{
    return !((struct attach *)argument)->over;
}

int driver_attach(struct driver *driver, struct replica_error *error)
{
    struct attach attach = {.error = error};

    driver_command(driver, COMMAND_ATTACH, 0, attach_done, &attach);
    start_commands(driver);
    loop_drain(driver->setup.loop, attach_pending, &attach);
    return attach.over ? attach.code : err_set(error, REPLICA_E_SYSTEM, "the event loop stopped");
}

static bool still_busy(void *argument)
{
    struct driver *driver = argument;

    return driver->under_way > 0 || link_busy(driver->link);
}

static void complete_all(struct driver *driver)
{
    for (uint32_t i = 0; i < driver->setup.resource->core.requests_max; i++) {
        struct replica_request *request = driver->open[i].request;
        driver->open[i].request = NULL;
        if (request)
            request->done(request, REPLICA_E_SHUTDOWN);
    }
    while (driver->waiting) {
        struct replica_request *request = waiting_pop(driver);
        request->done(request, REPLICA_E_SHUTDOWN);
    }
    if (driver->command)
        command_over(driver->command, REPLICA_E_SHUTDOWN, "the resource is going down");
    driver->command = NULL;
    while (driver->commands) {
        struct queued_command *command = driver->commands;
        driver->commands = command->next;
        command_over(command, REPLICA_E_SHUTDOWN, "the resource is going down");
    }
}

void driver_close(struct driver *driver)
{
    if (!driver)
        return;
    driver->closed = true;
    link_shut(driver->link);
    driver_disk_drop(driver);
    loop_drain(driver->setup.loop, still_busy, driver);
    complete_all(driver);
    driver_free(driver);
}

const struct core *driver_core(const struct driver *driver)
{
    return driver->core;
}

const char *driver_farewell(const struct driver *driver)
{
    return driver->farewell;
}

const struct link *driver_link(const struct driver *driver)
{
    return driver->link;
}
