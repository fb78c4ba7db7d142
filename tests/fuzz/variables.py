"""Variables of a small program whose debug information is damaged: types, locations, values."""

from __future__ import annotations

import subprocess
import tempfile
from functools import cache
from pathlib import Path
from random import Random

from tests.support.build import need
from usercrash.analysis.binary.elf_file import ElfFile
from usercrash.analysis.dwarf.debug_info import DwarfFile
from usercrash.analysis.dwarf.records import Types
from usercrash.analysis.symbols.debug_reader import DebugReader
from usercrash.analysis.variables.frame import Frame, Place
from usercrash.analysis.variables.nulls import null_pointers
from usercrash.analysis.variables.printer import Process
from usercrash.analysis.variables.reading import FrameReader
from usercrash.elf.arch.x86_64 import ARCH
from usercrash.errors import FormatError

from .mutate import mutated

_SOURCE = """
#include <stddef.h>
enum color { RED, BLUE = 4 };
struct node { struct node *next; const char *name; int bits : 3; unsigned more : 9;
    union { double d; float _Complex c; } u; enum color color; struct { short a[3]; } inner; };
static int sum(struct node *node, const int *numbers, size_t count) {
    int total = 0; char text[12] = "sum"; int vla[count + 1]; vla[0] = 1;
    for (size_t i = 0; i < count; i++) { int one = numbers[i]; total += one + text[i & 3]; }
    return total + node->bits + vla[0]; }
__attribute__((noinline)) int visit(struct node *node, long double wide, int n) {
    int numbers[4] = {1, n, 3, 4}; struct node copy = *node; _Bool yes = wide > 1;
    int (*function)(struct node *, long double, int) = visit;
    return sum(&copy, numbers, 4) + yes + (n ? function(node->next, wide / 2, n - 1) : 0); }
int main(int argc, char **argv) { struct node node = {0}; return visit(&node, argc, argc); }
"""
MOST = 100_000  # characters of a value


@cache
def _programs() -> tuple[bytes, ...]:
    found = []
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "program.c"
        source.write_text(_SOURCE)
        for flags in (("-O0",), ("-O2",), ("-O2", "-gdwarf-4")):
            program = Path(place) / "program"
            command = [need("gcc", "gcc"), "-g", *flags, "-o", str(program), str(source)]
            subprocess.run(command, check=True)
            found.append(program.read_bytes())
    return tuple(found)


@cache
def _sections(number: int) -> tuple[tuple[int, int], ...]:
    """(offset, size) of what describes variables."""
    names = (b".debug_info", b".debug_info", b".debug_abbrev", b".debug_loc", b".debug_loclists")
    elf = ElfFile(_programs()[number])
    found = [elf.section(name) for name in names]
    return tuple((one.offset, one.size) for one in found if one is not None)


@cache
def _functions(number: int) -> tuple[int, ...]:
    """The first addresses of the program's own functions."""
    symbols = ElfFile(_programs()[number]).symbols
    named = ((symbols.find(start), start) for start in symbols._starts)
    return tuple(start for one, start in named if one and one[0] in (b"visit", b"main", b"sum"))


def damaged(random: Random) -> bytes:
    """A program with damage in what describes its variables; its number in front."""
    number = random.randrange(len(_programs()))
    data = _programs()[number]
    for _ in range(random.choice((1, 1, 2))):
        at, size = random.choice(_sections(number))
        part = mutated([data[at : at + size]], random)[:size]
        data = data[:at] + part + bytes(size - len(part)) + data[at + size :]
    return bytes((number,)) + data


def _read(address: int, size: int) -> bytes:
    return bytes(at & 0xFF for at in range(address, address + min(size, 4096)) if at < 1 << 20)


def run(data: bytes, random: Random) -> None:
    """All variables at some places."""
    reader = DebugReader(DwarfFile(ElfFile(data[1:])))
    for start in _functions(data[0] % len(_programs())):
        for address in (start + random.randrange(160), start + random.randrange(40)):
            _place(reader, address, random)


def _place(reader: DebugReader, address: int, random: Random) -> None:
    levels = reader.scopes(address)
    if not levels:
        return
    registers = [random.choice((None, 0, 0x1000, 1 << 63)) for _ in range(ARCH.slots)]
    frame = Frame(
        Place(registers, address, address + 1, 0x1000, random.choice((0, 0x7000)), True),
        levels, ARCH, _read, lambda: frame,
    )  # fmt: skip
    process = Process(_read, lambda address: "f", lambda address: None)
    variables = FrameReader(Types(), process, frame)
    try:
        for level in levels:
            for one in variables.declared(level):
                assert len(variables.shown(one, True).value) < MOST
        for null in null_pointers(variables, levels):
            null.member_at(random.randrange(64), random.choice((1, 4, 8)))
    except FormatError:
        pass  # the declarations themselves are broken, or it was too much
