"""Memory worth looking at: around registers, around the pc, on the stack."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence

from ... import report
from ...elf.arch import Arch
from ..core.places import Places
from ..instructions.disassembly import listing

BEFORE, AFTER = 32, 224  # bytes around a register's value
CODE_BEFORE, CODE_AFTER = 8, 47  # instructions around the pc
_CODE_BYTES = 4096  # how far back a function's start is looked for
STACK_WORDS = 128
_GRAIN = 16

Read = Callable[[int, int], bytes]


def memory_blocks(
    read: Read, arch: Arch, registers: Mapping[str, int], places: Places
) -> list[report.MemoryBlock]:
    """Memory around each general register that points to some, the stack pointer's and
    the pc's included; registers with the same value once."""
    names: dict[int, list[str]] = {}
    for name in arch.pointer_registers:
        value = registers.get(name, 0)
        if value >= 4096:
            names.setdefault(value, []).append(name)
    blocks = []
    for value, labels in names.items():
        block = memory_block(read, ", ".join(labels), value, places.where(value))
        if block is not None:
            blocks.append(block)
    return blocks


def memory_block(read: Read, label: str, center: int, where: str) -> report.MemoryBlock | None:
    """32 bytes before `center` to 224 after it, on lines of 16; None if nothing of it is known."""
    start = max(0, center - BEFORE) & -_GRAIN
    end = min((center & -_GRAIN) + AFTER, 1 << 64)
    data, gaps = _read_with_gaps(read, start, end - start)
    if not any(length < end - start for _, length in gaps) and gaps:
        return None
    return report.MemoryBlock(
        label=label,
        address=f"{start:#x}",
        center=f"{center:#x}",
        data=data.hex(),
        where=where,
        gaps=gaps,
    )


def _read_with_gaps(read: Read, start: int, size: int) -> tuple[bytes, list[list[int]]]:
    """`size` bytes from `start`, unknown ones as zeros, and where these are."""
    data = read(start, size)
    if len(data) == size:
        return data, []
    result = bytearray(size)
    gaps: list[list[int]] = []
    at = 0
    while at < size:
        piece = read(start + at, size - at)
        if piece:
            result[at : at + len(piece)] = piece
            at += len(piece)
            continue
        step = _GRAIN - (start + at) % _GRAIN
        step = min(step, size - at)
        # captured pieces may begin at any byte: look for one in this line
        while step > 1 and read(start + at + step - 1, 1):
            step -= 1
        if gaps and sum(gaps[-1]) == at:
            gaps[-1][1] += step
        else:
            gaps.append([at, step])
        at += step
    return bytes(result), gaps


def code(
    read: Read, arch: Arch, pc: int, function: int | None, executable: Callable[[int], bool]
) -> list[report.Instruction]:
    """Instructions around the pc; empty where the bytes there are no code, or not known.
    `function` is the address where its function begins, None where that is not known."""
    if not executable(pc):
        return []
    if function is not None and not 0 < pc - function <= _CODE_BYTES:
        function = None if pc != function else pc
    start = function if function is not None else max(0, pc - 10 * CODE_BEFORE)
    data = read(start, pc - start + 16 * (CODE_AFTER + 1))
    if len(data) <= pc - start:
        start = pc
        data = read(pc, 16 * (CODE_AFTER + 1))
    lines = listing(arch, data, start, pc, function, CODE_BEFORE, CODE_AFTER)
    return [
        report.Instruction(
            address=f"{line.address:#x}",
            data=line.data.hex(),
            text=line.text,
            current=line.address == pc,
        )
        for line in lines
    ]


def stack_words(
    read: Read,
    arch: Arch,
    sp: int,
    places: Places,
    frames: Sequence[report.Frame],
    words_of: Callable[[int], str],
) -> list[report.StackWord]:
    """The words from the stack pointer up, with what each points to, as `words_of` tells it."""
    word = arch.word
    sp &= -word
    data = read(sp, STACK_WORDS * word)
    begins: dict[int, int] = {}
    for frame in frames:
        if frame.sp is not None and not frame.inline:
            begins.setdefault(int(frame.sp, 16), frame.index)
    own = places.find(sp)
    words = []
    for at in range(0, len(data) - word + 1, word):
        value = int.from_bytes(data[at : at + word], arch.byte_order)
        notes = [words_of(value)]
        if own is not None and own.start <= value < own.end:
            # The stack itself need not be named: how far, in which frame, and the text.
            about = notes[0].removeprefix(places.name(own))
            notes = [f"sp {'+' if value >= sp else '-'} {abs(value - sp):#x}{about}"]
        if at and sp + at in begins:
            notes.append(f"<- stack pointer of #{begins[sp + at]}")
        words.append(
            report.StackWord(
                address=f"{sp + at:#x}",
                value=f"{value:#x}",
                note="  ".join(note for note in notes if note),
            )
        )
    return words


def fault_marks(starts: Sequence[int], ends: Sequence[int], address: int | None) -> int:
    """The index of the mapping that holds the address; −1 for none."""
    if address is None:
        return -1
    at = bisect_right(starts, address) - 1
    return at if at >= 0 and address < ends[at] else -1
