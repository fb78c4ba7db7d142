"""rpm's database, read as data: `rpmdb.sqlite` (rpm 4.16 and later), not those of Berkeley DB and
ndb, which older ones and SUSE have.

Table `Basenames` (key, hnum, idx) leads from a file's last name to its package and the file's
number in it, table `Packages` (hnum, blob) to the package's header: big-endian, the numbers of
entries and of data bytes, then for each entry tag, type, offset, count, then the data
(lib/backend/sqlite.c, lib/header.c).
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..core.file_search import SearchPlaces
from .package import Package

if TYPE_CHECKING:
    import sqlite3

DATABASES = (
    b"/var/lib/rpm/rpmdb.sqlite",
    b"/usr/lib/sysimage/rpm/rpmdb.sqlite",
    b"/usr/share/rpm/rpmdb.sqlite",
)
MAX_HEADER = 64 << 20
_MAX_HEADERS = 256 << 20  # bytes of all headers that one analysis reads
_MAX_ROWS = 200
_MAX_TAGS = 10_000  # of one package, which has about a hundred
_MAX_DIRECTORIES = 1 << 18  # of one package
_STEPS = 20_000_000  # of SQLite's machine, for all that one analysis asks
_SECONDS = 3.0  # of the processor, for the same: one step may be a loop (printf)
# lib/rpmtag.h
_NAME, _VERSION, _RELEASE, _EPOCH, _ARCH = 1000, 1001, 1002, 1003, 1022
_DIRINDEXES, _BASENAMES, _DIRNAMES = 1116, 1117, 1118
_INT32, _STRING, _STRING_ARRAY = 4, 6, 8


def packages(places: SearchPlaces, paths: Iterable[bytes]) -> dict[bytes, Package]:
    """The packages of these files, where there are any."""
    for name in DATABASES:
        try:
            fd = places.host_spot(name).open()
        except (OSError, ValueError):
            continue
        if fd >= 0:
            try:
                return _ask(fd, paths)
            finally:
                os.close(fd)
    return {}


def _ask(fd: int, paths: Iterable[bytes]) -> dict[bytes, Package]:
    import sqlite3

    until = time.process_time() + _SECONDS
    steps = iter(range(_STEPS // 10_000))
    found: dict[bytes, Package] = {}
    try:
        # immutable: neither locks nor a journal, for which there would be no right
        uri = f"file:/proc/self/fd/{fd}?mode=ro&immutable=1"
        database = sqlite3.connect(uri, uri=True)
        database.text_factory = bytes
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_HEADER)  # (one step may make a GB)
        database.set_progress_handler(lambda: next(steps, None) is None, 10_000)
        owners = _Owners(database)
        for path in paths:
            package = owners.find(path)
            if package is not None:
                found[path] = package
            if time.process_time() > until:
                break
        database.close()
    except (sqlite3.Error, ValueError, OverflowError, MemoryError):
        pass  # damaged, or of another kind: what was found is right
    return found


class _Owners:
    """Packages of files, with the headers that were read for it."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._headers: dict[int, RpmHeader | None] = {}
        self._left = _MAX_HEADERS

    def find(self, path: bytes) -> Package | None:
        """The package that has a file of this absolute path."""
        directory, _, base = path.rpartition(b"/")
        merged = (directory, directory.removeprefix(b"/usr"), b"/usr" + directory)
        rows = self._database.execute(  # (bytes: names need not be UTF-8)
            "SELECT hnum, idx FROM Basenames WHERE key = CAST(? AS TEXT) LIMIT ?",
            (base, _MAX_ROWS),
        ).fetchall()
        for number, index in rows:
            if not isinstance(number, int) or not isinstance(index, int):
                continue
            header = self._header(number)
            if header is not None and header.directory_of(index).rstrip(b"/") in merged:
                return header.package()
        return None

    def _header(self, number: int) -> RpmHeader | None:
        if number not in self._headers:
            row = self._database.execute(
                "SELECT blob FROM Packages WHERE hnum = ? AND length(blob) < ?",
                (number, min(MAX_HEADER, self._left)),
            ).fetchone()
            blob = row[0] if row and isinstance(row[0], bytes) else None
            self._left -= len(blob or b"")
            self._headers[number] = RpmHeader(blob) if blob is not None else None
        return self._headers[number]


class RpmHeader:
    """A package's header; what is not there, or not whole, reads as absent."""

    def __init__(self, blob: bytes) -> None:
        self._entries: dict[int, tuple[int, int, int]] = {}  # tag: type, offset, count
        self._data = b""
        self._directories: list[bytes] | None = None
        if len(blob) < 8:
            return
        count, _size = struct.unpack_from(">II", blob)
        table = blob[8 : 8 + 16 * min(count, _MAX_TAGS)]
        self._data = blob[8 + 16 * count :]
        rows = struct.iter_unpack(">IIiI", table[: len(table) // 16 * 16])
        for tag, kind, offset, number in rows:
            if 0 <= offset < len(self._data):
                self._entries.setdefault(tag, (kind, offset, number))

    def text(self, tag: int) -> bytes:
        """A string's bytes."""
        kind, offset, _ = self._entries.get(tag, (0, 0, 0))
        if kind != _STRING:
            return b""
        end = self._data.find(b"\0", offset)
        return self._data[offset : max(end, offset)][:300]

    def number(self, tag: int, index: int = 0) -> int | None:
        """One of a row of 32-bit numbers."""
        kind, offset, count = self._entries.get(tag, (0, 0, 0))
        at = offset + 4 * index
        if kind != _INT32 or not 0 <= index < count or at + 4 > len(self._data):
            return None
        value: int = struct.unpack_from(">I", self._data, at)[0]
        return value

    def directory_of(self, index: int) -> bytes:
        """The directory of the package's file with this number."""
        place = self.number(_DIRINDEXES, index)
        if self._directories is None:
            self._directories = self._strings(_DIRNAMES, _MAX_DIRECTORIES)
        if place is None or place >= len(self._directories):
            return b""
        return self._directories[place]

    def _strings(self, tag: int, most: int) -> list[bytes]:
        """The first strings of a row."""
        kind, offset, count = self._entries.get(tag, (0, 0, 0))
        if kind != _STRING_ARRAY:
            return []
        count = min(count, most)
        return self._data[offset:].split(b"\0", count)[:count]

    def package(self) -> Package | None:
        """Name, EPOCH:VERSION-RELEASE, architecture; None without a name."""
        name = self.text(_NAME)
        if not name:
            return None
        epoch = self.number(_EPOCH)
        version = b"-".join(filter(None, (self.text(_VERSION), self.text(_RELEASE))))
        if epoch:
            version = b"%d:" % epoch + version
        text, full, where = (
            part.decode("utf-8", "backslashreplace") for part in (name, version, self.text(_ARCH))
        )
        return Package(text, full, where, "rpm", "rpm")
