"""Files that debug information refers to: the alternate file that dwz made of common parts,
`.dwo` files and `.dwp` packages of split DWARF.

Their names come from the crashed program's file. They are opened where the analysis runs, without
privileges, as regular files only, and count only if their build-id (for `.dwo` and `.dwp`: the id
of the unit) is the one that is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import partial

from ...errors import FormatError
from ...model.notes import NoteLog
from ..binary.elf_file import ElfFile
from ..core.file_search import HOST, SearchPlaces, Spot
from ..core.module_files import open_spot, reason
from ..dwarf.abbreviations import string_end
from ..dwarf.debug_info import DwarfFile
from ..dwarf.encodings import fixed, uleb
from ..dwarf.line_program import join
from ..dwarf.split_units import unit_in_object, unit_in_package
from ..dwarf.units import Unit

_STAGE = "symbols"
_MAX_OBJECTS = 4_096  # `.dwo` files for one module
_MAX_NOTES = 8
_OPENING = 200  # what opening a file counts as, of the work on a module


class RelatedFiles:
    """Finds the files that belong to one file with debug information.

    `path` is the module's, `debug_path` that of the file which has the debug information.
    An alternate file that is missing is put on the list `wanted`: ("debuginfo", build-id).
    """

    def __init__(
        self,
        file: DwarfFile,
        path: bytes,
        debug_path: bytes,
        notes: NoteLog,
        places: SearchPlaces = HOST,
        wanted: list[tuple[str, bytes]] | None = None,
    ) -> None:
        self._file = file
        self._path = path
        self._debug_path = debug_path
        self._notes = notes
        self._places = places
        self._wanted = wanted if wanted is not None else []
        self._alternate: tuple[DwarfFile | None] | None = None
        self._packages: list[DwarfFile] | None = None
        self._objects = 0
        self._missing = 0

    # --- dwz ---

    def alternate(self) -> DwarfFile | None:
        """The alternate file, None where it is missing (a note says so, once)."""
        if self._alternate is None:
            self._alternate = (self._find_alternate(),)
        return self._alternate[0]

    def _find_alternate(self) -> DwarfFile | None:
        link = alternate_link(self._file.elf)
        if link is None:
            return None
        name, build_id = link
        for spot in self._alternate_spots(name, build_id):
            elf = self._open(spot)
            if elf is not None and elf.build_id == build_id:
                return DwarfFile(elf, work=self._file.work)
        self._wanted.append(("debuginfo", build_id))
        self._note(f"{_text(name)} (build-id {build_id.hex()})", "not found: names are missing")
        return None

    def _alternate_spots(self, name: bytes, build_id: bytes) -> Iterator[Spot]:
        whole = os.path.normpath(join(os.path.dirname(self._debug_path), name))
        if whole.startswith(b"/"):
            yield self._places.host_spot(whole)
        yield from self._places.debug_spots(b"", build_id, None)
        base = os.path.basename(name)
        yield self._places.host_spot(self._places.standard + b"/.dwz/" + base)

    # --- split DWARF ---

    def split_unit(self, skeleton: Unit) -> Unit | None:
        """The unit that a skeleton stands for, None where it is missing (a note says so)."""
        name = skeleton.dwo_name
        for package in self._all_packages():
            try:
                found = unit_in_package(package, skeleton)
            except FormatError as error:
                self._note("split debug information", error.message)
                continue
            if found is not None:
                return self._joined(found)
        wrong = False
        for spot in self._object_spots(skeleton.directory, name):
            if self._objects >= _MAX_OBJECTS:
                break
            elf = self._open(spot)
            if elf is None:
                continue
            self._objects += 1
            self._file.work.spend(_OPENING + len(elf.sections))
            found = unit_in_object(DwarfFile(elf, split=True, work=self._file.work), skeleton)
            if found is not None:
                return self._joined(found)
            wrong = True
        why = "is of another build" if wrong else "not found"
        self._note(_text(name), f"{why}: names of inlined and local functions are missing")
        return None

    def _joined(self, unit: Unit) -> Unit:
        unit.file.alternate = self.alternate
        return unit

    def _all_packages(self) -> list[DwarfFile]:
        if self._packages is None:
            names = dict.fromkeys((self._path + b".dwp", self._debug_path + b".dwp"))
            spots = [self._places.host_spot(name) for name in names if name.startswith(b"/")]
            spots += self._package_spots()
            opened = [self._open(spot) for spot in spots]
            self._packages = [
                DwarfFile(elf, split=True, work=self._file.work)
                for elf in opened
                if elf is not None
            ]
        return self._packages

    def _package_spots(self) -> Iterator[Spot]:
        """Where a package lies below directories of debug files: by the build-id, by the program's
        path there, and, as gdb looks for it, by the program's name alone."""
        names = []
        build_id = self._file.elf.build_id
        if build_id is not None:
            text = build_id.hex().encode()
            names.append(b"/.build-id/" + text[:2] + b"/" + text[2:] + b".dwp")
        if self._path:
            names.append(os.path.normpath(b"/" + self._path.lstrip(b"/")) + b".dwp")
            names.append(b"/" + os.path.basename(self._path) + b".dwp")
        yield from self._below_debug_dirs(names)

    def _below_debug_dirs(self, names: Iterable[bytes]) -> Iterator[Spot]:
        """These paths below each directory of debug files."""
        unique = list(dict.fromkeys(names))
        for place in self._places.debug_dirs:
            yield from (Spot(place, name, local=self._places.local) for name in unique)
        for name in unique:
            yield self._places.host_spot(self._places.standard + name)

    def _object_spots(self, directory: bytes, name: bytes) -> Iterable[Spot]:
        names = [join(directory, name)]
        for home in (os.path.dirname(self._path), os.path.dirname(self._debug_path)):
            if not name.startswith(b"/"):
                names.append(join(home, name))
            names.append(join(home, os.path.basename(name)))
        whole = dict.fromkeys(os.path.normpath(name) for name in names)
        found = [self._places.host_spot(name) for name in whole if name.startswith(b"/")]
        # (gdb looks for the name as it stands)
        below = (join(directory, name), name, os.path.basename(name))
        rooted = [os.path.normpath(b"/" + one.lstrip(b"/")) for one in below]
        return [*found, *self._below_debug_dirs(rooted)]

    # --- files ---

    def _open(self, spot: Spot) -> ElfFile | None:
        opened = open_spot(spot, partial(self._tell, spot))
        if opened is None:
            return None
        opened.close()
        try:
            return ElfFile(opened.data)
        except FormatError as error:
            self._note(_text(spot.name), error.message)
        return None

    def _tell(self, spot: Spot, error: OSError | ValueError) -> None:
        if not isinstance(error, FileNotFoundError):
            self._note(_text(spot.name), reason(error))

    def _note(self, what: str, why: str) -> None:
        self._missing += 1
        if self._missing <= _MAX_NOTES:
            self._notes.add(_STAGE, what, why)


def alternate_link(elf: ElfFile) -> tuple[bytes, bytes] | None:
    """(name, build-id) of the alternate file: `.gnu_debugaltlink`, or DWARF 5's `.debug_sup`."""
    section = elf.section(b".gnu_debugaltlink")
    try:
        if section is not None:
            data = bytes(elf.contents(section)[:4_200])
            end = string_end(data, 0)
            return (data[:end], data[end + 1 :]) if data[end + 1 :] else None
        section = elf.section(b".debug_sup")
        if section is None:
            return None
        data = bytes(elf.contents(section)[:4_200])
        if fixed(data, 2, "B"):  # it is such a file itself
            return None
        end = string_end(data, 3)
        size, at = uleb(data, end + 1)
        return (data[3:end], data[at : at + size]) if size else None
    except FormatError:
        return None


def _text(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")[:300]
