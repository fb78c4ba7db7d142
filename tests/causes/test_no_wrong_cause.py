"""Healthy processes get no cause but who sent the signal, and none at all where that is not known.

Programs that nobody here wrote, some waiting, some busy with whatever they do at that moment, are
killed with signals that mostly mean faults; then the same crashes are read again without their
siginfo, as old cores are; and gdb writes cores of processes that live on.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.causes.programs import SECONDS
from tests.support.analysed import analyse
from tests.support.build import need
from tests.support.kernel import Installation, Published
from tests.support.reachable import reachable
from tests.support.strangers import STRANGERS, Stranger, running
from usercrash.analysis.assemble import assemble
from usercrash.report import Report

SIGNALS = (
    signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP,
    signal.SIGSYS, signal.SIGXCPU, signal.SIGQUIT, signal.SIGXFSZ,
)  # fmt: skip
WAITING, WORKING = 3, 4  # signals for each program that waits, and that is busy
WANTED = 50
SLOTS = 100
BUSY = (
    ("/usr/bin/python3", "-c", "print('ready', flush=True)\nwhile True: sorted({}, key=str)"),
    ("/usr/bin/python3", "-c", "import re\nprint('ready', flush=True)\nwhile True:"
     " re.sub('(a|b)*c', 'd', 'ab' * 99)"),
    ("dash", "-c", "echo ready; while :; do :; done"),
    ("bash", "-c", "echo ready; while :; do x=${x%1}1; done"),
    ("perl", "-e", "$|=1; print qq(ready\\n); while (1) { $x{$_ % 9} .= 'x' for 1..99; %x = () }"),
    ("gawk" if os.path.exists("/usr/bin/gawk") else "awk",
     'BEGIN { print "ready"; fflush(); while (1) x[i++ % 99] = sqrt(i) "" }'),
)  # fmt: skip
# Elf64_Nhdr of NT_SIGINFO (<elf.h>), and one of a type that nobody knows
SIGINFO = struct.pack("<III", 5, 128, 0x53494749)
UNKNOWN = struct.pack("<III", 5, 128, 0x53494700)


@dataclass(frozen=True, slots=True)
class Killed:
    """A healthy process's end: which program, by which signal, what was reported."""

    program: str
    number: int
    crash: Published


def _allow_cores() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _busy(words: tuple[str, ...]) -> Callable[[Path], subprocess.Popen[bytes]]:
    def start(place: Path) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            words, cwd=place, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, preexec_fn=_allow_cores, start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process

    return start


def healthy() -> list[Stranger]:
    """Those that wait, without the one that takes long to set up, and those that are busy."""
    waiting = [one for one in STRANGERS if one.name != "postgres"]
    return waiting + [Stranger(f"busy {words[0]}", words[0], _busy(words)) for words in BUSY]


def _deadly(pid: int) -> list[signal.Signals]:
    """Those signals that the process neither ignores nor handles."""
    status = Path(f"/proc/{pid}/status").read_text("latin-1")
    masks = {name: int(value, 16) for name, _, value in
             (line.partition(":\t") for line in status.splitlines())
             if name in ("SigIgn", "SigCgt", "SigBlk")}  # fmt: skip
    taken = masks["SigIgn"] | masks["SigCgt"] | masks["SigBlk"]
    return [number for number in SIGNALS if not taken >> number - 1 & 1]


@pytest.fixture(scope="module")
def killed(needs_kernel: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Killed]]:
    strangers, ended = healthy(), []
    with Installation(f"[reports]\nslots = {SLOTS}\n") as place:
        place.start_server()
        for start, stranger in enumerate(strangers):
            for turn in range(WORKING if stranger.name.startswith("busy") else WAITING):
                home = tmp_path_factory.mktemp("home")
                reachable(home)
                with running(stranger, home) as pid, place.receiving():
                    deadly = _deadly(pid)
                    number = deadly[(start + turn * 3) % len(deadly)]
                    _kill(pid, number)
                    ended.append((stranger.name, number, pid))
        yield [Killed(name, number, place.wait_pid(pid)) for name, number, pid in ended]
        assert place.server_log == ""


def _kill(pid: int, number: signal.Signals) -> None:
    """Returns when it is dead: its crash has been captured then."""
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        signal.pidfd_send_signal(pidfd, number)
        assert poll.poll(SECONDS * 1000)
    finally:
        os.close(pidfd)


def test_only_the_sender_is_named(killed: list[Killed]) -> None:
    assert len(killed) >= WANTED
    wrong = []
    for one in killed:
        found = one.crash.report.cause
        sender = f"{signal.Signals(one.number).name} was sent by process {os.getpid()} "
        assert found is not None
        if found.kind != "sent-by-process" or not found.summary.startswith(sender):
            wrong.append((one.program, one.number, found))
    assert wrong == []


def _again(core: Path, data: bytes) -> Report:
    core.write_bytes(data)
    seen = analyse(core)
    return assemble(seen.image, seen.modules, seen.symbolizer, "again")


def test_nothing_is_made_up_without_siginfo(killed: list[Killed], tmp_path: Path) -> None:
    wrong = []
    programs = {one.program: one for one in killed}
    for one in [one for one in killed if one.program.startswith("busy")] + list(programs.values()):
        data = one.crash.core.read_bytes()
        assert data.count(SIGINFO) == 1
        found = _again(tmp_path / "core", data.replace(SIGINFO, UNKNOWN)).cause
        assert found is not None
        if found.kind != "unknown":
            wrong.append((one.program, one.number, found))
    assert wrong == []


def test_cores_of_processes_that_live(tmp_path: Path) -> None:
    wrong = []
    for stranger in healthy()[::3]:
        home = tmp_path / stranger.name.replace("/", "-")
        home.mkdir()
        reachable(home)
        with running(stranger, home) as pid:
            done = subprocess.run(
                [need("gdb", "gdb"), "-batch", "-nx", "-q", "-iex", "set debuginfod enabled off",
                 "-p", str(pid), "-ex", f"gcore {home}/core"],
                capture_output=True, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        assert (home / "core").exists(), done.stderr
        seen = analyse(home / "core")
        found = assemble(seen.image, seen.modules, seen.symbolizer, "live").cause
        assert found is not None
        if found.kind not in ("none", "unknown"):
            wrong.append((stranger.name, found))
    assert wrong == []
