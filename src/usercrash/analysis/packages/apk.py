"""apk's database (Alpine), read as data: `lib/apk/db/installed`.

One stanza for each package: `P:` name, `V:` version, `A:` architecture, then `F:` a directory and
`R:` the files in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from mmap import mmap

from ..core.file_search import SearchPlaces
from .package import Package

DATABASES = (b"/lib/apk/db/installed", b"/usr/lib/apk/db/installed")
MAX_STANZA = 8 << 20
_MAX_PLACES = 200  # files of one name
_FIELD = re.compile(rb"^([PVA]):([^\n]{0,300})", re.MULTILINE)


def packages(places: SearchPlaces, paths: Iterable[bytes]) -> dict[bytes, Package]:
    """The packages of these files, where there are any."""
    for name in DATABASES:
        data = places.host_spot(name).contents()
        if data is not None:
            found = ((path, _owner(data, path)) for path in paths)
            return {path: package for path, package in found if package is not None}
    return {}


def _owner(data: mmap, path: bytes) -> Package | None:
    directory, _, base = path.strip(b"/").rpartition(b"/")
    line = b"\nR:" + base + b"\n"
    at = -1
    for _ in range(_MAX_PLACES):
        at = data.find(line, at + 1)
        if at < 0:
            return None
        begin = data.rfind(b"\n\n", max(0, at - MAX_STANZA), at) + 1
        start = data.rfind(b"\nF:", begin, at)
        if start < 0:
            continue
        named = data[start + 3 : data.find(b"\n", start + 1)]
        if named in (directory, directory.removeprefix(b"usr/"), b"usr/" + directory):
            first = data.find(b"\nF:", begin)  # the package's fields stand before its files
            fields = dict(_FIELD.findall(data[begin : min(first, begin + (64 << 10))]))
            name, version, where = (
                fields.get(key, b"").decode("utf-8", "backslashreplace")
                for key in (b"P", b"V", b"A")
            )
            return Package(name, version, where, "apk", "apk")
    return None
