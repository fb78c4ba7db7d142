"""Debug information of a few kilobytes that claims to be any amount: reading ends by the count of
the work that it is, and the analysis has its other names."""

from __future__ import annotations

import struct
import zlib
from contextvars import copy_context
from pathlib import Path

import pytest
import zstandard
from tests.support.analysed import analyse
from tests.support.gcore import gcore_at_fault
from tests.support.spawn import compile_c

from usercrash.analysis.assemble import assemble
from usercrash.analysis.binary import inflation
from usercrash.analysis.binary.elf_file import ElfFile
from usercrash.analysis.dwarf.debug_info import DwarfFile
from usercrash.analysis.dwarf.split_units import unit_in_object, unit_in_package
from usercrash.analysis.dwarf.work import TOO_MUCH, TooMuchError, Work
from usercrash.analysis.symbols import readers
from usercrash.analysis.symbols.debug_reader import DebugReader

WORK = 300_000
CODE = 0x401000


def leb(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes((value & 0x7F | 0x80,))
        value >>= 7
    return out + bytes((value,))


def make_elf(sections: dict[str, bytes], compressed: int = 0) -> bytes:
    """An ELF file with these sections, which have SHF_COMPRESSED if `compressed` is 1."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in sections) + b".shstrtab\0"
    body, rows, at = b"", [bytes(64)], 64
    for name, data in (*sections.items(), (".shstrtab", names)):
        where = names.index(name.encode() + b"\0")
        rows.append(struct.pack(
            "<IIQQQQIIQQ", where, 1, 0x800 * compressed, 0, at + len(body), len(data), 0, 0, 1, 0
        ))  # fmt: skip
        body += data
    rows[-1] = rows[-1][:8] + bytes(8) + rows[-1][16:]
    head = b"\x7fELF\2\1\1" + bytes(9) + struct.pack(
        "<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, at + len(body), 0, 64, 56, 0, 64, len(rows), len(rows) - 1
    )  # fmt: skip
    return head + body + b"".join(rows)


def abbreviation(code: int, tag: int, children: int, *attributes: tuple[int, int]) -> bytes:
    pairs = b"".join(leb(name) + leb(form) for name, form in attributes)
    return leb(code) + leb(tag) + bytes((children,)) + pairs + b"\0\0"


def unit(body: bytes, abbrev: int = 0) -> bytes:
    """A compilation unit of version 4."""
    return struct.pack("<IHIB", len(body) + 7, 4, abbrev, 8) + body


CU = abbreviation(1, 0x11, 1, (0x13, 0x0B), (0x11, 0x01), (0x12, 0x06), (0x10, 0x17))
ROOT = b"\1\4" + struct.pack("<QII", CODE, 0x1000, 0)  # C++, its code, its line program


def exhausted(sections: dict[str, bytes], addresses: range | None = None, work: int = WORK) -> None:
    """Reading ends with all of the work done, and nothing is known from then on."""
    data = make_elf(sections)
    assert len(data) < 200_000
    left = Work(work)
    reader = DebugReader(DwarfFile(ElfFile(data), work=left))
    for address in addresses or range(CODE, CODE + 16):
        reader.lookup(address)
        reader.names(address)
        reader.call_sites(address)
    assert left.exhausted and reader.exhausted
    assert not (reader.lookup(CODE) or reader.names(CODE) or reader.call_sites(CODE))
    assert reader.row_at(CODE, 1 << 30) == (0, 0, 0)


def test_ranges() -> None:
    """Every function has all the ranges of one long list."""
    function = abbreviation(2, 0x2E, 0, (0x55, 0x17))
    listed = b"".join(struct.pack("<QQ", 8 * at + 1, 8 * at + 2) for at in range(4000))
    body = ROOT + (b"\2" + bytes(4)) * 4000 + b"\0"
    exhausted({
        ".debug_info": unit(body), ".debug_abbrev": CU + function + b"\0",
        ".debug_ranges": listed + bytes(16),
    })  # fmt: skip


def test_attributes() -> None:
    """An entry of one byte has a thousand attributes that take no space."""
    wide = abbreviation(2, 0x1D, 0, *((0x3A, 0x19),) * 990)
    around = abbreviation(3, 0x2E, 1, (0x11, 0x01), (0x12, 0x06))
    body = ROOT + b"\3" + struct.pack("<QI", CODE, 0x1000) + b"\2" * 50_000 + b"\0\0"
    exhausted({".debug_info": unit(body), ".debug_abbrev": CU + wide + around + b"\0"})


def test_abbreviations() -> None:
    """Every unit has a table that ends where that of the others does."""
    one = abbreviation(1, 0x11, 0)
    many = b"".join(abbreviation(code, 0x24, 0) for code in range(2, 8000))
    units = b"".join(unit(b"\1", len(one) * at) for at in range(2000))
    exhausted({".debug_info": units, ".debug_abbrev": one * 2000 + many})


def test_line_programs() -> None:
    """Every unit has the same long line program."""
    units = b"".join(
        unit(b"\1\4" + struct.pack("<QII", CODE + 16 * at, 16, 0)) for at in range(500)
    )
    head = b"\1\1\1\xfb\x0e\x0d" + bytes((0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1)) + b"\0\0"
    rows = b"\0\x09\x02" + struct.pack("<Q", CODE) + b"\x21" * 60_000 + b"\0\1\1"
    program = struct.pack("<HI", 4, len(head)) + head + rows
    exhausted(
        {
            ".debug_info": units, ".debug_abbrev": CU + b"\0",
            ".debug_line": struct.pack("<I", len(program)) + program,
        },
        range(CODE, CODE + 500 * 16, 16),
    )  # fmt: skip


def test_scopes_that_lead_back_into_each_other() -> None:
    """Sixty types in each other, each declared by the function within the innermost."""
    deep = 60
    nested = abbreviation(2, 0x13, 1, (0x47, 0x13))
    function = abbreviation(3, 0x2E, 0, (0x03, 0x08), (0x11, 0x01), (0x12, 0x06))
    target = struct.pack("<I", 11 + len(ROOT) + 5 * deep)
    body = ROOT + (b"\2" + target) * deep + b"\3f\0" + struct.pack("<QI", CODE, 64)
    exhausted({
        ".debug_info": unit(body + bytes(deep + 1)),
        ".debug_abbrev": CU + nested + function + b"\0",
    })  # fmt: skip


def test_headers_of_units() -> None:
    """Units without number, and without anything in them."""
    tiny = struct.pack("<IHIB", 7, 4, 0, 8)
    exhausted({".debug_info": tiny * 17_000, ".debug_abbrev": CU + b"\0"}, work=50_000)


def test_units_of_split_files() -> None:
    skeleton_root = abbreviation(1, 0x11, 0, (0x2130, 0x08), (0x2131, 0x07))
    info = unit(b"\1a.dwo\0" + struct.pack("<Q", 77))
    work = Work(50_000)
    home = DwarfFile(
        ElfFile(make_elf({".debug_info": info, ".debug_abbrev": skeleton_root + b"\0"})), work=work
    )
    skeleton = home.unit(0)
    others = {".debug_info.dwo": info.replace(b"M", b"N") * 7000,
              ".debug_abbrev.dwo": skeleton_root + b"\0"}  # fmt: skip
    with pytest.raises(TooMuchError):
        unit_in_object(DwarfFile(ElfFile(make_elf(others)), split=True, work=work), skeleton)
    slots = 1 << 13
    index = struct.pack("<4I", 2, 1, 1, slots) + struct.pack("<Q", 76) * slots
    index += struct.pack("<I", 1) * (slots + 3)
    package = DwarfFile(ElfFile(make_elf({".debug_cu_index": index})), split=True, work=Work(slots))
    with pytest.raises(TooMuchError):
        unit_in_package(package, skeleton)


def test_shares_of_a_whole() -> None:
    whole = Work(120_000)
    first, second = Work(60_000, whole), Work(1_000_000, whole)
    first.spend(50_000)
    with pytest.raises(TooMuchError):
        first.spend(50_001)
    second.spend(40_000)
    with pytest.raises(TooMuchError):
        for _ in range(100):
            second.spend(10_000)
    assert first.exhausted and second.exhausted
    with pytest.raises(TooMuchError):
        second.spend()


def _packed(kind: int, size: int, claimed: int) -> bytes:
    data = bytes(size)
    packed = zlib.compress(data, 9) if kind == 1 else zstandard.compress(data, 9)
    return struct.pack("<IIQQ", kind, 0, claimed, 1) + packed


@pytest.mark.parametrize("kind", [1, 2])
def test_inflated_bytes_of_all_sections(kind: int) -> None:
    megabyte = 1 << 20
    names = [".debug_info", ".debug_line", ".debug_str", ".debug_abbrev"]
    data = make_elf({name: _packed(kind, 3 * megabyte, 3 * megabyte) for name in names}, 1)
    assert len(data) < 20_000
    refused: list[bool] = []

    def sizes() -> list[int]:
        inflation.allow(7 * megabyte, lambda: refused.append(True))
        elf = ElfFile(data)
        sections = [elf.section(name.encode()) for name in names]
        return [len(elf.contents(section)) for section in sections if section is not None]

    assert copy_context().run(sizes) == [3 * megabyte, 3 * megabyte, 0, 0]
    assert refused == [True]


@pytest.mark.parametrize("kind", [1, 2])
def test_no_more_than_a_section_claims(kind: int) -> None:
    elf = ElfFile(make_elf({".debug_info": _packed(kind, 1 << 22, 5000)}, 1))
    section = elf.section(b".debug_info")
    assert section is not None and len(elf.contents(section)) == 5000
    assert elf.debug_info_size == 5000
    inflater = elf.inflater(section)
    assert inflater is not None and len(inflater.upto(1 << 22)) == 5000


CRASH = """
static inline __attribute__((always_inline)) int inner(int *p) { *p = 1; return *p; }
__attribute__((noinline)) int outer(int *p) { return inner(p) + 1; }
int main(int c, char **v) { (void)v; return outer((int *)(long)(8 * c)) + 1; }
"""


def test_the_analysis_goes_on_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = compile_c(tmp_path, "program", CRASH, "-O2", "-gsplit-dwarf")
    core = gcore_at_fault([bytes(program)], tmp_path / "core")
    for units, functions in ((1_000_000, ["inner", "outer", "main"]), (300, ["outer", "main"])):
        monkeypatch.setattr(readers, "MODULE_WORK", units)
        ours = analyse(core)
        report = assemble(ours.image, ours.modules, ours.symbolizer, "0" * 32)
        names = [frame.function for frame in report.threads[0].frames]
        assert names[: len(functions)] == functions
        notes = [note for note in report.notes if note.why == TOO_MUCH]
        assert len(notes) == (units == 300)
