/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * driver_resize.c - how large are the devices now? For a disk that is to grow. The one place after
 * the start that takes memory for the core, at an operator's command and between two turns.
 */
#include "driver_private.h"

#include "libreplica/core/err.h"

int driver_find_metadata(struct driver *driver, uint64_t slots[METADATA_SLOTS],
                         struct replica_error *error)
{
    const struct driver_setup *setup = &driver->setup;

    if (!metastore_internal(setup->store))
        return metadata_slots(metastore_bytes(setup->store), false, slots, error);
    return place_find(&driver->place, setup->state_dir, setup->resource->name, setup->disk, slots,
                      error);
}

/* Internal metadata may move to the new end from now on. */
static int note_place(struct driver *driver, struct replica_error *error)
{
    struct core_status status;

    if (!metastore_internal(driver->setup.store))
        return 0;
    core_status(driver->core, &status);
    if (driver->measure.size != status.data_bytes) /* the last one went well */
        place_settle(&driver->place);
    driver->measure.size = status.data_bytes;
    return place_add(&driver->place, metastore_bytes(driver->setup.store), error);
}

static int look(struct driver *driver, struct replica_error *error)
{
    const struct driver_setup *setup = &driver->setup;
    int code = disk_measure(setup->disk, error);

    if (code == 0)
        code = metastore_measure(setup->store, error);
    if (code == 0 && core_make_room(driver->core, disk_bytes(setup->disk)) != 0)
        code = err_set(error, REPLICA_E_MEMORY, "out of memory for a larger bitmap");
    return code == 0 ? note_place(driver, error) : code;
}

void driver_measure(struct driver *driver)
{
    struct event event = {.kind = EVENT_MEASURED, .measured.serial = driver->measure.serial};
    struct replica_error error = {0};
    struct core_status status;

    if (!driver->measure.due)
        return;
    driver->measure.due = false;
    core_status(driver->core, &status);
    if (status.disk == REPLICA_DISK_DISKLESS) /* it was closed, and nobody waits any more */
        return;
    event.measured.code = look(driver, &error);
    event.measured.text = error.text;
    event.measured.data_bytes = disk_bytes(driver->setup.disk);
    event.measured.meta_bytes = metastore_bytes(driver->setup.store);
    driver_step(driver, &event);
}
