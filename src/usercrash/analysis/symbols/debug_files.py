"""Separate debug files (GDB manual, "Separate Debug Files"): by build-id, by `.gnu_debuglink`.

Only regular files under the debug directory are opened by name. One whose build-id (or,
without build-ids, whose CRC-32) differs is refused.
"""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

from ...errors import FormatError
from ...model.notes import NoteLog
from ..binary.elf_file import ElfFile
from ..core.module_files import map_file, reason

DEBUG_ROOT = b"/usr/lib/debug"
_STAGE = "symbols"


@dataclass(slots=True)
class DebugFile:
    """A debug file that belongs to a module's file; `elf` is opened when first asked for."""

    path: bytes
    status: os.stat_result
    elf: ElfFile


def debug_candidates(
    elf: ElfFile, path: bytes, build_id: bytes | None, root: bytes = DEBUG_ROOT
) -> Iterator[bytes]:
    """Names under `root` where the debug file of a module may lie, the best first."""
    if build_id is not None and len(build_id) >= 2:
        name = build_id.hex().encode()
        yield root + b"/.build-id/" + name[:2] + b"/" + name[2:] + b".debug"
    link = elf.debug_link
    directory = os.path.dirname(path)
    if link is None or not directory.startswith(b"/") or b"/../" in directory + b"/":
        return
    yield root + directory + b"/" + link[0]
    if directory.startswith(b"/usr/"):  # packages name the directories before the /usr merge
        yield root + directory[4:] + b"/" + link[0]
    else:
        yield root + b"/usr" + directory + b"/" + link[0]


def debug_status(
    elf: ElfFile, path: bytes, build_id: bytes | None, root: bytes = DEBUG_ROOT
) -> tuple[bytes, os.stat_result] | None:
    """(name, status) of the first candidate that is a regular file, without opening it."""
    for name in debug_candidates(elf, path, build_id, root):
        try:
            status = os.stat(name)
        except (OSError, ValueError):
            continue
        if stat.S_ISREG(status.st_mode):
            return name, status
    return None


def open_debug_file(
    elf: ElfFile, path: bytes, build_id: bytes | None, notes: NoteLog, root: bytes = DEBUG_ROOT
) -> DebugFile | None:
    """The debug file of a module, None where there is none that belongs to it."""
    for name in debug_candidates(elf, path, build_id, root):
        opened = _open(name, notes)
        if opened is None:
            continue
        data, status = opened
        try:
            found = ElfFile(data)
        except FormatError as error:
            notes.add(_STAGE, _text(name), error.message)
            continue
        why = _differs(elf, found, data, build_id)
        if not why:
            return DebugFile(name, status, found)
        notes.add(_STAGE, _text(name), f"refused: {why}")
    return None


def _open(name: bytes, notes: NoteLog) -> tuple[mmap, os.stat_result] | None:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        notes.add(_STAGE, _text(name), reason(error))
        return None
    try:
        data = map_file(fd)
        return None if data is None else (data, os.fstat(fd))
    except (OSError, ValueError) as error:
        notes.add(_STAGE, _text(name), reason(error))
        return None
    finally:
        os.close(fd)


def _differs(elf: ElfFile, found: ElfFile, data: mmap, build_id: bytes | None) -> str:
    """Why a debug file does not belong to a file; "" if it does."""
    if build_id is not None:
        if found.build_id == build_id:
            return ""
        theirs = found.build_id.hex() if found.build_id else "none"
        return f"its build-id is {theirs}, not {build_id.hex()}"
    link = elf.debug_link
    if link is not None and zlib.crc32(data) == link[1]:
        return ""
    return "its CRC differs from the one in .gnu_debuglink"


def _text(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
