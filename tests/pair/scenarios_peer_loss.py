# SPDX-License-Identifier: GPL-2.0-or-later
"""The peer is lost, or the two have parted: fencing, freezing, split brain, invalidate, outdate."""
import os

from nbd_client import WRITE, NbdClient
from nodes import MIB, RESOURCE, check, wait_until
from run import scenario

BLOCK = 4096


def with_handlers(net="", options="", **scripts):
    """What stands in net { }, and behind it the sections options { } and handlers { }."""
    lines = " ".join(f'{name.replace("_", "-")} "{script}";' for name, script in scripts.items())
    return f"{net} }} options {{ {options} }} handlers {{ {lines}"


def nbd(node):
    return NbdClient(f"{node.run_dir}/{RESOURCE}.nbd")


def peer_loss(node):
    return node.status()["tapdrbd"]["peer-loss"]


def suspended(node):
    """Why I/O stands still, by DRBD's members of the status."""
    return [name for name, value in node.status().items()
            if name.startswith("suspended-") and value]


def text_status(node):
    return node.adm("status", "--color=never", RESOURCE).stdout


def ran(path):
    """The lines that a handler's script has left there."""
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return file.read().split("\n")


@scenario("resource-and-stonith: I/O is frozen until fence-peer has answered")
def fence_peer_freeze(lab):
    go, told = f"{lab.directory}/go", f"{lab.directory}/told"
    script = f"env > {told}; while ! test -e {go}; do sleep 0.05; done; exit 7"
    pair = lab.pair(net=with_handlers("fencing resource-and-stonith;", fence_peer=script))
    pair.up_to_date()
    client = nbd(pair.alpha)
    check(client.write(0, b"a" * BLOCK) == 0, "the first write failed")
    pair.beta.kill()
    wait_until(lambda: peer_loss(pair.alpha)["frozen"], 20, "alpha to be frozen")
    client.send(WRITE, BLOCK, data=b"b" * BLOCK)
    check(not client.answered(1), "a write was answered while frozen")
    check("frozen" in text_status(pair.alpha), "status does not say frozen")
    check(suspended(pair.alpha) == ["suspended-fencing"], f"{suspended(pair.alpha)}")
    environment = wait_until(lambda: ran(told), 10, "the handler to run")
    for line in (f"DRBD_RESOURCE={RESOURCE}", "DRBD_PEER=beta", "DRBD_PEERS=beta",
                 "UP_TO_DATE_NODES=0x00000001"):
        check(line in environment, f"the handler was not told {line}: {environment}")
    with open(go, "w", encoding="ascii"):
        pass
    check(client.reply(seconds=20)[1] == 0, "the frozen write failed")
    check(not peer_loss(pair.alpha)["frozen"] and peer_loss(pair.alpha)["alone"], "not alone")
    check("peer is outdated" in pair.alpha.adm("show-gi", RESOURCE).stdout, "no mark for the peer")
    client.close()
    os.unlink(go)
    os.unlink(told)
    pair.beta.start()
    pair.wait_in_sync()
    pair.compare(pair.data_bytes())


@scenario("fence-peer's answer counts, also when SIGCHLD was ignored by whoever started us")
def fence_peer_sigchld(lab):
    pair = lab.pair(net=with_handlers("fencing resource-and-stonith;", fence_peer="exit 7"))
    pair.alpha.prefix = ("env", "--ignore-signal=CHLD")
    pair.up_to_date()
    client = nbd(pair.alpha)
    pair.beta.kill()
    check(client.write(0, b"d" * BLOCK) == 0, "the write failed after the peer was fenced")
    check("ended with status 7" in pair.alpha.log(), "the script's exit status was lost")
    client.close()


@scenario("on-peer-loss freeze: until the peer is back, or resume-io")
def on_peer_loss_freeze(lab):
    pair = lab.pair(net=with_handlers(options="on-peer-loss freeze;"))
    pair.up_to_date()
    client = nbd(pair.alpha)
    pair.beta.kill()
    client.send(WRITE, 0, data=b"c" * BLOCK)
    wait_until(lambda: peer_loss(pair.alpha)["frozen"], 20, "alpha to be frozen")
    check(not client.answered(1), "a write was answered while frozen")
    check(suspended(pair.alpha) == ["suspended-user"], f"{suspended(pair.alpha)}")
    pair.beta.start()
    check(client.reply(seconds=30)[1] == 0, "the frozen write failed when the peer was back")
    pair.wait_in_sync()
    pair.beta.kill()
    client.send(WRITE, BLOCK, data=b"d" * BLOCK)
    wait_until(lambda: peer_loss(pair.alpha)["frozen"], 20, "alpha to be frozen again")
    pair.alpha.adm("resume-io", RESOURCE)
    check(client.reply(seconds=20)[1] == 0, "the write failed after resume-io")
    check(peer_loss(pair.alpha)["blocks-at-risk"] > 0, "no block is at risk")
    client.close()
    pair.beta.start()
    pair.wait_in_sync()
    pair.compare(pair.data_bytes())


@scenario("invalidate, invalidate-remote and outdate")
def invalidate_and_outdate(lab):
    pair = lab.pair(size=8 * MIB).up_to_date()
    client = nbd(pair.alpha)
    check(client.write(0, b"e" * BLOCK) == 0, "a write failed")
    check(pair.alpha.adm("invalidate", RESOURCE, expect=None).returncode == 11, "Primary")
    check(pair.beta.adm("outdate", RESOURCE, expect=None).returncode == 11, "connected")
    pair.beta.adm("invalidate", RESOURCE)
    pair.wait_in_sync()
    pair.alpha.adm("invalidate-remote", RESOURCE)
    pair.wait_in_sync()
    pair.beta.adm("disconnect", RESOURCE)
    pair.beta.adm("outdate", RESOURCE)
    check(pair.beta.disk_state() == "Outdated", "beta is not Outdated")
    check(pair.beta.adm("primary", RESOURCE, expect=None).returncode == 17, "Outdated and Primary")
    for node in pair.nodes:
        node.adm("connect", RESOURCE)
    pair.wait_in_sync()
    client.close()
    pair.compare(pair.data_bytes())


def part(pair):
    """Both go on alone: alpha writes one block, beta two."""
    for node in pair.nodes:
        node.adm("disconnect", "--force", RESOURCE)
    for node, blocks in ((pair.alpha, 1), (pair.beta, 2)):
        node.adm("primary", RESOURCE)
        client = nbd(node)
        for block in range(blocks):
            check(client.write(block * BLOCK, node.name[:1].encode() * BLOCK) == 0, "a write")
        check(client.flush() == 0, "a flush")
        client.close()
        node.wait_no_clients()
    return pair


def meet(pair, secondary):
    for node in secondary:
        node.adm("secondary", RESOURCE)
    for node in pair.nodes:
        node.adm("connect", RESOURCE)


def settled(pair, winner):
    pair.wait_in_sync()
    pair.compare(pair.data_bytes())
    client = nbd(pair.alpha) if pair.alpha.role() == "Primary" else None
    if client is None:
        pair.alpha.adm("primary", RESOURCE)
        client = nbd(pair.alpha)
    check(client.read(0, BLOCK) == winner * BLOCK, f"the data are not those of {winner}")
    client.close()


@scenario("split brain: StandAlone, the handler, then connect --discard-my-data")
def split_brain_by_hand(lab):
    told = f"{lab.directory}/split"
    pair = part(lab.pair(net=with_handlers(split_brain=f"echo $DRBD_RESOURCE >> {told}"))
                .up_to_date())
    meet(pair, pair.nodes)
    wait_until(lambda: RESOURCE in ran(told), 30, "the split-brain handler")
    for node in pair.nodes:
        wait_until(lambda n=node: n.connection()["connection-state"] == "StandAlone", 30,
                   f"{node.name} StandAlone")
    pair.alpha.adm("connect", "--discard-my-data", RESOURCE)
    pair.beta.adm("connect", RESOURCE)
    settled(pair, b"b")
    os.unlink(told)


@scenario("split brain: after-sb-0pri discard-least-changes")
def split_brain_least_changes(lab):
    pair = part(lab.pair(net="after-sb-0pri discard-least-changes;").up_to_date())
    meet(pair, pair.nodes)
    settled(pair, b"b")


@scenario("split brain: after-sb-0pri discard-younger-primary")
def split_brain_younger(lab):
    pair = part(lab.pair(net="after-sb-0pri discard-younger-primary;").up_to_date())
    meet(pair, pair.nodes)
    settled(pair, b"a")


@scenario("split brain: after-sb-1pri discard-secondary")
def split_brain_secondary(lab):
    pair = part(lab.pair(net="after-sb-1pri discard-secondary;").up_to_date())
    meet(pair, [pair.beta])
    settled(pair, b"a")


def boot_commands():
    """What tapdrbd.service types before the guests start."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    with open(f"{root}/xen-hotplug/tapdrbd.service.in", encoding="ascii") as file:
        lines = [line.strip() for line in file if line.startswith("ExecStart=")]
    return [line.split("tapdrbdadm ")[1].split() for line in lines]


@scenario("a host that comes back does not start a guest that has gone on with its peer")
def boot_after_failover(lab):
    pair = lab.pair()
    for node in pair.nodes:
        path = f"{node.config_dir}/{RESOURCE}.res"
        with open(path, encoding="ascii") as file:
            text = file.read()
        with open(path, "w", encoding="ascii") as file:
            file.write(text.replace("connect-int 1;", "connect-int 8;"))
    pair.up_to_date()
    pair.alpha.adm("secondary", RESOURCE)
    pair.beta.adm("primary", RESOURCE)
    pair.beta.kill()
    wait_until(lambda: "refuses" in pair.alpha.connection().get("reason", ""), 20,
               "alpha to have called, and to pause before the next call")
    pair.alpha.adm("primary", RESOURCE)
    pair.beta.start()
    for words in boot_commands():
        pair.beta.adm(*words)
    refused = pair.beta.adm("primary", RESOURCE, expect=None)
    # Or beta still gets what it has missed.
    check((refused.returncode == 11 and "alpha is Primary" in refused.stderr) or
          (refused.returncode == 17 and "start the guest on alpha" in refused.stderr),
          f"exit {refused.returncode}: {refused.stderr}")
    pair.wait_in_sync()
