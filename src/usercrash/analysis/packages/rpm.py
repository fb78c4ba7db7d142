"""rpm's database, read as data: `rpmdb.sqlite` (rpm 4.16 and later).

Table `Basenames` (key, hnum, idx) leads from a file's last name to its package and the file's
number in it, table `Packages` (hnum, blob) to the package's header: big-endian, the numbers of
entries and of data bytes, then for each entry tag, type, offset, count, then the data
(lib/backend/sqlite.c, lib/header.c).
"""

from __future__ import annotations

import os
import struct
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
_MAX_ROWS = 200
_STEPS = 20_000_000  # of SQLite's machine, for all that one analysis asks
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

    steps = iter(range(_STEPS // 10_000))
    found: dict[bytes, Package] = {}
    try:
        # immutable: neither locks nor a journal, for which there would be no right
        uri = f"file:/proc/self/fd/{fd}?mode=ro&immutable=1"
        database = sqlite3.connect(uri, uri=True)
        database.text_factory = bytes
        database.set_progress_handler(lambda: next(steps, None) is None, 10_000)
        headers: dict[int, RpmHeader | None] = {}
        for path in paths:
            package = _owner(database, path, headers)
            if package is not None:
                found[path] = package
        database.close()
    except (sqlite3.Error, ValueError, OverflowError, MemoryError):
        pass  # damaged, or of another kind: what was found is right
    return found


def _owner(
    database: sqlite3.Connection, path: bytes, headers: dict[int, RpmHeader | None]
) -> Package | None:
    directory, _, base = path.rpartition(b"/")
    text = base.decode("utf-8", "surrogateescape")
    rows = database.execute(
        "SELECT hnum, idx FROM Basenames WHERE key = ? LIMIT ?", (text, _MAX_ROWS)
    ).fetchall()
    for number, index in rows:
        if not isinstance(number, int) or not isinstance(index, int):
            continue
        if number not in headers:
            row = database.execute(
                "SELECT blob FROM Packages WHERE hnum = ? AND length(blob) < ?",
                (number, MAX_HEADER),
            ).fetchone()
            headers[number] = RpmHeader(row[0]) if row and isinstance(row[0], bytes) else None
        header = headers[number]
        named = header.directory_of(index) if header is not None else b""
        merged = (directory, directory.removeprefix(b"/usr"), b"/usr" + directory)
        if header is not None and named.rstrip(b"/") in merged:
            return header.package()
    return None


class RpmHeader:
    """A package's header; what is not there, or not whole, reads as absent."""

    def __init__(self, blob: bytes) -> None:
        self._entries: dict[int, tuple[int, int, int]] = {}  # tag: type, offset, count
        self._data = b""
        if len(blob) < 8:
            return
        count, _size = struct.unpack_from(">II", blob)
        table = blob[8 : 8 + 16 * count]
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
        kind, offset, count = self._entries.get(_DIRNAMES, (0, 0, 0))
        if place is None or kind != _STRING_ARRAY or place >= min(count, 1 << 20):
            return b""
        for _ in range(place):
            end = self._data.find(b"\0", offset)
            if end < 0:
                return b""
            offset = end + 1
        return self._data[offset : max(offset, self._data.find(b"\0", offset))]

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
