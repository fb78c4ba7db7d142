"""Reading /proc beneath directory descriptors, and the parsing that capture itself needs.

A directory descriptor below /proc/PID stays with that one process: when the
process is gone, reads beneath it fail, also after the kernel gave the number to
another. So nothing here opens a path by number twice.
"""

from __future__ import annotations

import os
import time

from ..model.maps import Mapping, parse_maps
from ..model.types import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY
_CHUNK = 32768
_RECORD = 4096
_ANONYMOUS = b" 00:00 0"

_OF_ONE_FILE = 16  # dlmopen() maps a file again, but not a thousand times
MANY = 64  # threads from which on it is worth to prepare for many

PAGE = os.sysconf("SC_PAGE_SIZE")


def reason(error: OSError) -> str:
    """What a failed system call said, for a note."""
    return error.strerror or str(error) or type(error).__name__


def open_dir(path: bytes, dir_fd: int | None = None) -> int:
    """A descriptor of a directory, for use as `dir_fd`; OSError as from open(2)."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)


def read_at(dir_fd: int | None, name: bytes, limit: int = 1 << 20) -> bytes:
    """Up to `limit` bytes of a /proc file; OSError as from open(2) and read(2).

    A read of a /proc file gives about a page at a time: only an empty one is its end.
    """
    fd = os.open(name, _READ, dir_fd=dir_fd)
    try:
        data = os.read(fd, min(limit, _CHUNK))
        if not data:
            return data
        parts = [data]
        left = limit - len(data)
        while left > 0 and (data := os.read(fd, min(left, _CHUNK))):
            parts.append(data)
            left -= len(data)
        return b"".join(parts) if len(parts) > 1 else parts[0]
    finally:
        os.close(fd)


def read_ends(dir_fd: int | None, name: bytes, limit: int, deadline: float) -> tuple[bytes, bool]:
    """The lines of a /proc file, and whether these are all. Of one that has more than `limit`
    bytes the first and the last lines: in maps libraries and stack stand last. What comes after
    the deadline (time.monotonic()) is left out."""
    fd = os.open(name, _READ, dir_fd=dir_fd)
    first: list[bytes] = []
    last: list[bytes] = []
    left = half = limit // 2
    size = dropped = 0
    late = False
    try:
        while not late and (data := os.read(fd, _CHUNK)):
            late = time.monotonic() > deadline
            if left > 0:
                first.append(data)
                left -= len(data)
                continue
            last.append(data)
            size += len(data)
            while size - len(last[dropped]) > half:
                size -= len(last[dropped])
                last[dropped] = b""
                dropped += 1
    finally:
        os.close(fd)
    text = b"".join(first)
    if dropped:
        end = b"".join(last)
        return text[: text.rfind(b"\n") + 1] + end[end.find(b"\n") + 1 :], False
    return text + b"".join(last), not late


def read_record(dir_fd: int | None, name: bytes, limit: int = 1 << 20) -> bytes:
    """The same for a file that the kernel makes in one piece (`stat`, `status`, `comm`; not
    `maps`): a read that comes back short was all of it."""
    fd = os.open(name, _READ, dir_fd=dir_fd)
    try:
        size = min(limit, _RECORD)
        data = os.read(fd, size)
        if len(data) < size or size == limit:
            return data
        parts = [data]
        left = limit - len(data)
        while left > 0 and (data := os.read(fd, min(left, _CHUNK))):
            parts.append(data)
            left -= len(data)
        return b"".join(parts)
    finally:
        os.close(fd)


def status_field(status: bytes, key: bytes) -> bytes:
    """The value of one line of a `status` file, b"" if there is none.

    Keys are matched whole and at the start of a line: the kernel escapes newlines
    in the name, so the text of a name cannot make up a line.
    """
    start = 0 if status.startswith(key + b":") else status.find(b"\n" + key + b":") + 1
    if start == 0 and not status.startswith(key + b":"):
        return b""
    start += len(key) + 1
    end = status.find(b"\n", start)
    return status[start : end if end >= 0 else len(status)].strip()


def namespace_ids(status: bytes) -> list[int]:
    """The ids of the NSpid line, outermost namespace first; empty if there is none."""
    try:
        return [int(word) for word in status_field(status, b"NSpid").split()]
    except ValueError:
        return []


def stat_fields(stat: bytes) -> list[bytes]:
    """The fields of a `stat` file after the name; [0] is field 3 of proc_pid_stat(5).

    The name may hold anything, also `)` and newlines: only the last `)` ends it.
    """
    return stat[stat.rfind(b")") + 1 :].split()


def stat_number(stat: bytes, field: int) -> int:
    """Field `field` (numbered as in proc_pid_stat(5), from 4) of a `stat` file; 0 if absent."""
    fields = stat_fields(stat)
    try:
        return int(fields[field - 3])
    except (IndexError, ValueError):
        return 0


class MapTable:
    """The lines of /proc/PID/maps, parsed one by one as they are asked for.

    A process may have 70,000 mappings, of which capture looks at a few dozen:
    parsing all of them would hold it for a third of a second.
    """

    __slots__ = ("_bisect", "_ends", "_files", "_parsed", "lines")

    def __init__(self, text: bytes) -> None:
        lines = text.split(b"\n")
        lines.pop()  # what follows the last newline: nothing, or a line cut short
        self.lines = lines
        self._ends = [-1] * len(lines)  # -1: not looked at yet
        self._bisect: Callable[[list[int], int], int] | None = None
        self._files: dict[bytes, list[int]] | None = None
        self._parsed: dict[int, Mapping] = {}

    def at(self, index: int) -> Mapping | None:
        """Mapping number `index`, None past the ends or for a line that is no mapping."""
        found = self._parsed.get(index)
        if found is None and 0 <= index < len(self.lines):
            for found in parse_maps(self.lines[index]):
                self._parsed[index] = found
        return found

    def expect(self, lookups: int) -> None:
        """So many addresses will be looked up: where that is worth it, prepare for them."""
        if lookups >= MANY and lookups * 16 > len(self.lines):
            self._ends = [_end_of(line) for line in self.lines]
            self._bisect = bisect()

    def index_above(self, address: int) -> int:
        """The number of the first mapping that ends above `address`."""
        ends = self._ends
        if self._bisect:
            return self._bisect(ends, address)
        low, high = 0, len(ends)
        while low < high:
            middle = (low + high) // 2
            end = ends[middle]
            if end < 0:
                end = ends[middle] = _end_of(self.lines[middle])
            if end <= address:
                low = middle + 1
            else:
                high = middle
        return low

    def find(self, address: int) -> Mapping | None:
        """The mapping that holds `address`."""
        mapping = self.at(self.index_above(address))
        return mapping if mapping and mapping.start <= address else None

    def writable(self, address: int) -> tuple[int, int] | None:
        """Start and end of the mapping that holds `address` if it may be written to."""
        index = self.index_above(address)
        if index == len(self.lines):
            return None
        line = self.lines[index]
        start = start_of(line)
        perms = line.find(b" ") + 1
        if start > address or line[perms + 1 : perms + 2] != b"w":
            return None
        return start, self._ends[index]

    def files(self) -> Iterator[Mapping]:
        """All mappings of files, in order of their addresses."""
        for index in sorted(n for numbers in self._file_lines().values() for n in numbers):
            if (mapping := self.at(index)) and mapping.is_file:
                yield mapping

    def modules(self) -> Iterator[Mapping]:
        """Those mappings of files that begin at offset 0 or are executable: all that can show
        an ELF header or code. Of a file that is mapped again and again the first of each kind."""
        lines = self.lines
        for numbers in self._file_lines().values():
            starts = codes = 0
            for index in numbers:
                line = lines[index]
                at = line.find(b" ") + 1  # `rwxp OFFSET `, of at least eight digits
                if line[at + 5 : at + 14] == b"00000000 ":
                    starts += 1
                    wanted = starts <= _OF_ONE_FILE
                else:
                    wanted = line[at + 2 : at + 3] == b"x" and codes < _OF_ONE_FILE
                    codes += wanted
                if wanted and (mapping := self.at(index)) and mapping.is_file:
                    yield mapping

    def distinct(self) -> Iterator[Mapping]:
        """One mapping of each file: of those lines that agree in device, inode and path."""
        for numbers in self._file_lines().values():
            if (mapping := self.at(numbers[0])) and mapping.is_file:
                yield mapping

    def named(self, name: bytes) -> Mapping | None:
        """The first mapping with one of the kernel's names, such as `[vdso]`."""
        for line in reversed(self.lines):
            if line.endswith(name):
                parsed = parse_maps(line)
                if parsed and parsed[0].path == name and parsed[0].inode == 0:
                    return parsed[0]
        return None

    def _file_lines(self) -> dict[bytes, list[int]]:
        """The numbers of all lines that are of files, by their device, inode and path."""
        found = self._files
        if found is None:
            found = self._files = {}
            for number, line in enumerate(self.lines):
                # Addresses of twelve digits, as nearly all are, are told at a glance.
                if (line[39:47] == _ANONYMOUS and line[25:26] == b" ") or is_anonymous(line):
                    continue
                file = line[line.find(b" ", line.find(b" ") + 6) :]
                numbers = found.get(file)
                if numbers is None:
                    found[file] = [number]
                else:
                    numbers.append(number)
        return found


def bisect() -> Callable[[list[int], int], int]:
    """bisect.bisect_right, in C. For many threads only: a cold client would have to import it."""
    from _bisect import bisect_right

    return bisect_right


def is_anonymous(line: bytes) -> bool:
    """Whether a line of maps is of memory without a file: device 00:00, inode 0. Those stand
    in a fixed place after the addresses (the offset is 00000000), where no path can be."""
    return line.find(_ANONYMOUS) == line.find(b" ") + 14


def start_of(line: bytes) -> int:
    """The first address of a line of maps, 0 if there is none."""
    try:
        return int(line[: line.index(b"-")], 16)
    except ValueError:
        return 0


def _end_of(line: bytes) -> int:
    try:
        return int(line[line.index(b"-") + 1 : line.index(b" ")], 16)
    except ValueError:
        return 0
