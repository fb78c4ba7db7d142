"""Blocks of glibc's malloc: which one an address lies in, by the headers in captured memory.

A chunk's size, a multiple of two words with flags in its low bits, stands in the word before the
block; the next chunk follows at that distance, and its first word repeats the size of one that is
free (malloc/malloc.c: struct malloc_chunk).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field

from ...elf.arch import Arch
from ...model.maps import Mapping

_PREVIOUS_IN_USE, _MAPPED, _OTHER_ARENA = 1, 2, 4
_FLAGS = 7
_ALIGNMENT = 16
_MAX_WALK = 10_000  # chunks that are gone through from a heap's beginning
_PAGE = 4096


@dataclass(frozen=True, slots=True)
class Block:
    """What malloc gave: from `start`, `size` usable bytes. `free`: it was given back, and lies
    among the large free ones (small ones that are kept ready look like used ones)."""

    start: int
    size: int
    free: bool = False


@dataclass(slots=True)
class HeapBlocks:
    """Reads one process's heaps. `read` gives captured memory up to the first gap."""

    read: Callable[[int, int], bytes]
    arch: Arch
    _walks: dict[int, tuple[list[int], list[Block]]] = field(default_factory=dict)

    def find(self, address: int, mapping: Mapping) -> Block | None:
        """The block that holds the address, where the headers leave no doubt: the address is where
        a block begins and the chunks that follow agree, or every chunk from the beginning of the
        heap to it is known."""
        main = mapping.path == b"[heap]"
        if not main and mapping.path:
            return None
        if address % _ALIGNMENT == 0:
            found = self._begins(address, mapping, main)
            if found is not None:
                return found
        return self._walked(address, mapping) if main else None

    def _begins(self, address: int, mapping: Mapping, main: bool) -> Block | None:
        """The block that begins at the address."""
        word = self.arch.long
        head = self._number(address - word)
        if head is None or address - 2 * word < mapping.start:
            return None
        size, flags = head & ~_FLAGS, head & _FLAGS
        if flags & _MAPPED:
            previous = self._number(address - 2 * word)
            at_page = address % _PAGE == 2 * word % _PAGE and size % _PAGE == 0
            whole = 0 < size <= mapping.end - (address - 2 * word)
            if main or flags != _MAPPED or previous or not at_page or not whole:
                return None
            return Block(address, size - 2 * word)
        found = self._checked(address - 2 * word, head, mapping, main)
        # (only used chunks of a thread's arena say that they are of one)
        other = bool(flags & _OTHER_ARENA)
        return found if found is not None and (main or other or found.free) else None

    def _checked(self, chunk: int, head: int, mapping: Mapping, main: bool) -> Block | None:
        """The block of a chunk with this size word, if the chunk behind it agrees."""
        word = self.arch.long
        size = head & ~_FLAGS
        following = chunk + size
        if not self._plausible(size) or following + 2 * word > mapping.end:
            return None
        next_head = self._number(following + word)
        if next_head is None or next_head & _MAPPED:
            return None
        if main and (head | next_head) & _OTHER_ARENA:
            return None
        end = following + (next_head & ~_FLAGS)
        # (the last chunk, what is left of the heap, may end where no chunk would)
        if end != mapping.end and (not self._plausible(end - following) or end > mapping.end):
            return None
        free = not next_head & _PREVIOUS_IN_USE
        if free and self._number(following) != size:
            return None
        return Block(chunk + 2 * word, size - word, free)

    def _plausible(self, size: int) -> bool:
        return size >= 4 * self.arch.long and size % _ALIGNMENT == 0

    def _walked(self, address: int, mapping: Mapping) -> Block | None:
        if mapping.start not in self._walks:
            blocks = self._walk(mapping)
            self._walks[mapping.start] = ([block.start for block in blocks], blocks)
        starts, blocks = self._walks[mapping.start]
        at = bisect_right(starts, address) - 1
        if at < 0 or address >= blocks[at].start + blocks[at].size:
            return None
        return blocks[at]

    def _walk(self, mapping: Mapping) -> list[Block]:
        """The blocks from the beginning of the heap, up to the first that is not sure."""
        blocks: list[Block] = []
        word = self.arch.long
        chunk = mapping.start + (-2 * word - mapping.start) % _ALIGNMENT
        while len(blocks) < _MAX_WALK:
            head = self._number(chunk + word)
            if head is None or head & (_MAPPED | _OTHER_ARENA):
                break
            block = self._checked(chunk, head, mapping, True)
            if block is None:
                break
            blocks.append(block)
            chunk += head & ~_FLAGS
        return blocks

    def _number(self, address: int) -> int | None:
        data = self.read(address, self.arch.long)
        if len(data) < self.arch.long:
            return None
        return int.from_bytes(data, self.arch.byte_order)
