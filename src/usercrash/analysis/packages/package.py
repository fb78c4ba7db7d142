"""A package, and what an ELF file says of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from ..binary.elf_file import MAX_NOTE_BYTES, ElfFile, note_of

if TYPE_CHECKING:
    from ..core.modules import Module

# systemd.io, "ELF Package Metadata": owner and type of the note, keys of the JSON in it
_OWNER, _TYPE = b"FDO", 0xCAFE1A7E
_MAX_TEXT = 300
_MAX_JSON = 64 << 10


@dataclass(frozen=True, slots=True)
class Package:
    """`kind` is "deb", "rpm", "apk" or another word of the note; `source` who says so: "note",
    "dpkg", "rpm" or "apk". What is not known is empty."""

    name: str
    version: str
    architecture: str
    kind: str
    source: str


class _Note(msgspec.Struct):
    name: str = ""
    version: str = ""
    architecture: str = ""
    type: str = ""


def package_of_note(desc: bytes) -> Package | None:
    """The package that the note's JSON names; None if it names none."""
    try:
        note = msgspec.json.decode(desc.rstrip(b"\0")[:_MAX_JSON], type=_Note)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if not note.name:
        return None
    name, version, where = note.name, note.version, note.architecture
    return Package(
        name[:_MAX_TEXT], version[:_MAX_TEXT], where[:_MAX_TEXT], note.type[:_MAX_TEXT], "note"
    )


def own_package(module: Module, read: Callable[[int, int], bytes]) -> Package | None:
    """What the module says of itself, in its file or in captured memory (`read`)."""
    elf = module.headers
    for segment in elf.note_segments if elf is not None else ():
        if module.elf is not None:
            size = min(segment.filesz, MAX_NOTE_BYTES)
            data: bytes | memoryview = module.elf.view[segment.offset : segment.offset + size]
        else:
            data = read(segment.vaddr + module.bias, min(segment.memsz, MAX_NOTE_BYTES))
        found = _in_notes(data, elf)
        if found is not None:
            return found
    return None


def _in_notes(data: bytes | memoryview, elf: ElfFile | None) -> Package | None:
    little = elf.header.little if elf is not None else True
    found = note_of(data, little, _OWNER, _TYPE, range(_MAX_JSON + 1))
    return package_of_note(found) if found is not None else None
