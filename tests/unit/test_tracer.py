"""The tracer of `usercrash run` at moments that are hard to meet."""

from __future__ import annotations

import os
import signal
from pathlib import Path

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


def test_a_thread_that_is_killed_while_its_stop_is_answered(tmp_path: Path) -> None:
    """SIGKILL wakes it from one stop, and it stands at its exit when the answer to that comes too
    late: the exit must be answered, or its parent waits for good."""
    program = compile_c(tmp_path, "forks", FORKS_ONCE)
    tracer = os.fork()  # it waits for all of its children: it must have no others
    if tracer == 0:
        os._exit(trace(program))
    assert os.waitstatus_to_exitcode(os.waitpid(tracer, 0)[1]) == 7


def trace(program: Path) -> int:
    """The program's exit status, -1 if no child of it was killed; ends by SIGALRM if it hangs."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(SECONDS))
    answered, reap = ptrace.cont, ptrace.reap
    gate, go = os.pipe()
    main = os.fork()
    if main == 0:
        signal.alarm(2 * int(SECONDS))  # (kept by the new program: it does not stay)
        os.dup2(gate, 0)
        os.execv(program, [str(program)])
    killed: list[int] = []
    statuses: list[int] = []

    def cont(tid: int, signal_number: int = 0) -> None:
        if tid != main and not killed:
            killed.append(tid)
            os.kill(tid, signal.SIGKILL)
            stop = ptrace.look(tid)
            while stop is None or stop.event != ptrace.EVENT_EXIT:
                stop = ptrace.look(tid)
            raise ptrace.ThreadGone(ptrace.CONT, tid, 3)  # ESRCH
        answered(tid, signal_number)

    def note_status(tid: int) -> None:
        if tid == main:
            statuses.append(os.waitstatus_to_exitcode(os.waitpid(tid, 0)[1]))
        else:
            reap(tid)

    ptrace.cont, ptrace.reap = cont, note_status
    tracer = Tracer(lambda target: None, lambda tid, status: None, lambda words: None)
    tracer.seize(main)
    os.write(go, b"g")
    tracer.follow()
    return statuses[0] if killed and len(statuses) == 1 else -1
