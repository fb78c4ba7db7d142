"""The sandbox: what comes back, and that nothing else can happen."""

from __future__ import annotations

import ast
import os
import resource
import signal
import time
from pathlib import Path

import pytest

from usercrash.analysis import sandbox
from usercrash.analysis.sandbox import SandboxLimits, Send, run_isolated

QUICK = SandboxLimits(seconds=20, memory=1 << 30, output=1 << 20)


def test_sections_come_back_in_whole() -> None:
    def work(send: Send) -> None:
        send(b"TEXT", b"hello")
        send(b"JSON", b"x" * 300_000)

    result = run_isolated(work, (), QUICK)
    assert result.failure == ""
    assert result.sections == {b"TEXT": b"hello", b"JSON": b"x" * 300_000}


def test_what_was_sent_before_death_is_kept() -> None:
    def work(send: Send) -> None:
        send(b"TEXT", b"hello")
        os.kill(os.getpid(), signal.SIGSEGV)

    result = run_isolated(work, (), QUICK)
    assert result.failure == "killed by signal 11"
    assert result.sections == {b"TEXT": b"hello"}


def test_an_exception_is_told() -> None:
    def work(send: Send) -> None:
        raise ValueError("bad \udc80 data")

    assert run_isolated(work, (), QUICK).failure == "ValueError: bad \\udc80 data"


def test_slow_flooding_and_greedy_children_end() -> None:
    def slow(send: Send) -> None:
        time.sleep(60)

    def flooding(send: Send) -> None:
        while True:
            send(b"TEXT", b"x" * 100_000)

    def greedy(send: Send) -> None:
        bytearray(2 << 30)

    def forking(send: Send) -> None:
        os.fork()

    limits = SandboxLimits(seconds=0.3, memory=1 << 30, output=1 << 20)
    assert run_isolated(slow, (), limits).failure == "not done after 0.3 s"
    assert "MiB of output" in run_isolated(flooding, (), QUICK).failure
    assert run_isolated(greedy, (), QUICK).failure.startswith("MemoryError")
    if os.geteuid() == 0:  # RLIMIT_NPROC does not bind root, whom the child is not any more
        assert "BlockingIOError" in run_isolated(forking, (), QUICK).failure


def test_only_the_given_descriptors_are_open(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("given")
    (tmp_path / "b").write_text("other")
    given = os.open(tmp_path / "a", os.O_RDONLY)
    other = os.open(tmp_path / "b", os.O_RDONLY)

    def work(send: Send) -> None:
        send(b"READ", os.pread(given, 99, 0))
        try:
            os.pread(other, 99, 0)
        except OSError as error:
            send(b"ERRN", str(error.errno).encode())

    sections = run_isolated(work, (given,), QUICK).sections
    assert sections == {b"READ": b"given", b"ERRN": b"9"}
    os.close(given)
    os.close(other)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to drop")
def test_privileges_are_gone(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.write_text("secret")
    canary.chmod(0o600)

    def work(send: Send) -> None:
        send(b"UIDS", repr((os.getresuid(), os.getresgid(), os.getgroups())).encode())
        status = Path("/proc/self/status").read_text()
        caps = [line.split()[1] for line in status.splitlines() if line.startswith("Cap")]
        send(b"CAPS", caps[1].encode() + caps[2].encode())
        for name, attempt in (
            (b"CANA", lambda: canary.read_text()),
            (b"KILL", lambda: os.kill(os.getppid(), 0)),
            (b"ROOT", lambda: os.setuid(0)),
        ):
            try:
                attempt()
                send(name, b"allowed")
            except PermissionError:
                send(name, b"refused")

    sections = run_isolated(work, (), QUICK).sections
    uids, gids, groups = ast.literal_eval(sections[b"UIDS"].decode())
    assert 0 not in uids and 0 not in gids and groups == []
    assert set(sections[b"CAPS"]) == {ord("0")}
    assert {sections[name] for name in (b"CANA", b"KILL", b"ROOT")} == {b"refused"}


def test_a_crash_of_the_analysis_starts_no_collector() -> None:
    def work(send: Send) -> None:
        send(b"CORE", str(resource.getrlimit(resource.RLIMIT_CORE)).encode())

    assert run_isolated(work, (), QUICK).sections[b"CORE"] == b"(1, 1)"


def test_a_child_that_gave_its_results_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is it left behind, whatever it does then."""
    parent = os.getpid()
    end = os._exit

    def lingering(status: int) -> None:
        if os.getpid() != parent:
            signal.pause()
        end(status)

    monkeypatch.setattr(os, "_exit", lingering)
    assert run_isolated(lambda send: send(b"TEXT", b"all"), (), QUICK).sections == {b"TEXT": b"all"}
    [child] = sandbox._leaving
    os.kill(child, 0)
    sandbox.reap_children()
    with pytest.raises(ChildProcessError):
        os.waitpid(child, 0)
    assert sandbox._leaving == []


def test_children_of_its_parent_are_none_of_a_fork() -> None:
    run_isolated(lambda send: send(b"TEXT", b"all"), (), QUICK)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            sandbox.reap_children()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    sandbox.reap_children()
