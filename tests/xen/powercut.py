# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk with a volatile write cache, for hosts that lose their power.

QEMU opens it over NBD. `now` is what the host sees; `stable` is what the
medium holds. A flush (or FUA) moves what was written from the one to the
other. cut() takes the power away: of what was not flushed, an arbitrary set
of 512-byte sectors, chosen by a seed, has reached the medium, the rest is
gone, so writes are lost, reordered and torn as on a real disk.

It can also fail (every request ends with an I/O error, and does nothing) and
hang (no request ends), until it is well again.
"""

import os
import random
import socket
import struct
import threading

SECTOR = 512
_MAGIC_OPTION = 0x49484156454F5054
_MAGIC_REPLY = 0x3E889045565A9
_OPT_EXPORT_NAME, _OPT_ABORT, _OPT_GO = 1, 2, 7
_REP_ACK, _REP_INFO, _REP_ERR_UNSUP = 1, 3, (1 << 31) + 1
_READ, _WRITE, _DISC, _FLUSH, _TRIM, _ZEROES = 0, 1, 2, 3, 4, 6
# has flags, flush, FUA, trim, write zeroes
_FLAGS = 1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 6
_FLAG_FUA = 1
_EIO, _EINVAL = 5, 22


class VolatileDisk:
    """Serves one disk; its owner calls cut() or settle() when QEMU is gone."""

    def __init__(self, path, socket_path):
        self.now_path = path
        self.stable_path = path + ".stable"
        self.socket_path = socket_path
        self.size = os.path.getsize(path)
        if not os.path.exists(self.stable_path):
            with open(self.stable_path, "wb") as stream:
                stream.truncate(self.size)
        self.now = os.open(path, os.O_RDWR)
        self.stable = os.open(self.stable_path, os.O_RDWR)
        self.unflushed = set()
        self.flushes = 0
        self.fails = False
        self.moves = threading.Event()  # not set: it hangs
        self.moves.set()
        self.listener = None
        self.thread = None

    def start(self):
        if os.path.exists(self.socket_path):
            os.unlink(self.socket_path)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.socket_path)
        self.listener.listen(1)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def stop(self):
        """QEMU is dead: wait until its last requests are taken in."""
        self.moves.set()
        self.listener.close()
        self.thread.join(30)

    def cut(self, seed):
        """Lose power. Returns how many unflushed sectors were lost."""
        chance = random.Random(seed)
        lost = 0
        for sector in sorted(self.unflushed):
            if chance.random() < 0.5:
                self._copy(self.now, self.stable, sector * SECTOR, SECTOR)
            else:
                self._copy(self.stable, self.now, sector * SECTOR, SECTOR)
                lost += 1
        self.unflushed.clear()
        return lost

    def settle(self):
        """The machine died, the power did not: everything is kept."""
        self._flush()

    def close(self):
        os.close(self.now)
        os.close(self.stable)

    # ------------------------------------------------------------- disk ---

    @staticmethod
    def _copy(source, target, offset, length):
        os.pwrite(target, os.pread(source, length, offset), offset)

    def _write(self, offset, data, fua):
        os.pwrite(self.now, data, offset)
        if fua:
            os.pwrite(self.stable, data, offset)
        first = offset // SECTOR
        touched = range(first, (offset + len(data) - 1) // SECTOR + 1)
        if fua:
            self.unflushed.difference_update(touched)
        else:
            self.unflushed.update(touched)

    def _flush(self):
        for sector in self.unflushed:
            self._copy(self.now, self.stable, sector * SECTOR, SECTOR)
        self.unflushed.clear()
        self.flushes += 1

    # --------------------------------------------------------------- NBD ---

    def _serve(self):
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return
        stream = connection.makefile("rwb")
        try:
            if self._negotiate(stream):
                while self._request(stream):
                    stream.flush()
        except (OSError, struct.error, EOFError):
            pass  # QEMU was killed in the middle of something
        connection.close()

    def _read(self, stream, size):
        data = stream.read(size)
        if len(data) != size:
            raise EOFError
        return data

    def _negotiate(self, stream):
        stream.write(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3))
        stream.flush()
        self._read(stream, 4)
        while True:
            magic, option, size = struct.unpack(">QII", self._read(stream, 16))
            if magic != _MAGIC_OPTION:
                return False
            self._read(stream, size)
            export = struct.pack(">QH", self.size, _FLAGS)
            if option == _OPT_EXPORT_NAME:
                stream.write(export)
                stream.flush()
                return True
            if option == _OPT_GO:
                self._option_reply(stream, option, _REP_INFO,
                                   struct.pack(">H", 0) + export)
                self._option_reply(stream, option, _REP_ACK)
                return True
            if option == _OPT_ABORT:
                self._option_reply(stream, option, _REP_ACK)
                return False
            self._option_reply(stream, option, _REP_ERR_UNSUP)

    @staticmethod
    def _option_reply(stream, option, kind, data=b""):
        stream.write(struct.pack(">QIII", _MAGIC_REPLY, option, kind,
                                 len(data)) + data)
        stream.flush()

    def _request(self, stream):
        head = self._read(stream, 28)
        _, flags, kind, handle, offset, length = struct.unpack(">IHHQQI", head)
        fua = bool(flags & _FLAG_FUA)
        if kind == _DISC:
            return False
        data, error = b"", 0
        written = self._read(stream, length) if kind == _WRITE else None
        self.moves.wait()
        if self.fails:
            error = _EIO
        elif kind == _WRITE:
            self._write(offset, written, fua)
        elif kind == _READ:
            data = os.pread(self.now, length, offset)
        elif kind == _FLUSH:
            self._flush()
        elif kind in (_ZEROES, _TRIM):
            self._write(offset, bytes(length), fua)
        else:
            error = _EINVAL
        stream.write(struct.pack(">IIQ", 0x67446698, error, handle) + data)
        return True
