"""Names and lines from DWARF that lies in several files: split, packed, or shared by dwz."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.build import need

from usercrash.analysis.binary.elf_file import ElfFile
from usercrash.analysis.core import opening
from usercrash.analysis.core.file_search import Place, SearchPlaces
from usercrash.analysis.dwarf.debug_info import DwarfFile
from usercrash.analysis.symbols.debug_reader import DebugReader, needs_own_reader
from usercrash.analysis.symbols.line_tables import Line, LineTable
from usercrash.analysis.symbols.related_files import RelatedFiles
from usercrash.errors import FormatError
from usercrash.model.notes import NoteLog

FIRST = """\
#include <algorithm>
#include <vector>
extern "C" int behind(int x);
namespace { struct Inner { static inline __attribute__((always_inline)) int deep(int x)
  { return x > 5 ? behind(x) + 1 : x * 3; } }; }
namespace outer {
template <typename T> struct Box { T v; __attribute__((noinline)) T get(T d) {
  return Inner::deep(d) + v; } };
__attribute__((noinline)) int sorted(int n) {
  auto f = [n](int q) { return Inner::deep(q + n); };
  std::vector<int> v{3, 1, n}; std::sort(v.begin(), v.end()); return f(v[0]); }
}
int main(int argc, char **) { outer::Box<long> b{4}; return b.get(argc) + outer::sorted(argc); }
"""
SECOND = """\
#include <cstdio>
static __attribute__((noinline)) int told(int x) { return printf("%d\\n", x); }
extern "C" int behind(int x);
extern "C" int behind(int x) { int s = 0; for (int i = 0; i < x; i++) s += told(i); return s; }
"""


def _run(place: Path, *command: str) -> None:
    need(command[0], {"clang++": "clang", "llvm-dwp": "llvm", "dwp": "binutils"}.get(
        command[0], command[0]))  # fmt: skip
    subprocess.run(command, cwd=place, check=True, capture_output=True, timeout=60)


def _program(place: Path, compiler: str, *flags: str) -> Path:
    place.mkdir()
    (place / "first.cc").write_text(FIRST)
    (place / "second.cc").write_text(SECOND)
    for name in ("first", "second"):
        _run(place, compiler, "-g", "-O2", *flags, "-c", f"{name}.cc", "-o", f"{name}.o")
    _run(place, compiler, "first.o", "second.o", "-o", "program")
    return place / "program"


def _reader(program: Path) -> tuple[DebugReader, NoteLog, DwarfFile]:
    notes = NoteLog()
    file = DwarfFile(ElfFile(program.read_bytes()))
    related = RelatedFiles(file, bytes(program), bytes(program), notes)
    return DebugReader(file, related), notes, file


def _addresses(program: Path) -> range:
    text = ElfFile(program.read_bytes()).section(b".text")
    assert text is not None
    return range(text.address, text.address + text.size)


def _plain(program: Path) -> dict[int, list[Line]]:
    """What SymCache says of a program with all in one file."""
    elf = ElfFile(program.read_bytes())
    table = LineTable.convert(elf.without_symbols())
    first = next(row.vaddr for row in elf.program_headers if row.type == 1)
    return {address: table.lookup(address - first) for address in _addresses(program)}


def _short(lines: list[Line]) -> list[tuple[str, str, int]]:
    """Names without scopes (SymCache has none where there is no linker's name)."""
    return [
        (row.name if row.name[:2] == "_Z" else row.name.rpartition("::")[2],
         row.file.rpartition("/")[2], row.line)
        for row in lines
    ]  # fmt: skip


def _same(program: Path, reader: DebugReader, expected: dict[int, list[Line]]) -> None:
    different = {}
    named = 0
    for address in _addresses(program):
        ours = reader.lookup(address)
        theirs = [row for row in expected[address] if row.file]
        if not theirs and (not ours or not ours[0].name):
            continue  # (startup code, or padding)
        named += 1
        if _short(ours) != _short(theirs):
            different[address] = (_short(ours), _short(theirs))
    assert not different, list(different.items())[:3]
    assert named > 200


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
@pytest.mark.parametrize("version", ["4", "5"])
def test_the_same_as_symcache(tmp_path: Path, compiler: str, version: str) -> None:
    program = _program(tmp_path / "plain", compiler, f"-gdwarf-{version}")
    reader, _, file = _reader(program)
    assert not needs_own_reader(file)
    _same(program, reader, _plain(program))


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
@pytest.mark.parametrize("version", ["4", "5"])
def test_split_and_packed(tmp_path: Path, compiler: str, version: str) -> None:
    """All that the same program says with its DWARF in one file, by `.dwo` and by `.dwp`."""
    flags = [f"-gdwarf-{version}", "-ffile-prefix-map=x=y"]
    expected = _plain(_program(tmp_path / "plain", compiler, *flags))
    program = _program(tmp_path / "split", compiler, *flags, "-gsplit-dwarf")
    reader, notes, file = _reader(program)
    assert needs_own_reader(file)
    _same(program, reader, expected)
    assert not list(notes)
    _run(
        program.parent,
        "dwp" if version == "4" else "llvm-dwp",
        "-e",
        "program",
        "-o",
        "program.dwp",
    )
    for name in program.parent.glob("*.dwo"):
        name.unlink()
    reader, notes, _ = _reader(program)
    _same(program, reader, expected)
    assert not list(notes)


def test_a_split_file_that_is_missing_or_of_another_build(tmp_path: Path) -> None:
    program = _program(tmp_path / "split", "g++", "-gsplit-dwarf")
    reader, _, _ = _reader(program)
    behind = next(
        address
        for address in _addresses(program)
        if [row.name for row in reader.lookup(address)] == ["behind"]
    )
    (program.parent / "second.dwo").write_bytes((program.parent / "first.dwo").read_bytes())
    reader, notes, _ = _reader(program)
    found = reader.lookup(behind)
    assert [(row.name, row.file.rpartition("/")[2]) for row in found] == [("", "second.cc")]
    assert ["of another build" in note.why for note in notes] == [True]
    (program.parent / "second.dwo").unlink()
    reader, notes, _ = _reader(program)
    assert reader.lookup(behind) == found
    assert [note.why.startswith("not found") for note in notes] == [True]


@pytest.mark.parametrize("version", ["4", "5"])
def test_shared_by_dwz(tmp_path: Path, version: str) -> None:
    program = _program(tmp_path / "one", "g++", f"-gdwarf-{version}", "-Wl,--build-id")
    expected = _plain(program)
    other = program.with_name("other")
    other.write_bytes(program.read_bytes())
    other.chmod(0o755)
    _run(program.parent, "dwz", "-m", "common.debug", "program", "other")
    reader, notes, file = _reader(program)
    assert needs_own_reader(file)
    _same(program, reader, expected)
    assert not list(notes)
    (program.parent / "common.debug").unlink()
    wanted: list[tuple[str, bytes]] = []
    file = DwarfFile(ElfFile(program.read_bytes()))
    notes = NoteLog()
    related = RelatedFiles(file, bytes(program), bytes(program), notes, wanted=wanted)
    reader = DebugReader(file, related)
    for address in _addresses(program):
        for ours, theirs in zip(reader.lookup(address), expected[address], strict=False):
            assert not ours.line or ours.line == theirs.line
    assert [kind for kind, _ in wanted] == ["debuginfo"] and len(list(notes)) == 1


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
@pytest.mark.parametrize("version", ["4", "5"])
def test_a_relative_compilation_directory(tmp_path: Path, compiler: str, version: str) -> None:
    """As Debian's C library has it; `./part` stands once before a file in it."""
    place = tmp_path / "here"
    program = _program(place, compiler, f"-gdwarf-{version}", f"-fdebug-prefix-map={place}=./part")
    reader, _, _ = _reader(program)
    expected = _plain(program)
    files = {row.file for address in _addresses(program) for row in reader.lookup(address)}
    kept = {row.file for lines in expected.values() for row in lines}
    assert {name for name in files if "second" in name} == {"part/second.cc"}
    assert {name for name in kept if "second" in name} == {"part/second.cc"}


def test_calls(tmp_path: Path) -> None:
    source = (
        '__attribute__((noinline)) int last(int x) { __asm__ volatile(""); return x; }\n'
        "__attribute__((noinline)) int tail(int x) { return last(x + 1); }\n"
        "int main(int c, char **v) { (void)v; return tail(c) + 1; }\n"
    )
    for version in ("4", "5"):
        place = tmp_path / version
        place.mkdir()
        (place / "calls.c").write_text(source)
        _run(place, "gcc", "-g", f"-gdwarf-{version}", "-O2", "calls.c", "-o", "calls")
        elf = ElfFile((place / "calls").read_bytes())
        reader, _, _ = _reader(place / "calls")
        start = {}
        for address in _addresses(place / "calls"):
            found = elf.symbols.find(address)
            if found is not None:
                start[found[0]] = found[1]
        sites = reader.call_sites(start[b"main"])
        assert [(site.tail, site.target, site.name) for site in sites] == [
            (False, start[b"tail"], b"tail")
        ]
        after = sites[0].return_pc
        assert after is not None and after > start[b"main"]
        sites = reader.call_sites(start[b"tail"])
        assert [(site.tail, site.target) for site in sites] == [(True, start[b"last"])]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_bytes(sample: tuple[bytes, list[tuple[int, int]]], data: st.DataObject) -> None:
    content, places = sample
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 12))):
        offset, size = data.draw(st.sampled_from(places))
        at = offset + data.draw(st.integers(0, size - 1))
        changed[at] = data.draw(st.integers(0, 255))
    file = DwarfFile(ElfFile(bytes(changed)))
    try:
        needs_own_reader(file)
    except FormatError:
        pass
    reader = DebugReader(file)
    text = file.elf.section(b".text")
    assert text is not None
    for address in range(text.address, text.address + text.size, 37):
        reader.lookup(address)
        reader.call_sites(address)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[tuple[int, int]]]:
    """A program, and where its DWARF lies."""
    place = tmp_path_factory.mktemp("sample") / "program"
    program = _program(place, "g++", "-gdwarf-5", "-O1")
    elf = ElfFile(program.read_bytes())
    places = [
        (section.offset, section.size) for section in elf.sections
        if section.name.startswith(b".debug_") and section.size
    ]  # fmt: skip
    return program.read_bytes(), places


def test_split_files_below_a_directory_of_debug_files(tmp_path: Path) -> None:
    """By the names that gdb looks for, by the program's path, and by its build-id."""
    program = _program(tmp_path / "split", "g++", "-gsplit-dwarf", "-Wl,--build-id")
    _run(program.parent, "llvm-dwp", "-e", "program", "-o", "packed")
    expected = {address: _reader(program)[0].lookup(address) for address in _addresses(program)}
    objects = {name.name: name.read_bytes() for name in program.parent.glob("*.dwo")}
    for name in objects:
        (program.parent / name).unlink()
    build_id = ElfFile(program.read_bytes()).build_id
    assert build_id is not None
    short = f".build-id/{build_id.hex()[:2]}/{build_id.hex()[2:]}.dwp"
    for layout in ("", str(program.parent)[1:], "program.dwp", f"{program}.dwp"[1:], short):
        place = tmp_path / "debug" / str(len(layout))
        if layout.endswith(".dwp"):
            (place / layout).parent.mkdir(parents=True)
            (place / layout).write_bytes((program.parent / "packed").read_bytes())
        else:
            (place / layout).mkdir(parents=True)
            for name, data in objects.items():
                (place / layout / name).write_bytes(data)
        places = SearchPlaces(debug_dirs=(Place(bytes(place)),))
        notes = NoteLog()
        file = DwarfFile(ElfFile(program.read_bytes()))
        related = RelatedFiles(file, bytes(program), bytes(program), notes, places)
        reader = DebugReader(file, related)
        assert {at: reader.lookup(at) for at in _addresses(program)} == expected, layout
        assert not list(notes)


def test_split_files_on_a_file_system_of_a_process_are_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = _program(tmp_path / "split", "g++", "-gsplit-dwarf")

    def served(*arguments: object) -> int:
        raise opening.ServedError(b"fuse.sshfs")

    monkeypatch.setattr(opening, "_find", served)
    reader, notes, _ = _reader(program)
    for address in _addresses(program):
        assert all(not row.name for row in reader.lookup(address))
    assert any("file system (fuse.sshfs)" in note.why for note in notes)
