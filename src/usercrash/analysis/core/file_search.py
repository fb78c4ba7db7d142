"""Where files of modules and their debug files are looked for.

A place is a directory that somebody named; one that was opened beforehand, with more rights than
an analysis has, is used through its descriptor. A sysroot stands for the whole tree of another
machine: links inside it lead to places inside it. How files are opened: `opening`.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from mmap import mmap
from typing import TypeVar

from .opening import map_file, open_below

DEBUG_ROOT = b"/usr/lib/debug"
MAX_SUMMED = 1 << 30  # bytes of which one analysis makes checksums
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Place:
    """A directory: `name` for people, `fd` its descriptor where it was opened beforehand."""

    name: bytes
    fd: int = -1

    def start(self) -> int:
        """A descriptor of its own for a walk from there; OSError as it comes."""
        if self.fd >= 0:
            return os.dup(self.fd)
        return os.open(self.name or b"/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


@dataclass(frozen=True, slots=True)
class Spot:
    """Where one file may lie: `path` below `place`; `rooted`, if that stands for /. With `local`
    not on a network disk."""

    place: Place
    path: bytes
    rooted: bool = False
    local: bool = False

    @property
    def name(self) -> bytes:
        """What the file is called, for people."""
        return self.place.name.rstrip(b"/") + self.path if self.place.name else self.path

    def open(self, *, directory: bool = False) -> int:
        """A descriptor of the regular file (or `directory`) there, -1 for anything else;
        ServedError where it may not be touched, other OSErrors as they come."""
        rooted = self.rooted or not self.place.name
        start = self.place.start()
        try:
            return open_below(
                start, self.path, rooted=rooted, directory=directory, local=self.local
            )
        finally:
            os.close(start)

    def contents(self) -> mmap | None:
        """The bytes of the regular file there; None where there is none, or an empty one."""
        return self._ask(map_file)

    def status(self) -> os.stat_result | None:
        """The status of the regular file there; None where there is none that may be opened."""
        return self._ask(os.fstat)

    def _ask(self, what: Callable[[int], _Found]) -> _Found | None:
        try:
            fd = self.open()
        except (OSError, ValueError):
            return None
        try:
            return what(fd) if fd >= 0 else None
        except (OSError, ValueError):
            return None
        finally:
            if fd >= 0:
                os.close(fd)


class Checksums:
    """CRC-32s of files, each made once, of so many bytes in all."""

    def __init__(self, budget: int = MAX_SUMMED) -> None:
        self._left = budget
        self._known: dict[tuple[int, int, int, int], int] = {}

    def crc32(self, data: mmap, status: os.stat_result) -> int | None:
        """That of a whole file; None where it would take too long."""
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if key not in self._known:
            if len(data) > self._left:
                return None
            self._left -= len(data)
            self._known[key] = zlib.crc32(data)
        return self._known[key]


@dataclass(frozen=True, slots=True)
class SearchPlaces:
    """All places of one analysis.

    With a `sysroot`, modules and `standard` (the directory of debug files) are looked for in it,
    and nowhere else on this machine. `debug_dirs` are further directories in gdb's layout, `caches`
    such in debuginfod's (BUILDID/debuginfo, BUILDID/executable). With `local`, network disks
    are passed over: their servers may be what an earlier attempt waited for. `sums` are of the
    debug files that have no build-id. `sources` are directories of source files.
    """

    sysroot: Place | None = None
    debug_dirs: tuple[Place, ...] = ()
    caches: tuple[Place, ...] = ()
    standard: bytes = DEBUG_ROOT
    local: bool = False
    sums: Checksums = field(default_factory=Checksums, compare=False)
    sources: tuple[Place, ...] = ()

    def descriptors(self) -> list[int]:
        """Those of the places that were opened beforehand."""
        every = [*self.debug_dirs, *self.caches, *([self.sysroot] if self.sysroot else [])]
        every += self.sources
        return [place.fd for place in every if place.fd >= 0]

    def host_spot(self, path: bytes) -> Spot:
        """Where a file of this absolute path lies: in the sysroot, or on this machine."""
        if self.sysroot is not None:
            return Spot(self.sysroot, path, True, self.local)
        return Spot(Place(b""), path, True, self.local)

    def module_spots(self, path: bytes, build_id: bytes | None) -> Iterator[Spot]:
        """Where the file of a module may lie, the best first."""
        if path[:1] == b"/":
            yield self.host_spot(path)
            if self.sysroot is not None:
                yield from map(self.host_spot, _merged(path))
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
        for below in _link_names(self.standard, directory) if directory else ():
            spot = below + b"/" + (link or b"")
            if spot != path:
                yield self.host_spot(spot)
        if name:
            for place in self.caches:
                yield Spot(place, b"/" + name + b"/debuginfo")


HOST = SearchPlaces()
_MERGED = (b"/lib/", b"/lib32/", b"/lib64/", b"/libx32/", b"/bin/", b"/sbin/")


def _merged(path: bytes) -> Iterator[bytes]:
    """The other name of a file where /lib and /bin may be links into /usr: a copied root need not
    have the links."""
    if path.startswith(b"/usr/"):
        path = path[4:]
        if path.startswith(_MERGED):
            yield path
    elif path.startswith(_MERGED):
        yield b"/usr" + path


def _directory(path: bytes) -> bytes:
    directory = os.path.dirname(path)
    usable = directory.startswith(b"/") and b"/../" not in directory + b"/"
    return directory if usable else b""


def _link_names(root: bytes, directory: bytes) -> Iterator[bytes]:
    """Directories in which the file of a `.gnu_debuglink` may lie."""
    yield root + directory
    if directory.startswith(b"/usr/"):  # packages name the directories before the /usr merge
        yield root + directory[4:]
    else:
        yield root + b"/usr" + directory
    yield directory + b"/.debug"
    yield directory
