"""Files that a process wrote of itself are looked up while it is held: what that may cost."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.runtimes.test_java import facts_of as facts_of_java
from tests.runtimes.test_node_report import facts_of as facts_of_node

from usercrash.capture import own_files
from usercrash.capture.filesystems import FileSystems
from usercrash.capture.hs_err import find_hs_err
from usercrash.capture.node_report import find_node_reports
from usercrash.capture.own_files import Lookup

DEEP = [b"d"] * 40


@pytest.fixture
def proc() -> Iterator[int]:
    fd = os.open("/proc/self", os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with 40 directories in each other, the last of which has a file."""
    monkeypatch.setattr(own_files, "SECONDS", 60.0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / os.fsdecode(b"/".join(DEEP))).mkdir(parents=True)
    (tmp_path / os.fsdecode(b"/".join(DEEP)) / "file").write_bytes(b"x")
    return tmp_path


def open_files() -> int:
    gc.collect()  # (what earlier tests left open is not closed in the middle)
    return len(os.listdir("/proc/self/fd"))


def test_the_table_of_mounts_is_read_once_for_a_mount(
    proc: int, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have 100,000 lines, and the path 2,000 names."""
    asked: list[bytes] = []
    real = FileSystems.opens_mount

    def counted(self: FileSystems, number: bytes) -> bool:
        asked.append(number)
        return real(self, number)

    monkeypatch.setattr(FileSystems, "opens_mount", counted)
    fd = Lookup(proc).below(b"cwd", [*DEEP, b"file"])
    assert os.path.samestat(os.fstat(fd), (place / os.fsdecode(b"/".join(DEEP)) / "file").stat())
    os.close(fd)
    assert len(asked) == len(set(asked)) == 1


def test_another_mount_on_the_way_is_asked_for(
    proc: int, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/proc is none whose files may be opened, wherever it is mounted."""
    before = open_files()
    assert Lookup(proc).below(b"root", [b"proc", b"version"]) == -1
    assert Lookup(proc).below(b"root", [b"proc"]) == -1
    monkeypatch.setattr(FileSystems, "opens_mount", lambda self, number: False)
    assert Lookup(proc).below(b"cwd", [b"d"]) == -1
    assert open_files() == before


def test_a_path_of_too_many_names(proc: int, place: Path) -> None:
    before = open_files()
    (place / ("e/" * 100)).mkdir(parents=True)
    assert Lookup(proc).below(b"cwd", [b"e"] * 100) == -1
    fd = Lookup(proc).below(b"cwd", [b"e"] * 64)
    assert os.path.samestat(os.fstat(fd), (place / ("e/" * 64)).stat())
    os.close(fd)
    assert open_files() == before


@pytest.mark.parametrize(
    "find", [lambda proc: find_hs_err(proc, facts_of_java()),
             lambda proc: find_node_reports(proc, facts_of_node())],
)  # fmt: skip
def test_no_time(
    proc: int, place: Path, monkeypatch: pytest.MonkeyPatch, find: Callable[[int], list[int]]
) -> None:
    """It is said, and nothing is left open."""
    before = open_files()
    monkeypatch.setattr(own_files, "SECONDS", -1.0)
    (place / f"hs_err_pid{os.getpid()}.log").write_bytes(b"x")
    (place / f"report.1.2.{os.getpid()}.0.001.json").write_bytes(b"x")
    with pytest.raises(TimeoutError):
        find(proc)
    assert open_files() == before
