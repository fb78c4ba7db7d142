"""The steps of common call frame rows, compiled once: for stacks of a million frames."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

from ...elf.arch import Arch
from ..dwarf import cfi
from ..dwarf.cfi import Row

_MAX_SPAN = 1 << 16  # bytes between the saved registers of one frame

# What a row does in the common case, ready to run: CFA register, CFA offset, offset of the lowest
# saved word, its unpacker, registers it fills.
FastStep = tuple[int, int, int, Callable[..., tuple[int, ...]], tuple[int, ...]]


def compile_row(row: Row, arch: Arch) -> FastStep | Row:
    """The fast step of a row, the row itself if it needs more than reads at the CFA."""
    known = arch.dwarf_registers
    if not arch.cfa_is_sp or arch.return_distance:
        return row
    if (
        row.injected
        or row.cfa_expression is not None
        or row.signal_frame
        or row.cfa_register not in known
        or arch.numbers[arch.sp] in row.rules
    ):
        return row
    if row.return_column != arch.return_column:
        return row
    saved = []
    for register, (kind, value) in row.rules.items():
        if kind == cfi.SAME or register not in known:
            continue
        if kind != cfi.OFFSET or not isinstance(value, int):
            return row
        saved.append((value, register))
    saved.sort()
    if not saved or row.return_column not in (register for _, register in saved):
        return row
    low = at = saved[0][0]
    layout, letter = arch.order, "Q" if arch.word == 8 else "I"
    for value, _ in saved:
        gap = value - at
        if gap < 0 or value - low > _MAX_SPAN:
            return row
        layout += f"{gap}x{letter}" if gap else letter
        at = value + arch.word
    unpack = Struct(layout).unpack_from
    column = arch.return_column
    targets = tuple(arch.pc_slot if register == column else register for _, register in saved)
    return row.cfa_register, row.cfa_offset, low, unpack, targets
