"""A FUSE file system of one file that answers until it is told to fall silent.

Spoken directly to /dev/fuse (<linux/fuse.h>, protocol 7.31): no library, root only.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_IN = struct.Struct("<IIQQIIII")  # len, opcode, unique, nodeid, uid, gid, pid, padding
_OUT = struct.Struct("<IiQ")  # len, error, unique
_ATTR = struct.Struct("<6Q10I")
assert (_IN.size, _OUT.size, _ATTR.size) == (40, 16, 88)
_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ = 1, 2, 3, 14, 15
_RELEASE, _FLUSH, _INIT, _BATCH_FORGET = 18, 25, 26, 42
_MNT_DETACH = 2
_ROOT, _FILE = 1, 2


class DeadFuse:
    """The server; `silence()` makes it stop answering for good, but for the ends of open files:
    the process that has the file mapped must be able to die."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.dev = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        self.asked: list[int] = []  # requests but for ends of open files, answered or not
        self.unanswered: list[int] = []
        self._silent = False

    def silence(self) -> None:
        self._silent = True

    def serve(self) -> None:
        while True:
            try:
                request = os.read(self.dev, 1 << 17)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR):
                    continue
                return  # unmounted
            _, opcode, unique, node, *_ = _IN.unpack_from(request)
            if opcode in (_FORGET, _BATCH_FORGET):
                continue
            if opcode not in (_INIT, _FLUSH, _RELEASE):
                self.asked.append(opcode)
            if self._silent and opcode not in (_FLUSH, _RELEASE):
                self.unanswered.append(opcode)
                continue
            code, body = self._answer(opcode, node, request[_IN.size :])
            with suppress(FileNotFoundError):  # who asked has gone, or it is being unmounted
                os.write(self.dev, _OUT.pack(_OUT.size + len(body), -code, unique) + body)

    def _answer(self, opcode: int, node: int, body: bytes) -> tuple[int, bytes]:
        if opcode == _INIT:
            return 0, struct.pack("<IIIIHHIIHHI7I", 7, 31, 0, 0, 0, 0, 4096, 1, 0, 0, *[0] * 8)
        if opcode == _LOOKUP:
            return 0, struct.pack("<QQQQII", _FILE, 0, 60, 60, 0, 0) + self._attr(_FILE)
        if opcode == _GETATTR:
            return 0, struct.pack("<QII", 60, 0, 0) + self._attr(node)
        if opcode == _OPEN:
            return 0, struct.pack("<QII", 1, 0, 0)
        if opcode == _READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            return 0, self.content[offset : offset + size]
        return errno.ENOSYS, b""

    def _attr(self, node: int) -> bytes:
        kind = stat.S_IFDIR if node == _ROOT else stat.S_IFREG
        size = len(self.content)
        return _ATTR.pack(node, size, size // 512, 0, 0, 0, 0, 0, 0, kind | 0o755, 1, 0, 0, 0,
                          4096, 0)  # fmt: skip


@contextmanager
def dead_fuse(place: Path, content: bytes) -> Iterator[DeadFuse]:
    """Mounted on `place` inside the `with`; every name in it is the one file. The end of it
    also ends whoever hangs on it."""
    libc = ctypes.CDLL(None, use_errno=True)
    server = DeadFuse(content)
    options = f"fd={server.dev},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"dead", os.fsencode(place), b"fuse", 0, options):
        code = ctypes.get_errno()
        os.close(server.dev)
        raise OSError(code, f"cannot mount FUSE: {os.strerror(code)}")
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        connection = os.minor(_device(place))
        try:
            Path(f"/sys/fs/fuse/connections/{connection}/abort").write_text("1")
        except OSError:
            pass  # not mounted there: unmounting does the same once nobody waits
        libc.umount2(os.fsencode(place), _MNT_DETACH)
        thread.join(10)
        os.close(server.dev)


def _device(place: Path) -> int:
    """The device number of the mount, from mountinfo: stat would ask the server."""
    for line in Path("/proc/self/mountinfo").read_text().split("\n"):
        fields = line.split()
        if len(fields) > 4 and fields[4] == str(place):
            major, minor = fields[2].split(":")
            return os.makedev(int(major), int(minor))
    return 0
