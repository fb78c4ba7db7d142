"""Where the contents of a process's ELF files come from: descriptors that capture kept, or paths.

A provider gives candidates; whether one is the right file is decided by what the
process's memory shows (`same_program`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from mmap import MAP_PRIVATE, PROT_READ, mmap
from typing import Protocol

from ...model.notes import NoteLog
from ...model.snapshot import MappedFile
from ..binary.elf_file import ElfFile

_STAGE = "modules"


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


def map_file(fd: int) -> mmap | None:
    """The contents of a regular, not empty file (read only); None for anything else.

    OSError as the system says it.
    """
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        return None
    return mmap(fd, status.st_size, flags=MAP_PRIVATE, prot=PROT_READ)


def open_path(name: bytes) -> int:
    """A descriptor of the regular file of this name, -1 for anything else; OSError as it comes."""
    if not stat.S_ISREG(os.stat(name).st_mode):
        return -1  # to open a device or a FIFO may do something
    # O_NONBLOCK: one that was put in its place just now must not hang us
    return os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


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
    """Files by the path that the process had mapped, where that is a regular file.

    `override` is a path to take instead, whatever was asked for.
    """

    def __init__(self, notes: NoteLog | None = None, override: bytes | None = None) -> None:
        self._notes = notes
        self._override = override

    def candidates(
        self, path: bytes, device: bytes, inode: int, build_id: bytes | None
    ) -> Iterator[Opened]:
        name = self._override or path
        if name[:1] != b"/" and not self._override:
            return
        fd = -1
        try:
            fd = open_path(name)
            if fd < 0:
                return
            data = map_file(fd)
        except (OSError, ValueError) as error:
            if fd >= 0:
                os.close(fd)
            if self._notes is not None:
                self._notes.add(_STAGE, _text(name), reason(error))
            return
        if data is None:
            os.close(fd)
            return
        yield Opened(data, fd, "path", name, owned=True)


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


def _text(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
