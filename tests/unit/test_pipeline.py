"""Analyses that die: the further attempts, and what is published when these fail, too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from usercrash import pipeline
from usercrash.analysis import assemble
from usercrash.analysis.core import module_files
from usercrash.analysis.symbols import symbolizer as symbols
from usercrash.config import Analysis, Config, Paths, Reports
from usercrash.isolated_analysis import Material, View, analyse_isolated
from usercrash.minimal_report import minimal_report
from usercrash.model.event import SOURCE_PIPE, CrashEvent
from usercrash.model.types import Pid, Tid
from usercrash.pipeline import Crash, complete
from usercrash.render.screen import render_screen
from usercrash.report import from_json
from usercrash.sharing import share_symcaches
from usercrash.storage.events import INCOMPLETE, EventLog
from usercrash.storage.store import Store

DEBUGGER = "from usercrash.debugger import main; main()"


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw minicore of a live interpreter."""
    path = tmp_path_factory.mktemp("core") / "core"
    target = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    try:
        subprocess.run(
            [sys.executable, "-c", DEBUGGER, "--core", str(path), str(target.pid)],
            env={**os.environ, "PYTHONPATH": str(Path(pipeline.__file__).parent.parent)},
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    finally:
        target.kill()
        target.wait()
    return path


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(
        paths=Paths(
            reports=str(tmp_path / "reports"), run=str(tmp_path / "run"),
            state=str(tmp_path / "state"), cache=str(tmp_path / "cache"),
        ),
        reports=Reports(slots=5),
        analysis=Analysis(seconds=20.0),
    )  # fmt: skip


def die(*_: object, **__: object) -> str:
    os.kill(os.getpid(), signal.SIGSEGV)
    return ""


def test_hostile_names_cost_only_the_names(
    core: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(symbols, "demangle", die)
    fd = os.open(core, os.O_RDONLY)
    analysed = analyse_isolated(Material("a" * 32, fd, by_path=True), config, View())
    os.close(fd)
    assert analysed.failure == ""
    report = from_json(analysed.json)
    assert any("killed by signal 11" in note.why for note in report.notes)
    assert any(frame.function for thread in report.threads for frame in thread.frames)


def test_hostile_files_cost_only_what_they_tell(
    core: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever of ours dies of a file: the last attempt opens none."""
    monkeypatch.setattr(module_files.PathFiles, "candidates", die)
    fd = os.open(core, os.O_RDONLY)
    analysed = analyse_isolated(Material("a" * 32, fd, by_path=True), config, View())
    os.close(fd)
    assert analysed.failure == ""
    report = from_json(analysed.json)
    [why] = [note.why for note in report.notes if note.what == "files of the process"]
    assert why == "the second attempt failed: killed by signal 11"
    assert report.threads[0].frames and report.threads[0].registers
    assert not any(module.file == "path" for module in report.modules)


def test_a_core_larger_than_the_memory_of_an_analysis(
    core: Path, config: Config, tmp_path: Path
) -> None:
    """It is mapped, and takes none."""
    large = tmp_path / "large"
    large.write_bytes(core.read_bytes())
    os.truncate(large, (config.analysis.memory_mb + 1000) << 20)  # (a hole)
    fd = os.open(large, os.O_RDONLY)
    analysed = analyse_isolated(Material("a" * 32, fd, by_path=True), config, View())
    os.close(fd)
    assert analysed.failure == ""
    assert any(frame.function for frame in from_json(analysed.json).threads[0].frames)


def a_crash(config: Config, core: Path, text: bytes) -> tuple[Store, EventLog, Crash]:
    store = Store(config.paths.reports, config.reports.slots, create=True)
    log = EventLog(config.paths.state, print)
    spool = store.create_spool("b" * 32)
    os.write(spool.report, text)
    os.write(spool.core, core.read_bytes())
    event = CrashEvent(SOURCE_PIPE, 10**18, Pid(4711), Tid(4711), 11, 1, b"na\x1bme")
    log.announced("b" * 32, b"k" * 16, event)
    crash = Crash("b" * 32, b"k" * 16, event, spool.report, spool.core, by_path=True)
    return store, log, crash


def test_a_dead_analysis_leaves_what_was_collected(
    core: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assemble, "assemble", die)
    store, log, crash = a_crash(config, core, b"what the collector saw\n")
    assert complete(config, store, log, crash, analyse=True) == INCOMPLETE
    text = store.read_text(0).decode()
    assert "what the collector saw" in text and "killed by signal 11" in text
    assert "4711" in text and "\x1b" not in text
    report = from_json(store.read_json(0) or b"")
    assert not report.complete and report.process.pid == 4711
    assert report.signal is not None and report.signal.name == "SIGSEGV"
    assert store.read_core(0)
    assert log.pending() == [] and store.spooled() == {}


def test_a_core_that_is_garbage(config: Config, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"\x7fELF" + os.urandom(5000))
    store, log, crash = a_crash(config, garbage, b"what the collector saw\n")
    assert complete(config, store, log, crash, analyse=True) == INCOMPLETE
    assert b"what the collector saw" in store.read_text(0)


def test_a_slow_analysis_is_ended(
    core: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assemble, "assemble", lambda *_, **__: signal.pause())
    quick = Config(paths=config.paths, reports=config.reports, analysis=Analysis(seconds=0.5))
    store, log, crash = a_crash(quick, core, b"what the collector saw\n")
    assert complete(quick, store, log, crash, analyse=True) == INCOMPLETE
    assert b"not done after 0.5 s" in store.read_text(0)


def test_symbol_caches_are_shared_and_used(core: Path, config: Config) -> None:
    """What root's files gave is kept, readable for whoever the analysis becomes."""
    file = os.open("/proc/self/exe", os.O_RDONLY)
    if os.fstat(file).st_uid != 0:
        pytest.skip("the interpreter is not root's")
    old = os.umask(0o077)
    try:
        share_symcaches([0], [file], config)
    finally:
        os.umask(old)
        os.close(file)
    [kept] = Path(config.paths.cache).iterdir()
    if os.geteuid() == 0:
        assert kept.stat().st_mode & 0o777 == 0o644
        assert kept.parent.stat().st_mode & 0o777 == 0o755
    # Somebody else's file is never shared.
    mine = Path(config.paths.state + "-prog")
    mine.write_bytes(Path(sys.executable).read_bytes())
    if os.geteuid() == 0:
        os.chown(mine, 65534, 65534)
        other = os.open(mine, os.O_RDONLY)
        share_symcaches([0], [other], config)
        os.close(other)
        assert list(Path(config.paths.cache).iterdir()) == [kept]


def test_a_number_that_nothing_proved_is_not_believed() -> None:
    event = CrashEvent(SOURCE_PIPE, 10**18, Pid(1), Tid(0), 11, name=b"prog")
    report = minimal_report("a" * 32, event, "the client died")
    assert any("may not be ours" in note.why for note in report.notes)
    first = render_screen(report, part="first", width=80)
    assert "Why      not analysed; see the notes\n" in first
    proved = CrashEvent(SOURCE_PIPE, 10**18, Pid(1), Tid(1), 11)
    report = minimal_report("a" * 32, proved, "the client died")
    assert not any("may not be ours" in note.why for note in report.notes)
