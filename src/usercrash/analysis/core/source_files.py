"""Source files, below directories that somebody configured or named, or in a cache of debuginfod's.

Debug information only says what a file is called: its last components are looked for below the
directories, so that it does not matter where the program was built, and no name can lead to a
file that nobody meant to be shown. In a cache, a file lies by the build-id of its program and its
whole name. What is opened is opened with the rights of the analysis.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from ...errors import UsercrashError
from ...model.notes import NoteLog
from .file_search import Place, SearchPlaces, Spot

MAX_BYTES = 4 << 20  # of a file; more is no source that somebody wrote
_MAX_PARTS = 40  # components of a name, from its end
_MAX_CACHED = 240  # bytes of a name in a cache: a longer one is no file's
_MAX_OPENS = 600  # in one analysis
_STAGE = "source"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that was found: `name` is where. `by_name`: nothing but the last component of its
    name is what debug information says."""

    name: bytes
    lines: list[bytes]
    modified_ns: int
    by_name: bool


@dataclass(slots=True)
class SourceFiles:
    """The sources of one analysis, each read once."""

    places: SearchPlaces
    notes: NoteLog
    _known: dict[tuple[str, bytes, int], SourceFile | None] = field(default_factory=dict)
    _owners: dict[bytes, int] = field(default_factory=dict)  # of directories; −1: not to be had
    _opens: int = _MAX_OPENS

    def find(self, path: str, build_id: bytes | None = None, least: int = 1) -> SourceFile | None:
        """The file that the debug information of the program with this build-id calls `path`, None
        where there is none: so many of its last components must agree at `least`."""
        key = (path, build_id or b"", least)
        if key not in self._known:
            self._known[key] = self._find(*key)
        return self._known[key]

    def _find(self, path: str, build_id: bytes, least: int) -> SourceFile | None:
        parts = _parts(path)
        for place, wanted, agreeing in _candidates(self.places.sources, parts):
            if agreeing < least:
                break
            found = self._at(place, b"/".join(wanted), agreeing == 1 and len(parts) > 1)
            if found is not None:
                return found
        name = _cached_name(path, build_id)
        for place in self.places.caches if name else ():
            found = self._at(place, name, False)
            if found is not None:
                return found
        return None

    def _at(self, place: Place, name: bytes, by_name: bool) -> SourceFile | None:
        """The file of this name below a directory."""
        if self._opens <= 0:
            return None
        self._opens -= 1
        owner = self._owner(place)
        if owner < 0:
            return None
        spot = Spot(place, b"/" + name, True, self.places.local)
        return self._read(spot, owner, by_name)

    def _owner(self, place: Place) -> int:
        """Who owns a directory; −1, and a note, for one that cannot be opened."""
        if place.name not in self._owners:
            try:
                fd = place.start()
            except OSError as error:
                self._note(place.name, error.strerror or str(error))
                self._owners[place.name] = -1
            else:
                self._owners[place.name] = os.fstat(fd).st_uid
                os.close(fd)
        return self._owners[place.name]

    def _read(self, spot: Spot, owner: int, by_name: bool) -> SourceFile | None:
        try:
            fd = spot.open()
        except FileNotFoundError:
            return None
        except (OSError, ValueError, UsercrashError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self._note(spot.name, why)
            return None
        if fd < 0:
            return None
        with open(fd, "rb") as file:
            status = os.fstat(fd)
            if status.st_uid not in (0, owner):
                self._note(spot.name, "refused: neither root's nor the directory's owner's")
                return None
            if status.st_size > MAX_BYTES:
                self._note(spot.name, f"refused: larger than {MAX_BYTES >> 20} MiB")
                return None
            data = file.read(MAX_BYTES)
        if b"\0" in data:
            self._note(spot.name, "refused: no text")
            return None
        return SourceFile(spot.name, data.split(b"\n"), status.st_mtime_ns, by_name)

    def _note(self, name: bytes, why: str) -> None:
        self.notes.add(_STAGE, name.decode("utf-8", "backslashreplace"), why)


def _parts(path: str) -> list[bytes]:
    """The components of a name without `.` and `..`; none for a name that no file can have."""
    parts: list[bytes] = []
    for part in path.encode("utf-8", "replace").split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    return parts[-_MAX_PARTS:] if b"\0" not in b"".join(parts) else []


def _cached_name(path: str, build_id: bytes) -> bytes:
    """What elfutils' client calls a source file in its cache (as of version 0.188); b"" where it
    cannot have it."""
    name = path.encode("utf-8", "replace").replace(b"#", b"#_").replace(b"/", b"##")
    if len(build_id) < 2 or path[:1] != "/" or b"\0" in name or len(name) > _MAX_CACHED:
        return b""
    return build_id.hex().encode() + b"/source" + name


def _candidates(
    places: tuple[Place, ...], parts: list[bytes]
) -> Iterator[tuple[Place, list[bytes], int]]:
    """(directory, name below it, how many last components agree), the best first. A directory's
    own name counts: `src/list.c` is `list.c` below a directory called `src`."""
    found = []
    for number, place in enumerate(places):
        above = [part for part in place.name.split(b"/") if part]
        for count in range(len(parts), 0, -1):
            wanted = parts[-count:]
            agreeing = _agreeing([*above, *wanted], parts)
            found.append((-agreeing, number, count, place, wanted))
    found.sort(key=lambda row: row[:3])
    for agreeing, _, _, place, wanted in found:
        yield place, wanted, -agreeing


def _agreeing(some: list[bytes], others: list[bytes]) -> int:
    count = 0
    for one, other in zip(reversed(some), reversed(others), strict=False):
        if one != other:
            break
        count += 1
    return count
