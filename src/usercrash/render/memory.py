"""Memory in words, as the process reads them: of its size and byte order."""

from __future__ import annotations

from typing import Literal

from ..report import MemoryBlock, Report, System
from .layout import DIM, Paper, clean, digits, number_of

_LINE = 16  # bytes


def memory(paper: Paper, report: Report) -> None:
    """Memory around each register that points somewhere."""
    for block in report.memory:
        paper.heading(f"Memory near {clean(block.label)} = {block.center}")
        if block.where:
            paper.line(f"   {clean(block.where)}", indent=4)
        _block_lines(paper, block, report.system)


def read_block(block: MemoryBlock) -> tuple[int, bytes, set[int]] | None:
    """The address of the first byte, the bytes, the offsets of those that were not captured; None
    for a block that cannot be read."""
    try:
        address, data = int(block.address, 16), bytes.fromhex(block.data)
    except ValueError:
        return None
    missing: set[int] = set()
    for gap in block.gaps:
        start, length = gap if len(gap) == 2 else (0, 0)
        missing.update(range(max(0, start), min(start + length, len(data))))
    return address, data, missing


def _block_lines(paper: Paper, block: MemoryBlock, system: System) -> None:
    found = read_block(block)
    center = number_of(block.center)
    if found is None or center is None:
        return
    address, data, missing = found
    word = 4 if system.address_bytes == 4 else 8
    order: Literal["little", "big"] = "big" if system.byte_order == "big" else "little"
    for start in range(0, len(data), _LINE):
        offsets = range(start, min(start + _LINE, len(data)))
        if all(at in missing for at in offsets):
            continue
        words = []
        for at in range(start, start + _LINE, word):
            value = f"{int.from_bytes(data[at : at + word], order):0{2 * word}x}"
            known = missing.isdisjoint(range(at, at + word))
            words.append((value if known else "-" * 2 * word) if at < len(data) else " " * 2 * word)
        shown = "".join(
            "." if at in missing or not 0x20 <= data[at] < 0x7F else chr(data[at]) for at in offsets
        )
        mark = ">" if address + start <= center < address + start + _LINE else " "
        paper.line(f" {mark} {address + start:0{2 * word}x}  {' '.join(words)}  {shown}")


def stack_memory(paper: Paper, report: Report) -> None:
    """The words on the crashing thread's stack, with what they point to."""
    if not report.stack_memory:
        return
    paper.heading("Stack memory, from the stack pointer up")
    wide = 8 if report.system.address_bytes == 4 else 16
    for word in report.stack_memory:
        head = f"   {digits(word.address):>{wide}}  {digits(word.value):>{wide}}  "
        paper.fixed_then(head, clean(word.note), 12, DIM)
