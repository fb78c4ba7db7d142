"""Names that just-in-time compilers leave: only a map that is surely the process's own counts."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usercrash.analysis.symbols.perf_map import PerfMap, read_perf_map
from usercrash.model.event import SOURCE_PIPE, CrashEvent
from usercrash.model.types import Pid, Tid

LINES = (
    b"7f0000001000 40 py::work:/x.py\n7f0000001040 0x10 b c d\nnonsense\n7f0000001000 20 later\n"
)


def test_functions_by_address() -> None:
    found = PerfMap(LINES)
    assert found.find(0x7F0000001000) == ("later", 0x7F0000001000)
    assert found.find(0x7F000000101F) == ("later", 0x7F0000001000)
    assert found.find(0x7F0000001020) is None
    assert found.find(0x7F000000104F) == ("b c d", 0x7F0000001040)
    assert found.find(0x7F0000001050) is None and found.find(0) is None


@given(st.binary(max_size=300), st.integers(0, (1 << 64) - 1))
def test_any_bytes(data: bytes, address: int) -> None:
    PerfMap(data).find(address)


def event(**other: object) -> tuple[CrashEvent, dict[bytes, bytes]]:
    """This process as one that crashed now."""
    stat = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    boot = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    found = CrashEvent(SOURCE_PIPE, time.time_ns(), Pid(os.getpid()), Tid(os.getpid()), 11)
    found.boot_id, found.start_ticks = boot, int(stat[19])
    for name, value in other.items():
        setattr(found, name, value)
    uid = b"Uid:\t%d\t%d\t0\t0\n" % (os.getuid(), os.getuid())
    return found, {b"status": uid, b"ns/pid": os.readlink("/proc/self/ns/pid").encode()}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / f"perf-{os.getpid()}.map").write_bytes(LINES)
    return tmp_path


def known(place: Path, crash: CrashEvent, facts: dict[bytes, bytes]) -> bool:
    return read_perf_map(crash, facts, str(place)).find(0x7F0000001000) is not None


def test_its_own_map_is_read(place: Path) -> None:
    assert known(place, *event())


def test_a_map_that_may_be_anothers_is_not(place: Path) -> None:
    path = place / f"perf-{os.getpid()}.map"
    crash, facts = event()
    assert not known(place, crash, facts | {b"status": b"Uid:\t4242\t4242\t4242\t4242\n"})
    assert not known(place, crash, facts | {b"ns/pid": b"pid:[1]"})
    assert not known(place, crash, {})
    assert not known(place, event(boot_id=b"another")[0], facts)
    assert not known(place, event(pid=Pid(1))[0], facts)
    os.utime(path, (0, 0))  # before it began
    assert not known(place, crash, facts)
    os.utime(path, (time.time() + 3600,) * 2)  # after it had ended
    assert not known(place, crash, facts)


def test_no_link_and_no_pipe(place: Path) -> None:
    path = place / f"perf-{os.getpid()}.map"
    real = path.rename(place / "real")
    path.symlink_to(real)
    assert not known(place, *event())
    path.unlink()
    os.mkfifo(path)
    assert not known(place, *event())
