"""The client's command line: what the kernel writes there, whatever a process is called."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import usercrash
from usercrash.client.program import parse_arguments
from usercrash.errors import UsageError

SOURCES = str(Path(usercrash.__file__).parent.parent)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([b"12", b"prog", b"11"], (12, 0, 11, b"prog")),
        ([b"12", b"a b", b"11"], (12, 0, 11, b"a b")),
        ([b"12", b"a", b"b", b"11"], (12, 0, 11, b"a b")),  # split after expanding: old kernels
        ([b"12", b"--run", b"11"], (12, 0, 11, b"--run")),
        ([b"12", b"--", b"6"], (12, 0, 6, b"--")),
        ([b"12", b"x -d1 --pid 1 $(touch P)", b"11"], (12, 0, 11, b"x -d1 --pid 1 $(touch P)")),
        ([b"12", b"", b"11"], (12, 0, 11, b"")),
        ([b"12", b"7", b"11"], (12, 0, 11, b"7")),
        ([b"12", b"\xff'\"", b"11"], (12, 0, 11, b"\xff'\"")),
        ([b"12", b"11"], (12, 0, 11, b"")),
        ([b"12", b"prog"], (12, 0, 0, b"prog")),  # the pattern was cut at 127 bytes
        ([b"12"], (12, 0, 0, b"")),
        ([b"--ids", b"12", b"13", b"6", b"2", b"3"], (12, 13, 6, b"")),
    ],
)
def test_both_forms(argv: list[bytes], expected: tuple[int, int, int, bytes]) -> None:
    found = parse_arguments(argv)
    assert (found.pid, found.tid, found.signal, found.name) == expected
    assert found.run == "/run/usercrash"
    named = parse_arguments([b"--run", b"/x y", *argv])
    assert named.run == "/x y"
    assert (named.pid, named.tid, named.signal, named.name) == expected


def test_the_pidfd_may_be_absent() -> None:
    for tail, pidfd in (([], -1), ([b""], -1), ([b"3"], 3)):
        found = parse_arguments([b"--ids", b"12", b"13", b"6", b"1", *tail])
        assert (found.dump_mode, found.pidfd) == (1, pidfd)


@pytest.mark.parametrize(
    "argv",
    [
        [b"x"], [b"-5", b"a", b"11"], [b"0", b"a", b"11"], [b"+5"], [b"5_0"], [b" 5"],
        [b"--ids"], [b"--ids", b"1"], [b"--ids", b"a", b"2", b"3", b"4"],
        [b"--run"], [b"--run", b"relative", b"1", b"a", b"11"], [b"9" * 40, b"a", b"11"],
        ["\N{ARABIC-INDIC DIGIT ONE}".encode(), b"a", b"11"],
    ],
)  # fmt: skip
def test_nonsense_is_a_usage_error(argv: list[bytes]) -> None:
    with pytest.raises(UsageError):
        parse_arguments(argv)


@given(st.lists(st.binary(max_size=30), max_size=8))
def test_anything_is_understood_or_refused(argv: list[bytes]) -> None:
    try:
        found = parse_arguments(argv)
    except UsageError:
        return
    assert found.pid > 0 and found.signal >= 0


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from usercrash.client import main; main()", *arguments],
        env={"PYTHONPATH": SOURCES}, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_without_arguments_it_explains_itself() -> None:
    done = run()
    assert done.returncode == 0 and done.stderr == ""
    assert "core_pattern" in done.stdout and "debugger PID" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_wrong_argument_is_one_line_and_status_2() -> None:
    done = run("nonsense")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "nonsense" in done.stderr


def test_a_person_at_a_terminal_has_no_crash() -> None:
    """It would wait for a core, and record a crash that never was."""
    leader, follower = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", "from usercrash.client import main; main()", "1", "name", "11"],
        env={"PYTHONPATH": SOURCES}, capture_output=True, text=True, check=False, stdin=follower,
    )  # fmt: skip
    os.close(leader)
    os.close(follower)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "usercrash_c: the kernel starts this program, with a core on its standard input\n"
    )
