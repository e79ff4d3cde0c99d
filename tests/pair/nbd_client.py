# SPDX-License-Identifier: GPL-2.0-or-later
"""A small NBD client that shows when each reply comes: for what the usual tools cannot see."""
import socket
import struct

READ, WRITE, DISC, FLUSH = 0, 1, 2, 3
FUA = 1


class NbdRefused(Exception):
    """The server said why."""


class NbdClient:
    """Simple replies; requests may be sent ahead and their replies awaited later."""

    def __init__(self, path, export=b"", seconds=10):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(seconds)
        self.socket.connect(path)
        self.handle = 0
        greeting = self.exactly(18)
        if greeting[:16] != b"NBDMAGICIHAVEOPT":
            raise ValueError(f"no NBD greeting: {greeting!r}")
        self.socket.sendall(struct.pack(">I", 3))
        data = struct.pack(">I", len(export)) + export + struct.pack(">H", 0)
        self.socket.sendall(b"IHAVEOPT" + struct.pack(">II", 7, len(data)) + data)
        self.size = self.negotiated()

    def negotiated(self):
        size = 0
        while True:
            _, _, kind, length = struct.unpack(">QIII", self.exactly(20))
            data = self.exactly(length)
            if kind & 0x80000000:
                raise NbdRefused(data.decode())
            if kind == 1:
                return size
            if struct.unpack(">H", data[:2])[0] == 0:
                size = struct.unpack(">Q", data[2:10])[0]

    def exactly(self, length):
        data = b""
        while len(data) < length:
            more = self.socket.recv(length - len(data))
            if not more:
                raise ConnectionError("the NBD server closed the connection")
            data += more
        return data

    def send(self, kind, offset=0, length=0, data=b"", flags=0):
        """Returns the handle that the reply will have."""
        self.handle += 1
        self.socket.sendall(struct.pack(">IHHQQI", 0x25609513, flags, kind, self.handle, offset,
                                        length or len(data)) + data)
        return self.handle

    def reply(self, length=0, seconds=None):
        """(handle, error, data) of the next reply; TimeoutError when there is none in time."""
        if seconds is not None:
            self.socket.settimeout(seconds)
        magic, error, handle = struct.unpack(">IIQ", self.exactly(16))
        if magic != 0x67446698:
            raise ValueError(f"no reply magic: {magic:x}")
        return handle, error, self.exactly(length) if length and not error else b""

    def answered(self, seconds):
        """True when a reply came within `seconds`."""
        self.socket.settimeout(seconds)
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except TimeoutError:
            return False

    def write(self, offset, data, flags=0, seconds=30):
        self.send(WRITE, offset, data=data, flags=flags)
        return self.reply(seconds=seconds)[1]

    def read(self, offset, length, seconds=30):
        self.send(READ, offset, length)
        _, error, data = self.reply(length, seconds)
        if error:
            raise OSError(error, "NBD read")
        return data

    def flush(self, seconds=30):
        self.send(FLUSH)
        return self.reply(seconds=seconds)[1]

    def close(self):
        try:
            self.socket.sendall(struct.pack(">IHHQQI", 0x25609513, 0, DISC, 0, 0, 0))
        except OSError:
            pass
        self.socket.close()
