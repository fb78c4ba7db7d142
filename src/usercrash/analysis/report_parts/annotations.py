"""Where a number points: what registers, words of the stack and operands are annotated with."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec

from ... import report
from ...elf.arch import Arch
from ...function_identity import function_identity
from ...model.maps import Mapping as MemoryMapping
from ..core.heap_blocks import HeapBlocks
from ..core.modules import Module, ModuleTable
from ..core.patterns import pattern_words
from ..core.places import Places, count_bytes
from ..facts.syscalls import syscall_name
from ..facts.texts import json_cost, safe
from ..instructions.decoded import Decoded
from ..instructions.disassembly import X86
from ..instructions.x86_code import SYSCALL_INSTRUCTIONS
from ..symbols.data_symbols import DataSymbols
from .previews import error_words, flag_words, text_at

MAX_NOTE = 240  # characters
_MAX_NAME = 120
OTHER_THREADS = 32  # that get notes, too, of so many bytes in all
OTHER_NOTES = 24 << 10
_SMALL = 4096
_FLAGS = ("eflags", "rflags")
_TARGET = re.compile(r"(call|jmp|bl|b|jal|j[a-z]{1,4}) #?(0x[0-9a-f]+)\Z")
_RELATIVE = re.compile(r"\[rip ([+-]) (0x[0-9a-f]+|[0-9]+)\]")
_LIBC = re.compile(rb"libc\.so\.6|libc-2\.[0-9]+\.so")
_OTHER_MALLOC = re.compile(
    rb"jemalloc|tcmalloc|mimalloc|snmalloc|scudo|hoard|clang_rt\.|lib[alt]san"
)


@dataclass(frozen=True, slots=True)
class FramePart:
    """[start, end) of a stack that belongs to one frame."""

    start: int
    end: int
    name: str


@dataclass(slots=True)
class Annotator:
    """Says of numbers where they point, for one report. `code_name` names code ("" for none),
    `threads` are the report's, with their stacks."""

    arch: Arch
    read: Callable[[int, int], bytes]
    modules: ModuleTable
    places: Places
    data: DataSymbols
    code_name: Callable[[int], str]
    threads: Sequence[report.Thread]
    _blocks: HeapBlocks | None = None
    _stacks: dict[int, list[FramePart]] = field(default_factory=dict)
    _by_stack: dict[int, list[report.Thread]] | None = None
    _known: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [module.path.rpartition(b"/")[2] for module in self.modules]
        glibc = any(map(_LIBC.fullmatch, names))
        if glibc and not any(map(_OTHER_MALLOC.search, names)):
            self._blocks = HeapBlocks(self.read, self.arch)

    # --- one number ---

    def words(self, value: int) -> str:
        """Where the number points if it is an address, with the text there; "" for others."""
        value &= self.arch.mask
        if value not in self._known:
            self._known[value] = safe(self._words(value), MAX_NOTE)
        return self._known[value]

    def value_words(self, value: int) -> str:
        """The same, or what a number that is no address is made of."""
        words = self.words(value)
        if words or value > self.arch.mask - _SMALL or self.places.find(value) is not None:
            return words
        return pattern_words(value & self.arch.mask, self.arch.word, self.arch.order)

    def _words(self, value: int) -> str:
        if value < _SMALL or not self.places.is_canonical(value):
            return ""
        place = self.places.find(value)
        if place is None:
            return ""
        words = self.place_words(value, place)
        text = "" if self._holds_address(value) else text_at(self.read, value)
        return f"{words}: {text}" if text else words

    def _holds_address(self, place: int) -> bool:
        """Whether what lies there is code, or begins with an address: some of these can be read
        as text."""
        data = self.read(place, self.arch.long)
        number = int.from_bytes(data, self.arch.byte_order)
        return self.modules.executable(place) or self.places.find(number) is not None

    def place_words(self, value: int, place: MemoryMapping) -> str:
        """The function, object, block, frame or mapping that an address in `place` lies in."""
        if self.modules.executable(value):
            name = self.code_name(value)
            if name and "(" in name:
                return name
        found = self.object_at(value)
        if found is not None:
            offset = f"+{found[1]:#x}" if found[1] else ""
            return f"{found[0]}{offset} ({found[2]})"
        module = self.modules.find(value)
        if module is not None and place.path[:1] == b"/":
            return f"{self.places.name(place)} (+{value - module.bias:#x})"
        if place.path == b"[stack]" or self.places.owner(place) is not None:
            return self.places.name(place) + self._frame_words(value, place)
        block = self._blocks.find(value, place) if self._blocks is not None else None
        if block is None:
            return f"{self.places.name(place)} (+{value - place.start:#x})"
        at = f"at {value - block.start:#x} in " if value != block.start else ""
        kind = "a free block" if block.free else "a block"
        return f"{self.places.name(place)}, {at}{kind} of {count_bytes(block.size)}"

    def object_at(self, address: int) -> tuple[str, int, str] | None:
        """The global object that an address lies in: its name, the offset in it, its module's
        name; None where none is known."""
        module = self.modules.find(address)
        found = self.data.find(module, address) if module is not None else None
        if module is None or found is None:
            return None
        return safe(found[0], _MAX_NAME), found[1], _base(module)

    # --- frames ---

    def _frame_words(self, value: int, place: MemoryMapping) -> str:
        if place.start not in self._stacks:
            self._stacks[place.start] = self._frames_in(place)
        parts = self._stacks[place.start]
        at = bisect_right(parts, value, key=lambda part: part.start) - 1
        if at < 0 or value >= parts[at].end:
            return ""
        return f", in the frame of {function_identity(parts[at].name)}"

    def _frames_in(self, place: MemoryMapping) -> list[FramePart]:
        """The parts of a stack that belong to frames, in the order of addresses."""
        if self._by_stack is None:
            self._by_stack = {}
            for thread in self.threads:
                first = next((one for one in thread.frames if _is_real(one)), None)
                where = self.places.find(int(first.sp or "0", 16)) if first is not None else None
                if where is not None:
                    self._by_stack.setdefault(where.start, []).append(thread)
        parts: list[FramePart] = []
        for thread in self._by_stack.get(place.start, ()):
            real = [one for one in thread.frames if _is_real(one)]
            inlined = {one.index for one in thread.frames if not _is_real(one)}
            for frame, caller in pairwise(real):
                start, end = int(frame.sp or "0", 16), int(caller.sp or "0", 16)
                between = range(frame.index + 1, caller.index)
                if start < end <= place.end and all(one in inlined for one in between):
                    parts.append(FramePart(start, end, _frame_name(frame)))
        parts.sort(key=lambda part: part.start)
        return parts

    # --- registers ---

    def registers(self, registers: Mapping[str, int]) -> dict[str, str]:
        """Notes about a thread's registers, by their names."""
        notes = {}
        pc = registers.get(self.arch.pc, 0)
        for name in self.arch.pointer_registers:
            words = self.value_words(registers.get(name, 0))
            if words:
                notes[name] = words
        if self.arch.name in X86:
            notes |= self._of_x86(registers, pc)
        return notes

    def _of_x86(self, registers: Mapping[str, int], pc: int) -> dict[str, str]:
        notes = {}
        for name in _FLAGS:
            if name in registers:
                notes[name] = flag_words(registers[name])
        number_register, result = self.arch.call[0], self.arch.call[0].removeprefix("orig_")
        number = registers.get(number_register)
        if number is None or self.read(pc - 2, 2) not in SYSCALL_INSTRUCTIONS:
            return notes
        if not number >> 8 * self.arch.word - 1:
            name = syscall_name(self.arch.name, number)
            notes[number_register] = f"in the system call {name}" if name else ""
        words = error_words(registers.get(result, 0), 8 * self.arch.word)
        if words:
            notes[result] = words
        return {name: words for name, words in notes.items() if words}

    def others(
        self, threads: Sequence[report.Thread], registers: Sequence[Mapping[str, int]]
    ) -> list[report.Thread]:
        """The threads with notes about their registers, as many as there is room for."""
        room = OTHER_NOTES
        done = []
        for shown, values in list(zip(threads, registers, strict=False))[:OTHER_THREADS]:
            notes = self.registers(values)
            room -= sum(json_cost(words) + 24 for words in notes.values())
            if room < 0:
                break
            done.append(msgspec.structs.replace(shown, register_notes=notes))
        return [*done, *threads[len(done) :]]

    # --- instructions ---

    def instructions(
        self, listed: Sequence[report.Instruction], decoded: Decoded | None
    ) -> list[report.Instruction]:
        """The instructions with notes: of the current one its operands' values, of the others what
        does not depend on registers."""
        return [
            msgspec.structs.replace(one, note=safe(note, MAX_NOTE)) if note else one
            for one in listed
            for note in [self._instruction(one, decoded)]
        ]

    def _instruction(self, one: report.Instruction, decoded: Decoded | None) -> str:
        parts = self._values(decoded) if one.current and decoded is not None else []
        target = _target(one)
        if target is not None:
            words = self.words(target)
            told = one.text.startswith(("call", "bl ", "jal ")) or "[" in one.text
            # (jumps inside of the function say nothing)
            if words and (told or "+0x" not in words):
                parts.append(words)
        return "; ".join(parts)

    def _values(self, decoded: Decoded) -> list[str]:
        parts = [f"{name} = {_number(value)}" for name, value in decoded.reads]
        for access in decoded.accesses:
            sums = ", ".join(f"{name} = {_number(value)}" for name, value in access.values)
            place = self.words(access.address) or self.places.where(access.address)
            found = self._loaded(access.address, access.size) if "read" in access.kind else ""
            if sums:
                parts.append(f"{sums} → {access.address:#x}{found}, {place}")
            elif found:
                parts.append(f"{access.address:#x}{found}")
        return parts

    def _loaded(self, address: int, size: int) -> str:
        data = self.read(address, size) if size <= self.arch.word else b""
        if not data or len(data) < size:
            return ""
        return f" holds {_number(int.from_bytes(data, self.arch.byte_order))}"


def _target(one: report.Instruction) -> int | None:
    """The address that an instruction names without any register but the pc."""
    found = _TARGET.match(one.text)
    if found is not None:
        return int(found[2], 16)
    relative = _RELATIVE.search(one.text)
    if relative is None:
        return None
    distance = int(relative[2], 0)
    behind = int(one.address, 16) + len(one.data) // 2
    return behind + (distance if relative[1] == "+" else -distance)


def _number(value: int) -> str:
    return str(value) if value < 10 else f"{value:#x}"


def _base(module: Module) -> str:
    return safe(module.path.rpartition(b"/")[2].decode("utf-8", "backslashreplace"), 80)


def _is_real(frame: report.Frame) -> bool:
    """Whether it has a part of the stack."""
    return not frame.inline and frame.sp is not None


def _frame_name(frame: report.Frame) -> str:
    name = frame.function or f"#{frame.index}"
    return name if len(name) <= _MAX_NAME else f"{name[:_MAX_NAME]}…"


def with_annotations(
    built: report.Report,
    annotator: Annotator,
    registers: Sequence[Mapping[str, int]],
    decoded: Decoded | None,
) -> report.Report:
    """The report with notes about the registers of its threads (`registers` are theirs, in their
    order), about memory and about instructions; `decoded` is the one at the pc."""
    threads = list(built.threads)
    if threads and registers:
        notes = annotator.registers(registers[0])
        shown = {name: notes[name] for name in threads[0].registers if name in notes}
        threads[0] = msgspec.structs.replace(threads[0], register_notes=shown)
        threads[1:] = annotator.others(threads[1:], registers[1:])
    memory = [
        msgspec.structs.replace(block, where=words) if words else block
        for block in built.memory
        for words in [annotator.words(int(block.center, 16))]
    ]
    code = annotator.instructions(built.code, decoded)
    return msgspec.structs.replace(built, threads=threads, code=code, memory=memory)
