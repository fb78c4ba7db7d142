"""Names and lines of a file, made once and kept: the container in the cache directory.

Who does what: `make` runs in a sandboxed child that sees one file; its parent publishes
(`publish`) what the child gave, without parsing it; an analysis only maps what is there
(`lookup`). Shared is what comes from files that root owns and nobody else can write (or, for
a private cache, that its owner's uid owns): anything else serves one crash.

The container, little-endian: magic (8 bytes), CRC-32 of all that follows it, length
of the label, of the line table (0: none), of the symbol table, the address of the first
load, then these parts, each padded to 16 bytes. The identity says which files it was made of.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys
import time
import zlib
from mmap import mmap

from ...descriptors import write_all
from ...errors import FormatError
from ...model.notes import NoteLog
from ..binary.elf_file import ElfFile
from ..binary.symbol_table import SymbolTable
from ..core.file_search import HOST, SearchPlaces
from ..core.module_files import reason
from ..core.opening import map_file
from .debug_files import debug_status, open_debug_file
from .file_symbols import DEFAULT_MAX_DEBUG_BYTES, FileSymbols, convert
from .line_tables import FORMAT, LineTable

MAX_SHARED_BYTES = 4 * DEFAULT_MAX_DEBUG_BYTES
_MAGIC = b"UCCACHE\2"
_HEAD = struct.Struct("<8sIIQQQ8x")
_CHECKED = 12  # where the bytes begin that the checksum is of
assert _HEAD.size == 48
_STAGE = "symbol cache"
_FROM_AFAR = (b"fuse", b"nfs", b"cifs", b"smb", b"9p", b"ceph", b"afs")
_OVERLAY = 0x794C7630
# <linux/magic.h>: ext2-4, xfs, btrfs, overlayfs, tmpfs, ramfs, squashfs, erofs, f2fs, bcachefs; zfs
_LOCAL_TYPES = frozenset((
    0xEF53, 0x58465342, 0x9123683E, _OVERLAY, 0x01021994, 0x858458F6, 0x73717368, 0xE0F5E1E2,
    0xF2F52010, 0xCA451A4E, 0x2FC12FC1,
))  # fmt: skip
_libc = ctypes.CDLL(None, use_errno=True)


# --- what may be shared, and under which name ---


def shareable(status: os.stat_result, owner: int = 0, fd: int = -1) -> bool:
    """Whether what is made of this file may serve other crashes.

    A regular file of root's (or `owner`'s, for a private cache) that others can read and
    nobody else can write, on a local file system: elsewhere the owner is what some server or
    user says. `fd`, the file itself, tells that of any file; without it only of one whose
    device is mounted here.
    """
    return (
        stat.S_ISREG(status.st_mode)
        and status.st_uid in (0, owner)
        and not status.st_mode & 0o022
        and (bool(status.st_mode & 0o004) or owner != 0)
        and (_local_file(fd, status) if fd >= 0 else _local_device(status.st_dev))
    )


def _trusted(status: os.stat_result, owner: int) -> bool:
    """Whether nobody but root and `owner` could have written a file."""
    return status.st_uid in (0, owner) and not status.st_mode & 0o022


def _local_file(fd: int, status: os.stat_result) -> bool:
    """Whether a file lies on a file system of the kernel's own, by fstatfs(2)'s f_type.

    An overlay says nothing of what is below it: in a user namespace anybody may lay one over
    FUSE, which can give any owner, number and times. So it must be one that is mounted here.
    """
    buffer = ctypes.create_string_buffer(256)
    if _libc.fstatfs(fd, buffer) != 0:
        return False
    kind = int.from_bytes(buffer.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder)
    kind &= 0xFFFFFFFF
    return kind in _LOCAL_TYPES and (kind != _OVERLAY or _local_device(status.st_dev))


def _local_device(device: int) -> bool:
    """Whether a device is mounted here, by /proc/self/mountinfo (proc(5)), and not from afar.

    (btrfs and overlayfs report devices that mountinfo does not name: not known, not shared.)
    """
    wanted = f"{os.major(device)}:{os.minor(device)}".encode()
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            for line in file:
                head, _, tail = line.partition(b" - ")
                if head.split(b" ", 3)[2] == wanted:
                    return not tail.startswith(_FROM_AFAR)
    except (OSError, IndexError):
        return False
    return False


def cache_name(status: os.stat_result) -> str:
    """The file name in the cache directory for what is made of a file."""
    return f"{_status_key(status)}.symbols"


def _status_key(status: os.stat_result) -> str:
    return (
        f"{status.st_dev:x}-{status.st_ino:x}-{status.st_size:x}"
        f"-{status.st_mtime_ns:x}-{status.st_ctime_ns:x}"
    )


def identity_of(
    status: os.stat_result, build_id: bytes | None, debug: tuple[bytes, os.stat_result] | None
) -> bytes:
    """What a container must have been made of to be used: the file and its debug file by device,
    inode, size and times, the build-id, and the versions of the formats."""
    lines = [
        f"format {FORMAT}",
        f"file {_status_key(status)}",
        f"build-id {build_id.hex() if build_id else 'none'}",
        f"debug {_status_key(debug[1])}" if debug else "debug none",
    ]
    return "\n".join(lines).encode() + b"\n" + (debug[0] if debug else b"")


# --- making ---


def make(
    elf_fd: int,
    path: bytes = b"",
    max_debug_bytes: int = MAX_SHARED_BYTES,
    places: SearchPlaces = HOST,
    owner: int = 0,
) -> tuple[bytes, bytes]:
    """(identity, container) for an open ELF file, to be run in a sandbox of its own.

    `path` is what the file is called (`.gnu_debuglink` starts from its directory; "": what the
    descriptor says). FormatError if it is no ELF file, or its debug file is one that others than
    root and `owner` could have written; OSError as the system says it.
    """
    status = os.fstat(elf_fd)
    path = path or os.readlink(b"/proc/self/fd/%d" % elf_fd)
    data = map_file(elf_fd)
    if data is None:
        raise FormatError("not a regular file")
    elf = ElfFile(data)
    debug = open_debug_file(elf, path, elf.build_id, NoteLog(), places)
    if debug is not None and not _trusted(debug.status, owner):
        raise FormatError("its debug file may not be shared")
    known = (debug.path, debug.status) if debug is not None else None
    found = convert(elf, debug, max_debug_bytes)
    who = identity_of(status, elf.build_id, known)
    return who, pack(who, found)


def pack(who: bytes, found: FileSymbols) -> bytes:
    """The container's bytes."""
    source = f"{found.source}\0{found.limited}".encode("utf-8", "backslashreplace")
    lines = found.lines.to_bytes() if isinstance(found.lines, LineTable) else b""
    symbols = found.symbols.to_bytes()
    label = len(source).to_bytes(4, "little") + source + who
    body = b"".join(part + b"\0" * (-len(part) % 16) for part in (label, lines, symbols))
    head = _HEAD.pack(_MAGIC, 0, len(label), len(lines), len(symbols), found.load_address)
    checksum = zlib.crc32(body, zlib.crc32(head[_CHECKED:]))
    return _MAGIC + checksum.to_bytes(4, "little") + head[_CHECKED:] + body


def publish(
    cache_dir: str | bytes, status: os.stat_result, identity: bytes, container: bytes
) -> None:
    """Put the container of the file with this `status` (taken before the child began) into the
    cache directory, whole or not at all; one of a file that changed meanwhile is passed over.
    OSError as the system says it."""
    if f"\nfile {_status_key(status)}\n".encode() not in identity:
        return
    directory = os.fsencode(cache_dir)
    target = os.path.join(directory, os.fsencode(cache_name(status)))
    part = target + b".%d.%d.part" % (os.getpid(), time.monotonic_ns())
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        try:
            write_all(fd, container)
        finally:
            os.close(fd)
        os.rename(part, target)
    except OSError:
        os.unlink(part)
        raise


# --- using ---


def lookup(
    cache_dir: str | bytes,
    status: os.stat_result,
    elf: ElfFile,
    path: bytes,
    notes: NoteLog,
    places: SearchPlaces = HOST,
) -> FileSymbols | None:
    """The kept symbols of a file, None where there are none that are right and whole."""
    name = os.path.join(os.fsencode(cache_dir), os.fsencode(cache_name(status)))
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        notes.add(_STAGE, os.fsdecode(name), reason(error))
        return None
    try:
        data = map_file(fd)
    except (OSError, ValueError) as error:
        notes.add(_STAGE, os.fsdecode(name), reason(error))
        return None
    finally:
        os.close(fd)
    debug = debug_status(elf, path, elf.build_id, places)
    try:
        found = unpack(data or b"", identity_of(status, elf.build_id, debug))
        if found is None and debug is not None:
            # The first one is not what it was made of: it may be one that belongs to another file.
            right = open_debug_file(elf, path, elf.build_id, NoteLog(), places)
            debug = (right.path, right.status) if right is not None else None
            found = unpack(data or b"", identity_of(status, elf.build_id, debug))
        return found
    except FormatError as error:
        notes.add(_STAGE, os.fsdecode(name), error.message)
        return None


def unpack(data: mmap | bytes, wanted: bytes) -> FileSymbols | None:
    """The symbols in a container, which uses `data` as it lies there; None if it was made of
    other files than `wanted` says. FormatError if it is damaged."""
    if len(data) < _HEAD.size:
        raise FormatError("cut short")
    magic, checksum, label_size, lines_size, symbols_size, load_address = _HEAD.unpack_from(data)
    if magic != _MAGIC:
        raise FormatError("not a symbol cache of this version")
    view = memoryview(data)
    ends = []
    at = _HEAD.size
    for size in (label_size, lines_size, symbols_size):
        ends.append((at, at + size))
        at += size + (-size % 16)
    if at != len(view):
        raise FormatError("its size is not what its head says")
    label = bytes(view[ends[0][0] : ends[0][1]])
    source_size = int.from_bytes(label[:4], "little")
    if label[4 + source_size :] != wanted:
        return None
    if zlib.crc32(view[_CHECKED:]) != checksum:
        raise FormatError("its checksum is wrong")
    lines = LineTable.open(view[ends[1][0] : ends[1][1]]) if lines_size else None
    symbols = SymbolTable.from_bytes(view[ends[2][0] : ends[2][1]])
    text = label[4 : 4 + source_size].decode("utf-8", "backslashreplace")
    source, _, limited = text.partition("\0")
    return FileSymbols(lines, symbols, load_address, source, limited)
