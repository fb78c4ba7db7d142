"""The kernel's side of `@@/path` in core_pattern: what it asks, and our answer.

Layouts and numbers: struct coredump_req, struct coredump_ack, enum coredump_mark
(<linux/coredump.h>, Linux 6.17). Integers are in the machine's byte order.
"""

from __future__ import annotations

import select
import socket
import time
from struct import Struct

from ..errors import FormatError

# The kernel: size of its request, largest answer that it knows, what it offers. Ours: size, 0,
# what we choose.
REQUEST = Struct("=IIQ")
MARK = Struct("=I")
assert (REQUEST.size, MARK.size) == (16, 4)

KERNEL, USERSPACE, REJECT, WAIT = 1, 2, 4, 8
_MARKS = {
    1: "our answer was too short",
    2: "our answer was too long",
    3: "we asked for what it does not have",
    4: "we asked for what excludes each other",
}
MAX_REQUEST = 4096


def shake_hands(sock: socket.socket, seconds: float) -> bool:
    """Have the kernel send the core and wait for us: the stream begins right after.

    True if it waits until we hang up, False where it cannot (it holds the process only while
    the core is being read then). FormatError where there will be no core.
    """
    deadline = time.monotonic() + seconds
    size, largest, offered = REQUEST.unpack(_receive(sock, REQUEST.size, deadline))
    if not REQUEST.size <= size <= MAX_REQUEST:
        raise FormatError(f"the kernel's request has {size} bytes")
    # What later kernels say beyond this is for later versions of us.
    _receive(sock, size - REQUEST.size, deadline)
    if largest < REQUEST.size or not offered & KERNEL:
        raise FormatError(f"the kernel offers {offered:#x}, in at most {largest} bytes")
    wanted = KERNEL | (offered & WAIT)
    try:
        # In one piece: of two the kernel would take the first for all of it.
        sock.sendall(REQUEST.pack(REQUEST.size, 0, wanted))
    except OSError as error:  # the process was killed meanwhile
        raise FormatError(f"the kernel's connection: {error.strerror}") from error
    (mark,) = MARK.unpack(_receive(sock, MARK.size, deadline))
    if mark:
        raise FormatError(f"the kernel makes no dump: {_MARKS.get(mark, f'mark {mark}')}")
    return bool(wanted & WAIT)


def _receive(sock: socket.socket, size: int, deadline: float) -> bytes:
    """Exactly so many bytes; FormatError if they do not come."""
    data = b""
    while len(data) < size:
        try:
            # Usually it is there: to wait first would be one more system call each time.
            piece = sock.recv(size - len(data), socket.MSG_DONTWAIT)
        except BlockingIOError:
            if not _wait(sock, deadline):
                raise FormatError("the kernel said nothing more in time") from None
            continue
        except OSError as error:
            raise FormatError(f"the kernel's connection: {error.strerror}") from error
        if not piece:
            raise FormatError("the kernel hung up during the handshake")
        data += piece
    return data


def _wait(sock: socket.socket, deadline: float) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(max(deadline - time.monotonic(), 0.0) * 1000))
