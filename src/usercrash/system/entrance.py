"""How crashes come from the kernel to a server: its socket where the kernel has it, else the pipe.

`pattern_for` is the one place that chooses. While a server listens, core_pattern names its
socket; before and after, the client behind the pipe, which needs no server. So a crash
is never offered to nobody. `PatternSwitch` keeps that order, and changes core_pattern only
where a pattern of ours stands.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from ..errors import UsercrashError
from . import host, sysctl

Say = Callable[[str], None]

RUN_DIRECTORY = "/run/usercrash"
KERNEL_SOCKET = "coredump.sock"  # in the run directory
AUTO, SOCKET, PIPE = "auto", "socket", "pipe"  # [server] entrance

_CLIENT = "|/usr/bin/usercrash_c"
_IDS = "--ids %P %I %s %d %F"
_CORE_MODES = "kernel/core_modes"
_MAX_SOCKET_PATH = 107  # sockaddr_un without its NUL (unix(7))
# PROC_PID_INIT_INO of <linux/proc_ns.h>: pid 1 is the machine's own init here.
_INITIAL_PID_NAMESPACE = "pid:[4026531836]"


def kernel_offers_socket() -> bool:
    """Whether core_pattern may begin with `@@` (Linux 6.17): older kernels would write
    the core to a file of that name."""
    try:
        return "socket" in sysctl.read(_CORE_MODES).split()
    except UsercrashError:
        return False  # the file came together with the handshake


def pipe_pattern(run: str = RUN_DIRECTORY) -> str:
    """The core_pattern by which the kernel starts a client for the server in `run`.

    UsercrashError if the kernel cannot hold it.
    """
    place = ""
    if run != RUN_DIRECTORY:
        # Split at white space first, then expanded (fs/coredump.c).
        if run.split() != [run]:
            raise UsercrashError(f"core_pattern cannot hold white space: {run!r}")
        place = f" --run {run.replace('%', '%%')}"
    pattern = f"{_CLIENT}{place} {_IDS}"
    sysctl.check_pattern(pattern)
    return pattern


def socket_pattern(run: str = RUN_DIRECTORY) -> str:
    """The core_pattern by which the kernel connects to the server in `run`."""
    return f"@@{run}/{KERNEL_SOCKET}"


def is_ours(pattern: str, run: str = RUN_DIRECTORY) -> bool:
    """Whether this core_pattern is one of those that usercrash sets for `run`."""
    return pattern in (pipe_pattern(run), socket_pattern(run))


def pattern_for(run: str, wish: str = AUTO, say: Say | None = None) -> str:
    """The core_pattern for a server that listens in `run`: the socket's where `wish` and the
    kernel allow it, else the pipe's; `say` hears why, where that is not what one would expect.

    UsercrashError if not even the pipe's can be expressed.
    """
    pipe = pipe_pattern(run)  # needed with the socket, too: for when the server stops
    if wish == PIPE:
        return pipe
    if not kernel_offers_socket():
        why = "the kernel has none (Linux 6.17 and later do)" if wish == SOCKET else ""
    else:
        why = _obstacle(run)
        if not why:
            return socket_pattern(run)
    if why and say is not None:
        say(f"no socket for the kernel's crashes: {why}; the pipe is used")
    return pipe


def _obstacle(run: str) -> str:
    """Why the kernel would not connect to a socket in `run`; "" if it would."""
    path = f"{run}/{KERNEL_SOCKET}"
    if not path.startswith("/") or ".." in path.split("/"):
        return f"{path} is not an absolute path without .."
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
        return f"{path} is longer than {_MAX_SOCKET_PATH} bytes"
    if any(character.isspace() for character in path):
        return f"{path!r} has white space"
    part = ""
    for name in path.strip("/").split("/"):
        part += f"/{name}"
        if os.path.islink(part):
            return f"{part} is a symbolic link"
    return "" if shares_paths_with_the_kernel() else "this is a container or a chroot"


def shares_paths_with_the_kernel() -> bool:
    """Whether a path means the same file to us as to the kernel, which looks from init's root.

    True in a service that systemd confines: its mounts are init's, some of them read-only.
    """
    return os.readlink("/proc/self/ns/pid") == _INITIAL_PID_NAMESPACE and not host.in_chroot()


class PatternSwitch:
    """core_pattern, as the server in `run` moves it. `say` hears what could not be done.

    `wants_socket`: whether that server should listen for the kernel at all.
    """

    def __init__(self, run: str, wish: str, say: Say) -> None:
        self._say = say
        self._wish = wish
        self._path = f"{run}/{KERNEL_SOCKET}"
        self._socket = socket_pattern(run)
        try:
            chosen = pattern_for(run, wish, say)
            self._pipe = pipe_pattern(run)
        except UsercrashError as error:
            if wish != PIPE:
                say(f"core_pattern stays as it is: {error}")
            chosen = self._pipe = ""
        self.wants_socket = chosen == self._socket

    def open(self) -> None:
        """Crashes to the server's socket, on which it listens by now.

        From within a service with mounts of its own this does nothing: its unit has
        `usercrash_s --enter` for it, which runs outside of them.
        """
        if not self.wants_socket:
            self.close()  # a server before us may have wanted it, and been killed
            return
        present = self._present()
        if present == self._pipe:
            if not self._listens():
                self._say(f"no server listens at {self._path}: core_pattern stays as it is")
            elif not host.has_own_mounts():  # else EINVAL, from Linux 6.16 on
                self._set(self._socket)
        elif present != self._socket and self._wish == SOCKET:
            self._say(f"core_pattern is not from usercrash, and stays as it is: {present}")

    def close(self) -> None:
        """Crashes to the client behind the pipe; to be called while the server still listens."""
        if self._pipe and self._present() == self._socket:
            self._set(self._pipe)

    def _listens(self) -> bool:
        try:
            return stat.S_ISSOCK(os.lstat(self._path).st_mode)
        except OSError:
            return False

    def _present(self) -> str:
        try:
            return sysctl.read(sysctl.CORE_PATTERN)
        except UsercrashError as error:
            self._say(str(error))
            return ""

    def _set(self, pattern: str) -> None:
        try:
            sysctl.write(sysctl.CORE_PATTERN, pattern)
        except UsercrashError as error:
            self._say(str(error))
