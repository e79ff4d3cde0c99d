# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands on a test host, through the agent in its dom0.

The agent dials out to a listener made for one boot of one host, so no port
number is ever guessed and a dead host's connections can never be mistaken
for those of its next boot. Each idle connection takes one command; see
dom0/agent.c for the frames.
"""

import os
import queue
import shlex
import socket
import struct
import threading
import time


class HostGone(Exception):
    """The host died, or never came up, while a command needed it."""


class CommandFailed(Exception):
    """A command that had to succeed did not; the text shows all of it."""


class Result:
    """What a finished command left: code, out and err (text)."""

    def __init__(self, command, code, out, err):
        self.command = command
        self.code = code
        self.raw = out
        self.out = out.decode(errors="replace")
        self.err = err.decode(errors="replace")

    def __repr__(self):
        return (f"$ {self.command}\nexit code {self.code}\n"
                f"{self.out}{self.err}")


class Listener:
    """Accepts the agent's connections during one boot of a host."""

    def __init__(self, name):
        self.name = name
        self.idle = queue.Queue()
        self.closed = False
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.idle.put(connection)

    def take(self, timeout):
        """A connection on which the agent has said hello."""
        deadline = time.monotonic() + timeout
        while not self.closed:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            try:
                connection = self.idle.get(timeout=min(left, 0.5))
            except queue.Empty:
                continue
            try:
                connection.settimeout(max(left, 0.1))
                if read_frame(connection)[0] == b"H":
                    connection.settimeout(None)
                    return connection
            except OSError:
                connection.close()
        raise HostGone(f"{self.name}: no answer from its agent in {timeout} s")

    def close(self):
        self.closed = True
        # shutdown wakes the thread that waits in accept; close alone does not.
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()
        while not self.idle.empty():
            self.idle.get().close()


def read_exactly(connection, size):
    parts = []
    while size > 0:
        data = connection.recv(min(size, 1 << 18))
        if not data:
            raise ConnectionResetError("the host closed the connection")
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def read_frame(connection):
    head = read_exactly(connection, 5)
    return head[:1], read_exactly(connection, struct.unpack("<I", head[1:])[0])


def send_frame(connection, kind, data=b""):
    connection.sendall(kind + struct.pack("<I", len(data)) + data)


class Background:
    """A command that runs on the host; its output is collected as it comes.

    Every line of standard output also goes to on_line (if given) and to the
    file out_path (if given), which outlives the host.
    """

    def __init__(self, listener, command, stdin=b"", on_line=None,
                 out_path=None, connect_timeout=30):
        self.command = command
        self.code = None
        self.gone = False
        self.err = bytearray()
        self._out = bytearray()
        self._on_line = on_line
        self._partial = b""
        self._done = threading.Event()
        self._file = open(out_path, "ab", buffering=0) if out_path else None
        self._connection = listener.take(connect_timeout)
        send_frame(self._connection, b"C", command.encode())
        threading.Thread(target=self._feed, args=(stdin,), daemon=True).start()
        threading.Thread(target=self._follow, daemon=True).start()

    def _feed(self, stdin):
        try:
            for start in range(0, len(stdin), 1 << 16):
                send_frame(self._connection, b"I", stdin[start:start + (1 << 16)])
            send_frame(self._connection, b"E")
        except OSError:
            pass  # the reading side notices and says so

    def _follow(self):
        try:
            while self.code is None:
                kind, data = read_frame(self._connection)
                if kind == b"O":
                    self._take_output(data)
                elif kind == b"R":
                    self.err += data
                elif kind == b"X":
                    self.code = struct.unpack("<I", data)[0]
        except OSError:
            self.gone = True
        finally:
            self._connection.close()
            if self._file:
                self._file.close()
            self._done.set()

    def _take_output(self, data):
        if self._file:
            self._file.write(data)
        else:
            self._out += data
        if self._on_line:
            lines = (self._partial + data).split(b"\n")
            self._partial = lines.pop()
            for line in lines:
                self._on_line(line.decode(errors="replace").rstrip("\r"))

    @property
    def running(self):
        return not self._done.is_set()

    def output(self):
        return bytes(self._out).decode(errors="replace")

    def signal(self, number=15):
        try:
            send_frame(self._connection, b"K", bytes([number]))
        except OSError:
            pass

    def close(self):
        """Leave the command; the agent kills it."""
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._done.wait(5)

    def wait(self, timeout):
        """The Result; HostGone when the host died, TimeoutError when late."""
        if not self._done.wait(timeout):
            raise TimeoutError(f"still running after {timeout} s: "
                               f"{self.command}\n{self.output()[-2000:]}"
                               f"{self.err.decode(errors='replace')[-2000:]}")
        if self.gone:
            raise HostGone(f"the host went away during: {self.command}")
        return Result(self.command, self.code, bytes(self._out),
                      bytes(self.err))


class Agent:
    """The commands' side of a Host; listener is made anew for each boot."""

    name = "?"
    listener = None

    def start(self, command, **options):
        """Start a command (bash) and return at once: a Background."""
        if self.listener is None:
            raise HostGone(f"{self.name} is not running")
        return Background(self.listener, command, **options)

    def run(self, command, timeout=60, check=True, stdin=b""):
        """Run a command (bash) to its end: a Result."""
        job = self.start(command, stdin=stdin)
        try:
            result = job.wait(timeout)
        except TimeoutError as error:
            job.close()
            raise CommandFailed(f"{self.name}: {error}") from None
        if check and result.code != 0:
            raise CommandFailed(f"{self.name}: {result!r}")
        return result

    def push(self, data, path, mode=0o644):
        """Write bytes, text or a local file (a path that exists) to path."""
        if isinstance(data, str) and os.path.exists(data):
            with open(data, "rb") as stream:
                data = stream.read()
        if isinstance(data, str):
            data = data.encode()
        quoted = shlex.quote(path)
        self.run(f"mkdir -p $(dirname {quoted}) && cat >{quoted} && "
                 f"chmod {mode:o} {quoted}", stdin=data, timeout=120)

    def pull(self, path, timeout=120):
        return self.run(f"cat {shlex.quote(path)}", timeout).raw

    def wait_for(self, command, timeout, what=None, pause=0.3):
        """Repeat a command until it succeeds; its Result."""
        deadline = time.monotonic() + timeout
        while True:
            result = self.run(command, check=False)
            if result.code == 0:
                return result
            if time.monotonic() > deadline:
                raise CommandFailed(f"{self.name}: {what or command}: not so "
                                    f"within {timeout} s; last:\n{result!r}")
            time.sleep(pause)
