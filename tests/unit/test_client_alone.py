"""The client without a server and without an analysis: published once, and accounted for."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from usercrash.capture.kernel_dump import KernelDump
from usercrash.client import alone, collecting
from usercrash.client.collecting import Collected
from usercrash.client.link import ServerLink
from usercrash.client.program import configuration
from usercrash.model.event import SOURCE_PIPE, CrashEvent
from usercrash.model.notes import NoteLog
from usercrash.model.types import Pid, Tid
from usercrash.storage.events import EventLog
from usercrash.storage.store import Store


class Place:
    """Where such a client writes: the configured directories, and the default one."""

    def __init__(self, root: Path) -> None:
        self.reports, self.default, self.state = root / "reports", root / "default", root / "state"
        self.config = root / "conf"
        self.config.write_text(
            f'[paths]\nreports = "{self.reports}"\nstate = "{self.state}"\n[reports]\nslots = 3\n'
        )
        self._run = str(root / "run")

    def crash(self) -> int:
        event = CrashEvent(SOURCE_PIPE, 10**18, Pid(7), Tid(7), 11)
        link = ServerLink(self._run, event)
        found = Collected(event, NoteLog(), None, 0)
        return alone.complete_alone(link, found, lambda: configuration(self._run, str(self.config)))

    def outcomes(self) -> list[tuple[object, object]]:
        lines = EventLog(str(self.state), print).lines()
        return [(line["what"], line.get("outcome")) for line in lines]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    place = Place(tmp_path)
    monkeypatch.setattr(alone, "DEFAULT_PLACE", {str(place.default): 50})
    return place


def texts(path: Path) -> list[bytes]:
    store = Store(str(path))
    try:
        return [store.read_text(entry.number) for entry in store.entries()]
    finally:
        store.close()


def test_an_analysis_that_is_not_there(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "usercrash.pipeline", None)
    assert place.crash() == 0
    [text] = texts(place.reports)
    assert b"not analysed" in text and b"SIGSEGV" in text
    assert not place.default.exists()
    assert place.outcomes() == [("announced", None), ("closed", "incomplete")]


def test_a_configured_place_that_takes_nothing(place: Place) -> None:
    place.reports.write_text("a file, not a directory")
    assert place.crash() == 0
    [text] = texts(place.default)
    assert b"SIGSEGV" in text
    assert place.outcomes() == [("announced", None), ("closed", "incomplete")]


@pytest.mark.parametrize("broken", ["configuration", "library"])
def test_no_configuration(place: Place, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if broken == "library":
        monkeypatch.setitem(sys.modules, "usercrash.server_config", None)
    else:
        place.config.write_text("[paths\n")
    assert place.crash() == 0
    [text] = texts(place.default)
    assert b"SIGSEGV" in text


def test_no_place_at_all_is_lost_and_says_so(place: Place) -> None:
    for path in (place.reports, place.default):
        path.write_text("")
    assert place.crash() == 1
    assert place.outcomes() == [("announced", None), ("closed", "lost")]
    assert os.path.isfile(place.default)


def test_a_capture_that_fails_leaves_no_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would end whatever the process does nine seconds later: a worker that waits."""

    def fails(*rest: object, **more: object) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(KernelDump, "open", fails)
    event = CrashEvent(SOURCE_PIPE, 10**18, Pid(7), Tid(7), 11)
    let_go: list[int] = []
    found = collecting.capture(
        -1, -1, event, NoteLog(), ServerLink("/nowhere", event), lambda: let_go.append(1), 0
    )
    assert found.snapshot is None and let_go == [1]
    assert [note.why for note in found.notes] == ["RuntimeError: a mistake of ours"]
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
