"""Who is at the other end of a Unix socket, as the kernel tells it (unix(7))."""

from __future__ import annotations

import socket
from struct import Struct

_UCRED = Struct("3i")  # struct ucred: pid, uid, gid
_SO_PEERPIDFD = 77  # <asm-generic/socket.h>, Linux 6.5


def peer_ids(sock: socket.socket) -> tuple[int, int]:
    """Process and user id (as they are called here) of who connected, or listens. OSError as it
    comes."""
    pid, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return pid, uid


def peer_pidfd(sock: socket.socket) -> int:
    """A pidfd of that process, which the caller closes. OSError before Linux 6.5, if it has been
    reaped, or if no descriptor is left."""
    return sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
