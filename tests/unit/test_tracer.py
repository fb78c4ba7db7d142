"""The tracer of `usercrash run` at moments that are hard to meet."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from tests.support.spawn import compile_c

from usercrash.capture import ptrace
from usercrash.capture.tracer import Tracer

SECONDS = 30.0
FORKS_ONCE = r"""
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    char go;
    if (read(0, &go, 1) != 1) return 1;
    int child = fork();
    if (child == 0) for (;;) pause();
    return waitpid(child, 0, 0) == child ? 7 : 2;
}
"""


def give_up(*_: object) -> None:
    raise TimeoutError("a thread was left standing")


def test_a_thread_that_is_killed_while_its_stop_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL wakes it from one stop, and it stands at its exit when the answer to that comes too
    late: the exit must be answered, or its parent waits for good."""
    program = compile_c(tmp_path, "forks", FORKS_ONCE)
    answered = ptrace.cont
    gate, go = os.pipe()
    main = os.fork()
    if main == 0:
        os.dup2(gate, 0)
        os.execv(program, [str(program)])
    killed: list[int] = []

    def cont(tid: int, number: int = 0) -> None:
        if tid != main and not killed:
            killed.append(tid)
            os.kill(tid, signal.SIGKILL)
            deadline = time.monotonic() + SECONDS
            stop = ptrace.look(tid)
            while stop is None or stop.event != ptrace.EVENT_EXIT:
                assert time.monotonic() < deadline
                stop = ptrace.look(tid)
            raise ptrace.ThreadGone(ptrace.CONT, tid, 3)  # ESRCH
        answered(tid, number)

    monkeypatch.setattr(ptrace, "cont", cont)
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(int(SECONDS))
    ended: list[int] = []
    statuses: list[int] = []

    def on_end(tid: int) -> None:
        ended.append(tid)

    tracer = Tracer(lambda target: None, on_end, lambda words: None)
    reap = ptrace.reap

    def note_status(tid: int) -> None:
        if tid == main:
            statuses.append(os.waitstatus_to_exitcode(os.waitpid(tid, 0)[1]))
        else:
            reap(tid)

    monkeypatch.setattr(ptrace, "reap", note_status)
    try:
        tracer.seize(main)
        os.write(go, b"g")
        tracer.follow()
    finally:
        if not statuses:
            os.kill(main, signal.SIGKILL)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        os.close(gate)
        os.close(go)
    assert killed and ended == [*killed, main]
    assert statuses == [7]
