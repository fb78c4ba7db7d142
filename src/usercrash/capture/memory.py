"""A process's memory, without ever waiting for it.

Reading a page that is not there makes the kernel fetch it: from FUSE, from a
dead server, or from a userfaultfd whose handler stands still with the process. Such a read never
returns, not even on SIGKILL. So `pagemap` is asked first, and only pages that are present or
swapped out are read, and pages of files on file systems that answer. What is present may
still be taken away before it is read: the entrance needs a watch over all.
A device's registers are not read at all: to read them can change them.
"""

from __future__ import annotations

import os

from ..model.types import TYPE_CHECKING
from .procfs import MANY, PAGE, MapTable, is_anonymous, reason, start_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.maps import Mapping
    from ..model.notes import NoteLog
    from .filesystems import FileSystems

_BLOCK = 128  # pages whose state is asked for at once
_LARGE_BLOCK = 512  # where many stacks lie beside each other
_CHUNK = 1 << 20
_TOP = 1 << 64


def _usable(state: int) -> int:
    """Top byte of a pagemap entry (Documentation/admin-guide/mm/pagemap.rst) to 1 or 0.

    Bit 63 present; 62 swapped; 57 write-protected by userfaultfd, which with 62
    alone may be a mere marker of a page that is not there.
    """
    return 1 if state & 0x80 or (state & 0x40 and not state & 0x02) else 0


_PLAIN = (b"/dev/shm/", b"/dev/zero", b"/dev/hugepages/", b"/dev/mqueue/")
_USABLE = bytes(_usable(state) for state in range(256))


class Memory:
    """Reads of a standing process that cannot hang.

    `raw` is the target's read; `proc` -1 (a target without /proc) trusts every page.
    """

    __slots__ = (
        "_block", "_blocks", "_complete", "_devices", "_files", "_maps", "_pagemap", "_pages",
        "_raw", "_span", "_trust",
    )  # fmt: skip

    def __init__(
        self,
        raw: Callable[[int, int], bytes],
        proc: int,
        maps: MapTable,
        files: FileSystems,
        notes: NoteLog,
        threads: int = 1,
    ) -> None:
        self._raw = raw
        self._block = _LARGE_BLOCK if threads >= MANY else _BLOCK
        self._span = self._block * PAGE
        self._maps = maps
        self._files = files
        self._blocks: dict[int, bytes] = {}
        self._complete: set[int] = set()  # the blocks whose files have been looked at
        self._pages: dict[int, bytes] = {}  # those of which small parts have been read
        self._pagemap = -1
        self._trust = proc < 0
        self._devices = _devices(maps, files)
        if proc >= 0:
            try:
                self._pagemap = os.open(b"pagemap", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
            except OSError as error:
                notes.add("memory", "state of its pages", reason(error))

    def close(self) -> None:
        """Close the descriptor of pagemap."""
        if self._pagemap >= 0:
            os.close(self._pagemap)
            self._pagemap = -1

    def read(self, address: int, size: int) -> bytes:
        """What can be read at `address` without a gap."""
        page, offset = divmod(address, PAGE)
        if size <= PAGE and self._is_there(page):
            # A page costs no more than four bytes of it, and others of it follow.
            data = self._pages.get(page)
            if data is None:
                data = self._pages[page] = self._raw(page * PAGE, PAGE)
            data = data[offset : offset + size]
            if offset + size <= PAGE or len(data) < PAGE - offset:
                return data
            return data + self.read((page + 1) * PAGE, offset + size - PAGE)
        for start, end in self._runs(address, size):
            return self._raw(address, end - address) if start == address else b""
        return b""

    def remembered(self, address: int, size: int) -> bytes:
        """What small reads of a range gave, also when the process is gone; cut at the first page
        of which none was read."""
        parts = []
        while size > 0:
            page, offset = divmod(address, PAGE)
            part = self._pages.get(page, b"")[offset : offset + size]
            if not part:
                break
            parts.append(part)
            address += len(part)
            size -= len(part)
        return b"".join(parts)

    def pieces(self, address: int, size: int) -> list[tuple[int, bytes]]:
        """All that can be read of a range, in pieces of at most 1 MiB, gaps left out."""
        page, offset = divmod(address, PAGE)
        known = self._pages.get(page)
        if known is not None and 0 < size <= len(known) - offset:
            return [(address, known[offset : offset + size])]
        if self._all_there(page, offset + size):
            data = self._raw(address, size)
            if len(data) == size:
                return [(address, data)]
        found = []
        for start, end in self._runs(address, size):
            failures = 0
            while start < end and failures < 16:
                data = self._raw(start, min(end - start, _CHUNK))
                if data:
                    found.append((start, data))
                    start += len(data)
                else:
                    failures += 1  # mapped but refused (a device's pages, guard pages)
                    start = (start // PAGE + 1) * PAGE
        return found

    def _is_there(self, page: int) -> bool:
        """Whether a page can be read for sure, as far as its state alone tells."""
        if self._trust or not 0 <= page < _TOP // PAGE:
            return False
        block, index = divmod(page, self._block)
        states = self._blocks.get(block)
        if states is None:
            states = self._blocks[block] = self._load(block)
        return states[index] == 1

    def _all_there(self, page: int, size: int) -> bool:
        """The same for the `size` bytes from the beginning of a page on; few of them only."""
        if size <= 0 or not self._is_there(page):
            return False
        block, index = divmod(page, self._block)
        last = index + (size - 1) // PAGE
        return last < self._block and self._blocks[block].find(0, index, last + 1) < 0

    def _runs(self, address: int, size: int) -> list[tuple[int, int]]:
        """The readable parts [start, end) of a range, adjacent pages together."""
        runs = []
        end = min(address + size, _TOP)
        start = -1
        position = address
        while position < end:
            block, rest = divmod(position, self._span)
            index = rest // PAGE
            states = self._blocks.get(block)
            if states is None:
                states = self._blocks[block] = self._load(block)
            if not states[index] and block not in self._complete:
                self._complete.add(block)
                states = self._blocks[block] = self._add_files(block * self._span, states)
            if states[index]:
                if start < 0:
                    start = position
                stop = states.find(0, index)
            else:
                if start >= 0:
                    runs.append((start, position))
                    start = -1
                stop = states.find(1, index)
            position = block * self._span + (stop if stop >= 0 else self._block) * PAGE
        if start >= 0:
            runs.append((start, end))
        return runs

    def _load(self, block: int) -> bytes:
        """One byte for each page of a block: 1 if it may be read."""
        flags = b"\1" * self._block if self._trust else self._present(block)
        return self._without_devices(block * self._span, flags) if self._devices else flags

    def _present(self, block: int) -> bytes:
        states = b""
        if self._pagemap >= 0:
            size = self._block * 8
            try:
                states = os.pread(self._pagemap, size, block * size)
            except (OSError, OverflowError):
                states = b""  # addresses that no process has (vsyscall, garbage)
        return states[7::8].translate(_USABLE).ljust(self._block, b"\0")

    def _without_devices(self, base: int, flags: bytes) -> bytes:
        for start, end in self._devices:
            first = min(max(start - base, 0), self._span) // PAGE
            last = min(max(end - base, 0), self._span) // PAGE
            flags = flags[:first] + b"\0" * (last - first) + flags[last:]
        return flags

    def _add_files(self, base: int, flags: bytes) -> bytes:
        """Mark the pages that are not there but may be fetched: of files on file systems that
        answer, and the kernel's own vdso; without pagemap also those of anonymous memory."""
        result = bytearray(flags)
        top = base + self._span
        for number in range(self._maps.index_above(base), len(self._maps.lines)):
            line = self._maps.lines[number]
            if start_of(line) >= top:
                break
            anonymous = is_anonymous(line)
            if anonymous and self._pagemap >= 0 and not line.endswith(b"[vdso]"):
                continue
            mapping = self._maps.at(number)
            if mapping and (anonymous or self._files.pages_answer(mapping.device)):
                first = max(mapping.start - base, 0) // PAGE
                last = min(mapping.end - base, self._span) // PAGE
                result[first:last] = b"\1" * (last - first)
        return bytes(result)


def _devices(maps: MapTable, files: FileSystems) -> list[tuple[int, int]]:
    """Where memory of devices is mapped, which the kernel leaves out of its cores, too (VM_IO)."""
    found = {
        (mapping.device, mapping.path)
        for mapping in maps.distinct()
        if _is_device(mapping, files.type_of(mapping.device))
    }
    if not found:
        return []
    return [(m.start, m.end) for m in maps.files() if (m.device, m.path) in found]


def _is_device(mapping: Mapping, kind: bytes) -> bool:
    """maps does not say it, but a device lies below /dev or /sys; containers have /dev on a
    tmpfs."""
    if kind in (b"devtmpfs", b"sysfs"):
        return mapping.path != b"/dev/zero"
    return mapping.path.startswith(b"/dev/") and not mapping.path.startswith(_PLAIN)
