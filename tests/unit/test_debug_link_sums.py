"""Checksums of files that a `.gnu_debuglink` may mean: each made once, and not without end."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.support.build import need
from tests.support.spawn import compile_c

from usercrash.analysis.binary.elf_file import ElfFile
from usercrash.analysis.core.file_search import Checksums, SearchPlaces
from usercrash.analysis.symbols.debug_files import DebugFile, open_debug_file
from usercrash.model.notes import NoteLog


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program whose debug file is known by its CRC alone."""
    path = compile_c(tmp_path, "program", "int main(void) { return 0; }", "-Wl,--build-id=none")
    debug, objcopy = tmp_path / "program.debug", need("objcopy", "binutils")
    subprocess.run([objcopy, "--only-keep-debug", path, debug], check=True)
    subprocess.run([objcopy, "--strip-all", f"--add-gnu-debuglink={debug}", path], check=True)
    return path


def found(program: Path, places: SearchPlaces) -> tuple[DebugFile | None, list[str]]:
    notes = NoteLog()
    elf = ElfFile(program.read_bytes())
    return open_debug_file(elf, bytes(program), None, notes, places), [row.why for row in notes]


def test_a_file_is_summed_once(program: Path) -> None:
    debug = program.with_suffix(".debug")
    places = SearchPlaces(sums=Checksums(debug.stat().st_size * 3 // 2))
    for _ in range(3):
        assert found(program, places)[0] is not None
    (program.parent / ".debug").mkdir()
    os.link(debug, program.parent / ".debug/program.debug")  # the same file
    assert found(program, places)[0] is not None
    os.utime(debug, (1, 1))  # another content, for all that is known
    assert found(program, places)[0] is None
    assert found(program, SearchPlaces())[0] is not None


def test_large_files_are_not_read(program: Path) -> None:
    """A file of holes costs whoever made it nothing."""
    debug = program.with_suffix(".debug")
    right = debug.read_bytes()
    os.truncate(debug, 1 << 40)
    (program.parent / ".debug").mkdir()
    (program.parent / ".debug/program.debug").write_bytes(right)
    opened, why = found(program, SearchPlaces())
    assert opened is not None and opened.path.endswith(b"/.debug/program.debug")
    (program.parent / ".debug/program.debug").unlink()
    opened, why = found(program, SearchPlaces())
    assert opened is None
    assert why == ["refused: its CRC was not looked at: 1048576 MiB are too much"]
