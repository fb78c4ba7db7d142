"""Capture of processes that the real kernel dumps into a pipe."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
import zstandard
from tests.support.build import build, need, programs
from tests.support.dead_fuse import dead_fuse
from tests.support.held import FULL, SHORT, Captured, handler
from tests.support.mappings import many_mappings
from tests.support.oracle import Stacks, eu_stack_frames, gdb_frames
from tests.support.spawn import compile_c, running, tell

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


def test_32_bit_program_is_recorded(tmp_path: Path) -> None:
    source = "void _start(void) { *(volatile int *)0 = 1; }"
    flags = ("-m32", "-nostdlib", "-static", "-ffreestanding", "-fno-pic", "-fno-pie", "-no-pie")
    exe = compile_c(tmp_path, "narrow", source, *flags)
    with handler(tmp_path) as held:
        assert held.crash([exe]) == -signal.SIGSEGV
        got = held.result("narrow")
    assert (got.machine, got.elf_class, got.proved, len(got.threads)) == (3, 1, True, 1)
    assert got.facts["exe"] == str(exe)
    assert got.notes == []
    assert got.core.read_bytes()[:5] == b"\x7fELF\x01"


def test_hostile_name_and_long_strings(tmp_path: Path) -> None:
    exe = compile_c(
        tmp_path,
        "hostile",
        r"""
        #include <sys/prctl.h>
        int main(void) {
            prctl(PR_SET_NAME, "a) R 1\nUid:\t0");
            *(volatile int *)0 = 1;
        }
        """,
    )
    with handler(tmp_path, ids="%p %s") as held:
        held.crash([exe, *["x" * 100_000] * 20])
        got = held.result("hostile")
    assert got.facts["comm"] == "a) R 1\nUid:\t0\n"
    assert len(got.facts["cmdline"]) == 128 << 10
    assert any("cmdline" in what for _, what, _ in got.notes)
    assert got.start_ticks > 0
    assert "\nUid:\t0" not in got.text


def test_five_thousand_descriptors(tmp_path: Path) -> None:
    exe = compile_c(
        tmp_path,
        "many",
        """
        #include <fcntl.h>
        #include <sys/resource.h>
        int main(void) {
            struct rlimit limit = {6000, 6000};
            setrlimit(RLIMIT_NOFILE, &limit);
            for (int i = 0; i < 5500; i++) open("/dev/null", 0);
            *(volatile int *)0 = 1;
        }
        """,
    )
    with handler(tmp_path) as held:
        held.crash([exe])
        got = held.result("many")
    assert sum(name.startswith("fd/") for name in got.facts) == 5000
    assert [what for stage, what, _ in got.notes if stage == "open files"] == [
        "503 of 5503 open files"
    ]


def test_seventy_thousand_mappings(tmp_path: Path) -> None:
    exe = compile_c(
        tmp_path,
        "mappings",
        """
        #include <sys/mman.h>
        int main(void) {
            for (int i = 0; i < 32000; i++)  /* every other page: none can be joined */
                if (mmap((void *)(0x100000000 + i * 8192L), 4096, i % 2 ? 1 : 3,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) return 1;
            for (int i = 0; i < 33000; i++)
                if (mmap((void *)(0x200000000 + i * 8192L), 4096, 3,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) break;
            *(volatile int *)0 = 1;
        }
        """,
    )
    with many_mappings(), handler(tmp_path) as held:
        assert held.crash([exe]) == -signal.SIGSEGV
        got = held.result("mappings")
    assert got.proved and len(got.threads) == 1
    assert got.facts["maps"].count("\n") > 65_000


def test_thousand_threads(tmp_path: Path) -> None:
    built = build(programs()["thousand"])
    with handler(tmp_path, "tee") as held:
        held.crash(built.argv)
        got = held.result(built.exe.name)
    assert len(got.threads) == 1000 and got.notes == []
    full, mini = gdb_frames(got.full, built.exe), gdb_frames(got.core, built.exe)
    assert names(mini) == names(full)


def test_memory_that_would_hang_is_left_out(tmp_path: Path) -> None:
    """userfaultfd: pages whose handler stands still, the command line's among them. Whether a
    read of one comes back (with an error) depends on the kernel."""
    exe = compile_c(
        tmp_path,
        "faulting",
        r"""
        #define _GNU_SOURCE
        #include <fcntl.h>
        #include <linux/userfaultfd.h>
        #include <string.h>
        #include <sys/ioctl.h>
        #include <sys/mman.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        int main(int argc, char **argv) {
            char *page = mmap(0, 1 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            int fd = syscall(SYS_userfaultfd, O_CLOEXEC);
            struct uffdio_api api = {.api = UFFD_API};
            if (fd < 0 || ioctl(fd, UFFDIO_API, &api)) return 1;
            struct uffdio_register range = {{(long)page, 1 << 20}, UFFDIO_REGISTER_MODE_MISSING, 0};
            if (ioctl(fd, UFFDIO_REGISTER, &range)) return 2;
            /* the pages of the command line, too: /proc would read them */
            char *args = (char *)((long)argv[0] & -4096);
            if (madvise(args, 4096, MADV_DONTNEED)) return 4;
            struct uffdio_register strings = {{(long)args, 4096}, UFFDIO_REGISTER_MODE_MISSING, 0};
            if (ioctl(fd, UFFDIO_REGISTER, &strings)) return 3;
            register char *held asm("rbx") = page + 4096;
            asm volatile("movl $1, 0" : : "r"(held));
        }
        """,
    )
    with handler(tmp_path) as held:
        process = held.start([exe, "a" * 8000])
        try:
            assert process.wait(30) == -signal.SIGSEGV
        finally:
            process.kill()
        got = held.result("faulting")
    assert got.proved
    assert any("cmdline" in what for _, what, _ in got.notes)


def test_a_file_system_that_never_answers(tmp_path: Path) -> None:
    """An ELF file on FUSE: its first page is in memory, registers point at others. Reading
    those, or opening the file, would never return."""
    if not Path("/dev/fuse").exists():
        pytest.skip("this kernel has no FUSE")
    exe = compile_c(
        tmp_path,
        "remote",
        r"""
        #include <fcntl.h>
        #include <sys/mman.h>
        #include <unistd.h>
        int main(int argc, char **argv) {
            int fd = open(argv[1], O_RDONLY);
            char *file = mmap(0, 64 << 12, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
            if (file == MAP_FAILED || file[1] != 'E') return 1;
            char byte;
            write(1, "r", 1);
            read(0, &byte, 1);
            register char *far asm("rbx") = file + (32 << 12);
            asm volatile("movl $1, 0" : : "r"(far));
        }
        """,
    )
    place = tmp_path / "mount"
    place.mkdir()
    content = b"\x7fELF\2\1\1".ljust(64 << 12, b"x")
    with (
        dead_fuse(place, content) as server,
        handler(tmp_path) as held,
        running([exe, place / "library.so"]) as process,
    ):
        server.silence()
        tell(process)
        assert process.wait(30) == -signal.SIGSEGV
        got = held.result("remote")
        assert server.unanswered == []
    assert got.proved
    assert (str(place / "library.so"), False, 0, 2) in got.files
    assert [why for _, what, why in got.notes if "library.so" in what] == [
        "its file system (fuse) may not answer"
    ]


def test_file_descriptors_of_a_deleted_program(tmp_path: Path) -> None:
    exe = compile_c(
        tmp_path,
        "gone",
        """
        #include <unistd.h>
        int main(int argc, char **argv) { unlink(argv[0]); *(volatile int *)0 = 1; }
        """,
    )
    inode = os.stat(exe).st_ino
    with handler(tmp_path) as held:
        held.crash([exe])
        got = held.result("gone")
    assert (str(exe), True, inode, inode) in got.files
