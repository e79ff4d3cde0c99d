# SPDX-License-Identifier: GPL-2.0-or-later
"""A replicated resource on a pair of hosts: ours, or the kernel's DRBD.

Both have one face, so that a scenario can run on either: the kernel's column
shows what is compared, and a scenario that passes there is known to be sound.

    resource = lab.resource(pair)
    resource.create()                    # both disks UpToDate, connected
    resource.ready(pair.alpha)           # before `xl create` there
    guest = lab.guest("vm1", [resource.disk_line()])
"""

import json
import re
import secrets
import time

from agent import CommandFailed
from hosts import same_bytes

SYNC_TIMEOUT = 120


class Resource:
    """What both kinds have in common."""

    tool = "?"
    config_path = "?"
    net_defaults = {}

    def __init__(self, pair, name="vm1", port=7789, disk="/dev/test/data",
                 net=None, disk_options=""):
        self.pair = pair
        self.name = name
        self.port = port
        self.disk = disk
        self.disk_options = disk_options  # of the section disk { }
        self.net = dict(self.net_defaults, **(net or {}))

    def config(self):
        net = "".join(f"    {key} {value};\n" for key, value in self.net.items())
        hosts = "".join(
            f"  on {host.name} {{\n{self.host_section()}"
            f"    address {host.address}:{self.port};\n  }}\n"
            for host in self.pair.hosts)
        return (f"resource {self.name} {{\n{self.common_section()}"
                f"  net {{\n{net}  }}\n{hosts}}}\n")

    def common_section(self):
        return (f"  disk {{ {self.disk_options} }}\n"
                f"  disk {self.disk};\n  meta-disk internal;\n")

    def host_section(self):
        return ""

    def write_config(self):
        for host in self.pair.hosts:
            host.push(self.config(), self.config_path.format(name=self.name))

    def adm(self, host, words, **options):
        """`tapdrbdadm WORDS NAME` (or drbdadm)."""
        return host.run(f"{self.tool} {words} {self.name}", **options)

    def both(self, words, **options):
        for host in self.pair.hosts:
            self.adm(host, words, **options)

    def status(self, host):
        """The resource's entry of `status --json`."""
        text = host.run(f"{self.tool} status {self.name} --json").out
        return json.loads(text)[0]

    def facts(self, host):
        """(role, disk state, connection state, peer's disk state)."""
        status = self.status(host)
        link = (status.get("connections") or [{}])[0]
        peer = (link.get("peer_devices") or [{}])[0]
        return (status["role"], status["devices"][0]["disk-state"],
                link.get("connection-state", "StandAlone"),
                peer.get("peer-disk-state", "DUnknown"))

    def wait_facts(self, host, timeout, **wanted):
        """Until role=, disk=, link= and peer= are as given (regex)."""
        names = ("role", "disk", "link", "peer")
        deadline = time.monotonic() + timeout
        while True:
            facts = dict(zip(names, self.facts(host)))
            if all(re.fullmatch(value, facts[key])
                   for key, value in wanted.items()):
                return facts
            if time.monotonic() > deadline:
                raise CommandFailed(f"{host.name}: {wanted} not reached within "
                                    f"{timeout} s, status: {facts}")
            time.sleep(0.3)

    def wait_healthy(self, timeout=SYNC_TIMEOUT):
        for host in self.pair.hosts:
            self.wait_facts(host, timeout, disk="UpToDate", link="Connected",
                            peer="UpToDate")

    def difference(self, size):
        """Where the first size bytes of the two disks differ, or None.

        Only meaningful when nothing writes."""
        for host in self.pair.hosts:
            if host.running:
                host.run("sync")
        return same_bytes(self.pair.alpha.data_path, self.pair.beta.data_path,
                          size)

    def ready(self, host):
        """What a person does before `xl create` on that host."""

    def released(self, host):
        """What a person does after the guest has left that host."""

    def migratable_line(self):
        """The disk line of a guest that moves: xl's script changes the role."""
        return f"drbd:{self.name},xvda,w"


class TapdrbdResource(Resource):
    """Ours."""

    tool = "tapdrbdadm"
    net_defaults = {"connect-int": 1}
    config_path = "/etc/tapdrbd.d/{name}.res"

    def __init__(self, pair, name="vm1", **settings):
        super().__init__(pair, name, **settings)
        self.key = secrets.token_hex(32)

    def write_config(self):
        super().write_config()
        for host in self.pair.hosts:
            self.write_key(host, self.key)

    def write_key(self, host, key):
        host.push(key + "\n", f"/etc/tapdrbd.d/{self.name}.key", mode=0o600)

    def create(self, sync=False):
        """New metadata on both, connected and UpToDate.

        Without sync the first copy is skipped, as one may on empty disks."""
        self.write_config()
        self.both("create-md --force")
        self.both("up")
        self.both("wait-connect", timeout=60)
        if sync:
            self.adm(self.pair.alpha, "primary --force")
            self.both("wait-sync", timeout=SYNC_TIMEOUT)
            self.adm(self.pair.alpha, "secondary")
        else:
            self.adm(self.pair.alpha, "new-current-uuid --clear-bitmap")
        self.wait_healthy()

    def up(self, host):
        self.adm(host, "up")

    def pid(self, host):
        """The process that serves this resource."""
        text = host.run(f"pgrep -f '^[^ ]*tapdisk-drbd .*\\b{self.name}\\b'")
        return int(text.out.split()[0])

    def disk_line(self, device="xvda", mode="w"):
        return f"tap:drbd:{self.name},{device},{mode}"

    def migratable_line(self):
        return self.disk_line()

    def disk_line_vbd3(self, device="xvda"):
        return (f"backendtype=tap,script=block-drbd,vdev={device},"
                f"target={self.name}")


class DrbdResource(Resource):
    """The kernel's DRBD 8.4, served by xen-blkback."""

    tool = "drbdadm"
    config_path = "/etc/drbd.d/{name}.res"
    net_defaults = {"protocol": "C"}
    minor = 0

    def host_section(self):
        return (f"    device /dev/drbd{self.minor};\n"
                f"    disk {self.disk};\n    meta-disk internal;\n")

    def common_section(self):
        return ""

    def status(self, host):
        """8.4 has no JSON: role, cstate and dstate, in our words."""
        role = self.adm(host, "role").out.split("/")[0].strip()
        link = self.adm(host, "cstate").out.strip()
        disk, _, peer = self.adm(host, "dstate").out.strip().partition("/")
        return {"role": role, "devices": [{"disk-state": disk}],
                "connections": [{"connection-state": link, "peer_devices":
                                 [{"peer-disk-state": peer}]}]}

    def create(self, sync=False):
        self.write_config()
        for host in self.pair.hosts:
            host.run("modprobe drbd; cd /etc/xen/scripts; [ -e block-drbd ] || "
                     "ln -s block-drbd.drbd-utils block-drbd")
        self.both("create-md --force")
        self.both("up")
        for host in self.pair.hosts:
            self.wait_facts(host, 60, link="Connected")
        if sync:
            self.adm(self.pair.alpha, "primary --force")
        else:
            self.adm(self.pair.alpha, "new-current-uuid --clear-bitmap")
        self.wait_healthy()
        if sync:
            self.adm(self.pair.alpha, "secondary")

    def up(self, host):
        # /etc/drbd.d does not outlive a test host.
        host.push(self.config(), self.config_path.format(name=self.name))
        host.run("modprobe drbd")
        self.adm(host, "up")

    def ready(self, host):
        self.adm(host, "primary")

    def released(self, host):
        self.adm(host, "secondary")

    def disk_line(self, device="xvda", mode="w"):
        return f"phy:/dev/drbd{self.minor},{device},{mode}"


KINDS = {"tapdrbd": TapdrbdResource, "drbd": DrbdResource}
