/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fake_nbd SOCKET BYTES - the NBD server over a disk in memory, for NBD clients (nbdinfo,
 * qemu-img, nbdcopy, fio) to try themselves on without a pair. Ends on SIGTERM.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <signal.h>
#include <unistd.h>

#include "fake_replica.h"
#include "tapdisk-drbd/nbd.h"

static void signalled(void *argument, uint32_t events)
{
    (void)events;
    replica_loop_stop(argument);
}

int main(int argc, char **argv)
{
    struct fake_settings settings = {.resource = "fake", .pool_bytes = 4 << 20};
    struct replica_error error = {0};
    struct replica_watch *watch;
    struct replica_loop *loop;
    struct replica *replica;
    struct nbd *nbd;
    sigset_t signals;
    int fd;

    if (argc != 3) {
        (void)fprintf(stderr, "usage: fake_nbd SOCKET BYTES\n");
        return 2;
    }
    settings.size = strtoull(argv[2], NULL, 0);
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    fd = signalfd(-1, &signals, SFD_CLOEXEC);
    replica = fake_replica_new(&settings);
    if (fd < 0 || !replica || replica_loop_new(&loop, &error) != 0 ||
        replica_loop_watch(loop, fd, false, signalled, loop, &watch) != 0)
        return 1;
    fake_replica_attach(replica, loop);
    if (nbd_open(&nbd, loop, replica, argv[1], &error) != 0) {
        (void)fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    (void)puts("ready");
    (void)fflush(stdout);
    (void)replica_loop_run(loop, &error);
    nbd_stop(nbd);
    replica_close(replica);
    nbd_close(nbd);
    replica_loop_unwatch(watch);
    replica_loop_free(loop);
    (void)close(fd);
    return 0;
}
