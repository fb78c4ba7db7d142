"""Which variable is the null pointer: `request->session is null: read of its member user`, or
`request->handler is null, and was called`.

Told only where all agree: the variable is null, it is what the instruction's register was loaded
from (or is in that register), and its type has a member where the access was.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec

from ...report import Cause
from ..instructions.disassembly import Line, listing
from ..instructions.x86_operands import whole_register
from .access import matching_access
from .scene import Scene

KINDS = ("null-pointer", "jump-to-null")  # Cause.kind of what can be told more of
_BEFORE = 24  # instructions that are followed back
_MAX_FUNCTION = 1 << 16  # bytes
_LOAD = re.compile(r"mov (\w+), (?:[dq]word) ptr \[(\w+)(?: ([+-]) (0x[0-9a-f]+|\d+))?\]", re.ASCII)
_CALL = re.compile(
    r"call (?:([a-z]\w+)|[dq]word ptr \[(\w+)(?: ([+-]) (0x[0-9a-f]+|\d+))?\])", re.ASCII
)
_COPY = re.compile(r"mov (\w+), (\w+)", re.ASCII)
_TARGET = re.compile(r"[a-z]+ (\w+)\b", re.ASCII)
_LEAVES = re.compile(r"(?:j\w+|call|ret\w*|loop\w*|syscall|int\w*|ud2|hlt)\b", re.ASCII)
# What writes no register that it names first
_READS_ONLY = re.compile(r"(?:cmp|test|push|nop\w*|bt|comis[sd]|ucomis[sd]|endbr\w*)\b", re.ASCII)
# What may write others than that
_WRITES_MORE = re.compile(
    r"(?:i?mul|i?div|xchg|xadd|cmpxchg\w*|c[wdq]\w+|rep\w*|stos\w|lods\w|movs[bwdq] |cpuid|rdtsc\w*"
    r"|pop|leave|lock)\b",
    re.ASCII,
)


class Null(Protocol):
    """A null pointer among the variables (variables.nulls)."""

    @property
    def words(self) -> str: ...
    @property
    def address(self) -> int | None: ...
    @property
    def register(self) -> int | None: ...
    @property
    def reach(self) -> int | None: ...
    def member_at(self, offset: int, size: int) -> str | None: ...


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a register's value came from: a place in memory (None: not known), and the registers
    (whole ones) that held it."""

    address: int | None
    registers: frozenset[str] = frozenset()

    def is_of(self, null: Null, scene: Scene) -> bool:
        """Whether it is a null pointer's place."""
        if null.address is not None and null.address == self.address:
            return True
        numbers = {scene.arch.numbers.get(name) for name in self.registers}
        return null.register is not None and null.register in numbers


def with_null_member(found: Cause, scene: Scene, nulls: Sequence[Null]) -> Cause:
    """The cause of a null pointer with the variable's name, where that is certain."""
    words = ""
    if nulls and found.kind == "null-pointer":
        words = _words(scene, nulls)
    elif nulls and found.reason == "null-call" and scene.pc == 0:
        words = _called(scene, nulls)
    if not words:
        return found
    return msgspec.structs.replace(found, details=[words, *found.details])


def _words(scene: Scene, nulls: Sequence[Null]) -> str:
    address = scene.info.address if scene.info is not None else None
    instruction = scene.decode(scene.registers)
    if address is None or instruction is None:
        return ""
    access = matching_access(instruction, address)
    if access is None or len(access.registers) != 1 or access.address != address:
        return ""  # (with an index, the distance is no member's)
    base = access.registers[0]
    if scene.registers.get(base) != 0:
        return ""
    origin = _origin(scene, _lines(scene), base)
    for null in nulls:
        if not origin.is_of(null, scene):
            continue
        member = null.member_at(address, access.size)
        if null.reach is not None and address >= max(null.reach, 1):
            continue
        did = {"read": "read of", "write": "write to"}.get(access.kind, f"{access.kind} of")
        if member:
            if "_vptr" in member:
                return f"{null.words} is null: {did} its table of virtual functions."
            place = f" at offset {address:#x}" if address else ""
            return f"{null.words} is null: {did} its member {member}{place}."
        return f"{null.words} is null."
    return ""


def _called(scene: Scene, nulls: Sequence[Null]) -> str:
    """The words for a call of null, of which the instruction before the return address tells."""
    word = scene.arch.word
    before = replace(
        scene,
        registers={**scene.registers, scene.arch.sp: scene.sp + word & scene.arch.mask},
        frames=[frame for frame in scene.frames if frame.pc != "0x0"],
    )
    target = scene.word(scene.sp)
    if target is None or not before.frames or before.frames[0].pc != f"{target:#x}":
        return ""
    lines = _lines(before, target)
    call = _CALL.fullmatch(lines[-1].text) if lines else None
    if call is None:
        return ""
    if call[1]:
        origin = _origin(before, lines[:-1], call[1])
    else:
        base = before.registers.get(call[2])
        distance = int(call[4], 0) if call[4] else 0
        sign = -1 if call[3] == "-" else 1
        origin = _Origin(None if base is None else base + sign * distance & scene.arch.mask)
    found = next((null for null in nulls if origin.is_of(null, scene)), None)
    return f"{found.words} is null, and was called." if found is not None else ""


def _origin(scene: Scene, lines: Sequence[Line], register: str) -> _Origin:
    """Where what a register holds behind instructions in a row came from, as far as they tell."""
    names = {whole_register(register)}
    wanted = register
    for number in range(len(lines) - 1, -1, -1):
        line = lines[number]
        if _LEAVES.match(line.text) or _WRITES_MORE.match(line.text):
            break
        if not _writes(line, wanted):
            continue
        load = _LOAD.fullmatch(line.text)
        if load is not None:
            return _Origin(_operand(scene, lines[:number], lines[number:], load), frozenset(names))
        copy = _COPY.fullmatch(line.text)
        if copy is None:
            return _Origin(None, frozenset(names))
        wanted = copy[2]
        if _kept(lines[number:], wanted):
            names.add(whole_register(wanted))
    return _Origin(None, frozenset(names))


def _operand(
    scene: Scene, before: Sequence[Line], behind: Sequence[Line], load: re.Match[str]
) -> int | None:
    """The address that a load read."""
    base = _value(scene, before, behind, load[2], 0)
    if base is None:
        return None
    distance = int(load[4], 0) if load[4] else 0
    return base + (-distance if load[3] == "-" else distance) & scene.arch.mask


def _value(
    scene: Scene, before: Sequence[Line], behind: Sequence[Line], register: str, depth: int
) -> int | None:
    """What a register held between two instructions."""
    if _kept(behind, register):
        return scene.registers.get(register)
    for number in range(len(before) - 1, -1, -1):
        line = before[number]
        if _LEAVES.match(line.text) or _WRITES_MORE.match(line.text) or depth > 4:
            return None
        if not _writes(line, register):
            continue
        load = _LOAD.fullmatch(line.text)
        if load is None:
            return None
        base = _value(scene, before[:number], [*before[number:], *behind], load[2], depth + 1)
        if base is None:
            return None
        distance = int(load[4], 0) if load[4] else 0
        return scene.word(base + (-distance if load[3] == "-" else distance) & scene.arch.mask)
    return None


def _kept(lines: Sequence[Line], register: str) -> bool:
    """Whether none of the instructions writes a register."""
    return not any(_writes(line, register) or _WRITES_MORE.match(line.text) for line in lines)


def _writes(line: Line, register: str) -> bool:
    found = _TARGET.match(line.text)
    if found is None or _READS_ONLY.match(line.text):
        return False
    return whole_register(found[1]) == whole_register(register)


def _lines(scene: Scene, pc: int | None = None) -> list[Line]:
    """The instructions of the innermost function before a pc of it, the last ones."""
    if not scene.x86:
        return []
    frame = next((frame for frame in scene.frames if not frame.inline), None)
    if frame is None or frame.offset is None or not 0 < frame.offset <= _MAX_FUNCTION:
        return []
    pc = scene.pc if pc is None else pc
    start = pc - frame.offset
    data = scene.memory(start, frame.offset + 15)
    return [
        line
        for line in listing(scene.arch, data, start, pc, start, _BEFORE, 0)
        if line.address < pc
    ]
