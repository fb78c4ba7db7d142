"""--html of all verbs: where the page goes, and what is not overwritten for it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jinja2
import pytest
from tests.support import sample_reports
from tests.support.commands import environment, program, settings
from tests.support.html_pages import Page
from tests.unit.test_cli import PROGRAM, Reports, ids, on_a_terminal, report

from usercrash import debugger
from usercrash.cli import run_program
from usercrash.cli.html_option import _with_files
from usercrash.render.html import preload, render_html


@pytest.fixture
def reports(tmp_path: Path) -> Reports:
    return Reports(tmp_path)


def run(name: str, *words: str | Path, place: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*program(name), *map(str, words)], cwd=place, env=environment(),
        stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False,
    )  # fmt: skip


def said(captured: tuple[str, str]) -> str:
    """The one line on standard error of a run that wrote nothing else."""
    assert captured[1].count("\n") == 1 and not captured[0]
    return captured[1]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("show --html", "show --html=-"),
        ("show --html 7", "show --html=- 7"),
        ("show 7 --html a.html", "show 7 --html=a.html"),
        ("show --html a.HTM 7", "show --html=a.HTM 7"),
        ("show --html - 7", "show --html=- 7"),
        ("analyze --html core", "analyze --html=- core"),
        ("analyze --html --json core", "analyze --html=- --json core"),
        ("x --html=core", "x --html=core"),
        ("x --html --html", "x --html=- --html=-"),
        ("run -- --html a.html", "run -- --html a.html"),
    ],
)
def test_what_follows_is_a_file_if_it_looks_like_one(words: str, expected: str) -> None:
    assert _with_files(words.split()) == expected.split()


def test_show(reports: Reports, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    first, second = report(ids(1), comm="<first>"), report(ids(2))
    number = reports.add(first)
    reports.add(second)
    assert run_program(reports.arguments("show", "--html")) == 0
    assert capfdbinary.readouterr().out == render_html(second).encode()
    assert run_program(reports.arguments("show", "--html", str(number))) == 0
    assert capfdbinary.readouterr().out == render_html(first).encode()
    file = tmp_path / "page.html"
    for words in (["--html", str(file), str(number)], [str(number), f"--html={file}"]):
        assert run_program(reports.arguments("show", *words)) == 0
        assert file.read_bytes() == render_html(first).encode()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert capfdbinary.readouterr() == (b"", b"")
    by_path = str(reports.path / f"usercrash_{number:02d}")
    assert run_program(["show", "--html", by_path]) == 0
    assert capfdbinary.readouterr().out == render_html(first).encode()
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_nothing_else_is_overwritten(
    reports: Reports, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reports.add(report(ids(1)))
    other, link, place = tmp_path / "notes.html", tmp_path / "link.html", tmp_path / "dir.html"
    other.write_text("my notes")
    page = tmp_path / "page.html"
    page.write_text("<!DOCTYPE html>")
    link.symlink_to(page)
    place.mkdir()
    for name, why in (
        (other, "is there, and no page of HTML (it is not replaced)"),
        (link, "is a symbolic link, and is not followed"),
        (place, "is a directory"),
        (tmp_path / "none" / "x.html", "No such file or directory"),
        ("/dev/null", "is not a regular file"),
    ):
        assert run_program(reports.arguments("show", f"--html={name}")) == 2
        assert why in said(capsys.readouterr())
    assert other.read_text() == "my notes" and page.read_text() == "<!DOCTYPE html>"
    empty = tmp_path / "empty.html"
    empty.touch()
    for name in (page, empty):
        assert run_program(reports.arguments("show", "--html", str(name))) == 0
        assert Page(name.read_text()).all("h1")


def test_what_makes_no_page(
    reports: Reports, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    reports.add(report(ids(1)))
    assert run_program(reports.arguments("show", "--html", "--json")) == 2
    assert "--json and --html exclude each other" in said(capfd.readouterr())
    (reports.path / "usercrash_07").write_text("of another program\n")
    file = tmp_path / "page.html"
    assert run_program(reports.arguments("show", "7", "--html", str(file))) == 1
    assert "usercrash_07 has no JSON" in said(capfd.readouterr()) and not file.exists()
    command = PROGRAM + reports.arguments("show", "--html")
    assert on_a_terminal(command, {"TERM": "xterm"}) == ""
    assert "a page of HTML is not for a terminal" in capfd.readouterr().err


@pytest.fixture(scope="module")
def sleeper() -> Iterator[int]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process.pid
        process.kill()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(settings(tmp_path_factory.mktemp("config")))


def is_page_of_sleep(data: bytes, pid: int) -> bool:
    return f"State of sleep, pid {pid}" in Page(data.decode()).all("h1")[0][1]


def test_debugger_and_analyze(sleeper: int, config: str, tmp_path: Path) -> None:
    """The page of a live process, and of its core: on standard output, in a file."""
    core, file = tmp_path / "sleep.core", tmp_path / "page.html"
    words = (str(sleeper), "--config", config, "--core", str(core))
    for more in (["--html", *words], [*words, "--html", "-o", str(file)]):
        done = run("debugger", *more, place=tmp_path)
        assert (done.returncode, done.stderr) == (0, b"")
        page = file.read_bytes() if "-o" in more else done.stdout
        assert is_page_of_sleep(page, sleeper)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.unlink()
    analyze = ("--config", config, "analyze", core, "--html")
    done = run("cli", *analyze, file, place=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert is_page_of_sleep(file.read_bytes(), sleeper)
    done = run("cli", *analyze, "--output", tmp_path / "out", place=tmp_path)
    assert done.returncode == 0, done.stderr
    names = ["sleep.core.html", "sleep.core.json", "sleep.core.txt"]
    assert sorted(os.listdir(tmp_path / "out")) == names
    assert is_page_of_sleep((tmp_path / "out/sleep.core.html").read_bytes(), sleeper)


def test_debugger_refuses(sleeper: int, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    for more, why in (
        (["--html", "x.html", "-o", "y.html"], "--html FILE and -o FILE exclude each other"),
        (["--html", "--backtrace"], "--html and --backtrace exclude each other"),
        (["--json", "--html"], "--json and --html exclude each other"),
        (["--html=/dev/null"], "is not a regular file"),
    ):
        words = [str(sleeper), "--config", config, *more]
        assert run_program(words, debugger.command, "debugger") == 2
        assert why in said(capsys.readouterr())


def test_analyze_refuses(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    core, page = tmp_path / "broken.core", str(tmp_path / "page.html")
    core.write_bytes(b"\x7fELF" + bytes(100))
    words = ["--config", config, "analyze", str(core)]
    for more, status, why in (
        ([f"--html={core}"], 2, "no page of HTML"),
        ([str(core), "--html"], 2, "--html is for one core"),
        (["--output", str(tmp_path / "out"), "--html", page], 2, "--html is for one core"),
        (["--json", "--html"], 2, "--json and --html exclude each other"),
        (["--html", page], 1, "broken.core"),
    ):
        assert run_program([*words, *more]) == status
        assert why in said(capsys.readouterr())
    assert os.listdir(tmp_path) == ["broken.core"] and core.stat().st_size == 104


def test_demo(config: str, tmp_path: Path) -> None:
    """As text and as a page; nothing is left but the page, and the user's environment is not in
    it."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    secret = environment() | {"TMPDIR": str(scratch), "DEMO_TOKEN": "hunter2"}
    command = [*program("cli"), "--config", config, "demo"]
    text = subprocess.run(command, cwd=tmp_path, env=secret, capture_output=True, check=True)
    assert b"by SIGSEGV" in text.stdout and b"(file-sorter)" in text.stdout
    assert b"strverscmp" in text.stdout and b"hunter2" not in text.stdout
    assert text.stderr == b""
    file = tmp_path / "demo.html"
    done = subprocess.run(
        [*command, "--html", file], cwd=tmp_path, env=secret, capture_output=True, check=True
    )
    assert (done.stdout, done.stderr) == (b"", f"usercrash: the page is {file}\n".encode())
    page = Page(file.read_text())
    assert page.all("h1")[0][1].endswith("by SIGSEGV") and "file-sorter" in page.texts[0]
    assert "hunter2" not in page.texts[0] and "DEMO_TOKEN" not in page.texts[0]
    assert os.listdir(scratch) == []
    assert sorted(os.listdir(tmp_path)) == ["demo.html", "scratch"]


def test_demo_says_why_there_is_no_report(
    config: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["--config", config, "demo"]
    assert run_program([*words, "--html", str(tmp_path / "none/page.html")]) == 2
    assert "No such file or directory" in said(capfd.readouterr())
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert run_program([*words, "--html", str(tmp_path / "page.html")]) == 1
    expected = "no report came of the process that was to crash: /nonexistent/python"
    assert expected in said(capfd.readouterr()) and os.listdir(tmp_path) == []


def test_the_sandbox_need_not_read_the_templates(monkeypatch: pytest.MonkeyPatch) -> None:
    preload()

    def closed(*arguments: object) -> None:
        raise PermissionError("an unprivileged child cannot read this")

    monkeypatch.setattr(jinja2.PackageLoader, "get_source", closed)
    for make in sample_reports.ALL.values():
        assert Page(render_html(make())).all("h1")
