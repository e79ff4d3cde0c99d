# SPDX-License-Identifier: GPL-2.0-or-later
"""Two tapdisk-drbd processes on one machine: nodes alpha and beta of the resource vm1.

They meet on loopback, or each in a network namespace of its own (namespaces.py). Each node has a
directory with its configuration, run directory, disk and log. Everything a test waits for is polled
against a deadline; nothing sleeps and hopes.
"""
import json
import os
import shutil
import signal
import socket
import subprocess
import time

RESOURCE = "vm1"
MIB = 1 << 20


class Failure(Exception):
    """What was promised did not happen."""


class Skip(Exception):
    """It cannot be tried here; the text says why."""


def check(condition, text):
    if not condition:
        raise Failure(text)


def wait_until(condition, seconds, what):
    """Returns the first true value of `condition()`."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.01)


def free_ports(count):
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def run(arguments, seconds=60, expect=0, **more):
    """Runs a program to its end; `expect` None takes any exit code."""
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=seconds,
                              check=False, **more)
    except subprocess.TimeoutExpired as error:
        raise Failure(f"{' '.join(arguments)}: not done within {seconds} s") from error
    if expect is not None and done.returncode != expect:
        raise Failure(f"{' '.join(arguments)}: exit {done.returncode}: "
                      f"{done.stdout.strip()} {done.stderr.strip()}")
    return done


class Node:
    """One host's half: its files, its daemon, its answers."""

    def __init__(self, pair, name, port, address="127.0.0.1", prefix=()):
        self.pair = pair
        self.name = name
        self.port = port
        self.address = address
        self.prefix = prefix  # of the daemon's command line
        self.directory = f"{pair.directory}/{name}"
        self.config_dir = f"{self.directory}/etc"
        self.run_dir = f"{self.directory}/run"
        self.disk = f"{self.directory}/disk"
        self.log_path = f"{self.directory}/log"
        self.process = None
        os.makedirs(self.config_dir)
        os.makedirs(self.run_dir)

    # -- files --

    def write_config(self, alpha_port, beta_port, resource=RESOURCE, net="", key=None, disk=""):
        text = (f"resource {resource} {{\n  disk {{ {disk} }}\n"
                f"  net {{ connect-int 1; {net} }}\n  meta-disk internal;\n")
        for name, port in (("alpha", alpha_port), ("beta", beta_port)):
            node = self.pair.node(name)
            text += f"  on {name} {{ disk {node.disk}; address {node.address}:{port}; }}\n"
        with open(f"{self.config_dir}/{resource}.res", "w", encoding="ascii") as file:
            file.write(text + "}\n")
        self.write_key(key or self.pair.key, resource)

    def write_key(self, key, resource=RESOURCE, mode=0o600):
        path = f"{self.config_dir}/{resource}.key"
        with open(path, "w", encoding="ascii") as file:
            file.write(key + "\n")
        os.chmod(path, mode)

    def make_disk(self, size):
        with open(self.disk, "wb") as file:
            file.truncate(size)

    # -- programs --

    def places(self):
        return ["--config-dir", self.config_dir, "--run-dir", self.run_dir, "--node", self.name]

    def adm(self, *arguments, expect=0, seconds=60):
        return run([f"{self.pair.bin}/tapdrbdadm", *self.places(), *arguments], seconds, expect,
                   env=self.pair.environment)

    def start(self, wait=True, resource=RESOURCE):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, f"{self.pair.bin}/tapdisk-drbd", *self.places(), "--foreground",
                 resource], stdout=log, stderr=log, env=self.pair.environment)
        if wait:
            wait_until(lambda: self.ended() or os.path.exists(f"{self.run_dir}/{resource}.pid"),
                       20, f"{self.name} to be ready: {self.log()}")
            check(not self.ended(), f"{self.name} ended at once: {self.log()}")
        return self

    def ended(self):
        return self.process is None or self.process.poll() is not None

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        """As a host that dies: nothing is said to anybody."""
        self.signal(signal.SIGKILL)
        self.process.wait(20)
        self.process = None
        for name in os.listdir(self.run_dir):
            if name.endswith(".pid"):
                os.unlink(f"{self.run_dir}/{name}")

    def stop(self, seconds=30):
        """SIGTERM, and a good end."""
        self.signal(signal.SIGTERM)
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise Failure(f"{self.name} did not end on SIGTERM: {self.log()}") from error
        self.process = None
        check(code == 0, f"{self.name} ended with {code}: {self.log()}")

    def log(self, since=0):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as file:
                file.seek(since)
                return file.read()
        except FileNotFoundError:
            return ""

    def log_size(self):
        return os.path.getsize(self.log_path) if os.path.exists(self.log_path) else 0

    # -- control socket --

    def control(self, command, seconds=30, **members):
        """One command; returns the answer's object."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(seconds)
            client.connect(f"{self.run_dir}/{RESOURCE}.ctl")
            client.sendall(json.dumps({"command": command, **members}).encode() + b"\n")
            line = b""
            while not line.endswith(b"\n"):
                more = client.recv(65536)
                if not more:
                    raise Failure(f"{self.name}: {command}: closed without an answer")
                line += more
        return json.loads(line)

    def command(self, command, **members):
        answer = self.control(command, **members)
        check(answer.get("ok"), f"{self.name}: {command}: {answer.get('error')}")
        return answer

    def status(self):
        return self.command("status")["status"]

    def role(self):
        return self.status()["role"]

    def connection(self):
        status = self.status()
        return status["connections"][0]

    def replication(self):
        return self.connection()["peer_devices"][0]["replication-state"]

    def summary(self):
        """The states in one line."""
        connection = self.connection()
        device = connection["peer_devices"][0]
        return (f"{self.name} is {self.role()}/{self.disk_state()}, "
                f"{connection['connection-state']} ({connection.get('reason', '')}), "
                f"{device['replication-state']}, peer {connection['peer-role']}/"
                f"{device['peer-disk-state']}, {device['out-of-sync']} KiB out of sync")

    def disk_state(self):
        return self.status()["devices"][0]["disk-state"]

    def wait_connected(self, seconds=20):
        """As `wait-connect`: Connected, and the comparison of the data is over."""
        wait_until(lambda: self.connection()["connection-state"] == "Connected" and
                   self.replication() != "Off", seconds,
                   lambda: f"{self.name} Connected; {self.summary()}; log {self.log()[-2000:]}")

    def wait_disk(self, state, seconds=60):
        wait_until(lambda: self.disk_state() == state, seconds,
                   lambda: f"{self.name} {state}; {self.summary()}")

    def wait_no_clients(self):
        """The NBD clients that were told to go are gone."""
        wait_until(lambda: self.status()["tapdrbd"]["nbd"]["clients"] == 0, 20,
                   "NBD clients to be gone")

    # -- NBD and the process --

    @property
    def uri(self):
        return f"nbd+unix:///?socket={self.run_dir}/{RESOURCE}.nbd"

    def proc(self, name):
        with open(f"/proc/{self.process.pid}/{name}", encoding="ascii") as file:
            return file.read()

    def proc_status(self, key):
        for line in self.proc("status").splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1])
        raise Failure(f"no {key} in /proc/PID/status")

    def cpu_seconds(self):
        fields = self.proc("stat").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def fds(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


class Pair:
    """Both nodes. `relay`: where alpha is told to find beta, if not at beta's own port.
    `network`: the namespaces in which the nodes live, if not in this one."""

    def __init__(self, directory, bin_directory, size=64 * MIB, net="", disk="", relay=None,
                 network=None):
        self.directory = directory
        self.bin = bin_directory
        self.environment = dict(os.environ)
        self.key = os.urandom(32).hex()
        self.size = size
        alpha_port, beta_port = free_ports(2)
        self.alpha = Node(self, "alpha", alpha_port, *(network.place("alpha") if network else ()))
        self.beta = Node(self, "beta", beta_port, *(network.place("beta") if network else ()))
        self.nodes = (self.alpha, self.beta)
        self.relay = relay
        if relay:
            relay.start(beta_port)
        for node in self.nodes:
            self.configure(node, net=net, disk=disk)
            node.make_disk(size)

    def node(self, name):
        return self.alpha if name == "alpha" else self.beta

    def configure(self, node, **more):
        beta_port = self.beta.port
        if node is self.alpha and self.relay:
            beta_port = self.relay.port
        node.write_config(self.alpha.port, beta_port, **more)

    def create(self):
        for node in self.nodes:
            node.adm("create-md", RESOURCE)
        return self

    def start(self):
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_connected()
        return self

    def up_to_date(self):
        """A fresh pair without a sync: both UpToDate, alpha Primary."""
        self.create().start()
        self.alpha.adm("new-current-uuid", "--clear-bitmap", RESOURCE)
        for node in self.nodes:
            node.wait_disk("UpToDate")
        self.alpha.adm("primary", RESOURCE)
        return self

    def wait_connected(self):
        for node in self.nodes:
            node.wait_connected()

    def wait_in_sync(self, seconds=120):
        for node in self.nodes:
            node.wait_connected(seconds)
            node.wait_disk("UpToDate", seconds)
            wait_until(lambda n=node: n.replication() == "Established", seconds,
                       lambda n=node: f"{n.name} Established; {n.summary()}")

    def data_bytes(self):
        """The size of the data area: what the guest sees."""
        return self.alpha.status()["devices"][0]["size"] * 1024

    def compare(self, length):
        """The replicas' data areas, byte for byte. Both daemons should be quiet."""
        run(["cmp", "-n", str(length), self.alpha.disk, self.beta.disk], 300)

    def close(self):
        for node in self.nodes:
            if not node.ended():
                node.signal(signal.SIGCONT)
                node.process.kill()
                node.process.wait(20)
        if self.relay:
            self.relay.close()

    def remove(self):
        shutil.rmtree(self.directory, ignore_errors=True)
