"""32-bit programs on a 64-bit kernel: their crashes through both entrances, and the kernel's own
cores of them, with gdb's frames; what they say of signals, system calls and registers."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.build import Built, build, programs
from tests.support.commands import environment, program, settings
from tests.support.compare import differences
from tests.support.kernel import Installation, analyze, full_core
from tests.support.oracle import eu_stack_frames, gdb_frames
from tests.support.spawn import compile_c, expect, running, tell
from tests.support.verdict import check_report, crashing, unexplained
from tests.support.waiting_threads import WAITING_THREADS

from usercrash.report import from_json

pytestmark = pytest.mark.usefixtures("needs_kernel", "needs_32_bits")

# (Debian has <asm/…> below the name of the 64-bit architecture only, but for gcc-multilib, which
# cannot be installed beside cross compilers.)
FLAGS = ("-m32", "-idirafter", "/usr/include/x86_64-linux-gnu")
CORES = [
    "null_chain/o2", "null_chain/stripped", "null_chain/frame-pointer-only", "worker/static",
    "handler/altstack", "passed_on/plain", "passed_on/full", "call_null",
    "overflow/worker", "uncaught", "seccomp",
]  # fmt: skip
PIPE = [
    "null_chain/debug-frame-only", "null_chain/static-stripped", "worker/debug",
    "handler/same-stack", "abort/dynamic", "double_free", "shared/debug", "sender",
]  # fmt: skip
SOCKET = ["null_chain/static-pie", "worker/debug", "handler/altstack", "assertion"]


# The kernel's frame for a handler without SA_SIGINFO tells only here which signal it was.
TOLD = {"passed_on/plain": {"cause": "null-pointer", "reason": "null-offset"}}


def built_for_32_bits(name: str) -> Built:
    program = programs()[name]
    other = {"id": f"{name}-m32", "flags": (*program.flags, *FLAGS), **TOLD.get(name, {})}
    return build(dataclasses.replace(program, **other))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CORES)
def test_frames_of_the_kernels_core(name: str, tmp_path: Path) -> None:
    built = built_for_32_bits(name)
    core = full_core(built, tmp_path)
    report = analyze(core)
    assert unexplained(built.program, report, gdb_frames(core, built.exe)) == []
    check_report(built.program, report)
    assert report.system.architecture == "i386"
    assert {"eip", "esp", "gs_base"} <= crashing(report).registers.keys()


@pytest.fixture(scope="module")
def installation(needs_kernel: None, needs_32_bits: None) -> Iterator[Installation]:
    with Installation() as place:
        place.start_server()
        yield place
        assert place.server_log == ""


def check_capture(name: str, installation: Installation, entrance: str) -> None:
    """A crash of the program through an entrance: our report and gdb on our core agree."""
    built = built_for_32_bits(name)
    with installation.receiving(entrance=entrance):
        crash = installation.crash(built)
    report = crash.report
    theirs = gdb_frames(crash.core, built.exe)
    assert unexplained(built.program, report, theirs) == []
    check_report(built.program, report)
    assert report.notes == []
    assert report.system.architecture == "i386"
    first = theirs[crashing(report).namespace_tid or crashing(report).tid]
    others = eu_stack_frames(crash.core, built.exe)[crashing(report).tid]
    assert [frame.pc for frame in others][:2] == [frame.pc for frame in first if frame.is_real][:2]


@pytest.mark.parametrize("name", PIPE)
def test_through_the_pipe(name: str, installation: Installation) -> None:
    check_capture(name, installation, "pipe")


@pytest.mark.parametrize("name", SOCKET)
def test_through_the_socket(name: str, installation: Installation, needs_socket: None) -> None:
    check_capture(name, installation, "socket")


def until_all_read(pid: int) -> None:
    """Until every thread waits in read(2), number 3 here."""
    for name in os.listdir(f"/proc/{pid}/task"):
        while not Path(f"/proc/{pid}/task/{name}/syscall").read_text().startswith("3 "):
            os.sched_yield()


def test_a_live_process_has_the_stacks_that_gdb_finds_in_it(tmp_path: Path) -> None:
    exe = compile_c(tmp_path, "waiting", WAITING_THREADS, "-DTHREADS=3", *FLAGS)
    core = tmp_path / "core"
    with running([exe]) as process:
        until_all_read(process.pid)
        done = subprocess.run(
            [*program("debugger"), str(process.pid), "--json", "--core", str(core),
             "--config", str(settings(tmp_path))],
            capture_output=True, env=environment(), check=True,
        )  # fmt: skip
        live = gdb_frames(Path(str(process.pid)), exe)
        tell(process)
        expect(process, b"r")
    report = from_json(done.stdout)
    assert (done.stderr, report.notes, report.system.architecture) == (b"", [], "i386")
    assert len(report.threads) == len(live) == 4
    ours = gdb_frames(core, exe)
    for thread in report.threads:
        assert differences(thread, live[thread.tid]) == []
        real = [(frame.pc, frame.name) for frame in live[thread.tid]]
        assert [(frame.pc, frame.name) for frame in ours[thread.tid]] == real
        names = [frame.function for frame in thread.frames]
        assert names[0] == "__kernel_vsyscall"
        assert "main" in names or "wait_here" in names
