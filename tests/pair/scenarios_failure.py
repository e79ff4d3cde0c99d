# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes stopped and killed, links cut: nothing acknowledged is lost (P1, P2, P3, P7)."""
import random
import signal
import time

from nbd_client import WRITE, NbdClient
from nodes import MIB, RESOURCE, Failure, check, wait_until
from relay import Relay
from run import scenario

BLOCK = 4096


def nbd(node):
    return NbdClient(f"{node.run_dir}/{RESOURCE}.nbd")


class Stamper:
    """Writes numbered blocks ahead, and knows which were acknowledged and which may be there.

    It outlives the node that it writes to: move() goes on at the other one.
    """

    def __init__(self, node, seed):
        self.client = nbd(node)
        self.random = random.Random(seed)
        self.number = 0
        self.acknowledged = {}  # block -> number
        self.possible = {}  # block -> numbers sent after the acknowledged one
        self.pending = {}  # handle -> (block, number)

    @staticmethod
    def content(block, number):
        return (block.to_bytes(8, "big") + number.to_bytes(8, "big")) * (BLOCK // 16)

    def move(self, node):
        """Goes on at a node that took over, with what was not answered in doubt."""
        self.client = nbd(node)
        self.pending = {}
        return self

    def send(self):
        busy = {block for block, _ in self.pending.values()}
        block = self.random.randrange(2048)
        if block in busy:
            return
        self.number += 1
        self.possible.setdefault(block, []).append(self.number)
        handle = self.client.send(WRITE, block * BLOCK, data=self.content(block, self.number))
        self.pending[handle] = (block, self.number)

    def receive(self, seconds=30):
        handle, error, _ = self.client.reply(seconds=seconds)
        block, number = self.pending.pop(handle)
        if error == 0:
            self.acknowledged[block] = number
            self.possible[block] = [n for n in self.possible[block] if n > number]
        return error

    def run(self, count, depth=16):
        for _ in range(count):
            while len(self.pending) < depth:
                self.send()
            if self.receive() != 0:
                raise Failure("a write was answered with an error")

    def drain(self):
        while self.pending:
            check(self.receive() == 0, "a write was answered with an error")

    def run_until_gone(self, depth=16):
        """Writes until the server goes away."""
        try:
            while True:
                while len(self.pending) < depth:
                    self.send()
                self.receive(5)
        except (ConnectionError, TimeoutError, OSError):
            self.client.socket.close()

    def verify(self, node):
        """Every block holds what was acknowledged last, or a later write that was under way; what
        was seen once stays."""
        client = nbd(node)
        for block in sorted(set(self.acknowledged) | set(self.possible)):
            data = client.read(block * BLOCK, BLOCK)
            last = self.acknowledged.get(block)
            found = int.from_bytes(data[8:16], "big")
            allowed = [last or 0, *self.possible.get(block, [])]
            whole = data == (self.content(block, found) if found else bytes(BLOCK))
            if found not in allowed or not whole:
                raise Failure(f"block {block}: acknowledged {last}, found {found}, "
                              f"{'whole' if whole else 'torn'}")
            if found:
                self.acknowledged[block] = found
            self.possible[block] = []
        client.close()


def finish_equal(pair, primary):
    """In sync, quiet, equal."""
    pair.wait_in_sync()
    primary.wait_no_clients()
    size = primary.status()["devices"][0]["size"] * 1024
    primary.adm("secondary", RESOURCE)
    pair.compare(size)


@scenario("SIGSTOP of the peer: no write completes until it runs again (P1)")
def peer_stopped_and_continued(lab):
    pair = lab.pair(net="timeout 60; ko-count 0; ping-timeout 100; ping-int 30;").up_to_date()
    client = nbd(pair.alpha)
    check(client.write(0, b"a" * BLOCK) == 0, "a write before")
    pair.beta.signal(signal.SIGSTOP)
    client.send(WRITE, 0, data=b"b" * BLOCK)
    check(not client.answered(2), "a write completed that the peer cannot have")
    pair.beta.signal(signal.SIGCONT)
    check(client.reply(seconds=20)[1] == 0, "the write completes once the peer runs")
    check(pair.alpha.connection()["connection-state"] == "Connected", "the link did not survive")
    client.close()
    finish_equal(pair, pair.alpha)


@scenario("SIGSTOP of the peer past the time-out: the loss is in status before the write completes")
def peer_stopped_past_timeout(lab):
    pair = lab.pair(net="timeout 20; ping-timeout 10; ping-int 1;").up_to_date()
    client = nbd(pair.alpha)
    check(client.write(0, b"a" * BLOCK) == 0, "a write before")
    before = pair.alpha.command("show-gi")["gi"]
    pair.beta.signal(signal.SIGSTOP)
    began = time.monotonic()
    check(client.write(0, b"b" * BLOCK, seconds=60) == 0, "the write completes after the time-out")
    check(time.monotonic() - began > 0.5, "no time-out passed")
    status = pair.alpha.status()
    check(status["connections"][0]["connection-state"] != "Connected", f"status says {status}")
    check(pair.alpha.command("show-gi")["gi"] != before, "no new generation was recorded (P7)")
    check("lost" in pair.alpha.log() or "no answer" in pair.alpha.log(),
          f"the log is silent: {pair.alpha.log()}")
    check(client.write(BLOCK, b"c" * BLOCK) == 0, "the guest goes on alone")
    pair.beta.signal(signal.SIGCONT)
    pair.wait_in_sync()
    client.close()
    finish_equal(pair, pair.alpha)


@scenario("kill -9 of the Secondary under load: the guest goes on; it rejoins and is resynced")
def kill_secondary(lab):
    pair = lab.pair(net="timeout 20; ping-timeout 10;").up_to_date()
    stamper = Stamper(pair.alpha, 1)
    for _ in range(5 if lab.long else 2):
        stamper.run(300)
        pair.beta.kill()
        stamper.run(300)
        pair.beta.start()
        stamper.run(300)
        pair.wait_in_sync()
    stamper.drain()
    stamper.verify(pair.alpha)
    stamper.client.close()
    finish_equal(pair, pair.alpha)


@scenario("kill -9 of the Primary under load: the other has every acknowledged write", seconds=240)
def kill_primary(lab):
    pair = lab.pair(net="timeout 20; ping-timeout 10;").up_to_date()
    here, there = pair.alpha, pair.beta
    stamper = Stamper(here, 2)
    for turn in range(10 if lab.long else 4):
        stamper.run(100 + 57 * turn)
        here.kill()
        stamper.run_until_gone()
        wait_until(lambda n=there: n.connection()["connection-state"] != "Connected", 30,
                   "the survivor to notice")
        there.adm("primary", RESOURCE)
        stamper.verify(there)
        stamper.move(there)
        here.start()
        pair.wait_in_sync()
        here, there = there, here
    stamper.client.close()
    finish_equal(pair, here)


@scenario("kill -9 of the Primary, and it comes back as the Primary again")
def kill_primary_and_return(lab):
    pair = lab.pair(net="timeout 20; ping-timeout 10;").up_to_date()
    stamper = Stamper(pair.alpha, 3)
    for _ in range(3):
        stamper.run(200)
        pair.alpha.kill()
        stamper.run_until_gone()
        pair.alpha.start()
        pair.wait_in_sync()
        pair.alpha.adm("primary", RESOURCE)
        stamper.verify(pair.alpha)
        stamper.move(pair.alpha)
    stamper.client.close()
    finish_equal(pair, pair.alpha)


@scenario("kill -9 of both under load: every acknowledged write is there, replicas equal")
def kill_both(lab):
    pair = lab.pair(net="timeout 20; ping-timeout 10;").up_to_date()
    stamper = Stamper(pair.alpha, 4)
    for turn in range(10 if lab.long else 3):
        stamper.run(150 + 31 * turn)
        first, second = (pair.alpha, pair.beta) if turn % 2 else (pair.beta, pair.alpha)
        first.kill()
        second.kill()
        stamper.run_until_gone()
        for node in pair.nodes:
            node.start()
        pair.wait_in_sync()
        pair.alpha.adm("primary", RESOURCE)
        stamper.verify(pair.alpha)
        stamper.move(pair.alpha)
    stamper.client.close()
    finish_equal(pair, pair.alpha)


@scenario("the link is cut at random moments under load; replicas equal afterwards", seconds=300)
def link_cuts(lab):
    relay = Relay()
    pair = lab.pair(net="timeout 20; ping-timeout 10;", relay=relay).up_to_date()
    stamper = Stamper(pair.alpha, 7)
    for _ in range(40 if lab.long else 8):
        stamper.run(stamper.random.randrange(1, 400))
        relay.cut()
        stamper.run(50)
        pair.wait_connected()
    stamper.drain()
    stamper.verify(pair.alpha)
    stamper.client.close()
    finish_equal(pair, pair.alpha)


@scenario("split brain is refused: both stay apart and say so (P8)")
def split_brain(lab):
    relay = Relay()
    pair = lab.pair(net="timeout 20; ping-timeout 10;", relay=relay).up_to_date()
    relay.refusing = True
    relay.cut()
    for node in pair.nodes:
        wait_until(lambda n=node: n.connection()["connection-state"] != "Connected", 30,
                   "both to notice")
    client = nbd(pair.alpha)
    check(client.write(0, b"a" * BLOCK) == 0, "alpha alone")
    client.close()
    pair.beta.adm("primary", "--force", RESOURCE)
    client = nbd(pair.beta)
    check(client.write(0, b"b" * BLOCK) == 0, "beta alone")
    client.close()
    relay.refusing = False
    for node in pair.nodes:
        wait_until(lambda n=node: n.connection()["connection-state"] == "StandAlone", 30,
                   lambda n=node: f"{n.name} StandAlone: {n.status()}")
    logs = "".join(node.log() for node in pair.nodes).lower()
    check("split" in logs or "both" in logs, f"the log does not name it: {logs[-2000:]}")
    check(nbd(pair.alpha).read(0, BLOCK) == b"a" * BLOCK, "alpha keeps its own")
    check(nbd(pair.beta).read(0, BLOCK) == b"b" * BLOCK, "beta keeps its own")


@scenario("SIGTERM: unused, the role is given back; in use, the end comes all the same")
def sigterm(lab):
    pair = lab.pair(size=32 * MIB).up_to_date()
    pair.alpha.stop()
    wait_until(lambda: pair.beta.connection()["peer-role"] != "Primary", 20, "the peer to notice")
    pair.alpha.start()
    pair.wait_in_sync()
    check(pair.alpha.role() == "Secondary", "a process starts as a Secondary")
    pair.alpha.adm("primary", RESOURCE)
    stamper = Stamper(pair.alpha, 3)
    stamper.run(100)
    pair.alpha.stop()
    stamper.run_until_gone()
    check("in use" in pair.alpha.log(), f"the log does not say so: {pair.alpha.log()}")
    pair.alpha.start()
    pair.wait_in_sync()
    pair.alpha.adm("primary", RESOURCE)
    stamper.verify(pair.alpha)
    finish_equal(pair, pair.alpha)
