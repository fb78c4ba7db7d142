"""The adapter to ptrace(2), on real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.spawn import compile_c, expect, running, state_of, tell

from usercrash.capture import ptrace
from usercrash.elf.headers import NT_FPREGSET, NT_PRSTATUS, NT_X86_XSTATE

WAITS = ["/bin/sh", "-c", "printf r; read line; printf x; read line"]


def stop(tid: int) -> ptrace.Stop:
    ptrace.seize(tid)
    ptrace.interrupt(tid)
    stops, silent = ptrace.wait_all([tid], 10)
    assert silent == []
    return stops[tid]


def test_stop_read_and_let_go() -> None:
    with running(WAITS) as process:
        stopped = stop(process.pid)
        assert (stopped.event, stopped.signal) == (ptrace.EVENT_STOP, signal.SIGTRAP)
        assert stopped.pending_signal == 0
        assert not stopped.group_stop
        assert state_of(process.pid) == "t"
        assert len(ptrace.register_set(process.pid, NT_PRSTATUS)) == 216
        assert len(ptrace.register_set(process.pid, NT_FPREGSET)) == 512
        assert len(ptrace.register_set(process.pid, NT_X86_XSTATE)) >= 512
        ptrace.detach(process.pid)
        tell(process, b"\n")
        expect(process, b"x")


def test_a_signal_on_its_way_is_seen_and_passed_on() -> None:
    with running(["/bin/sh", "-c", "trap 'printf u' USR1; printf r; read a; read b"]) as process:
        ptrace.seize(process.pid)
        os.kill(process.pid, signal.SIGUSR1)
        stops, _ = ptrace.wait_all([process.pid], 10)
        stopped = stops[process.pid]
        assert (stopped.event, stopped.pending_signal) == (0, signal.SIGUSR1)
        info = ptrace.signal_info(process.pid)
        assert int.from_bytes(info[:4], "little") == signal.SIGUSR1
        assert ptrace.look(process.pid) is not None  # nothing was taken
        ptrace.detach(process.pid, stopped.pending_signal)
        expect(process, b"u")


def test_the_signal_mask_is_read(tmp_path: Path) -> None:
    source = """#include <signal.h>
    #include <unistd.h>
    int main(void) { sigset_t s; char c; sigemptyset(&s); sigaddset(&s, SIGUSR2);
      sigprocmask(SIG_BLOCK, &s, 0); return write(1, "r", 1) + read(0, &c, 1); }"""
    with running([compile_c(tmp_path, "mask", source)]) as process:
        stop(process.pid)
        assert ptrace.signal_mask(process.pid) == 1 << (signal.SIGUSR2 - 1)


def test_a_thread_that_is_gone() -> None:
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    with pytest.raises(ptrace.ThreadGone) as caught:
        ptrace.seize(process.pid)
    assert f"PTRACE_SEIZE of thread {process.pid}: No such process" in str(caught.value)
    with pytest.raises(ptrace.ThreadGone):
        ptrace.look(process.pid)


def test_a_running_thread_cannot_be_read() -> None:
    with running(WAITS) as process:
        ptrace.seize(process.pid)
        with pytest.raises(ptrace.ThreadGone):
            ptrace.register_set(process.pid, NT_PRSTATUS)


def test_the_end_of_a_tracee_is_told_and_reaped() -> None:
    with running(WAITS) as process:
        ptrace.seize(process.pid)
        process.kill()
        stops, _ = ptrace.wait_all([process.pid], 10)
        assert stops[process.pid].exited
        assert stops[process.pid].status == -signal.SIGKILL


def test_a_thread_that_does_not_stop_is_given_up() -> None:
    with running(WAITS) as process:
        ptrace.seize(process.pid)  # and not interrupted
        assert ptrace.wait_all([process.pid], 0.05) == ({}, [process.pid])


TRACER = """
import sys, os, signal
from usercrash.capture import ptrace
pid = int(sys.argv[1])
ptrace.seize(pid)
os.kill(pid, signal.SIGUSR1)
stops, _ = ptrace.wait_all([pid], 10)
assert stops[pid].pending_signal == signal.SIGUSR1
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_signal_that_a_killed_tracer_had_seen_is_delivered() -> None:
    with running(["/bin/sh", "-c", "trap 'printf u' USR1; printf r; read a; read b"]) as process:
        tracer = subprocess.run([sys.executable, "-c", TRACER, str(process.pid)], check=False)
        assert tracer.returncode == -signal.SIGKILL
        expect(process, b"u")
