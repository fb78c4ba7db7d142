"""usercrash run: signals, job control, and what happens when one of its processes is gone."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.commands import environment, settings
from tests.support.run_verb import CRASHES, SECONDS, command, names, reports, run
from tests.support.spawn import compile_c, expect, tell


@pytest.fixture(scope="module")
def crashes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_c(tmp_path_factory.mktemp("run"), "crashes", CRASHES, "-w")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The present directory of the programs; reports come here, as there is no other place."""
    place = tmp_path / "place"
    place.mkdir()
    settings(tmp_path)
    return place


def until(place: Path, count: int) -> list[dict[str, object]]:
    """The reports, once there are `count` of them."""
    deadline = time.monotonic() + SECONDS
    while len(found := reports(place)) < count:
        assert time.monotonic() < deadline, os.listdir(place)
        time.sleep(0.01)
    return found


def test_a_daemon_is_followed_after_the_program_has_ended(crashes: Path, place: Path) -> None:
    reader, writer = os.pipe()
    child = subprocess.Popen(
        command(place, crashes, "daemon"), cwd=place, env=environment(), stdin=reader,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert child.wait(SECONDS) == 4
    assert reports(place) == []
    os.write(writer, b"g")
    out, err = child.communicate(timeout=SECONDS)
    (report,) = until(place, 1)
    assert names(report)[0] == "fault_here"
    assert (out, err) == (b"", b"")
    os.close(reader)
    os.close(writer)


# -- other tracers, deaths of ours ----------------------------------------------------


def test_a_program_that_is_traced_already_runs_unwatched(crashes: Path, place: Path) -> None:
    inner = command(place, crashes, "segv")
    done = run(place, *inner)
    assert done.returncode == 128 + 11
    assert b"usercrash: the program runs unwatched: PTRACE_SEIZE" in done.stderr
    assert len(reports(place)) == 1  # the outer one's


def test_a_debugger_inside_fails_cleanly(place: Path) -> None:
    done = run(place, "strace", "-o", place / "trace", "true")
    assert done.returncode == 1
    assert b"Operation not permitted" in done.stderr


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def tracer_of(pid: int) -> int:
    found = re.search(r"^TracerPid:\t(\d+)$", Path(f"/proc/{pid}/status").read_text(), re.M)
    assert found
    return int(found[1])


class Waiting:
    """`crashes waits` under run: its front, the program and the watcher, all ready."""

    def __init__(self, crashes: Path, place: Path, *words: str) -> None:
        self.front = subprocess.Popen(
            command(place, crashes, "waits", *words), cwd=place, env=environment(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        expect(self.front, b"r")
        (self.main,) = (pid for pid in children_of(self.front.pid) if tracer_of(pid))
        self.watcher = tracer_of(self.main)


@pytest.fixture
def waiting(crashes: Path, place: Path) -> Iterator[Waiting]:
    found = Waiting(crashes, place)
    yield found
    found.front.communicate(timeout=SECONDS)


def test_the_program_runs_on_without_its_watcher(waiting: Waiting) -> None:
    os.kill(waiting.watcher, signal.SIGKILL)
    while tracer_of(waiting.main):
        os.sched_yield()
    tell(waiting.front)
    assert waiting.front.wait(SECONDS) == 6


def test_the_program_is_watched_without_its_front(crashes: Path, place: Path) -> None:
    found = Waiting(crashes, place, "and fault")
    pidfd = os.pidfd_open(found.main)
    found.front.kill()
    found.front.wait()
    tell(found.front)
    assert select.select([pidfd], [], [], SECONDS)[0]
    (report,) = until(place, 1)
    assert report["process"]["pid"] == found.main  # type: ignore[index]
    os.close(pidfd)


# -- signals and job control ----------------------------------------------------------


RECEIVER = """
import os, signal, sys
names = sys.argv[1:]
signal.pthread_sigmask(signal.SIG_BLOCK, [getattr(signal, name) for name in names])
os.write(1, b"r")
for name in names:
    os.write(1, b"<%d>" % signal.sigwait([getattr(signal, name)]))
"""


def test_signals_are_passed_on(place: Path) -> None:
    names = ["HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "TERM", "WINCH", "CONT", "RTMIN", "TSTP"]
    numbers = [signal.Signals[f"SIG{name}"] for name in names]
    front = subprocess.Popen(
        command(place, sys.executable, "-c", RECEIVER, *(number.name for number in numbers)),
        cwd=place, env=environment(), stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    expect(front, b"r")
    for number in numbers:
        os.kill(front.pid, number)
        expect(front, b"<%d>" % number)
    assert front.wait(SECONDS) == 0


def test_a_signal_to_its_own_group_comes_once(crashes: Path, place: Path) -> None:
    front = subprocess.Popen(
        command(place, crashes, "group"), cwd=place, env=environment(), stdout=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    out, _ = front.communicate(timeout=SECONDS)
    assert (front.returncode, out) == (0, b"1\n")


def test_a_program_that_is_stopped_and_continued_by_others(waiting: Waiting) -> None:
    for _ in range(20):
        os.kill(waiting.main, signal.SIGSTOP)
        while process_state(waiting.main) not in "Tt":
            os.sched_yield()
        os.kill(waiting.main, signal.SIGCONT)
        while process_state(waiting.main) in "Tt":
            os.sched_yield()
    assert settled_state(waiting.front.pid) == "S"
    tell(waiting.front)
    assert waiting.front.wait(SECONDS) == 6


def process_state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def settled_state(pid: int) -> str:
    """Its state once it has heard of what became of its children: it sleeps, or is stopped."""
    while True:
        status = Path(f"/proc/{pid}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        state = fields["State"][0]
        unheard = int(fields["SigPnd"], 16) | int(fields["ShdPnd"], 16)
        if state not in "RDS" or (state == "S" and not unheard & 1 << signal.SIGCHLD - 1):
            return state
        os.sched_yield()


SHELL = """
import os, signal, sys
# The least that a shell with job control does: one job, in the foreground.
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = os.fork()
if job == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execvp(sys.argv[1], sys.argv[1:])
while True:
    _, status = os.waitpid(job, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        print("<ended %d>" % os.waitstatus_to_exitcode(status), flush=True)
        break
    os.tcsetpgrp(0, os.getpgrp())
    print("<stopped>", flush=True)
    sys.stdin.readline()
    os.tcsetpgrp(0, job)
    os.killpg(job, signal.SIGCONT)
"""


def test_job_control_on_a_terminal(crashes: Path, place: Path) -> None:
    script = "trap 'printf cont' CONT; printf ready; while :; do sleep 0.01; done"
    words = command(place, "bash", "-c", script)
    pid, master = pty.fork()
    if pid == 0:
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)  # ignored if the tests run in the background
        os.chdir(place)
        os.execve(sys.executable, [sys.executable, "-c", SHELL, *words], environment())
    try:
        read_until(master, b"ready")
        for _ in range(3):
            os.write(master, b"\x1a")  # Ctrl-Z
            read_until(master, b"<stopped>")
            os.write(master, b"\n")
            read_until(master, b"cont")
        os.write(master, b"\x03")  # Ctrl-C
        read_until(master, b"<ended 130>")
    finally:
        os.close(master)
        os.waitpid(pid, 0)


def read_until(fd: int, text: bytes) -> None:
    seen = b""
    deadline = time.monotonic() + SECONDS
    while text not in seen:
        left = deadline - time.monotonic()
        ready, _, _ = select.select([fd], [], [], max(0.0, left))
        assert ready, seen
        seen += os.read(fd, 4096)
