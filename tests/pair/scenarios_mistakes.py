# SPDX-License-Identifier: GPL-2.0-or-later
"""A new user's mistakes: each answer says what, where, and what to do."""
import os
import shutil
import signal
import subprocess
import time

from nbd_client import NbdClient
from nodes import MIB, RESOURCE, Skip, check, run, wait_until
from run import scenario


def refuses(node, *arguments, words):
    """The command fails, and its text holds all the words."""
    done = node.adm(*arguments, expect=None)
    text = (done.stderr + done.stdout).strip()
    check(done.returncode != 0, f"{' '.join(arguments)} succeeded: {text}")
    for word in words:
        check(word in text, f"{' '.join(arguments)} says '{text}', without '{word}'")
    return text


@scenario("a wrong host name in the file")
def wrong_host_name(lab):
    pair = lab.pair()
    node = pair.alpha
    node.name = "gamma"
    refuses(node, "create-md", RESOURCE, words=["gamma", "alpha", "beta"])
    for arguments in (("up", "all"), ("status",)):
        text = node.adm(*arguments).stderr
        check("gamma" in text and "`on`" in text, f"{' '.join(arguments)} says '{text}'")


@scenario("an unknown resource")
def unknown_resource(lab):
    refuses(lab.pair().alpha, "up", "vm9", words=["vm9", "vm1"])


@scenario("a spelling mistake and an option of DRBD that is not here, by file and line")
def bad_config(lab):
    node = lab.pair().alpha
    path = f"{node.config_dir}/{RESOURCE}.res"
    with open(path, encoding="ascii") as file:
        text = file.read()
    with open(path, "w", encoding="ascii") as file:
        file.write(text.replace("connect-int", "conect-int"))
    refuses(node, "up", RESOURCE, words=[f"{RESOURCE}.res:3", "conect-int"])
    with open(path, "w", encoding="ascii") as file:
        file.write(text.replace("connect-int 1", "allow-two-primaries yes"))
    refuses(node, "up", RESOURCE, words=[f"{RESOURCE}.res:3", "allow-two-primaries"])


@scenario("a missing key, and a key that others may read")
def key_file(lab):
    pair = lab.pair()
    node = pair.alpha
    node.adm("create-md", RESOURCE)
    os.unlink(f"{node.config_dir}/{RESOURCE}.key")
    refuses(node, "up", RESOURCE, words=[f"{RESOURCE}.key"])
    node.write_key(pair.key, mode=0o644)
    refuses(node, "up", RESOURCE, words=[f"{RESOURCE}.key", "600"])
    node.write_key("too short")
    refuses(node, "up", RESOURCE, words=[f"{RESOURCE}.key", "64"])


@scenario("a disk without metadata, too small, missing, or with a file system on it")
def disks(lab):
    node = lab.pair().alpha
    refuses(node, "up", RESOURCE, words=[node.disk, "create-md"])
    node.make_disk(64 * 1024)
    refuses(node, "create-md", RESOURCE, words=[node.disk, "small"])
    os.unlink(node.disk)
    refuses(node, "create-md", RESOURCE, words=[node.disk])
    if not shutil.which("mke2fs"):
        raise Skip("mke2fs is not installed")
    node.make_disk(64 * MIB)
    run(["mke2fs", "-q", "-F", "-t", "ext4", node.disk])
    refuses(node, "create-md", RESOURCE, words=[node.disk, "ext", "--force"])
    node.adm("create-md", "--force", RESOURCE)
    refuses(node, "create-md", RESOURCE, words=[node.disk, "--force"])


@scenario("up twice; a second process on the same disk")
def up_twice(lab):
    pair = lab.pair().create()
    pair.alpha.start()
    text = pair.alpha.adm("up", RESOURCE).stdout
    check("already" in text, f"up twice says '{text}'")
    other = lab.pair().alpha
    os.unlink(f"{other.config_dir}/{RESOURCE}.res")
    os.unlink(other.disk)
    os.link(pair.alpha.disk, other.disk)
    other.write_config(other.port, pair.beta.port, key=pair.key)
    refuses(other, "up", RESOURCE, words=[other.disk, "in use"])
    check(not pair.alpha.ended(), "the first one runs on")


@scenario("a command to a resource that is not up")
def not_up(lab):
    node = lab.pair().alpha
    for verb in ("primary", "secondary", "connect", "disconnect"):
        refuses(node, verb, RESOURCE, words=[RESOURCE, "up"])


@scenario("down and secondary while a program has the disk open")
def open_disk(lab):
    pair = lab.pair().up_to_date()
    client = NbdClient(f"{pair.alpha.run_dir}/{RESOURCE}.nbd")
    for verb in ("down", "secondary"):
        text = refuses(pair.alpha, verb, RESOURCE, words=["open for writing", "end the program"])
        check(text.count(f"{RESOURCE} is open") == 1 and f"{RESOURCE}: " not in text, text)
    client.close()


@scenario("primary on both; primary while Inconsistent")
def two_primaries(lab):
    pair = lab.pair().create().start()
    refuses(pair.alpha, "primary", RESOURCE, words=["UpToDate"])
    pair.alpha.adm("new-current-uuid", "--clear-bitmap", RESOURCE)
    for node in pair.nodes:
        node.wait_disk("UpToDate")
    pair.alpha.adm("primary", RESOURCE)
    refuses(pair.beta, "primary", RESOURCE, words=["Primary"])
    refuses(pair.beta, "primary", "--force", RESOURCE, words=["Primary"])


@scenario("a peer that cannot be reached: status and wait-connect say so")
def peer_unreachable(lab):
    pair = lab.pair().create()
    pair.alpha.start()
    wait_until(lambda: pair.alpha.log(), 20, "a word in the log")
    check(pair.alpha.connection()["connection-state"] == "Connecting", "status says Connecting")
    refuses(pair.alpha, "wait-connect", "--timeout", "1", RESOURCE, words=[RESOURCE])
    begin = time.monotonic()
    refuses(pair.alpha, "wait-sync", "--timeout", "2", *[RESOURCE] * 4, words=["after 2 s"])
    check(time.monotonic() - begin < 6, "the time is for all resources together")
    other = lab.pair().create()
    other.beta.start()  # the one that is called knows no error, and says what it waits for
    reason = other.beta.connection().get("reason", "")
    check("waits for alpha" in reason and str(other.beta.port) in reason, f"beta says '{reason}'")
    check(str(pair.beta.port) in pair.alpha.log() or "127.0.0.1" in pair.alpha.log(),
          f"the log does not name the peer's address: {pair.alpha.log()}")


@scenario("the disk is full under file-backed storage: an error, not a hang, and words")
def disk_full(lab):
    if os.geteuid() != 0:
        raise Skip("needs root, for a small file system")
    pair = lab.pair(size=48 * MIB)
    node = pair.alpha
    mount = f"{node.directory}/small"
    os.mkdir(mount)
    image = f"{node.directory}/small.img"
    with open(image, "wb") as file:
        file.truncate(24 * MIB)
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", image])
    run(["mount", "-o", "loop", image, mount])
    try:
        node.disk = f"{mount}/disk"
        node.make_disk(48 * MIB)
        pair.configure(node)
        pair.up_to_date()
        client = NbdClient(f"{node.run_dir}/{RESOURCE}.nbd")
        for number in range(40):
            if client.write(number * MIB, os.urandom(MIB), seconds=60) != 0:
                break
        log = node.log()
        check("full" in log or "space" in log, f"the log does not name it: {log[-1500:]}")
        check(not node.ended(), "the process lives")
        check(node.status()["name"] == RESOURCE, "status answers")
        client.close()
    finally:
        pair.close()
        run(["umount", mount])


@scenario("a control command that nobody knows, and a verb that does not exist")
def unknown_words(lab):
    pair = lab.pair().create().start()
    answer = pair.alpha.control("frobnicate")
    check(answer["ok"] is False and "frobnicate" in answer["error"], f"answered {answer}")
    refuses(pair.alpha, "frobnicate", RESOURCE, words=["frobnicate"])


@scenario("down of a stopped process: it is said to be stopped, and done when it goes on")
def down_of_stopped(lab):
    pair = lab.pair().up_to_date()
    pair.alpha.signal(signal.SIGSTOP)
    with subprocess.Popen(
            [f"{pair.bin}/tapdrbdadm", *pair.alpha.places(), "down", RESOURCE],
            stderr=subprocess.PIPE, text=True, env=pair.environment) as adm:
        said = adm.stderr.readline()
        check(f"`kill -CONT {pair.alpha.process.pid}`" in said, f"it says {said}")
        pair.alpha.signal(signal.SIGCONT)
        check(adm.wait(60) == 0, f"down failed: {adm.stderr.read()}")
    check(pair.alpha.process.wait(20) == 0, f"alpha's end: {pair.alpha.log()}")


def up_behind_sigterm(lab, node):
    """`up` is typed as soon as the process has its SIGTERM, as tapdisk-drbd(8) says."""
    node.signal(signal.SIGTERM)
    text = node.adm("up", RESOURCE).stdout
    check("already" not in text, f"it says '{text}' of a process that ends")
    check(node.process.wait(20) == 0, f"the first one's end: {node.log()}")
    with open(f"{node.run_dir}/{RESOURCE}.pid", encoding="ascii") as file:
        lab.daemons.append(int(file.read()))
    check(node.role() == "Secondary", "the next process serves")
    node.adm("down", RESOURCE)


@scenario("up behind SIGTERM: the next process starts when the last one has gone")
def up_of_ending(lab):
    pair = lab.pair().up_to_date()
    for _ in range(3):
        up_behind_sigterm(lab, pair.beta)
        pair.beta.start()
        pair.wait_connected()
    pair.beta.signal(signal.SIGSTOP)  # alpha waits for it before it gives the role back
    up_behind_sigterm(lab, pair.alpha)
