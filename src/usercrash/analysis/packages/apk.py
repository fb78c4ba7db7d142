"""apk's database (Alpine), read as data: `lib/apk/db/installed`.

One stanza for each package: `P:` name, `V:` version, `A:` architecture, then `F:` a directory and
`R:` the files in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice

from ..core.file_search import SearchPlaces
from .package import Package

DATABASES = (b"/lib/apk/db/installed", b"/usr/lib/apk/db/installed")
MAX_BYTES = 64 << 20
_MAX_FIELDS = 4_000_000
_LINE = re.compile(rb"^(?:([PVAFR]):([^\n]*))?$", re.MULTILINE)  # or an empty one


def packages(places: SearchPlaces, paths: Iterable[bytes]) -> dict[bytes, Package]:
    """The packages of these files, where there are any."""
    for name in DATABASES:
        data = places.host_spot(name).contents()
        if data is not None:
            return _owners(memoryview(data)[:MAX_BYTES], paths)
    return {}


def _owners(data: memoryview, paths: Iterable[bytes]) -> dict[bytes, Package]:
    """All in one pass, however often a name stands there."""
    wanted: dict[tuple[bytes, bytes], list[bytes]] = {}
    for path in paths:
        directory, _, base = path.strip(b"/").rpartition(b"/")
        for name in {directory, directory.removeprefix(b"usr/"), b"usr/" + directory}:
            wanted.setdefault((name, base), []).append(path)
    found: dict[bytes, Package] = {}
    fields: dict[bytes, bytes] = {}
    for line in islice(_LINE.finditer(data), _MAX_FIELDS):
        key, value = line.group(1, 2)
        if key is None:
            fields = {}
        elif key != b"R":
            fields[key] = value
        else:
            for path in wanted.get((fields.get(b"F", b""), value), ()):
                found.setdefault(path, _package(fields))
    return found


def _package(fields: dict[bytes, bytes]) -> Package:
    name, version, where = (
        fields.get(key, b"")[:300].decode("utf-8", "backslashreplace") for key in (b"P", b"V", b"A")
    )
    return Package(name, version, where, "apk", "apk")
