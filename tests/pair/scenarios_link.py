# SPDX-License-Identifier: GPL-2.0-or-later
"""The link: what crosses it, and what is refused there (P10, P11)."""
import os
import socket
import ssl

from nbd_client import NbdClient
from nodes import MIB, RESOURCE, check, wait_until
from relay import Relay, hello_version, tls_records
from run import scenario


def nbd(node):
    return NbdClient(f"{node.run_dir}/{RESOURCE}.nbd")


def good_pair_goes_on(pair, client, stamp):
    """A write is completed, by a pair that is still the same Connected pair."""
    check(pair.alpha.connection()["connection-state"] == "Connected", "the pair is not Connected")
    check(client.write(stamp * 4096, bytes([stamp]) * 4096, seconds=10) == 0,
          "a write was not completed")
    check(client.read(stamp * 4096, 4096) == bytes([stamp]) * 4096, "the write reads differently")


@scenario("a capture of the link: TLS 1.3 only, and no byte of the guest's (P10)")
def capture_has_no_plaintext(lab):
    relay = Relay()
    pair = lab.pair(relay=relay).up_to_date()
    pattern = os.urandom(64)
    client = nbd(pair.alpha)
    for number in range(64):
        check(client.write(number * 65536, pattern * 1024) == 0, "a write")
    check(client.flush() == 0, "a flush")
    client.close()
    captured = relay.all_bytes()
    check(len(captured) > 4 * MIB, f"only {len(captured)} bytes crossed the relay")
    for start in range(0, 64, 8):
        check(pattern[start:start + 8] not in captured, "the guest's bytes cross in clear")
    for to_beta, to_alpha in relay.streams:
        if to_beta and to_alpha:
            kinds = {kind for kind, _, _ in tls_records(to_beta)}
            check(23 in kinds, f"records seen: {kinds}")
            list(tls_records(to_alpha))
            check(hello_version(to_alpha) == 0x0304, f"TLS {hello_version(to_alpha):#x}")
            return
    check(False, "no connection was captured")


@scenario("a link over IPv6, and a stranger on it that says nothing")
def ipv6(lab):
    pair = lab.pair()
    for node in pair.nodes:
        node.address = "[::1]"
    for node in pair.nodes:
        pair.configure(node)
    pair.up_to_date()
    client = nbd(pair.alpha)
    with socket.create_connection(("::1", pair.beta.port)):
        good_pair_goes_on(pair, client, 1)
    address = pair.alpha.status()["tapdrbd"]["link"]["address"]
    check(address == f"[::1]:{pair.beta.port}", f"the peer's address: {address}")
    family = pair.alpha.connection()["paths"][0]["this_host"]["family"]
    check(family == "ipv6", f"family: {family}")
    client.close()


def intrude(lab, pair, word, resource=RESOURCE, key=None):
    """Another alpha, with something wrong about it, calls the good pair's beta."""
    other = lab.pair(size=pair.size).alpha
    os.unlink(f"{other.config_dir}/{RESOURCE}.res")
    other.write_config(other.port, pair.beta.port, resource=resource, key=key or pair.key)
    other.adm("create-md", resource)
    client = nbd(pair.alpha)
    good_pair_goes_on(pair, client, 1)
    before = pair.beta.log_size()
    other.start(resource=resource)
    wait_until(lambda: word in pair.beta.log(before), 20,
               lambda: f"'{word}' in beta's log: {pair.beta.log(before)}; "
                       f"the other's: {other.log()}")
    good_pair_goes_on(pair, client, 2)
    client.close()


@scenario("a wrong key: refused, logged, the good pair undisturbed")
def wrong_key(lab):
    pair = lab.pair().up_to_date()
    intrude(lab, pair, "key", key=os.urandom(32).hex())


@scenario("a wrong resource name: refused, logged, the good pair undisturbed")
def wrong_resource(lab):
    pair = lab.pair().up_to_date()
    intrude(lab, pair, "vm2", resource="vm2")


@scenario("a peer of another size: refused in words that name both sizes")
def other_size(lab):
    pair = lab.pair()
    pair.beta.make_disk(pair.size * 2)
    pair.create()
    for node in pair.nodes:
        node.start()
    for node in pair.nodes:
        wait_until(lambda n=node: n.log().count("bytes of data") or n.log().count("refused"), 20,
                   lambda n=node: f"the sizes in {n.log()}")
    sizes = [node.status()["devices"][0]["size"] * 1024 for node in pair.nodes]
    log = pair.alpha.log() + pair.beta.log()
    check(all(str(size) in log for size in sizes), f"{sizes} are not in {log}")
    check(pair.alpha.connection()["connection-state"] != "Connected", "sizes differ, yet Connected")


@scenario("plain TCP, garbage and an old TLS on the link's port: refused, logged, nothing else")
def plain_tcp(lab):
    pair = lab.pair().up_to_date()
    client = nbd(pair.alpha)
    before = {node: node.log_size() for node in pair.nodes}
    for node in pair.nodes:
        for greeting in (b"GET / HTTP/1.0\r\n\r\n", os.urandom(4096), b"\x16\x03\x01\xff\xff"):
            with socket.create_connection(("127.0.0.1", node.port), 5) as stranger:
                stranger.settimeout(30)
                try:
                    stranger.sendall(greeting)
                    while stranger.recv(4096):
                        pass
                except ConnectionError:
                    pass
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with socket.create_connection(("127.0.0.1", node.port), 5) as stranger:
            try:
                old.wrap_socket(stranger)
                check(False, "TLS 1.2 was taken")
            except (ssl.SSLError, ConnectionError, TimeoutError):
                pass
        wait_until(lambda n=node: "127.0.0.1" in n.log(before[n]), 20,
                   lambda n=node: f"the stranger's address in {n.log(before[n])}")
        good_pair_goes_on(pair, client, 1 + node.port % 100)
    client.close()


@scenario("strangers that connect and say nothing: bounded, and the pair can still reconnect")
def silent_strangers(lab):
    relay = Relay()
    pair = lab.pair(relay=relay).up_to_date()
    strangers = [socket.create_connection(("127.0.0.1", pair.beta.port), 5) for _ in range(100)]
    check(pair.beta.fds() < 80, f"{pair.beta.fds()} descriptors with 100 strangers")
    relay.cut()
    wait_until(lambda: relay.connections() > 1, 30, "a new connection")
    pair.wait_connected()
    for stranger in strangers:
        stranger.close()


def disturbed(lab, disturb):
    """A record is spoilt on its way; the pair notices, reconnects and ends equal."""
    relay = Relay()
    pair = lab.pair(relay=relay).up_to_date()
    size = pair.data_bytes()
    before = {node: node.log_size() for node in pair.nodes}
    client = nbd(pair.alpha)
    connections = relay.connections()
    disturb(relay)
    for number in range(200):
        check(client.write(number * 8192, number.to_bytes(2, "big") * 4096, seconds=60) == 0,
              f"write {number}")
    check(relay.altered == 1, "nothing was disturbed")
    wait_until(lambda: relay.connections() > connections, 30, "a new connection")
    pair.wait_in_sync()
    check(any(node.log(before[node]) for node in pair.nodes), "nobody said a word in the log")
    for number in range(200):
        check(client.read(number * 8192, 8192) == number.to_bytes(2, "big") * 4096,
              f"block {number} reads differently")
    client.close()
    pair.alpha.wait_no_clients()
    pair.alpha.adm("secondary", RESOURCE)
    pair.compare(size)


@scenario("an altered record: the link is dropped, logged, made anew; replicas equal")
def altered_record(lab):
    def alter(relay):
        relay.alter_after = 100000
    disturbed(lab, alter)


@scenario("a truncated record: the link is dropped, logged, made anew; replicas equal")
def truncated_record(lab):
    def truncate(relay):
        relay.truncate_after = 100000
    disturbed(lab, truncate)


@scenario("garbage on the control socket closes its sender and nothing else")
def control_garbage(lab):
    pair = lab.pair().up_to_date()
    path = f"{pair.alpha.run_dir}/{RESOURCE}.ctl"
    for line in (b"\n", b"{}\n", b"[1]\n", b'{"command": 5}\n', b'{"command": "nonsense"}\n',
                 os.urandom(200).replace(b"\n", b"x") + b"\n", b'{"command":"' + b"a" * 70000):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(path)
            try:
                client.sendall(line)
                answer = client.recv(4096)
            except ConnectionError:
                answer = b""
            check(answer == b"" or b'"ok": false' in answer or b'"ok":false' in answer,
                  f"{line[:40]!r} was answered {answer!r}")
    idle = []
    for _ in range(64):
        client = socket.socket(socket.AF_UNIX)
        client.connect(path)
        idle.append(client)
    check(pair.alpha.fds() < 80, f"{pair.alpha.fds()} descriptors with 64 control clients")
    for client in idle:
        client.close()
    check(pair.alpha.role() == "Primary", "status still answers")
