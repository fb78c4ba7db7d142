"""ELF files without a descriptor: opened by their paths, and believed only if they are the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.spawn import compile_c, running

from usercrash import pipeline
from usercrash.analysis.core.image import CoreImage
from usercrash.config import Config, Paths
from usercrash.isolated_analysis import Material, View, analyse_isolated
from usercrash.model.event import SOURCE_SOCKET, CrashEvent
from usercrash.model.types import Pid, Tid
from usercrash.pipeline import Crash, complete
from usercrash.report import Report, from_json
from usercrash.storage.events import INCOMPLETE, PUBLISHED, EventLog
from usercrash.storage.store import Store

SOURCE = """
#include <unistd.h>
__attribute__((noinline)) int waits_here(int n) { char c; write(1, "r", 1); return read(0, &c, n); }
int main(void) { return waits_here(1) + VALUE; }
"""
DEBUGGER = "from usercrash.debugger import main; main()"


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that also the unprivileged analysis can reach."""
    path = Path(tempfile.mkdtemp(prefix="uc-path-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def program(place: Path, name: str, value: int, *flags: str) -> Path:
    return compile_c(place, name, SOURCE.replace("VALUE", str(value)), *flags)


def core_of(running_program: Path, place: Path) -> Path:
    """The minicore of the program, which waits in `waits_here`."""
    path = place / "minicore"
    with running([running_program]) as process:
        subprocess.run(
            [sys.executable, "-c", DEBUGGER, "--core", str(path), str(process.pid)],
            env={**os.environ, "PYTHONPATH": str(Path(pipeline.__file__).parent.parent)},
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    return path


def paths_of(core: Path) -> list[str]:
    """The ELF files in the order in which a collector sends their descriptors."""
    return [os.fsdecode(file.path) for file in CoreImage.open(core.read_bytes()).files]


def report_of(core: Path, missing: set[str]) -> Report:
    """The analysis with descriptors of all ELF files but these."""
    files = [-1 if path in missing else os.open(path, os.O_RDONLY) for path in paths_of(core)]
    fd = os.open(core, os.O_RDONLY)
    try:
        analysed = analyse_isolated(Material("a" * 32, fd, files, by_path=True), Config(), View())
    finally:
        for one in (fd, *files):
            if one >= 0:
                os.close(one)
    assert analysed.failure == ""
    assert all(files[index] >= 0 for index in analysed.wanted)
    return from_json(analysed.json)


def how(report: Report, path: Path) -> str:
    return next(module.file for module in report.modules if module.path == str(path))


def functions(report: Report) -> list[str | None]:
    return [frame.function for frame in report.threads[0].frames]


def refusals(report: Report, path: Path) -> list[str]:
    return [note.why for note in report.notes if note.what == str(path)]


def test_only_what_was_let_go_is_opened_by_its_path(place: Path) -> None:
    own = program(place, "program", 1)
    report = report_of(core_of(own, place), {str(own)})
    assert how(report, own) == "path"
    others = {module.file for module in report.modules if module.path.startswith("/usr")}
    assert others == {"descriptor"}
    assert functions(report)[1:3] == ["waits_here", "main"] and refusals(report, own) == []


def test_another_build_under_the_name_is_refused(place: Path) -> None:
    own = program(place, "program", 1)
    core = core_of(own, place)
    shutil.copy(program(place, "other", 2), own)
    report = report_of(core, {str(own)})
    assert how(report, own) == "memory" and "waits_here" not in functions(report)
    [why] = refusals(report, own)
    assert why.startswith("refused: build-id ")


@pytest.mark.parametrize("change", ["other headers", "rewritten", "older", "copied"])
def test_without_a_build_id_headers_and_age_decide(place: Path, change: str) -> None:
    flags = ["-Wl,--build-id=none"]
    own = program(place, "program", 1, *flags)
    core = core_of(own, place)
    assert how(report_of(core, {str(own)}), own) == "path"
    same = program(place, "same", 1, *flags)
    if change == "other headers":
        shutil.copy(program(place, "other", 2, *flags, "-static"), own)
    elif change == "rewritten":
        shutil.copy(same, own)  # the same inode
    elif change == "older":
        os.utime(own, (0, 0))
    else:
        os.replace(same, own)  # another one, as from a package: its age says nothing
    report = report_of(core, {str(own)})
    assert how(report, own) == {"other headers": "memory", "rewritten": "memory"}.get(
        change, "path"
    )
    expected = {
        "other headers": ["refused: its program headers differ from those in memory"],
        "rewritten": ["refused: it was written to after the crash"],
    }
    assert refusals(report, own) == expected.get(change, [])


@pytest.mark.skipif(os.geteuid() != 0, reason="an analysis by somebody else needs root")
def test_paths_are_opened_without_privileges(place: Path) -> None:
    own = program(place, "program", 1)
    core = core_of(own, place)
    own.chmod(0o700)
    report = report_of(core, {str(own)})
    assert how(report, own) == "memory" and refusals(report, own) == ["Permission denied"]


def test_no_device_is_opened_under_a_name(place: Path) -> None:
    own = program(place, "program", 1)
    core = core_of(own, place)
    own.unlink()
    os.mkfifo(own, 0o666)
    os.chmod(own, 0o666)
    writer = os.open(own, os.O_RDWR)
    report = report_of(core, {str(own)})
    os.close(writer)
    assert how(report, own) == "memory"


@pytest.mark.parametrize(("interrupted", "outcome"), [("", PUBLISHED), ("it died", INCOMPLETE)])
def test_a_crash_whose_files_were_let_go(place: Path, interrupted: str, outcome: str) -> None:
    """As a job does it: all its descriptors are gone, or never came, and it has its names."""
    own = program(place, "program", 1)
    core = core_of(own, place)
    paths = Paths(reports=f"{place}/reports", state=f"{place}/state", cache=f"{place}/cache")
    config = Config(paths=paths)
    store, log = Store(paths.reports, 50, create=True), EventLog(paths.state, print)
    event = CrashEvent(SOURCE_SOCKET, 10**18, Pid(4711), Tid(4711), 11)
    crash = Crash("a" * 32, b"k" * 16, event, core=os.open(core, os.O_RDONLY))
    crash.interrupted = interrupted
    crash.files = [] if interrupted else [-1] * len(paths_of(core))
    assert complete(config, store, log, crash, analyse=True) == outcome
    report = from_json(store.read_json(0) or b"")
    assert functions(report)[1:3] == ["waits_here", "main"]
    if outcome == PUBLISHED and os.stat("/usr/lib").st_uid == 0:
        assert os.listdir(paths.cache)  # the next crash need not read the libraries again
    os.close(crash.core)
    store.close()
