"""Out of a frame that a function's first instructions made."""

from __future__ import annotations

from collections.abc import Sequence

from ...elf.arch import Arch
from ..instructions.machine_code import EntryFrame
from .frames import Memory


def stack_before(
    made: EntryFrame, registers: Sequence[int | None], arch: Arch, memory: Memory
) -> int | None:
    """The stack pointer before the function made its frame; `registers` by Arch.numbers. None
    where the register, or the word that tells it, is not known."""
    base, distance = registers[arch.numbers[arch.sp]], made.size
    if made.fp is not None:
        base, distance = registers[arch.numbers[made.pointer or arch.fp]], -made.fp
    if base is None:
        return None
    if not made.chained:
        return base + distance & arch.mask
    data = memory.read(base, arch.word)
    return int.from_bytes(data, arch.byte_order) if len(data) == arch.word else None
