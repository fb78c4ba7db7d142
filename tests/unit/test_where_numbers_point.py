"""Where numbers point: texts, secrets among them, blocks of the heap, flags, symbols of data."""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.analysed import analyse
from tests.support.build import build, programs
from tests.support.gcore import core_of
from tests.support.sample_frames import frame, thread

from usercrash.analysis.assemble import assemble
from usercrash.analysis.core.heap_blocks import Block, HeapBlocks
from usercrash.analysis.core.modules import ModuleTable
from usercrash.analysis.core.places import Places, StackOwner
from usercrash.analysis.instructions.disassembly import decode
from usercrash.analysis.report_parts.annotations import MAX_NOTE, Annotator
from usercrash.analysis.report_parts.previews import error_words, flag_words, text_at
from usercrash.analysis.symbols.data_symbols import DataSymbols
from usercrash.analysis.symbols.symbolizer import Symbolizer
from usercrash.elf.arch.i386 import ARCH as I386
from usercrash.elf.arch.x86_64 import ARCH
from usercrash.model.maps import Mapping
from usercrash.model.notes import NoteLog
from usercrash.report import Instruction, Report

HEAP, STACK = 0x5000_0000, 0x7FFC_0000_0000


@dataclass
class Memory:
    """Captured pieces by their addresses."""

    pieces: dict[int, bytes] = field(default_factory=dict)

    def read(self, address: int, size: int) -> bytes:
        for start, data in self.pieces.items():
            if start <= address < start + len(data):
                return data[address - start : address - start + size]
        return b""


def mapping(start: int, size: int, path: bytes, perms: bytes = b"rw-p") -> Mapping:
    return Mapping(start, start + size, perms, 0, b"00:00", 0, path)


# --- texts ---


def shown(data: bytes, at: int = 0, base: int = 0x1000) -> str:
    return text_at(Memory({base: data}).read, base + at)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"four\0", '"four"'),
        (b"abc\0", ""),
        (b"one\ttwo\n\0", '"one\\ttwo\\n"'),
        (b'say "x\\y"\0', '"say \\"x\\\\y\\""'),
        ("Ärger über 9 €\0".encode(), '"Ärger über 9 €"'),
        (b"text\x1b[2J\0", ""),
        ("text\u202e\0".encode(), ""),
        (b"latin \xe4\0", ""),
        (b"not ended", ""),
        (b"a" * 300, '"' + "a" * 48 + '"…'),
        (b"b" * 49 + b"\0", '"' + "b" * 48 + '"…'),
        (b"x" + "é".encode() * 200, '"x' + "é" * 47 + '"…'),
        (b"PASSWORD=hunter2\0", '"PASSWORD=<masked>"'),
        (b"LANG=C.UTF-8\0", '"LANG=C.UTF-8"'),
        (b"https://me:hunter2@example.org/\0", '"https://me:<masked>@example.org/"'),
    ],
)
def test_text(data: bytes, expected: str) -> None:
    assert shown(data) == expected


@pytest.mark.parametrize(
    ("data", "at", "expected"),
    [
        (b"\0API_TOKEN=hunter2\0", 11, '"<masked>"'),
        (b"\0API_TOKEN=hunter2\0", 14, '"<masked>"'),
        (b"\0HOME=/home/me\0", 6, '"/home/me"'),
        (b"prog\0--password\0hunter2\0", 16, '"<masked>"'),
        (b"prog\0--verbose\0hunter2\0", 15, '"hunter2"'),
        (b"x" * 500 + b"\0TOKEN=" + b"s" * 200 + b"\0", 600, '"<masked>"'),
    ],
)
def test_a_pointer_into_a_secret(data: bytes, at: int, expected: str) -> None:
    """The value of a variable is what programs point to, more than its name."""
    assert shown(data, at) == expected


@given(st.binary(max_size=400), st.integers(0, 400))
def test_a_text_never_steers(data: bytes, at: int) -> None:
    words = shown(data, at)
    assert words.isprintable() and len(words) < MAX_NOTE
    assert not words or (words.startswith('"') and words.rstrip("…").endswith('"'))


# --- numbers ---


def test_flags_and_errors() -> None:
    assert flag_words(0x10246) == "PF ZF IF RF" and flag_words(2) == ""
    assert error_words((1 << 64) - errno.EINTR, 64) == "-EINTR"
    assert error_words((1 << 32) - 516, 32) == "-ERESTART_RESTARTBLOCK"
    for value in (0, 4, (1 << 64) - 4096, (1 << 64) - 3000, (1 << 63)):
        assert error_words(value, 64) == ""


# --- the heap ---


def chunks(*sizes: int, word: int = 8, flags: int = 1, size: int = 0x21000) -> bytes:
    """A heap: chunks of these sizes, and what is left. A negative size is that of a free one."""
    letter = "Q" if word == 8 else "I"
    data = b"" if word == 8 else bytes(8)
    free = 0
    for one in sizes:
        head = abs(one) | (flags & ~1) | (0 if free else 1)
        data += struct.pack(f"<{letter}{letter}", free, head) + bytes(abs(one) - 2 * word)
        free = -one if one < 0 else 0
    left = size - len(data)
    return data + struct.pack(f"<{letter}{letter}", free, left | (0 if free else 1))


def find(data: bytes, at: int, path: bytes = b"[heap]", size: int = 0x21000) -> Block | None:
    blocks = HeapBlocks(Memory({HEAP: data}).read, ARCH)
    found = blocks.find(HEAP + at, mapping(HEAP, size, path))
    return found and Block(found.start - HEAP, found.size, found.free)


def test_blocks_from_the_beginning_of_a_heap() -> None:
    data = chunks(0x290, 0x30, -0x420, 0x20)
    assert find(data, 0x2A0) == find(data, 0x2A0 + 39) == Block(0x2A0, 0x28)
    assert find(data, 0x2A8 + 0x28) == Block(0x2D0, 0x418, True)  # (its last word is lent)
    assert find(data, 0x10) == Block(0x10, 0x288)
    assert find(data, 0x290 + 8) is None  # a header
    assert find(data, 0x710) is None  # what is left


def test_of_what_was_not_captured_nothing_is_said() -> None:
    data = chunks(0x290, 0x30, 0x40, 0x50)

    def piece(begin: int, end: int, at: int) -> Block | None:
        blocks = HeapBlocks(Memory({HEAP + begin: data[begin:end]}).read, ARCH)
        found = blocks.find(HEAP + at, mapping(HEAP, 0x21000, b"[heap]"))
        return found and Block(found.start - HEAP, found.size, found.free)

    assert piece(0x298, 0x2D0, 0x2A0) == Block(0x2A0, 0x28)
    assert piece(0x298, 0x2C0, 0x2A0) is None  # without the next header
    assert piece(0x2A0, 0x300, 0x2A0) is None  # without its own
    assert piece(0x298, 0x2D0, 0x2A8) is None  # inside of a block: nobody knows of which


@pytest.mark.parametrize(
    "head", [0, 0x11, 0x31 | 8, 0x31 | 2, 0x31 | 4, 0x30, 0xFFFF_FFFF_FFFF_FFF1, 0x22001]
)
def test_headers_that_make_no_sense(head: int) -> None:
    data = bytearray(chunks(0x290, 0x30, 0x40))
    data[0x298:0x2A0] = struct.pack("<Q", head)
    if head != 0x30:  # (the chunk before it may be free: this one is as before)
        assert find(bytes(data), 0x2A0) is None
    data = bytearray(chunks(0x290, 0x30, 0x40))
    data[0x2C8:0x2D0] = struct.pack("<Q", head)  # of the next one
    assert find(bytes(data), 0x2A0) is None


def test_arenas_of_threads_and_large_blocks() -> None:
    arena = chunks(0x30, 0x40, flags=5)
    assert find(arena, 0x10, b"") == Block(0x10, 0x28)
    assert find(chunks(0x30, 0x40), 0x10, b"") is None  # as in the main heap
    assert find(arena, 0x10) is None
    assert find(arena, 0x10, b"/dev/shm/x") is None
    large = struct.pack("<QQ", 0, 0x21000 | 2) + bytes(64)
    assert find(large, 0x10, b"") == Block(0x10, 0x21000 - 16)
    assert find(large, 0x10, b"", size=0x20000) is None
    assert find(large, 0x20, b"") is None


def test_a_heap_of_32_bits() -> None:
    data = chunks(0x190, 0x20, 0x30, word=4)
    blocks = HeapBlocks(Memory({HEAP: data}).read, I386)
    heap = mapping(HEAP, 0x21000, b"[heap]")
    assert blocks.find(HEAP + 0x1A0, heap) == Block(HEAP + 0x1A0, 28)
    assert blocks.find(HEAP + 0x1A9, heap) == Block(HEAP + 0x1A0, 28)


@given(st.binary(max_size=600), st.integers(0, 600), st.sampled_from([b"[heap]", b""]))
def test_any_heap_gives_blocks_within_it(data: bytes, at: int, path: bytes) -> None:
    found = find(data, at, path)
    assert found is None or 0 < found.start <= at < found.start + found.size <= 0x21000


# --- all of it ---


def annotator(memory: Memory, report_threads: list[object] | None = None) -> Annotator:
    maps = [
        mapping(HEAP, 0x21000, b"[heap]"), mapping(0x7F00_0000_0000, 0x1000, b""),
        mapping(STACK, 0x10000, b"[stack]"),
    ]  # fmt: skip
    owners = [StackOwner(7, "w\x1b[2J", 0x7F00_0000_0800, 0, False)]
    modules = ModuleTable([], maps)
    symbols = DataSymbols(Symbolizer(None, NoteLog()), memory.read)
    places = Places(maps, owners)
    return Annotator(ARCH, memory.read, modules, places, symbols, lambda pc: "",
                     report_threads or [])  # type: ignore[arg-type]  # fmt: skip


def test_frames_of_stacks() -> None:
    frames = [frame(0, "inner", inline=True), frame(1, "middle"), frame(2, "outer"),
              frame(5, "far"), frame(6, "\x1b[2J" + "f" * 500)]  # fmt: skip
    begin = int(frames[1].sp or "", 16)
    place = begin & -0x10000
    work = annotator(Memory(), [thread(1, "main", frames)])
    work.places = Places([mapping(place, 0x10000, b"[stack]")])
    name = "the main thread's stack"
    assert work.words(begin) == f"{name}, in the frame of middle"
    assert work.words(begin + 0x3F) == f"{name}, in the frame of middle"
    assert work.words(begin + 0x40) == name  # what is between #2 and #5 is not shown
    assert work.words(begin - 8) == name
    assert work.words(int(frames[3].sp or "", 16)) == f"{name}, in the frame of far"


def test_numbers_that_are_no_addresses() -> None:
    work = annotator(Memory({HEAP: b"text in the heap\0"}))
    for value in (0, 1, 4095, (1 << 64) - 1, (1 << 64) - 4095, 1 << 47, 0x1234_5678):
        assert work.value_words(value) == "", hex(value)
    assert work.value_words(0x4141_4141_4141_4141) == 'the text "AAAAAAAA"'
    assert work.words(0x4141_4141_4141_4141) == ""  # (a word of the stack may be of a secret)
    assert work.words(HEAP) == 'the heap (+0x0): "text in the heap"'
    assert work.words(0x7F00_0000_0010) == "the stack of thread 7 (w\x1b[2J)"


def test_bytes_of_an_address_are_no_text() -> None:
    data = struct.pack("<Q", HEAP + 0x4141)
    assert data[:4].isalnum() is False and shown(b"PQAA" + bytes(4)) == '"PQAA"'
    work = annotator(Memory({HEAP: struct.pack("<Q", 0x5000_4150)}))
    work.places = Places([mapping(HEAP, 0x21000, b"[heap]")])
    assert work.words(HEAP) == "the heap (+0x0)"


def test_results_of_system_calls() -> None:
    memory = Memory({0x401000: b"\x0f\x05\x90"})
    work = annotator(memory)
    values = {"rip": 0x401002, "rax": (1 << 64) - 4, "orig_rax": 202, "eflags": 0x246}
    assert work.registers(values) == {
        "eflags": "PF ZF IF", "orig_rax": "in the system call futex", "rax": "-EINTR",
    }  # fmt: skip
    values["rip"] = 0x401001  # not behind such an instruction
    assert work.registers(values) == {"eflags": "PF ZF IF"}


@pytest.mark.parametrize(
    ("code", "registers", "expected"),
    [
        ("488b4708", {"rdi": 0}, "rdi = 0 → 0x8, not mapped"),
        ("488b04cf", {"rdi": HEAP, "rcx": 2},
         f"rdi = {HEAP:#x}, rcx = 2 → {HEAP + 16:#x} holds 0x2a, the heap (+0x10)"),
        ("8907", {"rdi": 0x10, "rax": 0x1_0000_0005}, "eax = 5; rdi = 0x10 → 0x10, not mapped"),
        ("ffd0", {"rax": 0x30, "rsp": 0}, "rax = 0x30; rsp = 0 → 0xfffffffffffffff8, not mapped"),
        ("c3", {"rsp": HEAP + 16}, f"rsp = {HEAP + 16:#x} → {HEAP + 16:#x} holds 0x2a, "
                                   "the heap (+0x10)"),
        ("648b042510000000", {"fs_base": 0},
         "fs_base = 0 → 0x10, not mapped"),
    ],
)  # fmt: skip
def test_values_of_operands(code: str, registers: dict[str, int], expected: str) -> None:
    work = annotator(Memory({HEAP: bytes(16) + struct.pack("<Q", 42)}))
    data = bytes.fromhex(code)
    decoded = decode(ARCH, data, {"rip": 0x401000} | registers)
    assert decoded is not None
    one = Instruction(address="0x401000", data=code, text=decoded.text, current=True)
    (noted,) = work.instructions([one], decoded)
    assert noted.note == expected


def test_fixed_addresses_in_instructions() -> None:
    work = annotator(Memory({HEAP: b"a string of the program\0"}))
    lines = [
        Instruction(
            address=f"{HEAP - 0x107:#x}", data="488d3d00010000", text="lea rdi, [rip + 0x100]"
        ),
        Instruction(address="0x1000", data="e8fb0f0000", text=f"call {HEAP:#x}"),
        Instruction(address="0x1000", data="90", text="nop"),
    ]  # fmt: skip
    notes = [one.note for one in work.instructions(lines, None)]
    assert notes == ['the heap (+0x0): "a string of the program"'] * 2 + [""]


# --- real programs ---


def report_of(name: str, place: Path) -> Report:
    crash = analyse(core_of(build(programs()[name]), place))
    return assemble(crash.image, crash.modules, crash.symbolizer, "0" * 32)


def test_every_thread_of_a_small_program(tmp_path: Path) -> None:
    report = report_of("worker/debug", tmp_path)
    assert report.complete, report.notes
    for one in report.threads:
        assert one.register_notes["rip"] and "stack" in one.register_notes["rsp"], one
        assert {*one.register_notes} <= {*one.registers}
    waiting = [one for one in report.threads if one.waiting and one.waiting.call == "read"]
    assert waiting
    for one in waiting:
        assert one.register_notes["orig_rax"] == "in the system call read"
        assert f"the stack of thread {one.tid}, in the frame of " in one.register_notes["rsp"]


def test_objects_of_a_file_that_are_too_many(tmp_path: Path) -> None:
    """None of them is named, rather than some."""
    crash = analyse(core_of(build(programs()["divide"]), tmp_path))
    symbols = DataSymbols(crash.symbolizer, crash.memory.read, _objects=0)
    named = DataSymbols(crash.symbolizer, crash.memory.read)
    for module in crash.modules:
        for address in range(module.start, module.end, 64):
            found = named.find(module, address)
            assert found is None or (found[0].isprintable() and found[1] >= 0)
            assert symbols.find(module, address) is None
