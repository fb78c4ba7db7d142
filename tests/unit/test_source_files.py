"""Lines of the source: found by the ends of names, only below directories that were named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.gcore import gcore_at_fault
from tests.support.reachable import open_directory
from tests.support.sample_frames import frame, thread
from tests.support.spawn import compile_c

from usercrash.analysis.core.file_search import Place, SearchPlaces
from usercrash.analysis.core.modules import ModuleTable
from usercrash.analysis.core.source_files import MAX_BYTES, SourceFiles
from usercrash.analysis.report_parts.excerpts import excerpts
from usercrash.model.notes import NoteLog
from usercrash.report import InterpretedFrame, InterpretedStack

CANARY = "only root may read this"
PROGRAM = [sys.executable, "-c", "from usercrash.cli import main; main()"]


def finder(*directories: Path) -> SourceFiles:
    places = tuple(Place(os.fsencode(directory)) for directory in directories)
    return SourceFiles(SearchPlaces(sources=places), NoteLog())


def found(path: str, *directories: Path) -> tuple[str, bool] | None:
    file = finder(*directories).find(path)
    return None if file is None else (os.fsdecode(file.name), file.by_name)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that an analysis without privileges may enter."""
    with open_directory() as directory:
        yield directory


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("shelf/src/list.c", "shelf/src/deep/list.c", "shelf/main.c", "other/src/list.c"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{name}\nsecond\n")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "place", "expected", "by_name"),
    [
        ("/build/shelf/src/list.c", "shelf", "shelf/src/list.c", False),
        ("/build/x/../shelf/./src//list.c", "shelf", "shelf/src/list.c", False),
        ("./src/list.c", "shelf", "shelf/src/list.c", False),
        ("/build/src/list.c", "shelf/src", "shelf/src/list.c", False),
        ("/build/src/deep/list.c", "shelf", "shelf/src/deep/list.c", False),
        ("/app/main.c", "shelf", "shelf/main.c", True),
        ("main.c", "shelf", "shelf/main.c", False),
        ("/build/other/src/list.c", "", "other/src/list.c", False),
        ("/app/list.c", "shelf", None, False),
        ("../../../../list.c", "shelf/src", "shelf/src/list.c", False),
        ("/", "shelf", None, False),
        ("", "shelf", None, False),
        ("src", "shelf", None, False),
        ("src/list.c\0", "shelf", None, False),
        ("/" + "x/" * 5000 + "src/list.c", "shelf", "shelf/src/list.c", False),
        ("n" * 300, "shelf", None, False),
    ],
)
def test_which_file(tree: Path, path: str, place: str, expected: str | None, by_name: bool) -> None:
    wanted = None if expected is None else (str(tree / expected), by_name)
    assert found(path, tree / place) == wanted


def test_of_several_directories_the_one_that_agrees_most(tree: Path) -> None:
    path = "/build/other/src/list.c"
    wanted = (str(tree / "other/src/list.c"), False)
    assert found(path, tree / "shelf", tree / "other") == wanted
    assert found(path, tree / "absent", tree / "shelf", tree / "other") == wanted
    assert found("/b/src/list.c", tree / "other", tree / "shelf") == wanted


def test_code_of_others_must_agree_in_more(tree: Path) -> None:
    """A library's src/list.c is not the project's."""
    files = finder(tree / "shelf")
    assert files.find("/build/libx-1/src/list.c", least=3) is None
    assert files.find("/build/libx-1/src/list.c", least=2) is not None
    assert files.find("/build/shelf/src/list.c", least=3) is not None
    frames = [
        InterpretedFrame(index=n, function="f", file=file, line=1, native=0)
        for n, file in enumerate(("/usr/lib/python3/x/src/list.c", "/app/src/list.c"))
    ]
    stack = InterpretedStack(language="python", version="3.11", frames=frames)
    places = SearchPlaces(sources=(Place(os.fsencode(tree / "shelf")),))
    made = excerpts(thread(1, "t", [], interpreted=[stack]), ModuleTable([], []), places, NoteLog())
    assert [one.frame for one in made] == [1]


def test_without_directories_nothing_is_read(tree: Path) -> None:
    assert found(str(tree / "shelf/main.c")) is None


def test_a_directory_that_is_not_there_is_noted_once(tree: Path) -> None:
    files = finder(tree / "absent")
    assert files.find("/a/b/c.c") is files.find("/a/b/d.c") is None
    assert [(note.stage, note.what) for note in files.notes] == [("source", f"{tree}/absent")]


def refusal(place: Path, name: str) -> str:
    """Why a file is not shown; "" where nothing is said of it."""
    files = finder(place)
    assert files.find(f"/build/{name}") is None
    return "; ".join(note.why for note in files.notes)


def test_what_is_refused(tree: Path) -> None:
    place = tree / "shelf"
    (tree / "outside.c").write_text(CANARY)
    (place / "absolute.c").symlink_to(tree / "outside.c")
    (place / "above.c").symlink_to("../outside.c")
    (place / "loop.c").symlink_to("loop.c")
    os.mkfifo(place / "fifo.c")
    (place / "binary.c").write_bytes(b"\x7fELF\0\0")
    with (place / "large.c").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert refusal(place, "absolute.c") == refusal(place, "above.c") == ""
    assert refusal(place, "fifo.c") == ""
    assert "symbolic links" in refusal(place, "loop.c")
    assert refusal(place, "binary.c") == "refused: no text"
    assert refusal(place, "large.c") == "refused: larger than 4 MiB"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_files_of_others_are_refused(tree: Path) -> None:
    place = tree / "shelf"
    os.chown(place / "main.c", 12345, 12345)
    assert refusal(place, "main.c") == "refused: neither root's nor the directory's owner's"
    os.chown(place, 12345, 12345)
    assert found("/x/main.c", place) == (str(place / "main.c"), True)


@given(st.text(st.characters(), max_size=60) | st.lists(
    st.sampled_from(["..", ".", "/", "src", "list.c", "main.c", "\0", "\ud800"]), max_size=9
).map("/".join))  # fmt: skip
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_name_leads_out(tree: Path, path: str) -> None:
    (tree / "outside").mkdir(exist_ok=True)
    (tree / "outside/list.c").write_text(CANARY)
    file = finder(tree / "shelf").find(path)
    assert file is None or file.lines[0].startswith(b"shelf/")


def test_in_a_cache_of_debuginfod(tmp_path: Path) -> None:
    """As the client of elfutils 0.188 calls what it fetched, by the build-id of the program."""
    name = "source##usr##src##a#_b##.##x..y##..##list.c"
    file = tmp_path / "abab" / name
    file.parent.mkdir()
    file.write_text("first\n")
    (tmp_path / "list.c").write_text(CANARY)
    files = SourceFiles(SearchPlaces(caches=(Place(os.fsencode(tmp_path)),)), NoteLog())
    path = "/usr/src/a#b/./x..y/../list.c"
    found = files.find(path, b"\xab\xab")
    assert found is not None and found.name == os.fsencode(file) and not found.by_name
    for other, build_id in (
        (path, b"\xab\xac"), (path, b""), (path, None), (path, b"\xab"), ("list.c", b"\xab\xab"),
        ("/" + "x" * 400, b"\xab\xab"), ("/../../list.c", b"\xab\xab"), (f"{path}\0", b"\xab\xab"),
    ):  # fmt: skip
        assert files.find(other, build_id) is None, other


# --- excerpts ---


def test_excerpts_of_frames(tmp_path: Path) -> None:
    lines = ["first", "\ttab \x1b[2J\u202e", "w" * 500, *(f"line {n}" for n in range(4, 21))]
    (tmp_path / "list.c").write_bytes("\r\n".join(lines).encode() + b"\xff\r\n")
    files = [("/b/list.c", 2), ("/b/list.c", 2), ("/b/list.c", 20), ("/b/list.c", 99),
             ("/b/none.c", 1), ("/b/list.c", 7), ("/b/list.c", 8)]  # fmt: skip
    frames = [frame(number, "f", source=place) for number, place in enumerate(files)]
    frames.insert(0, frame(9, None, source=("/b/list.c", 5), signal_frame=True))
    notes = NoteLog()
    places = SearchPlaces(sources=(Place(os.fsencode(tmp_path)),))
    made = excerpts(thread(1, "t", frames), ModuleTable([], []), places, notes)
    assert [(one.frame, one.line, one.first, len(one.lines)) for one in made] == [
        (0, 2, 1, 6), (2, 20, 16, 5), (5, 7, 3, 9),
    ]  # fmt: skip
    assert made[0].lines[:2] == ["first", "    tab \x1b[2J\u202e"]
    assert made[0].lines[2] == "w" * 240 + "…" and made[1].lines[-1] == "line 20\\xff"
    assert [note.why for note in notes] == ["it has no line 99: not what was compiled"]


def test_an_interpreted_frame_stands_before_the_one_that_runs_it(tmp_path: Path) -> None:
    for name in ("list.c", "loop.c", "shop.py"):
        (tmp_path / name).write_text(f"{name}\nsecond\nthird\n")
    frames = [frame(0, "f", source=("list.c", 1)), frame(1, "loop", source=("loop.c", 1))]
    own = [
        InterpretedFrame(index=0, function="inner", file="shop.py", line=2, native=1),
        InterpretedFrame(index=1, function="outer", file="shop.py", line=3, native=1),
        InterpretedFrame(index=2, function="lost", file="shop.py", line=1),
        InterpretedFrame(index=3, function="odd", file="shop.py", line=None, native=1),
    ]
    stack = InterpretedStack(language="python", version="3.11", frames=own)
    places = SearchPlaces(sources=(Place(os.fsencode(tmp_path)),))
    made = excerpts(
        thread(1, "t", frames, interpreted=[stack]), ModuleTable([], []), places, NoteLog()
    )
    assert [(one.language, one.frame, one.line) for one in made] == [
        ("", 0, 1), ("python", 0, 2), ("python", 1, 3),
    ]  # fmt: skip


CODE = """#line 1 "%s"
int *nothing;
int main(void) {
    int a = 1;
    *nothing = a; /* here */
    return 0;
}
"""


def crash_of(place: Path, name: str) -> tuple[Path, Path]:
    """(program, core) of a program whose debug information says that it was made of a file of this
    name."""
    program = compile_c(place, "program", CODE % name)
    return program, gcore_at_fault([os.fsencode(program)], place / "core")


def analyze(*words: str | Path) -> dict[str, list[dict[str, object]]]:
    done = subprocess.run(
        [*PROGRAM, "analyze", "--json", *map(str, words)], capture_output=True, text=True,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, list[dict[str, object]]] = json.loads(done.stdout)
    return found


def test_of_a_crash(place: Path) -> None:
    sources = place / "sources"
    (sources / "shop").mkdir(parents=True)
    file = sources / "shop/till.c"
    file.write_text((CODE % "x").partition("\n")[2])
    program, core = crash_of(place, "/elsewhere/shop/till.c")
    os.utime(file, (1, 1))
    assert not analyze(core)["excerpts"]
    (one,) = analyze("--source", sources, core)["excerpts"]
    assert (one["frame"], one["line"], one["first"], one["file"]) == (0, 4, 1, str(file))
    assert one["lines"][3] == "    *nothing = a; /* here */"  # type: ignore[index]
    assert not one["newer"] and not one["by_name"]
    os.utime(file, (1 << 32, 1 << 32))
    assert analyze("--source", sources, core)["excerpts"][0]["newer"]
    config = place / "conf"
    config.write_text(f'[source]\ndirectories = ["{sources}"]\n')
    with_config = subprocess.run(
        [*PROGRAM, "--config", str(config), "analyze", str(core)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Source of #0 main+0x" in with_config.stdout and " --> 4  " in with_config.stdout
    assert str(program) in with_config.stdout


@pytest.mark.parametrize("name", ["/etc/shadow", "../../../../etc/shadow", "/root/canary.c"])
def test_a_program_that_names_what_only_root_may_read(place: Path, name: str) -> None:
    """Neither by its path, nor where it lies below a directory that is shown."""
    _, core = crash_of(place, name)
    assert not analyze("--source", place, core)["excerpts"]
    for below in (place / "etc", place / "root"):
        below.mkdir()
    hidden = place / name.replace("../", "").lstrip("/")
    hidden.write_text(f"{CANARY}\n" * 9)
    hidden.chmod(0o600)
    if os.geteuid() == 0:
        report = analyze("--source", place, core)
        assert not report["excerpts"] and CANARY not in json.dumps(report)
        assert any(note["stage"] == "source" for note in report["notes"])
    hidden.chmod(0o644)
    assert analyze("--source", place, core)["excerpts"][0]["lines"][0] == CANARY  # type: ignore[index]


@pytest.mark.parametrize("verb", [["analyze"], ["run", "--"]])
def test_what_is_no_directory_is_told(tmp_path: Path, verb: list[str]) -> None:
    words = [*PROGRAM, verb[0], "--source", str(tmp_path / "a\x1b[2Jb"), *verb[1:], "/bin/true"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert r"a\x1b[2Jb: not a directory" in done.stderr
