"""usercrash analyze on several cores and on directories: groups, files, what goes wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from tests.support.gcore import gcore_at_fault
from tests.support.spawn import compile_c
from tests.unit.test_cli import on_a_terminal

from usercrash.analysis.sandbox import reap_children
from usercrash.cli import analyze_many
from usercrash.cli.analyze_many import _cores_of
from usercrash.cli.core_files import Request
from usercrash.cli.workers import in_parallel
from usercrash.config import Config
from usercrash.errors import UsercrashError
from usercrash.render.summary import decode_summary, encode_summary, summary
from usercrash.report import from_json

PROGRAM = [sys.executable, "-c", "from usercrash.cli import main; main()"]
FAULT = """
__attribute__((noinline)) int fault(int *p) { return *p; }
int main(int c, char **v) { (void)v; return fault((int *)(long)c) + 1; }
"""
DEEP = """
#include <stdlib.h>
__attribute__((noinline)) int deep(int n) { if (n == 0) abort(); return deep(n - 1) + 1; }
int main(int c, char **v) { return deep(atoi(v[c - 1])) + 1; }
"""


def usercrash(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, "analyze", *map(str, arguments)],
        stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def programs() -> Iterator[Path]:
    """A directory that also the unprivileged analysis can reach."""
    with tempfile.TemporaryDirectory(prefix="uc-many-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def cores(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with four cores of two crashes, one compressed, and what is none."""
    place = programs
    found = tmp_path_factory.mktemp("cores")
    fault = compile_c(place, "segfault", FAULT)
    deep = compile_c(place, "aborting", DEEP)
    gcore_at_fault([bytes(fault)], found / "core.1")
    shutil.copy(found / "core.1", found / "core.2")
    gcore_at_fault([bytes(deep), b"3"], found / "core.3")
    gcore_at_fault([bytes(deep), b"40"], found / "four")
    data = zstandard.ZstdCompressor().compress((found / "four").read_bytes())
    (found / "four").unlink()
    (found / "core.4.zst").write_bytes(data)
    (found / "notes.txt").write_text("no core")
    shutil.copy(fault, found / "program")
    (found / "directory").mkdir()
    return found


def test_equal_stacks_stand_together(cores: Path) -> None:
    done = usercrash(cores)
    assert (done.returncode, done.stderr) == (0, "")
    head, first, second = done.stdout.splitlines()
    assert head.split() == ["COUNT", "SIGNAL", "PROGRAM", "TOP", "FRAMES", "CORES"]
    assert first.split()[:6] == ["2", "SIGSEGV", "segfault", "fault", "<", "main"]
    assert first.endswith("core.1, core.2")
    # a recursion of another depth is the same crash
    assert second.split()[:3] == ["2", "SIGABRT", "aborting"]
    assert second.endswith("core.3, core.4.zst")


def test_json_lines(cores: Path) -> None:
    done = usercrash("--json", cores / "core.1", cores)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and len(lines) == 5
    groups: dict[str, list[str]] = {}
    for line in lines:
        assert set(line) == {"file", "group", "report"}
        groups.setdefault(line["group"], []).append(os.path.basename(line["file"]))
        assert line["report"]["threads"][0]["frames"]
    assert sorted(map(sorted, groups.values())) == [
        ["core.1", "core.1", "core.2"], ["core.3", "core.4.zst"],
    ]  # fmt: skip


def test_one_bad_core_costs_one_line(cores: Path, tmp_path: Path) -> None:
    shutil.copy(cores / "core.1", tmp_path / "good")
    (tmp_path / "cut").write_bytes((cores / "core.1").read_bytes()[:70])
    os.chmod(tmp_path / "cut", 0o600)
    done = usercrash(tmp_path, tmp_path / "absent")
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 2 and "good" in done.stdout
    *lines, last = sorted(done.stderr.splitlines(), key=lambda line: "of 3" in line)
    assert last == "usercrash: 2 of 3 core files could not be analyzed"
    assert len(lines) == 2 and all(line.startswith("usercrash: ") for line in lines)
    assert any(f"{tmp_path}/cut" in line for line in lines)
    assert any("absent" in line and "No such file" in line for line in lines)


def test_a_process_that_is_killed_names_its_core(
    cores: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(core: str, *rest: object) -> bytes:
        if core.endswith("core.2"):
            os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does where memory ends
        return real(core, *rest)

    real: Callable[..., bytes] = analyze_many._work
    monkeypatch.setattr(analyze_many, "_work", work)
    names = [str(cores / "core.1"), str(cores / "core.2")]
    with pytest.raises(UsercrashError, match="1 of 2 core files"):
        analyze_many.analyze_many(names, Request(Config()), None, False)
    told = capsys.readouterr()
    assert told.err == f"usercrash: {cores}/core.2: the process of its analysis died\n"
    assert "core.1" in told.out and "core.2" not in told.out


def test_reports_in_a_directory(cores: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(cores / "core.3", other / "core.1")
    target = tmp_path / "new/reports"
    done = usercrash("--output", target, cores / "core.1", other, cores / "core.4.zst")
    assert (done.returncode, done.stderr) == (0, "")
    names = ["core.1", "core.1.2", "core.4"]
    assert sorted(os.listdir(target)) == sorted(
        name + suffix for name in names for suffix in (".json", ".txt")
    )
    assert target.stat().st_mode & 0o777 == 0o700
    for name, why in zip(names, ("SIGSEGV", "SIGABRT", "SIGABRT"), strict=True):
        found = from_json((target / f"{name}.json").read_bytes())
        assert found.signal is not None and found.signal.name == why
        assert (target / f"{name}.txt").read_text().startswith("Crash of ")
    # one core, too
    assert usercrash("--output", target, cores / "core.2").returncode == 0
    assert (target / "core.2.txt").exists()


def test_what_cannot_be(cores: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, words in (
        ((empty,), f"no core files in directory '{empty}'"),
        (("--output", tmp_path / "file", cores), f"cannot make directory '{tmp_path}/file'"),
        ((), "Missing argument"),
    ):
        done = usercrash(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"usercrash: {words}") and done.stderr.count("\n") == 1
    os.mkdir(tmp_path / "taken")
    os.mkfifo(tmp_path / "taken/core.1.txt")
    done = usercrash("--output", tmp_path / "taken", cores / "core.1")
    assert done.returncode == 1 and "is not a regular file" in done.stderr


def test_on_a_terminal(cores: Path) -> None:
    screen = on_a_terminal([*PROGRAM, "analyze", str(cores)], {"TERM": "xterm"})
    assert "\x1b[1m" in screen and "aborting" in screen
    plain = on_a_terminal([*PROGRAM, "analyze", str(cores)], {"TERM": "xterm", "NO_COLOR": "1"})
    assert all(len(line.rstrip()) <= 80 for line in plain.splitlines() if "\x1b" not in line)


def test_summaries(cores: Path) -> None:
    line = usercrash("--json", cores / "core.3").stdout
    found = summary(from_json(line.encode()))
    assert decode_summary(encode_summary(found)) == found
    assert found.frames == ("deep", "main")
    assert decode_summary(b"") is None and decode_summary(b"\xff\0\0") is None


# --- the processes ---


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_process_that_dies_takes_only_its_own(at_once: int) -> None:
    reap_children()

    def work(number: int) -> bytes:
        if number % 4 == 1:
            os._exit(9)
        return b"x" * number * 100_000

    answers = dict(in_parallel(10, at_once, work))
    assert answers.keys() == set(range(10))
    for number, answer in answers.items():
        assert answer == (None if number % 4 == 1 else b"x" * number * 100_000)
    assert children() == []


def test_nobody_is_left_where_it_is_given_up() -> None:
    reap_children()

    def work(number: int) -> bytes:
        return bytes(number)

    def give_up(action: Callable[[], None]) -> None:
        with pytest.raises(KeyboardInterrupt):
            for _ in in_parallel(100, 2, work):
                action()

    def interrupt() -> None:
        raise KeyboardInterrupt

    give_up(interrupt)
    assert children() == []


def test_a_report_takes_no_cores_place(cores: Path, tmp_path: Path) -> None:
    place = tmp_path / "both"
    place.mkdir()
    content = (cores / "core.1").read_bytes()
    for name in ("a", "a.txt"):
        (place / name).write_bytes(content)
    assert usercrash("--output", place, place).returncode == 0
    assert (place / "a.txt").read_bytes() == (place / "a").read_bytes() == content
    assert {"a.2.txt", "a.txt.txt"} <= {one.name for one in place.iterdir()}


def test_what_else_lies_in_a_directory(cores: Path, tmp_path: Path) -> None:
    """Links that go round, pipes and the like are no cores; one with two names is one."""
    place = tmp_path / "cores"
    place.mkdir()
    shutil.copy(cores / "core.1", place / "core.8")
    (place / "a-link").symlink_to("core.8")
    os.link(place / "core.8", place / "core.9")
    (place / "elsewhere").symlink_to(cores / "core.2")
    (place / "round").symlink_to("round")
    (place / "nowhere").symlink_to("core.7")
    (place / "core.device").symlink_to("/dev/zero")
    os.mkfifo(place / "core.pipe")
    (place / "core.0").touch()
    done = usercrash(place)
    assert (done.returncode, done.stderr) == (0, "")
    [row] = done.stdout.splitlines()[1:]
    assert row.split()[0] == "2" and row.endswith("  core.8, elsewhere")


def test_what_cannot_be_read_in_a_directory_is_told(programs: Path) -> None:
    place, locked = programs / "some", programs / "locked"
    place.mkdir()
    locked.mkdir(mode=0o700)
    (locked / "core").touch()
    (place / "core.1").symlink_to(locked / "core")
    (place / "core.2").touch(mode=0o600)
    (place / "core.3").touch()
    own = os.geteuid()
    if own:
        locked.chmod(0)
        (place / "core.2").chmod(0)
    else:
        os.seteuid(65534)
    try:
        found = _cores_of(str(place))
    finally:
        os.seteuid(own)
        locked.chmod(0o700)
    assert found == [str(place / "core.1"), str(place / "core.2")]
