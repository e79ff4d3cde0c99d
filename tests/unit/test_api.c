/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_api.c - two replicas over loopback, opened from configuration files through replica.h:
 * create-md, connect, promote, write, read, flush, discard, hand the role over, lose the peer.
 */
#include "pair_help.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libreplica/io/buffer.h"
#include "libreplica/io/create_md.h"
#include "libreplica/io/replica_private.h"

/* ---- requests ------------------------------------------------------------------------------- */

struct job {
    struct replica_request request;
    bool over;
    int code;
};

static void job_done(struct replica_request *request, int code)
{
    struct job *job = request->owner;

    job->over = true;
    job->code = code;
}

static void job_start(struct node *node, struct job *job, enum replica_op op, uint64_t offset,
                      uint32_t length, int fill)
{
    *job = (struct job){
        .request = {.op = op, .offset = offset, .length = length, .done = job_done, .owner = job}};
    if (op == REPLICA_OP_READ || op == REPLICA_OP_WRITE) {
        job->request.buffer = replica_buffer_get(node->replica, length);
        ck_assert_ptr_nonnull(job->request.buffer);
        memset(replica_buffer_data(job->request.buffer), fill, length);
    }
    replica_submit(node->replica, &job->request);
    ck_assert(!job->over);
}

static int run(struct node *node, enum replica_op op, uint64_t offset, uint32_t length, int fill)
{
    struct job job;

    job_start(node, &job, op, offset, length, fill);
    io_help_run(&help, io_help_flag, &job.over);
    replica_buffer_put(job.request.buffer);
    return job.code;
}

static void check_read(struct node *node, uint64_t offset, uint32_t length, int fill)
{
    struct job job;
    const uint8_t *data;

    job_start(node, &job, REPLICA_OP_READ, offset, length, fill + 1);
    io_help_run(&help, io_help_flag, &job.over);
    ck_assert_int_eq(job.code, 0);
    data = replica_buffer_data(job.request.buffer);
    for (uint32_t i = 0; i < length; i++)
        ck_assert_uint_eq(data[i], (uint8_t)fill);
    replica_buffer_put(job.request.buffer);
}

static void compare_disks(void)
{
    static uint8_t a[1 << 20], b[1 << 20];
    uint64_t size = replica_size(nodes[0].replica ? nodes[0].replica : nodes[1].replica);
    int first = open(nodes[0].disk, O_RDONLY), second = open(nodes[1].disk, O_RDONLY);

    for (uint64_t at = 0; at < size; at += sizeof a) {
        size_t piece = size - at < sizeof a ? (size_t)(size - at) : sizeof a;
        ck_assert_int_eq(pread(first, a, piece, (off_t)at), (ssize_t)piece);
        ck_assert_int_eq(pread(second, b, piece, (off_t)at), (ssize_t)piece);
        ck_assert_mem_eq(a, b, piece);
    }
    close(first);
    close(second);
}

/* ---- tests ---------------------------------------------------------------------------------- */

START_TEST(test_write_and_read)
{
    start_pair();
    ck_assert_uint_eq(replica_size(nodes[0].replica) % REPLICA_BLOCK_BYTES, 0);
    ck_assert_int_eq(run(&nodes[0], REPLICA_OP_WRITE, 0, 4096, 0x11), 0);
    ck_assert_int_eq(run(&nodes[0], REPLICA_OP_WRITE, 512, 512, 0x22), 0);
    ck_assert_int_eq(run(&nodes[0], REPLICA_OP_WRITE, 8 << 20, REPLICA_REQUEST_BYTES_MAX, 0x33), 0);
    ck_assert_int_eq(run(&nodes[0], REPLICA_OP_FLUSH, 0, 0, 0), 0);
    compare_disks(); /* flushed on both: the files hold it */
    check_read(&nodes[0], 0, 512, 0x11);
    check_read(&nodes[0], 512, 512, 0x22);
    check_read(&nodes[0], 8 << 20, REPLICA_REQUEST_BYTES_MAX, 0x33);
    ck_assert_int_eq(run(&nodes[0], REPLICA_OP_DISCARD, 0, 1 << 20, 0), 0);
    ck_assert_int_eq(run(&nodes[0], REPLICA_OP_WRITE_ZEROES, 8 << 20, 4096, 0), 0);
    ck_assert_int_eq(run(&nodes[0], REPLICA_OP_FLUSH, 0, 0, 0), 0);
    check_read(&nodes[0], 0, 4096, 0);
    check_read(&nodes[0], 8 << 20, 4096, 0);
    compare_disks();
}
END_TEST

START_TEST(test_refused_requests)
{
    struct job job = {.request = {.op = REPLICA_OP_READ, .length = 512, .done = job_done}};
    uint64_t size;

    start_pair();
    size = replica_size(nodes[0].replica);
    ck_assert_int_eq(run(&nodes[0], REPLICA_OP_WRITE, size, 4096, 1), REPLICA_E_RANGE);
    ck_assert_int_eq(run(&nodes[0], REPLICA_OP_READ, size - 512, 1024, 1), REPLICA_E_RANGE);
    ck_assert_int_eq(run(&nodes[0], REPLICA_OP_WRITE, 100, 512, 1), REPLICA_E_RANGE);
    ck_assert_int_eq(run(&nodes[0], REPLICA_OP_DISCARD, UINT64_MAX - 511, 512, 1), REPLICA_E_RANGE);
    ck_assert_int_eq(run(&nodes[1], REPLICA_OP_WRITE, 0, 4096, 1), REPLICA_E_READ_ONLY);
    job.request.owner = &job;
    replica_submit(nodes[0].replica, &job.request); /* no buffer */
    io_help_run(&help, io_help_flag, &job.over);
    ck_assert_int_eq(job.code, REPLICA_E_INVALID);
    job.over = false;
    job.request.op = REPLICA_OP_COUNT;
    replica_submit(nodes[0].replica, &job.request);
    io_help_run(&help, io_help_flag, &job.over);
    ck_assert_int_eq(job.code, REPLICA_E_INVALID);
}
END_TEST

/* Hundreds at once, many on the same blocks: all are answered, both disks are the same. */
START_TEST(test_many)
{
    enum { JOBS = 400 };
    static struct job jobs[JOBS];
    unsigned seed = 3;

    start_pair();
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < JOBS; i++) {
            uint32_t length = 512u << (rand_r(&seed) % 5);
            uint64_t place = (uint64_t)(rand_r(&seed) % 400) * 512;
            job_start(&nodes[0], &jobs[i], REPLICA_OP_WRITE, place, length, rand_r(&seed));
        }
        for (int i = 0; i < JOBS; i++) {
            io_help_run(&help, io_help_flag, &jobs[i].over);
            ck_assert_int_eq(jobs[i].code, 0);
            replica_buffer_put(jobs[i].request.buffer);
        }
    }
    ck_assert_int_eq(run(&nodes[0], REPLICA_OP_FLUSH, 0, 0, 0), 0);
    compare_disks();
}
END_TEST

enum { BUSY_JOBS = 1000, BUSY_BYTES = 2 << 20 };

static struct busy {
    struct job jobs[BUSY_JOBS];
    unsigned seed, open;
    bool asked, stop;
} busy;

static void busy_start(struct job *job)
{
    unsigned block = (unsigned)rand_r(&busy.seed) % (BUSY_BYTES / REPLICA_BLOCK_BYTES);

    job->request.offset = (uint64_t)block * REPLICA_BLOCK_BYTES;
    busy.open++;
    replica_submit(nodes[0].replica, &job->request);
}

static void busy_done(struct replica_request *request, int code)
{
    busy.open--;
    ck_assert_int_eq(code, 0);
    if (!busy.stop)
        busy_start(request->owner);
}

static bool is_idle(void *argument)
{
    (void)argument;
    return busy.open == 0;
}

static void verify_begun(void *argument, int code, const char *text)
{
    (void)argument;
    ck_assert_msg(code == 0, "%s", text);
    busy.asked = true;
}

static bool is_verified(void *argument)
{
    (void)argument;
    return busy.asked && status_of(&nodes[1]).replication == REPLICA_REPLICATION_ESTABLISHED;
}

/* The peer's writes may wait for a read of ours that the verification makes: they must not have
 * taken the memory that it needs. */
START_TEST(test_verify_under_load)
{
    struct replica_buffer *held[BUFFER_LINK_BYTES / REPLICA_REQUEST_BYTES_MAX - 1];
    const unsigned count = sizeof held / sizeof *held;

    start_pair();
    for (unsigned i = 0; i < count; i++) /* so that little is much */
        held[i] = buffer_take(nodes[1].replica->link_pool, REPLICA_REQUEST_BYTES_MAX);
    busy = (struct busy){.seed = 5};
    for (int i = 0; i < BUSY_JOBS; i++) {
        struct job *job = &busy.jobs[i];

        job->request = (struct replica_request){
            .op = REPLICA_OP_WRITE, .length = REPLICA_BLOCK_BYTES, .done = busy_done, .owner = job};
        job->request.buffer = replica_buffer_get(nodes[0].replica, REPLICA_BLOCK_BYTES);
        ck_assert_ptr_nonnull(job->request.buffer);
        memset(replica_buffer_data(job->request.buffer), i, REPLICA_BLOCK_BYTES);
        busy_start(job);
    }
    driver_verify(nodes[1].replica->driver, 0, BUSY_BYTES, verify_begun, NULL);
    io_help_run(&help, is_verified, NULL);
    busy.stop = true;
    io_help_run(&help, is_idle, NULL);
    for (int i = 0; i < BUSY_JOBS; i++)
        replica_buffer_put(busy.jobs[i].request.buffer);
    for (unsigned i = 0; i < count; i++)
        replica_buffer_put(held[i]);
}
END_TEST

static void room(void *argument)
{
    *(bool *)argument = true;
}

/* A client that takes all memory is told, and told again when there is some. */
START_TEST(test_room)
{
    struct replica_buffer *held[64];
    unsigned count = 0;
    bool called = false;

    start_pair();
    while ((held[count] = replica_buffer_get(nodes[0].replica, REPLICA_REQUEST_BYTES_MAX)))
        count++;
    ck_assert_uint_eq(count, (unsigned)BUFFER_GUEST_BYTES / REPLICA_REQUEST_BYTES_MAX);
    replica_on_room(nodes[0].replica, room, &called);
    replica_buffer_put(held[--count]);
    ck_assert(!called);
    io_help_run(&help, io_help_flag, &called);
    while (count > 0)
        replica_buffer_put(held[--count]);
}
END_TEST

START_TEST(test_roles)
{
    start_pair();
    ck_assert_int_eq(promote(&nodes[1], false), REPLICA_E_PEER_PRIMARY);
    ck_assert_int_eq(run(&nodes[0], REPLICA_OP_WRITE, 0, 4096, 0x44), 0);
    ck_assert_int_eq(demote(&nodes[0]), 0);
    ck_assert_int_eq(promote(&nodes[1], false), 0);
    check_read(&nodes[1], 0, 4096, 0x44);
    ck_assert_int_eq(run(&nodes[1], REPLICA_OP_WRITE, 4096, 4096, 0x55), 0);
    ck_assert_int_eq(run(&nodes[1], REPLICA_OP_FLUSH, 0, 0, 0), 0);
    compare_disks();
    ck_assert_uint_gt(nodes[0].changes, 0);
}
END_TEST

/* Writes that are under way when the peer goes are answered; the peer comes back and is resynced.
 */
START_TEST(test_peer_lost)
{
    enum { JOBS = 64 };
    static struct job jobs[JOBS];

    start_pair();
    for (int i = 0; i < JOBS; i++)
        job_start(&nodes[0], &jobs[i], REPLICA_OP_WRITE, (uint64_t)i * 65536, 4096, i);
    replica_close(nodes[1].replica);
    nodes[1].replica = NULL;
    for (int i = 0; i < JOBS; i++) {
        io_help_run(&help, io_help_flag, &jobs[i].over);
        ck_assert_int_eq(jobs[i].code, 0);
        replica_buffer_put(jobs[i].request.buffer);
    }
    ck_assert_int_eq(run(&nodes[0], REPLICA_OP_WRITE, 16 << 20, 4096, 0x66), 0);
    node_start(&nodes[1]);
    io_help_run(&help, in_sync, NULL);
    ck_assert_int_eq(run(&nodes[0], REPLICA_OP_FLUSH, 0, 0, 0), 0);
    compare_disks();
}
END_TEST

/* Requests that are open when the replica is closed are answered with REPLICA_E_SHUTDOWN. */
START_TEST(test_close_under_load)
{
    enum { JOBS = 64 };
    static struct job jobs[JOBS];

    start_pair();
    for (int i = 0; i < JOBS; i++)
        job_start(&nodes[0], &jobs[i], REPLICA_OP_WRITE, (uint64_t)i * 4096, 4096, i);
    replica_close(nodes[0].replica);
    nodes[0].replica = NULL;
    for (int i = 0; i < JOBS; i++) {
        ck_assert(jobs[i].over);
        ck_assert_int_eq(jobs[i].code, REPLICA_E_SHUTDOWN);
        replica_buffer_put(jobs[i].request.buffer);
    }
}
END_TEST

START_TEST(test_mistakes)
{
    struct metadata_superblock made;
    struct replica_error error = {0};
    struct replica_options options = {.resource = "vm2",
                                      .config_dir = nodes[0].config_dir,
                                      .run_dir = nodes[0].run_dir,
                                      .node = "alpha"};
    struct replica *second;
    char path[160];

    ck_assert_int_eq(replica_open(help.loop, &options, NULL, NULL, &second, &error),
                     REPLICA_E_NOT_FOUND);
    options.resource = "vm1";
    options.node = "gamma";
    ck_assert_int_eq(replica_open(help.loop, &options, NULL, NULL, &second, &error),
                     REPLICA_E_NOT_FOUND);
    (void)snprintf(path, sizeof path, "%s/vm1.key", help.directory);
    ck_assert_int_eq(chmod(path, 0644), 0);
    ck_assert_int_eq(node_open(&nodes[0], &error), REPLICA_E_PERMISSION);
    ck_assert_ptr_nonnull(strstr(error.text, "chmod 600"));
    ck_assert_int_eq(chmod(path, 0600), 0);
    node_start(&nodes[0]);
    options.node = "alpha";
    ck_assert_int_eq(replica_open(help.loop, &options, NULL, NULL, &second, &error),
                     REPLICA_E_BUSY); /* up twice */
    ck_assert_ptr_nonnull(strstr(error.text, "up already"));
    options.run_dir = nodes[1].run_dir; /* another run directory: the disk says no */
    ck_assert_int_eq(replica_open(help.loop, &options, NULL, NULL, &second, &error),
                     REPLICA_E_BUSY);
    ck_assert_ptr_nonnull(strstr(error.text, "alpha.disk"));
    ck_assert_int_eq(
        create_md(nodes[0].disk, "internal", METADATA_AL_EXTENTS_DEFAULT, true, &made, &error),
        REPLICA_E_BUSY);
    replica_close(nodes[0].replica);
    nodes[0].replica = NULL;
    ck_assert_int_eq(truncate(nodes[0].disk, 0), 0);
    ck_assert_int_eq(truncate(nodes[0].disk, DISK_BYTES), 0);
    ck_assert_int_eq(node_open(&nodes[0], &error), REPLICA_E_NO_METADATA);
}
END_TEST

/* Another process that is starting too: it replaces what a killed one left behind, and listens. */
static pid_t start_another(const struct sockaddr_un *address)
{
    int lock = open(nodes[0].run_dir, O_RDONLY | O_DIRECTORY), fd;
    pid_t child;

    ck_assert_int_eq(flock(lock, LOCK_EX), 0);
    child = fork();
    if (child == 0) {
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        usleep(300000);
        unlink(address->sun_path);
        if (bind(fd, (const struct sockaddr *)address, sizeof *address) != 0 || listen(fd, 1) != 0)
            _exit(1);
        (void)flock(lock, LOCK_UN);
        pause();
    }
    close(lock);
    return child;
}

/* Two at a time: the second does not take the first one's control socket away. */
START_TEST(test_two_at_a_time)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct replica_error error = {0};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    pid_t another;

    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/vm1.ctl", nodes[0].run_dir);
    ck_assert_int_eq(mkdir(nodes[0].run_dir, 0755), 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd); /* the file stays, nobody listens */
    another = start_another(&address);
    ck_assert_int_eq(node_open(&nodes[0], &error), REPLICA_E_BUSY);
    ck_assert_msg(strstr(error.text, "is up already"), "%s", error.text);
    ck_assert_int_eq(access(address.sun_path, F_OK), 0);
    kill(another, SIGKILL);
    ck_assert_int_eq(waitpid(another, NULL, 0), another);
    unlink(address.sun_path);
}
END_TEST

/* ---- a hostile peer ------------------------------------------------------------------------- */

static struct link *hostile;
static bool hostile_is_up;

static void hostile_up(void *argument, bool initiator)
{
    struct wire_message message = {
        .type = WIRE_REFUSE,
        .refuse = {.code = REPLICA_E_SPLIT_BRAIN, .reason = "no text: \xff\xc3("}};

    (void)argument, (void)initiator;
    hostile_is_up = true;
    link_send(hostile, &message, NULL);
}

static void hostile_down(void *argument, int code)
{
    (void)argument, (void)code;
}

static void hostile_message(void *argument, const struct wire_message *message,
                            struct replica_buffer *buffer)
{
    (void)argument, (void)message;
    replica_buffer_put(buffer);
}

static struct replica_buffer *hostile_target(void *argument, const struct wire_message *message)
{
    (void)argument, (void)message;
    return NULL;
}

static void hostile_turn_end(void *argument)
{
    (void)argument;
    link_flush(hostile);
}

static bool is_refused(void *argument)
{
    (void)argument;
    return hostile_is_up && status_of(&nodes[1]).connection == REPLICA_CONNECTION_STANDALONE;
}

static bool hostile_is_over(void *argument)
{
    (void)argument;
    return !link_busy(hostile);
}

/* A reason that is no text does not take the status away (P11). */
START_TEST(test_strange_reason)
{
    static const struct link_events events = {.up = hostile_up,
                                              .down = hostile_down,
                                              .message = hostile_message,
                                              .target = hostile_target};
    struct replica_error error = {0};
    struct buffer_pool *pool;
    json_t *status;

    hostile_is_up = false;
    node_start(&nodes[1]);
    ck_assert_int_eq(buffer_pool_new(&pool, 2 << 20, NULL, NULL), 0);
    ck_assert_int_eq(
        link_new(&hostile, help.loop, &help.log, &nodes[0].resource, pool, &events, NULL, &error),
        0);
    ck_assert_int_eq(loop_hook(help.loop, hostile_turn_end, hostile), 0);
    link_connect(hostile);
    io_help_run(&help, is_refused, NULL);
    status = status_json(nodes[1].replica);
    ck_assert(json_is_object(status));
    json_decref(status);
    link_shut(hostile);
    io_help_run(&help, hostile_is_over, NULL);
    loop_unhook(help.loop, hostile);
    link_free(hostile);
    buffer_pool_free(pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("api");
    TCase *all = tcase_create("all");

    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, pair_setup, pair_teardown);
    tcase_add_test(all, test_write_and_read);
    tcase_add_test(all, test_refused_requests);
    tcase_add_test(all, test_many);
    tcase_add_test(all, test_verify_under_load);
    tcase_add_test(all, test_room);
    tcase_add_test(all, test_roles);
    tcase_add_test(all, test_peer_lost);
    tcase_add_test(all, test_close_under_load);
    tcase_add_test(all, test_mistakes);
    tcase_add_test(all, test_two_at_a_time);
    tcase_add_test(all, test_strange_reason);
    suite_add_tcase(suite, all);
    return io_help_main(suite);
}
