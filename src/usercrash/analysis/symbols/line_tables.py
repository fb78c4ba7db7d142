"""The adapter to `symbolic` (Rust): functions, inlined functions and lines for an address.

`symbolic` borrows the bytes that it is given: each object here holds what it was made from.
"""

from __future__ import annotations

from dataclasses import dataclass
from mmap import mmap
from typing import Any

from symbolic import _lowlevel
from symbolic.debuginfo import Archive
from symbolic.symcache import SYMCACHE_LATEST_VERSION, SymCache
from symbolic.utils import decode_str, rustcall

from ...errors import FormatError

FORMAT = int(SYMCACHE_LATEST_VERSION)  # of the bytes that `to_bytes` gives

NO_ADDRESS = 0xFFFFFFFF  # symbolic's word for a function whose begin it does not know

# DW_LANG numbers (DWARF 5 table 7.17, and those registered since) of languages whose names are
# told in a way of their own
LANGUAGES = {
    **dict.fromkeys((0x01, 0x02, 0x0C, 0x1D, 0x2C, 0x3E), "c"),
    **dict.fromkeys((0x04, 0x19, 0x1A, 0x21, 0x2A, 0x2B, 0x3A), "cpp"),
    **dict.fromkeys((0x03, 0x0D, 0x2E, 0x2F), "ada"),
    **dict.fromkeys((0x07, 0x08, 0x0E, 0x22, 0x23, 0x2D), "fortran"),
    0x09: "pascal", 0x13: "d", 0x16: "go", 0x1C: "rust", 0x1E: "swift",
}  # fmt: skip

# symbolic knows no Ada and no Fortran: their compilers take files by their endings
_BY_ENDING = {
    ".adb": "ada", ".ads": "ada", ".ada": "ada",
    **dict.fromkeys((".f", ".for", ".ftn", ".f77", ".f90", ".f95", ".f03", ".f08"), "fortran"),
}  # fmt: skip
_KNOWN = frozenset(LANGUAGES.values())

_lib: Any = _lowlevel.lib
_ffi: Any = _lowlevel.ffi
_call: Any = rustcall  # clears and checks symbolic's error, and raises it
_Archive: Any = Archive
_SymCache: Any = SymCache


@dataclass(frozen=True, slots=True)
class Line:
    """A function at an address: `name` as in the debug information (mangled or not), `start` its
    first address, both relative to the file's first load (NO_ADDRESS: not known). `line` or
    `column` 0: not known. `language` is one of `LANGUAGES`' names, "" for any other."""

    name: str
    start: int
    file: str
    line: int
    column: int = 0
    language: str = ""


class LineTable:
    """All that a file's debug information says about addresses."""

    def __init__(self, cache: Any, keep: object) -> None:
        self._cache = cache
        self._keep = keep
        self._pointer = cache._get_objptr()

    @classmethod
    def convert(cls, data: bytes | bytearray | mmap | memoryview) -> LineTable:
        """Read an ELF file's debug information (see docs for the time this takes).

        FormatError if `symbolic` finds nothing it can read.
        """
        try:
            pointer = _ffi.from_buffer(data)
            archive = _Archive._from_objptr(
                _call(_lib.symbolic_archive_from_bytes, pointer, len(data))
            )
            found = next(iter(archive.iter_objects()), None)
            if found is None:
                raise FormatError("no object in the file")
            return cls(found.make_symcache(), None)
        except FormatError:
            raise
        except Exception as error:  # symbolic's errors have no root but Exception
            raise FormatError(f"debug information: {_one_line(error)}") from error

    @classmethod
    def open(cls, data: bytes | mmap | memoryview) -> LineTable:
        """The table of bytes that `to_bytes` gave; FormatError if they are not."""
        try:
            pointer = _ffi.from_buffer(data)
            cache = _SymCache._from_objptr(
                _call(_lib.symbolic_symcache_from_bytes, pointer, len(data))
            )
            return cls(cache, (pointer, data))
        except Exception as error:
            raise FormatError(f"symbol cache: {_one_line(error)}") from error

    def to_bytes(self) -> bytes:
        """The table as bytes that `open` reads without parsing."""
        size = _call(_lib.symbolic_symcache_get_size, self._pointer)
        start = _call(_lib.symbolic_symcache_get_bytes, self._pointer)
        return bytes(_ffi.buffer(start, size))

    def lookup(self, address: int) -> list[Line]:
        """The functions at an address, innermost first; empty where there is none."""
        if not 0 <= address < 1 << 32:
            return []  # (its format has 32-bit addresses, and would wrap)
        try:
            found = _call(_lib.symbolic_symcache_lookup, self._pointer, address)
        except Exception:  # a panic in Rust comes as one of its own errors: no name then
            return []
        try:
            return [self._line(found.items[index]) for index in range(found.len)]
        finally:
            _lib.symbolic_lookup_result_free(_ffi.addressof(found))

    @staticmethod
    def _line(item: Any) -> Line:
        file = _once(decode_str(item.full_path, free=True))
        language = decode_str(item.lang)
        if language not in _KNOWN:
            language = _BY_ENDING.get(file[file.rfind(".") :].lower(), "")
        return Line(
            decode_str(item.symbol), int(item.sym_addr), file, int(item.line), 0,
            language,
        )  # fmt: skip


def _once(path: str) -> str:
    """A relative path without the compilation directory's second occurrence: of a file in that
    directory symbolic joins it twice, where it is relative itself (`nptl/nptl/pthread_kill.c`)."""
    if path.startswith("/"):
        return path
    parts = path.split("/")
    for size in range(1, len(parts) // 2 + 1):
        if parts[:size] == parts[size : 2 * size]:
            return "/".join(parts[size:])
    return path


def _one_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0][:200]
