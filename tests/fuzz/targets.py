"""What is fuzzed: for each parser its seeds, and how one input goes through it.

A target may raise FormatError and nothing else.
"""

from __future__ import annotations

import lzma
import struct
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from tests.support.build import need
from tests.support.coremaker import file_note, make_core, prstatus, siginfo
from usercrash.analysis.binary.elf_file import ElfFile
from usercrash.analysis.binary.gopclntab import GoTable
from usercrash.analysis.binary.symbol_table import SymbolTable
from usercrash.analysis.core.file_search import Place, SearchPlaces
from usercrash.analysis.core.image import CoreImage
from usercrash.analysis.core.module_files import FileProviders
from usercrash.analysis.core.module_memory import ModuleMemory
from usercrash.analysis.core.modules import Module, ModuleTable, load_modules
from usercrash.analysis.dwarf.arm_index import ArmIndex
from usercrash.analysis.dwarf.call_frames import CallFrames
from usercrash.analysis.dwarf.cfi import FrameSection
from usercrash.analysis.dwarf.debug_info import DwarfFile
from usercrash.analysis.dwarf.expression import MissingValue, evaluate
from usercrash.analysis.dwarf.frame_index import EhFrameHdr, FrameTable
from usercrash.analysis.dwarf.go_rows import GoRows
from usercrash.analysis.report_parts.python_stacks import PythonStacks
from usercrash.analysis.report_parts.stacks import Named
from usercrash.analysis.symbols.data_symbols import DataSymbols
from usercrash.analysis.symbols.debug_reader import DebugReader
from usercrash.analysis.symbols.linkage_stubs import LinkageStubs
from usercrash.analysis.symbols.symbolizer import Symbolizer
from usercrash.analysis.unwinding.frames import Stack
from usercrash.analysis.unwinding.unwind import UnwindLimits, unwind
from usercrash.elf.arch.x86_64 import ARCH
from usercrash.errors import FormatError
from usercrash.model.maps import Mapping
from usercrash.model.notes import NoteLog

from . import reports, variables
from .mutate import mutated

_SOURCE = """
#include <stdlib.h>
static int later(const void *a, const void *b) { return *(int *)a - *(int *)b; }
int visible(int n) { int k[9]; for (int i = 0; i < 9; i++) k[i] = n ^ i;
    qsort(k, 9, sizeof *k, later); return k[n & 7]; }
int main(int c, char **v) { (void)v; return visible(c); }
"""
_NOWHERE = SearchPlaces(Place(b"/nonexistent"))
LIMITS = UnwindLimits(frames=500, total=2000, seconds=0.3)
BASE = 0x400000


@dataclass(frozen=True, slots=True)
class Target:
    """`weight`: its share of all inputs; `make` an input, `run` it."""

    weight: int
    make: Callable[[Random], bytes]
    run: Callable[[bytes, Random], None]


@cache
def programs() -> tuple[bytes, ...]:
    """Small programs: with DWARF, stripped, static-like, compressed, without sections."""
    found = []
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "program.c"
        source.write_text(_SOURCE)
        for flags in (
            ("-g", "-O1"), ("-s", "-O2"), ("-g", "-gz=zlib", "-fno-asynchronous-unwind-tables"),
            ("-shared", "-fPIC", "-Wl,--hash-style=sysv"),
        ):  # fmt: skip
            program = Path(place) / "program"
            command = [need("gcc", "gcc"), "-o", str(program), str(source), *flags]
            subprocess.run(command, check=True)
            found.append(program.read_bytes())
    bare = bytearray(found[0])
    end = struct.unpack_from("<Q", bare, 40)[0]
    bare[40:48] = bytes(8)
    return (*found, bytes(bare[:end]))


@cache
def frame_sections() -> tuple[tuple[bytes, ...], tuple[bytes, ...], tuple[bytes, ...]]:
    """`.eh_frame`, `.debug_frame` and `.eh_frame_hdr` of the programs."""
    kinds: tuple[list[bytes], ...] = ([], [], [])
    for data in programs():
        elf = ElfFile(data)
        for kind, name in zip(
            kinds, (b".eh_frame", b".debug_frame", b".eh_frame_hdr"), strict=True
        ):
            section = elf.section(name)
            if section is not None:
                kind.append(bytes(elf.contents(section)))
    return tuple(kinds[0]), tuple(kinds[1]), tuple(kinds[2])


# --- ELF files ---


def _elf(data: bytes, random: Random) -> None:
    elf = ElfFile(data)
    _ = (elf.build_id, elf.soname, elf.debug_info_size, elf.debug_link, elf.eh_frame_hdr)
    _ = (elf.mini_debug, elf.go_table)
    for section in elf.sections[:50]:
        elf.contents(section, 1 << 20)
    table = elf.symbols
    for start in table._starts[:20]:
        table.find(start)
    SymbolTable.of_dynamic(elf, elf.read_at, 0x1000)
    SymbolTable.from_bytes(table.to_bytes())
    objects = DataSymbols(Symbolizer(None, NoteLog(), places=_NOWHERE), elf.read_at)
    for module in (Module(b"", 0, 1 << 20, 0, [], elf=elf), Module(b"", 0, 1 << 20, 0, [])):
        module.memory_elf = elf
        for address in (0x4020, 0x4040, random.randrange(1 << 14)):
            objects.find(module, address)
    frames = CallFrames(elf, None, 0, lambda address, size: b"")
    for pc in (elf.header.entry, 0x1139, random.randrange(1 << 14)):
        frames.row(pc)
    memory = CallFrames(None, elf, 0, elf.read_at)
    memory.row(random.randrange(1 << 14))
    stubs = LinkageStubs(elf)
    for pc in (0x1020, 0x1030, 0x1040, random.randrange(1 << 14)):
        stubs.at(pc)
    stubs.imports.functions(random.choice((b"main", b"free", b"qsort")))


def _symbol_cache(data: bytes, random: Random) -> None:
    table = SymbolTable.from_bytes(data)
    table.find(random.randrange(1 << 14))


# --- names and lines ---


@cache
def _debug_sections() -> tuple[tuple[int, int], ...]:
    """(offset, size) of the DWARF in the first program."""
    sections = ElfFile(programs()[0]).sections
    return tuple((one.offset, one.size) for one in sections if one.name.startswith(b".debug_"))


def _damaged_dwarf(random: Random) -> bytes:
    """The first program with damage only in its debug information, at its old size."""
    data = programs()[0]
    for _ in range(random.choice((1, 1, 2))):
        at, size = random.choice(_debug_sections())
        part = mutated([data[at : at + size]], random)[:size]
        data = data[:at] + part + bytes(size - len(part)) + data[at + size :]
    return data


def _dwarf(data: bytes, random: Random) -> None:
    reader = DebugReader(DwarfFile(ElfFile(data)))
    starts = ElfFile(programs()[0]).symbols._starts
    for address in (*random.sample(list(starts), 2), random.randrange(1 << 14)):
        reader.lookup(address)
        reader.call_sites(address)
        reader.row_at(address, 1 << 20)


# --- call frames and expressions ---


def _frames(data: bytes, random: Random, debug_frame: bool = False) -> None:
    word, order = random.choice(((8, "<"), (8, "<"), (4, "<"), (8, ">"), (4, ">")))
    machine = random.choice((62, 62, 183, 43, 8))
    section = FrameSection(
        data, 0x2000, debug_frame=debug_frame, word=word, order=order, machine=machine
    )
    table = FrameTable(section)
    pcs = [0x1139, 0x1149, random.randrange(1 << 14)]
    table._indexed(0)
    for pc in [*pcs, *(start for start in (table._starts or [])[:6])]:
        try:
            row = table.row(pc)
        except FormatError:
            continue
        for _, value in row.rules.values() if row is not None else ():
            if isinstance(value, bytes):
                _evaluate(value, random)


def _debug_frames(data: bytes, random: Random) -> None:
    _frames(data, random, debug_frame=True)


def _headers(data: bytes, random: Random) -> None:
    header = EhFrameHdr(data, 0x2000, *random.choice(((8, "<"), (4, "<"), (8, ">"))))
    section = FrameSection(random.choice(frame_sections()[0]), header.eh_frame)
    for pc in (0x1139, random.randrange(1 << 14)):
        FrameTable(section, header).row(pc)


def _instructions(random: Random) -> bytes:
    """A section of one entry whose instructions are nonsense."""
    program = random.randbytes(random.randrange(1, 80))
    first = b"\0\0\0\0\x01zR\0\x01\x78\x10\x01\x1b\x0c\x07\x08\x90\x01"
    first += b"\0" * (-len(first) % 4)
    body = struct.pack("<IiI", len(first) + 8, 0x1139 - 0x2000 - len(first) - 12, 0x40) + b"\0"
    body += program
    return struct.pack("<I", len(first)) + first + struct.pack("<I", len(body)) + body


def _read(address: int, size: int) -> bytes:
    return bytes(at & 0xFF for at in range(address, address + min(size, 64)) if at < 1 << 20)


_REGISTERS: tuple[int | None, ...] = (*(0x1000 * number for number in range(16)), None, 1 << 63)


def _evaluate(data: bytes, random: Random) -> None:
    word, order = random.choice(((8, "<"), (4, "<"), (8, ">")))
    try:
        value = evaluate(data, _REGISTERS, _read, (0x7000,), word, order)
    except MissingValue:
        return
    assert 0 <= value < 1 << 8 * word


def _operations(random: Random) -> bytes:
    """Operators that exist, mostly, and operands that do not matter."""
    out = b""
    for _ in range(random.randrange(1, 30)):
        kind = random.random()
        if kind < 0.4:
            out += bytes((random.randrange(0x30, 0x90), random.randrange(128)))
        elif kind < 0.8:
            out += bytes((random.randrange(0x03, 0x30),)) + random.randbytes(random.randrange(3))
        else:
            out += random.randbytes(random.randrange(1, 10))
    return out


# --- ARM's exception index ---


def _index_entries(random: Random) -> bytes:
    """Entries in order, with inline instructions or offsets, and words for them to lead to."""
    out = b""
    for number in range(random.randrange(1, 24)):
        start = 0x1000 + 64 * number - 0x8000 - 8 * number & 0x7FFFFFFF
        kind = random.random()
        if kind < 0.4:
            content = 0x80 << 24 | random.randrange(1 << 24)
        elif kind < 0.8:
            content = random.randrange(400)
        else:
            content = random.choice((1, random.randrange(1 << 32)))
        out += struct.pack("<II", start, content)
    words = bytes((random.choice((0x80, 0x81, 0, 0xFF)),)) + random.randbytes(300)
    return mutated([out + words[::-1] * 2], random) if random.random() < 0.5 else out + words


def _arm(data: bytes, random: Random) -> None:
    def read(address: int, size: int) -> bytes:
        at = address - 0x8000
        return data[at : at + size] if 0 <= at < len(data) else b""

    index = ArmIndex(data, 0x8000, read, random.choice("<<>"))
    for pc in (0x1000, *(0x1000 + random.randrange(1 << 11) for _ in range(6))):
        index.start(pc)
        try:
            index.row(pc)
        except FormatError:
            continue


# --- cores and stacks ---


@cache
def cores() -> tuple[bytes, ...]:
    """Cores of our own making whose memory is a program and a stack."""
    program = programs()[0]
    stack = b"".join(struct.pack("<Q", BASE + 0x1140 + 3 * at) for at in range(200))
    notes = [
        prstatus(1, 11, BASE + 0x1150), siginfo(11), prstatus(2, 0, BASE + 0x1139),
        file_note([(BASE, BASE + 0x1000, 0), (BASE + 0x1000, BASE + 0x5000, 1)], [b"/a", b"/a"]),
    ]  # fmt: skip
    flat = [(1, 5, BASE, program[:0x5000], 0x5000), (1, 6, 0x7FFF0000, stack, 0x2000)]
    return make_core(notes, flat), make_core(notes[:2], flat[1:]), make_core(notes)


def _core(data: bytes, random: Random) -> None:
    image = CoreImage.open(data)
    modules = load_modules(image, FileProviders([]))
    memory = ModuleMemory(image, modules)
    for thread in image.threads[:3]:
        registers = dict(thread.registers)
        registers[image.arch.sp] = random.choice((0x7FFF0000, 0x7FFF0008, 0, (1 << 64) - 8))
        unwind(memory, modules, image.arch, registers, LIMITS)
    for module in modules:
        if module.memory_symbols is not None:
            module.memory_symbols().find(BASE)


class _Stack:
    """Memory of one piece: a stack at an address."""

    def __init__(self, data: bytes) -> None:
        self.data = memoryview(data)

    def window(self, address: int) -> tuple[int, memoryview] | None:
        inside = 0x7FFF0000 <= address < 0x7FFF0000 + len(self.data)
        return (0x7FFF0000, self.data) if inside else None

    def read(self, address: int, size: int) -> bytes:
        found = self.window(address)
        return bytes(found[1][address - found[0] :][:size]) if found is not None else b""


def _walk(data: bytes, random: Random) -> None:
    """A stack and registers of any kind, and damaged call frame information."""
    elf = ElfFile(data)
    mapping = Mapping(BASE, BASE + 0x5000, b"r-xp", path=b"/a")
    module = Module(b"/a", BASE, BASE + 0x5000, BASE, [mapping], elf=elf)
    words = (0, BASE + 0x1150, BASE + random.randrange(0x5000), 0x7FFF0000 + random.randrange(2400))
    stack = _Stack(b"".join(struct.pack("<Q", random.choice(words)) for _ in range(300)))
    module.frames = CallFrames(elf, None, BASE, stack.read)
    registers = {
        name: random.choice((0, 0x7FFF0000, 0x7FFF0100, (1 << 64) - 1, BASE + 0x1150))
        for name in ARCH.dwarf_registers.values()
    }
    registers["rip"] = BASE + random.randrange(0x1000, 0x2000)
    registers["rsp"] = 0x7FFF0000 + 8 * random.randrange(50)
    unwind(stack, ModuleTable([module], [mapping]), ARCH, registers, LIMITS)


# --- Go ---


@cache
def go_tables() -> tuple[bytes, ...]:
    from tests.unit.test_go import make_table

    return tuple(make_table(version) for version in (2, 16, 18, 20))


def _go(data: bytes, random: Random) -> None:
    table = GoTable(data, "<", 0x400000)
    rows = GoRows(table, random.choice((62, 3, 183)))
    for pc in (0x400000, 0x400050, 0x400100, random.randrange(1 << 24)):
        function = table.find(pc)
        if function is not None:
            table.stack_size(function, pc)
            table.line(function, pc)
        rows.row(pc)


# --- CPython ---


@cache
def python_cores() -> tuple[bytes, ...]:
    from tests.cpython.keep_cores import KEPT

    return tuple(lzma.decompress(path.read_bytes()) for path in sorted(KEPT.glob("*.core.xz")))


def _python(data: bytes, random: Random) -> None:
    image = CoreImage.open(data)
    modules = ModuleTable([], image.mappings)
    stacks = PythonStacks(image, modules, image.read, 1 << 20)
    for thread in image.threads[:4]:
        named = Named()
        stacks.of(thread, Stack([], "", 0, []), named, lambda frame: None)


TARGETS: dict[str, Target] = {
    "elf": Target(14, lambda random: mutated(programs(), random, 64 + 56 * 13), _elf),
    "symbol cache": Target(
        3, lambda random: mutated([ElfFile(programs()[0]).symbols.to_bytes()], random, 24),
        _symbol_cache,
    ),
    "DWARF": Target(8, _damaged_dwarf, _dwarf),
    "variables": Target(8, variables.damaged, variables.run),
    "eh_frame": Target(20, lambda random: mutated(frame_sections()[0], random), _frames),
    "debug_frame": Target(10, lambda random: mutated(frame_sections()[1], random), _debug_frames),
    "eh_frame_hdr": Target(8, lambda random: mutated(frame_sections()[2], random), _headers),
    "instructions": Target(15, _instructions, _frames),
    "expression": Target(15, _operations, _evaluate),
    "core": Target(7, lambda random: mutated(cores(), random, 2000), _core),
    "walk": Target(4, lambda random: mutated(programs()[:2], random, 64 + 56 * 13), _walk),
    "ARM index": Target(8, _index_entries, _arm),
    "CPython": Target(6, lambda random: mutated(python_cores(), random, 60_000), _python),
    "report": Target(
        3, lambda random: reports.damaged_core((*cores(), *python_cores()), random), reports.run
    ),
    "gopclntab": Target(8, lambda random: mutated(go_tables(), random), _go),
}  # fmt: skip
