# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults again and again under fio with checksums: the guest notices nothing, and the replicas are
compared after each (P1, P3, P4, P5, P7).

The nodes live in two network namespaces. A cycle is one load on the Primary and one fault at a
random moment; --seed repeats the choice of both, if not the machine's scheduling.
"""
import collections
import random
import signal
import subprocess
import time

from namespaces import Namespaces
from nodes import MIB, RESOURCE, Failure, check, wait_until
from run import scenario
from scenarios_failure import Stamper
from scenarios_io import need

TIMEOUT = 1.2  # seconds until a silent peer is lost
SHORT = (0.05, 0.8)  # of a silence that a session may survive
PAST = (1.5, 2.2)  # and of one that it may not
# The Stamper has the first 8 MiB for itself: what it wrote once stays to be verified.
FIO = ["fio", "--name=cycle", "--ioengine=nbd", "--rw=randwrite", "--bs=4k", "--offset=8m",
       "--fsync=256", "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0",
       "--end_fsync=1", "--thread", "--eta=never"]
FIO_LOADS = ((1, 2), (8, 6), (32, 8))  # depth, MiB
FIO_SECONDS = 1.0  # at least, by its rate; the fault comes before


class Cycles:
    """The pair, who is Primary of it, and what has been tried."""

    def __init__(self, lab, network):
        self.network = network
        self.random = random.Random(lab.seed)
        self.pair = lab.pair(size=32 * MIB, net=f"timeout {int(TIMEOUT * 10)}; ping-timeout 10;",
                             network=network).up_to_date()
        self.size = self.pair.data_bytes()
        self.primary, self.secondary = self.pair.alpha, self.pair.beta
        self.stamper = Stamper(self.primary, lab.seed)
        self.stamper.client.close()
        self.done = collections.Counter()
        self.deck = []

    def wait(self, least, most):
        """The length of a fault; nothing is hoped for at its end."""
        time.sleep(self.random.uniform(least, most))

    # -- one cycle --

    def cycle(self):
        """Every kind comes once before any comes again."""
        if not self.deck:
            self.deck = list(FAULTS)
            self.random.shuffle(self.deck)
        kind = self.deck.pop()
        try:
            if kind == "kill-primary":
                self.kill_primary()
            else:
                self.under_fio(FAULTS[kind])
            self.settle()
        except (Failure, OSError) as error:
            raise Failure(f"cycle {self.done.total() + 1}, {kind}, {self.primary.name} Primary: "
                          f"{error}") from error
        self.done[kind] += 1

    def under_fio(self, fault):
        """The load starts, the fault comes, and fio must find every block as it wrote it."""
        self.primary.wait_no_clients()
        path = f"{self.pair.directory}/fio"
        depth, size = self.random.choice(FIO_LOADS)
        arguments = [*FIO, f"--uri={self.primary.uri}", f"--randseed={self.random.getrandbits(31)}",
                     f"--iodepth={depth}", f"--size={size}m",
                     f"--rate_iops={int(size * MIB / 4096 / FIO_SECONDS)}"]
        with open(path, "w", encoding="utf-8") as output, \
                subprocess.Popen(arguments, stdout=output, stderr=output) as fio:
            try:
                wait_until(lambda: self.primary.status()["tapdrbd"]["nbd"]["clients"] or
                           fio.poll() is not None, 20, "fio to begin")
                self.wait(0, FIO_SECONDS * 0.8)
                check(fio.poll() is None, "fio was over before the fault")
                fault(self)
                code = fio.wait(60)
            except subprocess.TimeoutExpired as error:
                raise Failure(f"fio does not end; {self.primary.summary()}") from error
            finally:
                fio.kill()
        if code != 0:
            with open(path, encoding="utf-8", errors="replace") as output:
                raise Failure(f"fio ended with {code}: {output.read()[-3000:]}")

    def settle(self):
        """In sync, quiet, equal. The Primary stays what it is."""
        self.primary.wait_no_clients()
        self.pair.wait_in_sync(60)
        for node in self.pair.nodes:
            left = node.connection()["peer_devices"][0]["out-of-sync"]
            check(left == 0, f"{node.name} has {left} KiB out of sync")
        self.pair.compare(self.size)

    # -- the faults --

    def kill_primary(self):
        """No client lives through that, so fio cannot judge it: the Stamper knows what was
        acknowledged, now and in earlier cycles. Then the roles are the other way round."""
        self.stamper.move(self.primary)
        self.stamper.run(self.random.randrange(50, 3000), self.random.choice((1, 8, 32)))
        self.primary.kill()
        self.stamper.run_until_gone()
        wait_until(lambda: self.secondary.connection()["connection-state"] != "Connected", 30,
                   "the survivor to notice")
        self.secondary.adm("primary", RESOURCE)
        self.primary, self.secondary = self.secondary, self.primary
        self.stamper.verify(self.primary)
        self.secondary.start()

    def kill_secondary(self):
        self.secondary.kill()
        self.wait(0, 1)
        self.secondary.start()

    def stop(self, node, least, most):
        node.signal(signal.SIGSTOP)
        self.wait(least, most)
        node.signal(signal.SIGCONT)

    def link_down(self, least, most):
        end = self.random.choice(self.pair.nodes).name
        self.network.link(end, up=False)
        self.wait(least, most)
        self.network.link(end, up=True)

    def black_hole(self):
        """One direction or both; the kernel sends again what was lost."""
        deaf = self.random.choice((self.pair.nodes, [self.primary], [self.secondary]))
        for node in deaf:
            self.network.black_hole(node.name, on=True)
        self.wait(*SHORT)
        for node in deaf:
            self.network.black_hole(node.name, on=False)


FAULTS = {
    "kill-secondary": Cycles.kill_secondary,
    "stop-secondary": lambda cycles: cycles.stop(cycles.secondary, *SHORT),
    "hang-secondary": lambda cycles: cycles.stop(cycles.secondary, *PAST),
    "stop-primary": lambda cycles: cycles.stop(cycles.primary, SHORT[0], PAST[1]),
    "link-flap": lambda cycles: cycles.link_down(*SHORT),
    "link-cut": lambda cycles: cycles.link_down(*PAST),
    "black-hole": Cycles.black_hole,
    "kill-primary": Cycles.kill_primary,
}


@scenario("kills, stops, hangs and link faults under fio with checksums; replicas equal after each",
          seconds=180, long_seconds=5400)
def fault_cycles(lab):
    need("fio")
    with Namespaces() as network:
        lab.say(f"seed {lab.seed}")
        cycles = Cycles(lab, network)
        count, begin = 500 if lab.long else 12, time.monotonic()
        for number in range(1, count + 1):
            cycles.cycle()
            if number % 50 == 0 or number == count:
                kinds = ", ".join(f"{kind} {cycles.done[kind]}" for kind in FAULTS)
                lab.say(f"{number} cycles in {time.monotonic() - begin:.0f} s, every time equal: "
                        f"{kinds}")
        cycles.stamper.verify(cycles.primary)
