"""Who has connected to the kernel's socket: the process that is being dumped, or an impostor.

The connection is the kernel's, but it bears the credentials of the crashing process. A
pidfd of it tells the rest (struct pidfd_info, <linux/pidfd.h>, Linux 6.16).
"""

from __future__ import annotations

import fcntl
import os
import socket
from struct import Struct

from ..capture.identity import ended
from ..capture.procfs import read_at
from ..model.event import DUMP_MODE_ROOT, DUMP_MODE_UNKNOWN, DUMP_MODE_USER
from ..peer_credentials import peer_ids, peer_pidfd

_PIDFD_GET_INFO = 0xC058FF0B  # _IOWR(0xff, 11, 88 bytes)
# mask, cgroup; pid, tgid, ppid, eight ids, exit code; coredump mask, signal
_INFO = Struct("=QQIII8IiIi16x")
assert _INFO.size == 88
_ASK = Struct("=Q80x").pack(0xFF)
_HAS_DUMP, _HAS_SIGNAL = 0x10, 0x40  # bits of the returned mask
_DUMPED, _BY_USER, _BY_ROOT = 1, 4, 8  # bits of the coredump mask


class Peer:
    """A process that the kernel is dumping. `signal` is 0 where the kernel does not say; the
    owner closes `pidfd`."""

    __slots__ = ("comm", "dump_mode", "pid", "pidfd", "signal")

    def __init__(self, pid: int, pidfd: int, dump_mode: int, signal: int, comm: bytes) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.dump_mode = dump_mode
        self.signal = signal
        self.comm = comm


def dumping_peer(sock: socket.socket) -> Peer | None:
    """The process behind a connection from the kernel; None if it is anybody else's."""
    try:
        pidfd = peer_pidfd(sock)
    except OSError:
        return None  # killed already: the kernel dumps it no more
    try:
        info = bytearray(_ASK)
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
        mask, _, _, pid, *rest = _INFO.unpack(info)
        dump, signal = rest[-2:]
        # 0: it was killed and reaped while it waited here. That it crashed is known all the same.
        pid = pid or peer_ids(sock)[0]
        if mask & _HAS_DUMP and dump & _DUMPED and pid > 0:
            told = signal if mask & _HAS_SIGNAL else 0
            return Peer(pid, pidfd, _mode(dump), told, _comm(pid, pidfd))
    except OSError:
        pass  # it was killed and reaped before there was a word of its dump
    os.close(pidfd)
    return None


def _mode(dump: int) -> int:
    if dump & _BY_ROOT:
        return DUMP_MODE_ROOT
    return DUMP_MODE_USER if dump & _BY_USER else DUMP_MODE_UNKNOWN


def _comm(pid: int, pidfd: int) -> bytes:
    """Its name, for an event of which nothing more may come; b"" if it is gone."""
    try:
        name = read_at(None, b"/proc/%d/comm" % pid, 64).rstrip(b"\n")
    except OSError:
        return b""
    return b"" if ended(pidfd) else name  # else the number may be another's by now
