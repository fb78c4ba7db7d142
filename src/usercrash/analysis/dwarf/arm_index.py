"""The exception index of 32-bit ARM: `.ARM.exidx` and `.ARM.extab` as rows of rules.

Source: Exception Handling ABI for the Arm Architecture (IHI 0038), sections 5 to 9 and table 4 of
the unwinding instructions. Generic personality routines are read as GCC's and clang's: a
word with the number of further words and three instructions, then those words.
An entry is true where a function calls another, not at every instruction.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable

from ...errors import FormatError
from ..binary.effort import affordable
from .cfi import OFFSET, Row, Rule
from .encodings import Buffer, uleb

PT_ARM_EXIDX = 0x70000001
_CANT_UNWIND = 1
_SP, _LR, _PC = 13, 14, 15
_MASK = (1 << 32) - 1
_MAX_ROWS = 1 << 20
_FINISH = 0xB0

Read = Callable[[int, int], bytes]


class ArmIndex:
    """One file's index. `address` is the link-time address of `table`; `read` reads at link-time
    addresses (fewer bytes where there are none)."""

    def __init__(self, table: Buffer, address: int, read: Read, order: str = "<") -> None:
        self._address = address
        self._read = read
        self._order = order
        count = affordable(min(len(table) // 8, _MAX_ROWS))
        words = struct.unpack_from(f"{order}{2 * count}I", table)
        self._starts = [_prel31(word, address + 8 * at) & ~1 for at, word in enumerate(words[::2])]
        self._contents = words[1::2]

    def start(self, pc: int) -> int | None:
        """Where the code begins that has the entry which covers a link-time pc."""
        index = bisect_right(self._starts, pc) - 1
        return self._starts[index] if index >= 0 else None

    def row(self, pc: int) -> Row | None:
        """The rules of the function at a link-time pc for where it calls another.

        None where no entry covers it, and for one that forbids to unwind: linkers give that to
        all code without a table. FormatError for a broken one, or one that no row can express.
        """
        index = bisect_right(self._starts, pc) - 1
        if index < 0 or self._contents[index] == _CANT_UNWIND:
            return None
        content = self._contents[index]
        if content >> 31:
            if content >> 24 & 0x7F:
                raise FormatError(f"index entry for {pc:#x} with personality {content >> 24:#x}")
            return _row(content.to_bytes(4, "big")[1:])
        return _row(self._instructions(_prel31(content, self._address + 8 * index + 4)))

    def _instructions(self, address: int) -> bytes:
        """The unwinding instructions of the table entry at `address`."""
        first = self._word(address)
        if not first >> 31:
            address += 4  # the first word led to a personality routine
            first = self._word(address)
            return self._list(address, first, first >> 24, 3)
        kind = first >> 24 & 0xF
        if kind == 0:
            return first.to_bytes(4, "big")[1:]
        if kind in (1, 2):
            return self._list(address, first, first >> 16 & 0xFF, 2)
        raise FormatError(f"unwinding table with personality {kind}")

    def _list(self, address: int, first: int, more: int, here: int) -> bytes:
        """The last `here` bytes of the first word, and those of `more` words behind it."""
        words = [self._word(address + 4 * at) for at in range(1, more + 1)]
        head = first.to_bytes(4, "big")[4 - here :]
        return head + b"".join(word.to_bytes(4, "big") for word in words)

    def _word(self, address: int) -> int:
        data = self._read(address, 4)
        if len(data) < 4:
            raise FormatError(f"no unwinding table at {address:#x}")
        return int.from_bytes(data, "little" if self._order == "<" else "big")


def _prel31(word: int, place: int) -> int:
    """The address that a 31-bit distance from its own place leads to."""
    distance = word & 0x7FFFFFFF
    if distance >> 30:
        distance -= 1 << 31
    return place + distance & _MASK


class _Machine:
    """The virtual stack pointer as a register plus a distance, and what was popped from where."""

    def __init__(self) -> None:
        self.base = _SP
        self.distance = 0
        self.popped: dict[int, int] = {}

    def pop(self, registers: list[int]) -> None:
        for register in registers:
            if register == _SP:
                raise FormatError("unwinding instructions that load the stack pointer")
            self.popped[register] = self.distance
            self.distance += 4

    def pop_mask(self, mask: int, first: int) -> None:
        self.pop([first + bit for bit in range(12) if mask >> bit & 1])

    def take(self, register: int) -> None:
        if register in (_SP, _PC) or register in self.popped:
            raise FormatError(f"unwinding instructions that begin anew at r{register}")
        if self.popped:
            raise FormatError("unwinding instructions that change the stack after a pop")
        self.base, self.distance = register, 0

    def row(self) -> Row:
        rules: dict[int, Rule] = {
            register: (OFFSET, distance - self.distance)
            for register, distance in self.popped.items()
            if register != _PC
        }
        if _PC in self.popped:
            rules[_LR] = (OFFSET, self.popped[_PC] - self.distance)
        return Row(self.base, self.distance, None, rules, _LR, False)


def _row(code: bytes) -> Row:
    """What a whole list of unwinding instructions amounts to."""
    machine = _Machine()
    at = 0
    while at < len(code):
        op = code[at]
        at += 1
        if op == _FINISH:
            break
        if op < 0x80:
            step = ((op & 0x3F) << 2) + 4
            machine.distance += -step if op & 0x40 else step
        elif op < 0x90 or op in (0xB1, 0xB3, 0xC6, 0xC7, 0xC8, 0xC9):
            if at >= len(code):
                raise FormatError("unwinding instruction cut short")
            _two_bytes(machine, op, code[at])
            at += 1
        elif op == 0xB2:
            value, at = uleb(code, at)
            if value > _MASK:
                raise FormatError("unwinding instructions that drop more than there is")
            machine.distance += 0x204 + (value << 2)
        else:
            _one_byte(machine, op)
    return machine.row()


def _one_byte(machine: _Machine, op: int) -> None:
    kind, low = op & 0xF8, op & 7
    if op & 0xF0 == 0x90:
        machine.take(op & 15)
    elif kind in (0xA0, 0xA8):
        machine.pop([*range(4, 5 + low), *([_LR] if kind == 0xA8 else [])])
    elif op == 0xB4:  # the return address's authentication code
        machine.distance += 4
    elif op == 0xB5:  # the stack pointer is the signature's modifier
        pass
    elif kind == 0xB8:  # FSTMFDX d8 to d8 + n, and a word
        machine.distance += 8 * (low + 1) + 4
    elif kind in (0xC0, 0xD0):  # wR10 to wR10 + n; d8 to d8 + n
        machine.distance += 8 * (low + 1)
    else:
        raise FormatError(f"unwinding instruction {op:#x}")


def _two_bytes(machine: _Machine, op: int, more: int) -> None:
    if op < 0x90:
        mask = (op & 15) << 8 | more
        if not mask:
            raise FormatError("unwinding is refused here")
        machine.pop_mask(mask, 4)
    elif op in (0xB1, 0xC7):
        if not 0 < more < 16:
            raise FormatError(f"unwinding instruction {op:#x} {more:#x}")
        if op == 0xB1:
            machine.pop_mask(more, 0)
        else:  # wCGR0 to wCGR3
            machine.distance += 4 * more.bit_count()
    else:  # floating-point and WMMX registers, and with FSTMFDX a word
        machine.distance += 8 * ((more & 15) + 1) + (4 if op == 0xB3 else 0)
