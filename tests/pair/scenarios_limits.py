# SPDX-License-Identifier: GPL-2.0-or-later
"""Bounded memory, no wake-ups while idle, nothing leaked."""
import os
import shutil
import subprocess
import time

from nbd_client import NbdClient
from nodes import RESOURCE, Skip, check, wait_until
from relay import Relay
from run import scenario


def fio(node, *options):
    return subprocess.Popen(["fio", "--name=load", "--ioengine=nbd", f"--uri={node.uri}",
                             "--time_based", "--randrepeat=0", *options],
                            stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)


@scenario("at most 32 MiB resident with a 100 GiB resource under full load, on both nodes")
def memory_under_load(lab):
    if not shutil.which("fio"):
        raise Skip("fio is not installed")
    pair = lab.pair(size=100 << 30).up_to_date()
    seconds = 60 if lab.long else 8
    loads = [fio(pair.alpha, f"--runtime={seconds}", *options) for options in
             (["--rw=randwrite", "--bs=4k", "--iodepth=64", "--size=90g"],
              ["--rw=randrw", "--bs=256k", "--iodepth=32", "--size=90g"],
              ["--rw=randwrite", "--bs=1m", "--iodepth=16", "--size=4g"])]
    for load in loads:
        check(load.wait(seconds + 60) == 0, "fio failed")
    for node in pair.nodes:
        peak = node.proc_status("VmHWM")
        print(f"     {node.name}: peak {peak} KiB resident", flush=True)
        check(peak <= 32 * 1024, f"{node.name} had {peak} KiB resident at its peak")


@scenario("idle: no wake-ups but the ping's")
def idle_wakeups(lab):
    pair = lab.pair(net="ping-int 10;").up_to_date()
    client = NbdClient(f"{pair.alpha.run_dir}/{RESOURCE}.nbd")
    check(client.write(0, b"x" * 4096) == 0, "a write")

    def settled():
        before = [node.proc_status("voluntary_ctxt_switches") for node in pair.nodes]
        time.sleep(2)  # the measurement itself: two seconds without a wake-up, or again
        after = [node.proc_status("voluntary_ctxt_switches") for node in pair.nodes]
        return before == after

    wait_until(settled, 20, "the pair to come to rest")
    before = [node.proc_status("voluntary_ctxt_switches") for node in pair.nodes]
    cpu = [node.cpu_seconds() for node in pair.nodes]
    seconds = 21
    time.sleep(seconds)
    for node, old, busy in zip(pair.nodes, before, cpu):
        woken = node.proc_status("voluntary_ctxt_switches") - old
        print(f"     {node.name}: {woken} wake-ups in {seconds} s", flush=True)
        check(woken <= 6 * (seconds // 10 + 1), f"{node.name} woke up {woken} times")
        check(node.cpu_seconds() - busy <= 0.05, f"{node.name} is busy while idle")
    client.close()


@scenario("reconnects, NBD clients and control clients leave no descriptor behind")
def descriptors(lab):
    relay = Relay()
    pair = lab.pair(net="timeout 20; ping-timeout 10;", relay=relay).up_to_date()

    def round_trip():
        connections = relay.connections()
        relay.cut()
        wait_until(lambda: relay.connections() > connections, 20, "a new connection")
        pair.wait_in_sync()
        client = NbdClient(f"{pair.alpha.run_dir}/{RESOURCE}.nbd")
        client.write(0, os.urandom(4096))
        client.close()
        pair.alpha.wait_no_clients()

    round_trip()
    before = [node.fds() for node in pair.nodes]
    memory = [node.proc_status("VmRSS") for node in pair.nodes]
    for _ in range(100 if lab.long else 10):
        round_trip()
    for node, old, resident in zip(pair.nodes, before, memory):
        wait_until(lambda n=node, o=old: n.fds() <= o, 10,
                   lambda n=node, o=old: f"{n.name}: {n.fds()} descriptors, before {o}")
        check(node.proc_status("VmRSS") < resident + 1024, f"{node.name} grew")


@scenario("100 role changes back and forth, with a write in each; replicas equal", long=True)
def role_changes(lab):
    pair = lab.pair().up_to_date()
    pair.alpha.adm("secondary", RESOURCE)
    size = pair.alpha.status()["devices"][0]["size"] * 1024
    for number in range(100):
        node = pair.nodes[number % 2]
        node.adm("primary", RESOURCE)
        client = NbdClient(f"{node.run_dir}/{RESOURCE}.nbd")
        if number:
            check(client.read((number - 1) * 4096, 4096) == bytes([number - 1]) * 4096,
                  f"the write of turn {number - 1} is not there")
        check(client.write(number * 4096, bytes([number]) * 4096) == 0, "a write")
        client.close()
        node.wait_no_clients()
        node.adm("secondary", RESOURCE)
    pair.compare(size)
