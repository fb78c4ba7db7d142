"""Crashes that the real kernel cannot deliver, found in the real /dev/kmsg."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.kernel import SECONDS

from usercrash.server.kernel_log import DEVICE, KernelLog, Missed
from usercrash.server.missed import count_missed
from usercrash.server.tally import Tally
from usercrash.storage.events import EventLog
from usercrash.system.core_pattern import core_pattern_guard
from usercrash.system.entrance import kernel_offers_socket

pytestmark = [
    pytest.mark.usefixtures("needs_kernel"),
    pytest.mark.skipif(not os.access(DEVICE, os.R_OK), reason="no kernel log to read"),
]
needs_socket = pytest.mark.skipif(not kernel_offers_socket(), reason="Linux 6.17")

NAME = "a): |b\nq): x\\"


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[KernelLog]:
    found = KernelLog(str(tmp_path), pytest.fail)
    yield found
    found.close()


def crash(name: str = "crashes") -> int:
    """A process with this name dies of SIGSEGV; its pid."""
    script = 'printf %s "$0" > /proc/$$/comm; kill -SEGV $$'
    process = subprocess.Popen(["/bin/sh", "-c", script, name])
    assert process.wait(SECONDS) < 0
    return process.pid


def lines_about(reader: KernelLog, pid: int) -> list[Missed]:
    """What came about this process: the kernel writes it before its parent hears of its end, and
    other processes of this machine may crash as well."""
    return [one for one in reader.read() if one.pid == pid]


def expect_one(reader: KernelLog, crasher: Callable[[], int], why: str) -> Missed:
    """One crash whose line the kernel does not leave out: it does so after ten in five seconds."""
    deadline = time.monotonic() + SECONDS
    while True:
        found = lines_about(reader, crasher())
        if found:
            [one] = found
            assert why in one.why and one.crashes == 1
            assert abs(one.time_ns - time.time_ns()) < SECONDS * 1e9
            return one
        assert time.monotonic() < deadline
        time.sleep(1)


@pytest.mark.parametrize("program", ["/nonexistent", "/etc/passwd"])
def test_a_client_that_cannot_be_started(reader: KernelLog, program: str) -> None:
    with core_pattern_guard(f"|{program} %P", 8):
        one = expect_one(reader, crash, f"could not start {program}")
    assert one.comm == b"crashes"


def test_a_name_that_looks_like_the_line_itself(reader: KernelLog) -> None:
    with core_pattern_guard("|/nonexistent %P", 8):
        one = expect_one(reader, lambda: crash(NAME), "could not start /nonexistent")
    assert one.comm == NAME.encode().replace(b"\n", b"\\n")


def test_more_at_one_time_than_core_pipe_limit(reader: KernelLog) -> None:
    with core_pattern_guard("|/bin/sleep 2", 1):
        first = subprocess.Popen(["/bin/sh", "-c", "kill -SEGV $$"])
        try:
            status = Path(f"/proc/{first.pid}/status")
            deadline = time.monotonic() + SECONDS
            while "CoreDumping:\t1" not in status.read_text():
                assert time.monotonic() < deadline
                time.sleep(0.005)
            found = lines_about(reader, crash())
        finally:
            first.wait(SECONDS)
    assert [one.why for one in found] == ["kernel.core_pipe_limit was reached"]


@needs_socket
def test_a_socket_where_nobody_listens_or_too_many_wait(reader: KernelLog, tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    with core_pattern_guard(f"@@{path}", 8):
        expect_one(reader, crash, f"could not connect to {path}: No such file")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(path))
            expect_one(reader, crash, "Connection refused")
            listener.listen(0)
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as waits:
                waits.connect(str(path))
                expect_one(reader, crash, f"too many crashes waited at {path}")


@needs_socket
def test_a_hold_that_a_signal_ends_is_no_missed_crash(reader: KernelLog, tmp_path: Path) -> None:
    """The kernel says "Coredump socket failed" then, about a process that we have."""
    path = tmp_path / "c.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(1)
        with core_pattern_guard(f"@@{path}", 8):
            process = subprocess.Popen(["/bin/sh", "-c", "kill -SEGV $$"])
            try:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(16)
                    connection.send(b"\x10\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0")  # KERNEL | WAIT
                    while connection.recv(1 << 20):
                        continue
                    process.kill()
                    process.wait(SECONDS)
            finally:
                process.kill()
                process.wait(SECONDS)
    assert lines_about(reader, process.pid) == []


def test_others_cannot_write_as_the_kernel(reader: KernelLog) -> None:
    pid = os.getpid()
    with open(DEVICE, "wb", buffering=0) as log:
        log.write(b"<4>coredump: %d(sh): over core_pipe_limit, skipping core dump\n" % pid)
        log.write(b"coredump: %d(sh): over core_pipe_limit, skipping core dump\n" % pid)
    assert lines_about(reader, pid) == []


def test_what_the_kernel_leaves_out_is_counted_all_the_same(reader: KernelLog) -> None:
    crashes = 25
    with core_pattern_guard("|/nonexistent %P", 8):
        for _ in range(crashes):
            crash()
        # It tells the number when another one comes after the five seconds of its limit.
        time.sleep(6)
        crash()
        found = reader.read()
    assert len(found) < crashes < sum(one.crashes for one in found)


def test_the_selector_wakes_up(reader: KernelLog) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ)
        reader.read()
        with core_pattern_guard("|/nonexistent %P", 8):
            crash()
            with open(DEVICE, "wb", buffering=0) as log:  # the crash's line may be left out
                log.write(b"<6>usercrash: a line of a test\n")
        assert selector.select(SECONDS)


def test_a_restart_counts_what_came_between(tmp_path: Path) -> None:
    tally, log = Tally(), EventLog(str(tmp_path), pytest.fail)

    def start() -> KernelLog:
        return KernelLog(str(tmp_path), pytest.fail)

    def counted(pid: int) -> int:
        return sum(line["pid"] == str(pid) for line in log.lines())

    start().close()
    with core_pattern_guard("|/nonexistent %P", 8):
        deadline = time.monotonic() + SECONDS
        while True:
            pid = crash()
            with contextlib.closing(start()) as reader:
                assert reader.resumed
                count_missed(reader, tally, log)
            if counted(pid):
                break
            assert time.monotonic() < deadline
            time.sleep(1)
    with contextlib.closing(start()) as reader:
        count_missed(reader, tally, log)
    assert counted(pid) == 1
