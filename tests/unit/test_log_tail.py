"""The last log lines about a process."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usercrash.capture import log_tail
from usercrash.capture.log_tail import add_log_tail, journal_text, kernel_lines, kernel_records
from usercrash.model.event import SOURCE_RUN, CrashEvent
from usercrash.model.notes import NoteLog
from usercrash.model.snapshot import Snapshot
from usercrash.model.types import Pid, Tid
from usercrash.report import from_json

DEBUGGER = "from usercrash.debugger import main; main()"

RECORDS = [
    b"6,1,100,-;other[41]: segfault at 0\n",
    b"6,2,200,-;Code: 00 01\n",
    b"6,3,1500000,-;a b[42]: segfault at 10 ip 0\n SUBSYSTEM=x\n",
    b"6,4,1500001,-;Code: c7 07\n",
    b"6,5,1500002,-;eth0: link up\n",
    b"6,6,1500003,-;Code: not ours\n",
    b"garbage",
    b"6,7,2000000,-;a b[43]: a thread of it\n",
]


def test_the_lines_of_a_process_and_its_thread() -> None:
    assert kernel_lines(RECORDS, {42, 43, 0}) == [
        b"[1.500000] a b[42]: segfault at 10 ip 0",
        b"[1.500001] Code: c7 07",
        b"[2.000000] a b[43]: a thread of it",
    ]
    assert kernel_lines(RECORDS, {4}) == []


def test_lines_of_an_earlier_process_with_the_same_id_are_left_out() -> None:
    assert kernel_lines(RECORDS, {41, 42, 43}, since_us=1_500_001) == [
        b"[2.000000] a b[43]: a thread of it",
    ]


@pytest.mark.parametrize(
    ("message", "about"),
    [
        (b"a b[42]: segfault at 0", 42),
        (b"traps: a b[42] general protection fault ip:1 sp:2 error:0 in x[400000+1000]", 42),
        (b"traps: a b[42] trap invalid opcode ip:1 sp:2 error:0", 42),
        (b"x[1234]: [99]: segfault at 0", 99),  # a comm of its own choice
        (b"x[1234]:\\x0a[7][99]: segfault at 0", 99),
        (b"usb 1-1: new device [42]: of some kind", 0),
        (b"eth0: link up", 0),
    ],
)
def test_the_process_that_a_line_is_about(message: bytes, about: int) -> None:
    assert log_tail.subject(message) == about


def test_a_snapshot_begins_with_its_process() -> None:
    snapshot = a_snapshot()
    with open("/proc/self/stat", "rb") as file:
        snapshot.facts[b"stat"] = file.read()
    age = log_tail.snapshot_age(snapshot)
    assert 2_000_000 <= age < time.clock_gettime(time.CLOCK_BOOTTIME) * 1e6
    snapshot.facts[b"stat"] = b"1 (a) 5) S cut short"
    assert log_tail.snapshot_age(snapshot) >= age


def test_only_the_last_lines_are_kept() -> None:
    many = [b"6,%d,%d,-;x[7]: line %d\n" % (n, n, n) for n in range(200)]
    lines = kernel_lines(many, {7})
    assert len(lines) == log_tail.LINES and lines[-1].endswith(b"line 199")


@given(st.lists(st.binary(max_size=80), max_size=20), st.sets(st.integers(0, 99), max_size=3))
def test_any_records_are_survived(records: list[bytes], numbers: set[int]) -> None:
    for line in kernel_lines(records, numbers):
        assert b"\n" not in line


@pytest.mark.skipif(not os.access("/dev/kmsg", os.W_OK), reason="no kernel log to write to")
def test_a_line_of_the_real_kernel_log_stands_in_the_report() -> None:
    target = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    try:
        with open("/dev/kmsg", "wb", buffering=0) as log:
            log.write(b"<6>cat[%d]: a mark \x1b[31m for the test\n" % target.pid)
        assert any(b"a mark" in record for record in kernel_records())
        done = subprocess.run(
            [sys.executable, "-c", DEBUGGER, "--json", str(target.pid)],
            env={**os.environ, "PYTHONPATH": str(Path(log_tail.__file__).parents[2])},
            check=True, capture_output=True,
        )  # fmt: skip
    finally:
        target.kill()
        target.wait()
    [line] = from_json(done.stdout).log
    assert line.source == "kernel"
    assert f"cat[{target.pid}]: a mark " in line.text and "\x1b" not in line.text


def fake_journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    script = tmp_path / "journalctl"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "socket").touch()
    monkeypatch.setattr(log_tail, "_JOURNALCTL", str(script))
    monkeypatch.setattr(log_tail, "_JOURNAL_SOCKET", str(tmp_path / "socket"))


def a_snapshot() -> Snapshot:
    event = CrashEvent(SOURCE_RUN, 1, Pid(4242), Tid(4242), 11)
    return Snapshot(event, 62, 2, [], [], {}, [], NoteLog())


def test_the_journal_is_asked_for_the_process_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_journalctl(tmp_path, monkeypatch, 'echo "$@"; echo "env: $(env | grep -c SECRET)"')
    monkeypatch.setenv("SECRET", "x")
    words = journal_text(4242, 17.4).decode()
    assert (
        "_PID=4242" in words
        and "--since=@17 " in words
        and "--lines=50" in words
        and "env: 0" in words
    )
    snapshot = a_snapshot()
    add_log_tail(snapshot)
    assert b"_PID=4242" in snapshot.facts[log_tail.JOURNAL_FACT]
    assert snapshot.notes == []


@pytest.mark.parametrize("body", ["exec sleep 60", "exec yes"])
def test_a_journal_that_hangs_or_floods_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    monkeypatch.setattr(log_tail, "JOURNAL_SECONDS", 0.3)
    fake_journalctl(tmp_path, monkeypatch, body)
    snapshot = a_snapshot()
    add_log_tail(snapshot)
    kept = snapshot.facts.get(log_tail.JOURNAL_FACT, b"")
    if "yes" in body:
        assert 0 < len(kept) < 1 << 20
    else:
        assert kept == b""
        assert [note.what for note in snapshot.notes] == ["the journal"]
