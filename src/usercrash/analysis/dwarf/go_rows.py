"""Rows of rules made of Go's own table, for programs without other call frame information.

Source: Go's internal ABI (cmd/compile/abi-internal.md, sections on the stack layout): a
frame has its size in the table; the return address lies above it (x86), or at its bottom
(arm64); the frame pointer is saved below it.
"""

from __future__ import annotations

from ...elf.headers import EM_386, EM_AARCH64, EM_X86_64
from ...errors import FormatError
from ..binary.gopclntab import GoTable
from .cfi import OFFSET, UNDEFINED, Row

_MAX_FRAME = 1 << 30
_X86 = {
    EM_X86_64: (7, 6, 16, 8),
    EM_386: (4, 5, 8, 4),
}  # e_machine: DWARF numbers of sp, fp, ra; a word


class GoRows:
    """Finds rows in a Go table, for an ELF machine."""

    def __init__(self, table: GoTable, machine: int) -> None:
        self._table = table
        self._machine = machine

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
