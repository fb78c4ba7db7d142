"""dpkg's database (Debian and what is made of it), read as data.

`info/NAME[:ARCHITECTURE].list` has the absolute names of a package's files, one a line, `status`
the versions (deb-control(5)). There are thousands of lists: those are read first whose names
resemble the file's; all of them only where that brings nothing.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from mmap import mmap

from ..core.file_search import SearchPlaces
from ..core.opening import open_entry
from .package import Package

INFO, STATUS = b"/var/lib/dpkg/info", b"/var/lib/dpkg/status"
MAX_LISTS = 50_000
MAX_LIST_BYTES = 64 << 20  # of one list
MAX_READ_BYTES = 512 << 20  # of all lists that one analysis reads
_MAX_SEARCHED = 16 << 30  # bytes in which files were looked for, each file counted
_MAX_STATUS = 128 << 20
_MAX_STANZA = 1 << 20
_MAX_STANZAS = 64  # of one name
_NEIGHBOURS = 8
_SUFFIX = re.compile(rb"(:[^\n:]*)?\.list$", re.MULTILINE)  # of the name of a list
_ODD = re.compile(rb"\.so\b|t64$|[^a-z0-9\n]", re.MULTILINE)
_FIELD = re.compile(rb"^(Version|Architecture): *([^\n]*)$", re.MULTILINE)
# Libraries of very many processes whose packages are called otherwise (both names reduced): to
# look into all lists for one takes 25 ms.
_OTHERWISE = {b"libz": b"zlib1g", b"libcrypto": b"libssl"}
# directories that say nothing of the package
_PLAIN = re.compile(rb"usr|lib(32|64|x32|exec)?|s?bin|opt|share|[a-z0-9_]+-linux-[a-z0-9]+")


class Dpkg:
    """The database of one root, for one analysis."""

    def __init__(self, places: SearchPlaces) -> None:
        self._places = places
        self._directory = -1
        self._lists: list[tuple[bytes, bytes]] = []  # (reduced name, name of the file), sorted
        self._left = MAX_READ_BYTES
        self._patience = _MAX_SEARCHED
        try:
            self._directory = places.host_spot(INFO).open(directory=True)
        except (OSError, ValueError):
            return  # no dpkg here
        if self._directory < 0:
            return
        names = [name for name in os.listdir(self._directory) if name.endswith(".list")]
        # All of them as one text: one by one they would take longer than all else here.
        files = os.fsencode("\n".join(names[:MAX_LISTS]))
        stems = _reduced(_SUFFIX.sub(b"", files))
        self._lists = sorted(zip(stems.split(b"\n"), files.split(b"\n"), strict=True))

    def close(self) -> None:
        """Give its descriptor back."""
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def packages(self, paths: Iterable[bytes]) -> dict[bytes, Package]:
        """The packages of these files, where there are any."""
        if not self._lists:
            return {}
        lists = self._owners(set(paths))
        found = {}
        status = _Status(self._places)
        known: dict[bytes, Package] = {}
        for path, file in lists.items():
            if file not in known:
                name, _, architecture = file.removesuffix(b".list").partition(b":")
                known[file] = status.package(name, architecture)
            found[path] = known[file]
        return found

    def _owners(self, paths: set[bytes]) -> dict[bytes, bytes]:
        """The list that holds each path: likely ones first, then those that were right for
        another path, at last every one."""
        found: dict[bytes, bytes] = {}
        read: set[bytes] = set()
        for path in sorted(paths):
            if path not in found:
                self._search(self._likely(path), paths, found, read, path)
        left = paths - found.keys()
        if left:
            self._search((file for _, file in self._lists), paths, found, read)
        return found

    def _search(
        self,
        files: Iterable[bytes],
        paths: set[bytes],
        found: dict[bytes, bytes],
        read: set[bytes],
        until: bytes = b"",
    ) -> None:
        """Look into lists until the path `until` (without: every path) is found."""
        left = {path: b"/" + path.rpartition(b"/")[2] + b"\n" for path in paths - found.keys()}
        for file in files:
            if file in read or self._left <= 0 or self._patience <= 0:
                continue
            read.add(file)
            data = self._read(file)
            self._left -= len(data)
            self._patience -= len(data) * len(left)
            here = [path for path, end in left.items() if end in data and _lists(data, path)]
            for path in here:
                found[path] = file
                del left[path]
            if not left or until in found:
                return

    def _likely(self, path: bytes) -> Iterator[bytes]:
        """Lists of packages whose names resemble the file's or its directories'."""
        *directories, base = path.split(b"/")
        words = [_reduced(base), _reduced(base.partition(b".so")[0])]
        if (other := _OTHERWISE.get(words[1])) is not None:
            words.insert(0, other)
        special = [_reduced(one) for one in directories if one and not _PLAIN.fullmatch(one)]
        words.append(b"".join(special[:2]))
        words += special[:2]
        for word in words:
            if len(word) < 2:
                continue
            at = bisect_left(self._lists, (word, b""))
            near = self._lists[max(0, at - _NEIGHBOURS) : at + _NEIGHBOURS]
            for name, file in sorted(near, key=lambda row: -_common(row[0], word)):
                if _common(name, word) >= min(3, len(word)):
                    yield file

    def _read(self, name: bytes) -> bytes:
        try:
            fd = open_entry(self._directory, name)
        except OSError:
            return b""
        if fd < 0:
            return b""
        try:
            return os.read(fd, min(os.fstat(fd).st_size, MAX_LIST_BYTES))
        except OSError:
            return b""
        finally:
            os.close(fd)


class _Status:
    """The stanzas of the packages that are installed."""

    def __init__(self, places: SearchPlaces) -> None:
        self._data: mmap | bytes = places.host_spot(STATUS).contents() or b""

    def package(self, name: bytes, architecture: bytes) -> Package:
        """The package of this name; of several architectures the one that is asked for."""
        first: dict[bytes, bytes] = {}
        head, last = b"Package: " + name + b"\n", min(len(self._data), _MAX_STATUS)
        at = 0 if self._data[: len(head)] == head else self._data.find(b"\n" + head, 0, last)
        for _ in range(_MAX_STANZAS):
            if at < 0:
                break
            most = min(last, at + _MAX_STANZA)
            end = self._data.find(b"\n\n", at + 1, most)
            fields = dict(_FIELD.findall(self._data[at : end if end >= 0 else most]))
            first = first or fields
            if not architecture or fields.get(b"Architecture") == architecture:
                first = fields
                break
            at = self._data.find(b"\n" + head, at + 1, last)
        version, where = first.get(b"Version", b""), first.get(b"Architecture", architecture)
        return Package(_text(name), _text(version), _text(where), "deb", "dpkg")


def _lists(data: bytes, path: bytes) -> bool:
    return any(b"\n" + name + b"\n" in data for name in _names(path))


def _names(path: bytes) -> Iterator[bytes]:
    """What a list may call a file: packages may name the directories before the /usr merge."""
    yield path
    if path.startswith(b"/usr/"):
        yield path[4:]
    else:
        yield b"/usr" + path


def _reduced(name: bytes) -> bytes:
    """A name, or lines of them, without what file and package names write differently:
    libstdc++.so.6, libstdc++6."""
    return _ODD.sub(b"", name.lower())


def _common(one: bytes, other: bytes) -> int:
    """How many bytes two names share at their beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _text(data: bytes) -> str:
    return data[:300].decode("utf-8", "backslashreplace")
