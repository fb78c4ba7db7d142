"""debugger PID, as a user runs it, on real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.commands import environment, program, settings
from tests.support.compare import plain_name
from tests.support.oracle import eu_stack_frames, gdb_frames
from tests.support.spawn import compile_c, expect, running, state_of, tell
from tests.support.waiting_threads import WAITING_THREADS

SECONDS = 60


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_c(tmp_path_factory.mktemp("debugger"), "workers", WAITING_THREADS, "-DTHREADS=8")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return settings(tmp_path)


def debugger(*words: str | int | Path, **options: object) -> subprocess.CompletedProcess[bytes]:
    command = [*program("debugger"), *map(str, words)]
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        command, capture_output=True, timeout=SECONDS, env=environment(), **options
    )


def one_line(done: subprocess.CompletedProcess[bytes]) -> str:
    """What it said on standard error: one line with its name, and nothing on standard output."""
    assert done.stdout == b""
    text = done.stderr.decode()
    assert text.startswith("debugger: ")
    assert text.count("\n") == 1
    return text


def wait_for_reads(pid: int) -> None:
    """Until every thread waits in read(2)."""
    for name in os.listdir(f"/proc/{pid}/task"):
        while not Path(f"/proc/{pid}/task/{name}/syscall").read_text().startswith("0 "):
            os.sched_yield()


def test_a_report_as_text(workers: Path, config: Path) -> None:
    with running([workers]) as process:
        done = debugger(process.pid, "--config", config)
        assert (done.returncode, done.stderr) == (0, b"")
        text = done.stdout.decode()
        for word in ("workers", "wait_here", "main", "libc.so.6", str(process.pid)):
            assert word in text
        assert "\x1b" not in text
        tell(process)
        expect(process, b"r")


def test_a_report_as_json_has_every_thread(workers: Path, config: Path) -> None:
    with running([workers]) as process:
        wait_for_reads(process.pid)
        done = debugger(process.pid, "--json", "--config", config)
        assert (done.returncode, done.stderr) == (0, b"")
        report = json.loads(done.stdout)
        assert report["event"]["source"] == "debugger"
        assert report["process"]["pid"] == process.pid
        assert len(report["threads"]) == 9
        assert not any(thread["crashed"] for thread in report["threads"])
        assert report["threads"][0]["tid"] == process.pid
        others = [[frame["function"] for frame in t["frames"]] for t in report["threads"][1:]]
        assert all("wait_here" in names and "work" in names for names in others)


def test_stacks_only(workers: Path, config: Path) -> None:
    with running([workers]) as process:
        done = debugger(process.pid, "--backtrace", "--config", config)
        assert (done.returncode, done.stderr) == (0, b"")
        text = done.stdout.decode()
        assert "wait_here" in text
        assert "rip" not in text.lower().split()
        assert len(text) < len(debugger(process.pid, "--config", config).stdout) / 2


def test_output_files(workers: Path, config: Path, tmp_path: Path) -> None:
    with running([workers]) as process:
        report, core = tmp_path / "report", tmp_path / "core"
        report.write_text("old")
        done = debugger(process.pid, "--json", "-o", report, "--core", core, "--config", config)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert json.loads(report.read_bytes())["process"]["pid"] == process.pid
        assert core.read_bytes()[:4] == b"\x7fELF"
        assert [path.stat().st_mode & 0o777 for path in (report, core)] == [0o600] * 2
        assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]


def test_the_core_gives_other_debuggers_the_frames(
    workers: Path, config: Path, tmp_path: Path
) -> None:
    core = tmp_path / "core"
    with running([workers]) as process:
        wait_for_reads(process.pid)
        tids = {int(name) for name in os.listdir(f"/proc/{process.pid}/task")}
        full = tmp_path / "gcore"
        subprocess.run(["gcore", "-o", full, str(process.pid)], capture_output=True, check=True)
        assert debugger(process.pid, "--core", core, "--config", config).returncode == 0
        full = tmp_path / f"gcore.{process.pid}"
        ours, theirs = gdb_frames(core, workers), gdb_frames(full, workers)
        assert set(ours) == set(theirs) == tids
        for tid in tids:
            assert [(f.pc, f.name) for f in ours[tid]] == [(f.pc, f.name) for f in theirs[tid]]
        elfutils = eu_stack_frames(core, workers)
        assert set(elfutils) == tids
        for tid, frames in elfutils.items():
            names = [plain_name(frame.name) for frame in frames]
            assert "wait_here" in names or tid == process.pid


@pytest.mark.parametrize(
    ("word", "status", "said"),
    [
        ("1;x", 2, "'1;x' is not a process id"),
        ("-1", 2, "'-1' is not a process id"),
        ("0", 2, "'0' is not a process id"),
        ("+5", 2, "'+5' is not a process id"),
        ("", 2, "'' is not a process id"),
        ("1 ", 2, "'1 ' is not a process id"),
        ("0x1", 2, "'0x1' is not a process id"),
        ("\N{ARABIC-INDIC DIGIT ONE}", 2, "is not a process id"),
        ("\N{SUPERSCRIPT TWO}", 2, "is not a process id"),
        ("1\x1b[31m", 2, "'1\\x1b[31m' is not a process id"),
        ("--frobnicate", 2, "no such option: --frobnicate"),
        ("4194305", 1, "there is no process 4194305"),
        ("99999999999999999999", 1, "there is no process 99999999999999999999"),
        ("9" * 5000, 1, "there is no process 9999"),
    ],
)
def test_what_is_no_process(word: str, status: int, said: str, config: Path) -> None:
    done = debugger("--config", config, word)
    assert said in one_line(done)
    assert done.returncode == status


def test_a_thread_of_the_kernel(config: Path) -> None:
    if not Path("/proc/2/comm").exists() or Path("/proc/2/comm").read_text() != "kthreadd\n":
        pytest.skip("in this pid namespace no thread of the kernel is to be seen")
    done = debugger(2, "--config", config)
    assert "process 2 (kthreadd) is a thread of the kernel" in one_line(done)
    assert done.returncode == 1


def test_no_argument_and_too_many(config: Path) -> None:
    assert "Missing argument 'PID'" in one_line(debugger())
    assert "unexpected extra argument" in one_line(debugger(1, 2))
    assert "exclude each other" in one_line(debugger(1, "--json", "--backtrace"))


def test_a_process_that_has_ended(config: Path) -> None:
    process = subprocess.Popen(["/bin/true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    line = one_line(debugger(process.pid, "--config", config))
    assert f"process {process.pid} (true) is a zombie: it has ended" in line
    assert f"its parent {os.getpid()} (" in line
    process.wait()
    line = one_line(debugger(process.pid, "--config", config))
    assert line == f"debugger: there is no process {process.pid}\n"


def test_debugger_itself(config: Path) -> None:
    command = [*program("debugger"), "--config", str(config)]
    script = 'exec "$@" $$'
    done = subprocess.run(["/bin/sh", "-c", script, "sh", *command], capture_output=True)
    assert "is this program itself" in one_line(done)
    assert done.returncode == 1


HOLDER = """
import os, sys, time
from usercrash.capture import ptrace
ptrace.seize(int(sys.argv[1]))
os.write(1, b"h")
time.sleep(1000)
"""


def test_a_process_that_another_traces_is_named(workers: Path, config: Path) -> None:
    with running([workers]) as process:
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(process.pid)], stdout=subprocess.PIPE
        )
        try:
            expect(holder, b"h")
            done = debugger(process.pid, "--config", config)
            comm = Path(f"/proc/{holder.pid}/comm").read_text().strip()
            assert f"is traced by process {holder.pid} ({comm})" in one_line(done)
            assert done.returncode == 1
        finally:
            holder.kill()
            holder.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_users_process(workers: Path, config: Path) -> None:
    with running([workers]) as process:
        done = debugger(process.pid, user=65534, group=65534, extra_groups=[], cwd="/")
        assert "belongs to user 0, and you are user 65534 (try it as root)" in one_line(done)
        assert done.returncode == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_users_own_process_needs_no_root(tmp_path: Path) -> None:
    place = Path("/tmp")
    child = subprocess.Popen(
        ["/bin/sh", "-c", "printf r; read line; read line"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, user=65534, group=65534, extra_groups=[],
        cwd=place,
    )  # fmt: skip
    try:
        expect(child, b"r")
        done = debugger(child.pid, "--json", user=65534, group=65534, extra_groups=[], cwd=place)
        assert (done.returncode, done.stderr) == (0, b"")
        assert json.loads(done.stdout)["process"]["uid"] == 65534
    finally:
        child.kill()
        child.wait()


def test_a_thread_is_reported_with_its_process(workers: Path, config: Path) -> None:
    with running([workers]) as process:
        tid = max(int(name) for name in os.listdir(f"/proc/{process.pid}/task"))
        done = debugger(tid, "--json", "--config", config)
        assert done.returncode == 0
        said = done.stderr.decode()
        assert said == f"debugger: {tid} is a thread of process {process.pid}; it comes first\n"
        report = json.loads(done.stdout)
        assert (report["process"]["pid"], report["threads"][0]["tid"]) == (process.pid, tid)


@pytest.mark.parametrize("option", ["-o", "--core"])
def test_files_that_cannot_be_written(
    option: str, workers: Path, config: Path, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    canary.write_text("untouched")
    link, place = tmp_path / "link", tmp_path / "place"
    link.symlink_to(canary)
    place.mkdir()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    cases = {
        tmp_path / "absent" / "file": "No such file or directory",
        canary / "file": "Not a directory",
        place: "is a directory",
        link: "is a symbolic link, and is not followed",
        fifo: "is not a regular file",
        Path("/dev/null"): "is not a regular file",
        Path("/proc/file"): "",
        tmp_path / ("n" * 300): "File name too long",
    }
    with running([workers]) as process:
        for path, why in cases.items():
            done = debugger(process.pid, option, path, "--config", config)
            line = one_line(done)
            assert f"cannot write '{path}'" in line
            assert why in line
            assert done.returncode == 1
    assert canary.read_text() == "untouched"
    assert link.is_symlink()
    assert Path("/dev/null").is_char_device()
    assert sorted(os.listdir(tmp_path)) == ["canary", "fifo", "link", "place", "usercrash.toml"]


def test_the_target_runs_on_when_debugger_is_killed_while_it_holds_it(
    workers: Path, config: Path
) -> None:
    with running([workers]) as process:
        for _ in range(10):
            child = subprocess.Popen(
                [*program("debugger"), str(process.pid), "--config", str(config)],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            while state_of(process.pid) != "t" and child.poll() is None:
                pass
            child.kill()
            child.wait()
            tell(process)
            expect(process, b"r")
        states = {state_of(int(tid)) for tid in os.listdir(f"/proc/{process.pid}/task")}
        assert states <= {"S", "R"}


def test_a_stopped_process_stays_stopped(workers: Path, config: Path) -> None:
    with running([workers]) as process:
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        assert debugger(process.pid, "--config", config).returncode == 0
        assert state_of(process.pid) == "T"


def test_the_pause_is_in_the_report(workers: Path, config: Path, tmp_path: Path) -> None:
    with running([workers]) as process:
        core = tmp_path / "core"
        assert debugger(process.pid, "--core", core, "--config", config).returncode == 0
        found = re.search(rb"@stop_ns(\d+)", core.read_bytes())
        assert found is not None
        assert int(found[1]) > 0
