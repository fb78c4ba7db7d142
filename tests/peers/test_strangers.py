"""Programs that nobody here wrote, killed with SIGSEGV: every thread's frames are gdb's.

What they do at that moment is as it comes; both sides look at the same core.
"""

from __future__ import annotations

import os
import re
import signal
import time
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from tests.support.compare import Difference, differences
from tests.support.kernel import (
    POLL_SECONDS,
    SECONDS,
    Installation,
    Published,
    analyze,
    file_cores,
)
from tests.support.oracle import Stacks, gdb_frames
from tests.support.reachable import reachable
from tests.support.strangers import STRANGERS, Stranger, running

from usercrash.report import Report

pytestmark = pytest.mark.usefixtures("needs_kernel")


def program_of(pid: int) -> Path:
    return Path(os.readlink(f"/proc/{pid}/exe"))


def _kill(pid: int) -> None:
    """Kill with SIGSEGV; returns when it is gone or a zombie: its core is complete then."""
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGSEGV)
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            try:
                state = Path(f"/proc/{pid}/stat").read_text("latin-1").rpartition(")")[2].split()[0]
            except FileNotFoundError:
                return
            if state in "ZX":
                return
            time.sleep(POLL_SECONDS)
        raise TimeoutError(f"{pid} does not die")
    finally:
        os.close(pidfd)


# Differences to gdb that are not ours to mend: kind, our function, gdb's (shell patterns), why.
EXPLAINED = [
    ("alias", "*", "*", "several symbols stand at this address, as the file's symbol tables prove"),
    ("theirs", "", "0x0", "a thread that was just born stands in clone3, where nothing says "
     "who called: there is nobody; gdb shows a frame at address 0, we end the stack"),
]  # fmt: skip


def _explained(found: Difference) -> bool:
    return any(
        kind == found.kind and fnmatchcase(found.ours, ours) and fnmatchcase(found.theirs, theirs)
        for kind, ours, theirs, _ in EXPLAINED
    )


def _check(stranger: Stranger, report: Report, stacks: Stacks) -> None:
    lines = []
    for thread in report.threads:
        lines += [
            f"thread {thread.tid} ({thread.name}) {found}"
            for found in differences(thread, stacks[thread.namespace_tid or thread.tid])
            if not _explained(found)
        ]
    assert lines == []
    assert len(report.threads) == len(stacks) >= stranger.threads
    assert report.signal is not None and report.cause is not None
    assert (report.signal.name, report.signal.code_name) == ("SIGSEGV", "SI_USER")
    assert report.signal.sender is not None and report.signal.sender.pid == os.getpid()
    assert report.complete


NAMES = [re.sub(r"\W+", "-", stranger.name) for stranger in STRANGERS]


@pytest.mark.parametrize("stranger", STRANGERS, ids=NAMES)
def test_the_kernels_core(stranger: Stranger, tmp_path: Path) -> None:
    home, cores = tmp_path / "home", tmp_path / "cores"
    home.mkdir()
    cores.mkdir(mode=0o777)
    cores.chmod(0o777)  # the kernel writes with the rights of the process
    reachable(tmp_path)
    with file_cores(cores), running(stranger, home) as pid:
        exe = program_of(pid)
        _kill(pid)
    core = cores / f"core.{pid}"
    _check(stranger, analyze(core), gdb_frames(core, exe))


@pytest.mark.parametrize("stranger", STRANGERS, ids=NAMES)
def test_through_the_pipe(stranger: Stranger, tmp_path: Path, installation: Installation) -> None:
    reachable(tmp_path)
    with installation.receiving(), running(stranger, tmp_path) as pid:
        exe = program_of(pid)
        _kill(pid)
        crash: Published = installation.wait_pid(pid)
    _check(stranger, crash.report, gdb_frames(crash.core, exe))
    assert crash.report.notes == []
