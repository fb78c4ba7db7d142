"""The self-contained copy of usercrash and what it needs, as it is installed.

The bundle is one directory, `/usr/lib/usercrash/VERSION-DIGEST`: the package, its
dependencies, byte code. Its name says its content, so that an upgrade lies beside what it
replaces, and a program that is just starting never meets half of each.
"""

from __future__ import annotations

import compileall
import hashlib
import os
import py_compile
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from .. import __version__
from ..errors import UsercrashError

_PACKAGE = "usercrash"
_REQUIREMENT = re.compile(r"[A-Za-z0-9._-]+")
_HERE = Path(__file__).parents[1]  # the package itself


@dataclass(frozen=True, slots=True)
class Bundle:
    """What goes into the bundle: its path there → the file it is copied from."""

    files: dict[str, Path]
    name: str  # VERSION-DIGEST


def collect_bundle() -> Bundle:
    """The files of the running usercrash and of its dependencies, wherever they are installed.

    UsercrashError if a dependency is missing.
    """
    files = dict(_package_files())
    for distribution in _dependencies(_own_distribution(), set()):
        for file in distribution.files or ():
            if ".." in file.parts or "__pycache__" in file.parts:
                continue  # scripts in bin/ and byte code of another place
            files[str(file)] = Path(str(distribution.locate_file(file)))
    return Bundle(files, f"{__version__}-{_digest(files)}")


def _own_distribution() -> metadata.Distribution:
    try:
        return metadata.distribution(_PACKAGE)
    except metadata.PackageNotFoundError as error:
        hint = "install it by `pip install .`, or in a checkout by `make demo`"
        raise UsercrashError("usercrash runs without its package metadata", hint) from error


def _package_files() -> Iterator[tuple[str, Path]]:
    for path in _HERE.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield str(Path(_PACKAGE) / path.relative_to(_HERE)), path
    found = Path(str(_own_distribution().locate_file("")))
    for name in (f"{_PACKAGE}.egg-info/PKG-INFO", f"{_PACKAGE}-{__version__}.dist-info/METADATA"):
        if (found / name).is_file():
            # The installed copy can install again: it must know its dependencies.
            yield f"{_PACKAGE}-{__version__}.dist-info/METADATA", found / name


def _dependencies(
    distribution: metadata.Distribution, seen: set[str]
) -> Iterator[metadata.Distribution]:
    """All that it needs, and what that needs; each once."""
    for line in distribution.requires or ():
        requirement, _, marker = line.partition(";")
        found = _REQUIREMENT.match(requirement)
        if found is None or "extra" in marker or found[0].lower() in seen:
            continue
        seen.add(found[0].lower())
        try:
            wanted = metadata.distribution(found[0])
        except metadata.PackageNotFoundError as error:
            if marker:
                continue  # for other systems or versions of Python
            raise UsercrashError(f"the dependency {found[0]} is not installed") from error
        yield wanted
        yield from _dependencies(wanted, seen)


def _digest(files: dict[str, Path]) -> str:
    total = hashlib.sha256(sys.version.encode())
    for name in sorted(files):
        content = hashlib.sha256(files[name].read_bytes()).digest()
        total.update(name.encode() + b"\0" + content)
    return total.hexdigest()[:12]


def is_whole(directory: Path, bundle: Bundle) -> bool:
    """Whether the directory holds just this bundle, undamaged."""
    copies = {name: directory / name for name in bundle.files}
    return all(path.is_file() and not path.is_symlink() for path in copies.values()) and (
        bundle.name.endswith(_digest(copies))
    )


def write_bundle(bundle: Bundle, directory: Path, final: str) -> None:
    """Copy the bundle to the new `directory`, compiled for its place of use, `final`.

    All of it belongs to the caller and is writable by nobody else. OSError as it comes.
    """
    directory.mkdir(mode=0o755)
    for name, source in bundle.files.items():
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    # Unchecked: the files never change, and the client must not ask for their dates.
    compileall.compile_dir(
        directory,
        quiet=2,
        stripdir=str(directory),
        prependdir=final,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    for parent, directories, names in os.walk(directory):
        for name in directories:
            os.chmod(os.path.join(parent, name), 0o755)
        for name in names:
            os.chmod(os.path.join(parent, name), 0o644)
    os.chmod(directory, 0o755)


def interpreter() -> str:
    """The interpreter that installed programs run with: the one that the bundle's compiled
    modules are made for, outside any virtual environment.

    UsercrashError if somebody else than root could change it or its library.
    """
    base = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    library = sysconfig.get_path("stdlib")
    for path in (base, os.path.realpath(library)):
        wrong = untrusted(path)
        if wrong:
            raise UsercrashError(
                f"{base} cannot run as root for every crash: {wrong} is not only root's to change",
                "make .venv with the system's /usr/bin/python3",
            )
    return "/usr/bin/python3" if os.path.realpath("/usr/bin/python3") == base else base


def untrusted(path: str) -> str:
    """The first part of the path that another than root can change, "" if there is none."""
    current = Path(path)
    for part in (current, *current.parents):
        state = part.stat()
        sticky_directory = part.is_dir() and state.st_mode & 0o1000
        if state.st_uid != 0 or (state.st_mode & 0o022 and not sticky_directory):
            return str(part)
    return ""
