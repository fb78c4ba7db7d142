"""LiveTarget: all threads of a real process stopped, read, and let go as they were."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.spawn import compile_c, expect, running, state_of, tell

from usercrash.capture import ptrace
from usercrash.capture.live import LiveTarget
from usercrash.elf.arch.x86_64 import ARCH
from usercrash.elf.headers import (
    NT_AUXV,
    NT_FILE,
    NT_FPREGSET,
    NT_PRPSINFO,
    NT_PRSTATUS,
    NT_SIGINFO,
    NT_X86_XSTATE,
)
from usercrash.errors import UsercrashError

SYSCALL_READ, SYSCALL_VFORK = 0, 58

THREADS = r"""
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
static pthread_barrier_t here;
static int never[2];
static void *work(void *arg) {
    char byte;
    pthread_barrier_wait(&here);
    return read(never[0], &byte, 1) ? arg : 0;
}
int main(int argc, char **argv) {
    int count = atoi(argv[1]);
    char byte;
    pthread_t thread;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    if (pipe(never)) return 1;
    pthread_barrier_init(&here, 0, count + 1);
    for (int i = 0; i < count; i++) if (pthread_create(&thread, &small, work, 0)) return 2;
    pthread_barrier_wait(&here);
    if (argc > 2) {
        if (write(1, "r", 1) != 1) return 1;
        pthread_exit(0);
    }
    while (write(1, "r", 1) == 1 && read(0, &byte, 1) == 1) ;
    return 0;
}
"""


@pytest.fixture(scope="module")
def threads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_c(tmp_path_factory.mktemp("live"), "threads", THREADS)


def waiting(tid: int, call: int) -> list[int]:
    """What the kernel says of a thread once it waits in this system call: number, arguments,
    sp and pc."""
    while True:
        words = Path(f"/proc/{tid}/syscall").read_text().split()
        if words[0] == str(call):
            return [int(word, 0) for word in words]
        os.sched_yield()


def test_all_threads_with_their_registers(threads: Path) -> None:
    with running([threads, "8"]) as process:
        tids = [int(name) for name in os.listdir(f"/proc/{process.pid}/task")]
        kernel = {tid: waiting(tid, SYSCALL_READ) for tid in tids}
        target = LiveTarget.stop(process.pid)
        try:
            states = target.threads()
            assert {state.tid for state in states} == set(kernel)
            assert states[0].tid == process.pid
            for state in states:
                assert state.registers["rsp"] == kernel[state.tid][-2]
                assert state.registers["rip"] == kernel[state.tid][-1]
                assert state.registers["orig_rax"] == SYSCALL_READ
            assert all(state_of(tid) == "t" for tid in kernel)
        finally:
            target.release()
        assert target.pause_ns > 0
        assert list(target.notes) == []
        tell(process)
        expect(process, b"r")


def test_notes_have_the_kernels_order_and_sizes(threads: Path) -> None:
    with running([threads, "2"]) as process:
        target = LiveTarget.stop(process.pid)
        notes = target.elf_notes()
        target.release()
        one = [NT_PRSTATUS, NT_FPREGSET, NT_X86_XSTATE]
        first = [NT_PRSTATUS, NT_PRPSINFO, NT_AUXV, NT_FILE, NT_FPREGSET, NT_X86_XSTATE]
        assert [note.type for note in notes] == first + one + one
        assert NT_SIGINFO not in [note.type for note in notes]
        assert [len(note.desc) for note in notes[:2]] == [336, 136]
        assert notes[2].desc == Path(f"/proc/{process.pid}/auxv").read_bytes()
        assert os.fsencode(threads) + b"\0" in notes[3].desc
        signal_number, tid, _ = ARCH.parse_prstatus(notes[0].desc)
        assert (signal_number, tid) == (0, process.pid)


def test_a_thousand_threads(threads: Path) -> None:
    with running([threads, "999"]) as process:
        target = LiveTarget.stop(process.pid)
        states = target.threads()
        target.release()
        assert len(states) == 1000
        tell(process)
        expect(process, b"r")


def test_a_thread_id_means_its_process_with_that_thread_first(threads: Path) -> None:
    with running([threads, "3"]) as process:
        tid = max(int(name) for name in os.listdir(f"/proc/{process.pid}/task"))
        target = LiveTarget.stop(tid)
        states = target.threads()
        target.release()
        assert (target.event.pid, target.event.tid) == (process.pid, tid)
        assert (states[0].tid, len(states)) == (tid, 4)


def test_a_leader_that_has_ended_before_its_threads(threads: Path) -> None:
    with running([threads, "3", "leave"]) as process:
        while state_of(process.pid) != "Z":
            os.sched_yield()
        target = LiveTarget.stop(process.pid)
        states = target.threads()
        code = target.read(states[0].registers["rip"], 16)
        target.release()
        assert target.event.pid == process.pid
        assert len(states) == 3
        assert len(code) == 16
        assert list(target.notes) == []


def test_memory_is_cut_at_the_first_unreadable_byte(tmp_path: Path) -> None:
    source = """#include <sys/mman.h>
    #include <stdio.h>
    #include <string.h>
    #include <unistd.h>
    int main(void) { char c; char *p = mmap(0, 3 * 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      memset(p, 'm', 2 * 4096); munmap(p + 2 * 4096, 4096);
      printf("r%016lx", (unsigned long)p); fflush(stdout); return read(0, &c, 1); }"""
    with running([compile_c(tmp_path, "hole", source)]) as process:
        assert process.stdout is not None
        address = int(os.read(process.stdout.fileno(), 16), 16)
        target = LiveTarget.stop(process.pid)
        try:
            assert target.read(address + 100, 1 << 20) == b"m" * (2 * 4096 - 100)
            assert target.read(address + 10, 5000) == b"m" * 5000
            for bad in (0, address + 2 * 4096, 0xFFFFFFFFFF600000, 1 << 63, (1 << 64) - 1):
                assert target.read(bad, 100) == b""
        finally:
            target.release()
        assert target.read(address, 10) == b""  # released


def test_a_stopped_process_stays_stopped(threads: Path) -> None:
    with running([threads, "3"]) as process:
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        target = LiveTarget.stop(process.pid)
        assert len(target.threads()) == 4
        target.release()
        while state_of(process.pid) in "tR":  # on its way back into the stop
            os.sched_yield()
        assert state_of(process.pid) == "T"
        os.kill(process.pid, signal.SIGCONT)
        os.waitid(os.P_PID, process.pid, os.WCONTINUED)
        tell(process)
        expect(process, b"r")


def test_no_signal_is_lost_or_doubled(tmp_path: Path) -> None:
    source = r"""#include <signal.h>
    #include <stdio.h>
    #include <unistd.h>
    static volatile int count;
    static void on(int s) { count++; }
    int main(void) { struct sigaction a = {.sa_handler = on}; sigaction(SIGRTMIN, &a, 0);
      if (write(1, "r", 1) != 1) return 1;
      while (count < 500) ;
      printf("%d", count); fflush(stdout); pause(); return 0; }"""
    with running([compile_c(tmp_path, "count", source)]) as process:
        for _ in range(100):
            for _ in range(5):
                os.kill(process.pid, signal.SIGRTMIN)
            LiveTarget.stop(process.pid).release()
        expect(process, b"500")


def test_a_process_that_keeps_making_threads(tmp_path: Path) -> None:
    source = r"""#include <pthread.h>
    #include <unistd.h>
    static void *brief(void *arg) { return arg; }
    int main(void) { pthread_t t[4]; if (write(1, "r", 1) != 1) return 1;
      for (;;) { for (int i = 0; i < 4; i++) pthread_create(&t[i], 0, brief, 0);
                 for (int i = 0; i < 4; i++) pthread_join(t[i], 0); } }"""
    with running([compile_c(tmp_path, "brief", source)]) as process:
        for _ in range(30):
            target = LiveTarget.stop(process.pid)
            listed = {int(name) for name in os.listdir(f"/proc/{process.pid}/task")}
            held = {state.tid for state in target.threads()}
            running_still = {tid for tid in listed - held if state_of(tid) not in "ZX"}
            target.release()
            assert process.pid in held
            assert running_still == set()
            assert list(target.notes) == []


def test_a_parent_that_waits_in_vfork(tmp_path: Path) -> None:
    source = r"""#include <unistd.h>
    int main(void) { char c; if (vfork() == 0) {
        if (write(1, "r", 1) != 1 || read(0, &c, 1) != 1) _exit(1);
        _exit(0); }
      if (write(1, "x", 1) != 1) return 1; return read(0, &c, 1); }"""
    with running([compile_c(tmp_path, "vforks", source)]) as process:
        kernel = waiting(process.pid, SYSCALL_VFORK)
        target = LiveTarget.stop(process.pid)
        states = target.threads()
        target.release()
        assert [(state.registers["rsp"], state.registers["rip"]) for state in states] == [
            tuple(kernel[-2:])
        ]
        assert [note.stage for note in target.notes] == ["stop", "registers"]
        assert target.unreleased() == [process.pid]
        tell(process)
        target.release_late(20)
        assert target.unreleased() == []
        expect(process, b"x")


HOLDER = """
import sys, os, time
from usercrash.capture.live import LiveTarget
target = LiveTarget.stop(int(sys.argv[1]))
os.write(1, b"h")
time.sleep(1000)
"""


def test_the_target_runs_on_when_we_are_killed(threads: Path) -> None:
    with running([threads, "8"]) as process:
        command = [sys.executable, "-c", HOLDER, str(process.pid)]
        holder = subprocess.Popen(command, stdout=subprocess.PIPE)
        expect(holder, b"h")
        assert state_of(process.pid) == "t"
        with pytest.raises(UsercrashError) as caught:
            LiveTarget.stop(process.pid)
        assert f"is traced by process {holder.pid} (python" in str(caught.value)
        holder.kill()
        holder.wait()
        tell(process)
        expect(process, b"r")
        assert {state_of(int(t)) for t in os.listdir(f"/proc/{process.pid}/task")} <= {"S", "R"}


def test_an_error_on_the_way_lets_the_target_go(
    threads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(tid: int, kind: int) -> bytes:
        raise ptrace.PtraceError(ptrace.GETREGSET, tid, errno.EIO)

    with running([threads, "3"]) as process:
        monkeypatch.setattr(ptrace, "register_set", fail)
        with pytest.raises(UsercrashError):
            LiveTarget.stop(process.pid)
        tell(process)
        expect(process, b"r")


def test_its_own_process_is_refused() -> None:
    with pytest.raises(UsercrashError, match="this program itself"):
        LiveTarget.stop(os.getpid())


def test_a_zombie_is_refused_with_its_parent() -> None:
    process = subprocess.Popen(["/bin/true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    try:
        with pytest.raises(UsercrashError) as caught:
            LiveTarget.stop(process.pid)
        assert "is a zombie" in str(caught.value)
        assert f"parent {os.getpid()} (" in str(caught.value)
    finally:
        process.wait()
    with pytest.raises(UsercrashError, match="there is no process"):
        LiveTarget.stop(process.pid)


def test_descriptors_are_closed(threads: Path) -> None:
    with running([threads, "1"]) as process:
        before = os.listdir("/proc/self/fd")
        for _ in range(3):
            target = LiveTarget.stop(process.pid)
            target.read(target.threads()[0].registers["rsp"], 100)
            target.release()
            target.close()
            target.close()
        assert os.listdir("/proc/self/fd") == before


def test_the_time_of_the_event_is_now(threads: Path) -> None:
    with running([threads, "1"]) as process:
        before = time.time_ns()
        target = LiveTarget.stop(process.pid)
        target.release()
        assert before <= target.event.time_ns <= time.time_ns()
        assert target.event.start_ticks > 0
        assert target.event.signal == 0
