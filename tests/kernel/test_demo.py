"""make demo: a report on the screen, core_pattern restored on every way out."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from usercrash.system import sysctl
from usercrash.system.core_pattern import LOCK_PATH

DEMO = [sys.executable, str(Path(__file__).parents[2] / "demo/demo.py")]
needs_kernel = pytest.mark.usefixtures("needs_kernel")


def values() -> tuple[str, str]:
    """core_pattern and core_pipe_limit when nobody holds them."""
    with open(LOCK_PATH, "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return sysctl.read(sysctl.CORE_PATTERN), sysctl.read(sysctl.CORE_PIPE_LIMIT)


def check_report(output: str, kept: Path) -> None:
    """The first screen was shown, and what it names as the whole report is there."""
    assert "SIGSEGV" in output and "strverscmp" in output and "qsort" in output
    assert "\npy  sort_files at " in output and "\npy  Thread.run at " in output
    line = next(line for line in output.splitlines() if line.startswith("The whole report:"))
    report = Path.cwd() / line.partition(":")[2].strip()
    assert report.resolve().is_relative_to(kept.resolve())
    text = report.read_text()
    assert "file-reader" in text and "qsort" in text


@needs_kernel
def test_through_the_kernel(tmp_path: Path) -> None:
    before = values()
    done = subprocess.run(
        [*DEMO, "--dir", tmp_path / "kept"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "core_pattern is now" in done.stdout
    check_report(done.stdout, tmp_path)
    assert values() == before
    command = done.stdout.splitlines()[-1].partition(":")[2]
    shown = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert "file-reader" in shown.stdout


@needs_kernel
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_in_the_middle(tmp_path: Path, number: signal.Signals) -> None:
    before = values()
    with subprocess.Popen([*DEMO, "--dir", tmp_path], stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "core_pattern is now" in line:
                break
        # The server, and its workers.
        servers = [pid for pid in os.listdir("/proc") if pid.isdigit() and is_server(pid, tmp_path)]
        assert servers
        pidfds = [os.pidfd_open(int(pid)) for pid in servers]
        demo.send_signal(number)
    # Nothing of it stays: they end with the demo that started them.
    for pidfd in pidfds:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        assert poll.poll(30_000), f"one of {servers} stays"
        os.close(pidfd)
    assert values() == before


def is_server(pid: str, kept: Path) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"usercrash_s" in command and os.fsencode(kept) in command


def test_without_the_kernel(tmp_path: Path) -> None:
    done = subprocess.run(
        [*DEMO, "--without-kernel", "--dir", tmp_path / "kept"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    check_report(done.stdout, tmp_path)
