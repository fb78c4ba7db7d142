"""Names and lines: of every source of them, as gdb and addr2line give them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.analysed import analyse
from tests.support.build import need
from tests.support.coremaker import file_note, make_core, prstatus
from tests.support.gcore import gcore_at_fault
from tests.support.symbolized import crash, first, objcopy, with_names

from usercrash.analysis.core.image import CoreImage
from usercrash.analysis.core.modules import Module, ModuleTable, PathFiles, load_modules
from usercrash.analysis.symbols import symbolizer
from usercrash.analysis.symbols.line_tables import LineTable
from usercrash.analysis.symbols.symbolizer import Location, Symbolizer
from usercrash.errors import FormatError
from usercrash.model.notes import NoteLog


def test_inlined_functions_with_lines(tmp_path: Path) -> None:
    core, program = crash(tmp_path, "-O2")
    ours = with_names(analyse(core))
    locations, source = first(ours)
    file = str(tmp_path / "program.c")
    assert [(row.function, row.file, row.line, row.inline) for row in locations] == [
        ("innermost", file, 2, True), ("inlined", file, 6, True), ("outer", file, 9, False),
    ]  # fmt: skip
    assert [row.offset for row in locations] == [None, None, 0]
    assert source == "debug information in the file"
    main = ours.stack().frames[1]
    info = _gdb(program, core, f"info symbol {main.pc:#x}")
    offset = ours.locations(main)[-1].offset
    assert f"main + {offset} in section" in info


def _gdb(program: Path, core: Path, what: str) -> str:
    command = [need("gdb", "gdb"), "-batch", "-nx", "-q", "-ex", what, str(program), str(core)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_symbol_table_only(tmp_path: Path) -> None:
    ours = with_names(analyse(crash(tmp_path, "-O2", "-g0")[0]))
    locations, source = first(ours)
    assert locations == [Location("outer", "outer", 0, None, None)]
    assert source == "symbol table"


def test_stripped(tmp_path: Path) -> None:
    core, program = crash(tmp_path, "-O2")
    subprocess.run([need("strip", "binutils"), str(program)], check=True)
    locations, source = first(with_names(analyse(core)))
    assert locations == [Location(None, None, None, None, None)]
    assert source == "dynamic symbols" or source == "none"


def test_too_much_debug_information(tmp_path: Path) -> None:
    ours = with_names(analyse(crash(tmp_path, "-O2")[0]), limit=100)
    locations, _source = first(ours)
    assert [(row.function, row.line) for row in locations] == [
        ("innermost", 2), ("inlined", 6), ("outer", 9),
    ]  # fmt: skip
    assert ours.image.notes == [] or all(note.stage != "symbols" for note in ours.image.notes)


def test_too_much_debug_information_of_all_files_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a file that comes after so many others the lines are the same, read in another way."""
    core = crash(tmp_path, "-O2")[0]
    found = []
    for times in (3, 0):
        monkeypatch.setattr(symbolizer, "_CONVERTED", times)
        ours = with_names(analyse(core), limit=1 << 20)
        locations, _source = first(ours)
        kinds = {type(one.lines) for one in ours.symbolizer._files.values() if one is not None}
        found.append([(row.function, row.line, row.inline) for row in locations])
        assert (LineTable in kinds) == (times > 0)
        module = ours.modules.find(ours.stack().frames[0].pc)
        assert module is not None and module.elf is not None
        size = module.elf.debug_info_size
        assert ours.symbolizer._convertible == (3 * (1 << 20) - size if times else 0) and size
    assert found[0] == found[1] and found[0][0][0] == "innermost"


def test_without_native_libraries(tmp_path: Path) -> None:
    ours = analyse(crash(tmp_path, "-O2")[0])
    ours.symbolizer = Symbolizer(None, ours.image.notes, native=False)
    locations, source = first(ours)
    assert locations == [Location("outer", "outer", 0, None, None)]
    assert source == "symbol table"
    notes = [note for note in ours.image.notes if note.stage == "symbols"]
    assert len(notes) == 1 and "MiB of debug information" in notes[0].why


@pytest.mark.parametrize(
    "flags",
    [
        ["-gz"],
        ["-gdwarf-4"],
        ["-gdwarf-3", "-gstrict-dwarf"],
        ["-flto"],
        ["-gsplit-dwarf"],
        ["-gsplit-dwarf", "-gdwarf-4"],
        ["-gsplit-dwarf", "-gz"],
        ["-gdwarf64"],
    ],
    ids=" ".join,
)
def test_forms_of_debug_information(tmp_path: Path, flags: list[str]) -> None:
    locations, _ = first(with_names(analyse(crash(tmp_path, "-O2", *flags)[0])))
    assert [(row.function, row.line) for row in locations] == [
        ("innermost", 2), ("inlined", 6), ("outer", 9),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["zlib", "zlib-gnu", "zstd"])
def test_compressed_debug_information(tmp_path: Path, kind: str) -> None:
    core, program = crash(tmp_path, "-O2")
    objcopy(f"--compress-debug-sections={kind}", program)
    locations, _ = first(with_names(analyse(core)))
    assert [(row.function, row.line) for row in locations] == [
        ("innermost", 2), ("inlined", 6), ("outer", 9),
    ]  # fmt: skip


def test_columns(tmp_path: Path) -> None:
    """Those of the line program, as llvm-symbolizer tells them."""
    core, program = crash(tmp_path, "-O2")
    ours = with_names(analyse(core))
    frame = ours.stack().frames[0]
    column = ours.locations(frame)[0].column
    command = [need("llvm-symbolizer", "llvm"), f"--obj={program}"]
    module = ours.modules.find(frame.pc)
    assert module is not None
    address = f"{frame.pc - module.bias:#x}"
    done = subprocess.run([*command, address], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1].rpartition(":")[2] == str(column)


RUST = """
#[inline(never)] fn innermost(p: *mut u32) { let q = p; unsafe { q.write_volatile(1) }; }
fn main() { innermost((std::env::args().count() * 8) as *mut u32); }
"""


def test_columns_of_a_rust_program(tmp_path: Path) -> None:
    """Its library alone is 4 MiB of debug information."""
    (tmp_path / "program.rs").write_text(RUST)
    program = tmp_path / "program"
    command = [need("rustc", "rustc"), "-g", "-O", "-o", str(program), str(tmp_path / "program.rs")]
    subprocess.run(command, check=True)
    ours = analyse(gcore_at_fault([bytes(program)], tmp_path / "core"))
    places = [
        (one.function, one.line, one.column)
        for frame in ours.stack().frames
        for one in ours.locations(frame)
        if one.file and one.file.endswith("program.rs")
    ]
    lines = RUST.split("\n")
    assert ("program::main", 3, lines[2].index("innermost(") + 1) in places
    assert [name for name, _, _ in places] == ["program::innermost", "program::main"]


def test_where_there_is_no_module() -> None:
    symbolizer = Symbolizer(None, NoteLog())
    assert symbolizer.symbolize(None, 0x1000) == [Location(None, None, None, None, None)]


def _libc() -> tuple[Module, ModuleTable]:
    """The module table of this very process's libc, from a core made of its maps alone."""

    rows, names = [], []
    with open("/proc/self/maps", "rb") as file:
        for line in file:
            words = line.split()
            if words[-1].endswith(b"/libc.so.6"):
                start, _, end = words[0].partition(b"-")
                rows.append((int(start, 16), int(end, 16), int(words[2], 16) // 4096))
                names.append(words[-1])
    image = CoreImage.open(make_core([prstatus(1, 11), file_note(rows, names)]))
    modules = load_modules(image, PathFiles())
    return next(iter(modules)), modules


def test_lines_of_libc_against_addr2line() -> None:
    """A thousand addresses in libc, with the debug file of Debian's libc6-dbg."""
    module, _ = _libc()
    assert module.elf is not None
    text = module.elf.section(b".text")
    assert text is not None and module.elf.build_id is not None
    name = module.elf.build_id.hex()
    debug = Path(f"/usr/lib/debug/.build-id/{name[:2]}/{name[2:]}.debug")
    if not debug.exists():
        pytest.fail("no debug file of libc: apt-get install libc6-dbg", pytrace=False)
    addresses = [text.address + text.size * number // 1000 for number in range(1000)]
    done = subprocess.run(
        [need("addr2line", "binutils"), "-f", "-e", str(debug), *map(hex, addresses)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    answers = done.stdout.split("\n")
    symbolizer = Symbolizer(None, NoteLog())
    compared = same = 0
    for number, address in enumerate(addresses):
        function, place = answers[2 * number : 2 * number + 2]
        line = re.search(r":(\d+)", place)
        if line is None or line[1] == "0":
            continue
        ours = symbolizer.symbolize(module, address + module.bias)
        compared += 1
        # addr2line -f without -i names the innermost line, and the function around all
        same += ours[0].line == int(line[1]) and (
            function in [row.function for row in ours] or ours[-1].linkage_name == function
            or function.lstrip("_") == (ours[0].function or "").lstrip("_")
        )  # fmt: skip
    assert compared > 500
    assert same / compared > 0.97, (same, compared)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_as_debug_information(data: bytes) -> None:
    for prefix in (b"", b"\x7fELF\2\1\1\0\0\0\0\0\0\0\0\0\3\0\x3e\0"):
        for make in (LineTable.convert, LineTable.open):
            try:
                make(prefix + data).lookup(0x1000)
            except FormatError:
                pass
