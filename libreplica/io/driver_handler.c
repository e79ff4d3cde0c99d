/* SPDX-License-Identifier: GPL-2.0-or-later */
/* driver_handler.c - the core's handlers: run them, and tell it how they ended. */
#include "driver_private.h"

#include <string.h>

void driver_handler_run(struct driver *driver, const struct action *action)
{
    const struct config_resource *resource = driver->setup.resource;
    int local = strcmp(resource->local.name, resource->peer.name) < 0 ? 0 : 1;
    struct core_status status;
    unsigned up_to_date = 0;

    core_status(driver->core, &status);
    if (status.disk == REPLICA_DISK_UPTODATE)
        up_to_date |= 1u << local;
    if (status.peer_disk == REPLICA_DISK_UPTODATE)
        up_to_date |= 1u << !local;
    handlers_run(driver->handlers, action->handler.handler, action->handler.serial, up_to_date);
}

/* Told in the turn's end: a script that could not be started ends inside of the core's step. One of
 * a time before, which nobody waits for, may end in the same turn as the present one. */
void driver_handler_done(void *argument, enum core_handler handler, uint32_t serial, int status)
{
    struct driver *driver = argument;
    struct handler_answer *answer = &driver->answers[handler];

    if (answer->there && (int32_t)(serial - answer->serial) < 0)
        return;
    *answer = (struct handler_answer){.there = true, .serial = serial, .status = status};
    loop_kick(driver->setup.loop);
}

void driver_handlers_tell(struct driver *driver)
{
    for (unsigned i = 0; i < HANDLER_COUNT; i++) {
        struct handler_answer answer = driver->answers[i];
        struct event event = {.kind = EVENT_HANDLER_DONE,
                              .handler_done = {.handler = (enum core_handler)i,
                                               .serial = answer.serial,
                                               .status = answer.status}};

        if (!answer.there)
            continue;
        driver->answers[i].there = false;
        driver_step(driver, &event);
    }
}
