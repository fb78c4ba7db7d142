"""usercrash run, as a user runs it: the program must not notice, and no crash is missed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.commands import environment, program, settings
from tests.support.reachable import reachable
from tests.support.run_verb import CRASHES, SECONDS, command, names, reports, run
from tests.support.spawn import compile_c, tell


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
    assert f"\nCrash of crashes, pid {pid}, by {name}\n" in said


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
    reachable(crashes.parent)
    reachable(place)
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
    reachable(place)
    done = subprocess.run(
        command(place, "/bin/su", "--version"), cwd=place, env=environment(), capture_output=True,
        timeout=SECONDS, check=False, user=65534, group=65534, extra_groups=[],
    )  # fmt: skip
    assert done.returncode == 0
    assert b"/su runs without its privileges while it is traced\n" in done.stderr
