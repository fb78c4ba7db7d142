"""ELF files and their symbol tables: real ones against readelf, damaged ones, any bytes."""

from __future__ import annotations

import struct
import subprocess
from contextvars import copy_context
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.build import need
from tests.support.spawn import compile_c

from usercrash.analysis.binary.effort import limit_effort
from usercrash.analysis.binary.elf_file import ElfFile
from usercrash.analysis.binary.symbol_entries import addresses_of
from usercrash.analysis.binary.symbol_table import SymbolTable, _sized
from usercrash.errors import FormatError

LIBC = Path("/usr/lib/x86_64-linux-gnu/libc.so.6")
SOURCE = """
#include <stdio.h>
__attribute__((noinline)) int plain(int x) { return x * 3; }
int alias(int) __attribute__((alias("plain")));
__asm__(".text\\n.globl label\\nlabel: nop\\n ret\\n");
int main(int c, char **v) { (void)v; return plain(c); }
"""


def _readelf(*arguments: str) -> str:
    done = subprocess.run(
        [need("readelf", "binutils"), *arguments],
        capture_output=True, text=True, check=True, env={"LC_ALL": "C"},
    )  # fmt: skip
    return done.stdout


def test_against_readelf() -> None:
    elf = ElfFile(LIBC.read_bytes())
    notes = _readelf("-n", str(LIBC))
    assert elf.build_id is not None and elf.build_id.hex() in notes
    assert elf.soname == b"libc.so.6"
    names = {section.name.decode() for section in elf.sections}
    assert {".text", ".eh_frame", ".dynsym"} <= names
    assert elf.section(b".nothing") is None


def test_functions_against_readelf() -> None:
    table = ElfFile(LIBC.read_bytes()).symbols
    rows: dict[int, set[bytes]] = {}
    sizes: dict[int, int] = {}
    for line in _readelf("--dyn-syms", "-W", str(LIBC)).split("\n"):
        words = line.split()
        if len(words) >= 8 and words[3] in ("FUNC", "IFUNC") and words[6] != "UND":
            start = int(words[1], 16)
            rows.setdefault(start, set()).add(words[7].partition("@")[0].encode())
            sizes[start] = max(sizes.get(start, 0), int(words[2], 0))
    assert len(rows) > 1500
    for start, names in rows.items():
        found = table.find(start)
        assert found is not None
        assert found[0] == max(names) and found[1] == start
        inside = table.find(start + sizes[start] - 1)
        assert inside is not None and inside[1] >= start


def test_what_covers_an_address(tmp_path: Path) -> None:
    table = ElfFile(compile_c(tmp_path, "program", SOURCE).read_bytes()).symbols
    by_name = {table.find(start)[0]: start for start in table._starts}  # type: ignore[index]
    assert b"plain" in by_name and b"alias" not in by_name  # of equals the last in order
    assert table.find(by_name[b"label"] + 1) == (b"label", by_name[b"label"])
    assert table.find(0) is None
    assert table.find(1 << 40) is None


def test_addresses_by_name_against_readelf() -> None:
    """Data, too; and of a name that is the end of others."""
    elf = ElfFile(LIBC.read_bytes())
    wanted = {b"__abort_msg", b"environ", b"read"}
    rows: dict[bytes, set[int]] = {name: set() for name in wanted}
    for line in _readelf("--dyn-syms", "-W", str(LIBC)).split("\n"):
        words = line.split()
        if len(words) >= 8 and words[6] != "UND":
            name = words[7].partition("@")[0].encode()
            if name in wanted:
                rows[name].add(int(words[1], 16))
    assert all(rows.values())
    assert {name: set(addresses_of(elf, name)) for name in wanted} == rows
    assert addresses_of(elf, b"no such name") == []


def test_a_name_that_stands_often_is_searched_for_as_long_as_there_are_steps() -> None:
    """(A made file may have thousands of it, and each costs a look at all symbols.)"""
    names = b"\0x\0x\0"  # the symbol has the second
    symbols = bytes(24) + struct.pack("<IBBHQQ", 3, 1, 0, 1, 0x1234, 8)
    at = 64 + 3 * 64
    rows = [
        (0,) * 10,
        (0, 3, 0, 0, at, len(names), 0, 0, 1, 0),
        (0, 2, 0, 0, at + len(names), len(symbols), 1, 0, 1, 24),
    ]
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 3, 62, 1, 0, 0, 64, 0, 64, 56, 0, 64,
                       len(rows), 0)  # fmt: skip
    table = b"".join(struct.pack("<IIQQQQIIQQ", *row) for row in rows)
    elf = ElfFile(head + table + names + symbols)
    assert addresses_of(elf, b"x") == [0x1234]
    refused: list[str] = []

    def with_one_step() -> list[int]:
        limit_effort(1, lambda: refused.append("refused"))
        return addresses_of(elf, b"x")

    assert copy_context().run(with_one_step) == [] and refused == ["refused"]


def test_no_name_from_the_nearest_symbol(tmp_path: Path) -> None:
    """In a stripped library a static function must not get its neighbour's name."""
    source = tmp_path / "library.c"
    source.write_text(
        "int before(void) { return 1; }\n"
        "__attribute__((noinline)) static int hidden(int x) { return x * x + 7; }\n"
        "int after(int x) { return hidden(x) + 1; }\n"
    )
    library = tmp_path / "library.so"
    command = [need("gcc", "gcc"), "-O1", "-shared", "-fPIC", "-o", str(library), str(source)]
    subprocess.run(command, check=True)
    elf = ElfFile(library.read_bytes())
    hidden = next(
        start for start in elf.symbols._starts if elf.symbols.find(start) == (b"hidden", start)
    )
    subprocess.run([need("strip", "binutils"), str(library)], check=True)
    assert ElfFile(library.read_bytes()).symbols.find(hidden + 2) is None


def test_symbols_without_sizes(tmp_path: Path) -> None:
    """They reach to the next symbol, in a stripped file (where neighbours may be missing) not far;
    a label inside a function does not hide it."""
    source = tmp_path / "labels.c"
    source.write_text(
        '__asm__(".text\\n.globl bare\\nbare: .skip 200\\n'
        '.globl other\\nother: nop\\n.globl inside\\n");\n'
        'int outer(int x) { __asm__ volatile("nop\\ninside: nop"); return x; }\n'
    )
    library = tmp_path / "library.so"
    command = [need("gcc", "gcc"), "-O1", "-shared", "-fPIC", "-o", str(library), str(source)]
    subprocess.run(command, check=True)
    table = ElfFile(library.read_bytes()).symbols
    names = {table.find(start): start for start in table._starts}
    by_name = {found[0]: start for found, start in names.items() if found is not None}
    assert b"inside" not in by_name
    assert table.find(by_name[b"bare"] + 199) == (b"bare", by_name[b"bare"])
    assert table.find(by_name[b"bare"] + 200) == (b"other", by_name[b"other"])
    assert table.find(by_name[b"outer"] + 1) == (b"outer", by_name[b"outer"])
    subprocess.run([need("strip", "binutils"), str(library)], check=True)
    table = ElfFile(library.read_bytes()).symbols
    assert table.find(by_name[b"bare"] + 63) == (b"bare", by_name[b"bare"])
    assert table.find(by_name[b"bare"] + 64) is None


def test_symbols_without_sizes_end_with_their_section(tmp_path: Path) -> None:
    """`_init`, the last symbol before it, does not name the procedure linkage table."""
    source, program = tmp_path / "plt.c", tmp_path / "plt"
    source.write_text("#include <stdio.h>\nint main(int c, char **v) { return puts(v[c]); }\n")
    subprocess.run([need("gcc", "gcc"), "-Wl,-z,lazy", "-o", program, source], check=True)
    elf = ElfFile(program.read_bytes())
    init, plt = elf.section(b".init"), elf.section(b".plt")
    assert init is not None and plt is not None
    assert elf.symbols.find(init.address + init.size - 1) == (b"_init", init.address)
    assert elf.symbols.find(plt.address) is None
    assert elf.symbols.find(plt.address + plt.size - 1) is None


def test_table_as_bytes() -> None:
    table = ElfFile(LIBC.read_bytes()).symbols
    data = table.to_bytes()
    again = SymbolTable.from_bytes(data)
    assert len(again) == len(table)
    for start in table._starts:
        assert again.find(start) == table.find(start)
    for length in (0, 8, 100, len(data) - 1):
        with pytest.raises(FormatError):
            SymbolTable.from_bytes(data[:length])
    with pytest.raises(FormatError):
        SymbolTable.from_bytes(data[:8] + struct.pack("<QQ", 1 << 60, 1 << 60) + data[24:])


def test_without_symbols() -> None:
    elf = ElfFile(LIBC.read_bytes())
    assert ElfFile(bytes(elf.without_symbols())).section(b".text") is not None
    assert len(ElfFile(bytes(elf.without_symbols())).data) == len(elf.data)


def _ask_everything(elf: ElfFile) -> None:
    _ = (elf.program_headers, elf.loads, elf.sections, elf.build_id, elf.soname, elf.eh_frame_hdr)
    _ = (elf.debug_info_size, elf.debug_link, elf.mini_debug)
    for section in elf.sections[:100]:
        elf.contents(section)
    table = elf.symbols
    for address in (0, 0x1000, 0x26000, 1 << 63):
        elf.offset_of(address)
        elf.segment_at(address)
        table.find(address)
    SymbolTable.from_bytes(table.to_bytes())


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return compile_c(tmp_path_factory.mktemp("elf"), "program", SOURCE).read_bytes()


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damaged(small: bytes, data: st.DataObject) -> None:
    changed = bytearray(small)
    # the headers, the section table at the end, anywhere
    places = st.one_of(
        st.integers(0, 700), st.integers(len(small) - 2400, len(small) - 8),
        st.integers(0, len(small) - 8),
    )  # fmt: skip
    for at, value in data.draw(
        st.lists(st.tuples(places, st.binary(min_size=1, max_size=8)), max_size=8)
    ):
        changed[at : at + len(value)] = value
    length = data.draw(st.one_of(st.just(len(small)), st.integers(0, len(small))))
    try:
        elf = ElfFile(bytes(changed[:length]))
    except FormatError:
        return
    _ask_everything(elf)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=500))
def test_any_bytes(data: bytes) -> None:
    try:
        elf = ElfFile(b"\x7fELF\2\1\1" + data)
    except FormatError:
        return
    _ask_everything(elf)


def test_symbols_in_the_upper_half_of_the_addresses() -> None:
    """Without a size: there is room up to the end of the address space."""
    high = (1 << 64) - 16
    assert _sized({high: (1, 0, 5), 0x1000: (1, 0, 9)}, 4096, []) == [
        (0x1000, 4096, 9),
        (high, 16, 5),
    ]


def test_sections_that_share_a_huge_name() -> None:
    count, size = 5_000, 1 << 22
    head = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, 64, 0, 64, 56, 0, 64, count, 1)
    rows = [struct.pack("<IIQQQQIIQQ", n, 1, 0, 0, 0, 0, 0, 0, 0, 0) for n in range(count)]
    rows[1] = struct.pack("<IIQQQQIIQQ", 1, 3, 0, 0, 64 + 64 * count, size, 0, 0, 0, 0)
    names = b"a" * (size - 10) + b"\0.text\0aa\0"
    rows[2] = struct.pack("<IIQQQQIIQQ", size - 9, 1, 0, 0, 0, 0, 0, 0, 0, 0)
    sections = ElfFile(head + b"".join(rows) + names).sections
    assert len(sections) == count
    assert sections[2].name == b".text"
    assert sum(len(section.name) for section in sections) < 1 << 20
