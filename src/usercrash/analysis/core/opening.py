"""The one way in to a file whose name a crash, its files or a database give.

Whoever touches a file system that a process serves (FUSE) may hang in a way that not even SIGKILL
ends, and every user may mount one, or put a symbolic link to it where we look. So names are
walked with O_PATH, no mount is entered before its type is known, and what was found is opened by
that very descriptor, regular files and directories only.

Refused are FUSE and autofs (a name in it makes a daemon mount something), and a mount of another
namespace of which nothing is known. Network disks are not: only root mounts them, programs do
lie on them, and SIGKILL ends the wait for their servers, so that the limit of an analysis holds;
its second attempt passes them over (`local`). The mount on which a walk starts is never asked
about: it is our own root, or somebody named the directory.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import stat
import struct
import time
from mmap import MAP_PRIVATE, PROT_READ, mmap

_MAX_LINKS = 40  # as path_resolution(7)
_MAX_DEPTH = 256
_MAX_MOUNTS = 16 << 20  # bytes of mountinfo
_RECENT = 0.2  # seconds for which that is believed: to read it costs more than all the rest
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a lease on the file, or a FIFO in its place, must not hang us
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_SERVED = (b"fuse", b"autofs")
_REMOTE = (b"nfs", b"cifs", b"smb", b"9p", b"ceph", b"afs", b"lustre", b"gfs", b"ocfs", b"coda")
# <linux/openat2.h>: struct open_how; the number is the same on every architecture of Linux 5.6
_OPENAT2 = 437
_HOW = struct.Struct("=QQQ")
assert _HOW.size == 24
_NO_XDEV, _NO_MAGICLINKS, _IN_ROOT = 0x01, 0x02, 0x10
# <linux/stat.h>, <linux/fcntl.h>: struct statx has the device's numbers at 136
_STATX_SIZE, _STATX_DEVICE = 256, struct.Struct("=136xII")
_DONT_SYNC, _EMPTY_PATH = 0x4000, 0x1000
_UNKNOWN = b"-"

_read = (0, 0.0, b"")  # by which process, when, mountinfo
_libc = ctypes.CDLL(None, use_errno=True)
_statx = getattr(_libc, "statx", None)
_syscall = _libc.syscall
_syscall.argtypes = (
    ctypes.c_long, ctypes.c_long, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t,
)  # fmt: skip
_syscall.restype = ctypes.c_long


class ServedError(OSError):
    """The file lies where to look for it may hang; `strerror` says on what."""

    def __init__(self, kind: bytes) -> None:
        what = kind.decode("ascii", "replace") if kind else "a mount of another namespace"
        super().__init__(errno.EXDEV, f"not opened: its file system ({what}) may not answer")


def open_below(
    start: int,
    path: bytes,
    *,
    rooted: bool = True,
    directory: bool = False,
    follow: bool = True,
    local: bool = False,
) -> int:
    """A descriptor of the regular file (or `directory`) `path` below the open directory `start`;
    -1 for anything else, ServedError where it is not to be touched, other OSErrors as they come.

    With `rooted`, `start` stands for /: no link and no `..` leads out of it. Without `follow` the
    last name must not be a link. `local` refuses network disks, too.
    """
    fd = _find(start, path, rooted, follow, local)
    if fd < 0:
        return -1
    try:
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISDIR(mode) if directory else stat.S_ISREG(mode)):
            return -1  # to open a device or a FIFO may do something
        return os.open(b"/proc/self/fd/%d" % fd, _READ | (os.O_DIRECTORY if directory else 0))
    finally:
        os.close(fd)


def open_entry(directory: int, name: bytes) -> int:
    """A descriptor of the regular file `name` in an open directory, on the same mount; -1 for
    anything else, OSError as it comes."""
    return open_below(directory, name, follow=False) if b"/" not in name else -1


def refuse_served(fd: int, *, local: bool = False) -> None:
    """ServedError if the file of this descriptor (O_PATH will do) lies where it may not answer."""
    kind = _kind(fd)
    if not kind or kind.startswith(_SERVED) or (local and kind.startswith(_REMOTE)):
        raise ServedError(kind)


def map_file(fd: int) -> mmap | None:
    """The contents of a regular, not empty file (read only); None for anything else.

    OSError as the system says it.
    """
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        return None
    return mmap(fd, status.st_size, flags=MAP_PRIVATE, prot=PROT_READ)


def _find(start: int, path: bytes, rooted: bool, follow: bool, local: bool) -> int:
    """An O_PATH descriptor, -1 where a file is taken for a directory.

    As long as no other mount is entered the kernel does it in one call; it stops before it
    enters one. (Linux before 5.6 has no such call, and the filter of systemd's RestrictSUIDSGID=
    says the same.)
    """
    resolve = _NO_XDEV | _NO_MAGICLINKS | (_IN_ROOT if rooted else 0)
    flags = os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        return _openat2(start, path.lstrip(b"/") or b".", flags, resolve)
    except OSError as error:
        if error.errno == errno.ENOTDIR:
            return -1
        if error.errno in (errno.ENOENT, errno.EACCES, errno.ENAMETOOLONG):
            raise
    return _walk(start, path, rooted, follow, local)


def _walk(start: int, path: bytes, rooted: bool, follow: bool, local: bool) -> int:
    """The same, name by name."""
    stack = [_Step(os.dup(start))]
    todo = path.split(b"/")[::-1]
    links = 0
    try:
        while todo:
            name = todo.pop()
            if name == b"..":
                _up(stack, rooted, local)
            if name in (b"", b".", b".."):
                continue
            stack.append(_step(stack[-1], name, local))
            mode = os.fstat(stack[-1].fd).st_mode
            if stat.S_ISDIR(mode) and len(stack) <= _MAX_DEPTH:
                continue
            if not stat.S_ISLNK(mode) or not (todo or follow):
                return -1 if todo else stack.pop().fd
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = os.readlink(b"", dir_fd=stack[-1].fd)  # (of /proc's own links only the text)
            os.close(stack.pop().fd)
            if target.startswith(b"/"):
                _to_root(stack, rooted)
            todo.extend(target.split(b"/")[::-1])
        return stack.pop().fd
    finally:
        for step in stack:
            os.close(step.fd)


class _Step:
    """An open (O_PATH) part of a way, with the device on which it lies."""

    __slots__ = ("device", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.device = _device(fd)


def _step(directory: _Step, name: bytes, local: bool) -> _Step:
    """One name further. To open it with O_PATH asks nothing of a mount that begins there; it is
    looked at before anything else is done with it. (One device is one file system.)"""
    found = _Step(os.open(name, _LOOK, dir_fd=directory.fd))
    try:
        if found.device != directory.device or found.device == _UNKNOWN:
            here = _mount_id(directory.fd)
            if not here or _mount_id(found.fd) != here:
                refuse_served(found.fd, local=local)
    except OSError:
        os.close(found.fd)
        raise
    return found


def _up(stack: list[_Step], rooted: bool, local: bool) -> None:
    if len(stack) > 1:
        os.close(stack.pop().fd)
    elif not rooted:
        above = _step(stack[0], b"..", local)
        os.close(stack.pop().fd)
        stack.append(above)


def _to_root(stack: list[_Step], rooted: bool) -> None:
    while len(stack) > 1:
        os.close(stack.pop().fd)
    if not rooted:
        os.close(stack.pop().fd)
        stack.append(_Step(os.open(b"/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)))


def _openat2(directory: int, path: bytes, flags: int, resolve: int) -> int:
    if b"\0" in path:
        raise ValueError("embedded null byte")
    how = _HOW.pack(flags, 0, resolve)
    fd: int = _syscall(_OPENAT2, directory, path, how, len(how))
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return fd


# --- which file system: without asking it ---


def _kind(fd: int) -> bytes:
    """The type of the file system of a descriptor's file, by its mount's id or else by its
    device; b"" if it is not known."""
    number = _mount_id(fd)
    found = _line(rb"%b \d+ \S+" % number) if number else None
    found = found or _line(rb"\d+ \d+ %b" % _device(fd))
    return found[1] if found is not None else b""


def _line(beginning: bytes) -> re.Match[bytes] | None:
    """The line of mountinfo that begins so, with the type as its group: in what was read a moment
    ago, else as it is now (a user may have mounted something since)."""
    pattern = re.compile(rb"^%b .*? - (\S+)" % beginning, re.MULTILINE)
    return pattern.search(_mounts(recent=True)) or pattern.search(_mounts(recent=False))


def _mount_id(fd: int) -> bytes:
    """The id of the mount, from fdinfo (proc(5)); b"" where that is not to be had (before Linux
    5.14 a sandbox may not read it)."""
    try:
        with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
            found = re.search(rb"^mnt_id:\s*(\d+)", file.read(4096), re.MULTILINE)
    except OSError:
        return b""
    return found[1] if found is not None else b""


def _mounts(*, recent: bool) -> bytes:
    global _read
    pid, then, text = _read
    if recent and pid == os.getpid() and time.monotonic() - then < _RECENT:
        return text
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            text = file.read(_MAX_MOUNTS)
    except OSError:
        text = b""
    _read = os.getpid(), time.monotonic(), text
    return text


def _device(fd: int) -> bytes:
    """MAJOR:MINOR of the file's device as far as the kernel knows it without asking; _UNKNOWN
    where it does not say."""
    buffer = ctypes.create_string_buffer(_STATX_SIZE)
    if _statx is None or _statx(fd, b"", _EMPTY_PATH | _DONT_SYNC, 0, buffer) != 0:
        return _UNKNOWN
    return b"%d:%d" % _STATX_DEVICE.unpack_from(buffer.raw)
