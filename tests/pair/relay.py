# SPDX-License-Identifier: GPL-2.0-or-later
"""A TCP relay between the nodes: records every byte, cuts, alters and truncates on demand."""
import select
import socket
import threading


class Relay:
    """Listens on `port`; forwards to the port given to start()."""

    def __init__(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(16)
        self.port = self.listener.getsockname()[1]
        self.target = None
        self.lock = threading.Lock()
        self.captured = [bytearray(), bytearray()]  # from the dialer, to the dialer
        self.streams = []  # one pair of byte strings a connection, in order
        self.open = True
        self.refusing = False
        self.alter_after = None  # flip a bit in the first piece after so many bytes
        self.truncate_after = None  # forward so many bytes more, then close
        self.altered = 0
        self.pairs = []

    def start(self, target):
        self.target = target
        threading.Thread(target=self.accept_all, daemon=True).start()

    def accept_all(self):
        while self.open:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            if self.refusing:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self.target), 5)
            except OSError:
                near.close()
                continue
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.pairs.append((near, far))
                self.streams.append((bytearray(), bytearray()))
                streams = self.streams[-1]
            threading.Thread(target=self.forward, args=(near, far, streams), daemon=True).start()

    def disturb(self, data):
        """What is really forwarded of `data`, and whether the connection ends after it."""
        with self.lock:
            if self.alter_after is not None:
                if self.alter_after < len(data):
                    changed = bytearray(data)
                    changed[self.alter_after] ^= 1
                    self.alter_after = None
                    self.altered += 1
                    return bytes(changed), False
                self.alter_after -= len(data)
            if self.truncate_after is not None:
                if self.truncate_after < len(data):
                    cut = data[:self.truncate_after]
                    self.truncate_after = None
                    self.altered += 1
                    return cut, True
                self.truncate_after -= len(data)
        return data, False

    def forward(self, near, far, streams):
        near_to_far = {near: (far, 0), far: (near, 1)}
        try:
            while self.open:
                for ready in select.select([near, far], [], [], 1)[0]:
                    other, direction = near_to_far[ready]
                    data = ready.recv(65536)
                    if not data:
                        return
                    with self.lock:
                        streams[direction].extend(data)
                    data, end = self.disturb(data)
                    other.sendall(data)
                    if end:
                        return
        except (OSError, ValueError):
            pass
        finally:
            near.close()
            far.close()

    def connections(self):
        with self.lock:
            return len(self.streams)

    def all_bytes(self):
        with self.lock:
            return b"".join(bytes(part) for stream in self.streams for part in stream)

    def cut(self):
        """Resets every connection."""
        with self.lock:
            pairs, self.pairs = self.pairs, []
        for pair in pairs:
            for end in pair:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        self.open = False
        self.listener.close()
        self.cut()


def tls_records(stream):
    """(type, version, length) of every whole TLS record; ValueError when it is no TLS."""
    position = 0
    while position + 5 <= len(stream):
        kind = stream[position]
        version = int.from_bytes(stream[position + 1:position + 3], "big")
        length = int.from_bytes(stream[position + 3:position + 5], "big")
        if kind not in (20, 21, 22, 23) or version not in (0x0301, 0x0303) or length > 16640:
            raise ValueError(f"no TLS record at {position}: {stream[position:position + 5].hex()}")
        yield kind, version, length
        position += 5 + length


def hello_version(stream):
    """The version that a ServerHello at the start of `stream` negotiates (supported_versions)."""
    if len(stream) < 48 or stream[0] != 22 or stream[5] != 2:
        raise ValueError("no ServerHello")
    position = 5 + 4 + 2 + 32
    position += 1 + stream[position]  # session id
    position += 2 + 1  # cipher suite, compression
    end = position + 2 + int.from_bytes(stream[position:position + 2], "big")
    position += 2
    while position + 4 <= end:
        kind = int.from_bytes(stream[position:position + 2], "big")
        length = int.from_bytes(stream[position + 2:position + 4], "big")
        if kind == 43:
            return int.from_bytes(stream[position + 4:position + 6], "big")
        position += 4 + length
    return int.from_bytes(stream[9:11], "big")
