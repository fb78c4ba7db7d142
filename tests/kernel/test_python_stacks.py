"""Python programs that crash through the real kernel, or are looked at: their reports have the
Python frames that the interpreter itself told just before, each beside its native frame."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.support.analysed import analyse
from tests.support.commands import environment, program, settings
from tests.support.kernel import Installation, analyze, file_cores
from tests.support.pythons import (
    check_places,
    command,
    dying,
    frames_of,
    interpreters,
    rows_of,
    standing,
    versions,
)
from tests.support.run_verb import run
from tests.support.spawn import compile_c

from usercrash.analysis.assemble import assemble
from usercrash.report import Report, from_json

pytestmark = pytest.mark.usefixtures("needs_kernel")
OWN = next(iter(interpreters().values()))
OLDEST_AND_OWN = sorted({min(versions(), key=lambda one: int(one[2:])), next(iter(interpreters()))})


def in_report(file: str) -> str:
    """A file's name, of which what is no UTF-8 is written out."""
    return file.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def check(report: Report, told: dict[int, list[tuple[str, str, int]]], python: Path) -> None:
    """The crashing thread has the frames that were told; all that it runs is tied together."""
    thread = report.threads[0]
    wanted = told.get(thread.tid) or next(iter(told.values()))
    found = frames_of(thread)
    if found and found[0][0] == "fault":
        found = found[1:]  # (called after the telling)
    wanted = [(name, in_report(file), line) for name, file, line in wanted]
    assert found == wanted
    check_places(thread)
    (interpreter,) = report.interpreters
    version = next(name for name, path in interpreters().items() if path == python)
    assert interpreter.version.startswith(version) and interpreter.threads == len(told)
    assert [note for note in report.notes if note.stage == "python"] == []


@pytest.mark.parametrize("version", OLDEST_AND_OWN)
def test_through_the_pipe(version: str, installation: Installation) -> None:
    python = interpreters()[version]
    with installation.receiving():
        pid, told = dying(python, "callback")
        crash = installation.wait_pid(pid)
    check(crash.report, told, python)
    assert crash.report.notes == []
    again = analyze(crash.core)
    assert frames_of(again.threads[0]) == frames_of(crash.report.threads[0])
    assert again.interpreters == crash.report.interpreters


@pytest.mark.parametrize("scene", ["generator", "coroutine", "names", "collection", "forked"])
def test_scenes(scene: str, installation: Installation) -> None:
    with installation.receiving():
        pid, told = dying(OWN, scene)
        if scene == "forked":
            pid = next(iter(told))
        crash = installation.wait_pid(pid)
    check(crash.report, told, OWN)


def test_through_the_socket(needs_socket: None, installation: Installation) -> None:
    with installation.receiving(entrance="socket"):
        pid, told = dying(OWN, "exception")
        crash = installation.wait_pid(pid)
    check(crash.report, told, OWN)
    stack = crash.report.threads[0].interpreted[0]
    assert stack.exception is not None and stack.exception.handled
    assert (stack.exception.type, stack.exception.text) == ("LookupError", "größer als 日本 🐍")
    assert "is handling LookupError: größer als 日本 🐍" in crash.text


@pytest.mark.parametrize("version", OLDEST_AND_OWN)
def test_the_kernels_own_core(version: str, tmp_path: Path) -> None:
    python = interpreters()[version]
    with file_cores(tmp_path):
        pid, told = dying(python, "generator")
    core = analyse(tmp_path / f"core.{pid}")
    check(assemble(core.image, core.modules, core.symbolizer, "0" * 32), told, python)
    if python == OWN:  # (the others' files may be closed to an analysis without privileges)
        check(analyze(tmp_path / f"core.{pid}"), told, python)


def test_recursion_is_folded(installation: Installation) -> None:
    with installation.receiving():
        pid, told = dying(OWN, "recursion")
        crash = installation.wait_pid(pid)
    thread = crash.report.threads[0]
    stack = thread.interpreted[0]
    wanted = told[thread.tid]
    assert stack.frames_total == len(wanted) > 10_000 and stack.end == ""
    for frame in stack.frames:
        assert (frame.function, frame.file, frame.line) == wanted[frame.index]
    assert stack.frames[-1].index == len(wanted) - 1 and len(stack.frames) < 300
    assert [fold.times for fold in stack.folds] == [10_000]
    assert "this Python frame 9,999 more times" in crash.text
    packed = next((installation.reports / ".data").glob(f"{crash.closed['id']}.core.zst"))
    assert packed.stat().st_size < 512 << 10


def test_run(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    settings(tmp_path)
    done = run(place, *command(OWN, "callback", "fault"))
    report = from_json((place / "usercrash_00.json").read_bytes())
    check(report, rows_of(done.stdout.splitlines()[0]), OWN)


# debugger, with another time that it may hold a process for its Python frames: what there is time
# for on a busy machine is not known.
HOLDING = """
from usercrash.capture import interpreters
interpreters.SECONDS = {seconds}
"""


def looked_at(pid: int, config: Path, seconds: float) -> Report:
    """The report of `debugger`, which may hold the process so long."""
    interpreter, option, code = program("debugger")
    first, _, rest = code.partition("\n")
    code = "\n".join((first, HOLDING.format(seconds=seconds), rest))
    line = [interpreter, option, code, str(pid), "--json", "--config", str(config)]
    done = subprocess.run(line, capture_output=True, timeout=60, env=environment(), check=True)
    return from_json(done.stdout)


@pytest.mark.parametrize("version", OLDEST_AND_OWN)
def test_debugger(version: str, tmp_path: Path) -> None:
    """All of 201 threads, each with its own frames; where there was no time for them, the threads
    are there all the same, and the report says what it lacks."""
    python = interpreters()[version]
    config = settings(tmp_path)
    with standing(python, "threads") as process:
        report = looked_at(process.pid, config, 30)
        assert {one.tid: frames_of(one) for one in report.threads} == process.stacks
        for thread in report.threads:
            check_places(thread)
        assert [one.threads for one in report.interpreters] == [201]
        assert [note for note in report.notes if note.stage == "python"] == []
        short = looked_at(process.pid, config, 1e-9)
    assert len(short.threads) == 201
    assert any(note.why == "no time left" for note in short.notes if note.stage == "python")


@pytest.mark.parametrize("wanted", [True, False])
def test_variables_where_configured(wanted: bool) -> None:
    text = "[python]\nvariables = true\n" if wanted else ""
    with Installation(text) as place:
        place.start_server()
        with place.receiving():
            pid, told = dying(OWN, "variables")
            crash = place.wait_pid(pid)
    check(crash.report, told, OWN)
    frame = crash.report.threads[0].interpreted[0].frames[0]
    values = {one.name: one.value for one in frame.variables}
    assert ("small = 12345" in crash.text) == wanted
    assert "password = 'hunter2'" not in crash.text  # (memory near a register may have it)
    if wanted:
        assert values["text"] == "'größe'" and values["password"] == "<masked>"
    else:
        assert values == {}


SUBINTERPRETER = """
import ctypes
try:
    import _interpreters
    number = _interpreters.create("legacy")
except ImportError:
    import _xxsubinterpreters as _interpreters
    number = _interpreters.create()
def outer():
    _interpreters.run_string(number, SOURCE)
SOURCE = "import ctypes\\ndef inner():\\n    ctypes.string_at(3)\\ninner()\\n"
outer()
"""


def test_a_sub_interpreter(tmp_path: Path) -> None:
    """One thread works for two interpreters: both stacks, each at its place."""
    place = tmp_path / "place"
    place.mkdir()
    settings(tmp_path)
    run(place, OWN, "-c", SUBINTERPRETER)
    report = from_json((place / "usercrash_00.json").read_bytes())
    inner, outer = report.threads[0].interpreted
    assert (inner.interpreter, outer.interpreter) == (1, 0)
    assert [frame.function for frame in inner.frames] == ["string_at", "inner", "<module>"]
    assert [frame.function for frame in outer.frames] == ["outer", "<module>"]
    check_places(report.threads[0])
    places = [frame.native or 0 for stack in (inner, outer) for frame in stack.frames]
    assert places == sorted(places)
    assert report.interpreters[0].interpreters == [0, 1]


EMBEDDING = """
#include <dlfcn.h>
#include <stddef.h>
static void die(void) { *(volatile int *)8 = 1; }
int main(int count, char **words)
{
    void *library = dlopen(words[1], RTLD_NOW | RTLD_GLOBAL);
    void (*begin)(void) = dlsym(library, "Py_Initialize");
    int (*run)(const char *, void *) = dlsym(library, "PyRun_SimpleStringFlags");
    void *(*module)(const char *) = dlsym(library, "PyImport_AddModule");
    void *(*number)(void *) = dlsym(library, "PyLong_FromVoidPtr");
    int (*set)(void *, const char *, void *) = dlsym(library, "PyObject_SetAttrString");
    begin();
    set(module("__main__"), "address", number(die));
    return run("import ctypes\\ndef inner():\\n"
               "    ctypes.CFUNCTYPE(None)(address)()\\ninner()\\n", NULL);
}
"""
LIBRARIES = {
    version: library
    for version, python in interpreters().items()
    for library in sorted(python.parents[1].glob(f"lib/libpython{version}.so"))
}


def test_embedded(tmp_path: Path) -> None:
    """In a program of another name that loads the interpreter."""
    program = compile_c(tmp_path, "program", EMBEDDING)
    settings(tmp_path)
    for version in [*LIBRARIES][-1:]:
        place = tmp_path / version / "place"
        place.mkdir(parents=True)
        settings(place.parent)
        home = f"PYTHONHOME={interpreters()[version].parents[1]}"
        run(place, "env", home, program, LIBRARIES[version])
        report = from_json((place / "usercrash_00.json").read_bytes())
        assert report.process.comm == "program"
        functions = [name for name, _, _ in frames_of(report.threads[0])]
        assert functions == ["inner", "<module>"]
        check_places(report.threads[0])
