"""Where files of modules and their debug files are looked for.

A place is a directory that somebody named; one that was opened beforehand, with more rights than
an analysis has, is used through its descriptor. A sysroot stands for the whole tree of another
machine: links inside it lead to places inside it (as openat2(2) does with RESOLVE_IN_ROOT).
"""

from __future__ import annotations

import errno
import functools
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import MAP_PRIVATE, PROT_READ, mmap

DEBUG_ROOT = b"/usr/lib/debug"
_MAX_LINKS = 40  # as path_resolution(7)
_MAX_DEPTH = 256
_OCTAL = re.compile(rb"\\([0-7]{3})")  # a blank, a tab … in mountinfo
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a FIFO that was put in its place just now must not hang us
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Place:
    """A directory: `name` for people, `fd` its descriptor where it was opened beforehand."""

    name: bytes
    fd: int = -1

    @property
    def handle(self) -> bytes:
        """The path by which it is used."""
        return self.name if self.fd < 0 else b"/proc/self/fd/%d" % self.fd


@dataclass(frozen=True, slots=True)
class Spot:
    """Where one file may lie: `path` below `place`; `rooted`, if that stands for /."""

    place: Place
    path: bytes
    rooted: bool = False

    @property
    def name(self) -> bytes:
        """What the file is called, for people."""
        return self.place.name.rstrip(b"/") + self.path if self.place.name else self.path

    def open(self) -> int:
        """A descriptor of the regular file there, -1 for anything else; OSError as it comes."""
        if self.rooted:
            return open_in_root(self.place.handle, self.path)
        return open_path(self.place.handle + self.path)

    def open_directory(self) -> int:
        """A descriptor of the directory there; OSError as it comes."""
        if self.rooted:
            return open_in_root(self.place.handle, self.path, directory=True)
        return os.open(self.place.handle + self.path, _READ | os.O_DIRECTORY)

    def contents(self) -> mmap | None:
        """The bytes of the regular file there; None where there is none, or an empty one."""
        try:
            fd = self.open()
        except (OSError, ValueError):
            return None
        if fd < 0:
            return None
        try:
            size = os.fstat(fd).st_size
            return mmap(fd, size, flags=MAP_PRIVATE, prot=PROT_READ) if size else None
        except (OSError, ValueError):
            return None
        finally:
            os.close(fd)

    def status(self) -> os.stat_result | None:
        """The status of the regular file there; None where there is none that may be opened."""
        try:
            fd = self.open()
        except (OSError, ValueError):
            return None
        if fd < 0:
            return None
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)


@dataclass(frozen=True, slots=True)
class SearchPlaces:
    """All places of one analysis.

    With a `sysroot`, modules and `standard` (the directory of debug files) are looked for in it,
    and nowhere else on this machine. `debug_dirs` are further directories in gdb's layout, `caches`
    such in debuginfod's (BUILDID/debuginfo, BUILDID/executable).
    """

    sysroot: Place | None = None
    debug_dirs: tuple[Place, ...] = ()
    caches: tuple[Place, ...] = ()
    standard: bytes = DEBUG_ROOT

    def descriptors(self) -> list[int]:
        """Those of the places that were opened beforehand."""
        every = [*self.debug_dirs, *self.caches, *([self.sysroot] if self.sysroot else [])]
        return [place.fd for place in every if place.fd >= 0]

    def host_spot(self, path: bytes) -> Spot:
        """Where a file of this absolute path lies: in the sysroot, or on this machine."""
        if self.sysroot is not None:
            return Spot(self.sysroot, path, rooted=True)
        return Spot(Place(b""), path)

    def module_spots(self, path: bytes, build_id: bytes | None) -> Iterator[Spot]:
        """Where the file of a module may lie, the best first."""
        if path[:1] == b"/":
            yield self.host_spot(path)
        if build_id is None or len(build_id) < 2:
            return
        name = build_id.hex().encode()
        short = b"/.build-id/" + name[:2] + b"/" + name[2:]
        for place in self.debug_dirs:
            yield Spot(place, short)
        for directory in (self.standard, b"/usr/lib"):
            yield self.host_spot(directory + short)
        for place in self.caches:
            yield Spot(place, b"/" + name + b"/executable")

    def debug_spots(
        self, path: bytes, build_id: bytes | None, link: bytes | None
    ) -> Iterator[Spot]:
        """Where the debug file of the module `path` may lie, the best first: by its build-id, by
        the name `link` that it gives (GDB manual, "Separate Debug Files")."""
        name = build_id.hex().encode() if build_id is not None and len(build_id) >= 2 else b""
        short = b"/.build-id/" + name[:2] + b"/" + name[2:] + b".debug"
        directory = _directory(path) if link is not None else b""
        for place in self.debug_dirs:
            if name:
                yield Spot(place, short)
            if directory:
                yield Spot(place, directory + b"/" + (link or b""))
        if name:
            yield self.host_spot(self.standard + short)
        beside = self.sysroot is not None or not of_a_user(directory)
        for below in _link_names(self.standard, directory, beside) if directory else ():
            spot = below + b"/" + (link or b"")
            if spot != path:
                yield self.host_spot(spot)
        if name:
            for place in self.caches:
                yield Spot(place, b"/" + name + b"/debuginfo")


HOST = SearchPlaces()


def _directory(path: bytes) -> bytes:
    directory = os.path.dirname(path)
    usable = directory.startswith(b"/") and b"/../" not in directory + b"/"
    return directory if usable else b""


def _link_names(root: bytes, directory: bytes, beside: bool) -> Iterator[bytes]:
    """Directories in which the file of a `.gnu_debuglink` may lie; `beside` the module, too."""
    yield root + directory
    if directory.startswith(b"/usr/"):  # packages name the directories before the /usr merge
        yield root + directory[4:]
    else:
        yield root + b"/usr" + directory
    if beside:
        yield directory + b"/.debug"
        yield directory


def of_a_user(path: bytes) -> bool:
    """Whether a path of this machine lies on a file system that a process serves (FUSE), and
    might hang whoever touches it."""
    best = kind = b""
    for point, mounted in _mounts():
        if (path + b"/").startswith(point.rstrip(b"/") + b"/") and len(point) >= len(best):
            best, kind = point, mounted
    return kind.startswith(b"fuse")


@functools.cache
def _mounts() -> tuple[tuple[bytes, bytes], ...]:
    """(mount point, type) of each line of /proc/self/mountinfo (proc(5)), read once."""
    found = []
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            lines = file.read(8 << 20).split(b"\n")
    except OSError:
        return ()
    for line in lines:
        head, _, tail = line.partition(b" - ")
        fields, kind = head.split(b" ", 5), tail.split(b" ", 1)
        if len(fields) > 4:
            point = _OCTAL.sub(lambda code: bytes((int(code[1], 8) & 255,)), fields[4])
            found.append((point, kind[0]))
    return tuple(found)


def open_path(name: bytes) -> int:
    """A descriptor of the regular file of this name, -1 for anything else; OSError as it comes."""
    if not stat.S_ISREG(os.stat(name).st_mode):
        return -1  # to open a device or a FIFO may do something
    return os.open(name, _READ)


def open_in_root(root: bytes, path: bytes, *, directory: bool = False) -> int:
    """A descriptor of the regular file (or `directory`) `path` where the directory `root` stands
    for /; -1 for anything else, OSError as it comes.

    Every step goes through descriptors: nothing that is renamed meanwhile leads outside.
    """
    stack = [os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
    todo = path.split(b"/")[::-1]
    links = 0
    try:
        while todo:
            step = todo.pop()
            if step == b"..":
                if len(stack) > 1:
                    os.close(stack.pop())
                continue
            if step in (b"", b"."):
                continue
            fd = os.open(step, _LOOK, dir_fd=stack[-1])
            mode = os.fstat(fd).st_mode
            if stat.S_ISDIR(mode) and len(stack) < _MAX_DEPTH:
                stack.append(fd)
                continue
            target = _target(fd) if stat.S_ISLNK(mode) else None
            os.close(fd)
            if target is None:
                if todo or directory or not stat.S_ISREG(mode):
                    return -1
                return os.open(step, _READ | os.O_NOFOLLOW, dir_fd=stack[-1])
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            if target.startswith(b"/"):
                while len(stack) > 1:
                    os.close(stack.pop())
            todo.extend(target.split(b"/")[::-1])
        return os.open(b".", _READ | os.O_DIRECTORY, dir_fd=stack[-1]) if directory else -1
    finally:
        for fd in stack:
            os.close(fd)


def _target(fd: int) -> bytes:
    """What a symbolic link holds; `fd` is closed where that cannot be read."""
    try:
        return os.readlink(b"", dir_fd=fd)
    except OSError:
        os.close(fd)
        raise
