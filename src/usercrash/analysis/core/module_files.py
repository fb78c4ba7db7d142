"""Where the contents of a process's ELF files come from: descriptors that capture kept, or paths.

A provider gives candidates; whether one is the right file is decided by what the
process's memory shows (`same_program`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from mmap import mmap
from typing import Protocol

from ...model.notes import NoteLog
from ...model.snapshot import MappedFile
from ..binary.elf_file import ElfFile
from .file_search import HOST, Place, SearchPlaces, Spot
from .opening import map_file

_STAGE = "modules"
NAMED = "--exe "  # before the name of a program that somebody named, in a note of why not it


@dataclass(slots=True)
class Opened:
    """A file's contents; `how` is "descriptor" or "path", `name` what it was called there.

    `fd` is owned by this object when `owned` says so.
    """

    data: mmap
    fd: int
    how: str
    name: bytes
    owned: bool

    def close(self) -> None:
        """Give back what was opened for a file that is not wanted after all."""
        if self.owned:
            os.close(self.fd)


class FileProvider(Protocol):
    """Finds files that may be what a process had mapped."""

    def candidates(
        self, path: bytes, device: bytes, inode: int, build_id: bytes | None
    ) -> Iterator[Opened]:
        """Files to try, the best first."""
        ...


def reason(error: OSError | ValueError) -> str:
    """Why a file could not be opened or mapped, for a note that names it already."""
    told = error.strerror if isinstance(error, OSError) else ""
    return told or str(error) or type(error).__name__


class DescriptorFiles:
    """Files by the descriptors that were opened while the process was held: right even when the
    file is deleted, replaced, or in another mount namespace."""

    def __init__(self, files: list[MappedFile], notes: NoteLog | None = None) -> None:
        self._by_identity = {(file.device, file.inode): file for file in files if file.fd >= 0}
        self._notes = notes

    def candidates(
        self, path: bytes, device: bytes, inode: int, build_id: bytes | None
    ) -> Iterator[Opened]:
        file = self._by_identity.get((device, inode))
        if file is None:
            return
        try:
            data = map_file(file.fd)
        except (OSError, ValueError) as error:
            if self._notes is not None:
                self._notes.add(_STAGE, _text(path), reason(error))
            return
        if data is not None:
            yield Opened(data, file.fd, "descriptor", path, owned=False)


class PathFiles:
    """Files by the path that the process had mapped and by their build-id, in all `places`."""

    def __init__(
        self,
        notes: NoteLog | None = None,
        places: SearchPlaces = HOST,
    ) -> None:
        self._notes = notes
        self._places = places

    def candidates(
        self, path: bytes, device: bytes, inode: int, build_id: bytes | None
    ) -> Iterator[Opened]:
        for spot in self._places.module_spots(path, build_id):
            tell = None
            if self._notes is not None and spot.path == path:
                tell = partial(_note, self._notes, spot.name)
            opened = open_spot(spot, tell)
            if opened is not None:
                yield opened


class GivenFile:
    """One file that somebody named, whatever is asked for."""

    def __init__(self, file: Place, notes: NoteLog) -> None:
        self._file = file
        self._notes = notes

    def candidates(
        self, path: bytes, device: bytes, inode: int, build_id: bytes | None
    ) -> Iterator[Opened]:
        if self._file.fd >= 0:
            data = map_file(self._file.fd)
            if data is not None:
                yield Opened(data, self._file.fd, "path", self._file.name, owned=False)
            return
        directory, _, name = os.path.abspath(self._file.name).rpartition(b"/")
        spot = Spot(Place(directory or b"/"), b"/" + name)
        opened = open_spot(spot, partial(_note, self._notes, self._file.name))
        if opened is not None:
            yield opened


def open_spot(spot: Spot, tell: Callable[[OSError | ValueError], None] | None) -> Opened | None:
    """The file of a spot with its contents, None where there is none that is not empty; `tell`
    is told why it cannot be had."""
    fd = -1
    try:
        fd = spot.open()
        data = map_file(fd) if fd >= 0 else None
    except (OSError, ValueError) as error:
        if fd >= 0:
            os.close(fd)
        if tell is not None:
            tell(error)
        return None
    if data is None:
        if fd >= 0:
            os.close(fd)
        return None
    return Opened(data, fd, "path", spot.name, owned=True)


class FileProviders:
    """Several providers, asked one after the other."""

    def __init__(self, providers: Sequence[FileProvider]) -> None:
        self._providers = providers

    def candidates(
        self, path: bytes, device: bytes, inode: int, build_id: bytes | None
    ) -> Iterator[Opened]:
        for provider in self._providers:
            yield from provider.candidates(path, device, inode, build_id)


def same_program(elf: ElfFile, memory: ElfFile | None, build_id: bytes | None) -> str:
    """Why a file is not what the memory shows; "" if it is, or if nothing speaks against it."""
    if memory is None:
        return ""
    if build_id is not None:
        if elf.build_id is None:
            return f"it has no build-id, the process had {build_id.hex()}"
        if elf.build_id != build_id:
            return f"build-id {elf.build_id.hex()}, the process had {build_id.hex()}"
        return ""
    size = memory.header.phoff + memory.header.phentsize * len(memory.program_headers)
    if bytes(elf.view[16:40]) != bytes(memory.view[16:40]) or bytes(
        elf.view[memory.header.phoff : size]
    ) != bytes(memory.view[memory.header.phoff : size]):
        return "its program headers differ from those in memory"
    return ""


def doubt_of_path(opened: Opened, inode: int, crash_ns: int, memory: ElfFile | None) -> str:
    """Why a file that was found by its path may not be believed where no build-id decides;
    "" if nothing speaks against it.

    `inode` is what the process had mapped, `crash_ns` when it crashed (since the epoch); 0 where
    the core does not tell.
    """
    if opened.how != "path" or not inode:
        return ""
    status = os.fstat(opened.fd)
    if status.st_ino != inode:
        return "" if memory is not None else "another file has the name now"
    if crash_ns and status.st_mtime_ns > crash_ns:
        return "it was written to after the crash"
    return ""


def _note(notes: NoteLog, name: bytes, error: OSError | ValueError) -> None:
    notes.add(_STAGE, _text(name), reason(error))


def _text(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
