"""Names and lines: of every source of them, as gdb and addr2line give them."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.analysed import Analysed, analyse
from tests.support.build import need
from tests.support.coremaker import file_note, make_core, prstatus
from tests.support.gcore import gcore_at_fault
from tests.support.spawn import compile_c

from usercrash.analysis.binary.elf_file import ElfFile
from usercrash.analysis.core.file_search import SearchPlaces
from usercrash.analysis.core.image import CoreImage
from usercrash.analysis.core.modules import Module, ModuleTable, PathFiles, load_modules
from usercrash.analysis.symbols import symbolizer
from usercrash.analysis.symbols.demangle import demangle
from usercrash.analysis.symbols.line_tables import LineTable
from usercrash.analysis.symbols.symbolizer import Location, Symbolizer
from usercrash.elf.headers import PHDR64
from usercrash.errors import FormatError
from usercrash.model.notes import NoteLog

SOURCE = """\
static inline __attribute__((always_inline)) int innermost(int *p) {
    int x = *(volatile int *)p; __asm__ volatile("nop");
    return x;
}
static inline __attribute__((always_inline)) int inlined(int *p) {
    return innermost(p) + 1;
}
__attribute__((noinline)) int outer(int *p) {
    return inlined(p) + 2;
}
int main(int c, char **v) {
    (void)v;
    return outer((int *)(long)c) + 1;
}
"""


def _crash(place: Path, *flags: str) -> tuple[Path, Path]:
    program = compile_c(place, "program", SOURCE, *flags)
    return gcore_at_fault([bytes(program)], place / "core"), program


def _first(ours: Analysed) -> tuple[list[Location], str]:
    frame = ours.stack().frames[0]
    module = ours.modules.find(frame.pc)
    assert module is not None
    return ours.locations(frame), ours.symbolizer.source_of(module)


def _symbolizer(ours: Analysed, root: Path | None = None, limit: int = 1 << 26) -> Analysed:
    ours.symbolizer = Symbolizer(
        None,
        ours.image.notes,
        places=SearchPlaces(standard=os.fsencode(root or "/nowhere")),
        max_debug_bytes=limit,
    )
    return ours


def _objcopy(*arguments: str | Path) -> None:
    command = [need("objcopy", "binutils"), *map(str, arguments)]
    subprocess.run(command, check=True)


def test_inlined_functions_with_lines(tmp_path: Path) -> None:
    core, program = _crash(tmp_path, "-O2")
    ours = _symbolizer(analyse(core))
    locations, source = _first(ours)
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
    ours = _symbolizer(analyse(_crash(tmp_path, "-O2", "-g0")[0]))
    locations, source = _first(ours)
    assert locations == [Location("outer", "outer", 0, None, None)]
    assert source == "symbol table"


def test_stripped(tmp_path: Path) -> None:
    core, program = _crash(tmp_path, "-O2")
    subprocess.run([need("strip", "binutils"), str(program)], check=True)
    locations, source = _first(_symbolizer(analyse(core)))
    assert locations == [Location(None, None, None, None, None)]
    assert source == "dynamic symbols" or source == "none"


def _separate(program: Path, debug: Path, link: bool = False) -> None:
    debug.parent.mkdir(parents=True, exist_ok=True)
    _objcopy("--only-keep-debug", program, debug)
    _objcopy("--strip-all", program)
    if link:
        _objcopy(f"--add-gnu-debuglink={debug}", program)


def _id_path(root: Path, program: Path) -> Path:
    notes = subprocess.run(
        [need("readelf", "binutils"), "-n", str(program)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    match = re.search(r"Build ID: ([0-9a-f]+)", notes)
    assert match is not None
    return root / ".build-id" / match[1][:2] / f"{match[1][2:]}.debug"


def test_debug_file_by_build_id(tmp_path: Path) -> None:
    core, program = _crash(tmp_path, "-O2")
    debug = _id_path(tmp_path / "debug", program)
    _separate(program, debug)
    ours = _symbolizer(analyse(core), tmp_path / "debug")
    locations, source = _first(ours)
    assert [row.function for row in locations] == ["innermost", "inlined", "outer"]
    assert source == f"debug file {debug}"


@pytest.mark.parametrize("build_id", [True, False])
def test_debug_file_by_link(tmp_path: Path, build_id: bool) -> None:
    flags = [] if build_id else ["-Wl,--build-id=none"]
    core, program = _crash(tmp_path, "-O2", *flags)
    root = tmp_path / "debug"
    debug = root / str(tmp_path).lstrip("/") / "program.debug"
    _separate(program, debug, link=True)
    locations, source = _first(_symbolizer(analyse(core), root))
    assert [row.function for row in locations] == ["innermost", "inlined", "outer"]
    assert source == f"debug file {debug}"


@pytest.mark.parametrize("build_id", [True, False])
def test_debug_file_of_another_program_is_refused(tmp_path: Path, build_id: bool) -> None:
    flags = [] if build_id else ["-Wl,--build-id=none"]
    core, program = _crash(tmp_path, "-O2", *flags)
    root = tmp_path / "debug"
    debug = root / str(tmp_path).lstrip("/") / "program.debug"
    _separate(program, debug, link=True)
    (tmp_path / "other").mkdir()
    other = compile_c(tmp_path / "other", "program", SOURCE, "-O1", *flags)
    shutil.copy(other, debug)
    ours = _symbolizer(analyse(core), root)
    locations, _ = _first(ours)
    assert locations[0].function is None
    notes = [note for note in ours.image.notes if note.what == str(debug)]
    assert len(notes) == 1 and notes[0].why.startswith("refused: its ")


def test_debug_file_at_other_addresses_is_refused(tmp_path: Path) -> None:
    """As if the module had been prelinked, and its debug file not."""
    core, program = _crash(tmp_path, "-O2")
    debug = _id_path(tmp_path / "debug", program)
    _separate(program, debug)
    data = bytearray(debug.read_bytes())
    elf = ElfFile(bytes(data))
    for number in range(elf.header.phnum):
        at = elf.header.phoff + number * PHDR64.size + 16
        struct.pack_into("<Q", data, at, struct.unpack_from("<Q", data, at)[0] + 0x3000000000)
    debug.write_bytes(data)
    ours = _symbolizer(analyse(core), tmp_path / "debug")
    locations, _ = _first(ours)
    assert locations[0].function is None
    assert [note.why for note in ours.image.notes if note.what == str(debug)] == [
        "refused: its addresses are others: the module was moved after it was linked (prelink)"
    ]


def test_mini_debug_information(tmp_path: Path) -> None:
    core, program = _crash(tmp_path, "-O2")
    mini = tmp_path / "mini"
    _objcopy("--only-keep-debug", program, mini)
    _objcopy("-S", "--remove-section", ".comment", "--keep-symbol=outer", mini, mini)
    subprocess.run([need("xz", "xz-utils"), str(mini)], check=True)
    _objcopy("--strip-all", f"--add-section=.gnu_debugdata={mini}.xz", program)
    locations, source = _first(_symbolizer(analyse(core)))
    assert locations == [Location("outer", "outer", 0, None, None)]
    assert source == "dynamic symbols and .gnu_debugdata"


def test_too_much_debug_information(tmp_path: Path) -> None:
    ours = _symbolizer(analyse(_crash(tmp_path, "-O2")[0]), limit=100)
    locations, _source = _first(ours)
    assert [(row.function, row.line) for row in locations] == [
        ("innermost", 2), ("inlined", 6), ("outer", 9),
    ]  # fmt: skip
    assert ours.image.notes == [] or all(note.stage != "symbols" for note in ours.image.notes)


def test_too_much_debug_information_of_all_files_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a file that comes after so many others the lines are the same, read in another way."""
    core = _crash(tmp_path, "-O2")[0]
    found = []
    for times in (3, 0):
        monkeypatch.setattr(symbolizer, "_CONVERTED", times)
        ours = _symbolizer(analyse(core), limit=1 << 20)
        locations, _source = _first(ours)
        kinds = {type(one.lines) for one in ours.symbolizer._files.values() if one is not None}
        found.append([(row.function, row.line, row.inline) for row in locations])
        assert (LineTable in kinds) == (times > 0)
        module = ours.modules.find(ours.stack().frames[0].pc)
        assert module is not None and module.elf is not None
        size = module.elf.debug_info_size
        assert ours.symbolizer._convertible == (3 * (1 << 20) - size if times else 0) and size
    assert found[0] == found[1] and found[0][0][0] == "innermost"


def test_without_native_libraries(tmp_path: Path) -> None:
    ours = analyse(_crash(tmp_path, "-O2")[0])
    ours.symbolizer = Symbolizer(None, ours.image.notes, native=False)
    locations, source = _first(ours)
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
    locations, _ = _first(_symbolizer(analyse(_crash(tmp_path, "-O2", *flags)[0])))
    assert [(row.function, row.line) for row in locations] == [
        ("innermost", 2), ("inlined", 6), ("outer", 9),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["zlib", "zlib-gnu", "zstd"])
def test_compressed_debug_information(tmp_path: Path, kind: str) -> None:
    core, program = _crash(tmp_path, "-O2")
    _objcopy(f"--compress-debug-sections={kind}", program)
    locations, _ = _first(_symbolizer(analyse(core)))
    assert [(row.function, row.line) for row in locations] == [
        ("innermost", 2), ("inlined", 6), ("outer", 9),
    ]  # fmt: skip


def test_debug_information_that_dwz_shares(tmp_path: Path) -> None:
    core, program = _crash(tmp_path, "-O2", "-gdwarf-4")
    other = tmp_path / "other"
    other.write_bytes(program.read_bytes())
    command = [need("dwz", "dwz"), "-m", str(tmp_path / "common.debug"), str(program), str(other)]
    subprocess.run(command, check=True)
    ours = _symbolizer(analyse(core))
    assert [(row.function, row.line) for row in _first(ours)[0]] == [
        ("innermost", 2), ("inlined", 6), ("outer", 9),
    ]  # fmt: skip
    (tmp_path / "common.debug").unlink()
    ours = _symbolizer(analyse(core))
    assert [row.line for row in _first(ours)[0]] == [2, 6, 9]
    assert _first(ours)[0][-1].function == "outer"
    assert [kind for kind, _ in ours.symbolizer.missing] == ["debuginfo"]


def test_columns(tmp_path: Path) -> None:
    """Those of the line program, as llvm-symbolizer tells them."""
    core, program = _crash(tmp_path, "-O2")
    ours = _symbolizer(analyse(core))
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


def test_generic_lambdas_of_clang() -> None:
    """Which the library does not read: as c++filt has them."""
    names = [
        "_ZZ7genericvENK3$_0clIiJcdEEEDaT_DpT0_", "_ZZ4mainENK3$_1clIiEEvRT_",
        "_ZZNK1AclEvENK3$_0clIiEEDaT_", "_ZZ4mainEN3$_18__invokeIiEEDaT_",
        "_ZZN12_GLOBAL__N_13foo3barEiENK3$_0clIPKcEEvT_",
        "_ZZ4mainENK3$_1clIiEEvRT",  # (cut short)
    ]  # fmt: skip
    command = [need("c++filt", "binutils"), *names]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [demangle(name) for name in names] == told
    assert demangle("_ZZZ4mainENK3$_0clIiEEDaT_ENKUlvE_clEv") == (
        "auto main::$_0::operator()<int>(int) const::'lambda'()::operator()() const"
    )
    # the second half refers to the first one
    assert demangle("_ZZ3fooPKcENK3$_0clIiEEDaT_S0_") == "_ZZ3fooPKcENK3$_0clIiEEDaT_S0_"
    assert demangle("_ZZ" + "ENK3$_0" * 1000)


@pytest.mark.parametrize(
    ("mangled", "name"),
    [
        ("_ZN4shop4TillIiE3addEi", "shop::Till<int>::add(int)"),
        ("_ZN3FooC4Ei", "Foo::Foo(int)"),
        ("_ZN4core9panicking5panic17h0123456789abcdefE", "core::panicking::panic"),
        ("_RNvC6_123foo3bar", "123foo::bar"),
        ("$s4main3fooyyF", "main.foo() -> ()"),
        ("main", "main"),
        ("_Zwrong", "_Zwrong"),
        ("", ""),
    ],
)
def test_demangled(mangled: str, name: str) -> None:
    assert demangle(mangled) == name


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="_ZNSt0123456789EIiKRPvsaC1ebjT_.$", max_size=80))
def test_demangle_anything(tail: str) -> None:
    assert isinstance(demangle("_Z" + tail), str)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_as_debug_information(data: bytes) -> None:
    for prefix in (b"", b"\x7fELF\2\1\1\0\0\0\0\0\0\0\0\0\3\0\x3e\0"):
        for make in (LineTable.convert, LineTable.open):
            try:
                make(prefix + data).lookup(0x1000)
            except FormatError:
                pass
