"""The packages of all modules of a process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from ...model.notes import NoteLog
from ..core.file_search import SearchPlaces
from ..core.modules import Module
from . import apk, rpm
from .dpkg import Dpkg
from .package import Package, own_package

MAX_MODULES = 1000
_STAGE = "packages"
# where packages put what can be executed
_PACKAGED = (b"/usr/", b"/lib/", b"/lib32/", b"/lib64/", b"/libx32/", b"/bin/", b"/sbin/", b"/opt/")


def find_packages(
    modules: Iterable[Module],
    read: Callable[[int, int], bytes],
    places: SearchPlaces,
    notes: NoteLog,
    *,
    native: bool = True,
) -> dict[int, Package]:
    """Modules' packages, by `id(module)`.

    A database is believed only for a file that has its path in the database's own root:
    a container's libc is not the host's. `read` gives captured memory; without `native` no
    library (SQLite) reads a database.
    """
    found: dict[int, Package] = {}
    asked: dict[bytes, list[Module]] = {}
    for module in list(modules)[:MAX_MODULES]:
        package = own_package(module, read)
        if package is not None:
            found[id(module)] = package
        elif _in_its_place(module, places):
            asked.setdefault(module.path, []).append(module)
    try:
        answers = _ask(set(asked), places, native)
    except (OSError, ValueError, MemoryError) as error:
        notes.add(_STAGE, "the databases of packages", str(error) or type(error).__name__)
        return found
    for path, package in answers.items():
        for module in asked[path]:
            found[id(module)] = package
    return found


def _ask(paths: set[bytes], places: SearchPlaces, native: bool) -> dict[bytes, Package]:
    """What the databases say; the first that knows a file counts."""
    if not paths:
        return {}
    dpkg = Dpkg(places)
    try:
        found = dpkg.packages(paths)
    finally:
        dpkg.close()
    if paths - found.keys():
        found |= apk.packages(places, paths - found.keys())
    if native and paths - found.keys():
        found |= rpm.packages(places, sorted(paths - found.keys()))
    return found


def _in_its_place(module: Module, places: SearchPlaces) -> bool:
    """Whether the module's file is the one that its path leads to, and a package may own it."""
    path = module.path
    if module.fd < 0 or not path.startswith(_PACKAGED) or b"\n" in path or b"/../" in path:
        return False
    if path.startswith(b"/usr/local/"):
        return False
    there = places.host_spot(path).status()
    return there is not None and os.path.samestat(there, os.fstat(module.fd))


def preload() -> None:
    """Imports SQLite where there is a database for it."""
    if any(os.path.exists(name) for name in rpm.DATABASES):
        import sqlite3  # noqa: F401
