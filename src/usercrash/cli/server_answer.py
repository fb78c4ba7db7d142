"""Asks a running server how it is, and tells in one line why there is no answer."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from .. import protocol, server_state
from ..errors import FormatError
from ..peer_credentials import peer_ids

ANSWER_SECONDS = 2.0

_LISTENS = 0x10000  # __SO_ACCEPTCON of <linux/net.h>


@dataclass(frozen=True, slots=True)
class Answer:
    """Either `state`, or `why` there is none, with a `hint`; `hidden`: we may not ask."""

    state: server_state.State | None = None
    why: str = ""
    hint: str = ""
    hidden: bool = False


def ask_server(run: str) -> Answer:
    """What the server in the run directory says, within ANSWER_SECONDS."""
    kind = socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_UNIX, kind) as sock:
        sock.settimeout(ANSWER_SECONDS)
        try:
            sock.connect(os.path.join(run, protocol.SOCKET_NAME))
        except PermissionError:
            return Answer(why="only root can ask it", hidden=True)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            return Answer(why="the server is not running")
        except (BlockingIOError, TimeoutError):
            return Answer(why="the server takes no connections", hint="it hangs, or is not ready")
        except OSError as error:
            return Answer(why="the server cannot be asked", hint=error.strerror or str(error))
        return _answer(sock)


def _answer(sock: socket.socket) -> Answer:
    pid = _pid_of(sock)
    try:
        protocol.send(sock, protocol.encode_status())
        data, fds = protocol.receive(sock)
        protocol.close_all(fds)
        if not data:
            raise ConnectionResetError
        packet = protocol.decode(data)
        if not isinstance(packet, protocol.State):
            raise FormatError(f"{type(packet).__name__} instead of a state")
        return Answer(server_state.decode(packet.json))
    except TimeoutError:
        return Answer(why=f"the server{pid} does not answer", hint=f"in {ANSWER_SECONDS:.0f} s")
    except (ConnectionResetError, BrokenPipeError):
        return Answer(why=f"the server{pid} hung up", hint="is it of another version?")
    except OSError as error:
        return Answer(why=f"the server{pid} cannot be asked", hint=error.strerror or str(error))
    except FormatError as error:
        return Answer(why=f"the server{pid} makes no sense", hint=str(error))


def _pid_of(sock: socket.socket) -> str:
    """` (pid N)` of who listens; "" where that is systemd, which only holds the socket."""
    try:
        pid, _ = peer_ids(sock)
    except OSError:
        return ""
    return f" (pid {pid})" if pid > 1 else ""


def somebody_listens(path: str) -> bool:
    """Whether a process listens on the socket `path`, without connecting to it.

    From /proc/net/unix, which shows the name that a socket was bound to. The server binds its own
    to `path`.new and renames that.
    """
    try:
        with open("/proc/net/unix", "rb") as file:
            rows = [line.split(maxsplit=7) for line in file]
    except OSError:
        return False
    names = {os.fsencode(name) for name in (path, f"{path}.new")}
    for row in rows[1:]:
        if len(row) == 8 and row[7].rstrip(b"\n") in names and int(row[3], 16) & _LISTENS:
            return True
    return False
