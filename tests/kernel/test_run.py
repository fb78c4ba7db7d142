"""usercrash run, as a user runs it: the program must not notice, and no crash is missed."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.support.commands import environment, program, settings
from tests.support.spawn import compile_c, expect, tell

SECONDS = 60.0

CRASHES = Path(__file__).with_name("run_modes.c").read_text()


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


def command(place: Path, *words: str | Path, options: Sequence[str] = ()) -> list[str]:
    config = str(place.parent / "usercrash.toml")
    front = [*program("cli"), "--config", config, "run", *options, "--"]
    return [*front, *map(str, words)]


def run(
    place: Path, *words: str | Path, options: Sequence[str] = (), given: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command(place, *words, options=options), cwd=place, env=environment(), input=given,
        capture_output=True, timeout=SECONDS, check=False,
    )  # fmt: skip


def reports(place: Path) -> list[dict[str, object]]:
    """The JSON of all reports in the directory, by number."""
    return [json.loads(path.read_bytes()) for path in sorted(place.glob("usercrash_??.json"))]


def names(report: dict[str, object]) -> list[str]:
    """The functions of the crashing thread's stack."""
    threads = report["threads"]
    assert isinstance(threads, list)
    assert [thread["crashed"] for thread in threads].count(True) == 1
    assert threads[0]["crashed"]
    return [frame["function"] for frame in threads[0]["frames"]]


# -- the program does not notice ------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["true"], 0),
        (["false"], 1),
        (["sh", "-c", "exit 255"], 255),
        (["sh", "-c", "kill -TERM $$"], 128 + 15),
        (["sh", "-c", "kill -KILL $$"], 128 + 9),
        (["sh", "-c", "kill -HUP $$"], 128 + 1),
    ],
)
def test_the_exit_status(words: list[str], status: int, place: Path) -> None:
    done = run(place, *words)
    assert (done.returncode, done.stdout, done.stderr) == (status, b"", b"")
    assert os.listdir(place) == []


def test_what_cannot_be_executed(place: Path) -> None:
    plain = place / "plain"
    plain.write_text("text\n")
    cases = {
        "no-such-program": (127, "No such file or directory"),
        "./absent": (127, "No such file or directory"),
        "./plain/below": (127, "Not a directory"),
        "./plain": (126, "Permission denied"),
        "/": (126, "Permission denied"),
    }
    for word, (status, why) in cases.items():
        done = run(place, word)
        assert (done.returncode, done.stdout) == (status, b"")
        assert done.stderr.decode() == f"usercrash: {word}: {why}\n"


def test_a_script_without_a_first_line_is_for_the_shell(place: Path) -> None:
    script = place / "script"
    script.write_text('printf "%s|" "$@"\n')
    script.chmod(0o755)
    assert run(place, "./script", "a b", "--", "-x").stdout == b"a b|--|-x|"


def test_wrong_usage(place: Path) -> None:
    config = str(place.parent / "usercrash.toml")
    for words, said in (
        ([], "Missing argument"),
        (["--frobnicate", "true"], "No such option"),
        (["--dir", "/nonexistent", "true"], "--dir /nonexistent: not a directory"),
    ):
        front = [*program("cli"), "--config", config, "run", *words]
        done = subprocess.run(front, capture_output=True, timeout=SECONDS, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith(b"usercrash: ")
        assert said in done.stderr.decode()
        assert done.stderr.count(b"\n") == 1


def test_the_streams_are_untouched(place: Path) -> None:
    data = os.urandom(1 << 20)
    script = "cat; echo to-stderr >&2"
    done = run(place, "sh", "-c", script, given=data)
    assert done.stdout == data
    assert done.stderr == b"to-stderr\n"


def test_the_program_inherits_what_it_would_without_us(place: Path) -> None:
    script = (
        "import os, json, signal\n"
        "status = open('/proc/self/status').read().split('\\n')\n"
        "keep = [line for line in status if line.startswith(('Sig', 'Umask', 'NoNew'))]\n"
        "fds = sorted(os.listdir('/proc/self/fd'))\n"
        "print(json.dumps([keep, fds, os.getcwd(), sorted(os.environ.items())]))\n"
    )
    reader, writer = os.pipe()
    seen = []
    for words in (
        [sys.executable, "-c", script],
        command(place, sys.executable, "-c", script),
    ):
        done = subprocess.run(
            ["sh", "-c", 'trap "" INT USR2; exec "$@"', "sh", *words], cwd=place, check=True,
            env=environment(), capture_output=True, pass_fds=[writer], stdin=subprocess.DEVNULL,
        )  # fmt: skip
        seen.append(json.loads(done.stdout))
    os.close(reader)
    os.close(writer)
    assert seen[0] == seen[1]


def test_a_pipe_that_nobody_reads_ends_the_program(place: Path) -> None:
    script = "yes | head -n 1; echo ${PIPESTATUS[0]}"
    assert run(place, "bash", "-c", script).stdout == b"y\n141\n"


def test_nobody_but_the_program_holds_its_pipes(place: Path) -> None:
    child = subprocess.Popen(
        command(place, "sh", "-c", "exec 1>&-; read line"), cwd=place, env=environment(),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.read() == b""  # ends while the program still runs
    assert child.poll() is None
    tell(child, b"\n")
    assert child.wait(SECONDS) == 0


def test_faults_that_the_program_handles_are_its_own(crashes: Path, place: Path) -> None:
    done = run(place, crashes, "handled")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"3000\n", b"")
    done = run(place, crashes, "ignores")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"still here\n", b"")
    assert os.listdir(place) == []


def test_a_thousand_children(crashes: Path, place: Path) -> None:
    done = run(place, crashes, "many")
    assert (done.returncode, done.stderr) == (0, b"")


# -- crashes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "status", "number", "threads"),
    [
        ("segv", 128 + 11, 11, 1),
        ("abort", 128 + 6, 6, 1),
        ("threads", 128 + 11, 11, 9),
        ("worker", 128 + 11, 11, 10),
        ("together", 128 + 11, 11, 9),
        ("fork", 100 + 11, 11, 1),
        ("vfork", 100 + 11, 11, 1),
        ("exec", 128 + 11, 11, 1),
        ("exec_in_thread", 128 + 11, 11, 1),
        ("blocked", 128 + 11, 11, 1),
        ("ignored", 128 + 11, 11, 1),
        ("no_room", 128 + 11, 11, 1),
        ("seccomp", 128 + 31, 31, 1),
    ],
)
def test_a_crash(
    mode: str, status: int, number: int, threads: int, crashes: Path, place: Path
) -> None:
    done = run(place, crashes, mode)
    assert (done.returncode, done.stdout) == (status, b"")
    assert sorted(os.listdir(place)) == [
        "usercrash_00", "usercrash_00.core.zst", "usercrash_00.json",
    ]  # fmt: skip
    (report,) = reports(place)
    assert report["event"]["source"] == "run"  # type: ignore[index]
    assert report["signal"]["number"] == number  # type: ignore[index]
    assert len(report["threads"]) == threads  # type: ignore[arg-type]
    found = names(report)
    if number == signal.SIGSEGV and mode != "no_room":
        assert found[0] == "fault_here"
    else:
        assert "main" in found
    said = done.stderr.decode()
    pid = report["process"]["pid"]  # type: ignore[index]
    name = signal.Signals(number).name
    assert said.endswith(f"crashes[{pid}] died of {name}, report: {place}/usercrash_00\n")
    assert name in said.split("\n")[0] or "crashes" in said


@pytest.mark.parametrize("mode", ["segv", "worker", "seccomp"])
def test_a_crash_of_a_32_bit_program(mode: str, place: Path, needs_32_bits: None) -> None:
    flags = ("-w", "-m32", "-idirafter", "/usr/include/x86_64-linux-gnu")
    exe = compile_c(place.parent, "crashes", CRASHES, *flags)
    run(place, exe, mode)
    (report,) = reports(place)
    assert report["system"]["architecture"] == "i386"  # type: ignore[index]
    found, call = names(report), report["signal"]["system_call"]  # type: ignore[index]
    if mode == "seccomp":
        assert (call["number"], call["name"]) == (20, "getpid") and "main" in found
    else:
        assert (found[0], report["signal"]["code_name"]) == ("fault_here", "SEGV_MAPERR")  # type: ignore[index]


def test_a_crash_as_json_on_standard_error(crashes: Path, place: Path) -> None:
    done = run(place, crashes, "segv", options=["--json"])
    assert json.loads(done.stderr) == reports(place)[0]


def test_reports_are_numbered_and_nothing_planted_is_followed(crashes: Path, place: Path) -> None:
    canary = place / "canary"
    canary.write_text("untouched")
    (place / "usercrash_00").symlink_to(canary)
    (place / "usercrash_01").mkdir()
    for _ in range(2):
        assert run(place, crashes, "segv").returncode == 128 + 11
    assert canary.read_text() == "untouched"
    assert {"usercrash_02", "usercrash_03"} < set(os.listdir(place))
    assert not [name for name in os.listdir(place) if name.endswith(".part")]


def test_the_oldest_report_is_replaced(crashes: Path, place: Path) -> None:
    settings(place.parent, "[reports]\nslots = 2\n")
    for number in (0, 1):
        (place / f"usercrash_0{number}").write_text("old\n")
        os.utime(place / f"usercrash_0{number}", (1000 - number, 1000 - number))
    run(place, crashes, "segv")
    assert (place / "usercrash_00").read_text() == "old\n"
    assert "fault_here" in (place / "usercrash_01").read_text()


def test_reports_go_to_the_reports_directory_if_it_can_be_written(
    crashes: Path, place: Path
) -> None:
    store = place.parent / "reports"
    store.mkdir(mode=0o700)
    done = run(place, crashes, "segv")
    assert os.listdir(place) == []
    assert f"report: {store}/usercrash_00" in done.stderr.decode()
    assert "fault_here" in (store / "usercrash_00").read_text()
    show = [*program("cli"), "--config", str(place.parent / "usercrash.toml"), "show", "--json"]
    shown = subprocess.run(show, capture_output=True, check=True, timeout=SECONDS)
    assert json.loads(shown.stdout)["event"]["source"] == "run"
    log = (place.parent / "state" / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["what"] for line in log] == ["announced", "closed"]


def test_a_directory_that_was_named_comes_first(crashes: Path, place: Path) -> None:
    (place.parent / "reports").mkdir(mode=0o700)
    there = place / "there"
    there.mkdir()
    run(place, crashes, "segv", options=["--dir", "there"])
    assert (there / "usercrash_00").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_plain_user_whose_directory_cannot_be_written(crashes: Path, place: Path) -> None:
    crashes.parent.chmod(0o755)
    for parent in (place, *place.parents[:3]):
        parent.chmod(0o755)
    done = subprocess.run(
        command(place, crashes, "segv"), cwd=place, env=environment(), capture_output=True,
        timeout=SECONDS, check=False, user=65534, group=65534, extra_groups=[],
    )  # fmt: skip
    assert done.returncode == 128 + 11
    said = done.stderr.decode()
    assert f"cannot write '{place}/usercrash_50': Permission denied; the whole report" in said
    assert "fault_here" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_programs_that_lose_their_privileges_are_named(place: Path) -> None:
    place.chmod(0o777)
    for parent in place.parents[:3]:
        parent.chmod(0o755)
    done = subprocess.run(
        command(place, "/bin/su", "--version"), cwd=place, env=environment(), capture_output=True,
        timeout=SECONDS, check=False, user=65534, group=65534, extra_groups=[],
    )  # fmt: skip
    assert done.returncode == 0
    assert b"/su runs without its privileges while it is traced\n" in done.stderr


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
    assert process_state(waiting.front.pid) == "S"
    tell(waiting.front)
    assert waiting.front.wait(SECONDS) == 6


def process_state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


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
