"""Runs work on hostile data in a child that can harm nobody.

One child for one piece of work, forked from a parent that has imported everything and
touched no hostile data. The child closes every descriptor it was not given, limits
itself, drops all privileges (when it has any) and returns its results through
a bounded pipe; the parent copies bytes and parses none of them.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import gc
import os
import pwd
import resource
import select
import signal
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ..descriptors import close_all_but, write_all
from ..errors import UsercrashError

# <linux/prctl.h>
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38

_FRAME = struct.Struct("<4sQ")  # name of the section, bytes that follow
_END = b"END."
_FAIL = b"FAIL"

_GARBAGE = 50_000  # objects made since garbage was looked for the last time
_END_SECONDS = 0.5  # for a child that has given its results to end
_leaving: list[int] = []  # such children: to give back their memory takes them some time
_libc = ctypes.CDLL(None, use_errno=True)

Send = Callable[[bytes, bytes], None]
"""Gives a section (a name of four bytes, its content) back to the parent."""


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """`seconds` of wall time, `memory` of address space, `output` through the pipe, `file_size`
    of files that it was given to write to (bytes); `user` is the account to become when run as
    root (nobody where it does not exist)."""

    seconds: float = 30.0
    memory: int = 4 << 30
    output: int = 96 << 20
    user: str = "usercrash"
    file_size: int = 0


@dataclass(slots=True)
class SandboxResult:
    """The sections that came back whole, and in `failure` why that is not all ("" if it is)."""

    sections: dict[bytes, bytes] = field(default_factory=dict)
    failure: str = ""


@functools.cache
def unprivileged_ids(user: str) -> tuple[int, int]:
    """(uid, gid) of `user`, of nobody where that account does not exist or is root.

    Looked up once: it can take longer than all else that a sandbox costs.
    """
    for name in (user, "nobody"):
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        if account.pw_uid != 0:
            return account.pw_uid, account.pw_gid
    return 65534, 65534


def run_isolated(
    work: Callable[[Send], None], keep: Iterable[int], limits: SandboxLimits
) -> SandboxResult:
    """Run `work` in a child with only the descriptors `keep`; gives what it sent.

    Never raises for what the child does: dead, slow, flooding and failing children are
    told in `failure`, and the sections that came whole before are there. One whose results
    are all here is not waited for (see `reap_children`).
    """
    reap_children()
    ids = unprivileged_ids(limits.user) if os.geteuid() == 0 else None
    parent = os.getpid()
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _child(work, {*keep, writer}, writer, limits, ids, parent)
    os.close(writer)
    failure = "interrupted"
    try:
        data, failure = _read_all(reader, limits)
    finally:
        os.close(reader)
        if failure:
            _reap(child, patience=0.0)
    result = _sections(data)
    if failure:
        result.failure = failure
    elif not result.failure:
        _leaving.append(child)
    else:
        status = _reap(child, patience=_END_SECONDS)
        if os.WIFSIGNALED(status):
            result.failure = _status_text(status)
    return result


def reap_children() -> None:
    """See off the children whose results were taken; one that still runs is killed.

    To be called by who leaves through os._exit; it is done at any other end of the program.
    """
    while _leaving:
        _reap(_leaving.pop(), patience=_END_SECONDS)


atexit.register(reap_children)
os.register_at_fork(after_in_child=_leaving.clear)  # they are its parent's


def _read_all(reader: int, limits: SandboxLimits) -> tuple[bytearray, str]:
    """The pipe's bytes until its end, and why reading ended early ("" if it did not)."""
    data = bytearray()
    deadline = time.monotonic() + limits.seconds
    poller = select.poll()
    poller.register(reader, select.POLLIN)
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not poller.poll(left * 1000):
            return data, f"not done after {limits.seconds:g} s"
        chunk = os.read(reader, 1 << 20)
        if not chunk:
            return data, ""
        data += chunk
        if len(data) > limits.output:
            return data, f"more than {limits.output >> 20} MiB of output"


def _reap(child: int, patience: float) -> int:
    """The child's wait status; it is killed if it still runs after `patience` seconds.

    (A child that closed its end of the pipe is just about to end by itself.)
    """
    found, status = os.waitpid(child, os.WNOHANG)
    deadline = time.monotonic() + patience
    while found == 0 and time.monotonic() < deadline:
        time.sleep(0.0005)
        found, status = os.waitpid(child, os.WNOHANG)
    if found == 0:
        os.kill(child, signal.SIGKILL)  # not reaped yet, so the pid is still ours
        _, status = os.waitpid(child, 0)
    return status


def _sections(data: bytearray) -> SandboxResult:
    result = SandboxResult()
    view = memoryview(data)
    position = 0
    while position + _FRAME.size <= len(view):
        name, size = _FRAME.unpack_from(view, position)
        position += _FRAME.size
        if size > len(view) - position:
            break
        content = bytes(view[position : position + size])
        position += size
        if name == _END:
            return result
        if name == _FAIL:
            result.failure = content.decode("utf-8", "backslashreplace")[:500]
            return result
        result.sections[name] = content
    result.failure = "ended before its result was whole"
    return result


def _status_text(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"killed by signal {os.WTERMSIG(status)}"
    return f"ended with status {os.WEXITSTATUS(status)}"


def _child(
    work: Callable[[Send], None],
    keep: set[int],
    writer: int,
    limits: SandboxLimits,
    ids: tuple[int, int] | None,
    parent: int,
) -> None:
    """Never returns."""

    def send(name: bytes, content: bytes) -> None:
        write_all(writer, _FRAME.pack(name, len(content)))
        write_all(writer, content)

    code = 1
    try:
        _confine(keep, limits, ids, parent)
        # Nearly all that it makes stays until it ends: garbage is looked for seldom, and not among
        # what it has of its parent, whose pages would all be copied for it.
        gc.freeze()
        gc.set_threshold(_GARBAGE, 20, 100)
        work(send)
        send(_END, b"")
        os.close(writer)
        code = 0
    except BaseException as error:  # whatever it was, the parent hears of it
        try:
            words = "" if isinstance(error, UsercrashError) else f"{type(error).__name__}: "
            send(_FAIL, f"{words}{error}".encode("utf-8", "backslashreplace"))
        except OSError:
            code = 2  # the parent is gone or has closed the pipe: there is nobody to tell
    finally:
        os._exit(code)


def _confine(
    keep: set[int], limits: SandboxLimits, ids: tuple[int, int] | None, parent: int
) -> None:
    """Close, limit, drop, in this order; OSError if the kernel refuses any of it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    close_all_but(keep)
    cpu = max(1, int(limits.seconds) + 1)
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_size, limits.file_size))
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))  # 1: a pipe handler is not started either
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    if ids is not None:
        uid, gid = ids
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)  # clears all capability sets
    # After the drop: setresuid sets dumpable anew, and clears the parent-death signal.
    for option, value in (
        (_PR_SET_DUMPABLE, 0),
        (_PR_SET_NO_NEW_PRIVS, 1),
        (_PR_SET_PDEATHSIG, int(signal.SIGKILL)),
    ):
        if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
            errno = ctypes.get_errno()
            raise OSError(errno, os.strerror(errno))
    if os.getppid() != parent:
        os._exit(3)  # the parent died before the signal was set
