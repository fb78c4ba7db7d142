"""Cores of machines whose compilers or libraries are not installed here, kept with their programs.

`keep_cores.py` made them of `bare.c`; beside each lie the frames that gdb-multiarch found.
"""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest

from tests.cross.keep_cores import KEPT, NAMES, SOURCE, WITHOUT_GDB
from tests.support.analysed import Analysed, analyse
from usercrash.analysis.core.file_search import Place
from usercrash.analysis.core.module_files import GivenFile
from usercrash.model.notes import NoteLog

CALLS = {"leaf": "return *pointer", "inner": "leaf(nowhere)", "middle": "inner(value + 1)",
         "_start": "middle(3)"}  # fmt: skip
LARGEST = 60 << 10


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def kept(name: str, what: str) -> bytes:
    return lzma.decompress((KEPT / f"{name}.{what}.xz").read_bytes())


@pytest.fixture
def ours(name: str, tmp_path: Path) -> Analysed:
    program = tmp_path / "program"
    program.write_bytes(kept(name, "program"))
    return analyse(kept(name, "core"), GivenFile(Place(bytes(program)), NoteLog()))


def test_stack(name: str, ours: Analysed) -> None:
    frames = ours.stack().frames
    pcs = [frame.pc for frame in frames]
    assert ours.names(ours.stack())[:4] == list(CALLS)
    theirs = json.loads((KEPT / f"{name}.json").read_text())
    if name in WITHOUT_GDB:
        assert theirs is None
    else:
        wanted = [int(pc, 16) for pc, _ in theirs]
        assert pcs[: len(wanted)] == wanted
        assert [function for _, function in theirs][:4] == list(CALLS)
    assert len(pcs) == (5 if name.startswith("mips") else 4)


def test_lines(ours: Analysed) -> None:
    source = SOURCE.read_text().splitlines()
    for frame, call in zip(ours.stack().frames, CALLS.values(), strict=False):
        place = ours.locations(frame)[-1]
        assert place.file and place.file.endswith("bare.c")
        assert call in source[(place.line or 0) - 1]


def test_signal(ours: Analysed) -> None:
    assert ours.image.threads[0].signal == 11


def test_sizes() -> None:
    files = list(KEPT.iterdir())
    assert len(files) == 3 * len(NAMES)
    assert all(file.stat().st_size < LARGEST for file in files)
