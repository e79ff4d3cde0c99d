# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios: what crosses the link, and who gets in (P10, P11)."""

import os
import struct

from lab import Failure, scenario
from scenarios_disk import disk_size, expect_same
from scenarios_harness import expect_clean

STAMP = b"TAPDSTMP"
TLS_HANDSHAKE, TLS_SERVER_HELLO = 22, 2
TLS_1_3 = 0x0304


def pcap_packets(path):
    """The frames of a pcap file as QEMU writes it."""
    with open(path, "rb") as stream:
        data = stream.read()
    at = 24
    while at + 16 <= len(data):
        size = struct.unpack_from("<I", data, at + 8)[0]
        yield data[at + 16:at + 16 + size]
        at += 16 + size


def tcp_payloads(path, port):
    """((source port, destination port), payload) of the IPv4 TCP segments."""
    for frame in pcap_packets(path):
        if frame[12:14] != b"\x08\x00" or frame[23] != 6:
            continue
        ip_size = (frame[14] & 15) * 4
        total = struct.unpack_from(">H", frame, 16)[0]
        tcp = 14 + ip_size
        ports = struct.unpack_from(">HH", frame, tcp)
        head = (frame[tcp + 12] >> 4) * 4
        payload = frame[tcp + head:14 + total]
        if port in ports and payload:
            yield ports, payload


def server_hello_version(payload):
    """The negotiated version when a segment begins with a ServerHello."""
    if len(payload) < 80 or payload[0] != TLS_HANDSHAKE or \
            payload[5] != TLS_SERVER_HELLO:
        return None
    at = 9 + 2 + 32
    at += 1 + payload[at] + 2 + 1  # session id, suite, compression
    end = at + 2 + struct.unpack_from(">H", payload, at)[0]
    at += 2
    while at + 4 <= min(end, len(payload)):
        kind, size = struct.unpack_from(">HH", payload, at)
        if kind == 43:
            return struct.unpack_from(">H", payload, at + 4)[0]
        at += 4 + size
    return struct.unpack_from(">H", payload, 9)[0]


@scenario("wire", product=True, only_ours=True, seconds=180)
def wire(lab):
    """A capture of the link: TLS 1.3 only, and no byte of the guest's."""
    pair = lab.pair()
    path = os.path.join(lab.directory, "link.pcap")
    pair.alpha.capture_start(path)
    # The search must be able to find: the mark is sent once in clear.
    pair.alpha.run(f"ping -c 1 -p {STAMP.hex()} beta")
    resource = lab.resource(pair)
    resource.create()
    guest = lab.guest("vm1", [resource.disk_line()])
    guest.start(pair.alpha)
    guest.stamp(blocks=4096, depth=8, max=8, count=300).wait(90)
    expect_same(lab, resource, disk_size(guest))
    pair.alpha.capture_stop()

    with open(path, "rb") as stream:
        lab.check(STAMP in stream.read(), "the capture misses the mark sent "
                                          "in clear: it proves nothing")
    total, versions = 0, []
    for _, payload in tcp_payloads(path, resource.port):
        total += len(payload)
        lab.check(STAMP not in payload, "guest data crossed the link in clear")
        version = server_hello_version(payload)
        if version is not None:
            versions.append(version)
    lab.check(total > 300 * 4096, f"only {total} bytes were captured")
    lab.check(versions and set(versions) == {TLS_1_3},
              f"versions negotiated: {[hex(v) for v in versions]}")
    lab.say(f"{total} bytes captured, {len(versions)} handshakes, all TLS 1.3")


def settle_refused(lab, resource, host, text):
    """The pair must not be connected, for as long as several attempts take."""
    job = host.run(f"timeout 12 tapdrbdadm wait-connect {resource.name}",
                   check=False, timeout=30)
    lab.check(job.code != 0, f"{text}: the pair connected all the same")


@scenario("wrong-key", product=True, only_ours=True, long=True, seconds=180)
def wrong_key(lab):
    """A peer with another key stays out, and the log says why."""
    pair = lab.pair()
    alpha, beta = pair.hosts
    resource = lab.resource(pair)
    resource.create()
    resource.adm(beta, "down")
    resource.write_key(beta, "ab" * 32)
    resource.up(beta)
    settle_refused(lab, resource, alpha, "a wrong key")
    resource.adm(beta, "down")
    resource.write_key(beta, resource.key)
    resource.up(beta)
    resource.wait_healthy(60)


INTRUDERS = (
    ("plain text", "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -N -w 3 {to}"),
    ("random bytes", "head -c 100000 /dev/urandom | nc -N -w 3 {to}"),
    ("silence", "nc -d -w 3 {to}"),
    ("TLS 1.2", "openssl s_client -tls1_2 -connect {where} </dev/null"),
    ("TLS 1.3 without a key",
     "openssl s_client -tls1_3 -connect {where} </dev/null"),
    ("TLS 1.3 with a wrong key",
     "openssl s_client -tls1_3 -psk_identity vm1 -psk abcdabcdabcdabcd "
     "-connect {where} </dev/null"),
)


@scenario("intruders", product=True, only_ours=True, long=True, seconds=240)
def intruders(lab):
    """Strangers at the port are refused; the good pair is undisturbed."""
    pair = lab.pair()
    alpha, beta = pair.hosts
    resource = lab.resource(pair)
    resource.create()
    guest = lab.guest("vm1", [resource.disk_line()])
    guest.start(alpha)
    load = guest.stamp(blocks=4096, depth=4)
    guest.wait_writes(50, 60)
    for name, command in INTRUDERS:
        for host, target in ((alpha, beta), (beta, alpha)):
            to = f"{target.address} {resource.port}"
            where = f"{target.address}:{resource.port}"
            host.run("timeout 8 bash -c " +
                     repr(command.format(to=to, where=where)),
                     check=False, timeout=30)
        guest.wait_writes(20, 30)
        for host in pair.hosts:
            if resource.facts(host)[2] != "Connected":
                raise Failure(f"{name} disturbed the pair")
        lab.say(f"{name}: no harm")
    guest.stop_stamping(load)
    expect_clean(lab, guest.journal, guest.verify(blocks=4096))
    expect_same(lab, resource, disk_size(guest))
