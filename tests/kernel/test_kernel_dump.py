"""Capture of processes that the real kernel dumps into a pipe."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest
import zstandard
from tests.support.build import build, need, programs
from tests.support.held import FULL, SHORT, Captured, handler
from tests.support.oracle import Stacks, eu_stack_frames, gdb_frames
from tests.support.spawn import compile_c

pytestmark = pytest.mark.usefixtures("needs_kernel")

NINE = """
#include <pthread.h>
#include <unistd.h>
#include <stdlib.h>
#include <string.h>
static int pipes[2];
__attribute__((noinline)) void wait_here(int n) {
    char text[256];
    memset(text, n, sizeof text);
    write(pipes[1], text, 1);
    pause();
    asm volatile("" : : "r"(text) : "memory");
}
static void *work(void *n) { wait_here((long)n); return n; }
#define KEEP __attribute__((noinline))
KEEP int fault_here(int *p) { int v = *p; asm volatile("" : "+r"(v)); return v; }
KEEP int on_the_way(int *p) { return fault_here(p) + 1; }
int main(int argc, char **argv) {
    long size = (argc > 1 ? atol(argv[1]) : 10) << 20;
    memset(malloc(size), 1, size);
    pipe(pipes);
    for (long i = 0; i < 8; i++) {
        pthread_t thread;
        if (pthread_create(&thread, 0, work, (void *)i)) return 3;
    }
    for (int i = 0; i < 8; i++) { char c; read(pipes[0], &c, 1); }
    return on_the_way((int *)8) + 1;
}
"""


def names(stacks: Stacks) -> dict[int, list[tuple[int, str | None]]]:
    return {tid: [(frame.pc, frame.name) for frame in frames] for tid, frames in stacks.items()}


def assert_same_frames(captured: Captured, exe: Path) -> None:
    """gdb, lldb and eu-stack say of the minicore what they say of the kernel's core."""
    for oracle in (gdb_frames, eu_stack_frames):
        expected = names(oracle(captured.full, exe))
        assert expected and names(oracle(captured.core, exe)) == expected, oracle.__name__
    assert lldb_lines(captured.core, exe) == lldb_lines(captured.full, exe)


def lldb_lines(core: Path, exe: Path) -> list[str]:
    """lldb's threads and frames, as it prints them, without arguments."""
    done = subprocess.run(
        [need("lldb", "lldb"), "--batch", "--no-lldbinit", "-o", "bt all", "-c", core, exe],
        capture_output=True, text=True, errors="replace", check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    lines = [line for line in done.stdout.split("\n") if " thread #" in line or "frame #" in line]
    assert lines, done.stdout + done.stderr
    return [re.sub(r"\(.*\)", "", line) for line in lines]


def test_nine_threads(tmp_path: Path) -> None:
    exe = compile_c(tmp_path, "nine", NINE)
    with handler(tmp_path, "tee") as held:
        assert held.crash([exe, "10", "two words"]) == -signal.SIGSEGV
        got = held.result("nine")
    assert (got.signal, got.proved, got.machine, got.elf_class) == (11, True, 62, 2)
    assert got.notes == []
    assert len(got.threads) == 9 and got.threads[0] == [got.tid, got.tid]
    assert got.facts["cmdline"] == f"{exe}\0" + "10\0two words\0"
    assert got.facts["environ"] == "GREETING=hello\0"
    assert got.facts["exe"] == str(exe) and got.facts["cwd"] == "/"
    assert {f"task/{tid}/comm" for _, tid in got.threads} <= set(got.facts)
    assert got.start_ticks > 0
    files = {path: (opened, ours == theirs) for path, opened, ours, theirs in got.files}
    assert files[str(exe)] == (True, True)
    assert any("libc.so" in path for path in files) and all(opened for opened, _ in files.values())
    assert len(zstandard.compress(got.core.read_bytes(), 3)) <= 64 << 10
    assert_same_frames(got, exe)


@pytest.mark.parametrize(
    "program",
    [
        "abort/dynamic", "abort/static", "assertion", "call_null", "call_garbage/heap",
        "double_free", "forked", "handler/same-stack", "handler/altstack", "null_chain/nopie",
        "null_chain/static", "null_chain/static-pie", "python_ctypes", "shared/debug", "uncaught",
        "vfork", "worker/debug", "zombie_leader",
    ],
)  # fmt: skip
def test_frames_of_the_full_core(program: str, tmp_path: Path) -> None:
    built = build(programs()[program])
    with handler(tmp_path, "tee") as held:
        held.crash(built.argv)
        got = held.result(built.exe.name)
    assert got.proved and got.notes == []
    assert_same_frames(got, built.exe)


@pytest.mark.parametrize("program", ["overflow/main", "overflow/worker"])
def test_stack_of_an_overflow(program: str, tmp_path: Path) -> None:
    """The stack pointer is below the stack, the whole of which is kept."""
    built = build(programs()[program])
    with handler(tmp_path, "tee") as held:
        held.crash(built.argv)
        got = held.result(built.exe.name)
    assert got.proved and got.notes == []
    full = gdb_frames(got.full, built.exe)
    assert names(gdb_frames(got.core, built.exe)) == names(full)
    assert len(full[got.tid]) > 10_000


def test_zombie_leader_is_read_through_its_thread(tmp_path: Path) -> None:
    built = build(programs()["zombie_leader"])
    with handler(tmp_path) as held:
        held.crash(built.argv)
        got = held.result(built.exe.name)
    assert got.pid != got.tid and got.notes == []
    assert got.facts["maps"] and got.facts["exe"] == str(built.exe)
    assert "VmRSS" in got.facts["status"]
    assert all(opened for _, opened, _, _ in got.files) and len(got.files) >= 3


def test_number_of_another_namespace_is_resolved(tmp_path: Path) -> None:
    exe = compile_c(tmp_path, "inside", NINE)
    with handler(tmp_path, ids=SHORT) as held:
        held.crash(["unshare", "-fp", exe])
        got = held.result("inside")
    assert got.given == 1 and got.pid > 1 and got.proved
    assert got.facts["exe"] == str(exe)
    assert len({host for _, host in got.threads}) == len(got.threads) == 9
    assert all(host > own for own, host in got.threads)
    assert got.threads[0][1] == got.tid
    assert [note[0] for note in got.notes] == ["process"]
    assert "another pid namespace" in got.notes[0][2]


TWINS = """
#define _GNU_SOURCE
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>
#define KEEP __attribute__((noinline))
KEEP void fault(void) { *(volatile int *)8 = 1; }
KEEP void deeper(void) { fault(); asm volatile(""); }
int main(int argc, char **argv) {
    for (int i = 0; i < 2; i++) {
        if (fork()) continue;
        unshare(CLONE_NEWPID);
        if (fork()) break;
        if (i && argc > 1) deeper();
        fault();
    }
    while (wait(0) > 0) ;
}
"""


def twins(tmp_path: Path, *arguments: str) -> tuple[Captured, Captured]:
    """Two forks of one process that crash at once in two namespaces: both are process 1 there,
    and share the executable and the auxiliary vector."""
    exe = compile_c(tmp_path, "twin", TWINS, "-fno-optimize-sibling-calls")
    with handler(tmp_path, "before+during", ids=SHORT) as held:
        process = held.start([exe, *arguments])
        held.wait_stopped(2)
        held.go_on("before")
        held.wait_stopped(4)
        held.go_on("during")
        process.wait(60)
        return held.result("twin"), held.result("twin")


def test_twins_that_differ_in_their_registers(tmp_path: Path) -> None:
    first, second = twins(tmp_path, "differ")
    assert first.proved and second.proved and first.pid != second.pid
    assert first.given == second.given == 1


def test_twins_that_cannot_be_told_apart_are_not_read(tmp_path: Path) -> None:
    for got in twins(tmp_path):
        assert not got.proved and "maps" not in got.facts and got.loads == []
        assert any("several processes" in why for _, _, why in got.notes)
        assert len(got.threads) == 1


def test_killed_before_it_is_read(tmp_path: Path) -> None:
    exe = compile_c(tmp_path, "killed", NINE)
    with handler(tmp_path, "before") as held:
        process = held.start([exe])
        held.wait_stopped()
        process.kill()
        process.wait(60)
        held.go_on("before")
        got = held.result("killed")
    assert not got.proved and got.pid == process.pid
    assert not any(name in got.facts for name in ("maps", "status", "cmdline"))
    assert any("killed" in why for _, _, why in got.notes)


def test_killed_while_it_is_read(tmp_path: Path) -> None:
    exe = compile_c(tmp_path, "killed", NINE)
    with handler(tmp_path, "during") as held:
        process = held.start([exe])
        held.wait_stopped()
        process.kill()
        process.wait(60)
        held.go_on("during")
        got = held.result("killed")
    assert got.proved and len(got.threads) == 9
    assert "maps" not in got.facts
    assert got.notes


def with_pid(pid: int, command: list[str | Path]) -> subprocess.Popen[bytes]:
    """A process with this very number, which must be free."""
    for _ in range(1000):
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        if process.pid == pid:
            return process
        process.kill()
        process.communicate()
    raise RuntimeError(f"process number {pid} is not to be had")


@pytest.mark.parametrize("ids", [FULL, SHORT])
@pytest.mark.parametrize("stage", ["before", "during"])
def test_number_given_to_another_process(stage: str, ids: str, tmp_path: Path) -> None:
    """Killed while the collector stands still; its number then belongs to somebody else."""
    exe = compile_c(tmp_path, "killed", NINE)
    with handler(tmp_path, stage, ids) as held:
        process = held.start([exe])
        held.wait_stopped()
        process.kill()
        process.wait(60)
        other = with_pid(process.pid, ["cat", "/dev/fd/0", "canary"])
        try:
            held.go_on(stage)
            got = held.result("killed")
        finally:
            other.communicate()
    assert got.given == other.pid
    assert got.proved == (stage == "during")
    for words in (*got.facts.values(), got.text, got.core.read_bytes().decode("latin-1")):
        assert "canary" not in words and "/cat" not in words
    assert not {"maps", "cmdline", "environ", "exe", "status"} & set(got.facts)
    assert got.loads == [] and got.files == []
    assert got.notes


def test_short_ids_of_our_own_namespace(tmp_path: Path) -> None:
    exe = compile_c(tmp_path, "plain", NINE)
    with handler(tmp_path, ids=SHORT) as held:
        held.crash([exe])
        got = held.result("plain")
    assert got.proved and got.pid == got.given and got.notes == []


def test_thousand_threads(tmp_path: Path) -> None:
    built = build(programs()["thousand"])
    with handler(tmp_path, "tee") as held:
        held.crash(built.argv)
        got = held.result(built.exe.name)
    assert len(got.threads) == 1000 and got.notes == []
    full, mini = gdb_frames(got.full, built.exe), gdb_frames(got.core, built.exe)
    assert names(mini) == names(full)
