"""Rows of rules made of Go's own table, for programs without other call frame information.

Source: Go's internal ABI (cmd/compile/abi-internal.md, sections on the stack layout): a
frame has its size in the table; the return address lies above it (x86), or at its bottom
(arm64); the frame pointer is saved below it.
"""

from __future__ import annotations

from collections.abc import Callable

from ...elf.headers import EM_386, EM_AARCH64, EM_X86_64
from ...errors import FormatError
from ..binary.gopclntab import GoTable
from .cfi import OFFSET, UNDEFINED, Row

_MAX_FRAME = 1 << 30
_X86 = {
    EM_X86_64: (7, 6, 16, 8),
    EM_386: (4, 5, 8, 4),
}  # e_machine: DWARF numbers of sp, fp, ra; a word


# runtime/asm_amd64.s: where these call by a register they stand on the thread's own stack.
_CALLS_BY_REGISTER = frozenset(bytes((0xFF, 0xD0 | register)) for register in range(8))
_TO_C, _TO_SCHEDULER = b"runtime.asmcgocall", b"runtime.mcall"
# The stack pointer that asmcgocall had before: 40(SP) if 48(SP), which is its goroutine, is 0; else
# that goroutine's stack.hi, its second word, - 40(SP).
_BEFORE_C = bytes((
    0x77, 48, 0x06, 0x12, 0x28, 7, 0,  # breg7 48; deref; dup; bra to the second way
    0x13, 0x77, 40, 0x06, 0x2F, 7, 0,  # drop; breg7 40; deref; skip to the end
    0x23, 8, 0x06, 0x77, 40, 0x06, 0x1C,  # plus_uconst 8; deref; breg7 40; deref; minus
))  # fmt: skip


class GoRows:
    """Finds rows in a Go table, for an ELF machine; `read` gives its code at link-time
    addresses."""

    def __init__(
        self, table: GoTable, machine: int, read: Callable[[int, int], bytes] | None = None
    ) -> None:
        self._table = table
        self._machine = machine
        self._read = read

    def switched(self, pc: int) -> Row | None:
        """The row of a call that is made on another stack (x86-64): of C's functions, from which
        what lies there leads back; of the scheduler's, which go back to nobody."""
        function = self._table.find(pc)
        name = function.name.removesuffix(b".abi0") if function is not None else b""
        if function is None or self._machine != EM_X86_64 or name not in (_TO_C, _TO_SCHEDULER):
            return None
        if self._read is None or self._read(pc - 1, 2) not in _CALLS_BY_REGISTER:
            return None
        if name == _TO_SCHEDULER:
            return Row(7, 0, None, {16: (UNDEFINED, 0)}, 16, False)
        # (what it takes on the other stack does not count in the table)
        size = self._table.stack_size(function, pc)
        if size not in (0, 8):  # (8: it has saved the frame pointer)
            return None
        row = Row(7, 0, _BEFORE_C + bytes((0x23, size + 8)), {16: (OFFSET, -8)}, 16, False)
        if size:
            row.rules[6] = (OFFSET, -16)
        return row

    def outermost(self, pc: int) -> Row | None:
        """A row without a caller, where `pc` is in a function at which stacks begin: what lies
        above it was never a frame."""
        function = self._table.find(pc)
        if function is None or not function.outermost:
            return None
        sp, _, column, _ = _X86.get(self._machine, (31, 29, 30, 8))
        return Row(sp, 0, None, {column: (UNDEFINED, 0)}, column, False)

    def injected(self, pc: int) -> bool:
        """Whether the caller of the function at `pc` goes on where its return address says."""
        function = self._table.find(pc)
        return function is not None and function.injected

    def row(self, pc: int) -> Row | None:
        """The rules at a link-time pc, None where the table has none."""
        function = self._table.find(pc)
        if function is None:
            return None
        size = self._table.stack_size(function, pc)
        if size is None or not 0 <= size < _MAX_FRAME:
            return None
        if self._machine in _X86:
            sp, fp, column, word = _X86[self._machine]
            if size % word:
                raise FormatError(f"Go frame of {size} bytes")
            row = Row(sp, size + word, None, {column: (OFFSET, -word)}, column, False)
            if size:
                row.rules[fp] = (OFFSET, -2 * word)
            return row
        if self._machine != EM_AARCH64:
            return None
        row = Row(31, size, None, {}, 30, False)
        if size:
            row.rules = {30: (OFFSET, -size), 29: (OFFSET, -size - 8)}
        return row
