"""How ARM and Thumb functions make their frames: Arm Architecture Reference Manual, A32 and T32
(push, vpush, str, sub, add with the stack pointer)."""

from __future__ import annotations

from .machine_code import EntryFrame

_NAMES = (*(f"r{number}" for number in range(13)), "sp", "lr", "pc")
_KEPT = frozenset(("r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "lr"))


class _Making:
    """A frame being made; `known` says whether the last instruction was part of that."""

    def __init__(self) -> None:
        self.size = 0
        self.saved: dict[str, int] = {}
        self.fp: int | None = None
        self.pointer = ""
        self.ended = False

    def push(self, mask: int) -> None:
        registers = [name for bit, name in enumerate(_NAMES) if mask >> bit & 1]
        self.size += 4 * len(registers)
        for at, name in enumerate(registers):
            if name in _KEPT:
                self.saved.setdefault(name, 4 * at - self.size)

    def point(self, name: str, distance: int) -> None:
        if name in ("r7", "r11"):
            self.fp, self.pointer = distance - self.size, name

    def result(self) -> EntryFrame:
        return EntryFrame(self.size, self.saved, self.fp, self.pointer)


def entry_frame(code: bytes) -> EntryFrame | None:
    """What the function did that began with this code, Thumb or ARM; None if it is neither's."""
    tried = []
    for step in (_thumb, _arm):
        made = _Making()
        at = 0
        while at + 1 < len(code) and not made.ended:
            at += step(made, code, at)
        if "lr" in made.saved:
            return made.result()
        tried.append(made)
    return next((made.result() for made in tried if made.saved), None)


def begins_frame(code: bytes) -> bool:
    """Whether a push of the link register stands at the begin."""
    half, second = _half(code, 0), _half(code, 2)
    if half >> 8 == 0xB5 or (half == 0xE92D and second >> 14 == 1):
        return True
    return second == 0xE92D and half >> 14 == 1


def _half(code: bytes, at: int) -> int:
    return int.from_bytes(code[at : at + 2], "little")


def _thumb(made: _Making, code: bytes, at: int) -> int:
    """Take in one Thumb instruction; its length."""
    half = _half(code, at)
    if half >> 11 >= 0x1D:
        if at + 4 <= len(code):
            _thumb_wide(made, half, _half(code, at + 2))
        return 4
    kind = half >> 8
    if kind in (0xB4, 0xB5):
        made.push(half & 0xFF | (half & 0x100) << 6)
    elif half & 0xFF80 == 0xB080:
        made.size += (half & 0x7F) << 2
    elif kind == 0xAF:
        made.point("r7", (half & 0xFF) << 2)
    elif half == 0x466F:
        made.point("r7", 0)
    else:
        # b, b<cond>, bx, blx, cbz, cbnz, pop of the pc, and an add to sp: made by then
        made.ended = (
            0xD0 <= kind <= 0xE7 or kind in (0x47, 0xB1, 0xB3, 0xB9, 0xBB, 0xBD)
            or half & 0xFF80 == 0xB000
        )  # fmt: skip
    return 2


def _thumb_wide(made: _Making, first: int, second: int) -> None:
    if first == 0xE92D:
        made.push(second)
    elif first == 0xF84D and second & 0xFFF == 0xD04:  # str rt, [sp, -4]!
        made.push(1 << (second >> 12))
    elif first & 0xFFBF == 0xED2D:  # vpush
        made.size += (second & 0xFF) << 2
    elif first & 0xFBEF == 0xF1AD and second & 0x8F00 == 0x0D00:  # sub sp, sp, constant
        made.size += _expanded(first >> 10 & 1, second)
    elif first & 0xFBFF == 0xF2AD and second & 0x8F00 == 0x0D00:  # subw sp, sp, 12 bits
        made.size += (first >> 10 & 1) << 11 | (second >> 12 & 7) << 8 | second & 0xFF
    elif first >> 11 == 0x1E and second >> 15:  # branches
        made.ended = True


def _expanded(high: int, second: int) -> int:
    """The constant of 32 bits that 12 bits stand for in Thumb code."""
    pattern, low = high << 3 | second >> 12 & 7, second & 0xFF
    if pattern < 4:
        return low * (1, 0x00010001, 0x01000100, 0x01010101)[pattern]
    turn = pattern << 1 | low >> 7
    return _turned(low | 0x80, turn)


def _turned(value: int, turn: int) -> int:
    return (value >> turn | value << 32 - turn) & 0xFFFFFFFF


def _arm(made: _Making, code: bytes, at: int) -> int:
    """Take in one ARM instruction; its length."""
    word = int.from_bytes(code[at : at + 4], "little")
    if word >> 16 == 0xE92D:
        made.push(word & 0xFFFF)
    elif word & 0xFFFF0FFF == 0xE52D0004:  # str rt, [sp, -4]!
        made.push(1 << (word >> 12 & 15))
    elif word & 0xFFBF0F00 == 0xED2D0B00:  # vpush
        made.size += (word & 0xFF) << 2
    elif word >> 12 == 0xE24DD:  # sub sp, sp, constant
        made.size += _turned(word & 0xFF, 2 * (word >> 8 & 15))
    elif word >> 12 == 0xE28DB:  # add r11, sp, constant
        made.point("r11", _turned(word & 0xFF, 2 * (word >> 8 & 15)))
    elif word == 0xE1A0B00D:
        made.point("r11", 0)
    elif word >> 25 & 7 == 5 or word & 0x0FFFFFD0 == 0x012FFF10 or word >> 12 == 0xE28DD:
        made.ended = True  # branches; an add to sp
    return 4
