"""Debug information beside the program: found where it should be, refused where it is another's."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from tests.support.analysed import analyse
from tests.support.build import need
from tests.support.spawn import compile_c
from tests.support.symbolized import SOURCE, crash, first, objcopy, with_names

from usercrash.analysis.binary.elf_file import ElfFile
from usercrash.analysis.symbols.symbolizer import Location
from usercrash.elf.headers import PHDR64


def _separate(program: Path, debug: Path, link: bool = False) -> None:
    debug.parent.mkdir(parents=True, exist_ok=True)
    objcopy("--only-keep-debug", program, debug)
    objcopy("--strip-all", program)
    if link:
        objcopy(f"--add-gnu-debuglink={debug}", program)


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
    core, program = crash(tmp_path, "-O2")
    debug = _id_path(tmp_path / "debug", program)
    _separate(program, debug)
    ours = with_names(analyse(core), tmp_path / "debug")
    locations, source = first(ours)
    assert [row.function for row in locations] == ["innermost", "inlined", "outer"]
    assert source == f"debug file {debug}"


@pytest.mark.parametrize("build_id", [True, False])
def test_debug_file_by_link(tmp_path: Path, build_id: bool) -> None:
    flags = [] if build_id else ["-Wl,--build-id=none"]
    core, program = crash(tmp_path, "-O2", *flags)
    root = tmp_path / "debug"
    debug = root / str(tmp_path).lstrip("/") / "program.debug"
    _separate(program, debug, link=True)
    locations, source = first(with_names(analyse(core), root))
    assert [row.function for row in locations] == ["innermost", "inlined", "outer"]
    assert source == f"debug file {debug}"


@pytest.mark.parametrize("build_id", [True, False])
def test_debug_file_of_another_program_is_refused(tmp_path: Path, build_id: bool) -> None:
    flags = [] if build_id else ["-Wl,--build-id=none"]
    core, program = crash(tmp_path, "-O2", *flags)
    root = tmp_path / "debug"
    debug = root / str(tmp_path).lstrip("/") / "program.debug"
    _separate(program, debug, link=True)
    (tmp_path / "other").mkdir()
    other = compile_c(tmp_path / "other", "program", SOURCE, "-O1", *flags)
    shutil.copy(other, debug)
    ours = with_names(analyse(core), root)
    locations, _ = first(ours)
    assert locations[0].function is None
    notes = [note for note in ours.image.notes if note.what == str(debug)]
    assert len(notes) == 1 and notes[0].why.startswith("refused: its ")


def test_debug_file_at_other_addresses_is_refused(tmp_path: Path) -> None:
    """As if the module had been prelinked, and its debug file not."""
    core, program = crash(tmp_path, "-O2")
    debug = _id_path(tmp_path / "debug", program)
    _separate(program, debug)
    data = bytearray(debug.read_bytes())
    elf = ElfFile(bytes(data))
    for number in range(elf.header.phnum):
        at = elf.header.phoff + number * PHDR64.size + 16
        struct.pack_into("<Q", data, at, struct.unpack_from("<Q", data, at)[0] + 0x3000000000)
    debug.write_bytes(data)
    ours = with_names(analyse(core), tmp_path / "debug")
    locations, _ = first(ours)
    assert locations[0].function is None
    assert [note.why for note in ours.image.notes if note.what == str(debug)] == [
        "refused: its addresses are others: the module was moved after it was linked (prelink)"
    ]


def test_mini_debug_information(tmp_path: Path) -> None:
    core, program = crash(tmp_path, "-O2")
    mini = tmp_path / "mini"
    objcopy("--only-keep-debug", program, mini)
    objcopy("-S", "--remove-section", ".comment", "--keep-symbol=outer", mini, mini)
    subprocess.run([need("xz", "xz-utils"), str(mini)], check=True)
    objcopy("--strip-all", f"--add-section=.gnu_debugdata={mini}.xz", program)
    locations, source = first(with_names(analyse(core)))
    assert locations == [Location("outer", "outer", 0, None, None)]
    assert source == "dynamic symbols and .gnu_debugdata"


def test_debug_information_that_dwz_shares(tmp_path: Path) -> None:
    core, program = crash(tmp_path, "-O2", "-gdwarf-4")
    other = tmp_path / "other"
    other.write_bytes(program.read_bytes())
    command = [need("dwz", "dwz"), "-m", str(tmp_path / "common.debug"), str(program), str(other)]
    subprocess.run(command, check=True)
    ours = with_names(analyse(core))
    assert [(row.function, row.line) for row in first(ours)[0]] == [
        ("innermost", 2), ("inlined", 6), ("outer", 9),
    ]  # fmt: skip
    (tmp_path / "common.debug").unlink()
    ours = with_names(analyse(core))
    assert [row.line for row in first(ours)[0]] == [2, 6, 9]
    assert first(ours)[0][-1].function == "outer"
    assert [kind for kind, _ in ours.symbolizer.missing] == ["debuginfo"]
