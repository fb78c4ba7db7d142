"""The bytes of a variable, wherever its parts are: memory, registers, or in the debug information.

Reading raises Gap for what is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from ..dwarf.gaps import NOT_IN_DUMP, OPTIMIZED_OUT, Gap
from ..dwarf.locations import Part, Where

ReadMemory = Callable[[int, int], bytes]
Order = Literal["little", "big"]
IN_VECTOR = "in a register of floating point or vectors, which are not read"
MAX_READ = 1 << 16  # bytes at once


class Source(Protocol):
    """Some bytes of a process: `read` gives all that were asked for, `address` is where they lie in
    memory, None if they do not."""

    def read(self, at: int, size: int) -> bytes: ...
    def address(self, at: int) -> int | None: ...


class InMemory:
    """From an address on."""

    def __init__(self, memory: ReadMemory, start: int, mask: int = (1 << 64) - 1) -> None:
        self._memory = memory
        self._start = start
        self._mask = mask

    def read(self, at: int, size: int) -> bytes:
        if size > MAX_READ:
            raise Gap("too long")
        data = self._memory(self._start + at & self._mask, size)
        if len(data) < size:
            raise Gap(NOT_IN_DUMP)
        return data

    def address(self, at: int) -> int | None:
        return self._start + at & self._mask


class Known:
    """Bytes that are at hand."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, at: int, size: int) -> bytes:
        found = self._data[at : at + size]
        if len(found) < size:
            raise Gap(OPTIMIZED_OUT)
        return found

    def address(self, at: int) -> int | None:
        return None


class Missing:
    """Nothing, and why."""

    def __init__(self, why: str = OPTIMIZED_OUT) -> None:
        self._why = why

    def read(self, at: int, size: int) -> bytes:
        raise Gap(self._why)

    def address(self, at: int) -> int | None:
        return None


class Pieces:
    """Several sources in a row: (source, first byte in it, bytes)."""

    def __init__(self, pieces: Sequence[tuple[Source, int, int]]) -> None:
        self._pieces = pieces

    def read(self, at: int, size: int) -> bytes:
        found = b""
        start = 0
        for source, first, length in self._pieces:
            low, high = max(at, start), min(at + size, start + length)
            if low < high:
                found += source.read(first + low - start, high - low)
            start += length
        if len(found) < size:
            raise Gap(OPTIMIZED_OUT)
        return found

    def address(self, at: int) -> int | None:
        return None


class Synthetic(Missing):
    """A pointer to a variable that is in no memory: its entry's offset, and the distance."""

    def __init__(self, entry: int, distance: int) -> None:
        super().__init__()
        self.entry = entry
        self.distance = distance


class Sources:
    """Makes sources of the parts of one frame's variables."""

    def __init__(
        self,
        memory: ReadMemory,
        registers: Callable[[int], bytes | None],
        word: int,
        order: Order,
        slots: int = 1 << 32,
    ) -> None:
        """`word` is the size of one of the process's; `registers` gives a register's bytes by its
        DWARF number, None where it is not known. Those from `slots` on are of vectors and floating
        point: what the dump has of them is the innermost frame's."""
        self._memory = memory
        self._registers = registers
        self._word = word
        self._order = order
        self._slots = slots

    def of(self, parts: Sequence[Part], size: int) -> Source:
        """The source of a variable of so many bytes."""
        if not parts:
            return Missing()
        if len(parts) == 1 and not parts[0].bits:
            return self._whole(parts[0], size)
        if any(part.bits % 8 or part.skip % 8 for part in parts):
            return self._of_bits(parts)
        return Pieces([self._piece(part) for part in parts])

    def _whole(self, part: Part, size: int) -> Source:
        if part.where is Where.POINTER:
            return Synthetic(part.value, int.from_bytes(part.data, "little", signed=True))
        data = self._bytes(part)
        if data is None:
            return self._elsewhere(part)
        if part.where is not Where.BYTES and self._order == "big" and size < len(data):
            data = data[len(data) - size :]  # the number's lowest bytes
        return Known(data)

    def _bytes(self, part: Part) -> bytes | None:
        """What a part holds that is not in memory, None if it is there or not known."""
        if part.where is Where.REGISTER:
            return self._registers(part.value)
        if part.where is Where.VALUE:
            return part.value.to_bytes(self._word, self._order)
        return part.data if part.where is Where.BYTES else None

    def _elsewhere(self, part: Part) -> Source:
        if part.where is Where.MEMORY:
            return InMemory(self._memory, part.value, (1 << 8 * self._word) - 1)
        if part.where is Where.REGISTER and part.value >= self._slots:
            return Missing(IN_VECTOR)
        return Missing()

    def _piece(self, part: Part) -> tuple[Source, int, int]:
        size, skip = part.bits // 8, part.skip // 8
        data = self._bytes(part)
        if data is None:
            return self._elsewhere(part), skip, size
        if part.where is not Where.BYTES and self._order == "big":
            skip = max(len(data) - size - skip, 0)
        return Known(data), skip, size

    def _of_bits(self, parts: Sequence[Part]) -> Source:
        """Parts that do not begin or end at bytes."""
        if self._order == "big":
            return Missing("location not supported: pieces of bits")
        value = shift = 0
        for part in parts:
            if part.where is Where.NOWHERE or part.bits > 8 * MAX_READ:
                return Missing()
            source, _, _ = self._piece(part)
            first, last = part.skip // 8, (part.skip + part.bits + 7) // 8
            data = source.read(first, last - first)
            bits = int.from_bytes(data, "little") >> part.skip % 8 & (1 << part.bits) - 1
            value |= bits << shift
            shift += part.bits
        return Known(value.to_bytes((shift + 7) // 8, "little"))


def bits_of(source: Source, first: int, count: int, order: Order) -> int:
    """A bit field: `count` bits from bit `first` on, in the order of memory."""
    start, end = first // 8, (first + count + 7) // 8
    value = int.from_bytes(source.read(start, end - start), order)
    shift = first - 8 * start if order == "little" else 8 * end - first - count
    return value >> shift & (1 << count) - 1
