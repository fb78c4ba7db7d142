"""Cores that were compressed: systemd-coredump keeps them as `.zst` (older ones as `.xz`, `.lz4`),
people send them as `.gz`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any

from ..errors import UsercrashError
from .common import printable

if TYPE_CHECKING:
    from ..analysis.sandbox import Send
    from ..config import Config

_CHUNK = 1 << 20
_INPUT = 4096  # of zstd: 128 MiB at most come of it
_LARGEST = 1 << 40  # bytes of a core; pages of zeros take no room
_SECONDS = 600.0  # a core of many GB
_HEAD = 64  # less of it than an ELF header is no core
_DONE = b"DONE"

_LZ4 = b"\x04\x22\x4d\x18"


class _Zstd:
    """The frames of a zstd file. (zstandard's own reader takes a file that is cut short for a
    whole one.)"""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._frame: Any = None
        self._rest = b""

    def read(self, _: int) -> bytes:
        """The next bytes, b"" at the end; EOFError where that is within a frame."""
        import zstandard

        while data := self._rest or self._file.read(_INPUT):
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            found: bytes = self._frame.decompress(data)
            self._rest = b""
            if self._frame.eof:
                self._rest, self._frame = self._frame.unused_data, None
            if found:
                return found
        if self._frame is not None:
            raise EOFError
        return b""


def _gzip(file: IO[bytes]) -> Any:
    import gzip

    return gzip.GzipFile(fileobj=file)


def _xz(file: IO[bytes]) -> Any:
    import lzma

    return lzma.LZMAFile(file)


def _bzip2(file: IO[bytes]) -> Any:
    import bz2

    return bz2.BZ2File(file)


# By their first bytes: RFC 8878 (zstd), RFC 1952, the .xz file format, bzip2.
_READERS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x28\xb5\x2f\xfd": _Zstd,
    b"\x1f\x8b\x08": _gzip,
    b"\xfd7zXZ\0": _xz,
    b"BZh": _bzip2,
}


def without_suffix(name: str) -> str:
    """A file's name without what tells how it is compressed."""
    root, suffix = os.path.splitext(name)
    return root if suffix in (".zst", ".gz", ".xz", ".bz2") and root else name


def is_compressed(head: bytes) -> bool:
    """Whether a file that begins so is compressed in a way that is known."""
    return head.startswith((_LZ4, *_READERS))


def decompressed(fd: int, name: str, config: Config) -> tuple[int, str]:
    """A descriptor of a core's content, in a file without a name where temporary files lie, and
    why that is not all of it ("" if it is). UsercrashError where there is nothing of a core.

    The work is done without privileges; all frames or members are read.
    """
    from ..analysis.sandbox import run_isolated
    from ..sharing import sandbox_limits

    head = os.pread(fd, 16, 0)
    if head.startswith(_LZ4):
        raise UsercrashError(f"{printable(name)} is compressed with lz4: decompress it first")
    reader = next(one for magic, one in _READERS.items() if head.startswith(magic))
    raw = _nameless()
    limits = replace(sandbox_limits(config), seconds=_SECONDS, file_size=_LARGEST)
    room = os.fstatvfs(raw)
    most = room.f_bavail * room.f_frsize // 2

    def work(send: Send) -> None:
        why = b""
        try:
            with os.fdopen(fd, "rb", closefd=False) as file:
                _copy(reader(file), raw, most)
        except EOFError:
            why = b"it is cut short"
        send(_DONE, why)

    result = run_isolated(work, (fd, raw), limits)
    done = result.sections.get(_DONE)
    why = done.decode() if done is not None else result.failure
    if os.fstat(raw).st_size < _HEAD:
        os.close(raw)
        if not why:
            raise UsercrashError(f"{printable(name)}: what is compressed there is no core file")
        raise UsercrashError(f"cannot decompress {printable(name)}: {printable(why)}")
    return raw, why


def _nameless() -> int:
    """A file that ends with its descriptor: on a disk, as a core may be larger than memory."""
    directory = tempfile.gettempdir()
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:  # (a file system without such files)
        fd, path = tempfile.mkstemp(prefix="usercrash-core-", dir=directory)
        os.unlink(path)
        return fd


def _copy(source: Any, target: int, most: int) -> None:
    """Write what a reader gives, with holes for zeros; what came before an error stays.

    `most` bytes that are not zeros are written (a few kilobytes can be made to fill a disk);
    UsercrashError if there are more.
    """
    end = 0
    try:
        while data := source.read(_CHUNK):
            for at in range(0, len(data), _CHUNK):  # (zstd may give more at a time)
                block = memoryview(data)[at : at + _CHUNK]
                if data.count(0, at, at + _CHUNK) != len(block):
                    most -= len(block)
                    if most < 0:
                        raise UsercrashError("there is no room for all of it")
                    _write_at(target, block, end)
                end += len(block)
    finally:
        os.ftruncate(target, max(end, os.fstat(target).st_size))


def _write_at(target: int, data: memoryview, offset: int) -> None:
    while data:
        done = os.pwrite(target, data, offset)
        data, offset = data[done:], offset + done
