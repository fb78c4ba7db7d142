"""The guard restores core_pattern whatever happens to whom."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from usercrash.errors import UsercrashError
from usercrash.system import sysctl
from usercrash.system.core_pattern import LOCK_PATH, core_pattern_guard

pytestmark = pytest.mark.usefixtures("needs_kernel")

PATTERN = "/tmp/usercrash-guard-test-%p"
HOLDER = f"""
import os, sys
from usercrash.system.core_pattern import core_pattern_guard
with core_pattern_guard({PATTERN!r}, 7):
    if len(sys.argv) > 1:
        if os.fork() == 0:  # keeps every descriptor of its parent
            os.read(0, 1)
            os._exit(0)
    print("held", flush=True)
    os.read(0, 1)
"""


def values() -> list[str]:
    names = (sysctl.CORE_PATTERN, sysctl.CORE_PIPE_LIMIT, sysctl.SUID_DUMPABLE)
    return [sysctl.read(name) for name in names]


def restored_values() -> list[str]:
    """The values when whoever restores has done so: it holds the lock up to then."""
    with open(LOCK_PATH, "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return values()


def children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def start_holder(*arguments: str) -> subprocess.Popen[bytes]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    return holder


@pytest.fixture
def before() -> Iterator[list[str]]:
    """The values of before, taken when nobody else holds the lock; checked at the end."""
    found = restored_values()
    yield found
    assert restored_values() == found


@pytest.fixture(autouse=True)
def lock_exists() -> None:
    os.close(os.open(LOCK_PATH, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def test_sets_and_restores(before: list[str]) -> None:
    with core_pattern_guard(PATTERN, 5, suid_dumpable=2) as old:
        assert values() == [PATTERN, "5", "2"]
        assert old[sysctl.CORE_PATTERN] == before[0]
    assert restored_values() == before


def test_restores_after_an_exception(before: list[str]) -> None:
    with pytest.raises(KeyboardInterrupt), core_pattern_guard(PATTERN, 5):
        raise KeyboardInterrupt
    assert restored_values() == before


def test_a_pattern_that_would_be_cut_is_refused(before: list[str]) -> None:
    with pytest.raises(UsercrashError, match="keeps 127"), core_pattern_guard("|/" + "x" * 126, 5):
        pass
    with core_pattern_guard("|/" + "x" * 125, 5):
        assert len(sysctl.read(sysctl.CORE_PATTERN)) == 127


def test_a_value_that_the_kernel_refuses(before: list[str]) -> None:
    with pytest.raises(UsercrashError, match="core_pipe_limit"), core_pattern_guard(PATTERN, -5):
        pass
    assert restored_values() == before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("with_child", [False, True])
def test_holder_is_killed(before: list[str], number: signal.Signals, with_child: bool) -> None:
    with start_holder(*["fork"] * with_child) as holder:
        assert values()[:2] == [PATTERN, "7"]
        holder.send_signal(number)
        holder.wait()
        assert restored_values() == before


def test_the_whole_group_is_interrupted(before: list[str]) -> None:
    with start_holder() as holder:
        (guardian,) = children(holder.pid)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(guardian, number)
        assert values()[:2] == [PATTERN, "7"]
        holder.kill()
        holder.wait()
        assert restored_values() == before


def test_guardian_is_killed(before: list[str]) -> None:
    with start_holder() as holder:
        (guardian,) = children(holder.pid)
        os.kill(guardian, signal.SIGKILL)
        holder.communicate(b"x")
        assert holder.returncode == 0
        assert restored_values() == before


def test_both_are_killed_and_the_next_one_restores(before: list[str]) -> None:
    with start_holder() as holder:
        (guardian,) = children(holder.pid)
        os.kill(guardian, signal.SIGSTOP)
        holder.kill()
        holder.wait()
        os.kill(guardian, signal.SIGKILL)
        with core_pattern_guard("/tmp/usercrash-other-%p", 3) as old:
            assert list(old.values()) == before[:2]
        assert restored_values() == before


def test_a_second_holder_waits(before: list[str]) -> None:
    with start_holder() as first:
        second = subprocess.Popen(
            [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        with open(LOCK_PATH, "rb") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        first.kill()
        with second:
            assert second.stdout is not None
            assert second.stdout.readline() == b"held\n"
            assert values()[:2] == [PATTERN, "7"]
            second.communicate(b"x")
    assert restored_values() == before
