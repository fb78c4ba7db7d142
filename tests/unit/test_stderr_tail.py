"""The last lines of standard error in the reports of `usercrash run`: a file's end, and what goes
through a relay."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from tests.support.commands import environment, settings
from tests.support.run_verb import SECONDS, command, reports, run
from tests.support.spawn import compile_c

# Writes what it is told to, and dies.
PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv) {
    long lines = argc > 1 ? atol(argv[1]) : 1;
    const char *text = argc > 2 ? argv[2] : "line";
    for (long i = 1; i <= lines; i++) fprintf(stderr, "%s %ld\n", text, i);
    if (argc > 3) { fprintf(stderr, "%s", argv[3]); fflush(stderr); }
    abort();
}
"""


@pytest.fixture(scope="module")
def writes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_c(tmp_path_factory.mktemp("stderr"), "writes", PROGRAM)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "place"
    place.mkdir()
    settings(tmp_path)
    return place


def logged(report: dict[str, object]) -> list[str]:
    log = report["log"]
    assert isinstance(log, list)
    return [line["text"] for line in log if line["source"] == "stderr"]


def test_what_went_through_the_relay(writes: Path, place: Path) -> None:
    done = run(place, writes, "3", "line", "no newline", options=["--keep-stderr"])
    assert done.returncode == 128 + signal.SIGABRT
    assert done.stderr.startswith(b"line 1\nline 2\nline 3\nno newline\nCrash of writes")
    assert done.stdout == b""
    assert logged(reports(place)[0]) == ["line 1", "line 2", "line 3", "no newline"]
    assert "Standard error, its last lines" in (place / "usercrash_00").read_text()


def test_only_the_last_lines_are_kept_and_all_is_passed_on(writes: Path, place: Path) -> None:
    """More than the ring holds, more than a pipe holds, and read slowly."""
    done = run(place, writes, "20000", "x" * 50, options=["--keep-stderr"])
    assert done.stderr.count(b"\n") > 20000
    assert f"{'x' * 50} 20000\n".encode() in done.stderr
    assert logged(reports(place)[0]) == [f"{'x' * 50} {n}" for n in range(19951, 20001)]


def test_a_file_has_its_tail_without_a_relay(writes: Path, place: Path) -> None:
    """Only what stands before where the program has written to."""
    output = place.parent / "output"
    output.write_bytes(b"older\n")
    with output.open("ab") as file:
        done = subprocess.run(
            command(place, writes, "2"), cwd=place, env=environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=file, timeout=SECONDS, check=False,
        )  # fmt: skip
    assert done.returncode == 128 + signal.SIGABRT
    assert logged(reports(place)[0]) == ["older", "line 1", "line 2"]


def test_controls_are_escaped(writes: Path, place: Path) -> None:
    run(place, writes, "1", "a\x1b[31m\x07b", options=["--keep-stderr"])
    text = (place / "usercrash_00").read_bytes()
    assert b"\x1b" not in text and b"\\x1b[31m\\x07b 1" in text


def test_without_it_a_pipe_has_no_tail(writes: Path, place: Path) -> None:
    run(place, writes)
    assert logged(reports(place)[0]) == []


def test_children_that_write_on_do_not_hold_it(place: Path) -> None:
    """The exit status comes when the program has ended; the relay stays for its children."""
    done = subprocess.Popen(
        command(place, "sh", "-c", "(sleep 1; echo late >&2) & echo early >&2; exit 3",
                options=["--keep-stderr"]),
        cwd=place, env=environment(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert done.wait(SECONDS) == 3
    assert done.stderr is not None
    assert done.stderr.read() == b"early\nlate\n"
    done.stderr.close()


def test_a_reader_that_is_gone_does_not_end_the_program(place: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    script = "for n in 1 2 3; do echo $n >&2 || exit 9; done; exit 4"
    done = subprocess.run(
        command(place, "sh", "-c", script, options=["--keep-stderr"]), cwd=place,
        env=environment(), stdin=subprocess.DEVNULL, stderr=writer, timeout=SECONDS, check=False,
    )  # fmt: skip
    os.close(writer)
    assert done.returncode == 4


def test_a_relay_that_is_killed_does_not_hold_the_program(place: Path) -> None:
    """It gets SIGPIPE, as behind any pipe whose reader is gone."""
    script = (
        "relay=$(ps -o pid=,ppid=,sid= -A | awk -v front=$PPID '$2 == front && $1 == $3'"
        " | awk '{print $1}' | head -1); kill -KILL $relay; sleep 0.2; trap '' PIPE;"
        " echo lost >&2 || exit 5; exit 6"
    )
    done = run(place, "sh", "-c", script, options=["--keep-stderr"])
    assert done.returncode == 5
