"""usercrash list, show and the program around them, on a real reports directory."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from tests.support import sample_reports

from usercrash.cli import VERBS, run_program
from usercrash.report import Cause, Event, Process, Report, Signal, System, to_json
from usercrash.storage.reports import Entry
from usercrash.storage.store import Store

PROGRAM = [sys.executable, "-c", "from usercrash.cli import main; main()"]


def report(crash_id: str, pid: int = 7, comm: str = "worker", exe: str = "/opt/worker") -> Report:
    return Report(
        version=1,
        id=crash_id,
        generator="test",
        complete=True,
        event=Event(time="2026-01-02T03:04:05.678+00:00", source="run"),
        system=System(),
        process=Process(pid=pid, tid=pid, comm=comm, exe=exe, cmdline=[], uid=0, gid=0),
        signal=Signal(number=11, name="SIGSEGV", code=1, code_name="SEGV_MAPERR"),
        cause=Cause(kind="null-pointer", summary="null pointer dereference"),
        threads=[],
        memory=[],
        modules=[],
        maps=[],
        open_files=[],
        notes=[],
    )


class Reports:
    """A reports directory and the configuration that names it."""

    def __init__(self, root: Path) -> None:
        self.path = root / "reports"
        self.config = root / "usercrash.toml"
        self.config.write_text(f'[paths]\nreports = "{self.path}"\n[reports]\nslots = 5\n')
        self._count = 0

    def add(self, found: Report, text: bytes = b"the text\n", when: float | None = None) -> int:
        self._count += 1
        store = Store(str(self.path), 5, create=True)
        key = b"%d" % self._count
        number = store.publish(found.id, key, text, to_json(found), None)
        store.close()
        # Files written within one tick of the clock are of one age.
        age = (when or self._count,) * 2
        os.utime(self.path / f"usercrash_{number:02d}", age)
        return number

    def arguments(self, *words: str) -> list[str]:
        return ["--config", str(self.config), *words]


@pytest.fixture
def reports(tmp_path: Path) -> Reports:
    return Reports(tmp_path)


def ids(number: int) -> str:
    return f"{number:032x}"


def on_a_terminal(command: list[str], environment: dict[str, str]) -> str:
    """What the command writes to a terminal of 80 columns."""
    leader, follower = pty.openpty()
    with subprocess.Popen(
        command, stdout=follower, env={**os.environ, "COLUMNS": "80", **environment}
    ) as process:
        os.close(follower)
        data = b""
        while True:
            try:
                chunk = os.read(leader, 65536)
            except OSError:  # EIO: the other end is closed
                break
            data += chunk
        process.wait()
    os.close(leader)
    return data.decode()


def test_list_is_newest_first(reports: Reports, capsys: pytest.CaptureFixture[str]) -> None:
    reports.add(report(ids(1), pid=11))
    reports.add(report(ids(2), pid=12))
    assert run_program(reports.arguments("list")) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["NO", "TIME", "PROCESS", "SIGNAL", "CAUSE"]
    assert [line.split()[0] for line in lines] == ["01", "00"]
    assert "worker[12]" in lines[0] and "SIGSEGV" in lines[0]
    assert lines[0].endswith("null pointer dereference")
    when = datetime(2026, 1, 2, 3, 4, tzinfo=UTC).astimezone()
    assert when.strftime("%Y-%m-%d %H:%M") in lines[0]


def test_list_json(reports: Reports, capsys: pytest.CaptureFixture[str]) -> None:
    reports.add(report(ids(1)))
    (reports.path / "usercrash_03").write_bytes(b"*** ***\npid: 5, \x1b[31mcomm\n")
    assert run_program(reports.arguments("list", "--json")) == 0
    foreign, own = json.loads(capsys.readouterr().out)
    assert own["number"] == 0 and own["id"] == ids(1)
    assert own["process"]["comm"] == "worker" and own["cause"]["kind"] == "null-pointer"
    assert foreign["id"] is None and foreign["text"] == "pid: 5, \\x1b[31mcomm"


def test_what_cannot_be_read_costs_its_own_line(
    reports: Reports, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reports.add(report("a" * 32))
    os.mkfifo(reports.path / ".data" / f"{'b' * 32}.json")
    (reports.path / "usercrash_03").write_text(f"a FIFO for JSON\nreport-id: {'b' * 32}\n")
    (reports.path / "usercrash_04").write_text("gone meanwhile\n")
    entries = Store.entries

    def then_one_goes(store: Store) -> list[Entry]:
        found = entries(store)
        (reports.path / "usercrash_04").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(Store, "entries", then_one_goes)
    assert run_program(["--config", str(reports.config), "list"]) == 0
    out = capsys.readouterr().out
    assert "worker[7]" in out and "a FIFO for JSON" in out and "No such file" in out


def test_files_of_others_are_listed_as_text(
    reports: Reports, capsys: pytest.CaptureFixture[str]
) -> None:
    reports.path.mkdir()
    (reports.path / "usercrash_07").write_text("*** *** ***\npid: 5, comm: /bin/true\n")
    (reports.path / "usercrash_08").touch()
    (reports.path / "usercrash_09").symlink_to("/etc/passwd")
    assert run_program(reports.arguments("list")) == 0
    text = capsys.readouterr().out
    assert "pid: 5, comm: /bin/true" in text and "(empty)" in text
    assert [line[:2] for line in text.splitlines()[1:]] == ["08", "07"]
    assert run_program(reports.arguments("show", "7")) == 0
    assert run_program(reports.arguments("show", "7", "--json")) == 1
    assert "usercrash_07 has no JSON" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["list", "show"])
def test_nothing_there(reports: Reports, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    assert run_program(reports.arguments(verb)) == 1
    captured = capsys.readouterr()
    assert f"usercrash: there is no reports directory {reports.path}" in captured.err
    assert "`usercrash show ./FILE`" in captured.err
    assert captured.err.count("\n") == 1
    reports.path.mkdir()
    assert run_program(reports.arguments(verb)) == (1 if verb == "show" else 0)
    captured = capsys.readouterr()
    assert f"no reports in {reports.path}" in captured.out + captured.err
    assert (captured.out + captured.err).count("\n") == 1


def test_list_of_nothing_as_json(reports: Reports, capsys: pytest.CaptureFixture[str]) -> None:
    reports.path.mkdir()
    assert run_program(reports.arguments("list", "--json")) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_names_cannot_steer_the_terminal(reports: Reports) -> None:
    reports.add(report(ids(1), comm="\x1b]0;owned\x07", exe="/x/a\nb\u202e[bold]"))
    for command in (PROGRAM + reports.arguments("list"), PROGRAM + reports.arguments("list")):
        text = on_a_terminal(command, {"TERM": "xterm"})
        assert "a\\nb\\u202e[bold][7]" in text.replace("\r\n", "")
        assert "\u202e" not in text and "\x07" not in text


def test_list_fits_a_terminal(reports: Reports) -> None:
    found = report(ids(1), exe="/opt/" + "long" * 20)
    reports.add(found)
    plain = on_a_terminal(PROGRAM + reports.arguments("list"), {"TERM": "xterm", "NO_COLOR": "1"})
    lines = re.sub("\x1b\\[[0-9;]*m|\r", "", plain).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert "null pointer" in plain


def test_show_the_newest_and_by_number(
    reports: Reports, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    first, second = reports.add(report(ids(1)), b"one\n"), reports.add(report(ids(2)), b"two\n")
    for words, text in (
        ([], b"two"),
        ([str(first)], b"one"),
        ([f"usercrash_{second:02d}"], b"two"),
        ([f"{first:02d}"], b"one"),
    ):
        assert run_program(reports.arguments("show", *words)) == 0
        assert capfdbinary.readouterr().out.strip() == text
    assert run_program(reports.arguments("show", "--json", str(first))) == 0
    assert json.loads(capfdbinary.readouterr().out)["id"] == ids(1)


def test_show_what_is_not_there(reports: Reports, capsys: pytest.CaptureFixture[str]) -> None:
    reports.add(report(ids(1)))
    assert run_program(reports.arguments("show", "4")) == 1
    assert "usercrash_04: No such file" in capsys.readouterr().err
    assert run_program(reports.arguments("show", "x")) == 2
    assert "'x' is not the number of a report" in capsys.readouterr().err
    assert run_program(["show", "./usercrash_04.core.zst"]) == 2
    said = (
        "usercrash: './usercrash_04.core.zst' is no report of ours (usercrash analyze reads cores)"
    )
    assert capsys.readouterr().err == f"{said}\n"


def test_show_a_file(
    reports: Reports, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """As `run` and `analyze --output` write them, and in a reports directory that is not ours."""
    reports.add(report(ids(1)), b"one\n")
    (tmp_path / "usercrash_04").write_bytes(b"of run\n")
    (tmp_path / "usercrash_04.json").write_bytes(to_json(report(ids(4))))
    (tmp_path / "core.txt").write_bytes(b"of analyze\n")
    (tmp_path / "core.json").write_bytes(to_json(report(ids(5))))
    for name, text in (
        ("usercrash_04", b"of run\n"), ("usercrash_04.json", b"of run\n"),
        ("core.txt", b"of analyze\n"), ("core.json", b"of analyze\n"),
        ("reports/usercrash_00", b"one\n"),
    ):  # fmt: skip
        assert run_program(["show", f"{tmp_path}/{name}"]) == 0
        assert capfdbinary.readouterr().out == text
    assert run_program(["show", "--json", f"{tmp_path}/usercrash_04"]) == 0
    assert json.loads(capfdbinary.readouterr().out)["id"] == ids(4)
    screen = on_a_terminal([*PROGRAM, "show", f"{tmp_path}/core.txt"], {"TERM": "xterm"})
    assert "worker" in screen and ids(5) in screen
    (tmp_path / "other.json").write_text("{}")
    for name in ("none", "other.txt", "reports/usercrash_01"):
        assert run_program(["show", f"{tmp_path}/{name}"]) in (1, 2)
        error = capfdbinary.readouterr().err.decode()
        assert f"{tmp_path}/{name}" in error and error.count("\n") == 1


@pytest.mark.parametrize("words", [["bogus"], ["list", "--bogus"], ["show", "1", "2"], ["analyze"]])
def test_wrong_usage_is_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("usercrash: ") and captured.err.count("\n") == 1
    assert "--help)" in captured.err and not captured.out


def test_without_arguments_it_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program([]) == 2
    text = capsys.readouterr().err
    assert "Commands:" in text and "..." not in text.partition("Commands:")[2]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program([verb, "--help"]) == 0
    assert f"Usage: usercrash {verb}" in capsys.readouterr().out


def test_wrong_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[reports]\nslots = 0\n")
    assert run_program(["--config", str(file), "list"]) == 2
    expected = f"expected an integer from 1 to 9999, got 0 at {file}:2"
    assert expected in capsys.readouterr().err


def test_broken_pipe_is_quiet(reports: Reports) -> None:
    reports.add(report(ids(1)), b"x" * 1_000_000)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as output:
        done = subprocess.run(
            PROGRAM + reports.arguments("show"), stdout=output, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (1, b"")


def test_full_disk_is_told(reports: Reports) -> None:
    reports.add(report(ids(1)), b"x" * 1_000_000)
    with open("/dev/full", "wb") as output:
        done = subprocess.run(
            PROGRAM + reports.arguments("show"), stdout=output, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert done.stderr == b"usercrash: standard output: No space left on device\n"


@pytest.mark.parametrize("closed", ["0", "1", "2"])
def test_a_closed_standard_descriptor(reports: Reports, closed: str) -> None:
    """It fails as it does for any program, and what is opened does not become it."""
    reports.add(report(ids(1)), b"the text\n")
    command = ["sh", "-c", f'exec "$@" {closed}>&-', "sh", *PROGRAM, *reports.arguments("show")]
    done = subprocess.run(command, capture_output=True, check=False)
    if closed == "1":
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr == b"usercrash: standard output: Bad file descriptor\n"
    else:
        assert (done.returncode, done.stdout, done.stderr) == (0, b"the text\n", b"")


def test_a_locale_that_cannot_spell_it(reports: Reports) -> None:
    reports.add(report(ids(1), exe="/x/日本"))
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(
        PROGRAM + reports.arguments("list"), env=environment, capture_output=True, check=True
    )
    assert b"\\u65e5\\u672c[7]" in done.stdout


def test_list_imports_no_more_than_it_needs(reports: Reports) -> None:
    reports.add(report(ids(1)))
    code = (
        "import sys; from usercrash.cli import run_program; "
        f"run_program({reports.arguments('list')!r}); "
        "print([m for m in ('symbolic', 'capstone', 'zstandard', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_show_on_a_terminal(reports: Reports, tmp_path: Path) -> None:
    """The first screen, which fits; with --full all of it, as always in a file."""
    number = reports.add(sample_reports.null_pointer())
    command = [sys.executable, "-c", "from usercrash.cli import main; main()", *reports.arguments()]
    terminal = {"TERM": "xterm-256color", "NO_COLOR": ""}
    first = on_a_terminal([*command, "show", str(number)], terminal)
    whole = on_a_terminal([*command, "show", "--full", str(number)], terminal)
    assert len(first.splitlines()) <= 40 and "Registers of" not in first
    assert "With --full: " in first.splitlines()[-1]
    assert "Registers of" in whole and "With --full" not in whole
    assert first.splitlines()[:20] == whole.splitlines()[:20]
    piped = subprocess.run([*command, "show", str(number)], capture_output=True, check=True)
    assert piped.stdout == b"the text\n"  # as it is stored


def test_links_on_a_terminal(reports: Reports, tmp_path: Path) -> None:
    file = tmp_path / "list.c"
    file.write_text("")
    base = sample_reports.null_pointer()
    excerpt = msgspec.structs.replace(base.excerpts[0], file=str(file))
    number = reports.add(msgspec.structs.replace(base, excerpts=[excerpt]))
    command = [sys.executable, "-c", "from usercrash.cli import main; main()", *reports.arguments()]
    link = f"\x1b]8;id=[0-9]+;file://[^/]+{file}\x1b\\\\"
    terminal = {"TERM": "xterm-256color", "NO_COLOR": "", "INSIDE_EMACS": "", "FORCE_HYPERLINK": ""}
    assert re.search(link, on_a_terminal([*command, "show", str(number)], terminal))
    for change in ({"NO_COLOR": "1"}, {"TERM": "dumb"}, {"FORCE_HYPERLINK": "0"}):
        shown = on_a_terminal([*command, "show", str(number)], terminal | change)
        assert "\x1b]8" not in shown and "list.c:44" in shown
