"""Separate debug files (GDB manual, "Separate Debug Files"): by build-id, by `.gnu_debuglink`.

Only regular files are opened by name, without privileges. One whose build-id (or, where one of
the two has none, whose CRC-32) differs is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from mmap import mmap

from ...errors import FormatError
from ...model.notes import NoteLog
from ..binary.elf_file import ElfFile
from ..core.file_search import HOST, SearchPlaces, Spot
from ..core.module_files import open_spot, reason
from ..core.modules import Module

_STAGE = "symbols"
_OTHER_CRC = "its CRC differs from the one in .gnu_debuglink"


@dataclass(slots=True)
class DebugFile:
    """A debug file that belongs to a module's file."""

    path: bytes
    status: os.stat_result
    elf: ElfFile


def debug_spots(
    elf: ElfFile, path: bytes, build_id: bytes | None, places: SearchPlaces = HOST
) -> Iterator[Spot]:
    """Where the debug file of a module may lie, the best first."""
    link = elf.debug_link
    yield from places.debug_spots(path, build_id, link[0] if link is not None else None)


def debug_status(
    elf: ElfFile, path: bytes, build_id: bytes | None, places: SearchPlaces = HOST
) -> tuple[bytes, os.stat_result] | None:
    """(name, status) of the first candidate that is a regular file, without reading it."""
    for spot in debug_spots(elf, path, build_id, places):
        status = spot.status()
        if status is not None:
            return spot.name, status
    return None


def open_debug_file(
    elf: ElfFile, path: bytes, build_id: bytes | None, notes: NoteLog, places: SearchPlaces = HOST
) -> DebugFile | None:
    """The debug file of a module, None where there is none that belongs to it."""
    for spot in debug_spots(elf, path, build_id, places):
        opened = open_spot(spot, partial(_tell, notes, spot))
        if opened is None:
            continue
        status = os.fstat(opened.fd)
        opened.close()
        try:
            found = ElfFile(opened.data)
        except FormatError as error:
            notes.add(_STAGE, _text(spot.name), error.message)
            continue
        why = _differs(elf, found, opened.data, status, build_id, places)
        if not why:
            return DebugFile(spot.name, status, found)
        notes.add(_STAGE, _text(spot.name), f"refused: {why}")
    return None


def separate_elf(module: Module, places: SearchPlaces = HOST) -> ElfFile | None:
    """The parsed debug file of a module that has a file of its own, None where there is none.
    What is refused is noted where names are looked for."""
    if module.elf is None:
        return None
    found = open_debug_file(module.elf, module.path, module.elf.build_id, NoteLog(), places)
    return found.elf if found is not None else None


def _differs(
    elf: ElfFile,
    found: ElfFile,
    data: mmap,
    status: os.stat_result,
    build_id: bytes | None,
    places: SearchPlaces,
) -> str:
    """Why a debug file does not belong to a file; "" if it does."""
    if elf.loads and found.loads and elf.loads[0].vaddr != found.loads[0].vaddr:
        return "its addresses are others: the module was moved after it was linked (prelink)"
    if build_id is not None and found.build_id is not None:
        if found.build_id == build_id:
            return ""
        return f"its build-id is {found.build_id.hex()}, not {build_id.hex()}"
    link = elf.debug_link
    if link is None:
        return f"it has no build-id, the module has {build_id.hex()}" if build_id else _OTHER_CRC
    found_sum = places.sums.crc32(data, status)
    if found_sum is None:
        return f"its CRC was not looked at: {len(data) >> 20} MiB are too much"
    return "" if found_sum == link[1] else _OTHER_CRC


def _tell(notes: NoteLog, spot: Spot, error: OSError | ValueError) -> None:
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        notes.add(_STAGE, _text(spot.name), reason(error))


def _text(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
