/* SPDX-License-Identifier: GPL-2.0-or-later */
/* driver_disk.c - the core's data and metadata I/O; see driver_private.h. */
#include "driver_private.h"

#include <errno.h>
#include <stdlib.h>

enum { META_JOBS = 64 };

/* A data I/O under way. */
struct disk_job {
    struct disk_io io; /* first: leads back */
    struct driver *driver;
    uint64_t tag;
    struct replica_buffer *buffer; /* our reference */
    bool taken;                    /* a read without a buffer: ours goes to the core */
    enum core_digest digest;       /* of what was read */
    bool spare;                    /* beyond the pool: freed after use */
    struct disk_job *next;         /* free, or waiting for a buffer */
};

struct meta_job {
    struct metastore_io io; /* first: leads back */
    struct driver *driver;
    uint64_t tag;
    bool spare;
    struct meta_job *next;
};

/* ---- disk ----------------------------------------------------------------------------------- */

static struct disk_job *disk_job_get(struct driver *driver)
{
    struct disk_job *job = driver->free_disk_jobs;

    if (job) {
        driver->free_disk_jobs = job->next;
        return job;
    }
    job = calloc(1, sizeof *job);
    if (job) {
        job->driver = driver;
        job->spare = true;
    }
    return job;
}

static void disk_job_put(struct disk_job *job)
{
    struct driver *driver = job->driver;

    if (job->spare) {
        free(job);
        return;
    }
    job->next = driver->free_disk_jobs;
    driver->free_disk_jobs = job;
}

static void disk_done(struct disk_io *io, int code)
{
    struct disk_job *job = (struct disk_job *)io;
    struct driver *driver = job->driver;
    struct event event = {.kind = EVENT_DISK_DONE, .disk_done = {.tag = job->tag, .code = code}};
    struct replica_buffer *ours = job->buffer;
    uint8_t sum[WIRE_DIGEST_BYTES];

    if (job->taken && code == 0) {
        const uint8_t *data = replica_buffer_data(ours);

        event.disk_done.zero = digest_is_zero(data, io->length);
        if (job->digest && digest_sum(driver->digest, job->digest, data, io->length, sum))
            event.disk_done.digest = sum;
        event.disk_done.buffer = ours;
        ours = NULL;
    }
    driver->under_way--;
    disk_job_put(job);
    if (driver->closed) {
        replica_buffer_put(event.disk_done.buffer);
        replica_buffer_put(ours);
        return;
    }
    driver_step(driver, &event);
    replica_buffer_put(ours);
}

static void disk_start(struct disk_job *job)
{
    job->io.data = job->buffer ? replica_buffer_data(job->buffer) : NULL;
    disk_submit(job->driver->setup.disk, &job->io);
}

/* A read for the peer, or for a checksum: as soon as there is memory. */
static bool give_buffer(struct disk_job *job)
{
    job->buffer = buffer_take(job->driver->setup.read_pool, job->io.length);
    return job->buffer != NULL;
}

void driver_disk_run(struct driver *driver, const struct action *action)
{
    struct disk_job *job = disk_job_get(driver);

    if (!job) {
        loop_fail(driver->setup.loop, ENOMEM);
        return;
    }
    job->tag = action->disk.tag;
    job->next = NULL;
    job->buffer = action->disk.buffer;
    job->taken = action->disk.op == REPLICA_OP_READ && !action->disk.buffer;
    job->digest = action->disk.digest;
    job->io.op = action->disk.op;
    job->io.durable = action->disk.durable;
    job->io.offset = action->disk.range.offset;
    job->io.length = action->disk.range.length;
    job->io.done = disk_done;
    driver->under_way++;
    if (job->buffer)
        buffer_hold(job->buffer);
    if (job->taken && (driver->starved || !give_buffer(job))) {
        *driver->starved_last = job;
        driver->starved_last = &job->next;
        return;
    }
    disk_start(job);
}

void driver_disk_feed(struct driver *driver)
{
    while (driver->starved && give_buffer(driver->starved)) {
        struct disk_job *job = driver->starved;
        driver->starved = job->next;
        if (!driver->starved)
            driver->starved_last = &driver->starved;
        disk_start(job);
    }
}

/* Reads that never got a buffer end here. */
void driver_disk_drop(struct driver *driver)
{
    while (driver->starved) {
        struct disk_job *job = driver->starved;
        driver->starved = job->next;
        driver->under_way--;
        disk_job_put(job);
    }
    driver->starved_last = &driver->starved;
}

/* ---- metadata ------------------------------------------------------------------------------- */

static struct meta_job *meta_job_get(struct driver *driver)
{
    struct meta_job *job = driver->free_meta_jobs;

    if (job) {
        driver->free_meta_jobs = job->next;
        return job;
    }
    job = calloc(1, sizeof *job);
    if (job) {
        job->driver = driver;
        job->spare = true;
    }
    return job;
}

static void meta_done(struct metastore_io *io, int code)
{
    struct meta_job *job = (struct meta_job *)io;
    struct driver *driver = job->driver;
    struct event event = {.kind = EVENT_META_DONE, .meta_done = {.tag = job->tag, .code = code}};

    driver->under_way--;
    if (job->spare) {
        free(job);
    } else {
        job->next = driver->free_meta_jobs;
        driver->free_meta_jobs = job;
    }
    if (!driver->closed)
        driver_step(driver, &event);
}

void driver_meta_run(struct driver *driver, const struct action *action)
{
    struct meta_job *job = meta_job_get(driver);

    if (!job) {
        loop_fail(driver->setup.loop, ENOMEM);
        return;
    }
    job->tag = action->meta.tag;
    job->io.write = action->kind == ACTION_META_WRITE;
    job->io.offset = action->meta.offset;
    job->io.length = action->meta.length;
    job->io.data = action->meta.data;
    job->io.done = meta_done;
    driver->under_way++;
    metastore_submit(driver->setup.store, &job->io);
}

/* ---- life ----------------------------------------------------------------------------------- */

int driver_disk_init(struct driver *driver, uint32_t requests)
{
    uint32_t jobs = requests + 2 * WIRE_WINDOW_REQUESTS;

    driver->starved_last = &driver->starved;
    if (digest_new(&driver->digest) != 0)
        return REPLICA_E_MEMORY;
    driver->disk_jobs = calloc(jobs, sizeof *driver->disk_jobs);
    driver->meta_jobs = calloc(META_JOBS, sizeof *driver->meta_jobs);
    if (!driver->disk_jobs || !driver->meta_jobs)
        return REPLICA_E_MEMORY;
    for (uint32_t i = jobs; i-- > 0;) {
        driver->disk_jobs[i].driver = driver;
        driver->disk_jobs[i].next = driver->free_disk_jobs;
        driver->free_disk_jobs = &driver->disk_jobs[i];
    }
    for (uint32_t i = META_JOBS; i-- > 0;) {
        driver->meta_jobs[i].driver = driver;
        driver->meta_jobs[i].next = driver->free_meta_jobs;
        driver->free_meta_jobs = &driver->meta_jobs[i];
    }
    return 0;
}

void driver_disk_close(struct driver *driver)
{
    digest_free(driver->digest);
    free(driver->meta_jobs);
    free(driver->disk_jobs);
}
